//! What the GA4GH WES door reads and keeps: invocations as runs, steps and jobs as tasks, in GA4GH's words.

pub mod copies;
mod record;
mod runs;
pub mod seed;
mod tasks;

pub use record::{Kept, Record, by_key, insert};
pub use runs::{
    InputValue, Paused, Run, RunQuery, StateFilter, Told, Value, by_id, inputs, list, messages,
    outputs, state_counts,
};
pub use tasks::{
    Bounds, Job, Jobs, Key, OfStep, Page, Step, Task, of_step, one_job, page, page_head,
};

#[cfg(test)]
mod tests;
