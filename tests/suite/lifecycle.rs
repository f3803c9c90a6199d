//! Plugins of a server that runs: reload, disable, enable, and who may do that.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use barycenter_tests::server::clean;
use barycenter_tests::wait::{eventually, until};
use barycenter_tests::{Client, Setup, TestServer, build, client::text, workflows};
use serde_json::{Value, json};

/// Copies of libraries that tests may overwrite.
struct Libraries(tempfile::TempDir);

impl Libraries {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(format!("lib{name}.so"))
    }

    /// The library as it was built, with `more` at its end: other content, the same code.
    fn put(&self, name: &str, more: &str) -> PathBuf {
        let mut bytes = std::fs::read(build::library(name)).expect("a library");
        bytes.extend(more.as_bytes());
        std::fs::write(self.path(name), bytes).expect("written in place");
        self.path(name)
    }
}

/// A scheduler, a module and a runner from files of their own.
fn plugins_of(libraries: &Libraries, isolation: &str) -> String {
    let entry = |kind: &str, plugin: &str, file: &str| {
        let path = libraries.put(file, "");
        format!("[[{kind}]]\ntype = \"{plugin}\"\npath = {path:?}\nisolation = \"{isolation}\"\n")
    };
    format!(
        "{}{}{}[job_runner.config]\nworkers = 8\n",
        entry("scheduler", "default", "default_scheduler"),
        entry("workflow_module", "pause", "pause_module"),
        entry("job_runner", "local", "local_runner"),
    )
}

fn order(client: &Client, plugin: &str, word: &str) -> barycenter_tests::client::Answer {
    client.post(&format!("/api/plugins/{plugin}/{word}"), &json!({}))
}

fn shown(client: &Client, plugin: &str) -> Value {
    client.get(&format!("/api/plugins/{plugin}")).ok()
}

fn invoke(client: &Client, yaml: &str) -> String {
    client.invoke_on(yaml, "hello\n")
}

/// A chain of three jobs, each of which notes that it ran.
fn chain(marks: &Path, number: usize) -> String {
    let mark = |step: &str| {
        format!(
            "echo {number}{step} >> {}; sleep 0.1; cat $INPUT > out.txt; echo {step} >> out.txt",
            marks.display()
        )
    };
    workflows::steps(&[
        ("a", &mark("a"), "data"),
        ("b", &mark("b"), "a/out"),
        ("c", &mark("c"), "b/out"),
    ])
}

/// Fifty invocations run while every plugin is reloaded again and again, each time from a new file.
fn reloads_lose_nothing(isolation: &str) {
    let libraries = Libraries::new();
    let server = Setup::default()
        .plugins(&plugins_of(&libraries, isolation))
        .start();
    let (client, admin) = (server.client(), server.admin());
    let marks = server.folder().join("marks");
    let history = client.create_history("reload");
    let data = client.upload(&history, "data", "hello\n");
    let inputs = json!({"data": {"src": "hda", "id": data}});
    let invocations: Vec<String> = (0..50)
        .map(|number| {
            let workflow = client.import_yaml(&chain(&marks, number));
            client.invoke(&workflow, &history, &inputs)
        })
        .collect();
    for round in 1..=4 {
        for (plugin, file) in [
            ("job_runner:local", "local_runner"),
            ("scheduler:default", "default_scheduler"),
            ("workflow_module:pause", "pause_module"),
        ] {
            libraries.put(file, &format!("build {round}"));
            let before = shown(&admin, plugin);
            let reloaded = order(&admin, plugin, "reload").ok();
            assert_ne!(reloaded["sha256"], before["sha256"], "{reloaded:#}");
            assert_eq!(reloaded["reloaded"]["sha256_before"], before["sha256"]);
            assert_eq!(reloaded["state"], "ready", "{reloaded:#}");
        }
    }
    for invocation in &invocations {
        let done = client.wait_for_state(invocation, &["completed"]);
        assert_eq!(client.output(&done, "c_out"), "hello\na\nb\nc\n");
    }
    let noted = std::fs::read_to_string(&marks).expect("marks");
    let mut noted: Vec<&str> = noted.lines().collect();
    noted.sort_unstable();
    let count = noted.len();
    noted.dedup();
    assert_eq!((noted.len(), count), (150, 150), "each job ran once");
    let scheduler = shown(&admin, "scheduler:default");
    assert_eq!(
        (&scheduler["reloads"], &scheduler["rollbacks"]),
        (&json!(4), &json!(0))
    );
    assert!(
        scheduler["rehearsal"]["cycles"].as_u64() >= Some(1),
        "{scheduler:#}"
    );
    // Counting goes on over reloads.
    let plans = &scheduler["calls"][0];
    assert!(
        plans["method"] == "plan" && plans["calls"].as_u64() > Some(10),
        "{plans}"
    );
    for plugin in ["job_runner:local", "scheduler:default"] {
        eventually("the old ones are gone", || {
            shown(&admin, plugin)["draining"] == 0
        });
    }
}

