//! The report of an invocation, as Markdown.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::show::find;
use crate::http::access::Wish;
use crate::http::app::App;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::http::extract::{self, Params};
use crate::http::jobs::admin::ErrorReport;
use crate::http::time::iso;
use crate::http::workflows;
use crate::store::invocations::{self, Details};
use crate::store::users;

/// The report of an invocation.
#[utoipa::path(get, path = "/api/invocations/{id}/report", tag = "invocations", params(("id" = String, Path)),
    responses((status = 200, description = "`{markdown, title, …}`", body = Value)))]
pub async fn report(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    _: Params,
) -> Result<Json<Value>, ApiError> {
    let mut q = app.store.reader();
    let invocation = find(&app, &mut q, &caller, &id, Wish::Read).await?;
    let revision = workflows::find::revision(&app, &mut q, invocation.workflow_id).await?;
    let details = invocations::details(&mut q, &[invocation.id]).await?;
    let details = details.get(&invocation.id).cloned().unwrap_or_default();
    let owner = users::by_id(&mut q, invocation.user_id).await?;
    let name = &revision.description.name;
    let written = revision.description.report.as_ref();
    let written = written.and_then(|r| r.get("markdown")?.as_str());
    let body = written.map_or_else(|| tables(&details), str::to_owned);
    let markdown = format!("# Workflow Execution Summary of {name}\n\n{body}\n");
    let workflow_id = app.encode(invocation.workflow_id);
    Ok(Json(json!({
        "render_format": "markdown",
        "markdown": markdown,
        "invocation_markdown": markdown,
        "title": name,
        "id": app.encode(invocation.id),
        "username": owner.map(|user| user.username),
        "generate_time": iso(app.now_ms()),
        "generate_version": env!("CARGO_PKG_VERSION"),
        "model_class": "Report",
        "history_datasets": {},
        "history_dataset_collections": {},
        "workflows": {workflow_id: {"name": name}},
        "jobs": {},
        "invocations": {},
    })))
}

/// What a report says when the workflow's author wrote none.
fn tables(details: &Details) -> String {
    let mut text = String::from("## Inputs\n\n");
    for input in &details.inputs {
        let label = input.label.as_deref().unwrap_or("(no label)");
        text.push_str(&format!("- {label} (step {})\n", input.order_index + 1));
    }
    for parameter in &details.input_parameters {
        let label = parameter.label.as_deref().unwrap_or("(no label)");
        text.push_str(&format!("- {label}: {}\n", parameter.value));
    }
    text.push_str("\n## Outputs\n\n");
    for output in details.outputs.iter().chain(&details.output_collections) {
        let label = output.label.as_deref().unwrap_or(&output.output_name);
        text.push_str(&format!("- {label} (step {})\n", output.order_index + 1));
    }
    text
}

/// Tells the operator, in the log, that an invocation went wrong.
#[utoipa::path(post, path = "/api/invocations/{id}/error", tag = "invocations", request_body = ErrorReport,
    params(("id" = String, Path)),
    responses((status = 200, description = "`{messages: [[text, kind]]}`", body = Value)))]
pub async fn report_error(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    extract::Json(report): extract::Json<ErrorReport>,
) -> Result<Json<Value>, ApiError> {
    let mut q = app.store.reader();
    let invocation = find(&app, &mut q, &caller, &id, Wish::Change).await?;
    Ok(Json(report.tell(
        "invocation",
        invocation.id,
        &invocation.uuid.to_string(),
    )))
}

/// The report as PDF, which this server does not make: see `…/report`.
#[utoipa::path(get, path = "/api/invocations/{id}/report.pdf", tag = "invocations", params(("id" = String, Path)),
    responses((status = 501, description = "Not made by this server")))]
pub async fn pdf(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    _: Params,
) -> Result<Json<Value>, ApiError> {
    find(&app, &mut app.store.reader(), &caller, &id, Wish::Read).await?;
    Err(ApiError::not_implemented(format!(
        "This server makes no PDF; GET /api/invocations/{id}/report has the report as Markdown, in the field markdown."
    )))
}
