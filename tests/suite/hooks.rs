//! What `on_complete` asks for: webhooks, archives, mail; with failures, across crashes, and not where the operator says
//! nothing.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use barycenter_tests::client::text;
use barycenter_tests::{Client, Setup, TestServer, eventually, until};
use serde_json::{Value, json};

const ONE: &str = "
class: GalaxyWorkflow
inputs: {data: data}
outputs: {copied: {outputSource: one/out}}
steps:
  one: {tool_id: copy, in: {input: data}}
";

/// What was sent to somebody: path, idempotency key, document.
type Calls = Arc<Mutex<Vec<(String, String, Value)>>>;

/// Somebody who is called. `/flaky` is busy once; `/missing` is not there; `/moved` leads to this machine's own files.
struct Listener {
    port: u16,
    calls: Calls,
}

impl Listener {
    fn open() -> Listener {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let calls = Calls::default();
        let noted = calls.clone();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut reader = BufReader::new(stream.try_clone().expect("a copy"));
                let mut first = String::new();
                let _ = reader.read_line(&mut first);
                let mut headers = HashMap::new();
                loop {
                    let mut line = String::new();
                    let _ = reader.read_line(&mut line);
                    match line.trim().split_once(": ") {
                        Some((name, value)) => {
                            headers.insert(name.to_lowercase(), value.to_owned());
                        }
                        None => break,
                    }
                }
                let length = headers.get("content-length").and_then(|n| n.parse().ok());
                let mut body = vec![0; length.unwrap_or(0)];
                let _ = reader.read_exact(&mut body);
                let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
                let key = headers.get("idempotency-key").cloned().unwrap_or_default();
                let document = serde_json::from_slice(&body).unwrap_or_default();
                let before = {
                    let mut noted = noted.lock().expect("notes");
                    let before = noted.iter().filter(|(p, ..)| *p == path).count();
                    noted.push((path.clone(), key, document));
                    before
                };
                let status = match path.as_str() {
                    "/flaky" if before == 0 => "503 Busy",
                    "/missing?token=secret" => "404 Not Found",
                    "/moved" => "307 Moved\r\nLocation: file:///etc/passwd",
                    _ => "204 No Content",
                };
                let _ = stream.write_all(
                    format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                        .as_bytes(),
                );
            }
        });
        Listener { port, calls }
    }

    fn url(&self, path: &str) -> String {
        format!("http://localhost:{}/{path}", self.port)
    }

    fn hook(&self, path: &str) -> Value {
        json!({"webhook": {"url": self.url(path)}})
    }

    fn calls(&self, path: &str) -> Vec<(String, Value)> {
        let calls = self.calls.lock().expect("notes");
        calls
            .iter()
            .filter(|(p, ..)| p == path)
            .map(|(_, key, document)| (key.clone(), document.clone()))
            .collect()
    }

    fn environment(&self) -> Vec<(String, String)> {
        vec![
            ("BARYCENTER_WEBHOOK_URL_PREFIXES".to_owned(), self.url("")),
            (
                "BARYCENTER_FETCH_URL_ALLOWLIST".to_owned(),
                "localhost".to_owned(),
            ),
        ]
    }

    fn server(&self) -> Setup {
        let environment = self.environment();
        environment
            .iter()
            .fold(Setup::default(), |setup, (name, value)| {
                setup.env(name, value)
            })
    }
}

fn request(ada: &Client, on_complete: &Value) -> (String, Value) {
    let workflow = ada.import_yaml(ONE);
    let history = ada.create_history("hooks");
    let data = ada.upload(&history, "data", "hello\n");
    let body = json!({"history_id": history, "inputs_by": "name", "inputs": {"data": {"src": "hda", "id": data}},
        "on_complete": on_complete});
    (format!("/api/workflows/{workflow}/invocations"), body)
}

fn invoke(ada: &Client, on_complete: &Value) -> String {
    let (path, body) = request(ada, on_complete);
    let made = ada.post(&path, &body).ok();
    assert_eq!(&made["on_complete"], on_complete);
    text(&made, "id")
}

fn completion(ada: &Client, invocation: &str) -> Value {
    ada.get(&format!("/api/invocations/{invocation}/completion"))
        .ok()
}

/// The completion once every hook has ended.
#[track_caller]
fn settled(ada: &Client, invocation: &str) -> Value {
    until("all hooks have ended", || {
        let found = completion(ada, invocation);
        let hooks = found["hooks"].as_array()?;
        let ended = hooks.iter().all(|hook| hook["state"] != json!("new"));
        ended.then_some(found)
    })
}

