//! Runs jobs as processes of this machine.
//!
//! Each job is a process group led by a shell that runs `job::WRAPPER`. The shell records start
//! and exit code in a file, so a job survives the server and is found again by `recover`. One thread (a `lane`) starts the processes and waits for their ends with epoll.
//!
//! A descendant that moves to a session of its own (`setsid`) leaves the process group and is
//! neither waited for nor killed.

mod config;
mod job;
mod lane;
mod recover;
mod shared;
mod sys;

pub use config::Config;

use barycenter_plugin_api::{
    CancelResult, Host, JobRef, JobReport, JobRunner, JobSpec, JobStatus, List, Plugin,
    PluginError, RecoverRequest, RecoverResult, RunnerCapacity, SubmitResult,
};
use recover::{Found, Processes};
use shared::{Cancelled, Shared};
use std::sync::Arc;
use std::thread::JoinHandle;

/// Plugin type `local`.
pub struct LocalRunner {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    host: Host,
}

impl Plugin for LocalRunner {
    fn create(config: serde_json::Value, host: Host) -> Result<Self, PluginError> {
        let config: Config = serde_json::from_value(config)?;
        let shared = Arc::new(Shared::new(&config)?);
        let lane = lane::Lane::new(Arc::clone(&shared), host.clone(), &config)?;
        let thread = std::thread::Builder::new()
            .name("local-runner".to_owned())
            .spawn(move || lane.run())?;
        Ok(Self {
            shared,
            thread: Some(thread),
            host,
        })
    }
}

impl JobRunner for LocalRunner {
    fn capacity(&self) -> RunnerCapacity {
        RunnerCapacity {
            slots_total: self.shared.workers,
            queue_depth: self.shared.queue_depth(),
            ..RunnerCapacity::default()
        }
    }

    fn submit(&self, jobs: &[JobSpec]) -> Result<List<SubmitResult>, PluginError> {
        let answers = self.shared.submit(jobs);
        self.shared.wake();
        Ok(answers.into())
    }

    fn cancel(&self, jobs: &[JobRef]) -> Result<List<CancelResult>, PluginError> {
        let mut answers = Vec::with_capacity(jobs.len());
        let mut reports = Vec::new();
        for job in jobs {
            let (known, message) = match self.shared.cancel(&job.token) {
                Cancelled::Running => (true, "it is being ended"),
                Cancelled::Queued => {
                    reports.push(never_started(job));
                    (true, "it had not started")
                }
                Cancelled::Unknown => (false, "this runner does not know it"),
            };
            answers.push(CancelResult {
                job_id: job.job_id,
                known,
                message: message.into(),
                ..CancelResult::default()
            });
        }
        self.shared.wake();
        if !reports.is_empty() {
            self.host.report_jobs(reports);
        }
        Ok(answers.into())
    }

    fn recover(&self, jobs: &[RecoverRequest]) -> Result<List<RecoverResult>, PluginError> {
        let processes = Processes::now();
        let answers = jobs
            .iter()
            .map(|job| self.recover_one(&job.spec, &processes))
            .collect();
        self.shared.wake();
        Ok(answers)
    }

    fn shutdown(&self) {
        self.shared.close();
    }
}

impl LocalRunner {
    fn recover_one(&self, spec: &JobSpec, processes: &Processes) -> RecoverResult {
        if self.shared.is_active(&spec.token) {
            return recover::still_running(spec, 0, 0);
        }
        match recover::look(spec, processes) {
            Found::Ended(result) => *result,
            Found::Alive(adopted) => {
                let result = recover::still_running(spec, adopted.pid, adopted.started_ms);
                self.shared.adopt(*adopted);
                result
            }
        }
    }
}

impl Drop for LocalRunner {
    /// Stops watching. Jobs that run go on; [`JobRunner::recover`] of another runner finds them.
    fn drop(&mut self) {
        self.shared.stop();
        if let Some(thread) = self.thread.take() {
            // A panic of that thread was printed when it happened.
            let _ = thread.join();
        }
    }
}

fn never_started(job: &JobRef) -> JobReport {
    JobReport {
        job_id: job.job_id,
        token: job.token.clone(),
        status: JobStatus::FAILED_TO_START,
        message: "cancelled before it started".into(),
        flags: "cancelled".into(),
        ..JobReport::default()
    }
}

barycenter_plugin_api::export_job_runner! {
    type: "local",
    description: "Runs jobs as processes of this machine",
    schema: include_str!("config.schema.json"),
    LocalRunner
}
