use serde_json::{Value, json};

use crate::http::tests::Server;

/// A data input, a tool and an output of the whole.
pub fn simple() -> Value {
    json!({
        "a_galaxy_workflow": "true", "format-version": "0.1", "name": "simple", "annotation": "why", "tags": ["t"],
        "steps": {
            "0": {"id": 0, "type": "data_input", "label": "reads", "name": "Input dataset", "tool_state": "{}",
                  "input_connections": {}, "workflow_outputs": []},
            "1": {"id": 1, "type": "tool", "tool_id": "no_such_tool", "tool_version": "1.0", "name": "t",
                  "tool_state": "{\"n\": 1}", "input_connections": {"source": {"id": 0, "output_name": "output"}},
                  "workflow_outputs": [{"output_name": "out", "label": "result"}]}
        }
    })
}

async fn imported(server: &Server, workflow: Value) -> Value {
    server
        .post("/api/workflows", json!({"workflow": workflow}))
        .await
        .ok()
}

fn id(shape: &Value) -> &str {
    shape["id"].as_str().expect("an id")
}

#[tokio::test]
async fn a_workflow_is_imported_shown_listed_and_downloaded() {
    let server = Server::start().await;
    let made = imported(&server, simple()).await;
    assert_eq!(
        (&made["name"], &made["owner"]),
        (&json!("simple"), &json!("ada"))
    );
    assert_eq!(
        (&made["number_of_steps"], &made["annotations"]),
        (&json!(2), &json!(["why"]))
    );
    assert!(made["url"].as_str().unwrap().starts_with("/api/workflows/"));

    let shown = server
        .get(&format!("/api/workflows/{}", id(&made)))
        .await
        .ok();
    assert_eq!(shown["inputs"]["0"]["label"], json!("reads"));
    assert_eq!(
        shown["steps"]["1"]["input_steps"]["source"],
        json!({"source_step": 0, "step_output": "output"})
    );
    assert_eq!(shown["version"], json!(0));
    let by_uuid = format!(
        "/api/workflows/{}",
        made["latest_workflow_uuid"].as_str().unwrap()
    );
    assert_eq!(server.get(&by_uuid).await.ok()["id"], made["id"]);
    let revision = made["latest_workflow_id"].as_str().unwrap();
    let instance = server
        .get(&format!("/api/workflows/{revision}?instance=True"))
        .await
        .ok();
    assert_eq!(instance["id"], made["id"]);
    let legacy = server
        .get(&format!("/api/workflows/{}?legacy=true", id(&made)))
        .await
        .ok();
    assert!(
        legacy["inputs"]
            .as_object()
            .unwrap()
            .keys()
            .all(|key| key.parse::<i64>().is_ok())
    );

    let listed = server.get("/api/workflows").await;
    assert_eq!(listed.header("total_matches"), "1");
    assert_eq!(listed.ok()[0]["id"], made["id"]);
    let path = format!("/api/workflows/{}/download", id(&made));
    let file = server.get(&path).await.ok();
    assert_eq!(
        (&file["a_galaxy_workflow"], &file["version"]),
        (&json!("true"), &json!(0))
    );
    assert_eq!(file["steps"]["1"]["errors"], json!("Tool is not installed"));
    let other = server
        .get(&format!("/api/workflows/download/{}", id(&made)))
        .await
        .ok();
    assert_eq!(other, file);
    let yaml = server.get(&format!("{path}?style=format2")).await;
    assert!(
        String::from_utf8(yaml.body)
            .unwrap()
            .contains("class: GalaxyWorkflow")
    );
    server
        .get(&format!("{path}?style=poem"))
        .await
        .refused(400, 400_008);
    let counts = server
        .get(&format!("/api/workflows/{}/counts", id(&made)))
        .await
        .ok();
    assert_eq!(counts, json!({}));
}

