//! A dataset collection in a history.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value, json};

use super::dataset::hda_detailed;
use super::tags;
use crate::http::App;
use crate::http::access;
use crate::http::auth::Caller;
use crate::http::time::iso;
use crate::store::collections::{self, Element, Forest, Hdca, Summary};
use crate::store::datasets::{self, Hda};
use crate::store::{Query, StoreError};

/// The line of a list.
pub fn hdca_summary(
    app: &App,
    hdca: &Hdca,
    summary: &Summary,
    jobs: Option<&BTreeMap<String, i64>>,
) -> Value {
    let id = app.encode(hdca.id);
    let history_id = app.encode(hdca.history_id);
    let (source_type, source_id) = match (hdca.implicit_collection_jobs_id, hdca.job_id) {
        (Some(id), _) => (Some("ImplicitCollectionJobs"), Some(id)),
        (None, Some(id)) => (Some("Job"), Some(id)),
        (None, None) => (None, None),
    };
    json!({
        "type_id": format!("dataset_collection-{id}"),
        "url": format!("/api/histories/{history_id}/contents/dataset_collections/{id}"),
        "contents_url": format!("/api/dataset_collections/{id}/contents/{}", app.encode(hdca.collection.id)),
        "id": id,
        "name": hdca.name,
        "history_id": history_id,
        "collection_id": app.encode(hdca.collection.id),
        "hid": hdca.hid,
        "history_content_type": "dataset_collection",
        "collection_type": hdca.collection.collection_type,
        "populated_state": hdca.collection.populated_state,
        "populated_state_message": hdca.collection.populated_state_message,
        "element_count": hdca.collection.element_count,
        "elements_datatypes": summary.datatypes,
        "elements_states": summary.states,
        "elements_deleted": summary.deleted,
        "state": hdca.collection.populated_state,
        "job_source_id": app.codec.encode_maybe(source_id),
        "job_source_type": source_type,
        "job_state_summary": job_state_summary(jobs),
        "deleted": hdca.deleted,
        "visible": hdca.visible,
        "type": "collection",
        "create_time": iso(hdca.create_time),
        "update_time": iso(hdca.update_time),
        "tags": tags(&hdca.tags),
    })
}

/// Galaxy's map of all states, with their number in `all_jobs`.
fn job_state_summary(jobs: Option<&BTreeMap<String, i64>>) -> Value {
    let mut counts = Map::new();
    counts.insert(
        "all_jobs".to_owned(),
        json!(jobs.map_or(0, |j| j.values().sum::<i64>())),
    );
    for state in crate::model::state::JobState::ALL {
        let count = jobs.and_then(|j| j.get(state.code())).copied().unwrap_or(0);
        counts.insert(state.code().to_owned(), json!(count));
    }
    Value::Object(counts)
}

/// The whole: the summary, and every element down to the datasets.
pub fn hdca_detailed(
    app: &App,
    hdca: &Hdca,
    jobs: Option<&BTreeMap<String, i64>>,
    forest: &Forest,
    hdas: &HashMap<i64, Hda>,
) -> Value {
    let summary = summarise(forest, hdas);
    let Value::Object(mut shape) = hdca_summary(app, hdca, &summary, jobs) else {
        return Value::Null;
    };
    let populated = forest
        .collections
        .values()
        .all(|c| c.populated_state == "ok");
    let more = json!({
        "model_class": "HistoryDatasetCollectionAssociation",
        "populated": populated,
        "annotation": hdca.annotation,
        "implicit_output_name": hdca.implicit_output_name,
        "implicit_collection_jobs_id": app.codec.encode_maybe(hdca.implicit_collection_jobs_id),
        "column_definitions": hdca.collection.column_definitions,
        "elements": elements(app, hdca.collection.id, forest, hdas),
    });
    if let Value::Object(more) = more {
        shape.extend(more);
    }
    Value::Object(shape)
}

fn elements(
    app: &App,
    collection_id: i64,
    forest: &Forest,
    hdas: &HashMap<i64, Hda>,
) -> Vec<Value> {
    forest
        .elements(collection_id)
        .iter()
        .map(|element| self::element(app, element, forest, hdas))
        .collect()
}

