//! One job as a process. What it leaves in its folder tells the next server what became of it.

use barycenter_plugin_api::{JobReport, JobSpec, JobStatus};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

const LOOK: Duration = Duration::from_millis(10);

/// Runs the script and notes its exit code, also when the server is gone by then. The token among the arguments is what
/// the process is found by.
const WRAPPER: &str = r#"
"$2" "$3"
code=$?
echo "$code" > "$4.tmp" && mv "$4.tmp" "$4"
exit "$code""#;

/// What became of a job in the time before this server.
pub enum Past {
    NotStarted,
    Running,
    Ended(i32),
    Unknown,
}

/// The file that exists once the command may have run, with the process in it.
fn marker(job: &JobSpec) -> PathBuf {
    Path::new(job.job_directory.as_str()).join(format!("started-{}", job.token))
}

fn exit_code(job: &JobSpec) -> Option<i32> {
    let text = fs::read_to_string(job.exit_code_path.as_str()).ok()?;
    text.trim().parse().ok()
}

fn process(job: &JobSpec) -> Option<u32> {
    let pid = fs::read_to_string(marker(job)).ok()?.trim().parse().ok()?;
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let token = job.token.as_bytes();
    let is_ours = command.split(|byte| *byte == 0).any(|word| word == token);
    is_ours.then_some(pid)
}

pub fn past(job: &JobSpec) -> Past {
    if !marker(job).exists() {
        Past::NotStarted
    } else if let Some(code) = exit_code(job) {
        Past::Ended(code)
    } else if process(job).is_some() {
        Past::Running
    } else {
        // It may have ended between the two looks.
        exit_code(job).map_or(Past::Unknown, Past::Ended)
    }
}

/// Runs a job to its end. `running` is told when it has started.
pub fn run(job: &JobSpec, cancelled: &AtomicBool, running: impl Fn(JobReport)) -> JobReport {
    if cancelled.load(Ordering::Relaxed) {
        let mut report = report(job, JobStatus::FAILED_TO_START, "Cancelled before it started");
        report.flags = "cancelled".into();
        return report;
    }
    // Exclusive: whatever happens to the server, the command of one token runs once.
    let mut marker = match File::create_new(marker(job)) {
        Ok(marker) => marker,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return watch(job, cancelled),
        Err(error) => return not_started(job, &error),
    };
    match start(job) {
        Ok(child) => {
            // Without it a later server does not find the process, and says that it is lost.
            let _ = marker.write_all(child.id().to_string().as_bytes());
            running(report(job, JobStatus::RUNNING, ""));
            wait(job, child, cancelled)
        }
        Err(error) => not_started(job, &error),
    }
}

fn start(job: &JobSpec) -> io::Result<Child> {
    let append = |path: &str| OpenOptions::new().append(true).create(true).open(path);
    let variables = job.environment.iter();
    Command::new("/bin/sh")
        .args(["-c", WRAPPER, "{{name}}", &job.token])
        .args([&*job.shell, &*job.script_path, &*job.exit_code_path])
        .env_clear()
        .envs(variables.map(|pair| (pair.name.as_str(), pair.value.as_str())))
        .current_dir(job.working_directory.as_str())
        .stdin(Stdio::null())
        .stdout(append(&job.stdout_path)?)
        .stderr(append(&job.stderr_path)?)
        .process_group(0)
        .spawn()
}

fn wait(job: &JobSpec, mut child: Child, cancelled: &AtomicBool) -> JobReport {
    let started = SystemTime::now();
    let limit = (job.time_limit_ms > 0).then(|| Duration::from_millis(job.time_limit_ms));
    let begin = Instant::now();
    let mut flags = "";
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) => {}
            Err(error) => return report(job, JobStatus::LOST, &error.to_string()),
        }
        if flags.is_empty() {
            if cancelled.load(Ordering::Relaxed) {
                flags = "cancelled";
            } else if limit.is_some_and(|limit| begin.elapsed() > limit) {
                flags = "timeout";
            }
            if !flags.is_empty() {
                kill(child.id());
            }
        }
        std::thread::sleep(LOOK);
    };
    use std::os::unix::process::ExitStatusExt;
    let signal = status.signal().unwrap_or(0);
    JobReport {
        signal,
        started_ms: milliseconds(started),
        flags: flags.into(),
        ..finished(job, status.code().unwrap_or(128 + signal))
    }
}

/// Waits for the process of an earlier server.
pub fn watch(job: &JobSpec, cancelled: &AtomicBool) -> JobReport {
    let mut flags = "";
    while let Some(pid) = process(job) {
        if flags.is_empty() && cancelled.load(Ordering::Relaxed) {
            flags = "cancelled";
            kill(pid);
        }
        std::thread::sleep(LOOK);
    }
    let ended = match exit_code(job) {
        Some(code) => finished(job, code),
        None => report(job, JobStatus::LOST, "It ended without an exit code"),
    };
    JobReport {
        flags: flags.into(),
        ..ended
    }
}

/// Kills the process and all that it started.
fn kill(pid: u32) {
    let group = format!("kill -s KILL -- -{pid}");
    let _ = Command::new("/bin/sh").args(["-c", &group]).status();
}

pub fn finished(job: &JobSpec, exit_code: i32) -> JobReport {
    JobReport {
        exit_code,
        ended_ms: milliseconds(SystemTime::now()),
        ..report(job, JobStatus::FINISHED, "")
    }
}

fn not_started(job: &JobSpec, error: &io::Error) -> JobReport {
    let text = format!("It could not be started: {error}");
    report(job, JobStatus::FAILED_TO_START, &text)
}

pub fn report(job: &JobSpec, status: JobStatus, message: &str) -> JobReport {
    JobReport {
        job_id: job.job_id,
        token: job.token.clone(),
        status,
        external_id: job.token.clone(),
        message: message.into(),
        ..JobReport::default()
    }
}

fn milliseconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}
