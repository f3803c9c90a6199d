//! Invocations: the persisted request, what clients read about an invocation, and what users ask of one.
//! How an invocation moves forward is written elsewhere, by the scheduling loops.

mod change;
mod create;
mod details;
mod list;
mod request;
mod step;
mod summary;

pub use change::{ActionOutcome, put_action, request_cancel, signal_root};
pub use create::create;
pub use details::{
    Details, InputParameterRow, InputRow, MessageRow, OutputRow, OutputValueRow, details, warnings,
};
pub use list::{Invocation, ListQuery, Scope, SortBy, active_count, by_id, list};
pub use request::{StoredRequest, load_request};
pub use step::{Step, StepDetails, StepOutput, step_by_id, step_details, steps};
pub use summary::{
    Completion, JobSource, JobsSummary, completion, jobs_summary, step_jobs_summary,
};

#[cfg(test)]
mod tests;
