//! What bad plugins do to a real server: nothing but to what they were asked about.

use std::time::{Duration, Instant};

use barycenter_tests::client::text;
use barycenter_tests::wait::until;
use barycenter_tests::workflows::{self, REVIEWED};
use barycenter_tests::{Client, Setup, TestServer, build, eventually};
use serde_json::json;

/// plugins.toml with these tables, besides the shipped plugins.
fn plugins(default_scheduler: &str, tables: &str, runner: &str) -> String {
    format!(
        "[plugins]\ndefault_scheduler = \"{default_scheduler}\"\n[[scheduler]]\ntype = \"default\"\n\
         [[workflow_module]]\ntype = \"pause\"\n{runner}\n{tables}"
    )
}

const LOCAL: &str = "[[job_runner]]\ntype = \"local\"\nconfig = { workers = 4, kill_grace_seconds = 0.5, log_check_seconds = 0.1 }\n";

/// The options of a plugin that goes wrong `times` times in the method `at`.
fn config(server_folder: &str, fault: &str, at: &str, times: u32) -> String {
    format!(
        "config = {{ fault = \"{fault}\", at = \"{at}\", times = {times}, marker = \"{server_folder}/marker\" }}\n"
    )
}

/// A folder that is there before the server is.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

/// Two steps, the second of which needs the first; each leaves a mark.
fn two_steps(ada: &Client, folder: &std::path::Path) -> String {
    let history = ada.create_history("faults");
    let data = ada.upload(&history, "data", "hello\n");
    let marks = folder.join("marks");
    let first = format!("echo first >> {0}; cat $INPUT > out.txt", marks.display());
    let second = format!("echo second >> {0}; cat $INPUT > out.txt", marks.display());
    let workflow = ada.import_yaml(&workflows::steps(&[
        ("first", &first, "data"),
        ("second", &second, "first/out"),
    ]));
    ada.invoke(
        &workflow,
        &history,
        &json!({"data": {"src": "hda", "id": data}}),
    )
}

/// The invocation ends well, each command ran once, and the server is there.
fn assert_ends_well(server: &mut TestServer, folder: &std::path::Path, what: &str) {
    let ada = server.client();
    let invocation = two_steps(&ada, folder);
    let done = ada.wait_for_state(&invocation, &["completed", "failed", "cancelled"]);
    assert_eq!(text(&done, "state"), "completed", "{what}: {done:#}");
    assert_eq!(ada.output(&done, "second_out"), "hello\n", "{what}");
    let marks = std::fs::read_to_string(folder.join("marks")).expect("marks");
    assert_eq!(marks, "first\nsecond\n", "{what}");
    assert!(server.is_running(), "{what}: the server died");
}

/// The hold with this code, once it is there.
fn eventually_held(client: &Client, invocation: &str, code: &str) -> serde_json::Value {
    until(&format!("a hold {code}"), || {
        let holds = client.invocation(invocation)["holds"].clone();
        let mut holds = holds.as_array()?.iter();
        holds.find(|hold| hold["code"] == code).cloned()
    })
}

/// Runs cases side by side.
fn side_by_side<T: Sync>(cases: &[T], case: impl Fn(&T) + Sync) {
    for some in cases.chunks(4) {
        std::thread::scope(|scope| {
            for one in some {
                scope.spawn(|| case(one));
            }
        });
    }
}

fn scheduler_survives(isolation: &str, fault: &str, limits: &str, more: &str) -> Duration {
    let folder = scratch();
    let tables = format!(
        "[[scheduler]]\ntype = \"faulty\"\nisolation = \"{isolation}\"\n{more}limits = {{ {limits} }}\n{}",
        config(&folder.path().display().to_string(), fault, "plan", 2)
    );
    let mut server = Setup::default()
        .plugins(&plugins("faulty", &tables, LOCAL))
        .start();
    let begin = Instant::now();
    assert_ends_well(
        &mut server,
        folder.path(),
        &format!("scheduler {isolation} {fault}"),
    );
    let took = begin.elapsed();
    server.stop();
    took
}

