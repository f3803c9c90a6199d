//! Roles, and who may read a dataset.

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
use super::extract;
use crate::store::sharing::{self, Role};
use crate::store::{Durability, Tx, users};

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show))
        .routes(routes!(set_permissions))
        .routes(routes!(set_permissions_in_history))
}

fn shape(app: &App, role: &Role) -> Value {
    let id = app.encode(role.id);
    json!({
        "model_class": "Role",
        "url": format!("/api/roles/{id}"),
        "id": id,
        "name": role.name,
        "description": role.description,
        "type": role.kind,
    })
}

/// The caller's roles; all of them for an administrator.
#[utoipa::path(get, path = "/api/roles", tag = "roles",
    responses((status = 200, description = "Roles", body = Vec<Value>)))]
async fn list(State(app): State<App>, caller: Caller) -> Result<Json<Value>, ApiError> {
    let whose = match caller.is_admin {
        true => None,
        false => Some(caller.user_id()?),
    };
    let roles = sharing::roles(&mut app.store.reader(), whose).await?;
    Ok(Json(roles.iter().map(|role| shape(&app, role)).collect()))
}

/// A role to be made.
#[derive(Deserialize, ToSchema)]
struct NewRole {
    name: String,
    description: String,
    /// Who has it.
    user_ids: Option<Vec<String>>,
    /// Groups of users; this server has none.
    group_ids: Option<Vec<String>>,
}

/// The most users of a new role.
const USERS_MAX: usize = 1_000;

/// Makes a role. For administrators.
#[utoipa::path(post, path = "/api/roles", tag = "roles", request_body = NewRole,
    responses((status = 200, description = "The role", body = Value)))]
async fn create(
    State(app): State<App>,
    caller: Caller,
    extract::Json(new): extract::Json<NewRole>,
) -> Result<Json<Value>, ApiError> {
    caller.require_admin()?;
    let name = new.name.trim();
    if name.is_empty() || name.chars().count() > 255 {
        return Err(ApiError::invalid(
            "A role needs a name of at most 255 characters.",
        ));
    }
    if new.group_ids.is_some_and(|groups| !groups.is_empty()) {
        return Err(ApiError::invalid("This server has no groups of users."));
    }
    let named = new.user_ids.unwrap_or_default();
    if named.len() > USERS_MAX {
        return Err(ApiError::invalid(format!("More than {USERS_MAX} users.")));
    }
    let mut tx = app.store.begin().await?;
    let mut ids = Vec::with_capacity(named.len());
    for encoded in &named {
        let user = users::by_id(&mut tx, app.decode(encoded)?).await?;
        ids.push(
            user.ok_or_else(|| ApiError::not_found("There is no such user."))?
                .id,
        );
    }
    let maker = caller.user.as_ref().map(|user| user.id);
    let description: String = new.description.chars().take(10_000).collect();
    let made = sharing::create_role(&mut tx, name, &description, maker, &ids, app.now_ms()).await;
    let id = made.map_err(|error| match error.is_constraint() {
        true => ApiError::conflict("A role with this name exists already."),
        false => error.into(),
    })?;
    tx.commit(Durability::Acknowledged, "role.create").await?;
    show_by_id(&app, id).await
}

async fn show_by_id(app: &App, id: i64) -> Result<Json<Value>, ApiError> {
    let role = sharing::role_by_id(&mut app.store.reader(), id).await?;
    let role = role.ok_or_else(|| ApiError::not_found("There is no such role."))?;
    Ok(Json(shape(app, &role)))
}

/// A role. For those who have it, and administrators.
#[utoipa::path(get, path = "/api/roles/{id}", tag = "roles", params(("id" = String, Path)),
    responses((status = 200, description = "The role", body = Value)))]
async fn show(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let id = app.decode(&id)?;
    if !caller.is_admin {
        let mine = sharing::roles(&mut app.store.reader(), Some(caller.user_id()?)).await?;
        if !mine.iter().any(|role| role.id == id) {
            return Err(ApiError::not_found("There is no such role."));
        }
    }
    show_by_id(&app, id).await
}

/// Says who may read a dataset. `action`: `remove_restrictions` (everybody, also without a key), `make_private` (its
/// owner alone), `set_permissions` (whoever has a role in `access`; without any, whoever may read its history).
#[utoipa::path(put, path = "/api/datasets/{id}/permissions", tag = "datasets", request_body = Value,
    params(("id" = String, Path)),
    responses((status = 200, description = "access_dataset_roles, manage_dataset_roles, modify_item_roles", body = Value)))]
async fn set_permissions(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    extract::Json(body): extract::Json<Value>,
) -> Result<Json<Value>, ApiError> {
    change(&app, &caller, &id, &body).await
}

