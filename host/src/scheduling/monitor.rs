//! The loop that advances invocations (Galaxy's WorkflowRequestMonitor). Its work list is the invocations whose signal
//! was raised since they were last looked at; with none of them it sleeps.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt};
use tokio::sync::watch;

use super::dispatch::Queue;
use super::engine::Services;
use super::iteration::{self, Advanced, GoingOn, Loaded};
use super::lanes::{Lane, SlowUsers};
use super::trouble::Trouble;
use crate::invoker::progress::Progress;
use crate::model::state::InvocationState;
use crate::store::StoreError;
use crate::store::handlers;
use crate::store::scheduling::invocations::{self, Completion, Whose};
use crate::store::scheduling::progress::{self, Head};

/// Invocations looked at together: one question to each scheduler, commits grouped.
const BATCH: usize = 16;
/// How many of them are loaded or stored at the same time.
const PARALLEL: usize = 4;
/// After a fault, an invocation is tried again no sooner than this.
const RETRY: Duration = Duration::from_secs(2);
/// While somebody is slow, the slow lane looks again after this time.
const SLOW_LOOK: Duration = Duration::from_millis(200);

/// The loop's state.
pub struct Monitor {
    services: Arc<Services>,
    jobs: Queue,
    lane: Lane,
    slow: Arc<SlowUsers>,
    /// In the slow lane: the last that was looked at.
    reached: i64,
    /// Invocations whose last look ended in a fault, and when they may be tried again.
    faulty: HashMap<i64, Instant>,
    /// Invocations that are planned by themselves, since something broke when they were planned with others: one of
    /// them must not hold up the rest again and again.
    alone: HashSet<i64>,
    /// Invocations whose fault was told, and that have not been advanced since: it is not told every two seconds.
    told: HashSet<i64>,
    /// Invocations that were looked at a moment ago and have more to do.
    going_on: HashMap<i64, GoingOn>,
    /// Invocations may be there that no process holds.
    unclaimed: bool,
    /// Servers that ended, whose invocations that are first in their histories were signalled.
    released: HashSet<String>,
}

impl Monitor {
    pub fn new(services: Arc<Services>, jobs: Queue, lane: Lane, slow: Arc<SlowUsers>) -> Monitor {
        Monitor {
            services,
            jobs,
            lane,
            slow,
            reached: 0,
            faulty: HashMap::new(),
            alone: HashSet::new(),
            told: HashSet::new(),
            going_on: HashMap::new(),
            unclaimed: true,
            released: HashSet::new(),
        }
    }

