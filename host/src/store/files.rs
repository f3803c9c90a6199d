//! Where the bytes are: paths below the data directory, and how a finished file gets to its place.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The data directory: `files/NNN/dataset_ID.dat`, `tmp/`, `jobs/`. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DataDir {
    root: Arc<Path>,
}

impl DataDir {
    /// Makes the directory and its parts where they are missing, for their owner alone: the directory itself may have
    /// been there before, open to others.
    pub fn open(root: &Path) -> io::Result<DataDir> {
        use std::os::unix::fs::DirBuilderExt as _;
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        for part in ["files", "tmp", "jobs", "exports"] {
            builder.create(root.join(part))?;
        }
        let root = root.canonicalize()?;
        remove_leftovers(&root.join("tmp"))?;
        Ok(DataDir { root: root.into() })
    }

    /// One that is only looked at: nothing is made or removed.
    pub fn at(root: &Path) -> DataDir {
        DataDir { root: root.into() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The file of a dataset, by the dataset's id: a thousand files to a directory.
    pub fn dataset(&self, dataset_id: i64) -> PathBuf {
        let block = format!("{:03}", dataset_id / 1000);
        let mut path = self.root.join("files");
        path.push(block);
        path.push(format!("dataset_{dataset_id}.dat"));
        path
    }

    /// For files that are not finished yet. On the same file system as the datasets, so that a rename is enough.
    pub fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// Archives that somebody asked for, by uuid.
    pub fn exports(&self) -> PathBuf {
        self.root.join("exports")
    }

    /// The directory in which a job's working directories are.
    pub fn jobs(&self) -> PathBuf {
        self.root.join("jobs")
    }

    /// The directory of one job.
    pub fn job(&self, job_id: i64) -> PathBuf {
        let mut path = self.jobs();
        path.push(format!("{:03}", job_id / 1000));
        path.push(job_id.to_string());
        path
    }

    /// Makes a job's directory with an empty `working` in it; false where something is there already. Blocks.
    pub fn make_job_directory(&self, job_id: i64) -> io::Result<bool> {
        let directory = self.job(job_id);
        match std::fs::create_dir(&directory) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => std::fs::create_dir_all(&directory)?,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
            Err(e) => return Err(e),
        }
        std::fs::create_dir(directory.join("working"))?;
        Ok(true)
    }

    /// Gives a job's result the place of dataset `dataset_id` as a second name, without waiting for the disk. Blocks.
    ///
    /// The first name stays until the job's end is stored: a server that dies before that finds the result again.
    pub fn link_in(&self, finished: &Path, dataset_id: i64) -> io::Result<()> {
        let target = self.dataset(dataset_id);
        match std::fs::hard_link(finished, &target) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let directory = target.parent().expect("a dataset's file is in a directory");
                std::fs::create_dir_all(directory)?;
                std::fs::hard_link(finished, &target)
            }
            // From an attempt whose end was not stored, or of a server that was quicker: never is there none.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                let beside = target.with_extension("exchange");
                let _ = std::fs::remove_file(&beside);
                std::fs::hard_link(finished, &beside)?;
                std::fs::rename(&beside, &target)?;
                // Two names of one file: nothing was renamed.
                let _ = std::fs::remove_file(&beside);
                Ok(())
            }
            // A file system without links.
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied
                ) =>
            {
                std::fs::copy(finished, &target).map(drop)
            }
            done => done,
        }
    }

    /// Replaces a file's content under its name; other names of the old content keep it. Blocks.
    pub fn replace(&self, file: &Path, content: &[u8]) -> io::Result<()> {
        let new = file.with_extension("new");
        std::fs::write(&new, content)?;
        std::fs::rename(&new, file)
    }

    /// Writes a small dataset that no job makes. Blocks.
    pub fn write_dataset(&self, dataset_id: i64, content: &[u8]) -> io::Result<()> {
        let target = self.dataset(dataset_id);
        std::fs::create_dir_all(target.parent().expect("a dataset's file is in a directory"))?;
        std::fs::write(target, content)
    }

    /// Makes an empty dataset, unless something is there: whoever is late does not undo what another server has collected.
    /// Blocks.
    pub fn make_empty(&self, dataset_id: i64) -> io::Result<()> {
        let target = self.dataset(dataset_id);
        std::fs::create_dir_all(target.parent().expect("a dataset's file is in a directory"))?;
        match std::fs::File::create_new(target) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
            _ => Ok(()),
        }
    }

    /// Forces a finished file to the disk and moves it to the place of dataset `dataset_id`. Blocks.
    pub fn place(&self, finished: &Path, dataset_id: i64) -> io::Result<()> {
        let target = self.dataset(dataset_id);
        let directory = target.parent().expect("a dataset's file is in a directory");
        let is_new = !directory.exists();
        std::fs::create_dir_all(directory)?;
        std::fs::File::open(finished)?.sync_all()?;
        std::fs::rename(finished, &target)?;
        // The name has to survive a power loss as well as the contents.
        std::fs::File::open(directory)?.sync_all()?;
        if is_new {
            std::fs::File::open(self.root.join("files"))?.sync_all()?;
        }
        Ok(())
    }

    /// Removes the file of a dataset; one that is not there is removed already. Blocks.
    pub fn remove(&self, dataset_id: i64) -> io::Result<()> {
        match std::fs::remove_file(self.dataset(dataset_id)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }
}

