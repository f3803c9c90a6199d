//! Galaxy's scheduling: every schedulable step at once, up to the job cap; jobs first come, first
//! served.

use barycenter_plugin_api::{
    Host, InvocationDecision, JobDecision, Plan, PlanRequest, Plugin, PluginError, ReadyJob,
    RunnerOffer, Scheduler,
};
use serde::Deserialize;

/// Plugin type `default`.
#[derive(Debug)]
pub struct DefaultScheduler {
    config: Config,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Galaxy's option of the same name: the most jobs that one pass makes for one invocation;
    /// -1 for no limit.
    #[serde(default = "default_job_cap")]
    maximum_workflow_jobs_per_scheduling_iteration: i64,
}

const fn default_job_cap() -> i64 {
    1000
}

impl Plugin for DefaultScheduler {
    fn create(config: serde_json::Value, _host: Host) -> Result<Self, PluginError> {
        let config: Config = serde_json::from_value(config)?;
        match config.maximum_workflow_jobs_per_scheduling_iteration {
            -1 | 1.. => Ok(Self { config }),
            cap => Err(PluginError::invalid(format!(
                "maximum_workflow_jobs_per_scheduling_iteration is {cap}; \
                 give 1 or more, or -1 for no limit"
            ))),
        }
    }
}

impl Scheduler for DefaultScheduler {
    fn plan(&mut self, request: &PlanRequest) -> Result<Plan, PluginError> {
        let job_budget = self.config.maximum_workflow_jobs_per_scheduling_iteration;
        let invocations = request
            .invocations
            .iter()
            .map(|offer| InvocationDecision {
                job_budget,
                ..InvocationDecision::expand_all(offer)
            })
            .collect();
        Ok(Plan {
            invocations,
            jobs: place(&request.jobs, &request.runners).into(),
            ..Plan::default()
        })
    }
}

/// Places jobs in the order in which they became ready. A job that no runner takes is left
/// undecided, which holds it.
fn place(jobs: &[ReadyJob], runners: &[RunnerOffer]) -> Vec<JobDecision> {
    let mut order: Vec<&ReadyJob> = jobs.iter().collect();
    order.sort_by_key(|job| (job.ready_since_ms, job.id));
    let mut free: Vec<Free> = runners.iter().map(Free::of).collect();
    let mut decisions = Vec::new();
    for job in order {
        let Some(runner) = choose(&mut free, u64::from(job.cores.max(1))) else {
            break; // Acceptance is counted in jobs: what refuses this one refuses all.
        };
        decisions.push(JobDecision::place(job.id, runner));
    }
    decisions
}

struct Free<'a> {
    id: &'a str,
    accepts: u64,
    slots_total: u64,
    slots_free: u64,
}

impl<'a> Free<'a> {
    fn of(offer: &'a RunnerOffer) -> Self {
        Self {
            id: &offer.id,
            accepts: offer.accepts,
            slots_total: offer.slots_total,
            slots_free: offer.slots_free,
        }
    }
}

/// The runner that can start the job at once, else one that is large enough for it, else any that
/// takes it; among equals the one that takes most, and then the first.
fn choose<'a>(free: &mut [Free<'a>], cores: u64) -> Option<&'a str> {
    let rank = |runner: &Free<'_>| {
        (
            runner.slots_free >= cores,
            runner.slots_total >= cores,
            runner.accepts,
        )
    };
    let best = free
        .iter_mut()
        .filter(|runner| runner.accepts > 0)
        .reduce(|best, next| if rank(next) > rank(best) { next } else { best })?;
    best.accepts -= 1;
    best.slots_free = best.slots_free.saturating_sub(cores);
    Some(best.id)
}

barycenter_plugin_api::export_scheduler! {
    type: "default",
    description: "Galaxy's scheduling: every schedulable step at once, jobs first come, first served",
    schema: include_str!("config.schema.json"),
    DefaultScheduler
}

#[cfg(test)]
mod tests {
    use super::*;
    use barycenter_plugin_api::testing::FakeHost;
    use barycenter_plugin_api::{InvocationOffer, InvocationVerdict, StepOffer};
    use serde_json::json;

    fn scheduler(config: serde_json::Value) -> Result<DefaultScheduler, PluginError> {
        DefaultScheduler::create(config, FakeHost::new().host())
    }

    fn job(id: u64, ready_since_ms: i64, cores: u32) -> ReadyJob {
        ReadyJob {
            id,
            ready_since_ms,
            cores,
            ..ReadyJob::default()
        }
    }

    fn runner(id: &str, slots_free: u64, accepts: u64) -> RunnerOffer {
        RunnerOffer {
            id: id.into(),
            slots_total: 4,
            slots_free,
            accepts,
            ..RunnerOffer::default()
        }
    }

    fn placed(jobs: &[ReadyJob], runners: &[RunnerOffer]) -> Vec<(u64, String)> {
        place(jobs, runners)
            .into_iter()
            .map(|decision| (decision.job_id, decision.runner_id.into_string()))
            .collect()
    }

    #[test]
    fn every_offered_step_is_expanded_in_order_up_to_the_cap() {
        let steps = [7, 3].map(|step_id| StepOffer {
            step_id,
            ..StepOffer::default()
        });
        let request = PlanRequest {
            invocations: vec![InvocationOffer {
                id: 5,
                steps: steps.to_vec().into(),
                ..InvocationOffer::default()
            }]
            .into(),
            ..PlanRequest::default()
        };
        let plan = scheduler(json!({})).unwrap().plan(&request).unwrap();
        assert_eq!(plan.invocations[0].invocation_id, 5);
        assert_eq!(plan.invocations[0].decision, InvocationVerdict::EXPAND);
        assert_eq!(plan.invocations[0].expand, [7, 3]);
        assert_eq!(plan.invocations[0].job_budget, 1000);
    }

    #[test]
    fn a_cap_of_nothing_is_refused_and_minus_one_means_none() {
        let cap = |cap: i64| json!({ "maximum_workflow_jobs_per_scheduling_iteration": cap });
        assert!(scheduler(cap(-1)).is_ok());
        let error = scheduler(cap(0)).unwrap_err();
        assert!(error.message.contains("-1 for no limit"), "{error}");
    }

    #[test]
    fn the_job_that_was_ready_first_comes_first() {
        let jobs = [job(1, 30, 1), job(3, 10, 1), job(2, 10, 1)];
        let expected = [(2, "a".to_owned()), (3, "a".to_owned())];
        assert_eq!(placed(&jobs, &[runner("a", 4, 2)]), expected);
    }

    #[test]
    fn jobs_go_where_most_is_accepted_and_slots_are_free() {
        let jobs = [job(1, 1, 1), job(2, 2, 1), job(3, 3, 2)];
        let runners = [
            runner("full", 0, 9),
            runner("small", 1, 5),
            runner("big", 4, 3),
        ];
        let expected = [(1, "small"), (2, "big"), (3, "big")].map(|(id, at)| (id, at.to_owned()));
        assert_eq!(placed(&jobs, &runners), expected);
    }

    #[test]
    fn nobody_is_given_more_than_it_accepts() {
        let jobs: Vec<_> = (0..50).map(|id| job(id, 0, 1)).collect();
        assert_eq!(
            placed(&jobs, &[runner("a", 4, 3), runner("b", 0, 4)]).len(),
            7
        );
        assert_eq!(placed(&jobs, &[]).len(), 0);
    }
}
