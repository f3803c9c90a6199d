//! A dataset in a history.

use serde_json::{Map, Value, json};

use super::tags;
use crate::http::App;
use crate::http::time::iso;
use crate::store::datasets::Hda;

/// The line of a list.
pub fn hda_summary(app: &App, hda: &Hda) -> Value {
    let id = app.encode(hda.id);
    let history_id = app.encode(hda.history_id);
    json!({
        "type_id": format!("dataset-{id}"),
        "url": format!("/api/histories/{history_id}/contents/{id}"),
        "id": id,
        "name": hda.name,
        "history_id": history_id,
        "hid": hda.hid,
        "history_content_type": "dataset",
        "dataset_id": app.encode(hda.dataset_id),
        "genome_build": genome_build(hda),
        "state": hda.state,
        "extension": hda.extension,
        "deleted": hda.deleted,
        "purged": hda.purged,
        "visible": hda.visible,
        "tags": tags(&hda.tags),
        "type": "file",
        "create_time": iso(hda.create_time),
        "update_time": iso(hda.update_time),
        "object_store_id": null,
        "quota_source_label": null,
        "copied_from_history_dataset_association_id": app.codec.encode_maybe(hda.copied_from),
    })
}

/// The whole; of a dataset that is kept from the reader, nothing of what is in it. `file_name` is the name that a download gets, never a place on this server.
pub fn hda_detailed(app: &App, hda: &Hda) -> Value {
    let Value::Object(mut shape) = hda_summary(app, hda) else {
        return Value::Null;
    };
    let id = app.encode(hda.id);
    let history_id = app.encode(hda.history_id);
    let metadata = if hda.readable {
        &hda.metadata
    } else {
        &Value::Null
    };
    let more = json!({
        "model_class": "HistoryDatasetAssociation",
        "hda_ldda": "hda",
        "accessible": hda.readable,
        "misc_info": hda.info.as_deref().filter(|_| hda.readable).unwrap_or(""),
        "misc_blurb": hda.blurb,
        "file_ext": hda.extension,
        "file_size": hda.file_size.unwrap_or(0),
        "file_name": format!("dataset_{}.dat", hda.uuid),
        "metadata": metadata,
        "data_type": hda.extension,
        "peek": hda.peek.as_deref().filter(|_| hda.readable),
        "creating_job": app.codec.encode_maybe(hda.creating_job),
        "rerunnable": hda.creating_job.is_some(),
        "resubmitted": false,
        "uuid": hda.uuid,
        "permissions": { "manage": [], "access": [] },
        "download_url": format!("/api/histories/{history_id}/contents/{id}/display"),
        "annotation": hda.annotation,
        "api_type": "file",
        "created_from_basename": hda.created_from_basename,
        "display_apps": [],
        "display_types": [],
        "visualizations": [],
        "meta_files": [],
        "hashes": [],
        "sources": [],
        "drs_id": app.codec.kind("drs").encode(hda.dataset_id),
        "validated_state": hda.validated_state,
        "validated_state_message": hda.validated_state_message,
        "version": hda.version,
    });
    if let Value::Object(more) = more {
        shape.extend(more);
    }
    flatten_metadata(&mut shape, metadata);
    Value::Object(shape)
}

/// `metadata.columns` is also `metadata_columns`.
fn flatten_metadata(shape: &mut Map<String, Value>, metadata: &Value) {
    shape.insert("metadata_dbkey".to_owned(), json!("?"));
    for (key, value) in metadata.as_object().into_iter().flatten() {
        shape.insert(format!("metadata_{key}"), value.clone());
    }
}

/// Galaxy's `dbkey`, which may be stored as a list of one.
fn genome_build(hda: &Hda) -> Value {
    match hda.metadata.get("dbkey") {
        Some(Value::Array(builds)) => builds.first().cloned().unwrap_or_else(|| json!("?")),
        Some(build @ Value::String(_)) => build.clone(),
        _ => json!("?"),
    }
}
