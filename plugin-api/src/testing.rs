//! A host for unit tests of plugins.

use crate::{Host, HostApi, JobReport, JobStatus, List, LogLevel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Remembers what a plugin told it.
///
/// ```
/// let fake = barycenter_plugin_api::testing::FakeHost::new();
/// fake.host().info("ready");
/// assert_eq!(fake.lines(), ["info: ready"]);
/// ```
#[derive(Clone, Default)]
pub struct FakeHost(Arc<Shared>);

#[derive(Default)]
struct Shared {
    heard: Mutex<Heard>,
    changed: Condvar,
}

#[derive(Default)]
struct Heard {
    lines: Vec<String>,
    reports: Vec<JobReport>,
    batches: usize,
    wakes: usize,
}

impl FakeHost {
    /// A host that has heard nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What to hand to [`crate::Plugin::create`].
    pub fn host(&self) -> Host {
        Host::new(self.clone())
    }

    /// The log lines, each as `level: message`.
    pub fn lines(&self) -> Vec<String> {
        self.heard(|heard| heard.lines.clone())
    }

    /// Every job report so far.
    pub fn reports(&self) -> Vec<JobReport> {
        self.heard(|heard| heard.reports.clone())
    }

    /// In how many calls the reports came.
    pub fn batches(&self) -> usize {
        self.heard(|heard| heard.batches)
    }

    /// How often the plugin asked to be woken.
    pub fn wakes(&self) -> usize {
        self.heard(|heard| heard.wakes)
    }

    /// Waits until `done` accepts the reports; `None` when `limit` passes before.
    pub fn wait_for_reports(
        &self,
        limit: Duration,
        done: impl FnMut(&[JobReport]) -> bool,
    ) -> Option<Vec<JobReport>> {
        self.wait(limit, done)?;
        Some(self.reports())
    }

    fn wait(&self, limit: Duration, mut done: impl FnMut(&[JobReport]) -> bool) -> Option<()> {
        let until = Instant::now() + limit;
        let mut heard = self.0.heard.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if done(&heard.reports) {
                return Some(());
            }
            let left = until.checked_duration_since(Instant::now())?;
            let waited = self.0.changed.wait_timeout(heard, left);
            heard = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until at least `count` reports tell of an end (anything but running), and returns how
    /// many there are; `None` when `limit` passes before.
    pub fn wait_for_finished(&self, limit: Duration, count: usize) -> Option<usize> {
        let mut ended = 0;
        let mut seen = 0;
        self.wait(limit, |reports| {
            let new = reports[seen..].iter();
            ended += new
                .filter(|report| report.status != JobStatus::RUNNING)
                .count();
            seen = reports.len();
            ended >= count
        })?;
        Some(ended)
    }

    fn heard<T>(&self, read: impl FnOnce(&mut Heard) -> T) -> T {
        let mut heard = self.0.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let value = read(&mut heard);
        self.0.changed.notify_all();
        value
    }
}

impl HostApi for FakeHost {
    fn log(&self, level: LogLevel, _target: &str, message: &str) {
        self.heard(|heard| heard.lines.push(format!("{level}: {message}")));
    }

    fn wake(&self) {
        self.heard(|heard| heard.wakes += 1);
    }

    fn report_jobs(&self, reports: List<JobReport>) {
        self.heard(|heard| {
            heard.batches += 1;
            heard.reports.extend(reports);
        });
    }
}
