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
pub mod installation;
pub mod invocations;
pub mod jobs;
pub mod provenance;
pub mod scheduling;
pub mod sharing;
pub mod short_term_storage;
#[cfg(test)]
pub(crate) mod testing;
pub mod uploads;
pub mod users;
pub mod wes;
pub mod workflows;
mod writer;

use std::path::Path;
use std::sync::Arc;

pub use db::{Db, Durability, Query, Reader, Row, StoreError, Tx};
pub use ids::Ids;

/// The opened store: the database and the ids it will give out. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pub db: Db,
    pub ids: Arc<Ids>,
}

impl Store {
    /// Opens, creates and migrates the database in a file.
    pub async fn open_sqlite(path: &Path) -> Result<Store, StoreError> {
        let db = Db::open_sqlite(path).await?;
        let ids = Arc::new(Ids::load(&db).await?);
        Ok(Store { db, ids })
    }

    /// See [`Db::reader`].
    pub fn reader(&self) -> Reader {
        self.db.reader()
    }

    /// Whether the database answers.
    pub async fn is_reachable(&self) -> bool {
        self.reader().maybe("SELECT 1", Vec::new()).await.is_ok()
    }

    /// See [`Db::begin`].
    pub async fn begin(&self) -> Result<Tx, StoreError> {
        self.db.begin().await
    }
}
