//! An invocation as it is asked for: everything that scheduling in the background needs later, by database id.

use serde_json::Value;
use uuid::Uuid;

use super::state::InvocationState;

/// An invocation that does not exist yet, with those of its subworkflow steps.
#[derive(Debug, Clone, PartialEq)]
pub struct NewInvocation {
    /// Version 1, as Galaxy's are.
    pub uuid: Uuid,
    /// The revision.
    pub workflow_id: i64,
    pub history_id: i64,
    pub user_id: i64,
    /// `new`, or `requires_materialization` when an input was given as a URL.
    pub state: InvocationState,
    /// None for a child: it is scheduled with its parent.
    pub scheduler: Option<String>,
    /// None for a child.
    pub handler: Option<String>,
    /// List of single-key objects.
    pub on_complete: Option<Value>,
    pub parameters: Vec<RequestParameter>,
    /// Encoded runtime state of each step, by step id; exactly one per step.
    pub step_states: Vec<(i64, Value)>,
    pub input_datasets: Vec<RequestInput>,
    pub input_collections: Vec<RequestInput>,
    /// Values of `parameter_input` steps.
    pub input_parameters: Vec<(i64, Value)>,
    /// The invocation inside each subworkflow step, by step id.
    pub children: Vec<(i64, NewInvocation)>,
}

impl NewInvocation {
    /// Steps of this invocation and of all inside it.
    pub fn total_steps(&self) -> usize {
        let inner = self.children.iter().map(|(_, child)| child.total_steps());
        self.step_states.len() + inner.sum::<usize>()
    }
}

/// Galaxy's WorkflowRequestInputParameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestParameter {
    pub kind: RequestParameterKind,
    /// For [`RequestParameterKind::Step`] the decimal id of the step.
    pub name: String,
    pub value: String,
    /// Only for [`RequestParameterKind::Step`].
    pub step_id: Option<i64>,
}

/// What a request parameter is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RequestParameterKind {
    Replacement,
    /// Overrides of a step's parameters, as JSON.
    Step,
    Meta,
    Resource,
}

impl RequestParameterKind {
    /// The word that is stored.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Replacement => "replacements",
            Self::Step => "step",
            Self::Meta => "meta",
            Self::Resource => "resource",
        }
    }

    /// The kind a stored word means.
    pub fn from_code(code: &str) -> Option<Self> {
        [Self::Replacement, Self::Step, Self::Meta, Self::Resource]
            .into_iter()
            .find(|kind| kind.code() == code)
    }
}

/// A dataset or collection given to an input step.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestInput {
    pub step_id: i64,
    pub name: Option<String>,
    /// Of the HDA or HDCA.
    pub item_id: i64,
    /// The source as it was sent, when it was a URL.
    pub request: Option<Value>,
}

/// Names of `meta` parameters.
pub mod meta {
    pub const COPY_INPUTS_TO_HISTORY: &str = "copy_inputs_to_history";
    pub const USE_CACHED_JOB: &str = "use_cached_job";
    pub const EFFECTIVE_OUTPUTS: &str = "effective_outputs";
    pub const OBJECT_STORE: &str = "preferred_object_store_id";
    pub const OUTPUTS_OBJECT_STORE: &str = "preferred_outputs_object_store_id";
    pub const INTERMEDIATE_OBJECT_STORE: &str = "preferred_intermediate_object_store_id";
    /// Sentences about what of the request was ignored, as a JSON list (Barycenter's own).
    pub const WARNINGS: &str = "warnings";
}
