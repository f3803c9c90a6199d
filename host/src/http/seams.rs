//! What handlers need from the rest of the server: tools, plugins, and whoever makes and moves jobs. The server
//! wires it once, at start; until then there are no plugins and nothing runs.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::Value;

use super::error::ApiError;
use crate::invocation_request::tool_request::ToolInputs;
use crate::invocation_request::{Schedulers, StepTypes};
use crate::model::workflow::{INPUT_STEP_TYPES, StepDescription};
use crate::plugins::Lifecycle;
use crate::store::workflows::RevisionCache;
use crate::tools::{Tool, Toolbox};

/// Everything that is wired.
#[derive(Clone)]
pub struct Seams {
    pub toolbox: Arc<Toolbox>,
    pub revisions: Arc<RevisionCache>,
    pub step_types: Arc<dyn StepTypes>,
    pub schedulers: Arc<dyn Schedulers>,
    pub handlers: Arc<dyn Handlers>,
    pub step_actions: Arc<dyn StepActions>,
    pub explanations: Arc<dyn Explanations>,
    pub job_commands: Arc<dyn JobCommands>,
    /// None before the server is wired.
    pub plugins: Option<Lifecycle>,
    pub load: Arc<dyn Load>,
    pub tool_runs: Arc<dyn ToolRuns>,
    pub workflows: WorkflowSettings,
}

/// What an operator decides about workflows.
#[derive(Debug, Clone)]
pub struct WorkflowSettings {
    /// Offer editors step types beyond Galaxy's stable ones, such as pause.
    pub enable_beta_workflow_modules: bool,
    /// A run by the old form of `POST /api/workflows` waits for workflows of at most this many steps.
    pub force_beta_workflow_scheduled_min_steps: usize,
    /// That form does not wait for workflows with a collection input.
    pub force_beta_workflow_scheduled_for_collections: bool,
    /// The longest such a wait.
    pub foreground_wait_max: Duration,
    /// Resource parameters that only take certain values.
    pub resource_values: Vec<(String, Vec<String>)>,
    /// The server's own step types for editors: type and title.
    pub modules: Vec<(String, String)>,
}

/// Revisions kept in memory, counted in steps.
const CACHED_STEPS_MAX: usize = 200_000;

impl Default for WorkflowSettings {
    fn default() -> WorkflowSettings {
        let module = |name: &str, title: &str| (name.to_owned(), title.to_owned());
        WorkflowSettings {
            enable_beta_workflow_modules: false,
            force_beta_workflow_scheduled_min_steps: 250,
            force_beta_workflow_scheduled_for_collections: false,
            foreground_wait_max: Duration::from_secs(20),
            resource_values: Vec::new(),
            modules: vec![
                module("data_input", "Input dataset"),
                module("data_collection_input", "Input dataset collection"),
                module("parameter_input", "Input parameter"),
                module("tool", "Tool"),
                module("subworkflow", "Subworkflow"),
                module("pick_value", "Pick value"),
            ],
        }
    }
}

impl Seams {
    /// Tools, and nothing else: no plugin supplies step types, and jobs are neither made nor moved.
    pub fn unwired(toolbox: Arc<Toolbox>) -> Seams {
        let nothing = Arc::new(Nothing);
        Seams {
            toolbox,
            revisions: Arc::new(RevisionCache::new(CACHED_STEPS_MAX)),
            step_types: nothing.clone(),
            schedulers: nothing.clone(),
            handlers: nothing.clone(),
            step_actions: nothing.clone(),
            explanations: nothing.clone(),
            job_commands: nothing.clone(),
            plugins: None,
            load: nothing.clone(),
            tool_runs: nothing,
            workflows: WorkflowSettings::default(),
        }
    }
}

/// Who schedules a new invocation.
pub trait Handlers: Send + Sync {
    /// The handler's name, or the tag under which one will take it; None is nobody as yet.
    fn assign(&self, history_id: i64) -> Option<String>;
}

/// Why invocations wait, by their schedulers.
pub trait Explanations: Send + Sync {
    /// What the scheduler of an invocation says; None when it explains nothing.
    fn explain(&self, invocation_id: i64) -> BoxFuture<'_, Result<Option<Value>, ApiError>>;
}

