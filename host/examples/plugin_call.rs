//! What it costs that a scheduler is a library: `plan` through the loaded library, through a process of its own, and linked
//! statically, with 0, 10, 1,000 and 10,000 ready jobs; what an empty call costs; how soon a process that was killed
//! serves again. Prints lines of JSON, in nanoseconds.
//!
//! `cargo build --release` first, then `cargo run --release -p barycenter --example plugin_call [RUNS]`

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use barycenter::plugins::{Plugins, PluginsConfig, SchedulerInstance, Wiring, check_plan};
use barycenter_plugin_api::testing::FakeHost;
use barycenter_plugin_api::{PlanRequest, Plugin, ReadyJob, RunnerOffer, Scheduler};
use default_scheduler::DefaultScheduler;

/// How long each side is called in a run.
const CALLED: Duration = Duration::from_millis(400);

fn main() {
    let runs: usize = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(3);
    let plugins = load();
    let loaded = plugins
        .scheduler("default")
        .expect("the default scheduler is declared");
    let apart = plugins
        .scheduler("apart")
        .expect("the scheduler in a process is declared");
    let mut linked = DefaultScheduler::create(serde_json::json!({}), FakeHost::new().host())
        .expect("its options have defaults");
    for jobs in [0, 10, 1000, 10_000] {
        let request = Arc::new(request(jobs));
        let (mut linked_ns, mut loaded_ns, mut check_ns) = (Vec::new(), Vec::new(), Vec::new());
        let (mut process_ns, mut clone_ns) = (Vec::new(), Vec::new());
        for _ in 0..runs {
            linked_ns.push(measure(|| linked.plan(&request).expect("a plan")));
            loaded_ns.push(measure(|| loaded.plan(&request).expect("a plan")));
            process_ns.push(measure(|| apart.plan(&request).expect("a plan")));
            let plan = linked.plan(&request).expect("a plan");
            clone_ns.push(measure(|| ((*request).clone(), plan.clone())));
            check_ns.push(measure(|| check_plan(&request, &plan)));
        }
        // The host checks whatever a library answers; that is not the price of the library.
        let overhead_ns: Vec<f64> = (0..runs)
            .map(|run| loaded_ns[run] - check_ns[run] - linked_ns[run])
            .collect();
        let line = serde_json::json!({
            "jobs": jobs, "static_ns": linked_ns, "loaded_ns": loaded_ns, "check_ns": check_ns, "overhead_ns": overhead_ns,
            "process_ns": process_ns, "clone_ns": clone_ns,
        });
        println!("{line}");
    }
    let mut empty_static: Vec<f64> = Vec::new();
    let (mut empty_ns, mut empty_process_ns) = (Vec::new(), Vec::new());
    let (mut known_ns, mut serving_ns) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        empty_static.push(measure(|| black_box(&mut linked).startup()));
        empty_ns.push(measure(|| loaded.startup().expect("it does nothing")));
        empty_process_ns.push(measure(|| apart.startup().expect("it does nothing")));
        let (known, serving) = killed(&apart, &Arc::new(request(10)));
        known_ns.push(known);
        serving_ns.push(serving);
    }
    let line = serde_json::json!({
        "empty_static_ns": empty_static, "empty_ns": empty_ns, "empty_process_ns": empty_process_ns,
        "killed_known_ns": known_ns, "killed_serving_ns": serving_ns,
    });
    println!("{line}");
}

/// Kills the scheduler's process; when that is known, and when a plan is there again.
#[expect(unsafe_code, reason = "a signal is sent")]
fn killed(scheduler: &SchedulerInstance, request: &Arc<PlanRequest>) -> (f64, f64) {
    scheduler.supervision().release(); // earlier kills are forgotten
    let pid = scheduler.supervision().status().pid.expect("a process");
    let begin = Instant::now();
    // SAFETY: takes numbers only; the process is our child.
    unsafe {
        libc::kill(i32::try_from(pid).expect("a process id"), libc::SIGKILL);
    }
    while scheduler.supervision().status().losses == 0
        || scheduler.supervision().status().pid == Some(pid)
    {
        std::thread::sleep(Duration::from_micros(50));
    }
    let known = begin.elapsed().as_nanos() as f64;
    while scheduler.plan(request).is_err() {
        std::thread::sleep(Duration::from_micros(50));
    }
    (known, begin.elapsed().as_nanos() as f64)
}

/// Nanoseconds that a call takes, on average.
fn measure<T>(mut call: impl FnMut() -> T) -> f64 {
    let mut calls = 0_u64;
    let begin = Instant::now();
    while begin.elapsed() < CALLED {
        // Enough calls between two looks at the clock for it not to count.
        for _ in 0..50 {
            black_box(call());
        }
        calls += 50;
    }
    begin.elapsed().as_nanos() as f64 / calls as f64
}

/// The shipped plugins, from the folder that this program was built in.
fn load() -> Plugins {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut text = std::fs::read_to_string(repository.join("plugins.toml")).expect("plugins.toml");
    text.push_str("[[scheduler]]\ntype = \"default\"\nid = \"apart\"\nisolation = \"process\"\n");
    let mut config = PluginsConfig::parse(&text, "plugins.toml", &repository)
        .expect("the shipped plugins.toml is right");
    let program = std::env::current_exe().expect("the program's path");
    // target/release/examples/plugin_call
    let built = program.ancestors().nth(2).expect("the target folder");
    config.search.push(built.to_owned());
    barycenter::program::use_program(built.join("barycenter"));
    let (reports, _kept) = tokio::sync::mpsc::unbounded_channel();
    let wiring = Wiring::new(reports, |_| {});
    Plugins::load(&config, &|id| wiring.host_for(id), None)
        .unwrap_or_else(|faults| panic!("build the plugins first: {faults:?}"))
}

fn request(jobs: u64) -> PlanRequest {
    let job = |id| ReadyJob {
        id,
        invocation_id: 1,
        user_id: 1,
        history_id: 1,
        tool_id: "cat1".into(),
        cores: 1,
        ready_since_ms: 1_000 + id as i64,
        ..ReadyJob::default()
    };
    PlanRequest {
        cycle: 1,
        now_ms: 2_000,
        jobs: (1..=jobs).map(job).collect(),
        runners: vec![RunnerOffer {
            id: "local".into(),
            slots_total: 4,
            slots_free: 4,
            accepts: jobs,
            ..RunnerOffer::default()
        }]
        .into(),
        ..PlanRequest::default()
    }
}
