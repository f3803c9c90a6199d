//! The plugin author's kit: a new project, the checks of the contract, replays and measurements. Nothing here is used by a
//! server that runs.

pub mod api_sources;
pub mod bench;
pub mod check;
pub mod lock;
pub mod new;
pub mod replay;
pub mod subject;
pub mod traces;
