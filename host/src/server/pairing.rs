//! A database and a data directory belong together: the database says which datasets there are, the directory has their
//! bytes under numbers of that database. Both carry the same mark, so that a wrong pair is refused before it does harm.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::args;
use crate::store::{Durability, Query as _, Store, StoreError};

/// The file in the data directory that holds its mark.
const FILE: &str = "id";

/// Why the two were not put together.
#[derive(Debug, thiserror::Error)]
pub enum PairingError {
    #[error(
        "the database belongs to another data directory: it is marked {database}, and {path} {}; give the data directory of this \
         database, or, if the files in it are this database's, write {database} into {}",
        .directory.as_ref().map_or("is not marked".to_owned(), |id| format!("is marked {id}")),
        .path.join(FILE).display()
    )]
    OtherDirectory {
        path: PathBuf,
        database: String,
        directory: Option<String>,
    },
    #[error(
        "the data directory {path} holds the datasets of another database (it is marked {directory}, and this database is new); \
         copy that database with `barycenter db copy`, or choose another directory with --data-dir"
    )]
    OtherDatabase { path: PathBuf, directory: String },
    #[error("the mark of the data directory {path} cannot be used")]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is to be done with a pair.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Fits,
    /// The one that has no mark gets the other's; if neither has one, both get a new one.
    Mark,
    OtherDirectory,
    OtherDatabase,
}

/// Decides from the marks, and from whether the directory and the database hold datasets.
fn decide(
    database: Option<&str>,
    directory: Option<&str>,
    directory_has_files: bool,
    database_has_datasets: bool,
) -> Verdict {
    match (database, directory) {
        (Some(one), Some(other)) if one == other => Verdict::Fits,
        (Some(_), Some(_)) => Verdict::OtherDirectory,
        // Nothing is lost or mixed up where one of them is empty.
        (Some(_), None) if directory_has_files || database_has_datasets => Verdict::OtherDirectory,
        (None, Some(_)) if directory_has_files && !database_has_datasets => Verdict::OtherDatabase,
        _ => Verdict::Mark,
    }
}

/// Refuses a pair that does not belong together; marks a new one.
pub async fn pair(store: &Store, directory: &Path) -> Result<(), PairingError> {
    const READ: &str = "SELECT value FROM installation WHERE name = 'data_dir_id'";
    let unusable = |source| PairingError::File {
        path: directory.to_owned(),
        source,
    };
    let mut reader = store.reader();
    let of_database = match reader.maybe(READ, args![]).await? {
        Some(row) => Some(row.get::<String>(0)?),
        None => None,
    };
    let of_directory = read(directory).map_err(unusable)?;
    let datasets = reader
        .maybe("SELECT id FROM dataset LIMIT 1", args![])
        .await?;
    let verdict = decide(
        of_database.as_deref(),
        of_directory.as_deref(),
        has_files(directory).map_err(unusable)?,
        datasets.is_some(),
    );
    let path = directory.to_owned();
    match (verdict, of_database, of_directory) {
        (Verdict::Fits, ..) => Ok(()),
        (Verdict::OtherDirectory, Some(database), directory) => Err(PairingError::OtherDirectory {
            path,
            database,
            directory,
        }),
        (Verdict::OtherDatabase, _, Some(directory)) => {
            Err(PairingError::OtherDatabase { path, directory })
        }
        (_, of_database, of_directory) => {
            let wanted = of_database
                .or(of_directory)
                .unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
            // Another server may be doing the same: whoever was first decides.
            let wanted = write(directory, &wanted).map_err(unusable)?;
            let mut tx = store.begin().await?;
            tx.run(
                "INSERT INTO installation (name, value) VALUES ('data_dir_id', $1) ON CONFLICT (name) DO NOTHING",
                args![&wanted],
            )
            .await?;
            tx.commit(Durability::Acknowledged, "installation.data_dir")
                .await?;
            let stored = reader.maybe(READ, args![]).await?;
            let database: String = stored.map_or(Ok(String::new()), |row| row.get(0))?;
            match database == wanted {
                true => Ok(()),
                false => Err(PairingError::OtherDirectory {
                    path,
                    database,
                    directory: Some(wanted),
                }),
            }
        }
    }
}

fn read(directory: &Path) -> io::Result<Option<String>> {
    match std::fs::read_to_string(directory.join(FILE)) {
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Marks the directory unless somebody was quicker; the mark that it has now.
fn write(directory: &Path, id: &str) -> io::Result<String> {
    let mut part = tempfile::NamedTempFile::new_in(directory)?;
    writeln!(part, "{id}")?;
    part.as_file().sync_all()?;
    match part.persist_noclobber(directory.join(FILE)) {
        Ok(_) => {}
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error.error),
    }
    std::fs::File::open(directory)?.sync_all()?;
    Ok(read(directory)?.unwrap_or_else(|| id.to_owned()))
}

/// Whether there are files of datasets.
fn has_files(directory: &Path) -> io::Result<bool> {
    match std::fs::read_dir(directory.join("files")) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_cannot_mix_datasets_up_is_put_together() {
        let (a, b) = (Some("a"), Some("b"));
        assert_eq!(decide(a, a, true, true), Verdict::Fits);
        assert_eq!(decide(a, b, false, false), Verdict::OtherDirectory);
        // A data directory from before there were marks, and its database.
        assert_eq!(decide(None, None, true, true), Verdict::Mark);
        assert_eq!(decide(None, None, false, false), Verdict::Mark);
        // Somebody else's directory, or an empty one in the place of the right one.
        assert_eq!(decide(a, None, true, true), Verdict::OtherDirectory);
        assert_eq!(decide(a, None, false, true), Verdict::OtherDirectory);
        // A new database, made by an administrator's command on the way to its first start, say.
        assert_eq!(decide(a, None, false, false), Verdict::Mark);
        // A new database in the place of the right one: its first dataset would overwrite an old one.
        assert_eq!(decide(None, a, true, false), Verdict::OtherDatabase);
        assert_eq!(decide(None, a, false, false), Verdict::Mark);
        // Killed between the two marks.
        assert_eq!(decide(None, a, true, true), Verdict::Mark);
    }

    #[tokio::test]
    async fn a_pair_is_marked_once_and_strangers_are_refused() {
        let open = async |folder: &Path| {
            Store::open_sqlite(&folder.join("db"))
                .await
                .expect("a database")
        };
        let folder = || tempfile::tempdir().expect("a folder");
        let (one, other) = (folder(), folder());
        let (first, second) = (open(one.path()).await, open(other.path()).await);
        for _ in 0..2 {
            pair(&first, one.path())
                .await
                .expect("they belong together");
        }
        pair(&second, other.path()).await.expect("they, too");
        let refused = pair(&first, other.path()).await.expect_err("strangers");
        assert!(matches!(refused, PairingError::OtherDirectory { .. }));
        std::fs::create_dir_all(one.path().join("files/000")).expect("a folder");
        let third = folder();
        let fresh = open(third.path()).await;
        let refused = pair(&fresh, one.path()).await.expect_err("a new database");
        assert!(matches!(refused, PairingError::OtherDatabase { .. }));
    }
}
