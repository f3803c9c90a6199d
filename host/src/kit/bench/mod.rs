//! `barycenter plugin bench`: what a scheduler costs, and how well it schedules.

pub mod baseline;
pub mod latency;
pub mod simulation;
pub mod workloads;
