use axum::body::Body;
use axum::http::Request;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{ADMIN_KEY, Server};

#[tokio::test]
async fn a_key_may_come_in_three_ways() {
    let server = Server::start().await;
    for request in [
        Request::get("/api/whoami").header("x-api-key", &server.ada),
        Request::get("/api/whoami").header("authorization", format!("Bearer {}", server.ada)),
        Request::get(format!("/api/whoami?key={}", server.ada)),
    ] {
        let answer = server
            .send(request.body(Body::empty()).expect("a request"))
            .await;
        assert_eq!(answer.ok()["username"], "ada");
    }
    assert_eq!(
        server.call("", "GET", "/api/whoami", None).await.ok(),
        Value::Null
    );
    server
        .call("wrong", "GET", "/api/whoami", None)
        .await
        .refused(401, 401_001);
}

#[tokio::test]
async fn a_new_key_expires_the_old_one_at_once() {
    let server = Server::start().await;
    server.get("/api/whoami").await.ok();
    let key = server
        .post("/api/users/current/api_key", json!({}))
        .await
        .ok();
    let key = key.as_str().expect("a bare string").to_owned();
    let old = server.get("/api/whoami").await;
    old.refused(401, 401_001);
    assert!(
        old.json()["err_msg"]
            .as_str()
            .expect("a sentence")
            .contains("expired")
    );
    server.call(&key, "GET", "/api/whoami", None).await.ok();
    let shown = server
        .call(&key, "GET", "/api/users/current/api_key", None)
        .await
        .ok();
    assert_eq!(shown, json!(key));
}

#[tokio::test]
async fn an_administrator_makes_users_and_their_keys_and_deletes_them() {
    let server = Server::start().await;
    let admin = |method: &'static str, path: String, body: Value| {
        let server = &server;
        async move { server.call(ADMIN_KEY, method, &path, Some(body)).await }
    };
    let new = json!({"username": "eve", "email": "eve@example.org", "password": "correct horse"});
    let eve = admin("POST", "/api/users".into(), new.clone()).await.ok();
    let id = eve["id"].as_str().expect("an id");
    admin("POST", "/api/users".into(), new)
        .await
        .refused(409, 409_001);
    admin("POST", "/api/users".into(), json!({"username": "x"}))
        .await
        .refused(400, 400_007);
    server
        .call(&server.ada, "POST", "/api/users", Some(json!({})))
        .await
        .refused(400, 400_007);
    let found = server
        .call(ADMIN_KEY, "GET", "/api/users?f_email=eve", None)
        .await
        .ok();
    assert_eq!(found[0]["id"], id);
    let none = server
        .call(
            ADMIN_KEY,
            "GET",
            &format!("/api/users/{id}/api_key/detailed"),
            None,
        )
        .await;
    assert_eq!(none.status, 204);
    let key = server
        .call(ADMIN_KEY, "GET", &format!("/api/users/{id}/api_key"), None)
        .await
        .ok();
    let hidden = server
        .call(ADMIN_KEY, "GET", &format!("/api/users/{id}/api_key"), None)
        .await;
    assert_eq!(
        hidden.status, 204,
        "an existing key is not shown and not replaced"
    );
    let key = key.as_str().expect("a key").to_owned();
    server
        .call(&key, "GET", "/api/users/current", None)
        .await
        .ok();
    admin("DELETE", format!("/api/users/{id}?purge=True"), json!({}))
        .await
        .refused(400, 0);
    assert_eq!(
        admin("DELETE", format!("/api/users/{id}"), json!({}))
            .await
            .ok()["deleted"],
        true
    );
    server
        .call(&key, "GET", "/api/whoami", None)
        .await
        .refused(401, 401_001);
    let get = |path: String| admin("GET", path, Value::Null);
    let listed = get("/api/users/deleted".into()).await.ok();
    assert_eq!(listed.as_array().map(Vec::len), Some(1));
    assert_eq!(listed[0]["id"], id);
    let shown = get(format!("/api/users/deleted/{id}")).await.ok();
    assert_eq!(shown["deleted"], true);
    let ada = server.get("/api/users/current").await.ok();
    let ada = ada["id"].as_str().expect("an id");
    get(format!("/api/users/deleted/{ada}"))
        .await
        .refused(404, 404_001);
    for path in [
        "/api/users/deleted".to_owned(),
        format!("/api/users/deleted/{id}"),
    ] {
        server.get(&path).await.refused(403, 403_006);
    }
    let purged = admin("DELETE", format!("/api/users/{id}"), json!({"purge": true}))
        .await
        .ok();
    assert!(purged["purged"] == true && purged["email"] != "eve@example.org");
}

#[tokio::test]
async fn somebody_elses_account_answers_as_if_it_were_not_there() {
    let server = Server::start().await;
    let bob = server
        .call(&server.bob, "GET", "/api/users/current", None)
        .await
        .ok();
    let id = bob["id"].as_str().expect("an id");
    server
        .get(&format!("/api/users/{id}"))
        .await
        .refused(404, 404_001);
    server
        .post(&format!("/api/users/{id}/api_key"), json!({}))
        .await
        .refused(404, 404_001);
    assert_eq!(
        server.get("/api/users").await.ok().as_array().map(Vec::len),
        Some(1)
    );
}

#[tokio::test]
async fn a_password_gives_a_session_key_beside_the_api_key() {
    let server = Server::start().await;
    let new = json!({"username": "eve", "email": "eve@example.org", "password": "correct horse"});
    let eve = server
        .call(ADMIN_KEY, "POST", "/api/users", Some(new))
        .await
        .ok();
    let path = format!("/api/users/{}/api_key", eve["id"].as_str().expect("an id"));
    let api_key = server.call(ADMIN_KEY, "POST", &path, None).await.ok();
    let login = |header: String| {
        let request = Request::get("/api/authenticate/baseauth").header("authorization", header);
        server.send(request.body(Body::empty()).expect("a request"))
    };
    let text = STANDARD.encode("eve@example.org:correct horse");
    for header in [text.clone(), format!("Basic {text}")] {
        let key = login(header).await.ok()["api_key"].clone();
        server
            .call(key.as_str().expect("a key"), "GET", "/api/whoami", None)
            .await
            .ok();
    }
    server
        .call(api_key.as_str().expect("a key"), "GET", "/api/whoami", None)
        .await
        .ok();
    login(STANDARD.encode("eve@example.org:wrong"))
        .await
        .refused(401, 401_001);
    login(STANDARD.encode("nobody@example.org:wrong"))
        .await
        .refused(401, 401_001);
}

#[tokio::test]
async fn only_administrators_act_as_others() {
    let server = Server::start().await;
    let bob = server
        .call(&server.bob, "GET", "/api/whoami", None)
        .await
        .ok();
    let as_bob = |key: &str, who: &str| {
        let request = Request::get("/api/whoami")
            .header("x-api-key", key)
            .header("run-as", who);
        server.send(request.body(Body::empty()).expect("a request"))
    };
    let id = bob["id"].as_str().expect("an id");
    assert_eq!(as_bob(ADMIN_KEY, id).await.ok()["username"], "bob");
    as_bob(&server.ada, id).await.refused(403, 400_001);
    as_bob(ADMIN_KEY, "nonsense").await.refused(400, 400_002);
}

crate::store::testing::on_postgres_too!(
    a_key_may_come_in_three_ways,
    a_new_key_expires_the_old_one_at_once,
    an_administrator_makes_users_and_their_keys_and_deletes_them,
    somebody_elses_account_answers_as_if_it_were_not_there,
    a_password_gives_a_session_key_beside_the_api_key,
    only_administrators_act_as_others,
);
