//! Each operation on literal collections. A result is written as JSON: identifiers, and the number of each dataset.

use serde_json::{Map, json};

use super::*;
use crate::invoker::known::{Element, Hda, Hdca, Hid, Populated};

struct Text(&'static str);

impl Files for Text {
    fn text(&self, _: i64) -> Result<String, String> {
        Ok(self.0.to_owned())
    }
    fn is_hollow(&self, dataset_id: i64) -> bool {
        dataset_id == 70
    }
}

/// Datasets are numbers; their state is `error` from 50, `running` from 60; 40 is skipped, 45 is empty.
fn hda(id: i64) -> Hda {
    Hda {
        id,
        dataset_id: id * 10,
        hid: Hid::Given(id),
        name: format!("d{id}"),
        extension: "txt".into(),
        state: match id {
            50..60 => DatasetState::Error,
            60..70 => DatasetState::Running,
            _ => DatasetState::Ok,
        },
        deleted: false,
        purged: false,
        dbkey: None,
        size: Some(if id == 45 { 0 } else { 5 }),
        skipped: id == 40,
        tags: vec![],
    }
}

fn collection(collection_type: &str, elements: &Value) -> Collection {
    let inner = collection_type
        .split_once(':')
        .map_or("", |(_, inner)| inner);
    let elements = elements.as_object().expect("an object").iter();
    Collection {
        id: 1,
        collection_type: collection_type.into(),
        populated: Populated::Ok,
        elements: elements
            .map(|(identifier, value)| Element {
                id: 1,
                identifier: identifier.clone(),
                object: match value.as_i64() {
                    Some(id) => ElementObject::Hda(id),
                    None => ElementObject::Collection(collection(inner, value)),
                },
            })
            .collect(),
    }
}

/// Collections are numbered from 1 and datasets are themselves.
fn known(collections: &[(&str, Value)]) -> Known {
    let mut known = Known::default();
    for id in 1..100 {
        known.hdas.insert(id, hda(id));
    }
    for (n, (collection_type, elements)) in collections.iter().enumerate() {
        let id = n as i64 + 1;
        let hdca = Hdca {
            id,
            hid: Hid::Given(id),
            name: "c".into(),
            deleted: false,
            collection: collection(collection_type, elements),
            unfinished_job: None,
        };
        known.hdcas.insert(id, hdca);
    }
    known
}

fn run(operation: Operation, params: Value, known: &Known, file: &'static str) -> Value {
    let (slices, identifiers) = (
        HashMap::new(),
        HashMap::from([("datasets_1|input", "id of 2")]),
    );
    let given = Given {
        params: &params,
        known,
        slices: &slices,
        identifiers: &identifiers,
        files: &Text(file),
    };
    match plan(operation, &given) {
        Ok(results) => {
            let mut shown = Map::new();
            for (name, output) in results {
                shown.insert(name.into(), show(&output));
            }
            Value::Object(shown)
        }
        Err(Refusal::NotReady(datasets)) => json!({"not ready": datasets}),
        Err(Refusal::NotOk(id)) => json!({"not ok": id}),
        Err(Refusal::Because(_)) => json!("refused"),
    }
}

fn show(output: &Output) -> Value {
    match output {
        Output::Dataset(share) => json!([share.name, share.hda_id]),
        Output::Collection(tree) => json!([tree.collection_type, elements(tree)]),
    }
}

fn elements(tree: &Tree) -> Value {
    let shown = tree.elements.iter().map(|(identifier, node)| {
        let value = match node {
            Node::Tree(child) => elements(child),
            Node::Share(Share {
                hda_id, tags: None, ..
            }) => json!(hda_id),
            Node::Share(Share {
                hda_id,
                tags: Some(tags),
                ..
            }) => json!([hda_id, tags]),
        };
        json!([identifier, value])
    });
    shown.collect()
}

fn hdca(id: i64) -> Value {
    json!({"src": "hdca", "id": id})
}

fn file() -> Value {
    json!({"src": "hda", "id": 90})
}

#[test]
fn flatten_joins_the_identifiers() {
    let known = known(&[("list:paired", json!({"a": {"forward": 1, "reverse": 2}}))]);
    let params = json!({"input": hdca(1), "join_identifier": "-"});
    assert_eq!(
        run(Operation::Flatten, params, &known, ""),
        json!({"output": ["list", [["a-forward", 1], ["a-reverse", 2]]]})
    );
}

#[test]
fn zip_and_unzip_undo_each_other() {
    let known = known(&[("paired", json!({"forward": 1, "reverse": 2}))]);
    let ends =
        json!({"input_forward": {"src": "hda", "id": 1}, "input_reverse": {"src": "hda", "id": 2}});
    assert_eq!(
        run(Operation::Zip, ends, &known, ""),
        json!({"output": ["paired", [["forward", 1], ["reverse", 2]]]})
    );
    assert_eq!(
        run(Operation::Unzip, json!({"input": hdca(1)}), &known, ""),
        json!({"forward": [null, 1], "reverse": [null, 2]})
    );
}

#[test]
fn build_list_names_its_elements_in_three_ways() {
    let known = known(&[]);
    let one = |id: i64, how: &str| json!({"input": {"src": "hda", "id": id}, "id_cond": {"id_select": how, "identifier": "mine"}});
    let params = json!({"datasets": [one(1, "idx"), one(2, "identifier"), one(3, "manual"), {"input": null}]});
    assert_eq!(
        run(Operation::BuildList, params, &known, ""),
        json!({"output": ["list", [["0", 1], ["id of 2", 2], ["mine", 3]]]})
    );
    let twice = json!({"datasets": [one(1, "manual"), one(2, "manual")]});
    assert_eq!(
        run(Operation::BuildList, twice, &known, ""),
        json!("refused")
    );
}

#[test]
fn merge_settles_conflicts_as_asked() {
    let known = known(&[
        ("list", json!({"a": 1, "x": 2})),
        ("list", json!({"a": 3, "y": 4})),
    ]);
    let merged = |options: &str| {
        let params = json!({"inputs": [{"input": hdca(1)}, {"input": hdca(2)}],
            "advanced": {"conflict": {"duplicate_options": options, "suffix_pattern": "_#"}}});
        run(Operation::Merge, params, &known, "")["output"][1].clone()
    };
    assert_eq!(merged("keep_first"), json!([["a", 1], ["x", 2], ["y", 4]]));
    assert_eq!(merged("keep_last"), json!([["a", 3], ["x", 2], ["y", 4]]));
    assert_eq!(
        merged("suffix_every"),
        json!([["a_1", 1], ["x_1", 2], ["a_2", 3], ["y_2", 4]])
    );
    assert_eq!(
        merged("suffix_conflict"),
        json!([["a_1", 1], ["x", 2], ["a_2", 3], ["y", 4]])
    );
    assert_eq!(
        merged("suffix_conflict_rest"),
        json!([["a", 1], ["x", 2], ["a_2", 3], ["y", 4]])
    );
    assert_eq!(merged("fail"), Value::Null);
}

#[test]
fn cross_products_pair_everything_with_everything() {
    let known = known(&[("list", json!({"a": 1, "b": 2})), ("list", json!({"x": 3}))]);
    let params = json!({"input_a": hdca(1), "input_b": hdca(2), "join_identifier": ":"});
    assert_eq!(
        run(Operation::CrossProductFlat, params.clone(), &known, ""),
        json!({"output_a": ["list", [["a:x", 1], ["b:x", 2]]], "output_b": ["list", [["a:x", 3], ["b:x", 3]]]})
    );
    assert_eq!(
        run(Operation::CrossProductNested, params, &known, ""),
        json!({"output_a": ["list:list", [["a", [["x", 1]]], ["b", [["x", 2]]]]],
               "output_b": ["list:list", [["a", [["x", 3]]], ["b", [["x", 3]]]]]})
    );
}

#[test]
fn a_file_is_duplicated_as_often_as_asked() {
    let params =
        json!({"input": {"src": "hda", "id": 7}, "number": 2, "element_identifier": "test"});
    assert_eq!(
        run(Operation::DuplicateFile, params, &known(&[]), ""),
        json!({"output": ["list", [["test 1", 7], ["test 2", 7]]]})
    );
}

#[test]
fn extract_takes_one_by_place_or_name() {
    let known = known(&[("list", json!({"a": 1, "b": 2})), ("list", json!({}))]);
    let extract = |which: Value, from: i64| {
        run(
            Operation::Extract,
            json!({"input": hdca(from), "which": which}),
            &known,
            "",
        )
    };
    assert_eq!(
        extract(json!({"which_dataset": "first"}), 1),
        json!({"output": ["a", 1]})
    );
    assert_eq!(
        extract(
            json!({"which_dataset": "by_identifier", "identifier": "b"}),
            1
        ),
        json!({"output": ["b", 2]})
    );
    assert_eq!(
        extract(json!({"which_dataset": "by_index", "index": 1}), 1),
        json!({"output": ["b", 2]})
    );
    for which in [
        json!({"which_dataset": "by_index", "index": 2}),
        json!({"which_dataset": "by_index", "index": -1}),
    ] {
        assert_eq!(extract(which, 1), json!("refused"));
    }
    assert_eq!(
        extract(json!({"which_dataset": "first"}), 2),
        json!("refused")
    );
}

#[test]
fn filters_wait_for_states_and_keep_what_is_sound() {
    let known = known(&[
        (
            "list",
            json!({"good": 1, "bad": 50, "empty": 45, "hollow": 7, "skipped": 40}),
        ),
        ("list", json!({"good": 1, "running": 60})),
        (
            "list:paired",
            json!({"p": {"forward": 1, "reverse": 2}, "q": {"forward": 3, "reverse": 51}}),
        ),
    ]);
    let filter = |operation, from: i64| {
        run(
            operation,
            json!({"input": hdca(from), "replacement": null}),
            &known,
            "",
        )
    };
    let names = |value: Value| -> Vec<String> {
        let list = value["output"][1].as_array().expect("elements");
        list.iter()
            .map(|pair| pair[0].as_str().unwrap_or_default().to_owned())
            .collect()
    };
    assert_eq!(
        names(filter(Operation::FilterFailed, 1)),
        ["good", "empty", "hollow", "skipped"]
    );
    assert_eq!(
        names(filter(Operation::FilterEmpty, 1)),
        ["good", "bad", "skipped"]
    );
    assert_eq!(
        names(filter(Operation::FilterNull, 1)),
        ["good", "bad", "empty", "hollow"]
    );
    assert_eq!(
        filter(Operation::FilterFailed, 2),
        json!({"not ready": [600]})
    );
    assert_eq!(names(filter(Operation::KeepSuccess, 2)), ["good"]);
    assert_eq!(names(filter(Operation::FilterFailed, 3)), ["p"]);
    let replaced = json!({"input": hdca(3), "replacement": {"src": "hda", "id": 9}});
    assert_eq!(
        run(Operation::FilterFailed, replaced, &known, "")["output"][1][1],
        json!(["q", [["forward", 3], ["reverse", 9]]])
    );
}

#[test]
fn harmonize_leaves_what_both_have_in_the_first_ones_order() {
    let known = known(&[
        ("list", json!({"c": 1, "a": 2, "b": 3})),
        ("list", json!({"x": 4, "b": 5, "c": 6})),
    ]);
    let params = json!({"input1": hdca(1), "input2": hdca(2)});
    assert_eq!(
        run(Operation::Harmonize, params, &known, ""),
        json!({"output1": ["list", [["c", 1], ["b", 3]]], "output2": ["list", [["c", 6], ["b", 5]]]})
    );
}

#[test]
fn sorting_by_letters_numbers_and_a_file() {
    let known = known(&[("list", json!({"b10": 1, "a9": 2, "c2": 3}))]);
    let sorted = |how: &str, file_text: &'static str| {
        let params =
            json!({"input": hdca(1), "sort_type": {"sort_type": how, "sort_file": file()}});
        run(Operation::Sort, params, &known, file_text)["output"][1].clone()
    };
    assert_eq!(
        sorted("alpha", ""),
        json!([["a9", 2], ["b10", 1], ["c2", 3]])
    );
    assert_eq!(
        sorted("numeric", ""),
        json!([["c2", 3], ["a9", 2], ["b10", 1]])
    );
    assert_eq!(
        sorted("file", "c2\nb10\na9\n"),
        json!([["c2", 3], ["b10", 1], ["a9", 2]])
    );
    assert_eq!(sorted("file", "c2\nb10\n"), Value::Null);
    assert_eq!(sorted("file", "c2\nb10\na9\nz\n"), Value::Null);
}

