use std::sync::{Arc, Mutex, OnceLock};

use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use crate::http::app::App;
use crate::http::seams::{Seams, ToolRunAnswer, ToolRunRequest, ToolRuns};
use crate::http::tests::Server;
use crate::http::{ApiError, Settings};
use crate::store::Durability;
use crate::store::dynamic_tools::{self, NewDynamicTool};
use crate::store::tool_requests::{self, NewToolRequest, State};
use crate::tools::Toolbox;

/// Makes no jobs; what was asked for in the strict form is kept, as the one behind the door does.
#[derive(Default)]
struct Recorded(Mutex<Vec<ToolRunRequest>>, OnceLock<App>);

impl ToolRuns for Recorded {
    fn run(&self, request: ToolRunRequest) -> BoxFuture<'_, Result<ToolRunAnswer, ApiError>> {
        self.0.lock().unwrap().push(request.clone());
        Box::pin(async move {
            let mut answer = ToolRunAnswer::default();
            if let (Some(note), Some(app)) = (&request.note, self.1.get()) {
                let new = NewToolRequest {
                    user_id: request.user_id,
                    history_id: request.history_id,
                    request: note,
                    state: State::Submitted,
                    state_message: None,
                    jobs: &[],
                    implicit_collections: &[],
                };
                let mut tx = app.store.begin().await?;
                answer.noted = Some(tool_requests::create(&mut tx, &new, app.now_ms()).await?);
                tx.commit(Durability::Progress, "test").await?;
            }
            Ok(answer)
        })
    }
}

fn tool(class: &str) -> Value {
    json!({"class": class, "id": "lines", "name": "Some lines", "version": "1.0", "container": "busybox",
        "shell_command": "head -n $(inputs.count) '$(inputs.source.path)' > out",
        "inputs": [{"name": "source", "type": "data"}, {"name": "count", "type": "integer", "value": 3}],
        "outputs": [{"name": "out", "type": "data", "format": "txt", "from_work_dir": "out"}]})
}

async fn server() -> (Server, Arc<Recorded>, tempfile::TempDir) {
    server_with(Settings {
        enable_user_defined_tools: true,
        ..Settings::default()
    })
    .await
}

async fn server_with(settings: Settings) -> (Server, Arc<Recorded>, tempfile::TempDir) {
    let server = Server::with(settings).await;
    let tools = tempfile::tempdir().unwrap();
    std::fs::write(
        tools.path().join("lines.yml"),
        tool("GalaxyTool").to_string(),
    )
    .unwrap();
    let recorded = Arc::new(Recorded::default());
    let mut seams = Seams::unwired(Arc::new(Toolbox::new(vec![tools.path().to_owned()])));
    seams.tool_runs = recorded.clone();
    server.app.wire(seams);
    let _ = recorded.1.set(server.app.clone());
    (server, recorded, tools)
}

#[tokio::test]
async fn tools_are_listed_shown_and_built() {
    let (server, _, _tools) = server().await;
    let flat = server.get("/api/tools?in_panel=False").await.ok();
    assert!(
        flat.as_array()
            .unwrap()
            .iter()
            .any(|tool| tool["id"] == "lines")
    );
    let panel = server.get("/api/tools?in_panel=True").await.ok();
    assert!(
        panel[0]["elems"]
            .as_array()
            .is_some_and(|elems| !elems.is_empty())
    );
    let shown = server.get("/api/tools/lines?io_details=True").await.ok();
    assert_eq!(shown["inputs"].as_array().unwrap().len(), 2);
    let source = server.get("/api/tools/lines/raw_tool_source").await;
    assert!(
        String::from_utf8(source.body)
            .unwrap()
            .contains("shell_command")
    );
    let built = server
        .post("/api/tools/lines/build", json!({"inputs": {"count": 8}}))
        .await
        .ok();
    assert_eq!(built["inputs"].as_array().unwrap().len(), 2);
    server.get("/api/tools/lines/test_data").await.ok();
    server
        .get("/api/tools/no/such%20tool/1.0")
        .await
        .refused(404, 404_001);
    server
        .call(&server.ada, "PUT", "/api/configuration/toolbox", None)
        .await
        .refused(403, 403_006);
}

