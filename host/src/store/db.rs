//! The one place that speaks to a database driver: statements with `$1` placeholders, typed arguments,
//! rows, readers and write transactions. Everything else in [`crate::store`] is SQL text and values.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool,
    SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{Arguments, AssertSqlSafe, ConnectOptions, Row as _};

use super::writer::{Unit, Writer};

/// What went wrong in the database, and what we were doing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// A statement failed; `statement` is its first line.
    #[error("the database refused `{statement}`")]
    Statement {
        statement: String,
        #[source]
        source: Arc<sqlx::Error>,
    },
    /// A row did not hold what the code expects: a bug, or a damaged database.
    #[error("column {column} of a database row could not be read")]
    Column {
        column: String,
        #[source]
        source: Arc<sqlx::Error>,
    },
    /// The group of transactions that this one was committed with could not be committed.
    #[error("the transaction could not be committed")]
    Commit {
        #[source]
        source: Arc<sqlx::Error>,
    },
    /// The database could not be opened or brought up to date.
    #[error("the database {place} could not be {action}")]
    Open {
        place: String,
        action: &'static str,
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// A stored value is not one that this version knows.
    #[error("the database holds {what} {value:?}, which this version does not know")]
    Unknown { what: &'static str, value: String },
    /// Forcing the write-ahead log to disk failed: what was committed may not survive a power loss.
    #[error("the write-ahead log could not be forced to disk")]
    Sync {
        #[source]
        source: Arc<std::io::Error>,
    },
}

impl StoreError {
    /// Whether the database refused because a uniqueness or reference rule would be broken.
    pub fn is_constraint(&self) -> bool {
        match self {
            StoreError::Statement { source, .. } => matches!(
                source.as_ref(),
                sqlx::Error::Database(e) if e.is_unique_violation() || e.is_foreign_key_violation()
            ),
            _ => false,
        }
    }
}

/// One argument of a statement.
#[derive(Debug, Clone, PartialEq)]
pub enum Val {
    Int(Option<i64>),
    Text(Option<Cow<'static, str>>),
    Bool(bool),
}

macro_rules! val_from {
    ($($t:ty => |$v:ident| $e:expr),+ $(,)?) => { $(impl From<$t> for Val { fn from($v: $t) -> Val { $e } })+ };
}
val_from! {
    i64 => |v| Val::Int(Some(v)),
    i32 => |v| Val::Int(Some(v.into())),
    u32 => |v| Val::Int(Some(v.into())),
    usize => |v| Val::Int(Some(v as i64)),
    Option<i64> => |v| Val::Int(v),
    bool => |v| Val::Bool(v),
    String => |v| Val::Text(Some(v.into())),
    &String => |v| Val::Text(Some(v.clone().into())),
    &str => |v| Val::Text(Some(v.to_owned().into())),
    Option<String> => |v| Val::Text(v.map(Into::into)),
    &Option<String> => |v| Val::Text(v.clone().map(Into::into)),
    Option<&str> => |v| Val::Text(v.map(|s| s.to_owned().into())),
    uuid::Uuid => |v| Val::Text(Some(v.to_string().into())),
    &serde_json::Value => |v| Val::Text(Some(v.to_string().into())),
}

/// The arguments of a statement: `args![id, name]`.
#[macro_export]
macro_rules! args {
    ($($v:expr),* $(,)?) => { vec![$($crate::store::db::Val::from($v)),*] };
}

/// One row of an answer.
pub struct Row(SqliteRow);

impl Row {
    /// The value of a column, by name or position.
    pub fn get<'r, T>(&'r self, column: impl Column) -> Result<T, StoreError>
    where
        T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
    {
        let found = match column.key() {
            Key::Name(name) => self.0.try_get(name),
            Key::Index(index) => self.0.try_get(index),
        };
        found.map_err(|source| StoreError::Column {
            column: column.key().to_string(),
            source: Arc::new(source),
        })
    }

    /// A column of JSON text; null where the column is null or not JSON.
    pub fn json(&self, column: impl Column) -> Result<serde_json::Value, StoreError> {
        let text: Option<String> = self.get(column)?;
        Ok(text
            .and_then(|t| serde_json::from_str(&t).ok())
            .unwrap_or(serde_json::Value::Null))
    }
}

/// A column's name or position.
pub trait Column: Copy {
    fn key(&self) -> Key<'_>;
}
/// See [`Column`].
pub enum Key<'a> {
    Name(&'a str),
    Index(usize),
}
impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Name(name) => write!(f, "{name:?}"),
            Key::Index(index) => write!(f, "{index}"),
        }
    }
}
impl Column for &str {
    fn key(&self) -> Key<'_> {
        Key::Name(self)
    }
}
impl Column for usize {
    fn key(&self) -> Key<'_> {
        Key::Index(*self)
    }
}

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
}

