//! Post-job actions that come with a request instead of the workflow (Galaxy's `__POST_JOB_ACTIONS__`): among the overrides
//! of a step they are a group by that name, in the stored state they are below `__STEP_META_STATE__`.

use serde_json::{Map, Value, json};

use super::workflow::PostJobAction;

/// The name among a step's overrides.
pub const RUNTIME_POST_JOB_ACTIONS: &str = "__POST_JOB_ACTIONS__";
/// Where they are kept in a step's stored state.
const STEP_META_STATE: &str = "__STEP_META_STATE__";
/// More of them than this are refused.
const ACTIONS_MAX: usize = 100;

/// Reads what a request says; the error is a sentence.
pub fn read(given: &Value) -> Result<Vec<PostJobAction>, String> {
    let parsed;
    let given = match given {
        Value::String(text) => {
            parsed = serde_json::from_str(text).unwrap_or(Value::Null);
            &parsed
        }
        other => other,
    };
    let actions: Vec<&Value> = match given {
        Value::Object(by_key) => by_key.values().collect(),
        Value::Array(list) => list.iter().collect(),
        _ => return Err("post-job actions are an object of objects".to_owned()),
    };
    if actions.len() > ACTIONS_MAX {
        return Err(format!(
            "at most {ACTIONS_MAX} post-job actions can be given"
        ));
    }
    let read = actions.into_iter().map(|action| {
        let text = |key: &str| action.get(key).and_then(Value::as_str).map(str::to_owned);
        Ok(PostJobAction {
            action_type: text("action_type").ok_or("a post-job action needs an action_type")?,
            output_name: text("output_name"),
            action_arguments: action
                .get("action_arguments")
                .cloned()
                .unwrap_or(Value::Null),
        })
    });
    read.collect()
}

/// Puts them into a step's state.
pub fn put(state: &mut Value, actions: &[PostJobAction]) {
    let Value::Object(state) = state else { return };
    let list = actions.iter().map(|action| {
        json!({
            "action_type": action.action_type,
            "output_name": action.output_name,
            "action_arguments": action.action_arguments,
        })
    });
    let list: Vec<Value> = list.collect();
    state.insert(
        STEP_META_STATE.to_owned(),
        json!({ RUNTIME_POST_JOB_ACTIONS: list }),
    );
}

/// Those in a step's state, to be given their database ids under `id`.
pub fn kept_mut(state: &mut Value) -> impl Iterator<Item = &mut Map<String, Value>> {
    let list = state
        .get_mut(STEP_META_STATE)
        .and_then(|meta| meta.get_mut(RUNTIME_POST_JOB_ACTIONS))
        .and_then(Value::as_array_mut);
    list.into_iter().flatten().filter_map(Value::as_object_mut)
}

/// Whether a step's state has any.
pub fn any(state: &Value) -> bool {
    state.get(STEP_META_STATE).is_some()
}

/// Those in a step's stored state, with their database ids.
pub fn kept(state: &Value) -> Vec<(i64, PostJobAction)> {
    let list = state
        .get(STEP_META_STATE)
        .and_then(|meta| meta.get(RUNTIME_POST_JOB_ACTIONS));
    let list = list.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(|action| {
        let text = |key: &str| action.get(key)?.as_str().map(str::to_owned);
        let made = PostJobAction {
            action_type: text("action_type")?,
            output_name: text("output_name"),
            action_arguments: action["action_arguments"].clone(),
        };
        Some((action.get("id")?.as_i64()?, made))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_of_a_request_are_kept_in_the_state() {
        let given = json!({"RenameDatasetActionout": {"action_type": "RenameDatasetAction",
            "output_name": "out", "action_arguments": {"newname": "n"}}, "hide": {"action_type": "HideDatasetAction"}});
        let mut state = json!({"input": null});
        put(&mut state, &read(&given).expect("good"));
        assert!(
            kept(&state).is_empty(),
            "without an id there is no row to link"
        );
        for (n, action) in kept_mut(&mut state).enumerate() {
            action.insert("id".to_owned(), json!(n + 7));
        }
        let kept = kept(&state);
        assert_eq!(kept.len(), 2);
        assert_eq!(
            (kept[0].0, kept[0].1.action_arguments["newname"].as_str()),
            (7, Some("n"))
        );
        assert_eq!(kept[1].1.output_name, None);
    }

    #[test]
    fn what_is_no_action_is_refused() {
        for bad in [json!(3), json!("no json"), json!([{}]), json!({"a": 1})] {
            assert!(read(&bad).is_err(), "{bad}");
        }
    }
}
