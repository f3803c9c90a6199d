//! Version, configuration, ids: what a client asks before anything else.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::app::App;
use super::auth::Caller;
use super::error::ApiError;

/// The release of Galaxy whose API this is.
pub const VERSION_MAJOR: &str = "26.1";
const VERSION_MINOR: &str = "2";

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(version))
        .routes(routes!(configuration))
        .routes(routes!(encode_id))
        .routes(routes!(decode_id))
}

/// The release of Galaxy whose API this server speaks, and its own.
#[utoipa::path(get, path = "/api/version", tag = "configuration", security(()),
    responses((status = 200, description = "`version_major`, `version_minor`, `extra`", body = Value)))]
async fn version() -> Json<Value> {
    Json(json!({
        "version_major": VERSION_MAJOR,
        "version_minor": VERSION_MINOR,
        "extra": { "server": "barycenter", "server_version": env!("CARGO_PKG_VERSION") },
    }))
}

/// What somebody sees who comes with a browser. BioBlend asks for it to find out whether a server speaks TLS.
pub async fn front_page() -> impl IntoResponse {
    const TEXT: &str = "Barycenter schedules workflows. Galaxy's API is below /api (its paths: /api/openapi.json), \
                        GA4GH WES below /ga4gh/wes/v1.\n";
    ([(CONTENT_TYPE, "text/plain; charset=utf-8")], TEXT)
}

/// What a client may know about how this server is set up.
#[utoipa::path(get, path = "/api/configuration", tag = "configuration", security(()),
    responses((status = 200, description = "The settings", body = Value)))]
async fn configuration(State(app): State<App>, caller: Caller) -> Json<Value> {
    let mut answer = json!({
        "brand": app.settings.brand,
        "version_major": VERSION_MAJOR,
        "version_minor": VERSION_MINOR,
        "use_remote_user": false,
        "single_user": false,
        "require_login": false,
        "allow_user_creation": false,
        "allow_user_deletion": false,
        "enable_quotas": false,
        "enable_unique_workflow_defaults": false,
        "has_user_tool_filters": false,
        "simplified_workflow_run_ui": "prefer",
        "chunk_upload_size": 10_485_760,
        "file_sources_configured": false,
        "upload_from_form_button": "always-on",
        "visualizations_visible": false,
        "server_time": super::time::iso(app.now_ms()),
    });
    if caller.is_admin {
        answer["is_admin_user"] = Value::Bool(true);
    }
    Json(answer)
}

/// The encoded form of a database id. For administrators.
#[utoipa::path(get, path = "/api/configuration/encode/{id}", tag = "configuration",
    params(("id" = i64, Path, description = "A database id")),
    responses((status = 200, description = "`encoded_id`", body = Value)))]
async fn encode_id(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    caller.require_admin()?;
    let id: i64 = id
        .parse()
        .ok()
        .filter(|id| *id > 0)
        .ok_or_else(|| ApiError::invalid("An id is a whole number from 1."))?;
    Ok(Json(json!({ "encoded_id": app.encode(id) })))
}

/// The database id behind an encoded one. For administrators.
#[utoipa::path(get, path = "/api/configuration/decode/{id}", tag = "configuration",
    params(("id" = String, Path, description = "An encoded id")),
    responses((status = 200, description = "`decoded_id`", body = Value)))]
async fn decode_id(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    caller.require_admin()?;
    Ok(Json(json!({ "decoded_id": app.decode(&id)? })))
}
