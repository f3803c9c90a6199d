//! The directories of finished jobs. They are removed when nothing else is to be done, or when they are many or old: no
//! job waits for it, and some file systems create files much more slowly for a while after others were removed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::prepare::clean_up;
use crate::scheduling::engine::Services;
use crate::store::StoreError;
use crate::store::scheduling::jobs;

/// Nothing happened for so long: there is time.
const QUIET: Duration = Duration::from_secs(1);
/// What a job leaves may be large, so it is not kept for longer, whatever happens.
const AGE_MAX: Duration = Duration::from_secs(30);
const COUNT_MAX: usize = 5_000;

/// What is to be removed.
#[derive(Default)]
pub(super) struct Leftovers {
    directories: Vec<PathBuf>,
    oldest: Option<Instant>,
}

impl Leftovers {
    pub fn add(&mut self, directories: impl IntoIterator<Item = PathBuf>, now: Instant) {
        self.directories.extend(directories);
        if !self.directories.is_empty() {
            self.oldest.get_or_insert(now);
        }
    }

    /// How long nothing must happen for it to be time. None: there is nothing to remove.
    pub fn pause(&self) -> Option<Duration> {
        self.oldest.map(|_| QUIET)
    }

    /// Those that are too many or too old to be kept.
    pub fn take_due(&mut self, now: Instant) -> Vec<PathBuf> {
        let old = self
            .oldest
            .is_some_and(|since| now.duration_since(since) >= AGE_MAX);
        if old || self.directories.len() >= COUNT_MAX {
            return self.take();
        }
        Vec::new()
    }

    pub fn take(&mut self) -> Vec<PathBuf> {
        self.oldest = None;
        std::mem::take(&mut self.directories)
    }
}

/// Removes them. Blocks.
pub(super) fn remove(directories: &[PathBuf]) {
    directories.iter().for_each(|directory| clean_up(directory));
}

/// Removes them while the loop goes on.
pub(super) fn remove_later(directories: Vec<PathBuf>) {
    if !directories.is_empty() {
        tokio::task::spawn_blocking(move || remove(&directories));
    }
}

/// Removes what a server that was killed did not get to: the directories of jobs that are over.
pub(super) async fn remove_of_last_server(services: Arc<Services>) -> Result<(), StoreError> {
    let root = services.data.jobs();
    let listed = tokio::task::spawn_blocking(move || with_working_directory(&root));
    let listed = listed.await.unwrap_or_default();
    let ids: Vec<i64> = listed.iter().map(|(id, _)| *id).collect();
    let over = jobs::terminal(&mut services.store.reader(), &ids).await?;
    let directories: Vec<PathBuf> = listed
        .into_iter()
        .filter(|(id, _)| over.contains(id))
        .map(|(_, directory)| directory)
        .collect();
    if !directories.is_empty() {
        tracing::info!(
            "removing the directories of {} jobs of the last server",
            directories.len()
        );
        let _ = tokio::task::spawn_blocking(move || remove(&directories)).await;
    }
    Ok(())
}

/// The jobs whose directory is not just kept logs. What cannot be read is left alone.
fn with_working_directory(root: &Path) -> Vec<(i64, PathBuf)> {
    let entries = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries(root)
        .flat_map(|block| entries(&block.path()).collect::<Vec<_>>())
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
        .filter(|(_, directory): &(i64, PathBuf)| directory.join("working").exists())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(count: usize) -> Vec<PathBuf> {
        vec![PathBuf::from("directory"); count]
    }

    #[test]
    fn few_and_young_ones_wait_for_a_quiet_moment() {
        let now = Instant::now();
        let mut leftovers = Leftovers::default();
        assert_eq!(leftovers.pause(), None);
        leftovers.add(paths(3), now);
        assert_eq!(leftovers.pause(), Some(QUIET));
        assert!(leftovers.take_due(now).is_empty());
        assert_eq!(leftovers.take().len(), 3);
        assert_eq!(leftovers.pause(), None);
    }

    #[test]
    fn many_or_old_ones_do_not_wait() {
        let now = Instant::now();
        let mut leftovers = Leftovers::default();
        leftovers.add(paths(1), now);
        leftovers.add(paths(1), now + AGE_MAX / 2);
        assert_eq!(leftovers.take_due(now + AGE_MAX).len(), 2);
        leftovers.add(paths(COUNT_MAX), now);
        assert_eq!(leftovers.take_due(now).len(), COUNT_MAX);
    }

    #[test]
    fn only_directories_of_jobs_with_something_to_remove_are_listed() {
        let root = tempfile::tempdir().expect("a temporary directory");
        for path in [
            "000/7/working",
            "000/8",
            "000/strange/working",
            "001/1001/working",
        ] {
            std::fs::create_dir_all(root.path().join(path)).expect("created");
        }
        let mut ids: Vec<i64> = with_working_directory(root.path())
            .into_iter()
            .map(|(id, _)| id)
            .collect();
        ids.sort_unstable();
        assert_eq!(ids, [7, 1001]);
        assert!(with_working_directory(&root.path().join("none")).is_empty());
    }
}
