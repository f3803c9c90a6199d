//! The server dies at any moment; after a restart everything acknowledged is there and no job's command was started
//! twice without the record saying so.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use barycenter_tests::client::{step, text};
use barycenter_tests::workflows::{self, REVIEWED};
use barycenter_tests::{Setup, TestServer, eventually, until};
use serde_json::{Value, json};

/// How often each mark was made.
fn marks(file: &Path) -> BTreeMap<String, usize> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let mut counts = BTreeMap::new();
    for line in text.lines() {
        *counts.entry(line.to_owned()).or_default() += 1;
    }
    counts
}

/// Numbers that look random and are the same for the same seed (a linear congruential generator).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// Checks that the end of an invocation of [`workflows::marks`] is what it must be: each job's command ran exactly
/// once and its output is right, unless its record says that it was lost.
fn check_marks(server: &TestServer, invocation: &str, file: &Path, count: usize) {
    let ada = server.client();
    let done = ada.wait_for_state(invocation, &["completed"]);
    let made = marks(file);
    let mut lost = 0;
    for n in 0..count {
        let label = format!("m{n}");
        let step =
            step(&done, &label).unwrap_or_else(|| panic!("{label} was never reached: {done:#}"));
        let job = &step["jobs"][0];
        let times = made.get(&label).copied().unwrap_or(0);
        match job["state"].as_str() {
            Some("ok") => {
                assert_eq!(times, 1, "{label} is ok and ran {times} times");
                assert_eq!(ada.output(&done, &format!("o{n}")), format!("{label}\n"));
            }
            Some("error") => {
                assert!(times <= 1, "{label} was lost and ran {times} times");
                let job = ada
                    .get(&format!("/api/jobs/{}?full=true", text(job, "id")))
                    .ok();
                let record = job.to_string();
                assert!(
                    record.contains("its process is gone"),
                    "{label} does not say why: {job:#}"
                );
                lost += 1;
            }
            // What follows a lost job.
            Some("paused") => assert_eq!(times, 0, "{label} is paused and ran"),
            other => panic!("{label} ended as {other:?}: {job:#}"),
        }
    }
    assert!(lost <= 2, "{lost} jobs were lost");
}

struct Fifty {
    server: TestServer,
    file: PathBuf,
    invocation: String,
}

fn fifty(setup: Setup, count: usize, seconds: &str) -> Fifty {
    let server = setup.start();
    let ada = server.client();
    let file = server.folder().join("marks");
    let history = ada.create_history("marks");
    let workflow = ada.import_yaml(&workflows::marks(count, &file, seconds));
    let invocation = ada.invoke(&workflow, &history, &json!({}));
    Fifty {
        server,
        file,
        invocation,
    }
}

fn killed_at_random_moments(seed: u64) {
    let mut dice = Dice(seed);
    let mut fifty = fifty(Setup::default(), 50, "0.02");
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(dice.below(250)));
        fifty.server.kill9();
        fifty.server.restart();
    }
    check_marks(&fifty.server, &fifty.invocation, &fifty.file, 50);
}

#[test]
fn fifty_jobs_survive_kills_at_random_moments_of_seeds_1_to_5() {
    (1..=5).for_each(killed_at_random_moments);
}

#[test]
fn fifty_jobs_survive_kills_at_random_moments_of_seeds_6_to_10() {
    (6..=10).for_each(killed_at_random_moments);
}

#[test]
fn a_job_that_runs_on_through_a_kill_is_found_again_and_keeps_its_result() {
    let mut server = TestServer::start();
    let ada = server.client();
    let gate = server.folder().join("gate");
    let started = server.folder().join("started");
    let script = format!(
        "echo x >> {}; {}; echo survived > out.txt; echo told; exit 0",
        started.display(),
        workflows::wait_for(&gate)
    );
    let invocation = ada.invoke_on(
        &workflows::steps(&[
            ("slow", &script, "data"),
            ("next", "cat $INPUT > out.txt", "slow/out"),
        ]),
        "x\n",
    );
    eventually("the job starts", || started.exists());
    server.kill9();
    assert!(
        !server.job_processes().is_empty(),
        "a job goes on without its server"
    );
    server.restart();
    let ada = server.client();
    ada.wait_for_job(&invocation, "slow", &["running"]);
    std::fs::write(&gate, "").expect("the gate opens");
    let done = ada.wait_for_state(&invocation, &["completed"]);
    assert_eq!(ada.output(&done, "next_out"), "survived\n");
    let job = ada.wait_for_job(&invocation, "slow", &["ok"]);
    assert_eq!(job["exit_code"], 0);
    assert_eq!(job["stdout"], "told\n");
    assert_eq!(std::fs::read_to_string(&started).expect("marks"), "x\n");
}

