//! Is it worse than it was? A gate for continuous integration.

use serde::{Deserialize, Serialize};

use super::latency::Latency;
use super::simulation::Quality;

/// Everything that a benchmark found; what `--json` prints and `--baseline` reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// The plugin type.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// What a plan costs.
    pub latency: Vec<Latency>,
    /// How well it schedules.
    pub quality: Vec<Quality>,
    /// How well the default scheduler does the same.
    #[serde(rename = "default")]
    pub default_quality: Vec<Quality>,
    /// What could not be measured, and why.
    pub left_out: Vec<String>,
}

/// A median may grow by half and by what a busy machine adds.
const LATENCY_FACTOR: f64 = 1.5;
const LATENCY_SLACK_US: f64 = 50.0;
/// Simulated time does not depend on the machine.
const QUALITY_FACTOR: f64 = 1.05;

/// What is worse now, one sentence each. Pure.
pub fn worse(now: &Results, before: &Results) -> Vec<String> {
    let mut found = Vec::new();
    for old in &before.latency {
        let new = now
            .latency
            .iter()
            .find(|new| new.transport == old.transport && new.request == old.request);
        match new {
            None => found.push(format!(
                "{} {} is not measured any more",
                old.transport, old.request
            )),
            Some(new) if new.p50_us > old.p50_us * LATENCY_FACTOR + LATENCY_SLACK_US => {
                found.push(format!(
                    "{} {}: the median is {:.1} µs, it was {:.1} µs",
                    old.transport, old.request, new.p50_us, old.p50_us
                ))
            }
            Some(_) => {}
        }
    }
    for old in &before.quality {
        let Some(new) = now.quality.iter().find(|new| new.workload == old.workload) else {
            found.push(format!(
                "the workload {} is not simulated any more",
                old.workload
            ));
            continue;
        };
        let more = [
            ("makespan", new.makespan_s, old.makespan_s),
            ("mean wait", new.mean_wait_s, old.mean_wait_s),
            ("95th percentile of waits", new.p95_wait_s, old.p95_wait_s),
        ];
        for (what, new, old_value) in more {
            if new > old_value * QUALITY_FACTOR + 1.0 {
                found.push(format!(
                    "{}: the {what} is {new:.1} s, it was {old_value:.1} s",
                    old.workload
                ));
            }
        }
        if new.fairness * QUALITY_FACTOR < old.fairness {
            found.push(format!(
                "{}: fairness is {:.3}, it was {:.3}",
                old.workload, new.fairness, old.fairness
            ));
        }
        if new.rejected > old.rejected {
            found.push(format!(
                "{}: {} jobs are rejected, it were {}",
                old.workload, new.rejected, old.rejected
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(p50_us: f64, mean_wait_s: f64, fairness: f64) -> Results {
        Results {
            plugin: "x".to_owned(),
            version: "1".to_owned(),
            latency: vec![Latency {
                transport: "inproc".to_owned(),
                request: "1000 jobs".to_owned(),
                p50_us,
                p99_us: p50_us,
                decisions_per_second: 1.0,
                copy_share: 0.5,
            }],
            quality: vec![Quality {
                workload: "steady".to_owned(),
                makespan_s: 100.0,
                utilisation: 0.9,
                mean_wait_s,
                p95_wait_s: 9.0,
                fairness,
                plans: 3,
                rejected: 0,
            }],
            default_quality: Vec::new(),
            left_out: Vec::new(),
        }
    }

    #[test]
    fn noise_is_borne_and_what_is_really_worse_is_told() {
        let before = results(200.0, 30.0, 0.9);
        assert!(worse(&results(300.0, 31.0, 0.89), &before).is_empty());
        assert_eq!(worse(&results(500.0, 40.0, 0.5), &before).len(), 3);
        let mut less = before.clone();
        less.latency.clear();
        less.quality.clear();
        assert_eq!(worse(&less, &before).len(), 2);
    }
}
