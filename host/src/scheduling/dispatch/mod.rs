//! The loop that hands ready jobs to runners and stores how they end (Galaxy's JobHandlerQueue and its runners'
//! monitors). A hand-over is stored before it happens, an end before anybody acts on it.

mod collect;
mod directory;
mod elsewhere;
mod expression;
mod job_holds;
mod leftovers;
mod outcome;
pub mod passive;
mod prepare;
mod queue;
mod recover;
mod runners;
mod sharing;
mod shelf;
mod slow;
mod stamp;
mod users;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use barycenter_plugin_api::{JobReport, JobStatus, JobVerdict, PlanRequest};
use tokio::sync::{OwnedMutexGuard, mpsc, oneshot, watch};

pub use queue::{Capacity, CurrentQueue, Queue};

use self::directory::Before;
use self::elsewhere::Elsewhere;
use self::job_holds::JobHolds;
use self::leftovers::Leftovers;
use self::outcome::failed;
use self::prepare::{Made, Prepared, Unwritten};
use self::queue::ReadyQueue;
use self::runners::{Held, Runners, Told};
use self::sharing::Sharing;
use self::slow::SlowLane;
use self::users::Users;
use super::asking::{NoPlan, ask};
use super::engine::Services;
use super::trouble::Trouble;
use crate::meter;
use crate::model::state::JobState;
use crate::plugins::{WORD_MAX, tame};
use crate::store::StoreError;
use crate::store::crash::{self, Side};
use crate::store::installation;
use crate::store::scheduling::ends::JobEnd;
use crate::store::scheduling::jobs::{self, HandOver, ReadyJob, Started};
use crate::store::scheduling::{holds, settle};

/// Reports taken from the channel at once: their ends are one transaction.
const REPORTS: usize = 512;
/// Ready jobs kept in memory; the rest stays in the database until these are gone.
const READY_KEPT: usize = 10_000;
/// What the owner of a job reads whose handling hit a fault of ours; the log has the fault.
const BROKEN: &str = "The server failed to handle this job.";
/// When jobs whose directory could not be written are tried again.
const ROOM_RETRY_MS: i64 = 1_000;
/// Jobs offered to a scheduler beyond what the runners would take, so that it has a choice.
const CHOICE: usize = 64;

/// What reaches the loop. It outlives the loop, which begins anew after a lost lease.
pub struct Inbox {
    reports: mpsc::UnboundedReceiver<(String, Vec<JobReport>)>,
    arriving: mpsc::UnboundedReceiver<Vec<ReadyJob>>,
}

impl Inbox {
    /// What runners report, and what is put into the queue that is made with it.
    pub fn new(reports: mpsc::UnboundedReceiver<(String, Vec<JobReport>)>) -> (Queue, Inbox) {
        let (queue, arriving) = Queue::new();
        (queue, Inbox { reports, arriving })
    }

    /// Waits for something to come.
    async fn next(
        &mut self,
        reports: &mut Vec<(String, Vec<JobReport>)>,
        arrived: &mut Vec<Vec<ReadyJob>>,
    ) {
        tokio::select! {
            biased;
            _ = self.reports.recv_many(reports, REPORTS) => {}
            _ = self.arriving.recv_many(arrived, REPORTS) => {}
        }
    }
}

/// The loop's state.
pub struct Dispatcher {
    services: Arc<Services>,
    inbox: OwnedMutexGuard<Inbox>,
    ready: ReadyQueue,
    handle: Queue,
    runners: Runners,
    /// Jobs whose runner was told to stop them.
    stopping: HashSet<i64>,
    /// Jobs of the last server that never started and found no room at their runner yet.
    unplaced: Vec<i64>,
    leftovers: Leftovers,
    /// When this loop was made, milliseconds since 1970.
    started_ms: i64,
    users: Users,
    job_holds: JobHolds,
    sharing: Sharing,
    /// A scheduler wants to be asked again at this instant, in milliseconds.
    wake_at_ms: Option<i64>,
    /// Nothing is handed over: an administrator set the job lock.
    is_locked: bool,
    /// Jobs of servers that are gone, on other machines.
    elsewhere: Elsewhere,
    slow: SlowLane,
    /// Why jobs' directories cannot be written just now, as it was told in the log.
    no_room: Option<String>,
}

