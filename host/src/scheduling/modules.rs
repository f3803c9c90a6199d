//! Between the invoker's step types and the plugins that supply them: values out, values in. A plugin sees datasets as
//! opaque tokens and can only hand back what it was given.

use std::collections::HashMap;
use std::sync::Arc;

use barycenter_plugin_api::{
    NamedValue, StepContext, StepInputValue, StepOutcome, StepStatus, ValueKind, ValueRef,
};
use serde_json::Value;

use super::absence::Absence;
use crate::clock::Clock;
use crate::invoker::known::StepValue;
use crate::invoker::modules::{ModuleCall, ModuleInput, ModuleOutcome, Modules};
use crate::invoker::stop::Wait;
use crate::plugins::{ModuleInstance, PluginCallError, Plugins, WORD_MAX, tame};

/// The step types of the loaded plugins.
pub struct PluginModules {
    pub plugins: Arc<Plugins>,
    pub clock: Clock,
}

const WHAT: &str = "workflow module";
/// A module that is not there is asked again after this time.
const ASK_AGAIN_MS: i64 = 1_000;

impl Modules for PluginModules {
    fn execute(&self, call: &ModuleCall<'_>) -> Result<ModuleOutcome, String> {
        self.ask(call, |module, context| {
            if call.runtime_state.is_null() {
                return module.execute(context);
            }
            let recovered = module.recover_runtime_state(&context.runtime_state_json)?;
            module.execute(&StepContext {
                runtime_state_json: recovered.into(),
                ..context.clone()
            })
        })
    }

    fn recover_mapping(&self, call: &ModuleCall<'_>) -> Result<ModuleOutcome, String> {
        self.ask(call, ModuleInstance::recover_mapping)
    }
}

impl PluginModules {
    fn ask(
        &self,
        call: &ModuleCall<'_>,
        method: impl FnOnce(&ModuleInstance, &StepContext) -> Result<StepOutcome, PluginCallError>,
    ) -> Result<ModuleOutcome, String> {
        let context = context(call, self.clock.now_ms());
        let step_type = &call.step.step_type;
        let module = match self.plugins.module(step_type) {
            Ok(module) => module,
            Err(missing) => {
                return match self.plugins.disabled_module(step_type) {
                    Some(why) => Ok(self.absent(Absence::disabled(WHAT, step_type, why))),
                    None => Err(missing),
                };
            }
        };
        match method(&module, &context) {
            Ok(answer) => outcome(answer, call),
            // That it is gone says nothing about the step.
            Err(error) if error.is_absence() => {
                tracing::warn!(
                    plugin = module.id(),
                    invocation.uuid = %call.invocation_uuid,
                    "a step waits: {error}"
                );
                let state = module.supervision().status().state;
                Ok(self.absent(Absence::of(WHAT, step_type, state, &error)))
            }
            Err(error) => Err(error.to_string()),
        }
    }

    fn absent(&self, absence: Absence) -> ModuleOutcome {
        ModuleOutcome::Absent {
            why: absence.text,
            code: absence.code,
            again_at_ms: self.clock.now_ms() + ASK_AGAIN_MS,
        }
    }
}

