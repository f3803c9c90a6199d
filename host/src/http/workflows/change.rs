//! Changing and sharing workflows.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::create::{adopt_tools, save_tools};
use super::find::{self, Found, Which};
use super::show::shown;
use crate::formats;
use crate::http::access::Wish;
use crate::http::app::{App, blocking};
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::http::extract;
use crate::store::db::Query;
use crate::store::users::{self, User};
use crate::store::workflows::{self, Attributes};
use crate::store::{Durability, Reader};

/// Changes a workflow. A new definition, and a new name, make a new revision.
#[utoipa::path(put, path = "/api/workflows/{id}", tag = "workflows", request_body = Value,
    params(("id" = String, Path), ("instance" = Option<bool>, Query)),
    description = "workflow, name, annotation, tags, hidden, published, importable, show_in_tool_panel, menu_entry",
    responses((status = 200, description = "The workflow", body = Value)))]
pub async fn update(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    params: extract::Params,
    extract::Json(body): extract::Json<Value>,
) -> Result<Json<Value>, ApiError> {
    let mut q = app.store.reader();
    let which = Which::of(&params)?;
    let mut found = find::workflow(&app, &mut q, &caller, &id, which, Wish::Change).await?;
    let attributes = attributes_of(&body, &found)?;
    let name = attributes
        .name
        .clone()
        .unwrap_or_else(|| found.stored.name.clone());
    let mut description = match body.get("workflow").filter(|value| !value.is_null()) {
        Some(value) => {
            let value = match value {
                Value::String(text) => serde_json::from_str(text).unwrap_or_default(),
                other => other.clone(),
            };
            Some(blocking(move || Ok(formats::import(&value))).await??)
        }
        None if name != found.stored.name => {
            let latest = found.stored.latest_workflow_id;
            let mut copy = find::revision(&app, &mut q, latest)
                .await?
                .description
                .clone();
            copy.uuid = None;
            Some(copy)
        }
        None => None,
    };
    let now_ms = app.now_ms();
    let mut new_tools = Vec::new();
    if let Some(description) = &mut description {
        description.name = name;
        // A mere copy keeps the tools that it already has.
        if body.get("workflow").is_some_and(|value| !value.is_null()) {
            new_tools = adopt_tools(&app, &caller, description)?;
        }
    }
    let mut tx = app.store.begin().await?;
    if let Some(description) = &description {
        save_tools(&app, &mut tx, found.stored.user_id, &new_tools).await?;
        let stored_id = found.stored.id;
        let ids = &app.store.ids;
        found.revision_id =
            workflows::add_revision(&mut tx, ids, stored_id, description, now_ms).await?;
    }
    if !attributes.is_empty() {
        workflows::set_attributes(&mut tx, found.stored.id, &attributes, now_ms).await?;
    }
    tx.commit(Durability::Acknowledged, "workflow.update")
        .await?;
    if let Some(stored) = workflows::by_id(&mut q, found.stored.id).await? {
        found.stored = stored;
    }
    shown(&app, &mut q, &found, false).await.map(Json)
}

fn attributes_of(body: &Value, found: &Found) -> Result<Attributes, ApiError> {
    if !body.is_object() {
        return Err(ApiError::invalid("The request must be a JSON object."));
    }
    let get = |name: &str| body.get(name).filter(|value| !value.is_null());
    let text = |name: &str| match get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(ApiError::attribute_invalid(format!(
            "{name} must be a text."
        ))),
    };
    let flag = |name: &str| match get(name) {
        None => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(Value::String(text)) if extract::parse_flag(text).is_some() => {
            Ok(extract::parse_flag(text))
        }
        Some(_) => Err(ApiError::attribute_invalid(format!(
            "{name} must be true or false."
        ))),
    };
    let tags = match get("tags") {
        None => None,
        Some(list) => Some(
            serde_json::from_value(list.clone())
                .map_err(|_| ApiError::attribute_invalid("tags must be a list of texts."))?,
        ),
    };
    let name = text("name")?;
    if name.as_ref().is_some_and(|name| name.trim().is_empty()) {
        return Err(ApiError::attribute_invalid("name must not be empty."));
    }
    let attributes = Attributes {
        name,
        annotation: text("annotation")?,
        tags,
        hidden: flag("hidden")?,
        deleted: None,
        published: flag("published")?,
        importable: flag("importable")?,
        show_in_tool_panel: flag("show_in_tool_panel")?.or(flag("menu_entry")?),
        slug: None,
    };
    let mut attributes = attributes;
    if attributes.published == Some(true) && attributes.importable.is_none() {
        attributes.importable = Some(true);
    }
    let published = attributes.published.unwrap_or(found.stored.published);
    if published && attributes.importable == Some(false) {
        return Err(ApiError::invalid(
            "A published workflow must be importable.",
        ));
    }
    Ok(attributes)
}