/// What a server that was killed left of uploads is removed once nobody can be writing to it any more: another
/// process may have the directory open at this moment.
const LEFTOVER_AGE: Duration = Duration::from_secs(24 * 3600);

fn remove_leftovers(tmp: &Path) -> io::Result<()> {
    let now = SystemTime::now();
    for entry in std::fs::read_dir(tmp)? {
        let path = entry?.path();
        let touched = path.metadata().and_then(|m| m.modified());
        let is_old = touched.is_ok_and(|t| now.duration_since(t).is_ok_and(|a| a > LEFTOVER_AGE));
        if is_old && path.is_file() {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finished_file_is_moved_and_can_be_removed_twice() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let data = DataDir::open(root.path()).expect("it can be made");
        let finished = data.tmp().join("upload");
        std::fs::write(&finished, "abc").expect("written");
        data.place(&finished, 12_345).expect("placed");
        assert!(
            data.dataset(12_345)
                .ends_with("files/012/dataset_12345.dat")
        );
        assert!(!finished.exists());
        data.remove(12_345).expect("removed");
        data.remove(12_345).expect("not an error");
    }

    #[test]
    fn whoever_collects_late_undoes_nothing() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let data = DataDir::open(root.path()).expect("it can be made");
        let made = root.path().join("made");
        std::fs::write(&made, "abc").expect("written");
        let content = || std::fs::read_to_string(data.dataset(7)).expect("read");
        for _ in 0..2 {
            data.link_in(&made, 7).expect("placed");
            assert_eq!(content(), "abc");
        }
        std::fs::write(root.path().join("other"), "d").expect("written");
        data.link_in(&root.path().join("other"), 7).expect("placed");
        assert_eq!(content(), "d");
        std::fs::remove_file(&made).expect("removed");
        assert!(data.link_in(&made, 7).is_err());
        data.make_empty(7).expect("nothing to do");
        assert_eq!(content(), "d");
        data.make_empty(8).expect("made");
        assert_eq!(std::fs::read(data.dataset(8)).expect("read"), b"");
        let beside = data.dataset(7).with_extension("exchange");
        assert!(!beside.exists());
    }

    #[test]
    fn old_leftovers_are_removed_and_new_files_are_not() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let data = DataDir::open(root.path()).expect("it can be made");
        let (old, new) = (data.tmp().join("old"), data.tmp().join("new"));
        for path in [&old, &new] {
            std::fs::write(path, "x").expect("written");
        }
        let file = std::fs::File::options()
            .write(true)
            .open(&old)
            .expect("it is there");
        file.set_modified(SystemTime::now() - 2 * LEFTOVER_AGE)
            .expect("aged");
        DataDir::open(root.path()).expect("it can be opened");
        assert!(!old.exists() && new.exists());
    }

    #[tokio::test]
    async fn nobody_else_reads_what_is_made_in_an_open_directory() {
        use std::os::unix::fs::PermissionsExt as _;
        let root = tempfile::tempdir().unwrap();
        std::fs::set_permissions(root.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        DataDir::open(root.path()).unwrap();
        let database = root.path().join("barycenter.sqlite");
        let _store = crate::store::Store::open_sqlite(&database).await.unwrap();
        for entry in std::fs::read_dir(root.path()).unwrap() {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{:?} {mode:o}", entry.file_name());
        }
    }
}
