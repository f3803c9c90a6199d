//! Limits on what may be imported, and the rules every description keeps.
//!
//! [`tree`] runs before anything recurses into a value, so that no file can exhaust the stack;
//! [`description`] runs after conversion and is what the rest of the server may rely on.

use super::error::{ImportError, shown};
use crate::model::workflow::{NO_INPUT_OUTPUT_NAME, StepDescription, WorkflowDescription};
use serde_json::Value;
use std::collections::HashSet;
use uuid::Uuid;

/// Bytes of a file.
pub const BYTES_MAX: usize = 64 << 20;
/// Nesting of a JSON or YAML document, as serde_json's own limit.
pub const TREE_DEPTH_MAX: usize = 128;
/// Nesting of one step's state, so that it still fits into a document of [`TREE_DEPTH_MAX`]
/// when written inside [`SUBWORKFLOW_DEPTH_MAX`] subworkflows.
pub const STATE_DEPTH_MAX: usize = 48;
/// Subworkflows inside subworkflows.
pub const SUBWORKFLOW_DEPTH_MAX: usize = 20;
/// Steps, those of subworkflows included.
pub const STEPS_MAX: usize = 100_000;
/// What subworkflows that are referred to (`#id`) may add up to, in values and bytes of text.
pub(super) const SHARED_WEIGHT_MAX: usize = 64 << 20;
/// Characters of a label, uuid, output name: Galaxy's column widths.
pub const LABEL_CHARS_MAX: usize = 255;
pub const STEP_TYPE_CHARS_MAX: usize = 64;
/// Characters of an input name, which is a path through nested parameters.
pub const INPUT_NAME_CHARS_MAX: usize = 1024;

/// Refuses a document nested deeper than [`TREE_DEPTH_MAX`]. Iterative.
pub(super) fn tree(value: &Value) -> Result<(), ImportError> {
    if depth_exceeds(value, TREE_DEPTH_MAX) {
        let message = format!("The workflow is nested more than {TREE_DEPTH_MAX} levels deep.");
        return Err(ImportError::malformed(message));
    }
    Ok(())
}

pub(super) fn depth_exceeds(value: &Value, limit: usize) -> bool {
    let mut pending = vec![(value, 1)];
    while let Some((value, depth)) = pending.pop() {
        let inner = depth + 1;
        match value {
            Value::Array(_) | Value::Object(_) if depth > limit => return true,
            Value::Array(items) => pending.extend(items.iter().map(|item| (item, inner))),
            Value::Object(map) => pending.extend(map.values().map(|item| (item, inner))),
            _ => {}
        }
    }
    false
}

/// Values plus bytes of text in `value`, which has passed [`tree`]; what copying it costs.
pub(super) fn weight(value: &Value) -> usize {
    match value {
        Value::String(text) => 1 + text.len(),
        Value::Array(items) => 1 + items.iter().map(weight).sum::<usize>(),
        Value::Object(map) => {
            1 + map
                .iter()
                .map(|(key, item)| key.len() + weight(item))
                .sum::<usize>()
        }
        _ => 1,
    }
}

/// What one import may still use up. A file can refer to one subworkflow many times, so the
/// cost of following is bounded here rather than by the size of the file.
#[derive(Debug)]
pub(super) struct Allowance {
    steps: usize,
    shared_weight: usize,
}

impl Allowance {
    pub(super) fn full() -> Self {
        Self {
            steps: STEPS_MAX,
            shared_weight: SHARED_WEIGHT_MAX,
        }
    }

    /// Called with the number of steps before a workflow's steps are converted.
    pub(super) fn take_steps(&mut self, count: usize) -> Result<(), ImportError> {
        let message = || format!("The workflow has more than {STEPS_MAX} steps.");
        self.steps = self
            .steps
            .checked_sub(count)
            .ok_or_else(|| ImportError::parameter(message()))?;
        Ok(())
    }

