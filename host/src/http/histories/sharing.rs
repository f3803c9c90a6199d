//! Who may see a history.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::free_slug;
use crate::http::access::{self, Wish};
use crate::http::app::App;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::http::extract;
use crate::http::workflows::named_user;
use crate::store::histories::{self, History};
use crate::store::{Durability, Query, sharing};

/// Who may see a history.
#[utoipa::path(get, path = "/api/histories/{history_id}/sharing", tag = "histories", params(("history_id" = String, Path)),
    responses((status = 200, description = "importable, published, users_shared_with, slug", body = Value)))]
pub async fn show(
    State(app): State<App>,
    caller: Caller,
    Path(history_id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let mut q = app.store.reader();
    let history = access::history(&app, &mut q, &caller, &history_id, Wish::Change).await?;
    status(&app, &mut q, &history).await.map(Json)
}

async fn status(app: &App, q: &mut impl Query, history: &History) -> Result<Value, ApiError> {
    let users = sharing::history_users(q, history.id).await?;
    let users: Vec<Value> = users
        .iter()
        .map(|(id, email)| json!({"id": app.encode(*id), "email": email}))
        .collect();
    Ok(json!({
        "id": app.encode(history.id),
        "title": history.name,
        "username": history.username,
        "email_hash": null,
        "importable": history.importable,
        "published": history.published,
        "users_shared_with": users,
        "username_and_slug": history.slug.as_ref().map(|slug| format!("u/{}/h/{slug}", history.username)),
        "slug": history.slug,
        "extra": {"can_change": [], "can_share": true},
    }))
}

/// What is to become of the two flags.
struct Flags {
    importable: Option<bool>,
    published: Option<bool>,
}

async fn set(app: &App, caller: &Caller, id: &str, flags: Flags) -> Result<Json<Value>, ApiError> {
    let mut tx = app.store.begin().await?;
    let mut history = access::history(app, &mut tx, caller, id, Wish::Change).await?;
    history.importable = flags.importable.unwrap_or(history.importable);
    history.published = flags.published.unwrap_or(history.published);
    if history.importable && history.slug.is_none() {
        history.slug = Some(free_slug(&mut tx, &history).await?);
    }
    histories::save(&mut tx, &history, app.now_ms()).await?;
    tx.commit(Durability::Acknowledged, "history.share").await?;
    status(app, &mut app.store.reader(), &history)
        .await
        .map(Json)
}

macro_rules! switches {
    ($($name:ident, $path:literal, $doc:literal, $importable:expr, $published:expr;)+) => { $(
        #[doc = $doc]
        #[utoipa::path(put, path = $path, tag = "histories", params(("history_id" = String, Path)),
            responses((status = 200, description = "As /api/histories/{history_id}/sharing", body = Value)))]
        pub async fn $name(
            State(app): State<App>,
            caller: Caller,
            Path(history_id): Path<String>,
        ) -> Result<Json<Value>, ApiError> {
            let flags = Flags { importable: $importable, published: $published };
            set(&app, &caller, &history_id, flags).await
        }
    )+ };
}

switches! {
    publish, "/api/histories/{history_id}/publish", "Shows a history to everybody.", Some(true), Some(true);
    unpublish, "/api/histories/{history_id}/unpublish", "Takes a history off the published ones.", None, Some(false);
    enable_link_access, "/api/histories/{history_id}/enable_link_access", "Lets whoever has the link see a history.", Some(true), None;
    disable_link_access, "/api/histories/{history_id}/disable_link_access", "Ends the access by link, and with it publication.", Some(false), Some(false);
}

/// Shares a history with exactly the users named, by id or e-mail address.
#[utoipa::path(put, path = "/api/histories/{history_id}/share_with_users", tag = "histories", request_body = Value,
    params(("history_id" = String, Path)),
    responses((status = 200, description = "As /api/histories/{history_id}/sharing, with errors", body = Value)))]
pub async fn share_with_users(
    State(app): State<App>,
    caller: Caller,
    Path(history_id): Path<String>,
    extract::Json(body): extract::Json<Value>,
) -> Result<Json<Value>, ApiError> {
    let mut tx = app.store.begin().await?;
    let history = access::history(&app, &mut tx, &caller, &history_id, Wish::Change).await?;
    let Some(named) = body.get("user_ids").and_then(Value::as_array) else {
        return Err(ApiError::missing(
            "user_ids must be a list of ids or e-mail addresses.",
        ));
    };
    let mut errors = Vec::new();
    let mut ids = Vec::new();
    // One look-up for each; nobody shares with more people than fit here.
    for name in named.iter().filter_map(Value::as_str).take(1_000) {
        match named_user(&app, &mut tx, name).await? {
            Some(user) if user.id == history.user_id => {
                errors.push("You cannot share a history with yourself.".to_owned());
            }
            Some(user) => ids.push(user.id),
            None => {
                let shown: String = name.chars().take(100).collect();
                errors.push(format!("{shown} is not a known user."));
            }
        }
    }
    sharing::share_history(&mut tx, history.id, &ids).await?;
    tx.commit(Durability::Acknowledged, "history.share").await?;
    let mut shape = status(&app, &mut app.store.reader(), &history).await?;
    shape["errors"] = json!(errors);
    Ok(Json(shape))
}

/// Sets the last part of a history's link.
#[utoipa::path(put, path = "/api/histories/{history_id}/slug", tag = "histories", request_body = Value,
    params(("history_id" = String, Path)), responses((status = 204, description = "Set")))]
pub async fn set_slug(
    State(app): State<App>,
    caller: Caller,
    Path(history_id): Path<String>,
    extract::Json(body): extract::Json<Value>,
) -> Result<StatusCode, ApiError> {
    let slug = body.get("new_slug").and_then(Value::as_str);
    let slug = slug.ok_or_else(|| ApiError::missing("new_slug is required."))?;
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if slug.is_empty() || slug.len() > 255 || !slug.chars().all(fits) {
        return Err(ApiError::attribute_invalid(
            "A slug consists of lower-case letters, digits and hyphens.",
        ));
    }
    let mut tx = app.store.begin().await?;
    let mut history = access::history(&app, &mut tx, &caller, &history_id, Wish::Change).await?;
    if histories::has_slug(&mut tx, history.user_id, slug, history.id).await? {
        return Err(ApiError::slug_taken(
            "You have another history with this slug.",
        ));
    }
    history.slug = Some(slug.to_owned());
    histories::save(&mut tx, &history, app.now_ms()).await?;
    tx.commit(Durability::Acknowledged, "history.share").await?;
    Ok(StatusCode::NO_CONTENT)
}
