//! Tools: what there are, what they take, running one (spec 6.6, clients.md section 2).

mod dynamic;
pub(super) mod run;
mod test_data;

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::app::{App, blocking};
use super::auth::Caller;
use super::error::ApiError;
use super::extract::{self, Params};
use super::requests::dynamic_tool;
use crate::tools::{Tool, describe};

pub use super::requests::load as tool_of;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, run::run))
        .routes(routes!(show, post))
        .routes(routes!(reload))
        .merge(dynamic::routes())
}

/// A tool of the toolbox.
pub fn tool_by_id(app: &App, id: &str, version: Option<&str>) -> Option<Arc<Tool>> {
    app.seams().toolbox.get(id, version).map(|found| found.tool)
}

/// The tools of the toolbox: a list, or (`in_panel`) one section of them.
#[utoipa::path(get, path = "/api/tools", tag = "tools", security(()), params(
    ("in_panel" = Option<bool>, Query, description = "true if not given"),
    ("tool_id" = Option<String>, Query), ("q" = Option<String>, Query, description = "Answer the ids of tools with these words")),
    responses((status = 200, description = "Tools", body = Vec<Value>)))]
async fn list(State(app): State<App>, params: Params) -> Result<Json<Value>, ApiError> {
    let toolbox = app.seams().toolbox.clone();
    // The toolbox may look at its directories.
    let tools = blocking(move || Ok(toolbox.list())).await?;
    if let Some(words) = params.text("q") {
        let found = tools.iter().filter(|tool| {
            let text = format!("{} {} {}", tool.id, tool.name, tool.description).to_lowercase();
            words
                .to_lowercase()
                .split_whitespace()
                .all(|word| text.contains(word))
        });
        return Ok(Json(found.map(|tool| json!(tool.id)).collect()));
    }
    let wanted = params.text("tool_id").filter(|id| !id.is_empty());
    let of_id = |tool: &&Arc<Tool>| wanted.is_none_or(|id| id == tool.id);
    let summaries: Vec<Value> = tools
        .iter()
        .filter(of_id)
        .map(|t| describe::summary(t))
        .collect();
    if params.flag("in_panel")?.unwrap_or(true) && wanted.is_none() {
        return Ok(Json(json!([{
            "model_class": "ToolSection",
            "id": "tools",
            "name": "Tools",
            "version": "",
            "elems": summaries,
        }])));
    }
    Ok(Json(Value::Array(summaries)))
}

/// What may follow a tool's id in a path. Ids may hold slashes and blanks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Whole,
    Build,
    Source,
    TestData,
    TestDataDownload,
    Citations,
}

fn split(path: &str) -> (&str, Part) {
    let parts = [
        ("/build", Part::Build),
        ("/raw_tool_source", Part::Source),
        ("/test_data_download", Part::TestDataDownload),
        ("/test_data", Part::TestData),
        ("/citations", Part::Citations),
    ];
    for (suffix, part) in parts {
        if let Some(id) = path.strip_suffix(suffix) {
            return (id, part);
        }
    }
    (path, Part::Whole)
}

/// A tool, or with `/build`, `/raw_tool_source`, `/test_data` or `/citations` behind its id a part of it.
#[utoipa::path(get, path = "/api/tools/{*tool_id}", tag = "tools", params(
    ("tool_id" = String, Path, description = "An id (slashes and blanks as they are) or the uuid of a user-defined tool"),
    ("tool_version" = Option<String>, Query), ("io_details" = Option<bool>, Query),
    ("link_details" = Option<bool>, Query)),
    responses((status = 200, description = "The tool", body = Value)))]
async fn show(
    State(app): State<App>,
    caller: Caller,
    Path(path): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let (id, part) = split(&path);
    let tool = find(&app, &caller, id, params.text("tool_version")).await?;
    Ok(match part {
        Part::Source => {
            let kind = [(CONTENT_TYPE, "text/plain; charset=utf-8")];
            (kind, tool.source.clone()).into_response()
        }
        Part::Build => Json(describe::build(&tool, &json!({}))).into_response(),
        Part::TestData => Json(test_data::tests(&tool)).into_response(),
        Part::TestDataDownload => {
            // Tests of this server's tools hold their data themselves.
            let shown: String = params
                .text("filename")
                .unwrap_or("")
                .chars()
                .take(100)
                .collect();
            return Err(ApiError::not_found(format!(
                "The tool has no test data called {shown:?}."
            )));
        }
        Part::Citations => {
            let citations = tool.citations.iter();
            let citations = citations.map(|c| json!({"format": c.kind, "content": c.content}));
            Json(citations.collect::<Value>()).into_response()
        }
        Part::Whole if params.is("io_details")? => {
            Json(describe::io_details(&tool)).into_response()
        }
        Part::Whole => Json(describe::summary(&tool)).into_response(),
    })
}

/// With `/build` behind the id: the tool's form for some inputs.
#[utoipa::path(post, path = "/api/tools/{*tool_id}", tag = "tools", request_body = Value,
    params(("tool_id" = String, Path, description = "An id followed by /build")),
    responses((status = 200, description = "The tool with the values of its inputs", body = Value)))]
async fn post(
    State(app): State<App>,
    caller: Caller,
    Path(path): Path<String>,
    extract::Json(body): extract::Json<Value>,
) -> Result<Json<Value>, ApiError> {
    let (id, Part::Build) = split(&path) else {
        return Err(ApiError::not_found("There is nothing to POST to here."));
    };
    let version = body.get("tool_version").and_then(Value::as_str);
    let tool = find(&app, &caller, id, version).await?;
    let inputs = body.get("inputs").cloned().unwrap_or_else(|| json!({}));
    let mut shape = describe::build(&tool, &inputs);
    shape["history_id"] = body.get("history_id").cloned().unwrap_or_default();
    Ok(Json(shape))
}

async fn find(
    app: &App,
    caller: &Caller,
    id: &str,
    version: Option<&str>,
) -> Result<Arc<Tool>, ApiError> {
    let version = version.filter(|version| !version.is_empty());
    if let Some(tool) = tool_by_id(app, id, version) {
        return Ok(tool);
    }
    if let Ok(uuid) = Uuid::parse_str(id) {
        let found = dynamic_tool(app, &mut app.store.reader(), caller, uuid).await?;
        if let Some((_, tool)) = found {
            return Ok(tool);
        }
    }
    let shown: String = id.chars().take(200).collect();
    Err(ApiError::not_found(format!(
        "Could not find tool with id '{shown}'."
    )))
}

/// Looks through the tool directories again. For administrators.
#[utoipa::path(put, path = "/api/configuration/toolbox", tag = "configuration",
    responses((status = 200, description = "null", body = Value)))]
async fn reload(State(app): State<App>, caller: Caller) -> Result<Json<Value>, ApiError> {
    caller.require_admin()?;
    let toolbox = app.seams().toolbox.clone();
    blocking(move || {
        toolbox.reload();
        Ok(())
    })
    .await?;
    Ok(Json(Value::Null))
}

#[cfg(test)]
mod tests;
