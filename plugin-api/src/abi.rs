//! The shape of the border itself, and how a host opens it. Authors of plugins need nothing of this.
//!
//! Every library exports [`HEADER_SYMBOL`]. Behind it is a [`PluginRoot`]: functions that make the
//! objects below. Objects and root may grow at their ends within a major version: a missing method
//! falls to its default body, a missing field has a stand-in.

#![allow(unsafe_code, reason = "what sabi_trait generates is unsafe")]

use crate::capability::CapabilityHeader;
use crate::{
    CancelResult, Diagnostic, JobRef, JobReport, JobSpec, List, LogLevel, ModuleDescription, Plan,
    PlanRequest, PluginError, RecoverRequest, RecoverResult, RunnerCapacity, StepContext,
    StepOutcome, SubmitResult, Text,
};
use abi_stable::library::RootModule;
use abi_stable::package_version_strings;
use abi_stable::sabi_types::VersionStrings;
use abi_stable::std_types::{RBox, RResult, RSlice, RStr, RString};
use abi_stable::{StableAbi, sabi_trait};
use serde::{Deserialize, Serialize};

/// The exported symbol, without and with its terminating zero.
pub const HEADER_SYMBOL: &str = "barycenter_plugin_header_v1";

/// [`crate::HostApi`] as an object.
#[sabi_trait]
pub trait HostObject: Send + Sync {
    /// See [`crate::HostApi::log`].
    fn log(&self, level: LogLevel, target: RStr<'_>, message: RStr<'_>);
    /// See [`crate::HostApi::log_enabled`].
    fn log_enabled(&self, level: LogLevel) -> bool;
    /// See [`crate::HostApi::now_ms`].
    fn now_ms(&self) -> i64;
    /// See [`crate::HostApi::wake`].
    fn wake(&self);
    /// See [`crate::HostApi::report_jobs`].
    fn report_jobs(&self, reports: List<JobReport>);
    /// See [`crate::HostApi::query`].
    #[sabi(last_prefix_field)]
    fn query(&self, kind: RStr<'_>, json: RStr<'_>) -> RResult<RString, PluginError>;
}

/// [`crate::Scheduler`] as an object.
#[sabi_trait]
pub trait SchedulerObject: Send {
    /// See [`crate::Scheduler::plan`].
    fn plan(&mut self, request: &PlanRequest) -> RResult<Plan, PluginError>;
    /// See [`crate::Scheduler::startup`].
    fn startup(&mut self) -> RResult<(), PluginError>;
    /// See [`crate::Scheduler::shutdown`].
    #[sabi(last_prefix_field)]
    fn shutdown(&mut self) -> RResult<(), PluginError>;
    /// The address that the functions of this library's capabilities want (since 1.1). Null in older libraries.
    fn instance(&mut self) -> *mut () {
        std::ptr::null_mut()
    }
}

