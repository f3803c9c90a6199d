//! Workflow modules: what a step of a certain type is and does.

use crate::code::codes;
use crate::values::{Attr, List, Text};
use crate::{Plugin, PluginError};
use abi_stable::StableAbi;
use serde::{Deserialize, Serialize};

/// A workflow step type.
///
/// Methods keep the names and the meaning of Galaxy's workflow modules. They may be called from
/// several threads at once, for different steps; what happens between two passes belongs in the
/// values, not in the object.
pub trait WorkflowModule: Plugin + Send + Sync {
    /// What the type is called and which terminals it has. Asked once, after `create`.
    fn describe(&self) -> ModuleDescription;

    /// Checks a step's state when a workflow is imported. The default accepts everything that
    /// fits the description's JSON Schema, which the host has checked before.
    fn validate_state(&self, _state_json: &str) -> Result<List<Diagnostic>, PluginError> {
        Ok(List::new())
    }

    /// The runtime state, as JSON text, to persist with a request. `overrides_json` holds what
    /// the request says for this step (`null` when nothing). The default is the empty object.
    fn get_runtime_state(
        &self,
        _state_json: &str,
        _overrides_json: &str,
    ) -> Result<Text, PluginError> {
        Ok("{}".into())
    }

    /// The runtime state, from its persisted JSON text. The default returns it as it is.
    fn recover_runtime_state(&self, stored_json: &str) -> Result<Text, PluginError> {
        Ok(stored_json.into())
    }

    /// Called the first time that the step is reached, and again until it answers
    /// [`StepStatus::SCHEDULED`] or [`StepStatus::SCHEDULED_OUTPUTS_DELAYED`].
    fn execute(&self, step: &StepContext) -> Result<StepOutcome, PluginError>;

    /// Called on later passes, once the step is scheduled: says again what its outputs are.
    fn recover_mapping(&self, step: &StepContext) -> Result<StepOutcome, PluginError>;

    /// Checks what a user asks of the waiting step and returns the JSON text to store as the
    /// step's action. The default refuses: most types take no actions.
    fn do_invocation_step_action(
        &self,
        _step: &StepContext,
        _action_json: &str,
    ) -> Result<Text, PluginError> {
        Err(PluginError::refused("This step type takes no actions"))
    }
}

/// A step type as people and the importer see it.
#[repr(C)]
#[derive(StableAbi, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct ModuleDescription {
    /// The type as workflows spell it, e.g. `pause`. Must be the exported plugin type.
    pub type_id: Text,
    /// The name in lists, e.g. "Pause for dataset review".
    pub name: Text,
    /// A sentence or two.
    pub description: Text,
    /// What can be connected to it.
    pub inputs: List<TerminalDescription>,
    /// What it offers.
    pub outputs: List<TerminalDescription>,
    /// The JSON Schema of a step's state, empty for anything.
    pub state_schema: Text,
    /// The step only passes a request's data on (Galaxy's input steps).
    pub data_only: bool,
    /// Listed only where beta modules are shown.
    pub beta: bool,
    /// Additions of later minor versions.
    pub attrs: List<Attr>,
}

/// An input or output of a step.
#[repr(C)]
#[derive(StableAbi, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct TerminalDescription {
    /// The name that connections use.
    pub name: Text,
    /// What people read.
    pub label: Text,
    /// `dataset`, `dataset_collection` or `parameter`.
    pub kind: Text,
    /// The datatypes, e.g. `txt`; `input` on an output means "as the input".
    pub extensions: List<Text>,
    /// Takes several connections.
    pub multiple: bool,
    /// May stay unconnected.
    pub optional: bool,
    /// Additions of later minor versions.
    pub attrs: List<Attr>,
}

codes! {
    /// How bad a diagnostic is. Unknown codes are treated as [`Severity::ERROR`].
    Severity {
        /// The workflow cannot be used like this.
        ERROR = 0, "error";
        /// It can, but somebody should know.
        WARNING = 1, "warning";
    }
}

/// Something to say about a step's state.
#[repr(C)]
#[derive(StableAbi, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct Diagnostic {
    /// How bad.
    pub severity: Severity,
    /// Where in the state, as a JSON pointer.
    pub path: Text,
    /// A short word for machines.
    pub code: Text,
    /// A sentence for people.
    pub text: Text,
    /// Additions of later minor versions.
    pub attrs: List<Attr>,
}

/// One step of one invocation, at one moment.
#[repr(C)]
#[derive(StableAbi, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct StepContext {
    /// The invocation's public identity.
    pub invocation_uuid: Text,
    /// The step's place in the workflow.
    pub order_index: u32,
    /// The label, empty when it has none.
    pub label: Text,
    /// The step's state as JSON text.
    pub state_json: Text,
    /// What [`WorkflowModule::recover_runtime_state`] made of the persisted runtime state.
    pub runtime_state_json: Text,
    /// The stored action as JSON text; `null` while there is none.
    pub action_json: Text,
    /// The host's clock, milliseconds since 1970.
    pub now_ms: i64,
    /// The described inputs and what arrives at them.
    pub inputs: List<StepInputValue>,
    /// Additions of later minor versions.
    pub attrs: List<Attr>,
}

impl StepContext {
    /// What arrives at the input with this name; unconnected when the step has no such input.
    pub fn input(&self, name: &str) -> ValueRef {
        self.inputs
            .iter()
            .find(|input| input.name == name)
            .map(|input| input.value.clone())
            .unwrap_or_default()
    }

    /// The stored action; JSON `null` while there is none.
    pub fn action(&self) -> serde_json::Value {
        serde_json::from_str(&self.action_json).unwrap_or_default()
    }
}

