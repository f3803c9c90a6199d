//! Requests to ask a scheduler with: generated ones, the same every time, and recorded ones.

use std::path::PathBuf;

use barycenter_plugin_api::{
    Attr, InvocationOffer, PlanRequest, ReadyJob, RunnerOffer, StepOffer, UserLoad,
};

use crate::plugins::record::{Record, TraceError, read_trace};

/// Numbers that look random and are the same everywhere (SplitMix64).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// A row of its own for each seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One of `0..sides`; 0 when there are none.
    pub fn below(&mut self, sides: u64) -> u64 {
        if sides == 0 { 0 } else { self.roll() % sides }
    }
}

/// 2026-01-01, as good as any.
pub const EPOCH_MS: i64 = 1_767_225_600_000;

const LABELS: [&str; 6] = [
    "",
    "map reads",
    "ячейка",
    "基因",
    "a\u{301}\u{202e}b",
    "label \"with\" \\ and \n",
];

/// A ready job of a user.
pub fn job(id: u64, user_id: u64, dice: &mut Dice) -> ReadyJob {
    let waited = i64::try_from(dice.below(600_000)).unwrap_or(0);
    ReadyJob {
        id,
        invocation_id: 1 + id / 7,
        user_id,
        history_id: user_id,
        tool_id: ["cat1", "bwa", "sort/2.0"][dice.below(3) as usize].into(),
        cores: [1, 1, 1, 2, 4, 8][dice.below(6) as usize],
        memory_mb: 512 << dice.below(6),
        ready_since_ms: EPOCH_MS - waited,
        create_time_ms: EPOCH_MS - waited - 1000,
        attempts: u32::from(dice.below(10) == 0),
        ..ReadyJob::default()
    }
}

/// A runner.
pub fn runner(id: &str, slots_total: u64, slots_free: u64, accepts: u64) -> RunnerOffer {
    RunnerOffer {
        id: id.into(),
        slots_total,
        slots_free,
        accepts,
        ..RunnerOffer::default()
    }
}

/// A plan of jobs: `count` of them, of a few users, for a few runners.
pub fn job_plan(cycle: u64, count: u64, dice: &mut Dice) -> PlanRequest {
    let users = 1 + dice.below(6);
    let jobs = (0..count).map(|at| {
        let user = dice.below(users);
        job(1000 + at, user, dice)
    });
    let jobs: Vec<ReadyJob> = jobs.collect();
    let names = ["local", "farm", "gpu-ноды"];
    let runners = names[..1 + dice.below(3) as usize].iter().map(|name| {
        let total = 1 + dice.below(64);
        let free = dice.below(total + 1);
        runner(name, total, free, free + dice.below(8))
    });
    let runners: Vec<RunnerOffer> = runners.collect();
    let load = (0..users).map(|user_id| UserLoad {
        user_id,
        running: dice.below(5),
        queued: dice.below(100),
        ..UserLoad::default()
    });
    PlanRequest {
        load: load.collect(),
        seed: dice.roll(),
        cycle,
        now_ms: EPOCH_MS + i64::try_from(cycle).unwrap_or(0) * 1000,
        jobs: jobs.into(),
        runners: runners.into(),
        ..PlanRequest::default()
    }
}

/// A plan of invocations: `count` of them with some steps each.
pub fn invocation_plan(cycle: u64, count: u64, dice: &mut Dice) -> PlanRequest {
    let now_ms = EPOCH_MS + i64::try_from(cycle).unwrap_or(0) * 1000;
    let invocations = (0..count).map(|at| {
        let steps = (0..dice.below(6)).map(|step| StepOffer {
            step_id: 100 * (at + 1) + step,
            order_index: u32::try_from(step).unwrap_or(0),
            step_type: "tool".into(),
            tool_id: "cat1".into(),
            label: LABELS[dice.below(6) as usize].into(),
            expected_jobs: [1, 1, 3, 1000, -1][dice.below(5) as usize],
            ..StepOffer::default()
        });
        let steps: Vec<StepOffer> = steps.collect();
        let age_ms = i64::try_from(dice.below(3_600_000)).unwrap_or(0);
        InvocationOffer {
            id: at + 1,
            uuid: format!("00000000-0000-4000-8000-{at:012x}").into(),
            user_id: dice.below(5),
            history_id: dice.below(9),
            workflow_name: LABELS[dice.below(6) as usize].into(),
            state: "ready".into(),
            create_time_ms: now_ms - age_ms,
            age_ms,
            active_jobs: dice.below(50),
            parameters: vec![Attr::json("scheduler", &"subject".into())].into(),
            steps: steps.into(),
            ..InvocationOffer::default()
        }
    });
    PlanRequest {
        invocations: invocations.collect(),
        seed: dice.roll(),
        cycle,
        now_ms,
        ..PlanRequest::default()
    }
}

/// The built-in trace: `count` plans, of both sorts, small and large, the same for everybody.
pub fn built_in(count: u64) -> Vec<PlanRequest> {
    let mut dice = Dice::new(2026);
    let plans = (0..count).map(|cycle| match cycle % 4 {
        0 => {
            let size = dice.below(17);
            invocation_plan(cycle, size, &mut dice)
        }
        _ => {
            let size = [0, 1, 5, 40, 200][dice.below(5) as usize];
            job_plan(cycle, size, &mut dice)
        }
    });
    plans.collect()
}

/// Every plan that was asked of a scheduler in recorded traces, in order.
pub fn recorded_plans(paths: &[PathBuf]) -> Result<Vec<PlanRequest>, TraceError> {
    let mut plans = Vec::new();
    for path in paths {
        for record in read_trace(path)? {
            if let Record::Call(call) = record
                && call.method == "plan"
                && let Ok(request) = serde_json::from_value(call.request)
            {
                plans.push(request);
            }
        }
    }
    Ok(plans)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_trace_is_the_same_every_time() {
        assert_eq!(built_in(20), built_in(20));
        assert!(built_in(20).iter().any(|plan| !plan.invocations.is_empty()));
        assert!(built_in(20).iter().any(|plan| plan.jobs.len() > 30));
    }
}
