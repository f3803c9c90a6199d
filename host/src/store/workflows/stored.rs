//! Stored workflows: what a user sees and shares, over all revisions.

use std::collections::BTreeMap;

use serde_json::Value;
use uuid::Uuid;

use crate::args;
use crate::store::db::{Query, Row, StoreError, Tx, Val};

/// A stored workflow with what is always told about it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredWorkflow {
    pub id: i64,
    pub user_id: i64,
    pub owner: String,
    pub owner_email: String,
    pub name: String,
    pub deleted: bool,
    pub hidden: bool,
    pub importable: bool,
    pub published: bool,
    pub show_in_tool_panel: bool,
    pub slug: Option<String>,
    pub from_path: Option<String>,
    pub annotation: Option<String>,
    pub tags: Vec<String>,
    pub create_time: i64,
    pub update_time: i64,
    pub latest_workflow_id: i64,
    pub latest_workflow_uuid: Option<Uuid>,
    pub source_metadata: Option<Value>,
    /// None where it was not asked for.
    pub number_of_steps: Option<i64>,
}

pub(super) const COLUMNS: &str = "w.*, u.username AS owner, u.email AS owner_email, r.uuid AS latest_uuid, \
     r.source_metadata AS latest_source_metadata";
pub(super) const JOINS: &str =
    "JOIN galaxy_user u ON u.id = w.user_id LEFT JOIN workflow r ON r.id = w.latest_workflow_id";
pub(super) const STEP_COUNT: &str =
    "(SELECT COUNT(*) FROM workflow_step s WHERE s.workflow_id = w.latest_workflow_id)";

impl StoredWorkflow {
    pub(super) fn of(row: &Row) -> Result<StoredWorkflow, StoreError> {
        let uuid: Option<&str> = row.get("latest_uuid")?;
        let source = row.json("latest_source_metadata")?;
        Ok(StoredWorkflow {
            id: row.get("id")?,
            user_id: row.get("user_id")?,
            owner: row.get("owner")?,
            owner_email: row.get("owner_email")?,
            name: row.get("name")?,
            deleted: row.get("deleted")?,
            hidden: row.get("hidden")?,
            importable: row.get("importable")?,
            published: row.get("published")?,
            show_in_tool_panel: row.get("show_in_tool_panel")?,
            slug: row.get("slug")?,
            from_path: row.get("from_path")?,
            annotation: row.get("annotation")?,
            tags: serde_json::from_value(row.json("tags")?).unwrap_or_default(),
            create_time: row.get("create_time")?,
            update_time: row.get("update_time")?,
            latest_workflow_id: row
                .get::<Option<i64>>("latest_workflow_id")?
                .unwrap_or_default(),
            latest_workflow_uuid: uuid.and_then(|text| Uuid::parse_str(text).ok()),
            source_metadata: (!source.is_null()).then_some(source),
            number_of_steps: row.get("number_of_steps")?,
        })
    }
}

/// The stored workflow with this id, deleted or not; who may see it is the caller's question.
pub async fn by_id(q: &mut impl Query, id: i64) -> Result<Option<StoredWorkflow>, StoreError> {
    one(q, "w.id = $1", args![id]).await
}

/// The stored workflow that a revision belongs to; for the inside of a subworkflow step, that of the whole.
pub async fn by_revision(
    q: &mut impl Query,
    workflow_id: i64,
) -> Result<Option<StoredWorkflow>, StoreError> {
    let condition = "w.id = (WITH RECURSIVE up (id, stored, parent) AS (
            SELECT id, stored_workflow_id, parent_workflow_id FROM workflow WHERE id = $1
            UNION SELECT x.id, x.stored_workflow_id, x.parent_workflow_id FROM workflow x JOIN up ON x.id = up.parent)
        SELECT stored FROM up WHERE stored IS NOT NULL LIMIT 1)";
    one(q, condition, args![workflow_id]).await
}

/// The newest stored workflow with a revision of this uuid, and that revision.
pub async fn by_uuid(
    q: &mut impl Query,
    uuid: Uuid,
) -> Result<Option<(StoredWorkflow, i64)>, StoreError> {
    let found = q
        .maybe(
            "SELECT id FROM workflow WHERE uuid = $1 AND stored_workflow_id IS NOT NULL ORDER BY id DESC LIMIT 1",
            args![uuid],
        )
        .await?;
    let Some(row) = found else { return Ok(None) };
    let revision: i64 = row.get("id")?;
    Ok(by_revision(q, revision)
        .await?
        .map(|stored| (stored, revision)))
}

async fn one(
    q: &mut impl Query,
    condition: &'static str,
    args: Vec<Val>,
) -> Result<Option<StoredWorkflow>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS}, {STEP_COUNT} AS number_of_steps FROM stored_workflow w {JOINS} WHERE {condition}"
    );
    let row = q.maybe(sql, args).await?;
    row.map(|row| StoredWorkflow::of(&row)).transpose()
}

/// One revision as its stored workflow numbers it, from 0.
#[derive(Debug, Clone, PartialEq)]
pub struct Version {
    pub version: usize,
    pub workflow_id: i64,
    pub update_time: i64,
    pub steps: i64,
}

