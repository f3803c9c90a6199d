//! The end of jobs: their results, whoever waited for them, whoever has to look again. A batch of ended jobs is one
//! transaction, and its cost is that of the jobs in it and of those that wait for them.

use std::collections::HashMap;

use super::after;
use super::dependants::{
    Batch, discard_outputs, pause, pause_dependants, release_dependants, signal_invocations,
};
use super::ends::{CollectionEnd, FileFacts, JobEnd, NewDataset};
use super::jobs::ReadyJob;
use super::known::ids;
use super::objects::insert_state_history;
use crate::args;
use crate::model::state::JobState;
use crate::store::Store;
use crate::store::db::{Durability, Query, StoreError, Tx, blocks, placeholders, repeated};

/// What storing the ends led to.
#[derive(Debug, Default)]
pub struct Settled {
    /// Jobs that can start now.
    pub ready: Vec<ReadyJob>,
    /// Some invocation has to be looked at.
    pub invocations: bool,
    /// There may be mail to send.
    pub mail: bool,
}

/// Stores how jobs ended, releases or pauses whoever waits for them, signals their invocations.
pub async fn settle(store: &Store, ends: Vec<JobEnd>, now: i64) -> Result<Settled, StoreError> {
    repeated(|| settle_once(store, ends.clone(), now)).await
}

