//! Histories: lists, one, making, changing, deleting.

mod import;
mod sharing;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::{self, Wish};
use super::app::{App, blocking};
use super::auth::Caller;
use super::error::ApiError;
use super::extract::{self, Params};
use super::lists;
use super::shapes::{self, only};
use crate::store::collections::{self, NewHdca};
use crate::store::filter::Filter;
use crate::store::histories::{self, Content, History};
use crate::store::{Durability, Query, datasets};

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(published))
        .routes(routes!(most_recent))
        .routes(routes!(show, update, delete))
        .routes(routes!(undelete))
        .routes(routes!(add_tag))
        .routes(routes!(sharing::show))
        .routes(routes!(sharing::publish))
        .routes(routes!(sharing::unpublish))
        .routes(routes!(sharing::enable_link_access))
        .routes(routes!(sharing::disable_link_access))
        .routes(routes!(sharing::share_with_users))
        .routes(routes!(sharing::set_slug))
}

/// The caller's histories.
#[utoipa::path(get, path = "/api/histories", tag = "histories", params(
    ("all" = Option<bool>, Query, description = "Everybody's (administrators)"),
    ("deleted" = Option<bool>, Query, description = "The deleted ones instead"),
    ("q" = Option<Vec<String>>, Query, description = "Filters, such as `name-contains`; each with its `qv`"),
    ("qv" = Option<Vec<String>>, Query, description = "The filters' values"),
    ("order" = Option<String>, Query, description = "Such as `update_time-dsc`"),
    ("view" = Option<String>, Query, description = "`summary` or `detailed`"),
    ("keys" = Option<String>, Query, description = "Only these keys"),
    ("limit" = Option<i64>, Query), ("offset" = Option<i64>, Query)),
    responses((status = 200, description = "Histories; header `total_matches`", body = Vec<Value>)))]
async fn list(
    State(app): State<App>,
    caller: Caller,
    params: Params,
) -> Result<Response, ApiError> {
    let mut filter = Filter::default();
    if params.is("all")? {
        caller.require_admin()?;
    } else if caller.user.is_none() && !caller.is_admin {
        // Nobody has no histories.
        return Ok(([("total_matches", "0")], Json(json!([]))).into_response());
    } else if lists::asks_for(&params, "published") && !params.is("owned")? {
        // Galaxy shows others' published histories to this filter.
        let id = caller.user_id()?;
        filter.and("(h.user_id = ? OR h.published)", crate::args![id]);
    } else {
        let id = caller.user_id()?;
        filter.and("h.user_id = ?", crate::args![id]);
    }
    page_of(&app, &params, filter).await
}

/// Everybody's published histories.
#[utoipa::path(get, path = "/api/histories/published", tag = "histories", security(()), params(
    ("q" = Option<Vec<String>>, Query), ("qv" = Option<Vec<String>>, Query), ("order" = Option<String>, Query),
    ("view" = Option<String>, Query), ("keys" = Option<String>, Query),
    ("limit" = Option<i64>, Query), ("offset" = Option<i64>, Query)),
    responses((status = 200, description = "Histories; header `total_matches`", body = Vec<Value>)))]
async fn published(State(app): State<App>, params: Params) -> Result<Response, ApiError> {
    let mut filter = Filter::default();
    filter.and("h.published", vec![]);
    page_of(&app, &params, filter).await
}

async fn page_of(app: &App, params: &Params, mut filter: Filter) -> Result<Response, ApiError> {
    let page = params.page(app.settings.page_default, app.settings.page_max)?;
    lists::add_q(&mut filter, histories::FIELDS, params)?;
    match params.flag("deleted")? {
        Some(deleted) => {
            filter.and("h.deleted = ?", crate::args![deleted]);
        }
        None if !lists::asks_for(params, "deleted") => {
            filter.and("NOT h.deleted", vec![]);
        }
        None => {}
    }
    let order = lists::order(params, histories::FIELDS, "update_time-dsc", "h.id")?;
    let mut reader = app.store.reader();
    let (total, found) =
        histories::list(&mut reader, &filter, &order, page.limit, page.offset).await?;
    let keys = params.list("keys");
    let summary_keys = |key: &String| {
        matches!(
            key.as_str(),
            "id" | "name"
                | "deleted"
                | "purged"
                | "archived"
                | "count"
                | "published"
                | "annotation"
                | "tags"
                | "update_time"
                | "url"
                | "model_class"
        )
    };
    let is_detailed = params.text("view") == Some("detailed") || !keys.iter().all(summary_keys);
    let shapes: Vec<Value> = if is_detailed {
        let ids: Vec<i64> = found.iter().map(|h| h.id).collect();
        let mut census = histories::census(&mut reader, &ids).await?;
        found
            .iter()
            .map(|h| shapes::history_detailed(app, h, &census.remove(&h.id).unwrap_or_default()))
            .collect()
    } else {
        found
            .iter()
            .map(|h| shapes::history_summary(app, h))
            .collect()
    };
    let shapes: Vec<Value> = shapes.into_iter().map(|s| only(s, &keys)).collect();
    Ok(([("total_matches", total.to_string())], Json(shapes)).into_response())
}

