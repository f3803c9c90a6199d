//! Active invocations in bulk: copies of one that waits and has no jobs, such as one at its first pause. For
//! benchmarks and tests. The database copies the rows, a few statements for a thousand invocations.

use crate::args;
use crate::store::Store;
use crate::store::db::{Dialect, Durability, Query, StoreError, Tx};

/// Copies of one transaction.
const CHUNK: usize = 5_000;

/// Tables whose rows belong to an invocation and have no id of their own that matters, with the columns to copy.
const OF_INVOCATION: [(&str, &str); 10] = [
    ("workflow_invocation_wait", "kind, item_id"),
    (
        "workflow_invocation_output_dataset_association",
        "workflow_output_id, workflow_step_id, dataset_id",
    ),
    (
        "workflow_invocation_output_dataset_collection_association",
        "workflow_output_id, workflow_step_id, dataset_collection_id",
    ),
    (
        "workflow_invocation_output_value",
        "workflow_output_id, workflow_step_id, value",
    ),
    (
        "workflow_request_input_parameters",
        "workflow_step_id, name, value, type",
    ),
    ("workflow_request_step_states", "workflow_step_id, value"),
    (
        "workflow_request_to_input_dataset",
        "workflow_step_id, name, dataset_id, request",
    ),
    (
        "workflow_request_to_input_collection_dataset",
        "workflow_step_id, name, dataset_collection_id, request",
    ),
    (
        "workflow_request_input_step_parameter",
        "workflow_step_id, parameter_value, request",
    ),
    (
        "workflow_invocation_hold",
        "order_index, code, text, wake_time, since",
    ),
];

/// The same of a step.
const OF_STEP: [(&str, &str); 3] = [
    (
        "workflow_invocation_step_output_dataset_association",
        "output_name, dataset_id",
    ),
    (
        "workflow_invocation_step_output_dataset_collection_association",
        "output_name, dataset_collection_id",
    ),
    (
        "workflow_invocation_step_output_value",
        "output_name, value",
    ),
];

/// Why an invocation cannot be copied.
#[derive(Debug, PartialEq, Eq)]
pub enum Unfit {
    Unknown,
    /// It is over, or it is about to be looked at.
    NotWaiting,
    /// Copies would share its jobs.
    HasJobs,
    /// It is part of another one, or others are part of it.
    HasFamily,
}

/// Whether an invocation can be copied.
pub async fn is_fit(q: &mut impl Query, id: i64) -> Result<Result<(), Unfit>, StoreError> {
    let sql = "SELECT i.state IN ('new', 'ready') AND i.signal_count = i.signal_seen,
                 EXISTS (SELECT 1 FROM job j WHERE j.workflow_invocation_id = i.id),
                 i.parent_invocation_id IS NOT NULL
                   OR EXISTS (SELECT 1 FROM workflow_invocation c WHERE c.parent_invocation_id = i.id)
               FROM workflow_invocation i WHERE i.id = $1";
    let Some(row) = q.maybe(sql, args![id]).await? else {
        return Ok(Err(Unfit::Unknown));
    };
    let (waits, has_jobs, has_family): (bool, bool, bool) = (row.get(0)?, row.get(1)?, row.get(2)?);
    Ok(match (waits, has_jobs, has_family) {
        (false, _, _) => Err(Unfit::NotWaiting),
        (_, true, _) => Err(Unfit::HasJobs),
        (_, _, true) => Err(Unfit::HasFamily),
        _ => Ok(()),
    })
}

/// Makes `count` copies of an invocation that is fit; their ids. Nobody else may be using the database.
pub async fn copy(store: &Store, id: i64, count: usize) -> Result<Vec<i64>, StoreError> {
    let steps = "SELECT COUNT(*) FROM workflow_invocation_step WHERE workflow_invocation_id = $1";
    let row = store.reader().maybe(steps, args![id]).await?;
    let steps: i64 = row.map_or(Ok(0), |row| row.get(0))?;
    let mut made = Vec::new();
    while made.len() < count {
        let chunk = CHUNK.min(count - made.len());
        let first_step = store
            .ids
            .range("workflow_invocation_step", steps * chunk as i64)
            .await?;
        let mut tx = store.begin().await?;
        let ids = store.ids.invocations(&mut tx, chunk).await?;
        copy_some(&mut tx, id, &ids, first_step).await?;
        tx.commit(Durability::Progress, "seed").await?;
        made.extend(ids);
    }
    let mut tx = store.begin().await?;
    if store.db.dialect() == Dialect::Postgres {
        // So many rows at once: without this its first plans would go by tables that were empty.
        tx.run("ANALYZE", args![]).await?;
    }
    tx.commit(Durability::Progress, "seed").await?;
    Ok(made)
}

async fn copy_some(tx: &mut Tx, like: i64, ids: &[i64], first_step: i64) -> Result<(), StoreError> {
    let (Some(first), Some(last)) = (ids.first(), ids.last()) else {
        return Ok(());
    };
    for id in ids {
        tx.run(
            "INSERT INTO workflow_invocation (id, uuid, workflow_id, history_id, user_id, state, scheduler, handler,
                 on_complete, signal_count, signal_seen, wake_time, blocked_on, create_time, update_time)
             SELECT CAST($1 AS BIGINT), CAST($2 AS TEXT), workflow_id, history_id, user_id, state, scheduler, handler, on_complete, signal_count,
                 signal_seen, wake_time, blocked_on, create_time, update_time FROM workflow_invocation WHERE id = $3",
            args![*id, uuid::Uuid::new_v4().to_string(), like],
        )
        .await?;
    }
    tx.run(
        "INSERT INTO workflow_invocation_step (id, workflow_invocation_id, workflow_step_id, order_index, state, action,
             create_time, update_time)
         SELECT CAST($1 AS BIGINT) + ROW_NUMBER() OVER (ORDER BY i.id, s.order_index) - 1, i.id, s.workflow_step_id,
             s.order_index, s.state, s.action, s.create_time, s.update_time
         FROM workflow_invocation_step s, workflow_invocation i
         WHERE s.workflow_invocation_id = $2 AND i.id >= $3 AND i.id <= $4",
        args![first_step, like, *first, *last],
    )
    .await?;
    for (table, columns) in OF_INVOCATION {
        let copied = columns.replace(", ", ", t.");
        let sql = format!(
            "INSERT INTO {table} (workflow_invocation_id, {columns}) SELECT i.id, t.{copied}
             FROM {table} t, workflow_invocation i WHERE t.workflow_invocation_id = $1 AND i.id >= $2 AND i.id <= $3"
        );
        tx.run(sql, args![like, *first, *last]).await?;
    }
    for (table, columns) in OF_STEP {
        let copied = columns.replace(", ", ", t.");
        let sql = format!(
            "INSERT INTO {table} (workflow_invocation_step_id, {columns}) SELECT n.id, t.{copied}
             FROM {table} t JOIN workflow_invocation_step s ON s.id = t.workflow_invocation_step_id
             JOIN workflow_invocation_step n ON n.order_index = s.order_index
             WHERE s.workflow_invocation_id = $1 AND n.workflow_invocation_id >= $2 AND n.workflow_invocation_id <= $3"
        );
        tx.run(sql, args![like, *first, *last]).await?;
    }
    Ok(())
}
