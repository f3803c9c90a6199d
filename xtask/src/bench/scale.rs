//! Large invocations: long lists through several tools, and workflows of a thousand steps.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::bed::{Bed, Ground};
use super::process;
use super::report::{Goal, Report, quantile};
use super::workflows;
use crate::failure::{Failure, Result};
use crate::galaxy::Galaxy;
use crate::interrupt;

/// Tools in the chain that a list goes through.
const TOOLS: u32 = 3;
/// The lists, the smaller first.
const LISTS: [u32; 2] = [1_000, 10_000];
const STEPS: u32 = 1_000;
/// Subworkflows within each other; the steps are shared out among them.
const LEVELS: u32 = 5;
/// An invocation that is not scheduled by then is a failure.
const PATIENCE: Duration = Duration::from_secs(900);
const POLL: Duration = Duration::from_millis(5);
/// Between two requests of somebody else.
const OTHERS: Duration = Duration::from_millis(10);

/// What it took until everything of an invocation was scheduled.
struct Scheduling {
    /// Until the request was answered, in milliseconds.
    answered: f64,
    /// Until the invocation was `scheduled`, in seconds.
    scheduled: f64,
    /// Processor time of the server and its jobs meanwhile, in seconds.
    cpu: f64,
    /// How much the server's memory grew at most, in MB.
    memory: f64,
    /// What somebody else's requests took meanwhile, in milliseconds.
    others: Vec<f64>,
}

/// Lists of 1,000 and 10,000 elements through three tools in a chain.
pub fn map_chain(ground: &Ground, report: &mut Report, runs: u32) -> Result<()> {
    let mut smaller: Option<(f64, f64)> = None;
    for list in LISTS {
        let jobs = list * TOOLS;
        eprintln!("map-chain: {list} elements through {TOOLS} tools");
        let took = repeated(runs, || {
            let bed = ground.bed()?;
            let workflow = bed
                .galaxy
                .import_workflow(&workflows::mapped_chain(TOOLS))?;
            let collection = bed.galaxy.upload_list(&bed.history, list)?;
            let inputs = json!({"list": {"src": "hdca", "id": collection}});
            schedule(bed, &workflow, &inputs, jobs)
        })?;
        let name = |what: &str| format!("{list} elements, {TOOLS} tools: {what}");
        let each =
            |figure: &dyn Fn(&Scheduling) -> f64| -> Vec<f64> { took.iter().map(figure).collect() };
        report.add_wanted(
            name("POST answered"),
            "ms",
            &each(&|t| t.answered),
            Goal::AtMost(1000.0),
        );
        let seconds = each(&|t| t.scheduled);
        let memory = each(&|t| t.memory);
        report.add(name("all jobs created"), "s", &seconds);
        report.add(
            name("created"),
            "jobs/s",
            &each(&|t| f64::from(jobs) / t.scheduled),
        );
        report.add(name("CPU meanwhile"), "s", &each(&|t| t.cpu));
        report.add(name("memory added"), "MB", &memory);
        report.add(
            name("others' requests: p50"),
            "ms",
            &each(&|t| quantile(&t.others, 0.5).unwrap_or(0.0)),
        );
        report.add_wanted(
            name("others' requests: p99"),
            "ms",
            &each(&|t| quantile(&t.others, 0.99).unwrap_or(0.0)),
            Goal::AtMost(50.0),
        );
        let medians = quantile(&seconds, 0.5).zip(quantile(&memory, 0.5));
        if let (Some((small_seconds, small_memory)), Some((seconds, memory))) = (smaller, medians) {
            let times = f64::from(LISTS[1]) / f64::from(LISTS[0]);
            // Linear is ten for ten.
            report.add_wanted(
                format!("{times} times the elements: time"),
                "times",
                &[seconds / small_seconds],
                Goal::AtMost(times * 1.3),
            );
            report.add_wanted(
                format!("{times} times the elements: memory added"),
                "times",
                &[memory / small_memory.max(1.0)],
                Goal::AtMost(times * 1.3),
            );
        }
        smaller = medians;
    }
    Ok(())
}

/// A thousand steps beside each other.
pub fn wide(ground: &Ground, report: &mut Report, runs: u32) -> Result<()> {
    eprintln!("wide-workflow: {STEPS} steps");
    steps(
        ground,
        report,
        runs,
        "wide",
        &workflows::independent(STEPS),
        STEPS,
    )
}

/// A thousand steps in a chain, and the same shared out among subworkflows within each other.
pub fn deep(ground: &Ground, report: &mut Report, runs: u32) -> Result<()> {
    eprintln!("deep-workflow: {STEPS} steps, then in {LEVELS} levels");
    steps(
        ground,
        report,
        runs,
        "chained",
        &workflows::chain(STEPS),
        STEPS,
    )?;
    let nested = workflows::nested(LEVELS, STEPS / LEVELS);
    steps(
        ground,
        report,
        runs,
        &format!("chained in {LEVELS} levels"),
        &nested,
        STEPS / LEVELS,
    )
}

