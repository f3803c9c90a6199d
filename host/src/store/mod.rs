//! Everything that is stored: one file per noun with its statements, over [`db`], the one place that knows the driver.

pub mod collections;
pub mod crash;
pub mod datasets;
pub mod db;
pub mod dynamic_tools;
pub mod files;
pub mod filter;
pub mod histories;
pub mod ids;
pub mod invocations;
pub mod jobs;
pub mod provenance;
pub mod scheduling;
#[cfg(test)]
pub(crate) mod testing;
pub mod upkeep;
pub mod uploads;
pub mod users;
pub mod wes;
pub mod workflows;

use std::path::Path;
use std::sync::Arc;

pub use db::{DatabaseUrl, Db, Durability, Limits, Query, Reader, Row, StoreError, Tx};
pub use ids::Ids;

/// The opened store: the database and the ids it will give out. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pub db: Db,
    pub ids: Arc<Ids>,
}

impl Store {
    /// Opens and migrates a database, with the usual limits; a file is created.
    pub async fn open(url: &DatabaseUrl) -> Result<Store, StoreError> {
        Store::open_with(url, &Limits::usual(url)).await
    }

    /// Opens, creates and migrates the database in a file.
    pub async fn open_sqlite(path: &Path) -> Result<Store, StoreError> {
        Store::open(&DatabaseUrl::Sqlite(path.to_owned())).await
    }

    /// Opens and migrates a database.
    pub async fn open_with(url: &DatabaseUrl, limits: &Limits) -> Result<Store, StoreError> {
        let db = Db::open(url, limits).await?;
        let ids = Arc::new(Ids::load(&db).await?);
        Ok(Store { db, ids })
    }

    /// See [`Db::reader`].
    pub fn reader(&self) -> Reader {
        self.db.reader()
    }

    /// Returns if the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.reader().maybe("SELECT 1", Vec::new()).await.map(drop)
    }

    /// See [`Db::begin`].
    pub async fn begin(&self) -> Result<Tx, StoreError> {
        self.db.begin().await
    }
}
