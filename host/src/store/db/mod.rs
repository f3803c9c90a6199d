//! The one place that speaks to the database drivers: statements with `$1` placeholders, typed arguments,
//! rows, readers and write transactions. Everything else in [`crate::store`] is SQL text and values.

pub mod commits;
mod error;
mod postgres;
mod row;
mod schema;
mod session;
mod sqlite;
mod url;
mod value;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;

pub use error::StoreError;
use error::statement_error;
pub use row::{Cell, Column, Key, Row};
pub use schema::{SchemaStatus, known_versions, migrate, schema_status};
pub use session::{Access, Applied, Datum, Kind, Session, Table};
pub use url::{DatabaseUrl, DatabaseUrlError};
pub use value::{Val, blocks, containing, like, pattern, placeholders};

/// Text of a statement: a literal, or one assembled from literals (never from anything a client sent).
///
/// Owned, because a borrowed one would make the futures of whoever calls this depend on its lifetime, and such
/// futures cannot be handlers.
pub type Sql = String;

/// Whatever statements can be sent through: a [`Reader`], or a [`Tx`] that sees its own writes.
pub trait Query: Send {
    /// All rows.
    fn all(
        &mut self,
        sql: impl Into<Sql> + Send,
        args: Vec<Val>,
    ) -> impl Future<Output = Result<Vec<Row>, StoreError>> + Send;

    /// The first row, if there is one.
    fn maybe(
        &mut self,
        sql: impl Into<Sql> + Send,
        args: Vec<Val>,
    ) -> impl Future<Output = Result<Option<Row>, StoreError>> + Send {
        async move { Ok(self.all(sql, args).await?.into_iter().next()) }
    }

    /// Within a transaction, as [`Tx::lock`]: what is read next stays so until it is written. A [`Reader`] keeps nothing.
    fn keep(
        &mut self,
        _table: &'static str,
        _ids: &[i64],
    ) -> impl Future<Output = Result<(), StoreError>> + Send {
        async { Ok(()) }
    }
}

/// The opened database. Cheap to clone.
#[derive(Clone)]
pub struct Db {
    inner: Arc<Inner>,
}

struct Inner {
    driver: Driver,
    statements: Arc<AtomicU64>,
}

enum Driver {
    Sqlite(sqlite::Sqlite),
    Postgres(postgres::Server),
}

/// Under which name and incarnation a process writes. Once another has taken its work over, nothing more is written.
#[derive(Debug)]
pub struct Fence {
    pub name: String,
    incarnation: AtomicI64,
}

impl Fence {
    pub fn new(name: &str, incarnation: i64) -> Fence {
        Fence {
            name: name.to_owned(),
            incarnation: AtomicI64::new(incarnation),
        }
    }

    /// The process's.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Counts the starts under the name.
    pub fn incarnation(&self) -> i64 {
        self.incarnation.load(Ordering::SeqCst)
    }

    /// The process entered again.
    pub fn renew(&self, incarnation: i64) {
        self.incarnation.store(incarnation, Ordering::SeqCst);
    }
}

/// Which database it is, for the few who must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Sqlite,
    Postgres,
}

/// How many connections there are at most, and how long one is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections that only read. They see the last commit.
    pub readers: u32,
    /// Connections that write. SQLite has one writer, whatever stands here.
    pub writers: u32,
    pub acquire_timeout: Duration,
}

impl Limits {
    /// What suits most servers.
    pub fn usual(url: &DatabaseUrl) -> Limits {
        let (readers, writers) = match url {
            DatabaseUrl::Sqlite(_) => (4, 1),
            DatabaseUrl::Postgres(_) => (8, 8),
        };
        Limits {
            readers,
            writers,
            acquire_timeout: Duration::from_secs(10),
        }
    }
}

impl Db {
    /// Opens and migrates a database; a file is created.
    pub async fn open(url: &DatabaseUrl, limits: &Limits) -> Result<Db, StoreError> {
        let statements = Arc::new(AtomicU64::new(0));
        let driver = match url {
            DatabaseUrl::Sqlite(path) => {
                Driver::Sqlite(sqlite::open(path, limits, statements.clone()).await?)
            }
            DatabaseUrl::Postgres(text) => {
                let place = url.to_string();
                Driver::Postgres(postgres::open(text, &place, limits, statements.clone()).await?)
            }
        };
        Ok(Db {
            inner: Arc::new(Inner { driver, statements }),
        })
    }

