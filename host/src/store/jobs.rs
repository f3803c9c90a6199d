//! Jobs as clients read them. They are created and moved forward elsewhere, by the scheduling loops.

use std::collections::HashMap;

use serde_json::Value;
use uuid::Uuid;

use crate::args;
use crate::model::state::JobState;
use crate::store::db::{
    Query, Row, StoreError, Val, blocks, containing, like, pattern, placeholders,
};

/// A job's own row.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    pub id: i64,
    pub uuid: String,
    pub user_id: i64,
    pub history_id: Option<i64>,
    pub workflow_invocation_id: Option<i64>,
    pub scheduler: Option<String>,
    pub handler: Option<String>,
    pub tool_id: String,
    pub tool_version: Option<String>,
    pub dynamic_tool_id: Option<i64>,
    pub galaxy_version: Option<String>,
    pub state: JobState,
    pub info: Option<String>,
    pub command_line: Option<String>,
    pub exit_code: Option<i64>,
    pub tool_stdout: Option<String>,
    pub tool_stderr: Option<String>,
    pub job_messages: Value,
    pub traceback: Option<String>,
    pub job_runner_name: Option<String>,
    pub job_runner_external_id: Option<String>,
    pub cores: i64,
    pub memory_mb: i64,
    pub copied_from_job_id: Option<i64>,
    pub start_time: Option<i64>,
    pub end_time: Option<i64>,
    pub create_time: i64,
    pub update_time: i64,
}

impl Job {
    pub(crate) fn of(row: &Row) -> Result<Job, StoreError> {
        let state: &str = row.get("state")?;
        Ok(Job {
            id: row.get("id")?,
            uuid: row.get("uuid")?,
            user_id: row.get("user_id")?,
            history_id: row.get("history_id")?,
            workflow_invocation_id: row.get("workflow_invocation_id")?,
            scheduler: row.get("scheduler")?,
            handler: row.get("handler")?,
            tool_id: row.get("tool_id")?,
            tool_version: row.get("tool_version")?,
            dynamic_tool_id: row.get("dynamic_tool_id")?,
            galaxy_version: row.get("galaxy_version")?,
            state: state.parse().map_err(|_| StoreError::Unknown {
                what: "job state",
                value: state.to_owned(),
            })?,
            info: row.get("info")?,
            command_line: row.get("command_line")?,
            exit_code: row.get("exit_code")?,
            tool_stdout: row.get("tool_stdout")?,
            tool_stderr: row.get("tool_stderr")?,
            job_messages: row.json("job_messages")?,
            traceback: row.get("traceback")?,
            job_runner_name: row.get("job_runner_name")?,
            job_runner_external_id: row.get("job_runner_external_id")?,
            cores: row.get("cores")?,
            memory_mb: row.get("memory_mb")?,
            copied_from_job_id: row.get("copied_from_job_id")?,
            start_time: row.get("start_time")?,
            end_time: row.get("end_time")?,
            create_time: row.get("create_time")?,
            update_time: row.get("update_time")?,
        })
    }
}

/// The job with this id, if `user_id` (when given) owns it.
pub async fn by_id(
    q: &mut impl Query,
    id: i64,
    user_id: Option<i64>,
) -> Result<Option<Job>, StoreError> {
    let sql = "SELECT * FROM job WHERE id = $1 AND ($2 IS NULL OR user_id = $2)";
    let row = q.maybe(sql, args![id, user_id]).await?;
    row.map(|row| Job::of(&row)).transpose()
}

/// What to list; the newest come first.
#[derive(Debug, Clone, Default)]
pub struct ListQuery {
    /// Whose; None for everybody's.
    pub user_id: Option<i64>,
    pub states: Vec<JobState>,
    pub tool_ids: Vec<String>,
    /// Patterns with `%`.
    pub tool_ids_like: Vec<String>,
    pub history_id: Option<i64>,
    /// The stored workflow.
    pub workflow_id: Option<i64>,
    pub invocation_id: Option<i64>,
    pub implicit_collection_jobs_id: Option<i64>,
    pub tool_request_id: Option<i64>,
    /// Changed at this instant or later, in milliseconds.
    pub updated_from: Option<i64>,
    pub updated_to: Option<i64>,
    /// Words that must all occur in the tool's id, the state, the handler or the runner's names.
    pub search: Option<String>,
    pub order_by_create_time: bool,
    pub limit: i64,
    pub offset: i64,
}

