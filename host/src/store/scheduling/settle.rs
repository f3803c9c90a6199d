//! The end of jobs: their results, whoever waited for them, whoever has to look again. A batch of ended jobs is one
//! transaction, and its cost is that of the jobs in it and of those that wait for them.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Value, json};

use super::commit::insert_state_history;
use super::jobs::{ReadyJob, release, set_dataset_states};
use super::known::ids;
use super::readiness;
use crate::args;
use crate::model::state::{DatasetState, JobState};
use crate::store::Store;
use crate::store::db::{Durability, Query, StoreError, Tx, Val, blocks, placeholders};

/// How a job ended.
#[derive(Debug, Clone)]
pub struct JobEnd {
    pub job_id: i64,
    /// Ok or error; or paused, for a job that was about to start. A job that was to be stopped ends as deleted
    /// whatever stands here.
    pub state: JobState,
    pub exit_code: Option<i64>,
    pub stdout: String,
    pub stderr: String,
    /// A sentence for people, where the exit code does not say it all.
    pub info: Option<String>,
    pub started_ms: Option<i64>,
    pub ended_ms: i64,
    pub external_id: Option<String>,
    pub outputs: Vec<OutputEnd>,
    pub collections: Vec<CollectionEnd>,
    /// Datasets that the job made beside the declared ones.
    pub extra: Vec<NewDataset>,
}

/// What became of a declared output.
#[derive(Debug, Clone)]
pub struct OutputEnd {
    pub hda_id: i64,
    pub dataset_id: i64,
    pub state: DatasetState,
    pub file: FileFacts,
    pub visible: bool,
    pub info: Option<String>,
}

/// What is known of a dataset's file.
#[derive(Debug, Clone, Default)]
pub struct FileFacts {
    pub size: i64,
    pub extension: String,
    pub peek: Option<String>,
    pub blurb: Option<String>,
    pub metadata: Value,
}

/// What became of a collection whose elements the job found out.
#[derive(Debug, Clone)]
pub struct CollectionEnd {
    pub collection_id: i64,
    pub collection_type: String,
    /// None: the job failed.
    pub elements: Option<Vec<NewElement>>,
}

/// An element with its dataset: identifiers outermost first.
#[derive(Debug, Clone)]
pub struct NewElement {
    pub identifiers: Vec<String>,
    pub dataset: NewDataset,
}

/// A dataset that exists only now.
#[derive(Debug, Clone)]
pub struct NewDataset {
    pub hda_id: i64,
    pub dataset_id: i64,
    pub name: String,
    pub visible: bool,
    pub file: FileFacts,
    pub output_name: String,
}

/// What storing the ends led to.
#[derive(Debug, Default)]
pub struct Settled {
    /// Jobs that can start now.
    pub ready: Vec<ReadyJob>,
    /// Some invocation has to be looked at.
    pub invocations: bool,
}

/// Stores how jobs ended, releases or pauses whoever waits for them, signals their invocations.
pub async fn settle(store: &Store, ends: Vec<JobEnd>, now: i64) -> Result<Settled, StoreError> {
    let mut tx = store.begin().await?;
    let states = states(&mut tx, &ends).await?;
    let mut batch = Batch::default();
    for end in ends {
        let recorded = match states.get(&end.job_id) {
            Some(recorded) if !recorded.state.is_terminal() => *recorded,
            _ => continue,
        };
        batch.jobs.push(end.job_id);
        batch.invocations.extend(recorded.invocation_id);
        batch.histories.insert(recorded.history_id);
        if matches!(recorded.state, JobState::Deleting | JobState::Stop) {
            stopped(&mut tx, &end, now, &mut batch).await?;
        } else if end.state == JobState::Paused {
            let info = end.info.as_deref().unwrap_or_default();
            let outputs = pause(&mut tx, &[end.job_id], info, now, &mut batch).await?;
            batch.failed.extend(outputs);
        } else {
            ended(&mut tx, store, end, recorded, now, &mut batch).await?;
        }
    }
    let mut settled = Settled::default();
    if batch.jobs.is_empty() {
        return Ok(settled);
    }
    insert_state_history(&mut tx, std::mem::take(&mut batch.history)).await?;
    pause_dependants(&mut tx, &mut batch, now).await?;
    settled.ready = release_dependants(&mut tx, &batch.usable, now).await?;
    settled.invocations = signal_invocations(&mut tx, &batch).await?;
    for history in &batch.histories {
        tx.run(
            "UPDATE history SET update_time = $1 WHERE id = $2",
            args![now, *history],
        )
        .await?;
    }
    tx.commit(Durability::Progress, "job.settle").await?;
    Ok(settled)
}

