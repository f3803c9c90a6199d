//! What users used, from what the host tells with every plan.

use barycenter_plugin_api::{UserLoad, attr};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is remembered, and saved across restarts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// When it was brought up to date, milliseconds since 1970.
    at_ms: i64,
    users: BTreeMap<u64, Account>,
    /// Jobs that were started, forgotten with the half-life like everything else.
    starts: f64,
    /// What all have used.
    total: f64,
}

/// One user's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Account {
    /// Slots times milliseconds, forgotten with the half-life.
    used: f64,
    /// The host's counter when it was read last, and since when it counts.
    counter: Option<(i64, u64)>,
    running: u64,
    last_start_ms: i64,
}

/// Who has used less than this, and has nothing any more, is forgotten.
const FORGOTTEN: f64 = 1.0;

impl Usage {
    /// Takes in what the host tells, and forgets by the time that has passed.
    pub fn update(&mut self, now_ms: i64, load: &[UserLoad], half_life_ms: f64) {
        // A clock that was set back must not make anybody's usage grow.
        let passed = now_ms.saturating_sub(self.at_ms).max(0) as f64;
        let first = self.at_ms == 0;
        self.at_ms = now_ms;
        let keep = if first {
            1.0
        } else {
            (-passed / half_life_ms).exp2()
        };
        self.starts *= keep;
        self.total *= keep;
        for account in self.users.values_mut() {
            account.used *= keep;
        }
        for user in load {
            let number = |name: &str| attr(&user.attrs, name).unwrap_or_default();
            let counter = number("used_slot_ms").as_u64();
            let since_ms = number("counted_since_ms").as_i64().unwrap_or(0);
            let account = self.users.entry(user.user_id).or_default();
            let used = match (counter, account.counter) {
                // A host of 1.0 counts nothing; then a running job is one slot.
                (None, _) if first => 0.0,
                (None, _) => account.running as f64 * passed,
                // The server has been started anew and counts from nothing.
                (Some(counter), Some((since, _))) if since != since_ms => counter as f64,
                // What a plan for invocations is told may be older than what a plan for jobs was told.
                (Some(counter), Some((_, before))) => counter.saturating_sub(before) as f64,
                // Somebody new, or long forgotten: what they have running is told with the next plan.
                (Some(_), None) => 0.0,
            };
            if let Some(counter) = counter {
                let before = account.counter.filter(|(since, _)| *since == since_ms);
                let before = before.map_or(0, |(_, before)| before);
                account.counter = Some((since_ms, counter.max(before)));
            }
            account.running = user.running;
            account.used += used;
            self.total += used;
        }
        let seen: Vec<u64> = load.iter().map(|user| user.user_id).collect();
        self.users
            .retain(|id, account| account.used >= FORGOTTEN || seen.contains(id));
    }

    /// A job of this user starts now.
    pub fn started(&mut self, user: u64, now_ms: i64) {
        self.starts += 1.0;
        self.users.entry(user).or_default().last_start_ms = now_ms;
    }

    /// Slots times milliseconds, forgotten with the half-life.
    pub fn of(&self, user: u64) -> f64 {
        self.users.get(&user).map_or(0.0, |account| account.used)
    }

    /// When a job of this user was started last; 0 for never.
    pub fn last_start_ms(&self, user: u64) -> i64 {
        self.users
            .get(&user)
            .map_or(0, |account| account.last_start_ms)
    }

    /// What a job uses, on average.
    pub fn average_job(&self) -> f64 {
        self.total / self.starts.max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use barycenter_plugin_api::Attr;

    fn load(user_id: u64, running: u64, counter: Option<u64>) -> UserLoad {
        since(0, user_id, running, counter)
    }

    fn since(since_ms: i64, user_id: u64, running: u64, counter: Option<u64>) -> UserLoad {
        let since = Attr::json("counted_since_ms", &since_ms.into());
        let attrs = counter.map(|counter| [Attr::json("used_slot_ms", &counter.into()), since]);
        UserLoad {
            user_id,
            running,
            attrs: attrs.into_iter().flatten().collect(),
            ..UserLoad::default()
        }
    }

    #[test]
    fn no_clock_and_no_counter_brings_it_down() {
        let mut usage = Usage::default();
        for now_ms in [i64::MAX, i64::MIN, 0, i64::MAX, -1] {
            for counter in [None, Some(u64::MAX), Some(0)] {
                usage.update(now_ms, &[load(7, u64::MAX, counter)], 1_000.0);
                assert!(usage.of(7) >= 0.0);
            }
        }
    }

    #[test]
    fn usage_is_what_the_counter_grew_by_and_halves_with_the_half_life() {
        let mut usage = Usage::default();
        usage.update(1_000, &[load(7, 1, Some(500))], 1_000.0);
        assert_eq!(usage.of(7), 0.0, "what was before we looked is not counted");
        usage.update(1_000, &[load(7, 1, Some(900))], 1_000.0);
        assert_eq!(usage.of(7), 400.0);
        usage.update(2_000, &[load(7, 1, Some(900))], 1_000.0);
        assert_eq!(usage.of(7), 200.0);
        // An older reading of the same counter says nothing.
        usage.update(2_000, &[load(7, 1, Some(100))], 1_000.0);
        assert_eq!(usage.of(7), 200.0);
        // The server was started again: the counter begins anew.
        usage.update(2_000, &[since(1, 7, 1, Some(10))], 1_000.0);
        assert_eq!(usage.of(7), 210.0);
        // A clock that was set back changes nothing.
        usage.update(500, &[since(1, 7, 1, Some(10))], 1_000.0);
        assert_eq!(usage.of(7), 210.0);
    }

    #[test]
    fn a_host_without_counters_is_integrated() {
        let mut usage = Usage::default();
        usage.update(1_000, &[load(7, 2, None)], 1e12);
        usage.update(1_500, &[load(7, 0, None)], 1e12);
        assert!((usage.of(7) - 1_000.0).abs() < 0.01);
    }

    #[test]
    fn who_used_nothing_and_has_nothing_is_forgotten() {
        let mut usage = Usage::default();
        usage.update(1, &[load(7, 0, Some(0)), load(8, 0, Some(0))], 1_000.0);
        usage.update(2, &[load(7, 1, Some(50_000)), load(8, 0, Some(0))], 1_000.0);
        usage.update(100, &[], 1_000.0);
        assert_eq!(usage.users.keys().copied().collect::<Vec<_>>(), [7]);
        usage.update(100_000, &[], 1_000.0);
        assert!(usage.users.is_empty());
    }

    #[test]
    fn it_comes_back_from_its_text() {
        let mut usage = Usage::default();
        usage.update(1, &[load(7, 1, Some(1))], 1_000.0);
        usage.started(7, 5);
        let text = serde_json::to_string(&usage).unwrap();
        assert_eq!(serde_json::from_str::<Usage>(&text).unwrap(), usage);
    }
}
