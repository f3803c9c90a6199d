//! PostgreSQL: a pool that reads and a pool that writes. A transaction is a connection of the second one.

use std::borrow::Cow;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{
    PgArguments, PgConnectOptions, PgConnection, PgListener, PgPool, PgPoolOptions,
};
use sqlx::{Arguments, AssertSqlSafe, ConnectOptions, Connection as _, Executor as _, Postgres};
use tokio::sync::mpsc;

use super::error::{StoreError, statement_error};
use super::row::{Driven, Row};
use super::value::Val;
use super::{Durability, Fence, Limits, schema};
use crate::store::crash;

/// A connection that was idle for longer is tried before it is used.
const TRUSTED_IDLE: Duration = Duration::from_secs(5);
/// How many connections of a pool may turn out to be dead before the statement is given up.
const ATTEMPTS: u32 = 16;

/// A reached server.
pub(super) struct Server {
    readers: PgPool,
    writers: PgPool,
    /// For the one connection that listens.
    listeners: PgPool,
    acquire_timeout: Duration,
    statements: Arc<AtomicU64>,
}

fn options(url: &str) -> Result<PgConnectOptions, sqlx::Error> {
    Ok(PgConnectOptions::from_str(url)?
        .application_name("barycenter")
        .statement_cache_capacity(512)
        .disable_statement_logging())
}

/// A connection of its own.
pub(super) async fn connect(url: &str) -> Result<PgConnection, sqlx::Error> {
    options(url)?.connect().await.map_err(explained)
}

/// Says what helps where a certificate is the trouble.
fn explained(error: sqlx::Error) -> sqlx::Error {
    let text = match &error {
        sqlx::Error::Io(error) => error.to_string(),
        sqlx::Error::Tls(error) => error.to_string(),
        _ => return error,
    };
    match text.strip_prefix("invalid peer certificate: ") {
        Some(why) => sqlx::Error::Tls(
            format!(
                "its certificate is not accepted ({why}); name the file of the authority that signed it as `sslrootcert=FILE` \
                 in the URL, and the host as the certificate does"
            )
            .into(),
        ),
        None => error,
    }
}

/// Reaches and migrates a database.
pub(super) async fn open(
    url: &str,
    place: &str,
    limits: &Limits,
    statements: Arc<AtomicU64>,
) -> Result<Server, StoreError> {
    let failed = |source: sqlx::Error| StoreError::Open {
        place: place.to_owned(),
        action: "reached",
        source: Arc::new(source),
    };
    let options = options(url).map_err(failed)?;
    let connected = options.connect().await.map_err(explained);
    let mut connection = connected.map_err(failed)?;
    let migrated = schema::migrate_postgres(&mut connection, place).await;
    let _ = connection.close().await;
    migrated?;
    let pool = |size: u32, settings: &'static str| {
        PgPoolOptions::new()
            .max_connections(size)
            .acquire_timeout(limits.acquire_timeout)
            .test_before_acquire(false)
            .after_connect(move |connection, _| {
                Box::pin(async move { connection.execute(settings).await.map(drop) })
            })
            .before_acquire(|connection, meta| {
                Box::pin(async move {
                    match meta.idle_for > TRUSTED_IDLE {
                        true => Ok(connection.ping().await.is_ok()),
                        false => Ok(true),
                    }
                })
            })
            .connect_lazy_with(options.clone())
    };
    Ok(Server {
        readers: pool(limits.readers, READER),
        writers: pool(limits.writers, WRITER),
        listeners: PgPoolOptions::new()
            .max_connections(1)
            .connect_lazy_with(options.clone()),
        acquire_timeout: limits.acquire_timeout,
        statements,
    })
}

