//! After a restart of the server: what became of a job?

use crate::job::{Files, WRAPPER_NAME, modified_ms};
use crate::sys;
use barycenter_plugin_api::{JobReport, JobSpec, JobStatus, RecoverResult, RecoverStatus};
use std::collections::HashMap;
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

/// The wrapper processes of this machine, by token.
#[derive(Debug, Default)]
pub struct Processes(HashMap<Vec<u8>, i32>);

impl Processes {
    /// Reads the arguments of every process, which takes some milliseconds. A zombie has none, so
    /// it is dead here.
    pub fn now() -> Self {
        let numbers = std::fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
        Self(
            numbers
                .filter_map(|pid| Some((token_of(pid)?, pid)))
                .collect(),
        )
    }

    /// A descriptor of the job's leading process, and its number.
    ///
    /// The arguments are read again once the descriptor is open: if they still fit, it means that
    /// process, whatever the kernel does with the number later.
    fn open(&self, token: &str) -> Option<(i32, OwnedFd)> {
        let pid = *self.0.get(token.as_bytes())?;
        let pidfd = sys::pidfd_open(pid).ok()?;
        (token_of(pid)? == token.as_bytes()).then_some((pid, pidfd))
    }
}

/// The token of a process that leads a job's group. Its subshell has the same arguments, but does not
/// lead.
fn token_of(pid: i32) -> Option<Vec<u8>> {
    let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    // sh -c WRAPPER barycenter-job TOKEN …
    let mut arguments = arguments.split(|byte| *byte == 0).skip(3);
    let is_wrapper = arguments.next() == Some(WRAPPER_NAME.as_bytes());
    let token = arguments.next().filter(|_| is_wrapper)?;
    sys::leads_group(pid).then(|| token.to_vec())
}

/// Looks at what the job left. Does not wait.
pub fn look(spec: &JobSpec, processes: &Processes) -> Found {
    match look_closely(spec, processes) {
        Ok(found) => found,
        Err(error) => {
            let message = format!("What became of it cannot be read: {error}");
            Found::Ended(Box::new(lost(spec, 0, 0, message)))
        }
    }
}

fn look_closely(spec: &JobSpec, processes: &Processes) -> io::Result<Found> {
    let files = Files::of(spec);
    // In this order: a process that has not got so far as to make its record is alive, and one that ends
    // between two looks leaves first its record, then its exit code.
    let alive = processes.open(&spec.token);
    if alive.is_none() && !files.record.try_exists()? {
        return Ok(Found::Ended(Box::new(RecoverResult {
            job_id: spec.job_id,
            status: RecoverStatus::NOT_STARTED,
            ..RecoverResult::default()
        })));
    }
    let code = match files.recorded_exit_code() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        read => read?,
    };
    let changed_ms = modified_ms(&files.record);
    let result = match (code, alive) {
        (None, Some((pid, pidfd))) => {
            return Ok(Found::Alive(Box::new(Adopted {
                spec: spec.clone(),
                files,
                pid,
                pidfd,
                started_ms: changed_ms,
            })));
        }
        (Some(exit_code), _) => {
            files.publish_exit_code()?;
            RecoverResult {
                job_id: spec.job_id,
                status: RecoverStatus::FINISHED,
                report: JobReport {
                    status: JobStatus::FINISHED,
                    exit_code,
                    ended_ms: changed_ms,
                    ..about(spec, 0, 0)
                },
                ..RecoverResult::default()
            }
        }
        (None, None) => lost(
            spec,
            0,
            changed_ms,
            "It was started, its process is gone and left no exit code \
             (killed, or the machine went down)"
                .to_owned(),
        ),
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
