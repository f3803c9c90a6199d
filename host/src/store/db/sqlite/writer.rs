//! Write transactions on SQLite, which has one writer: transactions that arrive while another one is open are
//! committed together with it, and one force to disk serves all that ended before it began. So a slow disk
//! costs latency, not throughput.
//!
//! A transaction is a *unit* within a *group*. The first unit of a group is the database's transaction itself;
//! later ones are savepoints within it, so that each can be undone alone. The unit that finds nobody waiting
//! behind it commits the group; everybody is told then.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Executor};
use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};

use super::super::error::{StoreError, statement_error};
use super::checkpoints::Checkpoints;
use crate::store::crash;
use crate::store::db::Durability;

/// More units than this are not kept waiting for each other.
const GROUP_MAX: usize = 64;

/// The writing side of an SQLite database.
pub struct Writer {
    shared: Arc<Shared>,
}

struct Shared {
    state: Arc<Mutex<State>>,
    waiting: AtomicUsize,
    /// Number of the last group that was committed.
    committed: AtomicU64,
    wal: Mutex<Wal>,
    checkpoints: Arc<Checkpoints>,
    statements: Arc<AtomicU64>,
}

struct State {
    connection: Option<SqliteConnection>,
    group: Group,
}

#[derive(Default)]
struct Group {
    open: bool,
    /// A unit was dropped without a commit: it is to be undone before anything else happens.
    abandoned: Option<Position>,
    units: usize,
    /// The units that ended and wait for the group's commit.
    ended: Vec<oneshot::Sender<Result<u64, StoreError>>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Position {
    First,
    Later,
}

/// The write-ahead log's file, and the last group that was forced to disk with it.
struct Wal {
    path: PathBuf,
    file: Option<Arc<File>>,
    synced: u64,
}

impl Writer {
    /// Takes over the connection that writes to the database at `path`.
    pub fn new(connection: SqliteConnection, path: &Path, statements: Arc<AtomicU64>) -> Writer {
        let mut wal = path.as_os_str().to_owned();
        wal.push("-wal");
        Writer {
            shared: Arc::new(Shared {
                state: Arc::new(Mutex::new(State {
                    connection: Some(connection),
                    group: Group::default(),
                })),
                waiting: AtomicUsize::new(0),
                committed: AtomicU64::new(0),
                wal: Mutex::new(Wal {
                    path: wal.into(),
                    file: None,
                    synced: 0,
                }),
                checkpoints: Arc::new(Checkpoints::new(path.to_owned())),
                statements,
            }),
        }
    }

    /// Waits for its turn and opens a unit.
    pub async fn begin(&self) -> Result<Unit, StoreError> {
        let waiter = Waiter::new(self.shared.clone());
        let mut state = self.shared.state.clone().lock_owned().await;
        waiter.arrived();
        state.settle_abandoned().await?;
        let position = if state.group.open {
            if let Err(error) = state.execute("SAVEPOINT unit").await {
                drop(state);
                self.shared.settle_if_nobody_comes();
                return Err(error);
            }
            Position::Later
        } else {
            state.execute("BEGIN IMMEDIATE").await?;
            state.group.open = true;
            Position::First
        };
        state.group.units += 1;
        Ok(Unit {
            position,
            shared: self.shared.clone(),
            state: Some(state),
        })
    }

    /// Commits what is open and closes the connection.
    pub async fn close(&self) {
        let mut state = self.shared.state.clone().lock_owned().await;
        if state.settle_abandoned().await.is_ok() && state.group.open {
            state.commit_group(&self.shared).await;
        }
        self.shared.checkpoints.close().await;
        if let Some(connection) = state.connection.take() {
            let _ = connection.close().await;
        }
    }
}

/// One write transaction, holding the writer.
pub struct Unit {
    position: Position,
    shared: Arc<Shared>,
    state: Option<OwnedMutexGuard<State>>,
}

impl Unit {
    /// The connection to send statements through.
    pub fn connection(&mut self) -> &mut SqliteConnection {
        self.shared.statements.fetch_add(1, Ordering::Relaxed);
        self.shared.checkpoints.note();
        let state = self
            .state
            .as_mut()
            .expect("a unit holds the writer until it ends");
        state
            .connection
            .as_mut()
            .expect("the database is open while a unit is")
    }

