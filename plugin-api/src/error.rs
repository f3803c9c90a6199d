//! How a plugin says no.

use crate::code::codes;
use crate::values::{Attr, List, Text};
use abi_stable::StableAbi;
use serde::{Deserialize, Serialize};

codes! {
    /// Why a call failed. Unknown codes are treated as [`ErrorCode::FAILED`].
    ErrorCode {
        /// The plugin tried and could not.
        FAILED = 0, "failed";
        /// The plugin panicked; `location` says where.
        PANICKED = 1, "panicked";
        /// The caller asked for something that the plugin does not do.
        REFUSED = 2, "refused";
        /// What was passed in makes no sense to the plugin (a configuration, a state, an action).
        INVALID = 3, "invalid";
    }
}

/// The error of one call into a plugin.
///
/// Any `std::error::Error` converts into it with `?`. It does not implement `std::error::Error`
/// itself, which is what makes that conversion possible.
#[repr(C)]
#[derive(StableAbi, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct PluginError {
    /// Which sort of failure.
    pub code: ErrorCode,
    /// One sentence for people.
    pub message: Text,
    /// `file:line` of a panic, else empty.
    pub location: Text,
    /// Additions of later minor versions.
    pub attrs: List<Attr>,
}

impl PluginError {
    /// The plugin tried and could not.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::FAILED, message)
    }

    /// The plugin does not do this.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::REFUSED, message)
    }

    /// The plugin cannot make sense of what it was given.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::INVALID, message)
    }

    /// An error with this code.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into().into(),
            ..Self::default()
        }
    }
}

impl std::fmt::Display for PluginError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)?;
        if !self.location.is_empty() {
            write!(f, " (at {})", self.location)?;
        }
        Ok(())
    }
}

impl<E: std::error::Error> From<E> for PluginError {
    /// The error and its causes, joined by colons.
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            message.push_str(": ");
            message.push_str(&error.to_string());
            cause = error.source();
        }
        Self::failed(message)
    }
}
