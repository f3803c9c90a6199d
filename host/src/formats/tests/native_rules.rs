//! Each rule of the native format, named after the behaviour.

use super::*;

/// A workflow of `steps`, each given the `id`, type and tool it lacks.
fn native(steps: Value) -> Value {
    let mut steps = steps;
    for (key, step) in steps.as_object_mut().unwrap() {
        let step = step.as_object_mut().unwrap();
        step.entry("id")
            .or_insert_with(|| json!(key.parse::<u64>().unwrap()));
        if step.entry("type").or_insert(json!("tool")) == "tool" {
            step.entry("tool_id").or_insert(json!("t"));
        }
    }
    json!({"a_galaxy_workflow": "true", "format-version": "0.1", "name": "w", "steps": steps})
}

fn imported(steps: Value) -> WorkflowDescription {
    import(&native(steps)).unwrap()
}

#[track_caller]
fn refused(value: &Value, err_code: u32, words: &[&str]) {
    let error = import(value).unwrap_err();
    assert_eq!(error.code.err_code(), err_code, "{error}");
    for word in words {
        assert!(error.message.contains(word), "{word:?} is not in {error}");
    }
}

#[track_caller]
fn steps_refused(steps: Value, err_code: u32, words: &[&str]) {
    refused(&native(steps), err_code, words);
}

#[test]
fn a_name_is_needed_but_an_annotation_is_not() {
    refused(&json!({"steps": {}}), 400_008, &["name"]);
    let workflow = imported(json!({}));
    assert_eq!((workflow.name.as_str(), workflow.annotation), ("w", None));
    refused(&json!({"name": "w"}), 400_005, &["steps"]);
    refused(&json!([]), 400_013, &["object"]);
}

#[test]
fn a_step_needs_an_id_and_ids_are_unique() {
    let value = json!({"name": "w", "steps": {"0": {"type": "tool"}}});
    refused(&value, 400_005, &["step \"0\"", "id"]);
    steps_refused(json!({"0": {"id": 7}, "1": {"id": 7}}), 400_011, &["7"]);
}

#[test]
fn a_tool_step_names_its_tool_in_one_way_or_another() {
    steps_refused(
        json!({"0": {"tool_id": null}}),
        400_008,
        &["step 0", "tool_id"],
    );
    let by_content = imported(json!({"0": {"tool_id": null, "content_id": "cat1"}}));
    assert_eq!(by_content.steps[0].tool_id.as_deref(), Some("cat1"));
    let embedded = json!({"class": "GalaxyUserTool"});
    imported(json!({"0": {"tool_id": null, "tool_representation": embedded}}));
}

#[test]
fn step_uuids_are_version_4_and_unique() {
    let v4 = "5dd0ac3f-0aff-4d5b-b9d9-3f4b2e41f6a4";
    steps_refused(
        json!({"0": {"uuid": "nonsense"}}),
        400_004,
        &["step 0", "uuid"],
    );
    let v1 = "5dd0ac3f-0aff-1d5b-b9d9-3f4b2e41f6a4";
    steps_refused(json!({"0": {"uuid": v1}}), 400_004, &["version 4"]);
    steps_refused(
        json!({"0": {"uuid": v4}, "1": {"uuid": v4}}),
        400_011,
        &["uuid"],
    );
    let none = imported(json!({"0": {"uuid": "None"}, "1": {"uuid": null}}));
    assert!(none.steps.iter().all(|step| step.uuid.is_none()));
}

#[test]
fn labels_are_unique_and_fit_their_column() {
    steps_refused(
        json!({"0": {"label": "a"}, "1": {"label": "a"}}),
        400_011,
        &["label \"a\""],
    );
    steps_refused(
        json!({"0": {"label": "a".repeat(256)}}),
        400_004,
        &["label", "255"],
    );
    steps_refused(
        json!({"0": {"type": "a".repeat(65)}}),
        400_004,
        &["type", "64"],
    );
    assert_eq!(imported(json!({"0": {"label": ""}})).steps[0].label, None);
}

