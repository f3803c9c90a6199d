//! Runs jobs as processes of this machine, `workers` at a time. To run them elsewhere, replace what `process.rs` does.

mod process;

use barycenter_plugin_api::serde_json::Value;
use barycenter_plugin_api::{
    CancelResult, Host, JobRef, JobReport, JobRunner, JobSpec, JobStatus, List, Plugin,
    PluginError, RecoverRequest, RecoverResult, RecoverStatus, RunnerCapacity, SubmitResult,
};
use process::Past;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

pub struct {{Type}} {
    shared: Arc<Shared>,
    workers: u64,
}

/// What the worker threads see.
struct Shared {
    host: Host,
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<(JobSpec, Arc<AtomicBool>)>,
    /// Every job that is not over, by token: whether it is to be cancelled.
    open: HashMap<String, Arc<AtomicBool>>,
    stopped: bool,
}

impl Plugin for {{Type}} {
    fn create(config: Value, host: Host) -> Result<Self, PluginError> {
        let workers = config["workers"].as_u64().unwrap_or(2);
        let shared = Arc::new(Shared {
            host,
            queue: Mutex::default(),
            changed: Condvar::new(),
        });
        for number in 0..workers {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name(format!("{{name}}-{number}"))
                .spawn(move || shared.work())?;
        }
        Ok(Self { shared, workers })
    }
}

impl JobRunner for {{Type}} {
    fn capacity(&self) -> RunnerCapacity {
        RunnerCapacity {
            slots_total: self.workers,
            queue_depth: self.workers,
            ..RunnerCapacity::default()
        }
    }

    fn submit(&self, jobs: &[JobSpec]) -> Result<List<SubmitResult>, PluginError> {
        let mut queue = self.shared.queue();
        let take = |job: &JobSpec| {
            let token = job.token.to_string();
            if queue.stopped {
                return SubmitResult::refused(job.job_id, "The runner stops", true);
            }
            if queue.open.contains_key(&token) {
                return SubmitResult::refused(job.job_id, "The runner has this job already", false);
            }
            let cancelled = Arc::new(AtomicBool::new(false));
            queue.open.insert(token.clone(), Arc::clone(&cancelled));
            queue.waiting.push_back((job.clone(), cancelled));
            SubmitResult::accepted(job.job_id, token)
        };
        let answers = jobs.iter().map(take).collect();
        self.shared.changed.notify_all();
        Ok(answers)
    }

    fn cancel(&self, jobs: &[JobRef]) -> Result<List<CancelResult>, PluginError> {
        let queue = self.shared.queue();
        let answer = |job: &JobRef| {
            let open = queue.open.get(job.token.as_str());
            if let Some(cancelled) = open {
                cancelled.store(true, Ordering::Relaxed);
            }
            CancelResult {
                job_id: job.job_id,
                known: open.is_some(),
                ..CancelResult::default()
            }
        };
        Ok(jobs.iter().map(answer).collect())
    }

    fn recover(&self, jobs: &[RecoverRequest]) -> Result<List<RecoverResult>, PluginError> {
        Ok(jobs.iter().map(|job| self.recover_one(&job.spec)).collect())
    }

    fn shutdown(&self) {
        self.shared.stop();
    }
}

impl {{Type}} {
    fn recover_one(&self, job: &JobSpec) -> RecoverResult {
        let (status, report) = match process::past(job) {
            Past::NotStarted => (RecoverStatus::NOT_STARTED, JobReport::default()),
            Past::Ended(code) => (RecoverStatus::FINISHED, process::finished(job, code)),
            Past::Running => {
                let mut queue = self.shared.queue();
                let cancelled = Arc::new(AtomicBool::new(false));
                queue
                    .open
                    .insert(job.token.to_string(), Arc::clone(&cancelled));
                let (shared, job) = (Arc::clone(&self.shared), job.clone());
                std::thread::spawn(move || {
                    shared.over(process::watch(&job, &cancelled));
                });
                (RecoverStatus::RUNNING, JobReport::default())
            }
            Past::Unknown => {
                let text = "It was started, and nothing is left that tells how it ended";
                let report = process::report(job, JobStatus::LOST, text);
                (RecoverStatus::LOST, report)
            }
        };
        RecoverResult {
            job_id: job.job_id,
            status,
            report,
            ..RecoverResult::default()
        }
    }
}

impl Drop for {{Type}} {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The threads end once their present jobs have; the jobs are left alone.
    fn stop(&self) {
        self.queue().stopped = true;
        self.changed.notify_all();
    }

    /// The life of a worker thread.
    fn work(&self) {
        while let Some((job, cancelled)) = self.next() {
            let report = process::run(&job, &cancelled, |running| {
                self.host.report_jobs(vec![running]);
            });
            self.over(report);
        }
    }

    fn next(&self) -> Option<(JobSpec, Arc<AtomicBool>)> {
        let mut queue = self.queue();
        loop {
            if queue.stopped {
                return None;
            }
            if let Some(next) = queue.waiting.pop_front() {
                return Some(next);
            }
            let woken = self.changed.wait(queue);
            queue = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn over(&self, report: JobReport) {
        self.queue().open.remove(report.token.as_str());
        self.host.report_jobs(vec![report]);
    }
}

barycenter_plugin_api::export_job_runner! {
    type: "{{name}}",
    description: "Runs jobs as processes of this machine",
    schema: include_str!("config.schema.json"),
    {{Type}}
}

#[cfg(test)]
mod tests;
