//! Jobs (spec 6.5): reading them, and passing on orders to stop or resume one.

pub(super) mod admin;
mod again;
mod list;
mod parameters;
mod requests;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::app::App;
use super::auth::Caller;
use super::error::ApiError;
use super::extract::{self, Params};
use super::time::iso;
use crate::invocation_request::tool_request::encoded;
use crate::store::db::Query;
use crate::store::jobs::{self, Item, Job};
use crate::store::users;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list::list, requests::submit))
        .routes(routes!(requests::show))
        .routes(routes!(requests::state))
        .routes(routes!(requests::of_history))
        .routes(routes!(parameters::display))
        .routes(routes!(again::search))
        .routes(routes!(show, cancel))
        .routes(routes!(inputs))
        .routes(routes!(outputs))
        .routes(routes!(stdout))
        .routes(routes!(stderr))
        .routes(routes!(console_output))
        .routes(routes!(metrics))
        .routes(routes!(common_problems))
        .routes(routes!(resume))
        .routes(routes!(admin::destination_params))
        .routes(routes!(admin::report_error))
        .routes(routes!(admin::job_lock, admin::set_job_lock))
        .routes(routes!(again::build_for_rerun))
}

/// The line of a list.
pub fn summary(app: &App, job: &Job, is_admin: bool) -> Value {
    let mut shape = json!({
        "id": app.encode(job.id),
        "model_class": "Job",
        "state": job.state.code(),
        "exit_code": job.exit_code,
        "create_time": iso(job.create_time),
        "update_time": iso(job.update_time),
        "galaxy_version": job.galaxy_version,
        "tool_id": job.tool_id,
        "tool_version": job.tool_version,
        "history_id": app.codec.encode_maybe(job.history_id),
        "handler": job.handler,
    });
    if is_admin {
        shape["external_id"] = json!(job.job_runner_external_id);
        shape["command_line"] = json!(job.command_line);
        shape["traceback"] = json!(job.traceback);
        shape["job_runner_name"] = json!(job.job_runner_name);
    }
    shape
}

/// The job behind an encoded id, if the caller owns it. 403 403002 for others', 404 if there is none.
pub async fn find(
    app: &App,
    q: &mut impl Query,
    caller: &Caller,
    id: &str,
) -> Result<Job, ApiError> {
    let id = app.decode(id)?;
    let owner = if caller.is_admin {
        None
    } else {
        Some(caller.user_id()?)
    };
    if let Some(job) = jobs::by_id(q, id, owner).await? {
        return Ok(job);
    }
    match jobs::by_id(q, id, None).await? {
        Some(_) => Err(ApiError::not_accessible(
            "Job is not accessible by the current user.",
        )),
        None => Err(ApiError::not_found("Job not found.")),
    }
}

/// A job; with `full` what it wrote and said.
#[utoipa::path(get, path = "/api/jobs/{id}", tag = "jobs",
    params(("id" = String, Path), ("full" = Option<bool>, Query)),
    responses((status = 200, description = "The job", body = Value)))]
async fn show(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let mut q = app.store.reader();
    let job = find(&app, &mut q, &caller, &id).await?;
    let parameters = jobs::parameters(&mut q, job.id).await?;
    let inputs = jobs::inputs(&mut q, job.id).await?;
    let outputs = jobs::outputs(&mut q, job.id).await?;
    let mut shape = summary(&app, &job, caller.is_admin);
    let parameters = parameters
        .into_iter()
        .map(|(name, text)| (name, shown_parameter(&app, text).into()));
    shape["params"] = Value::Object(parameters.collect());
    shape["inputs"] = by_name(&app, &inputs, |_| true);
    shape["outputs"] = by_name(&app, &outputs, |item| item.src == "hda");
    shape["output_collections"] = by_name(&app, &outputs, |item| item.src == "hdca");
    shape["copied_from_job_id"] = json!(app.codec.encode_maybe(job.copied_from_job_id));
    shape["command_version"] = json!("");
    shape["user_id"] = json!(app.encode(job.user_id));
    shape["command_line"] = json!(job.command_line);
    shape["invocation_id"] = json!(app.codec.encode_maybe(job.workflow_invocation_id));
    if params.is("full")? {
        shape["stdout"] = json!(job.tool_stdout.as_deref().unwrap_or(""));
        shape["stderr"] = json!(job.tool_stderr.as_deref().unwrap_or(""));
        shape["tool_stdout"] = shape["stdout"].clone();
        shape["tool_stderr"] = shape["stderr"].clone();
        shape["job_stdout"] = json!("");
        shape["job_stderr"] = json!("");
        shape["job_messages"] = match &job.job_messages {
            Value::Null => json!([]),
            messages => messages.clone(),
        };
        shape["info"] = json!(job.info);
        shape["dependencies"] = json!([]);
        shape["job_metrics"] = json!([]);
        if caller.is_admin {
            let owner = users::by_id(&mut q, job.user_id).await?;
            shape["user_email"] = json!(owner.map(|user| user.email));
        }
    }
    Ok(Json(shape))
}

