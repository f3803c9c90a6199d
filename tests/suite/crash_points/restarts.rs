//! What a server that died was about to do by itself is done by the next one.

use std::path::Path;

use barycenter_tests::client::text;
use barycenter_tests::workflows::{self, REVIEWED};
use barycenter_tests::{Client, Setup, TestServer, eventually, rows, until};
use serde_json::{Value, json};

use super::comes_to_rest;

/// The answer may be lost with the server.
fn try_send(client: &Client, method: &str, path: &str, body: &Value) {
    let kind = [("content-type", "application/json")];
    let _ = client.try_send(method, path, &kind, body.to_string().as_bytes());
}

/// Starts the server so that it dies at each of `labels`, has something done that goes there, restarts it and waits for
/// the same end.
fn same_end(
    setup: Setup,
    labels: &[&str],
    go: impl Fn(&Client, &str) -> Option<String>,
    end: impl Fn(&TestServer, &str, &str),
) {
    let mut server = setup.clone().start();
    for label in labels {
        for side in ["before", "after"] {
            let place = format!("{side}:{label}:1");
            eprintln!("{place}");
            let mut environment = setup.environment.clone();
            let ada = server.client();
            let history = ada.create_history(&place);
            environment.push(("BARYCENTER_CRASH_AT".to_owned(), place.clone()));
            server.restart_with(&environment);
            let made = go(&server.client(), &history);
            server.wait_for_death();
            server.restart();
            end(&server, &history, made.as_deref().unwrap_or_default());
        }
    }
    comes_to_rest(&server);
}

#[test]
fn what_waits_for_an_instant_goes_on_after_a_crash() {
    let plugins = "[[scheduler]]\ntype = \"default\"\n[[workflow_module]]\ntype = \"pause\"\n\
                   [[workflow_module]]\ntype = \"wait_until\"\n[[job_runner]]\ntype = \"local\"\n";
    let yaml = "class: GalaxyWorkflow\ninputs: {data: data}\noutputs: {after: {outputSource: second/out}}\nsteps:\n\
                \x20 wait:\n    type: wait_until\n    in: {input: data}\n    state: {after: 1s}\n\
                \x20 second:\n    tool_id: copy\n    in: {input: wait/output}\n";
    same_end(
        Setup::default().plugins(plugins),
        &["invocation.wake"],
        |ada, history| {
            let data = ada.upload(history, "data", "hello\n");
            let inputs = json!({"data": {"src": "hda", "id": data}});
            Some(ada.invoke(&ada.import_yaml(yaml), history, &inputs))
        },
        |server, _, invocation| {
            let done = server.client().wait_for_state(invocation, &["completed"]);
            assert_eq!(server.client().output(&done, "after"), "hello\ncopied\n");
        },
    );
}

#[test]
fn data_that_is_being_fetched_arrives_after_a_crash() {
    let shelf = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!(
        "http://localhost:{}/",
        shelf.local_addr().expect("an address").port()
    );
    std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        for mut stream in shelf.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(
                b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nthere\n",
            );
        }
    });
    let setup = Setup::default()
        .env("BARYCENTER_FETCH_URL_PREFIXES", &url)
        .env("BARYCENTER_FETCH_URL_ALLOWLIST", "localhost");
    same_end(
        setup,
        &["fetch.claim", "fetch.placed", "fetch.settle"],
        |ada, history| {
            let element = json!({"src": "url", "url": format!("{url}data.txt"), "ext": "txt"});
            let targets = json!([{"destination": {"type": "hdas"}, "elements": [element]}]);
            let body = json!({"history_id": history, "targets": targets});
            try_send(ada, "POST", "/api/tools/fetch", &body);
            None
        },
        |server, history, _| {
            let ada = server.client();
            let id = until("the dataset is listed", || {
                let listed = ada.get(&format!("/api/histories/{history}/contents")).ok();
                listed[0]["id"].as_str().map(str::to_owned)
            });
            ada.wait_for_dataset(&id);
            assert_eq!(ada.content(&id), "there\n");
        },
    );
}

#[test]
fn a_passive_scheduler_claims_again_after_a_crash() {
    let folder = tempfile::tempdir().expect("a folder");
    let plugins = format!(
        "[[scheduler]]\ntype = \"default\"\n[[scheduler]]\ntype = \"passive\"\nid = \"farm\"\npath = {:?}\n\
         isolation = \"inproc\"\n[scheduler.config]\nlease_ms = 1000\njournal = {:?}\n\
         [[workflow_module]]\ntype = \"pause\"\n[[job_runner]]\ntype = \"local\"\n",
        barycenter_tests::build::library("passive_scheduler"),
        folder.path().join("journal"),
    );
    same_end(
        Setup::default().plugins(&plugins),
        &["lease.claim", "lease.adopt"],
        |ada, history| {
            let data = ada.upload(history, "data", "hello\n");
            let workflow = ada.import_yaml(&workflows::script("cat $INPUT > out.txt"));
            let body = json!({"history_id": history, "inputs_by": "name", "scheduler": "farm",
                "inputs": {"data": {"src": "hda", "id": data}}});
            try_send(
                ada,
                "POST",
                &format!("/api/workflows/{workflow}/invocations"),
                &body,
            );
            None
        },
        |server, history, _| {
            let ada = server.client();
            let listed = ada
                .get(&format!("/api/invocations?history_id={history}"))
                .ok();
            let done = ada.wait_for_state(&text(&listed[0], "id"), &["completed"]);
            assert_eq!(ada.output(&done, "work_out"), "HELLO\n");
        },
    );
}

