//! Subworkflow steps (Galaxy's SubWorkflowModule.execute). The inner invocation was stored with the request; it is driven
//! through its root, in the root's iteration, and what it decides is stored with the root's decisions.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::iteration::{Allowed, Iteration};
use super::known::StepValue;
use super::mapping::{self, Enclosing, Fit, MappedInput, Slice};
use super::progress::{Progress, effective_replacements};
use super::resolve::{self, Outputs, Use};
use super::stop::{Stop, Wait};
use super::when;
use super::writes::{ChildMove, Writes};
use crate::model::message::{InvocationMessage, reason};
use crate::model::state::InvocationEvent;
use crate::model::workflow::{Connection, StepDescription};

/// What driving the inner invocation came to.
pub struct Driven {
    /// The outputs of the step, or why they are not known yet.
    pub outputs: Result<HashMap<String, StepValue>, Stop>,
    /// Some inner step has to wait.
    pub delayed: bool,
}

/// Feeds the inner invocation and takes it as far as it goes.
pub fn drive(
    iteration: &Iteration<'_>,
    parent: &mut Progress,
    step: &StepDescription,
    writes: &mut Writes,
) -> Result<Driven, Stop> {
    let step_id = parent.revision.step_ids[step.order_index];
    let Some(mut child) = parent.children.remove(&step.order_index) else {
        let text = format!(
            "The invocation of subworkflow step {} is missing.",
            step.order_index + 1
        );
        return Err(Stop::unexpected(step_id, text));
    };
    let driven = match prepare(parent, &mut child, step, step_id) {
        Ok(()) => {
            // Both know the same datasets: what one creates the other may read.
            child.known = std::mem::take(&mut parent.known);
            let driven = advance(iteration, &mut child, step_id, writes);
            parent.known = std::mem::take(&mut child.known);
            driven
        }
        Err(stop) => Err(stop),
    };
    parent.children.insert(step.order_index, child);
    driven.map_err(|stop| on_path(stop, step.order_index))
}

/// A failure inside tells the way to it, innermost first.
fn on_path(stop: Stop, order_index: usize) -> Stop {
    match stop {
        Stop::Fail(mut message) => {
            message.step_index_path.push(order_index);
            Stop::Fail(message)
        }
        other => other,
    }
}

fn prepare(
    parent: &Progress,
    child: &mut Progress,
    step: &StepDescription,
    step_id: i64,
) -> Result<(), Stop> {
    let revision = child.revision.clone();
    for inner in revision.description.input_steps() {
        let from = feeding(step, inner.order_index, inner.effective_label());
        let Some(from) = from else {
            let stored = child.inputs.contains_key(&inner.order_index);
            if !stored && !inner.input_optional() && inner.input_default().is_none() {
                return Err(disconnected(parent, step, step_id));
            }
            continue;
        };
        let what_for = match inner.step_type.as_str() {
            "parameter_input" => Use::Parameter,
            _ => Use::Data,
        };
        let (table, known, ids) = (&parent.table, &parent.known, &parent.revision.step_ids);
        let value = resolve::connection(table, known, ids, step.order_index, from, what_for)?;
        let value = match value {
            StepValue::Hda(id) if what_for == Use::Parameter => {
                StepValue::Json(resolve::content(known, id, step_id)?)
            }
            other => other,
        };
        child.inputs.insert(inner.order_index, value);
    }
    condition(parent, child, step, step_id)?;
    child.use_cached_job |= parent.use_cached_job;
    let own = std::mem::take(&mut child.replacements);
    child.replacements = effective_replacements(parent);
    child.replacements.extend(own);
    Ok(())
}

/// The connection of the parent's step that feeds an input of the inner workflow: by the inner step, or by the input's
/// name as old files have it (a label, or `0:output`).
fn feeding<'a>(
    step: &'a StepDescription,
    inner: usize,
    label: Option<&str>,
) -> Option<&'a Connection> {
    let numbered = format!("{inner}:");
    step.inputs.iter().find_map(|input| {
        let named = Some(input.name.as_str()) == label || input.name.starts_with(&numbered);
        input
            .connections
            .iter()
            .filter(|c| !input.is_non_data(c))
            .find(|c| match c.input_subworkflow_step {
                Some(fed) => fed == inner,
                None => named,
            })
    })
}

