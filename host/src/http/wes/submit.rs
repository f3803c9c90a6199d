//! Submitting a run: the workflow is taken in, its files are added to the history, and it is invoked by the same
//! code as through Galaxy's door.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::attachments::Attachments;
use super::form::Form;
use super::params::{self, Given};
use super::source::{self, Source};
use super::submission::{HISTORY_NAME, Submission, WorkflowType};
use crate::formats;
use crate::http::access::{self, Wish};
use crate::http::app::{App, blocking};
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::http::upload::fetched;
use crate::http::upload::local::{self, Added};
use crate::http::workflows::find::{self, Which};
use crate::http::{invocations, workflows};
use crate::invocation_request::{HistoryChoice, Payload};
use crate::model::workflow::WorkflowDescription;
use crate::store::Durability;
use crate::store::histories::{self, History};
use crate::store::wes::{self, Record};
use crate::store::workflows::{Attributes, set_attributes};

/// Submits a run. The answer comes as soon as the request is stored.
#[utoipa::path(post, path = "/ga4gh/wes/v1/runs", tag = "wes", request_body(content = Value,
    description = "RunRequest of GA4GH WES 1.1 as multipart/form-data, or (extension) as application/json"),
    params(("Idempotency-Key" = Option<String>, Header,
        description = "Extension: a repeated request with the same key is the same run")),
    responses((status = 200, description = "RunId of GA4GH WES 1.1", body = Value)))]
pub async fn submit(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    form: Form,
) -> Result<Json<Value>, ApiError> {
    let user_id = caller.user_id()?;
    let submission = Submission::read(&form.fields)?;
    let key = idempotency_key(&headers)?;
    let idempotency = match key {
        None => None,
        Some(key) => {
            let hash = fingerprint(&submission, &form.attachments).await?;
            if let Some(id) = repeated(&app, user_id, &key, &hash).await? {
                return Ok(answer(&app, id));
            }
            Some((key, hash))
        }
    };
    let record = Record {
        user_id,
        request: submission.echo(&form.attachments),
        tags: submission.tags.clone(),
        idempotency,
    };
    let mut made = Made::default();
    let outcome = perform(
        &app,
        &caller,
        &submission,
        &form.attachments,
        &record,
        &mut made,
    )
    .await;
    match outcome {
        Ok(id) => Ok(answer(&app, id)),
        Err(error) => {
            made.undo(&app).await;
            // The same request may have come twice at the same time; the other one was first.
            if let Some((key, hash)) = &record.idempotency
                && let Some(id) = repeated(&app, user_id, key, hash).await?
            {
                return Ok(answer(&app, id));
            }
            Err(error)
        }
    }
}

fn answer(app: &App, invocation_id: i64) -> Json<Value> {
    Json(json!({"run_id": app.encode(invocation_id)}))
}

/// What was made on the way to an invocation. If there is none in the end, nobody wants it.
#[derive(Default)]
struct Made {
    stored_workflow_id: Option<i64>,
    history: Option<History>,
}

impl Made {
    async fn undo(self, app: &App) {
        if let Err(error) = self.mark_deleted(app).await {
            tracing::warn!(
                "what a refused submission left behind could not be marked as deleted: {error}"
            );
        }
    }

    async fn mark_deleted(self, app: &App) -> Result<(), crate::store::StoreError> {
        if self.stored_workflow_id.is_none() && self.history.is_none() {
            return Ok(());
        }
        let now_ms = app.now_ms();
        let mut tx = app.store.begin().await?;
        if let Some(id) = self.stored_workflow_id {
            let deleted = Attributes {
                deleted: Some(true),
                ..Attributes::default()
            };
            set_attributes(&mut tx, id, &deleted, now_ms).await?;
        }
        if let Some(history) = self.history {
            let deleted = History {
                deleted: true,
                ..history
            };
            histories::save(&mut tx, &deleted, now_ms).await?;
        }
        tx.commit(Durability::Progress, "submission.undo").await
    }
}

async fn perform(
    app: &App,
    caller: &Caller,
    submission: &Submission,
    attachments: &Attachments,
    record: &Record,
    made: &mut Made,
) -> Result<i64, ApiError> {
    let from = source::workflow(submission.workflow_url.as_deref(), attachments)?;
    let mut q = app.store.reader();
    // The workflow: one that is here, or one to be taken in.
    let (stored_id, instance, description) = match from {
        Source::Stored { id, instance } => {
            let which = Which {
                instance,
                version: None,
            };
            let found = find::workflow(app, &mut q, caller, &id, which, Wish::Read).await?;
            let revision = find::revision(app, &mut q, found.revision_id).await?;
            (Some(id), instance, revision.description.clone())
        }
        Source::Attached(attachment) => {
            let path = attachment.path().to_owned();
            let bytes = blocking(move || std::fs::read(path)).await?;
            (None, false, import(bytes, submission.workflow_type).await?)
        }
        Source::Sent(bytes) => (None, false, import(bytes, submission.workflow_type).await?),
        Source::At(url) => {
            let bytes = fetched::document(app, &url).await?;
            (None, false, import(bytes, submission.workflow_type).await?)
        }
    };
    // Everything that can be refused without having made anything comes first.
    let given = params::read(app, &submission.workflow_params, &description, attachments)?;
    let mut body = engine_parameters(submission)?;
    let history = history(app, caller, &body).await?;
    let id = match stored_id {
        Some(id) => id,
        None => {
            let user_id = caller.user_id()?;
            let usual = Attributes::default();
            let stored = workflows::store(app, caller, user_id, description, None, usual).await?;
            made.stored_workflow_id = Some(stored.0.id);
            app.encode(stored.0.id)
        }
    };
    let inputs = inputs(app, caller, given, history, &mut body, made).await?;
    body.insert("inputs".to_owned(), Value::Object(inputs));
    body.insert("inputs_by".to_owned(), "name".into());
    body.insert("instance".to_owned(), instance.into());
    let payload = Payload::parse(&Value::Object(body))?;
    let ids = invocations::invoke_recorded(app, caller, &id, &payload, Some(record)).await?;
    ids.first()
        .copied()
        .ok_or_else(|| ApiError::internal("The workflow was not invoked."))
}

