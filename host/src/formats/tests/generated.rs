//! Random descriptions go round unchanged; random documents never panic.

use super::*;
use crate::model::workflow::{
    Comment, Connection, DeclaredInput, DeclaredOutput, NO_INPUT_OUTPUT_NAME, PostJobAction,
    StepInput, WorkflowOutput,
};
use proptest::prelude::*;
use uuid::{Builder, Uuid};

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z0-9 .:#-]{0,6}".prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::vec(("[a-z|$]{1,6}", inner), 0..3)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

/// A state that does not look like the old kind with JSON text for every value.
fn any_state() -> impl Strategy<Value = Value> {
    prop::collection::vec(("[a-z]{1,6}", any_json()), 0..4).prop_map(|entries| {
        let mut state: Object = entries.into_iter().collect();
        state.insert("plain".into(), json!(true));
        Value::Object(state)
    })
}

fn any_text() -> impl Strategy<Value = Option<String>> {
    prop::option::of(prop_oneof![
        "[a-z/: -]{1,12}",
        "\\PC{1,20}",
        Just("yes".to_owned())
    ])
}

fn any_v4() -> impl Strategy<Value = Option<Uuid>> {
    let uuid = any::<[u8; 16]>().prop_map(|bytes| Builder::from_random_bytes(bytes).into_uuid());
    prop::option::of(uuid)
}

fn any_action() -> impl Strategy<Value = PostJobAction> {
    let arguments = prop_oneof![
        Just(json!({})),
        "[a-z,]{0,5}".prop_map(|text| json!({"newname": text})),
        "[a-z,]{0,5}".prop_map(|text| json!({"tags": text})),
        Just(json!({"newtype": "txt"})),
    ];
    let kind = prop_oneof![
        Just("HideDatasetAction"),
        Just("RenameDatasetAction"),
        Just("TagDatasetAction"),
        Just("RemoveTagDatasetAction"),
        Just("ChangeDatatypeAction"),
        Just("EmailAction"),
        Just("DeleteIntermediatesAction"),
        Just("ColumnSetAction"),
    ];
    (kind, prop::option::of("[a-z]{1,2}"), arguments).prop_map(|(kind, output_name, arguments)| {
        PostJobAction {
            action_type: kind.to_owned(),
            output_name,
            action_arguments: arguments,
        }
    })
}

/// What a step is, before it knows its place: kind, state, texts, and picks for connections.
#[derive(Debug, Clone)]
struct Seed {
    kind: usize,
    state: Value,
    label: bool,
    annotation: Option<String>,
    when: Option<String>,
    uuid: Option<Uuid>,
    default: Option<Value>,
    picks: Vec<(usize, bool)>,
    outputs: usize,
    actions: Vec<PostJobAction>,
    place: (i32, i32),
}

fn any_seed() -> impl Strategy<Value = Seed> {
    let looks = (
        0..7_usize,
        any_state(),
        any::<bool>(),
        any_text(),
        any_text(),
        any_v4(),
    );
    let links = (
        prop::option::of(any_json()),
        prop::collection::vec((any::<usize>(), any::<bool>()), 0..4),
        0..3_usize,
        prop::collection::vec(any_action(), 0..3),
        (-500..500_i32, -500..500_i32),
    );
    (looks, links).prop_map(|(looks, links)| {
        let (kind, state, label, annotation, when, uuid) = looks;
        let (default, picks, outputs, actions, place) = links;
        Seed {
            kind,
            state,
            label,
            annotation,
            when,
            uuid,
            default,
            picks,
            outputs,
            actions,
            place,
        }
    })
}

fn any_workflow(depth: usize) -> BoxedStrategy<WorkflowDescription> {
    let top = (
        any_text(),
        any_text(),
        any_text(),
        prop::collection::vec("[a-z]{1,4}", 0..3),
        any_v4(),
    );
    let mostly = prop::bool::weighted(0.8);
    let inner = match depth {
        0 => Just(WorkflowDescription::default()).boxed(),
        _ => any_workflow(depth - 1),
    };
    let steps = prop::collection::vec((any_seed(), inner), 0..6);
    (top, steps, mostly)
        .prop_map(
            move |((name, annotation, license, tags, uuid), seeds, positioned)| {
                let mut workflow = WorkflowDescription {
                    name: name.unwrap_or_default() + "w",
                    annotation,
                    license,
                    tags,
                    uuid,
                    report: Some(json!({"markdown": "# Report\n\ntext\n"})),
                    comments: vec![Comment {
                        comment_type: "text".into(),
                        position: Some(json!([0, 0])),
                        size: Some(json!([10, 20])),
                        color: Some("none".into()),
                        data: json!({"text": "t", "size": 1}),
                        ..Default::default()
                    }],
                    ..Default::default()
                };
                for (index, (seed, inner)) in seeds.into_iter().enumerate() {
                    let step = step(
                        index,
                        seed,
                        (depth > 0).then_some(inner),
                        positioned,
                        &workflow,
                    );
                    workflow.steps.push(step);
                }
                workflow
            },
        )
        .boxed()
}

