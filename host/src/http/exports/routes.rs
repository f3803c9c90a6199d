//! Asking for archives, asking whether they are ready, fetching them.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use tokio_util::io::ReaderStream;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::{invocation, workshop, write};
use crate::http::access::{self, Wish};
use crate::http::app::App;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::http::extract::{self, Params, parse_flag};
use crate::http::invocations::find as find_invocation;
use crate::model::hook::FORMATS;
use crate::store::short_term_storage::{self, Stored, Wanted};

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(prepare_invocation))
        .routes(routes!(prepare_history))
        .routes(routes!(biocompute))
        .routes(routes!(ready))
        .routes(routes!(fetch))
        .routes(routes!(exports, export))
        .routes(routes!(fetch_export))
        .merge(write::routes())
}

const FLAGS: [&str; 5] = [
    "include_files",
    "include_deleted",
    "include_hidden",
    "bco_merge_history_metadata",
    "gzip",
];

/// What an archive is to be like: the words of the body that this server knows, checked.
fn request_of(body: &Value, default_format: &str, formats: &[&str]) -> Result<Value, ApiError> {
    if !body.is_object() {
        return Err(ApiError::invalid("The request must be a JSON object."));
    }
    let mut request = Map::new();
    let format = match body.get("model_store_format") {
        None | Some(Value::Null) => default_format,
        Some(Value::String(format)) if formats.contains(&format.as_str()) => format,
        Some(_) => {
            return Err(ApiError::invalid(format!(
                "model_store_format must be one of {}.",
                formats.join(", ")
            )));
        }
    };
    request.insert("model_store_format".to_owned(), json!(format));
    for name in FLAGS {
        let flag = match body.get(name) {
            None | Some(Value::Null) => continue,
            Some(Value::Bool(flag)) => *flag,
            Some(Value::String(text)) => parse_flag(text)
                .ok_or_else(|| ApiError::invalid(format!("{name} must be true or false.")))?,
            Some(_) => return Err(ApiError::invalid(format!("{name} must be true or false."))),
        };
        request.insert(name.to_owned(), json!(flag));
    }
    /// Longer texts about a BioCompute Object are not kept.
    const OVERRIDE_MAX: usize = 100_000;
    for name in [
        "bco_override_environment_variables",
        "bco_override_empirical_error",
        "bco_override_algorithmic_error",
        "bco_override_xref",
    ] {
        if let Some(value) = body.get(name).filter(|value| !value.is_null()) {
            if value.to_string().len() > OVERRIDE_MAX {
                return Err(ApiError::invalid(format!("{name} is too long.")));
            }
            request.insert(name.to_owned(), value.clone());
        }
    }
    Ok(Value::Object(request))
}

pub(super) fn media_type(format: &str) -> &'static str {
    match format.rsplit('.').next() {
        Some("json") => "application/json",
        Some("zip") => "application/zip",
        _ => "application/gzip",
    }
}

/// What becomes of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// It is kept until somebody fetches it.
    Fetched,
    /// It is put at the body's `target_uri`.
    Put,
}

impl Way {
    fn add_to(
        self,
        app: &App,
        body: &Value,
        request: &mut Value,
        name: &str,
    ) -> Result<(), ApiError> {
        if self == Way::Put {
            request["target_uri"] = json!(write::allowed_target(app, body, name)?);
        }
        Ok(())
    }
}

pub(super) async fn order_invocation(
    app: &App,
    caller: &Caller,
    id: &str,
    body: &Value,
    way: Way,
) -> Result<Uuid, ApiError> {
    let mut q = app.store.reader();
    let invocation = find_invocation(app, &mut q, caller, id, Wish::Change).await?;
    let default = match way {
        Way::Fetched => "rocrate.zip",
        Way::Put => "tar.gz",
    };
    let mut request = request_of(body, default, &FORMATS)?;
    let format = request["model_store_format"].as_str().unwrap_or(default);
    let format = format.to_owned();
    let file_name = format!("invocation-{}.{format}", invocation.uuid);
    way.add_to(app, body, &mut request, &file_name)?;
    let wanted = Wanted {
        user_id: caller.user_id()?,
        kind: "invocation",
        item_id: invocation.id,
        request: &request,
        file_name: &file_name,
        media_type: media_type(&format),
    };
    Ok(workshop::order(app, &wanted).await?.1)
}

pub(super) async fn order_history(
    app: &App,
    caller: &Caller,
    history_id: &str,
    body: &Value,
    way: Way,
) -> Result<Uuid, ApiError> {
    let mut q = app.store.reader();
    let history = access::history(app, &mut q, caller, history_id, Wish::Change).await?;
    let mut request = request_of(body, "tar.gz", &["tar.gz", "tgz"])?;
    let file_name = format!("history-{history_id}.tar.gz");
    way.add_to(app, body, &mut request, &file_name)?;
    let wanted = Wanted {
        user_id: caller.user_id()?,
        kind: "history",
        item_id: history.id,
        request: &request,
        file_name: &file_name,
        media_type: "application/gzip",
    };
    Ok(workshop::order(app, &wanted).await?.1)
}

