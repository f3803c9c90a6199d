use serde_json::{Value, json};

use super::Server;

fn element(name: &str, id: &str) -> Value {
    json!({"name": name, "src": "hda", "id": id})
}

#[tokio::test]
async fn a_nested_collection_is_made_and_shown() {
    let server = Server::start().await;
    let h = server.history().await;
    let ids = server.pastes(&h, 4).await;
    let pair = |name: &str, f: &str, r: &str| {
        json!({"name": name, "src": "new_collection", "collection_type": "paired",
               "element_identifiers": [element("reverse", r), element("forward", f)]})
    };
    let body = json!({"type": "dataset_collection", "name": "pairs", "collection_type": "list:paired", "copy_elements": false,
        "element_identifiers": [pair("a", &ids[0], &ids[1]), pair("b", &ids[2], &ids[3])]});
    let made = server
        .post(&format!("/api/histories/{h}/contents"), body)
        .await
        .ok();
    assert_eq!(
        (&made["name"], &made["element_count"], &made["hid"]),
        (&json!("pairs"), &json!(2), &json!(5))
    );
    let inner = &made["elements"][1]["object"];
    assert_eq!(inner["elements"][0]["element_identifier"], "forward");
    assert_eq!(inner["elements"][1]["object"]["id"], ids[3]);
    let id = made["id"].as_str().expect("an id");
    let shown = server
        .get(&format!(
            "/api/dataset_collections/{id}?instance_type=history"
        ))
        .await
        .ok();
    assert_eq!(shown, made);
    let page = server
        .get(&format!(
            "{}?limit=1&offset=1",
            made["contents_url"].as_str().expect("a path")
        ))
        .await
        .ok();
    assert_eq!(
        (
            page.as_array().map(Vec::len),
            &page[0]["element_identifier"]
        ),
        (Some(1), &json!("b"))
    );
    let deeper = server
        .get(page[0]["object"]["contents_url"].as_str().expect("a path"))
        .await
        .ok();
    assert_eq!(deeper[0]["object"]["id"], ids[2]);
    let line = &server
        .get(&format!(
            "/api/histories/{h}/contents?types=dataset_collection"
        ))
        .await
        .ok()[0];
    assert_eq!(
        (&line["elements_states"], &line["elements_datatypes"]),
        (&json!({"ok": 4}), &json!(["txt"]))
    );
}

#[tokio::test]
async fn copied_elements_are_hidden_copies_of_ones_own() {
    let server = Server::start().await;
    let h = server.history().await;
    let ids = server.pastes(&h, 1).await;
    let body = json!({"history_id": h, "name": "l", "collection_type": "list", "element_identifiers": [element("a", &ids[0])]});
    let made = server.post("/api/dataset_collections", body).await.ok();
    let object = &made["elements"][0]["object"];
    assert_ne!(object["id"], ids[0]);
    assert_eq!(
        (&object["visible"], &object["hid"], &made["hid"]),
        (&json!(false), &json!(2), &json!(3))
    );
    let copy = json!({"content": made["id"], "source": "hdca", "type": "dataset_collection"});
    let copy = server
        .post(&format!("/api/histories/{h}/contents"), copy)
        .await
        .ok();
    assert_eq!(copy["name"], "l");
    assert_ne!(copy["elements"][0]["object"]["id"], object["id"]);
    let dce = json!({"name": "b", "src": "dce", "id": made["elements"][0]["id"]});
    let nested = json!({"name": "c", "src": "hdca", "id": made["id"]});
    let list = |elements: Value, kind: &str| json!({"history_id": h, "collection_type": kind, "element_identifiers": elements, "copy_elements": false});
    let from_dce = server
        .post("/api/dataset_collections", list(json!([dce]), "list"))
        .await
        .ok();
    assert_eq!(from_dce["elements"][0]["object"]["id"], object["id"]);
    let from_hdca = server
        .post(
            "/api/dataset_collections",
            list(json!([nested]), "list:list"),
        )
        .await
        .ok();
    assert_eq!(
        from_hdca["elements"][0]["object"]["elements"][0]["object"]["id"],
        object["id"]
    );
}

