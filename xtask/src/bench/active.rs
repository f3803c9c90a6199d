//! Very many invocations in the database that are not over and wait: what they cost at the start of the server, while
//! nothing happens, and when one of them goes on.

use super::bed::Ground;
use super::idle::{settle, watch};
use super::latency::Reviewed;
use super::report::{Goal, Report, milliseconds};
use crate::failure::{Failure, Result};

/// Approvals of which the median counts, with one and with many waiting.
const APPROVALS: usize = 20;

pub fn run(ground: &Ground, report: &mut Report, waiting: u32) -> Result<()> {
    eprintln!("active: {waiting} invocations at a pause in the database");
    let bed = ground.bed()?;
    let reviewed = Reviewed::new(&bed)?;
    let mut alone = Vec::new();
    for _ in 0..APPROVALS {
        let invocation = reviewed.invoke(&bed)?;
        let pause = reviewed.wait_for_pause(&bed, &invocation)?;
        alone.push(reviewed.approve(&bed, &invocation, &pause)?);
    }
    let like = reviewed.invoke(&bed)?;
    reviewed.wait_for_pause(&bed, &like)?;
    settle(&bed)?;
    let (bed, _) = bed.restart_after(ground, &["admin", "list-users"])?;
    let started = milliseconds(bed.ready_after);
    settle(&bed)?;
    let few = watch(&bed)?;
    let count = waiting.to_string();
    let copy = ["admin", "seed-copies", &like, "--count", &count];
    let (bed, made) = bed.restart_after(ground, &copy)?;
    let started_with = milliseconds(bed.ready_after);
    settle(&bed)?;
    let many = watch(&bed)?;
    let mut approved = Vec::new();
    let ids: Vec<&str> = made.lines().collect();
    let apart = (ids.len() / APPROVALS).max(1);
    for invocation in ids.iter().step_by(apart).take(APPROVALS) {
        let pause = reviewed.wait_for_pause(&bed, invocation)?;
        approved.push(reviewed.approve(&bed, invocation, &pause)?);
    }
    if approved.is_empty() {
        return Err(Failure::told("no copies were made"));
    }
    report.add("one waits: start", "ms", &[started]);
    report.add_wanted(
        format!("{waiting} wait: start"),
        "ms",
        &[started_with],
        Goal::AtMost(started * 2.0 + 50.0),
    );
    report.add("one waits: idle CPU", "ms/s", &[few.cpu]);
    report.add_wanted(
        format!("{waiting} wait: idle CPU"),
        "ms/s",
        &[many.cpu],
        Goal::AtMost(few.cpu + 1.0),
    );
    report.add("one waits: thread switches", "/s", &[few.switches]);
    report.add(
        format!("{waiting} wait: thread switches"),
        "/s",
        &[many.switches],
    );
    report.add("one waits: RSS", "MB", &[few.memory]);
    report.add_wanted(
        format!("{waiting} wait: RSS"),
        "MB",
        &[many.memory],
        Goal::AtMost(few.memory + 20.0),
    );
    report.add("one waits: approval to next job", "ms", &alone);
    report.add_wanted(
        format!("{waiting} wait: approval to next job"),
        "ms",
        &approved,
        Goal::AtMost(20.0),
    );
    Ok(())
}
