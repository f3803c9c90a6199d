//! Tasks: a page of them with three statements, one with at most two, whatever the run's size.

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value, json};

use super::base::{Base, InPath, no_run, run_id};
use super::pages;
use super::runs::{check, instant};
use crate::http::access::Wish;
use crate::http::app::App;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::http::extract::Params;
use crate::model::state::StepState;
use crate::store::wes::{self, Bounds, Job, Jobs, Key, Task};

/// A page of a run's tasks: steps with one job or none, and the jobs of mapped steps, in the order of the workflow.
#[utoipa::path(get, path = "/ga4gh/wes/v1/runs/{run_id}/tasks", tag = "wes", params(
    ("run_id" = String, Path),
    ("page_size" = Option<i64>, Query, description = "From 1; 100 if absent, never more than 1000"),
    ("page_token" = Option<String>, Query)),
    responses((status = 200, description = "TaskListResponse of GA4GH WES 1.1", body = Value),
        (status = 400, description = "Extension: page_size or page_token is not acceptable", body = Value)))]
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    base: Base,
    InPath(id): InPath<String>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    require_caller(&caller)?;
    let run = run_id(&app, &id)?;
    let mut q = app.store.reader();
    let head = wes::page_head(&mut q, run).await?.ok_or_else(no_run)?;
    check(&caller, Wish::Read, head.user_id, head.is_shared)?;
    let size = pages::size(&params)?;
    let scope = format!("tasks {run}");
    let begun: Option<[i64; 5]> = pages::token(&app, &params, &scope)?;
    let (after, bounds) = match begun {
        None => (Key::START, head.bounds),
        Some([order_index, job_index, step_id, member_id, last]) => (
            Key {
                order_index,
                job_index,
            },
            Bounds {
                step_id,
                member_id,
                order_index: last,
            },
        ),
    };
    let mut tasks = wes::page(&mut q, run, after, bounds, size + 1).await?;
    let has_more = tasks.len() > size;
    tasks.truncate(size);
    let next = match tasks.last().map(Task::key) {
        Some(at) if has_more => {
            let Bounds {
                step_id,
                member_id,
                order_index: last,
            } = bounds;
            let place = [at.order_index, at.job_index, step_id, member_id, last];
            pages::next(&app, &scope, place)
        }
        _ => String::new(),
    };
    let tasks: Vec<Value> = tasks.iter().map(|task| view(&app, &base, task)).collect();
    Ok(Json(json!({"task_logs": tasks, "next_page_token": next})))
}

/// One task.
#[utoipa::path(get, path = "/ga4gh/wes/v1/runs/{run_id}/tasks/{task_id}", tag = "wes", params(
    ("run_id" = String, Path),
    ("task_id" = String, Path, description = "`{step}`, or `{step}.{job}` for a job of a mapped step")),
    responses((status = 200, description = "TaskLog of GA4GH WES 1.1", body = Value)))]
pub async fn show(
    State(app): State<App>,
    caller: Caller,
    base: Base,
    InPath((id, task_id)): InPath<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    require_caller(&caller)?;
    let run = run_id(&app, &id)?;
    // An id that does not parse is looked up as a step that cannot be, so that the run's rules come first.
    let (step_id, job_index) = parse(&task_id).unwrap_or((-1, None));
    let mut q = app.store.reader();
    let found = wes::of_step(&mut q, run, step_id)
        .await?
        .ok_or_else(no_run)?;
    check(&caller, Wish::Read, found.user_id, found.is_shared)?;
    let (step, jobs) = found.step.ok_or_else(no_task)?;
    let job = match (jobs, job_index) {
        (Jobs::Mapped(_), Some(index)) => {
            let job = wes::one_job(&mut q, jobs, index).await?;
            Some(job.ok_or_else(no_task)?)
        }
        (Jobs::One(_), None) => wes::one_job(&mut q, jobs, 0).await?,
        (Jobs::None, None) => None,
        (Jobs::Mapped(_), None) | (Jobs::One(_) | Jobs::None, Some(_)) => return Err(no_task()),
    };
    let task = Task {
        step,
        job_index,
        job,
    };
    Ok(Json(view(&app, &base, &task)))
}

