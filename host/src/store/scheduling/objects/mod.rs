//! Storing new datasets, collections and jobs, as an iteration or a single tool run decided them: first what needs no number in
//! its history, then the rest.

mod numbered;
mod unnumbered;

use std::collections::{HashMap, HashSet};

pub(super) use self::numbered::describe_copies;
use self::numbered::{insert_elements, insert_hdas, insert_job_links};
pub use self::unnumbered::insert_state_history;
use self::unnumbered::{insert_collections, insert_datasets, insert_groups, insert_jobs};
use super::jobs::ReadyJob;
use super::known::{ids, state};
use super::readiness::{self, InputState, Start};
use crate::args;
use crate::invoker::writes::Writes;
use crate::store::db::{Query, StoreError, Tx, blocks, placeholders};

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

#[cfg(test)]
mod tests;