    /// Opens, creates and migrates the SQLite database in a file.
    pub async fn open_sqlite(path: &Path) -> Result<Db, StoreError> {
        let url = DatabaseUrl::Sqlite(path.to_owned());
        Db::open(&url, &Limits::usual(&url)).await
    }

    /// Which database this is.
    pub fn dialect(&self) -> Dialect {
        match self.inner.driver {
            Driver::Sqlite(_) => Dialect::Sqlite,
            Driver::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Something to read through: each statement sees the last commit before it.
    pub fn reader(&self) -> Reader {
        Reader { db: self.clone() }
    }

    /// Begins a write transaction. Dropping it without [`Tx::commit`] undoes it.
    pub async fn begin(&self) -> Result<Tx, StoreError> {
        self.begin_behind(None).await
    }

    /// As [`Db::begin`]. Behind a `fence` it fails once another process has taken over; a file is locked by one process,
    /// which needs none.
    pub async fn begin_behind(&self, fence: Option<&Fence>) -> Result<Tx, StoreError> {
        Ok(Tx {
            unit: match &self.inner.driver {
                Driver::Sqlite(file) => Unit::Sqlite(file.writer.begin().await?),
                Driver::Postgres(server) => Unit::Postgres(server.begin(fence).await?),
            },
        })
    }

    /// Whether other processes may use this database at the same time.
    pub fn is_shared(&self) -> bool {
        self.dialect() == Dialect::Postgres
    }

    /// Now, in milliseconds since 1970, by a clock that all who share the database have in common.
    pub async fn shared_now_ms(&self) -> Result<i64, StoreError> {
        match &self.inner.driver {
            Driver::Sqlite(_) => Ok(crate::clock::Clock::system().now_ms()),
            Driver::Postgres(server) => server.now_ms().await,
        }
    }

    /// Sends a word to every process that listens; words are hints, which may be lost.
    pub async fn tell(&self, word: &str) -> Result<(), StoreError> {
        match &self.inner.driver {
            Driver::Sqlite(_) => Ok(()),
            Driver::Postgres(server) => server.tell(word).await,
        }
    }

    /// The words that are told from now on; None whenever some may have been missed. Without other processes: none.
    pub fn listen(&self) -> Option<mpsc::UnboundedReceiver<Option<String>>> {
        match &self.inner.driver {
            Driver::Sqlite(_) => None,
            Driver::Postgres(server) => Some(server.listen()),
        }
    }

    /// How many statements have been sent since the start; for tests and metrics.
    pub fn statements(&self) -> u64 {
        self.inner.statements.load(Ordering::Relaxed)
    }

    /// The connections that are open and those of them that are idle: to read, and to write.
    pub fn connections(&self) -> [(&'static str, u64, u64); 2] {
        let of = |name, size: u32, idle: usize| (name, u64::from(size), idle as u64);
        match &self.inner.driver {
            Driver::Sqlite(file) => {
                let (size, idle) = (file.readers.size(), file.readers.num_idle());
                // One, which is busy while somebody writes; there is no pool to ask.
                [of("read", size, idle), of("write", 1, 0)]
            }
            Driver::Postgres(server) => server.connections(),
        }
    }

    /// Waits until nothing is being written and closes the database.
    pub async fn close(&self) {
        match &self.inner.driver {
            Driver::Sqlite(file) => {
                file.readers.close().await;
                file.writer.close().await;
            }
            Driver::Postgres(server) => server.close().await,
        }
    }
}

/// Reads the last commit.
#[derive(Clone)]
pub struct Reader {
    db: Db,
}

impl Query for Reader {
    async fn all(
        &mut self,
        sql: impl Into<Sql> + Send,
        args: Vec<Val>,
    ) -> Result<Vec<Row>, StoreError> {
        let inner = &self.db.inner;
        let sql = sql.into();
        match &inner.driver {
            Driver::Sqlite(file) => {
                inner.statements.fetch_add(1, Ordering::Relaxed);
                let acquired = file.readers.acquire().await;
                let mut connection = acquired.map_err(|e| statement_error(&sql, e))?;
                sqlite::fetch(&mut connection, sql, args).await
            }
            Driver::Postgres(server) => server.read(sql, args).await,
        }
    }
}

/// A write transaction.
pub struct Tx {
    unit: Unit,
}

enum Unit {
    Sqlite(sqlite::writer::Unit),
    Postgres(postgres::Transaction),
}

/// What an acknowledged commit promises (see `docs/durability.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Survives a power loss: whatever a client has been told.
    Acknowledged,
    /// Survives the death of the process; found out again after a power loss: a job's progress.
    Progress,
}

impl Tx {
    /// What keeps a `SELECT` from waiting for rows that another process holds; it is given those that are free.
    pub fn skip_locked(&self) -> &'static str {
        match &self.unit {
            Unit::Sqlite(_) => "",
            Unit::Postgres(_) => " FOR UPDATE SKIP LOCKED",
        }
    }

    /// Keeps what `name` writes behind its fence out until this transaction ends. False: it is writing just now.
    pub async fn try_fence_off(&mut self, name: &str) -> Result<bool, StoreError> {
        if let Unit::Sqlite(_) = &self.unit {
            return Ok(true);
        }
        let lock = "SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0))";
        let row = self.maybe(lock, vec![Val::from(name)]).await?;
        row.map_or(Ok(false), |row| row.get(0))
    }

    /// Runs a statement and says how many rows it touched.
    pub async fn run(&mut self, sql: impl Into<Sql>, args: Vec<Val>) -> Result<u64, StoreError> {
        let sql = sql.into();
        match &mut self.unit {
            Unit::Sqlite(unit) => sqlite::run(unit.connection(), sql, args).await,
            Unit::Postgres(transaction) => transaction.run(sql, args).await,
        }
    }

    /// Inserts many rows with as few statements as the database's limits allow. `head` is
    /// `INSERT INTO t (a, b) VALUES`, `columns` the number of columns, `tail` what follows, such as `ON CONFLICT …`.
    pub async fn insert_many(
        &mut self,
        head: &'static str,
        columns: usize,
        tail: &'static str,
        rows: Vec<Vec<Val>>,
    ) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        if let Unit::Postgres(transaction) = &mut self.unit {
            // One statement, whose arguments are whole columns.
            let into = head.trim_end().strip_suffix("VALUES").unwrap_or(head);
            let sql = format!("{into}{} {tail}", postgres::rows_of(&rows[0]));
            return transaction
                .fetch_columns(sql, columns, rows)
                .await
                .map(drop);
        }
        // Few distinct statements, so that each stays prepared: blocks of 64, then of the powers of two below.
        let mut rows = rows.into_iter();
        while rows.len() > 0 {
            let block = BLOCK_ROWS.min(1 << rows.len().ilog2());
            let mut sql = head.to_owned();
            push_values(&mut sql, columns, block);
            sql.push(' ');
            sql.push_str(tail);
            let args: Vec<Val> = rows.by_ref().take(block).flatten().collect();
            debug_assert_eq!(args.len(), block * columns, "{head}");
            self.run(sql, args).await?;
        }
        Ok(())
    }

