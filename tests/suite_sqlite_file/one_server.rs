//! One server to a data directory whose database is a file in it.

use barycenter_tests::server::refused;
use barycenter_tests::{Setup, TestServer};

#[test]
fn a_second_server_on_the_same_data_is_refused_and_the_first_goes_on() {
    let mut server = TestServer::start();
    let told = refused(&mut server.command(), 1);
    assert!(
        told.contains("in use") && told.contains(&server.pid().to_string()),
        "{told}"
    );
    assert_eq!(server.anonymous().get("/healthz").status, 200);
    server.stop();
    server.restart();
    assert_eq!(server.anonymous().get("/healthz").status, 200);
}

#[test]
fn the_one_server_is_live_while_it_has_its_directory_and_stopped_afterwards() {
    let mut server = Setup::default()
        .env("BARYCENTER_HANDLER_LEASE_SECONDS", "1")
        .start();
    let state = |server: &TestServer| {
        let text = server.admin_command(&["handlers", "--json"]);
        let first = text.lines().next().expect("a server");
        let server: serde_json::Value = serde_json::from_str(first).expect("JSON");
        (server["name"].clone(), server["state"].clone())
    };
    // Longer than a lease, which one server on a file does not keep.
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert_eq!(state(&server), ("main".into(), "live".into()));
    server.stop();
    assert_eq!(state(&server), ("main".into(), "stopped".into()));
    server.restart();
    assert_eq!(state(&server), ("main".into(), "live".into()));
}
