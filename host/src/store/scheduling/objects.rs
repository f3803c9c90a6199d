//! Storing new datasets, collections and jobs, as an iteration or a single tool run decided them.

use std::collections::{HashMap, HashSet};

use serde_json::json;

use super::equivalents;
use super::jobs::ReadyJob;
use super::known::{ids, state};
use super::readiness::{self, InputState, Start};
use crate::args;
use crate::invoker::known::Hid;
use crate::invoker::writes::Writes;
use crate::model::state::{DatasetState, JobState};
use crate::store::db::{Query, StoreError, Tx, Val, blocks, placeholders};

/// Whose the new objects are.
#[derive(Debug, Clone)]
pub struct Owner {
    pub user_id: i64,
    pub history_id: i64,
    pub scheduler: Option<String>,
    pub handler: String,
}

/// New objects as far as they are stored, and their place in their history. Whoever has it has locked the history and what
/// the new jobs read.
#[derive(Debug)]
pub struct Place {
    first_hid: i64,
    /// Where each job starts.
    starts: Vec<Start>,
    /// The states of the datasets.
    states: HashMap<i64, InputState>,
}

impl Place {
    pub fn first_hid(&self) -> i64 {
        self.first_hid
    }
}

/// Locks the datasets that new jobs read, as far as they are not finished, inserts what needs no number in the history, and takes
/// numbers there. In this order, because from then on everybody else who makes something in the history waits. None where nothing is
/// to be made.
pub async fn reserve(
    tx: &mut Tx,
    owner: &Owner,
    writes: &Writes,
    now: i64,
) -> Result<Option<Place>, StoreError> {
    let begun = begin(tx, owner, writes, now).await?;
    take_numbers(tx, owner, writes, begun, now).await
}

/// The same for several: of none of them a number is taken before all else of every one is done.
pub async fn reserve_all(
    tx: &mut Tx,
    owner: &Owner,
    all: &[&Writes],
    now: i64,
) -> Result<Vec<Option<Place>>, StoreError> {
    let mut begun = Vec::with_capacity(all.len());
    for writes in all {
        begun.push(begin(tx, owner, writes, now).await?);
    }
    let mut places = Vec::with_capacity(all.len());
    for (writes, begun) in all.iter().zip(begun) {
        places.push(take_numbers(tx, owner, writes, begun, now).await?);
    }
    Ok(places)
}

/// Where each job starts, and the states of the datasets.
type Begun = (Vec<Start>, HashMap<i64, InputState>);

/// What needs no number. None where nothing is to be made.
async fn begin(
    tx: &mut Tx,
    owner: &Owner,
    writes: &Writes,
    now: i64,
) -> Result<Option<Begun>, StoreError> {
    if writes.hids == 0
        && writes.jobs.is_empty()
        && writes.populated.is_empty()
        && writes.implicit_collection_jobs.is_empty()
    {
        return Ok(None);
    }
    if tx.has_rivals() {
        let new: HashSet<i64> = writes.hdas.iter().map(|hda| hda.id).collect();
        let inputs = writes.jobs.iter().flat_map(|job| &job.inputs);
        // What is to get a second name is read under it.
        let shared = writes.hdas.iter().filter_map(|hda| hda.copied_from);
        let older: HashSet<i64> = inputs
            .map(|i| i.hda_id)
            .chain(shared)
            .filter(|id| !new.contains(id))
            .collect();
        let older: Vec<i64> = older.into_iter().collect();
        lock_unfinished(tx, &older).await?;
    }
    let (starts, states) = starts(tx, writes).await?;
    insert_groups(tx, writes).await?;
    insert_datasets(tx, writes, &states, now).await?;
    insert_collections(tx, writes, now).await?;
    insert_jobs(tx, owner, writes, &starts, now).await?;
    Ok(Some((starts, states)))
}

async fn take_numbers(
    tx: &mut Tx,
    owner: &Owner,
    writes: &Writes,
    begun: Option<Begun>,
    now: i64,
) -> Result<Option<Place>, StoreError> {
    let Some((starts, states)) = begun else {
        return Ok(None);
    };
    let first_hid = next_hids(tx, owner.history_id, writes.hids as i64, now).await?;
    Ok(Some(Place {
        first_hid,
        starts,
        states,
    }))
}

