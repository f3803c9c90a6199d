//! Does a plan keep the rules? Nothing that a plugin answers is trusted.

use barycenter_plugin_api::{InvocationVerdict, JobVerdict, Plan, PlanRequest};
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

/// The most faults that are told of one plan.
const FAULTS_MAX: usize = 20;

/// Checks a plan against what was offered. Pure. The error lists what is wrong.
///
/// Rules: only offered invocations, steps and jobs; one decision for each; only known runners; no
/// runner gets more jobs than it accepts.
pub fn check_plan(request: &PlanRequest, plan: &Plan) -> Result<(), Vec<String>> {
    let mut faults = Vec::new();
    check_invocations(request, plan, &mut faults);
    check_jobs(request, plan, &mut faults);
    if faults.is_empty() {
        return Ok(());
    }
    if faults.len() > FAULTS_MAX {
        let more = faults.len() - FAULTS_MAX;
        faults.truncate(FAULTS_MAX);
        faults.push(format!("and {more} more"));
    }
    Err(faults)
}

fn check_invocations(request: &PlanRequest, plan: &Plan, faults: &mut Vec<String>) {
    let offered: HashMap<u64, _> = request
        .invocations
        .iter()
        .map(|offer| (offer.id, offer))
        .collect();
    let mut decided = HashSet::new();
    for decision in &plan.invocations {
        let id = decision.invocation_id;
        let Some(offer) = offered.get(&id) else {
            faults.push(format!("invocation {id} was not offered"));
            continue;
        };
        if !decided.insert(id) {
            faults.push(format!("invocation {id} is decided twice"));
        }
        if decision.job_budget < -1 {
            faults.push(format!(
                "invocation {id} has the job budget {}",
                decision.job_budget
            ));
        }
        let steps: HashSet<u64> = offer.steps.iter().map(|step| step.step_id).collect();
        let mut expanded = HashSet::new();
        if decision.decision == InvocationVerdict::EXPAND {
            for step in &decision.expand {
                if !steps.contains(step) {
                    faults.push(format!("step {step} of invocation {id} was not offered"));
                } else if !expanded.insert(*step) {
                    faults.push(format!("step {step} of invocation {id} is expanded twice"));
                }
            }
        }
        for hold in &decision.holds {
            if !steps.contains(&hold.step_id) {
                faults.push(format!(
                    "step {} of invocation {id} was not offered",
                    hold.step_id
                ));
            } else if expanded.contains(&hold.step_id) {
                faults.push(format!(
                    "step {} of invocation {id} is expanded and held",
                    hold.step_id
                ));
            }
        }
    }
}

/// A thousand decisions are checked with every plan: what is offered is the server's own, so a hash that nobody could attack
/// is not needed, and a plan names the same runner again and again.
fn check_jobs(request: &PlanRequest, plan: &Plan, faults: &mut Vec<String>) {
    let mut is_decided: HashMap<u64, bool, BuildHasherDefault<IdHasher>> =
        request.jobs.iter().map(|job| (job.id, false)).collect();
    let runners = request.runners.iter();
    let mut room: Vec<(&str, u64)> = runners
        .map(|runner| (runner.id.as_str(), runner.accepts))
        .collect();
    let mut last = 0;
    for decision in &plan.jobs {
        let id = decision.job_id;
        match is_decided.get_mut(&id) {
            None => {
                faults.push(format!("job {id} was not offered"));
                continue;
            }
            Some(true) => {
                faults.push(format!("job {id} is decided twice"));
                continue;
            }
            Some(is_decided) => *is_decided = true,
        }
        if decision.decision != JobVerdict::PLACE {
            continue;
        }
        let named = decision.runner_id.as_str();
        if room.get(last).is_none_or(|(id, _)| *id != named) {
            last = room
                .iter()
                .position(|(id, _)| *id == named)
                .unwrap_or(usize::MAX);
        }
        match room.get_mut(last) {
            None => faults.push(format!("job {id}: there is no runner `{named}`")),
            Some((_, 0)) => {
                faults.push(format!("job {id}: runner `{named}` accepts no more"));
            }
            Some((_, left)) => *left -= 1,
        }
    }
}

