//! Reports every job finished at once, without running anything.

use barycenter_plugin_api::{
    CancelResult, Host, JobRef, JobReport, JobRunner, JobSpec, JobStatus, List, Plugin,
    PluginError, RecoverRequest, RecoverResult, RecoverStatus, RunnerCapacity, SubmitResult,
    serde_json::Value,
};

pub struct Instant {
    host: Host,
}

impl Plugin for Instant {
    fn create(_config: Value, host: Host) -> Result<Self, PluginError> {
        Ok(Self { host })
    }
}

impl JobRunner for Instant {
    fn capacity(&self) -> RunnerCapacity {
        RunnerCapacity {
            slots_total: 3,
            queue_depth: 4,
            ..RunnerCapacity::default()
        }
    }

    fn submit(&self, jobs: &[JobSpec]) -> Result<List<SubmitResult>, PluginError> {
        let finished = |job: &JobSpec| JobReport {
            job_id: job.job_id,
            token: job.token.clone(),
            status: JobStatus::FINISHED,
            ..JobReport::default()
        };
        self.host
            .report_jobs(jobs.iter().map(finished).collect::<List<_>>());
        let accepted =
            |job: &JobSpec| SubmitResult::accepted(job.job_id, format!("instant-{}", job.job_id));
        Ok(jobs.iter().map(accepted).collect())
    }

    fn cancel(&self, jobs: &[JobRef]) -> Result<List<CancelResult>, PluginError> {
        let unknown = |job: &JobRef| CancelResult {
            job_id: job.job_id,
            ..CancelResult::default()
        };
        Ok(jobs.iter().map(unknown).collect())
    }

    fn recover(&self, jobs: &[RecoverRequest]) -> Result<List<RecoverResult>, PluginError> {
        let not_started = |job: &RecoverRequest| RecoverResult {
            job_id: job.spec.job_id,
            status: RecoverStatus::NOT_STARTED,
            ..RecoverResult::default()
        };
        Ok(jobs.iter().map(not_started).collect())
    }
}

barycenter_plugin_api::export_job_runner! { type: "museum-instant", Instant }
