//! Keeps a plugin's process running: starts it, reads what it sends, finds out how it ended, starts it again, and gives up
//! when that happens too often.
//!
//! All of it is done by one thread for each plugin. The kernel ends a process whose starter's *thread* is gone, so that
//! thread lives as long as its process.

use super::capture::{self, Tail};
use super::crash::{self, Crash};
use super::frame::{FrameReader, LoadedWord, ReadError};
use super::greeting::{Ask, NoStart};
use super::limits;
use super::link::Link;
use crate::plugins::failure::{Failure, Loss};
use crate::plugins::limits::Limits;
use crate::plugins::load::Stored;
use crate::plugins::methods::{Capabilities, Method};
use crate::plugins::supervision::{Supervision, SupervisionState, Verdict};
use barycenter_plugin_api::abi::PluginInfo;
use barycenter_plugin_api::{Host, PluginKind};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Without a frame for this long the process is asked for a sign of life; after twice as long it is ended.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How long a process that closed its connection may take to end by itself.
const END_LIMIT: Duration = Duration::from_millis(50);
/// How long a process may take to drop its object when it is no longer wanted.
const STOP_LIMIT: Duration = Duration::from_millis(500);
/// The longest that a call waits for a process that is being started.
const WAIT_FOR_START: Duration = Duration::from_secs(2);

/// What is to run.
pub(in crate::plugins) struct Spec {
    pub kind: PluginKind,
    pub id: String,
    pub type_id: String,
    pub stored: Stored,
    pub config: String,
    pub limits: Limits,
    pub host: Host,
    /// Where crash reports go; none without a data directory.
    pub crashes: Option<PathBuf>,
    /// Called when the plugin is left alone.
    pub on_quarantine: Box<dyn Fn(&str) + Send + Sync>,
}

/// Why a plugin's process did not come up.
#[derive(Debug)]
pub(in crate::plugins) enum StartError<E> {
    /// Whoever asked did not like what the plugin says about itself.
    Unwanted(E),
    /// The plugin's own word.
    ByPlugin(String),
    /// The loader's, or the system's.
    Failed(String),
}

/// A plugin in a process of its own.
pub(in crate::plugins) struct Process {
    shared: Arc<Shared>,
    ended: Mutex<Receiver<()>>,
}

pub(super) struct Shared {
    pub spec: Spec,
    supervision: Arc<Supervision>,
    link: Mutex<Option<Arc<Link>>>,
    /// The plugin was started up, so that one that takes its place has to be as well.
    pub started_up: AtomicBool,
    /// The last state that is known of it, for one that takes its place.
    pub state: Mutex<Option<String>>,
}

/// A process that was started and made its object.
pub(super) struct Running {
    child: Child,
    pub link: Arc<Link>,
    pub reader: FrameReader<UnixStream>,
    tail: Tail,
}

