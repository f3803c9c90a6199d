//! How often a plugin was called, how long it took and how it went wrong.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds of the duration buckets in microseconds; a last bucket takes the rest.
pub const BUCKET_BOUNDS_US: [u64; 16] = [
    1, 5, 10, 50, 100, 500, 1_000, 5_000, 10_000, 50_000, 100_000, 500_000, 1_000_000, 5_000_000,
    10_000_000, 60_000_000,
];

/// How a call can fail, as [`super::PluginCallError::code`] spells it.
pub const FAULTS: [&str; 5] = ["refused", "panicked", "timed_out", "lost", "invalid"];

/// The counters of one method.
#[derive(Debug)]
pub(super) struct Counters {
    pub method: &'static str,
    calls: AtomicU64,
    faults: [AtomicU64; FAULTS.len()],
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
    /// Those that failed, panics included; answers that broke a rule are not among them.
    pub errors: u64,
    /// Those that panicked.
    pub panics: u64,
    /// Answers that broke a rule.
    pub invalid: u64,
    /// All that went wrong, in the order of [`FAULTS`].
    pub faults: [u64; FAULTS.len()],
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
            faults: Default::default(),
            total_ns: AtomicU64::new(0),
            buckets: Default::default(),
        }
    }

    pub fn count_call(&self, took: Duration) {
        self.calls.fetch_add(1, Relaxed);
        self.total_ns
            .fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
        // A part of a microsecond counts as a whole one, so that no call is in a bucket below its duration.
        let micros = u64::try_from(took.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX);
        let bucket = BUCKET_BOUNDS_US.partition_point(|bound| *bound < micros);
        self.buckets[bucket].fetch_add(1, Relaxed);
    }

    /// `code` is one of [`FAULTS`].
    pub fn count_fault(&self, code: &str) {
        if let Some(at) = FAULTS.iter().position(|known| *known == code) {
            self.faults[at].fetch_add(1, Relaxed);
        }
    }

    pub fn read(&self) -> MethodStats {
        let faults: [u64; FAULTS.len()] = std::array::from_fn(|at| self.faults[at].load(Relaxed));
        let of = |code: &str| {
            let at = FAULTS.iter().position(|known| *known == code);
            at.map_or(0, |at| faults[at])
        };
        MethodStats {
            method: self.method,
            calls: self.calls.load(Relaxed),
            errors: faults.iter().sum::<u64>() - of("invalid"),
            panics: of("panicked"),
            invalid: of("invalid"),
            faults,
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
        counters.count_call(Duration::from_micros(10));
        counters.count_call(Duration::from_nanos(10_001));
        counters.count_call(Duration::from_secs(100));
        counters.count_fault("panicked");
        counters.count_fault("refused");
        counters.count_fault("invalid");
        let read = counters.read();
        assert_eq!((read.calls, read.errors, read.panics), (3, 2, 1));
        assert_eq!(read.faults, [1, 1, 0, 0, 1]);
        let filled: Vec<usize> = (0..read.buckets.len())
            .filter(|at| read.buckets[*at] > 0)
            .collect();
        assert_eq!(filled, [2, 3, 16]);
    }
}
