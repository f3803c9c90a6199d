//! Users and their keys.

use std::collections::HashMap;

use super::db::{Query, Row, StoreError, Tx, Val, blocks, containing, like, placeholders};
use crate::args;

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub id: i64,
    pub username: String,
    pub email: String,
    pub is_admin: bool,
    pub deleted: bool,
    pub purged: bool,
    pub has_password: bool,
    pub create_time: i64,
    pub update_time: i64,
}

const COLUMNS: &str = "u.id, u.username, u.email, u.is_admin, u.deleted, u.purged, \
     u.password_hash IS NOT NULL AS has_password, u.create_time, u.update_time";

fn user(row: &Row) -> Result<User, StoreError> {
    Ok(User {
        id: row.get("id")?,
        username: row.get("username")?,
        email: row.get("email")?,
        is_admin: row.get("is_admin")?,
        deleted: row.get("deleted")?,
        purged: row.get("purged")?,
        has_password: row.get("has_password")?,
        create_time: row.get("create_time")?,
        update_time: row.get("update_time")?,
    })
}

/// The user with an id.
pub async fn by_id(query: &mut impl Query, id: i64) -> Result<Option<User>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM galaxy_user u WHERE u.id = $1");
    query
        .maybe(sql, args![id])
        .await?
        .as_ref()
        .map(user)
        .transpose()
}

/// Whose e-mail address or name this is, with the stored hash of the password.
pub async fn by_login(
    query: &mut impl Query,
    login: &str,
) -> Result<Option<(User, Option<String>)>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS}, u.password_hash FROM galaxy_user u \
         WHERE (u.email = $1 OR u.username = $1) AND NOT u.deleted ORDER BY u.email <> $1 LIMIT 1"
    );
    let Some(row) = query.maybe(sql, args![login]).await? else {
        return Ok(None);
    };
    Ok(Some((user(&row)?, row.get("password_hash")?)))
}

/// What a list of users is narrowed to.
#[derive(Debug, Clone, Default)]
pub struct UserFilter {
    pub id: Option<i64>,
    pub deleted: bool,
    /// Parts of the e-mail address, of the name, of either.
    pub email: Option<String>,
    pub name: Option<String>,
    pub any: Option<String>,
    pub limit: i64,
    pub offset: i64,
}

/// The users that match, oldest first.
pub async fn list(query: &mut impl Query, filter: &UserFilter) -> Result<Vec<User>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM galaxy_user u WHERE u.deleted = $1 AND ($2 IS NULL OR u.id = $2) \
         AND ($3 IS NULL OR {}) AND ($4 IS NULL OR {}) AND ($5 IS NULL OR {} OR {}) \
         ORDER BY u.id LIMIT $6 OFFSET $7",
        like("u.email", "$3"),
        like("u.username", "$4"),
        like("u.email", "$5"),
        like("u.username", "$5"),
    );
    let part = |text: &Option<String>| text.as_deref().map(containing);
    let args = args![
        filter.deleted,
        filter.id,
        part(&filter.email),
        part(&filter.name),
        part(&filter.any),
        filter.limit,
        filter.offset
    ];
    query.all(sql, args).await?.iter().map(user).collect()
}

/// Creates a user. A constraint error means that the name or the address is taken.
pub async fn create(
    tx: &mut Tx,
    username: &str,
    email: &str,
    password_hash: Option<&str>,
    is_admin: bool,
    now_ms: i64,
) -> Result<i64, StoreError> {
    let row = tx
        .maybe(
            "INSERT INTO galaxy_user (username, email, password_hash, is_admin, create_time, update_time) \
             VALUES ($1, $2, $3, $4, $5, $5) RETURNING id",
            args![username, email, password_hash, is_admin, now_ms],
        )
        .await?;
    row.map(|r| r.get(0))
        .transpose()
        .map(Option::unwrap_or_default)
}

/// Marks a user as deleted (or not), perhaps for good.
pub async fn set_deleted(
    tx: &mut Tx,
    id: i64,
    deleted: bool,
    purged: bool,
    now_ms: i64,
) -> Result<(), StoreError> {
    tx.run(
        "UPDATE galaxy_user SET deleted = $2, purged = purged OR $3, update_time = $4 WHERE id = $1",
        args![id, deleted, purged, now_ms],
    )
    .await
    .map(drop)
}

