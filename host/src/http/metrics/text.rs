//! Prometheus' text format, version 0.0.4.

use std::fmt::{Display, Write as _};

/// What is served, as it grows. Families come one after the other, each with its help and type.
#[derive(Default)]
pub struct Exposition(String);

/// The sort of a family.
#[derive(Clone, Copy)]
pub enum Sort {
    Counter,
    Gauge,
    Histogram,
}

impl Sort {
    fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Names and values.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

impl Exposition {
    /// Begins a family. `help` is one line.
    pub fn family(&mut self, name: &str, sort: Sort, help: &str) {
        let word = sort.word();
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {word}");
    }

    /// A family of one number without labels.
    pub fn single(&mut self, name: &str, sort: Sort, help: &str, value: impl Display) {
        self.family(name, sort, help);
        self.sample(name, &[], value);
    }

    /// A line.
    pub fn sample(&mut self, name: &str, labels: Labels<'_>, value: impl Display) {
        self.0.push_str(name);
        self.labels(labels, None);
        let _ = writeln!(self.0, " {value}");
    }

    /// The lines of a histogram: `buckets` counts by upper bound in microseconds, and last those above all bounds.
    pub fn histogram(
        &mut self,
        name: &str,
        labels: Labels<'_>,
        bounds_us: &[u64],
        buckets: &[u64],
        seconds: f64,
    ) {
        let mut count = 0;
        for (at, bucket) in buckets.iter().enumerate() {
            count += bucket;
            let bound = bounds_us.get(at);
            let bound = bound.map_or("+Inf".to_owned(), |us| (*us as f64 / 1e6).to_string());
            self.0.push_str(name);
            self.0.push_str("_bucket");
            self.labels(labels, Some(&bound));
            let _ = writeln!(self.0, " {count}");
        }
        self.sample(&format!("{name}_sum"), labels, seconds);
        self.sample(&format!("{name}_count"), labels, count);
    }

    /// All of it.
    pub fn finish(self) -> String {
        self.0
    }

    fn labels(&mut self, labels: Labels<'_>, bound: Option<&str>) {
        let bound = bound.map(|bound| ("le", bound));
        let mut first = true;
        for (name, value) in labels.iter().copied().chain(bound) {
            self.0.push(if first { '{' } else { ',' });
            first = false;
            let _ = write!(self.0, "{name}=\"");
            for c in value.chars() {
                match c {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    c => self.0.push(c),
                }
            }
            self.0.push('"');
        }
        if !first {
            self.0.push('}');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_written_as_prometheus_reads_it() {
        let mut text = Exposition::default();
        text.family("calls_total", Sort::Counter, "Calls.");
        text.sample(
            "calls_total",
            &[("plugin", "a\"b\\c\nd"), ("method", "plan")],
            3,
        );
        text.single("up", Sort::Gauge, "Whether.", 1);
        assert_eq!(
            text.finish(),
            "# HELP calls_total Calls.\n# TYPE calls_total counter\n\
             calls_total{plugin=\"a\\\"b\\\\c\\nd\",method=\"plan\"} 3\n\
             # HELP up Whether.\n# TYPE up gauge\nup 1\n"
        );
    }

    #[test]
    fn the_buckets_of_a_histogram_add_up() {
        let mut text = Exposition::default();
        text.histogram("t", &[("a", "b")], &[1, 1_000_000], &[2, 0, 3], 4.5);
        assert_eq!(
            text.finish(),
            "t_bucket{a=\"b\",le=\"0.000001\"} 2\nt_bucket{a=\"b\",le=\"1\"} 2\n\
             t_bucket{a=\"b\",le=\"+Inf\"} 5\nt_sum{a=\"b\"} 4.5\nt_count{a=\"b\"} 5\n"
        );
    }
}
