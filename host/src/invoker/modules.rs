//! The step types that plugins supply, as the invoker asks them (Galaxy's WorkflowModule).

use std::collections::HashMap;

use serde_json::Value;
use uuid::Uuid;

use super::known::StepValue;
use super::stop::{Stop, Wait};
use crate::model::message::{InvocationMessage, reason};
use crate::model::workflow::StepDescription;

/// What a plugin's module is asked about.
#[derive(Debug)]
pub struct ModuleCall<'a> {
    pub invocation_uuid: Uuid,
    pub step: &'a StepDescription,
    pub runtime_state: Value,
    pub action: Option<Value>,
    pub inputs: Vec<(String, ModuleInput)>,
}

/// What feeds an input of a module.
#[derive(Debug, Clone, PartialEq)]
pub enum ModuleInput {
    Value(StepValue),
    Delayed,
    Unconnected,
}

/// What a module answers.
#[derive(Debug, Clone, PartialEq)]
pub enum ModuleOutcome {
    Scheduled(HashMap<String, StepValue>),
    /// The step is done, its outputs are not: whoever needs them waits.
    OutputsDelayed {
        wait: Wait,
    },
    Delayed {
        why: String,
        wait: Wait,
        /// What the module wants to find again at its next look.
        state: Option<Value>,
    },
    /// Nobody could be asked: the step is as it was, and is looked at again. `why` is for the owner.
    Absent {
        why: String,
        code: String,
        again_at_ms: i64,
    },
    Fail {
        reason: String,
        text: String,
    },
    Cancel {
        reason: String,
        text: String,
    },
}

/// The step types that plugins supply.
pub trait Modules {
    fn execute(&self, call: &ModuleCall<'_>) -> Result<ModuleOutcome, String>;
    fn recover_mapping(&self, call: &ModuleCall<'_>) -> Result<ModuleOutcome, String>;
}

/// Step types whose modules are part of the host.
pub fn is_host_type(step_type: &str) -> bool {
    matches!(
        step_type,
        "data_input"
            | "data_collection_input"
            | "parameter_input"
            | "tool"
            | "subworkflow"
            | "pick_value"
    )
}

fn module_message(step_id: i64, wanted: &str, text: String) -> InvocationMessage {
    let reason = reason::ALL
        .iter()
        .find(|r| **r == wanted)
        .copied()
        .unwrap_or(reason::UNEXPECTED_FAILURE);
    InvocationMessage {
        reason,
        workflow_step_id: Some(step_id),
        details: (!text.is_empty()).then_some(text),
        ..Default::default()
    }
}

pub(super) fn module_fail(step_id: i64, reason: &str, text: String) -> Stop {
    Stop::fail(module_message(step_id, reason, text))
}

pub(super) fn module_cancel(step_id: i64, reason: &str, text: String) -> Stop {
    Stop::cancel(module_message(step_id, reason, text))
}
