//! The main job: a workflow is imported, scheduled in the background, reviewed at its pause, and leaves results.

use barycenter_tests::client::{step, text};
use barycenter_tests::workflows::{self, REVIEWED};
use barycenter_tests::{Client, Setup, TestServer, build};
use serde_json::{Value, json};

/// Uploads `data`, imports the reviewed copy and invokes it; returns the invocation at its pause, and the pause.
fn at_the_pause(ada: &Client) -> (String, Value) {
    let invocation = ada.invoke_on(REVIEWED, "hello\n");
    ada.wait_for_job(&invocation, "first", &["ok"]);
    let pause = ada.wait_for_step(&invocation, "review", "scheduled");
    (invocation, pause)
}

#[test]
fn both_formats_of_the_example_give_the_same_report() {
    let server = TestServer::start();
    let ada = server.client();
    let examples = build::repository().join("examples/penguins");
    let read = |name: &str| std::fs::read_to_string(examples.join(name)).expect("the example");
    let native: Value = serde_json::from_str(&read("penguins.ga")).expect("JSON");
    let history = ada.create_history("penguins");
    let data = ada.upload(&history, "penguins.tsv", &read("penguins.tsv"));
    let workflows = [
        ada.import(&native),
        ada.import_yaml(&read("penguins.gxwf.yml")),
    ];
    let reports = workflows.map(|workflow| {
        let inputs =
            json!({"Measurements": {"src": "hda", "id": data}, "Species to rank": "Gentoo"});
        let invocation = ada.invoke(&workflow, &history, &inputs);
        let pause = ada.wait_for_step(&invocation, "Review the cleaned table", "scheduled");
        assert_eq!(
            ada.act(&invocation, &text(&pause, "id"), &json!(true))
                .status,
            200
        );
        let done = ada.wait_for_state(&invocation, &["completed"]);
        assert_eq!(ada.output(&done, "cleaned_table").lines().count(), 334);
        ada.output(&done, "report")
    });
    assert_eq!(reports[0], reports[1]);
    let lines: Vec<&str> = reports[0].lines().collect();
    assert_eq!(lines.len(), 15, "{lines:?}");
    assert!(
        lines[..5]
            .iter()
            .any(|line| line.split_whitespace().eq(["119", "Gentoo", "Biscoe"])),
        "{lines:?}"
    );
    assert_eq!(lines[5], "Gentoo\tBiscoe\tmale\t221\t6300");
}

#[test]
fn nothing_after_a_pause_is_scheduled_before_the_approval() {
    let server = TestServer::start();
    let ada = server.client();
    let (invocation, pause) = at_the_pause(&ada);
    assert_eq!(pause["action"], Value::Null);
    let waiting = ada.wait_for_state(&invocation, &["ready"]);
    let second = step(&waiting, "second");
    assert!(
        second.is_none_or(|step| step["state"] == "new"),
        "{waiting:#}"
    );
    let answer = ada.act(&invocation, &text(&pause, "id"), &json!(true)).ok();
    assert_eq!(answer["action"], true);
    let done = ada.wait_for_state(&invocation, &["completed"]);
    assert_eq!(ada.output(&done, "after"), "hello\ncopied\ncopied\n");
    // The pause hands on the reviewed dataset itself.
    let pause = step(&done, "review").expect("a step");
    let first = step(&done, "first").expect("a step");
    assert_eq!(
        pause["outputs"]["output"]["id"], first["outputs"]["out"]["id"],
        "{done:#}"
    );
    assert_eq!(
        done["outputs"]["before"]["id"],
        first["outputs"]["out"]["id"]
    );
    assert_eq!(
        done["outputs"]["reviewed"]["id"],
        first["outputs"]["out"]["id"]
    );
}

#[test]
fn a_refusal_cancels_with_cancelled_on_review() {
    let server = TestServer::start();
    let ada = server.client();
    let (invocation, pause) = at_the_pause(&ada);
    ada.act(&invocation, &text(&pause, "id"), &json!(false))
        .ok();
    let done = ada.wait_for_state(&invocation, &["cancelled"]);
    let message = &done["messages"][0];
    assert_eq!(message["reason"], "cancelled_on_review", "{done:#}");
    // The order_index of the pause.
    assert_eq!(
        message["workflow_step_id"], pause["order_index"],
        "{done:#}"
    );
    assert!(step(&done, "second").is_none_or(|step| step["job_id"].is_null()));
}

