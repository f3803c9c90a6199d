//! The plugin's process: loads the library the server names and answers its calls.
//!
//! The main thread reads what is asked now and then; each lane has a thread of its own that reads calls, makes them and
//! answers, so that a plugin that computes does not keep the process from showing signs of life, or from hearing what
//! the host answers it.

use super::frame::{
    Create, FrameReader, Head, Hello, LoadedWord, PROTOCOL, Refusal, Sort, begin, encode, finish,
    write,
};
use super::pass::Taking;
use super::watch::Watched;
use super::{limits, services};
use crate::plugins::codec::Kept;
use crate::plugins::load::open_stored;
use crate::plugins::methods::{
    Capabilities, Method, Object, RestoreState, SchedulerStartup, Served, serve,
};
use barycenter_plugin_api::abi::PluginRootRef;
use barycenter_plugin_api::{API_VERSION, ErrorCode, Host, PluginError, PluginKind};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::cell::RefCell;
use std::collections::HashMap;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// The exit code of a process that could not begin.
const BROKEN: i32 = 70;

/// What the hidden subcommand does. Standard input is the connection to the server.
pub fn main() -> ExitCode {
    limits::die_with_parent();
    match run() {
        Ok(()) => limits::end_at_once(0),
        Err(message) => {
            eprintln!("{message}");
            limits::end_at_once(BROKEN)
        }
    }
}

fn run() -> Result<(), String> {
    let connection = limits::take_connection()
        .map_err(|error| format!("this command is for the server's own use ({error})"))?;
    let reading = connection.try_clone().map_err(|error| error.to_string())?;
    let mut reader = FrameReader::new(Taking::new(reading));
    let link = Arc::new(ToServer::new(connection));
    let hello: Hello = expect(&mut reader, Sort::HELLO)?;
    let refuse = |by_plugin, message: String| {
        link.send(Sort::REFUSED, 0, "", &Refusal { by_plugin, message })
    };
    if hello.protocol.1 < PROTOCOL.0 || hello.protocol.0 > PROTOCOL.1 {
        let (theirs, ours) = (hello.protocol, PROTOCOL);
        return refuse(
            false,
            format!("the server speaks protocol {theirs:?}, this program {ours:?}"),
        );
    }
    if let Err(error) = limits::apply(&hello.limits) {
        return refuse(false, format!("its limits could not be set ({error})"));
    }
    let loaded = match open_stored(&hello.library, &hello.sha256) {
        Ok(loaded) => loaded,
        Err(error) => return refuse(false, error.to_string()),
    };
    let Some(kind) = PluginKind::ALL
        .into_iter()
        .find(|kind| kind.name() == hello.kind)
    else {
        return refuse(false, format!("there is no kind {}", hello.kind));
    };
    link.send(
        Sort::LOADED,
        0,
        "",
        &LoadedWord {
            protocol: PROTOCOL.1.min(hello.protocol.1),
            api: API_VERSION,
            info: loaded.info.clone(),
            capabilities: Capabilities::of(loaded.root, kind),
        },
    )?;
    let create: Create = expect(&mut reader, Sort::CREATE)?;
    let host = Host::new(services::ToHost::new(Arc::clone(&link), hello.log_level));
    let work = Arc::new(Made::default());
    let (making, making_work) = (Arc::clone(&link), Arc::clone(&work));
    let root = loaded.root;
    start("create", move || {
        let made = make(root, kind, &create, host);
        let sent = match made {
            Ok(object) => {
                making_work.open(object);
                making.send(Sort::CREATED, 0, "", &())
            }
            Err(error) => {
                let refusal = Refusal {
                    by_plugin: true,
                    message: error.to_string(),
                };
                making.send(Sort::REFUSED, 0, "", &refusal)
            }
        };
        if let Err(message) = sent {
            eprintln!("{message}");
        }
    })?;
    // The connection ends when the server does.
    while let Ok(frame) = reader.next() {
        let (head, body) = frame.open()?;
        match head.sort {
            Sort::LANE => {
                let lane = reader
                    .stream()
                    .received()
                    .ok_or("the server sent no lane")?;
                let (work, link) = (Arc::clone(&work), Arc::clone(&link));
                start("call", move || {
                    if let Err(message) = serve_lane(lane, &work, &link) {
                        eprintln!("{message}");
                        limits::end_at_once(BROKEN);
                    }
                })?;
            }
            Sort::ANSWER | Sort::ERROR => link.answered(&head, body),
            Sort::PING => link.send(Sort::PONG, head.number, "", &())?,
            Sort::STOP => {
                let work = Arc::clone(&work);
                start("stop", move || {
                    work.close();
                    limits::end_at_once(0);
                })?;
            }
            other => return Err(format!("the server sent a frame of sort {other}")),
        }
    }
    Ok(())
}

fn make(
    root: PluginRootRef,
    kind: PluginKind,
    how: &Create,
    host: Host,
) -> Result<Object, PluginError> {
    let object = Object::create(root, kind, &how.config, host.clone())?;
    if kind == PluginKind::Scheduler {
        if how.startup {
            SchedulerStartup::call(&object, &())?;
        }
        if let Some(state) = &how.state
            && let Err(error) = RestoreState::call(&object, state)
        {
            // Better without its past than not at all.
            host.warn(format_args!("it begins anew, without its state: {error}"));
        }
    }
    Ok(object)
}

fn start(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), String> {
    let started = std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(body);
    started
        .map(drop)
        .map_err(|error| format!("no thread could be started: {error}"))
}

