//! Runs and the service: lists, owners, cancelling.

use super::*;

#[tokio::test]
async fn the_service_tells_what_it_is_to_anybody() {
    let (server, _tools) = server().await;
    seeded(&server, Shape::Single, 1).await;
    let info = server
        .call("", "GET", &format!("{ROOT}/service-info"), None)
        .await
        .ok();
    assert_eq!(
        info["type"],
        json!({"group": "org.ga4gh", "artifact": "wes", "version": "1.1.0"})
    );
    assert_eq!(info["system_state_counts"]["COMPLETE"], json!(1));
    assert_eq!(
        info["system_state_counts"].as_object().unwrap().len(),
        crate::http::wes::state::ALL.len()
    );
    for name in ["gx_workflow_ga", "gx_workflow_format2"] {
        assert!(info["workflow_type_versions"][name]["workflow_type_version"].is_array());
    }
    let document = server.get("/api/openapi.json").await.ok();
    for path in [
        "/service-info",
        "/runs",
        "/runs/{run_id}",
        "/runs/{run_id}/status",
        "/runs/{run_id}/cancel",
        "/runs/{run_id}/tasks",
        "/runs/{run_id}/tasks/{task_id}",
    ] {
        assert!(
            document["paths"][format!("{ROOT}{path}")].is_object(),
            "{path}"
        );
    }
}

#[tokio::test]
async fn runs_are_listed_newest_first_filtered_and_paged() {
    let (server, _tools) = server().await;
    let mut ids = Vec::new();
    for n in 0..5 {
        let mut body = request(json!({"reads": "data:,x"}));
        body["tags"] = json!({"n": n.to_string(), "all": "yes"});
        let made = server.post(&format!("{ROOT}/runs"), body).await.ok();
        ids.insert(0, text(&made["run_id"]).to_owned());
    }
    let list = async |query: &str| {
        let page = server.get(&format!("{ROOT}/runs?{query}")).await.ok();
        let runs = page["runs"].as_array().unwrap().iter();
        let runs: Vec<String> = runs.map(|r| text(&r["run_id"]).to_owned()).collect();
        (runs, text(&page["next_page_token"]).to_owned())
    };
    let (first, token) = list("page_size=2").await;
    assert_eq!(first, ids[..2]);
    // What is submitted in the meantime is not part of the walk.
    server
        .post(
            &format!("{ROOT}/runs"),
            request(json!({"reads": "data:,x"})),
        )
        .await
        .ok();
    let (second, token) = list(&format!("page_size=2&page_token={token}")).await;
    assert_eq!(second, ids[2..4]);
    assert_eq!(
        list(&format!("page_size=2&page_token={token}")).await,
        (ids[4..].to_vec(), String::new())
    );
    assert_eq!(list("tag=n:3").await.0, ids[1..2]);
    assert_eq!(list("tag=all&tag=n:0&state=queued").await.0, ids[4..]);
    for none in [
        "tag=n:9",
        "state=PAUSED",
        "state=PREEMPTED",
        "start_time_before=2000-01-01",
    ] {
        assert_eq!(list(none).await.0, Vec::<String>::new(), "{none}");
    }
    assert_eq!(
        list("start_time_from=2000-01-01T00:00:00Z").await.0.len(),
        6
    );
    let foreign = server
        .call(
            &server.bob,
            "GET",
            &format!("{ROOT}/runs?page_token={token}"),
            None,
        )
        .await;
    refused(&foreign, 400);
    for wrong in [
        format!("page_token={token}&tag=all"),
        "page_token=bm9uZQ".into(),
        "page_size=0".into(),
        "page_size=x".into(),
        "state=DELETED".into(),
        "start_time_from=soon".into(),
    ] {
        refused(&server.get(&format!("{ROOT}/runs?{wrong}")).await, 400);
    }
}

#[tokio::test]
async fn others_runs_are_403_and_nobodys_requests_401() {
    let (server, _tools) = server().await;
    let (id, run) = seeded(&server, Shape::Single, 1).await;
    let step = step_id(&server, id, 0).await;
    for (method, path) in [
        ("GET", format!("/runs/{run}")),
        ("GET", format!("/runs/{run}/status")),
        ("GET", format!("/runs/{run}/tasks")),
        ("GET", format!("/runs/{run}/tasks/{step}")),
        ("POST", format!("/runs/{run}/cancel")),
        ("GET", "/runs".to_owned()),
        ("POST", "/runs".to_owned()),
    ] {
        let path = format!("{ROOT}{path}");
        let body = (method == "POST").then(|| request(json!({"reads": "data:,x"})));
        let nobody = server.call("", method, &path, body.clone()).await;
        refused(&nobody, 401);
        assert_eq!(nobody.header("www-authenticate"), "Bearer");
        refused(
            &server.call("no key", method, &path, body.clone()).await,
            401,
        );
        if path.contains(&run) {
            refused(&server.call(&server.bob, method, &path, body).await, 403);
        }
    }
    refused(&server.get(&format!("{ROOT}/nothing")).await, 404);
    refused(
        &server
            .call(&server.ada, "DELETE", &format!("{ROOT}/runs"), None)
            .await,
        405,
    );
}

#[tokio::test]
async fn a_run_is_cancelled_once_and_a_finished_one_stays_as_it_is() {
    let (server, _tools) = server().await;
    let made = server
        .post(
            &format!("{ROOT}/runs"),
            request(json!({"reads": "data:,x"})),
        )
        .await
        .ok();
    let run = text(&made["run_id"]);
    for _ in 0..2 {
        let answer = server
            .post(&format!("{ROOT}/runs/{run}/cancel"), json!({}))
            .await
            .ok();
        assert_eq!(answer, json!({"run_id": run}));
        let status = server.get(&format!("{ROOT}/runs/{run}/status")).await.ok();
        assert_eq!(status["state"], json!("CANCELING"));
    }
    let (_, finished) = seeded(&server, Shape::Single, 1).await;
    server
        .post(&format!("{ROOT}/runs/{finished}/cancel"), json!({}))
        .await
        .ok();
    let status = server
        .get(&format!("{ROOT}/runs/{finished}/status"))
        .await
        .ok();
    assert_eq!(status["state"], json!("COMPLETE"));
}

crate::store::testing::on_postgres_too!(
    the_service_tells_what_it_is_to_anybody,
    runs_are_listed_newest_first_filtered_and_paged,
    others_runs_are_403_and_nobodys_requests_401,
    a_run_is_cancelled_once_and_a_finished_one_stays_as_it_is,
);
