//! One form out of the many in which a step's state arrives.
//!
//! Accepted: the nested form ("21.01"), legacy flat keys (`cond|param`, `rep_0|param`), mixtures
//! of both, and the `tool_state` of `.ga` files with values as JSON text. Numbers and booleans may
//! be text. Keys that no input has (`__page__`, `chromInfo` ...) are dropped, as Galaxy does.

use serde_json::{Map, Value, json};

use super::super::inputs_json::DataRef;
use super::super::model::{Check, Input, InputKind, SelectOption, Tool, Validator};
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

fn plain(input: &Input, value: &Value) -> Result<Value, String> {
    match &input.kind {
        InputKind::Boolean { .. } => boolean(value),
        InputKind::Integer { min, max, .. } => {
            let Some(number) = integer(value)? else {
                return Ok(Value::Null);
            };
            in_bounds(&number, min.as_ref(), max.as_ref())?;
            Ok(json!(number))
        }
        InputKind::Float { min, max, .. } => {
            let Some(number) = float(value)? else {
                return Ok(Value::Null);
            };
            in_bounds(&number, min.as_ref(), max.as_ref())?;
            Ok(json!(number))
        }
        InputKind::Text { .. } => match value {
            Value::Null if input.optional => Ok(Value::Null),
            Value::Null => Ok(json!("")),
            value => text(value).map(Value::String),
        },
        InputKind::Color { .. } => match value {
            Value::Null => Ok(default_value(input)),
            Value::String(color) if is_color(color) => Ok(value.clone()),
            _ => Err("a colour is written as # and six hexadecimal digits".to_owned()),
        },
        InputKind::Select { options, multiple } => select(input, options, *multiple, value),
        _ => Ok(value.clone()),
    }
}

fn boolean(value: &Value) -> Result<Value, String> {
    let word = match value {
        Value::Bool(_) | Value::Null => return Ok(value.clone()),
        Value::String(text) => text.trim().to_ascii_lowercase(),
        other => other.to_string(),
    };
    match word.as_str() {
        "true" | "yes" | "on" | "1" => Ok(json!(true)),
        "false" | "no" | "off" | "0" | "" | "none" => Ok(json!(false)),
        _ => Err(format!("{} is neither true nor false", shown(value))),
    }
}

fn integer(value: &Value) -> Result<Option<i64>, String> {
    let refuse = || format!("{} is not a whole number", shown(value));
    match value {
        Value::Null => Ok(None),
        Value::Number(number) => number
            .as_i64()
            .or_else(|| number.as_f64().and_then(whole))
            .map(Some)
            .ok_or_else(refuse),
        Value::String(text) if text.trim().is_empty() => Ok(None),
        Value::String(text) => text.trim().parse().map(Some).map_err(|_| refuse()),
        _ => Err(refuse()),
    }
}

fn whole(number: f64) -> Option<i64> {
    // Beyond 2^53 a float no longer says which whole number was meant.
    let exact = number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0;
    exact.then_some(number as i64)
}

fn float(value: &Value) -> Result<Option<f64>, String> {
    let number = match value {
        Value::Null => return Ok(None),
        Value::Number(number) => number.as_f64(),
        Value::String(text) if text.trim().is_empty() => return Ok(None),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    match number.filter(|number: &f64| number.is_finite()) {
        Some(number) => Ok(Some(number)),
        None => Err(format!("{} is not a number", shown(value))),
    }
}

fn in_bounds<T: PartialOrd + std::fmt::Display>(
    number: &T,
    min: Option<&T>,
    max: Option<&T>,
) -> Result<(), String> {
    if let Some(min) = min.filter(|min| number < min) {
        return Err(format!(
            "{number} is less than {min}, the smallest value allowed"
        ));
    }
    if let Some(max) = max.filter(|max| number > max) {
        return Err(format!(
            "{number} is more than {max}, the largest value allowed"
        ));
    }
    Ok(())
}

/// Text of a scalar; a list of scalars (Galaxy's multiple columns) is joined by commas.
fn text(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(_) | Value::Bool(_) => Ok(value.to_string()),
        Value::Array(items)
            if items
                .iter()
                .all(|item| !item.is_array() && !item.is_object()) =>
        {
            let parts: Result<Vec<String>, String> = items.iter().map(text).collect();
            Ok(parts?.join(","))
        }
        _ => Err(format!("{} is not text", shown(value))),
    }
}

