//! Lists of invocations.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderValue;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::shape::{View, views};
use crate::http::access::Wish;
use crate::http::app::App;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::http::extract::Params;
use crate::http::workflows::find::{self, Which};
use crate::store::invocations::{self, ListQuery, Scope, SortBy};

/// Items of a list when the caller names no limit, and at most.
const PAGE_DEFAULT: i64 = 20;
const PAGE_MAX: i64 = 100;

/// Invocations, newest first.
#[utoipa::path(get, path = "/api/invocations", tag = "invocations", params(
    ("workflow_id" = Option<String>, Query), ("instance" = Option<bool>, Query),
    ("history_id" = Option<String>, Query), ("job_id" = Option<String>, Query),
    ("user_id" = Option<String>, Query, description = "Others' for administrators only"),
    ("sort_by" = Option<String>, Query, description = "create_time or update_time"),
    ("sort_desc" = Option<bool>, Query),
    ("include_terminal" = Option<bool>, Query, description = "false: only new and ready ones"),
    ("include_nested_invocations" = Option<bool>, Query),
    ("limit" = Option<i64>, Query, description = "1 to 100, else 20"), ("offset" = Option<i64>, Query),
    ("view" = Option<String>, Query, description = "collection or element"),
    ("step_details" = Option<bool>, Query)),
    responses((status = 200, description = "Invocations; header total_matches", body = Vec<Value>)))]
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    params: Params,
) -> Result<Response, ApiError> {
    let scope = match params.text("workflow_id").filter(|id| !id.is_empty()) {
        None => None,
        Some(id) => {
            let which = Which::of(&params)?;
            let mut q = app.store.reader();
            let found = find::workflow(&app, &mut q, &caller, id, which, Wish::Read).await?;
            Some(scope(&found, which))
        }
    };
    page(&app, &caller, &params, scope).await
}

fn scope(found: &find::Found, which: Which) -> Scope {
    match which.instance || which.version.is_some() {
        true => Scope::Revision(found.revision_id),
        false => Scope::StoredWorkflow(found.stored.id),
    }
}

/// The invocations of a workflow.
#[utoipa::path(get, path = "/api/workflows/{workflow_id}/invocations", tag = "invocations",
    params(("workflow_id" = String, Path), ("instance" = Option<bool>, Query)),
    responses((status = 200, description = "As /api/invocations, with its parameters", body = Vec<Value>)))]
pub async fn of_workflow(
    State(app): State<App>,
    caller: Caller,
    Path(workflow_id): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let which = Which::of(&params)?;
    let mut q = app.store.reader();
    let found = find::workflow(&app, &mut q, &caller, &workflow_id, which, Wish::Read).await?;
    page(&app, &caller, &params, Some(scope(&found, which))).await
}

/// The invocations of a workflow: the path of 2014.
#[utoipa::path(get, path = "/api/workflows/{workflow_id}/usage", tag = "invocations",
    params(("workflow_id" = String, Path)),
    responses((status = 200, description = "As /api/invocations", body = Vec<Value>)))]
pub async fn of_workflow_usage(
    app: State<App>,
    caller: Caller,
    workflow_id: Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    of_workflow(app, caller, workflow_id, params).await
}

async fn page(
    app: &App,
    caller: &Caller,
    params: &Params,
    workflow: Option<Scope>,
) -> Result<Response, ApiError> {
    let id = |name: &str| {
        let text = params.text(name).filter(|text| !text.is_empty());
        text.map(|text| app.decode(text)).transpose()
    };
    let limit = match params.count("limit")?.unwrap_or(PAGE_DEFAULT) {
        limit @ 1..=PAGE_MAX => limit as u32,
        _ => return Err(ApiError::invalid("limit must be between 1 and 100.")),
    };
    let view = View {
        element: match params.text("view") {
            None | Some("" | "collection") => false,
            Some("element") => true,
            Some(_) => return Err(ApiError::invalid("view takes collection and element.")),
        },
        step_details: params.is("step_details")?,
        legacy_job_state: false,
    };
    let sort_by = match params.text("sort_by") {
        None | Some("" | "None") => None,
        Some("create_time") => Some(SortBy::CreateTime),
        Some("update_time") => Some(SortBy::UpdateTime),
        Some(_) => {
            return Err(ApiError::invalid(
                "sort_by takes create_time and update_time.",
            ));
        }
    };
    let asked_user = id("user_id")?;
    let own = caller.user.as_ref().map(|user| user.id);
    let user_id = match (asked_user, own) {
        (user, _) if caller.is_admin => user,
        (None, Some(own)) => Some(own),
        (Some(user), Some(own)) if user == own => Some(own),
        (Some(_), _) => {
            return Err(ApiError::admin_required(
                "Only administrators may list others' invocations.",
            ));
        }
        (None, None) => {
            let nothing: Vec<Value> = Vec::new();
            return Ok(([("total_matches", HeaderValue::from(0))], Json(nothing)).into_response());
        }
    };
    let query = ListQuery {
        user_id,
        workflow,
        history_id: id("history_id")?,
        job_id: id("job_id")?,
        sort_by,
        sort_desc: params.is("sort_desc")?,
        active_only: !params.flag("include_terminal")?.unwrap_or(true),
        top_level_only: !params.flag("include_nested_invocations")?.unwrap_or(true),
        limit,
        offset: u32::try_from(params.count("offset")?.unwrap_or(0)).unwrap_or(u32::MAX),
    };
    let mut q = app.store.reader();
    let (page, total) = invocations::list(&mut q, &query).await?;
    let shapes = views(app, &mut q, &page, view).await?;
    Ok(([("total_matches", HeaderValue::from(total))], Json(shapes)).into_response())
}
