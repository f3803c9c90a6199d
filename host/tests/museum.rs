//! The museum: plugins as compilers of the day built them with every released version of the contract, beside plugins
//! of the present one and of the next. All in this one process.

use barycenter::plugins::{LoadError, Plugins, PluginsConfig, Wiring, inspect_bytes, load};
use barycenter_plugin_api::testing::FakeHost;
use barycenter_plugin_api::{
    API_VERSION, ExplainRequest, InvocationOffer, InvocationVerdict, JobSpec, JobStatus,
    JobVerdict, PlanRequest, PluginKind, ReadyJob, RunnerOffer, StepContext, StepInputValue,
    StepOffer, StepStatus, ValueKind, ValueRef, capability,
};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, LazyLock};
use tokio::sync::mpsc::unbounded_channel;

fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.join("..").canonicalize().unwrap()
}

/// Beside the folder in which this test was built.
fn target_folder() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    exe.ancestors().nth(3).unwrap().to_owned()
}

/// A library that is to be loaded.
#[derive(Debug, Clone)]
struct Exhibit {
    name: String,
    path: PathBuf,
    kind: PluginKind,
}

/// Everything in the museum, unpacked.
static COLLECTION: LazyLock<Vec<Exhibit>> = LazyLock::new(|| {
    let unpacked = target_folder().join("museum").join("unpacked");
    std::fs::create_dir_all(&unpacked).unwrap();
    let mut found = Vec::new();
    for version in std::fs::read_dir(repository().join("tests/museum")).unwrap() {
        let version = version.unwrap();
        let name = version.file_name().into_string().unwrap();
        if !name.starts_with(|first: char| first.is_ascii_digit()) {
            continue;
        }
        for file in std::fs::read_dir(version.path()).unwrap() {
            let file = file.unwrap().path();
            let stem = file.file_name().unwrap().to_str().unwrap().to_owned();
            let Some(stem) = stem.strip_suffix(".so.gz") else {
                continue;
            };
            let mut bytes = Vec::new();
            flate2::read::GzDecoder::new(std::fs::File::open(&file).unwrap())
                .read_to_end(&mut bytes)
                .unwrap();
            let path = unpacked.join(format!("{name}-{stem}.so"));
            std::fs::write(&path, bytes).unwrap();
            found.push(exhibit(format!("{name} {stem}"), path));
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
});

fn exhibit(name: String, path: PathBuf) -> Exhibit {
    let preamble = inspect_bytes(&std::fs::read(&path).unwrap())
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    let kind = preamble.kinds().next().unwrap();
    Exhibit { name, path, kind }
}

/// The samples, built now against `change`d sources of the contract.
fn built_with(name: &str, change: impl Fn(&Path)) -> PathBuf {
    let folder = target_folder().join("museum").join(name);
    let _ = std::fs::remove_dir_all(folder.join("sources"));
    let sources = folder.join("sources");
    barycenter::kit::api_sources::write_to(&sources.join("plugin-api")).unwrap();
    change(&sources.join("plugin-api"));
    let samples = repository().join("tests/museum/samples");
    copy(&samples, &sources.join("tests/museum/samples"));
    let built = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--package",
            "museum-scheduler",
            "--target-dir",
        ])
        .arg(folder.join("target"))
        .current_dir(sources.join("tests/museum/samples"))
        // Small is for what is committed; here it only takes time.
        .envs([
            ("CARGO_PROFILE_DEV_LTO", "off"),
            ("CARGO_PROFILE_DEV_OPT_LEVEL", "0"),
        ])
        .status();
    assert!(built.unwrap().success(), "{name} does not build");
    folder.join("target/debug/libmuseum_scheduler.so")
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

#[track_caller]
fn replace(file: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "{} has no {from:?}", file.display());
    std::fs::write(file, text.replacen(from, to, 1)).unwrap();
}

fn api_version(minor: u16) -> String {
    let (major, _, patch) = API_VERSION;
    format!("pub const API_VERSION: (u16, u16, u16) = ({major}, {minor}, {patch});")
}

