//! The queue of ready jobs, and what is recorded when they are handed to a runner.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::{Map, Value};
use uuid::Uuid;

use super::ends::EndAction;
use super::known::ids;
use super::objects::{Owner, insert_state_history};
use crate::args;
use crate::invoker::writes::NewJob;
use crate::model::state::JobState;
use crate::store::Store;
use crate::store::db::{Durability, Query, Row, StoreError, Val, blocks, placeholders, repeated};

/// A job whose inputs are there.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadyJob {
    pub id: i64,
    /// What a runner knows it by.
    pub token: Uuid,
    pub user_id: i64,
    pub history_id: i64,
    pub invocation_id: Option<i64>,
    /// None: the default scheduler's.
    pub scheduler: Option<Arc<str>>,
    pub tool_id: Arc<str>,
    pub cores: i64,
    pub memory_mb: i64,
    pub ready_time: i64,
    pub create_time: i64,
    /// How often it was handed to a runner already.
    pub attempt: i64,
}

/// The columns of [`ReadyJob`].
pub(super) const READY: &str = ReadyJob::COLUMNS;

impl ReadyJob {
    /// What [`ReadyJob::read`] reads, in order.
    pub const COLUMNS: &str = "id, uuid, user_id, COALESCE(history_id, 0), workflow_invocation_id, scheduler, tool_id, cores, memory_mb,
    ready_time, create_time, attempt";

    /// A job that is being stored by this transaction.
    pub fn of_new(job: &NewJob, owner: &Owner, now: i64) -> ReadyJob {
        ReadyJob {
            id: job.id,
            token: job.uuid,
            user_id: owner.user_id,
            history_id: owner.history_id,
            invocation_id: job.invocation_id,
            scheduler: owner.scheduler.as_deref().map(Arc::from),
            tool_id: job.tool_id.as_str().into(),
            cores: job.cores,
            memory_mb: job.memory_mb,
            ready_time: now,
            create_time: now,
            attempt: 0,
        }
    }

    pub fn read(row: &Row) -> Result<ReadyJob, StoreError> {
        Ok(ReadyJob {
            id: row.get(0)?,
            token: Uuid::parse_str(&row.get::<String>(1)?).unwrap_or_default(),
            user_id: row.get(2)?,
            history_id: row.get(3)?,
            invocation_id: row.get(4)?,
            scheduler: row.get::<Option<String>>(5)?.map(Arc::from),
            tool_id: row.get::<String>(6)?.into(),
            cores: row.get(7)?,
            memory_mb: row.get(8)?,
            ready_time: row.get::<Option<i64>>(9)?.unwrap_or(0),
            create_time: row.get(10)?,
            attempt: row.get(11)?,
        })
    }
}

/// The oldest ready jobs of a handler, without those of `passive` schedulers. Jobs that name no scheduler are the
/// default one's.
pub async fn ready(
    q: &mut impl Query,
    handler: &str,
    default_scheduler: &str,
    passive: &[String],
    limit: usize,
) -> Result<Vec<ReadyJob>, StoreError> {
    ready_without(q, handler, default_scheduler, passive, &[], limit).await
}

/// The same without the jobs of some users.
pub async fn ready_without(
    q: &mut impl Query,
    handler: &str,
    default_scheduler: &str,
    passive: &[String],
    users: &[i64],
    limit: usize,
) -> Result<Vec<ReadyJob>, StoreError> {
    let mut arguments = args![handler, limit];
    let mut without = String::new();
    if !users.is_empty() {
        let list = placeholders(arguments.len() + 1, users.len());
        without.push_str(&format!("AND user_id NOT IN ({list}) "));
        arguments.extend(ids(users));
    }
    if !passive.is_empty() {
        let default = arguments.len() + 1;
        let list = placeholders(default + 1, passive.len());
        without.push_str(&format!(
            "AND COALESCE(NULLIF(scheduler, ''), ${default}) NOT IN ({list})"
        ));
        arguments.push(Val::from(default_scheduler));
        arguments.extend(passive.iter().map(|id| Val::from(id.as_str())));
    }
    let sql = format!(
        "SELECT {READY} FROM job WHERE handler = $1 AND state = 'new' AND ready_time IS NOT NULL {without}
         ORDER BY ready_time, id LIMIT $2"
    );
    q.all(sql, arguments)
        .await?
        .iter()
        .map(ReadyJob::read)
        .collect()
}

