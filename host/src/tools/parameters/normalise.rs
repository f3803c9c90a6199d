//! One form out of the many in which a step's state arrives.
//!
//! Accepted: the nested form ("21.01"), legacy flat keys (`cond|param`, `rep_0|param`), mixtures
//! of both, and the `tool_state` of `.ga` files with values as JSON text. Numbers and booleans may
//! be text. Keys that no input has (`__page__`, `chromInfo` ...) are dropped, as Galaxy does.

use serde_json::{Map, Value, json};

use super::super::inputs_json::DataRef;
use super::super::model::{Input, InputKind, Tool};
use super::values::{check, plain};
use super::{ParameterError, REPEAT_INSTANCES_MAX, branch_of, is_connected, is_runtime};

/// The state in its one form, or everything that is wrong with it.
///
/// Every input of the active branches is present afterwards. Integers, floats and booleans have
/// their JSON types, a dataset or collection is `{"src", "id"}`, several are `{"values": [...]}`,
/// conditionals carry `__current_case__`. Connected and runtime markers stay.
pub fn normalise_state(tool: &Tool, state: &Value) -> Result<Value, Vec<ParameterError>> {
    let (state, errors) = normalise_leniently(tool, state);
    if errors.is_empty() {
        Ok(state)
    } else {
        Err(errors)
    }
}

/// The same for a step being imported or edited: the best state there is, with a default in
/// place of each faulty value, and the faults.
pub fn normalise_leniently(tool: &Tool, state: &Value) -> (Value, Vec<ParameterError>) {
    let mut errors = Vec::new();
    let decoded = decode_tool_state(tool, state);
    let empty = Map::new();
    let scope = match &decoded {
        Value::Object(object) => object,
        Value::Null => &empty,
        _ => {
            errors.push(ParameterError {
                name: String::new(),
                message: "the parameters are not an object".to_owned(),
            });
            &empty
        }
    };
    let state = group(&tool.inputs, scope, "", &mut errors);
    (Value::Object(state), errors)
}

/// Undoes the JSON text in a `.ga` file's `tool_state`: the whole may be text, and in the older
/// form each value is text too. Values of the newer form, and of API requests, stay untouched.
pub fn decode_tool_state(tool: &Tool, state: &Value) -> Value {
    let state = match state {
        Value::String(text) => serde_json::from_str(text).unwrap_or(Value::Null),
        other => other.clone(),
    };
    let Value::Object(mut object) = state else {
        return state;
    };
    if values_are_json_text(tool, &object) {
        for value in object.values_mut() {
            if let Value::String(text) = value
                && let Ok(decoded) = serde_json::from_str(text)
            {
                *value = decoded;
            }
        }
    }
    Value::Object(object)
}

/// A group or dataset given as JSON text shows that everything is; without one, `__page__` does,
/// as only `.ga` files have it, if no text is anything but JSON.
fn values_are_json_text(tool: &Tool, state: &Map<String, Value>) -> bool {
    let decodes = |text: &str| serde_json::from_str::<Value>(text).ok();
    let structure_as_text = tool.inputs.iter().any(|input| {
        let grouped = matches!(
            input.kind,
            InputKind::Conditional { .. } | InputKind::Repeat { .. } | InputKind::Section { .. }
        );
        (grouped || input.kind.is_data())
            && matches!(state.get(&input.name), Some(Value::String(text))
                if decodes(text).is_some_and(|value| value.is_object() || value.is_array()))
    });
    let structure_as_is = state
        .values()
        .any(|value| value.is_object() || value.is_array());
    let all_text = state.contains_key("__page__")
        && !structure_as_is
        && state
            .iter()
            .filter(|(key, _)| !key.starts_with("__"))
            .all(|(_, value)| value.as_str().is_some_and(|text| decodes(text).is_some()));
    structure_as_text || all_text
}