/// Changes name and e-mail address. A constraint error means that one is taken.
pub async fn rename(
    tx: &mut Tx,
    id: i64,
    username: &str,
    email: &str,
    now_ms: i64,
) -> Result<(), StoreError> {
    tx.run(
        "UPDATE galaxy_user SET username = $2, email = $3, update_time = $4 WHERE id = $1",
        args![id, username, email, now_ms],
    )
    .await
    .map(drop)
}

/// How a key stands that somebody showed us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyHolder {
    /// No such key, or it or its user was deleted.
    Nobody,
    /// A newer key was made since.
    Expired,
    User(User),
}

/// Whose key this is. Of the keys of kind `api` only a user's newest counts; those of kind `session` all do.
pub async fn by_key_hash(query: &mut impl Query, key_hash: &str) -> Result<KeyHolder, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS}, k.kind = 'api' AND EXISTS (SELECT 1 FROM api_keys n \
             WHERE n.user_id = k.user_id AND n.id > k.id AND n.kind = 'api' AND NOT n.deleted) AS is_expired \
         FROM api_keys k JOIN galaxy_user u ON u.id = k.user_id \
         WHERE k.key_hash = $1 AND NOT k.deleted AND NOT u.deleted"
    );
    let Some(row) = query.maybe(sql, args![key_hash]).await? else {
        return Ok(KeyHolder::Nobody);
    };
    if row.get::<bool>("is_expired")? {
        return Ok(KeyHolder::Expired);
    }
    Ok(KeyHolder::User(user(&row)?))
}

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// Asked for by name; replaces the one before.
    Api,
    /// From a login; lives beside the others.
    Session,
}

/// Stores the hash of a new key.
pub async fn add_key(
    tx: &mut Tx,
    user_id: i64,
    key_hash: &str,
    kind: KeyKind,
    now_ms: i64,
) -> Result<(), StoreError> {
    let kind = match kind {
        KeyKind::Api => "api",
        KeyKind::Session => "session",
    };
    tx.run(
        "INSERT INTO api_keys (user_id, key_hash, kind, create_time) VALUES ($1, $2, $3, $4)",
        args![user_id, key_hash, kind, now_ms],
    )
    .await
    .map(drop)
}

/// Invalidates all keys of a user, sessions included.
pub async fn delete_keys(tx: &mut Tx, user_id: i64) -> Result<(), StoreError> {
    tx.run(
        "UPDATE api_keys SET deleted = TRUE WHERE user_id = $1 AND NOT deleted",
        args![user_id],
    )
    .await
    .map(drop)
}

/// The hash of a user's valid key of kind `api`, and when it was made.
pub async fn api_key(
    query: &mut impl Query,
    user_id: i64,
) -> Result<Option<(String, i64)>, StoreError> {
    let row = query
        .maybe(
            "SELECT key_hash, create_time FROM api_keys WHERE user_id = $1 AND kind = 'api' AND NOT deleted \
             ORDER BY id DESC LIMIT 1",
            args![user_id],
        )
        .await?;
    row.map(|r| Ok((r.get(0)?, r.get(1)?))).transpose()
}

/// Bytes of the datasets in a user's histories, each counted once.
pub async fn disk_usage(query: &mut impl Query, user_id: i64) -> Result<i64, StoreError> {
    let row = query
        .maybe(
            "SELECT CAST(COALESCE(SUM(COALESCE(d.total_size, d.file_size, 0)), 0) AS BIGINT) FROM dataset d WHERE d.id IN \
             (SELECT a.dataset_id FROM history h JOIN history_dataset_association a ON a.history_id = h.id \
             WHERE h.user_id = $1 AND NOT a.purged)",
            args![user_id],
        )
        .await?;
    Ok(row.map(|r| r.get(0)).transpose()?.unwrap_or(0))
}
/// What a user is called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    pub username: String,
    pub email: String,
}

/// What these users are called.
pub async fn names(q: &mut impl Query, ids: &[i64]) -> Result<HashMap<i64, Names>, StoreError> {
    let mut found = HashMap::new();
    for block in blocks(ids) {
        let sql = format!(
            "SELECT id, username, email FROM galaxy_user WHERE id IN ({})",
            placeholders(1, block.len())
        );
        let arguments = block.iter().map(|id| Val::from(*id)).collect();
        for row in q.all(sql, arguments).await? {
            let names = Names {
                username: row.get::<Option<String>>(1)?.unwrap_or_default(),
                email: row.get::<Option<String>>(2)?.unwrap_or_default(),
            };
            found.insert(row.get(0)?, names);
        }
    }
    Ok(found)
}
