//! A job runner.

use super::{WORK, identity_accessors};
use crate::plugins::failure::PluginCallError;
use crate::plugins::methods;
use crate::plugins::probation::Probation;
use crate::plugins::stats::MethodStats;
use crate::plugins::supervision::Supervision;
use crate::plugins::transport::Caller;
use barycenter_plugin_api::{
    CancelResult, JobRef, JobReport, JobSpec, RecoverRequest, RecoverResult, RunnerCapacity,
    SubmitResult,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A job runner. Cheap to clone.
#[derive(Clone)]
pub struct RunnerInstance(Arc<RunnerInner>);

struct RunnerInner {
    caller: Caller,
    probation: Probation<RunnerInstance>,
    is_shut_down: AtomicBool,
}

impl RunnerInstance {
    identity_accessors!();

    pub(in crate::plugins) fn new(caller: Caller) -> Self {
        Self(Arc::new(RunnerInner {
            caller,
            probation: Probation::default(),
            is_shut_down: AtomicBool::new(false),
        }))
    }

    /// How much it can run.
    pub fn capacity(&self) -> Result<RunnerCapacity, PluginCallError> {
        self.tried("capacity", |one| {
            one.0.caller.call::<methods::Capacity>(&())
        })
    }

    /// Hands over jobs. The answer has one entry per job, in order.
    pub fn submit(&self, jobs: &[JobSpec]) -> Result<Vec<SubmitResult>, PluginCallError> {
        self.tried("submit", |one| {
            let answers: Vec<_> = one.0.caller.call::<methods::Submit>(jobs)?.into();
            let ids = jobs.iter().map(|job| job.job_id);
            one.one_each("submit", ids, answers.iter().map(|answer| answer.job_id))?;
            Ok(answers)
        })
    }

    /// Asks jobs to end.
    pub fn cancel(&self, jobs: &[JobRef]) -> Result<Vec<CancelResult>, PluginCallError> {
        self.tried("cancel", |one| {
            let answers: Vec<_> = one.0.caller.call::<methods::Cancel>(jobs)?.into();
            let ids = jobs.iter().map(|job| job.job_id);
            one.one_each("cancel", ids, answers.iter().map(|answer| answer.job_id))?;
            Ok(answers)
        })
    }

    /// After a restart, of the server or of the runner's process: what became of these jobs?
    pub fn recover(&self, jobs: &[RecoverRequest]) -> Result<Vec<RecoverResult>, PluginCallError> {
        self.tried("recover", |one| {
            let answers: Vec<_> = one.0.caller.call::<methods::Recover>(jobs)?.into();
            let ids = jobs.iter().map(|job| job.spec.job_id);
            one.one_each("recover", ids, answers.iter().map(|answer| answer.job_id))?;
            Ok(answers)
        })
    }

    /// News of jobs, for runners that cannot push.
    pub fn poll(&self, jobs: &[JobRef]) -> Result<Vec<JobReport>, PluginCallError> {
        let reports = self.tried("poll", |one| one.0.caller.call::<methods::Poll>(jobs))?;
        Ok(reports.into())
    }

    /// The server stops; running jobs go on.
    pub fn shutdown(&self) -> Result<(), PluginCallError> {
        if self.0.is_shut_down.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        self.0.caller.call::<methods::RunnerShutdown>(&())
    }

    fn one_each(
        &self,
        method: &'static str,
        asked: impl Iterator<Item = u64>,
        answered: impl Iterator<Item = u64>,
    ) -> Result<(), PluginCallError> {
        if asked.eq(answered) {
            return Ok(());
        }
        let fault = "it has not one entry per job, in the same order".to_owned();
        Err(self.0.caller.invalid(method, vec![fault]))
    }
}