fn group(
    inputs: &[Input],
    scope: &Map<String, Value>,
    prefix: &str,
    errors: &mut Vec<ParameterError>,
) -> Map<String, Value> {
    let mut result = Map::with_capacity(inputs.len());
    for input in inputs {
        let path = format!("{prefix}{}", input.name);
        let value = match &input.kind {
            InputKind::Section { inputs } => {
                let inner = child_scope(scope, &input.name);
                Value::Object(group(inputs, &inner, &format!("{path}|"), errors))
            }
            InputKind::Repeat { inputs, min, max } => {
                let bounds = (*min, *max);
                Value::Array(repeat(input, inputs, bounds, scope, &path, errors))
            }
            InputKind::Conditional { test, whens } => {
                let inner = child_scope(scope, &input.name);
                let path = format!("{path}|");
                let mut state = group(std::slice::from_ref(test), &inner, &path, errors);
                let mut known = inner.clone();
                known.extend(state.clone());
                if let Some(when) = branch_of(test, whens, &known) {
                    let case = whens.iter().position(|other| std::ptr::eq(other, when));
                    state.insert("__current_case__".to_owned(), json!(case));
                    state.extend(group(&when.inputs, &inner, &path, errors));
                }
                Value::Object(state)
            }
            _ => match leaf(input, scope.get(&input.name)) {
                Ok(value) => value,
                Err(message) => {
                    errors.push(ParameterError {
                        name: path,
                        message,
                    });
                    default_value(input)
                }
            },
        };
        result.insert(input.name.clone(), value);
    }
    result
}

/// What is known inside a group: its object, and every flat key that begins with its name.
fn child_scope(scope: &Map<String, Value>, name: &str) -> Map<String, Value> {
    let mut inner = match scope.get(name) {
        Some(Value::Object(object)) => object.clone(),
        Some(Value::String(text)) => match serde_json::from_str(text) {
            Ok(Value::Object(object)) => object,
            _ => Map::new(),
        },
        _ => Map::new(),
    };
    for (key, value) in scope {
        if let Some(rest) = key
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix('|'))
        {
            inner.insert(rest.to_owned(), value.clone());
        }
    }
    inner
}

fn repeat(
    input: &Input,
    inputs: &[Input],
    (min, max): (usize, Option<usize>),
    scope: &Map<String, Value>,
    path: &str,
    errors: &mut Vec<ParameterError>,
) -> Vec<Value> {
    let mut instances = match scope.get(&input.name) {
        Some(Value::Array(items)) => items.clone(),
        Some(Value::String(text)) => match serde_json::from_str(text) {
            Ok(Value::Array(items)) => items,
            _ => Vec::new(),
        },
        _ => Vec::new(),
    };
    let flat_index = |key: &String| -> Option<usize> {
        let rest = key.strip_prefix(&input.name)?.strip_prefix('_')?;
        rest.split_once('|')?.0.parse().ok()
    };
    let flat = scope
        .keys()
        .filter_map(flat_index)
        .map(|index| index.saturating_add(1))
        .max();
    let count = instances.len().max(flat.unwrap_or(0));
    let most = max
        .unwrap_or(REPEAT_INSTANCES_MAX)
        .min(REPEAT_INSTANCES_MAX);
    if count > most {
        errors.push(ParameterError {
            name: path.to_owned(),
            message: format!("{count} instances were given and at most {most} are allowed"),
        });
    }
    instances.resize(count.max(min).min(most), Value::Null);
    let mut result = Vec::with_capacity(instances.len());
    for (index, instance) in instances.into_iter().enumerate() {
        let name = format!("{}_{index}", input.name);
        let mut inner = child_scope(scope, &name);
        if let Value::Object(object) = instance {
            for (key, value) in object {
                inner.entry(key).or_insert(value);
            }
        }
        let mut state = Map::new();
        state.insert("__index__".to_owned(), json!(index));
        state.extend(group(inputs, &inner, &format!("{path}_{index}|"), errors));
        result.push(Value::Object(state));
    }
    result
}

