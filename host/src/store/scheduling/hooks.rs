//! What is to be done after invocations were completed: noted in the transaction that completes them, taken by one server
//! at a time, and settled once.

use serde_json::{Value, json};

use crate::args;
use crate::store::Store;
use crate::store::db::{Durability, Query, StoreError, Tx};
use crate::store::invocations::Completion;

/// Something to be done now, taken by this server.
#[derive(Debug, Clone)]
pub struct Due {
    pub invocation_id: i64,
    pub position: i64,
    pub name: String,
    pub arguments: Value,
    /// What an earlier try has got to.
    pub result: Value,
    /// How often it was tried in vain.
    pub attempts: i64,
}

/// Notes what `on_complete` asks for; answers whether there is anything.
pub(super) async fn insert(
    tx: &mut Tx,
    invocation_id: i64,
    on_complete: &Value,
    now: i64,
) -> Result<bool, StoreError> {
    let listed = on_complete.as_array().map(Vec::as_slice).unwrap_or(&[]);
    let hooks = listed.iter().filter_map(Value::as_object);
    let rows: Vec<_> = hooks
        .flat_map(|hook| hook.iter().take(1))
        .enumerate()
        .map(|(position, (name, arguments))| {
            args![
                invocation_id,
                position as i64,
                name.as_str(),
                arguments,
                "new",
                now
            ]
        })
        .collect();
    if rows.is_empty() {
        return Ok(false);
    }
    tx.insert_many(
        "INSERT INTO workflow_invocation_hook (workflow_invocation_id, position, name, arguments, state, update_time) VALUES",
        6,
        "ON CONFLICT DO NOTHING",
        rows,
    )
    .await?;
    Ok(true)
}

/// What may be done now, as (invocation, position), the longest due first.
pub async fn due(
    q: &mut impl Query,
    now: i64,
    limit: usize,
) -> Result<Vec<(i64, i64)>, StoreError> {
    q.all(
        "SELECT workflow_invocation_id, position FROM workflow_invocation_hook WHERE state = 'new' AND next_time <= $1
         ORDER BY next_time, workflow_invocation_id, position LIMIT $2",
        args![now, limit],
    )
    .await?
    .iter()
    .map(|row| Ok((row.get(0)?, row.get(1)?)))
    .collect()
}

/// When something has to be looked at again.
pub async fn next_time(q: &mut impl Query) -> Result<Option<i64>, StoreError> {
    let row = q
        .maybe(
            "SELECT MIN(next_time) FROM workflow_invocation_hook WHERE state = 'new'",
            args![],
        )
        .await?;
    row.map(|row| row.get(0)).transpose().map(Option::flatten)
}

/// Takes one until an instant. None if somebody else has it, or it is done.
pub async fn claim(
    store: &Store,
    (invocation_id, position): (i64, i64),
    handler: &str,
    now: i64,
    until: i64,
) -> Result<Option<Due>, StoreError> {
    let mut tx = store.begin().await?;
    let row = tx
        .maybe(
            "UPDATE workflow_invocation_hook SET claimed_by = $1, next_time = $2
             WHERE workflow_invocation_id = $3 AND position = $4 AND state = 'new' AND next_time <= $5
             RETURNING workflow_invocation_id, position, name, arguments, result, attempts",
            args![handler, until, invocation_id, position, now],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    let due = Due {
        invocation_id: row.get(0)?,
        position: row.get(1)?,
        name: row.get(2)?,
        arguments: row.json(3)?,
        result: row.json(4)?,
        attempts: row.get(5)?,
    };
    tx.commit(Durability::Progress, "hook.claim").await?;
    Ok(Some(due))
}

/// Keeps one for longer. False if it is another server's now.
pub async fn renew(
    store: &Store,
    due: &Due,
    handler: &str,
    until: i64,
) -> Result<bool, StoreError> {
    let mut tx = store.begin().await?;
    let touched = tx
        .run(
            "UPDATE workflow_invocation_hook SET next_time = $1
             WHERE workflow_invocation_id = $2 AND position = $3 AND state = 'new' AND claimed_by = $4",
            args![until, due.invocation_id, due.position, handler],
        )
        .await?;
    tx.commit(Durability::Progress, "hook.renew").await?;
    Ok(touched == 1)
}

/// What a handler had taken when it ended is there for everybody again.
pub async fn forget_claims(store: &Store, handler: &str) -> Result<u64, StoreError> {
    let mut tx = store.begin().await?;
    let count = tx
        .run(
            "UPDATE workflow_invocation_hook SET claimed_by = NULL, next_time = 0 WHERE claimed_by = $1 AND state = 'new'",
            args![handler],
        )
        .await?;
    tx.commit(Durability::Progress, "hook.forget").await?;
    Ok(count)
}

/// Notes what has been got to, so that another try goes on from there.
pub async fn note(
    store: &Store,
    due: &Due,
    handler: &str,
    result: &Value,
) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    tx.run(
        "UPDATE workflow_invocation_hook SET result = $1
         WHERE workflow_invocation_id = $2 AND position = $3 AND state = 'new' AND claimed_by = $4",
        args![result, due.invocation_id, due.position, handler],
    )
    .await?;
    tx.commit(Durability::Progress, "hook.note").await
}

