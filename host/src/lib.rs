//! Barycenter

pub mod tools;
