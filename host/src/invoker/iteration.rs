//! One attempt to advance one invocation (Galaxy's WorkflowInvoker.invoke): goes through the steps that are not
//! scheduled, in order, never stopping at one that has to wait.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::Value;

use super::known::StepValue;
use super::modules::{ModuleOutcome, Modules, is_host_type, module_cancel, module_fail};
use super::operations::Files;
use super::pick_value;
use super::progress::{Progress, effective_replacements, input_value};
use super::record::{note_input, record_outputs};
use super::resolve::{self, Outputs, Use};
use super::stop::{Stop, Wait};
use super::subworkflow;
use super::tool_run::{self, ToolRun};
use super::writes::{Held, Hold, NewIds, RuntimeState, StepRow, Writes};
use crate::model::message::{InvocationMessage, reason};
use crate::model::runtime_actions;
use crate::model::state::{InvocationEvent, StepState};
use crate::model::workflow::{Connection, PostJobAction, StepDescription};
use crate::tools::Tool;
use crate::tools::parameters::{self, TerminalKind};

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

/// What executing a step came to.
enum Done {
    Outputs(HashMap<String, StepValue>),
    OutputsDelayed(Wait),
    Tool(tool_run::Ran),
    /// A subworkflow whose outputs are known; some of its branches may have to wait all the same.
    Inner {
        outputs: HashMap<String, StepValue>,
        delayed: bool,
    },
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

