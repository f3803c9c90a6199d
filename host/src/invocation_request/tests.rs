use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::*;
use crate::model::invocation::{NewInvocation, RequestParameterKind, meta};
use crate::model::revision::Revision;
use crate::model::workflow::{StepDescription, WorkflowDescription, WorkflowOutput};
use crate::tools::yaml;

struct World {
    tool: Arc<Tool>,
}

impl StepTypes for World {
    fn is_known(&self, step_type: &str) -> bool {
        step_type != "teleport"
    }
}

impl Schedulers for World {
    fn default_id(&self) -> String {
        "default".into()
    }
    fn is_known(&self, id: &str) -> bool {
        ["default", "night"].contains(&id)
    }
}

impl Tools for World {
    fn find(&self, step: &StepDescription, _: Option<i64>) -> Option<FoundTool> {
        let found = FoundTool {
            tool: self.tool.clone(),
            exact: step.tool_version.as_deref() != Some("0.9"),
        };
        (step.tool_id.as_deref() == Some("lines")).then_some(found)
    }
}

const TOOL: &str = "
class: GalaxyTool
id: lines
name: Some lines
version: '1.0'
shell_command: head -n $(inputs.count) '$(inputs.source.path)' > out
inputs:
  - {name: source, type: data}
  - {name: count, type: integer, value: 3}
  - name: more
    type: section
    parameters:
      - {name: word, type: text, value: a}
outputs:
  - {name: out, type: data, format: txt, from_work_dir: out}
";

fn world() -> World {
    World {
        tool: Arc::new(yaml::parse(TOOL, "lines.yml").expect("the tool loads")),
    }
}

fn step(order_index: usize, step_type: &str, label: Option<&str>, state: Value) -> StepDescription {
    StepDescription {
        order_index,
        step_type: step_type.into(),
        label: label.map(str::to_owned),
        tool_inputs: state,
        uuid: Some(Uuid::from_u128(order_index as u128 + 1)),
        tool_id: (step_type == "tool").then(|| "lines".into()),
        ..Default::default()
    }
}

fn revision(id: i64, steps: Vec<StepDescription>) -> Revision {
    let inner = steps.iter().enumerate().filter_map(|(index, step)| {
        let inner = step.subworkflow.as_ref()?;
        let inner = revision(id * 10 + index as i64, inner.steps.clone());
        Some((index, Arc::new(inner)))
    });
    Revision {
        id,
        stored_workflow_id: Some(1),
        uuid: Uuid::nil(),
        create_time: 0,
        step_ids: (0..steps.len()).map(|n| id * 100 + n as i64).collect(),
        dynamic_tool_ids: vec![None; steps.len()],
        workflow_output_ids: HashMap::new(),
        post_job_action_ids: vec![Vec::new(); steps.len()],
        subrevisions: inner.collect(),
        description: WorkflowDescription {
            name: "w".into(),
            steps,
            ..Default::default()
        },
    }
}

/// Reads (data), n (integer, default 5), a tool, and a pause.
fn simple() -> Revision {
    let number = json!({"parameter_type": "integer", "default": 5});
    revision(
        1,
        vec![
            step(0, "data_input", Some("reads"), json!({})),
            step(1, "parameter_input", Some("n"), number),
            step(2, "tool", None, json!({"count": 4})),
            step(3, "pause", None, json!({})),
        ],
    )
}

fn decode(text: &str) -> Option<i64> {
    text.strip_prefix("id")?.parse().ok()
}

fn asked(revision: &Revision, body: Value) -> Result<(Payload, Prepared), RequestError> {
    let world = world();
    let payload = Payload::parse(&body)?;
    let prepared = prepare(&payload, revision, environment(&world))?;
    Ok((payload, prepared))
}

fn environment(world: &World) -> Environment<'_> {
    Environment {
        step_types: world,
        schedulers: world,
        tools: world,
        resource_values: &[],
        decode: &decode,
    }
}

fn built(revision: &Revision, body: Value) -> Result<Vec<NewInvocation>, RequestError> {
    let (payload, prepared) = asked(revision, body)?;
    let items: Items = prepared
        .references()
        .into_iter()
        .filter_map(|reference| Some((reference.clone(), decode(&reference.id)?)))
        .collect();
    let person = Person {
        user_id: 3,
        history_id: 4,
        handler: Some("main".into()),
    };
    let world = world();
    let asked = Asked {
        payload: &payload,
        prepared: &prepared,
        revision,
        environment: environment(&world),
    };
    let runs = prepared.runs.iter();
    runs.map(|run| build(asked, run, &person, &items, &items, &mut Uuid::new_v4))
        .collect()
}

