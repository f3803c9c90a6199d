//! A step that passes its input on once an action says so.

use barycenter_plugin_api::{
    Host, ModuleDescription, Plugin, PluginError, StepContext, StepOutcome, TerminalDescription,
    Text, WorkflowModule,
    serde_json::{self, Value},
};

pub struct Gate;

impl Plugin for Gate {
    fn create(_config: Value, _host: Host) -> Result<Self, PluginError> {
        Ok(Self)
    }
}

impl WorkflowModule for Gate {
    fn describe(&self) -> ModuleDescription {
        let terminal = |name: &str| TerminalDescription {
            name: name.into(),
            label: name.into(),
            kind: "dataset".into(),
            ..TerminalDescription::default()
        };
        ModuleDescription {
            type_id: "museum-gate".into(),
            name: "Gate".into(),
            inputs: vec![terminal("input")].into(),
            outputs: vec![terminal("output")].into(),
            ..ModuleDescription::default()
        }
    }

    fn execute(&self, _step: &StepContext) -> Result<StepOutcome, PluginError> {
        Ok(StepOutcome::outputs_delayed("the gate is closed"))
    }

    fn recover_mapping(&self, step: &StepContext) -> Result<StepOutcome, PluginError> {
        match step.action() {
            Value::Null => Ok(StepOutcome::outputs_delayed("the gate is closed")),
            Value::String(word) if word == "panic" => panic!("asked to"),
            _ => Ok(StepOutcome::output("output", step.input("input"))),
        }
    }

    fn do_invocation_step_action(
        &self,
        _step: &StepContext,
        action_json: &str,
    ) -> Result<Text, PluginError> {
        let action: Value = serde_json::from_str(action_json)?;
        Ok(action.to_string().into())
    }
}

barycenter_plugin_api::export_workflow_module! { type: "museum-gate", Gate }
