//! Reading workflows.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::find::{self, Which};
use super::shape;
use crate::formats::{self, Exported, Style};
use crate::http::access::Wish;
use crate::http::app::App;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::http::extract::Params;
use crate::http::time::iso;
use crate::store::db::Query;
use crate::store::workflows::{self, ListQuery, SortBy};

pub const TOTAL_MATCHES: HeaderName = HeaderName::from_static("total_matches");

/// Workflows: one's own, and on request those that are shared or published.
#[utoipa::path(get, path = "/api/workflows", tag = "workflows", params(
    ("show_published" = Option<bool>, Query), ("show_shared" = Option<bool>, Query),
    ("show_hidden" = Option<bool>, Query), ("show_deleted" = Option<bool>, Query),
    ("missing_tools" = Option<bool>, Query, description = "Accepted and ignored"),
    ("sort_by" = Option<String>, Query, description = "create_time, update_time or name"),
    ("sort_desc" = Option<bool>, Query), ("limit" = Option<i64>, Query), ("offset" = Option<i64>, Query),
    ("search" = Option<String>, Query, description = "Words; name:, tag:, user: and is: narrow one down"),
    ("skip_step_counts" = Option<bool>, Query)),
    responses((status = 200, description = "Summaries; header total_matches", body = Vec<Value>)))]
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    params: Params,
) -> Result<Response, ApiError> {
    let show_hidden = params.is("show_hidden")?;
    let show_deleted = params.is("show_deleted")?;
    let show_shared = params.flag("show_shared")?;
    if show_shared == Some(true) && (show_hidden || show_deleted) {
        return Err(ApiError::invalid(
            "show_shared cannot be combined with show_hidden or show_deleted.",
        ));
    }
    let limit = match params.count("limit")? {
        Some(0) => return Err(ApiError::invalid("limit must be at least 1.")),
        Some(limit) => limit.min(app.settings.page_max),
        None => app.settings.page_max,
    };
    let sort_by = match params.text("sort_by").filter(|text| !text.is_empty()) {
        None => None,
        Some("create_time") => Some(SortBy::CreateTime),
        Some("update_time") => Some(SortBy::UpdateTime),
        Some("name") => Some(SortBy::Name),
        Some(_) => {
            return Err(ApiError::invalid(
                "sort_by takes create_time, update_time and name.",
            ));
        }
    };
    let user_id = caller.user.as_ref().map(|user| user.id);
    let query = ListQuery {
        user_id,
        show_published: params.flag("show_published")?.unwrap_or(user_id.is_none()),
        show_shared: show_shared.unwrap_or(!show_hidden && !show_deleted),
        show_hidden,
        show_deleted,
        sort_by,
        sort_desc: params.is("sort_desc")?,
        limit: Some(u32::try_from(limit).unwrap_or(u32::MAX)),
        offset: u32::try_from(params.count("offset")?.unwrap_or(0)).unwrap_or(u32::MAX),
        search: params.text("search").map(str::to_owned),
        skip_step_counts: params.is("skip_step_counts")?,
    };
    let listed = workflows::list(&mut app.store.reader(), &query).await?;
    let lines: Vec<Value> = listed
        .workflows
        .iter()
        .map(|stored| Value::Object(shape::summary(&app, stored)))
        .collect();
    let total = [(TOTAL_MATCHES, HeaderValue::from(listed.total_matches))];
    Ok((total, Json(lines)).into_response())
}

/// The step types that an editor may offer now: the server's own, and those of plugins that are loaded, not disabled and not
/// in quarantine. (ours)
#[utoipa::path(get, path = "/api/workflows/modules", tag = "workflows", security(()),
    responses((status = 200, description = "`[{type, title}]`", body = Vec<Value>)))]
pub async fn modules(State(app): State<App>) -> Json<Value> {
    let seams = app.seams();
    let settings = &seams.workflows;
    let own = settings.modules.iter().cloned();
    let of_plugins = seams.step_types.of_plugins().into_iter();
    let of_plugins = of_plugins
        .filter(|(.., is_beta)| !is_beta || settings.enable_beta_workflow_modules)
        .map(|(name, title, _)| (name, title));
    let modules = own.chain(of_plugins);
    let modules = modules.map(|(name, title)| json!({"type": name, "title": title}));
    Json(modules.collect())
}

/// A workflow, as of its latest or another revision.
#[utoipa::path(get, path = "/api/workflows/{id}", tag = "workflows", params(
    ("id" = String, Path, description = "Encoded id, or the uuid of a revision"),
    ("instance" = Option<bool>, Query, description = "The id is a revision's"),
    ("version" = Option<i64>, Query, description = "Number of the revision, from 0"),
    ("legacy" = Option<bool>, Query, description = "Name steps by database id")),
    responses((status = 200, description = "The workflow", body = Value)))]
pub async fn show(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let mut q = app.store.reader();
    let which = Which::of(&params)?;
    let found = find::workflow(&app, &mut q, &caller, &id, which, Wish::Read).await?;
    let legacy = params.is("legacy")?;
    shown(&app, &mut q, &found, legacy).await.map(Json)
}