#[test]
fn a_reload_while_fifty_invocations_run_loses_nothing_inside_the_server() {
    reloads_lose_nothing("inproc");
}

#[test]
fn a_reload_while_fifty_invocations_run_loses_nothing_in_processes() {
    reloads_lose_nothing("process");
}

#[test]
fn a_reload_of_something_broken_changes_nothing_and_says_why() {
    let libraries = Libraries::new();
    let mut server = Setup::default()
        .plugins(&plugins_of(&libraries, "inproc"))
        .start();
    let admin = server.admin();
    let before = shown(&admin, "scheduler:default");
    let library = libraries.path("default_scheduler");
    let whole = std::fs::read(&library).expect("the library");
    let broken: [&[u8]; 4] = [b"", b"garbage", &whole[..whole.len() / 2], &whole[..64]];
    for bytes in broken {
        std::fs::write(&library, bytes).expect("written");
        let sentence = order(&admin, "scheduler:default", "reload").refused(409, 409_001);
        assert!(sentence.contains("libdefault_scheduler.so"), "{sentence}");
    }
    std::fs::remove_file(&library).expect("removed");
    order(&admin, "scheduler:default", "reload").refused(409, 409_001);
    // One of another type, and options that it does not have.
    std::fs::copy(build::library("pause_module"), &library).expect("copied");
    order(&admin, "scheduler:default", "reload").refused(409, 409_001);
    libraries.put("default_scheduler", "");
    let text = plugins_of(&libraries, "inproc");
    server.set_plugins(&format!("{text}\nworkerss = 3\n"));
    let sentence = order(&admin, "job_runner:local", "reload").refused(409, 409_001);
    assert!(sentence.contains("did you mean `workers`"), "{sentence}");
    server.set_plugins("[[scheduler]\n");
    order(&admin, "job_runner:local", "reload").refused(409, 409_001);
    server.set_plugins("[[scheduler]]\ntype = \"default\"\n");
    order(&admin, "job_runner:local", "reload").refused(409, 409_001);
    let after = shown(&admin, "scheduler:default");
    assert_eq!(
        (&after["sha256"], &after["state"]),
        (&before["sha256"], &json!("ready"))
    );
    assert_eq!(after["report"]["code"], "reload_refused", "{after:#}");
    assert_eq!(after["reloads_refused"], 6);
    let id = invoke(&server.client(), &workflows::script("cat $INPUT > out.txt"));
    server.client().wait_for_state(&id, &["completed"]);
}

