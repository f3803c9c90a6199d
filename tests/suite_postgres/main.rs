//! The suite once more with servers on PostgreSQL, as `postgres::…`, and what is about PostgreSQL alone.

mod away;
mod handlers;
mod moving;
#[path = "../suite/main.rs"]
mod postgres;
mod tls;
