//! What it costs that a scheduler is a library: measured by an example of the host, which has both sides at hand.

use serde_json::Value;

use super::report::{Goal, Report};
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
                ("empty_process_ns", "an empty call into a process"),
                ("killed_known_ns", "a killed process: known"),
                ("killed_serving_ns", "a killed process: serving again"),
            ] {
                report.add(name, "ns", &values(key));
            }
            for (under, name) in [
                ("empty_static_ns", "the same method linked statically"),
                ("function_ns", "a function"),
            ] {
                let beside = ratios(&values("raw_ns"), &[values(under)]);
                let name = format!("a call through the library, with no guard, beside {name}");
                report.add_wanted(name, "times", &beside, Goal::AtMost(3.0));
            }
            let name = "an empty call through the library, guarded and counted";
            report.add_wanted(name, "ns", &values("empty_ns"), Goal::AtMost(150.0));
            continue;
        }
        let jobs = &measured["jobs"];
        let of = |name: &str| format!("plan, {jobs} ready jobs: {name}");
        for (name, over, under, most) in [
            (
                "the library beside copying",
                "loaded_ns",
                vec!["clone_ns"],
                1.5,
            ),
            (
                "a process beside the library",
                "process_ns",
                vec!["loaded_ns"],
                2.0,
            ),
            (
                "a process beside the library and the bytes",
                "process_ns",
                vec!["loaded_ns", "floor_ns"],
                2.0,
            ),
        ] {
            let under: Vec<Vec<f64>> = under.into_iter().map(values).collect();
            let beside = ratios(&values(over), &under);
            match jobs.as_u64() {
                Some(1000) => report.add_wanted(of(name), "times", &beside, Goal::AtMost(most)),
                _ => report.add(of(name), "times", &beside),
            }
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
            report.add(of(name), "ns", &values(key));
        }
    }
    Ok(())
}

/// Run for run, one figure beside the sum of others.
fn ratios(over: &[f64], under: &[Vec<f64>]) -> Vec<f64> {
    let sum = |run: usize| under.iter().filter_map(|of| of.get(run)).sum::<f64>();
    let beside = over.iter().enumerate().map(|(run, value)| value / sum(run));
    beside.collect()
}