/// The caller's history that changed last, or null.
#[utoipa::path(get, path = "/api/histories/most_recently_used", tag = "histories",
    responses((status = 200, description = "The history, or null", body = Value)))]
async fn most_recent(State(app): State<App>, caller: Caller) -> Result<Json<Value>, ApiError> {
    let mut reader = app.store.reader();
    match histories::most_recent(&mut reader, caller.user_id()?).await? {
        None => Ok(Json(Value::Null)),
        Some(history) => detailed(&app, &mut reader, &history).await.map(Json),
    }
}

/// A history to be made, perhaps as a copy.
#[derive(Deserialize, ToSchema)]
struct NewHistory {
    name: Option<String>,
    /// The history to copy.
    history_id: Option<String>,
    /// With the deleted datasets.
    all_datasets: Option<bool>,
    /// The URL of an archive; such are refused. An archive is sent as the file `archive_file` of a form.
    archive_source: Option<Value>,
}

/// Makes a history, or a copy of one (its datasets are shown, not copied).
#[utoipa::path(post, path = "/api/histories", tag = "histories", request_body = NewHistory,
    responses((status = 200, description = "The history", body = Value)))]
async fn create(
    State(app): State<App>,
    caller: Caller,
    payload: super::payload::Payload,
) -> Result<Json<Value>, ApiError> {
    let user_id = caller.user_id()?;
    let new: NewHistory = serde_json::from_value(Value::Object(payload.fields))
        .map_err(|e| super::error::from_serde(&e))?;
    if let Some(archive) = payload.files.get("archive_file") {
        return import::import(&app, user_id, archive).await.map(Json);
    }
    if new
        .archive_source
        .is_some_and(|source| !source.is_null() && source != "")
    {
        return Err(ApiError::disabled(
            "This server does not fetch archives by URL; send the archive as archive_file.",
        ));
    }
    let mut reader = app.store.reader();
    let source = match &new.history_id {
        None => None,
        Some(id) => Some(access::history(&app, &mut reader, &caller, id, Wish::Read).await?),
    };
    let name = match (new.name.filter(|n| !n.trim().is_empty()), &source) {
        (Some(name), _) => name,
        (None, Some(source)) => format!("Copy of '{}'", source.name),
        (None, None) => "Unnamed history".to_owned(),
    };
    let now_ms = app.now_ms();
    let mut tx = app.store.begin().await?;
    let id = app.store.ids.history(&mut tx).await?;
    histories::create(&mut tx, id, user_id, &clip(&name), now_ms).await?;
    if let Some(source) = &source {
        copy_contents(
            &app,
            &mut tx,
            &caller,
            source,
            id,
            new.all_datasets.unwrap_or(false),
            now_ms,
        )
        .await?;
    }
    tx.commit(Durability::Acknowledged, "history.create")
        .await?;
    show_by_id(&app, id).await
}

/// Longer names are cut.
const NAME_MAX: usize = 255;

fn clip(name: &str) -> String {
    name.chars().take(NAME_MAX).collect()
}

/// Shows the contents of `source` in the new history `target` under the same hids, as far as the caller may read them. The
/// elements of collections become those copies.
async fn copy_contents(
    app: &App,
    tx: &mut crate::store::Tx,
    caller: &Caller,
    source: &History,
    target: i64,
    with_deleted: bool,
    now_ms: i64,
) -> Result<(), ApiError> {
    let mut filter = Filter::default();
    filter.and("c.history_id = ?", crate::args![source.id]);
    if !with_deleted {
        filter.and("NOT c.deleted", vec![]);
    }
    let contents = histories::contents(tx, &filter, " ORDER BY c.hid, c.id", i64::MAX, 0).await?;
    let ids = |wanted: fn(&Content) -> Option<i64>| -> Vec<i64> {
        contents.iter().filter_map(wanted).collect()
    };
    let hda_ids = ids(|c| match c {
        Content::Dataset(id) => Some(*id),
        Content::Collection(_) => None,
    });
    let hdca_ids = ids(|c| match c {
        Content::Collection(id) => Some(*id),
        Content::Dataset(_) => None,
    });
    let mut hdas = datasets::by_ids(tx, &hda_ids).await?;
    access::grant(tx, caller, &mut hdas).await?;
    hdas.retain(|_, hda| hda.readable);
    let mut copies = std::collections::HashMap::new();
    for id in &hda_ids {
        if let Some(hda) = hdas.get(id) {
            let made =
                datasets::copy(tx, &app.store.ids, &[hda], target, hda.hid, None, now_ms).await?;
            copies.extend(made.first().map(|copy| (*id, *copy)));
        }
    }
    let hdcas = collections::by_ids(tx, &hdca_ids).await?;
    for hdca in hdca_ids.iter().filter_map(|id| hdcas.get(id)) {
        if access::require_elements(tx, caller, hdca.collection.id)
            .await
            .is_err()
        {
            continue;
        }
        let forest = collections::forest(tx, &[hdca.collection.id]).await?;
        let Some(mut tree) = super::collections::tree_from(&forest, hdca.collection.id) else {
            // Elements that are not known yet cannot be copied.
            continue;
        };
        tree.map_hdas(&mut |id| copies.get(&id).copied().unwrap_or(id));
        let collection_id = collections::insert(tx, &app.store.ids, &tree, now_ms).await?;
        let new = NewHdca {
            collection_id,
            history_id: target,
            hid: hdca.hid,
            name: hdca.name.clone(),
            tags: hdca.tags.clone(),
            copied_from: Some(hdca.id),
        };
        collections::insert_hdca(tx, &app.store.ids, &new, now_ms).await?;
    }
    histories::allocate_hids(tx, target, (source.hid_counter - 1).max(0) as usize, now_ms).await?;
    Ok(())
}

