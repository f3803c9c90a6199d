//! A step that goes on at a time: at an instant, or so long after it was reached. Data pass through it as through a pause.
//!
//! It shows the wake-up contract. The first time the step is reached, the instant is computed and handed to the host as the
//! step's runtime state; from then on the step says "not yet" with that instant, and the host looks again when it has
//! come. Nothing is kept in the object: a restart in between changes nothing.

mod time;

use barycenter_plugin_api::{
    Diagnostic, Host, List, ModuleDescription, Plugin, PluginError, StepContext, StepOutcome,
    TerminalDescription, Text, ValueKind, WorkflowModule,
};
use serde_json::{Value, json};

use crate::time::{Wanted, read, shown, wanted};

/// Plugin type `wait_until`.
#[derive(Debug)]
pub struct WaitUntil;

impl Plugin for WaitUntil {
    fn create(_config: Value, _host: Host) -> Result<Self, PluginError> {
        Ok(Self)
    }
}

impl WorkflowModule for WaitUntil {
    fn describe(&self) -> ModuleDescription {
        let data = |name: &str, label: &str| TerminalDescription {
            name: name.into(),
            label: label.into(),
            kind: "dataset".into(),
            extensions: vec!["input".into()].into(),
            optional: true,
            ..TerminalDescription::default()
        };
        let parameter = TerminalDescription {
            name: "time".into(),
            label: "Instant or duration".into(),
            kind: "parameter".into(),
            optional: true,
            ..TerminalDescription::default()
        };
        ModuleDescription {
            type_id: "wait_until".into(),
            name: "Wait until a time".into(),
            description: "Goes on at an instant, or so long after it was reached".into(),
            inputs: vec![data("input", "Dataset to hand on"), parameter].into(),
            outputs: vec![data("output", "The same dataset")].into(),
            state_schema: include_str!("state.schema.json").into(),
            beta: true,
            ..ModuleDescription::default()
        }
    }

    /// The schema says what there may be; here is what only a clock can tell.
    fn validate_state(&self, state_json: &str) -> Result<List<Diagnostic>, PluginError> {
        let state: Value = serde_json::from_str(state_json)?;
        Ok(match wanted(&state) {
            Ok(_) => List::new(),
            Err((path, text)) => vec![Diagnostic {
                path: path.into(),
                code: "time".into(),
                text: text.into(),
                ..Diagnostic::default()
            }]
            .into(),
        })
    }

    /// What the request says for this step takes the place of what the workflow says.
    fn get_runtime_state(
        &self,
        state_json: &str,
        overrides_json: &str,
    ) -> Result<Text, PluginError> {
        let state: Value = serde_json::from_str(state_json)?;
        let overrides: Value = serde_json::from_str(overrides_json)?;
        let mut own = serde_json::Map::new();
        for name in ["until", "after"] {
            if let Some(value) = overrides.get(name) {
                own.insert(name.to_owned(), value.clone());
            }
        }
        let effective = match own.is_empty() {
            true => state,
            false => Value::Object(own.clone()),
        };
        wanted(&effective).map_err(|(_, text)| PluginError::invalid(text))?;
        Ok(Value::Object(own).to_string().into())
    }

    /// Asked at every look until the time has come.
    fn execute(&self, step: &StepContext) -> Result<StepOutcome, PluginError> {
        let kept: Value = serde_json::from_str(&step.runtime_state_json).unwrap_or_default();
        if let Some(until_ms) = kept["until_ms"].as_i64() {
            return Ok(at(step, until_ms));
        }
        let wanted = match connected(step) {
            Connected::Later => {
                // The parameter is another step's output: nothing is known before that step is done, and the host
                // looks again when it is.
                return Ok(StepOutcome::delayed("waiting for its time to be known"));
            }
            Connected::Value(value) => read(&value).map_err(|text| (String::new(), text)),
            Connected::Nothing => {
                let own = kept.get("until").or(kept.get("after")).is_some();
                let state = serde_json::from_str(&step.state_json)?;
                wanted(if own { &kept } else { &state })
            }
        };
        let until_ms = match wanted {
            Ok(Wanted::Instant(at_ms)) => at_ms,
            // It is reached now; the first look is the one that counts.
            Ok(Wanted::After(ms)) => step.now_ms.saturating_add(ms),
            Ok(Wanted::Connected) => {
                let text = "Neither the step nor its connection says when to go on";
                return Ok(StepOutcome::fail("workflow_parameter_invalid", text));
            }
            Err((_, text)) => return Ok(StepOutcome::fail("workflow_parameter_invalid", &text)),
        };
        let mut state = kept;
        if !state.is_object() {
            state = json!({});
        }
        state["until_ms"] = until_ms.into();
        Ok(match at(step, until_ms) {
            waiting if waiting.outputs.is_empty() => waiting.with_runtime_state(&state),
            done => done,
        })
    }

