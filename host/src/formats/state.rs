//! A step's state between its forms: JSON text, JSON text within JSON text, plain values.

use super::error::ImportError;
use super::fields::Object;
use serde_json::Value;

/// Bookkeeping of Galaxy's web forms that says nothing about the step.
pub(super) const IGNORABLE: [&str; 2] = ["__page__", "__rerun_remap_job_id__"];

/// Decodes `tool_state`: an object, its JSON text, or nothing.
///
/// Files from before 2019 hold every value as JSON text again. That is undone when all values
/// are text, all of it is JSON, and some of it could hardly be meant as text (quotes, braces,
/// brackets, null); a lone `"3"` therefore stays text. Markers (`{"__class__": …}`) are always
/// undone.
pub(super) fn decode(written: Option<&Value>) -> Result<Object, ImportError> {
    let mut state = match written {
        None | Some(Value::Null) => Object::new(),
        Some(Value::Object(state)) => state.clone(),
        Some(Value::String(text)) if text.trim().is_empty() => Object::new(),
        Some(Value::String(text)) => match serde_json::from_str(text) {
            Ok(Value::Object(state)) => state,
            Ok(Value::Null) => Object::new(),
            Ok(_) => return Err(ImportError::parameter("tool_state should hold an object.")),
            Err(error) => {
                let message = format!("tool_state is not readable JSON: {error}.");
                return Err(ImportError::parameter(message));
            }
        },
        Some(_) => {
            let message = "tool_state should be JSON text or an object.";
            return Err(ImportError::parameter(message));
        }
    };
    match decode_each(&state) {
        Some(decoded) => {
            for (key, value) in decoded {
                state.insert(key, value);
            }
        }
        None => state.values_mut().for_each(decode_marker),
    }
    Ok(state)
}

/// The decoded values, if this is a state with every value as JSON text.
fn decode_each(state: &Object) -> Option<Vec<(String, Value)>> {
    let mut decoded = Vec::with_capacity(state.len());
    let mut unmistakable = false;
    for (key, value) in state {
        if IGNORABLE.contains(&key.as_str()) {
            continue;
        }
        let text = value.as_str()?;
        decoded.push((key.clone(), serde_json::from_str(text).ok()?));
        let start = text.trim_start();
        unmistakable |= start.starts_with(['"', '{', '[']) || start.trim_end() == "null";
    }
    unmistakable.then_some(decoded)
}

fn decode_marker(value: &mut Value) {
    if let Value::String(text) = value
        && text.starts_with("{\"__class__\"")
        && let Ok(marker) = serde_json::from_str(text)
    {
        *value = marker;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(written: Value, expected: Value) {
        assert_eq!(decode(Some(&written)).map(Value::Object), Ok(expected));
    }

    #[test]
    fn a_state_is_read_from_text_or_object() {
        check(json!("{\"a\": 1}"), json!({"a": 1}));
        check(json!({"a": 1}), json!({"a": 1}));
        check(json!("null"), json!({}));
        check(json!(""), json!({}));
        assert!(decode(None).unwrap().is_empty());
    }

    #[test]
    fn values_that_are_json_text_are_decoded_all_or_none() {
        check(
            json!({"__page__": 0, "n": "\"1\"", "c": "{\"x\": {\"y\": 1}}", "i": "null"}),
            json!({"__page__": 0, "n": "1", "c": {"x": {"y": 1}}, "i": null}),
        );
        check(
            json!({"n": "\"1\"", "t": "text"}),
            json!({"n": "\"1\"", "t": "text"}),
        );
        check(
            json!({"n": "\"1\"", "t": true}),
            json!({"n": "\"1\"", "t": true}),
        );
        check(
            json!({"n": "3", "t": "true"}),
            json!({"n": "3", "t": "true"}),
        );
    }

    #[test]
    fn markers_are_decoded_wherever_they_are_text() {
        let marker = json!({"__class__": "RuntimeValue"});
        check(
            json!({"i": "{\"__class__\": \"RuntimeValue\"}", "t": "text"}),
            json!({"i": marker, "t": "text"}),
        );
    }

    #[test]
    fn a_state_that_is_no_object_is_refused() {
        for written in [json!("[1]"), json!("{"), json!(7), json!([1])] {
            assert_eq!(decode(Some(&written)).unwrap_err().code.err_code(), 400_008);
        }
    }
}
