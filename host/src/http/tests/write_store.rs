//! Archives that are put somewhere, also where several servers share the work.

use std::path::Path;

use serde_json::{Value, json};

use super::Server;
use super::exports::{eventually, import};
use crate::args;
use crate::clock::Clock;
use crate::http::exports::resume;
use crate::http::{App, Settings};
use crate::scheduling::signals::Signals;
use crate::store::Durability;
use crate::store::db::Query as _;
use crate::store::short_term_storage::{self, Wanted};
use crate::store::testing::TestStore;

async fn server(out: &Path) -> Server {
    Server::with(Settings {
        export_directories: vec![out.to_owned()],
        ..Settings::default()
    })
    .await
}

/// Another server with the same database and data directory.
async fn beside(server: &Server) -> App {
    let store = match server.app.store.is_shared() {
        true => TestStore::open_again(&server._directory).await,
        false => server.app.store.clone(),
    };
    let (data, settings) = (server.app.data.clone(), server.app.settings.clone());
    App::new(store, Clock::system(), Signals::default(), data, settings)
        .await
        .expect("an app")
}

/// Stores wishes that nobody works on yet; answers their ids.
async fn wishes(server: &Server, history: &str, requests: &[Value]) -> Vec<i64> {
    let history = server.app.decode(history).expect("an id");
    let mut tx = server.app.store.begin().await.expect("begins");
    let sql = "SELECT user_id FROM history WHERE id = $1";
    let row = tx.maybe(sql, args![history]).await.expect("read");
    let user_id = row.expect("a row").get(0).expect("an id");
    let mut ids = Vec::new();
    for request in requests {
        let wanted = Wanted {
            user_id,
            kind: "history",
            item_id: history,
            request,
            file_name: "h.tar.gz",
            media_type: "application/gzip",
        };
        let now = server.app.now_ms();
        let added = short_term_storage::add(&mut tx, &wanted, now).await;
        ids.push(added.expect("noted").0);
    }
    tx.commit(Durability::Progress, "test")
        .await
        .expect("stored");
    ids
}

fn to(out: &Path, name: &str) -> Value {
    json!({"model_store_format": "tgz", "target_uri": format!("file://{}/{name}", out.display())})
}

async fn state(server: &Server, id: i64) -> String {
    let found = short_term_storage::by_id(&mut server.app.store.reader(), id).await;
    found.expect("read").expect("a row").state
}

#[tokio::test]
async fn an_archive_is_put_where_the_operator_allows_it_and_nowhere_else() {
    let out = tempfile::tempdir().expect("a folder");
    let server = server(out.path()).await;
    let h = server.history().await;
    server.pastes(&h, 1).await;
    let path = format!("/api/histories/{h}/write_store");
    server.post(&path, json!({})).await.refused(400, 400_007);
    server
        .post(&path, json!({"target_uri": 7}))
        .await
        .refused(400, 400_008);
    for elsewhere in [
        "http://127.0.0.1/x",
        "gxfiles://x/y",
        "file:///etc/cron.d/x",
        "file:///",
    ] {
        server
            .post(&path, json!({"target_uri": elsewhere}))
            .await
            .refused(403, 403_004);
    }
    let uri = format!("file://{}/mine.tar.gz", out.path().display());
    let wish = || json!({"target_uri": uri, "model_store_format": "tgz"});
    server
        .call(&server.bob, "POST", &path, Some(wish()))
        .await
        .refused(403, 403_002);
    let ended = async |body: Value| {
        let task = server.post(&path, body).await.ok();
        let task = format!("/api/tasks/{}", task["id"].as_str().expect("an id"));
        server
            .call(&server.bob, "GET", &format!("{task}/state"), None)
            .await
            .refused(404, 404_001);
        eventually(async || server.get(&format!("{task}/state")).await.ok() != "PENDING").await;
        // It is not there to be fetched.
        let file = task.replace("/tasks/", "/short_term_storage/");
        for path in [&file, &format!("{file}/ready")] {
            server.get(path).await.refused(404, 404_001);
        }
        server.get(&format!("{task}/result")).await.ok()
    };
    assert_eq!(ended(wish()).await["state"], "SUCCESS");
    let put = std::fs::read(out.path().join("mine.tar.gz")).expect("it is there");
    assert_eq!(&put[..2], [0x1f, 0x8b]);
    import(&server, &put).await.ok();
    let made = server.app.data.exports();
    // No copy is kept.
    eventually(async || std::fs::read_dir(&made).expect("read").count() == 0).await;
    // Nothing is written over, and it is no archive to be fetched.
    server.pastes(&h, 1).await;
    let again = ended(wish()).await;
    assert_eq!(again["state"], "FAILURE");
    let why = again["result"].as_str().expect("a sentence");
    assert!(why.contains("none is replaced"), "{why}");
    let listed = server.get(&format!("/api/histories/{h}/exports")).await;
    assert_eq!(listed.ok(), json!([]));
    for path in ["/api/invocations/from_store", "/api/histories/from_store"] {
        server.post(path, json!({})).await.refused(501, 501_001);
    }
}

