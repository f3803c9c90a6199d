//! From loaded invocations to what is to be stored of them: the schedulers are asked, and what they allow is carried out.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use barycenter_plugin_api::{
    Attr, InvocationDecision, InvocationOffer, InvocationVerdict, Plan, PlanRequest, StepOffer,
};
use serde_json::Value;

use super::active::ActiveJobs;
use super::asking::{NoPlan, ask};
use super::contents::{DataFiles, read_contents, write_contents};
use super::dispatch::Capacity;
use super::engine::Services;
use super::iteration::Loaded;
use super::lanes::Lane;
use super::modules::PluginModules;
use crate::invoker::iteration::{Allowed, Iteration, Outcome, Tools, stopped};
use crate::invoker::offers::offers;
use crate::invoker::progress::Progress;
use crate::invoker::stop::{Stop, Wait};
use crate::invoker::writes::{Held, Hold, Writes};
use crate::model::message::{InvocationMessage, reason};
use crate::model::state::InvocationEvent;
use crate::model::workflow::StepDescription;
use crate::plugins::{WORD_MAX, tame};
use crate::tools::expression::with_patience;
use crate::tools::{Tool, Toolbox};

/// What became of one invocation.
pub(super) enum Decided {
    Outcome(Outcome),
    /// Nothing could be decided, for a reason that its owner is told.
    Nothing(Outcome, String),
    Fault(String),
    /// Its conditions take long: it keeps its signal for whoever has more time.
    InTheSlowLane,
}

pub(super) type Planned = Vec<(Loaded, Decided)>;

/// Everything between loading and storing. Blocks: plugins are asked, expressions evaluated, small files read and written.
pub(super) fn plan(
    services: &Services,
    lane: Lane,
    loaded: Vec<Loaded>,
    capacity: &Capacity,
) -> (Planned, Vec<(i64, Duration)>) {
    let tools = StepTools {
        toolbox: services.toolbox.clone(),
    };
    let modules = PluginModules {
        plugins: services.plugins.clone(),
        clock: services.clock.clone(),
    };
    let files = DataFiles::of(&services.data);
    let iteration = Iteration {
        tools: &tools,
        modules: &modules,
        ids: services.store.ids.as_ref(),
        files: &files,
    };
    let now = services.clock.now_ms();
    let mut planned = Planned::new();
    let mut spent = Vec::new();
    let mut by_scheduler: BTreeMap<String, Vec<Loaded>> = BTreeMap::new();
    for mut one in loaded {
        if !one.goes_on
            && let Err(error) = read_contents(services, &mut one.progress.known)
        {
            planned.push((one, Decided::Fault(error.to_string())));
            continue;
        }
        let mut writes = Writes::default();
        if let Err(stop) = one.progress.recover(&modules, &mut writes.holds) {
            let outcome = stopped(one.head.id, writes, stop);
            planned.push((one, Decided::Outcome(outcome)));
            continue;
        }
        let default = services.plugins.default_scheduler_id();
        let scheduler = one
            .head
            .scheduler
            .as_deref()
            .filter(|s| !s.is_empty())
            .unwrap_or(default);
        by_scheduler
            .entry(scheduler.to_owned())
            .or_default()
            .push(one);
    }
    for (scheduler, group) in by_scheduler {
        let offers = group.iter().map(|one| offer(one, now));
        // Who takes invocations by himself is not asked what to expand: everything becomes jobs, which he then takes.
        let passive = services
            .plugins
            .scheduler(&scheduler)
            .is_some_and(|instance| !instance.is_active());
        let plan = match passive {
            true => Ok(Plan {
                invocations: offers.map(|o| InvocationDecision::expand_all(&o)).collect(),
                ..Default::default()
            }
            .into()),
            false => {
                let request = PlanRequest {
                    now_ms: now,
                    seed: now as u64,
                    invocations: offers.collect(),
                    runners: capacity.runners.clone(),
                    load: capacity.load.clone(),
                    ..Default::default()
                };
                ask(&services.plugins, &scheduler, request)
            }
        };
        let plan = match plan {
            Ok(plan) => plan,
            Err(NoPlan { fault, told }) => {
                planned.extend(group.into_iter().map(|one| {
                    // Who was not asked is not the invocation's fault, and whoever comes back wakes what waits for it.
                    let again = now
                        + if fault.is_some() {
                            ASK_FAILED_MS
                        } else {
                            ASK_AWAY_MS
                        };
                    let outcome = held(one.head.id, &told.code, &told.text, again, None);
                    let decided = match &fault {
                        Some(fault) => Decided::Nothing(outcome, fault.clone()),
                        None => Decided::Outcome(outcome),
                    };
                    (one, decided)
                }));
                continue;
            }
        };
        let decisions: HashMap<u64, &InvocationDecision> = plan
            .invocations
            .iter()
            .map(|decision| (decision.invocation_id, decision))
            .collect();
        let times = Times {
            now,
            plan_wake: plan.wake_at_ms,
        };
        for mut one in group {
            let user = one.head.user_id;
            let is_slow = |spent: &[(i64, Duration)]| {
                let mut of_user = spent.iter().filter(|(whose, _)| *whose == user);
                lane == Lane::Fast && of_user.any(|(_, spent)| *spent >= lane.patience())
            };
            if is_slow(&spent) {
                planned.push((one, Decided::InTheSlowLane));
                continue;
            }
            let (outcome, took) = with_patience(lane.patience(), || {
                match decisions.get(&(one.head.id as u64)) {
                    Some(decision) => carry_out(&iteration, &mut one.progress, decision, times),
                    None => held(one.head.id, "", "", times.again(0), None),
                }
            });
            if decisions
                .get(&(one.head.id as u64))
                .is_some_and(|decision| is_tight(decision))
            {
                one.active = None;
            }
            spent.push((user, took));
            if is_slow(&spent) {
                files.take_lack();
                planned.push((one, Decided::InTheSlowLane));
                continue;
            }
            let faultless = match files.take_lack() {
                Some(error) => Err(error),
                None => write_contents(services, &outcome.writes),
            };
            let decided = match faultless {
                Ok(()) => Decided::Outcome(outcome),
                Err(error) => Decided::Fault(error.to_string()),
            };
            planned.push((one, decided));
        }
    }
    (planned, spent)
}