/// Locks the datasets of HDAs that may still become usable, so that whoever finishes them comes before this transaction
/// or after it.
pub(super) async fn lock_unfinished(tx: &mut Tx, hdas: &[i64]) -> Result<(), StoreError> {
    let mut datasets = Vec::new();
    for block in blocks(hdas) {
        let sql = format!(
            "SELECT d.id FROM history_dataset_association a JOIN dataset d ON d.id = a.dataset_id WHERE a.id IN ({})
               AND d.state IN ('new', 'upload', 'queued', 'running', 'setting_metadata', 'paused')",
            placeholders(1, block.len())
        );
        for row in tx.all(sql, ids(block)).await? {
            datasets.push(row.get(0)?);
        }
    }
    tx.lock_shared("dataset", &datasets).await
}

/// Inserts the rest of the new objects: whatever has a number in the history, or belongs to such a thing. Returns the jobs that
/// can start at once.
pub async fn insert_objects(
    tx: &mut Tx,
    owner: &Owner,
    writes: &Writes,
    place: Option<&Place>,
    now: i64,
) -> Result<Vec<ReadyJob>, StoreError> {
    let Some(Place {
        first_hid,
        starts,
        states,
    }) = place
    else {
        return Ok(Vec::new());
    };
    insert_hdas(tx, owner.history_id, writes, states, *first_hid, now).await?;
    insert_elements(tx, owner.history_id, writes, *first_hid, now).await?;
    insert_job_links(tx, writes, starts).await?;
    let over = writes.jobs.iter().zip(starts);
    let over: Vec<i64> = over
        .filter(|(job, start)| **start == Start::Done && !job.post_job_action_ids.is_empty())
        .map(|(job, _)| job.id)
        .collect();
    super::after::jobs_are_over(tx, &over, now).await?;
    let ready = writes
        .jobs
        .iter()
        .zip(starts)
        .filter(|(_, start)| **start == Start::Ready);
    Ok(ready
        .map(|(job, _)| ReadyJob::of_new(job, owner, now))
        .collect())
}

/// Reserves numbers in a history; the first of them.
async fn next_hids(tx: &mut Tx, history_id: i64, count: i64, now: i64) -> Result<i64, StoreError> {
    let row = tx
        .maybe(
            "UPDATE history SET hid_counter = hid_counter + $1, update_time = $2 WHERE id = $3 RETURNING hid_counter",
            args![count, now, history_id],
        )
        .await?;
    let next: i64 = row.map(|r| r.get(0)).transpose()?.unwrap_or(count + 1);
    Ok(next - count)
}

/// Where each new job starts, from the states its inputs have in this very transaction.
async fn starts(
    tx: &mut Tx,
    writes: &Writes,
) -> Result<(Vec<Start>, HashMap<i64, InputState>), StoreError> {
    let shared: HashSet<i64> = writes
        .hdas
        .iter()
        .filter(|hda| hda.copied_from.is_some())
        .map(|hda| hda.dataset_id)
        .collect();
    let mut known: HashMap<i64, InputState> = writes
        .hdas
        .iter()
        .filter(|hda| hda.copied_from.is_none())
        .map(|hda| {
            (
                hda.dataset_id,
                InputState {
                    state: hda.state,
                    deleted: false,
                    purged: false,
                },
            )
        })
        .collect();
    let shared: Vec<i64> = shared
        .into_iter()
        .filter(|id| !known.contains_key(id))
        .collect();
    for block in blocks(&shared) {
        let sql = format!(
            "SELECT id, state, purged FROM dataset WHERE id IN ({})",
            placeholders(1, block.len())
        );
        for row in tx.all(sql, ids(block)).await? {
            let input = InputState {
                state: state(&row.get::<String>(1)?)?,
                deleted: false,
                purged: row.get(2)?,
            };
            known.insert(row.get(0)?, input);
        }
    }
    let inputs = writes.jobs.iter().flat_map(|job| &job.inputs);
    let older: HashSet<i64> = inputs
        .filter(|i| !known.contains_key(&i.dataset_id))
        .map(|i| i.hda_id)
        .collect();
    let older: Vec<i64> = older.into_iter().collect();
    for block in blocks(&older) {
        let sql = format!(
            "SELECT d.id, d.state, a.deleted, a.purged, d.purged FROM history_dataset_association a
             JOIN dataset d ON d.id = a.dataset_id WHERE a.id IN ({})",
            placeholders(1, block.len())
        );
        for row in tx.all(sql, ids(block)).await? {
            let (purged, gone): (bool, bool) = (row.get(3)?, row.get(4)?);
            let input = InputState {
                state: state(&row.get::<String>(1)?)?,
                deleted: row.get(2)?,
                purged: purged || gone,
            };
            known.insert(row.get(0)?, input);
        }
    }
    let dataset_of: HashMap<i64, i64> = writes
        .hdas
        .iter()
        .map(|hda| (hda.id, hda.dataset_id))
        .collect();
    let outputs: Vec<Vec<i64>> = writes
        .jobs
        .iter()
        .map(|job| {
            job.outputs
                .iter()
                .filter_map(|(_, hda)| dataset_of.get(hda).copied())
                .collect()
        })
        .collect();
    let starts = readiness::decide(&writes.jobs, &outputs, &mut known);
    Ok((starts, known))
}