fn steps(
    ground: &Ground,
    report: &mut Report,
    runs: u32,
    name: &str,
    workflow: &Value,
    own_jobs: u32,
) -> Result<()> {
    let took = repeated(runs, || {
        let bed = ground.bed()?;
        let workflow = bed.galaxy.import_workflow(workflow)?;
        schedule(bed, &workflow, &json!({}), own_jobs)
    })?;
    let answered: Vec<f64> = took.iter().map(|t| t.answered).collect();
    let scheduled: Vec<f64> = took.iter().map(|t| t.scheduled * 1000.0).collect();
    report.add(
        format!("{STEPS} steps {name}: POST answered"),
        "ms",
        &answered,
    );
    report.add(
        format!("{STEPS} steps {name}: POST to all scheduled"),
        "ms",
        &scheduled,
    );
    Ok(())
}

fn repeated(runs: u32, run: impl Fn() -> Result<Scheduling>) -> Result<Vec<Scheduling>> {
    (0..runs).map(|_| run()).collect()
}

/// Invokes and waits until all jobs are there, `jobs` of them not in subworkflows. The jobs run meanwhile, as they do in earnest; those that are left are
/// given up.
fn schedule(bed: Bed, workflow: &str, inputs: &Value, jobs: u32) -> Result<Scheduling> {
    let memory_before = peak_memory_mb(bed.server.pid())?;
    let cpu_before = bed.cpu()?;
    let over = AtomicBool::new(false);
    let (took, others) = std::thread::scope(|scope| {
        let others = scope.spawn(|| requests_of_others(&bed.galaxy, &bed.history, &over));
        let took = until_scheduled(&bed, workflow, inputs);
        over.store(true, Ordering::Relaxed);
        let others = others
            .join()
            .unwrap_or_else(|_| Err(Failure::told("the thread of requests broke")));
        (took, others)
    });
    let (invocation, answered, scheduled) = took?;
    let cpu = bed.cpu()?.saturating_sub(cpu_before);
    let memory = peak_memory_mb(bed.server.pid())? - memory_before;
    let summary = bed.galaxy.jobs_summary(&invocation)?;
    let count: u64 = summary["states"]
        .as_object()
        .into_iter()
        .flat_map(|states| states.values())
        .filter_map(Value::as_u64)
        .sum();
    if count != u64::from(jobs) {
        return Err(Failure::told(format!(
            "{jobs} jobs should be there, but: {summary}"
        )));
    }
    bed.end()?;
    Ok(Scheduling {
        answered: answered.as_secs_f64() * 1000.0,
        scheduled: scheduled.as_secs_f64(),
        cpu: cpu.as_secs_f64(),
        memory,
        others: others?,
    })
}

fn until_scheduled(
    bed: &Bed,
    workflow: &str,
    inputs: &Value,
) -> Result<(String, Duration, Duration)> {
    let begin = Instant::now();
    let invocation = bed.galaxy.invoke(workflow, &bed.history, inputs)?;
    let answered = begin.elapsed();
    loop {
        match bed.galaxy.invocation_state(&invocation)?.as_str() {
            "scheduled" | "completed" => return Ok((invocation, answered, begin.elapsed())),
            state @ ("failed" | "cancelled") => {
                let log = bed.server.log_tail();
                return Err(Failure::told(format!(
                    "the invocation ended as {state}; the end of the server's log:\n{log}"
                )));
            }
            _ if begin.elapsed() > PATIENCE => {
                return Err(Failure::told("the invocation was not scheduled in time"));
            }
            _ => interrupt::sleep(POLL)?,
        }
    }
}

/// What somebody else does meanwhile: reads a history, makes one.
fn requests_of_others(galaxy: &Galaxy, history: &str, over: &AtomicBool) -> Result<Vec<f64>> {
    let mut took = Vec::new();
    let mut reads = true;
    while !over.load(Ordering::Relaxed) || took.is_empty() {
        let begin = Instant::now();
        match reads {
            true => galaxy.history(history).map(drop)?,
            false => galaxy.create_history("somebody else's").map(drop)?,
        }
        took.push(begin.elapsed().as_secs_f64() * 1000.0);
        reads = !reads;
        interrupt::sleep(OTHERS)?;
    }
    Ok(took)
}

/// The most memory that a process has had so far, in MB.
fn peak_memory_mb(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).map_err(Failure::during(format!("read {path}")))?;
    process::field(&text, "VmHWM:")
        .map(|kb| kb as f64 / 1024.0)
        .ok_or_else(|| Failure::told("the system does not tell a process's peak memory"))
}