    /// Called before a subworkflow that is merely referred to is converted once more.
    pub(super) fn take_shared(&mut self, definition: &Value) -> Result<(), ImportError> {
        let message = "The workflow refers to its subworkflows too many times.";
        self.shared_weight = self
            .shared_weight
            .checked_sub(weight(definition))
            .ok_or_else(|| ImportError::parameter(message))?;
        Ok(())
    }
}

/// Refuses to go more than [`SUBWORKFLOW_DEPTH_MAX`] subworkflows deep; a subworkflow that
/// contains itself ends here.
pub(super) fn subworkflow_depth(depth: usize) -> Result<(), ImportError> {
    if depth > SUBWORKFLOW_DEPTH_MAX {
        return Err(ImportError::parameter(format!(
            "Subworkflows are nested more than {SUBWORKFLOW_DEPTH_MAX} deep, or contain themselves."
        )));
    }
    Ok(())
}

/// Checks the rules of one workflow and of the subworkflows inside it:
///
/// - `order_index` counts from 0 in the order of the steps;
/// - step labels and step uuids are unique (400011), so are input names within a step;
/// - a tool step says which tool (400008);
/// - marked outputs have a name, and each is marked once per step (400004);
/// - connections lead from steps that exist, into input steps that exist (400013);
/// - texts fit Galaxy's columns (400004), and the limits of this module hold (400008).
///
/// Cycles are allowed: `order::reorder` marks them and running refuses them.
pub fn description(workflow: &WorkflowDescription) -> Result<(), ImportError> {
    workflow_rules(workflow, 0, &mut Allowance::full())
}

fn workflow_rules(
    workflow: &WorkflowDescription,
    depth: usize,
    allowance: &mut Allowance,
) -> Result<(), ImportError> {
    subworkflow_depth(depth)?;
    allowance.take_steps(workflow.steps.len())?;
    fits("name", Some(&workflow.name), LABEL_CHARS_MAX)?;
    let mut identifiers = Identifiers::default();
    for (index, step) in workflow.steps.iter().enumerate() {
        let told = |error: ImportError| error.within(step_place(step));
        if step.order_index != index {
            let message = format!("order_index should be {index}.");
            return Err(told(ImportError::malformed(message)));
        }
        identifiers.add(step).map_err(told)?;
        step_rules(step, workflow.steps.len()).map_err(told)?;
        if let Some(inner) = &step.subworkflow {
            workflow_rules(inner, depth + 1, allowance).map_err(told)?;
        }
    }
    Ok(())
}

/// What no two steps of one workflow may share.
#[derive(Default)]
struct Identifiers<'a> {
    labels: HashSet<&'a str>,
    uuids: HashSet<Uuid>,
}

impl<'a> Identifiers<'a> {
    fn add(&mut self, step: &'a StepDescription) -> Result<(), ImportError> {
        if let Some(label) = &step.label
            && !self.labels.insert(label)
        {
            let message = format!("label {} is used by another step.", shown(label));
            return Err(ImportError::duplicate(message));
        }
        if let Some(uuid) = step.uuid
            && !self.uuids.insert(uuid)
        {
            let message = format!("uuid {uuid} is used by another step.");
            return Err(ImportError::duplicate(message));
        }
        Ok(())
    }
}

/// How messages name a step.
pub(super) fn step_place(step: &StepDescription) -> String {
    match step.effective_label() {
        Some(label) => format!("step {} ({})", step.order_index, shown(label)),
        None => format!("step {}", step.order_index),
    }
}