#[derive(Default)]
struct Batch {
    jobs: Vec<i64>,
    histories: BTreeSet<i64>,
    invocations: BTreeSet<i64>,
    history: Vec<Vec<Val>>,
    /// Datasets that can be read now.
    usable: Vec<i64>,
    /// Datasets that never will, for the time being.
    failed: Vec<i64>,
}

/// A job as it is stored.
#[derive(Debug, Clone, Copy)]
struct Recorded {
    state: JobState,
    history_id: i64,
    invocation_id: Option<i64>,
}

async fn states(tx: &mut Tx, ends: &[JobEnd]) -> Result<HashMap<i64, Recorded>, StoreError> {
    let job_ids: Vec<i64> = ends.iter().map(|end| end.job_id).collect();
    let mut states = HashMap::new();
    for block in blocks(&job_ids) {
        let sql = format!(
            "SELECT id, state, COALESCE(history_id, 0), workflow_invocation_id FROM job WHERE id IN ({})",
            placeholders(1, block.len())
        );
        for row in tx.all(sql, ids(block)).await? {
            let recorded = Recorded {
                state: super::progress::job_state(row.get(1)?)?,
                history_id: row.get(2)?,
                invocation_id: row.get(3)?,
            };
            states.insert(row.get(0)?, recorded);
        }
    }
    Ok(states)
}

/// A job that somebody stopped.
async fn stopped(tx: &mut Tx, end: &JobEnd, now: i64, batch: &mut Batch) -> Result<(), StoreError> {
    tx.run(
        "UPDATE job SET state = 'deleted', exit_code = $1, tool_stdout = $2, tool_stderr = $3, start_time = COALESCE(start_time, $4),
                end_time = $5, update_time = $6 WHERE id = $7",
        args![end.exit_code, end.stdout.as_str(), end.stderr.as_str(), end.started_ms, end.ended_ms, now, end.job_id],
    )
    .await?;
    batch
        .history
        .push(args![end.job_id, "deleted", None::<String>, now]);
    discard_outputs(tx, &[end.job_id], now).await?;
    batch
        .failed
        .extend(end.outputs.iter().map(|o| o.dataset_id));
    Ok(())
}

async fn ended(
    tx: &mut Tx,
    store: &Store,
    end: JobEnd,
    recorded: Recorded,
    now: i64,
    batch: &mut Batch,
) -> Result<(), StoreError> {
    if recorded.state != JobState::Running
        && let Some(started) = end.started_ms
    {
        batch
            .history
            .push(args![end.job_id, "running", None::<String>, started]);
    }
    batch.history.push(args![
        end.job_id,
        end.state.code(),
        end.info.as_deref(),
        end.ended_ms
    ]);
    tx.run(
        "UPDATE job SET state = $1, exit_code = $2, tool_stdout = $3, tool_stderr = $4, info = $5,
                start_time = COALESCE(start_time, $6), end_time = $7, job_runner_external_id = COALESCE($8, job_runner_external_id),
                update_time = $9 WHERE id = $10",
        args![
            end.state.code(),
            end.exit_code,
            end.stdout.as_str(),
            end.stderr.as_str(),
            end.info.as_deref(),
            end.started_ms,
            end.ended_ms,
            end.external_id.as_deref(),
            now,
            end.job_id
        ],
    )
    .await?;
    for output in &end.outputs {
        tx.run(
            "UPDATE dataset SET state = $1, file_size = $2, total_size = $2, update_time = $3 WHERE id = $4",
            args![output.state.code(), output.file.size, now, output.dataset_id],
        )
        .await?;
        tx.run(
            "UPDATE history_dataset_association SET extension = $1, peek = $2, blurb = $3, metadata = $4, visible = $5, info = $6,
                    update_time = $7 WHERE id = $8",
            args![
                output.file.extension.as_str(),
                output.file.peek.as_deref(),
                output.file.blurb.as_deref(),
                &output.file.metadata,
                output.visible,
                output.info.as_deref(),
                now,
                output.hda_id
            ],
        )
        .await?;
        match output.state.is_usable() {
            true => batch.usable.push(output.dataset_id),
            false => batch.failed.push(output.dataset_id),
        }
    }
    for dataset in &end.extra {
        insert_new(tx, end.job_id, recorded.history_id, dataset, now).await?;
    }
    for collection in end.collections {
        fill_collection(tx, store, end.job_id, recorded.history_id, collection, now).await?;
    }
    Ok(())
}

