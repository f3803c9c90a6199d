//! Users: lists, one, making, changing, deleting. Their keys: [`super::keys`].

use argon2::Argon2;
use argon2::password_hash::PasswordHasher;
use axum::Json;
use axum::extract::{Path, State};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::app::{App, blocking};
use super::auth::Caller;
use super::error::ApiError;
use super::extract::{self, Params};
use super::{shapes, time};
use crate::store::users::{self, User, UserFilter};
use crate::store::{Durability, StoreError};

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(whoami))
        .routes(routes!(list, create))
        .routes(routes!(list_deleted))
        .routes(routes!(show_deleted))
        .routes(routes!(show, update, delete))
        .routes(routes!(show_information, update_information))
        .routes(routes!(credentials_of))
}

/// The caller, or null.
#[utoipa::path(get, path = "/api/whoami", tag = "users", security(()),
    responses((status = 200, description = "The user, or null", body = Value)))]
async fn whoami(State(app): State<App>, caller: Caller) -> Result<Json<Value>, ApiError> {
    match &caller.user {
        None => Ok(Json(Value::Null)),
        Some(user) => shape(&app, user).await.map(Json),
    }
}

/// Users: all of them for an administrator, else oneself.
#[utoipa::path(get, path = "/api/users", tag = "users", params(
    ("f_email" = Option<String>, Query, description = "Part of the e-mail address (administrators)"),
    ("f_name" = Option<String>, Query, description = "Part of the name (administrators)"),
    ("f_any" = Option<String>, Query, description = "Part of either (administrators)"),
    ("deleted" = Option<bool>, Query, description = "The deleted ones instead (administrators)"),
    ("limit" = Option<i64>, Query), ("offset" = Option<i64>, Query)),
    responses((status = 200, description = "Users", body = Vec<Value>)))]
async fn list(
    State(app): State<App>,
    caller: Caller,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let deleted = caller.is_admin && params.is("deleted")?;
    listed(&app, &caller, &params, deleted).await
}

/// The deleted users. For administrators.
#[utoipa::path(get, path = "/api/users/deleted", tag = "users", params(
    ("f_email" = Option<String>, Query, description = "Part of the e-mail address"),
    ("f_name" = Option<String>, Query, description = "Part of the name"),
    ("f_any" = Option<String>, Query, description = "Part of either"),
    ("limit" = Option<i64>, Query), ("offset" = Option<i64>, Query)),
    responses((status = 200, description = "Users", body = Vec<Value>)))]
async fn list_deleted(
    State(app): State<App>,
    caller: Caller,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    caller.require_admin()?;
    listed(&app, &caller, &params, true).await
}

/// A user who was deleted. For administrators.
#[utoipa::path(get, path = "/api/users/deleted/{user_id}", tag = "users",
    params(("user_id" = String, Path, description = "An encoded id")),
    responses((status = 200, description = "The user", body = Value)))]
async fn show_deleted(
    State(app): State<App>,
    caller: Caller,
    Path(user_id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    caller.require_admin()?;
    let user = addressed(&app, &caller, &user_id).await?;
    match user.deleted {
        true => shape(&app, &user).await.map(Json),
        false => Err(ApiError::not_found("There is no such deleted user.")),
    }
}

async fn listed(
    app: &App,
    caller: &Caller,
    params: &Params,
    deleted: bool,
) -> Result<Json<Value>, ApiError> {
    let page = params.page(app.settings.page_default, app.settings.page_max)?;
    let mut filter = UserFilter {
        limit: page.limit,
        offset: page.offset,
        ..UserFilter::default()
    };
    if caller.is_admin {
        let text = |name: &str| params.text(name).map(str::to_owned);
        filter.deleted = deleted;
        (filter.email, filter.name, filter.any) = (text("f_email"), text("f_name"), text("f_any"));
    } else {
        filter.id = Some(caller.user_id()?);
    }
    let users = users::list(&mut app.store.reader(), &filter).await?;
    let lines = users.iter().map(|user| {
        json!({
            "model_class": "User",
            "id": app.encode(user.id),
            "username": user.username,
            "email": user.email,
            "deleted": user.deleted,
            "purged": user.purged,
            "active": true,
            "is_admin": user.is_admin,
            "create_time": time::iso(user.create_time),
            "update_time": time::iso(user.update_time),
        })
    });
    Ok(Json(lines.collect()))
}

/// A user to be made.
#[derive(Deserialize, ToSchema)]
struct NewUser {
    username: String,
    email: String,
    /// Without one the user can only use keys.
    password: Option<String>,
}

/// Makes a user. For administrators.
#[utoipa::path(post, path = "/api/users", tag = "users", request_body = NewUser,
    responses((status = 200, description = "The user", body = Value)))]
