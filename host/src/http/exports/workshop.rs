//! Who makes the files.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::sync::{Notify, Semaphore};
use uuid::Uuid;

use super::target::{self, PutError};
use super::{history, invocation};
use crate::http::app::{App, blocking};
use crate::http::error::ApiError;
use crate::store::short_term_storage::{self, Stored, Wanted};
use crate::store::{Durability, StoreError};

/// Files made at the same time.
const AT_ONCE: usize = 2;
/// How long a file is kept.
pub const KEPT_MS: i64 = 24 * 3_600 * 1_000;
/// Files kept for one user.
const KEPT_EACH: i64 = 50;

/// What is being made in this process.
#[derive(Debug)]
pub struct Workshop {
    making: Mutex<HashSet<i64>>,
    places: Arc<Semaphore>,
    /// Some file is made, or cannot be.
    pub(super) ended: Notify,
}

impl Default for Workshop {
    fn default() -> Workshop {
        Workshop {
            making: Mutex::default(),
            places: Arc::new(Semaphore::new(AT_ONCE)),
            ended: Notify::new(),
        }
    }
}

/// Where a finished file is.
pub fn file(app: &App, uuid: Uuid) -> PathBuf {
    app.data.exports().join(uuid.to_string())
}

/// Stores the wish and begins to make the file; gives its id and uuid. What is too old is removed.
pub async fn order(app: &App, wanted: &Wanted<'_>) -> Result<(i64, Uuid), ApiError> {
    let now_ms = app.now_ms();
    let mut tx = app.store.begin().await?;
    let (id, uuid) = short_term_storage::add(&mut tx, wanted, now_ms).await?;
    let old =
        short_term_storage::forget(&mut tx, wanted.user_id, now_ms - KEPT_MS, KEPT_EACH).await?;
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
    let is_new = {
        let mut making = app.workshop.making.lock();
        let making = making.as_mut().unwrap_or_else(|e| e.get_mut());
        stored.state == "new" && making.insert(stored.id)
    };
    if !is_new {
        return;
    }
    let (app, stored) = (app.clone(), stored.clone());
    tokio::spawn(async move {
        let _place = app.workshop.places.clone().acquire_owned().await;
        let mut made = make(&app, &stored).await;
        if made.is_ok() && is_put(&stored) {
            made = put(&app, &stored).await;
        }
        let (state, message) = match &made {
            Ok(()) => ("ok", None),
            Err(error) => ("error", Some(error.message_text().to_owned())),
        };
        if let Err(error) = &made {
            tracing::warn!("an archive could not be made: {}", error.message_text());
        }
        let noted = async {
            let mut tx = app.store.begin().await?;
            let now_ms = app.now_ms();
            short_term_storage::end(&mut tx, stored.id, state, message.as_deref(), now_ms).await?;
            tx.commit(Durability::Acknowledged, "export.end").await
        };
        if let Err(error) = noted.await {
            tracing::error!("{}", crate::errors::chain(&error));
        }
        let mut making = app
            .workshop
            .making
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        making.remove(&stored.id);
        drop(making);
        app.workshop.ended.notify_waiters();
    });
}

/// Whether the file is to be put somewhere, not fetched.
pub fn is_put(stored: &Stored) -> bool {
    stored
        .request
        .get("target_uri")
        .is_some_and(Value::is_string)
}

/// Goes on with what is to be put somewhere and was cut off; nobody else may ask for it.
pub async fn resume(app: &App) -> Result<(), StoreError> {
    let waiting = short_term_storage::waiting(&mut app.store.reader()).await?;
    for stored in waiting.iter().filter(|stored| is_put(stored)) {
        see_to(app, stored);
    }
    Ok(())
}

/// Puts a file where it was wanted, and keeps no copy.
async fn put(app: &App, stored: &Stored) -> Result<(), ApiError> {
    let uri = stored.request.get("target_uri").and_then(Value::as_str);
    let directories = &app.settings.export_directories;
    let target = target::resolve(directories, uri.unwrap_or_default(), &stored.file_name);
    let target = target.map_err(ApiError::disabled)?;
    let (from, own) = (file(app, stored.uuid), app.data.root().to_owned());
    let token = stored.uuid.to_string();
    let done = blocking(move || {
        let done = target.put(&from, &own, &token);
        if done.is_ok() {
            // If it stays, it is removed with the note of it.
            let _ = std::fs::remove_file(from);
        }
        Ok(done)
    });
    match done.await? {
        Ok(()) => Ok(()),
        Err(PutError::Refused(why)) => Err(ApiError::conflict(why)),
        Err(PutError::Disk(error)) => Err(ApiError::internal(format!(
            "The archive could not be written there: {error}."
        ))),
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

fn place(begun: &Path, done: &Path) -> io::Result<()> {
    std::fs::File::open(begun)?.sync_all()?;
    std::fs::rename(begun, done)
}

/// A flag of a request; what was sent is checked when the wish is taken.
pub fn flag(request: &Value, name: &str, default: bool) -> bool {
    request
        .get(name)
        .and_then(Value::as_bool)
        .unwrap_or(default)
}