/// A workflow from its bytes, if it is of the type that was announced.
async fn import(bytes: Vec<u8>, wanted: WorkflowType) -> Result<WorkflowDescription, ApiError> {
    let read = move || {
        Ok(formats::parse_bytes(&bytes).and_then(|document| {
            let found = WorkflowType::of(formats::detect(&document));
            Ok((found, formats::import(&document)?))
        }))
    };
    let (found, mut description) = blocking(read).await??;
    if found != wanted {
        return Err(ApiError::invalid(format!(
            "The workflow is of the type {}, not {}.",
            found.code(),
            wanted.code()
        )));
    }
    description.name = formats::imported_name(&description.name, "WES API");
    Ok(description)
}

/// The engine parameters as fields of Galaxy's request.
fn engine_parameters(submission: &Submission) -> Result<Map<String, Value>, ApiError> {
    let mut body = Map::new();
    let given = |name: &str| submission.parameter(name);
    match (given("history_id"), given("history_name")) {
        (Some(_), Some(_)) => {
            return Err(ApiError::invalid(
                "Specify history_id or history_name, not both.",
            ));
        }
        (Some(id), None) => drop(body.insert("history_id".to_owned(), id.into())),
        (None, name) => {
            let name = name.unwrap_or(HISTORY_NAME);
            body.insert("new_history_name".to_owned(), name.into());
        }
    }
    for name in ["use_cached_job", "scheduler", "preferred_object_store_id"] {
        if let Some(value) = given(name) {
            body.insert(name.to_owned(), value.into());
        }
    }
    Payload::parse(&Value::Object(body.clone()))?;
    Ok(body)
}

/// The history that is asked for by id.
async fn history(
    app: &App,
    caller: &Caller,
    body: &Map<String, Value>,
) -> Result<Option<History>, ApiError> {
    let Some(id) = body.get("history_id").and_then(Value::as_str) else {
        return Ok(None);
    };
    let mut q = app.store.reader();
    let history = access::history(app, &mut q, caller, id, Wish::Change).await?;
    access::require_open(&history)?;
    Ok(Some(history))
}

/// The inputs as Galaxy's API takes them. Files are added to the history, which is made if there is none yet.
async fn inputs(
    app: &App,
    caller: &Caller,
    given: Vec<(String, Given)>,
    history: Option<History>,
    body: &mut Map<String, Value>,
    made: &mut Made,
) -> Result<Map<String, Value>, ApiError> {
    let mut inputs = Map::new();
    let (mut names, mut things) = (Vec::new(), Vec::new());
    for (name, given) in given {
        match given {
            Given::Plain(value) => drop(inputs.insert(name, value)),
            Given::Data(thing) => {
                names.push(name);
                things.push(thing);
            }
        }
    }
    if things.is_empty() {
        return Ok(inputs);
    }
    let history = match history {
        Some(history) => history,
        None => {
            let name = match Payload::parse(&Value::Object(body.clone()))?.history {
                HistoryChoice::New(name) => name,
                _ => HISTORY_NAME.to_owned(),
            };
            let history = new_history(app, caller, &name).await?;
            made.history = Some(history.clone());
            body.remove("new_history_name");
            body.insert("history_id".to_owned(), app.encode(history.id).into());
            history
        }
    };
    let added = local::add(app, &history, things).await?;
    for (name, added) in names.into_iter().zip(added) {
        let reference = match added {
            Added::Hda(id) => json!({"src": "hda", "id": app.encode(id)}),
            Added::Hdca(id) => json!({"src": "hdca", "id": app.encode(id)}),
        };
        inputs.insert(name, reference);
    }
    Ok(inputs)
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

const KEY_MAX: usize = 255;

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    match value.to_str() {
        Ok(key) if (1..=KEY_MAX).contains(&key.len()) => Ok(Some(key.to_owned())),
        _ => Err(ApiError::invalid(
            "Idempotency-Key must be 1 to 255 printable characters.",
        )),
    }
}

/// The run that this key stands for already. 400 if it stands for another request.
async fn repeated(app: &App, user_id: i64, key: &str, hash: &str) -> Result<Option<i64>, ApiError> {
    let kept = wes::by_key(&mut app.store.reader(), user_id, key).await?;
    match kept {
        None => Ok(None),
        Some(kept) if kept.request_hash.as_deref() == Some(hash) => Ok(Some(kept.invocation_id)),
        Some(_) => Err(ApiError::invalid(
            "This Idempotency-Key was used for another request.",
        )),
    }
}

/// A hash of everything that was sent.
async fn fingerprint(
    submission: &Submission,
    attachments: &Attachments,
) -> Result<String, ApiError> {
    let mut whole = Sha256::new();
    whole.update(submission.echo(attachments).to_string());
    let mut files: Vec<(String, std::path::PathBuf)> = attachments
        .iter()
        .map(|a| (a.name.clone(), a.path().to_owned()))
        .collect();
    files.sort();
    blocking(move || {
        for (name, path) in files {
            let mut file = Sha256::new();
            std::io::copy(&mut std::fs::File::open(path)?, &mut Writes(&mut file))?;
            whole.update(format!("\n{name:?} "));
            whole.update(file.finalize());
        }
        Ok(hex::encode(whole.finalize()))
    })
    .await
}

struct Writes<'a>(&'a mut Sha256);

impl std::io::Write for Writes<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
