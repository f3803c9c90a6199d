//! The contract of the API: who may call, what refusals look like, what the document lists, paging, ranges, uploads.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use barycenter_tests::client::text;
use barycenter_tests::server::BOOTSTRAP_KEY;
use barycenter_tests::workflows::REVIEWED;
use barycenter_tests::{Client, TestServer};
use serde_json::{Value, json};

#[test]
fn a_key_is_taken_from_every_place_it_may_be_in() {
    let server = TestServer::start();
    let nobody = server.anonymous();
    let key = server.client().key.expect("a key");
    let whoami = |headers: &[(&str, &str)], query: &str| {
        nobody.send("GET", &format!("/api/whoami{query}"), headers, b"")
    };
    let bearer = format!("Bearer {key}");
    assert_eq!(whoami(&[("x-api-key", &key)], "").ok()["username"], "ada");
    assert_eq!(whoami(&[], &format!("?key={key}")).ok()["username"], "ada");
    assert_eq!(
        whoami(&[("authorization", &bearer)], "").ok()["username"],
        "ada"
    );
    // First found counts.
    whoami(&[("x-api-key", &key)], "?key=wrong").refused(401, 401_001);
    for wrong in [
        "wrong",
        "x",
        "0123456789abcdef0123456789abcdef",
        "'; drop table api_keys; --",
        "ünï",
    ] {
        if let Ok(answer) = nobody.try_send("GET", "/api/whoami", &[("x-api-key", wrong)], b"") {
            answer.refused(401, 401_001);
        }
    }
    // Nobody at all is not an error where no user is needed.
    assert_eq!(nobody.get("/api/version").status, 200);
    nobody
        .post("/api/histories", &json!({"name": "x"}))
        .refused(403, 403_001);
    server
        .bootstrap()
        .post("/api/histories", &json!({"name": "x"}))
        .refused(400, 400_016);
}

#[test]
fn only_the_newest_key_of_a_user_is_good() {
    let server = TestServer::start();
    let ada = server.client();
    let me = text(&ada.get("/api/users/current").ok(), "id");
    let new = ada
        .post(&format!("/api/users/{me}/api_key"), &json!({}))
        .ok();
    let new = ada.with_key(new.as_str());
    assert_eq!(new.get("/api/whoami").status, 200);
    let old = ada.get("/api/whoami").refused(401, 401_001);
    assert!(old.contains("expired"), "{old}");
    assert_eq!(
        new.delete(&format!("/api/users/{me}/api_key")).status / 100,
        2
    );
    assert_eq!(new.get("/api/whoami").status, 401);
}

#[test]
fn an_email_and_a_password_give_a_key_with_and_without_the_word_basic() {
    let server = TestServer::start();
    let nobody = server.anonymous();
    // ada@example.org:a long enough secret
    let good = "YWRhQGV4YW1wbGUub3JnOmEgbG9uZyBlbm91Z2ggc2VjcmV0";
    for header in [format!("Basic {good}"), good.to_owned()] {
        let answer = nobody
            .send(
                "GET",
                "/api/authenticate/baseauth",
                &[("authorization", &header)],
                b"",
            )
            .ok();
        let key = text(&answer, "api_key");
        assert_eq!(
            nobody.with_key(Some(&key)).get("/api/whoami").ok()["username"],
            "ada"
        );
    }
    for header in [
        "Basic YWRhQGV4YW1wbGUub3JnOndyb25n",
        "Basic !!!",
        "Basic",
        "",
        "Basic bm9ib2R5OnBhc3N3b3Jk",
    ] {
        let answer = nobody.send(
            "GET",
            "/api/authenticate/baseauth",
            &[("authorization", header)],
            b"",
        );
        assert_eq!(answer.status, 401, "{header}: {answer}");
    }
}

