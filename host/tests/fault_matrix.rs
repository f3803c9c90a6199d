//! Every fault in every method of every kind of plugin, in both isolation modes: a typed error of that one call, in time, and
//! the next call is good. What ends a process ends the plugin's own; inside the server it would end the server, which is what
//! the documents say, and is shown in a process of the test's own.

mod plugin_bed;

use barycenter::plugins::{Loss, PluginCallError};
use barycenter_plugin_api::{
    ExplainRequest, JobRef, JobSpec, PluginKind, RecoverRequest, StepContext,
};
use plugin_bed::{BUILT, Loaded, request, try_load};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

const KINDS: [(PluginKind, &str, &[&str]); 3] = [
    (
        PluginKind::Scheduler,
        "faulty",
        &[
            "create",
            "startup",
            "plan",
            "snapshot_state",
            "restore_state",
            "explain",
            "shutdown",
            "drop",
        ],
    ),
    (
        PluginKind::WorkflowModule,
        "faulty-step",
        &[
            "create",
            "describe",
            "validate_state",
            "get_runtime_state",
            "recover_runtime_state",
            "execute",
            "recover_mapping",
            "do_invocation_step_action",
            "drop",
        ],
    ),
    (
        PluginKind::JobRunner,
        "faulty-runner",
        &[
            "create", "capacity", "submit", "cancel", "recover", "poll", "shutdown", "drop",
        ],
    ),
];

/// What ends or blocks a process, besides panics.
const DEADLY: [&str; 10] = [
    "segfault", "abort", "exit", "loop", "sleep", "overflow", "memory", "close", "scribble",
    "print",
];

/// What each kind is there for.
const WORK: [&str; 3] = ["plan", "execute", "submit"];

#[derive(Debug, Clone, Copy)]
struct Case {
    kind: PluginKind,
    type_id: &'static str,
    method: &'static str,
    fault: &'static str,
    isolation: &'static str,
}

impl Case {
    fn load(&self, folder: &Path) -> Result<Loaded, String> {
        let memory = match self.isolation {
            "process" => ", memory = \"256MiB\"",
            _ => "",
        };
        // Whoever eats memory needs time for it.
        let limit = match self.fault {
            "loop" | "sleep" | "close" | "scribble" => "1s",
            _ => "20s",
        };
        try_load(&format!(
            "[[{}]]\ntype = \"{}\"\nisolation = \"{}\"\n\
             limits = {{ call_timeout = \"{limit}\", restarts = \"20/1m\"{memory} }}\n\
             config = {{ fault = \"{}\", at = \"{}\", times = 1, marker = {:?} }}\n",
            self.kind,
            self.type_id,
            self.isolation,
            self.fault,
            self.method,
            folder.join("marker")
        ))
    }

    fn call(&self, loaded: &Loaded, folder: &Path) -> Result<(), PluginCallError> {
        let plugins = &loaded.plugins;
        match self.kind {
            PluginKind::Scheduler => {
                let one = plugins.scheduler("faulty").expect("it is loaded");
                match self.method {
                    "startup" => one.startup(),
                    "snapshot_state" => one.snapshot_state().map(drop),
                    "restore_state" => one.restore_state("{}"),
                    "explain" => one.explain(ExplainRequest::default()).map(drop),
                    "shutdown" => one.shutdown(),
                    _ => one.plan(&request(10)).map(drop),
                }
            }
            PluginKind::WorkflowModule => {
                let one = plugins.module("faulty-step").expect("it is loaded");
                let step = StepContext::default();
                match self.method {
                    "validate_state" => one.validate_state("{}").map(drop),
                    "get_runtime_state" => one.get_runtime_state("{}", "null").map(drop),
                    "recover_runtime_state" => one.recover_runtime_state("{}").map(drop),
                    "recover_mapping" => one.recover_mapping(&step).map(drop),
                    "do_invocation_step_action" => {
                        one.do_invocation_step_action(&step, "1").map(drop)
                    }
                    _ => one.execute(&step).map(drop),
                }
            }
            PluginKind::JobRunner => {
                let one = plugins.runner("faulty-runner").expect("it is loaded");
                match self.method {
                    "submit" => one.submit(&[job(folder)]).map(drop),
                    "cancel" => one.cancel(&[JobRef::default()]).map(drop),
                    "recover" => one.recover(&[RecoverRequest::default()]).map(drop),
                    "poll" => one.poll(&[JobRef::default()]).map(drop),
                    "shutdown" => one.shutdown(),
                    _ => one.capacity().map(drop),
                }
            }
        }
    }

