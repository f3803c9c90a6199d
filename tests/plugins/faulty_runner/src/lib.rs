//! A job runner all of whose methods panic. For tests of the host.

use barycenter_plugin_api::{
    CancelResult, Host, JobRef, JobReport, JobRunner, JobSpec, List, Plugin, PluginError,
    RecoverRequest, RecoverResult, RunnerCapacity, SubmitResult,
};

/// Panics.
pub struct Faulty;

impl Plugin for Faulty {
    fn create(_config: serde_json::Value, _host: Host) -> Result<Self, PluginError> {
        Ok(Self)
    }
}

impl JobRunner for Faulty {
    fn capacity(&self) -> RunnerCapacity {
        panic!("capacity panics")
    }

    fn submit(&self, jobs: &[JobSpec]) -> Result<List<SubmitResult>, PluginError> {
        // Nothing to take is answered with an entry too many.
        assert!(jobs.is_empty(), "submit panics");
        Ok(vec![SubmitResult::accepted(1, "")].into())
    }

    fn cancel(&self, _: &[JobRef]) -> Result<List<CancelResult>, PluginError> {
        panic!("cancel panics")
    }

    fn recover(&self, _: &[RecoverRequest]) -> Result<List<RecoverResult>, PluginError> {
        panic!("recover panics")
    }

    fn poll(&self, _: &[JobRef]) -> Result<List<JobReport>, PluginError> {
        panic!("poll panics")
    }

    fn shutdown(&self) {
        panic!("shutdown panics")
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        panic!("drop panics")
    }
}

barycenter_plugin_api::export_job_runner! { type: "faulty-runner", Faulty }
