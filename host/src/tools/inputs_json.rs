//! What a tool's expressions see as `inputs`: a state with its data references replaced by
//! objects that describe the files.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::model::{Input, InputKind, Tool};

/// The collection type whose collections hold a pair, or one dataset that has no mate.
const PAIRED_OR_UNPAIRED: &str = "paired_or_unpaired";

/// What a data reference in a state points at. Ids are the database's plain integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DataRef {
    pub src: DataSource,
    pub id: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DataSource {
    /// A dataset in a history.
    Hda,
    /// A collection in a history.
    Hdca,
    /// One element of a collection: a dataset or a nested collection.
    Dce,
    /// A dataset in a library.
    Ldda,
}

impl DataSource {
    pub fn as_str(self) -> &'static str {
        match self {
            DataSource::Hda => "hda",
            DataSource::Hdca => "hdca",
            DataSource::Dce => "dce",
            DataSource::Ldda => "ldda",
        }
    }

    pub fn parse(text: &str) -> Option<DataSource> {
        Some(match text {
            "hda" => DataSource::Hda,
            "hdca" => DataSource::Hdca,
            "dce" => DataSource::Dce,
            "ldda" => DataSource::Ldda,
            _ => return None,
        })
    }
}

impl DataRef {
    pub fn new(src: DataSource, id: i64) -> DataRef {
        DataRef { src, id }
    }

    /// Reads `{"src": "hda", "id": 5}`.
    pub fn from_json(value: &Value) -> Option<DataRef> {
        let object = value.as_object()?;
        Some(DataRef {
            src: DataSource::parse(object.get("src")?.as_str()?)?,
            id: object.get("id")?.as_i64()?,
        })
    }

    pub fn to_json(self) -> Value {
        json!({"src": self.src.as_str(), "id": self.id})
    }
}

/// A dataset as far as a command needs it.
#[derive(Debug, Clone, Default)]
pub struct DatasetView {
    /// Absolute path of the file.
    pub path: String,
    pub ext: String,
    pub name: String,
    /// Within its collection; the dataset's name when it stands alone.
    pub element_identifier: Option<String>,
    /// Bytes.
    pub size: Option<u64>,
    /// The number people see in the history, for labels.
    pub hid: Option<i64>,
    /// The parsed content of an `expression.json` that feeds a parameter.
    pub content: Option<Value>,
    /// For an expression tool: an `expression.json` given where a dataset is taken stands for its value.
    pub is_value: bool,
    /// For an expression tool: which dataset it is, so that it can be handed on.
    pub hda_id: Option<i64>,
    /// For an expression tool that asks for it: the text, if it is not too long.
    pub contents: Option<String>,
}

/// A collection as far as a command needs it.
#[derive(Debug, Clone, Default)]
pub struct CollectionView {
    pub name: String,
    pub collection_type: String,
    pub tags: Vec<String>,
    pub hid: Option<i64>,
    pub elements: Vec<ElementView>,
}

#[derive(Debug, Clone)]
pub struct ElementView {
    pub identifier: String,
    pub object: DataView,
}

#[derive(Debug, Clone)]
pub enum DataView {
    Dataset(DatasetView),
    Collection(CollectionView),
}

/// Everything a job's state refers to.
pub type DataViews = HashMap<DataRef, DataView>;

/// Builds `inputs` for `tool` from a normalised state. A reference that `data` does not know
/// becomes null, as an unset input does.
pub fn inputs_json(tool: &Tool, state: &Value, data: &DataViews) -> Value {
    match state {
        Value::Object(state) => Value::Object(object(&tool.inputs, state, data)),
        _ => Value::Object(object(&tool.inputs, &Map::new(), data)),
    }
}

/// Every data reference in `state`, in order, each once.
pub fn data_refs(state: &Value) -> Vec<DataRef> {
    let mut found = Vec::new();
    visit_refs(state, &mut |reference| {
        if !found.contains(&reference) {
            found.push(reference);
        }
    });
    found
}

fn visit_refs(value: &Value, visit: &mut dyn FnMut(DataRef)) {
    if let Some(reference) = DataRef::from_json(value) {
        return visit(reference);
    }
    match value {
        Value::Object(object) => object.values().for_each(|inner| visit_refs(inner, visit)),
        Value::Array(items) => items.iter().for_each(|inner| visit_refs(inner, visit)),
        _ => {}
    }
}

/// The references one data value holds: bare, in a list, or under `values`.
pub fn refs_of(value: &Value) -> Vec<DataRef> {
    if let Some(reference) = DataRef::from_json(value) {
        return vec![reference];
    }
    match value {
        Value::Array(items) => items.iter().flat_map(refs_of).collect(),
        Value::Object(object) => object.get("values").map(refs_of).unwrap_or_default(),
        _ => Vec::new(),
    }
}

fn object(inputs: &[Input], state: &Map<String, Value>, data: &DataViews) -> Map<String, Value> {
    let mut result = Map::with_capacity(inputs.len());
    for input in inputs {
        let value = state.get(&input.name).unwrap_or(&Value::Null);
        result.insert(input.name.clone(), one(input, value, data));
    }
    result
}

