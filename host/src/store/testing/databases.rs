//! A fresh database for each test: a file, or a database on the server that `BARYCENTER_TEST_POSTGRES` names. Needs nothing
//! of this crate but its migrations, so that integration tests can use the file as it is.

use std::cell::Cell;
use std::path::Path;
use std::str::FromStr as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Once, OnceLock};

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _};
use tempfile::TempDir;

/// A server where databases can be made.
const SERVER: &str = "BARYCENTER_TEST_POSTGRES";

thread_local! {
    static ON_POSTGRES: Cell<bool> = const { Cell::new(false) };
}

/// Runs a test with PostgreSQL for its databases.
pub fn on_postgres(test: fn()) {
    if std::env::var_os(SERVER).is_none() {
        return left_out();
    }
    ON_POSTGRES.set(true);
    test();
    ON_POSTGRES.set(false);
}

/// Each of these tests once more, on PostgreSQL: `on_postgres::NAME`.
macro_rules! on_postgres_too {
    ($run:path => $($test:ident),+ $(,)?) => {
        mod on_postgres {
            $(
                #[test]
                fn $test() {
                    $run(super::$test);
                }
            )+
        }
    };
    ($($test:ident),+ $(,)?) => {
        $crate::store::testing::on_postgres_too! {
            $crate::store::testing::databases::on_postgres => $($test),+
        }
    };
}
pub(crate) use on_postgres_too;

fn left_out() {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        let line = "the store on PostgreSQL: set BARYCENTER_TEST_POSTGRES to the URL of a server where databases can be made";
        eprintln!("LEFT OUT: {line}");
        let Some(path) = std::env::var_os("BARYCENTER_TEST_LEFT_OUT") else {
            return;
        };
        use std::io::Write as _;
        let mut options = std::fs::OpenOptions::new();
        let file = options.append(true).create(true).open(path);
        let written = file.and_then(|mut file| writeln!(file, "{line}"));
        written.expect("the note of what is left out can be written");
    });
}

/// A database that goes when this is dropped, and a directory beside it that goes as well.
pub struct TestDatabase {
    url: String,
    /// Its name on the server.
    name: Option<String>,
    directory: TempDir,
}

impl TestDatabase {
    /// A new one, without any row.
    pub fn fresh() -> TestDatabase {
        let directory = tempfile::tempdir().expect("a temporary directory");
        if !ON_POSTGRES.get() {
            let url = format!("sqlite://{}/db.sqlite", directory.path().display());
            return TestDatabase {
                url,
                name: None,
                directory,
            };
        }
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("barycenter_test_{}_{number}", std::process::id());
        let create = format!("CREATE DATABASE {name} TEMPLATE {}", template());
        on_server(vec![format!("DROP DATABASE IF EXISTS {name}"), create]);
        TestDatabase {
            url: url_of(&name),
            name: Some(name),
            directory,
        }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// The directory beside it.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            on_server(vec![format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")]);
        }
    }
}

fn server() -> PgConnectOptions {
    let url = std::env::var(SERVER).expect("looked at before");
    let options = PgConnectOptions::from_str(&url).expect("BARYCENTER_TEST_POSTGRES is a URL");
    options.disable_statement_logging()
}

fn url_of(database: &str) -> String {
    server().database(database).to_url_lossy().to_string()
}

/// The name of a database with all tables, which the others are copied from. Made once for each set of migrations.
fn template() -> &'static str {
    static TEMPLATE: OnceLock<String> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        blocking(async {
            let migrator = sqlx::migrate!("../migrations/postgres");
            let mut fingerprint = 0_u64;
            for migration in migrator.iter() {
                for byte in migration.checksum.iter() {
                    fingerprint = fingerprint.wrapping_mul(1_099_511_628_211) ^ u64::from(*byte);
                }
            }
            let name = format!("barycenter_template_{fingerprint:016x}");
            let mut server = server().connect().await.expect("the server answers");
            let mut run = async |sql: String| {
                let done = server.execute(AssertSqlSafe(sql.clone())).await;
                done.unwrap_or_else(|e| panic!("{sql}: {e}"))
                    .rows_affected()
            };
            run("SELECT pg_advisory_lock(7241906)".to_owned()).await;
            let there = format!("SELECT 1 FROM pg_database WHERE datname = '{name}'");
            if run(there).await == 0 {
                let draft = format!("{name}_draft");
                run(format!("DROP DATABASE IF EXISTS {draft}")).await;
                run(format!("CREATE DATABASE {draft}")).await;
                let options = PgConnectOptions::from_str(&url_of(&draft)).expect("a URL");
                let mut connection: PgConnection = options.connect().await.expect("it is there");
                let migrated = migrator.run_direct(None, &mut connection, false).await;
                migrated.expect("the migrations run");
                connection.close().await.expect("closes");
                run(format!("ALTER DATABASE {draft} RENAME TO {name}")).await;
            }
            run("SELECT pg_advisory_unlock(7241906)".to_owned()).await;
            server.close().await.expect("closes");
            name
        })
    })
}

fn on_server(statements: Vec<String>) {
    blocking(async {
        let mut server = server().connect().await.expect("the server answers");
        for sql in statements {
            let done = server.execute(AssertSqlSafe(sql.clone())).await;
            done.unwrap_or_else(|e| panic!("{sql}: {e}"));
        }
        server.close().await.expect("closes");
    });
}

/// Runs a future to its end on a thread of its own: whoever waits here may be inside a runtime.
fn blocking<T: Send>(future: impl Future<Output = T> + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime").block_on(future)
        });
        thread.join().expect("the test database's thread ends well")
    })
}
