//! Schedulers: the host says what is possible, the scheduler says what is wanted.

use crate::code::codes;
use crate::values::{Attr, List, Text};
use crate::{ExplainRequest, Explanation, Plugin, PluginError};
use abi_stable::StableAbi;
use serde::{Deserialize, Serialize};

/// A scheduling policy.
///
/// Calls come one at a time and should be quick: the invocations of this scheduler wait meanwhile.
/// A plan that breaks a rule (an id that was not offered, two decisions on one job, more jobs than
/// a runner accepts) is discarded as a whole and counted as an invalid answer.
pub trait Scheduler: Plugin + Send {
    /// `true`: the host calls [`Scheduler::plan`]. `false` (passive): the host only starts and stops
    /// it, and it takes the invocations that carry its id by itself through [`crate::Host::query`].
    const ACTIVE: bool = true;

    /// Decides about everything in `request`. Should depend on the request and the scheduler's own
    /// state only: the time and a seed are in the request, so that a plan can be replayed.
    fn plan(&mut self, request: &PlanRequest) -> Result<Plan, PluginError>;

    /// Called once, before the first plan.
    fn startup(&mut self) -> Result<(), PluginError> {
        Ok(())
    }

    /// Called once, when the server stops.
    fn shutdown(&mut self) {}

    /// The ids of the capabilities that this scheduler has, from [`crate::capability`]. The host calls the methods
    /// below only for those that are listed here.
    const CAPABILITIES: &'static [&'static str] = &[];

    /// What has to survive a restart, as JSON text; for [`crate::capability::STATE`]. Called between plans, at most
    /// every few seconds and once before the server stops. Must be quick and should be small (at most 1 MiB).
    fn snapshot_state(&mut self) -> Result<Text, PluginError> {
        Err(PluginError::refused("This scheduler keeps no state"))
    }

    /// Called after `startup` with what [`Scheduler::snapshot_state`] returned last, maybe by an earlier version of
    /// the plugin. What happened after that is lost. An error is logged, and the scheduler begins anew.
    fn restore_state(&mut self, _state_json: &str) -> Result<(), PluginError> {
        Err(PluginError::refused("This scheduler keeps no state"))
    }

    /// Why an invocation waits, for its owner; for [`crate::capability::EXPLAIN`]. Called when somebody asks.
    fn explain(&mut self, _request: &ExplainRequest) -> Result<Explanation, PluginError> {
        Err(PluginError::refused("This scheduler explains nothing"))
    }
}

/// What is possible now.
#[repr(C)]
#[derive(StableAbi, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct PlanRequest {
    /// Counts the plans asked of this instance since the server started.
    pub cycle: u64,
    /// The host's clock, milliseconds since 1970.
    pub now_ms: i64,
    /// Randomness to use, instead of an own source.
    pub seed: u64,
    /// When the answer should be there; 0 for no limit.
    pub deadline_ms: i64,
    /// The invocations of this scheduler about which something changed, in order of id.
    pub invocations: List<InvocationOffer>,
    /// The jobs of this scheduler's invocations that could run now.
    pub jobs: List<ReadyJob>,
    /// The runners and what they would take.
    pub runners: List<RunnerOffer>,
    /// What each user has in the system.
    pub load: List<UserLoad>,
    /// Additions of later minor versions.
    pub attrs: List<Attr>,
}

/// An invocation with steps that can be scheduled now.
#[repr(C)]
#[derive(StableAbi, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct InvocationOffer {
    /// What decisions refer to.
    pub id: u64,
    /// The public identity.
    pub uuid: Text,
    /// The owner; 0 for nobody.
    pub user_id: u64,
    /// The history it writes into.
    pub history_id: u64,
    /// The workflow's name.
    pub workflow_name: Text,
    /// Galaxy's invocation state: `new`, `ready`, …
    pub state: Text,
    /// When it was requested, milliseconds since 1970.
    pub create_time_ms: i64,
    /// How long ago that was.
    pub age_ms: i64,
    /// Its jobs that have not ended.
    pub active_jobs: u64,
    /// The persisted request parameters.
    pub parameters: List<Attr>,
    /// The steps that can be scheduled now, in Galaxy's order.
    pub steps: List<StepOffer>,
    /// Additions of later minor versions.
    pub attrs: List<Attr>,
}

/// A step that can be scheduled now.
#[repr(C)]
#[derive(StableAbi, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct StepOffer {
    /// What decisions refer to.
    pub step_id: u64,
    /// Its place in the workflow.
    pub order_index: u32,
    /// The step type, e.g. `tool` or `pause`.
    pub step_type: Text,
    /// The tool, empty for other types.
    pub tool_id: Text,
    /// The label, empty when it has none.
    pub label: Text,
    /// How many jobs expanding it would make; -1 when unknown.
    pub expected_jobs: i64,
    /// Additions of later minor versions.
    pub attrs: List<Attr>,
}

/// A job whose inputs are ready.
#[repr(C)]
#[derive(StableAbi, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct ReadyJob {
    /// What decisions refer to.
    pub id: u64,
    /// Its invocation; 0 when it belongs to none.
    pub invocation_id: u64,
    /// The owner; 0 for nobody.
    pub user_id: u64,
    /// The history it writes into.
    pub history_id: u64,
    /// The tool.
    pub tool_id: Text,
    /// Processor cores wanted, at least 1.
    pub cores: u32,
    /// Memory wanted; 0 when unknown.
    pub memory_mb: u64,
    /// Since when it could run, milliseconds since 1970.
    pub ready_since_ms: i64,
    /// When it was made, milliseconds since 1970.
    pub create_time_ms: i64,
    /// How often it was started before.
    pub attempts: u32,
    /// Additions of later minor versions.
    pub attrs: List<Attr>,
}

