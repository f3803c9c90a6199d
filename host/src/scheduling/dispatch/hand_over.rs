//! Who goes next, and the way to a runner: the schedulers choose, commands are made, the hand-over is stored, directories are
//! written, and only then the runners get the jobs.

use std::collections::{BTreeMap, HashMap, HashSet};

use barycenter_plugin_api::{JobVerdict, PlanRequest};

use super::directory::Before;
use super::outcome::failed;
use super::prepare::{self, Made, Prepared, Unwritten};
use super::{Capacity, Dispatcher, queue};
use crate::meter;
use crate::plugins::{WORD_MAX, tame};
use crate::scheduling::asking::{NoPlan, ask};
use crate::store::StoreError;
use crate::store::crash::{self, Side};
use crate::store::scheduling::jobs::{self, HandOver, ReadyJob};
use crate::tools::expression::AWAY_AGAIN_MS;

/// Jobs offered to a scheduler beyond what the runners would take, so that it has a choice.
pub(super) const CHOICE: usize = 64;
/// When jobs whose directory could not be written are tried again.
const ROOM_RETRY_MS: i64 = 1_000;

impl Dispatcher {
    /// Asks the schedulers who goes next, and hands over until the runners are full or nobody is ready.
    pub(super) async fn hand_over(&mut self) -> Result<(), StoreError> {
        if !self.has_room() {
            return Ok(());
        }
        // Each round places at least one job or ends.
        loop {
            let accepts = self.runners.accepts();
            meter::JOBS_READY.set(self.ready.len() as u64);
            if accepts == 0 || self.ready.is_empty() || self.is_locked {
                return Ok(());
            }
            let known = self.runners.users().chain(self.ready.users());
            let known: Vec<i64> = known.collect();
            self.users.load(&self.services, &known).await?;
            let chosen = self.choose(accepts);
            if chosen.is_empty() {
                return Ok(());
            }
            self.start(chosen).await?;
        }
    }

    /// What the schedulers want next: job and runner, or a job and why it is never to run.
    fn choose(&mut self, accepts: usize) -> Vec<(ReadyJob, Result<String, String>)> {
        let services = self.services.clone();
        let now = services.clock.now_ms();
        let offered = self.ready.offer(
            services.plugins.default_scheduler_id(),
            accepts + CHOICE,
            now,
        );
        let mut chosen = Vec::new();
        for (scheduler, jobs) in offered {
            let Capacity { runners, load } = self.capacity();
            let request = PlanRequest {
                now_ms: now,
                seed: now as u64,
                jobs: jobs.iter().map(queue::offer).collect(),
                runners,
                load,
                ..Default::default()
            };
            let plan = match ask(&services.plugins, &scheduler, request) {
                Ok(plan) => plan,
                Err(NoPlan { fault, told }) => {
                    if let Some(fault) = fault {
                        tracing::error!(plugin = %scheduler, "its jobs wait, as it made no plan: {fault}");
                    }
                    for job in &jobs {
                        self.job_holds.nobody_plans(job.invocation_id, &told);
                    }
                    self.wake(now + 2_000);
                    continue;
                }
            };
            for job in &jobs {
                self.job_holds.somebody_plans(job.invocation_id);
            }
            let mut by_id: HashMap<u64, ReadyJob> =
                jobs.into_iter().map(|job| (job.id as u64, job)).collect();
            for decision in plan.jobs.iter() {
                match decision.decision {
                    JobVerdict::PLACE => {
                        let Some(job) = by_id.remove(&decision.job_id) else {
                            continue;
                        };
                        self.ready.remove(&job);
                        self.job_holds.goes_on(job.invocation_id);
                        chosen.push((job, Ok(decision.runner_id.to_string())));
                    }
                    JobVerdict::REJECT => {
                        let Some(job) = by_id.remove(&decision.job_id) else {
                            continue;
                        };
                        self.ready.remove(&job);
                        chosen.push((job, Err(tame(&decision.text, WORD_MAX))));
                    }
                    _ => {
                        if let Some(job) = by_id.get(&decision.job_id) {
                            self.ready.hold(job, decision.wake_at_ms);
                            self.job_holds.held(job.invocation_id, decision);
                        }
                        if decision.wake_at_ms > now {
                            self.wake(decision.wake_at_ms);
                        }
                    }
                }
            }
            if plan.wake_at_ms > now {
                self.wake(plan.wake_at_ms);
            }
        }
        chosen
    }

