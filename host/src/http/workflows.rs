//! Stored workflows: import, list, show, change, share, download (spec 6.2).

mod change;
mod create;
pub mod find;
mod from_history;
mod refactor;
mod shape;
mod show;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::app::App;

pub use change::named_user;
pub use create::store;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(show::list, create::create))
        .routes(routes!(create::upload))
        .routes(routes!(show::modules))
        .routes(routes!(show::show, change::update, change::delete))
        .routes(routes!(change::undelete))
        .routes(routes!(show::versions))
        .routes(routes!(show::counts))
        .routes(routes!(refactor::refactor))
        .routes(routes!(show::download))
        .routes(routes!(show::download_by_other_path))
        .routes(routes!(change::sharing))
        .routes(routes!(change::publish))
        .routes(routes!(change::unpublish))
        .routes(routes!(change::enable_link_access))
        .routes(routes!(change::disable_link_access))
        .routes(routes!(change::share_with_users))
        .routes(routes!(change::set_slug))
}

#[cfg(test)]
mod tests;
