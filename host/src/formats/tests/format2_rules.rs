//! Each rule of format2, named after the behaviour.

use super::*;
use crate::model::workflow::{NO_INPUT_OUTPUT_NAME, is_connected_value, is_runtime_value};

fn imported(text: &str) -> WorkflowDescription {
    import_text(text).unwrap_or_else(|error| panic!("{error}"))
}

/// `body` as the rest of a file that says what it is, and has steps, if only none.
fn with_steps(body: &str) -> String {
    let is_part = |line: &str| line.starts_with("steps:") || line.starts_with("inputs:");
    let has = body.lines().any(is_part);
    let none = if has { "" } else { "steps: []\n" };
    format!("class: GalaxyWorkflow\n{none}{body}")
}

fn format2(body: &str) -> WorkflowDescription {
    imported(&with_steps(body))
}

#[track_caller]
fn refused(body: &str, err_code: u32, words: &[&str]) {
    let error = import_text(&with_steps(body)).unwrap_err();
    assert_eq!(error.code.err_code(), err_code, "{error}");
    for word in words {
        assert!(error.message.contains(word), "{word:?} is not in {error}");
    }
}

fn sources(workflow: &WorkflowDescription, step: usize) -> Vec<(&str, Vec<(usize, &str)>)> {
    let inputs = workflow.steps[step].inputs.iter();
    inputs
        .map(|input| {
            let ends = input.connections.iter();
            let ends = ends.map(|end| (end.output_step, end.output_name.as_str()));
            (input.name.as_str(), ends.collect())
        })
        .collect()
}

#[test]
fn a_file_is_recognised_by_class_yaml_content_or_graph() {
    assert_eq!(detect(&json!({"class": "GalaxyWorkflow"})), Format::Format2);
    assert_eq!(detect(&json!({"$graph": []})), Format::Format2);
    assert_eq!(
        detect(&json!({"class": "x", "yaml_content": ""})),
        Format::Format2Wrapped
    );
    assert_eq!(
        detect(&json!({"a_galaxy_workflow": "true", "class": "x"})),
        Format::Native
    );
    assert_eq!(detect(&json!({})), Format::Native);

    let text = "class: GalaxyWorkflow\nlabel: w\ninputs: {a: data}\n";
    let plain = imported(text);
    let wrapped = json!({"class": "GalaxyWorkflow", "yaml_content": text});
    assert_eq!(import(&wrapped).unwrap(), plain);
    assert_eq!(imported(&wrapped.to_string()), plain);
    let graph = "$graph:\n- {id: main, class: GalaxyWorkflow, label: w, inputs: {a: data}}\n";
    assert_eq!(imported(graph), plain);
    let error = import_text("class: CommandLineTool\n").unwrap_err();
    assert_eq!(error.code.err_code(), 400_008);
    assert!(import_text("$graph: [{id: other, class: GalaxyWorkflow}]").is_err());
}

#[test]
fn a_workflow_without_steps_or_inputs_is_none() {
    for (file, about) in [
        (json!({"class": "GalaxyWorkflow"}), "neither"),
        (
            json!({"class": "GalaxyWorkflow", "path": "/w.gxwf.yml"}),
            "path of a file",
        ),
        (
            json!({"class": "GalaxyWorkflow", "src": "from_path", "path": "/w.gxwf.yml"}),
            "path of a file",
        ),
        (
            json!({"class": "GalaxyWorkflow", "inputs": {"a": "data"},
                "steps": {"s": {"run": {"class": "GalaxyWorkflow", "path": "inner.gxwf.yml"}}}}),
            "path of a file",
        ),
        (
            json!({"a_galaxy_workflow": "true", "name": "w", "path": "/w.ga"}),
            "no steps field",
        ),
    ] {
        let error = import(&file).expect_err("refused");
        assert_eq!(error.code.err_code(), 400_005, "{error}");
        assert!(error.message.contains(about), "{error}");
    }
    assert!(
        imported("class: GalaxyWorkflow\nsteps: []\n")
            .steps
            .is_empty()
    );
}

