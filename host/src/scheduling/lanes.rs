//! Who plans in which lane. Conditions are JavaScript that users wrote: one that does not end must not hold up the
//! invocations of others. A pass in the fast lane has little time for them; whoever needs more goes on in the slow lane,
//! which plans one invocation after the other, for this and everything else of that user, until that has been quick for a
//! while. Jobs have a slow lane of their own (`dispatch/slow.rs`), which asks the same who is slow.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::store::scheduling::invocations::Whose;

/// One of the two loops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    Fast,
    Slow,
}

/// All conditions of a pass together have so much time in the fast lane.
const FAST: Duration = Duration::from_millis(500);
/// And in the slow lane; a pass that needs more fails its invocation.
const SLOW: Duration = Duration::from_secs(20);
/// Somebody whose scripts have been quick for so long is back in the fast lane.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

impl Lane {
    /// The time that all conditions of a pass have together.
    pub fn patience(self) -> Duration {
        match self {
            Lane::Fast => FAST,
            Lane::Slow => SLOW,
        }
    }
}

/// Whether what scripts took at once is more than the fast lane has for them.
pub fn takes_long(spent: Duration) -> bool {
    spent >= FAST
}

/// Whose scripts take long, and when that was last seen.
#[derive(Debug, Default)]
pub struct Slow {
    seen: HashMap<i64, Instant>,
}

impl Slow {
    /// A user's scripts took long. True where that is news.
    pub fn note(&mut self, user_id: i64, now: Instant) -> bool {
        self.seen.insert(user_id, now).is_none()
    }

    /// Whoever has been quick for a while is not slow any more.
    pub fn forget(&mut self, now: Instant) {
        self.seen
            .retain(|_, seen| now.duration_since(*seen) < FORGOTTEN_AFTER);
    }

    pub fn has(&self, user_id: i64) -> bool {
        self.seen.contains_key(&user_id)
    }

    /// All of them, in order.
    pub fn users(&self) -> Vec<i64> {
        let mut users: Vec<i64> = self.seen.keys().copied().collect();
        users.sort_unstable();
        users
    }
}

/// Whose invocations belong in the slow lane, for both loops that plan.
#[derive(Default)]
pub struct SlowUsers {
    slow: Mutex<Slow>,
    changed: Notify,
}

impl SlowUsers {
    /// A user's conditions took `spent` in one pass.
    pub fn note(&self, user_id: i64, spent: Duration) {
        if !takes_long(spent) {
            return;
        }
        if self.slow().note(user_id, Instant::now()) {
            tracing::warn!(
                user.id = user_id,
                "conditions of workflows take long; this user's invocations are planned one by one"
            );
        }
        self.changed.notify_one();
    }

    /// Whose invocations a lane looks at; None when there is nothing for it.
    pub fn share(&self, lane: Lane) -> Option<Whose> {
        let mut slow = self.slow();
        slow.forget(Instant::now());
        let users = slow.users();
        match lane {
            Lane::Fast => Some(Whose::Except(users)),
            Lane::Slow if users.is_empty() => None,
            Lane::Slow => Some(Whose::Only(users)),
        }
    }

    /// Somebody was found to be slow.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    fn slow(&self) -> MutexGuard<'_, Slow> {
        self.slow.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_takes_long_is_slow_until_that_was_a_while_ago() {
        let (mut slow, begin) = (Slow::default(), Instant::now());
        let after = |seconds| begin + Duration::from_secs(seconds);
        assert!(slow.note(4, begin));
        assert!(slow.note(3, after(30)));
        assert!(!slow.note(3, after(40)), "that is known");
        assert_eq!(slow.users(), [3, 4]);
        slow.forget(after(59));
        assert!(slow.has(3) && slow.has(4) && !slow.has(5));
        slow.forget(after(60));
        assert_eq!(slow.users(), [3]);
        slow.forget(after(100));
        assert!(slow.users().is_empty());
        assert!(slow.note(3, after(101)), "it is news again");
    }

    #[test]
    fn half_a_second_is_long() {
        let long = [0, 499, 500, 9_000].map(|ms| takes_long(Duration::from_millis(ms)));
        assert_eq!(long, [false, false, true, true]);
    }

    #[test]
    fn who_is_slow_leaves_the_fast_lane() {
        let users = SlowUsers::default();
        assert_eq!(users.share(Lane::Slow), None);
        users.note(3, Duration::from_millis(2));
        assert_eq!(users.share(Lane::Fast), Some(Whose::Except(vec![])));
        users.note(4, FAST);
        assert_eq!(users.share(Lane::Fast), Some(Whose::Except(vec![4])));
        assert_eq!(users.share(Lane::Slow), Some(Whose::Only(vec![4])));
    }
}
