//! Why a request is refused.

use serde_json::Value;

/// One sentence for the caller, its kind, and what else they are told.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct RequestError {
    pub kind: Kind,
    pub message: String,
    /// Galaxy's `err_data`: faults by order_index.
    pub err_data: Option<Value>,
}

/// What HTTP status and code a refusal has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 400 0.
    Message,
    /// 400 400007.
    Missing,
    /// 400 400008.
    Invalid,
    /// 400 400009.
    MalformedId,
    /// 404 404001.
    NotFound,
}

impl RequestError {
    pub(super) fn new(kind: Kind, message: impl Into<String>) -> RequestError {
        RequestError {
            kind,
            message: message.into(),
            err_data: None,
        }
    }

    pub(super) fn message(message: impl Into<String>) -> RequestError {
        RequestError::new(Kind::Message, message)
    }

    pub(super) fn invalid(message: impl Into<String>) -> RequestError {
        RequestError::new(Kind::Invalid, message)
    }

    pub(super) fn with_data(mut self, data: Value) -> RequestError {
        self.err_data = Some(data);
        self
    }
}