#[test]
fn workflow_outputs_are_objects_or_old_names_and_named_once() {
    let workflow = imported(json!({
        "0": {"workflow_outputs": ["out_file1", {"output_name": "b", "label": "B", "uuid": null}]},
        "1": {"workflow_outputs": {"c": {"label": "C"}}},
    }));
    let outputs = workflow.outputs();
    let outputs: Vec<_> = outputs
        .map(|(_, out)| (out.output_name.as_str(), out.label.as_deref()))
        .collect();
    assert_eq!(
        outputs,
        [("out_file1", None), ("b", Some("B")), ("c", Some("C"))]
    );
    steps_refused(
        json!({"0": {"workflow_outputs": ["a", "a"]}}),
        400_004,
        &["step 0", "\"a\""],
    );
    steps_refused(
        json!({"0": {"workflow_outputs": [{"label": "x"}]}}),
        400_004,
        &["name"],
    );
}

#[test]
fn connections_come_single_or_listed_and_must_lead_somewhere() {
    let workflow = imported(json!({
        "0": {}, "1": {},
        "2": {"input_connections": {
            "one": {"id": 0, "output_name": "o"},
            "two": [{"id": "1", "output_name": "o"}, {"id": 0, "output_name": "p"}],
            "none": null, "empty": [],
        }},
    }));
    let inputs = workflow.steps[2].inputs.iter();
    let from = |input: &crate::model::workflow::StepInput| {
        let ends = input.connections.iter();
        (
            input.name.clone(),
            ends.map(|end| end.output_step).collect::<Vec<_>>(),
        )
    };
    let inputs: Vec<_> = inputs.map(from).collect();
    assert_eq!(
        inputs,
        [("one".to_owned(), vec![0]), ("two".to_owned(), vec![1, 0])]
    );
    for bad in [
        json!({"id": 9, "output_name": "o"}),
        json!({"id": 0}),
        json!("x"),
        json!([[]]),
    ] {
        steps_refused(
            json!({"0": {"input_connections": {"i": bad}}}),
            400_013,
            &["step 0", "\"i\""],
        );
    }
}

#[test]
fn defaults_of_inputs_are_read_from_in() {
    let workflow = imported(json!({
        "0": {"type": "data_input", "in": {"default": {"default": {"class": "File"}}}},
        "1": {"in": {"p": {"default": null}, "q": {}}},
    }));
    assert_eq!(
        workflow.steps[0].input_default(),
        Some(&json!({"class": "File"}))
    );
    let input = |name| workflow.steps[1].input(name).unwrap();
    assert!(input("p").default_value_set && input("p").default_value == Some(Value::Null));
    assert!(!input("q").default_value_set);
}

#[test]
fn old_data_inputs_are_labelled_by_their_state_unless_the_name_is_stock_or_taken() {
    let input =
        |name: &str| json!({"type": "data_input", "tool_state": json!({"name": name}).to_string()});
    let mut labelled = input("old");
    labelled["label"] = json!("Taken");
    let workflow = imported(json!({
        "0": input("Input 1"), "1": input("Input Dataset"), "2": labelled, "3": input("Taken"),
        "4": {"type": "pause", "tool_state": "{\"name\": \"Pause for Dataset Review\"}"},
    }));
    let labels: Vec<_> = workflow
        .steps
        .iter()
        .map(|step| step.label.as_deref())
        .collect();
    assert_eq!(labels, [Some("Input 1"), None, Some("Taken"), None, None]);
}

#[test]
fn a_subworkflow_is_embedded_or_listed_but_not_both_nor_elsewhere() {
    let inner = native(json!({"0": {"type": "data_input", "label": "x"}}));
    let step = |fields: Value| {
        let mut step = json!({"type": "subworkflow"});
        step.as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        native(json!({"0": step}))
    };
    refused(&step(json!({})), 400_008, &["step 0"]);
    refused(
        &step(json!({"subworkflow": inner, "content_id": "#a"})),
        400_008,
        &["both"],
    );
    refused(&step(json!({"content_id": "#a"})), 400_008, &["#a"]);
    let remote = json!({"content_id": "https://example.org/w.ga", "content_source": "url"});
    refused(&step(remote), 400_008, &["not fetched"]);
    let mut listed = step(json!({"content_id": "#a"}));
    listed["subworkflows"] = json!({ "a": inner });
    let listed = import(&listed).unwrap();
    assert_eq!(
        import(&step(json!({"subworkflow": inner}))).unwrap(),
        listed
    );
}

