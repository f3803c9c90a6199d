//! Export to Galaxy's native format with the keys Galaxy writes and BioBlend, Planemo and
//! gxformat2 read.

use super::Style;
use super::fields::Object;
use super::{actions, comments};
use crate::model::workflow::{
    DeclaredInput, StepDescription, StepInput, WorkflowDescription, is_runtime_value,
};
use serde_json::{Value, json};

/// `style` is [`Style::Native`] or [`Style::Editor`].
pub(super) fn write(workflow: &WorkflowDescription, style: Style) -> Value {
    let mut file = Object::new();
    let mut put = |key: &str, value: Value| file.insert(key.to_owned(), value);
    put("a_galaxy_workflow", json!("true"));
    put(
        "annotation",
        json!(workflow.annotation.as_deref().unwrap_or("")),
    );
    let comments = workflow.comments.iter().map(comments::to_native);
    put("comments", comments.collect());
    let optional = [
        ("creator", workflow.creator.clone()),
        (
            "doi",
            (!workflow.doi.is_empty()).then(|| json!(workflow.doi)),
        ),
        ("help", workflow.help.as_ref().map(|text| json!(text))),
        ("license", workflow.license.as_ref().map(|text| json!(text))),
        (
            "logo_url",
            workflow.logo_url.as_ref().map(|text| json!(text)),
        ),
        ("readme", workflow.readme.as_ref().map(|text| json!(text))),
        ("release", workflow.release.as_ref().map(|text| json!(text))),
        ("report", workflow.report.clone()),
        ("source_metadata", workflow.source_metadata.clone()),
    ];
    for (key, value) in optional {
        if let Some(value) = value {
            put(key, value);
        }
    }
    put("format-version", json!("0.1"));
    put("name", json!(workflow.name));
    let steps = workflow.steps.iter();
    let steps = steps.map(|step| (step.order_index.to_string(), write_step(step, style)));
    put("steps", Value::Object(steps.collect()));
    put("tags", json!(workflow.tags));
    if let Some(uuid) = workflow.uuid {
        put("uuid", json!(uuid));
    }
    if style == Style::Editor {
        put("upgrade_messages", json!({}));
    }
    Value::Object(file)
}

fn write_step(step: &StepDescription, style: Style) -> Value {
    let mut written = Object::new();
    let mut put = |key: &str, value: Value| written.insert(key.to_owned(), value);
    let is_subworkflow = step.subworkflow.is_some();
    put(
        "annotation",
        json!(step.annotation.as_deref().unwrap_or("")),
    );
    if !is_subworkflow {
        put("content_id", json!(step.tool_id));
    }
    put("errors", json!(step.tool_errors));
    put("id", json!(step.order_index));
    put("input_connections", input_connections(step));
    put("inputs", declared_inputs(step));
    put("label", json!(step.label));
    put("name", json!(step.name));
    let outputs = step.declared_outputs.iter();
    let outputs = outputs.map(|output| json!({"name": output.name, "type": output.output_type}));
    put("outputs", outputs.collect());
    put(
        "position",
        step.position.clone().unwrap_or_else(|| json!({})),
    );
    if step.step_type == "tool" || !step.post_job_actions.is_empty() {
        put(
            "post_job_actions",
            actions::to_native(&step.post_job_actions),
        );
    }
    put("tool_id", json!(step.tool_id));
    put(
        "tool_state",
        match style {
            Style::Editor => step.tool_inputs.clone(),
            _ => json!(step.tool_inputs.to_string()),
        },
    );
    put("tool_version", json!(step.tool_version));
    put("type", json!(step.step_type));
    put("uuid", json!(step.uuid));
    put("when", json!(step.when_expression));
    let workflow_outputs = step.workflow_outputs.iter().map(|output| {
        json!({"label": output.label, "output_name": output.output_name, "uuid": output.uuid})
    });
    put("workflow_outputs", workflow_outputs.collect());
    let defaults = input_details(step);
    let optional = [
        ("config", step.config.clone()),
        (
            "in",
            (!defaults.is_empty()).then_some(Value::Object(defaults)),
        ),
        (
            "subworkflow",
            step.subworkflow.as_ref().map(|inner| write(inner, style)),
        ),
        ("tool_representation", step.tool_representation.clone()),
        ("tool_shed_repository", step.tool_shed_repository.clone()),
        ("tool_uuid", step.tool_uuid.map(|uuid| json!(uuid))),
    ];
    for (key, value) in optional {
        if let Some(value) = value {
            put(key, value);
        }
    }
    Value::Object(written)
}

