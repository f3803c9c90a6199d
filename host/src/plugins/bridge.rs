//! The host's side of a plugin, by kind: what may be asked of it, and which rules its answers keep.

use super::check::check_plan;
use super::failure::{Loss, PluginCallError};
use super::inproc::Ask;
use super::methods::{self, ActionRequest, Capabilities, Method, RuntimeStateRequest};
use super::probation::Probation;
use super::record::Recorder;
use super::rehearsal::Rehearsal;
use super::stats::MethodStats;
use super::supervision::Supervision;
use super::transport::Caller;
use barycenter_plugin_api::{
    CancelResult, Diagnostic, ExplainRequest, Explanation, JobRef, JobReport, JobSpec,
    ModuleDescription, Plan, PlanRequest, RecoverRequest, RecoverResult, RunnerCapacity, Severity,
    StepContext, StepOutcome, SubmitResult, Text,
};
use serde::Serialize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// What shows whether a plugin is fit; the rest says little.
const WORK: [&str; 5] = ["plan", "execute", "recover_mapping", "submit", "recover"];

/// The accessors that all three kinds of instances share.
macro_rules! identity_accessors {
    () => {
        /// The instance's name in plugins.toml.
        pub fn id(&self) -> &str {
            &self.0.caller.id
        }

        /// The plugin type.
        pub fn type_id(&self) -> &str {
            &self.0.caller.type_id
        }

        /// The plugin's own version.
        pub fn version(&self) -> &str {
            &self.0.caller.version
        }

        /// A reading of the counters, one entry per method.
        pub fn stats(&self) -> Vec<MethodStats> {
            self.0.caller.stats()
        }

        /// How it is doing.
        pub fn supervision(&self) -> &Arc<Supervision> {
            self.0.caller.supervision()
        }

        /// Whether it gets new work: an administrator has not disabled it.
        pub fn is_enabled(&self) -> bool {
            !self.0.caller.is_off()
        }

        /// Whether this is the very same instance and not another of its name.
        pub fn is(&self, other: &Self) -> bool {
            Arc::ptr_eq(&self.0, &other.0)
        }

        pub(super) fn caller(&self) -> &Caller {
            &self.0.caller
        }

        pub(super) fn probation(&self) -> &Probation<Self> {
            &self.0.probation
        }

        /// Nobody else has it any more.
        pub(super) fn is_left(&self) -> bool {
            Arc::strong_count(&self.0) == 1
        }

        /// Makes a call; while this one is on trial, the one before it is asked when it breaks down.
        fn tried<A>(
            &self,
            method: &str,
            call: impl Fn(&Self) -> Result<A, PluginCallError>,
        ) -> Result<A, PluginCallError> {
            let outcome = call(self);
            match self.0.probation.judge(WORK.contains(&method), &outcome) {
                Some(old) => call(&old),
                None => outcome,
            }
        }
    };
}

/// A scheduler. Cheap to clone; calls from several threads wait for each other.
#[derive(Clone)]
pub struct SchedulerInstance(Arc<SchedulerInner>);

struct SchedulerInner {
    caller: Caller,
    active: bool,
    fallback: Option<String>,
    capabilities: Capabilities,
    cycles: AtomicU64,
    probation: Probation<SchedulerInstance>,
    rehearsal: Rehearsal,
    is_shut_down: AtomicBool,
    recorder: OnceLock<Mutex<Recorder>>,
    /// Which process of a passive one asked something last, and when.
    heard: Mutex<(u64, Instant)>,
}

/// The most that a scheduler's state may have, in bytes.
const STATE_MAX: usize = 1 << 20;

impl SchedulerInstance {
    identity_accessors!();

    pub(super) fn new(
        caller: Caller,
        active: bool,
        fallback: Option<String>,
        capabilities: Capabilities,
    ) -> Self {
        Self(Arc::new(SchedulerInner {
            caller,
            active,
            fallback,
            capabilities,
            cycles: AtomicU64::new(0),
            probation: Probation::default(),
            rehearsal: Rehearsal::default(),
            is_shut_down: AtomicBool::new(false),
            recorder: OnceLock::new(),
            heard: Mutex::new((0, Instant::now())),
        }))
    }

