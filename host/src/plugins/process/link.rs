//! The server's end of the connection to one plugin process: makes calls, serves the host's services.

use super::capture::Allowance;
use super::frame::{Frame, Head, ReadError, Sort, begin, encode, finish, write};
use super::lane::{Lane, Lanes, NoLane};
use super::{limits, pass, services};
use crate::plugins::codec::Codec;
use crate::plugins::failure::{Failure, Loss};
use crate::plugins::methods::Method;
use barycenter_plugin_api::{Host, PluginError};
use std::collections::HashMap;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Questions of a plugin that are answered at the same time.
const QUESTIONS_MAX: u32 = 8;
/// How long a plugin's process may leave what is sent to it unread.
const WRITE_LIMIT: Duration = Duration::from_secs(5);
/// How long it takes at most until it is known how a process was lost.
const LOSS_LIMIT: Duration = Duration::from_millis(500);

pub(super) struct Link {
    pub pid: u32,
    stream: Mutex<UnixStream>,
    lanes: Lanes,
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
    sender: SyncSender<Loss>,
    pub method: &'static str,
    /// The whole frame, for the crash report.
    pub frame: Arc<Vec<u8>>,
}

/// Why a lane has no answer to a call.
enum NoAnswer {
    Late,
    /// It did not take the request within `WRITE_LIMIT`, though the call might have gone on.
    Stuck,
    Closed,
    Damaged(String),
}

impl Link {
    /// `lanes` is how many calls may be under way at once.
    pub fn new(pid: u32, stream: UnixStream, lanes: usize) -> std::io::Result<Self> {
        stream.set_write_timeout(Some(WRITE_LIMIT))?;
        Ok(Self {
            pid,
            stream: Mutex::new(stream),
            lanes: Lanes::new(lanes),
            next: AtomicU64::new(1),
            waiting: Mutex::new(Some(HashMap::new())),
            ending: Mutex::new(None),
            questions: AtomicU32::new(0),
            allowance: Allowance::new(),
        })
    }

    /// Calls a method and waits for its answer; when that takes longer than `limit`, the process is ended.
    pub fn call<M: Method>(
        self: &Arc<Self>,
        request: &M::Request,
        limit: Duration,
        host: &Host,
    ) -> Result<M::Answer, Failure> {
        let until = Instant::now() + limit;
        let unavailable = |why: String| Failure::Unavailable(why);
        let mut lane = self
            .lanes
            .take(until, || self.open_lane())
            .map_err(|no| match no {
                NoLane::Busy => unavailable(format!("all of its threads were busy for {limit:?}")),
                NoLane::Failed(error) => unavailable(format!("it cannot be reached: {error}")),
            })?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let begun = lane
            .write_call::<M>(number, request)
            .map_err(|what| unavailable(format!("the request cannot be sent: {what}")))
            .and_then(|frame| Ok((self.begin(number, M::NAME, &frame)?, frame)));
        let (losses, frame) = match begun {
            Ok(begun) => begun,
            Err(failure) => {
                self.lanes.give_back(lane);
                return Err(failure);
            }
        };
        let failed = match self.exchange::<M>(&mut lane, number, &frame, until, host) {
            Ok(answer) => {
                drop(frame);
                self.forget(number);
                self.lanes.give_back(lane);
                return answer;
            }
            Err(failed) => failed,
        };
        self.lanes.close();
        match failed {
            NoAnswer::Late => {
                self.end(Loss::Deadline(M::NAME, limit));
                self.wait_for_close();
                return Err(Failure::TimedOut(limit));
            }
            NoAnswer::Stuck => self.end(Loss::Silent(WRITE_LIMIT)),
            NoAnswer::Damaged(what) => self.end(Loss::Frame(what)),
            NoAnswer::Closed => {}
        }
        // Whoever watches the process says how it was lost.
        let loss = losses.recv_timeout(LOSS_LIMIT).or_else(|_| {
            self.end(Loss::Closed);
            losses.recv_timeout(LOSS_LIMIT)
        });
        Err(Failure::Lost(loss.unwrap_or(Loss::Closed)))
    }