#[tokio::test]
async fn a_tool_is_handed_over_with_its_inputs_in_one_form() {
    let (server, recorded, _tools) = server().await;
    let history = server.history().await;
    let hda = server.pastes(&history, 1).await.remove(0);
    let source = json!({"src": "hda", "id": hda});
    let body = |inputs: Value| json!({"tool_id": "lines", "history_id": history, "inputs": inputs});
    let made = server
        .post("/api/tools", body(json!({"source": source, "count": "8"})))
        .await
        .ok();
    assert_eq!((&made["outputs"], &made["jobs"]), (&json!([]), &json!([])));
    let request = recorded.0.lock().unwrap().pop().unwrap();
    assert_eq!(request.runs[0].state["count"], json!(8));
    assert_eq!(
        request.runs[0].state["source"]["id"],
        json!(server.app.decode(&hda).unwrap())
    );
    let refused = server
        .post("/api/tools", body(json!({"source": source, "count": "x"})))
        .await;
    refused.refused(400, 0);
    assert!(refused.json()["err_data"]["count"].is_string());
    let cases = [
        (json!({}), 400, 400_007),
        (json!({"tool_id": "nothing"}), 404, 404_001),
        (
            json!({"tool_id": "lines", "history_id": "zz", "inputs": {}}),
            400,
            400_009,
        ),
        (json!({"tool_id": "lines", "inputs": "{"}), 400, 400_008),
        (
            body(json!({"source": {"src": "hda", "id": server.app.encode(999)}})),
            404,
            404_001,
        ),
    ];
    for (body, status, code) in cases {
        server.post("/api/tools", body).await.refused(status, code);
    }
    let bobs = server
        .call(
            &server.bob,
            "POST",
            "/api/tools",
            Some(body(json!({"source": source}))),
        )
        .await;
    bobs.refused(403, 403_002);
}

#[tokio::test]
async fn a_users_own_tool_is_theirs_alone() {
    let (server, recorded, _tools) = server().await;
    let body = json!({"src": "representation", "representation": tool("GalaxyUserTool")});
    let made = server.post("/api/unprivileged_tools", body).await.ok();
    let uuid = made["uuid"].as_str().unwrap();
    let path = format!("/api/unprivileged_tools/{uuid}");
    assert_eq!(server.get(&path).await.ok()["tool_id"], json!("lines"));
    server
        .call(&server.bob, "GET", &path, None)
        .await
        .refused(404, 404_001);
    let history = server.history().await;
    let hda = server.pastes(&history, 1).await.remove(0);
    let run = json!({"tool_uuid": uuid, "history_id": history, "inputs": {"source": {"src": "hda", "id": hda}}});
    server.post("/api/tools", run.clone()).await.ok();
    assert!(recorded.0.lock().unwrap()[0].dynamic_tool_id.is_some());
    server
        .call(&server.bob, "POST", "/api/tools", Some(run))
        .await
        .refused(404, 404_001);

    let operators = json!({"representation": tool("GalaxyTool")});
    server
        .post("/api/unprivileged_tools", operators.clone())
        .await
        .refused(403, 403_005);
    server
        .post("/api/dynamic_tools", operators)
        .await
        .refused(403, 403_006);
    server
        .post(
            "/api/unprivileged_tools",
            json!({"representation": {"class": "GalaxyUserTool"}}),
        )
        .await
        .refused(400, 0);
    server.call(&server.ada, "DELETE", &path, None).await.ok();
    server.get(&path).await.refused(404, 404_001);
    assert_eq!(server.get("/api/unprivileged_tools").await.ok(), json!([]));
}

#[tokio::test]
async fn a_tool_that_comes_with_a_workflow_is_stored_with_it() {
    let (server, _, _tools) = server().await;
    let workflow = json!({"a_galaxy_workflow": "true", "format-version": "0.1", "name": "w", "steps": {"0": {
        "id": 0, "type": "tool", "tool_id": "lines", "name": "t", "tool_state": "{}", "input_connections": {},
        "tool_representation": tool("GalaxyUserTool")}}});
    server
        .post("/api/workflows", json!({"workflow": workflow}))
        .await
        .ok();
    let tools = server.get("/api/unprivileged_tools").await.ok();
    assert_eq!(tools[0]["tool_id"], json!("lines"));
    let mut operators = workflow;
    operators["steps"]["0"]["tool_representation"] = tool("GalaxyTool");
    server
        .post("/api/workflows", json!({"workflow": operators}))
        .await
        .refused(403, 403_006);
}

#[tokio::test]
async fn users_define_no_tools_unless_the_operator_lets_them() {
    let (server, _, _tools) = server_with(Settings::default()).await;
    let body = json!({"representation": tool("GalaxyUserTool")});
    for path in ["/api/unprivileged_tools", "/api/unprivileged_tools/build"] {
        server.post(path, body.clone()).await.refused(403, 403_004);
    }
    let workflow = json!({"a_galaxy_workflow": "true", "format-version": "0.1", "name": "w", "steps": {"0": {
        "id": 0, "type": "tool", "tool_id": "lines", "name": "t", "tool_state": "{}", "input_connections": {},
        "tool_representation": tool("GalaxyUserTool")}}});
    server
        .post("/api/workflows", json!({"workflow": workflow}))
        .await
        .refused(403, 403_004);

    // Defined while it was allowed.
    let row = NewDynamicTool {
        uuid: uuid::Uuid::from_u128(7),
        user_id: Some(1),
        tool_id: "lines",
        tool_version: "1.0",
        hidden: false,
        value: &tool("GalaxyUserTool"),
    };
    let mut tx = server.app.store.begin().await.unwrap();
    dynamic_tools::create(&mut tx, &server.app.store.ids, &row, 1)
        .await
        .unwrap();
    tx.commit(Durability::Acknowledged, "test").await.unwrap();
    assert_eq!(
        server.get("/api/unprivileged_tools").await.ok()[0]["tool_id"],
        json!("lines"),
        "the tool is the caller's"
    );
    let history = server.history().await;
    server
        .post(
            "/api/tools",
            json!({"tool_uuid": row.uuid.to_string(), "history_id": history, "inputs": {}}),
        )
        .await
        .refused(404, 404_001);
}

