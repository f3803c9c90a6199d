//! Through the door: the runs and tasks of real and of seeded invocations.

mod runs;
mod submissions;
mod tasks;

use axum::body::Body;
use axum::http::Request;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::ROOT;
use crate::args;
use crate::http::tests::{Answer, Server, lines};
use crate::store::db::Query as _;
use crate::store::wes::seed::{Shape, seed};
use crate::store::{Durability, users};

/// A server with one tool.
async fn server() -> (Server, tempfile::TempDir) {
    let server = Server::start().await;
    let (seams, tools) = lines::seams();
    server.app.wire(seams);
    (server, tools)
}

fn workflow() -> Value {
    lines::workflow("cutting")
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
