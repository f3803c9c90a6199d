//! The doors: Galaxy's API below `/api`, as BioBlend and Planemo speak it.
//!
//! A handler translates, calls one thing, translates back. [`router`] is all of it; [`extract`], [`auth`],
//! [`codec`] and [`error`] are what handlers are written with.

pub mod access;
mod again;
pub mod app;
mod archive;
pub mod auth;
pub mod codec;
pub mod collection_rules;
pub mod collections;
mod config;
mod contents;
pub mod datasets;
pub mod display;
pub mod error;
pub mod exports;
pub mod extract;
pub mod health;
pub mod histories;
pub mod invocations;
pub mod jobs;
mod keys;
pub mod layers;
mod lists;
mod metrics;
pub mod payload;
mod plugins;
mod requests;
mod roles;
pub mod seams;
pub mod shapes;
pub mod time;
pub mod tools;
pub mod upload;
pub mod users;
mod wes;
pub mod workflows;

#[cfg(test)]
mod tests;

pub use app::{App, DataDir, MetricsFor, Settings};
pub use auth::Caller;
pub use error::ApiError;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Components, InfoBuilder, OpenApi, OpenApiBuilder, SecurityRequirement};
use utoipa_axum::router::OpenApiRouter;

/// Everything that this server answers.
pub fn router(app: App) -> Router {
    let (router, mut document) = routes().split_for_parts();
    // What runs to the end of the path is `{*name}` to axum and `{name}` to OpenAPI.
    document.paths.paths = std::mem::take(&mut document.paths.paths)
        .into_iter()
        .map(|(path, item)| (path.replace("{*", "{"), item))
        .collect();
    let document: bytes::Bytes = match document.to_json() {
        Ok(text) => text.into(),
        Err(error) => {
            tracing::error!("the OpenAPI document could not be written: {error}");
            "{}".into()
        }
    };
    router
        .route(
            "/api/openapi.json",
            get(move || async move { ([(CONTENT_TYPE, "application/json")], document) }),
        )
        .route("/", get(config::front_page))
        .fallback(layers::unknown_path)
        .method_not_allowed_fallback(layers::unknown_method)
        // Every body has a limit of its own: `extract::read_body`, and the uploads' count of bytes.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn(layers::tell_in_the_envelope))
        .layer(CatchPanicLayer::custom(layers::after_panic))
        .layer(from_fn(again::handle_again))
        .layer(from_fn(layers::finish_what_was_begun))
        .layer(from_fn(wes::speak_wes))
        .layer(from_fn(layers::log_request))
        .layer(from_fn_with_state(app.clone(), metrics::count_request))
        .with_state(app)
}

/// The routes with their descriptions: a route that is not described is not served.
fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(document())
        .merge(config::routes())
        .merge(users::routes())
        .merge(workflows::routes())
        .merge(invocations::routes())
        .merge(jobs::routes())
        .merge(tools::routes())
        .merge(keys::routes())
        .merge(histories::routes())
        .merge(contents::routes())
        .merge(exports::routes())
        .merge(datasets::routes())
        .merge(roles::routes())
        .merge(display::routes())
        .merge(collections::routes())
        .merge(archive::routes())
        .merge(upload::routes())
        .merge(wes::routes())
        .merge(plugins::routes())
        .merge(metrics::routes())
}

/// The frame of the OpenAPI document; the routes add their paths and schemas.
fn document() -> OpenApi {
    let mut components = Components::new();
    let schemes = [
        (
            "x-api-key",
            SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("x-api-key"))),
        ),
        (
            "key",
            SecurityScheme::ApiKey(ApiKey::Query(ApiKeyValue::new("key"))),
        ),
        (
            "bearer",
            SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build()),
        ),
    ];
    let mut requirements = Vec::new();
    for (name, scheme) in schemes {
        components.add_security_scheme(name, scheme);
        requirements.push(SecurityRequirement::new(name, Vec::<String>::new()));
    }
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("Barycenter")
                .version(env!("CARGO_PKG_VERSION"))
                .description(Some(
                    "Workflow scheduling with Galaxy's API. Ids are opaque strings; a refusal is \
                     `{\"err_msg\", \"err_code\"}`.",
                ))
                .build(),
        )
        .components(Some(components))
        .security(Some(requirements))
        .build()
}
