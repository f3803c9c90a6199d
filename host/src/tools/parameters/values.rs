//! Single values: read from the forms in which clients send them, checked against their input.

use serde_json::{Value, json};

use super::super::model::{Check, Input, InputKind, SelectOption, Validator};
use super::normalise::default_value;

/// A value of a parameter that is not data, in the type that its input has.
pub(super) fn plain(input: &Input, value: &Value) -> Result<Value, String> {
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

/// What a validator says about a value.
pub(super) fn check(validator: &Validator, value: &Value) -> Result<(), String> {
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
