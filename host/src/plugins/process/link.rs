//! The server's end of the connection to one plugin process: sends calls, hands out answers, serves the host's services.

use super::capture::Allowance;
use super::frame::{Frame, Sort, encode, write};
use super::{limits, services};
use crate::plugins::failure::{Failure, Loss};
use crate::plugins::methods::Method;
use barycenter_plugin_api::{Host, PluginError};
use std::collections::HashMap;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Questions of a plugin that are answered at the same time.
const QUESTIONS_MAX: u32 = 8;
/// How long a plugin's process may leave what is sent to it unread.
const WRITE_LIMIT: Duration = Duration::from_secs(5);

pub(super) struct Link {
    pub pid: u32,
    stream: Mutex<UnixStream>,
    next: AtomicU64,
    /// `None` once the process is lost.
    waiting: Mutex<Option<HashMap<u64, Waiting>>>,
    /// Why this side ended the process; what the system says about its end is not the reason then.
    ending: Mutex<Option<Loss>>,
    questions: AtomicU32,
    pub allowance: Allowance,
}

/// A call that has no answer yet.
pub(super) struct Waiting {
    sender: SyncSender<Reply>,
    pub method: &'static str,
    /// The whole frame, for the crash report.
    pub frame: Arc<Vec<u8>>,
}

enum Reply {
    Answer(Frame),
    Lost(Loss),
}

impl Link {
    pub fn new(pid: u32, stream: UnixStream) -> std::io::Result<Self> {
        stream.set_write_timeout(Some(WRITE_LIMIT))?;
        Ok(Self {
            pid,
            stream: Mutex::new(stream),
            next: AtomicU64::new(1),
            waiting: Mutex::new(Some(HashMap::new())),
            ending: Mutex::new(None),
            questions: AtomicU32::new(0),
            allowance: Allowance::new(),
        })
    }

