//! From a stored invocation to its end: looks at the store, shows what changed, puts reviews to the person.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use serde_json::json;

use super::review::{self, Subject};
use super::show::Show;
use super::snapshot::{self, Snapshot, Undecided};
use super::start::Started;
use crate::cli::serve::StopSignals;
use crate::errors::chain;
use crate::http::App;
use crate::model::state::{InvocationState, JobState};
use crate::store::invocations::{self, Details, MessageRow};
use crate::store::jobs::{self, Job};
use crate::store::{Durability, StoreError};

/// How a run ended.
#[derive(Debug)]
pub enum Ending {
    /// By itself.
    Done(Snapshot),
    /// A review was refused.
    Refused(Snapshot),
    /// By Ctrl-C or SIGTERM.
    Interrupted,
}

impl Ending {
    fn snapshot(&self) -> Option<&Snapshot> {
        match self {
            Ending::Done(snapshot) | Ending::Refused(snapshot) => Some(snapshot),
            Ending::Interrupted => None,
        }
    }

    /// Every step was scheduled and is over, and no job failed or was stopped.
    pub fn is_success(&self) -> bool {
        matches!(self, Ending::Done(s)
            if s.state == InvocationState::Completed && s.unsuccessful_jobs() == 0)
    }

    /// The state of the invocation.
    pub fn state(&self) -> &'static str {
        self.snapshot()
            .map_or("cancelled", |snapshot| snapshot.state.code())
    }

    pub fn sentence(&self, seconds: f64) -> String {
        match self {
            Ending::Interrupted => "interrupted; the invocation is cancelled".to_owned(),
            Ending::Refused(_) => "a review was refused; the invocation is cancelled".to_owned(),
            Ending::Done(_) if self.is_success() => format!("completed in {seconds:.1}s"),
            Ending::Done(s) => match s.unsuccessful_jobs() {
                0 => format!("failed in {seconds:.1}s: the invocation is {}", s.state),
                1 => format!("failed in {seconds:.1}s: a job did not succeed"),
                n => format!("failed in {seconds:.1}s: {n} jobs did not succeed"),
            },
        }
    }
}

/// The pause between two looks: short, but many times as long as a look takes.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const LOOK_EVERY_MAX: Duration = Duration::from_secs(2);
const LOOK_SHARE: u32 = 5;
/// How long jobs have to stop after Ctrl-C.
const CANCEL_PATIENCE: Duration = Duration::from_secs(12);

/// What a look leads to.
enum Next {
    Wait,
    Refuse,
    /// Nothing can come of it any more.
    GiveUp(String),
    End,
}

/// Follows the run to its end.
pub async fn follow(
    app: &App,
    started: &Started,
    yes: bool,
    show: &mut Show,
    signals: &mut StopSignals,
) -> Result<Ending, String> {
    let mut decided = HashSet::new();
    let mut refused = false;
    let mut failed: Option<InvocationState> = None;
    loop {
        let begun = Instant::now();
        let mut snapshot = look(app, started).await?;
        let took = begun.elapsed();
        show.update(&snapshot);
        let next = match snapshot.is_over() {
            true => Next::End,
            false if refused || failed.is_some() => Next::Wait,
            false if snapshot.state == InvocationState::Failed => {
                Next::GiveUp("the invocation failed; its other jobs are stopped".to_owned())
            }
            false => {
                // A question can take as long as the person likes; Ctrl-C answers it as well.
                tokio::select! {
                    next = reviews(app, &snapshot, yes, show, &mut decided) => next?,
                    () = signals.next() => return interrupt(app, started, show, signals).await,
                }
            }
        };
        match next {
            Next::Wait => {}
            Next::Refuse => refused = true,
            Next::GiveUp(why) => {
                show.say(&why);
                failed = Some(InvocationState::Failed);
                cancel(app, started).await.map_err(|error| chain(&error))?;
            }
            Next::End => {
                snapshot.state = failed.unwrap_or(snapshot.state);
                return Ok(match refused {
                    true => Ending::Refused(snapshot),
                    false => Ending::Done(snapshot),
                });
            }
        }
        let pause = (took * LOOK_SHARE).clamp(LOOK_EVERY, LOOK_EVERY_MAX);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = signals.next() => return interrupt(app, started, show, signals).await,
        }
    }
}

