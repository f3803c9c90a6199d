//! GA4GH WES with real jobs: a run that waits for a review, a scripted client, and the official document.

use std::collections::HashSet;
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

const TWO_REVIEWS: &str = r"
class: GalaxyWorkflow
inputs:
  data: {type: collection, collection_type: list}
outputs: {}
steps:
  first:
    tool_id: copy
    in: {input: data}
  review:
    type: pause
    in: {input: first/out}
  second:
    tool_id: copy
    in: {input: review/output}
  again:
    type: pause
    in: {input: second/out}
  third:
    tool_id: copy
    in: {input: again/output}
";

/// More jobs, all of them done, for the mapped step of the only invocation there is.
fn add_jobs(server: &TestServer, count: u32) {
    let is_postgres = barycenter_tests::database::is_postgres();
    let (first, cte) = match is_postgres {
        // A block of its own is kept free for whoever asks for it.
        true => (
            "SELECT nextval('job_id_block')",
            "n (i) AS (SELECT generate_series(0, COUNT - 1))",
        ),
        false => (
            "SELECT MAX(id) + 1 FROM job",
            "n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < COUNT)",
        ),
    };
    let cte = cte.replace("COUNT", &count.to_string());
    server.database().execute(&format!(
        "CREATE TABLE more (first BIGINT); INSERT INTO more (first) {first};
         WITH RECURSIVE {cte} INSERT INTO job (id, uuid, user_id, history_id, workflow_invocation_id, scheduler, tool_id,
                 state, exit_code, create_time, update_time)
             SELECT m.first + n.i, 'more', j.user_id, j.history_id, j.workflow_invocation_id, j.scheduler, j.tool_id,
                 'ok', 0, j.create_time, j.update_time
             FROM n, more m, job j
             WHERE j.id = (SELECT MIN(job_id) FROM implicit_collection_jobs_job_association);
         WITH RECURSIVE {cte} INSERT INTO implicit_collection_jobs_job_association (implicit_collection_jobs_id, job_id, order_index)
             SELECT a.implicit_collection_jobs_id, m.first + n.i, a.order_index + 1 + n.i
             FROM n, more m, implicit_collection_jobs_job_association a
             WHERE a.order_index = (SELECT MAX(order_index) FROM implicit_collection_jobs_job_association);
         DROP TABLE more"
    ));
}

/// The ids of all tasks, a thousand at a time; `between` is told how many there are so far.
fn walk(ada: &Client, run: &str, mut between: impl FnMut(usize)) -> Vec<String> {
    let mut found = Vec::new();
    let mut token = String::new();
    loop {
        let page = format!("{ROOT}/runs/{run}/tasks?page_size=1000&page_token={token}");
        let page = ada.get(&page).ok();
        let tasks = page["task_logs"].as_array().expect("tasks").iter();
        found.extend(tasks.map(|task| text(task, "id")));
        between(found.len());
        token = text(&page, "next_page_token");
        if token.is_empty() {
            return found;
        }
    }
}

#[test]
fn a_walk_over_fifty_thousand_tasks_of_a_running_invocation_shows_each_once() {
    let mut server = TestServer::start();
    let ada = server.client();
    let history = ada.create_history("many");
    let elements = [("a", "1\n"), ("b", "2\n"), ("c", "3\n")];
    let list = ada.upload_list(&history, "list", &elements);
    let workflow = ada.import_yaml(TWO_REVIEWS);
    let inputs = json!({"data": {"src": "hdca", "id": list}});
    let run = ada.invoke(&workflow, &history, &inputs);
    ada.wait_for_step(&run, "review", "scheduled");
    server.stop();
    add_jobs(&server, 50_000);
    server.restart();
    let ada = server.client();
    let before = walk(&ada, &run, |_| {});
    assert!(before.len() > 50_003, "{}", before.len());
    // Two mapped steps get their jobs while somebody walks.
    let mut approved = 0;
    let during = walk(&ada, &run, |so_far| {
        for (label, after, next) in [("review", 5_000, "second"), ("again", 30_000, "third")] {
            if so_far == after {
                let pause = ada.wait_for_step(&run, label, "scheduled");
                assert_eq!(ada.act(&run, &text(&pause, "id"), &json!(true)).status, 200);
                ada.wait_for_step(&run, next, "scheduled");
                approved += 1;
            }
        }
    });
    assert_eq!(approved, 2);
    let distinct: HashSet<&String> = during.iter().collect();
    assert_eq!(distinct.len(), during.len(), "a task was shown twice");
    let missing = before.iter().find(|id| !distinct.contains(id));
    assert_eq!(missing, None, "a task was left out");
    let after = walk(&ada, &run, |_| {});
    assert!(after.len() >= before.len() + 4, "{}", after.len());
    ada.wait_for_state(&run, &["completed"]);
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
    let python = match super::clients::python("wes/requirements-client.txt", "wes-client-venv") {
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