#[test]
fn invocations_of_a_history_go_on_one_after_the_other_after_a_crash() {
    same_end(
        Setup::default().env(
            "BARYCENTER_HISTORY_LOCAL_SERIAL_WORKFLOW_SCHEDULING",
            "true",
        ),
        &["history.next"],
        |ada, history| {
            let data = ada.upload(history, "data", "hello\n");
            let workflow = ada.import_yaml(REVIEWED);
            let inputs = json!({"data": {"src": "hda", "id": data}});
            let first = ada.invoke(&workflow, history, &inputs);
            let second = ada.invoke(&workflow, history, &inputs);
            let step = text(&ada.wait_for_step(&first, "review", "scheduled"), "id");
            let path = format!("/api/invocations/{first}/steps/{step}");
            try_send(ada, "PUT", &path, &json!({"action": true}));
            Some(second)
        },
        |server, _, second| {
            let step = server.client().wait_for_step(second, "review", "scheduled");
            let acted = server
                .client()
                .act(second, &text(&step, "id"), &json!(true));
            acted.ok();
            server.client().wait_for_state(second, &["completed"]);
        },
    );
}

#[test]
fn an_archive_is_made_in_spite_of_a_crash() {
    same_end(
        Setup::default(),
        &["export.claim", "export.end"],
        |ada, history| {
            ada.upload(history, "data", "hello\n");
            let path = format!("/api/histories/{history}/prepare_store_download");
            try_send(ada, "POST", &path, &json!({"model_store_format": "tgz"}));
            None
        },
        |server, _, _| {
            let ada = server.client();
            const LAST: &str =
                "SELECT uuid FROM short_term_storage ORDER BY create_time DESC LIMIT 1";
            let id = &rows::read(server.database(), LAST)[0][0];
            let path = format!("/api/short_term_storage/{id}");
            eventually("the archive is made", || {
                ada.get(&format!("{path}/ready")).ok() == true
            });
            assert_eq!(ada.get(&path).bytes[..2], [0x1f, 0x8b]);
        },
    );
}

#[test]
fn an_archive_is_put_in_its_place_in_spite_of_a_crash() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().display().to_string();
    let setup = Setup::default().env("BARYCENTER_EXPORT_DIRECTORIES", &out);
    let mut server = setup.clone().start();
    for place in [
        "before:export.claim:1",
        "after:export.claim:1",
        "before:export.end:1",
        "after:export.end:1",
    ] {
        eprintln!("{place}");
        let ada = server.client();
        let history = ada.create_history(place);
        ada.upload(&history, "data", "hello\n");
        let mut environment = setup.environment.clone();
        environment.push(("BARYCENTER_CRASH_AT".to_owned(), place.to_owned()));
        server.restart_with(&environment);
        let file = folder.path().join(place.replace(':', "-"));
        let path = format!("/api/histories/{history}/write_store");
        let body = json!({"model_store_format": "tgz", "target_uri": format!("file://{}", file.display())});
        try_send(&server.client(), "POST", &path, &body);
        server.wait_for_death();
        let is_put = place.ends_with("export.end:1");
        assert_eq!(file.exists(), is_put);
        // What the archive was made of changes meanwhile: made anew it would be another one.
        let changed = change_files(&server.data_dir().join("files"));
        assert!(changed > 0);
        server.restart();
        let ada = server.client();
        const LAST: &str = "SELECT uuid FROM short_term_storage ORDER BY create_time DESC LIMIT 1";
        let id = &rows::read(server.database(), LAST)[0][0];
        let path = format!("/api/tasks/{id}/result");
        let result = until("the archive is put", || {
            let result = ada.get(&path).ok();
            (result["state"] != "PENDING").then_some(result)
        });
        assert_eq!(result["state"], "SUCCESS", "{place}: {result}");
        let put = std::fs::read(&file).expect("it is there");
        assert_eq!(put[..2], [0x1f, 0x8b]);
    }
    let names = std::fs::read_dir(folder.path()).expect("read");
    assert_eq!(names.count(), 4, "nothing half written is left");
    comes_to_rest(&server);
}

