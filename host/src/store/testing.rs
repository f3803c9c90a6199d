//! A store in a temporary directory, for tests.

use tempfile::TempDir;

use super::Store;
use super::db::Durability;
use crate::args;

/// Opens fresh stores.
pub struct TestStore;

impl TestStore {
    /// A fresh store; it goes when the directory is dropped.
    pub async fn open() -> (Store, TempDir) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open_sqlite(&dir.path().join("test.sqlite"))
            .await
            .expect("a fresh database opens");
        (store, dir)
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
