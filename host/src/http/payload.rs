//! Bodies that may bring files: JSON, a URL-encoded form, or multipart whose files go straight to the disk.

use std::collections::HashMap;

use axum::extract::{FromRequest, FromRequestParts as _, Multipart, Request};
use axum::http::header::CONTENT_TYPE;
use serde_json::{Map, Value};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Semaphore;

use super::app::App;
use super::auth::{Caller, identify};
use super::error::ApiError;
use super::extract::{Params, parse_object, read_body_of};
pub use crate::ingest::TempPath;

/// The fields of a body, and the files that came with it.
#[derive(Debug, Default)]
pub struct Payload {
    pub fields: Map<String, Value>,
    /// By the name of the part, such as `files_0|file_data`.
    pub files: HashMap<String, UploadedFile>,
    /// Who the form itself says it is from: old clients put their key in a field `key`.
    pub caller: Option<Caller>,
}

/// A file below the data directory's `tmp/`. Dropping it removes the file if it is still there.
#[derive(Debug)]
pub struct UploadedFile {
    pub path: TempPath,
    /// As the client called it: a name to show, never a path.
    pub name: Option<String>,
    pub bytes: u64,
}

impl TempPath {
    /// A new name in the data directory's `tmp/`.
    pub fn new(app: &App) -> TempPath {
        TempPath::within(&app.data)
    }
}

/// Forms that are read at the same time before it is known whose they are.
static NOBODYS_FORMS: Semaphore = Semaphore::const_new(4);
/// More parts than this are not read.
const PARTS_MAX: usize = 10_000;

impl FromRequest<App> for Payload {
    type Rejection = ApiError;

    /// Multipart and URL-encoded forms by their Content-Type; anything else is JSON. The values of form fields
    /// that are JSON count as that JSON, as Galaxy reads them.
    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let content_type = request
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .unwrap_or("")
            .to_ascii_lowercase();
        let (mut parts, body) = request.into_parts();
        if content_type.starts_with("multipart/form-data") {
            // Files go to the disk as they arrive, so it has to be somebody's request. A form whose key comes in a field,
            // perhaps behind the files, may be as long as other bodies.
            let caller = Caller::from_request_parts(&mut parts, app).await?;
            let (files, _place) = match caller.is_known() {
                true => (app.settings.upload_max_bytes, None),
                false => match NOBODYS_FORMS.try_acquire() {
                    Ok(place) => (app.settings.body_max_bytes as u64, Some(place)),
                    Err(_) => return caller.user_id().map(|_| Payload::default()),
                },
            };
            let multipart = Multipart::from_request(Request::from_parts(parts, body), &())
                .await
                .map_err(|e| ApiError::malformed(format!("The form could not be read: {e}")))?;
            let mut payload = read_multipart(multipart, app, files).await?;
            if !caller.is_known() {
                payload.caller = match payload.text("key") {
                    Some(key) => Some(identify(app, key).await?),
                    None => caller.user_id().map(|_| None)?,
                };
            }
            return Ok(payload);
        }
        let body = read_body_of(&mut parts, body, app).await?;
        if content_type.starts_with("application/x-www-form-urlencoded") {
            let text = String::from_utf8_lossy(&body);
            let fields = Params::parse(&text)
                .pairs()
                .map(|(name, value)| (name.to_owned(), form_value(value)))
                .collect();
            return Ok(Payload {
                fields,
                ..Payload::default()
            });
        }
        match parse_object(&body)? {
            Value::Object(fields) => Ok(Payload {
                fields,
                ..Payload::default()
            }),
            _ => Err(ApiError::invalid("The body must be a JSON object.")),
        }
    }
}

