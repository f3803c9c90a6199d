//! Files that are made on request and kept for a while.

use serde_json::Value;
use uuid::Uuid;

use crate::args;
use crate::store::db::{Query, Row, StoreError, Tx};

/// A file, or the wish for one.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    pub id: i64,
    pub uuid: Uuid,
    pub user_id: i64,
    /// `invocation` or `history`.
    pub kind: String,
    pub item_id: i64,
    pub request: Value,
    /// `new`, `ok` or `error`.
    pub state: String,
    pub message: Option<String>,
    pub file_name: String,
    pub media_type: String,
    pub create_time: i64,
}

const SELECT: &str = "SELECT id, uuid, user_id, kind, item_id, request, state, message, file_name, media_type, create_time
     FROM short_term_storage";

fn stored(row: &Row) -> Result<Stored, StoreError> {
    let uuid: String = row.get("uuid")?;
    Ok(Stored {
        id: row.get("id")?,
        uuid: Uuid::parse_str(&uuid).unwrap_or_default(),
        user_id: row.get("user_id")?,
        kind: row.get("kind")?,
        item_id: row.get("item_id")?,
        request: row.json("request")?,
        state: row.get("state")?,
        message: row.get("message")?,
        file_name: row.get("file_name")?,
        media_type: row.get("media_type")?,
        create_time: row.get("create_time")?,
    })
}

pub async fn by_uuid(q: &mut impl Query, uuid: Uuid) -> Result<Option<Stored>, StoreError> {
    let row = q
        .maybe(format!("{SELECT} WHERE uuid = $1"), args![uuid])
        .await?;
    row.as_ref().map(stored).transpose()
}

pub async fn by_id(q: &mut impl Query, id: i64) -> Result<Option<Stored>, StoreError> {
    let row = q
        .maybe(format!("{SELECT} WHERE id = $1"), args![id])
        .await?;
    row.as_ref().map(stored).transpose()
}

/// What a user wanted of one thing, newest first.
pub async fn of_item(
    q: &mut impl Query,
    kind: &str,
    item_id: i64,
    user_id: i64,
) -> Result<Vec<Stored>, StoreError> {
    let sql = format!(
        "{SELECT} WHERE kind = $1 AND item_id = $2 AND user_id = $3 ORDER BY id DESC LIMIT 100"
    );
    let rows = q.all(sql, args![kind, item_id, user_id]).await?;
    rows.iter().map(stored).collect()
}

/// What nobody has ended yet, the oldest first; a bounded number.
pub async fn waiting(q: &mut impl Query) -> Result<Vec<Stored>, StoreError> {
    let sql = format!("{SELECT} WHERE state = 'new' ORDER BY id LIMIT 1000");
    let rows = q.all(sql, args![]).await?;
    rows.iter().map(stored).collect()
}

/// What is wanted.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    pub user_id: i64,
    pub kind: &'a str,
    pub item_id: i64,
    pub request: &'a Value,
    pub file_name: &'a str,
    pub media_type: &'a str,
}

/// Notes the wish; gives its id and uuid.
pub async fn add(tx: &mut Tx, wanted: &Wanted<'_>, now_ms: i64) -> Result<(i64, Uuid), StoreError> {
    let uuid = Uuid::new_v4();
    let row = tx
        .maybe(
            "INSERT INTO short_term_storage (uuid, user_id, kind, item_id, request, state, file_name, media_type,
                 create_time, update_time) VALUES ($1, $2, $3, $4, $5, 'new', $6, $7, $8, $8) RETURNING id",
            args![
                uuid,
                wanted.user_id,
                wanted.kind,
                wanted.item_id,
                wanted.request,
                wanted.file_name,
                wanted.media_type,
                now_ms
            ],
        )
        .await?;
    let id: i64 = row.map(|row| row.get(0)).transpose()?.unwrap_or_default();
    Ok((id, uuid))
}

/// Notes how the making ended, once.
pub async fn end(
    tx: &mut Tx,
    id: i64,
    state: &str,
    message: Option<&str>,
    now_ms: i64,
) -> Result<(), StoreError> {
    tx.run(
        "UPDATE short_term_storage SET state = $2, message = $3, update_time = $4 WHERE id = $1 AND state = 'new'",
        args![id, state, message, now_ms],
    )
    .await
    .map(drop)
}

/// Forgets what is older than an instant, and a user's beyond the newest `keep`; gives their uuids.
pub async fn forget(
    tx: &mut Tx,
    user_id: i64,
    before_ms: i64,
    keep: i64,
) -> Result<Vec<Uuid>, StoreError> {
    let rows = tx
        .all(
            "DELETE FROM short_term_storage WHERE create_time < $1 OR id IN (SELECT id FROM short_term_storage
                 WHERE user_id = $2 ORDER BY id DESC LIMIT 1000 OFFSET $3) RETURNING uuid",
            args![before_ms, user_id, keep],
        )
        .await?;
    rows.iter()
        .map(|row| {
            let text: String = row.get(0)?;
            Ok(Uuid::parse_str(&text).unwrap_or_default())
        })
        .collect()
}
