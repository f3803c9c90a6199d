//! Galaxy's collection operations (`__FLATTEN__` and so on): tools that run no command. They arrange, choose and rename
//! what collections hold, and share the data instead of copying it. Which datasets their results name is decided here;
//! [`super::tool_run`] makes rows of it.

mod arrange;
mod choose;
mod from_file;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use serde_json::Value;

use super::known::{Collection, ElementObject, Known};
use crate::model::state::DatasetState;
use crate::tools::inputs_json::{DataSource, refs_of};
use crate::tools::model::CollectionOperation as Operation;
use crate::tools::parameters;

/// Small files that a decision needs to look into.
pub trait Files: Sync {
    /// The text of a dataset, or one sentence why there is none.
    fn text(&self, dataset_id: i64) -> Result<String, String>;
    /// Whether a dataset that has bytes holds nothing all the same: compressed nothing.
    fn is_hollow(&self, dataset_id: i64) -> bool;
}

/// No files: for tools that need none.
pub struct NoFiles;

impl Files for NoFiles {
    fn text(&self, _: i64) -> Result<String, String> {
        Err("it cannot be read here".to_owned())
    }
    fn is_hollow(&self, _: i64) -> bool {
        false
    }
}

/// A dataset of the result: another name for one that there is.
#[derive(Debug, Clone, PartialEq)]
pub struct Share {
    pub hda_id: i64,
    /// None: as it was.
    pub name: Option<String>,
    /// None: as they were.
    pub tags: Option<Vec<String>>,
}

/// A collection of the result.
#[derive(Debug, Clone, PartialEq)]
pub struct Tree {
    pub collection_type: String,
    pub elements: Vec<(String, Node)>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    Share(Share),
    Tree(Tree),
}

/// An output of an operation.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    Dataset(Share),
    Collection(Tree),
}

/// The outputs by name.
pub type Results = Vec<(&'static str, Output)>;

/// Why there is no result.
#[derive(Debug, Clone, PartialEq)]
pub enum Refusal {
    /// These datasets (dataset ids) have to be there first.
    NotReady(Vec<i64>),
    /// This dataset (hda) will not be there.
    NotOk(i64),
    /// One sentence for people.
    Because(String),
}

fn because<T>(text: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Because(text.into()))
}

/// What an operation works on: one job's parameters, and what they name.
pub struct Given<'a> {
    pub params: &'a Value,
    pub known: &'a Known,
    /// Parts of collections that this job takes, by element.
    pub slices: &'a HashMap<i64, &'a Collection>,
    /// Of the datasets that this job takes out of a mapping, by input.
    pub identifiers: &'a HashMap<&'a str, &'a str>,
    pub files: &'a dyn Files,
}

/// What the operation makes of it.
pub fn plan(operation: Operation, given: &Given<'_>) -> Result<Results, Refusal> {
    use Operation as O;
    match operation {
        O::Flatten => arrange::flatten(given),
        O::Zip => arrange::zip(given),
        O::Unzip => arrange::unzip(given),
        O::BuildList => arrange::build_list(given),
        O::Merge => arrange::merge(given),
        O::CrossProductFlat => arrange::cross_product_flat(given),
        O::CrossProductNested => arrange::cross_product_nested(given),
        O::DuplicateFile => arrange::duplicate_file(given),
        O::Extract => choose::extract(given),
        O::FilterFailed => choose::filter(given, choose::Keep::Ok),
        O::KeepSuccess => choose::filter(given, choose::Keep::OkByNow),
        O::FilterEmpty => choose::filter(given, choose::Keep::NotEmpty),
        O::FilterNull => choose::filter(given, choose::Keep::NotNull),
        O::Harmonize => choose::harmonize(given),
        O::Sort => from_file::sort(given),
        O::Relabel => from_file::relabel(given),
        O::FilterFromFile => from_file::filter(given),
        O::TagFromFile => from_file::tag(given),
        O::ApplyRules => rules::apply(given),
    }
}

