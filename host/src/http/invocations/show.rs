//! One invocation: reading and cancelling it.

use axum::Json;
use axum::extract::{Path, State};
use barycenter_plugin_api::PluginKind;
use serde_json::{Value, json};

use super::shape::{View, hold, summary_view, views};
use crate::http::access::{self, Wish};
use crate::http::app::App;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::http::extract::Params;
use crate::http::time::iso;
use crate::model::state::InvocationState;
use crate::store::Durability;
use crate::store::db::Query;
use crate::store::histories;
use crate::store::invocations::{self, Invocation};
use crate::store::scheduling::{holds, hooks};

/// The invocation behind an encoded id. Whoever may see its history may read it; only its owner may change it.
pub async fn find(
    app: &App,
    q: &mut impl Query,
    caller: &Caller,
    id: &str,
    wish: Wish,
) -> Result<Invocation, ApiError> {
    let found = invocations::by_id(q, app.decode(id)?).await?;
    let invocation = found.ok_or_else(|| ApiError::not_found("No such invocation found."))?;
    check(q, caller, &invocation, wish).await?;
    Ok(invocation)
}

/// Whether the caller may read or change an invocation.
pub async fn check(
    q: &mut impl Query,
    caller: &Caller,
    invocation: &Invocation,
    wish: Wish,
) -> Result<(), ApiError> {
    let owner = invocation.user_id;
    if access::check(caller, wish, owner, false, "Invocation").is_ok() {
        return Ok(());
    }
    let history = histories::by_id(q, invocation.history_id).await?;
    let shared = history.is_some_and(|h| h.published || h.importable);
    access::check(caller, wish, owner, shared, "Invocation")
}

/// Why an invocation waits (ours): its scheduler, how that is and who stands in for it now, what is held, and the scheduler's
/// explanation.
#[utoipa::path(get, path = "/api/invocations/{id}/explanation", tag = "invocations", params(("id" = String, Path)),
    responses((status = 200, description = "`scheduler`, `scheduler_state`, `stand_in` or null, `holds`, and `explanation` or null",
        body = Value)))]
pub async fn explanation(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let mut q = app.store.reader();
    let invocation = find(&app, &mut q, &caller, &id, Wish::Read).await?;
    let held = holds::of(&mut q, &[invocation.id]).await?;
    let held = held.get(&invocation.id).map(Vec::as_slice);
    let seams = app.seams();
    let named = invocation.scheduler.as_deref().filter(|id| !id.is_empty());
    let explanation = match invocation.state.is_active() {
        true => seams.explanations.explain(invocation.id).await?,
        // Its jobs may wait all the same.
        false if invocation.state == InvocationState::Scheduled => {
            seams.explanations.explain(invocation.id).await?
        }
        false => None,
    };
    let scheduler = named.map_or_else(|| seams.schedulers.default_id(), str::to_owned);
    let plugins = seams.plugins.as_ref().map(|plugins| plugins.view_known());
    let view = plugins.into_iter().flatten();
    let view = { view }.find(|one| one.kind == PluginKind::Scheduler && one.id == scheduler);
    let stand_in = view.as_ref().filter(|view| view.state != "ready");
    Ok(Json(json!({
        "scheduler": scheduler,
        "scheduler_state": view.as_ref().map(|view| view.state),
        "stand_in": stand_in.and_then(|view| view.fallback.clone()),
        "holds": held.unwrap_or_default().iter().map(hold).collect::<Vec<_>>(),
        "explanation": explanation,
    })))
}

/// An invocation.
#[utoipa::path(get, path = "/api/invocations/{id}", tag = "invocations", params(
    ("id" = String, Path), ("view" = Option<String>, Query, description = "element (default) or collection"),
    ("step_details" = Option<bool>, Query), ("legacy_job_state" = Option<bool>, Query)),
    responses((status = 200, description = "The invocation", body = Value)))]
pub async fn show(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let mut q = app.store.reader();
    let invocation = find(&app, &mut q, &caller, &id, Wish::Read).await?;
    let view = View {
        element: params.text("view") != Some("collection"),
        step_details: params.is("step_details")?,
        legacy_job_state: params.is("legacy_job_state")?,
    };
    one(&app, &mut q, invocation, view).await
}

async fn one(
    app: &App,
    q: &mut impl Query,
    invocation: Invocation,
    view: View,
) -> Result<Json<Value>, ApiError> {
    let mut shapes = views(app, q, &[invocation], view).await?;
    Ok(Json(shapes.pop().unwrap_or_default()))
}

