//! The figures: medians of repeated measurements, what is wanted of them, as a table or as JSON.

use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::process;

/// What is wanted of a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

impl Goal {
    fn is_met(self, value: f64) -> bool {
        match self {
            Goal::AtLeast(limit) => value >= limit,
            Goal::AtMost(limit) => value <= limit,
        }
    }
}

/// One row.
struct Figure {
    name: String,
    unit: &'static str,
    value: f64,
    /// The smallest and the largest single measurement.
    range: (f64, f64),
    goal: Option<Goal>,
}

/// What has been measured so far.
pub struct Report {
    figures: Vec<Figure>,
    load_before: f64,
}

impl Report {
    /// Warns where other work would disturb the measurements.
    pub fn begin() -> Self {
        let load_before = process::load();
        if load_before > 1.0 {
            eprintln!(
                "other work is going on here (load {load_before:.1}): only ratios tell something"
            );
        }
        Self {
            figures: Vec::new(),
            load_before,
        }
    }

    /// Adds the median of some measurements. Does nothing without any.
    pub fn add(&mut self, name: impl Into<String>, unit: &'static str, values: &[f64]) {
        self.put(name.into(), unit, values, None);
    }

    /// The same, with what is wanted of it.
    pub fn add_wanted(
        &mut self,
        name: impl Into<String>,
        unit: &'static str,
        values: &[f64],
        goal: Goal,
    ) {
        self.put(name.into(), unit, values, Some(goal));
    }

    fn put(&mut self, name: String, unit: &'static str, values: &[f64], goal: Option<Goal>) {
        let Some(value) = quantile(values, 0.5) else {
            return;
        };
        let range = values
            .iter()
            .fold((f64::MAX, f64::MIN), |(low, high), value| {
                (low.min(*value), high.max(*value))
            });
        eprintln!("  {name}: {} {unit}", number(value));
        self.figures.push(Figure {
            name,
            unit,
            value,
            range,
            goal,
        });
    }

    pub fn table(&self) -> String {
        let mut text = format!("\n{}\n\n", self.machine());
        let width = self.figures.iter().map(|f| f.name.len()).max().unwrap_or(0);
        for figure in &self.figures {
            let range = format!("{} … {}", number(figure.range.0), number(figure.range.1));
            let goal = match figure.goal {
                None => String::new(),
                Some(goal) => {
                    let (sign, limit) = match goal {
                        Goal::AtLeast(limit) => ("≥", limit),
                        Goal::AtMost(limit) => ("≤", limit),
                    };
                    let met = if goal.is_met(figure.value) {
                        "met"
                    } else {
                        "MISSED"
                    };
                    format!("  {sign} {} {met}", number(limit))
                }
            };
            let _ = writeln!(
                text,
                "{:width$}  {:>9} {:9} ({range}){goal}",
                figure.name,
                number(figure.value),
                figure.unit
            );
        }
        text
    }

    pub fn json(&self) -> Value {
        let figures: Vec<Value> = self
            .figures
            .iter()
            .map(|figure| {
                let (wanted, limit) = match figure.goal {
                    None => (None, None),
                    Some(Goal::AtLeast(limit)) => (Some("at least"), Some(limit)),
                    Some(Goal::AtMost(limit)) => (Some("at most"), Some(limit)),
                };
                json!({
                    "name": figure.name, "unit": figure.unit, "median": figure.value,
                    "min": figure.range.0, "max": figure.range.1,
                    "wanted": wanted, "limit": limit, "met": figure.goal.map(|goal| goal.is_met(figure.value)),
                })
            })
            .collect();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        json!({
            "machine": self.machine(),
            "load_before": self.load_before,
            "load_after": process::load(),
            "unix_time": now.unwrap_or_default().as_secs(),
            "figures": figures,
        })
    }

    fn machine(&self) -> String {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let model = fs::read_to_string("/proc/cpuinfo")
            .ok()
            .and_then(|text| cpu_model(&text))
            .unwrap_or_else(|| "unknown processor".into());
        format!(
            "{} processors ({model}), Linux {}, load {:.1} before and {:.1} after",
            process::processors(),
            kernel.trim(),
            self.load_before,
            process::load()
        )
    }
}

fn cpu_model(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo
        .lines()
        .find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The value below which the share `q` of the measurements lies; the nearest one that was measured.
pub fn quantile(values: &[f64], q: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    sorted.get((last as f64 * q).round() as usize).copied()
}

pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Three digits that count.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let values = [5.0, 1.0, 4.0, 2.0, 3.0];
        assert_eq!(quantile(&values, 0.5), Some(3.0));
        assert_eq!(quantile(&values, 0.95), Some(5.0));
        assert_eq!(quantile(&[7.0], 0.5), Some(7.0));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn the_table_says_whether_a_goal_is_met() {
        let mut report = Report::begin();
        report.add_wanted("ratio", "", &[0.4, 0.6, 0.5], Goal::AtLeast(0.5));
        report.add_wanted("hop", "ms", &[9.0], Goal::AtMost(3.0));
        report.add("nothing", "ms", &[]);
        let table = report.table();
        assert!(table.contains("(0.400 … 0.600)  ≥ 0.500 met"), "{table}");
        assert!(table.contains("≤ 3.00 MISSED"), "{table}");
        assert!(!table.contains("nothing"));
        assert_eq!(report.json()["figures"][1]["met"], false);
    }

    #[test]
    fn figures_have_three_digits_that_count() {
        assert_eq!(number(1234.5), "1234");
        assert_eq!(number(12.345), "12.3");
        assert_eq!(number(0.01234), "0.012");
    }
}