    /// Runs until `stop` turns true.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let poll = Duration::from_secs(self.services.settings.poll_seconds.max(1));
        let mut trouble = Trouble::new("invocations cannot be looked at");
        while !*stop.borrow() {
            let round = match self.lane {
                Lane::Fast => self.round().await,
                Lane::Slow => self.slow_round().await,
            };
            let idle = match round {
                Ok(idle) => {
                    trouble.is_over();
                    idle
                }
                Err(error) => {
                    // Signals come in meanwhile, and none of them helps.
                    tokio::time::sleep(trouble.note(&error)).await;
                    continue;
                }
            };
            let pause = match idle {
                Idle::No => continue,
                Idle::For(pause) => pause.min(poll),
                Idle::UntilSignal => poll,
            };
            let signal = async {
                match self.lane {
                    Lane::Fast => self.services.signals.next_invocation_change().await,
                    Lane::Slow => self.slow.changed().await,
                }
            };
            tokio::select! {
                () = signal => {}
                () = tokio::time::sleep(pause) => self.unclaimed = true,
                _ = stop.changed() => {}
            }
        }
    }

    /// Looks at one invocation of somebody whose conditions take long, each of theirs in turn.
    async fn slow_round(&mut self) -> Result<Idle, StoreError> {
        let Some(whose) = self.slow.share(Lane::Slow) else {
            return Ok(Idle::UntilSignal);
        };
        self.faulty.retain(|_, until| *until > Instant::now());
        let name = self.services.membership.name();
        let mut reader = self.services.store.reader();
        let page = invocations::signalled(&mut reader, name, &whose, self.reached, BATCH).await?;
        let next = page.into_iter().find(|id| !self.faulty.contains_key(id));
        let Some(id) = next else {
            let was_last = self.reached == 0;
            self.reached = 0;
            return Ok(match was_last {
                true => Idle::For(SLOW_LOOK),
                false => Idle::No,
            });
        };
        self.reached = id;
        self.look_at(vec![id]).await;
        Ok(Idle::No)
    }

    /// Looks at one batch.
    async fn round(&mut self) -> Result<Idle, StoreError> {
        let services = self.services.clone();
        let now = services.clock.now_ms();
        // A plugin that asks for it is asked about everything that waits for an instant.
        let due = if services.signals.take_wake() {
            // Whoever could not be asked may be there again.
            self.faulty.clear();
            i64::MAX
        } else {
            now
        };
        let handlers = services.membership.wakes_for();
        let (_, next_wake) = invocations::wake_due(&services.store, &handlers, due).await?;
        self.grab().await?;
        self.faulty.retain(|_, until| *until > Instant::now());
        let mut found = Vec::new();
        let mut after = 0;
        let whose = self.slow.share(self.lane);
        let whose = whose.unwrap_or_else(Whose::everybodys);
        while found.len() < BATCH {
            let mut reader = services.store.reader();
            let name = services.membership.name();
            let page = invocations::signalled(&mut reader, name, &whose, after, BATCH).await?;
            let Some(last) = page.last().copied() else {
                break;
            };
            after = last;
            found.extend(page.into_iter().filter(|id| !self.faulty.contains_key(id)));
        }
        if found.is_empty() {
            let wake = next_wake.map(|at| Duration::from_millis((at - now).max(1) as u64));
            let retry = (!self.faulty.is_empty()).then_some(RETRY);
            return Ok(match wake.into_iter().chain(retry).min() {
                Some(pause) => Idle::For(pause),
                None => Idle::UntilSignal,
            });
        }
        self.look_at(found).await;
        Ok(Idle::No)
    }

    /// Takes invocations that nobody holds. While that finds some, it is tried again with every round, so that a process
    /// that has much to do takes no more than it comes to.
    async fn grab(&mut self) -> Result<(), StoreError> {
        self.unclaimed |= self.services.signals.take_unclaimed_invocations();
        if !std::mem::take(&mut self.unclaimed) {
            return Ok(());
        }
        self.release_first().await?;
        let Services {
            store, membership, ..
        } = self.services.as_ref();
        let nobodys = membership.view().nobodys;
        let limit = membership.max_grab();
        let grabbed = handlers::grab_invocations(store, membership.name(), &nobodys, limit).await;
        // After a fault as well.
        self.unclaimed = !matches!(grabbed, Ok(taken) if taken < limit);
        grabbed.map(|_| ())
    }

    /// Where the invocations of a history go one after the other: a server that ended (this one's last life is one) may
    /// have scheduled one and not have told the next. Once for each end.
    async fn release_first(&mut self) -> Result<(), StoreError> {
        let services = self.services.clone();
        if !services.settings.history_local_serial_workflow_scheduling {
            return Ok(());
        }
        let view = services.membership.view();
        let live = |name: &String| view.live.iter().any(|peer| peer.name == *name);
        let me = services.membership.name();
        self.released.retain(|name| name == me || !live(name));
        for name in [
            vec![me.to_owned()],
            view.dead_here.clone(),
            view.dead_elsewhere.clone(),
        ]
        .concat()
        {
            if !self.released.contains(&name) {
                invocations::signal_first_in_histories(&services.store, &name).await?;
                self.released.insert(name);
            }
        }
        Ok(())
    }

    async fn look_at(&mut self, ids: Vec<i64>) {
        let services = &self.services;
        let looks = ids.into_iter().map(|id| {
            let going_on = self.going_on.remove(&id);
            async move { (id, look(services, id, going_on).await) }
        });
        let looks: Vec<_> = looks.collect();
        let looks: Vec<_> = stream::iter(looks)
            .buffer_unordered(PARALLEL)
            .collect()
            .await;
        // Whoever is not among them has to do without: it is in the database.
        self.going_on.clear();
        let mut loaded = Vec::new();
        for (id, look) in looks {
            match look {
                Ok(Look::Done) => {}
                Ok(Look::Stops) => self.services.signals.jobs_changed(),
                Ok(Look::Advance(one)) => loaded.push(*one),
                Err(error) => self.note_fault(id, &crate::errors::chain(&error)),
            }
        }
        if loaded.is_empty() {
            return;
        }
        let (alone, together): (Vec<_>, Vec<_>) = loaded
            .into_iter()
            .partition(|one| self.alone.contains(&one.head.id));
        let groups = std::iter::once(together).chain(alone.into_iter().map(|one| vec![one]));
        for group in groups.filter(|group| !group.is_empty()) {
            let ids: Vec<i64> = group.iter().map(|one| one.head.id).collect();
            for id in &ids {
                self.alone.remove(id);
            }
            let advanced = iteration::advance(&self.services, &self.jobs, self.lane, group).await;
            let Advanced {
                faults,
                going_on,
                spent,
            } = advanced;
            self.going_on.extend(going_on);
            for (user, spent) in spent {
                self.slow.note(user, spent);
            }
            for id in ids {
                if !faults.iter().any(|(faulty, _)| *faulty == id) {
                    self.told.remove(&id);
                }
            }
            for (id, fault) in faults {
                self.note_fault(id, &fault);
                self.alone.insert(id);
            }
        }
    }

    fn note_fault(&mut self, id: i64, fault: &str) {
        if self.told.insert(id) {
            tracing::error!(
                invocation.id = id,
                "an invocation could not be advanced and will be tried again: {fault}"
            );
        } else {
            tracing::debug!(invocation.id = id, "an invocation still waits: {fault}");
        }
        self.faulty.insert(id, Instant::now() + RETRY);
    }
}

