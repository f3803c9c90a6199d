//! Instants and durations, as people write them.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// The longest duration: a hundred years. More is a slip.
const LONGEST_MS: i64 = 100 * 366 * 24 * 3_600_000;

/// When a step is to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// At this instant, milliseconds since 1970.
    Instant(i64),
    /// So many milliseconds after it was reached.
    After(i64),
    /// The step does not say; a connection must.
    Connected,
}

/// What a state says; or where it is wrong, and why.
pub fn wanted(state: &Value) -> Result<Wanted, (String, String)> {
    let field = |name: &str| match state.get(name) {
        None | Some(Value::Null) => None,
        Some(value) => Some(value),
    };
    let at = |name: &str| {
        let path = format!("/{name}");
        move |text: String| (path, text)
    };
    match (field("until"), field("after")) {
        (None, None) => Ok(Wanted::Connected),
        (Some(_), Some(_)) => Err((
            String::new(),
            "Give either `until` or `after`, not both.".to_owned(),
        )),
        (Some(until), None) => instant(until).map(Wanted::Instant).map_err(at("until")),
        (None, Some(after)) => duration(after).map(Wanted::After).map_err(at("after")),
    }
}

/// Either of the two, as a connection brings it.
pub fn read(value: &Value) -> Result<Wanted, String> {
    if let Ok(at_ms) = instant(value) {
        return Ok(Wanted::Instant(at_ms));
    }
    duration(value).map(Wanted::After).map_err(|_| {
        format!(
            "{value} is neither an instant such as \"2026-01-01T12:00:00Z\" nor a duration such as \"1h 30m\"."
        )
    })
}

/// RFC 3339: with an offset, so that there is one reading of it.
fn instant(value: &Value) -> Result<i64, String> {
    let parsed = value
        .as_str()
        .and_then(|text| text.trim().parse::<Timestamp>().ok());
    parsed.map(Timestamp::as_millisecond).ok_or_else(|| {
        format!("{value} is not an instant with an offset, such as \"2026-01-01T12:00:00Z\".")
    })
}

/// `1h 30m`, `90s`, `PT1H30M`. A day may have 23 hours, so there are none here.
fn duration(value: &Value) -> Result<i64, String> {
    let parsed = value
        .as_str()
        .and_then(|text| text.trim().parse::<SignedDuration>().ok())
        .and_then(|duration| i64::try_from(duration.as_millis()).ok())
        .filter(|ms| (0..=LONGEST_MS).contains(ms));
    parsed.ok_or_else(|| {
        format!("{value} is not a duration in hours, minutes or seconds, such as \"1h 30m\".")
    })
}

/// An instant for people.
pub fn shown(at_ms: i64) -> String {
    Timestamp::from_millisecond(at_ms).map_or_else(|_| at_ms.to_string(), |at| at.to_string())
}
