//! The keys of users, and logging in with a password.
//!
//! A key is stored as a hash, so it is shown once: by the POST that makes it. `GET …/api_key` shows it again only
//! to whoever presents that very key; for a user without a key it makes one, as Galaxy does; otherwise it answers 204.

use argon2::Argon2;
use argon2::password_hash::PasswordVerifier;
use argon2::password_hash::phc::PasswordHash;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::app::{App, blocking};
use super::auth::{Caller, PresentedKey, make_key};
use super::error::ApiError;
use super::time;
use super::users::addressed;
use crate::store::Durability;
use crate::store::users::{self, KeyKind, User};

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(baseauth))
        .routes(routes!(get_key, new_key, delete_key))
        .routes(routes!(get_key_detailed))
}

/// A session key for an e-mail address and a password (`Authorization: Basic …`, or the bare base64 text).
/// It does not expire the user's API key.
#[utoipa::path(get, path = "/api/authenticate/baseauth", tag = "users", security(()),
    responses((status = 200, description = "`api_key`", body = Value)))]
async fn baseauth(State(app): State<App>, headers: HeaderMap) -> Result<Json<Value>, ApiError> {
    let refused = || ApiError::authentication_failed("Invalid e-mail address or password.");
    let header = headers
        .get("authorization")
        .and_then(|v| v.to_str().ok())
        .ok_or_else(refused)?;
    let (login, password) = credentials(header).ok_or_else(refused)?;
    let known = users::by_login(&mut app.store.reader(), &login).await?;
    let (user, hash) = match known {
        Some((user, Some(hash))) => (Some(user), hash),
        // Somebody unknown takes as long as somebody known.
        _ => (None, NOBODYS_HASH.to_owned()),
    };
    // Each check takes 19 MiB and a processor for a moment, and anybody may ask for one.
    let turn = PASSWORD_CHECKS.acquire().await;
    let matches = blocking(move || {
        // Kept to the end of the check, also when the client has gone.
        let _turn = turn;
        // A stored hash that cannot be read fits no password.
        let is_right = PasswordHash::new(&hash).is_ok_and(|hash| {
            Argon2::default()
                .verify_password(password.as_bytes(), &hash)
                .is_ok()
        });
        Ok(is_right)
    })
    .await?;
    let user = user.filter(|_| matches).ok_or_else(refused)?;
    let mut tx = app.store.begin().await?;
    let key = make_key(&mut tx, user.id, KeyKind::Session, app.now_ms()).await?;
    tx.commit(Durability::Acknowledged, "user.session").await?;
    Ok(Json(json!({ "api_key": key })))
}

/// So many passwords are checked at once; whoever comes then waits.
static PASSWORD_CHECKS: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(2);

/// The hash of a password that was thrown away.
const NOBODYS_HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$GpZ3sK/oH9p7VIiV56G/64Zo/8GaUw434IimaPqxwCo";

fn credentials(header: &str) -> Option<(String, String)> {
    let encoded = match header.split_once(' ') {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("basic") => rest,
        Some(_) => return None,
        None => header,
    };
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (login, password) = text.split_once(':')?;
    Some((login.to_owned(), password.to_owned()))
}

/// Makes a new API key, as a JSON string. It replaces the one before.
#[utoipa::path(post, path = "/api/users/{user_id}/api_key", tag = "users",
    params(("user_id" = String, Path, description = "An encoded id, or `current`")),
    responses((status = 200, description = "The key, shown this once", body = String)))]
async fn new_key(
    State(app): State<App>,
    caller: Caller,
    Path(user_id): Path<String>,
) -> Result<Json<String>, ApiError> {
    let user = addressed(&app, &caller, &user_id).await?;
    make_api_key(&app, &user).await.map(Json)
}

