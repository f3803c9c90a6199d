//! Ids of rows that are made in bulk, handed out before the rows are written, so that one pass can link
//! jobs, datasets and collections to each other in memory and write each table with one statement.

use std::sync::atomic::{AtomicI64, Ordering};

use super::db::{Db, Query, StoreError};

macro_rules! ids {
    ($($(#[$doc:meta])* $field:ident => $table:literal),+ $(,)?) => {
        /// The next free id of each table that is written in bulk. An id whose transaction is undone is not reused.
        #[derive(Debug, Default)]
        pub struct Ids { $($field: AtomicI64),+ }

        impl Ids {
            /// Reads where each table ends. Only one server writes these tables.
            pub async fn load(db: &Db) -> Result<Ids, StoreError> {
                let ids = Ids::default();
                let mut reader = db.reader();
                $(
                    let row = reader
                        .maybe(concat!("SELECT COALESCE(MAX(id), 0) FROM ", $table), vec![])
                        .await?;
                    let last: i64 = row.map(|r| r.get(0)).transpose()?.unwrap_or(0);
                    ids.$field.store(last + 1, Ordering::SeqCst);
                )+
                Ok(ids)
            }

            $(
                $(#[$doc])*
                pub fn $field(&self) -> i64 { self.$field.fetch_add(1, Ordering::Relaxed) }
            )+
        }
    };
}

/// What the invoker gives to the rows it plans.
impl crate::invoker::writes::NewIds for Ids {
    fn hda(&self) -> i64 {
        Ids::hda(self)
    }
    fn dataset(&self) -> i64 {
        Ids::dataset(self)
    }
    fn collection(&self) -> i64 {
        Ids::collection(self)
    }
    fn element(&self) -> i64 {
        Ids::element(self)
    }
    fn hdca(&self) -> i64 {
        Ids::hdca(self)
    }
    fn job(&self) -> i64 {
        Ids::job(self)
    }
    fn implicit_collection_jobs(&self) -> i64 {
        Ids::implicit_collection_jobs(self)
    }
    fn invocation_step(&self) -> i64 {
        Ids::invocation_step(self)
    }
}

ids! {
    history => "history",
    dataset => "dataset",
    hda => "history_dataset_association",
    collection => "dataset_collection",
    element => "dataset_collection_element",
    hdca => "history_dataset_collection_association",
    job => "job",
    implicit_collection_jobs => "implicit_collection_jobs",
    stored_workflow => "stored_workflow",
    workflow => "workflow",
    workflow_step => "workflow_step",
    workflow_step_input => "workflow_step_input",
    workflow_output => "workflow_output",
    invocation => "workflow_invocation",
    invocation_step => "workflow_invocation_step",
    dynamic_tool => "dynamic_tool",
}
