//! `barycenter plugin lock`: pins in plugins.toml the files that are there now.

use std::path::PathBuf;

use barycenter_plugin_api::PluginKind;
use sha2::{Digest, Sha256};
use toml_edit::{DocumentMut, Item, TableLike, Value};

use crate::plugins::{Fault, PluginsConfig, read_library};

/// What became of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// What it is.
    pub kind: PluginKind,
    /// The instance's id.
    pub id: String,
    /// The library that was found.
    pub path: PathBuf,
    /// Its digest.
    pub sha256: String,
    /// What plugins.toml said before.
    pub before: Option<String>,
}

impl Pin {
    /// Whether the line in plugins.toml is another one now.
    pub fn is_new(&self) -> bool {
        self.before.as_deref() != Some(self.sha256.as_str())
    }
}

/// The text with every entry pinned, and the pins. Comments, order and everything else stay as they are.
pub fn lock(text: &str, config: &PluginsConfig) -> Result<(String, Vec<Pin>), Vec<Fault>> {
    let mut pins = Vec::new();
    let mut faults = Vec::new();
    for entry in &config.entries {
        let found = config.library_of(entry).and_then(|path| {
            let bytes = read_library(&path).map_err(|error| {
                let place = format!("{} ({})", entry.place, path.display());
                Fault::new(place, error.to_string(), "")
            })?;
            Ok((hex::encode(Sha256::digest(&bytes)), path))
        });
        match found {
            Ok((sha256, path)) => pins.push(Pin {
                kind: entry.kind,
                id: entry.id.clone(),
                path,
                sha256,
                before: entry.sha256.clone(),
            }),
            Err(fault) => faults.push(fault),
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
        vec![Fault::new(
            &config.name,
            error.message().to_owned(),
            "Correct the TOML syntax.",
        )]
    })?;
    for kind in PluginKind::ALL {
        let of_kind: Vec<&Pin> = pins.iter().filter(|pin| pin.kind == kind).collect();
        let Some(item) = document.get_mut(kind.name()) else {
            continue;
        };
        for (table, pin) in tables(item).into_iter().zip(of_kind) {
            set(table, &pin.sha256);
        }
    }
    Ok((document.to_string(), pins))
}

/// `[[kind]]`, or `kind = [{…}]`.
fn tables(item: &mut Item) -> Vec<&mut dyn TableLike> {
    match item {
        Item::ArrayOfTables(tables) => tables
            .iter_mut()
            .map(|table| table as &mut dyn TableLike)
            .collect(),
        Item::Value(Value::Array(array)) => array
            .iter_mut()
            .filter_map(|value| Some(value.as_inline_table_mut()? as &mut dyn TableLike))
            .collect(),
        _ => Vec::new(),
    }
}

fn set(table: &mut dyn TableLike, sha256: &str) {
    let mut value = Value::from(sha256);
    if let Some(Item::Value(old)) = table.get_mut("sha256") {
        *value.decor_mut() = old.decor().clone();
        *old = value;
        return;
    }
    table.insert("sha256", Item::Value(value));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const TEXT: &str = r#"# Ours.
[plugins]
default_scheduler = "night" # at night

# the good one
[[scheduler]]
type = "fair" # a type
id = "night"
path = "a.so"   # where
[scheduler.config]
weight = 2 # kilograms

[[job_runner]]
type = "local"
path = "b.so"
sha256 = "0000000000000000000000000000000000000000000000000000000000000000" # old
"#;

    fn locked(text: &str, folder: &Path) -> (String, Vec<Pin>) {
        let config = PluginsConfig::parse(text, "plugins.toml", folder).unwrap();
        lock(text, &config).unwrap()
    }

    #[test]
    fn only_the_digests_are_added_and_everything_else_stays() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.so"), "a").unwrap();
        std::fs::write(folder.path().join("b.so"), "b").unwrap();
        let (new, pins) = locked(TEXT, folder.path());
        let a = hex::encode(Sha256::digest(b"a"));
        let b = hex::encode(Sha256::digest(b"b"));
        assert!(
            new.contains(&format!(
                "path = \"a.so\"   # where\nsha256 = \"{a}\"\n[scheduler.config]"
            )),
            "{new}"
        );
        assert!(new.contains(&format!("sha256 = \"{b}\" # old")), "{new}");
        let without: Vec<&str> = new
            .lines()
            .filter(|line| !line.starts_with("sha256"))
            .collect();
        let before: Vec<&str> = TEXT
            .lines()
            .filter(|line| !line.starts_with("sha256"))
            .collect();
        assert_eq!(without, before);
        assert!(pins.iter().all(Pin::is_new));
        // Once more changes nothing.
        let (again, pins) = locked(&new, folder.path());
        assert_eq!(again, new);
        assert!(!pins.iter().any(Pin::is_new));
    }

    #[test]
    fn inline_tables_are_pinned_too() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.so"), "a").unwrap();
        let text = "scheduler = [{ type = \"default\", path = \"a.so\" }]\n";
        let (new, _) = locked(text, folder.path());
        assert!(new.contains("sha256 = "), "{new}");
        assert!(PluginsConfig::parse(&new, "plugins.toml", folder.path()).is_ok());
    }

    #[test]
    fn a_missing_file_is_told_and_nothing_is_made() {
        let config = PluginsConfig::parse(TEXT, "plugins.toml", Path::new("/nowhere")).unwrap();
        assert_eq!(lock(TEXT, &config).unwrap_err().len(), 2);
    }
}
