use std::sync::Arc;

use serde_json::{Value, json};

use crate::args;
use crate::http::seams::StepActions;
use crate::http::tests::{Server, lines};
use crate::invocation_request::StepTypes;
use crate::model::workflow::StepDescription;
use crate::store::Durability;

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
    let (mut seams, tools) = lines::seams();
    seams.step_types = Arc::new(Pauses);
    seams.step_actions = Arc::new(Pauses);
    seams.workflows.foreground_wait_max = std::time::Duration::from_millis(50);
    server.app.wire(seams);
    let mut workflow = lines::workflow("reviewed");
    let cut = json!({"input": {"id": 2, "output_name": "out"}});
    workflow["steps"]["3"] = lines::step(3, "pause", "look", json!({}), cut);
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
    let (_, hda) = server.with_dataset().await;
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
    let (history, hda) = server.with_dataset().await;
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
    let (history, hda) = server.with_dataset().await;
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
    let (history, hda) = server.with_dataset().await;
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
    let (history, hda) = server.with_dataset().await;
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

crate::store::testing::on_postgres_too!(
    what_means_nothing_in_the_workflow_is_ignored_and_told_of,
    an_invocation_is_stored_copied_into_its_history_and_shown,
    bad_requests_leave_nothing_behind,
    a_batch_is_stored_together_each_run_in_a_history_of_its_own,
    a_review_is_stored_once_the_step_is_there_and_a_cancelled_run_takes_none,
    the_old_form_answers_with_outputs_and_history,
);