async fn fill_collection(
    tx: &mut Tx,
    store: &Store,
    job_id: i64,
    history_id: i64,
    end: CollectionEnd,
    now: i64,
) -> Result<(), StoreError> {
    let Some(elements) = end.elements else {
        tx.run(
            "UPDATE dataset_collection SET populated_state = 'failed', populated_state_message = $1, update_time = $2 WHERE id = $3",
            args!["The job that makes the elements failed.", now, end.collection_id],
        )
        .await?;
        return Ok(());
    };
    for element in &elements {
        insert_new(tx, job_id, history_id, &element.dataset, now).await?;
    }
    // Elements arrive in order, so those of one nested collection need not be neighbours: group by outer identifiers.
    let mut children: HashMap<Vec<String>, i64> = HashMap::from([(Vec::new(), end.collection_id)]);
    let mut counts: HashMap<i64, i64> = HashMap::from([(end.collection_id, 0)]);
    let ranks: Vec<&str> = end.collection_type.split(':').collect();
    let mut rows = Vec::with_capacity(elements.len());
    for element in &elements {
        let Some((last, outer)) = element.identifiers.split_last() else {
            continue;
        };
        for depth in 1..=outer.len() {
            let path = outer[..depth].to_vec();
            if children.contains_key(&path) {
                continue;
            }
            let child = store.ids.collection();
            let inner = ranks
                .get(depth..)
                .filter(|r| !r.is_empty())
                .map_or("list".to_owned(), |r| r.join(":"));
            tx.run(
                "INSERT INTO dataset_collection (id, collection_type, populated_state, create_time, update_time) VALUES ($1, $2, 'ok', $3, $3)",
                args![child, inner, now],
            )
            .await?;
            let parent = children[&path[..depth - 1]];
            let index = counts.entry(parent).or_default();
            rows.push(args![
                store.ids.element(),
                parent,
                None::<i64>,
                Some(child),
                *index,
                path[depth - 1].as_str()
            ]);
            *index += 1;
            counts.insert(child, 0);
            children.insert(path, child);
        }
        let parent = children[outer];
        let index = counts.entry(parent).or_default();
        rows.push(args![
            store.ids.element(),
            parent,
            Some(element.dataset.hda_id),
            None::<i64>,
            *index,
            last.as_str()
        ]);
        *index += 1;
    }
    tx.insert_many(
        "INSERT INTO dataset_collection_element (id, dataset_collection_id, hda_id, child_collection_id, element_index,
            element_identifier) VALUES",
        6,
        "",
        rows,
    )
    .await?;
    for (id, count) in counts {
        tx.run(
            "UPDATE dataset_collection SET populated_state = 'ok', element_count = $1, update_time = $2 WHERE id = $3",
            args![count, now, id],
        )
        .await?;
    }
    Ok(())
}

async fn insert_new(
    tx: &mut Tx,
    job_id: i64,
    history_id: i64,
    dataset: &NewDataset,
    now: i64,
) -> Result<(), StoreError> {
    let row = tx
        .maybe(
            "UPDATE history SET hid_counter = hid_counter + 1 WHERE id = $1 RETURNING hid_counter",
            args![history_id],
        )
        .await?;
    let hid = row.map(|r| r.get::<i64>(0)).transpose()?.unwrap_or(2) - 1;
    tx.run(
        "INSERT INTO dataset (id, uuid, state, file_size, total_size, create_time, update_time) VALUES ($1, $2, 'ok', $3, $3, $4, $4)",
        args![dataset.dataset_id, uuid::Uuid::new_v4(), dataset.file.size, now],
    )
    .await?;
    tx.run(
        "INSERT INTO history_dataset_association (id, history_id, dataset_id, hid, name, extension, metadata, visible, peek, blurb,
            create_time, update_time) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11)",
        args![
            dataset.hda_id,
            history_id,
            dataset.dataset_id,
            hid,
            dataset.name.as_str(),
            dataset.file.extension.as_str(),
            &dataset.file.metadata,
            dataset.visible,
            dataset.file.peek.as_deref(),
            dataset.file.blurb.as_deref(),
            now
        ],
    )
    .await?;
    tx.run(
        "INSERT INTO job_to_output_dataset (job_id, hda_id, name) VALUES ($1, $2, $3)",
        args![job_id, dataset.hda_id, dataset.output_name.as_str()],
    )
    .await
    .map(|_| ())
}

