//! The loop that hands ready jobs to runners and stores how they end (Galaxy's JobHandlerQueue and its runners'
//! monitors). A hand-over is stored before it happens, an end before anybody acts on it.

mod collect;
mod outcome;
mod prepare;
mod queue;
mod recover;
mod runners;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use barycenter_plugin_api::{JobReport, JobStatus, JobVerdict, PlanRequest};
use tokio::sync::{mpsc, watch};

pub use queue::Queue;

use self::outcome::failed;
use self::prepare::Prepared;
use self::queue::ReadyQueue;
use self::runners::{Held, Runners};
use super::engine::Services;
use super::iteration::ask;
use crate::store::StoreError;
use crate::store::scheduling::jobs::{self, HandOver, ReadyJob, Started};
use crate::store::scheduling::settle::{self, JobEnd};

/// Reports taken from the channel at once: their ends are one transaction.
const REPORTS: usize = 512;
/// Ready jobs kept in memory; the rest stays in the database until these are gone.
const READY_KEPT: usize = 10_000;
/// Jobs offered to a scheduler beyond what the runners would take, so that it has a choice.
const CHOICE: usize = 64;

/// The loop's state.
pub struct Dispatcher {
    services: Arc<Services>,
    reports: mpsc::UnboundedReceiver<(String, Vec<JobReport>)>,
    ready: ReadyQueue,
    arriving: mpsc::UnboundedReceiver<Vec<ReadyJob>>,
    handle: Queue,
    runners: Runners,
    /// Jobs whose runner was told to stop them.
    stopping: HashSet<i64>,
    /// Jobs of the last server that never started and found no room at their runner yet.
    unplaced: Vec<i64>,
    cycle: u64,
    /// A scheduler wants to be asked again at this instant, in milliseconds.
    wake_at_ms: Option<i64>,
}

impl Dispatcher {
    pub async fn new(
        services: Arc<Services>,
        reports: mpsc::UnboundedReceiver<(String, Vec<JobReport>)>,
    ) -> Dispatcher {
        let (handle, arriving) = Queue::new();
        let runners = Runners::new(&services.plugins);
        Dispatcher {
            services,
            reports,
            ready: ReadyQueue::new(READY_KEPT),
            arriving,
            handle,
            runners,
            stopping: HashSet::new(),
            unplaced: Vec::new(),
            cycle: 0,
            wake_at_ms: None,
        }
    }

    /// Where newly ready jobs are put.
    pub fn queue(&self) -> Queue {
        self.handle.clone()
    }