/// Marks jobs as ready that wait for nothing any more, out of `candidates`.
pub async fn release(
    tx: &mut crate::store::Tx,
    candidates: &[i64],
    now: i64,
) -> Result<Vec<ReadyJob>, StoreError> {
    let mut found = Vec::new();
    for block in blocks(candidates) {
        let sql = format!(
            "UPDATE job SET ready_time = $1, update_time = $1
             WHERE id IN ({}) AND state = 'new' AND ready_time IS NULL
               AND NOT EXISTS (SELECT 1 FROM job_wait w WHERE w.job_id = job.id)
             RETURNING {READY}",
            placeholders(2, block.len())
        );
        let mut arguments = args![now];
        arguments.extend(ids(block));
        for row in tx.all(sql, arguments).await? {
            found.push(ReadyJob::read(&row)?);
        }
    }
    found.sort_by_key(|job| job.id);
    Ok(found)
}

/// A job with all that its command is made from.
#[derive(Debug, Clone)]
pub struct Dispatch {
    pub id: i64,
    pub state: JobState,
    /// The server that has it.
    pub handler: Option<String>,
    pub tool_id: String,
    pub tool_version: Option<String>,
    pub dynamic_tool_id: Option<i64>,
    pub params: Value,
    /// In the order in which they were linked.
    pub inputs: Vec<InputSlot>,
    pub outputs: Vec<OutputSlot>,
    pub output_collections: Vec<OutputCollectionSlot>,
    /// What is to be done when it ends.
    pub actions: Vec<EndAction>,
}

/// A dataset that a job reads.
#[derive(Debug, Clone)]
pub struct InputSlot {
    pub name: String,
    pub hda_id: i64,
    pub element_identifier: Option<String>,
}

/// A dataset that a job writes.
#[derive(Debug, Clone)]
pub struct OutputSlot {
    pub name: String,
    pub hda_id: i64,
    pub dataset_id: i64,
    pub extension: String,
    pub hda_name: String,
    pub visible: bool,
    /// JSON text, as stored.
    pub metadata: String,
}

/// A collection whose elements a job finds out.
#[derive(Debug, Clone)]
pub struct OutputCollectionSlot {
    pub name: String,
    pub collection_id: i64,
    pub hdca_id: Option<i64>,
    pub collection_type: String,
}

/// Everything about some jobs, in the order asked for; jobs that are gone are left out. One statement: this stands
/// between the end of a job and the start of the next.
pub async fn load(q: &mut impl Query, job_ids: &[i64]) -> Result<Vec<Dispatch>, StoreError> {
    let mut found: HashMap<i64, Dispatch> = HashMap::with_capacity(job_ids.len());
    for block in blocks(job_ids) {
        let sql = parts_statement(&placeholders(1, block.len()));
        for row in q.all(sql, ids(block)).await? {
            add_part(&mut found, &row)?;
        }
    }
    Ok(job_ids.iter().filter_map(|id| found.remove(id)).collect())
}

/// Job, which part, its place within the part, four texts, two numbers.
fn parts_statement(list: &str) -> String {
    format!(
        "SELECT id AS job_id, 0 AS part, 0 AS n, state AS a, tool_id AS b, tool_version AS c, handler AS d,
                dynamic_tool_id AS x, CAST(NULL AS BIGINT) AS y
         FROM job WHERE id IN ({list})
         UNION ALL
         SELECT job_id, 1, 0, name, value, NULL, NULL, NULL, NULL FROM job_parameter WHERE job_id IN ({list})
         UNION ALL
         SELECT job_id, 2, id, name, element_identifier, NULL, NULL, hda_id, NULL
         FROM job_to_input_dataset WHERE job_id IN ({list})
         UNION ALL
         SELECT o.job_id, CASE WHEN a.visible THEN 3 ELSE 4 END, o.id, o.name, a.extension, a.name, a.metadata, a.id, a.dataset_id
         FROM job_to_output_dataset o JOIN history_dataset_association a ON a.id = o.hda_id WHERE o.job_id IN ({list})
         UNION ALL
         SELECT o.job_id, 5, o.id, o.name, c.collection_type, NULL, NULL, o.collection_id, o.hdca_id
         FROM job_to_output_dataset_collection o JOIN dataset_collection c ON c.id = o.collection_id WHERE o.job_id IN ({list})
         UNION ALL
         SELECT a.job_id, 6, p.id, p.action_type, p.output_name, p.action_arguments, NULL, NULL, NULL
         FROM post_job_action_association a JOIN post_job_action p ON p.id = a.post_job_action_id WHERE a.job_id IN ({list})
         ORDER BY 1, 2, 3"
    )
}

