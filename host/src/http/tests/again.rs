use axum::body::Body;
use axum::http::Request;
use serde_json::json;
use tower::ServiceExt as _;

use super::Server;
use crate::args;
use crate::store::{Durability, Query as _};

const ATTEMPTS: usize = 5;

/// Sends a request that is blocked by a transaction which holds rows of the table `first`, and then wants those of `second`,
/// which the request has. The database undoes one of the two; where that is the request, its client does not notice.
async fn send_into_deadlock(
    server: &Server,
    request: (&str, &str, Option<serde_json::Value>),
    first: &'static str,
    second: &'static str,
) -> serde_json::Value {
    let (method, path, body) = request;
    let store = &server.app.store;
    for _ in 0..ATTEMPTS {
        let all = |table: &str| format!("SELECT id FROM {table}");
        let mut tx = store.begin().await.expect("begins");
        let mut held = Vec::new();
        for row in tx.all(all(first), args![]).await.expect("rows") {
            held.push(row.get::<i64>(0).expect("an id"));
        }
        let mut wanted = Vec::new();
        for row in tx.all(all(second), args![]).await.expect("rows") {
            wanted.push(row.get::<i64>(0).expect("an id"));
        }
        if !tx.has_rivals() {
            drop(tx);
            return server.call(&server.ada, method, path, body).await.ok();
        }
        tx.lock(first, &held).await.expect("nobody has them");
        let text = body
            .as_ref()
            .map_or(Body::empty(), |b| Body::from(b.to_string()));
        let sent = Request::builder()
            .method(method)
            .uri(path)
            .header("x-api-key", &server.ada)
            .body(text)
            .expect("a request");
        let answer = tokio::spawn(server.router.clone().oneshot(sent));
        let waits = "SELECT 1 FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
                     WHERE NOT l.granted AND a.datname = current_database()";
        let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while store
            .reader()
            .maybe(waits, args![])
            .await
            .expect("read")
            .is_none()
        {
            assert!(
                std::time::Instant::now() < end && !answer.is_finished(),
                "it is not blocked"
            );
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        let was_undone = tx.lock(second, &wanted).await.is_err();
        let committed = match was_undone {
            true => Ok(()),
            false => tx.commit(Durability::Progress, "test").await,
        };
        committed.expect("commits");
        let response = answer.await.expect("ran").expect("infallible");
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await;
        let bytes = bytes.expect("a body");
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&bytes));
        if !was_undone {
            return serde_json::from_slice(&bytes).expect("JSON");
        }
        // This machine was too slow, and the other side was undone: there is nothing to be seen. Once more.
    }
    panic!("the database never undid the request");
}

#[tokio::test]
async fn purging_a_history_is_handled_again_when_the_database_undid_it() {
    let server = Server::start().await;
    let history = server.history().await;
    server.pastes(&history, 3).await;
    let path = format!("/api/histories/{history}");
    let update = json!({"name": "renamed", "purged": true});
    let answer = send_into_deadlock(
        &server,
        ("PUT", &path, Some(update)),
        "history_dataset_association",
        "history",
    );
    assert_eq!(answer.await["purged"], json!(true));
}

#[tokio::test]
async fn purging_a_dataset_is_handled_again_when_the_database_undid_it() {
    let server = Server::start().await;
    let history = server.history().await;
    let ids = server.pastes(&history, 1).await;
    let path = format!("/api/histories/{history}/contents/{}?purge=true", ids[0]);
    let answer = send_into_deadlock(
        &server,
        ("DELETE", &path, None),
        "dataset",
        "history_dataset_association",
    );
    assert_eq!(answer.await["purged"], json!(true));
}

crate::store::testing::on_postgres_too!(
    purging_a_history_is_handled_again_when_the_database_undid_it,
    purging_a_dataset_is_handled_again_when_the_database_undid_it,
);