/// Asks for an archive of an invocation: `rocrate.zip` (default), `bco.json`, `tgz`, `tar.gz`, `bag.zip`.
#[utoipa::path(post, path = "/api/invocations/{id}/prepare_store_download", tag = "exports", request_body = Value,
    params(("id" = String, Path)),
    description = "`{model_store_format, include_files, include_deleted, include_hidden, bco_…}`",
    responses((status = 200, description = "`{storage_request_id}`", body = Value)))]
async fn prepare_invocation(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    extract::Json(body): extract::Json<Value>,
) -> Result<Json<Value>, ApiError> {
    let uuid = order_invocation(&app, &caller, &id, &body, Way::Fetched).await?;
    Ok(Json(json!({"storage_request_id": uuid.to_string()})))
}

/// Asks for an archive of a history: `tar.gz` or `tgz`.
#[utoipa::path(post, path = "/api/histories/{history_id}/prepare_store_download", tag = "exports", request_body = Value,
    params(("history_id" = String, Path)),
    responses((status = 200, description = "`{storage_request_id}`", body = Value)))]
async fn prepare_history(
    State(app): State<App>,
    caller: Caller,
    Path(history_id): Path<String>,
    extract::Json(body): extract::Json<Value>,
) -> Result<Json<Value>, ApiError> {
    let uuid = order_history(&app, &caller, &history_id, &body, Way::Fetched).await?;
    Ok(Json(json!({"storage_request_id": uuid.to_string()})))
}

/// An invocation as BioCompute Object.
#[utoipa::path(get, path = "/api/invocations/{id}/biocompute", tag = "exports", params(("id" = String, Path)),
    responses((status = 200, description = "The object (IEEE 2791)", body = Value)))]
async fn biocompute(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let mut q = app.store.reader();
    let found = find_invocation(&app, &mut q, &caller, &id, Wish::Read).await?;
    invocation::biocompute(&app, &mut q, found.id)
        .await
        .map(Json)
}

/// Somebody else's files are answered as if they were not there.
pub(super) async fn stored(app: &App, caller: &Caller, id: &str) -> Result<Stored, ApiError> {
    let missing = || ApiError::not_found("There is no such file; it may have been removed.");
    let uuid = Uuid::parse_str(id).map_err(|_| missing())?;
    let found = short_term_storage::by_uuid(&mut app.store.reader(), uuid).await?;
    let found = found.ok_or_else(missing)?;
    match caller.is_admin || caller.user_id()? == found.user_id {
        true => Ok(found),
        false => Err(missing()),
    }
}

/// One that is to be fetched; what is put somewhere is a task (`/api/tasks`).
async fn fetchable(app: &App, caller: &Caller, id: &str) -> Result<Stored, ApiError> {
    let found = stored(app, caller, id).await?;
    match found.is_put {
        false => Ok(found),
        true => Err(ApiError::not_found(
            "This archive is put somewhere and not kept here; ask /api/tasks/ID/state about it.",
        )),
    }
}

/// Whether a file is ready. 500 if it could not be made.
#[utoipa::path(get, path = "/api/short_term_storage/{storage_request_id}/ready", tag = "exports",
    params(("storage_request_id" = String, Path)),
    responses((status = 200, description = "true or false", body = bool)))]
async fn ready(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<bool>, ApiError> {
    let found = fetchable(&app, &caller, &id).await?;
    is_ready(&app, &found).map(Json)
}

fn is_ready(app: &App, found: &Stored) -> Result<bool, ApiError> {
    match found.state.as_str() {
        "ok" => Ok(true),
        "error" => {
            Err(ApiError::internal(found.message.clone().unwrap_or_else(
                || "The file could not be made.".to_owned(),
            )))
        }
        _ => {
            workshop::see_to(app, found);
            Ok(false)
        }
    }
}

/// The file, when it is ready.
#[utoipa::path(get, path = "/api/short_term_storage/{storage_request_id}", tag = "exports",
    params(("storage_request_id" = String, Path)),
    responses((status = 200, description = "The file", body = Vec<u8>)))]
async fn fetch(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let found = fetchable(&app, &caller, &id).await?;
    send(&app, &found).await
}

async fn send(app: &App, found: &Stored) -> Result<Response, ApiError> {
    if !is_ready(app, found)? {
        return Err(ApiError::conflict("The file is not ready yet."));
    }
    let gone = |_| ApiError::not_found("The file has been removed.");
    let path = workshop::file(app, found.uuid);
    let file = tokio::fs::File::open(path).await.map_err(gone)?;
    let length = file.metadata().await.map_err(ApiError::broken)?.len();
    let headers = [
        (header::CONTENT_TYPE, found.media_type.clone()),
        (header::CONTENT_LENGTH, length.to_string()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{}\"", found.file_name),
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
    ];
    Ok((
        headers,
        Body::from_stream(ReaderStream::with_capacity(file, 64 << 10)),
    )
        .into_response())
}