#[test]
fn one_that_breaks_down_in_its_first_calls_is_taken_back() {
    let module = |fault: &str| {
        format!(
            "[[scheduler]]\ntype = \"default\"\n[[job_runner]]\ntype = \"local\"\n\
             [[workflow_module]]\ntype = \"faulty-step\"\npath = {:?}\nisolation = \"inproc\"\n\
             config = {{ fault = \"{fault}\", at = \"execute\" }}\n",
            build::library("faulty_module")
        )
    };
    let mut server = Setup::default().plugins(&module("none")).start();
    let (client, admin) = (server.client(), server.admin());
    let yaml = workflows::REVIEWED.replace("type: pause", "type: faulty-step");
    server.set_plugins(&module("panic"));
    let reloaded = order(&admin, "faulty-step", "reload").ok();
    assert_eq!(reloaded["state"], "ready");
    let id = invoke(&client, &yaml);
    let done = client.wait_for_state(&id, &["completed"]);
    assert_eq!(client.output(&done, "after"), "hello\ncopied\ncopied\n");
    let after = shown(&admin, "faulty-step");
    assert_eq!(
        (&after["rollbacks"], &after["state"]),
        (&json!(1), &json!("ready"))
    );
    assert_eq!(after["report"]["code"], "rolled_back", "{after:#}");
    assert!(
        text(&after["report"], "text").contains("panicked"),
        "{after:#}"
    );
    // A scheduler that panics does not even get so far: it rehearses.
    let scheduler = |fault: &str| {
        format!(
            "{}[[scheduler]]\ntype = \"faulty\"\nid = \"night\"\npath = {:?}\nisolation = \"inproc\"\n\
             required = false\nconfig = {{ fault = \"{fault}\" }}\n",
            module("none"),
            build::library("faulty_scheduler")
        )
    };
    server.set_plugins(&scheduler("none"));
    assert_eq!(shown(&admin, "night")["state"], "declared");
    let reloaded = order(&admin, "night", "reload").ok();
    assert_eq!(reloaded["reloaded"]["was_loaded"], false, "{reloaded:#}");
    for fault in ["panic", "lie", "fail", "startup"] {
        server.set_plugins(&scheduler(fault));
        let sentence = order(&admin, "night", "reload").refused(409, 409_001);
        assert!(sentence.contains("night"), "{sentence}");
    }
    assert_eq!(shown(&admin, "night")["state"], "ready");
}

#[test]
fn what_was_not_loaded_at_the_start_can_be_loaded_later() {
    let libraries = Libraries::new();
    let rest = "[[scheduler]]\ntype = \"default\"\n[[job_runner]]\ntype = \"local\"\n";
    let module = format!(
        "{rest}[[workflow_module]]\ntype = \"pause\"\npath = {:?}\nrequired = false\n",
        libraries.path("pause_module")
    );
    let mut server = Setup::default().plugins(&module).start();
    let (client, admin) = (server.client(), server.admin());
    let degraded = shown(&admin, "pause");
    assert_eq!(
        (&degraded["state"], &degraded["report"]["code"]),
        (&json!("degraded"), &json!("not_loaded"))
    );
    order(&admin, "pause", "reload").refused(409, 409_001);
    libraries.put("pause_module", "");
    assert_eq!(order(&admin, "pause", "reload").ok()["state"], "ready");
    let id = invoke(&client, workflows::REVIEWED);
    client.wait_for_step(&id, "review", "scheduled");
    // A second runner, which was not there before.
    server.set_plugins(&format!(
        "{module}[[job_runner]]\ntype = \"local\"\nid = \"second\"\n"
    ));
    assert_eq!(order(&admin, "second", "reload").ok()["state"], "ready");
    // What plugins.toml disables is not loaded until it says otherwise.
    server.set_plugins(&module.replace("required = false", "required = true\nenabled = false"));
    server.restart();
    assert_eq!(shown(&server.admin(), "pause")["state"], "disabled");
    order(&server.admin(), "pause", "enable").refused(409, 409_001);
    server.set_plugins(&module);
    assert_eq!(
        order(&server.admin(), "pause", "enable").ok()["state"],
        "ready"
    );
}

#[test]
fn a_disabled_scheduler_makes_its_invocations_wait_and_says_so() {
    let mut server = Setup::default()
        .plugins(
            "[[scheduler]]\ntype = \"default\"\n\
             [[scheduler]]\ntype = \"default\"\nid = \"helped\"\non_failure = \"fallback:default\"\n\
             [[scheduler]]\ntype = \"default\"\nid = \"alone\"\n[[job_runner]]\ntype = \"local\"\n",
        )
        .start();
    let (client, admin) = (server.client(), server.admin());
    for plugin in ["helped", "alone"] {
        let disabled = order(&admin, plugin, "disable").ok();
        assert_eq!(
            (&disabled["state"], &disabled["changed"]),
            (&json!("disabled"), &json!(true))
        );
    }
    assert_eq!(order(&admin, "alone", "disable").ok()["changed"], false);
    let invoke = |scheduler: &str| {
        let history = client.create_history("disabled");
        let data = client.upload(&history, "data", "hello\n");
        let workflow = client.import_yaml(&workflows::script("cat $INPUT > out.txt"));
        let request = json!({"history_id": history, "inputs_by": "name", "scheduler": scheduler,
            "inputs": {"data": {"src": "hda", "id": data}}});
        let made = client.post(&format!("/api/workflows/{workflow}/invocations"), &request);
        text(&made.ok(), "id")
    };
    let (alone, helped) = (invoke("alone"), invoke("helped"));
    client.wait_for_state(&helped, &["completed"]);
    let hold = until("it says why it waits", || {
        client.invocation(&alone)["holds"]
            .as_array()?
            .first()
            .cloned()
    });
    assert!(
        text(&hold, "text").contains("disabled by an administrator"),
        "{hold}"
    );
    assert_eq!(
        client.invocation(&alone)["jobs"]
            .as_array()
            .map_or(0, Vec::len),
        0
    );
    let enabled = order(&admin, "alone", "enable").ok();
    assert_eq!(
        (&enabled["state"], &enabled["changed"]),
        (&json!("ready"), &json!(true))
    );
    client.wait_for_state(&alone, &["completed"]);
    // It is not remembered: plugins.toml decides at the start.
    order(&admin, "alone", "disable").ok();
    server.restart();
    assert_eq!(shown(&server.admin(), "alone")["state"], "ready");
}

