//! `cargo xtask test`: every test, and aloud what was not tested.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::failure::{Failure, Result};
use crate::postgres::{self, Postgres, Programs};
use crate::{build, interrupt};

#[derive(clap::Args)]
pub struct Options {
    /// Only the tests whose names contain one of these
    filter: Vec<String>,
}

/// Names a file: a test that cannot run here appends one line to it, what is left out and how to get it.
const LEFT_OUT_VARIABLE: &str = "BARYCENTER_TEST_LEFT_OUT";

/// Something outside of cargo that some tests need.
struct Need {
    name: &'static str,
    is_here: fn() -> bool,
    remedy: &'static str,
}

const NEEDS: [Need; 2] = [
    Need {
        name: "a nightly compiler (plugins built by another compiler than the server)",
        is_here: has_nightly,
        remedy: "rustup toolchain install nightly --profile minimal",
    },
    Need {
        name: "Python with venv (the API through its Python clients)",
        is_here: has_python,
        remedy: "apt-get install python3-venv",
    },
];

pub fn run(options: &Options) -> Result<()> {
    println!("building the plugins and the test plugins");
    let built = build::cargo()
        .args(["build", "--workspace", "--quiet"])
        .status();
    let built = built.map_err(Failure::during("start cargo build"))?;
    interrupt::check()?;
    if !built.success() {
        return Err(Failure::told(format!("cargo build ended with {built}")));
    }

    let notes =
        tempfile::NamedTempFile::new().map_err(Failure::during("create a temporary file"))?;
    let postgres = postgres();
    interrupt::check()?;
    // What a test that was killed, or a process that outlived it, leaves in the folder for temporary files goes with it.
    let scratch = tempfile::Builder::new()
        .prefix("bt-") // sockets have short paths
        .permissions(fs::Permissions::from_mode(0o711)) // PostgreSQL runs as somebody else
        .tempdir()
        .map_err(Failure::during("make a folder for temporary files"))?;
    let outcome = test(
        options,
        notes.path(),
        scratch.path(),
        postgres.as_ref().ok(),
    );
    let no_postgres = postgres.err();
    interrupt::check()?;
    let (totals, succeeded) = outcome?;

    println!("\nin all: {totals}");
    let left_out = left_out(options, totals.ignored, notes.path(), no_postgres)?;
    if left_out.is_empty() {
        println!("nothing was left out");
    } else {
        println!("LEFT OUT:");
        for line in &left_out {
            println!("  - {line}");
        }
    }
    if !succeeded {
        return Err(Failure::told("not every test passed"));
    }
    if totals.passed == 0 {
        return Err(Failure::told("no test ran: does the filter name one?"));
    }
    Ok(())
}

/// A PostgreSQL for the tests, or what is left out without one, and the remedy.
fn postgres() -> Result<Postgres, String> {
    const LEFT_OUT: &str = "everything once more on PostgreSQL";
    let Some(programs) = Programs::find() else {
        return Err(format!(
            "{LEFT_OUT}: its server programs are missing here; apt-get install postgresql"
        ));
    };
    println!("starting a PostgreSQL of our own");
    Postgres::start(&programs)
        .map_err(|failure| format!("{LEFT_OUT}: it could not be started; {failure}"))
}

/// Runs the tests and repeats what they print; returns the sums and whether cargo was content.
fn test(
    options: &Options,
    notes: &Path,
    scratch: &Path,
    postgres: Option<&Postgres>,
) -> Result<(Totals, bool)> {
    let mut command = build::cargo();
    command
        .args(["test", "--workspace", "--no-fail-fast"])
        .env(LEFT_OUT_VARIABLE, notes)
        .env("TMPDIR", scratch)
        .env_remove(postgres::VARIABLE)
        .env_remove(postgres::TLS_VARIABLE);
    if let Some(postgres) = postgres {
        command
            .args(["--features", "barycenter-tests/postgres"])
            .env(postgres::VARIABLE, postgres.url());
        if let Some(url) = postgres.tls_url() {
            command.env(postgres::TLS_VARIABLE, url);
        }
    }
    if !options.filter.is_empty() {
        command.arg("--").args(&options.filter);
    }
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .map_err(Failure::during("start cargo test"))?;
    let mut totals = Totals::default();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line.map_err(Failure::during("read from cargo test"))?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            totals.add(&line);
        }
    }
    let status = child
        .wait()
        .map_err(Failure::during("wait for cargo test"))?;
    Ok((totals, status.success()))
}

