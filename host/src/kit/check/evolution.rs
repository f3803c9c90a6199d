//! E: hosts and plugins of other versions. P: the same answers whatever the plugin runs in.

use std::sync::Arc;

use barycenter_plugin_api::testing::FakeHost;
use barycenter_plugin_api::{API_VERSION, Attr, Host, HostApi, LogLevel, PlanRequest, PluginError};

use super::{
    ALL, Context, SCHEDULER, Test, Verdict, faults_or_passed, left_out, passed, passed_with,
};
use crate::kit::traces;
use crate::plugins::PluginCallError;

pub(super) const TESTS: [Test; 6] = [
    Test {
        id: "E.api",
        text: "it was built for a version of the contract that this server and its neighbours have",
        kinds: ALL,
        run: api,
    },
    Test {
        id: "E.attrs",
        text: "what a later version adds to the values makes no difference",
        kinds: SCHEDULER,
        run: attrs,
    },
    Test {
        id: "E.host",
        text: "a host of a later version, which answers with more than is asked, is understood",
        kinds: ALL,
        run: later_host,
    },
    Test {
        id: "E.state",
        text: "what it saves is taken back by another instance",
        kinds: SCHEDULER,
        run: state,
    },
    Test {
        id: "P.answers",
        text: "inside the server and in a process of its own it gives the same answers, byte for byte",
        kinds: ALL,
        run: answers,
    },
    Test {
        id: "P.errors",
        text: "what it refuses, it refuses with the same sentence in both",
        kinds: ALL,
        run: errors,
    },
];

fn api(context: &Context) -> Verdict {
    let (major, minor, _) = context.subject.preamble.api;
    let (_, ours, _) = API_VERSION;
    match minor.cmp(&ours) {
        std::cmp::Ordering::Equal => passed_with(format!("{major}.{minor}, as this server")),
        std::cmp::Ordering::Less => {
            passed_with(format!("{major}.{minor}; this server has {major}.{ours}"))
        }
        std::cmp::Ordering::Greater => passed_with(format!(
            "{major}.{minor}, newer than this server's {major}.{ours}"
        )),
    }
}

/// The request as a later version might send it.
fn with_additions(mut request: PlanRequest) -> PlanRequest {
    let addition = || {
        Attr::json(
            "of_a_later_version",
            &serde_json::json!({ "deep": [1, null, "x"] }),
        )
    };
    request.attrs.push(addition());
    for job in request.jobs.iter_mut() {
        job.attrs.push(addition());
    }
    for runner in request.runners.iter_mut() {
        runner.attrs.push(addition());
        runner.attrs.push(Attr {
            name: "not_json".into(),
            value: "{".into(),
        });
    }
    for load in request.load.iter_mut() {
        load.attrs.push(addition());
    }
    for offer in request.invocations.iter_mut() {
        offer.attrs.push(addition());
        for step in offer.steps.iter_mut() {
            step.attrs.push(addition());
        }
    }
    request
}

fn attrs(context: &Context) -> Verdict {
    let (plain, _) = context.open()?;
    let (added, _) = context.open()?;
    for (at, request) in traces::built_in(60).into_iter().enumerate() {
        let one = plain
            .scheduler()?
            .plan(&Arc::new(request.clone()))
            .map_err(|error| error.to_string())?;
        let request = Arc::new(with_additions(request));
        let other = added
            .scheduler()?
            .plan(&request)
            .map_err(|error| format!("with additions: {error}"))?;
        if one != other {
            return Err(format!(
                "plan {at} differs when attributes are added that it cannot know"
            ));
        }
    }
    passed()
}

/// Knows every question and answers with more than was ever asked.
struct Later;

impl HostApi for Later {
    fn log(&self, _: LogLevel, _: &str, _: &str) {}

    fn log_enabled(&self, level: LogLevel) -> bool {
        level == LogLevel::ERROR
    }

    fn query(&self, kind: &str, _: &str) -> Result<String, PluginError> {
        Ok(
            serde_json::json!({ "kind": kind, "of_a_later_version": true, "items": [] })
                .to_string(),
        )
    }
}

fn later_host(context: &Context) -> Verdict {
    let opened = context.subject.open("inproc", Host::new(Later))?;
    if let Ok(scheduler) = opened.scheduler() {
        for request in traces::built_in(20) {
            scheduler
                .plan(&Arc::new(request))
                .map_err(|error| error.to_string())?;
        }
    }
    if let Ok(module) = opened.module() {
        for kind in super::module::KINDS {
            let outcome = module.execute(&super::module::step(module, kind, "null"));
            if let Err(
                error @ (PluginCallError::Panicked { .. } | PluginCallError::Invalid { .. }),
            ) = outcome
            {
                return Err(error.to_string());
            }
        }
    }
    if let Ok(runner) = opened.runner() {
        runner.capacity().map_err(|error| error.to_string())?;
    }
    passed()
}