    /// `reached` tells whether it came to the step itself, so that people see it: what it only follows is over.
    #[expect(
        clippy::too_many_arguments,
        reason = "one call site; the arguments are the pass's own state"
    )]
    fn attempt(
        &self,
        progress: &mut Progress,
        step: &StepDescription,
        step_id: i64,
        allowed: &Allowed,
        budget: Option<usize>,
        reached: &mut bool,
        writes: &mut Writes,
    ) -> Result<Done, Stop> {
        self.check_order(progress, step, step_id, writes)?;
        if let Some(text) = allowed.held.get(&step_id) {
            return Err(Stop::delayed(text.clone(), Wait::Scheduler));
        }
        if allowed
            .expand
            .as_ref()
            .is_some_and(|expand| !expand.contains(&step_id))
        {
            // It was not offered, as something upstream has to wait; or it has only now become possible.
            *reached = true;
            for input in &step.inputs {
                for from in input.connections.iter().filter(|c| !input.is_non_data(c)) {
                    let (table, known) = (&progress.table, &progress.known);
                    let ids = &progress.revision.step_ids;
                    resolve::connection(table, known, ids, step.order_index, from, Use::Data)?;
                }
            }
            *reached = false;
            return Err(Stop::delayed(
                "the scheduler has not been asked yet",
                Wait::Budget,
            ));
        }
        *reached = true;
        match step.step_type.as_str() {
            "data_input" | "data_collection_input" => {
                let value = input_value(progress, step);
                note_input(progress, step, step_id, &value, writes);
                Ok(Done::Outputs(HashMap::from([("output".to_owned(), value)])))
            }
            "parameter_input" => {
                let value = input_value(progress, step);
                if let StepValue::Json(value) = &value {
                    crate::model::parameter_input::check(&step.tool_inputs, value)
                        .map_err(|text| Stop::invalid_parameter(step_id, text))?;
                }
                note_input(progress, step, step_id, &value, writes);
                Ok(Done::Outputs(HashMap::from([("output".to_owned(), value)])))
            }
            "tool" => self
                .tool_step(progress, step, step_id, budget, writes)
                .map(Done::Tool),
            "subworkflow" => {
                let driven = subworkflow::drive(self, progress, step, writes)?;
                let delayed = driven.delayed;
                driven
                    .outputs
                    .map(|outputs| Done::Inner { outputs, delayed })
            }
            "pick_value" => {
                pick_value::execute(progress, step, step_id, self.ids, writes).map(Done::Outputs)
            }
            _ => self.module_step(progress, step, step_id, writes),
        }
    }

    /// Steps that this one only follows, without taking data from them.
    fn check_order(
        &self,
        progress: &Progress,
        step: &StepDescription,
        step_id: i64,
        writes: &Writes,
    ) -> Result<(), Stop> {
        let just_now = |order_index: usize| {
            writes.steps.iter().any(|row| {
                (row.invocation_id, row.order_index) == (progress.invocation_id, order_index)
                    && row.state == StepState::Scheduled
            })
        };
        for input in &step.inputs {
            for before in input.connections.iter().filter(|c| input.is_non_data(c)) {
                let scheduled = match progress.steps.get(&before.output_step) {
                    Some(record) => record.state == StepState::Scheduled,
                    None => false,
                };
                if !scheduled {
                    // Where this very iteration scheduled it, the next one knows its jobs.
                    let waits = match progress.table.get(&before.output_step) {
                        _ if just_now(before.output_step) => vec![Wait::Budget],
                        Some(Outputs::Delayed(waits)) => waits.clone(),
                        Some(Outputs::Known(_)) => vec![Wait::Budget],
                        None => vec![Wait::Step],
                    };
                    return Err(Stop::Delayed {
                        why: "an earlier step is not scheduled yet".into(),
                        waits,
                    });
                }
                let Some(jobs) = progress.awaited_jobs.get(&before.output_step) else {
                    continue;
                };
                if let Some(job_id) = jobs.failed {
                    return Err(Stop::fail(InvocationMessage {
                        reason: reason::JOB_FAILED,
                        workflow_step_id: Some(step_id),
                        dependent_workflow_step_id: progress
                            .revision
                            .step_ids
                            .get(before.output_step)
                            .copied(),
                        job_id: Some(job_id),
                        ..Default::default()
                    }));
                }
                if let Some(job) = jobs.unfinished {
                    return Err(Stop::delayed(
                        "an earlier step's jobs are not finished",
                        Wait::Job(job),
                    ));
                }
            }
        }
        Ok(())
    }

    fn tool_step(
        &self,
        progress: &mut Progress,
        step: &StepDescription,
        step_id: i64,
        budget: Option<usize>,
        writes: &mut Writes,
    ) -> Result<tool_run::Ran, Stop> {
        let revision = progress.revision.clone();
        let dynamic_tool_id = revision
            .dynamic_tool_ids
            .get(step.order_index)
            .copied()
            .flatten();
        let tool = self
            .tools
            .tool(step, dynamic_tool_id)
            .map_err(|text| Stop::unexpected(step_id, text))?;
        let state = progress
            .step_states
            .get(&step.order_index)
            .cloned()
            .ok_or_else(|| {
                Stop::unexpected(
                    step_id,
                    format!("no step state for step {}", step.order_index + 1),
                )
            })?;
        let connected = connected_values(progress, step, &tool, &state)?;
        let of_step = revision.post_job_action_ids[step.order_index].iter();
        let mut actions: Vec<(i64, PostJobAction)> = of_step
            .copied()
            .zip(step.post_job_actions.iter().cloned())
            .collect();
        actions.extend(runtime_actions::kept(&state));
        let replacements = effective_replacements(progress);
        let run = ToolRun {
            tool: &tool,
            dynamic_tool_id,
            state: &state,
            connected,
            when: step.when_expression.as_deref(),
            post_job_actions: &actions,
            replacements: &replacements,
            workflow_step_id: step_id,
            invocation_id: Some(progress.invocation_id),
            invocation_uuid: Some(progress.uuid),
            force_skip: progress.force_skip,
            enclosing: progress.enclosing.as_deref(),
            resource_params: &progress.resource_params,
            budget,
            resume: progress.resumes.get(&step.order_index).cloned(),
            use_cached: progress.use_cached_job,
            files: self.files,
        };
        tool_run::run(&run, &mut progress.known, self.ids, writes)
    }

    fn module_step(
        &self,
        progress: &Progress,
        step: &StepDescription,
        step_id: i64,
        writes: &mut Writes,
    ) -> Result<Done, Stop> {
        let call = progress.module_call(step, None);
        match self.modules.execute(&call) {
            Ok(ModuleOutcome::Scheduled(outputs)) => Ok(Done::Outputs(outputs)),
            Ok(ModuleOutcome::OutputsDelayed { wait }) => Ok(Done::OutputsDelayed(wait)),
            Ok(ModuleOutcome::Delayed { why, wait, state }) => {
                if let Some(value) = state {
                    writes.runtime_states.push(RuntimeState {
                        invocation_id: progress.invocation_id,
                        workflow_step_id: step_id,
                        value,
                    });
                }
                // Inner invocations are not shown by themselves.
                if progress.supplied_by_request && !why.is_empty() {
                    writes.holds.push(Hold {
                        what: Held::Step(step.order_index),
                        code: "module".to_owned(),
                        text: why.clone(),
                        wake_time: match wait {
                            Wait::Until(at) => Some(at),
                            _ => None,
                        },
                    });
                }
                let mut waits = vec![wait];
                if wait == Wait::Step {
                    waits.extend(progress.upstream_waits(step));
                }
                Err(Stop::Delayed { why, waits })
            }
            Ok(ModuleOutcome::Absent {
                why,
                code,
                again_at_ms,
            }) => {
                writes.holds.push(progress.absence(step, &code, &why));
                Err(Stop::delayed(why, Wait::Until(again_at_ms)))
            }
            Ok(ModuleOutcome::Fail { reason, text }) => Err(module_fail(step_id, &reason, text)),
            Ok(ModuleOutcome::Cancel { reason, text }) => {
                Err(module_cancel(step_id, &reason, text))
            }
            Err(text) => Err(Stop::unexpected(step_id, text)),
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

/// The values that feed a tool step, by input name.
fn connected_values(
    progress: &Progress,
    step: &StepDescription,
    tool: &Tool,
    state: &Value,
) -> Result<Vec<(String, Vec<StepValue>)>, Stop> {
    let (normalised, _) = parameters::normalise_leniently(tool, state);
    let terminals = parameters::terminals(tool, &normalised);
    let mut connected = Vec::with_capacity(step.inputs.len());
    for input in &step.inputs {
        let what_for = match terminals
            .iter()
            .find(|t| t.name == input.name)
            .map(|t| &t.kind)
        {
            Some(TerminalKind::Parameter { .. }) => Use::Parameter,
            _ => Use::Data,
        };
        let mut values = Vec::with_capacity(input.connections.len());
        for from in input.connections.iter().filter(|c| !input.is_non_data(c)) {
            let (table, known, ids) = (
                &progress.table,
                &progress.known,
                &progress.revision.step_ids,
            );
            values.push(resolve::connection(
                table,
                known,
                ids,
                step.order_index,
                from,
                what_for,
            )?);
        }
        let nothing = values.iter().all(|v| *v == StepValue::NoReplacement);
        if nothing && input.default_value_set {
            let given = parameters::get_path(state, &input.name);
            if given.is_none_or(|v| {
                v.is_null() || parameters::is_connected(v) || parameters::is_runtime(v)
            }) {
                values = vec![StepValue::Json(
                    input.default_value.clone().unwrap_or(Value::Null),
                )];
            }
        }
        if !values.is_empty() {
            connected.push((input.name.clone(), values));
        }
    }
    Ok(connected)
}
