//! PostgreSQL goes away and comes back.

use barycenter_tests::TestServer;
use barycenter_tests::wait::eventually;
use barycenter_tests::workflows::{self, REVIEWED};
use serde_json::json;

#[test]
fn readiness_says_why_and_work_goes_on_when_the_database_is_back() {
    let server = TestServer::start();
    let ada = server.client();
    let invocation = ada.invoke_on(REVIEWED, "hello\n");
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
    // One thing happened, and the driver does not tell it of every connection.
    assert!(!server.log().contains("sqlx"), "{}", server.log());
}

#[test]
fn jobs_that_end_while_the_database_is_away_are_stored_when_it_is_back() {
    let server = TestServer::start();
    let ada = server.client();
    let gate = server.folder().join("gate");
    let history = ada.create_history("away");
    let data = ada.upload(&history, "data", "hello\n");
    let script = format!("{}; echo survived > out.txt", workflows::wait_for(&gate));
    let workflow = ada.import_yaml(&workflows::steps(&[
        ("slow", &script, "data"),
        ("next", "cat $INPUT > out.txt", "slow/out"),
    ]));
    let inputs = json!({"data": {"src": "hda", "id": data}});
    let invocation = ada.invoke(&workflow, &history, &inputs);
    ada.wait_for_job(&invocation, "slow", &["running"]);
    let paused = ada.invoke(&ada.import_yaml(REVIEWED), &history, &inputs);
    let step = ada.wait_for_step(&paused, "review", "scheduled");
    let step = barycenter_tests::client::text(&step, "id");
    server.database().close_doors();
    std::fs::write(&gate, "").expect("the gate opens");
    eventually("the job ends", || server.job_processes().is_empty());
    let refused = ada.act(&paused, &step, &json!(true));
    assert_eq!(refused.status, 503, "{refused}");
    // Longer than the loops' first pauses.
    std::thread::sleep(std::time::Duration::from_secs(4));
    server.database().open_doors();
    let done = ada.wait_for_state(&invocation, &["completed"]);
    assert_eq!(ada.output(&done, "next_out"), "survived\n");
    eventually("the approval is accepted", || {
        ada.act(&paused, &step, &json!(true)).status == 200
    });
    ada.wait_for_state(&paused, &["completed"]);
    let checked = server.db(&["check"]);
    assert!(checked.status.success(), "{checked:?}");
}
