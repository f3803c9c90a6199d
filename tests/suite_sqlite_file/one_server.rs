//! One server to a data directory whose database is a file in it.

use barycenter_tests::TestServer;
use barycenter_tests::server::refused;

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
