//! What is scheduled in a simulation: made-up workloads that are the same for everybody, and recorded ones.

use std::collections::{BTreeMap, HashMap};

use barycenter_plugin_api::PlanRequest;

use crate::kit::traces::{Dice, EPOCH_MS};

/// A job that will come.
#[derive(Debug, Clone, PartialEq)]
pub struct Arrival {
    /// Its number.
    pub id: u64,
    /// Its owner.
    pub user_id: u64,
    /// When it is ready.
    pub at_ms: i64,
    /// What it takes.
    pub cores: u32,
    /// How long it runs once it has started.
    pub runs_ms: i64,
}

/// Jobs, and the runners for them.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// What it is called.
    pub name: String,
    /// The jobs, in the order of their coming.
    pub arrivals: Vec<Arrival>,
    /// The runners: id and slots.
    pub runners: Vec<(String, u64)>,
}

/// The made-up ones.
pub fn built_in() -> Vec<Workload> {
    vec![steady(), crowd(), mixed()]
}

fn sorted(name: &str, mut arrivals: Vec<Arrival>, runners: &[(&str, u64)]) -> Workload {
    arrivals.sort_by_key(|job| (job.at_ms, job.id));
    Workload {
        name: name.to_owned(),
        arrivals,
        runners: runners
            .iter()
            .map(|(id, slots)| ((*id).to_owned(), *slots))
            .collect(),
    }
}

/// Between zero and about five times the mean, mostly less than it.
fn exponential(mean_ms: f64, dice: &mut Dice) -> i64 {
    let unit = (dice.roll() >> 11) as f64 / (1_u64 << 53) as f64;
    (-(1.0 - unit).max(1e-6).ln() * mean_ms) as i64
}

/// Eight users send single jobs of all lengths; the machine is busy for nine tenths of the time.
fn steady() -> Workload {
    let mut dice = Dice::new(101);
    let mut at_ms = EPOCH_MS;
    let jobs = (1..=600).map(|id| {
        at_ms += exponential(60_000.0 / 16.0 / 0.9, &mut dice);
        Arrival {
            id,
            user_id: 1 + dice.below(8),
            at_ms,
            cores: 1,
            runs_ms: 1000 + exponential(60_000.0, &mut dice),
        }
    });
    sorted("steady", jobs.collect(), &[("local", 16)])
}

/// One user sends 400 jobs at once; three others send ten each a little later.
fn crowd() -> Workload {
    let mut dice = Dice::new(102);
    let many = (1..=400).map(|id| (id, 1, 0));
    let few = (401..=430).map(|id| {
        (
            id,
            2 + id % 3,
            5000 + i64::try_from(id - 401).unwrap_or(0) * 1000,
        )
    });
    let jobs: Vec<Arrival> = many
        .chain(few)
        .map(|(id, user_id, after_ms)| Arrival {
            id,
            user_id,
            at_ms: EPOCH_MS + after_ms,
            cores: 1,
            runs_ms: 20_000 + exponential(20_000.0, &mut dice),
        })
        .collect();
    sorted("crowd", jobs, &[("local", 8)])
}

/// Jobs of 1 to 8 cores for two runners of different size.
fn mixed() -> Workload {
    let mut dice = Dice::new(103);
    let mut at_ms = EPOCH_MS;
    let jobs = (1..=400).map(|id| {
        at_ms += exponential(5_000.0, &mut dice);
        Arrival {
            id,
            user_id: 1 + dice.below(5),
            at_ms,
            cores: [1, 1, 1, 2, 4, 8][dice.below(6) as usize],
            runs_ms: 1000 + exponential(45_000.0, &mut dice),
        }
    });
    sorted("mixed", jobs.collect(), &[("large", 16), ("small", 8)])
}

/// The jobs that recorded plans offered. How long they ran is not recorded: each gets a length that depends on its
/// number, half a minute to ten.
pub fn recorded(plans: &[PlanRequest]) -> Option<Workload> {
    let mut jobs: HashMap<u64, Arrival> = HashMap::new();
    let mut runners: BTreeMap<String, u64> = BTreeMap::new();
    for plan in plans {
        for job in &plan.jobs {
            let runs_ms = 30_000 + i64::try_from(Dice::new(job.id).below(570_000)).unwrap_or(0);
            jobs.entry(job.id).or_insert(Arrival {
                id: job.id,
                user_id: job.user_id,
                at_ms: job.ready_since_ms,
                cores: job.cores.max(1),
                runs_ms,
            });
        }
        for runner in &plan.runners {
            let slots = runners.entry(runner.id.to_string()).or_default();
            *slots = (*slots).max(runner.slots_total);
        }
    }
    runners.retain(|_, slots| *slots > 0);
    if jobs.is_empty() || runners.is_empty() {
        return None;
    }
    let runners: Vec<(&str, u64)> = runners
        .iter()
        .map(|(id, slots)| (id.as_str(), *slots))
        .collect();
    Some(sorted("recorded", jobs.into_values().collect(), &runners))
}
