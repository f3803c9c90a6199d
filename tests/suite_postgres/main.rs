//! The suite once more with servers on PostgreSQL, as `postgres::…`, and what is about PostgreSQL alone.

#[path = "../suite/main.rs"]
mod postgres;
