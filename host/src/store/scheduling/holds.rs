//! Why schedulers hold things, as people read it. Written when it changes, never once per look.

use std::collections::HashMap;

use crate::args;
use crate::invoker::writes::{Held, Hold};
use crate::store::Store;
use crate::store::db::{
    Durability, Query, Row, StoreError, Tx, Val, blocks, placeholders, repeated,
};

/// What is kept of a text, in characters.
const TEXT_MAX: usize = 1000;
/// What is kept of a code, in characters.
const CODE_MAX: usize = 100;

fn column(what: Held) -> i64 {
    match what {
        Held::Step(order_index) => i64::try_from(order_index).unwrap_or(i64::MAX),
        Held::Invocation => -1,
        Held::Jobs => -2,
    }
}

fn held(column: i64) -> Held {
    match column {
        -1 => Held::Invocation,
        step => usize::try_from(step).map_or(Held::Jobs, Held::Step),
    }
}

/// These are what an iteration left held, and nothing else is; what is known of its jobs stays.
pub async fn replace(
    tx: &mut Tx,
    invocation_id: i64,
    holds: &[Hold],
    now: i64,
) -> Result<(), StoreError> {
    let kept: Vec<i64> = holds.iter().map(|hold| column(hold.what)).collect();
    let mut arguments = args![invocation_id];
    let sql = match kept.as_slice() {
        [] => "DELETE FROM workflow_invocation_hold WHERE workflow_invocation_id = $1 AND order_index <> -2"
            .to_owned(),
        kept => {
            arguments.extend(kept.iter().map(|id| Val::from(*id)));
            format!(
                "DELETE FROM workflow_invocation_hold
                 WHERE workflow_invocation_id = $1 AND order_index <> -2 AND order_index NOT IN ({})",
                placeholders(2, kept.len())
            )
        }
    };
    tx.run(sql, arguments).await?;
    for hold in holds {
        put(tx, invocation_id, hold, now).await?;
    }
    Ok(())
}

/// Writes one down if it says something new.
async fn put(tx: &mut Tx, invocation_id: i64, hold: &Hold, now: i64) -> Result<(), StoreError> {
    let short = |text: &str, most: usize| {
        text.replace('\0', " ")
            .chars()
            .take(most)
            .collect::<String>()
    };
    tx.run(
        "INSERT INTO workflow_invocation_hold (workflow_invocation_id, order_index, code, text, wake_time, since)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (workflow_invocation_id, order_index) DO UPDATE
         SET code = excluded.code, text = excluded.text, wake_time = excluded.wake_time,
             since = CASE WHEN workflow_invocation_hold.text = excluded.text
                     THEN workflow_invocation_hold.since ELSE excluded.since END
         WHERE workflow_invocation_hold.text <> excluded.text OR workflow_invocation_hold.code <> excluded.code
            OR COALESCE(workflow_invocation_hold.wake_time, 0) <> COALESCE(excluded.wake_time, 0)",
        args![
            invocation_id,
            column(hold.what),
            short(&hold.code, CODE_MAX),
            short(&hold.text, TEXT_MAX),
            hold.wake_time,
            now
        ],
    )
    .await
    .map(drop)
}

/// Nothing of these invocations is held any more.
pub async fn clear(tx: &mut Tx, invocation_id: i64) -> Result<(), StoreError> {
    tx.run(
        "DELETE FROM workflow_invocation_hold WHERE workflow_invocation_id = $1",
        args![invocation_id],
    )
    .await
    .map(drop)
}

/// Why the jobs of invocations wait for a runner; None where they do not any more.
pub async fn jobs(
    store: &Store,
    mut changes: Vec<(i64, Option<Hold>)>,
    now: i64,
) -> Result<(), StoreError> {
    changes.sort_by_key(|(invocation_id, _)| *invocation_id);
    repeated(|| jobs_once(store, &changes, now)).await
}

async fn jobs_once(
    store: &Store,
    changes: &[(i64, Option<Hold>)],
    now: i64,
) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    for (invocation_id, hold) in changes {
        match hold {
            Some(hold) => put(&mut tx, *invocation_id, hold, now).await?,
            None => {
                tx.run(
                    "DELETE FROM workflow_invocation_hold WHERE workflow_invocation_id = $1 AND order_index = -2",
                    args![*invocation_id],
                )
                .await?;
            }
        }
    }
    tx.commit(Durability::Progress, "job.hold").await
}

/// What the last server knew of jobs that wait; this one will find out by itself.
pub async fn forget_jobs(store: &Store, handler: &str) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    tx.run(
        "DELETE FROM workflow_invocation_hold WHERE order_index = -2 AND workflow_invocation_id IN
            (SELECT id FROM workflow_invocation WHERE handler = $1)",
        args![handler],
    )
    .await?;
    tx.commit(Durability::Progress, "job.hold").await
}

/// A hold and since when.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredHold {
    pub hold: Hold,
    pub since: i64,
    /// The scheduler, empty for the default one.
    pub scheduler: String,
}

/// What is held of these invocations: the whole first, then steps, then jobs.
pub async fn of(
    q: &mut impl Query,
    invocation_ids: &[i64],
) -> Result<HashMap<i64, Vec<StoredHold>>, StoreError> {
    let mut found: HashMap<i64, Vec<StoredHold>> = HashMap::new();
    for block in blocks(invocation_ids) {
        let sql = format!(
            "SELECT h.workflow_invocation_id, h.order_index, h.code, h.text, h.wake_time, h.since, i.scheduler
             FROM workflow_invocation_hold h JOIN workflow_invocation i ON i.id = h.workflow_invocation_id
             WHERE h.workflow_invocation_id IN ({})
             ORDER BY h.workflow_invocation_id, CASE h.order_index WHEN -2 THEN 2 WHEN -1 THEN 0 ELSE 1 END, h.order_index",
            placeholders(1, block.len())
        );
        let ids = block.iter().map(|id| Val::from(*id)).collect();
        for row in q.all(sql, ids).await? {
            found.entry(row.get(0)?).or_default().push(read(&row)?);
        }
    }
    Ok(found)
}

fn read(row: &Row) -> Result<StoredHold, StoreError> {
    Ok(StoredHold {
        hold: Hold {
            what: held(row.get(1)?),
            code: row.get(2)?,
            text: row.get(3)?,
            wake_time: row.get(4)?,
        },
        since: row.get(5)?,
        scheduler: row.get::<Option<String>>(6)?.unwrap_or_default(),
    })
}
