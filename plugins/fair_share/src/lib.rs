//! Fair shares: users get the runners' time in proportion to their weights, over all their invocations, and nobody waits
//! without end. [`policy`] decides, [`usage`] remembers; here they meet what the host tells and wants to hear.
//!
//! # The bound
//!
//! With jobs of one slot, a user who has a job ready, and is below their own limit of running jobs, has one started within
//! `patience + ceil(users / slots) * longest`: `users` have jobs that wait, `slots` are all there are, `longest` is how
//! long a job runs at most. After `patience` the user is overdue; each of the others can be ahead once; and every slot is
//! free again within `longest`. With jobs of several slots it is `patience + users * longest`, as slots are kept free for
//! one overdue job after the other.

pub mod config;
pub mod policy;
pub mod usage;

use barycenter_plugin_api::{
    Attr, ExplainRequest, Explanation, Host, InvocationDecision, JobDecision, Plan, PlanRequest,
    Plugin, PluginError, Scheduler, Text, UserLoad, attr, capability,
};
use std::collections::BTreeMap;

use crate::config::Config;
use crate::policy::{Job, Moment, Runner, User, deal};
use crate::usage::Usage;

/// Plugin type `fair-share`.
#[derive(Debug)]
pub struct FairShare {
    config: Config,
    usage: Usage,
}

impl Plugin for FairShare {
    fn create(config: serde_json::Value, host: Host) -> Result<Self, PluginError> {
        let config: Config = serde_json::from_value(config)?;
        if config.maximum_workflow_jobs_per_scheduling_iteration == 0 {
            return Err(PluginError::invalid(
                "maximum_workflow_jobs_per_scheduling_iteration is 0; give 1 or more, or -1 for no limit",
            ));
        }
        host.info(format!(
            "shares by {} weights, everybody else {}",
            config.weights.len(),
            config.default_weight
        ));
        Ok(Self {
            config,
            usage: Usage::default(),
        })
    }
}

impl Scheduler for FairShare {
    const CAPABILITIES: &'static [&'static str] = &[capability::STATE, capability::EXPLAIN];

    fn plan(&mut self, request: &PlanRequest) -> Result<Plan, PluginError> {
        let half_life_ms = self.config.half_life_seconds * 1000.0;
        self.usage
            .update(request.now_ms, &request.load, half_life_ms);
        let job_budget = self.config.maximum_workflow_jobs_per_scheduling_iteration;
        let invocations = request.invocations.iter().map(|offer| InvocationDecision {
            job_budget,
            ..InvocationDecision::expand_all(offer)
        });
        let (jobs, look_again_ms) = self.deal(request);
        Ok(Plan {
            invocations: invocations.collect(),
            jobs: jobs.into(),
            wake_at_ms: look_again_ms.unwrap_or(0),
            ..Plan::default()
        })
    }

    fn snapshot_state(&mut self) -> Result<Text, PluginError> {
        Ok(serde_json::to_string(&self.usage)?.into())
    }

    fn restore_state(&mut self, state_json: &str) -> Result<(), PluginError> {
        self.usage = serde_json::from_str(state_json)?;
        Ok(())
    }

    fn explain(&mut self, request: &ExplainRequest) -> Result<Explanation, PluginError> {
        Ok(self.explanation(request))
    }
}

impl FairShare {
    /// Which jobs start, in order, and which are held by a limit.
    fn deal(&mut self, request: &PlanRequest) -> (Vec<JobDecision>, Option<i64>) {
        if request.jobs.is_empty() {
            return (Vec::new(), None);
        }
        let moment = self.moment(request);
        let placed = deal(&moment);
        let user_of: BTreeMap<u64, u64> =
            moment.jobs.iter().map(|job| (job.id, job.user)).collect();
        let mut decisions = Vec::with_capacity(placed.starts.len() + placed.capped.len());
        for (job, runner) in &placed.starts {
            self.usage.started(user_of[job], request.now_ms);
            decisions.push(JobDecision::place(*job, &moment.runners[*runner].id));
        }
        for job in &placed.capped {
            let max = moment.users[&user_of[job]].running_max.unwrap_or(0);
            let text = format!("You may have {max} jobs running at once, and you have.");
            decisions.push(JobDecision::hold(*job, "running_jobs_max", text));
        }
        (decisions, placed.look_again_ms)
    }

