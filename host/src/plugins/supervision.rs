//! Whether a plugin may be called: how often it failed, when it may be tried again, when it may not any more.

use super::status::now_ms;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often a plugin may fail before it is left alone: `5/10m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// So many failures are borne …
    pub count: u32,
    /// … within this time.
    pub window: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            count: 5,
            window: Duration::from_secs(600),
        }
    }
}

impl std::fmt::Display for Budget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} in {:?}", self.count, self.window)
    }
}

/// What follows from a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Try again after this time.
    Again(Duration),
    /// Leave it alone.
    Quarantine,
}

/// The failures that still count.
#[derive(Debug, Default)]
pub struct Strikes(VecDeque<Instant>);

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

impl Strikes {
    /// One more. The first is followed by a try at once, each further one by twice the pause.
    pub fn strike(&mut self, now: Instant, budget: Budget) -> Verdict {
        self.0.push_back(now);
        while let Some(first) = self.0.front()
            && now.duration_since(*first) > budget.window
        {
            self.0.pop_front();
        }
        let count = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        if count > budget.count {
            return Verdict::Quarantine;
        }
        match count.checked_sub(2) {
            None => Verdict::Again(Duration::ZERO),
            Some(doublings) => {
                let pause = FIRST_PAUSE.saturating_mul(1 << doublings.min(20));
                Verdict::Again(pause.min(LONGEST_PAUSE))
            }
        }
    }

    /// All is forgiven.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// Where a plugin stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SupervisionState {
    /// Its process is being started.
    Starting,
    /// It may be called.
    Ready,
    /// It failed and is tried again after a pause.
    Waiting,
    /// A call inside the server's own process does not come back.
    Hung,
    /// It failed too often and is left alone until somebody lets it out or the server starts again.
    Quarantined,
    /// The server stops, or the plugin was taken out.
    Stopped,
}

impl SupervisionState {
    /// The word for status pages and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Waiting => "waiting",
            Self::Hung => "hung",
            Self::Quarantined => "quarantined",
            Self::Stopped => "stopped",
        }
    }
}

/// A reading of a plugin's supervision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SupervisionStatus {
    /// Where it stands.
    pub state: SupervisionState,
    /// Since when, milliseconds since 1970.
    pub since_ms: i64,
    /// How often its process was started again, or a call tried again after one hung.
    pub restarts: u64,
    /// How often its process was lost.
    pub losses: u64,
    /// Calls that did not come back in time.
    pub timeouts: u64,
    /// How often it was left alone because it failed too often.
    pub quarantines: u64,
    /// Threads of the server that hang in it now.
    pub threads_written_off: u64,
    /// What went wrong last, for people.
    pub last_error: Option<String>,
    /// Its process, when it has one of its own.
    pub pid: Option<u32>,
}

/// The supervision of one plugin: shared by those who call it and whoever keeps it running.
#[derive(Debug)]
pub struct Supervision {
    budget: Budget,
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Debug)]
struct Inner {
    status: SupervisionStatus,
    /// Losses and hangs: they count however well the plugin does in between.
    strikes: Strikes,
    /// Panics in a row.
    panics: Strikes,
    /// When a plugin that waits is tried again.
    again_at: Option<Instant>,
    generation: u64,
    /// When its present life began.
    born_ms: i64,
}

impl Supervision {
    pub(super) fn new(budget: Budget, state: SupervisionState) -> Self {
        Self {
            budget,
            inner: Mutex::new(Inner {
                status: SupervisionStatus {
                    state,
                    since_ms: now_ms(),
                    restarts: 0,
                    losses: 0,
                    timeouts: 0,
                    quarantines: 0,
                    threads_written_off: 0,
                    last_error: None,
                    pid: None,
                },
                strikes: Strikes::default(),
                panics: Strikes::default(),
                again_at: None,
                generation: 0,
                born_ms: now_ms(),
            }),
            changed: Condvar::new(),
        }
    }

    /// Goes on counting where the one left off whose place it takes.
    pub(super) fn count_on(&self, old: &SupervisionStatus) {
        let status = &mut self.lock().status;
        status.restarts += old.restarts;
        status.losses += old.losses;
        status.timeouts += old.timeouts;
        status.quarantines += old.quarantines;
    }

    /// A reading.
    pub fn status(&self) -> SupervisionStatus {
        self.lock().status.clone()
    }

    /// Whether a call now has a chance: it is there, or it is time for a trial.
    pub fn may_be_called(&self) -> bool {
        let inner = self.lock();
        let is_due = inner.again_at.is_some_and(|at| at <= Instant::now());
        match inner.status.state {
            SupervisionState::Ready => true,
            SupervisionState::Waiting | SupervisionState::Hung => is_due,
            _ => false,
        }
    }

    /// Changes when the plugin was started anew: what it knew before is gone.
    pub fn generation(&self) -> u64 {
        self.lock().generation
    }

    /// When its present life began, before any of its code ran: milliseconds since 1970.
    pub fn born_ms(&self) -> i64 {
        self.lock().born_ms
    }

    /// What it does from now on is its own: one that came before it has done what it will ever do.
    pub(super) fn begin_life(&self) {
        self.lock().born_ms = now_ms();
    }

    /// A new process is about to be started.
    pub(super) fn starting(&self) {
        let mut inner = self.lock();
        inner.born_ms = now_ms();
        inner.turn(SupervisionState::Starting);
        self.changed.notify_all();
    }

    /// Lets a plugin out of quarantine; its past is forgotten.
    pub fn release(&self) {
        let mut inner = self.lock();
        inner.strikes.clear();
        inner.panics.clear();
        inner.again_at = None;
        if matches!(
            inner.status.state,
            SupervisionState::Quarantined | SupervisionState::Waiting
        ) {
            // A keeper that waits starts the process; without one the next call is the trial.
            inner.turn(SupervisionState::Waiting);
            inner.again_at = Some(Instant::now());
        }
        self.changed.notify_all();
    }

    /// Why it cannot be called now, as a sentence for people; `None` when it can.
    pub fn absence(&self) -> Option<String> {
        self.lock().absence(Instant::now())
    }

    /// For a plugin inside this process: lets a call pass, as a trial when the pause after a failure is over. The
    /// error is why not. Where calls exclude each other, one that hangs keeps all others out.
    pub(super) fn admit(&self, calls_exclude_each_other: bool) -> Result<(), String> {
        let mut inner = self.lock();
        if inner.status.state == SupervisionState::Ready {
            return Ok(()); // every call comes here: not even a look at the clock
        }
        let now = Instant::now();
        let is_due = inner.again_at.is_some_and(|at| at <= now);
        match inner.status.state {
            SupervisionState::Waiting if is_due => {}
            SupervisionState::Hung if is_due && !calls_exclude_each_other => {}
            _ => return Err(inner.absence(now).unwrap_or_default()),
        }
        inner.again_at = None;
        inner.status.restarts += 1;
        inner.turn(SupervisionState::Ready);
        Ok(())
    }

    /// Turns to a state; returns the state before.
    pub(super) fn turn(&self, state: SupervisionState) -> SupervisionState {
        let mut inner = self.lock();
        let before = inner.status.state;
        inner.turn(state);
        self.changed.notify_all();
        before
    }

    /// A new process serves.
    pub(super) fn started(&self, pid: u32) {
        let mut inner = self.lock();
        inner.status.pid = Some(pid);
        inner.generation += 1;
        if inner.generation > 1 {
            inner.status.restarts += 1;
        }
        inner.again_at = None;
        inner.turn(SupervisionState::Ready);
        self.changed.notify_all();
    }

    /// The process was lost.
    pub(super) fn lost(&self, what: &str, by_deadline: bool) -> Verdict {
        let mut inner = self.lock();
        inner.status.losses += 1;
        inner.status.timeouts += u64::from(by_deadline);
        inner.status.pid = None;
        inner.fail(what, self.budget)
    }

    /// A call inside this process does not come back.
    pub(super) fn hung(&self, what: &str) -> Verdict {
        let mut inner = self.lock();
        inner.status.timeouts += 1;
        inner.status.threads_written_off += 1;
        let verdict = inner.fail(what, self.budget);
        if verdict != Verdict::Quarantine {
            inner.turn(SupervisionState::Hung);
        }
        verdict
    }

    /// A call that was given up came back after all.
    pub(super) fn came_back(&self) {
        let mut inner = self.lock();
        inner.status.threads_written_off = inner.status.threads_written_off.saturating_sub(1);
        if inner.status.state == SupervisionState::Hung && inner.status.threads_written_off == 0 {
            inner.again_at = None;
            inner.turn(SupervisionState::Ready);
        }
    }

    /// A call panicked. Whether that was one too many in a row.
    pub(super) fn panicked(&self, what: &str) -> bool {
        let mut inner = self.lock();
        inner.status.last_error = Some(what.to_owned());
        if inner.panics.strike(Instant::now(), self.budget) != Verdict::Quarantine {
            return false;
        }
        inner.turn(SupervisionState::Quarantined);
        self.changed.notify_all();
        true
    }

    /// A call came back without a panic.
    pub(super) fn answered(&self) {
        let mut inner = self.lock();
        if !inner.panics.0.is_empty() {
            inner.panics.clear();
        }
    }

    /// Waits while `state` is one of being started, at most for `limit`.
    pub(super) fn wait_until_started(&self, limit: Duration) {
        let inner = self.lock();
        let starting = |inner: &mut Inner| {
            let waits_no_longer = inner
                .again_at
                .is_some_and(|at| at <= Instant::now() + Duration::from_millis(1));
            inner.status.state == SupervisionState::Starting
                || inner.status.state == SupervisionState::Waiting && waits_no_longer
        };
        drop(self.changed.wait_timeout_while(inner, limit, starting));
    }

    /// The keeper waits: until the pause is over, somebody lets the plugin out, or it is to stop.
    pub(super) fn wait_for_turn(&self) {
        let mut inner = self.lock();
        loop {
            let pause = match (inner.status.state, inner.again_at) {
                (SupervisionState::Waiting, Some(at)) => {
                    Some(at.saturating_duration_since(Instant::now()))
                }
                (SupervisionState::Quarantined, _) => None,
                _ => return,
            };
            if pause == Some(Duration::ZERO) {
                return;
            }
            inner = match pause {
                Some(pause) => {
                    self.changed
                        .wait_timeout(inner, pause)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
                None => self
                    .changed
                    .wait(inner)
                    .unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn turn(&mut self, state: SupervisionState) {
        if self.status.state != state && self.status.state != SupervisionState::Stopped {
            self.status.quarantines += u64::from(state == SupervisionState::Quarantined);
            self.status.state = state;
            self.status.since_ms = now_ms();
        }
    }

    fn fail(&mut self, what: &str, budget: Budget) -> Verdict {
        let now = Instant::now();
        self.status.last_error = Some(what.to_owned());
        let verdict = self.strikes.strike(now, budget);
        match verdict {
            Verdict::Again(pause) => {
                self.again_at = Some(now + pause);
                self.turn(SupervisionState::Waiting);
            }
            Verdict::Quarantine => self.turn(SupervisionState::Quarantined),
        }
        verdict
    }

    fn absence(&self, now: Instant) -> Option<String> {
        let last = self.status.last_error.as_deref().unwrap_or("it failed");
        match self.status.state {
            SupervisionState::Ready => None,
            SupervisionState::Starting => Some("it is being started".to_owned()),
            SupervisionState::Waiting => {
                let pause = self
                    .again_at
                    .map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
                Some(format!(
                    "it is started again in {} ms ({last})",
                    pause.as_millis()
                ))
            }
            SupervisionState::Hung => Some(format!("a call has not come back ({last})")),
            SupervisionState::Quarantined => Some(format!(
                "it failed too often and is in quarantine until an administrator lets it out or \
                 the server starts again ({last})"
            )),
            SupervisionState::Stopped => Some("it was stopped".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: Budget = Budget {
        count: 3,
        window: Duration::from_secs(60),
    };

    #[test]
    fn the_pause_doubles_until_the_budget_is_used_up() {
        let (mut strikes, now) = (Strikes::default(), Instant::now());
        let mut strike = || strikes.strike(now, BUDGET);
        assert_eq!(strike(), Verdict::Again(Duration::ZERO));
        assert_eq!(strike(), Verdict::Again(Duration::from_millis(100)));
        assert_eq!(strike(), Verdict::Again(Duration::from_millis(200)));
        assert_eq!(strike(), Verdict::Quarantine);
    }

    #[test]
    fn old_failures_do_not_count() {
        let (mut strikes, mut now) = (Strikes::default(), Instant::now());
        for _ in 0..20 {
            assert_eq!(strikes.strike(now, BUDGET), Verdict::Again(Duration::ZERO));
            now += Duration::from_secs(61);
        }
    }

    #[test]
    fn a_pause_never_exceeds_half_a_minute() {
        let budget = Budget {
            count: 100,
            ..BUDGET
        };
        let (mut strikes, now) = (Strikes::default(), Instant::now());
        let last = (0..100).map(|_| strikes.strike(now, budget)).last();
        assert_eq!(last, Some(Verdict::Again(LONGEST_PAUSE)));
    }

    #[test]
    fn panics_in_a_row_end_in_quarantine_and_an_answer_between_them_does_not() {
        let supervision = Supervision::new(BUDGET, SupervisionState::Ready);
        for _ in 0..10 {
            assert!(!supervision.panicked("it panicked"));
            supervision.answered();
        }
        let panics = (0..4).map(|_| supervision.panicked("it panicked"));
        assert_eq!(panics.collect::<Vec<_>>(), [false, false, false, true]);
        assert_eq!(supervision.status().state, SupervisionState::Quarantined);
        let why = supervision.absence().expect("it is absent");
        assert!(
            why.contains("quarantine") && why.contains("it panicked"),
            "{why}"
        );
        supervision.release();
        assert_eq!(supervision.status().state, SupervisionState::Waiting);
    }

    #[test]
    fn what_hung_is_ready_once_it_is_back() {
        let supervision = Supervision::new(BUDGET, SupervisionState::Ready);
        assert_eq!(supervision.hung("plan"), Verdict::Again(Duration::ZERO));
        assert_eq!(supervision.status().threads_written_off, 1);
        assert!(supervision.absence().is_some());
        supervision.came_back();
        assert_eq!(supervision.absence(), None);
    }
}
