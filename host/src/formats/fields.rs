//! Reading single fields of a step or workflow, with errors that name the field.

use super::error::{ImportError, shown};
use serde_json::{Map, Value};
use uuid::Uuid;

pub(super) type Object = Map<String, Value>;

pub(super) fn object<'v>(value: &'v Value, what: &str) -> Result<&'v Object, ImportError> {
    let refusal = || ImportError::malformed(format!("{what} should be an object."));
    value.as_object().ok_or_else(refusal)
}

/// A field that is there and is not null.
pub(super) fn given<'v>(map: &'v Object, field: &str) -> Option<&'v Value> {
    map.get(field).filter(|value| !value.is_null())
}

/// Text; a number or boolean, as YAML makes of an unquoted version, is taken as its spelling.
pub(super) fn text(map: &Object, field: &str) -> Result<Option<String>, ImportError> {
    match given(map, field) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(Some(value.to_string())),
        Some(_) => Err(ImportError::invalid(format!("{field} should be text."))),
    }
}

/// [`text`], with the empty text meaning none.
pub(super) fn text_if_any(map: &Object, field: &str) -> Result<Option<String>, ImportError> {
    Ok(text(map, field)?.filter(|text| !text.is_empty()))
}

/// A list of texts, or one text.
pub(super) fn texts(map: &Object, field: &str) -> Result<Vec<String>, ImportError> {
    let refusal = || ImportError::invalid(format!("{field} should be a list of texts."));
    match given(map, field) {
        None => Ok(Vec::new()),
        Some(Value::String(one)) => Ok(vec![one.clone()]),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| match item {
                Value::String(text) => Ok(text.clone()),
                Value::Number(_) | Value::Bool(_) => Ok(item.to_string()),
                _ => Err(refusal()),
            })
            .collect(),
        Some(_) => Err(refusal()),
    }
}

/// A boolean, or the words YAML 1.1 has for one.
pub(super) fn truth(value: &Value) -> Option<bool> {
    let text = match value {
        Value::Bool(truth) => return Some(*truth),
        Value::String(text) => text.to_ascii_lowercase(),
        _ => return None,
    };
    match text.as_str() {
        "true" | "yes" | "on" => Some(true),
        "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// A uuid of any version; old exports write "None" for none.
pub(super) fn uuid(map: &Object, field: &str) -> Result<Option<Uuid>, ImportError> {
    let Some(written) = text_if_any(map, field)?.filter(|text| text != "None") else {
        return Ok(None);
    };
    match Uuid::try_parse(&written) {
        Ok(uuid) => Ok(Some(uuid)),
        Err(_) => Err(ImportError::invalid(format!(
            "{field} {} is not a uuid.",
            shown(&written)
        ))),
    }
}

/// The uuid of a step, which must be random (version 4), as Galaxy demands.
pub(super) fn uuid_v4(map: &Object, field: &str) -> Result<Option<Uuid>, ImportError> {
    match uuid(map, field)? {
        Some(uuid) if uuid.get_version_num() != 4 => Err(ImportError::invalid(format!(
            "{field} {uuid} is not a version 4 uuid."
        ))),
        uuid => Ok(uuid),
    }
}

/// A step number, as an integer or as its decimal text.
pub(super) fn number(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => text.parse().ok(),
        value => value.as_u64(),
    }
}
