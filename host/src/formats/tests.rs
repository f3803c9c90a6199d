//! Tests of the formats as a whole: both importers, both exporters, and the way round.

mod corpus;
mod format2_rules;
mod generated;
mod native_rules;

use super::*;
use crate::model::workflow::StepDescription;

fn import_text(text: &str) -> Result<WorkflowDescription, ImportError> {
    import_bytes(text.as_bytes())
}

fn yaml_of(workflow: &WorkflowDescription) -> String {
    export(workflow, Style::Format2).into_text()
}

fn native_of(workflow: &WorkflowDescription) -> Value {
    match export(workflow, Style::Native) {
        Exported::Json(value) => value,
        Exported::Yaml(_) => unreachable!("native is JSON"),
    }
}

/// Takes out of `workflow` what format2 has no place for (see `format2_export`).
fn as_format2_keeps(workflow: &WorkflowDescription) -> WorkflowDescription {
    let mut kept = workflow.clone();
    for step in &mut kept.steps {
        keep(step);
    }
    kept
}

fn keep(step: &mut StepDescription) {
    step.name = None;
    step.config = None;
    step.declared_inputs.clear();
    step.declared_outputs.clear();
    for output in &mut step.workflow_outputs {
        output.uuid = None;
    }
    let key = |action: &crate::model::workflow::PostJobAction| format!("{action:?}");
    step.post_job_actions.sort_by_key(key);
    let is_input = step.is_input_step();
    let state = step
        .tool_inputs
        .as_object_mut()
        .expect("states are objects");
    state.retain(|key, value| {
        let dropped = is_input && (key == "name" || value.is_null() && key != "default");
        !dropped && !super::state::IGNORABLE.contains(&key.as_str())
    });
    if is_input {
        step.uuid = None;
        keep_input_state(&step.step_type, state);
    }
    if step.step_type == "pause" && !state.contains_key("name") {
        let name = step.label.as_deref().unwrap_or("Pause for dataset review");
        state.insert("name".into(), json!(name));
    }
    if let Some(inner) = &mut step.subworkflow {
        **inner = as_format2_keeps(inner);
    }
}

fn keep_input_state(step_type: &str, state: &mut Object) {
    if step_type == "parameter_input" {
        state.entry("parameter_type").or_insert(json!("text"));
    }
    if let Some(Value::String(format)) = state.get("format").cloned() {
        state.insert("format".into(), json!([format]));
    }
    if let Some(Value::Array(validators)) = state.get_mut("validators") {
        for validator in validators.iter_mut().filter_map(Value::as_object_mut) {
            validator.entry("negate").or_insert(json!(false));
            if validator.get("type") == Some(&json!("in_range")) {
                validator.entry("min").or_insert(Value::Null);
                validator.entry("max").or_insert(Value::Null);
            }
        }
    }
}
