//! The ways to a plugin behind one call, with its counters and its failures in types.

use super::failure::{Failure, Loss, PluginCallError};
use super::inproc::{Ask, InProcess};
use super::limits::Limits;
use super::methods::{Method, names};
use super::process::Process;
use super::stats::{Counters, MethodStats};
use super::supervision::Supervision;
use super::switch::Switch;
use super::tame::{WORD_MAX, tame};
use barycenter_plugin_api::{ErrorCode, PluginError, PluginKind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Where the object is.
pub(super) enum Transport {
    InProcess(InProcess),
    Process(Process),
}

/// A plugin that can be called: every call is timed, counted, and its failures named.
pub(super) struct Caller {
    pub id: String,
    pub type_id: String,
    pub version: String,
    counters: Arc<Vec<Counters>>,
    switch: Arc<Switch>,
    limit: Duration,
    silence: Duration,
    transport: Transport,
    supervision: Arc<Supervision>,
    /// Called when panics have put it into quarantine.
    on_quarantine: Box<dyn Fn(&str) + Send + Sync>,
}

/// What one that is disabled is not asked. Whatever it has already it brings to its end.
const BRINGS_WORK: [&str; 3] = ["plan", "execute", "submit"];

/// Stopping the server waits for no plugin longer than this.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(1);

impl Caller {
    pub fn new(
        kind: PluginKind,
        (id, type_id, version): (&str, &str, &str),
        limits: Limits,
        transport: Transport,
        supervision: Arc<Supervision>,
        on_quarantine: Box<dyn Fn(&str) + Send + Sync>,
    ) -> Self {
        Self {
            id: id.to_owned(),
            type_id: type_id.to_owned(),
            version: version.to_owned(),
            counters: Arc::new(names(kind).into_iter().map(Counters::new).collect()),
            switch: Arc::default(),
            limit: limits.call_timeout(kind),
            silence: limits.silence(),
            transport,
            supervision,
            on_quarantine,
        }
    }

    /// Whether it may be given new work is decided elsewhere, for whoever bears its name.
    pub fn with_switch(self, switch: Arc<Switch>) -> Self {
        Self { switch, ..self }
    }

    /// Goes on counting where the one left off whose place it takes.
    pub fn count_on(&mut self, old: &Self) {
        self.counters = Arc::clone(&old.counters);
        self.supervision.count_on(&old.supervision.status());
    }

    /// An administrator wants it to get no new work.
    pub fn is_off(&self) -> bool {
        self.switch.is_off()
    }

    /// Its code is in this process.
    pub fn is_inside(&self) -> bool {
        matches!(self.transport, Transport::InProcess(_))
    }

    /// How long a call may take, if there is a limit.
    pub fn limit(&self) -> Option<Duration> {
        match &self.transport {
            Transport::InProcess(inproc) if inproc.is_direct() => None,
            _ => Some(self.limit),
        }
    }

    /// What one that takes its place is given.
    pub fn remember(&self, state: &str) {
        if let Transport::Process(process) = &self.transport {
            process.remember(state.to_owned());
        }
    }

    /// How long a passive scheduler may ask for nothing while work waits for it.
    pub fn silence(&self) -> Duration {
        self.silence
    }

    /// It does nothing any more: its process is ended, so that another takes its place. False where it has none.
    pub fn give_up(&self, why: Loss) -> bool {
        match &self.transport {
            Transport::InProcess(_) => false,
            Transport::Process(process) => {
                process.give_up(why);
                true
            }
        }
    }

    pub fn supervision(&self) -> &Arc<Supervision> {
        &self.supervision
    }

    /// A reading of the counters, one entry per method.
    pub fn stats(&self) -> Vec<MethodStats> {
        self.counters.iter().map(Counters::read).collect()
    }

    /// Calls a method.
    pub fn call<M: Method>(&self, request: &M::Request) -> Result<M::Answer, PluginCallError> {
        self.ask::<M>(&Ask::Borrowed(request))
    }

    /// Calls a method with a request that is shared, and so need not be copied.
    pub fn ask<M: Method>(&self, request: &Ask<'_, M>) -> Result<M::Answer, PluginCallError> {
        let limit = match M::NAME {
            "shutdown" => self.limit.min(SHUTDOWN_LIMIT),
            _ => self.limit,
        };
        self.ask_within(request, limit)
    }

    /// Shuts it down with as much time as any other call has: nobody stops the server.
    pub fn shut_down_calmly<M: Method<Request = ()>>(&self) -> Result<M::Answer, PluginCallError> {
        self.ask_within::<M>(&Ask::Borrowed(&()), self.limit)
    }

    fn ask_within<M: Method>(
        &self,
        request: &Ask<'_, M>,
        limit: Duration,
    ) -> Result<M::Answer, PluginCallError> {
        if BRINGS_WORK.contains(&M::NAME)
            && let Some(why) = self.switch.why()
        {
            return Err(PluginCallError::Unavailable {
                plugin: self.id.clone(),
                method: M::NAME,
                why,
            });
        }
        let begin = Instant::now();
        let outcome = match &self.transport {
            Transport::InProcess(inproc) => inproc.call(request, limit),
            Transport::Process(process) => process.call::<M>(request.get(), limit),
        };
        let took = begin.elapsed();
        match outcome {
            Ok(answer) => {
                if let Some(counters) = self.counters(M::NAME) {
                    counters.count_call(took);
                }
                self.supervision.answered();
                Ok(answer)
            }
            Err(failure) => {
                // One that was not asked was not called.
                let was_called = !matches!(failure, Failure::Unavailable(_));
                let error = self.named(M::NAME, failure);
                if was_called && let Some(counters) = self.counters(M::NAME) {
                    counters.count_call(took);
                    if !matches!(error, PluginCallError::Invalid { .. }) {
                        counters.count_fault(error.code());
                    }
                }
                Err(error)
            }
        }
    }

    /// An answer that broke a rule.
    pub fn invalid(&self, method: &'static str, faults: Vec<String>) -> PluginCallError {
        let faults = faults.iter().map(|fault| tame(fault, WORD_MAX)).collect();
        if let Some(counters) = self.counters(method) {
            counters.count_fault("invalid");
        }
        PluginCallError::Invalid {
            plugin: self.id.clone(),
            method,
            faults,
        }
    }

    fn counters(&self, method: &str) -> Option<&Counters> {
        self.counters
            .iter()
            .find(|counters| counters.method == method)
    }

    fn named(&self, method: &'static str, failure: Failure) -> PluginCallError {
        let plugin = self.id.clone();
        match failure.tamed() {
            Failure::Plugin(error) if error.code == ErrorCode::PANICKED => {
                let what = format!("{method} panicked: {error}");
                if self.supervision.panicked(&what) {
                    tracing::error!(
                        target: "plugin", plugin,
                        "{what}; that was once too often in a row, it stays in quarantine"
                    );
                    (self.on_quarantine)(&what);
                }
                let PluginError {
                    message, location, ..
                } = error;
                PluginCallError::Panicked {
                    plugin,
                    method,
                    message: message.into(),
                    location: location.into(),
                }
            }
            Failure::Plugin(error) => {
                self.supervision.answered();
                PluginCallError::Refused {
                    plugin,
                    method,
                    bad_input: error.code == ErrorCode::INVALID,
                    message: error.message.into(),
                }
            }
            Failure::TimedOut(limit) => PluginCallError::TimedOut {
                plugin,
                method,
                limit,
            },
            Failure::Lost(loss) => PluginCallError::Lost {
                plugin,
                method,
                loss,
            },
            Failure::Unavailable(why) => PluginCallError::Unavailable {
                plugin,
                method,
                why,
            },
            Failure::Unreadable(what) => self.invalid(method, vec![what]),
        }
    }
}
