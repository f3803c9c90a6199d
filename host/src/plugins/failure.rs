//! Why a call into a plugin gave nothing usable, in types.

use super::tame::{WORD_MAX, tame};
use barycenter_plugin_api::PluginError;
use std::time::Duration;

/// Why a call into a plugin gave nothing usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PluginCallError {
    /// It panicked.
    #[error("plugin {plugin} panicked in {method}: {message} (at {location})")]
    Panicked {
        /// The instance.
        plugin: String,
        /// What was called.
        method: &'static str,
        /// What the panic said.
        message: String,
        /// Where it happened.
        location: String,
    },
    /// It said no, or failed.
    #[error("plugin {plugin} could not {method}: {message}")]
    Refused {
        /// The instance.
        plugin: String,
        /// What was called.
        method: &'static str,
        /// What it said.
        message: String,
        /// What was passed in made no sense to it: the caller's fault, not the plugin's.
        bad_input: bool,
    },
    /// Its answer breaks a rule.
    #[error("plugin {plugin} gave an invalid answer to {method}: {}", faults.join("; "))]
    Invalid {
        /// The instance.
        plugin: String,
        /// What was called.
        method: &'static str,
        /// The rules.
        faults: Vec<String>,
    },
    /// It has not answered in time. Its process was ended; in the server's own process the call goes on and
    /// its thread is written off.
    #[error("plugin {plugin} did not answer {method} within {limit:?}")]
    TimedOut {
        /// The instance.
        plugin: String,
        /// What was called.
        method: &'static str,
        /// Its limit.
        limit: Duration,
    },
    /// Its process was lost during the call. Whether the call had an effect is not known.
    #[error("plugin {plugin} was lost in {method}: {loss}")]
    Lost {
        /// The instance.
        plugin: String,
        /// What was called.
        method: &'static str,
        /// How.
        loss: Loss,
    },
    /// It was not asked at all, as it is not there now: it is being started again, or stopped for good.
    #[error("plugin {plugin} is not available: {why}")]
    Unavailable {
        /// The instance.
        plugin: String,
        /// What was to be called.
        method: &'static str,
        /// Why, for people.
        why: String,
    },
}

impl PluginCallError {
    /// A word for the sort of failure, in recordings.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Panicked { .. } => "panicked",
            Self::Refused { .. } => "refused",
            Self::Invalid { .. } => "invalid",
            Self::TimedOut { .. } => "timed_out",
            Self::Lost { .. } => "lost",
            Self::Unavailable { .. } => "unavailable",
        }
    }

    /// Nobody knows whether the call had an effect, or it was not made: ask again once the plugin is back.
    pub fn is_absence(&self) -> bool {
        matches!(
            self,
            Self::Lost { .. } | Self::TimedOut { .. } | Self::Unavailable { .. }
        )
    }

    /// The plugin itself is broken, whatever it was asked.
    pub fn is_breakage(&self) -> bool {
        !matches!(self, Self::Refused { .. } | Self::Unavailable { .. })
    }

    /// The plugin is not to blame for this call: it never saw it.
    pub fn was_not_asked(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

/// How a plugin's process was lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loss {
    /// A signal ended it.
    Signal(i32),
    /// It ended by itself.
    Code(i32),
    /// It closed the connection and lived on; it was ended.
    Closed,
    /// It did not answer a call in time; it was ended.
    Deadline(&'static str, Duration),
    /// It did not answer the heartbeat; it was ended.
    Silent(Duration),
    /// A passive scheduler asked for nothing while work waited for it; it was ended.
    Idle(Duration),
    /// What it sent is no frame; it was ended.
    Frame(String),
    /// It could not be started.
    Start(String),
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Signal(signal) => write!(
                f,
                "its process was ended by signal {signal}{}",
                signal_name(*signal)
            ),
            Self::Code(code) => write!(f, "its process ended by itself with code {code}"),
            Self::Closed => f.write_str("its process closed the connection"),
            Self::Deadline(method, limit) => write!(
                f,
                "its process was ended because it did not answer {method} within {limit:?}"
            ),
            Self::Silent(limit) => write!(
                f,
                "its process was ended because it gave no sign of life for {limit:?}"
            ),
            Self::Idle(limit) => write!(
                f,
                "its process was ended because it asked for nothing for {limit:?} while work waited for it"
            ),
            Self::Frame(what) => write!(f, "its process sent what makes no sense ({what})"),
            Self::Start(what) => write!(f, "its process could not be started ({what})"),
        }
    }
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        libc::SIGABRT => " (SIGABRT)",
        libc::SIGBUS => " (SIGBUS)",
        libc::SIGFPE => " (SIGFPE)",
        libc::SIGILL => " (SIGILL)",
        libc::SIGKILL => " (SIGKILL)",
        libc::SIGSEGV => " (SIGSEGV)",
        libc::SIGTERM => " (SIGTERM)",
        libc::SIGXCPU => " (SIGXCPU)",
        _ => "",
    }
}

impl Failure {
    /// The same, with what the plugin said fit to be read.
    pub fn tamed(self) -> Self {
        match self {
            Self::Plugin(error) => Self::Plugin(tamed_error(error)),
            other => other,
        }
    }
}

/// What a plugin said of its failure, fit to be read.
pub(super) fn tamed_error(error: PluginError) -> PluginError {
    PluginError {
        message: tame(&error.message, WORD_MAX).into(),
        location: tame(&error.location, WORD_MAX).into(),
        ..error
    }
}

/// What a transport brings back instead of an answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Failure {
    /// The plugin's own error.
    Plugin(PluginError),
    /// No answer in time.
    TimedOut(Duration),
    /// Its process is gone.
    Lost(Loss),
    /// It was not asked.
    Unavailable(String),
    /// It answered, and the answer cannot be read.
    Unreadable(String),
}
