use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::tools::yaml;

fn tool() -> Tool {
    let text = r##"
class: GalaxyTool
id: t
shell_command: echo
inputs:
  - {name: in, type: data}
  - {name: many, type: data, multiple: true, optional: true}
  - {name: n, type: integer, value: 5, min: 1, max: 9}
  - {name: must, type: integer, value: 0}
  - {name: f, type: float, optional: true, validators: [{type: in_range, min: 0, max: 1, exclude_max: true}]}
  - {name: flag, type: boolean}
  - {name: text, type: text, value: hi, validators: [{type: length, max: 5}, {type: regex, expression: "[a-z]*$", message: only letters}]}
  - {name: color, type: color, value: "#ffffff"}
  - {name: pick, type: select, options: [{value: a}, {value: b, selected: true}]}
  - {name: picks, type: select, multiple: true, optional: true, options: [{value: a}, {value: b}]}
  - name: cond
    type: conditional
    test_parameter: {name: kind, type: select, options: [{value: one}, {value: two}]}
    whens:
      - {discriminator: one, parameters: [{name: x, type: integer, value: 1}]}
      - {discriminator: two, parameters: [{name: file, type: data}]}
  - name: rep
    type: repeat
    max: 3
    parameters: [{name: q, type: data, optional: true}, {name: w, type: text}]
  - {name: sec, type: section, parameters: [{name: s, type: text, value: z}, {name: list, type: data_collection, collection_type: list, optional: true}]}
"##;
    yaml::parse(text, "t").unwrap()
}

fn hda(id: i64) -> Value {
    json!({"src": "hda", "id": id})
}

fn normal(state: Value) -> Value {
    normalise_state(&tool(), &state).unwrap()
}

fn faults(state: Value) -> Vec<(String, String)> {
    let (_, errors) = normalise_leniently(&tool(), &state);
    errors
        .into_iter()
        .map(|error| (error.name, error.message))
        .collect()
}

#[test]
fn defaults_fill_what_is_not_said() {
    assert_eq!(
        normal(json!({"in": hda(1), "__page__": 0, "chromInfo": "x"})),
        json!({"in": hda(1), "many": null, "n": 5, "must": 0, "f": null, "flag": false, "text": "hi",
            "color": "#ffffff", "pick": "b", "picks": null,
            "cond": {"kind": "one", "__current_case__": 0, "x": 1}, "rep": [],
            "sec": {"s": "z", "list": null}})
    );
}

#[test]
fn text_becomes_numbers_and_booleans() {
    let state = normal(
        json!({"in": hda(1), "n": "7", "f": "0.5", "flag": "yes", "text": 12.0.to_string().replace("12", "ab"), "picks": "a,b"}),
    );
    assert_eq!(
        (&state["n"], &state["f"], &state["flag"], &state["text"]),
        (&json!(7), &json!(0.5), &json!(true), &json!("ab"))
    );
    assert_eq!(state["picks"], json!(["a", "b"]));
}

#[test]
fn flat_and_nested_forms_are_one() {
    let nested = normal(
        json!({"in": hda(1), "cond": {"kind": "two", "file": hda(2)},
        "rep": [{"w": "a"}, {"q": hda(3), "w": "b"}], "sec": {"s": "y"}}),
    );
    let flat = normal(
        json!({"in": {"values": [hda(1)]}, "cond|kind": "two", "cond|file": hda(2),
        "rep_0|w": "a", "rep_1|q": hda(3), "rep_1|w": "b", "sec|s": "y"}),
    );
    assert_eq!(nested, flat);
    assert_eq!(nested["cond"]["__current_case__"], json!(1));
    assert_eq!(
        nested["rep"][1],
        json!({"__index__": 1, "q": hda(3), "w": "b"})
    );
}

#[test]
fn states_of_workflow_files_are_decoded() {
    let connected = json!({"__class__": "ConnectedValue"});
    let old = json!({"in": connected.to_string(), "n": "\"6\"", "text": "\"abc\"", "__page__": 0,
        "cond": "{\"kind\": \"one\", \"__current_case__\": 0, \"x\": {\"__class__\": \"RuntimeValue\"}}", "rep": "[]"});
    let state = normal(old.clone());
    assert_eq!(
        (&state["in"], &state["n"], &state["text"]),
        (&connected, &json!(6), &json!("abc"))
    );
    assert!(is_connected(&state["in"]) && is_runtime(&state["cond"]["x"]));
    assert_eq!(normal(json!(old.to_string())), state);
    let quoted = json!({"in": hda(1), "text": "a\"b\""});
    assert!(faults(quoted)[0].1.contains("only letters"));
}

