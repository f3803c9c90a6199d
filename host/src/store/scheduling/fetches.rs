//! Datasets whose bytes are at a URL: what is still to be fetched, who fetches it, and what came of it.

use serde_json::Value;

use super::dependants::{Batch, pause_dependants, release_dependants, signal_invocations};
use super::ends::FileFacts;
use super::jobs::set_dataset_states;
use super::objects::insert_state_history;
use super::settle::Settled;
use crate::args;
use crate::model::state::{DatasetState, JobState};
use crate::store::Store;
use crate::store::db::{Durability, Query, StoreError, Tx, blocks, placeholders, repeated};

/// A dataset to be fetched. It exists, and so does the job that stands for the upload, in the same transaction.
#[derive(Debug, Clone)]
pub struct Fetch {
    pub dataset_id: i64,
    pub hda_id: i64,
    pub job_id: i64,
    pub user_id: i64,
    pub url: String,
    /// None: look at the content.
    pub extension: Option<String>,
    pub dbkey: String,
    pub to_posix_lines: bool,
    pub space_to_tab: bool,
    pub hashes: Value,
    /// How often it was tried in vain.
    pub attempts: i64,
}

/// Notes what is to be fetched.
pub async fn insert(tx: &mut Tx, new: &[Fetch], now: i64) -> Result<(), StoreError> {
    let rows = new.iter().map(|f| {
        args![
            f.dataset_id,
            f.hda_id,
            f.job_id,
            f.user_id,
            &f.url,
            &f.extension,
            &f.dbkey,
            f.to_posix_lines,
            f.space_to_tab,
            &f.hashes,
            now
        ]
    });
    tx.insert_many(
        "INSERT INTO dataset_fetch (dataset_id, hda_id, job_id, user_id, url, extension, dbkey, to_posix_lines,
            space_to_tab, hashes, create_time) VALUES",
        11,
        "",
        rows.collect(),
    )
    .await
}

/// What may be fetched now: of each user the oldest, as (user, dataset).
pub async fn oldest(q: &mut impl Query, now: i64) -> Result<Vec<(i64, i64)>, StoreError> {
    q.all(
        "SELECT user_id, MIN(dataset_id) FROM dataset_fetch WHERE next_time <= $1 GROUP BY user_id ORDER BY 2",
        args![now],
    )
    .await?
    .iter()
    .map(|row| Ok((row.get(0)?, row.get(1)?)))
    .collect()
}

/// When something has to be looked at again that may not be fetched yet.
pub async fn next_time(q: &mut impl Query) -> Result<Option<i64>, StoreError> {
    let row = q
        .maybe("SELECT MIN(next_time) FROM dataset_fetch", args![])
        .await?;
    row.map(|row| row.get(0)).transpose().map(Option::flatten)
}

/// Takes a dataset to fetch it, until an instant. None if somebody else has it, or it is done.
pub async fn claim(
    store: &Store,
    dataset_id: i64,
    handler: &str,
    now: i64,
    until: i64,
) -> Result<Option<Fetch>, StoreError> {
    repeated(|| claim_once(store, dataset_id, handler, now, until)).await
}

