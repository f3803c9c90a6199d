//! Datasets as they appear in histories (HDAs): reading, adding, copying, deleting.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::db::{Query, Row, StoreError, Tx, blocks, placeholders};
use super::ids::Ids;
use crate::args;

/// A dataset in a history, with what is known of its bytes and of the history that it is in.
#[derive(Debug, Clone)]
pub struct Hda {
    pub id: i64,
    pub history_id: i64,
    pub dataset_id: i64,
    pub hid: i64,
    pub name: String,
    pub info: Option<String>,
    pub blurb: Option<String>,
    pub peek: Option<String>,
    pub extension: String,
    pub metadata: Value,
    pub visible: bool,
    pub deleted: bool,
    pub purged: bool,
    pub version: i64,
    pub annotation: Option<String>,
    pub tags: Value,
    pub copied_from: Option<i64>,
    pub create_time: i64,
    pub update_time: i64,
    pub uuid: String,
    pub state: String,
    pub file_size: Option<i64>,
    pub total_size: Option<i64>,
    pub created_from_basename: Option<String>,
    /// `unknown`, `ok` or `invalid`, and why.
    pub validated_state: String,
    pub validated_state_message: Option<String>,
    /// The job that made the bytes, also where this is a copy.
    pub creating_job: Option<i64>,
    /// The history's owner, and whether others may read it.
    pub user_id: i64,
    pub is_shared: bool,
    /// What the owner said about who may read it: `public`, `private`, `roles`.
    pub access: Option<String>,
    /// Whoever may see that it is there may read it. False where its owner said otherwise, until it is found that the reader at
    /// hand may read it all the same (`http::access`).
    pub readable: bool,
}

const SELECT: &str = "SELECT a.id, a.history_id, a.dataset_id, a.hid, a.name, a.info, a.blurb, a.peek, a.extension, \
     a.metadata, a.visible, a.deleted, a.purged, a.version, a.annotation, a.tags, \
     a.copied_from_history_dataset_association_id AS copied_from, a.create_time, a.update_time, \
     d.uuid, d.state, d.file_size, d.total_size, d.created_from_basename, a.validated_state, a.validated_state_message, \
     (SELECT o.job_id FROM history_dataset_association m JOIN job_to_output_dataset o ON o.hda_id = m.id \
        WHERE m.dataset_id = a.dataset_id ORDER BY o.id LIMIT 1) AS creating_job, \
     h.user_id, d.access, CASE d.access WHEN 'public' THEN TRUE WHEN 'private' THEN FALSE WHEN 'roles' THEN FALSE \
     ELSE (h.published OR h.importable) END AS is_shared \
     FROM history_dataset_association a JOIN dataset d ON d.id = a.dataset_id JOIN history h ON h.id = a.history_id";

fn hda(row: &Row) -> Result<Hda, StoreError> {
    Ok(Hda {
        id: row.get("id")?,
        history_id: row.get("history_id")?,
        dataset_id: row.get("dataset_id")?,
        hid: row.get("hid")?,
        name: row.get("name")?,
        info: row.get("info")?,
        blurb: row.get("blurb")?,
        peek: row.get("peek")?,
        extension: row.get("extension")?,
        metadata: row.json("metadata")?,
        visible: row.get("visible")?,
        deleted: row.get("deleted")?,
        purged: row.get("purged")?,
        version: row.get("version")?,
        annotation: row.get("annotation")?,
        tags: row.json("tags")?,
        copied_from: row.get("copied_from")?,
        create_time: row.get("create_time")?,
        update_time: row.get("update_time")?,
        uuid: row.get("uuid")?,
        state: row.get("state")?,
        file_size: row.get("file_size")?,
        total_size: row.get("total_size")?,
        created_from_basename: row.get("created_from_basename")?,
        validated_state: row.get("validated_state")?,
        validated_state_message: row.get("validated_state_message")?,
        creating_job: row.get("creating_job")?,
        user_id: row.get("user_id")?,
        is_shared: row.get("is_shared")?,
        readable: !matches!(
            row.get::<Option<String>>("access")?.as_deref(),
            Some("private" | "roles")
        ),
        access: row.get("access")?,
    })
}

/// The HDA with an id.
pub async fn by_id(query: &mut impl Query, id: i64) -> Result<Option<Hda>, StoreError> {
    let sql = format!("{SELECT} WHERE a.id = $1");
    query
        .maybe(sql, args![id])
        .await?
        .as_ref()
        .map(hda)
        .transpose()
}

/// The HDAs that show a dataset.
pub async fn showing(query: &mut impl Query, dataset_id: i64) -> Result<Vec<i64>, StoreError> {
    let sql = "SELECT id FROM history_dataset_association WHERE dataset_id = $1 ORDER BY id";
    let rows = query.all(sql, args![dataset_id]).await?;
    rows.iter().map(|row| row.get(0)).collect()
}