#[tokio::test]
async fn a_rename_makes_a_revision_and_a_deleted_workflow_can_come_back() {
    let server = Server::start().await;
    let made = imported(&server, simple()).await;
    let path = format!("/api/workflows/{}", id(&made));
    let put = async |body: Value| server.call(&server.ada, "PUT", &path, Some(body)).await;
    let renamed = put(json!({"name": "other", "tags": ["a"], "menu_entry": true}))
        .await
        .ok();
    assert_eq!(
        (&renamed["name"], &renamed["version"]),
        (&json!("other"), &json!(1))
    );
    assert_eq!(renamed["show_in_tool_panel"], json!(true));
    assert_eq!(
        server.get(&format!("{path}?version=1")).await.ok(),
        server.get(&path).await.ok()
    );
    assert_eq!(
        server.get(&format!("{path}?version=0")).await.ok()["version"],
        json!(0)
    );
    server
        .get(&format!("{path}?version=2"))
        .await
        .refused(404, 404_001);
    let mut changed = simple();
    changed["steps"]["0"]["label"] = json!("better");
    let changed = put(json!({"workflow": changed})).await.ok();
    assert_eq!(changed["inputs"]["0"]["label"], json!("better"));
    let versions = server.get(&format!("{path}/versions")).await.ok();
    assert_eq!(versions.as_array().unwrap().len(), 3);
    for (body, code) in [
        (json!({"name": ""}), 400_004),
        (json!({"tags": "a"}), 400_004),
        (json!({"hidden": "perhaps"}), 400_004),
        (json!({"workflow": {"steps": {}}}), 400_008),
        (json!({"published": true, "importable": false}), 400_008),
    ] {
        put(body).await.refused(400, code);
    }

    let deleted = server.call(&server.ada, "DELETE", &path, None).await;
    assert_eq!(deleted.status, 204);
    assert_eq!(server.get("/api/workflows").await.ok(), json!([]));
    assert_eq!(
        server
            .get("/api/workflows?show_deleted=true")
            .await
            .ok()
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        server
            .post(&format!("{path}/undelete"), json!({}))
            .await
            .status,
        204
    );
    assert_eq!(
        server
            .get("/api/workflows")
            .await
            .ok()
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn others_see_a_workflow_when_it_is_shared_and_never_change_it() {
    let server = Server::start().await;
    let made = imported(&server, simple()).await;
    let path = format!("/api/workflows/{}", id(&made));
    let bob =
        async |method: &str, path: &str, body| server.call(&server.bob, method, path, body).await;
    bob("GET", &path, None).await.refused(403, 403_002);
    bob("DELETE", &path, None).await.refused(403, 403_002);
    let put = async |what: &str, body| {
        let path = format!("{path}/{what}");
        server.call(&server.ada, "PUT", &path, Some(body)).await
    };
    let shared = put(
        "share_with_users",
        json!({"user_ids": ["bob@example.org", "x@example.org"]}),
    )
    .await
    .ok();
    assert_eq!(shared["users_shared_with"].as_array().unwrap().len(), 1);
    assert_eq!(shared["errors"].as_array().unwrap().len(), 1);
    bob("GET", &path, None).await.ok();
    bob("PUT", &path, Some(json!({"name": "mine"})))
        .await
        .refused(403, 403_003);
    let copy = bob(
        "POST",
        "/api/workflows",
        Some(json!({"shared_workflow_id": made["id"]})),
    )
    .await
    .ok();
    assert_eq!(
        (&copy["name"], &copy["owner"]),
        (&json!("imported: simple"), &json!("bob"))
    );

    assert_eq!(
        put("publish", json!({})).await.ok()["published"],
        json!(true)
    );
    bob("PUT", &path, Some(json!({"name": "mine"})))
        .await
        .refused(403, 403_003);
    let nobody = server.call("", "GET", "/api/workflows", None).await.ok();
    assert_eq!(nobody[0]["id"], made["id"]);
    assert_eq!(
        put("disable_link_access", json!({})).await.ok()["published"],
        json!(false)
    );
    assert_eq!(
        put("slug", json!({"new_slug": "my-flow"})).await.status,
        204
    );
    put("slug", json!({"new_slug": "My flow"}))
        .await
        .refused(400, 400_004);
    let second = imported(&server, simple()).await;
    let path = format!("/api/workflows/{}/slug", id(&second));
    let taken = server
        .call(
            &server.ada,
            "PUT",
            &path,
            Some(json!({"new_slug": "my-flow"})),
        )
        .await;
    taken.refused(400, 400_006);
}

#[tokio::test]
async fn bad_imports_are_refused_with_galaxys_codes() {
    let server = Server::start().await;
    let cases = [
        (json!({}), 400, 400_007),
        (json!({"workflow": null}), 400, 400_007),
        (
            json!({"workflow": simple(), "archive_source": "data:,x"}),
            400,
            400_008,
        ),
        (json!({"workflow": {"steps": {}}}), 400, 400_008),
        (
            json!({"workflow": simple(), "publish": true, "importable": false}),
            400,
            400_008,
        ),
        (
            json!({"workflow": simple(), "publish": "maybe"}),
            400,
            400_008,
        ),
        (
            json!({"archive_source": "https://example.org/w.ga"}),
            403,
            403_004,
        ),
        (json!({"from_path": "/etc/passwd"}), 403, 403_006),
        (
            json!({"workflow": {"src": "from_path", "path": "/etc/passwd"}}),
            403,
            403_006,
        ),
        (
            json!({"workflow": {"class": "GalaxyWorkflow", "path": "/etc/passwd"}}),
            400,
            400_005,
        ),
        (json!({"shared_workflow_id": "nonsense"}), 400, 400_009),
        (json!({"from_history_id": "x"}), 400, 400_009),
    ];
    for (body, status, code) in cases {
        server
            .post("/api/workflows", body)
            .await
            .refused(status, code);
    }
    let nobody = server
        .call(
            "",
            "POST",
            "/api/workflows",
            Some(json!({"workflow": simple()})),
        )
        .await;
    nobody.refused(403, 403_001);
    for path in [
        "/api/workflows/zzz",
        "/api/workflows/zzz/versions",
        "/api/workflows?limit=0",
    ] {
        assert_eq!(server.get(path).await.status, 400, "{path}");
    }
    let unknown = server.app.encode(999);
    server
        .get(&format!("/api/workflows/{unknown}"))
        .await
        .refused(404, 404_001);
}

#[tokio::test]
async fn an_archive_says_what_is_wrong_with_it() {
    let server = Server::start().await;
    let text = simple().to_string();
    let encoded = percent_encoding::utf8_percent_encode(&text, percent_encoding::NON_ALPHANUMERIC);
    let body = json!({"archive_source": format!("data:application/json,{encoded}")});
    let made = server.post("/api/workflows", body).await.ok();
    assert_eq!(made["status"], json!("error"));
    assert!(
        made["message"]
            .as_str()
            .unwrap()
            .contains("validation errors")
    );
    let shown = server
        .get(&format!("/api/workflows/{}", id(&made)))
        .await
        .ok();
    assert_eq!(shown["name"], json!("simple (imported from URL)"));
}

#[tokio::test]
async fn pause_is_offered_to_editors_when_it_is_switched_on() {
    let offers = async |beta: bool| {
        let server = Server::start().await;
        let mut seams = server.app.seams().clone();
        seams.workflows.enable_beta_workflow_modules = beta;
        let fresh = Server::start().await;
        fresh.app.wire(seams);
        let modules = fresh.get("/api/workflows/modules").await.ok();
        modules
            .as_array()
            .unwrap()
            .iter()
            .any(|module| module["type"] == "pause")
    };
    assert!(!offers(false).await);
    assert!(offers(true).await);
}

#[tokio::test]
async fn a_workflow_is_refactored_dry_and_for_good() {
    let server = Server::start().await;
    let made = imported(&server, simple()).await;
    let path = format!("/api/workflows/{}/refactor", id(&made));
    let put = async |body: Value| server.call(&server.ada, "PUT", &path, Some(body)).await;
    let actions = json!([
        {"action_type": "add_input", "type": "data", "label": "foo"},
        {"action_type": "update_step_label", "label": "bar", "step": {"label": "foo"}},
    ]);
    let dry = put(json!({"actions": actions, "dry_run": true})).await.ok();
    assert_eq!(dry["action_executions"].as_array().map(Vec::len), Some(2));
    assert_eq!(
        dry["workflow"]["steps"]
            .as_object()
            .map(serde_json::Map::len),
        Some(3)
    );
    let shown = async || {
        server
            .get(&format!("/api/workflows/{}", id(&made)))
            .await
            .ok()
    };
    assert_eq!(shown().await["version"], 0);
    put(json!({"actions": actions})).await.ok();
    let after = shown().await;
    assert_eq!(after["version"], 1);
    let inputs = after["inputs"].as_object().expect("inputs");
    assert!(
        inputs.values().any(|input| input["label"] == "bar"),
        "{after}"
    );
    for body in [
        json!({"actions": 7}),
        json!({"actions": [7]}),
        json!({"actions": [{"action_type": "no"}]}),
        json!({"actions": [], "dry_run": "x"}),
    ] {
        put(body).await.refused(400, 400_008);
    }
    put(json!({})).await.refused(400, 400_007);
    let theirs = server
        .call(&server.bob, "PUT", &path, Some(json!({"actions": []})))
        .await;
    theirs.refused(403, 403_002);
}

#[tokio::test]
async fn a_workflow_is_extracted_from_a_history() {
    let server = Server::start().await;
    let h = server.history().await;
    server.pastes(&h, 2).await;
    let extract = async |body: Value| {
        let mut whole = json!({"from_history_id": h, "workflow_name": "new"});
        for (key, value) in body.as_object().into_iter().flatten() {
            whole[key] = value.clone();
        }
        server.post("/api/workflows", whole).await
    };
    let made = extract(json!({"dataset_ids": [1, "2"], "dataset_names": ["reads"]}))
        .await
        .ok();
    let shown = server
        .get(&format!("/api/workflows/{}", id(&made)))
        .await
        .ok();
    assert_eq!(shown["name"], "new");
    let labels = [
        &shown["inputs"]["0"]["label"],
        &shown["inputs"]["1"]["label"],
    ];
    assert_eq!(labels, [&json!("reads"), &json!("Input Dataset")]);
    extract(json!({"dataset_ids": [9]}))
        .await
        .refused(404, 404_001);
    extract(json!({"dataset_ids": "x"}))
        .await
        .refused(400, 400_003);
    extract(json!({"dataset_ids": [{}]}))
        .await
        .refused(400, 400_008);
    extract(json!({"job_ids": ["nonsense"]}))
        .await
        .refused(400, 400_009);
    extract(json!({"job_ids": [7]})).await.refused(400, 400_008);
    extract(json!({"workflow_name": 7}))
        .await
        .refused(400, 400_008);
    let body = json!({"from_history_id": h, "dataset_ids": [1]});
    let theirs = server
        .call(&server.bob, "POST", "/api/workflows", Some(body))
        .await;
    theirs.refused(403, 403_002);
}

crate::store::testing::on_postgres_too!(
    a_workflow_is_imported_shown_listed_and_downloaded,
    a_rename_makes_a_revision_and_a_deleted_workflow_can_come_back,
    others_see_a_workflow_when_it_is_shared_and_never_change_it,
    bad_imports_are_refused_with_galaxys_codes,
    an_archive_says_what_is_wrong_with_it,
    pause_is_offered_to_editors_when_it_is_switched_on,
    a_workflow_is_refactored_dry_and_for_good,
    a_workflow_is_extracted_from_a_history,
);
