//! Running one tool outside any workflow.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use uuid::Uuid;

use super::tool_by_id;
use crate::http::access::{self, Wish};
use crate::http::app::App;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::http::invocations::look_up;
use crate::http::jobs::summary;
use crate::http::payload::Payload;
use crate::http::requests::dynamic_tool;
use crate::http::seams::{ToolRunAnswer, ToolRunRequest};
use crate::http::shapes::{hda_detailed, load_hdca};
use crate::http::upload::upload1;
use crate::invocation_request::tool_request::{ToolPayload, runs};
use crate::store::db::Query;
use crate::store::{collections, datasets, histories, jobs};
use crate::tools::Tool;

/// Runs a tool, or uploads with the tool `upload1`.
#[utoipa::path(post, path = "/api/tools", tag = "tools", request_body = Value,
    description = "tool_id (or tool_uuid), tool_version, history_id, inputs: flat or nested, or JSON text",
    responses((status = 200, description = "outputs, output_collections, jobs, implicit_collections, errors", body = Value)))]
pub async fn run(
    State(app): State<App>,
    caller: Caller,
    mut payload: Payload,
) -> Result<Json<Value>, ApiError> {
    let caller = payload.caller.take().unwrap_or(caller);
    if payload.text("tool_id") == Some("upload1") {
        return upload1(&app, &caller, payload).await.map(Json);
    }
    let body = Value::Object(payload.fields);
    let payload = ToolPayload::parse(&body)?;
    let mut q = app.store.reader();
    let request = request(&app, &mut q, &caller, &payload).await?;
    let answer = app.seams().tool_runs.run(request).await?;
    shape(&app, &mut q, &caller, &answer).await.map(Json)
}

/// The tool that is asked for; of a user-defined one with its id.
pub async fn tool_of(
    app: &App,
    q: &mut impl Query,
    caller: &Caller,
    payload: &ToolPayload,
) -> Result<(Arc<Tool>, Option<i64>), ApiError> {
    match (&payload.tool_uuid, &payload.tool_id) {
        (Some(uuid), _) => {
            let uuid =
                Uuid::parse_str(uuid).map_err(|_| ApiError::invalid("tool_uuid is not a uuid."))?;
            let found = dynamic_tool(app, q, caller, uuid).await?;
            let (stored, tool) = found.ok_or_else(|| missing(&uuid.to_string()))?;
            Ok((tool, Some(stored.id)))
        }
        (None, id) => {
            let id = id.as_deref().unwrap_or_default();
            let tool = tool_by_id(app, id, payload.tool_version.as_deref());
            Ok((tool.ok_or_else(|| missing(id))?, None))
        }
    }
}

/// What is asked for, checked.
pub async fn request(
    app: &App,
    q: &mut impl Query,
    caller: &Caller,
    payload: &ToolPayload,
) -> Result<ToolRunRequest, ApiError> {
    let user_id = caller.user_id()?;
    let (tool, dynamic_tool_id) = tool_of(app, q, caller, payload).await?;
    let history = match &payload.history_id {
        Some(id) => access::history(app, q, caller, id, Wish::Change).await?,
        None => histories::most_recent(q, user_id)
            .await?
            .ok_or_else(|| ApiError::missing("Parameter history_id is required."))?,
    };
    access::require_open(&history)?;
    let items = look_up(app, q, caller, payload.references()?).await?;
    let runs = runs(&tool, payload, &items)?;
    let rerun = payload.rerun_remap_job_id.as_deref();
    let rerun_remap_job_id = match rerun.map(|id| app.decode(id)).transpose()? {
        Some(id) if jobs::by_id(q, id, Some(user_id)).await?.is_none() => {
            return Err(ApiError::not_found("The job to remap was not found."));
        }
        id => id,
    };
    Ok(ToolRunRequest {
        user_id,
        history_id: history.id,
        tool,
        dynamic_tool_id,
        runs,
        use_cached_job: payload.use_cached_job,
        rerun_remap_job_id,
        note: None,
    })
}

fn missing(id: &str) -> ApiError {
    let shown: String = id.chars().take(200).collect();
    ApiError::not_found(format!("Could not find tool with id '{shown}'."))
}

async fn shape(
    app: &App,
    q: &mut impl Query,
    caller: &Caller,
    answer: &ToolRunAnswer,
) -> Result<Value, ApiError> {
    let ids: Vec<i64> = answer.outputs.iter().map(|(_, id)| *id).collect();
    let hdas = datasets::by_ids(q, &ids).await?;
    let mut outputs = Vec::with_capacity(ids.len());
    for (name, id) in &answer.outputs {
        if let Some(hda) = hdas.get(id) {
            let mut shape = hda_detailed(app, hda);
            shape["output_name"] = json!(name);
            outputs.push(shape);
        }
    }
    let mut lists = Vec::new();
    for made in [&answer.output_collections, &answer.implicit_collections] {
        let mut shapes = Vec::with_capacity(made.len());
        // As many as the tool has outputs: a handful.
        for (name, id) in made {
            if let Some(hdca) = collections::by_id(q, *id).await? {
                let mut shape = load_hdca(app, q, caller, &hdca).await?;
                shape["output_name"] = json!(name);
                shapes.push(shape);
            }
        }
        lists.push(Value::Array(shapes));
    }
    let implicit = lists.pop();
    let mut shown = Vec::with_capacity(answer.jobs.len());
    for id in &answer.jobs {
        if let Some(job) = jobs::by_id(q, *id, None).await? {
            shown.push(summary(app, &job, false));
        }
    }
    Ok(json!({
        "outputs": outputs,
        "output_collections": lists.pop(),
        "implicit_collections": implicit,
        "jobs": shown,
        "errors": answer.errors,
        "produces_entry_points": false,
    }))
}
