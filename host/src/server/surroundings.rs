//! What requests are checked against: the step types and schedulers that are loaded, the tools that are installed.

use std::sync::Arc;

use barycenter_plugin_api::StepContext;
use serde_json::{Map, Value};

use crate::clock::Clock;
use crate::invocation_request::{FoundTool, Schedulers, StepTypes, Tools};
use crate::model::workflow::{INPUT_STEP_TYPES, StepDescription};
use crate::plugins::Plugins;
use crate::tools::Toolbox;

/// The loaded plugins, as requests see them.
#[derive(Clone)]
pub struct Surroundings {
    pub plugins: Arc<Plugins>,
    pub toolbox: Arc<Toolbox>,
    pub clock: Clock,
}

/// Step types that the server itself supplies, beside the input steps.
const OWN_STEP_TYPES: [&str; 2] = ["tool", "subworkflow"];

impl StepTypes for Surroundings {
    fn is_known(&self, step_type: &str) -> bool {
        OWN_STEP_TYPES.contains(&step_type)
            || INPUT_STEP_TYPES.contains(&step_type)
            || self.plugins.module(step_type).is_ok()
    }

    fn runtime_state(
        &self,
        step: &StepDescription,
        overrides: &Map<String, Value>,
    ) -> Result<Value, String> {
        let module = self.plugins.module(&step.step_type)?;
        let overrides = Value::Object(overrides.clone()).to_string();
        let state = module
            .get_runtime_state(&step.tool_inputs.to_string(), &overrides)
            .map_err(|error| error.to_string())?;
        Ok(serde_json::from_str(&state).unwrap_or_default())
    }
}

impl Schedulers for Surroundings {
    fn default_id(&self) -> String {
        self.plugins.default_scheduler_id().to_owned()
    }

    fn is_known(&self, id: &str) -> bool {
        self.plugins.scheduler(id).is_some()
    }
}

impl Tools for Surroundings {
    /// Tools of the toolbox only; what users define is found elsewhere.
    fn find(&self, step: &StepDescription, dynamic_tool_id: Option<i64>) -> Option<FoundTool> {
        if dynamic_tool_id.is_some() {
            return None;
        }
        let found = self
            .toolbox
            .get(step.tool_id.as_deref()?, step.tool_version.as_deref())?;
        Some(FoundTool {
            tool: found.tool,
            exact: found.exact,
        })
    }
}

impl Surroundings {
    /// The value to store for a person's action on a step (Galaxy: do_invocation_step_action), or one sentence
    /// why the step takes none such. Calls the step's plugin, so it may block.
    pub fn step_action(&self, step: &StepDescription, action: &Value) -> Result<Value, String> {
        if OWN_STEP_TYPES.contains(&step.step_type.as_str()) || step.is_input_step() {
            return Err(format!(
                "A step of type {} takes no actions.",
                step.step_type
            ));
        }
        let module = self.plugins.module(&step.step_type)?;
        let context = StepContext {
            order_index: u32::try_from(step.order_index).unwrap_or(u32::MAX),
            label: step.label.clone().unwrap_or_default().into(),
            state_json: step.tool_inputs.to_string().into(),
            runtime_state_json: "{}".into(),
            action_json: "null".into(),
            now_ms: self.clock.now_ms(),
            ..StepContext::default()
        };
        let stored = module
            .do_invocation_step_action(&context, &action.to_string())
            .map_err(|error| error.to_string())?;
        Ok(serde_json::from_str(&stored).unwrap_or_default())
    }
}
