//! The JSON that clients read about a workflow.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::http::app::App;
use crate::http::time::iso;
use crate::model::revision::Revision;
use crate::model::workflow::StepDescription;
use crate::store::workflows::StoredWorkflow;

/// The line of a list.
pub fn summary(app: &App, stored: &StoredWorkflow) -> Map<String, Value> {
    let id = app.encode(stored.id);
    let annotations: Vec<&str> = stored.annotation.as_deref().into_iter().collect();
    object(json!({
        "model_class": "StoredWorkflow",
        "url": format!("/api/workflows/{id}"),
        "id": id,
        "name": stored.name,
        "create_time": iso(stored.create_time),
        "update_time": iso(stored.update_time),
        "published": stored.published,
        "importable": stored.importable,
        "deleted": stored.deleted,
        "hidden": stored.hidden,
        "tags": stored.tags,
        "latest_workflow_uuid": stored.latest_workflow_uuid.map(|u| u.to_string()),
        "latest_workflow_id": app.encode(stored.latest_workflow_id),
        "owner": stored.owner,
        "annotations": annotations,
        "number_of_steps": stored.number_of_steps,
        "show_in_tool_panel": stored.show_in_tool_panel,
        "source_metadata": stored.source_metadata,
    }))
}

/// The whole, as of one revision. `legacy` names steps by database id instead of order_index.
pub fn detailed(
    app: &App,
    stored: &StoredWorkflow,
    revision: &Revision,
    version: usize,
    legacy: bool,
) -> Value {
    let description = &revision.description;
    let key = |index: usize| -> i64 {
        let id = revision.step_ids.get(index).copied();
        id.filter(|_| legacy).unwrap_or(index as i64)
    };
    let mut inputs = Map::new();
    let mut steps = Map::new();
    for (index, step) in description.steps.iter().enumerate() {
        let name = key(index).to_string();
        if step.is_input_step() {
            let input = json!({
                "label": step.effective_label().unwrap_or_else(|| stock_label(&step.step_type)),
                "value": "",
                "uuid": step.uuid.map(|u| u.to_string()),
            });
            inputs.insert(name.clone(), input);
        }
        let inner = revision.subrevisions.get(&index).map(|inner| inner.id);
        steps.insert(name, step_shape(app, step, key(index), inner, &key));
    }
    let mut shape = summary(app, stored);
    let digest = Sha256::digest(stored.owner_email.trim().to_lowercase().as_bytes());
    shape.extend(object(json!({
        "annotation": stored.annotation,
        "license": description.license,
        "version": version,
        "inputs": inputs,
        "steps": steps,
        "creator": description.creator,
        "creator_deleted": false,
        "doi": description.doi,
        "email_hash": hex::encode(digest),
        "readme": description.readme,
        "help": description.help,
        "logo_url": description.logo_url,
        "slug": stored.slug,
        "source_metadata": description.source_metadata,
    })));
    Value::Object(shape)
}

fn step_shape(
    app: &App,
    step: &StepDescription,
    id: i64,
    subworkflow: Option<i64>,
    key: &impl Fn(usize) -> i64,
) -> Value {
    let mut input_steps = Map::new();
    for input in &step.inputs {
        if let Some(connection) = input.connections.first() {
            let source = json!({
                "source_step": key(connection.output_step),
                "step_output": connection.output_name,
            });
            input_steps.insert(input.name.clone(), source);
        }
    }
    let name = step.name.as_deref().or(step.label.as_deref());
    let mut shape = object(json!({
        "id": id,
        "type": step.step_type,
        "name": name.or(step.tool_id.as_deref()).unwrap_or(&step.step_type),
        "annotation": step.annotation,
        "tool_inputs": shown_inputs(step),
        "when": step.when_expression,
        "input_steps": input_steps,
    }));
    match subworkflow {
        Some(inner) => drop(shape.insert("workflow_id".to_owned(), app.encode(inner).into())),
        None => {
            shape.insert("tool_id".to_owned(), json!(step.tool_id));
            shape.insert("tool_version".to_owned(), json!(step.tool_version));
        }
    }
    Value::Object(shape)
}

/// A step's state with Galaxy's mark in the place of what is connected, as clients read it: BioBlend's objects take a
/// tool step with an empty state for one that was never configured.
fn shown_inputs(step: &StepDescription) -> Value {
    let mut state = step.tool_inputs.clone();
    if let (Value::Object(state), "tool") = (&mut state, step.step_type.as_str()) {
        for input in &step.inputs {
            let is_top_level = !input.name.contains('|');
            if is_top_level && !input.connections.is_empty() && !state.contains_key(&input.name) {
                state.insert(input.name.clone(), json!({"__class__": "ConnectedValue"}));
            }
        }
    }
    state
}

fn stock_label(step_type: &str) -> &'static str {
    match step_type {
        "data_input" => "Input Dataset",
        "data_collection_input" => "Input Dataset Collection",
        _ => "Input Parameter",
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}
