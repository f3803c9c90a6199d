//! Runs: listing, reading, cancelling.

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value, json};

use super::base::{Base, InPath, no_run, run_id};
use super::submission::ENGINE;
use super::{pages, state};
use crate::http::access::{self, Wish};
use crate::http::app::App;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::http::extract::Params;
use crate::http::time;
use crate::invoker::writes::Held;
use crate::model::message::reason;
use crate::store::db::Query;
use crate::store::scheduling::holds::{self, StoredHold};
use crate::store::wes::{self, Run, RunQuery, Told};
use crate::store::{Durability, invocations};

/// An instant as the standard wants it: UTC, whole seconds, `Z`.
pub fn instant(ms: i64) -> String {
    let mut text = time::iso(ms);
    text.truncate("1970-01-01T00:00:00".len());
    text + "Z"
}

/// 401 for nobody, 403 for somebody else's.
pub fn check(caller: &Caller, wish: Wish, owner: i64, is_shared: bool) -> Result<(), ApiError> {
    if caller.user.is_none() && !caller.is_admin {
        caller.user()?;
    }
    access::check(caller, wish, owner, is_shared, "Run")
}

async fn find(
    app: &App,
    q: &mut impl Query,
    caller: &Caller,
    id: &str,
    wish: Wish,
) -> Result<Run, ApiError> {
    if caller.user.is_none() && !caller.is_admin {
        caller.user()?;
    }
    let found = wes::by_id(q, run_id(app, id)?).await?;
    let run = found.ok_or_else(no_run)?;
    check(caller, wish, run.user_id, run.is_shared)?;
    Ok(run)
}

/// The caller's runs, newest first.
#[utoipa::path(get, path = "/ga4gh/wes/v1/runs", tag = "wes", params(
    ("page_size" = Option<i64>, Query, description = "From 1; 100 if absent, never more than 1000"),
    ("page_token" = Option<String>, Query),
    ("state" = Option<String>, Query, description = "Extension: only runs in this state"),
    ("tag" = Option<String>, Query, description = "Extension: name, or name:value; may be repeated"),
    ("workflow_id" = Option<String>, Query, description = "Extension: only runs of this stored workflow"),
    ("start_time_from" = Option<String>, Query, description = "Extension: submitted at this instant or later"),
    ("start_time_before" = Option<String>, Query, description = "Extension: submitted before this instant")),
    responses((status = 200, description = "RunListResponse of GA4GH WES 1.1", body = Value)))]
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let user_id = caller.user_id()?;
    let size = pages::size(&params)?;
    let mut query = filters(&app, user_id, &params)?;
    // Everything that decides what is in the list; not the size of its pages.
    let scope = format!("runs {query:?}");
    query.below = pages::token(&app, &params, &scope)?;
    query.limit = size + 1;
    let mut runs = wes::list(&mut app.store.reader(), &query).await?;
    let has_more = runs.len() > size;
    runs.truncate(size);
    let next = match runs.last() {
        Some(last) if has_more => pages::next(&app, &scope, last.id),
        _ => String::new(),
    };
    let runs: Vec<Value> = runs.iter().map(|run| summary(&app, run)).collect();
    Ok(Json(json!({"runs": runs, "next_page_token": next})))
}

fn filters(app: &App, user_id: i64, params: &Params) -> Result<RunQuery, ApiError> {
    let given = |name: &str| params.text(name).filter(|text| !text.is_empty());
    let instant = |name: &str| {
        given(name)
            .map(|text| {
                time::parse_iso(text).ok_or_else(|| {
                    ApiError::invalid(format!(
                        "{name} must be an instant such as 2026-01-31T12:00:00Z."
                    ))
                })
            })
            .transpose()
    };
    let state = given("state")
        .map(|text| {
            state::filter(text)
                .ok_or_else(|| ApiError::invalid("state must be one that the standard has."))
        })
        .transpose()?;
    let tag = |text: &str| match text.split_once(':') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (text.to_owned(), None),
    };
    Ok(RunQuery {
        user_id,
        state,
        tags: params
            .all("tag")
            .filter(|t| !t.is_empty())
            .map(tag)
            .take(20)
            .collect(),
        workflow: given("workflow_id").map(|id| app.decode(id)).transpose()?,
        from_ms: instant("start_time_from")?,
        before_ms: instant("start_time_before")?,
        below: None,
        limit: 0,
    })
}

/// RunSummary. A run that has not ended has no `end_time`.
fn summary(app: &App, run: &Run) -> Value {
    let mut shape = json!({
        "run_id": app.encode(run.id),
        "state": state::of(run.state, run.is_paused),
        "start_time": instant(run.create_time),
        "tags": run.tags,
    });
    if let Some(end) = run.end_time {
        shape["end_time"] = instant(end).into();
    }
    shape
}

/// A run: its request, state, log and outputs. Its tasks are at `task_logs_url`, a page at a time.
#[utoipa::path(get, path = "/ga4gh/wes/v1/runs/{run_id}", tag = "wes", params(("run_id" = String, Path)),
    responses((status = 200, description = "RunLog of GA4GH WES 1.1", body = Value)))]