async fn claim_once(
    store: &Store,
    dataset_id: i64,
    handler: &str,
    now: i64,
    until: i64,
) -> Result<Option<Fetch>, StoreError> {
    let mut tx = store.begin().await?;
    let row = tx
        .maybe(
            "UPDATE dataset_fetch SET claimed_by = $1, next_time = $2 WHERE dataset_id = $3 AND next_time <= $4
             RETURNING dataset_id, hda_id, job_id, user_id, url, extension, dbkey, to_posix_lines, space_to_tab, hashes, attempts",
            args![handler, until, dataset_id, now],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    let fetch = Fetch {
        dataset_id: row.get(0)?,
        hda_id: row.get(1)?,
        job_id: row.get(2)?,
        user_id: row.get(3)?,
        url: row.get(4)?,
        extension: row.get(5)?,
        dbkey: row.get(6)?,
        to_posix_lines: row.get(7)?,
        space_to_tab: row.get(8)?,
        hashes: row.json(9)?,
        attempts: row.get(10)?,
    };
    let started = tx
        .run(
            "UPDATE job SET state = 'running', start_time = $1, update_time = $1 WHERE id = $2 AND state = 'queued'",
            args![now, fetch.job_id],
        )
        .await?;
    if started > 0 {
        let history = vec![args![fetch.job_id, "running", None::<String>, now]];
        insert_state_history(&mut tx, history).await?;
    }
    // After the job, as everywhere.
    set_dataset_states(&mut tx, &[dataset_id], DatasetState::Running.code(), now).await?;
    tx.commit(Durability::Progress, "fetch.claim").await?;
    Ok(Some(fetch))
}

/// Keeps datasets for longer. Answers those that are still there to be fetched by this handler.
pub async fn renew(
    store: &Store,
    datasets: &[i64],
    handler: &str,
    until: i64,
) -> Result<Vec<i64>, StoreError> {
    let mut kept = Vec::new();
    let mut tx = store.begin().await?;
    for block in blocks(datasets) {
        let sql = format!(
            "UPDATE dataset_fetch SET next_time = $1 WHERE claimed_by = $2 AND dataset_id IN ({}) RETURNING dataset_id",
            placeholders(3, block.len())
        );
        let mut arguments = args![until, handler];
        arguments.extend(super::known::ids(block));
        for row in tx.all(sql, arguments).await? {
            kept.push(row.get(0)?);
        }
    }
    tx.commit(Durability::Progress, "fetch.renew").await?;
    Ok(kept)
}

/// What a handler had taken when it ended is there for everybody again.
pub async fn forget_claims(store: &Store, handler: &str) -> Result<u64, StoreError> {
    let mut tx = store.begin().await?;
    let count = tx
        .run(
            "UPDATE dataset_fetch SET claimed_by = NULL, next_time = 0 WHERE claimed_by = $1",
            args![handler],
        )
        .await?;
    tx.commit(Durability::Progress, "fetch.forget").await?;
    Ok(count)
}

/// Leaves a dataset that was not fetched for later; `tries` is what is added to its count of failures.
pub async fn put_off(
    store: &Store,
    dataset_id: i64,
    handler: &str,
    tries: i64,
    next_time: i64,
    now: i64,
) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    let touched = tx
        .run(
            "UPDATE dataset_fetch SET claimed_by = NULL, next_time = $1, attempts = attempts + $4
             WHERE dataset_id = $2 AND claimed_by = $3",
            args![next_time, dataset_id, handler, tries],
        )
        .await?;
    if touched > 0 {
        set_dataset_states(&mut tx, &[dataset_id], DatasetState::Queued.code(), now).await?;
    }
    tx.commit(Durability::Progress, "fetch.put_off").await
}

/// Of these datasets and of all that nobody has taken, those that nobody wants any more: purged, or their upload
/// cancelled.
pub async fn unwanted(q: &mut impl Query) -> Result<Vec<i64>, StoreError> {
    q.all(
        "SELECT f.dataset_id FROM dataset_fetch f JOIN job j ON j.id = f.job_id JOIN dataset d ON d.id = f.dataset_id
         WHERE d.purged OR j.state IN ('deleting', 'deleted', 'stop', 'stopped')",
        args![],
    )
    .await?
    .iter()
    .map(|row| row.get(0))
    .collect()
}

/// What came of a fetch.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// The file is in its place.
    Fetched(FileFacts),
    /// Why it never will be, in a sentence.
    Failed(String),
    /// Nobody wants it any more.
    Unwanted,
}

/// What storing that led to.
#[derive(Debug, Default)]
pub struct Ended {
    pub settled: Settled,
    /// The file counts; otherwise it is nobody's.
    pub keeps_file: bool,
}

/// Stores the outcome, releases or pauses whoever waits for the dataset, and ends the upload's job with its last one.
/// Nothing happens if the dataset was settled already, or (unless it is unwanted) another handler has it now.
pub async fn settle(
    store: &Store,
    dataset_id: i64,
    handler: &str,
    outcome: Outcome,
    now: i64,
) -> Result<Option<Ended>, StoreError> {
    repeated(|| settle_once(store, dataset_id, handler, outcome.clone(), now)).await
}