#[test]
fn the_top_of_the_file_describes_the_workflow() {
    let workflow = format2(
        "label: w\ndoc: [one, two]\nuuid: 5dd0ac3f-0aff-4d5b-b9d9-3f4b2e41f6a4\nlicense: MIT\n\
         release: 0.10\ntags: [a, b]\ncreator: [{class: Person, name: P}]\nreport: {markdown: '# R'}\n",
    );
    assert_eq!(workflow.name, "w");
    assert_eq!(workflow.annotation.as_deref(), Some("one\ntwo"));
    assert_eq!(workflow.license.as_deref(), Some("MIT"));
    assert_eq!(workflow.tags, ["a", "b"]);
    assert_eq!(workflow.report, Some(json!({"markdown": "# R"})));
    assert!(workflow.uuid.is_some() && workflow.creator.is_some());
    assert_eq!(format2("name: n\n").name, "n");
    assert_eq!(format2("").name, "Workflow");
}

#[test]
fn every_input_type_becomes_its_step() {
    let check = |written: &str, step_type: &str, state: Value| {
        let workflow = format2(&format!("inputs: {{a: {written}}}\n"));
        let step = &workflow.steps[0];
        assert_eq!(step.step_type, step_type, "{written}");
        assert_eq!(step.tool_inputs, state, "{written}");
        assert_eq!(step.label.as_deref(), Some("a"));
    };
    for data in ["data", "File", "data_input", "", "{}", "{type: data}"] {
        check(data, "data_input", json!({}));
    }
    for collection in ["collection", "data_collection", "data_collection_input"] {
        check(collection, "data_collection_input", json!({}));
    }
    for (written, native) in [
        ("text", "text"),
        ("string", "text"),
        ("int", "integer"),
        ("integer", "integer"),
        ("float", "float"),
        ("boolean", "boolean"),
        ("color", "color"),
    ] {
        check(
            written,
            "parameter_input",
            json!({"parameter_type": native}),
        );
    }
    check(
        "[string]",
        "parameter_input",
        json!({"parameter_type": "text", "multiple": true}),
    );
    check(
        "{type: int, min: 1, default: 3, optional: yes}",
        "parameter_input",
        json!({"parameter_type": "integer", "optional": true, "default": 3, "validators":
            [{"type": "in_range", "min": 1, "max": null, "negate": false}]}),
    );
    check(
        "{type: text, restrictions: [x], validators: [{type: regex, expression: a}]}",
        "parameter_input",
        json!({"parameter_type": "text", "restrictions": ["x"], "validators":
            [{"type": "regex", "expression": "a", "negate": false}]}),
    );
    check(
        "{type: collection, collection_type: 'list:paired', format: txt}",
        "data_collection_input",
        json!({"collection_type": "list:paired", "format": ["txt"]}),
    );
    refused("inputs: {a: 'data?'}\n", 400_008, &["input \"a\"", "data?"]);
    refused("inputs: {a: [data, text]}\n", 400_008, &["type"]);
}

#[test]
fn a_file_as_default_is_the_default_of_the_data() {
    let workflow = format2("inputs: {a: {default: {class: File, location: 'x:y'}}}\n");
    let default = json!({"class": "File", "location": "x:y"});
    assert_eq!(workflow.steps[0].input_default(), Some(&default));
    assert_eq!(workflow.steps[0].tool_inputs, json!({}));
}

#[test]
fn inputs_are_numbered_first_and_steps_take_their_labels_from_keys() {
    let workflow = format2(
        "steps:\n  s: {tool_id: t}\n  '7': {tool_id: t}\n  _unlabeled_step_2: {tool_id: t}\n  \
         k: {tool_id: t, label: l}\ninputs:\n- id: i\n- {type: text}\n- {id: _unlabeled_input_9}\n",
    );
    let labels: Vec<_> = workflow
        .steps
        .iter()
        .map(|step| step.label.as_deref())
        .collect();
    assert_eq!(
        labels,
        [Some("i"), None, None, Some("s"), None, None, Some("l")]
    );
    assert_eq!(
        workflow.steps[3].position,
        Some(json!({"left": 30, "top": 30}))
    );
}

