//! How much room there is where the data is, and how many file descriptors this process has left.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use serde_json::{Value, json};

/// With less than this the server is not ready: the next upload or job would find no room.
const MIN_FREE_BYTES: u64 = 4 << 20;
/// The same of files that can still be made.
const MIN_FREE_FILES: u64 = 64;

/// What a file system has left for this user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Room {
    bytes: u64,
    /// None where the file system does not count them.
    files: Option<u64>,
}

/// Whether there is room below `folder`, and the part of `/readyz` that says so.
pub fn look(folder: &Path) -> (bool, Value) {
    let room = room(folder);
    let trouble = trouble(room);
    let mut report = json!({ "ok": trouble.is_none() });
    if let Some(room) = room {
        report["free_bytes"] = json!(room.bytes);
    }
    if let Some(reason) = &trouble {
        report["reason"] = json!(reason);
    }
    (trouble.is_none(), report)
}

fn trouble(room: Option<Room>) -> Option<String> {
    let Some(room) = room else {
        return Some("the data directory cannot be looked at".to_owned());
    };
    if room.bytes < MIN_FREE_BYTES {
        let free = room.bytes >> 10;
        return Some(format!(
            "the disk of the data directory is full ({free} KiB free)"
        ));
    }
    let files = room.files?;
    (files < MIN_FREE_FILES)
        .then(|| format!("the file system of the data directory takes only {files} more files"))
}

#[expect(unsafe_code, reason = "the standard library does not ask file systems")]
fn room(folder: &Path) -> Option<Room> {
    let path = CString::new(folder.as_os_str().as_bytes()).ok()?;
    let mut found = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the path ends with a zero byte, and there is room for the answer, which is only read when the call succeeded.
    let found = unsafe {
        if libc::statvfs(path.as_ptr(), found.as_mut_ptr()) != 0 {
            return None;
        }
        found.assume_init()
    };
    Some(Room {
        bytes: found.f_bavail.saturating_mul(found.f_frsize),
        files: (found.f_files > 0).then_some(found.f_favail),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_of_either_is_trouble() {
        let of = |bytes, files| trouble(Some(Room { bytes, files }));
        assert_eq!(of(1 << 30, Some(1_000)), None);
        assert_eq!(of(1 << 30, None), None);
        assert!(of(1 << 20, None).is_some_and(|why| why.contains("full (1024 KiB free)")));
        assert!(of(1 << 30, Some(3)).is_some_and(|why| why.contains("3 more files")));
        assert!(trouble(None).is_some());
    }

    #[test]
    fn this_machine_answers() {
        assert!(room(Path::new("/")).is_some());
        assert!(room(Path::new("/there/is/no/such/folder")).is_none());
    }
}