/// The next minor version: a method more on the scheduler, a service more of the host.
fn next_minor(api: &Path) {
    let (_, minor, _) = API_VERSION;
    replace(
        &api.join("src/lib.rs"),
        &api_version(minor),
        &api_version(minor + 1),
    );
    let abi = api.join("src/abi.rs");
    let after = |file: &Path, first: &str, addition: &str| {
        let text = std::fs::read_to_string(file).unwrap();
        let at = text.find(first).unwrap_or_else(|| panic!("{first}"));
        let end = at + text[at..].find("\n}").unwrap();
        let text = format!("{}\n{addition}{}", &text[..end], &text[end..]);
        std::fs::write(file, text).unwrap();
    };
    after(
        &abi,
        "pub trait SchedulerObject",
        "    /// Of the next version.\n    fn of_the_next_version(&mut self) -> u64 { 7 }",
    );
    after(
        &abi,
        "pub trait HostObject",
        "    /// Of the next version.\n    fn service_of_the_next_version(&self) -> u64 { 0 }",
    );
}

/// Each library under an id of its own, in one registry.
fn load_all(
    exhibits: &[Exhibit],
) -> (
    Plugins,
    tokio::sync::mpsc::UnboundedReceiver<(String, Vec<barycenter_plugin_api::JobReport>)>,
) {
    let (sender, reports) = unbounded_channel();
    let wiring = Wiring::new(sender, |_| {});
    let mut text = String::from("[plugins]\ndefault_scheduler = \"s0\"\n");
    let mut module_is_in = false;
    for (at, exhibit) in exhibits.iter().enumerate() {
        // Of modules there is one of each type.
        if exhibit.kind == PluginKind::WorkflowModule && std::mem::replace(&mut module_is_in, true)
        {
            continue;
        }
        let preamble = inspect_bytes(&std::fs::read(&exhibit.path).unwrap()).unwrap();
        let letter = &exhibit.kind.name()[..1];
        text.push_str(&format!(
            "[[{}]]\ntype = \"{}\"\nid = \"{letter}{at}\"\npath = {:?}\nisolation = \"inproc\"\n",
            exhibit.kind,
            preamble.type_id,
            exhibit.path.display().to_string()
        ));
    }
    let first = exhibits
        .iter()
        .position(|exhibit| exhibit.kind == PluginKind::Scheduler)
        .unwrap();
    let text = text.replace("\"s0\"", &format!("\"s{first}\""));
    let config = PluginsConfig::parse(&text, "plugins.toml", Path::new("/")).unwrap();
    let plugins = Plugins::load(&config, &|id| wiring.host_for(id), None)
        .unwrap_or_else(|faults| panic!("{faults:#?}"));
    (plugins, reports)
}

fn request() -> Arc<PlanRequest> {
    let job = |id| ReadyJob {
        id,
        cores: 1,
        ..ReadyJob::default()
    };
    let step = |step_id| StepOffer {
        step_id,
        ..StepOffer::default()
    };
    Arc::new(PlanRequest {
        now_ms: 5000,
        invocations: vec![InvocationOffer {
            id: 1,
            steps: vec![step(11), step(12)].into(),
            ..InvocationOffer::default()
        }]
        .into(),
        jobs: vec![job(100), job(101), job(102)].into(),
        runners: vec![RunnerOffer {
            id: "local".into(),
            accepts: 2,
            ..RunnerOffer::default()
        }]
        .into(),
        ..PlanRequest::default()
    })
}

fn every_scheduler_decides(plugins: &Plugins) {
    for scheduler in plugins.schedulers() {
        scheduler.startup().unwrap();
        let plan = scheduler
            .plan(&request())
            .unwrap_or_else(|error| panic!("{error}"));
        let jobs: Vec<_> = plan
            .jobs
            .iter()
            .map(|job| (job.job_id, job.decision))
            .collect();
        let expected = [
            (102, JobVerdict::PLACE),
            (101, JobVerdict::PLACE),
            (100, JobVerdict::HOLD),
        ];
        assert_eq!(jobs, expected, "{}", scheduler.id());
        assert_eq!(plan.wake_at_ms, 6000);
        assert_eq!(plan.invocations[0].decision, InvocationVerdict::EXPAND);
        assert_eq!(plan.invocations[0].expand, [11]);
        // A panic is an error of that call in every one of them, and they go on.
        let panics = PlanRequest {
            cycle: u64::MAX,
            ..PlanRequest::default()
        };
        let told = scheduler.plan(&Arc::new(panics)).unwrap_err().to_string();
        assert!(told.contains("is the one that panics"), "{told}");
        assert_eq!(scheduler.plan(&request()).unwrap(), plan);
        // What came with 1.1; one of 1.0 has none of it.
        if scheduler.capabilities().has(capability::STATE) {
            assert_eq!(scheduler.snapshot_state().unwrap(), "2");
            scheduler.restore_state("40").unwrap();
            scheduler.plan(&request()).unwrap();
            assert_eq!(scheduler.snapshot_state().unwrap(), "41");
            scheduler.restore_state("\"none\"").unwrap_err();
        }
        if scheduler.capabilities().has(capability::EXPLAIN) {
            let asked = ExplainRequest {
                jobs: request().jobs.clone(),
                ..ExplainRequest::default()
            };
            let told = scheduler.explain(asked).unwrap();
            assert_eq!(told.text, "3 jobs wait, the last first");
        }
        assert_eq!(scheduler.capabilities().dropped(), []);
        scheduler.shutdown().unwrap();
    }
}

