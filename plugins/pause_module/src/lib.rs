//! Galaxy's pause step: the invocation goes on when a person has looked at the data.

use barycenter_plugin_api::{
    Host, ModuleDescription, Plugin, PluginError, StepContext, StepOutcome, TerminalDescription,
    Text, ValueKind, WorkflowModule,
};
use serde_json::Value;

const WAITING: &str = "waiting for review";

/// Plugin type `pause`.
#[derive(Debug)]
pub struct Pause;

impl Plugin for Pause {
    fn create(_config: Value, _host: Host) -> Result<Self, PluginError> {
        Ok(Self)
    }
}

impl WorkflowModule for Pause {
    fn describe(&self) -> ModuleDescription {
        let terminal = |name: &str, label: &str| TerminalDescription {
            name: name.into(),
            label: label.into(),
            kind: "dataset".into(),
            extensions: vec!["input".into()].into(),
            ..TerminalDescription::default()
        };
        ModuleDescription {
            type_id: "pause".into(),
            name: "Pause for dataset review".into(),
            description: "Stops the invocation until somebody has reviewed the dataset".into(),
            inputs: vec![terminal("input", "Dataset for Review")].into(),
            outputs: vec![terminal("output", "Reviewed Dataset")].into(),
            state_schema: r#"{"type":"object"}"#.into(),
            beta: true,
            ..ModuleDescription::default()
        }
    }

    /// Reached even while its input is still delayed; only its own output waits, not the pass.
    fn execute(&self, _step: &StepContext) -> Result<StepOutcome, PluginError> {
        Ok(StepOutcome::outputs_delayed(WAITING))
    }

    /// Asked on every later pass, so a refusal also takes effect after an approval.
    fn recover_mapping(&self, step: &StepContext) -> Result<StepOutcome, PluginError> {
        let action = step.action();
        if action == Value::Bool(false) {
            return Ok(StepOutcome::cancel(
                "cancelled_on_review",
                "The review of a paused step was not passed",
            ));
        }
        if !is_truthy(&action) {
            return Ok(StepOutcome::outputs_delayed(WAITING));
        }
        let input = step.input("input");
        if input.kind == ValueKind::DELAYED {
            return Ok(StepOutcome::delayed("reviewed; waiting for the dataset"));
        }
        Ok(StepOutcome::output("output", input))
    }

    fn do_invocation_step_action(
        &self,
        _step: &StepContext,
        action_json: &str,
    ) -> Result<Text, PluginError> {
        let action: Value = serde_json::from_str(action_json)
            .map_err(|error| PluginError::invalid(format!("The action is not JSON: {error}")))?;
        let decision = decision(&action)
            .ok_or_else(|| PluginError::invalid("The action must be true or false.".to_owned()))?;
        Ok(decision.to_string().into())
    }
}

/// What a person decided, in the forms that Galaxy's API reads as a boolean. Anything else is a mistake of the
/// client, and must not count as an approval.
fn decision(action: &Value) -> Option<bool> {
    match action {
        Value::Bool(decision) => Some(*decision),
        Value::Number(number) if number.as_f64() == Some(1.0) => Some(true),
        Value::Number(number) if number.as_f64() == Some(0.0) => Some(false),
        Value::String(word) => match word.to_ascii_lowercase().as_str() {
            "true" | "t" | "yes" | "y" | "on" | "1" => Some(true),
            "false" | "f" | "no" | "n" | "off" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// Python's truth of a JSON value, by which Galaxy reads what is stored.
fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(entries) => !entries.is_empty(),
    }
}

barycenter_plugin_api::export_workflow_module! {
    type: "pause",
    description: "The pause step: waits until somebody has reviewed the dataset",
    Pause
}

#[cfg(test)]
mod tests {
    use super::*;
    use barycenter_plugin_api::{StepInputValue, StepStatus, ValueRef};

    fn step(action_json: &str, kind: ValueKind) -> StepContext {
        let value = ValueRef {
            kind,
            token: "hda-17".into(),
            ..ValueRef::default()
        };
        StepContext {
            action_json: action_json.into(),
            inputs: vec![StepInputValue {
                name: "input".into(),
                value,
                ..StepInputValue::default()
            }]
            .into(),
            ..StepContext::default()
        }
    }

    fn recovered(action_json: &str, kind: ValueKind) -> StepOutcome {
        Pause.recover_mapping(&step(action_json, kind)).unwrap()
    }

    #[test]
    fn reaching_it_delays_its_output_but_not_the_pass() {
        for kind in [ValueKind::HDA, ValueKind::DELAYED] {
            let outcome = Pause.execute(&step("null", kind)).unwrap();
            assert_eq!(outcome.status, StepStatus::SCHEDULED_OUTPUTS_DELAYED);
            assert_eq!(outcome.text, WAITING);
        }
    }

    #[test]
    fn approval_passes_on_the_very_same_dataset() {
        let outcome = recovered("true", ValueKind::HDA);
        assert_eq!(outcome.status, StepStatus::SCHEDULED);
        assert_eq!(outcome.outputs[0].name, "output");
        assert_eq!(outcome.outputs[0].value.token, "hda-17");
    }

    #[test]
    fn approval_of_a_delayed_dataset_stays_delayed() {
        let outcome = recovered("true", ValueKind::DELAYED);
        assert_eq!(outcome.status, StepStatus::DELAYED);
        assert!(outcome.outputs.is_empty());
    }

    #[test]
    fn exactly_false_cancels() {
        let outcome = recovered("false", ValueKind::HDA);
        assert_eq!(outcome.status, StepStatus::CANCEL);
        assert_eq!(outcome.reason, "cancelled_on_review");
    }

    #[test]
    fn no_action_and_other_falsy_actions_wait() {
        for action in ["null", "0", "\"\"", "[]", "{}", ""] {
            let outcome = recovered(action, ValueKind::HDA);
            assert_eq!(
                outcome.status,
                StepStatus::SCHEDULED_OUTPUTS_DELAYED,
                "{action}"
            );
            assert_eq!(outcome.text, WAITING);
        }
    }

    #[test]
    fn an_action_is_a_boolean_in_one_of_its_forms_and_nothing_else() {
        let stored = |action: &str| {
            let step = StepContext::default();
            Pause
                .do_invocation_step_action(&step, action)
                .map(Text::into_string)
        };
        for approval in ["true", "1", "1.0", "\"True\"", "\"yes\"", "\"1\""] {
            assert_eq!(stored(approval).unwrap(), "true", "{approval}");
        }
        for refusal in ["false", "0", "-0.0", "\"false\"", "\"No\"", "\"0\""] {
            assert_eq!(stored(refusal).unwrap(), "false", "{refusal}");
        }
        for mistake in [
            "null",
            "2",
            "\"\"",
            "\"perhaps\"",
            "[]",
            "[true]",
            "{}",
            "{\"a\":1}",
            "yes",
        ] {
            assert!(stored(mistake).is_err(), "{mistake}");
        }
    }
}
