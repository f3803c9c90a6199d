//! How often a plugin was called, how long it took and how it went wrong.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds of the duration buckets in microseconds; a last bucket takes the rest.
pub const BUCKET_BOUNDS_US: [u64; 8] = [
    10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 60_000_000,
];

/// The counters of one method.
#[derive(Debug)]
pub(super) struct Counters {
    pub method: &'static str,
    calls: AtomicU64,
    errors: AtomicU64,
    panics: AtomicU64,
    invalid: AtomicU64,
    total_ns: AtomicU64,
    buckets: [AtomicU64; BUCKET_BOUNDS_US.len() + 1],
}

/// A reading of the counters of one method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MethodStats {
    /// The method's name.
    pub method: &'static str,
    /// Calls that came back.
    pub calls: u64,
    /// Those that failed, panics included.
    pub errors: u64,
    /// Those that panicked.
    pub panics: u64,
    /// Answers that broke a rule.
    pub invalid: u64,
    /// Time spent in all calls.
    pub total: Duration,
    /// Calls by duration, one more than [`BUCKET_BOUNDS_US`].
    pub buckets: [u64; BUCKET_BOUNDS_US.len() + 1],
}

impl Counters {
    pub fn new(method: &'static str) -> Self {
        Self {
            method,
            calls: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            invalid: AtomicU64::new(0),
            total_ns: AtomicU64::new(0),
            buckets: Default::default(),
        }
    }

    pub fn count_call(&self, took: Duration, failed: bool, panicked: bool) {
        self.calls.fetch_add(1, Relaxed);
        self.errors.fetch_add(u64::from(failed), Relaxed);
        self.panics.fetch_add(u64::from(panicked), Relaxed);
        self.total_ns
            .fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKET_BOUNDS_US.partition_point(|bound| *bound < micros);
        self.buckets[bucket].fetch_add(1, Relaxed);
    }

    pub fn count_invalid(&self) {
        self.invalid.fetch_add(1, Relaxed);
    }

    pub fn read(&self) -> MethodStats {
        MethodStats {
            method: self.method,
            calls: self.calls.load(Relaxed),
            errors: self.errors.load(Relaxed),
            panics: self.panics.load(Relaxed),
            invalid: self.invalid.load(Relaxed),
            total: Duration::from_nanos(self.total_ns.load(Relaxed)),
            buckets: std::array::from_fn(|at| self.buckets[at].load(Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_in_the_bucket_of_their_duration() {
        let counters = Counters::new("plan");
        counters.count_call(Duration::from_micros(10), false, false);
        counters.count_call(Duration::from_micros(11), true, true);
        counters.count_call(Duration::from_secs(100), true, false);
        let read = counters.read();
        assert_eq!((read.calls, read.errors, read.panics), (3, 2, 1));
        assert_eq!(read.buckets, [1, 1, 0, 0, 0, 0, 0, 0, 1]);
    }
}
