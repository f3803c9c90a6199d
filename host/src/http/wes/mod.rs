//! GA4GH WES 1.1 below `/ga4gh/wes/v1`: invocations as runs, steps and jobs as tasks (`docs/wes.md`). Only here are
//! they called so.

mod attachments;
mod base;
mod error;
mod form;
mod pages;
mod params;
mod runs;
mod service_info;
mod source;
mod state;
mod submission;
mod submit;
mod tasks;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::app::App;

pub use error::speak_wes;

/// Where it all is.
pub const ROOT: &str = "/ga4gh/wes/v1";

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(service_info::service_info))
        .routes(routes!(runs::list, submit::submit))
        .routes(routes!(runs::show))
        .routes(routes!(runs::status))
        .routes(routes!(runs::cancel))
        .routes(routes!(tasks::list))
        .routes(routes!(tasks::show))
}

#[cfg(test)]
mod tests;
