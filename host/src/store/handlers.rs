//! The processes that share a database: their leases, and the taking of what nobody holds.
//!
//! What a process holds carries its name: `workflow_invocation.handler`, `job.handler`. Rows under a tag, or under the
//! name of a process that left or was lost, are nobody's; live processes take them when there is something to do
//! with them, so that the death of a handler costs one row, however much it held. Instants are the database's own
//! ([`Store::shared_now_ms`]): the clocks of the machines need not agree.

use std::collections::{HashMap, HashSet};

use super::Store;
use super::db::{Durability, Fence, Query, Row, StoreError, Tx, blocks, placeholders, repeated};
use super::scheduling::jobs::ReadyJob;
use super::scheduling::known::ids;
use crate::args;
use crate::model::handler::{Peer, Roles};
use crate::store::db::Val;

/// A process as it enters.
#[derive(Debug, Clone)]
pub struct Newcomer<'a> {
    pub peer: &'a Peer,
    pub hostname: &'a str,
    pub pid: u32,
    /// Tells machines (and their boots) apart: processes can be found again only on the same one.
    pub machine: &'a str,
    pub version: &'a str,
    pub lease_ms: i64,
}

/// A row of `worker_process`.
#[derive(Debug, Clone, PartialEq)]
pub struct Worker {
    pub peer: Peer,
    pub hostname: String,
    pub pid: i64,
    pub machine: String,
    pub incarnation: i64,
    pub version: String,
    /// `live`, `left` (in good order) or `lost` (its lease ran out).
    pub state: String,
    pub lease_until: i64,
    pub create_time: i64,
    pub update_time: i64,
}

const WORKER: &str = "server_name, hostname, pid, machine, incarnation, roles, tags, version, state, lease_until, create_time, update_time";

impl Worker {
    fn read(row: &Row) -> Result<Worker, StoreError> {
        let roles: String = row.get(5)?;
        let tags: String = row.get(6)?;
        Ok(Worker {
            peer: Peer {
                name: row.get(0)?,
                roles: Roles::parse(&roles).map_err(|_| StoreError::Unknown {
                    what: "roles of a process",
                    value: roles,
                })?,
                tags: tags.split_whitespace().map(str::to_owned).collect(),
            },
            hostname: row.get(1)?,
            pid: row.get(2)?,
            machine: row.get(3)?,
            incarnation: row.get(4)?,
            version: row.get(7)?,
            state: row.get(8)?,
            lease_until: row.get(9)?,
            create_time: row.get(10)?,
            update_time: row.get(11)?,
        })
    }

    /// Whether its work is its own.
    pub fn is_live(&self) -> bool {
        self.state == "live"
    }
}

