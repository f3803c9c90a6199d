//! Writing down what a step put out, and what an input step took by itself.

use std::collections::HashMap;

use super::known::StepValue;
use super::progress::Progress;
use super::writes::{InvocationOutput, StepOutput, TakenInput, Writes};
use crate::model::message::{InvocationMessage, reason};
use crate::model::workflow::StepDescription;

/// Remembers a value that the request did not supply.
pub(super) fn note_input(
    progress: &Progress,
    step: &StepDescription,
    step_id: i64,
    value: &StepValue,
    writes: &mut Writes,
) {
    let supplied = progress.inputs.contains_key(&step.order_index) && progress.supplied_by_request;
    if !supplied && *value != StepValue::NoReplacement {
        writes.inputs.push(TakenInput {
            invocation_id: progress.invocation_id,
            workflow_step_id: step_id,
            value: value.clone(),
        });
    }
}

pub(super) fn record_outputs(
    progress: &Progress,
    step: &StepDescription,
    step_id: i64,
    row_id: i64,
    outputs: &HashMap<String, StepValue>,
    writes: &mut Writes,
) {
    let revision = &progress.revision;
    let mut names: Vec<&String> = outputs.keys().collect();
    names.sort();
    for name in names {
        writes.step_outputs.push(StepOutput {
            invocation_step_id: row_id,
            output_name: name.clone(),
            value: outputs[name].clone(),
        });
    }
    for output in &step.workflow_outputs {
        let key = (step.order_index, output.output_name.clone());
        let Some(workflow_output_id) = revision.workflow_output_ids.get(&key) else {
            continue;
        };
        match outputs.get(&output.output_name) {
            Some(value) => writes.invocation_outputs.push(InvocationOutput {
                invocation_id: progress.invocation_id,
                workflow_output_id: *workflow_output_id,
                workflow_step_id: step_id,
                value: value.clone(),
            }),
            None => writes.messages.push((
                progress.invocation_id,
                InvocationMessage {
                    reason: reason::WORKFLOW_OUTPUT_NOT_FOUND,
                    workflow_step_id: Some(step_id),
                    output_name: Some(output.output_name.clone()),
                    ..Default::default()
                },
            )),
        }
    }
}
