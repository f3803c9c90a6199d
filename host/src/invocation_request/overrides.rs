//! `parameters` of a request: per-step overrides, flattened to pipe paths.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::RequestError;
use crate::invoker::tool_run::hidden;
use crate::model::runtime_actions::RUNTIME_POST_JOB_ACTIONS;
use crate::model::workflow::WorkflowDescription;

/// Groups nested deeper than this are refused.
const DEPTH_MAX: usize = 64;

/// The overrides of a workflow and of the subworkflows inside it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overrides {
    /// By order_index; names are pipe paths.
    pub steps: BTreeMap<usize, Map<String, Value>>,
    pub inside: BTreeMap<usize, Overrides>,
}

/// Reads `parameters`. Normalized ones are keyed by order_index with flat names; others by order_index, uuid or tool
/// id, with nested values or the old `{"param", "value"}`.
pub fn read(
    description: &WorkflowDescription,
    parameters: &Map<String, Value>,
    normalized: bool,
) -> Result<Overrides, RequestError> {
    let mut overrides = Overrides::default();
    if parameters.is_empty() {
        return Ok(overrides);
    }
    for (index, step) in description.steps.iter().enumerate() {
        let by_index = index.to_string();
        let mut flat = Map::new();
        if normalized {
            if let Some(values) = of_step(parameters, &by_index)? {
                flat = values.clone();
            }
        } else {
            let uuid = step.uuid.map(|uuid| uuid.to_string());
            let keys = [step.tool_id.as_deref(), Some(&by_index), uuid.as_deref()];
            let mut nested = Map::new();
            for key in keys.into_iter().flatten() {
                if let Some(values) = of_step(parameters, key)? {
                    nested.extend(values.clone());
                }
            }
            if let (Some(name), Some(value)) = (nested.get("param"), nested.get("value"))
                && let Some(name) = name.as_str().map(str::to_owned)
            {
                let value = value.clone();
                nested.remove("param");
                nested.remove("value");
                nested.insert(name, value);
            }
            flatten(&nested, "", 0, &mut flat)?;
        }
        flat.retain(|name, _| !is_reserved(name));
        if flat.is_empty() {
            continue;
        }
        match &step.subworkflow {
            None => drop(overrides.steps.insert(index, flat)),
            Some(_) if !normalized => {
                return Err(RequestError::invalid(
                    "Parameters of steps inside a subworkflow need parameters_normalized to be true.",
                ));
            }
            Some(inner) => {
                let inner = read(inner, &split(index, flat)?, true)?;
                overrides.inside.insert(index, inner);
            }
        }
    }
    Ok(overrides)
}

fn of_step<'a>(
    parameters: &'a Map<String, Value>,
    key: &str,
) -> Result<Option<&'a Map<String, Value>>, RequestError> {
    match parameters.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(values)) => Ok(Some(values)),
        Some(_) => Err(RequestError::invalid(format!(
            "The parameters of {key} must be an object."
        ))),
    }
}

/// `"<inner index>|name"` → inner index → name.
fn split(index: usize, flat: Map<String, Value>) -> Result<Map<String, Value>, RequestError> {
    let mut inner: Map<String, Value> = Map::new();
    for (key, value) in flat {
        let Some((step, name)) = key.split_once('|') else {
            return Err(RequestError::invalid(format!(
                "Step {index} is a subworkflow: {key:?} must be a step index inside it and a name, joined by |."
            )));
        };
        let of_step = inner
            .entry(step.to_owned())
            .or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(of_step) = of_step {
            of_step.insert(name.to_owned(), value);
        }
    }
    Ok(inner)
}

fn flatten(
    nested: &Map<String, Value>,
    prefix: &str,
    depth: usize,
    flat: &mut Map<String, Value>,
) -> Result<(), RequestError> {
    if depth > DEPTH_MAX {
        return Err(RequestError::invalid(
            "The parameters are nested too deeply.",
        ));
    }
    for (key, value) in nested {
        let path = format!("{prefix}{key}");
        match value {
            actions if key == RUNTIME_POST_JOB_ACTIONS => {
                flat.insert(path, actions.clone());
            }
            Value::Object(group) if !is_leaf(group) => {
                flatten(group, &format!("{path}|"), depth + 1, flat)?;
            }
            Value::Array(items) if !items.is_empty() && items.iter().all(is_group) => {
                for (at, item) in items.iter().enumerate() {
                    let group = item.as_object().into_iter().flatten();
                    let group = group.map(|(k, v)| (k.clone(), v.clone())).collect();
                    flatten(&group, &format!("{path}_{at}|"), depth + 1, flat)?;
                }
            }
            leaf => drop(flat.insert(path, leaf.clone())),
        }
    }
    Ok(())
}

/// Parameters that only the server sets; inside subworkflows the step comes first.
fn is_reserved(name: &str) -> bool {
    let name = name.rsplit('|').next().unwrap_or(name);
    hidden::ALL.contains(&name)
}

fn is_group(value: &Value) -> bool {
    value.as_object().is_some_and(|object| !is_leaf(object))
}

/// A reference to data, a list of them, or a marker: one value although it is an object.
fn is_leaf(object: &Map<String, Value>) -> bool {
    object.is_empty()
        || object.contains_key("src")
        || object.contains_key("__class__")
        || object.contains_key("class")
        || object.get("values").is_some_and(Value::is_array)
}
