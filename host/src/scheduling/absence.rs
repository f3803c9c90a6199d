//! What the owner of an invocation reads when a plugin that it needs is away. Neither what the plugin said nor what its process
//! was ended by: that may name files, and is for administrators.

use crate::invoker::writes::{Held, Hold};
use crate::plugins::{PluginCallError, SupervisionState};

/// Why something waits: a word for machines and a sentence for the owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Absence {
    pub code: String,
    pub text: String,
}

/// Every code that is about a scheduler begins so, and none of a scheduler's own should.
const SCHEDULER: &str = "scheduler_";

impl Absence {
    fn new(what: &str, id: &str, word: &str, rest: &str) -> Self {
        Self {
            code: format!("{}_{word}", what.replace(' ', "_")),
            text: format!("The {what} {id} {rest}"),
        }
    }

    /// An administrator, or plugins.toml, wants it so.
    pub fn disabled(what: &str, id: &str, why: &str) -> Self {
        Self::new(what, id, "disabled", &format!("does not work now: {why}."))
    }

    /// It was declared and is not there.
    pub fn missing(what: &str, id: &str) -> Self {
        Self::new(
            what,
            id,
            "missing",
            "is not loaded; this waits until it is.",
        )
    }

    /// A call was not answered, or not usably. `state` is how the plugin is after that.
    pub fn of(what: &str, id: &str, state: SupervisionState, error: &PluginCallError) -> Self {
        let new = |word: &str, rest: &str| Self::new(what, id, word, rest);
        match state {
            SupervisionState::Quarantined => {
                return new(
                    "quarantined",
                    "failed too often and is in quarantine; this waits until an administrator lets it out.",
                );
            }
            SupervisionState::Hung => {
                return new(
                    "hung",
                    "does not come back from a call; this waits until it does.",
                );
            }
            _ => {}
        }
        match error {
            PluginCallError::Unavailable { .. } => new(
                "away",
                "broke down and is being started again; this waits for it.",
            ),
            PluginCallError::TimedOut { limit, .. } => new(
                "failed",
                &format!("did not answer within {limit:?}; it is asked again."),
            ),
            PluginCallError::Lost { .. } | PluginCallError::Panicked { .. } => new(
                "failed",
                "broke down when it was asked about this; it is asked again.",
            ),
            PluginCallError::Invalid { .. } => new(
                "failed",
                "gave an answer that breaks the rules, so nothing was done; it is asked again.",
            ),
            PluginCallError::Refused { .. } => {
                new("failed", "could not answer; it is asked again.")
            }
        }
    }

    /// Somebody stands in, and failed as well.
    pub fn with_stand_in(mut self, stand_in: &str) -> Self {
        self.text.push_str(&format!(
            " {stand_in}, which stands in for it, failed as well."
        ));
        self
    }

    pub fn hold(&self, what: Held) -> Hold {
        Hold {
            what,
            code: self.code.clone(),
            text: self.text.clone(),
            wake_time: None,
        }
    }
}

/// Whether a hold says that a scheduler is away.
pub fn is_of_scheduler(code: &str) -> bool {
    code.starts_with(SCHEDULER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_owner_reads_what_is_wrong_and_not_what_the_plugin_said() {
        let lost = PluginCallError::Unavailable {
            plugin: "night".into(),
            method: "plan",
            why: "it failed too often (panic at /home/secret.rs)".into(),
        };
        let told = |state, error| Absence::of("scheduler", "night", state, error);
        let away = told(SupervisionState::Waiting, &lost);
        assert_eq!(
            (away.code.as_str(), away.text.as_str()),
            (
                "scheduler_away",
                "The scheduler night broke down and is being started again; this waits for it."
            )
        );
        let quarantined = told(SupervisionState::Quarantined, &lost);
        assert_eq!(quarantined.code, "scheduler_quarantined");
        assert!(!quarantined.text.contains("secret"), "{}", quarantined.text);
        let late = PluginCallError::TimedOut {
            plugin: "night".into(),
            method: "plan",
            limit: Duration::from_secs(5),
        };
        let late = told(SupervisionState::Ready, &late).with_stand_in("plain");
        assert_eq!(
            late.text,
            "The scheduler night did not answer within 5s; it is asked again. plain, which stands in for it, failed as well."
        );
        assert!(is_of_scheduler(&late.code));
        let module = Absence::missing("workflow module", "pause");
        assert_eq!(module.code, "workflow_module_missing");
        assert!(!is_of_scheduler(&module.code));
    }
}