async fn look(app: &App, started: &Started) -> Result<Snapshot, String> {
    let mut q = app.store.reader();
    let read = snapshot::read(&mut q, started.invocation_id, &started.revision).await;
    read.map_err(|error| chain(&error))?
        .ok_or_else(|| "the invocation is gone".to_owned())
}

/// Puts what waits for review to the person, each step once.
async fn reviews(
    app: &App,
    snapshot: &Snapshot,
    yes: bool,
    show: &Show,
    decided: &mut HashSet<i64>,
) -> Result<Next, String> {
    if !snapshot.waits_for_review || !snapshot.state.is_active() {
        return Ok(Next::Wait);
    }
    for undecided in &snapshot.undecided {
        if decided.contains(&undecided.invocation_step_id) {
            continue;
        }
        let Some(revision) = revision_of(app, undecided).await? else {
            continue;
        };
        let Some(step) = revision.description.step(undecided.order_index) else {
            continue;
        };
        let label = snapshot::label_of(step);
        let mut q = app.store.reader();
        let subject = review::subject(app, &mut q, step, undecided).await;
        let (name, peek, path) = match subject.map_err(|error| chain(&error))? {
            Subject::NotReady => continue,
            Subject::Lost { name, state } => {
                return Ok(Next::GiveUp(format!(
                    "{label}: there is nothing to review, since {name} is in state {state}"
                )));
            }
            Subject::Nothing => (String::new(), String::new(), None),
            Subject::Ready { name, peek, path } => (name, peek, path),
        };
        decided.insert(undecided.invocation_step_id);
        show.event(
            "review",
            json!({ "step": undecided.order_index, "label": label, "dataset": name, "peek": peek }),
        );
        let approve = if yes {
            show.say(&format!("{label}: approved (--yes)\n{peek}"));
            true
        } else if review::can_ask() && !show.is_json() {
            let path = path.map_or_else(String::new, |path| format!("\n  {path}"));
            let text = format!("\n{label}: please review {name}{path}\n{peek}");
            put(show, text).await
        } else {
            show.say(&format!(
                "{label}: nobody can be asked here, so the review of {name} is refused; --yes approves"
            ));
            false
        };
        show.event(
            "decision",
            json!({ "step": undecided.order_index, "label": label, "approved": approve }),
        );
        review::decide(app, &revision, undecided, approve).await?;
        if !approve {
            return Ok(Next::Refuse);
        }
    }
    Ok(Next::Wait)
}

/// Asks on the terminal, where the bars stand still meanwhile.
async fn put(show: &Show, text: String) -> bool {
    show.say(&text);
    let bars = show.quiet();
    let asked = tokio::task::spawn_blocking(|| review::ask("Approve?")).await;
    drop(bars);
    asked.unwrap_or(false)
}

async fn revision_of(
    app: &App,
    undecided: &Undecided,
) -> Result<Option<std::sync::Arc<crate::model::revision::Revision>>, String> {
    let told = |error: StoreError| chain(&error);
    let mut q = app.store.reader();
    let invocation = invocations::by_id(&mut q, undecided.invocation_id)
        .await
        .map_err(told)?;
    match invocation {
        Some(invocation) => app
            .seams()
            .revisions
            .get(&mut q, invocation.workflow_id)
            .await
            .map_err(told),
        None => Ok(None),
    }
}

async fn cancel(app: &App, started: &Started) -> Result<(), StoreError> {
    let mut tx = app.store.begin().await?;
    invocations::request_cancel(&mut tx, started.invocation_id, app.now_ms()).await?;
    tx.commit(Durability::Acknowledged, "invocation.cancel")
        .await?;
    app.signals.invocations_changed();
    Ok(())
}

