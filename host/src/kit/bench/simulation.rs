//! A small system in simulated time: jobs come, a scheduler places them, runners run them.
//!
//! A runner is like the shipped one: it takes as many jobs as it has slots free, starts what it was given in that
//! order, and a job that wants more cores than are free holds up those behind it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::Arc;

use barycenter_plugin_api::{
    Host, InvocationDecision, JobVerdict, PlanRequest, ReadyJob, RunnerOffer, UserLoad,
};
use serde::{Deserialize, Serialize};

use super::latency::Silent;
use super::workloads::{Arrival, Workload};
use crate::kit::subject::Subject;
use crate::plugins::SchedulerInstance;

/// How well a workload was scheduled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// The workload.
    pub workload: String,
    /// From the first job's coming to the last one's end.
    pub makespan_s: f64,
    /// How much of the slots' time was used until then, 0 to 1.
    pub utilisation: f64,
    /// From ready to started.
    pub mean_wait_s: f64,
    /// 95 of 100 jobs waited no longer.
    pub p95_wait_s: f64,
    /// How evenly the slots were dealt among the users who waited, while several did: Jain's index of the cores that
    /// each of them had, averaged over that time. 1 is even.
    pub fairness: f64,
    /// Plans that were asked for.
    pub plans: u64,
    /// Jobs that were rejected.
    pub rejected: u64,
}

/// Runs a workload to its end. The error says at which plan the scheduler failed, or that it stopped placing.
pub fn simulate(subject: &Subject, workload: &Workload) -> Result<Quality, String> {
    let opened = subject.open("inproc", Host::new(Silent))?;
    let scheduler = opened.scheduler()?;
    scheduler.startup().map_err(|error| error.to_string())?;
    World::new(workload).run(scheduler, &workload.name)
}

struct Runner {
    id: String,
    slots: u64,
    free: u64,
    queue: VecDeque<u64>,
    running: u64,
}

struct World<'a> {
    now_ms: i64,
    arrivals: VecDeque<&'a Arrival>,
    jobs: BTreeMap<u64, &'a Arrival>,
    ready: BTreeMap<u64, i64>,
    runners: Vec<Runner>,
    /// When what ends where.
    ends: BinaryHeap<Reverse<(i64, u64, usize)>>,
    waits: Vec<i64>,
    busy_core_ms: i64,
    last_end_ms: i64,
    plans: u64,
    rejected: u64,
    given: BTreeMap<u64, u64>,
    /// The cores that each user has now.
    cores_of: BTreeMap<u64, u64>,
    /// How evenly they were dealt, times how long; and how long.
    evenness: (f64, f64),
}

/// Plans in a row after which nothing happened although there was room: it has stopped.
const IDLE_MAX: u32 = 10_000;

impl<'a> World<'a> {
    fn new(workload: &'a Workload) -> Self {
        Self {
            now_ms: workload.arrivals.first().map_or(0, |job| job.at_ms),
            arrivals: workload.arrivals.iter().collect(),
            jobs: workload.arrivals.iter().map(|job| (job.id, job)).collect(),
            ready: BTreeMap::new(),
            runners: workload
                .runners
                .iter()
                .map(|(id, slots)| Runner {
                    id: id.clone(),
                    slots: *slots,
                    free: *slots,
                    queue: VecDeque::new(),
                    running: 0,
                })
                .collect(),
            ends: BinaryHeap::new(),
            waits: Vec::new(),
            busy_core_ms: 0,
            last_end_ms: 0,
            plans: 0,
            rejected: 0,
            given: BTreeMap::new(),
            cores_of: BTreeMap::new(),
            evenness: (0.0, 0.0),
        }
    }

    fn run(mut self, scheduler: &SchedulerInstance, name: &str) -> Result<Quality, String> {
        let begin_ms = self.now_ms;
        let mut idle = 0;
        loop {
            self.happen();
            let wake_at_ms = if self.ready.is_empty() {
                0
            } else {
                self.plan(scheduler)?
            };
            let next = [
                self.arrivals.front().map(|job| job.at_ms),
                self.ends.peek().map(|Reverse((at, _, _))| *at),
                // The server asks again after a while in any case.
                (!self.ready.is_empty()).then_some(match wake_at_ms {
                    at if at > self.now_ms => at,
                    _ => self.now_ms + 10_000,
                }),
            ];
            let Some(next) = next.into_iter().flatten().min() else {
                break;
            };
            let nothing_else = self.arrivals.is_empty() && self.ends.is_empty();
            idle = if nothing_else { idle + 1 } else { 0 };
            if idle > IDLE_MAX {
                return Err(format!(
                    "{name}: {} jobs are never placed although every slot is free",
                    self.ready.len()
                ));
            }
            self.note_evenness(next - self.now_ms);
            self.now_ms = next.max(self.now_ms);
        }
        Ok(self.quality(name, begin_ms))
    }