impl Given<'_> {
    fn value(&self, path: &str) -> &Value {
        parameters::get_path(self.params, path).unwrap_or(&Value::Null)
    }

    fn text(&self, path: &str) -> &str {
        self.value(path).as_str().unwrap_or_default()
    }

    fn flag(&self, path: &str) -> bool {
        *self.value(path) == Value::Bool(true)
    }

    /// The dataset of an input; None when it is left open.
    fn dataset(&self, path: &str) -> Result<Option<i64>, Refusal> {
        let Some(reference) = refs_of(self.value(path)).first().copied() else {
            return Ok(None);
        };
        match reference.src {
            DataSource::Hda if self.known.hdas.contains_key(&reference.id) => {
                Ok(Some(reference.id))
            }
            DataSource::Hda => because(format!("the dataset for {path} does not exist any more")),
            _ => because(format!("{path} takes a dataset, not a collection")),
        }
    }

    fn required(&self, path: &str) -> Result<i64, Refusal> {
        match self.dataset(path)? {
            Some(id) => Ok(id),
            None => because(format!("a dataset is needed for {path}")),
        }
    }

    fn collection(&self, path: &str) -> Result<&Collection, Refusal> {
        let reference = refs_of(self.value(path)).first().copied();
        let found = reference.and_then(|reference| match reference.src {
            DataSource::Hdca => Some(&self.known.hdcas.get(&reference.id)?.collection),
            DataSource::Dce => self.slices.get(&reference.id).copied(),
            _ => None,
        });
        match found {
            Some(collection) => Ok(collection),
            None => because(format!("a collection is needed for {path}")),
        }
    }

    /// The lines of a file, which has to be there and sound.
    fn lines(&self, path: &str) -> Result<Vec<String>, Refusal> {
        let id = self.required(path)?;
        let hda = &self.known.hdas[&id];
        if hda.state.is_pending() {
            return Err(Refusal::NotReady(vec![hda.dataset_id]));
        }
        if hda.state != DatasetState::Ok || hda.purged {
            return Err(Refusal::NotOk(id));
        }
        match self.files.text(hda.dataset_id) {
            Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
            Err(fault) => because(format!("the file for {path} cannot be used: {fault}")),
        }
    }

    fn tags(&self, hda_id: i64) -> &[String] {
        self.known
            .hdas
            .get(&hda_id)
            .map_or(&[], |hda| hda.tags.as_slice())
    }
}

impl Share {
    fn of(hda_id: i64) -> Share {
        Share {
            hda_id,
            name: None,
            tags: None,
        }
    }
}

impl Node {
    /// An element as it is, with all that is in it.
    fn of(object: &ElementObject) -> Node {
        match object {
            ElementObject::Hda(id) => Node::Share(Share::of(*id)),
            ElementObject::Collection(collection) => Node::Tree(Tree::of(collection)),
        }
    }
}

impl Tree {
    fn of(collection: &Collection) -> Tree {
        let elements = collection.elements.iter();
        Tree {
            collection_type: collection.collection_type.clone(),
            elements: elements
                .map(|element| (element.identifier.clone(), Node::of(&element.object)))
                .collect(),
        }
    }

    fn list(elements: Vec<(String, Node)>) -> Tree {
        Tree {
            collection_type: "list".to_owned(),
            elements,
        }
    }

    /// A collection of the same type with other elements.
    fn like(collection: &Collection, elements: Vec<(String, Node)>) -> Tree {
        Tree {
            collection_type: collection.collection_type.clone(),
            elements,
        }
    }
}

/// Elements of one collection have different identifiers.
fn unique(elements: &[(String, Node)]) -> Result<(), Refusal> {
    let mut seen = std::collections::HashSet::with_capacity(elements.len());
    for (identifier, _) in elements {
        if !seen.insert(identifier.as_str()) {
            return because(format!(
                "the element identifier {identifier:?} appears twice in the result"
            ));
        }
    }
    Ok(())
}