/// Cancels, and waits until the jobs are gone; a second signal ends the waiting.
async fn interrupt(
    app: &App,
    started: &Started,
    show: &mut Show,
    signals: &mut StopSignals,
) -> Result<Ending, String> {
    show.say("interrupted: stopping the jobs (again to leave at once)");
    cancel(app, started).await.map_err(|error| chain(&error))?;
    let gone = async {
        loop {
            let snapshot = look(app, started).await?;
            show.update(&snapshot);
            if snapshot.is_over() {
                return Ok::<(), String>(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::select! {
        done = tokio::time::timeout(CANCEL_PATIENCE, gone) => if let Ok(done) = done { done? },
        () = signals.next() => {}
    }
    Ok(Ending::Interrupted)
}

/// Outputs, messages and the like of the whole invocation.
pub async fn details(app: &App, invocation_id: i64) -> Result<Details, String> {
    let mut q = app.store.reader();
    let found = invocations::details(&mut q, &[invocation_id]).await;
    let mut found = found.map_err(|error| chain(&error))?;
    Ok(found.remove(&invocation_id).unwrap_or_default())
}

/// Failed jobs of which is told.
const JOBS_TOLD: i64 = 5;
/// Lines of a failed job's stderr.
const STDERR_LINES: usize = 8;
const STDERR_COLUMNS: usize = 300;

/// What went wrong, for people: messages of the invocation, and failed jobs with the end of their stderr.
pub async fn troubles(app: &App, ending: &Ending) -> Result<Vec<String>, String> {
    let told = |error: StoreError| chain(&error);
    let Some(snapshot) = ending.snapshot().filter(|_| !ending.is_success()) else {
        return Ok(Vec::new());
    };
    let mut q = app.store.reader();
    let found = invocations::details(&mut q, &snapshot.family)
        .await
        .map_err(told)?;
    let mut troubles = Vec::new();
    for id in &snapshot.family {
        let messages = found
            .get(id)
            .into_iter()
            .flat_map(|details| &details.messages);
        // That we ourselves cancelled it is no news.
        let worth = messages.filter(|message| message.reason != "user_request");
        troubles.extend(worth.map(message));
    }
    for id in &snapshot.family {
        let query = jobs::ListQuery {
            invocation_id: Some(*id),
            states: vec![JobState::Error, JobState::Failed],
            order_by_create_time: true,
            limit: JOBS_TOLD,
            ..jobs::ListQuery::default()
        };
        let failed = jobs::list(&mut q, &query).await.map_err(told)?;
        troubles.extend(failed.iter().map(job));
    }
    Ok(counted(troubles))
}

/// What is the same is told once, with how often it happened.
fn counted(troubles: Vec<String>) -> Vec<String> {
    let mut told: Vec<(String, usize)> = Vec::new();
    for trouble in troubles {
        match told.iter_mut().find(|(known, _)| *known == trouble) {
            Some((_, count)) => *count += 1,
            None => told.push((trouble, 1)),
        }
    }
    let with_count = |(text, count): (String, usize)| match (count, text.split_once('\n')) {
        (1, _) => text,
        (_, Some((head, tail))) => format!("{head} ({count} times)\n{tail}"),
        (_, None) => format!("{text} ({count} times)"),
    };
    told.into_iter().map(with_count).collect()
}

fn message(message: &MessageRow) -> String {
    let step = message
        .order_index
        .map_or_else(String::new, |n| format!("step {}: ", n + 1));
    let details = message
        .details
        .as_deref()
        .map_or_else(String::new, |text| format!(": {text}"));
    format!("{step}{}{details}", message.reason.replace('_', " "))
}

fn job(job: &Job) -> String {
    let code = job
        .exit_code
        .map_or_else(String::new, |code| format!(" with exit code {code}"));
    // With an exit code it says no more than that.
    let info = job
        .info
        .as_deref()
        .filter(|info| !info.is_empty() && job.exit_code.is_none_or(|c| c == 0));
    let info = info.map_or_else(String::new, |info| format!(" ({info})"));
    let stderr = job.tool_stderr.as_deref().unwrap_or_default();
    let lines: Vec<&str> = stderr
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let tail = lines.iter().skip(lines.len().saturating_sub(STDERR_LINES));
    let plain = |c: char| if c.is_control() && c != '\t' { ' ' } else { c };
    let tail = tail.map(|line| {
        let text: String = line.chars().map(plain).take(STDERR_COLUMNS).collect();
        format!("\n    {text}")
    });
    let tail: String = tail.collect();
    format!(
        "a job of {} failed{code}{info}{}{tail}",
        job.tool_id,
        if tail.is_empty() { "" } else { ":" }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_often_is_told_once() {
        let text = |s: &str| s.to_owned();
        let told = counted(vec![
            text("a\n    x"),
            text("b"),
            text("a\n    x"),
            text("b"),
            text("c"),
        ]);
        assert_eq!(told, ["a (2 times)\n    x", "b (2 times)", "c"]);
    }
}
