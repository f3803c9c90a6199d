//! GA4GH WES with real jobs: a run that waits for a review, a scripted client, and the official document.

use std::path::PathBuf;
use std::process::Command;

use barycenter_tests::client::text;
use barycenter_tests::wait::{eventually, until};
use barycenter_tests::workflows::REVIEWED;
use barycenter_tests::{Client, TestServer, build, left_out};
use serde_json::{Value, json};

const ROOT: &str = "/ga4gh/wes/v1";

fn submit(client: &Client, workflow: &str, params: &Value) -> String {
    let body = json!({"workflow_type": "gx_workflow_format2", "workflow_type_version": "1.0.0",
        "workflow_url": format!("data:text/yaml,{workflow}"), "workflow_params": params});
    text(&client.post(&format!("{ROOT}/runs"), &body).ok(), "run_id")
}

fn state(client: &Client, run: &str) -> String {
    let status = client.get(&format!("{ROOT}/runs/{run}/status")).ok();
    text(&status, "state")
}

#[test]
fn a_run_that_waits_for_a_review_is_paused_and_then_completes() {
    let server = TestServer::start();
    let ada = server.client();
    let data = json!({"data": {"src": "pasted", "paste_content": "hello\n"}});
    let run = submit(&ada, REVIEWED, &data);
    eventually("the run is paused", || state(&ada, &run) == "PAUSED");
    let listed = ada.get(&format!("{ROOT}/runs?state=PAUSED")).ok();
    assert_eq!(listed["runs"][0]["run_id"], json!(run));
    let info = server.anonymous().get(&format!("{ROOT}/service-info")).ok();
    assert_eq!(info["system_state_counts"]["PAUSED"], json!(1));
    let pause = ada.wait_for_step(&run, "review", "scheduled");
    assert_eq!(ada.act(&run, &text(&pause, "id"), &json!(true)).status, 200);
    eventually("the run is complete", || state(&ada, &run) == "COMPLETE");
    let log = ada.get(&format!("{ROOT}/runs/{run}")).ok();
    let names: Vec<&String> = log["outputs"]
        .as_object()
        .expect("outputs")
        .keys()
        .collect();
    assert_eq!(names.len(), 3, "{names:?}");
    let tasks = ada.get(&format!("{ROOT}/runs/{run}/tasks")).ok();
    let jobs = tasks["task_logs"].as_array().expect("tasks").iter();
    assert_eq!(jobs.filter(|task| task["exit_code"] == json!(0)).count(), 2);
}

#[test]
fn what_has_ended_stays_as_it_is_through_both_doors() {
    let server = TestServer::start();
    let ada = server.client();
    let workflow =
        "class: GalaxyWorkflow%0Ainputs: {n: {type: int, optional: true}}%0Asteps: {}%0A";
    let workflow = workflow.replace("steps: {}", "steps: {s: {tool_id: copy, in: {input: d}}}");
    let workflow = workflow.replace("inputs: {", "inputs: {d: data, ");
    let data = json!({"d": {"src": "pasted", "paste_content": "x\n"}});
    let run = submit(&ada, &workflow, &data);
    eventually("the run is complete", || state(&ada, &run) == "COMPLETE");
    let before = ada.invocation(&run);
    let cancelled = ada.delete(&format!("/api/invocations/{run}")).ok();
    assert_eq!(cancelled["state"], json!("completed"));
    ada.post(&format!("{ROOT}/runs/{run}/cancel"), &json!({}))
        .ok();
    assert_eq!(state(&ada, &run), "COMPLETE");
    assert_eq!(ada.invocation(&run)["messages"], before["messages"]);
}

#[test]
fn a_cancelled_run_stops_its_jobs() {
    let server = TestServer::start();
    let ada = server.client();
    let workflow = barycenter_tests::workflows::script("sleep 600");
    let data = json!({"data": {"src": "pasted", "paste_content": "x\n"}});
    let run = submit(&ada, &workflow, &data);
    let job = ada.wait_for_job(&run, "work", &["running"]);
    let answer = ada.post(&format!("{ROOT}/runs/{run}/cancel"), &json!({}));
    assert_eq!(answer.ok(), json!({"run_id": run}));
    eventually("the run is cancelled", || state(&ada, &run) == "CANCELED");
    let ended = until("the job is stopped", || {
        let job = ada.get(&format!("/api/jobs/{}", text(&job, "id"))).ok();
        (text(&job, "state") == "deleted").then_some(job)
    });
    assert_ne!(ended["exit_code"], json!(0));
    ada.post(&format!("{ROOT}/runs/{run}/cancel"), &json!({}))
        .ok();
    assert_eq!(state(&ada, &run), "CANCELED");
}

fn script(server: &TestServer, program: &str, arguments: &[PathBuf]) {
    let ada = server.client();
    let output = Command::new(program)
        .args(arguments)
        .env("BARYCENTER_URL", &ada.url)
        .env("BARYCENTER_KEY", ada.key.as_deref().expect("a key"))
        .output()
        .expect("the script starts");
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn clients() -> PathBuf {
    build::repository().join("tests/clients/wes")
}

#[test]
fn a_scripted_client_gets_along() {
    if Command::new("python3").arg("--version").output().is_err() {
        left_out::note("WES through a scripted client: apt-get install python3");
        return;
    }
    let server = TestServer::start();
    script(&server, "python3", &[clients().join("client.py")]);
}

#[test]
fn the_penguins_run_through_requests_and_through_wes_client() {
    let python = match crate::clients::python("wes/requirements-client.txt", "wes-client-venv") {
        Ok(python) => python,
        Err(problem) => {
            return left_out::note(&format!(
                "WES through requests and wes-client: they cannot be installed here ({problem}); needs python3-venv and a package index"
            ));
        }
    };
    let server = TestServer::start();
    let python = python.to_str().expect("a path that is text");
    let example = build::repository().join("examples/penguins");
    let by_hand = [clients().join("penguins.py"), example];
    script(&server, python, &by_hand);
    let [program, example] = by_hand;
    script(&server, python, &[program, example, "wes-client".into()]);
}

#[test]
fn the_official_wes_document_finds_nothing_to_object_to() {
    let has = |name| std::env::var_os(name).is_some();
    if !has("SCHEMATHESIS_VENV") || !has("BARYCENTER_WES_DOCUMENT") {
        left_out::note(
            "the official WES document (schemathesis): see tests/clients/wes/README.md for SCHEMATHESIS_VENV and BARYCENTER_WES_DOCUMENT",
        );
        return;
    }
    let server = TestServer::start();
    let ada = server.client();
    // Something to find: schemathesis follows the ids of the list.
    let data = json!({"data": {"src": "pasted", "paste_content": "hello\n"}});
    let run = submit(&ada, REVIEWED, &data);
    eventually("the run is paused", || state(&ada, &run) == "PAUSED");
    script(&server, "sh", &[clients().join("run-schemathesis.sh")]);
}
