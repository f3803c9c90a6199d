use std::io::Write as _;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use super::{Answer, Server};
use crate::args;
use crate::http::Settings;
use crate::store::Durability;
use crate::store::db::Query as _;
use crate::store::short_term_storage::{self, Wanted};

/// Looks until something holds.
pub async fn eventually(holds: impl AsyncFn() -> bool) {
    for _ in 0..600 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it never came to that");
}

/// Asks until a history's archive is ready; gives its path.
async fn exported(server: &Server, history: &str, query: &str) -> String {
    let path = format!("/api/histories/{history}/exports{query}");
    for _ in 0..600 {
        let answer = server.call(&server.ada, "PUT", &path, None).await;
        match answer.status.as_u16() {
            200 => {
                return answer.json()["download_url"]
                    .as_str()
                    .expect("a path")
                    .to_owned();
            }
            202 => tokio::time::sleep(Duration::from_millis(50)).await,
            _ => panic!("{answer:?}"),
        }
    }
    panic!("the archive is never ready");
}

async fn import(server: &Server, archive: &[u8]) -> Answer {
    const BOUNDARY: &str = "x-boundary-x";
    let mut body = Vec::new();
    for (name, value) in [("archive_source", ""), ("archive_type", "file")] {
        let part = format!(
            "--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
        );
        body.extend(part.as_bytes());
    }
    body.extend(
        format!("--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"archive_file\"; filename=\"h.tar.gz\"\r\n\r\n")
            .as_bytes(),
    );
    body.extend(archive);
    body.extend(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
    let request = Request::post("/api/histories")
        .header("x-api-key", &server.ada)
        .header(
            "content-type",
            format!("multipart/form-data; boundary={BOUNDARY}"),
        )
        .body(Body::from(body));
    server.send(request.expect("a request")).await
}

#[tokio::test]
async fn a_history_goes_into_an_archive_and_comes_out_of_it_the_same() {
    let server = Server::start().await;
    let h = server.history().await;
    let ids = server.pastes(&h, 2).await;
    let hidden = &server.pastes(&h, 1).await[0];
    server
        .call(
            &server.ada,
            "PUT",
            &format!("/api/datasets/{hidden}"),
            Some(json!({"visible": false, "name": "../../evil"})),
        )
        .await
        .ok();
    let list = json!({"history_id": h, "instance_type": "history", "collection_type": "list:paired", "name": "pairs",
        "element_identifiers": [{"name": "a", "src": "new_collection", "collection_type": "paired", "element_identifiers": [
            {"name": "forward", "src": "hda", "id": ids[0]}, {"name": "reverse", "src": "hda", "id": ids[1]}]}]});
    server.post("/api/dataset_collections", list).await.ok();
    let path = exported(&server, &h, "?include_hidden=True").await;
    // Nothing changed: the same archive.
    assert_eq!(exported(&server, &h, "?include_hidden=True").await, path);
    let without = exported(&server, &h, "").await;
    assert_ne!(without, path);
    let archive = server.get(&path).await;
    assert_eq!(
        (archive.status.as_u16(), archive.header("content-type")),
        (200, "application/gzip")
    );
    for (key, status, code) in [(&server.bob, 403, 403_002), (&String::new(), 403, 403_002)] {
        server
            .call(key, "GET", &path, None)
            .await
            .refused(status, code);
    }
    let made = import(&server, &archive.body).await.ok();
    assert_eq!(made["name"], "imported from archive: h");
    let new = made["id"].as_str().expect("an id");
    let contents = server
        .get(&format!("/api/histories/{new}/contents"))
        .await
        .ok();
    let told: Vec<(i64, &str, &str)> = contents
        .as_array()
        .expect("a list")
        .iter()
        .map(|c| {
            (
                c["hid"].as_i64().expect("a number"),
                c["name"].as_str().expect("a name"),
                c["state"].as_str().unwrap_or("-"),
            )
        })
        .collect();
    let before = server
        .get(&format!("/api/histories/{h}/contents"))
        .await
        .ok();
    assert_eq!(told.len(), before.as_array().map_or(0, Vec::len));
    assert!(told.contains(&(3, "../../evil", "ok")), "{told:?}");
    let first = contents[0]["id"].as_str().expect("an id");
    let text = server.get(&format!("/api/datasets/{first}/display")).await;
    assert_eq!(String::from_utf8_lossy(&text.body).trim(), "text 0");
    let collection = contents
        .as_array()
        .and_then(|all| {
            all.iter()
                .find(|c| c["history_content_type"] == "dataset_collection")
        })
        .expect("the collection");
    let shown = server
        .get(&format!(
            "/api/dataset_collections/{}",
            collection["id"].as_str().expect("an id")
        ))
        .await
        .ok();
    assert_eq!(shown["collection_type"], "list:paired");
    assert_eq!(
        shown["elements"][0]["object"]["elements"][1]["element_identifier"],
        "reverse"
    );
}

#[tokio::test]
async fn what_is_no_archive_is_refused_and_leaves_nothing() {
    let server = Server::start().await;
    let tar = |files: &[(&str, &str)]| {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            // As a hostile archive would say it; the builder itself refuses such names.
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            tar.append(&header, text.as_bytes()).expect("in memory");
        }
        tar.into_inner().expect("in memory")
    };
    let cut = {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&tar(&[("history_attrs.txt", "{}")]))
            .expect("in memory");
        let whole = gzip.finish().expect("in memory");
        whole[..whole.len() / 2].to_vec()
    };
    for archive in [
        b"".to_vec(),
        b"nonsense".to_vec(),
        vec![0; 5_000],
        cut,
        tar(&[]),
        tar(&[("history_attrs.txt", "[1")]),
        tar(&[("history_attrs.txt", "[]")]),
        tar(&[("datasets_attrs.txt", "[]")]),
    ] {
        import(&server, &archive).await.refused(400, 400_013);
    }
    // What is strange in an archive is left out.
    let strange = tar(&[
        ("history_attrs.txt", r#"{"name": 7, "tags": {"a": 1}}"#),
        (
            "datasets_attrs.txt",
            r#"[7, {"file_name": "../../../etc/passwd", "hid": -5, "state": "ok"}, {"hid": 1e300}]"#,
        ),
        (
            "collections_attrs.txt",
            r#"[{"collection": {"type": "list", "elements": [{"hda": {"encoded_id": "x"}}]}}, null]"#,
        ),
        ("datasets/../../../tmp/pwned", "x"),
    ]);
    let made = import(&server, &strange).await.ok();
    let contents = server
        .get(&format!(
            "/api/histories/{}/contents",
            made["id"].as_str().expect("an id")
        ))
        .await
        .ok();
    let states: Vec<&Value> = contents
        .as_array()
        .expect("a list")
        .iter()
        .filter(|c| c["history_content_type"] == "dataset")
        .map(|c| &c["state"])
        .collect();
    assert_eq!(states, ["discarded"; 3]);
    let left = std::fs::read_dir(server.app.data.tmp())
        .expect("it exists")
        .count();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn links_bombs_and_odd_shapes_in_an_archive_do_no_harm() {
    let settings = Settings {
        upload_max_bytes: 1 << 20,
        ..Settings::default()
    };
    let server = Server::with(settings).await;
    let file = |tar: &mut tar::Builder<Vec<u8>>, name: &str, text: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, text).expect("in memory");
    };
    let with = |more: &dyn Fn(&mut tar::Builder<Vec<u8>>)| {
        let mut tar = tar::Builder::new(Vec::new());
        file(&mut tar, "history_attrs.txt", br#"{"name": "h"}"#);
        more(&mut tar);
        tar.into_inner().expect("in memory")
    };
    let zipped = |bytes: &[u8]| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(bytes).expect("in memory");
        gzip.finish().expect("in memory")
    };
    // Sixteen megabytes out of a few kilobytes; a file that says it is longer than it is; a deep nesting.
    let bomb = zipped(&with(&|tar| file(tar, "datasets/big", &vec![0; 16 << 20])));
    let liar = with(&|tar| {
        let mut header = tar::Header::new_gnu();
        header.set_path("datasets/liar").expect("a name");
        header.set_size(u64::MAX >> 2);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append(&header, std::io::empty()).expect("in memory");
    });
    let deep = "[".repeat(200_000);
    let deep = with(&|tar| file(tar, "datasets_attrs.txt", deep.as_bytes()));
    for archive in [&bomb, &liar, &deep] {
        import(&server, archive).await.refused(400, 400_013);
    }
    let leaf = |id: &str| json!({"element_identifier": "a", "hda": {"encoded_id": id}});
    let inner = json!({"type": "paired", "elements": [leaf("x")]});
    let trees = [
        json!({"type": "list", "elements": [leaf("x")]}),
        json!({"type": "nonsense", "elements": [leaf("x")]}),
        json!({"type": "", "elements": []}),
        json!({"type": "list", "elements": [{"element_identifier": "b", "child_collection": inner}]}),
        json!({"type": "list:list:list", "elements": [leaf("x")]}),
        json!({"type": "paired", "elements": [leaf("x")]}),
        json!({"type": "list", "elements": [leaf("x"), leaf("x")]}),
        json!({"type": "record", "elements": [leaf("x")]}),
        json!({"type": "list:".repeat(40) + "list", "elements": []}),
    ];
    let about: Vec<Value> = trees
        .iter()
        .map(|tree| json!({"collection": tree, "display_name": "c"}))
        .collect();
    let odd = with(&|tar| {
        for (kind, name) in [
            (tar::EntryType::Symlink, "datasets/link"),
            (tar::EntryType::Link, "datasets/hard"),
            (tar::EntryType::Char, "datasets/device"),
            (tar::EntryType::Fifo, "datasets/pipe"),
        ] {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_size(0);
            header.set_mode(0o644);
            tar.append_link(&mut header, name, "/etc/passwd")
                .expect("in memory");
        }
        let data = json!([{"file_name": "datasets/link", "state": "ok", "encoded_id": "x"},
            {"file_name": "datasets/hard", "state": "ok"}, {"file_name": "/etc/passwd", "state": "ok"}]);
        file(tar, "datasets_attrs.txt", data.to_string().as_bytes());
        file(
            tar,
            "collections_attrs.txt",
            json!(about).to_string().as_bytes(),
        );
    });
    let made = import(&server, &zipped(&odd)).await.ok();
    let path = format!(
        "/api/histories/{}/contents",
        made["id"].as_str().expect("an id")
    );
    let contents = server.get(&path).await.ok();
    let of = |kind: &str| -> Vec<Value> {
        let all = contents.as_array().expect("a list").iter();
        all.filter(|c| c["history_content_type"] == kind)
            .cloned()
            .collect()
    };
    assert!(of("dataset").iter().all(|hda| hda["state"] == "discarded"));
    let types: Vec<Value> = of("dataset_collection")
        .iter()
        .map(|c| c["collection_type"].clone())
        .collect();
    assert_eq!(types, ["list", "record"]);
    let left = std::fs::read_dir(server.app.data.tmp())
        .expect("it exists")
        .count();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_file_that_was_asked_for_is_its_askers_alone() {
    let server = Server::start().await;
    let h = server.history().await;
    server.pastes(&h, 1).await;
    let path = format!("/api/histories/{h}/prepare_store_download");
    let wish = server
        .post(&path, json!({"model_store_format": "tgz"}))
        .await
        .ok();
    let id = wish["storage_request_id"].as_str().expect("an id");
    let ready = format!("/api/short_term_storage/{id}/ready");
    server
        .call(&server.bob, "GET", &ready, None)
        .await
        .refused(404, 404_001);
    server
        .call("", "GET", &ready, None)
        .await
        .refused(403, 403_001);
    eventually(async || server.get(&ready).await.ok() == json!(true)).await;
    let file = server.get(&format!("/api/short_term_storage/{id}")).await;
    assert_eq!(file.status, 200);
    assert_eq!(&file.body[..2], [0x1f, 0x8b]);
    for wrong in ["nonsense", "00000000-0000-0000-0000-000000000000"] {
        let path = format!("/api/short_term_storage/{wrong}");
        server.get(&path).await.refused(404, 404_001);
    }
    for body in [
        json!({"model_store_format": "exe"}),
        json!({"model_store_format": 7}),
        json!({"include_files": "maybe"}),
        json!({"bco_override_xref": "x".repeat(200_000)}),
    ] {
        server.post(&path, body).await.refused(400, 400_008);
    }
}

