//! Which files an operator trusts.

use super::fault::Fault;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// `trust` in `[plugins]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Trust {
    /// Any file that is a plugin.
    #[default]
    Any,
    /// Only files that plugins.toml pins by `sha256`, and that nobody else can write.
    Pinned,
}

impl Trust {
    /// The words in plugins.toml.
    pub const WORDS: [&str; 2] = ["any", "pinned"];

    /// From the word in plugins.toml.
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "any" => Some(Self::Any),
            "pinned" => Some(Self::Pinned),
            _ => None,
        }
    }

    /// Whether a server that runs with this may go on with `next`: it may become stricter, never looser.
    pub fn may_become(self, next: Self) -> Result<(), Fault> {
        match (self, next) {
            (Self::Pinned, Self::Any) => Err(Fault::new(
                "plugins.toml",
                "`trust` was \"pinned\" when the server started and cannot be relaxed while it runs",
                "Set it to \"pinned\" again, or restart the server.",
            )),
            _ => Ok(()),
        }
    }

    /// Whether this file may be opened. Its content is compared with the pin when it is read.
    pub fn admits(self, place: &str, path: &Path, sha256: Option<&str>) -> Result<(), Fault> {
        if self == Self::Any {
            return Ok(());
        }
        let place = format!("{place} ({})", path.display());
        if sha256.is_none() {
            return Err(Fault::new(
                place,
                "it has no `sha256`, and `trust = \"pinned\"` wants one for every plugin",
                "Run `barycenter plugin lock` if the file is as it should be.",
            ));
        }
        let fault = |message: String, remedy: &str| Fault::new(place.clone(), message, remedy);
        let unreadable =
            |error: std::io::Error| fault(format!("the file cannot be read ({error})"), "");
        let path = path.canonicalize().map_err(unreadable)?;
        for (depth, at) in path.ancestors().enumerate() {
            let metadata = std::fs::metadata(at).map_err(unreadable)?;
            if let Some(who) = writable_by(metadata.mode(), depth) {
                return Err(fault(
                    format!(
                        "{} can write {}, so the file may be anybody's",
                        who,
                        at.display()
                    ),
                    "Take the right to write from group and others (chmod go-w), or move the file.",
                ));
            }
            if !owners().contains(&metadata.uid()) {
                return Err(fault(
                    format!(
                        "{} belongs to user {}, who is neither root nor this server",
                        at.display(),
                        metadata.uid()
                    ),
                    "Install the file as root, or as the server's own user.",
                ));
            }
        }
        Ok(())
    }
}

/// Who else can write a file (depth 0), its folder (1) or a folder above. Above, a sticky bit is enough: others may add
/// there, but not replace what is not theirs.
fn writable_by(mode: u32, depth: usize) -> Option<&'static str> {
    const STICKY: u32 = 0o1000;
    if depth > 1 && mode & STICKY != 0 {
        return None;
    }
    match (mode & 0o002 != 0, mode & 0o020 != 0) {
        (true, _) => Some("everybody"),
        (false, true) => Some("its group"),
        (false, false) => None,
    }
}

fn owners() -> [u32; 2] {
    #[expect(unsafe_code, reason = "the standard library does not tell")]
    // SAFETY: a system call that cannot fail.
    let own = unsafe { libc::geteuid() };
    [0, own]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    fn file(folder: &Path, folder_mode: u32, file_mode: u32) -> PathBuf {
        let inner = folder.join(format!("{folder_mode:o}-{file_mode:o}"));
        std::fs::create_dir(&inner).unwrap();
        let path = inner.join("a.so");
        std::fs::write(&path, "x").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(file_mode)).unwrap();
        std::fs::set_permissions(&inner, PermissionsExt::from_mode(folder_mode)).unwrap();
        path
    }

    #[test]
    fn pinned_wants_a_pin_and_a_file_that_nobody_else_can_write() {
        let folder = tempfile::tempdir().unwrap();
        let admits = |folder_mode, file_mode| {
            Trust::Pinned.admits(
                "here",
                &file(folder.path(), folder_mode, file_mode),
                Some("ab"),
            )
        };
        assert_eq!(admits(0o755, 0o644), Ok(()));
        for (folder_mode, file_mode) in [
            (0o755, 0o664),
            (0o755, 0o646),
            (0o775, 0o644),
            (0o757, 0o644),
            (0o1777, 0o600),
        ] {
            let told = admits(folder_mode, file_mode).unwrap_err().to_string();
            assert!(told.contains("can write"), "{told}");
            assert!(told.lines().count() <= 5, "{told}");
        }
        let good = file(folder.path(), 0o700, 0o600);
        let told = Trust::Pinned
            .admits("here", &good, None)
            .unwrap_err()
            .to_string();
        assert!(told.contains("barycenter plugin lock"), "{told}");
        assert_eq!(
            Trust::Any.admits("here", Path::new("/nowhere"), None),
            Ok(())
        );
    }

    #[test]
    fn trust_is_never_relaxed_while_the_server_runs() {
        assert!(Trust::Pinned.may_become(Trust::Any).is_err());
        assert!(Trust::Pinned.may_become(Trust::Pinned).is_ok());
        assert!(Trust::Any.may_become(Trust::Pinned).is_ok());
    }
}
