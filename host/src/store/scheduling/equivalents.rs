//! Results that are there already (Galaxy's use_cached_job): a new job that would compute what an earlier one did is over
//! when it is made, and its outputs are new names for the earlier one's data.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::known::ids;
use crate::args;
use crate::invoker::known::Hid;
use crate::invoker::stop::Wait;
use crate::invoker::writes::{NewCollection, NewElement, NewHda, NewIds, NewJob, Writes};
use crate::model::state::{DatasetState, JobState};
use crate::store::db::{Query, StoreError, Tx, blocks, placeholders};

/// Earlier jobs looked at for one new job, newest first: their outputs may be deleted.
const CANDIDATES: usize = 5;

/// What jobs that would compute the same have in common: tool and version, parameters, and the data they read, however
/// these are called.
pub fn key(job: &NewJob) -> String {
    let mut hash = Sha256::new();
    let mut put = |part: &str| {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    };
    put(&job.tool_id);
    put(&job.tool_version);
    put(&job.dynamic_tool_id.unwrap_or_default().to_string());
    put(&without_references(&job.params).to_string());
    for input in &job.inputs {
        put(&input.name);
        put(&input.dataset_id.to_string());
        put(input.element_identifier.as_deref().unwrap_or_default());
    }
    put(job.structure.as_deref().unwrap_or_default());
    hex::encode(&hash.finalize()[..20])
}

/// Parameters in one order, without the ids of what they refer to and without what the server added.
fn without_references(value: &Value) -> Value {
    match value {
        Value::Object(object) if object.contains_key("src") && object.contains_key("id") => {
            object["src"].clone()
        }
        Value::Object(object) => {
            let sorted: BTreeMap<&String, Value> = object
                .iter()
                .filter(|(name, _)| !name.starts_with("__"))
                .map(|(name, inner)| (name, without_references(inner)))
                .collect();
            let sorted = sorted.into_iter().map(|(name, v)| (name.clone(), v));
            Value::Object(sorted.collect())
        }
        Value::Array(items) => items.iter().map(without_references).collect(),
        other => other.clone(),
    }
}

/// An earlier job's outputs, all of them sound.
struct Earlier {
    id: i64,
    /// Name → hda, dataset.
    outputs: HashMap<String, (i64, i64)>,
    /// Name → collection.
    collections: HashMap<String, i64>,
}

/// Lets those of the new jobs that may, take the results of earlier ones of the same user.
pub async fn reuse(
    tx: &mut Tx,
    user_id: i64,
    new_ids: &dyn NewIds,
    writes: &mut Writes,
) -> Result<(), StoreError> {
    if !writes.jobs.iter().any(|job| job.use_cached) {
        return Ok(());
    }
    let places: HashMap<i64, usize> = writes
        .hdas
        .iter()
        .enumerate()
        .map(|(n, hda)| (hda.id, n))
        .collect();
    // New datasets that are not made: what stands for them.
    let mut shared: HashMap<i64, i64> = HashMap::new();
    let mut over: Vec<i64> = Vec::new();
    for n in 0..writes.jobs.len() {
        let job = &mut writes.jobs[n];
        for input in &mut job.inputs {
            if let Some(dataset) = shared.get(&input.dataset_id) {
                input.dataset_id = *dataset;
            }
        }
        if !job.use_cached || job.state != JobState::New {
            continue;
        }
        let Some(earlier) = find(tx, user_id, job).await? else {
            continue;
        };
        job.state = JobState::Ok;
        job.copied_from = Some(earlier.id);
        over.push(job.id);
        let outputs = job.outputs.clone();
        let collections = job.output_collections.clone();
        for (name, hda) in outputs {
            let (Some((source, dataset)), Some(place)) =
                (earlier.outputs.get(&name), places.get(&hda))
            else {
                continue;
            };
            let hda = &mut writes.hdas[*place];
            shared.insert(hda.dataset_id, *dataset);
            (hda.dataset_id, hda.copied_from) = (*dataset, Some(*source));
            (hda.own_extension, hda.state) = (false, DatasetState::Ok);
        }
        for (name, _, collection) in collections {
            if let Some(source) = earlier.collections.get(&name) {
                copy_elements(tx, new_ids, *source, collection, writes).await?;
            }
        }
    }
    for hda in &mut writes.hdas {
        if let (Some(_), Some(dataset)) = (hda.copied_from, shared.get(&hda.dataset_id)) {
            hda.dataset_id = *dataset;
        }
    }
    for wait in &mut writes.waits {
        let is_over = match wait {
            Wait::Dataset(id) => shared.contains_key(id),
            Wait::Job(id) => over.contains(id),
            _ => false,
        };
        if is_over {
            *wait = Wait::Budget;
        }
    }
    Ok(())
}

async fn find(tx: &mut Tx, user_id: i64, job: &NewJob) -> Result<Option<Earlier>, StoreError> {
    let candidates = tx
        .all(
            "SELECT id FROM job WHERE user_id = $1 AND equivalence_key = $2 AND state = 'ok' ORDER BY id DESC LIMIT $3",
            args![user_id, key(job), CANDIDATES],
        )
        .await?;
    for row in candidates {
        let mut earlier = Earlier {
            id: row.get(0)?,
            outputs: HashMap::new(),
            collections: HashMap::new(),
        };
        let outputs = tx
            .all(
                "SELECT o.name, a.id, a.dataset_id FROM job_to_output_dataset o
                 JOIN history_dataset_association a ON a.id = o.hda_id JOIN dataset d ON d.id = a.dataset_id
                 WHERE o.job_id = $1 AND d.state = 'ok' AND NOT a.deleted AND NOT a.purged AND NOT d.deleted AND NOT d.purged",
                args![earlier.id],
            )
            .await?;
        for row in outputs {
            earlier
                .outputs
                .insert(row.get(0)?, (row.get(1)?, row.get(2)?));
        }
        let collections = tx
            .all(
                "SELECT o.name, o.collection_id FROM job_to_output_dataset_collection o
                 JOIN dataset_collection c ON c.id = o.collection_id
                 LEFT JOIN history_dataset_collection_association h ON h.id = o.hdca_id
                 WHERE o.job_id = $1 AND c.populated_state = 'ok' AND (h.id IS NULL OR NOT h.deleted)",
                args![earlier.id],
            )
            .await?;
        for row in collections {
            earlier.collections.insert(row.get(0)?, row.get(1)?);
        }
        let all = job
            .outputs
            .iter()
            .all(|(name, _)| earlier.outputs.contains_key(name))
            && job
                .output_collections
                .iter()
                .all(|(name, ..)| earlier.collections.contains_key(name));
        if all {
            return Ok(Some(earlier));
        }
    }
    Ok(None)
}