#[test]
fn a_job_that_ends_while_no_server_runs_is_found_with_its_result() {
    for (code, state) in [(0, "ok"), (3, "error")] {
        let mut server = TestServer::start();
        let ada = server.client();
        let gate = server.folder().join("gate");
        let started = server.folder().join("started");
        let script = format!(
            "echo x >> {}; {}; echo done > out.txt; exit {code}",
            started.display(),
            workflows::wait_for(&gate)
        );
        let invocation = ada.invoke_on(&workflows::script(&script), "x\n");
        eventually("the job starts", || started.exists());
        server.kill9();
        std::fs::write(&gate, "").expect("the gate opens");
        eventually("the job ends", || server.job_processes().is_empty());
        server.restart();
        let ada = server.client();
        ada.wait_for_state(&invocation, &["completed"]);
        let job = ada.wait_for_job(&invocation, "work", &[state]);
        assert_eq!(job["exit_code"], code);
        assert_eq!(std::fs::read_to_string(&started).expect("marks"), "x\n");
    }
}

#[test]
fn a_job_that_is_killed_while_no_server_runs_is_an_error_that_says_so() {
    let mut server = TestServer::start();
    let ada = server.client();
    let invocation = ada.invoke_on(&workflows::script("sleep 600"), "x\n");
    ada.wait_for_job(&invocation, "work", &["running"]);
    server.kill9();
    barycenter_tests::processes::kill_below(&server.data_dir());
    server.restart();
    let ada = server.client();
    ada.wait_for_state(&invocation, &["completed"]);
    let job = ada.wait_for_job(&invocation, "work", &["error"]);
    assert!(
        text(&job, "info").contains("its process is gone"),
        "{job:#}"
    );
}

#[test]
fn a_pause_waits_through_kills_and_an_approval_that_was_answered_is_kept() {
    let mut server = TestServer::start();
    let ada = server.client();
    let invocation = ada.invoke_on(REVIEWED, "hello\n");
    let before = ada.wait_for_step(&invocation, "review", "scheduled");
    let waiting = ada.wait_for_state(&invocation, &["ready"]);
    server.kill9();
    server.restart();
    let ada = server.client();
    let after = ada.wait_for_state(&invocation, &["ready"]);
    assert_eq!(after["uuid"], waiting["uuid"]);
    assert_eq!(step(&after, "review").expect("there")["id"], before["id"]);
    assert_eq!(
        step(&after, "review").expect("there")["action"],
        Value::Null
    );
    ada.act(&invocation, &text(&before, "id"), &json!(true))
        .ok();
    server.kill9();
    server.restart();
    let ada = server.client();
    let done = ada.wait_for_state(&invocation, &["completed"]);
    assert_eq!(ada.output(&done, "after"), "hello\ncopied\ncopied\n");
}

#[test]
fn what_was_acknowledged_right_before_a_kill_is_there() {
    let mut server = TestServer::start();
    let ada = server.client();
    let history = ada.create_history("acknowledged");
    let data = ada.upload(&history, "data", "hello\n");
    let workflow = ada.import_yaml(&workflows::script("cat $INPUT > out.txt"));
    for _ in 0..5 {
        let ada = server.client();
        let invocation = ada.invoke(
            &workflow,
            &history,
            &json!({"data": {"src": "hda", "id": data}}),
        );
        server.kill9();
        server.restart();
        let ada = server.client();
        let done = ada.wait_for_state(&invocation, &["completed"]);
        assert_eq!(ada.output(&done, "work_out"), "hello\n");
    }
}