/// Invocations of a scheduler that is away are looked at after this time at the latest.
const ASK_AWAY_MS: i64 = 10_000;
/// And those whose scheduler was asked and gave no plan.
const ASK_FAILED_MS: i64 = 2_000;

fn offer(one: &Loaded, now: i64) -> InvocationOffer {
    let (head, progress) = (&one.head, &one.progress);
    let steps = offers(progress).into_iter().map(|offer| {
        let step = &progress.revision.description.steps[offer.order_index];
        StepOffer {
            step_id: offer.step_id as u64,
            order_index: offer.order_index as u32,
            step_type: step.step_type.as_str().into(),
            tool_id: step.tool_id.as_deref().unwrap_or_default().into(),
            label: step.label.as_deref().unwrap_or_default().into(),
            expected_jobs: offer.expected_jobs,
            ..Default::default()
        }
    });
    let parameters = progress.replacements.iter().map(|(name, value)| Attr {
        name: name.as_str().into(),
        value: Value::String(value.clone()).to_string().into(),
    });
    InvocationOffer {
        id: head.id as u64,
        uuid: head.uuid.to_string().into(),
        user_id: head.user_id as u64,
        history_id: head.history_id as u64,
        workflow_name: progress.revision.description.name.as_str().into(),
        state: head.state.code().into(),
        create_time_ms: head.create_time,
        age_ms: now - head.create_time,
        active_jobs: one.active.map_or(0, ActiveJobs::told),
        steps: steps.collect(),
        parameters: parameters.collect(),
        ..Default::default()
    }
}

/// When it is, and when the scheduler wants to be asked again about whatever names no time of its own.
#[derive(Clone, Copy)]
struct Times {
    now: i64,
    plan_wake: i64,
}

impl Times {
    /// When to ask again about something that is held. Without an instant the scheduler is asked again after a while, so
    /// that nothing is forgotten.
    fn again(self, own_wake: i64) -> i64 {
        const ASK_AGAIN_MS: i64 = 60_000;
        match (own_wake, self.plan_wake) {
            (own, _) if own > 0 => own,
            (_, plan) if plan > 0 => plan,
            _ => self.now + ASK_AGAIN_MS,
        }
    }
}

