//! User-defined tools.

use std::collections::HashMap;

use serde_json::Value;
use uuid::Uuid;

use super::db::{Query, Row, StoreError, Tx, Val, blocks, placeholders};
use super::ids::Ids;
use crate::args;

/// A tool that a user, or an administrator, defined by its representation.
#[derive(Debug, Clone, PartialEq)]
pub struct DynamicTool {
    pub id: i64,
    pub uuid: Uuid,
    /// None for an administrator's, which everybody may run.
    pub user_id: Option<i64>,
    pub tool_id: String,
    pub tool_version: Option<String>,
    pub active: bool,
    pub hidden: bool,
    pub public: bool,
    /// The whole representation.
    pub value: Value,
    pub create_time: i64,
    pub update_time: i64,
}

impl DynamicTool {
    /// Whether a user may run it.
    pub fn is_for(&self, user_id: Option<i64>) -> bool {
        self.active && (self.public || self.user_id.is_none() || self.user_id == user_id)
    }
}

/// A tool to be stored.
#[derive(Debug, Clone)]
pub struct NewDynamicTool<'a> {
    pub uuid: Uuid,
    pub user_id: Option<i64>,
    pub tool_id: &'a str,
    pub tool_version: &'a str,
    pub hidden: bool,
    pub value: &'a Value,
}

/// Stores a tool; answers its id.
pub async fn create(
    tx: &mut Tx,
    ids: &Ids,
    new: &NewDynamicTool<'_>,
    now_ms: i64,
) -> Result<i64, StoreError> {
    let id = ids.dynamic_tool(tx).await?;
    tx.run(
        "INSERT INTO dynamic_tool (id, uuid, user_id, tool_id, tool_version, hidden, public, value, create_time, update_time)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)",
        args![
            id,
            new.uuid,
            new.user_id,
            new.tool_id,
            new.tool_version,
            new.hidden,
            new.user_id.is_none(),
            new.value,
            now_ms
        ],
    )
    .await?;
    Ok(id)
}

/// The tool with this uuid.
pub async fn by_uuid(q: &mut impl Query, uuid: Uuid) -> Result<Option<DynamicTool>, StoreError> {
    let sql = "SELECT * FROM dynamic_tool WHERE uuid = $1";
    let row = q.maybe(sql, args![uuid]).await?;
    row.map(|row| tool(&row)).transpose()
}

/// The tool with this id.
pub async fn by_id(q: &mut impl Query, id: i64) -> Result<Option<DynamicTool>, StoreError> {
    Ok(by_ids(q, &[id]).await?.remove(&id))
}

/// The tools with these ids.
pub async fn by_ids(
    q: &mut impl Query,
    ids: &[i64],
) -> Result<HashMap<i64, DynamicTool>, StoreError> {
    let mut found = HashMap::new();
    for block in blocks(ids) {
        let inside = placeholders(1, block.len());
        let sql = format!("SELECT * FROM dynamic_tool WHERE id IN ({inside})");
        let args = block.iter().map(|id| Val::from(*id)).collect();
        for row in q.all(sql, args).await? {
            let tool = tool(&row)?;
            found.insert(tool.id, tool);
        }
    }
    Ok(found)
}

/// The active tools of a user, or everybody's, oldest first.
pub async fn list(
    q: &mut impl Query,
    user_id: Option<i64>,
) -> Result<Vec<DynamicTool>, StoreError> {
    let sql = match user_id {
        Some(_) => "SELECT * FROM dynamic_tool WHERE user_id = $1 AND active ORDER BY id",
        None => "SELECT * FROM dynamic_tool WHERE $1 IS NULL AND active ORDER BY id",
    };
    q.all(sql, args![user_id]).await?.iter().map(tool).collect()
}

/// Takes a tool out of use; jobs and workflows that name it keep it.
pub async fn deactivate(tx: &mut Tx, id: i64, now_ms: i64) -> Result<(), StoreError> {
    let sql = "UPDATE dynamic_tool SET active = FALSE, update_time = $2 WHERE id = $1";
    tx.run(sql, args![id, now_ms]).await.map(drop)
}

fn tool(row: &Row) -> Result<DynamicTool, StoreError> {
    let uuid: &str = row.get("uuid")?;
    Ok(DynamicTool {
        id: row.get("id")?,
        uuid: Uuid::parse_str(uuid).map_err(|_| StoreError::Unknown {
            what: "the uuid of a tool",
            value: uuid.to_owned(),
        })?,
        user_id: row.get("user_id")?,
        tool_id: row.get("tool_id")?,
        tool_version: row.get("tool_version")?,
        active: row.get("active")?,
        hidden: row.get("hidden")?,
        public: row.get("public")?,
        value: row.json("value")?,
        create_time: row.get("create_time")?,
        update_time: row.get("update_time")?,
    })
}
