//! What is stored about an invocation, and what its reached steps put out (Galaxy's WorkflowProgress).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::Value;
use uuid::Uuid;

use super::known::{Known, StepValue};
use super::mapping::Enclosing;
use super::modules::{
    ModuleCall, ModuleInput, ModuleOutcome, Modules, is_host_type, module_cancel, module_fail,
};
use super::resolve::{OutputTable, Outputs};
use super::stop::{Stop, Wait};
use super::tool_run::Resume;
use super::writes::{Held, Hold};
use crate::model::revision::Revision;
use crate::model::state::{JobState, StepState};
use crate::model::workflow::StepDescription;

/// What is stored about an invocation and its steps.
#[derive(Clone)]
pub struct Progress {
    pub invocation_id: i64,
    pub uuid: Uuid,
    pub history_id: i64,
    pub history_deleted: bool,
    pub revision: Arc<Revision>,
    /// By order_index.
    pub steps: HashMap<usize, StepRecord>,
    /// Stored outputs of the steps that are scheduled.
    pub table: OutputTable,
    /// What was supplied for the input steps.
    pub inputs: HashMap<usize, StepValue>,
    /// The persisted state of each step that is not scheduled.
    pub step_states: HashMap<usize, Value>,
    /// The request's replacement parameters.
    pub replacements: HashMap<String, String>,
    /// The request's use_cached_job.
    pub use_cached_job: bool,
    /// For steps that were expanded in part.
    pub resumes: HashMap<usize, Resume>,
    /// Jobs of the steps that others only wait for.
    pub awaited_jobs: HashMap<usize, AwaitedJobs>,
    /// What the inner ones know as well: theirs is empty until they are driven.
    pub known: Known,
    /// Steps whose outputs became known in [`Progress::recover`] and are not stored yet.
    pub recovered: Vec<usize>,
    /// The invocations inside subworkflow steps that are not scheduled yet, by order_index.
    pub children: HashMap<usize, Progress>,
    /// The condition of an enclosing subworkflow step was false.
    pub force_skip: bool,
    /// The enclosing subworkflow step is mapped over this.
    pub enclosing: Option<Arc<Enclosing>>,
    /// The request's resource parameters.
    pub resource_params: BTreeMap<String, String>,
    /// `inputs` came with the request, not from an enclosing workflow.
    pub supplied_by_request: bool,
}

/// A step's row.
#[derive(Debug, Clone)]
pub struct StepRecord {
    pub id: i64,
    pub state: StepState,
    pub job_id: Option<i64>,
    pub implicit_collection_jobs_id: Option<i64>,
    pub action: Option<Value>,
}

/// How far the jobs of a step are that others wait for without needing its data.
#[derive(Debug, Clone, Default)]
pub struct AwaitedJobs {
    /// The last one that is not finished.
    pub unfinished: Option<i64>,
    /// One that finished without being ok.
    pub failed: Option<i64>,
}

impl Progress {
    /// Rebuilds what the reached steps put out, asking their modules. An `Err` ends the attempt.
    ///
    /// The inner invocations are recovered when they are driven: only then their inputs are known.
    pub fn recover(&mut self, modules: &dyn Modules, holds: &mut Vec<Hold>) -> Result<(), Stop> {
        let revision = self.revision.clone();
        for step in &revision.description.steps {
            let Some(record) = self.steps.get(&step.order_index) else {
                continue;
            };
            if record.state != StepState::Scheduled || is_host_type(&step.step_type) {
                continue;
            }
            let call = self.module_call(step, record.action.clone());
            let step_id = revision.step_ids[step.order_index];
            let outputs = match modules.recover_mapping(&call) {
                Ok(ModuleOutcome::Scheduled(outputs)) => {
                    let stored = match self.table.get(&step.order_index) {
                        Some(Outputs::Known(stored)) => stored.len(),
                        _ => 0,
                    };
                    if stored < outputs.len() {
                        self.recovered.push(step.order_index);
                    }
                    Outputs::Known(outputs)
                }
                // The step's outputs are delayed, the attempt is not: only a consumer makes it wait.
                Ok(
                    ModuleOutcome::OutputsDelayed { wait } | ModuleOutcome::Delayed { wait, .. },
                ) => {
                    let mut waits = vec![wait];
                    if wait == Wait::Step {
                        waits.extend(self.upstream_waits(step));
                    }
                    Outputs::Delayed(waits)
                }
                // What it put out has to be known before anything is decided on it.
                Ok(ModuleOutcome::Absent {
                    why,
                    code,
                    again_at_ms,
                }) => {
                    holds.push(self.absence(step, &code, &why));
                    return Err(Stop::delayed(why, Wait::Until(again_at_ms)));
                }
                Ok(ModuleOutcome::Fail { reason, text }) => {
                    return Err(module_fail(step_id, &reason, text));
                }
                Ok(ModuleOutcome::Cancel { reason, text }) => {
                    return Err(module_cancel(step_id, &reason, text));
                }
                Err(text) => return Err(Stop::unexpected(step_id, text)),
            };
            self.table.insert(step.order_index, outputs);
        }
        Ok(())
    }

