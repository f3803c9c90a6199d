//! Tools: what a step of type `tool` runs.
//!
//! One model ([`model::Tool`]) with one front end per tool language; YAML tools ([`yaml`]) are the
//! first. Everything here is plain blocking code over values: no database, no HTTP, no async.
//!
//! A job's way through this module: [`toolbox::Toolbox::get`] finds the tool,
//! [`parameters::normalise_state`] checks its state, [`command::render`] writes what runs and
//! [`outputs::collect`] reads what came out.

pub mod command;
pub mod datatypes;
pub mod describe;
pub mod expression;
pub mod inputs_json;
pub mod model;
pub mod outputs;
pub mod parameters;
pub mod stock;
pub mod template;
pub mod toolbox;
pub mod yaml;

pub use model::Tool;
pub use toolbox::{Toolbox, unreadable};