#[test]
fn relabelling_by_lines_and_by_table() {
    let known = known(&[("list", json!({"a": 1, "b": 2}))]);
    let relabel = |how: Value, text: &'static str| {
        let mut how = how;
        how["labels"] = file();
        run(
            Operation::Relabel,
            json!({"input": hdca(1), "how": how}),
            &known,
            text,
        )["output"][1]
            .clone()
    };
    let txt = json!({"how_select": "txt", "strict": false});
    assert_eq!(
        relabel(txt.clone(), "x\ny\nz\n"),
        json!([["x", 1], ["y", 2]])
    );
    assert_eq!(relabel(txt.clone(), "x\n"), Value::Null);
    assert_eq!(relabel(txt.clone(), "x\nx\n"), Value::Null);
    assert_eq!(relabel(txt, "x\n/y\n"), Value::Null);
    assert_eq!(
        relabel(json!({"how_select": "txt", "strict": true}), "x\ny\nz\n"),
        Value::Null
    );
    let table = json!({"how_select": "tabular", "strict": false});
    assert_eq!(
        relabel(table, "b\tB new\n"),
        json!([["a", 1], ["B new", 2]])
    );
    let strict = json!({"how_select": "tabular", "strict": true});
    assert_eq!(relabel(strict, "b\tx\nc\ty\n"), Value::Null);
    let columns = json!({"how_select": "tabular_extended", "from": 3, "to": 1, "strict": true});
    assert_eq!(
        relabel(columns, "A\t-\ta\nB\t-\tb\n"),
        json!([["A", 1], ["B", 2]])
    );
}

