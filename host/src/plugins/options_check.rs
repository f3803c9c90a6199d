//! An entry's options, held against the schema that its plugin brings.

use super::config::Entry;
use super::declared::Failure;
use super::fault::{Fault, did_you_mean};
use serde_json::Value;

/// Checks an entry's options against the plugin's own schema.
pub(super) fn check_options(entry: &Entry, schema: &str) -> Result<(), Failure> {
    let line_of = |pointer: &str| {
        let line = entry.config_lines.iter().find(|(at, _)| at == pointer);
        line.map_or(String::new(), |(_, line)| format!(" (line {line})"))
    };
    if schema.is_empty() {
        let is_empty = entry
            .config
            .as_object()
            .is_none_or(serde_json::Map::is_empty);
        if is_empty {
            return Ok(());
        }
        return Err(Failure::Options(vec![Fault::new(
            &entry.place,
            format!("the plugin takes no options{}", line_of("")),
            "Take the config table out.",
        )]));
    }
    let broken = |message: String| {
        let message = format!("the plugin's own schema of its options is broken: {message}");
        Failure::Plugin(Fault::new(
            &entry.place,
            message,
            "Report this to the plugin's author.",
        ))
    };
    let schema: Value = serde_json::from_str(schema).map_err(|error| broken(error.to_string()))?;
    let validator =
        jsonschema::validator_for(&schema).map_err(|error| broken(error.to_string()))?;
    let known: Vec<&str> = schema
        .get("properties")
        .and_then(Value::as_object)
        .map(|properties| properties.keys().map(String::as_str).collect())
        .unwrap_or_default();
    let mut faults = Vec::new();
    for error in validator.iter_errors(&entry.config) {
        let pointer = error.instance_path().as_str().to_owned();
        if let jsonschema::error::ValidationErrorKind::AdditionalProperties { unexpected } =
            error.kind()
        {
            for key in unexpected {
                let line = line_of(&format!("{pointer}/{key}"));
                let hint = did_you_mean(key, known.iter().copied());
                faults.push(Fault::new(
                    &entry.place,
                    format!("the plugin has no option `{key}`{line}{hint}"),
                    format!("Options: {}.", known.join(", ")),
                ));
            }
            continue;
        }
        let option = pointer.trim_start_matches('/').replace('/', ".");
        faults.push(Fault::new(
            &entry.place,
            format!(
                "the option `{option}`{} is wrong: {error}",
                line_of(&pointer)
            ),
            "Correct the value.",
        ));
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(Failure::Options(faults))
    }
}
