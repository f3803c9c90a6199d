//! Counters of this process that cost nothing to keep, for `/metrics`.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// A number that only grows.
#[derive(Debug)]
pub struct Counter(AtomicU64);

impl Counter {
    const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that is replaced.
#[derive(Debug)]
pub struct Gauge(AtomicI64);

impl Gauge {
    const fn new() -> Self {
        Self(AtomicI64::new(0))
    }

    pub fn set(&self, value: u64) {
        self.0
            .store(i64::try_from(value).unwrap_or(i64::MAX), Relaxed);
    }

    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// Invocations that requests made.
pub static INVOCATIONS_CREATED: Counter = Counter::new();
/// Invocations that are not scheduled any more: all their steps are, or they failed or were cancelled.
pub static INVOCATIONS_SCHEDULED: Counter = Counter::new();
pub static INVOCATIONS_FAILED: Counter = Counter::new();
pub static INVOCATIONS_CANCELLED: Counter = Counter::new();
/// Iterations of invocations that were stored.
pub static ITERATIONS: Counter = Counter::new();
/// Jobs handed over to runners.
pub static JOBS_STARTED: Counter = Counter::new();
/// Ends of jobs that were stored: well, and otherwise.
pub static JOBS_OK: Counter = Counter::new();
pub static JOBS_NOT_OK: Counter = Counter::new();
/// Ready jobs that no runner has, as far as they are in memory.
pub static JOBS_READY: Gauge = Gauge::new();
/// Transactions that were committed.
pub static COMMITS: Counter = Counter::new();
/// When the lease was renewed last, milliseconds since 1970; 0: never.
pub static LEASE_RENEWED_MS: Gauge = Gauge::new();