#[test]
fn a_scheduler_in_a_process_may_do_anything_and_every_invocation_ends_well() {
    let faults = [
        "panic", "segfault", "abort", "exit", "loop", "overflow", "memory", "close", "scribble",
        "lie", "twice", "nowhere", "huge", "slow", "print",
    ];
    side_by_side(&faults, |fault| {
        let limits = "call_timeout = \"1s\", memory = \"512MiB\", restarts = \"10/1m\"";
        let took = scheduler_survives("process", fault, limits, "");
        println!("scheduler, process, {fault}: the invocation ended well after {took:?}");
    });
}

#[test]
fn a_scheduler_inside_the_server_may_panic_lie_and_hang() {
    let faults = [
        "panic", "payload", "lie", "twice", "nowhere", "huge", "fail",
    ];
    side_by_side(&faults, |fault| {
        let took = scheduler_survives("inproc", fault, "call_timeout = \"5s\"", "");
        println!("scheduler, inproc, {fault}: the invocation ended well after {took:?}");
    });
    // What hangs is written off; another scheduler stands in, and the server stops when it is told to.
    let more = "on_failure = \"fallback:default\"\n";
    let took = scheduler_survives("inproc", "sleep", "call_timeout = \"500ms\"", more);
    println!("scheduler, inproc, hang: the invocation ended well after {took:?}");
}

#[test]
fn a_scheduler_that_never_plans_is_left_alone_and_its_fallback_plans() {
    for (fallback, state) in [
        ("on_failure = \"fallback:default\"\n", "completed"),
        ("", "new"),
    ] {
        let folder = scratch();
        let tables = format!(
            "[[scheduler]]\ntype = \"faulty\"\nisolation = \"process\"\n{fallback}limits = {{ restarts = \"1/1m\" }}\n{}",
            config(&folder.path().display().to_string(), "abort", "plan", 0)
        );
        let mut server = Setup::default()
            .plugins(&plugins("faulty", &tables, LOCAL))
            .start();
        let ada = server.client();
        let invocation = two_steps(&ada, folder.path());
        if state == "completed" {
            let done = ada.wait_for_state(&invocation, &["completed"]);
            assert_eq!(done["holds"], json!([]));
            let explained = ada
                .get(&format!("/api/invocations/{invocation}/explanation"))
                .ok();
            assert_eq!(explained["scheduler_state"], "quarantined", "{explained:#}");
            assert_eq!(explained["stand_in"], "default", "{explained:#}");
        } else {
            eventually("quarantine", || server.log().contains("quarantine"));
            let ready = server.anonymous().get("/readyz").ok();
            let degraded = ready["plugins"]["degraded"].to_string();
            assert!(
                degraded.contains("scheduler faulty: quarantined"),
                "{ready:#}"
            );
            let waits = eventually_held(&ada, &invocation, "scheduler_quarantined");
            assert_eq!(waits["what"], "invocation", "{waits}");
            let why = text(&waits, "text");
            assert!(
                why.contains("The scheduler faulty") && why.contains("administrator"),
                "{why}"
            );
            let explained = ada
                .get(&format!("/api/invocations/{invocation}/explanation"))
                .ok();
            assert_eq!(explained["scheduler_state"], "quarantined", "{explained:#}");
            assert_eq!(explained["stand_in"], json!(null), "{explained:#}");
            // It waits, and goes on once there is somebody to plan it: the file is not remembered as bad where it is
            // not started any more.
            server.set_plugins(&plugins(
                "faulty",
                "[[scheduler]]\ntype = \"default\"\nid = \"faulty\"\n",
                LOCAL,
            ));
            server.restart();
            server.client().wait_for_state(&invocation, &["completed"]);
        }
        server.stop();
    }
}