async fn settle_once(store: &Store, ends: Vec<JobEnd>, now: i64) -> Result<Settled, StoreError> {
    let mut tx = store.begin().await?;
    let states = states(&mut tx, &ends).await?;
    let mut batch = Batch::default();
    let mut with_actions = Vec::new();
    for end in ends {
        let recorded = match states.get(&end.job_id) {
            Some(recorded) if !recorded.state.is_terminal() => *recorded,
            _ => continue,
        };
        batch.jobs.push(end.job_id);
        if end.actions.iter().any(|a| after::is_ours(&a.action_type)) {
            with_actions.push(end.job_id);
        }
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
    store_ended(&mut tx, &mut batch).await?;
    insert_state_history(&mut tx, std::mem::take(&mut batch.history)).await?;
    pause_dependants(&mut tx, &mut batch, now).await?;
    if !with_actions.is_empty() {
        after::jobs_are_over(&mut tx, &with_actions, now).await?;
        settled.mail = true;
    }
    settled.ready = release_dependants(&mut tx, &batch.usable, now).await?;
    for history in &batch.histories {
        tx.run(
            "UPDATE history SET update_time = $1 WHERE id = $2",
            args![now, *history],
        )
        .await?;
    }
    settled.invocations = signal_invocations(&mut tx, &batch).await?;
    tx.commit(Durability::Progress, "job.settle").await?;
    Ok(settled)
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
    tx.lock("job", &job_ids).await?;
    let outputs = ends.iter().flat_map(|end| &end.outputs);
    let datasets: Vec<i64> = outputs.map(|output| output.dataset_id).collect();
    tx.lock("dataset", &datasets).await?;
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
    batch.ended.push(args![
        end.job_id,
        end.state.code(),
        end.exit_code,
        end.stdout,
        end.stderr,
        end.info,
        end.started_ms,
        end.ended_ms,
        end.external_id,
        now
    ]);
    for output in &end.outputs {
        batch.outputs.push(output.hda_id);
        if let Some(source) = output.share {
            batch
                .copied
                .push((output.hda_id, output.dataset_id, source));
            batch.usable.push(output.dataset_id);
            continue;
        }
        batch.datasets.push(args![
            output.dataset_id,
            output.state.code(),
            output.file.size,
            now
        ]);
        batch.hdas.push(args![
            output.hda_id,
            output.file.extension.as_str(),
            output.file.peek.as_deref(),
            output.file.blurb.as_deref(),
            &output.file.metadata,
            output.visible,
            output.info.as_deref(),
            now
        ]);
        note_validity(tx, output.hda_id, &output.file).await?;
        match output.state.is_usable() {
            true => batch.usable.push(output.dataset_id),
            false => batch.failed.push(output.dataset_id),
        }
    }
    for dataset in &end.extra {
        insert_new(tx, end.job_id, recorded.history_id, dataset, now).await?;
        note_validity(tx, dataset.hda_id, &dataset.file).await?;
    }
    for collection in end.collections {
        fill_collection(tx, store, end.job_id, recorded.history_id, collection, now).await?;
    }
    Ok(())
}

/// Stores whether a file is what it says, where that was looked at.
async fn note_validity(tx: &mut Tx, hda_id: i64, file: &FileFacts) -> Result<(), StoreError> {
    let Some(validity) = &file.validity else {
        return Ok(());
    };
    tx.run(
        "UPDATE history_dataset_association SET validated_state = $1, validated_state_message = $2 WHERE id = $3",
        args![validity.state(), validity.message(), hda_id],
    )
    .await
    .map(drop)
}

/// Stores what [`ended`] noted about all jobs of the batch.
async fn store_ended(tx: &mut Tx, batch: &mut Batch) -> Result<(), StoreError> {
    tx.change_many(
        &[
            "id", "state", "exit_code", "stdout", "stderr", "info", "started", "ended", "external_id", "now",
        ],
        "UPDATE job SET state = given.state, exit_code = given.exit_code, tool_stdout = given.stdout, tool_stderr = given.stderr,
                info = given.info, start_time = COALESCE(job.start_time, given.started), end_time = given.ended,
                job_runner_external_id = COALESCE(given.external_id, job.job_runner_external_id), update_time = given.now
         FROM given WHERE job.id = given.id",
        std::mem::take(&mut batch.ended),
    )
    .await?;
    tx.change_many(
        &["id", "state", "size", "now"],
        "UPDATE dataset SET state = given.state, file_size = given.size, total_size = given.size, update_time = given.now
         FROM given WHERE dataset.id = given.id",
        std::mem::take(&mut batch.datasets),
    )
    .await?;
    tx.change_many(
        &["id", "extension", "peek", "blurb", "metadata", "visible", "info", "now"],
        "UPDATE history_dataset_association SET extension = given.extension, peek = given.peek, blurb = given.blurb,
                metadata = given.metadata, visible = given.visible, info = given.info, update_time = given.now
         FROM given WHERE history_dataset_association.id = given.id",
        std::mem::take(&mut batch.hdas),
    )
    .await?;
    tell_copies(tx, &batch.copied, &batch.outputs).await
}

/// What a job found out about its outputs holds for other names of the same data too; some of its outputs turned out
/// to be other names themselves.
async fn tell_copies(
    tx: &mut Tx,
    shares: &[(i64, i64, i64)],
    outputs: &[i64],
) -> Result<(), StoreError> {
    for (hda_id, dataset_id, source) in shares {
        tx.run(
            "UPDATE history_dataset_association SET copied_from_history_dataset_association_id = $1 WHERE id = $2",
            args![*source, *hda_id],
        )
        .await?;
        tx.run(
            "UPDATE history_dataset_association
             SET dataset_id = (SELECT s.dataset_id FROM history_dataset_association s WHERE s.id = $1) WHERE dataset_id = $2",
            args![*source, *dataset_id],
        )
        .await?;
        tx.run(
            "UPDATE dataset SET state = 'discarded', deleted = TRUE WHERE id = $1",
            args![*dataset_id],
        )
        .await?;
        super::objects::describe_copies(tx, &[*hda_id], true).await?;
    }
    // Outputs that are second names themselves have nothing to tell; thousands of one dataset would tell each other.
    for block in blocks(outputs) {
        let sql = format!(
            "UPDATE history_dataset_association SET metadata = source.metadata, peek = source.peek, blurb = source.blurb,
                    info = source.info, extension = source.extension
             FROM history_dataset_association AS source
             WHERE source.dataset_id = history_dataset_association.dataset_id
               AND source.id <> history_dataset_association.id AND source.id IN ({})
               AND source.copied_from_history_dataset_association_id IS NULL",
            placeholders(1, block.len())
        );
        tx.run(sql, ids(block)).await?;
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
        note_validity(tx, element.dataset.hda_id, &element.dataset.file).await?;
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
