//! SQLite: one connection that writes, behind [`writer`], and some that read.

mod checkpoints;
pub(super) mod writer;

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool,
    SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Arguments, AssertSqlSafe, ConnectOptions};

use super::error::{StoreError, statement_error};
use super::row::{Driven, Row};
use super::value::Val;
use super::{Limits, schema};
use writer::Writer;

/// How long a statement waits for another process (an `admin` command, a backup) to release the database.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// An opened file.
pub(super) struct Sqlite {
    pub readers: SqlitePool,
    pub writer: Writer,
}

/// Makes the file for its owner alone if it is not there: it holds hashes of keys, and the secret behind the ids. SQLite
/// gives the files beside it the same rights. What cannot be made here is told when it is opened.
pub(super) fn make_private(path: &Path) {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    let _ = options.write(true).create_new(true).mode(0o600).open(path);
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::from_str("sqlite://")
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
        .pragma("wal_autocheckpoint", checkpoints::LOG_PAGES_MAX)
        .statement_cache_capacity(256)
        .disable_statement_logging()
}

/// A connection that may write.
pub(super) async fn connect(path: &Path) -> Result<SqliteConnection, sqlx::Error> {
    options(path).connect().await
}

/// A connection that leaves the file as it is, whoever's it may be: not even the way in which its log is kept is changed.
pub(super) async fn look(path: &Path) -> Result<SqliteConnection, sqlx::Error> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging();
    options.connect().await
}

/// Opens, creates and migrates the database in a file.
pub(super) async fn open(
    path: &Path,
    limits: &Limits,
    statements: Arc<AtomicU64>,
) -> Result<Sqlite, StoreError> {
    make_private(path);
    let place = path.display().to_string();
    let connected = connect(path).await;
    let mut connection = connected.map_err(|source| StoreError::Open {
        place: place.clone(),
        action: "opened",
        source: Arc::new(source),
    })?;
    schema::migrate_sqlite(&mut connection, &place).await?;
    let readers = SqlitePoolOptions::new()
        .max_connections(limits.readers)
        .acquire_timeout(limits.acquire_timeout)
        .test_before_acquire(false)
        .connect_lazy_with(options(path).read_only(true));
    Ok(Sqlite {
        readers,
        writer: Writer::new(connection, path, statements),
    })
}

pub(super) async fn fetch(
    connection: &mut SqliteConnection,
    sql: String,
    args: Vec<Val>,
) -> Result<Vec<Row>, StoreError> {
    sqlx::query_with(AssertSqlSafe(sql.clone()), bind(args))
        .fetch_all(connection)
        .await
        .map(|rows| {
            rows.into_iter()
                .map(|row| Row(Driven::Sqlite(row)))
                .collect()
        })
        .map_err(|e| statement_error(&sql, e))
}

pub(super) async fn run(
    connection: &mut SqliteConnection,
    sql: String,
    args: Vec<Val>,
) -> Result<u64, StoreError> {
    sqlx::query_with(AssertSqlSafe(sql.clone()), bind(args))
        .execute(connection)
        .await
        .map(|done| done.rows_affected())
        .map_err(|e| statement_error(&sql, e))
}

fn bind(args: Vec<Val>) -> SqliteArguments {
    let mut bound = SqliteArguments::default();
    bound.reserve(args.len(), 0);
    for value in args {
        let added = match value {
            Val::Int(v) => bound.add(v),
            Val::Text(v) => bound.add(v.map(std::borrow::Cow::into_owned)),
            Val::Bool(v) => bound.add(v),
        };
        added.expect("encoding a number or a text cannot fail");
    }
    bound
}
