//! Uploads. What comes with the request is finished inside it: the file is forced to the disk and moved to its place, then
//! one durable transaction adds dataset, HDA and a job that is over, which clients that poll find done. What was given by
//! URL is only noted in that transaction, and its job is over when it has been fetched (`scheduling::fetching`).

pub mod fetched;
pub mod given;
pub mod local;
mod plan;
mod tus;
pub mod urls;

use std::collections::HashMap;
use std::path::PathBuf;

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::plan::{Item, Node, Source, Target};
use super::access::{self, Wish};
use super::app::{App, blocking};
use super::auth::Caller;
use super::config::VERSION_MAJOR;
use super::error::ApiError;
use super::payload::{Payload, TempPath, UploadedFile};
use super::{collection_rules, shapes, time};
use crate::fetch::Hash;
use crate::ingest::{How, Ingested, Raw, Work};
use crate::store::collections::{self, NewCollection, NewElement, NewHdca, NewObject};
use crate::store::datasets::{self, NewDataset};
use crate::store::histories::{self, History};
use crate::store::scheduling::fetches::{self, Fetch};
use crate::store::uploads::{self, Upload};
use crate::store::{Durability, Tx, crash};

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(fetch))
        .merge(tus::routes())
}

/// Adds datasets and collections from pasted text and files: as JSON, or as a multipart form whose `targets` is
/// JSON text and whose files are the parts `files_0|file_data`, `files_1|file_data` … (or, from a resumable
/// upload, `{"session_id", "name"}` under that name).
#[utoipa::path(post, path = "/api/tools/fetch", tag = "tools", request_body = Value,
    responses((status = 200, description = "`outputs`, `output_collections`, `jobs`", body = Value)))]
async fn fetch(
    State(app): State<App>,
    caller: Caller,
    mut payload: Payload,
) -> Result<Json<Value>, ApiError> {
    let caller = payload.caller.take().unwrap_or(caller);
    caller.user()?;
    let targets = payload
        .json("targets")?
        .ok_or_else(|| ApiError::missing("Parameter targets is required."))?;
    let targets = plan::parse_targets(&targets)?;
    let history_id = payload.required("history_id")?.to_owned();
    let tool = Tool {
        id: "__DATA_FETCH__",
        version: "0.1.0",
    };
    perform(&app, &caller, &history_id, payload, targets, tool)
        .await
        .map(Json)
}

/// Galaxy's old upload tool, as `POST /api/tools` with `tool_id` `upload1`. The answer is that of any tool.
pub async fn upload1(app: &App, caller: &Caller, payload: Payload) -> Result<Value, ApiError> {
    caller.user()?;
    let inputs = match payload.json("inputs")? {
        None => Map::new(),
        Some(Value::Object(inputs)) => inputs,
        Some(_) => return Err(ApiError::invalid("inputs must be an object.")),
    };
    let items = plan::parse_upload1(&inputs, &payload.fields, file_count(&payload))?;
    let history_id = payload.required("history_id")?.to_owned();
    let tool = Tool {
        id: "upload1",
        version: "1.1.7",
    };
    let targets = vec![Target::Datasets(items)];
    perform(app, caller, &history_id, payload, targets, tool).await
}

#[derive(Clone, Copy)]
struct Tool {
    id: &'static str,
    version: &'static str,
}

/// A dataset on its way: what was asked for, its ids, and then what became of its bytes.
struct Arrival {
    dataset_id: i64,
    hda_id: i64,
    name: String,
    tags: Value,
    info: Option<String>,
    basename: Option<String>,
    bytes: Bytes,
}

/// What became of the bytes.
enum Bytes {
    /// They are in their place.
    Here(Ingested),
    /// They are at a URL that may be fetched.
    At {
        url: String,
        how: How,
        hashes: Vec<Hash>,
    },
}

