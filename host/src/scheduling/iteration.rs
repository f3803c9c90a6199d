//! One attempt to advance invocations that were loaded: recover, ask the schedulers, decide, store.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use barycenter_plugin_api::{
    Attr, InvocationDecision, InvocationOffer, InvocationVerdict, PlanRequest, StepOffer,
};
use futures_util::stream::{self, StreamExt};
use serde_json::Value;

use super::contents::{DataFiles, read_contents, write_contents};
use super::dispatch::Queue;
use super::engine::Services;
use super::modules::PluginModules;
use super::monitor::release_next_in_history;
use crate::invoker::iteration::{Allowed, Iteration, Outcome, Tools, stopped};
use crate::invoker::offers::offers;
use crate::invoker::progress::Progress;
use crate::invoker::stop::{Stop, Wait};
use crate::invoker::writes::Writes;
use crate::model::message::{InvocationMessage, reason};
use crate::model::state::InvocationState;
use crate::model::workflow::StepDescription;
use crate::plugins::Plugins;
use crate::store::scheduling::commit::{Stored, commit_iteration};
use crate::store::scheduling::progress::Head;
use crate::tools::{Tool, Toolbox};

/// An invocation with everything that was stored about it.
pub struct Loaded {
    pub head: Head,
    pub progress: Progress,
}

/// Advances invocations, asking each scheduler once about all of its own. Returns those that could not be, with the
/// fault; they keep their signal.
pub async fn advance(
    services: &Arc<Services>,
    jobs: &Queue,
    loaded: Vec<Loaded>,
) -> Vec<(i64, String)> {
    let ids: Vec<i64> = loaded.iter().map(|one| one.head.id).collect();
    let planned = {
        let services = services.clone();
        tokio::task::spawn_blocking(move || plan(&services, loaded)).await
    };
    let planned = match planned {
        Ok(planned) => planned,
        Err(error) => {
            // Whose fault it was is not known; the monitor takes them one by one from now on.
            let fault = format!("planning broke ({error})");
            return ids.into_iter().map(|id| (id, fault.clone())).collect();
        }
    };
    let commits = planned.into_iter().map(|(head, planned)| async move {
        let id = head.id;
        match planned {
            Ok(outcome) => (id, store(services, jobs, &head, outcome).await),
            Err(fault) => (id, Err(fault)),
        }
    });
    let stored: Vec<_> = stream::iter(commits).buffer_unordered(8).collect().await;
    stored
        .into_iter()
        .filter_map(|(id, result)| Some((id, result.err()?)))
        .collect()
}

async fn store(
    services: &Services,
    jobs: &Queue,
    head: &Head,
    outcome: Outcome,
) -> Result<(), String> {
    let handler = &services.settings.handler;
    let now = services.clock.now_ms();
    let stored = commit_iteration(&services.store, head, handler, outcome, now).await;
    match stored.map_err(|e| crate::errors::chain(&e))? {
        Stored::Yes {
            state,
            ready,
            again,
        } => {
            services.signals.iteration_committed();
            jobs.ready(ready);
            if again || state == InvocationState::Cancelling {
                services.signals.invocations_changed();
            }
            if !state.is_active() {
                release_next_in_history(services, head)
                    .await
                    .map_err(|e| crate::errors::chain(&e))?;
            }
        }
        Stored::Stale => services.signals.invocations_changed(),
    }
    Ok(())
}

type Planned = Vec<(Head, Result<Outcome, String>)>;

/// Everything between loading and storing. Blocks: plugins are asked, expressions evaluated, small files read and written.
fn plan(services: &Services, loaded: Vec<Loaded>) -> Planned {
    let tools = StepTools {
        toolbox: services.toolbox.clone(),
    };
    let modules = PluginModules {
        plugins: services.plugins.clone(),
        clock: services.clock.clone(),
    };
    let iteration = Iteration {
        tools: &tools,
        modules: &modules,
        ids: services.store.ids.as_ref(),
        files: &DataFiles(&services.data),
    };
    let now = services.clock.now_ms();
    let mut planned = Planned::new();
    let mut by_scheduler: BTreeMap<String, Vec<Loaded>> = BTreeMap::new();
    for mut one in loaded {
        read_contents(services, &mut one.progress.known);
        if let Err(stop) = one.progress.recover(&modules) {
            let outcome = stopped(one.head.id, Writes::default(), stop);
            planned.push((one.head, Ok(outcome)));
            continue;
        }
        let default = services.plugins.default_scheduler_id();
        let scheduler = one
            .head
            .scheduler
            .as_deref()
            .filter(|s| !s.is_empty())
            .unwrap_or(default);
        by_scheduler
            .entry(scheduler.to_owned())
            .or_default()
            .push(one);
    }
    for (scheduler, group) in by_scheduler {
        let offers = group.iter().map(|one| offer(one, now)).collect();
        let request = PlanRequest {
            now_ms: now,
            seed: now as u64,
            invocations: offers,
            ..Default::default()
        };
        let decisions: HashMap<u64, InvocationDecision> =
            match ask(&services.plugins, &scheduler, request) {
                Ok(plan) => plan
                    .invocations
                    .into_iter()
                    .map(|d| (d.invocation_id, d))
                    .collect(),
                Err(fault) => {
                    planned.extend(group.into_iter().map(|one| (one.head, Err(fault.clone()))));
                    continue;
                }
            };
        for mut one in group {
            let outcome = match decisions.get(&(one.head.id as u64)) {
                Some(decision) => carry_out(&iteration, &mut one.progress, decision, now),
                None => held(
                    one.head.id,
                    "The scheduler did not decide about this invocation.",
                    0,
                    now,
                ),
            };
            let written = write_contents(services, &outcome.writes).map_err(|e| e.to_string());
            planned.push((one.head, written.map(|()| outcome)));
        }
    }
    planned
}