/// The opened database. Cheap to clone.
#[derive(Clone)]
pub struct Db {
    inner: Arc<Inner>,
}

struct Inner {
    readers: SqlitePool,
    writer: Writer,
    statements: Arc<AtomicU64>,
    incarnation: AtomicI64,
}

/// Connections that only read. They see the last commit.
const READERS: u32 = 4;
/// How long a statement waits for another process (an `admin` command, a backup) to release the database.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Makes the file for its owner alone if it is not there: it holds hashes of keys, and the secret behind the ids. SQLite
/// gives the files beside it the same rights. What cannot be made here is told when it is opened.
fn make_private(path: &Path) {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    let _ = options.write(true).create_new(true).mode(0o600).open(path);
}

impl Db {
    /// Opens, creates and migrates the SQLite database in a file.
    pub async fn open_sqlite(path: &Path) -> Result<Db, StoreError> {
        make_private(path);
        let options = SqliteConnectOptions::from_str("sqlite://")
            .expect("a constant")
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // A commit survives the death of the process; `Writer` adds what must survive a power loss.
            .synchronous(SqliteSynchronous::Normal)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
            .pragma("temp_store", "memory")
            .pragma("cache_size", "-8000")
            .pragma("journal_size_limit", "67108864")
            .statement_cache_capacity(256)
            .disable_statement_logging();
        let open_error = |action: &'static str| {
            let place = path.display().to_string();
            move |source: Arc<dyn std::error::Error + Send + Sync>| StoreError::Open {
                place,
                action,
                source,
            }
        };
        let mut connection: SqliteConnection = options
            .connect()
            .await
            .map_err(|e| open_error("opened")(Arc::new(e)))?;
        sqlx::migrate!("../migrations/sqlite")
            .run(&mut connection)
            .await
            .map_err(|e| open_error("brought up to date")(Arc::new(e)))?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .test_before_acquire(false)
            .connect_lazy_with(options.read_only(true));
        let statements = Arc::new(AtomicU64::new(0));
        let writer = Writer::new(connection, path, statements.clone());
        Ok(Db {
            inner: Arc::new(Inner {
                readers,
                writer,
                statements,
                incarnation: AtomicI64::new(0),
            }),
        })
    }

    /// Something to read through: each statement sees the last commit before it.
    pub fn reader(&self) -> Reader {
        Reader { db: self.clone() }
    }

    /// Begins a write transaction. Dropping it without [`Tx::commit`] undoes it.
    pub async fn begin(&self) -> Result<Tx, StoreError> {
        Ok(Tx {
            unit: self.inner.writer.begin().await?,
        })
    }

    /// Whether other processes may use this database at the same time.
    pub fn is_shared(&self) -> bool {
        false
    }

    /// Now, in milliseconds since 1970, by a clock that all who share the database have in common.
    pub async fn shared_now_ms(&self) -> Result<i64, StoreError> {
        Ok(crate::clock::Clock::system().now_ms())
    }

    /// From here on transactions fail once another process has taken over what `name` holds. A database that is a file
    /// is locked by one process anyway.
    pub fn fence(&self, _name: &str, incarnation: i64) {
        self.inner.incarnation.store(incarnation, Ordering::SeqCst);
    }

    /// What transactions are fenced by.
    pub fn incarnation(&self) -> i64 {
        self.inner.incarnation.load(Ordering::SeqCst)
    }

    /// Sends a word to every process that listens; those are hints, which may be lost.
    pub async fn tell(&self, _word: &str) -> Result<(), StoreError> {
        Ok(())
    }

    /// How many statements have been sent since the start; for tests and metrics.
    pub fn statements(&self) -> u64 {
        self.inner.statements.load(Ordering::Relaxed)
    }

    /// Waits until nothing is being written and closes the database.
    pub async fn close(&self) {
        self.inner.readers.close().await;
        self.inner.writer.close().await;
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
        inner.statements.fetch_add(1, Ordering::Relaxed);
        let sql = sql.into();
        let mut connection = inner
            .readers
            .acquire()
            .await
            .map_err(|e| statement_error(&sql, e))?;
        fetch(&mut connection, sql, args).await
    }
}

