//! Between the plain traits that people implement and the objects that cross the border.
//!
//! Everything here runs inside the plugin (the host adapter: inside the host) and guards what it
//! calls, the destructor included.

use crate::abi::{HostObject, JobRunnerObject, SchedulerObject, WorkflowModuleObject};
use crate::guard::guard;
use crate::{
    CancelResult, Diagnostic, HostApi, JobRef, JobReport, JobRunner, JobSpec, List, LogLevel,
    ModuleDescription, Plan, PlanRequest, PluginError, RecoverRequest, RecoverResult,
    RunnerCapacity, Scheduler, StepContext, StepOutcome, SubmitResult, Text, WorkflowModule,
};
use abi_stable::std_types::{RResult, RSlice, RStr, RString};
use std::mem::ManuallyDrop;

/// Owns a plugin's object and guards its destructor.
pub(crate) struct Guarded<P> {
    inner: ManuallyDrop<P>,
}

impl<P> Guarded<P> {
    pub(crate) fn new(inner: P) -> Self {
        Self {
            inner: ManuallyDrop::new(inner),
        }
    }
}

impl<P> Drop for Guarded<P> {
    fn drop(&mut self) {
        let inner = &mut self.inner;
        let outcome = guard(|| {
            #[expect(
                unsafe_code,
                reason = "a destructor can only be guarded by calling it by hand"
            )]
            // SAFETY: `inner` is dropped here and nowhere else, and not used afterwards.
            unsafe {
                ManuallyDrop::drop(inner);
            }
            Ok(())
        });
        if let Err(error) = outcome {
            // Nobody is left to return it to.
            eprintln!("a plugin's object panicked while it was dropped: {error}");
        }
    }
}

impl<P: Scheduler> SchedulerObject for Guarded<P> {
    fn plan(&mut self, request: &PlanRequest) -> RResult<Plan, PluginError> {
        guard(|| self.inner.plan(request)).into()
    }

    fn startup(&mut self) -> RResult<(), PluginError> {
        guard(|| self.inner.startup()).into()
    }

    fn shutdown(&mut self) -> RResult<(), PluginError> {
        guard(|| {
            self.inner.shutdown();
            Ok(())
        })
        .into()
    }

    fn instance(&mut self) -> *mut () {
        let inner: &mut P = &mut self.inner;
        std::ptr::from_mut(inner).cast()
    }
}

impl<P: WorkflowModule> WorkflowModuleObject for Guarded<P> {
    fn describe(&self) -> RResult<ModuleDescription, PluginError> {
        guard(|| Ok(self.inner.describe())).into()
    }

    fn validate_state(&self, state_json: RStr<'_>) -> RResult<List<Diagnostic>, PluginError> {
        guard(|| self.inner.validate_state(&state_json)).into()
    }

    fn get_runtime_state(
        &self,
        state_json: RStr<'_>,
        overrides_json: RStr<'_>,
    ) -> RResult<Text, PluginError> {
        guard(|| self.inner.get_runtime_state(&state_json, &overrides_json)).into()
    }

    fn recover_runtime_state(&self, stored_json: RStr<'_>) -> RResult<Text, PluginError> {
        guard(|| self.inner.recover_runtime_state(&stored_json)).into()
    }

    fn execute(&self, step: &StepContext) -> RResult<StepOutcome, PluginError> {
        guard(|| self.inner.execute(step)).into()
    }

    fn recover_mapping(&self, step: &StepContext) -> RResult<StepOutcome, PluginError> {
        guard(|| self.inner.recover_mapping(step)).into()
    }

    fn do_invocation_step_action(
        &self,
        step: &StepContext,
        action_json: RStr<'_>,
    ) -> RResult<Text, PluginError> {
        guard(|| self.inner.do_invocation_step_action(step, &action_json)).into()
    }
}

impl<P: JobRunner> JobRunnerObject for Guarded<P> {
    fn capacity(&self) -> RResult<RunnerCapacity, PluginError> {
        guard(|| Ok(self.inner.capacity())).into()
    }

    fn submit(&self, jobs: RSlice<'_, JobSpec>) -> RResult<List<SubmitResult>, PluginError> {
        guard(|| self.inner.submit(&jobs)).into()
    }

    fn cancel(&self, jobs: RSlice<'_, JobRef>) -> RResult<List<CancelResult>, PluginError> {
        guard(|| self.inner.cancel(&jobs)).into()
    }

    fn recover(
        &self,
        jobs: RSlice<'_, RecoverRequest>,
    ) -> RResult<List<RecoverResult>, PluginError> {
        guard(|| self.inner.recover(&jobs)).into()
    }

    fn poll(&self, jobs: RSlice<'_, JobRef>) -> RResult<List<JobReport>, PluginError> {
        guard(|| self.inner.poll(&jobs)).into()
    }

    fn shutdown(&self) -> RResult<(), PluginError> {
        guard(|| {
            self.inner.shutdown();
            Ok(())
        })
        .into()
    }
}

/// The host's services as an object. A panic in one of them is printed and otherwise ignored: the
/// plugin that asked is not to blame and must not be unwound through.
pub(crate) struct HostAdapter<H>(pub(crate) H);

impl<H: HostApi> HostObject for HostAdapter<H> {
    fn log(&self, level: LogLevel, target: RStr<'_>, message: RStr<'_>) {
        or_default(|| self.0.log(level, &target, &message));
    }

    fn log_enabled(&self, level: LogLevel) -> bool {
        or_default(|| self.0.log_enabled(level))
    }

    fn now_ms(&self) -> i64 {
        or_default(|| self.0.now_ms())
    }

    fn wake(&self) {
        or_default(|| self.0.wake());
    }

    fn report_jobs(&self, reports: List<JobReport>) {
        or_default(|| self.0.report_jobs(reports));
    }

    fn query(&self, kind: RStr<'_>, json: RStr<'_>) -> RResult<RString, PluginError> {
        guard(|| self.0.query(&kind, &json).map(RString::from)).into()
    }
}

fn or_default<T: Default>(body: impl FnOnce() -> T) -> T {
    guard(|| Ok(body())).unwrap_or_else(|error| {
        eprintln!("a host service panicked: {error}");
        T::default()
    })
}
