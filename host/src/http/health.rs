//! For whoever watches the server: is it alive, is it ready. And the loop that answers connections.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use axum::{Extension, Router};
use futures_util::future::BoxFuture;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tower::ServiceExt;
use tower_http::timeout::TimeoutBody;

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

/// A connection that has not sent a whole request head for so long is closed, whether it is new or was used before.
const HEAD_PATIENCE: Duration = Duration::from_secs(75);

/// And a body of which nothing came for so long is given up.
const SILENCE: Duration = Duration::from_secs(60);

/// Answers connections until `stop` is done; then takes no more, and gives the answers under way `patience`. At most
/// `connections_max` are open at once; others wait to be taken.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    stop: impl Future<Output = ()> + Send + 'static,
    patience: Duration,
    connections_max: usize,
) {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE);
    let open = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(connections_max));
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = async {
            let place = room.clone().acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            accepted = accepted => accepted,
            () = &mut stop => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Descriptors have run out, or the client has gone already.
                tracing::debug!("a connection could not be taken: {error}");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let router = router.clone();
        let service = hyper_util::service::TowerToHyperService::new(tower::service_fn(
            move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(ConnectInfo(peer));
                router
                    .clone()
                    .oneshot(request.map(|body| Body::new(TimeoutBody::new(SILENCE, body))))
            },
        ));
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        let connection = open.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%peer, "a connection ended early: {error}");
            }
            drop(place);
        });
    }
    drop(listener);
    tokio::select! {
        () = open.shutdown() => {}
        () = tokio::time::sleep(patience) => tracing::info!("connections that were still open were closed"),
    }
}

/// After a connection could not be taken.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);