/// Pauses the jobs that wait for datasets which failed, and those that wait for these jobs' outputs.
async fn pause_dependants(tx: &mut Tx, batch: &mut Batch, now: i64) -> Result<(), StoreError> {
    let mut level = batch.failed.clone();
    while !level.is_empty() {
        let mut jobs: BTreeSet<i64> = BTreeSet::new();
        for block in blocks(&level) {
            let sql = format!(
                "SELECT DISTINCT job_id FROM job_wait WHERE dataset_id IN ({})",
                placeholders(1, block.len())
            );
            for row in tx.all(sql, ids(block)).await? {
                jobs.insert(row.get(0)?);
            }
        }
        let jobs: Vec<i64> = jobs.into_iter().collect();
        level = pause(tx, &jobs, readiness::paused_info(), now, batch).await?;
        batch.failed.extend(&level);
    }
    Ok(())
}

/// Pauses jobs that have not started; the datasets that are paused with them.
async fn pause(
    tx: &mut Tx,
    jobs: &[i64],
    info: &str,
    now: i64,
    batch: &mut Batch,
) -> Result<Vec<i64>, StoreError> {
    let mut datasets = Vec::new();
    let mut history = Vec::new();
    for block in blocks(jobs) {
        let sql = format!(
            "UPDATE job SET state = 'paused', info = $1, ready_time = NULL, update_time = $2 WHERE id IN ({}) AND state = 'new'
             RETURNING id, workflow_invocation_id",
            placeholders(3, block.len())
        );
        let mut arguments = args![info, now];
        arguments.extend(ids(block));
        for row in tx.all(sql, arguments).await? {
            let id: i64 = row.get(0)?;
            batch.jobs.push(id);
            batch.invocations.extend(row.get::<Option<i64>>(1)?);
            history.push(args![id, "paused", info, now]);
        }
        let list = placeholders(1, block.len());
        tx.run(
            format!("DELETE FROM job_wait WHERE job_id IN ({list})"),
            ids(block),
        )
        .await?;
        let sql = format!(
            "SELECT a.dataset_id FROM job_to_output_dataset o JOIN history_dataset_association a ON a.id = o.hda_id
             WHERE o.job_id IN ({list})"
        );
        for row in tx.all(sql, ids(block)).await? {
            datasets.push(row.get(0)?);
        }
    }
    set_dataset_states(tx, &datasets, "paused", now).await?;
    for block in blocks(&datasets) {
        let sql = format!(
            "UPDATE history_dataset_association SET info = $1, update_time = $2 WHERE dataset_id IN ({})",
            placeholders(3, block.len())
        );
        let mut arguments = args![info, now];
        arguments.extend(ids(block));
        tx.run(sql, arguments).await?;
    }
    insert_state_history(tx, history).await?;
    Ok(datasets)
}

/// Takes usable datasets off everybody's list; the jobs whose list is empty now.
pub async fn release_dependants(
    tx: &mut Tx,
    usable: &[i64],
    now: i64,
) -> Result<Vec<ReadyJob>, StoreError> {
    let mut candidates: BTreeSet<i64> = BTreeSet::new();
    for block in blocks(usable) {
        let sql = format!(
            "DELETE FROM job_wait WHERE dataset_id IN ({}) RETURNING job_id",
            placeholders(1, block.len())
        );
        for row in tx.all(sql, ids(block)).await? {
            candidates.insert(row.get(0)?);
        }
    }
    let candidates: Vec<i64> = candidates.into_iter().collect();
    release(tx, &candidates, now).await
}

/// Signals the invocations that stopped at one of these datasets or jobs, and those that may be complete.
async fn signal_invocations(tx: &mut Tx, batch: &Batch) -> Result<bool, StoreError> {
    let mut signalled = 0;
    let datasets: Vec<i64> = batch.usable.iter().chain(&batch.failed).copied().collect();
    for (kind, items) in [("dataset", &datasets), ("job", &batch.jobs)] {
        for block in blocks(items) {
            let sql = format!(
                "UPDATE workflow_invocation SET signal_count = signal_count + 1 WHERE id IN
                    (SELECT workflow_invocation_id FROM workflow_invocation_wait WHERE kind = $1 AND item_id IN ({}))",
                placeholders(2, block.len())
            );
            let mut arguments = args![kind];
            arguments.extend(ids(block));
            signalled += tx.run(sql, arguments).await?;
        }
    }
    let invocations: Vec<i64> = batch.invocations.iter().copied().collect();
    for block in blocks(&invocations) {
        let sql = format!(
            "UPDATE workflow_invocation SET signal_count = signal_count + 1 WHERE id IN ({}) AND state = 'scheduled'
               AND NOT EXISTS (SELECT 1 FROM job j WHERE j.workflow_invocation_id = workflow_invocation.id AND j.state IN ({}))",
            placeholders(1, block.len()),
            super::invocations::UNFINISHED
        );
        signalled += tx.run(sql, ids(block)).await?;
    }
    Ok(signalled > 0)
}

