//! Whether a value suits a `parameter_input` step (Galaxy's InputParameterModule: parameter types, validators,
//! restrictions).

use serde_json::Value;

/// Checks a value against the step's state; the error is one sentence.
pub fn check(state: &Value, value: &Value) -> Result<(), String> {
    let optional = state
        .get("optional")
        .is_some_and(|o| o == &Value::Bool(true) || o == "true");
    if value.is_null() {
        return match optional {
            true => Ok(()),
            false => Err("A value is required.".into()),
        };
    }
    let multiple = state.get("multiple") == Some(&Value::Bool(true));
    match (value, multiple) {
        (Value::Array(items), true) => items.iter().try_for_each(|item| check_one(state, item)),
        (_, _) => check_one(state, value),
    }
}

fn check_one(state: &Value, value: &Value) -> Result<(), String> {
    let kind = state
        .get("parameter_type")
        .and_then(Value::as_str)
        .unwrap_or("text");
    match kind {
        "integer" if !is_integer(value) => return Err(format!("{value} is not an integer.")),
        "float" if number(value).is_none() => return Err(format!("{value} is not a number.")),
        "boolean" if !is_boolean(value) => return Err(format!("{value} is not a boolean.")),
        "color" if !is_color(value) => {
            return Err(format!("{value} is not a colour such as #aabbcc."));
        }
        "text" | "directory_uri" if value.is_object() || value.is_array() => {
            return Err("A text is needed here.".into());
        }
        _ => {}
    }
    restrictions(state, value)?;
    for validator in state
        .get("validators")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        validate(validator, value)?;
    }
    for (key, low) in [("min", true), ("max", false)] {
        if let (Some(bound), Some(found)) = (state.get(key).and_then(Value::as_f64), number(value))
            && ((low && found < bound) || (!low && found > bound))
        {
            let than = if low { "at least" } else { "at most" };
            return Err(format!("{value} must be {than} {bound}."));
        }
    }
    Ok(())
}

fn restrictions(state: &Value, value: &Value) -> Result<(), String> {
    let Some(allowed) = state
        .get("restrictions")
        .and_then(Value::as_array)
        .filter(|a| !a.is_empty())
    else {
        return Ok(());
    };
    let named = |option: &Value| {
        option
            .get("value")
            .cloned()
            .unwrap_or_else(|| option.clone())
    };
    match allowed
        .iter()
        .any(|option| text(&named(option)) == text(value))
    {
        true => Ok(()),
        false => {
            let options: Vec<String> = allowed.iter().map(|o| text(&named(o))).collect();
            Err(format!("{value} is not one of {}.", options.join(", ")))
        }
    }
}

fn validate(validator: &Value, value: &Value) -> Result<(), String> {
    let negate = validator.get("negate") == Some(&Value::Bool(true));
    let holds = match validator.get("type").and_then(Value::as_str) {
        Some("regex") => {
            let pattern = validator
                .get("expression")
                .and_then(Value::as_str)
                .unwrap_or_default();
            // Galaxy matches at the beginning of the text.
            let compiled = regex::RegexBuilder::new(&format!("^(?:{pattern})"))
                .size_limit(1 << 20)
                .build();
            compiled
                .map_err(|_| format!("The step's regular expression {pattern:?} is not valid."))?
                .is_match(&text(value))
        }
        Some("in_range") => {
            let bound = |key: &str| validator.get(key).and_then(number);
            let Some(found) = number(value) else {
                return Err(format!("{value} is not a number."));
            };
            bound("min").is_none_or(|min| found >= min)
                && bound("max").is_none_or(|max| found <= max)
        }
        Some("length") => {
            let bound = |key: &str| validator.get(key).and_then(number);
            let count = text(value).chars().count() as f64;
            bound("min").is_none_or(|min| count >= min)
                && bound("max").is_none_or(|max| count <= max)
        }
        Some("empty_field") => !text(value).is_empty(),
        _ => return Ok(()),
    };
    if holds != negate {
        return Ok(());
    }
    let message = validator
        .get("message")
        .and_then(Value::as_str)
        .filter(|m| !m.is_empty());
    Err(message.map_or_else(
        || format!("{value} does not satisfy the step's conditions."),
        str::to_owned,
    ))
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(n) => n.as_f64(),
        Value::String(text) => text.trim().parse().ok().filter(|n: &f64| n.is_finite()),
        _ => None,
    }
}

fn is_integer(value: &Value) -> bool {
    match value {
        Value::Number(n) => n.is_i64() || n.is_u64(),
        Value::String(text) => text.trim().parse::<i64>().is_ok(),
        _ => false,
    }
}

fn is_boolean(value: &Value) -> bool {
    match value {
        Value::Bool(_) => true,
        Value::String(text) => matches!(text.to_ascii_lowercase().as_str(), "true" | "false"),
        _ => false,
    }
}

fn is_color(value: &Value) -> bool {
    let digits = value
        .as_str()
        .and_then(|t| t.strip_prefix('#'))
        .unwrap_or_default();
    digits.len() == 6 && digits.chars().all(|c| c.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_suit_their_type() {
        let cases = [
            (json!({"parameter_type": "integer"}), json!(3), true),
            (json!({"parameter_type": "integer"}), json!("3"), true),
            (json!({"parameter_type": "integer"}), json!(3.5), false),
            (json!({"parameter_type": "integer"}), json!("three"), false),
            (json!({"parameter_type": "float"}), json!(3), true),
            (json!({"parameter_type": "boolean"}), json!("True"), true),
            (json!({"parameter_type": "boolean"}), json!(1), false),
            (json!({"parameter_type": "color"}), json!("#aabbcc"), true),
            (json!({"parameter_type": "text"}), json!({"a": 1}), false),
            (json!({"parameter_type": "text"}), json!(null), false),
            (
                json!({"parameter_type": "text", "optional": true}),
                json!(null),
                true,
            ),
            (
                json!({"parameter_type": "text", "restrictions": ["a", "b"]}),
                json!("c"),
                false,
            ),
            (
                json!({"parameter_type": "text", "multiple": true, "restrictions": ["a", "b"]}),
                json!(["a", "b"]),
                true,
            ),
            (
                json!({"parameter_type": "integer", "validators": [{"type": "in_range", "min": 1, "max": 5}]}),
                json!(6),
                false,
            ),
            (
                json!({"parameter_type": "text", "validators": [{"type": "regex", "expression": "[a-z]+$"}]}),
                json!("abc"),
                true,
            ),
            (
                json!({"parameter_type": "text", "validators": [{"type": "regex", "expression": "[a-z]+$"}]}),
                json!("a1"),
                false,
            ),
        ];
        for (state, value, good) in cases {
            assert_eq!(check(&state, &value).is_ok(), good, "{state} {value}");
        }
    }

    #[test]
    fn a_validators_own_message_is_told() {
        let state =
            json!({"validators": [{"type": "regex", "expression": "x", "message": "must be x"}]});
        assert_eq!(check(&state, &json!("y")), Err("must be x".into()));
    }
}
