//! Loading datasets and collections by id, in blocks.

use std::collections::{HashMap, HashSet};

use crate::invoker::known::{Collection, Element, ElementObject, Hda, Hdca, Hid, Known, Populated};
use crate::model::state::DatasetState;
use crate::store::db::{Query, Row, StoreError, Val, blocks, placeholders};

/// Loads what is not in `known` yet: the datasets, the collections, and the datasets in them.
pub async fn load(
    q: &mut impl Query,
    known: &mut Known,
    hda_ids: impl IntoIterator<Item = i64>,
    hdca_ids: impl IntoIterator<Item = i64>,
) -> Result<(), StoreError> {
    let mut hdas: HashSet<i64> = hda_ids.into_iter().collect();
    let hdcas: Vec<i64> = hdca_ids
        .into_iter()
        .collect::<HashSet<_>>()
        .into_iter()
        .collect();
    load_collections(q, known, &hdcas, &mut hdas).await?;
    let missing: Vec<i64> = hdas
        .into_iter()
        .filter(|id| !known.hdas.contains_key(id))
        .collect();
    for block in blocks(&missing) {
        let sql = format!(
            "SELECT a.id, a.dataset_id, a.hid, a.name, a.extension, d.state, a.deleted, a.purged, a.metadata, d.file_size, a.blurb, a.tags
             FROM history_dataset_association a JOIN dataset d ON d.id = a.dataset_id WHERE a.id IN ({})",
            placeholders(1, block.len())
        );
        for row in q.all(sql, ids(block)).await? {
            let hda = hda(&row)?;
            known.hdas.insert(hda.id, hda);
        }
    }
    Ok(())
}

/// The arguments of an `IN` made by [`placeholders`].
pub(in crate::store) fn ids(block: &[i64]) -> Vec<Val> {
    block.iter().copied().map(Val::from).collect()
}

fn hda(row: &Row) -> Result<Hda, StoreError> {
    let metadata: String = row.get(8)?;
    let blurb: Option<String> = row.get(10)?;
    let extension: String = row.get(4)?;
    Ok(Hda {
        id: row.get(0)?,
        dataset_id: row.get(1)?,
        hid: Hid::Given(row.get(2)?),
        name: row.get(3)?,
        state: state(&row.get::<String>(5)?)?,
        deleted: row.get(6)?,
        purged: row.get(7)?,
        dbkey: dbkey(&metadata),
        size: row.get(9)?,
        skipped: extension == "expression.json" && blurb.as_deref() == Some("skipped"),
        tags: tags(&row.get::<String>(11)?),
        extension,
    })
}

fn tags(stored: &str) -> Vec<String> {
    match stored {
        "[]" => Vec::new(),
        stored => serde_json::from_str(stored).unwrap_or_default(),
    }
}

fn dbkey(metadata: &str) -> Option<String> {
    if !metadata.contains("\"dbkey\"") {
        return None;
    }
    let parsed: serde_json::Value = serde_json::from_str(metadata).ok()?;
    match &parsed["dbkey"] {
        serde_json::Value::Array(keys) => keys.first()?.as_str().map(str::to_owned),
        key => key.as_str().map(str::to_owned),
    }
}

/// A dataset's state by its stored code.
pub fn state(code: &str) -> Result<DatasetState, StoreError> {
    code.parse().map_err(|_| StoreError::Unknown {
        what: "dataset state",
        value: code.to_owned(),
    })
}

/// Elements of collections by their own id, with what is in them.
pub async fn load_elements(
    q: &mut impl Query,
    known: &mut Known,
    element_ids: &[i64],
) -> Result<HashMap<i64, ElementObject>, StoreError> {
    let mut found = HashMap::new();
    let mut roots = Vec::new();
    let mut hdas = HashSet::new();
    for block in blocks(element_ids) {
        let sql = format!(
            "SELECT id, hda_id, child_collection_id FROM dataset_collection_element WHERE id IN ({})",
            placeholders(1, block.len())
        );
        for row in q.all(sql, ids(block)).await? {
            match (row.get::<Option<i64>>(1)?, row.get::<Option<i64>>(2)?) {
                (Some(hda), _) => {
                    hdas.insert(hda);
                    found.insert(row.get(0)?, ElementObject::Hda(hda));
                }
                (None, Some(child)) => roots.push((row.get::<i64>(0)?, child)),
                (None, None) => {}
            }
        }
    }
    let shells = load_shells(
        q,
        roots.iter().map(|(_, child)| *child).collect(),
        &mut hdas,
    )
    .await?;
    for (element, child) in roots {
        if let Some(collection) = build(child, &shells) {
            found.insert(element, ElementObject::Collection(collection));
        }
    }
    Box::pin(load(q, known, hdas, [])).await?;
    Ok(found)
}

/// The uuids of user-defined tools.
pub async fn dynamic_tool_uuids(
    q: &mut impl Query,
    tool_ids: &[i64],
) -> Result<HashMap<i64, uuid::Uuid>, StoreError> {
    let mut found = HashMap::new();
    for block in blocks(tool_ids) {
        let sql = format!(
            "SELECT id, uuid FROM dynamic_tool WHERE id IN ({})",
            placeholders(1, block.len())
        );
        for row in q.all(sql, ids(block)).await? {
            let text: String = row.get(1)?;
            if let Ok(uuid) = text.parse() {
                found.insert(row.get(0)?, uuid);
            }
        }
    }
    Ok(found)
}

