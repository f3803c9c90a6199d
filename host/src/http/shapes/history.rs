//! A history.

use serde_json::{Map, Value, json};

use super::{nice_size, tags};
use crate::http::App;
use crate::http::time::iso;
use crate::model::state::DatasetState;
use crate::store::histories::{Census, History};

/// The line of a list.
pub fn history_summary(app: &App, history: &History) -> Value {
    let id = app.encode(history.id);
    json!({
        "model_class": "History",
        "url": format!("/api/histories/{id}"),
        "id": id,
        "name": history.name,
        "deleted": history.deleted,
        "purged": history.purged,
        "archived": history.archived,
        "count": history.hid_counter - 1,
        "published": history.published,
        "annotation": history.annotation,
        "tags": tags(&history.tags),
        "update_time": iso(history.update_time),
        "preferred_object_store_id": history.preferred_object_store_id,
    })
}

/// The whole, from one grouped look at what is in it.
pub fn history_detailed(app: &App, history: &History, census: &Census) -> Value {
    let mut shape = history_summary(app, history);
    let id = app.encode(history.id);
    let mut details = Map::new();
    let mut ids = Map::new();
    for state in DatasetState::ALL {
        let in_state = census.states.get(state.code()).into_iter().flatten();
        let in_state: Vec<Value> = in_state.map(|hda| app.encode(*hda).into()).collect();
        details.insert(state.code().to_owned(), json!(in_state.len()));
        ids.insert(state.code().to_owned(), Value::Array(in_state));
    }
    let more = json!({
        "contents_url": format!("/api/histories/{id}/contents"),
        "empty": history.hid_counter <= 1,
        "size": census.size,
        "nice_size": nice_size(census.size),
        "user_id": app.encode(history.user_id),
        "create_time": iso(history.create_time),
        "importable": history.importable,
        "slug": history.slug,
        "username": history.username,
        "username_and_slug": history.slug.as_ref().map(|s| format!("u/{}/h/{s}", history.username)),
        "genome_build": history.genome_build,
        "state": history_state(census),
        "state_details": details,
        "state_ids": ids,
        "hid_counter": history.hid_counter,
        "contents_active": { "active": census.states.values().map(Vec::len).sum::<usize>() },
        "contents_states": census_counts(census),
    });
    if let (Value::Object(shape), Value::Object(more)) = (&mut shape, more) {
        shape.extend(more);
    }
    shape
}

/// Running while anything is still to come; then error if anything failed; new while there is nothing.
pub fn history_state(census: &Census) -> &'static str {
    let states = || {
        census
            .states
            .iter()
            .filter(|(_, ids)| !ids.is_empty())
            .filter_map(|(s, _)| s.parse::<DatasetState>().ok())
    };
    if census.states.is_empty() {
        "new"
    } else if states().any(DatasetState::is_pending) {
        "running"
    } else if states().any(|s| matches!(s, DatasetState::Error | DatasetState::FailedMetadata)) {
        "error"
    } else if states().any(|s| s == DatasetState::Paused) {
        "paused"
    } else {
        "ok"
    }
}

fn census_counts(census: &Census) -> Value {
    let counts = census.states.iter();
    counts
        .map(|(state, ids)| (state.clone(), json!(ids.len())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(states: &[&str], expected: &str) {
        let states = states.iter().map(|s| ((*s).to_owned(), vec![1])).collect();
        assert_eq!(history_state(&Census { states, size: 0 }), expected);
    }

    #[test]
    fn a_history_is_as_its_least_finished_dataset() {
        check(&[], "new");
        check(&["ok", "empty", "discarded"], "ok");
        check(&["ok", "error"], "error");
        check(&["error", "queued"], "running");
        check(&["ok", "paused"], "paused");
    }
}