/// What every connection that reads begins with.
const READER: &str = "SET default_transaction_read_only = on";
/// What every connection that writes begins with: an acknowledged commit is on the disk, whatever the server's
/// configuration says. A configuration that promises more (a standby) is left as it is. A transaction of a process that
/// fell asleep must not keep the others waiting.
const WRITER: &str = "SELECT set_config('synchronous_commit', 'on', FALSE) WHERE current_setting('synchronous_commit') = 'off';
    SET idle_in_transaction_session_timeout = '10s'";

const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";

/// Holds, until the transaction ends, the lock that whoever takes over must have, and looks whether that has happened
/// already. Tells triggers whose transaction it is.
fn fenced(fence: &Fence) -> String {
    let name = fence.name.replace('\'', "''");
    let incarnation = fence.incarnation();
    format!(
        "SELECT pg_advisory_xact_lock_shared(hashtextextended('{name}', 0)), set_config('barycenter.handler', '{name}', TRUE);
         SELECT 1 FROM worker_process WHERE server_name = '{name}' AND incarnation = {incarnation} AND state = 'live'"
    )
}

/// Rows that the statements of [`fenced`] answer while the fence holds.
const FENCED_ROWS: usize = 2;

/// A connection for listening is tried again after this long.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

/// Listens until nobody wants to hear any more.
async fn hear(pool: PgPool, heard: mpsc::UnboundedSender<Option<String>>) {
    while !heard.is_closed() {
        let listening = async {
            let mut listener = PgListener::connect_with(&pool).await?;
            listener.listen("barycenter").await?;
            Ok::<_, sqlx::Error>(listener)
        };
        if let Ok(mut listener) = listening.await {
            // What was told before this was missed.
            if heard.send(None).is_err() {
                return;
            }
            while let Ok(Some(word)) = listener.try_recv().await {
                if heard.send(Some(word.payload().to_owned())).is_err() {
                    return;
                }
            }
        }
        tokio::time::sleep(LISTEN_AGAIN).await;
    }
}

impl Server {
    async fn acquire(&self, pool: &PgPool) -> Result<PoolConnection<Postgres>, StoreError> {
        pool.acquire()
            .await
            .map_err(|source| StoreError::NoConnection {
                waited: self.acquire_timeout,
                source: Arc::new(source),
            })
    }

    /// Reads. A statement whose connection had died is sent again.
    pub async fn read(&self, sql: String, args: Vec<Val>) -> Result<Vec<Row>, StoreError> {
        for _ in 1..ATTEMPTS {
            self.statements.fetch_add(1, Ordering::Relaxed);
            let mut connection = self.acquire(&self.readers).await?;
            match fetch(&mut connection, sql.clone(), args.clone()).await {
                Err(e) if e.is_lost_connection() => discard(connection),
                answer => return answer,
            }
        }
        let mut connection = self.acquire(&self.readers).await?;
        fetch(&mut connection, sql, args).await
    }