fn hda(id: i64) -> Value {
    json!({"src": "hda", "id": format!("id{id}")})
}

#[test]
fn every_meaning_of_the_keys_finds_the_same_step() {
    let cases = [
        (json!({}), "0"),
        (json!({"inputs_by": "step_index"}), "0"),
        (
            json!({"inputs_by": "step_uuid"}),
            "00000000-0000-0000-0000-000000000001",
        ),
        (
            json!({"inputs_by": "step_index|step_uuid"}),
            "00000000-0000-0000-0000-000000000001",
        ),
        (json!({"inputs_by": "step_id"}), "id100"),
        (json!({"inputs_by": "name"}), "reads"),
    ];
    for (mut body, key) in cases {
        for field in ["inputs", "ds_map"] {
            let mut body = body.clone();
            body[field] = json!({key: hda(7)});
            let made = built(&simple(), body.clone()).unwrap_or_else(|e| panic!("{body}: {e}"));
            assert_eq!(made[0].input_datasets[0].item_id, 7, "{body}");
            assert_eq!(made[0].input_datasets[0].step_id, 100);
        }
        body["inputs"] = json!({"nonsense": hda(7)});
        assert!(built(&simple(), body).is_err());
    }
}

#[test]
fn bad_requests_are_refused_with_their_kind() {
    let reads = json!({"0": hda(7)});
    let cases = [
        (json!([]), Kind::Invalid),
        (json!({}), Kind::Message),
        (json!({"inputs": 3}), Kind::Invalid),
        (json!({"inputs": "{"}), Kind::Invalid),
        (json!({"inputs": reads, "ds_map": reads}), Kind::Invalid),
        (json!({"inputs": reads, "scheduler": "moon"}), Kind::Invalid),
        (
            json!({"inputs": reads, "effective_outputs": []}),
            Kind::Invalid,
        ),
        (json!({"inputs": reads, "version": -1}), Kind::Invalid),
        (
            json!({"inputs": reads, "inputs_by": "colour"}),
            Kind::Invalid,
        ),
        (
            json!({"inputs": reads, "history_id": "a", "history": "b"}),
            Kind::Invalid,
        ),
        (
            json!({"inputs": reads, "replacement_params": {"a": 1}}),
            Kind::Invalid,
        ),
        (
            json!({"inputs": reads, "on_complete": [{"a": 1, "b": 2}]}),
            Kind::Invalid,
        ),
        (
            json!({"inputs": reads, "parameters": {"2": {"count": 1}}, "step_parameters": {"2": {}}}),
            Kind::Invalid,
        ),
        (
            json!({"inputs": reads, "parameters": {"2": 5}}),
            Kind::Invalid,
        ),
        (
            json!({"inputs": reads, "parameters": {"2": {"count": "many"}}}),
            Kind::Message,
        ),
        (
            json!({"inputs": reads, "preferred_object_store_id": "a", "preferred_outputs_object_store_id": "b"}),
            Kind::Invalid,
        ),
        (json!({"inputs": {"0": "id7"}}), Kind::Invalid),
        (
            json!({"inputs": {"0": {"src": "moon", "id": "id7"}}}),
            Kind::Invalid,
        ),
        (
            json!({"inputs": {"0": {"src": "ldda", "id": "id7"}}}),
            Kind::Invalid,
        ),
        (json!({"inputs": {"0": {"src": "hda"}}}), Kind::Invalid),
        (
            json!({"inputs": {"0": {"src": "url", "url": "http://x"}}}),
            Kind::Invalid,
        ),
        (
            json!({"inputs": {"0": {"class": "File", "location": "http://x"}}}),
            Kind::Invalid,
        ),
        (
            json!({"inputs": {"0": hda(7), "1": {"a": 1}}}),
            Kind::Invalid,
        ),
        (json!({"inputs": {"0": hda(7), "1": "many"}}), Kind::Message),
        (
            json!({"inputs": {"0": {"batch": true, "values": [hda(7), hda(8)]}}}),
            Kind::Message,
        ),
    ];
    for (body, kind) in cases {
        let error = built(&simple(), body.clone()).expect_err(&body.to_string());
        assert_eq!(error.kind, kind, "{body}: {error}");
    }
}