async fn perform(
    app: &App,
    caller: &Caller,
    history_id: &str,
    mut payload: Payload,
    targets: Vec<Target>,
    tool: Tool,
) -> Result<Value, ApiError> {
    let begun_ms = app.now_ms();
    let history = access::history(
        app,
        &mut app.store.reader(),
        caller,
        history_id,
        Wish::Change,
    )
    .await?;
    access::require_open(&history)?;
    let mut files = Files::of(app, caller, &mut payload)?;
    let (upload, job_id, written) =
        take_in(app, &history, targets, &mut files, tool, begun_ms).await?;
    files.used();
    answer(app, caller, &upload, job_id, &written).await
}

/// Moves the bytes to their places and records them, all or nothing.
async fn take_in(
    app: &App,
    history: &History,
    targets: Vec<Target>,
    files: &mut Files,
    tool: Tool,
    begun_ms: i64,
) -> Result<(Upload, i64, Written), ApiError> {
    let placed = Placed::new(app);
    let outcome = ingest_all(app, targets, files, placed).await?;
    let (arrivals, layouts, placed) = outcome;

    crash::point("upload.placed", crash::Side::Before);
    crash::point("upload.placed", crash::Side::After);
    let mut tx = app.store.begin().await?;
    let now_ms = app.now_ms();
    let written = write(app, &mut tx, history, &arrivals, layouts, now_ms).await?;
    let waits = arrivals.iter().any(|a| matches!(a.bytes, Bytes::At { .. }));
    let upload = Upload {
        // Somebody else's history, written to by an administrator, stays its owner's.
        user_id: history.user_id,
        history_id: history.id,
        tool_id: tool.id,
        tool_version: tool.version,
        galaxy_version: VERSION_MAJOR,
        parameters: vec![("file_count".to_owned(), json!(arrivals.len()))],
        datasets: named(arrivals.iter().map(|a| a.hda_id)),
        collections: named(written.collections.iter().copied())
            .into_iter()
            .map(|(name, (hdca, collection))| (name, hdca, collection))
            .collect(),
        begun_ms,
        ended_ms: (!waits).then_some(now_ms),
    };
    let job_id = uploads::record(&mut tx, &app.store.ids, &upload).await?;
    let to_fetch = to_fetch(&arrivals, job_id, history.user_id);
    fetches::insert(&mut tx, &to_fetch, now_ms).await?;
    let committed = tx.commit(Durability::Acknowledged, "upload").await;
    // Whether a commit that failed half-way counts is not known, so its files stay.
    placed.keep();
    committed?;
    if waits {
        app.signals.fetches_changed();
    }
    Ok((upload, job_id, written))
}

fn to_fetch(arrivals: &[Arrival], job_id: i64, user_id: i64) -> Vec<Fetch> {
    let noted = arrivals.iter().filter_map(|arrival| match &arrival.bytes {
        Bytes::Here(_) => None,
        Bytes::At { url, how, hashes } => Some(Fetch {
            dataset_id: arrival.dataset_id,
            hda_id: arrival.hda_id,
            job_id,
            user_id,
            url: url.clone(),
            extension: how.extension.clone(),
            dbkey: how.dbkey.clone(),
            to_posix_lines: how.to_posix_lines,
            space_to_tab: how.space_to_tab,
            hashes: Hash::to_json(hashes),
            attempts: 0,
        }),
    });
    noted.collect()
}

fn named<T>(things: impl Iterator<Item = T>) -> Vec<(String, T)> {
    things
        .enumerate()
        .map(|(n, thing)| (format!("output{n}"), thing))
        .collect()
}

/// Files that were moved to their places for datasets that are not recorded yet: removed again unless kept.
struct Placed {
    app: App,
    dataset_ids: Vec<i64>,
}

impl Placed {
    fn new(app: &App) -> Placed {
        Placed {
            app: app.clone(),
            dataset_ids: Vec::new(),
        }
    }

    fn keep(mut self) {
        self.dataset_ids.clear();
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        for id in &self.dataset_ids {
            if let Err(error) = self.app.data.remove(*id) {
                tracing::warn!(
                    "the file of dataset {id}, which was not added, could not be removed: {error}"
                );
            }
        }
    }
}