fn step(
    index: usize,
    seed: Seed,
    inner: Option<WorkflowDescription>,
    positioned: bool,
    before: &WorkflowDescription,
) -> StepDescription {
    let kinds = [
        "data_input",
        "data_collection_input",
        "parameter_input",
        "tool",
        "pause",
        "review",
    ];
    let step_type = match kinds.get(seed.kind) {
        Some(kind) => *kind,
        None if inner.is_some() => "subworkflow",
        None => "tool",
    };
    let is_input = step_type.ends_with("_input");
    let inner = inner.filter(|_| step_type == "subworkflow");
    let mut state = seed.state;
    if step_type == "subworkflow" {
        state = json!({"plain": true});
    }
    if is_input {
        state = json!({"optional": index.is_multiple_of(2), "tag": null});
    }
    if step_type == "parameter_input" {
        state["parameter_type"] = json!(["text", "integer", "boolean"][index % 3]);
        state["validators"] = json!([{"type": "in_range", "min": 1, "max": null, "negate": false}]);
    }
    let mut step = StepDescription {
        order_index: index,
        step_type: step_type.to_owned(),
        tool_id: (step_type == "tool").then(|| format!("tool{index}")),
        tool_version: (step_type == "tool").then(|| "1.0+galaxy0".to_owned()),
        name: Some(step_type.to_owned()),
        tool_inputs: state,
        position: positioned
            .then(|| json!({"left": seed.place.0, "top": f64::from(seed.place.1) + 0.25})),
        // Some labels look like a reference to another's output.
        label: seed
            .label
            .then(|| format!("s{}{}", index / 2, ["", "/o"][index % 2])),
        uuid: seed.uuid,
        annotation: seed.annotation,
        when_expression: seed.when.filter(|_| !is_input),
        declared_inputs: vec![DeclaredInput {
            name: "n".into(),
            description: "d".into(),
        }],
        declared_outputs: vec![DeclaredOutput {
            name: "o".into(),
            output_type: "txt".into(),
        }],
        post_job_actions: seed.actions,
        ..Default::default()
    };
    if is_input {
        step.post_job_actions.clear();
    }
    for output in 0..seed.outputs {
        step.workflow_outputs.push(WorkflowOutput {
            output_name: format!("o{output}"),
            label: (output == 0).then(|| format!("label {index} {output}")),
            uuid: None,
        });
    }
    if let ("data_input", Some(_)) = (step_type, &seed.default) {
        step.inputs.push(StepInput {
            name: "input".into(),
            default_value: Some(json!({"class": "File", "location": "x:y"})),
            default_value_set: true,
            ..Default::default()
        });
    }
    if !is_input {
        step.inputs = connections(&seed.picks, seed.default, inner.as_ref(), before);
    }
    step.subworkflow = inner.map(Box::new);
    step
}

fn connections(
    picks: &[(usize, bool)],
    default: Option<Value>,
    inner: Option<&WorkflowDescription>,
    before: &WorkflowDescription,
) -> Vec<StepInput> {
    let mut inputs = Vec::new();
    for (place, (pick, non_data)) in picks
        .iter()
        .enumerate()
        .filter(|_| !before.steps.is_empty())
    {
        let connect = |output_name: &str, inside: Option<usize>| Connection {
            output_step: pick % before.steps.len(),
            output_name: output_name.to_owned(),
            input_subworkflow_step: inside,
        };
        let named = |name: String, connections: Vec<Connection>| StepInput {
            name,
            connections,
            ..Default::default()
        };
        if *non_data {
            let after = connect(NO_INPUT_OUTPUT_NAME, None);
            inputs.push(named(NO_INPUT_OUTPUT_NAME.into(), vec![after]));
            break;
        }
        match inner {
            None => {
                let both = vec![connect("output", None), connect("o", None)];
                inputs.push(named(format!("c|r_{place}|i"), both));
            }
            Some(inner) => {
                let Some(input) = inner.input_steps().nth(place) else {
                    continue;
                };
                let index = input.order_index;
                let plain = || format!("{index}:Input dataset");
                let name = input.label.clone().unwrap_or_else(plain);
                inputs.push(named(name, vec![connect("output", Some(index))]));
            }
        }
    }
    if let Some(default) = default {
        inputs.push(StepInput {
            name: "with default".into(),
            default_value: Some(default),
            default_value_set: true,
            ..Default::default()
        });
    }
    inputs
}