impl Process {
    /// Starts the process. `check` sees what the library says about itself before an object is made of it.
    pub fn start<E: Send + 'static>(
        spec: Spec,
        supervision: Arc<Supervision>,
        check: impl FnOnce(&PluginInfo) -> Result<(), E> + Send,
    ) -> Result<(Self, PluginInfo, Capabilities), StartError<E>> {
        let (said, say) = (channel::<LoadedWord>(), sync_channel::<bool>(1));
        let (first_sender, first) = sync_channel(1);
        let (ended_sender, ended) = channel();
        let shared = Arc::new(Shared {
            spec,
            supervision,
            link: Mutex::new(None),
            started_up: AtomicBool::new(false),
            state: Mutex::new(None),
        });
        let keeper = Arc::clone(&shared);
        let go_ahead = say.1;
        std::thread::Builder::new()
            .name(format!("keep-{}", shared.spec.id))
            .spawn(move || {
                let ask = Ask {
                    said: said.0,
                    go_ahead,
                };
                let first = keeper.start_one(Some(ask));
                let (word, process) = match first {
                    Ok(process) => (Ok(()), Some(process)),
                    Err(error) => (Err(error), None),
                };
                let _ = first_sender.send(word);
                if let Some(process) = process {
                    keeper.keep(process);
                }
                let _ = ended_sender.send(());
            })
            .map_err(|error| {
                StartError::Failed(format!("no thread for it could be started: {error}"))
            })?;
        let mut info = None;
        if let Ok(word) = said.1.recv() {
            if let Err(unwanted) = check(&word.info) {
                let _ = say.0.send(false);
                return Err(StartError::Unwanted(unwanted));
            }
            let _ = say.0.send(true);
            info = Some((word.info, word.capabilities));
        }
        match (first.recv(), info) {
            (Ok(Ok(())), Some((info, capabilities))) => {
                let ended = Mutex::new(ended);
                Ok((Self { shared, ended }, info, capabilities))
            }
            (Ok(Err(NoStart::ByPlugin(message))), _) => Err(StartError::ByPlugin(message)),
            (Ok(Err(NoStart::Failed(message))), _) => Err(StartError::Failed(message)),
            _ => Err(StartError::Failed("its thread ended".to_owned())),
        }
    }

    /// What one that takes its place is given.
    pub fn remember(&self, state: String) {
        *lock(&self.shared.state) = Some(state);
    }

    /// Ends the process, for this reason; another takes its place.
    pub fn give_up(&self, why: Loss) {
        if let Some(link) = self.shared.current() {
            link.end(why);
        }
    }

    pub fn call<M: Method>(
        &self,
        request: &M::Request,
        limit: Duration,
    ) -> Result<M::Answer, Failure> {
        let supervision = &self.shared.supervision;
        // One that is lost in its shutdown is not to begin anew.
        if let "startup" | "shutdown" = M::NAME {
            let starts = M::NAME == "startup";
            self.shared.started_up.store(starts, Ordering::Relaxed);
        }
        supervision.wait_until_started(limit.min(WAIT_FOR_START));
        let link = self.shared.current();
        match (link, supervision.absence()) {
            (Some(link), None) => link.call::<M>(request, limit, &self.shared.spec.host),
            (_, absence) => Err(Failure::Unavailable(
                absence.unwrap_or_else(|| "it was lost a moment ago".to_owned()),
            )),
        }
    }
}

impl Drop for Process {
    /// Lets the plugin drop its object, for a while.
    fn drop(&mut self) {
        self.shared.supervision.turn(SupervisionState::Stopped);
        let Some(link) = self.shared.current() else {
            return;
        };
        link.stop();
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(STOP_LIMIT) {
            link.end(Loss::Closed);
            let _ = ended.recv_timeout(STOP_LIMIT);
        }
    }
}

impl Shared {
    fn current(&self) -> Option<Arc<Link>> {
        lock(&self.link).clone()
    }

    fn set_current(&self, link: Option<Arc<Link>>) {
        *lock(&self.link) = link;
    }

    fn is_stopped(&self) -> bool {
        self.supervision.status().state == SupervisionState::Stopped
    }

    /// The keeper's life, from a process that serves.
    fn keep(&self, first: Running) {
        let mut process = Some(first);
        loop {
            let verdict = match process.take() {
                Some(running) => {
                    let Some(verdict) = self.serve_until_lost(running) else {
                        return;
                    };
                    verdict
                }
                None => match self.start_one(None) {
                    Ok(mut running) if self.is_stopped() => {
                        // Whoever wanted it went away while it started.
                        running.link.end(Loss::Closed);
                        reap(&mut running.child, &running.link);
                        return;
                    }
                    Ok(running) => {
                        process = Some(running);
                        // Whatever waits for it is looked at again.
                        self.spec.host.wake();
                        continue;
                    }
                    Err(NoStart::ByPlugin(what) | NoStart::Failed(what)) => {
                        let loss = Loss::Start(what).to_string();
                        self.note_loss(&loss, false)
                    }
                },
            };
            if verdict == Verdict::Quarantine {
                let last = self.supervision.status().last_error.unwrap_or_default();
                (self.spec.on_quarantine)(&last);
            }
            self.supervision.wait_for_turn();
            if self.is_stopped() {
                return;
            }
        }
    }

    fn note_loss(&self, what: &str, by_deadline: bool) -> Verdict {
        let verdict = self.supervision.lost(what, by_deadline);
        let plugin = self.spec.id.as_str();
        match verdict {
            Verdict::Again(pause) => {
                tracing::error!(target: "plugin", plugin, "lost: {what}; started again in {pause:?}");
            }
            Verdict::Quarantine => tracing::error!(
                target: "plugin", plugin,
                "lost: {what}; that was once too often ({}), it stays in quarantine",
                self.spec.limits.restarts()
            ),
        }
        verdict
    }