#[test]
fn inputs_of_a_subworkflow_are_found_by_id_label_or_number() {
    let inner = native(json!({
        "0": {"type": "data_input", "label": "a", "position": {"left": 9, "top": 9}},
        "1": {"type": "data_input", "position": {"left": 0, "top": 0}},
    }));
    let mut outer = native(json!({
        "0": {"type": "data_input"},
        "1": {"type": "subworkflow", "subworkflow": inner, "input_connections": {
            "by id": {"id": 0, "output_name": "output", "input_subworkflow_step_id": 0},
            "a": {"id": 0, "output_name": "output"},
            "1:Input dataset": {"id": 0, "output_name": "output"},
        }},
    }));
    let inputs = import(&outer).unwrap().steps.remove(1).inputs;
    let found: Vec<_> = inputs
        .iter()
        .map(|input| {
            (
                input.name.as_str(),
                input.connections[0].input_subworkflow_step,
            )
        })
        .collect();
    // The inner steps changed places.
    assert_eq!(
        found,
        [
            ("by id", Some(1)),
            ("a", Some(1)),
            ("0:Input dataset", Some(0))
        ]
    );

    outer["steps"]["1"]["input_connections"]["when"] = json!({"id": 0, "output_name": "output"});
    refused(&outer, 0, &["step 1", "when"]);
    outer["steps"]["1"]["when"] = json!("$(inputs.when)");
    assert!(import(&outer).is_ok());
}

#[test]
fn unlabelled_outputs_of_a_subworkflow_keep_meaning_the_same_step() {
    let inner = native(json!({
        "0": {"workflow_outputs": ["o"], "position": {"left": 9, "top": 9}},
        "1": {"workflow_outputs": [{"output_name": "o", "label": "L"}], "position": {"left": 0, "top": 0}},
    }));
    let workflow = imported(json!({
        "0": {"type": "subworkflow", "subworkflow": inner, "workflow_outputs": ["0:o", "L"],
              "post_job_actions": {"x": {"action_type": "A", "output_name": "0:o"}}},
        "1": {"input_connections": {"i": {"id": 0, "output_name": "0:o"}, "j": {"id": 0, "output_name": "L"}}},
    }));
    assert_eq!(workflow.steps[0].workflow_outputs[0].output_name, "1:o");
    assert_eq!(workflow.steps[0].workflow_outputs[1].output_name, "L");
    assert_eq!(
        workflow.steps[0].post_job_actions[0].output_name.as_deref(),
        Some("1:o")
    );
    assert_eq!(
        workflow.steps[1].inputs[0].connections[0].output_name,
        "1:o"
    );
    assert_eq!(workflow.steps[1].inputs[1].connections[0].output_name, "L");
}

#[test]
fn steps_are_ordered_by_position_then_by_what_they_need() {
    let at = |left: f64, top: f64| json!({"left": left, "top": top, "width": 3});
    let mut value = native(json!({
        "0": {"label": "far", "position": at(130.0, 40.0)},
        "1": {"label": "near", "position": at(10.0, 40.5)},
        "2": {"label": "after far", "position": at(10.0, 50.0),
              "input_connections": {"i": {"id": 0, "output_name": "o"}}},
    }));
    value["comments"] = json!([
        {"id": 5, "type": "frame", "position": [10, 30], "size": [1, 1], "data": {"title": "t"},
         "child_steps": [0, 99], "child_comments": [8]},
        {"id": 8, "type": "freehand", "position": [0, 0], "data": {"line": []}},
    ]);
    let workflow = import(&value).unwrap();
    let labels: Vec<_> = workflow
        .steps
        .iter()
        .map(|step| step.label.as_deref().unwrap())
        .collect();
    assert_eq!(labels, ["near", "far", "after far"]);
    assert_eq!(
        workflow.steps[1].position,
        Some(json!({"left": 120, "top": 10}))
    );
    assert_eq!(
        workflow.steps[0].position,
        Some(json!({"left": 0, "top": 10.5}))
    );
    assert_eq!(workflow.steps[2].inputs[0].connections[0].output_step, 1);
    let frame = &workflow.comments[0];
    assert_eq!(
        (&frame.child_steps, &frame.child_comments),
        (&vec![1], &vec![1])
    );
    assert_eq!(frame.position, Some(json!([0, 0])));
    assert_eq!(workflow.comments[1].position, Some(json!([-10, -30])));
    assert!(!workflow.has_cycles);
}

