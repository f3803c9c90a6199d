//! What happens around every handler.

use std::any::Any;
use std::time::Instant;

use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode, Uri};
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

/// Longer texts are no refusals of the web framework's.
const REFUSAL_BYTES_MAX: usize = 4096;

/// What the web framework refuses by itself, such as a path that is not UTF-8, it tells as plain text: in Galaxy's envelope
/// instead.
pub async fn tell_in_the_envelope(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let content_type = response.headers().get(CONTENT_TYPE);
    let is_plain = content_type.is_some_and(|sort| sort.as_bytes().starts_with(b"text/plain"));
    let status = response.status();
    if !status.is_client_error() || !is_plain {
        return response;
    }
    let body = axum::body::to_bytes(response.into_body(), REFUSAL_BYTES_MAX).await;
    let text = body.unwrap_or_default();
    refused(status, &String::from_utf8_lossy(&text)).into_response()
}

fn refused(status: StatusCode, text: &str) -> ApiError {
    let sentence = match text.trim().trim_end_matches('.') {
        "" => "The request cannot be understood.".to_owned(),
        text => format!("{text}."),
    };
    match status {
        StatusCode::BAD_REQUEST => ApiError::invalid(sentence),
        status => ApiError::new(status, u32::from(status.as_u16()) * 1000 + 1, sentence),
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

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn;
    use axum::routing::get;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;
    use tower::ServiceExt as _;
    use tower_http::catch_panic::CatchPanicLayer;

    fn request(method: Method) -> Request {
        let request = Request::builder().method(method).uri("/");
        request.body(Body::empty()).expect("a request")
    }

    #[tokio::test]
    async fn a_panic_is_answered_in_the_envelope() {
        async fn panics() -> &'static str {
            panic!("private words")
        }
        let router = Router::new()
            .route("/", get(panics).post(panics))
            .layer(CatchPanicLayer::custom(after_panic))
            .layer(from_fn(finish_what_was_begun));
        for method in [Method::GET, Method::POST] {
            let response = router
                .clone()
                .oneshot(request(method))
                .await
                .expect("infallible");
            assert_eq!(response.status(), 500);
            let body = axum::body::to_bytes(response.into_body(), 1000)
                .await
                .expect("a body");
            let text = String::from_utf8_lossy(&body);
            assert!(
                text.contains("500001") && !text.contains("private"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_refusal_is_one_sentence_with_a_code() {
        let told = |status, text| {
            let error = refused(status, text);
            (
                error.status().as_u16(),
                error.code(),
                error.message_text().to_owned(),
            )
        };
        assert_eq!(
            told(StatusCode::BAD_REQUEST, "Invalid UTF-8 in `id`"),
            (400, 400_008, "Invalid UTF-8 in `id`.".to_owned())
        );
        assert_eq!(
            told(StatusCode::PAYLOAD_TOO_LARGE, ""),
            (413, 413_001, "The request cannot be understood.".to_owned())
        );
    }

    #[tokio::test]
    async fn a_client_that_hangs_up_does_not_stop_a_change() {
        let is_done = Arc::new(AtomicBool::new(false));
        let done = is_done.clone();
        let (started, starts) = tokio::sync::mpsc::channel::<()>(1);
        let handler = move || async move {
            let _ = started.send(()).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            done.store(true, Ordering::SeqCst);
        };
        let router = Router::new()
            .route("/", axum::routing::post(handler))
            .layer(from_fn(finish_what_was_begun));
        let mut starts = starts;
        tokio::select! {
            _ = router.oneshot(request(Method::POST)) => panic!("the client was to leave first"),
            begun = starts.recv() => begun.expect("it began"),
        }
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        while !is_done.load(Ordering::SeqCst) {
            assert!(
                std::time::Instant::now() < deadline,
                "the change was cut short"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