/// How the arrivals (by index) are arranged in the history.
enum Layout {
    Datasets(Vec<usize>),
    Collection {
        name: String,
        tags: Value,
        tree: Box<NewCollection>,
    },
}

/// Puts every file in its place. In the trees of the layouts, an HDA's id is final.
async fn ingest_all(
    app: &App,
    targets: Vec<Target>,
    files: &mut Files,
    mut placed: Placed,
) -> Result<(Vec<Arrival>, Vec<Layout>, Placed), ApiError> {
    let mut arrivals = Vec::new();
    let mut layouts = Vec::new();
    for target in targets {
        match target {
            Target::Datasets(items) => {
                let mut indexes = Vec::new();
                for item in items {
                    indexes.push(arrivals.len());
                    arrivals.push(ingest_one(app, item, files, &mut placed).await?);
                }
                layouts.push(Layout::Datasets(indexes));
            }
            Target::Collection {
                name,
                collection_type,
                elements,
                tags,
            } => {
                let mut items = Vec::new();
                let mut tree = tree_of(collection_type, elements, &mut items);
                // The shape is looked at before the bytes are.
                collection_rules::settle(&mut tree)?;
                let first = arrivals.len();
                for item in items {
                    arrivals.push(ingest_one(app, item, files, &mut placed).await?);
                }
                tree.map_hdas(&mut |n| arrivals[first + n as usize].hda_id);
                let tree = Box::new(tree);
                layouts.push(Layout::Collection { name, tags, tree });
            }
        }
    }
    Ok((arrivals, layouts, placed))
}

/// The tree with the number of its item in place of each HDA.
fn tree_of(collection_type: String, nodes: Vec<Node>, items: &mut Vec<Item>) -> NewCollection {
    let inner_type = match collection_type.split_once(':') {
        Some((_, inner)) => inner.to_owned(),
        None => String::new(),
    };
    let elements = nodes
        .into_iter()
        .map(|node| match node {
            Node::Item { identifier, item } => {
                items.push(*item);
                NewElement {
                    identifier,
                    object: NewObject::Hda(items.len() as i64 - 1),
                    columns: None,
                }
            }
            Node::Inner {
                identifier,
                elements,
            } => NewElement {
                identifier,
                object: NewObject::Collection(tree_of(inner_type.clone(), elements, items)),
                columns: None,
            },
        })
        .collect();
    NewCollection {
        collection_type,
        elements,
        fields: None,
        column_definitions: None,
    }
}

async fn ingest_one(
    app: &App,
    item: Item,
    files: &mut Files,
    placed: &mut Placed,
) -> Result<Arrival, ApiError> {
    let Item {
        name,
        source,
        how,
        tags,
        info,
        hashes,
    } = item;
    let dataset_id = app.store.ids.dataset();
    let (raw, sent_name) = match source {
        Source::Content(bytes) => (Ok(Raw::File(written(app, bytes).await?)), None),
        Source::Pasted(text) => (Ok(Raw::Text(text)), None),
        Source::File(n) => {
            let file = files.take(n)?;
            (Ok(Raw::File(file.path)), file.name)
        }
        Source::Url(url) => match urls::read(&url)? {
            urls::Url::Content(bytes) => (Ok(Raw::File(written(app, bytes).await?)), None),
            urls::Url::Fetch(_) | urls::Url::No => {
                urls::check(app, &url)?;
                let name = urls::file_name(&url);
                (Err(url), name)
            }
        },
    };
    let bytes = match raw {
        Ok(raw) => {
            placed.dataset_ids.push(dataset_id);
            let work = Work::new(&app.data, dataset_id, raw, how);
            Bytes::Here(check_and_run(work, hashes).await?)
        }
        Err(url) => Bytes::At { url, how, hashes },
    };
    let shown = name
        .or_else(|| sent_name.clone())
        .unwrap_or_else(|| "Pasted Entry".to_owned());
    Ok(Arrival {
        dataset_id,
        hda_id: app.store.ids.hda(),
        name: presentable(&shown),
        tags,
        info,
        basename: sent_name.as_deref().map(presentable),
        bytes,
    })
}

