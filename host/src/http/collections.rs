//! Dataset collections: making ([`new`]), reading, changing, deleting.

mod new;

use axum::Json;
use axum::extract::{Path, State};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::{self, Wish};
use super::app::App;
use super::auth::Caller;
use super::error::ApiError;
use super::extract::{self, Params};
use super::shapes;
use crate::store::collections::{self, Hdca};
use crate::store::{Durability, Query, datasets};

pub use new::{NewCollectionBody, copy_into, create_in, element, tree_from};

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(new::create))
        .routes(routes!(show, update, delete))
        .routes(routes!(contents))
}

/// One collection with all its elements.
#[utoipa::path(get, path = "/api/dataset_collections/{id}", tag = "collections",
    params(("id" = String, Path), ("instance_type" = Option<String>, Query, description = "Only `history` is known"),
           ("view" = Option<String>, Query, description = "`element` (default) or `collection`, without elements")),
    responses((status = 200, description = "The collection", body = Value)))]
async fn show(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let mut reader = app.store.reader();
    let hdca = access::hdca(&app, &mut reader, &caller, &id, Wish::Read).await?;
    shape(&app, &mut reader, &caller, &hdca, params.text("view"))
        .await
        .map(Json)
}

/// The shape of a collection for `view`.
pub async fn shape(
    app: &App,
    query: &mut impl Query,
    caller: &Caller,
    hdca: &Hdca,
    view: Option<&str>,
) -> Result<Value, ApiError> {
    if matches!(view, Some("collection" | "summary")) {
        let mut found = shapes::load_hdca_summaries(app, query, &[hdca.id]).await?;
        return Ok(found.remove(&hdca.id).unwrap_or_default());
    }
    Ok(shapes::load_hdca(app, query, caller, hdca).await?)
}

/// What may be changed of a collection.
#[derive(Deserialize, ToSchema)]
pub struct CollectionChange {
    name: Option<String>,
    visible: Option<bool>,
    deleted: Option<bool>,
    annotation: Option<String>,
    tags: Option<Vec<String>>,
}

/// Changes a collection.
#[utoipa::path(put, path = "/api/dataset_collections/{id}", tag = "collections", request_body = CollectionChange,
    params(("id" = String, Path)), responses((status = 200, description = "The collection", body = Value)))]
async fn update(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    extract::Json(change): extract::Json<CollectionChange>,
) -> Result<Json<Value>, ApiError> {
    change_one(&app, &caller, &id, change).await.map(Json)
}

/// Changes the collection behind an encoded id.
pub async fn change_one(
    app: &App,
    caller: &Caller,
    id: &str,
    change: CollectionChange,
) -> Result<Value, ApiError> {
    let mut tx = app.store.begin().await?;
    let mut hdca = access::hdca(app, &mut tx, caller, id, Wish::Change).await?;
    hdca.name = change
        .name
        .map_or(hdca.name, |n| n.chars().take(255).collect());
    hdca.visible = change.visible.unwrap_or(hdca.visible);
    hdca.deleted = change.deleted.unwrap_or(hdca.deleted);
    hdca.annotation = change.annotation.or(hdca.annotation);
    if let Some(tags) = change.tags {
        hdca.tags = json!(tags);
    }
    collections::save(&mut tx, &hdca, app.now_ms()).await?;
    tx.commit(Durability::Acknowledged, "collection.update")
        .await?;
    show_by_id(app, caller, hdca.id).await
}

/// Deletes a collection; its datasets only with `recursive`, for good with `purge`.
#[utoipa::path(delete, path = "/api/dataset_collections/{id}", tag = "collections",
    params(("id" = String, Path), ("recursive" = Option<bool>, Query), ("purge" = Option<bool>, Query)),
    responses((status = 200, description = "The collection", body = Value)))]
async fn delete(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    params: Params,
    extract::Json(body): extract::Json<Value>,
) -> Result<Json<Value>, ApiError> {
    delete_one(&app, &caller, &id, &params, &body)
        .await
        .map(Json)
}

