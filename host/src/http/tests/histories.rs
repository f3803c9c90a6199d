use serde_json::json;

use super::Server;

#[tokio::test]
async fn a_history_is_made_changed_deleted_and_found_again() {
    let server = Server::start().await;
    let h = server.history().await;
    let path = format!("/api/histories/{h}");
    let shown = server.get(&path).await.ok();
    assert_eq!(shown["state"], "new");
    assert_eq!(shown["state_details"]["ok"], 0);
    assert_eq!(shown["empty"], true);
    let change = json!({"name": "renamed", "annotation": "a", "tags": ["x", "y"]});
    let changed = server
        .call(&server.ada, "PUT", &path, Some(change))
        .await
        .ok();
    assert_eq!(
        (&changed["name"], &changed["tags"]),
        (&json!("renamed"), &json!(["x", "y"]))
    );
    assert_eq!(
        server.call(&server.ada, "DELETE", &path, None).await.ok()["deleted"],
        true
    );
    assert_eq!(server.get("/api/histories").await.ok(), json!([]));
    assert_eq!(
        server.get("/api/histories?deleted=True").await.ok()[0]["id"],
        h
    );
    server
        .post(&format!("/api/histories/deleted/{h}/undelete"), json!({}))
        .await
        .ok();
    assert_eq!(
        server.get("/api/histories?q=name&qv=renamed").await.ok()[0]["id"],
        h
    );
}

#[tokio::test]
async fn the_state_of_a_history_follows_its_datasets() {
    let server = Server::start().await;
    let h = server.history().await;
    let ids = server.pastes(&h, 2).await;
    let shown = server.get(&format!("/api/histories/{h}")).await.ok();
    assert_eq!(shown["state"], "ok");
    assert_eq!(shown["state_details"]["ok"], 2);
    assert_eq!(shown["state_ids"]["ok"], json!(ids));
    assert_eq!(shown["size"], 14);
    assert_eq!(shown["hid_counter"], 3);
}

#[tokio::test]
async fn somebody_elses_history_is_not_accessible_and_an_unknown_one_not_found() {
    let server = Server::start().await;
    let h = server.history().await;
    let path = format!("/api/histories/{h}");
    server
        .call(&server.bob, "GET", &path, None)
        .await
        .refused(403, 403_002);
    server
        .call(&server.bob, "DELETE", &path, None)
        .await
        .refused(403, 403_002);
    server
        .call("", "GET", &path, None)
        .await
        .refused(403, 403_002);
    let published = server
        .call(&server.ada, "PUT", &path, Some(json!({"published": true})))
        .await
        .ok();
    let slug = published["slug"].as_str().expect("a slug");
    server.call(&server.bob, "GET", &path, None).await.ok();
    server
        .call(&server.bob, "PUT", &path, Some(json!({"name": "mine"})))
        .await
        .refused(403, 403_003);
    let found = server
        .call(
            "",
            "GET",
            &format!("/api/histories/published?q=slug&qv={slug}"),
            None,
        )
        .await
        .ok();
    assert_eq!(found[0]["id"], h);
    assert_eq!(
        server
            .call(&server.bob, "GET", "/api/histories", None)
            .await
            .ok(),
        json!([])
    );
}

#[tokio::test]
async fn lists_are_paged_by_the_database_and_cost_the_same_for_many_as_for_few() {
    let server = Server::start().await;
    let h = server.history().await;
    server.pastes(&h, 12).await;
    let page = server
        .get(&format!(
            "/api/histories/{h}/contents?v=dev&limit=5&offset=5&order=hid-asc"
        ))
        .await;
    assert_eq!(page.header("total_matches"), "12");
    let hids: Vec<i64> = page
        .ok()
        .as_array()
        .expect("a list")
        .iter()
        .map(|c| c["hid"].as_i64().expect("a hid"))
        .collect();
    assert_eq!(hids, [6, 7, 8, 9, 10]);
    let statements = |limit: usize| {
        let server = &server;
        let path = format!("/api/histories/{h}/contents?limit={limit}&details=all");
        async move {
            let before = server.app.store.db.statements();
            server.get(&path).await.ok();
            server.app.store.db.statements() - before
        }
    };
    assert_eq!(statements(1).await, statements(12).await);
    let out = server
        .get(&format!("/api/histories/{h}/contents?offset=1000"))
        .await
        .ok();
    assert_eq!(out, json!([]));
}

