//! Fresh stores for tests. A test runs on SQLite, and once more on PostgreSQL if it is named in `on_postgres_too!` at the end
//! of its file.

pub(crate) mod databases;
pub(crate) mod given;
mod rivals;

use databases::TestDatabase;
pub(crate) use databases::on_postgres_too;

use super::Store;
use super::db::Durability;
use crate::args;

/// Opens fresh stores.
pub struct TestStore;

impl TestStore {
    /// A fresh store; it goes when the database is dropped.
    pub async fn open() -> (Store, TestDatabase) {
        let database = TestDatabase::fresh();
        let store = TestStore::open_again(&database).await;
        (store, database)
    }

    /// A store as another process would have it.
    pub async fn open_again(database: &TestDatabase) -> Store {
        let url = database.url().parse().expect("a URL");
        Store::open(&url).await.expect("the database opens")
    }
}

/// How the database would answer a statement, line by line. PostgreSQL, for which every table of a test is small, is asked
/// what it would do if it had to avoid scans and sorting.
pub async fn plan(store: &Store, sql: &str, args: Vec<super::db::Val>) -> Vec<String> {
    use super::db::{Dialect, Query as _};
    let mut tx = store.begin().await.expect("begins");
    let (explain, column) = match store.db.dialect() {
        Dialect::Sqlite => ("EXPLAIN QUERY PLAN", "detail"),
        Dialect::Postgres => {
            for setting in [
                "seqscan",
                "sort",
                "bitmapscan",
                "hashjoin",
                "mergejoin",
                "hashagg",
            ] {
                let sql = format!("SET LOCAL enable_{setting} = off");
                tx.run(sql, args![]).await.expect("set");
            }
            ("EXPLAIN", "QUERY PLAN")
        }
    };
    let rows = tx.all(format!("{explain} {sql}"), args).await;
    let rows = rows.expect("a plan");
    rows.iter()
        .map(|row| row.get(column).expect("a line"))
        .collect()
}

/// Adds a user; answers the id.
pub async fn add_user(store: &Store, name: &str) -> i64 {
    use super::db::Query as _;
    let mut tx = store.begin().await.expect("begins");
    tx.run(
        "INSERT INTO galaxy_user (username, email, create_time, update_time) VALUES ($1, $2, 1, 1)",
        args![name, format!("{name}@example.org")],
    )
    .await
    .expect("a new name");
    let row = tx
        .maybe(
            "SELECT id FROM galaxy_user WHERE username = $1",
            args![name],
        )
        .await
        .expect("reads");
    let id = row.expect("just written").get("id").expect("a number");
    tx.commit(Durability::Progress, "test")
        .await
        .expect("commits");
    id
}
