//! What operators ask of jobs, and reports of what went wrong.

use axum::Json;
use axum::extract::{Path, State};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::find;
use crate::http::access::{self, Wish};
use crate::http::app::App;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::http::extract;
use crate::store::Durability;
use crate::store::installation::{self, JOB_LOCK};

/// Where a job was sent. For administrators.
#[utoipa::path(get, path = "/api/jobs/{id}/destination_params", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, description = "Runner, Runner Job ID, Handler, Scheduler", body = Value)))]
pub async fn destination_params(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    caller.require_admin()?;
    let job = find(&app, &mut app.store.reader(), &caller, &id).await?;
    Ok(Json(json!({
        "Runner": job.job_runner_name,
        "Runner Job ID": job.job_runner_external_id,
        "Handler": job.handler,
        "Scheduler": job.scheduler,
    })))
}

/// A report of a failed job.
#[derive(Deserialize, ToSchema)]
pub struct ErrorReport {
    /// What the job should have made.
    dataset_id: Option<String>,
    /// Where answers go.
    email: Option<String>,
    message: Option<String>,
}

/// Tells the operator, in the log, that a job went wrong. The answer has one message for each place where such reports go;
/// this server sends no mail.
#[utoipa::path(post, path = "/api/jobs/{id}/error", tag = "jobs", request_body = ErrorReport,
    params(("id" = String, Path)),
    responses((status = 200, description = "`{messages: [[text, kind]]}`", body = Value)))]
pub async fn report_error(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    extract::Json(report): extract::Json<ErrorReport>,
) -> Result<Json<Value>, ApiError> {
    let mut q = app.store.reader();
    let job = find(&app, &mut q, &caller, &id).await?;
    if let Some(dataset) = &report.dataset_id {
        access::hda(&app, &mut q, &caller, dataset, Wish::Read).await?;
    }
    Ok(Json(report.tell("job", job.id, &job.tool_id)))
}

impl ErrorReport {
    /// Writes it to the log; the answer for whoever reports.
    pub fn tell(&self, what: &str, id: i64, about: &str) -> Value {
        let clip = |text: &Option<String>| -> String {
            text.as_deref().unwrap_or("").chars().take(2_000).collect()
        };
        tracing::info!(
            about,
            from = ?clip(&self.email),
            "somebody reports an error of {what} {id}: {:?}",
            clip(&self.message)
        );
        // Galaxy's sentence, which clients compare.
        let text = "An error occurred sending the report by email: Mail is not configured for this Galaxy instance";
        json!({"messages": [[text, "danger"]]})
    }
}

/// Whether jobs are held back.
#[utoipa::path(get, path = "/api/job_lock", tag = "jobs",
    responses((status = 200, description = "`{active}`", body = Value)))]
pub async fn job_lock(State(app): State<App>, caller: Caller) -> Result<Json<Value>, ApiError> {
    caller.require_admin()?;
    let active = installation::jobs_are_locked(&mut app.store.reader()).await?;
    Ok(Json(json!({"active": active})))
}

/// Whether jobs are to be held back.
#[derive(Deserialize, ToSchema)]
pub struct JobLock {
    active: bool,
}

/// Holds back every job that is not running yet, or lets them go. It outlasts a restart. For administrators.
#[utoipa::path(put, path = "/api/job_lock", tag = "jobs", request_body = JobLock,
    responses((status = 200, description = "`{active}`", body = Value)))]
pub async fn set_job_lock(
    State(app): State<App>,
    caller: Caller,
    extract::Json(lock): extract::Json<JobLock>,
) -> Result<Json<Value>, ApiError> {
    caller.require_admin()?;
    let value = if lock.active { "true" } else { "false" };
    let mut tx = app.store.begin().await?;
    installation::set(&mut tx, JOB_LOCK, value).await?;
    tx.commit(Durability::Acknowledged, "job.lock").await?;
    app.signals.jobs_changed();
    Ok(Json(json!({"active": lock.active})))
}
