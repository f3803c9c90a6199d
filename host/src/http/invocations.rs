//! Invoking workflows and following invocations (spec 6.3 and 6.4), with the paths of 2014 (`usage`) beside today's.

mod alias;
mod create;
mod given;
pub mod legacy;
mod list;
mod replay;
mod report;
mod shape;
mod show;
mod steps;
mod target;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::app::App;
use super::auth::Caller;
use super::error::ApiError;
use crate::invocation_request::{Items, Reference};
use crate::store::db::Query;

pub use create::{invoke, invoke_recorded};
pub use shape::collection_view;
pub use show::{completion_document, find};

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list::list))
        .routes(routes!(list::of_workflow, create::create))
        .routes(routes!(list::of_workflow_usage, create::create_usage))
        .routes(routes!(show::show, show::cancel))
        .routes(routes!(steps::by_id))
        .routes(routes!(steps::show, steps::act))
        .routes(routes!(show::jobs_summary))
        .routes(routes!(show::step_jobs_summary))
        .routes(routes!(report::report))
        .routes(routes!(report::pdf))
        .routes(routes!(report::report_error))
        .routes(routes!(show::metrics))
        .routes(routes!(show::completion))
        .routes(routes!(show::explanation))
        .routes(routes!(replay::request))
        .merge(alias::routes())
}

/// The database ids of the datasets and collections that a request names, as they are.
pub async fn look_up(
    app: &App,
    q: &mut impl Query,
    caller: &Caller,
    references: impl IntoIterator<Item = Reference>,
) -> Result<Items, ApiError> {
    let known = target::Known::look_up(app, q, caller, references).await?;
    Ok(known.items())
}

#[cfg(test)]
mod tests;