async fn insert_groups(tx: &mut Tx, writes: &Writes) -> Result<(), StoreError> {
    for (id, is_new, complete) in &writes.implicit_collection_jobs {
        let populated = if *complete { "ok" } else { "new" };
        let sql = match is_new {
            true => "INSERT INTO implicit_collection_jobs (populated_state, id) VALUES ($1, $2)",
            false => "UPDATE implicit_collection_jobs SET populated_state = $1 WHERE id = $2",
        };
        tx.run(sql, args![populated, *id]).await?;
    }
    Ok(())
}

async fn insert_datasets(
    tx: &mut Tx,
    writes: &Writes,
    states: &HashMap<i64, InputState>,
    now: i64,
) -> Result<(), StoreError> {
    let made = writes.hdas.iter().filter(|hda| hda.copied_from.is_none());
    let datasets = made.map(|hda| {
        let state = states.get(&hda.dataset_id).map_or(hda.state, |s| s.state);
        let size = hda.content.as_ref().map(|c| c.len() as i64);
        args![
            hda.dataset_id,
            uuid::Uuid::new_v4(),
            state.code(),
            size,
            size,
            now,
            now
        ]
    });
    tx.insert_many(
        "INSERT INTO dataset (id, uuid, state, file_size, total_size, create_time, update_time) VALUES",
        7,
        "",
        datasets.collect(),
    )
    .await
}

async fn insert_hdas(
    tx: &mut Tx,
    history_id: i64,
    writes: &Writes,
    states: &HashMap<i64, InputState>,
    first_hid: i64,
    now: i64,
) -> Result<(), StoreError> {
    let mut hdas = Vec::with_capacity(writes.hdas.len());
    let (mut copies, mut own_extensions) = (Vec::new(), Vec::new());
    for hda in &writes.hdas {
        let state = states.get(&hda.dataset_id).map_or(hda.state, |s| s.state);
        let info = match state {
            DatasetState::Paused => Some(readiness::paused_info()),
            _ => hda.info.as_deref(),
        };
        if hda.copied_from.is_some() {
            match hda.own_extension {
                true => own_extensions.push(hda.id),
                false => copies.push(hda.id),
            }
        }
        hdas.push(args![
            hda.id,
            history_id,
            hda.dataset_id,
            number(hda.hid, first_hid),
            writes.names.resolve(&hda.name, first_hid),
            hda.extension.as_str(),
            &json!({ "dbkey": hda.dbkey }),
            hda.visible,
            &json!(hda.tags),
            hda.blurb.as_deref(),
            info,
            hda.copied_from,
            now,
            now
        ]);
    }
    tx.insert_many(
        "INSERT INTO history_dataset_association (id, history_id, dataset_id, hid, name, extension, metadata, visible, tags,
            blurb, info, copied_from_history_dataset_association_id, create_time, update_time) VALUES",
        14,
        "",
        hdas,
    )
    .await?;
    describe_copies(tx, &copies, true).await?;
    describe_copies(tx, &own_extensions, false).await
}

