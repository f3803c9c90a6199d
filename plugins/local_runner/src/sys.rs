//! The few calls into the kernel that the standard library does not offer.

#![expect(unsafe_code, reason = "calls into libc")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

/// An epoll instance; every registered descriptor carries a number.
#[derive(Debug)]
pub struct Epoll(OwnedFd);

impl Epoll {
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers are passed.
        owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }).map(Self)
    }

    /// Reports `key` whenever `fd` is readable, until `fd` is closed.
    pub fn add(&self, fd: &OwnedFd, key: u64) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN as u32,
            u64: key,
        };
        // SAFETY: both descriptors are open and `event` outlives the call.
        let result = unsafe {
            libc::epoll_ctl(
                self.0.as_raw_fd(),
                libc::EPOLL_CTL_ADD,
                fd.as_raw_fd(),
                &raw mut event,
            )
        };
        checked(result).map(drop)
    }

    /// Waits until something is readable or `limit` has passed, and puts the keys into `keys`.
    pub fn wait(&self, keys: &mut Vec<u64>, limit: Option<Duration>) {
        const MOST: usize = 64; // per round; the rest comes with the next
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; MOST];
        // Rounded up, so that a timer has really passed when the call returns.
        let limit_ms = limit.map_or(-1, |limit| {
            i32::try_from(limit.as_micros().div_ceil(1000)).unwrap_or(i32::MAX)
        });
        // SAFETY: `events` has room for MOST entries.
        let count = unsafe {
            libc::epoll_wait(
                self.0.as_raw_fd(),
                events.as_mut_ptr(),
                MOST as i32,
                limit_ms,
            )
        };
        keys.clear();
        // An interrupted wait reports nothing; the caller waits again.
        keys.extend(
            events
                .iter()
                .take(usize::try_from(count).unwrap_or(0))
                .map(|event| event.u64),
        );
    }
}

/// Wakes a thread that waits in [`Epoll::wait`].
#[derive(Debug)]
pub struct Waker(OwnedFd);

impl Waker {
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers are passed.
        owned(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) }).map(Self)
    }

    pub fn fd(&self) -> &OwnedFd {
        &self.0
    }

    pub fn wake(&self) {
        let one = 1_u64;
        // SAFETY: eight bytes are read from `one`. A full counter already wakes.
        unsafe {
            libc::write(self.0.as_raw_fd(), (&raw const one).cast(), 8);
        }
    }

    /// Makes it unreadable until the next [`Waker::wake`].
    pub fn clear(&self) {
        let mut count = 0_u64;
        // SAFETY: eight bytes are written to `count`.
        unsafe {
            libc::read(self.0.as_raw_fd(), (&raw mut count).cast(), 8);
        }
    }
}

/// A descriptor that becomes readable when the process ends. Works for processes that are not
/// children, too.
pub fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: no pointers are passed. The kernel sets close-on-exec.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    owned(i32::try_from(fd).unwrap_or(-1))
}

/// Sends a signal to every process of a group. Nobody there is no error.
pub fn signal_group(group: i32, signal: i32) {
    if group > 1 {
        // SAFETY: no pointers are passed; `group` is neither this group (0) nor everybody (1).
        unsafe {
            libc::kill(-group, signal);
        }
    }
}

/// Whether the process leads its process group.
pub fn leads_group(pid: i32) -> bool {
    // SAFETY: no pointers are passed.
    unsafe { libc::getpgid(pid) == pid }
}

/// What the kernel knows about an ended child.
#[derive(Debug, Clone, Copy)]
pub struct Reaped {
    pub status: ExitStatus,
    pub cpu_ms: u64,
    pub max_rss_kb: u64,
}

/// Takes the status of a child that has ended; `None` when there is no such child.
pub fn reap(pid: i32) -> Option<Reaped> {
    let mut status = 0;
    // SAFETY: all zeros is a valid rusage.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are valid for the call.
    let result = unsafe { libc::wait4(pid, &raw mut status, libc::WNOHANG, &raw mut usage) };
    (result == pid).then(|| Reaped {
        status: ExitStatus::from_raw(status),
        cpu_ms: milliseconds(usage.ru_utime).saturating_add(milliseconds(usage.ru_stime)),
        max_rss_kb: u64::try_from(usage.ru_maxrss).unwrap_or(0),
    })
}

fn milliseconds(time: libc::timeval) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let micros = u64::try_from(time.tv_usec).unwrap_or(0);
    seconds.saturating_mul(1000).saturating_add(micros / 1000)
}

fn checked(result: i32) -> io::Result<i32> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn owned(fd: i32) -> io::Result<OwnedFd> {
    // SAFETY: the kernel has just handed out this descriptor.
    checked(fd).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Whether an error says that the machine lacks something just now: file descriptors, memory, processes, room.
pub fn is_lack(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::EMFILE | libc::ENFILE | libc::EAGAIN | libc::ENOMEM | libc::ENOSPC | libc::EDQUOT
        )
    )
}