fn state(context: &Context) -> Verdict {
    let (first, _) = context.open()?;
    let scheduler = first.scheduler()?;
    if !scheduler
        .capabilities()
        .has(barycenter_plugin_api::capability::STATE)
    {
        return left_out("it keeps no state");
    }
    let text = |error: PluginCallError| error.to_string();
    let plans: Vec<Arc<PlanRequest>> = traces::built_in(40).into_iter().map(Arc::new).collect();
    for request in &plans[..20] {
        scheduler.plan(request).map_err(text)?;
    }
    let saved = scheduler.snapshot_state().map_err(text)?;
    let (second, _) = context.open()?;
    let restored = second.scheduler()?;
    restored.startup().map_err(text)?;
    restored.restore_state(&saved).map_err(text)?;
    let mut faults = Vec::new();
    for (at, request) in plans[20..].iter().enumerate() {
        if scheduler.plan(request).map_err(text)? != restored.plan(request).map_err(text)? {
            faults.push(format!(
                "plan {at} after the restart differs from that without one"
            ));
            break;
        }
    }
    for broken in ["", "{", "null", "{\"of\":\"another version\"}"] {
        let (third, _) = context.open()?;
        if let Err(error @ PluginCallError::Panicked { .. }) =
            third.scheduler()?.restore_state(broken)
        {
            faults.push(format!("the state {broken:?}: {error}"));
        }
    }
    faults_or_passed(faults)
}

fn answers(context: &Context) -> Verdict {
    let inside = context.subject.open("inproc", FakeHost::new().host())?;
    let outside = context.subject.open("process", FakeHost::new().host())?;
    let mut compared = 0;
    let mut faults = Vec::new();
    let mut compare = |what: String, one: String, other: String| {
        compared += 1;
        if one != other && faults.len() < 5 {
            faults.push(format!(
                "{what}: {} inside, {} in a process",
                cut(&one),
                cut(&other)
            ));
        }
    };
    if let (Ok(one), Ok(other)) = (inside.scheduler(), outside.scheduler()) {
        let recorded =
            traces::recorded_plans(&context.traces).map_err(|error| error.to_string())?;
        for (at, request) in traces::built_in(100)
            .into_iter()
            .chain(recorded)
            .enumerate()
        {
            let request = Arc::new(request);
            compare(
                format!("plan {at}"),
                text(&one.plan(&request)),
                text(&other.plan(&request)),
            );
        }
    }
    if let (Ok(one), Ok(other)) = (inside.module(), outside.module()) {
        compare(
            "describe".to_owned(),
            json(one.description()),
            json(other.description()),
        );
        for kind in super::module::KINDS {
            let step = super::module::step(one, kind, "true");
            compare(
                format!("execute with {kind}"),
                text(&one.execute(&step)),
                text(&other.execute(&step)),
            );
            let recovered = (
                text(&one.recover_mapping(&step)),
                text(&other.recover_mapping(&step)),
            );
            compare(
                format!("recover_mapping with {kind}"),
                recovered.0,
                recovered.1,
            );
        }
    }
    if let (Ok(one), Ok(other)) = (inside.runner(), outside.runner()) {
        compare(
            "capacity".to_owned(),
            text(&one.capacity()),
            text(&other.capacity()),
        );
        let stranger = [barycenter_plugin_api::JobRef::default()];
        compare(
            "cancel".to_owned(),
            text(&one.cancel(&stranger)),
            text(&other.cancel(&stranger)),
        );
    }
    if faults.is_empty() {
        return passed_with(format!("{compared} answers"));
    }
    faults_or_passed(faults)
}

fn errors(context: &Context) -> Verdict {
    let inside = context.subject.open("inproc", FakeHost::new().host())?;
    let outside = context.subject.open("process", FakeHost::new().host())?;
    if let (Ok(one), Ok(other)) = (inside.module(), outside.module()) {
        let step = super::module::step(one, barycenter_plugin_api::ValueKind::HDA, "null");
        for action in ["\"perhaps\"", "not json", "[]"] {
            let answers = [
                text(&one.do_invocation_step_action(&step, action)),
                text(&other.do_invocation_step_action(&step, action)),
            ];
            if answers[0] != answers[1] {
                return Err(format!(
                    "the action {action}: {} inside, {} in a process",
                    answers[0], answers[1]
                ));
            }
        }
        return passed();
    }
    // Options that it refuses.
    let nonsense = serde_json::json!({ "no_such_option_of_anybody": [] });
    let made = ["inproc", "process"].map(|isolation| {
        let made = context
            .subject
            .open_with(&nonsense, isolation, FakeHost::new().host());
        made.err().unwrap_or_default()
    });
    if made[0] != made[1] {
        return Err(format!("{:?} inside, {:?} in a process", made[0], made[1]));
    }
    passed()
}

fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn text<T: serde::Serialize>(outcome: &Result<T, PluginCallError>) -> String {
    match outcome {
        Ok(answer) => json(answer),
        Err(error) => error.to_string(),
    }
}

fn cut(text: &str) -> String {
    text.chars().take(200).collect()
}
