//! Asking a scheduler for a plan.

use std::sync::Arc;

use barycenter_plugin_api::{PlanRequest, PluginKind, Text};

use super::absence::Absence;
use crate::plugins::{MadePlan, Plugins};

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoPlan {
    /// What went wrong, for the operator; None when nobody was asked, as everybody knows that the scheduler is away.
    pub fault: Option<String>,
    /// For the owners of what waits.
    pub told: Absence,
}

/// Asks a scheduler, and the one that stands in for it when it fails or is disabled.
pub fn ask(
    plugins: &Plugins,
    scheduler: &str,
    mut request: PlanRequest,
) -> Result<MadePlan, NoPlan> {
    const WHAT: &str = "scheduler";
    let disabled = plugins.disabled(PluginKind::Scheduler, scheduler);
    let disabled = disabled.map(|why| Absence::disabled(WHAT, scheduler, why));
    let Some(instance) = plugins.scheduler(scheduler) else {
        let told = disabled.unwrap_or_else(|| Absence::missing(WHAT, scheduler));
        return Err(NoPlan { fault: None, told });
    };
    request.cycle = instance.next_cycle();
    if let Some(limit) = instance.limit() {
        let limit = i64::try_from(limit.as_millis()).unwrap_or(i64::MAX);
        request.deadline_ms = request.now_ms.saturating_add(limit);
    }
    let request = Arc::new(request);
    let fault = match instance.plan(&request) {
        Ok(plan) => return Ok(plan),
        Err(fault) => fault,
    };
    // Nothing that somebody wants so, or that the log has said already, need be told with every plan.
    let is_known = disabled.is_some() || fault.was_not_asked();
    let state = instance.supervision().status().state;
    let told = disabled.unwrap_or_else(|| Absence::of(WHAT, scheduler, state, &fault));
    let no_plan = |fault: String, told: Absence| NoPlan {
        fault: (!is_known).then_some(fault),
        told,
    };
    let Some(stand_in) = instance.fallback().and_then(|id| plugins.scheduler(id)) else {
        return Err(no_plan(fault.to_string(), told));
    };
    if !is_known {
        tracing::warn!(
            plugin = scheduler,
            "{} plans instead: {fault}",
            stand_in.id()
        );
    }
    match stand_in.plan(&request) {
        Ok(plan) => Ok(signed(plan, stand_in.id(), scheduler)),
        Err(second) => Err(no_plan(
            format!("{fault}; and its fallback: {second}"),
            told.with_stand_in(stand_in.id()),
        )),
    }
}

/// Whoever reads why something is held reads who holds it.
fn signed(mut plan: MadePlan, stand_in: &str, scheduler: &str) -> MadePlan {
    let sign = |text: &mut Text| {
        if !text.is_empty() {
            *text = format!("{text} ({stand_in} stands in for {scheduler}.)").into();
        }
    };
    for decision in plan.invocations.iter_mut() {
        sign(&mut decision.text);
        decision
            .holds
            .iter_mut()
            .for_each(|hold| sign(&mut hold.text));
    }
    plan.jobs.iter_mut().for_each(|job| sign(&mut job.text));
    plan
}
