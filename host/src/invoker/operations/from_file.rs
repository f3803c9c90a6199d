//! Operations that a file steers: new names, a new order, what is left out, tags.

use std::collections::{HashMap, HashSet};

use super::{Given, Node, Output, Refusal, Results, Share, Tree, because, unique};
use crate::invoker::known::{Collection, ElementObject};
use crate::invoker::post_job_actions::tag_list;

pub(super) fn relabel(given: &Given<'_>) -> Result<Results, Refusal> {
    let collection = given.collection("input")?;
    let lines = given.lines("how|labels")?;
    let strict = given.flag("how|strict");
    if strict && lines.len() != collection.elements.len() {
        return because(format!(
            "the file has {} lines and the collection {} elements",
            lines.len(),
            collection.elements.len()
        ));
    }
    let how = given.text("how|how_select");
    let mut elements = Vec::with_capacity(collection.elements.len());
    if how == "txt" {
        for (n, element) in collection.elements.iter().enumerate() {
            let Some(line) = lines.get(n) else {
                return because(format!(
                    "the file has {} lines and the collection {} elements",
                    lines.len(),
                    collection.elements.len()
                ));
            };
            elements.push((label(line)?, Node::of(&element.object)));
        }
    } else {
        let column = |name: &str, usual: i64| {
            let column = given.value(&format!("how|{name}")).as_i64();
            usize::try_from(column.unwrap_or(usual) - 1).unwrap_or(0)
        };
        let (from, to) = match how {
            "tabular_extended" => (column("from", 1), column("to", 2)),
            _ => (0, 1),
        };
        let mut labels: HashMap<&str, &str> = HashMap::new();
        for (n, line) in lines.iter().enumerate() {
            let cells: Vec<&str> = line.trim_end_matches(['\r', '\n']).split('\t').collect();
            match (cells.get(from), cells.get(to)) {
                (Some(from), Some(to)) => drop(labels.insert(from, to)),
                _ if line.trim().is_empty() => {}
                _ => {
                    return because(format!(
                        "line {} of the file does not have enough columns",
                        n + 1
                    ));
                }
            }
        }
        for element in &collection.elements {
            let new = match labels.get(element.identifier.as_str()) {
                Some(new) => label(new)?,
                None if strict => {
                    return because(format!(
                        "the file has no new identifier for {:?}",
                        element.identifier
                    ));
                }
                None => element.identifier.clone(),
            };
            elements.push((new, Node::of(&element.object)));
        }
    }
    unique(&elements)?;
    let tree = Tree::like(collection, elements);
    Ok(vec![("output", Output::Collection(tree))])
}

/// A new identifier: letters, digits, `-`, `_`, `.`, `,` and blanks.
fn label(text: &str) -> Result<String, Refusal> {
    let text = text.trim();
    let fits = |c: char| c.is_alphanumeric() || "-_., ".contains(c);
    if text.is_empty() || !text.chars().all(fits) {
        return because(format!(
            "{text:?} cannot be an identifier; letters, digits, '-', '_', '.', ',' and blanks can"
        ));
    }
    Ok(text.to_owned())
}

pub(super) fn filter(given: &Given<'_>) -> Result<Results, Refusal> {
    let collection = given.collection("input")?;
    let lines = given.lines("how|filter_source")?;
    let named: HashSet<&str> = lines.iter().map(|line| line.trim()).collect();
    let keep_present = given.text("how|how_filter") != "remove_if_present";
    let (mut filtered, mut discarded) = (Vec::new(), Vec::new());
    for element in &collection.elements {
        let node = (element.identifier.clone(), Node::of(&element.object));
        match named.contains(element.identifier.as_str()) == keep_present {
            true => filtered.push(node),
            false => discarded.push(node),
        }
    }
    let output = |elements| Output::Collection(Tree::like(collection, elements));
    Ok(vec![
        ("output_filtered", output(filtered)),
        ("output_discarded", output(discarded)),
    ])
}

pub(super) fn sort(given: &Given<'_>) -> Result<Results, Refusal> {
    let collection = given.collection("input")?;
    let mut elements: Vec<_> = collection.elements.iter().collect();
    match given.text("sort_type|sort_type") {
        "numeric" => {
            // As many digits as there are: long numbers are compared as text of equal length.
            let number = |identifier: &str| {
                let digits: String = identifier.chars().filter(char::is_ascii_digit).collect();
                let digits = digits.trim_start_matches('0').to_owned();
                (digits.len(), digits)
            };
            elements.sort_by_cached_key(|element| number(&element.identifier));
        }
        "file" => {
            let lines = given.lines("sort_type|sort_file")?;
            let mut order = HashMap::with_capacity(lines.len());
            for (n, line) in lines.iter().enumerate() {
                if order.insert(line.trim(), n).is_some() {
                    return because(format!("the file names {:?} twice", line.trim()));
                }
            }
            let unnamed = elements
                .iter()
                .find(|e| !order.contains_key(e.identifier.as_str()));
            if let Some(element) = unnamed {
                return because(format!(
                    "the file does not name the element {:?}",
                    element.identifier
                ));
            }
            let there: HashSet<&str> = elements.iter().map(|e| e.identifier.as_str()).collect();
            if let Some(strange) = order.keys().find(|line| !there.contains(**line)) {
                return because(format!("the collection has no element {strange:?}"));
            }
            elements.sort_by_key(|element| order[element.identifier.as_str()]);
        }
        _ => elements.sort_by(|a, b| a.identifier.cmp(&b.identifier)),
    }
    let elements = elements
        .into_iter()
        .map(|element| (element.identifier.clone(), Node::of(&element.object)));
    let tree = Tree::like(collection, elements.collect());
    Ok(vec![("output", Output::Collection(tree))])
}

pub(super) fn tag(given: &Given<'_>) -> Result<Results, Refusal> {
    let collection = given.collection("input")?;
    let lines = given.lines("tags")?;
    let mut by_identifier: HashMap<&str, Vec<String>> = HashMap::new();
    for line in &lines {
        let mut cells = line.trim_end_matches(['\r', '\n']).split('\t');
        let Some(identifier) = cells.next().filter(|text| !text.trim().is_empty()) else {
            continue;
        };
        let tags = cells.flat_map(tag_list).collect();
        by_identifier.insert(identifier.trim(), tags);
    }
    let tree = tagged(given, collection, &by_identifier, given.text("how"));
    Ok(vec![("output", Output::Collection(tree))])
}

fn tagged(
    given: &Given<'_>,
    collection: &Collection,
    by_identifier: &HashMap<&str, Vec<String>>,
    how: &str,
) -> Tree {
    let elements = collection.elements.iter().map(|element| {
        let node = match &element.object {
            ElementObject::Collection(child) => {
                Node::Tree(tagged(given, child, by_identifier, how))
            }
            ElementObject::Hda(id) => {
                let tags = by_identifier.get(element.identifier.as_str()).map(|named| {
                    let mut tags = match how {
                        "set" => Vec::new(),
                        _ => given.tags(*id).to_vec(),
                    };
                    match how {
                        "remove" => tags.retain(|tag| !named.contains(tag)),
                        _ => tags.extend(named.iter().cloned()),
                    }
                    tags.sort();
                    tags.dedup();
                    tags
                });
                Node::Share(Share {
                    hda_id: *id,
                    name: None,
                    tags,
                })
            }
        };
        (element.identifier.clone(), node)
    });
    Tree::like(collection, elements.collect())
}