#[test]
fn sources_are_labels_numbers_and_outputs() {
    let workflow = format2(
        "inputs: [{id: in}, {id: a/b}]\nsteps:\n- {tool_id: t, in: {x: in}}\n- tool_id: t\n  label: s\n  \
         in:\n    one: 2/out\n    many: [in, a/b, 2/p]\n    full: {source: a/b, default: 3}\n    only: {default: 4}\n\
         - tool_id: t\n  in: [{id: x, source: s/o}, {id: $step, source: s}]\n\
         - {tool_id: t, connect: {x: s/o}}\n",
    );
    assert_eq!(sources(&workflow, 2), [("x", vec![(0, "output")])]);
    assert_eq!(
        sources(&workflow, 3),
        [
            ("one", vec![(2, "out")]),
            ("many", vec![(0, "output"), (1, "output"), (2, "p")]),
            ("full", vec![(1, "output")]),
            ("only", vec![]),
        ],
    );
    assert_eq!(
        workflow.steps[3].input("full").unwrap().default_value,
        Some(json!(3))
    );
    assert!(workflow.steps[3].input("only").unwrap().default_value_set);
    assert_eq!(
        sources(&workflow, 4),
        [
            ("x", vec![(3, "o")]),
            (NO_INPUT_OUTPUT_NAME, vec![(3, NO_INPUT_OUTPUT_NAME)])
        ],
    );
    assert_eq!(sources(&workflow, 5), [("x", vec![(3, "o")])]);
    refused(
        "steps: {s: {tool_id: t, in: {x: nowhere}}}\n",
        400_013,
        &["step \"s\"", "nowhere"],
    );
}

#[test]
fn links_in_the_state_become_connections_at_their_path() {
    let workflow = format2(
        "inputs: {i: data, j: data}\nsteps:\n  s:\n    tool_id: t\n    runtime_inputs: [r]\n    state:\n      \
         n: 3\n      a: {b: [{c: {$link: i}}, {c: 1}]}\n      m: [{$link: i}, {$link: j}]\n      l: {$link: s2/o}\n  \
         s2: {tool_id: t}\n",
    );
    let step = workflow.step_by_label("s").unwrap();
    let second = workflow.step_by_label("s2").unwrap().order_index;
    let found = sources(&workflow, step.order_index);
    assert_eq!(
        found,
        [
            ("a|b_0|c", vec![(0, "output")]),
            ("m", vec![(0, "output"), (1, "output")]),
            ("l", vec![(second, "o")]),
        ],
    );
    let state = &step.tool_inputs;
    assert_eq!(state["n"], 3);
    assert_eq!(state["a"]["b"][1], json!({"c": 1}));
    let connected = [&state["a"]["b"][0]["c"], &state["m"], &state["l"]];
    assert!(connected.into_iter().all(is_connected_value));
    assert!(is_runtime_value(&state["r"]));
}

#[test]
fn tool_state_is_taken_encoded_or_not() {
    let workflow = format2(
        "steps:\n- {tool_id: t, tool_state: {a: b}}\n- tool_id: t\n  tool_state: '{\"a\": \"\\\"1\\\"\"}'\n",
    );
    assert_eq!(workflow.steps[0].tool_inputs, json!({"a": "b"}));
    assert_eq!(workflow.steps[1].tool_inputs, json!({"a": "1"}));
}

#[test]
fn step_types_follow_run_and_type() {
    let workflow = format2(
        "inputs: {i: data}\nsteps:\n  p: {type: pause, in: {input: i}}\n  \
         v: {type: pick_value, state: {mode: first_or_skip}, in: {input_0: i, input_1: i, input_2: i}}\n  \
         u: {run: {class: GalaxyUserTool, name: N}}\n  q: {type: review_by_mail, tool_state: {to: me}}\n",
    );
    let step = |label| workflow.step_by_label(label).unwrap();
    assert_eq!(step("p").tool_inputs, json!({"name": "p"}));
    assert_eq!(
        step("v").tool_inputs,
        json!({"mode": "first_or_skip", "num_inputs": 3})
    );
    assert_eq!(step("u").step_type, "tool");
    assert_eq!(
        step("u").tool_representation,
        Some(json!({"class": "GalaxyUserTool", "name": "N"}))
    );
    assert_eq!(step("q").step_type, "review_by_mail");
    refused("steps: [{doc: nothing}]\n", 400_008, &["tool_id"]);
    refused("steps: [{type: subworkflow}]\n", 400_008, &["run"]);
}