/// The sum of the test runners' closing lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Totals {
    runners: u64,
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Totals {
    /// Adds a line `test result: ok. 3 passed; 0 failed; 1 ignored; …`; other lines change nothing.
    fn add(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else {
            return;
        };
        let counts = result.split_once(". ").map_or(result, |(_, counts)| counts);
        self.runners += 1;
        for count in counts.split(';') {
            let mut words = count.split_whitespace();
            let number = words
                .next()
                .and_then(|number| number.parse::<u64>().ok())
                .unwrap_or(0);
            match words.next() {
                Some("passed") => self.passed += number,
                Some("failed") => self.failed += number,
                Some("ignored") => self.ignored += number,
                _ => {}
            }
        }
    }
}

impl std::fmt::Display for Totals {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            runners,
            passed,
            failed,
            ignored,
        } = self;
        write!(
            formatter,
            "{passed} passed, {failed} failed, {ignored} ignored, in {runners} test runners"
        )
    }
}

/// What could not be tested, each with its remedy.
fn left_out(
    options: &Options,
    ignored: u64,
    notes: &Path,
    no_postgres: Option<String>,
) -> Result<Vec<String>> {
    let mut lines: Vec<String> = NEEDS
        .iter()
        .filter(|need| !(need.is_here)())
        .map(|need| format!("{}: missing here; {}", need.name, need.remedy))
        .collect();
    lines.extend(no_postgres);
    if !options.filter.is_empty() {
        lines.push(format!(
            "tests that do not match {}",
            options.filter.join(" or ")
        ));
    }
    if ignored > 0 {
        lines.push(format!(
            "{ignored} tests marked to be ignored; cargo test --workspace -- --ignored"
        ));
    }
    let notes =
        fs::read_to_string(notes).map_err(Failure::during("read what the tests left out"))?;
    let notes: BTreeSet<&str> = notes
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    lines.extend(notes.into_iter().map(str::to_owned));
    Ok(lines)
}

fn has_nightly() -> bool {
    runs(Command::new("rustc").args(["+nightly", "--version"]))
}

fn has_python() -> bool {
    runs(Command::new("python3").args(["-c", "import venv, ensurepip"]))
}

fn runs(command: &mut Command) -> bool {
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_lines_of_all_runners_are_added_up() {
        let mut totals = Totals::default();
        for line in [
            "running 3 tests",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 4 filtered out; finished in 0.00s",
            "test a::test_result ... ok",
            "test result: FAILED. 20 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s",
        ] {
            totals.add(line);
        }
        assert_eq!(
            totals,
            Totals {
                runners: 2,
                passed: 23,
                failed: 2,
                ignored: 1
            }
        );
        assert_eq!(
            totals.to_string(),
            "23 passed, 2 failed, 1 ignored, in 2 test runners"
        );
    }

    #[test]
    fn what_the_tests_note_is_told_once() {
        let notes = tempfile::NamedTempFile::new().unwrap();
        fs::write(
            notes.path(),
            "Slurm: apt-get install slurmctld\n\nSlurm: apt-get install slurmctld\n",
        )
        .unwrap();
        let options = Options { filter: Vec::new() };
        let lines = left_out(&options, 0, notes.path(), Some("PostgreSQL: get it".into())).unwrap();
        assert_eq!(
            lines
                .iter()
                .filter(|line| line.starts_with("Slurm"))
                .count(),
            1
        );
        assert!(lines.contains(&"PostgreSQL: get it".to_owned()));
        assert!(!lines.iter().any(|line| line.contains("ignored")));
    }
}