    /// Changes many rows, each with values of its own, with as few statements as possible. `names` are the columns of
    /// the table `given` that `change` finds the values in: `UPDATE t SET a = given.a FROM given WHERE t.id = given.id`.
    /// Returns what `change` returns (`RETURNING`), in no particular order. Each row of `t` must be named once.
    pub async fn change_many(
        &mut self,
        names: &'static [&'static str],
        change: &'static str,
        mut rows: Vec<Vec<Val>>,
    ) -> Result<Vec<Row>, StoreError> {
        let mut returned = Vec::new();
        if rows.is_empty() {
            return Ok(returned);
        }
        if let Unit::Postgres(transaction) = &mut self.unit {
            // Rows are locked in the order of their ids, as everywhere.
            rows.sort_by_key(|row| match row.first() {
                Some(Val::Int(id)) => *id,
                _ => None,
            });
            let given = postgres::rows_of(&rows[0]);
            let sql = format!("WITH given ({}) AS ({given}) {change}", names.join(", "));
            return transaction.fetch_columns(sql, names.len(), rows).await;
        }
        for block in rows.chunks(BLOCK_ROWS) {
            // Padded with its last row, as `placeholders` does: a row that is given twice is changed once.
            let count = block.len().next_power_of_two();
            let mut sql = format!("WITH given ({}) AS (VALUES", names.join(", "));
            push_values(&mut sql, names.len(), count);
            sql.push_str(") ");
            sql.push_str(change);
            let padding = std::iter::repeat_n(block.last(), count - block.len()).flatten();
            let args: Vec<Val> = block.iter().chain(padding).flatten().cloned().collect();
            debug_assert_eq!(args.len(), count * names.len(), "{change}");
            returned.append(&mut self.all(sql, args).await?);
        }
        Ok(returned)
    }

    /// Whether other transactions can be open at the same time. SQLite has one writer.
    pub fn has_rivals(&self) -> bool {
        matches!(self.unit, Unit::Postgres(_))
    }

    /// Keeps rows of a table as they are until this transaction ends: others who want to change or lock them wait. What
    /// is read after this is what they are. See `docs/decisions/0014-locks-on-postgresql.md` for the order.
    pub async fn lock(&mut self, table: &'static str, ids: &[i64]) -> Result<(), StoreError> {
        self.lock_rows(table, ids, "NO KEY UPDATE").await
    }

    /// As [`Tx::lock`], but others may lock them like this as well.
    pub async fn lock_shared(
        &mut self,
        table: &'static str,
        ids: &[i64],
    ) -> Result<(), StoreError> {
        self.lock_rows(table, ids, "SHARE").await
    }

    async fn lock_rows(
        &mut self,
        table: &'static str,
        ids: &[i64],
        strength: &'static str,
    ) -> Result<(), StoreError> {
        let Unit::Postgres(transaction) = &mut self.unit else {
            return Ok(());
        };
        if ids.is_empty() {
            return Ok(());
        }
        let sql = format!("SELECT id FROM {table} WHERE id = ANY($1) ORDER BY id FOR {strength}");
        let rows = ids.iter().map(|id| vec![Val::from(*id)]).collect();
        transaction.fetch_columns(sql, 1, rows).await.map(drop)
    }

    /// Commits. Returns once the promise of `durability` holds; `label` names the place in the program, for
    /// logs and crash tests.
    pub async fn commit(
        self,
        durability: Durability,
        label: &'static str,
    ) -> Result<(), StoreError> {
        match self.unit {
            Unit::Sqlite(unit) => unit.commit(durability, label).await,
            Unit::Postgres(transaction) => transaction.commit(durability, label).await,
        }?;
        crate::meter::COMMITS.add(1);
        commits::note(durability);
        Ok(())
    }
}

