//! Which invocations a handler has to look at, their completion and their cancellation.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::commit::insert_message;
use super::progress::Head;
use crate::args;
use crate::model::message::{InvocationMessage, reason};
use crate::model::state::InvocationState;
use crate::store::Store;
use crate::store::db::{Durability, Query, StoreError, Tx, Val, blocks, placeholders, repeated};

/// Job states in which an invocation is still at work.
pub const UNFINISHED: &str =
    "'new', 'resubmitted', 'upload', 'waiting', 'queued', 'running', 'stop', 'deleting'";

/// The users whose invocations are looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    Except(Vec<i64>),
    Only(Vec<i64>),
}

impl Whose {
    pub fn everybodys() -> Whose {
        Whose::Except(Vec::new())
    }
}

/// Invocations of a handler that have a signal it has not looked at, lowest id first. Children come with their root.
pub async fn signalled(
    q: &mut impl Query,
    handler: &str,
    whose: &Whose,
    after: i64,
    limit: usize,
) -> Result<Vec<i64>, StoreError> {
    let (condition, users) = match whose {
        Whose::Except(users) if users.is_empty() => ("", users),
        Whose::Except(users) => (" AND user_id NOT IN", users),
        Whose::Only(users) => (" AND user_id IN", users),
    };
    let list = match condition {
        "" => String::new(),
        _ => format!(" ({})", placeholders(4, users.len())),
    };
    let mut arguments = args![handler, after, limit];
    arguments.extend(users.iter().map(|user| Val::from(*user)));
    let rows = q
        .all(
            format!(
                "SELECT id FROM workflow_invocation WHERE handler = $1 AND signal_count > signal_seen AND id > $2{condition}{list}
                 ORDER BY id LIMIT $3"
            ),
            arguments,
        )
        .await?;
    rows.iter().map(|row| row.get(0)).collect()
}

/// Raises the signal of those of `handlers` whose time has come; the next time after `now`, if there is one.
pub async fn wake_due(
    store: &Store,
    handlers: &[String],
    now: i64,
) -> Result<(bool, Option<i64>), StoreError> {
    let mut reader = store.reader();
    match next_wake(&mut reader, handlers).await? {
        Some(at) if at <= now => {}
        next => return Ok((false, next)),
    }
    let sql = format!(
        "UPDATE workflow_invocation SET signal_count = signal_count + 1, wake_time = NULL
         WHERE wake_time <= $1 AND handler IN ({})",
        placeholders(2, handlers.len())
    );
    let due = format!(
        "SELECT id FROM workflow_invocation WHERE wake_time <= $1 AND handler IN ({})",
        placeholders(2, handlers.len())
    );
    let mut arguments = args![now];
    arguments.extend(handlers.iter().map(Val::from));
    let mut tx = store.begin().await?;
    lock_found(&mut tx, due, arguments.clone()).await?;
    tx.run(sql, arguments).await?;
    tx.commit(Durability::Progress, "invocation.wake").await?;
    Ok((true, next_wake(&mut reader, handlers).await?))
}

async fn next_wake(q: &mut impl Query, handlers: &[String]) -> Result<Option<i64>, StoreError> {
    let sql = format!(
        "SELECT MIN(wake_time) FROM workflow_invocation WHERE wake_time IS NOT NULL AND handler IN ({})",
        placeholders(1, handlers.len())
    );
    let arguments = handlers.iter().map(Val::from).collect();
    let row = q.maybe(sql, arguments).await?;
    Ok(row.map(|r| r.get(0)).transpose()?.flatten())
}

/// Locks the invocations that a statement finds, in order.
pub(in crate::store) async fn lock_found(
    tx: &mut Tx,
    sql: impl Into<String> + Send,
    args: Vec<Val>,
) -> Result<(), StoreError> {
    if !tx.has_rivals() {
        return Ok(());
    }
    let found = tx.all(sql, args).await?;
    let found: Vec<i64> = found
        .iter()
        .map(|row| row.get(0))
        .collect::<Result<_, _>>()?;
    tx.lock("workflow_invocation", &found).await
}