/// A parameter's JSON text, with what it refers to under the ids that clients know.
fn shown_parameter(app: &App, text: String) -> String {
    match serde_json::from_str::<Value>(&text) {
        Ok(value @ (Value::Object(_) | Value::Array(_))) => {
            encoded(&value, &|id| app.encode(id)).to_string()
        }
        _ => text,
    }
}

/// Several items of one input are told apart by a number.
fn by_name(app: &App, items: &[Item], wanted: impl Fn(&Item) -> bool) -> Value {
    let mut shapes: Map<String, Value> = Map::new();
    for item in items.iter().filter(|item| wanted(item)) {
        let mut shape = json!({"src": item.src, "id": app.encode(item.id)});
        if let Some(uuid) = item.uuid {
            shape["uuid"] = uuid.to_string().into();
        }
        let mut name = item.name.clone();
        let mut number = 1;
        while shapes.contains_key(&name) {
            number += 1;
            name = format!("{}{number}", item.name);
        }
        shapes.insert(name, shape);
    }
    Value::Object(shapes)
}

fn associations(app: &App, items: &[Item]) -> Value {
    items
        .iter()
        .map(|item| json!({"name": item.name, "dataset": {"src": item.src, "id": app.encode(item.id)}}))
        .collect()
}

/// What a job reads.
#[utoipa::path(get, path = "/api/jobs/{id}/inputs", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, description = "`[{name, dataset: {src, id}}]`", body = Vec<Value>)))]
async fn inputs(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let mut q = app.store.reader();
    let job = find(&app, &mut q, &caller, &id).await?;
    Ok(Json(associations(
        &app,
        &jobs::inputs(&mut q, job.id).await?,
    )))
}

/// What a job makes.
#[utoipa::path(get, path = "/api/jobs/{id}/outputs", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, description = "`[{name, dataset: {src, id}}]`; of a collection `dataset_collection_instance`", body = Vec<Value>)))]
async fn outputs(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let mut q = app.store.reader();
    let job = find(&app, &mut q, &caller, &id).await?;
    let mut shapes = associations(&app, &jobs::outputs(&mut q, job.id).await?);
    for shape in shapes.as_array_mut().into_iter().flatten() {
        if shape["dataset"]["src"] == "hdca" {
            let collection = shape["dataset"].take();
            *shape = json!({"name": shape["name"], "dataset_collection_instance": collection});
        }
    }
    Ok(Json(shapes))
}

