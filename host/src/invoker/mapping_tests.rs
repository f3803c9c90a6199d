use super::*;
use crate::invoker::known::{Element, Populated};

fn list(collection_type: &str, elements: Vec<(&str, ElementObject)>) -> Collection {
    Collection {
        id: 1,
        collection_type: collection_type.into(),
        populated: Populated::Ok,
        elements: elements
            .into_iter()
            .enumerate()
            .map(|(n, (identifier, object))| Element {
                id: n as i64 + 100,
                identifier: identifier.into(),
                object,
            })
            .collect(),
    }
}

fn flat(identifiers: &[&str]) -> Collection {
    let elements = identifiers
        .iter()
        .enumerate()
        .map(|(n, id)| (*id, ElementObject::Hda(n as i64)));
    list("list", elements.collect())
}

fn pairs(identifiers: &[&str]) -> Collection {
    let pair = || {
        let ends = vec![
            ("forward", ElementObject::Hda(1)),
            ("reverse", ElementObject::Hda(2)),
        ];
        ElementObject::Collection(list("paired", ends))
    };
    list(
        "list:paired",
        identifiers.iter().map(|id| (*id, pair())).collect(),
    )
}

fn mapped<'a>(name: &str, collection: &'a Collection, sub_rank: usize) -> MappedInput<'a> {
    MappedInput {
        name: name.into(),
        collection,
        sub_rank,
    }
}

#[test]
fn declared_types_take_collections_whole_mapped_or_not() {
    let declared = |types: &[&str]| types.iter().map(|t| t.to_string()).collect::<Vec<_>>();
    let cases = [
        (vec!["list"], "list", Fit::Whole),
        (vec!["paired"], "list:paired", Fit::Mapped(1)),
        (vec!["list"], "paired", Fit::No),
        (
            vec!["paired", "list:paired"],
            "list:list:paired",
            Fit::Mapped(2),
        ),
        (vec!["paired_or_unpaired"], "paired", Fit::Whole),
        (vec!["paired_or_unpaired"], "list", Fit::Mapped(0)),
        (vec!["list:paired_or_unpaired"], "list:paired", Fit::Whole),
        (vec!["list:paired_or_unpaired"], "list", Fit::Whole),
        (vec!["paired_or_unpaired"], "list:paired", Fit::Mapped(1)),
        (
            vec!["paired_or_unpaired"],
            "list:paired_or_unpaired",
            Fit::Mapped(1),
        ),
        (vec!["paired_or_unpaired"], "list:list", Fit::Mapped(0)),
        (
            vec!["list:paired_or_unpaired"],
            "list:list:paired",
            Fit::Mapped(2),
        ),
        (vec!["list", "paired"], "list:paired", Fit::Mapped(1)),
        (vec!["record"], "list:record", Fit::Mapped(1)),
        (vec!["list:paired"], "sample_sheet:paired", Fit::Whole),
        (vec!["paired"], "sample_sheet:paired", Fit::Mapped(1)),
        (vec!["list"], "sample_sheet", Fit::Whole),
        (vec!["sample_sheet"], "list", Fit::No),
        (vec!["paired"], "record", Fit::No),
        (vec![], "anything", Fit::Whole),
    ];
    for (types, actual, expected) in cases {
        assert_eq!(
            fit(&declared(&types), actual),
            expected,
            "{types:?} {actual}"
        );
    }
}

#[test]
fn linked_inputs_are_matched_by_shape_and_named_by_the_first() {
    let (a, b) = (flat(&["x", "y"]), flat(&["1", "2"]));
    let inputs = vec![mapped("input2", &b, 0), mapped("input1", &a, 0)];
    let mapping = match_inputs(inputs).expect("same shape").expect("mapped");
    assert_eq!(mapping.collection_type(), "list");
    let structure = mapping.structure();
    let names = structure.children.iter().map(|b| b.identifier.as_str());
    assert_eq!(names.collect::<Vec<_>>(), ["x", "y"]);
    assert_eq!(mapping.len(), 2);
    let second = Slice::Hda {
        id: 1,
        identifier: "2",
    };
    assert_eq!(mapping.slice(1).last(), Some(("input2", &second)));
}

#[test]
fn different_lengths_do_not_match() {
    let (a, b) = (flat(&["x", "y"]), flat(&["1"]));
    let inputs = vec![mapped("a", &a, 0), mapped("b", &b, 0)];
    assert!(match_inputs(inputs).is_err());
}

#[test]
fn a_pair_does_not_match_a_list_of_two() {
    let ends = vec![
        ("forward", ElementObject::Hda(1)),
        ("reverse", ElementObject::Hda(2)),
    ];
    let (a, b) = (flat(&["x", "y"]), list("paired", ends));
    let inputs = vec![mapped("a", &a, 0), mapped("b", &b, 0)];
    let refused = match_inputs(inputs).expect_err("different types");
    assert!(
        refused.starts_with("Cannot match collection types"),
        "{refused}"
    );
}

