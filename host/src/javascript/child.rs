//! The process that evaluates: one script after the other, as long as somebody asks.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use rlimit::Resource;

use super::{Script, engine, frame};

/// How long a script may go on after its limit: the engine stops at its next instruction, which may never come.
const GRACE: Duration = Duration::from_millis(250);
/// Address space beside what scripts may have.
const OWN_MEMORY: u64 = 1 << 30;

/// What the hidden subcommand does: answers on the socket that is its standard input.
pub fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Whoever stops the server tells the whole group or unit; a script that is under way is still to be answered, and this process
/// ends with the server's.
#[expect(unsafe_code, reason = "signals are ignored through a C function")]
fn outlive_signals() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        // SAFETY: takes numbers only, before there are other threads.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

fn serve() -> io::Result<()> {
    outlive_signals();
    for (resource, most) in [
        (Resource::CORE, 0),
        (Resource::FSIZE, 0),
        (Resource::NOFILE, 16),
        (Resource::AS, OWN_MEMORY),
    ] {
        let (_, hard) = resource.get()?;
        resource.set(most.min(hard), most.min(hard))?;
    }
    let mut socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let (watch, deadlines) = sync_channel(0);
    std::thread::Builder::new()
        .stack_size(64 << 10)
        .spawn(move || end_when_overdue(&deadlines))?;
    // Whatever the system refuses, it has refused by now.
    frame::send(&mut socket, &())?;
    loop {
        // The connection ends with the process that asks.
        let Ok(script) = frame::receive::<Script>(&mut socket) else {
            return Ok(());
        };
        let answer = watched(&watch, script.limits.time + GRACE, || {
            engine::evaluate(&script)
        });
        frame::send(&mut socket, &answer)?;
    }
}

fn watched<T>(watch: &SyncSender<Option<Instant>>, time: Duration, work: impl FnOnce() -> T) -> T {
    let _ = watch.send(Some(Instant::now() + time));
    let done = work();
    let _ = watch.send(None);
    done
}

/// Ends the process once a deadline passes that was not taken back.
fn end_when_overdue(deadlines: &Receiver<Option<Instant>>) {
    while let Ok(deadline) = deadlines.recv() {
        let Some(deadline) = deadline else { continue };
        let left = deadline.saturating_duration_since(Instant::now());
        match deadlines.recv_timeout(left) {
            Err(RecvTimeoutError::Timeout) => std::process::exit(1),
            Ok(_) | Err(RecvTimeoutError::Disconnected) => {}
        }
    }
}
