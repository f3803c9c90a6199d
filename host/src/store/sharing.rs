//! Who may read what besides its owner: roles, permissions of datasets, histories shared with users.

use std::collections::HashSet;

use crate::args;
use crate::store::db::{Query, Row, StoreError, Tx, Val, blocks, placeholders};

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

/// Those of some datasets that a user may read although they are restricted: because they are the user's own, not just
/// copies, or because the user has one of the roles that they name.
pub async fn readable(
    q: &mut impl Query,
    user_id: i64,
    dataset_ids: &[i64],
) -> Result<HashSet<i64>, StoreError> {
    let mut found = HashSet::new();
    for block in blocks(dataset_ids) {
        let list = placeholders(2, block.len());
        let sql = format!(
            "SELECT a.dataset_id FROM history_dataset_association a JOIN history h ON h.id = a.history_id
              WHERE a.dataset_id IN ({list}) AND a.copied_from_history_dataset_association_id IS NULL AND h.user_id = $1
             UNION SELECT p.dataset_id FROM dataset_permissions p JOIN user_role_association r ON r.role_id = p.role_id
              WHERE p.dataset_id IN ({list}) AND p.action = 'access' AND r.user_id = $1"
        );
        let mut arguments = args![user_id];
        arguments.extend(block.iter().map(|id| Val::from(*id)));
        for row in q.all(sql, arguments).await? {
            found.insert(row.get(0)?);
        }
    }
    Ok(found)
}

/// Whether a user may say who may read a dataset: it is the user's own, not just a copy, or the user has a role that it
/// names for that.
pub async fn may_manage(
    q: &mut impl Query,
    dataset_id: i64,
    user_id: i64,
) -> Result<bool, StoreError> {
    let sql = "SELECT 1 AS one FROM history_dataset_association a JOIN history h ON h.id = a.history_id
          WHERE a.dataset_id = $1 AND a.copied_from_history_dataset_association_id IS NULL AND h.user_id = $2
         UNION SELECT 1 AS one FROM dataset_permissions p JOIN user_role_association r ON r.role_id = p.role_id
          WHERE p.dataset_id = $1 AND p.action = 'manage' AND r.user_id = $2";
    Ok(q.maybe(sql, args![dataset_id, user_id]).await?.is_some())
}

/// The restricted datasets in collections, at whatever depth.
pub async fn restricted_within(
    q: &mut impl Query,
    collection_ids: &[i64],
) -> Result<Vec<i64>, StoreError> {
    let mut found = Vec::new();
    for block in blocks(collection_ids) {
        let sql = format!(
            "WITH RECURSIVE tree (id) AS (SELECT k.id FROM dataset_collection k WHERE k.id IN ({})
             UNION SELECT e.child_collection_id FROM tree t JOIN dataset_collection_element e ON e.dataset_collection_id = t.id
              WHERE e.child_collection_id IS NOT NULL)
             SELECT DISTINCT d.id FROM tree t JOIN dataset_collection_element e ON e.dataset_collection_id = t.id
             JOIN history_dataset_association a ON a.id = e.hda_id JOIN dataset d ON d.id = a.dataset_id
             WHERE d.access IN ('private', 'roles')",
            placeholders(1, block.len())
        );
        let arguments = block.iter().map(|id| Val::from(*id)).collect();
        for row in q.all(sql, arguments).await? {
            found.push(row.get(0)?);
        }
    }
    Ok(found)
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
