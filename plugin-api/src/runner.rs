//! Job runners: how a fully described job is executed.

use crate::code::codes;
use crate::values::{Attr, List, Text};
use crate::{Plugin, PluginError};
use abi_stable::StableAbi;
use serde::{Deserialize, Serialize};

/// Executes jobs.
///
/// Methods may be called from several threads at once and should not wait for a job. What becomes
/// of a job is told with [`crate::Host::report_jobs`], or by [`JobRunner::poll`] for runners
/// that cannot push. A job that ends soon may be reported finished without ever having been reported
/// running; every job that was accepted gets one final report.
///
/// A job's command must never run twice for one [`JobSpec::token`], whatever happens to the server.
pub trait JobRunner: Plugin + Send + Sync {
    /// How much it can run.
    fn capacity(&self) -> RunnerCapacity;

    /// Takes jobs. The answer has one entry per job, in the same order.
    fn submit(&self, jobs: &[JobSpec]) -> Result<List<SubmitResult>, PluginError>;

    /// Asks jobs to end. How they ended is reported as usual.
    fn cancel(&self, jobs: &[JobRef]) -> Result<List<CancelResult>, PluginError>;

    /// After a restart of the server: what became of these jobs? A job that still runs is the
    /// runner's again and will be reported when it ends.
    fn recover(&self, jobs: &[RecoverRequest]) -> Result<List<RecoverResult>, PluginError>;

    /// What became of these jobs, for runners that cannot push. Jobs about which there is
    /// nothing new may be left out. The default has nothing to say.
    fn poll(&self, _jobs: &[JobRef]) -> Result<List<JobReport>, PluginError> {
        Ok(List::new())
    }

    /// The server stops: take no more jobs, and leave running ones alone.
    fn shutdown(&self) {}
}

/// How much a runner can run.
#[repr(C)]
#[derive(StableAbi, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct RunnerCapacity {
    /// Slots; a running job takes as many as it wants cores.
    pub slots_total: u64,
    /// Jobs that it accepts beyond those that run.
    pub queue_depth: u64,
    /// Additions of later minor versions.
    pub attrs: List<Attr>,
}

/// A job, fully described.
#[repr(C)]
#[derive(StableAbi, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct JobSpec {
    /// The host's job.
    pub job_id: u64,
    /// Unique for each attempt at the job.
    pub token: Text,
    /// Where the script starts. Exists already, as do all the folders named here.
    pub working_directory: Text,
    /// Where the runner may keep its own files about the job.
    pub job_directory: Text,
    /// The script to run.
    pub script_path: Text,
    /// The shell that runs it, e.g. `/bin/sh`.
    pub shell: Text,
    /// The whole environment: names and plain (not JSON) values.
    pub environment: List<Attr>,
    /// Where standard output goes. Appended to.
    pub stdout_path: Text,
    /// Where standard error goes. Appended to.
    pub stderr_path: Text,
    /// Where the exit code appears once the job has ended: decimal text, whole from the start.
    pub exit_code_path: Text,
    /// Processor cores, at least 1.
    pub cores: u32,
    /// Memory; 0 when unknown.
    pub memory_mb: u64,
    /// The longest it may run; 0 for no limit.
    pub time_limit_ms: u64,
    /// The most that is kept of standard output, and of standard error; 0 for no limit.
    pub log_limit_bytes: u64,
    /// Additions of later minor versions.
    pub attrs: List<Attr>,
}

/// Names an attempt at a job.
#[repr(C)]
#[derive(StableAbi, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct JobRef {
    /// The host's job.
    pub job_id: u64,
    /// The attempt.
    pub token: Text,
    /// What the runner called it, empty when unknown.
    pub external_id: Text,
    /// Additions of later minor versions.
    pub attrs: List<Attr>,
}

/// Whether a job was taken.
#[repr(C)]
#[derive(StableAbi, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct SubmitResult {
    /// The host's job.
    pub job_id: u64,
    /// It was taken.
    pub accepted: bool,
    /// If refused: the same submission may succeed later.
    pub retryable: bool,
    /// If accepted: what the runner calls it, empty when that is not known yet.
    pub external_id: Text,
    /// If refused: why.
    pub message: Text,
    /// Additions of later minor versions.
    pub attrs: List<Attr>,
}