struct Shell {
    collection_type: String,
    populated: Populated,
    elements: Vec<(i64, String, Option<i64>, Option<i64>)>,
}

async fn load_collections(
    q: &mut impl Query,
    known: &mut Known,
    hdca_ids: &[i64],
    hdas: &mut HashSet<i64>,
) -> Result<(), StoreError> {
    let missing: Vec<i64> = hdca_ids
        .iter()
        .copied()
        .filter(|id| !known.hdcas.contains_key(id))
        .collect();
    let mut roots = Vec::new();
    for block in blocks(&missing) {
        // An unfinished job: the last of those that fill the collection, directly or slice by slice.
        let sql = format!(
            "SELECT a.id, a.collection_id, a.hid, a.name, a.deleted,
                CASE WHEN j.id IS NOT NULL THEN j.id
                     WHEN a.implicit_collection_jobs_id IS NOT NULL THEN
                        (SELECT k.id FROM implicit_collection_jobs_job_association g JOIN job k ON k.id = g.job_id
                          WHERE g.implicit_collection_jobs_id = a.implicit_collection_jobs_id
                            AND k.state NOT IN ('deleted', 'error', 'failed', 'ok', 'skipped')
                          ORDER BY g.order_index DESC LIMIT 1) END AS unfinished
             FROM history_dataset_collection_association a
             JOIN dataset_collection c ON c.id = a.collection_id
             LEFT JOIN job j ON j.id = a.job_id AND j.state NOT IN ('deleted', 'error', 'failed', 'ok', 'skipped')
             WHERE a.id IN ({})",
            placeholders(1, block.len())
        );
        for row in q.all(sql, ids(block)).await? {
            let root: (i64, i64, i64, String, bool, Option<i64>) = (
                row.get(0)?,
                row.get(1)?,
                row.get(2)?,
                row.get(3)?,
                row.get(4)?,
                row.get(5)?,
            );
            roots.push(root);
        }
    }
    let shells = load_shells(q, roots.iter().map(|r| r.1).collect(), hdas).await?;
    for (id, collection_id, hid, name, deleted, unfinished_job) in roots {
        let Some(collection) = build(collection_id, &shells) else {
            continue;
        };
        known.hdcas.insert(
            id,
            Hdca {
                id,
                hid: Hid::Given(hid),
                name,
                deleted,
                collection,
                unfinished_job,
            },
        );
    }
    Ok(())
}

/// Collections level by level: two statements per level and block.
async fn load_shells(
    q: &mut impl Query,
    mut level: Vec<i64>,
    hdas: &mut HashSet<i64>,
) -> Result<HashMap<i64, Shell>, StoreError> {
    let mut shells: HashMap<i64, Shell> = HashMap::new();
    while !level.is_empty() {
        let mut next = Vec::new();
        for block in blocks(&level) {
            let sql = format!(
                "SELECT id, collection_type, populated_state FROM dataset_collection WHERE id IN ({})",
                placeholders(1, block.len())
            );
            for row in q.all(sql, ids(block)).await? {
                let populated: String = row.get(2)?;
                let shell = Shell {
                    collection_type: row.get(1)?,
                    populated: match populated.as_str() {
                        "ok" => Populated::Ok,
                        "new" => Populated::New,
                        _ => Populated::Failed,
                    },
                    elements: Vec::new(),
                };
                shells.insert(row.get(0)?, shell);
            }
            let sql = format!(
                "SELECT id, dataset_collection_id, element_identifier, hda_id, child_collection_id
                 FROM dataset_collection_element WHERE dataset_collection_id IN ({})
                 ORDER BY dataset_collection_id, element_index",
                placeholders(1, block.len())
            );
            for row in q.all(sql, ids(block)).await? {
                let (hda_id, child): (Option<i64>, Option<i64>) = (row.get(3)?, row.get(4)?);
                hdas.extend(hda_id);
                next.extend(child);
                if let Some(shell) = shells.get_mut(&row.get::<i64>(1)?) {
                    shell
                        .elements
                        .push((row.get(0)?, row.get(2)?, hda_id, child));
                }
            }
        }
        level = next;
    }
    Ok(shells)
}

fn build(id: i64, shells: &HashMap<i64, Shell>) -> Option<Collection> {
    let shell = shells.get(&id)?;
    let elements = shell
        .elements
        .iter()
        .filter_map(|(element, identifier, hda, child)| {
            let object = match (hda, child) {
                (Some(hda), _) => ElementObject::Hda(*hda),
                (None, Some(child)) => ElementObject::Collection(build(*child, shells)?),
                (None, None) => return None,
            };
            Some(Element {
                id: *element,
                identifier: identifier.clone(),
                object,
            })
        });
    Some(Collection {
        id,
        collection_type: shell.collection_type.clone(),
        populated: shell.populated,
        elements: elements.collect(),
    })
}
