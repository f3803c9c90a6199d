//! Every method of every kind, once: its name, what goes in, what comes out, and how it is called.
//!
//! This list is all that a transport needs: the same line calls an object in this process, in a child,
//! and from a recording.

use super::calling;
use super::codec::{Codec, Compact, Kept, MadePlan, Postcard};
use barycenter_plugin_api::abi::{
    HostBox, JobRunnerBox, PluginRootRef, SchedulerBox, WorkflowModuleBox,
};
use barycenter_plugin_api::capability::{Dropped, SchedulerCapabilities};
use barycenter_plugin_api::{
    CancelResult, Diagnostic, ExplainRequest, Explanation, Host, JobRef, JobReport, JobSpec, List,
    ModuleDescription, PlanRequest, PluginError, PluginKind, RecoverRequest, RecoverResult,
    RunnerCapacity, StepContext, StepOutcome, SubmitResult, Text,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::any::Any;
use std::borrow::Cow;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One method of a plugin.
pub(crate) trait Method: 'static {
    /// Its name, in statistics, frames and recordings.
    const NAME: &'static str;
    /// What goes in.
    type Request: ?Sized + Serialize + ToOwned<Owned: DeserializeOwned + Send + Sync + 'static>;
    /// What comes out.
    type Answer: Serialize + DeserializeOwned + Send + 'static;
    /// How both are written for a process.
    type Codec: Codec<Self::Request, Self::Answer>;
    /// Calls it.
    fn call(object: &Object, request: &Self::Request) -> Result<Self::Answer, PluginError>;
}

/// The request of a method, when it is owned.
pub(crate) type Owned<M> = <<M as Method>::Request as ToOwned>::Owned;

/// A plugin's object of any kind, made in this process.
pub(crate) enum Object {
    /// Its methods are called one at a time.
    Scheduler(Mutex<MadeScheduler>),
    WorkflowModule(WorkflowModuleBox),
    JobRunner(JobRunnerBox),
}

/// A scheduler with what its library can do besides.
pub(crate) struct MadeScheduler {
    made: SchedulerBox,
    capabilities: SchedulerCapabilities,
}

impl MadeScheduler {
    fn snapshot(&mut self) -> Result<Text, PluginError> {
        self.capabilities.snapshot_state(&mut self.made)
    }

    fn restore(&mut self, state_json: &str) -> Result<(), PluginError> {
        self.capabilities.restore_state(&mut self.made, state_json)
    }

    fn explain(&mut self, request: &ExplainRequest) -> Result<Explanation, PluginError> {
        self.capabilities.explain(&mut self.made, request)
    }
}

/// What a library can do besides: the ids of its capabilities, and those that cannot be used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    ids: Vec<String>,
    dropped: Vec<(String, String)>,
}

impl Capabilities {
    /// Asks an open library.
    pub(crate) fn of(root: PluginRootRef, kind: PluginKind) -> Self {
        if kind != PluginKind::Scheduler {
            return Self::default();
        }
        let found = SchedulerCapabilities::of(root);
        let dropped = found.dropped().iter().cloned();
        Self {
            ids: found.ids().into_iter().map(str::to_owned).collect(),
            dropped: dropped.map(|Dropped { id, reason }| (id, reason)).collect(),
        }
    }

    /// Whether this one can be used.
    pub fn has(&self, id: &str) -> bool {
        self.ids.iter().any(|known| known == id)
    }

    /// The ids of those that can be used.
    pub fn ids(&self) -> &[String] {
        &self.ids
    }

    /// Those that the library offers and that cannot be used, each with the reason.
    pub fn dropped(&self) -> &[(String, String)] {
        &self.dropped
    }
}

