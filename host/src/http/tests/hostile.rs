//! Requests of the right shape with something wrong in them, at random: whatever comes, the answer is a refusal or a
//! success, never a fault of the server.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRng, TestRunner};
use serde_json::{Value, json};

use super::Server;
use crate::http::ApiError;
use crate::http::seams::{Seams, ToolRunAnswer, ToolRunRequest, ToolRuns};
use crate::tools::Toolbox;

/// Requests for each of the bodies below.
const ROUNDS: usize = 60;

/// Jobs are made by nobody here.
struct Nothing;

impl ToolRuns for Nothing {
    fn run(&self, asked: ToolRunRequest) -> BoxFuture<'_, Result<ToolRunAnswer, ApiError>> {
        let answer = ToolRunAnswer {
            noted: asked.note.map(|_| 1),
            ..Default::default()
        };
        Box::pin(async { Ok(answer) })
    }
}

/// What there is to name.
struct Things {
    server: Server,
    history: String,
    hdas: Vec<String>,
    hdca: String,
    workflow: String,
    invocation: String,
    job: String,
}

async fn things() -> Things {
    let server = Server::start().await;
    let mut seams = Seams::unwired(Arc::new(Toolbox::new(Vec::new())));
    seams.tool_runs = Arc::new(Nothing);
    server.app.wire(seams);
    let history = server.history().await;
    let hdas = server.pastes(&history, 3).await;
    let list = json!({"collection_type": "list", "instance_type": "history", "history_id": history, "name": "l",
        "element_identifiers": [{"name": "a", "src": "hda", "id": hdas[0]}]});
    let text = |value: &Value, key: &str| value[key].as_str().expect("a text").to_owned();
    let hdca = text(
        &server.post("/api/dataset_collections", list).await.ok(),
        "id",
    );
    let made = server
        .post("/api/workflows", json!({"workflow": workflow()}))
        .await
        .ok();
    let workflow = text(&made, "id");
    let request = json!({"history_id": history, "inputs": {"0": {"src": "hda", "id": hdas[0]}}});
    let path = format!("/api/workflows/{workflow}/invocations");
    let invocation = text(&server.post(&path, request).await.ok(), "id");
    let job = text(&server.get("/api/jobs").await.ok()[0], "id");
    Things {
        server,
        history,
        hdas,
        hdca,
        workflow,
        invocation,
        job,
    }
}

fn workflow() -> Value {
    let step = |id: usize, kind: &str, tool: Value, connections: Value| {
        json!({"id": id, "type": kind, "tool_id": tool, "content_id": tool, "tool_version": "1.0.0", "name": kind,
            "label": format!("s{id}"), "annotation": "", "tool_state": "{}", "input_connections": connections,
            "inputs": [], "outputs": [], "workflow_outputs": [{"output_name": "output", "label": format!("o{id}")}],
            "post_job_actions": {}, "position": {"left": 1, "top": id}})
    };
    let connections = json!({"input": {"id": 0, "output_name": "output"}});
    json!({"a_galaxy_workflow": "true", "format-version": "0.1", "name": "w", "annotation": "", "tags": [],
        "comments": [{"id": 0, "type": "frame", "child_steps": [0], "position": [1, 2], "size": [3, 4], "data": {"title": "t"}}],
        "steps": {
            "0": step(0, "data_input", Value::Null, json!({})),
            "1": step(1, "tool", json!("__BUILD_LIST__"), json!({})),
            "2": step(2, "pick_value", Value::Null, connections)}})
}