/// So many jobs are stored with one commit where going on costs little, whatever the scheduler allows: others write, too.
const JOBS_AT_ONCE: usize = 250;

/// Whether a scheduler allows so few jobs that it matters to it how many there are.
fn is_tight(decision: &InvocationDecision) -> bool {
    usize::try_from(decision.job_budget).is_ok_and(|budget| budget < JOBS_AT_ONCE)
}

fn carry_out(
    iteration: &Iteration<'_>,
    progress: &mut Progress,
    decision: &InvocationDecision,
    times: Times,
) -> Outcome {
    match decision.decision {
        InvocationVerdict::EXPAND => {
            let held = decision
                .holds
                .iter()
                .map(|hold| (hold.step_id as i64, hold.text.to_string()));
            let budget = usize::try_from(decision.job_budget).ok();
            let budget = match progress.can_go_on() {
                true => Some(budget.map_or(JOBS_AT_ONCE, |budget| budget.min(JOBS_AT_ONCE))),
                false => budget,
            };
            let allowed = Allowed {
                expand: Some(decision.expand.iter().map(|id| *id as i64).collect()),
                held: held.collect(),
                job_budget: budget,
            };
            let mut outcome = iteration.run(progress, &allowed);
            let wakes = decision.wake_at_ms > 0 || !decision.holds.is_empty();
            if wakes && outcome.event == Some(InvocationEvent::StepsRemain) {
                let again = times.again(decision.wake_at_ms);
                outcome.writes.waits.push(Wait::Until(again));
                let holds = step_holds(progress, decision, again);
                outcome.writes.holds.extend(holds);
            }
            outcome
        }
        InvocationVerdict::REJECT => stopped(
            progress.invocation_id,
            Writes::default(),
            Stop::fail(InvocationMessage {
                reason: reason::UNEXPECTED_FAILURE,
                details: Some(format!(
                    "The scheduler rejected this invocation: {}",
                    tame(&decision.text, WORD_MAX)
                )),
                ..Default::default()
            }),
        ),
        _ => {
            let again = times.again(decision.wake_at_ms);
            let named = (decision.wake_at_ms > 0).then_some(again);
            held(progress.invocation_id, "", &decision.text, again, named)
        }
    }
}

/// Why the scheduler holds steps.
fn step_holds(progress: &Progress, decision: &InvocationDecision, again: i64) -> Vec<Hold> {
    let ids = &progress.revision.step_ids;
    let holds = decision.holds.iter().filter_map(|hold| {
        let order_index = ids.iter().position(|id| *id as u64 == hold.step_id)?;
        Some(Hold {
            what: Held::Step(order_index),
            code: hold.code.to_string(),
            text: hold.text.to_string(),
            wake_time: (decision.wake_at_ms > 0).then_some(again),
        })
    });
    holds.collect()
}

/// A pass in which the scheduler wants nothing done.
fn held(invocation_id: i64, code: &str, why: &str, again: i64, wake_time: Option<i64>) -> Outcome {
    let why = match why {
        "" => "The scheduler holds this invocation and does not say why.",
        why => why,
    };
    let mut outcome = stopped(
        invocation_id,
        Writes::default(),
        Stop::Delayed {
            why: why.to_owned(),
            waits: vec![Wait::Scheduler, Wait::Until(again)],
        },
    );
    outcome.writes.holds.push(Hold {
        what: Held::Invocation,
        code: code.to_owned(),
        text: why.to_owned(),
        wake_time,
    });
    outcome
}

/// The toolbox, as the invoker asks for it.
struct StepTools {
    toolbox: Arc<Toolbox>,
}

impl Tools for StepTools {
    fn tool(
        &self,
        step: &StepDescription,
        _dynamic_tool_id: Option<i64>,
    ) -> Result<Arc<Tool>, String> {
        if let Some(uuid) = &step.tool_uuid
            && let Some(tool) = self.toolbox.get_dynamic(uuid)
        {
            return Ok(tool);
        }
        let id = step.tool_id.as_deref().unwrap_or_default();
        match self.toolbox.get(id, step.tool_version.as_deref()) {
            Some(found) => Ok(found.tool),
            None => Err(format!("Not installed: {}.", step.tool_name())),
        }
    }
}
