//! What an upload leaves behind: a job that is over, with what it made.

use serde_json::Value;

use super::db::{StoreError, Tx};
use super::ids::Ids;
use crate::args;

/// An upload. Its datasets are in the same transaction.
#[derive(Debug, Clone)]
pub struct Upload {
    pub user_id: i64,
    pub history_id: i64,
    pub tool_id: &'static str,
    pub tool_version: &'static str,
    pub galaxy_version: &'static str,
    pub parameters: Vec<(String, Value)>,
    /// (name, HDA).
    pub datasets: Vec<(String, i64)>,
    /// (name, HDCA, collection).
    pub collections: Vec<(String, i64, i64)>,
    pub begun_ms: i64,
    /// None: something of it is still to be fetched.
    pub ended_ms: Option<i64>,
}

impl Upload {
    /// Where its job stands.
    pub fn state(&self) -> &'static str {
        match self.ended_ms {
            Some(_) => "ok",
            None => "queued",
        }
    }
}

/// Adds the job and gives its id.
pub async fn record(tx: &mut Tx, ids: &Ids, upload: &Upload) -> Result<i64, StoreError> {
    let id = ids.job();
    tx.run(
        "INSERT INTO job (id, uuid, user_id, history_id, tool_id, tool_version, galaxy_version, state, exit_code, \
         tool_stdout, tool_stderr, start_time, end_time, create_time, update_time) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, '', '', $10, $11, $12, $13)",
        args![
            id,
            uuid::Uuid::new_v4(),
            upload.user_id,
            upload.history_id,
            upload.tool_id,
            upload.tool_version,
            upload.galaxy_version,
            upload.state(),
            upload.ended_ms.map(|_| 0i64),
            upload.ended_ms.map(|_| upload.begun_ms),
            upload.ended_ms,
            upload.begun_ms,
            upload.ended_ms.unwrap_or(upload.begun_ms)
        ],
    )
    .await?;
    let states = match upload.ended_ms {
        Some(ended_ms) => vec![("running", upload.begun_ms), ("ok", ended_ms)],
        None => vec![("queued", upload.begun_ms)],
    };
    tx.insert_many(
        "INSERT INTO job_state_history (job_id, state, create_time) VALUES",
        3,
        "",
        states
            .into_iter()
            .map(|(state, at)| args![id, state, at])
            .collect(),
    )
    .await?;
    tx.insert_many(
        "INSERT INTO job_parameter (job_id, name, value) VALUES",
        3,
        "",
        upload
            .parameters
            .iter()
            .map(|(name, value)| args![id, name, value])
            .collect(),
    )
    .await?;
    tx.insert_many(
        "INSERT INTO job_to_output_dataset (job_id, hda_id, name) VALUES",
        3,
        "",
        upload
            .datasets
            .iter()
            .map(|(name, hda)| args![id, *hda, name])
            .collect(),
    )
    .await?;
    tx.insert_many(
        "INSERT INTO job_to_output_dataset_collection (job_id, hdca_id, collection_id, name) VALUES",
        4,
        "",
        upload
            .collections
            .iter()
            .map(|(name, hdca, collection)| args![id, *hdca, *collection, name])
            .collect(),
    )
    .await?;
    Ok(id)
}
