//! Recorded calls: what was asked of a plugin and what it answered, so that the same can be asked again.
//!
//! A trace is a text file of JSON lines. A line `start` says which instance was made, with which options; the
//! lines `call` after it are what was asked of it, in order. A scheduler's plan depends on the request and
//! its own state only, so a trace that begins with the instance's start gives the same answers again, byte for byte.
//! Crash reports hold the same lines; there the last call has no answer.

use super::PluginCallError;
use crate::clock::Clock;
use barycenter_plugin_api::PluginKind;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The version of this format. A reader refuses another one.
pub const FORMAT: u32 = 1;

/// When the recorder begins another file.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// How many files it keeps; the oldest one goes first.
const FILES_MAX: usize = 16;

/// One line of a trace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Record {
    /// An instance was made.
    Start(Start),
    /// A method was called.
    Call(Call),
}

/// An instance was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// [`FORMAT`].
    pub format: u32,
    /// When the line was written, milliseconds since 1970.
    pub at_ms: i64,
    /// `scheduler`, `workflow_module` or `job_runner`.
    pub kind: String,
    /// The instance's id in plugins.toml.
    pub instance: String,
    /// The plugin type.
    pub plugin: String,
    /// The plugin's own version.
    pub version: String,
    /// The digest of its library.
    pub sha256: String,
    /// Its options.
    pub config: Value,
    /// Not a new instance: the file before this one was full. Whatever it remembers began there.
    #[serde(default)]
    pub continued: bool,
}

/// A method was called.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// When the answer was there, milliseconds since 1970.
    pub at_ms: i64,
    /// The instance's id in plugins.toml.
    pub instance: String,
    /// The method.
    pub method: String,
    /// What was passed in: the argument, or an object of arguments by name when there are several.
    pub request: Value,
    /// What came back; `null` when nothing ever did.
    pub response: Option<Response>,
    /// How long it took.
    pub duration_us: u64,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// The answer.
    Ok(Value),
    /// The failure: a word for its sort, and a sentence.
    Error {
        /// `panicked`, `refused`, `invalid`, `timed_out`, …
        code: String,
        /// What is told to people.
        message: String,
    },
}

impl Response {
    /// The outcome of a call as it is recorded.
    pub fn of<T: Serialize>(outcome: &Result<T, PluginCallError>) -> Self {
        match outcome {
            Ok(answer) => Self::Ok(to_value(answer)),
            Err(error) => Self::Error {
                code: error.code().to_owned(),
                message: error.to_string(),
            },
        }
    }
}

/// A value of the contract as JSON. These hold texts, numbers and lists only, so this does not fail.
pub fn to_value<T: Serialize + ?Sized>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// Why a trace cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// It cannot be opened or read.
    #[error("the trace {0} cannot be read ({1})")]
    Unreadable(PathBuf, String),
    /// A line is none of ours.
    #[error("the trace {0} line {1} is no record ({2})")]
    Line(PathBuf, usize, String),
    /// It was written by another version.
    #[error("the trace {0} has format {1}, this version reads {FORMAT}; record it again")]
    Format(PathBuf, u32),
}

/// Reads a trace. A last line that was cut off (a server that was killed) is left out.
pub fn read_trace(path: &Path) -> Result<Vec<Record>, TraceError> {
    let bytes = std::fs::read(path)
        .map_err(|error| TraceError::Unreadable(path.to_owned(), error.to_string()))?;
    let mut records = Vec::new();
    let is_whole = bytes.last() == Some(&b'\n');
    let mut lines = bytes
        .split(|byte| *byte == b'\n')
        .enumerate()
        .filter(|(_, line)| !line.is_empty())
        .peekable();
    while let Some((at, line)) = lines.next() {
        match serde_json::from_slice(line) {
            Ok(Record::Start(start)) if start.format != FORMAT => {
                return Err(TraceError::Format(path.to_owned(), start.format));
            }
            Ok(record) => records.push(record),
            Err(_) if !is_whole && lines.peek().is_none() && !records.is_empty() => {}
            Err(error) => {
                return Err(TraceError::Line(path.to_owned(), at + 1, error.to_string()));
            }
        }
    }
    Ok(records)
}

