//! User-defined tools: those of users (`unprivileged_tools`) and those of administrators (`dynamic_tools`).

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::http::app::App;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::http::extract;
use crate::http::requests::may_define_tools;
use crate::http::time::iso;
use crate::store::Durability;
use crate::store::db::Query;
use crate::store::dynamic_tools::{self, DynamicTool, NewDynamicTool};
use crate::tools::describe;
use crate::tools::{Tool, yaml};

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_own, create_own))
        .routes(routes!(build))
        .routes(routes!(show_own, delete_own))
        .routes(routes!(list_all, create_for_all))
        .routes(routes!(show_any, delete_any))
}

/// The caller's own tools.
#[utoipa::path(get, path = "/api/unprivileged_tools", tag = "tools",
    responses((status = 200, description = "Tools", body = Vec<Value>)))]
async fn list_own(State(app): State<App>, caller: Caller) -> Result<Json<Value>, ApiError> {
    let user_id = caller.user_id()?;
    let tools = dynamic_tools::list(&mut app.store.reader(), Some(user_id)).await?;
    Ok(Json(tools.iter().map(|tool| shape(&app, tool)).collect()))
}

/// Defines a tool of one's own: `{"src": "representation", "representation": {"class": "GalaxyUserTool", …}}`.
#[utoipa::path(post, path = "/api/unprivileged_tools", tag = "tools", request_body = Value,
    responses((status = 200, description = "The tool", body = Value)))]
async fn create_own(
    State(app): State<App>,
    caller: Caller,
    extract::Json(body): extract::Json<Value>,
) -> Result<Json<Value>, ApiError> {
    let user_id = caller.user_id()?;
    may_define_tools(&app, &caller)?;
    let representation = representation(&body)?;
    if representation.get("class") != Some(&json!("GalaxyUserTool")) {
        return Err(ApiError::insufficient_permission(
            "Users may define tools of class GalaxyUserTool only.",
        ));
    }
    create(&app, Some(user_id), &body, representation).await
}

/// The form of a tool that is not stored.
#[utoipa::path(post, path = "/api/unprivileged_tools/build", tag = "tools", request_body = Value,
    responses((status = 200, description = "The tool with the values of its inputs", body = Value)))]
async fn build(
    State(app): State<App>,
    caller: Caller,
    extract::Json(body): extract::Json<Value>,
) -> Result<Json<Value>, ApiError> {
    caller.user_id()?;
    may_define_tools(&app, &caller)?;
    let tool = parse(representation(&body)?)?;
    Ok(Json(describe::build(&tool, &json!({}))))
}

/// One of the caller's own tools.
#[utoipa::path(get, path = "/api/unprivileged_tools/{uuid}", tag = "tools", params(("uuid" = String, Path)),
    responses((status = 200, description = "The tool", body = Value)))]
async fn show_own(
    State(app): State<App>,
    caller: Caller,
    Path(uuid): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let tool = own(&app, &mut app.store.reader(), &caller, &uuid).await?;
    Ok(Json(shape(&app, &tool)))
}

/// Takes one of the caller's own tools out of use.
#[utoipa::path(delete, path = "/api/unprivileged_tools/{uuid}", tag = "tools", params(("uuid" = String, Path)),
    responses((status = 200, description = "The tool", body = Value)))]
async fn delete_own(
    State(app): State<App>,
    caller: Caller,
    Path(uuid): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let tool = own(&app, &mut app.store.reader(), &caller, &uuid).await?;
    deactivate(&app, tool).await
}

/// Everybody's tools. For administrators.
#[utoipa::path(get, path = "/api/dynamic_tools", tag = "tools",
    responses((status = 200, description = "Tools", body = Vec<Value>)))]
async fn list_all(State(app): State<App>, caller: Caller) -> Result<Json<Value>, ApiError> {
    caller.require_admin()?;
    let tools = dynamic_tools::list(&mut app.store.reader(), None).await?;
    Ok(Json(tools.iter().map(|tool| shape(&app, tool)).collect()))
}

/// Defines a tool that everybody may run. For administrators.
#[utoipa::path(post, path = "/api/dynamic_tools", tag = "tools", request_body = Value,
    responses((status = 200, description = "The tool", body = Value)))]
async fn create_for_all(
    State(app): State<App>,
    caller: Caller,
    extract::Json(body): extract::Json<Value>,
) -> Result<Json<Value>, ApiError> {
    caller.require_admin()?;
    create(&app, None, &body, representation(&body)?).await
}

