//! `barycenter serve`.

use std::process::ExitCode;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::options::{self, DataFlags, LoadFlags};
use super::out;
use crate::config::{Config, Flags};
use crate::errors::chain;
use crate::logging;
use crate::server::Server;

/// Start the server.
///
/// When it is ready it prints one line, `listening on http://ADDR`, on stdout; logs go to stderr. SIGTERM, Ctrl-C and
/// the end of its terminal stop it within ten seconds: what is being stored is finished, and jobs that run go on and
/// are found again by the next server. A second Ctrl-C ends it at once, which is as safe.
#[derive(Debug, Args)]
#[command(after_long_help = options::keys_help())]
pub struct Arguments {
    /// Where to listen; port 0 picks a free one [BARYCENTER_LISTEN; default: 127.0.0.1:8080]
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// What this server does: some of `web`, `handler`, `runner` [BARYCENTER_ROLE; default: all]
    #[arg(long, value_name = "ROLE,…")]
    role: Option<String>,
    /// This server's name among those that share a database [BARYCENTER_NAME; default: main, or the next that is free]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    data: DataFlags,
    #[command(flatten)]
    load: LoadFlags,
    /// Write every call of a scheduler into this directory, for `barycenter plugin replay` [BARYCENTER_RECORD]
    #[arg(long, value_name = "DIR", value_parser = options::path())]
    record: Option<std::path::PathBuf>,
    /// A key that acts as an administrator; better given in the environment, which others cannot read
    /// [BARYCENTER_BOOTSTRAP_ADMIN_API_KEY]
    #[arg(long, value_name = "KEY")]
    bootstrap_admin_api_key: Option<String>,
}

impl Arguments {
    fn flags(&self) -> Flags {
        let mut flags = Flags::default();
        flags.set("listen", self.listen.as_deref());
        flags.set("role", self.role.as_deref());
        flags.set("name", self.name.as_deref());
        flags.set(
            "bootstrap_admin_api_key",
            self.bootstrap_admin_api_key.as_deref(),
        );
        options::set_path(&mut flags, "record", self.record.as_deref());
        self.data.add_to(&mut flags);
        self.load.add_to(&mut flags);
        flags
    }
}

pub fn main(arguments: &Arguments) -> ExitCode {
    let config = match options::configuration(arguments.data.config.as_deref(), &arguments.flags())
    {
        Ok(config) => config,
        Err(faults) => return out::failure(faults),
    };
    logging::start(&config.log, None);
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    match super::block_on(serve(&config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => out::failure(sentence),
    }
}

async fn serve(config: &Config) -> Result<(), String> {
    let stop =
        StopSignals::new().map_err(|error| format!("signals cannot be received: {error}"))?;
    let server = Server::start(config).await.map_err(|error| chain(&error))?;
    crate::memory::give_back();
    out::line(format_args!("listening on http://{}", server.address()));
    tracing::info!(
        data_dir = %config.data_dir.display(),
        "version {} is ready on http://{}",
        env!("CARGO_PKG_VERSION"),
        server.address()
    );
    server.serve(stop.received()).await;
    tracing::info!("stopped");
    Ok(())
}

/// SIGTERM, Ctrl-C, and the end of the terminal.
pub struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
    /// None where it is ignored, as `nohup` has it.
    hangup: Option<Signal>,
}

/// Whether whoever started this process had it ignore a signal.
fn is_ignored(kind: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    is_in_mask(&status, "SigIgn:", kind.as_raw_value())
}

/// Whether a signal is in one of the masks of a process's status.
fn is_in_mask(status: &str, name: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix(name));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

/// The exit code of a process that Ctrl-C ended.
pub const INTERRUPTED: u8 = 130;

impl StopSignals {
    /// From here on the signals no longer end the process by themselves.
    pub fn new() -> std::io::Result<StopSignals> {
        Ok(StopSignals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: match is_ignored(SignalKind::hangup()) {
                true => None,
                false => Some(signal(SignalKind::hangup())?),
            },
        })
    }

    /// The next of any.
    pub async fn next(&mut self) {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = hangup => {}
        }
    }

    /// Waits for the first; a second one ends the process at once.
    async fn received(mut self) {
        self.next().await;
        tracing::info!("stopping; jobs that run are left alone");
        tokio::spawn(async move {
            self.next().await;
            std::process::exit(i32::from(INTERRUPTED));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_says_which_signals_are_ignored() {
        let status = "Name:\tx\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000002\n";
        let ignored = |signal| is_in_mask(status, "SigIgn:", signal);
        assert!(ignored(libc::SIGHUP) && ignored(libc::SIGPIPE));
        assert!(!ignored(libc::SIGINT) && !ignored(libc::SIGTERM));
        assert!(!is_in_mask("", "SigIgn:", libc::SIGHUP));
    }
}
