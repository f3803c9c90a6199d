//! What users ask of an invocation: they leave a mark and a signal, and the scheduling loops do the rest.

use serde_json::Value;

use crate::args;
use crate::model::message::reason;
use crate::model::state::{InvocationEvent, InvocationState};
use crate::store::db::{Query, StoreError, Tx};

/// Asks for an invocation to be cancelled. False when it already is being, or is, cancelled: nothing is changed then.
pub async fn request_cancel(
    tx: &mut Tx,
    invocation_id: i64,
    now_ms: i64,
) -> Result<bool, StoreError> {
    lock_with_root(tx, invocation_id).await?;
    let Some(state) = state_of(tx, invocation_id).await? else {
        return Ok(false);
    };
    let Ok(next) = state.after(InvocationEvent::CancelRequested) else {
        return Ok(false);
    };
    let touched = tx
        .run(
            "UPDATE workflow_invocation SET state = $3, blocked_on = NULL, update_time = $4 WHERE id = $1 AND state = $2",
            args![invocation_id, state.code(), next.code(), now_ms],
        )
        .await?;
    if touched == 0 {
        return Ok(false);
    }
    tx.run(
        "INSERT INTO workflow_invocation_message (workflow_invocation_id, reason, create_time) VALUES ($1, $2, $3)",
        args![invocation_id, reason::USER_REQUEST, now_ms],
    )
    .await?;
    signal_root(tx, invocation_id).await?;
    Ok(true)
}

/// What became of a user's action on a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActionOutcome {
    Stored,
    NoSuchStep,
    /// The invocation is neither new nor ready.
    NotActive(InvocationState),
}

/// Stores a person's action on a step of an active invocation and signals it.
pub async fn put_action(
    tx: &mut Tx,
    invocation_step_id: i64,
    action: &Value,
    now_ms: i64,
) -> Result<ActionOutcome, StoreError> {
    let sql = "SELECT workflow_invocation_id AS id FROM workflow_invocation_step WHERE id = $1";
    let Some(row) = tx.maybe(sql, args![invocation_step_id]).await? else {
        return Ok(ActionOutcome::NoSuchStep);
    };
    let invocation_id: i64 = row.get("id")?;
    lock_with_root(tx, invocation_id).await?;
    match state_of(tx, invocation_id).await? {
        Some(state) if state.is_active() => {}
        Some(state) => return Ok(ActionOutcome::NotActive(state)),
        None => return Ok(ActionOutcome::NoSuchStep),
    }
    tx.run(
        "UPDATE workflow_invocation_step SET action = $2, update_time = $3 WHERE id = $1",
        args![invocation_step_id, action, now_ms],
    )
    .await?;
    tx.run(
        "UPDATE workflow_invocation SET update_time = $2 WHERE id = $1",
        args![invocation_id, now_ms],
    )
    .await?;
    signal_root(tx, invocation_id).await?;
    Ok(ActionOutcome::Stored)
}

/// Adds a signal to the invocation that drives this one: itself, or the outermost it is inside of.
pub async fn signal_root(tx: &mut Tx, invocation_id: i64) -> Result<(), StoreError> {
    tx.run(
        "UPDATE workflow_invocation SET signal_count = signal_count + 1 WHERE id = (
            WITH RECURSIVE up (id, parent) AS (
                SELECT id, parent_invocation_id FROM workflow_invocation WHERE id = $1
                UNION SELECT i.id, i.parent_invocation_id FROM workflow_invocation i JOIN up ON i.id = up.parent)
            SELECT id FROM up WHERE parent IS NULL)",
        args![invocation_id],
    )
    .await?;
    Ok(())
}

/// Locks an invocation and the one that drives it, which is the older one.
async fn lock_with_root(tx: &mut Tx, invocation_id: i64) -> Result<(), StoreError> {
    if !tx.has_rivals() {
        return Ok(());
    }
    let rows = tx
        .all(
            "WITH RECURSIVE up (id, parent) AS (
                SELECT id, parent_invocation_id FROM workflow_invocation WHERE id = $1
                UNION SELECT i.id, i.parent_invocation_id FROM workflow_invocation i JOIN up ON i.id = up.parent)
             SELECT id FROM up WHERE parent IS NULL OR id = $1",
            args![invocation_id],
        )
        .await?;
    let ids: Vec<i64> = rows
        .iter()
        .map(|row| row.get(0))
        .collect::<Result<_, _>>()?;
    tx.lock("workflow_invocation", &ids).await
}

async fn state_of(tx: &mut Tx, invocation_id: i64) -> Result<Option<InvocationState>, StoreError> {
    let sql = "SELECT state FROM workflow_invocation WHERE id = $1";
    let Some(row) = tx.maybe(sql, args![invocation_id]).await? else {
        return Ok(None);
    };
    let state: &str = row.get("state")?;
    let known = state.parse().map_err(|_| StoreError::Unknown {
        what: "invocation state",
        value: state.to_owned(),
    })?;
    Ok(Some(known))
}
