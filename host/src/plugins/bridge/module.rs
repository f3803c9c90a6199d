//! A workflow module.

use super::{WORK, identity_accessors};
use crate::plugins::failure::PluginCallError;
use crate::plugins::methods::{self, ActionRequest, Method, RuntimeStateRequest};
use crate::plugins::probation::Probation;
use crate::plugins::stats::MethodStats;
use crate::plugins::supervision::Supervision;
use crate::plugins::transport::Caller;
use barycenter_plugin_api::{
    Diagnostic, ModuleDescription, Severity, StepContext, StepOutcome, Text,
};
use std::sync::Arc;

/// A workflow module. Cheap to clone.
#[derive(Clone)]
pub struct ModuleInstance(Arc<ModuleInner>);

/// Faults of one step's state that are told.
const PROBLEMS_MAX: usize = 5;

struct ModuleInner {
    caller: Caller,
    description: ModuleDescription,
    /// Made of the description's schema.
    state_validator: Option<jsonschema::Validator>,
    probation: Probation<ModuleInstance>,
}

impl ModuleInstance {
    identity_accessors!();

    pub(in crate::plugins) fn new(caller: Caller) -> Result<Self, PluginCallError> {
        let description = caller.call::<methods::Describe>(&())?;
        if description.type_id != caller.type_id.as_str() {
            let fault = format!("it describes the type `{}`", description.type_id);
            return Err(caller.invalid("describe", vec![fault]));
        }
        let validator = match description.state_schema.trim() {
            "" => Ok(None),
            schema => serde_json::from_str(schema)
                .map_err(|error| error.to_string())
                .and_then(|schema| {
                    jsonschema::validator_for(&schema).map_err(|error| error.to_string())
                })
                .map(Some),
        };
        let state_validator = validator.map_err(|error| {
            let fault = format!("its schema of a step's state is broken: {error}");
            caller.invalid("describe", vec![fault])
        })?;
        Ok(Self(Arc::new(ModuleInner {
            caller,
            description,
            state_validator,
            probation: Probation::default(),
        })))
    }

    /// What the step type is called and which terminals it has.
    pub fn description(&self) -> &ModuleDescription {
        &self.0.description
    }

    /// Everything that is wrong with a step's state: by the schema of the description, then by the module itself.
    pub fn problems(&self, state: &serde_json::Value) -> Result<Vec<String>, PluginCallError> {
        let mut problems = Vec::new();
        if let Some(validator) = &self.0.state_validator {
            for error in validator.iter_errors(state).take(PROBLEMS_MAX) {
                let at = error.instance_path().as_str().trim_start_matches('/');
                problems.push(match at {
                    "" => error.to_string(),
                    at => format!("{}: {error}", at.replace('/', ".")),
                });
            }
        }
        // What does not even fit the schema the module need not understand.
        if problems.is_empty() {
            let found = self.validate_state(&state.to_string())?;
            let bad = found
                .into_iter()
                .filter(|one| one.severity != Severity::WARNING);
            problems.extend(bad.take(PROBLEMS_MAX).map(|one| one.text.into_string()));
        }
        Ok(problems)
    }

    /// Checks a step's state at import.
    pub fn validate_state(&self, state_json: &str) -> Result<Vec<Diagnostic>, PluginCallError> {
        let found = self.tried("validate_state", |one| {
            one.0.caller.call::<methods::ValidateState>(state_json)
        })?;
        Ok(found.into())
    }

    /// The runtime state to persist, as JSON text.
    pub fn get_runtime_state(
        &self,
        state_json: &str,
        overrides_json: &str,
    ) -> Result<String, PluginCallError> {
        self.json::<methods::GetRuntimeState>(&RuntimeStateRequest {
            state_json: state_json.to_owned(),
            overrides_json: overrides_json.to_owned(),
        })
    }

    /// The runtime state from its persisted form, as JSON text.
    pub fn recover_runtime_state(&self, stored_json: &str) -> Result<String, PluginCallError> {
        self.json::<methods::RecoverRuntimeState>(stored_json)
    }

    /// The step is reached.
    pub fn execute(&self, step: &StepContext) -> Result<StepOutcome, PluginCallError> {
        self.outcome::<methods::Execute>(step)
    }

    /// The step is scheduled already: what are its outputs?
    pub fn recover_mapping(&self, step: &StepContext) -> Result<StepOutcome, PluginCallError> {
        self.outcome::<methods::RecoverMapping>(step)
    }

    /// A user asks something of the waiting step; the JSON text to store as its action.
    pub fn do_invocation_step_action(
        &self,
        step: &StepContext,
        action_json: &str,
    ) -> Result<String, PluginCallError> {
        self.json::<methods::DoInvocationStepAction>(&ActionRequest {
            step: step.clone(),
            action_json: action_json.to_owned(),
        })
    }

    fn json<M: Method<Answer = Text>>(
        &self,
        request: &M::Request,
    ) -> Result<String, PluginCallError> {
        self.tried(M::NAME, |one| one.json_alone::<M>(request))
    }

    fn json_alone<M: Method<Answer = Text>>(
        &self,
        request: &M::Request,
    ) -> Result<String, PluginCallError> {
        let text: String = self.0.caller.call::<M>(request)?.into();
        match serde_json::from_str::<serde::de::IgnoredAny>(&text) {
            Ok(_) => Ok(text),
            Err(error) => {
                let fault = format!("it is not JSON: {error}");
                Err(self.0.caller.invalid(M::NAME, vec![fault]))
            }
        }
    }

    fn outcome<M: Method<Request = StepContext, Answer = StepOutcome>>(
        &self,
        step: &StepContext,
    ) -> Result<StepOutcome, PluginCallError> {
        self.tried(M::NAME, |one| one.outcome_alone::<M>(step))
    }

    /// Outputs must be those of the description, each at most once.
    fn outcome_alone<M: Method<Request = StepContext, Answer = StepOutcome>>(
        &self,
        step: &StepContext,
    ) -> Result<StepOutcome, PluginCallError> {
        let outcome = self.0.caller.call::<M>(step)?;
        let known = |name: &str| {
            self.0
                .description
                .outputs
                .iter()
                .any(|output| output.name == name)
        };
        let mut faults = Vec::new();
        for (at, output) in outcome.outputs.iter().enumerate() {
            if !known(&output.name) {
                faults.push(format!("it has no output `{}`", output.name));
            } else if outcome.outputs[..at]
                .iter()
                .any(|other| other.name == output.name)
            {
                faults.push(format!("output `{}` is given twice", output.name));
            }
        }
        if faults.is_empty() {
            Ok(outcome)
        } else {
            Err(self.0.caller.invalid(M::NAME, faults))
        }
    }
}
