//! `barycenter plugin replay`: asks a plugin again what was recorded, and compares the answers.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use barycenter_plugin_api::testing::FakeHost;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::subject::{Opened, Subject};
use crate::plugins::PluginCallError;
use crate::plugins::record::{Call, Record, Response, Start, TraceError, read_trace, to_value};

/// What a replay found.
#[derive(Debug, Default, serde::Serialize)]
pub struct Replayed {
    /// Calls that were asked again.
    pub calls: u64,
    /// Answers that were the same.
    pub same: u64,
    /// Calls that cannot be compared, and why.
    pub left_out: Vec<String>,
    /// The first answers that differ.
    pub differences: Vec<Difference>,
    /// All answers that differ.
    pub different: u64,
    /// Answers to calls that had none, as crash reports have them.
    pub unanswered: Vec<String>,
}

/// An answer that differs.
#[derive(Debug, serde::Serialize)]
pub struct Difference {
    /// The trace.
    pub trace: PathBuf,
    /// The line in it.
    pub line: usize,
    /// The method.
    pub method: String,
    /// The first places that differ: JSON pointer, recorded, now.
    pub places: Vec<(String, String, String)>,
}

/// The most differences that are told, and places in each.
const TOLD_MAX: usize = 5;

/// Why there is no replay.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A trace is unreadable.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// Nothing in it is for this plugin.
    #[error("the traces hold no calls of the {kind} `{plugin}`{others}")]
    Nothing {
        /// The kind of the library.
        kind: String,
        /// Its type.
        plugin: String,
        /// Which types they do hold.
        others: String,
    },
    /// An instance cannot be made.
    #[error("{trace} line {line}: no instance with the recorded options can be made: {message}")]
    Create {
        /// The trace.
        trace: PathBuf,
        /// The line in it.
        line: usize,
        /// Why not.
        message: String,
    },
}

/// Asks again what the traces hold, in their order, of instances in this process or in one of their own.
pub fn replay(
    subject: &Subject,
    traces: &[PathBuf],
    isolation: &str,
) -> Result<Replayed, ReplayError> {
    let mut replay = Replay {
        subject,
        isolation,
        instances: HashMap::new(),
        result: Replayed::default(),
    };
    let mut others = Vec::new();
    let mut met = false;
    for trace in traces {
        for (at, record) in read_trace(trace)?.into_iter().enumerate() {
            match record {
                Record::Start(start) if replay.is_ours(&start) => {
                    met = true;
                    replay.start(trace, at + 1, start)?;
                }
                Record::Start(start) => others.push(start.plugin),
                Record::Call(call) => replay.call(trace, at + 1, &call),
            }
        }
    }
    if !met {
        others.sort();
        others.dedup();
        return Err(ReplayError::Nothing {
            kind: subject.kind.to_string(),
            plugin: subject.preamble.type_id.clone(),
            others: match others.as_slice() {
                [] => String::new(),
                some => format!(", but of {}", some.join(", ")),
            },
        });
    }
    Ok(replay.result)
}

struct Replay<'a> {
    subject: &'a Subject,
    isolation: &'a str,
    instances: HashMap<String, Opened>,
    result: Replayed,
}

impl Replay<'_> {
    fn is_ours(&self, start: &Start) -> bool {
        start.kind == self.subject.kind.name() && start.plugin == self.subject.preamble.type_id
    }

    fn start(&mut self, trace: &Path, line: usize, start: Start) -> Result<(), ReplayError> {
        if start.continued {
            if self.instances.contains_key(&start.instance) {
                return Ok(());
            }
            self.result.left_out.push(format!(
                "{} goes on where an earlier file ended, and that is not here: what the plugin remembered is not known",
                trace.display()
            ));
        }
        let host = FakeHost::new().host();
        let opened = self
            .subject
            .open_with(&start.config, self.isolation, host)
            .map_err(|message| ReplayError::Create {
                trace: trace.to_owned(),
                line,
                message,
            })?;
        self.instances.insert(start.instance, opened);
        Ok(())
    }

    fn call(&mut self, trace: &Path, line: usize, call: &Call) {
        let Some(opened) = self.instances.get(&call.instance) else {
            return; // another plugin's
        };
        let answer = match ask(opened, &call.method, &call.request) {
            Ok(answer) => answer,
            Err(why) => {
                self.result
                    .left_out
                    .push(format!("{} line {line}: {why}", trace.display()));
                return;
            }
        };
        self.result.calls += 1;
        let recorded = match &call.response {
            Some(recorded) => recorded,
            None => {
                let answer = match answer {
                    Response::Ok(answer) => cut(&answer.to_string()),
                    Response::Error { message, .. } => message,
                };
                self.result.unanswered.push(format!(
                    "{} line {line}, {}: {answer}",
                    trace.display(),
                    call.method
                ));
                return;
            }
        };
        let places = match (recorded, &answer) {
            (Response::Ok(recorded), Response::Ok(answer)) => {
                // The texts decide; the values say where.
                let texts = [recorded, answer].map(Value::to_string);
                if texts[0] == texts[1] {
                    Vec::new()
                } else {
                    let mut places = Vec::new();
                    compare("", recorded, answer, &mut places);
                    places
                }
            }
            // How a call ended that the plugin did not end itself says nothing about its answer.
            (Response::Error { code, .. }, _)
                if ["timed_out", "lost", "unavailable"].contains(&code.as_str()) =>
            {
                Vec::new()
            }
            (Response::Error { code, .. }, Response::Error { code: now, .. }) if code == now => {
                Vec::new()
            }
            (recorded, answer) => vec![(String::new(), short(recorded), short(answer))],
        };
        if places.is_empty() {
            self.result.same += 1;
            return;
        }
        self.result.different += 1;
        if self.result.differences.len() < TOLD_MAX {
            self.result.differences.push(Difference {
                trace: trace.to_owned(),
                line,
                method: call.method.clone(),
                places,
            });
        }
    }
}

