//! `barycenter plugin bench`.

use std::path::PathBuf;
use std::process::ExitCode;

use barycenter_plugin_api::PluginKind;
use clap::Args;

use super::check::{opens, subject};
use crate::cli::out;
use crate::kit::bench::baseline::{Results, worse};
use crate::kit::bench::simulation::{Quality, simulate};
use crate::kit::bench::{latency, workloads};
use crate::kit::subject::Subject;
use crate::kit::traces::recorded_plans;
use crate::plugins::PluginsConfig;

/// Measure a scheduler: what a plan costs in each transport, and how well it schedules beside the default one
#[derive(Debug, Args)]
pub struct Arguments {
    /// The library
    file: PathBuf,
    /// The plugin's options as JSON
    #[arg(long, value_name = "JSON")]
    options: Option<String>,
    /// Recorded traces, besides the built-in workloads; may be repeated
    #[arg(long, value_name = "TRACE")]
    replay: Vec<PathBuf>,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// What `--json` printed earlier: exit code 1 if anything is clearly worse
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
}

pub fn main(arguments: &Arguments) -> ExitCode {
    let opened = subject(&arguments.file, arguments.options.as_deref()).and_then(|subject| {
        opens(&subject)?;
        Ok(subject)
    });
    let subject = match opened {
        Ok(subject) => subject,
        Err(code) => return code,
    };
    if subject.kind != PluginKind::Scheduler {
        return out::failure(format_args!(
            "{} is a {}; only schedulers are measured",
            arguments.file.display(),
            subject.kind
        ));
    }
    let before = match arguments.baseline.as_ref().map(baseline).transpose() {
        Ok(before) => before,
        Err(error) => return out::failure(error),
    };
    let results = match measure(&subject, arguments) {
        Ok(results) => results,
        Err(error) => return out::failure(error),
    };
    match arguments.json {
        true => out::line(serde_json::to_string(&results).unwrap_or_default()),
        false => print(&results),
    }
    let faults = before.map_or_else(Vec::new, |before| worse(&results, &before));
    for fault in &faults {
        out::note(format_args!("worse than the baseline: {fault}"));
    }
    match faults.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn baseline(path: &PathBuf) -> Result<Results, String> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_str(&text)
        .map_err(|error| format!("{} is no result of a benchmark ({error})", path.display()))
}

fn measure(subject: &Subject, arguments: &Arguments) -> Result<Results, String> {
    let recorded = recorded_plans(&arguments.replay).map_err(|error| error.to_string())?;
    let mut loads = workloads::built_in();
    if let Some(load) = workloads::recorded(&recorded) {
        loads.push(load);
    }
    let (latency, mut left_out) = latency::measure(subject, recorded);
    let quality: Result<Vec<Quality>, String> =
        loads.iter().map(|load| simulate(subject, load)).collect();
    let default = default_scheduler();
    let default_quality = match &default {
        Ok(default) => loads.iter().map(|load| simulate(default, load)).collect(),
        Err(why) => {
            left_out.push(format!("the default scheduler: {why}"));
            Ok(Vec::new())
        }
    };
    Ok(Results {
        plugin: subject.preamble.type_id.clone(),
        version: subject.preamble.version.clone(),
        latency,
        quality: quality?,
        default_quality: default_quality?,
        left_out,
    })
}

fn default_scheduler() -> Result<Subject, String> {
    let config = PluginsConfig::built_in();
    let entry = config
        .entries
        .iter()
        .find(|entry| entry.kind == PluginKind::Scheduler);
    let path = entry
        .ok_or("there is none".to_owned())
        .and_then(|entry| config.library_of(entry).map_err(|fault| fault.message))?;
    Subject::read(&path, serde_json::json!({})).map_err(|error| error.to_string())
}

fn print(results: &Results) {
    let rows: Vec<Vec<String>> = results
        .latency
        .iter()
        .map(|row| {
            vec![
                row.transport.clone(),
                row.request.clone(),
                format!("{:.1}", row.p50_us),
                format!("{:.1}", row.p99_us),
                format!("{:.0}", row.decisions_per_second),
                format!("{:.0} %", row.copy_share * 100.0),
            ]
        })
        .collect();
    out::table(
        &[
            "TRANSPORT",
            "PLAN OF",
            "P50 µs",
            "P99 µs",
            "DECISIONS/s",
            "COPYING",
        ],
        &rows,
    );
    out::line("");
    let row = |who: &str, quality: &Quality| {
        vec![
            quality.workload.clone(),
            who.to_owned(),
            format!("{:.0}", quality.makespan_s),
            format!("{:.1} %", quality.utilisation * 100.0),
            format!("{:.1}", quality.mean_wait_s),
            format!("{:.1}", quality.p95_wait_s),
            format!("{:.3}", quality.fairness),
            quality.rejected.to_string(),
        ]
    };
    let mut rows = Vec::new();
    for quality in &results.quality {
        rows.push(row(&results.plugin, quality));
        let default = results
            .default_quality
            .iter()
            .find(|other| other.workload == quality.workload);
        rows.extend(default.map(|default| row("default", default)));
    }
    let heading = [
        "WORKLOAD",
        "SCHEDULER",
        "MAKESPAN s",
        "USED",
        "MEAN WAIT s",
        "P95 WAIT s",
        "FAIRNESS",
        "REJECTED",
    ];
    out::table(&heading, &rows);
    for text in &results.left_out {
        out::note(format_args!("not measured: {text}"));
    }
}
