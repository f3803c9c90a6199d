//! How the work on a step ends other than well (Galaxy's control signals: Delayed, Cancel, Fail).

use crate::model::message::{InvocationMessage, reason};
use crate::tools::expression::AWAY_AGAIN_MS;

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
    /// The machine has none of something that it may have again soon; looking again is the only way to know.
    Machine,
}

impl Wait {
    /// When it is over by the clock alone.
    pub fn until(self, now: i64) -> Option<i64> {
        match self {
            Wait::Until(at) => Some(at),
            Wait::Machine => Some(now + AWAY_AGAIN_MS),
            _ => None,
        }
    }
}

/// Why a step could not be taken further now.
#[derive(Debug, Clone, PartialEq)]
pub enum Stop {
    /// Later, when `waits` happened.
    Delayed { why: String, waits: Vec<Wait> },
    /// Later, as the machine lacks something that the step needs. Nothing is known of the step by that. `code` and `why` are for
    /// its owner, who can do nothing but wait.
    Lacking {
        code: &'static str,
        why: &'static str,
    },
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_tells_of_is_looked_at_again_by_the_clock() {
        assert_eq!(Wait::Until(7).until(1_000), Some(7));
        assert_eq!(Wait::Machine.until(1_000), Some(3_000));
        assert_eq!(Wait::Budget.until(1_000), None);
        assert_eq!(Wait::Dataset(7).until(1_000), None);
    }
}
