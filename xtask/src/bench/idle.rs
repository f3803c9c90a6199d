//! Many invocations that wait for a person: what they cost while nothing happens.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::bed::{Bed, Ground};
use super::latency::Reviewed;
use super::process;
use super::report::{Goal, Report};
use crate::failure::{Failure, Result};
use crate::interrupt;

/// How long nothing is done.
const WATCHED: Duration = Duration::from_secs(30);
const CLIENTS: u32 = 4;
/// Approvals at the end.
const APPROVALS: u32 = 20;

pub fn run(ground: &Ground, report: &mut Report, waiting: u32) -> Result<()> {
    eprintln!("idle: {waiting} invocations that wait at a pause");
    let bed = ground.bed()?;
    settle(&bed)?;
    let none = watch(&bed)?;
    let begin = Instant::now();
    let reviewed = Reviewed::new(&bed)?;
    let last = invoke_many(&bed, &reviewed, waiting)?;
    report.add(
        "invocations accepted",
        "/s",
        &[f64::from(waiting) / begin.elapsed().as_secs_f64()],
    );
    reviewed.wait_for_pause(&bed, &last)?;
    settle(&bed)?;
    report.add(
        "invocations brought to their pause",
        "/s",
        &[f64::from(waiting) / begin.elapsed().as_secs_f64()],
    );
    let many = watch(&bed)?;
    report.add("none wait: idle CPU", "ms/s", &[none.cpu]);
    report.add_wanted(
        format!("{waiting} wait: idle CPU"),
        "ms/s",
        &[many.cpu],
        // What the clock of processor time can tell apart, over the time watched.
        Goal::AtMost(none.cpu + 1.0),
    );
    report.add("none wait: thread switches", "/s", &[none.switches]);
    report.add_wanted(
        format!("{waiting} wait: thread switches"),
        "/s",
        &[many.switches],
        Goal::AtMost(none.switches * 1.5 + 1.0),
    );
    report.add("none wait: reads and writes", "/s", &[none.transfers]);
    report.add(
        format!("{waiting} wait: reads and writes"),
        "/s",
        &[many.transfers],
    );
    report.add("none wait: RSS", "MB", &[none.memory]);
    report.add(format!("{waiting} wait: RSS"), "MB", &[many.memory]);
    let mut values = Vec::new();
    for _ in 0..APPROVALS {
        let invocation = reviewed.invoke(&bed)?;
        let pause = reviewed.wait_for_pause(&bed, &invocation)?;
        values.push(reviewed.approve(&bed, &invocation, &pause)?);
    }
    report.add_wanted(
        format!("{waiting} wait: approval to next job"),
        "ms",
        &values,
        Goal::AtMost(20.0),
    );
    Ok(())
}

/// What an idle server does in a second.
pub struct Idle {
    /// Milliseconds of processor time.
    pub cpu: f64,
    pub switches: f64,
    pub transfers: f64,
    /// MB.
    pub memory: f64,
}

pub fn watch(bed: &Bed) -> Result<Idle> {
    let pid = bed.server.pid();
    let (cpu, before) = (bed.cpu()?, process::activity(pid)?);
    let begin = Instant::now();
    interrupt::sleep(WATCHED)?;
    let seconds = begin.elapsed().as_secs_f64();
    let (cpu_after, after) = (bed.cpu()?, process::activity(pid)?);
    Ok(Idle {
        cpu: cpu_after.saturating_sub(cpu).as_secs_f64() * 1000.0 / seconds,
        switches: after.switches_since(&before) as f64 / seconds,
        transfers: after.transfers.saturating_sub(before.transfers) as f64 / seconds,
        memory: process::memory_mb(pid)?.0,
    })
}

/// Waits until the server has used no processor time for two seconds.
pub fn settle(bed: &Bed) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(600);
    let mut quiet = 0;
    while quiet < 4 {
        let before = bed.cpu()?;
        interrupt::sleep(Duration::from_millis(500))?;
        quiet = if bed.cpu()?.saturating_sub(before) < Duration::from_millis(10) {
            quiet + 1
        } else {
            0
        };
        if Instant::now() > end {
            return Err(Failure::told("the server does not come to rest"));
        }
    }
    Ok(())
}

/// Invokes from several clients at once; returns the id of one of the last invocations.
fn invoke_many(bed: &Bed, reviewed: &Reviewed, count: u32) -> Result<String> {
    let next = AtomicU32::new(0);
    let client = || -> Result<Option<String>> {
        let mut last = None;
        while next.fetch_add(1, Ordering::Relaxed) < count {
            interrupt::check()?;
            last = Some(reviewed.invoke(bed)?);
        }
        Ok(last)
    };
    let answers: Vec<Result<Option<String>>> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        clients
            .into_iter()
            .map(|client| {
                client
                    .join()
                    .unwrap_or_else(|_| Err(Failure::told("a client broke")))
            })
            .collect()
    });
    let mut last = None;
    for answer in answers {
        last = answer?.or(last);
    }
    last.ok_or_else(|| Failure::told("nothing was invoked"))
}
