//! One attempt to advance one invocation (Galaxy's WorkflowInvoker.invoke): goes through the steps that are not
//! scheduled, in order, never stopping at one that has to wait.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::attempt::Done;
use super::modules::{Modules, is_host_type};
use super::operations::Files;
use super::progress::{Progress, input_value};
use super::record::record_outputs;
use super::resolve::Outputs;
use super::stop::{Stop, Wait};
use super::subworkflow;
use super::writes::{NewIds, StepRow, Writes};
use crate::model::message::{InvocationMessage, reason};
use crate::model::state::{InvocationEvent, StepState};
use crate::model::workflow::{Connection, StepDescription};
use crate::tools::Tool;

/// Where the tools are.
pub trait Tools {
    /// The tool of a step, or a sentence for the workflow's owner.
    fn tool(
        &self,
        step: &StepDescription,
        dynamic_tool_id: Option<i64>,
    ) -> Result<Arc<Tool>, String>;
}

/// What the scheduler allows in this iteration.
#[derive(Debug, Clone, Default)]
pub struct Allowed {
    /// Database ids of the steps to expand; None for all.
    pub expand: Option<HashSet<i64>>,
    /// Steps it holds, with its reason.
    pub held: HashMap<i64, String>,
    pub job_budget: Option<usize>,
}

/// What an iteration came to.
#[derive(Debug)]
pub struct Outcome {
    pub writes: Writes,
    pub event: Option<InvocationEvent>,
}

/// The outcome of an attempt that ends here; what was planned before the fault is kept, so that its jobs go on.
pub fn stopped(invocation_id: i64, mut writes: Writes, stop: Stop) -> Outcome {
    let (message, event) = match stop {
        Stop::Fail(message) => (message, InvocationEvent::Failed),
        Stop::Cancel(message) => (message, InvocationEvent::CancelRequested),
        Stop::Delayed { waits, .. } => {
            writes.waits.extend(waits);
            return remaining(writes);
        }
        Stop::Lacking { .. } => {
            writes.waits.push(Wait::Machine);
            return remaining(writes);
        }
    };
    writes.messages.push((invocation_id, *message));
    writes.waits.clear();
    writes.holds.clear();
    Outcome {
        writes,
        event: Some(event),
    }
}

fn remaining(writes: Writes) -> Outcome {
    Outcome {
        writes,
        event: Some(InvocationEvent::StepsRemain),
    }
}

/// The parts of an iteration.
pub struct Iteration<'a> {
    pub tools: &'a dyn Tools,
    pub modules: &'a dyn Modules,
    pub ids: &'a dyn NewIds,
    pub files: &'a dyn Files,
}

