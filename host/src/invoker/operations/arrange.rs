//! Operations that put elements together in another way.

use std::collections::HashMap;

use super::{Given, Node, Output, Refusal, Results, Share, Tree, because, unique};
use crate::invoker::known::{Collection, ElementObject};

/// Collections that would get more elements than this are refused.
const ELEMENTS_MAX: usize = 50_000;

pub(super) fn flatten(given: &Given<'_>) -> Result<Results, Refusal> {
    let join = match given.text("join_identifier") {
        "" => "_",
        join => join,
    };
    let mut flat = Vec::new();
    walk(given.collection("input")?, "", join, &mut flat);
    unique(&flat)?;
    Ok(vec![("output", Output::Collection(Tree::list(flat)))])
}

fn walk(collection: &Collection, prefix: &str, join: &str, flat: &mut Vec<(String, Node)>) {
    for element in &collection.elements {
        let identifier = match prefix {
            "" => element.identifier.clone(),
            prefix => format!("{prefix}{join}{}", element.identifier),
        };
        match &element.object {
            ElementObject::Hda(id) => flat.push((identifier, Node::Share(Share::of(*id)))),
            ElementObject::Collection(child) => walk(child, &identifier, join, flat),
        }
    }
}

pub(super) fn zip(given: &Given<'_>) -> Result<Results, Refusal> {
    let end = |name: &str, input: &str| -> Result<(String, Node), Refusal> {
        let share = Share::of(given.required(input)?);
        Ok((name.to_owned(), Node::Share(share)))
    };
    let pair = Tree {
        collection_type: "paired".to_owned(),
        elements: vec![
            end("forward", "input_forward")?,
            end("reverse", "input_reverse")?,
        ],
    };
    Ok(vec![("output", Output::Collection(pair))])
}

pub(super) fn unzip(given: &Given<'_>) -> Result<Results, Refusal> {
    let pair = given.collection("input")?;
    let end = |wanted: &str| -> Result<Output, Refusal> {
        let element = pair.elements.iter().find(|e| e.identifier == wanted);
        match element.map(|element| &element.object) {
            Some(ElementObject::Hda(id)) => Ok(Output::Dataset(Share::of(*id))),
            _ => because(format!("the collection has no {wanted} dataset")),
        }
    };
    Ok(vec![
        ("forward", end("forward")?),
        ("reverse", end("reverse")?),
    ])
}

pub(super) fn build_list(given: &Given<'_>) -> Result<Results, Refusal> {
    let count = given.value("datasets").as_array().map_or(0, Vec::len);
    let mut elements = Vec::with_capacity(count);
    for n in 0..count {
        let path = format!("datasets_{n}|input");
        let Some(hda_id) = given.dataset(&path)? else {
            continue;
        };
        let identifier = match given.text(&format!("datasets_{n}|id_cond|id_select")) {
            "identifier" => match given.identifiers.get(path.as_str()) {
                Some(identifier) => (*identifier).to_owned(),
                None => given.known.hdas[&hda_id].name.clone(),
            },
            "manual" => given
                .text(&format!("datasets_{n}|id_cond|identifier"))
                .to_owned(),
            _ => n.to_string(),
        };
        elements.push((identifier, Node::Share(Share::of(hda_id))));
    }
    unique(&elements)?;
    Ok(vec![("output", Output::Collection(Tree::list(elements)))])
}