/// One page of jobs.
pub async fn list(q: &mut impl Query, query: &ListQuery) -> Result<Vec<Job>, StoreError> {
    let (condition, mut args) = condition(query);
    args.push(Val::from(query.limit));
    args.push(Val::from(query.offset));
    let order = match query.order_by_create_time {
        // Ids are handed out as jobs are made.
        true => "j.id DESC",
        false => "j.update_time DESC, j.id DESC",
    };
    let sql = format!(
        "SELECT j.* FROM job j WHERE {condition} ORDER BY {order} LIMIT ${} OFFSET ${}",
        args.len() - 1,
        args.len()
    );
    q.all(sql, args).await?.iter().map(Job::of).collect()
}

fn condition(query: &ListQuery) -> (String, Vec<Val>) {
    let mut conditions = vec!["TRUE".to_owned()];
    let mut args: Vec<Val> = Vec::new();
    let mut with = |text: &str, values: Vec<Val>| {
        let inside = placeholders(args.len() + 1, values.len());
        conditions.push(text.replace('?', &inside));
        args.extend(values);
    };
    let numbers = [
        ("j.user_id = ?", query.user_id),
        ("j.history_id = ?", query.history_id),
        ("j.workflow_invocation_id = ?", query.invocation_id),
        (
            "j.workflow_invocation_id IN (SELECT i.id FROM workflow r JOIN workflow_invocation i ON i.workflow_id = r.id
                WHERE r.stored_workflow_id = ?)",
            query.workflow_id,
        ),
        (
            "j.id IN (SELECT job_id FROM implicit_collection_jobs_job_association WHERE implicit_collection_jobs_id = ?)",
            query.implicit_collection_jobs_id,
        ),
        (
            "j.id IN (SELECT job_id FROM tool_request_job WHERE tool_request_id = ?)",
            query.tool_request_id,
        ),
        ("j.update_time >= ?", query.updated_from),
        ("j.update_time <= ?", query.updated_to),
    ];
    for (text, value) in numbers {
        if let Some(value) = value {
            with(text, vec![Val::from(value)]);
        }
    }
    if !query.states.is_empty() {
        let states = query.states.iter().map(|s| Val::from(s.code())).collect();
        with("j.state IN (?)", states);
    }
    if !query.tool_ids.is_empty() {
        let tools = query.tool_ids.iter().map(Val::from).collect();
        with("j.tool_id IN (?)", tools);
    }
    for text in &query.tool_ids_like {
        with(&like("j.tool_id", "?"), vec![Val::from(pattern(text))]);
    }
    for word in query.search.as_deref().unwrap_or("").split_whitespace() {
        let names = "j.tool_id || ' ' || j.state || ' ' || COALESCE(j.handler, '') || ' ' || COALESCE(j.job_runner_name, '')
                || ' ' || COALESCE(j.job_runner_external_id, '')";
        with(&like(names, "?"), vec![Val::from(containing(word))]);
    }
    (conditions.join(" AND "), args)
}

/// Something that a job reads or makes.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    pub name: String,
    /// `hda`, `hdca` or `dce`.
    pub src: &'static str,
    pub id: i64,
    pub uuid: Option<Uuid>,
}

const INPUTS: &str = "SELECT x.name, 'hda' AS src, x.hda_id AS id, d.uuid, x.id AS place FROM job_to_input_dataset x
         JOIN history_dataset_association h ON h.id = x.hda_id JOIN dataset d ON d.id = h.dataset_id WHERE x.job_id = $1
     UNION ALL SELECT name, CASE WHEN hdca_id IS NULL THEN 'dce' ELSE 'hdca' END, COALESCE(hdca_id, dce_id), NULL, id
         FROM job_to_input_dataset_collection WHERE job_id = $1 ORDER BY 5";
const OUTPUTS: &str = "SELECT x.name, 'hda' AS src, x.hda_id AS id, d.uuid, x.id AS place FROM job_to_output_dataset x
         JOIN history_dataset_association h ON h.id = x.hda_id JOIN dataset d ON d.id = h.dataset_id WHERE x.job_id = $1
     UNION ALL SELECT name, 'hdca', hdca_id, NULL, id FROM job_to_output_dataset_collection
         WHERE job_id = $1 AND hdca_id IS NOT NULL ORDER BY 5";

