//! How long a plan takes, in each transport.

use std::sync::Arc;
use std::time::{Duration, Instant};

use barycenter_plugin_api::{Host, HostApi, LogLevel, PlanRequest};
use serde::{Deserialize, Serialize};

use crate::kit::subject::Subject;
use crate::kit::traces::{self, Dice};

/// One size of request in one transport.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// `inproc` or `process`.
    pub transport: String,
    /// What was asked: `empty`, `100 jobs`, …, or `recorded`.
    pub request: String,
    /// Half of the plans took no longer, microseconds.
    pub p50_us: f64,
    /// 99 of 100 took no longer.
    pub p99_us: f64,
    /// Decisions in a second, of plans asked one after the other.
    pub decisions_per_second: f64,
    /// Cloning the request alone, as part of the median: what any border costs at least.
    pub copy_share: f64,
}

/// Logs nothing, so that only the plugin is measured.
pub(super) struct Silent;

impl HostApi for Silent {
    fn log(&self, _: LogLevel, _: &str, _: &str) {}

    fn log_enabled(&self, _: LogLevel) -> bool {
        false
    }
}

/// How long one size is measured in one transport.
const TIME: Duration = Duration::from_millis(700);

/// Measures every size in every transport. The second value says which transports could not be used, and why.
pub fn measure(subject: &Subject, recorded: Vec<PlanRequest>) -> (Vec<Latency>, Vec<String>) {
    let mut dice = Dice::new(3);
    let mut sizes = vec![("empty".to_owned(), vec![PlanRequest::default()])];
    for jobs in [100, 1_000, 10_000] {
        let mut request = traces::job_plan(0, jobs, &mut dice);
        request.runners = vec![traces::runner("local", 64, 64, jobs)].into();
        sizes.push((format!("{jobs} jobs"), vec![request]));
    }
    if !recorded.is_empty() {
        sizes.push(("recorded".to_owned(), recorded));
    }
    let (mut rows, mut unusable) = (Vec::new(), Vec::new());
    for transport in ["inproc", "process"] {
        for (name, requests) in &sizes {
            match one(subject, transport, name, requests) {
                Ok(row) => rows.push(row),
                Err(error) => {
                    unusable.push(format!("{transport}, {name}: {error}"));
                    break;
                }
            }
        }
    }
    (rows, unusable)
}

fn one(
    subject: &Subject,
    transport: &str,
    name: &str,
    requests: &[PlanRequest],
) -> Result<Latency, String> {
    let opened = subject.open(transport, Host::new(Silent))?;
    let scheduler = opened.scheduler()?;
    scheduler.startup().map_err(|error| error.to_string())?;
    let requests: Vec<Arc<PlanRequest>> = requests.iter().cloned().map(Arc::new).collect();
    let (mut times, mut copies) = (Vec::new(), Vec::new());
    let mut decisions = 0;
    let end = Instant::now() + TIME;
    let mut at = 0;
    // At least a few rounds of slow ones; the first few warm up.
    while Instant::now() < end || at < 8 {
        let request = &requests[at % requests.len()];
        let begin = Instant::now();
        let copy = PlanRequest::clone(request);
        let copied = begin.elapsed();
        drop(copy);
        let begin = Instant::now();
        let plan = scheduler.plan(request).map_err(|error| error.to_string())?;
        let took = begin.elapsed();
        at += 1;
        if at > 3 {
            decisions += plan.jobs.len() + plan.invocations.len();
            times.push(took);
            copies.push(copied);
        }
    }
    let total: Duration = times.iter().sum();
    times.sort_unstable();
    copies.sort_unstable();
    let p50_us = micros(percentile(&times, 50));
    Ok(Latency {
        transport: transport.to_owned(),
        request: name.to_owned(),
        p50_us,
        p99_us: micros(percentile(&times, 99)),
        decisions_per_second: decisions as f64 / total.as_secs_f64().max(1e-9),
        copy_share: (micros(percentile(&copies, 50)) / p50_us.max(1e-9)).min(1.0),
    })
}

fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1000.0
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let last = sorted.len().saturating_sub(1);
    sorted
        .get(last * percent / 100)
        .copied()
        .unwrap_or_default()
}
