//! Uploads. What comes with the request is finished inside it: the file is forced to the disk and moved to its place, then
//! one durable transaction adds dataset, HDA and a job that is over, which clients that poll find done. What was given by
//! URL is only noted in that transaction, and its job is over when it has been fetched (`scheduling::fetching`).

pub mod fetched;
pub mod given;
pub mod local;
mod place;
mod plan;
mod record;
mod tus;
pub mod urls;

use std::collections::HashMap;

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::place::{Bytes, Files, Placed, file_count, ingest_all};
use self::plan::Target;
use self::record::{Written, to_fetch, write};
use super::access::{self, Wish};
use super::app::App;
use super::auth::Caller;
use super::config::VERSION_MAJOR;
use super::error::ApiError;
use super::payload::Payload;
use super::{shapes, time};
use crate::store::collections;
use crate::store::datasets;
use crate::store::histories::History;
use crate::store::scheduling::fetches;
use crate::store::uploads::{self, Upload};
use crate::store::{Durability, crash};

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(fetch))
        .merge(tus::routes())
}

/// Adds datasets and collections from pasted text and files: as JSON, or as a multipart form whose `targets` is
/// JSON text and whose files are the parts `files_0|file_data`, `files_1|file_data` … (or, from a resumable
/// upload, `{"session_id", "name"}` under that name).
#[utoipa::path(post, path = "/api/tools/fetch", tag = "tools", request_body = Value,
    responses((status = 200, description = "`outputs`, `output_collections`, `jobs`", body = Value)))]
async fn fetch(
    State(app): State<App>,
    caller: Caller,
    mut payload: Payload,
) -> Result<Json<Value>, ApiError> {
    let caller = payload.caller.take().unwrap_or(caller);
    caller.user()?;
    let targets = payload
        .json("targets")?
        .ok_or_else(|| ApiError::missing("Parameter targets is required."))?;
    let targets = plan::parse_targets(&targets)?;
    let history_id = payload.required("history_id")?.to_owned();
    let tool = Tool {
        id: "__DATA_FETCH__",
        version: "0.1.0",
    };
    perform(&app, &caller, &history_id, payload, targets, tool)
        .await
        .map(Json)
}

/// Galaxy's old upload tool, as `POST /api/tools` with `tool_id` `upload1`. The answer is that of any tool.
pub async fn upload1(app: &App, caller: &Caller, payload: Payload) -> Result<Value, ApiError> {
    caller.user()?;
    let inputs = match payload.json("inputs")? {
        None => Map::new(),
        Some(Value::Object(inputs)) => inputs,
        Some(_) => return Err(ApiError::invalid("inputs must be an object.")),
    };
    let items = plan::parse_upload1(&inputs, &payload.fields, file_count(&payload))?;
    let history_id = payload.required("history_id")?.to_owned();
    let tool = Tool {
        id: "upload1",
        version: "1.1.7",
    };
    let targets = vec![Target::Datasets(items)];
    perform(app, caller, &history_id, payload, targets, tool).await
}

#[derive(Clone, Copy)]
struct Tool {
    id: &'static str,
    version: &'static str,
}

async fn perform(
    app: &App,
    caller: &Caller,
    history_id: &str,
    mut payload: Payload,
    targets: Vec<Target>,
    tool: Tool,
) -> Result<Value, ApiError> {
    let begun_ms = app.now_ms();
    let history = access::history(
        app,
        &mut app.store.reader(),
        caller,
        history_id,
        Wish::Change,
    )
    .await?;
    access::require_open(&history)?;
    let mut files = Files::of(app, caller, &mut payload)?;
    let (upload, job_id, written) =
        take_in(app, &history, targets, &mut files, tool, begun_ms).await?;
    files.used();
    answer(app, caller, &upload, job_id, &written).await
}

/// Moves the bytes to their places and records them, all or nothing.
async fn take_in(
    app: &App,
    history: &History,
    targets: Vec<Target>,
    files: &mut Files,
    tool: Tool,
    begun_ms: i64,
) -> Result<(Upload, i64, Written), ApiError> {
    let placed = Placed::new(app);
    let outcome = ingest_all(app, targets, files, placed).await?;
    let (arrivals, layouts, placed) = outcome;

    crash::point("upload.placed", crash::Side::Before);
    crash::point("upload.placed", crash::Side::After);
    let mut tx = app.store.begin().await?;
    let now_ms = app.now_ms();
    let written = write(app, &mut tx, history, &arrivals, layouts, now_ms).await?;
    let waits = arrivals.iter().any(|a| matches!(a.bytes, Bytes::At { .. }));
    let upload = Upload {
        // Somebody else's history, written to by an administrator, stays its owner's.
        user_id: history.user_id,
        history_id: history.id,
        tool_id: tool.id,
        tool_version: tool.version,
        galaxy_version: VERSION_MAJOR,
        parameters: vec![("file_count".to_owned(), json!(arrivals.len()))],
        datasets: named(arrivals.iter().map(|a| a.hda_id)),
        collections: named(written.collections.iter().copied())
            .into_iter()
            .map(|(name, (hdca, collection))| (name, hdca, collection))
            .collect(),
        begun_ms,
        ended_ms: (!waits).then_some(now_ms),
    };
    let job_id = uploads::record(&mut tx, &app.store.ids, &upload).await?;
    let to_fetch = to_fetch(&arrivals, job_id, history.user_id);
    fetches::insert(&mut tx, &to_fetch, now_ms).await?;
    let committed = tx.commit(Durability::Acknowledged, "upload").await;
    // Whether a commit that failed half-way counts is not known, so its files stay.
    placed.keep();
    committed?;
    if waits {
        app.signals.fetches_changed();
    }
    Ok((upload, job_id, written))
}

fn named<T>(things: impl Iterator<Item = T>) -> Vec<(String, T)> {
    things
        .enumerate()
        .map(|(n, thing)| (format!("output{n}"), thing))
        .collect()
}

async fn answer(
    app: &App,
    caller: &Caller,
    upload: &Upload,
    job_id: i64,
    written: &Written,
) -> Result<Value, ApiError> {
    let mut reader = app.store.reader();
    let hdas = datasets::by_ids(&mut reader, &written.hdas).await?;
    let names: HashMap<i64, &String> = upload.datasets.iter().map(|(n, id)| (*id, n)).collect();
    let mut outputs = Vec::new();
    for id in &written.hdas {
        if let Some(hda) = hdas.get(id) {
            let mut shape = shapes::hda_detailed(app, hda);
            shape["output_name"] = json!(names.get(id));
            outputs.push(shape);
        }
    }
    let mut output_collections = Vec::new();
    for (name, hdca_id, _) in &upload.collections {
        if let Some(hdca) = collections::by_id(&mut reader, *hdca_id).await? {
            let mut shape = shapes::load_hdca(app, &mut reader, caller, &hdca).await?;
            shape["output_name"] = json!(name);
            output_collections.push(shape);
        }
    }
    Ok(json!({
        "outputs": outputs,
        "output_collections": output_collections,
        "jobs": [{
            "model_class": "Job",
            "id": app.encode(job_id),
            "state": upload.state(),
            "exit_code": upload.ended_ms.map(|_| 0),
            "create_time": time::iso(upload.begun_ms),
            "update_time": time::iso(upload.ended_ms.unwrap_or(upload.begun_ms)),
            "galaxy_version": upload.galaxy_version,
            "tool_id": upload.tool_id,
            "tool_version": upload.tool_version,
            "history_id": app.encode(upload.history_id),
        }],
        "implicit_collections": [],
        "errors": [],
        "produces_entry_points": false,
    }))
}
