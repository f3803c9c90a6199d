//! Collections: jobs that find their elements, steps that are mapped over them.

use barycenter_tests::TestServer;
use barycenter_tests::client::{step, text};
use serde_json::{Value, json};

#[test]
fn elements_are_discovered_in_order_whatever_their_names() {
    let server = TestServer::start();
    let ada = server.client();
    let names = [
        "plain",
        "with blank",
        "quote'\"",
        "dollar$(id)",
        "ünï",
        "-rf",
        "..hidden",
        "semi;colon",
        "a&b<c>",
    ];
    let history = ada.create_history("split");
    let data = ada.upload(&history, "data", &(names.join("\n") + "\n"));
    let workflow = ada.import_yaml(
        "class: GalaxyWorkflow\ninputs: {data: data}\noutputs: {parts: {outputSource: split/parts}, copies: {outputSource: each/out}}\nsteps:\n  \
         split: {tool_id: split, in: {input: data}}\n  each: {tool_id: copy, in: {input: split/parts}}\n",
    );
    let invocation = ada.invoke(
        &workflow,
        &history,
        &json!({"data": {"src": "hda", "id": data}}),
    );
    let done = ada.wait_for_state(&invocation, &["completed"]);
    let parts = ada.elements(&text(&done["output_collections"]["parts"], "id"));
    let copies = ada.elements(&text(&done["output_collections"]["copies"], "id"));
    assert_eq!(parts.len(), names.len(), "{parts:?}");
    for (identifier, content) in &parts {
        assert_eq!(*content, format!("{identifier}\n"));
        let copy = copies
            .iter()
            .find(|(name, _)| name == identifier)
            .expect("mapped over");
        assert_eq!(copy.1, format!("{identifier}\ncopied\n"));
    }
}

#[test]
fn a_hostile_line_among_element_names_cannot_leave_the_working_directory() {
    let server = TestServer::start();
    let ada = server.client();
    let workflow = "class: GalaxyWorkflow\ninputs: {data: data}\noutputs: {parts: {outputSource: split/parts}}\nsteps:\n  split: {tool_id: split, in: {input: data}}\n";
    let invocation = ada.invoke_on(workflow, "good\n../escaped\n");
    let done = ada.wait_for_state(&invocation, &["completed"]);
    let parts = ada.elements(&text(&done["output_collections"]["parts"], "id"));
    assert_eq!(parts, [("good".to_owned(), "good\n".to_owned())]);
}

