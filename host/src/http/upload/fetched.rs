//! A small document that a request names by URL and cannot be answered without.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};

use crate::fetch::Limits;
use crate::http::App;
use crate::http::error::ApiError;
use crate::http::payload::TempPath;

/// What one may take.
const LIMITS: Limits = Limits {
    bytes: 16 << 20,
    time: Duration::from_secs(20),
};
/// This many at once, for all requests together.
static PLACES: Semaphore = Semaphore::const_new(8);

/// Set when nobody waits for the answer any more.
struct Abandoned(Arc<AtomicBool>);

impl Drop for Abandoned {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Fetches it within the request. 400 if it may not be fetched, or cannot.
pub async fn document(app: &App, url: &str) -> Result<Vec<u8>, ApiError> {
    let refused = |sentence: String| ApiError::invalid(sentence);
    // Before there is a place, because that needs none.
    app.fetcher.check(url).map_err(|why| refused(why.0))?;
    let place = tokio::time::timeout(LIMITS.time, PLACES.acquire()).await;
    let Ok(Ok(_place)) = place else {
        return Err(refused(
            "Too much is being fetched just now; try again later.".to_owned(),
        ));
    };
    let stop = Arc::new(AtomicBool::new(false));
    let _abandoned = Abandoned(stop.clone());
    let (fetcher, url) = (app.fetcher.clone(), url.to_owned());
    let file = TempPath::new(app);
    let (answer, answered) = oneshot::channel();
    let work = move || {
        fetcher
            .fetch(&url, file.as_path(), LIMITS, &stop)
            .map_err(|failure| ApiError::invalid(failure.sentence))?;
        std::fs::read(file.as_path()).map_err(ApiError::broken)
    };
    // Not in the runtime's own pool: a server that stops does not wait for it.
    std::thread::Builder::new()
        .name("fetch".to_owned())
        .spawn(move || drop(answer.send(work())))
        .map_err(ApiError::broken)?;
    answered.await.map_err(ApiError::broken)?
}
