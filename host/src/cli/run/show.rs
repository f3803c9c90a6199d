//! Showing a run: bars on a terminal, lines where there is none, JSON for machines.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use super::snapshot::{Phase, Snapshot, StepNow};
use crate::cli::out;

/// One way of showing.
pub struct Show {
    begun: Instant,
    steps: HashMap<usize, Shown>,
    label_width: usize,
    how: How,
}

/// What is shown of a step now.
struct Shown {
    now: StepNow,
    since: Instant,
    told: Option<Instant>,
    bar: Option<ProgressBar>,
}

enum How {
    Bars(MultiProgress),
    Lines,
    Json,
}

/// Bars that stand still.
pub struct Quiet {
    bars: Vec<ProgressBar>,
}

impl Drop for Quiet {
    fn drop(&mut self) {
        for bar in &self.bars {
            bar.enable_steady_tick(TICK);
        }
    }
}

/// How often the time beside a bar is brought up to date.
const TICK: Duration = Duration::from_millis(200);
/// A step with many jobs is told about no more often than this, in lines.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// Longer labels are cut, in bars.
const LABEL_MAX: usize = 40;

impl Show {
    pub fn bars(bars: MultiProgress) -> Show {
        Show::new(How::Bars(bars))
    }

    pub fn lines() -> Show {
        Show::new(How::Lines)
    }

    pub fn json() -> Show {
        Show::new(How::Json)
    }

    fn new(how: How) -> Show {
        Show {
            begun: Instant::now(),
            steps: HashMap::new(),
            label_width: 0,
            how,
        }
    }

    pub fn is_json(&self) -> bool {
        matches!(self.how, How::Json)
    }

    pub fn seconds(&self) -> f64 {
        (self.begun.elapsed().as_secs_f64() * 1000.0).round() / 1000.0
    }

    /// An event for machines.
    pub fn event(&self, name: &str, fields: Value) {
        if !self.is_json() {
            return;
        }
        let mut event = json!({ "event": name, "seconds": self.seconds() });
        if let (Some(event), Value::Object(fields)) = (event.as_object_mut(), fields) {
            event.extend(fields);
        }
        out::line(event);
    }

    /// A line for people, above the bars if there are any.
    pub fn say(&self, text: &str) {
        match &self.how {
            How::Bars(bars) => bars.suspend(|| out::note(text)),
            How::Lines => out::note(text),
            How::Json => {}
        }
    }

    /// The bars stand still until the answer is dropped, so that a question can stand below them.
    pub fn quiet(&self) -> Quiet {
        let bars: Vec<ProgressBar> = match self.how {
            How::Bars(_) => self
                .steps
                .values()
                .filter_map(|shown| shown.bar.clone())
                .collect(),
            How::Lines | How::Json => Vec::new(),
        };
        let moving: Vec<ProgressBar> = bars.into_iter().filter(|bar| !bar.is_finished()).collect();
        for bar in &moving {
            bar.disable_steady_tick();
        }
        Quiet { bars: moving }
    }

    /// Shows what changed since the last time.
    pub fn update(&mut self, snapshot: &Snapshot) {
        if self.label_width == 0 {
            let lengths = snapshot.steps.iter().map(|step| step.label.chars().count());
            self.label_width = lengths.max().unwrap_or(0).clamp(1, LABEL_MAX);
        }
        for step in &snapshot.steps {
            self.step(step);
        }
    }

    fn step(&mut self, now: &StepNow) {
        let fresh = || Shown {
            now: StepNow {
                phase: Phase::Pending,
                jobs: Default::default(),
                ..now.clone()
            },
            since: Instant::now(),
            told: None,
            bar: None,
        };
        let shown = self.steps.entry(now.index).or_insert_with(fresh);
        if shown.now == *now {
            return;
        }
        let new_phase = shown.now.phase != now.phase;
        // That steps which were never reached will not be is no news to a person.
        let unreached = shown.now.phase == Phase::Pending && now.phase == Phase::Stopped;
        if unreached && !matches!(self.how, How::Json) {
            shown.now = now.clone();
            return;
        }
        if shown.now.phase == Phase::Pending {
            shown.since = Instant::now();
        }
        shown.now = now.clone();
        match &self.how {
            How::Bars(bars) => draw(bars, shown, self.label_width),
            How::Json => self.event("step", step_value(now)),
            How::Lines => {
                let worth = new_phase && now.phase != Phase::Waiting && now.phase != Phase::Pending;
                let is_quiet = shown.told.is_none_or(|told| told.elapsed() >= LINE_EVERY);
                if worth || (now.phase == Phase::Running && is_quiet) {
                    shown.told = Some(Instant::now());
                    let elapsed = self.begun.elapsed().as_secs_f64();
                    out::note(format_args!(
                        "[{elapsed:7.1}s] {}: {}",
                        now.label,
                        words(now)
                    ));
                }
            }
        }
    }

    /// Leaves the bars as they are, in their last state; what comes after stands below them.
    pub fn finish(&mut self) {
        let How::Bars(bars) = &self.how else { return };
        let mut any = false;
        for bar in self.steps.values().filter_map(|shown| shown.bar.as_ref()) {
            any = true;
            if !bar.is_finished() {
                bar.abandon();
            }
        }
        bars.set_draw_target(ProgressDrawTarget::hidden());
        if any {
            out::note("");
        }
        self.how = How::Lines;
    }

