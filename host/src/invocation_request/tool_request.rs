//! A request to run one tool outside any workflow (`POST /api/tools`): from the body to one or several sets of
//! parameters in the one form that jobs are made from.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::batch::RUNS_MAX;
use super::inputs::reference;
use super::{Items, Kind, Reference, RequestError, Src};
use crate::tools::{Tool, parameters};

/// Values nested deeper than this are refused.
const DEPTH_MAX: usize = 64;

/// The body, read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ToolPayload {
    pub tool_id: Option<String>,
    pub tool_version: Option<String>,
    pub tool_uuid: Option<String>,
    /// Encoded.
    pub history_id: Option<String>,
    /// Flat (`cond|param`) or nested; both are understood whatever `input_format` says.
    pub inputs: Map<String, Value>,
    pub use_cached_job: bool,
    /// Encoded id of the failed job whose outputs this run is to stand in for.
    pub rerun_remap_job_id: Option<String>,
}

/// One run of the tool, or one mapping of it.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolInputs {
    /// Normalised, with database ids; mapped inputs hold `{"__class__": "ConnectedValue"}`.
    pub state: Value,
    /// Pipe path of an input and the collection (HDCA) it is mapped over.
    pub mapped: Vec<(String, i64)>,
}

impl ToolPayload {
    /// Reads the body. `inputs` may be JSON text.
    pub fn parse(body: &Value) -> Result<ToolPayload, RequestError> {
        let text = |name: &str| match body.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(RequestError::invalid(format!("{name} must be a text."))),
        };
        let mut inputs = match body.get("inputs") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(inputs)) => inputs.clone(),
            Some(Value::String(json)) => serde_json::from_str(json)
                .map_err(|_| RequestError::invalid("inputs is not JSON text of an object."))?,
            Some(_) => return Err(RequestError::invalid("inputs must be an object.")),
        };
        let remap = match inputs.shift_remove("rerun_remap_job_id") {
            Some(Value::String(id)) => Some(id),
            _ => text("rerun_remap_job_id")?,
        };
        let payload = ToolPayload {
            tool_id: text("tool_id")?,
            tool_version: text("tool_version")?,
            tool_uuid: text("tool_uuid")?,
            history_id: text("history_id")?,
            inputs,
            use_cached_job: body.get("use_cached_job") == Some(&Value::Bool(true)),
            rerun_remap_job_id: remap,
        };
        if payload.tool_id.is_none() && payload.tool_uuid.is_none() {
            return Err(RequestError::new(
                Kind::Missing,
                "Parameter tool_id is missing.",
            ));
        }
        Ok(payload)
    }

    /// Every dataset and collection that the inputs name, each once.
    pub fn references(&self) -> Result<BTreeSet<Reference>, RequestError> {
        let mut found = BTreeSet::new();
        for value in self.inputs.values() {
            collect(value, 0, &mut found)?;
        }
        Ok(found)
    }
}

fn collect(
    value: &Value,
    depth: usize,
    found: &mut BTreeSet<Reference>,
) -> Result<(), RequestError> {
    if depth > DEPTH_MAX {
        return Err(RequestError::invalid("The inputs are nested too deeply."));
    }
    match value {
        Value::Object(object) if object.get("src").is_some_and(Value::is_string) => {
            if let Some(item) = reference(value) {
                found.insert(item?);
            }
            Ok(())
        }
        Value::Object(object) => object
            .values()
            .try_for_each(|inner| collect(inner, depth + 1, found)),
        Value::Array(items) => items
            .iter()
            .try_for_each(|inner| collect(inner, depth + 1, found)),
        _ => Ok(()),
    }
}