async fn settle_once(
    store: &Store,
    dataset_id: i64,
    handler: &str,
    outcome: Outcome,
    now: i64,
) -> Result<Option<Ended>, StoreError> {
    let mut tx = store.begin().await?;
    let taken = match outcome {
        Outcome::Unwanted => {
            "DELETE FROM dataset_fetch WHERE dataset_id = $1 AND (claimed_by IS NULL OR claimed_by = $2)"
        }
        _ => "DELETE FROM dataset_fetch WHERE dataset_id = $1 AND claimed_by = $2",
    };
    let row = tx
        .maybe(
            format!("{taken} RETURNING job_id"),
            args![dataset_id, handler],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    let job_id: i64 = row.get(0)?;
    // The row of the job is what those who settle its datasets wait for each other at.
    let row = tx
        .maybe(
            "UPDATE job SET update_time = $1 WHERE id = $2 RETURNING state, COALESCE(history_id, 0)",
            args![now, job_id],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    let (job_state, history_id) = (super::progress::job_state(row.get(0)?)?, row.get::<i64>(1)?);
    // Whoever makes a job that reads the dataset judges it under the same lock.
    tx.lock("dataset", &[dataset_id]).await?;
    let is_stopped = !matches!(job_state, JobState::Queued | JobState::Running);
    let purged = tx
        .maybe(
            "SELECT purged FROM dataset WHERE id = $1",
            args![dataset_id],
        )
        .await?
        .map(|row| row.get::<bool>(0))
        .transpose()?
        .unwrap_or(true);
    let outcome = match is_stopped || purged {
        true => Outcome::Unwanted,
        false => outcome,
    };
    let mut batch = Batch::default();
    let mut ended = Ended::default();
    match outcome {
        Outcome::Fetched(file) => {
            fetched(&mut tx, dataset_id, file, now).await?;
            batch.usable.push(dataset_id);
            ended.keeps_file = true;
        }
        Outcome::Failed(sentence) => {
            failed(&mut tx, dataset_id, job_id, &sentence, now).await?;
            batch.failed.push(dataset_id);
        }
        Outcome::Unwanted => {
            const INFO: &str = "Fetching was stopped before it was complete.";
            set_dataset_states(&mut tx, &[dataset_id], DatasetState::Discarded.code(), now).await?;
            tell(&mut tx, dataset_id, INFO, now).await?;
            batch.failed.push(dataset_id);
        }
    }
    end_job(&mut tx, job_id, is_stopped, now).await?;
    pause_dependants(&mut tx, &mut batch, now).await?;
    ended.settled.ready = release_dependants(&mut tx, &batch.usable, now).await?;
    ended.settled.invocations = signal_invocations(&mut tx, &batch).await?;
    tx.run(
        "UPDATE history SET update_time = $1 WHERE id = $2",
        args![now, history_id],
    )
    .await?;
    tx.commit(Durability::Progress, "fetch.settle").await?;
    Ok(Some(ended))
}

/// What the file says holds for every place that the dataset has in histories: it may have been copied meanwhile.
async fn fetched(
    tx: &mut Tx,
    dataset_id: i64,
    file: FileFacts,
    now: i64,
) -> Result<(), StoreError> {
    tx.run(
        "UPDATE dataset SET state = 'ok', file_size = $1, total_size = $1, update_time = $2 WHERE id = $3",
        args![file.size, now, dataset_id],
    )
    .await?;
    tx.run(
        "UPDATE history_dataset_association SET extension = $1, peek = $2, blurb = $3, metadata = $4, info = $5,
                version = version + 1, update_time = $6 WHERE dataset_id = $7",
        args![
            file.extension.as_str(),
            file.peek.as_deref(),
            file.blurb.as_deref(),
            &file.metadata,
            format!("uploaded {} file", file.extension),
            now,
            dataset_id
        ],
    )
    .await
    .map(drop)
}

async fn failed(
    tx: &mut Tx,
    dataset_id: i64,
    job_id: i64,
    sentence: &str,
    now: i64,
) -> Result<(), StoreError> {
    set_dataset_states(tx, &[dataset_id], DatasetState::Error.code(), now).await?;
    tell(tx, dataset_id, sentence, now).await?;
    // The first says why; of thousands nobody reads more.
    tx.run(
        "UPDATE job SET info = COALESCE(info, $1) WHERE id = $2",
        args![sentence, job_id],
    )
    .await
    .map(drop)
}

async fn tell(tx: &mut Tx, dataset_id: i64, info: &str, now: i64) -> Result<(), StoreError> {
    tx.run(
        "UPDATE history_dataset_association SET info = $1, update_time = $2 WHERE dataset_id = $3",
        args![info, now, dataset_id],
    )
    .await
    .map(drop)
}

/// Ends the upload's job if that was the last of its datasets.
async fn end_job(tx: &mut Tx, job_id: i64, is_stopped: bool, now: i64) -> Result<(), StoreError> {
    let remains = tx
        .maybe(
            "SELECT 1 FROM dataset_fetch WHERE job_id = $1 LIMIT 1",
            args![job_id],
        )
        .await?;
    if remains.is_some() {
        return Ok(());
    }
    let failed = tx
        .maybe(
            "SELECT 1 FROM job WHERE id = $1 AND info IS NOT NULL",
            args![job_id],
        )
        .await?
        .is_some();
    let (state, exit_code) = match (is_stopped, failed) {
        (true, _) => (JobState::Deleted, None),
        (false, true) => (JobState::Error, Some(1)),
        (false, false) => (JobState::Ok, Some(0)),
    };
    tx.run(
        "UPDATE job SET state = $1, exit_code = $2, tool_stderr = COALESCE(info, ''), end_time = $3, update_time = $3
         WHERE id = $4",
        args![state.code(), exit_code, now, job_id],
    )
    .await?;
    insert_state_history(tx, vec![args![job_id, state.code(), None::<String>, now]]).await
}
