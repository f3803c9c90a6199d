//! Steps that wait for each other: what one hop takes.

use serde_json::json;

use super::bed::Ground;
use super::floors::{self, Cost};
use super::report::{Goal, Report};
use super::workflows;
use crate::failure::Result;

const STEPS: u32 = 200;

pub fn run(ground: &Ground, report: &mut Report, runs: u32) -> Result<()> {
    eprintln!("chain: {STEPS} steps");
    let (mut make, mut ours, mut ratio, mut cpu) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs {
        let folder = ground.folder()?;
        let floor = floors::make_chain(&folder.join("make"), STEPS)?;
        let hop = chain(ground)?;
        ours.push(hop.wall_ms_per_job(STEPS));
        cpu.push(hop.cpu_ms_per_job(STEPS));
        if let Some(floor) = floor {
            make.push(floor.wall_ms_per_job(STEPS));
            ratio.push(hop.wall_ms_per_job(STEPS) / floor.wall_ms_per_job(STEPS));
        }
    }
    report.add("make: a hop", "ms", &make);
    report.add("chain: a hop", "ms", &ours);
    report.add_wanted("chain: a hop beside make", "", &ratio, Goal::AtMost(2.0));
    report.add("chain: CPU", "ms/job", &cpu);
    Ok(())
}

fn chain(ground: &Ground) -> Result<Cost> {
    let mut bed = ground.bed()?;
    let workflow = bed.galaxy.import_workflow(&workflows::chain(STEPS))?;
    let before = bed.cpu()?;
    let wall = bed.complete(&workflow, &json!({}), STEPS.into())?;
    let cpu = bed.cpu()?.saturating_sub(before);
    bed.end()?;
    Ok(Cost { wall, cpu })
}
