//! What moves invocations and jobs forward. Two loops, each driven by signals with a slow look at the database behind:
//! [`monitor`] advances invocations ([`iteration`] is one attempt), [`dispatch`] hands ready jobs to runners and stores
//! how they end. Nothing is held in memory that the database does not have as well.

pub mod dispatch;
pub mod engine;
pub mod iteration;
pub mod modules;
pub mod monitor;
pub mod requests;
pub mod signals;
mod trouble;
pub mod user_tools;

pub use engine::{Engine, EngineSettings, Services};
pub use signals::Signals;
