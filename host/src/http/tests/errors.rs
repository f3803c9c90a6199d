use axum::body::Body;
use axum::http::Request;
use serde_json::json;

use super::{ADMIN_KEY, Answer, Server};
use crate::args;
use crate::http::Settings;
use crate::store::Durability;

#[tokio::test]
async fn every_kind_of_bad_input_has_galaxys_code() {
    let server = Server::start().await;
    let h = server.history().await;
    let unknown = server.app.encode(999_999);
    let cases: Vec<(&str, String, &str, u16, u32)> = vec![
        ("GET", "/api/nothing".into(), "", 404, 404_001),
        ("DELETE", "/api/version".into(), "", 405, 405_001),
        ("GET", "/api/histories/nonsense".into(), "", 400, 400_009),
        ("GET", "/api/histories/%ff".into(), "", 400, 400_008),
        ("PUT", "/api/histories/%ff".into(), "{}", 400, 400_008),
        ("GET", format!("/api/histories/{unknown}"), "", 404, 404_001),
        ("GET", format!("/api/datasets/{unknown}"), "", 404, 404_001),
        (
            "GET",
            format!("/api/dataset_collections/{unknown}"),
            "",
            404,
            404_001,
        ),
        ("PUT", format!("/api/histories/{h}"), "{", 400, 400_003),
        (
            "PUT",
            format!("/api/histories/{h}"),
            r#"{"name": 5}"#,
            400,
            400_008,
        ),
        (
            "POST",
            "/api/dataset_collections".into(),
            "{}",
            400,
            400_007,
        ),
        (
            "POST",
            format!("/api/histories/{h}/contents"),
            r#"{"type": "moon"}"#,
            400,
            400_010,
        ),
        (
            "GET",
            format!("/api/histories/{h}/contents?types=moon"),
            "",
            400,
            400_010,
        ),
        (
            "GET",
            format!("/api/histories/{h}/contents?limit=x"),
            "",
            400,
            400_008,
        ),
        (
            "GET",
            format!("/api/histories/{h}/contents?order=moon"),
            "",
            400,
            400_008,
        ),
        (
            "GET",
            format!("/api/histories/{h}/contents?q=state&qv=nonexistent_state"),
            "",
            400,
            400_008,
        ),
        (
            "GET",
            format!("/api/histories/{h}/contents?q=state"),
            "",
            400,
            400_008,
        ),
        (
            "GET",
            format!("/api/histories/{h}/contents?deleted=perhaps"),
            "",
            400,
            400_008,
        ),
        ("POST", "/api/tools/fetch".into(), "{}", 400, 400_007),
        ("GET", "/api/users".into(), "", 200, 0),
        ("GET", "/api/histories?all=True".into(), "", 403, 403_006),
        (
            "GET",
            "/api/configuration/encode/1".into(),
            "",
            403,
            403_006,
        ),
    ];
    for (method, path, body, status, code) in cases {
        let request = Request::builder()
            .method(method)
            .uri(&path)
            .header("x-api-key", &server.ada);
        let request = request.body(Body::from(body)).expect("a request");
        let answer = server.send(request).await;
        assert_eq!(answer.status, status, "{method} {path} {body}");
        if code > 0 {
            assert_eq!(answer.json()["err_code"], code, "{method} {path} {body}");
        }
    }
}

#[tokio::test]
async fn nobody_and_the_bootstrap_key_are_told_apart() {
    let server = Server::start().await;
    server
        .call("", "POST", "/api/histories", Some(json!({})))
        .await
        .refused(403, 403_001);
    server
        .call(ADMIN_KEY, "POST", "/api/histories", Some(json!({})))
        .await
        .refused(400, 400_016);
    server
        .call("", "GET", "/api/configuration/encode/1", None)
        .await
        .refused(403, 403_001);
    let encoded = server
        .call(ADMIN_KEY, "GET", "/api/configuration/encode/7", None)
        .await
        .ok();
    let path = format!(
        "/api/configuration/decode/{}",
        encoded["encoded_id"].as_str().expect("an id")
    );
    assert_eq!(
        server.call(ADMIN_KEY, "GET", &path, None).await.ok()["decoded_id"],
        7
    );
}

