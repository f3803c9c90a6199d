//! Runs the jobs that became ready last first, and expands only small invocations.

use barycenter_plugin_api::{
    Host, InvocationDecision, JobDecision, Plan, PlanRequest, Plugin, PluginError, Scheduler,
};

pub struct YoungestFirst {
    most_steps: usize,
}

impl Plugin for YoungestFirst {
    fn create(config: serde_json::Value, host: Host) -> Result<Self, PluginError> {
        host.info("youngest first");
        let most_steps = config["most_steps"].as_u64().unwrap_or(10);
        Ok(Self {
            most_steps: usize::try_from(most_steps)?,
        })
    }
}

impl Scheduler for YoungestFirst {
    fn plan(&mut self, request: &PlanRequest) -> Result<Plan, PluginError> {
        let invocations = request.invocations.iter().map(|offer| {
            if offer.steps.len() <= self.most_steps {
                InvocationDecision::expand_all(offer)
            } else {
                InvocationDecision::hold(
                    offer.id,
                    format!("{} steps are too many", offer.steps.len()),
                )
            }
        });
        let runner = request
            .runners
            .first()
            .ok_or_else(|| PluginError::failed("no runner"))?;
        let mut jobs: Vec<_> = request.jobs.iter().collect();
        jobs.sort_by_key(|job| std::cmp::Reverse(job.ready_since_ms));
        let room = usize::try_from(runner.accepts)?;
        let placed = jobs
            .iter()
            .take(room)
            .map(|job| JobDecision::place(job.id, &runner.id));
        let held = jobs
            .iter()
            .skip(room)
            .map(|job| JobDecision::hold(job.id, "full", "no room"));
        Ok(Plan {
            invocations: invocations.collect(),
            jobs: placed.chain(held).collect(),
            ..Plan::default()
        })
    }
}

barycenter_plugin_api::export_scheduler! {
    type: "youngest-first",
    schema: r#"{ "type": "object", "properties": { "most_steps": { "type": "integer", "minimum": 1 } } }"#,
    YoungestFirst
}