pub(super) async fn shown(
    app: &App,
    q: &mut impl Query,
    found: &find::Found,
    legacy: bool,
) -> Result<Value, ApiError> {
    let revision = find::revision(app, q, found.revision_id).await?;
    let version = version_of(q, found).await?;
    Ok(shape::detailed(
        app,
        &found.stored,
        &revision,
        version,
        legacy,
    ))
}

async fn version_of(q: &mut impl Query, found: &find::Found) -> Result<usize, ApiError> {
    let versions = workflows::versions(q, found.stored.id).await?;
    let this = versions.iter().find(|v| v.workflow_id == found.revision_id);
    Ok(this.map_or(0, |version| version.version))
}

/// The revisions of a workflow, oldest first.
#[utoipa::path(get, path = "/api/workflows/{id}/versions", tag = "workflows", params(
    ("id" = String, Path), ("instance" = Option<bool>, Query)),
    responses((status = 200, description = "`[{version, update_time, steps}]`", body = Vec<Value>)))]
pub async fn versions(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let mut q = app.store.reader();
    let which = Which::of(&params)?;
    let found = find::workflow(&app, &mut q, &caller, &id, which, Wish::Read).await?;
    let versions = workflows::versions(&mut q, found.stored.id).await?;
    let lines = versions.iter().map(
        |v| json!({"version": v.version, "update_time": iso(v.update_time), "steps": v.steps}),
    );
    Ok(Json(lines.collect()))
}

/// How many invocations of a workflow are in each state.
#[utoipa::path(get, path = "/api/workflows/{id}/counts", tag = "workflows", params(
    ("id" = String, Path), ("instance" = Option<bool>, Query)),
    responses((status = 200, description = "State to number", body = Value)))]
pub async fn counts(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let mut q = app.store.reader();
    let which = Which::of(&params)?;
    let found = find::workflow(&app, &mut q, &caller, &id, which, Wish::Read).await?;
    let counts = workflows::counts(&mut q, found.stored.id).await?;
    Ok(Json(json!(counts)))
}

/// A workflow as a file.
#[utoipa::path(get, path = "/api/workflows/{id}/download", tag = "workflows", params(
    ("id" = String, Path), ("instance" = Option<bool>, Query), ("version" = Option<i64>, Query),
    ("style" = Option<String>, Query, description = "export, ga, editor, format2, format2_wrapped_yaml or instance"),
    ("format" = Option<String>, Query, description = "json-download: as a file to save")),
    responses((status = 200, description = "JSON, or YAML text for format2", body = Value)))]
pub async fn download(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let mut q = app.store.reader();
    let which = Which::of(&params)?;
    let found = find::workflow(&app, &mut q, &caller, &id, which, Wish::Read).await?;
    let name = params
        .text("style")
        .filter(|s| !s.is_empty())
        .unwrap_or("export");
    if name == "instance" {
        return Ok(Json(shown(&app, &mut q, &found, false).await?).into_response());
    }
    let style = Style::by_name(name).ok_or_else(|| {
        ApiError::invalid(format!(
            "There is no way to write a workflow called {name:?}."
        ))
    })?;
    let revision = find::revision(&app, &mut q, found.revision_id).await?;
    let version = version_of(&mut q, &found).await?;
    let mut description = revision.description.clone();
    description.annotation = found.stored.annotation.clone();
    description.tags = found.stored.tags.clone();
    let mut response = match formats::export(&description, style) {
        Exported::Yaml(text) => ([(CONTENT_TYPE, "application/x-yaml")], text).into_response(),
        Exported::Json(mut value) => {
            if let (Value::Object(shape), Style::Native | Style::Editor) = (&mut value, style) {
                shape.insert("version".to_owned(), version.into());
            }
            Json(value).into_response()
        }
    };
    if params.text("format") == Some("json-download") {
        let safe = |c: char| {
            if c.is_ascii_alphanumeric() || c == '-' {
                c
            } else {
                '_'
            }
        };
        let name: String = description.name.chars().map(safe).take(150).collect();
        let file = format!("attachment; filename=\"Galaxy-Workflow-{name}.ga\"");
        if let Ok(file) = HeaderValue::try_from(file) {
            response.headers_mut().insert(CONTENT_DISPOSITION, file);
        }
    }
    Ok(response)
}

/// A workflow as a file: the older path.
#[utoipa::path(get, path = "/api/workflows/download/{id}", tag = "workflows", params(
    ("id" = String, Path), ("instance" = Option<bool>, Query), ("version" = Option<i64>, Query),
    ("style" = Option<String>, Query), ("format" = Option<String>, Query)),
    responses((status = 200, description = "As /api/workflows/{id}/download", body = Value)))]
pub async fn download_by_other_path(
    app: State<App>,
    caller: Caller,
    id: Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    download(app, caller, id, params).await
}
