//! Archives of histories and invocations: asked for, made in the background, fetched.
//!
//! A wish is stored before it is answered. Whoever asks whether it is ready makes sure that somebody is making it, so one
//! that a crash interrupted is made after the restart. What is to be put somewhere is begun anew by the start itself, and by
//! any server once the one that had taken it is silent. One server at a time works on a wish, and it is ended once.

mod archive;
mod biocompute;
mod crate_document;
mod history;
mod invocation;
pub mod on_complete;
mod put;
mod routes;
mod target;
mod workshop;
mod write;

pub use routes::routes;
pub use workshop::{Workshop, begin, resume};
