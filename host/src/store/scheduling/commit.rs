//! Storing what an iteration decided: all of it or none.

use serde_json::{Value, json};

use super::equivalents;
use super::jobs::ReadyJob;
use super::objects::{Owner, Place, insert_objects, reserve};
use super::progress::Head;
use crate::args;
use crate::invoker::iteration::Outcome;
use crate::invoker::known::StepValue;
use crate::invoker::stop::Wait;
use crate::invoker::writes::{StepRow, Writes};
use crate::model::message::{InvocationMessage, reason};
use crate::model::state::{InvocationEvent, InvocationState};
use crate::store::Store;
use crate::store::db::{Durability, Query, StoreError, Tx, Val, repeated};

/// What storing came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Stored {
    Yes {
        state: InvocationState,
        /// New jobs that can start at once.
        ready: Vec<ReadyJob>,
        /// There is more to do for this invocation right away.
        again: bool,
        /// The history number of the first new item.
        first_hid: i64,
        /// The `signal_count` of the invocation, if nothing else raises it.
        signal_count: i64,
    },
    /// Somebody else moved the invocation on meanwhile: look again.
    Stale,
}

/// Stores an iteration's outcome, provided that the invocation is still as it was when it was loaded, and still
/// `handler`'s. Its jobs go to `job_handler`.
pub async fn commit_iteration(
    store: &Store,
    head: &Head,
    handler: &str,
    job_handler: &str,
    outcome: &Outcome,
    now: i64,
) -> Result<Stored, StoreError> {
    repeated(|| commit_once(store, head, handler, job_handler, outcome, now)).await
}

async fn commit_once(
    store: &Store,
    head: &Head,
    handler: &str,
    job_handler: &str,
    outcome: &Outcome,
    now: i64,
) -> Result<Stored, StoreError> {
    let event = &outcome.event;
    let next = match event {
        None => head.state,
        Some(event) => match head.state.after(*event) {
            Ok(next) => next,
            Err(_) => return Ok(Stored::Stale),
        },
    };
    let mut tx = store.begin().await?;
    // First of all: whoever waits for a job that is over with this has to look again.
    let mut reusing;
    let writes = match outcome.writes.jobs.iter().any(|job| job.use_cached) {
        true => {
            reusing = outcome.writes.clone();
            equivalents::reuse(&mut tx, head.user_id, store.ids.as_ref(), &mut reusing).await?;
            &reusing
        }
        false => &outcome.writes,
    };
    let budget_left = writes.waits.contains(&Wait::Budget);
    let waiting = next == InvocationState::Ready;
    // Whoever enters one of these is looked at once more: its jobs may have ended before they could tell.
    let again = (budget_left && waiting)
        || writes
            .children
            .iter()
            .any(|child| child.event == InvocationEvent::EveryStepScheduled)
        || (next != head.state
            && matches!(
                next,
                InvocationState::Scheduled | InvocationState::Cancelling
            ));
    let wake = writes.waits.iter().filter_map(|wait| wait.until(now));
    let wake = wake.min().filter(|_| waiting);
    let blocked_on = blocked_on(&writes.waits).filter(|_| waiting);
    if waiting {
        lock_waited_for(&mut tx, &writes.waits).await?;
    }
    let owner = Owner {
        user_id: head.user_id,
        history_id: head.history_id,
        scheduler: head.scheduler.clone(),
        handler: job_handler.to_owned(),
    };
    let place = reserve(&mut tx, &owner, writes, now).await?;
    let touched = tx
        .run(
            "UPDATE workflow_invocation SET state = $1, signal_seen = $2, signal_count = signal_count + $3,
                    wake_time = $4, blocked_on = $5, update_time = $6
             WHERE id = $7 AND state = $8 AND handler = $9 AND signal_seen < $2",
            args![
                next.code(),
                head.signal_count,
                i64::from(again),
                wake,
                blocked_on,
                now,
                head.id,
                head.state.code(),
                handler
            ],
        )
        .await?;
    if touched != 1 {
        return Ok(Stored::Stale);
    }
    tx.run(
        "DELETE FROM workflow_invocation_wait WHERE workflow_invocation_id = $1",
        args![head.id],
    )
    .await?;
    let ready = insert_objects(&mut tx, &owner, writes, place.as_ref(), now).await?;
    insert_steps(&mut tx, &writes.steps, now).await?;
    for state in &writes.runtime_states {
        tx.run(
            "INSERT INTO workflow_request_step_states (workflow_invocation_id, workflow_step_id, value) VALUES ($1, $2, $3)
             ON CONFLICT (workflow_invocation_id, workflow_step_id) DO UPDATE SET value = excluded.value",
            args![state.invocation_id, state.workflow_step_id, &state.value],
        )
        .await?;
    }
    insert_inputs(&mut tx, writes).await?;
    insert_outputs(&mut tx, writes).await?;
    move_children(&mut tx, head, handler, writes, now).await?;
    for (invocation_id, message) in &writes.messages {
        insert_message(&mut tx, *invocation_id, message, now).await?;
    }
    if head.has_holds || !writes.holds.is_empty() {
        let holds = if waiting {
            writes.holds.as_slice()
        } else {
            &[]
        };
        super::holds::replace(&mut tx, head.id, holds, now).await?;
    }
    if waiting {
        insert_waits(&mut tx, head.id, &writes.waits).await?;
    }
    tx.commit(Durability::Progress, "iteration").await?;
    Ok(Stored::Yes {
        state: next,
        ready,
        again,
        first_hid: place.as_ref().map_or(0, Place::first_hid),
        signal_count: head.signal_count + i64::from(again),
    })
}