/// Spreads the numbers of rows.
#[derive(Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        // An odd constant near the golden ratio: the high bits, which the map looks at first, depend on all the others.
        self.0 = (self.0 ^ number)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .rotate_left(26);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use barycenter_plugin_api::{
        InvocationDecision, InvocationOffer, JobDecision, ReadyJob, RunnerOffer, StepHold,
        StepOffer,
    };

    fn request() -> PlanRequest {
        let step = |step_id| StepOffer {
            step_id,
            ..StepOffer::default()
        };
        let job = |id| ReadyJob {
            id,
            ..ReadyJob::default()
        };
        PlanRequest {
            invocations: vec![InvocationOffer {
                id: 1,
                steps: vec![step(10), step(11)].into(),
                ..InvocationOffer::default()
            }]
            .into(),
            jobs: vec![job(100), job(101)].into(),
            runners: vec![RunnerOffer {
                id: "local".into(),
                accepts: 1,
                ..RunnerOffer::default()
            }]
            .into(),
            ..PlanRequest::default()
        }
    }

    fn faults(invocations: Vec<InvocationDecision>, jobs: Vec<JobDecision>) -> Vec<String> {
        let plan = Plan {
            invocations: invocations.into(),
            jobs: jobs.into(),
            ..Plan::default()
        };
        check_plan(&request(), &plan).err().unwrap_or_default()
    }

    fn expand(steps: &[u64]) -> InvocationDecision {
        InvocationDecision {
            invocation_id: 1,
            decision: InvocationVerdict::EXPAND,
            expand: steps.to_vec().into(),
            ..InvocationDecision::default()
        }
    }

    #[test]
    fn a_plan_that_decides_some_or_all_is_fine() {
        assert!(faults(vec![], vec![]).is_empty());
        let jobs = vec![
            JobDecision::place(101, "local"),
            JobDecision::hold(100, "later", ""),
        ];
        assert!(faults(vec![expand(&[11, 10])], jobs).is_empty());
    }

    #[test]
    fn what_was_not_offered_cannot_be_decided() {
        let found = faults(
            vec![expand(&[12]), InvocationDecision::hold(2, "")],
            vec![JobDecision::place(7, "local")],
        );
        assert_eq!(
            found,
            [
                "step 12 of invocation 1 was not offered",
                "invocation 2 was not offered",
                "job 7 was not offered"
            ]
        );
    }

    #[test]
    fn nothing_is_decided_twice() {
        let held = InvocationDecision {
            holds: vec![StepHold {
                step_id: 10,
                ..StepHold::default()
            }]
            .into(),
            ..expand(&[10, 10])
        };
        let found = faults(
            vec![held, InvocationDecision::hold(1, "")],
            vec![
                JobDecision::hold(100, "", ""),
                JobDecision::place(100, "local"),
            ],
        );
        assert_eq!(
            found,
            [
                "step 10 of invocation 1 is expanded twice",
                "step 10 of invocation 1 is expanded and held",
                "invocation 1 is decided twice",
                "job 100 is decided twice"
            ]
        );
    }

    #[test]
    fn a_runner_gets_no_more_than_it_accepts_and_must_exist() {
        let jobs = vec![
            JobDecision::place(100, "local"),
            JobDecision::place(101, "local"),
        ];
        assert_eq!(
            faults(vec![], jobs),
            ["job 101: runner `local` accepts no more"]
        );
        let jobs = vec![JobDecision::place(100, "slurm")];
        assert_eq!(
            faults(vec![], jobs),
            ["job 100: there is no runner `slurm`"]
        );
    }

    #[test]
    fn an_unknown_verdict_counts_as_a_hold() {
        let odd = JobDecision {
            decision: JobVerdict(77),
            runner_id: "nowhere".into(),
            ..JobDecision::place(100, "x")
        };
        assert!(faults(vec![], vec![odd]).is_empty());
    }

    #[test]
    fn the_list_of_faults_is_limited() {
        let jobs = (1000..2000)
            .map(|id| JobDecision::place(id, "local"))
            .collect();
        let found = faults(vec![], jobs);
        assert_eq!(found.len(), FAULTS_MAX + 1);
        assert_eq!(found[FAULTS_MAX], "and 980 more");
    }
}
