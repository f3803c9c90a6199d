//! Dataset collections: the trees, and the entries in histories (HDCAs) that show them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use super::db::{Query, Row, StoreError, Tx, Val, blocks, placeholders};
use super::ids::Ids;
use crate::args;

/// A collection in a history.
#[derive(Debug, Clone)]
pub struct Hdca {
    pub id: i64,
    pub collection: Collection,
    pub history_id: i64,
    pub hid: i64,
    pub name: String,
    pub visible: bool,
    pub deleted: bool,
    pub annotation: Option<String>,
    pub tags: Value,
    pub implicit_output_name: Option<String>,
    pub job_id: Option<i64>,
    pub implicit_collection_jobs_id: Option<i64>,
    pub create_time: i64,
    pub update_time: i64,
    /// The history's owner, and whether others may read it.
    pub user_id: i64,
    pub is_shared: bool,
}

/// One collection, of whatever depth.
#[derive(Debug, Clone)]
pub struct Collection {
    pub id: i64,
    pub collection_type: String,
    pub populated_state: String,
    pub populated_state_message: Option<String>,
    pub element_count: Option<i64>,
    pub column_definitions: Value,
}

/// One element. Neither dataset nor child: it is not known yet.
#[derive(Debug, Clone)]
pub struct Element {
    pub id: i64,
    pub collection_id: i64,
    pub index: i64,
    pub identifier: String,
    pub hda_id: Option<i64>,
    pub child_id: Option<i64>,
    pub columns: Value,
}

const COLLECTION_COLUMNS: &str = "k.id AS collection_id, k.collection_type, k.populated_state, \
     k.populated_state_message, k.element_count, k.column_definitions";

fn collection(row: &Row) -> Result<Collection, StoreError> {
    Ok(Collection {
        id: row.get("collection_id")?,
        collection_type: row.get("collection_type")?,
        populated_state: row.get("populated_state")?,
        populated_state_message: row.get("populated_state_message")?,
        element_count: row.get("element_count")?,
        column_definitions: row.json("column_definitions")?,
    })
}

fn select_hdca() -> String {
    format!(
        "SELECT a.id, a.history_id, a.hid, a.name, a.visible, a.deleted, a.annotation, a.tags, a.implicit_output_name, \
         a.job_id, a.implicit_collection_jobs_id, a.create_time, a.update_time, h.user_id, \
         (h.published OR h.importable) AS is_shared, {COLLECTION_COLUMNS} \
         FROM history_dataset_collection_association a JOIN dataset_collection k ON k.id = a.collection_id \
         JOIN history h ON h.id = a.history_id"
    )
}

fn hdca(row: &Row) -> Result<Hdca, StoreError> {
    Ok(Hdca {
        id: row.get("id")?,
        collection: collection(row)?,
        history_id: row.get("history_id")?,
        hid: row.get("hid")?,
        name: row.get("name")?,
        visible: row.get("visible")?,
        deleted: row.get("deleted")?,
        annotation: row.get("annotation")?,
        tags: row.json("tags")?,
        implicit_output_name: row.get("implicit_output_name")?,
        job_id: row.get("job_id")?,
        implicit_collection_jobs_id: row.get("implicit_collection_jobs_id")?,
        create_time: row.get("create_time")?,
        update_time: row.get("update_time")?,
        user_id: row.get("user_id")?,
        is_shared: row.get("is_shared")?,
    })
}

/// The HDCA with an id.
pub async fn by_id(query: &mut impl Query, id: i64) -> Result<Option<Hdca>, StoreError> {
    Ok(by_ids(query, &[id]).await?.remove(&id))
}

/// The HDCAs that show a collection.
pub async fn showing(query: &mut impl Query, collection_id: i64) -> Result<Vec<i64>, StoreError> {
    let sql = "SELECT id FROM history_dataset_collection_association WHERE collection_id = $1 ORDER BY id";
    let rows = query.all(sql, args![collection_id]).await?;
    rows.iter().map(|row| row.get(0)).collect()
}