/// Enters a process under its name; answers its incarnation. `dead`: the incarnation of the holder of the name, where that
/// is known to be dead; of several who know it one enters. None where somebody else holds the name and its lease lasts.
pub async fn enter(
    store: &Store,
    newcomer: &Newcomer<'_>,
    dead: Option<i64>,
) -> Result<Option<i64>, StoreError> {
    let now = store.shared_now_ms().await?;
    let mut tx = store.begin().await?;
    let peer = newcomer.peer;
    let row = tx
        .maybe(
            "INSERT INTO worker_process (server_name, hostname, pid, machine, roles, tags, version, state, lease_until, create_time, update_time)
             VALUES ($1, $2, $3, $4, $5, $6, $7, 'live', $8, $9, $9)
             ON CONFLICT (server_name) DO UPDATE SET hostname = excluded.hostname, pid = excluded.pid,
                    machine = excluded.machine, roles = excluded.roles, tags = excluded.tags, version = excluded.version,
                    state = 'live', lease_until = excluded.lease_until, create_time = excluded.create_time,
                    update_time = excluded.update_time, incarnation = worker_process.incarnation + 1
             WHERE worker_process.incarnation = $10 OR worker_process.state <> 'live' OR worker_process.lease_until <= excluded.update_time
             RETURNING incarnation",
            args![
                peer.name.as_str(),
                newcomer.hostname,
                i64::from(newcomer.pid),
                newcomer.machine,
                peer.roles.to_string(),
                peer.tags.join(" "),
                newcomer.version,
                now + newcomer.lease_ms,
                now,
                dead
            ],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    let incarnation = row.get(0)?;
    tx.commit(Durability::Progress, "handler.enter").await?;
    Ok(Some(incarnation))
}

/// Renews a lease. False: another has taken the work meanwhile.
pub async fn renew(
    store: &Store,
    name: &str,
    incarnation: i64,
    lease_ms: i64,
) -> Result<bool, StoreError> {
    let now = store.shared_now_ms().await?;
    let mut tx = store.begin().await?;
    let touched = tx
        .run(
            "UPDATE worker_process SET lease_until = $1, update_time = $2
             WHERE server_name = $3 AND incarnation = $4 AND state = 'live'",
            args![now + lease_ms, now, name, incarnation],
        )
        .await?;
    tx.commit(Durability::Progress, "handler.renew").await?;
    Ok(touched == 1)
}

/// Fails once another process has taken over what was held behind this fence. (On PostgreSQL the beginning of a
/// transaction does that by itself.)
pub(super) async fn stay_behind(tx: &mut Tx, fence: &Fence) -> Result<(), StoreError> {
    let sql = "SELECT 1 FROM worker_process WHERE server_name = $1 AND incarnation = $2";
    let found = tx.maybe(sql, args![fence.name(), fence.incarnation()]);
    match found.await? {
        Some(_) => Ok(()),
        None => Err(StoreError::Fenced {
            name: fence.name().to_owned(),
        }),
    }
}

/// Leaves in good order: what the process held is nobody's from now on.
pub async fn leave(store: &Store, name: &str, incarnation: i64) -> Result<(), StoreError> {
    let now = store.shared_now_ms().await?;
    let mut tx = store.begin().await?;
    tx.run(
        "UPDATE worker_process SET state = 'left', lease_until = $1, update_time = $1
         WHERE server_name = $2 AND incarnation = $3 AND state = 'live'",
        args![now, name, incarnation],
    )
    .await?;
    tx.commit(Durability::Progress, "handler.leave").await
}

/// Declares those lost whose lease is over, all but `me`; with `everybody` (a database that one process has for itself)
/// whatever their lease says. Answers their names.
pub async fn declare_lost(
    store: &Store,
    me: &str,
    everybody: bool,
) -> Result<Vec<String>, StoreError> {
    let now = store.shared_now_ms().await?;
    let mut reader = store.reader();
    let candidates = reader
        .all(
            "SELECT server_name, incarnation FROM worker_process
             WHERE state = 'live' AND server_name <> $1 AND (lease_until <= $2 OR $3)",
            args![me, now, everybody],
        )
        .await?;
    let mut lost = Vec::new();
    for row in &candidates {
        let (name, incarnation): (String, i64) = (row.get(0)?, row.get(1)?);
        let mut tx = store.begin().await?;
        // A transaction of the lost one that is still open holds this; its connection is closed by the database soon.
        if !tx.try_fence_off(&name).await? {
            continue;
        }
        let touched = tx
            .run(
                "UPDATE worker_process SET state = 'lost', incarnation = incarnation + 1, update_time = $1
                 WHERE server_name = $2 AND incarnation = $3 AND state = 'live' AND (lease_until <= $1 OR $4)",
                args![now, name.as_str(), incarnation, everybody],
            )
            .await?;
        tx.commit(Durability::Progress, "handler.lost").await?;
        if touched == 1 {
            lost.push(name);
        }
    }
    Ok(lost)
}

/// Every process there is a record of, by name.
pub async fn list(q: &mut impl Query) -> Result<Vec<Worker>, StoreError> {
    q.all(
        format!("SELECT {WORKER} FROM worker_process ORDER BY server_name"),
        vec![],
    )
    .await?
    .iter()
    .map(Worker::read)
    .collect()
}

/// What one process holds: invocations that are being scheduled, and jobs that have not ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Holding {
    pub invocations: i64,
    pub jobs: i64,
}

/// What every name or tag holds.
pub async fn holdings(q: &mut impl Query) -> Result<HashMap<String, Holding>, StoreError> {
    let mut found: HashMap<String, Holding> = HashMap::new();
    let invocations = q
        .all(
            "SELECT COALESCE(handler, ''), COUNT(*) FROM workflow_invocation
             WHERE state IN ('new', 'requires_materialization', 'ready', 'cancelling') AND parent_invocation_id IS NULL GROUP BY 1",
            vec![],
        )
        .await?;
    for row in &invocations {
        found.entry(row.get(0)?).or_default().invocations = row.get(1)?;
    }
    let jobs = q
        .all(
            "SELECT COALESCE(handler, ''), COUNT(*) FROM job
             WHERE state IN ('new', 'resubmitted', 'upload', 'waiting', 'queued', 'running', 'stop', 'deleting') GROUP BY 1",
            vec![],
        )
        .await?;
    for row in &jobs {
        found.entry(row.get(0)?).or_default().jobs = row.get(1)?;
    }
    Ok(found)
}