/// Writes a trace, in files of limited size. Cheap to clone.
#[derive(Clone)]
pub struct Recorder(Arc<Mutex<Files>>);

struct Files {
    folder: PathBuf,
    file_bytes_max: u64,
    number: u64,
    out: BufWriter<File>,
    written: u64,
    starts: Vec<Start>,
    failed: bool,
}

impl Recorder {
    /// Records into files below `folder`, which is made if it is not there. Files of an earlier server stay.
    pub fn new(folder: &Path) -> std::io::Result<Self> {
        Self::with_limit(folder, FILE_BYTES_MAX)
    }

    fn with_limit(folder: &Path, file_bytes_max: u64) -> std::io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let number = 1 + numbered(folder).last().map_or(0, |(number, _)| *number);
        let out = BufWriter::new(create(folder, number)?);
        Ok(Self(Arc::new(Mutex::new(Files {
            folder: folder.to_owned(),
            file_bytes_max,
            number,
            out,
            written: 0,
            starts: Vec::new(),
            failed: false,
        }))))
    }

    /// An instance was made.
    pub fn start(&self, kind: PluginKind, names: (&str, &str, &str), sha256: &str, config: &Value) {
        let start = Start {
            format: FORMAT,
            at_ms: Clock::system().now_ms(),
            kind: kind.name().to_owned(),
            instance: names.0.to_owned(),
            plugin: names.1.to_owned(),
            version: names.2.to_owned(),
            sha256: sha256.to_owned(),
            config: config.clone(),
            continued: false,
        };
        self.with(|files| {
            files
                .starts
                .retain(|known| known.instance != start.instance);
            files.starts.push(start.clone());
            files.write(&Record::Start(start))
        });
    }

    /// A method was called and has answered.
    pub fn call<Q: Serialize + ?Sized, A: Serialize>(
        &self,
        instance: &str,
        method: &str,
        request: &Q,
        outcome: &Result<A, PluginCallError>,
        duration: Duration,
    ) {
        let call = Record::Call(Call {
            at_ms: Clock::system().now_ms(),
            instance: instance.to_owned(),
            method: method.to_owned(),
            request: to_value(request),
            response: Some(Response::of(outcome)),
            duration_us: u64::try_from(duration.as_micros()).unwrap_or(u64::MAX),
        });
        self.with(|files| files.write(&call));
    }

    /// A full disk must not stop the scheduling: the recording ends, and the log says so once.
    fn with(&self, write: impl FnOnce(&mut Files) -> std::io::Result<()>) {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if files.failed {
            return;
        }
        if let Err(error) = write(&mut files) {
            files.failed = true;
            tracing::error!(
                "recording ends: {} cannot be written ({error})",
                files.folder.display()
            );
        }
    }
}

impl Files {
    fn write(&mut self, record: &Record) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        if self.written > 0 && self.written + line.len() as u64 > self.file_bytes_max {
            self.next_file()?;
        }
        self.written += line.len() as u64;
        self.out.write_all(&line)?;
        // Whoever looks at a trace of a server that was killed wants the last call above all.
        self.out.flush()
    }

    fn next_file(&mut self) -> std::io::Result<()> {
        self.number += 1;
        self.out = BufWriter::new(create(&self.folder, self.number)?);
        self.written = 0;
        for start in &self.starts {
            let continued = Record::Start(Start {
                continued: true,
                ..start.clone()
            });
            let mut line = serde_json::to_vec(&continued)?;
            line.push(b'\n');
            self.written += line.len() as u64;
            self.out.write_all(&line)?;
        }
        let files = numbered(&self.folder);
        for (_, old) in files.iter().take(files.len().saturating_sub(FILES_MAX)) {
            std::fs::remove_file(old)?;
        }
        Ok(())
    }
}