#[test]
fn a_file_names_what_is_filtered_out() {
    let known = known(&[("list", json!({"a": 1, "b": 2}))]);
    let params =
        |how: &str| json!({"input": hdca(1), "how": {"how_filter": how, "filter_source": file()}});
    assert_eq!(
        run(
            Operation::FilterFromFile,
            params("remove_if_absent"),
            &known,
            "b\nz\n"
        ),
        json!({"output_filtered": ["list", [["b", 2]]], "output_discarded": ["list", [["a", 1]]]})
    );
    assert_eq!(
        run(
            Operation::FilterFromFile,
            params("remove_if_present"),
            &known,
            "b\r\n"
        ),
        json!({"output_filtered": ["list", [["a", 1]]], "output_discarded": ["list", [["b", 2]]]})
    );
}

#[test]
fn a_file_is_waited_for_and_must_be_sound() {
    let known = known(&[("list", json!({"a": 1}))]);
    let params = |id: i64| json!({"input": hdca(1), "how": {"how_filter": "", "filter_source": {"src": "hda", "id": id}}});
    assert_eq!(
        run(Operation::FilterFromFile, params(61), &known, ""),
        json!({"not ready": [610]})
    );
    assert_eq!(
        run(Operation::FilterFromFile, params(51), &known, ""),
        json!({"not ok": 51})
    );
}