#[test]
fn run_as_is_for_administrators() {
    let server = TestServer::start();
    let (ada, admin) = (server.client(), server.admin());
    let me = text(&ada.get("/api/users/current").ok(), "id");
    let as_ada = [("run-as", me.as_str())];
    assert_eq!(
        admin.send("GET", "/api/whoami", &as_ada, b"").ok()["username"],
        "ada"
    );
    assert_eq!(
        server
            .bootstrap()
            .send("GET", "/api/whoami", &as_ada, b"")
            .ok()["username"],
        "ada"
    );
    ada.send("GET", "/api/whoami", &as_ada, b"")
        .refused(403, 400_001);
    for wrong in ["nonsense", "0123456789abcdef"] {
        let answer = admin.send("GET", "/api/whoami", &[("run-as", wrong)], b"");
        assert_eq!(answer.status, 400, "{answer}");
    }
}

/// Everything that one user has and another tries.
struct Things {
    history: String,
    dataset: String,
    collection: String,
    workflow: String,
    invocation: String,
    step: String,
    job: String,
}

fn things(owner: &Client) -> Things {
    let history = owner.create_history("secret history");
    let dataset = owner.upload(&history, "secret data", "secret content\n");
    let element = json!([{"name": "e", "src": "hda", "id": dataset}]);
    let collection = owner.create_collection(&history, "secret list", "list", &element);
    let workflow = owner.import_yaml(&REVIEWED.replace("Reviewed copy", "secret workflow"));
    let invocation = owner.invoke(
        &workflow,
        &history,
        &json!({"data": {"src": "hda", "id": dataset}}),
    );
    let step = text(
        &owner.wait_for_step(&invocation, "review", "scheduled"),
        "id",
    );
    let job = text(&owner.wait_for_job(&invocation, "first", &["ok"]), "id");
    Things {
        history,
        dataset,
        collection,
        workflow,
        invocation,
        step,
        job,
    }
}

#[test]
fn nothing_of_another_user_is_shown_or_changed_by_any_route() {
    let server = TestServer::start();
    let ada = server.client();
    let mallory = server
        .anonymous()
        .with_key(Some(&server.create_user("mallory", false)));
    let of = things(&ada);
    let document = server.anonymous().get("/api/openapi.json").ok();
    let mut probed = 0;
    for (path, methods) in document["paths"].as_object().expect("paths") {
        if !path.contains('{')
            || path.contains("unprivileged")
            || path.contains("/api/tools/")
            || path.contains("configuration")
        {
            continue;
        }
        let mut filled = String::new();
        for part in path.split('/').skip(1) {
            filled.push('/');
            let before = filled
                .trim_end_matches('/')
                .rsplit('/')
                .next()
                .unwrap_or_default()
                .to_owned();
            filled += match part {
                part if !part.starts_with('{') => part,
                _ if ["usage", "invocations"].contains(&before.as_str()) => &of.invocation,
                _ if before == "steps" => &of.step,
                _ if before == "workflows" || before == "download" => &of.workflow,
                _ if before == "histories" || before == "deleted" => &of.history,
                _ if before == "jobs" => &of.job,
                _ if before.contains("collection") => &of.collection,
                _ if ["datasets", "contents"].contains(&before.as_str()) => &of.dataset,
                _ => &of.dataset,
            };
        }
        for method in methods.as_object().expect("methods").keys() {
            let method = method.to_uppercase();
            for caller in [&mallory, &server.anonymous()] {
                let body: &[u8] = if method == "GET" || method == "HEAD" {
                    b""
                } else {
                    b"{\"action\": true, \"name\": \"mine\"}"
                };
                let answer = caller.send(
                    &method,
                    &filled,
                    &[("content-type", "application/json")],
                    body,
                );
                assert!(!answer.text().contains("secret"), "{answer}");
                assert!(answer.status < 500 || answer.status == 501, "{answer}");
                if answer.status == 200 {
                    assert!(
                        ["[]", "null", "{}", ""].contains(&answer.text().as_str()),
                        "{answer}"
                    );
                }
                probed += 1;
            }
        }
    }
    assert!(probed > 100, "only {probed} probes");
    // All as it was, and the review still waits.
    let now = ada.wait_for_state(&of.invocation, &["ready"]);
    let review = now["steps"]
        .as_array()
        .expect("steps")
        .iter()
        .find(|step| step["id"] == of.step.as_str());
    assert_eq!(review.expect("there")["action"], Value::Null);
    assert_eq!(
        ada.get(&format!("/api/histories/{}", of.history)).ok()["name"],
        "secret history"
    );
    assert_eq!(ada.content(&of.dataset), "secret content\n");
    for list in [
        "/api/histories",
        "/api/workflows",
        "/api/invocations",
        "/api/jobs",
        "/api/datasets",
    ] {
        assert_eq!(mallory.get(list).ok(), json!([]), "{list}");
    }
    // Nor may another's things be used.
    let own = mallory.create_history("own");
    let workflow = mallory.import_yaml(REVIEWED);
    let request = json!({"history_id": own, "inputs": {"0": {"src": "hda", "id": of.dataset}}});
    let answer = mallory.post(&format!("/api/workflows/{workflow}/invocations"), &request);
    assert!([403, 404].contains(&answer.status), "{answer}");
    let data = mallory.upload(&own, "data", "mine\n");
    let request = json!({"history_id": of.history, "inputs": {"0": {"src": "hda", "id": data}}});
    let answer = mallory.post(&format!("/api/workflows/{workflow}/invocations"), &request);
    assert!([403, 404].contains(&answer.status), "{answer}");
    let request = json!({"history_id": own, "name": "x", "collection_type": "list", "element_identifiers": [{"name": "e", "src": "hda", "id": of.dataset}]});
    let answer = mallory.post("/api/dataset_collections", &request);
    assert!([403, 404].contains(&answer.status), "{answer}");
    let request = json!({"history_id": own, "tool_id": "copy", "inputs": {"input": {"src": "hda", "id": of.dataset}}});
    let answer = mallory.post("/api/tools", &request);
    assert!([400, 403, 404].contains(&answer.status), "{answer}");
}

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

