//! Shares of runner time under the scheduler `fair-share`: three users with weights 1:1:2 submit 1, 10 and 100 invocations at
//! once.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::bed::Ground;
use super::report::{Goal, Report};
use super::workflows;
use crate::failure::{Failure, Result};
use crate::galaxy::Galaxy;
use crate::{interrupt, secret};

/// User, weight, invocations, jobs of each.
const USERS: [(&str, f64, u32, u32); 3] = [
    ("alice", 1.0, 1, 100),
    ("bob", 1.0, 10, 10),
    ("carol", 2.0, 100, 2),
];
const WORKERS: usize = 4;
const JOB_SECONDS: &str = "0.2";
const PATIENCE_SECONDS: u64 = 30;
const COMPLETE_SECONDS: u64 = 300;

pub fn run(ground: &Ground, report: &mut Report, runs: u32) -> Result<()> {
    eprintln!("fair-share: users with weights 1:1:2 and 1, 10 and 100 invocations");
    let mut outcomes = Vec::new();
    for _ in 0..runs {
        outcomes.push(measure(ground)?);
    }
    let weights: f64 = USERS.iter().map(|user| user.1).sum();
    for (name, weight, ..) in USERS {
        let wanted = weight / weights;
        let shares: Vec<f64> = outcomes.iter().map(|one| one.shares[name]).collect();
        report.add(format!("{name}: share of runner time"), "", &shares);
        let off: Vec<f64> = shares
            .iter()
            .map(|share| (share - wanted).abs() / wanted)
            .collect();
        let figure = format!("{name}: off its weight's {wanted:.2}");
        report.add_wanted(figure, "", &off, Goal::AtMost(0.1));
        let waits: Vec<f64> = outcomes.iter().map(|one| one.first_waits[name]).collect();
        report.add_wanted(
            format!("{name}: until the first job began"),
            "s",
            &waits,
            Goal::AtMost(PATIENCE_SECONDS as f64),
        );
    }
    let busy: Vec<f64> = outcomes.iter().map(|one| one.busy_seconds).collect();
    report.add("fair-share: the busy period", "s", &busy);
    Ok(())
}

/// Figures of one repetition, by user.
struct Outcome {
    shares: BTreeMap<String, f64>,
    /// From the request to the start of the first job, in seconds.
    first_waits: BTreeMap<String, f64>,
    busy_seconds: f64,
}

fn measure(ground: &Ground) -> Result<Outcome> {
    let folder = ground.folder()?;
    let plugins = folder.join("plugins.toml");
    let text = format!(
        "[plugins]\ndefault_scheduler = \"fair-share\"\n[[scheduler]]\ntype = \"fair-share\"\n[scheduler.config]\n\
         weights = {{ carol = 2 }}\npatience_seconds = {PATIENCE_SECONDS}\n[[workflow_module]]\ntype = \"pause\"\n\
         [[job_runner]]\ntype = \"local\"\n[job_runner.config]\nworkers = {WORKERS}\n"
    );
    fs::write(&plugins, text).map_err(Failure::during("write plugins.toml"))?;
    let runs = folder.join("runs");
    fs::write(&runs, "").map_err(Failure::during("create the file of job times"))?;
    for (name, ..) in USERS {
        // One line for each job, written at once: who, begin and end in nanoseconds since 1970.
        let command = format!(
            "b=$(date +%s%N); sleep {JOB_SECONDS}; echo \"{name} $b $(date +%s%N)\" >> '{}'; echo x > out.txt",
            runs.display()
        );
        workflows::write_tool(&folder.join("tools"), &tool_id(name), &command, true)?;
    }
    let bootstrap_key = secret()?;
    let (server, _) = ground.start_with(&folder, &bootstrap_key, &plugins)?;
    let admin = Galaxy::new(&server.url, &bootstrap_key);
    let mut ready = Vec::new();
    for (name, _, count, jobs) in USERS {
        let key = admin.create_user(name, &format!("{name}@example.org"), &secret()?)?;
        let galaxy = Galaxy::new(&server.url, &key);
        let history = galaxy.create_history("Benchmark")?;
        let workflow = workflows::mapped_by(&tool_id(name), 1);
        let workflow = galaxy.import_workflow(&workflow)?;
        let list = galaxy.upload_list(&history, jobs)?;
        ready.push((name, count, galaxy, history, workflow, list));
    }
    let asked: Result<BTreeMap<String, u64>> = std::thread::scope(|scope| {
        let threads: Vec<_> = ready
            .iter()
            .map(|(name, count, galaxy, history, workflow, list)| {
                scope.spawn(move || {
                    let asked = now_ns();
                    let inputs = json!({"list": {"src": "hdca", "id": list}});
                    for _ in 0..*count {
                        galaxy.invoke(workflow, history, &inputs)?;
                    }
                    Ok(((*name).to_owned(), asked))
                })
            })
            .collect();
        let joined = threads.into_iter().map(|thread| {
            let broke = |_| Failure::told("a user's requests broke");
            thread.join().map_err(broke)?
        });
        joined.collect()
    });
    let asked = asked?;
    let expected: u32 = USERS.iter().map(|user| user.2 * user.3).sum();
    let end = Instant::now() + Duration::from_secs(COMPLETE_SECONDS);
    let lines = loop {
        let text = fs::read_to_string(&runs).map_err(Failure::during("read the job times"))?;
        if text.lines().count() >= expected as usize {
            break read(&text);
        }
        if Instant::now() > end {
            let log = server.log_tail();
            return Err(Failure::told(format!("not all jobs ran in time:\n{log}")));
        }
        interrupt::sleep(Duration::from_millis(50))?;
    };
    server.kill()?;
    Ok(outcome(&asked, &lines))
}