impl Query for Tx {
    async fn all(
        &mut self,
        sql: impl Into<Sql> + Send,
        args: Vec<Val>,
    ) -> Result<Vec<Row>, StoreError> {
        match &mut self.unit {
            Unit::Sqlite(unit) => sqlite::fetch(unit.connection(), sql.into(), args).await,
            Unit::Postgres(transaction) => transaction.fetch(sql.into(), args).await,
        }
    }

    async fn keep(&mut self, table: &'static str, ids: &[i64]) -> Result<(), StoreError> {
        self.lock(table, ids).await
    }
}

/// Does a transaction again that the database undid in favour of another one.
pub async fn repeated<T, F>(attempt: impl Fn() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    const ATTEMPTS: usize = 5;
    for _ in 1..ATTEMPTS {
        match attempt().await {
            Err(error) if error.is_conflict() => {
                tracing::debug!("a transaction is repeated: {error}");
            }
            outcome => return outcome,
        }
    }
    attempt().await
}

/// Rows in one statement, at most: few enough for the limits of SQLite, which accepts 32,000 arguments.
const BLOCK_ROWS: usize = 64;

/// ` (?, ?), (?, ?)`: so many rows of so many columns.
fn push_values(sql: &mut String, columns: usize, rows: usize) {
    sql.reserve(rows * (columns * 3 + 4));
    for row in 0..rows {
        sql.push_str(if row == 0 { " (" } else { ", (" });
        for column in 0..columns {
            // Not `$1`: the driver looks every numbered argument up in a list that is as long as they are many.
            sql.push_str(if column == 0 { "?" } else { ", ?" });
        }
        sql.push(')');
    }
}
