//! The loop that hands ready jobs to runners and stores how they end (Galaxy's JobHandlerQueue and its runners'
//! monitors). A hand-over is stored before it happens ([`hand_over`]), an end before anybody acts on it ([`ends`]).

mod collect;
mod directory;
mod elsewhere;
mod ends;
mod expression;
mod hand_over;
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
mod unbroken;
mod uncertain;
mod users;
mod views;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use barycenter_plugin_api::JobReport;
use tokio::sync::{OwnedMutexGuard, mpsc, oneshot, watch};

pub use queue::{Capacity, CurrentQueue, Queue};

use self::elsewhere::Elsewhere;
use self::job_holds::JobHolds;
use self::leftovers::Leftovers;
use self::queue::ReadyQueue;
use self::runners::Runners;
use self::sharing::Sharing;
use self::slow::SlowLane;
use self::users::Users;
use super::engine::Services;
use super::trouble::Trouble;
use crate::store::StoreError;
use crate::store::installation;
use crate::store::scheduling::holds;
use crate::store::scheduling::jobs::{self, ReadyJob};

/// Reports taken from the channel at once: their ends are one transaction.
const REPORTS: usize = 512;
/// Ready jobs kept in memory; the rest stays in the database until these are gone.
const READY_KEPT: usize = 10_000;

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
    /// The next look is due at this instant, in milliseconds, as a scheduler wants it or something here.
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
            let now = self.services.clock.now_ms();
            let is_due = self.wake_at_ms.is_some_and(|at| at <= now);
            if is_due {
                self.wake_at_ms = self.ready.next_due(now);
            }
            if is_due || self.elsewhere.pause(Instant::now()) == Some(Duration::ZERO) {
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
                () = quiet(self.leftovers.pause()) => leftovers::remove_later(self.leftovers.take()),
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
}

/// Returns after `pause`; without one, never.
async fn quiet(pause: Option<Duration>) {
    match pause {
        Some(pause) => tokio::time::sleep(pause).await,
        None => std::future::pending().await,
    }
}
