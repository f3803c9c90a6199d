//! The versions of the tables: which a database has, and which this program knows.

use std::sync::Arc;

use sqlx::Connection as _;
use sqlx::migrate::{Migrate, MigrateError, Migrator};
use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;

use super::error::StoreError;
use super::url::DatabaseUrl;
use super::{postgres, sqlite};

static SQLITE: Migrator = sqlx::migrate!("../migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("../migrations/postgres");

/// How a database stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaStatus {
    /// The version of its tables; 0 where there are none.
    pub found: i64,
    /// The newest version that this program knows.
    pub known: i64,
    /// What is still to be done, in order: number and name.
    pub pending: Vec<(i64, String)>,
}

/// Looks without changing anything. A file that is not there has no tables.
pub async fn schema_status(url: &DatabaseUrl) -> Result<SchemaStatus, StoreError> {
    let place = url.to_string();
    let failed = |action| failure(&place, action);
    match url {
        DatabaseUrl::Sqlite(path) => {
            if !path.exists() {
                return Ok(status(&SQLITE, &[]));
            }
            let mut connection = sqlite::look(path).await.map_err(failed("opened"))?;
            let applied = sqlite_versions(&mut connection).await;
            let _ = connection.close().await;
            Ok(status(&SQLITE, &applied.map_err(failed("read"))?))
        }
        DatabaseUrl::Postgres(url) => {
            let mut connection = postgres::connect(url).await.map_err(failed("reached"))?;
            let applied = postgres_versions(&mut connection).await;
            let _ = connection.close().await;
            Ok(status(&POSTGRES, &applied.map_err(failed("read"))?))
        }
    }
}

/// Creates the database file where it is missing and brings the tables up to date, under a lock on PostgreSQL.
pub async fn migrate(url: &DatabaseUrl) -> Result<(), StoreError> {
    let place = url.to_string();
    match url {
        DatabaseUrl::Sqlite(path) => {
            sqlite::make_private(path);
            let connection = sqlite::connect(path).await;
            let mut connection = connection.map_err(failure(&place, "opened"))?;
            let done = migrate_sqlite(&mut connection, &place).await;
            let _ = connection.close().await;
            done
        }
        DatabaseUrl::Postgres(url) => {
            let connection = postgres::connect(url).await;
            let mut connection = connection.map_err(failure(&place, "reached"))?;
            let done = migrate_postgres(&mut connection, &place).await;
            let _ = connection.close().await;
            done
        }
    }
}

pub(super) async fn migrate_sqlite(
    connection: &mut SqliteConnection,
    place: &str,
) -> Result<(), StoreError> {
    // Looked at first: another process may make our tables meanwhile.
    let tables = holds_tables(connection).await;
    let has_tables = tables.map_err(failure(place, "read"))?;
    let applied = sqlite_versions(connection).await;
    let applied = applied.map_err(failure(place, "read"))?;
    refuse_newer(&SQLITE, &applied, place)?;
    if has_tables && applied.is_empty() {
        return Err(StoreError::Foreign {
            place: place.to_owned(),
        });
    }
    run(&SQLITE, connection, place).await
}

pub(super) async fn migrate_postgres(
    connection: &mut PgConnection,
    place: &str,
) -> Result<(), StoreError> {
    let applied = postgres_versions(connection).await;
    let applied = applied.map_err(failure(place, "read"))?;
    refuse_newer(&POSTGRES, &applied, place)?;
    // Nothing to do: the lock need not be taken, so that servers can start while another one holds it.
    if status(&POSTGRES, &applied).pending.is_empty() {
        return Ok(());
    }
    run(&POSTGRES, connection, place).await
}

/// Applies what is missing up to `version`.
pub(super) async fn sqlite_to(
    connection: &mut SqliteConnection,
    version: i64,
    place: &str,
) -> Result<(), StoreError> {
    let done = SQLITE.run_direct(Some(version), connection, false).await;
    done.map_err(failure(place, "brought up to date"))
}

/// Applies what is missing up to `version`.
pub(super) async fn postgres_to(
    connection: &mut PgConnection,
    version: i64,
    place: &str,
) -> Result<(), StoreError> {
    let done = POSTGRES.run_direct(Some(version), connection, false).await;
    done.map_err(failure(place, "brought up to date"))
}

/// The versions that this program knows, in order.
pub fn known_versions() -> Vec<i64> {
    SQLITE.iter().map(|m| m.version).collect()
}

