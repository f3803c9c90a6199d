//! Post-job actions in format2's short form, on the outputs of a step.

use super::error::ImportError;
use super::fields::{Object, given, object, text_if_any, truth};
use crate::model::workflow::PostJobAction;
use serde_json::{Value, json};
use std::collections::HashSet;

/// What stands for an action in the short form.
#[derive(Clone, Copy, PartialEq)]
enum Short {
    /// `true`; no arguments.
    Flag,
    /// The text of the one argument of this name.
    Text(&'static str),
    /// A list, which the one argument of this name joins with commas.
    List(&'static str),
    /// The arguments as they are.
    Object,
}

const SHORT_FORMS: [(&str, &str, Short); 7] = [
    ("hide", "HideDatasetAction", Short::Flag),
    ("rename", "RenameDatasetAction", Short::Text("newname")),
    (
        "delete_intermediate_datasets",
        "DeleteIntermediatesAction",
        Short::Flag,
    ),
    (
        "change_datatype",
        "ChangeDatatypeAction",
        Short::Text("newtype"),
    ),
    ("set_columns", "ColumnSetAction", Short::Object),
    ("add_tags", "TagDatasetAction", Short::List("tags")),
    ("remove_tags", "RemoveTagDatasetAction", Short::List("tags")),
];

/// Reads `out` (a map, or a list of names and objects).
pub(super) fn from_out(written: Option<&Value>) -> Result<Vec<PostJobAction>, ImportError> {
    let told = |error: ImportError| error.within("out");
    let mut actions = Vec::new();
    match written {
        None => {}
        Some(Value::Object(map)) => {
            for (name, fields) in map {
                if let Some(fields) = fields.as_object() {
                    from_output(name, fields, &mut actions).map_err(told)?;
                }
            }
        }
        Some(Value::Array(list)) => {
            for item in list.iter().filter(|item| !item.is_string()) {
                let fields = object(item, "an output").map_err(told)?;
                let name = text_if_any(fields, "id").map_err(told)?;
                let missing = || told(ImportError::missing("an output has no id."));
                from_output(&name.ok_or_else(missing)?, fields, &mut actions).map_err(told)?;
            }
        }
        Some(Value::String(_)) => {}
        Some(_) => return Err(ImportError::invalid("out should be a map or a list.")),
    }
    Ok(actions)
}

fn from_output(
    output: &str,
    fields: &Object,
    actions: &mut Vec<PostJobAction>,
) -> Result<(), ImportError> {
    for (field, action_type, short) in SHORT_FORMS {
        let Some(value) = given(fields, field) else {
            continue;
        };
        let refusal = |what: &str| ImportError::invalid(format!("{field} should be {what}."));
        let arguments = match short {
            Short::Flag => match truth(value) {
                Some(true) => json!({}),
                Some(false) => continue,
                None => return Err(refusal("true or false")),
            },
            Short::Text(argument) => match text_if_any(fields, field)? {
                Some(text) => json!({ argument: text }),
                None => continue,
            },
            Short::List(argument) => {
                let tags = super::fields::texts(fields, field)?;
                if tags.is_empty() {
                    continue;
                }
                json!({ argument: tags.join(",") })
            }
            Short::Object => match value {
                Value::Object(map) if map.is_empty() => continue,
                Value::Object(_) => value.clone(),
                _ => return Err(refusal("an object")),
            },
        };
        actions.push(PostJobAction {
            action_type: action_type.to_owned(),
            output_name: Some(output.to_owned()),
            action_arguments: arguments,
        });
    }
    Ok(())
}

/// Joins short forms with explicit actions; an explicit one wins over a short one for the same
/// output.
pub(super) fn merge(
    mut short: Vec<PostJobAction>,
    explicit: Vec<PostJobAction>,
) -> Vec<PostJobAction> {
    let keys: HashSet<String> = explicit.iter().map(key).collect();
    short.retain(|action| !keys.contains(&key(action)));
    short.extend(explicit);
    short
}

/// `out`, and what does not fit there as `post_job_actions`; each None when empty.
pub(super) fn to_format2(actions: &[PostJobAction]) -> (Option<Value>, Option<Value>) {
    let mut seen = HashSet::new();
    let mut repeated = HashSet::new();
    for action in actions {
        let key = key(action);
        if !seen.insert(key.clone()) {
            repeated.insert(key);
        }
    }
    let mut out = Object::new();
    let mut explicit = Vec::new();
    for action in actions {
        let short = shorten(action).filter(|_| !repeated.contains(&key(action)));
        match (short, &action.output_name) {
            (Some((field, value)), Some(output)) => {
                let fields = out.entry(output.as_str()).or_insert_with(|| json!({}));
                fields[field] = value;
            }
            _ => explicit.push(action.clone()),
        }
    }
    for fields in out.values_mut().filter_map(Value::as_object_mut) {
        // The order in which they are read back.
        let in_order = SHORT_FORMS
            .iter()
            .filter_map(|(field, ..)| fields.remove_entry(*field));
        *fields = in_order.collect();
    }
    let out = (!out.is_empty()).then_some(Value::Object(out));
    let explicit = (!explicit.is_empty()).then(|| to_native(&explicit));
    (out, explicit)
}

fn shorten(action: &PostJobAction) -> Option<(&'static str, Value)> {
    let (field, _, short) = SHORT_FORMS
        .into_iter()
        .find(|(_, action_type, _)| *action_type == action.action_type)?;
    let arguments = action.action_arguments.as_object()?;
    let only = |argument: &str| {
        let text = arguments.get(argument)?.as_str()?;
        (arguments.len() == 1 && !text.is_empty()).then_some(text)
    };
    let value = match short {
        Short::Flag => arguments.is_empty().then_some(json!(true)),
        Short::Text(argument) => only(argument).map(|text| json!(text)),
        Short::List(argument) => {
            only(argument).map(|text| json!(text.split(',').collect::<Vec<_>>()))
        }
        Short::Object => (!arguments.is_empty()).then(|| action.action_arguments.clone()),
    };
    Some((field, value?))
}

/// The native form: keyed by type and output, with a number added where that is not unique.
pub(super) fn to_native(actions: &[PostJobAction]) -> Value {
    let mut written = Object::new();
    let mut repeats: std::collections::HashMap<String, usize> = std::collections::HashMap::new();
    for action in actions {
        let plain = key(action);
        let mut name = plain.clone();
        while written.contains_key(&name) {
            let count = repeats.entry(plain.clone()).or_insert(1);
            *count += 1;
            name = format!("{plain}_{count}");
        }
        let fields = json!({
            "action_type": action.action_type,
            "output_name": action.output_name,
            "action_arguments": action.action_arguments,
        });
        written.insert(name, fields);
    }
    Value::Object(written)
}

fn key(action: &PostJobAction) -> String {
    let output = action.output_name.as_deref().unwrap_or("");
    format!("{}{output}", action.action_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(action_type: &str, output: &str, arguments: Value) -> PostJobAction {
        PostJobAction {
            action_type: action_type.to_owned(),
            output_name: Some(output.to_owned()),
            action_arguments: arguments,
        }
    }

    #[test]
    fn every_short_form_stands_for_its_action() {
        let out = json!({
            "o": {"hide": true, "rename": "x", "delete_intermediate_datasets": "yes",
                  "change_datatype": "txt", "set_columns": {"c": 1}, "add_tags": ["a", "b"],
                  "remove_tags": "c"},
            "p": {"hide": false, "rename": null, "add_tags": []},
            "q": null,
        });
        let actions = from_out(Some(&out)).unwrap();
        let expected = [
            action("HideDatasetAction", "o", json!({})),
            action("RenameDatasetAction", "o", json!({"newname": "x"})),
            action("DeleteIntermediatesAction", "o", json!({})),
            action("ChangeDatatypeAction", "o", json!({"newtype": "txt"})),
            action("ColumnSetAction", "o", json!({"c": 1})),
            action("TagDatasetAction", "o", json!({"tags": "a,b"})),
            action("RemoveTagDatasetAction", "o", json!({"tags": "c"})),
        ];
        assert_eq!(actions, expected);
        let (short, explicit) = to_format2(&actions);
        assert_eq!(explicit, None);
        assert_eq!(from_out(short.as_ref()).unwrap(), expected);
    }

    #[test]
    fn an_action_the_short_form_would_change_stays_explicit() {
        let odd = [
            action("HideDatasetAction", "o", json!({"x": 1})),
            action("RenameDatasetAction", "o", json!({"newname": ""})),
            action("EmailAction", "o", json!({"host": "h"})),
            action("TagDatasetAction", "o", json!({"tags": "a"})),
            action("TagDatasetAction", "o", json!({"tags": "b"})),
        ];
        let (short, explicit) = to_format2(&odd);
        assert_eq!(short, None);
        let written = json!({"post_job_actions": explicit});
        let read = super::super::native::post_job_actions(written.as_object().unwrap());
        assert_eq!(read.unwrap(), odd);
    }

    #[test]
    fn an_explicit_action_wins_over_the_short_form_for_the_same_output() {
        let short = vec![
            action("RenameDatasetAction", "o", json!({"newname": "short"})),
            action("HideDatasetAction", "o", json!({})),
        ];
        let explicit = action("RenameDatasetAction", "o", json!({"newname": "explicit"}));
        let merged = merge(short, vec![explicit.clone()]);
        assert_eq!(
            merged,
            [action("HideDatasetAction", "o", json!({})), explicit]
        );
    }

    #[test]
    fn out_may_list_bare_names() {
        let out = json!(["a", {"id": "b", "hide": true}]);
        let actions = from_out(Some(&out)).unwrap();
        assert_eq!(actions, [action("HideDatasetAction", "b", json!({}))]);
        assert!(from_out(Some(&json!([{"hide": true}]))).is_err());
    }
}