/// Fills a new collection with new names for what an earlier one holds.
async fn copy_elements(
    tx: &mut Tx,
    new_ids: &dyn NewIds,
    from: i64,
    to: i64,
    writes: &mut Writes,
) -> Result<(), StoreError> {
    let mut level = vec![(from, to)];
    while !level.is_empty() {
        let mut next = Vec::new();
        let sources: Vec<i64> = level.iter().map(|(from, _)| *from).collect();
        let targets: HashMap<i64, i64> = level.iter().copied().collect();
        let mut counts: HashMap<i64, i64> = targets.values().map(|to| (*to, 0)).collect();
        for block in blocks(&sources) {
            let sql = format!(
                "SELECT e.dataset_collection_id, e.element_index, e.element_identifier, e.hda_id, e.child_collection_id,
                        c.collection_type, a.dataset_id, a.name, a.extension
                 FROM dataset_collection_element e
                 LEFT JOIN dataset_collection c ON c.id = e.child_collection_id
                 LEFT JOIN history_dataset_association a ON a.id = e.hda_id
                 WHERE e.dataset_collection_id IN ({}) ORDER BY e.dataset_collection_id, e.element_index",
                placeholders(1, block.len())
            );
            for row in tx.all(sql, ids(block)).await? {
                let parent = targets[&row.get::<i64>(0)?];
                let source: Option<i64> = row.get(3)?;
                let child: Option<i64> = row.get(4)?;
                let mut element = NewElement {
                    id: new_ids.element(),
                    collection_id: parent,
                    index: row.get(1)?,
                    identifier: row.get(2)?,
                    hda_id: None,
                    child_collection_id: None,
                };
                if let Some(source) = source {
                    let hda = NewHda {
                        id: new_ids.hda(),
                        dataset_id: row.get(6)?,
                        hid: Hid::New(0),
                        name: row.get(7)?,
                        extension: row.get(8)?,
                        state: DatasetState::Ok,
                        visible: false,
                        tags: Vec::new(),
                        dbkey: "?".to_owned(),
                        blurb: None,
                        info: None,
                        content: None,
                        copied_from: Some(source),
                        own_extension: false,
                    };
                    element.hda_id = Some(hda.id);
                    let hid = writes.next_hid();
                    writes.hdas.push(NewHda { hid, ..hda });
                } else if let Some(child) = child {
                    let id = new_ids.collection();
                    element.child_collection_id = Some(id);
                    writes.collections.push(NewCollection {
                        id,
                        collection_type: row.get(5)?,
                        populated: false,
                        element_count: None,
                    });
                    next.push((child, id));
                }
                *counts.entry(parent).or_default() += 1;
                writes.elements.push(element);
            }
        }
        for collection in &mut writes.collections {
            if let Some(count) = counts.get(&collection.id) {
                collection.populated = true;
                collection.element_count = Some(*count);
            }
        }
        level = next;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invoker::writes::JobInput;
    use serde_json::json;

    fn job(params: Value, dataset_id: i64) -> NewJob {
        NewJob {
            id: 1,
            uuid: uuid::Uuid::nil(),
            invocation_id: None,
            tool_id: "cat1".into(),
            tool_version: "1".into(),
            dynamic_tool_id: None,
            state: JobState::New,
            params,
            inputs: vec![JobInput {
                name: "input1".into(),
                hda_id: 5,
                dataset_id,
                element_identifier: None,
            }],
            input_collections: vec![],
            outputs: vec![],
            output_collections: vec![],
            post_job_action_ids: vec![],
            cores: 1,
            memory_mb: 1,
            use_cached: true,
            copied_from: None,
            structure: None,
        }
    }

    #[test]
    fn the_same_data_under_another_name_are_the_same() {
        let one = job(
            json!({"a": {"x": 1, "y": 2}, "input1": {"src": "hda", "id": 5}, "__workflow_invocation_uuid__": "u"}),
            50,
        );
        let same = job(
            json!({"input1": {"src": "hda", "id": 6}, "a": {"y": 2, "x": 1}}),
            50,
        );
        assert_eq!(key(&one), key(&same));
    }

    #[test]
    fn other_data_parameters_versions_and_shapes_are_not_the_same() {
        let params = || json!({"input1": {"src": "hda", "id": 5}, "n": 1});
        let one = job(params(), 50);
        assert_ne!(key(&one), key(&job(params(), 51)));
        assert_ne!(
            key(&one),
            key(&job(json!({"input1": {"src": "hda", "id": 5}, "n": 2}), 50))
        );
        assert_ne!(
            key(&one),
            key(&NewJob {
                tool_version: "2".into(),
                ..one.clone()
            })
        );
        assert_ne!(
            key(&one),
            key(&NewJob {
                structure: Some("list(a,b)".into()),
                ..one.clone()
            })
        );
    }
}