impl Object {
    /// Makes one from its configuration (JSON text).
    pub fn create(
        root: PluginRootRef,
        kind: PluginKind,
        config: &str,
        host: Host,
    ) -> Result<Self, PluginError> {
        let (config, host): (_, HostBox) = (config.into(), host.into_object());
        Ok(match kind {
            PluginKind::Scheduler => Self::Scheduler(Mutex::new(MadeScheduler {
                made: root.scheduler()(config, host).into_result()?,
                capabilities: SchedulerCapabilities::of(root),
            })),
            PluginKind::WorkflowModule => {
                Self::WorkflowModule(root.workflow_module()(config, host).into_result()?)
            }
            PluginKind::JobRunner => {
                Self::JobRunner(root.job_runner()(config, host).into_result()?)
            }
        })
    }

    /// What it is.
    pub fn kind(&self) -> PluginKind {
        match self {
            Self::Scheduler(_) => PluginKind::Scheduler,
            Self::WorkflowModule(_) => PluginKind::WorkflowModule,
            Self::JobRunner(_) => PluginKind::JobRunner,
        }
    }

    fn scheduler(&self) -> Result<MutexGuard<'_, MadeScheduler>, PluginError> {
        match self {
            // A panic cannot have happened under the lock: every method is guarded.
            Self::Scheduler(object) => Ok(object.lock().unwrap_or_else(PoisonError::into_inner)),
            _ => Err(of_another_kind()),
        }
    }

    fn workflow_module(&self) -> Result<&WorkflowModuleBox, PluginError> {
        match self {
            Self::WorkflowModule(object) => Ok(object),
            _ => Err(of_another_kind()),
        }
    }

    fn job_runner(&self) -> Result<&JobRunnerBox, PluginError> {
        match self {
            Self::JobRunner(object) => Ok(object),
            _ => Err(of_another_kind()),
        }
    }
}

fn of_another_kind() -> PluginError {
    PluginError::refused("The plugin is of another kind")
}

/// A call as bytes: what `serve` makes of a frame and answers with.
pub(crate) enum Served {
    /// The answer was appended to the buffer. This is the answer itself: nobody needs to wait until it is dropped.
    Answered(Box<dyn Any>),
    /// The plugin said no.
    Failed(PluginError),
    /// There is no such method, or its request cannot be read.
    Unreadable(String),
}

/// Reads the request of a method, calls it, and appends the answer to `out`.
fn serve_one<M: Method>(
    object: &Object,
    request: &[u8],
    kept: &mut Kept,
    out: &mut Vec<u8>,
) -> Served {
    let request = match M::Codec::read_request(request, kept) {
        Ok(request) => request,
        Err(error) => return Served::Unreadable(format!("the request of {}: {error}", M::NAME)),
    };
    let answer = match calling::during(M::NAME, || M::call(object, &request)) {
        Ok(answer) => answer,
        Err(error) => return Served::Failed(error),
    };
    match M::Codec::write_answer(&answer, out) {
        Ok(()) => Served::Answered(Box::new(answer)),
        Err(error) => Served::Failed(PluginError::failed(format!(
            "the answer cannot be written: {error}"
        ))),
    }
}

macro_rules! methods {
    ($($(#[$doc:meta])* $kind:ident $name:ident $text:literal $codec:ident: $request:ty => $answer:ty, |$object:ident, $asked:ident| $body:expr;)+) => {
        $(
            $(#[$doc])*
            pub(crate) struct $name;

            impl Method for $name {
                const NAME: &'static str = $text;
                type Request = $request;
                type Answer = $answer;
                type Codec = $codec;

                fn call(object: &Object, $asked: &Self::Request) -> Result<$answer, PluginError> {
                    #[allow(unused_mut, reason = "schedulers' methods take a unique reference")]
                    let mut $object = object.$kind()?;
                    $body
                }
            }
        )+

        /// Calls the method of that name with a request in bytes.
        pub(crate) fn serve(
            object: &Object,
            name: &str,
            request: &[u8],
            kept: &mut Kept,
            out: &mut Vec<u8>,
        ) -> Served {
            let kind = object.kind().name();
            $(
                if name == $text && kind == stringify!($kind) {
                    return serve_one::<$name>(object, request, kept, out);
                }
            )+
            Served::Unreadable(format!("a {kind} has no method `{name}`"))
        }

        /// A method's name, from what a plugin's process calls it.
        pub(crate) fn known(name: &str) -> &'static str {
            [$($text),+].into_iter().find(|known| *known == name).unwrap_or_default()
        }

        /// The names of a kind's methods.
        pub(crate) fn names(kind: PluginKind) -> Vec<&'static str> {
            let all = [$((stringify!($kind), $text)),+];
            all.iter().filter(|(of, _)| *of == kind.name()).map(|(_, name)| *name).collect()
        }

        /// The request of a method as JSON, from its bytes.
        pub(crate) fn request_as_json(
            kind: PluginKind,
            name: &str,
            request: &[u8],
        ) -> Option<serde_json::Value> {
            $(
                if name == $text && kind.name() == stringify!($kind) {
                    type Form = <$name as Method>::Codec;
                    let mut kept = Kept::default();
                    let request: Result<Cow<'_, $request>, _> =
                        <Form as Codec<$request, $answer>>::read_request(request, &mut kept);
                    return serde_json::to_value(&*request.ok()?).ok();
                }
            )+
            None
        }
    };
}

/// What [`GetRuntimeState`] is asked.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct RuntimeStateRequest {
    pub state_json: String,
    pub overrides_json: String,
}

