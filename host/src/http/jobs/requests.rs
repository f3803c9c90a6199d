//! Tools asked for in the strict form, and what became of such requests. A request is stored in one transaction with its
//! jobs, before the answer: it is never seen in the state `new`.

use axum::Json;
use axum::extract::{Path, State};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::http::access::{self, Wish};
use crate::http::app::App;
use crate::http::auth::Caller;
use crate::http::error::{ApiError, from_serde};
use crate::http::extract;
use crate::http::tools::run;
use crate::invocation_request::strict;
use crate::invocation_request::tool_request::ToolPayload;
use crate::store::Durability;
use crate::store::db::Query;
use crate::store::tool_requests::{self, NewToolRequest, State as Became, ToolRequest};

/// What is to be run.
#[derive(Debug, Deserialize, ToSchema)]
pub struct JobRequest {
    tool_id: Option<String>,
    tool_uuid: Option<String>,
    tool_version: Option<String>,
    /// Encoded; without it the history that changed last.
    history_id: Option<String>,
    /// Nested, every value in its own type; `{"__class__": "Batch", "values": […]}` for several runs or a mapping.
    #[serde(default)]
    #[schema(value_type = Object)]
    inputs: Option<Map<String, Value>>,
    use_cached_jobs: Option<bool>,
    /// Encoded id of the failed job whose place this one takes.
    rerun_remap_job_id: Option<String>,
}

/// Runs a tool on inputs in the strict form.
#[utoipa::path(post, path = "/api/jobs", tag = "jobs", request_body = JobRequest,
    responses((status = 200, description = "`tool_request_id`; `GET /api/tool_requests/{id}` has the jobs", body = Value)))]
pub async fn submit(
    State(app): State<App>,
    caller: Caller,
    extract::Json(body): extract::Json<Value>,
) -> Result<Json<Value>, ApiError> {
    let asked: JobRequest = serde_json::from_value(body.clone()).map_err(|e| from_serde(&e))?;
    let user_id = caller.user_id()?;
    if asked.tool_id.is_none() && asked.tool_uuid.is_none() {
        return Err(ApiError::missing("Parameter tool_id is missing."));
    }
    let mut q = app.store.reader();
    let mut payload = ToolPayload {
        tool_id: asked.tool_id,
        tool_version: asked.tool_version,
        tool_uuid: asked.tool_uuid,
        history_id: asked.history_id,
        inputs: Map::new(),
        use_cached_job: asked.use_cached_jobs.unwrap_or(false),
        rerun_remap_job_id: asked.rerun_remap_job_id,
    };
    let (tool, _) = run::tool_of(&app, &mut q, &caller, &payload).await?;
    let inputs = asked.inputs.unwrap_or_default();
    payload.inputs =
        strict::read(&tool, &inputs).map_err(crate::invocation_request::tool_request::refused)?;
    let mut request = run::request(&app, &mut q, &caller, &payload).await?;
    let shown = json!({"tool_id": tool.id, "tool_version": tool.version, "inputs": inputs});
    let history_id = request.history_id;
    request.note = Some(shown.clone());
    let id = match app.seams().tool_runs.run(request).await {
        Ok(answer) => answer
            .noted
            .ok_or_else(|| ApiError::internal("The request was not kept."))?,
        // What the data make impossible is an outcome of the request; faults of the server are not.
        Err(error) if error.is_for_caller() => {
            let why = error.body();
            let new = NewToolRequest {
                user_id,
                history_id,
                request: &shown,
                state: Became::Failed,
                state_message: Some(&why),
                jobs: &[],
                implicit_collections: &[],
            };
            let mut tx = app.store.begin().await?;
            let id = tool_requests::create(&mut tx, &new, app.now_ms()).await?;
            tx.commit(Durability::Acknowledged, "tool.request.failed")
                .await?;
            id
        }
        Err(error) => return Err(error),
    };
    let task = json!({"id": app.encode(id), "ignored": false, "name": "queue_jobs", "queue": null});
    Ok(Json(
        json!({"tool_request_id": app.encode(id), "task_result": task}),
    ))
}

/// The request behind an encoded id, if the caller may see it.
async fn find(
    app: &App,
    q: &mut impl Query,
    caller: &Caller,
    id: &str,
) -> Result<ToolRequest, ApiError> {
    let found = tool_requests::by_id(q, app.decode(id)?).await?;
    let found = found.ok_or_else(|| ApiError::not_found("There is no such tool request."))?;
    match caller.is_admin || caller.user_id()? == found.user_id {
        true => Ok(found),
        false => Err(ApiError::not_accessible(
            "The tool request is somebody else's.",
        )),
    }
}

fn shape(app: &App, found: &ToolRequest) -> Value {
    json!({
        "id": app.encode(found.id),
        "request": found.request,
        "state": found.state,
        "state_message": found.state_message,
    })
}

/// A request for a tool, with its jobs.
#[utoipa::path(get, path = "/api/tool_requests/{id}", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, description = "`request`, `state`, `state_message`, `jobs`, `implicit_collections`", body = Value)))]
pub async fn show(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let mut q = app.store.reader();
    let found = find(&app, &mut q, &caller, &id).await?;
    let jobs = tool_requests::jobs(&mut q, found.id).await?;
    let collections = tool_requests::implicit_collections(&mut q, found.id).await?;
    let mut shown = shape(&app, &found);
    let jobs = jobs
        .iter()
        .map(|job| json!({"src": "job", "id": app.encode(*job)}));
    shown["jobs"] = jobs.collect();
    let collections = collections
        .iter()
        .map(|(name, hdca)| json!({"src": "hdca", "id": app.encode(*hdca), "output_name": name}));
    shown["implicit_collections"] = collections.collect();
    Ok(Json(shown))
}

/// What became of a request: `submitted` or `failed`.
#[utoipa::path(get, path = "/api/tool_requests/{id}/state", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, description = "One word", body = String)))]
pub async fn state(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let found = find(&app, &mut app.store.reader(), &caller, &id).await?;
    Ok(Json(found.state.into()))
}

/// What was asked of tools in a history, the newest first.
#[utoipa::path(get, path = "/api/histories/{history_id}/tool_requests", tag = "histories",
    params(("history_id" = String, Path)),
    responses((status = 200, description = "Requests", body = Vec<Value>)))]
pub async fn of_history(
    State(app): State<App>,
    caller: Caller,
    Path(history_id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let mut q = app.store.reader();
    let history = access::history(&app, &mut q, &caller, &history_id, Wish::Read).await?;
    let found = tool_requests::of_history(&mut q, history.id).await?;
    Ok(Json(found.iter().map(|one| shape(&app, one)).collect()))
}
