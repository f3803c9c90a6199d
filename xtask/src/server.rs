//! A server as a child process that cannot outlive us.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::failure::{Failure, Result};
use crate::interrupt;

/// How long a server may take to say where it listens.
const START_SECONDS: u64 = 60;
/// How long it may take to stop after SIGTERM before it is killed.
const STOP_SECONDS: u64 = 15;
/// How much of the log is shown after a failure, in lines and in bytes.
const LOG_LINES: usize = 40;
const LOG_BYTES: u64 = 64 * 1024;

/// A running server. Dropping it stops it.
pub struct Server {
    child: Child,
    pub url: String,
    log: PathBuf,
    stopped: bool,
}

impl Server {
    /// Starts `command` and waits for its line `listening on http://…`. Everything it prints is kept in `log`.
    ///
    /// Fails with the end of the log when the server ends or is silent for too long.
    pub fn start(mut command: Command, log: &Path) -> Result<Self> {
        let file =
            File::create(log).map_err(Failure::during(format!("create {}", log.display())))?;
        let copy = file
            .try_clone()
            .map_err(Failure::during("share the log file"))?;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(file);
        // Ctrl-C on a terminal goes to a process group: ours only, since we stop the server in order.
        command.process_group(0);
        end_with_parent(&mut command);
        let mut child = command
            .spawn()
            .map_err(Failure::during("start the server"))?;
        let lines = follow(&mut child, copy);
        // From here on dropping `server` ends the child, whatever happens.
        let mut server = Self {
            child,
            url: String::new(),
            log: log.to_owned(),
            stopped: false,
        };
        server.url = server.wait_for_address(&lines)?;
        Ok(server)
    }

    /// The process's id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Fails with the end of the log if the server is no longer there.
    pub fn check(&mut self) -> Result<()> {
        let ended = self
            .child
            .try_wait()
            .map_err(Failure::during("look after the server"))?;
        match ended {
            Some(status) => Err(self.told(&format!(
                "the server ended by itself ({})",
                describe(status)
            ))),
            None => Ok(()),
        }
    }

    /// Asks the server to end and waits for it. Fails if it had to be killed or ended badly.
    pub fn stop(mut self) -> Result<()> {
        match self.end()? {
            Some(status) if status.success() || status.signal() == Some(libc::SIGTERM) => Ok(()),
            Some(status) => Err(self.told(&format!(
                "the server did not stop cleanly ({})",
                describe(status)
            ))),
            None => Err(self.told(&format!(
                "the server did not stop within {STOP_SECONDS} s and was killed"
            ))),
        }
    }

    /// Ends the server without giving it time for anything.
    pub fn kill(mut self) -> Result<()> {
        self.stopped = true;
        let lost = || Failure::during("kill the server");
        self.child.kill().map_err(lost())?;
        self.child.wait().map_err(lost())?;
        Ok(())
    }

    /// The last lines that the server printed.
    pub fn log_tail(&self) -> String {
        tail(&self.log).unwrap_or_else(|error| format!("(no log: {error})"))
    }

    fn wait_for_address(&mut self, lines: &Receiver<String>) -> Result<String> {
        let end = Instant::now() + Duration::from_secs(START_SECONDS);
        loop {
            interrupt::check()?;
            match lines.recv_timeout(Duration::from_millis(100)) {
                Ok(line) => {
                    if let Some(url) = listening_address(&line) {
                        return Ok(url.to_owned());
                    }
                }
                Err(RecvTimeoutError::Timeout) if Instant::now() < end => self.check()?,
                Err(RecvTimeoutError::Timeout) => {
                    let sentence =
                        format!("the server did not say where it listens within {START_SECONDS} s");
                    return Err(self.told(&sentence));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    std::thread::sleep(Duration::from_millis(50)); // its exit status follows its closed output
                    self.check()?;
                    return Err(
                        self.told("the server closed its output before it said where it listens")
                    );
                }
            }
        }
    }

