//! The command line. Exit codes: 0 done, 1 refused or failed, 2 wrong usage; `run` has more (see there).

mod admin;
mod db;
mod options;
mod out;
mod plugin;
mod run;
mod serve;

use std::process::ExitCode;
use std::sync::LazyLock;
use std::time::Duration;

use barycenter_plugin_api::API_VERSION;
use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use tokio::sync::oneshot;

use self::serve::{INTERRUPTED, StopSignals};
use crate::javascript;
use crate::plugins::process;

/// Barycenter schedules Galaxy workflows; its schedulers, step types and job runners are plugins.
#[derive(Debug, Parser)]
#[command(name = "barycenter", version = VERSION.as_str(), max_term_width = 100, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Arguments),
    Run(run::Arguments),
    /// Plugins: listed, checked, reloaded, pinned, and a kit for their authors
    #[command(subcommand)]
    Plugin(plugin::Command),
    /// Users and keys, servers that share a database, and data for tries
    #[command(subcommand)]
    Admin(admin::Command),
    /// The upkeep of the database: tables, checks, backups, copies
    #[command(subcommand)]
    Db(db::Command),
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
}

/// The server's version and that of the contract with its plugins.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let (major, minor, patch) = API_VERSION;
    let own = env!("CARGO_PKG_VERSION");
    format!("{own} (plugin-api {major}.{minor}.{patch})")
});

/// What the binary does.
pub fn main() -> ExitCode {
    // Started by the server for itself, and not for people: nothing else of the command line concerns these.
    match std::env::args_os().nth(1) {
        Some(first) if first == process::COMMAND => return process::main(),
        Some(first) if first == javascript::COMMAND => return javascript::main(),
        _ => {}
    }
    match Arguments::parse().command {
        Command::Serve(arguments) => serve::main(&arguments),
        Command::Run(arguments) => run::main(&arguments),
        Command::Plugin(command) => plugin::main(&command),
        Command::Admin(command) => admin::main(&command),
        Command::Db(command) => db::main(&command),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "barycenter", &mut script);
            out::bytes(&script);
            ExitCode::SUCCESS
        }
    }
}

/// Threads that wait for events. Work that blocks has threads of its own.
const EVENT_THREADS_MAX: usize = 4;

/// The runtime that a command's asynchronous part runs on.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.clamp(1, EVENT_THREADS_MAX))
        .enable_all()
        .build()
}

/// Runs the asynchronous part of a command that needs nothing special.
fn block_on<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let runtime = runtime().map_err(|error| format!("no threads could be started: {error}"))?;
    let done = runtime.block_on(work);
    // Whatever blocks (a plugin's call, say) must not keep the process.
    runtime.shutdown_background();
    done
}

/// How long what was interrupted has to take back what is half-done.
const TAKE_BACK: Duration = Duration::from_secs(2);

/// As [`block_on`], for work that Ctrl-C and SIGTERM may end wherever it waits: what it holds (a transaction, a file that is
/// not whole) is dropped, and the process ends.
fn block_on_until_interrupted<T>(
    work: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    let done = block_on(async {
        let mut signals =
            StopSignals::new().map_err(|error| format!("signals cannot be received: {error}"))?;
        let (interrupt, interrupted) = oneshot::channel();
        tokio::spawn(async move {
            signals.next().await;
            // Nobody hears it if the work is done.
            let _ = interrupt.send(());
            let _ = tokio::time::timeout(TAKE_BACK, signals.next()).await;
            std::process::exit(i32::from(INTERRUPTED));
        });
        tokio::select! {
            done = work => done.map(Some),
            _ = interrupted => Ok(None),
        }
    })?;
    match done {
        Some(done) => Ok(done),
        None => {
            out::note("barycenter: interrupted");
            std::process::exit(i32::from(INTERRUPTED))
        }
    }
}

#[cfg(test)]
mod tests;