#[test]
fn a_cancellation_that_was_answered_is_finished_after_a_kill() {
    let mut server = TestServer::start();
    let ada = server.client();
    let invocation = ada.invoke_on(&workflows::script("sleep 600"), "x\n");
    ada.wait_for_job(&invocation, "work", &["running"]);
    ada.delete(&format!("/api/invocations/{invocation}")).ok();
    server.kill9();
    server.restart();
    let ada = server.client();
    ada.wait_for_state(&invocation, &["cancelled"]);
    ada.wait_for_job(&invocation, "work", &["deleted"]);
    eventually("the job's processes are gone", || {
        server.job_processes().is_empty()
    });
}

#[test]
fn sigterm_leaves_running_jobs_to_be_found_again() {
    let mut server = TestServer::start();
    let ada = server.client();
    let gate = server.folder().join("gate");
    let script = format!("{}; echo survived > out.txt", workflows::wait_for(&gate));
    let invocation = ada.invoke_on(&workflows::script(&script), "x\n");
    ada.wait_for_job(&invocation, "work", &["running"]);
    server.stop();
    assert!(!server.job_processes().is_empty());
    server.restart();
    std::fs::write(&gate, "").expect("the gate opens");
    let ada = server.client();
    let done = ada.wait_for_state(&invocation, &["completed"]);
    assert_eq!(ada.output(&done, "work_out"), "survived\n");
}

/// The commits that moving an invocation forward consists of, and how often each is reached before the crash.
const LABELS: [(&str, u32); 14] = [
    ("iteration", 1),
    ("iteration", 3),
    ("iteration.none", 1),
    ("job.dispatch", 1),
    ("job.dispatch", 3),
    ("job.submit", 1),
    ("job.submit", 3),
    ("job.started", 1),
    ("job.results", 1),
    ("job.tidy", 1),
    ("job.settle", 1),
    ("job.settle", 3),
    ("invocation.look", 1),
    ("invocation.complete", 1),
];

fn crashes_at(side: &str) {
    let mut died = Vec::new();
    for (label, times) in LABELS {
        let place = format!("{side}:{label}:{times}");
        let crash = [("BARYCENTER_CRASH_AT".to_owned(), place.clone())];
        let mut server = TestServer::start();
        let file = server.folder().join("marks");
        let ada = server.client();
        let history = ada.create_history("crash");
        let workflow = ada.import_yaml(&workflows::marks(12, &file, "0.05"));
        server.restart_with(&crash);
        let ada = server.client();
        let path = format!("/api/workflows/{workflow}/invocations");
        let invocation = text(&ada.post(&path, &json!({"history_id": history})).ok(), "id");
        // It dies, or the label is not on this workflow's way.
        let dead = until(&format!("a crash or an end at {place}"), || {
            if !server.is_running() {
                return Some(true);
            }
            let answer = ada
                .try_send("GET", &format!("/api/invocations/{invocation}"), &[], b"")
                .ok()?;
            (answer.json()["state"] == "completed").then_some(false)
        });
        if dead || !server.is_running() {
            died.push(place.clone());
        }
        server.restart_with(&[]);
        eprintln!("{place}");
        check_marks(&server, &invocation, &file, 12);
    }
    for needed in [
        "iteration:1",
        "job.dispatch:1",
        "job.settle:1",
        "invocation.complete:1",
    ] {
        assert!(
            died.contains(&format!("{side}:{needed}")),
            "no crash at {side}:{needed}: {died:?}"
        );
    }
}

#[test]
fn a_crash_before_any_commit_changes_nothing_about_the_end() {
    crashes_at("before");
}

#[test]
fn a_crash_after_any_commit_changes_nothing_about_the_end() {
    crashes_at("after");
}

#[test]
fn a_crash_around_a_cancellation_leaves_no_process_and_no_doubt() {
    for label in ["invocation.cancel", "invocation.cancelled", "job.settle"] {
        for side in ["before", "after"] {
            let mut server = TestServer::start();
            let ada = server.client();
            let invocation = ada.invoke_on(&workflows::script("sleep 600"), "x\n");
            ada.wait_for_job(&invocation, "work", &["running"]);
            server.restart_with(&[(
                "BARYCENTER_CRASH_AT".to_owned(),
                format!("{side}:{label}:1"),
            )]);
            let ada = server.client();
            let sent = ada.try_send(
                "DELETE",
                &format!("/api/invocations/{invocation}"),
                &[],
                b"",
            );
            server.wait_for_death();
            server.restart_with(&[]);
            let ada = server.client();
            if (side, label) == ("before", "invocation.cancel") {
                assert!(sent.is_err(), "nothing was acknowledged");
                ada.delete(&format!("/api/invocations/{invocation}")).ok();
            }
            ada.wait_for_state(&invocation, &["cancelled"]);
            ada.wait_for_job(&invocation, "work", &["deleted"]);
            eventually("the job's processes are gone", || {
                server.job_processes().is_empty()
            });
        }
    }
}

