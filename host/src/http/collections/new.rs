//! New collections, of datasets that exist, of inner collections, or as a copy of one.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::show_by_id;
use crate::http::access::{self, Wish};
use crate::http::app::App;
use crate::http::auth::Caller;
use crate::http::collection_rules;
use crate::http::error::ApiError;
use crate::http::extract;
use crate::store::collections::{
    self, Forest, Hdca, NewCollection, NewElement, NewHdca, NewObject,
};
use crate::store::histories::History;
use crate::store::{Durability, Query, Tx, datasets, histories};

/// A collection to be made. Its elements are `{"name", "src": "hda" | "hdca" | "dce", "id"}` or
/// `{"name", "src": "new_collection", "collection_type", "element_identifiers": […]}`.
#[derive(Deserialize, ToSchema)]
pub struct NewCollectionBody {
    pub collection_type: Option<String>,
    pub history_id: Option<String>,
    pub name: Option<String>,
    pub element_identifiers: Option<Vec<Value>>,
    /// Copy the datasets into the history instead of showing them where they are. Default true.
    pub copy_elements: Option<bool>,
    /// Hide the datasets that it is made of.
    pub hide_source_items: Option<bool>,
    pub fields: Option<Value>,
    pub column_definitions: Option<Value>,
    /// By element identifier, the values of the columns.
    pub rows: Option<serde_json::Map<String, Value>>,
    pub tags: Option<Vec<String>>,
}

/// Makes a collection from datasets that exist.
#[utoipa::path(post, path = "/api/dataset_collections", tag = "collections", request_body = NewCollectionBody,
    responses((status = 200, description = "The collection", body = Value)))]
pub async fn create(
    State(app): State<App>,
    caller: Caller,
    extract::Json(body): extract::Json<NewCollectionBody>,
) -> Result<Json<Value>, ApiError> {
    let history_id = body
        .history_id
        .clone()
        .ok_or_else(|| ApiError::missing("Parameter history_id is required."))?;
    create_in(&app, &caller, &history_id, body).await.map(Json)
}

/// Makes a collection in a history.
pub async fn create_in(
    app: &App,
    caller: &Caller,
    history_id: &str,
    body: NewCollectionBody,
) -> Result<Value, ApiError> {
    caller.user()?;
    let missing = |name: &str| ApiError::missing(format!("Parameter {name} is required."));
    let collection_type = body
        .collection_type
        .ok_or_else(|| missing("collection_type"))?;
    let identifiers = body
        .element_identifiers
        .ok_or_else(|| missing("element_identifiers"))?;
    collection_rules::check_type(&collection_type)?;
    let mut tx = app.store.begin().await?;
    let history = access::history(app, &mut tx, caller, history_id, Wish::Change).await?;
    access::require_open(&history)?;
    let mut budget = ELEMENTS_MAX;
    let mut tree = NewCollection {
        elements: read_elements(
            app,
            &mut tx,
            caller,
            &identifiers,
            &collection_type,
            &mut budget,
            0,
        )
        .await?,
        collection_type,
        fields: body.fields.filter(|f| f.is_array()),
        column_definitions: body.column_definitions.filter(|d| d.is_array()),
    };
    for element in &mut tree.elements {
        let row = body
            .rows
            .as_ref()
            .and_then(|rows| rows.get(&element.identifier));
        element.columns = row.filter(|r| !r.is_null()).cloned();
    }
    collection_rules::settle(&mut tree)?;
    let sources = tree.hda_ids();
    let now_ms = app.now_ms();
    if body.copy_elements.unwrap_or(true) {
        copy_hdas(app, &mut tx, &history, &mut tree, now_ms).await?;
    }
    if body.hide_source_items.unwrap_or(false) {
        datasets::hide(&mut tx, &sources, history.id, now_ms).await?;
    }
    let name = body.name.unwrap_or_else(|| "Collection".to_owned());
    let tags = json!(body.tags.unwrap_or_default());
    let hdca_id = add(app, &mut tx, &history, &tree, &name, tags, None, now_ms).await?;
    tx.commit(Durability::Acknowledged, "collection.create")
        .await?;
    show_by_id(app, caller, hdca_id).await
}

/// More elements than this in one request are refused.
const ELEMENTS_MAX: usize = 50_000;
const DEPTH_MAX: usize = 8;

