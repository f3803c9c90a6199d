//! B for schedulers: plans keep the rules, depend on the request only, and get everything done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use barycenter_plugin_api::{
    InvocationOffer, InvocationVerdict, JobVerdict, PlanRequest, ReadyJob, StepOffer, UserLoad,
};

use super::{Context, SCHEDULER, Test, Verdict, faults_or_passed, noted, passed, passed_with};
use crate::kit::subject::Opened;
use crate::kit::traces::{self, Dice, EPOCH_MS};
use crate::plugins::MadePlan;

pub(super) const TESTS: [Test; 11] = [
    Test {
        id: "B.lifecycle",
        text: "it is started, plans, and is stopped",
        kinds: SCHEDULER,
        run: lifecycle,
    },
    Test {
        id: "B.empty",
        text: "a request of nothing, of jobs without a runner and of runners without room is answered",
        kinds: SCHEDULER,
        run: empty,
    },
    Test {
        id: "B.rules",
        text: "400 plans keep the rules: what was offered, one decision each, no more than accepted",
        kinds: SCHEDULER,
        run: rules,
    },
    Test {
        id: "B.same",
        text: "two instances that are asked the same give the same answers, byte for byte",
        kinds: SCHEDULER,
        run: same,
    },
    Test {
        id: "B.clock",
        text: "it bears clocks and seeds at their limits",
        kinds: SCHEDULER,
        run: clock,
    },
    Test {
        id: "B.jobs",
        text: "with room to spare, every job is placed or rejected in the end",
        kinds: SCHEDULER,
        run: jobs_end,
    },
    Test {
        id: "B.starvation",
        text: "a job of one user is placed although another user always has more",
        kinds: SCHEDULER,
        run: starvation,
    },
    Test {
        id: "B.invocations",
        text: "every offered step is expanded or its invocation rejected in the end",
        kinds: SCHEDULER,
        run: invocations_end,
    },
    Test {
        id: "B.reasons",
        text: "what is held or rejected says why",
        kinds: SCHEDULER,
        run: reasons,
    },
    Test {
        id: "B.time",
        text: "a plan of 1,000 jobs takes less than 250 ms",
        kinds: SCHEDULER,
        run: time,
    },
    Test {
        id: "B.large",
        text: "a plan of 100,000 jobs takes less than 10 s",
        kinds: SCHEDULER,
        run: large,
    },
];

/// A scheduler that is started.
fn started(context: &Context) -> Result<Opened, String> {
    let (opened, _) = context.open()?;
    opened
        .scheduler()?
        .startup()
        .map_err(|error| error.to_string())?;
    Ok(opened)
}

fn plan(opened: &Opened, request: PlanRequest) -> Result<MadePlan, String> {
    let scheduler = opened.scheduler()?;
    scheduler
        .plan(&Arc::new(request))
        .map_err(|error| error.to_string())
}

fn lifecycle(context: &Context) -> Verdict {
    let opened = started(context)?;
    plan(&opened, PlanRequest::default())?;
    opened
        .scheduler()?
        .shutdown()
        .map_err(|error| error.to_string())?;
    passed()
}

fn empty(context: &Context) -> Verdict {
    let opened = started(context)?;
    let mut dice = Dice::new(1);
    let jobs = || {
        (1..4)
            .map(|id| traces::job(id, id, &mut Dice::new(id)))
            .collect()
    };
    let requests = [
        ("nothing at all", PlanRequest::default()),
        (
            "jobs without a runner",
            PlanRequest {
                jobs: jobs(),
                ..PlanRequest::default()
            },
        ),
        (
            "a runner without room",
            PlanRequest {
                jobs: jobs(),
                runners: vec![traces::runner("local", 0, 0, 0)].into(),
                ..PlanRequest::default()
            },
        ),
        (
            "a runner without jobs",
            PlanRequest {
                runners: vec![traces::runner("local", 4, 4, u64::MAX)].into(),
                ..PlanRequest::default()
            },
        ),
        ("an invocation without steps", {
            let mut request = traces::invocation_plan(0, 1, &mut dice);
            for offer in request.invocations.iter_mut() {
                offer.steps.clear();
            }
            request
        }),
    ];
    let mut faults = Vec::new();
    for (what, request) in requests {
        if let Err(error) = plan(&opened, request) {
            faults.push(format!("{what}: {error}"));
        }
    }
    faults_or_passed(faults)
}

