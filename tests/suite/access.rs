//! Who may call and what they may see: keys, passwords, acting for somebody else, another user's things.

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
