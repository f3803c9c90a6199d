//! Findings for people, for programs, and for continuous integration.

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use serde_json::{Value, json};

use super::run::Finding;
use super::{GROUPS, Outcome};
use crate::kit::subject::Subject;

/// What the exit code says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Summary {
    /// Nothing is wrong.
    Passed,
    /// The contract is broken somewhere.
    Failed,
    /// A test's process died or hung.
    Crashed,
}

impl Summary {
    /// The worst of all.
    pub fn of(findings: &[Finding]) -> Self {
        let worst = |outcome: &Outcome| match outcome {
            Outcome::Crashed { .. } | Outcome::TimedOut { .. } => 2,
            Outcome::Failed { .. } => 1,
            _ => 0,
        };
        match findings.iter().map(|finding| worst(&finding.outcome)).max() {
            Some(2) => Self::Crashed,
            Some(1) => Self::Failed,
            _ => Self::Passed,
        }
    }

    /// 0, 1 or 3; 2 is wrong usage, 4 a file that is no plugin for this server.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Passed => 0,
            Self::Failed => 1,
            Self::Crashed => 3,
        }
    }
}

/// The exit code for a file that is no plugin for this server.
pub const REFUSED: u8 = 4;

fn word_and_text(outcome: &Outcome) -> (&'static str, String) {
    match outcome {
        Outcome::Passed { text } => ("ok", text.clone()),
        Outcome::Noted { text } => ("note", text.clone()),
        Outcome::Failed { faults } => ("FAILED", faults.join("\n")),
        Outcome::LeftOut { text } => ("left out", text.clone()),
        Outcome::Crashed { text } => ("CRASHED", text.clone()),
        Outcome::TimedOut { seconds } => ("TIMED OUT", format!("killed after {seconds} s")),
    }
}

/// One finding as a line, and the sentences below it.
pub fn lines(finding: &Finding) -> String {
    let (word, text) = word_and_text(&finding.outcome);
    let mut line = format!("{word:<9} {:<14} {}", finding.id, finding.text);
    match &finding.outcome {
        Outcome::Passed { .. } if text.is_empty() => {}
        Outcome::Passed { .. } | Outcome::LeftOut { .. } => line.push_str(&format!(" ({text})")),
        _ => {
            for sentence in text.lines() {
                line.push_str(&format!("\n          {sentence}"));
            }
        }
    }
    line
}

/// How many ended how, in one line.
pub fn total(findings: &[Finding]) -> String {
    let words = ["ok", "note", "left out", "FAILED", "CRASHED", "TIMED OUT"];
    let counted = words.iter().filter_map(|word| {
        let count = findings
            .iter()
            .filter(|finding| word_and_text(&finding.outcome).0 == *word)
            .count();
        (count > 0).then(|| format!("{count} {word}"))
    });
    counted.collect::<Vec<_>>().join(", ")
}

/// Everything for programs.
pub fn as_json(subject: &Subject, findings: &[Finding]) -> Value {
    json!({
        "file": subject.path.display().to_string(),
        "kind": subject.kind.name(),
        "type": subject.preamble.type_id,
        "version": subject.preamble.version,
        "passed": Summary::of(findings) == Summary::Passed,
        "tests": findings,
    })
}

/// Everything as JUnit's XML: a suite for each group.
pub fn as_junit(subject: &Subject, findings: &[Finding]) -> Result<String, String> {
    let mut report = Report::new(format!(
        "barycenter plugin check {}",
        subject.preamble.type_id
    ));
    for (letter, name) in GROUPS {
        let mut suite = TestSuite::new(format!("{letter} {name}"));
        for finding in findings
            .iter()
            .filter(|finding| finding.id.starts_with(letter))
        {
            let (word, text) = word_and_text(&finding.outcome);
            let mut status = match &finding.outcome {
                Outcome::Passed { .. } | Outcome::Noted { .. } => TestCaseStatus::success(),
                Outcome::Failed { .. } => TestCaseStatus::non_success(NonSuccessKind::Failure),
                Outcome::LeftOut { .. } => TestCaseStatus::skipped(),
                Outcome::Crashed { .. } | Outcome::TimedOut { .. } => {
                    TestCaseStatus::non_success(NonSuccessKind::Error)
                }
            };
            if !matches!(status, TestCaseStatus::Success { .. }) {
                status.set_message(text.clone());
                status.set_type(word);
            }
            let mut case = TestCase::new(finding.id, status);
            case.set_classname(subject.preamble.type_id.clone());
            case.set_time(std::time::Duration::from_millis(finding.milliseconds));
            case.set_system_out(if text.is_empty() {
                finding.text.to_owned()
            } else {
                format!("{}\n{text}", finding.text)
            });
            suite.add_test_case(case);
        }
        if !suite.test_cases.is_empty() {
            report.add_test_suite(suite);
        }
    }
    report.to_string().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(outcome: Outcome) -> Finding {
        Finding {
            id: "B.rules",
            text: "plans keep the rules",
            outcome,
            milliseconds: 3,
        }
    }

    #[test]
    fn the_worst_finding_decides_and_notes_are_no_fault() {
        let note = finding(Outcome::Noted {
            text: "hm".to_owned(),
        });
        let failed = finding(Outcome::Failed {
            faults: vec!["no".to_owned()],
        });
        let crashed = finding(Outcome::Crashed {
            text: "signal 11".to_owned(),
        });
        assert_eq!(Summary::of(std::slice::from_ref(&note)).exit_code(), 0);
        assert_eq!(Summary::of(&[note.clone(), failed.clone()]).exit_code(), 1);
        assert_eq!(Summary::of(&[crashed, failed, note]).exit_code(), 3);
    }

    #[test]
    fn a_program_reads_what_was_asked_and_what_was_found() {
        let noted = finding(Outcome::Noted {
            text: "hm".to_owned(),
        });
        assert_eq!(
            serde_json::to_string(&noted).expect("JSON"),
            r#"{"id":"B.rules","test":"plans keep the rules","outcome":"noted","text":"hm","milliseconds":3}"#
        );
    }

    #[test]
    fn sentences_stand_below_what_failed() {
        let told = lines(&finding(Outcome::Failed {
            faults: vec!["one".to_owned(), "two".to_owned()],
        }));
        assert_eq!(told.lines().count(), 3, "{told}");
        assert!(told.starts_with("FAILED"), "{told}");
    }
}