/// Asks a scheduler, and the one that stands in for it when it fails.
pub fn ask(
    plugins: &Plugins,
    scheduler: &str,
    request: PlanRequest,
) -> Result<barycenter_plugin_api::Plan, String> {
    let instance = plugins
        .scheduler(scheduler)
        .ok_or_else(|| format!("the scheduler {scheduler} is not loaded"))?;
    let request = Arc::new(request);
    let fault = match instance.plan(&request) {
        Ok(plan) => return Ok(plan),
        Err(fault) => fault.to_string(),
    };
    match instance.fallback().and_then(|id| plugins.scheduler(id)) {
        Some(fallback) => {
            tracing::warn!(
                plugin = scheduler,
                "{} plans instead: {fault}",
                fallback.id()
            );
            fallback
                .plan(&request)
                .map_err(|second| format!("{fault}; and its fallback: {second}"))
        }
        None => Err(fault),
    }
}

fn offer(one: &Loaded, now: i64) -> InvocationOffer {
    let (head, progress) = (&one.head, &one.progress);
    let steps = offers(progress).into_iter().map(|offer| {
        let step = &progress.revision.description.steps[offer.order_index];
        StepOffer {
            step_id: offer.step_id as u64,
            order_index: offer.order_index as u32,
            step_type: step.step_type.as_str().into(),
            tool_id: step.tool_id.as_deref().unwrap_or_default().into(),
            label: step.label.as_deref().unwrap_or_default().into(),
            expected_jobs: offer.expected_jobs,
            ..Default::default()
        }
    });
    let parameters = progress.replacements.iter().map(|(name, value)| Attr {
        name: name.as_str().into(),
        value: Value::String(value.clone()).to_string().into(),
    });
    InvocationOffer {
        id: head.id as u64,
        uuid: head.uuid.to_string().into(),
        user_id: head.user_id as u64,
        history_id: head.history_id as u64,
        workflow_name: progress.revision.description.name.as_str().into(),
        state: head.state.code().into(),
        create_time_ms: head.create_time,
        age_ms: now - head.create_time,
        steps: steps.collect(),
        parameters: parameters.collect(),
        ..Default::default()
    }
}

fn carry_out(
    iteration: &Iteration<'_>,
    progress: &mut Progress,
    decision: &InvocationDecision,
    now: i64,
) -> Outcome {
    match decision.decision {
        InvocationVerdict::EXPAND => {
            let held = decision
                .holds
                .iter()
                .map(|hold| (hold.step_id as i64, hold.text.to_string()));
            let allowed = Allowed {
                expand: Some(decision.expand.iter().map(|id| *id as i64).collect()),
                held: held.collect(),
                job_budget: usize::try_from(decision.job_budget).ok(),
            };
            let mut outcome = iteration.run(progress, &allowed);
            if decision.wake_at_ms > 0 {
                outcome.writes.waits.push(Wait::Until(decision.wake_at_ms));
            }
            outcome
        }
        InvocationVerdict::REJECT => stopped(
            progress.invocation_id,
            Writes::default(),
            Stop::fail(InvocationMessage {
                reason: reason::UNEXPECTED_FAILURE,
                details: Some(format!(
                    "The scheduler rejected this invocation: {}",
                    decision.text
                )),
                ..Default::default()
            }),
        ),
        _ => held(
            progress.invocation_id,
            &decision.text,
            decision.wake_at_ms,
            now,
        ),
    }
}

/// A pass in which the scheduler wants nothing done.
fn held(invocation_id: i64, why: &str, wake_at_ms: i64, now: i64) -> Outcome {
    // Without an instant of its own the scheduler is asked again after a while, so that nothing is forgotten.
    const ASK_AGAIN_MS: i64 = 60_000;
    let at = if wake_at_ms > 0 {
        wake_at_ms
    } else {
        now + ASK_AGAIN_MS
    };
    stopped(
        invocation_id,
        Writes::default(),
        Stop::Delayed {
            why: why.to_owned(),
            waits: vec![Wait::Scheduler, Wait::Until(at)],
        },
    )
}

/// The toolbox, as the invoker asks for it.
pub struct StepTools {
    pub toolbox: Arc<Toolbox>,
}

impl Tools for StepTools {
    fn tool(
        &self,
        step: &StepDescription,
        _dynamic_tool_id: Option<i64>,
    ) -> Result<Arc<Tool>, String> {
        if let Some(uuid) = &step.tool_uuid
            && let Some(tool) = self.toolbox.get_dynamic(uuid)
        {
            return Ok(tool);
        }
        let id = step.tool_id.as_deref().unwrap_or_default();
        match self.toolbox.get(id, step.tool_version.as_deref()) {
            Some(found) => Ok(found.tool),
            None => Err(format!("The tool {id} is not installed.")),
        }
    }
}
