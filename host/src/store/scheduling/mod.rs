//! What the scheduling loops read and write: an invocation's progress, the outcome of an iteration, the queue of
//! ready jobs, the end of jobs. Each write is one transaction, and each is safe to be cut off anywhere.

pub mod after;
pub mod commit;
mod dependants;
pub mod ends;
pub mod equivalents;
pub mod fetches;
pub mod holds;
pub mod hooks;
pub mod invocations;
pub mod jobs;
pub mod known;
pub mod leases;
pub mod objects;
pub mod orders;
pub mod progress;
pub mod readiness;
pub mod remap;
pub mod scheduler_state;
pub mod settle;
