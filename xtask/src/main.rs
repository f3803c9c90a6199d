//! The developer's commands: `cargo xtask demo` shows a workflow from import to results on a server of
//! its own, `cargo xtask test` runs every test and says what could not be tested here, `cargo xtask bench` measures,
//! `cargo xtask postgres` is for tests that are started by hand.

mod bench;
mod build;
mod demo;
mod failure;
mod galaxy;
mod interrupt;
mod museum;
mod postgres;
mod progress;
mod review;
mod run_state;
mod server;
mod test_all;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Developer commands of Barycenter")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build and start a server, run the penguins example on it, and keep serving
    Demo(demo::Options),
    /// Build with optimisation and measure, beside what the machine itself allows
    Bench(bench::Options),
    /// Build the plugins and run every test; say at the end what was left out
    Test(test_all::Options),
    /// Build the sample plugins that every later server must go on loading; once for each released contract
    Museum(museum::Options),
    /// Start a throw-away PostgreSQL for tests that are started by hand
    Postgres(postgres::Options),
}

fn main() -> ExitCode {
    interrupt::watch();
    let outcome = match Arguments::parse().command {
        Command::Demo(options) => demo::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Test(options) => test_all::run(&options),
        Command::Museum(options) => museum::run(&options),
        Command::Postgres(options) => postgres::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure::Failure::Interrupted) => {
            eprintln!("interrupted");
            ExitCode::from(130)
        }
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// 128 random bits as text.
pub(crate) fn secret() -> failure::Result<String> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| failure::Failure::told(format!("no randomness: {error}")))?;
    Ok(hex::encode(bytes))
}

/// The folder of the workspace.
pub(crate) fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}
