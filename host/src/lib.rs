//! Barycenter