fn is_color(text: &str) -> bool {
    let digits = text.strip_prefix('#').unwrap_or_default();
    digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn select(
    input: &Input,
    options: &[SelectOption],
    multiple: bool,
    value: &Value,
) -> Result<Value, String> {
    let known = |wanted: &str| options.iter().any(|option| option.value == wanted);
    let chosen: Vec<String> = match value {
        Value::Null => return Ok(default_value(input)),
        Value::Array(items) => items.iter().map(text).collect::<Result<_, _>>()?,
        Value::String(list) if multiple && !known(list) => list
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect(),
        value => vec![text(value)?],
    };
    if let Some(strange) = chosen.iter().find(|choice| !known(choice)) {
        let strange = json!(strange);
        let offered: Vec<String> = options
            .iter()
            .map(|option| format!("'{}'", option.value))
            .collect();
        if matches!(strange.as_str(), Some("")) && input.optional {
            return Ok(Value::Null);
        }
        let offered = offered.join(", ");
        return Err(format!(
            "{} is not one of the options {offered}",
            shown(&strange)
        ));
    }
    if multiple {
        return Ok(if chosen.is_empty() {
            Value::Null
        } else {
            json!(chosen)
        });
    }
    match &chosen[..] {
        [] => Ok(Value::Null),
        [one] => Ok(json!(one)),
        several => Err(format!(
            "one option is taken here and {} were given",
            several.len()
        )),
    }
}

fn check(validator: &Validator, value: &Value) -> Result<(), String> {
    let (holds, otherwise) = match (&validator.check, value) {
        (Check::NoOptions, value) => (!value.is_null(), "an option is required".to_owned()),
        // An unset optional value has nothing to check.
        (_, Value::Null) => return Ok(()),
        (Check::EmptyField, value) => (
            value.as_str() != Some(""),
            "the field must not be empty".to_owned(),
        ),
        (Check::Regex(regex), Value::String(text)) => (
            regex.is_match(text),
            format!("{} does not have the required form", shown(value)),
        ),
        (Check::Length { min, max }, Value::String(text)) => {
            let length = text.chars().count();
            let holds = min.is_none_or(|min| length >= min) && max.is_none_or(|max| length <= max);
            (
                holds,
                format!("the text has {length} characters, {}", allowed(min, max)),
            )
        }
        (
            Check::InRange {
                min,
                max,
                exclude_min,
                exclude_max,
            },
            value,
        ) => {
            let Some(number) = value.as_f64() else {
                return Ok(());
            };
            let above = min.is_none_or(|min| {
                if *exclude_min {
                    number > min
                } else {
                    number >= min
                }
            });
            let below = max.is_none_or(|max| {
                if *exclude_max {
                    number < max
                } else {
                    number <= max
                }
            });
            (
                above && below,
                format!("{number} is out of range, {}", allowed(min, max)),
            )
        }
        _ => return Ok(()),
    };
    if holds != validator.negate {
        return Ok(());
    }
    Err(match &validator.message {
        Some(message) => message.clone(),
        None if validator.negate => format!("{} is not allowed", shown(value)),
        None => otherwise,
    })
}

fn allowed<T: std::fmt::Display>(min: &Option<T>, max: &Option<T>) -> String {
    match (min, max) {
        (Some(min), Some(max)) => format!("allowed are {min} to {max}"),
        (Some(min), None) => format!("allowed are {min} and more"),
        (None, Some(max)) => format!("allowed are {max} and less"),
        (None, None) => "whatever its value".to_owned(),
    }
}

/// A value in a message: JSON, cut to a length that people read.
fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) => format!("'{text}'"),
        other => other.to_string(),
    };
    if text.chars().count() > 60 {
        return text.chars().take(60).collect::<String>() + "…";
    }
    text
}
