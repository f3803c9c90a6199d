//! Data and workflows that are given by URL, through both doors, across a crash, and not where the operator says nothing.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use barycenter_tests::client::text;
use barycenter_tests::server::Setup;
use barycenter_tests::wait::{eventually, until};
use barycenter_tests::{Client, TestServer};
use serde_json::{Value, json};

const RUNS: &str = "/ga4gh/wes/v1/runs";
const TWO: &str = "
class: GalaxyWorkflow
inputs:
  data: data
  many: {type: collection, optional: true}
outputs:
  copied: {outputSource: one/out}
steps:
  one:
    tool_id: copy
    in: {input: data}
";

/// A web server: `/slow/…` answers half of a document and the rest when the gate is open.
struct Shelf {
    port: u16,
    gate: Arc<AtomicBool>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Shelf {
    fn open() -> Shelf {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let gate = Arc::new(AtomicBool::new(false));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let failures = Arc::new(AtomicUsize::new(0));
        let (opened, noted) = (gate.clone(), asked.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (gate, asked, failures) = (opened.clone(), noted.clone(), failures.clone());
                std::thread::spawn(move || {
                    let mut stream = stream;
                    let mut lines = BufReader::new(stream.try_clone().expect("a copy")).lines();
                    let first = lines.next().and_then(Result::ok).unwrap_or_default();
                    while lines
                        .next()
                        .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
                    {
                    }
                    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
                    asked.lock().expect("notes").push(path.clone());
                    let body = match path.as_str() {
                        "/workflow" => TWO.to_owned(),
                        path => format!("{path}\n"),
                    };
                    let status = match path.starts_with("/missing") {
                        true => "404 Not Found",
                        false
                            if path == "/flaky" && failures.fetch_add(1, Ordering::SeqCst) == 0 =>
                        {
                            "503 Busy"
                        }
                        false => "200 OK",
                    };
                    let head = format!(
                        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                        body.len()
                    );
                    let _ = stream.write_all(head.as_bytes());
                    let (half, rest) = body.split_at(body.len() / 2);
                    let _ = stream.write_all(half.as_bytes());
                    while path.starts_with("/slow") && !gate.load(Ordering::SeqCst) {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    let _ = stream.write_all(rest.as_bytes());
                });
            }
        });
        Shelf { port, gate, asked }
    }

    fn url(&self, path: &str) -> String {
        format!("http://localhost:{}/{path}", self.port)
    }

    fn release(&self) {
        self.gate.store(true, Ordering::SeqCst);
    }

    fn asked(&self, path: &str) -> usize {
        self.asked
            .lock()
            .expect("notes")
            .iter()
            .filter(|a| *a == path)
            .count()
    }

    fn server(&self) -> Setup {
        Setup::default()
            .env("BARYCENTER_FETCH_URL_PREFIXES", &self.url(""))
            .env("BARYCENTER_FETCH_URL_ALLOWLIST", "localhost")
    }
}

fn fetch(client: &Client, history: &str, elements: &Value) -> Value {
    let body = json!({"history_id": history, "targets": [{"destination": {"type": "hdas"}, "elements": elements}]});
    client.post("/api/tools/fetch", &body).ok()
}

fn dataset(client: &Client, id: &str) -> Value {
    client.get(&format!("/api/datasets/{id}")).ok()
}

fn run_state(client: &Client, run: &str) -> String {
    text(&client.get(&format!("{RUNS}/{run}/status")).ok(), "state")
}

#[test]
fn a_run_whose_workflow_and_data_are_elsewhere_completes() {
    let shelf = Shelf::open();
    let server = shelf.server().start();
    let ada = server.client();
    let body = json!({"workflow_type": "gx_workflow_format2", "workflow_type_version": "1", "workflow_url": shelf.url("workflow"),
        "workflow_params": {"data": shelf.url("slow/a%20b.txt"),
            "many": [shelf.url("c.txt"), {"class": "File", "location": shelf.url("d.txt"), "identifier": "other"}]}});
    let run = text(&ada.post(RUNS, &body).ok(), "run_id");
    eventually("its data is asked for", || {
        shelf.asked("/slow/a%20b.txt") == 1
    });
    assert_ne!(run_state(&ada, &run), "COMPLETE");
    shelf.release();
    eventually("the run is complete", || {
        run_state(&ada, &run) == "COMPLETE"
    });
    let log = ada.get(&format!("{RUNS}/{run}")).ok();
    assert_eq!(log["request"]["workflow_url"], json!(shelf.url("workflow")));
    let copied = text(&log["outputs"]["copied"], "id");
    assert_eq!(ada.content(&copied), "/slow/a%20b.txt\ncopied\n");
    let info = server.anonymous().get("/ga4gh/wes/v1/service-info").ok();
    let protocols = info["supported_filesystem_protocols"].to_string();
    assert!(
        protocols.contains("\"http\"") && !protocols.contains("\"file\""),
        "{protocols}"
    );
}