    /// Makes the jobs' commands, stores the hand-over, writes the directories of those that are ours by that, then hands
    /// over.
    async fn start(
        &mut self,
        chosen: Vec<(ReadyJob, Result<String, String>)>,
    ) -> Result<(), StoreError> {
        let services = self.services.clone();
        let now = services.clock.now_ms();
        let me = services.membership.name();
        let ids: Vec<i64> = chosen.iter().map(|(job, _)| job.id).collect();
        let mut reader = services.store.reader();
        let loaded = prepare::load(&mut reader, &services, &ids).await?;
        let Made {
            prepared,
            broken,
            mut no_room,
            slow,
            without_engine,
        } = prepare::make_all(&services, chosen, loaded, |ready, job| {
            self.slow.work_out(ready, job)
        });
        self.slow.forget(&ids);
        for (ready, job) in slow {
            if let Some(ready) = self.slow.take(ready, job) {
                self.ready.shelve(ready);
            }
        }
        for ready in without_engine {
            self.job_holds.without_engine(ready.invocation_id);
            let again = now + AWAY_AGAIN_MS;
            self.ready.hold(&ready, again);
            self.ready.push_again(ready);
            self.wake(again);
        }
        let hand_overs: Vec<HandOver> = prepared
            .iter()
            .map(|(_, runner, job)| HandOver {
                job_id: job.dispatch.id,
                runner: runner.clone(),
                command_line: job.command_line().to_owned(),
                dataset_ids: job.dataset_ids(),
            })
            .collect();
        let handed_over = jobs::hand_over(&services.store, me, &hand_overs, now).await;
        let taken: HashSet<i64> = match handed_over {
            Ok(taken) => taken.into_iter().collect(),
            Err(error) => {
                // It may be stored all the same, if only the answer was lost: whatever it says is taken back.
                self.unplaced.extend(ids);
                return Err(error);
            }
        };
        meter::JOBS_STARTED.add(taken.len() as u64);
        let mut by_runner: BTreeMap<String, Vec<(ReadyJob, Prepared)>> = BTreeMap::new();
        let (mut ends, mut back) = (broken, Vec::new());
        for (ready, runner, job) in prepared {
            // The others were started or stopped meanwhile, and their directories are not ours.
            if !taken.contains(&ready.id) {
                continue;
            }
            match prepare::write(&services, &job, ready.token, Before::SameToken) {
                Ok(()) => by_runner.entry(runner).or_default().push((ready, job)),
                Err(Unwritten::Fault(text)) => ends.push(failed(&job.dispatch, &text, now)),
                Err(Unwritten::NoRoom(why)) => {
                    no_room = Some(why);
                    self.unplaced.push(ready.id);
                }
            }
        }
        if let Some(why) = no_room {
            self.lacks_room(why);
        }
        crash::point("job.submit", Side::Before);
        for (runner, jobs) in by_runner {
            let (mut refused, mut later) =
                self.runners.submit(&runner, jobs, &services.settings, now);
            for (job, message) in refused.drain(..) {
                ends.push(failed(&job, &message, now));
            }
            back.append(&mut later);
        }
        crash::point("job.submit", Side::After);
        if self.ready.has_next_turn(|user| self.slow.is_busy(user)) {
            self.wake(now + 20);
        }
        let has_back = !back.is_empty();
        self.unplaced.append(&mut back);
        if !ends.is_empty() {
            self.store_ends(ends).await?;
        }
        self.put_back().await?;
        if has_back {
            self.wake(now + 1_000);
        }
        Ok(())
    }

    /// Nothing is handed over until directories of jobs can be written again.
    pub(super) fn lacks_room(&mut self, why: String) {
        if self.no_room.as_ref() != Some(&why) {
            tracing::error!("jobs wait, as their directories cannot be written: {why}");
            self.no_room = Some(why);
        }
        self.wake(self.services.clock.now_ms() + ROOM_RETRY_MS);
    }

    /// Whether directories of jobs can be written, where that was not so. Only then it costs a look.
    fn has_room(&mut self) -> bool {
        if self.no_room.is_none() {
            return true;
        }
        match prepare::find_room(&self.services) {
            Ok(()) => {
                tracing::info!("directories of jobs can be written again");
                self.no_room = None;
                true
            }
            Err(error) => {
                self.lacks_room(error.to_string());
                false
            }
        }
    }

    /// Asks for a look at an instant.
    pub(super) fn wake(&mut self, at_ms: i64) {
        self.wake_at_ms = Some(self.wake_at_ms.map_or(at_ms, |known| known.min(at_ms)));
    }
}
