//! `barycenter plugin replay`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::check::{opens, subject};
use crate::cli::out;
use crate::kit::replay::replay;

/// Ask a plugin again what `serve --record` or a crash report recorded, and compare the answers byte for byte
///
/// Exit code 0: the same answers. 1: some differ, and the first are told.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The library
    file: PathBuf,
    /// Traces, in the order in which they were written
    #[arg(required = true)]
    traces: Vec<PathBuf>,
    /// Where the plugin runs: inproc or process
    #[arg(long, value_name = "WHERE", default_value = "inproc", value_parser = ["inproc", "process"])]
    isolation: String,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub fn main(arguments: &Arguments) -> ExitCode {
    let opened = subject(&arguments.file, None).and_then(|subject| {
        opens(&subject)?;
        Ok(subject)
    });
    let subject = match opened {
        Ok(subject) => subject,
        Err(code) => return code,
    };
    match replay(&subject, &arguments.traces, &arguments.isolation) {
        Ok(replayed) => {
            if arguments.json {
                out::line(replayed.as_json());
            } else {
                for line in replayed.lines() {
                    out::line(line);
                }
            }
            match replayed.different {
                0 => ExitCode::SUCCESS,
                _ => ExitCode::FAILURE,
            }
        }
        Err(error) => out::failure(error),
    }
}
