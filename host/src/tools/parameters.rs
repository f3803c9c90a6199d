//! A step's parameters: addressing them, walking the active ones.
//!
//! Paths are Galaxy's: `cond|rep_0|input1`. Normalising is in [`normalise`].

mod normalise;
mod values;

use serde_json::{Map, Value};

use super::Tool;
use super::model::{Input, InputKind, When};

pub use normalise::{decode_tool_state, default_value, normalise_leniently, normalise_state};

/// Repeats of more instances than this are refused wherever a state is read.
pub const REPEAT_INSTANCES_MAX: usize = 10_000;

/// One thing wrong with a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterError {
    /// Pipe path: `cond|rep_0|input1`.
    pub name: String,
    pub message: String,
}

/// Something a step's output can be connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terminal {
    /// Pipe path: `cond|rep_0|input1`.
    pub name: String,
    pub label: String,
    pub kind: TerminalKind,
    pub optional: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TerminalKind {
    Dataset {
        /// Empty means any.
        extensions: Vec<String>,
        multiple: bool,
    },
    Collection {
        /// Empty means any.
        collection_types: Vec<String>,
        extensions: Vec<String>,
    },
    Parameter {
        /// Galaxy's word: `integer`, `text`, `select` ...
        type_name: &'static str,
        multiple: bool,
    },
}

/// Dataset and collection terminals, in the tool's order, of the branches that `state` selects.
pub fn data_inputs(tool: &Tool, state: &Value) -> Vec<Terminal> {
    let mut all = terminals(tool, state);
    all.retain(|terminal| !matches!(terminal.kind, TerminalKind::Parameter { .. }));
    all
}

/// Every terminal, in the tool's order, of the branches that `state` selects.
pub fn terminals(tool: &Tool, state: &Value) -> Vec<Terminal> {
    let mut found = Vec::new();
    let empty = Map::new();
    let state = state.as_object().unwrap_or(&empty);
    collect_terminals(&tool.inputs, state, "", &mut found);
    found
}

fn collect_terminals(
    inputs: &[Input],
    state: &Map<String, Value>,
    prefix: &str,
    found: &mut Vec<Terminal>,
) {
    let empty = Map::new();
    for input in inputs {
        let path = format!("{prefix}{}", input.name);
        let value = state.get(&input.name);
        let inner = value.and_then(Value::as_object).unwrap_or(&empty);
        match &input.kind {
            InputKind::Section { inputs } => {
                collect_terminals(inputs, inner, &format!("{path}|"), found);
            }
            InputKind::Repeat { inputs, .. } => {
                let instances = value.and_then(Value::as_array).into_iter().flatten();
                for (index, instance) in instances.enumerate() {
                    let instance = instance.as_object().unwrap_or(&empty);
                    collect_terminals(inputs, instance, &format!("{path}_{index}|"), found);
                }
            }
            InputKind::Conditional { test, whens } => {
                let path = format!("{path}|");
                collect_terminals(std::slice::from_ref(test), inner, &path, found);
                if let Some(when) = branch_of(test, whens, inner) {
                    collect_terminals(&when.inputs, inner, &path, found);
                }
            }
            kind => found.push(Terminal {
                name: path,
                label: input.label.clone().unwrap_or_else(|| input.name.clone()),
                kind: terminal_kind(kind),
                optional: input.optional,
            }),
        }
    }
}

fn terminal_kind(kind: &InputKind) -> TerminalKind {
    match kind {
        InputKind::Data {
            extensions,
            multiple,
        } => TerminalKind::Dataset {
            extensions: extensions.clone(),
            multiple: *multiple,
        },
        InputKind::Collection {
            collection_types,
            extensions,
        } => TerminalKind::Collection {
            collection_types: collection_types.clone(),
            extensions: extensions.clone(),
        },
        other => TerminalKind::Parameter {
            type_name: other.type_name(),
            multiple: matches!(other, InputKind::Select { multiple: true, .. }),
        },
    }
}

/// The branch for a test parameter's value; a boolean matches `true` and `false`.
pub fn active_branch<'a>(whens: &'a [When], test_value: &Value) -> Option<&'a When> {
    let wanted = match test_value {
        Value::String(text) => text.as_str(),
        Value::Bool(true) => "true",
        Value::Bool(false) => "false",
        _ => return None,
    };
    whens.iter().find(|when| when.discriminator == wanted)
}