    /// Whether the error says what happened.
    fn is_told_by(&self, error: &PluginCallError) -> bool {
        use PluginCallError as E;
        let loss = match error {
            E::Lost { loss, .. } => Some(loss),
            _ => None,
        };
        match self.fault {
            "panic" | "payload" => matches!(error, E::Panicked { .. }),
            "segfault" => loss == Some(&Loss::Signal(libc::SIGSEGV)),
            "abort" => loss == Some(&Loss::Signal(libc::SIGABRT)),
            "exit" => loss == Some(&Loss::Code(7)),
            "overflow" | "memory" => matches!(loss, Some(Loss::Signal(_))),
            "loop" | "sleep" => matches!(error, E::TimedOut { .. }),
            "close" | "scribble" => loss.is_some() || matches!(error, E::TimedOut { .. }),
            _ => false,
        }
    }

    /// Runs the case; how long it took until the error was there, and until it served again.
    fn run(&self) -> (Duration, Option<Duration>) {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        let begin = Instant::now();
        if matches!(self.method, "create" | "describe") {
            let loaded = self.load(folder);
            let known = begin.elapsed();
            if self.fault == "print" {
                assert!(loaded.is_ok(), "{self:?}");
                return (known, None);
            }
            let told = loaded.err().unwrap_or_else(|| panic!("{self:?} loads"));
            assert!(told.lines().count() <= 6, "{self:?}: {told}");
            let again = Instant::now();
            self.load(folder)
                .unwrap_or_else(|told| panic!("{self:?}, the second time: {told}"));
            return (known, Some(again.elapsed()));
        }
        let loaded = self
            .load(folder)
            .unwrap_or_else(|told| panic!("{self:?}: {told}"));
        if self.method == "drop" {
            self.call(&loaded, folder)
                .unwrap_or_else(|error| panic!("{self:?}: {error}"));
            let begin = Instant::now();
            drop(loaded);
            return (begin.elapsed(), None);
        }
        let begin = Instant::now();
        let outcome = self.call(&loaded, folder);
        let known = begin.elapsed();
        if self.fault == "print" {
            outcome.unwrap_or_else(|error| panic!("{self:?}: {error}"));
            return (known, None);
        }
        let error = outcome
            .err()
            .unwrap_or_else(|| panic!("{self:?}: no error"));
        assert!(self.is_told_by(&error), "{self:?}: {error:?}");
        if self.isolation == "inproc" && self.fault == "sleep" {
            return (known, None); // it is left alone until it comes back
        }
        let begin = Instant::now();
        let until = begin + Duration::from_secs(60);
        while let Err(error) = self.call(&loaded, folder) {
            assert!(
                error.is_absence() && Instant::now() < until,
                "{self:?}, afterwards: {error:?}"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
        (known, Some(begin.elapsed()))
    }
}

fn job(folder: &Path) -> JobSpec {
    let path = |name: &str| folder.join(name).display().to_string().into();
    std::fs::write(folder.join("script"), "exit 0\n").expect("written");
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

/// Every fault in the methods that `wanted` says.
fn cases(
    isolation: &'static str,
    faults: &[&'static str],
    wanted: impl Fn(&str) -> bool,
) -> Vec<Case> {
    let mut cases = Vec::new();
    for (kind, type_id, methods) in KINDS {
        for method in methods.iter().filter(|method| wanted(method)) {
            for fault in faults {
                cases.push(Case {
                    kind,
                    type_id,
                    method,
                    fault,
                    isolation,
                });
            }
        }
    }
    cases
}

/// Runs cases, some at once, and prints how long the worst of each fault took.
fn run_all(cases: &[Case]) {
    let _ = &*BUILT;
    let queue = Mutex::new(cases.iter());
    let rows = Mutex::new(Vec::new());
    let next = || queue.lock().unwrap_or_else(|e| e.into_inner()).next();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(case) = next() {
                    let took = case.run();
                    let mut rows = rows.lock().unwrap_or_else(|e| e.into_inner());
                    rows.push((case.fault, case.isolation, took));
                }
            });
        }
    });
    let mut rows = rows.into_inner().unwrap_or_else(|e| e.into_inner());
    assert_eq!(rows.len(), cases.len());
    rows.sort();
    for group in rows.chunk_by(|a, b| a.0 == b.0) {
        let known = group.iter().map(|row| row.2.0).max();
        let serving = group.iter().filter_map(|row| row.2.1).max();
        println!(
            "{:>8} in {:>7}: {} cases, known after {:?} at the worst, serving again after {:?}",
            group[0].0,
            group[0].1,
            group.len(),
            known.unwrap_or_default(),
            serving
        );
    }
}