#[tokio::test]
async fn a_body_that_is_too_long_is_413() {
    let server = Server::with(Settings {
        body_max_bytes: 1000,
        ..Settings::default()
    })
    .await;
    let long = json!({"name": "x".repeat(2000)});
    server
        .post("/api/histories", long)
        .await
        .refused(413, 413_001);
}

#[tokio::test]
async fn nobodys_long_body_is_not_read_to_its_end() {
    let server = Server::start().await;
    let long = "[],".repeat(100_000);
    for content_type in ["application/json", "application/x-www-form-urlencoded"] {
        for path in ["/api/histories", "/api/users", "/api/workflows"] {
            let request = Request::post(path)
                .header("content-type", content_type)
                .body(Body::from(long.clone()))
                .expect("a request");
            server.send(request).await.refused(403, 403_001);
        }
    }
    let parts = "--B\r\ncontent-disposition: form-data; name=\"files_0|file_data\"; filename=\"a\"\r\n\r\nx\r\n--B--\r\n";
    let request = Request::post("/api/tools/fetch")
        .header("content-type", "multipart/form-data; boundary=B")
        .body(Body::from(parts))
        .expect("a request");
    server.send(request).await.refused(403, 403_001);
}

#[tokio::test]
async fn a_body_needs_no_content_type() {
    let server = Server::start().await;
    for content_type in ["", "text/plain", "application/json"] {
        let mut request = Request::post("/api/histories").header("x-api-key", &server.ada);
        if !content_type.is_empty() {
            request = request.header("content-type", content_type);
        }
        let request = request
            .body(Body::from(r#"{"name": "n"}"#))
            .expect("a request");
        assert_eq!(server.send(request).await.ok()["name"], "n");
    }
}

#[tokio::test]
async fn the_openapi_document_names_what_is_served() {
    let server = Server::start().await;
    let document = server.call("", "GET", "/api/openapi.json", None).await.ok();
    for path in [
        "/api/version",
        "/api/histories/{history_id}/contents",
        "/api/tools/fetch",
        "/api/datasets/{id}/display",
    ] {
        assert!(document["paths"][path].is_object(), "{path}");
    }
    for scheme in ["x-api-key", "bearer", "key"] {
        assert!(
            document["components"]["securitySchemes"][scheme].is_object(),
            "{scheme}"
        );
    }
}

#[tokio::test]
async fn what_breaks_inside_says_nothing_of_the_inside() {
    let server = Server::start().await;
    let tells_nothing = |answer: &Answer| {
        let text = String::from_utf8_lossy(&answer.body).to_lowercase();
        for inside in ["select", "pool", "closed", "no such", "relation", "table"] {
            assert!(!text.contains(inside), "{text}");
        }
    };
    // A table that is not there will not be there later either.
    let mut tx = server.app.store.begin().await.expect("begins");
    tx.run("ALTER TABLE history RENAME TO history_gone", args![])
        .await
        .expect("renamed");
    tx.commit(Durability::Acknowledged, "test.break")
        .await
        .expect("commits");
    let broken = server.get("/api/histories").await;
    broken.refused(500, 500_001);
    tells_nothing(&broken);
    // A database that is away may come back.
    server.app.store.db.close().await;
    let away = server.call("some key", "GET", "/api/histories", None).await;
    away.refused(503, 503_001);
    tells_nothing(&away);
}

crate::store::testing::on_postgres_too!(
    every_kind_of_bad_input_has_galaxys_code,
    nobody_and_the_bootstrap_key_are_told_apart,
    a_body_that_is_too_long_is_413,
    nobodys_long_body_is_not_read_to_its_end,
    a_body_needs_no_content_type,
    the_openapi_document_names_what_is_served,
    what_breaks_inside_says_nothing_of_the_inside,
);