/// What a mapping put out: names of outputs and HDCAs.
pub async fn of_implicit_jobs(
    query: &mut impl Query,
    implicit_collection_jobs_id: i64,
) -> Result<Vec<(String, i64)>, StoreError> {
    let sql = "SELECT implicit_output_name, id FROM history_dataset_collection_association \
         WHERE implicit_collection_jobs_id = $1 ORDER BY id";
    let rows = query.all(sql, args![implicit_collection_jobs_id]).await?;
    let pair = |row: &Row| {
        let name: Option<String> = row.get(0)?;
        Ok((name.unwrap_or_default(), row.get(1)?))
    };
    rows.iter().map(pair).collect()
}

/// The HDCAs with these ids; those that do not exist are left out.
pub async fn by_ids(query: &mut impl Query, ids: &[i64]) -> Result<HashMap<i64, Hdca>, StoreError> {
    let mut found = HashMap::with_capacity(ids.len());
    for block in blocks(ids) {
        let sql = format!(
            "{} WHERE a.id IN ({})",
            select_hdca(),
            placeholders(1, block.len())
        );
        let args = block.iter().map(|id| (*id).into()).collect();
        for row in &query.all(sql, args).await? {
            let hdca = hdca(row)?;
            found.insert(hdca.id, hdca);
        }
    }
    Ok(found)
}

/// Collections and their elements, children included.
#[derive(Debug, Clone, Default)]
pub struct Forest {
    pub collections: HashMap<i64, Collection>,
    /// By collection, in order.
    pub elements: HashMap<i64, Vec<Element>>,
}

impl Forest {
    /// The elements of a collection.
    pub fn elements(&self, collection_id: i64) -> &[Element] {
        self.elements.get(&collection_id).map_or(&[], Vec::as_slice)
    }

    /// Every HDA in it.
    pub fn hda_ids(&self) -> Vec<i64> {
        let all: BTreeSet<i64> = self
            .elements
            .values()
            .flatten()
            .filter_map(|e| e.hda_id)
            .collect();
        all.into_iter().collect()
    }
}

/// Deeper trees than this are not read.
const DEPTH_MAX: usize = 16;

/// The trees below some collections: one round of statements for each level, however wide it is.
pub async fn forest(query: &mut impl Query, roots: &[i64]) -> Result<Forest, StoreError> {
    let mut forest = Forest::default();
    let mut level: Vec<i64> = roots.to_vec();
    for _ in 0..DEPTH_MAX {
        level.retain(|id| !forest.collections.contains_key(id));
        level.sort_unstable();
        level.dedup();
        if level.is_empty() {
            break;
        }
        let mut below = Vec::new();
        for block in blocks(&level) {
            let list = placeholders(1, block.len());
            let args: Vec<Val> = block.iter().map(|id| (*id).into()).collect();
            let sql = format!(
                "SELECT {COLLECTION_COLUMNS} FROM dataset_collection k WHERE k.id IN ({list})"
            );
            for row in &query.all(sql, args.clone()).await? {
                let collection = collection(row)?;
                forest.collections.insert(collection.id, collection);
            }
            for element in
                elements_where(query, &format!("e.dataset_collection_id IN ({list})"), args).await?
            {
                below.extend(element.child_id);
                forest
                    .elements
                    .entry(element.collection_id)
                    .or_default()
                    .push(element);
            }
        }
        level = below;
    }
    Ok(forest)
}

/// Some collections without their elements.
pub async fn level(query: &mut impl Query, ids: &[i64]) -> Result<Forest, StoreError> {
    let mut forest = Forest::default();
    for block in blocks(ids) {
        let list = placeholders(1, block.len());
        let args = block.iter().map(|id| (*id).into()).collect();
        let sql =
            format!("SELECT {COLLECTION_COLUMNS} FROM dataset_collection k WHERE k.id IN ({list})");
        for row in &query.all(sql, args).await? {
            let collection = collection(row)?;
            forest.collections.insert(collection.id, collection);
        }
    }
    Ok(forest)
}

/// Whether a collection is the root itself or somewhere below it.
pub async fn is_within(query: &mut impl Query, root: i64, id: i64) -> Result<bool, StoreError> {
    // Upwards: a collection has few parents, but a root may have many children.
    let row = query
        .maybe(
            "WITH RECURSIVE up (id) AS (SELECT $2 UNION SELECT e.dataset_collection_id FROM up u \
             JOIN dataset_collection_element e ON e.child_collection_id = u.id) SELECT 1 FROM up WHERE id = $1",
            args![root, id],
        )
        .await?;
    Ok(row.is_some())
}