#[test]
fn a_panic_in_any_method_and_in_drop_is_an_error_of_that_call_inside_the_server() {
    let cases = cases("inproc", &["panic", "payload"], |_| true);
    assert_eq!(cases.len(), 50);
    run_all(&cases);
}

#[test]
fn whatever_ends_or_blocks_a_process_ends_the_plugins_own_and_another_serves() {
    let mut all = cases("process", &["panic", "payload", "abort"], |_| true);
    // Where a fault strikes makes no difference to how it ends a process: making, working and dropping stand for the rest.
    let faults: Vec<&str> = DEADLY
        .into_iter()
        .filter(|fault| *fault != "abort")
        .collect();
    all.extend(cases("process", &faults, |method| {
        WORK.contains(&method) || matches!(method, "create" | "drop")
    }));
    assert_eq!(all.len(), 75 + 81);
    run_all(&all);
}

#[test]
fn a_call_that_does_not_come_back_is_given_up_inside_the_server() {
    // Making and dropping have no deadline of their own there.
    run_all(&cases("inproc", &["sleep"], |method| {
        !matches!(method, "create" | "describe" | "drop")
    }));
}

/// Names the kind and the fault to a process that the test below is run in once more, and that it ends.
const INSIDE: &str = "FAULT_INSIDE";

/// The other half of the table: what `isolation = "inproc"` does not protect from.
#[test]
fn what_ends_a_process_ends_the_server_when_the_plugin_is_inside_it() {
    if let Ok(wanted) = std::env::var(INSIDE) {
        return one_case_inside(&wanted);
    }
    let own_name = "what_ends_a_process_ends_the_server_when_the_plugin_is_inside_it";
    let program = std::env::current_exe().expect("this test");
    for (fault, signal) in [
        ("segfault", Some(libc::SIGSEGV)),
        ("abort", Some(libc::SIGABRT)),
        ("overflow", Some(libc::SIGABRT)),
        ("exit", None),
    ] {
        for (kind, _, _) in KINDS {
            let output = Command::new(&program)
                .args(["--exact", own_name, "--nocapture"])
                .env(INSIDE, format!("{} {fault}", kind.name()))
                .output()
                .expect("this test again");
            let status = output.status;
            let text = String::from_utf8_lossy(&output.stderr);
            assert_eq!(status.signal(), signal, "{kind} {fault}: {status} {text}");
            let code = signal.is_none().then_some(7);
            assert_eq!(status.code(), code, "{kind} {fault}: {status} {text}");
        }
    }
}

fn one_case_inside(wanted: &str) {
    let (kind, fault) = wanted.split_once(' ').expect("kind and fault");
    let cases = cases("inproc", &DEADLY, |method| WORK.contains(&method));
    let mut cases = cases.iter();
    let case = cases.find(|case| case.kind.name() == kind && case.fault == fault);
    case.expect("a case").run();
}