#[test]
fn a_module_may_crash_and_hang_and_its_step_waits() {
    let cases = [
        ("process", "segfault", "execute"),
        ("process", "abort", "recover_mapping"),
        ("process", "exit", "execute"),
        ("process", "loop", "execute"),
        ("process", "close", "recover_mapping"),
        ("process", "overflow", "execute"),
        ("inproc", "sleep", "execute"),
    ];
    side_by_side(&cases, |(isolation, fault, at)| {
        let folder = scratch();
        let tables = format!(
            "[[workflow_module]]\ntype = \"faulty-step\"\nisolation = \"{isolation}\"\nlimits = {{ call_timeout = \"700ms\" }}\n{}",
            config(&folder.path().display().to_string(), fault, at, 1)
        );
        let mut server = Setup::default()
            .plugins(&plugins("default", &tables, LOCAL))
            .start();
        let ada = server.client();
        let invocation = ada.invoke_on(
            &REVIEWED.replace("type: pause", "type: faulty-step"),
            "hello\n",
        );
        let done = ada.wait_for_state(&invocation, &["completed", "failed"]);
        assert_eq!(
            text(&done, "state"),
            "completed",
            "{isolation} {fault} {at}: {done:#}"
        );
        assert_eq!(ada.output(&done, "after"), "hello\ncopied\ncopied\n");
        server.stop();
    });
}

#[test]
fn what_waits_for_a_plugin_in_quarantine_says_so_and_goes_on_when_that_is_let_out() {
    let folder = scratch();
    let at = folder.path().display().to_string();
    // The module breaks down twice and is well then; the passive scheduler does nothing, and its process is killed twice.
    let tables = format!(
        "[[workflow_module]]\ntype = \"faulty-step\"\nisolation = \"process\"\nlimits = {{ restarts = \"1/1m\" }}\n{}\
         [[scheduler]]\ntype = \"passive\"\nid = \"farm\"\npath = {:?}\nisolation = \"process\"\n\
         limits = {{ restarts = \"1/1m\" }}\n[scheduler.config]\nidle = true\njournal = \"{at}/journal\"\n",
        config(&at, "abort", "execute", 2),
        build::library("passive_scheduler").display().to_string(),
    );
    let mut server = Setup::default()
        .plugins(&plugins("default", &tables, LOCAL))
        .env("BARYCENTER_ENABLE_BETA_WORKFLOW_MODULES", "true")
        .start();
    let (ada, admin) = (server.client(), server.admin());
    let offers = |client: &Client| {
        let modules = client.get("/api/workflows/modules").ok();
        modules.to_string().contains("\"faulty-step\"")
    };
    assert!(offers(&ada));
    let history = ada.create_history("waits");
    let data = ada.upload(&history, "data", "hello\n");
    let inputs = json!({"data": {"src": "hda", "id": data}});

    let workflow = ada.import_yaml(&REVIEWED.replace("type: pause", "type: faulty-step"));
    let invocation = ada.invoke(&workflow, &history, &inputs);
    let waits = eventually_held(&ada, &invocation, "workflow_module_quarantined");
    assert_eq!(waits["what"], "step", "{waits}");
    assert!(
        text(&waits, "text").contains("The workflow module faulty-step"),
        "{waits}"
    );
    assert!(!offers(&ada), "nobody is offered what would wait");
    let path = "/api/plugins/workflow_module:faulty-step/enable";
    admin.post(path, &json!({})).ok();
    let done = ada.wait_for_state(&invocation, &["completed"]);
    assert_eq!(done["holds"], json!([]), "{done:#}");
    assert!(offers(&ada));
    for (order, offered) in [("disable", false), ("enable", true), ("reload", true)] {
        let path = format!("/api/plugins/workflow_module:faulty-step/{order}");
        admin.post(&path, &json!({})).ok();
        assert_eq!(offers(&ada), offered, "after {order}");
    }

    // Nobody calls a passive scheduler; its invocations say so all the same.
    for losses in 0..2 {
        let pid = until("it has a process", || {
            let supervision = admin.get("/api/plugins/farm").ok()["supervision"].clone();
            let is_next = supervision["losses"] == losses;
            supervision["pid"].as_i64().filter(|_| is_next)
        });
        let pid = i32::try_from(pid).expect("a process's number");
        barycenter_tests::processes::signal(pid, libc::SIGKILL);
    }
    let workflow = ada.import_yaml(&workflows::script("cat $INPUT > out.txt"));
    let request =
        json!({"history_id": history, "inputs_by": "name", "scheduler": "farm", "inputs": inputs});
    let made = ada.post(&format!("/api/workflows/{workflow}/invocations"), &request);
    let farmed = text(&made.ok(), "id");
    let waits = eventually_held(&ada, &farmed, "scheduler_quarantined");
    assert_eq!(waits["what"], "jobs", "{waits}");
    admin.post("/api/plugins/farm/enable", &json!({})).ok();
    eventually("it does not say so any more", || {
        ada.invocation(&farmed)["holds"] == json!([])
    });
    server.stop();
}