async fn read_multipart(
    mut multipart: Multipart,
    app: &App,
    files: u64,
) -> Result<Payload, ApiError> {
    let mut payload = Payload::default();
    let mut budget = Budget {
        files,
        fields: app.settings.body_max_bytes,
    };
    for _ in 0..PARTS_MAX {
        let Some(field) = multipart.next_field().await.map_err(broken_form)? else {
            return Ok(payload);
        };
        let name = field.name().unwrap_or("").to_owned();
        // A part with a file name is a file. So are Galaxy's upload parts without one.
        if field.file_name().is_some() || name.ends_with("file_data") {
            let file = write_part(field, app, &mut budget).await?;
            payload.files.insert(name, file);
        } else {
            let text = read_part(field, &mut budget).await?;
            payload.fields.insert(name, form_value(&text));
        }
    }
    Err(ApiError::malformed(format!(
        "The form has more than {PARTS_MAX} parts."
    )))
}

/// What may still come.
struct Budget {
    files: u64,
    fields: usize,
}

async fn write_part(
    mut field: axum::extract::multipart::Field<'_>,
    app: &App,
    budget: &mut Budget,
) -> Result<UploadedFile, ApiError> {
    let name = field.file_name().map(str::to_owned);
    let path = TempPath::new(app);
    let mut file = tokio::fs::File::create(path.as_path())
        .await
        .map_err(ApiError::broken)?;
    let mut bytes = 0;
    while let Some(chunk) = field.chunk().await.map_err(broken_form)? {
        let size = chunk.len() as u64;
        budget.files = budget.files.checked_sub(size).ok_or_else(|| {
            ApiError::too_large(format!(
                "The upload is larger than the {} bytes that this server takes.",
                app.settings.upload_max_bytes
            ))
        })?;
        bytes += size;
        file.write_all(&chunk).await.map_err(ApiError::broken)?;
    }
    file.flush().await.map_err(ApiError::broken)?;
    Ok(UploadedFile { path, name, bytes })
}

async fn read_part(
    mut field: axum::extract::multipart::Field<'_>,
    budget: &mut Budget,
) -> Result<String, ApiError> {
    let mut whole = Vec::new();
    while let Some(chunk) = field.chunk().await.map_err(broken_form)? {
        budget.fields = budget.fields.checked_sub(chunk.len()).ok_or_else(|| {
            ApiError::too_large("The form's fields are larger than this server takes.")
        })?;
        whole.extend_from_slice(&chunk);
    }
    String::from_utf8(whole).map_err(|_| ApiError::malformed("A form field is not UTF-8 text."))
}

fn broken_form(error: axum::extract::multipart::MultipartError) -> ApiError {
    ApiError::malformed(format!("The form could not be read: {error}"))
}

/// The value of a form field. Objects, lists, strings, booleans and null are read as JSON; what is not JSON is
/// text, and so are numbers, because an encoded id may consist of digits.
fn form_value(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(Value::Number(_)) | Err(_) => Value::from(text),
        Ok(value) => value,
    }
}

impl Payload {
    /// A text, if it is there and not empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.fields
            .get(name)
            .and_then(Value::as_str)
            .filter(|t| !t.is_empty())
    }

    /// A text that must be there. 400 400007 if it is not.
    pub fn required(&self, name: &str) -> Result<&str, ApiError> {
        self.text(name)
            .ok_or_else(|| ApiError::missing(format!("Parameter {name} is required.")))
    }

    /// A value that may be JSON or, in a JSON body, a text that holds JSON (as `targets` and `inputs` do).
    pub fn json(&self, name: &str) -> Result<Option<Value>, ApiError> {
        match self.fields.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => serde_json::from_str(text)
                .map(Some)
                .map_err(|e| ApiError::bad_json(format!("{name} is not valid JSON: {e}"))),
            Some(value) => Ok(Some(value.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn form_fields_are_json_where_they_can_be_but_ids_stay_text() {
        assert_eq!(form_value(r#"[{"a": 1}]"#), json!([{"a": 1}]));
        assert_eq!(form_value("true"), json!(true));
        assert_eq!(form_value("f2db41e1fa331b3e"), json!("f2db41e1fa331b3e"));
        assert_eq!(form_value("1234567812345678"), json!("1234567812345678"));
    }
}
