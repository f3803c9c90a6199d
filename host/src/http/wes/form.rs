//! The body of a submission: a multipart form whose files go straight to the disk, or JSON.

use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::header::CONTENT_TYPE;
use serde_json::{Map, Value};
use tokio::io::AsyncWriteExt as _;

use super::attachments::{Attachment, Attachments, safe_name};
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::extract::{parse_object, read_body};
use crate::http::payload::{TempPath, UploadedFile};

/// What was sent, not yet looked at: of a form, every field is a text.
#[derive(Debug, Default)]
pub struct Form {
    pub fields: Map<String, Value>,
    pub attachments: Attachments,
}

/// The name of a part that is a file.
const ATTACHMENT: &str = "workflow_attachment";
/// More parts than this are not read.
const PARTS_MAX: usize = 10_000;

impl FromRequest<App> for Form {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let content_type = request
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .unwrap_or("")
            .to_ascii_lowercase();
        if content_type.starts_with("multipart/form-data") {
            let multipart = Multipart::from_request(request, &())
                .await
                .map_err(|e| ApiError::malformed(format!("The form could not be read: {e}")))?;
            return read_multipart(multipart, app).await;
        }
        let body = read_body(request.into_body(), app.settings.body_max_bytes).await?;
        match parse_object(&body)? {
            Value::Object(fields) if fields.get(ATTACHMENT).is_some_and(|v| !v.is_null()) => {
                Err(ApiError::invalid(
                    "workflow_attachment comes as files of a multipart/form-data body.",
                ))
            }
            Value::Object(fields) => Ok(Form {
                fields,
                attachments: Attachments::default(),
            }),
            _ => Err(ApiError::invalid("The body must be a JSON object.")),
        }
    }
}

async fn read_multipart(mut multipart: Multipart, app: &App) -> Result<Form, ApiError> {
    let mut form = Form::default();
    let mut files_left = app.settings.upload_max_bytes;
    let mut fields_left = app.settings.body_max_bytes as u64;
    for _ in 0..PARTS_MAX {
        let Some(field) = multipart.next_field().await.map_err(broken)? else {
            return Ok(form);
        };
        let name = field.name().unwrap_or("").to_owned();
        if name == ATTACHMENT {
            let Some(sent) = field.file_name().map(str::to_owned) else {
                return Err(ApiError::invalid(
                    "A workflow_attachment needs a file name in its Content-Disposition.",
                ));
            };
            let name = safe_name(&sent)?;
            let file = write(field, app, &name, &mut files_left).await?;
            form.attachments.add(Attachment { name, file })?;
            continue;
        }
        let text = read(field, &mut fields_left).await?;
        if form.fields.insert(name.clone(), text.into()).is_some() {
            return Err(ApiError::invalid(format!("{name:?} was sent twice.")));
        }
    }
    Err(ApiError::malformed(format!(
        "The form has more than {PARTS_MAX} parts."
    )))
}

async fn write(
    mut field: Field<'_>,
    app: &App,
    name: &str,
    left: &mut u64,
) -> Result<UploadedFile, ApiError> {
    let path = TempPath::new(app);
    let mut file = tokio::fs::File::create(path.as_path())
        .await
        .map_err(ApiError::broken)?;
    let mut bytes = 0;
    while let Some(chunk) = field.chunk().await.map_err(broken)? {
        take(left, chunk.len(), app.settings.upload_max_bytes)?;
        bytes += chunk.len() as u64;
        file.write_all(&chunk).await.map_err(ApiError::broken)?;
    }
    file.flush().await.map_err(ApiError::broken)?;
    Ok(UploadedFile {
        path,
        name: Some(name.to_owned()),
        bytes,
    })
}

async fn read(mut field: Field<'_>, left: &mut u64) -> Result<String, ApiError> {
    let max = *left;
    let mut whole = Vec::new();
    while let Some(chunk) = field.chunk().await.map_err(broken)? {
        take(left, chunk.len(), max)?;
        whole.extend_from_slice(&chunk);
    }
    String::from_utf8(whole).map_err(|_| ApiError::malformed("A form field is not UTF-8 text."))
}

fn take(left: &mut u64, bytes: usize, max: u64) -> Result<(), ApiError> {
    *left = left.checked_sub(bytes as u64).ok_or_else(|| {
        ApiError::too_large(format!(
            "The submission is larger than the {max} bytes that this server takes."
        ))
    })?;
    Ok(())
}

fn broken(error: MultipartError) -> ApiError {
    ApiError::malformed(format!("The form could not be read: {error}"))
}
