//! What is in a history: lists over datasets and collections ([`list`]), adding, copying, changing, deleting.

mod list;

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Map, Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::{self, Wish};
use super::app::App;
use super::auth::Caller;
use super::collections::{CollectionChange, NewCollectionBody};
use super::error::{ApiError, from_serde};
use super::extract::{self, Params};
use super::shapes::{self, only};
use super::{collections as collection_routes, datasets as dataset_routes};
use crate::store::{Durability, collections, datasets, histories};

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list::list, add))
        .routes(routes!(show_any, add_typed, update_any, delete_any))
        .routes(routes!(show, update, delete))
        .routes(routes!(list::all_datasets))
}

/// Adds to a history: a new collection (`type` `dataset_collection` with `element_identifiers`), or a copy of
/// a dataset or collection (`content` and `source` `hda` or `hdca`).
#[utoipa::path(post, path = "/api/histories/{history_id}/contents", tag = "histories", request_body = Value,
    params(("history_id" = String, Path)),
    responses((status = 200, description = "What was added", body = Value)))]
async fn add(
    State(app): State<App>,
    caller: Caller,
    Path(history_id): Path<String>,
    extract::Json(body): extract::Json<Map<String, Value>>,
) -> Result<Json<Value>, ApiError> {
    let kind = body
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or("dataset")
        .to_owned();
    add_one(&app, &caller, &history_id, &kind, body)
        .await
        .map(Json)
}

/// As without the last part of the path; it stands for `type` (`datasets` or `dataset_collections`).
#[utoipa::path(post, path = "/api/histories/{history_id}/contents/{id}", tag = "histories", request_body = Value,
    params(("history_id" = String, Path), ("id" = String, Path, description = "`datasets` or `dataset_collections`")),
    responses((status = 200, description = "What was added", body = Value)))]
async fn add_typed(
    State(app): State<App>,
    caller: Caller,
    Path((history_id, id)): Path<(String, String)>,
    extract::Json(body): extract::Json<Map<String, Value>>,
) -> Result<Json<Value>, ApiError> {
    let kind = id.strip_suffix('s').unwrap_or(&id);
    add_one(&app, &caller, &history_id, kind, body)
        .await
        .map(Json)
}

async fn add_one(
    app: &App,
    caller: &Caller,
    history_id: &str,
    kind: &str,
    body: Map<String, Value>,
) -> Result<Value, ApiError> {
    let text = |key: &str| body.get(key).and_then(Value::as_str);
    let content = text("content").map(str::to_owned);
    let source = text("source").map(str::to_owned);
    match (kind, content, source.as_deref()) {
        ("dataset_collection", None, _) => {
            let body: NewCollectionBody =
                serde_json::from_value(Value::Object(body)).map_err(|e| from_serde(&e))?;
            collection_routes::create_in(app, caller, history_id, body).await
        }
        ("dataset_collection", Some(id), Some("hdca") | None) => {
            copy_collection(app, caller, history_id, &id).await
        }
        ("dataset", Some(id), Some("hda") | None) => {
            copy_dataset(app, caller, history_id, &id).await
        }
        ("dataset", Some(id), Some("hdca")) => copy_collection(app, caller, history_id, &id).await,
        ("dataset", None, _) => Err(ApiError::missing("Parameter content is required.")),
        (
            "dataset" | "dataset_collection",
            Some(_),
            Some("library" | "library_folder" | "ldda"),
        ) => Err(ApiError::not_implemented(
            "This server has no data libraries.",
        )),
        ("dataset" | "dataset_collection", Some(_), Some(_)) => {
            Err(ApiError::invalid("source is one of hda and hdca."))
        }
        _ => Err(ApiError::unknown_contents(
            "Contents are of type dataset or dataset_collection.",
        )),
    }
}