#[test]
fn a_subworkflow_is_inline_or_in_the_graph() {
    let inner = "class: GalaxyWorkflow, label: inner, inputs: {x: data}, \
                 steps: {t: {tool_id: t, in: {i: x}}}, outputs: {_anonymous_output_1: {outputSource: t/o}}";
    let graph = imported(&format!(
        "$graph:\n- {{id: sub, {inner}}}\n- id: main\n  class: GalaxyWorkflow\n  inputs: {{a: data}}\n  steps:\n    \
         s: {{run: '#sub', in: {{x: a}}}}\n    u: {{tool_id: t, in: {{i: s/_anonymous_output_1}}}}\n",
    ));
    let inline = format2(&format!(
        "inputs: {{a: data}}\nsteps:\n  s: {{run: {{{inner}}}, in: {{x: a}}}}\n  u: {{tool_id: t, in: {{i: s/1:o}}}}\n",
    ));
    assert_eq!(graph, inline);
    assert_eq!(
        graph.steps[1].inputs[0].connections[0].input_subworkflow_step,
        Some(0)
    );
    for elsewhere in ["'#other'", "https://example.org/w", "{'@import': w.yml}"] {
        refused(
            &format!("steps: {{s: {{run: {elsewhere}}}}}\n"),
            400_008,
            &["not fetched"],
        );
    }
    refused(
        &format!("inputs: {{a: data}}\nsteps: {{s: {{run: {{{inner}}}, in: {{z: a}}}}}}\n"),
        0,
        &["\"z\""],
    );
}

#[test]
fn outputs_of_the_workflow_are_marked_on_their_steps() {
    let workflow = format2(
        "inputs: {i: data}\nsteps: {s: {tool_id: t}}\noutputs:\n- {id: one, outputSource: s/o}\n- outputSource: s/p\n\
         - {id: _anonymous_output_1, outputSource: s/q}\n- {id: three, label: Three, outputSource: i}\n",
    );
    let outputs = workflow.outputs();
    let outputs: Vec<_> = outputs
        .map(|(step, out)| {
            (
                step.order_index,
                out.output_name.as_str(),
                out.label.as_deref(),
            )
        })
        .collect();
    assert_eq!(
        outputs,
        [
            (0, "output", Some("Three")),
            (1, "o", Some("one")),
            (1, "p", None),
            (1, "q", None)
        ],
    );
    let twice =
        "steps: {s: {tool_id: t}}\noutputs: {a: {outputSource: s/o}, b: {outputSource: s/o}}\n";
    refused(twice, 400_004, &["\"s\"", "\"o\""]);
    refused(
        "outputs: {a: {}}\n",
        400_005,
        &["output \"a\"", "outputSource"],
    );
}

#[test]
fn comments_are_flat_and_name_what_they_contain() {
    let workflow = format2(
        "inputs: {i: data}\nsteps: {s: {tool_id: t}}\ncomments:\n- {type: text, text: T, text_size: 2, bold: true, label: L}\n\
         - {type: frame, title: F, contains_steps: [s, 0], contains_comments: [L]}\n",
    );
    assert_eq!(
        workflow.comments[0].data,
        json!({"text": "T", "size": 2, "bold": true})
    );
    assert_eq!(workflow.comments[1].child_steps, [1, 0]);
    assert_eq!(workflow.comments[1].child_comments, [0]);
    assert_eq!(imported(&yaml_of(&workflow)), workflow);
    refused(
        "comments: [{type: frame, contains_steps: [x]}]\n",
        400_013,
        &["\"x\""],
    );
}

#[test]
fn the_export_reads_like_something_a_person_wrote() {
    let workflow = format2(
        "label: Count\ninputs:\n  reads: {type: data, format: [fastq]}\nsteps:\n  count:\n    tool_id: wc\n    \
         tool_version: '1.0'\n    in: {input: reads}\n    out: {out_file1: {rename: lines}}\n    tool_state: {flag: '1e-5', text: \"a\\nb\\n\"}\n\
         outputs:\n  lines: {outputSource: count/out_file1}\n",
    );
    let expected = "\
class: GalaxyWorkflow
label: Count
inputs:
  reads:
    type: data
    format:
    - fastq
    position:
      left: 0
      top: 0
outputs:
  lines:
    outputSource: count/out_file1
steps:
  count:
    tool_id: wc
    tool_version: \"1.0\"
    in:
      input:
        source: reads
    out:
      out_file1:
        rename: lines
    tool_state:
      flag: \"1e-5\"
      text: |
        a
        b
    position:
      left: 10
      top: 10
";
    assert_eq!(yaml_of(&workflow), expected);
}

#[test]
fn unreadable_text_is_reported_by_the_reader_that_fits() {
    let json = import_text("{\"steps\": ").unwrap_err();
    assert!(json.message.contains("JSON"), "{json}");
    let yaml = import_text("class: [GalaxyWorkflow\n").unwrap_err();
    assert!(yaml.message.contains("YAML"), "{yaml}");
    assert!(import_bytes(&[0xff, 0xfe]).is_err());
    assert!(import_text("").is_err());
}