#[test]
fn webhooks_are_called_again_while_that_may_help_and_failures_say_why() {
    let listener = Listener::open();
    let server = listener.server().start();
    let ada = server.client();
    let invocation = invoke(
        &ada,
        &json!([listener.hook("ok"), listener.hook("flaky"), listener.hook("missing?token=secret"), listener.hook("moved"),
            {"dance": {}}, {"send_notification": {}}, {"export_to_file_source": {"target_uri": "gxfiles://nowhere/"}}]),
    );
    let done = settled(&ada, &invocation);
    let executed = done["hooks_executed"].as_array().expect("a list");
    let webhooks = executed.iter().filter(|name| **name == json!("webhook"));
    assert_eq!((webhooks.count(), executed.len()), (2, 3), "{done}");
    assert!(executed.contains(&json!("send_notification")));
    let hook = |n: usize| done["hooks"][n].clone();
    let message = |n: usize| text(&hook(n), "message");
    assert_eq!(hook(0)["result"], json!({"status": 204}));
    assert_eq!(
        (&hook(1)["state"], &hook(1)["attempts"]),
        (&json!("ok"), &json!(2))
    );
    for (n, word) in [
        (2, "status 404"),
        (3, "redirects"),
        (4, "\"dance\""),
        (6, "export_directories"),
    ] {
        assert_eq!(hook(n)["state"], json!("error"));
        assert!(message(n).contains(word), "{}", message(n));
    }
    assert!(!message(2).contains("secret"));
    let (key, document) = listener.calls("/ok").pop().expect("called");
    assert_eq!(document["invocation_id"], json!(invocation));
    assert_eq!(document["state"], json!("completed"));
    assert_eq!(document["job_state_summary"], json!({"ok": 1}));
    assert_eq!(key, format!("{}-0", text(&document, "uuid")));
    let flaky = listener.calls("/flaky");
    assert_eq!((flaky.len(), &flaky[0]), (2, &flaky[1]));
    eventually("the mail is written", || {
        server
            .log()
            .contains(&format!("Workflow invocation {invocation} is complete"))
    });
}

#[test]
fn a_server_killed_between_completion_and_hook_calls_after_its_restart() {
    for (crash, calls) in [
        ("after:invocation.complete:1", 1),
        ("before:hook.settle:1", 2),
        ("after:hook.settle:1", 1),
    ] {
        let listener = Listener::open();
        let mut server = listener.server().env("BARYCENTER_CRASH_AT", crash).start();
        let invocation = invoke(&server.client(), &json!([listener.hook("ok")]));
        server.wait_for_death();
        server.restart_with(&listener.environment());
        let done = settled(&server.client(), &invocation);
        assert_eq!(done["hooks_executed"], json!(["webhook"]), "{crash}");
        let made = listener.calls("/ok");
        assert_eq!(made.len(), calls, "{crash}");
        assert_eq!(made[0], made[calls - 1], "the same call, by its key");
    }
}

#[test]
fn a_crate_is_put_where_the_operator_allows_and_kept_to_be_fetched() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    std::fs::create_dir(&out).expect("made");
    let setup = Setup::default().env("BARYCENTER_EXPORT_DIRECTORIES", &out.display().to_string());
    let mut server = setup
        .env("BARYCENTER_CRASH_AT", "before:hook.settle:1")
        .start();
    let ada = server.client();
    let uri = format!("file://{}/ada/run.zip", out.display());
    let export = |arguments: Value| json!({"export_to_file_source": arguments});
    for refused in [
        format!("file://{}/../x.zip", out.display()),
        "file:///etc/x.zip".to_owned(),
    ] {
        let (path, body) = request(&ada, &json!([export(json!({"target_uri": refused}))]));
        let why = ada.post(&path, &body).refused(403, 403_004);
        assert!(why.contains("export_directories"), "{why}");
    }
    let invocation = invoke(
        &ada,
        &json!([
            export(json!({"target_uri": uri, "format": "rocrate.zip"})),
            export(json!({}))
        ]),
    );
    // The file may be in its place when the server dies; the next finds it there.
    server.wait_for_death();
    let environment = (
        "BARYCENTER_EXPORT_DIRECTORIES".to_owned(),
        out.display().to_string(),
    );
    server.restart_with(&[environment]);
    let ada = server.client();
    let done = settled(&ada, &invocation);
    assert_eq!(
        done["hooks_executed"],
        json!(["export_to_file_source", "export_to_file_source"]),
        "{done}"
    );
    let put = std::fs::read(out.join("ada/run.zip")).expect("the archive");
    assert!(put.starts_with(b"PK"));
    assert_eq!(std::fs::read_dir(out.join("ada")).expect("read").count(), 1);
    for hook in [&done["hooks"][0], &done["hooks"][1]] {
        let id = text(&hook["result"], "storage_request_id");
        let kept = ada.get(&format!("/api/short_term_storage/{id}"));
        assert_eq!((kept.status, kept.bytes.starts_with(b"PK")), (200, true));
    }
    // What is there is not replaced.
    let again = invoke(&ada, &json!([export(json!({"target_uri": uri}))]));
    let done = settled(&ada, &again);
    assert!(text(&done["hooks"][0], "message").contains("none is replaced"));
    assert_eq!(std::fs::read(out.join("ada/run.zip")).expect("there"), put);
}

#[test]
fn nobody_is_called_unless_the_operator_says_so() {
    let listener = Listener::open();
    let closed = TestServer::start();
    let (path, body) = request(&closed.client(), &json!([listener.hook("ok")]));
    let why = closed.client().post(&path, &body).refused(403, 403_004);
    assert!(why.contains("webhook_url_prefixes"), "{why}");
    // Allowed by its beginning, but the name leads to this machine.
    let server = Setup::default()
        .env("BARYCENTER_WEBHOOK_URL_PREFIXES", "http://,https://")
        .start();
    let ada = server.client();
    for url in [
        "http://127.0.0.1:1/",
        "http://169.254.169.254/",
        "ftp://example.org/",
        "http://u:p@example.org/",
    ] {
        let (path, body) = request(&ada, &json!([{"webhook": {"url": url}}]));
        ada.post(&path, &body).refused(403, 403_004);
    }
    let invocation = invoke(&ada, &json!([listener.hook("ok")]));
    let done = settled(&ada, &invocation);
    assert_eq!(done["hooks_executed"], json!([]));
    let message = text(&done["hooks"][0], "message");
    assert!(message.contains("fetch_url_allowlist"), "{message}");
    assert!(listener.calls("/ok").is_empty());
}
