//! The list of a workflow's steps: alive on a terminal, one line for each change elsewhere.

use std::io::{IsTerminal, stderr};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

pub struct Progress {
    labels: Vec<String>,
    shown: Vec<String>,
    width: usize,
    is_live: bool,
    /// On a terminal one line for each step, from the first `show` on until the list rests.
    lines: Vec<ProgressBar>,
}

impl Progress {
    pub fn new(labels: Vec<String>) -> Self {
        let width = labels
            .iter()
            .map(|label| label.chars().count())
            .max()
            .unwrap_or(0);
        let shown = vec![String::new(); labels.len()];
        Self {
            labels,
            shown,
            width,
            is_live: stderr().is_terminal(),
            lines: Vec::new(),
        }
    }

    /// Shows the newest description of each step. True if any of them changed.
    pub fn show(&mut self, descriptions: &[String]) -> bool {
        if self.is_live && self.lines.is_empty() {
            self.lines = live_lines(&self.labels, self.width);
            self.shown.fill(String::new());
        }
        let mut changed = false;
        for (index, description) in descriptions.iter().enumerate() {
            if self
                .shown
                .get(index)
                .is_none_or(|shown| shown == description)
            {
                continue;
            }
            let first_time = self.shown[index].is_empty();
            self.shown[index].clone_from(description);
            changed = true;
            match self.lines.get(index) {
                Some(line) => line.set_message(description.clone()),
                // A log would begin with a list of steps about which nothing is known yet.
                None if first_time && description == "not reached" => {}
                None => println!(
                    "  {:<width$}  {description}",
                    self.labels[index],
                    width = self.width
                ),
            }
        }
        changed
    }

    /// Leaves the list on the terminal as it is, so that other lines can follow; the next `show` begins a new one.
    pub fn rest(&mut self) {
        for line in self.lines.drain(..) {
            line.abandon();
        }
    }
}

fn live_lines(labels: &[String], width: usize) -> Vec<ProgressBar> {
    let Ok(style) = ProgressStyle::with_template("  {spinner} {prefix}  {msg}") else {
        return Vec::new();
    };
    let list = MultiProgress::new();
    let line = |label: &String| {
        let line = list.add(ProgressBar::new_spinner().with_style(style.clone()));
        line.set_prefix(format!("{label:<width$}"));
        line.enable_steady_tick(Duration::from_millis(120));
        line
    };
    labels.iter().map(line).collect()
}
