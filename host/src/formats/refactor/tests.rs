use super::*;
use crate::model::workflow::{PostJobAction, StepDescription};

struct OneTool;

impl Tools for OneTool {
    fn newest(&self, id: &str) -> Option<String> {
        (id == "head").then(|| "2".to_owned())
    }
    fn input(&self, id: &str, _: Option<&str>, _: &Value, path: &str) -> Option<ToolInput> {
        let type_name = match (id, path) {
            ("head", "input") => "data",
            ("head", "options|lines") => "integer",
            _ => return None,
        };
        Some(ToolInput {
            type_name: type_name.to_owned(),
            optional: false,
        })
    }
    fn with_defaults(&self, id: &str, version: Option<&str>, state: &Value) -> Option<Value> {
        if id != "head" || !matches!(version, Some("1" | "2")) {
            return None;
        }
        let mut state = state.clone();
        state["header"] = json!(false);
        Some(state)
    }
}

fn workflow() -> WorkflowDescription {
    let input = StepDescription {
        step_type: "data_input".into(),
        label: Some("data".into()),
        tool_inputs: json!({}),
        ..Default::default()
    };
    let tool = StepDescription {
        order_index: 1,
        step_type: "tool".into(),
        tool_id: Some("head".into()),
        tool_version: Some("1".into()),
        label: Some("first lines".into()),
        tool_inputs: json!({"options": {"lines": 3}, "title": "${title}"}),
        post_job_actions: vec![PostJobAction {
            action_type: "RenameDatasetAction".into(),
            output_name: Some("out".into()),
            action_arguments: json!({"newname": "${title} of it"}),
        }],
        ..Default::default()
    };
    WorkflowDescription {
        name: "w".into(),
        steps: vec![input, tool],
        ..Default::default()
    }
}

fn done(actions: Value) -> (WorkflowDescription, Vec<Vec<Message>>) {
    let mut workflow = workflow();
    let actions = parse(&actions).expect("readable");
    let told = apply(&mut workflow, &actions, &OneTool, &HashMap::new()).expect("possible");
    (workflow, told)
}

fn refused(actions: Value) -> String {
    let read = parse(&actions);
    let result = read
        .and_then(|actions| apply(&mut workflow(), &actions, &OneTool, &HashMap::new()).map(drop));
    result.expect_err("refused").message
}

#[test]
fn an_input_is_added_and_named_within_one_request() {
    let (workflow, told) = done(json!([
        {"action_type": "add_input", "type": "data", "label": "foo"},
        {"action_type": "update_step_label", "label": "bar", "step": {"label": "foo"}},
    ]));
    assert_eq!(told, [vec![], vec![]]);
    let labels: Vec<_> = workflow.steps.iter().map(|s| s.label.as_deref()).collect();
    assert_eq!(labels, [Some("data"), Some("first lines"), Some("bar")]);
}

#[test]
fn steps_are_connected_and_disconnected() {
    let connect = json!({"action_type": "connect",
        "input": {"label": "first lines", "input_name": "input"}, "output": {"order_index": 0}});
    let (workflow, _) = done(json!([connect, connect]));
    let input = workflow.steps[1].input("input").expect("connected");
    assert_eq!(input.connections.len(), 1);
    let mut both = json!([connect, connect]);
    both[1]["action_type"] = json!("disconnect");
    let (workflow, _) = done(both);
    assert!(workflow.steps[1].input("input").is_none());
    let mut alone = connect;
    alone["action_type"] = json!("disconnect");
    assert!(refused(json!([alone])).contains("action 0"));
}

#[test]
fn a_value_of_a_step_becomes_an_input_with_that_default() {
    let (workflow, _) = done(json!([{"action_type": "extract_input",
        "input": {"order_index": 1, "input_name": "options|lines"}, "label": "how many"}]));
    let tool = workflow.step_by_label("first lines").expect("the tool");
    let input = workflow.step_by_label("how many").expect("the new input");
    assert_eq!(input.tool_inputs["parameter_type"], "integer");
    assert_eq!(input.tool_inputs["default"], 3);
    let connection = &tool.input("options|lines").expect("connected").connections[0];
    assert_eq!(connection.output_step, input.order_index);
    // What feeds comes first.
    assert!(input.order_index < tool.order_index);
}

