//! The host's side of a plugin: calls it, measures it, and turns its failures into typed errors.

use super::check::check_plan;
use super::stats::{Counters, MethodStats};
use barycenter_plugin_api::abi::{JobRunnerBox, SchedulerBox, WorkflowModuleBox};
use barycenter_plugin_api::capability::SchedulerCapabilities;
use barycenter_plugin_api::{
    CancelResult, Diagnostic, ErrorCode, ExplainRequest, Explanation, JobRef, JobReport, JobSpec,
    ModuleDescription, Plan, PlanRequest, PluginError, RecoverRequest, RecoverResult,
    RunnerCapacity, Severity, StepContext, StepOutcome, SubmitResult,
};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Why a call into a plugin gave nothing usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PluginCallError {
    /// It panicked.
    #[error("plugin {plugin} panicked in {method}: {message} (at {location})")]
    Panicked {
        /// The instance.
        plugin: String,
        /// What was called.
        method: &'static str,
        /// What the panic said.
        message: String,
        /// Where it happened.
        location: String,
    },
    /// It said no, or failed.
    #[error("plugin {plugin} could not {method}: {message}")]
    Refused {
        /// The instance.
        plugin: String,
        /// What was called.
        method: &'static str,
        /// What it said.
        message: String,
        /// What was passed in made no sense to it: the caller's fault, not the plugin's.
        bad_input: bool,
    },
    /// Its answer breaks a rule.
    #[error("plugin {plugin} gave an invalid answer to {method}: {}", faults.join("; "))]
    Invalid {
        /// The instance.
        plugin: String,
        /// What was called.
        method: &'static str,
        /// The rules.
        faults: Vec<String>,
    },
    /// It has not answered in time. The call goes on; until it is back, more calls fail like this.
    #[error("plugin {plugin} did not answer {method} within {limit:?}")]
    TimedOut {
        /// The instance.
        plugin: String,
        /// What was called.
        method: &'static str,
        /// Its limit.
        limit: Duration,
    },
}

/// What every instance has.
struct Identity {
    id: String,
    type_id: String,
    version: String,
    counters: Vec<Counters>,
}

impl Identity {
    fn new(id: &str, type_id: &str, version: &str, methods: &[&'static str]) -> Self {
        Self {
            id: id.to_owned(),
            type_id: type_id.to_owned(),
            version: version.to_owned(),
            counters: methods.iter().map(|method| Counters::new(method)).collect(),
        }
    }

    fn counters(&self, method: &str) -> Option<&Counters> {
        self.counters
            .iter()
            .find(|counters| counters.method == method)
    }

    /// Times a call and names its failure.
    fn measure<T>(
        &self,
        method: &'static str,
        call: impl FnOnce() -> Result<T, PluginError>,
    ) -> Result<T, PluginCallError> {
        let begin = Instant::now();
        let result = call();
        let panicked = matches!(&result, Err(error) if error.code == ErrorCode::PANICKED);
        if let Some(counters) = self.counters(method) {
            counters.count_call(begin.elapsed(), result.is_err(), panicked);
        }
        result.map_err(|error| self.failure(method, &error))
    }

    fn failure(&self, method: &'static str, error: &PluginError) -> PluginCallError {
        let plugin = self.id.clone();
        let message = error.message.to_string();
        if error.code == ErrorCode::PANICKED {
            let location = error.location.to_string();
            return PluginCallError::Panicked {
                plugin,
                method,
                message,
                location,
            };
        }
        PluginCallError::Refused {
            plugin,
            method,
            message,
            bad_input: error.code == ErrorCode::INVALID,
        }
    }

    fn invalid(&self, method: &'static str, faults: Vec<String>) -> PluginCallError {
        if let Some(counters) = self.counters(method) {
            counters.count_invalid();
        }
        PluginCallError::Invalid {
            plugin: self.id.clone(),
            method,
            faults,
        }
    }
}

/// The accessors that all three kinds of instances share.
macro_rules! identity_accessors {
    () => {
        /// The instance's name in plugins.toml.
        pub fn id(&self) -> &str {
            &self.0.identity.id
        }

        /// The plugin type.
        pub fn type_id(&self) -> &str {
            &self.0.identity.type_id
        }

        /// The plugin's own version.
        pub fn version(&self) -> &str {
            &self.0.identity.version
        }

        /// A reading of the counters, one entry per method.
        pub fn stats(&self) -> Vec<MethodStats> {
            self.0
                .identity
                .counters
                .iter()
                .map(Counters::read)
                .collect()
        }
    };
}

const SCHEDULER_METHODS: [&str; 6] = [
    "plan",
    "startup",
    "shutdown",
    "snapshot_state",
    "restore_state",
    "explain",
];

/// A scheduler. Cheap to clone; calls from several threads wait for each other.
#[derive(Clone)]
pub struct SchedulerInstance(Arc<SchedulerInner>);

struct SchedulerInner {
    identity: Identity,
    active: bool,
    fallback: Option<String>,
    capabilities: SchedulerCapabilities,
    cycles: AtomicU64,
    transport: Transport,
}

enum Transport {
    Direct(Mutex<SchedulerBox>),
    /// A thread of its own, so that a caller can give up waiting.
    Thread {
        requests: SyncSender<Job>,
        limit: Duration,
    },
}

type Job = Box<dyn FnOnce(&mut SchedulerBox) + Send>;

/// The most that a scheduler's state may have, in bytes.
const STATE_MAX: usize = 1 << 20;

impl SchedulerInstance {
    identity_accessors!();