    /// It is through: whatever a clock says later, it stays so.
    fn recover_mapping(&self, step: &StepContext) -> Result<StepOutcome, PluginError> {
        Ok(through(step))
    }
}

/// Where the step stands, with its instant.
fn at(step: &StepContext, until_ms: i64) -> StepOutcome {
    if step.now_ms >= until_ms {
        return through(step);
    }
    StepOutcome::delayed(&format!("waiting until {}", shown(until_ms))).with_wake(until_ms)
}

/// Hands on what is connected; nothing where nothing is.
fn through(step: &StepContext) -> StepOutcome {
    StepOutcome::output("output", step.input("input"))
}

/// What is connected to the parameter.
enum Connected {
    Nothing,
    /// Not known yet.
    Later,
    Value(Value),
}

fn connected(step: &StepContext) -> Connected {
    let value = step.input("time");
    match value.kind {
        ValueKind::UNCONNECTED | ValueKind::NO_REPLACEMENT => Connected::Nothing,
        ValueKind::JSON => match serde_json::from_str(&value.json) {
            Ok(Value::Null) => Connected::Nothing,
            Ok(value) => Connected::Value(value),
            Err(_) => Connected::Value(Value::Null),
        },
        ValueKind::DELAYED => Connected::Later,
        // A dataset is no time.
        _ => Connected::Value(Value::Bool(false)),
    }
}

barycenter_plugin_api::export_workflow_module! {
    type: "wait_until",
    description: "A step that goes on at a time",
    WaitUntil
}

#[cfg(test)]
mod tests {
    use super::*;
    use barycenter_plugin_api::{StepInputValue, StepStatus, ValueRef, attr};

    const NOON: i64 = 1_767_268_800_000; // 2026-01-01T12:00:00Z

    fn input(name: &str, kind: ValueKind, json: &str) -> StepInputValue {
        StepInputValue {
            name: name.into(),
            value: ValueRef {
                kind,
                token: format!("token-of-{name}").into(),
                json: json.into(),
                ..ValueRef::default()
            },
            ..StepInputValue::default()
        }
    }

    fn step(state: Value, kept: Value, now_ms: i64, inputs: Vec<StepInputValue>) -> StepContext {
        StepContext {
            state_json: state.to_string().into(),
            runtime_state_json: kept.to_string().into(),
            now_ms,
            inputs: inputs.into(),
            ..StepContext::default()
        }
    }

    fn execute(step: &StepContext) -> StepOutcome {
        WaitUntil.execute(step).unwrap()
    }

    fn data() -> Vec<StepInputValue> {
        vec![input("input", ValueKind::HDA, "")]
    }

    #[test]
    fn an_instant_is_waited_for_and_the_data_pass_through() {
        let state = json!({"until": "2026-01-01T12:00:00Z"});
        let waiting = execute(&step(state.clone(), Value::Null, NOON - 1, data()));
        assert_eq!(waiting.status, StepStatus::DELAYED);
        assert_eq!(waiting.wake_at_ms, NOON);
        assert_eq!(waiting.text, "waiting until 2026-01-01T12:00:00Z");
        let done = execute(&step(state, Value::Null, NOON, data()));
        assert_eq!(done.status, StepStatus::SCHEDULED);
        assert_eq!(done.outputs[0].value.token, "token-of-input");
    }

