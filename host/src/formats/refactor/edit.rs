//! Actions that change what the file says: labels, positions, steps, connections.

use serde_json::{Map, Value, json};
use std::collections::HashMap;

use super::super::error::{ImportError, shown};
use super::{InputReference, NewInput, NewStep, OutputReference, Position, StepReference};
use crate::model::workflow::{
    Connection, StepDescription, StepInput, WorkflowDescription, WorkflowOutput,
};

pub(super) fn label(
    workflow: &mut WorkflowDescription,
    step: &StepReference,
    label: &str,
) -> Result<(), ImportError> {
    let index = step.find(workflow)?;
    require_free(workflow, label, Some(index))?;
    workflow.steps[index].label = Some(label.to_owned());
    Ok(())
}

/// Refuses a label that another step has.
pub(super) fn require_free(
    workflow: &WorkflowDescription,
    label: &str,
    but: Option<usize>,
) -> Result<(), ImportError> {
    let mut others = workflow.steps.iter().enumerate();
    match others.any(|(index, step)| Some(index) != but && step.label.as_deref() == Some(label)) {
        false => Ok(()),
        true => Err(ImportError::duplicate(format!(
            "another step has the label {} already.",
            shown(label)
        ))),
    }
}

pub(super) fn position(
    workflow: &mut WorkflowDescription,
    step: &StepReference,
    absolute: Option<Position>,
    shift: Option<Position>,
) -> Result<(), ImportError> {
    let index = step.find(workflow)?;
    let step = &mut workflow.steps[index];
    let place = match (absolute, shift) {
        (Some(place), None) => place,
        (None, Some(shift)) => {
            let of = |name: &str| {
                let position = step.position.as_ref();
                position.and_then(|p| p.get(name)?.as_f64()).unwrap_or(0.0)
            };
            Position {
                left: of("left") + shift.left,
                top: of("top") + shift.top,
            }
        }
        _ => {
            return Err(ImportError::parameter(
                "a position is moved by position_absolute or by position_shift.",
            ));
        }
    };
    step.position = Some(place_of(place));
    Ok(())
}

fn place_of(position: Position) -> Value {
    json!({"left": position.left, "top": position.top})
}

pub(super) fn output_label(
    workflow: &mut WorkflowDescription,
    output: &OutputReference,
    label: &str,
) -> Result<(), ImportError> {
    let index = output.step.find(workflow)?;
    let taken = workflow.outputs().any(|(step, other)| {
        other.label.as_deref() == Some(label)
            && (step.order_index != index || other.output_name != output.name())
    });
    if taken {
        let message = format!("another output has the label {} already.", shown(label));
        return Err(ImportError::duplicate(message));
    }
    let outputs = &mut workflow.steps[index].workflow_outputs;
    match outputs.iter_mut().find(|o| o.output_name == output.name()) {
        Some(marked) => marked.label = Some(label.to_owned()),
        None => outputs.push(WorkflowOutput {
            output_name: output.name().to_owned(),
            label: Some(label.to_owned()),
            uuid: None,
        }),
    }
    Ok(())
}

/// Puts a step behind the others.
pub(super) fn push(
    workflow: &mut WorkflowDescription,
    mut step: StepDescription,
    position: Option<Position>,
) -> Result<usize, ImportError> {
    if let Some(label) = &step.label {
        require_free(workflow, label, None)?;
    }
    let index = workflow.steps.len();
    step.order_index = index;
    step.position = Some(match position {
        Some(position) => place_of(position),
        None => below_all(workflow),
    });
    workflow.steps.push(step);
    Ok(index)
}

/// A place where no step is yet.
fn below_all(workflow: &WorkflowDescription) -> Value {
    let tops = workflow
        .steps
        .iter()
        .filter_map(|step| step.position.as_ref()?.get("top")?.as_f64());
    let lowest = tops.fold(0.0_f64, f64::max);
    json!({"left": 0.0, "top": lowest + 120.0})
}

pub(super) fn add_step(
    workflow: &mut WorkflowDescription,
    new: &NewStep,
    subworkflows: &HashMap<String, WorkflowDescription>,
) -> Result<(), ImportError> {
    let state = match &new.tool_state {
        None | Some(Value::Null) => json!({}),
        Some(state @ Value::Object(_)) => state.clone(),
        Some(Value::String(text)) => match serde_json::from_str::<Map<String, Value>>(text) {
            Ok(state) => Value::Object(state),
            Err(_) => return Err(ImportError::invalid("tool_state is no JSON object.")),
        },
        Some(_) => return Err(ImportError::invalid("tool_state must be an object.")),
    };
    let mut step = StepDescription {
        step_type: new.step_type.clone(),
        label: new.label.clone(),
        tool_inputs: state,
        ..Default::default()
    };
    let content = new.tool_id.as_ref().or(new.content_id.as_ref());
    match new.step_type.as_str() {
        "tool" => {
            step.tool_id = content.cloned();
            step.tool_version = new.tool_version.clone();
        }
        "subworkflow" => {
            let inner = content.and_then(|id| subworkflows.get(id));
            let inner = inner.ok_or_else(|| {
                ImportError::parameter("a subworkflow step needs the content_id of a workflow.")
            })?;
            step.name = Some(inner.name.clone());
            step.subworkflow = Some(Box::new(inner.clone()));
        }
        _ => {}
    }
    push(workflow, step, new.position).map(drop)
}

