//! Operations that leave something out.

use serde_json::Value;

use super::{Given, Node, Output, Refusal, Results, Share, Tree, because};
use crate::invoker::known::{Collection, ElementObject};
use crate::model::state::DatasetState;

/// What stays in a filtered collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// Datasets that are ok, once all have come to an end.
    Ok,
    /// Datasets that are ok now.
    OkByNow,
    /// Datasets that hold something.
    NotEmpty,
    /// Datasets other than those of skipped jobs, and of expressions that came to nothing.
    NotNull,
}

pub(super) fn filter(given: &Given<'_>, keep: Keep) -> Result<Results, Refusal> {
    let collection = given.collection("input")?;
    if keep != Keep::OkByNow {
        let leaves = collection.leaves();
        let hdas = leaves.iter().filter_map(|id| given.known.hdas.get(id));
        let pending: Vec<i64> = hdas
            .filter(|hda| hda.state.is_pending())
            .map(|hda| hda.dataset_id)
            .collect();
        if !pending.is_empty() {
            return Err(Refusal::NotReady(pending));
        }
    }
    let replacement = given.dataset("replacement")?;
    let kept = kept(given, collection, keep, replacement);
    let tree = Tree::like(collection, kept);
    Ok(vec![("output", Output::Collection(tree))])
}

/// A pair stays if both its datasets do; what does not stay is replaced, where there is a replacement.
fn kept(
    given: &Given<'_>,
    collection: &Collection,
    keep: Keep,
    replacement: Option<i64>,
) -> Vec<(String, Node)> {
    let stays = |id: &i64| stays(given, *id, keep);
    let mut kept = Vec::new();
    for element in &collection.elements {
        let node = match &element.object {
            ElementObject::Hda(id) if stays(id) => Some(Node::of(&element.object)),
            ElementObject::Hda(_) => replacement.map(|id| Node::Share(Share::of(id))),
            ElementObject::Collection(child) if child.leaves().iter().all(stays) => {
                Some(Node::of(&element.object))
            }
            ElementObject::Collection(child) => replacement.map(|id| {
                let inner = self::kept(given, child, keep, Some(id));
                Node::Tree(Tree::like(child, inner))
            }),
        };
        kept.extend(node.map(|node| (element.identifier.clone(), node)));
    }
    kept
}

fn stays(given: &Given<'_>, hda_id: i64, keep: Keep) -> bool {
    let Some(hda) = given.known.hdas.get(&hda_id) else {
        return false;
    };
    match keep {
        Keep::Ok | Keep::OkByNow => hda.state == DatasetState::Ok,
        Keep::NotEmpty => hda.size.unwrap_or(0) > 0 && !given.files.is_hollow(hda.dataset_id),
        Keep::NotNull => {
            let is_null = given.known.contents.get(&hda_id) == Some(&Ok(Value::Null));
            !(hda.skipped || is_null)
        }
    }
}

pub(super) fn extract(given: &Given<'_>) -> Result<Results, Refusal> {
    let collection = given.collection("input")?;
    let element = match given.text("which|which_dataset") {
        "by_identifier" => {
            let wanted = given.text("which|identifier");
            let found = collection.elements.iter().find(|e| e.identifier == wanted);
            match found {
                Some(element) => element,
                None => return because(format!("the collection has no element {wanted:?}")),
            }
        }
        "by_index" => {
            let wanted = given.value("which|index").as_i64().unwrap_or(0);
            let at = usize::try_from(wanted).ok();
            match at.and_then(|at| collection.elements.get(at)) {
                Some(element) => element,
                None => {
                    return because(format!(
                        "the collection has {} elements and none with the index {wanted}",
                        collection.elements.len()
                    ));
                }
            }
        }
        _ => match collection.elements.first() {
            Some(element) => element,
            None => return because("the collection has no elements"),
        },
    };
    match &element.object {
        ElementObject::Hda(hda_id) => {
            let share = Share {
                hda_id: *hda_id,
                name: Some(element.identifier.clone()),
                tags: None,
            };
            Ok(vec![("output", Output::Dataset(share))])
        }
        ElementObject::Collection(_) => because(format!(
            "the element {:?} is a collection, not a dataset",
            element.identifier
        )),
    }
}

pub(super) fn harmonize(given: &Given<'_>) -> Result<Results, Refusal> {
    let (one, two) = (given.collection("input1")?, given.collection("input2")?);
    let mut common = Vec::new();
    let others: std::collections::HashMap<&str, &ElementObject> = two
        .elements
        .iter()
        .map(|element| (element.identifier.as_str(), &element.object))
        .collect();
    for element in &one.elements {
        if let Some(other) = others.get(element.identifier.as_str()) {
            common.push((&element.identifier, &element.object, *other));
        }
    }
    let first = common
        .iter()
        .map(|(identifier, object, _)| ((*identifier).clone(), Node::of(object)));
    let second = common
        .iter()
        .map(|(identifier, _, object)| ((*identifier).clone(), Node::of(object)));
    Ok(vec![
        (
            "output1",
            Output::Collection(Tree::like(one, first.collect())),
        ),
        (
            "output2",
            Output::Collection(Tree::like(two, second.collect())),
        ),
    ])
}
