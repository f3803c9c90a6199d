//! The same things below the path of a workflow. Which workflow the path names is not looked at, as in Galaxy.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::Value;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{report, show, steps};
use crate::http::app::App;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::http::extract::{self, Params};
use crate::model::state::InvocationState;

/// An invocation. A client that passes its key in the query of this path is older than the state `completed` and waits
/// for `scheduled` to the end of its days, so that is what it reads.
async fn show_as_before(
    app: State<App>,
    caller: Caller,
    id: Path<String>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let is_older = params.text("key").is_some();
    let mut shape = show::show(app, caller, id, params).await?;
    if is_older && shape["state"] == InvocationState::Completed.code() {
        shape["state"] = InvocationState::Scheduled.code().into();
    }
    Ok(shape)
}

macro_rules! of_invocation {
    ($($name:ident, $method:ident, $path:literal, $target:path;)+) => { $(
        #[doc = "The same as below /api/invocations."]
        #[utoipa::path($method, path = $path, tag = "invocations",
            params(("workflow_id" = String, Path, description = "Not looked at"), ("id" = String, Path)),
            responses((status = 200, description = "As below /api/invocations", body = Value)))]
        async fn $name(
            app: State<App>,
            caller: Caller,
            Path((_not_looked_at, id)): Path<(String, String)>,
            params: Params,
        ) -> Result<Json<Value>, ApiError> {
            $target(app, caller, Path(id), params).await
        }
    )+ };
}

of_invocation! {
    show_invocation, get, "/api/workflows/{workflow_id}/invocations/{id}", show_as_before;
    show_usage, get, "/api/workflows/{workflow_id}/usage/{id}", show_as_before;
    cancel_invocation, delete, "/api/workflows/{workflow_id}/invocations/{id}", show::cancel;
    cancel_usage, delete, "/api/workflows/{workflow_id}/usage/{id}", show::cancel;
    invocation_jobs_summary, get, "/api/workflows/{workflow_id}/invocations/{id}/jobs_summary", show::jobs_summary;
    usage_jobs_summary, get, "/api/workflows/{workflow_id}/usage/{id}/jobs_summary", show::jobs_summary;
    invocation_step_jobs_summary, get, "/api/workflows/{workflow_id}/invocations/{id}/step_jobs_summary", show::step_jobs_summary;
    usage_step_jobs_summary, get, "/api/workflows/{workflow_id}/usage/{id}/step_jobs_summary", show::step_jobs_summary;
    invocation_report, get, "/api/workflows/{workflow_id}/invocations/{id}/report", report::report;
    usage_report, get, "/api/workflows/{workflow_id}/usage/{id}/report", report::report;
    invocation_pdf, get, "/api/workflows/{workflow_id}/invocations/{id}/report.pdf", report::pdf;
    usage_pdf, get, "/api/workflows/{workflow_id}/usage/{id}/report.pdf", report::pdf;
}

macro_rules! of_step {
    ($($show:ident, $act:ident, $path:literal;)+) => { $(
        #[doc = "The same as below /api/invocations."]
        #[utoipa::path(get, path = $path, tag = "invocations",
            params(("workflow_id" = String, Path), ("id" = String, Path), ("step_id" = String, Path)),
            responses((status = 200, description = "As below /api/invocations", body = Value)))]
        async fn $show(
            app: State<App>,
            caller: Caller,
            Path((_not_looked_at, id, step_id)): Path<(String, String, String)>,
        ) -> Result<Json<Value>, ApiError> {
            steps::show(app, caller, Path((id, step_id))).await
        }

        #[doc = "The same as below /api/invocations."]
        #[utoipa::path(put, path = $path, tag = "invocations", request_body = Value,
            params(("workflow_id" = String, Path), ("id" = String, Path), ("step_id" = String, Path)),
            responses((status = 200, description = "As below /api/invocations", body = Value)))]
        async fn $act(
            app: State<App>,
            caller: Caller,
            Path((_not_looked_at, id, step_id)): Path<(String, String, String)>,
            body: extract::Json<Value>,
        ) -> Result<Json<Value>, ApiError> {
            steps::act(app, caller, Path((id, step_id)), body).await
        }
    )+ };
}

of_step! {
    show_invocation_step, act_on_invocation_step, "/api/workflows/{workflow_id}/invocations/{id}/steps/{step_id}";
    show_usage_step, act_on_usage_step, "/api/workflows/{workflow_id}/usage/{id}/steps/{step_id}";
}

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(show_invocation, cancel_invocation))
        .routes(routes!(show_usage, cancel_usage))
        .routes(routes!(invocation_jobs_summary))
        .routes(routes!(usage_jobs_summary))
        .routes(routes!(invocation_step_jobs_summary))
        .routes(routes!(usage_step_jobs_summary))
        .routes(routes!(invocation_report))
        .routes(routes!(usage_report))
        .routes(routes!(invocation_pdf))
        .routes(routes!(usage_pdf))
        .routes(routes!(show_invocation_step, act_on_invocation_step))
        .routes(routes!(show_usage_step, act_on_usage_step))
}