impl SubmitResult {
    /// The job was taken.
    pub fn accepted(job_id: u64, external_id: impl Into<String>) -> Self {
        Self {
            job_id,
            accepted: true,
            external_id: external_id.into().into(),
            ..Self::default()
        }
    }

    /// The job was not taken.
    pub fn refused(job_id: u64, message: impl Into<String>, retryable: bool) -> Self {
        Self {
            job_id,
            retryable,
            message: message.into().into(),
            ..Self::default()
        }
    }
}

/// Whether a request to end a job was understood.
#[repr(C)]
#[derive(StableAbi, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct CancelResult {
    /// The host's job.
    pub job_id: u64,
    /// The job is known and is being ended; a report follows.
    pub known: bool,
    /// More about it, for people.
    pub message: Text,
    /// Additions of later minor versions.
    pub attrs: List<Attr>,
}

/// A job that was submitted before the server restarted.
#[repr(C)]
#[derive(StableAbi, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct RecoverRequest {
    /// The job as it was submitted.
    pub spec: JobSpec,
    /// What the runner called it, empty when the answer was never recorded.
    pub external_id: Text,
    /// When it was seen to start, milliseconds since 1970; 0 when unknown.
    pub started_ms: i64,
    /// Additions of later minor versions.
    pub attrs: List<Attr>,
}

codes! {
    /// What became of a job. Unknown codes are treated as [`RecoverStatus::LOST`].
    RecoverStatus {
        /// It started, and how it ended cannot be found out.
        LOST = 0, "lost";
        /// It runs, and the runner watches it again.
        RUNNING = 1, "running";
        /// It ended; `report` says how.
        FINISHED = 2, "finished";
        /// Its command was never started; it may be submitted.
        NOT_STARTED = 3, "not_started";
    }
}

/// What became of a job.
#[repr(C)]
#[derive(StableAbi, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct RecoverResult {
    /// The host's job.
    pub job_id: u64,
    /// What became of it.
    pub status: RecoverStatus,
    /// The details, for a job that runs, has finished or is lost.
    pub report: JobReport,
    /// Additions of later minor versions.
    pub attrs: List<Attr>,
}

codes! {
    /// Where a job stands. Unknown codes are treated as [`JobStatus::LOST`].
    JobStatus {
        /// How it ended cannot be found out.
        LOST = 0, "lost";
        /// Its command has started.
        RUNNING = 1, "running";
        /// Its command has ended, with `exit_code` or by `signal`.
        FINISHED = 2, "finished";
        /// Its command could not be started and has not run at all.
        FAILED_TO_START = 3, "failed_to_start";
    }
}

/// News about a job.
#[repr(C)]
#[derive(StableAbi, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct JobReport {
    /// The host's job.
    pub job_id: u64,
    /// The attempt.
    pub token: Text,
    /// Where it stands.
    pub status: JobStatus,
    /// What the runner calls it.
    pub external_id: Text,
    /// The exit code; for a job that a signal ended, 128 plus the signal.
    pub exit_code: i32,
    /// The signal that ended it; 0 for none.
    pub signal: i32,
    /// When it started, milliseconds since 1970; 0 when unknown.
    pub started_ms: i64,
    /// When it ended, milliseconds since 1970; 0 when unknown or still running.
    pub ended_ms: i64,
    /// More about it, for people.
    pub message: Text,
    /// Processor time used; 0 when unknown.
    pub cpu_ms: u64,
    /// The largest resident set of a process of the job; 0 when unknown.
    pub max_rss_kb: u64,
    /// Words that say what the runner did to it: `timeout`, `cancelled`, `log_truncated`,
    /// separated by spaces.
    pub flags: Text,
    /// Additions of later minor versions.
    pub attrs: List<Attr>,
}

impl JobReport {
    /// Whether `flags` holds this word.
    pub fn has_flag(&self, flag: &str) -> bool {
        self.flags.split_whitespace().any(|word| word == flag)
    }
}
