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
