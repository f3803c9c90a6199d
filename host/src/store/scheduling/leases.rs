//! Invocations that passive schedulers have taken: who holds one proves it with a token, until an instant.

use super::jobs::{READY, ReadyJob};
use super::known::ids;
use crate::args;
use crate::store::Store;
use crate::store::db::{Durability, Query, StoreError, blocks, placeholders, repeated};

/// What a job's row names as its runner while a passive scheduler has it.
pub fn runner_name(scheduler: &str) -> String {
    format!("{RUNNER}{scheduler}")
}

const RUNNER: &str = "passive:";

/// Whether a passive scheduler has the jobs with this runner.
pub fn is_passive_runner(runner: Option<&str>) -> bool {
    runner.is_some_and(|name| name.starts_with(RUNNER))
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Holder<'a> {
    pub handler: &'a str,
    pub scheduler: &'a str,
    /// The scheduler of invocations that name none.
    pub default_scheduler: &'a str,
}

/// What is to be taken, and until when.
#[derive(Debug, Clone, Copy)]
pub struct Wish {
    pub most: usize,
    pub until: i64,
    /// Also what this very holder has had a lease on since before this instant: its tokens are lost. 0: nothing of it.
    pub own_before: i64,
}

/// Takes invocations that nobody holds and that have work, oldest first: id and token. What an earlier holder had not
/// finished is work again.
pub async fn claim(
    store: &Store,
    holder: Holder<'_>,
    wish: Wish,
    now: i64,
) -> Result<Vec<(i64, String)>, StoreError> {
    repeated(|| claim_once(store, holder, wish, now)).await
}

/// Whether there is anything to be taken.
pub async fn is_claimable(
    q: &mut impl Query,
    holder: Holder<'_>,
    now: i64,
) -> Result<bool, StoreError> {
    let wish = Wish {
        most: 1,
        until: now,
        own_before: 0,
    };
    Ok(!claimable(q, holder, wish, now).await?.is_empty())
}

/// Invocations of this server whose work waits for the scheduler to come back, whoever of this server held them; without
/// those that are known.
pub async fn waiting_for(
    q: &mut impl Query,
    holder: Holder<'_>,
    now: i64,
    known: &[i64],
    most: usize,
) -> Result<Vec<i64>, StoreError> {
    let wish = Wish {
        most: most + known.len(),
        until: now,
        own_before: i64::MAX,
    };
    let mut found = claimable(q, holder, wish, now).await?;
    found.retain(|id| !known.contains(id));
    let mut own = Vec::new();
    for block in blocks(&found) {
        let sql = format!(
            "SELECT id FROM workflow_invocation WHERE handler = $1 AND id IN ({}) ORDER BY id",
            placeholders(2, block.len())
        );
        let mut arguments = args![holder.handler];
        arguments.extend(ids(block));
        for row in q.all(sql, arguments).await? {
            own.push(row.get(0)?);
        }
    }
    Ok(own)
}

async fn claimable(
    q: &mut impl Query,
    holder: Holder<'_>,
    wish: Wish,
    now: i64,
) -> Result<Vec<i64>, StoreError> {
    let runner = runner_name(holder.scheduler);
    let rows = q
        .all(
            "SELECT i.id FROM workflow_invocation i LEFT JOIN scheduler_lease l ON l.workflow_invocation_id = i.id
             WHERE i.state IN ('ready', 'scheduled') AND COALESCE(NULLIF(i.scheduler, ''), $1) = $2
               AND (l.expire_time IS NULL OR l.expire_time <= $3
                    OR (l.handler = $6 AND l.scheduler = $2 AND l.claim_time < $7))
               AND EXISTS (SELECT 1 FROM job j WHERE j.workflow_invocation_id = i.id
                    AND ((j.state = 'new' AND j.ready_time IS NOT NULL)
                      OR (j.state IN ('queued', 'running') AND j.job_runner_name = $4)))
             ORDER BY i.id LIMIT $5",
            args![
                holder.default_scheduler,
                holder.scheduler,
                now,
                runner.as_str(),
                wish.most,
                holder.handler,
                wish.own_before
            ],
        )
        .await?;
    rows.iter().map(|row| row.get(0)).collect()
}