/// A write transaction.
pub struct Tx {
    unit: Unit,
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
        ""
    }

    /// Keeps a process that is thought lost from writing while this transaction declares it so. False: it is writing.
    pub async fn try_fence_off(
        &mut self,
        _name: &str,
        _incarnation: i64,
    ) -> Result<bool, StoreError> {
        Ok(true)
    }

    /// Runs a statement and says how many rows it touched.
    pub async fn run(&mut self, sql: impl Into<Sql>, args: Vec<Val>) -> Result<u64, StoreError> {
        let sql = sql.into();
        let connection = self.unit.connection();
        let query = sqlx::query_with(AssertSqlSafe(sql.clone()), bind(args));
        query
            .execute(connection)
            .await
            .map(|done| done.rows_affected())
            .map_err(|e| statement_error(&sql, e))
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
        rows: Vec<Vec<Val>>,
    ) -> Result<Vec<Row>, StoreError> {
        let mut returned = Vec::new();
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

    /// Commits. Returns once the promise of `durability` holds; `label` names the place in the program, for
    /// logs and crash tests.
    pub async fn commit(
        self,
        durability: Durability,
        label: &'static str,
    ) -> Result<(), StoreError> {
        self.unit.commit(durability, label).await
    }
}

impl Query for Tx {
    async fn all(
        &mut self,
        sql: impl Into<Sql> + Send,
        args: Vec<Val>,
    ) -> Result<Vec<Row>, StoreError> {
        fetch(self.unit.connection(), sql.into(), args).await
    }
}

/// Rows in one statement, at most: few enough for the limits of both databases, which accept 32,000 arguments.
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

/// `$from, $from+1, …`: the inside of an `IN (…)` for `count` arguments, the first numbered `from`.
///
/// The list is padded to a power of two by repeating the last number, so that few distinct statements are prepared.
pub fn placeholders(from: usize, count: usize) -> String {
    let mut text = String::new();
    for n in 0..count.next_power_of_two().max(1) {
        if n > 0 {
            text.push_str(", ");
        }
        text.push('$');
        text.push_str(&(from + n.min(count.saturating_sub(1))).to_string());
    }
    text
}

/// Splits ids into blocks that fit into one `IN (…)`.
pub fn blocks(ids: &[i64]) -> impl Iterator<Item = &[i64]> {
    ids.chunks(512)
}

async fn fetch(
    connection: &mut SqliteConnection,
    sql: Sql,
    args: Vec<Val>,
) -> Result<Vec<Row>, StoreError> {
    sqlx::query_with(AssertSqlSafe(sql.clone()), bind(args))
        .fetch_all(connection)
        .await
        .map(|rows| rows.into_iter().map(Row).collect())
        .map_err(|e| statement_error(&sql, e))
}

fn bind(args: Vec<Val>) -> SqliteArguments {
    let mut bound = SqliteArguments::default();
    bound.reserve(args.len(), 0);
    for value in args {
        let added = match value {
            Val::Int(v) => bound.add(v),
            Val::Text(v) => bound.add(v.map(Cow::into_owned)),
            Val::Bool(v) => bound.add(v),
        };
        added.expect("encoding a number or a text cannot fail");
    }
    bound
}

pub(super) fn statement_error(sql: &str, source: sqlx::Error) -> StoreError {
    let line = sql.lines().map(str::trim).find(|l| !l.is_empty());
    StoreError::Statement {
        statement: line.unwrap_or("").chars().take(120).collect(),
        source: Arc::new(source),
    }
}
