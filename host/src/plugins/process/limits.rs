//! What a plugin's process may use, set by itself before the plugin's code runs.

#![expect(unsafe_code, reason = "calls into libc")]

use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

/// The limits of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ChildLimits {
    /// Address space in bytes.
    pub memory: Option<u64>,
    /// Open files.
    pub files: Option<u64>,
    /// What the child starts inherits its limits: for a runner, whose children are people's jobs, only what the
    /// operator asked for is limited.
    pub has_jobs: bool,
}

/// Applies them to this process.
pub(super) fn apply(limits: &ChildLimits) -> io::Result<()> {
    if let Some(memory) = limits.memory {
        set(libc::RLIMIT_AS, memory)?;
    }
    if let Some(files) = limits.files {
        set(libc::RLIMIT_NOFILE, files)?;
    }
    // A core file of a plugin helps nobody, and writing it would hold up the restart. A limit of zero does not keep
    // a program from being fed with it; being undumpable does, and is not inherited by what this process executes.
    // SAFETY: takes numbers only.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
    if !limits.has_jobs {
        set(libc::RLIMIT_CORE, 0)?;
    }
    Ok(())
}

fn set(resource: libc::__rlimit_resource_t, wanted: u64) -> io::Result<()> {
    let mut now = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `now` is valid for the call.
    if unsafe { libc::getrlimit(resource, &raw mut now) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let value = wanted.min(now.rlim_max);
    let limit = libc::rlimit {
        rlim_cur: value,
        rlim_max: value,
    };
    // SAFETY: `limit` is valid for the call.
    match unsafe { libc::setrlimit(resource, &raw const limit) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The kernel ends this process when the server's thread that watches it is gone.
pub(super) fn die_with_parent() {
    // SAFETY: takes numbers only.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
    }
}

/// Takes the connection away from standard input, puts nothing in its place, and closes whatever else is open.
pub(super) fn take_connection() -> io::Result<UnixStream> {
    // SAFETY: takes numbers only.
    let fd = unsafe { libc::fcntl(libc::STDIN_FILENO, libc::F_DUPFD_CLOEXEC, 3) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just handed out this descriptor, and nobody else has it.
    let connection = unsafe { OwnedFd::from_raw_fd(fd) };
    let nothing = std::fs::File::open("/dev/null")?;
    // SAFETY: both descriptors are open.
    if unsafe { libc::dup2(nothing.as_raw_fd(), libc::STDIN_FILENO) } < 0 {
        return Err(io::Error::last_os_error());
    }
    drop(nothing);
    close_all_but(fd);
    Ok(UnixStream::from(connection))
}

/// Closes every descriptor from 3 on but this one.
fn close_all_but(kept: RawFd) {
    let Ok(kept) = u32::try_from(kept) else {
        return;
    };
    let mut ranges = vec![(kept + 1, u32::MAX)];
    if kept > 3 {
        ranges.push((3, kept - 1));
    }
    for (first, last) in ranges {
        // SAFETY: nothing in this process has a descriptor from 3 on yet, but the one that is kept.
        unsafe {
            libc::syscall(libc::SYS_close_range, first, last, 0);
        }
    }
}

/// Ends a process and its whole group at once.
pub(super) fn kill_group(pid: u32) {
    if let Ok(pid) = i32::try_from(pid)
        && pid > 1
    {
        // SAFETY: takes numbers only; the group is neither this one (0) nor everybody (1).
        unsafe {
            libc::kill(-pid, libc::SIGKILL);
            libc::kill(pid, libc::SIGKILL);
        }
    }
}

/// Whether a child has ended; it stays a zombie, so that its number still means it.
pub(super) fn has_ended(pid: u32) -> bool {
    // SAFETY: all zeros is a valid siginfo_t.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `info` is valid for the call.
    let result = unsafe { libc::waitid(libc::P_PID, pid, &raw mut info, flags) };
    // SAFETY: waitid has filled it in, or left the zeros.
    result != 0 || unsafe { info.si_pid() } != 0
}

/// Ends this process without running anything else.
pub(super) fn end_at_once(code: i32) -> ! {
    // SAFETY: does not return.
    unsafe { libc::_exit(code) }
}

/// Waits until one of the descriptors is readable or closed; which.
pub(super) fn readable(fds: [Option<RawFd>; 2]) -> io::Result<[bool; 2]> {
    let poll = |fd: Option<RawFd>| libc::pollfd {
        fd: fd.unwrap_or(-1), // a negative one is passed over
        events: libc::POLLIN,
        revents: 0,
    };
    let mut polled = fds.map(poll);
    loop {
        // SAFETY: `polled` has two entries and is valid for the call.
        if unsafe { libc::poll(polled.as_mut_ptr(), 2, -1) } >= 0 {
            return Ok(polled.map(|one| one.revents != 0));
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