    #[test]
    fn a_duration_counts_from_the_first_look_whatever_happens_in_between() {
        let state = json!({"after": "1h 30m"});
        let first = execute(&step(state.clone(), json!({}), NOON, data()));
        let kept = attr(&first.attrs, StepOutcome::RUNTIME_STATE).unwrap();
        let end = NOON + 90 * 60_000;
        assert_eq!(kept, json!({"until_ms": end}));
        // A restart, a clock that was set back, one that was set forward: always the same instant.
        for now in [NOON - 3_600_000, NOON + 1, end - 1] {
            let look = execute(&step(state.clone(), kept.clone(), now, data()));
            assert_eq!(look.wake_at_ms, end, "{now}");
            assert!(look.attrs.is_empty(), "nothing new to keep");
        }
        let done = execute(&step(state.clone(), kept, end, data()));
        assert_eq!(done.status, StepStatus::SCHEDULED);
        // And once through, it stays through.
        let later = step(state, Value::Null, NOON - 1, data());
        let outcome = WaitUntil.recover_mapping(&later).unwrap();
        assert_eq!(outcome.status, StepStatus::SCHEDULED);
    }

    #[test]
    fn a_connected_parameter_says_when() {
        let with = |kind, json| {
            let mut inputs = data();
            inputs.push(input("time", kind, json));
            execute(&step(json!({}), json!({}), NOON, inputs))
        };
        let after = with(ValueKind::JSON, "\"PT10S\"");
        assert_eq!(after.wake_at_ms, NOON + 10_000);
        let instant = with(ValueKind::JSON, "\"2026-01-01T13:00:00+01:00\"");
        assert_eq!(instant.status, StepStatus::SCHEDULED, "it is 12:00 in UTC");
        let unknown = with(ValueKind::DELAYED, "");
        assert_eq!(
            (unknown.status, unknown.wake_at_ms),
            (StepStatus::DELAYED, 0)
        );
        for wrong in ["\"soon\"", "7", "\"-5s\""] {
            let failed = with(ValueKind::JSON, wrong);
            assert_eq!(failed.status, StepStatus::FAIL, "{wrong}");
            assert_eq!(failed.reason, "workflow_parameter_invalid");
        }
        let nothing = with(ValueKind::UNCONNECTED, "");
        assert_eq!(nothing.status, StepStatus::FAIL);
    }

    #[test]
    fn a_request_may_say_something_else_and_nonsense_is_refused() {
        let state = r#"{"after": "1h"}"#;
        let runtime = |overrides: &str| WaitUntil.get_runtime_state(state, overrides);
        assert_eq!(runtime("null").unwrap(), "{}");
        let own = runtime(r#"{"after": "2s"}"#).unwrap();
        assert_eq!(own, r#"{"after":"2s"}"#);
        let kept = serde_json::from_str(&own).unwrap();
        let outcome = execute(&step(json!({"after": "1h"}), kept, NOON, data()));
        assert_eq!(outcome.wake_at_ms, NOON + 2_000);
        let error = runtime(r#"{"after": "later"}"#).unwrap_err();
        assert!(error.message.contains("later"), "{error}");
    }

    #[test]
    fn a_state_is_checked_at_import() {
        let faults = |state: Value| WaitUntil.validate_state(&state.to_string()).unwrap();
        for good in [
            json!({}),
            json!({"until": "2026-01-01T12:00:00Z"}),
            json!({"after": "90s"}),
            json!({"after": "90s", "until": null}),
        ] {
            assert!(faults(good.clone()).is_empty(), "{good}");
        }
        for bad in [
            json!({"until": "tomorrow"}),
            json!({"until": "2026-01-01T12:00:00"}),
            json!({"after": ""}),
            json!({"after": "1s", "until": "2026-01-01T12:00:00Z"}),
        ] {
            assert_eq!(faults(bad.clone()).len(), 1, "{bad}");
        }
    }
}