    fn moment(&self, request: &PlanRequest) -> Moment {
        let mut users: BTreeMap<u64, User> = request
            .load
            .iter()
            .map(|load| (load.user_id, self.user(load)))
            .collect();
        for job in &request.jobs {
            // Nobody waits unseen, even if the load should not name them.
            let unnamed = UserLoad {
                user_id: job.user_id,
                ..UserLoad::default()
            };
            users
                .entry(job.user_id)
                .or_insert_with(|| self.user(&unnamed));
        }
        let jobs = request.jobs.iter().map(|job| Job {
            id: job.id,
            user: job.user_id,
            slots: u64::from(job.cores.max(1)),
            ready_since_ms: job.ready_since_ms,
        });
        let runners = request.runners.iter().map(|runner| Runner {
            id: runner.id.to_string(),
            slots_total: runner.slots_total,
            slots_free: runner.slots_free,
            accepts: runner.accepts,
        });
        Moment {
            now_ms: request.now_ms,
            users,
            jobs: jobs.collect(),
            runners: runners.collect(),
            average_job: self.usage.average_job(),
            patience_ms: (self.config.patience_seconds * 1000.0) as i64,
        }
    }

    fn user(&self, load: &UserLoad) -> User {
        let named = |name: &str| match attr(&load.attrs, name) {
            Some(serde_json::Value::String(name)) => name,
            _ => String::new(),
        };
        let (name, email) = (named("username"), named("email"));
        let names = [name.as_str(), email.as_str()];
        User {
            weight: self.config.weight(names),
            usage: self.usage.of(load.user_id),
            running: load.running,
            running_max: self.config.running_max(names),
            last_start_ms: self.usage.last_start_ms(load.user_id),
        }
    }

    fn explanation(&self, request: &ExplainRequest) -> Explanation {
        if request.jobs.is_empty() {
            return Explanation::default();
        }
        let waiting = |load: &&UserLoad| load.queued > 0;
        let rank = |load: &UserLoad| {
            let user = self.user(load);
            (user.usage + user.running as f64 * self.usage.average_job()) / user.weight
        };
        let own = request
            .load
            .iter()
            .find(|load| load.user_id == request.user_id);
        let own = own.map_or(0.0, rank);
        let others: Vec<&UserLoad> = request
            .load
            .iter()
            .filter(waiting)
            .filter(|load| load.user_id != request.user_id)
            .collect();
        let ahead = others.iter().filter(|load| rank(load) < own).count();
        let seconds = self.usage.of(request.user_id) / 1000.0;
        let text = match (others.len(), ahead) {
            (0, _) => "All places are taken; nobody else is waiting.".to_owned(),
            (waiting, 0) => format!("{waiting} other users wait as well; you are next."),
            (waiting, ahead) => format!(
                "{waiting} other users wait as well; {ahead} of them used less for their weight than you did \
                 ({seconds:.0} slot seconds lately), and come first."
            ),
        };
        Explanation {
            attrs: vec![
                Attr::json("users_ahead", &ahead.into()),
                Attr::json("used_slot_seconds", &seconds.round().into()),
            ]
            .into(),
            ..Explanation::of("fair_share", text)
        }
    }
}

barycenter_plugin_api::export_scheduler! {
    type: "fair-share",
    description: "Shares the runners' time between users by their weights; nobody waits without end",
    schema: include_str!("config.schema.json"),
    FairShare
}

#[cfg(test)]
mod tests {
    use super::*;
    use barycenter_plugin_api::testing::FakeHost;
    use barycenter_plugin_api::{JobVerdict, ReadyJob, RunnerOffer};
    use serde_json::{Value, json};

    fn scheduler(config: Value) -> Result<FairShare, PluginError> {
        FairShare::create(config, FakeHost::new().host())
    }

    fn load(user_id: u64, name: &str, running: u64, used_slot_ms: u64) -> UserLoad {
        UserLoad {
            user_id,
            running,
            queued: 1,
            attrs: vec![
                Attr::json("username", &name.into()),
                Attr::json("email", &format!("{name}@example.org").into()),
                Attr::json("used_slot_ms", &used_slot_ms.into()),
            ]
            .into(),
        }
    }

