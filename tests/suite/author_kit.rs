//! The author's kit: from an empty folder to a scheduler of one's own that decides, and a check that finds what is wrong.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use barycenter_tests::server::clean;
use barycenter_tests::{Setup, TestServer, build};
use serde_json::{Value, json};

fn barycenter(arguments: &[&str]) -> Output {
    clean(&mut Command::new(build::binary()))
        .args(arguments)
        .output()
        .expect("the program runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Cargo as its author has it: not the one of this workspace's build.
fn cargo(project: &Path, arguments: &[&str]) {
    let mut cargo = Command::new(env!("CARGO"));
    for (name, _) in std::env::vars() {
        if name.starts_with("CARGO_") && name != "CARGO_HOME" || name == "RUSTFLAGS" {
            cargo.env_remove(name);
        }
    }
    let output = cargo
        .args(arguments)
        // What this repository's own build fetched is enough.
        .arg("--offline")
        .current_dir(project)
        // Kept between runs of the tests: the contract's dependencies take a minute.
        .env("CARGO_TARGET_DIR", project_target())
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "cargo {arguments:?}: {}",
        text(&output.stderr)
    );
}

fn project_target() -> PathBuf {
    build::BUILT
        .parent()
        .expect("a target folder")
        .join("author-kit")
}

/// A new project, built and tested.
fn new_plugin(folder: &Path, kind: &str, name: &str) -> PathBuf {
    let project = folder.join(name);
    let made = barycenter(&[
        "plugin",
        "new",
        kind,
        name,
        "--path",
        &project.display().to_string(),
    ]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    cargo(&project, &["test", "--quiet"]);
    cargo(&project, &["build", "--quiet"]);
    let library = format!("lib{}.so", name.replace('-', "_"));
    project_target().join("debug").join(library)
}

fn outcomes(library: &Path, more: &[&str]) -> (Option<i32>, Value) {
    let file = library.display().to_string();
    let mut arguments = vec!["plugin", "check", file.as_str(), "--json"];
    arguments.extend(more);
    let output = barycenter(&arguments);
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", text(&output.stderr)));
    (output.status.code(), report)
}

/// The ids of the tests that ended so.
fn ids(report: &Value, outcome: &str) -> Vec<String> {
    let tests = report["tests"].as_array().expect("tests");
    let found = tests.iter().filter(|test| test["outcome"] == outcome);
    found
        .map(|test| test["id"].as_str().expect("an id").to_owned())
        .collect()
}

#[test]
fn a_new_plugin_of_every_kind_builds_and_keeps_the_contract_untouched_and_a_scheduler_decides() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut scheduler = PathBuf::new();
    for (kind, name) in [
        ("module", "kit-step"),
        ("runner", "kit-runner"),
        ("scheduler", "kit-scheduler"),
    ] {
        let library = new_plugin(folder.path(), kind, name);
        let (code, report) = outcomes(&library, &[]);
        assert_eq!(code, Some(0), "{name}: {report:#}");
        assert!(ids(&report, "noted").is_empty(), "{name}: {report:#}");
        assert!(ids(&report, "passed").len() > 20, "{name}: {report:#}");
        scheduler = library;
    }

    // A running server is told of it, and it decides an invocation.
    let record = folder.path().join("record");
    let server = Setup::default()
        .plugins(&format!(
            "[plugins]\ndefault_scheduler = \"mine\"\n[[scheduler]]\ntype = \"kit-scheduler\"\nid = \"mine\"\n\
             path = {:?}\nconfig = {{ jobs_per_user = 2 }}\n[[job_runner]]\ntype = \"local\"\n[[workflow_module]]\ntype = \"pause\"\n",
            scheduler.display().to_string()
        ))
        .env("BARYCENTER_RECORD", &record.display().to_string())
        .start();
    let ada = server.client();
    let invocation = ada.invoke_on(barycenter_tests::workflows::REVIEWED, "hello\n");
    ada.wait_for_job(&invocation, "first", &["ok"]);

    // What it decided is recorded, and gives the same answers again, byte for byte.
    let trace = record.join("trace-000001.jsonl");
    let lines = fs::read_to_string(&trace).expect("a trace");
    assert!(lines.contains("\"decision\":\"place\""), "{lines}");
    drop(server);
    let (library, trace_name) = (scheduler.display().to_string(), trace.display().to_string());
    let again = barycenter(&["plugin", "replay", &library, &trace_name]);
    let told = text(&again.stdout);
    assert_eq!(
        again.status.code(),
        Some(0),
        "{told}{}",
        text(&again.stderr)
    );
    assert!(
        told.contains("0 different") && !told.contains("0 calls"),
        "{told}"
    );

    // A trace in which another answer stands is told, with its place.
    let changed = folder.path().join("changed.jsonl");
    fs::write(
        &changed,
        lines.replace("\"decision\":\"place\"", "\"decision\":\"hold\""),
    )
    .expect("written");
    let again = barycenter(&["plugin", "replay", &library, &changed.display().to_string()]);
    let told = text(&again.stdout);
    assert_eq!(again.status.code(), Some(1), "{told}");
    assert!(
        told.contains("/jobs/0/decision: recorded \"hold\", now \"place\""),
        "{told}"
    );
}

/// What a newcomer does, word by word as docs/plugin-authors.md says, and how long each part takes. The server runs before
/// there is such a plugin, and is not started again.
#[test]
fn from_nothing_to_a_scheduler_that_a_running_server_takes_in_by_reload_and_that_decides() {
    let mut server = TestServer::start();
    let key = server.create_user("operator", true);
    let folder = tempfile::tempdir().expect("a folder");
    let project = folder.path().join("newcomer");
    let mut stages: Vec<(&str, Duration)> = Vec::new();
    let mut begin = Instant::now();
    let mut stage = |name| {
        stages.push((name, begin.elapsed()));
        begin = Instant::now();
    };

    let path = project.display().to_string();
    let made = barycenter(&["plugin", "new", "scheduler", "newcomer", "--path", &path]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    stage("plugin new");
    cargo(&project, &["test", "--quiet"]);
    stage("cargo test");
    cargo(&project, &["build", "--quiet", "--release"]);
    stage("cargo build --release");
    let library = project_target().join("release/libnewcomer.so");
    let library = library.display().to_string();
    let checked = barycenter(&["plugin", "check", &library]);
    let told = text(&checked.stdout);
    assert_eq!(checked.status.code(), Some(0), "{told}");
    assert!(told.contains(" ok"), "{told}");
    stage("plugin check");

    // An operator adds a table to the list of a server that runs, and tells the server.
    let list = server.folder().join("plugins.toml");
    let before = fs::read_to_string(&list).expect("the list");
    server.set_plugins(&format!(
        "{before}\n[[scheduler]]\ntype = \"newcomer\"\npath = {library:?}\n"
    ));
    let mut reload = Command::new(build::binary());
    let reloaded = clean(reload.args(["plugin", "reload", "newcomer", "--server", &server.url]))
        .env("BARYCENTER_API_KEY", &key)
        .output()
        .expect("the program runs");
    assert!(reloaded.status.success(), "{}", text(&reloaded.stderr));
    stage("plugin reload");

    let ada = server.client();
    let history = ada.create_history("newcomer");
    let data = ada.upload(&history, "data", "hello\n");
    let workflow = ada.import_yaml(&barycenter_tests::workflows::script("cat $INPUT > out.txt"));
    let request = json!({"history_id": history, "inputs_by": "name", "scheduler": "newcomer",
        "inputs": {"data": {"src": "hda", "id": data}}});
    let made = ada.post(&format!("/api/workflows/{workflow}/invocations"), &request);
    let invocation = made.ok()["id"].as_str().expect("an id").to_owned();
    ada.wait_for_state(&invocation, &["completed"]);
    stage("an invocation");

    let shown = ada.get("/api/plugins/newcomer").ok();
    let calls = shown["calls"].as_array().expect("methods").clone();
    let plans = calls.iter().find(|one| one["method"] == "plan");
    let plans = plans.and_then(|one| one["calls"].as_u64());
    assert!(plans >= Some(2), "it planned steps and jobs: {shown:#}");
    assert!(server.is_running());
    let total: Duration = stages.iter().map(|(_, took)| *took).sum();
    for (name, took) in stages {
        println!("{name:>24} {took:>8.1?}");
    }
    println!("{:>24} {total:>8.1?}", "in all");
    assert!(total < Duration::from_secs(600), "ten minutes: {total:?}");
}

#[test]
fn the_check_finds_what_a_faulty_plugin_does() {
    let cases: [(&str, &str, &[&str]); 7] = [
        ("plan", "B.rules", &["plan panics"]),
        ("overcommit", "B.rules", &["decided twice"]),
        ("lie", "B.empty", &["4711 was not offered"]),
        ("startup", "B.lifecycle", &["startup panics"]),
        ("shutdown", "B.lifecycle", &["shutdown panics"]),
        ("drop", "R.drop", &["drop panics"]),
        ("refuse", "L.create", &["no such farm"]),
    ];
    let library = build::library("faulty_scheduler");
    for (fault, id, words) in cases {
        let options = json!({ "fault": fault }).to_string();
        let (code, report) = outcomes(&library, &["--only", id, "--options", &options]);
        assert_eq!(code, Some(1), "{fault}: {report:#}");
        assert_eq!(ids(&report, "failed"), [id], "{report:#}");
        for word in words {
            assert!(
                report.to_string().contains(word),
                "{fault} says {word}: {report:#}"
            );
        }
    }
    // Nothing is found where nothing is wrong.
    let idle = json!({ "fault": "none" }).to_string();
    let (_, report) = outcomes(
        &library,
        &["--only", "B.j", "--only", "B.rules", "--options", &idle],
    );
    assert_eq!(ids(&report, "passed"), ["B.rules", "B.jobs"], "{report:#}");
    // What ends a process ends that of the test, and no more.
    for (fault, word) in [
        ("segfault", "signal 11"),
        ("abort", "signal 6"),
        ("exit", "exit code 7"),
    ] {
        let options = json!({ "fault": fault, "at": "plan" }).to_string();
        let only = [
            "--only",
            "B.empty",
            "--only",
            "L.load",
            "--options",
            &options,
        ];
        let (code, report) = outcomes(&library, &only);
        assert_eq!(code, Some(3), "{fault}: {report:#}");
        assert_eq!(ids(&report, "crashed"), ["B.empty"], "{report:#}");
        assert_eq!(ids(&report, "passed"), ["L.load"], "{report:#}");
        assert!(report.to_string().contains(word), "{report:#}");
    }
    for (library, failing) in [("faulty_module", "B.execute"), ("faulty_runner", "B.job")] {
        let (code, report) = outcomes(
            &build::library(library),
            &["--only", failing, "--only", "R.drop"],
        );
        assert_eq!(code, Some(1), "{report:#}");
        assert_eq!(ids(&report, "failed"), [failing, "R.drop"], "{report:#}");
    }
}

#[test]
fn exit_codes_tell_hung_from_failed_from_refused_from_misused() {
    let library = build::library("faulty_scheduler");
    let options = json!({ "fault": "dawdle" }).to_string();
    let (code, report) = outcomes(
        &library,
        &["--only", "B.rules", "--timeout", "2", "--options", &options],
    );
    assert_eq!(code, Some(3), "{report:#}");
    assert_eq!(ids(&report, "timed_out"), ["B.rules"]);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("x.so");
    let good = fs::read(&library).expect("the library");
    for length in [0, 10, 64, 1000, good.len() / 2] {
        fs::write(&file, &good[..length]).expect("written");
        for command in ["check", "inspect", "bench"] {
            let output = barycenter(&["plugin", command, &file.display().to_string()]);
            assert_eq!(output.status.code(), Some(4), "{command} of {length} bytes");
            let told = text(&output.stderr);
            assert!(told.contains("x.so") && told.lines().count() <= 5, "{told}");
        }
    }
    let name = library.display().to_string();
    for wrong in [
        vec!["--only", "Z.nothing"],
        vec!["--options", "[1]"],
        vec!["--options", "{"],
        vec!["--timeout", "0"],
    ] {
        let mut arguments = vec!["plugin", "check", name.as_str()];
        arguments.extend(wrong);
        assert_eq!(
            barycenter(&arguments).status.code(),
            Some(2),
            "{arguments:?}"
        );
    }
}

#[test]
fn what_is_shipped_keeps_the_contract() {
    std::thread::scope(|scope| {
        for name in [
            "default_scheduler",
            "fair_share",
            "pause_module",
            "wait_until",
            "local_runner",
        ] {
            scope.spawn(move || {
                let (code, report) = outcomes(&build::library(name), &[]);
                assert_eq!(code, Some(0), "{name}: {report:#}");
            });
        }
    });
}

#[test]
fn junit_and_list_and_inspect_tell_the_same_plugin() {
    let folder = tempfile::tempdir().expect("a folder");
    let junit = folder.path().join("check.xml");
    let library = build::library("default_scheduler").display().to_string();
    let checked = barycenter(&[
        "plugin",
        "check",
        &library,
        "--only",
        "L",
        "--junit",
        &junit.display().to_string(),
    ]);
    assert!(checked.status.success(), "{}", text(&checked.stdout));
    let xml = fs::read_to_string(&junit).expect("a report");
    assert!(
        xml.contains("<testsuite") && xml.contains("L.load") && xml.contains("failures=\"0\""),
        "{xml}"
    );
    let listed = text(&barycenter(&["plugin", "check", &library, "--list"]).stdout);
    for id in [
        "L.load",
        "C.mutated",
        "B.starvation",
        "R.leaks",
        "E.attrs",
        "P.answers",
    ] {
        assert!(listed.contains(id), "{listed}");
    }
    let inspected = barycenter(&["plugin", "inspect", &library, "--json"]);
    let inspected: Value = serde_json::from_slice(&inspected.stdout).expect("JSON");
    assert_eq!(inspected["type"], "default");
    assert_eq!(inspected["kinds"], json!(["scheduler"]));
    assert_eq!(inspected["fits"], true);
}

#[test]
fn a_locked_list_is_loaded_and_one_that_is_not_what_it_was_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let library = folder.path().join("libdefault.so");
    fs::copy(build::library("default_scheduler"), &library).expect("copied");
    let list = folder.path().join("plugins.toml");
    fs::write(
        &list,
        "[plugins]\ntrust = \"pinned\" # no others\n[[scheduler]]\ntype = \"default\"\npath = \"libdefault.so\"\n",
    )
    .expect("written");
    let name = list.display().to_string();
    let run = |command: &[&str]| {
        let mut arguments = vec!["plugin"];
        arguments.extend(command);
        arguments.extend(["--plugins", name.as_str()]);
        let output = barycenter(&arguments);
        (
            output.status.code(),
            text(&output.stdout) + &text(&output.stderr),
        )
    };
    let (code, told) = run(&["check"]);
    assert!(code == Some(1) && told.contains("plugin lock"), "{told}");
    assert_eq!(run(&["lock", "--check"]).0, Some(1));
    let (code, told) = run(&["lock"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(
        fs::read_to_string(&list)
            .expect("it")
            .contains("# no others")
    );
    assert_eq!(run(&["lock", "--check"]).0, Some(0));
    // The folder of a test may lie below one that belongs to somebody else: then that is what is told.
    let (code, told) = run(&["check"]);
    assert!(
        code == Some(0) || told.contains("can write") || told.contains("belongs to"),
        "{told}"
    );
    let mut bytes = fs::read(&library).expect("it");
    bytes.push(0);
    fs::write(&library, bytes).expect("changed");
    let (code, told) = run(&["check"]);
    assert!(code == Some(1) && told.contains("sha256"), "{told}");
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(&library, PermissionsExt::from_mode(0o666)).expect("anybody may write");
    let (code, told) = run(&["check"]);
    assert!(
        code == Some(1) && told.contains("everybody can write"),
        "{told}"
    );
}

#[test]
fn a_benchmark_compares_with_the_default_and_with_its_own_past() {
    let folder = tempfile::tempdir().expect("a folder");
    let library = build::library("default_scheduler").display().to_string();
    let output = barycenter(&["plugin", "bench", &library, "--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let mut results: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    // The default beside the default: in simulated time nothing differs.
    assert_eq!(results["quality"], results["default"], "{results:#}");
    assert_eq!(results["quality"].as_array().map(Vec::len), Some(3));
    let used = results["quality"][1]["utilisation"]
        .as_f64()
        .expect("a number");
    assert!(
        (0.9..=1.0).contains(&used),
        "a crowd keeps eight slots busy: {used}"
    );
    let baseline = folder.path().join("baseline.json");
    results["quality"][0]["mean_wait_s"] = json!(0.5);
    fs::write(&baseline, results.to_string()).expect("written");
    let name = baseline.display().to_string();
    let output = barycenter(&["plugin", "bench", &library, "--json", "--baseline", &name]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("mean wait"),
        "{}",
        text(&output.stderr)
    );
}
