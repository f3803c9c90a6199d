//! Fresh stores for tests. A test runs on SQLite, and once more on PostgreSQL if it is named in `on_postgres_too!` at the end
//! of its file.

pub(crate) mod databases;

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
