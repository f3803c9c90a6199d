//! The database of a test's server: a file in its data directory, or one made for it in the PostgreSQL that
//! `BARYCENTER_TEST_POSTGRES` names. Which of the two is decided by the test program: `suite` or `suite_postgres`.

use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, SqliteConnection};

use crate::build;
use crate::server::clean;

/// Names the PostgreSQL of the tests: a database there, with the rights to make others.
const VARIABLE: &str = "BARYCENTER_TEST_POSTGRES";
/// Test programs for PostgreSQL have names that end like this.
const POSTGRES_PROGRAM: &str = "_postgres";

/// A database, which goes when this is dropped.
pub struct Database {
    /// As `--database-url` takes it.
    pub url: String,
    /// Its name in PostgreSQL.
    name: Option<String>,
}

/// Whether this test program is the one for PostgreSQL.
pub fn is_postgres() -> bool {
    static ANSWER: LazyLock<bool> = LazyLock::new(|| {
        let program = std::env::current_exe().expect("this test has a path");
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        // suite_postgres-0123456789abcdef
        let name = name.rsplit_once('-').map_or(&*name, |(name, _)| name);
        name.ends_with(POSTGRES_PROGRAM)
    });
    *ANSWER
}

impl Database {
    /// A fresh one for the server with this data directory, of the kind that this program tests. It has all tables.
    pub fn for_server(data_dir: &Path) -> Database {
        match is_postgres() {
            true => Database::postgres(),
            false => Database::sqlite(&data_dir.join("barycenter.sqlite")),
        }
    }

    /// A file, which is made when it is first opened.
    pub fn sqlite(file: &Path) -> Database {
        Database {
            url: format!("sqlite://{}", file.display()),
            name: None,
        }
    }

    /// In PostgreSQL, with all tables.
    pub fn postgres() -> Database {
        Database::copied_from(&TEMPLATE)
    }

    /// In PostgreSQL, without tables.
    pub fn empty_postgres() -> Database {
        Database::copied_from("template0")
    }

    fn copied_from(template: &str) -> Database {
        let name = new_name("server");
        execute(&format!("CREATE DATABASE {name} TEMPLATE {template}"));
        Database {
            url: url_of(&name),
            name: Some(name),
        }
    }

    /// A second one of the same kind without tables, for the server with this data directory.
    pub fn empty_for_server(data_dir: &Path) -> Database {
        match is_postgres() {
            true => Database::empty_postgres(),
            false => Database::sqlite(&data_dir.join("barycenter.sqlite")),
        }
    }

    /// Runs statements in it, as somebody else would while no server uses it.
    pub fn execute(&self, statements: &str) {
        let statements = AssertSqlSafe(statements.to_owned());
        let done = on_runtime(async {
            match self.name {
                Some(_) => {
                    let mut connection = PgConnection::connect(&self.url).await?;
                    connection.execute(statements).await?;
                    connection.close().await
                }
                None => {
                    let mut connection = SqliteConnection::connect(&self.url).await?;
                    connection.execute(statements).await?;
                    connection.close().await
                }
            }
        });
        done.expect("the statements are accepted");
    }

    /// Ends every connection to it and refuses new ones, as if it were away.
    pub fn close_doors(&self) {
        let name = self.name.as_ref().expect("a database in PostgreSQL");
        execute(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false"));
        execute(&format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        ));
    }

    /// Takes connections again.
    pub fn open_doors(&self) {
        let name = self.name.as_ref().expect("a database in PostgreSQL");
        execute(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true"));
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            let statement = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
            // A test that failed may be why; its own message matters more.
            if let Err(error) = try_execute(&statement) {
                eprintln!("{statement}: {error}");
            }
        }
    }
}

/// A database with all tables that others are copied from: that is faster than making the tables each time.
static TEMPLATE: LazyLock<String> = LazyLock::new(|| {
    let name = new_name("template");
    execute(&format!("CREATE DATABASE {name} TEMPLATE template0"));
    let mut command = Command::new(build::binary());
    let url = url_of(&name);
    clean(&mut command).args(["db", "migrate", "--database-url", &url]);
    let output = command.output().expect("the program runs");
    assert!(output.status.success(), "{output:?}");
    name
});

fn new_name(what: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("test_{what}_{}_{number}", std::process::id())
}

fn given() -> String {
    std::env::var(VARIABLE).unwrap_or_else(|_| {
        panic!("{VARIABLE} names no PostgreSQL; `cargo xtask test` starts one, as does `cargo xtask postgres`")
    })
}

/// The given URL with another database in it.
fn url_of(name: &str) -> String {
    let given = given();
    let (address, query) = given.split_once('?').unwrap_or((&given, ""));
    let (server, _) = address.rsplit_once('/').expect("a URL with a database");
    format!("{server}/{name}?{query}")
}

/// Runs a statement in the given database.
fn execute(statement: &str) {
    try_execute(statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
}

fn try_execute(statement: &str) -> Result<(), sqlx::Error> {
    on_runtime(async {
        let mut connection = PgConnection::connect(&given()).await?;
        connection.execute(AssertSqlSafe(statement)).await?;
        connection.close().await
    })
}

/// Runs something asynchronous to its end.
pub fn on_runtime<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(work)
}