/// Whether an older invocation of the same history is still being scheduled.
pub async fn has_older_active(q: &mut impl Query, head: &Head) -> Result<bool, StoreError> {
    let row = q
        .maybe(
            "SELECT 1 FROM workflow_invocation WHERE history_id = $1 AND id < $2 AND parent_invocation_id IS NULL
               AND state IN ('new', 'requires_materialization', 'ready', 'cancelling') LIMIT 1",
            args![head.history_id, head.id],
        )
        .await?;
    Ok(row.is_some())
}

/// Signals the younger invocations of the same history that are still being scheduled.
pub async fn signal_younger_in_history(store: &Store, head: &Head) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    const YOUNGER: &str = "SELECT id FROM workflow_invocation WHERE history_id = $1 AND id > $2 AND state IN ('new', 'ready')";
    lock_found(&mut tx, YOUNGER, args![head.history_id, head.id]).await?;
    tx.run(
        "UPDATE workflow_invocation SET signal_count = signal_count + 1
         WHERE history_id = $1 AND id > $2 AND parent_invocation_id IS NULL AND state IN ('new', 'ready')",
        args![head.history_id, head.id],
    )
    .await?;
    tx.commit(Durability::Progress, "history.next").await
}

/// Signals those of a handler's invocations that are the oldest of their history still being scheduled: whoever was before
/// them may have died without saying that it was through.
pub async fn signal_first_in_histories(store: &Store, handler: &str) -> Result<(), StoreError> {
    const FIRST: &str = "handler = $1 AND parent_invocation_id IS NULL AND state IN ('new', 'ready')
           AND NOT EXISTS (SELECT 1 FROM workflow_invocation o WHERE o.history_id = workflow_invocation.history_id
               AND o.id < workflow_invocation.id AND o.parent_invocation_id IS NULL
               AND o.state IN ('new', 'requires_materialization', 'ready', 'cancelling'))";
    let found = format!("SELECT id FROM workflow_invocation WHERE {FIRST} ORDER BY id");
    if store
        .reader()
        .maybe(found.clone(), args![handler])
        .await?
        .is_none()
    {
        return Ok(());
    }
    let mut tx = store.begin().await?;
    lock_found(&mut tx, found, args![handler]).await?;
    let signal =
        format!("UPDATE workflow_invocation SET signal_count = signal_count + 1 WHERE {FIRST}");
    tx.run(signal, args![handler]).await?;
    tx.commit(Durability::Progress, "history.next").await
}

/// What became of trying to complete an invocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completion {
    NotYet,
    Completed {
        /// Something is to be done now: see [`super::hooks`].
        has_hooks: bool,
    },
}

/// Marks a scheduled invocation completed if all its jobs and children are, and notes what is to be done then.
pub async fn complete(store: &Store, head: &Head, now: i64) -> Result<Completion, StoreError> {
    repeated(|| complete_once(store, head, now)).await
}

async fn complete_once(store: &Store, head: &Head, now: i64) -> Result<Completion, StoreError> {
    let mut tx = store.begin().await?;
    let family: Vec<i64> = head
        .parent_invocation_id
        .into_iter()
        .chain([head.id])
        .collect();
    tx.lock("workflow_invocation", &family).await?;
    let sql = format!(
        "UPDATE workflow_invocation SET state = 'completed', signal_seen = $1, update_time = $2, wake_time = NULL, blocked_on = NULL
         WHERE id = $3 AND state = 'scheduled'
           AND NOT EXISTS (SELECT 1 FROM job j WHERE j.workflow_invocation_id = workflow_invocation.id AND j.state IN ({UNFINISHED}))
           AND NOT EXISTS (SELECT 1 FROM workflow_invocation c WHERE c.parent_invocation_id = workflow_invocation.id AND c.state <> 'completed')
         RETURNING on_complete"
    );
    let completed = tx
        .maybe(sql, args![head.signal_count, now, head.id])
        .await?;
    let Some(completed) = completed else {
        tx.run(
            "UPDATE workflow_invocation SET signal_seen = $1 WHERE id = $2 AND signal_seen < $1",
            args![head.signal_count, head.id],
        )
        .await?;
        tx.commit(Durability::Progress, "invocation.look").await?;
        return Ok(Completion::NotYet);
    };
    super::after::invocation_is_over(&mut tx, head.id, now).await?;
    let summary = job_state_summary(&mut tx, head.id).await?;
    tx.run(
        "INSERT INTO workflow_invocation_completion (workflow_invocation_id, completion_time, job_state_summary) VALUES ($1, $2, $3)
         ON CONFLICT DO NOTHING",
        args![head.id, now, &summary],
    )
    .await?;
    let has_hooks = super::hooks::insert(&mut tx, head.id, &completed.json(0)?, now).await?;
    super::holds::clear(&mut tx, head.id).await?;
    if let Some(parent) = head.parent_invocation_id {
        signal(&mut tx, parent).await?;
    }
    tx.commit(Durability::Progress, "invocation.complete")
        .await?;
    Ok(Completion::Completed { has_hooks })
}

