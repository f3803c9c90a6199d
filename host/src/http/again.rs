//! A request whose transaction the database undid in favour of another one (a deadlock) is handled once more from its
//! beginning, here, for all of them. The order of locks is for work that never ends; a request touches what its client names,
//! in the order in which it is judged.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use futures_util::StreamExt as _;

use crate::store::db::commits;

/// How often a request is handled.
const ATTEMPTS: usize = 5;
/// A longer body is not kept to be read again.
const BODY_KEPT: usize = 4 << 20;

/// Marks an answer: the database undid what the request began, for another's sake, and the same may succeed at once.
#[derive(Debug, Clone, Copy)]
pub struct Undone;

/// Handles a request again while its answer says that it was undone. One that has stored something else before, and
/// one whose body is too long to be kept, is left with its 503.
pub async fn handle_again(request: Request, next: Next) -> Response {
    if matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    ) {
        return next.run(request).await;
    }
    let (parts, mut body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    for attempt in 1..=ATTEMPTS {
        let kept = Arc::<Kept>::default();
        let request = Request::from_parts(parts.clone(), keep(body, kept.clone()));
        let (response, has_stored) = commits::noted(next.clone().run(request)).await;
        let is_undone = response.extensions().get::<Undone>().is_some();
        let whole = kept.whole();
        match whole {
            Some(whole) if is_undone && !has_stored && attempt < ATTEMPTS => {
                tracing::debug!("{} {path} is handled again", parts.method);
                body = whole;
            }
            _ => {
                if is_undone {
                    tracing::error!(
                        "{} {path} was undone by the database in favour of others {attempt} times",
                        parts.method
                    );
                }
                return response;
            }
        }
    }
    unreachable!("the last attempt answers")
}

/// What was read of a body.
#[derive(Default)]
struct Kept(Mutex<Parts>);

#[derive(Default)]
struct Parts {
    parts: Vec<Bytes>,
    bytes: usize,
    is_whole: bool,
    /// It was too long, or broke.
    is_lost: bool,
}

impl Kept {
    fn lock(&self) -> MutexGuard<'_, Parts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, part: &Result<Bytes, axum::Error>) {
        let mut kept = self.lock();
        match part {
            Ok(part) if !kept.is_lost && kept.bytes + part.len() <= BODY_KEPT => {
                kept.bytes += part.len();
                kept.parts.push(part.clone());
            }
            _ => {
                kept.is_lost = true;
                kept.parts = Vec::new();
            }
        }
    }

    /// The same body again, if all that its first reader read of it is known.
    fn whole(&self) -> Option<Body> {
        let mut kept = self.lock();
        let unread = kept.parts.is_empty() && !kept.is_lost;
        (unread || (kept.is_whole && !kept.is_lost)).then(|| {
            let parts = std::mem::take(&mut kept.parts);
            Body::from_stream(futures_util::stream::iter(
                parts.into_iter().map(Ok::<_, axum::Error>),
            ))
        })
    }
}

/// The same body, of which `kept` keeps what is read.
fn keep(body: Body, kept: Arc<Kept>) -> Body {
    let end = kept.clone();
    let parts = body.into_data_stream().inspect(move |part| kept.add(part));
    let end = futures_util::stream::poll_fn(move |_| {
        end.lock().is_whole = true;
        std::task::Poll::Ready(None)
    });
    Body::from_stream(parts.chain(end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::middleware::from_fn;
    use axum::response::IntoResponse as _;
    use axum::routing::post;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tower::ServiceExt as _;

    /// Sends `body` to a handler that is undone `times` times; how often it was asked, and the answer's status and text.
    async fn send(times: usize, body: Body) -> (usize, u16, String) {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let handler = move |body: Bytes| {
            let so_far = count.fetch_add(1, Ordering::SeqCst);
            async move {
                let mut response = String::from_utf8_lossy(&body).into_owned().into_response();
                if so_far < times {
                    *response.status_mut() = axum::http::StatusCode::SERVICE_UNAVAILABLE;
                    response.extensions_mut().insert(Undone);
                }
                response
            }
        };
        let router = Router::new()
            .route("/", post(handler))
            .layer(axum::extract::DefaultBodyLimit::disable())
            .layer(from_fn(handle_again));
        let request = Request::post("/").body(body).expect("a request");
        let response = router.oneshot(request).await.expect("infallible");
        let status = response.status().as_u16();
        let text = axum::body::to_bytes(response.into_body(), usize::MAX).await;
        let text = String::from_utf8(text.expect("a body").to_vec()).expect("text");
        (asked.load(Ordering::SeqCst), status, text)
    }

    #[tokio::test]
    async fn a_request_that_was_undone_is_handled_again_with_the_same_body() {
        let done = |asked, status, text: &str| (asked, status, text.to_owned());
        assert_eq!(send(0, Body::from("x")).await, done(1, 200, "x"));
        assert_eq!(send(2, Body::empty()).await, done(3, 200, ""));
        let parts = ["one ", "two ", "three"].map(Ok::<_, axum::Error>);
        let body = Body::from_stream(futures_util::stream::iter(parts));
        assert_eq!(send(2, body).await, done(3, 200, "one two three"));
        assert_eq!(send(99, Body::from("x")).await, done(ATTEMPTS, 503, "x"));
    }

    #[tokio::test]
    async fn a_long_body_is_not_kept() {
        let (asked, status, _) = send(1, Body::from(vec![b'x'; BODY_KEPT + 1])).await;
        assert_eq!((asked, status), (1, 503));
        let (asked, status, text) = send(1, Body::from(vec![b'x'; BODY_KEPT])).await;
        assert_eq!((asked, status, text.len()), (2, 200, BODY_KEPT));
    }
}
