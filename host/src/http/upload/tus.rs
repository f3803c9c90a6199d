//! Resumable uploads (the core of tus 1.0.0, as BioBlend uses it): POST makes a session, PATCH appends at the
//! offset that both sides agree on, HEAD tells the offset. `POST /api/tools/fetch` then names the session.
//!
//! A session is a file in `tmp/tus/` and a note beside it with its length and owner; both survive a restart.
//! Sessions that nobody touched for [`EXPIRY`] are removed when the next one is made.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncSeekExt as _, AsyncWriteExt as _};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::app::App;
use crate::http::auth::Caller;
use crate::http::error::ApiError;

/// How long a session lives after the last PATCH.
const EXPIRY: Duration = Duration::from_secs(3 * 24 * 3600);
/// Of the protocol.
const VERSION: &str = "1.0.0";

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(begin))
        .routes(routes!(tell, append, abandon))
}

/// What is written beside the file.
#[derive(Debug, Serialize, Deserialize)]
struct Notes {
    length: u64,
    user_id: i64,
}

/// A session whose bytes are all there.
pub struct Finished {
    pub file: PathBuf,
    pub notes: PathBuf,
    pub bytes: u64,
}

/// The finished session of this user. 400 400008 if there is none, or bytes are still missing.
pub fn finished(app: &App, caller: &Caller, session: &str) -> Result<Finished, ApiError> {
    let place = Place::find(app, caller, session)?;
    let bytes = place.offset()?;
    if bytes != place.notes.length {
        return Err(ApiError::invalid(format!(
            "The upload {session} has {bytes} of {} bytes.",
            place.notes.length
        )));
    }
    Ok(Finished {
        file: place.file,
        notes: place.notes_path,
        bytes,
    })
}

struct Place {
    file: PathBuf,
    notes_path: PathBuf,
    notes: Notes,
}

impl Place {
    fn find(app: &App, caller: &Caller, session: &str) -> Result<Place, ApiError> {
        let unknown = || ApiError::not_found("There is no such upload; it may have expired.");
        // Only what looks like our own name becomes part of a path.
        let id = uuid::Uuid::parse_str(session).map_err(|_| unknown())?;
        let directory = app.data.tmp().join("tus");
        let notes_path = directory.join(format!("{id}.json"));
        let text = std::fs::read(&notes_path).map_err(|_| unknown())?;
        let notes: Notes = serde_json::from_slice(&text).map_err(ApiError::broken)?;
        let file = directory.join(id.to_string());
        if notes.user_id != caller.user_id()? || is_expired(&file, SystemTime::now()) {
            return Err(unknown());
        }
        Ok(Place {
            file,
            notes_path,
            notes,
        })
    }

    fn offset(&self) -> Result<u64, ApiError> {
        self.file
            .metadata()
            .map(|m| m.len())
            .map_err(|_| ApiError::not_found("There is no such upload; it may have expired."))
    }
}

/// Begins a resumable upload of `Upload-Length` bytes; `Location` is where they go.
#[utoipa::path(post, path = "/api/upload/resumable_upload", tag = "tools",
    params(("upload-length" = u64, Header, description = "Bytes in all")),
    responses((status = 201, description = "Begun: see `Location`")))]
async fn begin(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let user_id = caller.user_id()?;
    speaks_ours(&headers)?;
    let length = number(&headers, "upload-length")?
        .ok_or_else(|| ApiError::missing("The header Upload-Length is required."))?;
    if length > app.settings.upload_max_bytes {
        return Err(ApiError::too_large(format!(
            "The upload is larger than the {} bytes that this server takes.",
            app.settings.upload_max_bytes
        )));
    }
    let id = uuid::Uuid::new_v4();
    let directory = app.data.tmp().join("tus");
    crate::http::app::blocking(move || {
        std::fs::create_dir_all(&directory)?;
        remove_expired(&directory)?;
        std::fs::File::create(directory.join(id.to_string()))?;
        let notes = serde_json::to_vec(&Notes { length, user_id })?;
        std::fs::write(directory.join(format!("{id}.json")), notes)
    })
    .await?;
    let location = format!("/api/upload/resumable_upload/{id}");
    let mut response = (StatusCode::CREATED, [(header::LOCATION, location)]).into_response();
    describe(&mut response, 0, length);
    Ok(response)
}

/// Whether nobody appended to a session's file for long.
fn is_expired(file: &std::path::Path, now: SystemTime) -> bool {
    let touched = file.metadata().and_then(|m| m.modified());
    touched.is_ok_and(|t| now.duration_since(t).is_ok_and(|age| age > EXPIRY))
}