/// Marks a workflow as deleted.
#[utoipa::path(delete, path = "/api/workflows/{id}", tag = "workflows", params(("id" = String, Path)),
    responses((status = 204, description = "Deleted")))]
pub async fn delete(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let deleted = Attributes {
        deleted: Some(true),
        ..Default::default()
    };
    set(&app, &caller, &id, deleted).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Brings a deleted workflow back.
#[utoipa::path(post, path = "/api/workflows/{id}/undelete", tag = "workflows", params(("id" = String, Path)),
    responses((status = 204, description = "There again")))]
pub async fn undelete(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let there = Attributes {
        deleted: Some(false),
        ..Default::default()
    };
    set(&app, &caller, &id, there).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn slug_is_taken() -> ApiError {
    ApiError::slug_taken("You have another workflow with this slug.")
}

async fn set(
    app: &App,
    caller: &Caller,
    id: &str,
    attributes: Attributes,
) -> Result<Found, ApiError> {
    let mut q = app.store.reader();
    let found = find::workflow(app, &mut q, caller, id, Which::default(), Wish::Change).await?;
    let mut tx = app.store.begin().await?;
    let set = workflows::set_attributes(&mut tx, found.stored.id, &attributes, app.now_ms()).await;
    set.map_err(|error| match error.is_constraint() {
        true => slug_is_taken(),
        false => error.into(),
    })?;
    tx.commit(Durability::Acknowledged, "workflow.attributes")
        .await?;
    Ok(found)
}

/// Who may see a workflow.
#[utoipa::path(get, path = "/api/workflows/{id}/sharing", tag = "workflows", params(("id" = String, Path)),
    responses((status = 200, description = "importable, published, users_shared_with, slug", body = Value)))]
pub async fn sharing(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let mut q = app.store.reader();
    let found = find::workflow(&app, &mut q, &caller, &id, Which::default(), Wish::Change).await?;
    status(&app, &mut q, found.stored.id).await.map(Json)
}

async fn status(app: &App, q: &mut Reader, stored_id: i64) -> Result<Value, ApiError> {
    let stored = workflows::by_id(q, stored_id).await?;
    let stored = stored.ok_or_else(|| ApiError::not_found("No such workflow found."))?;
    let users = workflows::shared_with(q, stored_id).await?;
    let users = users
        .iter()
        .map(|(id, email)| json!({"id": app.encode(*id), "email": email}));
    let users: Vec<Value> = users.collect();
    Ok(json!({
        "id": app.encode(stored.id),
        "title": stored.name,
        "username": stored.owner,
        "email_hash": null,
        "importable": stored.importable,
        "published": stored.published,
        "users_shared_with": users,
        "username_and_slug": stored.slug.as_ref().map(|slug| format!("u/{}/w/{slug}", stored.owner)),
        "slug": stored.slug,
        "extra": {"can_change": [], "can_share": true},
    }))
}

macro_rules! switches {
    ($($name:ident, $path:literal, $doc:literal, $attributes:expr;)+) => { $(
        #[doc = $doc]
        #[utoipa::path(put, path = $path, tag = "workflows", params(("id" = String, Path)),
            responses((status = 200, description = "As /api/workflows/{id}/sharing", body = Value)))]
        pub async fn $name(
            State(app): State<App>,
            caller: Caller,
            Path(id): Path<String>,
        ) -> Result<Json<Value>, ApiError> {
            let found = set(&app, &caller, &id, $attributes).await?;
            status(&app, &mut app.store.reader(), found.stored.id).await.map(Json)
        }
    )+ };
}

