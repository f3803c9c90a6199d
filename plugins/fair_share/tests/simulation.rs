//! Busy periods, simulated: the plugin decides as it would on a server, jobs take their time on a clock of numbers.

use barycenter_plugin_api::testing::FakeHost;
use barycenter_plugin_api::{
    Attr, JobVerdict, PlanRequest, Plugin, ReadyJob, RunnerOffer, Scheduler, UserLoad,
};
use fair_share::FairShare;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A user's jobs: when each is ready, and how long it runs.
struct Demand {
    user: u64,
    jobs: Vec<(i64, i64)>,
}

/// What a run came to.
#[derive(Debug, Default)]
struct Outcome {
    /// User, start, end.
    runs: Vec<(u64, i64, i64)>,
    /// The longest time that a user with a ready job and nothing started had to wait for a start.
    longest_wait: BTreeMap<u64, i64>,
    /// When each user had no job waiting any more.
    drained: BTreeMap<u64, i64>,
}

impl Outcome {
    /// Each user's part of the runner time until `until`.
    fn shares(&self, until: i64) -> BTreeMap<u64, f64> {
        let mut used: BTreeMap<u64, f64> = BTreeMap::new();
        for (user, start, end) in &self.runs {
            *used.entry(*user).or_default() += (end.min(&until) - start.min(&until)) as f64;
        }
        let all: f64 = used.values().sum();
        used.into_iter()
            .map(|(user, one)| (user, one / all))
            .collect()
    }

    /// While all have something waiting.
    fn busy_until(&self) -> i64 {
        self.drained.values().copied().min().unwrap_or(0)
    }
}

fn simulate(config: Value, slots: u64, demands: &[Demand]) -> Outcome {
    let mut scheduler = FairShare::create(config, FakeHost::new().host()).unwrap();
    let mut outcome = Outcome::default();
    let mut waiting: Vec<(u64, u64, i64, i64)> = Vec::new();
    let mut future: Vec<(i64, u64, u64, i64)> = Vec::new();
    for demand in demands {
        for (ready, takes) in &demand.jobs {
            future.push((*ready, future.len() as u64 + 1, demand.user, *takes));
        }
    }
    future.sort_unstable();
    future.reverse();
    let mut running: Vec<(i64, u64, i64)> = Vec::new(); // end, user, start
    let mut used: BTreeMap<u64, i64> = BTreeMap::new();
    let mut last_start: BTreeMap<u64, i64> = BTreeMap::new();
    let mut now = 0;
    loop {
        while future.last().is_some_and(|job| job.0 <= now) {
            let (ready, id, user, takes) = future.pop().unwrap();
            waiting.push((id, user, ready, takes));
        }
        running.retain(|(end, user, start)| {
            let over = *end <= now;
            if over {
                *used.entry(*user).or_default() += end - start;
            }
            !over
        });
        let mut load: BTreeMap<u64, UserLoad> = BTreeMap::new();
        for demand in demands {
            let user = demand.user;
            let own = running.iter().filter(|one| one.1 == user);
            let so_far: i64 = own.clone().map(|one| now - one.2).sum();
            let total = used.get(&user).copied().unwrap_or(0) + so_far;
            load.insert(
                user,
                UserLoad {
                    user_id: user,
                    running: own.count() as u64,
                    queued: waiting.iter().filter(|one| one.1 == user).count() as u64,
                    attrs: vec![
                        Attr::json("username", &format!("user{user}").into()),
                        Attr::json("used_slot_ms", &total.into()),
                    ]
                    .into(),
                },
            );
        }
        let free = slots - running.len() as u64;
        let mut wake = i64::MAX;
        if !waiting.is_empty() {
            let request = PlanRequest {
                now_ms: now + 1, // 0 is "never" in the contract
                jobs: waiting
                    .iter()
                    .map(|(id, user, ready, _)| ReadyJob {
                        id: *id,
                        user_id: *user,
                        cores: 1,
                        ready_since_ms: ready + 1,
                        ..ReadyJob::default()
                    })
                    .collect(),
                runners: vec![RunnerOffer {
                    id: "r".into(),
                    slots_total: slots,
                    slots_free: free,
                    accepts: free,
                    ..RunnerOffer::default()
                }]
                .into(),
                load: load.into_values().collect(),
                ..PlanRequest::default()
            };
            let plan = scheduler.plan(&request).unwrap();
            if plan.wake_at_ms > 0 {
                wake = plan.wake_at_ms - 1;
            }
            for decision in plan
                .jobs
                .iter()
                .filter(|one| one.decision == JobVerdict::PLACE)
            {
                let at = waiting
                    .iter()
                    .position(|one| one.0 == decision.job_id)
                    .unwrap();
                let (_, user, ready, takes) = waiting.remove(at);
                let since = ready.max(last_start.get(&user).copied().unwrap_or(0));
                let longest = outcome.longest_wait.entry(user).or_default();
                *longest = (*longest).max(now - since);
                last_start.insert(user, now);
                running.push((now + takes, user, now));
                outcome.runs.push((user, now, now + takes));
                if !waiting.iter().any(|one| one.1 == user) {
                    outcome.drained.insert(user, now);
                }
            }
            assert!(running.len() as u64 <= slots);
        }
        let next_end = running.iter().map(|one| one.0).min();
        let next_ready = future.last().map(|one| one.0);
        let events = next_end.into_iter().chain(next_ready);
        match events
            .chain((wake > now && wake < i64::MAX).then_some(wake))
            .min()
        {
            Some(next) if !(running.is_empty() && next_ready.is_none()) => now = next,
            _ => break,
        }
    }
    assert!(
        waiting.is_empty(),
        "{} jobs were never started",
        waiting.len()
    );
    outcome
}