/// One history.
#[utoipa::path(get, path = "/api/histories/{history_id}", tag = "histories",
    params(("history_id" = String, Path), ("keys" = Option<String>, Query, description = "Only these keys"),
           ("view" = Option<String>, Query, description = "`summary` or `detailed`")),
    responses((status = 200, description = "The history", body = Value)))]
async fn show(
    State(app): State<App>,
    caller: Caller,
    Path(history_id): Path<String>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let mut reader = app.store.reader();
    let history = access::history(&app, &mut reader, &caller, &history_id, Wish::Read).await?;
    let shape = match params.text("view") {
        Some("summary") => shapes::history_summary(&app, &history),
        _ => detailed(&app, &mut reader, &history).await?,
    };
    Ok(Json(only(shape, &params.list("keys"))))
}

/// What may be changed of a history.
#[derive(Deserialize, ToSchema)]
struct HistoryChange {
    name: Option<String>,
    annotation: Option<String>,
    genome_build: Option<String>,
    deleted: Option<bool>,
    purged: Option<bool>,
    published: Option<bool>,
    importable: Option<bool>,
    tags: Option<Vec<String>>,
    preferred_object_store_id: Option<String>,
}

/// Changes a history.
#[utoipa::path(put, path = "/api/histories/{history_id}", tag = "histories", request_body = HistoryChange,
    params(("history_id" = String, Path)),
    responses((status = 200, description = "The history", body = Value)))]
async fn update(
    State(app): State<App>,
    caller: Caller,
    Path(history_id): Path<String>,
    extract::Json(change): extract::Json<HistoryChange>,
) -> Result<Json<Value>, ApiError> {
    let mut tx = app.store.begin().await?;
    let mut history = access::history(&app, &mut tx, &caller, &history_id, Wish::Change).await?;
    if let Some(name) = change.name {
        if name.trim().is_empty() {
            return Err(ApiError::invalid("A history needs a name."));
        }
        history.name = clip(&name);
    }
    history.annotation = change.annotation.or(history.annotation);
    history.genome_build = change.genome_build.or(history.genome_build);
    history.deleted = change.deleted.unwrap_or(history.deleted);
    history.importable = change.importable.unwrap_or(history.importable);
    history.published = change.published.unwrap_or(history.published);
    history.preferred_object_store_id = change
        .preferred_object_store_id
        .or(history.preferred_object_store_id);
    if let Some(tags) = change.tags {
        history.tags = json!(tags);
    }
    if history.published {
        // What is published can be reached by its address.
        history.importable = true;
        if history.slug.is_none() {
            // One at a time for each user.
            tx.lock("galaxy_user", &[history.user_id]).await?;
            history.slug = Some(free_slug(&mut tx, &history).await?);
        }
    }
    if change.purged == Some(true) {
        return remove(&app, tx, history, true).await;
    }
    histories::save(&mut tx, &history, app.now_ms()).await?;
    tx.commit(Durability::Acknowledged, "history.update")
        .await?;
    if change.deleted == Some(true) {
        app.signals.invocations_changed();
    }
    show_by_id(&app, history.id).await
}

async fn free_slug(query: &mut impl Query, history: &History) -> Result<String, ApiError> {
    let words: String = history
        .name
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    let words: Vec<&str> = words.split('-').filter(|w| !w.is_empty()).collect();
    let base = match words.join("-") {
        empty if empty.is_empty() => "history".to_owned(),
        base => base,
    };
    for slug in [base.clone(), format!("{base}-{}", history.id)] {
        if !histories::has_slug(query, history.user_id, &slug, history.id).await? {
            return Ok(slug);
        }
    }
    Ok(format!("{base}-{}", super::auth::random_hex(4)))
}

