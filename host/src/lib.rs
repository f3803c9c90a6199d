//! Barycenter

pub mod formats;
pub mod model;
