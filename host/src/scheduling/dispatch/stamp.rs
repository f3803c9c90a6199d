//! On which machine, since which boot of it, and for which job a directory was written. Where the machine went down since,
//! what the directory and the results hold may not be what the job had written: nothing of it was forced to disk.

use std::path::Path;
use std::sync::LazyLock;

use uuid::Uuid;

const MARK: &str = "\n# barycenter: ";

/// This machine, as it is named in scripts: its name, and its boot's random id. None where the kernel names no boot.
static HERE: LazyLock<Option<Here>> = LazyLock::new(|| {
    let read = |name: &str| {
        let text = std::fs::read_to_string(format!("/proc/sys/kernel/{name}")).ok()?;
        let word = text.split_whitespace().next()?.to_owned();
        Some(word)
    };
    Some(Here {
        host: read("hostname")?,
        boot: read("random/boot_id")?,
    })
});

struct Here {
    host: String,
    boot: String,
}

/// The script with its stamp: a comment at its end.
pub(super) fn stamped(script: &str, token: Uuid) -> String {
    match HERE.as_ref() {
        Some(Here { host, boot }) => format!("{script}{MARK}{host} {boot} {token}\n"),
        None => script.to_owned(),
    }
}

/// Whether the machine went down since it wrote this job's directory.
pub(super) fn went_down_since(directory: &Path) -> bool {
    let Some(here) = HERE.as_ref() else {
        return false;
    };
    std::fs::read(directory.join("script.sh")).is_ok_and(|script| went_down(&script, here))
}

/// The machine that wrote this job's directory, if it is another one: what runs there cannot be seen here.
pub(super) fn elsewhere(directory: &Path) -> Option<String> {
    let script = std::fs::read(directory.join("script.sh")).ok()?;
    let here = HERE.as_ref()?;
    let stamp = stamp_of(&script)?;
    (stamp.host != here.host).then_some(stamp.host)
}

/// Whether somebody may be about to run what is in this directory, for this very job: it was written to its end, and the
/// machine did not go down since.
pub(super) fn is_written_for(directory: &Path, token: Uuid) -> bool {
    let script = std::fs::read(directory.join("script.sh"));
    script.is_ok_and(|script| {
        stamp_of(&script).is_some_and(|stamp| stamp.token == token.to_string())
            && !HERE.as_ref().is_some_and(|here| went_down(&script, here))
    })
}

/// Whether this very job's directory is whole, was written on this machine and is safe, so that nothing in it has to be
/// written again.
pub(super) fn is_whole_here(directory: &Path, token: Uuid) -> bool {
    directory.join("working").is_dir()
        && is_written_for(directory, token)
        && elsewhere(directory).is_none()
}

/// What a stamp says.
struct Stamp {
    host: String,
    boot: String,
    token: String,
}

fn stamp_of(script: &[u8]) -> Option<Stamp> {
    let text = String::from_utf8_lossy(script);
    let (_, stamp) = text.rsplit_once(MARK)?;
    let mut words = stamp.split_whitespace().map(str::to_owned);
    Some(Stamp {
        host: words.next()?,
        boot: words.next()?,
        token: words.next()?,
    })
}

/// A script is never empty: one that is did not get to the disk. Of another machine nothing is known.
fn went_down(script: &[u8], here: &Here) -> bool {
    script.is_empty()
        || stamp_of(script).is_some_and(|stamp| stamp.host == here.host && stamp.boot != here.boot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_boot_of_the_same_machine_counts() {
        let here = Here {
            host: "one".into(),
            boot: "b".into(),
        };
        let asked = |script: &str| went_down(script.as_bytes(), &here);
        assert!(!asked("echo x\n# barycenter: one b token\n"));
        assert!(asked("echo x\n# barycenter: one a token\n"));
        assert!(!asked("echo x\n# barycenter: two a token\n"));
        assert!(!asked("echo x\n"));
        assert!(asked(""));
    }

    #[test]
    fn another_machine_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |script: &str| {
            std::fs::write(folder.path().join("script.sh"), script).expect("written");
        };
        assert_eq!(elsewhere(folder.path()), None);
        write(&stamped("true", Uuid::from_u128(7)));
        assert_eq!(elsewhere(folder.path()), None);
        write("true\n# barycenter: no-such-machine.example boot token\n");
        let host = elsewhere(folder.path());
        assert_eq!(host.as_deref(), Some("no-such-machine.example"));
        let token = Uuid::from_u128(7);
        write(&format!(
            "true\n# barycenter: no-such-machine.example boot {token}\n"
        ));
        std::fs::create_dir(folder.path().join("working")).expect("made");
        assert!(is_written_for(folder.path(), token) && !is_whole_here(folder.path(), token));
    }

    #[test]
    fn a_stamp_is_found_again_and_is_a_comment() {
        let folder = tempfile::tempdir().expect("a folder");
        let token = Uuid::from_u128(7);
        assert!(!is_written_for(folder.path(), token));
        let script = stamped("exit 3", token);
        std::fs::write(folder.path().join("script.sh"), &script).expect("written");
        assert!(!went_down_since(folder.path()));
        assert!(is_written_for(folder.path(), token));
        assert!(!is_written_for(folder.path(), Uuid::from_u128(8)));
        assert!(!is_whole_here(folder.path(), token), "nowhere to work");
        std::fs::create_dir(folder.path().join("working")).expect("made");
        assert!(is_whole_here(folder.path(), token));
        assert!(!is_whole_here(folder.path(), Uuid::from_u128(8)));
        let ran = std::process::Command::new("sh")
            .arg(folder.path().join("script.sh"))
            .status();
        assert_eq!(ran.expect("sh").code(), Some(3));
    }
}