    /// How the slots are dealt among those who wait, for the time until something happens.
    fn note_evenness(&mut self, for_ms: i64) {
        let mut waiting: Vec<u64> = self.ready.keys().map(|id| self.jobs[id].user_id).collect();
        waiting.sort_unstable();
        waiting.dedup();
        if waiting.len() > 1 && for_ms > 0 {
            let cores = waiting
                .iter()
                .map(|user| self.cores_of.get(user).copied().unwrap_or(0) as f64);
            let time = for_ms as f64;
            self.evenness.0 += jain(&cores.collect::<Vec<_>>()) * time;
            self.evenness.1 += time;
        }
    }

    /// What comes and ends by now.
    fn happen(&mut self) {
        while let Some(Reverse((at, id, runner))) = self.ends.peek().copied() {
            if at > self.now_ms {
                break;
            }
            self.ends.pop();
            let cores = self.cores(id, runner);
            self.runners[runner].free += cores;
            self.runners[runner].running -= 1;
            self.last_end_ms = self.last_end_ms.max(at);
            let user = self.jobs[&id].user_id;
            if let Some(given) = self.given.get_mut(&user) {
                *given -= 1;
            }
            if let Some(has) = self.cores_of.get_mut(&user) {
                *has -= cores;
            }
            self.start(runner, at);
        }
        while let Some(job) = self.arrivals.front() {
            if job.at_ms > self.now_ms {
                break;
            }
            self.ready.insert(job.id, job.at_ms);
            self.arrivals.pop_front();
        }
    }

    /// One that wants more than there is gets all there is, as the shipped runner does it.
    fn cores(&self, id: u64, runner: usize) -> u64 {
        u64::from(self.jobs[&id].cores).clamp(1, self.runners[runner].slots)
    }

    fn start(&mut self, runner: usize, now_ms: i64) {
        while let Some(id) = self.runners[runner].queue.front().copied() {
            let cores = self.cores(id, runner);
            if cores > self.runners[runner].free {
                break;
            }
            let here = &mut self.runners[runner];
            here.queue.pop_front();
            here.free -= cores;
            here.running += 1;
            let job = self.jobs[&id];
            self.waits.push(now_ms - job.at_ms);
            *self.cores_of.entry(job.user_id).or_default() += cores;
            self.busy_core_ms += job.runs_ms * i64::try_from(cores).unwrap_or(1);
            self.ends.push(Reverse((now_ms + job.runs_ms, id, runner)));
        }
    }

    fn plan(&mut self, scheduler: &SchedulerInstance) -> Result<i64, String> {
        let request = Arc::new(self.request());
        let plan = scheduler
            .plan(&request)
            .map_err(|error| error.to_string())?;
        debug_assert_eq!(plan.invocations, Vec::<InvocationDecision>::new());
        self.plans += 1;
        for decision in &plan.jobs {
            match decision.decision {
                JobVerdict::PLACE => {
                    let at = self
                        .runners
                        .iter()
                        .position(|runner| runner.id == decision.runner_id.as_str());
                    let Some(at) = at else { continue };
                    self.ready.remove(&decision.job_id);
                    *self
                        .given
                        .entry(self.jobs[&decision.job_id].user_id)
                        .or_default() += 1;
                    self.runners[at].queue.push_back(decision.job_id);
                }
                JobVerdict::REJECT => {
                    self.ready.remove(&decision.job_id);
                    self.rejected += 1;
                }
                _ => {}
            }
        }
        for runner in 0..self.runners.len() {
            self.start(runner, self.now_ms);
        }
        Ok(plan.wake_at_ms)
    }

    fn request(&self) -> PlanRequest {
        let jobs = self.ready.iter().map(|(id, since)| {
            let job = self.jobs[id];
            ReadyJob {
                id: *id,
                invocation_id: job.user_id,
                user_id: job.user_id,
                history_id: job.user_id,
                tool_id: "cat1".into(),
                cores: job.cores,
                ready_since_ms: *since,
                create_time_ms: *since,
                ..ReadyJob::default()
            }
        });
        let runners = self.runners.iter().map(|runner| RunnerOffer {
            id: runner.id.as_str().into(),
            slots_total: runner.slots,
            slots_free: runner.free,
            accepts: runner
                .slots
                .saturating_sub(runner.running + runner.queue.len() as u64),
            ..RunnerOffer::default()
        });
        let mut users: BTreeMap<u64, u64> = BTreeMap::new();
        for id in self.ready.keys() {
            *users.entry(self.jobs[id].user_id).or_default() += 1;
        }
        for user in self.given.keys() {
            users.entry(*user).or_default();
        }
        let load = users.into_iter().map(|(user_id, queued)| UserLoad {
            user_id,
            running: self.given.get(&user_id).copied().unwrap_or(0),
            queued,
            ..UserLoad::default()
        });
        PlanRequest {
            cycle: self.plans,
            now_ms: self.now_ms,
            seed: self.plans,
            load: load.collect(),
            jobs: jobs.collect(),
            runners: runners.collect(),
            ..PlanRequest::default()
        }
    }

