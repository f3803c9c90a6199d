use serde_json::{Value, json};

use crate::args;
use crate::http::tests::Server;
use crate::store::Durability;

/// A job of Ada's that said hello, with parameters as they are stored; answers its id.
async fn add_job(server: &Server, tool: &str, parameters: &[(&str, &str)]) -> String {
    let mut tx = server.app.store.begin().await.unwrap();
    tx.run(
        "INSERT INTO job (id, uuid, user_id, tool_id, state, tool_stdout, create_time, update_time)
         SELECT 7, 'u', id, $1, 'ok', 'hello', 1, 1 FROM galaxy_user WHERE username = 'ada'",
        args![tool],
    )
    .await
    .unwrap();
    for (name, value) in parameters {
        tx.run(
            "INSERT INTO job_parameter (job_id, name, value) VALUES (7, $1, $2)",
            args![*name, *value],
        )
        .await
        .unwrap();
    }
    tx.commit(Durability::Progress, "test").await.unwrap();
    server.app.encode(7)
}

#[tokio::test]
async fn a_job_is_shown_with_its_parameters_and_what_it_said_and_is_found() {
    let server = Server::start().await;
    let input = r#"{"values": [{"src": "hda", "id": 41}]}"#;
    let parameters = [("lineNum", "10"), ("input", input)];
    let id = add_job(&server, "Show beginning1", &parameters).await;
    let shown = server.get(&format!("/api/jobs/{id}?full=True")).await.ok();
    assert_eq!(
        (&shown["stdout"], &shown["params"]["lineNum"]),
        (&json!("hello"), &json!("10"))
    );
    let input: Value = serde_json::from_str(shown["params"]["input"].as_str().unwrap()).unwrap();
    assert_eq!(
        input,
        json!({"values": [{"src": "hda", "id": server.app.encode(41)}]})
    );
    let console = server
        .get(&format!(
            "/api/jobs/{id}/console_output?stdout_position=1&stdout_length=3"
        ))
        .await
        .ok();
    assert_eq!(console["stdout"], json!("ell"));
    assert_eq!(
        server.get(&format!("/api/jobs/{id}/stdout")).await.body,
        b"hello"
    );
    assert_eq!(
        server.get(&format!("/api/jobs/{id}/inputs")).await.ok(),
        json!([])
    );
    let found = server
        .get("/api/jobs?tool_id=Show%20beginning1&state=ok&search=show")
        .await
        .ok();
    assert_eq!(found.as_array().unwrap().len(), 1);
    assert_eq!(
        server.get("/api/jobs?date_range_min=2026-01-01").await.ok(),
        json!([])
    );
}

#[tokio::test]
async fn the_parameters_of_a_job_are_told_in_the_words_of_its_tool() {
    let server = Server::start().await;
    let id = add_job(
        &server,
        "param_value_from_file",
        &[("param_type", "\"float\"")],
    )
    .await;
    let display = format!("/api/jobs/{id}/parameters_display");
    let told = server.get(&display).await.ok();
    let line = json!({"text": "Select type of parameter to parse", "depth": 1, "value": "float", "notes": null});
    assert!(
        told["parameters"].as_array().unwrap().contains(&line),
        "{told}"
    );
    assert_eq!(told["has_parameter_errors"], json!(false));
}

#[tokio::test]
async fn jobs_are_their_owners_and_bad_filters_are_refused() {
    let server = Server::start().await;
    let id = add_job(&server, "Show beginning1", &[]).await;
    for part in [
        "",
        "/parameters_display",
        "/inputs",
        "/outputs",
        "/stdout",
        "/console_output",
        "/metrics",
        "/build_for_rerun",
    ] {
        let path = format!("/api/jobs/{id}{part}");
        server
            .call(&server.bob, "GET", &path, None)
            .await
            .refused(403, 403_002);
    }
    server
        .call(&server.bob, "DELETE", &format!("/api/jobs/{id}"), None)
        .await
        .refused(403, 403_002);
    server
        .get("/api/jobs?state=fine")
        .await
        .refused(400, 400_008);
    server
        .get("/api/jobs?date_range_min=soon")
        .await
        .refused(400, 400_008);
    server
        .get("/api/jobs?user_details=true")
        .await
        .refused(403, 403_006);
    server
        .get(&format!("/api/jobs/{}", server.app.encode(8)))
        .await
        .refused(404, 404_001);
    assert_eq!(
        server
            .call(&server.bob, "GET", "/api/jobs", None)
            .await
            .ok(),
        json!([])
    );
}

crate::store::testing::on_postgres_too!(
    a_job_is_shown_with_its_parameters_and_what_it_said_and_is_found,
    the_parameters_of_a_job_are_told_in_the_words_of_its_tool,
    jobs_are_their_owners_and_bad_filters_are_refused,
);