/// Good bodies, to be spoilt.
fn bodies(of: &Things) -> Vec<(&'static str, String, Value)> {
    let (h, w, i, job) = (&of.history, &of.workflow, &of.invocation, &of.job);
    let hda = json!({"src": "hda", "id": of.hdas[0]});
    let hdca = json!({"src": "hdca", "id": of.hdca});
    let pair = json!([{"name": "forward", "src": "hda", "id": of.hdas[0]}, {"name": "reverse", "src": "hda", "id": of.hdas[1]}]);
    let nested = json!({"collection_type": "list:paired", "instance_type": "history", "history_id": h, "name": "n",
        "element_identifiers": [{"name": "x", "src": "new_collection", "collection_type": "paired", "element_identifiers": pair}]});
    let sheet = json!({"collection_type": "sample_sheet", "instance_type": "history", "history_id": h, "name": "n",
        "column_definitions": [{"name": "n", "type": "int", "optional": false, "default_value": 1, "restrictions": [1, 2]}],
        "rows": {"a": [1]}, "element_identifiers": [{"name": "a", "src": "hda", "id": of.hdas[0]}]});
    let record = json!({"collection_type": "record", "instance_type": "history", "history_id": h, "name": "n",
        "fields": [{"name": "a", "type": "File"}], "element_identifiers": [{"name": "a", "src": "hda", "id": of.hdas[0]}]});
    let actions = json!({"dry_run": true, "actions": [
        {"action_type": "update_name", "name": "n"}, {"action_type": "update_annotation", "annotation": "a"},
        {"action_type": "update_license", "license": "MIT"}, {"action_type": "update_creator", "creator": [{"class": "Person", "name": "n"}]},
        {"action_type": "update_report", "report": {"markdown": "m"}},
        {"action_type": "update_step_label", "step": {"order_index": 0}, "label": "l"},
        {"action_type": "update_step_position", "step": {"label": "l"}, "position_shift": {"left": 1, "top": 2}},
        {"action_type": "update_output_label", "output": {"order_index": 0, "output_name": "output"}, "output_label": "o"},
        {"action_type": "add_step", "type": "tool", "tool_id": "__FLATTEN__", "tool_state": {}, "label": "f", "position": {"left": 1, "top": 1}},
        {"action_type": "add_input", "type": "text", "label": "t", "optional": true, "default": "d", "position": {"left": 1, "top": 1}},
        {"action_type": "connect", "input": {"label": "s2", "input_name": "input_1"}, "output": {"label": "l", "output_name": "output"}},
        {"action_type": "disconnect", "input": {"label": "s2", "input_name": "input_1"}, "output": {"label": "l", "output_name": "output"}},
        {"action_type": "extract_input", "input": {"order_index": 1, "input_name": "x"}, "label": "e"},
        {"action_type": "extract_untyped_parameter", "name": "p", "label": "q"},
        {"action_type": "remove_unlabeled_workflow_outputs"}, {"action_type": "fill_defaults"},
        {"action_type": "fill_step_defaults", "step": {"order_index": 1}},
        {"action_type": "upgrade_tool", "step": {"order_index": 1}, "tool_version": "1.2.0"},
        {"action_type": "upgrade_subworkflow", "step": {"order_index": 1}, "content_id": w}, {"action_type": "upgrade_all_steps"}]});
    let rules = json!({"rules": [{"type": "add_column_metadata", "value": "identifier0"},
        {"type": "add_column_regex", "target_column": 0, "expression": "(.*)", "replacement": "\\1", "group_count": 1},
        {"type": "add_filter_count", "count": 1, "which": "first", "invert": false}, {"type": "sort", "target_column": 0, "numeric": false},
        {"type": "swap_columns", "target_column_0": 0, "target_column_1": 1}, {"type": "split_columns", "target_columns_0": [0], "target_columns_1": [1]}],
        "mapping": [{"type": "list_identifiers", "columns": [0]}]});
    let tool = json!({"class": "GalaxyUserTool", "id": "mine", "name": "m", "version": "1", "container": "busybox",
        "shell_command": "echo $(inputs.n) > out", "inputs": [{"name": "n", "type": "integer", "value": 1}],
        "outputs": [{"name": "out", "type": "data", "format": "txt", "from_work_dir": "out"}]});
    let yaml = "class: GalaxyWorkflow\ninputs: {a: data}\noutputs: {o: {outputSource: s/output}}\nsteps:\n  s: {tool_id: __FLATTEN__, in: {input: a}}\n";
    let at = |path: &str| format!("/api/{path}");
    vec![
        ("POST", at("dataset_collections"), nested.clone()),
        ("POST", at("dataset_collections"), sheet),
        ("POST", at("dataset_collections"), record),
        (
            "POST",
            at(&format!("histories/{h}/contents/dataset_collections")),
            nested,
        ),
        (
            "POST",
            at(&format!("histories/{h}/contents")),
            json!({"content": of.hdas[0], "source": "hda", "type": "dataset"}),
        ),
        (
            "PUT",
            at(&format!("histories/{h}/contents/{}", of.hdas[2])),
            json!({"name": "n", "visible": true, "tags": ["a"], "datatype": "txt", "annotation": "a"}),
        ),
        ("PUT", at(&format!("workflows/{w}/refactor")), actions),
        (
            "PUT",
            at(&format!("workflows/{w}")),
            json!({"name": "n", "tags": ["a"], "published": false, "workflow": workflow()}),
        ),
        (
            "POST",
            at("workflows"),
            json!({"workflow": workflow(), "publish": false, "importable": false, "fill_defaults": true}),
        ),
        (
            "POST",
            at("workflows"),
            json!({"workflow": {"class": "GalaxyWorkflow", "yaml_content": yaml}}),
        ),
        (
            "POST",
            at("workflows"),
            json!({"from_history_id": h, "job_ids": [job], "dataset_ids": [1, 2], "dataset_collection_ids": [4], "workflow_name": "x"}),
        ),
        (
            "POST",
            at("workflows"),
            json!({"workflow_id": w, "history": format!("hist_id={h}"), "ds_map": {"0": hda}}),
        ),
        (
            "POST",
            at(&format!("workflows/{w}/invocations")),
            json!({"history_id": h, "inputs": {"s0": hda}, "inputs_by": "name", "parameters": {"1": {"datasets": [{"input": hda}], "__POST_JOB_ACTIONS__": {"a": {"action_type": "HideDatasetAction"}}}},
            "replacement_params": {"a": "b"}, "resource_params": {"a": 1}, "use_cached_job": true, "on_complete": [{"send_notification": {}}]}),
        ),
        (
            "POST",
            at(&format!("workflows/{w}/invocations")),
            json!({"new_history_name": "n", "batch": true, "inputs": {"0": {"batch": true, "product": false, "values": [hda, hda]}}}),
        ),
        (
            "PUT",
            at(&format!("workflows/{w}/share_with_users")),
            json!({"user_ids": ["bob@example.org"]}),
        ),
        (
            "PUT",
            at(&format!("workflows/{w}/slug")),
            json!({"new_slug": "s"}),
        ),
        (
            "PUT",
            at(&format!("histories/{h}/share_with_users")),
            json!({"user_ids": ["bob@example.org"]}),
        ),
        (
            "PUT",
            at(&format!("histories/{h}/slug")),
            json!({"new_slug": "s"}),
        ),
        (
            "PUT",
            at(&format!("histories/{h}")),
            json!({"name": "n", "annotation": "a", "tags": ["x"], "deleted": false, "importable": true, "genome_build": "hg19"}),
        ),
        (
            "POST",
            at("histories"),
            json!({"name": "n", "source": "history", "history_id": h, "all_datasets": true}),
        ),
        (
            "PUT",
            at(&format!("datasets/{}/permissions", of.hdas[0])),
            json!({"action": "set_permissions", "access": [], "manage": [], "modify": []}),
        ),
        (
            "POST",
            at("jobs"),
            json!({"tool_id": "__APPLY_RULES__", "history_id": h, "inputs": {"input": hdca, "rules": rules}, "use_cached_jobs": false}),
        ),
        (
            "POST",
            at("jobs"),
            json!({"tool_id": "__BUILD_LIST__", "history_id": h, "inputs": {"datasets": [{"input": {"__class__": "Batch", "values": [hda, hdca], "linked": true}}]}}),
        ),
        (
            "POST",
            at("tools"),
            json!({"tool_id": "__APPLY_RULES__", "history_id": h, "inputs": {"input": hdca, "rules": rules}}),
        ),
        (
            "POST",
            at("tools"),
            json!({"tool_id": "__FLATTEN__", "history_id": h, "inputs": {"input": {"batch": true, "values": [hdca]}, "join_identifier": "_"}}),
        ),
        (
            "POST",
            at("tools/fetch"),
            json!({"history_id": h, "targets": [{"destination": {"type": "hdca"}, "collection_type": "list", "name": "l",
            "elements": [{"src": "pasted", "paste_content": "x", "name": "e", "ext": "txt", "dbkey": "?", "tags": ["t"], "hashes": [{"hash_function": "MD5", "hash_value": "x"}]}]}]}),
        ),
        (
            "POST",
            at("jobs/search"),
            json!({"tool_id": "__FLATTEN__", "inputs": {"input": hdca}, "state": "ok"}),
        ),
        (
            "POST",
            at(&format!("jobs/{job}/error")),
            json!({"dataset_id": of.hdas[0], "email": "a@b", "message": "m"}),
        ),
        (
            "POST",
            at(&format!("invocations/{i}/prepare_store_download")),
            json!({"model_store_format": "nothing", "include_files": true, "bco_merge_history_metadata": false}),
        ),
        (
            "POST",
            at(&format!("histories/{h}/prepare_store_download")),
            json!({"model_store_format": "nothing", "include_deleted": true}),
        ),
        (
            "POST",
            at("unprivileged_tools"),
            json!({"src": "representation", "representation": tool}),
        ),
        (
            "POST",
            at("unprivileged_tools/build"),
            json!({"src": "representation", "representation": tool}),
        ),
        (
            "POST",
            at("tools/__BUILD_LIST__/build"),
            json!({"inputs": {"datasets": [{"input": hda}]}, "history_id": h}),
        ),
    ]
}