/// Deletes a history. With `purge` (query or body) its files go as well, unless another history shows them.
#[utoipa::path(delete, path = "/api/histories/{history_id}", tag = "histories",
    params(("history_id" = String, Path), ("purge" = Option<bool>, Query)),
    responses((status = 200, description = "The history", body = Value)))]
async fn delete(
    State(app): State<App>,
    caller: Caller,
    Path(history_id): Path<String>,
    params: Params,
    extract::Json(body): extract::Json<Value>,
) -> Result<Json<Value>, ApiError> {
    let purge = params.is("purge")? || body.get("purge").and_then(Value::as_bool).unwrap_or(false);
    let mut tx = app.store.begin().await?;
    let history = access::history(&app, &mut tx, &caller, &history_id, Wish::Change).await?;
    remove(&app, tx, history, purge).await
}

async fn remove(
    app: &App,
    mut tx: crate::store::Tx,
    mut history: History,
    purge: bool,
) -> Result<Json<Value>, ApiError> {
    history.deleted = true;
    history.purged |= purge;
    let now_ms = app.now_ms();
    let mut orphans = Vec::new();
    if purge {
        let hda_ids = histories::hda_ids(&mut tx, history.id).await?;
        orphans = datasets::purge(&mut tx, &hda_ids, now_ms).await?;
    }
    histories::save(&mut tx, &history, now_ms).await?;
    tx.commit(Durability::Acknowledged, "history.delete")
        .await?;
    // Its invocations are to notice.
    app.signals.invocations_changed();
    remove_files(app, orphans).await;
    show_by_id(app, history.id).await
}

/// Removes the files of purged datasets. One that cannot be removed costs space, nothing else.
pub async fn remove_files(app: &App, dataset_ids: Vec<i64>) {
    if dataset_ids.is_empty() {
        return;
    }
    let data = app.data.clone();
    let removed = blocking(move || {
        for id in dataset_ids {
            if let Err(error) = data.remove(id) {
                tracing::warn!("the file of purged dataset {id} could not be removed: {error}");
            }
        }
        Ok(())
    });
    if removed.await.is_err() {
        tracing::warn!("removing the files of purged datasets stopped");
    }
}

/// Takes back a deletion.
#[utoipa::path(post, path = "/api/histories/deleted/{history_id}/undelete", tag = "histories",
    params(("history_id" = String, Path)),
    responses((status = 200, description = "The history", body = Value)))]
async fn undelete(
    State(app): State<App>,
    caller: Caller,
    Path(history_id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let mut tx = app.store.begin().await?;
    let mut history = access::history(&app, &mut tx, &caller, &history_id, Wish::Change).await?;
    if history.purged {
        return Err(ApiError::message("A purged history cannot be undeleted."));
    }
    history.deleted = false;
    histories::save(&mut tx, &history, app.now_ms()).await?;
    tx.commit(Durability::Acknowledged, "history.undelete")
        .await?;
    show_by_id(&app, history.id).await
}

/// Adds a tag to a history.
#[utoipa::path(post, path = "/api/histories/{history_id}/tags/{tag}", tag = "histories",
    params(("history_id" = String, Path), ("tag" = String, Path)),
    responses((status = 200, description = "The tag", body = Value)))]
async fn add_tag(
    State(app): State<App>,
    caller: Caller,
    Path((history_id, tag)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let mut tx = app.store.begin().await?;
    let mut history = access::history(&app, &mut tx, &caller, &history_id, Wish::Change).await?;
    let mut tags = history.tags.as_array().cloned().unwrap_or_default();
    if !tags.iter().any(|t| t.as_str() == Some(&tag)) {
        tags.push(json!(tag));
    }
    history.tags = Value::Array(tags);
    histories::save(&mut tx, &history, app.now_ms()).await?;
    tx.commit(Durability::Acknowledged, "history.tag").await?;
    Ok(Json(json!({
        "model_class": "HistoryTagAssociation",
        "user_tname": tag,
        "user_value": null,
    })))
}

async fn detailed(app: &App, query: &mut impl Query, history: &History) -> Result<Value, ApiError> {
    let mut census = histories::census(query, &[history.id]).await?;
    let census = census.remove(&history.id).unwrap_or_default();
    Ok(shapes::history_detailed(app, history, &census))
}

async fn show_by_id(app: &App, id: i64) -> Result<Json<Value>, ApiError> {
    let mut reader = app.store.reader();
    let history = histories::by_id(&mut reader, id)
        .await?
        .ok_or_else(|| ApiError::not_found("History with the id provided was not found."))?;
    detailed(app, &mut reader, &history).await.map(Json)
}