pub async fn show(
    State(app): State<App>,
    caller: Caller,
    base: Base,
    InPath(id): InPath<String>,
) -> Result<Json<Value>, ApiError> {
    let mut q = app.store.reader();
    let run = find(&app, &mut q, &caller, &id, Wish::Read).await?;
    let messages = wes::messages(&mut q, run.id).await?;
    let held = holds::of(&mut q, &[run.id]).await?.remove(&run.id);
    let warned = invocations::warnings(&mut q, &[run.id])
        .await?
        .remove(&run.id);
    let outputs = wes::outputs(&mut q, run.id).await?;
    let request = match &run.request {
        Some(request) => request.clone(),
        None => supposed_request(&app, &mut q, &run).await?,
    };
    let mut log = json!({
        "name": run.workflow_name,
        "cmd": [],
        "start_time": instant(run.create_time),
        "system_logs": system_logs(&messages, &held.unwrap_or_default(), &request, warned),
    });
    if let Some(end) = run.end_time {
        log["end_time"] = instant(end).into();
    }
    let run_id = app.encode(run.id);
    Ok(Json(json!({
        "run_id": run_id,
        "request": request,
        "state": state::of(run.state, run.is_paused),
        "run_log": log,
        "task_logs_url": base.tasks(&run_id),
        "task_logs": null,
        "outputs": output_map(&app, &base, &outputs),
    })))
}

fn system_logs(
    messages: &[(String, Option<String>)],
    held: &[StoredHold],
    request: &Value,
    warned: Option<Vec<String>>,
) -> Vec<String> {
    let mut lines: Vec<String> = super::submission::ignored(request)
        .map(|name| format!("The engine parameter {name} is not known here and was ignored."))
        .collect();
    lines.extend(warned.unwrap_or_default());
    lines.extend(messages.iter().map(|(why, details)| match details {
        Some(details) => format!("{why}: {details}"),
        None if why == reason::USER_REQUEST => "Cancelled by a user.".to_owned(),
        None => why.clone(),
    }));
    lines.extend(held.iter().map(|stored| {
        let since = instant(stored.since);
        let what = match stored.hold.what {
            Held::Invocation => "The run".to_owned(),
            Held::Step(order_index) => format!("Step {}", order_index + 1),
            Held::Jobs => "The jobs".to_owned(),
        };
        {
            let (verb, text) = (
                if stored.hold.what == Held::Jobs {
                    "wait"
                } else {
                    "waits"
                },
                &stored.hold.text,
            );
            format!("{what} {verb} since {since}: {text}")
        }
    }));
    lines
}

fn item(app: &App, value: &wes::Value) -> Value {
    match value {
        wes::Value::Item(src, id) => json!({"src": src, "id": app.encode(*id)}),
        wes::Value::Plain(value) => value.clone(),
    }
}

fn output_map(app: &App, base: &Base, outputs: &[Told]) -> Map<String, Value> {
    let shape = |told: &Told| {
        let mut shape = item(app, &told.value);
        if let wes::Value::Item(src, id) = told.value {
            shape["workflow_step_id"] = app.encode(told.workflow_step_id).into();
            if src == "hda" {
                shape["url"] = base.dataset(&app.encode(id)).into();
            }
        }
        (told.label.clone(), shape)
    };
    outputs.iter().map(shape).collect()
}

/// What would have been sent for an invocation that came through Galaxy's door.
async fn supposed_request(app: &App, q: &mut impl Query, run: &Run) -> Result<Value, ApiError> {
    let inputs = wes::inputs(q, run.id).await?;
    let params: Map<String, Value> = inputs
        .iter()
        .map(|(name, value)| (name.clone(), item(app, value)))
        .collect();
    let revision = app.encode(run.workflow_id);
    Ok(json!({
        "workflow_params": params,
        "workflow_type": "gx_workflow_ga",
        "workflow_type_version": "1.0.0",
        "workflow_engine": ENGINE,
        "workflow_url": format!("gxworkflow://{revision}?instance=true"),
    }))
}

/// Where a run stands.
#[utoipa::path(get, path = "/ga4gh/wes/v1/runs/{run_id}/status", tag = "wes", params(("run_id" = String, Path)),
    responses((status = 200, description = "RunStatus of GA4GH WES 1.1", body = Value)))]
pub async fn status(
    State(app): State<App>,
    caller: Caller,
    InPath(id): InPath<String>,
) -> Result<Json<Value>, ApiError> {
    let run = find(&app, &mut app.store.reader(), &caller, &id, Wish::Read).await?;
    Ok(Json(json!({
        "run_id": app.encode(run.id),
        "state": state::of(run.state, run.is_paused),
    })))
}

/// Cancels a run; nothing happens to one that has ended. Jobs are stopped in the background.
#[utoipa::path(post, path = "/ga4gh/wes/v1/runs/{run_id}/cancel", tag = "wes", params(("run_id" = String, Path)),
    responses((status = 200, description = "RunId of GA4GH WES 1.1", body = Value)))]
pub async fn cancel(
    State(app): State<App>,
    caller: Caller,
    InPath(id): InPath<String>,
) -> Result<Json<Value>, ApiError> {
    let run = find(&app, &mut app.store.reader(), &caller, &id, Wish::Change).await?;
    let mut tx = app.store.begin().await?;
    // It may have ended since it was looked at; what has ended stays as it is.
    let is_over = wes::by_id(&mut tx, run.id)
        .await?
        .is_none_or(|run| run.end_time.is_some());
    if !is_over && invocations::request_cancel(&mut tx, run.id, app.now_ms()).await? {
        tx.commit(Durability::Acknowledged, "invocation.cancel")
            .await?;
        app.signals.invocations_changed();
    }
    Ok(Json(json!({"run_id": app.encode(run.id)})))
}
