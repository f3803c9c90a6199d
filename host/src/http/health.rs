//! For whoever watches the server: is it alive, is it ready. And the loop that answers connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use axum::{Extension, Router};
use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// Says how the server's parts are.
pub trait Readiness: Send + Sync {
    /// Whether the server is ready to work, and how each of its parts is.
    fn look(&self) -> BoxFuture<'_, (bool, Value)>;
}

/// `/healthz`: the process answers. `/readyz`: 200 if it can work, else 503; which part cannot is in the body.
pub fn routes(readiness: Arc<dyn Readiness>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .layer(Extension(readiness))
}

async fn ready(Extension(readiness): Extension<Arc<dyn Readiness>>) -> Response {
    let (ready, report) = readiness.look().await;
    let status = match ready {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(report)).into_response()
}

/// Answers connections until `stop` is done; then takes no more, and gives the answers under way `patience`.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    stop: impl Future<Output = ()> + Send + 'static,
    patience: Duration,
) {
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let (stopping, stopped) = oneshot::channel();
    let signal = async move {
        stop.await;
        let _ = stopping.send(());
    };
    let answering = axum::serve(listener, service).with_graceful_shutdown(signal);
    let out_of_patience = async {
        // Never, if the loop ends by itself before it is asked to.
        if stopped.await.is_err() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(patience).await;
    };
    tokio::select! {
        outcome = answering => {
            if let Err(error) = outcome {
                tracing::error!("the server could not go on listening: {error}");
            }
        }
        () = out_of_patience => tracing::info!("connections that were still open were closed"),
    }
}
