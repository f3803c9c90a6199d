//! The bytes of datasets: streamed, whole or in part.
//!
//! HTML and everything else that a browser would run is sent as plain text: what a tool wrote must not act in the
//! name of whoever looks at it.

use std::io::SeekFrom;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::{self, Wish};
use super::app::App;
use super::auth::Caller;
use super::error::ApiError;
use super::extract::Params;
use crate::store::datasets::Hda;
use crate::tools::datatypes;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(display))
        .routes(routes!(display_in_history))
        .routes(routes!(content_as_text))
}

/// The bytes of a dataset. One range is honoured.
#[utoipa::path(get, path = "/api/datasets/{id}/display", tag = "datasets", params(("id" = String, Path),
    ("to_ext" = Option<String>, Query, description = "Send it as a download with this extension"),
    ("filename" = Option<String>, Query, description = "Only files of this name; a dataset has one file here"),
    ("raw" = Option<bool>, Query), ("preview" = Option<bool>, Query, description = "Only the beginning")),
    responses((status = 200, description = "The bytes", body = Vec<u8>),
              (status = 206, description = "The range asked for", body = Vec<u8>)))]
async fn display(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    params: Params,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    serve(&app, &caller, &id, &params, &method, &headers).await
}

/// As `/api/datasets/{id}/display`.
#[utoipa::path(get, path = "/api/histories/{history_id}/contents/{id}/display", tag = "datasets",
    params(("history_id" = String, Path), ("id" = String, Path), ("to_ext" = Option<String>, Query),
           ("filename" = Option<String>, Query), ("raw" = Option<bool>, Query), ("preview" = Option<bool>, Query)),
    responses((status = 200, description = "The bytes", body = Vec<u8>),
              (status = 206, description = "The range asked for", body = Vec<u8>)))]
async fn display_in_history(
    State(app): State<App>,
    caller: Caller,
    Path((_history_id, id)): Path<(String, String)>,
    params: Params,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    serve(&app, &caller, &id, &params, &method, &headers).await
}

/// How much a preview, or a text for the page, shows.
const PREVIEW_BYTES: u64 = 1_000_000;

async fn serve(
    app: &App,
    caller: &Caller,
    id: &str,
    params: &Params,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let hda = access::hda(app, &mut app.store.reader(), caller, id, Wish::Read).await?;
    if let Some(name) = params.text("filename").filter(|n| !n.is_empty()) {
        let shown: String = name.chars().take(100).collect();
        return Err(ApiError::not_found(format!(
            "This dataset has no further file {shown:?}."
        )));
    }
    let mut file = open(app, &hda).await?;
    let whole = file.metadata().await.map_err(ApiError::broken)?.len();
    let (etag, download) = (etag(&hda, whole), params.text("to_ext"));
    let mut response_headers = HeaderMap::new();
    let mut set = |name, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            response_headers.insert(name, value);
        }
    };
    set(header::ETAG, &etag);
    set(header::ACCEPT_RANGES, "bytes");
    set(header::CONTENT_TYPE, content_type(&hda.extension));
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::CONTENT_DISPOSITION, &disposition(&hda, download));
    let asked = |name| {
        headers
            .get(name)
            .and_then(|v: &HeaderValue| v.to_str().ok())
    };
    if asked(header::IF_NONE_MATCH)
        .is_some_and(|tags| tags == "*" || tags.split(',').any(|t| t.trim() == etag))
    {
        return Ok((StatusCode::NOT_MODIFIED, response_headers).into_response());
    }
    let is_current = asked(header::IF_RANGE).is_none_or(|tag| tag == etag);
    let range = asked(header::RANGE)
        .filter(|_| is_current)
        .map_or(Range::Whole, |r| parse_range(r, whole));
    let (status, start, length) = match range {
        Range::Whole if params.is("preview")? => (StatusCode::OK, 0, whole.min(PREVIEW_BYTES)),
        Range::Whole => (StatusCode::OK, 0, whole),
        Range::Part { start, end } => {
            let text = format!("bytes {start}-{end}/{whole}");
            response_headers.extend([(header::CONTENT_RANGE, header_value(&text))]);
            (StatusCode::PARTIAL_CONTENT, start, end - start + 1)
        }
        Range::Outside => {
            let refused =
                ApiError::range_not_satisfiable(format!("The dataset has {whole} bytes."));
            let range = [(
                header::CONTENT_RANGE,
                header_value(&format!("bytes */{whole}")),
            )];
            return Ok((range, refused).into_response());
        }
    };
    response_headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    let body = if method == Method::HEAD {
        Body::empty()
    } else {
        file.seek(SeekFrom::Start(start))
            .await
            .map_err(ApiError::broken)?;
        Body::from_stream(ReaderStream::with_capacity(file.take(length), 64 << 10))
    };
    Ok((status, response_headers, body).into_response())
}

fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

async fn open(app: &App, hda: &Hda) -> Result<tokio::fs::File, ApiError> {
    if hda.purged {
        return Err(ApiError::not_found(
            "The contents of this dataset were purged.",
        ));
    }
    match tokio::fs::File::open(app.data.dataset(hda.dataset_id)).await {
        Ok(file) => Ok(file),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(ApiError::conflict(format!(
            "This dataset has no contents yet; it is {}.",
            hda.state
        ))),
        Err(e) => Err(ApiError::broken(e)),
    }
}

