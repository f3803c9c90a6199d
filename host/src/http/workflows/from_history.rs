//! A workflow out of what was done in a history: the rows around [`crate::formats::from_history`].

use std::collections::{BTreeMap, HashSet};

use serde_json::{Map, Value};

use crate::formats::from_history::{Item, NewInput, NewTool, extract};
use crate::http::access::{self, Wish};
use crate::http::app::App;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::http::payload::Payload;
use crate::model::workflow::WorkflowDescription;
use crate::store::db::Query;
use crate::store::{collections, datasets, dynamic_tools, histories, jobs};

/// The most jobs, and the most inputs, of one workflow.
const ITEMS_MAX: usize = 5_000;

/// Reads `from_history_id`, `job_ids`, `dataset_ids` and `dataset_collection_ids` (numbers that people see), the names for
/// those, and `workflow_name`.
pub async fn read(
    app: &App,
    caller: &Caller,
    payload: &Payload,
) -> Result<WorkflowDescription, ApiError> {
    let mut q = app.store.reader();
    let encoded = payload.required("from_history_id")?;
    let history = access::history(app, &mut q, caller, encoded, Wish::Read).await?;
    let name = match payload.fields.get("workflow_name") {
        None | Some(Value::Null) => format!("Workflow constructed from history '{}'", history.name),
        Some(Value::String(name)) if !name.trim().is_empty() => name.clone(),
        Some(_) => return Err(ApiError::invalid("workflow_name must be a text.")),
    };
    let mut inputs = Vec::new();
    let hids = numbers(payload, "dataset_ids")?;
    let names = texts(payload, "dataset_names")?;
    let found = histories::by_hids(&mut q, history.id, &hids).await?;
    for (place, hid) in hids.iter().enumerate() {
        let missing = || ApiError::not_found(format!("The history has no dataset number {hid}."));
        let id = found.hdas.get(hid).copied().ok_or_else(missing)?;
        inputs.push((names.get(place).cloned(), Source::Dataset(id)));
    }
    let hids = numbers(payload, "dataset_collection_ids")?;
    let names = texts(payload, "dataset_collection_names")?;
    let found = histories::by_hids(&mut q, history.id, &hids).await?;
    for (place, hid) in hids.iter().enumerate() {
        let missing =
            || ApiError::not_found(format!("The history has no collection number {hid}."));
        let id = found.hdcas.get(hid).copied().ok_or_else(missing)?;
        inputs.push((names.get(place).cloned(), Source::Collection(id)));
    }
    let mut new_inputs = Vec::with_capacity(inputs.len());
    for (name, source) in inputs {
        let (collection_type, items) = match source {
            Source::Dataset(id) => (None, of_dataset(&mut q, id).await?),
            Source::Collection(id) => {
                let hdca = collections::by_id(&mut q, id).await?;
                let kind = hdca.map(|hdca| hdca.collection.collection_type);
                (kind, of_collection(&mut q, id).await?)
            }
        };
        new_inputs.push(NewInput {
            name,
            collection_type,
            items,
        });
    }
    let mut tools = Vec::new();
    let mut job_ids = BTreeMap::new();
    for encoded in texts(payload, "job_ids")? {
        let id = app.decode(&encoded)?;
        job_ids.insert(id, encoded);
    }
    let mut mapped = HashSet::new();
    for (id, encoded) in &job_ids {
        let job = crate::http::jobs::find(app, &mut q, caller, encoded).await?;
        if job.history_id != Some(history.id) {
            return Err(ApiError::invalid(
                "A job of job_ids belongs to another history.",
            ));
        }
        // One of the jobs of a mapping stands for all of them.
        let implicit = jobs::implicit_collection_jobs_of(&mut q, *id).await?;
        if implicit.is_some_and(|all| !mapped.insert(all)) {
            continue;
        }
        let mut outputs = Vec::new();
        for output in jobs::outputs(&mut q, *id).await? {
            let items = match output.src {
                "hda" => of_dataset(&mut q, output.id).await?,
                _ => of_collection(&mut q, output.id).await?,
            };
            outputs.push((output.name, items));
        }
        if let Some(all) = implicit {
            for (name, hdca) in collections::of_implicit_jobs(&mut q, all).await? {
                outputs.push((name, of_collection(&mut q, hdca).await?));
            }
        }
        if matches!(job.tool_id.as_str(), "upload1" | "__DATA_FETCH__") {
            new_inputs.extend(outputs.into_iter().map(|(_, items)| NewInput {
                name: None,
                collection_type: None,
                items,
            }));
            continue;
        }
        let tool_uuid = match job.dynamic_tool_id {
            Some(id) => dynamic_tools::by_id(&mut q, id)
                .await?
                .map(|tool| tool.uuid),
            None => None,
        };
        let parameters = jobs::parameters(&mut q, *id).await?;
        tools.push(NewTool {
            tool_id: job.tool_id,
            tool_version: job.tool_version,
            tool_uuid,
            state: state_of(parameters),
            outputs,
        });
    }
    if tools.len() + new_inputs.len() > ITEMS_MAX {
        return Err(ApiError::invalid(format!("More than {ITEMS_MAX} steps.")));
    }
    Ok(extract(&name, &new_inputs, &tools)?)
}