/// What a job reads, in the order it was recorded.
pub async fn inputs(q: &mut impl Query, job_id: i64) -> Result<Vec<Item>, StoreError> {
    items(q, INPUTS, job_id).await
}

/// What a job makes, in the order it was recorded.
pub async fn outputs(q: &mut impl Query, job_id: i64) -> Result<Vec<Item>, StoreError> {
    items(q, OUTPUTS, job_id).await
}

async fn items(
    q: &mut impl Query,
    sql: &'static str,
    job_id: i64,
) -> Result<Vec<Item>, StoreError> {
    let rows = q.all(sql, args![job_id]).await?;
    let item = |row: &Row| {
        let uuid: Option<&str> = row.get("uuid")?;
        Ok(Item {
            name: row.get("name")?,
            src: match row.get::<&str>("src")? {
                "hda" => "hda",
                "hdca" => "hdca",
                _ => "dce",
            },
            id: row.get("id")?,
            uuid: uuid.and_then(|text| Uuid::parse_str(text).ok()),
        })
    };
    rows.iter().map(item).collect()
}

/// The mapping that a job is part of.
pub async fn implicit_collection_jobs_of(
    q: &mut impl Query,
    job_id: i64,
) -> Result<Option<i64>, StoreError> {
    let sql = "SELECT implicit_collection_jobs_id FROM implicit_collection_jobs_job_association WHERE job_id = $1";
    let row = q.maybe(sql, args![job_id]).await?;
    row.map(|row| row.get(0)).transpose()
}

/// Names and JSON texts of a job's parameters, by name.
pub async fn parameters(
    q: &mut impl Query,
    job_id: i64,
) -> Result<Vec<(String, String)>, StoreError> {
    let sql = "SELECT name, value FROM job_parameter WHERE job_id = $1 ORDER BY name";
    let rows = q.all(sql, args![job_id]).await?;
    let pair = |row: &Row| {
        let value: Option<String> = row.get("value")?;
        Ok((row.get("name")?, value.unwrap_or_else(|| "null".to_owned())))
    };
    rows.iter().map(pair).collect()
}

/// As [`parameters`], for several jobs at once.
pub async fn parameters_of(
    q: &mut impl Query,
    job_ids: &[i64],
) -> Result<HashMap<i64, Vec<(String, String)>>, StoreError> {
    let mut found: HashMap<i64, Vec<(String, String)>> = HashMap::new();
    for block in blocks(job_ids) {
        let inside = placeholders(1, block.len());
        let sql =
            format!("SELECT job_id, name, value FROM job_parameter WHERE job_id IN ({inside})");
        let args = block.iter().map(|id| Val::from(*id)).collect();
        for row in q.all(sql, args).await? {
            let value: Option<String> = row.get("value")?;
            let pair = (row.get("name")?, value.unwrap_or_else(|| "null".to_owned()));
            found.entry(row.get("job_id")?).or_default().push(pair);
        }
    }
    Ok(found)
}

/// Whether other jobs wait, paused, for what this one makes: a rerun can then be put in its place.
pub async fn has_paused_dependants(q: &mut impl Query, job_id: i64) -> Result<bool, StoreError> {
    let sql = "SELECT 1 AS one FROM job_to_output_dataset o JOIN job_to_input_dataset i ON i.hda_id = o.hda_id
         JOIN job j ON j.id = i.job_id WHERE o.job_id = $1 AND j.state = 'paused' LIMIT 1";
    Ok(q.maybe(sql, args![job_id]).await?.is_some())
}

/// The finished jobs of a user with this tool, newest first: candidates for a job search or for reuse.
pub async fn candidates(
    q: &mut impl Query,
    user_id: i64,
    tool_id: &str,
    states: &[JobState],
    limit: i64,
) -> Result<Vec<Job>, StoreError> {
    let query = ListQuery {
        user_id: Some(user_id),
        tool_ids: vec![tool_id.to_owned()],
        states: states.to_vec(),
        order_by_create_time: true,
        limit,
        ..Default::default()
    };
    list(q, &query).await
}
