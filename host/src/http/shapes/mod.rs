//! The JSON that clients read, built by hand from stored values and reused by every handler that shows them.

mod collection;
mod dataset;
mod history;
mod user;

pub use collection::{element, hdca_detailed, hdca_summary, load_hdca, load_hdca_summaries};
pub use dataset::{hda_detailed, hda_summary};
pub use history::{history_detailed, history_state, history_summary};
pub use user::user;

use serde_json::{Map, Value};

/// Only the keys asked for; all of them if none are.
pub fn only(shape: Value, keys: &[String]) -> Value {
    match shape {
        Value::Object(map) if !keys.is_empty() => Value::Object(
            map.into_iter()
                .filter(|(key, _)| keys.contains(key))
                .collect::<Map<_, _>>(),
        ),
        other => other,
    }
}

/// A list of tags, whatever is stored.
fn tags(stored: &Value) -> Value {
    match stored {
        Value::Array(_) => stored.clone(),
        _ => Value::Array(Vec::new()),
    }
}

/// `1.5 KB`: a size as people read it.
pub fn nice_size(bytes: i64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KB", "MB", "GB", "TB"];
    let mut size = bytes.max(0) as f64;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} bytes"),
        _ => format!("{size:.1} {}", UNITS[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_the_keys_asked_for_are_shown() {
        let shape = json!({"id": "a", "name": "b"});
        assert_eq!(
            only(shape.clone(), &["id".into(), "nothing".into()]),
            json!({"id": "a"})
        );
        assert_eq!(only(shape.clone(), &[]), shape);
    }

    #[test]
    fn sizes_are_written_for_people() {
        assert_eq!(nice_size(12), "12 bytes");
        assert_eq!(nice_size(1536), "1.5 KB");
        assert_eq!(nice_size(3 << 30), "3.0 GB");
    }
}
