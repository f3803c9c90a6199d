//! A file for every plugin process that was lost: what it was asked, how it ended, what it said last, and the command that
//! asks the same again.

use super::capture::Tail;
use super::keeper::Spec;
use super::link::Waiting;
use crate::plugins::failure::Loss;
use crate::plugins::methods::request_as_json;
use crate::plugins::record::{self, Record};
use crate::plugins::supervision::Verdict;
use barycenter_plugin_api::{API_VERSION, PluginKind};
use serde_json::Value;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Reports that are kept; the oldest go.
const KEPT: usize = 50;
/// A request that is larger is left out.
const REQUEST_MAX: usize = 16 << 20;

/// All that is known about the end of a plugin's process.
pub(super) struct Crash {
    kind: PluginKind,
    id: String,
    type_id: String,
    version: String,
    api: (u16, u16, u16),
    library: PathBuf,
    sha256: String,
    config: Value,
    loss: String,
    verdict: Option<Verdict>,
    in_flight: Vec<(&'static str, Arc<Vec<u8>>)>,
    tail: Tail,
    at: SystemTime,
}

impl Crash {
    pub fn of(
        spec: &Spec,
        loss: &Loss,
        verdict: Option<Verdict>,
        in_flight: &[Waiting],
        tail: Tail,
    ) -> Self {
        let preamble = &spec.stored.preamble;
        Self {
            kind: spec.kind,
            id: spec.id.clone(),
            type_id: spec.type_id.clone(),
            version: preamble.version.clone(),
            api: preamble.api,
            library: spec.stored.path.clone(),
            sha256: spec.stored.sha256.clone(),
            config: serde_json::from_str(&spec.config).unwrap_or_default(),
            loss: loss.to_string(),
            verdict,
            in_flight: in_flight
                .iter()
                .map(|waiting| (waiting.method, Arc::clone(&waiting.frame)))
                .collect(),
            tail,
            at: SystemTime::now(),
        }
    }
}

/// Writes the report on a thread of its own: nobody should wait for it.
pub(super) fn write_later(folder: PathBuf, crash: Crash) {
    let plugin = crash.id.clone();
    let started = std::thread::Builder::new()
        .name("crash-report".to_owned())
        .spawn(move || {
            // What it printed last may still be on its way.
            std::thread::sleep(Duration::from_millis(50));
            match write(&folder, &crash) {
                Ok(path) => tracing::error!(
                    target: "plugin", plugin = crash.id.as_str(),
                    "the crash report is {}", path.display()
                ),
                Err(error) => tracing::error!(
                    target: "plugin", plugin = crash.id.as_str(),
                    "a crash report could not be written below {}: {error}", folder.display()
                ),
            }
        });
    if let Err(error) = started {
        tracing::error!(target: "plugin", plugin, "a crash report could not be written: {error}");
    }
}

fn write(folder: &Path, crash: &Crash) -> std::io::Result<PathBuf> {
    std::fs::create_dir_all(folder)?;
    let name = format!(
        "{:013}-{}-{}",
        at_ms(crash),
        crash.kind,
        file_name(&crash.id)
    );
    let requests = folder.join(format!("{name}.jsonl"));
    let calls: Vec<Record> = crash
        .in_flight
        .iter()
        .filter_map(|(method, frame)| call(&crash.id, crash.kind, method, frame))
        .collect();
    let has_requests = !calls.is_empty();
    if has_requests {
        let mut text = String::new();
        for record in std::iter::once(start(crash)).chain(calls) {
            text.push_str(&serde_json::to_string(&record)?);
            text.push('\n');
        }
        replace(&requests, text.as_bytes())?;
    }
    let report = folder.join(format!("{name}.txt"));
    replace(
        &report,
        describe(crash, has_requests.then_some(&requests)).as_bytes(),
    )?;
    forget_old(folder)?;
    Ok(report)
}

fn describe(crash: &Crash, requests: Option<&PathBuf>) -> String {
    let mut text = String::new();
    let time =
        jiff::Timestamp::try_from(crash.at).map_or_else(|_| String::new(), |at| at.to_string());
    let (major, minor, patch) = crash.api;
    let (own_major, own_minor, own_patch) = API_VERSION;
    let mut put = |name: &str, value: String| {
        // Writing into text cannot fail.
        let _ = writeln!(text, "{name:<10} {value}");
    };
    put(
        "plugin",
        format!(
            "{} {} (type {}, version {})",
            crash.kind, crash.id, crash.type_id, crash.version
        ),
    );
    put("lost", crash.loss.clone());
    put("at", time);
    put(
        "then",
        match crash.verdict {
            Some(Verdict::Again(pause)) => format!("started again after {pause:?}"),
            Some(Verdict::Quarantine) => "left in quarantine".to_owned(),
            None => "not started".to_owned(),
        },
    );
    put("library", crash.library.display().to_string());
    put("sha256", crash.sha256.clone());
    put(
        "versions",
        format!(
            "server {}, its plugin-api {own_major}.{own_minor}.{own_patch}, the plugin's {major}.{minor}.{patch}",
            env!("CARGO_PKG_VERSION")
        ),
    );
    let methods: Vec<&str> = crash.in_flight.iter().map(|(method, _)| *method).collect();
    put(
        "in flight",
        match methods.is_empty() {
            true => "no call".to_owned(),
            false => methods.join(", "),
        },
    );
    match requests {
        Some(requests) => {
            put(
                "requests",
                format!("{} (secrets taken out)", requests.display()),
            );
            put(
                "replay",
                // In a process again, so that whoever pastes it is told how that ends.
                format!(
                    "barycenter plugin replay --isolation process {} {}",
                    pasted(&crash.library),
                    pasted(requests)
                ),
            );
        }
        None => put("requests", "none".to_owned()),
    }
    text.push_str("\nits last lines on standard error:\n");
    let tail = crash.tail.lock().unwrap_or_else(PoisonError::into_inner);
    if tail.is_empty() {
        text.push_str("(none)\n");
    }
    for line in tail.iter() {
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// A path as a shell reads it, from wherever it is pasted.
fn pasted(path: &Path) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@%,".contains(c);
    match text.chars().all(is_plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

/// The instance as `plugin replay` makes it again.
fn start(crash: &Crash) -> Record {
    let mut config = crash.config.clone();
    redact(&mut config);
    Record::Start(record::Start {
        format: record::FORMAT,
        at_ms: at_ms(crash),
        kind: crash.kind.name().to_owned(),
        instance: crash.id.clone(),
        plugin: crash.type_id.clone(),
        version: crash.version.clone(),
        sha256: crash.sha256.clone(),
        config,
        continued: false,
    })
}

fn at_ms(crash: &Crash) -> i64 {
    let since = crash.at.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A request in the form that `plugin replay` reads.
fn call(instance: &str, kind: PluginKind, method: &str, frame: &[u8]) -> Option<Record> {
    if frame.len() > REQUEST_MAX {
        return None;
    }
    let (_, body) = postcard::take_from_bytes::<super::frame::Head<'_>>(frame.get(4..)?).ok()?;
    let mut request = request_as_json(kind, method, body)?;
    redact(&mut request);
    Some(Record::Call(record::Call {
        at_ms: 0,
        instance: instance.to_owned(),
        method: method.to_owned(),
        request,
        response: None,
        duration_us: 0,
    }))
}

/// Takes out what must not be in a file that people send to each other: values of the environment, and whatever is named
/// like a secret, also inside JSON texts.
fn redact(value: &mut Value) {
    const SECRET: [&str; 6] = [
        "password",
        "passwd",
        "secret",
        "api_key",
        "apikey",
        "credential",
    ];
    let is_secret = |key: &str| {
        let key = key.to_ascii_lowercase();
        SECRET.iter().any(|word| key.contains(word))
    };
    match value {
        Value::Object(entries) => {
            // An attribute has its name beside its value.
            if entries
                .get("name")
                .and_then(Value::as_str)
                .is_some_and(is_secret)
                && let Some(hidden) = entries.get_mut("value")
            {
                *hidden = "\"***\"".into();
            }
            for (key, value) in entries {
                if key == "environment" {
                    for one in value.as_array_mut().into_iter().flatten() {
                        if let Some(hidden) = one.get_mut("value") {
                            *hidden = "***".into();
                        }
                    }
                } else if is_secret(key) {
                    *value = "***".into();
                } else {
                    redact(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(redact),
        Value::String(text) if text.starts_with(['{', '[']) => {
            if let Ok(mut inner) = serde_json::from_str::<Value>(text) {
                let before = inner.clone();
                redact(&mut inner);
                if inner != before {
                    *text = inner.to_string();
                }
            }
        }
        _ => {}
    }
}

fn file_name(id: &str) -> String {
    let fit = |c: char| {
        if c.is_ascii_alphanumeric() || c == '-' || c == '_' {
            c
        } else {
            '_'
        }
    };
    id.chars().take(60).map(fit).collect()
}

fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    let folder = path.parent().unwrap_or(Path::new("."));
    // Readable by its owner alone, as the rest of the data directory.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}

/// Names begin with the time, so the oldest come first.
fn forget_old(folder: &Path) -> std::io::Result<()> {
    let mut reports: Vec<PathBuf> = std::fs::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "txt"))
        .collect();
    reports.sort();
    for path in reports.iter().take(reports.len().saturating_sub(KEPT)) {
        std::fs::remove_file(path)?;
        match std::fs::remove_file(path.with_extension("jsonl")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use barycenter_plugin_api::{Attr, JobSpec};
    use serde_json::json;

    #[test]
    fn a_request_is_written_as_it_is_replayed_and_without_its_secrets() {
        let spec = JobSpec {
            job_id: 7,
            environment: vec![Attr {
                name: "TOKEN".into(),
                value: "s3cr3t".into(),
            }]
            .into(),
            attrs: vec![Attr::json("db_password", &"hunter2".into())].into(),
            ..JobSpec::default()
        };
        let frame = super::super::frame::encode(6, 1, "submit", &vec![spec]).unwrap();
        let record = call("farm", PluginKind::JobRunner, "submit", &frame).unwrap();
        let line = serde_json::to_string(&record).unwrap();
        assert!(
            !line.contains("s3cr3t") && !line.contains("hunter2"),
            "{line}"
        );
        let read: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            (&read["record"], &read["method"]),
            (&json!("call"), &json!("submit"))
        );
        assert_eq!(read["request"][0]["job_id"], 7);
        assert_eq!(read["request"][0]["environment"][0]["name"], "TOKEN");
        let again: Vec<JobSpec> = serde_json::from_value(read["request"].clone()).unwrap();
        assert_eq!(again[0].job_id, 7);
    }

    #[test]
    fn secrets_inside_json_texts_are_taken_out_and_other_texts_stay() {
        let mut value = json!({"state_json": "{\"a\": 1, \"secret_key\": \"x9\"}", "text": "{no json", "n": [1]});
        redact(&mut value);
        assert_eq!(value["state_json"], "{\"a\":1,\"secret_key\":\"***\"}");
        assert_eq!(value["text"], "{no json");
    }

    #[test]
    fn a_path_can_be_pasted() {
        assert_eq!(pasted(Path::new("/a/b-1.so")), "/a/b-1.so");
        assert_eq!(pasted(Path::new("/a b/it's.so")), r"'/a b/it'\''s.so'");
        assert!(pasted(Path::new("a.so")).starts_with('/'));
    }

    #[test]
    fn only_so_many_reports_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        for at in 0..KEPT + 5 {
            std::fs::write(folder.path().join(format!("{at:013}-x.txt")), "").unwrap();
            std::fs::write(folder.path().join(format!("{at:013}-x.jsonl")), "").unwrap();
        }
        forget_old(folder.path()).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2 * KEPT);
        assert!(!folder.path().join("0000000000004-x.txt").exists());
        assert!(folder.path().join("0000000000005-x.txt").exists());
    }
}