/// Leaves one that failed for later, and says why.
pub async fn put_off(
    store: &Store,
    due: &Due,
    handler: &str,
    message: &str,
    next_time: i64,
    now: i64,
) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    tx.run(
        "UPDATE workflow_invocation_hook SET claimed_by = NULL, next_time = $1, attempts = attempts + 1, message = $2, update_time = $3
         WHERE workflow_invocation_id = $4 AND position = $5 AND state = 'new' AND claimed_by = $6",
        args![next_time, message, now, due.invocation_id, due.position, handler],
    )
    .await?;
    tx.commit(Durability::Progress, "hook.put_off").await
}

/// How one ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Done(Value),
    /// The invocation's owner gets a mail, in the same transaction.
    Notified {
        subject: String,
        body: String,
    },
    /// Why it will not be done, in a sentence.
    Failed(String),
}

/// Stores how one ended, once, and lists it in `hooks_executed` if it was done. Answers whether mail was written.
pub async fn settle(
    store: &Store,
    due: &Due,
    handler: &str,
    outcome: &Outcome,
    now: i64,
) -> Result<bool, StoreError> {
    let mut tx = store.begin().await?;
    // Those who add to the same list wait for each other here.
    let row = tx
        .maybe(
            "UPDATE workflow_invocation_completion SET completion_time = completion_time WHERE workflow_invocation_id = $1
             RETURNING hooks_executed",
            args![due.invocation_id],
        )
        .await?;
    let executed: Value = row.map(|row| row.json(0)).transpose()?.unwrap_or(json!([]));
    let (state, message, result) = match outcome {
        Outcome::Done(result) => ("ok", None, result.clone()),
        Outcome::Notified { .. } => ("ok", None, Value::Null),
        Outcome::Failed(message) => ("error", Some(message.as_str()), due.result.clone()),
    };
    let touched = tx
        .run(
            "UPDATE workflow_invocation_hook SET state = $1, message = $2, result = $3, attempts = attempts + 1,
                    claimed_by = NULL, update_time = $4
             WHERE workflow_invocation_id = $5 AND position = $6 AND state = 'new' AND claimed_by = $7",
            args![state, message, &result, now, due.invocation_id, due.position, handler],
        )
        .await?;
    if touched == 0 {
        return Ok(false);
    }
    if state == "ok" {
        let mut executed = executed.as_array().cloned().unwrap_or_default();
        executed.push(json!(due.name));
        tx.run(
            "UPDATE workflow_invocation_completion SET hooks_executed = $1 WHERE workflow_invocation_id = $2",
            args![&json!(executed), due.invocation_id],
        )
        .await?;
    }
    let mut mails = 0;
    if let Outcome::Notified { subject, body } = outcome {
        mails = tx
            .run(
                "INSERT INTO mail (recipient, subject, body, create_time)
                 SELECT u.email, $1, $2, $3 FROM workflow_invocation v JOIN history h ON h.id = v.history_id
                 JOIN galaxy_user u ON u.id = h.user_id WHERE v.id = $4",
                args![subject.as_str(), body.as_str(), now, due.invocation_id],
            )
            .await?;
    }
    tx.commit(Durability::Progress, "hook.settle").await?;
    Ok(mails > 0)
}

/// What is known of one, for those who ask.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    pub name: String,
    pub state: String,
    pub message: Option<String>,
    pub result: Value,
    pub attempts: i64,
    pub next_time: i64,
    pub update_time: i64,
}

/// The completion of an invocation with all of its hooks, in the order they were asked for; None before. One statement, so
/// that what is said to be done and what each of them says agree while they are being done.
pub async fn of_completion(
    q: &mut impl Query,
    invocation_id: i64,
) -> Result<Option<(Completion, Vec<Told>)>, StoreError> {
    let rows = q
        .all(
            "SELECT c.completion_time, c.job_state_summary, c.hooks_executed,
                    h.name, h.state, h.message, h.result, h.attempts, h.next_time, h.update_time
             FROM workflow_invocation_completion c
             LEFT JOIN workflow_invocation_hook h ON h.workflow_invocation_id = c.workflow_invocation_id
             WHERE c.workflow_invocation_id = $1 ORDER BY h.position",
            args![invocation_id],
        )
        .await?;
    let Some(first) = rows.first() else {
        return Ok(None);
    };
    let completion = Completion {
        completion_time: first.get(0)?,
        job_state_summary: first.json(1)?,
        hooks_executed: first.json(2)?,
    };
    let mut hooks = Vec::new();
    for row in &rows {
        let Some(name) = row.get::<Option<String>>(3)? else {
            continue;
        };
        hooks.push(Told {
            name,
            state: row.get(4)?,
            message: row.get(5)?,
            result: row.json(6)?,
            attempts: row.get(7)?,
            next_time: row.get(8)?,
            update_time: row.get(9)?,
        });
    }
    Ok(Some((completion, hooks)))
}