fn rules(context: &Context) -> Verdict {
    let opened = started(context)?;
    let mut faults = Vec::new();
    let recorded = traces::recorded_plans(&context.traces).map_err(|error| error.to_string())?;
    for (at, request) in traces::built_in(400)
        .into_iter()
        .chain(recorded)
        .enumerate()
    {
        if let Err(error) = plan(&opened, request) {
            faults.push(format!("plan {at}: {error}"));
        }
        if faults.len() == 5 {
            break;
        }
    }
    faults_or_passed(faults)
}

fn same(context: &Context) -> Verdict {
    let (first, second) = (started(context)?, started(context)?);
    for (at, request) in traces::built_in(100).into_iter().enumerate() {
        let plans = [plan(&first, request.clone())?, plan(&second, request)?];
        let [one, other] = plans.map(|plan| serde_json::to_string(&plan).unwrap_or_default());
        if one != other {
            return Err(format!(
                "plan {at} differs between two instances that were asked the same; use the request's `seed` and \
                 `now_ms`, and order what comes out of a HashMap"
            ));
        }
    }
    passed()
}

fn clock(context: &Context) -> Verdict {
    let opened = started(context)?;
    let mut faults = Vec::new();
    for now_ms in [0, -1, i64::MAX, i64::MIN, EPOCH_MS] {
        for seed in [0, u64::MAX] {
            let mut dice = Dice::new(seed);
            for mut request in [
                traces::job_plan(0, 9, &mut dice),
                traces::invocation_plan(0, 4, &mut dice),
            ] {
                request.now_ms = now_ms;
                request.seed = seed;
                if let Err(error) = plan(&opened, request) {
                    faults.push(format!("at {now_ms} ms with seed {seed}: {error}"));
                }
            }
        }
    }
    faults_or_passed(faults)
}

/// A small system: jobs that wait, jobs that run, one runner.
struct Little {
    waiting: Vec<ReadyJob>,
    running: BTreeMap<u64, u64>,
    placed: BTreeSet<u64>,
    slots: u64,
    now_ms: i64,
    cycle: u64,
}

impl Little {
    fn new(slots: u64) -> Self {
        Self {
            waiting: Vec::new(),
            running: BTreeMap::new(),
            placed: BTreeSet::new(),
            slots,
            now_ms: EPOCH_MS,
            cycle: 0,
        }
    }

    fn add(&mut self, id: u64, user_id: u64) {
        self.waiting.push(ReadyJob {
            id,
            invocation_id: user_id + 1,
            user_id,
            history_id: user_id,
            tool_id: "cat1".into(),
            cores: 1,
            ready_since_ms: self.now_ms,
            create_time_ms: self.now_ms,
            ..ReadyJob::default()
        });
    }

    /// One plan; what runs ends before the next one.
    fn turn(&mut self, opened: &Opened) -> Result<(), String> {
        self.running.clear();
        self.now_ms += 1000;
        self.cycle += 1;
        let users: BTreeSet<u64> = self.waiting.iter().map(|job| job.user_id).collect();
        let load = users.iter().map(|user| UserLoad {
            user_id: *user,
            queued: self
                .waiting
                .iter()
                .filter(|job| job.user_id == *user)
                .count() as u64,
            ..UserLoad::default()
        });
        let request = PlanRequest {
            cycle: self.cycle,
            now_ms: self.now_ms,
            seed: self.cycle,
            jobs: self.waiting.clone().into(),
            runners: vec![traces::runner("local", self.slots, self.slots, self.slots)].into(),
            load: load.collect(),
            ..PlanRequest::default()
        };
        let plan = plan(opened, request)?;
        for decision in &plan.jobs {
            if decision.decision == JobVerdict::PLACE || decision.decision == JobVerdict::REJECT {
                self.placed.insert(decision.job_id);
            }
        }
        self.waiting.retain(|job| !self.placed.contains(&job.id));
        Ok(())
    }
}

fn jobs_end(context: &Context) -> Verdict {
    let opened = started(context)?;
    let mut little = Little::new(2);
    for id in 1..=40 {
        little.add(id, id % 4);
    }
    for turn in 1..=2000 {
        little.turn(&opened)?;
        if little.waiting.is_empty() {
            return passed_with(format!("{turn} plans, 20 would do"));
        }
    }
    Err(format!(
        "after 2,000 plans, each with two free places and {} minutes of the host's clock in all, {} of 40 jobs still wait",
        2000 / 60,
        little.waiting.len()
    ))
}