/// A multipart form: the fields, then one file.
fn form(fields: &[(&str, &str)], file: (&str, &str, &[u8])) -> (String, Vec<u8>) {
    let boundary = "----a-boundary";
    let mut body = Vec::new();
    for (name, value) in fields {
        body.extend(
            format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
            )
            .bytes(),
        );
    }
    let (name, filename, content) = file;
    body.extend(format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{filename}\"\r\nContent-Type: application/octet-stream\r\n\r\n").bytes());
    body.extend(content);
    body.extend(format!("\r\n--{boundary}--\r\n").bytes());
    (format!("multipart/form-data; boundary={boundary}"), body)
}

#[test]
fn files_are_uploaded_whatever_they_are_called() {
    let server = TestServer::start();
    let ada = server.client();
    let history = ada.create_history("uploads");
    let targets = json!([{"destination": {"type": "hdas"}, "elements": [{"src": "files", "ext": "data", "dbkey": "?"}]}]).to_string();
    let content: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    for filename in [
        "plain.bin",
        "../../../etc/passwd",
        "/etc/passwd",
        "a b;c&d$(id).txt",
        "ünï.txt",
        "..",
        "",
        "x\\y",
        &"long".repeat(300),
    ] {
        let (kind, body) = form(
            &[("history_id", &history), ("targets", &targets)],
            ("files_0|file_data", filename, &content),
        );
        let answer = ada.send(
            "POST",
            "/api/tools/fetch",
            &[("content-type", &kind)],
            &body,
        );
        if answer.status != 200 {
            assert!((400..500).contains(&answer.status), "{filename}: {answer}");
            continue;
        }
        let id = text(&answer.json()["outputs"][0], "id");
        ada.wait_for_dataset(&id);
        let answer = ada.get(&format!("/api/datasets/{id}/display?to_ext=data"));
        assert_eq!(answer.bytes, content, "{filename}");
        let disposition = answer.header("content-disposition").unwrap_or_default();
        assert!(
            !disposition.contains("../") && !disposition.contains('\n'),
            "{disposition}"
        );
    }
    assert_eq!(ada.get("/healthz").status, 200);
}

