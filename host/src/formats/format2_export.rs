//! Export to format2, for people to read and edit, and for gxformat2.
//!
//! Steps are numbered with the inputs first; importing puts them back in order. Format2 has no
//! place for these, so they come back as an import gives them: the display `name` of a step,
//! `declared_inputs` and `declared_outputs`, `config`, uuids of inputs and of workflow outputs,
//! null values in the state of an input, and bookkeeping like `__page__`. A step without a
//! position comes back with one. A list of validators that says no more than a range comes
//! back as that range.

use super::fields::Object;
use super::format2::{
    AFTER_INPUT, ANONYMOUS_OUTPUT, UNLABELED_INPUT, UNLABELED_STEP, is_user_tool,
};
use super::native_export::details;
use super::references::Names;
use super::{actions, comments, order, state};
use crate::model::workflow::{
    NO_INPUT_OUTPUT_NAME, StepDescription, StepInput, WorkflowDescription,
};
use serde_json::{Value, json};
use std::collections::HashSet;

pub(super) fn write(workflow: &WorkflowDescription) -> Value {
    let mut workflow = workflow.clone();
    order::inputs_first(&mut workflow);
    write_workflow(&workflow)
}

/// `workflow` is numbered with its inputs first, all the way down.
fn write_workflow(workflow: &WorkflowDescription) -> Value {
    let ids: Vec<String> = workflow.steps.iter().map(step_id).collect();
    let mut names = Names::new(ids.len());
    for (index, id) in ids.iter().enumerate() {
        names.add(id.as_str(), index);
    }
    let reference = |step: usize, output: &str| match ids.get(step) {
        Some(id) => names.reference(step, id, output),
        None => format!("{step}/{output}"),
    };

    let mut file = Object::new();
    put(&mut file, "class", Some(json!("GalaxyWorkflow")));
    put(&mut file, "label", Some(json!(workflow.name)));
    put(&mut file, "doc", text(&workflow.annotation));
    put(&mut file, "creator", workflow.creator.clone());
    put(&mut file, "license", text(&workflow.license));
    put(&mut file, "release", text(&workflow.release));
    put(&mut file, "tags", list(&workflow.tags));
    put(&mut file, "uuid", workflow.uuid.map(|uuid| json!(uuid)));
    put(
        &mut file,
        "source_metadata",
        workflow.source_metadata.clone(),
    );
    put(&mut file, "logo_url", text(&workflow.logo_url));
    put(&mut file, "doi", list(&workflow.doi));
    put(&mut file, "help", text(&workflow.help));
    put(&mut file, "readme", text(&workflow.readme));

    let (inputs, steps): (Vec<_>, Vec<_>) = workflow
        .steps
        .iter()
        .zip(&ids)
        .partition(|(step, _)| step.is_input_step());
    let inputs = inputs
        .into_iter()
        .map(|(step, id)| (id.clone(), write_input(step)));
    file.insert("inputs".into(), Value::Object(inputs.collect()));
    file.insert("outputs".into(), write_outputs(workflow, &reference));
    let steps = steps.into_iter();
    let steps = steps.map(|(step, id)| (id.clone(), write_step(step, id, &reference)));
    file.insert("steps".into(), Value::Object(steps.collect()));

    let step_name = |step: usize| ids.get(step).map(String::as_str);
    let remarks = workflow.comments.iter();
    let remarks: Vec<Value> = remarks
        .map(|comment| comments::to_format2(comment, step_name))
        .collect();
    put(
        &mut file,
        "comments",
        (!remarks.is_empty()).then_some(Value::Array(remarks)),
    );
    put(&mut file, "report", workflow.report.clone());
    Value::Object(file)
}

fn put(map: &mut Object, key: &str, value: Option<Value>) {
    if let Some(value) = value {
        map.insert(key.to_owned(), value);
    }
}

fn text(text: &Option<String>) -> Option<Value> {
    text.as_ref().map(|text| json!(text))
}

fn list(items: &[String]) -> Option<Value> {
    (!items.is_empty()).then(|| json!(items))
}

/// The key of an input or step: its label, or a made-up id that says there is none.
fn step_id(step: &StepDescription) -> String {
    let prefix = if step.is_input_step() {
        UNLABELED_INPUT
    } else {
        UNLABELED_STEP
    };
    match &step.label {
        Some(label) => label.clone(),
        None => format!("{prefix}{}", step.order_index),
    }
}

