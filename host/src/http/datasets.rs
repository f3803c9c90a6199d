//! One dataset: what is known of it, where it came from, changing and deleting it. Its bytes: [`super::display`].

use axum::Json;
use axum::extract::{Path, State};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::{self, Wish};
use super::app::App;
use super::auth::Caller;
use super::error::{ApiError, from_serde};
use super::extract::{self, Params};
use super::shapes::{self, only};
use crate::invocation_request::tool_request::encoded;
use crate::store::datasets::{self, Hda, HdaChange};
use crate::store::{Durability, Query, provenance};

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(show, update, delete))
        .routes(routes!(storage))
        .routes(routes!(extra_files))
        .routes(routes!(extra_files_of))
        .routes(routes!(provenance_of))
}

/// A dataset.
#[utoipa::path(get, path = "/api/datasets/{id}", tag = "datasets",
    params(("id" = String, Path), ("hda_ldda" = Option<String>, Query, description = "Only `hda` is known"),
           ("keys" = Option<String>, Query)),
    responses((status = 200, description = "The dataset", body = Value)))]
async fn show(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let mut reader = app.store.reader();
    let hda = access::hda(&app, &mut reader, &caller, &id, Wish::Read).await?;
    let shape = match params.text("view") {
        Some("summary") => shapes::hda_summary(&app, &hda),
        _ => shapes::hda_detailed(&app, &hda),
    };
    Ok(Json(only(shape, &params.list("keys"))))
}

/// What may be changed of a dataset.
#[derive(Deserialize, ToSchema)]
struct DatasetChange {
    name: Option<String>,
    /// The file type.
    datatype: Option<String>,
    file_ext: Option<String>,
    extension: Option<String>,
    genome_build: Option<String>,
    dbkey: Option<String>,
    misc_info: Option<String>,
    annotation: Option<String>,
    deleted: Option<bool>,
    visible: Option<bool>,
    tags: Option<Vec<String>>,
}

/// Changes a dataset.
#[utoipa::path(put, path = "/api/datasets/{id}", tag = "datasets", request_body = DatasetChange,
    params(("id" = String, Path)), responses((status = 200, description = "The dataset", body = Value)))]
async fn update(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    extract::Json(body): extract::Json<Value>,
) -> Result<Json<Value>, ApiError> {
    change_one(&app, &caller, &id, body).await.map(Json)
}

/// Changes the dataset behind an encoded id.
pub async fn change_one(
    app: &App,
    caller: &Caller,
    id: &str,
    body: Value,
) -> Result<Value, ApiError> {
    let body: DatasetChange = serde_json::from_value(body).map_err(|e| from_serde(&e))?;
    let extension = body.datatype.or(body.file_ext).or(body.extension);
    if let Some(extension) = &extension
        && crate::tools::datatypes::datatype(extension).is_none()
    {
        let shown: String = extension.chars().take(60).collect();
        return Err(ApiError::invalid(format!(
            "{shown:?} is not a file type of this server."
        )));
    }
    let mut tx = app.store.begin().await?;
    let hda = access::hda(app, &mut tx, caller, id, Wish::Change).await?;
    if hda.purged && body.deleted == Some(false) {
        return Err(ApiError::message("A purged dataset cannot be undeleted."));
    }
    let metadata = body.genome_build.or(body.dbkey).map(|build| {
        let mut metadata = hda.metadata.as_object().cloned().unwrap_or_default();
        metadata.insert("dbkey".to_owned(), json!(build));
        Value::Object(metadata)
    });
    let change = HdaChange {
        name: body.name.map(|n| n.chars().take(255).collect()),
        extension,
        info: body.misc_info,
        annotation: body.annotation,
        deleted: body.deleted,
        visible: body.visible,
        tags: body.tags.map(|t| json!(t)),
        metadata,
    };
    datasets::update(&mut tx, &hda, &change, app.now_ms()).await?;
    tx.commit(Durability::Acknowledged, "dataset.update")
        .await?;
    show_by_id(app, hda.id).await
}

/// Deletes a dataset; with `purge` for good.
#[utoipa::path(delete, path = "/api/datasets/{id}", tag = "datasets",
    params(("id" = String, Path), ("purge" = Option<bool>, Query)),
    responses((status = 200, description = "The dataset", body = Value)))]
async fn delete(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    params: Params,
    extract::Json(body): extract::Json<Value>,
) -> Result<Json<Value>, ApiError> {
    let purge = params.is("purge")? || body.get("purge").and_then(Value::as_bool).unwrap_or(false);
    delete_one(&app, &caller, &id, purge).await.map(Json)
}

/// Deletes the dataset behind an encoded id. Its file goes when it is purged and no other history shows it.
pub async fn delete_one(
    app: &App,
    caller: &Caller,
    id: &str,
    purge: bool,
) -> Result<Value, ApiError> {
    let now_ms = app.now_ms();
    let mut tx = app.store.begin().await?;
    let hda = access::hda(app, &mut tx, caller, id, Wish::Change).await?;
    let mut orphans = Vec::new();
    match purge {
        true => orphans = datasets::purge(&mut tx, &[hda.id], now_ms).await?,
        false => datasets::delete(&mut tx, &[hda.id], now_ms).await?,
    }
    crate::store::histories::touch(&mut tx, hda.history_id, now_ms).await?;
    tx.commit(Durability::Acknowledged, "dataset.delete")
        .await?;
    super::histories::remove_files(app, orphans).await;
    show_by_id(app, hda.id).await
}

