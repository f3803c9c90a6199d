//! Whether a plugin gets new work: decided by administrators, by its name, whatever instance bears it.

use std::sync::{PoisonError, RwLock};

/// Off: what it has it brings to its end, and it gets nothing new.
#[derive(Debug, Default)]
pub(super) struct Switch(RwLock<Option<i64>>);

impl Switch {
    /// Turns it off, at this time in milliseconds since 1970. False when it was off.
    pub fn turn_off(&self, now_ms: i64) -> bool {
        let mut off = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let was_on = off.is_none();
        off.get_or_insert(now_ms);
        was_on
    }

    /// Turns it on. False when it was on.
    pub fn turn_on(&self) -> bool {
        let mut off = self.0.write().unwrap_or_else(PoisonError::into_inner);
        off.take().is_some()
    }

    /// Since when it is off.
    pub fn off_since(&self) -> Option<i64> {
        *self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn is_off(&self) -> bool {
        self.off_since().is_some()
    }

    /// Why it gets no work, for people.
    pub fn why(&self) -> Option<String> {
        self.is_off().then(|| DISABLED.to_owned())
    }
}

/// Why it gets no work, for people.
pub(super) const DISABLED: &str = "it was disabled by an administrator";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_off_from_the_first_time_it_was_turned_off() {
        let switch = Switch::default();
        assert!(!switch.is_off() && !switch.turn_on());
        assert!(switch.turn_off(5) && !switch.turn_off(6));
        assert_eq!(switch.off_since(), Some(5));
        assert!(switch.turn_on() && !switch.is_off());
    }
}
