//! From one kind of database to the other.

use barycenter_tests::server::clean;
use barycenter_tests::workflows::REVIEWED;
use barycenter_tests::{Database, TestServer, build};
use serde_json::json;
use std::process::Command;

fn copy(from: &Database, to: &Database) {
    let mut command = Command::new(build::binary());
    command.args(["db", "copy", "--from", &from.url, "--to", &to.url]);
    let output = clean(&mut command).output().expect("the program runs");
    assert!(output.status.success(), "{output:?}");
    let again = clean(&mut command).output().expect("the program runs");
    let told = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(
        again.status.code() == Some(1) && told.contains("is not empty"),
        "{told}"
    );
}

#[test]
fn a_server_moves_to_sqlite_and_back_in_the_middle_of_its_work() {
    let mut server = TestServer::start();
    let ada = server.client();
    let history = ada.create_history("moving");
    let data = ada.upload(&history, "data", "tab\tand \\ and\r\nline\n");
    let workflow = ada.import_yaml(REVIEWED);
    let inputs = json!({"data": {"src": "hda", "id": data}});
    let waiting: Vec<String> = (0..2)
        .map(|_| ada.invoke(&workflow, &history, &inputs))
        .collect();
    let pauses: Vec<String> = (waiting.iter())
        .map(|id| {
            ada.wait_for_job(id, "first", &["ok"]);
            let pause = ada.wait_for_step(id, "review", "scheduled");
            barycenter_tests::client::text(&pause, "id")
        })
        .collect();
    let shown = ada.invocation(&waiting[0]);
    server.stop();
    for (n, make) in [
        (|server: &TestServer| Database::sqlite(&server.folder().join("moved.sqlite")))
            as fn(&TestServer) -> Database,
        |_| Database::empty_postgres(),
    ]
    .into_iter()
    .enumerate()
    {
        let next = make(&server);
        copy(server.database(), &next);
        server.set_database(next);
        let checked = server.db(&["check"]);
        assert!(checked.status.success(), "{checked:?}");
        server.restart();
        let ada = server.client();
        if n == 0 {
            assert_eq!(ada.invocation(&waiting[0]), shown);
        }
        assert_eq!(ada.act(&waiting[n], &pauses[n], &json!(true)).status, 200);
        let done = ada.wait_for_state(&waiting[n], &["completed"]);
        let after = ada.output(&done, "after");
        assert!(after.starts_with("tab\tand \\ and\r\nline\n"), "{after:?}");
        // New rows get numbers of their own.
        let another = ada.invoke(&workflow, &history, &inputs);
        ada.wait_for_job(&another, "first", &["ok"]);
        server.stop();
    }
    let checked = server.db(&["check"]);
    assert!(checked.status.success(), "{checked:?}");
}