fn one(input: &Input, value: &Value, data: &DataViews) -> Value {
    match &input.kind {
        InputKind::Section { inputs } => Value::Object(object(
            inputs,
            value.as_object().unwrap_or(&Map::new()),
            data,
        )),
        InputKind::Repeat { inputs, .. } => Value::Array(
            value
                .as_array()
                .into_iter()
                .flatten()
                .map(|item| {
                    Value::Object(object(
                        inputs,
                        item.as_object().unwrap_or(&Map::new()),
                        data,
                    ))
                })
                .collect(),
        ),
        InputKind::Conditional { test, whens } => {
            let empty = Map::new();
            let state = value.as_object().unwrap_or(&empty);
            let test_value = one(test, state.get(&test.name).unwrap_or(&Value::Null), data);
            let branch = super::parameters::active_branch(whens, &test_value);
            let mut result = branch
                .map(|when| object(&when.inputs, state, data))
                .unwrap_or_default();
            result.insert(test.name.clone(), test_value);
            Value::Object(result)
        }
        InputKind::Data { multiple: true, .. } => {
            if value.is_null() {
                return if input.optional {
                    Value::Null
                } else {
                    Value::Array(Vec::new())
                };
            }
            let mut files = Vec::new();
            for reference in refs_of(value) {
                if let Some(view) = data.get(&reference) {
                    flatten_files(view, None, &mut files);
                }
            }
            Value::Array(files)
        }
        InputKind::Data { .. } | InputKind::Collection { .. } => {
            let view = refs_of(value).first().and_then(|found| data.get(found));
            match (&input.kind, view) {
                (_, None) => Value::Null,
                (
                    InputKind::Collection {
                        collection_types, ..
                    },
                    Some(DataView::Dataset(dataset)),
                ) if takes_unpaired(collection_types) => collection_json(&unpaired(dataset)),
                (_, Some(view)) => data_json(view, None),
            }
        }
        _ => parameter(value, data),
    }
}

fn takes_unpaired(collection_types: &[String]) -> bool {
    collection_types.iter().any(|t| t == PAIRED_OR_UNPAIRED)
}

/// A dataset by itself, where a pair or an unpaired one is taken.
fn unpaired(dataset: &DatasetView) -> CollectionView {
    let name = dataset.element_identifier.as_ref();
    CollectionView {
        name: name.unwrap_or(&dataset.name).clone(),
        collection_type: PAIRED_OR_UNPAIRED.to_owned(),
        elements: vec![ElementView {
            identifier: "unpaired".to_owned(),
            object: DataView::Dataset(dataset.clone()),
        }],
        ..Default::default()
    }
}

/// A plain parameter; one that is fed by a dataset has the dataset's JSON content.
fn parameter(value: &Value, data: &DataViews) -> Value {
    if let Value::Object(object) = value {
        let reference = refs_of(value).first().copied();
        return match reference.and_then(|reference| data.get(&reference)) {
            Some(DataView::Dataset(dataset)) => dataset.content.clone().unwrap_or(Value::Null),
            // A single-element collection cannot be a parameter, nor can a marker.
            _ if object.contains_key("__class__") || reference.is_some() => Value::Null,
            _ => value.clone(),
        };
    }
    value.clone()
}

/// A collection given to a `multiple` input is consumed element by element.
fn flatten_files(view: &DataView, identifier: Option<&str>, files: &mut Vec<Value>) {
    match view {
        DataView::Dataset(_) => files.push(data_json(view, identifier)),
        DataView::Collection(collection) => {
            for element in &collection.elements {
                flatten_files(&element.object, Some(&element.identifier), files);
            }
        }
    }
}

fn data_json(view: &DataView, identifier: Option<&str>) -> Value {
    match view {
        DataView::Dataset(dataset) if dataset.is_value => {
            dataset.content.clone().unwrap_or(Value::Null)
        }
        DataView::Dataset(dataset) => file_json(dataset, identifier),
        DataView::Collection(collection) => collection_json(collection),
    }
}

/// `{class: Collection, ...}`: a list has its elements in an array, a pair or record in an object.
pub fn collection_json(collection: &CollectionView) -> Value {
    let outermost = collection.collection_type.split(':').next().unwrap_or("");
    let elements = if matches!(outermost, "list" | "sample_sheet") {
        Value::Array(
            collection
                .elements
                .iter()
                .map(|element| data_json(&element.object, Some(&element.identifier)))
                .collect(),
        )
    } else {
        Value::Object(
            collection
                .elements
                .iter()
                .map(|element| {
                    let value = data_json(&element.object, Some(&element.identifier));
                    (element.identifier.clone(), value)
                })
                .collect(),
        )
    };
    json!({
        "class": "Collection",
        "name": collection.name,
        "collection_type": collection.collection_type,
        "tags": collection.tags,
        "elements": elements,
    })
}

/// `{class: File, ...}` as CWL has it, with Galaxy's `format` and `element_identifier`.
pub fn file_json(dataset: &DatasetView, identifier: Option<&str>) -> Value {
    let basename = dataset.path.rsplit('/').next().unwrap_or_default();
    // As Python's splitext: leading dots belong to the root.
    let dots = basename.len() - basename.trim_start_matches('.').len();
    let split = match basename[dots..].rfind('.') {
        Some(dot) => dots + dot,
        None => basename.len(),
    };
    let identifier = identifier
        .or(dataset.element_identifier.as_deref())
        .unwrap_or(&dataset.name);
    let mut file = Map::with_capacity(10);
    file.insert("class".into(), "File".into());
    file.insert("path".into(), dataset.path.clone().into());
    file.insert("basename".into(), basename.into());
    file.insert("nameroot".into(), basename[..split].into());
    file.insert("nameext".into(), basename[split..].into());
    file.insert("format".into(), dataset.ext.clone().into());
    file.insert("size".into(), dataset.size.map_or(Value::Null, Value::from));
    file.insert("location".into(), format!("file://{}", dataset.path).into());
    file.insert("listing".into(), Value::Array(Vec::new()));
    file.insert("element_identifier".into(), identifier.into());
    if let Some(id) = dataset.hda_id {
        file.insert("src".into(), json!({"src": "hda", "id": id}));
    }
    if let Some(contents) = &dataset.contents {
        file.insert("contents".into(), contents.clone().into());
    }
    Value::Object(file)
}
