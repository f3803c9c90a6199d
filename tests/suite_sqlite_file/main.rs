//! What is about SQLite's file: on PostgreSQL it is otherwise or not at all.

mod one_server;
