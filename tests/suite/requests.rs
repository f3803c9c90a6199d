//! Every form in which runs of workflows and tools are asked for.

use barycenter_tests::client::{step, text};
use barycenter_tests::{Client, TestServer, eventually, workflows};
use serde_json::{Value, json};

fn hda(id: &str) -> Value {
    json!({"src": "hda", "id": id})
}

fn path(workflow: &str) -> String {
    format!("/api/workflows/{workflow}/invocations")
}

/// What the step `work` of a request wrote.
#[track_caller]
fn written(ada: &Client, workflow: &str, request: &Value) -> String {
    let made = ada.post(&path(workflow), request).ok();
    let done = ada.wait_for_state(&text(&made, "id"), &["completed"]);
    ada.output(&done, "work_out")
}

#[test]
fn a_batch_makes_one_invocation_for_each_value() {
    let server = TestServer::start();
    let ada = server.client();
    let history = ada.create_history("batch");
    let workflow = ada.import_yaml(&workflows::script("cat $INPUT > out.txt"));
    let values: Vec<Value> = ["a", "b", "c"]
        .map(|name| hda(&ada.upload(&history, name, name)))
        .to_vec();
    for history in [
        json!({"history_id": history}),
        json!({"new_history_name": "each its own"}),
    ] {
        let mut request = json!({"batch": true, "inputs_by": "name", "inputs": {"data": {"batch": true, "values": values}}});
        request
            .as_object_mut()
            .expect("an object")
            .extend(history.as_object().expect("an object").clone());
        let made = ada.post(&path(&workflow), &request).ok();
        let made = made.as_array().expect("a list");
        assert_eq!(made.len(), 3);
        for (invocation, content) in made.iter().zip(["a", "b", "c"]) {
            let done = ada.wait_for_state(&text(invocation, "id"), &["completed"]);
            assert_eq!(ada.output(&done, "work_out"), content);
        }
    }
    // A batch of nothing is none; one of one thing is a list as well.
    let empty = json!({"batch": true, "history_id": history, "inputs": {"0": {"batch": true, "values": []}}});
    assert_eq!(ada.post(&path(&workflow), &empty).ok(), json!([]));
    let one = json!({"batch": true, "history_id": history, "inputs": {"0": {"batch": true, "values": [values[0]]}}});
    let one = ada.post(&path(&workflow), &one).ok();
    assert_eq!(one.as_array().map(Vec::len), Some(1), "{one}");
}

#[test]
fn the_old_ds_map_names_steps_by_id_index_or_uuid() {
    let server = TestServer::start();
    let ada = server.client();
    let history = ada.create_history("ds_map");
    let workflow = ada.import_yaml(&workflows::script("cat $INPUT > out.txt"));
    let file = ada
        .get(&format!("/api/workflows/{workflow}/download?style=ga"))
        .ok();
    let uuid = text(&file["steps"]["0"], "uuid");
    let data = ada.upload(&history, "data", "mapped\n");
    for key in ["0", &uuid] {
        let as_object = json!({key: hda(&data)});
        for ds_map in [as_object.clone(), json!(as_object.to_string())] {
            let request = json!({"history_id": history, "ds_map": ds_map});
            assert_eq!(written(&ada, &workflow, &request), "mapped\n", "{key}");
        }
    }
    let both =
        json!({"history_id": history, "ds_map": {"0": hda(&data)}, "inputs": {"0": hda(&data)}});
    ada.post(&path(&workflow), &both).refused(400, 400_008);
}

#[test]
fn parameters_reach_their_step_in_every_form() {
    let server = TestServer::start();
    let ada = server.client();
    let history = ada.create_history("parameters");
    let workflow = ada.import_yaml(&workflows::script("echo default > out.txt"));
    let file = ada
        .get(&format!("/api/workflows/{workflow}/download?style=ga"))
        .ok();
    let uuid = text(&file["steps"]["1"], "uuid");
    let data = ada.upload(&history, "data", "x");
    let say = |word: &str| format!("echo {word} > out.txt");
    let forms = [
        (
            "parameters",
            json!({"1": {"script": say("by index")}}),
            "by index",
        ),
        (
            "parameters",
            json!({"script": {"script": say("by tool")}}),
            "by tool",
        ),
        (
            "parameters",
            json!({uuid.as_str(): {"script": say("by uuid")}}),
            "by uuid",
        ),
        (
            "parameters",
            json!({"1": {"param": "script", "value": say("as param")}}),
            "as param",
        ),
        // Later forms win over earlier ones.
        (
            "parameters",
            json!({"script": {"script": say("no")}, "1": {"script": say("index wins")}}),
            "index wins",
        ),
        (
            "step_parameters",
            json!({"1": {"script": say("other name")}}),
            "other name",
        ),
        (
            "parameters",
            json!(json!({"1": {"script": say("as text")}}).to_string()),
            "as text",
        ),
        (
            "parameters",
            json!({"7": {"script": say("nobody")}}),
            "default",
        ),
    ];
    for (name, parameters, expected) in forms {
        let request = json!({"history_id": history, "inputs": {"0": hda(&data)}, name: parameters});
        assert_eq!(written(&ada, &workflow, &request), format!("{expected}\n"));
    }
    for (parameters, normalized, expected) in [
        (json!({"1": {"script": say("flat")}}), true, "flat"),
        // Normalized ones are found by index only.
        (json!({"script": {"script": say("no")}}), true, "default"),
    ] {
        let request = json!({"history_id": history, "inputs": {"0": hda(&data)}, "parameters": parameters,
            "parameters_normalized": normalized});
        assert_eq!(written(&ada, &workflow, &request), format!("{expected}\n"));
    }
    let outer = "
class: GalaxyWorkflow
inputs: {data: data}
outputs: {work_out: {outputSource: inner/inner_out}}
steps:
  inner:
    in: {data: data}
    run:
      class: GalaxyWorkflow
      inputs: {data: data}
      outputs: {inner_out: {outputSource: work/out}}
      steps:
        work: {tool_id: script, in: {input: data}, state: {script: echo default > out.txt}}
";
    let outer = ada.import_yaml(outer);
    let mut request = json!({"history_id": history, "inputs": {"0": hda(&data)},
        "parameters": {"1": {"1|script": say("inside")}}, "parameters_normalized": true});
    assert_eq!(written(&ada, &outer, &request), "inside\n");
    request["parameters_normalized"] = json!(false);
    ada.post(&path(&outer), &request).refused(400, 400_008);
}