/// Gives new names of data what is known of these data, as it is in this very transaction.
pub(super) async fn describe_copies(
    tx: &mut Tx,
    copies: &[i64],
    with_extension: bool,
) -> Result<(), StoreError> {
    let extension = match with_extension {
        true => ", extension = source.extension",
        false => "",
    };
    for block in blocks(copies) {
        let sql = format!(
            "UPDATE history_dataset_association SET metadata = source.metadata, peek = source.peek, blurb = source.blurb,
                    info = source.info{extension}
             FROM history_dataset_association AS source
             WHERE source.id = history_dataset_association.copied_from_history_dataset_association_id
               AND history_dataset_association.id IN ({})",
            placeholders(1, block.len())
        );
        tx.run(sql, ids(block)).await?;
    }
    Ok(())
}

fn number(hid: Hid, first_hid: i64) -> i64 {
    match hid {
        Hid::Given(hid) => hid,
        Hid::New(n) => first_hid + n as i64,
    }
}

async fn insert_collections(tx: &mut Tx, writes: &Writes, now: i64) -> Result<(), StoreError> {
    let rows = writes
        .collections
        .iter()
        .map(|c| {
            let populated = if c.populated { "ok" } else { "new" };
            args![
                c.id,
                c.collection_type.as_str(),
                populated,
                c.element_count,
                now,
                now
            ]
        })
        .collect();
    tx.insert_many(
        "INSERT INTO dataset_collection (id, collection_type, populated_state, element_count, create_time, update_time) VALUES",
        6,
        "",
        rows,
    )
    .await?;
    for (id, count) in &writes.populated {
        tx.run(
            "UPDATE dataset_collection SET populated_state = 'ok', element_count = $1, update_time = $2 WHERE id = $3",
            args![*count, now, *id],
        )
        .await?;
    }
    Ok(())
}

async fn insert_jobs(
    tx: &mut Tx,
    owner: &Owner,
    writes: &Writes,
    starts: &[Start],
    now: i64,
) -> Result<(), StoreError> {
    let mut jobs = Vec::with_capacity(writes.jobs.len());
    let mut history = Vec::with_capacity(writes.jobs.len());
    for (job, start) in writes.jobs.iter().zip(starts) {
        let (state, info) = match start {
            Start::Ready | Start::Waits(_) => (JobState::New, None),
            Start::Paused(info) => (JobState::Paused, Some(*info)),
            Start::Failed(info) => (JobState::Error, Some(*info)),
            Start::Skipped => (JobState::Skipped, None),
            Start::Done => (JobState::Ok, None),
        };
        let ready_time = (*start == Start::Ready).then_some(now);
        // What was never run, or is itself a copy, is no model for others.
        let keyed = matches!(start, Start::Ready | Start::Waits(_) | Start::Paused(_));
        jobs.push(args![
            job.id,
            job.uuid,
            owner.user_id,
            owner.history_id,
            job.invocation_id,
            owner.scheduler.as_deref(),
            owner.handler.as_str(),
            job.tool_id.as_str(),
            job.tool_version.as_str(),
            job.dynamic_tool_id,
            env!("CARGO_PKG_VERSION"),
            state.code(),
            info,
            job.cores,
            job.memory_mb,
            ready_time,
            job.copied_from,
            keyed.then(|| equivalents::key(job)),
            now,
            now
        ]);
        history.push(args![job.id, state.code(), info, now]);
    }
    tx.insert_many(
        "INSERT INTO job (id, uuid, user_id, history_id, workflow_invocation_id, scheduler, handler, tool_id, tool_version,
            dynamic_tool_id, galaxy_version, state, info, cores, memory_mb, ready_time, copied_from_job_id, equivalence_key,
            create_time, update_time) VALUES",
        20,
        "",
        jobs,
    )
    .await?;
    insert_state_history(tx, history).await
}

/// Rows of (job, state, info, time).
pub async fn insert_state_history(tx: &mut Tx, rows: Vec<Vec<Val>>) -> Result<(), StoreError> {
    tx.insert_many(
        "INSERT INTO job_state_history (job_id, state, info, create_time) VALUES",
        4,
        "",
        rows,
    )
    .await
}

