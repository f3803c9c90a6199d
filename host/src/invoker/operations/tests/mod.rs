//! Each operation on literal collections. A result is written as JSON: identifiers, and the number of each dataset.

mod arrange;
mod choose;
mod from_file;
mod rules;

use serde_json::{Map, json};

use super::*;
use crate::invoker::known::{Element, Hda, Hdca, Hid, Populated};

struct Text(&'static str);

impl Files for Text {
    fn text(&self, _: i64) -> Result<String, String> {
        Ok(self.0.to_owned())
    }
    fn is_hollow(&self, dataset_id: i64) -> bool {
        dataset_id == 70
    }
}

/// Datasets are numbers; their state is `error` from 50, `running` from 60; 40 is skipped, 45 is empty.
fn hda(id: i64) -> Hda {
    Hda {
        id,
        dataset_id: id * 10,
        hid: Hid::Given(id),
        name: format!("d{id}"),
        extension: "txt".into(),
        state: match id {
            50..60 => DatasetState::Error,
            60..70 => DatasetState::Running,
            _ => DatasetState::Ok,
        },
        deleted: false,
        purged: false,
        dbkey: None,
        size: Some(if id == 45 { 0 } else { 5 }),
        skipped: id == 40,
        tags: vec![],
    }
}

fn collection(collection_type: &str, elements: &Value) -> Collection {
    let inner = collection_type
        .split_once(':')
        .map_or("", |(_, inner)| inner);
    let elements = elements.as_object().expect("an object").iter();
    Collection {
        id: 1,
        collection_type: collection_type.into(),
        populated: Populated::Ok,
        elements: elements
            .map(|(identifier, value)| Element {
                id: 1,
                identifier: identifier.clone(),
                object: match value.as_i64() {
                    Some(id) => ElementObject::Hda(id),
                    None => ElementObject::Collection(collection(inner, value)),
                },
            })
            .collect(),
    }
}

/// Collections are numbered from 1 and datasets are themselves.
fn known(collections: &[(&str, Value)]) -> Known {
    let mut known = Known::default();
    for id in 1..100 {
        known.hdas.insert(id, hda(id));
    }
    for (n, (collection_type, elements)) in collections.iter().enumerate() {
        let id = n as i64 + 1;
        let hdca = Hdca {
            id,
            hid: Hid::Given(id),
            name: "c".into(),
            deleted: false,
            collection: collection(collection_type, elements),
            unfinished_job: None,
        };
        known.hdcas.insert(id, hdca);
    }
    known
}

fn run(operation: Operation, params: Value, known: &Known, file: &'static str) -> Value {
    let (slices, identifiers) = (
        HashMap::new(),
        HashMap::from([("datasets_1|input", "id of 2")]),
    );
    let given = Given {
        params: &params,
        known,
        slices: &slices,
        identifiers: &identifiers,
        files: &Text(file),
    };
    match plan(operation, &given) {
        Ok(results) => {
            let mut shown = Map::new();
            for (name, output) in results {
                shown.insert(name.into(), show(&output));
            }
            Value::Object(shown)
        }
        Err(Refusal::NotReady(datasets)) => json!({"not ready": datasets}),
        Err(Refusal::NotOk(id)) => json!({"not ok": id}),
        Err(Refusal::Because(_)) => json!("refused"),
    }
}

fn show(output: &Output) -> Value {
    match output {
        Output::Dataset(share) => json!([share.name, share.hda_id]),
        Output::Collection(tree) => json!([tree.collection_type, elements(tree)]),
    }
}

fn elements(tree: &Tree) -> Value {
    let shown = tree.elements.iter().map(|(identifier, node)| {
        let value = match node {
            Node::Tree(child) => elements(child),
            Node::Share(Share {
                hda_id, tags: None, ..
            }) => json!(hda_id),
            Node::Share(Share {
                hda_id,
                tags: Some(tags),
                ..
            }) => json!([hda_id, tags]),
        };
        json!([identifier, value])
    });
    shown.collect()
}

fn hdca(id: i64) -> Value {
    json!({"src": "hdca", "id": id})
}

fn file() -> Value {
    json!({"src": "hda", "id": 90})
}

pub(super) fn ruled(elements: Value, rules: Value, mapping: Value) -> Value {
    let depth = match elements.as_object().and_then(|o| o.values().next()) {
        Some(Value::Object(_)) => "list:list",
        _ => "list",
    };
    let known = known(&[(depth, elements)]);
    let params = json!({"input": hdca(1), "rules": {"rules": rules, "mapping": mapping}});
    run(Operation::ApplyRules, params, &known, "")["output"].clone()
}
