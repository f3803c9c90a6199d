//! What it costs that a scheduler is a library: `plan` through the loaded library and linked statically, with 0, 10 and
//! 1,000 ready jobs. Prints one line of JSON for each, in nanoseconds.
//!
//! `cargo build --release` first, then `cargo run --release -p barycenter --example plugin_call [RUNS]`

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use barycenter::plugins::{Plugins, PluginsConfig, Wiring, check_plan};
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
    let mut linked = DefaultScheduler::create(serde_json::json!({}), FakeHost::new().host())
        .expect("its options have defaults");
    for jobs in [0, 10, 1000] {
        let request = Arc::new(request(jobs));
        let (mut linked_ns, mut loaded_ns, mut check_ns) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..runs {
            linked_ns.push(measure(|| linked.plan(&request).expect("a plan")));
            loaded_ns.push(measure(|| loaded.plan(&request).expect("a plan")));
            let plan = linked.plan(&request).expect("a plan");
            check_ns.push(measure(|| check_plan(&request, &plan)));
        }
        // The host checks whatever a library answers; that is not the price of the library.
        let overhead_ns: Vec<f64> = (0..runs)
            .map(|run| loaded_ns[run] - check_ns[run] - linked_ns[run])
            .collect();
        let line = serde_json::json!({
            "jobs": jobs, "static_ns": linked_ns, "loaded_ns": loaded_ns, "check_ns": check_ns, "overhead_ns": overhead_ns,
        });
        println!("{line}");
    }
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
    let text = std::fs::read_to_string(repository.join("plugins.toml")).expect("plugins.toml");
    let mut config = PluginsConfig::parse(&text, "plugins.toml", &repository)
        .expect("the shipped plugins.toml is right");
    let program = std::env::current_exe().expect("the program's path");
    // target/release/examples/plugin_call
    let built = program.ancestors().nth(2).expect("the target folder");
    config.search.push(built.to_owned());
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
