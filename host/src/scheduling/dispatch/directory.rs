//! The directory that a runner works in, on the disk.

use std::io;
use std::path::Path;

use uuid::Uuid;

use super::stamp;
use crate::store::files::DataDir;
use crate::tools::command::Rendered;

/// Who may be at work in a job's directory already.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Before {
    /// Somebody who was given the same token and may be about to start, whatever a runner says: its start marker keeps the
    /// two apart, as long as both are in the same directory.
    SameToken,
    /// Nobody whose work counts.
    Nobody,
}

/// Writes a job's directory. One that was written for this very token and may be in use stays, and its files are exchanged for
/// the same ones; any other is removed first. Blocks.
pub(super) fn write(
    data: &DataDir,
    job_id: i64,
    rendered: &Rendered,
    token: Uuid,
    before: Before,
) -> io::Result<()> {
    let directory = data.job(job_id);
    let working = directory.join("working");
    let mut is_new = data.make_job_directory(job_id)?;
    if !is_new && (before == Before::Nobody || !stamp::is_written_for(&directory, token)) {
        std::fs::remove_dir_all(&directory)?;
        is_new = data.make_job_directory(job_id)?;
    }
    let put = |path: &Path, content: &[u8]| match is_new {
        true => std::fs::write(path, content),
        false => {
            let beside = directory.join("exchange");
            std::fs::write(&beside, content)?;
            std::fs::rename(&beside, path)
        }
    };
    for (name, content) in &rendered.files {
        let path = working.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        put(&path, content.as_ref())?;
    }
    // Last: a directory with a script is whole.
    let script = stamp::stamped(&rendered.script, token);
    put(&directory.join("script.sh"), script.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(text: &str) -> Rendered {
        Rendered {
            command_line: "true".into(),
            script: "exit 3".into(),
            files: vec![("inside/file".into(), text.into())],
        }
    }

    #[test]
    fn what_is_written_for_the_same_token_is_kept_and_anything_else_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = DataDir::open(folder.path()).expect("a data directory");
        let (token, directory) = (Uuid::from_u128(1), data.job(7));
        let write = |text: &str, token, before| {
            write(&data, 7, &rendered(text), token, before).expect("written");
            std::fs::read_to_string(directory.join("working/inside/file")).expect("read")
        };
        // What a wrapper makes that is about to start.
        let record = directory.join("started-1");
        let mark = || std::fs::write(&record, "").expect("written");
        assert_eq!(write("a", token, Before::SameToken), "a");
        mark();
        assert_eq!(write("b", token, Before::SameToken), "b");
        assert!(record.exists() && !directory.join("exchange").exists());
        assert_eq!(write("c", Uuid::from_u128(2), Before::SameToken), "c");
        assert!(!record.exists(), "of another job");
        mark();
        assert_eq!(write("d", Uuid::from_u128(2), Before::Nobody), "d");
        assert!(!record.exists(), "whose work does not count");
        mark();
        std::fs::remove_file(directory.join("script.sh")).expect("removed");
        assert_eq!(write("e", Uuid::from_u128(2), Before::SameToken), "e");
        assert!(!record.exists(), "never whole, so never handed over");
    }
}