#[tokio::test]
async fn contents_are_filtered_by_what_clients_write() {
    let server = Server::start().await;
    let h = server.history().await;
    let ids = server.pastes(&h, 3).await;
    let path = format!("/api/histories/{h}/contents/{}", ids[0]);
    server
        .call(
            &server.ada,
            "PUT",
            &path,
            Some(json!({"visible": false, "tags": ["keep"]})),
        )
        .await
        .ok();
    server
        .call(
            &server.ada,
            "DELETE",
            &format!("/api/histories/{h}/contents/{}", ids[1]),
            None,
        )
        .await
        .ok();
    let found = |query: &str| {
        let path = format!("/api/histories/{h}/contents?{query}");
        let server = &server;
        async move {
            let list = server.get(&path).await.ok();
            list.as_array()
                .expect("a list")
                .iter()
                .map(|c| c["hid"].as_i64().expect("a hid"))
                .collect::<Vec<_>>()
        }
    };
    assert_eq!(found("").await, [1, 2, 3]);
    assert_eq!(found("deleted=True").await, [2]);
    assert_eq!(found("visible=false").await, [1]);
    assert_eq!(found("q=name-contains&qv=D2").await, [3]);
    assert_eq!(
        found("q=state-in&qv=ok,queued&order=hid-dsc").await,
        [3, 2, 1]
    );
    assert_eq!(found("q=tag&qv=keep").await, [1]);
    assert_eq!(
        found("q=tool_id&qv=__DATA_FETCH__&q=hid-ge&qv=2").await,
        [2, 3]
    );
    assert_eq!(found("types=dataset_collection").await, [0i64; 0]);
    assert_eq!(found(&format!("ids={},{}", ids[2], ids[0])).await, [1, 3]);
}

#[tokio::test]
async fn a_copied_history_shows_the_same_data_under_its_own_ids() {
    let server = Server::start().await;
    let h = server.history().await;
    let ids = server.pastes(&h, 2).await;
    let elements = json!([{"name": "forward", "src": "hda", "id": ids[0]}, {"name": "reverse", "src": "hda", "id": ids[1]}]);
    server
        .post("/api/dataset_collections", json!({"history_id": h, "name": "p", "collection_type": "paired", "element_identifiers": elements, "copy_elements": false}))
        .await
        .ok();
    let copy = server
        .post(
            "/api/histories",
            json!({"source": "history", "history_id": h, "name": "copy"}),
        )
        .await
        .ok();
    let contents = server
        .get(&format!(
            "{}/contents?details=all",
            copy["url"].as_str().expect("a path")
        ))
        .await
        .ok();
    assert_eq!(contents.as_array().map(Vec::len), Some(3));
    assert_eq!(contents[0]["hid"], 1);
    assert_ne!(contents[0]["id"], ids[0]);
    assert_eq!(
        contents[2]["elements"][0]["object"]["id"],
        contents[0]["id"]
    );
    assert_eq!(copy["hid_counter"], 4);
}

#[tokio::test]
async fn purging_removes_a_file_when_nothing_else_shows_it() {
    let server = Server::start().await;
    let h = server.history().await;
    let hda = server.paste(&h, "d", "text").await;
    let copy = server
        .post("/api/histories", json!({"history_id": h}))
        .await
        .ok();
    let dataset = server
        .app
        .decode(hda["dataset_id"].as_str().expect("an id"))
        .expect("ours");
    let file = server.app.data.dataset(dataset);
    server
        .call(
            &server.ada,
            "DELETE",
            &format!("/api/histories/{h}"),
            Some(json!({"purge": true})),
        )
        .await
        .ok();
    assert!(file.exists(), "the copy still shows it");
    let path = format!(
        "/api/histories/{}?purge=True",
        copy["id"].as_str().expect("an id")
    );
    server.call(&server.ada, "DELETE", &path, None).await.ok();
    assert!(!file.exists());
    let body = json!({"history_id": h, "targets": [{"destination": {"type": "hdas"}, "elements": [{"src": "pasted", "paste_content": "x"}]}]});
    server
        .post("/api/tools/fetch", body)
        .await
        .refused(409, 409_001);
}

crate::store::testing::on_postgres_too!(
    a_history_is_made_changed_deleted_and_found_again,
    the_state_of_a_history_follows_its_datasets,
    somebody_elses_history_is_not_accessible_and_an_unknown_one_not_found,
    lists_are_paged_by_the_database_and_cost_the_same_for_many_as_for_few,
    contents_are_filtered_by_what_clients_write,
    a_copied_history_shows_the_same_data_under_its_own_ids,
    purging_removes_a_file_when_nothing_else_shows_it,
);