#[test]
fn a_pause_at_the_end_holds_nothing_up_and_takes_no_action_afterwards() {
    let server = TestServer::start();
    let ada = server.client();
    let workflow = "class: GalaxyWorkflow\ninputs: {data: data}\noutputs: {}\nsteps:\n  review:\n    type: pause\n    in: {input: data}\n";
    let invocation = ada.invoke_on(workflow, "hello\n");
    let done = ada.wait_for_state(&invocation, &["completed"]);
    let pause = text(&step(&done, "review").expect("a step"), "id");
    ada.act(&invocation, &pause, &json!(true))
        .refused(400, 400_008);
}

#[test]
fn an_approval_is_taken_back_while_the_invocation_is_active() {
    let server = TestServer::start();
    let ada = server.client();
    // A second pause keeps the invocation active after the first was approved.
    let workflow = "class: GalaxyWorkflow\ninputs: {data: data}\noutputs: {}\nsteps:\n  \
         review: {type: pause, in: {input: data}}\n  second: {tool_id: copy, in: {input: review/output}}\n  \
         again: {type: pause, in: {input: second/out}}\n  third: {tool_id: copy, in: {input: again/output}}\n";
    let invocation = ada.invoke_on(workflow, "hello\n");
    let pause = text(&ada.wait_for_step(&invocation, "review", "scheduled"), "id");
    ada.act(&invocation, &pause, &json!(true)).ok();
    ada.act(&invocation, &pause, &json!(true)).ok();
    ada.wait_for_job(&invocation, "second", &["ok"]);
    ada.act(&invocation, &pause, &json!(false)).ok();
    let done = ada.wait_for_state(&invocation, &["cancelled"]);
    assert_eq!(done["messages"][0]["reason"], "cancelled_on_review");
}

#[test]
fn an_approval_may_come_before_the_upstream_job_is_done() {
    let server = TestServer::start();
    let ada = server.client();
    let gate = server.folder().join("gate");
    let slow = format!("{}; cat $INPUT > out.txt", workflows::wait_for(&gate));
    let workflow = format!(
        "class: GalaxyWorkflow\ninputs: {{data: data}}\noutputs: {{after: {{outputSource: second/out}}}}\nsteps:\n  \
         slow:\n    tool_id: script\n    in: {{input: data}}\n    state: {{script: {}}}\n  \
         review: {{type: pause, in: {{input: slow/out}}}}\n  second: {{tool_id: copy, in: {{input: review/output}}}}\n",
        json!(slow)
    );
    let invocation = ada.invoke_on(&workflow, "hello\n");
    let pause = text(&ada.wait_for_step(&invocation, "review", "scheduled"), "id");
    ada.wait_for_job(&invocation, "slow", &["running"]);
    ada.act(&invocation, &pause, &json!(true)).ok();
    // The second job is made at once and waits for its input.
    ada.wait_for_job(&invocation, "second", &["new"]);
    std::fs::write(&gate, "").expect("the gate opens");
    let done = ada.wait_for_state(&invocation, &["completed"]);
    assert_eq!(ada.output(&done, "after"), "hello\ncopied\n");
}

#[test]
fn an_action_on_what_takes_none_is_refused() {
    let server = TestServer::start();
    let ada = server.client();
    let (invocation, pause) = at_the_pause(&ada);
    let first = step(&ada.invocation(&invocation), "first").expect("a step");
    ada.act(&invocation, &text(&first, "id"), &json!(true))
        .refused(400, 400_008);
    let path = format!("/api/invocations/{invocation}/steps/{}", text(&pause, "id"));
    let answer = ada.put(&path, &json!({}));
    assert_eq!(answer.status, 400, "{answer}");
    let nobody = format!("/api/invocations/{invocation}/steps/{invocation}");
    let answer = ada.put(&nobody, &json!({"action": true}));
    // Of no step, or of one that takes no actions.
    assert!([400, 404].contains(&answer.status), "{answer}");
    ada.act(&invocation, &text(&pause, "id"), &json!(true)).ok();
    ada.wait_for_state(&invocation, &["completed"]);
    ada.act(&invocation, &text(&pause, "id"), &json!(false))
        .refused(400, 400_008);
}