    /// The host calls `plan`; otherwise it only starts and stops the scheduler.
    pub fn is_active(&self) -> bool {
        self.0.active
    }

    /// A passive one asked something of the server.
    pub fn heard(&self) {
        *self.0.heard.lock().unwrap_or_else(PoisonError::into_inner) =
            (self.supervision().generation(), Instant::now());
    }

    /// For how long a passive one that is there has asked for nothing, and how long it may.
    pub fn silence(&self) -> (Duration, Duration) {
        let mut heard = self.0.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, generation) = (Instant::now(), self.supervision().generation());
        // Time in which it was not there does not count.
        if heard.0 != generation || !self.supervision().may_be_called() {
            *heard = (generation, now);
        }
        (now.duration_since(heard.1), self.0.caller.silence())
    }

    /// A passive one does nothing any more: its process is ended, and another takes its place. False where it has none.
    pub fn give_up(&self) -> bool {
        self.heard();
        self.0.caller.give_up(Loss::Idle(self.0.caller.silence()))
    }

    /// The scheduler that plans when this one fails (`on_failure`).
    pub fn fallback(&self) -> Option<&str> {
        self.0.fallback.as_deref()
    }

    /// From now on calls are recorded, in the order in which the scheduler sees them.
    pub fn record(&self, recorder: Recorder) {
        let _ = self.0.recorder.set(Mutex::new(recorder));
    }

    /// Makes a call, and records it if that is wanted.
    fn recorded<Q: Serialize + ?Sized, A: Serialize>(
        &self,
        method: &'static str,
        request: &Q,
        call: impl FnOnce() -> Result<A, PluginCallError>,
    ) -> Result<A, PluginCallError> {
        let Some(recorder) = self.0.recorder.get() else {
            return call();
        };
        // Held over the call: another thread's must not come between it and its line.
        let recorder = recorder.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = Instant::now();
        let outcome = call();
        recorder.call(self.id(), method, request, &outcome, begin.elapsed());
        outcome
    }

    /// How long a call may take, if there is a limit.
    pub fn limit(&self) -> Option<Duration> {
        self.0.caller.limit()
    }

    /// The number of the next plan that is asked of it, from 1.
    pub fn next_cycle(&self) -> u64 {
        self.0.cycles.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Asks for a plan and checks it. A plan that breaks a rule is an error as a whole.
    pub fn plan(&self, request: &Arc<PlanRequest>) -> Result<Plan, PluginCallError> {
        let plan = self.tried("plan", |one| one.plan_alone(request))?;
        self.0.rehearsal.keep(request, &plan);
        Ok(plan)
    }

    /// As [`Self::plan`], with nobody to help.
    pub(super) fn plan_alone(&self, request: &Arc<PlanRequest>) -> Result<Plan, PluginCallError> {
        self.recorded("plan", &**request, || {
            let plan = self
                .0
                .caller
                .ask::<methods::SchedulerPlan>(&Ask::Shared(request))?;
            check_plan(request, &plan).map_err(|faults| self.0.caller.invalid("plan", faults))?;
            Ok(plan)
        })
    }

    /// Its last plans.
    pub(super) fn rehearsal(&self) -> &Rehearsal {
        &self.0.rehearsal
    }

    /// Goes on where another left off: the numbers of its plans, and what may be asked of the next.
    pub(super) fn follow(&self, old: &Self) {
        let cycles = old.0.cycles.load(Ordering::Relaxed);
        self.0.cycles.store(cycles, Ordering::Relaxed);
        self.0.rehearsal.take_over(&old.0.rehearsal);
    }

    /// Called once, before the first plan.
    pub fn startup(&self) -> Result<(), PluginCallError> {
        self.recorded("startup", &(), || {
            self.0.caller.call::<methods::SchedulerStartup>(&())
        })
    }

    /// Called once, when the server stops.
    pub fn shutdown(&self) -> Result<(), PluginCallError> {
        if self.0.is_shut_down.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        self.recorded("shutdown", &(), || {
            self.0.caller.call::<methods::SchedulerShutdown>(&())
        })
    }

    /// What it can do besides, and what it offers that cannot be used.
    pub fn capabilities(&self) -> &Capabilities {
        &self.0.capabilities
    }

    /// Its state, as JSON text. Refused without the capability.
    pub fn snapshot_state(&self) -> Result<String, PluginCallError> {
        let state: String = self.0.caller.call::<methods::SnapshotState>(&())?.into();
        let fault = if state.len() > STATE_MAX {
            Some(format!("its state has more than {STATE_MAX} bytes"))
        } else {
            let read = serde_json::from_str::<serde::de::IgnoredAny>(&state);
            read.err()
                .map(|error| format!("its state is not JSON: {error}"))
        };
        match fault {
            None => {
                self.0.caller.remember(&state);
                Ok(state)
            }
            Some(fault) => Err(self.0.caller.invalid("snapshot_state", vec![fault])),
        }
    }

    /// Gives an earlier state back. Refused without the capability.
    pub fn restore_state(&self, state_json: &str) -> Result<(), PluginCallError> {
        let restored = self.recorded("restore_state", state_json, || {
            self.0.caller.call::<methods::RestoreState>(state_json)
        });
        // One that is not there gets it when it comes back.
        if restored
            .as_ref()
            .err()
            .is_none_or(PluginCallError::is_absence)
        {
            self.0.caller.remember(state_json);
        }
        restored
    }

    /// Why an invocation waits. Refused without the capability.
    pub fn explain(&self, request: ExplainRequest) -> Result<Explanation, PluginCallError> {
        self.0.caller.call::<methods::Explain>(&request)
    }
}

