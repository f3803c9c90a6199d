//! A step that waits for a person: what is to be reviewed, the question, and the answer.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use serde_json::{Value, json};

use super::snapshot::Undecided;
use crate::errors::chain;
use crate::http::App;
use crate::model::revision::Revision;
use crate::model::workflow::StepDescription;
use crate::store::collections;
use crate::store::datasets::{self, Hda};
use crate::store::invocations::{self, ActionOutcome};
use crate::store::{Durability, Query, StoreError};

/// What a waiting step has before it.
#[derive(Debug)]
pub enum Subject {
    /// It is still being made.
    NotReady,
    /// It can be looked at: what it is called, and its first lines.
    Ready {
        name: String,
        peek: String,
        path: Option<String>,
    },
    /// It failed and will never be ready.
    Lost { name: String, state: String },
    /// The step is about no dataset.
    Nothing,
}

/// Lines shown of a dataset.
const PEEK_LINES: usize = 12;
const PEEK_COLUMNS: usize = 120;
/// Elements shown of a collection.
const ELEMENTS_SHOWN: usize = 20;

/// Looks at what is connected to the step.
pub async fn subject(
    app: &App,
    q: &mut impl Query,
    step: &StepDescription,
    undecided: &Undecided,
) -> Result<Subject, StoreError> {
    let Some(connection) = step
        .inputs
        .iter()
        .find_map(|input| input.connections.first())
    else {
        return Ok(Subject::Nothing);
    };
    let steps = invocations::steps(q, &[undecided.invocation_id]).await?;
    let source = steps
        .iter()
        .find(|s| usize::try_from(s.order_index) == Ok(connection.output_step));
    let Some(source) = source else {
        return Ok(Subject::NotReady);
    };
    let mut details = invocations::step_details(q, &[source.id]).await?;
    let details = details.remove(&source.id).unwrap_or_default();
    if let Some(output) = details
        .outputs
        .iter()
        .find(|o| o.name == connection.output_name)
    {
        return Ok(match datasets::by_id(q, output.id).await? {
            Some(hda) => dataset(app, &hda),
            None => Subject::NotReady,
        });
    }
    let made = details
        .output_collections
        .iter()
        .find(|o| o.name == connection.output_name);
    match made {
        Some(output) => collection(q, output.id).await,
        None => Ok(Subject::NotReady),
    }
}

fn dataset(app: &App, hda: &Hda) -> Subject {
    match hda.state.as_str() {
        "ok" | "empty" => Subject::Ready {
            name: hda.name.clone(),
            peek: shortened(hda.peek.as_deref().unwrap_or("(no preview)")),
            path: Some(app.data.dataset(hda.dataset_id).display().to_string()),
        },
        "new" | "upload" | "queued" | "running" | "setting_metadata" => Subject::NotReady,
        state => Subject::Lost {
            name: hda.name.clone(),
            state: state.to_owned(),
        },
    }
}

async fn collection(q: &mut impl Query, hdca_id: i64) -> Result<Subject, StoreError> {
    let Some(hdca) = collections::by_id(q, hdca_id).await? else {
        return Ok(Subject::NotReady);
    };
    let root = hdca.collection.id;
    let summaries = collections::summaries(q, &[root]).await?;
    let summary = summaries.get(&root).cloned().unwrap_or_default();
    let is_pending = |state: &str| {
        matches!(
            state,
            "new" | "upload" | "queued" | "running" | "setting_metadata"
        )
    };
    if summary.missing > 0 || summary.states.keys().any(|state| is_pending(state)) {
        return Ok(Subject::NotReady);
    }
    if let Some(state) = summary
        .states
        .keys()
        .find(|state| !matches!(state.as_str(), "ok" | "empty"))
    {
        return Ok(Subject::Lost {
            name: hdca.name,
            state: state.clone(),
        });
    }
    let page = collections::elements_page(q, root, ELEMENTS_SHOWN as i64 + 1, 0).await?;
    let mut lines: Vec<&str> = page
        .iter()
        .map(|e| e.identifier.as_str())
        .take(ELEMENTS_SHOWN)
        .collect();
    if page.len() > ELEMENTS_SHOWN {
        lines.push("…");
    }
    Ok(Subject::Ready {
        name: format!("{} ({})", hdca.name, hdca.collection.collection_type),
        peek: lines.join("\n"),
        path: None,
    })
}

fn shortened(peek: &str) -> String {
    let mut lines: Vec<String> = peek
        .lines()
        .take(PEEK_LINES)
        .map(|line| match line.char_indices().nth(PEEK_COLUMNS) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None => line.to_owned(),
        })
        .collect();
    if peek.lines().count() > PEEK_LINES {
        lines.push("…".to_owned());
    }
    // What a tool wrote must not drive the terminal.
    let plain = |c: char| if c.is_control() && c != '\t' { ' ' } else { c };
    let lines = lines
        .iter()
        .map(|line| line.chars().map(plain).collect::<String>());
    lines
        .map(|line| format!("    {}", line.replace('\t', "    ")))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Whether somebody is there to be asked.
pub fn can_ask() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Asks until the answer is yes or no; the end of the input is a no. Blocks.
pub fn ask(question: &str) -> bool {
    let mut stdin = std::io::stdin().lock();
    loop {
        let mut stderr = std::io::stderr().lock();
        let _ = write!(stderr, "{question} [y/n] ");
        let _ = stderr.flush();
        drop(stderr);
        let mut line = String::new();
        match stdin.read_line(&mut line) {
            Ok(0) | Err(_) => return false,
            Ok(_) => {}
        }
        match line.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => return true,
            "n" | "no" => return false,
            _ => {}
        }
    }
}

/// Stores a person's decision, as the door for it does.
pub async fn decide(
    app: &App,
    revision: &Revision,
    undecided: &Undecided,
    approve: bool,
) -> Result<(), String> {
    let told = |error: StoreError| chain(&error);
    let step = revision.description.step(undecided.order_index).cloned();
    let step = step.ok_or("the step is not part of its workflow")?;
    let actions = app.seams().step_actions.clone();
    let action: Value = json!(approve);
    let id = undecided.invocation_step_id;
    let checked = tokio::task::spawn_blocking(move || actions.check(id, &step, &action)).await;
    let stored = checked.map_err(|error| error.to_string())??;
    let mut tx = app.store.begin().await.map_err(told)?;
    let outcome =
        invocations::put_action(&mut tx, undecided.invocation_step_id, &stored, app.now_ms())
            .await
            .map_err(told)?;
    match outcome {
        ActionOutcome::Stored => {}
        ActionOutcome::NoSuchStep => return Err("the step is gone".to_owned()),
        // It was cancelled meanwhile, which the next look will show.
        ActionOutcome::NotActive(_) => return Ok(()),
    }
    tx.commit(Durability::Acknowledged, "invocation.action")
        .await
        .map_err(told)?;
    app.signals.invocations_changed();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preview_is_short_and_cannot_drive_the_terminal() {
        let text = format!(
            "a\tb\n\u{1b}[2Jx\n{}\n{}",
            "y".repeat(500),
            "z\n".repeat(50)
        );
        let shown = shortened(&text);
        assert!(shown.starts_with("    a    b\n     [2Jx\n"), "{shown}");
        assert_eq!(shown.lines().count(), PEEK_LINES + 1);
        assert!(
            shown
                .lines()
                .all(|line| line.chars().count() <= PEEK_COLUMNS + 5)
        );
    }
}