    fn request(now_ms: i64, free: u64, load: Vec<UserLoad>, jobs: &[(u64, u64)]) -> PlanRequest {
        let jobs = jobs.iter().map(|(id, user_id)| ReadyJob {
            id: *id,
            user_id: *user_id,
            cores: 1,
            ready_since_ms: now_ms,
            ..ReadyJob::default()
        });
        PlanRequest {
            now_ms,
            jobs: jobs.collect(),
            load: load.into(),
            runners: vec![RunnerOffer {
                id: "local".into(),
                slots_total: 4,
                slots_free: free,
                accepts: free,
                ..RunnerOffer::default()
            }]
            .into(),
            ..PlanRequest::default()
        }
    }

    fn placed(plan: &Plan) -> Vec<u64> {
        let placed = plan.jobs.iter();
        let placed = placed.filter(|one| one.decision == JobVerdict::PLACE);
        placed.map(|one| one.job_id).collect()
    }

    #[test]
    fn weights_go_by_name_or_address() {
        let config = json!({"weights": {"ada": 3, "bob@example.org": 2}});
        let mut scheduler = scheduler(config).unwrap();
        let people = vec![
            load(1, "ada", 0, 0),
            load(2, "bob", 0, 0),
            load(3, "eve", 0, 0),
        ];
        let jobs = [(30, 3), (31, 3), (20, 2), (21, 2), (10, 1), (11, 1)];
        let plan = scheduler.plan(&request(1_000, 3, people, &jobs)).unwrap();
        assert_eq!(placed(&plan), [10, 20, 30]);
        assert_eq!(plan.wake_at_ms, 61_000, "somebody is overdue then");
    }

    #[test]
    fn what_was_used_is_remembered_across_a_restart() {
        let mut first = scheduler(json!({})).unwrap();
        first
            .plan(&request(
                1_000,
                0,
                vec![load(1, "ada", 1, 0), load(2, "bob", 0, 0)],
                &[],
            ))
            .unwrap();
        first
            .plan(&request(
                2_000,
                0,
                vec![load(1, "ada", 1, 900), load(2, "bob", 0, 0)],
                &[],
            ))
            .unwrap();
        let state = first.snapshot_state().unwrap();
        let mut second = scheduler(json!({})).unwrap();
        second.restore_state(&state).unwrap();
        let people = vec![load(1, "ada", 0, 0), load(2, "bob", 0, 0)];
        let plan = second
            .plan(&request(3_000, 1, people, &[(10, 1), (20, 2)]))
            .unwrap();
        assert_eq!(placed(&plan), [20]);
        assert!(second.restore_state("nonsense").is_err());
    }

    #[test]
    fn whoever_asks_is_told_who_comes_first() {
        let mut scheduler = scheduler(json!({})).unwrap();
        let people = |ada| vec![load(1, "ada", 1, ada), load(2, "bob", 1, 0)];
        scheduler.plan(&request(1_000, 0, people(0), &[])).unwrap();
        let plan = request(2_000, 0, people(5_000), &[(10, 1)]);
        scheduler.plan(&plan).unwrap();
        let asked = ExplainRequest {
            now_ms: 2_000,
            user_id: 1,
            jobs: plan.jobs.clone(),
            load: plan.load.clone(),
            ..ExplainRequest::default()
        };
        let explanation = scheduler.explain(&asked).unwrap();
        assert_eq!(explanation.code, "fair_share");
        assert!(
            explanation.text.contains("1 of them used less"),
            "{}",
            explanation.text
        );
        let other = ExplainRequest {
            user_id: 2,
            ..asked
        };
        assert!(
            scheduler
                .explain(&other)
                .unwrap()
                .text
                .contains("you are next")
        );
    }

    #[test]
    fn a_limit_is_told_to_its_user() {
        let mut scheduler = scheduler(json!({"running_jobs_max": {"ada": 1}})).unwrap();
        let plan = request(1_000, 4, vec![load(1, "ada", 1, 0)], &[(10, 1)]);
        let plan = scheduler.plan(&plan).unwrap();
        assert_eq!(plan.jobs[0].decision, JobVerdict::HOLD);
        assert!(
            plan.jobs[0].text.contains("1 jobs"),
            "{}",
            plan.jobs[0].text
        );
    }

    #[test]
    fn a_cap_of_nothing_is_refused() {
        let none = json!({"maximum_workflow_jobs_per_scheduling_iteration": 0});
        assert!(scheduler(none).is_err());
    }
}