/// Jobs that are all ready at once.
fn at_once(user: u64, count: usize, takes: impl Fn(usize) -> i64) -> Demand {
    Demand {
        user,
        jobs: (0..count).map(|n| (0, takes(n))).collect(),
    }
}

fn assert_shares(outcome: &Outcome, expected: &[(u64, f64)], tolerance: f64) {
    let shares = outcome.shares(outcome.busy_until());
    for (user, expected) in expected {
        let found = shares[user];
        assert!(
            (found - expected).abs() <= tolerance * expected,
            "user {user} has {found:.3} instead of {expected:.3}: {shares:?}"
        );
    }
}

const WEIGHTS: [(u64, f64); 3] = [(1, 0.25), (2, 0.25), (3, 0.5)];

fn weights() -> Value {
    json!({"weights": {"user3": 2}})
}

#[test]
fn runner_time_goes_by_weight_whatever_the_number_of_slots() {
    for slots in [1, 2, 3, 4, 7, 16] {
        let each = 40 * slots as usize;
        let demands = [
            at_once(1, each, |_| 200),
            at_once(2, each, |_| 200),
            at_once(3, 2 * each, |_| 200),
        ];
        let outcome = simulate(weights(), slots, &demands);
        assert_shares(&outcome, &WEIGHTS, 0.1);
    }
}

#[test]
fn it_is_time_that_is_shared_not_jobs() {
    for slots in [1, 3, 4, 8] {
        // The same work in few long jobs, in many short ones, and in a mixture.
        let demands = [
            at_once(1, 30 * slots as usize, |_| 1_000),
            at_once(2, 300 * slots as usize, |_| 100),
            at_once(3, 180 * slots as usize, |n| [100, 900, 20][n % 3]),
        ];
        let outcome = simulate(weights(), slots, &demands);
        assert_shares(&outcome, &WEIGHTS, 0.1);
    }
}

#[test]
fn nobody_waits_longer_than_the_bound_however_the_weights_are() {
    // User 0 weighs nothing against the others, and comes late.
    let weights: serde_json::Map<String, Value> = (1..=9)
        .map(|user| (format!("user{user}"), json!(1_000_000)))
        .collect();
    let config = json!({"weights": weights, "default_weight": 0.000_001, "patience_seconds": 5});
    for slots in [1, 2, 4] {
        let mut demands: Vec<Demand> = (1..=9)
            .map(|user| at_once(user, 60 * slots as usize, |n| 300 + 100 * (n as i64 % 8)))
            .collect();
        demands.push(Demand {
            user: 100,
            jobs: (0..10).map(|n| (1_234 + n, 1_000)).collect(),
        });
        let outcome = simulate(config.clone(), slots, &demands);
        let (users, longest) = (demands.len() as i64, 1_000);
        let bound = 5_000 + (users + slots as i64 - 1) / slots as i64 * longest;
        for (user, waited) in &outcome.longest_wait {
            assert!(
                *waited <= bound,
                "{slots} slots: user {user} waited {waited}, bound {bound}"
            );
        }
        assert!(
            outcome.longest_wait[&100] > 4_000,
            "without patience it would be even longer"
        );
    }
}

#[test]
fn who_needs_less_than_their_share_gets_it_and_the_others_share_the_rest() {
    // User 1 has a job now and then; users 2 and 3 always.
    let demands = [
        Demand {
            user: 1,
            jobs: (0..40).map(|n| (n * 1_000, 100)).collect(),
        },
        at_once(2, 400, |_| 200),
        at_once(3, 800, |_| 200),
    ];
    let outcome = simulate(weights(), 4, &demands);
    let busy = outcome.drained[&2].min(outcome.drained[&3]);
    let shares = outcome.shares(busy);
    assert!(shares[&1] < 0.04, "{shares:?}");
    let ratio = shares[&3] / shares[&2];
    assert!((1.8..=2.2).contains(&ratio), "{shares:?}");
    assert!(
        outcome.longest_wait[&1] <= 200,
        "{:?}",
        outcome.longest_wait
    );
}
