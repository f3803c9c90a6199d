//! The whole system from outside: the real server, its real plugins, HTTP and the command line. One file per theme.

mod api;
mod author_kit;
mod bad_input;
mod clients;
mod command_line;
mod durability;
mod events;
mod jobs;
mod main_job;
mod start_up;
mod wes;