/// Turns the content of every file in a folder and below round; answers how many there are.
fn change_files(folder: &Path) -> usize {
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("read") {
        let path = entry.expect("one").path();
        if path.is_dir() {
            count += change_files(&path);
            continue;
        }
        let mut text = std::fs::read(&path).expect("read");
        text.reverse();
        std::fs::write(&path, text).expect("written");
        count += 1;
    }
    count
}

#[test]
fn what_is_asked_for_on_completion_is_done_in_spite_of_a_crash() {
    same_end(
        Setup::default(),
        &["hook.claim", "hook.note", "hook.settle"],
        |ada, history| {
            let data = ada.upload(history, "data", "hello\n");
            let workflow = ada.import_yaml(&workflows::script("cat $INPUT > out.txt"));
            let body = json!({"history_id": history, "inputs_by": "name",
                "inputs": {"data": {"src": "hda", "id": data}},
                "on_complete": [{"export_to_file_source": {"format": "tgz"}}]});
            let path = format!("/api/workflows/{workflow}/invocations");
            Some(text(&ada.post(&path, &body).ok(), "id"))
        },
        |server, _, invocation| {
            let ada = server.client();
            let path = format!("/api/invocations/{invocation}/completion");
            let done = until("the archive is made", || {
                let found = ada.get(&path).ok();
                (found["hooks"][0]["state"] == "ok").then_some(found)
            });
            let executed = json!(["export_to_file_source"]);
            assert_eq!(done["hooks_executed"], executed, "{done:#}");
            let made = text(&done["hooks"][0]["result"], "storage_request_id");
            let file = ada.get(&format!("/api/short_term_storage/{made}"));
            assert_eq!(file.bytes[..2], [0x1f, 0x8b]);
        },
    );
}

#[test]
fn mail_is_sent_in_spite_of_a_crash() {
    let folder = tempfile::tempdir().expect("a folder");
    let (sent, program) = (folder.path().join("sent"), folder.path().join("sendmail"));
    let script = format!("#!/bin/sh\ncat >> '{}'\n", sent.display());
    std::fs::write(&program, script).expect("written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&program, mode).expect("a program");
    let yaml = "class: GalaxyWorkflow\ninputs: {data: data}\noutputs: {}\nsteps:\n\
                \x20 work:\n    tool_id: copy\n    in: {input: data}\n    out: [{id: out}]\n";
    let setup = Setup::default().env("BARYCENTER_SENDMAIL", &program.display().to_string());
    same_end(
        setup,
        &["mail.claim", "mail.sent"],
        |ada, history| {
            let data = ada.upload(history, "data", "hello\n");
            let workflow = ada.import_yaml(yaml);
            let shown = ada.get(&format!("/api/workflows/{workflow}/download")).ok();
            let mut with_mail = shown.clone();
            for step in with_mail["steps"].as_object_mut().into_iter().flatten() {
                if step.1["type"] == "tool" {
                    let action = json!({"action_type": "EmailAction", "output_name": "out", "action_arguments": {}});
                    step.1["post_job_actions"] = json!({"EmailActionout": action});
                }
            }
            let workflow = ada.import(&with_mail);
            let inputs = json!({"data": {"src": "hda", "id": data}});
            Some(ada.invoke(&workflow, history, &inputs))
        },
        |server, _, invocation| {
            server.client().wait_for_state(invocation, &["completed"]);
            eventually("nothing is left to send", || {
                rows::read(
                    server.database(),
                    "SELECT CAST(COUNT(*) AS TEXT) FROM mail WHERE sent_time IS NULL",
                ) == [["0"]]
            });
        },
    );
    assert!(sent.exists(), "something was sent");
}

#[test]
fn a_first_start_that_died_is_begun_again() {
    for label in ["installation.secret", "installation.data_dir"] {
        for side in ["before", "after"] {
            let folder = tempfile::tempdir().expect("a folder");
            let database = barycenter_tests::Database::for_server(folder.path());
            let mut command = barycenter_tests::server::serve(folder.path());
            command.args(["--database-url", &database.url]);
            command.current_dir(barycenter_tests::build::repository());
            let place = format!("{side}:{label}:1");
            let dead = command.env("BARYCENTER_CRASH_AT", &place).output();
            let status = dead.expect("it runs").status;
            let signal = std::os::unix::process::ExitStatusExt::signal(&status);
            assert_eq!(signal, Some(libc::SIGKILL), "{place}: {status}");
            let mut checking = std::process::Command::new(barycenter_tests::build::binary());
            checking
                .args(["admin", "list-users", "--data-dir"])
                .arg(folder.path());
            checking.args(["--database-url", &database.url]);
            let listed = barycenter_tests::server::clean(&mut checking).output();
            assert!(listed.expect("it runs").status.success(), "{place}");
        }
    }
}