/// What persons may do to a step while its invocation runs (Galaxy: do_invocation_step_action).
pub trait StepActions: Send + Sync {
    /// The value to store for an action, or one sentence why the step takes none such. May block.
    fn check(
        &self,
        invocation_step_id: i64,
        step: &StepDescription,
        action: &Value,
    ) -> Result<Value, String>;
}

/// Orders to jobs. Each stores what it does and signals.
pub trait JobCommands: Send + Sync {
    /// Stops a job. False when it had already ended.
    fn cancel(&self, job_id: i64, message: Option<String>)
    -> BoxFuture<'_, Result<bool, ApiError>>;
    /// Puts a paused job, and the paused ones that depend on it, back to new.
    fn resume(&self, job_id: i64) -> BoxFuture<'_, Result<(), ApiError>>;
}

/// What the runners of this process have.
pub trait Load: Send + Sync {
    fn running_jobs(&self) -> u64 {
        0
    }
    /// Slots: all, and those that are free.
    fn slots(&self) -> (u64, u64) {
        (0, 0)
    }
}

/// Jobs outside any workflow.
pub trait ToolRuns: Send + Sync {
    /// Makes the jobs and what they will write, all or nothing, commits, and signals.
    fn run(&self, request: ToolRunRequest) -> BoxFuture<'_, Result<ToolRunAnswer, ApiError>>;
}

/// A tool to run, checked.
#[derive(Debug, Clone)]
pub struct ToolRunRequest {
    pub user_id: i64,
    pub history_id: i64,
    pub tool: Arc<Tool>,
    pub dynamic_tool_id: Option<i64>,
    /// One for each job, or for each mapping.
    pub runs: Vec<ToolInputs>,
    pub use_cached_job: bool,
    /// The failed job whose outputs, and whose paused dependants, the new one takes over.
    pub rerun_remap_job_id: Option<i64>,
    /// What was asked for in the strict form, to be kept with the jobs.
    pub note: Option<Value>,
}

/// What was made, by database id; names are those of the tool's outputs.
#[derive(Debug, Clone, Default)]
pub struct ToolRunAnswer {
    pub jobs: Vec<i64>,
    pub outputs: Vec<(String, i64)>,
    pub output_collections: Vec<(String, i64)>,
    pub implicit_collections: Vec<(String, i64)>,
    pub errors: Vec<String>,
    /// Where the note is kept.
    pub noted: Option<i64>,
}

struct Nothing;

impl Load for Nothing {}

impl StepTypes for Nothing {
    fn is_known(&self, step_type: &str) -> bool {
        matches!(step_type, "tool" | "subworkflow" | "pick_value")
            || INPUT_STEP_TYPES.contains(&step_type)
    }

    fn of_plugins(&self) -> Vec<(String, String, bool)> {
        vec![("pause".into(), "Pause for dataset review".into(), true)]
    }
}

impl Schedulers for Nothing {
    fn default_id(&self) -> String {
        "default".to_owned()
    }
    fn is_known(&self, id: &str) -> bool {
        id == "default"
    }
}

impl Handlers for Nothing {
    fn assign(&self, _: i64) -> Option<String> {
        None
    }
}

impl Explanations for Nothing {
    fn explain(&self, _: i64) -> BoxFuture<'_, Result<Option<Value>, ApiError>> {
        Box::pin(async { Ok(None) })
    }
}

impl StepActions for Nothing {
    fn check(&self, _: i64, step: &StepDescription, _: &Value) -> Result<Value, String> {
        Err(format!(
            "A step of type {} takes no actions.",
            step.step_type
        ))
    }
}

impl JobCommands for Nothing {
    fn cancel(&self, _: i64, _: Option<String>) -> BoxFuture<'_, Result<bool, ApiError>> {
        Box::pin(async { Err(ApiError::not_implemented("This server runs no jobs.")) })
    }
    fn resume(&self, _: i64) -> BoxFuture<'_, Result<(), ApiError>> {
        Box::pin(async { Err(ApiError::not_implemented("This server runs no jobs.")) })
    }
}

impl ToolRuns for Nothing {
    fn run(&self, _: ToolRunRequest) -> BoxFuture<'_, Result<ToolRunAnswer, ApiError>> {
        Box::pin(async { Err(ApiError::not_implemented("This server runs no jobs.")) })
    }
}