fn write_outputs(
    workflow: &WorkflowDescription,
    reference: &impl Fn(usize, &str) -> String,
) -> Value {
    let mut anonymous = 0;
    let mut seen = HashSet::new();
    let mut labels_repeat = false;
    let mut outputs = Vec::new();
    for (step, output) in workflow.outputs() {
        let id = output.label.clone().unwrap_or_else(|| {
            anonymous += 1;
            format!("{ANONYMOUS_OUTPUT}{anonymous}")
        });
        labels_repeat |= !seen.insert(id.clone());
        outputs.push((id, reference(step.order_index, &output.output_name)));
    }
    // A map reads better, but cannot hold a label twice.
    let outputs = outputs.into_iter();
    if labels_repeat {
        return outputs
            .map(|(id, source)| json!({"id": id, "outputSource": source}))
            .collect();
    }
    let outputs = outputs.map(|(id, source)| (id, json!({"outputSource": source})));
    Value::Object(outputs.collect())
}

const INPUT_FIELD_ORDER: [&str; 8] = [
    "type",
    "doc",
    "optional",
    "default",
    "min",
    "max",
    "collection_type",
    "format",
];

fn write_input(step: &StepDescription) -> Value {
    let mut fields = Object::new();
    put(&mut fields, "type", Some(input_type(step)));
    put(&mut fields, "doc", text(&step.annotation));
    let empty = Object::new();
    let state = step.tool_inputs.as_object().unwrap_or(&empty);
    let range = simple_range(step);
    let is_parameter = step.step_type == "parameter_input";
    for (key, value) in state {
        let told_otherwise = match key.as_str() {
            "name" | "parameter_type" => true,
            "multiple" => is_parameter && value == &Value::Bool(true),
            "validators" => range.is_some(),
            key => state::IGNORABLE.contains(&key),
        };
        if !told_otherwise && (!value.is_null() || key == "default") {
            fields.insert(key.clone(), value.clone());
        }
    }
    for (bound, value) in range.into_iter().flatten() {
        fields.insert(bound.to_owned(), value);
    }
    if !is_parameter {
        put(&mut fields, "default", step.input_default().cloned());
    }
    // One order whatever the state's, so that the text does not change from export to export.
    let mut told: Vec<(String, Value)> = fields.into_iter().collect();
    told.sort_by_cached_key(|(key, _)| {
        let place = INPUT_FIELD_ORDER.iter().position(|field| field == key);
        (place.unwrap_or(INPUT_FIELD_ORDER.len()), key.clone())
    });
    let mut fields: Object = told.into_iter().collect();
    put(&mut fields, "position", step.position.clone());
    Value::Object(fields)
}

fn input_type(step: &StepDescription) -> Value {
    let parameter_type = match step.step_type.as_str() {
        "data_input" => "data",
        "data_collection_input" => "collection",
        _ => match step.parameter_type() {
            Some("integer") => "int",
            Some("text") | None => "string",
            Some(other) => other,
        },
    };
    let multiple = step.tool_inputs.get("multiple") == Some(&Value::Bool(true));
    match multiple && step.step_type == "parameter_input" {
        true => json!([parameter_type]),
        false => json!(parameter_type),
    }
}

/// The bounds of a number whose only validator is a plain range.
fn simple_range(step: &StepDescription) -> Option<Vec<(&'static str, Value)>> {
    if !matches!(step.parameter_type()?, "integer" | "float") {
        return None;
    }
    let [validator] = step.tool_inputs.get("validators")?.as_array()?.as_slice() else {
        return None;
    };
    let validator = validator.as_object()?;
    let plain = validator.iter().all(|(key, value)| match key.as_str() {
        "type" => value == "in_range",
        "negate" => value == &Value::Bool(false),
        "min" | "max" => true,
        _ => false,
    });
    let bounds = ["min", "max"].into_iter().filter_map(|bound| {
        let value = validator.get(bound).filter(|value| !value.is_null())?;
        Some((bound, value.clone()))
    });
    let bounds: Vec<_> = bounds.collect();
    let typed = validator.contains_key("type");
    (plain && typed && !bounds.is_empty()).then_some(bounds)
}

