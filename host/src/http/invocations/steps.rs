//! Steps of an invocation. A step is found by its own id, whatever invocation the path names: planemo asks for the
//! steps of subworkflows below the outer invocation.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::Value;

use super::shape::step_view;
use super::show::check;
use crate::http::access::Wish;
use crate::http::app::App;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::http::extract;
use crate::http::workflows::find;
use crate::model::state::InvocationState;
use crate::store::Durability;
use crate::store::db::Query;
use crate::store::invocations::{self, ActionOutcome, Invocation, Step};

/// A step of an invocation with its outputs and jobs.
#[utoipa::path(get, path = "/api/invocations/{id}/steps/{step_id}", tag = "invocations",
    params(("id" = String, Path, description = "Not looked at"), ("step_id" = String, Path)),
    responses((status = 200, description = "The step", body = Value)))]
pub async fn show(
    State(app): State<App>,
    caller: Caller,
    Path((_not_looked_at, step_id)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let mut q = app.store.reader();
    let (step, _) = find_step(&app, &mut q, &caller, &step_id, Wish::Read).await?;
    shape(&app, &mut q, &step).await
}

/// A step of an invocation with its outputs and jobs.
#[utoipa::path(get, path = "/api/invocations/steps/{step_id}", tag = "invocations",
    params(("step_id" = String, Path)),
    responses((status = 200, description = "The step", body = Value)))]
pub async fn by_id(
    app: State<App>,
    caller: Caller,
    Path(step_id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    show(app, caller, Path((String::new(), step_id))).await
}

async fn shape(app: &App, q: &mut impl Query, step: &Step) -> Result<Json<Value>, ApiError> {
    let mut details = invocations::step_details(q, &[step.id]).await?;
    let details = details.remove(&step.id).unwrap_or_default();
    Ok(Json(step_view(app, step, Some(&details))))
}

async fn find_step(
    app: &App,
    q: &mut impl Query,
    caller: &Caller,
    step_id: &str,
    wish: Wish,
) -> Result<(Step, Invocation), ApiError> {
    let missing = || ApiError::not_found("No such invocation step found.");
    let step = invocations::step_by_id(q, app.decode(step_id)?).await?;
    let step = step.ok_or_else(missing)?;
    let invocation = invocations::by_id(q, step.workflow_invocation_id).await?;
    let invocation = invocation.ok_or_else(missing)?;
    check(q, caller, &invocation, wish).await?;
    Ok((step, invocation))
}

/// Tells a step what a person decided: `{"action": true}` lets a pause go on, false cancels.
#[utoipa::path(put, path = "/api/invocations/{id}/steps/{step_id}", tag = "invocations", request_body = Value,
    params(("id" = String, Path, description = "Not looked at"), ("step_id" = String, Path)),
    responses((status = 200, description = "The step", body = Value)))]
pub async fn act(
    State(app): State<App>,
    caller: Caller,
    Path((_not_looked_at, step_id)): Path<(String, String)>,
    extract::Json(body): extract::Json<Value>,
) -> Result<Json<Value>, ApiError> {
    let Some(action) = body.get("action").cloned() else {
        return Err(ApiError::missing("The field action is missing."));
    };
    let mut q = app.store.reader();
    let (step, invocation) = find_step(&app, &mut q, &caller, &step_id, Wish::Change).await?;
    if !invocation.state.is_active() {
        return Err(not_active(invocation.state));
    }
    let revision = find::revision(&app, &mut q, invocation.workflow_id).await?;
    let index = usize::try_from(step.order_index).unwrap_or(usize::MAX);
    let Some(described) = revision.description.step(index).cloned() else {
        return Err(ApiError::internal("The step is not part of its workflow."));
    };
    let actions = app.seams().step_actions.clone();
    let checked = tokio::task::spawn_blocking(move || actions.check(step.id, &described, &action));
    let checked = checked.await.map_err(ApiError::broken)?;
    let stored = checked.map_err(ApiError::invalid)?;
    let mut tx = app.store.begin().await?;
    match invocations::put_action(&mut tx, step.id, &stored, app.now_ms()).await? {
        ActionOutcome::Stored => {}
        ActionOutcome::NoSuchStep => {
            return Err(ApiError::not_found("No such invocation step found."));
        }
        ActionOutcome::NotActive(state) => return Err(not_active(state)),
    }
    tx.commit(Durability::Acknowledged, "invocation.action")
        .await?;
    app.signals.invocations_changed();
    let step = invocations::step_by_id(&mut q, step.id).await?;
    let step = step.ok_or_else(|| ApiError::not_found("No such invocation step found."))?;
    shape(&app, &mut q, &step).await
}

fn not_active(state: InvocationState) -> ApiError {
    ApiError::invalid(format!(
        "The invocation is {state}; only the steps of a new or ready one take actions."
    ))
}