#[test]
fn an_upload_that_breaks_off_leaves_nothing() {
    let server = TestServer::start();
    let ada = server.client();
    let history = ada.create_history("broken");
    let targets =
        json!([{"destination": {"type": "hdas"}, "elements": [{"src": "files"}]}]).to_string();
    let (kind, body) = form(
        &[("history_id", &history), ("targets", &targets)],
        ("files_0|file_data", "x", &[b'x'; 50_000]),
    );
    let address = server.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).expect("connects");
    let key = ada.key.clone().expect("a key");
    write!(stream, "POST /api/tools/fetch HTTP/1.1\r\nHost: {address}\r\nx-api-key: {key}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len()).expect("sent");
    stream.write_all(&body[..body.len() / 2]).expect("sent");
    stream
        .shutdown(std::net::Shutdown::Write)
        .expect("half closed");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    // Complete by its length, cut in the form.
    let answer = ada.send(
        "POST",
        "/api/tools/fetch",
        &[("content-type", &kind)],
        &body[..body.len() / 2],
    );
    assert_eq!(answer.status, 400, "{answer}");
    let answer = ada.send(
        "POST",
        "/api/tools/fetch",
        &[("content-type", "multipart/form-data")],
        &body,
    );
    assert_eq!(answer.status, 400, "{answer}");
    assert_eq!(
        ada.get(&format!("/api/histories/{history}/contents")).ok(),
        json!([])
    );
    let tmp = std::fs::read_dir(server.data_dir().join("tmp")).expect("a folder");
    assert_eq!(tmp.count(), 0, "temporary files are left");
}

#[test]
fn no_answer_and_no_log_tells_a_key() {
    let server = TestServer::start();
    let ada = server.client();
    let key = ada.key.clone().expect("a key");
    server
        .anonymous()
        .get(&format!("/api/whoami?key={key}"))
        .ok();
    server
        .anonymous()
        .get(&format!("/api/histories/nonsense?key={key}"));
    server.bootstrap().get("/api/users").ok();
    let users = server.admin().get("/api/users").ok().to_string();
    assert!(
        !users.contains(&key) && !users.contains("password"),
        "{users}"
    );
    let log = server.log();
    assert!(
        !log.contains(&key) && !log.contains(BOOTSTRAP_KEY),
        "the log tells a key"
    );
}

/// The most memory that a process has had resident so far, in bytes.
fn peak_memory(pid: i32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a running server");
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<usize>().ok());
    kilobytes.expect("a number of kilobytes") * 1024
}

#[test]
fn a_large_upload_is_never_in_memory() {
    const SIZE: usize = 120 << 20;
    let server = TestServer::start();
    let ada = server.client();
    let history = ada.create_history("large");
    let targets = json!([{"destination": {"type": "hdas"}, "elements": [{"src": "files", "ext": "txt", "dbkey": "?"}]}]).to_string();
    let mut content = vec![b'x'; SIZE];
    content
        .chunks_mut(64)
        .for_each(|line| line[line.len() - 1] = b'\n');
    let fields = [
        ("history_id", history.as_str()),
        ("targets", targets.as_str()),
    ];
    let (kind, body) = form(&fields, ("files_0|file_data", "large.txt", &content));
    let before = peak_memory(server.pid());
    let answer = ada
        .send(
            "POST",
            "/api/tools/fetch",
            &[("content-type", &kind)],
            &body,
        )
        .ok();
    assert_eq!(answer["outputs"][0]["file_size"], SIZE);
    let grown = peak_memory(server.pid()).saturating_sub(before);
    assert!(grown < 40 << 20, "{grown} bytes more were resident");
}