#[test]
fn inputs_are_found_by_every_kind_of_key() {
    let server = TestServer::start();
    let ada = server.client();
    let history = ada.create_history("keys");
    let workflow = ada.import_yaml(&workflows::script("cat $INPUT > out.txt"));
    let shown = ada
        .get(&format!("/api/workflows/{workflow}/download?style=ga"))
        .ok();
    let uuid = text(&shown["steps"]["0"], "uuid");
    let plain = ada.get(&format!("/api/workflows/{workflow}")).ok();
    let connected = &plain["steps"]["1"]["tool_inputs"]["input"];
    assert_eq!(connected["__class__"], "ConnectedValue", "{plain:#}");
    let legacy = ada
        .get(&format!("/api/workflows/{workflow}?legacy=true"))
        .ok();
    let legacy_key = legacy["inputs"]
        .as_object()
        .expect("inputs")
        .keys()
        .next()
        .expect("one")
        .clone();
    let step_id = match legacy_key.parse::<i64>() {
        // Raw database ids: clients have them encoded.
        Ok(raw) => {
            let path = format!("/api/configuration/encode/{raw}");
            text(&server.admin().get(&path).ok(), "encoded_id")
        }
        Err(_) => legacy_key,
    };
    let forms = [
        (Some("name"), "data".to_owned()),
        (Some("step_index"), "0".to_owned()),
        (Some("step_uuid"), uuid.clone()),
        (Some("step_id"), step_id),
        (Some("step_index|step_uuid"), uuid.clone()),
        (None, "0".to_owned()),
        (None, uuid),
    ];
    for (by, key) in forms {
        let content = format!("{by:?} {key}\n");
        let data = ada.upload(&history, "data", &content);
        let mut request =
            json!({"history_id": history, "inputs": {key: {"src": "hda", "id": data}}});
        if let Some(by) = by {
            request["inputs_by"] = json!(by);
        }
        let made = ada
            .post(&format!("/api/workflows/{workflow}/invocations"), &request)
            .ok();
        let done = ada.wait_for_state(&text(&made, "id"), &["completed"]);
        assert_eq!(ada.output(&done, "work_out"), content);
    }
    let data = ada.upload(&history, "data", "x");
    for (by, key) in [
        ("name", "0"),
        ("step_index", "data"),
        ("step_uuid", "0"),
        ("colour", "data"),
    ] {
        let request = json!({"history_id": history, "inputs_by": by, "inputs": {key: {"src": "hda", "id": data}}});
        let answer = ada.post(&format!("/api/workflows/{workflow}/invocations"), &request);
        assert_eq!(answer.status, 400, "{by} {key}: {answer}");
    }
}

#[test]
fn every_verb_has_its_usage_alias() {
    let server = TestServer::start();
    let ada = server.client();
    let history = ada.create_history("usage");
    let data = ada.upload(&history, "data", "hello\n");
    let workflow = ada.import_yaml(REVIEWED);
    for name in ["usage", "invocations"] {
        let of = format!("/api/workflows/{workflow}/{name}");
        let request = json!({"history": format!("hist_id={history}"), "inputs": {"0": {"src": "hda", "id": data}}});
        let made = ada.post(&of, &request).ok();
        let id = text(&made, "id");
        assert_eq!(made["model_class"], "WorkflowInvocation");
        let listed = ada.get(&of).ok();
        assert!(
            listed
                .as_array()
                .expect("a list")
                .iter()
                .any(|one| one["id"] == id.as_str()),
            "{listed:#}"
        );
        let pause = text(&ada.wait_for_step(&id, "review", "scheduled"), "id");
        let shown = ada.get(&format!("{of}/{id}")).ok();
        assert_eq!(shown["id"], id.as_str());
        assert!(shown["steps"].is_array());
        let shown = ada.get(&format!("{of}/{id}/steps/{pause}")).ok();
        assert_eq!(shown["workflow_step_label"], "review");
        let put = ada
            .put(
                &format!("{of}/{id}/steps/{pause}"),
                &json!({"action": true}),
            )
            .ok();
        assert_eq!(put["action"], true);
        ada.wait_for_state(&id, &["completed"]);
        for part in ["step_jobs_summary", "jobs_summary", "report"] {
            ada.get(&format!("{of}/{id}/{part}")).ok();
        }
        let made = ada.post(&of, &request).ok();
        let id = text(&made, "id");
        let cancelled = ada.delete(&format!("{of}/{id}")).ok();
        assert!(
            ["cancelling", "cancelled"].contains(&cancelled["state"].as_str().expect("a state"))
        );
        let done = ada.wait_for_state(&id, &["cancelled"]);
        assert_eq!(done["messages"][0]["reason"], "user_request", "{done:#}");
        // Harmless when repeated.
        ada.delete(&format!("{of}/{id}")).ok();
    }
}

