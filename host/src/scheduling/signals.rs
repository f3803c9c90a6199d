//! "Look again": how whoever changed something tells the loops. A signal carries nothing that is not stored as
//! well, so a lost one costs time, never work.

use std::sync::Arc;

use tokio::sync::Notify;

/// Handed to everybody who changes what the loops work on. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Signals {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    invocations: Notify,
    jobs: Notify,
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

    /// Waits for the next change of an invocation; returns at once if there was one since the last wait.
    pub async fn next_invocation_change(&self) {
        self.inner.invocations.notified().await;
    }

    /// Waits for the next change of a job; returns at once if there was one since the last wait.
    pub async fn next_job_change(&self) {
        self.inner.jobs.notified().await;
    }
}
