//! What does not fit is refused with one clear sentence and the right status, and leaves nothing behind.

use barycenter_tests::client::text;
use barycenter_tests::workflows::{self, REVIEWED};
use barycenter_tests::{Answer, Client, TestServer, rows};
use serde_json::{Value, json};

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

/// A native workflow of these steps.
fn native(steps: Value) -> Value {
    json!({"a_galaxy_workflow": "true", "format-version": "0.1", "name": "bad", "annotation": "", "steps": steps})
}

fn native_step(id: usize, kind: &str, connections: Value) -> Value {
    json!({"id": id, "type": kind, "name": kind, "label": format!("s{id}"), "annotation": "",
           "tool_id": if kind == "tool" { json!("copy") } else { Value::Null },
           "content_id": if kind == "tool" { json!("copy") } else { Value::Null },
           "tool_version": "1", "tool_state": "{}", "input_connections": connections,
           "inputs": [], "outputs": [], "workflow_outputs": []})
}

/// A refusal of what was sent: 4xx, in the envelope, one sentence.
#[track_caller]
fn check_refusal(what: &str, answer: &Answer) -> String {
    assert!((400..500).contains(&answer.status), "{what}: {answer}");
    let body = answer.json();
    let sentence = body["err_msg"].as_str().unwrap_or_default();
    assert!(body["err_code"].is_u64(), "{what}: {answer}");
    assert!(
        sentence.len() >= 10 && sentence.len() <= 600,
        "{what}: {answer}"
    );
    for inner in ["panicked", "src/", "sqlx", "SELECT", "/tmp/", "Error {"] {
        assert!(
            !sentence.contains(inner),
            "{what} tells inner things: {sentence}"
        );
    }
    sentence.to_owned()
}

#[test]
fn faulty_workflows_are_refused_and_leave_no_row() {
    let server = TestServer::start();
    let ada = server.client();
    let before = rows::counts(server.database());
    let loop_of_two = json!({
        "0": native_step(0, "tool", json!({"input": {"id": 1, "output_name": "out"}})),
        "1": native_step(1, "tool", json!({"input": {"id": 0, "output_name": "out"}})),
    });
    let mut twice = json!({"0": native_step(0, "data_input", json!({})), "1": native_step(1, "data_input", json!({}))});
    twice["1"]["label"] = json!("s0");
    let mut odd_state = native_step(0, "tool", json!({}));
    odd_state["tool_state"] = json!("{not json");
    let yaml = |text: &str| json!({"class": "GalaxyWorkflow", "yaml_content": text});
    let cases: Vec<(&str, Value)> = vec![
        ("steps that are text", native(json!("none"))),
        ("steps that are a number", native(json!(7))),
        ("a step that is a list", native(json!({"0": []}))),
        ("a step without a type", native(json!({"0": {"id": 0}}))),
        (
            "a connection to nothing",
            native(
                json!({"0": native_step(0, "tool", json!({"input": {"id": 9, "output_name": "out"}}))}),
            ),
        ),
        (
            "a connection of the wrong type",
            native(json!({"0": native_step(0, "tool", json!({"input": "zero"}))})),
        ),
        ("labels twice", native(twice)),
        ("a state that is no JSON", native(json!({"0": odd_state}))),
        ("not a workflow", json!({"hello": "world"})),
        ("a number", json!(3)),
        ("a list", json!([])),
        (
            "yaml that is broken",
            yaml("class: GalaxyWorkflow\nsteps: ["),
        ),
        ("yaml that is a list", yaml("- a\n- b\n")),
        ("yaml of a tool", yaml("class: GalaxyTool\nid: x\n")),
        (
            "yaml with an unknown source",
            yaml(
                "class: GalaxyWorkflow\ninputs: {}\noutputs: {}\nsteps:\n  a: {tool_id: copy, in: {input: nowhere/out}}\n",
            ),
        ),
        ("yaml that multiplies itself", yaml(&bomb())),
        ("an empty text", yaml("")),
    ];
    for (what, workflow) in cases {
        let answer = ada.post("/api/workflows", &json!({"workflow": workflow}));
        check_refusal(what, &answer);
    }
    // A cycle is stored with its fault, as in Galaxy, or refused at once; it is never invoked.
    let answer = ada.post("/api/workflows", &json!({"workflow": native(loop_of_two)}));
    if answer.status == 200 {
        let id = text(&answer.json(), "id");
        let answer = ada.post(&format!("/api/workflows/{id}/invocations"), &json!({}));
        check_refusal("a cycle", &answer);
        assert_eq!(ada.get("/api/invocations").ok(), json!([]));
    } else {
        check_refusal("a cycle", &answer);
        assert_eq!(rows::counts(server.database()), before);
    }
}

