//! What an invocation tells its owner when something went other than planned
//! (Galaxy's invocation messages: reason and fields as in its WorkflowInvocationMessage).

/// One message. `reason` decides which of the other fields mean something.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InvocationMessage {
    pub reason: &'static str,
    pub details: Option<String>,
    pub output_name: Option<String>,
    /// Database id of the step that cannot go on; order_index in what clients see.
    pub workflow_step_id: Option<i64>,
    /// The step before it that is the cause.
    pub dependent_workflow_step_id: Option<i64>,
    pub job_id: Option<i64>,
    pub hda_id: Option<i64>,
    pub hdca_id: Option<i64>,
    pub history_id: Option<i64>,
    /// order_index of each enclosing subworkflow step, innermost first.
    pub step_index_path: Vec<usize>,
}

/// The reasons clients know.
pub mod reason {
    pub const USER_REQUEST: &str = "user_request";
    pub const HISTORY_DELETED: &str = "history_deleted";
    pub const CANCELLED_ON_REVIEW: &str = "cancelled_on_review";
    pub const DATASET_FAILED: &str = "dataset_failed";
    pub const COLLECTION_FAILED: &str = "collection_failed";
    pub const JOB_FAILED: &str = "job_failed";
    pub const OUTPUT_NOT_FOUND: &str = "output_not_found";
    pub const EXPRESSION_EVALUATION_FAILED: &str = "expression_evaluation_failed";
    pub const WHEN_NOT_BOOLEAN: &str = "when_not_boolean";
    pub const WORKFLOW_PARAMETER_INVALID: &str = "workflow_parameter_invalid";
    pub const STEP_INPUT_DELETED: &str = "step_input_deleted";
    pub const UNEXPECTED_FAILURE: &str = "unexpected_failure";
    pub const WORKFLOW_OUTPUT_NOT_FOUND: &str = "workflow_output_not_found";

    /// Every reason, so that a plugin's answer can be matched to one of them.
    pub const ALL: &[&str] = &[
        USER_REQUEST,
        HISTORY_DELETED,
        CANCELLED_ON_REVIEW,
        DATASET_FAILED,
        COLLECTION_FAILED,
        JOB_FAILED,
        OUTPUT_NOT_FOUND,
        EXPRESSION_EVALUATION_FAILED,
        WHEN_NOT_BOOLEAN,
        WORKFLOW_PARAMETER_INVALID,
        STEP_INPUT_DELETED,
        UNEXPECTED_FAILURE,
        WORKFLOW_OUTPUT_NOT_FOUND,
    ];

    /// The longest `details` that is stored.
    pub const DETAILS_MAX: usize = 255;
}