/// What an input has when nothing was said: null where there is no default.
pub fn default_value(input: &Input) -> Value {
    match &input.kind {
        InputKind::Boolean { value } => match value {
            None if input.optional => Value::Null,
            value => json!(value.unwrap_or(false)),
        },
        InputKind::Integer { value, .. } => json!(value),
        InputKind::Float { value, .. } => json!(value),
        InputKind::Text { value, .. } => match value {
            None if input.optional => Value::Null,
            value => json!(value.as_deref().unwrap_or("")),
        },
        InputKind::Color { value } => match value {
            None if input.optional => Value::Null,
            value => json!(value.as_deref().unwrap_or("#000000")),
        },
        InputKind::Select { options, multiple } => {
            let selected: Vec<&str> = options
                .iter()
                .filter(|option| option.selected)
                .map(|option| option.value.as_str())
                .collect();
            match (multiple, selected.first()) {
                (true, Some(_)) => json!(selected),
                (true, None) => Value::Null,
                (false, Some(first)) => json!(first),
                (false, None) if input.optional => Value::Null,
                (false, None) => json!(options.first().map(|option| &option.value)),
            }
        }
        _ => Value::Null,
    }
}

fn leaf(input: &Input, value: Option<&Value>) -> Result<Value, String> {
    let parsed;
    let value = match value {
        // A marker is recognised even where it is still JSON text.
        Some(Value::String(text)) if text.contains("\"__class__\"") => {
            parsed = serde_json::from_str(text).unwrap_or_else(|_| json!(text));
            Some(&parsed)
        }
        other => other,
    };
    if let Some(marker) = value.filter(|value| is_connected(value) || is_runtime(value)) {
        return Ok(marker.clone());
    }
    if input.kind.is_data() {
        return data(input, value.unwrap_or(&Value::Null));
    }
    if let Some(reference) = value.filter(|value| is_reference(value)) {
        return Ok(reference.clone());
    }
    let value = match value {
        None => default_value(input),
        Some(value) => plain(input, value)?,
    };
    if value.is_null() && !input.optional {
        return Err(match &input.kind {
            InputKind::Integer { .. } => "a whole number is required".to_owned(),
            InputKind::Float { .. } => "a number is required".to_owned(),
            InputKind::Select { .. } => "an option is required".to_owned(),
            _ => "a value is required".to_owned(),
        });
    }
    for validator in &input.validators {
        check(validator, &value)?;
    }
    Ok(value)
}

fn is_reference(value: &Value) -> bool {
    DataRef::from_json(value).is_some()
        || value
            .get("values")
            .and_then(Value::as_array)
            .is_some_and(|values| !values.is_empty() && values.iter().all(is_reference))
}

fn data(input: &Input, value: &Value) -> Result<Value, String> {
    let collection = matches!(input.kind, InputKind::Collection { .. });
    let multiple = matches!(input.kind, InputKind::Data { multiple: true, .. });
    let what = if collection { "collection" } else { "dataset" };
    let unset = match value {
        Value::Null => true,
        Value::String(text) => matches!(text.as_str(), "" | "None" | "null"),
        Value::Array(items) => items.is_empty(),
        Value::Object(object) => object
            .get("values")
            .is_some_and(|values| values.as_array().is_some_and(Vec::is_empty)),
        _ => false,
    };
    if unset {
        return if input.optional {
            Ok(Value::Null)
        } else {
            Err(format!("an input {what} is required"))
        };
    }
    // Mapping over a batch, and data given by location, are the caller's business.
    let for_caller = |value: &Value| {
        value.get("batch") == Some(&Value::Bool(true)) || value.get("class").is_some()
    };
    if for_caller(value) {
        return Ok(value.clone());
    }
    let items: Vec<Value> = match value {
        Value::Array(items) => items.clone(),
        Value::Object(object) => match object.get("values") {
            Some(Value::Array(items)) => items.clone(),
            _ => vec![value.clone()],
        },
        _ => Vec::new(),
    };
    let sound = |item: &Value| DataRef::from_json(item).is_some() || item.get("class").is_some();
    if items.is_empty() || !items.iter().all(sound) {
        return Err(format!("the value does not refer to a {what}"));
    }
    if multiple {
        return Ok(json!({"values": items}));
    }
    match <[Value; 1]>::try_from(items) {
        Ok([item]) => Ok(item),
        Err(items) => Err(format!(
            "one {what} is taken here and {} were given",
            items.len()
        )),
    }
}