#[test]
fn a_disabled_module_waits_and_a_disabled_runner_follows_what_it_has() {
    let server = TestServer::start();
    let (client, admin) = (server.client(), server.admin());
    order(&admin, "pause", "disable").ok();
    let reviewed = invoke(&client, workflows::REVIEWED);
    client.wait_for_job(&reviewed, "first", &["ok"]);
    let flag = server.folder().join("flag");
    let script = format!("{}; cat $INPUT > out.txt", workflows::wait_for(&flag));
    let long = invoke(&client, &workflows::script(&script));
    client.wait_for_job(&long, "work", &["running"]);
    order(&admin, "local", "disable").ok();
    let later = invoke(&client, &workflows::script("cat $INPUT > out.txt"));
    std::fs::write(&flag, "").expect("a flag");
    client.wait_for_state(&long, &["completed"]);
    std::thread::sleep(Duration::from_millis(500));
    assert_ne!(client.invocation(&later)["state"], "completed");
    order(&admin, "local", "enable").ok();
    client.wait_for_state(&later, &["completed"]);
    let shown = client.invocation(&reviewed);
    assert!(
        !["failed", "cancelled"].contains(&text(&shown, "state").as_str()),
        "{shown}"
    );
    order(&admin, "pause", "enable").ok();
    let step = client.wait_for_step(&reviewed, "review", "scheduled");
    eventually("it can be reviewed", || {
        client
            .act(&reviewed, &text(&step, "id"), &json!(true))
            .status
            == 200
    });
    client.wait_for_state(&reviewed, &["completed"]);
}

#[test]
fn users_may_look_and_only_administrators_may_change() {
    let server = TestServer::start();
    let (client, admin, anonymous) = (server.client(), server.admin(), server.anonymous());
    for path in ["/api/plugins", "/api/plugins/local"] {
        anonymous.get(path).refused(403, 403_001);
        server
            .client()
            .with_key(Some("wrong"))
            .get(path)
            .refused(401, 401_001);
    }
    for word in ["reload", "disable", "enable"] {
        order(&anonymous, "local", word).refused(403, 403_001);
        order(&client, "local", word).refused(403, 403_006);
    }
    let mine = client.get("/api/plugins").ok().to_string();
    let theirs = admin.get("/api/plugins").ok().to_string();
    assert!(theirs.contains("liblocal_runner.so"), "{theirs}");
    for secret in [".so", "kill_grace", &server.folder().display().to_string()] {
        assert!(!mine.contains(secret), "{mine}");
    }
    let listed = client.get("/api/plugins").ok();
    let kinds: Vec<String> = listed
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| text(one, "kind"))
        .collect();
    assert_eq!(kinds, ["scheduler", "workflow_module", "job_runner"]);
    assert_eq!(shown(&client, "local?kind=job_runner")["id"], "local");
    client
        .get("/api/plugins/local?kind=scheduler")
        .refused(404, 404_001);
    client
        .get("/api/plugins/local?kind=nonsense")
        .refused(400, 400_008);
}

