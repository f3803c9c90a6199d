//! The contract between Barycenter and its plugins.
//!
//! A plugin is a shared library (`crate-type = ["cdylib"]`) that implements one of three traits
//! and exports it with one macro:
//!
//! | kind            | trait              | macro                         | decides                              |
//! |-----------------|--------------------|-------------------------------|--------------------------------------|
//! | scheduler       | [`Scheduler`]      | [`export_scheduler!`]         | which steps to expand, which jobs go where |
//! | workflow module | [`WorkflowModule`] | [`export_workflow_module!`]   | what a step of its type does          |
//! | job runner      | [`JobRunner`]      | [`export_job_runner!`]        | how a job is executed                 |
//!
//! A whole plugin:
//!
//! ```
//! use barycenter_plugin_api::{Host, InvocationDecision, Plan, PlanRequest, Plugin, PluginError, Scheduler};
//!
//! pub struct Everything;
//!
//! impl Plugin for Everything {
//!     fn create(_config: serde_json::Value, host: Host) -> Result<Self, PluginError> {
//!         host.info("every step at once");
//!         Ok(Self)
//!     }
//! }
//!
//! impl Scheduler for Everything {
//!     fn plan(&mut self, request: &PlanRequest) -> Result<Plan, PluginError> {
//!         let invocations = request.invocations.iter().map(InvocationDecision::expand_all).collect();
//!         Ok(Plan { invocations, ..Plan::default() })
//!     }
//! }
//!
//! barycenter_plugin_api::export_scheduler! { type: "everything", Everything }
//! # fn main() {}
//! ```
//!
//! `serde_json` comes with this crate, as [`serde_json`](crate::serde_json): one dependency is enough.
//!
//! # Rules of the border
//!
//! * **Values in, values out.** A plugin keeps no reference into the host. What it may ask of the
//!   host goes through [`Host`].
//! * **A panic is an error of that call**, in `create`, in every method and in `Drop`. A plugin
//!   must therefore be built with `panic = "unwind"` (the default).
//! * **Threads.** [`Scheduler`] methods are called one at a time. [`WorkflowModule`] and
//!   [`JobRunner`] methods may be called from several threads at once.
//! * **Versions.** [`API_VERSION`] is the contract's own version. Within one major version methods
//!   and services are only added, and either side may be the older one. The value types are
//!   frozen; what a later minor version adds to them travels in their `attrs`, and an attribute
//!   that is not understood is ignored. Optional abilities are [capabilities](capability), asked for by id.
//! * **Codes are open.** A code that a reader does not know is treated as its type's
//!   documentation says.
//! * **Nothing is unloaded.** A library stays mapped until the process ends.

#![allow(
    non_local_definitions,
    reason = "the derive macros of abi_stable define impls inside constants"
)]

pub mod abi;
mod adapter;
pub mod capability;
mod code;
mod error;
#[cfg(test)]
mod evolution_tests;
#[doc(hidden)]
pub mod export;
mod guard;
mod host;
mod module;
pub mod open;
pub mod passive;
pub mod preamble;
mod runner;
mod scheduler;
pub mod testing;
mod values;

pub use capability::{ExplainRequest, Explanation};
pub use error::{ErrorCode, PluginError};
pub use host::{Host, HostApi, LogLevel};
pub use module::{
    Diagnostic, ModuleDescription, NamedValue, Severity, StepContext, StepInputValue, StepOutcome,
    StepStatus, TerminalDescription, ValueKind, ValueRef, WorkflowModule,
};
pub use preamble::PluginKind;
pub use runner::{
    CancelResult, JobRef, JobReport, JobRunner, JobSpec, JobStatus, RecoverRequest, RecoverResult,
    RecoverStatus, RunnerCapacity, SubmitResult,
};
pub use scheduler::{
    InvocationDecision, InvocationOffer, InvocationVerdict, JobDecision, JobVerdict, Plan,
    PlanRequest, ReadyJob, RunnerOffer, Scheduler, StepHold, StepOffer, UserLoad,
};
pub use serde_json;
pub use values::{Attr, List, Text, attr};

/// The version of this contract: major, minor, patch.
///
/// It is not the server's version. A host refuses another major version and accepts every minor.
pub const API_VERSION: (u16, u16, u16) = (1, 1, 0);

/// What every plugin has: a way to be made from its table in `plugins.toml`.
pub trait Plugin: Sized {
    /// Makes one instance.
    ///
    /// `config` is the plugin's `config` table as JSON (an empty object when there is none),
    /// already checked against the plugin's own JSON Schema. An error is shown to the operator, who
    /// can then correct `plugins.toml`.
    fn create(config: serde_json::Value, host: Host) -> Result<Self, PluginError>;
}
