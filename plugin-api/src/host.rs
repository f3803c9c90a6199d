//! What a plugin may ask of the host.

use crate::abi::HostObject_TO;
use crate::code::codes;
use crate::values::List;
use crate::{JobReport, PluginError};
use abi_stable::sabi_trait::TD_Opaque;
use abi_stable::std_types::RBox;
use std::fmt::Display;
use std::sync::Arc;

codes! {
    /// How much a log line matters. Unknown codes are treated as [`LogLevel::INFO`].
    LogLevel {
        /// Somebody must look at it.
        ERROR = 1, "error";
        /// Somebody may want to look at it.
        WARN = 2, "warn";
        /// What happened.
        INFO = 3, "info";
        /// For those who look for a fault.
        DEBUG = 4, "debug";
        /// Every detail.
        TRACE = 5, "trace";
    }
}

/// The host's services, as the side that offers them writes them.
///
/// Bodies must be quick and may be called from any thread.
pub trait HostApi: Send + Sync {
    /// Records a log line.
    fn log(&self, level: LogLevel, target: &str, message: &str);

    /// Whether lines of this level are recorded at all.
    fn log_enabled(&self, _level: LogLevel) -> bool {
        true
    }

    /// The host's clock, milliseconds since 1970.
    fn now_ms(&self) -> i64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |since| {
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        })
    }

    /// Look again soon: something changed that the plugin waits for.
    fn wake(&self) {}

    /// News about jobs.
    fn report_jobs(&self, _reports: List<JobReport>) {}

    /// A question to the host: its kind and JSON text in, JSON text out.
    fn query(&self, kind: &str, _json: &str) -> Result<String, PluginError> {
        Err(PluginError::refused(format!(
            "The host knows no query `{kind}`"
        )))
    }
}

/// The host, as a plugin sees it. Cheap to clone; usable from any thread.
#[derive(Clone)]
pub struct Host(Arc<HostObject_TO<'static, RBox<()>>>);

impl Host {
    /// A host that offers these services, for hosts and for tests.
    pub fn new(services: impl HostApi + 'static) -> Self {
        Self::from_object(HostObject_TO::from_value(
            crate::adapter::HostAdapter(services),
            TD_Opaque,
        ))
    }

    /// The services as the object that crosses the border, for hosts.
    pub fn into_object(self) -> crate::abi::HostBox {
        match Arc::try_unwrap(self.0) {
            Ok(object) => object,
            // Somebody else has a copy: pass calls on to it.
            Err(shared) => {
                HostObject_TO::from_value(crate::adapter::HostAdapter(Host(shared)), TD_Opaque)
            }
        }
    }

    pub(crate) fn from_object(object: HostObject_TO<'static, RBox<()>>) -> Self {
        Self(Arc::new(object))
    }

    /// Records a log line under a target of the plugin's choosing (empty for none).
    pub fn log(&self, level: LogLevel, target: &str, message: &str) {
        self.0.log(level, target.into(), message.into());
    }

    /// Whether lines of this level are recorded at all.
    pub fn log_enabled(&self, level: LogLevel) -> bool {
        self.0.log_enabled(level)
    }

    /// Logs at level error.
    pub fn error(&self, message: impl Display) {
        self.log_display(LogLevel::ERROR, message);
    }

    /// Logs at level warn.
    pub fn warn(&self, message: impl Display) {
        self.log_display(LogLevel::WARN, message);
    }

    /// Logs at level info.
    pub fn info(&self, message: impl Display) {
        self.log_display(LogLevel::INFO, message);
    }

    /// Logs at level debug; the text is made only when somebody records it.
    pub fn debug(&self, message: impl Display) {
        self.log_display(LogLevel::DEBUG, message);
    }

    fn log_display(&self, level: LogLevel, message: impl Display) {
        if self.log_enabled(level) {
            self.log(level, "", &message.to_string());
        }
    }

    /// The host's clock, milliseconds since 1970.
    pub fn now_ms(&self) -> i64 {
        self.0.now_ms()
    }

    /// Asks the host to look again soon: for a new plan, or at the waiting steps.
    pub fn wake(&self) {
        self.0.wake();
    }

    /// Tells what became of jobs. One call for many jobs costs much less than many calls.
    pub fn report_jobs(&self, reports: impl Into<List<JobReport>>) {
        self.0.report_jobs(reports.into());
    }

    /// Asks the host something. Refused when the host does not know the kind of question.
    pub fn query(
        &self,
        kind: &str,
        question: &serde_json::Value,
    ) -> Result<serde_json::Value, PluginError> {
        let question = question.to_string();
        let answer = self
            .0
            .query(kind.into(), question.as_str().into())
            .into_result()?;
        Ok(serde_json::from_str(&answer)?)
    }
}

impl HostApi for Host {
    fn log(&self, level: LogLevel, target: &str, message: &str) {
        self.0.log(level, target.into(), message.into());
    }

    fn log_enabled(&self, level: LogLevel) -> bool {
        self.0.log_enabled(level)
    }

    fn now_ms(&self) -> i64 {
        self.0.now_ms()
    }

    fn wake(&self) {
        self.0.wake();
    }

    fn report_jobs(&self, reports: List<JobReport>) {
        self.0.report_jobs(reports);
    }

    fn query(&self, kind: &str, json: &str) -> Result<String, PluginError> {
        let answer = self.0.query(kind.into(), json.into()).into_result()?;
        Ok(answer.into_string())
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Host")
    }
}