fn write_step(
    step: &StepDescription,
    id: &str,
    reference: &impl Fn(usize, &str) -> String,
) -> Value {
    let mut fields = Object::new();
    let is_number = id.bytes().all(|byte| byte.is_ascii_digit());
    if step.label.is_some() && is_number {
        // A number as a key would say that there is no label.
        put(&mut fields, "label", text(&step.label));
    }
    put(&mut fields, "doc", text(&step.annotation));
    let (run_tool, other_tool) = match &step.tool_representation {
        Some(tool) if step.step_type == "tool" && is_user_tool(tool) => (Some(tool.clone()), None),
        other => (None, other.clone()),
    };
    if step.step_type != "tool" && step.subworkflow.is_none() {
        put(&mut fields, "type", Some(json!(step.step_type)));
    }
    put(&mut fields, "tool_id", text(&step.tool_id));
    put(&mut fields, "tool_version", text(&step.tool_version));
    put(
        &mut fields,
        "tool_uuid",
        step.tool_uuid.map(|uuid| json!(uuid)),
    );
    put(
        &mut fields,
        "tool_shed_repository",
        step.tool_shed_repository.clone(),
    );
    let inputs = step
        .inputs
        .iter()
        .map(|input| write_step_input(input, reference));
    let inputs: Object = inputs.collect();
    put(
        &mut fields,
        "in",
        (!inputs.is_empty()).then_some(Value::Object(inputs)),
    );
    let (out, explicit_actions) = actions::to_format2(&step.post_job_actions);
    put(&mut fields, "out", out);
    put(&mut fields, "post_job_actions", explicit_actions);
    put(&mut fields, "when", text(&step.when_expression));
    write_state(step, &mut fields);
    put(&mut fields, "errors", step.tool_errors.clone());
    put(&mut fields, "position", step.position.clone());
    put(&mut fields, "uuid", step.uuid.map(|uuid| json!(uuid)));
    let inner = step.subworkflow.as_deref().map(write_workflow);
    put(&mut fields, "tool_representation", other_tool);
    put(&mut fields, "run", inner.or(run_tool));
    Value::Object(fields)
}

fn write_step_input(
    input: &StepInput,
    reference: &impl Fn(usize, &str) -> String,
) -> (String, Value) {
    let mut non_data = input
        .connections
        .iter()
        .map(|connection| input.is_non_data(connection));
    let only_after = !input.connections.is_empty() && non_data.all(|non_data| non_data);
    let sources = input.connections.iter().map(|connection| {
        let text = reference(connection.output_step, &connection.output_name);
        let bare = only_after
            .then(|| text.strip_suffix(NO_INPUT_OUTPUT_NAME))
            .flatten();
        let bare = bare.and_then(|bare| bare.strip_suffix('/'));
        json!(bare.unwrap_or(&text))
    });
    let mut sources: Vec<Value> = sources.collect();
    let source = match sources.len() {
        0 => None,
        1 => Some(sources.remove(0)),
        _ => Some(Value::Array(sources)),
    };
    let mut fields = Object::new();
    put(&mut fields, "source", source);
    fields.extend(details(input));
    let name = if only_after {
        AFTER_INPUT
    } else {
        input.name.as_str()
    };
    (name.to_owned(), Value::Object(fields))
}

fn write_state(step: &StepDescription, fields: &mut Object) {
    let state = step.tool_inputs.as_object().cloned().unwrap_or_default();
    let kept = state
        .into_iter()
        .filter(|(key, _)| !state::IGNORABLE.contains(&key.as_str()));
    let mut kept: Object = kept.collect();
    match step.step_type.as_str() {
        "pause" => {
            // The stock state is made from the label again.
            let stock = step.label.as_deref().unwrap_or("Pause for dataset review");
            if kept.len() == 1 && kept.get("name").and_then(Value::as_str) == Some(stock) {
                kept.clear();
            }
            put(
                fields,
                "tool_state",
                (!kept.is_empty()).then_some(Value::Object(kept)),
            );
        }
        "pick_value" => put(
            fields,
            "state",
            (!kept.is_empty()).then_some(Value::Object(kept)),
        ),
        _ => put(
            fields,
            "tool_state",
            (!kept.is_empty()).then_some(Value::Object(kept)),
        ),
    }
}