enum Idle {
    No,
    For(Duration),
    UntilSignal,
}

enum Look {
    Done,
    /// Runners have jobs to stop.
    Stops,
    Advance(Box<Loaded>),
}

/// Reads one invocation and does what needs no scheduler.
async fn look(services: &Services, id: i64, going_on: Option<GoingOn>) -> Result<Look, StoreError> {
    let mut reader = services.store.reader();
    let Some(head) = progress::head(&mut reader, id).await? else {
        return Ok(Look::Done);
    };
    let now = services.clock.now_ms();
    match head.state {
        // Inner invocations are driven through their root.
        InvocationState::New | InvocationState::Ready if head.parent_invocation_id.is_some() => {
            crate::store::scheduling::commit::acknowledge(&services.store, &head).await?;
            return Ok(Look::Done);
        }
        InvocationState::New | InvocationState::Ready => {}
        InvocationState::Scheduled => {
            match invocations::complete(&services.store, &head, now).await? {
                Completion::Completed { has_hooks } => {
                    // Once more: the server that scheduled it may have died before it could.
                    release_next_in_history(services, &head).await?;
                    if has_hooks {
                        services.signals.hooks_changed();
                    }
                }
                Completion::NotYet
                    if head.history_deleted && head.parent_invocation_id.is_none() =>
                {
                    invocations::cancel_with_history(&services.store, &head, now).await?;
                    services.signals.invocations_changed();
                }
                Completion::NotYet => {}
            }
            return Ok(Look::Done);
        }
        InvocationState::Cancelling => {
            let stops = invocations::finish_cancellation(&services.store, &head, now).await?;
            release_next_in_history(services, &head).await?;
            return Ok(if stops { Look::Stops } else { Look::Done });
        }
        _ => {
            crate::store::scheduling::commit::acknowledge(&services.store, &head).await?;
            return Ok(Look::Done);
        }
    }
    if is_too_old(
        &head,
        services.settings.maximum_workflow_invocation_duration,
        now,
    ) {
        invocations::fail_for_age(&services.store, &head, now).await?;
        release_next_in_history(services, &head).await?;
        return Ok(Look::Done);
    }
    if services.settings.history_local_serial_workflow_scheduling
        && invocations::has_older_active(&mut reader, &head).await?
    {
        // The older one raises our signal when it is through.
        crate::store::scheduling::commit::acknowledge(&services.store, &head).await?;
        return Ok(Look::Done);
    }
    let going_on = going_on.filter(|known| known.signal_count == head.signal_count);
    let goes_on = going_on.is_some();
    let (progress, active) = match going_on {
        Some(known) => {
            let progress = Progress {
                history_deleted: head.history_deleted,
                ..known.progress
            };
            (Some(progress), known.active)
        }
        None => {
            let loaded = progress::load(&mut reader, &services.revisions, &head).await?;
            (loaded, None)
        }
    };
    match progress {
        Some(progress) => {
            let tools = progress.user_defined_tools();
            super::user_tools::ensure(services, &mut reader, &tools).await?;
            Ok(Look::Advance(Box::new(Loaded {
                head,
                progress,
                active,
                goes_on,
            })))
        }
        None => {
            // Nothing can be planned without its workflow; looking again at once would not help.
            crate::store::scheduling::commit::acknowledge(&services.store, &head).await?;
            Ok(Look::Done)
        }
    }
}

/// Where the invocations of a history go one after the other: this one is through, the next may go on.
pub(super) async fn release_next_in_history(
    services: &Services,
    head: &Head,
) -> Result<(), StoreError> {
    if services.settings.history_local_serial_workflow_scheduling {
        invocations::signal_younger_in_history(&services.store, head).await?;
        services.signals.invocations_changed();
    }
    Ok(())
}

/// Galaxy's maximum_workflow_invocation_duration, counted from the creation.
fn is_too_old(head: &Head, seconds: i64, now_ms: i64) -> bool {
    seconds > 0 && now_ms - head.create_time > seconds.saturating_mul(1000)
}
