//! One server to a data directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::Path;

/// Held while this process uses a data directory; the system releases it however the process ends.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

/// Why a directory could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it; its id, if that could be read.
    #[error("held{}", .0.map_or_else(String::new, |pid| format!(" by process {pid}")))]
    Held(Option<u32>),
    #[error("the lock file could not be written")]
    Io(#[source] io::Error),
}

/// The file in the data directory that is locked. It stays there; what counts is the lock, not the file.
const NAME: &str = "lock";

impl DirLock {
    /// Takes the lock or says at once who has it.
    pub fn take(directory: &Path) -> Result<DirLock, LockError> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(directory.join(NAME))
            .map_err(LockError::Io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let read = file.read_to_string(&mut text);
                let pid = read.ok().and_then(|_| text.trim().parse().ok());
                return Err(LockError::Held(pid));
            }
            Err(TryLockError::Error(error)) => return Err(LockError::Io(error)),
        }
        let mut note = || -> io::Result<()> {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        note().map_err(LockError::Io)?;
        Ok(DirLock { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_locked_once_and_free_again_afterwards() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let first = DirLock::take(directory.path()).expect("free");
        match DirLock::take(directory.path()) {
            Err(LockError::Held(Some(pid))) => assert_eq!(pid, std::process::id()),
            other => panic!("{other:?}"),
        }
        drop(first);
        DirLock::take(directory.path()).expect("free again");
    }

    #[test]
    fn a_directory_that_is_not_there_cannot_be_locked() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let missing = directory.path().join("missing");
        assert!(matches!(DirLock::take(&missing), Err(LockError::Io(_))));
    }
}