#[test]
fn a_crash_around_a_request_leaves_all_of_it_or_nothing() {
    for label in [
        "invocation.create",
        "workflow.create",
        "upload",
        "invocation.action",
    ] {
        for side in ["before", "after"] {
            let mut server = TestServer::start();
            let ada = server.client();
            let history = ada.create_history("request");
            let data = ada.upload(&history, "data", "hello\n");
            let workflow = ada.import_yaml(REVIEWED);
            let inputs = json!({"data": {"src": "hda", "id": data}});
            let invocation = ada.invoke(&workflow, &history, &inputs);
            let pause = text(&ada.wait_for_step(&invocation, "review", "scheduled"), "id");
            server.restart_with(&[(
                "BARYCENTER_CRASH_AT".to_owned(),
                format!("{side}:{label}:1"),
            )]);
            let ada = server.client();
            let post = |path: &str, body: Value| {
                let kind = [("content-type", "application/json")];
                let method = if label == "invocation.action" {
                    "PUT"
                } else {
                    "POST"
                };
                ada.try_send(method, path, &kind, body.to_string().as_bytes())
            };
            let sent = match label {
                "invocation.create" => post(
                    &format!("/api/workflows/{workflow}/invocations"),
                    json!({"history_id": history, "inputs_by": "name", "inputs": inputs}),
                ),
                "workflow.create" => {
                    let workflow = json!({"class": "GalaxyWorkflow", "yaml_content": REVIEWED});
                    post("/api/workflows", json!({"workflow": workflow}))
                }
                "upload" => {
                    let element = json!({"src": "pasted", "paste_content": "more\n", "name": "more", "ext": "txt"});
                    let targets = json!([{"destination": {"type": "hdas"}, "elements": [element]}]);
                    post(
                        "/api/tools/fetch",
                        json!({"history_id": history, "targets": targets}),
                    )
                }
                _ => post(
                    &format!("/api/invocations/{invocation}/steps/{pause}"),
                    json!({"action": true}),
                ),
            };
            assert!(
                sent.is_err(),
                "the server died before it could answer: {sent:?}"
            );
            server.wait_for_death();
            server.restart_with(&[]);
            let ada = server.client();
            let count = |path: &str| ada.get(path).ok().as_array().expect("a list").len();
            let expected = usize::from(side == "after");
            match label {
                "invocation.create" => assert_eq!(count("/api/invocations"), 1 + expected),
                "workflow.create" => assert_eq!(count("/api/workflows"), 1 + expected),
                "upload" => {
                    // The input, its copy with one line more, and perhaps the new one.
                    let contents = ada.get(&format!("/api/histories/{history}/contents")).ok();
                    let named = contents
                        .as_array()
                        .expect("a list")
                        .iter()
                        .filter(|item| item["name"] == "more");
                    assert_eq!(named.count(), expected, "{contents:#}");
                }
                _ => {
                    let now = ada.invocation(&invocation);
                    let action = &step(&now, "review").expect("there")["action"];
                    assert_eq!(*action == true, side == "after", "{now:#}");
                }
            }
            ada.act(&invocation, &pause, &json!(true));
            let done = ada.wait_for_state(&invocation, &["completed"]);
            assert_eq!(ada.output(&done, "after"), "hello\ncopied\ncopied\n");
            // What has ended stays so; the invocation that a crash left behind waits at its pause and can be stopped.
            for other in ada.get("/api/invocations").ok().as_array().expect("a list") {
                let id = text(other, "id");
                let (answered, end) = match id == invocation {
                    true => ("completed", "completed"),
                    false => ("cancelling", "cancelled"),
                };
                let answer = ada.delete(&format!("/api/invocations/{id}")).ok();
                assert_eq!(text(&answer, "state"), answered, "{answer:#}");
                ada.wait_for_state(&id, &[end]);
            }
        }
    }
}
