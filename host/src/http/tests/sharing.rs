use serde_json::{Value, json};

use super::{ADMIN_KEY, Server};

async fn id_of(server: &Server, key: &str) -> String {
    let me = server.call(key, "GET", "/api/whoami", None).await.ok();
    me["id"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn a_dataset_is_read_by_whom_its_owner_allows() {
    let server = Server::start().await;
    let h = server.history().await;
    let d = server.pastes(&h, 1).await.remove(0);
    let path = format!("/api/datasets/{d}");
    let permit = async |body: Value| {
        server
            .call(
                &server.ada,
                "PUT",
                &format!("{path}/permissions"),
                Some(body),
            )
            .await
    };
    let status = async |key: &str| server.call(key, "GET", &path, None).await.status.as_u16();

    assert_eq!((status("").await, status(&server.bob).await), (403, 403));
    permit(json!({"action": "remove_restrictions"})).await.ok();
    assert_eq!((status("").await, status(&server.bob).await), (200, 200));
    // What may be read may not be changed.
    server
        .call(&server.bob, "PUT", &path, Some(json!({"name": "x"})))
        .await
        .refused(403, 403_003);
    server
        .call(
            &server.bob,
            "PUT",
            &format!("{path}/permissions"),
            Some(json!({"action": "make_private"})),
        )
        .await
        .refused(403, 403_003);
    // Private, although its history is published.
    server
        .call(
            &server.ada,
            "PUT",
            &format!("/api/histories/{h}/publish"),
            None,
        )
        .await
        .ok();
    permit(json!({"action": "make_private"})).await.ok();
    assert_eq!((status("").await, status(&server.bob).await), (403, 403));
    assert_eq!(status(&server.ada).await, 200);

    let bob = id_of(&server, &server.bob).await;
    let role = json!({"name": "readers", "description": "d", "user_ids": [bob]});
    let made = server
        .call(ADMIN_KEY, "POST", "/api/roles", Some(role.clone()))
        .await
        .ok();
    server
        .call(ADMIN_KEY, "POST", "/api/roles", Some(role.clone()))
        .await
        .refused(409, 409_001);
    server
        .call(&server.bob, "POST", "/api/roles", Some(role))
        .await
        .refused(403, 403_006);
    let role = made["id"].as_str().expect("an id");
    // Ada has not got it: to her it is as if there were no such role.
    permit(json!({"access": [role]}))
        .await
        .refused(404, 404_001);
    server
        .call(
            ADMIN_KEY,
            "PUT",
            &format!("{path}/permissions"),
            Some(json!({"access": [role]})),
        )
        .await
        .ok();
    assert_eq!((status("").await, status(&server.bob).await), (403, 200));
    let mine = server
        .call(&server.bob, "GET", "/api/roles", None)
        .await
        .ok();
    assert_eq!(mine[0]["name"], "readers");
    assert_eq!(server.get("/api/roles").await.ok(), json!([]));
    server
        .get(&format!("/api/roles/{role}"))
        .await
        .refused(404, 404_001);
    // Without a role the history decides again.
    permit(json!({"action": "set_permissions"})).await.ok();
    assert_eq!((status("").await, status(&server.bob).await), (200, 200));
}

#[tokio::test]
async fn permissions_are_refused_in_wrong_forms() {
    let server = Server::start().await;
    let h = server.history().await;
    let d = server.pastes(&h, 1).await.remove(0);
    for body in [
        json!({"action": "give_away"}),
        json!({"action": 7}),
        json!({"access": 7}),
        json!({"access": [7]}),
        json!({"access": {"a": "b"}}),
        json!({"access": vec!["x"; 2_000]}),
    ] {
        let answer = server
            .call(
                &server.ada,
                "PUT",
                &format!("/api/datasets/{d}/permissions"),
                Some(body),
            )
            .await;
        answer.refused(400, 400_008);
    }
    for body in [
        json!({}),
        json!({"name": "x"}),
        json!({"name": 7, "description": ""}),
    ] {
        let answer = server
            .call(ADMIN_KEY, "POST", "/api/roles", Some(body))
            .await;
        assert_eq!(answer.status, 400);
    }
}

#[tokio::test]
async fn a_history_is_shared_with_users_or_everybody() {
    let server = Server::start().await;
    let h = server.history().await;
    let d = server.pastes(&h, 1).await.remove(0);
    let put = async |what: &str, body: Option<Value>| {
        server
            .call(
                &server.ada,
                "PUT",
                &format!("/api/histories/{h}/{what}"),
                body,
            )
            .await
    };
    let bob_sees = async || {
        let history = server
            .call(&server.bob, "GET", &format!("/api/histories/{h}"), None)
            .await;
        let dataset = server
            .call(&server.bob, "GET", &format!("/api/datasets/{d}"), None)
            .await;
        assert_eq!(history.status, dataset.status);
        history.status == 200
    };
    assert!(!bob_sees().await);
    let bob = id_of(&server, &server.bob).await;
    let shared = put(
        "share_with_users",
        Some(json!({"user_ids": [bob, "nobody@example.org", "ada@example.org"]})),
    )
    .await
    .ok();
    assert_eq!(shared["users_shared_with"][0]["email"], "bob@example.org");
    assert_eq!(shared["errors"].as_array().map(Vec::len), Some(2));
    assert!(bob_sees().await);
    put("share_with_users", Some(json!({"user_ids": []})))
        .await
        .ok();
    assert!(!bob_sees().await);
    assert_eq!(put("enable_link_access", None).await.ok()["slug"], "h");
    assert!(bob_sees().await);
    assert_eq!(put("publish", None).await.ok()["published"], true);
    let listed = server
        .call("", "GET", "/api/histories/published", None)
        .await
        .ok();
    assert_eq!(listed.as_array().map(Vec::len), Some(1));
    assert_eq!(put("unpublish", None).await.ok()["importable"], true);
    assert_eq!(
        put("disable_link_access", None).await.ok()["importable"],
        false
    );
    assert!(!bob_sees().await);
    assert_eq!(
        put("slug", Some(json!({"new_slug": "my-own"})))
            .await
            .status,
        204
    );
    let sharing = server
        .get(&format!("/api/histories/{h}/sharing"))
        .await
        .ok();
    assert_eq!(sharing["username_and_slug"], "u/ada/h/my-own");
    put("slug", Some(json!({"new_slug": "No!"})))
        .await
        .refused(400, 400_004);
    put("share_with_users", Some(json!({})))
        .await
        .refused(400, 400_007);
    for what in ["publish", "share_with_users", "slug"] {
        let body = json!({"user_ids": [bob], "new_slug": "x"});
        server
            .call(
                &server.bob,
                "PUT",
                &format!("/api/histories/{h}/{what}"),
                Some(body),
            )
            .await
            .refused(403, 403_002);
    }
}

#[tokio::test]
async fn the_job_lock_is_the_administrators() {
    let server = Server::start().await;
    let lock =
        async |key: &str, body: Value| server.call(key, "PUT", "/api/job_lock", Some(body)).await;
    lock(&server.ada, json!({"active": true}))
        .await
        .refused(403, 403_006);
    lock("", json!({"active": true}))
        .await
        .refused(403, 403_001);
    lock(ADMIN_KEY, json!({"active": "maybe"}))
        .await
        .refused(400, 400_008);
    lock(ADMIN_KEY, json!({})).await.refused(400, 400_007);
    for active in [true, false] {
        assert_eq!(
            lock(ADMIN_KEY, json!({"active": active})).await.ok()["active"],
            active
        );
        let shown = server
            .call(ADMIN_KEY, "GET", "/api/job_lock", None)
            .await
            .ok();
        assert_eq!(shown["active"], active);
    }
}

crate::store::testing::on_postgres_too!(
    permissions_that_name_nothing_change_nothing,
    a_copy_opens_no_door_to_a_private_dataset,
    a_dataset_is_read_by_whom_its_owner_allows,
    permissions_are_refused_in_wrong_forms,
    a_history_is_shared_with_users_or_everybody,
    the_job_lock_is_the_administrators,
);

/// What Ada keeps private stays so in whatever Bob can copy: her history, her collection, a copy he made before.
#[tokio::test]
async fn a_copy_opens_no_door_to_a_private_dataset() {
    let server = Server::start().await;
    let h = server.history().await;
    let d = server.pastes(&h, 1).await.remove(0);
    let call = async |key: &str, method: &str, path: String, body: Value| {
        server.call(key, method, &path, Some(body)).await
    };
    let (ada, bob) = (server.ada.as_str(), server.bob.as_str());
    let status = async |key: &str, id: &str| {
        let path = format!("/api/datasets/{id}/display");
        server.call(key, "GET", &path, None).await.status.as_u16()
    };
    let body = json!({"collection_type": "list", "name": "l", "history_id": h,
        "element_identifiers": [{"name": "a", "src": "hda", "id": d}]});
    let list = call(ada, "POST", "/api/dataset_collections".into(), body)
        .await
        .ok();
    let list = list["id"].as_str().expect("an id").to_owned();
    call(ada, "PUT", format!("/api/histories/{h}/publish"), json!({}))
        .await
        .ok();
    let own = call(bob, "POST", "/api/histories".into(), json!({"name": "own"}))
        .await
        .ok();
    let own = own["id"].as_str().expect("an id").to_owned();
    let contents = format!("/api/histories/{own}/contents");
    let copy = json!({"source": "hda", "content": d});
    let early = call(bob, "POST", contents.clone(), copy).await.ok();
    let early = early["id"].as_str().expect("an id").to_owned();
    assert_eq!(status(bob, &early).await, 200);

    let private = json!({"action": "make_private"});
    call(
        ada,
        "PUT",
        format!("/api/datasets/{d}/permissions"),
        private,
    )
    .await
    .ok();
    assert_eq!(status(bob, &early).await, 403);
    // It is not his to open again.
    let open = json!({"action": "remove_restrictions"});
    call(
        bob,
        "PUT",
        format!("/api/datasets/{early}/permissions"),
        open,
    )
    .await
    .refused(403, 403_003);
    let copy = json!({"type": "dataset_collection", "source": "hdca", "content": list});
    call(bob, "POST", contents, copy)
        .await
        .refused(403, 403_002);
    let whole = call(
        bob,
        "POST",
        "/api/histories".into(),
        json!({"history_id": h}),
    )
    .await
    .ok();
    let whole = whole["id"].as_str().expect("an id").to_owned();
    let path = format!("/api/histories/{whole}/contents");
    let copied = server.call(bob, "GET", &path, None).await.ok();
    assert_eq!(copied, json!([]));

    // It is seen to be there, and nothing of what is in it.
    let shown = server
        .call(
            bob,
            "GET",
            &format!("/api/dataset_collections/{list}"),
            None,
        )
        .await
        .ok();
    let element = &shown["elements"][0]["object"];
    assert_eq!(
        (&element["accessible"], &element["peek"]),
        (&json!(false), &Value::Null)
    );
    let path = format!("/api/histories/{h}/contents?v=dev&view=detailed");
    let listed = server.call(bob, "GET", &path, None).await.ok();
    let listed = listed.as_array().expect("a list").iter();
    let listed: Vec<&Value> = listed
        .filter(|item| item["history_content_type"] == "dataset")
        .collect();
    assert_eq!(listed[0]["accessible"], false, "{listed:?}");
    assert_eq!(listed[0]["peek"], Value::Null);
    let own = server.get(&format!("/api/datasets/{d}")).await.ok();
    assert_eq!(own["accessible"], true);
    assert_ne!(own["peek"], Value::Null);
}

#[tokio::test]
async fn permissions_that_name_nothing_change_nothing() {
    let server = Server::start().await;
    let h = server.history().await;
    let d = server.pastes(&h, 1).await.remove(0);
    let path = format!("/api/datasets/{d}/permissions");
    for body in [
        json!([]),
        json!(5),
        json!("x"),
        json!({}),
        json!({"acces": []}),
    ] {
        let answer = server.call(&server.ada, "PUT", &path, Some(body)).await;
        assert_eq!(answer.status.as_u16(), 400);
    }
}