/// The HDAs with these ids; those that do not exist are left out.
pub async fn by_ids(query: &mut impl Query, ids: &[i64]) -> Result<HashMap<i64, Hda>, StoreError> {
    let mut found = HashMap::with_capacity(ids.len());
    for block in blocks(ids) {
        let sql = format!("{SELECT} WHERE a.id IN ({})", placeholders(1, block.len()));
        let args = block.iter().map(|id| (*id).into()).collect();
        for row in &query.all(sql, args).await? {
            let hda = hda(row)?;
            found.insert(hda.id, hda);
        }
    }
    Ok(found)
}

/// An HDA to be added. Its dataset is new with it.
#[derive(Debug, Clone)]
pub struct NewDataset {
    pub dataset_id: i64,
    pub hda_id: i64,
    pub history_id: i64,
    pub hid: i64,
    pub name: String,
    pub extension: String,
    pub state: &'static str,
    pub info: Option<String>,
    pub blurb: Option<String>,
    pub peek: Option<String>,
    pub metadata: Value,
    pub visible: bool,
    pub tags: Value,
    pub file_size: i64,
    pub created_from_basename: Option<String>,
}

/// Adds datasets and the HDAs that show them.
pub async fn insert(tx: &mut Tx, new: &[NewDataset], now_ms: i64) -> Result<(), StoreError> {
    let datasets = new.iter().map(|n| {
        args![
            n.dataset_id,
            uuid::Uuid::new_v4(),
            n.state,
            n.file_size,
            n.file_size,
            &n.created_from_basename,
            now_ms,
            now_ms
        ]
    });
    tx.insert_many(
        "INSERT INTO dataset (id, uuid, state, file_size, total_size, created_from_basename, create_time, \
         update_time) VALUES",
        8,
        "",
        datasets.collect(),
    )
    .await?;
    let hdas = new.iter().map(|n| {
        args![
            n.hda_id,
            n.history_id,
            n.dataset_id,
            n.hid,
            &n.name,
            &n.info,
            &n.blurb,
            &n.peek,
            &n.extension,
            &n.metadata,
            n.visible,
            &n.tags,
            now_ms,
            now_ms
        ]
    });
    tx.insert_many(
        "INSERT INTO history_dataset_association (id, history_id, dataset_id, hid, name, info, blurb, peek, \
         extension, metadata, visible, tags, create_time, update_time) VALUES",
        14,
        "",
        hdas.collect(),
    )
    .await
}

/// Copies HDAs into a history: new HDAs that show the same datasets. Gives the copies' ids in the same order;
/// they take `first_hid` and what follows it.
pub async fn copy(
    tx: &mut Tx,
    ids: &Ids,
    sources: &[&Hda],
    history_id: i64,
    first_hid: i64,
    visible: Option<bool>,
    now_ms: i64,
) -> Result<Vec<i64>, StoreError> {
    let mut copies = Vec::with_capacity(sources.len());
    let mut rows = Vec::with_capacity(sources.len());
    for (hid, source) in (first_hid..).zip(sources) {
        let id = ids.hda();
        copies.push(id);
        rows.push(args![
            id,
            history_id,
            source.dataset_id,
            hid,
            &source.name,
            &source.info,
            &source.blurb,
            &source.peek,
            &source.extension,
            &source.metadata,
            visible.unwrap_or(source.visible),
            source.deleted,
            source.purged,
            &source.tags,
            &source.annotation,
            source.id,
            now_ms,
            now_ms
        ]);
    }
    tx.insert_many(
        "INSERT INTO history_dataset_association (id, history_id, dataset_id, hid, name, info, blurb, peek, \
         extension, metadata, visible, deleted, purged, tags, annotation, \
         copied_from_history_dataset_association_id, create_time, update_time) VALUES",
        18,
        "",
        rows,
    )
    .await?;
    Ok(copies)
}

/// What is to change of an HDA; `None` leaves a thing as it is.
#[derive(Debug, Clone, Default)]
pub struct HdaChange {
    pub name: Option<String>,
    pub extension: Option<String>,
    pub info: Option<String>,
    pub annotation: Option<String>,
    pub deleted: Option<bool>,
    pub visible: Option<bool>,
    pub tags: Option<Value>,
    pub metadata: Option<Value>,
}

