//! The processes that evaluate, started when they are needed and kept a while for the next script. Where none can be started,
//! which is the machine's trouble and no script's, one is tried from time to time, and everybody else is told so at once.

use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{COMMAND, Failure, Script, frame};
use crate::program::program;

/// So many wait for the next script; whoever asks at the same moment gets another.
const KEPT: usize = 2;
/// A process ends itself soon after the limit of its script; one that does not, is ended after this.
const PATIENCE: Duration = Duration::from_secs(1);
/// A process that is not ready for its first script after this never will be.
const BEGINNING: Duration = Duration::from_secs(5);
/// A machine that is short of processes or files may have some again in a moment.
const TRIED_FOR: Duration = Duration::from_millis(800);
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(200);
/// Where that was not so, one more is tried no sooner than this.
const REST: Duration = Duration::from_secs(1);

static POOL: Pool = Pool::of(program);

type Answer = Result<Option<String>, Failure>;

/// What the script made, a text of JSON; None for undefined.
pub(super) fn evaluate(script: &Script) -> Answer {
    POOL.evaluate(script)
}

struct Pool {
    program: fn() -> PathBuf,
    idle: Mutex<Vec<Worker>>,
    away: Mutex<Option<Away>>,
}

/// No process can be started.
struct Away {
    why: String,
    /// When that was last tried.
    tried: Instant,
}

impl Pool {
    const fn of(program: fn() -> PathBuf) -> Pool {
        Pool {
            program,
            idle: Mutex::new(Vec::new()),
            away: Mutex::new(None),
        }
    }

    fn evaluate(&self, script: &Script) -> Answer {
        let request = frame::pack(script).map_err(|error| Failure::Failed(error.to_string()))?;
        let time = script.limits.time;
        // An idle one may have been killed meanwhile; a script changes nothing, so asking another is harmless.
        while let Some(worker) = self.take() {
            if let Some(answer) = self.ask(worker, &request, time) {
                return answer;
            }
        }
        // One that has just begun may be ended from outside, by a system that is short of memory; twice in a row it is the
        // script.
        for _ in 0..2 {
            let worker = self.start().map_err(Failure::Unavailable)?;
            if let Some(answer) = self.ask(worker, &request, time) {
                return answer;
            }
        }
        Err(Failure::Failed(
            "the JavaScript engine ended unexpectedly".to_owned(),
        ))
    }

    /// The list is locked for no longer than this.
    fn take(&self) -> Option<Worker> {
        self.idle().pop()
    }

    /// None when the process ended before the script's time was over.
    fn ask(&self, mut worker: Worker, request: &[u8], time: Duration) -> Option<Answer> {
        let begun = Instant::now();
        match worker.exchange(request, time + PATIENCE) {
            Ok(answer) => {
                let mut idle = self.idle();
                if idle.len() < KEPT {
                    idle.push(worker);
                }
                Some(answer)
            }
            Err(_) if begun.elapsed() >= time => Some(Err(Failure::TooSlow)),
            Err(_) => None,
        }
    }

    /// A new process, or why there is none.
    fn start(&self) -> Result<Worker, String> {
        let is_known = match self.away().as_ref() {
            Some(away) if away.tried.elapsed() < REST => return Err(away.why.clone()),
            known => known.is_some(),
        };
        let begun = Instant::now();
        let started = loop {
            match Worker::start(&(self.program)()) {
                Err(_) if !is_known && begun.elapsed() < TRIED_FOR => {
                    std::thread::sleep(BETWEEN_ATTEMPTS);
                }
                started => break started,
            }
        };
        let mut away = self.away();
        match started {
            Ok(worker) => {
                if away.take().is_some() {
                    tracing::info!("scripts can be evaluated again");
                }
                Ok(worker)
            }
            Err(error) => {
                let why = error.to_string();
                let tried = Instant::now();
                let new = Away { why, tried };
                let why = new.why.clone();
                if away.replace(new).is_none() {
                    tracing::error!(
                        "what needs scripts waits, as no process can be started for them: {error}"
                    );
                }
                Err(why)
            }
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Worker>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn away(&self) -> MutexGuard<'_, Option<Away>> {
        self.away.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Worker {
    process: Child,
    socket: UnixStream,
}

impl Worker {
    /// It gets nothing of this process but the socket, and says when it has all that it needs itself: one that ends before is
    /// ended by no script.
    fn start(program: &PathBuf) -> io::Result<Worker> {
        let (socket, theirs) = UnixStream::pair()?;
        let process = Command::new(program)
            .arg(COMMAND)
            .env_clear()
            .current_dir("/")
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut worker = Worker { process, socket };
        worker.socket.set_read_timeout(Some(BEGINNING))?;
        match frame::receive::<()>(&mut worker.socket) {
            Ok(()) => Ok(worker),
            Err(error) => Err(io::Error::other(format!("it did not get ready ({error})"))),
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::javascript::Limits;

    fn ask(pool: &Pool) -> (Answer, Duration) {
        let begun = Instant::now();
        let answer = pool.evaluate(&Script {
            source: "1".to_owned(),
            globals: Vec::new(),
            limits: Limits::default(),
        });
        (answer, begun.elapsed())
    }

    #[test]
    fn where_no_process_starts_nothing_is_said_of_the_script_and_nobody_else_waits_for_one() {
        let programs: [fn() -> PathBuf; 2] = [
            || "/nowhere/at/all".into(),
            // It starts, and ends before anything is asked.
            || "/bin/true".into(),
        ];
        for program in programs {
            let pool = Pool::of(program);
            let (answer, first) = ask(&pool);
            assert!(matches!(answer, Err(Failure::Unavailable(_))), "{answer:?}");
            assert!(first >= TRIED_FOR, "{first:?}");
            let (answer, second) = ask(&pool);
            assert!(matches!(answer, Err(Failure::Unavailable(_))), "{answer:?}");
            assert!(second < BETWEEN_ATTEMPTS, "{second:?}");
        }
    }
}
