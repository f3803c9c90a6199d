//! Waiting for conditions, never for times.

use std::time::{Duration, Instant};

/// How long anything may take on a machine that is busy with other things.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Asks again until there is something; fails with `what` when the deadline has passed.
#[track_caller]
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    let mut pause = Duration::from_millis(5);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "waited {DEADLINE:?} in vain: {what}");
        std::thread::sleep(pause);
        pause = (pause * 3 / 2).min(Duration::from_millis(100));
    }
}

/// Asks again until it holds.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    until(what, || holds().then_some(()));
}

/// As [`until`], for callers who want to say themselves what went wrong.
pub fn until_told<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + DEADLINE;
    loop {
        match look() {
            Some(found) => return Some(found),
            None if Instant::now() >= end => return None,
            None => std::thread::sleep(Duration::from_millis(25)),
        }
    }
}