/// A single connection as an object, several as a list, as Galaxy has it for old readers.
fn input_connections(step: &StepDescription) -> Value {
    let connected = step
        .inputs
        .iter()
        .filter(|input| !input.connections.is_empty());
    let written = connected.map(|input| {
        let mut list: Vec<Value> = input
            .connections
            .iter()
            .map(|connection| {
                let mut written =
                    json!({"id": connection.output_step, "output_name": connection.output_name});
                if let Some(inner_step) = connection.input_subworkflow_step {
                    written["input_subworkflow_step_id"] = json!(inner_step);
                }
                written
            })
            .collect();
        let value = match list.len() {
            1 => list.remove(0),
            _ => Value::Array(list),
        };
        (input.name.clone(), value)
    });
    Value::Object(written.collect())
}

/// `in`: inputs with a default, or with anything else that connections do not say.
fn input_details(step: &StepDescription) -> Object {
    let inputs = step.inputs.iter().filter_map(|input| {
        let details = details(input);
        let says_more = !details.is_empty() || input.connections.is_empty();
        says_more.then(|| (input.name.clone(), Value::Object(details)))
    });
    inputs.collect()
}

/// The fields of an input other than its connections, which both formats write alike.
pub(super) fn details(input: &StepInput) -> Object {
    let default = input.default_value.clone().unwrap_or(Value::Null);
    let fields = [
        ("default", input.default_value_set.then_some(default)),
        (
            "merge_type",
            input.merge_type.as_ref().map(|text| json!(text)),
        ),
        (
            "scatter_type",
            input.scatter_type.as_ref().map(|text| json!(text)),
        ),
        ("value_from", input.value_from.clone()),
        (
            "value_from_type",
            input.value_from_type.as_ref().map(|text| json!(text)),
        ),
        ("runtime_value", input.runtime_value.then_some(json!(true))),
    ];
    let given = fields
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)));
    given.collect()
}

fn declared_inputs(step: &StepDescription) -> Value {
    let entry =
        |input: &DeclaredInput| json!({"name": input.name, "description": input.description});
    match step.declared_inputs.as_slice() {
        [] => default_declared_inputs(step).iter().map(entry).collect(),
        declared => declared.iter().map(entry).collect(),
    }
}

/// What Galaxy would say where a file says nothing: the input itself, or what is open at run
/// time.
fn default_declared_inputs(step: &StepDescription) -> Vec<DeclaredInput> {
    let declared = |name: &str, description: &str| DeclaredInput {
        name: name.to_owned(),
        description: description.to_owned(),
    };
    if step.is_input_step() {
        let annotation = step.annotation.as_deref().unwrap_or("");
        let label = step.effective_label();
        return label
            .map(|label| declared(label, annotation))
            .into_iter()
            .collect();
    }
    let tool = step.name.as_deref().unwrap_or("");
    let state = step.tool_inputs.as_object().into_iter().flatten();
    let open = state.filter(|(_, value)| is_runtime_value(value));
    open.map(|(name, _)| declared(name, &format!("runtime parameter for tool {tool}")))
        .collect()
}

/// Fills in `declared_inputs` where a file has none, so that it does not matter whether a
/// description was ever written out.
pub(super) fn declare_inputs(workflow: &mut WorkflowDescription) {
    for step in &mut workflow.steps {
        if step.declared_inputs.is_empty() {
            step.declared_inputs = default_declared_inputs(step);
        }
        if let Some(inner) = &mut step.subworkflow {
            declare_inputs(inner);
        }
    }
}