#[test]
fn a_tool_is_mapped_over_a_list_and_over_a_list_of_pairs() {
    let server = TestServer::start();
    let ada = server.client();
    let history = ada.create_history("map");
    let list = ada.upload_list(
        &history,
        "list",
        &[("b", "1\n"), ("a", "2\n"), ("c", "3\n")],
    );
    let workflow = ada.import_yaml(
        "class: GalaxyWorkflow\ninputs: {list: {type: collection, collection_type: list}}\noutputs: {copies: {outputSource: each/out}}\nsteps:\n  each: {tool_id: copy, in: {input: list}}\n",
    );
    let invocation = ada.invoke(
        &workflow,
        &history,
        &json!({"list": {"src": "hdca", "id": list}}),
    );
    let done = ada.wait_for_state(&invocation, &["completed"]);
    let copies = ada.elements(&text(&done["output_collections"]["copies"], "id"));
    let expected = [
        ("b", "1\ncopied\n"),
        ("a", "2\ncopied\n"),
        ("c", "3\ncopied\n"),
    ];
    assert_eq!(copies, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    let each = step(&done, "each").expect("a step");
    assert_eq!(each["jobs"].as_array().expect("jobs").len(), 3);
    assert!(each["implicit_collection_jobs_id"].is_string() && each["job_id"].is_null());

    let pair = |name: &str| {
        let of = |end: &str| {
            let id = ada.upload(&history, end, &format!("{name} {end}\n"));
            json!({"name": end, "src": "hda", "id": id})
        };
        json!({"name": name, "src": "new_collection", "collection_type": "paired",
               "element_identifiers": [of("forward"), of("reverse")]})
    };
    let pairs = ada.create_collection(
        &history,
        "pairs",
        "list:paired",
        &json!([pair("x"), pair("y")]),
    );
    let workflow = ada.import_yaml(
        "class: GalaxyWorkflow\ninputs: {pairs: {type: collection, collection_type: \"list:paired\"}}\noutputs: {joined: {outputSource: join/out}, each: {outputSource: each/out}}\nsteps:\n  \
         join: {tool_id: pair, in: {pair: pairs}}\n  each: {tool_id: copy, in: {input: pairs}}\n",
    );
    let invocation = ada.invoke(
        &workflow,
        &history,
        &json!({"pairs": {"src": "hdca", "id": pairs}}),
    );
    let done = ada.wait_for_state(&invocation, &["completed"]);
    let joined = ada.elements(&text(&done["output_collections"]["joined"], "id"));
    let expected = [
        ("x", "x forward\nx reverse\n"),
        ("y", "y forward\ny reverse\n"),
    ];
    assert_eq!(joined, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    let each = ada.collection(&text(&done["output_collections"]["each"], "id"));
    assert_eq!(each["collection_type"], "list:paired");
    assert_eq!(
        each["elements"][1]["object"]["elements"][1]["element_identifier"],
        "reverse"
    );
}

#[test]
fn mapping_over_an_empty_collection_makes_no_job_and_an_empty_collection() {
    let server = TestServer::start();
    let ada = server.client();
    let history = ada.create_history("empty");
    let list = ada.create_collection(&history, "none", "list", &json!([]));
    let workflow = ada.import_yaml(
        "class: GalaxyWorkflow\ninputs: {list: {type: collection, collection_type: list}}\noutputs: {copies: {outputSource: second/out}}\nsteps:\n  \
         first: {tool_id: copy, in: {input: list}}\n  second: {tool_id: copy, in: {input: first/out}}\n",
    );
    let invocation = ada.invoke(
        &workflow,
        &history,
        &json!({"list": {"src": "hdca", "id": list}}),
    );
    let done = ada.wait_for_state(&invocation, &["completed"]);
    let copies = ada.collection(&text(&done["output_collections"]["copies"], "id"));
    assert_eq!(
        (&copies["element_count"], &copies["populated"]),
        (&json!(0), &json!(true)),
        "{copies:#}"
    );
    assert_eq!(step(&done, "second").expect("a step")["jobs"], json!([]));
}

#[test]
fn one_failed_element_of_a_mapped_step_spares_the_others() {
    let server = TestServer::start();
    let ada = server.client();
    let history = ada.create_history("one bad");
    let list = ada.upload_list(&history, "list", &[("good", "1\n"), ("bad", "2\n")]);
    let script = json!("grep 1 $INPUT > out.txt");
    let workflow = ada.import_yaml(&format!(
        "class: GalaxyWorkflow\ninputs: {{list: {{type: collection, collection_type: list}}}}\noutputs: {{copies: {{outputSource: second/out}}}}\nsteps:\n  \
         first:\n    tool_id: script\n    in: {{input: list}}\n    state: {{script: {script}}}\n  second: {{tool_id: copy, in: {{input: first/out}}}}\n",
    ));
    let invocation = ada.invoke(
        &workflow,
        &history,
        &json!({"list": {"src": "hdca", "id": list}}),
    );
    let done = ada.wait_for_state(&invocation, &["completed"]);
    let states = |label: &str| -> Vec<Value> {
        let jobs = step(&done, label).expect("a step")["jobs"]
            .as_array()
            .expect("jobs")
            .clone();
        jobs.iter().map(|job| job["state"].clone()).collect()
    };
    assert_eq!(states("first"), ["ok", "error"]);
    assert_eq!(states("second"), ["ok", "paused"]);
}