fn starvation(context: &Context) -> Verdict {
    let opened = started(context)?;
    let mut little = Little::new(1);
    little.add(1, 7);
    for turn in 1..=2000 {
        // The other user's queue is never empty, and its jobs are always the newest and the oldest.
        little.add(1 + turn, 8);
        little.turn(&opened)?;
        if little.placed.contains(&1) {
            return passed_with(format!("placed by plan {turn}"));
        }
        if little.waiting.len() > 200 {
            little.waiting.truncate(200);
        }
    }
    noted(
        "a single job waited for 2,000 plans because another user always had a job, too: users can starve",
    )
}

fn invocations_end(context: &Context) -> Verdict {
    let opened = started(context)?;
    let step = |step_id| StepOffer {
        step_id,
        order_index: u32::try_from(step_id % 10).unwrap_or(0),
        step_type: "tool".into(),
        tool_id: "cat1".into(),
        expected_jobs: 1,
        ..StepOffer::default()
    };
    let mut left: BTreeMap<u64, Vec<u64>> = (1..=12)
        .map(|id| (id, (10 * id..10 * id + 3).collect()))
        .collect();
    for turn in 1..=2000_u64 {
        let now_ms = EPOCH_MS + i64::try_from(turn).unwrap_or(0) * 1000;
        let offers = left.iter().map(|(id, steps)| InvocationOffer {
            id: *id,
            uuid: format!("00000000-0000-4000-8000-{id:012}").into(),
            user_id: id % 3,
            workflow_name: "a workflow".into(),
            state: "ready".into(),
            create_time_ms: EPOCH_MS,
            age_ms: now_ms - EPOCH_MS,
            steps: steps.iter().map(|id| step(*id)).collect(),
            ..InvocationOffer::default()
        });
        let request = PlanRequest {
            cycle: turn,
            now_ms,
            seed: turn,
            invocations: offers.collect(),
            ..PlanRequest::default()
        };
        let plan = plan(&opened, request)?;
        for decision in &plan.invocations {
            if decision.decision == InvocationVerdict::REJECT {
                left.remove(&decision.invocation_id);
            } else if decision.decision == InvocationVerdict::EXPAND && decision.job_budget != 0 {
                let steps = left.entry(decision.invocation_id).or_default();
                steps.retain(|step| !decision.expand.contains(step));
            }
        }
        left.retain(|_, steps| !steps.is_empty());
        if left.is_empty() {
            return passed_with(format!("{turn} plans"));
        }
    }
    Err(format!(
        "after 2,000 plans {} of 12 invocations have steps that were never expanded",
        left.len()
    ))
}

fn reasons(context: &Context) -> Verdict {
    let opened = started(context)?;
    let (mut held, mut silent, mut rejected_silently) = (0, 0, 0);
    for request in traces::built_in(100) {
        let plan = plan(&opened, request)?;
        for decision in &plan.jobs {
            if decision.decision == JobVerdict::REJECT && decision.text.is_empty() {
                rejected_silently += 1;
            }
            if decision.decision == JobVerdict::HOLD {
                held += 1;
                silent += usize::from(decision.text.is_empty());
            }
        }
        for decision in &plan.invocations {
            if decision.decision == InvocationVerdict::REJECT && decision.text.is_empty() {
                rejected_silently += 1;
            }
            if decision.decision == InvocationVerdict::HOLD {
                held += 1;
                silent += usize::from(decision.text.is_empty());
            }
        }
    }
    if rejected_silently > 0 {
        return Err(format!(
            "{rejected_silently} rejections have no text; their owners see it"
        ));
    }
    if silent > 0 {
        return noted(format!(
            "{silent} of {held} holds have no text; somebody will ask why it waits"
        ));
    }
    passed()
}

fn timed(context: &Context, jobs: u64, rounds: u32) -> Result<Duration, String> {
    let opened = started(context)?;
    let mut dice = Dice::new(5);
    let mut request = traces::job_plan(0, jobs, &mut dice);
    request.runners = vec![traces::runner("local", 64, 64, jobs / 2)].into();
    let mut best = Duration::MAX;
    for _ in 0..rounds {
        let begin = Instant::now();
        plan(&opened, request.clone())?;
        best = best.min(begin.elapsed());
    }
    Ok(best)
}

fn within(context: &Context, jobs: u64, rounds: u32, limit: Duration) -> Verdict {
    let best = timed(context, jobs, rounds)?;
    if best > limit {
        return Err(format!(
            "the best of {rounds} plans of {jobs} jobs took {best:.1?}, the limit is {limit:?}"
        ));
    }
    passed_with(format!("{best:.1?}"))
}

fn time(context: &Context) -> Verdict {
    within(context, 1000, 5, Duration::from_millis(250))
}

fn large(context: &Context) -> Verdict {
    within(context, 100_000, 1, Duration::from_secs(10))
}