pub(super) fn add_input(
    workflow: &mut WorkflowDescription,
    new: &NewInput,
) -> Result<usize, ImportError> {
    let mut state = Map::new();
    let mut inputs = Vec::new();
    state.insert("optional".to_owned(), json!(new.optional));
    let step_type = match new.input_type.as_str() {
        "data" | "data_input" | "File" => "data_input",
        "data_collection" | "data_collection_input" | "collection" => {
            let kind = new.collection_type.as_deref().unwrap_or("list");
            state.insert("collection_type".to_owned(), json!(kind));
            "data_collection_input"
        }
        "text" | "string" | "integer" | "int" | "float" | "boolean" | "color" => {
            let kind = match new.input_type.as_str() {
                "string" => "text",
                "int" => "integer",
                kind => kind,
            };
            state.insert("parameter_type".to_owned(), json!(kind));
            if let Some(default) = &new.default {
                state.insert("default".to_owned(), default.clone());
            }
            if let Some(values) = &new.restrictions {
                state.insert("restrictions".to_owned(), json!(values));
            }
            if let Some(restrict) = new.restrict_on_connections {
                state.insert("restrictOnConnections".to_owned(), json!(restrict));
            }
            if let Some(values) = &new.suggestions {
                state.insert("suggestions".to_owned(), json!(values));
            }
            "parameter_input"
        }
        other => {
            let message = format!("there are no inputs of type {}.", shown(other));
            return Err(ImportError::parameter(message));
        }
    };
    if step_type != "parameter_input"
        && let Some(default) = &new.default
    {
        inputs.push(StepInput {
            name: "input".to_owned(),
            default_value: Some(default.clone()),
            default_value_set: true,
            ..Default::default()
        });
    }
    let step = StepDescription {
        step_type: step_type.to_owned(),
        label: new.label.clone(),
        tool_inputs: Value::Object(state),
        inputs,
        ..Default::default()
    };
    push(workflow, step, new.position)
}

pub(super) fn connect(
    workflow: &mut WorkflowDescription,
    input: &InputReference,
    output: &OutputReference,
) -> Result<(), ImportError> {
    let consumer = input.step.find(workflow)?;
    let producer = output.step.find(workflow)?;
    let inner = inner_step(&workflow.steps[consumer], &input.input_name)?;
    let connection = Connection {
        output_step: producer,
        output_name: output.name().to_owned(),
        input_subworkflow_step: inner,
    };
    attach(&mut workflow.steps[consumer], &input.input_name, connection);
    Ok(())
}

/// The input step inside a subworkflow that an input of the subworkflow step stands for.
fn inner_step(step: &StepDescription, input: &str) -> Result<Option<usize>, ImportError> {
    let Some(inner) = &step.subworkflow else {
        return Ok(None);
    };
    let found = inner.input_steps().find(|step| {
        step.effective_label() == Some(input) || step.order_index.to_string() == input
    });
    match found {
        Some(step) => Ok(Some(step.order_index)),
        None => Err(ImportError::malformed(format!(
            "the subworkflow has no input {}.",
            shown(input)
        ))),
    }
}

/// Connects an input of a step, once.
pub(super) fn attach(step: &mut StepDescription, input: &str, connection: Connection) {
    match step.inputs.iter_mut().find(|i| i.name == input) {
        Some(known) if known.connections.contains(&connection) => {}
        Some(known) => known.connections.push(connection),
        None => step.inputs.push(StepInput {
            name: input.to_owned(),
            connections: vec![connection],
            ..Default::default()
        }),
    }
}

pub(super) fn disconnect(
    workflow: &mut WorkflowDescription,
    input: &InputReference,
    output: &OutputReference,
) -> Result<(), ImportError> {
    let consumer = input.step.find(workflow)?;
    let producer = output.step.find(workflow)?;
    let none = || {
        ImportError::parameter(format!(
            "{} is not connected to that output.",
            shown(&input.input_name)
        ))
    };
    let step = &mut workflow.steps[consumer];
    let known = step.inputs.iter_mut().find(|i| i.name == input.input_name);
    let known = known.ok_or_else(none)?;
    let before = known.connections.len();
    known
        .connections
        .retain(|c| c.output_step != producer || c.output_name != output.name());
    if known.connections.len() == before {
        return Err(none());
    }
    step.inputs
        .retain(|i| !i.connections.is_empty() || i.default_value_set || i.value_from.is_some());
    Ok(())
}