/// Ordered, as whatever was imported is.
fn settled(mut workflow: WorkflowDescription) -> WorkflowDescription {
    validate::description(&workflow).expect("generated descriptions keep the rules");
    order::reorder(&mut workflow);
    workflow
}

/// Format2 numbers inputs first and then has only positions to order by.
fn all_positioned(workflow: &WorkflowDescription) -> bool {
    workflow.steps.iter().all(|step| {
        let inner = step.subworkflow.as_deref();
        step.position.is_some() && inner.is_none_or(all_positioned)
    })
}

/// Ties in distance are broken by the numbering of the file, which puts inputs first.
fn has_ties(workflow: &WorkflowDescription) -> bool {
    let distance = |step: &StepDescription| {
        let position = step.position.as_ref().unwrap_or(&Value::Null);
        let [left, top] = ["left", "top"].map(|side| position[side].as_f64().unwrap_or(0.0));
        left.hypot(top).to_bits()
    };
    let distances: std::collections::HashSet<u64> = workflow.steps.iter().map(distance).collect();
    let inners = workflow
        .steps
        .iter()
        .filter_map(|step| step.subworkflow.as_deref());
    distances.len() < workflow.steps.len() || inners.into_iter().any(has_ties)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_description_survives_the_native_format(workflow in any_workflow(2)) {
        let workflow = settled(workflow);
        let again = import(&native_of(&workflow));
        prop_assert_eq!(again, Ok(workflow));
    }

    #[test]
    fn a_description_survives_format2(workflow in any_workflow(2)) {
        let workflow = settled(workflow);
        let text = yaml_of(&workflow);
        let again = import_text(&text);
        prop_assert!(again.is_ok(), "{:?}\n{}", again, text);
        let again = again.unwrap();
        prop_assert_eq!(again.total_steps(), workflow.total_steps());
        if all_positioned(&workflow) && !has_ties(&workflow) {
            prop_assert_eq!(as_format2_keeps(&again), as_format2_keeps(&workflow), "{}", text);
        }
        // Whatever it settled on the first time, it stays at.
        let twice = import_text(&yaml_of(&again));
        prop_assert_eq!(twice.as_ref().map(as_format2_keeps), Ok(as_format2_keeps(&again)));
    }

    #[test]
    fn no_document_makes_an_import_panic(value in any_json(), text in "\\PC{0,80}") {
        let _ = import_text(&text);
        let _ = import(&value);
        let fields = json!({"name": value, "steps": value, "inputs": value, "comments": value});
        let _ = import(&fields);
    }

    #[test]
    fn no_field_makes_an_import_panic(
        value in any_json(),
        field in prop::sample::select(&[
            "id", "type", "tool_state", "position", "uuid", "label", "when", "errors", "inputs",
            "outputs", "workflow_outputs", "post_job_actions", "in", "input_connections", "out",
            "subworkflow", "content_id", "run", "state", "runtime_inputs", "doc", "tool_id",
            "default", "format", "optional", "validators", "min", "outputSource", "contains_steps",
        ][..]),
        kind in prop::sample::select(&["tool", "data_input", "parameter_input", "subworkflow"][..]),
    ) {
        let mut step = json!({"id": 0, "type": kind, "tool_id": "t"});
        step[field] = value;
        let native = json!({"name": "w", "steps": {"0": step}, "comments": [step]});
        let parts = json!({"a": step});
        let format2 = json!({"class": "GalaxyWorkflow", "inputs": parts, "steps": {"b": step},
                             "outputs": parts, "comments": [step]});
        for value in [native, format2] {
            if let Ok(workflow) = import(&value) {
                let _ = import(&native_of(&workflow)).unwrap();
                let text = yaml_of(&workflow);
                prop_assert!(import_text(&text).is_ok(), "{}", text);
            }
        }
    }
}