/// One element with what it is.
pub fn element(app: &App, element: &Element, forest: &Forest, hdas: &HashMap<i64, Hda>) -> Value {
    let (element_type, object) = match (element.hda_id, element.child_id) {
        (Some(id), _) => (
            Some("hda"),
            hdas.get(&id)
                .map_or(Value::Null, |hda| hda_detailed(app, hda)),
        ),
        (None, Some(id)) => (
            Some("dataset_collection"),
            child_shape(app, id, forest, hdas),
        ),
        (None, None) => (None, Value::Null),
    };
    json!({
        "model_class": "DatasetCollectionElement",
        "id": app.encode(element.id),
        "element_index": element.index,
        "element_identifier": element.identifier,
        "element_type": element_type,
        "object": object,
        "columns": element.columns,
    })
}

fn child_shape(app: &App, id: i64, forest: &Forest, hdas: &HashMap<i64, Hda>) -> Value {
    let Some(child) = forest.collections.get(&id) else {
        return Value::Null;
    };
    json!({
        "model_class": "DatasetCollection",
        "id": app.encode(id),
        "collection_type": child.collection_type,
        "populated": child.populated_state == "ok",
        "populated_state": child.populated_state,
        "populated_state_message": child.populated_state_message,
        "element_count": child.element_count,
        "contents_url": null,
        "elements": elements(app, id, forest, hdas),
    })
}

fn summarise(forest: &Forest, hdas: &HashMap<i64, Hda>) -> Summary {
    let mut summary = Summary::default();
    for element in forest.elements.values().flatten() {
        match element.hda_id.and_then(|id| hdas.get(&id)) {
            Some(hda) => {
                *summary.states.entry(hda.state.clone()).or_default() += 1;
                summary.datatypes.insert(hda.extension.clone());
                summary.deleted += i64::from(hda.deleted);
            }
            None if element.child_id.is_none() => summary.missing += 1,
            None => {}
        }
    }
    summary
}

/// Reads everything that [`hdca_detailed`] shows, and shows it.
pub async fn load_hdca(
    app: &App,
    query: &mut impl Query,
    caller: &Caller,
    hdca: &Hdca,
) -> Result<Value, StoreError> {
    let forest = collections::forest(query, &[hdca.collection.id]).await?;
    let mut hdas = datasets::by_ids(query, &forest.hda_ids()).await?;
    access::grant(query, caller, &mut hdas).await?;
    let jobs = jobs_of(query, std::iter::once(hdca)).await?;
    let jobs = hdca
        .implicit_collection_jobs_id
        .and_then(|id| jobs.get(&id));
    Ok(hdca_detailed(app, hdca, jobs, &forest, &hdas))
}

/// The summaries of HDCAs by their ids, with as many statements for many as for one.
pub async fn load_hdca_summaries(
    app: &App,
    query: &mut impl Query,
    ids: &[i64],
) -> Result<HashMap<i64, Value>, StoreError> {
    let hdcas = collections::by_ids(query, ids).await?;
    let mut roots: Vec<i64> = hdcas.values().map(|h| h.collection.id).collect();
    roots.sort_unstable();
    roots.dedup();
    let summaries = collections::summaries(query, &roots).await?;
    let jobs = jobs_of(query, hdcas.values()).await?;
    let nothing = Summary::default();
    Ok(hdcas
        .values()
        .map(|hdca| {
            let summary = summaries.get(&hdca.collection.id).unwrap_or(&nothing);
            let jobs = hdca
                .implicit_collection_jobs_id
                .and_then(|id| jobs.get(&id));
            (hdca.id, hdca_summary(app, hdca, summary, jobs))
        })
        .collect())
}

async fn jobs_of<'a>(
    query: &mut impl Query,
    hdcas: impl Iterator<Item = &'a Hdca>,
) -> Result<HashMap<i64, BTreeMap<String, i64>>, StoreError> {
    let ids: Vec<i64> = hdcas
        .filter_map(|h| h.implicit_collection_jobs_id)
        .collect();
    datasets::job_states(query, &ids).await
}