/// The runs that the inputs ask for. `{"batch": true, "values": [one collection]}` maps the tool over the collection;
/// with datasets it makes one run for each. The error carries every fault by parameter in `err_data`.
pub fn runs(
    tool: &Tool,
    payload: &ToolPayload,
    items: &Items,
) -> Result<Vec<ToolInputs>, RequestError> {
    let mut state = Value::Object(Map::new());
    let mut mapped = Vec::new();
    let mut lists: Vec<(String, Vec<Value>)> = Vec::new();
    for (name, value) in &payload.inputs {
        let value = decoded(value, items);
        let mut leaves = Vec::new();
        batches(name, &value, &mut leaves);
        if !parameters::set_path(&mut state, name, value) {
            return Err(RequestError::invalid(format!(
                "The parameter {name:?} contradicts another one."
            )));
        }
        for (path, values) in leaves {
            match values.as_slice() {
                [one] if one.get("src") == Some(&json!("hdca")) => {
                    let id = one.get("id").and_then(Value::as_i64);
                    mapped.push((path.clone(), id.unwrap_or_default()));
                    let marker = json!({"__class__": "ConnectedValue"});
                    parameters::set_path(&mut state, &path, marker);
                }
                _ => lists.push((path, values)),
            }
        }
    }
    let count = lists.first().map_or(1, |(_, list)| list.len());
    if lists.iter().any(|(_, list)| list.len() != count) || count > RUNS_MAX {
        return Err(RequestError::invalid(format!(
            "The lists of inputs to run in a batch must be equally long, and have at most {RUNS_MAX} items."
        )));
    }
    (0..count)
        .map(|at| {
            let mut state = state.clone();
            for (path, list) in &lists {
                parameters::set_path(&mut state, path, list[at].clone());
            }
            match parameters::normalise_state(tool, &state) {
                Ok(state) => Ok(ToolInputs {
                    state,
                    mapped: mapped.clone(),
                }),
                Err(errors) => Err(refused(errors)),
            }
        })
        .collect()
}

/// A refusal with every fault in `err_data`, by parameter.
pub fn refused(errors: Vec<parameters::ParameterError>) -> RequestError {
    let said: Vec<String> = errors
        .iter()
        .map(|error| format!("{}: {}", error.name, error.message))
        .collect();
    let data = errors
        .into_iter()
        .map(|error| (error.name, Value::from(error.message)));
    let data = Value::Object(data.collect());
    RequestError::message(format!("The inputs were refused: {}", said.join("; "))).with_data(data)
}

/// Pipe path and values of each batch in a value.
fn batches(path: &str, value: &Value, found: &mut Vec<(String, Vec<Value>)>) {
    match value {
        Value::Object(object) => {
            let values = object.get("values").and_then(Value::as_array);
            match values {
                Some(values) if object.get("batch") == Some(&Value::Bool(true)) => {
                    found.push((path.to_owned(), values.clone()));
                }
                _ => {
                    for (key, inner) in object {
                        batches(&format!("{path}|{key}"), inner, found);
                    }
                }
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                batches(&format!("{path}_{at}"), item, found);
            }
        }
        _ => {}
    }
}

fn decoded(value: &Value, items: &Items) -> Value {
    match value {
        Value::Object(object) if object.get("src").is_some_and(Value::is_string) => {
            match reference(value) {
                Some(Ok(reference)) => match items.get(&reference) {
                    Some(id) => json!({"src": reference.src.code(), "id": id}),
                    None => value.clone(),
                },
                _ => value.clone(),
            }
        }
        Value::Object(object) => {
            let inner = object.iter().map(|(k, v)| (k.clone(), decoded(v, items)));
            Value::Object(inner.collect())
        }
        Value::Array(list) => Value::Array(list.iter().map(|v| decoded(v, items)).collect()),
        other => other.clone(),
    }
}

/// The inputs with encoded ids in place of the database's: what a client sends back to run the job again.
pub fn encoded(value: &Value, encode: &impl Fn(i64) -> String) -> Value {
    match value {
        Value::Object(object) => {
            let is_reference = object
                .get("src")
                .and_then(Value::as_str)
                .is_some_and(|src| {
                    [Src::Hda, Src::Hdca, Src::Dce]
                        .iter()
                        .any(|s| s.code() == src)
                });
            let inner = object.iter().map(|(key, inner)| {
                let inner = match inner.as_i64() {
                    Some(id) if is_reference && key == "id" => Value::from(encode(id)),
                    _ => encoded(inner, encode),
                };
                (key.clone(), inner)
            });
            Value::Object(inner.collect())
        }
        Value::Array(list) => Value::Array(list.iter().map(|v| encoded(v, encode)).collect()),
        other => other.clone(),
    }
}
