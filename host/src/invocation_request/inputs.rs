//! Which step a key of `inputs` means, and what its value is.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value};

use super::{Reference, RequestError, Src};
use crate::model::revision::Revision;
use crate::model::workflow::WorkflowDescription;

/// What the keys of `inputs` mean.
#[derive(Debug, Default)]
pub struct Matched<'a> {
    /// The values by order_index. If several keys mean one step the last wins.
    pub values: BTreeMap<usize, Value>,
    /// Keys that mean no input step.
    pub unknown: Vec<&'a str>,
}

/// Finds the input step that each key means.
pub fn match_keys<'a>(
    revision: &Revision,
    inputs: &'a Map<String, Value>,
    inputs_by: &[By],
    decode: &(dyn Fn(&str) -> Option<i64> + Sync),
) -> Matched<'a> {
    let keys = Keys::of(&revision.description);
    let mut matched = Matched::default();
    for (key, value) in inputs {
        let found = inputs_by.iter().find_map(|by| match by {
            By::StepIndex => keys.index(key),
            By::StepUuid => keys.uuids.get(&key.to_ascii_lowercase()).copied(),
            By::Name => keys.names.get(key.as_str()).copied(),
            By::StepId => decode(key).and_then(|id| revision.order_index_of(id)),
        });
        match found {
            Some(index) => drop(matched.values.insert(index, value.clone())),
            None => matched.unknown.push(key),
        }
    }
    matched
}

/// A meaning of the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    StepId,
    StepIndex,
    StepUuid,
    Name,
}

impl By {
    fn word(self) -> &'static str {
        match self {
            By::StepId => "step_id",
            By::StepIndex => "step_index",
            By::StepUuid => "step_uuid",
            By::Name => "name",
        }
    }
}

/// The meanings as `inputs_by` has them, each once.
pub fn words(by: &[By]) -> String {
    let mut words: Vec<&str> = Vec::new();
    for word in by.iter().map(|by| by.word()) {
        if !words.contains(&word) {
            words.push(word);
        }
    }
    words.join("|")
}

/// What `inputs_by` is if nobody says.
pub fn by_default(is_ds_map: bool) -> &'static str {
    match is_ds_map {
        true => "step_id|step_index|step_uuid",
        false => "step_index|step_uuid",
    }
}

/// Reads `inputs_by`: words joined by `|`.
pub fn parse_by(text: Option<&str>, is_ds_map: bool) -> Result<Vec<By>, RequestError> {
    let text = match text {
        Some(text) if !text.trim().is_empty() => text,
        _ => by_default(is_ds_map),
    };
    text.split('|')
        .map(|word| match word.trim() {
            "step_id" => Ok(By::StepId),
            "step_index" => Ok(By::StepIndex),
            "step_uuid" => Ok(By::StepUuid),
            "name" => Ok(By::Name),
            other => Err(RequestError::invalid(format!(
                "inputs_by does not know {other:?}; it takes step_id, step_index, step_uuid and name, joined by |."
            ))),
        })
        .collect()
}

struct Keys<'a> {
    inputs: Vec<bool>,
    uuids: HashMap<String, usize>,
    names: HashMap<&'a str, usize>,
}

impl<'a> Keys<'a> {
    fn of(description: &'a WorkflowDescription) -> Keys<'a> {
        let mut keys = Keys {
            inputs: Vec::with_capacity(description.steps.len()),
            uuids: HashMap::new(),
            names: HashMap::new(),
        };
        for (index, step) in description.steps.iter().enumerate() {
            keys.inputs.push(step.is_input_step());
            if !step.is_input_step() {
                continue;
            }
            if let Some(uuid) = step.uuid {
                keys.uuids.insert(uuid.to_string(), index);
            }
            if let Some(name) = step.effective_label() {
                keys.names.entry(name).or_insert(index);
            }
        }
        keys
    }

    fn index(&self, key: &str) -> Option<usize> {
        let index: usize = key.trim().parse().ok()?;
        self.inputs
            .get(index)
            .copied()
            .unwrap_or(false)
            .then_some(index)
    }
}

/// The dataset or collection that a value names. None when it is not of that form.
pub fn reference(value: &Value) -> Option<Result<Reference, RequestError>> {
    let object = value.as_object()?;
    if let Some(Value::String(class)) = object.get("class") {
        return Some(Err(RequestError::invalid(format!(
            "An object of class {class} may be given to an input of the workflow, not here; upload the data first."
        ))));
    }
    let src = object.get("src")?;
    let src = match src.as_str() {
        Some("hda") => Src::Hda,
        Some("hdca") => Src::Hdca,
        Some("dce") => Src::Dce,
        Some("ldda" | "ld") => {
            return Some(Err(RequestError::invalid(
                "This server has no data libraries to take an input from.",
            )));
        }
        Some("url") => {
            return Some(Err(RequestError::invalid(
                "A URL may be given to an input of the workflow, not here; upload the data first.",
            )));
        }
        _ => {
            return Some(Err(RequestError::invalid(format!(
                "Unknown input source {src}; use hda or hdca."
            ))));
        }
    };
    Some(match object.get("id") {
        Some(Value::String(id)) => Ok(Reference {
            src,
            id: id.clone(),
        }),
        _ => Err(RequestError::invalid(format!(
            "An input with src {} needs an id.",
            src.code()
        ))),
    })
}
