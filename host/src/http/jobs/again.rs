//! Running a job again, and finding one that already did the same.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Map, Value, json};

use super::{find, summary};
use crate::http::app::App;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::http::extract;
use crate::http::invocations::look_up;
use crate::http::tools::{tool_by_id, tool_of};
use crate::invocation_request::tool_request::{ToolPayload, encoded, runs};
use crate::model::state::JobState;
use crate::store::dynamic_tools;
use crate::store::jobs;
use crate::tools::describe;

/// A job's tool and parameters, to be sent to `POST /api/tools` again.
#[utoipa::path(get, path = "/api/jobs/{id}/build_for_rerun", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, description = "The tool's form with `state_inputs`, `job_remap`, `history_id`", body = Value)))]
pub async fn build_for_rerun(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let mut q = app.store.reader();
    let job = find(&app, &mut q, &caller, &id).await?;
    let state = Value::Object(state_of(jobs::parameters(&mut q, job.id).await?));
    let tool = match job.dynamic_tool_id {
        Some(id) => {
            let stored = dynamic_tools::by_id(&mut q, id).await?;
            stored.and_then(|stored| tool_of(&app, &stored))
        }
        None => tool_by_id(&app, &job.tool_id, job.tool_version.as_deref()),
    };
    let tool = tool.ok_or_else(|| {
        ApiError::tool_missing(format!(
            "The tool {} of this job is not installed.",
            job.tool_id
        ))
    })?;
    let mut shape = encoded(&describe::build(&tool, &state), &|id| app.encode(id));
    shape["state_inputs"] = encoded(&state, &|id| app.encode(id));
    shape["job_id"] = json!(app.encode(job.id));
    shape["job_remap"] = json!(jobs::has_paused_dependants(&mut q, job.id).await?);
    shape["history_id"] = json!(app.codec.encode_maybe(job.history_id));
    Ok(Json(shape))
}

/// The parameters without those that the server added.
fn state_of(parameters: Vec<(String, String)>) -> Map<String, Value> {
    parameters
        .into_iter()
        .filter(|(name, _)| !name.starts_with("__"))
        .map(|(name, text)| {
            let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
            (name, value)
        })
        .collect()
}

/// Jobs looked through for one search, newest first.
const CANDIDATES_MAX: i64 = 1_000;

/// Jobs of the caller that ran this tool with these inputs, newest first.
#[utoipa::path(post, path = "/api/jobs/search", tag = "jobs", request_body = Value,
    description = "tool_id, inputs and (optional) state, one or a list",
    responses((status = 200, description = "Summaries", body = Vec<Value>)))]
pub async fn search(
    State(app): State<App>,
    caller: Caller,
    extract::Json(body): extract::Json<Value>,
) -> Result<Json<Value>, ApiError> {
    let user_id = caller.user_id()?;
    let payload = ToolPayload::parse(&body)?;
    let id = payload.tool_id.clone().unwrap_or_default();
    let tool = tool_by_id(&app, &id, payload.tool_version.as_deref())
        .ok_or_else(|| ApiError::not_found(format!("Could not find tool with id '{id}'.")))?;
    let states = match body.get("state") {
        // Whatever has not failed, as in Galaxy.
        None | Some(Value::Null) => vec![
            JobState::New,
            JobState::Queued,
            JobState::Waiting,
            JobState::Running,
            JobState::Ok,
        ],
        Some(Value::Array(list)) => list.iter().map(state).collect::<Result<_, _>>()?,
        Some(one) => vec![state(one)?],
    };
    let mut q = app.store.reader();
    let items = look_up(&app, &mut q, &caller, payload.references()?).await?;
    let wanted = runs(&tool, &payload, &items)?;
    let wanted: Vec<BTreeMap<String, Value>> = wanted
        .into_iter()
        .map(|run| comparable(run.state))
        .collect();
    let candidates = jobs::candidates(&mut q, user_id, &tool.id, &states, CANDIDATES_MAX).await?;
    let ids: Vec<i64> = candidates.iter().map(|job| job.id).collect();
    let mut parameters = jobs::parameters_of(&mut q, &ids).await?;
    let same = candidates.iter().filter(|job| {
        let state = state_of(parameters.remove(&job.id).unwrap_or_default());
        wanted.contains(&comparable(Value::Object(state)))
    });
    Ok(Json(same.map(|job| summary(&app, job, false)).collect()))
}

fn state(value: &Value) -> Result<JobState, ApiError> {
    let text = value.as_str().unwrap_or_default();
    text.parse()
        .map_err(|_| ApiError::invalid(format!("There is no job state {value}.")))
}

fn comparable(state: Value) -> BTreeMap<String, Value> {
    match state {
        Value::Object(map) => map.into_iter().collect(),
        _ => BTreeMap::new(),
    }
}
