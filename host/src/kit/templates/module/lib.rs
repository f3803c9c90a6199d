//! The step type `{{name}}`: passes its input on as soon as it is there.

use barycenter_plugin_api::serde_json::Value;
use barycenter_plugin_api::{
    Host, ModuleDescription, Plugin, PluginError, StepContext, StepOutcome, TerminalDescription,
    ValueKind, ValueRef, WorkflowModule,
};

pub struct {{Type}} {
    allow_missing: bool,
}

impl Plugin for {{Type}} {
    fn create(config: Value, _host: Host) -> Result<Self, PluginError> {
        Ok(Self {
            allow_missing: config["allow_missing"].as_bool().unwrap_or(false),
        })
    }
}

impl WorkflowModule for {{Type}} {
    fn describe(&self) -> ModuleDescription {
        let terminal = |name: &str, label: &str| TerminalDescription {
            name: name.into(),
            label: label.into(),
            kind: "dataset".into(),
            extensions: vec!["input".into()].into(),
            ..TerminalDescription::default()
        };
        ModuleDescription {
            type_id: "{{name}}".into(),
            name: "{{Type}}".into(),
            description: "Passes its input on".into(),
            inputs: vec![terminal("input", "What to pass on")].into(),
            outputs: vec![terminal("output", "What was passed on")].into(),
            state_schema: r#"{ "type": "object" }"#.into(),
            ..ModuleDescription::default()
        }
    }

    /// The step is reached. Asked again on the next pass as long as it answers `delayed`.
    fn execute(&self, step: &StepContext) -> Result<StepOutcome, PluginError> {
        let input = step.input("input");
        match input.kind {
            ValueKind::DELAYED => Ok(StepOutcome::delayed("waiting for the input")),
            ValueKind::UNCONNECTED | ValueKind::NO_REPLACEMENT if self.allow_missing => {
                Ok(StepOutcome::output("output", ValueRef::json(&Value::Null)))
            }
            ValueKind::UNCONNECTED | ValueKind::NO_REPLACEMENT => Ok(StepOutcome::fail(
                "unexpected_failure",
                "Nothing is connected to the input",
            )),
            _ => Ok(StepOutcome::output("output", input)),
        }
    }

    /// A later pass, perhaps of another server: what are the outputs of the scheduled step?
    fn recover_mapping(&self, step: &StepContext) -> Result<StepOutcome, PluginError> {
        self.execute(step)
    }
}

barycenter_plugin_api::export_workflow_module! {
    type: "{{name}}",
    description: "Passes its input on",
    schema: include_str!("config.schema.json"),
    {{Type}}
}

#[cfg(test)]
mod tests {
    use super::*;
    use barycenter_plugin_api::serde_json::json;
    use barycenter_plugin_api::testing::FakeHost;
    use barycenter_plugin_api::{StepInputValue, StepStatus};

    fn executed(config: Value, kind: ValueKind) -> StepOutcome {
        let module = {{Type}}::create(config, FakeHost::new().host()).unwrap();
        let value = ValueRef {
            kind,
            token: "hda-17".into(),
            ..ValueRef::default()
        };
        let input = StepInputValue {
            name: "input".into(),
            value,
            ..StepInputValue::default()
        };
        let step = StepContext {
            inputs: vec![input].into(),
            ..StepContext::default()
        };
        module.execute(&step).unwrap()
    }

    #[test]
    fn the_very_same_dataset_is_passed_on() {
        let outcome = executed(json!({}), ValueKind::HDA);
        assert_eq!(outcome.status, StepStatus::SCHEDULED);
        assert_eq!(outcome.outputs[0].value.token, "hda-17");
    }

    #[test]
    fn a_delayed_input_delays_the_step() {
        let outcome = executed(json!({}), ValueKind::DELAYED);
        assert_eq!(outcome.status, StepStatus::DELAYED);
    }

    #[test]
    fn nothing_connected_fails_unless_it_may_be_missing() {
        let outcome = executed(json!({}), ValueKind::UNCONNECTED);
        assert_eq!(outcome.status, StepStatus::FAIL);
        let outcome = executed(json!({ "allow_missing": true }), ValueKind::UNCONNECTED);
        assert_eq!(outcome.status, StepStatus::SCHEDULED);
    }
}
