//! A failed job that is run again in its own place (Galaxy's rerun_remap_job_id): the new job writes what the failed one
//! should have written, and whoever was paused because of it goes on. Nobody's ids and history numbers change.

use std::collections::HashMap;

use super::jobs::{ReadyJob, set_dataset_states};
use super::known::ids;
use super::objects::{Owner, insert_objects, reserve};
use super::orders::resume_in;
use crate::args;
use crate::invoker::writes::{NewJob, Writes};
use crate::store::db::{Query, StoreError, Tx, blocks, placeholders};

/// What became of the attempt.
#[derive(Debug)]
pub enum Remapped {
    /// New jobs that can start, those behind included; the outputs by name: datasets, then collections.
    Yes {
        ready: Vec<ReadyJob>,
        outputs: Vec<(String, i64)>,
        collections: Vec<(String, i64)>,
    },
    /// The job to take the place of has not failed, or not any more.
    NotFailed,
}

/// Puts the one job of `writes` in the place of the failed job. Nothing is to be committed if that one has not failed.
pub async fn remap(
    tx: &mut Tx,
    owner: &Owner,
    failed: i64,
    mut writes: Writes,
    now: i64,
) -> Result<Remapped, StoreError> {
    let row = tx
        .maybe(
            "UPDATE job SET update_time = $1 WHERE id = $2 AND state IN ('error', 'failed', 'deleted')
             RETURNING workflow_invocation_id, scheduler",
            args![now, failed],
        )
        .await?;
    let (Some(row), [job]) = (row, writes.jobs.as_mut_slice()) else {
        return Ok(Remapped::NotFailed);
    };
    let invocation_id: Option<i64> = row.get(0)?;
    let scheduler: Option<String> = row.get(1)?;
    job.invocation_id = invocation_id;
    let id = job.id;
    let old = Old::load(tx, failed).await?;
    let dropped = old.take_over(job);
    writes.hdas.retain(|hda| !dropped.hdas.contains(&hda.id));
    writes
        .hdcas
        .retain(|hdca| !dropped.hdcas.contains(&hdca.id));
    writes
        .collections
        .retain(|c| !dropped.collections.contains(&c.id));
    let outputs: Vec<(String, i64)> = writes.jobs[0].outputs.clone();
    let collections: Vec<(String, i64)> = writes.jobs[0]
        .output_collections
        .iter()
        .filter_map(|(name, hdca, _)| Some((name.clone(), (*hdca)?)))
        .collect();
    old.reset(tx, now).await?;
    let owner = Owner {
        scheduler,
        ..owner.clone()
    };
    let place = reserve(tx, &owner, &writes, now).await?;
    let mut ready = insert_objects(tx, &owner, &writes, place.as_ref(), now).await?;
    let started = tx
        .maybe("SELECT state FROM job WHERE id = $1", args![id])
        .await?;
    let state: String = started
        .map(|row| row.get(0))
        .transpose()?
        .unwrap_or_default();
    let datasets: Vec<i64> = old.outputs.iter().map(|o| o.dataset_id).collect();
    if matches!(state.as_str(), "paused" | "error") {
        let state = if state == "paused" { "paused" } else { "error" };
        set_dataset_states(tx, &datasets, state, now).await?;
    }
    take_places(tx, failed, id).await?;
    let hdas: Vec<i64> = old.outputs.iter().map(|o| o.hda_id).collect();
    let mut behind = Vec::new();
    for block in blocks(&hdas) {
        let sql = format!(
            "SELECT DISTINCT j.id FROM job_to_input_dataset i JOIN job j ON j.id = i.job_id
             WHERE j.state = 'paused' AND i.hda_id IN ({})",
            placeholders(1, block.len())
        );
        for row in tx.all(sql, ids(block)).await? {
            behind.push(row.get(0)?);
        }
    }
    for job in behind {
        ready.extend(resume_in(tx, job, now).await?);
    }
    if let Some(invocation_id) = invocation_id {
        super::invocations::signal(tx, invocation_id).await?;
    }
    Ok(Remapped::Yes {
        ready,
        outputs,
        collections,
    })
}

struct OldOutput {
    name: String,
    hda_id: i64,
    dataset_id: i64,
}