/// Counts by state over the invocation and all below it.
async fn job_state_summary(tx: &mut Tx, id: i64) -> Result<Value, StoreError> {
    let rows = tx
        .all(
            "WITH RECURSIVE family (id) AS (
                SELECT CAST($1 AS BIGINT) UNION ALL
                SELECT i.id FROM workflow_invocation i JOIN family f ON i.parent_invocation_id = f.id)
             SELECT j.state, COUNT(*) FROM job j JOIN family f ON j.workflow_invocation_id = f.id GROUP BY j.state",
            args![id],
        )
        .await?;
    let mut summary = Map::new();
    for row in rows {
        summary.insert(row.get(0)?, row.get::<i64>(1)?.into());
    }
    Ok(Value::Object(summary))
}

/// How many jobs of these invocations have not ended, those of inner invocations included.
pub async fn active_jobs(q: &mut impl Query, ids: &[i64]) -> Result<HashMap<i64, u64>, StoreError> {
    let mut found = HashMap::new();
    for block in blocks(ids) {
        let sql = format!(
            "WITH RECURSIVE family (root, id) AS (
                SELECT id, id FROM workflow_invocation WHERE id IN ({}) UNION ALL
                SELECT f.root, i.id FROM workflow_invocation i JOIN family f ON i.parent_invocation_id = f.id)
             SELECT f.root, COUNT(*) FROM job j JOIN family f ON j.workflow_invocation_id = f.id
             WHERE j.state IN ({UNFINISHED}) GROUP BY f.root",
            placeholders(1, block.len())
        );
        let arguments = block.iter().map(|id| Val::from(*id)).collect();
        for row in q.all(sql, arguments).await? {
            found.insert(row.get(0)?, row.get::<i64>(1)?.max(0) as u64);
        }
    }
    Ok(found)
}

/// Adds one to an invocation's signal.
pub async fn signal(tx: &mut Tx, id: i64) -> Result<(), StoreError> {
    tx.run(
        "UPDATE workflow_invocation SET signal_count = signal_count + 1 WHERE id = $1",
        args![id],
    )
    .await
    .map(|_| ())
}

/// Cancels a scheduled invocation whose history was deleted: its jobs are for nothing.
pub async fn cancel_with_history(store: &Store, head: &Head, now: i64) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    let touched = tx
        .run(
            "UPDATE workflow_invocation SET state = 'cancelling', signal_count = signal_count + 1, update_time = $1
             WHERE id = $2 AND state = 'scheduled'",
            args![now, head.id],
        )
        .await?;
    if touched == 1 {
        let message = InvocationMessage {
            reason: reason::HISTORY_DELETED,
            history_id: Some(head.history_id),
            ..Default::default()
        };
        insert_message(&mut tx, head.id, &message, now).await?;
    }
    tx.commit(Durability::Progress, "invocation.cancel").await
}

/// Finishes a cancellation: waiting jobs end here, running ones are marked for their runner, and so with every
/// invocation below. True where a runner has to stop something.
pub async fn finish_cancellation(store: &Store, head: &Head, now: i64) -> Result<bool, StoreError> {
    repeated(|| finish_cancellation_once(store, head, now)).await
}

