//! Everything that is stored: one file per noun with its statements, over [`db`], the one place that knows the driver.

pub mod collections;
pub mod crash;
pub mod datasets;
pub mod db;
pub mod dynamic_tools;
pub mod files;
pub mod filter;
pub mod handlers;
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
pub mod tool_requests;
pub mod upkeep;
pub mod uploads;
pub mod users;
pub mod wes;
pub mod workflows;

use std::path::Path;
use std::sync::Arc;

pub use db::{DatabaseUrl, Db, Durability, Fence, Limits, Query, Reader, Row, StoreError, Tx};
pub use ids::Ids;

/// The opened store: the database and the ids it will give out. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pub db: Db,
    pub ids: Arc<Ids>,
    fence: Option<Arc<Fence>>,
    /// Fences count on a file as well: see [`Store::for_several`].
    is_for_several: bool,
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
        Ok(Store {
            db,
            ids,
            fence: None,
            is_for_several: false,
        })
    }

    /// The same file for several servers that one process plays, as simulations do: fences keep them apart, as they do
    /// processes on PostgreSQL. The servers that people run have their file to themselves and need no such look.
    pub fn for_several(&self) -> Store {
        Store {
            is_for_several: true,
            ..self.clone()
        }
    }

    /// See [`Db::reader`].
    pub fn reader(&self) -> Reader {
        self.db.reader()
    }

    /// Whether other processes may use this database at the same time.
    pub fn is_shared(&self) -> bool {
        self.db.is_shared()
    }

    /// Now, in milliseconds since 1970, by a clock that all who share the database have in common.
    pub async fn shared_now_ms(&self) -> Result<i64, StoreError> {
        self.db.shared_now_ms().await
    }

    /// The same store behind a fence: its transactions fail once another process has taken over.
    pub fn fenced(&self, fence: Arc<Fence>) -> Store {
        Store {
            fence: Some(fence),
            ..self.clone()
        }
    }

    /// Tells the others that `name` has more ready jobs than its runners take.
    pub async fn tell_backlog(&self, name: &str) -> Result<(), StoreError> {
        self.db.tell(&format!("backlog {name}")).await
    }

    /// Returns if the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.reader().maybe("SELECT 1", Vec::new()).await.map(drop)
    }

    /// See [`Db::begin`].
    pub async fn begin(&self) -> Result<Tx, StoreError> {
        let mut tx = self.db.begin_behind(self.fence.as_deref()).await?;
        if let Some(fence) = self.fence.as_ref().filter(|_| self.is_for_several) {
            handlers::stay_behind(&mut tx, fence).await?;
        }
        Ok(tx)
    }
}
