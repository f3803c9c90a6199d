//! Places jobs from the end of the queue, `at_most` in each plan, and expands one step of every invocation.

use barycenter_plugin_api::{
    ExplainRequest, Explanation, Host, InvocationDecision, JobDecision, Plan, PlanRequest, Plugin,
    PluginError, Scheduler, Text, capability, serde_json::Value,
};

pub struct LastFirst {
    host: Host,
    at_most: usize,
    /// Plans that it made, over all its lives.
    plans: u64,
}

impl Plugin for LastFirst {
    fn create(config: Value, host: Host) -> Result<Self, PluginError> {
        let at_most = usize::try_from(config["at_most"].as_u64().unwrap_or(100))?;
        Ok(Self {
            host,
            at_most,
            plans: 0,
        })
    }
}

impl Scheduler for LastFirst {
    const CAPABILITIES: &'static [&'static str] = &[capability::STATE, capability::EXPLAIN];

    fn snapshot_state(&mut self) -> Result<Text, PluginError> {
        Ok(self.plans.to_string().into())
    }

    fn restore_state(&mut self, state_json: &str) -> Result<(), PluginError> {
        self.plans = state_json.parse()?;
        Ok(())
    }

    fn explain(&mut self, request: &ExplainRequest) -> Result<Explanation, PluginError> {
        Ok(Explanation {
            code: "full".into(),
            text: format!("{} jobs wait, the last first", request.jobs.len()).into(),
            ..Explanation::default()
        })
    }

    fn plan(&mut self, request: &PlanRequest) -> Result<Plan, PluginError> {
        if request.cycle == u64::MAX {
            panic!("the cycle {} is the one that panics", request.cycle);
        }
        self.plans += 1;
        self.host.info(format!("plan {}", request.cycle));
        let first_step = |offer| {
            let mut decision = InvocationDecision::expand_all(offer);
            decision.expand.truncate(1);
            decision
        };
        let Some(runner) = request.runners.first() else {
            let invocations = request.invocations.iter().map(first_step).collect();
            return Ok(Plan {
                invocations,
                ..Plan::default()
            });
        };
        let room = self.at_most.min(usize::try_from(runner.accepts)?);
        let jobs = request.jobs.iter().rev().enumerate().map(|(at, job)| {
            if at < room {
                JobDecision::place(job.id, &runner.id)
            } else {
                JobDecision::hold(job.id, "full", "no room in this plan")
            }
        });
        Ok(Plan {
            invocations: request.invocations.iter().map(first_step).collect(),
            jobs: jobs.collect(),
            wake_at_ms: request.now_ms + 1000,
            ..Plan::default()
        })
    }
}

barycenter_plugin_api::export_scheduler! {
    type: "museum-scheduler",
    description: "Places jobs from the end of the queue",
    schema: r#"{ "type": "object", "additionalProperties": false,
                 "properties": { "at_most": { "type": "integer", "minimum": 1 } } }"#,
    LastFirst
}
