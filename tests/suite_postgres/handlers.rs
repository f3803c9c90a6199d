//! Several servers on one database: each does its part, and one that dies, sleeps or leaves is replaced by the others.

use std::path::Path;

use barycenter_tests::client::text;
use barycenter_tests::workflows::{self, REVIEWED};
use barycenter_tests::{Setup, TestServer, eventually, processes, rows};
use serde_json::{Value, json};

/// Leases that tests can wait for.
fn setup() -> Setup {
    Setup::default().env("BARYCENTER_HANDLER_LEASE_SECONDS", "2")
}

/// Names and states of the processes that the database knows.
fn workers(server: &TestServer) -> Vec<(String, String)> {
    let rows = rows::read(
        server.database(),
        "SELECT server_name, state FROM worker_process ORDER BY server_name",
    );
    rows.into_iter()
        .map(|row| (row[0].clone(), row[1].clone()))
        .collect()
}

/// A step that waits for the file `gate`, says that it runs in `started`, and hands its input on.
fn gated(folder: &Path) -> String {
    workflows::script(&format!(
        "echo x >> {}; {}; cat $INPUT > out.txt",
        folder.join("started").display(),
        workflows::wait_for(&folder.join("gate"))
    ))
}

struct Running {
    server: TestServer,
    invocation: String,
}

/// A gated invocation that the first server handles and whose job runs there.
fn running() -> Running {
    let server = setup().start();
    let ada = server.client();
    let invocation = ada.invoke_on(&gated(server.folder()), "kept\n");
    ada.wait_for_job(&invocation, "work", &["running"]);
    Running { server, invocation }
}

/// Opens the gate; the job must have run once and its result must be there, as `url`'s server sees it.
fn finish(running: &Running, ada: &barycenter_tests::Client) {
    std::fs::write(running.server.folder().join("gate"), "").expect("the gate opens");
    let done = ada.wait_for_state(&running.invocation, &["completed"]);
    assert_eq!(ada.output(&done, "work_out"), "kept\n");
    let started = std::fs::read_to_string(running.server.folder().join("started"));
    assert_eq!(started.expect("the job ran"), "x\n", "it ran once");
}

#[test]
fn what_a_killed_server_held_is_taken_over_while_its_job_goes_on() {
    let mut running = running();
    let peer = running.server.peer(&["--name", "second"]);
    running.server.kill9();
    eventually("the first is taken for dead", || {
        workers(&running.server).contains(&("main".into(), "lost".into()))
    });
    let ada = running.server.client_of(&peer);
    finish(&running, &ada);
}

#[test]
fn a_server_that_leaves_hands_its_work_over_at_once() {
    let mut running = running();
    let peer = running.server.peer(&["--name", "second"]);
    running.server.stop();
    assert!(workers(&running.server).contains(&("main".into(), "left".into())));
    let ada = running.server.client_of(&peer);
    finish(&running, &ada);
}

#[test]
fn a_server_that_was_only_asleep_writes_no_more_and_takes_part_anew() {
    let mut running = running();
    let peer = running.server.peer(&["--name", "second"]);
    processes::signal(running.server.pid(), libc::SIGSTOP);
    eventually("the first is taken for dead", || {
        workers(&running.server).contains(&("main".into(), "lost".into()))
    });
    let ada = running.server.client_of(&peer);
    finish(&running, &ada);
    processes::signal(running.server.pid(), libc::SIGCONT);
    eventually("it takes part again", || {
        workers(&running.server).contains(&("main".into(), "live".into()))
    });
    assert!(running.server.is_running());
    // Whoever gets it: both work.
    let ada = running.server.client();
    let again = ada.invocation(&running.invocation);
    assert_eq!(again["state"], "completed");
    let history = ada.create_history("after");
    let data = ada.upload(&history, "data", "again\n");
    let workflow = ada.import_yaml(&workflows::script("cat $INPUT > out.txt"));
    for _ in 0..4 {
        let inputs = json!({"data": {"src": "hda", "id": data}});
        let invocation = ada.invoke(&workflow, &history, &inputs);
        let done = ada.wait_for_state(&invocation, &["completed"]);
        assert_eq!(ada.output(&done, "work_out"), "again\n");
    }
}

#[test]
fn each_role_can_be_a_server_of_its_own() {
    let server = setup().env("BARYCENTER_ROLE", "web").start();
    let ada = server.client();
    let history = ada.create_history("roles");
    let data = ada.upload(&history, "data", "hello\n");
    let inputs = json!({"data": {"src": "hda", "id": data}});
    let workflow = ada.import_yaml(REVIEWED);
    let invocation = ada.invoke(&workflow, &history, &inputs);
    assert_eq!(ada.invocation(&invocation)["state"], "new");
    // Nobody handles it yet; then somebody does, whose jobs wait for a third.
    let _handler = server.peer(&["--name", "h", "--role", "handler"]);
    ada.wait_for_step(&invocation, "first", "scheduled");
    ada.wait_for_job(&invocation, "first", &["new"]);
    let _runner = server.peer(&["--name", "r", "--role", "runner"]);
    let review = ada.wait_for_step(&invocation, "review", "scheduled");
    ada.act(&invocation, &text(&review, "id"), &json!(true))
        .ok();
    let done = ada.wait_for_state(&invocation, &["completed"]);
    assert_eq!(ada.output(&done, "after"), "hello\ncopied\ncopied\n");
    // A cancellation reaches the runner through the database.
    let workflow = ada.import_yaml(&workflows::script("sleep 600"));
    let invocation = ada.invoke(&workflow, &history, &inputs);
    ada.wait_for_job(&invocation, "work", &["running"]);
    ada.delete(&format!("/api/invocations/{invocation}")).ok();
    ada.wait_for_job(&invocation, "work", &["deleted"]);
    eventually("the job's processes are gone", || {
        server.job_processes().is_empty()
    });
}

#[test]
fn a_server_with_free_runners_takes_ready_jobs_from_one_that_has_too_many() {
    let server = setup().workers(1).start();
    let ada = server.client();
    let history = ada.create_history("share");
    let marks = server.folder().join("marks");
    let workflow = ada.import_yaml(&workflows::marks(40, &marks, "0.2"));
    let invocation = ada.invoke(&workflow, &history, &json!({}));
    eventually("the first begins", || marks.exists());
    let _peers: Vec<_> = (0..2).map(|_| server.peer(&[])).collect();
    ada.wait_for_state(&invocation, &["completed"]);
    let handlers = rows::read(server.database(), "SELECT DISTINCT handler FROM job");
    assert!(handlers.len() > 1, "all ran on {handlers:?}");
    let made = std::fs::read_to_string(&marks).expect("marks");
    assert_eq!(made.lines().count(), 40);
}

#[test]
fn a_name_belongs_to_one_live_server() {
    let server = setup().start();
    let mut second = server.command();
    second.args(["--name", "main"]);
    let told = barycenter_tests::server::refused(&mut second, 1);
    assert!(
        told.contains("a server named main is running already"),
        "{told}"
    );
    assert!(told.contains("--name"), "{told}");
    // Without a name it finds one.
    let peer = server.peer(&[]);
    let names: Vec<String> = workers(&server).into_iter().map(|w| w.0).collect();
    assert_eq!(names, ["main", "main-2"]);
    drop(peer);
    let listed = server.admin_command(&["handlers", "--json"]);
    let first = listed.lines().next().expect("a server");
    let first: Value = serde_json::from_str(first).expect("JSON");
    assert_eq!(first["name"], "main");
    assert_eq!(first["state"], "live");
}