/// A workflow module. Cheap to clone.
#[derive(Clone)]
pub struct ModuleInstance(Arc<ModuleInner>);

/// Faults of one step's state that are told.
const PROBLEMS_MAX: usize = 5;

struct ModuleInner {
    caller: Caller,
    description: ModuleDescription,
    /// Made of the description's schema.
    state_validator: Option<jsonschema::Validator>,
    probation: Probation<ModuleInstance>,
}

impl ModuleInstance {
    identity_accessors!();

    pub(super) fn new(caller: Caller) -> Result<Self, PluginCallError> {
        let description = caller.call::<methods::Describe>(&())?;
        if description.type_id != caller.type_id.as_str() {
            let fault = format!("it describes the type `{}`", description.type_id);
            return Err(caller.invalid("describe", vec![fault]));
        }
        let validator = match description.state_schema.trim() {
            "" => Ok(None),
            schema => serde_json::from_str(schema)
                .map_err(|error| error.to_string())
                .and_then(|schema| {
                    jsonschema::validator_for(&schema).map_err(|error| error.to_string())
                })
                .map(Some),
        };
        let state_validator = validator.map_err(|error| {
            let fault = format!("its schema of a step's state is broken: {error}");
            caller.invalid("describe", vec![fault])
        })?;
        Ok(Self(Arc::new(ModuleInner {
            caller,
            description,
            state_validator,
            probation: Probation::default(),
        })))
    }

    /// What the step type is called and which terminals it has.
    pub fn description(&self) -> &ModuleDescription {
        &self.0.description
    }

    /// Everything that is wrong with a step's state: by the schema of the description, then by the module itself.
    pub fn problems(&self, state: &serde_json::Value) -> Result<Vec<String>, PluginCallError> {
        let mut problems = Vec::new();
        if let Some(validator) = &self.0.state_validator {
            for error in validator.iter_errors(state).take(PROBLEMS_MAX) {
                let at = error.instance_path().as_str().trim_start_matches('/');
                problems.push(match at {
                    "" => error.to_string(),
                    at => format!("{}: {error}", at.replace('/', ".")),
                });
            }
        }
        // What does not even fit the schema the module need not understand.
        if problems.is_empty() {
            let found = self.validate_state(&state.to_string())?;
            let bad = found
                .into_iter()
                .filter(|one| one.severity != Severity::WARNING);
            problems.extend(bad.take(PROBLEMS_MAX).map(|one| one.text.into_string()));
        }
        Ok(problems)
    }