async fn written(app: &App, bytes: Vec<u8>) -> Result<TempPath, ApiError> {
    let file = TempPath::new(app);
    let target = file.as_path().to_owned();
    blocking(move || std::fs::write(target, bytes)).await?;
    Ok(file)
}

/// Puts a file in its place, if its digests are what they are said to be.
async fn check_and_run(work: Work, hashes: Vec<Hash>) -> Result<Ingested, ApiError> {
    let done = blocking(move || {
        for hash in &hashes {
            if let Some(sentence) = work.check(hash)? {
                return Ok(Err(sentence));
            }
        }
        work.run().map(Ok)
    });
    done.await?.map_err(|sentence| {
        ApiError::invalid(format!("A file is not what it is said to be. {sentence}"))
    })
}

const NAME_MAX: usize = 255;

/// A name to show: one line, not too long. It is never used as a path.
fn presentable(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(NAME_MAX)
        .collect()
}

/// What was written, in the order of the answer.
struct Written {
    hdas: Vec<i64>,
    /// (HDCA, collection).
    collections: Vec<(i64, i64)>,
}

async fn write(
    app: &App,
    tx: &mut Tx,
    history: &History,
    arrivals: &[Arrival],
    layouts: Vec<Layout>,
    now_ms: i64,
) -> Result<Written, ApiError> {
    let collection_count = layouts
        .iter()
        .filter(|l| matches!(l, Layout::Collection { .. }))
        .count();
    let hids = arrivals.len() + collection_count;
    let mut hid = histories::allocate_hids(tx, history.id, hids, now_ms).await?;
    let mut written = Written {
        hdas: Vec::new(),
        collections: Vec::new(),
    };
    let mut visible = vec![false; arrivals.len()];
    let mut entries = Vec::new();
    for layout in layouts {
        match layout {
            Layout::Datasets(indexes) => {
                for index in indexes {
                    visible[index] = true;
                    written.hdas.push(arrivals[index].hda_id);
                }
            }
            Layout::Collection { name, tags, tree } => entries.push((name, tags, tree)),
        }
    }
    let mut rows = Vec::with_capacity(arrivals.len());
    for (arrival, visible) in arrivals.iter().zip(visible) {
        rows.push(new_dataset(arrival, history.id, hid, visible));
        hid += 1;
    }
    datasets::insert(tx, &rows, now_ms).await?;
    for (name, tags, tree) in entries {
        let collection_id = collections::insert(tx, &app.store.ids, &tree, now_ms).await?;
        let new = NewHdca {
            collection_id,
            history_id: history.id,
            hid,
            name: presentable(&name),
            tags,
            copied_from: None,
        };
        hid += 1;
        let id = collections::insert_hdca(tx, &app.store.ids, &new, now_ms).await?;
        written.collections.push((id, collection_id));
    }
    Ok(written)
}

fn new_dataset(arrival: &Arrival, history_id: i64, hid: i64, visible: bool) -> NewDataset {
    let new = NewDataset {
        dataset_id: arrival.dataset_id,
        hda_id: arrival.hda_id,
        history_id,
        hid,
        name: arrival.name.clone(),
        extension: "data".to_owned(),
        state: "queued",
        info: arrival.info.clone(),
        blurb: None,
        peek: None,
        metadata: json!({}),
        visible,
        tags: arrival.tags.clone(),
        file_size: 0,
        created_from_basename: arrival.basename.clone(),
    };
    match &arrival.bytes {
        Bytes::Here(done) => NewDataset {
            extension: done.extension.clone(),
            state: "ok",
            info: new
                .info
                .or_else(|| Some(format!("uploaded {} file", done.extension))),
            blurb: done.blurb.clone(),
            peek: done.peek.clone(),
            metadata: done.metadata.clone(),
            file_size: done.bytes as i64,
            ..new
        },
        Bytes::At { how, .. } => NewDataset {
            extension: how.extension.clone().unwrap_or(new.extension),
            metadata: json!({"dbkey": how.dbkey}),
            ..new
        },
    }
}

