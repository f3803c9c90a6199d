//! Plugins in processes of their own: what they may do wrong, and what the server makes of it.

use barycenter::plugins::{
    Loss, PluginCallError, Plugins, PluginsConfig, SchedulerInstance, SupervisionState, Wiring,
    process,
};
use barycenter_plugin_api::{
    InvocationOffer, JobReport, PlanRequest, PluginKind, ReadyJob, RunnerOffer, StepOffer,
};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// The folder with the plugin libraries. Testing does not build cdylibs of other packages.
static BUILT: LazyLock<PathBuf> = LazyLock::new(|| {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_barycenter"));
    let folder = program.parent().expect("a folder").to_owned();
    let target = folder.parent().expect("a target folder");
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["build", "--quiet", "--target-dir"])
        .arg(target)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    for package in [
        "barycenter-plugin-default-scheduler",
        "barycenter-plugin-pause-module",
        "barycenter-plugin-local-runner",
        "faulty-scheduler",
        "faulty-module",
        "faulty-runner",
    ] {
        cargo.args(["-p", package]);
    }
    assert!(
        cargo.status().expect("cargo runs").success(),
        "the plugins do not build"
    );
    process::use_program(program);
    folder
});

struct Loaded {
    plugins: Plugins,
    #[expect(dead_code, reason = "kept open")]
    reports: UnboundedReceiver<(String, Vec<JobReport>)>,
    wakes: Arc<AtomicUsize>,
    data: TempDir,
}

fn try_load(text: &str) -> Result<Loaded, String> {
    let text = format!("[[scheduler]]\ntype = \"default\"\n{text}");
    let mut config =
        PluginsConfig::parse(&text, "plugins.toml", Path::new("/")).expect("a good file");
    config.search.push(BUILT.clone());
    let (sender, reports) = unbounded_channel();
    let wakes = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&wakes);
    let wiring = Wiring::new(sender, move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
    });
    let data = tempfile::tempdir().expect("a folder");
    let plugins =
        Plugins::load(&config, &|id| wiring.host_for(id), Some(data.path())).map_err(|faults| {
            let texts: Vec<_> = faults.iter().map(ToString::to_string).collect();
            texts.join("\n")
        })?;
    Ok(Loaded {
        plugins,
        reports,
        wakes,
        data,
    })
}

fn load(text: &str) -> Loaded {
    try_load(text).unwrap_or_else(|faults| panic!("{faults}"))
}

impl Loaded {
    fn faulty(&self) -> &SchedulerInstance {
        self.plugins.scheduler("faulty").expect("it is loaded")
    }

    fn state(&self) -> SupervisionState {
        self.faulty().supervision().status().state
    }

    fn wait_for(&self, state: SupervisionState) {
        wait_until(&format!("{state:?}"), || self.state() == state);
    }
}

#[track_caller]
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < end, "never {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A faulty scheduler in a process of its own.
fn faulty(config: &str, limits: &str) -> Loaded {
    load(&format!(
        "[[scheduler]]\ntype = \"faulty\"\nisolation = \"process\"\nlimits = {{ {limits} }}\nconfig = {{ {config} }}\n"
    ))
}

fn request(jobs: u64) -> Arc<PlanRequest> {
    let job = |id| ReadyJob {
        id,
        cores: 1,
        tool_id: "cat1".into(),
        ..ReadyJob::default()
    };
    Arc::new(PlanRequest {
        invocations: vec![InvocationOffer {
            id: 1,
            steps: vec![StepOffer {
                step_id: 11,
                ..StepOffer::default()
            }]
            .into(),
            ..InvocationOffer::default()
        }]
        .into(),
        jobs: (100..100 + jobs).map(job).collect(),
        runners: vec![RunnerOffer {
            id: "local".into(),
            slots_total: 4,
            slots_free: 4,
            accepts: 4,
            ..RunnerOffer::default()
        }]
        .into(),
        ..PlanRequest::default()
    })
}

#[test]
fn a_scheduler_in_a_process_of_its_own_decides_as_one_in_the_server() {
    let loaded = faulty("fault = \"none\"", "");
    let status = loaded.faulty().supervision().status();
    assert_eq!(status.state, SupervisionState::Ready);
    assert!(status.pid.is_some_and(|pid| pid != std::process::id()));
    loaded.faulty().startup().expect("it starts");
    let plan = loaded.faulty().plan(&request(10)).expect("a plan");
    assert_eq!((plan.invocations.len(), plan.jobs.len()), (1, 4));
    let listed = loaded.plugins.list().iter().find(|one| one.id == "faulty");
    assert_eq!(
        listed.and_then(|one| one.isolation).map(|one| one.0.word()),
        Some("process")
    );
    loaded.faulty().shutdown().expect("it stops");
}

#[test]
fn a_process_that_is_lost_is_a_typed_error_and_another_takes_its_place() {
    for (fault, wanted) in [
        ("segfault", Loss::Signal(libc::SIGSEGV)),
        ("abort", Loss::Signal(libc::SIGABRT)),
        ("exit", Loss::Code(7)),
        ("overflow", Loss::Signal(libc::SIGABRT)),
    ] {
        let marker = tempfile::NamedTempFile::new().expect("a file");
        let config = format!(
            "fault = \"{fault}\", times = 1, marker = {:?}",
            marker.path()
        );
        let loaded = faulty(&config, "");
        let scheduler = loaded.faulty();
        scheduler.startup().expect("it starts");
        let first = scheduler.supervision().status().pid;
        let begin = Instant::now();
        let error = scheduler.plan(&request(10)).expect_err("it is lost");
        let told = begin.elapsed();
        let PluginCallError::Lost {
            loss,
            method: "plan",
            ..
        } = &error
        else {
            panic!("{fault}: {error:?}");
        };
        assert_eq!(*loss, wanted, "{fault}");
        let plan = scheduler.plan(&request(10)).expect("it serves again");
        let serving = begin.elapsed();
        println!("{fault}: typed error after {told:?}, serving again after {serving:?}");
        assert_eq!(plan.jobs.len(), 4);
        let status = scheduler.supervision().status();
        assert_eq!((status.losses, status.restarts), (1, 1));
        assert_ne!(status.pid, first);
        assert!(
            loaded.wakes.load(Ordering::Relaxed) >= 1,
            "nobody was woken"
        );
        assert!(
            Path::new("/proc")
                .join(status.pid.expect("a process").to_string())
                .exists()
        );
    }
}