async fn copy_dataset(
    app: &App,
    caller: &Caller,
    history_id: &str,
    id: &str,
) -> Result<Value, ApiError> {
    let now_ms = app.now_ms();
    let mut tx = app.store.begin().await?;
    let history = access::history(app, &mut tx, caller, history_id, Wish::Change).await?;
    access::require_open(&history)?;
    let source = access::hda(app, &mut tx, caller, id, Wish::Read).await?;
    let hid = histories::allocate_hids(&mut tx, history.id, 1, now_ms).await?;
    let copies = datasets::copy(
        &mut tx,
        &app.store.ids,
        &[&source],
        history.id,
        hid,
        None,
        now_ms,
    )
    .await?;
    tx.commit(Durability::Acknowledged, "dataset.copy").await?;
    let id = copies.first().copied().unwrap_or_default();
    let hda = datasets::by_id(&mut app.store.reader(), id).await?;
    Ok(hda.map_or(Value::Null, |hda| shapes::hda_detailed(app, &hda)))
}

async fn copy_collection(
    app: &App,
    caller: &Caller,
    history_id: &str,
    id: &str,
) -> Result<Value, ApiError> {
    let mut tx = app.store.begin().await?;
    let history = access::history(app, &mut tx, caller, history_id, Wish::Change).await?;
    access::require_open(&history)?;
    let source = access::hdca(app, &mut tx, caller, id, Wish::Read).await?;
    let copy =
        collection_routes::copy_into(app, &mut tx, caller, &source, &history, app.now_ms()).await?;
    tx.commit(Durability::Acknowledged, "collection.copy")
        .await?;
    let mut reader = app.store.reader();
    match collections::by_id(&mut reader, copy).await? {
        Some(hdca) => Ok(shapes::load_hdca(app, &mut reader, caller, &hdca).await?),
        None => Ok(Value::Null),
    }
}

/// A dataset of a history.
#[utoipa::path(get, path = "/api/histories/{history_id}/contents/{id}", tag = "histories",
    params(("history_id" = String, Path), ("id" = String, Path), ("keys" = Option<String>, Query),
           ("type" = Option<String>, Query, description = "`dataset` (default) or `dataset_collection`")),
    responses((status = 200, description = "The dataset", body = Value)))]
async fn show_any(
    State(app): State<App>,
    caller: Caller,
    Path((history_id, id)): Path<(String, String)>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    show_one(&app, &caller, &history_id, kind_of(&params), &id, &params).await
}

/// A dataset (`datasets`) or collection (`dataset_collections`) of a history.
#[utoipa::path(get, path = "/api/histories/{history_id}/contents/{kind}/{id}", tag = "histories",
    params(("history_id" = String, Path), ("kind" = String, Path), ("id" = String, Path),
           ("keys" = Option<String>, Query), ("view" = Option<String>, Query)),
    responses((status = 200, description = "The dataset or collection", body = Value)))]
async fn show(
    State(app): State<App>,
    caller: Caller,
    Path((history_id, kind, id)): Path<(String, String, String)>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    show_one(
        &app,
        &caller,
        &history_id,
        Kind::parse(&kind)?,
        &id,
        &params,
    )
    .await
}

#[derive(Clone, Copy)]
enum Kind {
    Dataset,
    Collection,
}

impl Kind {
    fn parse(text: &str) -> Result<Kind, ApiError> {
        match text.strip_suffix('s').unwrap_or(text) {
            "dataset" => Ok(Kind::Dataset),
            "dataset_collection" => Ok(Kind::Collection),
            _ => Err(ApiError::unknown_contents(
                "Contents are of type dataset or dataset_collection.",
            )),
        }
    }
}

fn kind_of(params: &Params) -> Kind {
    match params.text("type") {
        Some("dataset_collection") => Kind::Collection,
        _ => Kind::Dataset,
    }
}

async fn show_one(
    app: &App,
    caller: &Caller,
    history_id: &str,
    kind: Kind,
    id: &str,
    params: &Params,
) -> Result<Json<Value>, ApiError> {
    let mut reader = app.store.reader();
    app.decode(history_id)?;
    // Galaxy does not ask whether the history of the path is the one; the content's own history decides.
    let shape = match kind {
        Kind::Dataset => {
            let hda = access::hda(app, &mut reader, caller, id, Wish::Read).await?;
            shapes::hda_detailed(app, &hda)
        }
        Kind::Collection => {
            let hdca = access::hdca(app, &mut reader, caller, id, Wish::Read).await?;
            collection_routes::shape(app, &mut reader, caller, &hdca, params.text("view")).await?
        }
    };
    Ok(Json(only(shape, &params.list("keys"))))
}

