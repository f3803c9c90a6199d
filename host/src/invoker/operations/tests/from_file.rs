//! Operations that a file steers.

use super::*;

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