#[test]
fn strange_ids_are_nobodys() {
    let server = TestServer::start();
    let admin = server.admin();
    for id in [
        "nobody",
        "scheduler:",
        ":",
        "::",
        ":local",
        "scheduler:local",
        "job_runner:job_runner:local",
        "..%2F..%2Fetc%2Fpasswd",
        "%00",
        "%F0%9F%92%A9",
        "a%20b",
        "%25",
        "local%0A",
        "%22%7D",
        &"x".repeat(4000),
        "-1",
        "null",
    ] {
        for (method, path) in [
            ("GET", String::new()),
            ("POST", "/reload".into()),
            ("POST", "/disable".into()),
            ("POST", "/enable".into()),
        ] {
            let answer = admin.send(method, &format!("/api/plugins/{id}{path}"), &[], b"");
            assert!((400..=404).contains(&answer.status), "{answer}");
            assert!(answer.text().len() < 600, "{answer}");
        }
    }
    for bytes in ["%FF", "%zz"] {
        let answer = admin.send("POST", &format!("/api/plugins/{bytes}/reload"), &[], b"");
        assert!((400..500).contains(&answer.status), "{answer}");
    }
    assert_eq!(shown(&admin, "local")["state"], "ready");
}

#[test]
fn a_pin_stays_a_pin() {
    let libraries = Libraries::new();
    let library = libraries.put("pause_module", "");
    let digest = |path: &Path| {
        let output = Command::new("sha256sum")
            .arg(path)
            .output()
            .expect("sha256sum");
        String::from_utf8_lossy(&output.stdout)
            .split_whitespace()
            .next()
            .expect("a digest")
            .to_owned()
    };
    let with = |pin: &str| {
        format!(
            "[[scheduler]]\ntype = \"default\"\n[[job_runner]]\ntype = \"local\"\n\
             [[workflow_module]]\ntype = \"pause\"\npath = {library:?}\n{pin}\n"
        )
    };
    let pin = |path: &Path| format!("sha256 = \"{}\"", digest(path));
    let mut server = Setup::default().plugins(&with(&pin(&library))).start();
    let admin = server.admin();
    libraries.put("pause_module", "another");
    let sentence = order(&admin, "pause", "reload").refused(409, 409_001);
    assert!(sentence.contains("sha256"), "{sentence}");
    server.set_plugins(&with(""));
    let sentence = order(&admin, "pause", "reload").refused(409, 409_001);
    assert!(sentence.contains("pinned"), "{sentence}");
    server.set_plugins(&with(&pin(&library)));
    assert_eq!(order(&admin, "pause", "reload").ok()["state"], "ready");
}

#[test]
fn the_command_line_does_the_same() {
    let server = TestServer::start();
    let admin_key = server.create_user("operator", true);
    let run = |key: &str, arguments: &[&str]| {
        let mut command = Command::new(build::binary());
        command
            .arg("plugin")
            .args(arguments)
            .args(["--server", &server.url]);
        let output = clean(&mut command)
            .env("BARYCENTER_API_KEY", key)
            .env("OTHER", &admin_key)
            .output()
            .expect("the program runs");
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        (output.status.code(), said)
    };
    let (code, said) = run(&admin_key, &["list"]);
    assert!(
        code == Some(0) && said.contains("job_runner") && said.contains("ready"),
        "{said}"
    );
    let (code, said) = run(&admin_key, &["disable", "local"]);
    assert_eq!(
        (code, said.as_str()),
        (Some(0), "job_runner local: disabled\n")
    );
    let (code, said) = run(
        "",
        &["enable", "job_runner:local", "--api-key-env", "OTHER"],
    );
    assert_eq!(
        (code, said.as_str()),
        (Some(0), "job_runner local: ready\n")
    );
    let (code, said) = run(&admin_key, &["reload", "scheduler:default"]);
    assert!(code == Some(0) && said.contains("rehearsed"), "{said}");
    let (code, said) = run(&admin_key, &["reload", "local", "--json"]);
    let answer: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(
        (code, &answer["reloaded"]["was_loaded"]),
        (Some(0), &json!(true))
    );
    let (code, said) = run(&admin_key, &["reload", "nobody"]);
    assert!(
        code == Some(1) && said.contains("no plugin nobody"),
        "{said}"
    );
    let (code, said) = run("", &["reload", "local"]);
    assert!(
        code == Some(1) && said.contains("BARYCENTER_API_KEY"),
        "{said}"
    );
}
