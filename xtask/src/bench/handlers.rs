//! Several servers, each a process of its own, on one PostgreSQL and one machine: how much more they come to together.

use std::time::{Duration, Instant};

use serde_json::json;

use super::bed::Ground;
use super::report::Report;
use super::{process, workflows};
use crate::failure::{Failure, Result};
use crate::galaxy::Galaxy;
use crate::postgres::{Postgres, Programs};
use crate::server::Server;
use crate::{interrupt, secret};

const SERVERS: [u32; 3] = [1, 2, 4];
/// Jobs of one invocation, all independent.
const JOBS: u32 = 5;
/// Between two looks at an invocation: looking costs as well.
const POLL: Duration = Duration::from_millis(50);
/// An invocation that does not end in time is a failure.
const INVOCATION_SECONDS: u64 = 900;

pub fn run(ground: &Ground, report: &mut Report, invocations: u32, runs: u32) -> Result<()> {
    let Some(programs) = Programs::find() else {
        eprintln!("handlers: left out, as PostgreSQL is not here: apt-get install postgresql");
        return Ok(());
    };
    for servers in SERVERS {
        eprintln!("handlers: {invocations} invocations of {JOBS} jobs on {servers} servers");
        let rounds = (0..runs)
            .map(|_| measure(ground, &programs, servers, invocations))
            .collect::<Result<Vec<Round>>>()?;
        let name = match servers {
            1 => "1 server on PostgreSQL".to_owned(),
            more => format!("{more} servers on PostgreSQL"),
        };
        let each =
            |figure: &dyn Fn(&Round) -> f64| -> Vec<f64> { rounds.iter().map(figure).collect() };
        let jobs = f64::from(invocations * JOBS);
        let per_job = |time: Duration| time.as_secs_f64() * 1000.0 / jobs;
        let seconds = |round: &Round| round.took.as_secs_f64();
        report.add(
            name.as_str(),
            "invocations/s",
            &each(&|round| f64::from(invocations) / seconds(round)),
        );
        report.add(
            format!("{name}: jobs"),
            "jobs/s",
            &each(&|round| jobs / seconds(round)),
        );
        for (whose, figure) in PARTS {
            let figures = each(&|round| per_job(figure(round)));
            report.add(format!("{name}: CPU of {whose}"), "ms/job", &figures);
        }
        let busy = each(&|round| {
            let all: Duration = PARTS.iter().map(|(_, figure)| figure(round)).sum();
            all.as_secs_f64() / seconds(round) / process::processors() as f64
        });
        report.add(format!("{name}: processors at work"), "", &busy);
    }
    Ok(())
}

/// What one measurement came to.
struct Round {
    took: Duration,
    servers: Duration,
    jobs: Duration,
    postgres: Duration,
}

type Part = (&'static str, fn(&Round) -> Duration);
const PARTS: [Part; 3] = [
    ("the servers", |round| round.servers),
    ("the jobs", |round| round.jobs),
    ("PostgreSQL", |round| round.postgres),
];

/// From the first request to the last completion. Each server gets its share of the requests.
fn measure(ground: &Ground, programs: &Programs, count: u32, invocations: u32) -> Result<Round> {
    let postgres = Postgres::start_careful(programs)?;
    let folder = ground.folder()?;
    let starts = folder.join("starts");
    std::fs::write(&starts, "").map_err(Failure::during("create the file of job starts"))?;
    workflows::write_tools(&folder.join("tools"), &starts)?;
    let bootstrap_key = secret()?;
    let servers = (1..=count)
        .map(|n| {
            ground.start_one(
                &folder,
                &bootstrap_key,
                &postgres.url(),
                &format!("bench-{n}"),
            )
        })
        .collect::<Result<Vec<_>>>()?;
    let admin = Galaxy::new(&servers[0].url, &bootstrap_key);
    let key = admin.create_user("bench", "bench@example.org", &secret()?)?;
    let first = Galaxy::new(&servers[0].url, &key);
    let workflow = first.import_workflow(&workflows::independent(JOBS))?;
    let mut clients = Vec::new();
    for server in &servers {
        let galaxy = Galaxy::new(&server.url, &key);
        let history = galaxy.create_history("Benchmark")?;
        clients.push((galaxy, history));
    }
    let before = used(&servers, &postgres)?;
    let begin = Instant::now();
    let ended: Vec<Result<()>> = std::thread::scope(|scope| {
        let shares = clients.iter().zip(0_u32..).map(|((galaxy, history), n)| {
            let share = invocations / count + u32::from(n < invocations % count);
            let workflow = &workflow;
            scope.spawn(move || complete(galaxy, history, workflow, share))
        });
        let threads: Vec<_> = shares.collect();
        let ended = threads.into_iter().map(|thread| {
            let broke = |_| Err(Failure::told("a client broke"));
            thread.join().unwrap_or_else(broke)
        });
        ended.collect()
    });
    let took = begin.elapsed();
    for (share, server) in ended.into_iter().zip(&servers) {
        share.map_err(|failure| {
            let log = server.log_tail();
            Failure::told(format!("{failure}; the end of the server's log:\n{log}"))
        })?;
    }
    let after = used(&servers, &postgres)?;
    for server in servers {
        server.kill()?;
    }
    let [servers, jobs, postgres] = [0, 1, 2].map(|n| after[n].saturating_sub(before[n]));
    Ok(Round {
        took,
        servers,
        jobs,
        postgres,
    })
}

/// Processor time so far: of the servers, of the jobs that they waited for, of PostgreSQL.
fn used(servers: &[Server], postgres: &Postgres) -> Result<[Duration; 3]> {
    let (mut own, mut jobs) = (Duration::ZERO, Duration::ZERO);
    for server in servers {
        let (itself, children) = process::own_and_children_cpu(server.pid())?;
        own += itself;
        jobs += children;
    }
    Ok([own, jobs, process::family_cpu(postgres.pid())?])
}

/// Has `count` invocations made by one server, and waits until all are completed, by whomever.
fn complete(galaxy: &Galaxy, history: &str, workflow: &str, count: u32) -> Result<()> {
    let made = (0..count)
        .map(|_| galaxy.invoke(workflow, history, &json!({})))
        .collect::<Result<Vec<String>>>()?;
    let end = Instant::now() + Duration::from_secs(INVOCATION_SECONDS);
    for invocation in &made {
        loop {
            match galaxy.invocation_state(invocation)?.as_str() {
                "completed" => break,
                over @ ("failed" | "cancelled") => {
                    return Err(Failure::told(format!("an invocation ended as {over}")));
                }
                _ if Instant::now() > end => {
                    return Err(Failure::told("an invocation did not complete in time"));
                }
                _ => interrupt::sleep(POLL)?,
            }
        }
        let summary = galaxy.jobs_summary(invocation)?;
        if summary["states"]["ok"].as_u64() != Some(u64::from(JOBS)) {
            return Err(Failure::told(format!(
                "{JOBS} jobs should be ok, but: {summary}"
            )));
        }
    }
    Ok(())
}