/// The type in the answer. Text of any kind is plain text.
fn content_type(extension: &str) -> &'static str {
    let mime = datatypes::mime(extension);
    let is_active = mime.starts_with("text/")
        || mime.contains("html")
        || mime.contains("xml")
        || mime.contains("script");
    match is_active {
        true => "text/plain; charset=utf-8",
        false => mime,
    }
}

// Contents never change once they are there, so the dataset and its length name them.
fn etag(hda: &Hda, length: u64) -> String {
    format!("\"{}-{length:x}\"", hda.uuid)
}

/// `Galaxy3-[name].ext`, with what could end a header or leave a directory replaced.
fn disposition(hda: &Hda, to_ext: Option<&str>) -> String {
    let kind = if to_ext.is_some() {
        "attachment"
    } else {
        "inline"
    };
    let extension = match to_ext {
        None | Some("" | "auto" | "_sniff_") => hda.extension.as_str(),
        Some(named) => named,
    };
    let safe = |text: &str, max: usize| -> String {
        text.chars()
            .map(|c| match c {
                c if c.is_ascii_alphanumeric() => c,
                '.' | ',' | '-' | '_' | '(' | ')' => c,
                _ => '_',
            })
            .take(max)
            .collect()
    };
    let name = safe(&hda.name, 150);
    let extension = safe(extension, 40);
    format!(
        "{kind}; filename=\"Galaxy{}-[{name}].{extension}\"",
        hda.hid
    )
}

#[derive(Debug, PartialEq, Eq)]
enum Range {
    Whole,
    /// Both ends included.
    Part {
        start: u64,
        end: u64,
    },
    Outside,
}

/// `bytes=a-b`, `bytes=a-`, `bytes=-n`. Several ranges, and what cannot be read, count as the whole.
fn parse_range(text: &str, whole: u64) -> Range {
    let Some(spec) = text.trim().strip_prefix("bytes=") else {
        return Range::Whole;
    };
    let Some((start, end)) = spec.split_once('-') else {
        return Range::Whole;
    };
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let range = match (start.trim(), end.trim()) {
        ("", last) => number(last).map(|n| (whole.saturating_sub(n), whole, n > 0)),
        (start, "") => number(start).map(|s| (s, whole, true)),
        (start, end) => match (number(start), number(end)) {
            (Some(s), Some(e)) if s <= e => Some((s, e.saturating_add(1), true)),
            _ => None,
        },
    };
    match range {
        None => Range::Whole,
        Some((start, end, true)) if start < whole => Range::Part {
            start,
            end: end.min(whole) - 1,
        },
        Some(_) => Range::Outside,
    }
}

/// The beginning of a dataset as text.
#[utoipa::path(get, path = "/api/datasets/{id}/get_content_as_text", tag = "datasets",
    params(("id" = String, Path)),
    responses((status = 200, description = "`item_data`, `truncated`, `item_url`", body = Value)))]
async fn content_as_text(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<axum::Json<Value>, ApiError> {
    let hda = access::hda(&app, &mut app.store.reader(), &caller, &id, Wish::Read).await?;
    let file = open(&app, &hda).await?;
    let mut bytes = Vec::new();
    file.take(PREVIEW_BYTES + 1)
        .read_to_end(&mut bytes)
        .await
        .map_err(ApiError::broken)?;
    let truncated = bytes.len() as u64 > PREVIEW_BYTES;
    bytes.truncate(PREVIEW_BYTES as usize);
    Ok(axum::Json(json!({
        "item_data": String::from_utf8_lossy(&bytes),
        "truncated": truncated,
        "item_url": format!("/api/datasets/{id}/display"),
    })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, expected: Range) {
        assert_eq!(parse_range(text, 10), expected, "{text}");
    }

    #[test]
    fn ranges_are_read_as_rfc_9110_says() {
        check("bytes=0-3", Range::Part { start: 0, end: 3 });
        check("bytes=4-", Range::Part { start: 4, end: 9 });
        check("bytes=-3", Range::Part { start: 7, end: 9 });
        check("bytes=-30", Range::Part { start: 0, end: 9 });
        check("bytes=8-99", Range::Part { start: 8, end: 9 });
        check("bytes=10-", Range::Outside);
        check("bytes=-0", Range::Outside);
        check("bytes=5-2", Range::Whole);
        check("bytes=0-1,3-4", Range::Whole);
        check("lines=1-2", Range::Whole);
        assert_eq!(parse_range("bytes=0-", 0), Range::Outside);
    }

    #[test]
    fn what_a_browser_would_run_is_sent_as_text() {
        assert_eq!(content_type("html"), "text/plain; charset=utf-8");
        assert_eq!(content_type("svg"), "text/plain; charset=utf-8");
        assert_eq!(content_type("txt"), "text/plain; charset=utf-8");
    }

    proptest! {
        #[test]
        fn a_range_lies_within_the_file(text in "bytes=[0-9]{0,20}-[0-9]{0,20}", whole in 0u64..1000) {
            if let Range::Part { start, end } = parse_range(&text, whole) {
                prop_assert!(start <= end && end < whole);
            }
        }
    }
}
