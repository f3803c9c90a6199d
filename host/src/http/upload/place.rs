//! Everything that was given, brought to its place: read, checked, forced to the disk. Nothing is recorded yet, and what is
//! not recorded in the end is removed again.

use std::path::PathBuf;

use serde_json::Value;

use super::plan::{Item, Node, Source, Target};
use super::{tus, urls};
use crate::fetch::Hash;
use crate::http::app::{App, blocking};
use crate::http::auth::Caller;
use crate::http::collection_rules;
use crate::http::error::ApiError;
use crate::http::payload::{Payload, TempPath, UploadedFile};
use crate::ingest::{How, Ingested, Raw, Work};
use crate::store::collections::{NewCollection, NewElement, NewObject};

/// A dataset on its way: what was asked for, its ids, and then what became of its bytes.
pub(super) struct Arrival {
    pub(super) dataset_id: i64,
    pub(super) hda_id: i64,
    pub(super) name: String,
    pub(super) tags: Value,
    pub(super) info: Option<String>,
    pub(super) basename: Option<String>,
    pub(super) bytes: Bytes,
}

/// What became of the bytes.
pub(super) enum Bytes {
    /// They are in their place.
    Here(Ingested),
    /// They are at a URL that may be fetched.
    At {
        url: String,
        how: How,
        hashes: Vec<Hash>,
    },
}

/// Files that were moved to their places for datasets that are not recorded yet: removed again unless kept.
pub(super) struct Placed {
    app: App,
    dataset_ids: Vec<i64>,
}

impl Placed {
    pub(super) fn new(app: &App) -> Placed {
        Placed {
            app: app.clone(),
            dataset_ids: Vec::new(),
        }
    }

    pub(super) fn keep(mut self) {
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
pub(super) enum Layout {
    Datasets(Vec<usize>),
    Collection {
        name: String,
        tags: Value,
        tree: Box<NewCollection>,
    },
}

/// Puts every file in its place. In the trees of the layouts, an HDA's id is final.
pub(super) async fn ingest_all(
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
pub(super) fn presentable(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(NAME_MAX)
        .collect()
}

pub(super) fn file_count(payload: &Payload) -> usize {
    (0..)
        .take_while(|n| {
            let name = format!("files_{n}|file_data");
            payload.files.contains_key(&name) || payload.fields.contains_key(&name)
        })
        .count()
}

/// The files of a request by number, whichever way they came.
pub(super) struct Files {
    arrived: Vec<Option<UploadedFile>>,
    /// What is left of resumable uploads once their files are taken.
    leftovers: Vec<PathBuf>,
}

impl Files {
    /// Files that no request brought.
    pub(super) fn own(files: Vec<UploadedFile>) -> Files {
        Files {
            arrived: files.into_iter().map(Some).collect(),
            leftovers: Vec::new(),
        }
    }

    pub(super) fn of(app: &App, caller: &Caller, payload: &mut Payload) -> Result<Files, ApiError> {
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

    pub(super) fn used(self) {
        for notes in self.leftovers {
            let _ = std::fs::remove_file(notes);
        }
    }
}