#[tokio::test]
async fn an_element_of_a_collection_can_be_given_to_a_tool() {
    let (server, recorded, _tools) = server().await;
    let history = server.history().await;
    let hda = server.pastes(&history, 1).await.remove(0);
    let list = json!({"collection_type": "list", "instance_type": "history", "history_id": history, "name": "l",
        "element_identifiers": [{"name": "a", "src": "hda", "id": hda}]});
    let list = server.post("/api/dataset_collections", list).await.ok();
    let element = json!({"src": "dce", "id": list["elements"][0]["id"]});
    let body = json!({"tool_id": "lines", "history_id": history, "inputs": {"source": element}});
    server.post("/api/tools", body.clone()).await.ok();
    let request = recorded.0.lock().unwrap().pop().unwrap();
    assert_eq!(request.runs[0].state["source"]["src"], "dce");
    let history = server
        .call(&server.bob, "POST", "/api/histories", Some(json!({})))
        .await
        .ok();
    let mut bobs = body;
    bobs["history_id"] = history["id"].clone();
    let refused = server
        .call(&server.bob, "POST", "/api/tools", Some(bobs.clone()))
        .await;
    refused.refused(403, 403_002);
    bobs["inputs"]["source"]["id"] = json!(server.app.encode(999));
    let missing = server
        .call(&server.bob, "POST", "/api/tools", Some(bobs))
        .await;
    missing.refused(404, 404_001);
}

#[tokio::test]
async fn a_strict_request_is_kept_with_what_became_of_it() {
    let (server, recorded, _tools) = server().await;
    let history = server.history().await;
    let hda = server.pastes(&history, 1).await.remove(0);
    let inputs = json!({"source": {"src": "hda", "id": hda}, "count": 8});
    let body = json!({"tool_id": "lines", "history_id": history, "inputs": inputs, "use_cached_jobs": true});
    let asked = server.post("/api/jobs", body.clone()).await.ok();
    let id = asked["tool_request_id"].as_str().expect("an id").to_owned();
    let request = recorded.0.lock().unwrap().pop().unwrap();
    assert_eq!(request.runs[0].state["count"], json!(8));
    assert!(request.use_cached_job);
    let state = server.get(&format!("/api/tool_requests/{id}/state")).await;
    assert_eq!(state.ok(), "submitted");
    let shown = server.get(&format!("/api/tool_requests/{id}")).await.ok();
    assert_eq!(shown["request"]["inputs"], inputs);
    assert_eq!(
        (&shown["jobs"], &shown["state_message"]),
        (&json!([]), &Value::Null)
    );
    let path = format!("/api/histories/{history}/tool_requests");
    assert_eq!(server.get(&path).await.ok()[0]["id"], id.as_str());
    server
        .get(&format!("/api/jobs?tool_request_id={id}"))
        .await
        .ok();
    let bobs = |path: String| {
        let server = &server;
        async move { server.call(&server.bob, "GET", &path, None).await }
    };
    bobs(format!("/api/tool_requests/{id}"))
        .await
        .refused(403, 403_002);
    bobs(path).await.refused(403, 403_002);
    server
        .get(&format!("/api/tool_requests/{}", server.app.encode(99)))
        .await
        .refused(404, 404_001);
    // The strict form takes no number for a text, and no input that the tool does not have.
    for wrong in [
        json!({"count": "8"}),
        json!({"lines": 8}),
        json!({"source": {"src": "hdca", "id": hda}}),
    ] {
        let mut body = body.clone();
        for (name, value) in wrong.as_object().expect("an object") {
            body["inputs"][name] = value.clone();
        }
        let refused = server.post("/api/jobs", body).await;
        refused.refused(400, 0);
        assert_eq!(
            refused.json()["err_data"].as_object().map(|d| d.len()),
            Some(1)
        );
    }
    server
        .post("/api/jobs", json!({"inputs": {}}))
        .await
        .refused(400, 400_007);
    server
        .post("/api/jobs", json!({"tool_id": "none"}))
        .await
        .refused(404, 404_001);
}

crate::store::testing::on_postgres_too!(
    an_element_of_a_collection_can_be_given_to_a_tool,
    a_strict_request_is_kept_with_what_became_of_it,
    tools_are_listed_shown_and_built,
    a_tool_is_handed_over_with_its_inputs_in_one_form,
    a_users_own_tool_is_theirs_alone,
    a_tool_that_comes_with_a_workflow_is_stored_with_it,
    users_define_no_tools_unless_the_operator_lets_them,
);