fn add_part(found: &mut HashMap<i64, Dispatch>, row: &Row) -> Result<(), StoreError> {
    let id: i64 = row.get(0)?;
    let part: i64 = row.get(1)?;
    if part == 0 {
        let job = Dispatch {
            id,
            state: super::progress::job_state(row.get(3)?)?,
            handler: row.get(6)?,
            tool_id: row.get(4)?,
            tool_version: row.get(5)?,
            dynamic_tool_id: row.get(7)?,
            params: Value::Object(Map::new()),
            inputs: Vec::new(),
            outputs: Vec::new(),
            output_collections: Vec::new(),
            actions: Vec::new(),
        };
        found.insert(id, job);
        return Ok(());
    }
    // The job itself comes first.
    let Some(job) = found.get_mut(&id) else {
        return Ok(());
    };
    match part {
        1 => {
            if let Value::Object(params) = &mut job.params {
                params.insert(row.get(3)?, row.json(4)?);
            }
        }
        2 => job.inputs.push(InputSlot {
            name: row.get(3)?,
            hda_id: row.get(7)?,
            element_identifier: row.get(4)?,
        }),
        3 | 4 => job.outputs.push(OutputSlot {
            name: row.get(3)?,
            hda_id: row.get(7)?,
            dataset_id: row.get(8)?,
            extension: row.get(4)?,
            hda_name: row.get(5)?,
            visible: part == 3,
            metadata: row.get(6)?,
        }),
        5 => job.output_collections.push(OutputCollectionSlot {
            name: row.get(3)?,
            collection_id: row.get(7)?,
            hdca_id: row.get(8)?,
            collection_type: row.get(4)?,
        }),
        _ => job.actions.push(EndAction {
            action_type: row.get(3)?,
            output_name: row.get(4)?,
            arguments: row.json(5)?,
        }),
    }
    Ok(())
}

/// A job that is about to be handed to a runner.
#[derive(Debug, Clone)]
pub struct HandOver {
    pub job_id: i64,
    pub runner: String,
    pub command_line: String,
    /// Its output datasets.
    pub dataset_ids: Vec<i64>,
}

/// Records the hand-over before it happens, so that a job the runner has is always known to be there. Returns the
/// jobs that were still to be started by `handler`: others were cancelled meanwhile, or taken by another process.
pub async fn hand_over(
    store: &Store,
    handler: &str,
    jobs: &[HandOver],
    now: i64,
) -> Result<Vec<i64>, StoreError> {
    repeated(|| hand_over_once(store, handler, jobs, now)).await
}

async fn hand_over_once(
    store: &Store,
    handler: &str,
    jobs: &[HandOver],
    now: i64,
) -> Result<Vec<i64>, StoreError> {
    let mut tx = store.begin().await?;
    let rows = jobs
        .iter()
        .map(|job| {
            args![
                job.job_id,
                job.runner.as_str(),
                job.command_line.as_str(),
                now,
                handler
            ]
        })
        .collect();
    let taken: HashSet<i64> = tx
        .change_many(
            &["id", "runner", "command_line", "now", "handler"],
            "UPDATE job SET state = 'queued', job_runner_name = given.runner, command_line = given.command_line,
                    attempt = attempt + 1, update_time = given.now
             FROM given WHERE job.id = given.id AND job.state = 'new' AND job.handler = given.handler RETURNING job.id",
            rows,
        )
        .await?
        .iter()
        .map(|row| row.get(0))
        .collect::<Result<_, _>>()?;
    let datasets: Vec<i64> = jobs
        .iter()
        .filter(|job| taken.contains(&job.job_id))
        .flat_map(|job| &job.dataset_ids)
        .copied()
        .collect();
    set_dataset_states(&mut tx, &datasets, "queued", now).await?;
    let taken: Vec<i64> = jobs
        .iter()
        .map(|job| job.job_id)
        .filter(|id| taken.contains(id))
        .collect();
    let history = taken
        .iter()
        .map(|id| args![*id, "queued", None::<String>, now])
        .collect();
    insert_state_history(&mut tx, history).await?;
    tx.commit(Durability::Progress, "job.dispatch").await?;
    Ok(taken)
}

/// Sets the state of datasets that are not finished.
pub async fn set_dataset_states(
    tx: &mut crate::store::Tx,
    datasets: &[i64],
    state: &'static str,
    now: i64,
) -> Result<(), StoreError> {
    for block in blocks(datasets) {
        let sql = format!(
            "UPDATE dataset SET state = $1, update_time = $2 WHERE id IN ({})",
            placeholders(3, block.len())
        );
        let mut arguments = args![state, now];
        arguments.extend(ids(block));
        tx.run(sql, arguments).await?;
    }
    Ok(())
}

