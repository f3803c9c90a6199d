//! Operations that leave something out.

use super::*;

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
