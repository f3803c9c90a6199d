//! The upkeep of the database, with servers on it.

use std::path::Path;
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};

use barycenter_tests::client::text;
use barycenter_tests::server::refused;
use barycenter_tests::wait::eventually;
use barycenter_tests::workflows::{self, REVIEWED};
use barycenter_tests::{Client, Database, Setup, TestServer};
use serde_json::{Value, json};

#[track_caller]
fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}", told(output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn told(output: &Output) -> String {
    let (out, error) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    format!("{}: {out}{error}", output.status)
}

/// An invocation with two jobs, one after the other.
fn invoke(ada: &Client, workflow: &str) -> String {
    let history = ada.create_history("load");
    let data = ada.upload(&history, "data", "hello\n");
    ada.invoke(
        workflow,
        &history,
        &json!({"data": {"src": "hda", "id": data}}),
    )
}

#[test]
fn status_and_check_tell_how_the_database_stands() {
    let server = TestServer::start();
    let ada = server.client();
    let workflow = ada.import_yaml(&workflows::script("echo hi > out.txt"));
    let invocation = invoke(&ada, &workflow);
    ada.wait_for_state(&invocation, &["completed"]);
    let status: Value =
        serde_json::from_str(&done(&server.db(&["status", "--json"]))).expect("JSON");
    assert_eq!(status["version"], status["known_version"]);
    // The upload is one as well.
    assert_eq!(status["rows"]["job"], 2, "{status:#}");
    assert!(status["bytes"].as_u64() > Some(10_000));
    assert!(done(&server.db(&["migrate"])).contains("up to date"));
    done(&server.db(&["check"]));
    // The bytes of a dataset are gone; another one has lost some.
    let files = server.data_dir().join("files/");
    let mut datasets = Vec::new();
    for folder in std::fs::read_dir(files).expect("folders").flatten() {
        let inside = std::fs::read_dir(folder.path()).expect("files").flatten();
        datasets.extend(inside.map(|file| file.path()));
    }
    assert_eq!(datasets.len(), 2, "{datasets:?}");
    std::fs::remove_file(&datasets[0]).expect("removed");
    std::fs::write(&datasets[1], "h").expect("written");
    let output = server.db(&["check", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let rules: Vec<&str> = (found["findings"].as_array().expect("a list").iter())
        .filter_map(|finding| finding["rule"].as_str())
        .collect();
    assert_eq!(rules, ["file_missing", "file_size"], "{found:#}");
    done(&server.db(&["check", "--no-files"]));
}

#[test]
fn waits_that_nobody_would_end_are_found() {
    let mut server = TestServer::start();
    let ada = server.client();
    let workflow = ada.import_yaml(&workflows::steps(&[
        ("one", "echo hi > out.txt", "data"),
        (
            "two",
            "cat input.txt > out.txt || echo > out.txt",
            "one/out",
        ),
    ]));
    let invocation = invoke(&ada, &workflow);
    ada.wait_for_state(&invocation, &["completed"]);
    server.stop();
    done(&server.db(&["check"]));
    let find = |server: &TestServer, rule: &str| {
        let output = server.db(&["check"]);
        assert_eq!(output.status.code(), Some(1), "{}", told(&output));
        let text = told(&output);
        assert!(text.contains(&format!("{rule}: ")), "{rule}: {text}");
    };
    let database = server.database();
    database.execute(
        "UPDATE job SET state = 'new', ready_time = NULL WHERE id = (SELECT MAX(id) FROM job)",
    );
    find(&server, "job_without_wait");
    database.execute("INSERT INTO job_wait (job_id, dataset_id) SELECT MAX(j.id), MIN(d.id) FROM job j, dataset d");
    find(&server, "job_wait");
    database.execute("DELETE FROM job_wait; UPDATE job SET state = 'ok'; UPDATE workflow_invocation SET state = 'scheduled'");
    find(&server, "invocation_end");
    database.execute(
        "UPDATE workflow_invocation SET state = 'completed'; UPDATE history SET hid_counter = 1",
    );
    find(&server, "hid_counter");
    database.execute("UPDATE history_dataset_association SET hid = 1");
    find(&server, "hid");
}

/// Copies `files/` and what else belongs to the data beside the database.
fn copy_data(from: &Path, to: &Path) {
    std::fs::create_dir(to).expect("a new folder");
    let output = std::process::Command::new("cp")
        .args(["-a", "id", "files", "jobs"])
        .arg(to)
        .current_dir(from)
        .output()
        .expect("cp runs");
    // A job's folder may go while it is copied; what counts is in `files`.
    assert!(to.join("files").exists(), "{}", told(&output));
}

#[test]
fn a_backup_taken_under_load_restores_and_everything_reaches_its_end() {
    let mut server = Setup::default().workers(2).start();
    let ada = server.client();
    let workflow = ada.import_yaml(&workflows::steps(&[
        ("one", "sleep 0.2; echo one > out.txt", "data"),
        ("two", "sleep 0.2; echo two > out.txt", "one/out"),
        ("three", "echo three > out.txt", "two/out"),
    ]));
    let reviewed = ada.import_yaml(REVIEWED);
    let backup = server.folder().join("backup");
    let copied = server.folder().join("copied");
    let enough = AtomicBool::new(false);
    let submitted = std::thread::scope(|scope| {
        let client = server.client();
        let (enough, workflow, reviewed) = (&enough, &workflow, &reviewed);
        let submitting = scope.spawn(move || {
            let mut all = Vec::new();
            while !enough.load(Ordering::Relaxed) || all.len() < 8 {
                all.push(invoke(&client, workflow));
                all.push(invoke(&client, reviewed));
            }
            all
        });
        eventually("some are under way", || {
            let listed = ada.get("/api/invocations").ok();
            listed.as_array().is_some_and(|listed| listed.len() >= 4)
        });
        // The database first, then the files: every dataset of the backup has its file by then.
        done(&server.db(&["backup", &backup.display().to_string()]));
        copy_data(&server.data_dir(), &copied);
        enough.store(true, Ordering::Relaxed);
        submitting.join().expect("all were accepted")
    });
    let again = server.db(&["backup", &backup.display().to_string()]);
    assert!(told(&again).contains("exists already"), "{}", told(&again));
    server.kill9();
    barycenter_tests::processes::kill_below(&server.data_dir());
    std::fs::rename(server.data_dir(), server.folder().join("lost")).expect("renamed");
    std::fs::rename(copied, server.data_dir()).expect("renamed");
    server.set_database(Database::empty_for_server(&server.data_dir()));
    done(&server.db(&["restore", &backup.display().to_string()]));
    done(&server.db(&["check"]));
    let twice = server.db(&["restore", &backup.display().to_string()]);
    assert!(told(&twice).contains("is not empty"), "{}", told(&twice));
    server.restart();
    let ada = server.client();
    let there: Vec<String> = (ada.get("/api/invocations").ok().as_array())
        .expect("a list")
        .iter()
        .map(|invocation| text(invocation, "id"))
        .collect();
    assert!(there.len() >= 4 && there.iter().all(|id| submitted.contains(id)));
    for id in &there {
        eventually("it has ended, or waits for its review", || {
            let invocation = ada.invocation(id);
            if let Some(pause) = barycenter_tests::client::step(&invocation, "review")
                && invocation["state"] == "ready"
                && pause["state"] == "scheduled"
                && pause["action"].is_null()
            {
                ada.act(id, &text(&pause, "id"), &json!(true));
            }
            invocation["state"] == "completed"
        });
    }
    // It goes on as any server does, with new ids.
    let invocation = invoke(&ada, &workflow);
    ada.wait_for_state(&invocation, &["completed"]);
    assert!(!there.contains(&invocation));
    server.stop();
    done(&server.db(&["check"]));
}

#[test]
fn a_damaged_backup_gets_near_no_database() {
    let mut server = TestServer::start();
    let backup = server.folder().join("backup").display().to_string();
    done(&server.db(&["backup", &backup]));
    let bytes = std::fs::read(&backup).expect("read");
    std::fs::write(&backup, &bytes[..bytes.len() - 20]).expect("written");
    server.stop();
    let empty = server.folder().join("other");
    std::fs::create_dir(&empty).expect("a folder");
    server.set_database(Database::empty_for_server(&empty));
    let output = server.db(&["restore", &backup]);
    assert!(told(&output).contains("damaged"), "{}", told(&output));
    let output = server.db(&["status"]);
    assert!(
        !told(&output).contains("applied"),
        "nothing was made: {}",
        told(&output)
    );
}

#[test]
fn a_database_and_a_data_directory_of_different_servers_are_refused() {
    let (mut one, mut other) = (TestServer::start(), TestServer::start());
    one.stop();
    other.stop();
    let mut strangers = barycenter_tests::server::serve(&one.data_dir());
    strangers.args(["--database-url", &other.database().url]);
    let told = refused(&mut strangers, 1);
    assert!(
        told.contains("another data directory") && told.lines().count() == 1,
        "{told}"
    );
    one.restart();
    assert_eq!(one.anonymous().get("/readyz").status, 200);
}
