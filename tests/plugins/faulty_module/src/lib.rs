//! A workflow module all of whose methods panic. For tests of the host.

use barycenter_plugin_api::{
    Diagnostic, Host, List, ModuleDescription, Plugin, PluginError, StepContext, StepOutcome, Text,
    WorkflowModule,
};

/// Panics.
pub struct Faulty;

impl Plugin for Faulty {
    fn create(_config: serde_json::Value, _host: Host) -> Result<Self, PluginError> {
        Ok(Self)
    }
}

impl WorkflowModule for Faulty {
    fn describe(&self) -> ModuleDescription {
        ModuleDescription {
            type_id: "faulty-step".into(),
            ..ModuleDescription::default()
        }
    }

    fn validate_state(&self, _: &str) -> Result<List<Diagnostic>, PluginError> {
        panic!("validate_state panics")
    }

    fn get_runtime_state(&self, _: &str, _: &str) -> Result<Text, PluginError> {
        panic!("get_runtime_state panics")
    }

    fn recover_runtime_state(&self, _: &str) -> Result<Text, PluginError> {
        panic!("recover_runtime_state panics")
    }

    fn execute(&self, _: &StepContext) -> Result<StepOutcome, PluginError> {
        panic!("execute panics")
    }

    fn recover_mapping(&self, _: &StepContext) -> Result<StepOutcome, PluginError> {
        panic!("recover_mapping panics")
    }

    fn do_invocation_step_action(&self, _: &StepContext, _: &str) -> Result<Text, PluginError> {
        panic!("do_invocation_step_action panics")
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        panic!("drop panics")
    }
}

barycenter_plugin_api::export_workflow_module! { type: "faulty-step", Faulty }
