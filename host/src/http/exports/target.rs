//! Where users may have archives put: below the directories that the operator names, never over something that is there.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};

use url::Url;
use uuid::Uuid;

/// A file to be made: the operator's directory, and the way from there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    directory: PathBuf,
    below: PathBuf,
}

/// Reads a `file://` URL; one that ends with a slash is a folder, in which the file gets the name `file_name`. Err: why
/// not, in a sentence.
pub fn resolve(directories: &[PathBuf], uri: &str, file_name: &str) -> Result<Target, String> {
    let shown: String = uri.chars().take(200).collect();
    let refused = |why: &str| format!("Nothing can be put at {shown:?}: {why}");
    let url = Url::parse(uri).map_err(|_| refused("it is not a URL."))?;
    if url.scheme() != "file" {
        return Err(refused(
            "this server has no such file source; file URLs below its option export_directories can be used.",
        ));
    }
    if url.host_str().is_some_and(|host| host != "localhost") {
        return Err(refused("it is on another host."));
    }
    let mut path = url
        .to_file_path()
        .map_err(|()| refused("it names no file."))?;
    if url.path().ends_with('/') {
        path.push(file_name);
    }
    let is_plain = |c: Component<'_>| matches!(c, Component::RootDir | Component::Normal(_));
    if !path.components().all(is_plain) || path.as_os_str().as_encoded_bytes().contains(&0) {
        return Err(refused("its path is not plain."));
    }
    for directory in directories {
        let directory = std::path::absolute(directory).unwrap_or_else(|_| directory.clone());
        if let Ok(below) = path.strip_prefix(&directory)
            && below.file_name().is_some()
        {
            return Ok(Target {
                below: below.to_owned(),
                directory,
            });
        }
    }
    Err(refused(match directories.is_empty() {
        true => "this server's option export_directories is not set.",
        false => {
            "it is below none of the directories that this server's option export_directories names."
        }
    }))
}

/// Why a file was not put somewhere, and whether another try may help.
#[derive(Debug)]
pub enum PutError {
    Refused(String),
    Disk(io::Error),
}

impl From<io::Error> for PutError {
    fn from(error: io::Error) -> PutError {
        PutError::Disk(error)
    }
}

impl Target {
    pub fn path(&self) -> PathBuf {
        self.directory.join(&self.below)
    }

    /// Copies a file there, whole or not at all. If the same content is there already, an earlier try did it. `token` is
    /// the same for every try, and what earlier ones left half written goes. Blocks.
    pub fn put(&self, from: &Path, own: &Path, token: &str) -> Result<(), PutError> {
        let shown = self.path();
        let refused = |why: &str| PutError::Refused(format!("{}: {why}", shown.display()));
        let mut folder = self.directory.canonicalize()?;
        let parents = self.below.parent().into_iter().flat_map(Path::components);
        for part in parents {
            folder.push(part);
            match std::fs::create_dir(&folder) {
                Ok(()) => {}
                // Also one that another archive's way led through just now.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    if !folder.symlink_metadata()?.is_dir() {
                        return Err(refused("a part of its path is no folder."));
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        if folder.starts_with(own.canonicalize()?) {
            return Err(refused("that is in the server's own data directory."));
        }
        let target = folder.join(self.below.file_name().unwrap_or_default());
        remove_parts(&folder, token)?;
        // A name of its own: whoever still writes to another one harms neither this copy nor what is in its place.
        let begun = folder.join(format!(".{token}.{}.part", Uuid::new_v4()));
        let placed = copy(from, &begun).and_then(|()| std::fs::hard_link(&begun, &target));
        // If it stays, the next try removes it.
        let _ = std::fs::remove_file(&begun);
        match placed {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if !is_same(from, &target)? {
                    return Err(refused("there is a file already, and none is replaced."));
                }
            }
            Err(error) => return Err(error.into()),
        }
        File::open(&folder)?.sync_all().map_err(PutError::Disk)
    }
}

/// Removes what earlier tries with this token left half written.
fn remove_parts(folder: &Path, token: &str) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        let is_part = name
            .strip_prefix(b".")
            .and_then(|rest| rest.strip_prefix(token.as_bytes()))
            .is_some_and(|rest| rest.starts_with(b".") && rest.ends_with(b".part"));
        if is_part {
            // If it cannot be removed it is in nobody's way.
            let _ = std::fs::remove_file(entry.path());
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut to = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o640)
        .open(to)?;
    io::copy(&mut File::open(from)?, &mut to)?;
    to.sync_all()
}

