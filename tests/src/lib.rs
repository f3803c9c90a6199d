//! What the whole-system tests in `suite/` are written with: a server as a child process, a client for it, fixtures.

pub mod build;
pub mod client;
pub mod database;
pub mod left_out;
pub mod processes;
pub mod room;
pub mod rows;
pub mod server;
pub mod wait;
pub mod workflows;

pub use client::{Answer, Client};
pub use database::Database;
pub use server::{Setup, TestServer};
pub use wait::{eventually, until};
