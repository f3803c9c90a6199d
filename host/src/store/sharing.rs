//! Who may read what besides its owner: roles, permissions of datasets, histories shared with users.

use crate::args;
use crate::store::db::{Query, Row, StoreError, Tx};

/// A group of users by name.
#[derive(Debug, Clone, PartialEq)]
pub struct Role {
    pub id: i64,
    pub name: String,
    pub description: String,
    pub kind: String,
}

fn role(row: &Row) -> Result<Role, StoreError> {
    Ok(Role {
        id: row.get("id")?,
        name: row.get("name")?,
        description: row.get("description")?,
        kind: row.get("type")?,
    })
}

/// Makes a role with its users. A constraint error means that the name is taken.
pub async fn create_role(
    tx: &mut Tx,
    name: &str,
    description: &str,
    maker: Option<i64>,
    user_ids: &[i64],
    now_ms: i64,
) -> Result<i64, StoreError> {
    let row = tx
        .maybe(
            "INSERT INTO role (name, description, type, user_id, create_time, update_time)
             VALUES ($1, $2, 'admin', $3, $4, $4) RETURNING id",
            args![name, description, maker, now_ms],
        )
        .await?;
    let id: i64 = row.map(|row| row.get(0)).transpose()?.unwrap_or_default();
    let rows = user_ids.iter().map(|user| args![*user, id]).collect();
    tx.insert_many(
        "INSERT INTO user_role_association (user_id, role_id) VALUES",
        2,
        "ON CONFLICT DO NOTHING",
        rows,
    )
    .await?;
    Ok(id)
}

pub async fn role_by_id(q: &mut impl Query, id: i64) -> Result<Option<Role>, StoreError> {
    let sql = "SELECT id, name, description, type FROM role WHERE id = $1 AND NOT deleted";
    let row = q.maybe(sql, args![id]).await?;
    row.as_ref().map(role).transpose()
}

/// All roles, or those of one user.
pub async fn roles(q: &mut impl Query, user_id: Option<i64>) -> Result<Vec<Role>, StoreError> {
    let rows = match user_id {
        None => {
            let sql = "SELECT id, name, description, type FROM role WHERE NOT deleted ORDER BY id";
            q.all(sql, args![]).await?
        }
        Some(user) => {
            let sql = "SELECT r.id, r.name, r.description, r.type FROM user_role_association a
                 JOIN role r ON r.id = a.role_id WHERE a.user_id = $1 AND NOT r.deleted ORDER BY r.id";
            q.all(sql, args![user]).await?
        }
    };
    rows.iter().map(role).collect()
}

/// The roles that a dataset names for an action (`access`, `manage`).
pub async fn dataset_roles(
    q: &mut impl Query,
    dataset_id: i64,
    action: &str,
) -> Result<Vec<Role>, StoreError> {
    let sql = "SELECT r.id, r.name, r.description, r.type FROM dataset_permissions p
         JOIN role r ON r.id = p.role_id WHERE p.dataset_id = $1 AND p.action = $2 ORDER BY r.id";
    let rows = q.all(sql, args![dataset_id, action]).await?;
    rows.iter().map(role).collect()
}

/// Whether a user has one of the roles that a dataset names for reading.
pub async fn may_access(
    q: &mut impl Query,
    dataset_id: i64,
    user_id: i64,
) -> Result<bool, StoreError> {
    let sql = "SELECT 1 AS one FROM dataset_permissions p JOIN user_role_association a ON a.role_id = p.role_id
         WHERE p.dataset_id = $1 AND p.action = 'access' AND a.user_id = $2 LIMIT 1";
    Ok(q.maybe(sql, args![dataset_id, user_id]).await?.is_some())
}

/// Says who may read a dataset: a word of the column `access`, and the roles by action.
pub async fn set_permissions(
    tx: &mut Tx,
    dataset_id: i64,
    access: Option<&str>,
    roles: &[(&'static str, Vec<i64>)],
) -> Result<(), StoreError> {
    tx.run(
        "UPDATE dataset SET access = $2 WHERE id = $1",
        args![dataset_id, access],
    )
    .await?;
    tx.run(
        "DELETE FROM dataset_permissions WHERE dataset_id = $1",
        args![dataset_id],
    )
    .await?;
    let rows = roles
        .iter()
        .flat_map(|(action, ids)| ids.iter().map(|id| args![dataset_id, *action, *id]))
        .collect();
    tx.insert_many(
        "INSERT INTO dataset_permissions (dataset_id, action, role_id) VALUES",
        3,
        "ON CONFLICT DO NOTHING",
        rows,
    )
    .await
}

/// Whom a history is shared with: (user id, e-mail), by id.
pub async fn history_users(
    q: &mut impl Query,
    history_id: i64,
) -> Result<Vec<(i64, String)>, StoreError> {
    let rows = q
        .all(
            "SELECT u.id, u.email FROM history_user_share_association s JOIN galaxy_user u ON u.id = s.user_id
             WHERE s.history_id = $1 ORDER BY u.id",
            args![history_id],
        )
        .await?;
    rows.iter()
        .map(|row| Ok((row.get("id")?, row.get("email")?)))
        .collect()
}

/// Whether a history is shared with a user.
pub async fn is_history_shared_with(
    q: &mut impl Query,
    history_id: i64,
    user_id: i64,
) -> Result<bool, StoreError> {
    let sql = "SELECT 1 AS one FROM history_user_share_association WHERE history_id = $1 AND user_id = $2";
    Ok(q.maybe(sql, args![history_id, user_id]).await?.is_some())
}

/// Shares a history with exactly these users.
pub async fn share_history(
    tx: &mut Tx,
    history_id: i64,
    user_ids: &[i64],
) -> Result<(), StoreError> {
    // Of two who say it at the same time one is the last.
    tx.lock("history", &[history_id]).await?;
    tx.run(
        "DELETE FROM history_user_share_association WHERE history_id = $1",
        args![history_id],
    )
    .await?;
    let rows = user_ids
        .iter()
        .map(|user| args![history_id, *user])
        .collect();
    tx.insert_many(
        "INSERT INTO history_user_share_association (history_id, user_id) VALUES",
        2,
        "ON CONFLICT DO NOTHING",
        rows,
    )
    .await
}