    /// Checks a step's state at import.
    pub fn validate_state(&self, state_json: &str) -> Result<Vec<Diagnostic>, PluginCallError> {
        let found = self.tried("validate_state", |one| {
            one.0.caller.call::<methods::ValidateState>(state_json)
        })?;
        Ok(found.into())
    }

    /// The runtime state to persist, as JSON text.
    pub fn get_runtime_state(
        &self,
        state_json: &str,
        overrides_json: &str,
    ) -> Result<String, PluginCallError> {
        self.json::<methods::GetRuntimeState>(&RuntimeStateRequest {
            state_json: state_json.to_owned(),
            overrides_json: overrides_json.to_owned(),
        })
    }

    /// The runtime state from its persisted form, as JSON text.
    pub fn recover_runtime_state(&self, stored_json: &str) -> Result<String, PluginCallError> {
        self.json::<methods::RecoverRuntimeState>(stored_json)
    }

    /// The step is reached.
    pub fn execute(&self, step: &StepContext) -> Result<StepOutcome, PluginCallError> {
        self.outcome::<methods::Execute>(step)
    }

    /// The step is scheduled already: what are its outputs?
    pub fn recover_mapping(&self, step: &StepContext) -> Result<StepOutcome, PluginCallError> {
        self.outcome::<methods::RecoverMapping>(step)
    }

    /// A user asks something of the waiting step; the JSON text to store as its action.
    pub fn do_invocation_step_action(
        &self,
        step: &StepContext,
        action_json: &str,
    ) -> Result<String, PluginCallError> {
        self.json::<methods::DoInvocationStepAction>(&ActionRequest {
            step: step.clone(),
            action_json: action_json.to_owned(),
        })
    }

    fn json<M: Method<Answer = Text>>(
        &self,
        request: &M::Request,
    ) -> Result<String, PluginCallError> {
        self.tried(M::NAME, |one| one.json_alone::<M>(request))
    }

    fn json_alone<M: Method<Answer = Text>>(
        &self,
        request: &M::Request,
    ) -> Result<String, PluginCallError> {
        let text: String = self.0.caller.call::<M>(request)?.into();
        match serde_json::from_str::<serde::de::IgnoredAny>(&text) {
            Ok(_) => Ok(text),
            Err(error) => {
                let fault = format!("it is not JSON: {error}");
                Err(self.0.caller.invalid(M::NAME, vec![fault]))
            }
        }
    }

    fn outcome<M: Method<Request = StepContext, Answer = StepOutcome>>(
        &self,
        step: &StepContext,
    ) -> Result<StepOutcome, PluginCallError> {
        self.tried(M::NAME, |one| one.outcome_alone::<M>(step))
    }

    /// Outputs must be those of the description, each at most once.
    fn outcome_alone<M: Method<Request = StepContext, Answer = StepOutcome>>(
        &self,
        step: &StepContext,
    ) -> Result<StepOutcome, PluginCallError> {
        let outcome = self.0.caller.call::<M>(step)?;
        let known = |name: &str| {
            self.0
                .description
                .outputs
                .iter()
                .any(|output| output.name == name)
        };
        let mut faults = Vec::new();
        for (at, output) in outcome.outputs.iter().enumerate() {
            if !known(&output.name) {
                faults.push(format!("it has no output `{}`", output.name));
            } else if outcome.outputs[..at]
                .iter()
                .any(|other| other.name == output.name)
            {
                faults.push(format!("output `{}` is given twice", output.name));
            }
        }
        if faults.is_empty() {
            Ok(outcome)
        } else {
            Err(self.0.caller.invalid(M::NAME, faults))
        }
    }
}

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

    pub(super) fn new(caller: Caller) -> Self {
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