#[test]
fn every_exhibit_is_loaded_and_works_in_one_process() {
    let exhibits = &*COLLECTION;
    let kinds = |kind| {
        exhibits
            .iter()
            .filter(|exhibit| exhibit.kind == kind)
            .count()
    };
    assert!(kinds(PluginKind::Scheduler) >= 3, "{exhibits:#?}");
    assert!(kinds(PluginKind::WorkflowModule) >= 1 && kinds(PluginKind::JobRunner) >= 1);
    let compilers: Vec<bool> = exhibits
        .iter()
        .map(|exhibit| {
            inspect_bytes(&std::fs::read(&exhibit.path).unwrap())
                .unwrap()
                .rustc
                .contains("nightly")
        })
        .collect();
    assert!(
        compilers.contains(&true) && compilers.contains(&false),
        "two compilers"
    );

    let (plugins, mut reports) = load_all(exhibits);
    every_scheduler_decides(&plugins);
    let able = |one: &barycenter::plugins::SchedulerInstance| {
        one.capabilities().has(capability::STATE) && one.capabilities().has(capability::EXPLAIN)
    };
    assert!(plugins.schedulers().iter().any(able), "one of 1.1");
    for module in plugins.modules() {
        let value = ValueRef {
            kind: ValueKind::HDA,
            token: "hda-1".into(),
            ..ValueRef::default()
        };
        let input = StepInputValue {
            name: "input".into(),
            value,
            ..StepInputValue::default()
        };
        let mut step = StepContext {
            inputs: vec![input].into(),
            ..StepContext::default()
        };
        let waiting = module.execute(&step).unwrap();
        assert_eq!(waiting.status, StepStatus::SCHEDULED_OUTPUTS_DELAYED);
        assert_eq!(
            module.do_invocation_step_action(&step, " true ").unwrap(),
            "true"
        );
        step.action_json = "true".into();
        let open = module.recover_mapping(&step).unwrap();
        assert_eq!(open.outputs[0].value.token, "hda-1");
        step.action_json = "\"panic\"".into();
        let told = module.recover_mapping(&step).unwrap_err().to_string();
        assert!(told.contains("asked to"), "{told}");
    }
    for runner in plugins.runners() {
        assert_eq!(runner.capacity().unwrap().slots_total, 3);
        let job = JobSpec {
            job_id: 9,
            token: "t-9".into(),
            ..JobSpec::default()
        };
        let taken = runner.submit(&[job]).unwrap();
        assert_eq!(taken[0].external_id, "instant-9");
        let (id, news) = reports.try_recv().expect("a report");
        assert_eq!(
            (id.as_str(), news[0].status),
            (runner.id(), JobStatus::FINISHED)
        );
        runner.shutdown().unwrap();
    }
}

#[test]
fn the_minor_before_this_one_and_the_next_decide_in_one_process() {
    let present = built_with("present", |_| {});
    let next = built_with("next-minor", next_minor);
    let (major, minor, _) = API_VERSION;
    let api = |path: &Path| inspect_bytes(&std::fs::read(path).unwrap()).unwrap().api;
    assert_eq!((api(&present).0, api(&present).1), (major, minor));
    assert_eq!((api(&next).0, api(&next).1), (major, minor + 1));
    let mut exhibits: Vec<Exhibit> = COLLECTION.clone();
    let older = exhibits
        .iter()
        .any(|exhibit| api(&exhibit.path).1 + 1 == minor);
    assert!(
        minor == 0 || older,
        "the museum has no plugin of the minor version before this one"
    );
    exhibits.push(exhibit("present".to_owned(), present));
    exhibits.push(exhibit("next".to_owned(), next));
    // In either order of loading: what was loaded before must not matter.
    exhibits.reverse();
    let (plugins, _) = load_all(&exhibits);
    every_scheduler_decides(&plugins);
}

