//! How soon an idle server acts, starts, and what it holds while it has nothing to do.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use super::bed::{Bed, Ground};
use super::process;
use super::report::{Goal, Report, milliseconds, quantile};
use super::workflows;
use crate::failure::{Failure, Result};
use crate::galaxy::text;
use crate::{interrupt, secret};

/// Requests of which the latency is taken.
const REQUESTS: usize = 100;
/// Between two of them, so that the server is idle again.
const REST: Duration = Duration::from_millis(60);
/// What does not happen within this time is a failure.
const PATIENCE: Duration = Duration::from_secs(60);
const SERVER_STARTS: u32 = 5;

pub fn run(ground: &Ground, report: &mut Report, runs: u32) -> Result<()> {
    eprintln!("latency: an idle server");
    let mut posts = Latencies::default();
    let mut approvals = Latencies::default();
    let (mut resident, mut proportional) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let bed = ground.bed()?;
        interrupt::sleep(Duration::from_secs(2))?;
        let (rss, pss) = process::memory_mb(bed.server.pid())?;
        resident.push(rss);
        proportional.push(pss);
        posts.add(&first_jobs(&bed)?);
        approvals.add(&jobs_after_approval(&bed)?);
    }
    report.add_wanted(
        "POST to first job: p50",
        "ms",
        &posts.p50,
        Goal::AtMost(10.0),
    );
    report.add("POST to first job: p95", "ms", &posts.p95);
    report.add_wanted(
        "approval to next job: p50",
        "ms",
        &approvals.p50,
        Goal::AtMost(20.0),
    );
    report.add("approval to next job: p95", "ms", &approvals.p95);
    report.add_wanted("idle memory: RSS", "MB", &resident, Goal::AtMost(40.0));
    report.add_wanted("idle memory: PSS", "MB", &proportional, Goal::AtMost(40.0));
    let (first, again) = starts(ground)?;
    report.add_wanted(
        "start on a new data directory",
        "ms",
        &first,
        Goal::AtMost(200.0),
    );
    report.add_wanted(
        "start on an old data directory",
        "ms",
        &again,
        Goal::AtMost(200.0),
    );
    Ok(())
}

/// The quantiles of each repetition.
#[derive(Default)]
struct Latencies {
    p50: Vec<f64>,
    p95: Vec<f64>,
}

impl Latencies {
    fn add(&mut self, values: &[f64]) {
        self.p50.extend(quantile(values, 0.5));
        self.p95.extend(quantile(values, 0.95));
    }
}

/// From sending a request to the first line of its job, in milliseconds.
fn first_jobs(bed: &Bed) -> Result<Vec<f64>> {
    let workflow = bed.galaxy.import_workflow(&workflows::clock())?;
    let mut values = Vec::new();
    for _ in 0..REQUESTS {
        interrupt::sleep(REST)?;
        values.push(until_job(&bed.starts, || {
            bed.galaxy
                .invoke(&workflow, &bed.history, &json!({}))
                .map(drop)
        })?);
    }
    Ok(values)
}

/// From sending an approval to the first line of the job behind the pause, in milliseconds.
fn jobs_after_approval(bed: &Bed) -> Result<Vec<f64>> {
    let reviewed = Reviewed::new(bed)?;
    let mut values = Vec::new();
    for _ in 0..REQUESTS {
        let invocation = reviewed.invoke(bed)?;
        let pause = reviewed.wait_for_pause(bed, &invocation)?;
        interrupt::sleep(REST)?;
        values.push(reviewed.approve(bed, &invocation, &pause)?);
    }
    Ok(values)
}

/// A workflow with a pause, and what it is invoked with.
pub struct Reviewed {
    workflow: String,
    inputs: Value,
}

impl Reviewed {
    pub fn new(bed: &Bed) -> Result<Self> {
        let dataset = bed
            .galaxy
            .upload_text(&bed.history, "data", "txt", "some data\n")?;
        Ok(Self {
            workflow: bed.galaxy.import_workflow(&workflows::reviewed())?,
            inputs: json!({"data": {"src": "hda", "id": dataset}}),
        })
    }

    pub fn invoke(&self, bed: &Bed) -> Result<String> {
        bed.galaxy
            .invoke(&self.workflow, &bed.history, &self.inputs)
    }

    /// The id of the invocation's step that waits.
    pub fn wait_for_pause(&self, bed: &Bed, invocation: &str) -> Result<String> {
        let end = Instant::now() + PATIENCE;
        loop {
            let seen = bed.galaxy.invocation(invocation)?;
            let steps = seen["steps"].as_array().map_or(&[][..], Vec::as_slice);
            let pause = steps
                .iter()
                .find(|step| step["workflow_step_label"] == "review" && step["state"].is_string());
            if let Some(step) = pause {
                return text(step, "id");
            }
            if Instant::now() > end {
                return Err(Failure::told(format!(
                    "the invocation did not get to its pause: {seen}"
                )));
            }
            interrupt::sleep(Duration::from_millis(5))?;
        }
    }

    /// Approves; milliseconds until the job behind the pause runs.
    pub fn approve(&self, bed: &Bed, invocation: &str, pause: &str) -> Result<f64> {
        until_job(&bed.starts, || {
            bed.galaxy.act(invocation, pause, true).map(drop)
        })
    }
}

/// From just before `request` to the moment that a job then notes as its start, in milliseconds.
fn until_job(starts: &Path, request: impl FnOnce() -> Result<()>) -> Result<f64> {
    let noted = || fs::read_to_string(starts).map_err(Failure::during("read the jobs' starts"));
    let before = noted()?.len();
    let sent = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    request()?;
    let end = Instant::now() + PATIENCE;
    loop {
        let text = noted()?;
        if let Some(line) = text.get(before..).and_then(|new| new.strip_suffix('\n')) {
            let nanoseconds: u64 = line
                .parse()
                .map_err(|_| Failure::told(format!("a job noted {line:?} as its start")))?;
            let started = Duration::from_nanos(nanoseconds);
            return Ok(milliseconds(started.saturating_sub(sent)));
        }
        if Instant::now() > end {
            return Err(Failure::told("the job did not start"));
        }
        interrupt::sleep(Duration::from_millis(2))?;
    }
}

/// How long a server takes until it listens, on a new data directory and on one that it knows.
fn starts(ground: &Ground) -> Result<(Vec<f64>, Vec<f64>)> {
    let (mut first, mut again) = (Vec::new(), Vec::new());
    for _ in 0..SERVER_STARTS {
        let Bed {
            server,
            folder,
            ready_after,
            ..
        } = ground.bed()?;
        first.push(milliseconds(ready_after));
        server.stop()?;
        let (server, ready_after) = ground.start(&folder, &secret()?)?;
        again.push(milliseconds(ready_after));
        server.stop()?;
    }
    Ok((first, again))
}