/// The branch of a conditional's state: by value, by `__current_case__` if the value is not known
/// yet, else the one of the test parameter's default.
fn branch_of<'a>(test: &Input, whens: &'a [When], state: &Map<String, Value>) -> Option<&'a When> {
    let case = || {
        let index = state.get("__current_case__")?.as_u64()?;
        whens.get(usize::try_from(index).ok()?)
    };
    state
        .get(&test.name)
        .and_then(|value| active_branch(whens, value))
        .or_else(case)
        .or_else(|| active_branch(whens, &normalise::default_value(test)))
}

/// `{"__class__": "ConnectedValue"}`.
pub fn is_connected(value: &Value) -> bool {
    class_of(value) == Some("ConnectedValue")
}

/// `{"__class__": "RuntimeValue"}`.
pub fn is_runtime(value: &Value) -> bool {
    class_of(value) == Some("RuntimeValue")
}

fn class_of(value: &Value) -> Option<&str> {
    value.as_object()?.get("__class__")?.as_str()
}

/// The value at a pipe path.
pub fn get_path<'a>(state: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('|').try_fold(state, |value, part| {
        let object = value.as_object()?;
        if let Some(inner) = object.get(part) {
            return Some(inner);
        }
        let (name, index) = repeat_part(part)?;
        object.get(name)?.as_array()?.get(index)
    })
}

/// Puts a value at a pipe path, making objects and repeat instances on the way. False if the path
/// leads through something that is not a group, and then nothing was changed but empty groups.
///
/// A part like `queries_0` is taken for a repeat's instance if `queries` is one in `state`, or
/// if the path goes on below it and no input is called `queries_0`.
pub fn set_path(state: &mut Value, path: &str, value: Value) -> bool {
    let mut parts = path.split('|').peekable();
    let mut place = state;
    while let Some(part) = parts.next() {
        let last = parts.peek().is_none();
        if place.is_null() {
            *place = Value::Object(Map::new());
        }
        let Some(object) = place.as_object_mut() else {
            return false;
        };
        place = match repeat_part(part) {
            Some((name, index))
                if !object.contains_key(part)
                    && (object.get(name).is_some_and(Value::is_array)
                        || (!last && !object.contains_key(name))) =>
            {
                let list = object
                    .entry(name.to_owned())
                    .or_insert_with(|| Value::Array(Vec::new()));
                let Some(items) = list.as_array_mut() else {
                    return false;
                };
                if index >= REPEAT_INSTANCES_MAX {
                    return false;
                }
                while items.len() <= index {
                    items.push(Value::Object(Map::new()));
                }
                &mut items[index]
            }
            _ => object.entry(part.to_owned()).or_insert(Value::Null),
        };
    }
    *place = value;
    true
}

/// `queries_0` is instance 0 of `queries`.
fn repeat_part(part: &str) -> Option<(&str, usize)> {
    let (name, index) = part.rsplit_once('_')?;
    let digits = !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit());
    digits.then_some(())?;
    Some((name, index.parse().ok()?))
}

/// Pipe path and value of every leaf. Data references, markers and lists of values are leaves;
/// Galaxy's own keys (`__index__`, `__current_case__`) are left out.
pub fn flatten(state: &Value) -> Vec<(String, Value)> {
    let mut leaves = Vec::new();
    if let Value::Object(object) = state {
        flatten_into(object, "", &mut leaves);
    }
    leaves
}

fn flatten_into(object: &Map<String, Value>, prefix: &str, leaves: &mut Vec<(String, Value)>) {
    for (key, value) in object {
        if key.starts_with("__") {
            continue;
        }
        let path = format!("{prefix}{key}");
        match value {
            Value::Object(inner) if !is_leaf_object(inner) => {
                flatten_into(inner, &format!("{path}|"), leaves);
            }
            Value::Array(items)
                if !items.is_empty()
                    && items.iter().all(|item| {
                        item.as_object().is_some_and(|inner| !is_leaf_object(inner))
                    }) =>
            {
                for (index, item) in items.iter().enumerate() {
                    if let Value::Object(inner) = item {
                        flatten_into(inner, &format!("{path}_{index}|"), leaves);
                    }
                }
            }
            _ => leaves.push((path, value.clone())),
        }
    }
}

fn is_leaf_object(object: &Map<String, Value>) -> bool {
    object.contains_key("src") || object.contains_key("values") || object.contains_key("__class__")
}

#[cfg(test)]
#[path = "parameters/tests.rs"]
mod tests;