    /// Tells of a result, which people get on stdout: its label and path.
    pub fn result(&self, label: &str, path: &Path, fault: Option<&str>) {
        match (&self.how, fault) {
            (How::Json, _) => {}
            (_, None) => out::line(format_args!("{}\t{}", in_line(label), path.display())),
            (_, Some(fault)) => self.say(&format!("{label} was not written: {fault}")),
        }
    }
}

/// A label between other fields of a line.
fn in_line(label: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    label.chars().map(plain).collect()
}

fn draw(bars: &MultiProgress, shown: &mut Shown, label_width: usize) {
    let now = &shown.now;
    if now.phase == Phase::Pending {
        return;
    }
    let bar = shown.bar.get_or_insert_with(|| {
        // Dressed before it is shown.
        let bar = ProgressBar::hidden();
        bar.set_style(style(now, label_width));
        bar.set_prefix(cut(&now.label, label_width));
        let bar = bars.add(bar);
        bar.enable_steady_tick(TICK);
        bar
    });
    bar.set_length(u64::try_from(now.jobs.total).unwrap_or(0).max(1));
    let done = now.jobs.total - now.jobs.unfinished();
    let done = match now.phase {
        Phase::Ok if now.jobs.total == 0 => 1,
        _ => u64::try_from(done).unwrap_or(0),
    };
    bar.set_position(done);
    bar.set_message(words(now));
    bar.set_style(style(now, label_width));
    if now.phase.is_over() && !bar.is_finished() {
        let elapsed = shown.since.elapsed().as_secs_f64();
        bar.abandon_with_message(format!("{} in {elapsed:.1}s", words(now)));
    }
}

fn style(now: &StepNow, label_width: usize) -> ProgressStyle {
    let colour = match now.phase {
        Phase::Ok => "green",
        Phase::Failed => "red",
        Phase::Review => "yellow",
        Phase::Stopped => "magenta",
        Phase::Pending | Phase::Waiting | Phase::Running => "cyan",
    };
    let time = if now.phase.is_over() {
        ""
    } else {
        " {elapsed}"
    };
    let template = format!(
        "{{prefix:{label_width}}} {{bar:20.{colour}/dim}} {{pos:>4}}/{{len:<4}} {{msg}}{time}"
    );
    // The template is ours; should it be wrong, the default bar will do.
    let style = ProgressStyle::with_template(&template);
    style
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━╸─")
}

fn cut(label: &str, width: usize) -> String {
    match label.chars().count() > width {
        true => label.chars().take(width - 1).chain(['…']).collect(),
        false => label.to_owned(),
    }
}

/// The state of a step, for people.
fn words(now: &StepNow) -> String {
    let jobs = now.jobs;
    if jobs.total <= 1 && jobs.failed == 0 {
        return match now.phase {
            Phase::Review => "waits for review".to_owned(),
            // What fails without a job is a step that waited for a person.
            Phase::Failed => "refused".to_owned(),
            phase => phase.word().to_owned(),
        };
    }
    let counts = [
        (jobs.ok, "ok"),
        (jobs.running, "running"),
        (jobs.waiting, "waiting"),
        (jobs.failed, "failed"),
        (jobs.stopped, "stopped"),
    ];
    let parts: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    match now.phase {
        Phase::Review => format!("waits for review, {}", parts.join(", ")),
        _ => parts.join(", "),
    }
}

/// A step for machines.
pub fn step_value(now: &StepNow) -> Value {
    let jobs = now.jobs;
    json!({
        "step": now.index,
        "label": now.label,
        "state": now.phase.word(),
        "jobs": {
            "total": jobs.total, "waiting": jobs.waiting, "running": jobs.running,
            "ok": jobs.ok, "failed": jobs.failed, "stopped": jobs.stopped,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::super::snapshot::Jobs;
    use super::*;

    fn step(phase: Phase, jobs: Jobs) -> StepNow {
        StepNow {
            index: 3,
            label: "Sort".into(),
            phase,
            jobs,
        }
    }

    #[test]
    fn one_job_is_a_word_and_many_are_counted() {
        let one = Jobs {
            total: 1,
            running: 1,
            ..Jobs::default()
        };
        assert_eq!(words(&step(Phase::Running, one)), "running");
        let many = Jobs {
            total: 10,
            ok: 4,
            running: 2,
            waiting: 3,
            failed: 1,
            ..Jobs::default()
        };
        assert_eq!(
            words(&step(Phase::Running, many)),
            "4 ok, 2 running, 3 waiting, 1 failed"
        );
        assert_eq!(
            words(&step(Phase::Review, Jobs::default())),
            "waits for review"
        );
    }

    #[test]
    fn every_style_is_understood() {
        for phase in [
            Phase::Pending,
            Phase::Running,
            Phase::Review,
            Phase::Ok,
            Phase::Failed,
            Phase::Stopped,
        ] {
            let time = if phase.is_over() { "" } else { " {elapsed}" };
            let template =
                format!("{{prefix:9}} {{bar:20.cyan/dim}} {{pos:>4}}/{{len:<4}} {{msg}}{time}");
            assert!(ProgressStyle::with_template(&template).is_ok());
            style(&step(phase, Jobs::default()), 9);
        }
    }

    #[test]
    fn a_label_stays_in_its_field() {
        assert_eq!(in_line("two\tfields\nand \u{1b}[2J"), "two fields and  [2J");
        assert_eq!(in_line("Größe"), "Größe");
    }

    #[test]
    fn long_labels_are_cut_between_characters() {
        assert_eq!(cut("Größenordnung", 6), "Größe…");
        assert_eq!(cut("Sort", 6), "Sort");
    }
}
