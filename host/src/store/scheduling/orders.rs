//! What people order jobs to do: go on, or stop.

use super::dependants::{
    Batch, discard_outputs, lock_with_outputs, pause_dependants, signal_invocations,
};
use super::jobs::{ReadyJob, release, set_dataset_states};
use super::objects::{insert_state_history, lock_unfinished};
use crate::args;
use crate::store::Store;
use crate::store::db::{Durability, Query, StoreError, Tx, repeated};

/// Puts a paused job back, and those behind it that wait for nothing else that failed. Returns the job's id and
/// those that can start at once (Galaxy's Job.resume).
pub async fn resume(store: &Store, job_id: i64, now: i64) -> Result<Vec<ReadyJob>, StoreError> {
    repeated(|| resume_once(store, job_id, now)).await
}

async fn resume_once(store: &Store, job_id: i64, now: i64) -> Result<Vec<ReadyJob>, StoreError> {
    let mut tx = store.begin().await?;
    let ready = resume_in(&mut tx, job_id, now).await?;
    tx.commit(Durability::Acknowledged, "job.resume").await?;
    Ok(ready)
}

/// The same as part of something larger.
pub(super) async fn resume_in(
    tx: &mut Tx,
    job_id: i64,
    now: i64,
) -> Result<Vec<ReadyJob>, StoreError> {
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
        insert_state_history(tx, vec![args![id, "new", None::<String>, now]]).await?;
        if tx.has_rivals() {
            let inputs = tx
                .all(
                    "SELECT hda_id FROM job_to_input_dataset WHERE job_id = $1",
                    args![id],
                )
                .await?;
            let inputs: Vec<i64> = inputs
                .iter()
                .map(|row| row.get(0))
                .collect::<Result<_, _>>()?;
            lock_unfinished(tx, &inputs).await?;
        }
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
        set_dataset_states(tx, &datasets, "new", now).await?;
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
    pause_dependants(tx, &mut batch, now).await?;
    release(tx, &candidates, now).await
}

/// Asks for a job to be stopped. A job no runner has ends at once; true where a runner has to act.
pub async fn cancel_job(store: &Store, job_id: i64, now: i64) -> Result<bool, StoreError> {
    repeated(|| cancel_job_once(store, job_id, now)).await
}

async fn cancel_job_once(store: &Store, job_id: i64, now: i64) -> Result<bool, StoreError> {
    let mut tx = store.begin().await?;
    lock_with_outputs(&mut tx, &[job_id]).await?;
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