#[test]
fn a_module_that_panics_or_lies_fails_the_invocation_that_asked_and_no_other() {
    for isolation in ["process", "inproc"] {
        for fault in ["panic", "lie", "twice", "forge", "garbage"] {
            let folder = scratch();
            let tables = format!(
                "[[workflow_module]]\ntype = \"faulty-step\"\nisolation = \"{isolation}\"\n{}",
                config(&folder.path().display().to_string(), fault, "execute", 1)
            );
            let mut server = Setup::default()
                .plugins(&plugins("default", &tables, LOCAL))
                .start();
            let ada = server.client();
            let history = ada.create_history("module");
            let data = ada.upload(&history, "data", "hello\n");
            let workflow = ada.import_yaml(&REVIEWED.replace("type: pause", "type: faulty-step"));
            let inputs = json!({"data": {"src": "hda", "id": data}});
            let invoke = || ada.invoke(&workflow, &history, &inputs);
            let first = ada.wait_for_state(&invoke(), &["failed", "completed"]);
            assert_eq!(text(&first, "state"), "failed", "{isolation} {fault}");
            assert_eq!(
                first["messages"][0]["reason"], "unexpected_failure",
                "{first:#}"
            );
            ada.wait_for_state(&invoke(), &["completed"]);
            server.stop();
        }
    }
}

#[test]
fn a_runner_may_be_lost_at_any_moment_and_every_command_runs_once() {
    let cases = [
        ("process", "segfault", "submit"),
        ("process", "abort", "submitted"),
        ("process", "exit", "submitted"),
        ("process", "loop", "submitted"),
        ("process", "sleep", "submit"),
        ("process", "lie", "submit"),
        ("process", "nothing", "submit"),
        ("process", "forge", "submitted"),
        ("process", "twice", "submitted"),
        ("process", "garbage", "submit"),
        ("process", "panic", "submitted"),
        ("process", "error", "submit"),
        ("process", "error", "submitted"),
        ("process", "abort", "capacity"),
        ("inproc", "panic", "submit"),
        ("inproc", "panic", "submitted"),
        ("inproc", "error", "submit"),
        ("inproc", "error", "submitted"),
        ("inproc", "lie", "submit"),
        ("inproc", "twice", "submitted"),
        ("inproc", "sleep", "submitted"),
        ("inproc", "forge", "submitted"),
    ];
    side_by_side(&cases, |(isolation, fault, at)| {
        let folder = scratch();
        let runner = format!(
            "[[job_runner]]\ntype = \"faulty-runner\"\nisolation = \"{isolation}\"\nlimits = {{ call_timeout = \"1s\" }}\n{}",
            config(&folder.path().display().to_string(), fault, at, 1)
        );
        let mut server = Setup::default()
            .plugins(&plugins("default", "", &runner))
            .start();
        let begin = Instant::now();
        assert_ends_well(
            &mut server,
            folder.path(),
            &format!("runner {isolation} {fault} {at}"),
        );
        println!(
            "runner, {isolation}, {fault} in {at}: the invocation ended well after {:?}",
            begin.elapsed()
        );
        server.stop();
    });
}

/// The server's processes for plugins of a kind.
fn plugin_processes(server: &TestServer, kind: &str) -> Vec<i32> {
    let numbers = std::fs::read_dir("/proc").expect("/proc").flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_ours = |pid: &i32| {
        let read = |name: &str| std::fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
        let (stat, line) = (read("stat"), read("cmdline"));
        let stat = String::from_utf8_lossy(&stat).into_owned();
        let parent = stat
            .rsplit(')')
            .next()
            .and_then(|rest| rest.split_whitespace().nth(1)?.parse::<i32>().ok());
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        parent == Some(server.pid()) && line.contains(&format!("plugin-process {kind}"))
    };
    numbers.filter(is_ours).collect()
}

