//! Where a run stands, read from the store: a row for each step that does something.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::model::revision::Revision;
use crate::model::state::{InvocationState, JobState, StepState};
use crate::model::workflow::StepDescription;
use crate::store::invocations::{self, Invocation, Step};
use crate::store::{Query, StoreError};

/// Where a run stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    pub state: InvocationState,
    /// Nothing but a person's review holds it up.
    pub waits_for_review: bool,
    /// The invocation and those inside it.
    pub family: Vec<i64>,
    /// In the workflow's order; subworkflows count as one step.
    pub steps: Vec<StepNow>,
    /// Steps of other types than the host's whose action is still open.
    pub undecided: Vec<Undecided>,
}

/// A step that a person may have to decide on.
#[derive(Debug, Clone, PartialEq)]
pub struct Undecided {
    pub invocation_step_id: i64,
    pub invocation_id: i64,
    pub order_index: usize,
}

/// Where one step stands.
#[derive(Debug, Clone, PartialEq)]
pub struct StepNow {
    /// From 0, as in the workflow.
    pub index: usize,
    pub label: String,
    pub phase: Phase,
    pub jobs: Jobs,
}

/// Jobs by what is left to do for them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Jobs {
    pub total: i64,
    pub waiting: i64,
    pub running: i64,
    pub ok: i64,
    /// Failed themselves.
    pub failed: i64,
    /// Held up for good by the failure of another, or stopped.
    pub stopped: i64,
}

/// What a person calls the state of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Not reached yet.
    Pending,
    /// Its jobs wait for their inputs or for a free place.
    Waiting,
    Running,
    /// Waits for a person.
    Review,
    Ok,
    Failed,
    /// Its jobs did not run because others failed, or were stopped.
    Stopped,
}

impl Phase {
    pub fn word(self) -> &'static str {
        match self {
            Phase::Pending => "pending",
            Phase::Waiting => "waiting",
            Phase::Running => "running",
            Phase::Review => "review",
            Phase::Ok => "ok",
            Phase::Failed => "failed",
            Phase::Stopped => "stopped",
        }
    }

    /// Nothing more will happen to the step.
    pub fn is_over(self) -> bool {
        matches!(self, Phase::Ok | Phase::Failed | Phase::Stopped)
    }
}

impl Jobs {
    fn of(states: &BTreeMap<String, i64>) -> Jobs {
        let mut jobs = Jobs::default();
        for (state, count) in states {
            jobs.total += count;
            let place = match state.parse() {
                Ok(JobState::Ok | JobState::Skipped) => &mut jobs.ok,
                Ok(JobState::Error | JobState::Failed) => &mut jobs.failed,
                Ok(JobState::Running) => &mut jobs.running,
                Ok(JobState::Paused | JobState::Deleted | JobState::Stopped) => &mut jobs.stopped,
                Ok(JobState::Deleting | JobState::Stop) => &mut jobs.running,
                Ok(_) | Err(_) => &mut jobs.waiting,
            };
            *place += count;
        }
        jobs
    }

    fn add(&mut self, other: Jobs) {
        self.total += other.total;
        self.waiting += other.waiting;
        self.running += other.running;
        self.ok += other.ok;
        self.failed += other.failed;
        self.stopped += other.stopped;
    }

    /// Jobs about which something is still to come.
    pub fn unfinished(&self) -> i64 {
        self.waiting + self.running
    }
}

impl Snapshot {
    pub fn unfinished_jobs(&self) -> i64 {
        self.steps.iter().map(|step| step.jobs.unfinished()).sum()
    }

    pub fn unsuccessful_jobs(&self) -> i64 {
        let lost = |step: &StepNow| step.jobs.failed + step.jobs.stopped;
        self.steps.iter().map(lost).sum()
    }

    /// Whether nothing will change any more by itself.
    pub fn is_over(&self) -> bool {
        let ended = matches!(
            self.state,
            InvocationState::Completed | InvocationState::Cancelled | InvocationState::Failed
        );
        ended && self.unfinished_jobs() == 0
    }
}

/// What people call a step.
pub fn label_of(step: &StepDescription) -> String {
    let title = step
        .label
        .as_deref()
        .or(step.tool_id.as_deref())
        .or(step.name.as_deref());
    match title.filter(|title| !title.is_empty()) {
        Some(title) => title.to_owned(),
        None => format!("step {} ({})", step.order_index + 1, step.step_type),
    }
}

/// Reads where the run stands; None if there is no such invocation.
pub async fn read(
    q: &mut impl Query,
    invocation_id: i64,
    revision: &Revision,
) -> Result<Option<Snapshot>, StoreError> {
    let Some(root) = invocations::by_id(q, invocation_id).await? else {
        return Ok(None);
    };
    let mut snapshot = Snapshot {
        state: root.state,
        waits_for_review: root.blocked_on.as_deref() == Some("review"),
        family: Vec::new(),
        steps: Vec::new(),
        undecided: Vec::new(),
    };
    // (invocation, the root's step that it is inside of)
    let mut waiting = vec![(root, None)];
    let mut inside: BTreeMap<i64, Inside> = BTreeMap::new();
    while let Some((invocation, top)) = waiting.pop() {
        level(
            q,
            &invocation,
            top,
            &mut inside,
            &mut waiting,
            &mut snapshot,
        )
        .await?;
    }
    let described = revision.description.steps.iter();
    for step in described.filter(|step| !step.is_input_step()) {
        let found = inside
            .remove(&(step.order_index as i64))
            .unwrap_or_default();
        snapshot.steps.push(StepNow {
            index: step.order_index,
            label: label_of(step),
            phase: found.phase(root_is_over(snapshot.state)),
            jobs: found.jobs,
        });
    }
    Ok(Some(snapshot))
}

