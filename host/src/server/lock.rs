//! Who uses a data directory: one server, or several that share a database.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::store::DatabaseUrl;

/// Held while this process uses a data directory; the system releases it however the process ends.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

/// With whom a directory is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirSharing {
    /// With nobody: the database is a file in it, or all of it is about to be changed.
    Alone,
    /// With other servers on the same PostgreSQL.
    WithServers,
}

impl DirSharing {
    /// What a server needs.
    pub fn of(database: &DatabaseUrl) -> DirSharing {
        match database {
            DatabaseUrl::Sqlite(_) => DirSharing::Alone,
            DatabaseUrl::Postgres(_) => DirSharing::WithServers,
        }
    }
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

/// How long the heir of a dead server may take to let go.
const HEIR_WAIT: Duration = Duration::from_secs(10);

/// Whether this is a living process other than us. (In a container every server may have the same number.)
fn is_another(pid: u32) -> bool {
    pid != std::process::id() && Path::new(&format!("/proc/{pid}")).exists()
}

/// The file in the data directory that is locked. It stays there; what counts is the lock, not the file.
const NAME: &str = "lock";

/// Whether some server has the directory now.
pub fn is_held(directory: &Path) -> bool {
    let file = File::open(directory.join(NAME));
    file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

impl DirLock {
    /// Takes the lock or says who has it: at once if that process lives.
    ///
    /// A server that was killed while it started a job leaves the lock with that job's process until it has become
    /// the job's program. By waiting for that, this also sees to it that such a job is found.
    pub fn take(directory: &Path, sharing: DirSharing) -> Result<DirLock, LockError> {
        let end = Instant::now() + HEIR_WAIT;
        loop {
            match DirLock::try_take(directory, sharing) {
                Err(LockError::Held(Some(pid))) if !is_another(pid) && Instant::now() < end => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                done => return done,
            }
        }
    }

    fn try_take(directory: &Path, sharing: DirSharing) -> Result<DirLock, LockError> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(directory.join(NAME))
            .map_err(LockError::Io)?;
        let locked = match sharing {
            DirSharing::Alone => file.try_lock(),
            DirSharing::WithServers => file.try_lock_shared(),
        };
        match locked {
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
        let first = DirLock::take(directory.path(), DirSharing::Alone).expect("free");
        match DirLock::try_take(directory.path(), DirSharing::Alone) {
            Err(LockError::Held(Some(pid))) => assert_eq!(pid, std::process::id()),
            other => panic!("{other:?}"),
        }
        drop(first);
        DirLock::take(directory.path(), DirSharing::Alone).expect("free again");
    }

    #[test]
    fn servers_on_one_database_share_a_directory_with_each_other_only() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let take = |sharing| DirLock::try_take(directory.path(), sharing);
        let first = take(DirSharing::WithServers).expect("free");
        let second = take(DirSharing::WithServers).expect("shared");
        assert!(matches!(take(DirSharing::Alone), Err(LockError::Held(_))));
        drop((first, second));
        let _alone = take(DirSharing::Alone).expect("free again");
        assert!(matches!(
            take(DirSharing::WithServers),
            Err(LockError::Held(_))
        ));
    }

    #[test]
    fn what_a_dead_server_left_to_a_child_is_waited_for() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let heir = DirLock::take(directory.path(), DirSharing::Alone).expect("free");
        std::fs::write(directory.path().join(NAME), "4194399999\n").expect("a number of nobody");
        let letting_go = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            drop(heir);
        });
        DirLock::take(directory.path(), DirSharing::Alone).expect("free after a moment");
        letting_go.join().expect("it let go");
    }

    #[test]
    fn a_directory_that_is_not_there_cannot_be_locked() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let missing = directory.path().join("missing");
        assert!(matches!(
            DirLock::take(&missing, DirSharing::Alone),
            Err(LockError::Io(_))
        ));
    }
}