/// Changes an HDA and moves its history's update time.
pub async fn update(
    tx: &mut Tx,
    hda: &Hda,
    change: &HdaChange,
    now_ms: i64,
) -> Result<(), StoreError> {
    tx.run(
        "UPDATE history_dataset_association SET name = $2, extension = $3, info = $4, annotation = $5, deleted = $6, \
         visible = $7, tags = $8, metadata = $9, version = version + 1, update_time = $10 WHERE id = $1",
        args![
            hda.id,
            change.name.as_ref().unwrap_or(&hda.name),
            change.extension.as_ref().unwrap_or(&hda.extension),
            change.info.as_ref().or(hda.info.as_ref()).cloned(),
            change.annotation.as_ref().or(hda.annotation.as_ref()).cloned(),
            change.deleted.unwrap_or(hda.deleted),
            change.visible.unwrap_or(hda.visible),
            change.tags.as_ref().unwrap_or(&hda.tags),
            change.metadata.as_ref().unwrap_or(&hda.metadata),
            now_ms
        ],
    )
    .await?;
    super::histories::touch(tx, hda.history_id, now_ms).await
}

/// Marks HDAs as deleted.
pub async fn delete(tx: &mut Tx, hda_ids: &[i64], now_ms: i64) -> Result<(), StoreError> {
    for block in blocks(hda_ids) {
        let sql = format!(
            "UPDATE history_dataset_association SET deleted = TRUE, update_time = $1 WHERE id IN ({})",
            placeholders(2, block.len())
        );
        let mut args = args![now_ms];
        args.extend(block.iter().map(|id| super::db::Val::from(*id)));
        tx.run(sql, args).await?;
    }
    Ok(())
}

/// Hides those of the HDAs that are in a history.
pub async fn hide(
    tx: &mut Tx,
    hda_ids: &[i64],
    history_id: i64,
    now_ms: i64,
) -> Result<(), StoreError> {
    for block in blocks(hda_ids) {
        let sql = format!(
            "UPDATE history_dataset_association SET visible = FALSE, update_time = $1 WHERE history_id = $2 \
             AND id IN ({})",
            placeholders(3, block.len())
        );
        let mut args = args![now_ms, history_id];
        args.extend(block.iter().map(|id| super::db::Val::from(*id)));
        tx.run(sql, args).await?;
    }
    Ok(())
}

/// Marks HDAs as deleted for good. Gives the datasets that no other HDA shows any more: their files may be
/// removed once this is committed.
pub async fn purge(tx: &mut Tx, hda_ids: &[i64], now_ms: i64) -> Result<Vec<i64>, StoreError> {
    let mut orphans = Vec::new();
    for block in blocks(hda_ids) {
        if tx.has_rivals() {
            // Of those who purge the last HDAs of a dataset, the last one to come here sees that no other is left.
            let list = placeholders(1, block.len());
            let shown =
                format!("SELECT dataset_id FROM history_dataset_association WHERE id IN ({list})");
            let shown = tx
                .all(shown, block.iter().map(|id| (*id).into()).collect())
                .await?;
            let shown: Vec<i64> = shown
                .iter()
                .map(|row| row.get(0))
                .collect::<Result<_, _>>()?;
            tx.lock("dataset", &shown).await?;
        }
        let list = placeholders(2, block.len());
        let mut args = args![now_ms];
        args.extend(block.iter().map(|id| super::db::Val::from(*id)));
        tx.run(
            format!(
                "UPDATE history_dataset_association SET deleted = TRUE, purged = TRUE, update_time = $1 \
                 WHERE id IN ({list})"
            ),
            args.clone(),
        )
        .await?;
        let rows = tx
            .all(
                format!(
                    "UPDATE dataset SET deleted = TRUE, purged = TRUE, update_time = $1 WHERE NOT purged AND id IN \
                     (SELECT dataset_id FROM history_dataset_association WHERE id IN ({list})) \
                     AND NOT EXISTS (SELECT 1 FROM history_dataset_association o \
                     WHERE o.dataset_id = dataset.id AND NOT o.purged) RETURNING id"
                ),
                args,
            )
            .await?;
        for row in rows {
            orphans.push(row.get(0)?);
        }
    }
    Ok(orphans)
}

/// How many jobs with which state made the elements of mapped collections: (implicit collection jobs, state, count).
pub async fn job_states(
    query: &mut impl Query,
    implicit_collection_jobs: &[i64],
) -> Result<HashMap<i64, BTreeMap<String, i64>>, StoreError> {
    let mut found: HashMap<i64, BTreeMap<String, i64>> = HashMap::new();
    for block in blocks(implicit_collection_jobs) {
        let sql = format!(
            "SELECT i.implicit_collection_jobs_id, j.state, COUNT(*) FROM implicit_collection_jobs_job_association i \
             JOIN job j ON j.id = i.job_id WHERE i.implicit_collection_jobs_id IN ({}) GROUP BY 1, 2",
            placeholders(1, block.len())
        );
        let args = block.iter().map(|id| (*id).into()).collect();
        for row in query.all(sql, args).await? {
            found
                .entry(row.get(0)?)
                .or_default()
                .insert(row.get(1)?, row.get(2)?);
        }
    }
    Ok(found)
}
