use std::sync::Arc;

use serde_json::{Value, json};

use crate::args;
use crate::http::seams::{Seams, StepActions};
use crate::http::tests::Server;
use crate::invocation_request::StepTypes;
use crate::model::workflow::StepDescription;
use crate::store::Durability;
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

struct Pauses;

impl StepTypes for Pauses {
    fn is_known(&self, step_type: &str) -> bool {
        step_type != "teleport"
    }
}

impl StepActions for Pauses {
    fn check(&self, _: i64, step: &StepDescription, action: &Value) -> Result<Value, String> {
        match step.step_type.as_str() {
            "pause" => Ok(json!(action == &json!(true))),
            other => Err(format!("A step of type {other} takes no actions.")),
        }
    }
}

/// A server with one tool and pauses, and a workflow: reads, a number, the tool, a pause.
async fn server() -> (Server, String, tempfile::TempDir) {
    let server = Server::start().await;
    let tools = tempfile::tempdir().unwrap();
    std::fs::write(tools.path().join("lines.yml"), TOOL).unwrap();
    let mut seams = Seams::unwired(Arc::new(Toolbox::new(vec![tools.path().to_owned()])));
    seams.step_types = Arc::new(Pauses);
    seams.step_actions = Arc::new(Pauses);
    seams.workflows.foreground_wait_max = std::time::Duration::from_millis(50);
    server.app.wire(seams);
    let step = |id: usize, kind: &str, label: &str, state: Value, from: Value| {
        json!({"id": id, "type": kind, "label": label, "name": kind, "tool_state": state.to_string(),
            "tool_id": (kind == "tool").then_some("lines"), "tool_version": (kind == "tool").then_some("1.0"),
            "input_connections": from, "workflow_outputs": [], "position": {"left": id * 10, "top": 0}})
    };
    let workflow = json!({"a_galaxy_workflow": "true", "format-version": "0.1", "name": "reviewed", "steps": {
        "0": step(0, "data_input", "reads", json!({}), json!({})),
        "1": step(1, "parameter_input", "n", json!({"parameter_type": "integer", "default": 5}), json!({})),
        "2": step(2, "tool", "cut", json!({"count": 4}), json!({"source": {"id": 0, "output_name": "output"}})),
        "3": step(3, "pause", "look", json!({}), json!({"input": {"id": 2, "output_name": "out"}})),
    }});
    let made = server
        .post("/api/workflows", json!({"workflow": workflow}))
        .await
        .ok();
    let id = made["id"].as_str().unwrap().to_owned();
    (server, id, tools)
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

#[tokio::test]
async fn an_invocation_is_stored_copied_into_its_history_and_shown() {
    let (server, workflow, _tools) = server().await;
    let history = server.history().await;
    let hda = server.pastes(&history, 1).await.remove(0);
    let path = format!("/api/workflows/{workflow}/invocations");
    let body = json!({"inputs": {"reads": {"src": "hda", "id": hda}, "n": 7}, "inputs_by": "name",
        "history": "results", "parameters": {"2": {"count": 9}}, "replacement_params": {"a": "b"}});
    let made = server.post(&path, body).await.ok();
    assert_eq!(
        (&made["state"], &made["model_class"]),
        (&json!("new"), &json!("WorkflowInvocation"))
    );
    let id = text(&made["id"]);
    let shown = server.get(&format!("/api/invocations/{id}")).await.ok();
    assert_eq!(
        shown["input_step_parameters"]["n"]["parameter_value"],
        json!(7)
    );
    assert_eq!(
        (&shown["steps"], &shown["messages"], &shown["outputs"]),
        (&json!([]), &json!([]), &json!({}))
    );
    let report = format!("/api/invocations/{id}/error");
    let told = server.post(&report, json!({"message": "slow"})).await.ok();
    assert_eq!(told["messages"][0][1], "danger");
    let stranger = server
        .call(&server.bob, "POST", &report, Some(json!({})))
        .await;
    stranger.refused(403, 403_002);
    let copy = &shown["inputs"]["0"];
    assert_eq!(
        (&copy["src"], &copy["label"]),
        (&json!("hda"), &json!("reads"))
    );
    assert_ne!(
        copy["id"],
        json!(hda),
        "the input of another history is copied"
    );
    let contents = server
        .get(&format!(
            "/api/histories/{}/contents",
            text(&made["history_id"])
        ))
        .await
        .ok();
    assert_eq!(contents[0]["id"], copy["id"]);

    let request = server
        .get(&format!("/api/invocations/{id}/request"))
        .await
        .ok();
    assert_eq!(request["inputs"]["n"], json!(7));
    assert_eq!(request["parameters"]["2"], json!({"count": 9}));
    assert_eq!(request["replacement_params"], json!({"a": "b"}));
    let again = format!(
        "/api/workflows/{}/invocations",
        text(&request["workflow_id"])
    );
    let again = server.post(&again, request).await.ok();
    assert_eq!(again["history_id"], made["history_id"]);

    let listed = server.get(&path).await;
    assert_eq!(
        (
            listed.header("total_matches"),
            listed.ok().as_array().unwrap().len()
        ),
        ("2", 2)
    );
    let report = server
        .get(&format!("/api/invocations/{id}/report"))
        .await
        .ok();
    assert!(text(&report["markdown"]).contains("reviewed"));
    let summary = server
        .get(&format!("/api/invocations/{id}/jobs_summary"))
        .await
        .ok();
    assert_eq!(
        (&summary["model"], &summary["states"]),
        (&json!("WorkflowInvocation"), &json!({}))
    );
    assert_eq!(
        server
            .get(&format!("/api/invocations/{id}/step_jobs_summary"))
            .await
            .ok(),
        json!([])
    );
    assert_eq!(
        server
            .get(&format!("/api/invocations/{id}/metrics"))
            .await
            .ok(),
        json!([])
    );
    assert_eq!(
        server
            .get(&format!("/api/invocations/{id}/completion"))
            .await
            .ok(),
        json!(null)
    );
    let counts = server
        .get(&format!("/api/workflows/{workflow}/counts"))
        .await
        .ok();
    assert_eq!(counts, json!({"new": 2}));
    for alias in ["invocations", "usage"] {
        let path = format!("/api/workflows/whatever/{alias}/{id}");
        assert_eq!(server.get(&path).await.ok(), shown);
    }
    let absent = json!({"inputs": {"0": {"src": "hda", "id": hda}}, "no_add_to_history": true});
    let made = server.post(&path, absent).await.ok();
    let shown = server
        .get(&format!("/api/invocations/{}", text(&made["id"])))
        .await
        .ok();
    assert_eq!(shown["inputs"]["0"]["id"], json!(hda));
}

#[tokio::test]
async fn bad_requests_leave_nothing_behind() {
    let (server, workflow, _tools) = server().await;
    let history = server.history().await;
    let hda = server.pastes(&history, 1).await.remove(0);
    let other = json!({"name": "bob's"});
    let other = server
        .call(&server.bob, "POST", "/api/histories", Some(other))
        .await
        .ok();
    let reads = json!({"0": {"src": "hda", "id": hda}});
    let unknown = server.app.encode(4711);
    let cases = [
        (json!({}), 400, 0),
        (
            json!({"inputs": {"0": {"src": "hda", "id": unknown}}}),
            404,
            404_001,
        ),
        (
            json!({"inputs": {"0": {"src": "hda", "id": "zz"}}}),
            400,
            400_009,
        ),
        (
            json!({"inputs": {"0": {"src": "moon", "id": hda}}}),
            400,
            400_008,
        ),
        (
            json!({"inputs": {"0": {"src": "hda", "id": hda}, "1": {"a": 1}}}),
            400,
            400_008,
        ),
        (
            json!({"inputs": {"0": {"src": "hda", "id": hda}, "1": "many"}}),
            400,
            0,
        ),
        (json!({"inputs": reads, "scheduler": "moon"}), 400, 400_008),
        (json!({"inputs": reads, "version": 9}), 404, 404_001),
        (
            json!({"inputs": reads, "history_id": other["id"]}),
            403,
            403_002,
        ),
        (
            json!({"inputs": reads, "history_id": history, "history": "x"}),
            400,
            400_008,
        ),
        (
            json!({"inputs": reads, "replacement_params": {"a": 1}}),
            400,
            400_008,
        ),
        (
            json!({"inputs": reads, "parameters": {"2": {"count": "many"}}}),
            400,
            0,
        ),
    ];
    let path = format!("/api/workflows/{workflow}/invocations");
    for (body, status, code) in cases {
        server.post(&path, body).await.refused(status, code);
    }
    let body = json!({"inputs": reads});
    server
        .call("", "POST", &path, Some(body.clone()))
        .await
        .refused(403, 403_001);
    server
        .call(&server.bob, "POST", &path, Some(body))
        .await
        .refused(403, 403_002);
    assert_eq!(
        server.get("/api/invocations").await.header("total_matches"),
        "0"
    );
    let histories = server.get("/api/histories").await.ok();
    assert_eq!(histories.as_array().unwrap().len(), 1);
    for query in [
        "limit=0",
        "limit=101",
        "view=poem",
        "sort_by=colour",
        "workflow_id=zz",
    ] {
        assert_eq!(
            server
                .get(&format!("/api/invocations?{query}"))
                .await
                .status,
            400,
            "{query}"
        );
    }
    assert_eq!(
        server.call("", "GET", "/api/invocations", None).await.ok(),
        json!([])
    );
}

#[tokio::test]
async fn a_batch_is_stored_together_each_run_in_a_history_of_its_own() {
    let (server, workflow, _tools) = server().await;
    let history = server.history().await;
    let hdas = server.pastes(&history, 2).await;
    let values: Vec<Value> = hdas
        .iter()
        .map(|id| json!({"src": "hda", "id": id}))
        .collect();
    let inputs = json!({"0": {"batch": true, "values": values}});
    let path = format!("/api/workflows/{workflow}/usage");
    server
        .post(&path, json!({"inputs": inputs}))
        .await
        .refused(400, 0);
    let made = server
        .post(
            &path,
            json!({"inputs": inputs, "batch": true, "history": "many"}),
        )
        .await
        .ok();
    assert_eq!(made.as_array().unwrap().len(), 2);
    let history = format!("/api/histories/{}", text(&made[1]["history_id"]));
    assert_eq!(server.get(&history).await.ok()["name"], json!("many on 2"));
}

#[tokio::test]
async fn a_review_is_stored_once_the_step_is_there_and_a_cancelled_run_takes_none() {
    let (server, workflow, _tools) = server().await;
    let history = server.history().await;
    let hda = server.pastes(&history, 1).await.remove(0);
    let body = json!({"inputs": {"0": {"src": "hda", "id": hda}}, "history_id": history});
    let made = server
        .post(&format!("/api/workflows/{workflow}/invocations"), body)
        .await
        .ok();
    let invocation = server.app.decode(text(&made["id"])).unwrap();
    let mut tx = server.app.store.begin().await.unwrap();
    let mut steps = Vec::new();
    for index in [2, 3] {
        let id = server.app.store.ids.invocation_step();
        tx.run(
            "INSERT INTO workflow_invocation_step (id, workflow_invocation_id, workflow_step_id, order_index, state, create_time, update_time)
             SELECT $1, i.id, s.id, s.order_index, 'scheduled', 1, 1 FROM workflow_invocation i
             JOIN workflow_step s ON s.workflow_id = i.workflow_id WHERE i.id = $2 AND s.order_index = $3",
            args![id, invocation, index],
        )
        .await
        .unwrap();
        steps.push(server.app.encode(id));
    }
    tx.commit(Durability::Progress, "test").await.unwrap();

    let pause = format!("/api/workflows/x/usage/y/steps/{}", steps[1]);
    let put =
        async |key: &str, path: &str, body: Value| server.call(key, "PUT", path, Some(body)).await;
    assert_eq!(server.get(&pause).await.ok()["action"], json!(null));
    put(&server.ada, &pause, json!({}))
        .await
        .refused(400, 400_007);
    put(&server.bob, &pause, json!({"action": true}))
        .await
        .refused(403, 403_002);
    let tool = format!("/api/invocations/y/steps/{}", steps[0]);
    put(&server.ada, &tool, json!({"action": true}))
        .await
        .refused(400, 400_008);
    let unknown = format!("/api/invocations/y/steps/{}", server.app.encode(999));
    put(&server.ada, &unknown, json!({"action": true}))
        .await
        .refused(404, 404_001);
    assert_eq!(
        put(&server.ada, &pause, json!({"action": true})).await.ok()["action"],
        json!(true)
    );
    let element = server
        .get(&format!(
            "/api/invocations/{}?step_details=true",
            text(&made["id"])
        ))
        .await
        .ok();
    assert_eq!(element["steps"][1]["action"], json!(true));
    assert_eq!(element["steps"][1]["jobs"], json!([]));
    assert_eq!(element["steps"][1]["workflow_step_label"], json!("look"));

    let path = format!("/api/invocations/{}", text(&made["id"]));
    server
        .call(&server.bob, "GET", &path, None)
        .await
        .refused(403, 403_002);
    server
        .call(&server.bob, "DELETE", &path, None)
        .await
        .refused(403, 403_002);
    for _ in 0..2 {
        let cancelled = server.call(&server.ada, "DELETE", &path, None).await.ok();
        assert_eq!(cancelled["state"], json!("cancelling"));
        assert_eq!(
            cancelled["messages"],
            json!([{"reason": "user_request", "workflow_step_index_path": null}])
        );
    }
    put(&server.ada, &pause, json!({"action": false}))
        .await
        .refused(400, 400_008);
    let active = server.get("/api/invocations?include_terminal=false").await;
    assert_eq!(active.header("total_matches"), "0");
}

#[tokio::test]
async fn the_old_form_answers_with_outputs_and_history() {
    let (server, workflow, _tools) = server().await;
    let history = server.history().await;
    let hda = server.pastes(&history, 1).await.remove(0);
    let body = json!({"workflow_id": workflow, "history": format!("hist_id={history}"),
        "ds_map": {"0": {"src": "hda", "id": hda}}});
    let made = server.post("/api/workflows", body).await.ok();
    assert_eq!(
        (&made["history"], &made["outputs"]),
        (&json!(history), &json!([]))
    );
    assert_eq!(made["state"], json!("new"));
}

#[tokio::test]
async fn what_means_nothing_in_the_workflow_is_ignored_and_told_of() {
    let (server, workflow, _tools) = server().await;
    let history = server.history().await;
    let hda = server.pastes(&history, 1).await.remove(0);
    let given = json!({"src": "hda", "id": hda});
    let path = format!("/api/workflows/{workflow}/invocations");
    let ask = |inputs: Value, parameters: Value| {
        let body = json!({"history_id": history, "inputs_by": "name", "inputs": inputs, "parameters": parameters});
        let (server, path) = (&server, &path);
        async move { server.post(path, body).await }
    };
    let fits = ask(json!({"reads": given}), json!({"2": {"count": 3}}))
        .await
        .ok();
    assert_eq!(fits["warnings"], json!([]));
    let made = ask(
        json!({"reads": given, "number": 3}),
        json!({"lines2": {"count": 3}}),
    )
    .await
    .ok();
    let warnings = made["warnings"].as_array().expect("a list");
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    let first = warnings[0].as_str().expect("a sentence");
    assert!(
        first.contains("\"number\"") && first.contains("\"reads\" (0)"),
        "{first}"
    );
    assert!(warnings[1].as_str().is_some_and(|w| w.contains("lines2")));
    let id = made["id"].as_str().expect("an id");
    let shown = server.get(&format!("/api/invocations/{id}")).await.ok();
    assert_eq!(shown["warnings"], made["warnings"]);
    // Where that leaves a required input without a value the refusal names both.
    let refused = ask(json!({"Reads": given}), json!({})).await;
    refused.refused(400, 0);
    let told = refused.json()["err_msg"].to_string();
    assert!(
        told.contains("no input provided") && told.contains("Reads"),
        "{told}"
    );
}

#[tokio::test]
async fn jobs_are_their_owners_and_bad_filters_are_refused() {
    let server = Server::start().await;
    let mut tx = server.app.store.begin().await.unwrap();
    tx.run(
        "INSERT INTO job (id, uuid, user_id, tool_id, state, tool_stdout, create_time, update_time)
         SELECT 7, 'u', id, 'Show beginning1', 'ok', 'hello', 1, 1 FROM galaxy_user WHERE username = 'ada'",
        args![],
    )
    .await
    .unwrap();
    tx.run(
        "INSERT INTO job_parameter (job_id, name, value) VALUES (7, 'lineNum', '10'),
            (7, 'input', '{\"values\": [{\"src\": \"hda\", \"id\": 41}]}')",
        args![],
    )
    .await
    .unwrap();
    tx.commit(Durability::Progress, "test").await.unwrap();
    let id = server.app.encode(7);
    let shown = server.get(&format!("/api/jobs/{id}?full=True")).await.ok();
    assert_eq!(
        (&shown["stdout"], &shown["params"]["lineNum"]),
        (&json!("hello"), &json!("10"))
    );
    let input: Value = serde_json::from_str(shown["params"]["input"].as_str().unwrap()).unwrap();
    assert_eq!(
        input,
        json!({"values": [{"src": "hda", "id": server.app.encode(41)}]})
    );
    let console = server
        .get(&format!(
            "/api/jobs/{id}/console_output?stdout_position=1&stdout_length=3"
        ))
        .await
        .ok();
    assert_eq!(console["stdout"], json!("ell"));
    assert_eq!(
        server.get(&format!("/api/jobs/{id}/stdout")).await.body,
        b"hello"
    );
    assert_eq!(
        server.get(&format!("/api/jobs/{id}/inputs")).await.ok(),
        json!([])
    );
    let found = server
        .get("/api/jobs?tool_id=Show%20beginning1&state=ok&search=show")
        .await
        .ok();
    assert_eq!(found.as_array().unwrap().len(), 1);
    assert_eq!(
        server.get("/api/jobs?date_range_min=2026-01-01").await.ok(),
        json!([])
    );
    let mut tx = server.app.store.begin().await.unwrap();
    tx.run(
        "INSERT INTO job (id, uuid, user_id, tool_id, state, create_time, update_time)
         SELECT 70, 'v', id, 'param_value_from_file', 'ok', 1, 1 FROM galaxy_user WHERE username = 'ada'",
        args![],
    )
    .await
    .unwrap();
    tx.run(
        "INSERT INTO job_parameter (job_id, name, value) VALUES (70, 'param_type', '\"float\"')",
        args![],
    )
    .await
    .unwrap();
    tx.commit(Durability::Progress, "test").await.unwrap();
    let display = format!("/api/jobs/{}/parameters_display", server.app.encode(70));
    let told = server.get(&display).await.ok();
    let line = json!({"text": "Select type of parameter to parse", "depth": 1, "value": "float", "notes": null});
    assert!(
        told["parameters"].as_array().unwrap().contains(&line),
        "{told}"
    );
    assert_eq!(told["has_parameter_errors"], json!(false));
    for part in [
        "",
        "/parameters_display",
        "/inputs",
        "/outputs",
        "/stdout",
        "/console_output",
        "/metrics",
        "/build_for_rerun",
    ] {
        let path = format!("/api/jobs/{id}{part}");
        server
            .call(&server.bob, "GET", &path, None)
            .await
            .refused(403, 403_002);
    }
    server
        .call(&server.bob, "DELETE", &format!("/api/jobs/{id}"), None)
        .await
        .refused(403, 403_002);
    server
        .get("/api/jobs?state=fine")
        .await
        .refused(400, 400_008);
    server
        .get("/api/jobs?date_range_min=soon")
        .await
        .refused(400, 400_008);
    server
        .get("/api/jobs?user_details=true")
        .await
        .refused(403, 403_006);
    server
        .get(&format!("/api/jobs/{}", server.app.encode(8)))
        .await
        .refused(404, 404_001);
    assert_eq!(
        server
            .call(&server.bob, "GET", "/api/jobs", None)
            .await
            .ok(),
        json!([])
    );
}

crate::store::testing::on_postgres_too!(
    what_means_nothing_in_the_workflow_is_ignored_and_told_of,
    an_invocation_is_stored_copied_into_its_history_and_shown,
    bad_requests_leave_nothing_behind,
    a_batch_is_stored_together_each_run_in_a_history_of_its_own,
    a_review_is_stored_once_the_step_is_there_and_a_cancelled_run_takes_none,
    the_old_form_answers_with_outputs_and_history,
    jobs_are_their_owners_and_bad_filters_are_refused,
);
