//! Through the door: the runs and tasks of real and of seeded invocations.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::args;
use crate::http::seams::Seams;
use crate::http::tests::{Answer, Server};
use crate::store::db::Query as _;
use crate::store::wes::seed::{Shape, seed};
use crate::store::{Durability, users};
use crate::tools::Toolbox;

const TOOL: &str = "
class: GalaxyTool
id: lines
name: Some lines
version: '1.0'
shell_command: head -n $(inputs.count) '$(inputs.source.path)' > out
inputs:
  - {name: source, type: data}
  - {name: count, type: integer, value: 3}
outputs:
  - {name: out, type: data, format: txt, from_work_dir: out}
";
const ROOT: &str = super::ROOT;

/// A server with one tool.
async fn server() -> (Server, tempfile::TempDir) {
    let server = Server::start().await;
    let tools = tempfile::tempdir().unwrap();
    std::fs::write(tools.path().join("lines.yml"), TOOL).unwrap();
    server.app.wire(Seams::unwired(Arc::new(Toolbox::new(vec![
        tools.path().to_owned(),
    ]))));
    (server, tools)
}

/// Reads, a number, the tool.
fn workflow() -> Value {
    let step = |id: usize, kind: &str, label: &str, state: Value, from: Value| {
        json!({"id": id, "type": kind, "label": label, "name": kind, "tool_state": state.to_string(),
            "tool_id": (kind == "tool").then_some("lines"), "tool_version": (kind == "tool").then_some("1.0"),
            "input_connections": from, "workflow_outputs": [], "position": {"left": id * 10, "top": 0}})
    };
    json!({"a_galaxy_workflow": "true", "format-version": "0.1", "name": "cutting", "annotation": "", "steps": {
        "0": step(0, "data_input", "reads", json!({}), json!({})),
        "1": step(1, "parameter_input", "n", json!({"parameter_type": "integer", "default": 5}), json!({})),
        "2": step(2, "tool", "cut", json!({"count": 4}), json!({"source": {"id": 0, "output_name": "output"}})),
    }})
}

fn base64_url() -> String {
    format!("base64://{}", STANDARD.encode(workflow().to_string()))
}

fn request(params: Value) -> Value {
    json!({"workflow_type": "gx_workflow_ga", "workflow_type_version": "1.0.0", "workflow_url": base64_url(),
        "workflow_params": params, "tags": {"project": "x"}})
}