fn access(importable: Option<bool>, published: Option<bool>) -> Attributes {
    Attributes {
        importable,
        published,
        ..Default::default()
    }
}

switches! {
    publish, "/api/workflows/{id}/publish", "Shows a workflow to everybody.", access(Some(true), Some(true));
    unpublish, "/api/workflows/{id}/unpublish", "Takes a workflow off the published ones.", access(None, Some(false));
    enable_link_access, "/api/workflows/{id}/enable_link_access", "Lets whoever has the link see a workflow.", access(Some(true), None);
    disable_link_access, "/api/workflows/{id}/disable_link_access", "Ends the access by link, and with it publication.", access(Some(false), Some(false));
}

/// Shares a workflow with exactly the users named, by id or e-mail address.
#[utoipa::path(put, path = "/api/workflows/{id}/share_with_users", tag = "workflows", request_body = Value,
    params(("id" = String, Path)),
    responses((status = 200, description = "As /api/workflows/{id}/sharing, with errors", body = Value)))]
pub async fn share_with_users(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    extract::Json(body): extract::Json<Value>,
) -> Result<Json<Value>, ApiError> {
    let mut q = app.store.reader();
    let found = find::workflow(&app, &mut q, &caller, &id, Which::default(), Wish::Change).await?;
    let Some(named) = body.get("user_ids").and_then(Value::as_array) else {
        return Err(ApiError::missing(
            "user_ids must be a list of ids or e-mail addresses.",
        ));
    };
    let mut errors = Vec::new();
    let mut ids = Vec::new();
    // One look-up for each; nobody shares with more people than fit here.
    for name in named.iter().filter_map(Value::as_str).take(1_000) {
        match named_user(&app, &mut q, name).await? {
            Some(user) if user.id == found.stored.user_id => {
                errors.push(json!("You cannot share a workflow with yourself."));
            }
            Some(user) => ids.push(user.id),
            None => errors.push(json!(format!("{name} is not a known user."))),
        }
    }
    let mut tx = app.store.begin().await?;
    workflows::share_with(&mut tx, found.stored.id, &ids).await?;
    tx.commit(Durability::Acknowledged, "workflow.share")
        .await?;
    let mut shape = status(&app, &mut q, found.stored.id).await?;
    shape["errors"] = Value::Array(errors);
    Ok(Json(shape))
}

/// The user with this id or e-mail address, unless deleted.
pub async fn named_user(
    app: &App,
    q: &mut impl Query,
    name: &str,
) -> Result<Option<User>, ApiError> {
    let found = match name.contains('@') {
        true => users::by_login(q, name).await?.map(|(user, _)| user),
        false => users::by_id(q, app.decode(name)?).await?,
    };
    Ok(found.filter(|user| !user.deleted))
}

/// Sets the last part of a workflow's link.
#[utoipa::path(put, path = "/api/workflows/{id}/slug", tag = "workflows", request_body = Value,
    params(("id" = String, Path)), responses((status = 204, description = "Set")))]
pub async fn set_slug(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    extract::Json(body): extract::Json<Value>,
) -> Result<StatusCode, ApiError> {
    let mut q = app.store.reader();
    let found = find::workflow(&app, &mut q, &caller, &id, Which::default(), Wish::Change).await?;
    let slug = body.get("new_slug").and_then(Value::as_str);
    let slug = slug.ok_or_else(|| ApiError::missing("new_slug is required."))?;
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if slug.is_empty() || slug.len() > 255 || !slug.chars().all(fits) {
        return Err(ApiError::attribute_invalid(
            "A slug consists of lower-case letters, digits and hyphens.",
        ));
    }
    if workflows::slug_taken(&mut q, found.stored.user_id, slug, found.stored.id).await? {
        return Err(slug_is_taken());
    }
    let attributes = Attributes {
        slug: Some(slug.to_owned()),
        ..Default::default()
    };
    set(&app, &caller, &id, attributes).await?;
    Ok(StatusCode::NO_CONTENT)
}