async fn create(
    State(app): State<App>,
    caller: Caller,
    extract::Json(new): extract::Json<NewUser>,
) -> Result<Json<Value>, ApiError> {
    caller.require_admin()?;
    let username = valid_username(&new.username)?;
    let email = valid_email(&new.email)?;
    let hash = match new.password.filter(|p| !p.is_empty()) {
        None => None,
        Some(password) => Some(hash_password(password).await?),
    };
    let mut tx = app.store.begin().await?;
    let id = users::create(
        &mut tx,
        username,
        email,
        hash.as_deref(),
        false,
        app.now_ms(),
    )
    .await
    .map_err(taken)?;
    tx.commit(Durability::Acknowledged, "user.create").await?;
    show_by_id(&app, id).await
}

fn taken(error: StoreError) -> ApiError {
    if error.is_constraint() {
        ApiError::conflict("A user with this name or e-mail address exists already.")
    } else {
        error.into()
    }
}

/// The name, if it can be one.
pub fn valid_username(text: &str) -> Result<&str, ApiError> {
    let fits = (1..=255).contains(&text.chars().count())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    fits.then_some(text).ok_or_else(|| {
        ApiError::invalid(
            "A username consists of letters, digits, '.', '_' and '-', at most 255 of them.",
        )
    })
}

/// The address, if it looks like one.
pub fn valid_email(text: &str) -> Result<&str, ApiError> {
    let fits = text.len() <= 255
        && !text.chars().any(|c| c.is_whitespace() || c.is_control())
        && text.split_once('@').is_some_and(|(name, host)| {
            !name.is_empty() && !host.is_empty() && !host.contains('@')
        });
    fits.then_some(text)
        .ok_or_else(|| ApiError::invalid("This is not an e-mail address."))
}

/// Shorter passwords are refused.
const PASSWORD_MIN: usize = 6;

/// The Argon2id hash of a password, made where blocking is allowed.
pub async fn hash_password(password: String) -> Result<String, ApiError> {
    if password.chars().count() < PASSWORD_MIN {
        return Err(ApiError::invalid(format!(
            "A password has at least {PASSWORD_MIN} characters."
        )));
    }
    blocking(move || {
        Argon2::default()
            .hash_password(password.as_bytes())
            .map(|hash| hash.to_string())
            .map_err(|e| std::io::Error::other(e.to_string()))
    })
    .await
}

/// A user; `current` is the caller.
#[utoipa::path(get, path = "/api/users/{user_id}", tag = "users",
    params(("user_id" = String, Path, description = "An encoded id, or `current`")),
    responses((status = 200, description = "The user", body = Value)))]
async fn show(
    State(app): State<App>,
    caller: Caller,
    Path(user_id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    if user_id == "current" && caller.user.is_none() && !caller.is_admin {
        return Ok(Json(json!({})));
    }
    let user = addressed(&app, &caller, &user_id).await?;
    shape(&app, &user).await.map(Json)
}

/// What may be changed of a user.
#[derive(Deserialize, ToSchema)]
struct UserChange {
    username: Option<String>,
    email: Option<String>,
}

/// Changes a user's name or e-mail address.
#[utoipa::path(put, path = "/api/users/{user_id}", tag = "users", request_body = UserChange,
    params(("user_id" = String, Path, description = "An encoded id, or `current`")),
    responses((status = 200, description = "The user", body = Value)))]
async fn update(
    State(app): State<App>,
    caller: Caller,
    Path(user_id): Path<String>,
    extract::Json(change): extract::Json<UserChange>,
) -> Result<Json<Value>, ApiError> {
    let user = apply(&app, &caller, &user_id, change).await?;
    shape(&app, &user).await.map(Json)
}

/// A user's name and e-mail address, as a form would show them.
#[utoipa::path(get, path = "/api/users/{user_id}/information/inputs", tag = "users",
    params(("user_id" = String, Path, description = "An encoded id, or `current`")),
    responses((status = 200, description = "`username`, `email`", body = Value)))]
async fn show_information(
    State(app): State<App>,
    caller: Caller,
    Path(user_id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let user = addressed(&app, &caller, &user_id).await?;
    Ok(Json(
        json!({ "username": user.username, "email": user.email, "inputs": [] }),
    ))
}

/// Changes a user's name or e-mail address; the way that BioBlend takes.
#[utoipa::path(put, path = "/api/users/{user_id}/information/inputs", tag = "users", request_body = UserChange,
    params(("user_id" = String, Path, description = "An encoded id, or `current`")),
    responses((status = 200, description = "`message`", body = Value)))]
