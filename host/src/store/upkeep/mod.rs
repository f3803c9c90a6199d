//! The upkeep of a database: backup, restoring, copying from one kind to the other, looking for what should not be.
//!
//! All of it goes by the tables that are there, so a new table needs nothing here.

mod archive;
mod check;
mod status;
mod transfer;

use std::io;
use std::path::PathBuf;

use super::db::StoreError;

pub use archive::{Archive, backup};
pub use check::{Finding, check};
pub use status::{Status, migrate, status};
pub use transfer::{Counted, copy, restore};

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum UpkeepError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the file {path} could not be {action}")]
    File {
        path: PathBuf,
        action: &'static str,
        #[source]
        source: io::Error,
    },
    /// A sentence with a remedy.
    #[error("{0}")]
    Refused(String),
    #[error("the backup {path} is damaged or was cut off: {what}, in line {line}")]
    Damaged {
        path: PathBuf,
        line: u64,
        what: String,
    },
    /// What was written is not what was read.
    #[error("{place} does not hold what was written to it: {what}; nothing of it was kept")]
    Differs { place: String, what: String },
}

impl UpkeepError {
    fn refused(sentence: impl Into<String>) -> UpkeepError {
        UpkeepError::Refused(sentence.into())
    }
}

/// Told while work goes on: which table, and how many of its rows are done.
pub type Progress<'a> = &'a mut (dyn FnMut(&str, u64) + Send);
