//! Requests, counted by route and status. Routes are those that are served, so there is an end to them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;

use crate::http::app::App;

/// Upper bounds of durations, in microseconds.
pub const BOUNDS_US: [u64; 12] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000, 1_000_000, 5_000_000,
    30_000_000,
];

/// Method, route and status of an answer.
type Sort = (&'static str, String, u16);

/// All answers since the start.
#[derive(Debug, Default)]
pub struct RequestCounts(Mutex<Counts>);

#[derive(Debug, Default, Clone)]
pub struct Counts {
    pub by_sort: HashMap<Sort, u64>,
    pub buckets: [u64; BOUNDS_US.len() + 1],
    pub total: Duration,
}

impl RequestCounts {
    fn count(&self, sort: Sort, took: Duration) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.by_sort.entry(sort).or_default() += 1;
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        counts.buckets[BOUNDS_US.partition_point(|bound| *bound < micros)] += 1;
        counts.total += took;
    }

    pub fn read(&self) -> Counts {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.clone()
    }
}

/// Counts an answer when its head is sent.
pub async fn count_request(State(app): State<App>, request: Request, next: Next) -> Response {
    let method = known(request.method());
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("none", MatchedPath::as_str).to_owned();
    let begun = Instant::now();
    let response = next.run(request).await;
    let sort = (method, route, response.status().as_u16());
    app.requests.count(sort, begun.elapsed());
    response
}

/// Clients may invent methods.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