#[tokio::test]
async fn what_is_no_collection_is_refused_and_leaves_nothing() {
    let server = Server::start().await;
    let h = server.history().await;
    let ids = server.pastes(&h, 1).await;
    let body = |kind: &str, elements: Value| json!({"history_id": h, "collection_type": kind, "element_identifiers": elements});
    for (body, code) in [
        (body("moon", json!([])), 400_008),
        (
            body("paired", json!([element("forward", &ids[0])])),
            400_008,
        ),
        (
            body(
                "list",
                json!([element("a", &ids[0]), element("a", &ids[0])]),
            ),
            400_011,
        ),
        (body("list", json!([{"name": "a", "src": "hda"}])), 400_007),
        (body("list", json!([{"src": "hda", "id": ids[0]}])), 400_007),
        (
            body("list", json!([{"name": "a", "src": "hda", "id": "zzz"}])),
            400_009,
        ),
        (body("list:list", json!([element("a", &ids[0])])), 400_008),
    ] {
        server
            .post("/api/dataset_collections", body)
            .await
            .refused(400, code);
    }
    assert_eq!(
        server.get(&format!("/api/histories/{h}")).await.ok()["hid_counter"],
        2
    );
}

#[tokio::test]
async fn a_collection_is_changed_and_deleted_with_its_elements_if_asked() {
    let server = Server::start().await;
    let h = server.history().await;
    let ids = server.pastes(&h, 1).await;
    let body = json!({"history_id": h, "collection_type": "list", "element_identifiers": [element("a", &ids[0])], "copy_elements": false});
    let made = server.post("/api/dataset_collections", body).await.ok();
    let path = format!(
        "/api/histories/{h}/contents/dataset_collections/{}",
        made["id"].as_str().expect("an id")
    );
    let changed = server
        .call(
            &server.ada,
            "PUT",
            &path,
            Some(json!({"visible": false, "name": "n"})),
        )
        .await
        .ok();
    assert_eq!(
        (&changed["visible"], &changed["name"]),
        (&json!(false), &json!("n"))
    );
    server
        .call(&server.bob, "DELETE", &path, None)
        .await
        .refused(403, 403_002);
    assert_eq!(
        server.call(&server.ada, "DELETE", &path, None).await.ok()["deleted"],
        true
    );
    let hda = format!("/api/datasets/{}", ids[0]);
    assert_eq!(server.get(&hda).await.ok()["deleted"], false);
    server
        .call(
            &server.ada,
            "DELETE",
            &format!("{path}?recursive=true"),
            None,
        )
        .await
        .ok();
    assert_eq!(server.get(&hda).await.ok()["deleted"], true);
}

#[tokio::test]
async fn a_collection_is_downloaded_as_a_zip_of_what_is_there() {
    use std::io::Read as _;
    let server = Server::start().await;
    let h = server.history().await;
    let ids = server.pastes(&h, 3).await;
    let elements = json!([
        element("a/../b", &ids[0]),
        element("a_.._b", &ids[1]),
        element("gone", &ids[2])
    ]);
    let body = json!({"history_id": h, "name": "z", "collection_type": "list", "copy_elements": false, "element_identifiers": elements});
    let made = server.post("/api/dataset_collections", body).await.ok();
    let purge = format!("/api/datasets/{}?purge=true", ids[2]);
    server.call(&server.ada, "DELETE", &purge, None).await.ok();
    let path = format!(
        "/api/dataset_collections/{}/download",
        made["id"].as_str().expect("an id")
    );
    server
        .call(&server.bob, "GET", &path, None)
        .await
        .refused(403, 403_002);
    let answer = server.get(&path).await;
    assert_eq!(answer.header("content-type"), "application/zip");
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(answer.body)).expect("a zip file");
    let mut names: Vec<String> = archive
        .file_names()
        .map(|n| n.expect("text").into_owned())
        .collect();
    names.sort();
    assert_eq!(names, ["a_.._b/1-a_.._b.txt", "a_.._b/a_.._b.txt"]);
    let mut text = String::new();
    archive
        .by_name(&names[1])
        .expect("it is there")
        .read_to_string(&mut text)
        .expect("text");
    assert_eq!(text, "text 0\n");
}

crate::store::testing::on_postgres_too!(
    a_nested_collection_is_made_and_shown,
    copied_elements_are_hidden_copies_of_ones_own,
    what_is_no_collection_is_refused_and_leaves_nothing,
    a_collection_is_changed_and_deleted_with_its_elements_if_asked,
    a_collection_is_downloaded_as_a_zip_of_what_is_there,
);
