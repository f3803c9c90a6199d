//! Who is next: a plain function of who used what, who has what running, and who waits since when.
//!
//! Every user has a *usage*: slots times time, forgotten with a half-life. The next free slot goes to the user whose usage
//! divided by their weight is least. A job that has just begun has used nothing yet, so each running job counts as much
//! as an average job uses; otherwise one user would be given all slots that happen to be free at the same time.
//!
//! On top of that, nobody waits without end: a user of whom nothing was started for `patience` although a job was ready
//! is *overdue*. Overdue users come first, the one who waited longest before the others. For an overdue job that needs
//! more slots than are free, slots are kept free until it fits.

use std::collections::{BTreeMap, BTreeSet};

/// A user who has jobs.
#[derive(Debug, Clone, PartialEq)]
pub struct User {
    pub weight: f64,
    /// Slots times milliseconds, forgotten with the half-life.
    pub usage: f64,
    /// Jobs that run.
    pub running: u64,
    /// The most that may run.
    pub running_max: Option<u64>,
    /// When a job of theirs was started last, milliseconds since 1970; 0 for never.
    pub last_start_ms: i64,
}

/// A job that could start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    pub id: u64,
    pub user: u64,
    pub slots: u64,
    pub ready_since_ms: i64,
}

/// A runner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runner {
    pub id: String,
    pub slots_total: u64,
    pub slots_free: u64,
    /// The most that it takes now.
    pub accepts: u64,
}

/// What is known at one moment.
#[derive(Debug, Clone, Default)]
pub struct Moment {
    pub now_ms: i64,
    pub users: BTreeMap<u64, User>,
    pub jobs: Vec<Job>,
    pub runners: Vec<Runner>,
    /// What an average job uses, slots times milliseconds.
    pub average_job: f64,
    pub patience_ms: i64,
}

/// What is to happen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placed {
    /// Job and index of its runner, in the order of starting.
    pub starts: Vec<(u64, usize)>,
    /// Jobs that wait because their user has as many running as allowed.
    pub capped: Vec<u64>,
    /// The first moment at which somebody becomes overdue.
    pub look_again_ms: Option<i64>,
}

/// One user's queue while places are dealt.
struct Line<'a> {
    id: u64,
    user: &'a User,
    running: u64,
    /// Oldest last, so that the next one is popped.
    jobs: Vec<&'a Job>,
    last_start_ms: i64,
}

impl Line<'_> {
    fn is_capped(&self) -> bool {
        self.user.running_max.is_some_and(|max| self.running >= max)
    }

    /// When this user becomes overdue: `patience` after the last start, or after the oldest job was ready.
    fn overdue_ms(&self, patience_ms: i64) -> i64 {
        let oldest = self.jobs.last().map_or(i64::MAX, |job| job.ready_since_ms);
        oldest.max(self.last_start_ms).saturating_add(patience_ms)
    }
}

/// Deals the free slots.
pub fn deal(moment: &Moment) -> Placed {
    let mut free: Vec<Runner> = moment.runners.clone();
    let mut lines = lines(moment);
    let mut placed = Placed::default();
    // Users of whom no job fits now.
    let mut blocked: BTreeSet<u64> = BTreeSet::new();
    while free.iter().any(|runner| runner.accepts > 0) {
        let candidates = lines.iter_mut().filter(|line| {
            !line.jobs.is_empty() && !line.is_capped() && !blocked.contains(&line.id)
        });
        let Some(line) = candidates.reduce(|best, next| match before(moment, next, best) {
            true => next,
            false => best,
        }) else {
            break;
        };
        let overdue = line.overdue_ms(moment.patience_ms) <= moment.now_ms;
        let fitting = line
            .jobs
            .iter()
            .enumerate()
            .rev()
            // Of somebody who is overdue the oldest job, and no other.
            .take(if overdue { 1 } else { usize::MAX })
            .find_map(|(at, job)| Some((at, room(&free, job.slots)?)));
        match fitting {
            Some((at, runner)) => {
                let job = line.jobs.remove(at);
                take(&mut free[runner], job.slots);
                line.running += 1;
                line.last_start_ms = moment.now_ms;
                placed.starts.push((job.id, runner));
            }
            None => {
                if let Some(job) = line.jobs.last().filter(|_| overdue) {
                    keep_free(&mut free, job.slots);
                }
                blocked.insert(line.id);
            }
        }
    }
    for line in &lines {
        if line.is_capped() {
            placed.capped.extend(line.jobs.iter().map(|job| job.id));
        } else if !line.jobs.is_empty() {
            let at = line.overdue_ms(moment.patience_ms);
            if at > moment.now_ms {
                let earliest = placed.look_again_ms.map_or(at, |known| known.min(at));
                placed.look_again_ms = Some(earliest);
            }
        }
    }
    placed.capped.sort_unstable();
    placed
}