#[test]
fn a_workflow_that_cannot_run_is_refused_before_its_inputs_are_looked_at() {
    let body = || json!({"inputs": {"0": "nonsense"}});
    let message = |revision: &Revision| built(revision, body()).unwrap_err().message;
    assert!(message(&revision(1, vec![])).contains("does not have any steps"));
    let mut cyclic = simple();
    cyclic.description.has_cycles = true;
    assert!(message(&cyclic).contains("cycles"));
    let strange = revision(1, vec![step(0, "teleport", None, json!({}))]);
    assert!(message(&strange).contains("\"teleport\""));
}

#[test]
fn missing_and_inexact_tools_are_named() {
    let mut missing = simple();
    missing.description.steps[2].tool_id = Some("bowtie".into());
    missing.description.steps[2].tool_version = Some("2".into());
    let body = json!({"inputs": {"0": hda(7)}});
    let error = built(&missing, body.clone()).unwrap_err();
    assert_eq!(
        error.message,
        "Workflow was not invoked; the following required tools are not installed: bowtie (version 2)"
    );
    let uuid = uuid::Uuid::from_u128(7);
    missing.description.steps[2].tool_id = None;
    missing.description.steps[2].tool_uuid = Some(uuid);
    let error = built(&missing, body.clone()).unwrap_err();
    assert!(
        error
            .message
            .ends_with(&format!("the tool with the uuid {uuid} (version 2)")),
        "{}",
        error.message
    );
    let mut older = simple();
    older.description.steps[2].tool_version = Some("0.9".into());
    assert!(built(&older, body).is_err());
    let lax = json!({"inputs": {"0": hda(7)}, "require_exact_tool_versions": false});
    assert!(built(&older, lax).is_ok());
}

#[test]
fn overrides_reach_the_state_of_their_step_in_every_form() {
    let uuid = Uuid::from_u128(3).to_string();
    for parameters in [
        json!({"2": {"count": 9, "more": {"word": "b"}}}),
        json!({"lines": {"count": 9, "more|word": "b"}}),
        json!({uuid: {"count": "9", "more": {"word": "b"}}}),
        json!({"lines": {"param": "count", "value": 9}, "2": {"more|word": "b"}}),
    ] {
        let body = json!({"inputs": {"0": hda(7)}, "parameters": parameters});
        let made = built(&simple(), body).unwrap().remove(0);
        let state = &made.step_states[2].1;
        assert_eq!(state["count"], json!(9), "{parameters}");
        assert_eq!(state["more"]["word"], json!("b"), "{parameters}");
        let stored = made
            .parameters
            .iter()
            .find(|p| p.kind == RequestParameterKind::Step);
        let stored = stored.expect("the override is stored");
        assert_eq!((stored.name.as_str(), stored.step_id), ("102", Some(102)));
    }
    let untouched = built(&simple(), json!({"inputs": {"0": hda(7)}})).unwrap();
    assert_eq!(untouched[0].step_states[2].1["count"], json!(4));
    assert_eq!(untouched[0].step_states.len(), 4);
}

#[test]
fn what_only_the_server_says_is_dropped_from_a_request() {
    for (name, normalized) in [
        ("__workflow_invocation_uuid__", false),
        ("__when_value__", true),
        ("__use_cached_job__", false),
        ("__validate_outputs__", true),
        ("__workflow_resource_params__", false),
    ] {
        let body = json!({"inputs": {"0": hda(7)}, "parameters": {"2": {name: "mine"}},
            "parameters_normalized": normalized});
        let made = built(&simple(), body).unwrap().remove(0);
        let steps = made.parameters.iter();
        assert_eq!(
            steps
                .filter(|p| p.kind == RequestParameterKind::Step)
                .count(),
            0,
            "{name}"
        );
        assert_eq!(made.step_states[2].1.get(name), None);
    }
}

