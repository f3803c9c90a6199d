//! R: many calls, many threads, many instances, an unhelpful host.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use barycenter_plugin_api::{
    Host, HostApi, JobRef, JobReport, List, LogLevel, PlanRequest, PluginError,
};

use super::runner::{Desk, run_to_end};
use super::{ALL, Context, Test, Verdict, faults_or_passed, noted, passed, passed_with};
use crate::kit::subject::Opened;
use crate::kit::traces;
use crate::plugins::PluginCallError;

pub(super) const TESTS: [Test; 6] = [
    Test {
        id: "R.host",
        text: "a host that is slow to log and refuses every question is borne",
        kinds: ALL,
        run: host,
    },
    Test {
        id: "R.threads",
        text: "calls from changing threads are answered; modules and runners take eight at once",
        kinds: ALL,
        run: threads,
    },
    Test {
        id: "R.drop",
        text: "instances are dropped without a panic",
        kinds: ALL,
        run: drops,
    },
    Test {
        id: "R.leaks",
        text: "fifty instances that come and go leave no thread and no open file behind",
        kinds: ALL,
        run: leaks,
    },
    Test {
        id: "R.memory",
        text: "2,000 calls do not make memory grow",
        kinds: ALL,
        run: memory,
    },
    Test {
        id: "R.output",
        text: "it writes its log through the host, nothing to stdout",
        kinds: ALL,
        run: output,
    },
];

/// Takes its time and helps with nothing.
struct Unhelpful(AtomicU64);

impl HostApi for Unhelpful {
    fn log(&self, _: LogLevel, _: &str, _: &str) {
        // Not so often that a talkative plugin runs into the time limit of the test.
        if self.0.fetch_add(1, Ordering::Relaxed) < 100 {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn now_ms(&self) -> i64 {
        0
    }

    fn report_jobs(&self, _: List<JobReport>) {
        std::thread::sleep(Duration::from_millis(5));
    }

    fn query(&self, _: &str, _: &str) -> Result<String, PluginError> {
        Err(PluginError::failed("the database is not reachable"))
    }
}

/// One ordinary call. Refusals are answers.
fn exercise(opened: &Opened, plans: &[Arc<PlanRequest>], at: usize) -> Result<(), String> {
    let borne = |outcome: Result<(), PluginCallError>| match outcome {
        Ok(()) | Err(PluginCallError::Refused { .. }) => Ok(()),
        Err(error) => Err(error.to_string()),
    };
    if let Ok(scheduler) = opened.scheduler() {
        return borne(scheduler.plan(&plans[at % plans.len()]).map(drop));
    }
    if let Ok(module) = opened.module() {
        let kind = super::module::KINDS[at % super::module::KINDS.len()];
        let step = super::module::step(module, kind, "null");
        borne(module.execute(&step).map(drop))?;
        borne(module.recover_mapping(&step).map(drop))?;
        return borne(module.do_invocation_step_action(&step, "true").map(drop));
    }
    let runner = opened.runner()?;
    let stranger = JobRef {
        job_id: 1,
        token: "nobody's".into(),
        ..JobRef::default()
    };
    borne(runner.poll(std::slice::from_ref(&stranger)).map(drop))?;
    borne(runner.cancel(&[stranger]).map(drop))?;
    borne(runner.capacity().map(drop))
}

fn plans(count: u64) -> Vec<Arc<PlanRequest>> {
    traces::built_in(count).into_iter().map(Arc::new).collect()
}

fn host(context: &Context) -> Verdict {
    let unhelpful = Host::new(Unhelpful(AtomicU64::new(0)));
    let opened = context.subject.open("inproc", unhelpful)?;
    let plans = plans(20);
    for at in 0..20 {
        exercise(&opened, &plans, at)?;
    }
    passed()
}

fn threads(context: &Context) -> Verdict {
    let (opened, host) = context.open()?;
    let plans = plans(40);
    let faults: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|thread| {
                let (opened, plans) = (&opened, &plans);
                scope.spawn(move || (0..40).try_for_each(|at| exercise(opened, plans, at + thread)))
            })
            .collect();
        let ends = threads.into_iter().map(|thread| thread.join());
        ends.filter_map(|end| match end {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error),
            Err(_) => Some("a thread panicked".to_owned()),
        })
        .collect()
    });
    if opened.runner().is_ok() && faults.is_empty() {
        let desk = Desk::new()?;
        run_to_end(&opened, &host, &[desk.job(1, "true")?])?;
    }
    faults_or_passed(faults)
}

