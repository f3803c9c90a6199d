//! From a workflow and its inputs to a stored invocation, by what is behind the doors that a client would use.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::inputs::{Input, Inputs};
use crate::errors::chain;
use crate::http::error::ApiError;
use crate::http::upload::local::{self, Added, Local};
use crate::http::{App, Caller, invocations as doors, workflows as shelf};
use crate::invocation_request::{HistoryChoice, Payload};
use crate::model::revision::Revision;
use crate::model::workflow::WorkflowDescription;
use crate::store::users::{self, User};
use crate::store::workflows::Attributes;
use crate::store::{Durability, StoreError, histories, invocations};

/// What is to be run.
pub struct Asked<'a> {
    pub workflow: WorkflowDescription,
    pub inputs: Inputs,
    pub from: &'a Path,
    pub any_tool_version: bool,
}

/// A run that is stored and under way.
pub struct Started {
    pub name: String,
    pub invocation_id: i64,
    pub uuid: Uuid,
    pub revision: Arc<Revision>,
}

/// Stores the workflow, takes in the files and stores the invocation. The error is a sentence.
pub async fn start(app: &App, asked: Asked<'_>) -> Result<Started, String> {
    let stored = |error: StoreError| chain(&error);
    let refused = |error: ApiError| error.message_text().to_owned();
    let user = local_user(app).await.map_err(stored)?;
    let caller = Caller {
        user: Some(user.clone()),
        is_admin: true,
    };
    let from = asked.from.display().to_string();
    let name = asked.workflow.name.clone();
    let (workflow, _) = shelf::store(
        app,
        &caller,
        user.id,
        asked.workflow,
        Some(&from),
        Attributes::default(),
    )
    .await
    .map_err(refused)?;

    let mut tx = app.store.begin().await.map_err(stored)?;
    let history_id = app.store.ids.history(&mut tx).await.map_err(stored)?;
    histories::create(&mut tx, history_id, user.id, &name, app.now_ms())
        .await
        .map_err(stored)?;
    tx.commit(Durability::Acknowledged, "history.create")
        .await
        .map_err(stored)?;
    let inputs = take_in(app, history_id, asked.inputs).await?;

    let payload = Payload {
        inputs,
        inputs_by: Some("step_index".to_owned()),
        history: HistoryChoice::Existing(app.encode(history_id)),
        no_add_to_history: true,
        require_exact_tool_versions: !asked.any_tool_version,
        ..Payload::default()
    };
    let made = doors::invoke(app, &caller, &app.encode(workflow.id), &payload).await;
    let ids = made.map_err(|error| explained(&error, asked.any_tool_version))?;
    let id = *ids.first().ok_or("no invocation was made")?;

    let mut q = app.store.reader();
    let invocation = invocations::by_id(&mut q, id).await.map_err(stored)?;
    let invocation = invocation.ok_or("the invocation is gone")?;
    let revision = app
        .seams()
        .revisions
        .get(&mut q, invocation.workflow_id)
        .await;
    Ok(Started {
        name,
        invocation_id: id,
        uuid: invocation.uuid,
        revision: revision.map_err(stored)?.ok_or("the workflow is gone")?,
    })
}

/// The refusal, with what this command offers against it.
fn explained(error: &ApiError, any_tool_version: bool) -> String {
    let text = error.message_text();
    match text.contains("tools are not installed") {
        true if any_tool_version => {
            format!("{text}; name the folder of their tool files with --tool-dir")
        }
        true => format!(
            "{text}; name the folder of their tool files with --tool-dir, or try --any-tool-version"
        ),
        false => text.to_owned(),
    }
}

/// The one user of a directory that `run` works in.
async fn local_user(app: &App) -> Result<User, StoreError> {
    const NAME: &str = "local";
    if let Some((user, _)) = users::by_login(&mut app.store.reader(), NAME).await? {
        return Ok(user);
    }
    let mut tx = app.store.begin().await?;
    let now_ms = app.now_ms();
    let id = users::create(&mut tx, NAME, "local@localhost", None, true, now_ms).await?;
    let user = users::by_id(&mut tx, id).await?;
    tx.commit(Durability::Acknowledged, "user.create").await?;
    user.ok_or_else(|| StoreError::Unknown {
        what: "user",
        value: NAME.to_owned(),
    })
}

/// Copies the files in; what each input step is given, by its number from 0.
async fn take_in(app: &App, history_id: i64, inputs: Inputs) -> Result<Map<String, Value>, String> {
    let mut given = Map::new();
    let (mut indexes, mut files): (Vec<usize>, Vec<Local>) = (Vec::new(), Vec::new());
    for (index, input) in inputs {
        match input {
            Input::Value(value) => drop(given.insert(index.to_string(), value)),
            Input::Files(local) => {
                indexes.push(index);
                files.push(local);
            }
        }
    }
    if files.is_empty() {
        return Ok(given);
    }
    let history = histories::by_id(&mut app.store.reader(), history_id).await;
    let history = history
        .map_err(|error| chain(&error))?
        .ok_or("the history is gone")?;
    let added = local::add(app, &history, files).await;
    let added = added.map_err(|error| error.message_text().to_owned())?;
    for (index, added) in indexes.into_iter().zip(added) {
        let reference = match added {
            Added::Hda(id) => json!({ "src": "hda", "id": app.encode(id) }),
            Added::Hdca(id) => json!({ "src": "hdca", "id": app.encode(id) }),
        };
        given.insert(index.to_string(), reference);
    }
    Ok(given)
}