fn export_shape(app: &App, history_id: &str, stored: &Stored, up_to_date: bool) -> Value {
    let id = app.encode(stored.id);
    json!({
        "id": id,
        "job_id": id,
        "ready": stored.state == "ok",
        "preparing": stored.state == "new",
        "up_to_date": up_to_date,
        "download_url": format!("/api/histories/{history_id}/exports/{id}"),
        "external_download_latest_url": null,
        "external_download_permanent_url": null,
    })
}

/// The archives of a history that the caller asked for.
#[utoipa::path(get, path = "/api/histories/{history_id}/exports", tag = "exports", params(("history_id" = String, Path)),
    responses((status = 200, description = "Archives, newest first", body = Vec<Value>)))]
async fn exports(
    State(app): State<App>,
    caller: Caller,
    Path(history_id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let mut q = app.store.reader();
    let history = access::history(&app, &mut q, &caller, &history_id, Wish::Change).await?;
    let user = caller.user_id()?;
    let found = short_term_storage::of_item(&mut q, "history", history.id, user).await?;
    let found = found.iter().filter(|stored| !stored.is_put);
    let shapes = found.map(|stored| {
        let is_current = stored.create_time > history.update_time;
        export_shape(&app, &history_id, stored, is_current)
    });
    Ok(Json(shapes.collect()))
}

/// Asks for an archive of a history. 202 while it is being made, 200 with `download_url` when it is ready; the history as it
/// was then, until it changes.
#[utoipa::path(put, path = "/api/histories/{history_id}/exports", tag = "exports",
    params(("history_id" = String, Path), ("gzip" = Option<bool>, Query, description = "Accepted; archives are always compressed"),
           ("include_hidden" = Option<bool>, Query), ("include_deleted" = Option<bool>, Query)),
    responses((status = 200, description = "`{download_url, …}`", body = Value),
              (status = 202, description = "`{job_id}`: ask again", body = Value)))]
async fn export(
    State(app): State<App>,
    caller: Caller,
    Path(history_id): Path<String>,
    params: Params,
    extract::Json(body): extract::Json<Value>,
) -> Result<Response, ApiError> {
    let mut q = app.store.reader();
    let history = access::history(&app, &mut q, &caller, &history_id, Wish::Change).await?;
    let mut asked = body.as_object().cloned().unwrap_or_default();
    asked.remove("model_store_format");
    for name in ["include_hidden", "include_deleted"] {
        if let Some(flag) = params.flag(name)? {
            asked.insert(name.to_owned(), json!(flag));
        }
    }
    asked.remove("gzip");
    let mut request = request_of(&Value::Object(asked), "tar.gz", &["tar.gz"])?;
    // Galaxy's exports leave hidden and deleted datasets out unless they are asked for.
    for name in ["include_hidden", "include_deleted"] {
        if request.get(name).is_none() {
            request[name] = json!(false);
        }
    }
    let user = caller.user_id()?;
    let known = short_term_storage::of_item(&mut q, "history", history.id, user).await?;
    let is_current = |stored: &&Stored| {
        let same = ["include_hidden", "include_deleted"]
            .iter()
            .all(|name| stored.request.get(name) == request.get(name));
        same && !stored.is_put
            && stored.create_time > history.update_time
            && stored.state != "error"
    };
    let current = match known.iter().find(is_current) {
        Some(stored) => stored.clone(),
        None => {
            let wanted = Wanted {
                user_id: user,
                kind: "history",
                item_id: history.id,
                request: &request,
                file_name: &format!("history-{history_id}.tar.gz"),
                media_type: "application/gzip",
            };
            let (id, _) = workshop::order(&app, &wanted).await?;
            let made = short_term_storage::by_id(&mut q, id).await?;
            made.ok_or_else(|| ApiError::internal("The wish was not stored."))?
        }
    };
    let shape = export_shape(&app, &history_id, &current, true);
    let status = match is_ready(&app, &current)? {
        true => StatusCode::OK,
        false => StatusCode::ACCEPTED,
    };
    Ok((status, Json(shape)).into_response())
}

/// An archive of a history.
#[utoipa::path(get, path = "/api/histories/{history_id}/exports/{export_id}", tag = "exports",
    params(("history_id" = String, Path), ("export_id" = String, Path)),
    responses((status = 200, description = "A compressed tar file", body = Vec<u8>)))]
async fn fetch_export(
    State(app): State<App>,
    caller: Caller,
    Path((history_id, export_id)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let mut q = app.store.reader();
    let history = access::history(&app, &mut q, &caller, &history_id, Wish::Change).await?;
    let missing = || ApiError::not_found("There is no such archive; it may have been removed.");
    let found = short_term_storage::by_id(&mut q, app.decode(&export_id)?).await?;
    let found = found
        .filter(|s| s.kind == "history" && s.item_id == history.id && !s.is_put)
        .ok_or_else(missing)?;
    send(&app, &found).await
}
