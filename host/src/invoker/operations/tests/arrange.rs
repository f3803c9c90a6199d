//! Operations that put elements together in another way.

use super::*;

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