/// Changes a dataset of a history.
#[utoipa::path(put, path = "/api/histories/{history_id}/contents/{id}", tag = "histories", request_body = Value,
    params(("history_id" = String, Path), ("id" = String, Path)),
    responses((status = 200, description = "The dataset", body = Value)))]
async fn update_any(
    State(app): State<App>,
    caller: Caller,
    Path((_history_id, id)): Path<(String, String)>,
    params: Params,
    extract::Json(body): extract::Json<Value>,
) -> Result<Json<Value>, ApiError> {
    update_one(&app, &caller, kind_of(&params), &id, body)
        .await
        .map(Json)
}

/// Changes a dataset or collection of a history.
#[utoipa::path(put, path = "/api/histories/{history_id}/contents/{kind}/{id}", tag = "histories", request_body = Value,
    params(("history_id" = String, Path), ("kind" = String, Path), ("id" = String, Path)),
    responses((status = 200, description = "The dataset or collection", body = Value)))]
async fn update(
    State(app): State<App>,
    caller: Caller,
    Path((_history_id, kind, id)): Path<(String, String, String)>,
    extract::Json(body): extract::Json<Value>,
) -> Result<Json<Value>, ApiError> {
    update_one(&app, &caller, Kind::parse(&kind)?, &id, body)
        .await
        .map(Json)
}

async fn update_one(
    app: &App,
    caller: &Caller,
    kind: Kind,
    id: &str,
    body: Value,
) -> Result<Value, ApiError> {
    match kind {
        Kind::Dataset => dataset_routes::change_one(app, caller, id, body).await,
        Kind::Collection => {
            let change: CollectionChange =
                serde_json::from_value(body).map_err(|e| from_serde(&e))?;
            collection_routes::change_one(app, caller, id, change).await
        }
    }
}

/// Deletes a dataset of a history; with `purge` for good.
#[utoipa::path(delete, path = "/api/histories/{history_id}/contents/{id}", tag = "histories",
    params(("history_id" = String, Path), ("id" = String, Path), ("purge" = Option<bool>, Query)),
    responses((status = 200, description = "The dataset", body = Value)))]
async fn delete_any(
    State(app): State<App>,
    caller: Caller,
    Path((_history_id, id)): Path<(String, String)>,
    params: Params,
    extract::Json(body): extract::Json<Value>,
) -> Result<Json<Value>, ApiError> {
    delete_one(&app, &caller, kind_of(&params), &id, &params, body)
        .await
        .map(Json)
}

/// Deletes a dataset or collection of a history; with `purge` for good.
#[utoipa::path(delete, path = "/api/histories/{history_id}/contents/{kind}/{id}", tag = "histories",
    params(("history_id" = String, Path), ("kind" = String, Path), ("id" = String, Path),
           ("purge" = Option<bool>, Query), ("recursive" = Option<bool>, Query)),
    responses((status = 200, description = "The dataset or collection", body = Value)))]
async fn delete(
    State(app): State<App>,
    caller: Caller,
    Path((_history_id, kind, id)): Path<(String, String, String)>,
    params: Params,
    extract::Json(body): extract::Json<Value>,
) -> Result<Json<Value>, ApiError> {
    delete_one(&app, &caller, Kind::parse(&kind)?, &id, &params, body)
        .await
        .map(Json)
}

async fn delete_one(
    app: &App,
    caller: &Caller,
    kind: Kind,
    id: &str,
    params: &Params,
    body: Value,
) -> Result<Value, ApiError> {
    match kind {
        Kind::Dataset => {
            let in_body = body.get("purge").and_then(Value::as_bool).unwrap_or(false);
            let purge = params.is("purge")? || in_body;
            dataset_routes::delete_one(app, caller, id, purge).await
        }
        Kind::Collection => collection_routes::delete_one(app, caller, id, params, &body).await,
    }
    .map(|shape| match shape {
        Value::Null => json!({}),
        shape => shape,
    })
}