fn is_same(one: &Path, other: &Path) -> io::Result<bool> {
    if !other.symlink_metadata()?.is_file() {
        return Ok(false);
    }
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut left, mut right) = (Vec::new(), Vec::new());
    loop {
        left.clear();
        right.clear();
        (&mut one).take(1 << 16).read_to_end(&mut left)?;
        (&mut other).take(1 << 16).read_to_end(&mut right)?;
        if left != right {
            return Ok(false);
        }
        if left.is_empty() {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Ground {
        folder: tempfile::TempDir,
    }

    impl Ground {
        fn new() -> Ground {
            let folder = tempfile::tempdir().expect("a folder");
            for name in ["out", "own", "elsewhere"] {
                std::fs::create_dir(folder.path().join(name)).expect("made");
            }
            std::fs::write(folder.path().join("made"), "an archive").expect("written");
            Ground { folder }
        }

        fn resolve(&self, below: &str) -> Result<Target, String> {
            let out = self.folder.path().join("out");
            let uri = format!("file://{}{below}", out.display());
            resolve(&[out], &uri, "name.zip")
        }

        fn put(&self, below: &str) -> Result<(), PutError> {
            let root = self.folder.path();
            let target = self.resolve(below).map_err(PutError::Refused)?;
            target.put(&root.join("made"), &root.join("own"), "t")
        }
    }

    #[test]
    fn only_plain_paths_below_the_directories_are_taken() {
        let ground = Ground::new();
        for below in [
            "",
            "/../elsewhere/x",
            "/%2e%2e/elsewhere/x",
            "/..%2felsewhere/x",
            "-other/x",
            "/a%00b",
        ] {
            assert!(ground.resolve(below).is_err(), "{below}");
        }
        for uri in [
            "gxfiles://x/",
            "file://host/out/x",
            "https://x/",
            "x",
            "file:///",
        ] {
            let out = [ground.folder.path().join("out")];
            assert!(resolve(&out, uri, "n").is_err(), "{uri}");
        }
        let fault = resolve(&[], "file:///x/y", "n").expect_err("closed");
        assert!(fault.contains("export_directories is not set"), "{fault}");
    }

    #[test]
    fn a_file_gets_there_whole_and_replaces_nothing() {
        let ground = Ground::new();
        let out = ground.folder.path().join("out");
        ground.put("/a/b/").expect("put");
        let put = out.join("a/b/name.zip");
        assert_eq!(std::fs::read_to_string(&put).expect("there"), "an archive");
        ground.put("/a/b/").expect("once more is the same");
        std::fs::write(&put, "something").expect("written");
        assert!(matches!(ground.put("/a/b/"), Err(PutError::Refused(_))));
        assert_eq!(std::fs::read_to_string(&put).expect("there"), "something");
        assert_eq!(std::fs::read_dir(out.join("a/b")).expect("read").count(), 1);
    }

    #[test]
    fn what_an_earlier_try_left_half_written_goes_and_nothing_else() {
        let ground = Ground::new();
        let out = ground.folder.path().join("out");
        for name in [".t.part", ".t.1.part", ".tt.1.part", "t.1.part", ".t.1"] {
            std::fs::write(out.join(name), "half").expect("written");
        }
        ground.put("/f").expect("put");
        let left = std::fs::read_dir(&out).expect("read");
        let mut left: Vec<_> = left.map(|f| f.expect("one").file_name()).collect();
        left.sort();
        assert_eq!(left, [".t.1", ".tt.1.part", "f", "t.1.part"]);
    }

    #[test]
    fn tries_at_the_same_time_do_not_harm_what_is_in_its_place() {
        let ground = Ground::new();
        let made = ground.folder.path().join("made");
        let long = "an archive ".repeat(100_000);
        std::fs::write(&made, &long).expect("written");
        std::thread::scope(|scope| {
            let tries: Vec<_> = (0..8).map(|_| scope.spawn(|| ground.put("/f"))).collect();
            let ended = tries.into_iter().map(|one| one.join().expect("no panic"));
            // One whose half was removed by another failed; its work is done all the same.
            assert!(ended.filter(Result::is_ok).count() > 0);
        });
        let put = std::fs::read_to_string(ground.folder.path().join("out/f")).expect("there");
        assert!(put == long);
    }

    #[test]
    fn links_lead_nowhere() {
        let ground = Ground::new();
        let root = ground.folder.path();
        for (name, to) in [("x", "elsewhere"), ("y", "own")] {
            std::os::unix::fs::symlink(root.join(to), root.join("out").join(name)).expect("linked");
            assert!(matches!(
                ground.put(&format!("/{name}/f")),
                Err(PutError::Refused(_))
            ));
        }
        std::os::unix::fs::symlink(root.join("elsewhere/f"), root.join("out/f")).expect("linked");
        assert!(matches!(ground.put("/f"), Err(PutError::Refused(_))));
        assert_eq!(
            std::fs::read_dir(root.join("elsewhere"))
                .expect("read")
                .count(),
            0
        );
    }
}