#[test]
fn what_does_not_fit_is_refused_in_five_lines_that_name_file_found_needed_and_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let good = std::fs::read(
        &COLLECTION
            .iter()
            .find(|exhibit| exhibit.kind == PluginKind::Scheduler)
            .unwrap()
            .path,
    )
    .unwrap();
    let patched = |at: usize, value: &[u8]| {
        let mut bytes = good.clone();
        bytes[at..at + value.len()].copy_from_slice(value);
        bytes
    };
    let magic = b"BARYCENTERPLUGIN";
    let preamble = good
        .windows(magic.len())
        .position(|window| window == magic)
        .unwrap();
    let changed = built_with("changed-layout", |api| {
        replace(
            &api.join("src/scheduler.rs"),
            "pub struct PlanRequest {",
            "pub struct PlanRequest {\n    /// Nobody expects this here.\n    pub surprise: u64,",
        );
    });
    let (libc, _) = foreign();
    let other_machine = if cfg!(target_arch = "aarch64") {
        62_u16
    } else {
        183
    };
    let mut cases: Vec<(&str, Vec<u8>, &[&str])> = vec![
        (
            "wrong major",
            patched(preamble + 24, &9_u16.to_ne_bytes()),
            &["9.", "build it with barycenter-plugin-api"],
        ),
        (
            "changed layout",
            std::fs::read(changed).unwrap(),
            &["types differ", "PlanRequest", "build it"],
        ),
        ("empty", Vec::new(), &["no ELF", "cdylib"]),
        ("text", b"#!/bin/sh\nexit 1\n".to_vec(), &["no ELF"]),
        (
            "foreign",
            libc,
            &["not a Barycenter plugin", "export_scheduler!"],
        ),
        (
            "wrong machine",
            patched(18, &other_machine.to_le_bytes()),
            &["runs on", "build it"],
        ),
        (
            "aborts",
            patched(preamble + 32, &[0; 4]),
            &["panic", "build it"],
        ),
        (
            "another generation",
            patched(preamble + 20, &[9]),
            &["generation 9", "build it"],
        ),
    ];
    for length in [
        1,
        16,
        63,
        64,
        500,
        4096,
        good.len() / 3,
        good.len() / 2,
        good.len() - 64,
        good.len() - 1,
    ] {
        cases.push(("truncated", good[..length].to_vec(), &[]));
    }
    for (at, (what, bytes, words)) in cases.iter().enumerate() {
        let path = folder.path().join(format!("lib{at}.so"));
        std::fs::write(&path, bytes).unwrap();
        let text = format!(
            "[[scheduler]]\ntype = \"museum-scheduler\"\npath = {:?}\nisolation = \"inproc\"\n[plugins]\ndefault_scheduler = \"museum-scheduler\"\n",
            path.display().to_string()
        );
        let config = PluginsConfig::parse(&text, "plugins.toml", Path::new("/")).unwrap();
        let faults = Plugins::load(&config, &|_| FakeHost::new().host(), None).err();
        let told = faults.unwrap_or_else(|| panic!("{what} is loaded"))[0].to_string();
        assert!(told.lines().count() <= 5, "{what}: {told}");
        assert!(
            told.contains(&format!("lib{at}.so")),
            "{what} names its file: {told}"
        );
        for word in *words {
            assert!(told.contains(word), "{what} says {word:?}: {told}");
        }
    }
    // And the process still loads what is good.
    let path = folder.path().join("libgood.so");
    std::fs::write(&path, good).unwrap();
    load(&path, None, None)
        .map(drop)
        .unwrap_or_else(|error: LoadError| panic!("{error}"));
}

/// A library that this very process uses, of somebody else.
fn foreign() -> (Vec<u8>, PathBuf) {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let path = maps
        .split_whitespace()
        .find(|word| word.starts_with('/') && word.contains("libc.so"))
        .map(PathBuf::from)
        .unwrap();
    (std::fs::read(&path).unwrap(), path)
}