    /// Calls a method and waits for its answer; when that takes longer than `limit`, the process is ended.
    pub fn call<M: Method>(
        &self,
        request: &M::Request,
        limit: Duration,
    ) -> Result<M::Answer, Failure> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let frame = encode(Sort::CALL, number, M::NAME, request)
            .map_err(|what| Failure::Unavailable(format!("the request cannot be sent: {what}")))?;
        let replies = self.begin(number, M::NAME, Arc::new(frame))?;
        match replies.recv_timeout(limit) {
            Ok(Reply::Answer(frame)) => read_answer::<M>(&frame),
            Ok(Reply::Lost(loss)) => Err(Failure::Lost(loss)),
            Err(RecvTimeoutError::Timeout) => {
                self.end(Loss::Deadline(M::NAME, limit));
                self.wait_for_close();
                Err(Failure::TimedOut(limit))
            }
            Err(RecvTimeoutError::Disconnected) => Err(Failure::Lost(Loss::Closed)),
        }
    }

    /// Waits until it is known to everybody that the process is gone, so that who calls again waits for the next one.
    fn wait_for_close(&self) {
        let until = Instant::now() + Duration::from_millis(200);
        while lock(&self.waiting).is_some() && Instant::now() < until {
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    fn begin(
        &self,
        number: u64,
        method: &'static str,
        frame: Arc<Vec<u8>>,
    ) -> Result<Receiver<Reply>, Failure> {
        let (sender, replies) = sync_channel(1);
        match &mut *lock(&self.waiting) {
            Some(waiting) => {
                let frame = Arc::clone(&frame);
                waiting.insert(
                    number,
                    Waiting {
                        sender,
                        method,
                        frame,
                    },
                );
            }
            None => {
                return Err(Failure::Unavailable("it was lost a moment ago".to_owned()));
            }
        }
        self.send(&frame);
        Ok(replies)
    }

    /// Sends a whole frame. Where that fails the process is ended, and whoever waits is told.
    pub fn send(&self, frame: &[u8]) {
        let written = write(&mut *lock(&self.stream), frame);
        if let Err(error) = written {
            let is_late = error.kind() == std::io::ErrorKind::WouldBlock;
            if is_late {
                self.end(Loss::Silent(WRITE_LIMIT));
            }
            // Otherwise it is gone already, and whoever reads finds out how.
        }
    }

    pub fn ping(&self) {
        if let Ok(frame) = encode(Sort::PING, 0, "", &()) {
            self.send(&frame);
        }
    }

    pub fn stop(&self) {
        if let Ok(frame) = encode(Sort::STOP, 0, "", &()) {
            self.send(&frame);
        }
    }

    /// Ends the process, for this reason if there is none yet.
    pub fn end(&self, why: Loss) {
        lock(&self.ending).get_or_insert(why);
        limits::kill_group(self.pid);
    }

    /// Why this side ended it, if it did.
    pub fn ending(&self) -> Option<Loss> {
        lock(&self.ending).clone()
    }

    /// Takes in a frame. The error says why the other side cannot be a plugin's process.
    pub fn take(self: &Arc<Self>, frame: Frame, host: &Host) -> Result<(), String> {
        let (head, body) = frame.open()?;
        match head.sort {
            Sort::ANSWER | Sort::ERROR => {
                let number = head.number;
                let waiting = lock(&self.waiting)
                    .as_mut()
                    .and_then(|waiting| waiting.remove(&number));
                match waiting {
                    // Whoever waited may have given up.
                    Some(waiting) => drop(waiting.sender.send(Reply::Answer(frame))),
                    None => return Err(format!("an answer to a call {number} that nobody made")),
                }
            }
            Sort::SERVICE => {
                let may_log = || self.allowance.take(host);
                match services::quick(host, head.name, body, &may_log) {
                    Some(done) => done?,
                    None => self.serve(head.number, head.name, body, host),
                }
            }
            Sort::PONG => {}
            other => return Err(format!("a frame of sort {other}")),
        }
        Ok(())
    }

    /// Answers a question on a thread of its own: it may have to wait for the database.
    fn serve(self: &Arc<Self>, number: u64, name: &str, body: &[u8], host: &Host) {
        let link = Arc::clone(self);
        let (name, body, host) = (name.to_owned(), body.to_vec(), host.clone());
        let refuse = |link: &Self, text: &str| {
            link.reply(number, Err(PluginError::refused(text)));
        };
        if self.questions.fetch_add(1, Ordering::Relaxed) >= QUESTIONS_MAX {
            self.questions.fetch_sub(1, Ordering::Relaxed);
            return refuse(self, "Too many questions at once");
        }
        let started = std::thread::Builder::new()
            .name("plugin-query".to_owned())
            .spawn(move || {
                let answer = services::slow(&host, &name, &body);
                link.questions.fetch_sub(1, Ordering::Relaxed);
                link.reply(number, answer);
            });
        if started.is_err() {
            self.questions.fetch_sub(1, Ordering::Relaxed);
            refuse(self, "The server has no thread for it");
        }
    }

    fn reply(&self, number: u64, answer: Result<Vec<u8>, PluginError>) {
        let frame = match &answer {
            Ok(bytes) => super::frame::begin(Sort::ANSWER, number, "").and_then(|mut frame| {
                frame.extend_from_slice(bytes);
                super::frame::finish(frame)
            }),
            Err(error) => encode(Sort::ERROR, number, "", error),
        };
        match frame {
            Ok(frame) => self.send(&frame),
            Err(what) => self.end(Loss::Frame(format!(
                "the answer to its question cannot be sent: {what}"
            ))),
        }
    }

    /// The process is gone: takes the calls that wait. From now on there are none.
    pub fn close(&self) -> Vec<Waiting> {
        let waiting = lock(&self.waiting).take();
        waiting
            .into_iter()
            .flatten()
            .map(|(_, waiting)| waiting)
            .collect()
    }
}

impl Waiting {
    /// Tells whoever waits.
    pub fn tell(&self, loss: &Loss) {
        let _ = self.sender.send(Reply::Lost(loss.clone()));
    }
}

fn read_answer<M: Method>(frame: &Frame) -> Result<M::Answer, Failure> {
    let (head, body) = frame.open().map_err(Failure::Unreadable)?;
    let unreadable =
        |error: postcard::Error| Failure::Unreadable(format!("it cannot be read: {error}"));
    if head.sort == Sort::ERROR {
        return Err(Failure::Plugin(
            postcard::from_bytes(body).map_err(unreadable)?,
        ));
    }
    postcard::from_bytes(body).map_err(unreadable)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
