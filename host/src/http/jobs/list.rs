//! Lists of jobs.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::summary;
use crate::http::app::App;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::http::extract::Params;
use crate::http::time::parse_iso;
use crate::store::jobs::{self, ListQuery};
use crate::store::users;

/// Jobs, the last changed first: one's own; for administrators everybody's.
#[utoipa::path(get, path = "/api/jobs", tag = "jobs", params(
    ("state" = Option<Vec<String>>, Query), ("tool_id" = Option<Vec<String>>, Query),
    ("tool_id_like" = Option<Vec<String>>, Query), ("user_details" = Option<bool>, Query),
    ("user_id" = Option<String>, Query), ("view" = Option<String>, Query, description = "collection or admin_job_list"),
    ("date_range_min" = Option<String>, Query), ("date_range_max" = Option<String>, Query),
    ("history_id" = Option<String>, Query), ("workflow_id" = Option<String>, Query),
    ("invocation_id" = Option<String>, Query), ("implicit_collection_jobs_id" = Option<String>, Query),
    ("tool_request_id" = Option<String>, Query), ("order_by" = Option<String>, Query, description = "update_time or create_time"),
    ("search" = Option<String>, Query), ("limit" = Option<i64>, Query), ("offset" = Option<i64>, Query)),
    responses((status = 200, description = "Summaries", body = Vec<Value>)))]
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let detailed = params.is("user_details")? || params.text("view") == Some("admin_job_list");
    if detailed {
        caller.require_admin()?;
    }
    let id = |name: &str| {
        let text = params.text(name).filter(|text| !text.is_empty());
        text.map(|text| app.decode(text)).transpose()
    };
    let asked = id("user_id")?;
    let user_id = match caller.is_admin {
        true => asked,
        false => {
            let own = caller.user_id()?;
            if asked.is_some_and(|user| user != own) {
                return Err(ApiError::admin_required(
                    "Only administrators may list others' jobs.",
                ));
            }
            Some(own)
        }
    };
    let states = params.list("state").into_iter().map(|state| {
        state
            .parse()
            .map_err(|_| ApiError::invalid(format!("There is no job state {state:?}.")))
    });
    let date = |name: &str| match params.text(name).filter(|text| !text.is_empty()) {
        None => Ok(None),
        Some(text) => parse_iso(text).map(Some).ok_or_else(|| {
            ApiError::invalid(format!("{name} must be a date, such as 2026-01-31."))
        }),
    };
    let page = params.page(500, app.settings.page_max)?;
    let query = ListQuery {
        user_id,
        states: states.collect::<Result<_, _>>()?,
        // Ids of tools may hold commas and blanks.
        tool_ids: params
            .all("tool_id")
            .filter(|t| !t.is_empty())
            .map(str::to_owned)
            .collect(),
        tool_ids_like: params
            .all("tool_id_like")
            .filter(|t| !t.is_empty())
            .map(str::to_owned)
            .collect(),
        history_id: id("history_id")?,
        workflow_id: id("workflow_id")?,
        invocation_id: id("invocation_id")?,
        implicit_collection_jobs_id: id("implicit_collection_jobs_id")?,
        tool_request_id: id("tool_request_id")?,
        updated_from: date("date_range_min")?,
        updated_to: date("date_range_max")?,
        search: params.text("search").map(str::to_owned),
        order_by_create_time: match params.text("order_by") {
            None | Some("" | "update_time") => false,
            Some("create_time") => true,
            Some(_) => {
                return Err(ApiError::invalid(
                    "order_by takes update_time and create_time.",
                ));
            }
        },
        limit: page.limit,
        offset: page.offset,
    };
    let mut q = app.store.reader();
    let found = jobs::list(&mut q, &query).await?;
    let mut shapes: Vec<Value> = found
        .iter()
        .map(|job| summary(&app, job, caller.is_admin))
        .collect();
    if detailed {
        let owners: BTreeSet<i64> = found.iter().map(|job| job.user_id).collect();
        let mut emails = BTreeMap::new();
        for owner in owners {
            let user = users::by_id(&mut q, owner).await?;
            emails.insert(owner, user.map(|user| user.email));
        }
        for (job, shape) in found.iter().zip(&mut shapes) {
            shape["user_email"] = json!(emails.get(&job.user_id));
        }
    }
    Ok(Json(Value::Array(shapes)))
}
