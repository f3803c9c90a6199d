//! The nouns, as plain values: no database, no HTTP, no async, no clock.

pub mod handler;
pub mod hook;
pub mod invocation;
pub mod message;
pub mod parameter_input;
pub mod revision;
pub mod runtime_actions;
pub mod state;
pub mod workflow;
