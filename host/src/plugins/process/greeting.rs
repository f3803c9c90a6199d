//! The first words with a plugin's process: what it is to load, what that says about itself, and its object.

use super::frame::{Create, Hello, LoadedWord, PROTOCOL, ReadError, Refusal, Sort, encode};
use super::keeper::{Running, Shared, Spec, lock};
use super::limits::ChildLimits;
use crate::plugins::failure::Loss;
use barycenter_plugin_api::{API_VERSION, LogLevel, PluginKind};
use serde::de::DeserializeOwned;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

/// How long loading and making may take.
const START_LIMIT: Duration = Duration::from_secs(20);

/// Why a process did not come up.
#[derive(Debug)]
pub(super) enum NoStart {
    ByPlugin(String),
    Failed(String),
}

/// The first time, whoever starts the plugin wants to see what it is.
pub(super) struct Ask {
    pub said: Sender<LoadedWord>,
    pub go_ahead: Receiver<bool>,
}

impl Shared {
    pub(super) fn greet(&self, running: &mut Running, ask: Option<Ask>) -> Result<(), GreetFault> {
        let until = Instant::now() + START_LIMIT;
        let spec = &self.spec;
        let levels = [
            LogLevel::TRACE,
            LogLevel::DEBUG,
            LogLevel::INFO,
            LogLevel::WARN,
            LogLevel::ERROR,
        ];
        let log_level = levels
            .into_iter()
            .find(|level| spec.host.log_enabled(*level));
        let hello = Hello {
            protocol: PROTOCOL,
            api: API_VERSION,
            kind: spec.kind.name().to_owned(),
            id: spec.id.clone(),
            type_id: spec.type_id.clone(),
            library: spec.stored.path.clone(),
            sha256: spec.stored.sha256.clone(),
            limits: child_limits(spec),
            log_level: log_level.map_or(0, |level| level.0),
        };
        self.send(running, Sort::HELLO, &hello)?;
        let word: LoadedWord = self.expect(running, Sort::LOADED, until)?;
        if let Some(ask) = ask {
            let _ = ask.said.send(word);
            if ask.go_ahead.recv() != Ok(true) {
                return Err(GreetFault::said(NoStart::Failed(
                    "it is not wanted".to_owned(),
                )));
            }
        }
        let create = Create {
            config: spec.config.clone(),
            startup: self.started_up.load(Ordering::Relaxed),
            state: lock(&self.state).clone(),
        };
        self.send(running, Sort::CREATE, &create)?;
        let until = Instant::now() + START_LIMIT;
        self.expect::<()>(running, Sort::CREATED, until)
    }

    fn send<T: serde::Serialize>(
        &self,
        running: &Running,
        sort: u8,
        body: &T,
    ) -> Result<(), GreetFault> {
        let frame = encode(sort, 0, "", body);
        let frame = frame.map_err(|what| GreetFault::said(NoStart::Failed(what)))?;
        running.link.send(&frame);
        Ok(())
    }

    /// Reads until a frame of this sort comes; serves the host's services meanwhile.
    fn expect<T: DeserializeOwned>(
        &self,
        running: &mut Running,
        sort: u8,
        until: Instant,
    ) -> Result<T, GreetFault> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let late = GreetFault::by_us(Loss::Deadline("create", START_LIMIT));
            if left.is_zero() {
                return Err(late);
            }
            let _ = running.reader.stream().set_read_timeout(Some(left));
            let frame = match running.reader.next() {
                Ok(frame) => frame,
                Err(ReadError::Quiet) => return Err(late),
                Err(ReadError::Closed) => return Err(GreetFault::default()),
                Err(ReadError::Damaged(what)) => return Err(GreetFault::by_us(Loss::Frame(what))),
            };
            let damaged = |what: String| GreetFault::by_us(Loss::Frame(what));
            let (head, body) = frame.open().map_err(damaged)?;
            if head.sort == sort {
                return postcard::from_bytes(body).map_err(|error| damaged(error.to_string()));
            }
            if head.sort == Sort::REFUSED {
                let refusal: Refusal =
                    postcard::from_bytes(body).map_err(|error| damaged(error.to_string()))?;
                return Err(GreetFault::said(match refusal.by_plugin {
                    true => NoStart::ByPlugin(refusal.message),
                    false => NoStart::Failed(refusal.message),
                }));
            }
            running
                .link
                .take(&frame, &self.spec.host)
                .map_err(damaged)?;
        }
    }
}

/// What went wrong before a process served.
#[derive(Default)]
pub(super) struct GreetFault {
    /// It told so itself.
    pub said: Option<NoStart>,
    /// This side has to end it, for this reason. Neither: it is gone.
    pub by_us: Option<Loss>,
}

impl GreetFault {
    fn said(fault: NoStart) -> Self {
        Self {
            said: Some(fault),
            by_us: None,
        }
    }

    fn by_us(loss: Loss) -> Self {
        Self {
            said: None,
            by_us: Some(loss),
        }
    }
}

fn child_limits(spec: &Spec) -> ChildLimits {
    let has_jobs = spec.kind == PluginKind::JobRunner;
    ChildLimits {
        memory: spec.limits.memory(spec.kind),
        files: (!has_jobs).then_some(1024),
        has_jobs,
    }
}