/// Those of `job_ids` that are over for good.
pub async fn terminal(q: &mut impl Query, job_ids: &[i64]) -> Result<HashSet<i64>, StoreError> {
    let mut found = HashSet::new();
    for block in blocks(job_ids) {
        let sql = format!(
            "SELECT id FROM job WHERE id IN ({}) AND state IN ('ok', 'error', 'deleted')",
            placeholders(1, block.len())
        );
        for row in q.all(sql, ids(block)).await? {
            found.insert(row.get(0)?);
        }
    }
    Ok(found)
}

/// Those of `job_ids` that `handler` has and that are not over: another server may have taken the others, collected what
/// they made and removed their directories.
pub async fn still_held(
    q: &mut impl Query,
    handler: &str,
    job_ids: &[i64],
) -> Result<HashSet<i64>, StoreError> {
    let mut found = HashSet::new();
    for block in blocks(job_ids) {
        let sql = format!(
            "SELECT id FROM job WHERE handler = $1 AND id IN ({}) AND state IN ('queued', 'running', 'deleting', 'stop')",
            placeholders(2, block.len())
        );
        let mut arguments = args![handler];
        arguments.extend(ids(block));
        for row in q.all(sql, arguments).await? {
            found.insert(row.get(0)?);
        }
    }
    Ok(found)
}

/// A job that runs: what the runner calls it and since when.
#[derive(Debug, Clone)]
pub struct Started {
    pub job_id: i64,
    pub external_id: String,
    pub started_ms: i64,
    pub dataset_ids: Vec<i64>,
}

/// Records that jobs run.
pub async fn started(store: &Store, jobs: &[Started], now: i64) -> Result<(), StoreError> {
    repeated(|| started_once(store, jobs, now)).await
}

async fn started_once(store: &Store, jobs: &[Started], now: i64) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    let rows = jobs
        .iter()
        .map(|job| args![job.job_id, job.external_id.as_str(), job.started_ms, now])
        .collect();
    let touched: HashSet<i64> = tx
        .change_many(
            &["id", "external_id", "started", "now"],
            "UPDATE job SET state = 'running', job_runner_external_id = given.external_id, start_time = given.started,
                    update_time = given.now
             FROM given WHERE job.id = given.id AND job.state = 'queued' RETURNING job.id",
            rows,
        )
        .await?
        .iter()
        .map(|row| row.get(0))
        .collect::<Result<_, _>>()?;
    let (mut history, mut datasets) = (Vec::new(), Vec::new());
    for job in jobs.iter().filter(|job| touched.contains(&job.job_id)) {
        history.push(args![job.job_id, "running", None::<String>, job.started_ms]);
        datasets.extend(&job.dataset_ids);
    }
    set_dataset_states(&mut tx, &datasets, "running", now).await?;
    insert_state_history(&mut tx, history).await?;
    tx.commit(Durability::Progress, "job.started").await
}

/// Puts jobs back that a runner would not take just now.
pub async fn put_back(
    store: &Store,
    handler: &str,
    job_ids: &[i64],
    now: i64,
) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    for id in job_ids {
        tx.run(
            "UPDATE job SET state = 'new', ready_time = $1, update_time = $1 WHERE id = $2 AND state = 'queued' AND handler = $3",
            args![now, *id, handler],
        )
        .await?;
    }
    tx.commit(Durability::Progress, "job.put_back").await
}

/// A job that some runner has, or had when the server stopped.
#[derive(Debug, Clone)]
pub struct Active {
    pub id: i64,
    pub token: Uuid,
    pub state: JobState,
    pub runner: Option<String>,
    pub external_id: Option<String>,
    pub started_ms: Option<i64>,
    pub cores: i64,
    pub memory_mb: i64,
    pub user_id: i64,
}

/// The jobs of a handler that runners have, and those that are to be stopped.
pub async fn active(
    q: &mut impl Query,
    handler: &str,
    states: &'static str,
) -> Result<Vec<Active>, StoreError> {
    let sql = format!(
        "SELECT id, uuid, state, job_runner_name, job_runner_external_id, start_time, cores, memory_mb, user_id FROM job
         WHERE handler = $1 AND state IN ({states}) ORDER BY id"
    );
    let rows = q.all(sql, args![handler]).await?;
    rows.iter()
        .map(|row| {
            Ok(Active {
                id: row.get(0)?,
                token: Uuid::parse_str(&row.get::<String>(1)?).unwrap_or_default(),
                state: super::progress::job_state(row.get(2)?)?,
                runner: row.get(3)?,
                external_id: row.get(4)?,
                started_ms: row.get(5)?,
                cores: row.get(6)?,
                memory_mb: row.get(7)?,
                user_id: row.get(8)?,
            })
        })
        .collect()
}
