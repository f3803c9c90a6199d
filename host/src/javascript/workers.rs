//! The processes that evaluate, started when they are needed and kept a while for the next script.

use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{COMMAND, Failure, Script, frame};
use crate::program::program;

/// So many wait for the next script; whoever asks at the same moment gets another.
const KEPT: usize = 2;
/// A process ends itself soon after the limit of its script; one that does not, is ended after this.
const PATIENCE: Duration = Duration::from_secs(1);
/// A machine that is short of processes or files may have some again in a moment.
const ATTEMPTS: u32 = 5;
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(200);

static IDLE: Mutex<Vec<Worker>> = Mutex::new(Vec::new());

type Answer = Result<Option<String>, Failure>;

/// What the script made, a text of JSON; None for undefined.
pub(super) fn evaluate(script: &Script) -> Answer {
    let request = frame::pack(script).map_err(|error| Failure::Failed(error.to_string()))?;
    let time = script.limits.time;
    // An idle one may have been killed meanwhile; a script changes nothing, so asking another is harmless.
    while let Some(worker) = take() {
        if let Some(answer) = ask(worker, &request, time) {
            return answer;
        }
    }
    // One that has just begun may be ended from outside, by a system that is short of memory; twice in a row it is the script.
    for _ in 0..2 {
        let worker = start().map_err(|error| Failure::Unavailable(error.to_string()))?;
        if let Some(answer) = ask(worker, &request, time) {
            return answer;
        }
    }
    Err(Failure::Failed(
        "the JavaScript engine ended unexpectedly".to_owned(),
    ))
}

fn idle() -> std::sync::MutexGuard<'static, Vec<Worker>> {
    IDLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The list is locked for no longer than this.
fn take() -> Option<Worker> {
    idle().pop()
}

/// None when the process ended before the script's time was over.
fn ask(mut worker: Worker, request: &[u8], time: Duration) -> Option<Answer> {
    let begun = Instant::now();
    match worker.exchange(request, time + PATIENCE) {
        Ok(answer) => {
            let mut idle = idle();
            if idle.len() < KEPT {
                idle.push(worker);
            }
            Some(answer)
        }
        Err(_) if begun.elapsed() >= time => Some(Err(Failure::TooSlow)),
        Err(_) => None,
    }
}

struct Worker {
    process: Child,
    socket: UnixStream,
}

impl Worker {
    /// It gets nothing of this process but the socket.
    fn start() -> io::Result<Worker> {
        let (socket, theirs) = UnixStream::pair()?;
        let process = Command::new(program())
            .arg(COMMAND)
            .env_clear()
            .current_dir("/")
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Worker { process, socket })
    }

    fn exchange(&mut self, request: &[u8], most: Duration) -> io::Result<Answer> {
        self.socket.set_write_timeout(Some(most))?;
        self.socket.set_read_timeout(Some(most))?;
        self.socket.write_all(request)?;
        frame::receive(&mut self.socket)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn start() -> io::Result<Worker> {
    let mut attempt = 1;
    loop {
        match Worker::start() {
            Err(_) if attempt < ATTEMPTS => attempt += 1,
            started => return started,
        }
        std::thread::sleep(BETWEEN_ATTEMPTS);
    }
}
