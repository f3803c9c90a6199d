//! Ctrl-C and SIGTERM as a question that loops can ask, so that whoever started a process also ends it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::failure::{Failure, Result};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Starts to note SIGINT and SIGTERM. The second one ends this process at once.
pub fn watch() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        #[expect(
            unsafe_code,
            reason = "installing a signal handler needs the C library"
        )]
        // SAFETY: `note` has the signature that `signal` asks for, lives for ever, and does only what
        // is allowed inside a signal handler: one atomic exchange, and `_exit`.
        unsafe {
            libc::signal(
                signal,
                note as extern "C" fn(libc::c_int) as libc::sighandler_t,
            );
        }
    }
}

/// True after the first SIGINT or SIGTERM.
pub fn requested() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// `Interrupted` after the first SIGINT or SIGTERM.
pub fn check() -> Result<()> {
    if requested() {
        Err(Failure::Interrupted)
    } else {
        Ok(())
    }
}

/// Sleeps, but not past an interruption.
pub fn sleep(duration: Duration) -> Result<()> {
    let end = Instant::now() + duration;
    loop {
        check()?;
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(Duration::from_millis(50)));
    }
}

extern "C" fn note(signal: libc::c_int) {
    if INTERRUPTED.swap(true, Ordering::Relaxed) {
        #[expect(
            unsafe_code,
            reason = "the only exit that is allowed in a signal handler"
        )]
        // SAFETY: `_exit` is async-signal-safe and does not return.
        unsafe {
            libc::_exit(128 + signal)
        }
    }
}