#[test]
fn without_all_positions_the_file_order_counts_keys_being_numbers() {
    let workflow = imported(json!({
        "10": {"label": "ten"}, "9": {"label": "nine", "position": {"left": 5, "top": 5}},
        "2": {"label": "two", "input_connections": {"i": {"id": 10, "output_name": "o"}}},
    }));
    let labels: Vec<_> = workflow
        .steps
        .iter()
        .map(|step| step.label.as_deref().unwrap())
        .collect();
    assert_eq!(labels, ["nine", "ten", "two"]);
    assert_eq!(
        workflow.steps[0].position,
        Some(json!({"left": 5, "top": 5}))
    );
}

#[test]
fn a_cycle_is_imported_in_file_order_and_marked() {
    let feed = |id: u64| json!({"i": {"id": id, "output_name": "o"}});
    let round = imported(json!({
        "0": {"input_connections": feed(1)}, "1": {"input_connections": feed(0)}, "2": {},
    }));
    assert!(round.has_cycles && round.steps.len() == 3);
    assert!(imported(json!({"0": {"input_connections": feed(0)}})).has_cycles);
}

#[test]
fn a_step_with_errors_marks_the_workflow() {
    let inner = native(json!({"0": {"errors": "tool is gone"}}));
    let workflow = imported(json!({"0": {"type": "subworkflow", "subworkflow": inner}}));
    assert!(workflow.has_errors && workflow.steps[0].subworkflow.as_ref().unwrap().has_errors);
    assert!(!imported(json!({"0": {"errors": null}})).has_errors);
}

#[test]
fn what_contains_itself_or_multiplies_is_refused() {
    let call = |id: &str| json!({"type": "subworkflow", "content_id": format!("#{id}")});
    let mut value = native(json!({"0": call("a")}));
    value["subworkflows"] = json!({ "a": native(json!({"0": call("a")})) });
    refused(&value, 400_008, &["contain themselves"]);

    let mut shared = Object::new();
    for level in 0..18 {
        let next = format!("l{}", level + 1);
        let body = native(json!({"0": call(&next), "1": call(&next), "2": call(&next)}));
        shared.insert(format!("l{level}"), body);
    }
    shared.insert("l18".into(), native(json!({})));
    let mut value = native(json!({"0": call("l0")}));
    value["subworkflows"] = Value::Object(shared);
    refused(&value, 400_008, &["more than"]);
}

#[test]
fn deep_documents_are_refused_before_anything_recurses() {
    let text = "[".repeat(1_000_000);
    assert_eq!(import_text(&text).unwrap_err().code.err_code(), 400_013);
    let mut deep = json!({});
    for _ in 0..200 {
        deep = json!({ "a": deep });
    }
    refused(
        &json!({"name": "w", "steps": {}, "x": deep}),
        400_013,
        &["deep"],
    );
    let mut state = json!(1);
    for _ in 0..60 {
        state = json!({ "a": state });
    }
    steps_refused(
        json!({"0": {"tool_state": state.to_string()}}),
        400_013,
        &["tool_state"],
    );
}