/// An input of the inner workflow that nothing feeds. As in Galaxy the message names a connection that the step has.
fn disconnected(parent: &Progress, step: &StepDescription, step_id: i64) -> Stop {
    let connections = step.inputs.iter().flat_map(|input| &input.connections);
    match connections.last() {
        None => Stop::unexpected(step_id, "Subworkflow has disconnected required input."),
        Some(last) => Stop::fail(InvocationMessage {
            reason: reason::OUTPUT_NOT_FOUND,
            workflow_step_id: Some(step_id),
            dependent_workflow_step_id: parent.revision.step_ids.get(last.output_step).copied(),
            output_name: Some(last.output_name.clone()),
            ..Default::default()
        }),
    }
}

/// Decides for each slice of the step, or once, whether the inner workflow runs, and hands that down.
fn condition(
    parent: &Progress,
    child: &mut Progress,
    step: &StepDescription,
    step_id: i64,
) -> Result<(), Stop> {
    let fed = mapped_inputs(parent, child, step, step_id)?;
    let known = &parent.known;
    let mut inputs = Vec::new();
    for (name, hdca, sub_rank) in &fed {
        if let Some(hdca) = known.hdcas.get(hdca) {
            inputs.push(MappedInput {
                name: name.clone(),
                collection: &hdca.collection,
                sub_rank: *sub_rank,
            });
        }
    }
    let matched = mapping::match_inputs(inputs).map_err(|text| Stop::unexpected(step_id, text))?;
    let inherited = matched.is_none();
    let matched = matched.or_else(|| parent.enclosing.as_deref().map(Enclosing::mapping));
    child.force_skip = parent.force_skip;
    let Some(mapping) = matched else {
        child.enclosing = None;
        if !parent.force_skip && step.when_expression.is_some() {
            child.force_skip = !wanted(parent, step, step_id, &[])?;
        }
        return Ok(());
    };
    let mut verdicts = BTreeMap::new();
    let around = parent.enclosing.as_ref().filter(|e| !e.verdicts.is_empty());
    let is_open = around.is_some() || step.when_expression.is_some();
    let paths = match is_open {
        true => mapping.paths(0..mapping.len()),
        false => Vec::new(),
    };
    for (n, path) in paths.iter().enumerate() {
        let run = match around.is_none_or(|enclosing| enclosing.runs(path)) {
            false => false,
            true if parent.force_skip || step.when_expression.is_none() => true,
            true => {
                let parts: Vec<_> = mapping.slice(n).collect();
                wanted(parent, step, step_id, &parts)?
            }
        };
        verdicts.insert(path.iter().map(|(index, _)| *index).collect(), run);
    }
    let hid = |(_, id, _): &(String, i64, usize)| Some(known.hdcas.get(id)?.hid);
    let on = match parent.enclosing.as_deref() {
        Some(enclosing) if inherited => enclosing.on.clone(),
        _ => fed.iter().filter_map(hid).collect(),
    };
    child.enclosing = Some(Arc::new(Enclosing {
        structure: mapping.structure(),
        on,
        verdicts,
    }));
    Ok(())
}

/// The collections that the step is mapped over: input, hdca, and the rank that the inner workflow takes whole.
fn mapped_inputs(
    parent: &Progress,
    child: &Progress,
    step: &StepDescription,
    step_id: i64,
) -> Result<Vec<(String, i64, usize)>, Stop> {
    let inner_steps = &child.revision.description;
    let mut found = Vec::new();
    for input in &step.inputs {
        let Some(from) = input.connections.iter().find(|c| !input.is_non_data(c)) else {
            continue;
        };
        let takes = inner_steps.input_steps().find(|inner| {
            let fed = feeding(step, inner.order_index, inner.effective_label());
            fed.is_some_and(|fed| std::ptr::eq(fed, from))
        });
        let (table, known, ids) = (&parent.table, &parent.known, &parent.revision.step_ids);
        let value = resolve::connection(table, known, ids, step.order_index, from, Use::Data)?;
        let StepValue::Hdca(id) = value else { continue };
        let Some(hdca) = known.hdcas.get(&id) else {
            continue;
        };
        let actual = hdca.collection.collection_type.as_str();
        let sub_rank = match takes.map(|inner| (inner.step_type.as_str(), inner)) {
            // Only the condition looks at it.
            None if step.when_expression.is_none() => continue,
            Some(("data_collection_input", inner)) => {
                let declared = inner.tool_inputs["collection_type"].as_str();
                let declared: Vec<String> = declared
                    .into_iter()
                    .flat_map(|types| types.split(','))
                    .map(|t| t.trim().to_owned())
                    .filter(|t| !t.is_empty())
                    .collect();
                match mapping::fit(&declared, actual) {
                    Fit::Mapped(rank) => rank,
                    Fit::Whole => continue,
                    Fit::No => {
                        return Err(Stop::invalid_parameter(
                            step_id,
                            format!(
                                "{}: a collection of type {actual} does not fit an input of type {}",
                                input.name,
                                declared.join(" or ")
                            ),
                        ));
                    }
                }
            }
            _ if actual == "record" => continue,
            _ => 0,
        };
        found.push((input.name.clone(), id, sub_rank));
    }
    Ok(found)
}

