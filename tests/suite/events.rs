//! Many invocations at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use barycenter_tests::{Client, TestServer, workflows};
use serde_json::json;

#[test]
fn fifty_invocations_of_three_users_all_complete_and_the_server_answers_meanwhile() {
    let server = TestServer::start();
    let keys = [
        server.create_user("one", false),
        server.create_user("two", false),
        server.create_user("three", false),
    ];
    let stop = AtomicBool::new(false);
    let begun = Instant::now();
    let slowest = std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut slowest = Duration::ZERO;
            while !stop.load(Ordering::Relaxed) {
                for path in [
                    "/api/version",
                    "/api/histories",
                    "/readyz",
                    "/api/invocations",
                ] {
                    let asked = Instant::now();
                    assert_eq!(server.client().get(path).status, 200);
                    slowest = slowest.max(asked.elapsed());
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            slowest
        });
        let users: Vec<_> = keys
            .iter()
            .enumerate()
            .map(|(n, key)| {
                let client = Client::new(&server.url, Some(key));
                let count = if n == 0 { 18 } else { 16 };
                scope.spawn(move || complete(&client, count))
            })
            .collect();
        let done: Vec<_> = users.into_iter().map(|user| user.join()).collect();
        stop.store(true, Ordering::Relaxed);
        let slowest = watching.join().expect("the server answers");
        done.into_iter()
            .for_each(|user| user.expect("all of a user's invocations complete"));
        slowest
    });
    // Whoever is busy with all that until it is done would answer only then.
    let all = begun.elapsed();
    assert!(
        slowest < Duration::from_secs(1).max(all / 4),
        "an answer took {slowest:?}, all together {all:?}"
    );
}

/// Invokes a chain of three so often at once, and waits for all of them.
fn complete(client: &Client, count: usize) {
    let history = client.create_history("many");
    let data = client.upload(&history, "data", "hello\n");
    let workflow = client.import_yaml(&workflows::steps(&[
        ("a", "cat $INPUT > out.txt", "data"),
        ("b", "cat $INPUT > out.txt", "a/out"),
        ("c", "cat $INPUT > out.txt", "b/out"),
    ]));
    let inputs = json!({"data": {"src": "hda", "id": data}});
    let invocations: Vec<String> = (0..count)
        .map(|_| client.invoke(&workflow, &history, &inputs))
        .collect();
    for invocation in invocations {
        let done = client.wait_for_state(&invocation, &["completed"]);
        assert_eq!(client.output(&done, "c_out"), "hello\n");
    }
}
