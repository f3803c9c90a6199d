//! The whole system from outside: the real server, its real plugins, HTTP and the command line. One file per theme.

mod api;
mod author_kit;
mod bad_input;
mod clients;
mod command_line;
mod crash_points;
mod database;
mod dry_runs;
mod durability;
mod events;
mod fair_share;
mod faults;
mod fetching;
mod hooks;
mod isolation;
mod jobs;
mod lifecycle;
mod main_job;
mod metrics;
mod passive;
mod plugin_border;
mod requests;
mod start_up;
mod storm;
mod wait_until;
mod wes;
