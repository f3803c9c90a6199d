//! Files that nobody named beforehand: matched by pattern, sorted, turned into datasets.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::{CollectError, CollectedDataset, CollectedElement, inside, patterns, settled_ext};
use crate::tools::model::{Discovery, Output, SortKey};

/// Files looked at for one output, and how deep below its directory.
pub(super) const FILES_MAX: usize = 100_000;
const DEPTH_MAX: usize = 32;

/// One file that a pattern matched.
struct Match<'d> {
    path: PathBuf,
    file_name: String,
    name: Option<String>,
    designation: Option<String>,
    ext: Option<String>,
    dbkey: Option<String>,
    visible: Option<bool>,
    identifiers: Vec<String>,
    by: &'d Discovery,
}

impl Match<'_> {
    /// Galaxy's order of what gives a single identifier.
    fn identifier(&self) -> Option<&str> {
        let given = self
            .identifiers
            .first()
            .or(self.name.as_ref())
            .or(self.designation.as_ref());
        given.map(String::as_str).filter(|text| !text.is_empty())
    }

    fn sort_text(&self) -> &str {
        match self.by.sort_key {
            SortKey::Filename => &self.file_name,
            SortKey::Name => self
                .name
                .as_deref()
                .or(self.identifier())
                .unwrap_or_default(),
            SortKey::Designation => self
                .designation
                .as_deref()
                .or(self.identifier())
                .unwrap_or_default(),
            SortKey::Dbkey => self.dbkey.as_deref().unwrap_or_default(),
        }
    }
}

/// The elements of a collection output. No match is an empty collection.
pub(super) fn elements(
    root: &Path,
    output: &Output,
    discoveries: &[Discovery],
    ext: &str,
) -> Result<Vec<CollectedElement>, CollectError> {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    for matched in matches(root, output, discoveries)? {
        let identifiers = if matched.identifiers.len() > 1 {
            matched.identifiers.clone()
        } else {
            let identifier = matched.identifier().ok_or_else(|| CollectError::Nameless {
                output: output.name.clone(),
                path: matched.file_name.clone(),
            })?;
            vec![identifier.to_owned()]
        };
        if !seen.insert(identifiers.clone()) {
            return Err(CollectError::Ambiguous {
                output: output.name.clone(),
                identifier: identifiers.join(":"),
            });
        }
        let (path, size) = inside(root, output, &matched.path)?;
        let wanted = matched.ext.as_deref().or(matched.by.format.as_deref());
        found.push(CollectedElement {
            identifiers,
            ext: settled_ext(ext, wanted, &path, output)?,
            path,
            size,
            dbkey: matched.dbkey,
        });
    }
    Ok(found)
}

/// The declared dataset and those beside it. With `assign_primary_output` the first match is the
/// declared one; without, every match is a dataset of its own and the declared one has no file.
pub(super) fn datasets(
    root: &Path,
    output: &Output,
    discoveries: &[Discovery],
    ext: &str,
    collected: &mut Vec<CollectedDataset>,
) -> Result<(), CollectError> {
    let mut primary_found = false;
    for matched in matches(root, output, discoveries)? {
        let (path, size) = inside(root, output, &matched.path)?;
        let primary = matched.by.assign_primary_output && !primary_found;
        primary_found |= primary;
        let wanted = matched.ext.as_deref().or(matched.by.format.as_deref());
        collected.push(CollectedDataset {
            output_name: output.name.clone(),
            ext: settled_ext(ext, wanted, &path, output)?,
            path,
            size,
            name: matched
                .name
                .or_else(|| matched.identifiers.first().cloned()),
            designation: matched.designation,
            dbkey: matched.dbkey,
            visible: if primary {
                !output.hidden
            } else {
                matched.visible.unwrap_or(matched.by.visible)
            },
            extra: !primary,
        });
    }
    if discoveries
        .iter()
        .any(|discovery| discovery.assign_primary_output)
        && !primary_found
    {
        return Err(CollectError::NothingDiscovered {
            output: output.name.clone(),
            patterns: patterns(discoveries),
        });
    }
    Ok(())
}

/// Every match of every pattern; a file belongs to the first that takes it.
fn matches<'d>(
    root: &Path,
    output: &Output,
    discoveries: &'d [Discovery],
) -> Result<Vec<Match<'d>>, CollectError> {
    let mut taken = HashSet::new();
    let mut all = Vec::new();
    for discovery in discoveries {
        let directory = match discovery.directory.as_deref() {
            None | Some(".") => root.to_path_buf(),
            Some(directory) => root.join(directory),
        };
        let mut files = Vec::new();
        list(root, output, &directory, discovery.recurse, 0, &mut files)?;
        let mut found = Vec::new();
        for path in files {
            let Some(matched) = match_file(&directory, path, discovery) else {
                continue;
            };
            if taken.insert(matched.path.clone()) {
                found.push(matched);
            }
        }
        found.sort_by(|left, right| order(left, right, discovery));
        all.extend(found);
    }
    Ok(all)
}

fn order(left: &Match<'_>, right: &Match<'_>, discovery: &Discovery) -> Ordering {
    let (one, two) = (left.sort_text(), right.sort_text());
    let by_key = if discovery.numeric {
        let number = |text: &str| text.trim().parse::<f64>().unwrap_or(f64::INFINITY);
        number(one)
            .total_cmp(&number(two))
            .then_with(|| one.cmp(two))
    } else {
        one.cmp(two)
    };
    let by_key = if discovery.reverse {
        by_key.reverse()
    } else {
        by_key
    };
    by_key.then_with(|| left.file_name.cmp(&right.file_name))
}

/// Files below `directory`. A directory that leads out of the job's, and a missing one, are empty.
fn list(
    root: &Path,
    output: &Output,
    directory: &Path,
    recurse: bool,
    depth: usize,
    files: &mut Vec<PathBuf>,
) -> Result<(), CollectError> {
    let Ok(real) = fs::canonicalize(directory) else {
        return Ok(());
    };
    if !real.starts_with(root) || depth > DEPTH_MAX {
        return Ok(());
    }
    let unreadable = |source| CollectError::Unreadable {
        output: output.name.clone(),
        path: directory.display().to_string(),
        source,
    };
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let kind = entry.file_type().map_err(unreadable)?;
        if kind.is_dir() {
            if recurse {
                list(root, output, &entry.path(), true, depth + 1, files)?;
            }
        } else {
            files.push(entry.path());
            if files.len() > FILES_MAX {
                return Err(CollectError::TooMany {
                    output: output.name.clone(),
                    limit: FILES_MAX,
                });
            }
        }
    }
    Ok(())
}

fn match_file<'d>(directory: &Path, path: PathBuf, by: &'d Discovery) -> Option<Match<'d>> {
    let file_name = if by.match_relative_path {
        path.strip_prefix(directory).ok()?.to_str()?.to_owned()
    } else {
        path.file_name()?.to_str()?.to_owned()
    };
    let captures = by.pattern.captures(&file_name)?;
    let group = |name: &str| captures.name(name).map(|found| found.as_str().to_owned());
    let mut identifiers = Vec::new();
    while let Some(identifier) = group(&format!("identifier_{}", identifiers.len())) {
        identifiers.push(identifier);
    }
    let visible = group("visible").map(|text| text.eq_ignore_ascii_case("visible"));
    let (name, designation, ext, dbkey) = (
        group("name"),
        group("designation"),
        group("ext"),
        group("dbkey"),
    );
    Some(Match {
        path,
        file_name,
        name,
        designation,
        ext,
        dbkey,
        visible,
        identifiers,
        by,
    })
}