/// Marks the outputs of jobs that were stopped.
pub async fn discard_outputs(tx: &mut Tx, jobs: &[i64], now: i64) -> Result<(), StoreError> {
    const INFO: &str = "The job was stopped before it completed.";
    for block in blocks(jobs) {
        let list = placeholders(2, block.len());
        let mut arguments = args![now];
        arguments.extend(ids(block));
        tx.run(
            format!(
                "UPDATE dataset SET state = 'discarded', update_time = $1 WHERE id IN
                    (SELECT a.dataset_id FROM job_to_output_dataset o JOIN history_dataset_association a ON a.id = o.hda_id
                     WHERE o.job_id IN ({list}))"
            ),
            arguments.clone(),
        )
        .await?;
        let list = placeholders(3, block.len());
        let mut with_info = args![now, INFO];
        with_info.extend(ids(block));
        tx.run(
            format!(
                "UPDATE history_dataset_association SET deleted = TRUE, info = $2, update_time = $1 WHERE id IN
                    (SELECT hda_id FROM job_to_output_dataset WHERE job_id IN ({list}))"
            ),
            with_info.clone(),
        )
        .await?;
        tx.run(
            format!(
                "UPDATE dataset_collection SET populated_state = 'failed', populated_state_message = $2, update_time = $1 WHERE id IN
                    (SELECT collection_id FROM job_to_output_dataset_collection WHERE job_id IN ({list}))"
            ),
            with_info,
        )
        .await?;
        let list = placeholders(1, block.len());
        tx.run(
            format!("DELETE FROM job_wait WHERE job_id IN ({list})"),
            ids(block),
        )
        .await?;
    }
    Ok(())
}

/// Puts a paused job back, and those behind it that wait for nothing else that failed. Returns the job's id and
/// those that can start at once (Galaxy's Job.resume).
pub async fn resume(store: &Store, job_id: i64, now: i64) -> Result<Vec<ReadyJob>, StoreError> {
    let mut tx = store.begin().await?;
    let mut candidates = Vec::new();
    let mut level = vec![job_id];
    while let Some(id) = level.pop() {
        let touched = tx
            .run(
                "UPDATE job SET state = 'new', info = NULL, ready_time = NULL, update_time = $1 WHERE id = $2 AND state = 'paused'",
                args![now, id],
            )
            .await?;
        if touched == 0 {
            continue;
        }
        insert_state_history(&mut tx, vec![args![id, "new", None::<String>, now]]).await?;
        tx.run(
            "INSERT INTO job_wait (job_id, dataset_id)
             SELECT DISTINCT i.job_id, d.id FROM job_to_input_dataset i
             JOIN history_dataset_association a ON a.id = i.hda_id JOIN dataset d ON d.id = a.dataset_id
             WHERE i.job_id = $1 AND d.state NOT IN ('ok', 'deferred') ON CONFLICT DO NOTHING",
            args![id],
        )
        .await?;
        let outputs: Vec<(i64, i64)> = tx
            .all(
                "SELECT a.id, a.dataset_id FROM job_to_output_dataset o JOIN history_dataset_association a ON a.id = o.hda_id WHERE o.job_id = $1",
                args![id],
            )
            .await?
            .iter()
            .map(|row| Ok((row.get(0)?, row.get(1)?)))
            .collect::<Result<_, StoreError>>()?;
        let datasets: Vec<i64> = outputs.iter().map(|(_, dataset)| *dataset).collect();
        set_dataset_states(&mut tx, &datasets, "new", now).await?;
        for (hda, _) in &outputs {
            tx.run("UPDATE history_dataset_association SET info = NULL, update_time = $1 WHERE id = $2", args![now, *hda])
                .await?;
            let dependants = tx
                .all(
                    "SELECT DISTINCT j.id FROM job_to_input_dataset i JOIN job j ON j.id = i.job_id WHERE i.hda_id = $1 AND j.state = 'paused'",
                    args![*hda],
                )
                .await?;
            for row in dependants {
                level.push(row.get(0)?);
            }
        }
        candidates.push(id);
    }
    // A job whose input is still in error is paused again rather than left waiting for good.
    let mut batch = Batch::default();
    let still_failed: Vec<i64> = tx
        .all(
            "SELECT DISTINCT w.dataset_id FROM job_wait w JOIN dataset d ON d.id = w.dataset_id
             WHERE w.job_id = $1 AND d.state IN ('error', 'failed_metadata', 'discarded', 'paused')",
            args![job_id],
        )
        .await?
        .iter()
        .map(|row| row.get(0))
        .collect::<Result<_, _>>()?;
    batch.failed = still_failed;
    pause_dependants(&mut tx, &mut batch, now).await?;
    let ready = release(&mut tx, &candidates, now).await?;
    tx.commit(Durability::Acknowledged, "job.resume").await?;
    Ok(ready)
}

