//! Inputs of an invocation that are given by URL, as Galaxy takes them: `{"src": "url", …}` and objects of class File and
//! Collection, single, in lists of a batch and inside collections. Each becomes a dataset or a collection of the
//! invocation's history, which is there at once and waits for its bytes as a job's output does.

use serde_json::{Value, json};

use crate::http::access::{self, Wish};
use crate::http::app::App;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::http::upload::given::Reader;
use crate::http::upload::local::{self, Added, Local};
use crate::http::upload::urls;
use crate::invocation_request::{HistoryChoice, Payload};
use crate::store::collections::{self, Hdca};
use crate::store::histories::{self, History};
use crate::store::{Durability, StoreError, datasets};

/// A request whose inputs are all of the server, and what had to be made for that.
pub struct TakenIn {
    pub payload: Payload,
    made: Made,
}

#[derive(Default)]
struct Made {
    history: Option<History>,
    added: Vec<Added>,
}

/// The same request with a reference to nothing in place of each input that is given by URL; None if there is none. For
/// checks that come before anything is made.
pub fn outline(app: &App, payload: &Payload) -> Result<Option<Payload>, ApiError> {
    let mut outline = payload.clone();
    let mut found = false;
    for (name, value) in &mut outline.inputs {
        for item in items(value) {
            if let Some(thing) = thing(app, item, name)? {
                found = true;
                *item = match thing {
                    Local::Dataset(_) => json!({"src": "hda", "id": "0"}),
                    Local::Collection { .. } => json!({"src": "hdca", "id": "0"}),
                };
            }
        }
    }
    Ok(found.then_some(outline))
}

/// Makes a dataset or a collection of everything that is given by URL.
pub async fn take_in(
    app: &App,
    caller: &Caller,
    payload: &Payload,
    workflow_name: &str,
) -> Result<TakenIn, ApiError> {
    let mut things = Vec::new();
    let mut payload = payload.clone();
    for (name, value) in &mut payload.inputs {
        for item in items(value) {
            things.extend(thing(app, item, name)?);
        }
    }
    let mut made = Made::default();
    let history = match &payload.history {
        HistoryChoice::Existing(id) => {
            let mut q = app.store.reader();
            let history = access::history(app, &mut q, caller, id, Wish::Change).await?;
            access::require_open(&history)?;
            history
        }
        choice => {
            let name = match choice {
                HistoryChoice::New(name) if !name.trim().is_empty() => name.clone(),
                _ => format!("History from {workflow_name} workflow"),
            };
            let history = new_history(app, caller, &name).await?;
            made.history = Some(history.clone());
            history
        }
    };
    payload.history = HistoryChoice::Existing(app.encode(history.id));
    made.added = match local::add(app, &history, things).await {
        Ok(added) => added,
        Err(error) => {
            undo(app, made).await;
            return Err(error);
        }
    };
    let mut added = made.added.iter();
    for (name, value) in &mut payload.inputs {
        for item in items(value) {
            if thing(app, item, name)?.is_some()
                && let Some(added) = added.next()
            {
                *item = match added {
                    Added::Hda(id) => json!({"src": "hda", "id": app.encode(*id)}),
                    Added::Hdca(id) => json!({"src": "hdca", "id": app.encode(*id)}),
                };
            }
        }
    }
    Ok(TakenIn { payload, made })
}

impl TakenIn {
    /// There is no invocation in the end, and nobody wants what was made for it.
    pub async fn undo(self, app: &App) {
        undo(app, self.made).await;
    }
}

async fn undo(app: &App, made: Made) {
    match mark_deleted(app, made).await {
        Ok(()) => app.signals.fetches_changed(),
        Err(error) => tracing::warn!(
            "what a refused invocation left behind could not be marked as deleted: {error}"
        ),
    }
}

async fn mark_deleted(app: &App, made: Made) -> Result<(), StoreError> {
    let hdas = made.added.iter().filter_map(|added| match added {
        Added::Hda(id) => Some(*id),
        Added::Hdca(_) => None,
    });
    let hdas: Vec<i64> = hdas.collect();
    let hdcas = made.added.iter().filter_map(|added| match added {
        Added::Hda(_) => None,
        Added::Hdca(id) => Some(*id),
    });
    let hdcas: Vec<i64> = hdcas.collect();
    let now_ms = app.now_ms();
    let mut tx = app.store.begin().await?;
    for hdca in collections::by_ids(&mut tx, &hdcas).await?.into_values() {
        let deleted = Hdca {
            deleted: true,
            ..hdca
        };
        collections::save(&mut tx, &deleted, now_ms).await?;
    }
    datasets::purge(&mut tx, &hdas, now_ms).await?;
    if let Some(history) = made.history {
        let deleted = History {
            deleted: true,
            ..history
        };
        histories::save(&mut tx, &deleted, now_ms).await?;
    }
    tx.commit(Durability::Progress, "invocation.undo").await
}

async fn new_history(app: &App, caller: &Caller, name: &str) -> Result<History, ApiError> {
    let mut tx = app.store.begin().await?;
    let id = app.store.ids.history(&mut tx).await?;
    histories::create(&mut tx, id, caller.user_id()?, name, app.now_ms()).await?;
    let history = histories::by_id(&mut tx, id).await?;
    tx.commit(Durability::Acknowledged, "history.create")
        .await?;
    history.ok_or_else(|| ApiError::internal("The history was not made."))
}

/// A value, or those that a batch goes through.
fn items(value: &mut Value) -> Vec<&mut Value> {
    let is_list = value.get("values").is_some_and(Value::is_array);
    match is_list {
        true => value
            .get_mut("values")
            .and_then(Value::as_array_mut)
            .map(|list| list.iter_mut().collect())
            .unwrap_or_default(),
        false => vec![value],
    }
}

fn thing(app: &App, value: &Value, name: &str) -> Result<Option<Local>, ApiError> {
    let is_given = value.get("class").is_some_and(Value::is_string)
        || value.get("src").and_then(Value::as_str) == Some("url");
    if !is_given {
        return Ok(None);
    }
    let reader = Reader {
        attached: &|_| None,
        check: &|url| urls::check(app, url),
        is_lenient: false,
    };
    reader.read(value, false, name)
}
