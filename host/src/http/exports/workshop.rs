//! Who makes the files: of several servers the one that has taken the wish until an instant it keeps moving.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{Notify, Semaphore};
use uuid::Uuid;

use super::put::put;
use super::{history, invocation};
use crate::http::app::{App, blocking};
use crate::http::error::ApiError;
use crate::store::short_term_storage::{self, Limit, Stored, Wanted};
use crate::store::{Durability, Store, StoreError};

/// Files made at the same time.
const AT_ONCE: usize = 2;
/// How long a file is kept.
pub const KEPT_MS: i64 = 24 * 3_600 * 1_000;
/// Files kept for one user, and as many notes of what was put somewhere.
const KEPT_EACH: i64 = 50;
/// What one user may have waiting.
const UNFINISHED_EACH: i64 = 50;
/// How long what a server has taken stays its own without a word from it, and how often it says so.
const LEASE: Duration = Duration::from_secs(60);
const RENEWAL: Duration = Duration::from_secs(15);
/// Wishes read from the database at once.
const PAGE: i64 = 50;

/// What is being made in this process.
#[derive(Debug)]
pub struct Workshop {
    making: Mutex<HashSet<i64>>,
    places: Arc<Semaphore>,
    post: OnceLock<Post>,
    /// Some file is made, or cannot be.
    pub(super) ended: Notify,
}

/// As whom this process takes what it makes, and the store that refuses once another has taken its name over.
struct Post {
    name: String,
    store: Store,
}

impl std::fmt::Debug for Post {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Post").field(&self.name).finish()
    }
}

impl Default for Workshop {
    fn default() -> Workshop {
        Workshop {
            making: Mutex::default(),
            places: Arc::new(Semaphore::new(AT_ONCE)),
            post: OnceLock::new(),
            ended: Notify::new(),
        }
    }
}

impl Workshop {
    /// A process that takes part under no name has one that nobody else has.
    fn post(&self, app: &App) -> &Post {
        self.post.get_or_init(|| Post {
            name: Uuid::new_v4().to_string(),
            store: app.store.clone(),
        })
    }

    fn making(&self) -> std::sync::MutexGuard<'_, HashSet<i64>> {
        self.making.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One that this process works on or will; whatever becomes of it, it can be begun again afterwards.
struct Begun {
    app: App,
    id: i64,
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.app.workshop.making().remove(&self.id);
        self.app.workshop.ended.notify_waiters();
    }
}

/// Where a finished file is.
pub fn file(app: &App, uuid: Uuid) -> PathBuf {
    app.data.exports().join(uuid.to_string())
}

/// Stores the wish and begins to make the file; gives its id and uuid. What is too old is removed. 409 if too much of the
/// user's is waiting already.
pub async fn order(app: &App, wanted: &Wanted<'_>) -> Result<(i64, Uuid), ApiError> {
    let now_ms = app.now_ms();
    let mut tx = app.store.begin().await?;
    short_term_storage::keep_to(&mut tx, wanted.user_id).await?;
    let limit = Limit {
        user_id: wanted.user_id,
        is_put: wanted.is_put(),
        keep: KEPT_EACH,
        now_ms,
        before_ms: now_ms - KEPT_MS,
    };
    let old = short_term_storage::forget(&mut tx, &limit).await?;
    if short_term_storage::unfinished(&mut tx, wanted.user_id).await? >= UNFINISHED_EACH {
        return Err(ApiError::conflict(format!(
            "{UNFINISHED_EACH} archives of yours are still to be made; ask again when some of them are done."
        )));
    }
    let (id, uuid) = short_term_storage::add(&mut tx, wanted, now_ms).await?;
    tx.commit(Durability::Acknowledged, "export.order").await?;
    let old: Vec<PathBuf> = old.into_iter().map(|uuid| file(app, uuid)).collect();
    if !old.is_empty() {
        blocking(move || {
            for path in old {
                // Nobody can ask for it any more; if it stays, it is a file that nobody finds.
                let _ = std::fs::remove_file(path);
            }
            Ok(())
        })
        .await?;
    }
    if let Some(stored) = short_term_storage::by_id(&mut app.store.reader(), id).await? {
        see_to(app, &stored);
    }
    Ok((id, uuid))
}

/// Makes sure that somebody makes a file that is not there yet.
pub fn see_to(app: &App, stored: &Stored) {
    let is_free = stored.state == "new" && stored.next_time <= app.now_ms();
    if !is_free || !app.workshop.making().insert(stored.id) {
        return;
    }
    let begun = Begun {
        app: app.clone(),
        id: stored.id,
    };
    tokio::spawn(async move {
        let (app, id) = (&begun.app, begun.id);
        let _place = app.workshop.places.clone().acquire_owned().await;
        if let Err(error) = take(app, id).await {
            tracing::error!(
                "an archive could not be seen to and is begun again later: {}",
                crate::errors::chain(&error)
            );
        }
    });
}

