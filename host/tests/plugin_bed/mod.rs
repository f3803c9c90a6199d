//! Plugins loaded in a test's process, the faulty ones among them.
#![allow(dead_code, reason = "each test uses a part of it")]

use barycenter::plugins::{Plugins, PluginsConfig, SchedulerInstance, SupervisionState, Wiring};
use barycenter_plugin_api::{
    InvocationOffer, JobReport, PlanRequest, ReadyJob, RunnerOffer, StepOffer,
};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// The folder with the plugin libraries. Testing does not build cdylibs of other packages.
pub static BUILT: LazyLock<PathBuf> = LazyLock::new(|| {
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
    barycenter::program::use_program(program);
    folder
});

pub struct Loaded {
    pub plugins: Plugins,
    pub reports: UnboundedReceiver<(String, Vec<JobReport>)>,
    pub wakes: Arc<AtomicUsize>,
    pub data: TempDir,
}

pub fn try_load(text: &str) -> Result<Loaded, String> {
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

pub fn load(text: &str) -> Loaded {
    try_load(text).unwrap_or_else(|faults| panic!("{faults}"))
}

impl Loaded {
    pub fn faulty(&self) -> SchedulerInstance {
        self.plugins.scheduler("faulty").expect("it is loaded")
    }

    pub fn state(&self) -> SupervisionState {
        self.faulty().supervision().status().state
    }

    pub fn wait_for(&self, state: SupervisionState) {
        wait_until(&format!("{state:?}"), || self.state() == state);
    }
}

#[track_caller]
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < end, "never {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub fn request(jobs: u64) -> Arc<PlanRequest> {
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