/// The revisions of a stored workflow, oldest first.
pub async fn versions(
    q: &mut impl Query,
    stored_workflow_id: i64,
) -> Result<Vec<Version>, StoreError> {
    let rows = q
        .all(
            "SELECT r.id, r.update_time, (SELECT COUNT(*) FROM workflow_step s WHERE s.workflow_id = r.id) AS steps
             FROM workflow r WHERE r.stored_workflow_id = $1 ORDER BY r.id",
            args![stored_workflow_id],
        )
        .await?;
    let version = |(version, row): (usize, Row)| {
        Ok(Version {
            version,
            workflow_id: row.get("id")?,
            update_time: row.get("update_time")?,
            steps: row.get("steps")?,
        })
    };
    rows.into_iter().enumerate().map(version).collect()
}

/// The revision with a version number.
pub async fn revision_at(
    q: &mut impl Query,
    stored_workflow_id: i64,
    version: u32,
) -> Result<Option<i64>, StoreError> {
    let row = q
        .maybe(
            "SELECT id FROM workflow WHERE stored_workflow_id = $1 ORDER BY id LIMIT 1 OFFSET $2",
            args![stored_workflow_id, version],
        )
        .await?;
    row.map(|row| row.get("id")).transpose()
}

/// How many invocations of any revision are in each state.
pub async fn counts(
    q: &mut impl Query,
    stored_workflow_id: i64,
) -> Result<BTreeMap<String, i64>, StoreError> {
    let rows = q
        .all(
            "SELECT i.state, COUNT(*) AS n FROM workflow r JOIN workflow_invocation i ON i.workflow_id = r.id
             WHERE r.stored_workflow_id = $1 GROUP BY i.state",
            args![stored_workflow_id],
        )
        .await?;
    rows.iter()
        .map(|row| Ok((row.get("state")?, row.get("n")?)))
        .collect()
}

/// What can be changed without a new revision; None leaves a thing as it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Attributes {
    pub name: Option<String>,
    pub annotation: Option<String>,
    pub tags: Option<Vec<String>>,
    pub hidden: Option<bool>,
    pub deleted: Option<bool>,
    pub published: Option<bool>,
    pub importable: Option<bool>,
    pub show_in_tool_panel: Option<bool>,
    pub slug: Option<String>,
}

impl Attributes {
    /// Whether there is nothing to change.
    pub fn is_empty(&self) -> bool {
        *self == Attributes::default()
    }
}

/// Stores the attributes that are given. A slug that another of the owner's workflows has is refused by the database.
pub async fn set_attributes(
    tx: &mut Tx,
    id: i64,
    attributes: &Attributes,
    now_ms: i64,
) -> Result<(), StoreError> {
    let tags = attributes
        .tags
        .as_ref()
        .map(|tags| Value::from(tags.as_slice()).to_string());
    tx.run(
        "UPDATE stored_workflow SET name = COALESCE($2, name), annotation = COALESCE($3, annotation),
             tags = COALESCE($4, tags), hidden = COALESCE($5, hidden), deleted = COALESCE($6, deleted),
             published = COALESCE($7, published), importable = COALESCE($8, importable),
             show_in_tool_panel = COALESCE($9, show_in_tool_panel), slug = COALESCE($10, slug), update_time = $11
         WHERE id = $1",
        args![
            id,
            &attributes.name,
            &attributes.annotation,
            tags,
            attributes.hidden,
            attributes.deleted,
            attributes.published,
            attributes.importable,
            attributes.show_in_tool_panel,
            &attributes.slug,
            now_ms
        ],
    )
    .await?;
    Ok(())
}

/// Whether a user has another workflow of this slug.
pub async fn slug_taken(
    q: &mut impl Query,
    user_id: i64,
    slug: &str,
    except_id: i64,
) -> Result<bool, StoreError> {
    let row = q
        .maybe(
            "SELECT id FROM stored_workflow WHERE user_id = $1 AND slug = $2 AND id <> $3",
            args![user_id, slug, except_id],
        )
        .await?;
    Ok(row.is_some())
}

/// Whom a stored workflow is shared with: (user id, e-mail), by id.
pub async fn shared_with(
    q: &mut impl Query,
    stored_workflow_id: i64,
) -> Result<Vec<(i64, String)>, StoreError> {
    let rows = q
        .all(
            "SELECT u.id, u.email FROM stored_workflow_user_share s JOIN galaxy_user u ON u.id = s.user_id
             WHERE s.stored_workflow_id = $1 ORDER BY u.id",
            args![stored_workflow_id],
        )
        .await?;
    rows.iter()
        .map(|row| Ok((row.get("id")?, row.get("email")?)))
        .collect()
}

/// Whether a stored workflow is shared with a user.
pub async fn is_shared_with(
    q: &mut impl Query,
    stored_workflow_id: i64,
    user_id: i64,
) -> Result<bool, StoreError> {
    let row = q
        .maybe(
            "SELECT 1 AS one FROM stored_workflow_user_share WHERE stored_workflow_id = $1 AND user_id = $2",
            args![stored_workflow_id, user_id],
        )
        .await?;
    Ok(row.is_some())
}

/// Shares a stored workflow with exactly these users.
pub async fn share_with(
    tx: &mut Tx,
    stored_workflow_id: i64,
    user_ids: &[i64],
) -> Result<(), StoreError> {
    tx.run(
        "DELETE FROM stored_workflow_user_share WHERE stored_workflow_id = $1",
        args![stored_workflow_id],
    )
    .await?;
    let rows = user_ids
        .iter()
        .map(|user| args![stored_workflow_id, *user])
        .collect();
    tx.insert_many(
        "INSERT INTO stored_workflow_user_share (stored_workflow_id, user_id) VALUES",
        2,
        "ON CONFLICT DO NOTHING",
        rows,
    )
    .await
}
