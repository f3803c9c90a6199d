//! What it costs that a scheduler is a library: measured by an example of the host, which has both sides at hand.

use serde_json::Value;

use super::report::Report;
use crate::build::cargo;
use crate::failure::{Failure, Result};

pub fn run(report: &mut Report, runs: u32) -> Result<()> {
    eprintln!("plugin-call: a scheduling call (builds an example first)");
    let output = cargo()
        .args(["run", "--release", "--quiet", "--package", "barycenter"])
        .args(["--example", "plugin_call", "--", &runs.to_string()])
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(Failure::during("run the example plugin_call"))?;
    crate::interrupt::check()?;
    if !output.status.success() {
        return Err(Failure::told(format!(
            "the example plugin_call ended with {}",
            output.status
        )));
    }
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let measured: Value = serde_json::from_str(line).map_err(|error| {
            Failure::told(format!("plugin_call said {line:?}, not JSON ({error})"))
        })?;
        let values = |key: &str| -> Vec<f64> {
            let values = measured[key].as_array().into_iter().flatten();
            values.filter_map(Value::as_f64).collect()
        };
        if measured["jobs"].is_null() {
            for (key, name) in [
                ("function_ns", "a call of a function, linked statically"),
                ("raw_ns", "a call through the library, with no guard"),
                ("guarded_ns", "a call through the library, guarded"),
                ("empty_static_ns", "an empty call, linked statically"),
                ("empty_ns", "an empty call through the library, counted"),
                ("empty_process_ns", "an empty call into a process"),
                ("killed_known_ns", "a killed process: known"),
                ("killed_serving_ns", "a killed process: serving again"),
            ] {
                report.add(name.to_owned(), "ns", &values(key));
            }
            continue;
        }
        let jobs = &measured["jobs"];
        for (name, over, under) in [
            (
                "a process beside the library",
                "process_ns",
                ["loaded_ns", ""],
            ),
            (
                "a process beside library and bytes",
                "process_ns",
                ["loaded_ns", "floor_ns"],
            ),
            ("the library beside copying", "loaded_ns", ["clone_ns", ""]),
        ] {
            let parts = under.map(values);
            let part = |run: usize| parts.iter().filter_map(|of| of.get(run)).sum::<f64>();
            let ratios: Vec<f64> = (values(over).iter().enumerate())
                .map(|(run, value)| value / part(run))
                .collect();
            report.add(format!("plan, {jobs} ready jobs: {name}"), "times", &ratios);
        }
        for (key, name) in [
            ("clone_ns", "copying request and plan"),
            ("process_ns", "through a process of its own"),
            ("static_ns", "linked statically"),
            ("loaded_ns", "through the library"),
            ("overhead_ns", "overhead of the library"),
            ("check_ns", "the host's check of the plan"),
            ("floor_ns", "the same bytes to another process and back"),
            ("loaded_pause_ns", "after a pause, through the library"),
            ("process_pause_ns", "after a pause, through a process"),
            ("floor_pause_ns", "after a pause, the same bytes"),
        ] {
            report.add(
                format!("plan, {jobs} ready jobs: {name}"),
                "ns",
                &values(key),
            );
        }
    }
    Ok(())
}
