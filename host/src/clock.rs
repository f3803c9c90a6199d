//! Time as a value: instants are integer milliseconds since 1970 (UTC), and tests can own the clock.

use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

/// Where "now" comes from.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    fixed: Option<Arc<AtomicI64>>,
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Clock {
        Clock::default()
    }

    /// A clock that stands still until it is set.
    pub fn fixed(now_ms: i64) -> Clock {
        Clock {
            fixed: Some(Arc::new(AtomicI64::new(now_ms))),
        }
    }

    /// Sets a fixed clock; does nothing to the machine's.
    pub fn set(&self, now_ms: i64) {
        if let Some(fixed) = &self.fixed {
            fixed.store(now_ms, Ordering::SeqCst);
        }
    }

    /// Milliseconds since 1970 (UTC).
    pub fn now_ms(&self) -> i64 {
        match &self.fixed {
            Some(fixed) => fixed.load(Ordering::SeqCst),
            None => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH);
                since.map_or(0, |d| d.as_millis() as i64) + shift_ms()
            }
        }
    }
}

/// For tests, whose machines keep their clocks: `BARYCENTER_CLOCK_SHIFT_FILE` names a file with the milliseconds by which
/// this process's clock is off, read each time. Without the variable this costs one relaxed load.
fn shift_ms() -> i64 {
    static FILE: OnceLock<Option<PathBuf>> = OnceLock::new();
    let file =
        FILE.get_or_init(|| std::env::var_os("BARYCENTER_CLOCK_SHIFT_FILE").map(PathBuf::from));
    let Some(file) = file else {
        return 0;
    };
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}