/// Asks for a job to be stopped. A job no runner has ends at once; true where a runner has to act.
pub async fn cancel_job(store: &Store, job_id: i64, now: i64) -> Result<bool, StoreError> {
    let mut tx = store.begin().await?;
    let gone = tx
        .all(
            "UPDATE job SET state = 'deleted', ready_time = NULL, end_time = $1, update_time = $1
             WHERE id = $2 AND state IN ('new', 'resubmitted', 'waiting', 'paused', 'upload') RETURNING workflow_invocation_id",
            args![now, job_id],
        )
        .await?;
    let mut acts = false;
    if let Some(row) = gone.first() {
        let mut batch = Batch {
            jobs: vec![job_id],
            ..Default::default()
        };
        batch.invocations.extend(row.get::<Option<i64>>(0)?);
        insert_state_history(&mut tx, vec![args![job_id, "deleted", None::<String>, now]]).await?;
        let outputs = tx
            .all(
                "SELECT a.dataset_id FROM job_to_output_dataset o JOIN history_dataset_association a ON a.id = o.hda_id WHERE o.job_id = $1",
                args![job_id],
            )
            .await?;
        for row in outputs {
            batch.failed.push(row.get(0)?);
        }
        discard_outputs(&mut tx, &[job_id], now).await?;
        pause_dependants(&mut tx, &mut batch, now).await?;
        signal_invocations(&mut tx, &batch).await?;
    } else {
        acts = tx
            .run(
                "UPDATE job SET state = 'deleting', update_time = $1 WHERE id = $2 AND state IN ('queued', 'running', 'stop')",
                args![now, job_id],
            )
            .await?
            > 0;
    }
    tx.commit(Durability::Acknowledged, "job.cancel").await?;
    Ok(acts)
}

/// The actions that are carried out when jobs end, by job.
pub async fn actions(
    q: &mut impl Query,
    job_ids: &[i64],
) -> Result<HashMap<i64, Vec<EndAction>>, StoreError> {
    let mut found: HashMap<i64, Vec<EndAction>> = HashMap::new();
    for block in blocks(job_ids) {
        let sql = format!(
            "SELECT a.job_id, p.action_type, p.output_name, p.action_arguments FROM post_job_action_association a
             JOIN post_job_action p ON p.id = a.post_job_action_id WHERE a.job_id IN ({})",
            placeholders(1, block.len())
        );
        for row in q.all(sql, ids(block)).await? {
            found.entry(row.get(0)?).or_default().push(EndAction {
                action_type: row.get(1)?,
                output_name: row.get(2)?,
                arguments: row.json(3)?,
            });
        }
    }
    Ok(found)
}

/// A post-job action that is carried out when a job ends.
#[derive(Debug, Clone)]
pub struct EndAction {
    pub action_type: String,
    /// Empty: every output.
    pub output_name: String,
    pub arguments: Value,
}

impl EndAction {
    /// Whether it is for this output.
    pub fn is_for(&self, output_name: &str) -> bool {
        self.output_name.is_empty() || self.output_name == output_name
    }
}

/// A dataset's metadata with what its file says, keeping the reference genome it was created with.
pub fn merge_metadata(stored: &str, found: Value) -> Value {
    let mut merged = serde_json::from_str(stored).unwrap_or_else(|_| json!({}));
    if let (Value::Object(merged), Value::Object(found)) = (&mut merged, found) {
        merged.extend(found);
    }
    merged
}