    fn quality(&self, name: &str, begin_ms: i64) -> Quality {
        let seconds = |ms: i64| ms as f64 / 1000.0;
        let makespan_ms = (self.last_end_ms - begin_ms).max(1);
        let slots: u64 = self.runners.iter().map(|runner| runner.slots).sum();
        let mut waits = self.waits.clone();
        waits.sort_unstable();
        let count = waits.len().max(1);
        let p95 = waits.get((count - 1) * 95 / 100).copied().unwrap_or(0);
        Quality {
            workload: name.to_owned(),
            makespan_s: seconds(makespan_ms),
            utilisation: self.busy_core_ms as f64 / (slots as f64 * makespan_ms as f64),
            mean_wait_s: seconds(waits.iter().sum::<i64>()) / count as f64,
            p95_wait_s: seconds(p95),
            fairness: match self.evenness {
                (even, time) if time > 0.0 => even / time,
                _ => 1.0,
            },
            plans: self.plans,
            rejected: self.rejected,
        }
    }
}

/// 1 when all are equal, 1/n when one has everything.
fn jain(values: &[f64]) -> f64 {
    let sum: f64 = values.iter().sum();
    let squares: f64 = values.iter().map(|value| value * value).sum();
    if squares == 0.0 {
        1.0
    } else {
        sum * sum / (values.len() as f64 * squares)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_of_fairness_is_one_for_equals_and_small_for_one_who_has_all() {
        assert!((jain(&[2.0, 2.0, 2.0]) - 1.0).abs() < 1e-9);
        assert!((jain(&[1.0, 0.0, 0.0, 0.0]) - 0.25).abs() < 1e-9);
        assert!((jain(&[]) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn dealing_all_slots_to_one_of_two_who_wait_is_half_fair() {
        let job = |id, user_id| Arrival {
            id,
            user_id,
            at_ms: 0,
            cores: 1,
            runs_ms: 1000,
        };
        let workload = Workload {
            name: "two".to_owned(),
            arrivals: vec![job(1, 1), job(2, 1), job(3, 1), job(4, 2)],
            runners: vec![("local".to_owned(), 2)],
        };
        let mut world = World::new(&workload);
        world.happen();
        for id in [1, 2] {
            world.ready.remove(&id);
            world.runners[0].queue.push_back(id);
        }
        world.start(0, 0);
        world.note_evenness(500);
        assert!((world.quality("two", 0).fairness - 0.5).abs() < 1e-9);
    }

    /// Without a plugin: jobs are put on the runner as they come, and the figures are known by heart.
    #[test]
    fn a_runner_starts_in_order_and_wide_jobs_hold_up_the_others() {
        let job = |id, cores, runs_ms| Arrival {
            id,
            user_id: 1,
            at_ms: 0,
            cores,
            runs_ms,
        };
        let workload = Workload {
            name: "three".to_owned(),
            arrivals: vec![job(1, 1, 10_000), job(2, 2, 5_000), job(3, 1, 1_000)],
            runners: vec![("local".to_owned(), 2)],
        };
        let mut world = World::new(&workload);
        world.happen();
        world.ready.clear();
        world.given.insert(1, 3);
        world.runners[0].queue.extend([1, 2, 3]);
        world.start(0, 0);
        while let Some(Reverse((at, _, _))) = world.ends.peek().copied() {
            world.now_ms = at;
            world.happen();
        }
        let quality = world.quality("three", 0);
        assert!((quality.makespan_s - 16.0).abs() < 1e-9, "{quality:?}");
        assert!(
            (quality.utilisation - 21.0 / 32.0).abs() < 1e-9,
            "{quality:?}"
        );
        assert!((quality.p95_wait_s - 10.0).abs() < 1e-9, "{quality:?}");
        assert!(
            (quality.mean_wait_s - 25.0 / 3.0).abs() < 1e-9,
            "{quality:?}"
        );
    }
}