impl Dispatcher {
    /// The loop that reads `inbox`, which is `handle`'s.
    pub fn new(
        services: Arc<Services>,
        handle: Queue,
        inbox: OwnedMutexGuard<Inbox>,
    ) -> Dispatcher {
        let started_ms = services.clock.now_ms();
        let runners = Runners::new(&services.plugins, started_ms);
        let elsewhere = Elsewhere::new(services.settings.lost_machine);
        Dispatcher {
            services,
            inbox,
            ready: ReadyQueue::new(READY_KEPT),
            handle,
            runners,
            stopping: HashSet::new(),
            unplaced: Vec::new(),
            leftovers: Leftovers::default(),
            started_ms,
            users: Users::default(),
            job_holds: JobHolds::default(),
            sharing: Sharing::default(),
            wake_at_ms: None,
            is_locked: false,
            elsewhere,
            slow: SlowLane::new(),
            no_room: None,
        }
    }

    /// Runs until `stop` turns true, on a thread of its own: nearly all it does is to wait for the disk, the database
    /// and plugins, one after the other, and each change of threads between them would make every job wait.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        let runtime = tokio::runtime::Handle::current();
        let (done, ended) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("jobs".into())
            .spawn(move || {
                runtime.block_on(self.run_here(stop));
                let _ = done.send(());
            });
        match thread {
            // Without its word it broke: whoever watches us has to know.
            Ok(_) => ended.await.expect("the loop for jobs broke"),
            Err(error) => panic!("the loop for jobs has no thread: {error}"),
        }
    }

    async fn run_here(mut self, mut stop: watch::Receiver<bool>) {
        let services = self.services.clone();
        tokio::spawn(async move {
            if let Err(error) = leftovers::remove_of_last_server(services).await {
                tracing::warn!(
                    "what the last server's jobs left is not removed: {}",
                    crate::errors::chain(&error)
                );
            }
        });
        let poll = Duration::from_secs(self.services.settings.poll_seconds.max(1));
        let mut look = true;
        let mut trouble = Trouble::new("jobs cannot be moved on");
        let mut reports = Vec::new();
        let mut arrived = Vec::new();
        while !*stop.borrow() {
            if self.elsewhere.pause(Instant::now()) == Some(Duration::ZERO) {
                look = true;
                self.sharing.expect_unclaimed();
            }
            if let Err(error) = self.round(look, &mut reports, &mut arrived).await {
                tokio::time::sleep(trouble.note(&error)).await;
                look = true;
                continue;
            }
            trouble.is_over();
            look = false;
            let now = self.services.clock.now_ms();
            let mut pause = match self.wake_at_ms {
                Some(at) => poll.min(Duration::from_millis((at - now).max(1) as u64)),
                None => poll,
            };
            if let Some(next) = self.elsewhere.pause(Instant::now()) {
                pause = pause.min(next);
            }
            if let Some(doubt) = self.runners.doubt_ends_in() {
                pause = pause.min(doubt.max(Duration::from_millis(20)));
            }
            tokio::select! {
                biased;
                _ = stop.changed() => {}
                () = self.inbox.next(&mut reports, &mut arrived) => {}
                () = self.services.signals.next_job_change() => look = true,
                () = self.slow.next() => {}
                () = quiet(self.leftovers.pause()) => remove_later(self.leftovers.take()),
                () = tokio::time::sleep(pause) => {
                    look = true;
                    self.sharing.expect_unclaimed();
                }
            }
        }
        leftovers::remove(&self.leftovers.take());
    }

    /// Stores what was reported, takes in what became ready, hands over what the runners take.
    async fn round(
        &mut self,
        look: bool,
        reports: &mut Vec<(String, Vec<JobReport>)>,
        arrived: &mut Vec<Vec<ReadyJob>>,
    ) -> Result<(), StoreError> {
        self.runners.follow(&self.services.plugins);
        let mut news: Vec<JobReport> = reports.drain(..).flat_map(|(_, reports)| reports).collect();
        if look {
            news.extend(self.runners.poll());
        }
        self.take_reports(news).await?;
        self.ask_the_uncertain().await?;
        self.slow.begin_round();
        for jobs in arrived.drain(..) {
            self.take_in(jobs);
        }
        // Here and not only when nothing else is to be done, which may be never.
        for job in self.slow.take_done() {
            if !self.services.plugins.is_passive(job.scheduler.as_deref()) {
                self.ready.push_again(job);
            }
        }
        self.ready.next_turns(|user| self.slow.is_busy(user));
        self.put_back().await?;
        if look {
            let mut reader = self.services.store.reader();
            self.is_locked = installation::jobs_are_locked(&mut reader).await?;
            self.take_over().await?;
            self.stop_jobs().await?;
            self.refill().await?;
        } else if self.ready.wants_more() {
            self.refill().await?;
        }
        self.hand_over().await?;
        self.share().await?;
        let changes = self.job_holds.take();
        if !changes.is_empty() {
            holds::jobs(&self.services.store, changes, self.services.clock.now_ms()).await?;
        }
        let capacity = self.capacity();
        self.handle.set_capacity(capacity);
        Ok(())
    }

    fn capacity(&self) -> Capacity {
        let now = self.services.clock.now_ms();
        Capacity {
            runners: self.runners.offers(),
            load: self.runners.load(&self.ready, &self.users, now),
        }
    }

    /// Keeps the jobs that a scheduler is to be asked about. Those of passive schedulers stay in the database until
    /// they are taken.
    fn take_in(&mut self, mut jobs: Vec<ReadyJob>) {
        let plugins = &self.services.plugins;
        jobs.retain(|job| !plugins.is_passive(job.scheduler.as_deref()));
        self.ready.push(jobs);
    }

    /// Puts jobs back that no runner has; until it is stored they are remembered.
    async fn put_back(&mut self) -> Result<(), StoreError> {
        if !self.unplaced.is_empty() {
            let now = self.services.clock.now_ms();
            let me = self.services.membership.name();
            jobs::put_back(&self.services.store, me, &self.unplaced, now).await?;
            self.unplaced.clear();
        }
        Ok(())
    }

    /// Reads ready jobs from the database: those somebody else made, and those that found no room in memory.
    async fn refill(&mut self) -> Result<(), StoreError> {
        let mut reader = self.services.store.reader();
        let passive = self.services.plugins.passive_ids();
        let default = self.services.plugins.default_scheduler_id();
        let handler = self.services.membership.name();
        let (closed, window) = (self.ready.closed(), self.ready.window());
        let found =
            jobs::ready_without(&mut reader, handler, default, &passive, &closed, window).await?;
        self.ready
            .refill(found, |id| self.runners.has(id) || self.slow.has(id));
        self.slow.keep_only(|id| self.ready.has(id));
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
                    held.seen_running = true;
                    held.external_id = Some(report.external_id.to_string());
                    held.since_ms = held.since_ms.max(report.started_ms);
                    started.push(Started {
                        job_id: id,
                        external_id: report.external_id.to_string(),
                        started_ms: report.started_ms,
                        dataset_ids: held.prepared.dataset_ids(),
                    });
                }
            } else if let Some(held) =
                self.runners
                    .finish(id, &report, self.services.clock.now_ms())
            {
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
    async fn settle(&mut self, mut ended: Vec<(Held, JobReport)>) -> Result<(), StoreError> {
        let services = self.services.clone();
        if services.store.is_shared() {
            // A server that was asleep may hear of jobs that another one has taken, and whose results are not its to touch.
            let ids: Vec<i64> = ended.iter().map(|(held, _)| held.id).collect();
            let still = self.still_held(&ids).await;
            ended.retain(|(held, _)| still.contains(&held.id));
            if ended.is_empty() {
                return Ok(());
            }
        }
        until_files_open().await;
        let now = services.clock.now_ms();
        let mut trouble = Trouble::new("the results of jobs find no room");
        let mut ends = Vec::with_capacity(ended.len());
        for (held, report) in &ended {
            let end = loop {
                let end = unbroken("collecting the results of a job", || {
                    collect::collect(&services, held, report)
                });
                match end.unwrap_or_else(|| Ok(failed(&held.prepared.dispatch, BROKEN, now))) {
                    Ok(end) => break end,
                    Err(why) => tokio::time::sleep(trouble.note_text(why)).await,
                }
            };
            ends.push(end);
        }
        trouble.is_over();
        crash::point("job.results", Side::After);
        self.store_ends(ends).await?;
        let directories = ended.into_iter().map(|(held, _)| held.prepared.directory);
        crash::point("job.tidy", Side::Before);
        self.leftovers.add(directories, Instant::now());
        remove_later(self.leftovers.take_due(Instant::now()));
        Ok(())
    }

    /// Which of these jobs are still this server's to end, however long the database makes us wait for the answer.
    async fn still_held(&self, ids: &[i64]) -> HashSet<i64> {
        let me = self.services.membership.name();
        let mut trouble = Trouble::new("the ends of jobs cannot be stored yet");
        loop {
            let mut reader = self.services.store.reader();
            match jobs::still_held(&mut reader, me, ids).await {
                Ok(held) => {
                    trouble.is_over();
                    return held;
                }
                Err(error) => tokio::time::sleep(trouble.note(&error)).await,
            }
        }
    }

    async fn store_ends(&mut self, ends: Vec<JobEnd>) -> Result<(), StoreError> {
        // A database that is full or locked for a while must not lose an end: try until it is stored.
        let now = self.services.clock.now_ms();
        let mut trouble = Trouble::new("the ends of jobs cannot be stored yet");
        let settled = loop {
            match settle::settle(&self.services.store, ends.clone(), now).await {
                Ok(settled) => break settled,
                // Whoever has the jobs now stores how they ended.
                Err(error) if error.is_fenced() => return Err(error),
                Err(error) => tokio::time::sleep(trouble.note(&error)).await,
            }
        };
        trouble.is_over();
        let ok = ends.iter().filter(|end| end.state == JobState::Ok).count();
        meter::JOBS_OK.add(ok as u64);
        meter::JOBS_NOT_OK.add((ends.len() - ok) as u64);
        self.take_in(settled.ready);
        if settled.mail {
            self.services.signals.mail_written();
        }
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
            self.services.membership.name(),
            "'deleting', 'stop'",
        )
        .await?;
        let mut gone = Vec::new();
        for job in wanted {
            if self.stopping.contains(&job.id) {
                continue;
            }
            match self.runners.cancel(job.id) {
                Told::Stopping => drop(self.stopping.insert(job.id)),
                Told::Nobody => gone.push(job.id),
                // Asked again with the next look.
                Told::Later => {}
            }
        }
        if gone.is_empty() {
            return Ok(());
        }
        let mut ends = Vec::new();
        for job in jobs::load(&mut reader, &gone).await? {
            self.runners.remove(job.id);
            let why = match self.elsewhere.host_of(job.id) {
                Some(host) => elsewhere::stopped(host),
                None => "The job was stopped before it started.".to_owned(),
            };
            self.elsewhere.forget(job.id);
            ends.push(failed(&job, &why, self.services.clock.now_ms()));
        }
        self.store_ends(ends).await
    }

    /// Asks the schedulers who goes next, and hands over until the runners are full or nobody is ready.
    async fn hand_over(&mut self) -> Result<(), StoreError> {
        self.wake_at_ms = None;
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

    fn wake(&mut self, at_ms: i64) {
        self.wake_at_ms = Some(self.wake_at_ms.map_or(at_ms, |known| known.min(at_ms)));
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
        } = prepare::make_all(&services, chosen, loaded, |ready, job| {
            self.slow.work_out(ready, job)
        });
        self.slow.forget(&ids);
        for (ready, job) in slow {
            if let Some(ready) = self.slow.take(ready, job) {
                self.ready.shelve(ready);
            }
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
}

/// Without file descriptors no result can be looked at, which is not its job's fault: waits until there are some.
async fn until_files_open() {
    const NEEDED: usize = 3;
    let open = || -> std::io::Result<Vec<std::fs::File>> {
        (0..NEEDED)
            .map(|_| std::fs::File::open("/dev/null"))
            .collect()
    };
    let mut waited = false;
    while let Err(error) = open()
        && matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
    {
        if !std::mem::replace(&mut waited, true) {
            tracing::error!("results of jobs wait: {error}; raise the limit of open files");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    if waited {
        tracing::info!("there are file descriptors again");
    }
}

/// Removes directories while the loop goes on.
fn remove_later(directories: Vec<PathBuf>) {
    if !directories.is_empty() {
        tokio::task::spawn_blocking(move || leftovers::remove(&directories));
    }
}

/// Returns after `pause`; without one, never.
async fn quiet(pause: Option<Duration>) {
    match pause {
        Some(pause) => tokio::time::sleep(pause).await,
        None => std::future::pending().await,
    }
}

/// What `work` makes; nothing if it broke, so that one strange job does not end the loop for all.
fn unbroken<T>(what: &str, work: impl FnOnce() -> T) -> Option<T> {
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    if outcome.is_err() {
        tracing::error!("{what} broke");
    }
    outcome.ok()
}