/// Runs `body` with stdout and stderr in files, and returns what it wrote to both.
fn captured(body: impl FnOnce() -> Result<(), String>) -> Result<(String, String), String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let files = [1, 2].map(|number| {
        let path = folder.path().join(number.to_string());
        std::fs::File::create(&path).map(|file| (number, path, file))
    });
    let mut saved = Vec::new();
    for file in files {
        let (number, path, file) = file.map_err(|error| error.to_string())?;
        saved.push((redirect(number, &file)?, number, path));
    }
    let outcome = body();
    let mut texts = Vec::new();
    for (before, number, path) in saved {
        redirect(number, &before)?;
        texts.push(
            std::fs::read(path)
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                .unwrap_or_default(),
        );
    }
    outcome?;
    let stderr = texts.pop().unwrap_or_default();
    Ok((texts.pop().unwrap_or_default(), stderr))
}

/// Points a standard stream to a file; returns where it pointed before.
fn redirect(number: i32, to: &std::fs::File) -> Result<std::fs::File, String> {
    use std::os::fd::{AsRawFd, FromRawFd};
    let failed = || std::io::Error::last_os_error().to_string();
    #[expect(unsafe_code, reason = "the standard library cannot redirect a stream")]
    // SAFETY: plain system calls on numbers of files that are open; the copy is owned by nobody else.
    unsafe {
        let before = libc::dup(number);
        if before < 0 || libc::dup2(to.as_raw_fd(), number) < 0 {
            return Err(failed());
        }
        Ok(std::fs::File::from_raw_fd(before))
    }
}

fn drops(context: &Context) -> Verdict {
    let plans = plans(8);
    let (_, stderr) = captured(|| {
        for round in 0..3 {
            let (opened, _) = context.open()?;
            for at in 0..round {
                // A failed call is another test's finding; here it must not keep the object from being dropped.
                let _ = exercise(&opened, &plans, at);
            }
        }
        // A worker of its own may still be at its drop.
        std::thread::sleep(Duration::from_millis(100));
        Ok(())
    })?;
    match stderr.lines().find(|line| line.contains("panicked")) {
        Some(line) => Err(line.trim().to_owned()),
        None => passed(),
    }
}

fn output(context: &Context) -> Verdict {
    let plans = plans(20);
    let (stdout, stderr) = captured(|| {
        let (opened, _) = context.open()?;
        for at in 0..20 {
            let _ = exercise(&opened, &plans, at);
        }
        Ok(())
    })?;
    if let Some(line) = stdout.lines().next() {
        return Err(format!(
            "it writes to stdout: {line:?}; use `Host::info` and the like"
        ));
    }
    match stderr.lines().next() {
        Some(line) => noted(format!(
            "it writes to stderr: {line:?}; `Host::info` and the like carry its id and level"
        )),
        None => passed(),
    }
}

fn entries(folder: &str) -> usize {
    std::fs::read_dir(folder).map_or(0, |entries| entries.count())
}

fn leaks(context: &Context) -> Verdict {
    let round = || -> Result<(), String> {
        let (opened, _) = context.open()?;
        if let Ok(runner) = opened.runner() {
            let _ = runner.shutdown();
        }
        Ok(())
    };
    for _ in 0..3 {
        round()?;
    }
    std::thread::sleep(Duration::from_millis(300));
    let before = (entries("/proc/self/task"), entries("/proc/self/fd"));
    for _ in 0..50 {
        round()?;
    }
    let mut after = before;
    for _ in 0..40 {
        after = (entries("/proc/self/task"), entries("/proc/self/fd"));
        if after.0 <= before.0 && after.1 <= before.1 {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut faults = Vec::new();
    // One or two may be on their way out; one per instance may not.
    if after.0 > before.0 + 5 {
        faults.push(format!("{} threads are left", after.0 - before.0));
    }
    if after.1 > before.1 + 5 {
        faults.push(format!("{} files are left open", after.1 - before.1));
    }
    faults_or_passed(faults)
}

fn resident_kb() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let resident = pages.and_then(|text| text.split_whitespace().nth(1)?.parse::<u64>().ok());
    resident.unwrap_or(0) * 4
}

/// More than what allocators keep for themselves.
const GROWTH_KB: u64 = 16 << 10;

fn memory(context: &Context) -> Verdict {
    // Not the fake host: it remembers every line.
    let opened = context.subject.open("inproc", Host::new(Forgetful))?;
    let plans = plans(40);
    for at in 0..400 {
        exercise(&opened, &plans, at)?;
    }
    let before = resident_kb();
    for at in 0..2000 {
        exercise(&opened, &plans, at)?;
    }
    let grown = resident_kb().saturating_sub(before);
    if grown > GROWTH_KB {
        return Err(format!("memory grew by {} MiB in 2,000 calls", grown >> 10));
    }
    passed_with(format!("{grown} KiB"))
}

struct Forgetful;

impl HostApi for Forgetful {
    fn log(&self, _: LogLevel, _: &str, _: &str) {}
}