#[test]
fn nested_collections_are_matched_level_by_level() {
    let (a, mut b) = (pairs(&["s1", "s2"]), pairs(&["1", "2"]));
    let same = vec![mapped("a", &a, 0), mapped("b", &b, 0)];
    assert_eq!(
        match_inputs(same)
            .expect("same shape")
            .expect("mapped")
            .len(),
        4
    );
    if let ElementObject::Collection(second) = &mut b.elements[1].object {
        second.elements.pop();
    }
    let different = vec![mapped("a", &a, 0), mapped("b", &b, 0)];
    assert!(match_inputs(different).is_err());
    let whole = vec![mapped("a", &a, 1), mapped("b", &b, 1)];
    assert_eq!(
        match_inputs(whole)
            .expect("only the lists are matched")
            .expect("mapped")
            .len(),
        2
    );
}

#[test]
fn a_pair_out_of_a_list_of_pairs_is_one_slice() {
    let a = pairs(&["s1", "s2", "s3"]);
    let inputs = vec![mapped("reads", &a, 1)];
    let mapping = match_inputs(inputs).expect("one input").expect("mapped");
    assert_eq!(mapping.collection_type(), "list");
    assert_eq!(mapping.len(), 3);
    let part = mapping.slice(0).next();
    assert!(matches!(
        part,
        Some((_, Slice::Element { dce_id: 100, .. }))
    ));
}

#[test]
fn every_leaf_of_a_nested_list_is_a_slice_for_a_dataset_input() {
    let a = pairs(&["s1", "s2"]);
    let inputs = vec![mapped("input", &a, 0)];
    let mapping = match_inputs(inputs).expect("one input").expect("mapped");
    assert_eq!(mapping.collection_type(), "list:paired");
    assert_eq!(mapping.len(), 4);
}

#[test]
fn slices_inside_a_mapped_subworkflow_follow_its_verdicts() {
    let of = pairs(&["s1", "s2"]);
    let inputs = vec![mapped("reads", &of, 1)];
    let outer = match_inputs(inputs).expect("one input").expect("mapped");
    let enclosing = |verdicts: &[(&[usize], bool)]| Enclosing {
        structure: outer.structure(),
        on: vec![],
        verdicts: verdicts
            .iter()
            .map(|(path, run)| (path.to_vec(), *run))
            .collect(),
    };
    let path =
        |indexes: &[usize]| -> Vec<_> { indexes.iter().map(|n| (*n, String::new())).collect() };
    let some = enclosing(&[(&[0], false), (&[1], true)]);
    assert_eq!(
        (some.runs(&path(&[0])), some.runs(&path(&[1]))),
        (false, true)
    );
    // Deeper inside, and where the inner step takes together what the outer one takes apart.
    assert_eq!(
        (some.runs(&path(&[0, 1])), some.runs(&path(&[1, 0]))),
        (false, true)
    );
    let deep = enclosing(&[(&[0, 0], false), (&[0, 1], true), (&[1, 0], false)]);
    assert_eq!(
        (deep.runs(&path(&[0])), deep.runs(&path(&[1]))),
        (true, false)
    );
    assert!(enclosing(&[]).runs(&path(&[0])));
    assert_eq!(some.mapping().len(), 2);
}

#[test]
fn an_empty_collection_maps_to_no_slices() {
    let a = flat(&[]);
    let inputs = vec![mapped("input", &a, 0)];
    let mapping = match_inputs(inputs).expect("one input").expect("mapped");
    assert!(mapping.is_empty());
}

#[test]
fn the_places_of_some_slices_are_told_without_those_of_the_others() {
    let nested = pairs(&["s1", "s2", "s3"]);
    let inputs = vec![mapped("input", &nested, 0)];
    let mapping = match_inputs(inputs).expect("one input").expect("mapped");
    let place = |outer: (usize, &str), inner: (usize, &str)| -> Path {
        vec![(outer.0, outer.1.into()), (inner.0, inner.1.into())]
    };
    let middle = [
        place((0, "s1"), (1, "reverse")),
        place((1, "s2"), (0, "forward")),
    ];
    assert_eq!(mapping.paths(1..3), middle);
    assert_eq!(mapping.paths(0..6).len(), 6);
    assert_eq!(mapping.paths(6..6), Vec::<Path>::new());
    let flat = flat(&["x", "y", "z"]);
    let mapping = match_inputs(vec![mapped("input", &flat, 0)]);
    let mapping = mapping.expect("one input").expect("mapped");
    assert_eq!(mapping.paths(1..2), [vec![(1, "y".to_owned())]]);
}
