//! Moving what is in the write-ahead log to the database, beside the writer: it forces the disk twice, and whoever wants to
//! write must not wait for that. SQLite itself would do it within a commit.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Executor};
use tokio::sync::Mutex;

/// After so many statements of writers it is time again. A statement changes a few pages, one that inserts many rows some dozens.
const STATEMENTS: u64 = 1_024;

/// Pages in the log (64 MB) from which on the writer does it after all, with each commit, until the log begins anew. What was
/// moved before is not moved again, so that this does not take long.
pub(super) const LOG_PAGES_MAX: &str = "16384";

pub(super) struct Checkpoints {
    path: PathBuf,
    /// Statements since the last time.
    since: AtomicU64,
    /// Opened when it is needed.
    connection: Mutex<Slot>,
}

enum Slot {
    NotYet,
    Open(SqliteConnection),
    Closed,
}

impl Checkpoints {
    pub fn new(path: PathBuf) -> Checkpoints {
        Checkpoints {
            path,
            since: AtomicU64::new(0),
            connection: Mutex::new(Slot::NotYet),
        }
    }

    /// A statement was sent to the writer.
    pub fn note(&self) {
        self.since.fetch_add(1, Ordering::Relaxed);
    }

    /// Something was committed: begins if it is time, and does not wait for it.
    pub fn after_commit(self: &Arc<Self>) {
        if self.since.load(Ordering::Relaxed) < STATEMENTS {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        self.since.store(0, Ordering::Relaxed);
        let checkpoints = self.clone();
        runtime.spawn(async move { checkpoints.run().await });
    }

    async fn run(&self) {
        // One at a time; whoever comes meanwhile need not wait for its turn.
        let Ok(mut slot) = self.connection.try_lock() else {
            return;
        };
        if let Slot::NotYet = *slot {
            match super::connect(&self.path).await {
                Ok(connection) => *slot = Slot::Open(connection),
                Err(error) => return tracing::debug!("no connection for checkpoints: {error}"),
            }
        }
        let Slot::Open(connection) = &mut *slot else {
            return;
        };
        // It waits for nobody: what a reader or writer still needs stays for the next time, or for the writer.
        if let Err(error) = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").await {
            tracing::debug!("a checkpoint failed: {error}");
        }
    }

    /// To be called before the writer's connection is closed: the last one to close removes the log.
    pub async fn close(&self) {
        let mut slot = self.connection.lock().await;
        if let Slot::Open(connection) = std::mem::replace(&mut *slot, Slot::Closed) {
            let _ = connection.close().await;
        }
    }
}