/// What a plugin is told of a step.
pub fn context(call: &ModuleCall<'_>, now_ms: i64) -> StepContext {
    StepContext {
        invocation_uuid: call.invocation_uuid.to_string().into(),
        order_index: call.step.order_index as u32,
        label: call.step.label.clone().unwrap_or_default().into(),
        state_json: call.step.tool_inputs.to_string().into(),
        runtime_state_json: call.runtime_state.to_string().into(),
        action_json: call
            .action
            .clone()
            .unwrap_or(Value::Null)
            .to_string()
            .into(),
        now_ms,
        inputs: call
            .inputs
            .iter()
            .map(|(name, input)| StepInputValue {
                name: name.as_str().into(),
                value: value_ref(input),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
}

fn value_ref(input: &ModuleInput) -> ValueRef {
    let of = |kind, token: String| ValueRef {
        kind,
        token: token.into(),
        ..Default::default()
    };
    match input {
        ModuleInput::Unconnected => ValueRef::default(),
        ModuleInput::Delayed => ValueRef::delayed(),
        ModuleInput::Value(StepValue::Hda(id)) => of(ValueKind::HDA, format!("hda:{id}")),
        ModuleInput::Value(StepValue::Hdca(id)) => of(ValueKind::HDCA, format!("hdca:{id}")),
        ModuleInput::Value(StepValue::Json(value)) => ValueRef::json(value),
        ModuleInput::Value(StepValue::NoReplacement) => {
            of(ValueKind::NO_REPLACEMENT, String::new())
        }
    }
}

fn outcome(answer: StepOutcome, call: &ModuleCall<'_>) -> Result<ModuleOutcome, String> {
    let (reason, text) = (tame(&answer.reason, 100), tame(&answer.text, WORD_MAX));
    Ok(match answer.status {
        StepStatus::SCHEDULED => {
            // A delayed input that is handed on delays whoever needs the output.
            if answer
                .outputs
                .iter()
                .any(|o| o.value.kind == ValueKind::DELAYED)
            {
                return Ok(ModuleOutcome::OutputsDelayed { wait: Wait::Step });
            }
            ModuleOutcome::Scheduled(outputs(&answer.outputs, call)?)
        }
        StepStatus::SCHEDULED_OUTPUTS_DELAYED => ModuleOutcome::OutputsDelayed {
            wait: wait(&answer, call),
        },
        StepStatus::FAIL => ModuleOutcome::Fail { reason, text },
        StepStatus::CANCEL => ModuleOutcome::Cancel { reason, text },
        StepStatus::DELAYED => ModuleOutcome::Delayed {
            why: text,
            wait: wait(&answer, call),
            state: runtime_state(&answer)?,
        },
        // A status of a later version: a failure, as the contract says.
        _ => {
            return Err(format!(
                "The workflow module {} answered with a status this server does not know.",
                call.step.step_type
            ));
        }
    })
}

/// What the module wants to find again, if it changed.
fn runtime_state(answer: &StepOutcome) -> Result<Option<Value>, String> {
    let state = answer
        .attrs
        .iter()
        .find(|a| a.name == StepOutcome::RUNTIME_STATE);
    state
        .map(|state| serde_json::from_str(&state.value))
        .transpose()
        .map_err(|_| "A workflow module wants a state to be kept that is not JSON.".to_owned())
}

/// What a delay waits for: an instant the plugin named, the step's own delayed input, or a person.
fn wait(answer: &StepOutcome, call: &ModuleCall<'_>) -> Wait {
    if answer.wake_at_ms > 0 {
        return Wait::Until(answer.wake_at_ms);
    }
    let decided = call.action.as_ref().is_some_and(|action| !action.is_null());
    let upstream = call
        .inputs
        .iter()
        .any(|(_, input)| *input == ModuleInput::Delayed);
    // A step that is not ready because what feeds it is not waits for that, and for nobody.
    if upstream && (decided || answer.status == StepStatus::DELAYED) {
        Wait::Step
    } else {
        Wait::Review
    }
}

fn outputs(
    named: &[NamedValue],
    call: &ModuleCall<'_>,
) -> Result<HashMap<String, StepValue>, String> {
    named
        .iter()
        .map(|output| Ok((output.name.to_string(), step_value(&output.value, call)?)))
        .collect()
}

fn step_value(value: &ValueRef, call: &ModuleCall<'_>) -> Result<StepValue, String> {
    let step_type = &call.step.step_type;
    match value.kind {
        ValueKind::JSON => serde_json::from_str(&value.json)
            .map(StepValue::Json)
            .map_err(|_| {
                format!("The workflow module {step_type} answered with a value that is not JSON.")
            }),
        ValueKind::NO_REPLACEMENT | ValueKind::UNCONNECTED => Ok(StepValue::NoReplacement),
        _ => call
            .inputs
            .iter()
            .find_map(|(_, input)| match input {
                ModuleInput::Value(given) if value_ref(input).token == value.token => {
                    Some(given.clone())
                }
                _ => None,
            })
            .ok_or_else(|| {
                format!("The workflow module {step_type} answered with a dataset it was not given.")
            }),
    }
}