    pub(super) fn new(
        names: (&str, &str, &str),
        active: bool,
        fallback: Option<String>,
        call_timeout: Option<Duration>,
        capabilities: SchedulerCapabilities,
        object: SchedulerBox,
    ) -> std::io::Result<Self> {
        let transport = match call_timeout {
            None => Transport::Direct(Mutex::new(object)),
            Some(limit) => {
                let (requests, jobs) = sync_channel(0); // accepted only when the thread is free
                std::thread::Builder::new()
                    .name(format!("plugin-{}", names.0))
                    .spawn(move || serve(object, &jobs))?;
                Transport::Thread { requests, limit }
            }
        };
        Ok(Self(Arc::new(SchedulerInner {
            identity: Identity::new(names.0, names.1, names.2, &SCHEDULER_METHODS),
            active,
            fallback,
            capabilities,
            cycles: AtomicU64::new(0),
            transport,
        })))
    }

    /// The host calls `plan`; otherwise it only starts and stops the scheduler.
    pub fn is_active(&self) -> bool {
        self.0.active
    }

    /// The scheduler that plans when this one fails (`on_failure`).
    pub fn fallback(&self) -> Option<&str> {
        self.0.fallback.as_deref()
    }

    /// How long a call may take, if there is a limit.
    pub fn limit(&self) -> Option<Duration> {
        match &self.0.transport {
            Transport::Direct(_) => None,
            Transport::Thread { limit, .. } => Some(*limit),
        }
    }