async fn update_information(
    State(app): State<App>,
    caller: Caller,
    Path(user_id): Path<String>,
    extract::Json(change): extract::Json<UserChange>,
) -> Result<Json<Value>, ApiError> {
    apply(&app, &caller, &user_id, change).await?;
    Ok(Json(
        json!({ "message": "User information has been saved." }),
    ))
}

async fn apply(
    app: &App,
    caller: &Caller,
    encoded: &str,
    change: UserChange,
) -> Result<User, ApiError> {
    let user = addressed(app, caller, encoded).await?;
    let username = match &change.username {
        Some(name) => valid_username(name)?,
        None => &user.username,
    };
    let email = match &change.email {
        Some(email) => valid_email(email)?,
        None => &user.email,
    };
    let mut tx = app.store.begin().await?;
    users::rename(&mut tx, user.id, username, email, app.now_ms())
        .await
        .map_err(taken)?;
    tx.commit(Durability::Acknowledged, "user.update").await?;
    app.keys.clear();
    addressed(app, caller, encoded).await
}

/// Deletes a user: the keys stop working, the histories stay. `purge` removes the name and address of a
/// user who was deleted before. For administrators.
#[utoipa::path(delete, path = "/api/users/{user_id}", tag = "users",
    params(("user_id" = String, Path, description = "An encoded id"),
           ("purge" = Option<bool>, Query, description = "Remove name and address for good")),
    responses((status = 200, description = "The user", body = Value)))]
async fn delete(
    State(app): State<App>,
    caller: Caller,
    Path(user_id): Path<String>,
    params: Params,
    extract::Json(body): extract::Json<Value>,
) -> Result<Json<Value>, ApiError> {
    caller.require_admin()?;
    let purge = params.is("purge")? || body.get("purge").and_then(Value::as_bool).unwrap_or(false);
    let user = addressed(&app, &caller, &user_id).await?;
    if purge && !user.deleted {
        return Err(ApiError::message(
            "A user must be deleted before being purged.",
        ));
    }
    let now_ms = app.now_ms();
    let mut tx = app.store.begin().await?;
    users::set_deleted(&mut tx, user.id, true, purge, now_ms).await?;
    users::delete_keys(&mut tx, user.id).await?;
    if purge {
        let anonymous = format!("purged-{}", super::auth::random_hex(8));
        let address = format!("{anonymous}@purged.invalid");
        users::rename(&mut tx, user.id, &anonymous, &address, now_ms).await?;
    }
    tx.commit(Durability::Acknowledged, "user.delete").await?;
    app.keys.clear();
    show_by_id(&app, user.id).await
}

/// The credentials that a user keeps for tools. This server keeps none.
#[utoipa::path(get, path = "/api/users/{user_id}/credentials", tag = "users",
    params(("user_id" = String, Path, description = "An encoded id, or `current`")),
    responses((status = 200, description = "An empty list", body = Vec<Value>)))]
async fn credentials_of(
    State(app): State<App>,
    caller: Caller,
    Path(user_id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    addressed(&app, &caller, &user_id).await?;
    Ok(Json(json!([])))
}

/// The user that a path names: oneself, or anybody for an administrator. Somebody else's id answers as an
/// unknown one does.
pub async fn addressed(app: &App, caller: &Caller, encoded: &str) -> Result<User, ApiError> {
    let id = match encoded {
        "current" => caller.user_id()?,
        _ if caller.user.is_none() && !caller.is_admin => caller.user_id()?,
        _ => app.decode(encoded)?,
    };
    let unknown = || ApiError::not_found("There is no such user.");
    if !caller.is_admin && caller.user_id()? != id {
        return Err(unknown());
    }
    users::by_id(&mut app.store.reader(), id)
        .await?
        .ok_or_else(unknown)
}

async fn show_by_id(app: &App, id: i64) -> Result<Json<Value>, ApiError> {
    let user = users::by_id(&mut app.store.reader(), id)
        .await?
        .ok_or_else(|| ApiError::not_found("There is no such user."))?;
    shape(app, &user).await.map(Json)
}

async fn shape(app: &App, user: &User) -> Result<Value, ApiError> {
    let usage = users::disk_usage(&mut app.store.reader(), user.id).await?;
    Ok(shapes::user(app, user, usage))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_are_looked_at() {
        assert!(valid_email("a@b").is_ok());
        for wrong in ["", "a", "a@", "@b", "a b@c", "a@b@c", "a@b\n"] {
            assert!(valid_email(wrong).is_err(), "{wrong:?}");
        }
        assert!(valid_username("ada.l-1_").is_ok());
        for wrong in ["", "a b", "../x", "ä"] {
            assert!(valid_username(wrong).is_err(), "{wrong:?}");
        }
    }
}
