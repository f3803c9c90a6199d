//! The contract of the API: ids that are none, what the document lists, paging, ranges.

use barycenter_tests::TestServer;
use barycenter_tests::client::text;
use serde_json::json;

#[test]
fn ids_that_are_none_are_refused_everywhere_with_400009() {
    let server = TestServer::start();
    let ada = server.client();
    for id in [
        "1",
        "nonsense",
        "%00",
        "..%2f..%2fetc",
        "0123456789abcde",
        "ffffffffffffffff",
        "%F0%9F%90%A7",
        &"a".repeat(4000),
    ] {
        for path in [
            "histories",
            "datasets",
            "invocations",
            "jobs",
            "dataset_collections",
            "users",
        ] {
            let answer = ada.get(&format!("/api/{path}/{id}"));
            assert!([400, 403, 404, 414].contains(&answer.status), "{answer}");
            assert!(answer.json()["err_code"].is_u64(), "{answer}");
        }
    }
    for path in ["histories", "datasets", "invocations", "jobs"] {
        ada.get(&format!("/api/{path}/nonsense"))
            .refused(400, 400_009);
        let answer = ada.get(&format!(
            "/api/{path}/{}",
            text(&ada.get("/api/users/current").ok(), "id")
        ));
        assert_eq!(answer.status, 404, "an id of nothing: {answer}");
    }
}

#[test]
fn every_route_of_the_document_is_answered_and_unknown_ones_are_not() {
    let server = TestServer::start();
    let ada = server.client();
    let document = ada.get("/api/openapi.json").ok();
    assert!(
        document["openapi"]
            .as_str()
            .expect("a version")
            .starts_with("3.")
    );
    let paths = document["paths"].as_object().expect("paths");
    assert!(paths.len() > 60, "{}", paths.len());
    for needed in [
        "/api/workflows/{workflow_id}/usage",
        "/api/workflows/{workflow_id}/invocations",
        "/api/version",
        "/api/whoami",
        "/api/tools/fetch",
        "/api/histories",
        "/api/jobs",
    ] {
        assert!(
            paths.contains_key(needed),
            "{needed} is not in the document"
        );
    }
    for (path, methods) in paths {
        let filled: Vec<&str> = path
            .split('/')
            .map(|part| {
                if part.starts_with('{') {
                    "nonsense"
                } else {
                    part
                }
            })
            .collect();
        for method in methods.as_object().expect("methods").keys() {
            let answer = ada.send(
                &method.to_uppercase(),
                &filled.join("/"),
                &[("content-type", "application/json")],
                b"",
            );
            assert_ne!(answer.status, 405, "{answer}");
            assert!(answer.status < 500 || answer.status == 501, "{answer}");
            if answer.status == 404 {
                assert!(!answer.text().contains("no such path"), "{answer}");
            }
        }
    }
    ada.get("/api/no/such/thing").refused(404, 404_001);
    let answer = ada.send("PATCH", "/api/version", &[], b"");
    assert_eq!(answer.status, 405, "{answer}");
    assert!(answer.json()["err_msg"].is_string());
}

#[test]
fn lists_come_in_pages_with_their_total() {
    let server = TestServer::start();
    let ada = server.client();
    let history = ada.create_history("pages");
    let data = ada.upload(&history, "data", "x\n");
    let workflow = ada.import_yaml("class: GalaxyWorkflow\ninputs: {data: data}\noutputs: {}\nsteps:\n  a: {tool_id: copy, in: {input: data}}\n");
    let made: Vec<String> = (0..5)
        .map(|_| {
            ada.invoke(
                &workflow,
                &history,
                &json!({"data": {"src": "hda", "id": data}}),
            )
        })
        .collect();
    let mut seen = Vec::new();
    for offset in [0, 2, 4, 6] {
        let answer = ada.get(&format!("/api/invocations?limit=2&offset={offset}"));
        assert_eq!(answer.header("total_matches"), Some("5"), "{answer}");
        for one in answer.ok().as_array().expect("a list") {
            seen.push(text(one, "id"));
        }
    }
    seen.reverse();
    assert_eq!(seen, made, "newest first, each once");
    for wrong in [
        "limit=-1",
        "limit=x",
        "offset=-1",
        "limit=0",
        "limit=101",
        "limit=99999999999999999999",
        "sort_by=moon",
        "view=moon",
    ] {
        let answer = ada.get(&format!("/api/invocations?{wrong}"));
        assert_eq!(answer.status, 400, "{wrong}: {answer}");
    }
    for invocation in &made {
        ada.wait_for_state(invocation, &["completed"]);
    }
}

#[test]
fn content_is_served_in_ranges_and_to_head() {
    let server = TestServer::start();
    let ada = server.client();
    let history = ada.create_history("ranges");
    let id = ada.upload(&history, "data", "0123456789\n");
    let path = format!("/api/datasets/{id}/display");
    let range = |range: &str| ada.send("GET", &path, &[("range", range)], b"");
    for (asked, expected) in [
        ("bytes=0-3", "0123"),
        ("bytes=4-", "456789\n"),
        ("bytes=-3", "89\n"),
        ("bytes=10-99", "\n"),
    ] {
        let answer = range(asked);
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (206, expected),
            "{asked}"
        );
        assert!(
            answer
                .header("content-range")
                .is_some_and(|range| range.ends_with("/11"))
        );
    }
    assert_eq!(range("bytes=99-").status, 416);
    for odd in [
        "bytes=5-2",
        "lines=1-2",
        "bytes=x-y",
        "bytes=-",
        "bytes=18446744073709551616-",
    ] {
        let answer = range(odd);
        assert!([200, 416].contains(&answer.status), "{odd}: {answer}");
    }
    let head = ada.send("HEAD", &path, &[], b"");
    assert_eq!(
        (head.status, head.bytes.len(), head.header("content-length")),
        (200, 0, Some("11"))
    );
    for path in ["/api/version", "/api/histories", "/healthz"] {
        assert_eq!(ada.send("HEAD", path, &[], b"").status, 200, "{path}");
    }
}
