//! What a job's outputs are called and what they are ([`declared`]), and where in its working directory they lie.

mod declared;
mod discover;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use regex::Regex;
use serde_json::Value;
use thiserror::Error;

use super::Tool;
use super::datatypes;
use super::inputs_json::DataViews;
use super::model::{Discovery, Output, OutputFiles, OutputKind};

pub use declared::{
    on_string, on_string_of, output_collection_type, output_extension, output_label,
};

/// What a job left behind. Nothing is moved: that is the caller's part.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Collected {
    /// One per data and scalar output, in the tool's order, each followed by what was discovered
    /// beside it.
    pub datasets: Vec<CollectedDataset>,
    pub collections: Vec<CollectedCollection>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct CollectedDataset {
    /// The declared output that this is, or was discovered for.
    pub output_name: String,
    /// Absolute, symbolic links resolved, inside the working directory.
    pub path: PathBuf,
    /// Bytes.
    pub size: u64,
    pub ext: String,
    /// What the file's name says, for a discovered dataset.
    pub name: Option<String>,
    pub designation: Option<String>,
    pub dbkey: Option<String>,
    pub visible: bool,
    /// Discovered beside the declared output: becomes a dataset of its own.
    pub extra: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct CollectedCollection {
    pub output_name: String,
    /// In the order the tool asks for.
    pub elements: Vec<CollectedElement>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct CollectedElement {
    /// Outermost first, one per rank of the collection type.
    pub identifiers: Vec<String>,
    pub path: PathBuf,
    /// Bytes.
    pub size: u64,
    pub ext: String,
    pub dbkey: Option<String>,
}

#[derive(Debug, Error)]
pub enum CollectError {
    #[error("the job's working directory could not be read ({0})")]
    WorkingDirectory(io::Error),
    #[error("output {output}: the command did not write {path}")]
    Missing { output: String, path: String },
    #[error("output {output}: no file matched {patterns}")]
    NothingDiscovered { output: String, patterns: String },
    #[error("output {output}: {path} leads out of the job's directory")]
    Escapes { output: String, path: String },
    #[error("output {output}: {path} is not a regular file")]
    NotAFile { output: String, path: String },
    #[error("output {output}: two files are both the element {identifier}")]
    Ambiguous { output: String, identifier: String },
    #[error("output {output}: the name of {path} does not give an element identifier")]
    Nameless { output: String, path: String },
    #[error("output {output}: more than {limit} files were discovered")]
    TooMany { output: String, limit: usize },
    #[error("output {output}: {path} could not be read ({source})")]
    Unreadable {
        output: String,
        path: String,
        source: io::Error,
    },
}

/// Finds the file of every declared output of a command below `working_dir`.
///
/// The common case, `from_work_dir` without a glob, costs one look at one file.
pub fn collect(
    tool: &Tool,
    working_dir: &Path,
    state: &Value,
    data: &DataViews,
) -> Result<Collected, CollectError> {
    let root = real_directory(working_dir).map_err(CollectError::WorkingDirectory)?;
    let mut collected = Collected::default();
    for output in &tool.outputs {
        let ext = output_extension(tool, output, state, data);
        match &output.kind {
            OutputKind::Data(made) => {
                collect_files(&root, output, &made.files, &ext, &mut collected)?;
            }
            OutputKind::Scalar(made) => {
                collect_files(&root, output, &made.files, &ext, &mut collected)?;
            }
            OutputKind::Collection(made) => collected.collections.push(CollectedCollection {
                output_name: output.name.clone(),
                elements: discover::elements(&root, output, &made.discover, &ext)?,
            }),
        }
    }
    Ok(collected)
}

/// A file that somebody says is an output, or an element of one: named relative to the working directory, and inside it.
pub fn named(
    tool: &Tool,
    working_dir: &Path,
    output_name: &str,
    file: &str,
    state: &Value,
    data: &DataViews,
) -> Result<CollectedDataset, CollectError> {
    let missing = || CollectError::Missing {
        output: output_name.to_owned(),
        path: file.to_owned(),
    };
    let output = tool.output(output_name).ok_or_else(missing)?;
    let root = real_directory(working_dir).map_err(CollectError::WorkingDirectory)?;
    let wanted = root.join(file);
    wanted.symlink_metadata().map_err(|_| missing())?;
    let (path, size) = inside(&root, output, &wanted)?;
    let ext = output_extension(tool, output, state, data);
    Ok(CollectedDataset {
        output_name: output_name.to_owned(),
        ext: settled_ext(&ext, None, &path, output)?,
        path,
        size,
        name: None,
        designation: None,
        dbkey: None,
        visible: !output.hidden,
        extra: false,
    })
}

/// The working directory by its real name. A link in its place, or in its parent's, was put there by the command and may
/// lead anywhere; everything found there would count as inside.
fn real_directory(working_dir: &Path) -> io::Result<PathBuf> {
    for path in [Some(working_dir), working_dir.parent()]
        .into_iter()
        .flatten()
    {
        if fs::symlink_metadata(path)?.is_symlink() {
            return Err(io::Error::other("it was replaced by a link"));
        }
    }
    fs::canonicalize(working_dir)
}

fn collect_files(
    root: &Path,
    output: &Output,
    files: &OutputFiles,
    ext: &str,
    collected: &mut Collected,
) -> Result<(), CollectError> {
    match files {
        OutputFiles::WorkDir(wanted) => {
            let found = work_dir_file(root, output, wanted)?;
            let (path, size) = inside(root, output, &found)?;
            collected.datasets.push(CollectedDataset {
                output_name: output.name.clone(),
                ext: settled_ext(ext, None, &path, output)?,
                path,
                size,
                name: None,
                designation: None,
                dbkey: None,
                visible: !output.hidden,
                extra: false,
            });
            Ok(())
        }
        OutputFiles::Discover(discoveries) => {
            // An expression tool's output is a value, not a file.
            if discoveries.is_empty() {
                return Ok(());
            }
            discover::datasets(root, output, discoveries, ext, &mut collected.datasets)
        }
    }
}

/// The file a `from_work_dir` names; of several that a glob matches, the first by name.
fn work_dir_file(root: &Path, output: &Output, wanted: &str) -> Result<PathBuf, CollectError> {
    let missing = || CollectError::Missing {
        output: output.name.clone(),
        path: wanted.to_owned(),
    };
    let plain = root.join(wanted);
    if !wanted.contains(['*', '?', '[']) || plain.exists() {
        return if plain.symlink_metadata().is_ok() {
            Ok(plain)
        } else {
            Err(missing())
        };
    }
    let mut places = vec![root.to_path_buf()];
    for part in wanted
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
    {
        let mut next = Vec::new();
        match glob_regex(part) {
            None => next.extend(
                places
                    .iter()
                    .map(|place| place.join(part))
                    .filter(|path| path.exists()),
            ),
            Some(regex) => {
                for place in &places {
                    // Only directories of the job itself are listed: a link could lead anywhere.
                    if !fs::canonicalize(place).is_ok_and(|real| real.starts_with(root)) {
                        continue;
                    }
                    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
                        // As in a shell, a leading dot must be written.
                        let fits = |name: &str| {
                            regex.is_match(name) && name.starts_with('.') <= part.starts_with('.')
                        };
                        if entry.file_name().to_str().is_some_and(fits) {
                            next.push(entry.path());
                        }
                    }
                }
            }
        }
        next.sort();
        next.truncate(discover::FILES_MAX);
        places = next;
    }
    places.into_iter().next().ok_or_else(missing)
}

/// `*`, `?` and `[...]` of one path component; `None` if it has none of them.
fn glob_regex(part: &str) -> Option<Regex> {
    if !part.contains(['*', '?', '[']) {
        return None;
    }
    let mut pattern = String::from("^");
    let mut characters = part.chars();
    while let Some(character) = characters.next() {
        match character {
            '*' => pattern.push_str(".*"),
            '?' => pattern.push('.'),
            '[' => {
                let set: String = characters.by_ref().take_while(|c| *c != ']').collect();
                let (negated, set) = match set.strip_prefix(['!', '^']) {
                    Some(rest) => ("^", rest.to_owned()),
                    None => ("", set),
                };
                let set = set
                    .replace('\\', "\\\\")
                    .replace('[', "\\[")
                    .replace('&', "\\&");
                pattern.push_str(&format!("[{negated}{set}]"));
            }
            other => pattern.push_str(&regex::escape(&other.to_string())),
        }
    }
    pattern.push('$');
    Regex::new(&pattern).ok()
}

/// The real path and size of a regular file that must lie inside the working directory, so that
/// no link publishes a file of the server.
fn inside(root: &Path, output: &Output, path: &Path) -> Result<(PathBuf, u64), CollectError> {
    let shown = || {
        path.strip_prefix(root)
            .unwrap_or(path)
            .display()
            .to_string()
    };
    let unreadable = |source| CollectError::Unreadable {
        output: output.name.clone(),
        path: shown(),
        source,
    };
    let real = fs::canonicalize(path).map_err(unreadable)?;
    if !real.starts_with(root) {
        return Err(CollectError::Escapes {
            output: output.name.clone(),
            path: shown(),
        });
    }
    let metadata = fs::symlink_metadata(&real).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(CollectError::NotAFile {
            output: output.name.clone(),
            path: shown(),
        });
    }
    Ok((real, metadata.len()))
}

/// The extension in the file's name, else the output's own, looked up in the content for `auto`.
fn settled_ext(
    declared: &str,
    discovered: Option<&str>,
    path: &Path,
    output: &Output,
) -> Result<String, CollectError> {
    let wanted = discovered.filter(|ext| !ext.is_empty()).unwrap_or(declared);
    if !matches!(wanted, "auto" | "_sniff_") {
        return Ok(wanted.to_owned());
    }
    datatypes::sniff(path).map_err(|source| CollectError::Unreadable {
        output: output.name.clone(),
        path: path.display().to_string(),
        source,
    })
}

fn patterns(discoveries: &[Discovery]) -> String {
    let written: Vec<&str> = discoveries.iter().map(|d| d.pattern.as_str()).collect();
    written.join(" or ")
}

#[cfg(test)]
#[path = "outputs/tests.rs"]
mod tests;