    /// Runs until `stop` turns true.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let poll = Duration::from_secs(self.services.settings.poll_seconds.max(1));
        let mut look = true;
        let mut reports = Vec::new();
        let mut arrived = Vec::new();
        while !*stop.borrow() {
            if let Err(error) = self.round(look, &mut reports, &mut arrived).await {
                tracing::error!(
                    "jobs could not be moved on: {}",
                    crate::errors::chain(&error)
                );
                tokio::time::sleep(Duration::from_secs(1)).await;
                look = true;
                continue;
            }
            look = false;
            let now = self.services.clock.now_ms();
            let pause = match self.wake_at_ms {
                Some(at) => poll.min(Duration::from_millis((at - now).max(1) as u64)),
                None => poll,
            };
            tokio::select! {
                biased;
                _ = stop.changed() => {}
                _ = self.reports.recv_many(&mut reports, REPORTS) => {}
                _ = self.arriving.recv_many(&mut arrived, REPORTS) => {}
                () = self.services.signals.next_job_change() => look = true,
                () = tokio::time::sleep(pause) => look = true,
            }
        }
    }

    /// Stores what was reported, takes in what became ready, hands over what the runners take.
    async fn round(
        &mut self,
        look: bool,
        reports: &mut Vec<(String, Vec<JobReport>)>,
        arrived: &mut Vec<Vec<ReadyJob>>,
    ) -> Result<(), StoreError> {
        let mut news: Vec<JobReport> = reports.drain(..).flat_map(|(_, reports)| reports).collect();
        if look {
            news.extend(self.runners.poll());
        }
        self.take_reports(news).await?;
        for jobs in arrived.drain(..) {
            self.ready.push(jobs);
        }
        if !self.unplaced.is_empty() {
            let back = std::mem::take(&mut self.unplaced);
            jobs::put_back(&self.services.store, &back, self.services.clock.now_ms()).await?;
        }
        if look {
            self.stop_jobs().await?;
            self.refill().await?;
        } else if self.ready.wants_more() {
            self.refill().await?;
        }
        self.hand_over().await
    }

    /// Reads ready jobs from the database: those somebody else made, and those that found no room in memory.
    async fn refill(&mut self) -> Result<(), StoreError> {
        let mut reader = self.services.store.reader();
        let found = jobs::ready(&mut reader, &self.services.settings.handler, READY_KEPT).await?;
        self.ready.refill(found, |id| self.runners.has(id));
        Ok(())
    }

    async fn take_reports(&mut self, news: Vec<JobReport>) -> Result<(), StoreError> {
        if news.is_empty() {
            return Ok(());
        }
        let over: HashSet<u64> = news
            .iter()
            .filter(|r| r.status != JobStatus::RUNNING)
            .map(|r| r.job_id)
            .collect();
        let mut started = Vec::new();
        let mut ended = Vec::new();
        for report in news {
            let id = report.job_id as i64;
            let known = self
                .runners
                .get(id)
                .is_some_and(|held| held.token.to_string() == report.token.as_str());
            if !known {
                tracing::debug!(job.id = id, "a report about a job that is over was ignored");
                continue;
            }
            if report.status == JobStatus::RUNNING {
                if !over.contains(&report.job_id)
                    && let Some(held) = self.runners.get_mut(id)
                {
                    held.external_id = Some(report.external_id.to_string());
                    started.push(Started {
                        job_id: id,
                        external_id: report.external_id.to_string(),
                        started_ms: report.started_ms,
                        dataset_ids: held.prepared.dataset_ids(),
                    });
                }
            } else if let Some(held) = self.runners.remove(id) {
                self.stopping.remove(&id);
                ended.push((held, report));
            }
        }
        let now = self.services.clock.now_ms();
        if !started.is_empty() {
            // Not worth losing the ends for: a job that is not known to run is found out again.
            if let Err(error) = jobs::started(&self.services.store, &started, now).await {
                tracing::error!(
                    "the start of {} jobs could not be stored: {}",
                    started.len(),
                    crate::errors::chain(&error)
                );
            }
        }
        if !ended.is_empty() {
            self.settle(ended).await?;
        }
        Ok(())
    }

    /// Collects results and stores them, however long the database makes us wait: an end must not be lost.
    async fn settle(&mut self, ended: Vec<(Held, JobReport)>) -> Result<(), StoreError> {
        let services = self.services.clone();
        let mut reader = services.store.reader();
        let ids: Vec<i64> = ended.iter().map(|(held, _)| held.id).collect();
        let actions = loop {
            match settle::actions(&mut reader, &ids).await {
                Ok(actions) => break actions,
                Err(error) => {
                    tracing::error!(
                        "the actions of jobs that ended could not be read yet: {}",
                        crate::errors::chain(&error)
                    );
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        };
        let (ended, ends) = {
            let services = services.clone();
            let collected = tokio::task::spawn_blocking(move || {
                let ends: Vec<JobEnd> = ended
                    .iter()
                    .map(|(held, report)| collect::collect(&services, held, report, &actions))
                    .collect();
                (ended, ends)
            });
            match collected.await {
                Ok(done) => done,
                Err(error) => {
                    tracing::error!("collecting results broke: {error}");
                    return Ok(());
                }
            }
        };
        self.store_ends(ends).await?;
        let directories: Vec<_> = ended
            .into_iter()
            .map(|(held, _)| held.prepared.directory)
            .collect();
        tokio::task::spawn_blocking(move || directories.iter().for_each(|d| prepare::clean_up(d)));
        Ok(())
    }

    async fn store_ends(&mut self, ends: Vec<JobEnd>) -> Result<(), StoreError> {
        // A database that is full or locked for a while must not lose an end: try until it is stored.
        let now = self.services.clock.now_ms();
        let mut pause = Duration::from_millis(100);
        let settled = loop {
            match settle::settle(&self.services.store, ends.clone(), now).await {
                Ok(settled) => break settled,
                Err(error) => {
                    tracing::error!(
                        "the ends of {} jobs could not be stored yet: {}",
                        ends.len(),
                        crate::errors::chain(&error)
                    );
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(5));
                }
            }
        };
        self.ready.push(settled.ready);
        if settled.invocations {
            self.services.signals.invocations_changed();
        }
        Ok(())
    }

    /// Has runners stop the jobs that somebody wants stopped.
    async fn stop_jobs(&mut self) -> Result<(), StoreError> {
        let mut reader = self.services.store.reader();
        let wanted = jobs::active(
            &mut reader,
            &self.services.settings.handler,
            "'deleting', 'stop'",
        )
        .await?;
        let mut gone = Vec::new();
        for job in wanted {
            if self.stopping.contains(&job.id) {
                continue;
            }
            match self.runners.cancel(job.id) {
                Some(true) => drop(self.stopping.insert(job.id)),
                // The runner has never heard of it, or nobody has it.
                Some(false) | None => gone.push(job.id),
            }
        }
        if gone.is_empty() {
            return Ok(());
        }
        let mut ends = Vec::new();
        for job in jobs::load(&mut reader, &gone).await? {
            self.runners.remove(job.id);
            ends.push(failed(
                &job,
                "The job was stopped before it started.",
                self.services.clock.now_ms(),
            ));
        }
        self.store_ends(ends).await
    }

    /// Asks the schedulers who goes next, and hands over until the runners are full or nobody is ready.
    async fn hand_over(&mut self) -> Result<(), StoreError> {
        self.wake_at_ms = None;
        // Each round places at least one job or ends.
        loop {
            let accepts = self.runners.accepts();
            if accepts == 0 || self.ready.is_empty() {
                return Ok(());
            }
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
            self.cycle += 1;
            let request = PlanRequest {
                cycle: self.cycle,
                now_ms: now,
                seed: self.cycle,
                jobs: jobs.iter().map(queue::offer).collect(),
                runners: self.runners.offers(),
                load: self.runners.load(&self.ready),
                ..Default::default()
            };
            // A plugin may take its time; the other tasks of this thread go elsewhere meanwhile.
            let plan = match tokio::task::block_in_place(|| {
                ask(&services.plugins, &scheduler, request)
            }) {
                Ok(plan) => plan,
                Err(fault) => {
                    tracing::error!(plugin = %scheduler, "its jobs wait, as it made no plan: {fault}");
                    self.wake(now + 2_000);
                    continue;
                }
            };
            let mut by_id: HashMap<u64, ReadyJob> =
                jobs.into_iter().map(|job| (job.id as u64, job)).collect();
            for decision in plan.jobs {
                match decision.decision {
                    JobVerdict::PLACE => {
                        let Some(job) = by_id.remove(&decision.job_id) else {
                            continue;
                        };
                        self.ready.remove(&job);
                        chosen.push((job, Ok(decision.runner_id.to_string())));
                    }
                    JobVerdict::REJECT => {
                        let Some(job) = by_id.remove(&decision.job_id) else {
                            continue;
                        };
                        self.ready.remove(&job);
                        chosen.push((job, Err(decision.text.to_string())));
                    }
                    _ => {
                        if let Some(job) = by_id.get(&decision.job_id) {
                            self.ready.hold(job, decision.wake_at_ms);
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

    fn wake(&mut self, at_ms: i64) {
        self.wake_at_ms = Some(self.wake_at_ms.map_or(at_ms, |known| known.min(at_ms)));
    }

    /// Writes the jobs' scripts, stores the hand-over, then hands over.
    async fn start(
        &mut self,
        chosen: Vec<(ReadyJob, Result<String, String>)>,
    ) -> Result<(), StoreError> {
        let services = self.services.clone();
        let now = services.clock.now_ms();
        let (prepared, broken) = prepare_all(&services, chosen, now).await?;
        let hand_overs: Vec<HandOver> = prepared
            .iter()
            .map(|(_, runner, job)| HandOver {
                job_id: job.dispatch.id,
                runner: runner.clone(),
                command_line: job.command_line.clone(),
                dataset_ids: job.dataset_ids(),
            })
            .collect();
        let taken: HashSet<i64> = jobs::hand_over(&services.store, &hand_overs, now)
            .await?
            .into_iter()
            .collect();
        let mut by_runner: BTreeMap<String, Vec<(ReadyJob, Prepared)>> = BTreeMap::new();
        for (ready, runner, job) in prepared {
            match taken.contains(&ready.id) {
                true => by_runner.entry(runner).or_default().push((ready, job)),
                false => prepare::clean_up(&job.directory),
            }
        }
        let (mut ends, mut back) = (broken, Vec::new());
        for (runner, jobs) in by_runner {
            let (mut refused, mut later) = self.runners.submit(&runner, jobs, &services.settings);
            for (job, message) in refused.drain(..) {
                ends.push(failed(&job, &message, now));
            }
            back.append(&mut later);
        }
        if !back.is_empty() {
            jobs::put_back(&services.store, &back, now).await?;
            self.wake(now + 1_000);
        }
        if !ends.is_empty() {
            self.store_ends(ends).await?;
        }
        Ok(())
    }
}

type Chosen = Vec<(ReadyJob, Result<String, String>)>;

/// Writes the directories of jobs. When that breaks, each is tried by itself, and the one that breaks it fails: it must
/// take none of the others with it.
async fn prepare_all(
    services: &Arc<Services>,
    chosen: Chosen,
    now: i64,
) -> Result<prepare::Written, StoreError> {
    let again = chosen.clone();
    if let Some(written) = write_all(services, chosen).await? {
        return Ok(written);
    }
    let (mut prepared, mut broken) = (Vec::new(), Vec::new());
    for one in again {
        let id = one.0.id;
        match write_all(services, vec![one]).await? {
            Some((mut more, mut ends)) => {
                prepared.append(&mut more);
                broken.append(&mut ends);
            }
            None => {
                let job = jobs::load(&mut services.store.reader(), &[id]).await?;
                let end = |job| failed(job, "The server could not prepare this job.", now);
                broken.extend(job.iter().map(end));
            }
        }
    }
    Ok((prepared, broken))
}

/// None when it panicked.
async fn write_all(
    services: &Arc<Services>,
    chosen: Chosen,
) -> Result<Option<prepare::Written>, StoreError> {
    let ids: Vec<i64> = chosen.iter().map(|(job, _)| job.id).collect();
    let loaded = prepare::load(&mut services.store.reader(), services, &ids).await?;
    let owned = services.clone();
    let written =
        tokio::task::spawn_blocking(move || prepare::write_all(&owned, chosen, loaded)).await;
    Ok(written
        .inspect_err(|error| tracing::error!("preparing {} jobs broke: {error}", ids.len()))
        .ok())
}
