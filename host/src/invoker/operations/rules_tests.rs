//! What each rule does, and rules as somebody who means ill would write them.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::invoker::operations::tests::ruled;

/// The collection that comes out; null for a refusal.
fn run(rules: Value, columns: Value) -> Value {
    let mapping = json!([{"type": "list_identifiers", "columns": columns}]);
    ruled(json!({"a": 1, "b": 2, "c": 3}), rules, mapping)
}

fn identifier() -> Value {
    json!({"type": "add_column_metadata", "value": "identifier0"})
}

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
    let id = identifier();
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

#[test]
fn tables_that_double_and_double_are_refused() {
    let doubled = |n: usize| json!({"type": "add_column_concatenate", "target_column_0": n, "target_column_1": n});
    let mut rules = vec![identifier()];
    rules.extend((0..60).map(doubled));
    assert_eq!(run(json!(rules), json!([0])), Value::Null);
    // Rows without cells are rows.
    let split = json!({"type": "split_columns", "target_columns_0": [], "target_columns_1": []});
    assert_eq!(run(json!(vec![split; 60]), json!([0])), Value::Null);
    let again = json!({"type": "add_column_regex", "target_column": 0, "expression": "(.*)", "replacement": "\\1".repeat(200_000)});
    assert_eq!(run(json!([identifier(), again]), json!([0])), Value::Null);
    assert_eq!(
        run(json!(vec![identifier(); 2_000]), json!([0])),
        Value::Null
    );
}

#[test]
fn as_many_ranks_as_a_list_can_name_are_refused() {
    assert_eq!(
        run(json!([identifier()]), json!(vec![0; 100_000])),
        Value::Null
    );
    assert_eq!(run(json!([identifier()]), json!(vec![0; 9])), Value::Null);
    assert_ne!(run(json!([identifier()]), json!(vec![0; 8])), Value::Null);
}

#[test]
fn row_numbers_end_where_numbers_do() {
    let last = json!({"type": "add_column_rownum", "start": i64::MAX});
    // Three rows with the same number cannot all be elements.
    assert_eq!(run(json!([last]), json!([0])), Value::Null);
}

#[test]
fn many_rows_are_put_in_their_places_in_time() {
    let rows = (0..100_000).map(|n| Row {
        hda_id: 1,
        identifiers: Vec::new(),
        tags: Vec::new(),
        cells: vec![n.to_string()],
    });
    let rules = json!({"mapping": [{"type": "list_identifiers", "columns": [0]}]});
    let begin = std::time::Instant::now();
    let Ok(tree) = build(&rules, rows.collect()) else {
        panic!("refused")
    };
    assert_eq!(tree.elements.len(), 100_000);
    // Quadratic work would take minutes.
    assert!(begin.elapsed() < std::time::Duration::from_secs(30));
}

fn any_rule() -> impl Strategy<Value = Value> {
    let kinds = vec![
        "add_column_metadata",
        "add_column_group_tag_value",
        "add_column_concatenate",
        "add_column_basename",
        "add_column_regex",
        "add_column_rownum",
        "add_column_value",
        "add_column_substr",
        "remove_columns",
        "add_filter_regex",
        "add_filter_count",
        "add_filter_empty",
        "add_filter_matches",
        "add_filter_compare",
        "sort",
        "swap_columns",
        "split_columns",
        "nonsense",
    ];
    let number = prop_oneof![0..4i64, any::<i64>()];
    let text = prop_oneof![
        proptest::sample::select(vec![
            "identifier0",
            "identifier9",
            "identifier99999999999999999999",
            "tags",
            "(.*)",
            "(a|b)*c{1000}",
            "(?P<n>.)",
            "\\g<n>\\9",
            "\\",
            "first",
            "last",
            "keep_prefix",
            "drop_suffix",
            "less_than",
            ""
        ])
        .prop_map(str::to_owned),
        ".{0,6}",
    ];
    (proptest::sample::select(kinds), number.clone(), number, text.clone(), text, any::<bool>(), prop::collection::vec(0..5usize, 0..4)).prop_map(
        |(kind, a, b, text, other, flag, list)| {
            json!({"type": kind, "value": text, "target_column": a, "target_column_0": a, "target_column_1": b, "expression": text,
                "replacement": if flag { Value::from(other.clone()) } else { Value::Null }, "group_count": b, "start": a, "length": b, "substr_type": text,
                "count": a, "which": other, "invert": flag, "numeric": flag, "compare_type": other, "target_columns": list, "target_columns_0": list, "target_columns_1": [a]})
        },
    )
}

proptest! {
    #[test]
    fn no_rules_make_it_panic(rules in prop::collection::vec(any_rule(), 0..8), columns in prop::collection::vec(0..4usize, 0..4)) {
        run(json!(rules), json!(columns));
        let mut known = vec![identifier()];
        known.extend(rules);
        run(json!(known), json!(columns));
    }
}