    /// Reads until the process is lost; `None` when it was told to stop.
    fn serve_until_lost(&self, mut running: Running) -> Option<Verdict> {
        let link = Arc::clone(&running.link);
        let _ = running.reader.stream().set_read_timeout(Some(HEARTBEAT));
        let mut asked = false;
        loop {
            match running.reader.next() {
                Ok(frame) => {
                    asked = false;
                    if let Err(what) = link.take(&frame, &self.spec.host) {
                        link.end(Loss::Frame(what));
                        break;
                    }
                }
                Err(ReadError::Quiet) if !asked => {
                    asked = true;
                    link.ping();
                }
                Err(ReadError::Quiet) => {
                    link.end(Loss::Silent(HEARTBEAT * 2));
                    break;
                }
                Err(ReadError::Damaged(what)) => {
                    link.end(Loss::Frame(what));
                    break;
                }
                Err(ReadError::Closed) => break,
            }
        }
        let loss = reap(&mut running.child, &link);
        self.set_current(None);
        let stopped = self.is_stopped();
        let by_deadline = matches!(loss, Loss::Deadline(..) | Loss::Idle(_));
        let verdict = match stopped {
            true => None,
            false => Some(self.note_loss(&loss.to_string(), by_deadline)),
        };
        // Only now, so that who calls again at once finds out that it has to wait.
        let in_flight = link.close();
        for waiting in &in_flight {
            waiting.tell(&loss);
        }
        if !stopped && let Some(folder) = &self.spec.crashes {
            let crash = Crash::of(
                &self.spec,
                &loss,
                verdict,
                &in_flight,
                Arc::clone(&running.tail),
            );
            crash::write_later(folder.clone(), crash);
        }
        verdict
    }

    /// Starts a process and has it make its object.
    fn start_one(&self, ask: Option<Ask>) -> Result<Running, NoStart> {
        self.supervision.starting();
        let mut running = self
            .spawn()
            .map_err(|error| NoStart::Failed(error.to_string()))?;
        match self.greet(&mut running, ask) {
            Ok(()) => {
                self.set_current(Some(Arc::clone(&running.link)));
                self.supervision.started(running.link.pid);
                Ok(running)
            }
            Err(fault) => {
                if let Some(fault) = fault.said {
                    running.link.end(Loss::Closed);
                    reap(&mut running.child, &running.link);
                    return Err(fault);
                }
                if let Some(loss) = fault.by_us {
                    running.link.end(loss);
                }
                let loss = reap(&mut running.child, &running.link);
                let in_flight = running.link.close();
                if let Some(folder) = &self.spec.crashes {
                    let crash = Crash::of(
                        &self.spec,
                        &loss,
                        None,
                        &in_flight,
                        Arc::clone(&running.tail),
                    );
                    crash::write_later(folder.clone(), crash);
                }
                Err(NoStart::Failed(format!("{loss} while it started")))
            }
        }
    }

    fn spawn(&self) -> std::io::Result<Running> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut child = Command::new(crate::program::program())
            .arg0("barycenter")
            .args([super::COMMAND, self.spec.kind.name(), self.spec.id.as_str()])
            .env_clear()
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let lanes = self.spec.limits.in_flight(self.spec.kind);
        let lanes = usize::try_from(lanes).unwrap_or(1);
        let link = Arc::new(Link::new(child.id(), ours.try_clone()?, lanes)?);
        let tail = Tail::default();
        if let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) {
            let (watched, tail) = (Arc::clone(&link), Arc::clone(&tail));
            let host = self.spec.host.clone();
            std::thread::Builder::new()
                .name(format!("out-{}", self.spec.id))
                .spawn(move || capture::watch(stdout, stderr, &host, &watched.allowance, &tail))?;
        }
        Ok(Running {
            child,
            link,
            reader: FrameReader::new(ours),
            tail,
        })
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes the end of a process that closed its connection, and ends what it left in its group.
fn reap(child: &mut Child, link: &Link) -> Loss {
    let until = Instant::now() + END_LIMIT;
    let mut ended_by_us = link.ending().is_some();
    while !limits::has_ended(link.pid) {
        if Instant::now() >= until {
            ended_by_us = true;
            link.end(Loss::Closed);
            break;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    // While it is not reaped, its number still means its group and no other.
    limits::kill_group(link.pid);
    let status = child.wait();
    if ended_by_us && let Some(loss) = link.ending() {
        return loss;
    }
    match status {
        Ok(status) => match (status.signal(), status.code()) {
            (Some(signal), _) => Loss::Signal(signal),
            (None, code) => Loss::Code(code.unwrap_or(-1)),
        },
        Err(error) => Loss::Frame(error.to_string()),
    }
}
