//! Invocations, as the list of runs and the log of one run show them. Nothing here looks at steps or jobs one by one.

use std::collections::BTreeMap;

use serde_json::Map;

use crate::args;
use crate::model::state::InvocationState;
use crate::store::db::{Query, Row, StoreError, Val};
use crate::store::scheduling::invocations::UNFINISHED;

/// An invocation with what the door keeps beside it.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    pub id: i64,
    pub user_id: i64,
    pub workflow_id: i64,
    pub workflow_name: String,
    /// Whoever may read its history may read it.
    pub is_shared: bool,
    pub state: InvocationState,
    /// It waits for a review and no job of it, or of the invocations inside it, is unfinished.
    pub is_paused: bool,
    pub create_time: i64,
    /// When it ended, if it has.
    pub end_time: Option<i64>,
    pub tags: Map<String, serde_json::Value>,
    /// None for one that did not come through WES.
    pub request: Option<serde_json::Value>,
}

/// Whether `i` is paused, as 0 or 1. The walk inside is for the few that wait for a review.
fn is_paused() -> String {
    format!(
        "CASE WHEN i.blocked_on = 'review' AND NOT EXISTS (
             WITH RECURSIVE inside (id) AS (
                 SELECT i.id UNION ALL SELECT c.id FROM workflow_invocation c JOIN inside p ON c.parent_invocation_id = p.id)
             SELECT 1 FROM job j JOIN inside ON inside.id = j.workflow_invocation_id WHERE j.state IN ({UNFINISHED}))
         THEN 1 ELSE 0 END"
    )
}

fn select(extra: &str) -> String {
    format!(
        "SELECT i.id, i.user_id, i.workflow_id, i.state, i.create_time, i.update_time, c.completion_time, w.name,
                {} AS is_paused, CASE WHEN h.published OR h.importable THEN 1 ELSE 0 END AS is_shared,
                COALESCE(r.tags, '{{}}') AS tags{extra}
         FROM workflow_invocation i JOIN workflow w ON w.id = i.workflow_id JOIN history h ON h.id = i.history_id
         LEFT JOIN workflow_invocation_completion c ON c.workflow_invocation_id = i.id
         LEFT JOIN wes_run r ON r.workflow_invocation_id = i.id",
        is_paused()
    )
}

fn run(row: &Row) -> Result<Run, StoreError> {
    let code: &str = row.get("state")?;
    let state: InvocationState = code.parse().map_err(|_| StoreError::Unknown {
        what: "invocation state",
        value: code.to_owned(),
    })?;
    let update_time: i64 = row.get("update_time")?;
    let completion: Option<i64> = row.get("completion_time")?;
    let has_ended = matches!(
        state,
        InvocationState::Completed | InvocationState::Failed | InvocationState::Cancelled
    );
    Ok(Run {
        id: row.get("id")?,
        user_id: row.get("user_id")?,
        workflow_id: row.get("workflow_id")?,
        workflow_name: row.get("name")?,
        is_shared: row.get::<i64>("is_shared")? != 0,
        state,
        is_paused: row.get::<i64>("is_paused")? != 0,
        create_time: row.get("create_time")?,
        end_time: has_ended.then(|| completion.unwrap_or(update_time)),
        tags: match row.json("tags")? {
            serde_json::Value::Object(tags) => tags,
            _ => Map::new(),
        },
        request: None,
    })
}

/// The run with this id; who may see it is the caller's question.
pub async fn by_id(q: &mut impl Query, id: i64) -> Result<Option<Run>, StoreError> {
    let sql = format!("{} WHERE i.id = $1", select(", r.request"));
    let Some(row) = q.maybe(sql, args![id]).await? else {
        return Ok(None);
    };
    let request = row.json("request")?;
    let found = run(&row)?;
    Ok(Some(Run {
        request: (!request.is_null()).then_some(request),
        ..found
    }))
}

/// Whether those that wait for a review alone are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paused {
    Only,
    Not,
    /// It does not matter, because the states exclude it.
    Any,
}

/// Which states are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateFilter {
    pub states: Vec<InvocationState>,
    pub paused: Paused,
}

/// What to list: a user's runs, newest first.
#[derive(Debug, Clone)]
pub struct RunQuery {
    pub user_id: i64,
    pub state: Option<StateFilter>,
    /// Name, and value if that matters.
    pub tags: Vec<(String, Option<String>)>,
    /// A stored workflow.
    pub workflow: Option<i64>,
    /// Submitted at this instant or later; earlier than this instant.
    pub from_ms: Option<i64>,
    pub before_ms: Option<i64>,
    /// Only ids below this one.
    pub below: Option<i64>,
    pub limit: usize,
}