fn root_is_over(state: InvocationState) -> bool {
    matches!(state, InvocationState::Cancelled | InvocationState::Failed)
}

/// What is known of a step of the root, with all that is inside it.
#[derive(Default)]
struct Inside {
    reached: bool,
    /// More jobs may come.
    growing: bool,
    review: bool,
    refused: bool,
    jobs: Jobs,
}

impl Inside {
    fn phase(&self, is_over: bool) -> Phase {
        let jobs = self.jobs;
        match self {
            Inside { reached: false, .. } if is_over => Phase::Stopped,
            Inside { reached: false, .. } => Phase::Pending,
            Inside { refused: true, .. } => Phase::Failed,
            Inside { review: true, .. } if is_over => Phase::Stopped,
            Inside { review: true, .. } if jobs.unfinished() == 0 => Phase::Review,
            _ if jobs.running > 0 => Phase::Running,
            _ if jobs.waiting > 0 => Phase::Waiting,
            _ if jobs.failed > 0 => Phase::Failed,
            _ if jobs.stopped > 0 => Phase::Stopped,
            Inside { growing: true, .. } if is_over => Phase::Stopped,
            Inside { growing: true, .. } => Phase::Waiting,
            _ => Phase::Ok,
        }
    }
}

async fn level(
    q: &mut impl Query,
    invocation: &Invocation,
    top: Option<i64>,
    inside: &mut BTreeMap<i64, Inside>,
    waiting: &mut Vec<(Invocation, Option<i64>)>,
    snapshot: &mut Snapshot,
) -> Result<(), StoreError> {
    snapshot.family.push(invocation.id);
    for step in invocations::steps(q, &[invocation.id]).await? {
        let at = inside.entry(top.unwrap_or(step.order_index)).or_default();
        at.reached = true;
        if let Some(id) = step.subworkflow_invocation_id
            && let Some(child) = invocations::by_id(q, id).await?
        {
            at.growing |= child.state.is_active();
            waiting.push((child, Some(top.unwrap_or(step.order_index))));
        }
        at.growing |= step.state != StepState::Scheduled;
        if takes_actions(&step) {
            // A module that asks nobody is done when nobody is waited for.
            let is_undecided = step.action.is_null() && snapshot.waits_for_review;
            at.review |= is_undecided;
            at.refused |= step.action == Value::Bool(false);
            if is_undecided {
                snapshot.undecided.push(Undecided {
                    invocation_step_id: step.id,
                    invocation_id: invocation.id,
                    order_index: usize::try_from(step.order_index).unwrap_or(usize::MAX),
                });
            }
        }
    }
    for summary in invocations::step_jobs_summary(q, invocation.id).await? {
        let index = top.or(summary.order_index).unwrap_or(-1);
        inside
            .entry(index)
            .or_default()
            .jobs
            .add(Jobs::of(&summary.states));
    }
    Ok(())
}

/// Steps of pause and its like: a module of a plugin that has no jobs of its own.
fn takes_actions(step: &Step) -> bool {
    !matches!(
        step.step_type.as_str(),
        "tool"
            | "subworkflow"
            | "pick_value"
            | "data_input"
            | "data_collection_input"
            | "parameter_input"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jobs(states: &[(&str, i64)]) -> Jobs {
        Jobs::of(&states.iter().map(|(s, n)| ((*s).to_owned(), *n)).collect())
    }

    fn phase(states: &[(&str, i64)], growing: bool, is_over: bool) -> Phase {
        let inside = Inside {
            reached: true,
            growing,
            jobs: jobs(states),
            ..Inside::default()
        };
        inside.phase(is_over)
    }

    #[test]
    fn jobs_are_counted_by_what_is_left_to_do() {
        let counted = jobs(&[
            ("new", 1),
            ("queued", 2),
            ("running", 3),
            ("ok", 4),
            ("error", 5),
            ("paused", 6),
        ]);
        let expected = Jobs {
            total: 21,
            waiting: 3,
            running: 3,
            ok: 4,
            failed: 5,
            stopped: 6,
        };
        assert_eq!(counted, expected);
        assert_eq!(counted.unfinished(), 6);
    }

    #[test]
    fn a_step_is_as_its_jobs_are() {
        assert_eq!(
            phase(&[("ok", 2), ("running", 1)], false, false),
            Phase::Running
        );
        assert_eq!(
            phase(&[("ok", 2), ("new", 1)], false, false),
            Phase::Waiting
        );
        assert_eq!(phase(&[("ok", 2)], true, false), Phase::Waiting);
        assert_eq!(phase(&[("ok", 2)], false, false), Phase::Ok);
        assert_eq!(
            phase(&[("ok", 2), ("error", 1)], false, false),
            Phase::Failed
        );
        assert_eq!(phase(&[("paused", 1)], false, false), Phase::Stopped);
        assert_eq!(phase(&[], true, true), Phase::Stopped);
        // A module that made its outputs without a job.
        assert_eq!(phase(&[], false, false), Phase::Ok);
    }

    #[test]
    fn an_open_review_is_shown_until_the_run_is_over() {
        let open = Inside {
            reached: true,
            review: true,
            ..Inside::default()
        };
        assert_eq!(open.phase(false), Phase::Review);
        assert_eq!(open.phase(true), Phase::Stopped);
        let refused = Inside {
            reached: true,
            refused: true,
            ..Inside::default()
        };
        assert_eq!(refused.phase(true), Phase::Failed);
        assert_eq!(Inside::default().phase(false), Phase::Pending);
    }
}