#[test]
fn actions_of_a_request_reach_the_state_of_their_step() {
    let rename = json!({"action_type": "RenameDatasetAction", "output_name": "out",
        "action_arguments": {"newname": "n"}});
    for normalized in [false, true] {
        let body = json!({"inputs": {"0": hda(7)}, "parameters_normalized": normalized,
            "parameters": {"2": {"__POST_JOB_ACTIONS__": {"RenameDatasetActionout": rename}}}});
        let made = built(&simple(), body).unwrap().remove(0);
        let kept = &made.step_states[2].1["__STEP_META_STATE__"]["__POST_JOB_ACTIONS__"];
        assert_eq!(kept, &json!([rename]));
    }
    let bad =
        json!({"inputs": {"0": hda(7)}, "parameters": {"2": {"__POST_JOB_ACTIONS__": {"a": 1}}}});
    assert!(built(&simple(), bad).is_err());
}

#[test]
fn normalized_parameters_set_inputs_and_reach_into_subworkflows() {
    let mut outer = step(0, "subworkflow", None, json!({}));
    let mut inner = vec![
        step(
            0,
            "parameter_input",
            Some("n"),
            json!({"parameter_type": "integer"}),
        ),
        step(1, "tool", None, json!({})),
    ];
    inner[1].workflow_outputs.push(WorkflowOutput {
        output_name: "out".into(),
        label: Some("result".into()),
        uuid: None,
    });
    outer.subworkflow = Some(Box::new(WorkflowDescription {
        steps: inner,
        ..Default::default()
    }));
    outer.workflow_outputs.push(WorkflowOutput {
        output_name: "result".into(),
        ..Default::default()
    });
    let nested = revision(1, vec![outer]);
    let loose = json!({"parameters": {"0": {"1|count": 8}}});
    assert_eq!(built(&nested, loose).unwrap_err().kind, Kind::Invalid);
    let body =
        json!({"parameters": {"0": {"1|count": 8, "0|input": 2}}, "parameters_normalized": true});
    let made = built(&nested, body).unwrap().remove(0);
    let (step_id, child) = &made.children[0];
    assert_eq!(*step_id, 100);
    assert_eq!(child.step_states[1].1["count"], json!(8));
    assert_eq!(child.input_parameters, vec![(1000, json!(2))]);
    assert_eq!(
        (child.handler.as_ref(), child.scheduler.as_ref()),
        (None, None)
    );
    let effective = child
        .parameters
        .iter()
        .find(|p| p.name == meta::EFFECTIVE_OUTPUTS);
    assert_eq!(
        effective.unwrap().value,
        json!([{"output_name": "out", "step_id": 1001}]).to_string()
    );
    let shapeless = json!({"parameters": {"0": {"count": 8}}, "parameters_normalized": true});
    assert!(built(&nested, shapeless).is_err());

    let body = json!({"parameters": {"1": {"input": 6}}, "parameters_normalized": true});
    let made = built(&simple(), body).unwrap().remove(0);
    assert_eq!(made.input_parameters, vec![(101, json!(6))]);
}

#[test]
fn a_batch_makes_one_invocation_for_each_set_of_inputs() {
    let inputs = json!({"0": {"batch": true, "values": [hda(7), hda(8)]}});
    let made = built(&simple(), json!({"inputs": inputs, "batch": true})).unwrap();
    let items: Vec<i64> = made
        .iter()
        .map(|run| run.input_datasets[0].item_id)
        .collect();
    assert_eq!(items, [7, 8]);
    assert_ne!(made[0].uuid, made[1].uuid);
    let single = built(&simple(), json!({"inputs": {"0": hda(1)}, "batch": true})).unwrap();
    assert_eq!(single.len(), 1);
}

#[test]
fn what_the_engine_needs_is_always_stored() {
    let body = json!({"inputs": {"0": hda(7), "1": "6"}, "no_add_to_history": false, "use_cached_job": true,
        "scheduler": "night", "replacement_params": "{\"a\": \"b\"}", "resource_params": {"cores": 4}});
    let made = built(&simple(), body).unwrap().remove(0);
    let find = |name: &str| {
        made.parameters
            .iter()
            .find(|p| p.name == name)
            .map(|p| p.value.as_str())
    };
    assert_eq!(
        find(meta::COPY_INPUTS_TO_HISTORY),
        Some("false"),
        "presence alone counts"
    );
    assert_eq!(find(meta::USE_CACHED_JOB), Some("true"));
    assert_eq!((find("a"), find("cores")), (Some("b"), Some("4")));
    assert_eq!(made.scheduler.as_deref(), Some("night"));
    assert_eq!(made.input_parameters, vec![(101, json!("6"))]);
}