fn step_rules(step: &StepDescription, step_count: usize) -> Result<(), ImportError> {
    if step.step_type.is_empty() {
        return Err(ImportError::missing("type is missing."));
    }
    let names_tool = step.tool_id.is_some() || step.tool_uuid.is_some();
    if step.step_type == "tool" && !names_tool && step.tool_representation.is_none() {
        return Err(ImportError::parameter("a tool step needs a tool_id."));
    }
    fits("type", Some(&step.step_type), STEP_TYPE_CHARS_MAX)?;
    fits("label", step.label.as_deref(), LABEL_CHARS_MAX)?;
    fits("tool_id", step.tool_id.as_deref(), INPUT_NAME_CHARS_MAX)?;
    fits(
        "tool_version",
        step.tool_version.as_deref(),
        LABEL_CHARS_MAX,
    )?;
    if depth_exceeds(&step.tool_inputs, STATE_DEPTH_MAX) {
        let message = format!("tool_state is nested more than {STATE_DEPTH_MAX} levels deep.");
        return Err(ImportError::malformed(message));
    }

    let mut outputs = HashSet::new();
    for output in &step.workflow_outputs {
        let name = output.output_name.as_str();
        if name.is_empty() {
            let message = "workflow_outputs holds an output without a name.";
            return Err(ImportError::invalid(message));
        }
        if !outputs.insert(name) {
            let message = format!("workflow_outputs holds {} twice.", shown(name));
            return Err(ImportError::invalid(message));
        }
        fits("workflow_outputs", Some(name), LABEL_CHARS_MAX)?;
        fits("workflow_outputs", output.label.as_deref(), LABEL_CHARS_MAX)?;
    }
    for action in &step.post_job_actions {
        fits(
            "post_job_actions",
            Some(&action.action_type),
            LABEL_CHARS_MAX,
        )?;
        fits(
            "post_job_actions",
            action.output_name.as_deref(),
            LABEL_CHARS_MAX,
        )?;
    }
    input_rules(step, step_count)
}

fn input_rules(step: &StepDescription, step_count: usize) -> Result<(), ImportError> {
    let mut names = HashSet::new();
    for input in &step.inputs {
        let name = input.name.as_str();
        fits("input_connections", Some(name), INPUT_NAME_CHARS_MAX)?;
        if !names.insert(name) {
            let message = format!("input {} is described twice.", shown(name));
            return Err(ImportError::duplicate(message));
        }
        for connection in &input.connections {
            fits(
                "output_name",
                Some(&connection.output_name),
                LABEL_CHARS_MAX,
            )?;
            if connection.output_step >= step_count {
                let message = format!(
                    "input {} is connected to step {}, which does not exist.",
                    shown(name),
                    connection.output_step
                );
                return Err(ImportError::malformed(message));
            }
            let Some(inner_index) = connection.input_subworkflow_step else {
                if step.subworkflow.is_some()
                    && name != NO_INPUT_OUTPUT_NAME
                    && !in_when(step, name)
                {
                    return Err(unknown_subworkflow_input(name));
                }
                continue;
            };
            let inner = step
                .subworkflow
                .as_ref()
                .and_then(|sub| sub.step(inner_index));
            if !inner.is_some_and(StepDescription::is_input_step) {
                let message = format!(
                    "input {} feeds step {inner_index} of the subworkflow, which is no input.",
                    shown(name)
                );
                return Err(ImportError::malformed(message));
            }
        }
    }
    Ok(())
}

/// Inputs of a subworkflow step that only its `when` expression reads need no inner step.
pub(super) fn in_when(step: &StepDescription, input_name: &str) -> bool {
    let expression = step.when_expression.as_deref();
    expression.is_some_and(|text| text.contains(input_name))
}

pub(super) fn unknown_subworkflow_input(name: &str) -> ImportError {
    let name = shown(name);
    ImportError::message(format!(
        "input_connections names {name}, which is no input of the subworkflow."
    ))
}

fn fits(field: &str, text: Option<&str>, chars_max: usize) -> Result<(), ImportError> {
    // Bytes first: counting characters is only needed for the few texts that are long.
    match text {
        Some(text) if text.len() > chars_max && text.chars().count() > chars_max => {
            let text = shown(text);
            let message = format!("{field} {text} is longer than {chars_max} characters.");
            Err(ImportError::invalid(message))
        }
        _ => Ok(()),
    }
}