/// As `/api/datasets/{id}/permissions`.
#[utoipa::path(put, path = "/api/histories/{history_id}/contents/{id}/permissions", tag = "datasets",
    request_body = Value, params(("history_id" = String, Path), ("id" = String, Path)),
    responses((status = 200, description = "access_dataset_roles, manage_dataset_roles, modify_item_roles", body = Value)))]
async fn set_permissions_in_history(
    State(app): State<App>,
    caller: Caller,
    Path((_history_id, id)): Path<(String, String)>,
    extract::Json(body): extract::Json<Value>,
) -> Result<Json<Value>, ApiError> {
    change(&app, &caller, &id, &body).await
}

async fn change(
    app: &App,
    caller: &Caller,
    id: &str,
    body: &Value,
) -> Result<Json<Value>, ApiError> {
    let mut tx = app.store.begin().await?;
    let hda = access::hda(app, &mut tx, caller, id, Wish::Change).await?;
    if !caller.is_admin && !sharing::may_manage(&mut tx, hda.dataset_id, caller.user_id()?).await? {
        return Err(ApiError::not_owner(
            "This is a copy: only the owner of the dataset says who may read it",
        ));
    }
    let names_roles = ["access", "manage"].iter().any(|name| {
        let keys = body.as_object().into_iter().flat_map(|body| body.keys());
        let mut keys = keys.map(|key| key.trim_end_matches("[]").trim_end_matches("_ids"));
        keys.any(|key| key == *name)
    });
    let action = match body.get("action") {
        None | Some(Value::Null) if names_roles => "set_permissions",
        None | Some(Value::Null) => {
            return Err(ApiError::missing(
                "The body has to be an object with an action, or with the roles for access or manage.",
            ));
        }
        Some(Value::String(action)) => action,
        Some(_) => return Err(ApiError::invalid("action must be a text.")),
    };
    let (word, access_roles, manage_roles) = match action {
        "remove_restrictions" => (Some("public"), vec![], vec![]),
        "make_private" => (Some("private"), vec![], vec![]),
        "set_permissions" => {
            let access = roles_of(app, &mut tx, caller, body, "access").await?;
            let manage = roles_of(app, &mut tx, caller, body, "manage").await?;
            ((!access.is_empty()).then_some("roles"), access, manage)
        }
        _ => {
            return Err(ApiError::invalid(
                "action must be set_permissions, make_private or remove_restrictions.",
            ));
        }
    };
    let roles = [("access", access_roles), ("manage", manage_roles)];
    sharing::set_permissions(&mut tx, hda.dataset_id, word, &roles).await?;
    let access = sharing::dataset_roles(&mut tx, hda.dataset_id, "access").await?;
    let manage = sharing::dataset_roles(&mut tx, hda.dataset_id, "manage").await?;
    tx.commit(Durability::Acknowledged, "dataset.permissions")
        .await?;
    let pairs = |roles: &[Role]| -> Value {
        let pair = |role: &Role| json!([role.name, app.encode(role.id)]);
        roles.iter().map(pair).collect()
    };
    Ok(Json(json!({
        "access_dataset_roles": pairs(&access),
        "manage_dataset_roles": pairs(&manage),
        "modify_item_roles": [],
    })))
}

/// The roles that a body names under `access` or `access_ids[]`. Only one's own roles can be named.
async fn roles_of(
    app: &App,
    tx: &mut Tx,
    caller: &Caller,
    body: &Value,
    name: &str,
) -> Result<Vec<i64>, ApiError> {
    let forms = [
        name.to_owned(),
        format!("{name}_ids"),
        format!("{name}_ids[]"),
    ];
    let given = forms.iter().find_map(|form| body.get(form));
    let encoded: Vec<&str> = match given {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(list)) => list
            .iter()
            .map(|one| {
                one.as_str()
                    .ok_or_else(|| ApiError::invalid(format!("{name} must be a list of ids.")))
            })
            .collect::<Result<_, _>>()?,
        Some(_) => return Err(ApiError::invalid(format!("{name} must be a list of ids."))),
    };
    if encoded.len() > USERS_MAX {
        return Err(ApiError::invalid(format!("More than {USERS_MAX} roles.")));
    }
    let whose = match caller.is_admin {
        true => None,
        false => Some(caller.user_id()?),
    };
    let known = sharing::roles(tx, whose).await?;
    let mut ids = Vec::with_capacity(encoded.len());
    for text in encoded {
        let id = app.decode(text)?;
        if !known.iter().any(|role| role.id == id) {
            return Err(ApiError::not_found("There is no such role."));
        }
        ids.push(id);
    }
    Ok(ids)
}
