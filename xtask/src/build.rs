//! Calling cargo.

use std::io::{BufRead, BufReader, IsTerminal, stderr};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::Value;

use crate::failure::{Failure, Result};
use crate::{interrupt, workspace};

/// The cargo that runs us, in the workspace's folder.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace());
    command
}

/// Builds the server and the plugins beside it; returns the server's path.
///
/// Cargo is asked for the path, so a `CARGO_TARGET_DIR` or a configured target folder is respected.
pub fn server(release: bool) -> Result<PathBuf> {
    let profile = if release { "release" } else { "debug" };
    eprintln!("building the server and its plugins ({profile}; the first time takes some minutes)");
    let started = Instant::now();
    let mut command = cargo();
    command.args(["build", "--message-format=json-render-diagnostics"]);
    if release {
        command.arg("--release");
    }
    // On a terminal cargo's progress bar is the best there is; a log needs only the errors.
    if !stderr().is_terminal() {
        command.arg("--quiet");
    }
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .map_err(Failure::during("start cargo build"))?;
    let mut executable = None;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line.map_err(Failure::during("read from cargo build"))?;
            executable = server_executable(&line).or(executable);
        }
    }
    let status = child
        .wait()
        .map_err(Failure::during("wait for cargo build"))?;
    interrupt::check()?;
    if !status.success() {
        return Err(Failure::told(format!("cargo build ended with {status}")));
    }
    eprintln!("built in {:.0} s", started.elapsed().as_secs_f64());
    executable.ok_or_else(|| Failure::told("cargo build made no program called barycenter"))
}

/// The server's path, if this line of cargo's JSON messages tells it.
fn server_executable(line: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(line).ok()?;
    let ours =
        message["reason"] == "compiler-artifact" && message["target"]["name"] == "barycenter";
    let path = message["executable"].as_str()?;
    ours.then(|| path.into())
}

#[cfg(test)]
mod tests {
    use super::server_executable;

    #[test]
    fn the_server_is_found_among_cargos_messages() {
        let check = |line: &str, expected: Option<&str>| {
            assert_eq!(server_executable(line), expected.map(Into::into), "{line}");
        };
        check(
            r#"{"reason":"compiler-artifact","target":{"name":"barycenter","kind":["bin"]},"executable":"/t/barycenter"}"#,
            Some("/t/barycenter"),
        );
        check(
            r#"{"reason":"compiler-artifact","target":{"name":"barycenter","kind":["lib"]},"executable":null}"#,
            None,
        );
        check(
            r#"{"reason":"compiler-artifact","target":{"name":"other"},"executable":"/t/other"}"#,
            None,
        );
        check(r#"{"reason":"build-finished","success":true}"#, None);
        check("not JSON", None);
    }
}
