//! The decisions of scheduling, as plain functions over plain values: what a step's inputs are, what may run,
//! what to create. No database, no async, no clock. `scheduling` loads the values, calls these, and stores the outcome.
//!
//! Read in this order: [`known`] (what there is), [`stop`] (why something does not go on), [`resolve`] (a step's
//! inputs), [`mapping`] (collections), [`tool_run`] (jobs), [`operations`] (tools without a command), [`modules`] (what
//! plugins are asked), [`writes`] (what is to be stored), [`progress`] (what was), [`iteration`] (one attempt to advance one
//! invocation), `attempt` (one step of it), [`going_on`] (the next one).

mod attempt;
pub mod going_on;
pub mod iteration;
pub mod known;
pub mod mapping;
pub mod modules;
pub mod offers;
pub mod operations;
mod pick_value;
pub mod post_job_actions;
pub mod progress;
mod record;
pub mod resolve;
pub mod stop;
pub mod subworkflow;
pub mod tool_run;
pub mod when;
pub mod writes;

pub use iteration::{Iteration, Outcome};
pub use known::{Collection, Element, ElementObject, Hda, Hdca, Known, StepValue};
pub use progress::Progress;
pub use stop::{Stop, Wait};
pub use writes::Writes;
