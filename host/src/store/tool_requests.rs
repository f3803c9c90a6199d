//! Tools asked for by `POST /api/jobs`: what was asked, and what became of it.

use serde_json::Value;

use super::db::{Query, Row, StoreError, Tx};
use crate::args;

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Its jobs are there.
    Submitted,
    Failed,
}

impl State {
    pub fn code(self) -> &'static str {
        match self {
            State::Submitted => "submitted",
            State::Failed => "failed",
        }
    }
}

/// A request as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolRequest {
    pub id: i64,
    pub user_id: i64,
    pub history_id: i64,
    pub request: Value,
    pub state: String,
    /// Why it failed: an object.
    pub state_message: Option<Value>,
}

/// A request to be stored.
#[derive(Debug, Clone)]
pub struct NewToolRequest<'a> {
    pub user_id: i64,
    pub history_id: i64,
    pub request: &'a Value,
    pub state: State,
    pub state_message: Option<&'a Value>,
    pub jobs: &'a [i64],
    /// (output, HDCA).
    pub implicit_collections: &'a [(String, i64)],
}

/// Stores a request with what it made; answers its id.
pub async fn create(tx: &mut Tx, new: &NewToolRequest<'_>, now_ms: i64) -> Result<i64, StoreError> {
    let row = tx
        .maybe(
            "INSERT INTO tool_request (user_id, history_id, request, state, state_message, create_time)
             VALUES ($1, $2, $3, $4, $5, $6) RETURNING id",
            args![
                new.user_id,
                new.history_id,
                new.request,
                new.state.code(),
                new.state_message.map(Value::to_string),
                now_ms
            ],
        )
        .await?;
    let id: i64 = row.map(|row| row.get(0)).transpose()?.unwrap_or_default();
    tx.insert_many(
        "INSERT INTO tool_request_job (tool_request_id, job_id) VALUES",
        2,
        "",
        new.jobs.iter().map(|job| args![id, *job]).collect(),
    )
    .await?;
    let collections = new.implicit_collections.iter();
    tx.insert_many(
        "INSERT INTO tool_request_implicit_collection (tool_request_id, output_name, dataset_collection_id) VALUES",
        3,
        "ON CONFLICT DO NOTHING",
        collections.map(|(name, hdca)| args![id, name, *hdca]).collect(),
    )
    .await?;
    Ok(id)
}

fn of(row: &Row) -> Result<ToolRequest, StoreError> {
    let message: Option<String> = row.get("state_message")?;
    Ok(ToolRequest {
        id: row.get("id")?,
        user_id: row.get("user_id")?,
        history_id: row.get("history_id")?,
        request: row.json("request")?,
        state: row.get("state")?,
        state_message: message.and_then(|text| serde_json::from_str(&text).ok()),
    })
}

/// The request with this id.
pub async fn by_id(q: &mut impl Query, id: i64) -> Result<Option<ToolRequest>, StoreError> {
    let row = q
        .maybe("SELECT * FROM tool_request WHERE id = $1", args![id])
        .await?;
    row.map(|row| of(&row)).transpose()
}

/// Requests shown of a history.
const SHOWN: i64 = 1_000;

/// The requests of a history, newest first.
pub async fn of_history(
    q: &mut impl Query,
    history_id: i64,
) -> Result<Vec<ToolRequest>, StoreError> {
    let sql = "SELECT * FROM tool_request WHERE history_id = $1 ORDER BY id DESC LIMIT $2";
    let rows = q.all(sql, args![history_id, SHOWN]).await?;
    rows.iter().map(of).collect()
}

/// The jobs of a request, in the order in which they were made.
pub async fn jobs(q: &mut impl Query, id: i64) -> Result<Vec<i64>, StoreError> {
    let sql = "SELECT job_id FROM tool_request_job WHERE tool_request_id = $1 ORDER BY job_id";
    let rows = q.all(sql, args![id]).await?;
    rows.iter().map(|row| row.get(0)).collect()
}

/// The collections that gather the outputs of a request's jobs: output and HDCA.
pub async fn implicit_collections(
    q: &mut impl Query,
    id: i64,
) -> Result<Vec<(String, i64)>, StoreError> {
    let sql = "SELECT output_name, dataset_collection_id FROM tool_request_implicit_collection
         WHERE tool_request_id = $1 ORDER BY dataset_collection_id";
    let rows = q.all(sql, args![id]).await?;
    let pair = |row: &Row| Ok((row.get(0)?, row.get(1)?));
    rows.iter().map(pair).collect()
}