fn plain(text: Option<String>) -> Response {
    let text = text.unwrap_or_default();
    ([(CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

/// What a job's command wrote to its standard output.
#[utoipa::path(get, path = "/api/jobs/{id}/stdout", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, description = "Text", body = String)))]
async fn stdout(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let job = find(&app, &mut app.store.reader(), &caller, &id).await?;
    Ok(plain(job.tool_stdout))
}

/// What a job's command wrote to its standard error.
#[utoipa::path(get, path = "/api/jobs/{id}/stderr", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, description = "Text", body = String)))]
async fn stderr(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let job = find(&app, &mut app.store.reader(), &caller, &id).await?;
    Ok(plain(job.tool_stderr))
}

/// Parts of what a job wrote, counted in characters.
#[utoipa::path(get, path = "/api/jobs/{id}/console_output", tag = "jobs", params(("id" = String, Path),
    ("stdout_position" = Option<i64>, Query), ("stdout_length" = Option<i64>, Query),
    ("stderr_position" = Option<i64>, Query), ("stderr_length" = Option<i64>, Query)),
    responses((status = 200, description = "`{state, stdout, stderr}`", body = Value)))]
async fn console_output(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let job = find(&app, &mut app.store.reader(), &caller, &id).await?;
    let part = |stream: &str, text: &Option<String>| -> Result<String, ApiError> {
        let count = |what: &str| params.count(&format!("{stream}_{what}"));
        let skip = count("position")?.unwrap_or(0) as usize;
        let take = count("length")?.map_or(usize::MAX, |n| n as usize);
        Ok(text
            .as_deref()
            .unwrap_or("")
            .chars()
            .skip(skip)
            .take(take)
            .collect())
    };
    Ok(Json(json!({
        "state": job.state.code(),
        "stdout": part("stdout", &job.tool_stdout)?,
        "stderr": part("stderr", &job.tool_stderr)?,
    })))
}

/// What was measured of a job: how long it ran and what it was given.
#[utoipa::path(get, path = "/api/jobs/{id}/metrics", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, description = "`[{title, value, plugin, name, raw_value}]`", body = Vec<Value>)))]
async fn metrics(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let job = find(&app, &mut app.store.reader(), &caller, &id).await?;
    let metric = |title: &str, name: &str, value: i64, unit: &str| {
        json!({"title": title, "value": format!("{value}{unit}"), "plugin": "core", "name": name,
            "raw_value": value.to_string()})
    };
    let mut found = vec![
        metric("Cores Allocated", "galaxy_slots", job.cores, ""),
        metric(
            "Memory Allocated (MB)",
            "galaxy_memory_mb",
            job.memory_mb,
            "",
        ),
    ];
    if let (Some(start), Some(end)) = (job.start_time, job.end_time) {
        let seconds = (end - start).max(0) / 1000;
        found.push(metric(
            "Job Runtime (Wall Clock)",
            "runtime_seconds",
            seconds,
            " seconds",
        ));
    }
    Ok(Json(Value::Array(found)))
}

/// What often goes wrong, looked for in a job's inputs.
#[utoipa::path(get, path = "/api/jobs/{id}/common_problems", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, description = "`{has_empty_inputs, has_duplicate_inputs}`", body = Value)))]
async fn common_problems(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let mut q = app.store.reader();
    let job = find(&app, &mut q, &caller, &id).await?;
    let inputs = jobs::inputs(&mut q, job.id).await?;
    let hdas: Vec<i64> = inputs
        .iter()
        .filter(|i| i.src == "hda")
        .map(|i| i.id)
        .collect();
    let known = crate::store::datasets::by_ids(&mut q, &hdas).await?;
    let empty = known.values().any(|hda| hda.file_size == Some(0));
    Ok(Json(
        json!({"has_empty_inputs": empty, "has_duplicate_inputs": known.len() < hdas.len()}),
    ))
}

/// Stops a job; false when it had already ended.
#[utoipa::path(delete, path = "/api/jobs/{id}", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, description = "Whether there was something to stop", body = bool)))]
async fn cancel(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    extract::Json(body): extract::Json<Value>,
) -> Result<Json<Value>, ApiError> {
    let job = find(&app, &mut app.store.reader(), &caller, &id).await?;
    let message = body
        .get("message")
        .and_then(Value::as_str)
        .map(str::to_owned);
    let stopped = app.seams().job_commands.cancel(job.id, message).await?;
    Ok(Json(Value::Bool(stopped)))
}

/// Lets a paused job, and the paused ones that depend on it, be tried again.
#[utoipa::path(put, path = "/api/jobs/{id}/resume", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, description = "What the job makes", body = Vec<Value>)))]
async fn resume(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let mut q = app.store.reader();
    let job = find(&app, &mut q, &caller, &id).await?;
    app.seams().job_commands.resume(job.id).await?;
    Ok(Json(associations(
        &app,
        &jobs::outputs(&mut q, job.id).await?,
    )))
}

#[cfg(test)]
mod tests;