/// What a failed job should have written.
struct Old {
    outputs: Vec<OldOutput>,
    /// Name, hdca, collection.
    collections: Vec<(String, Option<i64>, i64)>,
}

/// New rows that are not needed, as the old ones stay.
#[derive(Default)]
struct Dropped {
    hdas: Vec<i64>,
    hdcas: Vec<i64>,
    collections: Vec<i64>,
}

impl Old {
    async fn load(tx: &mut Tx, job: i64) -> Result<Old, StoreError> {
        let rows = tx
            .all(
                "SELECT o.name, a.id, a.dataset_id FROM job_to_output_dataset o
                 JOIN history_dataset_association a ON a.id = o.hda_id WHERE o.job_id = $1 ORDER BY o.id",
                args![job],
            )
            .await?;
        let outputs = rows
            .iter()
            .map(|row| {
                Ok(OldOutput {
                    name: row.get(0)?,
                    hda_id: row.get(1)?,
                    dataset_id: row.get(2)?,
                })
            })
            .collect::<Result<_, StoreError>>()?;
        let rows = tx
            .all(
                "SELECT name, hdca_id, collection_id FROM job_to_output_dataset_collection WHERE job_id = $1 ORDER BY id",
                args![job],
            )
            .await?;
        let collections = rows
            .iter()
            .map(|row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .collect::<Result<_, StoreError>>()?;
        Ok(Old {
            outputs,
            collections,
        })
    }

    /// Lets the new job write the old rows.
    fn take_over(&self, job: &mut NewJob) -> Dropped {
        let mut dropped = Dropped::default();
        let by_name: HashMap<&str, i64> = self
            .outputs
            .iter()
            .map(|output| (output.name.as_str(), output.hda_id))
            .collect();
        for (name, hda) in &mut job.outputs {
            if let Some(old) = by_name.get(name.as_str()) {
                dropped.hdas.push(*hda);
                *hda = *old;
            }
        }
        for (name, hdca, collection) in &mut job.output_collections {
            if let Some((_, old_hdca, old)) = self.collections.iter().find(|(n, ..)| n == name) {
                dropped.hdcas.extend(*hdca);
                dropped.collections.push(*collection);
                (*hdca, *collection) = (*old_hdca, *old);
            }
        }
        dropped
    }

    /// Makes the old rows as good as new.
    async fn reset(&self, tx: &mut Tx, now: i64) -> Result<(), StoreError> {
        let datasets: Vec<i64> = self.outputs.iter().map(|o| o.dataset_id).collect();
        set_dataset_states(tx, &datasets, "new", now).await?;
        for output in &self.outputs {
            tx.run(
                "UPDATE history_dataset_association SET info = NULL, blurb = NULL, peek = NULL, deleted = FALSE, update_time = $1
                 WHERE id = $2",
                args![now, output.hda_id],
            )
            .await?;
        }
        for (_, _, collection) in &self.collections {
            tx.run(
                "UPDATE dataset_collection SET populated_state = 'new', populated_state_message = NULL, update_time = $1
                 WHERE id = $2 AND populated_state = 'failed'",
                args![now, *collection],
            )
            .await?;
        }
        Ok(())
    }
}

/// Whoever named the failed job as the one that belongs there names the new one now.
async fn take_places(tx: &mut Tx, failed: i64, new: i64) -> Result<(), StoreError> {
    for sql in [
        "UPDATE workflow_invocation_step SET job_id = $1 WHERE job_id = $2",
        "UPDATE implicit_collection_jobs_job_association SET job_id = $1 WHERE job_id = $2",
        "UPDATE history_dataset_collection_association SET job_id = $1 WHERE job_id = $2",
        "INSERT INTO post_job_action_association (job_id, post_job_action_id)
         SELECT CAST($1 AS BIGINT), post_job_action_id FROM post_job_action_association WHERE job_id = $2
         ON CONFLICT DO NOTHING",
        "UPDATE workflow_invocation_wait SET item_id = $1 WHERE kind = 'job' AND item_id = $2",
    ] {
        tx.run(sql, args![new, failed]).await?;
    }
    for table in ["job_to_output_dataset", "job_to_output_dataset_collection"] {
        tx.run(
            format!("DELETE FROM {table} WHERE job_id = $1"),
            args![failed],
        )
        .await?;
    }
    Ok(())
}