/// A page of the elements of one collection.
pub async fn elements_page(
    query: &mut impl Query,
    collection_id: i64,
    limit: i64,
    offset: i64,
) -> Result<Vec<Element>, StoreError> {
    let rows = query
        .all(
            "SELECT e.id, e.dataset_collection_id, e.element_index, e.element_identifier, e.hda_id, \
             e.child_collection_id, e.columns FROM dataset_collection_element e WHERE e.dataset_collection_id = $1 \
             ORDER BY e.element_index LIMIT $2 OFFSET $3",
            args![collection_id, limit, offset],
        )
        .await?;
    rows.iter().map(element).collect()
}

/// One element by its id.
pub async fn element_by_id(query: &mut impl Query, id: i64) -> Result<Option<Element>, StoreError> {
    Ok(elements_where(query, "e.id = $1", args![id]).await?.pop())
}

async fn elements_where(
    query: &mut impl Query,
    condition: &str,
    args: Vec<Val>,
) -> Result<Vec<Element>, StoreError> {
    let sql = format!(
        "SELECT e.id, e.dataset_collection_id, e.element_index, e.element_identifier, e.hda_id, \
         e.child_collection_id, e.columns FROM dataset_collection_element e WHERE {condition} \
         ORDER BY e.dataset_collection_id, e.element_index"
    );
    query.all(sql, args).await?.iter().map(element).collect()
}

fn element(row: &Row) -> Result<Element, StoreError> {
    Ok(Element {
        id: row.get("id")?,
        collection_id: row.get("dataset_collection_id")?,
        index: row.get("element_index")?,
        identifier: row.get("element_identifier")?,
        hda_id: row.get("hda_id")?,
        child_id: row.get("child_collection_id")?,
        columns: row.json("columns")?,
    })
}

/// What a collection's line in a list says about the datasets in it.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    pub states: BTreeMap<String, i64>,
    pub datatypes: BTreeSet<String>,
    pub deleted: i64,
    /// Without dataset as yet.
    pub missing: i64,
}

/// The summaries of collections (by the id of the collection, not of the HDCA), counted by the database.
pub async fn summaries(
    query: &mut impl Query,
    roots: &[i64],
) -> Result<HashMap<i64, Summary>, StoreError> {
    let mut found: HashMap<i64, Summary> = HashMap::new();
    for block in blocks(roots) {
        let sql = format!(
            "WITH RECURSIVE tree (root, id) AS (SELECT k.id, k.id FROM dataset_collection k WHERE k.id IN ({}) \
             UNION ALL SELECT t.root, e.child_collection_id FROM tree t \
             JOIN dataset_collection_element e ON e.dataset_collection_id = t.id WHERE e.child_collection_id IS NOT NULL) \
             SELECT t.root, d.state, a.extension, COALESCE(a.deleted, FALSE) AS is_deleted, COUNT(*) FROM tree t \
             JOIN dataset_collection_element e ON e.dataset_collection_id = t.id AND e.child_collection_id IS NULL \
             LEFT JOIN history_dataset_association a ON a.id = e.hda_id LEFT JOIN dataset d ON d.id = a.dataset_id \
             GROUP BY 1, 2, 3, 4",
            placeholders(1, block.len())
        );
        let args = block.iter().map(|id| (*id).into()).collect();
        for row in query.all(sql, args).await? {
            let summary = found.entry(row.get(0)?).or_default();
            let count: i64 = row.get(4)?;
            let (state, extension): (Option<String>, Option<String>) = (row.get(1)?, row.get(2)?);
            match state {
                Some(state) => *summary.states.entry(state).or_default() += count,
                None => summary.missing += count,
            }
            summary.datatypes.extend(extension);
            if row.get(3)? {
                summary.deleted += count;
            }
        }
    }
    Ok(found)
}

/// A collection to be made.
#[derive(Debug, Clone)]
pub struct NewCollection {
    pub collection_type: String,
    pub elements: Vec<NewElement>,
    pub fields: Option<Value>,
    pub column_definitions: Option<Value>,
}

/// An element to be made.
#[derive(Debug, Clone)]
pub struct NewElement {
    pub identifier: String,
    pub object: NewObject,
    pub columns: Option<Value>,
}