/// What is put where something else should be.
fn rubbish(of: &Things) -> BoxedStrategy<Value> {
    let known = [
        &of.history,
        &of.hdas[0],
        &of.hdca,
        &of.workflow,
        &of.invocation,
        &of.job,
    ]
    .map(|id| Value::from(id.as_str()));
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        prop::num::f64::NORMAL.prop_map(Value::from),
        proptest::sample::select(known.to_vec()),
        proptest::sample::select(vec![
            "",
            "\0",
            "../../etc/passwd",
            "hist_id=",
            "🧪",
            "$(1/0)",
            "${while(true){}}",
            "list:list:paired",
            "a|b_99999999|c",
            "%s%n",
            "9999999999999999999999",
            "-1",
            "{\"a\": [",
            "*",
            "x'; --",
            "(((((((((",
            "\\1\\2\\3",
            "NaN"
        ])
        .prop_map(Value::from),
        "[a-z_|:0-9]{0,12}".prop_map(Value::from),
        Just(Value::from("x".repeat(70_000))),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(
                proptest::sample::select(vec![
                    "src",
                    "id",
                    "values",
                    "batch",
                    "class",
                    "__class__",
                    "name",
                    "type",
                    "inputs",
                    "elements",
                    "0",
                    "-1",
                    ""
                ]),
                inner,
                0..4
            )
            .prop_map(|map| map.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    })
    .boxed()
}

