//! `barycenter admin seed-runs`: finished invocations in bulk, for benchmarks and tests.

use std::time::Instant;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::{open_alone, told};
use crate::cli::options::Common;
use crate::cli::out;
use crate::clock::Clock;
use crate::http::codec::IdCodec;
use crate::store::users;
use crate::store::wes::seed::{self, Seeded};

#[derive(Debug, Args)]
pub struct SeedRuns {
    /// Whose, by e-mail address or name
    #[arg(long, value_name = "NAME")]
    user: String,
    /// Tasks of each run
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..=100_000_000))]
    tasks: i64,
    /// What the steps look like
    #[arg(long, value_enum, default_value_t = Shape::Single)]
    shape: Shape,
    /// How many runs
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(i64).range(1..=10_000_000))]
    runs: i64,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shape {
    /// Every step has one job
    Single,
    /// One step, mapped over a collection
    Collection,
    /// Of ten tasks: one step without a job, four with one, five jobs of a mapped step
    Mixed,
}

/// Writes the runs.
pub async fn seed_runs(wanted: &SeedRuns) -> Result<(), String> {
    let (_lock, store) = open_alone(&wanted.common).await?;
    let found = users::by_login(&mut store.reader(), &wanted.user).await;
    let Some((user, _)) = found.map_err(told)? else {
        return Err(format!(
            "There is no user {:?}; `barycenter admin list-users` lists them.",
            wanted.user
        ));
    };
    let shape = match wanted.shape {
        Shape::Single => seed::Shape::Single,
        Shape::Collection => seed::Shape::Collection,
        Shape::Mixed => seed::Shape::Mixed,
    };
    let begun = Instant::now();
    let now_ms = Clock::system().now_ms();
    let seeded = seed::seed(&store, user.id, shape, wanted.tasks, wanted.runs, now_ms)
        .await
        .map_err(told)?;
    let codec = IdCodec::of_installation(&store).await.map_err(told)?;
    store.db.close().await;
    tell(wanted, &codec, &seeded, begun.elapsed().as_secs_f64());
    Ok(())
}

fn tell(wanted: &SeedRuns, codec: &IdCodec, seeded: &Seeded, seconds: f64) {
    let ids = seeded.invocation_ids.iter().map(|id| codec.encode(*id));
    if wanted.common.json {
        out::line(json!({
            "run_ids": ids.map(Value::from).collect::<Vec<_>>(),
            "workflow_id": codec.encode(seeded.workflow_id),
            "history_id": codec.encode(seeded.history_id),
            "seconds": seconds,
        }));
        return;
    }
    out::note(format_args!(
        "{} finished runs of {} tasks for {} in {seconds:.1} s; their ids:",
        wanted.runs, wanted.tasks, wanted.user
    ));
    // Alone on stdout, for scripts.
    for id in ids {
        out::line(id);
    }
}