async fn run<C: Migrate>(
    migrator: &Migrator,
    connection: &mut C,
    place: &str,
) -> Result<(), StoreError> {
    match migrator.run_direct(None, connection, false).await {
        // A newer program was quicker.
        Err(MigrateError::VersionMissing(found)) => Err(StoreError::Newer {
            place: place.to_owned(),
            found,
            known: newest(migrator),
        }),
        done => done.map_err(failure(place, "brought up to date")),
    }
}

pub(super) fn failure<'a, E>(
    place: &'a str,
    action: &'static str,
) -> impl Fn(E) -> StoreError + use<'a, E>
where
    E: std::error::Error + Send + Sync + 'static,
{
    move |source| StoreError::Open {
        place: place.to_owned(),
        action,
        source: Arc::new(source),
    }
}

async fn sqlite_versions(connection: &mut SqliteConnection) -> Result<Vec<i64>, sqlx::Error> {
    let known: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM sqlite_schema WHERE name = '_sqlx_migrations'")
            .fetch_one(&mut *connection)
            .await?;
    if known == 0 {
        return Ok(Vec::new());
    }
    sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success ORDER BY version")
        .fetch_all(connection)
        .await
}

/// Whether a file in which nothing is ours has tables: it is another program's.
async fn holds_tables(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    let tables: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM sqlite_schema WHERE type = 'table' AND name <> '_sqlx_migrations' AND substr(name, 1, 7) <> 'sqlite_'",
    )
    .fetch_one(connection)
    .await?;
    Ok(tables > 0)
}

async fn postgres_versions(connection: &mut PgConnection) -> Result<Vec<i64>, sqlx::Error> {
    let known: bool = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await?;
    if !known {
        return Ok(Vec::new());
    }
    sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success ORDER BY version")
        .fetch_all(connection)
        .await
}

fn newest(migrator: &Migrator) -> i64 {
    migrator.iter().map(|m| m.version).max().unwrap_or(0)
}

fn status(migrator: &Migrator, applied: &[i64]) -> SchemaStatus {
    SchemaStatus {
        found: applied.iter().copied().max().unwrap_or(0),
        known: newest(migrator),
        pending: migrator
            .iter()
            .filter(|m| !applied.contains(&m.version))
            .map(|m| (m.version, m.description.to_string()))
            .collect(),
    }
}

fn refuse_newer(migrator: &Migrator, applied: &[i64], place: &str) -> Result<(), StoreError> {
    let SchemaStatus { found, known, .. } = status(migrator, applied);
    match found > known {
        true => Err(StoreError::Newer {
            place: place.to_owned(),
            found,
            known,
        }),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_databases_have_the_same_versions() {
        let names = |migrator: &Migrator| -> Vec<(i64, String)> {
            migrator
                .iter()
                .map(|m| (m.version, m.description.to_string()))
                .collect()
        };
        assert_eq!(names(&SQLITE), names(&POSTGRES));
    }

    #[test]
    fn another_programs_file_is_looked_at_without_a_change_and_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("other.sqlite");
        let url = DatabaseUrl::Sqlite(path.clone());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            std::fs::write(&path, "").expect("written");
            let mut other = sqlite::look(&path).await.expect("opened");
            let made = sqlx::query("CREATE TABLE a (b)").execute(&mut other);
            made.await.expect("made");
            other.close().await.expect("closed");
            let before = std::fs::read(&path).expect("read");
            let status = schema_status(&url).await.expect("looked at");
            assert_eq!(status.found, 0);
            assert_eq!(std::fs::read(&path).expect("read"), before);
            let refused = migrate(&url).await.expect_err("it is another's");
            assert!(matches!(refused, StoreError::Foreign { .. }), "{refused}");
            let mut other = sqlite::look(&path).await.expect("opened");
            let versions = sqlite_versions(&mut other).await.expect("read");
            assert!(versions.is_empty());
            other.close().await.expect("closed");
        });
    }

    #[test]
    fn a_newer_database_is_refused_naming_both_versions() {
        let known = newest(&SQLITE);
        assert!(refuse_newer(&SQLITE, &[1, known], "here").is_ok());
        let error = refuse_newer(&SQLITE, &[1, 9_999], "here").expect_err("it is newer");
        let text = error.to_string();
        assert!(
            text.contains("version 9999") && text.contains(&format!("version {known} ")),
            "{text}"
        );
    }
}
