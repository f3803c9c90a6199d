//! Places where a test may kill the process: around every commit.
//!
//! `BARYCENTER_CRASH_AT=before:job.settle:3` ends the process, as a SIGKILL would, just before the third commit
//! labelled `job.settle`; `after:` just after it. Without the variable this costs one relaxed load.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Before or after the commit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Side {
    Before,
    After,
}

struct Plan {
    side: Side,
    label: String,
    left: AtomicU32,
}

static PLAN: OnceLock<Option<Plan>> = OnceLock::new();

/// Ends the process here if a test asked for it.
pub fn point(label: &str, side: Side) {
    let Some(plan) = PLAN.get_or_init(|| parse(&std::env::var("BARYCENTER_CRASH_AT").ok()?)) else {
        return;
    };
    if plan.side == side && plan.label == label && plan.left.fetch_sub(1, Ordering::SeqCst) == 1 {
        kill_this_process();
    }
}

fn parse(text: &str) -> Option<Plan> {
    let mut parts = text.splitn(3, ':');
    let side = match parts.next()? {
        "before" => Side::Before,
        "after" => Side::After,
        _ => return None,
    };
    Some(Plan {
        side,
        label: parts.next()?.to_owned(),
        left: AtomicU32::new(parts.next().and_then(|n| n.parse().ok()).unwrap_or(1)),
    })
}

#[expect(
    unsafe_code,
    reason = "there is no safe way to die without any clean-up"
)]
fn kill_this_process() -> ! {
    // SAFETY: plain system calls without memory arguments.
    unsafe {
        libc::kill(libc::getpid(), libc::SIGKILL);
        libc::_exit(137)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_point_names_side_label_and_count() {
        let plan = parse("after:job.settle:3").expect("well formed");
        assert_eq!(
            (plan.side, plan.label.as_str()),
            (Side::After, "job.settle")
        );
        assert_eq!(plan.left.load(Ordering::SeqCst), 3);
        assert!(parse("sideways:x:1").is_none());
    }
}