/// Nine levels of ten references each.
fn bomb() -> String {
    let mut text = String::from("class: GalaxyWorkflow\na0: &a0 [x]\n");
    for n in 1..10 {
        let references = vec![format!("*a{}", n - 1); 10].join(", ");
        text += &format!("a{n}: &a{n} [{references}]\n");
    }
    text + "inputs: {}\noutputs: {}\nsteps: {}\n"
}

#[test]
fn requests_to_import_that_make_no_sense_are_refused() {
    let server = TestServer::start();
    let ada = server.client();
    let before = rows::counts(server.database());
    let truncated = json!({"workflow": native(json!({}))}).to_string();
    let truncated = &truncated[..truncated.len() / 2];
    let deep = format!(
        "{{\"workflow\": {}1{}}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    let bodies: [(&str, &[u8]); 9] = [
        ("nothing", b""),
        ("truncated", truncated.as_bytes()),
        ("not JSON", b"hello"),
        ("not UTF-8", b"{\"workflow\": \"\xff\xfe\"}"),
        ("a number", b"3"),
        ("null", b"null"),
        ("a list", b"[]"),
        ("an empty object", b"{}"),
        ("deep", deep.as_bytes()),
    ];
    for (what, body) in bodies {
        for (method, path) in [
            ("POST", "/api/workflows"),
            ("POST", "/api/workflows/upload"),
            ("POST", "/api/tools/fetch"),
            ("POST", "/api/tools"),
            ("POST", "/api/dataset_collections"),
        ] {
            let answer = ada.send(method, path, &JSON, body);
            check_refusal(&format!("{what} to {path}"), &answer);
        }
    }
    let both = json!({"workflow": native(json!({})), "from_history_id": "x"});
    ada.post("/api/workflows", &both).refused(400, 400_008);
    ada.post("/api/workflows", &json!({})).refused(400, 400_007);
    // More than any body may have.
    let huge = format!("{{\"workflow\": \"{}\"}}", "x".repeat(70 << 20));
    let sent = ada.try_send("POST", "/api/workflows", &JSON, huge.as_bytes());
    if let Ok(answer) = sent {
        check_refusal("huge", &answer);
        assert_eq!(answer.status, 413, "{answer}");
    }
    assert_eq!(ada.get("/api/version").status, 200);
    assert_eq!(rows::counts(server.database()), before);
}

struct Invoking {
    server: TestServer,
    ada: Client,
    history: String,
    data: String,
}

fn invoking() -> Invoking {
    let server = TestServer::start();
    let ada = server.client();
    let history = ada.create_history("invoking");
    let data = ada.upload(&history, "data", "hello\n");
    Invoking {
        server,
        ada,
        history,
        data,
    }
}

