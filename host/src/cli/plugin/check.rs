//! `barycenter plugin check`: of plugins.toml, or of one library.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::Which;
use crate::cli::out;
use crate::kit::check::report::{REFUSED, Summary, as_json, as_junit, lines, total};
use crate::kit::check::{Context, Finding, Limits, run_all, run_here, tests_for, told};
use crate::kit::subject::Subject;
use crate::plugins::load;

/// Load every declared plugin as the server would and tell all that is wrong; with FILE: does this library keep the contract?
///
/// With FILE each test runs in a process of its own. Exit codes: 0 the contract is kept, 1 something failed, 3 a test's
/// process crashed or hung, 4 the file is no plugin for this server.
#[derive(Debug, Args)]
pub struct Arguments {
    /// A library, instead of what plugins.toml declares
    file: Option<PathBuf>,
    #[command(flatten)]
    pub of: Which,
    /// Only the tests whose ids begin like this; may be repeated
    #[arg(long, value_name = "ID", requires = "file")]
    only: Vec<String>,
    /// List the tests for this library and run none
    #[arg(long, requires = "file")]
    list: bool,
    /// The plugin's options as JSON, for one that does not work without
    #[arg(long, value_name = "JSON", requires = "file")]
    options: Option<String>,
    /// A recorded trace to use besides the built-in one; may be repeated
    #[arg(long, value_name = "TRACE", requires = "file")]
    replay: Vec<PathBuf>,
    /// Run the tests in this process, for a debugger
    #[arg(long, requires = "file")]
    in_process: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// Findings as JUnit's XML into this file
    #[arg(long, value_name = "FILE", requires = "file")]
    junit: Option<PathBuf>,
    /// How long one test may take
    #[arg(long, value_name = "SECONDS", default_value_t = 60, requires = "file",
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
}

/// The options of a single library, checked as JSON.
pub fn options(text: Option<&str>) -> Result<Value, String> {
    let options = text.map_or(Ok(json!({})), serde_json::from_str);
    match options {
        Ok(Value::Object(options)) => Ok(Value::Object(options)),
        Ok(_) => Err("--options: give a JSON object such as '{\"weight\": 2}'".to_owned()),
        Err(error) => Err(format!("--options: that is not JSON ({error})")),
    }
}

/// A library for the kit, or the exit code when it is none.
pub fn subject(file: &std::path::Path, config: Option<&str>) -> Result<Subject, ExitCode> {
    let config = options(config).map_err(|error| {
        out::failure(error);
        ExitCode::from(out::USAGE)
    })?;
    Subject::read(file, config).map_err(|error| {
        out::failure(format_args!("{}: {error}", file.display()));
        ExitCode::from(REFUSED)
    })
}

pub fn main(arguments: &Arguments) -> ExitCode {
    let Some(file) = &arguments.file else {
        return super::check_list(&arguments.of, arguments.json);
    };
    let subject = match subject(file, arguments.options.as_deref()) {
        Ok(subject) => subject,
        Err(code) => return code,
    };
    let tests = tests_for(subject.kind, &arguments.only);
    if tests.is_empty() {
        out::failure("--only: there is no such test; --list tells which there are");
        return ExitCode::from(out::USAGE);
    }
    if arguments.list {
        for test in &tests {
            match arguments.json {
                true => out::line(json!({"id": test.id, "test": test.text})),
                false => out::line(format_args!("{:<14} {}", test.id, test.text)),
            }
        }
        return ExitCode::SUCCESS;
    }
    let findings = match arguments.in_process {
        true => {
            let context = context(&subject, arguments);
            let mut findings = Vec::new();
            for test in &tests {
                let begin = std::time::Instant::now();
                let finding = Finding {
                    id: test.id,
                    text: test.text,
                    outcome: run_here(test, &context),
                    milliseconds: u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX),
                };
                tell(arguments, &finding);
                findings.push(finding);
            }
            findings
        }
        false => {
            let limits = match limits(&subject, arguments) {
                Ok(limits) => limits,
                Err(error) => return out::failure(error),
            };
            // Whether it can be opened at all is asked first, in a child like all else.
            run_all(&tests, &limits, |finding| tell(arguments, finding))
        }
    };
    if arguments.json {
        out::line(as_json(&subject, &findings));
    } else {
        out::line(format_args!("{}: {}", file.display(), total(&findings)));
    }
    if let Some(path) = &arguments.junit {
        let written = as_junit(&subject, &findings)
            .and_then(|text| std::fs::write(path, text).map_err(|error| error.to_string()));
        if let Err(error) = written {
            return out::failure(format_args!(
                "{}: the file cannot be written ({error})",
                path.display()
            ));
        }
    }
    ExitCode::from(Summary::of(&findings).exit_code())
}

fn tell(arguments: &Arguments, finding: &Finding) {
    if !arguments.json {
        out::line(lines(finding));
    }
}

fn context(subject: &Subject, arguments: &Arguments) -> Context {
    Context {
        subject: subject.clone(),
        traces: arguments.replay.clone(),
    }
}

fn limits(subject: &Subject, arguments: &Arguments) -> Result<Limits, String> {
    let program =
        std::env::current_exe().map_err(|error| format!("this program is not found ({error})"))?;
    let mut child: Vec<OsString> = vec!["plugin".into(), "check-one".into()];
    child.push(subject.path.clone().into());
    child.extend(["--options".into(), subject.config.to_string().into()]);
    for trace in &arguments.replay {
        let full = trace
            .canonicalize()
            .map_err(|error| format!("{}: {error}", trace.display()))?;
        child.extend(["--replay".into(), full.into()]);
    }
    Ok(Limits {
        time: Duration::from_secs(arguments.timeout),
        program,
        arguments: child,
    })
}

/// One test of a library, for the parent to read.
#[derive(Debug, Args)]
pub struct One {
    file: PathBuf,
    #[arg(long)]
    options: Option<String>,
    #[arg(long)]
    replay: Vec<PathBuf>,
    #[arg(long)]
    test: String,
}

pub fn one(arguments: &One) -> ExitCode {
    let subject = match subject(&arguments.file, arguments.options.as_deref()) {
        Ok(subject) => subject,
        Err(code) => return code,
    };
    let Some(test) = tests_for(subject.kind, &[])
        .into_iter()
        .find(|test| test.id == arguments.test)
    else {
        return ExitCode::from(out::USAGE);
    };
    let context = Context {
        subject,
        traces: arguments.replay.clone(),
    };
    out::line(told(&run_here(&test, &context)));
    ExitCode::SUCCESS
}

/// Whether the system opens the library, for what needs an instance at once.
pub fn opens(subject: &Subject) -> Result<(), ExitCode> {
    load(&subject.path, None, None).map(drop).map_err(|error| {
        out::failure(format_args!("{}: {error}", subject.path.display()));
        ExitCode::from(REFUSED)
    })
}
