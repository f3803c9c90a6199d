//! Actions that bring steps up to date with tools and workflows.

use std::collections::{HashMap, HashSet};

use super::super::error::{ImportError, shown};
use super::{Message, Tools};
use crate::model::workflow::WorkflowDescription;

/// Writes a tool's defaults into a step's state; tells if that changed it.
pub(super) fn fill(
    workflow: &mut WorkflowDescription,
    index: usize,
    tools: &dyn Tools,
) -> Option<Message> {
    let step = workflow.steps.get_mut(index)?;
    let id = step.tool_id.as_deref()?;
    let filled = tools.with_defaults(id, step.tool_version.as_deref(), &step.tool_inputs)?;
    if filled == step.tool_inputs {
        return None;
    }
    step.tool_inputs = filled;
    Some(Message {
        kind: "tool_state_adjustment",
        text: "The tool's defaults were filled in.".to_owned(),
        step: Some(index),
        step_label: step.label.clone(),
        input_name: None,
    })
}

/// Moves a tool step to another version, the newest if none is named. Connections to inputs that it has not got go.
pub(super) fn tool(
    workflow: &mut WorkflowDescription,
    index: usize,
    version: Option<&str>,
    tools: &dyn Tools,
) -> Result<Vec<Message>, ImportError> {
    let step = &mut workflow.steps[index];
    if step.step_type != "tool" {
        return Err(ImportError::parameter(format!("step {index} is no tool.")));
    }
    let id = step.tool_id.clone().unwrap_or_default();
    let newest = tools.newest(&id).ok_or_else(|| {
        ImportError::parameter(format!("the tool {} is not installed.", shown(&id)))
    })?;
    let wanted = version.map_or(newest, str::to_owned);
    let filled = tools.with_defaults(&id, Some(&wanted), &step.tool_inputs);
    let filled = filled.ok_or_else(|| {
        ImportError::parameter(format!(
            "the tool {} has no version {}.",
            shown(&id),
            shown(&wanted)
        ))
    })?;
    let mut messages = Vec::new();
    if step.tool_version.as_deref() == Some(&wanted) {
        return Ok(messages);
    }
    messages.push(Message {
        kind: "tool_version_change",
        text: format!(
            "The tool's version is {wanted} instead of {}.",
            step.tool_version.as_deref().unwrap_or("none")
        ),
        step: Some(index),
        step_label: step.label.clone(),
        input_name: None,
    });
    step.tool_inputs = filled;
    step.tool_version = Some(wanted.clone());
    step.tool_errors = None;
    let label = step.label.clone();
    let state = step.tool_inputs.clone();
    step.inputs.retain(|input| {
        let is_there = input.name == crate::model::workflow::NO_INPUT_OUTPUT_NAME
            || input.connections.is_empty()
            || tools
                .input(&id, Some(&wanted), &state, &input.name)
                .is_some();
        if !is_there {
            messages.push(dropped(index, label.clone(), &input.name));
        }
        is_there
    });
    Ok(messages)
}

fn dropped(step: usize, step_label: Option<String>, input: &str) -> Message {
    Message {
        kind: "connection_drop_forced",
        text: "A connection was dropped: the input is not there any more.".to_owned(),
        step: Some(step),
        step_label,
        input_name: Some(input.to_owned()),
    }
}

/// Puts another workflow in the place of the one inside a step.
pub(super) fn subworkflow(
    workflow: &mut WorkflowDescription,
    index: usize,
    content_id: Option<&str>,
    known: &HashMap<String, WorkflowDescription>,
) -> Result<Vec<Message>, ImportError> {
    let step = &mut workflow.steps[index];
    if step.subworkflow.is_none() {
        let message = format!("step {index} is no subworkflow.");
        return Err(ImportError::parameter(message));
    }
    let new = content_id.and_then(|id| known.get(id)).ok_or_else(|| {
        ImportError::parameter("content_id must name the workflow that comes in its place.")
    })?;
    let inputs: HashMap<&str, usize> = new
        .input_steps()
        .filter_map(|step| Some((step.effective_label()?, step.order_index)))
        .collect();
    let label = step.label.clone();
    let mut messages = Vec::new();
    for input in &mut step.inputs {
        match inputs.get(input.name.as_str()) {
            Some(inner) => {
                for connection in &mut input.connections {
                    connection.input_subworkflow_step = Some(*inner);
                }
            }
            None if input.connections.is_empty() => {}
            None => {
                messages.push(dropped(index, label.clone(), &input.name));
                input.connections.clear();
            }
        }
    }
    step.inputs
        .retain(|input| !input.connections.is_empty() || input.default_value_set);
    let outputs: HashSet<String> = new
        .outputs()
        .map(|(step, output)| match &output.label {
            Some(label) => label.clone(),
            None => format!("{}:{}", step.order_index, output.output_name),
        })
        .collect();
    step.name = Some(new.name.clone());
    step.subworkflow = Some(Box::new(new.clone()));
    step.workflow_outputs
        .retain(|output| outputs.contains(&output.output_name));
    for consumer in &mut workflow.steps {
        let (place, label) = (consumer.order_index, consumer.label.clone());
        for input in &mut consumer.inputs {
            let before = input.connections.len();
            input
                .connections
                .retain(|c| c.output_step != index || outputs.contains(&c.output_name));
            if input.connections.len() < before {
                messages.push(dropped(place, label.clone(), &input.name));
            }
        }
    }
    Ok(messages)
}
