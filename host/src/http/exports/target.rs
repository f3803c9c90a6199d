//! Where users may have archives put: below the directories that the operator names, never over something that is there.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};

use url::Url;

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
    /// the same for every try. Blocks.
    pub fn put(&self, from: &Path, own: &Path, token: &str) -> Result<(), PutError> {
        let shown = self.path();
        let refused = |why: &str| PutError::Refused(format!("{}: {why}", shown.display()));
        let mut folder = self.directory.canonicalize()?;
        let parents = self.below.parent().into_iter().flat_map(Path::components);
        for part in parents {
            folder.push(part);
            match folder.symlink_metadata() {
                Ok(there) if there.is_dir() => {}
                Ok(_) => return Err(refused("a part of its path is no folder.")),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    std::fs::create_dir(&folder)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        if folder.starts_with(own.canonicalize()?) {
            return Err(refused("that is in the server's own data directory."));
        }
        let target = folder.join(self.below.file_name().unwrap_or_default());
        let begun = folder.join(format!(".{token}.part"));
        let placed = copy(from, &begun).and_then(|()| std::fs::hard_link(&begun, &target));
        // If it stays, the next try writes over it.
        let _ = std::fs::remove_file(&begun);
        match placed {
            Ok(()) => File::open(&folder)?.sync_all().map_err(PutError::Disk),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                match is_same(from, &target)? {
                    true => Ok(()),
                    false => Err(refused("there is a file already, and none is replaced.")),
                }
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut to = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o640)
        .custom_flags(libc::O_NOFOLLOW)
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