async fn claim_once(
    store: &Store,
    holder: Holder<'_>,
    wish: Wish,
    now: i64,
) -> Result<Vec<(i64, String)>, StoreError> {
    let runner = runner_name(holder.scheduler);
    let mut tx = store.begin().await?;
    let found = claimable(&mut tx, holder, wish, now).await?;
    if found.is_empty() {
        // Most who ask find nothing, and that is no commit.
        return Ok(Vec::new());
    }
    let mut taken = Vec::new();
    for id in found {
        let token = uuid::Uuid::new_v4().to_string();
        // The condition again: another server may have been faster.
        let touched = tx
            .run(
                "INSERT INTO scheduler_lease (workflow_invocation_id, scheduler, token, claims, claim_time, expire_time, handler)
                 VALUES ($1, $2, $3, 1, $4, $5, $6)
                 ON CONFLICT (workflow_invocation_id) DO UPDATE SET scheduler = excluded.scheduler, token = excluded.token,
                    claims = scheduler_lease.claims + 1, claim_time = excluded.claim_time, expire_time = excluded.expire_time,
                    handler = excluded.handler
                 WHERE scheduler_lease.expire_time <= excluded.claim_time
                    OR (scheduler_lease.handler = excluded.handler
                        AND scheduler_lease.scheduler = excluded.scheduler AND scheduler_lease.claim_time < $7)",
                args![
                    id,
                    holder.scheduler,
                    token.as_str(),
                    now,
                    wish.until,
                    holder.handler,
                    wish.own_before
                ],
            )
            .await?;
        if touched != 1 {
            continue;
        }
        put_back(&mut tx, id, &runner, now).await?;
        taken.push((id, token));
    }
    tx.run(
        "DELETE FROM scheduler_lease WHERE expire_time < $1",
        args![now - FORGOTTEN_MS],
    )
    .await?;
    tx.commit(Durability::Acknowledged, "lease.claim").await?;
    Ok(taken)
}

/// Jobs that wait become this server's.
pub async fn adopt(store: &Store, handler: &str, job_ids: &[i64]) -> Result<(), StoreError> {
    repeated(|| adopt_once(store, handler, job_ids)).await
}

async fn adopt_once(store: &Store, handler: &str, job_ids: &[i64]) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    tx.lock("job", job_ids).await?;
    for block in blocks(job_ids) {
        let sql = format!(
            "UPDATE job SET handler = $1 WHERE id IN ({}) AND state = 'new' AND handler <> $1",
            placeholders(2, block.len())
        );
        let mut arguments = args![handler];
        arguments.extend(ids(block));
        tx.run(sql, arguments).await?;
    }
    tx.commit(Durability::Progress, "lease.adopt").await
}

/// A lease that ran out so long ago is nobody's memory any more.
const FORGOTTEN_MS: i64 = 24 * 3600 * 1000;

async fn put_back(
    tx: &mut crate::store::Tx,
    invocation_id: i64,
    runner: &str,
    now: i64,
) -> Result<(), StoreError> {
    if tx.has_rivals() {
        let held = "SELECT id FROM job WHERE workflow_invocation_id = $1 AND state IN ('queued', 'running') AND job_runner_name = $2";
        let held = tx.all(held, args![invocation_id, runner]).await?;
        let held: Vec<i64> = held
            .iter()
            .map(|row| row.get(0))
            .collect::<Result<_, _>>()?;
        tx.lock("job", &held).await?;
    }
    tx.run(
        "UPDATE job SET state = 'new', ready_time = $1, update_time = $1
         WHERE workflow_invocation_id = $2 AND state IN ('queued', 'running') AND job_runner_name = $3",
        args![now, invocation_id, runner],
    )
    .await
    .map(drop)
}

/// A lease that is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub invocation_id: i64,
    pub claim_time: i64,
    pub expire_time: i64,
}

/// Makes a lease last until `until`, or longer where it already does; None when it is over or was never given.
pub async fn extend(
    store: &Store,
    scheduler: &str,
    token: &str,
    now: i64,
    until: i64,
) -> Result<Option<Lease>, StoreError> {
    let mut tx = store.begin().await?;
    let row = tx
        .maybe(
            "UPDATE scheduler_lease SET expire_time = CASE WHEN expire_time > $1 THEN expire_time ELSE $1 END
             WHERE token = $2 AND scheduler = $3 AND expire_time > $4
             RETURNING workflow_invocation_id, claim_time, expire_time",
            args![until, token, scheduler, now],
        )
        .await?;
    let lease = row
        .map(|row| {
            Ok::<_, StoreError>(Lease {
                invocation_id: row.get(0)?,
                claim_time: row.get(1)?,
                expire_time: row.get(2)?,
            })
        })
        .transpose()?;
    tx.commit(Durability::Acknowledged, "lease.extend").await?;
    Ok(lease)
}

/// Ends a lease; its unfinished work can be taken again. False when it was over.
pub async fn release(
    store: &Store,
    scheduler: &str,
    token: &str,
    now: i64,
) -> Result<bool, StoreError> {
    repeated(|| release_once(store, scheduler, token, now)).await
}

