//! Why a command ended badly.

use std::io;

pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// What went wrong, told to the person at the terminal.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Ctrl-C or SIGTERM: nothing is wrong, somebody wants it to end.
    #[error("interrupted")]
    Interrupted,
    #[error("could not {action}: {source}")]
    Io { action: String, source: io::Error },
    /// The server could not be reached or its answer could not be read.
    #[error("{method} {path}: {problem}")]
    Call {
        method: &'static str,
        path: String,
        problem: String,
    },
    #[error("{0}")]
    Told(String),
}

impl Failure {
    /// For `map_err`: names what was being done.
    pub fn during(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }

    pub fn told(sentence: impl Into<String>) -> Self {
        Self::Told(sentence.into())
    }
}
