//! What can go wrong with the database.

use std::sync::Arc;
use std::time::Duration;

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
    /// The database was written by a newer version of this program.
    #[error(
        "the database {place} is at version {found} of its tables, and this program knows them up to version {known} only; \
         start the newer program it was last used with"
    )]
    Newer {
        place: String,
        found: i64,
        known: i64,
    },
    /// A file with tables, none of which are this program's.
    #[error(
        "the database {place} holds another program's tables and nothing of Barycenter's; name another with --data-dir or \
         --database-url"
    )]
    Foreign { place: String },
    /// No connection became free, or none could be made, in time.
    #[error("no connection to the database within {} s", waited.as_secs_f32())]
    NoConnection {
        waited: Duration,
        #[source]
        source: Arc<sqlx::Error>,
    },
    /// Another process took over what `name` held, as its lease was over: it must not write any more.
    #[error("another server has taken over what {name} held")]
    Fenced { name: String },
    /// Somebody tried to commit a transaction in which a statement had failed. PostgreSQL undoes it as a whole.
    #[error("a statement of the transaction had failed, so it was undone")]
    Undone,
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
        matches!(
            self.driver(),
            Some(sqlx::Error::Database(e)) if e.is_unique_violation() || e.is_foreign_key_violation()
        )
    }

    /// Whether the database could not do it just now, whatever it was: it is away, full, overloaded or busy. The same
    /// may succeed later; a client is told 503.
    pub fn is_unavailable(&self) -> bool {
        match self {
            StoreError::NoConnection { .. } | StoreError::Sync { .. } => true,
            _ => self.driver().is_some_and(is_trouble) || self.is_conflict(),
        }
    }

    /// Whether the database undid the transaction in favour of another one (a deadlock): the whole of it can be
    /// repeated at once.
    pub fn is_conflict(&self) -> bool {
        matches!(
            self.driver().and_then(postgres_code).as_deref(),
            Some("40001" | "40P01")
        )
    }

    /// Whether another process has taken over what this one held: it will never be stored from here.
    pub fn is_fenced(&self) -> bool {
        matches!(self, StoreError::Fenced { .. })
    }

    /// Whether the connection broke before the statement was answered.
    pub(super) fn is_lost_connection(&self) -> bool {
        self.driver().is_some_and(|e| match e {
            sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => true,
            e => postgres_code(e).is_some_and(|code| code.starts_with("57P")),
        })
    }

    fn driver(&self) -> Option<&sqlx::Error> {
        match self {
            StoreError::Statement { source, .. }
            | StoreError::Column { source, .. }
            | StoreError::Commit { source }
            | StoreError::NoConnection { source, .. } => Some(source),
            StoreError::Open { source, .. } => match source.downcast_ref::<sqlx::Error>() {
                Some(e) => Some(e),
                None => match source.downcast_ref::<sqlx::migrate::MigrateError>() {
                    Some(sqlx::migrate::MigrateError::Execute(e)) => Some(e),
                    _ => None,
                },
            },
            _ => None,
        }
    }
}

fn is_trouble(error: &sqlx::Error) -> bool {
    use sqlx::Error as E;
    match error {
        E::Io(_) | E::Tls(_) | E::PoolTimedOut | E::PoolClosed | E::WorkerCrashed => true,
        E::Protocol(_) => true,
        E::Database(e) => match (postgres_code(error), e.code()) {
            (Some(code), _) => is_postgres_trouble(&code),
            (None, Some(code)) => code.parse().is_ok_and(is_sqlite_trouble),
            (None, None) => false,
        },
        _ => false,
    }
}

fn postgres_code(error: &sqlx::Error) -> Option<String> {
    match error {
        sqlx::Error::Database(e) => e
            .try_downcast_ref::<sqlx::postgres::PgDatabaseError>()
            .map(|e| e.code().to_owned()),
        _ => None,
    }
}

/// Connections (08), resources (53), the operator (57P), the system (58), a server that only reads (25006), a time-out
/// (57014, 55P03).
fn is_postgres_trouble(code: &str) -> bool {
    ["08", "53", "57P", "58"]
        .iter()
        .any(|class| code.starts_with(class))
        || ["25006", "57014", "55P03"].contains(&code)
}

/// BUSY, LOCKED, NOMEM, READONLY, IOERR, FULL, CANTOPEN, PROTOCOL, whatever the details.
fn is_sqlite_trouble(code: i64) -> bool {
    [5, 6, 7, 8, 10, 13, 14, 15].contains(&(code & 0xff))
}

pub(super) fn statement_error(sql: &str, source: sqlx::Error) -> StoreError {
    let line = sql.lines().map(str::trim).find(|l| !l.is_empty());
    StoreError::Statement {
        statement: line.unwrap_or("").chars().take(120).collect(),
        source: Arc::new(source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_told_from_refusals() {
        let statement = |source| statement_error("SELECT 1", source);
        assert!(statement(sqlx::Error::PoolTimedOut).is_unavailable());
        assert!(statement(std::io::Error::other("gone").into()).is_unavailable());
        assert!(!statement(sqlx::Error::RowNotFound).is_unavailable());
        // BUSY_SNAPSHOT, IOERR_FSYNC, FULL; CONSTRAINT_UNIQUE, ERROR.
        assert!([517, 1034, 13].into_iter().all(is_sqlite_trouble));
        assert!(![2067, 1].into_iter().any(is_sqlite_trouble));
        assert!(
            ["53100", "57P01", "08006", "58030"]
                .into_iter()
                .all(is_postgres_trouble)
        );
        assert!(
            !["23505", "42601", "22021"]
                .into_iter()
                .any(is_postgres_trouble)
        );
    }
}