#[test]
fn the_old_submission_answers_with_outputs_and_runs_small_workflows_at_once() {
    let server = Setup::default()
        .env("BARYCENTER_FORCE_BETA_WORKFLOW_SCHEDULED_MIN_STEPS", "3")
        .start();
    let ada = server.client();
    let history = ada.create_history("legacy");
    let data = ada.upload(&history, "data", "hello\n");
    let submit = |workflow: &str| {
        let request = json!({
            "workflow_id": workflow, "history": format!("hist_id={history}"),
            "ds_map": {"0": {"src": "hda", "id": data}},
        });
        ada.post("/api/workflows", &request).ok()
    };
    let small = ada.import_yaml(&workflows::steps(&[("a", "cat $INPUT > out.txt", "data")]));
    let answer = submit(&small);
    let outputs = answer["outputs"].as_array().expect("outputs");
    assert_eq!(outputs.len(), 1, "{answer:#}");
    assert_eq!(answer["history"], history.as_str());
    assert!(
        answer["state"].is_string() && answer["id"].is_string(),
        "{answer:#}"
    );
    let output = outputs[0].as_str().expect("an id").to_owned();
    ada.wait_for_dataset(&output);
    assert_eq!(ada.content(&output), "hello\n");

    let large = ada.import_yaml(&workflows::steps(&[
        ("a", "cat $INPUT > out.txt", "data"),
        ("b", "cat $INPUT > out.txt", "a/out"),
        ("c", "cat $INPUT > out.txt", "b/out"),
    ]));
    let answer = submit(&large);
    assert!(
        ["new", "ready", "scheduled", "completed"]
            .contains(&answer["state"].as_str().expect("a state"))
    );
    let done = ada.wait_for_state(&text(&answer, "id"), &["completed"]);
    assert_eq!(ada.output(&done, "c_out"), "hello\n");

    // A pause always goes to the background.
    let answer = submit(&ada.import_yaml(REVIEWED));
    let id = text(&answer, "id");
    ada.wait_for_step(&id, "review", "scheduled");
    ada.delete(&format!("/api/invocations/{id}")).ok();
    ada.wait_for_state(&id, &["cancelled"]);
}

#[test]
fn editors_are_offered_pause_only_when_the_option_says_so() {
    let offers = |server: &TestServer| {
        let modules = server
            .client()
            .get("/api/workflows/modules")
            .ok()
            .to_string();
        modules.contains("pause")
    };
    assert!(!offers(&TestServer::start()));
    assert!(offers(
        &Setup::default()
            .env("BARYCENTER_ENABLE_BETA_WORKFLOW_MODULES", "true")
            .start()
    ));
}

#[test]
fn without_the_pause_library_a_workflow_with_a_pause_is_refused_at_invocation() {
    let server = Setup::default()
        .plugins("[[scheduler]]\ntype = \"default\"\n[[job_runner]]\ntype = \"local\"\n")
        .start();
    let ada = server.client();
    let history = ada.create_history("no pause");
    let data = ada.upload(&history, "data", "hello\n");
    let workflow = ada.import_yaml(REVIEWED);
    for path in ["invocations", "usage"] {
        let request = json!({"history_id": history, "inputs": {"0": {"src": "hda", "id": data}}});
        let answer = ada.post(&format!("/api/workflows/{workflow}/{path}"), &request);
        let body = answer.json();
        let sentence = answer.refused(400, body["err_code"].as_u64().expect("a code"));
        assert!(
            sentence.contains("pause") && sentence.contains("plugin"),
            "{sentence}"
        );
    }
    let listed = ada.get("/api/invocations").ok();
    assert_eq!(listed, json!([]));
    let plain = ada.import_yaml(&workflows::script("cat $INPUT > out.txt"));
    let id = ada.invoke(
        &plain,
        &history,
        &json!({"data": {"src": "hda", "id": data}}),
    );
    ada.wait_for_state(&id, &["completed"]);
}
