//! After a restart of the server: what became of a job?

use crate::job::{Files, modified_ms};
use crate::sys;
use barycenter_plugin_api::{JobReport, JobSpec, JobStatus, RecoverResult, RecoverStatus};
use std::io;
use std::os::fd::OwnedFd;

/// A job of an earlier server that still runs.
#[derive(Debug)]
pub struct Adopted {
    pub spec: JobSpec,
    pub files: Files,
    pub pid: i32,
    pub pidfd: OwnedFd,
    pub started_ms: i64,
}

/// What was found.
pub enum Found {
    Ended(Box<RecoverResult>),
    Alive(Box<Adopted>),
}

/// Looks at what the job left. Does not wait.
pub fn look(spec: &JobSpec) -> Found {
    match look_closely(spec) {
        Ok(found) => found,
        Err(error) => {
            let message = format!("What became of it cannot be read: {error}");
            Found::Ended(Box::new(lost(spec, 0, 0, message)))
        }
    }
}

fn look_closely(spec: &JobSpec) -> io::Result<Found> {
    let files = Files::of(spec);
    let pid = match files.marked_pid() {
        Ok(pid) => pid,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Found::Ended(Box::new(RecoverResult {
                job_id: spec.job_id,
                status: RecoverStatus::NOT_STARTED,
                ..RecoverResult::default()
            })));
        }
        Err(error) => return Err(error),
    };
    let started_ms = modified_ms(&files.marker);
    if let Some(pidfd) = alive(pid, &spec.token) {
        return Ok(Found::Alive(Box::new(Adopted {
            spec: spec.clone(),
            files,
            pid,
            pidfd,
            started_ms,
        })));
    }
    let result = match files.settle_exit_code()? {
        Some(code) => RecoverResult {
            job_id: spec.job_id,
            status: RecoverStatus::FINISHED,
            report: JobReport {
                status: JobStatus::FINISHED,
                exit_code: code,
                ended_ms: modified_ms(&files.exit_code),
                ..about(spec, pid, started_ms)
            },
            ..RecoverResult::default()
        },
        None => {
            let message = format!(
                "It was started as process {pid}, which is gone and left no exit code \
                 (killed, or the machine went down)"
            );
            lost(spec, pid, started_ms, message)
        }
    };
    Ok(Found::Ended(Box::new(result)))
}

/// The answer for a job that still runs. `pid` and `started_ms` are 0 when unknown.
pub fn still_running(spec: &JobSpec, pid: i32, started_ms: i64) -> RecoverResult {
    RecoverResult {
        job_id: spec.job_id,
        status: RecoverStatus::RUNNING,
        report: JobReport {
            status: JobStatus::RUNNING,
            ..about(spec, pid, started_ms)
        },
        ..RecoverResult::default()
    }
}

fn lost(spec: &JobSpec, pid: i32, started_ms: i64, message: String) -> RecoverResult {
    RecoverResult {
        job_id: spec.job_id,
        status: RecoverStatus::LOST,
        report: JobReport {
            status: JobStatus::LOST,
            message: message.into(),
            ..about(spec, pid, started_ms)
        },
        ..RecoverResult::default()
    }
}

fn about(spec: &JobSpec, pid: i32, started_ms: i64) -> JobReport {
    JobReport {
        job_id: spec.job_id,
        token: spec.token.clone(),
        external_id: if pid > 0 {
            pid.to_string()
        } else {
            String::new()
        }
        .into(),
        started_ms,
        ..JobReport::default()
    }
}

/// A descriptor of the process, if it still is the wrapper with this token.
///
/// The descriptor is opened before the arguments are compared: if they fit, it means that process,
/// whatever the kernel does with the number later. A zombie has no arguments, so it is dead here.
fn alive(pid: i32, token: &str) -> Option<OwnedFd> {
    if pid <= 1 {
        return None;
    }
    let pidfd = sys::pidfd_open(pid).ok()?;
    let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let carries_token = arguments
        .split(|byte| *byte == 0)
        .any(|one| one == token.as_bytes());
    carries_token.then_some(pidfd)
}