fn short(response: &Response) -> String {
    match response {
        Response::Ok(answer) => cut(&answer.to_string()),
        Response::Error { code, message } => format!("{code}: {}", cut(message)),
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(160) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The first places at which two values differ.
fn compare(
    pointer: &str,
    recorded: &Value,
    now: &Value,
    places: &mut Vec<(String, String, String)>,
) {
    if places.len() == TOLD_MAX {
        return;
    }
    match (recorded, now) {
        (Value::Object(one), Value::Object(other)) => {
            for (name, value) in one {
                let at = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
                compare(&at, value, other.get(name).unwrap_or(&Value::Null), places);
            }
            for name in other.keys().filter(|name| !one.contains_key(*name)) {
                compare(
                    &format!("{pointer}/{name}"),
                    &Value::Null,
                    &other[name],
                    places,
                );
            }
        }
        (Value::Array(one), Value::Array(other)) => {
            for at in 0..one.len().max(other.len()) {
                let value = |list: &[Value]| list.get(at).cloned().unwrap_or_default();
                compare(
                    &format!("{pointer}/{at}"),
                    &value(one),
                    &value(other),
                    places,
                );
            }
        }
        (one, other) if one == other => {}
        (one, other) => places.push((
            pointer.to_owned(),
            cut(&one.to_string()),
            cut(&other.to_string()),
        )),
    }
}

/// Calls a method by its name with a recorded request. The error says why that is not done.
fn ask(opened: &Opened, method: &str, request: &Value) -> Result<Response, String> {
    if let Ok(scheduler) = opened.scheduler() {
        return Ok(match method {
            "plan" => of(&scheduler.plan(&Arc::new(read(request)?))),
            "startup" => of(&scheduler.startup()),
            "shutdown" => of(&scheduler.shutdown()),
            "snapshot_state" => of(&scheduler.snapshot_state()),
            "restore_state" => of(&scheduler.restore_state(request.as_str().unwrap_or_default())),
            "explain" => of(&scheduler.explain(read(request)?)),
            other => return Err(format!("schedulers have no method {other}")),
        });
    }
    if let Ok(module) = opened.module() {
        let text = |name: &str| {
            request[name]
                .as_str()
                .or(request.as_str())
                .unwrap_or_default()
                .to_owned()
        };
        return Ok(match method {
            "describe" => Response::Ok(to_value(module.description())),
            "validate_state" => of(&module.validate_state(&text("state_json"))),
            "get_runtime_state" => {
                of(&module.get_runtime_state(&text("state_json"), &text("overrides_json")))
            }
            "recover_runtime_state" => of(&module.recover_runtime_state(&text("stored_json"))),
            "execute" => of(&module.execute(&read(request)?)),
            "recover_mapping" => of(&module.recover_mapping(&read(request)?)),
            "do_invocation_step_action" => {
                of(&module
                    .do_invocation_step_action(&read(&request["step"])?, &text("action_json")))
            }
            other => return Err(format!("workflow modules have no method {other}")),
        });
    }
    let runner = opened.runner()?;
    match method {
        "capacity" => Ok(of(&runner.capacity())),
        other => Err(format!(
            "{other} of a job runner is not asked again: it would run or end jobs"
        )),
    }
}

fn of<T: serde::Serialize>(outcome: &Result<T, PluginCallError>) -> Response {
    Response::of(outcome)
}

fn read<T: DeserializeOwned>(request: &Value) -> Result<T, String> {
    serde_json::from_value(request.clone())
        .map_err(|error| format!("the request is not of this contract: {error}"))
}

impl Replayed {
    /// For people.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for difference in &self.differences {
            lines.push(format!(
                "{} line {}: {} answers differently",
                difference.trace.display(),
                difference.line,
                difference.method
            ));
            for (pointer, recorded, now) in &difference.places {
                let place = if pointer.is_empty() {
                    "the answer"
                } else {
                    pointer
                };
                lines.push(format!("  {place}: recorded {recorded}, now {now}"));
            }
        }
        for text in &self.left_out {
            lines.push(format!("left out: {text}"));
        }
        for text in &self.unanswered {
            lines.push(format!("never answered before: {text}"));
        }
        lines.push(format!(
            "{} calls, {} the same, {} different",
            self.calls, self.same, self.different
        ));
        lines
    }

    /// For programs.
    pub fn as_json(&self) -> Value {
        json!(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_places_that_differ_are_named() {
        let mut places = Vec::new();
        let recorded = json!({ "jobs": [{ "job_id": 1 }, { "job_id": 2 }], "wake": 5 });
        let now = json!({ "jobs": [{ "job_id": 1 }, { "job_id": 3 }, { "job_id": 4 }], "wake": 5 });
        compare("", &recorded, &now, &mut places);
        let pointers: Vec<&str> = places
            .iter()
            .map(|(pointer, _, _)| pointer.as_str())
            .collect();
        assert_eq!(pointers, ["/jobs/1/job_id", "/jobs/2"]);
        assert_eq!((places[0].1.as_str(), places[0].2.as_str()), ("2", "3"));
    }
}
