//! Refusals in the words of both standards: GA4GH's `msg` and `status_code`, Galaxy's `err_msg` and `err_code`.

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::ROOT;

/// Refusals are short.
const BODY_MAX: usize = 1 << 20;
/// Galaxy's code for "nobody is logged in", which it answers with 403; GA4GH has 401 for that.
const LOGIN_REQUIRED: u64 = 403_001;
const AUTHENTICATION_FAILED: u64 = 401_001;

/// Rewrites what goes wrong below [`ROOT`], wherever it went wrong: one body, always JSON, and 401 for a caller who
/// shows no credentials.
pub async fn speak_wes(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let is_ours = path
        .strip_prefix(ROOT)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let response = next.run(request).await;
    let status = response.status();
    if !is_ours || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (parts, body) = response.into_parts();
    let told = match axum::body::to_bytes(body, BODY_MAX).await {
        Ok(bytes) => read(&bytes, status),
        Err(_) => Map::new(),
    };
    answer(status, parts.headers, told)
}

/// What was said: our envelope, or the plain text of a part of the server that has no envelope.
fn read(bytes: &[u8], status: StatusCode) -> Map<String, Value> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(told)) => told,
        _ => {
            let text = String::from_utf8_lossy(bytes);
            let message = match text.trim() {
                "" => status.canonical_reason().unwrap_or("refused").to_owned(),
                text => text.chars().take(500).collect(),
            };
            let mut told = Map::new();
            told.insert("err_msg".to_owned(), message.into());
            told
        }
    }
}

fn answer(mut status: StatusCode, mut headers: HeaderMap, told: Map<String, Value>) -> Response {
    let message = told.get("err_msg").and_then(Value::as_str);
    let message = message
        .unwrap_or("The server could not complete this request.")
        .to_owned();
    let mut code = told.get("err_code").and_then(Value::as_u64);
    if code == Some(LOGIN_REQUIRED) {
        status = StatusCode::UNAUTHORIZED;
        code = Some(AUTHENTICATION_FAILED);
    }
    let mut body = Map::new();
    body.insert("msg".to_owned(), json!(message));
    body.insert("status_code".to_owned(), json!(status.as_u16()));
    body.insert("err_msg".to_owned(), json!(message));
    body.insert("err_code".to_owned(), json!(code.unwrap_or(0)));
    for (name, value) in told {
        body.entry(name).or_insert(value);
    }
    headers.remove(CONTENT_LENGTH);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    let body = Body::from(Value::Object(body).to_string());
    (status, headers, body).into_response()
}
