//! Barycenter: a workflow scheduling server whose schedulers, step types and job runners are plugins.

pub mod store;