/// Cancels an invocation; nothing happens to one that already is.
#[utoipa::path(delete, path = "/api/invocations/{id}", tag = "invocations", params(("id" = String, Path)),
    responses((status = 200, description = "The invocation", body = Value)))]
pub async fn cancel(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let mut q = app.store.reader();
    let invocation = find(&app, &mut q, &caller, &id, Wish::Change).await?;
    let mut tx = app.store.begin().await?;
    if invocations::request_cancel(&mut tx, invocation.id, app.now_ms()).await? {
        tx.commit(Durability::Acknowledged, "invocation.cancel")
            .await?;
        app.signals.invocations_changed();
    }
    show(State(app), caller, Path(id), params).await
}

/// The jobs of an invocation by state.
#[utoipa::path(get, path = "/api/invocations/{id}/jobs_summary", tag = "invocations", params(("id" = String, Path)),
    responses((status = 200, description = "`{id, model, states, populated_state}`", body = Value)))]
pub async fn jobs_summary(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    _: Params,
) -> Result<Json<Value>, ApiError> {
    let mut q = app.store.reader();
    let invocation = find(&app, &mut q, &caller, &id, Wish::Read).await?;
    let summary = invocations::jobs_summary(&mut q, &invocation).await?;
    Ok(Json(summary_view(&app, &summary)))
}

/// The jobs of each step by state.
#[utoipa::path(get, path = "/api/invocations/{id}/step_jobs_summary", tag = "invocations", params(("id" = String, Path)),
    responses((status = 200, description = "One for each step that has jobs", body = Vec<Value>)))]
pub async fn step_jobs_summary(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    _: Params,
) -> Result<Json<Value>, ApiError> {
    let mut q = app.store.reader();
    let invocation = find(&app, &mut q, &caller, &id, Wish::Read).await?;
    let summaries = invocations::step_jobs_summary(&mut q, invocation.id).await?;
    Ok(Json(
        summaries.iter().map(|s| summary_view(&app, s)).collect(),
    ))
}

/// What was measured of an invocation's jobs; this server measures nothing beyond what the jobs themselves say.
#[utoipa::path(get, path = "/api/invocations/{id}/metrics", tag = "invocations", params(("id" = String, Path)),
    responses((status = 200, description = "A list", body = Vec<Value>)))]
pub async fn metrics(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let mut q = app.store.reader();
    find(&app, &mut q, &caller, &id, Wish::Read).await?;
    Ok(Json(json!([])))
}

/// When and how an invocation was completed; null before. `hooks` (Barycenter's own) tells of each element of
/// `on_complete` what became of it.
#[utoipa::path(get, path = "/api/invocations/{id}/completion", tag = "invocations", params(("id" = String, Path)),
    responses((status = 200, description = "`{completion_time, job_state_summary, hooks_executed, hooks}` or null", body = Value)))]
pub async fn completion(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let mut q = app.store.reader();
    let invocation = find(&app, &mut q, &caller, &id, Wish::Read).await?;
    let found = hooks::of_completion(&mut q, invocation.id).await?;
    let Some((completion, hooks)) = found else {
        return Ok(Json(Value::Null));
    };
    let hooks: Vec<Value> = hooks.iter().map(hook_shape).collect();
    Ok(Json(json!({
        "completion_time": iso(completion.completion_time),
        "job_state_summary": completion.job_state_summary,
        "hooks_executed": completion.hooks_executed,
        "hooks": hooks,
    })))
}

fn hook_shape(hook: &hooks::Told) -> Value {
    let waits = hook.state == "new" && hook.message.is_some();
    json!({
        "hook": hook.name,
        "state": hook.state,
        "message": hook.message,
        "attempts": hook.attempts,
        "next_time": waits.then(|| iso(hook.next_time)),
        "update_time": iso(hook.update_time),
        "result": hook.result,
    })
}

/// What a webhook is sent about a completed invocation.
pub async fn completion_document(
    app: &App,
    q: &mut impl Query,
    invocation_id: i64,
) -> Result<Value, ApiError> {
    let gone = || ApiError::not_found("The invocation is gone.");
    let invocation = invocations::by_id(q, invocation_id)
        .await?
        .ok_or_else(gone)?;
    let completion = invocations::completion(q, invocation_id)
        .await?
        .ok_or_else(gone)?;
    Ok(json!({
        "event": "invocation.completed",
        "invocation_id": app.encode(invocation.id),
        "uuid": invocation.uuid.to_string(),
        "workflow_id": app.encode(invocation.workflow_id),
        "history_id": app.encode(invocation.history_id),
        "state": invocation.state.code(),
        "completion_time": iso(completion.completion_time),
        "job_state_summary": completion.job_state_summary,
    }))
}