/// Whether the step's own condition lets the inner workflow run, for one slice or for all of it.
fn wanted(
    parent: &Progress,
    step: &StepDescription,
    step_id: i64,
    parts: &[(&str, &Slice<'_>)],
) -> Result<bool, Stop> {
    let Some(expression) = &step.when_expression else {
        return Ok(true);
    };
    let known = &parent.known;
    let mut inputs = Map::new();
    for input in &step.inputs {
        let value = match input.connections.iter().find(|c| !input.is_non_data(c)) {
            None => {
                let default = input.default_value.clone();
                default
                    .filter(|_| input.default_value_set)
                    .unwrap_or(Value::Null)
            }
            Some(from) => match parts.iter().find(|(name, _)| *name == input.name) {
                Some((_, part)) => when::slice_value(part, known, step_id)?,
                None => {
                    let (table, ids) = (&parent.table, &parent.revision.step_ids);
                    let at = step.order_index;
                    let value = resolve::connection(table, known, ids, at, from, Use::Data)?;
                    when::input_value(&value, known, step_id)?
                }
            },
        };
        inputs.insert(input.name.clone(), value);
    }
    when::decide(expression, &Value::Object(inputs), step_id)
}

fn advance(
    iteration: &Iteration<'_>,
    child: &mut Progress,
    step_id: i64,
    writes: &mut Writes,
) -> Result<Driven, Stop> {
    child.recover(iteration.modules, &mut writes.holds)?;
    // The job cap is the root's alone, as in Galaxy.
    let some_wait = iteration.walk(child, &Allowed::default(), writes)?;
    let outputs = outputs(child, step_id);
    // A pause whose output leaves the subworkflow has nobody behind it in here, and yet has to be waited for.
    if let Err(Stop::Fail(message)) = outputs {
        return Err(Stop::Fail(message));
    }
    let delayed = some_wait || outputs.is_err();
    writes.children.push(ChildMove {
        invocation_id: child.invocation_id,
        event: match delayed {
            true => InvocationEvent::StepsRemain,
            false => InvocationEvent::EveryStepScheduled,
        },
    });
    Ok(Driven { outputs, delayed })
}

/// The inner workflow's outputs under the names that the parent's connections use.
fn outputs(child: &Progress, step_id: i64) -> Result<HashMap<String, StepValue>, Stop> {
    let mut found = HashMap::new();
    for (step, output) in child.revision.description.outputs() {
        let label = output.label.clone().filter(|label| !label.is_empty());
        let name = label.unwrap_or_else(|| format!("{}:{}", step.order_index, output.output_name));
        match child.table.get(&step.order_index) {
            Some(Outputs::Known(outputs)) => {
                let value = outputs.get(&output.output_name).ok_or_else(|| {
                    Stop::fail(InvocationMessage {
                        reason: reason::OUTPUT_NOT_FOUND,
                        workflow_step_id: Some(step_id),
                        dependent_workflow_step_id: Some(step_id),
                        output_name: Some(name.clone()),
                        ..Default::default()
                    })
                })?;
                found.insert(name, value.clone());
            }
            Some(Outputs::Delayed(waits)) => {
                return Err(Stop::Delayed {
                    why: "the subworkflow's outputs are not known yet".into(),
                    waits: waits.clone(),
                });
            }
            None => {
                return Err(Stop::delayed(
                    "the subworkflow has not reached its outputs yet",
                    Wait::Step,
                ));
            }
        }
    }
    Ok(found)
}
