//! One strange job ends by itself, and not the loop for all.

/// What the owner of a job reads whose handling hit a fault of ours; the log has the fault.
pub(super) const BROKEN: &str = "The server failed to handle this job.";

/// What `work` makes; nothing if it broke.
pub(super) fn unbroken<T>(what: &str, work: impl FnOnce() -> T) -> Option<T> {
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    if outcome.is_err() {
        tracing::error!("{what} broke");
    }
    outcome.ok()
}