    /// Sends a call and reads its answer; serves meanwhile what the plugin asks in the course of the call.
    fn exchange<M: Method>(
        self: &Arc<Self>,
        lane: &mut Lane,
        number: u64,
        frame: &[u8],
        until: Instant,
        host: &Host,
    ) -> Result<Result<M::Answer, Failure>, NoAnswer> {
        lane.until(until);
        let left = until.saturating_duration_since(Instant::now());
        if let Err(error) = lane.send(frame, left.min(WRITE_LIMIT)) {
            return Err(match error.kind() {
                std::io::ErrorKind::WouldBlock if left <= WRITE_LIMIT => NoAnswer::Late,
                std::io::ErrorKind::WouldBlock => NoAnswer::Stuck,
                _ => NoAnswer::Closed,
            });
        }
        loop {
            let frame = match lane.reader.next() {
                Ok(frame) => frame,
                Err(ReadError::Quiet) => return Err(NoAnswer::Late),
                Err(ReadError::Closed) => return Err(NoAnswer::Closed),
                Err(ReadError::Damaged(what)) => return Err(NoAnswer::Damaged(what)),
            };
            let (head, body) = frame.open().map_err(NoAnswer::Damaged)?;
            match head.sort {
                Sort::ANSWER if head.number == number => {
                    return Ok(M::Codec::read_answer(body).map_err(unreadable));
                }
                Sort::ERROR if head.number == number => {
                    let error = postcard::from_bytes(body);
                    return Ok(Err(error.map_or_else(unreadable, Failure::Plugin)));
                }
                Sort::ANSWER | Sort::ERROR => {
                    let what = format!("an answer to a call {} that nobody made", head.number);
                    return Err(NoAnswer::Damaged(what));
                }
                Sort::SERVICE => self.service(&head, body, host).map_err(NoAnswer::Damaged)?,
                other => return Err(NoAnswer::Damaged(format!("a frame of sort {other}"))),
            }
        }
    }

    fn open_lane(&self) -> std::io::Result<Lane> {
        let (ours, theirs) = UnixStream::pair()?;
        let frame = encode(Sort::LANE, 0, "", &()).map_err(std::io::Error::other)?;
        pass::write_with(&mut lock(&self.stream), &frame, theirs.into())?;
        Lane::new(ours)
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
        frame: &Arc<Vec<u8>>,
    ) -> Result<Receiver<Loss>, Failure> {
        let (sender, losses) = sync_channel(1);
        let call = Waiting {
            sender,
            method,
            frame: Arc::clone(frame),
        };
        match &mut *lock(&self.waiting) {
            Some(waiting) => {
                waiting.insert(number, call);
                Ok(losses)
            }
            None => Err(Failure::Unavailable("it was lost a moment ago".to_owned())),
        }
    }

    fn forget(&self, number: u64) {
        if let Some(waiting) = &mut *lock(&self.waiting) {
            waiting.remove(&number);
        }
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

    /// Takes in a frame that belongs to no call. The error says why the other side cannot be a plugin's process.
    pub fn take(self: &Arc<Self>, frame: &Frame<'_>, host: &Host) -> Result<(), String> {
        let (head, body) = frame.open()?;
        match head.sort {
            Sort::SERVICE => self.service(&head, body, host),
            Sort::PONG => Ok(()),
            other => Err(format!("a frame of sort {other}")),
        }
    }

    fn service(self: &Arc<Self>, head: &Head<'_>, body: &[u8], host: &Host) -> Result<(), String> {
        let may_log = || self.allowance.take(host);
        match services::quick(host, head.name, body, &may_log) {
            Some(done) => done,
            None => {
                self.serve(head.number, head.name, body, host);
                Ok(())
            }
        }
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
            Ok(bytes) => begin(Vec::new(), Sort::ANSWER, number, "").and_then(|mut frame| {
                frame.extend_from_slice(bytes);
                finish(&mut frame)?;
                Ok(frame)
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
        let _ = self.sender.send(loss.clone());
    }
}

fn unreadable(what: impl std::fmt::Display) -> Failure {
    Failure::Unreadable(format!("it cannot be read: {what}"))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
