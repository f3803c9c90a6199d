//! What happens around every handler.

use std::any::Any;
use std::time::Instant;

use axum::extract::Request;
use axum::http::{Method, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::Instrument as _;

use super::error::ApiError;

/// One line for each request, without the query: it may hold a key.
pub async fn log_request(request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let begun = Instant::now();
    let response = next.run(request).await;
    let (status, ms) = (response.status().as_u16(), begun.elapsed().as_millis());
    tracing::info!(%method, path, status, ms, "{method} {path} {status} {ms} ms");
    response
}

/// Whatever may change something runs in a task of its own, so that a client that hangs up does not cut it in half.
pub async fn finish_what_was_begun(request: Request, next: Next) -> Response {
    if matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    ) {
        return next.run(request).await;
    }
    match tokio::spawn(next.run(request).in_current_span()).await {
        Ok(response) => response,
        Err(stopped) => ApiError::broken(stopped).into_response(),
    }
}

/// 404, in Galaxy's envelope.
pub async fn unknown_path(uri: Uri) -> ApiError {
    let path: String = uri.path().chars().take(200).collect();
    ApiError::not_found(format!("There is nothing at {path}."))
}

/// 405, in Galaxy's envelope.
pub async fn unknown_method(method: Method, uri: Uri) -> ApiError {
    let path: String = uri.path().chars().take(200).collect();
    ApiError::method_not_allowed(format!("{path} does not take {method}."))
}

/// 500, in Galaxy's envelope; what the panic said goes to the log.
pub fn after_panic(said: Box<dyn Any + Send + 'static>) -> Response {
    let said = said
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| said.downcast_ref::<&str>().copied())
        .unwrap_or("(no words)");
    tracing::error!("a handler panicked: {said}");
    ApiError::internal("The server could not complete this request.").into_response()
}
