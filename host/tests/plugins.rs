//! Loads real plugin libraries, good and bad.

use barycenter::plugins::{
    Fault, InspectError, LoadError, PluginCallError, PluginStatus, Plugins, PluginsConfig, Wiring,
    inspect_bytes, inspect_file, load,
};
use barycenter_plugin_api::preamble::MAGIC;
use barycenter_plugin_api::{
    InvocationOffer, InvocationVerdict, JobRef, JobReport, JobSpec, JobStatus, JobVerdict,
    PlanRequest, ReadyJob, RecoverRequest, RunnerOffer, StepContext, StepInputValue, StepOffer,
    StepStatus, ValueKind, ValueRef,
};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// The folder with the plugin libraries. Testing does not build cdylibs of other packages.
static BUILT: LazyLock<PathBuf> = LazyLock::new(|| {
    let target = target_folder();
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .arg("build")
        .arg("--target-dir")
        .arg(&target)
        .current_dir(repository());
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
        cargo.status().unwrap().success(),
        "the plugins do not build"
    );
    target.join("debug")
});

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap()
}

/// From `target/debug/deps/plugins-…` to `target`.
fn target_folder() -> PathBuf {
    std::env::current_exe()
        .unwrap()
        .ancestors()
        .nth(3)
        .unwrap()
        .to_owned()
}

struct Loaded {
    plugins: Plugins,
    reports: UnboundedReceiver<(String, Vec<JobReport>)>,
    wakes: Arc<AtomicUsize>,
}

fn load_all(text: &str) -> Result<Loaded, Vec<Fault>> {
    let mut config = PluginsConfig::parse(text, "plugins.toml", &repository())?;
    config.search.push(BUILT.clone());
    let (sender, reports) = unbounded_channel();
    let wakes = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&wakes);
    let wiring = Wiring::new(sender, move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
    });
    let plugins = Plugins::load(&config, &|id| wiring.host_for(id), None)?;
    Ok(Loaded {
        plugins,
        reports,
        wakes,
    })
}

/// A server with the default scheduler and what `text` declares.
fn with(text: &str) -> Result<Loaded, Vec<Fault>> {
    load_all(&format!("[[scheduler]]\ntype = \"default\"\n{text}"))
}

fn faulty(fault: &str) -> Result<Loaded, Vec<Fault>> {
    with(&format!(
        "[[scheduler]]\ntype = \"faulty\"\nisolation = \"inproc\"\nconfig = {{ fault = \"{fault}\" }}\n"
    ))
}

fn faults_of(result: Result<Loaded, Vec<Fault>>) -> String {
    let Err(faults) = result else {
        panic!("there is no fault");
    };
    let texts: Vec<_> = faults.iter().map(ToString::to_string).collect();
    assert!(
        texts.iter().all(|text| text.lines().count() <= 5),
        "{texts:#?}"
    );
    texts.join("\n")
}

fn request() -> Arc<PlanRequest> {
    let job = |id, ready_since_ms| ReadyJob {
        id,
        ready_since_ms,
        cores: 1,
        ..ReadyJob::default()
    };
    Arc::new(PlanRequest {
        cycle: 7,
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
        jobs: vec![job(100, 1), job(101, 2)].into(),
        runners: vec![RunnerOffer {
            id: "local".into(),
            slots_total: 1,
            slots_free: 1,
            accepts: 1,
            ..RunnerOffer::default()
        }]
        .into(),
        ..PlanRequest::default()
    })
}