    /// The number of the next plan that is asked of it, from 1.
    pub fn next_cycle(&self) -> u64 {
        self.0.cycles.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Asks for a plan and checks it. A plan that breaks a rule is an error as a whole.
    pub fn plan(&self, request: &Arc<PlanRequest>) -> Result<Plan, PluginCallError> {
        let asked = Arc::clone(request);
        let plan = self.call("plan", move |object| object.plan(&asked).into_result())?;
        check_plan(request, &plan).map_err(|faults| self.0.identity.invalid("plan", faults))?;
        Ok(plan)
    }

    /// Called once, before the first plan.
    pub fn startup(&self) -> Result<(), PluginCallError> {
        self.call("startup", |object| object.startup().into_result())
    }

    /// Called once, when the server stops.
    pub fn shutdown(&self) -> Result<(), PluginCallError> {
        self.call("shutdown", |object| object.shutdown().into_result())
    }

    /// What it can do besides, and what it offers that cannot be used.
    pub fn capabilities(&self) -> &SchedulerCapabilities {
        &self.0.capabilities
    }

    /// Its state, as JSON text. Refused without the capability.
    pub fn snapshot_state(&self) -> Result<String, PluginCallError> {
        let capabilities = self.0.capabilities.clone();
        let state: String = self
            .call("snapshot_state", move |object| {
                capabilities.snapshot_state(object)
            })?
            .into();
        let fault = if state.len() > STATE_MAX {
            Some(format!("its state has more than {STATE_MAX} bytes"))
        } else {
            let read = serde_json::from_str::<serde::de::IgnoredAny>(&state);
            read.err()
                .map(|error| format!("its state is not JSON: {error}"))
        };
        match fault {
            None => Ok(state),
            Some(fault) => Err(self.0.identity.invalid("snapshot_state", vec![fault])),
        }
    }

    /// Gives an earlier state back. Refused without the capability.
    pub fn restore_state(&self, state_json: &str) -> Result<(), PluginCallError> {
        let capabilities = self.0.capabilities.clone();
        let state = state_json.to_owned();
        self.call("restore_state", move |object| {
            capabilities.restore_state(object, &state)
        })
    }

    /// Why an invocation waits. Refused without the capability.
    pub fn explain(&self, request: ExplainRequest) -> Result<Explanation, PluginCallError> {
        let capabilities = self.0.capabilities.clone();
        self.call("explain", move |object| {
            capabilities.explain(object, &request)
        })
    }

    fn call<T: Send + 'static>(
        &self,
        method: &'static str,
        body: impl FnOnce(&mut SchedulerBox) -> Result<T, PluginError> + Send + 'static,
    ) -> Result<T, PluginCallError> {
        let identity = &self.0.identity;
        match &self.0.transport {
            Transport::Direct(object) => {
                let mut object = object.lock().unwrap_or_else(PoisonError::into_inner);
                identity.measure(method, || body(&mut object))
            }
            Transport::Thread { requests, limit } => {
                let mut timed_out = false;
                let result = identity.measure(method, || {
                    let answer = ask(requests, *limit, body);
                    timed_out = answer.is_none();
                    answer.unwrap_or_else(|| Err(PluginError::failed("no answer in time")))
                });
                if timed_out {
                    return Err(PluginCallError::TimedOut {
                        plugin: identity.id.clone(),
                        method,
                        limit: *limit,
                    });
                }
                result
            }
        }
    }
}

/// The life of a scheduler's own thread: until nobody can ask any more.
fn serve(mut object: SchedulerBox, jobs: &Receiver<Job>) {
    while let Ok(job) = jobs.recv() {
        job(&mut object);
    }
}

/// Hands `body` to the thread; `None` when it is busy or does not finish within `limit`.
fn ask<T: Send + 'static>(
    requests: &SyncSender<Job>,
    limit: Duration,
    body: impl FnOnce(&mut SchedulerBox) -> Result<T, PluginError> + Send + 'static,
) -> Option<Result<T, PluginError>> {
    let until = Instant::now() + limit;
    let (answer, answers) = sync_channel(1);
    let mut job: Job = Box::new(move |object| {
        // The caller may have given up.
        let _ = answer.send(body(object));
    });
    loop {
        match requests.try_send(job) {
            Ok(()) => break,
            Err(TrySendError::Full(back)) if Instant::now() < until => {
                job = back;
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(_) => return None,
        }
    }
    let left = until.saturating_duration_since(Instant::now());
    answers.recv_timeout(left).ok()
}

/// A workflow module. Cheap to clone.
#[derive(Clone)]
pub struct ModuleInstance(Arc<ModuleInner>);

/// Faults of one step's state that are told.
const PROBLEMS_MAX: usize = 5;

struct ModuleInner {
    identity: Identity,
    description: ModuleDescription,
    /// Made of the description's schema.
    state_validator: Option<jsonschema::Validator>,
    object: WorkflowModuleBox,
}

impl ModuleInstance {
    identity_accessors!();

    pub(super) fn new(
        names: (&str, &str, &str),
        object: WorkflowModuleBox,
    ) -> Result<Self, PluginCallError> {
        let identity = Identity::new(
            names.0,
            names.1,
            names.2,
            &[
                "describe",
                "validate_state",
                "get_runtime_state",
                "recover_runtime_state",
                "execute",
                "recover_mapping",
                "do_invocation_step_action",
            ],
        );
        let description = identity.measure("describe", || object.describe().into_result())?;
        if description.type_id != names.1 {
            let fault = format!("it describes the type `{}`", description.type_id);
            return Err(identity.invalid("describe", vec![fault]));
        }
        let schema = description.state_schema.trim();
        let validator = match schema {
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
            identity.invalid("describe", vec![fault])
        })?;
        Ok(Self(Arc::new(ModuleInner {
            identity,
            description,
            state_validator,
            object,
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
        let call = || {
            self.0
                .object
                .validate_state(state_json.into())
                .into_result()
        };
        self.0
            .identity
            .measure("validate_state", call)
            .map(Into::into)
    }

    /// The runtime state to persist, as JSON text.
    pub fn get_runtime_state(
        &self,
        state_json: &str,
        overrides_json: &str,
    ) -> Result<String, PluginCallError> {
        let object = &self.0.object;
        self.json("get_runtime_state", || {
            object
                .get_runtime_state(state_json.into(), overrides_json.into())
                .into_result()
        })
    }

    /// The runtime state from its persisted form, as JSON text.
    pub fn recover_runtime_state(&self, stored_json: &str) -> Result<String, PluginCallError> {
        let object = &self.0.object;
        self.json("recover_runtime_state", || {
            object
                .recover_runtime_state(stored_json.into())
                .into_result()
        })
    }

    /// The step is reached.
    pub fn execute(&self, step: &StepContext) -> Result<StepOutcome, PluginCallError> {
        self.outcome("execute", || self.0.object.execute(step).into_result())
    }

    /// The step is scheduled already: what are its outputs?
    pub fn recover_mapping(&self, step: &StepContext) -> Result<StepOutcome, PluginCallError> {
        self.outcome("recover_mapping", || {
            self.0.object.recover_mapping(step).into_result()
        })
    }

    /// A user asks something of the waiting step; the JSON text to store as its action.
    pub fn do_invocation_step_action(
        &self,
        step: &StepContext,
        action_json: &str,
    ) -> Result<String, PluginCallError> {
        let object = &self.0.object;
        self.json("do_invocation_step_action", || {
            object
                .do_invocation_step_action(step, action_json.into())
                .into_result()
        })
    }

    fn json<T: Into<String>>(
        &self,
        method: &'static str,
        call: impl FnOnce() -> Result<T, PluginError>,
    ) -> Result<String, PluginCallError> {
        let text: String = self.0.identity.measure(method, call)?.into();
        match serde_json::from_str::<serde::de::IgnoredAny>(&text) {
            Ok(_) => Ok(text),
            Err(error) => {
                let fault = format!("it is not JSON: {error}");
                Err(self.0.identity.invalid(method, vec![fault]))
            }
        }
    }

    /// Outputs must be those of the description, each at most once.
    fn outcome(
        &self,
        method: &'static str,
        call: impl FnOnce() -> Result<StepOutcome, PluginError>,
    ) -> Result<StepOutcome, PluginCallError> {
        let outcome = self.0.identity.measure(method, call)?;
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
            Err(self.0.identity.invalid(method, faults))
        }
    }
}

/// A job runner. Cheap to clone.
#[derive(Clone)]
pub struct RunnerInstance(Arc<RunnerInner>);

struct RunnerInner {
    identity: Identity,
    object: JobRunnerBox,
}

impl RunnerInstance {
    identity_accessors!();

    pub(super) fn new(names: (&str, &str, &str), object: JobRunnerBox) -> Self {
        let methods = [
            "capacity", "submit", "cancel", "recover", "poll", "shutdown",
        ];
        Self(Arc::new(RunnerInner {
            identity: Identity::new(names.0, names.1, names.2, &methods),
            object,
        }))
    }

    /// How much it can run.
    pub fn capacity(&self) -> Result<RunnerCapacity, PluginCallError> {
        self.0
            .identity
            .measure("capacity", || self.0.object.capacity().into_result())
    }

    /// Hands over jobs. The answer has one entry per job, in order.
    pub fn submit(&self, jobs: &[JobSpec]) -> Result<Vec<SubmitResult>, PluginCallError> {
        let call = || self.0.object.submit(jobs.into()).into_result();
        let answers: Vec<_> = self.0.identity.measure("submit", call)?.into();
        let ids = jobs.iter().map(|job| job.job_id);
        self.one_each("submit", ids, answers.iter().map(|answer| answer.job_id))?;
        Ok(answers)
    }

    /// Asks jobs to end.
    pub fn cancel(&self, jobs: &[JobRef]) -> Result<Vec<CancelResult>, PluginCallError> {
        let call = || self.0.object.cancel(jobs.into()).into_result();
        let answers: Vec<_> = self.0.identity.measure("cancel", call)?.into();
        let ids = jobs.iter().map(|job| job.job_id);
        self.one_each("cancel", ids, answers.iter().map(|answer| answer.job_id))?;
        Ok(answers)
    }

    /// After a restart: what became of these jobs?
    pub fn recover(&self, jobs: &[RecoverRequest]) -> Result<Vec<RecoverResult>, PluginCallError> {
        let call = || self.0.object.recover(jobs.into()).into_result();
        let answers: Vec<_> = self.0.identity.measure("recover", call)?.into();
        let ids = jobs.iter().map(|job| job.spec.job_id);
        self.one_each("recover", ids, answers.iter().map(|answer| answer.job_id))?;
        Ok(answers)
    }

    /// News of jobs, for runners that cannot push.
    pub fn poll(&self, jobs: &[JobRef]) -> Result<Vec<JobReport>, PluginCallError> {
        let call = || self.0.object.poll(jobs.into()).into_result();
        self.0.identity.measure("poll", call).map(Into::into)
    }

    /// The server stops; running jobs go on.
    pub fn shutdown(&self) -> Result<(), PluginCallError> {
        self.0
            .identity
            .measure("shutdown", || self.0.object.shutdown().into_result())
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
        Err(self.0.identity.invalid(method, vec![fault]))
    }
}
