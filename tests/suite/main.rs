//! The whole system from outside: the real server, its real plugins, HTTP and the command line. One file per theme.

mod durability;
mod main_job;
mod wes;
