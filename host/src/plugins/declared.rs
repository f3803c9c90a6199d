//! From an entry of plugins.toml to its library: found, read without running it, and copied.

use super::config::{Entry, PluginsConfig};
use super::fault::{Fault, did_you_mean};
use super::isolation::Isolation;
use super::load::{Stored, open_here, store};
use super::locate::{find, is_shipped, search_path};
use super::options_check::check_options;
use barycenter_plugin_api::PluginKind;
use std::path::{Path, PathBuf};

/// Why a plugin is not there.
pub(super) enum Failure {
    /// Its options are wrong: the operator must correct them in any case.
    Options(Vec<Fault>),
    /// Everything else; bearable when it is not required.
    Plugin(Fault),
}

/// What is wrong with the libraries and options of a file that has other faults as well. Makes no plugin, and runs only
/// libraries that would run inside the server anyway.
pub(super) fn library_faults(config: &PluginsConfig) -> Vec<Fault> {
    let folders = search_path(&config.search);
    let mut faults = Vec::new();
    for entry in config.entries.iter().filter(|entry| entry.enabled) {
        let checked = inspected(entry, &folders, None).and_then(|(path, stored)| {
            if entry.isolation == Isolation::Process || !is_shipped(&entry.type_id, &path) {
                return Ok(());
            }
            let loaded = open_here(&stored).map_err(|error| {
                let place = format!("{} ({})", entry.place, path.display());
                Failure::Plugin(Fault::new(place, error.to_string(), ""))
            })?;
            check_options(entry, &loaded.info.config_schema)
        });
        match checked {
            Err(Failure::Options(found)) => faults.extend(found),
            Err(Failure::Plugin(fault)) if entry.required => faults.push(fault),
            _ => {}
        }
    }
    faults
}

/// Finds the library of an entry and reads it without running it.
pub(super) fn inspected(
    entry: &Entry,
    folders: &[PathBuf],
    data_dir: Option<&Path>,
) -> Result<(PathBuf, Stored), Failure> {
    let path = locate(entry, folders)?;
    let admitted = entry
        .trust
        .admits(&entry.place, &path, entry.sha256.as_deref());
    admitted.map_err(Failure::Plugin)?;
    let at_path = |message: String| {
        let place = format!("{} ({})", entry.place, path.display());
        Failure::Plugin(Fault::new(place, message, ""))
    };
    let stored = store(&path, entry.sha256.as_deref(), data_dir)
        .map_err(|error| at_path(error.to_string()))?;
    let preamble = &stored.preamble;
    if !preamble.has(entry.kind) || preamble.type_id != entry.type_id {
        let kinds: Vec<_> = preamble.kinds().map(PluginKind::name).collect();
        return Err(at_path(format!(
            "the library is the {} `{}`, not the {} `{}`",
            kinds.join(" and "),
            preamble.type_id,
            entry.kind,
            entry.type_id
        )));
    }
    Ok((path, stored))
}

impl PluginsConfig {
    /// The library of an entry, searched for as at the start of a server.
    pub fn library_of(&self, entry: &Entry) -> Result<PathBuf, Fault> {
        locate(entry, &search_path(&self.search)).map_err(|failure| match failure {
            Failure::Plugin(fault) => fault,
            Failure::Options(faults) => faults
                .into_iter()
                .next()
                .unwrap_or_else(|| Fault::new(&entry.place, "its library was not found", "")),
        })
    }
}

fn locate(entry: &Entry, folders: &[PathBuf]) -> Result<PathBuf, Failure> {
    if let Some(path) = &entry.path {
        if path.is_file() {
            return Ok(path.clone());
        }
        return Err(Failure::Plugin(Fault::new(
            &entry.place,
            format!("there is no file {}", path.display()),
            "Correct `path`, or leave it out to search for the type.",
        )));
    }
    find(entry.kind, &entry.type_id, folders).map_err(|not_found| {
        let what = format!("{} `{}`", entry.kind, entry.type_id);
        if let Some((path, reason)) = not_found.broken.first() {
            let place = format!("{} ({})", entry.place, path.display());
            return Failure::Plugin(Fault::new(place, reason.clone(), ""));
        }
        let known = not_found.other_types.iter().map(String::as_str);
        let hint = did_you_mean(&entry.type_id, known);
        let searched: Vec<_> = folders
            .iter()
            .map(|folder| folder.display().to_string())
            .collect();
        Failure::Plugin(Fault::new(
            &entry.place,
            format!(
                "no library exports the {what}{hint}\nsearched: {}",
                searched.join(", ")
            ),
            "Install the library, or name it with `path`, or add its folder to `search`.",
        ))
    })
}
