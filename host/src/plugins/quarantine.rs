//! Which files failed too often: remembered by their digest, so that they start in a process of their own the next time.

use std::path::{Path, PathBuf};

/// The notes below a data directory.
#[derive(Debug, Clone)]
pub(super) struct Quarantine(Option<PathBuf>);

impl Quarantine {
    pub fn below(data_dir: Option<&Path>) -> Self {
        Self(data_dir.map(|folder| folder.join("plugins").join("quarantined")))
    }

    /// Whether this very file failed too often before.
    pub fn has(&self, sha256: &str) -> bool {
        self.0
            .as_ref()
            .is_some_and(|folder| folder.join(sha256).exists())
    }

    /// Notes that it did.
    pub fn add(&self, sha256: &str, plugin: &str, why: &str) {
        let Some(folder) = &self.0 else { return };
        let noted = std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(folder.join(sha256), format!("{plugin}: {why}\n")));
        if let Err(error) = noted {
            tracing::warn!(plugin, "its quarantine could not be noted: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_remembered_by_its_digest() {
        let folder = tempfile::tempdir().unwrap();
        let notes = Quarantine::below(Some(folder.path()));
        assert!(!notes.has("abc"));
        notes.add("abc", "night", "it panicked");
        assert!(Quarantine::below(Some(folder.path())).has("abc"));
        assert!(!notes.has("abd"));
        Quarantine::below(None).add("abc", "night", "");
        assert!(!Quarantine::below(None).has("abc"));
    }
}
