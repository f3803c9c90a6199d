//! Runs tests, each in a child: the same program with a hidden subcommand.

use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::{Context, Outcome, Test};

/// How long a test may take, and how its child is started.
pub struct Limits {
    /// The most for one test.
    pub time: Duration,
    /// This program.
    pub program: std::path::PathBuf,
    /// The arguments of the hidden subcommand, up to the test's id.
    pub arguments: Vec<std::ffi::OsString>,
}

/// A test and how it ended.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Finding {
    /// The test.
    pub id: &'static str,
    /// What must hold. (The outcome has a text, too.)
    #[serde(rename = "test")]
    pub text: &'static str,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// How long it took.
    pub milliseconds: u64,
}

/// Between what the plugin printed and what the test found.
const MARK: &str = "\u{1}barycenter-check ";

/// Runs one test in this process.
pub fn run_here(test: &Test, context: &Context) -> Outcome {
    match (test.run)(context) {
        Ok(outcome) => outcome,
        Err(fault) => Outcome::Failed {
            faults: vec![fault],
        },
    }
}

/// The line by which a child tells its parent.
pub fn told(outcome: &Outcome) -> String {
    format!(
        "\n{MARK}{}",
        serde_json::to_string(outcome).unwrap_or_default()
    )
}

/// Runs tests one after the other, each in a child, and tells each as it ends.
pub fn run_all(tests: &[Test], limits: &Limits, mut tell: impl FnMut(&Finding)) -> Vec<Finding> {
    let mut findings = Vec::new();
    for test in tests {
        let begin = Instant::now();
        let outcome = run_child(test, limits);
        let finding = Finding {
            id: test.id,
            text: test.text,
            outcome,
            milliseconds: u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        tell(&finding);
        findings.push(finding);
    }
    findings
}

fn run_child(test: &Test, limits: &Limits) -> Outcome {
    let folder = match tempfile::tempdir() {
        Ok(folder) => folder,
        Err(error) => return broken(&format!("no temporary folder: {error}")),
    };
    let child = Command::new(&limits.program)
        .args(&limits.arguments)
        .args(["--test", test.id])
        // What a plugin leaves lying about goes with the folder.
        .current_dir(folder.path())
        .env("TMPDIR", folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => return broken(&format!("the test's process does not start: {error}")),
    };
    let stdout = child.stdout.take().map(drain);
    let stderr = child.stderr.take().map(drain);
    let status = wait(&mut child, limits.time);
    kill_group(child.id()); // whatever the plugin started
    let texts = [stdout, stderr].map(|thread| {
        let bytes = thread
            .and_then(|thread| thread.join().ok())
            .unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    });
    match status {
        None => Outcome::TimedOut {
            seconds: limits.time.as_secs(),
        },
        Some(status) => judge(status, &texts[0], &texts[1]),
    }
}

/// What a child's end means.
fn judge(status: ExitStatus, stdout: &str, stderr: &str) -> Outcome {
    let line = stdout
        .rsplit_once(MARK)
        .and_then(|(_, line)| line.lines().next());
    let outcome = line.and_then(|line| serde_json::from_str(line).ok());
    match outcome {
        Some(outcome) if status.success() => outcome,
        _ => {
            let how = match (status.signal(), status.code()) {
                (Some(signal), _) => format!("signal {signal}{}", signal_name(signal)),
                (None, Some(code)) => format!("exit code {code}"),
                (None, None) => "an unknown end".to_owned(),
            };
            let last = stderr.lines().rfind(|line| !line.trim().is_empty());
            let last = last.map_or(String::new(), |line| {
                let line: String = line.trim().chars().take(200).collect();
                format!("; its last words: {line}")
            });
            let when = if outcome.is_some() {
                " after the test"
            } else {
                ""
            };
            Outcome::Crashed {
                text: format!("the process ended with {how}{when}{last}"),
            }
        }
    }
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        libc::SIGSEGV => " (segmentation fault)",
        libc::SIGABRT => " (abort)",
        libc::SIGBUS => " (bus error)",
        libc::SIGILL => " (illegal instruction)",
        libc::SIGFPE => " (arithmetic fault)",
        libc::SIGKILL => " (killed; out of memory?)",
        _ => "",
    }
}

fn broken(text: &str) -> Outcome {
    Outcome::Crashed {
        text: text.to_owned(),
    }
}

/// Far more than a test needs; a plugin that prints without end must not fill our memory.
const KEPT_BYTES: u64 = 1 << 20;

fn drain(mut stream: impl Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        let mut buffer = [0; 8192];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            kept.extend_from_slice(&buffer[..count]);
            if kept.len() as u64 > 2 * KEPT_BYTES {
                kept.drain(..kept.len() - KEPT_BYTES as usize);
            }
        }
        kept
    })
}

/// `None` when the time is up; the child is dead by then.
fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let end = Instant::now() + limit;
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        if Instant::now() > end {
            kill_group(child.id());
            let _ = child.wait();
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn kill_group(pid: u32) {
    if let Ok(pid) = i32::try_from(pid) {
        #[expect(unsafe_code, reason = "the standard library cannot signal a group")]
        // SAFETY: a plain system call; the group is the child's own. It may be gone already, which is an error
        // that nobody minds.
        unsafe {
            libc::kill(-pid, libc::SIGKILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(script: &str) -> Outcome {
        let output = Command::new("/bin/sh")
            .args(["-c", script])
            .output()
            .unwrap();
        let texts = [output.stdout, output.stderr]
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        judge(output.status, &texts[0], &texts[1])
    }

    #[test]
    fn a_child_that_dies_is_a_finding_with_its_signal_and_last_words() {
        let Outcome::Crashed { text } = ended("echo 'stack overflow' >&2; kill -SEGV $$") else {
            panic!("not crashed");
        };
        assert!(
            text.contains("segmentation fault") && text.contains("stack overflow"),
            "{text}"
        );
    }

    #[test]
    fn a_child_that_ends_well_without_a_word_has_crashed_too() {
        assert!(matches!(ended("exit 0"), Outcome::Crashed { .. }));
    }

    #[test]
    fn the_outcome_is_read_behind_whatever_the_plugin_printed() {
        let outcome = Outcome::Passed {
            text: "fine".to_owned(),
        };
        let line = told(&outcome);
        let read = judge(ExitStatus::from_raw(0), &format!("noise{line}\n"), "");
        assert_eq!(read, outcome);
        // Dying on the way out (in a destructor, say) is no success.
        let read = judge(ExitStatus::from_raw(11), &line, "");
        assert!(matches!(read, Outcome::Crashed { .. }), "{read:?}");
    }
}