/// The places in a value, as JSON pointers.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(object) => {
            for (key, inner) in object {
                let key = key.replace('~', "~0").replace('/', "~1");
                places(inner, &format!("{at}/{key}"), found);
            }
        }
        Value::Array(items) => {
            for (n, inner) in items.iter().enumerate() {
                places(inner, &format!("{at}/{n}"), found);
            }
        }
        _ => {}
    }
}

/// Takes something away, doubles it, or puts rubbish in its place.
fn spoil(mut body: Value, at: usize, how: u8, rubbish: Value) -> Value {
    let mut all = Vec::new();
    places(&body, "", &mut all);
    let place = &all[at % all.len()];
    let parent = place.rsplit_once('/').map(|(parent, _)| parent.to_owned());
    match (how % 4, parent) {
        (0, Some(parent)) => {
            let key = place[parent.len() + 1..]
                .replace("~1", "/")
                .replace("~0", "~");
            match body.pointer_mut(&parent) {
                Some(Value::Object(object)) => drop(object.shift_remove(&key)),
                Some(Value::Array(items)) => {
                    let at = key.parse().unwrap_or(0);
                    let item = items[at].clone();
                    items.push(item);
                }
                _ => {}
            }
        }
        _ => {
            if let Some(found) = body.pointer_mut(place) {
                *found = rubbish;
            }
        }
    }
    body
}