#[test]
fn an_untyped_parameter_becomes_a_text_input_everywhere() {
    let (workflow, _) = done(
        json!([{"action_type": "extract_untyped_parameter", "name": "title", "label": "heading"}]),
    );
    let tool = workflow.step_by_label("first lines").expect("the tool");
    assert!(tool.input("title").is_some());
    assert_eq!(
        tool.post_job_actions[0].action_arguments["newname"],
        "${heading} of it"
    );
    assert!(
        refused(json!([{"action_type": "extract_untyped_parameter", "name": "nothing"}]))
            .contains("nothing")
    );
}

#[test]
fn a_tool_is_upgraded_and_tells_so() {
    let (workflow, told) = done(json!([{"action_type": "upgrade_all_steps"}]));
    assert_eq!(workflow.steps[1].tool_version.as_deref(), Some("2"));
    assert_eq!(told[0][0].kind, "tool_version_change");
    assert_eq!(told[0][0].to_json()["order_index"], 1);
    let wrong =
        json!([{"action_type": "upgrade_tool", "step": {"order_index": 1}, "tool_version": "9"}]);
    assert!(refused(wrong).contains("no version"));
    let (workflow, told) = done(json!([{"action_type": "fill_defaults"}]));
    assert_eq!(workflow.steps[1].tool_inputs["header"], false);
    assert_eq!(told[0].len(), 1);
}

#[test]
fn texts_about_the_whole_are_changed() {
    let (workflow, _) = done(json!([
        {"action_type": "update_name", "name": "n"},
        {"action_type": "update_annotation", "annotation": "a"},
        {"action_type": "update_license", "license": "MIT"},
        {"action_type": "update_creator", "creator": [{"class": "Person", "name": "Ada"}]},
        {"action_type": "update_report", "report": {"markdown": "# r"}},
        {"action_type": "update_output_label", "output": {"order_index": 1, "output_name": "out"}, "output_label": "o"},
        {"action_type": "remove_unlabeled_workflow_outputs"},
        {"action_type": "update_step_position", "step": {"order_index": 0}, "position_shift": {"left": 3, "top": 4}},
    ]));
    assert_eq!(
        (workflow.name.as_str(), workflow.license.as_deref()),
        ("n", Some("MIT"))
    );
    let output = workflow.outputs().next().expect("marked").1;
    assert_eq!(output.label.as_deref(), Some("o"));
    assert_eq!(
        workflow.steps[0].position,
        Some(json!({"left": 3.0, "top": 4.0}))
    );
}

#[test]
fn what_cannot_be_done_is_refused_with_its_place() {
    for action in [
        json!({"action_type": "explode"}),
        json!({}),
        json!(7),
        json!({"action_type": "update_step_label", "step": {"order_index": 99}, "label": "x"}),
        json!({"action_type": "update_step_label", "step": {}, "label": "x"}),
        json!({"action_type": "update_step_label", "step": {"order_index": 1}, "label": "data"}),
        json!({"action_type": "add_input", "type": "moon"}),
        json!({"action_type": "add_input", "type": "data", "label": "data"}),
        json!({"action_type": "add_step", "type": "subworkflow"}),
        json!({"action_type": "add_step", "type": "tool"}),
        json!({"action_type": "upgrade_subworkflow", "step": {"order_index": 1}}),
        json!({"action_type": "update_name", "name": " "}),
    ] {
        let said = refused(json!([action]));
        assert!(!said.is_empty(), "{action}");
    }
    assert!(refused(json!({"a": 1})).contains("list"));
    assert!(refused(Value::Array(vec![json!({}); ACTIONS_MAX + 1])).contains("More than"));
}
