//! The last plans of a scheduler: one that is to take its place is asked the same before anybody depends on it.

use super::bridge::SchedulerInstance;
use super::failure::PluginCallError;
use barycenter_plugin_api::{Plan, PlanRequest};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Plans that are kept.
const KEPT: usize = 8;
/// Larger requests are not kept, counted in jobs and invocations.
const SIZE_MAX: usize = 5_000;
/// At most one is kept in this time, so that a busy scheduler's are not all copied.
const EVERY: Duration = Duration::from_millis(250);

/// What was asked and answered lately.
#[derive(Default)]
pub(super) struct Rehearsal(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    last: Option<Instant>,
    plans: VecDeque<(Arc<PlanRequest>, Plan)>,
}

/// How another scheduler did when it was asked the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shadow {
    /// So many plans were made …
    pub cycles: u32,
    /// … and so many of them were others than those that were carried out.
    pub differences: u32,
}

impl Rehearsal {
    /// Keeps a plan, if it is time for one.
    pub fn keep(&self, request: &Arc<PlanRequest>, plan: &Plan) {
        let mut kept = self.lock();
        let is_due = kept.plans.len() < KEPT || kept.last.is_none_or(|at| at.elapsed() >= EVERY);
        if !is_due || request.jobs.len() + request.invocations.len() > SIZE_MAX {
            return;
        }
        kept.last = Some(Instant::now());
        if kept.plans.len() == KEPT {
            kept.plans.pop_front();
        }
        kept.plans.push_back((Arc::clone(request), plan.clone()));
    }

    /// Has what another kept.
    pub fn take_over(&self, other: &Self) {
        let plans = other.lock().plans.clone();
        self.lock().plans = plans;
    }

    /// Asks another scheduler the same, and throws its plans away. Without any to ask for: an empty one.
    pub fn run(&self, other: &SchedulerInstance) -> Result<Shadow, PluginCallError> {
        let plans = self.lock().plans.clone();
        if plans.is_empty() {
            other.plan_alone(&Arc::new(PlanRequest::default()))?;
            return Ok(Shadow {
                cycles: 1,
                differences: 0,
            });
        }
        let mut shadow = Shadow::default();
        for (request, plan) in &plans {
            let planned = other.plan_alone(request)?;
            let is_same = planned.invocations == plan.invocations && planned.jobs == plan.jobs;
            shadow.cycles += 1;
            shadow.differences += u32::from(!is_same);
        }
        Ok(shadow)
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_kept_and_then_one_now_and_again() {
        let rehearsal = Rehearsal::default();
        for cycle in 0..100 {
            let request = Arc::new(PlanRequest {
                cycle,
                ..PlanRequest::default()
            });
            rehearsal.keep(&request, &Plan::default());
        }
        let kept = rehearsal.lock();
        assert_eq!(kept.plans.len(), KEPT);
        assert_eq!(kept.plans[0].0.cycle, 0);
    }
}