async fn answer(
    app: &App,
    caller: &Caller,
    upload: &Upload,
    job_id: i64,
    written: &Written,
) -> Result<Value, ApiError> {
    let mut reader = app.store.reader();
    let hdas = datasets::by_ids(&mut reader, &written.hdas).await?;
    let names: HashMap<i64, &String> = upload.datasets.iter().map(|(n, id)| (*id, n)).collect();
    let mut outputs = Vec::new();
    for id in &written.hdas {
        if let Some(hda) = hdas.get(id) {
            let mut shape = shapes::hda_detailed(app, hda);
            shape["output_name"] = json!(names.get(id));
            outputs.push(shape);
        }
    }
    let mut output_collections = Vec::new();
    for (name, hdca_id, _) in &upload.collections {
        if let Some(hdca) = collections::by_id(&mut reader, *hdca_id).await? {
            let mut shape = shapes::load_hdca(app, &mut reader, caller, &hdca).await?;
            shape["output_name"] = json!(name);
            output_collections.push(shape);
        }
    }
    Ok(json!({
        "outputs": outputs,
        "output_collections": output_collections,
        "jobs": [{
            "model_class": "Job",
            "id": app.encode(job_id),
            "state": upload.state(),
            "exit_code": upload.ended_ms.map(|_| 0),
            "create_time": time::iso(upload.begun_ms),
            "update_time": time::iso(upload.ended_ms.unwrap_or(upload.begun_ms)),
            "galaxy_version": upload.galaxy_version,
            "tool_id": upload.tool_id,
            "tool_version": upload.tool_version,
            "history_id": app.encode(upload.history_id),
        }],
        "implicit_collections": [],
        "errors": [],
        "produces_entry_points": false,
    }))
}

fn file_count(payload: &Payload) -> usize {
    (0..)
        .take_while(|n| {
            let name = format!("files_{n}|file_data");
            payload.files.contains_key(&name) || payload.fields.contains_key(&name)
        })
        .count()
}

/// The files of a request by number, whichever way they came.
struct Files {
    arrived: Vec<Option<UploadedFile>>,
    /// What is left of resumable uploads once their files are taken.
    leftovers: Vec<PathBuf>,
}

impl Files {
    fn of(app: &App, caller: &Caller, payload: &mut Payload) -> Result<Files, ApiError> {
        let mut files = Files {
            arrived: Vec::new(),
            leftovers: Vec::new(),
        };
        for n in 0..file_count(payload) {
            let name = format!("files_{n}|file_data");
            if let Some(file) = payload.files.remove(&name) {
                files.arrived.push(Some(file));
                continue;
            }
            let session = payload.json(&name)?.unwrap_or_default();
            let text = |key: &str| session.get(key).and_then(Value::as_str);
            let session_id = text("session_id")
                .ok_or_else(|| ApiError::missing(format!("{name} needs a session_id.")))?;
            let finished = tus::finished(app, caller, session_id)?;
            files.leftovers.push(finished.notes);
            files.arrived.push(Some(UploadedFile {
                path: TempPath::existing(finished.file),
                name: text("name").map(str::to_owned),
                bytes: finished.bytes,
            }));
        }
        Ok(files)
    }

    fn take(&mut self, n: usize) -> Result<UploadedFile, ApiError> {
        self.arrived
            .get_mut(n)
            .and_then(Option::take)
            .ok_or_else(|| {
                ApiError::missing(format!(
                    "The file files_{n}|file_data did not come with the request."
                ))
            })
    }

    fn used(self) {
        for notes in self.leftovers {
            let _ = std::fs::remove_file(notes);
        }
    }
}
