//! What moves invocations and jobs forward. Two loops, each driven by signals with a slow look at the database behind:
//! [`monitor`] advances invocations ([`iteration`] is one attempt), [`dispatch`] hands ready jobs to runners and stores
//! how they end; beside them [`fetching`] gets what was given by URL. Nothing is held in memory that the database does not have as well.

mod absence;
mod active;
mod asking;
mod contents;
pub mod dispatch;
pub mod engine;
pub mod fetching;
pub mod iteration;
mod lanes;
mod mail;
pub mod membership;
pub mod modules;
pub mod monitor;
mod planning;
pub mod questions;
pub mod requests;
pub mod signals;
mod silence;
pub mod states;
mod trouble;
pub mod user_tools;

pub use engine::{Engine, EngineSettings, Services};
pub use membership::{EnterError, Membership, Sharing};
pub use signals::Signals;