fn lines(moment: &Moment) -> Vec<Line<'_>> {
    let mut by_user: BTreeMap<u64, Vec<&Job>> = BTreeMap::new();
    for job in &moment.jobs {
        by_user.entry(job.user).or_default().push(job);
    }
    let lines = by_user.into_iter().filter_map(|(id, mut jobs)| {
        let user = moment.users.get(&id)?;
        jobs.sort_by_key(|job| std::cmp::Reverse((job.ready_since_ms, job.id)));
        Some(Line {
            id,
            user,
            running: user.running,
            jobs,
            last_start_ms: user.last_start_ms,
        })
    });
    lines.collect()
}

/// Whether `a` comes before `b`.
fn before(moment: &Moment, a: &Line<'_>, b: &Line<'_>) -> bool {
    let (a_overdue, b_overdue) = (
        a.overdue_ms(moment.patience_ms),
        b.overdue_ms(moment.patience_ms),
    );
    match (a_overdue <= moment.now_ms, b_overdue <= moment.now_ms) {
        (true, true) => return (a_overdue, a.id) < (b_overdue, b.id),
        (true, false) => return true,
        (false, true) => return false,
        (false, false) => {}
    }
    let used = |line: &Line<'_>| {
        (line.user.usage + line.running as f64 * moment.average_job) / line.user.weight
    };
    let running = |line: &Line<'_>| line.running as f64 / line.user.weight;
    used(a)
        .total_cmp(&used(b))
        .then(running(a).total_cmp(&running(b)))
        .then(b.user.weight.total_cmp(&a.user.weight))
        .then(a.last_start_ms.cmp(&b.last_start_ms))
        .then(a.id.cmp(&b.id))
        .is_lt()
}

/// A runner that can start the job at once. A job that is larger than every runner has a whole one for itself.
fn room(free: &[Runner], slots: u64) -> Option<usize> {
    let fits = |runner: &Runner| {
        runner.accepts > 0
            && (runner.slots_free >= slots
                || (slots > runner.slots_total && runner.slots_free == runner.slots_total))
    };
    let best = free.iter().enumerate().filter(|(_, runner)| fits(runner));
    let best = best.max_by_key(|(at, runner)| (runner.slots_free, std::cmp::Reverse(*at)));
    best.map(|(at, _)| at)
}

fn take(runner: &mut Runner, slots: u64) {
    runner.accepts -= 1;
    runner.slots_free = runner.slots_free.saturating_sub(slots);
}

/// Nothing more is started where the job will run: on the runner that has most free of those that are large enough.
fn keep_free(free: &mut [Runner], slots: u64) {
    let chosen = free
        .iter_mut()
        .filter(|runner| runner.slots_total > 0 && runner.accepts > 0)
        .max_by_key(|runner| (runner.slots_total >= slots, runner.slots_free));
    if let Some(runner) = chosen {
        runner.accepts = 0;
    }
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
