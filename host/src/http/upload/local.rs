//! Files that are not part of an upload request, taken in as uploads are: of this machine, for a person at the keyboard who
//! runs a workflow without a server, and those that another request names or brings.

use std::path::PathBuf;

use super::place::Files;
use super::plan::{Item, Node, Source, Target};
use super::{Tool, take_in};
use crate::fetch::Hash;
use crate::http::App;
use crate::http::app::blocking;
use crate::http::error::ApiError;
use crate::http::payload::{TempPath, UploadedFile};
use crate::ingest::How;
use crate::store::histories::History;
use serde_json::json;

/// A file to be copied in. It is left as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalFile {
    pub from: From,
    /// What it is called; None: as the file.
    pub name: Option<String>,
    /// None: look at the content.
    pub extension: Option<String>,
    /// The genome build; None: unknown.
    pub dbkey: Option<String>,
    /// What its digests are to be.
    pub hashes: Vec<Hash>,
}

/// Where a file's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    Path(PathBuf),
    Url(String),
    Content(Vec<u8>),
}

/// One or more files, as a workflow's input takes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Local {
    Dataset(LocalFile),
    Collection {
        name: String,
        collection_type: String,
        elements: Vec<(String, LocalElement)>,
    },
}

/// An element of a collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalElement {
    File(LocalFile),
    Inner(Vec<(String, LocalElement)>),
}

/// What was added, by database id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    Hda(i64),
    Hdca(i64),
}

/// Copies files into a history. The answer is in the order of `things`.
pub async fn add(app: &App, history: &History, things: Vec<Local>) -> Result<Vec<Added>, ApiError> {
    let begun_ms = app.now_ms();
    let mut paths = Vec::new();
    let mut kinds = Vec::new();
    let mut targets = Vec::new();
    for thing in things {
        kinds.push(matches!(thing, Local::Dataset(_)));
        targets.push(match thing {
            Local::Dataset(file) => Target::Datasets(vec![item(file, &mut paths)]),
            Local::Collection {
                name,
                collection_type,
                elements,
            } => Target::Collection {
                name,
                collection_type,
                elements: nodes(elements, &mut paths),
                tags: json!([]),
            },
        });
    }
    let mut files = Files::own(copies(app, paths).await?);
    let tool = Tool {
        id: "__DATA_FETCH__",
        version: "0.1.0",
    };
    let (_, _, written) = take_in(app, history, targets, &mut files, tool, begun_ms).await?;
    let mut hdas = written.hdas.into_iter();
    let mut hdcas = written.collections.into_iter();
    let added = kinds.into_iter().filter_map(|is_dataset| match is_dataset {
        true => hdas.next().map(Added::Hda),
        false => hdcas.next().map(|(id, _)| Added::Hdca(id)),
    });
    Ok(added.collect())
}

fn nodes(elements: Vec<(String, LocalElement)>, paths: &mut Vec<PathBuf>) -> Vec<Node> {
    let node = |(identifier, element)| match element {
        LocalElement::File(file) => Node::Item {
            identifier,
            item: Box::new(item(file, paths)),
        },
        LocalElement::Inner(inner) => Node::Inner {
            identifier,
            elements: nodes(inner, paths),
        },
    };
    elements.into_iter().map(node).collect()
}

fn item(file: LocalFile, paths: &mut Vec<PathBuf>) -> Item {
    let source = match file.from {
        From::Path(path) => {
            paths.push(path);
            Source::File(paths.len() - 1)
        }
        From::Url(url) => Source::Url(url),
        From::Content(bytes) => Source::Content(bytes),
    };
    Item {
        name: file.name,
        source,
        how: How {
            extension: file.extension.map(|ext| ext.to_ascii_lowercase()),
            dbkey: file.dbkey.unwrap_or_else(|| "?".to_owned()),
            to_posix_lines: false,
            space_to_tab: false,
        },
        tags: json!([]),
        info: None,
        hashes: file.hashes,
    }
}

/// Copies, because an upload's file is moved to its place.
async fn copies(app: &App, paths: Vec<PathBuf>) -> Result<Vec<UploadedFile>, ApiError> {
    let mut copied = Vec::with_capacity(paths.len());
    for path in paths {
        let copy = TempPath::new(app);
        let target = copy.as_path().to_owned();
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        let shown = path.display().to_string();
        let bytes = blocking(move || Ok(std::fs::copy(&path, &target))).await?;
        let bytes = bytes.map_err(|error| {
            ApiError::message(format!("The file {shown} could not be copied: {error}"))
        })?;
        copied.push(UploadedFile {
            path: copy,
            name,
            bytes,
        });
    }
    Ok(copied)
}
