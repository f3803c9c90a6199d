//! Deals free places in turn: the user with the fewest running jobs comes first, and nobody has more than
//! `jobs_per_user` running.

use barycenter_plugin_api::serde_json::Value;
use barycenter_plugin_api::{
    Host, InvocationDecision, JobDecision, Plan, PlanRequest, Plugin, PluginError, Scheduler,
};
use std::collections::HashMap;

pub struct {{Type}} {
    host: Host,
    jobs_per_user: u64,
}

impl Plugin for {{Type}} {
    fn create(config: Value, host: Host) -> Result<Self, PluginError> {
        let jobs_per_user = config["jobs_per_user"].as_u64().unwrap_or(4);
        host.info(format!("at most {jobs_per_user} jobs per user"));
        Ok(Self {
            host,
            jobs_per_user,
        })
    }
}

impl Scheduler for {{Type}} {
    fn plan(&mut self, request: &PlanRequest) -> Result<Plan, PluginError> {
        let jobs = self.deal(request);
        self.host.debug(format!(
            "plan {}: {} invocations, {} of {} jobs placed",
            request.cycle,
            request.invocations.len(),
            jobs.len(),
            request.jobs.len()
        ));
        Ok(Plan {
            invocations: request
                .invocations
                .iter()
                .map(InvocationDecision::expand_all)
                .collect(),
            jobs: jobs.into(),
            ..Plan::default()
        })
    }
}

impl {{Type}} {
    /// Which jobs start, where, in this order. A job that is not named stays waiting.
    fn deal(&self, request: &PlanRequest) -> Vec<JobDecision> {
        let mut running: HashMap<u64, u64> = request
            .load
            .iter()
            .map(|load| (load.user_id, load.running))
            .collect();
        let mut room: Vec<(&str, u64)> = request
            .runners
            .iter()
            .map(|runner| (&*runner.id, runner.accepts))
            .collect();
        let mut waiting: Vec<_> = request.jobs.iter().collect();
        waiting.sort_by_key(|job| (job.ready_since_ms, job.id));

        let mut placed = Vec::new();
        // Dealing one place changes whose turn it is, so look again each time.
        while let Some((runner, accepts)) = room.iter_mut().find(|(_, accepts)| *accepts > 0) {
            let has = |user: u64| running.get(&user).copied().unwrap_or(0);
            let next = waiting
                .iter()
                .enumerate()
                .filter(|(_, job)| has(job.user_id) < self.jobs_per_user)
                .min_by_key(|(_, job)| has(job.user_id))
                .map(|(at, _)| at);
            let Some(at) = next else { break };
            let job = waiting.remove(at);
            placed.push(JobDecision::place(job.id, runner));
            *accepts -= 1;
            *running.entry(job.user_id).or_default() += 1;
        }
        placed
    }
}

barycenter_plugin_api::export_scheduler! {
    type: "{{name}}",
    description: "Deals free places in turn, with a limit for each user",
    schema: include_str!("config.schema.json"),
    {{Type}}
}

#[cfg(test)]
mod tests {
    use super::*;
    use barycenter_plugin_api::serde_json::json;
    use barycenter_plugin_api::testing::FakeHost;
    use barycenter_plugin_api::{ReadyJob, RunnerOffer};

    fn job(id: u64, user_id: u64) -> ReadyJob {
        ReadyJob {
            id,
            user_id,
            ..ReadyJob::default()
        }
    }

    /// The jobs that start, in order, when a runner takes `accepts` of them.
    fn started(jobs: &[ReadyJob], accepts: u64) -> Vec<u64> {
        let config = json!({ "jobs_per_user": 2 });
        let mut scheduler = {{Type}}::create(config, FakeHost::new().host()).unwrap();
        let runner = RunnerOffer {
            id: "local".into(),
            accepts,
            ..RunnerOffer::default()
        };
        let request = PlanRequest {
            jobs: jobs.to_vec().into(),
            runners: vec![runner].into(),
            ..PlanRequest::default()
        };
        let plan = scheduler.plan(&request).unwrap();
        plan.jobs.iter().map(|decision| decision.job_id).collect()
    }

    #[test]
    fn users_take_turns_and_nobody_exceeds_the_limit() {
        let jobs = [job(1, 7), job(2, 7), job(3, 7), job(4, 8)];
        assert_eq!(started(&jobs, 9), [1, 4, 2]);
    }

    #[test]
    fn no_runner_gets_more_than_it_accepts() {
        assert_eq!(started(&[job(1, 7), job(2, 8)], 1), [1]);
        assert!(started(&[job(1, 7)], 0).is_empty());
    }

    #[test]
    fn the_host_hears_of_the_limit() {
        let host = FakeHost::new();
        {{Type}}::create(json!({}), host.host()).unwrap();
        assert_eq!(host.lines(), ["info: at most 4 jobs per user"]);
    }
}
