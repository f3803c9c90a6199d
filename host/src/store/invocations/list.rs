//! One invocation, and pages of them.

use serde_json::Value;
use uuid::Uuid;

use crate::args;
use crate::model::state::InvocationState;
use crate::store::db::{Query, Row, StoreError, Val};

/// An invocation's own row.
#[derive(Debug, Clone, PartialEq)]
pub struct Invocation {
    pub id: i64,
    pub uuid: Uuid,
    pub workflow_id: i64,
    pub history_id: i64,
    pub user_id: i64,
    pub state: InvocationState,
    pub scheduler: Option<String>,
    pub handler: Option<String>,
    pub on_complete: Option<Value>,
    pub parent_invocation_id: Option<i64>,
    /// `review` while nothing but a person's review holds it up.
    pub blocked_on: Option<String>,
    pub create_time: i64,
    pub update_time: i64,
}

impl Invocation {
    fn of(row: &Row) -> Result<Invocation, StoreError> {
        let state: &str = row.get("state")?;
        let uuid: &str = row.get("uuid")?;
        let on_complete = row.json("on_complete")?;
        Ok(Invocation {
            id: row.get("id")?,
            uuid: Uuid::parse_str(uuid).unwrap_or_default(),
            workflow_id: row.get("workflow_id")?,
            history_id: row.get("history_id")?,
            user_id: row.get("user_id")?,
            state: state.parse().map_err(|_| StoreError::Unknown {
                what: "invocation state",
                value: state.to_owned(),
            })?,
            scheduler: row.get("scheduler")?,
            handler: row.get("handler")?,
            on_complete: (!on_complete.is_null()).then_some(on_complete),
            parent_invocation_id: row.get("parent_invocation_id")?,
            blocked_on: row.get("blocked_on")?,
            create_time: row.get("create_time")?,
            update_time: row.get("update_time")?,
        })
    }
}

/// The invocation with this id; who may see it is the caller's question.
pub async fn by_id(q: &mut impl Query, id: i64) -> Result<Option<Invocation>, StoreError> {
    let sql = "SELECT * FROM workflow_invocation WHERE id = $1";
    let row = q.maybe(sql, args![id]).await?;
    row.map(|row| Invocation::of(&row)).transpose()
}

/// Of which workflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Any revision of a stored workflow.
    StoredWorkflow(i64),
    Revision(i64),
}

/// What a list can be sorted by; without one, the newest come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortBy {
    CreateTime,
    UpdateTime,
}

/// What to list.
#[derive(Debug, Clone, Default)]
pub struct ListQuery {
    /// Whose; None for everybody's.
    pub user_id: Option<i64>,
    pub workflow: Option<Scope>,
    pub history_id: Option<i64>,
    /// The invocation that made this job.
    pub job_id: Option<i64>,
    pub sort_by: Option<SortBy>,
    pub sort_desc: bool,
    /// Only new and ready ones.
    pub active_only: bool,
    /// Leave out the invocations of subworkflow steps.
    pub top_level_only: bool,
    pub limit: u32,
    pub offset: u32,
}

/// One page of invocations, and how many match in all.
pub async fn list(
    q: &mut impl Query,
    query: &ListQuery,
) -> Result<(Vec<Invocation>, i64), StoreError> {
    let (condition, mut args) = condition(query);
    let counted = q
        .maybe(
            format!("SELECT COUNT(*) AS n FROM workflow_invocation i WHERE {condition}"),
            args.clone(),
        )
        .await?;
    let total = counted.map(|row| row.get("n")).transpose()?.unwrap_or(0);
    let direction = if query.sort_desc { "DESC" } else { "ASC" };
    let order = match query.sort_by {
        None => "i.id DESC".to_owned(),
        // Ids are handed out as invocations are made, and there is an index on them.
        Some(SortBy::CreateTime) => format!("i.id {direction}"),
        Some(SortBy::UpdateTime) => format!("i.update_time {direction}, i.id {direction}"),
    };
    args.push(Val::from(query.limit));
    args.push(Val::from(query.offset));
    let (limit, offset) = (args.len() - 1, args.len());
    let sql = format!(
        "SELECT i.* FROM workflow_invocation i WHERE {condition} ORDER BY {order} LIMIT ${limit} OFFSET ${offset}"
    );
    let rows = q.all(sql, args).await?;
    let page = rows.iter().map(Invocation::of).collect::<Result<_, _>>()?;
    Ok((page, total))
}

pub(super) fn condition(query: &ListQuery) -> (String, Vec<Val>) {
    let mut conditions = Vec::new();
    let mut args: Vec<Val> = Vec::new();
    let mut with = |text: &str, value: i64| {
        args.push(Val::from(value));
        conditions.push(text.replace('?', &format!("${}", args.len())));
    };
    if let Some(user) = query.user_id {
        with("i.user_id = ?", user);
    }
    match query.workflow {
        Some(Scope::Revision(id)) => with("i.workflow_id = ?", id),
        Some(Scope::StoredWorkflow(id)) => with(
            "i.workflow_id IN (SELECT id FROM workflow WHERE stored_workflow_id = ?)",
            id,
        ),
        None => {}
    }
    if let Some(history) = query.history_id {
        with("i.history_id = ?", history);
    }
    if let Some(job) = query.job_id {
        with(
            "i.id IN (SELECT workflow_invocation_id FROM workflow_invocation_step WHERE job_id = ?
                UNION SELECT s.workflow_invocation_id FROM implicit_collection_jobs_job_association a
                JOIN workflow_invocation_step s ON s.implicit_collection_jobs_id = a.implicit_collection_jobs_id
                WHERE a.job_id = ?)",
            job,
        );
    }
    if query.active_only {
        conditions.push("i.state IN ('new', 'ready')".to_owned());
    }
    if query.top_level_only {
        conditions.push("i.parent_invocation_id IS NULL".to_owned());
    }
    if conditions.is_empty() {
        conditions.push("TRUE".to_owned());
    }
    (conditions.join(" AND "), args)
}

/// Invocations that are being scheduled; read from an index of those alone.
pub async fn active_count(query: &mut impl Query) -> Result<i64, StoreError> {
    let sql = "SELECT COUNT(*) AS n FROM workflow_invocation \
               WHERE state IN ('new', 'requires_materialization', 'ready', 'cancelling')";
    match query.maybe(sql, Vec::new()).await? {
        Some(row) => row.get("n"),
        None => Ok(0),
    }
}
