//! The step type `wait_until` on a server: it waits, hands its data on, survives a crash, and refuses nonsense.

use std::time::{Duration, Instant};

use barycenter_tests::wait::{eventually, until};
use barycenter_tests::{Client, Setup, TestServer, client::text};
use serde_json::{Value, json};

fn server() -> TestServer {
    let text = "[[scheduler]]\ntype = \"default\"\n[[workflow_module]]\ntype = \"pause\"\n\
                [[workflow_module]]\ntype = \"wait_until\"\n[[job_runner]]\ntype = \"local\"\n";
    Setup::default().plugins(text).start()
}

/// Copies, waits as `state` says, copies again. With `time`, a parameter says when.
fn workflow(state: &Value, time: bool) -> String {
    let (input, connection) = match time {
        true => ("  when: {type: text}\n", ", time: when"),
        false => ("", ""),
    };
    format!(
        "class: GalaxyWorkflow\ninputs:\n  data: data\n{input}outputs:\n  waited: {{outputSource: wait/output}}\n\
         \x20 after: {{outputSource: second/out}}\nsteps:\n  first:\n    tool_id: copy\n    in: {{input: data}}\n\
         \x20 wait:\n    type: wait_until\n    in: {{input: first/out{connection}}}\n    state: {state}\n\
         \x20 second:\n    tool_id: copy\n    in: {{input: wait/output}}\n"
    )
}

fn invoke(client: &Client, yaml: &str, more: Value) -> String {
    let history = client.create_history("wait");
    let data = client.upload(&history, "data", "hello\n");
    let workflow = client.import_yaml(yaml);
    let mut inputs = json!({"data": {"src": "hda", "id": data}});
    if let Value::Object(more) = more {
        inputs.as_object_mut().expect("an object").extend(more);
    }
    client.invoke(&workflow, &history, &inputs)
}

#[test]
fn a_step_goes_on_after_its_time_and_says_meanwhile_until_when_it_waits() {
    let server = server();
    let client = server.client();
    let begin = Instant::now();
    let invocation = invoke(
        &client,
        &workflow(&json!({"after": "6s"}), false),
        json!({}),
    );
    let hold = until("it says that it waits", || {
        let shown = client.invocation(&invocation);
        shown["holds"].as_array()?.first().cloned()
    });
    assert_eq!(
        (&hold["what"], &hold["workflow_step_id"]),
        (&json!("step"), &json!(2))
    );
    assert!(text(&hold, "text").starts_with("waiting until 2"), "{hold}");
    assert!(!hold["until"].is_null(), "{hold}");
    let done = client.wait_for_state(&invocation, &["completed"]);
    assert!(
        begin.elapsed() >= Duration::from_secs(6),
        "{:?}",
        begin.elapsed()
    );
    assert_eq!(client.output(&done, "waited"), "hello\ncopied\n");
    assert_eq!(client.output(&done, "after"), "hello\ncopied\ncopied\n");
    assert_eq!(done["holds"], json!([]));
}

#[test]
fn the_instant_survives_a_crash() {
    let mut server = server();
    let client = server.client();
    let after = |time: &str| {
        invoke(
            &client,
            &workflow(&json!({"after": time}), false),
            json!({}),
        )
    };
    let (long, brief) = (after("1h"), after("6s"));
    let until_when = |client: &Client, invocation: &str| {
        let hold = client.invocation(invocation)["holds"][0].clone();
        hold["until"].as_str().map(str::to_owned)
    };
    let before = until("it waits", || until_when(&client, &long));
    until("the other one waits", || until_when(&client, &brief));
    server.kill9();
    std::thread::sleep(Duration::from_secs(1));
    server.restart();
    let client = server.client();
    let done = client.wait_for_state(&brief, &["completed"]);
    assert_eq!(client.output(&done, "after"), "hello\ncopied\ncopied\n");
    let after = until_when(&client, &long).expect("it still waits");
    assert_eq!(after, before, "a restart does not begin the duration anew");
}

#[test]
fn a_connected_parameter_says_when() {
    let server = server();
    let client = server.client();
    let yaml = workflow(&json!({}), true);
    let past = invoke(&client, &yaml, json!({"when": "2020-01-01T00:00:00Z"}));
    client.wait_for_state(&past, &["completed"]);
    let wrong = invoke(&client, &yaml, json!({"when": "soon"}));
    let failed = client.wait_for_state(&wrong, &["failed"]);
    let message = failed["messages"][0].to_string();
    assert!(
        message.contains("workflow_parameter_invalid") && message.contains("soon"),
        "{message}"
    );
    let late = invoke(&client, &yaml, json!({"when": "2999-01-01T00:00:00Z"}));
    eventually("it waits for a long time", || {
        client.invocation(&late)["holds"][0]["text"] == "waiting until 2999-01-01T00:00:00Z"
    });
    client.delete(&format!("/api/invocations/{late}")).ok();
    let gone = client.wait_for_state(&late, &["cancelled"]);
    assert_eq!(gone["holds"], json!([]));
}

#[test]
fn nonsense_is_marked_at_import_and_refused_at_invocation_and_a_state_comes_out_as_it_went_in() {
    let server = server();
    let client = server.client();
    let history = client.create_history("nonsense");
    let data = client.upload(&history, "data", "x\n");
    for (state, word) in [
        (json!({"after": "later"}), "later"),
        (json!({"until": 7}), "until"),
    ] {
        let workflow = client.import_yaml(&workflow(&state, false));
        let request = json!({"history_id": history, "inputs_by": "name",
            "inputs": {"data": {"src": "hda", "id": data}}});
        let path = format!("/api/workflows/{workflow}/invocations");
        let answer = client.post(&path, &request);
        assert_eq!(answer.status, 400, "{}", answer.text());
        let told = answer.text();
        assert!(
            told.contains("step 3 (wait_until)") && told.contains(word),
            "{told}"
        );
    }
    let state = json!({"after": "1h 30m"});
    let workflow = client.import_yaml(&workflow(&state, false));
    let exported = client
        .get(&format!("/api/workflows/{workflow}/download"))
        .ok();
    let step = &exported["steps"]["2"];
    let kept: Value =
        serde_json::from_str(step["tool_state"].as_str().expect("text")).expect("JSON");
    assert_eq!(kept["after"], "1h 30m", "{step}");
    let again = client.import(&exported);
    let exported = client.get(&format!("/api/workflows/{again}/download")).ok();
    assert_eq!(exported["steps"]["2"]["tool_state"], step["tool_state"]);
}