fn remove_expired(directory: &std::path::Path) -> std::io::Result<()> {
    let now = SystemTime::now();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        // The file's time counts for both: appending touches the file alone.
        if path.extension().is_some() && is_expired(&path.with_extension(""), now) {
            let _ = std::fs::remove_file(path.with_extension(""));
            let _ = std::fs::remove_file(path);
        }
    }
    Ok(())
}

/// How many bytes of an upload have arrived.
#[utoipa::path(head, path = "/api/upload/resumable_upload/{session_id}", tag = "tools",
    params(("session_id" = String, Path)),
    responses((status = 200, description = "See `Upload-Offset`")))]
async fn tell(
    State(app): State<App>,
    caller: Caller,
    Path(session): Path<String>,
) -> Result<Response, ApiError> {
    let place = Place::find(&app, &caller, &session)?;
    let mut response = StatusCode::OK.into_response();
    describe(&mut response, place.offset()?, place.notes.length);
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Appends bytes at `Upload-Offset`, which must be where the upload stands (409 otherwise).
#[utoipa::path(patch, path = "/api/upload/resumable_upload/{session_id}", tag = "tools",
    params(("session_id" = String, Path), ("upload-offset" = u64, Header)),
    request_body(content_type = "application/offset+octet-stream", content = Vec<u8>),
    responses((status = 204, description = "Appended: see `Upload-Offset`")))]
async fn append(
    State(app): State<App>,
    caller: Caller,
    Path(session): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    speaks_ours(&headers)?;
    let place = Place::find(&app, &caller, &session)?;
    let offset = number(&headers, "upload-offset")?
        .ok_or_else(|| ApiError::missing("The header Upload-Offset is required."))?;
    let mut file = tokio::fs::OpenOptions::new()
        .write(true)
        .open(&place.file)
        .await
        .map_err(ApiError::broken)?;
    let length = file
        .seek(std::io::SeekFrom::End(0))
        .await
        .map_err(ApiError::broken)?;
    if length != offset {
        return Err(ApiError::conflict(format!(
            "The upload stands at {length}, not at {offset}."
        )));
    }
    let mut now_at = offset;
    let mut stream = body.into_data_stream();
    while let Some(chunk) = stream.next().await {
        // What arrived before a broken connection stays, and the client asks with HEAD where to go on.
        let Ok(chunk) = chunk else { break };
        if now_at + chunk.len() as u64 > place.notes.length {
            return Err(ApiError::too_large(format!(
                "The upload was announced with {} bytes.",
                place.notes.length
            )));
        }
        file.write_all(&chunk).await.map_err(ApiError::broken)?;
        now_at += chunk.len() as u64;
    }
    file.flush().await.map_err(ApiError::broken)?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    describe(&mut response, now_at, place.notes.length);
    Ok(response)
}

/// Gives an upload up.
#[utoipa::path(delete, path = "/api/upload/resumable_upload/{session_id}", tag = "tools",
    params(("session_id" = String, Path)),
    responses((status = 204, description = "It is gone")))]
async fn abandon(
    State(app): State<App>,
    caller: Caller,
    Path(session): Path<String>,
) -> Result<Response, ApiError> {
    let place = Place::find(&app, &caller, &session)?;
    let _ = std::fs::remove_file(&place.file);
    std::fs::remove_file(&place.notes_path).map_err(ApiError::broken)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Refuses another version of the protocol; one that is not named is ours.
fn speaks_ours(headers: &HeaderMap) -> Result<(), ApiError> {
    match headers.get("tus-resumable") {
        Some(version) if version.as_bytes() != VERSION.as_bytes() => Err(ApiError::new(
            StatusCode::PRECONDITION_FAILED,
            412_001,
            format!("This server speaks version {VERSION} of the protocol (header Tus-Resumable)."),
        )),
        _ => Ok(()),
    }
}

fn describe(response: &mut Response, offset: u64, length: u64) {
    let headers = response.headers_mut();
    headers.insert(
        HeaderName::from_static("tus-resumable"),
        HeaderValue::from_static(VERSION),
    );
    headers.insert(
        HeaderName::from_static("upload-offset"),
        HeaderValue::from(offset),
    );
    headers.insert(
        HeaderName::from_static("upload-length"),
        HeaderValue::from(length),
    );
}

fn number(headers: &HeaderMap, name: &str) -> Result<Option<u64>, ApiError> {
    headers
        .get(name)
        .map(|value| {
            value
                .to_str()
                .ok()
                .and_then(|text| text.parse().ok())
                .ok_or_else(|| {
                    ApiError::invalid(format!("The header {name} must be a whole number."))
                })
        })
        .transpose()
}
