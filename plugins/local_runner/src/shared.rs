//! What the runner's callers and its thread share: the queue, the slots, the wishes to cancel.

use crate::config::Config;
use crate::recover::Adopted;
use crate::sys::Waker;
use barycenter_plugin_api::{JobSpec, SubmitResult};
use std::collections::{HashSet, VecDeque};
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub struct Shared {
    /// Slots in all.
    pub workers: u64,
    pub waker: Waker,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<JobSpec>,
    adopted: Vec<Adopted>,
    /// Tokens from acceptance to the final report.
    active: HashSet<String>,
    cancelling: HashSet<String>,
    slots_used: u64,
    closed: bool,
    stopped: bool,
}

/// What a wish to cancel met.
pub enum Cancelled {
    Running,
    Queued,
    Unknown,
}

impl Shared {
    pub fn new(config: &Config) -> io::Result<Self> {
        Ok(Self {
            workers: u64::from(config.workers.max(1)),
            waker: Waker::new()?,
            state: Mutex::default(),
        })
    }

    /// Jobs accepted beyond those that can run at once.
    pub fn queue_depth(&self) -> u64 {
        4 * self.workers
    }

    pub fn wake(&self) {
        self.waker.wake();
    }

    /// Accepts jobs as far as there is room.
    pub fn submit(&self, jobs: &[JobSpec]) -> Vec<SubmitResult> {
        let mut state = self.lock();
        jobs.iter()
            .map(|job| self.submit_one(&mut state, job))
            .collect()
    }

    fn submit_one(&self, state: &mut State, job: &JobSpec) -> SubmitResult {
        let refused =
            |message: &str, retryable| SubmitResult::refused(job.job_id, message, retryable);
        if state.closed {
            return refused("the runner is shutting down", true);
        }
        if state.active.contains(job.token.as_str()) {
            return refused("this attempt was submitted before", false);
        }
        if state.active.len() as u64 >= self.workers + self.queue_depth() {
            return refused("the queue is full", true);
        }
        if let Some(fault) = fault_of(job) {
            return refused(&fault, false);
        }
        state.active.insert(job.token.to_string());
        state.queue.push_back(job.clone());
        SubmitResult::accepted(job.job_id, "")
    }

    pub fn cancel(&self, token: &str) -> Cancelled {
        let mut state = self.lock();
        if let Some(at) = state.queue.iter().position(|job| job.token == token) {
            state.queue.remove(at);
            state.active.remove(token);
            return Cancelled::Queued;
        }
        if !state.active.contains(token) {
            return Cancelled::Unknown;
        }
        state.cancelling.insert(token.to_owned());
        Cancelled::Running
    }

    pub fn is_active(&self, token: &str) -> bool {
        self.lock().active.contains(token)
    }

    /// Hands over a job that an earlier server started. It takes slots even if none are free.
    pub fn adopt(&self, job: Adopted) {
        let mut state = self.lock();
        state.active.insert(job.spec.token.to_string());
        state.slots_used += self.slots_of(&job.spec);
        state.adopted.push(job);
    }

    /// The next job that fits into the free slots, in order: a large one is not overtaken. Its
    /// slots are taken.
    pub fn next_job(&self) -> Option<JobSpec> {
        let mut state = self.lock();
        let wanted = self.slots_of(state.queue.front()?);
        if state.closed || state.slots_used + wanted > self.workers {
            return None;
        }
        state.slots_used += wanted;
        state.queue.pop_front()
    }

    /// The job could not be started for now: it is the next one again, and its slots are free.
    pub fn not_now(&self, spec: JobSpec) {
        let mut state = self.lock();
        state.slots_used = state.slots_used.saturating_sub(self.slots_of(&spec));
        if state.cancelling.remove(spec.token.as_str()) {
            state.active.remove(spec.token.as_str());
            return;
        }
        state.queue.push_front(spec);
    }

    pub fn take_adopted(&self) -> Vec<Adopted> {
        std::mem::take(&mut self.lock().adopted)
    }

    /// The tokens of jobs that somebody wants to end.
    pub fn take_cancelling(&self) -> HashSet<String> {
        std::mem::take(&mut self.lock().cancelling)
    }

    /// The job has ended: gives its slots back and forgets it.
    pub fn finished(&self, spec: &JobSpec) {
        let mut state = self.lock();
        state.slots_used = state.slots_used.saturating_sub(self.slots_of(spec));
        state.active.remove(spec.token.as_str());
        state.cancelling.remove(spec.token.as_str());
    }

    /// Starts no more jobs.
    pub fn close(&self) {
        self.lock().closed = true;
    }

    /// Ends the thread.
    pub fn stop(&self) {
        {
            let mut state = self.lock();
            state.closed = true;
            state.stopped = true;
        }
        self.wake();
    }

    pub fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    fn slots_of(&self, spec: &JobSpec) -> u64 {
        u64::from(spec.cores.max(1)).min(self.workers)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a job cannot be run at all.
fn fault_of(job: &JobSpec) -> Option<String> {
    let token_is_fit = !job.token.is_empty()
        && job
            .token
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if !token_is_fit {
        return Some(format!(
            "the token `{}` does not fit into a file name",
            job.token
        ));
    }
    [
        ("working_directory", &job.working_directory),
        ("job_directory", &job.job_directory),
        ("script_path", &job.script_path),
        ("shell", &job.shell),
        ("stdout_path", &job.stdout_path),
        ("stderr_path", &job.stderr_path),
        ("exit_code_path", &job.exit_code_path),
    ]
    .into_iter()
    .find(|(_, path)| !path.starts_with('/'))
    .map(|(name, path)| format!("{name} `{path}` is not an absolute path"))
}
