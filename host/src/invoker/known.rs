//! The datasets and collections that one scheduling iteration knows: those it loaded and those it is about to create.

use std::collections::HashMap;

use serde_json::Value;

use crate::model::state::DatasetState;

/// What an output of a step, or an input of the workflow, is.
#[derive(Debug, Clone, PartialEq)]
pub enum StepValue {
    /// A dataset in a history, by id.
    Hda(i64),
    /// A collection in a history, by id.
    Hdca(i64),
    /// A plain value: a parameter, an expression's result.
    Json(Value),
    /// Nothing was supplied, and that is allowed.
    NoReplacement,
}

impl StepValue {
    /// What is stored for a value that is neither dataset nor collection.
    pub fn to_stored(&self) -> Option<Value> {
        match self {
            StepValue::Json(value) => Some(value.clone()),
            StepValue::NoReplacement => Some(serde_json::json!({"__class__": "NoReplacement"})),
            StepValue::Hda(_) | StepValue::Hdca(_) => None,
        }
    }

    /// The reverse of [`StepValue::to_stored`].
    pub fn from_stored(value: Value) -> StepValue {
        match value.get("__class__").and_then(Value::as_str) {
            Some("NoReplacement") => StepValue::NoReplacement,
            _ => StepValue::Json(value),
        }
    }
}

/// The number people see in a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hid {
    Given(i64),
    /// The n-th item this iteration creates; its number is known when it is stored.
    New(usize),
}

impl Hid {
    /// The number, once that of the first new item is known.
    pub fn given(self, first_hid: i64) -> Hid {
        match self {
            Hid::Given(number) => Hid::Given(number),
            Hid::New(n) => Hid::Given(first_hid + n as i64),
        }
    }
}

/// A dataset in a history.
#[derive(Debug, Clone, PartialEq)]
pub struct Hda {
    pub id: i64,
    pub dataset_id: i64,
    pub hid: Hid,
    /// May hold marks of [`super::writes::Names`] while it is not stored yet.
    pub name: String,
    pub extension: String,
    pub state: DatasetState,
    pub deleted: bool,
    pub purged: bool,
    pub dbkey: Option<String>,
    /// Bytes.
    pub size: Option<i64>,
    /// A result that stands for "this step was skipped".
    pub skipped: bool,
    pub tags: Vec<String>,
}

/// A typed structure of elements.
#[derive(Debug, Clone, PartialEq)]
pub struct Collection {
    pub id: i64,
    /// `list`, `list:paired` …
    pub collection_type: String,
    pub populated: Populated,
    pub elements: Vec<Element>,
}

/// Whether a collection's elements are all known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Populated {
    New,
    Ok,
    Failed,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Element {
    pub id: i64,
    pub identifier: String,
    pub object: ElementObject,
}

#[derive(Debug, Clone, PartialEq)]
pub enum ElementObject {
    Hda(i64),
    Collection(Collection),
}

/// A collection in a history.
#[derive(Debug, Clone, PartialEq)]
pub struct Hdca {
    pub id: i64,
    pub hid: Hid,
    pub name: String,
    pub deleted: bool,
    pub collection: Collection,
    /// A job that has yet to end before the elements are known.
    pub unfinished_job: Option<i64>,
}

/// Everything an iteration may refer to, by id.
#[derive(Debug, Clone, Default)]
pub struct Known {
    pub hdas: HashMap<i64, Hda>,
    pub hdcas: HashMap<i64, Hdca>,
    /// Elements of collections that parameters name by themselves.
    pub elements: HashMap<i64, ElementObject>,
    /// The parsed content of datasets that feed parameters: the text of the fault where it is not JSON.
    pub contents: HashMap<i64, Result<Value, String>>,
}

impl Known {
    /// Takes in a dataset that is about to be created.
    pub fn note(&mut self, new: &super::writes::NewHda) {
        let skipped = new.blurb.as_deref() == Some("skipped");
        if skipped {
            self.contents.insert(new.id, Ok(Value::Null));
        }
        let hda = Hda {
            id: new.id,
            dataset_id: new.dataset_id,
            hid: new.hid,
            name: new.name.clone(),
            extension: new.extension.clone(),
            state: new.state,
            deleted: false,
            purged: false,
            dbkey: Some(new.dbkey.clone()),
            size: new.content.as_ref().map(|content| content.len() as i64),
            skipped,
            tags: new.tags.clone(),
        };
        self.hdas.insert(new.id, hda);
    }
}

impl Collection {
    /// Own state and that of every nested collection.
    pub fn populated(&self) -> Populated {
        let inner = self.elements.iter().map(|e| match &e.object {
            ElementObject::Hda(_) => Populated::Ok,
            ElementObject::Collection(child) => child.populated(),
        });
        inner.fold(self.populated, |a, b| match (a, b) {
            (Populated::Failed, _) | (_, Populated::Failed) => Populated::Failed,
            (Populated::New, _) | (_, Populated::New) => Populated::New,
            _ => Populated::Ok,
        })
    }

    /// The collection, leaving one without elements in its place.
    pub(super) fn taken(&mut self) -> Collection {
        Collection {
            elements: std::mem::take(&mut self.elements),
            ..self.clone()
        }
    }

    /// Type and identifiers as one text: equal for collections that differ in their datasets only.
    pub fn shape(&self) -> String {
        let inner = self.elements.iter().map(|element| {
            let inside = match &element.object {
                ElementObject::Hda(_) => String::new(),
                ElementObject::Collection(child) => child.shape(),
            };
            format!("{:?}{inside}", element.identifier)
        });
        let inner: Vec<String> = inner.collect();
        format!("{}({})", self.collection_type, inner.join(","))
    }

    /// The first dataset in it.
    pub fn first_leaf(&self) -> Option<i64> {
        self.elements.iter().find_map(|e| match &e.object {
            ElementObject::Hda(id) => Some(*id),
            ElementObject::Collection(child) => child.first_leaf(),
        })
    }

    /// Every dataset in it, depth first.
    pub fn leaves(&self) -> Vec<i64> {
        let mut found = Vec::with_capacity(self.elements.len());
        self.collect_leaves(&mut found);
        found
    }

    fn collect_leaves(&self, found: &mut Vec<i64>) {
        for element in &self.elements {
            match &element.object {
                ElementObject::Hda(id) => found.push(*id),
                ElementObject::Collection(child) => child.collect_leaves(found),
            }
        }
    }
}
