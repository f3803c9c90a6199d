//! PostgreSQL goes away and comes back.

use barycenter_tests::TestServer;
use barycenter_tests::wait::eventually;
use barycenter_tests::workflows::REVIEWED;
use serde_json::json;

#[test]
fn readiness_says_why_and_work_goes_on_when_the_database_is_back() {
    let server = TestServer::start();
    let ada = server.client();
    let history = ada.create_history("away");
    let data = ada.upload(&history, "data", "hello\n");
    let workflow = ada.import_yaml(REVIEWED);
    let inputs = json!({"data": {"src": "hda", "id": data}});
    let invocation = ada.invoke(&workflow, &history, &inputs);
    let pause = ada.wait_for_step(&invocation, "review", "scheduled");
    let door = server.anonymous();
    assert_eq!(door.get("/readyz").status, 200);
    server.database().close_doors();
    let told = door.get("/readyz");
    assert_eq!(told.status, 503, "{}", told.text());
    let report = told.json();
    assert_eq!(report["database"]["ok"], json!(false));
    let reason = report["database"]["reason"].as_str().unwrap_or_default();
    assert!(!reason.is_empty(), "{report:#}");
    assert_eq!(door.get("/healthz").status, 200);
    server.database().open_doors();
    eventually("it is ready again", || door.get("/readyz").status == 200);
    let step = barycenter_tests::client::text(&pause, "id");
    eventually("the approval is accepted", || {
        ada.act(&invocation, &step, &json!(true)).status == 200
    });
    ada.wait_for_state(&invocation, &["completed"]);
}