async fn show_by_id(app: &App, id: i64) -> Result<Value, ApiError> {
    let hda = datasets::by_id(&mut app.store.reader(), id)
        .await?
        .ok_or_else(|| ApiError::not_found("Dataset with the id provided was not found."))?;
    Ok(shapes::hda_detailed(app, &hda))
}

/// Where the bytes are kept, as far as callers may know.
#[utoipa::path(get, path = "/api/datasets/{id}/storage", tag = "datasets", params(("id" = String, Path)),
    responses((status = 200, description = "About the storage", body = Value)))]
async fn storage(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let hda = access::hda(&app, &mut app.store.reader(), &caller, &id, Wish::Read).await?;
    Ok(Json(json!({
        "object_store_id": null,
        "name": null,
        "description": null,
        "dataset_state": hda.state,
        "hashes": [],
        "sources": [],
        "percent_used": null,
        "shareable": true,
        "relocatable": false,
        "quota": { "source": null, "enabled": false },
        "badges": [],
        "private": false,
    })))
}

/// The further files of a dataset of several files. No such type is known here, so there are none.
#[utoipa::path(get, path = "/api/histories/{history_id}/contents/{id}/extra_files", tag = "datasets",
    params(("history_id" = String, Path), ("id" = String, Path)),
    responses((status = 200, description = "An empty list", body = Vec<Value>)))]
async fn extra_files(
    State(app): State<App>,
    caller: Caller,
    Path((_history_id, id)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    access::hda(&app, &mut app.store.reader(), &caller, &id, Wish::Read).await?;
    Ok(Json(json!([])))
}

/// As below a history.
#[utoipa::path(get, path = "/api/datasets/{id}/extra_files", tag = "datasets", params(("id" = String, Path)),
    responses((status = 200, description = "An empty list", body = Vec<Value>)))]
async fn extra_files_of(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    access::hda(&app, &mut app.store.reader(), &caller, &id, Wish::Read).await?;
    Ok(Json(json!([])))
}

/// More ancestors than this are not followed.
const ANCESTORS_MAX: usize = 1000;

/// Which job made a dataset, from which parameters and datasets. With `follow`, the same of each of those.
#[utoipa::path(get, path = "/api/histories/{history_id}/contents/{id}/provenance", tag = "datasets",
    params(("history_id" = String, Path), ("id" = String, Path), ("follow" = Option<bool>, Query)),
    responses((status = 200, description = "`id`, `uuid`, `job_id`, `tool_id`, `parameters`, `stdout`, `stderr`", body = Value)))]
async fn provenance_of(
    State(app): State<App>,
    caller: Caller,
    Path((_history_id, id)): Path<(String, String)>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let follow = params.is("follow")?;
    let mut reader = app.store.reader();
    let hda = access::hda(&app, &mut reader, &caller, &id, Wish::Read).await?;
    let mut budget = ANCESTORS_MAX;
    tell(&app, &mut reader, &caller, &hda, follow, &mut budget)
        .await
        .map(Json)
}

async fn tell(
    app: &App,
    query: &mut (impl Query + Clone),
    caller: &Caller,
    hda: &Hda,
    follow: bool,
    budget: &mut usize,
) -> Result<Value, ApiError> {
    *budget = budget.saturating_sub(1);
    let Some(job_id) = hda.creating_job else {
        return Ok(minimal(app, hda));
    };
    let Some(origin) = provenance::origin(query, job_id).await? else {
        return Ok(minimal(app, hda));
    };
    let mut parameters = Map::new();
    for (name, value) in origin.parameters {
        parameters.insert(name, encoded(&value, &|id| app.encode(id)));
    }
    let input_ids: Vec<i64> = origin.inputs.iter().map(|(_, id)| *id).collect();
    let inputs = datasets::by_ids(query, &input_ids).await?;
    for (name, id) in origin.inputs {
        let Some(input) = inputs.get(&id) else {
            continue;
        };
        let may_read = access::require_hda(query, caller, input, Wish::Read)
            .await
            .is_ok();
        let told = if follow && may_read && *budget > 0 {
            Box::pin(tell(app, query, caller, input, follow, budget)).await?
        } else {
            minimal(app, input)
        };
        parameters.insert(name, told);
    }
    Ok(json!({
        "id": app.encode(hda.id),
        "uuid": hda.uuid,
        "job_id": app.encode(job_id),
        "tool_id": origin.tool_id,
        "parameters": parameters,
        "stdout": origin.stdout,
        "stderr": origin.stderr,
    }))
}

fn minimal(app: &App, hda: &Hda) -> Value {
    json!({ "id": app.encode(hda.id), "uuid": hda.uuid })
}
