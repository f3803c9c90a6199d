//! A workflow module that goes wrong as its configuration says, by default with a panic in every method but `describe`,
//! and otherwise passes its input on. For tests of the host.

use barycenter_plugin_api::{
    Diagnostic, Host, List, ModuleDescription, NamedValue, Plugin, PluginError, StepContext,
    StepOutcome, StepStatus, TerminalDescription, Text, ValueKind, ValueRef, WorkflowModule,
};

include!("../../faults.rs");

/// Goes wrong.
pub struct Faulty(Faults);

impl Plugin for Faulty {
    fn create(config: serde_json::Value, _host: Host) -> Result<Self, PluginError> {
        let faults: Faults = serde_json::from_value(config)?;
        if faults.at == "create" {
            faults.strike("create");
        }
        Ok(Self(faults))
    }
}

impl Faulty {
    fn outcome(&self, method: &str, step: &StepContext) -> StepOutcome {
        let good = StepOutcome::output("output", step.input("input"));
        let Some(fault) = self.0.strike(method) else {
            return good;
        };
        let token = |token: &str| ValueRef {
            kind: ValueKind::HDA,
            token: token.into(),
            ..ValueRef::default()
        };
        match fault {
            "lie" => StepOutcome::output("no-such-output", step.input("input")),
            "twice" => {
                let mut outcome = good;
                let first = outcome.outputs[0].clone();
                outcome.outputs.push(first);
                outcome
            }
            "forge" => StepOutcome::output("output", token("hda:1")),
            "garbage" => StepOutcome {
                status: StepStatus(77),
                reason: "\0\u{1b}[2J".into(),
                text: "\u{202e}\0".into(),
                ..StepOutcome::default()
            },
            "negative" => StepOutcome {
                wake_at_ms: i64::MIN,
                ..StepOutcome::delayed("never")
            },
            "huge" => StepOutcome {
                outputs: (0..100_000)
                    .map(|_| NamedValue {
                        name: "output".into(),
                        value: token("x"),
                        ..NamedValue::default()
                    })
                    .collect(),
                ..good
            },
            _ => good,
        }
    }

    fn text(&self, method: &str, good: &str) -> Text {
        match self.0.strike(method) {
            Some("garbage") => "{\"no json".into(),
            _ => good.into(),
        }
    }
}

impl WorkflowModule for Faulty {
    fn describe(&self) -> ModuleDescription {
        if self.0.at == "describe" {
            self.0.strike("describe");
        }
        let terminal = |name: &str| TerminalDescription {
            name: name.into(),
            label: name.into(),
            kind: "dataset".into(),
            extensions: vec!["data".into()].into(),
            ..TerminalDescription::default()
        };
        ModuleDescription {
            type_id: "faulty-step".into(),
            name: "Faulty step".into(),
            inputs: vec![terminal("input")].into(),
            outputs: vec![terminal("output")].into(),
            ..ModuleDescription::default()
        }
    }

    fn validate_state(&self, _: &str) -> Result<List<Diagnostic>, PluginError> {
        self.0.strike("validate_state");
        Ok(List::new())
    }

    fn get_runtime_state(&self, _: &str, _: &str) -> Result<Text, PluginError> {
        Ok(self.text("get_runtime_state", "{}"))
    }

    fn recover_runtime_state(&self, stored: &str) -> Result<Text, PluginError> {
        Ok(self.text("recover_runtime_state", stored))
    }

    fn execute(&self, step: &StepContext) -> Result<StepOutcome, PluginError> {
        Ok(self.outcome("execute", step))
    }

    fn recover_mapping(&self, step: &StepContext) -> Result<StepOutcome, PluginError> {
        Ok(self.outcome("recover_mapping", step))
    }

    fn do_invocation_step_action(
        &self,
        _: &StepContext,
        action: &str,
    ) -> Result<Text, PluginError> {
        Ok(self.text("do_invocation_step_action", action))
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        self.0.strike("drop");
    }
}

barycenter_plugin_api::export_workflow_module! { type: "faulty-step", schema: FAULTS_SCHEMA, Faulty }
