//! Who plans in which lane. Conditions are JavaScript that users wrote: one that does not end must not hold up the
//! invocations of others. A pass in the fast lane has little time for them; whoever needs more goes on in the slow lane,
//! which plans one invocation after the other, for this and everything else of that user, until that has been quick for a
//! while. Jobs have a slow lane of their own (`dispatch/slow.rs`).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
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
/// Somebody whose passes have been quick for so long is back in the fast lane.
pub const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

impl Lane {
    /// The time that all conditions of a pass have together.
    pub fn patience(self) -> Duration {
        match self {
            Lane::Fast => FAST,
            Lane::Slow => SLOW,
        }
    }
}

/// Whose invocations belong in the slow lane, and since when.
#[derive(Default)]
pub struct SlowUsers {
    since: Mutex<HashMap<i64, Instant>>,
    changed: Notify,
}

impl SlowUsers {
    /// A user's conditions took `spent` in one pass.
    pub fn note(&self, user_id: i64, spent: Duration) {
        if spent >= FAST {
            let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
            if since.insert(user_id, Instant::now()).is_none() {
                tracing::warn!(
                    user.id = user_id,
                    "conditions of workflows take long; this user's invocations are planned one by one"
                );
            }
            drop(since);
            self.changed.notify_one();
        }
    }

    /// Whose invocations a lane looks at; None when there is nothing for it.
    pub fn share(&self, lane: Lane) -> Option<Whose> {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        since.retain(|_, noted| noted.elapsed() < FORGOTTEN_AFTER);
        let mut slow: Vec<i64> = since.keys().copied().collect();
        slow.sort_unstable();
        match lane {
            Lane::Fast => Some(Whose::Except(slow)),
            Lane::Slow if slow.is_empty() => None,
            Lane::Slow => Some(Whose::Only(slow)),
        }
    }

    /// Somebody was found to be slow.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