/// Makes one, and ends it, if nobody else has taken it.
async fn take(app: &App, id: i64) -> Result<(), StoreError> {
    let Post { name, store } = app.workshop.post(app);
    let now_ms = app.now_ms();
    let Some(stored) = short_term_storage::claim(store, id, name, now_ms, until(app)).await? else {
        return Ok(());
    };
    let work = carry_out(app, &stored);
    tokio::pin!(work);
    let done = loop {
        tokio::select! {
            done = &mut work => break done?,
            () = tokio::time::sleep(RENEWAL) => {
                if !short_term_storage::renew(store, id, name, until(app)).await? {
                    return Ok(());
                }
            }
        }
    };
    let failure = match done {
        Done::Ok => None,
        Done::Failed(why) => Some(why),
        Done::Lost => return Ok(()),
    };
    if let Some(why) = &failure {
        tracing::warn!("an archive could not be made: {why}");
    }
    let is_ended =
        short_term_storage::end(store, id, name, failure.as_deref(), app.now_ms()).await?;
    if is_ended && stored.is_put {
        // Only now: whoever had to put it once more would need the same file. If it stays, it goes with the note of it.
        let _ = tokio::fs::remove_file(file(app, stored.uuid)).await;
    }
    Ok(())
}

/// Until when what this process takes or keeps now is its own.
fn until(app: &App) -> i64 {
    app.now_ms() + LEASE.as_millis() as i64
}

/// What came of working on one.
enum Done {
    Ok,
    /// Why not, in a sentence.
    Failed(String),
    /// Another server has it now.
    Lost,
}

async fn carry_out(app: &App, stored: &Stored) -> Result<Done, StoreError> {
    if let Err(error) = make(app, stored).await {
        return Ok(Done::Failed(error.message_text().to_owned()));
    }
    if !stored.is_put {
        return Ok(Done::Ok);
    }
    // Putting touches what others may see, so that it is this server's is asked once more.
    let Post { name, store } = app.workshop.post(app);
    if !short_term_storage::renew(store, stored.id, name, until(app)).await? {
        return Ok(Done::Lost);
    }
    let uri = stored.request.get("target_uri").and_then(Value::as_str);
    let done = put(app, stored.uuid, uri.unwrap_or_default(), &stored.file_name);
    Ok(match done.await {
        Ok(_) => Done::Ok,
        Err(failure) => Done::Failed(failure.sentence),
    })
}

/// Takes part under a name from here on; what an earlier process of this name had taken is there for everybody again, and
/// what was to be put somewhere and was cut off goes on.
pub async fn begin(app: &App, name: &str, store: &Store) -> Result<(), StoreError> {
    let post = Post {
        name: name.to_owned(),
        store: store.clone(),
    };
    if app.workshop.post.set(post).is_err() {
        tracing::error!("the workshop was begun twice; the second time is ignored");
    }
    short_term_storage::forget_claims(store, name).await?;
    resume(app).await
}

/// Goes on with what is to be put somewhere and nobody works on: nobody else may ask for it.
pub async fn resume(app: &App) -> Result<(), StoreError> {
    let (now_ms, mut beyond) = (app.now_ms(), 0);
    loop {
        let q = &mut app.store.reader();
        let due = short_term_storage::due_puts(q, now_ms, beyond, PAGE).await?;
        for stored in &due {
            see_to(app, stored);
        }
        match due.last() {
            Some(last) if due.len() as i64 == PAGE => beyond = last.id,
            _ => return Ok(()),
        }
    }
}

async fn make(app: &App, stored: &Stored) -> Result<(), ApiError> {
    let done = file(app, stored.uuid);
    if done.exists() {
        return Ok(());
    }
    let begun = app.data.tmp().join(format!("export-{}", Uuid::new_v4()));
    let made = match stored.kind.as_str() {
        "history" => history::write(app, stored, begun.clone()).await,
        _ => invocation::write(app, stored, begun.clone()).await,
    };
    let is_made = made.is_ok();
    let placed = blocking(move || {
        let placed = match is_made {
            true => place(&begun, &done),
            false => Ok(()),
        };
        if !is_made || placed.is_err() {
            let _ = std::fs::remove_file(&begun);
        }
        placed
    });
    placed.await.and(made)
}

/// The first one counts: what was put somewhere from it is compared with it.
fn place(begun: &Path, done: &Path) -> io::Result<()> {
    std::fs::File::open(begun)?.sync_all()?;
    match std::fs::hard_link(begun, done) {
        Ok(()) => std::fs::remove_file(begun),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => std::fs::remove_file(begun),
        // A file system without second names.
        Err(_) => std::fs::rename(begun, done),
    }
}

/// A flag of a request; what was sent is checked when the wish is taken.
pub fn flag(request: &Value, name: &str, default: bool) -> bool {
    request
        .get(name)
        .and_then(Value::as_bool)
        .unwrap_or(default)
}