#[test]
fn a_rerun_in_the_failed_jobs_place_lets_its_dependants_run() {
    let server = TestServer::start();
    let ada = server.client();
    let history = ada.create_history("rerun");
    let data = ada.upload(&history, "data", "hello\n");
    let workflow = ada.import_yaml(&workflows::steps(&[
        ("bad", "exit 1", "data"),
        (
            "next",
            "cat $INPUT > out.txt; echo after >> out.txt",
            "bad/out",
        ),
    ]));
    let invocation = ada.invoke(&workflow, &history, &json!({"data": hda(&data)}));
    let bad = ada.wait_for_job(&invocation, "bad", &["error"]);
    let paused = ada.wait_for_job(&invocation, "next", &["paused"]);
    let id = text(&bad, "id");
    let form = ada.get(&format!("/api/jobs/{id}/build_for_rerun")).ok();
    assert_eq!(form["job_id"], json!(id));
    assert!(
        form["job_remap"].as_bool() != Some(false) && !form["job_remap"].is_null(),
        "{form}"
    );
    let request = json!({"tool_id": "script", "history_id": history,
        "inputs": {"script": "cat $INPUT > out.txt; echo mended >> out.txt", "input": hda(&data), "rerun_remap_job_id": id}});
    let key = server.create_user("bob", false);
    let bob = ada.with_key(Some(&key));
    let other = bob.create_history("other");
    let mut foreign = request.clone();
    foreign["history_id"] = json!(other);
    let refused = bob.post("/api/tools", &foreign);
    assert_eq!(refused.status, 403, "{refused}");
    let made = ada.post("/api/tools", &request).ok();
    let new = text(&made["jobs"][0], "id");
    assert_ne!(new, id);
    let state = |id: &str| text(&ada.get(&format!("/api/jobs/{id}")).ok(), "state");
    eventually("what was paused has run", || {
        state(&text(&paused, "id")) == "ok"
    });
    assert_eq!(state(&new), "ok");
    let shown = ada.invocation(&invocation);
    assert_eq!(ada.output(&shown, "next_out"), "hello\nmended\nafter\n");
    let mended = step(&shown, "bad").expect("the step");
    assert_eq!(
        mended["jobs"][0]["id"],
        json!(new),
        "the step's job is the new one"
    );
}

#[test]
fn an_operation_tool_runs_by_itself_and_shares_data() {
    let server = TestServer::start();
    let ada = server.client();
    let history = ada.create_history("operations");
    let list = ada.upload_list(&history, "list", &[("a", "1\n"), ("b", ""), ("c", "3\n")]);
    let input = json!({"src": "hdca", "id": list});
    let run = |tool: &str, inputs: Value| {
        let request = json!({"tool_id": tool, "history_id": history, "inputs": inputs});
        ada.post("/api/tools", &request).ok()
    };
    let kept = run("__FILTER_EMPTY_DATASETS__", json!({"input": input}));
    let kept = text(&kept["output_collections"][0], "id");
    eventually("the collection is there", || {
        ada.collection(&kept)["populated"] == json!(true)
    });
    let names: Vec<String> = ada
        .elements(&kept)
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names, ["a", "c"]);
    let taken = run(
        "__EXTRACT_DATASET__",
        json!({"input": input, "which": {"which_dataset": "by_identifier", "identifier": "c"}}),
    );
    let taken = text(&taken["outputs"][0], "id");
    ada.wait_for_dataset(&taken);
    assert_eq!(ada.content(&taken), "3\n");
    // Another name for the same data.
    let uuid = |id: &str| ada.get(&format!("/api/datasets/{id}")).ok()["dataset_id"].clone();
    let source = &ada.collection(&list)["elements"][2]["object"];
    assert_eq!(uuid(&taken), uuid(&text(source, "id")));
}