/// What [`DoInvocationStepAction`] is asked.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct ActionRequest {
    pub step: StepContext,
    pub action_json: String,
}

methods! {
    scheduler SchedulerPlan "plan" Compact: PlanRequest => MadePlan,
        |object, asked| object.made.plan(asked).into_result().map(MadePlan::from);
    scheduler SchedulerStartup "startup" Postcard: () => (), |object, _asked| object.made.startup().into_result();
    scheduler SchedulerShutdown "shutdown" Postcard: () => (), |object, _asked| object.made.shutdown().into_result();

    scheduler SnapshotState "snapshot_state" Postcard: () => Text, |object, _asked| object.snapshot();
    scheduler RestoreState "restore_state" Postcard: str => (), |object, asked| object.restore(asked);
    scheduler Explain "explain" Postcard: ExplainRequest => Explanation, |object, asked| object.explain(asked);

    workflow_module Describe "describe" Postcard: () => ModuleDescription, |object, _asked| object.describe().into_result();
    workflow_module ValidateState "validate_state" Postcard: str => List<Diagnostic>,
        |object, asked| object.validate_state(asked.into()).into_result();
    workflow_module GetRuntimeState "get_runtime_state" Postcard: RuntimeStateRequest => Text,
        |object, asked| object.get_runtime_state(
            asked.state_json.as_str().into(),
            asked.overrides_json.as_str().into(),
        ).into_result();
    workflow_module RecoverRuntimeState "recover_runtime_state" Postcard: str => Text,
        |object, asked| object.recover_runtime_state(asked.into()).into_result();
    workflow_module Execute "execute" Postcard: StepContext => StepOutcome, |object, asked| object.execute(asked).into_result();
    workflow_module RecoverMapping "recover_mapping" Postcard: StepContext => StepOutcome,
        |object, asked| object.recover_mapping(asked).into_result();
    workflow_module DoInvocationStepAction "do_invocation_step_action" Postcard: ActionRequest => Text,
        |object, asked| object.do_invocation_step_action(&asked.step, asked.action_json.as_str().into()).into_result();

    job_runner Capacity "capacity" Postcard: () => RunnerCapacity, |object, _asked| object.capacity().into_result();
    job_runner Submit "submit" Postcard: [JobSpec] => List<SubmitResult>, |object, asked| object.submit(asked.into()).into_result();
    job_runner Cancel "cancel" Postcard: [JobRef] => List<CancelResult>, |object, asked| object.cancel(asked.into()).into_result();
    job_runner Recover "recover" Postcard: [RecoverRequest] => List<RecoverResult>,
        |object, asked| object.recover(asked.into()).into_result();
    job_runner Poll "poll" Postcard: [JobRef] => List<JobReport>, |object, asked| object.poll(asked.into()).into_result();
    job_runner RunnerShutdown "shutdown" Postcard: () => (), |object, _asked| object.shutdown().into_result();
}