/// Moves everything that has not ended from one name (or tag) to another; answers how much. For operators: a live
/// process notices at its next commit that a thing is no longer its own.
pub async fn reassign(store: &Store, from: &str, to: &str) -> Result<Holding, StoreError> {
    repeated(|| reassign_once(store, from, to)).await
}

async fn reassign_once(store: &Store, from: &str, to: &str) -> Result<Holding, StoreError> {
    let mut tx = store.begin().await?;
    let jobs = tx
        .run(
            "UPDATE job SET handler = $1
             WHERE handler = $2 AND state IN ('new', 'resubmitted', 'upload', 'waiting', 'paused', 'queued', 'running', 'stop', 'deleting')",
            args![to, from],
        )
        .await?;
    let invocations = tx
        .run(
            "UPDATE workflow_invocation SET handler = $1, signal_count = signal_count + 1
             WHERE handler = $2 AND state IN ('new', 'requires_materialization', 'ready', 'cancelling', 'scheduled')",
            args![to, from],
        )
        .await?;
    tx.commit(Durability::Acknowledged, "handler.reassign")
        .await?;
    Ok(Holding {
        invocations: invocations as i64,
        jobs: jobs as i64,
    })
}

/// `IN (…)` for names, the first argument numbered `from`.
fn names_in(from: usize, names: &[String]) -> (String, Vec<Val>) {
    // Padded by `placeholders` with numbers, not with arguments.
    let list = placeholders(from, names.len());
    (list, names.iter().map(Val::from).collect())
}

/// Takes invocations with a signal that nobody holds, lowest id first, each with all that belongs to its root. At most
/// `limit` roots. Answers how many roots were taken.
pub async fn grab_invocations(
    store: &Store,
    me: &str,
    nobodys: &[String],
    limit: usize,
) -> Result<usize, StoreError> {
    if nobodys.is_empty() || limit == 0 {
        return Ok(0);
    }
    let (list, names) = names_in(2, nobodys);
    let mut reader = store.reader();
    let sql = format!(
        "SELECT id FROM workflow_invocation WHERE handler IN ({list}) AND signal_count > signal_seen ORDER BY id LIMIT $1"
    );
    let mut arguments = args![limit];
    arguments.extend(names.iter().cloned());
    let found = reader.all(sql, arguments).await?;
    let found: Vec<i64> = found
        .iter()
        .map(|row| row.get(0))
        .collect::<Result<_, _>>()?;
    if found.is_empty() {
        return Ok(0);
    }
    repeated(|| take_found(store, me, &found, &names)).await
}

async fn take_found(
    store: &Store,
    me: &str,
    found: &[i64],
    nobodys: &[Val],
) -> Result<usize, StoreError> {
    let mut tx = store.begin().await?;
    let mut taken = 0;
    for block in blocks(found) {
        let roots = roots_of(&mut tx, block).await?;
        taken += take_families(&mut tx, me, &roots, nobodys).await?;
    }
    tx.commit(Durability::Progress, "handler.grab").await?;
    Ok(taken)
}

async fn roots_of(tx: &mut Tx, invocations: &[i64]) -> Result<Vec<i64>, StoreError> {
    let sql = format!(
        "WITH RECURSIVE above (id, parent) AS (
            SELECT id, parent_invocation_id FROM workflow_invocation WHERE id IN ({})
            UNION SELECT i.id, i.parent_invocation_id FROM workflow_invocation i JOIN above a ON i.id = a.parent)
         SELECT id FROM above WHERE parent IS NULL ORDER BY id",
        placeholders(1, invocations.len())
    );
    let rows = tx.all(sql, ids(invocations)).await?;
    rows.iter().map(|row| row.get(0)).collect()
}