#[tokio::test]
async fn what_was_to_be_put_somewhere_when_the_server_died_is_put_there_by_the_next_start() {
    let out = tempfile::tempdir().expect("a folder");
    let server = server(out.path()).await;
    let h = server.history().await;
    wishes(&server, &h, &[to(out.path(), "")]).await;
    resume(&server.app).await.expect("resumed");
    let put = out.path().join("h.tar.gz");
    eventually(async || put.exists()).await;
}

#[tokio::test]
async fn what_another_server_has_taken_is_left_to_it_until_it_is_gone() {
    let out = tempfile::tempdir().expect("a folder");
    let server = server(out.path()).await;
    let h = server.history().await;
    let id = wishes(&server, &h, &[to(out.path(), "x.tgz")]).await[0];
    let store = &server.app.store;
    let now = server.app.now_ms();
    let taken = short_term_storage::claim(store, id, "other", now, now + 60_000).await;
    let task = taken.expect("asked").expect("taken").uuid;
    resume(&server.app).await.expect("looked");
    let path = format!("/api/tasks/{task}/state");
    for _ in 0..10 {
        assert_eq!(server.get(&path).await.ok(), "PENDING");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let count = |path: &Path| std::fs::read_dir(path).expect("read").count();
    assert_eq!(count(out.path()), 0);
    assert_eq!(count(&server.app.data.exports()), 0);
    short_term_storage::forget_claims(store, "other")
        .await
        .expect("forgotten");
    resume(&server.app).await.expect("looked");
    eventually(async || server.get(&path).await.ok() == "SUCCESS").await;
    assert!(out.path().join("x.tgz").exists());
}

#[tokio::test]
async fn two_servers_that_look_at_once_carry_each_wish_out_once() {
    let out = tempfile::tempdir().expect("a folder");
    let server = server(out.path()).await;
    let other = beside(&server).await;
    let h = server.history().await;
    server.pastes(&h, 2).await;
    let names: Vec<String> = (0..12).map(|n| format!("deep/{n}.tgz")).collect();
    let requests: Vec<Value> = names.iter().map(|name| to(out.path(), name)).collect();
    let ids = wishes(&server, &h, &requests).await;
    eventually(async || {
        let looked = tokio::join!(resume(&server.app), resume(&other));
        looked.0.and(looked.1).expect("looked");
        let mut ended = 0;
        for id in &ids {
            let state = state(&server, *id).await;
            assert_ne!(state, "error");
            ended += usize::from(state == "ok");
        }
        ended == ids.len()
    })
    .await;
    let mut found: Vec<String> = std::fs::read_dir(out.path().join("deep"))
        .expect("read")
        .map(|file| format!("deep/{}", file.expect("one").file_name().display()))
        .collect();
    found.sort();
    let mut expected = names;
    expected.sort();
    assert_eq!(found, expected, "nothing half written is left");
    // A made file goes after its end was stored.
    let made = server.app.data.exports();
    eventually(async || std::fs::read_dir(&made).expect("read").count() == 0).await;
}

#[tokio::test]
async fn who_has_too_much_waiting_is_told_so_and_loses_nothing() {
    let out = tempfile::tempdir().expect("a folder");
    let server = server(out.path()).await;
    let h = server.history().await;
    let mut requests = vec![to(out.path(), "first.tgz")];
    requests.resize(50, json!({"model_store_format": "tgz"}));
    let ids = wishes(&server, &h, &requests).await;
    let (store, now) = (&server.app.store, server.app.now_ms());
    for id in &ids {
        let taken = short_term_storage::claim(store, *id, "other", now, now + 60_000).await;
        assert!(taken.expect("asked").is_some());
    }
    let put = (
        format!("/api/histories/{h}/write_store"),
        to(out.path(), "more.tgz"),
    );
    let prepare = format!("/api/histories/{h}/prepare_store_download");
    let fetched = (prepare, json!({"model_store_format": "tgz"}));
    for (path, body) in [&put, &fetched] {
        server.post(path, body.clone()).await.refused(409, 409_001);
    }
    short_term_storage::forget_claims(store, "other")
        .await
        .expect("forgotten");
    resume(&server.app).await.expect("looked");
    eventually(async || state(&server, ids[0]).await == "ok").await;
    server.post(&put.0, put.1.clone()).await.ok();
    assert_eq!(state(&server, ids[1]).await, "new", "nothing is pushed out");
}

crate::store::testing::on_postgres_too!(
    an_archive_is_put_where_the_operator_allows_it_and_nowhere_else,
    what_was_to_be_put_somewhere_when_the_server_died_is_put_there_by_the_next_start,
    what_another_server_has_taken_is_left_to_it_until_it_is_gone,
    two_servers_that_look_at_once_carry_each_wish_out_once,
    who_has_too_much_waiting_is_told_so_and_loses_nothing,
);
