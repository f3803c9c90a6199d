//! Histories as archives: out, in again, and what is no archive.

use std::io::Write as _;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use super::{Answer, Server};
use crate::http::Settings;

/// Looks until something holds.
pub async fn eventually(holds: impl AsyncFn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !holds().await {
        assert!(Instant::now() < end, "it never came to that");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Asks until a history's archive is ready; gives its path.
async fn exported(server: &Server, history: &str, query: &str) -> String {
    let path = format!("/api/histories/{history}/exports{query}");
    let ask = async || server.call(&server.ada, "PUT", &path, None).await;
    eventually(async || {
        let answer = ask().await;
        assert!([200, 202].contains(&answer.status.as_u16()), "{answer:?}");
        answer.status == 200
    })
    .await;
    let ready = ask().await.ok();
    ready["download_url"].as_str().expect("a path").to_owned()
}

pub async fn import(server: &Server, archive: &[u8]) -> Answer {
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

/// What a history has in it.
async fn contents(server: &Server, history: &str) -> Value {
    let path = format!("/api/histories/{history}/contents");
    server.get(&path).await.ok()
}

/// Everything that was put aside while an archive was read is gone.
fn assert_nothing_left(server: &Server) {
    let left = std::fs::read_dir(server.app.data.tmp());
    assert_eq!(left.expect("it exists").count(), 0);
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
    let before = contents(&server, &h).await;
    let made = import(&server, &archive.body).await.ok();
    assert_eq!(made["name"], "imported from archive: h");
    let new = made["id"].as_str().expect("an id");
    let contents = contents(&server, new).await;
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
    let contents = contents(&server, made["id"].as_str().expect("an id")).await;
    let states: Vec<&Value> = contents
        .as_array()
        .expect("a list")
        .iter()
        .filter(|c| c["history_content_type"] == "dataset")
        .map(|c| &c["state"])
        .collect();
    assert_eq!(states, ["discarded"; 3]);
    assert_nothing_left(&server);
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
    let contents = contents(&server, made["id"].as_str().expect("an id")).await;
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
    assert_nothing_left(&server);
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

crate::store::testing::on_postgres_too!(
    links_bombs_and_odd_shapes_in_an_archive_do_no_harm,
    a_history_goes_into_an_archive_and_comes_out_of_it_the_same,
    what_is_no_archive_is_refused_and_leaves_nothing,
    a_file_that_was_asked_for_is_its_askers_alone,
);