/// What an element is.
#[derive(Debug, Clone)]
pub enum NewObject {
    Hda(i64),
    Collection(NewCollection),
}

impl NewCollection {
    /// Replaces every HDA by what `replace` makes of it.
    pub fn map_hdas(&mut self, replace: &mut impl FnMut(i64) -> i64) {
        for element in &mut self.elements {
            match &mut element.object {
                NewObject::Hda(id) => *id = replace(*id),
                NewObject::Collection(child) => child.map_hdas(replace),
            }
        }
    }

    /// Every HDA in it, in order.
    pub fn hda_ids(&self) -> Vec<i64> {
        let mut ids = Vec::new();
        self.clone().map_hdas(&mut |id| {
            ids.push(id);
            id
        });
        ids
    }
}

/// Writes a tree and gives the id of its root. Its elements are all known, so it is populated.
pub async fn insert(
    tx: &mut Tx,
    ids: &Ids,
    new: &NewCollection,
    now_ms: i64,
) -> Result<i64, StoreError> {
    let (mut collections, mut elements) = (Vec::new(), Vec::new());
    let root = rows_of(ids, new, now_ms, &mut collections, &mut elements);
    tx.insert_many(
        "INSERT INTO dataset_collection (id, collection_type, populated_state, element_count, fields, \
         column_definitions, create_time, update_time) VALUES",
        8,
        "",
        collections,
    )
    .await?;
    tx.insert_many(
        "INSERT INTO dataset_collection_element (id, dataset_collection_id, hda_id, child_collection_id, \
         element_index, element_identifier, columns) VALUES",
        7,
        "",
        elements,
    )
    .await?;
    Ok(root)
}

fn rows_of(
    ids: &Ids,
    new: &NewCollection,
    now_ms: i64,
    collections: &mut Vec<Vec<Val>>,
    elements: &mut Vec<Vec<Val>>,
) -> i64 {
    let id = ids.collection();
    let text = |value: &Option<Value>| value.as_ref().map(Value::to_string);
    collections.push(args![
        id,
        &new.collection_type,
        "ok",
        new.elements.len(),
        text(&new.fields),
        text(&new.column_definitions),
        now_ms,
        now_ms
    ]);
    for (index, element) in new.elements.iter().enumerate() {
        let (hda_id, child_id) = match &element.object {
            NewObject::Hda(hda_id) => (Some(*hda_id), None),
            NewObject::Collection(child) => (
                None,
                Some(rows_of(ids, child, now_ms, collections, elements)),
            ),
        };
        elements.push(args![
            ids.element(),
            id,
            hda_id,
            child_id,
            index,
            &element.identifier,
            text(&element.columns)
        ]);
    }
    id
}

/// A collection's entry in a history, to be made.
#[derive(Debug, Clone)]
pub struct NewHdca {
    pub collection_id: i64,
    pub history_id: i64,
    pub hid: i64,
    pub name: String,
    pub tags: Value,
    pub copied_from: Option<i64>,
}

/// Adds the entry and gives its id.
pub async fn insert_hdca(
    tx: &mut Tx,
    ids: &Ids,
    new: &NewHdca,
    now_ms: i64,
) -> Result<i64, StoreError> {
    let id = ids.hdca();
    tx.run(
        "INSERT INTO history_dataset_collection_association (id, collection_id, history_id, hid, name, tags, \
         copied_from_history_dataset_collection_association_id, create_time, update_time) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)",
        args![
            id,
            new.collection_id,
            new.history_id,
            new.hid,
            &new.name,
            &new.tags,
            new.copied_from,
            now_ms
        ],
    )
    .await?;
    Ok(id)
}

/// Writes what of an HDCA may be changed, and moves its history's update time.
pub async fn save(tx: &mut Tx, hdca: &Hdca, now_ms: i64) -> Result<(), StoreError> {
    tx.run(
        "UPDATE history_dataset_collection_association SET name = $2, visible = $3, deleted = $4, annotation = $5, \
         tags = $6, update_time = $7 WHERE id = $1",
        args![
            hdca.id,
            &hdca.name,
            hdca.visible,
            hdca.deleted,
            &hdca.annotation,
            &hdca.tags,
            now_ms
        ],
    )
    .await?;
    super::histories::touch(tx, hdca.history_id, now_ms).await
}