enum Source {
    Dataset(i64),
    Collection(i64),
}

/// An HDA is every HDA that shows the same data.
async fn of_dataset(q: &mut impl Query, id: i64) -> Result<Vec<Item>, ApiError> {
    let Some(hda) = datasets::by_id(q, id).await? else {
        return Ok(Vec::new());
    };
    let all = datasets::showing(q, hda.dataset_id).await?;
    Ok(all.into_iter().map(|id| ("hda".to_owned(), id)).collect())
}

/// An HDCA is every HDCA of the same collection, and whatever is in it: a mapped tool reads that.
async fn of_collection(q: &mut impl Query, id: i64) -> Result<Vec<Item>, ApiError> {
    let Some(hdca) = collections::by_id(q, id).await? else {
        return Ok(Vec::new());
    };
    let root = hdca.collection.id;
    let mut items: Vec<Item> = Vec::new();
    for id in collections::showing(q, root).await? {
        items.push(("hdca".to_owned(), id));
    }
    let forest = collections::forest(q, &[root]).await?;
    for element in forest.elements.values().flatten() {
        items.push(("dce".to_owned(), element.id));
        items.extend(element.hda_id.map(|hda| ("hda".to_owned(), hda)));
    }
    Ok(items)
}

/// The parameters without those that the server added.
fn state_of(parameters: Vec<(String, String)>) -> Value {
    let own = parameters
        .into_iter()
        .filter(|(name, _)| !name.starts_with("__"));
    let read = own.map(|(name, text)| {
        let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        (name, value)
    });
    Value::Object(read.collect::<Map<_, _>>())
}

fn list(payload: &Payload, name: &str) -> Result<Vec<Value>, ApiError> {
    let wrong = || ApiError::invalid(format!("{name} must be a list."));
    let list = match payload.json(name)? {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(list)) => list,
        Some(one @ (Value::String(_) | Value::Number(_))) => vec![one],
        Some(_) => return Err(wrong()),
    };
    match list.len() > ITEMS_MAX {
        true => Err(ApiError::invalid(format!(
            "{name} has more than {ITEMS_MAX} items."
        ))),
        false => Ok(list),
    }
}

fn texts(payload: &Payload, name: &str) -> Result<Vec<String>, ApiError> {
    let text = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        _ => Err(ApiError::invalid(format!(
            "{name} must be a list of texts."
        ))),
    };
    list(payload, name)?.iter().map(text).collect()
}

fn numbers(payload: &Payload, name: &str) -> Result<Vec<i64>, ApiError> {
    let number = |value: &Value| match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    let wrong = || ApiError::invalid(format!("{name} must be a list of numbers of the history."));
    list(payload, name)?
        .iter()
        .map(|value| number(value).ok_or_else(wrong))
        .collect()
}