#[test]
fn the_shipped_file_loads_and_its_plugins_work() {
    let text = std::fs::read_to_string(repository().join("plugins.toml")).unwrap();
    let mut loaded = load_all(&text).unwrap_or_else(|faults| panic!("{faults:#?}"));
    let plugins = &loaded.plugins;
    assert!(
        plugins
            .list()
            .iter()
            .all(|plugin| plugin.status == PluginStatus::Ready)
    );
    assert_eq!(plugins.default_scheduler_id(), "default");

    let plan = plugins
        .scheduler("default")
        .unwrap()
        .plan(&request())
        .unwrap();
    assert_eq!(plan.invocations[0].expand, [11]);
    assert_eq!(plan.invocations[0].job_budget, 1000);
    assert_eq!((plan.jobs.len(), plan.jobs[0].job_id), (1, 100));

    let pause = plugins.module("pause").unwrap();
    let step = StepContext {
        action_json: "true".into(),
        inputs: vec![StepInputValue {
            name: "input".into(),
            value: ValueRef {
                kind: ValueKind::HDA,
                token: "hda-3".into(),
                ..ValueRef::default()
            },
            ..StepInputValue::default()
        }]
        .into(),
        ..StepContext::default()
    };
    assert_eq!(
        pause.execute(&step).unwrap().status,
        StepStatus::SCHEDULED_OUTPUTS_DELAYED
    );
    assert_eq!(
        pause.recover_mapping(&step).unwrap().outputs[0].value.token,
        "hda-3"
    );
    assert_eq!(
        pause.do_invocation_step_action(&step, "0").unwrap(),
        "false"
    );
    let bad = pause.do_invocation_step_action(&step, "{").unwrap_err();
    assert!(matches!(
        bad,
        PluginCallError::Refused {
            bad_input: true,
            ..
        }
    ));

    let folder = tempfile::tempdir().unwrap();
    let runner = &plugins.runners()[0];
    assert!(runner.submit(&[job(folder.path())]).unwrap()[0].accepted);
    let until = Instant::now() + Duration::from_secs(30);
    let report = loop {
        assert!(Instant::now() < until, "no report");
        match loaded.reports.try_recv() {
            Ok((runner, reports)) => {
                assert_eq!(runner, "local");
                if let Some(end) = reports.iter().find(|one| one.status == JobStatus::FINISHED) {
                    break end.clone();
                }
            }
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    assert_eq!((report.job_id, report.exit_code), (5, 3));
    let submit = runner
        .stats()
        .into_iter()
        .find(|one| one.method == "submit")
        .unwrap();
    assert_eq!((submit.calls, submit.errors), (1, 0));
}

fn job(folder: &Path) -> JobSpec {
    let path = |name: &str| folder.join(name).display().to_string().into();
    std::fs::write(folder.join("script"), "exit 3\n").unwrap();
    JobSpec {
        job_id: 5,
        token: "5-1".into(),
        working_directory: folder.display().to_string().into(),
        job_directory: folder.display().to_string().into(),
        script_path: path("script"),
        shell: "/bin/sh".into(),
        stdout_path: path("out"),
        stderr_path: path("err"),
        exit_code_path: path("code"),
        cores: 1,
        ..JobSpec::default()
    }
}

#[test]
fn a_panic_anywhere_in_a_scheduler_is_an_error_of_that_call() {
    let text = faults_of(faulty("create"));
    assert!(text.contains("create panics"), "{text}");
    for fault in ["plan", "payload"] {
        let loaded = faulty(fault).unwrap();
        let scheduler = loaded.plugins.scheduler("faulty").unwrap();
        for _ in 0..2 {
            let error = scheduler.plan(&request()).unwrap_err();
            let PluginCallError::Panicked {
                location, message, ..
            } = &error
            else {
                panic!("{error:?}");
            };
            assert!(location.contains(".rs:"), "{location}");
            assert!(fault != "plan" || message == "plan panics", "{message}");
        }
        let plan = &scheduler.stats()[0];
        assert_eq!((plan.calls, plan.errors, plan.panics), (2, 2, 2));
    }
    let loaded = faulty("startup").unwrap();
    assert!(
        loaded
            .plugins
            .scheduler("faulty")
            .unwrap()
            .startup()
            .is_err()
    );
    let loaded = faulty("shutdown").unwrap();
    assert!(
        loaded
            .plugins
            .scheduler("faulty")
            .unwrap()
            .shutdown()
            .is_err()
    );
    drop(faulty("drop").unwrap());
}

#[test]
fn a_panic_anywhere_in_a_module_or_runner_is_an_error_of_that_call() {
    let text = "[[workflow_module]]\ntype = \"faulty-step\"\nisolation = \"inproc\"\nlimits = { restarts = \"50/1m\" }\n\
         [[job_runner]]\ntype = \"faulty-runner\"\nisolation = \"inproc\"\nlimits = { restarts = \"50/1m\" }\n";
    let loaded = with(text).unwrap();
    let module = loaded.plugins.module("faulty-step").unwrap();
    let step = StepContext::default();
    let errors = [
        module.validate_state("{}").unwrap_err(),
        module.get_runtime_state("{}", "null").unwrap_err(),
        module.recover_runtime_state("{}").unwrap_err(),
        module.execute(&step).unwrap_err(),
        module.recover_mapping(&step).unwrap_err(),
        module.do_invocation_step_action(&step, "1").unwrap_err(),
    ];
    let runner = &loaded.plugins.runners()[0];
    let more = [
        runner.capacity().unwrap_err(),
        runner.submit(&[JobSpec::default()]).unwrap_err(),
        runner.cancel(&[JobRef::default()]).unwrap_err(),
        runner.recover(&[RecoverRequest::default()]).unwrap_err(),
        runner.poll(&[JobRef::default()]).unwrap_err(),
        runner.shutdown().unwrap_err(),
    ];
    for error in errors.iter().chain(&more) {
        let PluginCallError::Panicked {
            method, message, ..
        } = error
        else {
            panic!("{error:?}");
        };
        assert_eq!(*message, format!("{method} panics"));
    }
    let invalid = runner.submit(&[]).unwrap_err();
    assert!(matches!(invalid, PluginCallError::Invalid { .. }));
    drop(loaded); // both objects panic in Drop
}

#[test]
fn a_plan_that_breaks_a_rule_is_refused_as_a_whole() {
    for (fault, wanted) in [
        ("lie", "invocation 4711 was not offered"),
        ("overcommit", "accepts no more"),
    ] {
        let loaded = faulty(fault).unwrap();
        let scheduler = loaded.plugins.scheduler("faulty").unwrap();
        let error = scheduler.plan(&request()).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
        assert_eq!(scheduler.stats()[0].invalid, 1);
    }
}

#[test]
fn a_slow_plan_is_given_up_and_the_scheduler_serves_again_later() {
    let text = "[[scheduler]]\ntype = \"faulty\"\nisolation = \"inproc\"\n\
                limits = { call_timeout = \"100ms\" }\nconfig = { fault = \"dawdle\" }\n";
    let loaded = with(text).unwrap();
    let scheduler = loaded.plugins.scheduler("faulty").unwrap();
    let begin = Instant::now();
    let error = scheduler.plan(&request()).unwrap_err();
    assert!(matches!(error, PluginCallError::TimedOut { .. }), "{error}");
    // While the call hangs nobody else waits for it.
    let error = scheduler.plan(&request()).unwrap_err();
    assert!(error.was_not_asked(), "{error}");
    let status = scheduler.supervision().status();
    assert_eq!(status.threads_written_off, 1);
    assert!(begin.elapsed() < Duration::from_secs(3));
    let until = Instant::now() + Duration::from_secs(30);
    while scheduler.startup().is_err() {
        assert!(Instant::now() < until, "it never comes back");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(scheduler.supervision().status().threads_written_off, 0);
}

#[test]
fn a_plugin_reaches_the_host() {
    let loaded = faulty("talk").unwrap();
    loaded
        .plugins
        .scheduler("faulty")
        .unwrap()
        .plan(&request())
        .unwrap();
    assert_eq!(loaded.wakes.load(Ordering::Relaxed), 1);
}

#[test]
fn wrong_options_are_told_with_their_lines_in_one_go() {
    let text = faults_of(with(
        "[[scheduler]]\ntype = \"faulty\"\n[scheduler.config]\nfault = 3\nwieght = 1\nweight = 99\n\
         [[workflow_module]]\ntype = \"pause\"\nconfig = { a = 1 }\n",
    ));
    for wanted in [
        "the option `fault` (line 6) is wrong",
        "no option `wieght` (line 7); did you mean `weight`?",
        "the option `weight` (line 8) is wrong: 99 is greater than the maximum of 10",
        "the plugin takes no options (line 11)",
    ] {
        assert!(text.contains(wanted), "{wanted}\n{text}");
    }
}

#[test]
fn an_unknown_type_and_a_missing_file_are_told_and_bearable_when_not_required() {
    let text = faults_of(with("[[workflow_module]]\ntype = \"puase\"\n"));
    assert!(
        text.contains("no library exports the workflow_module `puase`"),
        "{text}"
    );
    assert!(text.contains("did you mean `pause`?"), "{text}");
    let missing = "[[scheduler]]\ntype = \"night\"\npath = \"/no/such.so\"\n";
    let text = faults_of(with(missing));
    assert!(text.contains("there is no file /no/such.so"), "{text}");
    let text = faults_of(faulty("refuse"));
    assert!(text.contains("refused to start: no such farm"), "{text}");

    let optional = "[[workflow_module]]\ntype = \"beacon\"\nrequired = false\n";
    let loaded = with(optional).unwrap();
    let status = &loaded.plugins.list()[1].status;
    assert!(matches!(status, PluginStatus::Degraded(reason) if reason.contains("no library")));
    let sentence = loaded.plugins.module("beacon").err().unwrap();
    assert!(
        sentence.contains("which did not load: no library exports"),
        "{sentence}"
    );
    let sentence = loaded.plugins.module("paus").err().unwrap();
    assert!(
        sentence.contains("plugin `paus`, which plugins.toml does not declare"),
        "{sentence}"
    );
}

#[test]
fn a_library_of_another_type_or_digest_is_refused() {
    let pause = BUILT.join("libpause_module.so");
    let text = faults_of(with(&format!(
        "[[scheduler]]\ntype = \"night\"\npath = \"{}\"\n",
        pause.display()
    )));
    assert!(
        text.contains("is the workflow_module `pause`, not the scheduler `night`"),
        "{text}"
    );
    let wrong = "0".repeat(64);
    let text = faults_of(with(&format!(
        "[[workflow_module]]\ntype = \"pause\"\nsha256 = \"{wrong}\"\n"
    )));
    assert!(text.contains("plugins.toml wants 0000"), "{text}");
}

#[test]
fn no_bad_file_is_ever_opened() {
    let good = std::fs::read(BUILT.join("libpause_module.so")).unwrap();
    assert_eq!(inspect_bytes(&good).unwrap().type_id, "pause");
    assert_eq!(inspect_bytes(b""), Err(InspectError::NotElf));
    assert_eq!(inspect_bytes(b"hello, world"), Err(InspectError::NotElf));
    for length in [5, 40, 64, 1000, good.len() / 2, good.len() - 1] {
        let error = inspect_bytes(&good[..length]).unwrap_err();
        assert!(
            matches!(error, InspectError::Damaged(_)),
            "{length}: {error}"
        );
    }
    let patched = |at: usize, value: &[u8]| {
        let mut bytes = good.clone();
        bytes[at..at + value.len()].copy_from_slice(value);
        inspect_bytes(&bytes).unwrap_err()
    };
    // e_machine: one that this machine is not.
    let other = if cfg!(target_arch = "aarch64") {
        62_u16
    } else {
        183
    };
    let error = patched(18, &other.to_le_bytes());
    assert!(
        matches!(error, InspectError::Architecture { .. }),
        "{error}"
    );
    let preamble = good
        .windows(MAGIC.len())
        .position(|window| window == MAGIC)
        .unwrap();
    let error = patched(preamble + 24, &2_u16.to_ne_bytes());
    assert_eq!(error.to_string().lines().count(), 1);
    assert!(
        error
            .to_string()
            .contains("built for plugin-api 2.1, this server has 1.1"),
        "{error}"
    );
    // One that aborts where it panics is a plugin, for a process of its own.
    let mut aborting = good.clone();
    aborting[preamble + 32..preamble + 36].fill(0);
    assert!(!inspect_bytes(&aborting).unwrap().unwind);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("aborting.so");
    std::fs::write(&file, &aborting).unwrap();
    let error = load(&file, None, None).err().unwrap();
    assert!(
        matches!(error, LoadError::Inspect(InspectError::PanicAborts)),
        "{error}"
    );
    assert!(matches!(patched(preamble, b"X"), InspectError::Preamble(_)));

    let foreign = foreign_library();
    assert_eq!(inspect_file(&foreign), Err(InspectError::NotAPlugin));
    let error = load(&foreign, None, None).err().unwrap();
    assert!(
        matches!(error, LoadError::Inspect(InspectError::NotAPlugin)),
        "{error}"
    );
    let executable = std::env::current_exe().unwrap();
    assert_eq!(inspect_file(&executable), Err(InspectError::NotAPlugin));
}

/// Some library that this very process uses.
fn foreign_library() -> PathBuf {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let path = maps
        .split_whitespace()
        .find(|word| word.starts_with('/') && word.contains("libc.so"));
    path.expect("the C library is mapped").into()
}

#[test]
fn a_library_is_copied_once_into_the_data_directory() {
    let folder = tempfile::tempdir().unwrap();
    // A digest of its own, so that no other test has opened it: bytes after the end do no harm.
    let mut bytes = std::fs::read(BUILT.join("libpause_module.so")).unwrap();
    bytes.extend(b"another build");
    let library = folder.path().join("mine.so");
    std::fs::write(&library, &bytes).unwrap();
    let loaded = load(&library, None, Some(folder.path())).unwrap();
    let copy = folder
        .path()
        .join("plugins")
        .join(format!("{}.so", loaded.sha256));
    assert_eq!(std::fs::read(&copy).unwrap(), bytes);
    assert_eq!(
        load(&library, None, Some(folder.path())).unwrap().sha256,
        loaded.sha256
    );
}

#[test]
fn a_scheduler_built_elsewhere_with_another_compiler_plans() {
    let toolchains = Command::new("rustup").args(["toolchain", "list"]).output();
    let has_nightly =
        toolchains.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("nightly"));
    let mut cargo = if has_nightly {
        let mut cargo = Command::new("rustup");
        cargo.args(["run", "nightly", "cargo"]);
        cargo
    } else {
        eprintln!("NOTE: no nightly toolchain is installed; building with the stable one instead");
        Command::new(env!("CARGO"))
    };
    for (name, _) in std::env::vars() {
        if name.starts_with("CARGO_") || name.starts_with("RUST") && name != "RUSTUP_HOME" {
            cargo.env_remove(name);
        }
    }
    if let Ok(home) = std::env::var("CARGO_HOME") {
        cargo.env("CARGO_HOME", home);
    }
    let target = target_folder().join("outside");
    let built = cargo
        .args(["build", "--release", "--target-dir"])
        .arg(&target)
        .current_dir(repository().join("tests/outside_scheduler"))
        .env_remove("CARGO")
        .status();
    assert!(
        built.unwrap().success(),
        "the outside scheduler does not build"
    );
    let library = target.join("release/libyoungest_first.so");
    let preamble = inspect_file(&library).unwrap();
    assert_eq!(
        preamble.rustc.contains("nightly"),
        has_nightly,
        "{}",
        preamble.rustc
    );
    assert_eq!(
        (preamble.version.as_str(), preamble.debug),
        ("2.3.4", false)
    );

    let loaded = with(&format!(
        "[[scheduler]]\ntype = \"youngest-first\"\nid = \"young\"\npath = \"{}\"\n\
         config = {{ most_steps = 1 }}\n",
        library.display()
    ))
    .unwrap_or_else(|faults| panic!("{faults:#?}"));
    let plan = loaded
        .plugins
        .scheduler("young")
        .unwrap()
        .plan(&request())
        .unwrap();
    assert_eq!(plan.invocations[0].decision, InvocationVerdict::EXPAND);
    let jobs: Vec<_> = plan
        .jobs
        .iter()
        .map(|job| (job.job_id, job.decision))
        .collect();
    assert_eq!(jobs, [(101, JobVerdict::PLACE), (100, JobVerdict::HOLD)]);
}
