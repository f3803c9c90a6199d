//! What the plugin's table in `plugins.toml` may say.

use serde::Deserialize;
use std::time::Duration;

/// The options, each with its default.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Slots; a job takes as many as it wants cores.
    pub workers: u32,
    /// How long a job that is to end may tidy up before it is killed.
    pub kill_grace_seconds: f64,
    /// How often the size of a running job's output is looked at.
    pub log_check_seconds: f64,
}

impl Default for Config {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            workers: u32::try_from(processors).unwrap_or(1),
            kill_grace_seconds: 5.0,
            log_check_seconds: 1.0,
        }
    }
}

impl Config {
    /// `kill_grace_seconds` as a duration.
    pub fn kill_grace(&self) -> Duration {
        seconds(self.kill_grace_seconds)
    }

    /// `log_check_seconds` as a duration.
    pub fn log_check(&self) -> Duration {
        seconds(self.log_check_seconds.max(0.05))
    }
}

fn seconds(value: f64) -> Duration {
    Duration::try_from_secs_f64(value).unwrap_or_default()
}
