//! What the doors need from behind them: plugins, tools, and whoever makes and moves jobs.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::{Map, Value};

use crate::config::WorkflowOptions;
use crate::http::ApiError;
use crate::http::seams::{
    Explanations, Handlers, JobCommands, Load, Seams, StepActions, ToolRunAnswer, ToolRunRequest,
    ToolRuns, WorkflowSettings,
};
use crate::invocation_request::{Schedulers, StepTypes};
use crate::invoker::known::StepValue;
use crate::model::workflow::{INPUT_STEP_TYPES, StepDescription};
use crate::plugins::{Lifecycle, SupervisionState, tame};
use crate::scheduling::Services;
use crate::scheduling::dispatch::CurrentQueue;
use crate::scheduling::requests::{self, Made, ToolRequest, ToolRunError};

/// Connects the doors with what is behind them.
pub fn seams(
    services: &Arc<Services>,
    queue: &CurrentQueue,
    lifecycle: Lifecycle,
    options: &WorkflowOptions,
) -> Seams {
    let behind = Arc::new(Behind(services.clone()));
    Seams {
        toolbox: services.toolbox.clone(),
        revisions: services.revisions.clone(),
        step_types: behind.clone(),
        schedulers: behind.clone(),
        handlers: behind.clone(),
        step_actions: behind.clone(),
        explanations: Arc::new(Explaining {
            services: services.clone(),
            queue: queue.clone(),
        }),
        job_commands: behind.clone(),
        plugins: Some(lifecycle),
        load: Arc::new(Loaded(queue.clone())),
        tool_runs: behind,
        workflows: workflow_settings(options),
    }
}

fn workflow_settings(options: &WorkflowOptions) -> WorkflowSettings {
    WorkflowSettings {
        enable_beta_workflow_modules: options.enable_beta_workflow_modules,
        force_beta_workflow_scheduled_min_steps: options.force_beta_workflow_scheduled_min_steps,
        force_beta_workflow_scheduled_for_collections: options
            .force_beta_workflow_scheduled_for_collections,
        ..WorkflowSettings::default()
    }
}

/// What is shown of a step type's title, in characters.
const TITLE_MAX: usize = 100;

/// Step types that the server itself supplies.
fn is_own(step_type: &str) -> bool {
    matches!(step_type, "tool" | "subworkflow" | "pick_value")
        || INPUT_STEP_TYPES.contains(&step_type)
}

/// What the runners have, from the loop for jobs.
struct Loaded(CurrentQueue);

impl Load for Loaded {
    fn running_jobs(&self) -> u64 {
        let capacity = self.0.get().capacity();
        capacity.load.iter().map(|user| user.running).sum()
    }

    fn slots(&self) -> (u64, u64) {
        let capacity = self.0.get().capacity();
        let runners = &capacity.runners;
        let total = runners.iter().map(|runner| runner.slots_total).sum();
        (total, runners.iter().map(|runner| runner.slots_free).sum())
    }
}

struct Behind(Arc<Services>);

impl StepTypes for Behind {
    fn is_known(&self, step_type: &str) -> bool {
        is_own(step_type) || self.0.plugins.module(step_type).is_ok()
    }

    /// Whoever would have to wait is not offered one that is disabled or in quarantine.
    fn of_plugins(&self) -> Vec<(String, String, bool)> {
        let modules = self.0.plugins.modules();
        let offered = modules.iter().filter(|module| {
            let state = module.supervision().status().state;
            module.is_enabled() && state != SupervisionState::Quarantined
        });
        let described = offered.map(|module| {
            let described = module.description();
            let id = module.type_id().to_owned();
            (id, tame(&described.name, TITLE_MAX), described.beta)
        });
        described.collect()
    }

    fn problems(&self, step: &StepDescription) -> Vec<String> {
        if is_own(&step.step_type) {
            return Vec::new();
        }
        // A type that nobody supplies is told of elsewhere.
        let Ok(module) = self.0.plugins.module(&step.step_type) else {
            return Vec::new();
        };
        module
            .problems(&step.tool_inputs)
            .unwrap_or_else(|error| vec![error.to_string()])
    }

    fn runtime_state(
        &self,
        step: &StepDescription,
        overrides: &Map<String, Value>,
    ) -> Result<Value, String> {
        let module = self.0.plugins.module(&step.step_type)?;
        let overrides = Value::Object(overrides.clone()).to_string();
        let state = module
            .get_runtime_state(&step.tool_inputs.to_string(), &overrides)
            .map_err(|error| error.to_string())?;
        serde_json::from_str(&state).map_err(|error| error.to_string())
    }
}