/// Replaces the datasets of a tree by hidden copies in the history.
async fn copy_hdas(
    app: &App,
    tx: &mut Tx,
    history: &History,
    tree: &mut NewCollection,
    now_ms: i64,
) -> Result<(), ApiError> {
    let ids = tree.hda_ids();
    let hdas = datasets::by_ids(tx, &ids).await?;
    let sources: Vec<_> = ids.iter().filter_map(|id| hdas.get(id)).collect();
    let first_hid = histories::allocate_hids(tx, history.id, sources.len(), now_ms).await?;
    let copies = datasets::copy(
        tx,
        &app.store.ids,
        &sources,
        history.id,
        first_hid,
        Some(false),
        now_ms,
    )
    .await?;
    let mut copies = copies.into_iter();
    tree.map_hdas(&mut |id| copies.next().unwrap_or(id));
    Ok(())
}

#[expect(clippy::too_many_arguments, reason = "one statement's worth of values")]
async fn add(
    app: &App,
    tx: &mut Tx,
    history: &History,
    tree: &NewCollection,
    name: &str,
    tags: Value,
    copied_from: Option<i64>,
    now_ms: i64,
) -> Result<i64, ApiError> {
    let collection_id = collections::insert(tx, &app.store.ids, tree, now_ms).await?;
    let hid = histories::allocate_hids(tx, history.id, 1, now_ms).await?;
    let new = NewHdca {
        collection_id,
        history_id: history.id,
        hid,
        name: name.chars().take(255).collect(),
        tags,
        copied_from,
    };
    Ok(collections::insert_hdca(tx, &app.store.ids, &new, now_ms).await?)
}

/// Copies a collection into a history, with copies of its datasets.
pub async fn copy_into(
    app: &App,
    tx: &mut Tx,
    caller: &Caller,
    source: &Hdca,
    history: &History,
    now_ms: i64,
) -> Result<i64, ApiError> {
    access::require_elements(tx, caller, source.collection.id).await?;
    let forest = collections::forest(tx, &[source.collection.id]).await?;
    let mut tree = tree_from(&forest, source.collection.id).ok_or_else(not_populated)?;
    copy_hdas(app, tx, history, &mut tree, now_ms).await?;
    add(
        app,
        tx,
        history,
        &tree,
        &source.name,
        source.tags.clone(),
        Some(source.id),
        now_ms,
    )
    .await
}

fn not_populated() -> ApiError {
    ApiError::inputs_not_ready("The elements of this collection are not known yet.")
}

/// The tree below a stored collection as one to be made; `None` while elements are not known.
pub fn tree_from(forest: &Forest, collection_id: i64) -> Option<NewCollection> {
    let collection = forest.collections.get(&collection_id)?;
    if collection.populated_state == "new" {
        return None;
    }
    let elements = forest.elements(collection_id).iter().map(|element| {
        let object = match (element.hda_id, element.child_id) {
            (Some(id), _) => NewObject::Hda(id),
            (None, Some(child)) => NewObject::Collection(tree_from(forest, child)?),
            (None, None) => return None,
        };
        Some(NewElement {
            identifier: element.identifier.clone(),
            object,
            columns: Some(element.columns.clone()).filter(|c| !c.is_null()),
        })
    });
    Some(NewCollection {
        collection_type: collection.collection_type.clone(),
        elements: elements.collect::<Option<_>>()?,
        fields: None,
        column_definitions: Some(collection.column_definitions.clone()).filter(|d| !d.is_null()),
    })
}

