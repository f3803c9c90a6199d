//! What a plugin's process prints: into the log, line by line, and never more than somebody can read.

use super::limits::readable;
use super::services::shortened;
use barycenter_plugin_api::{Host, LogLevel};
use std::collections::VecDeque;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::process::{ChildStderr, ChildStdout};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Lines of standard error that a crash report shows.
const TAIL: usize = 60;
/// A line that does not end is cut here.
const LINE_MAX: usize = 8 << 10;

/// How many lines a plugin may log: many at once, and then so many in a second.
pub(super) struct Allowance(Mutex<(f64, Instant, u64)>);

const AT_ONCE: f64 = 2000.0;
const PER_SECOND: f64 = 200.0;

impl Allowance {
    pub fn new() -> Self {
        Self(Mutex::new((AT_ONCE, Instant::now(), 0)))
    }

    /// Whether one more may be logged. When lines are let through again, how many were not is told.
    pub fn take(&self, host: &Host) -> bool {
        let left_out = {
            let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let earned = now.duration_since(inner.1).as_secs_f64() * PER_SECOND;
            inner.0 = (inner.0 + earned).min(AT_ONCE);
            inner.1 = now;
            if inner.0 < 1.0 {
                inner.2 += 1;
                return false;
            }
            inner.0 -= 1.0;
            std::mem::take(&mut inner.2)
        };
        if left_out > 0 {
            host.log(
                LogLevel::WARN,
                "",
                &format!("{left_out} lines were left out"),
            );
        }
        true
    }
}

/// The last lines of standard error.
pub(super) type Tail = Arc<Mutex<VecDeque<String>>>;

/// Reads both until both are closed.
pub(super) fn watch(
    stdout: ChildStdout,
    stderr: ChildStderr,
    host: &Host,
    allowance: &Allowance,
    tail: &Tail,
) {
    let mut out = Lines::new(stdout);
    let mut err = Lines::new(stderr);
    let log = |level, target: &str, line: &str| {
        if allowance.take(host) {
            host.log(level, target, line);
        }
    };
    while out.stream.is_some() || err.stream.is_some() {
        let fds = [
            out.stream.as_ref().map(AsRawFd::as_raw_fd),
            err.stream.as_ref().map(AsRawFd::as_raw_fd),
        ];
        let Ok([out_ready, err_ready]) = readable(fds) else {
            return;
        };
        if out_ready {
            out.read(&mut |line| log(LogLevel::INFO, "stdout", line));
        }
        if err_ready {
            err.read(&mut |line| {
                let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
                if tail.len() == TAIL {
                    tail.pop_front();
                }
                tail.push_back(line.to_owned());
                drop(tail);
                log(LogLevel::WARN, "stderr", line);
            });
        }
    }
}

struct Lines<R> {
    stream: Option<R>,
    begun: Vec<u8>,
}

impl<R: Read> Lines<R> {
    fn new(stream: R) -> Self {
        Self {
            stream: Some(stream),
            begun: Vec::new(),
        }
    }

    /// Takes what is there. Blocks when nothing is.
    fn read(&mut self, take: &mut dyn FnMut(&str)) {
        let mut bytes = [0; 8 << 10];
        let count = match self.stream.as_mut().map(|stream| stream.read(&mut bytes)) {
            Some(Ok(count)) => count,
            _ => 0,
        };
        if count == 0 {
            self.stream = None;
            if !self.begun.is_empty() {
                take(&text(&std::mem::take(&mut self.begun)));
            }
            return;
        }
        for byte in &bytes[..count] {
            match byte {
                b'\n' => take(&text(&std::mem::take(&mut self.begun))),
                _ if self.begun.len() < LINE_MAX => self.begun.push(*byte),
                _ => {}
            }
        }
    }
}

/// What a terminal would act on is shown as what it is.
fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let shown: String = text
        .chars()
        .map(|c| {
            if c.is_control() && c != '\t' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect();
    shortened(&shown).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_become_lines_of_text() {
        let mut lines = Lines::new(&b"one\n\x1b[2Jtwo\xff\n\nend"[..]);
        let mut seen = Vec::new();
        while lines.stream.is_some() {
            lines.read(&mut |line| seen.push(line.to_owned()));
        }
        assert_eq!(seen, ["one", "\u{fffd}[2Jtwo\u{fffd}", "", "end"]);
    }

    #[test]
    fn a_line_without_an_end_is_cut() {
        let endless = vec![b'x'; 1 << 20];
        let mut lines = Lines::new(&endless[..]);
        let mut longest = 0;
        while lines.stream.is_some() {
            lines.read(&mut |line| longest = longest.max(line.len()));
        }
        assert_eq!(longest, LINE_MAX);
    }
}