/// Each step fed by the one before and by the first.
fn chain(count: u64) -> Value {
    let mut steps = Object::new();
    for id in 0..count {
        let fed = |from: u64| json!({"id": from, "output_name": "o"});
        let connections = match id {
            0 => json!({}),
            _ => json!({"i": fed(id - 1), "j": fed(0)}),
        };
        let position = json!({"left": id % 100, "top": id / 100});
        let step = json!({"input_connections": connections, "position": position});
        steps.insert(id.to_string(), step);
    }
    native(Value::Object(steps))
}

#[test]
fn a_workflow_of_twenty_thousand_steps_imports_quickly() {
    let value = chain(20_000);
    let started = std::time::Instant::now();
    let workflow = import(&value).unwrap();
    // Unoptimised; quadratic work would take minutes.
    assert!(started.elapsed().as_secs() < 30, "{:?}", started.elapsed());
    assert_eq!(workflow.steps.len(), 20_000);
    assert!(native_of(&workflow)["steps"]["19999"].is_object());
}

#[test]
fn a_long_workflow_goes_through_yaml() {
    let workflow = import(&chain(2_000)).unwrap();
    let again = import_text(&yaml_of(&workflow)).unwrap();
    assert_eq!(as_format2_keeps(&again), as_format2_keeps(&workflow));
}

#[test]
fn the_export_has_galaxys_keys() {
    let inner = native(json!({"0": {"type": "data_input", "label": "x"}}));
    let workflow = imported(json!({
        "0": {"type": "data_input", "label": "in", "annotation": "read me"},
        "2": {"tool_id": "cat1", "name": "Cat", "tool_state": "{\"q\": {\"__class__\": \"RuntimeValue\"}}",
              "input_connections": {"i": [{"id": 0, "output_name": "output"}]},
              "post_job_actions": {"k": {"action_type": "HideDatasetAction", "output_name": "o"}}},
        "1": {"type": "subworkflow", "subworkflow": inner},
    }));
    let written = native_of(&workflow);
    assert_eq!(written["a_galaxy_workflow"], "true");
    assert_eq!(written["format-version"], "0.1");
    assert_eq!(written["annotation"], "");
    let tool = &written["steps"]["2"];
    assert_eq!(tool["content_id"], "cat1");
    assert_eq!(tool["tool_id"], "cat1");
    assert_eq!(
        tool["tool_state"],
        "{\"q\":{\"__class__\":\"RuntimeValue\"}}"
    );
    assert_eq!(
        tool["input_connections"],
        json!({"i": {"id": 0, "output_name": "output"}})
    );
    assert_eq!(
        tool["inputs"],
        json!([{"name": "q", "description": "runtime parameter for tool Cat"}])
    );
    let action =
        json!({"action_type": "HideDatasetAction", "output_name": "o", "action_arguments": {}});
    assert_eq!(
        tool["post_job_actions"],
        json!({"HideDatasetActiono": action})
    );
    assert_eq!(
        written["steps"]["0"]["inputs"],
        json!([{"name": "in", "description": "read me"}])
    );
    assert_eq!(written["steps"]["1"]["subworkflow"]["name"], "w");
    assert!(written["steps"]["1"].get("content_id").is_none());
    let Exported::Json(editor) = export(&workflow, Style::Editor) else {
        panic!("the editor style is JSON");
    };
    assert_eq!(
        editor["steps"]["2"]["tool_state"],
        json!({"q": {"__class__": "RuntimeValue"}})
    );
}

#[test]
fn an_imported_name_gets_its_suffix_once() {
    let once = imported_name("w", "URL");
    assert_eq!(once, "w (imported from URL)");
    assert_eq!(imported_name(&once, "URL"), once);
}

#[test]
fn styles_go_by_galaxys_names() {
    let names = [
        "ga",
        "export",
        "editor",
        "format2",
        "format2_wrapped_yaml",
        "run",
    ];
    let found = names.map(Style::by_name);
    let styles = [
        Style::Native,
        Style::Native,
        Style::Editor,
        Style::Format2,
        Style::Format2Wrapped,
    ];
    assert_eq!(found[..5], styles.map(Some));
    assert_eq!(found[5], None);
}
