//! Lists over datasets and collections, with their filters.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use crate::http::access::{self, Wish};
use crate::http::app::App;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::http::extract::{Page, Params};
use crate::http::lists;
use crate::http::shapes::{self, only};
use crate::store::filter::Filter;
use crate::store::histories::{self, Content};
use crate::store::{Query, collections, datasets};

/// What a list of contents is narrowed to by parameters of its own, beside `q`.
fn narrow(app: &App, filter: &mut Filter, params: &Params) -> Result<(), ApiError> {
    for (name, column) in [
        ("deleted", "c.deleted"),
        ("visible", "c.visible"),
        ("purged", "c.purged"),
    ] {
        if let Some(value) = params.flag(name)? {
            filter.and(&format!("{column} = ?"), crate::args![value]);
        }
    }
    let mut types = params.list("types");
    types.extend(params.list("type"));
    if !types.is_empty() {
        let is_known = |t: &&String| matches!(t.as_str(), "dataset" | "dataset_collection");
        if let Some(wrong) = types.iter().find(|t| !is_known(t)) {
            return Err(ApiError::unknown_contents(format!(
                "There are no contents of type {wrong:?}."
            )));
        }
        let marks = vec!["?"; types.len()].join(", ");
        filter.and(
            &format!("c.kind IN ({marks})"),
            types.into_iter().map(Into::into).collect(),
        );
    }
    let ids = params.list("ids");
    if !ids.is_empty() {
        let decoded = ids
            .iter()
            .map(|id| app.decode(id))
            .collect::<Result<Vec<_>, _>>()?;
        let marks = vec!["?"; decoded.len()].join(", ");
        filter.and(
            &format!("c.id IN ({marks})"),
            decoded.into_iter().map(Into::into).collect(),
        );
    }
    lists::add_q(filter, histories::CONTENT_FIELDS, params)
}

/// Which contents are shown in detail.
struct Details(Option<Vec<String>>);

impl Details {
    fn of(params: &Params) -> Details {
        let named = params.list("details");
        if params.text("view") == Some("detailed") || named.iter().any(|d| d == "all") {
            return Details(None);
        }
        Details(Some(named))
    }

    fn include(&self, encoded: &str) -> bool {
        self.0
            .as_ref()
            .is_none_or(|ids| ids.iter().any(|id| id == encoded))
    }
}

/// Reads and shows contents: three statements for all datasets and collections of a page, and two more for each
/// collection that is asked for in detail.
async fn render(
    app: &App,
    query: &mut impl Query,
    caller: &Caller,
    contents: &[Content],
    details: &Details,
    keys: &[String],
) -> Result<Vec<Value>, ApiError> {
    let mut hda_ids = Vec::new();
    let mut hdca_ids = Vec::new();
    for content in contents {
        match content {
            Content::Dataset(id) => hda_ids.push(*id),
            Content::Collection(id) => hdca_ids.push(*id),
        }
    }
    let mut hdas = datasets::by_ids(query, &hda_ids).await?;
    access::grant(query, caller, &mut hdas).await?;
    let mut summaries = shapes::load_hdca_summaries(app, query, &hdca_ids).await?;
    let mut shapes = Vec::with_capacity(contents.len());
    for content in contents {
        let shape = match content {
            Content::Dataset(id) => {
                hdas.get(id)
                    .map(|hda| match details.include(&app.encode(*id)) {
                        true => shapes::hda_detailed(app, hda),
                        false => shapes::hda_summary(app, hda),
                    })
            }
            Content::Collection(id) if details.include(&app.encode(*id)) => {
                match collections::by_id(query, *id).await? {
                    Some(hdca) => Some(shapes::load_hdca(app, query, caller, &hdca).await?),
                    None => None,
                }
            }
            Content::Collection(id) => summaries.remove(id),
        };
        shapes.extend(shape.map(|s| only(s, keys)));
    }
    Ok(shapes)
}

async fn page_of(
    app: &App,
    query: &mut impl Query,
    caller: &Caller,
    filter: &Filter,
    params: &Params,
    page: Page,
    default_order: &str,
) -> Result<Response, ApiError> {
    let order = lists::order(params, histories::CONTENT_FIELDS, default_order, "c.id")?;
    let total = histories::count_contents(query, filter).await?;
    let contents = histories::contents(query, filter, &order, page.limit, page.offset).await?;
    let shapes = render(
        app,
        query,
        caller,
        &contents,
        &Details::of(params),
        &params.list("keys"),
    )
    .await?;
    Ok(([("total_matches", total.to_string())], Json(shapes)).into_response())
}

/// The datasets and collections of a history.
#[utoipa::path(get, path = "/api/histories/{history_id}/contents", tag = "histories", params(
    ("history_id" = String, Path),
    ("v" = Option<String>, Query, description = "`dev`: newest hid first"),
    ("q" = Option<Vec<String>>, Query, description = "Filters, such as `state-in`; each with its `qv`"),
    ("qv" = Option<Vec<String>>, Query), ("order" = Option<String>, Query, description = "Such as `hid-asc`"),
    ("deleted" = Option<bool>, Query), ("visible" = Option<bool>, Query),
    ("types" = Option<Vec<String>>, Query, description = "`dataset`, `dataset_collection`"),
    ("ids" = Option<String>, Query, description = "Only these"),
    ("details" = Option<String>, Query, description = "`all`, or the ids to show in detail"),
    ("keys" = Option<String>, Query, description = "Only these keys"),
    ("limit" = Option<i64>, Query), ("offset" = Option<i64>, Query)),
    responses((status = 200, description = "Contents; header `total_matches`", body = Vec<Value>)))]
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    Path(history_id): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let mut reader = app.store.reader();
    let history = access::history(&app, &mut reader, &caller, &history_id, Wish::Read).await?;
    let mut filter = Filter::default();
    filter.and("c.history_id = ?", crate::args![history.id]);
    narrow(&app, &mut filter, &params)?;
    // Without a limit Galaxy shows all there is.
    let page = params.page(app.settings.page_max, app.settings.page_max)?;
    let order = match params.text("v") {
        Some("dev") => "hid-dsc",
        _ => "hid-asc",
    };
    page_of(&app, &mut reader, &caller, &filter, &params, page, order).await
}

/// The datasets and collections of all the caller's histories, or of one.
#[utoipa::path(get, path = "/api/datasets", tag = "datasets", params(
    ("history_id" = Option<String>, Query), ("q" = Option<Vec<String>>, Query), ("qv" = Option<Vec<String>>, Query),
    ("order" = Option<String>, Query, description = "Such as `create_time-dsc`"),
    ("view" = Option<String>, Query), ("keys" = Option<String>, Query),
    ("limit" = Option<i64>, Query), ("offset" = Option<i64>, Query)),
    responses((status = 200, description = "Contents; header `total_matches`", body = Vec<Value>)))]
pub async fn all_datasets(
    State(app): State<App>,
    caller: Caller,
    params: Params,
) -> Result<Response, ApiError> {
    let mut reader = app.store.reader();
    let mut filter = Filter::default();
    match params.text("history_id") {
        Some(id) => {
            let history = access::history(&app, &mut reader, &caller, id, Wish::Read).await?;
            filter.and("c.history_id = ?", crate::args![history.id]);
        }
        None => {
            let id = caller.user_id()?;
            filter.and("c.user_id = ?", crate::args![id]);
        }
    }
    narrow(&app, &mut filter, &params)?;
    let page = params.page(app.settings.page_default, app.settings.page_max)?;
    page_of(
        &app,
        &mut reader,
        &caller,
        &filter,
        &params,
        page,
        "create_time-dsc",
    )
    .await
}