#[test]
fn faulty_invocation_requests_are_refused_and_leave_no_row() {
    let Invoking {
        server,
        ada,
        history,
        data,
    } = invoking();
    let workflow = ada.import_yaml(&workflows::script("cat $INPUT > out.txt"));
    let hda = json!({"src": "hda", "id": data});
    let by_name =
        |inputs: Value| json!({"history_id": history, "inputs_by": "name", "inputs": inputs});
    let good = by_name(json!({"data": hda}));
    let with = |key: &str, value: Value| {
        let mut request = good.clone();
        request[key] = value;
        request
    };
    let before = rows::counts(server.database());
    let cases: Vec<(&str, Value)> = vec![
        ("no input", by_name(json!({}))),
        (
            "an unknown label is not enough",
            by_name(json!({"nobody": hda})),
        ),
        ("an input that is text", by_name(json!({"data": "hello"}))),
        ("an input that is a list", by_name(json!({"data": [1, 2]}))),
        (
            "an unknown source",
            by_name(json!({"data": {"src": "moon", "id": data}})),
        ),
        ("no id", by_name(json!({"data": {"src": "hda"}}))),
        (
            "an id that is a number",
            by_name(json!({"data": {"src": "hda", "id": 5}})),
        ),
        (
            "a malformed id",
            by_name(json!({"data": {"src": "hda", "id": "zzz"}})),
        ),
        (
            "nobody's id",
            by_name(json!({"data": {"src": "hda", "id": "0123456789abcdef"}})),
        ),
        (
            "a collection for a dataset that is none",
            by_name(json!({"data": {"src": "hdca", "id": data}})),
        ),
        ("inputs that are a list", by_name(json!([1]))),
        ("inputs that are text", by_name(json!("data"))),
        ("an unknown scheduler", with("scheduler", json!("no-such"))),
        ("a scheduler that is a number", with("scheduler", json!(3))),
        (
            "an unknown inputs_by",
            with("inputs_by", json!("shoe size")),
        ),
        (
            "an unknown history",
            with("history_id", json!("0123456789abcdef")),
        ),
        ("a malformed history", with("history_id", json!("nonsense"))),
        ("two histories", with("new_history_name", json!("another"))),
        ("parameters that are a number", with("parameters", json!(3))),
        (
            "a replacement that is a number",
            with("replacement_params", json!({"a": 3})),
        ),
        ("a version that is not there", with("version", json!(99))),
        ("a version that is text", with("version", json!("x"))),
        ("effective_outputs", with("effective_outputs", json!([]))),
        ("batch that is text", with("batch", json!("perhaps"))),
    ];
    for (what, request) in cases {
        for alias in ["invocations", "usage"] {
            let answer = ada.post(&format!("/api/workflows/{workflow}/{alias}"), &request);
            check_refusal(what, &answer);
        }
    }
    assert_eq!(rows::counts(server.database()), before);
    ada.post(
        &format!("/api/workflows/{workflow}/invocations"),
        &with("scheduler", json!("no-such")),
    )
    .refused(400, 400_008);
    let missing = ada.post(
        &format!("/api/workflows/{workflow}/invocations"),
        &by_name(json!({})),
    );
    let sentence = check_refusal("no input", &missing);
    assert!(
        sentence.contains("data"),
        "the sentence names the input: {sentence}"
    );
    // The same with nothing wrong goes through.
    let done = ada
        .post(&format!("/api/workflows/{workflow}/invocations"), &good)
        .ok();
    ada.wait_for_state(&text(&done, "id"), &["completed"]);
}

#[test]
fn unknown_tools_and_modules_are_refused_at_invocation_by_name() {
    let Invoking {
        server,
        ada,
        history,
        data,
    } = invoking();
    let tool = "class: GalaxyWorkflow\ninputs: {data: data}\noutputs: {}\nsteps:\n  a: {tool_id: no_such_tool, in: {input: data}}\n";
    let unknown = ada.import_yaml(tool);
    let mut step = native_step(0, "oracle", json!({}));
    step["label"] = json!("ask");
    let module = ada.post(
        "/api/workflows",
        &json!({"workflow": native(json!({"0": step}))}),
    );
    let before = rows::counts(server.database());
    let request = json!({"history_id": history, "inputs": {"0": {"src": "hda", "id": data}}});
    let answer = ada.post(&format!("/api/workflows/{unknown}/invocations"), &request);
    assert!(check_refusal("an unknown tool", &answer).contains("no_such_tool"));
    if module.status == 200 {
        let path = format!("/api/workflows/{}/invocations", text(&module.json(), "id"));
        let answer = ada.post(&path, &json!({"history_id": history}));
        assert!(check_refusal("an unknown module", &answer).contains("oracle"));
    } else {
        assert!(check_refusal("an unknown module", &module).contains("oracle"));
    }
    assert_eq!(rows::counts(server.database()), before);
}

#[test]
fn parameters_of_the_wrong_type_are_refused_or_fail_with_their_name() {
    let Invoking {
        server: _server,
        ada,
        history,
        ..
    } = invoking();
    let workflow = |kind: &str| {
        ada.import_yaml(&format!(
            "class: GalaxyWorkflow\ninputs: {{number: {{type: {kind}}}}}\noutputs: {{out: {{outputSource: a/out}}}}\nsteps:\n  a: {{tool_id: script, in: {{}}, state: {{script: \"echo x > out.txt\"}}}}\n"
        ))
    };
    let cases = [
        ("int", json!("seven")),
        ("int", json!(1.5)),
        ("int", json!({"src": "moon"})),
        ("float", json!("x")),
        ("boolean", json!("perhaps")),
        ("text", json!({"a": 1})),
    ];
    for (kind, value) in cases {
        let id = workflow(kind);
        let request =
            json!({"history_id": history, "inputs_by": "name", "inputs": {"number": value}});
        let answer = ada.post(&format!("/api/workflows/{id}/invocations"), &request);
        if answer.status == 200 {
            let done = ada.wait_for_state(
                &text(&answer.json(), "id"),
                &["failed", "completed", "scheduled"],
            );
            assert_eq!(done["state"], "failed", "{kind} {value}: {done:#}");
            assert_eq!(
                done["messages"][0]["reason"], "workflow_parameter_invalid",
                "{done:#}"
            );
        } else {
            check_refusal(&format!("{kind} {value}"), &answer);
        }
    }
}