async fn post_form(server: &Server, key: &str, parts: &[(&str, Option<&str>, &str)]) -> Answer {
    let mut body = String::new();
    for (name, file, content) in parts {
        let file = file.map_or(String::new(), |file| format!("; filename=\"{file}\""));
        body.push_str(&format!(
            "--limit\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n{content}\r\n"
        ));
    }
    body.push_str("--limit--\r\n");
    let mut request = Request::post(format!("{ROOT}/runs"))
        .header("content-type", "multipart/form-data; boundary=limit")
        .header("authorization", format!("Bearer {}", server.ada));
    if !key.is_empty() {
        request = request.header("idempotency-key", key);
    }
    server.send(request.body(Body::from(body)).unwrap()).await
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

/// Asserts the one body of refusals.
fn refused(answer: &Answer, status: u16) -> Value {
    let body = answer.json();
    assert_eq!(answer.status, status, "{body}");
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(body["status_code"], json!(status));
    assert_eq!(body["msg"], body["err_msg"]);
    assert!(!text(&body["msg"]).is_empty() && body["err_code"].is_u64());
    body
}

async fn seeded(server: &Server, shape: Shape, tasks: i64) -> (i64, String) {
    let store = &server.app.store;
    let (ada, _) = users::by_login(&mut store.reader(), "ada")
        .await
        .unwrap()
        .unwrap();
    let made = seed(store, ada.id, shape, tasks, 1, 1_700_000_000_000)
        .await
        .unwrap();
    let id = made.invocation_ids[0];
    (id, server.app.encode(id))
}

/// The statements that a request needs, when the key is known already.
async fn statements(server: &Server, path: &str) -> (u64, Answer) {
    server.get("/api/whoami").await;
    let before = server.app.store.db.statements();
    let answer = server.get(path).await;
    (server.app.store.db.statements() - before, answer)
}

async fn walk(server: &Server, run: &str, size: usize) -> Vec<Value> {
    let (mut found, mut token) = (Vec::new(), String::new());
    loop {
        let path = format!("{ROOT}/runs/{run}/tasks?page_size={size}&page_token={token}");
        let page = server.get(&path).await.ok();
        let tasks = page["task_logs"].as_array().unwrap();
        assert!(tasks.len() <= size);
        found.extend(tasks.iter().cloned());
        token = text(&page["next_page_token"]).to_owned();
        if token.is_empty() {
            return found;
        }
    }
}

#[tokio::test]
async fn the_service_tells_what_it_is_to_anybody() {
    let (server, _tools) = server().await;
    seeded(&server, Shape::Single, 1).await;
    let info = server
        .call("", "GET", &format!("{ROOT}/service-info"), None)
        .await
        .ok();
    assert_eq!(
        info["type"],
        json!({"group": "org.ga4gh", "artifact": "wes", "version": "1.1.0"})
    );
    assert_eq!(info["system_state_counts"]["COMPLETE"], json!(1));
    assert_eq!(
        info["system_state_counts"].as_object().unwrap().len(),
        super::state::ALL.len()
    );
    for name in ["gx_workflow_ga", "gx_workflow_format2"] {
        assert!(info["workflow_type_versions"][name]["workflow_type_version"].is_array());
    }
    let document = server.get("/api/openapi.json").await.ok();
    for path in [
        "/service-info",
        "/runs",
        "/runs/{run_id}",
        "/runs/{run_id}/status",
        "/runs/{run_id}/cancel",
        "/runs/{run_id}/tasks",
        "/runs/{run_id}/tasks/{task_id}",
    ] {
        assert!(
            document["paths"][format!("{ROOT}{path}")].is_object(),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_submission_is_a_run_at_once_and_echoed() {
    let (server, _tools) = server().await;
    let history = server.history().await;
    let hda = server.pastes(&history, 1).await.remove(0);
    let mut body = request(json!({"reads": {"src": "hda", "id": hda}, "n": 7, "m": 8}));
    body["workflow_engine_parameters"] = json!({"history_name": "results", "colour": "red"});
    let made = server
        .post(&format!("{ROOT}/runs"), body.clone())
        .await
        .ok();
    let run = text(&made["run_id"]);
    let log = server.get(&format!("{ROOT}/runs/{run}")).await.ok();
    assert_eq!(log["state"], json!("QUEUED"));
    assert!(log.as_object().unwrap().contains_key("task_logs") && log["task_logs"].is_null());
    assert_eq!(
        log["task_logs_url"],
        json!(format!("http://localhost{ROOT}/runs/{run}/tasks"))
    );
    for name in [
        "workflow_type",
        "workflow_url",
        "workflow_params",
        "tags",
        "workflow_engine_parameters",
    ] {
        assert_eq!(log["request"][name], body[name], "{name}");
    }
    assert!(text(&log["run_log"]["system_logs"][0]).contains("colour"));
    assert!(text(&log["run_log"]["system_logs"][1]).contains("\"m\""));
    assert_eq!(
        log["run_log"]["name"],
        json!("cutting (imported from WES API)")
    );
    assert!(log["run_log"].get("end_time").is_none() && log["outputs"] == json!({}));
    let status = server.get(&format!("{ROOT}/runs/{run}/status")).await.ok();
    assert_eq!(status, json!({"run_id": run, "state": "QUEUED"}));
    let listed = server.get(&format!("{ROOT}/runs")).await.ok();
    assert_eq!(listed["next_page_token"], json!(""));
    assert_eq!(
        (&listed["runs"][0]["run_id"], &listed["runs"][0]["tags"]),
        (&json!(run), &json!({"project": "x"}))
    );
    let start = text(&listed["runs"][0]["start_time"]);
    assert!(start.len() == 20 && start.ends_with('Z'), "{start}");
    // The same thing through the other door.
    let invocation = server.get(&format!("/api/invocations/{run}")).await.ok();
    assert_eq!(
        invocation["input_step_parameters"]["n"]["parameter_value"],
        json!(7)
    );
    assert_eq!(invocation["inputs"]["0"]["label"], json!("reads"));
}

#[tokio::test]
async fn an_invocation_of_the_other_door_has_the_request_it_would_have_had() {
    let (server, _tools) = server().await;
    let (_, run) = seeded(&server, Shape::Single, 3).await;
    let log = server.get(&format!("{ROOT}/runs/{run}")).await.ok();
    assert!(text(&log["request"]["workflow_url"]).starts_with("gxworkflow://"));
    assert_eq!(log["request"]["workflow_type"], json!("gx_workflow_ga"));
    assert_eq!(log["state"], json!("COMPLETE"));
    assert_eq!(log["run_log"]["end_time"], json!("2023-11-14T22:13:21Z"));
}

#[tokio::test]
async fn attachments_are_the_workflow_and_its_data() {
    let (server, _tools) = server().await;
    let workflow = workflow().to_string();
    let fields = [
        ("workflow_type", None, "gx_workflow_ga"),
        ("workflow_type_version", None, "1.0.0"),
        ("workflow_url", None, "defs/wf.ga"),
        ("workflow_params", None, r#"{"reads": "data/reads.txt"}"#),
        ("workflow_attachment", Some("defs/wf.ga"), workflow.as_str()),
        ("workflow_attachment", Some("data/reads.txt"), "a\nb\nc\n"),
    ];
    let made = post_form(&server, "", &fields).await.ok();
    let run = text(&made["run_id"]);
    let invocation = server.get(&format!("/api/invocations/{run}")).await.ok();
    let input = text(&invocation["inputs"]["0"]["id"]);
    let path = format!("/api/datasets/{input}/display");
    assert_eq!(server.get(&path).await.body, b"a\nb\nc\n");
    // A single attachment needs no URL.
    let alone = [
        fields[0],
        fields[1],
        (
            "workflow_params",
            None,
            r#"{"reads": {"class": "File", "contents": "x"}}"#,
        ),
        ("workflow_attachment", Some("wf.ga"), workflow.as_str()),
    ];
    let made = post_form(&server, "", &alone).await.ok();
    let log = server
        .get(&format!("{ROOT}/runs/{}", text(&made["run_id"])))
        .await
        .ok();
    assert_eq!(log["request"]["workflow_url"], json!("wf.ga"));
    for hostile in [
        "../wf.ga",
        "/etc/wf.ga",
        "a/../../wf.ga",
        "a\\\\wf.ga",
        "C:/wf.ga",
    ] {
        let parts = [
            fields[0],
            fields[1],
            ("workflow_attachment", Some(hostile), "{}"),
        ];
        refused(&post_form(&server, "", &parts).await, 400);
    }
    let twice = [fields[0], fields[1], fields[4], fields[4]];
    refused(&post_form(&server, "", &twice).await, 400);
    let unclear = [fields[0], fields[1], fields[4], fields[5]];
    refused(&post_form(&server, "", &unclear).await, 400);
}

#[tokio::test]
async fn a_stored_workflow_is_run_where_it_is() {
    let (server, _tools) = server().await;
    let stored = server
        .post("/api/workflows", json!({"workflow": workflow()}))
        .await
        .ok();
    let mut body = request(json!({"reads": {"src": "pasted", "paste_content": "one\n"}}));
    body["workflow_url"] = json!(format!("gxworkflow://{}", text(&stored["id"])));
    server
        .post(&format!("{ROOT}/runs"), body.clone())
        .await
        .ok();
    let workflows = server.get("/api/workflows").await.ok();
    assert_eq!(
        workflows.as_array().unwrap().len(),
        1,
        "nothing is imported"
    );
    let found = server
        .get(&format!("{ROOT}/runs?workflow_id={}", text(&stored["id"])))
        .await
        .ok();
    assert_eq!(found["runs"].as_array().unwrap().len(), 1);
    body["workflow_url"] = json!("gxworkflow://0000000000000000");
    refused(&server.post(&format!("{ROOT}/runs"), body).await, 400);
}

#[tokio::test]
async fn a_key_makes_a_repeated_submission_one_run() {
    let (server, _tools) = server().await;
    let workflow = workflow().to_string();
    let parts = |data: &'static str| {
        [
            ("workflow_type", None, "gx_workflow_ga"),
            ("workflow_type_version", None, "1"),
            ("workflow_url", None, "wf.ga"),
            ("workflow_params", None, r#"{"reads": "r"}"#),
            ("workflow_attachment", Some("wf.ga"), workflow.as_str()),
            ("workflow_attachment", Some("r"), data),
        ]
        .map(|(a, b, c): (&str, Option<&str>, &str)| {
            (a.to_owned(), b.map(str::to_owned), c.to_owned())
        })
    };
    let send = async |key: &str, data: &'static str| {
        let parts = parts(data);
        let parts: Vec<_> = parts
            .iter()
            .map(|(a, b, c)| (a.as_str(), b.as_deref(), c.as_str()))
            .collect();
        post_form(&server, key, &parts).await
    };
    let first = send("k1", "a").await.ok();
    assert_eq!(send("k1", "a").await.ok(), first);
    assert_ne!(send("k2", "a").await.ok(), first);
    refused(&send("k1", "b").await, 400);
    let (one, two, three) = tokio::join!(send("k3", "a"), send("k3", "a"), send("k3", "a"));
    assert_eq!(one.ok(), two.ok());
    assert_eq!(one.ok(), three.ok());
    let listed = server.get(&format!("{ROOT}/runs")).await.ok();
    assert_eq!(listed["runs"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn refused_submissions_are_400_and_leave_nothing_visible() {
    let (server, _tools) = server().await;
    let with = |name: &str, value: Value| {
        let mut body = request(json!({"reads": "data:,x"}));
        body[name] = value;
        body
    };
    let path = format!("{ROOT}/runs");
    for body in [
        json!({}),
        json!([]),
        with("workflow_type", json!("CWL")),
        with("workflow_type", json!("gx_workflow_format2")),
        with("workflow_type_version", json!(null)),
        with("workflow_url", json!("https://example.org/x.ga")),
        with("workflow_url", json!("file:///etc/passwd")),
        with("workflow_url", json!("base64://e30=")),
        with(
            "workflow_params",
            json!({"n": "not a number", "reads": "data:,x"}),
        ),
        with("workflow_params", json!({})),
        with("workflow_params", json!({"reads": "http://localhost/"})),
        with("workflow_engine_parameters", json!({"scheduler": "nobody"})),
        with(
            "workflow_engine_parameters",
            json!({"history_id": "a", "history_name": "b"}),
        ),
        with("workflow_attachment", json!(["x"])),
        with("tags", json!([])),
        with("tags", json!({"long": "x".repeat(5000)})),
    ] {
        refused(&server.post(&path, body).await, 400);
    }
    let request = Request::post(&path)
        .header("x-api-key", &server.ada)
        .body(Body::from("{"))
        .unwrap();
    refused(&server.send(request).await, 400);
    assert_eq!(server.get("/api/workflows").await.ok(), json!([]));
    assert_eq!(server.get("/api/histories").await.ok(), json!([]));
    assert_eq!(server.get(&path).await.ok()["runs"], json!([]));
}

#[tokio::test]
async fn runs_are_listed_newest_first_filtered_and_paged() {
    let (server, _tools) = server().await;
    let mut ids = Vec::new();
    for n in 0..5 {
        let mut body = request(json!({"reads": "data:,x"}));
        body["tags"] = json!({"n": n.to_string(), "all": "yes"});
        let made = server.post(&format!("{ROOT}/runs"), body).await.ok();
        ids.insert(0, text(&made["run_id"]).to_owned());
    }
    let list = async |query: &str| {
        let page = server.get(&format!("{ROOT}/runs?{query}")).await.ok();
        let runs = page["runs"].as_array().unwrap().iter();
        let runs: Vec<String> = runs.map(|r| text(&r["run_id"]).to_owned()).collect();
        (runs, text(&page["next_page_token"]).to_owned())
    };
    let (first, token) = list("page_size=2").await;
    assert_eq!(first, ids[..2]);
    // What is submitted in the meantime is not part of the walk.
    server
        .post(
            &format!("{ROOT}/runs"),
            request(json!({"reads": "data:,x"})),
        )
        .await
        .ok();
    let (second, token) = list(&format!("page_size=2&page_token={token}")).await;
    assert_eq!(second, ids[2..4]);
    assert_eq!(
        list(&format!("page_size=2&page_token={token}")).await,
        (ids[4..].to_vec(), String::new())
    );
    assert_eq!(list("tag=n:3").await.0, ids[1..2]);
    assert_eq!(list("tag=all&tag=n:0&state=queued").await.0, ids[4..]);
    for none in [
        "tag=n:9",
        "state=PAUSED",
        "state=PREEMPTED",
        "start_time_before=2000-01-01",
    ] {
        assert_eq!(list(none).await.0, Vec::<String>::new(), "{none}");
    }
    assert_eq!(
        list("start_time_from=2000-01-01T00:00:00Z").await.0.len(),
        6
    );
    let foreign = server
        .call(
            &server.bob,
            "GET",
            &format!("{ROOT}/runs?page_token={token}"),
            None,
        )
        .await;
    refused(&foreign, 400);
    for wrong in [
        format!("page_token={token}&tag=all"),
        "page_token=bm9uZQ".into(),
        "page_size=0".into(),
        "page_size=x".into(),
        "state=DELETED".into(),
        "start_time_from=soon".into(),
    ] {
        refused(&server.get(&format!("{ROOT}/runs?{wrong}")).await, 400);
    }
}

#[tokio::test]
async fn a_step_with_a_single_job_is_one_task() {
    let (server, _tools) = server().await;
    let (id, run) = seeded(&server, Shape::Single, 3).await;
    let tasks = walk(&server, &run, 10).await;
    assert_eq!(tasks.len(), 3);
    let step = step_id(&server, id, 0).await;
    let first = &tasks[0];
    assert_eq!(
        (&first["id"], &first["name"]),
        (&json!(step.to_string()), &json!("seeded"))
    );
    assert_eq!(
        (&first["exit_code"], &first["cmd"]),
        (&json!(0), &json!(["echo seeded"]))
    );
    assert_eq!(first["start_time"], json!("2023-11-14T22:13:20Z"));
    assert_eq!(first["end_time"], json!("2023-11-14T22:13:21Z"));
    let stdout = text(&first["stdout"])
        .strip_prefix("http://localhost")
        .expect("an absolute URL");
    assert_eq!(server.get(stdout).await.body, b"seeded");
    let one = server
        .get(&format!("{ROOT}/runs/{run}/tasks/{step}"))
        .await
        .ok();
    assert_eq!(one, *first);
    refused(
        &server
            .get(&format!("{ROOT}/runs/{run}/tasks/{step}.0"))
            .await,
        404,
    );
}

#[tokio::test]
async fn each_job_of_a_mapped_step_is_a_task() {
    let (server, _tools) = server().await;
    let (id, run) = seeded(&server, Shape::Collection, 5).await;
    let step = step_id(&server, id, 0).await;
    let tasks = walk(&server, &run, 2).await;
    let ids: Vec<&str> = tasks.iter().map(|t| text(&t["id"])).collect();
    let expected: Vec<String> = (0..5).map(|n| format!("{step}.{n}")).collect();
    assert_eq!(ids, expected);
    let one = server
        .get(&format!("{ROOT}/runs/{run}/tasks/{step}.4"))
        .await
        .ok();
    assert_eq!(one, tasks[4]);
    for wrong in [
        step.to_string(),
        format!("{step}.5"),
        format!("{step}.-1"),
        format!("{step}.0.0"),
    ] {
        refused(
            &server
                .get(&format!("{ROOT}/runs/{run}/tasks/{wrong}"))
                .await,
            404,
        );
    }
}

#[tokio::test]
async fn a_step_without_a_job_is_a_task_and_a_subworkflow_names_its_run() {
    let (server, _tools) = server().await;
    let (id, run) = seeded(&server, Shape::Mixed, 10).await;
    let (child, child_run) = seeded(&server, Shape::Collection, 120).await;
    let mut tx = server.app.store.begin().await.unwrap();
    tx.run(
        "UPDATE workflow_invocation SET parent_invocation_id = $1 WHERE id = $2",
        args![id, child],
    )
    .await
    .unwrap();
    tx.run(
        "INSERT INTO workflow_invocation_to_subworkflow_invocation_association (workflow_invocation_id, workflow_step_id, subworkflow_invocation_id)
         SELECT $1, workflow_step_id, $2 FROM workflow_invocation_step WHERE workflow_invocation_id = $1 AND order_index = 0",
        args![id, child],
    ).await.unwrap();
    tx.run("UPDATE workflow_step SET label = 'inner' WHERE id IN (SELECT workflow_step_id FROM workflow_invocation_step WHERE workflow_invocation_id = $1 AND order_index = 0)", args![id]).await.unwrap();
    tx.commit(Durability::Progress, "test").await.unwrap();
    let step = step_id(&server, id, 0).await;
    let task = server
        .get(&format!("{ROOT}/runs/{run}/tasks/{step}"))
        .await
        .ok();
    assert_eq!(task["name"], json!("inner"));
    assert!(task.get("stdout").is_none() && task.get("exit_code").is_none());
    let logs: Vec<&str> = task["system_logs"]
        .as_array()
        .unwrap()
        .iter()
        .map(text)
        .collect();
    assert!(
        logs.contains(&format!("run_id: {child_run}").as_str()),
        "{logs:?}"
    );
    let url = logs
        .iter()
        .find_map(|l| l.strip_prefix("task_logs_url: http://localhost"))
        .expect("a URL");
    assert_eq!(
        server.get(url).await.ok()["task_logs"]
            .as_array()
            .unwrap()
            .len(),
        100
    );
    assert_eq!(walk(&server, &child_run, 50).await.len(), 120);
    let listed = server.get(&format!("{ROOT}/runs")).await.ok();
    assert_eq!(
        listed["runs"].as_array().unwrap().len(),
        1,
        "only the outer run is listed"
    );
    refused(
        &server
            .get(&format!("{ROOT}/runs/{run}/tasks/{step}.0"))
            .await,
        404,
    );
    // A name without label and tool is made of the place.
    let mut tx = server.app.store.begin().await.unwrap();
    tx.run("UPDATE workflow_step SET label = NULL, tool_id = NULL WHERE id IN (SELECT workflow_step_id FROM workflow_invocation_step WHERE id = $1)", args![step]).await.unwrap();
    tx.commit(Durability::Progress, "test").await.unwrap();
    let task = server
        .get(&format!("{ROOT}/runs/{run}/tasks/{step}"))
        .await
        .ok();
    assert_eq!(task["name"], json!("step_0"));
}

#[tokio::test]
async fn ids_that_name_no_task_of_the_run_are_404() {
    let (server, _tools) = server().await;
    let (_, run) = seeded(&server, Shape::Single, 2).await;
    let (other, _) = seeded(&server, Shape::Single, 2).await;
    let others = step_id(&server, other, 0).await;
    for wrong in [
        "x",
        "1.x",
        "1e3",
        "-1",
        "999999",
        "99999999999999999999",
        "%00",
        "%FF",
        "1%2F2",
        &others.to_string(),
    ] {
        let path = format!("{ROOT}/runs/{run}/tasks/{wrong}");
        refused(&server.get(&path).await, 404);
    }
    for wrong in ["x", "%FF", "0000000000000000", "..", "1"] {
        for rest in ["", "/status", "/tasks", "/tasks/1", "/tasks?page_size=x"] {
            refused(
                &server.get(&format!("{ROOT}/runs/{wrong}{rest}")).await,
                404,
            );
        }
        refused(
            &server
                .post(&format!("{ROOT}/runs/{wrong}/cancel"), json!({}))
                .await,
            404,
        );
    }
}

#[tokio::test]
async fn a_large_run_costs_what_its_pages_show() {
    let (server, _tools) = server().await;
    let (mut counts, mut logs) = (Vec::new(), Vec::new());
    for tasks in [3, 130, 2_000] {
        for shape in [Shape::Single, Shape::Collection, Shape::Mixed] {
            let (_, run) = seeded(&server, shape, tasks).await;
            let (first, answer) =
                statements(&server, &format!("{ROOT}/runs/{run}/tasks?page_size=100")).await;
            let page = answer.ok();
            counts.push(first);
            if let token @ 1.. = text(&page["next_page_token"]).len() {
                assert!(token < 400);
                let path = format!(
                    "{ROOT}/runs/{run}/tasks?page_token={}",
                    text(&page["next_page_token"])
                );
                counts.push(statements(&server, &path).await.0);
            }
            let last = page["task_logs"].as_array().unwrap().last().unwrap();
            let path = format!("{ROOT}/runs/{run}/tasks/{}", text(&last["id"]));
            let (one, answer) = statements(&server, &path).await;
            answer.ok();
            assert!(one <= 2, "{one} statements for a task");
            let (log, answer) = statements(&server, &format!("{ROOT}/runs/{run}")).await;
            assert_eq!(answer.ok()["task_logs"], Value::Null);
            logs.push(log);
            assert_eq!(
                statements(&server, &format!("{ROOT}/runs/{run}/status"))
                    .await
                    .0,
                1
            );
            if tasks == 2_000 {
                let walked = walk(&server, &run, 1_000).await;
                let mut ids: Vec<&str> = walked.iter().map(|t| text(&t["id"])).collect();
                ids.sort_unstable();
                ids.dedup();
                assert_eq!(ids.len(), 2_000);
            }
        }
    }
    assert_eq!(counts, vec![3; counts.len()]);
    // The run, its messages, what is held, its outputs and its inputs.
    assert_eq!(logs, vec![5; logs.len()], "statements for a run's log");
}

#[tokio::test]
async fn page_tokens_of_tasks_are_for_one_run_and_cannot_be_made_up() {
    let (server, _tools) = server().await;
    let (_, run) = seeded(&server, Shape::Single, 5).await;
    let (_, other) = seeded(&server, Shape::Single, 5).await;
    let page = server
        .get(&format!("{ROOT}/runs/{run}/tasks?page_size=2"))
        .await
        .ok();
    let token = text(&page["next_page_token"]);
    refused(
        &server
            .get(&format!("{ROOT}/runs/{other}/tasks?page_token={token}"))
            .await,
        400,
    );
    refused(
        &server.get(&format!("{ROOT}/runs?page_token={token}")).await,
        400,
    );
    let mut bytes = URL_SAFE_NO_PAD.decode(token).unwrap();
    let at = bytes.iter().rposition(u8::is_ascii_digit).unwrap();
    bytes[at] ^= 1;
    let forged = URL_SAFE_NO_PAD.encode(bytes);
    refused(
        &server
            .get(&format!("{ROOT}/runs/{run}/tasks?page_token={forged}"))
            .await,
        400,
    );
    // Another process of the same installation reads it.
    let again = crate::http::App::new(
        server.app.store.clone(),
        crate::clock::Clock::system(),
        crate::scheduling::signals::Signals::default(),
        server.app.data.clone(),
        server.app.settings.clone(),
    )
    .await
    .unwrap();
    let restarted = Server {
        router: crate::http::router(again),
        ..server
    };
    let rest = restarted
        .get(&format!(
            "{ROOT}/runs/{run}/tasks?page_size=3&page_token={token}"
        ))
        .await
        .ok();
    assert_eq!(rest["task_logs"].as_array().unwrap().len(), 3);
    assert_eq!(rest["next_page_token"], json!(""));
}

#[tokio::test]
async fn others_runs_are_403_and_nobodys_requests_401() {
    let (server, _tools) = server().await;
    let (id, run) = seeded(&server, Shape::Single, 1).await;
    let step = step_id(&server, id, 0).await;
    for (method, path) in [
        ("GET", format!("/runs/{run}")),
        ("GET", format!("/runs/{run}/status")),
        ("GET", format!("/runs/{run}/tasks")),
        ("GET", format!("/runs/{run}/tasks/{step}")),
        ("POST", format!("/runs/{run}/cancel")),
        ("GET", "/runs".to_owned()),
        ("POST", "/runs".to_owned()),
    ] {
        let path = format!("{ROOT}{path}");
        let body = (method == "POST").then(|| request(json!({"reads": "data:,x"})));
        let nobody = server.call("", method, &path, body.clone()).await;
        refused(&nobody, 401);
        assert_eq!(nobody.header("www-authenticate"), "Bearer");
        refused(
            &server.call("no key", method, &path, body.clone()).await,
            401,
        );
        if path.contains(&run) {
            refused(&server.call(&server.bob, method, &path, body).await, 403);
        }
    }
    refused(&server.get(&format!("{ROOT}/nothing")).await, 404);
    refused(
        &server
            .call(&server.ada, "DELETE", &format!("{ROOT}/runs"), None)
            .await,
        405,
    );
}

#[tokio::test]
async fn a_run_is_cancelled_once_and_a_finished_one_stays_as_it_is() {
    let (server, _tools) = server().await;
    let made = server
        .post(
            &format!("{ROOT}/runs"),
            request(json!({"reads": "data:,x"})),
        )
        .await
        .ok();
    let run = text(&made["run_id"]);
    for _ in 0..2 {
        let answer = server
            .post(&format!("{ROOT}/runs/{run}/cancel"), json!({}))
            .await
            .ok();
        assert_eq!(answer, json!({"run_id": run}));
        let status = server.get(&format!("{ROOT}/runs/{run}/status")).await.ok();
        assert_eq!(status["state"], json!("CANCELING"));
    }
    let (_, finished) = seeded(&server, Shape::Single, 1).await;
    server
        .post(&format!("{ROOT}/runs/{finished}/cancel"), json!({}))
        .await
        .ok();
    let status = server
        .get(&format!("{ROOT}/runs/{finished}/status"))
        .await
        .ok();
    assert_eq!(status["state"], json!("COMPLETE"));
}

async fn step_id(server: &Server, invocation_id: i64, order_index: i64) -> i64 {
    let sql = "SELECT id FROM workflow_invocation_step WHERE workflow_invocation_id = $1 AND order_index = $2";
    let row = server
        .app
        .store
        .reader()
        .maybe(sql, args![invocation_id, order_index])
        .await
        .unwrap();
    row.expect("there").get("id").unwrap()
}

crate::store::testing::on_postgres_too!(
    the_service_tells_what_it_is_to_anybody,
    a_submission_is_a_run_at_once_and_echoed,
    an_invocation_of_the_other_door_has_the_request_it_would_have_had,
    attachments_are_the_workflow_and_its_data,
    a_stored_workflow_is_run_where_it_is,
    a_key_makes_a_repeated_submission_one_run,
    refused_submissions_are_400_and_leave_nothing_visible,
    runs_are_listed_newest_first_filtered_and_paged,
    a_step_with_a_single_job_is_one_task,
    each_job_of_a_mapped_step_is_a_task,
    a_step_without_a_job_is_a_task_and_a_subworkflow_names_its_run,
    ids_that_name_no_task_of_the_run_are_404,
    a_large_run_costs_what_its_pages_show,
    page_tokens_of_tasks_are_for_one_run_and_cannot_be_made_up,
    others_runs_are_403_and_nobodys_requests_401,
    a_run_is_cancelled_once_and_a_finished_one_stays_as_it_is,
);