fn require_caller(caller: &Caller) -> Result<(), ApiError> {
    match caller.is_admin {
        true => Ok(()),
        false => caller.user().map(drop),
    }
}

fn no_task() -> ApiError {
    ApiError::not_found("There is no such task in this run.")
}

/// `{step}` or `{step}.{job}`, each in digits as this server writes them.
fn parse(text: &str) -> Option<(i64, Option<i64>)> {
    let number = |text: &str| {
        let n: i64 = text.parse().ok()?;
        (n >= 0 && n.to_string() == text).then_some(n)
    };
    match text.split_once('.') {
        None => Some((number(text)?, None)),
        Some((step, job)) => Some((number(step)?, Some(number(job)?))),
    }
}

/// TaskLog. What is not known yet is left out.
fn view(app: &App, base: &Base, task: &Task) -> Value {
    let step = &task.step;
    let id = match task.job_index {
        Some(index) => format!("{}.{index}", step.id),
        None => step.id.to_string(),
    };
    let tool_id = step
        .tool_id
        .clone()
        .or_else(|| task.job.as_ref().map(|job| job.tool_id.clone()));
    let name = step
        .label
        .clone()
        .or(tool_id)
        .unwrap_or_else(|| format!("step_{}", step.order_index));
    let mut shape = Map::new();
    shape.insert("id".to_owned(), id.into());
    shape.insert("name".to_owned(), name.into());
    let mut logs = Vec::new();
    match &task.job {
        Some(job) => of_job(app, base, job, &mut shape, &mut logs),
        None => {
            shape.insert("start_time".to_owned(), instant(step.create_time).into());
            if step.state == StepState::Scheduled && step.subworkflow_invocation_id.is_none() {
                shape.insert("end_time".to_owned(), instant(step.update_time).into());
            }
            logs.push(format!("state: {}", step.state.code()));
        }
    }
    if let Some(child) = step.subworkflow_invocation_id {
        let run_id = app.encode(child);
        logs.push(format!("run_id: {run_id}"));
        logs.push(format!("task_logs_url: {}", base.tasks(&run_id)));
    }
    shape.insert("system_logs".to_owned(), json!(logs));
    Value::Object(shape)
}

fn of_job(
    app: &App,
    base: &Base,
    job: &Job,
    shape: &mut Map<String, Value>,
    logs: &mut Vec<String>,
) {
    let mut put = |name: &str, value: Value| drop(shape.insert(name.to_owned(), value));
    if let Some(command) = &job.command_line {
        put("cmd", json!([command]));
    }
    let start = job.start_time.unwrap_or(job.create_time);
    put("start_time", instant(start).into());
    if job.state.is_terminal() {
        let end = job.end_time.unwrap_or(job.update_time);
        put("end_time", instant(end).into());
    }
    let id = app.encode(job.id);
    put("stdout", base.job_log(&id, "stdout").into());
    put("stderr", base.job_log(&id, "stderr").into());
    if let Some(code) = job.exit_code.and_then(|code| i32::try_from(code).ok()) {
        put("exit_code", code.into());
    }
    logs.push(format!("job: {id}"));
    logs.push(format!("state: {}", job.state.code()));
    if let Some(runner) = &job.runner {
        logs.push(match &job.external_id {
            Some(external) => format!("runner: {runner} {external}"),
            None => format!("runner: {runner}"),
        });
    }
    if let Some(info) = job.info.as_deref().filter(|info| !info.is_empty()) {
        logs.push(format!("info: {info}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ids_are_read_as_they_are_written_only() {
        assert_eq!(parse("17"), Some((17, None)));
        assert_eq!(parse("17.0"), Some((17, Some(0))));
        for wrong in [
            "",
            ".",
            "1.",
            ".1",
            "1.2.3",
            "-1",
            "+1",
            "01",
            "1.01",
            " 1",
            "1e3",
            "one",
            "9223372036854775808",
        ] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn every_id_comes_back(step in 0i64.., job in proptest::option::of(0i64..)) {
            let text = match job {
                Some(job) => format!("{step}.{job}"),
                None => step.to_string(),
            };
            prop_assert_eq!(parse(&text), Some((step, job)));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,40}") {
            let _ = parse(&text);
        }
    }
}
