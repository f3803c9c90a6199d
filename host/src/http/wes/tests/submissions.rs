//! What is submitted, in every way, and what is refused.

use super::*;

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

crate::store::testing::on_postgres_too!(
    a_submission_is_a_run_at_once_and_echoed,
    an_invocation_of_the_other_door_has_the_request_it_would_have_had,
    attachments_are_the_workflow_and_its_data,
    a_stored_workflow_is_run_where_it_is,
    a_key_makes_a_repeated_submission_one_run,
    refused_submissions_are_400_and_leave_nothing_visible,
);