    /// Begins a transaction. Nothing was done yet, so a connection that had died is replaced.
    pub async fn begin(&self, fence: Option<&Fence>) -> Result<Transaction, StoreError> {
        let sql = match fence {
            None => BEGIN.to_owned(),
            Some(fence) => format!("{BEGIN}; {}", fenced(fence)),
        };
        let mut attempts = 0;
        loop {
            attempts += 1;
            let mut connection = self.acquire(&self.writers).await?;
            let begun = sqlx::raw_sql(AssertSqlSafe(sql.clone()))
                .fetch_all(&mut *connection)
                .await;
            match begun {
                Ok(rows) => {
                    let transaction = Transaction {
                        connection: Some(connection),
                        failed: false,
                        statements: self.statements.clone(),
                    };
                    return match fence {
                        Some(fence) if rows.len() != FENCED_ROWS => Err(StoreError::Fenced {
                            name: fence.name.clone(),
                        }),
                        _ => Ok(transaction),
                    };
                }
                Err(source) => {
                    let error = statement_error(BEGIN, source);
                    discard(connection);
                    if attempts >= ATTEMPTS || !error.is_lost_connection() {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// Now, in milliseconds since 1970, by the server's clock.
    pub async fn now_ms(&self) -> Result<i64, StoreError> {
        const NOW: &str =
            "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT) AS now";
        let rows = self.read(NOW.to_owned(), Vec::new()).await?;
        rows[0].get(0)
    }

    /// Sends a word to all who listen.
    pub async fn tell(&self, word: &str) -> Result<(), StoreError> {
        const TELL: &str = "SELECT pg_notify('barycenter', $1)";
        let mut connection = self.acquire(&self.writers).await?;
        let word = Val::from(word);
        fetch(&mut connection, TELL.to_owned(), vec![word])
            .await
            .map(drop)
    }

    /// Every word that is told from now on; None whenever some may have been missed.
    pub fn listen(&self) -> mpsc::UnboundedReceiver<Option<String>> {
        let (heard, words) = mpsc::unbounded_channel();
        tokio::spawn(hear(self.listeners.clone(), heard));
        words
    }

    /// Waits for the transactions that are open and closes every connection.
    /// See [`super::Db::connections`].
    pub fn connections(&self) -> [(&'static str, u64, u64); 2] {
        let of = |name, pool: &PgPool| (name, u64::from(pool.size()), pool.num_idle() as u64);
        [of("read", &self.readers), of("write", &self.writers)]
    }

    pub async fn close(&self) {
        self.readers.close().await;
        self.writers.close().await;
        self.listeners.close().await;
    }
}

/// Takes a connection out of its pool; what it was doing ends with it.
fn discard(connection: PoolConnection<Postgres>) {
    drop(connection.detach());
}

/// A transaction that is open.
pub(super) struct Transaction {
    connection: Option<PoolConnection<Postgres>>,
    /// A statement failed: the server will undo everything.
    failed: bool,
    statements: Arc<AtomicU64>,
}

impl Transaction {
    fn connection(&mut self) -> &mut PgConnection {
        self.statements.fetch_add(1, Ordering::Relaxed);
        let connection = self.connection.as_mut();
        connection.expect("a transaction holds its connection until it ends")
    }

    pub async fn fetch(&mut self, sql: String, args: Vec<Val>) -> Result<Vec<Row>, StoreError> {
        let answer = fetch(self.connection(), sql, args).await;
        self.failed |= answer.is_err();
        answer
    }

    pub async fn run(&mut self, sql: String, args: Vec<Val>) -> Result<u64, StoreError> {
        let query = sqlx::query_with(AssertSqlSafe(sql.clone()), bind(args));
        let answer = query.execute(self.connection()).await;
        self.failed |= answer.is_err();
        answer
            .map(|done| done.rows_affected())
            .map_err(|e| statement_error(&sql, e))
    }

    /// Runs a statement whose arguments are whole columns.
    pub async fn fetch_columns(
        &mut self,
        sql: String,
        columns: usize,
        rows: Vec<Vec<Val>>,
    ) -> Result<Vec<Row>, StoreError> {
        let columns = bind_columns(columns, rows);
        let query = sqlx::query_with(AssertSqlSafe(sql.clone()), columns);
        let answer = query.fetch_all(self.connection()).await;
        self.failed |= answer.is_err();
        answer.map(driven).map_err(|e| statement_error(&sql, e))
    }

    /// Commits. A commit that does not wait for the disk is still whole and in order after a crash of the server
    /// (`docs/durability.md`).
    pub async fn commit(
        mut self,
        durability: Durability,
        label: &'static str,
    ) -> Result<(), StoreError> {
        // The server would answer the COMMIT of a failed transaction by undoing it, without an error.
        if self.failed {
            return Err(StoreError::Undone);
        }
        crash::point(label, crash::Side::Before);
        let sql = match durability {
            Durability::Acknowledged => "COMMIT",
            Durability::Progress => "SET LOCAL synchronous_commit = off; COMMIT",
        };
        let outcome = self.connection().execute(sql).await;
        let connection = self.connection.take();
        if let Err(source) = outcome {
            if let Some(_connection) = connection {
                discard(_connection)
            }
            return Err(StoreError::Commit {
                source: Arc::new(source),
            });
        }
        crash::point(label, crash::Side::After);
        Ok(())
    }
}

impl Drop for Transaction {
    /// Undoes what was not committed.
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return discard(connection);
        };
        runtime.spawn(async move {
            if connection.execute("ROLLBACK").await.is_err() {
                discard(connection);
            }
        });
    }
}

async fn fetch(
    connection: &mut PgConnection,
    sql: String,
    args: Vec<Val>,
) -> Result<Vec<Row>, StoreError> {
    sqlx::query_with(AssertSqlSafe(sql.clone()), bind(args))
        .fetch_all(connection)
        .await
        .map(driven)
        .map_err(|e| statement_error(&sql, e))
}

fn driven(rows: Vec<sqlx::postgres::PgRow>) -> Vec<Row> {
    rows.into_iter()
        .map(|row| Row(Driven::Postgres(row)))
        .collect()
}

fn bind(args: Vec<Val>) -> PgArguments {
    let mut bound = PgArguments::default();
    for value in args {
        let added = match value {
            Val::Int(v) => bound.add(v),
            Val::Text(v) => bound.add(v.map(storable)),
            Val::Bool(v) => bound.add(v),
        };
        added.expect("encoding a number or a text cannot fail");
    }
    bound
}

/// One array for each column. A column's first value decides its type.
fn bind_columns(columns: usize, rows: Vec<Vec<Val>>) -> PgArguments {
    enum Array {
        Int(Vec<Option<i64>>),
        Text(Vec<Option<String>>),
        Bool(Vec<Option<bool>>),
    }
    let count = rows.len();
    let mut arrays: Vec<Array> = match rows.first() {
        None => Vec::new(),
        Some(first) => first
            .iter()
            .map(|value| match value {
                Val::Int(_) => Array::Int(Vec::with_capacity(count)),
                Val::Text(_) => Array::Text(Vec::with_capacity(count)),
                Val::Bool(_) => Array::Bool(Vec::with_capacity(count)),
            })
            .collect(),
    };
    debug_assert_eq!(arrays.len(), columns);
    for row in rows {
        for (array, value) in arrays.iter_mut().zip(row) {
            match (array, value) {
                (Array::Int(column), Val::Int(v)) => column.push(v),
                (Array::Text(column), Val::Text(v)) => column.push(v.map(storable)),
                (Array::Bool(column), Val::Bool(v)) => column.push(v),
                (Array::Int(column), _) => column.push(None),
                (Array::Text(column), _) => column.push(None),
                (Array::Bool(column), _) => column.push(None),
            }
        }
    }
    let mut bound = PgArguments::default();
    for array in arrays {
        let added = match array {
            Array::Int(column) => bound.add(column),
            Array::Text(column) => bound.add(column),
            Array::Bool(column) => bound.add(column),
        };
        added.expect("encoding numbers and texts cannot fail");
    }
    bound
}

/// `SELECT * FROM unnest($1, $2)`, typed by the first row.
pub(super) fn rows_of(first: &[Val]) -> String {
    let arrays: Vec<String> = first
        .iter()
        .zip(1..)
        .map(|(value, n)| {
            let kind = match value {
                Val::Int(_) => "bigint",
                Val::Text(_) => "text",
                Val::Bool(_) => "boolean",
            };
            format!("${n}::{kind}[]")
        })
        .collect();
    format!("SELECT * FROM unnest({})", arrays.join(", "))
}

/// PostgreSQL's texts hold every character but NUL, which what a job prints may hold.
fn storable(text: Cow<'static, str>) -> String {
    match text.contains('\0') {
        true => text.replace('\0', "\u{fffd}"),
        false => text.into_owned(),
    }
}
