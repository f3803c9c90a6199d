//! What is kept beside an invocation that came through WES, written in the transaction of the invocation.

use serde_json::{Map, Value};

use crate::args;
use crate::store::db::{Query, StoreError, Tx};

/// A submission, as it is to be kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    pub user_id: i64,
    /// The request as it is echoed.
    pub request: Value,
    /// Name to text.
    pub tags: Map<String, Value>,
    /// The client's key for "this is the same request", with the hash of the request.
    pub idempotency: Option<(String, String)>,
}

/// The run that a key stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub invocation_id: i64,
    pub request_hash: Option<String>,
}

/// Keeps a record. The database refuses a key that the user has used before.
pub async fn insert(tx: &mut Tx, invocation_id: i64, record: &Record) -> Result<(), StoreError> {
    let (key, hash) = record.idempotency.clone().unzip();
    let tags = Value::Object(record.tags.clone());
    tx.run(
        "INSERT INTO wes_run (workflow_invocation_id, user_id, request, tags, idempotency_key, request_hash)
         VALUES ($1, $2, $3, $4, $5, $6)",
        args![invocation_id, record.user_id, &record.request, &tags, key, hash],
    )
    .await?;
    let rows = record.tags.iter().map(|(name, value)| {
        let value = value.as_str().unwrap_or_default();
        args![record.user_id, name, value, invocation_id]
    });
    tx.insert_many(
        "INSERT INTO wes_run_tag (user_id, name, value, workflow_invocation_id) VALUES",
        4,
        "",
        rows.collect(),
    )
    .await
}

/// What a user's key stands for, if they used it before.
pub async fn by_key(
    q: &mut impl Query,
    user_id: i64,
    key: &str,
) -> Result<Option<Kept>, StoreError> {
    let row = q
        .maybe(
            "SELECT workflow_invocation_id, request_hash FROM wes_run WHERE user_id = $1 AND idempotency_key = $2",
            args![user_id, key],
        )
        .await?;
    row.map(|row| {
        Ok(Kept {
            invocation_id: row.get("workflow_invocation_id")?,
            request_hash: row.get("request_hash")?,
        })
    })
    .transpose()
}