async fn insert_elements(
    tx: &mut Tx,
    history_id: i64,
    writes: &Writes,
    first_hid: i64,
    now: i64,
) -> Result<(), StoreError> {
    let elements = writes
        .elements
        .iter()
        .map(|e| {
            args![
                e.id,
                e.collection_id,
                e.hda_id,
                e.child_collection_id,
                e.index,
                e.identifier.as_str()
            ]
        })
        .collect();
    tx.insert_many(
        "INSERT INTO dataset_collection_element (id, dataset_collection_id, hda_id, child_collection_id, element_index,
            element_identifier) VALUES",
        6,
        "",
        elements,
    )
    .await?;
    let hdcas = writes
        .hdcas
        .iter()
        .map(|c| {
            args![
                c.id,
                c.collection_id,
                history_id,
                number(c.hid, first_hid),
                writes.names.resolve(&c.name, first_hid),
                c.visible,
                &json!(c.tags),
                c.implicit_output_name.as_deref(),
                c.job_id,
                c.implicit_collection_jobs_id,
                now,
                now
            ]
        })
        .collect();
    tx.insert_many(
        "INSERT INTO history_dataset_collection_association (id, collection_id, history_id, hid, name, visible, tags,
            implicit_output_name, job_id, implicit_collection_jobs_id, create_time, update_time) VALUES",
        12,
        "",
        hdcas,
    )
    .await
}

async fn insert_job_links(
    tx: &mut Tx,
    writes: &Writes,
    starts: &[Start],
) -> Result<(), StoreError> {
    let (mut params, mut inputs, mut input_collections) = (Vec::new(), Vec::new(), Vec::new());
    let (mut outputs, mut output_collections, mut waits, mut actions) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (job, start) in writes.jobs.iter().zip(starts) {
        for (name, value) in job.params.as_object().into_iter().flatten() {
            params.push(args![job.id, name.as_str(), value]);
        }
        for (n, input) in job.inputs.iter().enumerate() {
            inputs.push(args![
                job.id,
                input.hda_id,
                input.name.as_str(),
                n,
                input.element_identifier.as_deref()
            ]);
        }
        for (name, hdca, dce) in &job.input_collections {
            input_collections.push(args![job.id, *hdca, *dce, name.as_str()]);
        }
        outputs.extend(
            job.outputs
                .iter()
                .map(|(name, hda)| args![job.id, *hda, name.as_str()]),
        );
        for (name, hdca, collection) in &job.output_collections {
            output_collections.push(args![job.id, *hdca, *collection, name.as_str()]);
        }
        if let Start::Waits(datasets) = start {
            waits.extend(datasets.iter().map(|dataset| args![job.id, *dataset]));
        }
        actions.extend(
            job.post_job_action_ids
                .iter()
                .map(|action| args![job.id, *action]),
        );
    }
    tx.insert_many(
        "INSERT INTO job_parameter (job_id, name, value) VALUES",
        3,
        "",
        params,
    )
    .await?;
    tx.insert_many(
        "INSERT INTO job_to_input_dataset (job_id, hda_id, name, position, element_identifier) VALUES",
        5,
        "",
        inputs,
    )
    .await?;
    tx.insert_many(
        "INSERT INTO job_to_input_dataset_collection (job_id, hdca_id, dce_id, name) VALUES",
        4,
        "",
        input_collections,
    )
    .await?;
    tx.insert_many(
        "INSERT INTO job_to_output_dataset (job_id, hda_id, name) VALUES",
        3,
        "",
        outputs,
    )
    .await?;
    tx.insert_many(
        "INSERT INTO job_to_output_dataset_collection (job_id, hdca_id, collection_id, name) VALUES",
        4,
        "",
        output_collections,
    )
    .await?;
    tx.insert_many(
        "INSERT INTO job_wait (job_id, dataset_id) VALUES",
        2,
        "",
        waits,
    )
    .await?;
    tx.insert_many(
        "INSERT INTO post_job_action_association (job_id, post_job_action_id) VALUES",
        2,
        "",
        actions,
    )
    .await?;
    let slices = writes
        .implicit_jobs
        .iter()
        .map(|(group, job, slice)| args![*group, *job, *slice])
        .collect();
    tx.insert_many(
        "INSERT INTO implicit_collection_jobs_job_association (implicit_collection_jobs_id, job_id, order_index) VALUES",
        3,
        "",
        slices,
    )
    .await
}

#[cfg(test)]
#[path = "objects_tests.rs"]
mod tests;