#[test]
fn an_invocation_takes_inputs_by_url() {
    let shelf = Shelf::open();
    let server = shelf.server().start();
    let ada = server.client();
    let workflow = ada.import_yaml(TWO);
    let history = ada.create_history("urls");
    let inputs = json!({
        "data": {"src": "url", "url": shelf.url("slow/x.txt"), "ext": "txt"},
        "many": {"class": "Collection", "collection_type": "list", "name": "the many", "elements": [
            {"class": "File", "identifier": "one", "location": shelf.url("one")},
            {"class": "File", "identifier": "two", "url": "base64://aGkK", "filetype": "txt"}]}});
    let invocation = ada.invoke(&workflow, &history, &inputs);
    // The job is there before its data is, and waits.
    let job = ada.wait_for_job(&invocation, "one", &["new"]);
    shelf.release();
    ada.wait_for_state(&invocation, &["completed"]);
    let done = ada.get(&format!("/api/jobs/{}", text(&job, "id"))).ok();
    assert_eq!(done["state"], json!("ok"));
    let shown = ada.invocation(&invocation);
    assert_eq!(ada.output(&shown, "copied"), "/slow/x.txt\ncopied\n");
    let many = ada
        .get(&format!("/api/histories/{history}/contents?v=dev"))
        .ok();
    let many = many
        .as_array()
        .expect("contents")
        .iter()
        .find(|c| c["name"] == json!("the many"));
    assert_eq!(
        ada.elements(&text(many.expect("the collection"), "id"))
            .len(),
        2
    );
    // Refused: nothing is left behind.
    let before = ada
        .get(&format!("/api/histories/{history}/contents?deleted=false"))
        .ok();
    let refused = ada.post(
        &format!("/api/workflows/{workflow}/invocations"),
        &json!({"history_id": history, "inputs_by": "name", "inputs": {"data": {"src": "url", "url": "http://169.254.169.254/"}}}),
    );
    assert!(refused.refused(403, 403_004).contains("fetch_url_prefixes"));
    let refused = ada.post(
        &format!("/api/workflows/{workflow}/invocations"),
        &json!({"history_id": history, "inputs_by": "name", "inputs": {"many": {"src": "url", "url": shelf.url("one")}}}),
    );
    assert_eq!(refused.status, 400, "{refused}");
    assert_eq!(
        ada.get(&format!("/api/histories/{history}/contents?deleted=false"))
            .ok(),
        before
    );
}

#[test]
fn an_upload_by_url_goes_on_in_the_background_and_tells_what_went_wrong() {
    let shelf = Shelf::open();
    let server = shelf.server().start();
    let ada = server.client();
    let history = ada.create_history("urls");
    let sha = "0000000000000000000000000000000000000000000000000000000000000000";
    let made = fetch(
        &ada,
        &history,
        &json!([
        {"src": "url", "url": shelf.url("slow/1.tsv")},
        {"src": "url", "url": shelf.url("missing?secret=1"), "name": "gone"},
        {"src": "url", "url": shelf.url("wrong"), "hashes": [{"hash_function": "SHA-256", "hash_value": sha}]},
        {"src": "url", "url": shelf.url("flaky")},
        {"src": "pasted", "paste_content": "here"}]),
    );
    let job = text(&made["jobs"][0], "id");
    assert_eq!(made["jobs"][0]["state"], json!("queued"));
    let ids: Vec<String> = (0..5).map(|n| text(&made["outputs"][n], "id")).collect();
    assert_eq!(made["outputs"][4]["state"], json!("ok"));
    assert_eq!(made["outputs"][0]["name"], json!("1.tsv"));
    // A job that is to read what never comes is paused; one that reads what comes late runs.
    let workflow = ada.import_yaml(TWO);
    let late = ada.invoke(
        &workflow,
        &history,
        &json!({"data": {"src": "hda", "id": ids[0]}}),
    );
    let never = ada.invoke(
        &workflow,
        &history,
        &json!({"data": {"src": "hda", "id": ids[1]}}),
    );
    let state = |n: usize| text(&dataset(&ada, &ids[n]), "state");
    eventually("two have failed", || {
        state(1) == "error" && state(2) == "error"
    });
    let info = |n: usize| dataset(&ada, &ids[n])["misc_info"].to_string();
    assert!(
        info(1).contains("status 404") && !info(1).contains("secret"),
        "{}",
        info(1)
    );
    assert!(info(2).contains("SHA-256"), "{}", info(2));
    ada.wait_for_job(&never, "one", &["paused"]);
    eventually("what was busy is asked again", || state(3) == "ok");
    assert_eq!(shelf.asked("/flaky"), 2);
    let job_state = || text(&ada.get(&format!("/api/jobs/{job}")).ok(), "state");
    assert_eq!(job_state(), "running");
    shelf.release();
    eventually("the last is there", || state(0) == "ok");
    ada.wait_for_state(&late, &["completed"]);
    assert_eq!(job_state(), "error", "not all of it came");
    assert_eq!(ada.content(&ids[0]), "/slow/1.tsv\n");
}