#[tokio::test]
async fn no_spoilt_request_is_a_fault_of_the_server() {
    let things = things().await;
    let config = Config::default();
    let rng = TestRng::deterministic_rng(config.rng_algorithm);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let how = (any::<usize>(), any::<u8>(), rubbish(&things));
    let mut refused = 0;
    for (method, path, good) in bodies(&things) {
        let answer = things
            .server
            .call(&things.server.ada, method, &path, Some(good.clone()))
            .await;
        check(&answer, method, &path, &good);
        for _ in 0..ROUNDS {
            let mut body = good.clone();
            // Two faults get past checks that one does not.
            for _ in 0..2 {
                let (at, how, rubbish) = how.new_tree(&mut runner).expect("a value").current();
                body = spoil(body, at, how, rubbish);
            }
            let server = &things.server;
            let answer = server
                .call(&server.ada, method, &path, Some(body.clone()))
                .await;
            check(&answer, method, &path, &body);
            refused += usize::from(answer.status.is_client_error());
        }
    }
    assert!(refused > 500, "only {refused} were refused");
}

#[track_caller]
fn check(answer: &super::Answer, method: &str, path: &str, body: &Value) {
    let is_fault = answer.status.is_server_error() && answer.status != 501;
    let shown: String = body.to_string().chars().take(4_000).collect();
    assert!(
        !is_fault,
        "{method} {path} {shown}: {} {}",
        answer.status,
        String::from_utf8_lossy(&answer.body)
    );
    if answer.status.is_client_error() && method != "head" {
        let told: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let is_sentence = told["err_msg"]
            .as_str()
            .is_some_and(|text| !text.is_empty());
        assert!(
            is_sentence && told["err_code"].is_u64(),
            "{method} {path} {shown}: {} {}",
            answer.status,
            String::from_utf8_lossy(&answer.body)
        );
    }
}

#[tokio::test]
async fn no_path_and_no_query_is_a_fault_of_the_server() {
    let things = things().await;
    let server = &things.server;
    let document = server.get("/api/openapi.json").await.ok();
    let ids = [
        things.history.as_str(),
        &things.hdas[0],
        &things.invocation,
        "0",
        "ffffffffffffffff",
        "%00",
        "%ff%fe",
        "..%2f..",
        "💥",
        "undefined",
    ];
    let queries = [
        "",
        "limit=-1&offset=99999999999999999999",
        "limit=0",
        "q=name&qv=",
        "q=state-in&qv=ok,%00",
        "q=&qv=",
        "qv=x",
        "q=create_time-ge&qv=yesterday",
        "order=hid-sideways",
        "order=;",
        "keys=&view=%ff",
        "types=x",
        "details=&ids=,",
        "instance=maybe",
        "version=-1",
        "page_size=0&page_token=AAAA",
        "page_token=%5B1%5D",
        "stdout_position=-5&stdout_length=x",
        "deleted=2",
        "offset=9223372036854775807&limit=1",
    ];
    let mut asked = 0;
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for method in methods
            .as_object()
            .expect("methods")
            .keys()
            .filter(|m| matches!(m.as_str(), "get" | "head"))
        {
            for (n, id) in ids.iter().enumerate() {
                let mut filled = String::new();
                let mut rest = path.as_str();
                while let Some((before, after)) = rest.split_once('{') {
                    let (_, after) = after.split_once('}').expect("closed");
                    filled += before;
                    filled += &percent(id);
                    rest = after;
                }
                filled += rest;
                if n > 0 && !path.contains('{') {
                    break;
                }
                let few = if n == 0 { queries.len() } else { 2 };
                for query in &queries[..few] {
                    let whole = format!("{filled}?{query}");
                    let answer = server
                        .call(&server.ada, &method.to_uppercase(), &whole, None)
                        .await;
                    check(&answer, method, &whole, &Value::Null);
                    asked += 1;
                }
            }
        }
    }
    assert!(asked > 1_000, "{asked} requests");
}

/// What is no ASCII has to be escaped in a path.
fn percent(text: &str) -> String {
    let one = |byte: u8| match byte.is_ascii() {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02x}"),
    };
    text.bytes().map(one).collect()
}

crate::store::testing::on_postgres_too!(
    no_spoilt_request_is_a_fault_of_the_server,
    no_path_and_no_query_is_a_fault_of_the_server,
);