pub(super) fn merge(given: &Given<'_>) -> Result<Results, Refusal> {
    let count = given.value("inputs").as_array().map_or(0, Vec::len);
    let mut inputs = Vec::with_capacity(count);
    for n in 0..count {
        inputs.push(given.collection(&format!("inputs_{n}|input"))?);
    }
    let Some(first) = inputs.first().copied() else {
        return because("at least one collection is needed");
    };
    // In which of the collections each identifier is.
    let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
    for (n, input) in inputs.iter().enumerate() {
        for element in &input.elements {
            places.entry(&element.identifier).or_default().push(n);
        }
    }
    let options = given.text("advanced|conflict|duplicate_options").to_owned();
    let pattern = match given.text("advanced|conflict|suffix_pattern") {
        "" => "_#",
        pattern => pattern,
    };
    let mut merged: Vec<(String, Node)> = Vec::new();
    let mut at: HashMap<String, usize> = HashMap::new();
    for (n, input) in inputs.iter().enumerate() {
        for element in &input.elements {
            let places = &places[element.identifier.as_str()];
            let suffixed = match options.as_str() {
                "suffix_every" => true,
                "suffix_conflict" => places.len() > 1,
                "suffix_conflict_rest" => places.len() > 1 && places[0] != n,
                _ => false,
            };
            let identifier = match suffixed {
                true => {
                    let suffix = pattern.replace('#', &(n + 1).to_string());
                    format!("{}{suffix}", element.identifier)
                }
                false => element.identifier.clone(),
            };
            let node = Node::of(&element.object);
            match (at.get(&identifier), options.as_str()) {
                (None, _) => {
                    at.insert(identifier.clone(), merged.len());
                    merged.push((identifier, node));
                }
                (Some(_), "fail") => {
                    return because(format!(
                        "the element identifier {identifier:?} is in more than one collection"
                    ));
                }
                (Some(place), "keep_last") => merged[*place].1 = node,
                (Some(_), "keep_first" | "") => {}
                (Some(_), _) => {
                    return because(format!(
                        "the element identifier {identifier:?} appears twice in the result"
                    ));
                }
            }
        }
    }
    Ok(vec![(
        "output",
        Output::Collection(Tree::like(first, merged)),
    )])
}

/// Two lists and every pair out of them.
fn pairs<'a>(given: &'a Given<'_>) -> Result<(&'a Collection, &'a Collection), Refusal> {
    let (a, b) = (given.collection("input_a")?, given.collection("input_b")?);
    if a.elements.len().saturating_mul(b.elements.len()) > ELEMENTS_MAX {
        return because(format!(
            "the result would have more than {ELEMENTS_MAX} elements"
        ));
    }
    Ok((a, b))
}

pub(super) fn cross_product_flat(given: &Given<'_>) -> Result<Results, Refusal> {
    let (a, b) = pairs(given)?;
    let join = match given.text("join_identifier") {
        "" => "_",
        join => join,
    };
    let (mut of_a, mut of_b) = (Vec::new(), Vec::new());
    for left in &a.elements {
        for right in &b.elements {
            let identifier = format!("{}{join}{}", left.identifier, right.identifier);
            of_a.push((identifier.clone(), Node::of(&left.object)));
            of_b.push((identifier, Node::of(&right.object)));
        }
    }
    unique(&of_a)?;
    Ok(vec![
        ("output_a", Output::Collection(Tree::list(of_a))),
        ("output_b", Output::Collection(Tree::list(of_b))),
    ])
}

pub(super) fn cross_product_nested(given: &Given<'_>) -> Result<Results, Refusal> {
    let (a, b) = pairs(given)?;
    let nested = |pick: &dyn Fn(&ElementObject, &ElementObject) -> Node| Tree {
        collection_type: "list:list".to_owned(),
        elements: a
            .elements
            .iter()
            .map(|left| {
                let inner = b.elements.iter().map(|right| {
                    let node = pick(&left.object, &right.object);
                    (right.identifier.clone(), node)
                });
                let inner = Tree::list(inner.collect());
                (left.identifier.clone(), Node::Tree(inner))
            })
            .collect(),
    };
    Ok(vec![
        (
            "output_a",
            Output::Collection(nested(&|left, _| Node::of(left))),
        ),
        (
            "output_b",
            Output::Collection(nested(&|_, right| Node::of(right))),
        ),
    ])
}

pub(super) fn duplicate_file(given: &Given<'_>) -> Result<Results, Refusal> {
    let hda_id = given.required("input")?;
    let number = given.value("number").as_u64().unwrap_or(0) as usize;
    if number > ELEMENTS_MAX {
        return because(format!(
            "the result would have more than {ELEMENTS_MAX} elements"
        ));
    }
    let name = given.text("element_identifier");
    let elements = (1..=number).map(|n| {
        let identifier = format!("{name} {n}");
        (identifier, Node::Share(Share::of(hda_id)))
    });
    let list = Tree::list(elements.collect());
    Ok(vec![("output", Output::Collection(list))])
}
