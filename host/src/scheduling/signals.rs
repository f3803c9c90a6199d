//! "Look again": how whoever changed something tells the loops. A signal carries nothing that is not stored as
//! well, so a lost one costs time, never work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Notify, watch};

/// Handed to everybody who changes what the loops work on. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Signals {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    invocations: Notify,
    jobs: Notify,
    fetches: Notify,
    mail: Notify,
    hooks: Notify,
    wake: AtomicBool,
    unclaimed_invocations: AtomicBool,
    unclaimed_jobs: AtomicBool,
    backlog: AtomicBool,
    iterations: watch::Sender<u64>,
}

impl Signals {
    /// Some invocation's `signal_count` was raised (and committed).
    pub fn invocations_changed(&self) {
        self.inner.invocations.notify_one();
    }

    /// Some job became ready, or is to be stopped (and that is committed).
    pub fn jobs_changed(&self) {
        self.inner.jobs.notify_one();
    }

    /// There is something to fetch, or something that is fetched is not wanted any more (and that is committed).
    pub fn fetches_changed(&self) {
        self.inner.fetches.notify_one();
    }

    /// There is mail to send.
    pub fn mail_written(&self) {
        self.inner.mail.notify_one();
    }

    /// Waits for the next mail; returns at once if there was one since the last wait.
    pub async fn next_mail(&self) {
        self.inner.mail.notified().await;
    }

    /// An invocation was completed, and something is to be done now (and that is committed).
    pub fn hooks_changed(&self) {
        self.inner.hooks.notify_one();
    }

    /// Waits for the next of these; returns at once if there was one since the last wait.
    pub async fn next_hook_change(&self) {
        self.inner.hooks.notified().await;
    }

    /// A plugin wants to be asked again about whatever waits for an instant, and about the ready jobs.
    pub fn plugin_wakes(&self) {
        self.inner.wake.store(true, Ordering::SeqCst);
        self.invocations_changed();
        self.jobs_changed();
    }

    /// Whether a plugin wanted that since the last time this was asked.
    pub fn take_wake(&self) -> bool {
        self.inner.wake.swap(false, Ordering::SeqCst)
    }

    /// Something may be there that no process holds: a new invocation under a tag, the work of a process that is gone.
    pub fn unclaimed(&self) {
        self.inner
            .unclaimed_invocations
            .store(true, Ordering::SeqCst);
        self.inner.unclaimed_jobs.store(true, Ordering::SeqCst);
        self.invocations_changed();
        self.jobs_changed();
    }

    /// Whether invocations may be there that nobody holds, since the last time this was asked.
    pub fn take_unclaimed_invocations(&self) -> bool {
        self.inner
            .unclaimed_invocations
            .swap(false, Ordering::SeqCst)
    }

    /// Whether jobs may be there that nobody holds, since the last time this was asked.
    pub fn take_unclaimed_jobs(&self) -> bool {
        self.inner.unclaimed_jobs.swap(false, Ordering::SeqCst)
    }

    /// Another process has more ready jobs than its runners take.
    pub fn backlog(&self) {
        self.inner.backlog.store(true, Ordering::SeqCst);
        self.jobs_changed();
    }

    /// Whether another process said so since the last time this was asked.
    pub fn take_backlog(&self) -> bool {
        self.inner.backlog.swap(false, Ordering::SeqCst)
    }

    /// An iteration was committed.
    pub fn iteration_committed(&self) {
        self.inner
            .iterations
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Changes with every [`Signals::iteration_committed`] from now on, for those who wait for an invocation.
    pub fn iterations(&self) -> watch::Receiver<u64> {
        self.inner.iterations.subscribe()
    }

    /// Waits for the next change of an invocation; returns at once if there was one since the last wait.
    pub async fn next_invocation_change(&self) {
        self.inner.invocations.notified().await;
    }

    /// Waits for the next change of a job; returns at once if there was one since the last wait.
    pub async fn next_job_change(&self) {
        self.inner.jobs.notified().await;
    }

    /// Waits for the next change of what is to be fetched; returns at once if there was one since the last wait.
    pub async fn next_fetch_change(&self) {
        self.inner.fetches.notified().await;
    }
}