#[tokio::test]
async fn an_archive_is_put_where_the_operator_allows_it_and_nowhere_else() {
    let out = tempfile::tempdir().expect("a folder");
    let server = Server::with(Settings {
        export_directories: vec![out.path().to_owned()],
        ..Settings::default()
    })
    .await;
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
    let server = Server::with(Settings {
        export_directories: vec![out.path().to_owned()],
        ..Settings::default()
    })
    .await;
    let h = server.history().await;
    let request = json!({"model_store_format": "tgz", "target_uri": format!("file://{}/", out.path().display())});
    let mut tx = server.app.store.begin().await.expect("begins");
    let history = server.app.decode(&h).expect("an id");
    let sql = "SELECT user_id FROM history WHERE id = $1";
    let row = tx.maybe(sql, args![history]).await.expect("read");
    let wanted = Wanted {
        user_id: row.expect("a row").get(0).expect("an id"),
        kind: "history",
        item_id: history,
        request: &request,
        file_name: "late.tar.gz",
        media_type: "application/gzip",
    };
    short_term_storage::add(&mut tx, &wanted, 1)
        .await
        .expect("noted");
    tx.commit(Durability::Progress, "test")
        .await
        .expect("stored");
    crate::http::exports::resume(&server.app)
        .await
        .expect("resumed");
    let put = out.path().join("late.tar.gz");
    eventually(async || put.exists()).await;
}

crate::store::testing::on_postgres_too!(
    an_archive_is_put_where_the_operator_allows_it_and_nowhere_else,
    what_was_to_be_put_somewhere_when_the_server_died_is_put_there_by_the_next_start,
    links_bombs_and_odd_shapes_in_an_archive_do_no_harm,
    a_history_goes_into_an_archive_and_comes_out_of_it_the_same,
    what_is_no_archive_is_refused_and_leaves_nothing,
    a_file_that_was_asked_for_is_its_askers_alone,
);