/// Runs of the outermost kind: those of subworkflow steps are found from their parents' tasks.
pub async fn list(q: &mut impl Query, query: &RunQuery) -> Result<Vec<Run>, StoreError> {
    let (sql, args) = statement(query);
    q.all(sql, args).await?.iter().map(run).collect()
}

pub(super) fn statement(query: &RunQuery) -> (String, Vec<Val>) {
    let mut args = args![query.user_id];
    let mut condition = "i.user_id = $1 AND i.parent_invocation_id IS NULL".to_owned();
    let mut add = |text: &str, value: Val| {
        args.push(value);
        condition.push_str(" AND ");
        condition.push_str(&text.replace('?', &format!("${}", args.len())));
    };
    if let Some(below) = query.below {
        add("i.id < ?", below.into());
    }
    if let Some(workflow) = query.workflow {
        add(
            "i.workflow_id IN (SELECT v.id FROM workflow v WHERE v.stored_workflow_id = ?)",
            workflow.into(),
        );
    }
    if let Some(from) = query.from_ms {
        add("i.create_time >= ?", from.into());
    }
    if let Some(before) = query.before_ms {
        add("i.create_time < ?", before.into());
    }
    for (name, value) in &query.tags {
        let tagged = "i.id IN (SELECT t.workflow_invocation_id FROM wes_run_tag t WHERE t.user_id = $1 AND t.name = ?";
        match value {
            None => add(&format!("{tagged})"), name.into()),
            Some(value) => {
                add(tagged, name.into());
                add("t.value = ?)", value.into());
            }
        }
    }
    if let Some(filter) = &query.state {
        let codes: Vec<String> = filter
            .states
            .iter()
            .map(|s| format!("'{}'", s.code()))
            .collect();
        match codes.is_empty() {
            true => condition.push_str(" AND FALSE"),
            false => condition.push_str(&format!(" AND i.state IN ({})", codes.join(", "))),
        }
        match filter.paused {
            Paused::Any => {}
            Paused::Only => condition.push_str(&format!(" AND {} = 1", is_paused())),
            Paused::Not => condition.push_str(&format!(" AND {} = 0", is_paused())),
        }
    }
    args.push(query.limit.into());
    let limit = args.len();
    let sql = format!(
        "{} WHERE {condition} ORDER BY i.id DESC LIMIT ${limit}",
        select("")
    );
    (sql, args)
}

/// How many outermost invocations of all users are in each state, and how many of each are paused.
pub async fn state_counts(
    q: &mut impl Query,
) -> Result<BTreeMap<InvocationState, (i64, i64)>, StoreError> {
    let mut counts = BTreeMap::new();
    let all = "SELECT i.state, COUNT(*) AS n FROM workflow_invocation i WHERE i.parent_invocation_id IS NULL GROUP BY i.state";
    let paused = format!(
        "SELECT i.state, COUNT(*) AS n FROM workflow_invocation i
         WHERE i.blocked_on = 'review' AND i.parent_invocation_id IS NULL AND {} = 1 GROUP BY i.state",
        is_paused()
    );
    for (sql, is_paused) in [(all.to_owned(), false), (paused, true)] {
        for row in q.all(sql, args![]).await? {
            let code: &str = row.get("state")?;
            let Ok(state) = code.parse::<InvocationState>() else {
                continue;
            };
            let entry: &mut (i64, i64) = counts.entry(state).or_default();
            match is_paused {
                false => entry.0 = row.get("n")?,
                true => entry.1 = row.get("n")?,
            }
        }
    }
    Ok(counts)
}

/// A dataset (`hda`), a collection (`hdca`) or a plain value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Item(&'static str, i64),
    Plain(serde_json::Value),
}

/// An output of the workflow as a whole, by its label.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    pub label: String,
    pub workflow_step_id: i64,
    pub value: Value,
}

