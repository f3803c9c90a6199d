//! Whoever waits for jobs and datasets: released, paused, signalled.

use std::collections::BTreeSet;

use super::jobs::{ReadyJob, release, set_dataset_states};
use super::known::ids;
use super::objects::insert_state_history;
use super::readiness;
use crate::args;
use crate::store::db::{Query, StoreError, Tx, Val, blocks, placeholders};

#[derive(Default)]
pub(super) struct Batch {
    pub(super) jobs: Vec<i64>,
    pub(super) histories: BTreeSet<i64>,
    pub(super) invocations: BTreeSet<i64>,
    pub(super) history: Vec<Vec<Val>>,
    /// New values of jobs that ended, of their datasets, and of these datasets' places in a history.
    pub(super) ended: Vec<Vec<Val>>,
    pub(super) datasets: Vec<Vec<Val>>,
    pub(super) hdas: Vec<Vec<Val>>,
    /// Outputs of the jobs that ended.
    pub(super) outputs: Vec<i64>,
    /// Outputs that turned out to be other names: output, its dataset, what it is a name of.
    pub(super) copied: Vec<(i64, i64, i64)>,
    /// Datasets that can be read now.
    pub(super) usable: Vec<i64>,
    /// Datasets that never will, for the time being.
    pub(super) failed: Vec<i64>,
}

/// Pauses the jobs that wait for datasets which failed, and those that wait for these jobs' outputs.
pub(super) async fn pause_dependants(
    tx: &mut Tx,
    batch: &mut Batch,
    now: i64,
) -> Result<(), StoreError> {
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
        lock_with_outputs(tx, &jobs).await?;
        level = pause(tx, &jobs, readiness::paused_info(), now, batch).await?;
        batch.failed.extend(&level);
    }
    Ok(())
}

/// Pauses jobs that have not started; the datasets that are paused with them.
pub(super) async fn pause(
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
        let mut paused = Vec::new();
        for row in tx.all(sql, arguments).await? {
            let id: i64 = row.get(0)?;
            paused.push(id);
            batch.invocations.extend(row.get::<Option<i64>>(1)?);
            history.push(args![id, "paused", info, now]);
        }
        batch.jobs.extend(&paused);
        // What was started or stopped meanwhile keeps its outputs as they are.
        for block in blocks(&paused) {
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

/// Locks the jobs that wait for some datasets: whether one waits for anything else is decided by one transaction at a time.
async fn lock_waiting(tx: &mut Tx, datasets: &[i64]) -> Result<(), StoreError> {
    if !tx.has_rivals() {
        return Ok(());
    }
    let mut waiting: BTreeSet<i64> = BTreeSet::new();
    for block in blocks(datasets) {
        let sql = format!(
            "SELECT DISTINCT job_id FROM job_wait WHERE dataset_id IN ({})",
            placeholders(1, block.len())
        );
        for row in tx.all(sql, ids(block)).await? {
            waiting.insert(row.get(0)?);
        }
    }
    let waiting: Vec<i64> = waiting.into_iter().collect();
    tx.lock("job", &waiting).await
}

/// Locks jobs, then their output datasets.
pub(super) async fn lock_with_outputs(tx: &mut Tx, jobs: &[i64]) -> Result<(), StoreError> {
    if !tx.has_rivals() {
        return Ok(());
    }
    tx.lock("job", jobs).await?;
    let mut outputs = Vec::new();
    for block in blocks(jobs) {
        let sql = format!(
            "SELECT a.dataset_id FROM job_to_output_dataset o JOIN history_dataset_association a ON a.id = o.hda_id
             WHERE o.job_id IN ({})",
            placeholders(1, block.len())
        );
        for row in tx.all(sql, ids(block)).await? {
            outputs.push(row.get(0)?);
        }
    }
    tx.lock("dataset", &outputs).await
}

/// Takes usable datasets off everybody's list; the jobs whose list is empty now.
pub async fn release_dependants(
    tx: &mut Tx,
    usable: &[i64],
    now: i64,
) -> Result<Vec<ReadyJob>, StoreError> {
    lock_waiting(tx, usable).await?;
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
pub(super) async fn signal_invocations(tx: &mut Tx, batch: &Batch) -> Result<bool, StoreError> {
    let mut signalled = 0;
    let datasets: Vec<i64> = batch.usable.iter().chain(&batch.failed).copied().collect();
    lock_invocations(tx, batch, &datasets).await?;
    let waited_for = |kind: &str, from: usize, count: usize| {
        format!(
            "SELECT workflow_invocation_id FROM workflow_invocation_wait WHERE kind = '{kind}' AND item_id IN ({})",
            placeholders(from, count)
        )
    };
    let (mut datasets, mut jobs) = (blocks(&datasets), blocks(&batch.jobs));
    loop {
        let (some_datasets, some_jobs) = (datasets.next(), jobs.next());
        let items: Vec<i64> = [some_datasets, some_jobs]
            .into_iter()
            .flatten()
            .flatten()
            .copied()
            .collect();
        let before = some_datasets.map_or(0, <[i64]>::len);
        let of_datasets = some_datasets.map(|d| waited_for("dataset", 1, d.len()));
        let of_jobs = some_jobs.map(|j| waited_for("job", before + 1, j.len()));
        let found: Vec<String> = of_datasets.into_iter().chain(of_jobs).collect();
        if found.is_empty() {
            break;
        }
        let sql = format!(
            "UPDATE workflow_invocation SET signal_count = signal_count + 1 WHERE id IN ({})",
            found.join(" UNION ALL ")
        );
        signalled += tx.run(sql, ids(&items)).await?;
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

/// Locks the invocations that are to be signalled. Of the transactions that end an invocation's last jobs, the last one to
/// come here sees that no job is left.
async fn lock_invocations(tx: &mut Tx, batch: &Batch, datasets: &[i64]) -> Result<(), StoreError> {
    if !tx.has_rivals() {
        return Ok(());
    }
    let mut found = batch.invocations.clone();
    for (kind, items) in [("dataset", datasets), ("job", &batch.jobs)] {
        for block in blocks(items) {
            let sql = format!(
                "SELECT workflow_invocation_id FROM workflow_invocation_wait WHERE kind = '{kind}' AND item_id IN ({})",
                placeholders(1, block.len())
            );
            for row in tx.all(sql, ids(block)).await? {
                found.insert(row.get(0)?);
            }
        }
    }
    let found: Vec<i64> = found.into_iter().collect();
    tx.lock("workflow_invocation", &found).await
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