/// A runner instance and its free capacity.
#[repr(C)]
#[derive(StableAbi, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct RunnerOffer {
    /// The runner's id in `plugins.toml`.
    pub id: Text,
    /// Slots in all; a job takes `cores` of them.
    pub slots_total: u64,
    /// Slots that are free now.
    pub slots_free: u64,
    /// How many jobs it would take now, waiting ones included. A plan never exceeds this.
    pub accepts: u64,
    /// Additions of later minor versions.
    pub attrs: List<Attr>,
}

/// What one user has in the system.
#[repr(C)]
#[derive(StableAbi, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct UserLoad {
    /// The user; 0 for nobody.
    pub user_id: u64,
    /// Jobs handed to a runner.
    pub running: u64,
    /// Jobs that wait for a runner or for their inputs.
    pub queued: u64,
    /// Additions of later minor versions.
    pub attrs: List<Attr>,
}

/// What is wanted.
#[repr(C)]
#[derive(StableAbi, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// At most one decision for each offered invocation. One without a decision is held.
    pub invocations: List<InvocationDecision>,
    /// At most one decision for each ready job, in the order in which they should start. One
    /// without a decision is held.
    pub jobs: List<JobDecision>,
    /// Ask again at this time at the latest; 0 for when something changes.
    pub wake_at_ms: i64,
    /// Additions of later minor versions.
    pub attrs: List<Attr>,
}

codes! {
    /// What to do with an invocation. Unknown codes are treated as [`InvocationVerdict::HOLD`].
    InvocationVerdict {
        /// Leave it as it is; `text` says why.
        HOLD = 0, "hold";
        /// Expand the listed steps.
        EXPAND = 1, "expand";
        /// Fail it; `text` says why.
        REJECT = 2, "reject";
    }
}

codes! {
    /// What to do with a job. Unknown codes are treated as [`JobVerdict::HOLD`].
    JobVerdict {
        /// Leave it waiting; `text` says why.
        HOLD = 0, "hold";
        /// Hand it to `runner_id`.
        PLACE = 1, "place";
        /// Fail it; `text` says why.
        REJECT = 2, "reject";
    }
}

/// A decision on one invocation.
#[repr(C)]
#[derive(StableAbi, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct InvocationDecision {
    /// The offered invocation.
    pub invocation_id: u64,
    /// Expand, hold or reject.
    pub decision: InvocationVerdict,
    /// The most jobs that this pass may make; -1 for no limit. Checked between steps and within a
    /// mapped step.
    pub job_budget: i64,
    /// The steps to expand, in this order.
    pub expand: List<u64>,
    /// Why other steps are held, for people.
    pub holds: List<StepHold>,
    /// Why, for people.
    pub text: Text,
    /// Offer it again at this time at the latest; 0 for when something changes.
    pub wake_at_ms: i64,
    /// Additions of later minor versions.
    pub attrs: List<Attr>,
}

/// Why a step is held.
#[repr(C)]
#[derive(StableAbi, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct StepHold {
    /// The offered step.
    pub step_id: u64,
    /// A short word for machines, of the scheduler's choosing.
    pub code: Text,
    /// A sentence for people.
    pub text: Text,
    /// Additions of later minor versions.
    pub attrs: List<Attr>,
}

/// A decision on one job.
#[repr(C)]
#[derive(StableAbi, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct JobDecision {
    /// The ready job.
    pub job_id: u64,
    /// Place, hold or reject.
    pub decision: JobVerdict,
    /// The runner to place it on; empty otherwise.
    pub runner_id: Text,
    /// A short word for machines, of the scheduler's choosing.
    pub code: Text,
    /// A sentence for people.
    pub text: Text,
    /// Offer it again at this time at the latest; 0 for when something changes.
    pub wake_at_ms: i64,
    /// Additions of later minor versions.
    pub attrs: List<Attr>,
}

impl Default for InvocationDecision {
    /// A hold without a reason and without a job limit.
    fn default() -> Self {
        Self {
            invocation_id: 0,
            decision: InvocationVerdict::HOLD,
            job_budget: -1,
            expand: List::new(),
            holds: List::new(),
            text: Text::new(),
            wake_at_ms: 0,
            attrs: List::new(),
        }
    }
}

impl InvocationDecision {
    /// Expands every offered step in order, without a job limit.
    pub fn expand_all(offer: &InvocationOffer) -> Self {
        Self {
            invocation_id: offer.id,
            decision: InvocationVerdict::EXPAND,
            expand: offer.steps.iter().map(|step| step.step_id).collect(),
            ..Self::default()
        }
    }

    /// Leaves the invocation as it is.
    pub fn hold(invocation_id: u64, text: impl Into<String>) -> Self {
        Self {
            invocation_id,
            text: text.into().into(),
            ..Self::default()
        }
    }

    /// Fails the invocation.
    pub fn reject(invocation_id: u64, text: impl Into<String>) -> Self {
        Self {
            decision: InvocationVerdict::REJECT,
            ..Self::hold(invocation_id, text)
        }
    }
}

impl JobDecision {
    /// Hands the job to a runner.
    pub fn place(job_id: u64, runner_id: &str) -> Self {
        Self {
            job_id,
            decision: JobVerdict::PLACE,
            runner_id: runner_id.into(),
            ..Self::default()
        }
    }

    /// Leaves the job waiting.
    pub fn hold(job_id: u64, code: &str, text: impl Into<String>) -> Self {
        Self {
            job_id,
            code: code.into(),
            text: text.into().into(),
            ..Self::default()
        }
    }

    /// Fails the job.
    pub fn reject(job_id: u64, code: &str, text: impl Into<String>) -> Self {
        Self {
            decision: JobVerdict::REJECT,
            ..Self::hold(job_id, code, text)
        }
    }
}