/// Datasets, collections and values in one look; `src` says which.
pub(super) const OUTPUTS: &str = "
    SELECT 'hda' AS src, x.dataset_id AS id, CAST(NULL AS TEXT) AS value, x.workflow_step_id, s.order_index, o.output_name,
           o.label, o.id AS output_id
    FROM workflow_invocation_output_dataset_association x JOIN workflow_step s ON s.id = x.workflow_step_id
    JOIN workflow_output o ON o.id = x.workflow_output_id WHERE x.workflow_invocation_id = $1
    UNION ALL
    SELECT 'hdca', x.dataset_collection_id, CAST(NULL AS TEXT), x.workflow_step_id, s.order_index, o.output_name, o.label, o.id
    FROM workflow_invocation_output_dataset_collection_association x JOIN workflow_step s ON s.id = x.workflow_step_id
    JOIN workflow_output o ON o.id = x.workflow_output_id WHERE x.workflow_invocation_id = $1
    UNION ALL
    SELECT 'value', CAST(NULL AS BIGINT), x.value, x.workflow_step_id, s.order_index, o.output_name, o.label, o.id
    FROM workflow_invocation_output_value x JOIN workflow_step s ON s.id = x.workflow_step_id
    JOIN workflow_output o ON o.id = x.workflow_output_id WHERE x.workflow_invocation_id = $1
    ORDER BY src, order_index, output_id";

/// What a row of `OUTPUTS` or `INPUTS` holds.
fn value(row: &Row) -> Result<Value, StoreError> {
    Ok(match row.get::<&str>("src")? {
        "hda" => Value::Item("hda", row.get("id")?),
        "hdca" => Value::Item("hdca", row.get("id")?),
        _ => Value::Plain(row.json("value")?),
    })
}

/// The outputs of a run. One without a label goes by its name and the step's number, as in Galaxy.
pub async fn outputs(q: &mut impl Query, invocation_id: i64) -> Result<Vec<Told>, StoreError> {
    let rows = q.all(OUTPUTS, args![invocation_id]).await?;
    let told = |row: &Row| {
        let label = match row.get::<Option<String>>("label")? {
            Some(label) => label,
            None => format!(
                "{} (Step {})",
                row.get::<String>("output_name")?,
                row.get::<i64>("order_index")? + 1
            ),
        };
        Ok(Told {
            label,
            workflow_step_id: row.get("workflow_step_id")?,
            value: value(row)?,
        })
    };
    rows.iter().map(told).collect()
}

/// What was given to an input step: its name for clients, and the value.
pub type InputValue = (String, Value);

pub(super) const INPUTS: &str = "
    SELECT 'hda' AS src, x.dataset_id AS id, CAST(NULL AS TEXT) AS value, s.order_index, s.label, s.tool_inputs
    FROM workflow_request_to_input_dataset x
    JOIN workflow_step s ON s.id = x.workflow_step_id WHERE x.workflow_invocation_id = $1
    UNION ALL
    SELECT 'hdca', x.dataset_collection_id, CAST(NULL AS TEXT), s.order_index, s.label, s.tool_inputs
    FROM workflow_request_to_input_collection_dataset x
    JOIN workflow_step s ON s.id = x.workflow_step_id WHERE x.workflow_invocation_id = $1
    UNION ALL
    SELECT 'value', CAST(NULL AS BIGINT), x.parameter_value, s.order_index, s.label, s.tool_inputs
    FROM workflow_request_input_step_parameter x
    JOIN workflow_step s ON s.id = x.workflow_step_id WHERE x.workflow_invocation_id = $1
    ORDER BY src, order_index";

/// The inputs of an invocation that came through another door.
pub async fn inputs(q: &mut impl Query, invocation_id: i64) -> Result<Vec<InputValue>, StoreError> {
    let rows = q.all(INPUTS, args![invocation_id]).await?;
    let told = |row: &Row| {
        let state = row.json("tool_inputs")?;
        let label: Option<String> = row.get("label")?;
        let name = match label.or_else(|| state["name"].as_str().map(str::to_owned)) {
            Some(name) => name,
            None => row.get::<i64>("order_index")?.to_string(),
        };
        Ok((name, value(row)?))
    };
    rows.iter().map(told).collect()
}

/// The newest messages of an invocation, oldest of them first: reason and details.
pub async fn messages(
    q: &mut impl Query,
    invocation_id: i64,
) -> Result<Vec<(String, Option<String>)>, StoreError> {
    let sql = "SELECT reason, details FROM workflow_invocation_message
               WHERE workflow_invocation_id = $1 ORDER BY id DESC LIMIT 100";
    let rows = q.all(sql, args![invocation_id]).await?;
    let told = |row: &Row| Ok((row.get("reason")?, row.get("details")?));
    rows.iter().rev().map(told).collect()
}