#[test]
fn actions_that_are_no_booleans_are_refused_and_change_nothing() {
    let Invoking {
        server: _server,
        ada,
        history,
        data,
        ..
    } = invoking();
    let workflow = ada.import_yaml(REVIEWED);
    let invocation = ada.invoke(
        &workflow,
        &history,
        &json!({"data": {"src": "hda", "id": data}}),
    );
    let pause = text(&ada.wait_for_step(&invocation, "review", "scheduled"), "id");
    let path = format!("/api/invocations/{invocation}/steps/{pause}");
    for body in [
        "",
        "{",
        "{}",
        "[]",
        "null",
        "{\"action\": {\"a\": 1}}",
        "{\"action\": [true]}",
        "{\"action\": \"perhaps\"}",
        "{\"action\": null}",
        "{\"actoin\": true}",
    ] {
        let answer = ada.send("PUT", &path, &JSON, body.as_bytes());
        check_refusal(body, &answer);
        assert_eq!(answer.status, 400, "{body}: {answer}");
    }
    let now = ada.get(&path).ok();
    assert_eq!(now["action"], Value::Null, "{now:#}");
    ada.act(&invocation, &pause, &json!(true)).ok();
    ada.wait_for_state(&invocation, &["completed"]);
}

#[test]
fn thousands_of_steps_and_long_names_are_no_problem_or_a_refusal() {
    let Invoking {
        server: _server,
        ada,
        ..
    } = invoking();
    let mut steps = serde_json::Map::new();
    steps.insert("0".into(), native_step(0, "data_input", json!({})));
    for n in 1..2000 {
        let from =
            json!({"input": {"id": n - 1, "output_name": if n == 1 { "output" } else { "out" }}});
        steps.insert(n.to_string(), native_step(n, "tool", from));
    }
    let made = ada
        .post(
            "/api/workflows",
            &json!({"workflow": native(Value::Object(steps))}),
        )
        .ok();
    assert_eq!(made["number_of_steps"], 2000);
    let mut long = native_step(0, "data_input", json!({}));
    long["label"] = json!("x".repeat(10_000));
    check_refusal(
        "a long label",
        &ada.post(
            "/api/workflows",
            &json!({"workflow": native(json!({"0": long}))}),
        ),
    );
    let answer = ada.post("/api/histories", &json!({"name": "x".repeat(1_000_000)}));
    assert!(answer.status < 500, "{answer}");
}

#[test]
fn faulty_uploads_are_refused_and_leave_no_dataset() {
    let Invoking {
        server,
        ada,
        history,
        ..
    } = invoking();
    let before = rows::counts(server.database());
    let fetch = |targets: Value| {
        ada.post(
            "/api/tools/fetch",
            &json!({"history_id": history, "targets": targets}),
        )
    };
    let hdas = |element: Value| json!([{"destination": {"type": "hdas"}, "elements": [element]}]);
    let cases = [
        ("targets that are a number", json!(3)),
        ("targets that are bad text", json!("[")),
        (
            "an unknown destination",
            json!([{"destination": {"type": "moon"}, "elements": []}]),
        ),
        ("an unknown source", hdas(json!({"src": "moon"}))),
        (
            "a path of the server",
            hdas(json!({"src": "path", "path": "/etc/passwd"})),
        ),
        (
            "a folder of the server",
            hdas(json!({"src": "server_dir", "server_dir": "/etc"})),
        ),
        (
            "a file URL",
            hdas(json!({"src": "url", "url": "file:///etc/passwd"})),
        ),
        (
            "a URL where none is configured",
            hdas(json!({"src": "url", "url": "http://127.0.0.1:1/x"})),
        ),
        (
            "a file that was not sent",
            hdas(json!({"src": "files", "name": "x"})),
        ),
        (
            "a session of nobody",
            hdas(json!({"src": "files", "session_id": "../../../etc/passwd"})),
        ),
    ];
    for (what, targets) in cases {
        check_refusal(what, &fetch(targets));
    }
    assert_eq!(rows::counts(server.database()), before);
}