/// [`crate::WorkflowModule`] as an object.
#[sabi_trait]
pub trait WorkflowModuleObject: Send + Sync {
    /// See [`crate::WorkflowModule::describe`].
    fn describe(&self) -> RResult<ModuleDescription, PluginError>;
    /// See [`crate::WorkflowModule::validate_state`].
    fn validate_state(&self, state_json: RStr<'_>) -> RResult<List<Diagnostic>, PluginError>;
    /// See [`crate::WorkflowModule::get_runtime_state`].
    fn get_runtime_state(
        &self,
        state_json: RStr<'_>,
        overrides_json: RStr<'_>,
    ) -> RResult<Text, PluginError>;
    /// See [`crate::WorkflowModule::recover_runtime_state`].
    fn recover_runtime_state(&self, stored_json: RStr<'_>) -> RResult<Text, PluginError>;
    /// See [`crate::WorkflowModule::execute`].
    fn execute(&self, step: &StepContext) -> RResult<StepOutcome, PluginError>;
    /// See [`crate::WorkflowModule::recover_mapping`].
    fn recover_mapping(&self, step: &StepContext) -> RResult<StepOutcome, PluginError>;
    /// See [`crate::WorkflowModule::do_invocation_step_action`].
    #[sabi(last_prefix_field)]
    fn do_invocation_step_action(
        &self,
        step: &StepContext,
        action_json: RStr<'_>,
    ) -> RResult<Text, PluginError>;
}

/// [`crate::JobRunner`] as an object.
#[sabi_trait]
pub trait JobRunnerObject: Send + Sync {
    /// See [`crate::JobRunner::capacity`].
    fn capacity(&self) -> RResult<RunnerCapacity, PluginError>;
    /// See [`crate::JobRunner::submit`].
    fn submit(&self, jobs: RSlice<'_, JobSpec>) -> RResult<List<SubmitResult>, PluginError>;
    /// See [`crate::JobRunner::cancel`].
    fn cancel(&self, jobs: RSlice<'_, JobRef>) -> RResult<List<CancelResult>, PluginError>;
    /// See [`crate::JobRunner::recover`].
    fn recover(
        &self,
        jobs: RSlice<'_, RecoverRequest>,
    ) -> RResult<List<RecoverResult>, PluginError>;
    /// See [`crate::JobRunner::poll`].
    fn poll(&self, jobs: RSlice<'_, JobRef>) -> RResult<List<JobReport>, PluginError>;
    /// See [`crate::JobRunner::shutdown`].
    #[sabi(last_prefix_field)]
    fn shutdown(&self) -> RResult<(), PluginError>;
}

/// The host's services on their way into a plugin.
pub type HostBox = HostObject_TO<'static, RBox<()>>;
/// A scheduler on its way out of a plugin.
pub type SchedulerBox = SchedulerObject_TO<'static, RBox<()>>;
/// A workflow module on its way out of a plugin.
pub type WorkflowModuleBox = WorkflowModuleObject_TO<'static, RBox<()>>;
/// A job runner on its way out of a plugin.
pub type JobRunnerBox = JobRunnerObject_TO<'static, RBox<()>>;

/// Makes an object of a plugin from its configuration (JSON text).
pub type Create<T> = extern "C" fn(config_json: RStr<'_>, host: HostBox) -> RResult<T, PluginError>;

/// What a library says about itself once it is loaded.
#[repr(C)]
#[derive(StableAbi, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct PluginInfo {
    /// The plugin type, as in the preamble.
    pub type_id: Text,
    /// The plugin's own version.
    pub version: Text,
    /// A sentence about it.
    pub description: Text,
    /// The JSON Schema of its configuration; empty when it takes none.
    pub config_schema: Text,
    /// For schedulers: the host calls it.
    pub active: bool,
    /// Additions of later minor versions.
    pub attrs: List<crate::Attr>,
}

/// The root of a plugin library. A constructor of a kind that the library does not make refuses.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginRootRef)))]
#[sabi(missing_field(panic))]
pub struct PluginRoot {
    /// What the library says about itself.
    pub info: extern "C" fn() -> RResult<PluginInfo, PluginError>,
    /// Makes a scheduler from its configuration (JSON text).
    pub scheduler:
        extern "C" fn(config_json: RStr<'_>, host: HostBox) -> RResult<SchedulerBox, PluginError>,
    /// Makes a workflow module from its configuration (JSON text).
    pub workflow_module: extern "C" fn(
        config_json: RStr<'_>,
        host: HostBox,
    ) -> RResult<WorkflowModuleBox, PluginError>,
    /// Makes a job runner from its configuration (JSON text).
    #[sabi(last_prefix_field)]
    pub job_runner:
        extern "C" fn(config_json: RStr<'_>, host: HostBox) -> RResult<JobRunnerBox, PluginError>,
    /// Gives a capability by its id (since 1.1).
    #[sabi(missing_field(option))]
    pub capability: extern "C" fn(id: RStr<'_>) -> CapabilityHeader,
}

impl RootModule for PluginRootRef {
    abi_stable::declare_root_module_statics! {PluginRootRef}

    const BASE_NAME: &'static str = "barycenter_plugin";
    const NAME: &'static str = "barycenter_plugin";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}
