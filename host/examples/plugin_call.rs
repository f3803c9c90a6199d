//! What it costs that a scheduler is a library: `plan` through the loaded library, through a process of its own, and linked
//! statically, with 0, 10, 1,000 and 10,000 ready jobs; what an empty call costs; how soon a process that was killed
//! serves again. Beside what goes into a process, what the machine takes to bring as many bytes into another process and
//! back. Prints lines of JSON, in nanoseconds.
//!
//! `cargo build --release` first, then `cargo run --release -p barycenter --example plugin_call [RUNS]`

use std::hint::black_box;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use barycenter::plugins::{Plugins, PluginsConfig, SchedulerInstance, Wiring, check_plan, process};
use barycenter_plugin_api::abi::{HEADER_SYMBOL, SchedulerBox};
use barycenter_plugin_api::open::open_root;
use barycenter_plugin_api::testing::FakeHost;
use barycenter_plugin_api::{API_VERSION, PlanRequest, Plugin, ReadyJob, RunnerOffer, Scheduler};
use default_scheduler::DefaultScheduler;

/// How long each side is called in a run.
const CALLED: Duration = Duration::from_millis(400);

/// What somebody else's call finds: the plugin did nothing for so long.
const PAUSE: Duration = Duration::from_millis(5);

fn main() {
    let mut arguments = std::env::args().skip(1);
    let first = arguments.next().unwrap_or_default();
    if first == "echo" {
        let mut size = || arguments.next().and_then(|text| text.parse().ok());
        return echo(size().expect("a size"), size().expect("a size"));
    }
    let runs: usize = first.parse().unwrap_or(3);
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
        let (mut floor_ns, mut loaded_pause_ns) = (Vec::new(), Vec::new());
        let (mut process_pause_ns, mut floor_pause_ns) = (Vec::new(), Vec::new());
        let plan = linked.plan(&request).expect("a plan");
        let (sent, received) = process::plan_bytes(&request, plan).expect("bytes");
        let mut floor = Floor::start(HEAD + sent, HEAD + received);
        for _ in 0..runs {
            linked_ns.push(measure(|| linked.plan(&request).expect("a plan")));
            loaded_ns.push(measure(|| loaded.plan(&request).expect("a plan")));
            process_ns.push(measure(|| apart.plan(&request).expect("a plan")));
            floor_ns.push(measure(|| floor.call()));
            loaded_pause_ns.push(after_a_pause(|| loaded.plan(&request).expect("a plan")));
            process_pause_ns.push(after_a_pause(|| apart.plan(&request).expect("a plan")));
            floor_pause_ns.push(after_a_pause(|| floor.call()));
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
            "process_ns": process_ns, "clone_ns": clone_ns, "floor_ns": floor_ns, "loaded_pause_ns": loaded_pause_ns,
            "process_pause_ns": process_pause_ns, "floor_pause_ns": floor_pause_ns,
            "request_bytes": sent, "answer_bytes": received,
        });
        println!("{line}");
    }
    let mut empty_static: Vec<f64> = Vec::new();
    let (mut function_ns, mut raw_ns, mut guarded_ns) = (Vec::new(), Vec::new(), Vec::new());
    let mut object = open();
    let (mut empty_ns, mut empty_process_ns) = (Vec::new(), Vec::new());
    let (mut known_ns, mut serving_ns) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        empty_static.push(measure(|| black_box(&mut linked).startup()));
        function_ns.push(measure_small(|| address_of(black_box(&mut linked))));
        raw_ns.push(measure_small(|| black_box(&mut object).instance()));
        guarded_ns.push(measure_small(|| {
            black_box(&mut object).startup().into_result()
        }));
        empty_ns.push(measure(|| loaded.startup().expect("it does nothing")));
        empty_process_ns.push(measure(|| apart.startup().expect("it does nothing")));
        let (known, serving) = killed(&apart, &Arc::new(request(10)));
        known_ns.push(known);
        serving_ns.push(serving);
    }
    let line = serde_json::json!({
        "function_ns": function_ns, "raw_ns": raw_ns, "guarded_ns": guarded_ns,
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

/// The same for a call of a few nanoseconds.
fn measure_small<T>(mut call: impl FnMut() -> T) -> f64 {
    const CALLS: u32 = 10_000;
    let all = measure(|| {
        for _ in 0..CALLS {
            black_box(call());
        }
    });
    all / f64::from(CALLS)
}

/// The median of calls that come after a pause each: caches are cold, and the other side sleeps.
fn after_a_pause<T>(mut call: impl FnMut() -> T) -> f64 {
    let mut took: Vec<f64> = (0..60)
        .map(|_| {
            std::thread::sleep(PAUSE);
            let begin = Instant::now();
            black_box(call());
            begin.elapsed().as_nanos() as f64
        })
        .collect();
    took.sort_by(f64::total_cmp);
    took[took.len() / 2]
}

/// What the raw call across the border does: gives an address.
#[inline(never)]
fn address_of(scheduler: &mut DefaultScheduler) -> *mut () {
    std::ptr::from_mut(scheduler).cast()
}

/// An object of the default scheduler's library, as the library makes it: nothing of the host is in between.
#[expect(unsafe_code, reason = "a library is opened")]
fn open() -> SchedulerBox {
    let path = built().join("libdefault_scheduler.so");
    // SAFETY: it is our own library; its initialisers do nothing.
    let library = unsafe { libloading::Library::new(&path) }.expect("build the plugins first");
    // SAFETY: the symbol is a static of the library, which is never closed.
    let header: *const () = unsafe {
        let symbol = library.get::<*const ()>(HEADER_SYMBOL.as_bytes());
        symbol
            .expect("it is a plugin")
            .try_as_raw_ptr()
            .expect("an address")
            .cast()
    };
    std::mem::forget(library);
    // SAFETY: the library was built together with this program.
    let root = unsafe { open_root(header, API_VERSION.1) };
    let root = root.unwrap_or_else(|error| panic!("{}", error.summary));
    let made = root.scheduler()("{}".into(), FakeHost::new().host().into_object());
    made.into_result().expect("its options have defaults")
}

/// A frame has some bytes besides.
const HEAD: usize = 12;

/// What no call into a process can be faster than: as many bytes there and back, and nothing done with them.
struct Floor {
    child: Child,
    stream: UnixStream,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Floor {
    fn start(request: usize, answer: usize) -> Self {
        let (stream, theirs) = UnixStream::pair().expect("two sockets");
        let program = std::env::current_exe().expect("the program's path");
        let child = Command::new(program)
            .args(["echo", &request.to_string(), &answer.to_string()])
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()
            .expect("this program again");
        Self {
            child,
            stream,
            request: vec![1; request],
            answer: vec![0; answer],
        }
    }

    fn call(&mut self) {
        self.stream.write_all(&self.request).expect("it is read");
        self.stream.read_exact(&mut self.answer).expect("an answer");
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
        let _ = self.child.wait();
    }
}

/// The other side of [`Floor`].
fn echo(request: usize, answer: usize) {
    let stdin = std::io::stdin();
    let stream = stdin.as_fd().try_clone_to_owned().expect("a socket");
    let mut stream = UnixStream::from(stream);
    let (mut request, answer) = (vec![0; request], vec![1; answer]);
    while stream.read_exact(&mut request).is_ok() {
        if stream.write_all(&answer).is_err() {
            return;
        }
    }
}

/// The folder that this program was built in.
fn built() -> std::path::PathBuf {
    let program = std::env::current_exe().expect("the program's path");
    // target/release/examples/plugin_call
    let built = program.ancestors().nth(2).expect("the target folder");
    built.to_owned()
}

/// The shipped plugins, from the folder that this program was built in.
fn load() -> Plugins {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut text = std::fs::read_to_string(repository.join("plugins.toml")).expect("plugins.toml");
    text.push_str("[[scheduler]]\ntype = \"default\"\nid = \"apart\"\nisolation = \"process\"\n");
    let mut config = PluginsConfig::parse(&text, "plugins.toml", &repository)
        .expect("the shipped plugins.toml is right");
    let built = built();
    config.search.push(built.clone());
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