fn create(folder: &Path, number: u64) -> std::io::Result<File> {
    let path = folder.join(format!("trace-{number:06}.jsonl"));
    File::options().write(true).create_new(true).open(path)
}

/// The traces below a folder, oldest first.
fn numbered(folder: &Path) -> Vec<(u64, PathBuf)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<(u64, PathBuf)> = entries
        .filter_map(|entry| {
            let name = entry.file_name();
            let number = name
                .to_str()?
                .strip_prefix("trace-")?
                .strip_suffix(".jsonl")?;
            Some((number.parse().ok()?, entry.path()))
        })
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use barycenter_plugin_api::{Plan, PlanRequest};
    use serde_json::json;

    fn recorded(recorder: &Recorder, cycle: u64) {
        let request = PlanRequest {
            cycle,
            ..PlanRequest::default()
        };
        let answer: Result<Plan, PluginCallError> = Ok(Plan::default());
        let took = Duration::from_micros(7);
        recorder.call("night", "plan", &request, &answer, took);
    }

    fn started(folder: &Path, limit: u64) -> Recorder {
        let recorder = Recorder::with_limit(folder, limit).unwrap();
        let names = ("night", "fair-share", "1.0.0");
        recorder.start(PluginKind::Scheduler, names, "ab", &json!({ "weight": 2 }));
        recorder
    }

    #[test]
    fn what_is_recorded_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let recorder = started(folder.path(), FILE_BYTES_MAX);
        recorded(&recorder, u64::MAX);
        let records = read_trace(&folder.path().join("trace-000001.jsonl")).unwrap();
        let [Record::Start(start), Record::Call(call)] = records.as_slice() else {
            panic!("{records:#?}");
        };
        assert_eq!(
            (start.config["weight"].as_u64(), start.continued),
            (Some(2), false)
        );
        assert_eq!(call.request["cycle"], json!(u64::MAX));
        assert_eq!(call.duration_us, 7);
        assert_eq!(
            call.response,
            Some(Response::Ok(to_value(&Plan::default())))
        );
    }

    #[test]
    fn full_files_are_followed_by_others_that_say_what_they_continue() {
        let folder = tempfile::tempdir().unwrap();
        let recorder = started(folder.path(), 1000);
        for cycle in 0..100 {
            recorded(&recorder, cycle);
        }
        let files = numbered(folder.path());
        assert_eq!(files.len(), FILES_MAX, "old ones are gone");
        for (_, file) in files {
            assert!(std::fs::metadata(&file).unwrap().len() <= 1000);
            let records = read_trace(&file).unwrap();
            assert!(matches!(&records[0], Record::Start(start) if start.continued));
            assert!(records.len() > 1);
        }
    }

    #[test]
    fn a_second_server_adds_files() {
        let folder = tempfile::tempdir().unwrap();
        started(folder.path(), FILE_BYTES_MAX);
        started(folder.path(), FILE_BYTES_MAX);
        assert_eq!(numbered(folder.path()).len(), 2);
    }

    #[test]
    fn a_cut_last_line_is_left_out_and_any_other_line_is_told() {
        let folder = tempfile::tempdir().unwrap();
        recorded(&started(folder.path(), FILE_BYTES_MAX), 1);
        let path = folder.path().join("trace-000001.jsonl");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 9]).unwrap();
        assert_eq!(read_trace(&path).unwrap().len(), 1);
        std::fs::write(&path, format!("{{}}\n{text}")).unwrap();
        let told = read_trace(&path).unwrap_err().to_string();
        assert!(told.contains("line 1"), "{told}");
        std::fs::write(&path, text.replace("\"format\":1", "\"format\":9")).unwrap();
        let told = read_trace(&path).unwrap_err().to_string();
        assert!(told.contains("format 9"), "{told}");
    }
}
