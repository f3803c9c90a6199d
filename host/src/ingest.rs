//! From bytes that came in, however they came, to the file of a dataset, and what is known of it.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::fetch::Hash;
use crate::store::files::DataDir;
use crate::tools::datatypes;

/// A file that is removed when this is dropped.
#[derive(Debug)]
pub struct TempPath(PathBuf);

impl TempPath {
    /// A new name in the data directory's `tmp/`.
    pub fn within(data: &DataDir) -> TempPath {
        TempPath(data.tmp().join(format!("upload-{}", uuid::Uuid::new_v4())))
    }

    /// Takes charge of a file that exists.
    pub fn existing(path: PathBuf) -> TempPath {
        TempPath(path)
    }

    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempPath {
    fn drop(&mut self) {
        // Most often it was moved to its place, and there is nothing to remove.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// What is to be done to the bytes, and what is to be said of them.
#[derive(Debug, Clone, PartialEq)]
pub struct How {
    /// Lower case; `None`: look at the content.
    pub extension: Option<String>,
    pub dbkey: String,
    pub to_posix_lines: bool,
    pub space_to_tab: bool,
}

/// A file in its place, and what its dataset says of it.
#[derive(Debug)]
pub struct Ingested {
    pub extension: String,
    pub bytes: u64,
    pub peek: Option<String>,
    pub blurb: Option<String>,
    pub metadata: Value,
}

/// What has to be done to one file.
pub struct Work {
    pub data: DataDir,
    pub dataset_id: i64,
    pub raw: Raw,
    /// Where a rewritten copy may be put.
    pub spare: TempPath,
    pub how: How,
}

/// The bytes as they came.
pub enum Raw {
    Text(String),
    File(TempPath),
}

impl Work {
    pub fn new(data: &DataDir, dataset_id: i64, raw: Raw, how: How) -> Work {
        Work {
            data: data.clone(),
            dataset_id,
            raw,
            spare: TempPath::within(data),
            how,
        }
    }

    /// One sentence if the bytes, as they came, have another digest. Blocks.
    pub fn check(&self, hash: &Hash) -> io::Result<Option<String>> {
        match &self.raw {
            Raw::File(path) => hash.check(path.as_path()),
            Raw::Text(text) => {
                std::fs::write(self.spare.as_path(), text)?;
                hash.check(self.spare.as_path())
            }
        }
    }

    /// Rewrites the text if asked to, finds out the type, forces the file to the disk and moves it to its place.
    /// Blocks; memory use does not depend on the size of a file.
    pub fn run(self) -> io::Result<Ingested> {
        let rewrites = self.how.to_posix_lines || self.how.space_to_tab;
        let is_text = match (&self.raw, &self.how.extension) {
            (Raw::Text(_), _) => true,
            (_, Some(ext)) => !is_binary(ext),
            (Raw::File(path), None) => !is_binary(&datatypes::sniff(path.as_path())?),
        };
        let finished: &Path = match &self.raw {
            Raw::Text(text) => {
                self.rewrite(&mut text.as_bytes(), rewrites)?;
                self.spare.as_path()
            }
            Raw::File(path) if rewrites && is_text => {
                self.rewrite(&mut File::open(path.as_path())?, true)?;
                self.spare.as_path()
            }
            Raw::File(path) => path.as_path(),
        };
        let extension = match &self.how.extension {
            Some(named) => named.clone(),
            None => datatypes::sniff(finished)?,
        };
        let peek = datatypes::peek(finished, &extension)?;
        let bytes = finished.metadata()?.len();
        self.data.place(finished, self.dataset_id)?;
        Ok(Ingested {
            metadata: metadata(&self.how.dbkey, &peek),
            peek: Some(peek.peek),
            blurb: Some(peek.blurb),
            extension,
            bytes,
        })
    }

    fn rewrite(&self, source: &mut dyn io::Read, rewrites: bool) -> io::Result<()> {
        let mut sink = BufWriter::new(File::create(self.spare.as_path())?);
        let (lines, tabs) = match rewrites {
            true => (self.how.to_posix_lines, self.how.space_to_tab),
            false => (false, false),
        };
        datatypes::normalise_text(source, &mut sink, lines, tabs)?;
        sink.flush()
    }
}

fn is_binary(extension: &str) -> bool {
    datatypes::datatype(extension).is_some_and(|d| d.is_binary)
}

/// Galaxy's metadata elements, as far as they are known.
fn metadata(dbkey: &str, peek: &datatypes::Peek) -> Value {
    let mut metadata = Map::new();
    metadata.insert("dbkey".to_owned(), json!(dbkey));
    let mut put = |key: &str, value: Option<u64>| {
        if let Some(value) = value {
            metadata.insert(key.to_owned(), json!(value));
        }
    };
    put("data_lines", peek.data_lines.or(peek.lines));
    put("comment_lines", peek.comment_lines);
    put("columns", peek.columns);
    if !peek.column_types.is_empty() {
        metadata.insert("column_types".to_owned(), json!(peek.column_types));
    }
    Value::Object(metadata)
}
