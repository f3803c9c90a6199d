//! Little room: a data directory on a file system of its own, which only one thread and its children see.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

fn text(text: &[u8]) -> CString {
    CString::new(text).expect("no zero bytes")
}

/// Runs `test` on a thread with mounts of its own. False, with a note, where that is not allowed.
pub fn in_own_mounts(what: &str, test: impl FnOnce() + Send + 'static) -> bool {
    let thread = std::thread::spawn(move || {
        let root = text(b"/");
        #[expect(unsafe_code, reason = "there is no safe way to ask for it")]
        // SAFETY: system calls with texts that live long enough; only this thread is changed.
        let allowed = unsafe {
            libc::unshare(libc::CLONE_NEWNS) == 0
                && libc::mount(
                    std::ptr::null(),
                    root.as_ptr(),
                    std::ptr::null(),
                    libc::MS_REC | libc::MS_PRIVATE,
                    std::ptr::null(),
                ) == 0
        };
        if allowed {
            test();
        }
        allowed
    });
    let allowed = match thread.join() {
        Ok(allowed) => allowed,
        Err(panic) => std::panic::resume_unwind(panic),
    };
    if !allowed {
        crate::left_out::note(&format!(
            "{what}: run the tests as root, or with CAP_SYS_ADMIN"
        ));
    }
    allowed
}

/// A file system in memory at this folder.
pub(crate) fn mount(folder: &Path, mebibytes: u32) {
    let (kind, place) = (text(b"tmpfs"), text(folder.as_os_str().as_bytes()));
    let options = text(format!("size={mebibytes}m,mode=700").as_bytes());
    #[expect(unsafe_code, reason = "there is no safe way to ask for it")]
    // SAFETY: a system call with texts that live long enough.
    let done = unsafe {
        libc::mount(
            kind.as_ptr(),
            place.as_ptr(),
            kind.as_ptr(),
            0,
            options.as_ptr().cast(),
        )
    };
    assert_eq!(done, 0, "mount: {}", std::io::Error::last_os_error());
}

pub(crate) fn unmount(folder: &Path) {
    let place = text(folder.as_os_str().as_bytes());
    #[expect(unsafe_code, reason = "there is no safe way to ask for it")]
    // SAFETY: a system call with a text that lives long enough.
    unsafe {
        libc::umount2(place.as_ptr(), libc::MNT_DETACH);
    }
}
