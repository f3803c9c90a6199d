//! One step of an iteration: whether it may be taken now, and what taking it comes to.

use std::collections::HashMap;

use serde_json::Value;

use super::iteration::{Allowed, Iteration};
use super::known::StepValue;
use super::modules::{ModuleOutcome, module_cancel, module_fail};
use super::pick_value;
use super::progress::{Progress, effective_replacements, input_value};
use super::record::note_input;
use super::resolve::{self, Outputs, Use};
use super::stop::{Stop, Wait};
use super::subworkflow;
use super::tool_run::{self, ToolRun};
use super::writes::{Held, Hold, RuntimeState, Writes};
use crate::model::message::{InvocationMessage, reason};
use crate::model::runtime_actions;
use crate::model::state::StepState;
use crate::model::workflow::{PostJobAction, StepDescription};
use crate::tools::Tool;
use crate::tools::parameters::{self, TerminalKind};

/// What executing a step came to.
pub(super) enum Done {
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
    /// `reached` tells whether it came to the step itself, so that people see it: what it only follows is over.
    #[expect(
        clippy::too_many_arguments,
        reason = "one call site; the arguments are the pass's own state"
    )]
    pub(super) fn attempt(
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