impl Schedulers for Behind {
    fn default_id(&self) -> String {
        self.0.plugins.default_scheduler_id().to_owned()
    }

    fn is_known(&self, id: &str) -> bool {
        self.0.plugins.scheduler(id).is_some()
    }
}

impl Handlers for Behind {
    fn assign(&self, history_id: i64) -> Option<String> {
        Some(self.0.membership.assign(history_id))
    }
}

impl StepActions for Behind {
    fn check(
        &self,
        invocation_step_id: i64,
        step: &StepDescription,
        action: &Value,
    ) -> Result<Value, String> {
        requests::check_action(&self.0, invocation_step_id, step, action)
    }
}

struct Explaining {
    services: Arc<Services>,
    queue: CurrentQueue,
}

impl Explanations for Explaining {
    fn explain(&self, invocation_id: i64) -> BoxFuture<'_, Result<Option<Value>, ApiError>> {
        Box::pin(async move {
            let queue = self.queue.get();
            let explained = requests::explain(&self.services, &queue, invocation_id);
            Ok(explained.await?.map(|explanation| {
                serde_json::json!({
                    "code": explanation.code.as_str(),
                    "text": explanation.text.as_str(),
                    "expected_ms": (explanation.expected_ms > 0).then_some(explanation.expected_ms),
                })
            }))
        })
    }
}

impl JobCommands for Behind {
    fn cancel(&self, job_id: i64, _: Option<String>) -> BoxFuture<'_, Result<bool, ApiError>> {
        Box::pin(async move { Ok(requests::cancel_job(&self.0, job_id).await?) })
    }

    fn resume(&self, job_id: i64) -> BoxFuture<'_, Result<(), ApiError>> {
        Box::pin(async move { Ok(requests::resume_job(&self.0, job_id).await?) })
    }
}

impl ToolRuns for Behind {
    fn run(&self, request: ToolRunRequest) -> BoxFuture<'_, Result<ToolRunAnswer, ApiError>> {
        Box::pin(async move {
            if request.rerun_remap_job_id.is_some() && request.runs.len() != 1 {
                return Err(ApiError::message(
                    "A job can only be put in the place of a failed one if it is one job.",
                ));
            }
            let asked: Vec<ToolRequest<'_>> = request
                .runs
                .iter()
                .map(|inputs| ToolRequest {
                    user_id: request.user_id,
                    history_id: request.history_id,
                    tool: &request.tool,
                    dynamic_tool_id: request.dynamic_tool_id,
                    state: &inputs.state,
                    mapped: &inputs.mapped,
                    use_cached_job: request.use_cached_job,
                    in_place_of: request.rerun_remap_job_id,
                })
                .collect();
            let all = requests::run_tools(&self.0, &asked, request.note.as_ref());
            let all = all.await.map_err(refusal)?;
            let mut answer = ToolRunAnswer {
                noted: all.noted,
                ..Default::default()
            };
            for made in all.made {
                add(&mut answer, made, &request);
            }
            Ok(answer)
        })
    }
}

fn refusal(error: ToolRunError) -> ApiError {
    match error {
        ToolRunError::Refused(sentence) => ApiError::message(sentence),
        ToolRunError::Store(error) => error.into(),
        ToolRunError::Unread(error) => ApiError::broken(error),
    }
}

/// Adds what one run made, outputs in the tool's order.
fn add(answer: &mut ToolRunAnswer, made: Made, request: &ToolRunRequest) {
    answer.jobs.extend(made.jobs);
    let place: HashMap<&str, usize> = request
        .tool
        .outputs
        .iter()
        .enumerate()
        .map(|(n, output)| (output.name.as_str(), n))
        .collect();
    let mut outputs: Vec<_> = made.outputs.into_iter().collect();
    outputs.sort_by_key(|(name, _)| (place.get(name.as_str()).copied(), name.clone()));
    for (name, value) in outputs {
        match value {
            StepValue::Hda(id) => answer.outputs.push((name, id)),
            StepValue::Hdca(id) if made.is_mapped => answer.implicit_collections.push((name, id)),
            StepValue::Hdca(id) => answer.output_collections.push((name, id)),
            StepValue::Json(_) | StepValue::NoReplacement => {}
        }
    }
}
