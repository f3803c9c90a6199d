//! New objects that need no number in a history: they are inserted while others may still make something there.

use std::collections::HashMap;

use super::Owner;
use crate::args;
use crate::invoker::writes::Writes;
use crate::model::state::JobState;
use crate::store::db::{StoreError, Tx, Val};
use crate::store::scheduling::equivalents;
use crate::store::scheduling::readiness::{InputState, Start};

pub(super) async fn insert_groups(tx: &mut Tx, writes: &Writes) -> Result<(), StoreError> {
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

pub(super) async fn insert_datasets(
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

pub(super) async fn insert_collections(
    tx: &mut Tx,
    writes: &Writes,
    now: i64,
) -> Result<(), StoreError> {
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

pub(super) async fn insert_jobs(
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