/// Waits kept of an iteration. Few are enough: each that happens leads to another look, which finds the next.
const WAITS_KEPT: usize = 64;

/// What is kept of the waits: kind and id.
fn kept(waits: &[Wait]) -> impl Iterator<Item = (&'static str, i64)> {
    waits
        .iter()
        .filter_map(|wait| match wait {
            Wait::Dataset(id) => Some(("dataset", *id)),
            Wait::Job(id) => Some(("job", *id)),
            _ => None,
        })
        .take(WAITS_KEPT)
}

/// Locks the jobs and datasets that are waited for: they end before this transaction, and are seen to have, or after it,
/// and then tell.
async fn lock_waited_for(tx: &mut Tx, waits: &[Wait]) -> Result<(), StoreError> {
    let of = |wanted: &str| -> Vec<i64> {
        kept(waits)
            .filter(|(kind, _)| *kind == wanted)
            .map(|(_, id)| id)
            .collect()
    };
    tx.lock_shared("job", &of("job")).await?;
    tx.lock_shared("dataset", &of("dataset")).await
}

/// 'review' where nothing but a person's decision is waited for.
fn blocked_on(waits: &[Wait]) -> Option<&'static str> {
    let review = waits.contains(&Wait::Review);
    let other = waits
        .iter()
        .any(|w| !matches!(w, Wait::Review | Wait::Step));
    (review && !other).then_some("review")
}

async fn insert_waits(tx: &mut Tx, invocation_id: i64, waits: &[Wait]) -> Result<(), StoreError> {
    let mut ended = false;
    let rows: Vec<Vec<Val>> = kept(waits)
        .map(|(kind, id)| args![kind, id, invocation_id])
        .collect();
    // What happened since it was loaded will not tell again.
    for row in &rows {
        let sql = match &row[0] {
            Val::Text(Some(kind)) if kind == "dataset" => {
                "SELECT 1 FROM dataset WHERE id = $1 AND state NOT IN ('new', 'upload', 'queued', 'running', 'setting_metadata')"
            }
            _ => {
                "SELECT 1 FROM job WHERE id = $1 AND state NOT IN ('new', 'resubmitted', 'upload', 'waiting', 'queued', 'running', 'paused')"
            }
        };
        ended |= tx.maybe(sql, vec![row[1].clone()]).await?.is_some();
    }
    tx.insert_many(
        "INSERT INTO workflow_invocation_wait (kind, item_id, workflow_invocation_id) VALUES",
        3,
        "ON CONFLICT DO NOTHING",
        rows,
    )
    .await?;
    if ended {
        tx.run(
            "UPDATE workflow_invocation SET signal_count = signal_count + 1 WHERE id = $1",
            args![invocation_id],
        )
        .await?;
    }
    Ok(())
}