#[test]
fn every_fault_is_told_with_its_path() {
    let state = json!({"n": 10, "must": "x", "f": 1, "flag": "maybe", "text": "abcdef", "color": "red",
        "pick": "c", "cond": {"kind": "two"}, "rep": [{"q": 5}], "many": "text"});
    let names: Vec<String> = faults(state).into_iter().map(|fault| fault.0).collect();
    assert_eq!(
        names,
        [
            "in",
            "many",
            "n",
            "must",
            "f",
            "flag",
            "text",
            "color",
            "pick",
            "cond|file",
            "rep_0|q"
        ]
    );
    assert_eq!(
        faults(json!({"in": hda(1), "n": 0}))[0].1,
        "0 is less than 1, the smallest value allowed"
    );
    assert_eq!(
        faults(json!({"in": hda(1), "pick": "c"}))[0].1,
        "'c' is not one of the options 'a', 'b'"
    );
    assert_eq!(
        faults(json!({"in": null})),
        [("in".to_owned(), "an input dataset is required".to_owned())]
    );
    assert_eq!(
        faults(json!({"in": hda(1), "must": null}))[0].1,
        "a whole number is required"
    );
    assert!(
        faults(json!({"in": hda(1), "rep_99999999999|w": "x"}))[0]
            .1
            .contains("at most 3")
    );
    assert!(
        faults(json!({"in": [hda(1), hda(2)]}))[0]
            .1
            .contains("2 were given")
    );
    assert!(!faults(json!([1])).is_empty());
}

#[test]
fn a_parameter_may_be_fed_by_a_dataset() {
    assert_eq!(normal(json!({"in": hda(1), "n": hda(2)}))["n"], hda(2));
}

#[test]
fn normalising_twice_changes_nothing() {
    let once = normal(
        json!({"in": hda(1), "many": [hda(1), hda(2)], "cond|kind": "two", "cond|file": hda(4), "rep_1|w": "b"}),
    );
    assert_eq!(normal(once.clone()), once);
    assert_eq!(once["many"], json!({"values": [hda(1), hda(2)]}));
}

#[test]
fn terminals_follow_the_active_branches() {
    let state =
        normal(json!({"in": hda(1), "cond|kind": "two", "cond|file": hda(2), "rep_0|w": "a"}));
    let names: Vec<String> = data_inputs(&tool(), &state)
        .into_iter()
        .map(|terminal| terminal.name)
        .collect();
    assert_eq!(names, ["in", "many", "cond|file", "rep_0|q", "sec|list"]);
    let all = terminals(&tool(), &state);
    assert!(all.iter().any(|terminal| terminal.name == "cond|kind"));
    assert!(!all.iter().any(|terminal| terminal.name == "cond|x"));
}

#[test]
fn paths_address_what_flatten_lists() {
    let state = normal(json!({"in": hda(1), "rep_1|w": "b"}));
    for (path, value) in flatten(&state) {
        assert_eq!(get_path(&state, &path), Some(&value), "{path}");
    }
    let mut made = Value::Null;
    assert!(set_path(&mut made, "cond|rep_1|q", hda(9)));
    assert!(set_path(&mut made, "name_7", json!("plain")));
    assert_eq!(
        made,
        json!({"cond": {"rep": [{}, {"q": hda(9)}]}, "name_7": "plain"})
    );
    assert!(!set_path(&mut made, "name_7|x", json!(1)));
    assert!(!set_path(&mut made, "rep_99999999|x", json!(1)));
    assert_eq!(get_path(&made, "cond|rep_5|q"), None);
}

proptest! {
    #[test]
    fn normalising_never_panics(keys in proptest::collection::vec(("(in|n|rep_[0-9]\\|q|cond\\|kind|cond|rep|sec|text|picks)", "[\\[{\"a-c0-9:},\\]]{0,8}"), 0..6)) {
        let state: Value = keys.into_iter().map(|(key, text)| (key, json!(text))).collect::<serde_json::Map<_, _>>().into();
        let (state, _) = normalise_leniently(&tool(), &state);
        terminals(&tool(), &state);
        flatten(&state);
    }
}
