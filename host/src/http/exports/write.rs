//! Archives that are put somewhere instead of being fetched (Galaxy's `write_store`), and what became of them.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::routes::{Way, order_history, order_invocation, stored};
use super::{target, workshop};
use crate::http::app::App;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::http::extract;
use crate::store::short_term_storage::Stored;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(write_invocation))
        .routes(routes!(write_history))
        .routes(routes!(invocations_from_store))
        .routes(routes!(histories_from_store))
        .routes(routes!(task_state))
        .routes(routes!(task_result))
}

/// The place in a body, if something may be put there.
pub fn allowed_target<'a>(app: &App, body: &'a Value, name: &str) -> Result<&'a str, ApiError> {
    let uri = match body.get("target_uri") {
        None | Some(Value::Null) => return Err(ApiError::missing("target_uri is missing.")),
        Some(Value::String(uri)) => uri,
        Some(_) => return Err(ApiError::invalid("target_uri must be a text.")),
    };
    let directories = &app.settings.export_directories;
    target::resolve(directories, uri, name).map_err(ApiError::disabled)?;
    Ok(uri)
}

fn task(uuid: Uuid, name: &str) -> Json<Value> {
    Json(json!({"id": uuid.to_string(), "ignored": false, "name": name, "queue": null}))
}

/// Puts an archive of an invocation at a `file://` URL below a directory that the operator allows.
#[utoipa::path(post, path = "/api/invocations/{id}/write_store", tag = "exports", request_body = Value,
    params(("id" = String, Path)),
    description = "`{target_uri, model_store_format, include_files, include_deleted, include_hidden, bco_…}`",
    responses((status = 200, description = "`{id, ignored, name, queue}`: ask `/api/tasks/{id}/state`", body = Value)))]
async fn write_invocation(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    extract::Json(body): extract::Json<Value>,
) -> Result<Json<Value>, ApiError> {
    let uuid = order_invocation(&app, &caller, &id, &body, Way::Put).await?;
    Ok(task(uuid, "write_invocation_to"))
}

/// Puts an archive of a history at a `file://` URL below a directory that the operator allows.
#[utoipa::path(post, path = "/api/histories/{history_id}/write_store", tag = "exports", request_body = Value,
    params(("history_id" = String, Path)),
    description = "`{target_uri, model_store_format, include_files, include_deleted, include_hidden}`",
    responses((status = 200, description = "`{id, ignored, name, queue}`: ask `/api/tasks/{id}/state`", body = Value)))]
async fn write_history(
    State(app): State<App>,
    caller: Caller,
    Path(history_id): Path<String>,
    extract::Json(body): extract::Json<Value>,
) -> Result<Json<Value>, ApiError> {
    let uuid = order_history(&app, &caller, &history_id, &body, Way::Put).await?;
    Ok(task(uuid, "write_history_to"))
}

/// Not done here: an archive does not hold what an invocation of this server needs.
#[utoipa::path(post, path = "/api/invocations/from_store", tag = "exports", request_body = Value,
    responses((status = 501, description = "Invocations are not taken in", body = Value)))]
async fn invocations_from_store(caller: Caller) -> Result<Json<Value>, ApiError> {
    caller.user_id()?;
    Err(ApiError::not_implemented(
        "This server takes in no invocations from archives. Import the archive's workflow (workflows/workflow.ga) with POST /api/workflows, and its data with POST /api/tools/fetch.",
    ))
}

/// Not done by this path: a history is taken in by `POST /api/histories` with `archive_file`.
#[utoipa::path(post, path = "/api/histories/from_store", tag = "exports", request_body = Value,
    responses((status = 501, description = "Use POST /api/histories with archive_file", body = Value)))]
async fn histories_from_store(caller: Caller) -> Result<Json<Value>, ApiError> {
    caller.user_id()?;
    Err(ApiError::not_implemented(
        "This server takes in the archive of a history by POST /api/histories, as the file archive_file of a form.",
    ))
}

/// The words of Galaxy's task queue.
fn word(app: &App, stored: &Stored) -> &'static str {
    match stored.state.as_str() {
        "ok" => "SUCCESS",
        "error" => "FAILURE",
        _ => {
            workshop::see_to(app, stored);
            "PENDING"
        }
    }
}

/// What became of an archive that is to be put somewhere: `PENDING`, `SUCCESS` or `FAILURE`.
#[utoipa::path(get, path = "/api/tasks/{task_id}/state", tag = "exports", params(("task_id" = String, Path)),
    responses((status = 200, description = "One word", body = String)))]
async fn task_state(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let found = stored(&app, &caller, &id).await?;
    Ok(Json(word(&app, &found).into()))
}

/// The same, with why it failed.
#[utoipa::path(get, path = "/api/tasks/{task_id}/result", tag = "exports", params(("task_id" = String, Path)),
    responses((status = 200, description = "`{state, result}`", body = Value)))]
async fn task_result(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let found = stored(&app, &caller, &id).await?;
    let state = word(&app, &found);
    Ok(Json(
        json!({"state": state, "result": found.message.unwrap_or_default()}),
    ))
}