async fn make_api_key(app: &App, user: &User) -> Result<String, ApiError> {
    if user.deleted {
        return Err(ApiError::conflict("This user is deleted."));
    }
    let mut tx = app.store.begin().await?;
    let key = make_key(&mut tx, user.id, KeyKind::Api, app.now_ms()).await?;
    tx.commit(Durability::Acknowledged, "user.key").await?;
    app.keys.clear();
    Ok(key)
}

/// The API key of a user who has none yet: it is made. An existing one is shown only to whoever presents it
/// (only its hash is stored); otherwise 204.
#[utoipa::path(get, path = "/api/users/{user_id}/api_key", tag = "users",
    params(("user_id" = String, Path, description = "An encoded id, or `current`")),
    responses((status = 200, description = "The key", body = String),
              (status = 204, description = "There is one, and it cannot be shown")))]
async fn get_key(
    State(app): State<App>,
    caller: Caller,
    presented: PresentedKey,
    Path(user_id): Path<String>,
) -> Result<Response, ApiError> {
    let user = addressed(&app, &caller, &user_id).await?;
    match existing_key(&app, &user, presented).await? {
        Existing::None => Ok(Json(make_api_key(&app, &user).await?).into_response()),
        Existing::Shown { key, .. } => Ok(Json(key).into_response()),
        Existing::Hidden => Ok(StatusCode::NO_CONTENT.into_response()),
    }
}

/// The API key with the time of its making; 204 if there is none or it cannot be shown.
#[utoipa::path(get, path = "/api/users/{user_id}/api_key/detailed", tag = "users",
    params(("user_id" = String, Path, description = "An encoded id, or `current`")),
    responses((status = 200, description = "`key`, `create_time`", body = Value),
              (status = 204, description = "There is none, or it cannot be shown")))]
async fn get_key_detailed(
    State(app): State<App>,
    caller: Caller,
    presented: PresentedKey,
    Path(user_id): Path<String>,
) -> Result<Response, ApiError> {
    let user = addressed(&app, &caller, &user_id).await?;
    match existing_key(&app, &user, presented).await? {
        Existing::Shown { key, create_time } => Ok(Json(json!({
            "key": key,
            "create_time": time::iso(create_time),
        }))
        .into_response()),
        Existing::None | Existing::Hidden => Ok(StatusCode::NO_CONTENT.into_response()),
    }
}

enum Existing {
    None,
    Shown { key: String, create_time: i64 },
    Hidden,
}

async fn existing_key(
    app: &App,
    user: &User,
    presented: PresentedKey,
) -> Result<Existing, ApiError> {
    let mut reader = app.store.reader();
    let Some((hash, create_time)) = users::api_key(&mut reader, user.id).await? else {
        return Ok(Existing::None);
    };
    Ok(match presented.0 {
        Some(key) if super::auth::hash_key(&key) == hash => Existing::Shown { key, create_time },
        _ => Existing::Hidden,
    })
}

/// Invalidates the user's keys, those of logins included.
#[utoipa::path(delete, path = "/api/users/{user_id}/api_key", tag = "users",
    params(("user_id" = String, Path, description = "An encoded id, or `current`")),
    responses((status = 204, description = "They are gone")))]
async fn delete_key(
    State(app): State<App>,
    caller: Caller,
    Path(user_id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let user = addressed(&app, &caller, &user_id).await?;
    let mut tx = app.store.begin().await?;
    users::delete_keys(&mut tx, user.id).await?;
    tx.commit(Durability::Acknowledged, "user.key").await?;
    app.keys.clear();
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_come_with_and_without_the_scheme() {
        let expected = Some(("a@b.c".to_owned(), "x:y".to_owned()));
        let bare = STANDARD.encode("a@b.c:x:y");
        assert_eq!(credentials(&bare), expected);
        assert_eq!(credentials(&format!("Basic {bare}")), expected);
        assert_eq!(credentials(&format!("Bearer {bare}")), None);
        assert_eq!(credentials("???"), None);
    }

    #[test]
    fn the_hash_of_nobody_is_a_hash() {
        assert!(PasswordHash::new(NOBODYS_HASH).is_ok());
    }
}
