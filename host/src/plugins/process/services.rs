//! The host's services across the connection: how the plugin's process asks, and how the server answers.

use super::child::ToServer;
use crate::plugins::{calling, methods};
use barycenter_plugin_api::{Host, HostApi, JobReport, List, LogLevel, PluginError};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A log line.
#[derive(Serialize, Deserialize)]
struct Line {
    level: LogLevel,
    target: String,
    message: String,
    method: String,
}

/// A question to the host.
#[derive(Serialize, Deserialize)]
struct Question {
    kind: String,
    json: String,
}

/// The host, in the plugin's process.
pub(super) struct ToHost {
    link: Arc<ToServer>,
    log_level: u32,
}

impl ToHost {
    pub fn new(link: Arc<ToServer>, log_level: u32) -> Self {
        Self { link, log_level }
    }
}

impl HostApi for ToHost {
    fn log(&self, level: LogLevel, target: &str, message: &str) {
        if self.log_enabled(level) {
            let (target, message) = (target.to_owned(), shortened(message).to_owned());
            self.link.tell(
                "log",
                &Line {
                    level,
                    target,
                    message,
                    method: calling::method().to_owned(),
                },
            );
        }
    }

    fn log_enabled(&self, level: LogLevel) -> bool {
        level.0 <= self.log_level
    }

    fn wake(&self) {
        self.link.tell("wake", &());
    }

    fn report_jobs(&self, reports: List<JobReport>) {
        self.link.tell("report_jobs", &reports);
    }

    fn query(&self, kind: &str, json: &str) -> Result<String, PluginError> {
        let (kind, json) = (kind.to_owned(), json.to_owned());
        self.link.ask("query", &Question { kind, json })
    }
}

/// A service that takes no time: its answer, and whether the line was a log line that counts against the allowance.
/// `None`: it may take time, see [`slow`].
pub(super) fn quick(
    host: &Host,
    name: &str,
    body: &[u8],
    may_log: &dyn Fn() -> bool,
) -> Option<Result<(), String>> {
    let unreadable = |error: postcard::Error| format!("the request of the service {name}: {error}");
    match name {
        "log" => Some(
            postcard::from_bytes::<Line>(body)
                .map_err(unreadable)
                .map(|line| {
                    if may_log() {
                        calling::during(methods::known(&line.method), || {
                            HostApi::log(host, line.level, &line.target, shortened(&line.message));
                        });
                    }
                }),
        ),
        "wake" => {
            host.wake();
            Some(Ok(()))
        }
        "report_jobs" => Some(
            postcard::from_bytes::<List<JobReport>>(body)
                .map_err(unreadable)
                .map(|reports| host.report_jobs(reports)),
        ),
        _ => None,
    }
}

/// A service that may take time, and its answer in bytes.
pub(super) fn slow(host: &Host, name: &str, body: &[u8]) -> Result<Vec<u8>, PluginError> {
    let unreadable =
        |error: postcard::Error| PluginError::invalid(format!("the request of {name}: {error}"));
    let written = match name {
        "query" => {
            let question: Question = postcard::from_bytes(body).map_err(unreadable)?;
            postcard::to_allocvec(&HostApi::query(host, &question.kind, &question.json)?)
        }
        _ => {
            return Err(PluginError::refused(format!(
                "The host has no service `{name}`"
            )));
        }
    };
    written.map_err(|error| PluginError::failed(error.to_string()))
}

/// A log line has an end.
pub(super) fn shortened(line: &str) -> &str {
    const LINE_MAX: usize = 8 << 10;
    let mut end = line.len().min(LINE_MAX);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    &line[..end]
}
