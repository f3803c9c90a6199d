//! A scheduler.

use super::{WORK, identity_accessors};
use crate::plugins::check::check_plan;
use crate::plugins::codec::MadePlan;
use crate::plugins::failure::{Loss, PluginCallError};
use crate::plugins::inproc::Ask;
use crate::plugins::methods::{self, Capabilities};
use crate::plugins::probation::Probation;
use crate::plugins::record::Recorder;
use crate::plugins::rehearsal::Rehearsal;
use crate::plugins::stats::MethodStats;
use crate::plugins::supervision::Supervision;
use crate::plugins::transport::Caller;
use barycenter_plugin_api::{ExplainRequest, Explanation, PlanRequest};
use serde::Serialize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

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

    pub(in crate::plugins) fn new(
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
    pub fn plan(&self, request: &Arc<PlanRequest>) -> Result<MadePlan, PluginCallError> {
        let plan = self.tried("plan", |one| one.plan_alone(request))?;
        self.0.rehearsal.keep(request, &plan);
        Ok(plan)
    }

    /// As [`Self::plan`], with nobody to help.
    pub(in crate::plugins) fn plan_alone(
        &self,
        request: &Arc<PlanRequest>,
    ) -> Result<MadePlan, PluginCallError> {
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
    pub(in crate::plugins) fn rehearsal(&self) -> &Rehearsal {
        &self.0.rehearsal
    }

    /// Goes on where another left off: the numbers of its plans, and what may be asked of the next.
    pub(in crate::plugins) fn follow(&self, old: &Self) {
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
        self.shut_down(|caller| caller.call::<methods::SchedulerShutdown>(&()))
    }

    /// As [`Self::shutdown`], before another takes its place: with the time to give back what it holds.
    pub(in crate::plugins) fn give_back(&self) -> Result<(), PluginCallError> {
        self.shut_down(Caller::shut_down_calmly::<methods::SchedulerShutdown>)
    }

    fn shut_down(
        &self,
        call: impl FnOnce(&Caller) -> Result<(), PluginCallError>,
    ) -> Result<(), PluginCallError> {
        if self.0.is_shut_down.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        self.recorded("shutdown", &(), || call(&self.0.caller))
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
