//! What plugins may ask of this host.

use super::calling;
use barycenter_plugin_api::{Host, HostApi, JobReport, List, LogLevel, PluginError};
use std::sync::Arc;
use tokio::sync::mpsc::UnboundedSender;

type Wake = dyn Fn(&str) + Send + Sync;
type Query = dyn Fn(&str, &str, &str) -> Result<String, PluginError> + Send + Sync;

/// Where the plugins' calls go.
#[derive(Clone)]
pub struct Wiring {
    reports: UnboundedSender<(String, Vec<JobReport>)>,
    wake: Arc<Wake>,
    query: Arc<Query>,
}

impl Wiring {
    /// `reports` gets the runner's id and its news; `wake` the id of the plugin that wants a look.
    ///
    /// The channel has no limit of its own; every job is reported at most twice, and how many jobs
    /// a runner holds is limited.
    pub fn new(
        reports: UnboundedSender<(String, Vec<JobReport>)>,
        wake: impl Fn(&str) + Send + Sync + 'static,
    ) -> Self {
        Self {
            reports,
            wake: Arc::new(wake),
            query: Arc::new(|_, kind, _| {
                Err(PluginError::refused(format!(
                    "The host knows no query `{kind}`"
                )))
            }),
        }
    }

    /// Answers queries: plugin id, kind and JSON text in, JSON text out.
    #[must_use]
    pub fn with_query(
        self,
        query: impl Fn(&str, &str, &str) -> Result<String, PluginError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            query: Arc::new(query),
            ..self
        }
    }

    /// The host for the plugin with this id.
    pub fn host_for(&self, id: &str) -> Host {
        Host::new(Services {
            id: id.to_owned(),
            wiring: self.clone(),
        })
    }
}

struct Services {
    id: String,
    wiring: Wiring,
}

impl HostApi for Services {
    fn log(&self, level: LogLevel, target: &str, message: &str) {
        let (plugin, method) = (self.id.as_str(), calling::method());
        match level {
            LogLevel::ERROR => {
                tracing::error!(target: "plugin", plugin, method, at = target, "{message}")
            }
            LogLevel::WARN => {
                tracing::warn!(target: "plugin", plugin, method, at = target, "{message}")
            }
            LogLevel::DEBUG => {
                tracing::debug!(target: "plugin", plugin, method, at = target, "{message}")
            }
            LogLevel::TRACE => {
                tracing::trace!(target: "plugin", plugin, method, at = target, "{message}")
            }
            _ => tracing::info!(target: "plugin", plugin, method, at = target, "{message}"),
        }
    }

    fn log_enabled(&self, level: LogLevel) -> bool {
        match level {
            LogLevel::ERROR => tracing::enabled!(target: "plugin", tracing::Level::ERROR),
            LogLevel::WARN => tracing::enabled!(target: "plugin", tracing::Level::WARN),
            LogLevel::DEBUG => tracing::enabled!(target: "plugin", tracing::Level::DEBUG),
            LogLevel::TRACE => tracing::enabled!(target: "plugin", tracing::Level::TRACE),
            _ => tracing::enabled!(target: "plugin", tracing::Level::INFO),
        }
    }

    fn wake(&self) {
        (self.wiring.wake)(&self.id);
    }

    fn report_jobs(&self, reports: List<JobReport>) {
        // Nobody listens any more when the server stops; recovery finds the jobs.
        let _ = self
            .wiring
            .reports
            .send((self.id.clone(), reports.into_vec()));
    }

    fn query(&self, kind: &str, json: &str) -> Result<String, PluginError> {
        (self.wiring.query)(&self.id, kind, json)
    }
}
