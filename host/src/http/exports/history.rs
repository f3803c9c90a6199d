//! The archive of a history, in the form that Galaxy imports.

use std::collections::HashMap;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::archive::{Content as Bytes, Member, dataset_name, write_tar};
use super::workshop::flag;
use crate::http::access;
use crate::http::app::{App, blocking};
use crate::http::error::ApiError;
use crate::http::time::iso;
use crate::store::collections::{self, Forest, Hdca};
use crate::store::datasets::{self, Hda};
use crate::store::filter::Filter;
use crate::store::histories::{self, Content};
use crate::store::short_term_storage::Stored;

pub async fn write(app: &App, stored: &Stored, path: PathBuf) -> Result<(), ApiError> {
    let mut q = app.store.reader();
    let history = histories::by_id(&mut q, stored.item_id).await?;
    let history = history.ok_or_else(|| ApiError::not_found("The history is gone."))?;
    let mut filter = Filter::default();
    filter.and("c.history_id = ?", crate::args![history.id]);
    if !flag(&stored.request, "include_deleted", false) {
        filter.and("NOT c.deleted", vec![]);
    }
    if !flag(&stored.request, "include_hidden", true) {
        filter.and("c.visible", vec![]);
    }
    let contents =
        histories::contents(&mut q, &filter, " ORDER BY c.hid, c.id", i64::MAX, 0).await?;
    let mut hda_ids = Vec::new();
    let mut hdca_ids = Vec::new();
    for content in contents {
        match content {
            Content::Dataset(id) => hda_ids.push(id),
            Content::Collection(id) => hdca_ids.push(id),
        }
    }
    let known = collections::by_ids(&mut q, &hdca_ids).await?;
    let hdcas: Vec<&Hdca> = hdca_ids.iter().filter_map(|id| known.get(id)).collect();
    let roots: Vec<i64> = hdcas.iter().map(|hdca| hdca.collection.id).collect();
    let forest = collections::forest(&mut q, &roots).await?;
    // What is in a collection goes with it.
    hda_ids.extend(forest.hda_ids());
    hda_ids.sort_unstable();
    hda_ids.dedup();
    let mut hdas = datasets::by_ids(&mut q, &hda_ids).await?;
    access::grant_user(&mut q, stored.user_id, &mut hdas).await?;
    let about = json!({
        "model_class": "History",
        "encoded_id": app.encode(history.id),
        "name": history.name,
        "annotation": history.annotation,
        "tags": history.tags,
        "genome_build": history.genome_build.as_deref().unwrap_or("?"),
        "hid_counter": history.hid_counter,
        "create_time": iso(history.create_time),
        "update_time": iso(history.update_time),
    });
    let mut members = members(app, &hda_ids, &hdas, &hdcas, &forest, |_| true);
    members.insert(0, Member::json("history_attrs.txt", &about));
    blocking(move || write_tar(&path, members)).await
}

/// The files that tell of datasets and collections, and the datasets that `is_wanted`.
pub fn members(
    app: &App,
    order: &[i64],
    hdas: &HashMap<i64, Hda>,
    hdcas: &[&Hdca],
    forest: &Forest,
    is_wanted: impl Fn(&Hda) -> bool,
) -> Vec<Member> {
    let mut files = Vec::new();
    let mut about = Vec::new();
    let mut taken = std::collections::HashSet::new();
    for hda in order.iter().filter_map(|id| hdas.get(id)) {
        let has_file = matches!(hda.state.as_str(), "ok" | "empty")
            && !hda.purged
            && hda.readable
            && is_wanted(hda);
        let mut name = dataset_name(hda);
        if !taken.insert(name.clone()) {
            name = name.replacen("datasets/", &format!("datasets/{}_", hda.id), 1);
        }
        about.push(dataset(app, hda, has_file.then_some(name.as_str())));
        if has_file {
            files.push(Member {
                name,
                content: Bytes::File(app.data.dataset(hda.dataset_id)),
            });
        }
    }
    let collections: Vec<Value> = hdcas
        .iter()
        .map(|hdca| {
            json!({
                "model_class": "HistoryDatasetCollectionAssociation",
                "encoded_id": app.encode(hdca.id),
                "history_encoded_id": app.encode(hdca.history_id),
                "display_name": hdca.name,
                "hid": hdca.hid,
                "visible": hdca.visible,
                "deleted": hdca.deleted,
                "tags": hdca.tags,
                "annotation": hdca.annotation,
                "implicit_output_name": hdca.implicit_output_name,
                "copied_from_history_dataset_collection_association_id_chain": [],
                "state": "ok",
                "collection": collection(app, forest, hdca.collection.id, &hdca.collection.collection_type),
            })
        })
        .collect();
    let mut members = vec![
        Member::json("export_attrs.txt", &json!({"galaxy_export_version": "2"})),
        Member::json("datasets_attrs.txt", &Value::Array(about)),
        Member::json("datasets_attrs.txt.provenance", &json!([])),
        Member::json("collections_attrs.txt", &Value::Array(collections)),
        Member::json("jobs_attrs.txt", &json!([])),
        Member::json("implicit_collection_jobs_attrs.txt", &json!([])),
        Member::json("libraries_attrs.txt", &json!([])),
    ];
    members.extend(files);
    members
}

fn dataset(app: &App, hda: &Hda, file_name: Option<&str>) -> Value {
    json!({
        "model_class": "HistoryDatasetAssociation",
        "encoded_id": app.encode(hda.id),
        "history_encoded_id": app.encode(hda.history_id),
        "dataset_uuid": hda.uuid,
        "hid": hda.hid,
        "name": hda.name,
        "extension": hda.extension,
        "state": hda.state,
        "file_name": file_name,
        "info": hda.info,
        "blurb": hda.blurb,
        "peek": hda.peek.as_deref().filter(|_| hda.readable),
        "metadata": if hda.readable { &hda.metadata } else { &Value::Null },
        "annotation": hda.annotation,
        "tags": hda.tags,
        "visible": hda.visible,
        "deleted": hda.deleted,
        "designation": null,
        "copied_from_history_dataset_association_id_chain": [],
        "create_time": iso(hda.create_time),
        "update_time": iso(hda.update_time),
    })
}

fn collection(app: &App, forest: &Forest, id: i64, kind: &str) -> Value {
    let elements: Vec<Value> = forest
        .elements(id)
        .iter()
        .map(|element| {
            let mut shape = json!({
                "model_class": "DatasetCollectionElement",
                "encoded_id": app.encode(element.id),
                "element_identifier": element.identifier,
                "element_index": element.index,
            });
            if let Some(hda) = element.hda_id {
                shape["element_type"] = json!("hda");
                shape["hda"] = json!({"model_class": "HistoryDatasetAssociation", "encoded_id": app.encode(hda)});
            } else if let Some(child) = element.child_id {
                let kind = forest.collections.get(&child);
                let kind = kind.map_or("list", |child| child.collection_type.as_str());
                shape["element_type"] = json!("dataset_collection");
                shape["child_collection"] = collection(app, forest, child, kind);
            }
            shape
        })
        .collect();
    json!({
        "model_class": "DatasetCollection",
        "encoded_id": app.encode(id),
        "type": kind,
        "populated_state": "ok",
        "elements": elements,
    })
}