impl Iteration<'_> {
    /// Goes through the remaining steps. `progress` was recovered; what comes out is to be stored as a whole.
    pub fn run(&self, progress: &mut Progress, allowed: &Allowed) -> Outcome {
        let mut writes = Writes::default();
        if progress.history_deleted {
            let message = InvocationMessage {
                reason: reason::HISTORY_DELETED,
                history_id: Some(progress.history_id),
                ..Default::default()
            };
            return stopped(progress.invocation_id, writes, Stop::cancel(message));
        }
        match self.walk(progress, allowed, &mut writes) {
            Err(stop) => stopped(progress.invocation_id, writes, stop),
            Ok(delayed) => {
                writes.waits.sort();
                writes.waits.dedup();
                let event = match delayed {
                    true => InvocationEvent::StepsRemain,
                    false => InvocationEvent::EveryStepScheduled,
                };
                Outcome {
                    writes,
                    event: Some(event),
                }
            }
        }
    }

    /// Attempts each remaining step in order. True when any of them has to wait.
    pub(super) fn walk(
        &self,
        progress: &mut Progress,
        allowed: &Allowed,
        writes: &mut Writes,
    ) -> Result<bool, Stop> {
        let revision = progress.revision.clone();
        let mut budget = allowed.job_budget;
        let mut delayed = false;
        self.supply_inputs(progress);
        for order_index in std::mem::take(&mut progress.recovered) {
            let known = (
                progress.steps.get(&order_index),
                progress.table.get(&order_index),
            );
            if let (Some(record), Some(Outputs::Known(outputs))) = known {
                let step = &revision.description.steps[order_index];
                let step_id = revision.step_ids[order_index];
                record_outputs(progress, step, step_id, record.id, outputs, writes);
            }
        }
        let remaining: Vec<usize> = progress.remaining().map(|step| step.order_index).collect();
        // Subworkflows that were reached before and are not through yet go on with their root.
        let mut going_on: Vec<usize> = progress.children.keys().copied().collect();
        going_on.retain(|order_index| !remaining.contains(order_index));
        going_on.sort_unstable();
        for order_index in remaining {
            let step = &revision.description.steps[order_index];
            let step_id = revision.step_ids[order_index];
            if budget == Some(0) {
                writes.waits.push(Wait::Budget);
                delayed = true;
                break;
            }
            let mut reached = false;
            let attempt = self.attempt(
                progress,
                step,
                step_id,
                allowed,
                budget,
                &mut reached,
                writes,
            );
            if reached && attempt.is_err() && !progress.steps.contains_key(&order_index) {
                writes.steps.push(StepRow {
                    id: self.ids.invocation_step(),
                    invocation_id: progress.invocation_id,
                    workflow_step_id: step_id,
                    order_index,
                    state: StepState::New,
                    job_id: None,
                    implicit_collection_jobs_id: None,
                    is_new: true,
                });
            }
            match attempt {
                Ok(done) => {
                    let jobs = match &done {
                        Done::Tool(ran) => ran.jobs,
                        _ => 0,
                    };
                    if let Some(left) = &mut budget {
                        *left = left.saturating_sub(jobs);
                    }
                    delayed |= self.record(progress, step, step_id, done, writes);
                }
                Err(stop) => {
                    let waits = waited_for(progress, step, stop, writes)?;
                    delayed = true;
                    let outputs = Outputs::Delayed(waits.clone());
                    progress.table.insert(order_index, outputs);
                    writes.waits.extend(waits);
                }
            }
        }
        for order_index in going_on {
            let step = &revision.description.steps[order_index];
            match subworkflow::drive(self, progress, step, writes) {
                Ok(driven) => delayed |= driven.delayed,
                Err(stop) => {
                    let waits = waited_for(progress, step, stop, writes)?;
                    delayed = true;
                    writes.waits.extend(waits);
                }
            }
        }
        if recoverable(progress) {
            writes.waits.push(Wait::Budget);
            delayed = true;
        }
        Ok(delayed)
    }

    /// Writes down what a step came to. True when the invocation has to come back to it.
    fn record(
        &self,
        progress: &mut Progress,
        step: &StepDescription,
        step_id: i64,
        done: Done,
        writes: &mut Writes,
    ) -> bool {
        let order_index = step.order_index;
        let known_row = progress.steps.get(&order_index);
        let mut row = StepRow {
            id: known_row.map_or_else(|| self.ids.invocation_step(), |record| record.id),
            invocation_id: progress.invocation_id,
            workflow_step_id: step_id,
            order_index,
            state: StepState::Scheduled,
            job_id: known_row.and_then(|r| r.job_id),
            implicit_collection_jobs_id: known_row.and_then(|r| r.implicit_collection_jobs_id),
            is_new: known_row.is_none(),
        };
        let mut come_back = false;
        let resumed = progress.resumes.contains_key(&order_index);
        let (outputs, store) = match done {
            Done::OutputsDelayed(wait) => {
                let mut waits = vec![wait];
                waits.extend(progress.upstream_waits(step));
                (Outputs::Delayed(waits), None)
            }
            Done::Outputs(outputs) => (Outputs::Known(outputs.clone()), Some(outputs)),
            Done::Inner { outputs, delayed } => {
                come_back = delayed;
                (Outputs::Known(outputs.clone()), Some(outputs))
            }
            Done::Tool(ran) => {
                row.job_id = ran.job_id;
                row.implicit_collection_jobs_id = ran.implicit_collection_jobs_id;
                let table = match ran.partial {
                    true => {
                        row.state = StepState::Ready;
                        come_back = true;
                        writes.waits.push(Wait::Budget);
                        Outputs::Delayed(vec![Wait::Budget])
                    }
                    false => Outputs::Known(ran.outputs.clone()),
                };
                // An expansion that is resumed has its outputs stored already.
                (table, (!resumed).then_some(ran.outputs))
            }
        };
        if let Some(outputs) = store {
            record_outputs(progress, step, step_id, row.id, &outputs, writes);
        }
        writes.steps.push(row);
        progress.table.insert(order_index, outputs);
        come_back
    }

    /// Puts the values of all input steps into the table, so that references work whatever the order.
    fn supply_inputs(&self, progress: &mut Progress) {
        let revision = progress.revision.clone();
        for step in revision.description.input_steps() {
            if !progress.table.contains_key(&step.order_index) {
                let value = input_value(progress, step);
                let outputs = HashMap::from([("output".to_owned(), value)]);
                progress
                    .table
                    .insert(step.order_index, Outputs::Known(outputs));
            }
        }
    }
}

/// What a step waits for that was not taken further; an `Err` ends the attempt.
fn waited_for(
    progress: &Progress,
    step: &StepDescription,
    stop: Stop,
    writes: &mut Writes,
) -> Result<Vec<Wait>, Stop> {
    match stop {
        Stop::Delayed { waits, .. } => Ok(waits),
        Stop::Lacking { code, why } => {
            writes.holds.push(progress.absence(step, code, why));
            Ok(vec![Wait::Machine])
        }
        stop @ (Stop::Fail(_) | Stop::Cancel(_)) => Err(stop),
    }
}

/// Whether a step that waited for what feeds it when it was asked at the beginning has got that since, in this very
/// attempt: it is asked again only in the next one, and nothing else may happen before.
fn recoverable(progress: &Progress) -> bool {
    let steps = &progress.revision.description.steps;
    steps.iter().any(|step| {
        let waits = match progress.table.get(&step.order_index) {
            Some(Outputs::Delayed(waits)) if !is_host_type(&step.step_type) => waits,
            _ => return false,
        };
        let known = |from: &Connection| {
            matches!(
                progress.table.get(&from.output_step),
                Some(Outputs::Known(_))
            )
        };
        waits.contains(&Wait::Step)
            && step.inputs.iter().all(|input| {
                let mut data = input.connections.iter().filter(|c| !input.is_non_data(c));
                data.all(known)
            })
    })
}