/// A root that nobody holds becomes ours with all below it. What stands below a root that somebody holds becomes theirs.
async fn take_families(
    tx: &mut Tx,
    me: &str,
    roots: &[i64],
    nobodys: &[Val],
) -> Result<usize, StoreError> {
    let sql = format!(
        "SELECT id, handler FROM workflow_invocation WHERE id IN ({}) ORDER BY id{}",
        placeholders(1, roots.len()),
        tx.skip_locked()
    );
    let locked = tx.all(sql, ids(roots)).await?;
    let nobodys: HashSet<&str> = nobodys
        .iter()
        .filter_map(|name| match name {
            Val::Text(Some(name)) => Some(name.as_ref()),
            _ => None,
        })
        .collect();
    let mut taken = 0;
    for row in &locked {
        let root: i64 = row.get(0)?;
        let holder: Option<String> = row.get(1)?;
        let holder = match &holder {
            Some(name) if !nobodys.contains(name.as_str()) => name.as_str(),
            _ => {
                taken += 1;
                me
            }
        };
        tx.run(
            "WITH RECURSIVE family (id) AS (
                SELECT CAST($1 AS BIGINT) UNION ALL
                SELECT i.id FROM workflow_invocation i JOIN family f ON i.parent_invocation_id = f.id)
             UPDATE workflow_invocation SET handler = $2 WHERE id IN (SELECT id FROM family) AND handler <> $2",
            args![root, holder],
        )
        .await?;
    }
    Ok(taken)
}

/// Takes ready jobs that stand under one of `names`, oldest first.
pub async fn grab_ready_jobs(
    store: &Store,
    me: &str,
    names: &[String],
    limit: usize,
) -> Result<Vec<ReadyJob>, StoreError> {
    if names.is_empty() || limit == 0 {
        return Ok(Vec::new());
    }
    let (list, values) = names_in(2, names);
    let found = "SELECT 1 FROM job WHERE state = 'new' AND ready_time IS NOT NULL AND handler IN";
    let sql = format!("{found} ({list}) LIMIT $1");
    let mut arguments = args![1i64];
    arguments.extend(values.iter().cloned());
    // Most looks find nothing, and a reader disturbs nobody.
    if store.reader().maybe(sql, arguments).await?.is_none() {
        return Ok(Vec::new());
    }
    let (list, values) = names_in(3, names);
    let mut tx = store.begin().await?;
    let sql = format!(
        "UPDATE job SET handler = $1 WHERE id IN (
            SELECT id FROM job WHERE state = 'new' AND ready_time IS NOT NULL AND handler IN ({list})
            ORDER BY ready_time, id LIMIT $2{}) RETURNING {}",
        tx.skip_locked(),
        ReadyJob::COLUMNS
    );
    let mut arguments = args![me, limit];
    arguments.extend(values);
    let rows = tx.all(sql, arguments).await?;
    let mut jobs: Vec<ReadyJob> = rows.iter().map(ReadyJob::read).collect::<Result<_, _>>()?;
    tx.commit(Durability::Progress, "handler.grab_jobs").await?;
    jobs.sort_by_key(|job| (job.ready_time, job.id));
    Ok(jobs)
}

/// Takes jobs that a runner of a process in `names` has, or that are to be stopped there; answers how many.
pub async fn grab_active_jobs(
    store: &Store,
    me: &str,
    names: &[String],
) -> Result<u64, StoreError> {
    if names.is_empty() {
        return Ok(0);
    }
    const ACTIVE: &str = "state IN ('queued', 'running', 'deleting', 'stop')";
    let (list, values) = names_in(1, names);
    let sql = format!("SELECT 1 FROM job WHERE {ACTIVE} AND handler IN ({list}) LIMIT 1");
    if store.reader().maybe(sql, values).await?.is_none() {
        return Ok(0);
    }
    let (list, values) = names_in(2, names);
    let mut tx = store.begin().await?;
    let sql = format!(
        "UPDATE job SET handler = $1 WHERE id IN (
            SELECT id FROM job WHERE {ACTIVE} AND handler IN ({list}) ORDER BY id{})",
        tx.skip_locked()
    );
    let mut arguments = args![me];
    arguments.extend(values);
    let taken = tx.run(sql, arguments).await?;
    tx.commit(Durability::Progress, "handler.grab_active")
        .await?;
    Ok(taken)
}

/// Gives jobs of `me` that a runner has, or had, to another process, which can see them run; answers how many.
pub async fn give_active_jobs(
    store: &Store,
    me: &str,
    to: &str,
    jobs: &[i64],
) -> Result<u64, StoreError> {
    let mut given = 0;
    let mut tx = store.begin().await?;
    for block in blocks(jobs) {
        let sql = format!(
            "UPDATE job SET handler = $1 WHERE handler = $2 AND state IN ('queued', 'running', 'deleting', 'stop') AND id IN ({})",
            placeholders(3, block.len())
        );
        let mut arguments = args![to, me];
        arguments.extend(ids(block));
        given += tx.run(sql, arguments).await?;
    }
    tx.commit(Durability::Progress, "handler.give").await?;
    // It looks at what it holds.
    store.db.tell(&format!("process {to}")).await?;
    Ok(given)
}