/// Deletes the collection behind an encoded id.
pub async fn delete_one(
    app: &App,
    caller: &Caller,
    id: &str,
    params: &Params,
    body: &Value,
) -> Result<Value, ApiError> {
    let in_body = |key: &str| body.get(key).and_then(Value::as_bool).unwrap_or(false);
    let purge = params.is("purge")? || in_body("purge");
    let recursive = purge || params.is("recursive")? || in_body("recursive");
    let now_ms = app.now_ms();
    let mut tx = app.store.begin().await?;
    let mut hdca = access::hdca(app, &mut tx, caller, id, Wish::Change).await?;
    hdca.deleted = true;
    collections::save(&mut tx, &hdca, now_ms).await?;
    let mut orphans = Vec::new();
    if recursive {
        let forest = collections::forest(&mut tx, &[hdca.collection.id]).await?;
        // Elements that live in somebody else's history are not the caller's to delete.
        let hdas = datasets::by_ids(&mut tx, &forest.hda_ids()).await?;
        let own: Vec<i64> = hdas
            .values()
            .filter(|h| h.user_id == hdca.user_id)
            .map(|h| h.id)
            .collect();
        match purge {
            true => orphans = datasets::purge(&mut tx, &own, now_ms).await?,
            false => datasets::delete(&mut tx, &own, now_ms).await?,
        }
    }
    tx.commit(Durability::Acknowledged, "collection.delete")
        .await?;
    super::histories::remove_files(app, orphans).await;
    show_by_id(app, caller, hdca.id).await
}

async fn show_by_id(app: &App, caller: &Caller, id: i64) -> Result<Value, ApiError> {
    let mut reader = app.store.reader();
    let hdca = collections::by_id(&mut reader, id)
        .await?
        .ok_or_else(|| ApiError::not_found("Collection with the id provided was not found."))?;
    Ok(shapes::load_hdca(app, &mut reader, caller, &hdca).await?)
}

/// A page of the elements of a collection, or of a collection inside it.
#[utoipa::path(get, path = "/api/dataset_collections/{id}/contents/{parent_id}", tag = "collections",
    params(("id" = String, Path), ("parent_id" = String, Path, description = "The encoded id of the (inner) collection"),
           ("limit" = Option<i64>, Query), ("offset" = Option<i64>, Query)),
    responses((status = 200, description = "Elements", body = Vec<Value>)))]
async fn contents(
    State(app): State<App>,
    caller: Caller,
    Path((id, parent_id)): Path<(String, String)>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let page = params.page(app.settings.page_default, app.settings.page_max)?;
    let mut reader = app.store.reader();
    let hdca = access::hdca(&app, &mut reader, &caller, &id, Wish::Read).await?;
    let parent_id = app.decode(&parent_id)?;
    if !collections::is_within(&mut reader, hdca.collection.id, parent_id).await? {
        return Err(ApiError::not_found(
            "This collection is not part of the other.",
        ));
    }
    let elements =
        collections::elements_page(&mut reader, parent_id, page.limit, page.offset).await?;
    let children: Vec<i64> = elements.iter().filter_map(|e| e.child_id).collect();
    // Inner collections are named here; their elements are the next page's business.
    let forest = collections::level(&mut reader, &children).await?;
    let hda_ids: Vec<i64> = elements.iter().filter_map(|e| e.hda_id).collect();
    let hdas = datasets::by_ids(&mut reader, &hda_ids).await?;
    let shapes = elements.iter().map(|e| {
        let mut shape = shapes::element(&app, e, &forest, &hdas);
        if let Some(child) = e.child_id {
            shape["object"]["contents_url"] = json!(format!(
                "/api/dataset_collections/{id}/contents/{}",
                app.encode(child)
            ));
        }
        shape
    });
    Ok(Json(shapes.collect()))
}
