//! Barycenter

pub mod plugins;