fn tool_id(user: &str) -> String {
    format!("share_{user}")
}

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}

/// Who, begin, end.
type Run = (String, u64, u64);

fn read(text: &str) -> Vec<Run> {
    let line = |line: &str| {
        let mut words = line.split(' ');
        Some((
            words.next()?.to_owned(),
            words.next()?.parse().ok()?,
            words.next()?.parse().ok()?,
        ))
    };
    text.lines().filter_map(line).collect()
}

/// Over the busy period: from the first start of whoever started last, to the last start of whoever ran out first.
fn outcome(asked: &BTreeMap<String, u64>, runs: &[Run]) -> Outcome {
    let mut starts: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for (user, begin, _) in runs {
        let (first, last) = starts.entry(user).or_insert((*begin, *begin));
        *first = (*first).min(*begin);
        *last = (*last).max(*begin);
    }
    let from = starts.values().map(|one| one.0).max().unwrap_or(0);
    let to = starts.values().map(|one| one.1).min().unwrap_or(0);
    let mut used: BTreeMap<String, f64> = BTreeMap::new();
    for (user, begin, end) in runs {
        let part = (*end).min(to).saturating_sub((*begin).max(from));
        *used.entry(user.clone()).or_default() += part as f64;
    }
    let all: f64 = used.values().sum();
    let seconds = |ns: u64| ns as f64 / 1e9;
    Outcome {
        shares: used
            .into_iter()
            .map(|(user, one)| (user, one / all))
            .collect(),
        first_waits: starts
            .iter()
            .map(|(user, (first, _))| {
                let asked = asked.get(*user).copied().unwrap_or(*first);
                ((*user).to_owned(), seconds(first.saturating_sub(asked)))
            })
            .collect(),
        busy_seconds: seconds(to.saturating_sub(from)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_the_time_in_which_all_have_something_waiting() {
        let run = |user: &str, begin: u64, end: u64| (user.to_owned(), begin, end);
        let runs = [
            run("a", 0, 100),
            run("b", 10, 60),
            run("b", 60, 110),
            run("a", 100, 200),
            // b has nothing to start after 60.
            run("a", 200, 300),
        ];
        let asked = BTreeMap::from([("a".to_owned(), 0), ("b".to_owned(), 5)]);
        let outcome = outcome(&asked, &runs);
        assert_eq!(outcome.shares["a"], 0.5);
        assert!((outcome.busy_seconds - 50e-9).abs() < 1e-15);
        assert!((outcome.first_waits["b"] - 5e-9).abs() < 1e-15);
    }
}
