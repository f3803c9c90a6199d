//! Finds the library of a plugin type.

use super::inspect::inspect_file;
use barycenter_plugin_api::PluginKind;
use std::path::{Path, PathBuf};

/// The most libraries that are looked into per folder, when none has the expected name.
const SCANNED_MAX: usize = 500;

/// Where libraries are looked for: beside the executable, then what plugins.toml adds.
pub(super) fn search_path(configured: &[PathBuf]) -> Vec<PathBuf> {
    let executable = std::env::current_exe().ok();
    let mut folders = Vec::new();
    if let Some(beside) = executable.as_deref().and_then(Path::parent) {
        folders.push(beside.to_owned());
        folders.push(beside.join("plugins"));
        folders.push(beside.join("../lib/barycenter/plugins"));
    }
    folders.extend_from_slice(configured);
    folders
}

/// The plugins that come with the server.
const SHIPPED: [&str; 5] = ["default", "fair-share", "local", "pause", "wait_until"];

/// Whether this library came with the server: one of its types, beside its program.
pub(super) fn is_shipped(type_id: &str, path: &Path) -> bool {
    let program = crate::program::program();
    let own = std::fs::canonicalize(program).ok();
    let (Some(own), Ok(path)) = (own.as_deref().and_then(Path::parent), path.canonicalize()) else {
        return false;
    };
    let folders = [
        own.to_owned(),
        own.join("plugins"),
        own.join("../lib/barycenter/plugins"),
    ];
    let is_in = |folder: &PathBuf| {
        let folder = folder.canonicalize().ok();
        folder.is_some_and(|folder| path.parent() == Some(folder.as_path()))
    };
    SHIPPED.contains(&type_id) && folders.iter().any(is_in)
}

/// The library that exports this type. Files with an expected name come first, then any.
///
/// The error says where was looked and what was wrong with files of a fitting name.
pub(super) fn find(
    kind: PluginKind,
    type_id: &str,
    folders: &[PathBuf],
) -> Result<PathBuf, NotFound> {
    let mut not_found = NotFound::default();
    let fits = |path: &Path| match inspect_file(path) {
        Ok(preamble) => Ok(preamble.has(kind) && preamble.type_id == type_id),
        Err(error) => Err(error),
    };
    for folder in folders {
        for name in file_names(kind, type_id) {
            let path = folder.join(name);
            if !path.is_file() {
                continue;
            }
            match fits(&path) {
                Ok(true) => return Ok(path),
                Ok(false) => {}
                Err(error) => not_found.broken.push((path, error.to_string())),
            }
        }
    }
    for folder in folders {
        for path in libraries_in(folder) {
            match inspect_file(&path) {
                Ok(preamble) if preamble.has(kind) => {
                    if preamble.type_id == type_id {
                        return Ok(path);
                    }
                    not_found.other_types.push(preamble.type_id);
                }
                _ => {}
            }
        }
    }
    not_found.other_types.sort();
    not_found.other_types.dedup();
    Err(not_found)
}

/// What a search met instead.
#[derive(Debug, Default)]
pub(super) struct NotFound {
    /// Files of the right name that cannot be used, and why.
    pub broken: Vec<(PathBuf, String)>,
    /// Types of this kind that are there.
    pub other_types: Vec<String>,
}

/// `fair-share` of kind scheduler: `libfair_share.so`, `libfair_share_scheduler.so`.
fn file_names(kind: PluginKind, type_id: &str) -> Vec<String> {
    let base = type_id.replace('-', "_");
    let endings: &[&str] = match kind {
        PluginKind::Scheduler => &["", "_scheduler"],
        PluginKind::WorkflowModule => &["", "_module", "_workflow_module"],
        PluginKind::JobRunner => &["", "_runner", "_job_runner"],
    };
    endings
        .iter()
        .map(|ending| format!("lib{base}{ending}.so"))
        .collect()
}

fn libraries_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "so"))
        .collect();
    paths.sort(); // the same choice on every start
    paths.truncate(SCANNED_MAX);
    paths
}
