//! Everything that is stored: one file per noun with its statements, over [`db`], the one place that knows the driver.

pub mod crash;
pub mod db;
mod writer;

pub use db::{Db, Durability, Query, Reader, Row, StoreError, Tx};