#[test]
fn tags_are_added_set_and_removed() {
    let mut known = known(&[("list:paired", json!({"p": {"forward": 1, "reverse": 2}}))]);
    known.hdas.get_mut(&1).expect("there").tags = vec!["zoo".into()];
    let tagged = |how: &str| {
        let params = json!({"input": hdca(1), "tags": file(), "how": how});
        run(
            Operation::TagFromFile,
            params,
            &known,
            "forward\t#f\tgroup:x\n",
        )["output"][1][0][1]
            .clone()
    };
    assert_eq!(
        tagged("add"),
        json!([
            ["forward", [1, ["group:x", "name:f", "zoo"]]],
            ["reverse", 2]
        ])
    );
    assert_eq!(
        tagged("set"),
        json!([["forward", [1, ["group:x", "name:f"]]], ["reverse", 2]])
    );
    assert_eq!(
        tagged("remove"),
        json!([["forward", [1, ["zoo"]]], ["reverse", 2]])
    );
}

/// What rules make of a list, or of a list of lists.
pub(super) fn ruled(elements: Value, rules: Value, mapping: Value) -> Value {
    let depth = match elements.as_object().and_then(|o| o.values().next()) {
        Some(Value::Object(_)) => "list:list",
        _ => "list",
    };
    let known = known(&[(depth, elements)]);
    let params = json!({"input": hdca(1), "rules": {"rules": rules, "mapping": mapping}});
    run(Operation::ApplyRules, params, &known, "")["output"].clone()
}
