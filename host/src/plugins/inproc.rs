//! A plugin inside the server's own process.
//!
//! A call there cannot be broken off. With a deadline it runs on a thread of its own, so that at least the caller
//! goes on: the thread is written off, and the plugin is left alone until it comes back.

use super::calling;
use super::failure::Failure;
use super::methods::{Method, Object, Owned};
use super::supervision::Supervision;
use std::borrow::Borrow;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

pub(super) struct InProcess {
    object: Arc<Object>,
    /// Threads for the calls; without them the caller's own thread makes them, without a deadline.
    lanes: Option<Lanes>,
    supervision: Arc<Supervision>,
}

/// A request that may have to outlive its caller.
pub(super) enum Ask<'a, M: Method> {
    Shared(&'a Arc<Owned<M>>),
    Borrowed(&'a M::Request),
}

impl<M: Method> Ask<'_, M> {
    pub fn get(&self) -> &M::Request {
        match self {
            Self::Shared(shared) => (***shared).borrow(),
            Self::Borrowed(request) => request,
        }
    }

    fn to_shared(&self) -> Arc<Owned<M>> {
        match self {
            Self::Shared(shared) => Arc::clone(shared),
            Self::Borrowed(request) => Arc::new((*request).to_owned()),
        }
    }
}

impl InProcess {
    /// `lanes` is how many calls may be made at once, each with a deadline; `None` to call directly.
    pub fn new(
        id: &str,
        object: Object,
        lanes: Option<usize>,
        supervision: Arc<Supervision>,
    ) -> Self {
        Self {
            object: Arc::new(object),
            lanes: lanes.map(|most| Lanes::new(id, most)),
            supervision,
        }
    }

    /// Calls are made by the caller's own thread, and cannot be given up.
    pub fn is_direct(&self) -> bool {
        self.lanes.is_none()
    }

    pub fn call<M: Method>(
        &self,
        request: &Ask<'_, M>,
        limit: Duration,
    ) -> Result<M::Answer, Failure> {
        let excludes = matches!(*self.object, Object::Scheduler(_));
        self.supervision
            .admit(excludes)
            .map_err(Failure::Unavailable)?;
        let Some(lanes) = &self.lanes else {
            let outcome = calling::during(M::NAME, || M::call(&self.object, request.get()));
            return outcome.map_err(Failure::Plugin);
        };
        let (object, request) = (Arc::clone(&self.object), request.to_shared());
        let (sender, answer) = sync_channel(1);
        let fate = Arc::new(AtomicU8::new(WAITING));
        let (shared_fate, supervision) = (Arc::clone(&fate), Arc::clone(&self.supervision));
        lanes.run(Box::new(move || {
            if shared_fate
                .compare_exchange(WAITING, RUNNING, Ordering::SeqCst, Ordering::SeqCst)
                .is_err()
            {
                return; // the caller gave up before it began
            }
            let outcome = calling::during(M::NAME, || M::call(&object, (*request).borrow()));
            if shared_fate.swap(DONE, Ordering::SeqCst) == GIVEN_UP {
                supervision.came_back();
            }
            let _ = sender.send(outcome);
        }));
        match answer.recv_timeout(limit) {
            Ok(outcome) => outcome.map_err(Failure::Plugin),
            Err(RecvTimeoutError::Disconnected) => Err(Failure::Unavailable(
                "its thread could not be started".to_owned(),
            )),
            Err(RecvTimeoutError::Timeout) => {
                // The hang is counted before the thread may count its return.
                if fate.load(Ordering::SeqCst) == RUNNING {
                    self.supervision
                        .hung(&format!("it did not answer {} within {limit:?}", M::NAME));
                    if fate.swap(GIVEN_UP, Ordering::SeqCst) == DONE {
                        self.supervision.came_back();
                    } else {
                        lanes.write_off();
                    }
                    return Err(Failure::TimedOut(limit));
                }
                fate.store(GIVEN_UP, Ordering::SeqCst);
                match answer.try_recv() {
                    Ok(outcome) => outcome.map_err(Failure::Plugin),
                    Err(_) => Err(Failure::Unavailable(format!(
                        "all of its threads were busy for {limit:?}"
                    ))),
                }
            }
        }
    }
}

const WAITING: u8 = 0;
const RUNNING: u8 = 1;
const DONE: u8 = 2;
const GIVEN_UP: u8 = 3;

type Work = Box<dyn FnOnce() + Send>;

/// The threads that make a plugin's calls: started when they are needed, and kept.
struct Lanes {
    name: String,
    most: usize,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    work_arrived: Condvar,
}

#[derive(Default)]
struct State {
    waiting: std::collections::VecDeque<Work>,
    idle: usize,
    threads: usize,
    /// Threads that hang in a call: they do not count among those that may be started.
    written_off: usize,
    closed: bool,
}

impl Lanes {
    fn new(id: &str, most: usize) -> Self {
        Self {
            name: format!("plugin-{id}"),
            most: most.max(1),
            shared: Arc::default(),
        }
    }

    fn run(&self, work: Work) {
        let mut state = self.shared.lock();
        state.waiting.push_back(work);
        let live = state.threads - state.written_off;
        if state.idle >= state.waiting.len() {
            self.shared.work_arrived.notify_one();
        } else if live < self.most {
            let shared = Arc::clone(&self.shared);
            let started = std::thread::Builder::new()
                .name(self.name.clone())
                .spawn(move || shared.work());
            match started {
                Ok(_) => state.threads += 1,
                Err(error) => {
                    // Dropping the work tells its caller.
                    drop(state.waiting.pop_back());
                    tracing::error!("no thread for {}: {error}", self.name);
                }
            }
        }
    }

    /// A thread of these hangs in a call; another may take its place.
    fn write_off(&self) {
        let mut state = self.shared.lock();
        state.written_off = (state.written_off + 1).min(state.threads);
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.work_arrived.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut state = self.lock();
        loop {
            if let Some(work) = state.waiting.pop_front() {
                drop(state);
                work();
                state = self.lock();
                continue;
            }
            if state.closed {
                return;
            }
            state.idle += 1;
            state = self
                .work_arrived
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }
}
