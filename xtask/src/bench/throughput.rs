//! Independent trivial jobs of one invocation, everything durable.

use serde_json::{Value, json};

use super::bed::{Bed, Ground};
use super::floors::{self, Cost};
use super::report::{Goal, Report};
use super::workflows;
use crate::failure::Result;

/// Elements of the list that the larger invocations are mapped over.
const LIST: u32 = 1000;

pub fn run(ground: &Ground, report: &mut Report, jobs: u32, runs: u32) -> Result<()> {
    eprintln!("throughput: {jobs} independent jobs");
    let mut rounds = Vec::new();
    for _ in 0..runs {
        // One after the other, so that all of a round see the same machine.
        let folder = ground.folder()?;
        rounds.push(Round {
            xargs: floors::xargs(&folder.join("xargs"), jobs)?,
            make: floors::make_independent(&folder.join("make"), jobs)?,
            steps: steps(ground, jobs)?,
            mapped: mapped(ground, 1, jobs)?,
        });
    }
    let each = |figure: &dyn Fn(&Round) -> Option<f64>| -> Vec<f64> {
        rounds.iter().filter_map(figure).collect()
    };
    let rate = |cost: &Cost| Some(cost.jobs_per_second(jobs));
    let cpu = |cost: &Cost| Some(cost.cpu_ms_per_job(jobs));
    report.add("xargs", "jobs/s", &each(&|r| rate(&r.xargs)));
    report.add("make", "jobs/s", &each(&|r| r.make.as_ref().and_then(rate)));
    for (name, cost) in ARRANGEMENTS {
        report.add(name, "jobs/s", &each(&|r| rate(cost(r))));
        let ratio = each(&|r| Some(cost(r).jobs_per_second(jobs) / r.xargs.jobs_per_second(jobs)));
        report.add_wanted(
            format!("{name}: speed beside xargs"),
            "",
            &ratio,
            Goal::AtLeast(0.5),
        );
    }
    report.add("xargs: CPU", "ms/job", &each(&|r| cpu(&r.xargs)));
    report.add(
        "make: CPU",
        "ms/job",
        &each(&|r| r.make.as_ref().and_then(cpu)),
    );
    for (name, cost) in ARRANGEMENTS {
        report.add(format!("{name}: CPU"), "ms/job", &each(&|r| cpu(cost(r))));
        let ratio = each(&|r| {
            let make = r.make.as_ref()?;
            Some(cost(r).cpu_ms_per_job(jobs) / make.cpu_ms_per_job(jobs))
        });
        report.add_wanted(
            format!("{name}: CPU beside make"),
            "",
            &ratio,
            Goal::AtMost(3.0),
        );
    }
    Ok(())
}

/// Figures of one repetition.
struct Round {
    xargs: Cost,
    make: Option<Cost>,
    steps: Cost,
    mapped: Cost,
}

type Arrangement = (&'static str, fn(&Round) -> &Cost);
const ARRANGEMENTS: [Arrangement; 2] = [
    ("one step for each job", |round| &round.steps),
    ("one step over a list", |round| &round.mapped),
];

/// Whether the cost of a job stays the same in larger invocations.
pub fn scaling(ground: &Ground, report: &mut Report, runs: u32) -> Result<()> {
    eprintln!("scaling: 1, 5 and 20 steps over a list of {LIST}");
    let mut smallest = None;
    for steps in [1, 5, 20] {
        let jobs = steps * LIST;
        let costs = (0..runs)
            .map(|_| mapped(ground, steps, LIST))
            .collect::<Result<Vec<Cost>>>()?;
        let each =
            |figure: &dyn Fn(&Cost) -> f64| -> Vec<f64> { costs.iter().map(figure).collect() };
        let cpu = each(&|cost| cost.cpu_ms_per_job(jobs));
        report.add(
            format!("{jobs} jobs"),
            "jobs/s",
            &each(&|cost| cost.jobs_per_second(jobs)),
        );
        report.add(format!("{jobs} jobs: CPU"), "ms/job", &cpu);
        match smallest {
            None => smallest = super::report::quantile(&cpu, 0.5),
            Some(small) => {
                let ratios: Vec<f64> = cpu.iter().map(|cpu| cpu / small).collect();
                // A tenth is within what the same measurement varies by.
                report.add_wanted(
                    format!("{jobs} jobs: CPU beside {LIST} jobs"),
                    "",
                    &ratios,
                    Goal::AtMost(1.1),
                );
            }
        }
    }
    Ok(())
}

fn steps(ground: &Ground, jobs: u32) -> Result<Cost> {
    let bed = ground.bed()?;
    let workflow = bed.galaxy.import_workflow(&workflows::independent(jobs))?;
    measure(bed, &workflow, &json!({}), jobs)
}

fn mapped(ground: &Ground, steps: u32, list: u32) -> Result<Cost> {
    let bed = ground.bed()?;
    let workflow = bed.galaxy.import_workflow(&workflows::mapped(steps))?;
    let collection = bed.galaxy.upload_list(&bed.history, list)?;
    let inputs = json!({"list": {"src": "hdca", "id": collection}});
    measure(bed, &workflow, &inputs, steps * list)
}

fn measure(mut bed: Bed, workflow: &str, inputs: &Value, jobs: u32) -> Result<Cost> {
    let before = bed.cpu()?;
    let wall = bed.complete(workflow, inputs, jobs.into())?;
    let cpu = bed.cpu()?.saturating_sub(before);
    bed.end()?;
    Ok(Cost { wall, cpu })
}
