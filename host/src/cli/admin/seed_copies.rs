//! `barycenter admin seed-copies`: active invocations in bulk, for benchmarks and tests.

use std::time::Instant;

use clap::Args;
use serde_json::{Value, json};

use super::{open_alone, told};
use crate::cli::options::Common;
use crate::cli::out;
use crate::http::codec::IdCodec;
use crate::store::wes::copies::{self, Unfit};

#[derive(Debug, Args)]
pub struct SeedCopies {
    /// The invocation to copy: one that waits and has no jobs, such as one at a pause
    #[arg(value_name = "INVOCATION")]
    like: String,
    /// How many copies
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    count: u32,
    #[command(flatten)]
    common: Common,
}

/// Writes the copies.
pub async fn seed_copies(wanted: &SeedCopies) -> Result<(), String> {
    let (_lock, store) = open_alone(&wanted.common).await?;
    let codec = IdCodec::of_installation(&store).await.map_err(told)?;
    let like = codec
        .decode(&wanted.like)
        .map_err(|_| format!("{:?} is no id of an invocation.", wanted.like))?;
    if let Err(unfit) = copies::is_fit(&mut store.reader(), like)
        .await
        .map_err(told)?
    {
        let why = match unfit {
            Unfit::Unknown => "is not there",
            Unfit::NotWaiting => "does not wait for anything",
            Unfit::HasJobs => "has jobs, which its copies would share",
            Unfit::HasFamily => "belongs to another one or has others inside",
        };
        return Err(format!("The invocation {} {why}.", wanted.like));
    }
    let begun = Instant::now();
    let made = copies::copy(&store, like, wanted.count as usize)
        .await
        .map_err(told)?;
    store.db.close().await;
    let seconds = begun.elapsed().as_secs_f64();
    let ids = made.iter().map(|id| codec.encode(*id));
    if wanted.common.json {
        out::line(json!({"run_ids": ids.map(Value::from).collect::<Vec<_>>(), "seconds": seconds}));
        return Ok(());
    }
    out::note(format_args!(
        "{} copies of {} in {seconds:.1} s; their ids:",
        wanted.count, wanted.like
    ));
    // Alone on stdout, for scripts.
    for id in ids {
        out::line(id);
    }
    Ok(())
}