    /// That nobody could be asked about a step. A step of an inner invocation, which is not shown by itself, holds its
    /// root.
    pub(super) fn absence(&self, step: &StepDescription, code: &str, why: &str) -> Hold {
        Hold {
            what: match self.supplied_by_request {
                true => Held::Step(step.order_index),
                false => Held::Invocation,
            },
            code: code.to_owned(),
            text: why.to_owned(),
            wake_time: None,
        }
    }

    /// The user-defined tools (by database id) of the steps that are not scheduled yet, inner ones included.
    pub fn user_defined_tools(&self) -> Vec<i64> {
        let of_step = |step: &StepDescription| {
            let ids = &self.revision.dynamic_tool_ids;
            ids.get(step.order_index).copied().flatten()
        };
        let own = self.remaining().filter_map(of_step);
        let inner = self
            .children
            .values()
            .flat_map(Progress::user_defined_tools);
        own.chain(inner).collect()
    }

    /// The steps that are not scheduled yet, in order.
    pub fn remaining(&self) -> impl Iterator<Item = &StepDescription> {
        self.revision.description.steps.iter().filter(|step| {
            self.steps
                .get(&step.order_index)
                .is_none_or(|record| record.state != StepState::Scheduled)
        })
    }

    pub(super) fn upstream_waits(&self, step: &StepDescription) -> Vec<Wait> {
        let feeders = step.inputs.iter().flat_map(|input| &input.connections);
        feeders
            .filter_map(|connection| match self.table.get(&connection.output_step) {
                Some(Outputs::Delayed(waits)) => Some(waits.clone()),
                _ => None,
            })
            .flatten()
            .collect()
    }

    /// What a module is asked about one of its steps.
    pub fn module_call<'s>(
        &self,
        step: &'s StepDescription,
        action: Option<Value>,
    ) -> ModuleCall<'s> {
        let mut inputs = Vec::new();
        for input in step.inputs.iter().filter(|i| !i.connections.is_empty()) {
            for connection in input.connections.iter().filter(|c| !input.is_non_data(c)) {
                let value = match self.table.get(&connection.output_step) {
                    Some(Outputs::Known(outputs)) => match outputs.get(&connection.output_name) {
                        Some(value) => ModuleInput::Value(value.clone()),
                        None => ModuleInput::Unconnected,
                    },
                    Some(Outputs::Delayed(_)) | None => ModuleInput::Delayed,
                };
                inputs.push((input.name.clone(), value));
            }
        }
        ModuleCall {
            invocation_uuid: self.uuid,
            step,
            runtime_state: self
                .step_states
                .get(&step.order_index)
                .cloned()
                .unwrap_or(Value::Null),
            action,
            inputs,
        }
    }
}

/// Supplied, else the default, else nothing.
pub(super) fn input_value(progress: &Progress, step: &StepDescription) -> StepValue {
    if let Some(value) = progress.inputs.get(&step.order_index) {
        return value.clone();
    }
    match step.input_default() {
        Some(Value::Object(object)) if object.len() == 1 && object.contains_key("value") => {
            StepValue::Json(object["value"].clone())
        }
        Some(value) if step.step_type == "parameter_input" => StepValue::Json(value.clone()),
        _ => StepValue::NoReplacement,
    }
}

/// Labelled parameter inputs as text, overlaid by what the request replaces explicitly.
pub(super) fn effective_replacements(progress: &Progress) -> HashMap<String, String> {
    let mut replacements = HashMap::new();
    for step in progress.revision.description.input_steps() {
        let (Some("parameter_input"), Some(label)) =
            (Some(step.step_type.as_str()), step.effective_label())
        else {
            continue;
        };
        if let StepValue::Json(value) = input_value(progress, step) {
            let text = match value {
                Value::String(text) => text,
                other => other.to_string(),
            };
            replacements.insert(label.to_owned(), text);
        }
    }
    replacements.extend(progress.replacements.clone());
    replacements
}

/// Sums up what the jobs of a step have come to, for those who only wait for them. A skipped job is satisfied.
pub fn awaited(jobs: impl Iterator<Item = (i64, JobState)>) -> AwaitedJobs {
    let mut awaited = AwaitedJobs::default();
    for (id, state) in jobs {
        match state {
            JobState::Ok | JobState::Skipped => {}
            state if state.is_finished() => awaited.failed = Some(id),
            _ => awaited.unfinished = Some(id),
        }
    }
    awaited
}
