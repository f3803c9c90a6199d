//! Conditional steps (Galaxy's evaluate_value_from_expressions): what a `when` expression sees, and what its result means.

use serde_json::{Map, Value, json};

use super::known::{ElementObject, Known, StepValue};
use super::mapping::Slice;
use super::stop::{Stop, Wait};
use crate::model::message::{InvocationMessage, reason};
use crate::model::state::DatasetState;
use crate::tools::expression::{AWAY_CODE, AWAY_TEXT, evaluate_when};

/// One input as the expression sees it. Datasets must be there; their content is read only for `expression.json`.
pub fn input_value(value: &StepValue, known: &Known, workflow_step_id: i64) -> Result<Value, Stop> {
    match value {
        StepValue::Json(value) => Ok(value.clone()),
        StepValue::NoReplacement => Ok(Value::Null),
        StepValue::Hda(id) => hda_value(*id, known, workflow_step_id),
        StepValue::Hdca(id) => match known.hdcas.get(id) {
            Some(hdca) => collection_value(&hdca.collection, known, workflow_step_id),
            None => Ok(Value::Null),
        },
    }
}

/// The same for one slice of a mapped input.
pub fn slice_value(slice: &Slice<'_>, known: &Known, workflow_step_id: i64) -> Result<Value, Stop> {
    match slice {
        Slice::Hda { id, .. } => hda_value(*id, known, workflow_step_id),
        Slice::Element { collection, .. } => collection_value(collection, known, workflow_step_id),
    }
}

/// The same for a collection: lists become arrays, others objects by identifier.
pub fn collection_value(
    collection: &super::known::Collection,
    known: &Known,
    workflow_step_id: i64,
) -> Result<Value, Stop> {
    let is_list = collection.collection_type.starts_with("list");
    let mut listed = Vec::new();
    let mut named = Map::new();
    for element in &collection.elements {
        let value = match &element.object {
            ElementObject::Hda(id) => hda_value(*id, known, workflow_step_id)?,
            ElementObject::Collection(child) => collection_value(child, known, workflow_step_id)?,
        };
        match is_list {
            true => listed.push(value),
            false => drop(named.insert(element.identifier.clone(), value)),
        }
    }
    Ok(if is_list {
        Value::Array(listed)
    } else {
        Value::Object(named)
    })
}

fn hda_value(id: i64, known: &Known, workflow_step_id: i64) -> Result<Value, Stop> {
    let failed = || {
        Stop::fail(InvocationMessage {
            reason: reason::DATASET_FAILED,
            workflow_step_id: Some(workflow_step_id),
            hda_id: Some(id),
            ..Default::default()
        })
    };
    let hda = known.hdas.get(&id).ok_or_else(failed)?;
    if hda.state.is_pending() {
        return Err(Stop::delayed(
            "a dataset in the condition is not there yet",
            Wait::Dataset(hda.dataset_id),
        ));
    }
    if hda.state != DatasetState::Ok || hda.purged {
        return Err(failed());
    }
    if hda.extension == "expression.json" {
        return super::resolve::content(known, id, workflow_step_id);
    }
    let (root, ext) = hda.name.rsplit_once('.').unwrap_or((&hda.name, ""));
    Ok(json!({
        "class": "File",
        "location": format!("step_input://{id}"),
        "format": hda.extension,
        "basename": hda.name,
        "nameroot": root,
        "nameext": if ext.is_empty() { String::new() } else { format!(".{ext}") },
    }))
}

/// Whether the step, or one slice of it, is to run.
pub fn decide(expression: &str, inputs: &Value, workflow_step_id: i64) -> Result<bool, Stop> {
    let fail = |reason, details| {
        Err(Stop::fail(InvocationMessage {
            reason,
            workflow_step_id: Some(workflow_step_id),
            details,
            ..Default::default()
        }))
    };
    match evaluate_when(expression, inputs) {
        Ok(Value::Bool(run)) => Ok(run),
        Ok(other) => {
            let found = match other {
                Value::Null => "null",
                Value::Number(_) => "number",
                Value::String(_) => "string",
                Value::Array(_) => "array",
                _ => "object",
            };
            fail(reason::WHEN_NOT_BOOLEAN, Some(format!("Type is: {found}")))
        }
        Err(error) if error.is_passing() => Err(Stop::Lacking {
            code: AWAY_CODE,
            why: AWAY_TEXT,
        }),
        Err(error) => fail(
            reason::EXPRESSION_EVALUATION_FAILED,
            Some(error.to_string()),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::javascript::testing::without_engine;

    #[test]
    fn a_condition_that_no_engine_evaluates_fails_nothing() {
        let inputs = json!({"when": true, "n": 3});
        let decided = |condition: &str| without_engine(|| decide(condition, &inputs, 7));
        assert_eq!(decided("$(inputs.when)"), Ok(true), "no script");
        let stop = decided("$(inputs.n > 2)");
        assert!(
            matches!(stop, Err(Stop::Lacking { code, .. }) if code == "javascript_away"),
            "{stop:?}"
        );
        let faulty = decide("$(nothing)", &inputs, 7);
        assert!(matches!(faulty, Err(Stop::Fail(_))), "{faulty:?}");
    }
}