    /// The exit status, or nothing if it had to be killed.
    fn end(&mut self) -> Result<Option<ExitStatus>> {
        self.stopped = true;
        let lost = || Failure::during("wait for the server");
        if let Some(status) = self.child.try_wait().map_err(lost())? {
            return Ok(Some(status));
        }
        let pid = libc::pid_t::try_from(self.child.id())
            .map_err(|_| Failure::told("impossible process id"))?;
        signal(pid, libc::SIGTERM);
        let end = Instant::now() + Duration::from_secs(STOP_SECONDS);
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().map_err(lost())? {
                return Ok(Some(status));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        signal(-pid, libc::SIGKILL);
        self.child.wait().map_err(lost())?;
        Ok(None)
    }

    fn told(&self, sentence: &str) -> Failure {
        Failure::told(format!(
            "{sentence}; the end of {}:\n{}",
            self.log.display(),
            self.log_tail()
        ))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !self.stopped {
            // Nothing to tell: whoever drops a running server is already failing for another reason.
            let _ = self.end();
        }
    }
}

/// The address in a line `listening on http://ADDR`.
fn listening_address(line: &str) -> Option<&str> {
    let address = line.trim().strip_prefix("listening on ")?;
    address
        .starts_with("http://")
        .then(|| address.trim_end_matches('/'))
}

/// Copies the server's output into its log, line by line, and passes the lines on while anybody listens.
fn follow(child: &mut Child, mut log: File) -> Receiver<String> {
    let (sender, lines) = channel();
    if let Some(stdout) = child.stdout.take() {
        std::thread::spawn(move || {
            for line in BufReader::new(stdout)
                .lines()
                .map_while(std::result::Result::ok)
            {
                let _ = writeln!(log, "{line}");
                let _ = sender.send(line);
            }
        });
    }
    lines
}

fn tail(log: &Path) -> std::io::Result<String> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_BYTES)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    Ok(lines[lines.len().saturating_sub(LOG_LINES)..].join("\n"))
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

fn signal(pid: libc::pid_t, signal: libc::c_int) {
    #[expect(
        unsafe_code,
        reason = "the standard library sends no signal but SIGKILL"
    )]
    // SAFETY: kill takes plain numbers; the process, or the group it leads, is our child that was not waited for.
    unsafe {
        libc::kill(pid, signal);
    }
}

/// Even if we are killed with SIGKILL the server gets a SIGTERM.
#[cfg(target_os = "linux")]
fn end_with_parent(command: &mut Command) {
    #[expect(
        unsafe_code,
        reason = "only the child itself can ask for this, between fork and exec"
    )]
    // SAFETY: prctl with these numbers is async-signal-safe and touches no memory of ours.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
            Ok(())
        });
    }
}

#[cfg(not(target_os = "linux"))]
fn end_with_parent(_command: &mut Command) {}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> (tempfile::TempDir, Result<Server>) {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let server = Server::start(command, &folder.path().join("log"));
        (folder, server)
    }

    fn is_gone(pid: u32) -> bool {
        !Path::new(&format!("/proc/{pid}")).exists()
    }

    #[test]
    fn the_address_is_read_from_its_line_only() {
        let check = |line: &str, expected: Option<&str>| {
            assert_eq!(listening_address(line), expected, "{line}")
        };
        check(
            "listening on http://127.0.0.1:8080",
            Some("http://127.0.0.1:8080"),
        );
        check("listening on http://[::1]:1/\n", Some("http://[::1]:1"));
        check("INFO listening on http://127.0.0.1:8080", None);
        check("listening on a socket", None);
    }

    #[test]
    fn a_server_that_says_its_address_is_stopped_by_sigterm() {
        let (_folder, server) =
            shell("echo starting; echo listening on http://127.0.0.1:1; exec sleep 60");
        let mut server = server.unwrap();
        assert_eq!(server.url, "http://127.0.0.1:1");
        server.check().unwrap();
        server.stop().unwrap();
    }

    #[test]
    fn a_killed_server_is_gone_even_if_it_would_not_stop() {
        let (_folder, server) =
            shell("trap '' TERM; echo listening on http://127.0.0.1:1; while :; do sleep 60; done");
        let server = server.unwrap();
        let pid = server.pid();
        server.kill().unwrap();
        assert!(is_gone(pid));
    }

    #[test]
    fn a_dropped_server_is_gone() {
        let (_folder, server) = shell("echo listening on http://127.0.0.1:1; exec sleep 60");
        let server = server.unwrap();
        let pid = server.child.id();
        drop(server);
        assert!(is_gone(pid));
    }

    #[test]
    fn a_server_that_dies_at_start_is_reported_with_its_log() {
        let (_folder, server) = shell("echo plugins.toml is broken >&2; exit 3");
        let told = server.err().unwrap().to_string();
        assert!(
            told.contains("exit code 3") && told.contains("plugins.toml is broken"),
            "{told}"
        );
    }

    #[test]
    fn a_server_that_dies_later_is_noticed() {
        let (_folder, server) =
            shell("echo listening on http://127.0.0.1:1; echo out of luck >&2; exit 0");
        let mut server = server.unwrap();
        let end = Instant::now() + Duration::from_secs(20);
        let failure = loop {
            match server.check() {
                Err(failure) => break failure.to_string(),
                Ok(()) => assert!(
                    Instant::now() < end,
                    "the end of the server was not noticed"
                ),
            }
        };
        assert!(failure.contains("out of luck"), "{failure}");
    }
}