async fn insert_steps(tx: &mut Tx, steps: &[StepRow], now: i64) -> Result<(), StoreError> {
    let (new, old): (Vec<&StepRow>, Vec<&StepRow>) = steps.iter().partition(|s| s.is_new);
    let rows = new
        .iter()
        .map(|s| {
            let (job, group) = (s.job_id, s.implicit_collection_jobs_id);
            args![
                s.id,
                s.invocation_id,
                s.workflow_step_id,
                s.order_index,
                s.state.code(),
                job,
                group,
                now,
                now
            ]
        })
        .collect();
    tx.insert_many(
        "INSERT INTO workflow_invocation_step (id, workflow_invocation_id, workflow_step_id, order_index, state, job_id,
            implicit_collection_jobs_id, create_time, update_time) VALUES",
        9,
        "",
        rows,
    )
    .await?;
    for step in old {
        tx.run(
            "UPDATE workflow_invocation_step SET state = $1, job_id = $2, implicit_collection_jobs_id = $3, update_time = $4
             WHERE id = $5",
            args![step.state.code(), step.job_id, step.implicit_collection_jobs_id, now, step.id],
        )
        .await?;
    }
    Ok(())
}

async fn insert_outputs(tx: &mut Tx, writes: &Writes) -> Result<(), StoreError> {
    let (mut hdas, mut hdcas, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for output in &writes.step_outputs {
        let (step, name) = (output.invocation_step_id, output.output_name.as_str());
        match &output.value {
            StepValue::Hda(id) => hdas.push(args![step, name, *id]),
            StepValue::Hdca(id) => hdcas.push(args![step, name, *id]),
            other => values.push(args![step, name, &other.to_stored().unwrap_or(Value::Null)]),
        }
    }
    for (head, rows) in [
        (
            "INSERT INTO workflow_invocation_step_output_dataset_association (workflow_invocation_step_id, output_name, dataset_id) VALUES",
            hdas,
        ),
        (
            "INSERT INTO workflow_invocation_step_output_dataset_collection_association (workflow_invocation_step_id, output_name, dataset_collection_id) VALUES",
            hdcas,
        ),
        (
            "INSERT INTO workflow_invocation_step_output_value (workflow_invocation_step_id, output_name, value) VALUES",
            values,
        ),
    ] {
        tx.insert_many(head, 3, "ON CONFLICT DO NOTHING", rows)
            .await?;
    }
    let (mut hdas, mut hdcas, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for output in &writes.invocation_outputs {
        let (id, step) = (output.workflow_output_id, output.workflow_step_id);
        let invocation_id = output.invocation_id;
        match &output.value {
            StepValue::Hda(hda) => hdas.push(args![invocation_id, id, step, *hda]),
            StepValue::Hdca(hdca) => hdcas.push(args![invocation_id, id, step, *hdca]),
            other => values.push(args![
                invocation_id,
                id,
                step,
                &other.to_stored().unwrap_or(Value::Null)
            ]),
        }
    }
    for (head, rows) in [
        (
            "INSERT INTO workflow_invocation_output_dataset_association (workflow_invocation_id, workflow_output_id, workflow_step_id, dataset_id) VALUES",
            hdas,
        ),
        (
            "INSERT INTO workflow_invocation_output_dataset_collection_association (workflow_invocation_id, workflow_output_id, workflow_step_id, dataset_collection_id) VALUES",
            hdcas,
        ),
        (
            "INSERT INTO workflow_invocation_output_value (workflow_invocation_id, workflow_output_id, workflow_step_id, value) VALUES",
            values,
        ),
    ] {
        tx.insert_many(head, 4, "ON CONFLICT DO NOTHING", rows)
            .await?;
    }
    Ok(())
}

/// Values that input steps took by themselves. What is stored already stands.
async fn insert_inputs(tx: &mut Tx, writes: &Writes) -> Result<(), StoreError> {
    let (mut hdas, mut hdcas, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for input in &writes.inputs {
        let (invocation, step) = (input.invocation_id, input.workflow_step_id);
        match &input.value {
            StepValue::Hda(id) => hdas.push(args![invocation, step, *id]),
            StepValue::Hdca(id) => hdcas.push(args![invocation, step, *id]),
            StepValue::Json(value) => values.push(args![invocation, step, value]),
            StepValue::NoReplacement => {}
        }
    }
    for (head, rows) in [
        (
            "INSERT INTO workflow_request_to_input_dataset (workflow_invocation_id, workflow_step_id, dataset_id) VALUES",
            hdas,
        ),
        (
            "INSERT INTO workflow_request_to_input_collection_dataset (workflow_invocation_id, workflow_step_id, dataset_collection_id) VALUES",
            hdcas,
        ),
        (
            "INSERT INTO workflow_request_input_step_parameter (workflow_invocation_id, workflow_step_id, parameter_value) VALUES",
            values,
        ),
    ] {
        tx.insert_many(head, 3, "ON CONFLICT DO NOTHING", rows)
            .await?;
    }
    Ok(())
}

/// Moves inner invocations on with their root. One that is scheduled is looked at by itself: it may be complete.
async fn move_children(
    tx: &mut Tx,
    head: &Head,
    handler: &str,
    writes: &Writes,
    now: i64,
) -> Result<(), StoreError> {
    for child in &writes.children {
        let Ok(next) = InvocationState::Ready.after(child.event) else {
            continue;
        };
        let look = i64::from(next == InvocationState::Scheduled);
        tx.run(
            "UPDATE workflow_invocation SET state = $1, handler = $2, scheduler = $3, signal_seen = signal_count,
                    signal_count = signal_count + $4, update_time = $5
             WHERE id = $6 AND state IN ('new', 'ready')",
            args![next.code(), handler, head.scheduler.as_deref(), look, now, child.invocation_id],
        )
        .await?;
    }
    Ok(())
}

/// Stores a message; the same warning twice is one message.
pub async fn insert_message(
    tx: &mut Tx,
    invocation_id: i64,
    message: &InvocationMessage,
    now: i64,
) -> Result<(), StoreError> {
    let details = message
        .details
        .as_ref()
        .map(|d| d.chars().take(reason::DETAILS_MAX).collect::<String>());
    let path =
        (!message.step_index_path.is_empty()).then(|| json!(message.step_index_path).to_string());
    tx.run(
        "INSERT INTO workflow_invocation_message (workflow_invocation_id, reason, details, output_name, workflow_step_id,
            dependent_workflow_step_id, job_id, hda_id, hdca_id, history_id, workflow_step_index_path, create_time)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        args![
            invocation_id,
            message.reason,
            details,
            &message.output_name,
            message.workflow_step_id,
            message.dependent_workflow_step_id,
            message.job_id,
            message.hda_id,
            message.hdca_id,
            message.history_id,
            path,
            now
        ],
    )
    .await
    .map(|_| ())
}

/// The signals of an invocation were looked at, and nothing is to be stored.
pub async fn acknowledge(store: &Store, head: &Head) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    tx.run(
        "UPDATE workflow_invocation SET signal_seen = $1 WHERE id = $2 AND signal_seen < $1",
        args![head.signal_count, head.id],
    )
    .await?;
    tx.commit(Durability::Progress, "iteration.none").await
}