/// The next frame, which must be of this sort.
fn expect<T: DeserializeOwned>(reader: &mut FrameReader<Taking>, sort: u8) -> Result<T, String> {
    let frame = reader
        .next()
        .map_err(|error| format!("the server's first words are missing ({error:?})"))?;
    let (head, body) = frame.open()?;
    if head.sort != sort {
        return Err(format!(
            "the server sent a frame of sort {} where {sort} was due",
            head.sort
        ));
    }
    postcard::from_bytes(body)
        .map_err(|error| format!("the server's words cannot be read: {error}"))
}

/// The object, once it is made and until it is dropped.
#[derive(Default)]
struct Made {
    object: Mutex<Option<Arc<Object>>>,
    arrived: Condvar,
}

impl Made {
    fn open(&self, object: Object) {
        *self.lock() = Some(Arc::new(object));
        self.arrived.notify_all();
    }

    /// Drops the object, once no call has it any more.
    fn close(&self) {
        let object = self.lock().take();
        drop(object);
    }

    fn object(&self) -> Arc<Object> {
        let mut object = self.lock();
        loop {
            if let Some(object) = &*object {
                return Arc::clone(object);
            }
            let waited = self.arrived.wait(object);
            object = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Arc<Object>>> {
        self.object.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

thread_local! {
    /// Where this thread answers, if it makes calls.
    static LANE: RefCell<Option<UnixStream>> = const { RefCell::new(None) };
}

/// Answers one call after the other.
fn serve_lane(mut lane: UnixStream, work: &Made, link: &ToServer) -> Result<(), String> {
    let reading = lane.try_clone().map_err(|error| error.to_string())?;
    let services = lane.try_clone().map_err(|error| error.to_string())?;
    LANE.set(Some(services));
    let (mut reader, mut kept, mut out) = (
        FrameReader::new(Watched::new(reading)),
        Kept::default(),
        Vec::new(),
    );
    while let Ok(frame) = reader.next() {
        let (head, body) = frame.open()?;
        if head.sort != Sort::CALL {
            return Err(format!("the server sent a frame of sort {}", head.sort));
        }
        out = begin(out, Sort::ANSWER, head.number, "")?;
        let served = serve(&work.object(), head.name, body, &mut kept, &mut out);
        let (error, answer) = match served {
            Served::Answered(answer) => {
                let fault = finish(&mut out).err();
                let fault = fault.map(|what| format!("its answer cannot be sent: {what}"));
                (fault.map(PluginError::failed), Some(answer))
            }
            Served::Failed(error) => (Some(error), None),
            Served::Unreadable(what) => (Some(PluginError::new(ErrorCode::REFUSED, what)), None),
        };
        let sent = match error {
            None => write(&mut lane, &out),
            Some(error) => write(&mut lane, &encode(Sort::ERROR, head.number, "", &error)?),
        };
        if sent.is_err() {
            link.is_gone();
        }
        // The server reads it while what it was made of is dropped.
        drop(answer);
        kept.shrink(body.len());
    }
    Ok(())
}

/// What the host answered, in bytes.
type HostAnswer = Result<Vec<u8>, PluginError>;

/// The connection, as this process uses it.
pub(super) struct ToServer {
    stream: Mutex<UnixStream>,
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, SyncSender<HostAnswer>>>,
}

impl ToServer {
    fn new(stream: UnixStream) -> Self {
        Self {
            stream: Mutex::new(stream),
            next: AtomicU64::new(1),
            waiting: Mutex::default(),
        }
    }

    /// A service that gives nothing back.
    pub fn tell<T: Serialize + ?Sized>(&self, service: &str, request: &T) {
        if let Err(message) = self.ask_service(0, service, request) {
            eprintln!("the host could not be told: {message}");
        }
    }

    /// A service that gives something back. Waits for it.
    pub fn ask<T: Serialize + ?Sized, A: DeserializeOwned>(
        &self,
        service: &str,
        request: &T,
    ) -> Result<A, PluginError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = sync_channel(1);
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(number, sender);
        self.ask_service(number, service, request)
            .map_err(PluginError::failed)?;
        let answer = answer
            .recv()
            .map_err(|_| PluginError::failed("the host does not answer"))??;
        postcard::from_bytes(&answer).map_err(|error| {
            PluginError::failed(format!("the host's answer cannot be read: {error}"))
        })
    }

    fn answered(&self, head: &Head<'_>, body: &[u8]) {
        let waiting = self
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&head.number);
        let Some(waiting) = waiting else { return };
        let answer = match head.sort {
            Sort::ANSWER => Ok(body.to_vec()),
            _ => Err(postcard::from_bytes(body).unwrap_or_default()),
        };
        let _ = waiting.send(answer);
    }

    fn send<T: Serialize + ?Sized>(
        &self,
        sort: u8,
        number: u64,
        name: &str,
        body: &T,
    ) -> Result<(), String> {
        let frame = encode(sort, number, name, body)?;
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        if write(&mut *stream, &frame).is_err() {
            self.is_gone();
        }
        Ok(())
    }

    /// Asks a service: in the course of a call over its lane, so that it comes before the answer.
    fn ask_service<T: Serialize + ?Sized>(
        &self,
        number: u64,
        service: &str,
        request: &T,
    ) -> Result<(), String> {
        let frame = encode(Sort::SERVICE, number, service, request)?;
        let over_lane = LANE.try_with(|lane| {
            let mut lane = lane.try_borrow_mut().ok()?;
            Some(write(lane.as_mut()?, &frame))
        });
        let sent = match over_lane {
            Ok(Some(sent)) => sent,
            _ => {
                let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
                write(&mut *stream, &frame)
            }
        };
        if sent.is_err() {
            self.is_gone();
        }
        Ok(())
    }

    /// Nobody is there any more.
    fn is_gone(&self) -> ! {
        limits::end_at_once(0)
    }
}
