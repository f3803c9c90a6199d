use super::*;
use proptest::prelude::*;

fn user(weight: f64, usage: f64, running: u64) -> User {
    User {
        weight,
        usage,
        running,
        running_max: None,
        last_start_ms: 0,
    }
}

/// Jobs of one slot that are ready since their number.
fn jobs(of: &[(u64, u64)]) -> Vec<Job> {
    let job = |&(id, user)| Job {
        id,
        user,
        slots: 1,
        ready_since_ms: id as i64,
    };
    of.iter().map(job).collect()
}

fn runner(slots_total: u64, slots_free: u64) -> Runner {
    Runner {
        id: "local".into(),
        slots_total,
        slots_free,
        accepts: slots_free,
    }
}

fn moment(users: &[(u64, User)], jobs: Vec<Job>, slots_free: u64) -> Moment {
    Moment {
        now_ms: 1_000,
        users: users.iter().cloned().collect(),
        jobs,
        runners: vec![runner(4, slots_free)],
        average_job: 100.0,
        patience_ms: 60_000,
    }
}

fn started(moment: &Moment) -> Vec<u64> {
    deal(moment)
        .starts
        .into_iter()
        .map(|(job, _)| job)
        .collect()
}

#[test]
fn free_slots_are_dealt_by_weight() {
    let users = [
        (1, user(1.0, 0.0, 0)),
        (2, user(1.0, 0.0, 0)),
        (3, user(2.0, 0.0, 0)),
    ];
    let waiting = jobs(&[
        (10, 1),
        (11, 1),
        (20, 2),
        (21, 2),
        (30, 3),
        (31, 3),
        (32, 3),
    ]);
    assert_eq!(started(&moment(&users, waiting, 4)), [30, 10, 20, 31]);
}

#[test]
fn who_used_least_for_their_weight_comes_next() {
    let users = [
        (1, user(1.0, 500.0, 0)),
        (2, user(1.0, 499.0, 0)),
        (3, user(2.0, 1_001.0, 0)),
    ];
    let waiting = jobs(&[(10, 1), (20, 2), (30, 3)]);
    assert_eq!(started(&moment(&users, waiting, 1)), [20]);
}

#[test]
fn a_user_alone_gets_everything() {
    let users = [(1, user(0.001, 1e12, 0))];
    let waiting = jobs(&[(1, 1), (2, 1), (3, 1), (4, 1), (5, 1)]);
    assert_eq!(started(&moment(&users, waiting, 4)), [1, 2, 3, 4]);
}

#[test]
fn a_limit_holds_the_rest_and_says_so() {
    let limited = User {
        running_max: Some(2),
        ..user(1.0, 0.0, 1)
    };
    let waiting = jobs(&[(1, 1), (2, 1), (3, 1)]);
    let placed = deal(&moment(&[(1, limited)], waiting, 4));
    assert_eq!(placed.starts, [(1, 0)]);
    assert_eq!(placed.capped, [2, 3]);
    assert_eq!(placed.look_again_ms, None);
}

#[test]
fn who_waited_too_long_comes_first_the_longest_before_all() {
    let users = [
        (1, user(100.0, 0.0, 0)),
        (2, user(1.0, 1e9, 0)),
        (3, user(1.0, 1e9, 0)),
    ];
    let mut now = moment(&users, jobs(&[(1, 1), (30, 2), (20, 3)]), 1);
    assert_eq!(started(&now), [1]);
    assert_eq!(deal(&now).look_again_ms, Some(60_020));
    now.now_ms = 60_030;
    // User 1 has just had a start.
    now.users.get_mut(&1).unwrap().last_start_ms = 60_000;
    assert_eq!(started(&now), [20]);
    now.users.get_mut(&3).unwrap().last_start_ms = 60_030;
    assert_eq!(started(&now), [30]);
}

#[test]
fn slots_are_kept_free_for_a_large_job_that_is_overdue_and_for_no_other() {
    let users = [(1, user(1.0, 0.0, 0)), (2, user(1.0, 0.0, 0))];
    let mut waiting = jobs(&[(1, 1), (2, 2)]);
    waiting[0].slots = 4;
    let mut now = moment(&users, waiting, 3);
    assert_eq!(
        started(&now),
        [2],
        "it does not fit yet, the small one does"
    );
    now.now_ms = 60_001;
    now.users.get_mut(&2).unwrap().last_start_ms = 60_000;
    assert!(started(&now).is_empty(), "nothing passes it any more");
    now.runners[0] = runner(4, 4);
    assert_eq!(started(&now), [1]);
    // More than there is: a whole runner.
    now.jobs[0].slots = 64;
    assert_eq!(started(&now), [1]);
}

proptest! {
    #[test]
    fn nothing_is_promised_twice_or_beyond_what_there_is(
        free in 0_u64..6,
        of in proptest::collection::vec((1_u64..5, 1_u64..4, 0_i64..90_000), 0..40),
        caps in proptest::collection::vec(proptest::option::of(1_u64..3), 4),
    ) {
        let users: Vec<(u64, User)> = (1..5)
            .map(|id| {
                let capped = User { running_max: caps[id as usize - 1], ..user(id as f64, 0.0, 0) };
                (id, capped)
            })
            .collect();
        let waiting: Vec<Job> = of
            .iter()
            .enumerate()
            .map(|(id, (user, slots, since))| Job {
                id: id as u64,
                user: *user,
                slots: *slots,
                ready_since_ms: *since,
            })
            .collect();
        let now = Moment { now_ms: 90_000, ..moment(&users, waiting.clone(), free) };
        let placed = deal(&now);
        let mut slots = 0;
        let mut seen = BTreeSet::new();
        let mut running: BTreeMap<u64, u64> = BTreeMap::new();
        for (id, at) in &placed.starts {
            prop_assert_eq!(*at, 0);
            prop_assert!(seen.insert(*id));
            let job = &waiting[*id as usize];
            slots += job.slots;
            *running.entry(job.user).or_default() += 1;
        }
        prop_assert!(slots <= free);
        for (id, running) in running {
            prop_assert!(caps[id as usize - 1].is_none_or(|max| running <= max));
        }
        for id in &placed.capped {
            prop_assert!(!seen.contains(id));
        }
        // Idle slots only where nobody who may start fits, or somebody overdue needs more than is free.
        let overdue = waiting.iter().any(|job| !seen.contains(&job.id) && job.slots > free - slots);
        let fits = waiting.iter().any(|job| {
            let running = running_of(&placed, &waiting, job.user);
            !seen.contains(&job.id)
                && job.slots <= free - slots
                && caps[job.user as usize - 1].is_none_or(|max| running < max)
        });
        prop_assert!(!fits || overdue);
    }
}

fn running_of(placed: &Placed, waiting: &[Job], user: u64) -> u64 {
    let own = placed
        .starts
        .iter()
        .filter(|(id, _)| waiting[*id as usize].user == user);
    own.count() as u64
}