#[test]
fn a_reference_in_a_parameter_is_decoded() {
    let body = json!({"inputs": {"0": hda(7)}, "parameters": {"2": {"source": hda(9)}}});
    let made = built(&simple(), body).unwrap().remove(0);
    assert_eq!(
        made.step_states[2].1["source"],
        json!({"src": "hda", "id": 9})
    );
}

mod of_tools {
    use super::super::tool_request::*;
    use super::*;

    fn run(inputs: Value) -> Result<Vec<ToolInputs>, RequestError> {
        let payload = ToolPayload::parse(&json!({"tool_id": "lines", "inputs": inputs}))?;
        let references = payload.references()?.into_iter();
        let items = references
            .map(|r| (r.clone(), decode(&r.id).unwrap_or(0)))
            .collect();
        runs(&world().tool, &payload, &items)
    }

    #[test]
    fn flat_and_nested_inputs_mean_the_same() {
        let flat = run(json!({"source": hda(7), "count": "2", "more|word": "b"})).unwrap();
        let nested = run(json!({"source": hda(7), "count": 2, "more": {"word": "b"}})).unwrap();
        let listed =
            run(json!({"source": {"values": [hda(7)]}, "count": 2, "more": {"word": "b"}}))
                .unwrap();
        assert_eq!(flat, nested);
        assert_eq!(listed[0].state["count"], json!(2));
        assert_eq!(flat[0].state["source"], json!({"src": "hda", "id": 7}));
        let back = encoded(&flat[0].state, &|id| format!("id{id}"));
        assert_eq!(back["source"], hda(7));
    }

    #[test]
    fn a_batch_is_several_runs_or_a_mapping() {
        let many = run(json!({"source": {"batch": true, "values": [hda(7), hda(8)]}})).unwrap();
        assert_eq!(many.len(), 2);
        assert_eq!(many[1].state["source"]["id"], json!(8));
        let over = json!({"batch": true, "values": [{"src": "hdca", "id": "id5"}]});
        let mapped = run(json!({"source": over})).unwrap();
        assert_eq!(mapped[0].mapped, vec![("source".to_owned(), 5)]);
    }

    #[test]
    fn faults_are_told_by_parameter() {
        let error = run(json!({"source": hda(7), "count": "x"})).unwrap_err();
        assert!(error.err_data.unwrap().get("count").is_some());
        assert!(ToolPayload::parse(&json!({})).is_err());
        assert!(ToolPayload::parse(&json!({"tool_id": "a", "inputs": 3})).is_err());
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        Just("0"),
        Just("1"),
        Just("2"),
        Just("src"),
        Just("id"),
        Just("hda"),
        Just("values"),
        Just("batch"),
        Just("id7"),
        Just("count"),
        Just("more"),
        Just("more|word"),
        Just("a_1|b"),
        Just(""),
        Just("|")
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        word.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, move |inner| {
        let map = prop::collection::btree_map(word.clone(), inner.clone(), 0..5);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::from),
            map.prop_map(|m| Value::Object(
                m.into_iter()
                    .map(|(k, v)| (k.to_owned(), v))
                    .collect::<Map<_, _>>()
            )),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_request_makes_it_panic_and_what_is_accepted_is_whole(
        inputs in any_json(), parameters in any_json(), normalized: bool, batch: bool,
        by in prop::sample::select(vec!["step_index", "name", "step_id", "step_uuid|step_index"]),
    ) {
        let body = json!({"inputs": inputs, "parameters": parameters, "parameters_normalized": normalized,
            "batch": batch, "inputs_by": by});
        if let Ok(made) = built(&simple(), body) {
            for invocation in made {
                prop_assert_eq!(invocation.step_states.len(), 4);
                prop_assert!(invocation.input_datasets.len() + invocation.input_collections.len() <= 1);
            }
        }
    }

    #[test]
    fn no_tool_request_makes_it_panic(inputs in any_json()) {
        let body = json!({"tool_id": "lines", "inputs": inputs});
        if let Ok(payload) = tool_request::ToolPayload::parse(&body) {
            let _ = tool_request::runs(&world().tool, &payload, &Items::new());
        }
    }
}
