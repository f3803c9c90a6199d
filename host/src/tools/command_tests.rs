use std::collections::HashMap;
use std::process::Command;

use serde_json::json;

use super::*;
use crate::tools::inputs_json::{
    CollectionView, DataRef, DataSource, DataView, DatasetView, ElementView,
};
use crate::tools::parameters::normalise_state;
use crate::tools::yaml;

fn dataset(path: &str) -> DatasetView {
    DatasetView {
        path: path.to_owned(),
        ext: "tabular".to_owned(),
        name: "my data".to_owned(),
        size: Some(7),
        ..DatasetView::default()
    }
}

fn collection(collection_type: &str, elements: Vec<(&str, DataView)>) -> CollectionView {
    CollectionView {
        name: "all".to_owned(),
        collection_type: collection_type.to_owned(),
        elements: elements
            .into_iter()
            .map(|(identifier, object)| ElementView {
                identifier: identifier.to_owned(),
                object,
            })
            .collect(),
        ..CollectionView::default()
    }
}

fn data() -> DataViews {
    let pair = collection(
        "paired",
        vec![
            ("forward", DataView::Dataset(dataset("/d/f.fq.gz"))),
            ("reverse", DataView::Dataset(dataset("/d/r"))),
        ],
    );
    let mut number = dataset("/d/n.json");
    number.content = Some(json!(42));
    HashMap::from([
        (
            DataRef::new(DataSource::Hda, 1),
            DataView::Dataset(dataset("/d/dataset_1.dat")),
        ),
        (
            DataRef::new(DataSource::Hda, 2),
            DataView::Dataset(dataset("/d/.hidden")),
        ),
        (DataRef::new(DataSource::Hda, 3), DataView::Dataset(number)),
        (
            DataRef::new(DataSource::Hdca, 1),
            DataView::Collection(collection(
                "list:paired",
                vec![("s1", DataView::Collection(pair))],
            )),
        ),
    ])
}

fn rendered(inputs: &str, rest: &str, state: Value) -> Result<Rendered, RenderError> {
    let text = format!("class: GalaxyTool\nid: t\ninputs: {inputs}\n{rest}\n");
    let tool = yaml::parse(&text, "t").unwrap();
    let state = normalise_state(&tool, &state).unwrap();
    render(
        &tool,
        &RenderInputs {
            params: &state,
            data: &data(),
            cores: 3,
            outdir: "/job",
            tmpdir: "/tmp",
        },
    )
}

fn line(inputs: &str, command: &str, state: Value) -> String {
    rendered(inputs, &format!("shell_command: >-\n  {command}"), state)
        .unwrap()
        .command_line
}

#[test]
fn datasets_look_like_files() {
    let one = json!({"a": {"src": "hda", "id": 1}});
    let a = "[{name: a, type: data}]";
    assert_eq!(
        line(
            a,
            "$(inputs.a.path) $(inputs.a.basename) $(inputs.a.nameroot) $(inputs.a.nameext) $(inputs.a.format) $(inputs.a.size) $(inputs.a.element_identifier) $(inputs.a.class)",
            one
        ),
        "/d/dataset_1.dat dataset_1.dat dataset_1 .dat tabular 7 my data File"
    );
    assert_eq!(
        line(
            a,
            "<$(inputs.a.nameroot)><$(inputs.a.nameext)>",
            json!({"a": {"src": "hda", "id": 2}})
        ),
        "<.hidden><>"
    );
}

#[test]
fn lists_are_arrays_and_pairs_are_objects() {
    let state = json!({"a": {"src": "hdca", "id": 1}, "m": {"values": [{"src": "hda", "id": 1}, {"src": "hda", "id": 2}]}});
    assert_eq!(
        line(
            "[{name: a, type: data_collection}, {name: m, type: data, multiple: true}]",
            "$(inputs.a.class) $(inputs.a.elements[0].elements.forward.path) $(inputs.a.elements[0].elements['reverse'].element_identifier) $(inputs.a.elements.length) $(inputs.m[1].path) $(inputs.m.map(function (f) { return f.path; }).join())",
            state
        ),
        "Collection /d/f.fq.gz reverse 1 /d/.hidden /d/dataset_1.dat,/d/.hidden"
    );
}

#[test]
fn parameters_take_the_content_of_a_dataset_that_feeds_them() {
    assert_eq!(
        line(
            "[{name: n, type: integer, value: 1}]",
            "$(inputs.n + 1)",
            json!({"n": {"src": "hda", "id": 3}})
        ),
        "43"
    );
}

#[test]
fn groups_are_nested_and_unset_is_null() {
    let inputs = "[{name: c, type: conditional, test_parameter: {name: t, type: boolean}, whens: [{discriminator: true, parameters: [{name: x, type: text, value: y}]}]}, {name: r, type: repeat, parameters: [{name: q, type: integer, optional: true}]}, {name: o, type: data, optional: true}]";
    assert_eq!(
        line(
            inputs,
            "$(inputs.c) $(inputs.r) $(inputs.o) $(inputs.o === null)",
            json!({"c": {"t": "true"}, "r": [{"q": 1}, {}]})
        ),
        r#"{"t": true, "x": "y"} [{"q": 1}, {"q": null}] null true"#
    );
}

#[test]
fn arguments_changed_by_evaluation_are_one_word() {
    let made = rendered(
        "[{name: x, type: text}]",
        "base_command: [echo, -n]\narguments: ['$(inputs.x)', '>', 'out']",
        json!({"x": "a b; c'd"}),
    )
    .unwrap();
    assert_eq!(made.command_line, r#"echo -n 'a b; c'"'"'d' > out"#);
}

#[test]
fn the_script_is_strict_and_knows_its_cores() {
    let made = rendered("[]", "shell_command: |\n  echo $GALAXY_SLOTS \\$((1 + 1)) \\${HOME:+home}\n  false\n  echo never", json!({})).unwrap();
    let ran = Command::new("sh")
        .arg("-c")
        .arg(&made.script)
        .output()
        .unwrap();
    assert!(!ran.status.success());
    assert!(
        String::from_utf8_lossy(&ran.stdout).starts_with("3 2"),
        "{made:?}"
    );
    assert!(!String::from_utf8_lossy(&ran.stdout).contains("never"));
}

#[test]
fn files_are_evaluated_and_failures_named() {
    let rest = "shell_command: echo\nconfigfiles: [{filename: a.json, content: '$(inputs.x)'}, {filename: b, content: 'tab \\t $(inputs.x[0])'}]";
    let inputs = "[{name: x, type: select, multiple: true, options: [a, b]}]";
    let made = rendered(inputs, rest, json!({"x": ["a", "b"]})).unwrap();
    assert_eq!(
        made.files,
        [
            ("a.json".to_owned(), r#"["a", "b"]"#.to_owned()),
            ("b".to_owned(), "tab \\t a".to_owned())
        ]
    );
    let error = rendered("[]", "shell_command: '$(nothing.here)'", json!({})).unwrap_err();
    assert!(
        error.to_string().starts_with(
            "the command of tool t could not be written: the expression $(nothing.here) failed:"
        ),
        "{error}"
    );
}

#[test]
fn quoting_makes_one_word_of_anything() {
    for text in [
        "",
        "plain",
        "a b",
        "it's",
        "$(x) `y` \"z\" \\",
        "a\nb",
        "-n",
        "*",
    ] {
        let ran = Command::new("sh")
            .arg("-c")
            .arg(format!("printf '%s|' {}", shell_quote(text)))
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(ran.stdout).unwrap(), format!("{text}|"));
    }
}
