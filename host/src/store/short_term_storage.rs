//! Files that are made on request and kept for a while: taken by one server at a time, and ended once.

use serde_json::Value;
use uuid::Uuid;

use crate::args;
use crate::store::Store;
use crate::store::db::{Durability, Query, Row, StoreError, Tx};

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
    /// It is to be put somewhere, not fetched: its request has a `target_uri`.
    pub is_put: bool,
    /// Nobody else may begin to make it before this instant.
    pub next_time: i64,
}

macro_rules! columns {
    () => {
        "id, uuid, user_id, kind, item_id, request, state, message, file_name, media_type, create_time, is_put, next_time"
    };
}
const SELECT: &str = concat!("SELECT ", columns!(), " FROM short_term_storage");

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
        is_put: row.get("is_put")?,
        next_time: row.get("next_time")?,
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

/// What is to be put somewhere and may be begun now, beyond an id: the oldest, a bounded number.
pub async fn due_puts(
    q: &mut impl Query,
    now_ms: i64,
    beyond: i64,
    limit: i64,
) -> Result<Vec<Stored>, StoreError> {
    let sql = format!(
        "{SELECT} WHERE state = 'new' AND is_put AND next_time <= $1 AND id > $2 ORDER BY id LIMIT $3"
    );
    let rows = q.all(sql, args![now_ms, beyond, limit]).await?;
    rows.iter().map(stored).collect()
}

/// How many of a user's are not ended. Whoever adds to them asks after [`keep_to`].
pub async fn unfinished(q: &mut impl Query, user_id: i64) -> Result<i64, StoreError> {
    let sql = "SELECT COUNT(*) FROM short_term_storage WHERE user_id = $1 AND state = 'new'";
    let row = q.maybe(sql, args![user_id]).await?;
    row.map_or(Ok(0), |row| row.get(0))
}

/// Others who add for this user wait until this transaction ends.
pub async fn keep_to(tx: &mut Tx, user_id: i64) -> Result<(), StoreError> {
    tx.lock("galaxy_user", &[user_id]).await
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

impl Wanted<'_> {
    /// It is to be put somewhere, not fetched.
    pub fn is_put(&self) -> bool {
        self.request.get("target_uri").is_some_and(Value::is_string)
    }
}

/// Notes the wish; gives its id and uuid.
pub async fn add(tx: &mut Tx, wanted: &Wanted<'_>, now_ms: i64) -> Result<(i64, Uuid), StoreError> {
    let uuid = Uuid::new_v4();
    let row = tx
        .maybe(
            "INSERT INTO short_term_storage (uuid, user_id, kind, item_id, request, state, file_name, media_type,
                 create_time, update_time, is_put) VALUES ($1, $2, $3, $4, $5, 'new', $6, $7, $8, $8, $9) RETURNING id",
            args![
                uuid,
                wanted.user_id,
                wanted.kind,
                wanted.item_id,
                wanted.request,
                wanted.file_name,
                wanted.media_type,
                now_ms,
                wanted.is_put()
            ],
        )
        .await?;
    let id: i64 = row.map(|row| row.get(0)).transpose()?.unwrap_or_default();
    Ok((id, uuid))
}

/// Takes one until an instant, to make it. None if somebody else has it, or it is ended or gone.
pub async fn claim(
    store: &Store,
    id: i64,
    handler: &str,
    now_ms: i64,
    until: i64,
) -> Result<Option<Stored>, StoreError> {
    let mut tx = store.begin().await?;
    let row = tx
        .maybe(
            concat!(
                "UPDATE short_term_storage SET claimed_by = $1, next_time = $2
                 WHERE id = $3 AND state = 'new' AND next_time <= $4 RETURNING ",
                columns!()
            ),
            args![handler, until, id, now_ms],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    let claimed = stored(&row)?;
    tx.commit(Durability::Progress, "export.claim").await?;
    Ok(Some(claimed))
}

/// Keeps one for longer. False if it is another server's now.
pub async fn renew(store: &Store, id: i64, handler: &str, until: i64) -> Result<bool, StoreError> {
    let mut tx = store.begin().await?;
    let touched = tx
        .run(
            "UPDATE short_term_storage SET next_time = $1 WHERE id = $2 AND state = 'new' AND claimed_by = $3",
            args![until, id, handler],
        )
        .await?;
    tx.commit(Durability::Progress, "export.renew").await?;
    Ok(touched == 1)
}

/// What a handler had taken when it ended is there for everybody again.
pub async fn forget_claims(store: &Store, handler: &str) -> Result<u64, StoreError> {
    let mut tx = store.begin().await?;
    let count = tx
        .run(
            "UPDATE short_term_storage SET claimed_by = NULL, next_time = 0 WHERE claimed_by = $1 AND state = 'new'",
            args![handler],
        )
        .await?;
    tx.commit(Durability::Progress, "export.forget").await?;
    Ok(count)
}

/// Stores how the making ended, once. False if it is another server's now, or gone.
pub async fn end(
    store: &Store,
    id: i64,
    handler: &str,
    failure: Option<&str>,
    now_ms: i64,
) -> Result<bool, StoreError> {
    let state = if failure.is_some() { "error" } else { "ok" };
    let mut tx = store.begin().await?;
    let touched = tx
        .run(
            "UPDATE short_term_storage SET state = $1, message = $2, update_time = $3, claimed_by = NULL
             WHERE id = $4 AND state = 'new' AND claimed_by = $5",
            args![state, failure, now_ms, id, handler],
        )
        .await?;
    tx.commit(Durability::Acknowledged, "export.end").await?;
    Ok(touched == 1)
}

/// What is not kept any longer.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    pub user_id: i64,
    /// Which of the user's are counted: those that were put somewhere, or those to be fetched.
    pub is_put: bool,
    /// How many of the ended ones stay.
    pub keep: i64,
    pub now_ms: i64,
    /// Older ones go, whosever they are.
    pub before_ms: i64,
}

/// Forgets what is too old or beyond the newest; gives their uuids. What is to be made stays, but for an old wish that
/// nobody works on: for a file to be fetched that nobody has asked about again.
pub async fn forget(tx: &mut Tx, limit: &Limit) -> Result<Vec<Uuid>, StoreError> {
    let rows = tx
        .all(
            "DELETE FROM short_term_storage
             WHERE (create_time < $1 AND (state <> 'new' OR (NOT is_put AND next_time <= $2)))
                OR id IN (SELECT id FROM short_term_storage WHERE user_id = $3 AND is_put = $4 AND state <> 'new'
                          ORDER BY id DESC LIMIT 1000 OFFSET $5) RETURNING uuid",
            args![
                limit.before_ms,
                limit.now_ms,
                limit.user_id,
                limit.is_put,
                limit.keep
            ],
        )
        .await?;
    rows.iter()
        .map(|row| {
            let text: String = row.get(0)?;
            Ok(Uuid::parse_str(&text).unwrap_or_default())
        })
        .collect()
}

#[cfg(test)]
mod tests;