#[test]
fn the_local_runner_in_a_process_is_killed_and_its_jobs_are_found_again() {
    let runner = LOCAL.replace(
        "type = \"local\"",
        "type = \"local\"\nisolation = \"process\"",
    );
    let mut server = Setup::default()
        .plugins(&plugins("default", "", &runner))
        .start();
    let ada = server.client();
    let history = ada.create_history("killed");
    let data = ada.upload(&history, "data", "hello\n");
    let marks = server.folder().join("marks");
    let go = server.folder().join("marks.go");
    let script = |name: &str| {
        format!(
            "echo {name} >> {}; {}; cat $INPUT > out.txt",
            marks.display(),
            workflows::wait_for(&go)
        )
    };
    let steps: Vec<(String, String)> = (0..6)
        .map(|at| (format!("s{at}"), script(&format!("s{at}"))))
        .collect();
    let steps: Vec<(&str, &str, &str)> = steps
        .iter()
        .map(|(label, script)| (label.as_str(), script.as_str(), "data"))
        .collect();
    let workflow = ada.import_yaml(&workflows::steps(&steps));
    let invocation = ada.invoke(
        &workflow,
        &history,
        &json!({"data": {"src": "hda", "id": data}}),
    );
    let count = || {
        std::fs::read_to_string(&marks)
            .unwrap_or_default()
            .lines()
            .count()
    };
    eventually("four jobs run", || count() == 4);
    let [pid] = plugin_processes(&server, "job_runner")[..] else {
        panic!("the runner has no process of its own");
    };
    barycenter_tests::processes::signal(pid, libc::SIGKILL);
    eventually("another runner", || {
        plugin_processes(&server, "job_runner")
            .iter()
            .any(|other| *other != pid)
    });
    std::fs::write(&go, "").expect("written");
    let done = ada.wait_for_state(&invocation, &["completed"]);
    for at in 0..6 {
        assert_eq!(ada.output(&done, &format!("s{at}_out")), "hello\n");
    }
    let mut lines: Vec<String> = std::fs::read_to_string(&marks)
        .expect("marks")
        .lines()
        .map(str::to_owned)
        .collect();
    lines.sort();
    assert_eq!(
        lines,
        ["s0", "s1", "s2", "s3", "s4", "s5"],
        "each command ran once"
    );
    server.stop();
    assert!(
        server.log().contains("a job of a runner that was lost"),
        "it was asked what became of its jobs"
    );
}

#[test]
fn every_shipped_plugin_works_in_a_process_of_its_own() {
    let isolated = |kind: &str, name: &str| {
        format!("[[{kind}]]\ntype = \"{name}\"\nisolation = \"process\"\n")
    };
    let text = [
        ("scheduler", "default"),
        ("workflow_module", "pause"),
        ("job_runner", "local"),
    ]
    .map(|(kind, name)| isolated(kind, name))
    .concat();
    let mut server = Setup::default().plugins(&text).start();
    let ada = server.client();
    let invocation = ada.invoke_on(REVIEWED, "hello\n");
    let pause = ada.wait_for_step(&invocation, "review", "scheduled");
    assert_eq!(
        ada.act(&invocation, &text_of(&pause), &json!(true)).status,
        200
    );
    let done = ada.wait_for_state(&invocation, &["completed"]);
    assert_eq!(ada.output(&done, "after"), "hello\ncopied\ncopied\n");
    for kind in ["scheduler", "workflow_module", "job_runner"] {
        assert_eq!(plugin_processes(&server, kind).len(), 1, "{kind}");
    }
    let before = plugin_processes(&server, "");
    server.kill9();
    eventually("no plugin outlives its server", || {
        before
            .iter()
            .all(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists())
    });
    server.restart();
    server.stop();
}

fn text_of(step: &serde_json::Value) -> String {
    text(step, "id")
}
