//! `barycenter plugin check`: does a plugin keep the contract? Each test runs in a process of its own, so that
//! a crash is a finding and nothing more.

mod behaviour;
mod configs;
mod evolution;
mod loading;
mod module;
pub mod report;
mod robustness;
mod run;
mod runner;

use std::path::PathBuf;

use barycenter_plugin_api::PluginKind;
use barycenter_plugin_api::testing::FakeHost;
use serde::{Deserialize, Serialize};

use super::subject::{Opened, Subject};

pub use run::{Finding, Limits, run_all, run_here, told};

/// What a test looks at.
pub struct Context {
    /// The library.
    pub subject: Subject,
    /// Recorded traces to use besides the built-in one.
    pub traces: Vec<PathBuf>,
}

impl Context {
    /// An instance in this process, and the host that it talks to.
    fn open(&self) -> Result<(Opened, FakeHost), String> {
        let host = FakeHost::new();
        Ok((self.subject.open("inproc", host.host())?, host))
    }

    /// The library's own JSON Schema of its options.
    fn schema(&self) -> Result<String, String> {
        let loaded = crate::plugins::load(&self.subject.path, None, None);
        let loaded = loaded.map_err(|error| error.to_string())?;
        Ok(loaded.info.config_schema.into_string())
    }
}

/// How a test ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// All is well; the text says what was seen, when that is worth a word.
    Passed {
        /// A figure, say.
        text: String,
    },
    /// Allowed, and somebody should know.
    Noted {
        /// What was seen.
        text: String,
    },
    /// The contract is broken.
    Failed {
        /// What is wrong, one sentence each.
        faults: Vec<String>,
    },
    /// It does not apply to this plugin.
    LeftOut {
        /// Why.
        text: String,
    },
    /// The test's process died.
    Crashed {
        /// By what.
        text: String,
    },
    /// The test's process had to be killed.
    TimedOut {
        /// After how long.
        seconds: u64,
    },
}

/// What a test returns: an outcome, or the one sentence that is wrong.
type Verdict = Result<Outcome, String>;

fn passed() -> Verdict {
    Ok(Outcome::Passed {
        text: String::new(),
    })
}

fn passed_with(text: impl Into<String>) -> Verdict {
    Ok(Outcome::Passed { text: text.into() })
}

fn noted(text: impl Into<String>) -> Verdict {
    Ok(Outcome::Noted { text: text.into() })
}

fn left_out(text: impl Into<String>) -> Verdict {
    Ok(Outcome::LeftOut { text: text.into() })
}

/// Passed if there are no faults. Tells at most ten.
fn faults_or_passed(mut faults: Vec<String>) -> Verdict {
    if faults.is_empty() {
        return passed();
    }
    let more = faults.len().saturating_sub(10);
    faults.truncate(10);
    if more > 0 {
        faults.push(format!("and {more} more"));
    }
    Ok(Outcome::Failed { faults })
}

/// One thing that is checked.
pub struct Test {
    /// Its name, beginning with its group's letter.
    pub id: &'static str,
    /// What must hold.
    pub text: &'static str,
    /// The kinds it is for.
    pub kinds: &'static [PluginKind],
    run: fn(&Context) -> Verdict,
}

const ALL: &[PluginKind] = &PluginKind::ALL;
const SCHEDULER: &[PluginKind] = &[PluginKind::Scheduler];
const MODULE: &[PluginKind] = &[PluginKind::WorkflowModule];
const RUNNER: &[PluginKind] = &[PluginKind::JobRunner];

/// The groups, as they are told to people.
pub const GROUPS: [(char, &str); 6] = [
    ('L', "load"),
    ('C', "configuration"),
    ('B', "behaviour"),
    ('R', "robustness"),
    ('E', "evolution"),
    ('P', "parity of the transports"),
];

/// Everything that is checked, in order.
pub fn tests() -> Vec<Test> {
    let mut tests = Vec::new();
    tests.extend(loading::TESTS);
    tests.extend(configs::TESTS);
    tests.extend(behaviour::TESTS);
    tests.extend(module::TESTS);
    tests.extend(runner::TESTS);
    tests.extend(robustness::TESTS);
    tests.extend(evolution::TESTS);
    tests
}

/// The tests for a kind whose ids begin with `only`; all of them when that is empty.
pub fn tests_for(kind: PluginKind, only: &[String]) -> Vec<Test> {
    let mut found = tests();
    found.retain(|test| {
        test.kinds.contains(&kind)
            && (only.is_empty() || only.iter().any(|id| test.id.starts_with(id.as_str())))
    });
    found
}

#[cfg(test)]
mod catalogue_tests {
    use super::*;

    #[test]
    fn ids_are_unique_in_a_kind_and_begin_with_a_group() {
        for kind in PluginKind::ALL {
            let mut ids: Vec<&str> = tests_for(kind, &[]).iter().map(|test| test.id).collect();
            let count = ids.len();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), count, "{ids:?}");
            for id in ids {
                assert!(
                    GROUPS.iter().any(|(letter, _)| id.starts_with(*letter)),
                    "{id}"
                );
            }
        }
    }

    #[test]
    fn every_kind_has_tests_of_every_group() {
        for kind in PluginKind::ALL {
            for (letter, _) in GROUPS {
                let only = [letter.to_string()];
                assert!(!tests_for(kind, &only).is_empty(), "{kind} {letter}");
            }
        }
    }
}
