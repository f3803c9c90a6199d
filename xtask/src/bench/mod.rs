//! `cargo xtask bench`: what this server costs, beside what the machine itself allows (`xargs`, `make`) in the same run.
//!
//! Each benchmark has a server of its own on a new data directory below the target folder.

mod active;
mod bed;
mod chain;
mod fair_share;
mod floors;
mod handlers;
mod idle;
mod latency;
mod plugin_call;
mod process;
mod report;
mod scale;
mod throughput;
mod workflows;

use clap::ValueEnum;

use crate::build;
use crate::failure::Result;

use self::bed::Ground;
use self::report::Report;

#[derive(clap::Args)]
pub struct Options {
    /// Which benchmarks; all of them if none is named
    #[arg(value_name = "NAME")]
    names: Vec<Name>,
    /// Independent jobs of the throughput benchmark
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(10..=10_000))]
    jobs: u32,
    /// How often each measurement is repeated; the median counts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// Waiting invocations of the idle benchmark
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    waiting: u32,
    /// Waiting invocations of the benchmark `active`
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    active: u32,
    /// Invocations of the benchmark `handlers`, of five jobs each
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u32).range(4..=100_000))]
    invocations: u32,
    /// Measure a build without optimisation: to try the benchmarks themselves
    #[arg(long)]
    debug: bool,
    /// Print the figures as JSON on stdout; the table goes to stderr
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    /// Independent jobs: jobs per second and processor time, beside xargs and make
    Throughput,
    /// One invocation of 1,000, 5,000 and 20,000 jobs: whether the cost of a job stays the same
    Scaling,
    /// 200 steps in a chain, beside make
    Chain,
    /// From request to job, from approval to job, start of the server, memory
    Latency,
    /// Many invocations that wait at a pause
    Idle,
    /// 100,000 invocations in the database that wait: start, idle load, memory, one of them going on
    Active,
    /// A scheduling call through the loaded library, beside the same function linked statically
    PluginCall,
    /// Shares of runner time by user: weights 1:1:2, with 1, 10 and 100 invocations at once
    FairShare,
    /// One, two and four servers on one PostgreSQL: invocations and jobs per second
    Handlers,
    /// Lists of 1,000 and 10,000 elements through three tools in a chain: until all jobs are there, memory, others' requests
    MapChain,
    /// 1,000 steps beside each other: from request to all scheduled
    WideWorkflow,
    /// 1,000 steps in a chain, and in five levels of subworkflows: from request to all scheduled
    DeepWorkflow,
}

pub fn run(options: &Options) -> Result<()> {
    let ground = Ground::new(build::server(!options.debug)?)?;
    let mut report = Report::begin();
    for name in Name::value_variants() {
        if !options.names.is_empty() && !options.names.contains(name) {
            continue;
        }
        ground.rest()?;
        match name {
            Name::Throughput => {
                throughput::run(&ground, &mut report, options.jobs, options.runs)?;
            }
            Name::Scaling => throughput::scaling(&ground, &mut report, options.runs)?,
            Name::Chain => chain::run(&ground, &mut report, options.runs)?,
            Name::Latency => latency::run(&ground, &mut report, options.runs)?,
            Name::Idle => idle::run(&ground, &mut report, options.waiting)?,
            Name::Active => active::run(&ground, &mut report, options.active)?,
            Name::PluginCall => plugin_call::run(&mut report, options.runs)?,
            Name::FairShare => fair_share::run(&ground, &mut report, options.runs)?,
            Name::Handlers => {
                handlers::run(&ground, &mut report, options.invocations, options.runs)?;
            }
            Name::MapChain => scale::map_chain(&ground, &mut report, options.runs)?,
            Name::WideWorkflow => scale::wide(&ground, &mut report, options.runs)?,
            Name::DeepWorkflow => scale::deep(&ground, &mut report, options.runs)?,
        }
    }
    if options.json {
        println!("{:#}", report.json());
        eprint!("{}", report.table());
    } else {
        print!("{}", report.table());
    }
    Ok(())
}