/// What arrives at an input.
#[repr(C)]
#[derive(StableAbi, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct StepInputValue {
    /// The input's name.
    pub name: Text,
    /// What arrives.
    pub value: ValueRef,
    /// Additions of later minor versions.
    pub attrs: List<Attr>,
}

codes! {
    /// What a [`ValueRef`] refers to. Unknown codes are treated as an opaque value that can only
    /// be passed on.
    ValueKind {
        /// Nothing is connected.
        UNCONNECTED = 0, "unconnected";
        /// A dataset.
        HDA = 1, "hda";
        /// A dataset collection.
        HDCA = 2, "hdca";
        /// A JSON value, in `json`.
        JSON = 3, "json";
        /// Galaxy's "no replacement": as if nothing were connected.
        NO_REPLACEMENT = 4, "no_replacement";
        /// Not known yet.
        DELAYED = 5, "delayed";
    }
}

/// A value on its way between two steps.
#[repr(C)]
#[derive(StableAbi, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct ValueRef {
    /// What it is.
    pub kind: ValueKind,
    /// Names the object for the host. Opaque; handing it back passes on the very same object.
    pub token: Text,
    /// For [`ValueKind::JSON`] the value; for datasets and collections what may be known about
    /// them; else empty.
    pub json: Text,
    /// Additions of later minor versions.
    pub attrs: List<Attr>,
}

impl ValueRef {
    /// A JSON value.
    pub fn json(value: &serde_json::Value) -> Self {
        Self {
            kind: ValueKind::JSON,
            json: value.to_string().into(),
            ..Self::default()
        }
    }

    /// A value that is not known yet.
    pub fn delayed() -> Self {
        Self {
            kind: ValueKind::DELAYED,
            ..Self::default()
        }
    }
}

codes! {
    /// Where a step stands after a call. Unknown codes are treated as [`StepStatus::FAIL`].
    StepStatus {
        /// Not ready; call again on the next pass. Its outputs are delayed, and so is the pass.
        DELAYED = 0, "delayed";
        /// Done; `outputs` holds its values.
        SCHEDULED = 1, "scheduled";
        /// Done as far as the pass is concerned, but its outputs are delayed. The pass is not
        /// marked delayed by this; steps that use the outputs are.
        SCHEDULED_OUTPUTS_DELAYED = 2, "scheduled_outputs_delayed";
        /// The invocation fails, for `reason` and `text`.
        FAIL = 3, "fail";
        /// The invocation is cancelled, for `reason` and `text`.
        CANCEL = 4, "cancel";
    }
}

/// What a step answers.
#[repr(C)]
#[derive(StableAbi, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct StepOutcome {
    /// Where it stands.
    pub status: StepStatus,
    /// Its output values, for [`StepStatus::SCHEDULED`].
    pub outputs: List<NamedValue>,
    /// For fail and cancel: Galaxy's message reason, e.g. `cancelled_on_review`.
    pub reason: Text,
    /// Why, for people, e.g. "waiting for review".
    pub text: Text,
    /// Look at it again at this time at the latest; 0 for when something changes.
    pub wake_at_ms: i64,
    /// Additions of later minor versions.
    pub attrs: List<Attr>,
}

/// An output and its value.
#[repr(C)]
#[derive(StableAbi, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct NamedValue {
    /// The output's name.
    pub name: Text,
    /// Its value.
    pub value: ValueRef,
    /// Additions of later minor versions.
    pub attrs: List<Attr>,
}

impl StepOutcome {
    /// Done, with one output value.
    pub fn output(name: &str, value: ValueRef) -> Self {
        let output = NamedValue {
            name: name.into(),
            value,
            ..NamedValue::default()
        };
        Self {
            status: StepStatus::SCHEDULED,
            outputs: vec![output].into(),
            ..Self::default()
        }
    }

    /// The attribute of [`StepOutcome::with_runtime_state`].
    pub const RUNTIME_STATE: &'static str = "runtime_state";

    /// Has the host keep this state of a step that is not ready, in the place of what
    /// [`WorkflowModule::get_runtime_state`] gave: the next [`WorkflowModule::execute`] finds it in
    /// [`StepContext::runtime_state_json`], also after a restart. A host of 1.0 keeps nothing.
    #[must_use]
    pub fn with_runtime_state(mut self, state: &serde_json::Value) -> Self {
        self.attrs.push(Attr::json(Self::RUNTIME_STATE, state));
        self
    }

    /// Looks at the step again at this time at the latest, milliseconds since 1970.
    #[must_use]
    pub fn with_wake(mut self, wake_at_ms: i64) -> Self {
        self.wake_at_ms = wake_at_ms;
        self
    }

    /// Not ready, for this reason.
    pub fn delayed(text: &str) -> Self {
        Self {
            status: StepStatus::DELAYED,
            text: text.into(),
            ..Self::default()
        }
    }

    /// Scheduled, with outputs that are not known yet.
    pub fn outputs_delayed(text: &str) -> Self {
        Self {
            status: StepStatus::SCHEDULED_OUTPUTS_DELAYED,
            text: text.into(),
            ..Self::default()
        }
    }

    /// Fails the invocation.
    pub fn fail(reason: &str, text: &str) -> Self {
        Self {
            status: StepStatus::FAIL,
            reason: reason.into(),
            text: text.into(),
            ..Self::default()
        }
    }

    /// Cancels the invocation.
    pub fn cancel(reason: &str, text: &str) -> Self {
        Self {
            status: StepStatus::CANCEL,
            ..Self::fail(reason, text)
        }
    }
}