#[test]
fn what_was_being_fetched_is_fetched_again_after_a_crash() {
    let shelf = Shelf::open();
    let mut server = shelf.server().start();
    let ada = server.client();
    let history = ada.create_history("urls");
    let workflow = ada.import_yaml(TWO);
    let input = json!({"data": {"src": "url", "url": shelf.url("slow/x")}});
    let invocation = ada.invoke(&workflow, &history, &input);
    eventually("it is being fetched", || shelf.asked("/slow/x") == 1);
    server.kill9();
    server.restart();
    let ada = server.client();
    eventually("it is fetched again", || shelf.asked("/slow/x") == 2);
    shelf.release();
    let shown = ada.wait_for_state(&invocation, &["completed"]);
    assert_eq!(ada.output(&shown, "copied"), "/slow/x\ncopied\n");
}

#[test]
fn users_take_turns_and_what_is_cancelled_is_let_go() {
    let shelf = Shelf::open();
    let server = shelf.server().env("BARYCENTER_FETCH_AT_ONCE", "1").start();
    let (ada, key) = (server.client(), server.create_user("bob", false));
    let bob = ada.with_key(Some(&key));
    let history = ada.create_history("many");
    let slow: Vec<Value> = (0..5)
        .map(|n| json!({"src": "url", "url": shelf.url(&format!("slow/{n}"))}))
        .collect();
    let made = fetch(&ada, &history, &json!(slow));
    eventually("the first is begun", || shelf.asked("/slow/0") == 1);
    let others = bob.create_history("one");
    let one = fetch(
        &bob,
        &others,
        &json!([{"src": "url", "url": shelf.url("quick")}]),
    );
    let job = text(&made["jobs"][0], "id");
    ada.delete(&format!("/api/jobs/{job}"));
    let states = || -> Vec<String> {
        (0..5)
            .map(|n| text(&dataset(&ada, &text(&made["outputs"][n], "id")), "state"))
            .collect()
    };
    // The server's end of the slow one is let go when it next says something.
    shelf.release();
    until("what was cancelled is discarded", || {
        states().iter().all(|s| s == "discarded").then_some(())
    });
    let quick = text(&one["outputs"][0], "id");
    eventually("the other's is there", || {
        text(&dataset(&bob, &quick), "state") == "ok"
    });
    assert_eq!(shelf.asked("/slow/4"), 0);
    eventually("the job is over", || {
        text(&ada.get(&format!("/api/jobs/{job}")).ok(), "state") == "deleted"
    });
}

#[test]
fn nothing_is_fetched_unless_the_operator_says_so() {
    let shelf = Shelf::open();
    let server = TestServer::start();
    let ada = server.client();
    let history = ada.create_history("none");
    for url in [
        shelf.url("x"),
        "file:///etc/passwd".to_owned(),
        "ftp://example.org/".to_owned(),
    ] {
        let body = json!({"history_id": history, "targets": [{"destination": {"type": "hdas"}, "elements": [{"src": "url", "url": url}]}]});
        ada.post("/api/tools/fetch", &body).refused(403, 403_004);
        let old = json!({"history_id": history, "tool_id": "upload1", "inputs": {"files_0|url_paste": url}});
        ada.post("/api/tools", &old).refused(403, 403_004);
        for (workflow_url, data) in [
            (url.clone(), json!("data:,x")),
            (format!("data:,{TWO}"), json!(url)),
        ] {
            let body = json!({"workflow_type": "gx_workflow_format2", "workflow_type_version": "1",
                "workflow_url": workflow_url, "workflow_params": {"data": data}});
            let answer = ada.post(RUNS, &body);
            assert_eq!(answer.status, 400, "{answer}");
        }
    }
    assert!(shelf.asked.lock().expect("notes").is_empty());
    assert_eq!(
        ada.get(&format!("/api/histories/{history}/contents")).ok(),
        json!([])
    );
    // What holds its own content needs nobody's leave.
    let made = fetch(
        &ada,
        &history,
        &json!([{"src": "url", "url": "base64://aGkK", "name": "x"}]),
    );
    assert_eq!(made["outputs"][0]["state"], json!("ok"));
}
