//! Barycenter

pub mod model;