/// Anybody's tool, by id or uuid. For administrators.
#[utoipa::path(get, path = "/api/dynamic_tools/{id}", tag = "tools", params(("id" = String, Path)),
    responses((status = 200, description = "The tool", body = Value)))]
async fn show_any(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    caller.require_admin()?;
    let tool = any(&app, &mut app.store.reader(), &id).await?;
    Ok(Json(shape(&app, &tool)))
}

/// Takes anybody's tool out of use. For administrators.
#[utoipa::path(delete, path = "/api/dynamic_tools/{id}", tag = "tools", params(("id" = String, Path)),
    responses((status = 200, description = "The tool", body = Value)))]
async fn delete_any(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    caller.require_admin()?;
    let tool = any(&app, &mut app.store.reader(), &id).await?;
    deactivate(&app, tool).await
}

fn representation(body: &Value) -> Result<&Value, ApiError> {
    if let Some(src) = body.get("src").and_then(Value::as_str)
        && src != "representation"
    {
        return Err(ApiError::invalid("src must be representation."));
    }
    match body.get("representation") {
        Some(found @ Value::Object(_)) => Ok(found),
        Some(_) => Err(ApiError::invalid("representation must be an object.")),
        None => Err(ApiError::missing("representation is required.")),
    }
}

fn parse(representation: &Value) -> Result<Tool, ApiError> {
    yaml::parse_representation(representation)
        .map_err(|error| ApiError::message(format!("The tool was refused: {error}")))
}

async fn create(
    app: &App,
    user_id: Option<i64>,
    body: &Value,
    representation: &Value,
) -> Result<Json<Value>, ApiError> {
    let tool = parse(representation)?;
    let new = NewDynamicTool {
        uuid: Uuid::new_v4(),
        user_id,
        tool_id: &tool.id,
        tool_version: &tool.version,
        hidden: body.get("hidden") == Some(&Value::Bool(true)),
        value: representation,
    };
    let mut tx = app.store.begin().await?;
    let id = dynamic_tools::create(&mut tx, &app.store.ids, &new, app.now_ms()).await?;
    let stored = dynamic_tools::by_id(&mut tx, id).await?;
    tx.commit(Durability::Acknowledged, "dynamic_tool.create")
        .await?;
    let stored = stored.ok_or_else(|| ApiError::internal("The tool was not stored."))?;
    Ok(Json(shape(app, &stored)))
}

async fn own(
    app: &App,
    q: &mut impl Query,
    caller: &Caller,
    id: &str,
) -> Result<DynamicTool, ApiError> {
    let user_id = caller.user_id()?;
    let tool = any(app, q, id).await?;
    match tool.user_id == Some(user_id) {
        true => Ok(tool),
        false => Err(missing()),
    }
}

async fn any(app: &App, q: &mut impl Query, id: &str) -> Result<DynamicTool, ApiError> {
    let found = match Uuid::parse_str(id) {
        Ok(uuid) if id.contains('-') => dynamic_tools::by_uuid(q, uuid).await?,
        _ => dynamic_tools::by_id(q, app.decode(id)?).await?,
    };
    found.filter(|tool| tool.active).ok_or_else(missing)
}

fn missing() -> ApiError {
    ApiError::not_found("No such tool found.")
}

async fn deactivate(app: &App, mut tool: DynamicTool) -> Result<Json<Value>, ApiError> {
    let mut tx = app.store.begin().await?;
    dynamic_tools::deactivate(&mut tx, tool.id, app.now_ms()).await?;
    tx.commit(Durability::Acknowledged, "dynamic_tool.deactivate")
        .await?;
    app.seams().toolbox.remove_dynamic(&tool.uuid);
    tool.active = false;
    Ok(Json(shape(app, &tool)))
}

fn shape(app: &App, tool: &DynamicTool) -> Value {
    json!({
        "model_class": "DynamicTool",
        "id": app.encode(tool.id),
        "uuid": tool.uuid.to_string(),
        "tool_id": tool.tool_id,
        "tool_version": tool.tool_version,
        "tool_format": tool.value.get("class"),
        "active": tool.active,
        "hidden": tool.hidden,
        "public": tool.public,
        "create_time": iso(tool.create_time),
        "update_time": iso(tool.update_time),
        "representation": tool.value,
    })
}