async fn finish_cancellation_once(
    store: &Store,
    head: &Head,
    now: i64,
) -> Result<bool, StoreError> {
    let mut tx = store.begin().await?;
    let family: Vec<i64> = tx
        .all(
            "WITH RECURSIVE family (id) AS (
                SELECT CAST($1 AS BIGINT) UNION ALL
                SELECT i.id FROM workflow_invocation i JOIN family f ON i.parent_invocation_id = f.id)
             SELECT id FROM family",
            args![head.id],
        )
        .await?
        .iter()
        .map(|row| row.get(0))
        .collect::<Result<_, _>>()?;
    let mut stops = false;
    lock_unfinished_jobs(&mut tx, &family).await?;
    for id in &family {
        stops |= cancel_jobs_of(&mut tx, *id, now).await?;
    }
    tx.lock("workflow_invocation", &family).await?;
    for id in family {
        let touched = tx
            .run(
                "UPDATE workflow_invocation SET state = $1, signal_seen = signal_count, wake_time = NULL, blocked_on = NULL, update_time = $2
                 WHERE id = $3 AND state NOT IN ('cancelled', 'completed', 'failed')",
                args![InvocationState::Cancelled.code(), now, id],
            )
            .await?;
        tx.run(
            "DELETE FROM workflow_invocation_wait WHERE workflow_invocation_id = $1",
            args![id],
        )
        .await?;
        super::holds::clear(&mut tx, id).await?;
        if id != head.id && touched == 1 {
            let message = InvocationMessage {
                reason: reason::USER_REQUEST,
                ..Default::default()
            };
            insert_message(&mut tx, id, &message, now).await?;
        }
    }
    tx.commit(Durability::Progress, "invocation.cancelled")
        .await?;
    Ok(stops)
}

/// Locks the jobs that are to be stopped, and their outputs: none moves on from one state to the other in between.
async fn lock_unfinished_jobs(tx: &mut Tx, invocations: &[i64]) -> Result<(), StoreError> {
    if !tx.has_rivals() {
        return Ok(());
    }
    let mut jobs = Vec::new();
    for block in blocks(invocations) {
        let sql = format!(
            "SELECT id FROM job WHERE workflow_invocation_id IN ({}) AND state IN ({UNFINISHED}, 'paused')",
            placeholders(1, block.len())
        );
        for row in tx.all(sql, super::known::ids(block)).await? {
            jobs.push(row.get(0)?);
        }
    }
    super::dependants::lock_with_outputs(tx, &jobs).await
}

async fn cancel_jobs_of(tx: &mut Tx, invocation_id: i64, now: i64) -> Result<bool, StoreError> {
    // No runner has these yet: they are gone at once, and so are their outputs.
    let gone: Vec<i64> = tx
        .all(
            "UPDATE job SET state = 'deleted', ready_time = NULL, end_time = $1, update_time = $1
             WHERE workflow_invocation_id = $2 AND state IN ('new', 'resubmitted', 'waiting', 'paused', 'upload') RETURNING id",
            args![now, invocation_id],
        )
        .await?
        .iter()
        .map(|row| row.get(0))
        .collect::<Result<_, _>>()?;
    super::dependants::discard_outputs(tx, &gone, now).await?;
    let history = gone
        .iter()
        .map(|id| args![*id, "deleted", None::<String>, now])
        .collect();
    super::objects::insert_state_history(tx, history).await?;
    let marked = tx
        .run(
            "UPDATE job SET state = 'deleting', update_time = $1 WHERE workflow_invocation_id = $2 AND state IN ('queued', 'running', 'stop')",
            args![now, invocation_id],
        )
        .await?;
    Ok(marked > 0)
}

/// Fails an invocation for its age, without a message, as Galaxy does.
pub async fn fail_for_age(store: &Store, head: &Head, now: i64) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    tx.run(
        "UPDATE workflow_invocation SET state = 'failed', signal_seen = signal_count, wake_time = NULL, blocked_on = NULL, update_time = $1
         WHERE id = $2 AND state IN ('new', 'ready')",
        args![now, head.id],
    )
    .await?;
    tx.run(
        "DELETE FROM workflow_invocation_wait WHERE workflow_invocation_id = $1",
        args![head.id],
    )
    .await?;
    super::holds::clear(&mut tx, head.id).await?;
    tx.commit(Durability::Progress, "invocation.age").await
}
