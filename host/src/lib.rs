//! Barycenter: a workflow scheduling server whose schedulers, step types and job runners are plugins.

// What tests share with integration tests calls this crate by its name.
#[cfg(test)]
extern crate self as barycenter;

pub mod cli;
pub mod clock;
pub mod config;
pub mod errors;
pub mod fetch;
pub mod formats;
pub mod http;
pub mod ingest;
pub mod invocation_request;
pub mod invoker;
pub mod javascript;
pub mod kit;
pub mod logging;
pub mod memory;
pub mod meter;
pub mod model;
pub mod plugins;
pub mod program;
pub mod scheduling;
pub mod server;
pub mod store;
pub mod tools;
