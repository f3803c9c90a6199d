//! `__APPLY_RULES__`.

use super::*;

#[test]
fn rules_turn_a_collection_inside_out() {
    let swapped = ruled(
        json!({"a": {"x": 1, "y": 2}, "b": {"x": 3}}),
        json!([{"type": "add_column_metadata", "value": "identifier0"}, {"type": "add_column_metadata", "value": "identifier1"}]),
        json!([{"type": "list_identifiers", "columns": [1, 0]}]),
    );
    assert_eq!(
        swapped,
        json!([
            "list:list",
            [["x", [["a", 1], ["b", 3]]], ["y", [["a", 2]]]]
        ])
    );
}

#[test]
fn rules_make_pairs_by_regular_expression() {
    let paired = ruled(
        json!({"s1_R1": 1, "s1_R2": 2, "s2_R1": 3, "s2_R2": 4}),
        json!([{"type": "add_column_metadata", "value": "identifier0"},
               {"type": "add_column_regex", "target_column": 0, "expression": "(.*)_(R[12])", "group_count": 2},
               {"type": "sort", "target_column": 1, "numeric": false}]),
        json!([{"type": "list_identifiers", "columns": [1]}, {"type": "paired_identifier", "columns": [2]}]),
    );
    assert_eq!(
        paired,
        json!([
            "list:paired",
            [
                ["s1", [["forward", 1], ["reverse", 2]]],
                ["s2", [["forward", 3], ["reverse", 4]]]
            ]
        ])
    );
}

#[test]
fn every_rule_does_its_part() {
    let id = json!({"type": "add_column_metadata", "value": "identifier0"});
    let names = |rules: Vec<Value>, column: usize| -> Vec<String> {
        let made = ruled(
            json!({"a10": 1, "b2": 2, "": 3}),
            Value::Array(rules),
            json!([{"type": "list_identifiers", "columns": [column]}]),
        );
        let list = made[1].as_array().cloned().unwrap_or_default();
        list.iter()
            .map(|pair| pair[0].as_str().unwrap_or_default().to_owned())
            .collect()
    };
    let filter = |rule: Value| names(vec![id.clone(), rule], 0);
    assert_eq!(
        filter(
            json!({"type": "add_filter_regex", "target_column": 0, "expression": "^a", "invert": false})
        ),
        ["a10"]
    );
    assert_eq!(
        filter(json!({"type": "add_filter_empty", "target_column": 0, "invert": false})),
        ["a10", "b2"]
    );
    assert_eq!(
        filter(json!({"type": "add_filter_empty", "target_column": 0, "invert": true})),
        [""]
    );
    assert_eq!(
        filter(
            json!({"type": "add_filter_matches", "target_column": 0, "value": "b2", "invert": true})
        ),
        ["a10", ""]
    );
    assert_eq!(
        filter(json!({"type": "add_filter_count", "count": 1, "which": "first", "invert": false})),
        ["b2", ""]
    );
    assert_eq!(
        filter(json!({"type": "add_filter_count", "count": 1, "which": "last", "invert": true})),
        [""]
    );
    assert_eq!(
        filter(json!({"type": "sort", "target_column": 0, "numeric": false})),
        ["", "a10", "b2"]
    );
    let added = |rule: Value| names(vec![id.clone(), rule], 1);
    assert_eq!(
        added(json!({"type": "add_column_rownum", "start": 5})),
        ["5", "6", "7"]
    );
    assert_eq!(
        added(
            json!({"type": "add_column_substr", "target_column": 0, "length": 1, "substr_type": "drop_prefix"})
        ),
        ["10", "2", ""]
    );
    assert_eq!(
        names(
            vec![
                id.clone(),
                id.clone(),
                json!({"type": "add_column_concatenate", "target_column_0": 0, "target_column_1": 1})
            ],
            2
        ),
        ["a10a10", "b2b2", ""]
    );
    let numbered = vec![
        id.clone(),
        json!({"type": "add_column_rownum", "start": 1}),
        json!({"type": "add_filter_compare", "target_column": 1, "value": 2, "compare_type": "less_than_equal"}),
        json!({"type": "swap_columns", "target_column_0": 0, "target_column_1": 1}),
        json!({"type": "remove_columns", "target_columns": [1]}),
    ];
    assert_eq!(names(numbered, 0), ["1", "2"]);
    let replaced = json!({"type": "add_column_regex", "target_column": 0, "expression": "([a-z]*)(\\d*)", "replacement": "\\2-\\g<1>"});
    assert_eq!(added(replaced), ["10-a", "2-b", "-"]);
    assert_eq!(
        filter(json!({"type": "no_such_rule"})),
        Vec::<String>::new()
    );
}