    /// Ends the unit and waits until its group is committed and the promise holds.
    pub async fn commit(
        mut self,
        durability: Durability,
        label: &'static str,
    ) -> Result<(), StoreError> {
        crash::point(label, crash::Side::Before);
        let mut state = self
            .state
            .take()
            .expect("a unit holds the writer until it ends");
        if self.position == Position::Later {
            state.execute("RELEASE unit").await?;
        }
        let (told, outcome) = oneshot::channel();
        state.group.ended.push(told);
        // Whoever waits takes the open group over; with nobody behind us the group ends here.
        if self.shared.waiting.load(Ordering::SeqCst) == 0 || state.group.units >= GROUP_MAX {
            state.commit_group(&self.shared).await;
        }
        drop(state);
        let group = outcome.await.unwrap_or_else(|_| {
            Err(StoreError::Commit {
                source: Arc::new(sqlx::Error::WorkerCrashed),
            })
        })?;
        if durability == Durability::Acknowledged {
            self.shared.force_to_disk(group).await?;
        }
        crash::point(label, crash::Side::After);
        Ok(())
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        if let Some(mut state) = self.state.take() {
            state.group.abandoned = Some(self.position);
            drop(state);
            self.shared.settle_if_nobody_comes();
        }
    }
}

impl State {
    async fn execute(&mut self, sql: &'static str) -> Result<(), StoreError> {
        let connection = self.connection.as_mut().ok_or_else(|| StoreError::Commit {
            source: Arc::new(sqlx::Error::PoolClosed),
        })?;
        connection
            .execute(sql)
            .await
            .map(|_| ())
            .map_err(|e| statement_error(sql, e))
    }

    /// Undoes a unit that was dropped. Where even that fails, the group is lost and its units are told.
    async fn settle_abandoned(&mut self) -> Result<(), StoreError> {
        let undone = match self.group.abandoned.take() {
            None => return Ok(()),
            Some(Position::First) => Err(None),
            Some(Position::Later) => match self.execute("ROLLBACK TO unit").await {
                Ok(()) => self.execute("RELEASE unit").await.map_err(Some),
                Err(e) => Err(Some(e)),
            },
        };
        if let Err(error) = undone {
            // Either the first unit ended alone, or the database already undid everything (as it does when the disk is full).
            let _ = self.execute("ROLLBACK").await;
            let lost = error.unwrap_or(StoreError::Commit {
                source: Arc::new(sqlx::Error::RowNotFound),
            });
            for told in std::mem::take(&mut self.group).ended {
                let _ = told.send(Err(lost.clone()));
            }
        }
        Ok(())
    }

    async fn commit_group(&mut self, shared: &Shared) {
        let outcome = match self.execute("COMMIT").await {
            Ok(()) => Ok(shared.committed.fetch_add(1, Ordering::SeqCst) + 1),
            Err(error) => {
                let _ = self.execute("ROLLBACK").await;
                Err(error)
            }
        };
        for told in std::mem::take(&mut self.group).ended {
            let _ = told.send(outcome.clone());
        }
        shared.checkpoints.after_commit();
    }
}

impl Shared {
    /// Returns once the log up to group `group` is on the disk. One force serves all who wait.
    async fn force_to_disk(&self, group: u64) -> Result<(), StoreError> {
        let mut wal = self.wal.lock().await;
        if wal.synced >= group {
            return Ok(());
        }
        let target = self.committed.load(Ordering::SeqCst);
        let (path, file) = (wal.path.clone(), wal.file.clone());
        let file = tokio::task::spawn_blocking(move || {
            let file = match file {
                Some(file) => file,
                None => Arc::new(File::open(path)?),
            };
            file.sync_data().map(|()| file)
        })
        .await
        .unwrap_or_else(|e| Err(std::io::Error::other(e)))
        .map_err(|source| StoreError::Sync {
            source: Arc::new(source),
        })?;
        wal.file = Some(file);
        wal.synced = target;
        Ok(())
    }

    /// An abandoned unit is undone by whoever writes next; when nobody waits, by a task of its own, so that
    /// units that ended before it are not kept waiting.
    fn settle_if_nobody_comes(self: &Arc<Self>) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let shared = self.clone();
        runtime.spawn(async move {
            let mut state = shared.state.clone().lock_owned().await;
            if state.settle_abandoned().await.is_ok() && state.group.open {
                state.commit_group(&shared).await;
            }
        });
    }
}

/// Counts those who wait for the writer, and notices when one of them gives up.
struct Waiter {
    shared: Arc<Shared>,
    arrived: bool,
}

impl Waiter {
    fn new(shared: Arc<Shared>) -> Waiter {
        shared.waiting.fetch_add(1, Ordering::SeqCst);
        Waiter {
            shared,
            arrived: false,
        }
    }

    fn arrived(mut self) {
        self.arrived = true;
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.shared.waiting.fetch_sub(1, Ordering::SeqCst);
        if !self.arrived {
            self.shared.settle_if_nobody_comes();
        }
    }
}