async fn release_once(
    store: &Store,
    scheduler: &str,
    token: &str,
    now: i64,
) -> Result<bool, StoreError> {
    let mut tx = store.begin().await?;
    let row = tx
        .maybe(
            "DELETE FROM scheduler_lease WHERE token = $1 AND scheduler = $2 AND expire_time > $3
             RETURNING workflow_invocation_id",
            args![token, scheduler, now],
        )
        .await?;
    let released = row.is_some();
    if let Some(row) = row {
        put_back(&mut tx, row.get(0)?, &runner_name(scheduler), now).await?;
    }
    tx.commit(Durability::Acknowledged, "lease.release").await?;
    Ok(released)
}

/// The ready jobs of an invocation, oldest first.
pub async fn ready_of(
    q: &mut impl Query,
    invocation_id: i64,
    limit: usize,
) -> Result<Vec<ReadyJob>, StoreError> {
    let sql = format!(
        "SELECT {READY} FROM job WHERE workflow_invocation_id = $1 AND state = 'new' AND ready_time IS NOT NULL
         ORDER BY id LIMIT $2"
    );
    let rows = q.all(sql, args![invocation_id, limit]).await?;
    rows.iter().map(ReadyJob::read).collect()
}

/// The ready jobs of a scheduler's invocations, oldest first.
pub async fn ready_for(
    q: &mut impl Query,
    holder: Holder<'_>,
    limit: usize,
) -> Result<Vec<ReadyJob>, StoreError> {
    let sql = format!(
        "SELECT {READY} FROM job WHERE handler = $1 AND state = 'new' AND ready_time IS NOT NULL
           AND workflow_invocation_id IS NOT NULL AND COALESCE(NULLIF(scheduler, ''), $2) = $3
         ORDER BY ready_time, id LIMIT $4"
    );
    let arguments = args![
        holder.handler,
        holder.default_scheduler,
        holder.scheduler,
        limit
    ];
    q.all(sql, arguments)
        .await?
        .iter()
        .map(ReadyJob::read)
        .collect()
}

/// The jobs of an invocation that a passive scheduler has, and those it had that somebody stopped since `since`.
pub async fn held_jobs(
    q: &mut impl Query,
    invocation_id: i64,
    scheduler: &str,
    since: i64,
) -> Result<(Vec<ReadyJob>, Vec<i64>), StoreError> {
    let sql = format!(
        "SELECT {READY}, state FROM job WHERE workflow_invocation_id = $1 AND job_runner_name = $2
           AND (state IN ('queued', 'running') OR (state IN ('deleting', 'deleted', 'stop') AND update_time >= $3))
         ORDER BY id"
    );
    let (mut held, mut stopped) = (Vec::new(), Vec::new());
    for row in q
        .all(sql, args![invocation_id, runner_name(scheduler), since])
        .await?
    {
        let job = ReadyJob::read(&row)?;
        match row.get::<String>(12)?.as_str() {
            "queued" | "running" => held.push(job),
            _ => stopped.push(job.id),
        }
    }
    Ok((held, stopped))
}

/// The workflow step that each of these jobs belongs to.
pub async fn steps_of(
    q: &mut impl Query,
    job_ids: &[i64],
) -> Result<std::collections::HashMap<i64, i64>, StoreError> {
    let mut found = std::collections::HashMap::new();
    for block in blocks(job_ids) {
        let list = placeholders(1, block.len());
        let sql = format!(
            "SELECT s.job_id, s.workflow_step_id FROM workflow_invocation_step s WHERE s.job_id IN ({list})
             UNION
             SELECT a.job_id, s.workflow_step_id FROM implicit_collection_jobs_job_association a
             JOIN workflow_invocation_step s ON s.implicit_collection_jobs_id = a.implicit_collection_jobs_id
             WHERE a.job_id IN ({list})"
        );
        for row in q.all(sql, ids(block)).await? {
            found.insert(row.get(0)?, row.get(1)?);
        }
    }
    Ok(found)
}

/// How far each step of an invocation is: step, its state, state of a job, how many.
pub async fn step_states(
    q: &mut impl Query,
    invocation_id: i64,
) -> Result<Vec<(i64, String, Option<String>, i64)>, StoreError> {
    let rows = q
        .all(
            "SELECT x.workflow_step_id, x.state, j.state, COUNT(*) FROM (
                SELECT s.workflow_step_id, s.state, s.job_id FROM workflow_invocation_step s
                WHERE s.workflow_invocation_id = $1 AND s.implicit_collection_jobs_id IS NULL
                UNION ALL
                SELECT s.workflow_step_id, s.state, a.job_id FROM workflow_invocation_step s
                JOIN implicit_collection_jobs_job_association a
                  ON a.implicit_collection_jobs_id = s.implicit_collection_jobs_id
                WHERE s.workflow_invocation_id = $1
             ) x LEFT JOIN job j ON j.id = x.job_id
             GROUP BY x.workflow_step_id, x.state, j.state",
            args![invocation_id],
        )
        .await?;
    rows.iter()
        .map(|row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .collect()
}
