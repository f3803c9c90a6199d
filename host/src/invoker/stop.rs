//! How the work on a step ends other than well (Galaxy's control signals: Delayed, Cancel, Fail).

use crate::model::message::{InvocationMessage, reason};

/// Something an invocation waits for. When it happens, whoever makes it happen raises the invocation's signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Wait {
    /// A dataset's bytes (by dataset id).
    Dataset(i64),
    /// The end of a job.
    Job(i64),
    /// A person's decision on a step; the answer itself raises the signal.
    Review,
    /// An instant, in milliseconds.
    Until(i64),
    /// The rest of this invocation's own work: look again at once.
    Budget,
    /// Another step of the same invocation, which waits for something itself.
    Step,
    /// The scheduler's word; it asks for another look by itself.
    Scheduler,
}

/// Why a step could not be taken further now.
#[derive(Debug, Clone, PartialEq)]
pub enum Stop {
    /// Later, when `waits` happened.
    Delayed { why: String, waits: Vec<Wait> },
    /// Never: the invocation fails with this message.
    Fail(Box<InvocationMessage>),
    /// The invocation is to be cancelled with this message.
    Cancel(Box<InvocationMessage>),
}

impl Stop {
    /// A delay that ends with one thing.
    pub fn delayed(why: impl Into<String>, wait: Wait) -> Stop {
        Stop::Delayed {
            why: why.into(),
            waits: vec![wait],
        }
    }

    /// A failure with its message.
    pub fn fail(message: InvocationMessage) -> Stop {
        Stop::Fail(Box::new(message))
    }

    /// A cancellation with its message.
    pub fn cancel(message: InvocationMessage) -> Stop {
        Stop::Cancel(Box::new(message))
    }

    /// A failure with a sentence that the workflow's owner may read.
    pub fn unexpected(workflow_step_id: i64, details: impl Into<String>) -> Stop {
        Stop::fail(InvocationMessage {
            reason: reason::UNEXPECTED_FAILURE,
            workflow_step_id: Some(workflow_step_id),
            details: Some(details.into()),
            ..Default::default()
        })
    }

    /// A parameter that the tool or module refuses.
    pub fn invalid_parameter(workflow_step_id: i64, details: impl Into<String>) -> Stop {
        Stop::fail(InvocationMessage {
            reason: reason::WORKFLOW_PARAMETER_INVALID,
            workflow_step_id: Some(workflow_step_id),
            details: Some(details.into()),
            ..Default::default()
        })
    }
}