async fn read_elements(
    app: &App,
    tx: &mut Tx,
    caller: &Caller,
    identifiers: &[Value],
    collection_type: &str,
    budget: &mut usize,
    depth: usize,
) -> Result<Vec<NewElement>, ApiError> {
    if depth >= DEPTH_MAX {
        return Err(ApiError::invalid(format!(
            "Elements are nested deeper than {DEPTH_MAX} levels."
        )));
    }
    let inner_type = collection_type
        .split_once(':')
        .map_or("", |(_, inner)| inner);
    let mut elements = Vec::with_capacity(identifiers.len());
    let known = known_hdas(app, tx, identifiers).await?;
    for identifier in identifiers {
        *budget = budget
            .checked_sub(1)
            .ok_or_else(|| ApiError::invalid(format!("More than {ELEMENTS_MAX} elements.")))?;
        let text = |key: &str| identifier.get(key).and_then(Value::as_str);
        let name = text("name").ok_or_else(|| ApiError::missing("Every element needs a name."))?;
        let id = || {
            text("id").ok_or_else(|| ApiError::missing(format!("Element {name:?} needs an id.")))
        };
        let object = match text("src").unwrap_or("hda") {
            "hda" => {
                let id = app.decode(id()?)?;
                let hda = known.get(&id).ok_or_else(|| {
                    ApiError::not_found("Dataset with the id provided was not found.")
                })?;
                access::require_hda(tx, caller, hda, Wish::Read).await?;
                NewObject::Hda(hda.id)
            }
            "hdca" => {
                let hdca = access::hdca(app, tx, caller, id()?, Wish::Read).await?;
                stored_tree(tx, hdca.collection.id).await?
            }
            "dce" => stored_element(app, tx, caller, id()?).await?,
            "new_collection" => {
                let child_type = text("collection_type").unwrap_or(inner_type).to_owned();
                let children = identifier
                    .get("element_identifiers")
                    .and_then(Value::as_array)
                    .ok_or_else(|| {
                        ApiError::missing(format!("Element {name:?} needs element_identifiers."))
                    })?;
                let elements = Box::pin(read_elements(
                    app,
                    tx,
                    caller,
                    children,
                    &child_type,
                    budget,
                    depth + 1,
                ))
                .await?;
                NewObject::Collection(NewCollection {
                    collection_type: child_type,
                    elements,
                    fields: identifier.get("fields").filter(|f| f.is_array()).cloned(),
                    column_definitions: None,
                })
            }
            "ldda" => {
                return Err(ApiError::not_implemented(
                    "This server has no data libraries.",
                ));
            }
            _ => {
                return Err(ApiError::invalid(
                    "src is one of hda, hdca, dce and new_collection.",
                ));
            }
        };
        elements.push(NewElement {
            identifier: name.to_owned(),
            object,
            columns: None,
        });
    }
    Ok(elements)
}

/// The HDAs that a level names, read at once.
async fn known_hdas(
    app: &App,
    tx: &mut Tx,
    identifiers: &[Value],
) -> Result<std::collections::HashMap<i64, datasets::Hda>, ApiError> {
    let mut ids = Vec::new();
    for identifier in identifiers {
        let text = |key: &str| identifier.get(key).and_then(Value::as_str);
        if let ("hda", Some(id)) = (text("src").unwrap_or("hda"), text("id")) {
            ids.push(app.decode(id)?);
        }
    }
    Ok(datasets::by_ids(tx, &ids).await?)
}

async fn stored_tree(q: &mut impl Query, collection_id: i64) -> Result<NewObject, ApiError> {
    let forest = collections::forest(q, &[collection_id]).await?;
    tree_from(&forest, collection_id)
        .map(NewObject::Collection)
        .ok_or_else(not_populated)
}

async fn stored_element(
    app: &App,
    tx: &mut Tx,
    caller: &Caller,
    encoded: &str,
) -> Result<NewObject, ApiError> {
    element(tx, caller, app.decode(encoded)?).await
}

/// What an element of any collection holds, if the caller may read all of it.
pub async fn element(tx: &mut impl Query, caller: &Caller, id: i64) -> Result<NewObject, ApiError> {
    let unknown = || ApiError::not_found("There is no such element.");
    let element = collections::element_by_id(tx, id)
        .await?
        .ok_or_else(unknown)?;
    match (element.hda_id, element.child_id) {
        (Some(hda_id), _) => {
            let hda = datasets::by_id(tx, hda_id).await?.ok_or_else(unknown)?;
            access::require_hda(tx, caller, &hda, Wish::Read).await?;
            Ok(NewObject::Hda(hda_id))
        }
        (None, Some(child)) => {
            let object = stored_tree(tx, child).await?;
            if let NewObject::Collection(tree) = &object {
                let hdas = datasets::by_ids(tx, &tree.hda_ids()).await?;
                for hda in hdas.values() {
                    access::require_hda(tx, caller, hda, Wish::Read).await?;
                }
            }
            Ok(object)
        }
        (None, None) => Err(not_populated()),
    }
}
