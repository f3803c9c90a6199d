//! One attempt to advance invocations that were loaded: recover, ask the schedulers, decide (all in `planning.rs`), store.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};

use super::active::ActiveJobs;
use super::dispatch::Queue;
use super::engine::Services;
use super::lanes::Lane;
use super::monitor::release_next_in_history;
use super::planning::{Decided, plan};
use crate::invoker::iteration::Outcome;
use crate::invoker::progress::Progress;
use crate::meter;
use crate::model::state::{InvocationState, JobState};
use crate::store::StoreError;
use crate::store::scheduling::commit::{Stored, commit_iteration};
use crate::store::scheduling::invocations::active_jobs;
use crate::store::scheduling::progress::Head;

/// An invocation with everything that was stored about it.
pub struct Loaded {
    pub head: Head,
    pub progress: Progress,
    /// None where its jobs have yet to be counted.
    pub active: Option<ActiveJobs>,
    /// It goes on from its last iteration: what its datasets hold is known.
    pub goes_on: bool,
}

/// An invocation that has more to do at once, as it is after its last iteration.
pub struct GoingOn {
    /// It is as the invocation is stored while that has this count.
    pub signal_count: i64,
    pub progress: Progress,
    pub active: Option<ActiveJobs>,
}

/// What became of some invocations.
#[derive(Default)]
pub struct Advanced {
    /// Those that could not be advanced, with the fault; they keep their signal.
    pub faults: Vec<(i64, String)>,
    pub going_on: Vec<(i64, GoingOn)>,
    /// What the conditions of users took.
    pub spent: Vec<(i64, Duration)>,
}

impl Advanced {
    fn none(ids: Vec<i64>, fault: &str) -> Advanced {
        Advanced {
            faults: ids.into_iter().map(|id| (id, fault.to_owned())).collect(),
            ..Default::default()
        }
    }
}

/// Advances invocations, asking each scheduler once about all of its own.
pub async fn advance(
    services: &Arc<Services>,
    jobs: &Queue,
    lane: Lane,
    mut loaded: Vec<Loaded>,
) -> Advanced {
    let ids: Vec<i64> = loaded.iter().map(|one| one.head.id).collect();
    services.store.ids.before_jobs().await;
    if let Err(error) = count_active_jobs(services, &mut loaded).await {
        return Advanced::none(ids, &crate::errors::chain(&error));
    }
    let capacity = jobs.capacity();
    let planned = {
        let services = services.clone();
        tokio::task::spawn_blocking(move || plan(&services, lane, loaded, &capacity)).await
    };
    let (planned, spent) = match planned {
        Ok(planned) => planned,
        Err(error) => {
            // Whose fault it was is not known; the monitor takes them one by one from now on.
            return Advanced::none(ids, &format!("planning broke ({error})"));
        }
    };
    let commits = planned.into_iter().map(|(one, planned)| async move {
        let id = one.head.id;
        match planned {
            Decided::Outcome(outcome) => (id, store(services, jobs, one, outcome).await),
            Decided::Nothing(outcome, fault) => {
                let told = store(services, jobs, one, outcome).await;
                (id, told.and(Err(fault)))
            }
            Decided::Fault(fault) => (id, Err(fault)),
            Decided::InTheSlowLane => (id, Ok(None)),
        }
    });
    let stored: Vec<_> = stream::iter(commits).buffer_unordered(8).collect().await;
    let mut advanced = Advanced {
        spent,
        ..Default::default()
    };
    for (id, result) in stored {
        match result {
            Ok(going_on) => advanced.going_on.extend(going_on.map(|one| (id, one))),
            Err(fault) => advanced.faults.push((id, fault)),
        }
    }
    advanced
}

/// Counts the jobs of the invocations whose count is not known.
async fn count_active_jobs(services: &Services, loaded: &mut [Loaded]) -> Result<(), StoreError> {
    let unknown = loaded.iter().filter(|one| one.active.is_none());
    let unknown: Vec<i64> = unknown.map(|one| one.head.id).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let counted = active_jobs(&mut services.store.reader(), &unknown).await?;
    for one in loaded.iter_mut().filter(|one| one.active.is_none()) {
        let count = counted.get(&one.head.id).copied().unwrap_or(0);
        one.active = Some(ActiveJobs::counted(count));
    }
    Ok(())
}

async fn store(
    services: &Services,
    jobs: &Queue,
    one: Loaded,
    outcome: Outcome,
) -> Result<Option<GoingOn>, String> {
    let Loaded {
        head,
        mut progress,
        active,
        ..
    } = one;
    let Services {
        store, membership, ..
    } = services;
    let (handler, job_handler) = (membership.name(), membership.job_handler());
    let now = services.clock.now_ms();
    let stored = commit_iteration(store, &head, handler, job_handler, &outcome, now).await;
    match stored.map_err(|e| crate::errors::chain(&e))? {
        Stored::Yes {
            state,
            ready,
            again,
            first_hid,
            signal_count,
        } => {
            services.signals.iteration_committed();
            count(state);
            jobs.ready(ready);
            if again || state == InvocationState::Cancelling {
                services.signals.invocations_changed();
            }
            if !state.is_active() {
                release_next_in_history(services, &head)
                    .await
                    .map_err(|e| crate::errors::chain(&e))?;
            }
            Ok(
                (again && state == InvocationState::Ready && progress.can_go_on()).then(|| {
                    progress.go_on(&outcome.writes, first_hid);
                    let new = outcome.writes.jobs.iter();
                    let new = new.filter(|job| job.state == JobState::New).count();
                    GoingOn {
                        signal_count,
                        progress,
                        active: active.and_then(|active| active.and(new as u64)),
                    }
                }),
            )
        }
        Stored::Stale => {
            services.signals.invocations_changed();
            Ok(None)
        }
    }
}

/// For `/metrics`.
fn count(state: InvocationState) {
    meter::ITERATIONS.add(1);
    match state {
        InvocationState::Scheduled => meter::INVOCATIONS_SCHEDULED.add(1),
        InvocationState::Failed => meter::INVOCATIONS_FAILED.add(1),
        InvocationState::Cancelling | InvocationState::Cancelled => {
            meter::INVOCATIONS_CANCELLED.add(1);
        }
        _ => {}
    }
}
