//! The step type `pick_value`: hands on the first of several values that is there, the only one, or all of them. It
//! makes no job. Mapped over collections, it picks for each place.

use std::collections::HashMap;

use serde_json::Value;

use super::known::{Collection, ElementObject, Hdca, Hid, Known, Populated, StepValue};
use super::mapping::{self, Branch, MappedInput, Slice};
use super::post_job_actions;
use super::progress::{Progress, effective_replacements};
use super::resolve::{self, Use};
use super::stop::Stop;
use super::tool_run::{New, new_hda, push_element};
use super::writes::{NewCollection, NewHda, NewHdca, NewIds, Writes};
use crate::model::message::{InvocationMessage, reason};
use crate::model::state::DatasetState;
use crate::model::workflow::StepDescription;

/// What to do with the values that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    FirstNonNull,
    FirstOrSkip,
    TheOnlyNonNull,
    AllNonNull,
}

/// What one place comes to.
#[derive(Debug, Clone, PartialEq)]
enum Picked {
    Value(StepValue),
    Skip,
    All(Vec<StepValue>),
}

/// Carries the step out. Nothing is added to `writes` unless it succeeds.
pub(super) fn execute(
    progress: &mut Progress,
    step: &StepDescription,
    step_id: i64,
    ids: &dyn NewIds,
    writes: &mut Writes,
) -> Result<HashMap<String, StepValue>, Stop> {
    let mode = match step.tool_inputs["mode"].as_str() {
        None | Some("" | "first_non_null") => Mode::FirstNonNull,
        Some("first_or_skip") => Mode::FirstOrSkip,
        Some("the_only_non_null") => Mode::TheOnlyNonNull,
        Some("all_non_null") => Mode::AllNonNull,
        Some(other) => {
            let text = format!("pick_value has no mode {other:?}");
            return Err(Stop::invalid_parameter(step_id, text));
        }
    };
    let values = inputs(progress, step)?;
    let known = &progress.known;
    let is_mapped = values.iter().any(|v| matches!(v, StepValue::Hdca(_)));
    let value = match is_mapped {
        false => {
            let picked = pick(mode, &values, known, progress.force_skip)
                .map_err(|text| failed(step_id, text))?;
            single(progress, step, picked, ids, writes)
        }
        true => mapped(progress, step, step_id, mode, &values, ids, writes)?,
    };
    Ok(HashMap::from([("output".to_owned(), value)]))
}

fn failed(step_id: i64, text: String) -> Stop {
    Stop::fail(InvocationMessage {
        reason: reason::EXPRESSION_EVALUATION_FAILED,
        workflow_step_id: Some(step_id),
        details: Some(text),
        ..Default::default()
    })
}

/// What feeds `input_0`, `input_1` and so on.
fn inputs(progress: &Progress, step: &StepDescription) -> Result<Vec<StepValue>, Stop> {
    let number = |name: &str| -> usize {
        let digits = name.rsplit('_').next().unwrap_or_default();
        digits.parse().unwrap_or(usize::MAX)
    };
    let mut inputs: Vec<_> = step.inputs.iter().collect();
    inputs.sort_by_key(|input| number(&input.name));
    let mut values = Vec::with_capacity(inputs.len());
    for input in inputs {
        let mut connected = false;
        for from in input.connections.iter().filter(|c| !input.is_non_data(c)) {
            connected = true;
            let (table, known) = (&progress.table, &progress.known);
            let step_ids = &progress.revision.step_ids;
            let at = step.order_index;
            values.push(resolve::connection(
                table,
                known,
                step_ids,
                at,
                from,
                Use::Data,
            )?);
        }
        if let (false, true, Some(value)) =
            (connected, input.default_value_set, &input.default_value)
        {
            values.push(StepValue::Json(value.clone()));
        }
    }
    Ok(values)
}

/// Nothing, or what a skipped step left.
fn is_null(value: &StepValue, known: &Known) -> bool {
    match value {
        StepValue::NoReplacement | StepValue::Json(Value::Null) => true,
        StepValue::Hda(id) => known.hdas.get(id).is_some_and(|hda| hda.skipped),
        StepValue::Json(_) | StepValue::Hdca(_) => false,
    }
}

fn pick(
    mode: Mode,
    values: &[StepValue],
    known: &Known,
    force_skip: bool,
) -> Result<Picked, String> {
    let mut there = values.iter().filter(|value| !is_null(value, known));
    if mode == Mode::AllNonNull {
        return Ok(Picked::All(there.cloned().collect()));
    }
    match (there.next(), mode) {
        (Some(_), Mode::TheOnlyNonNull) if there.next().is_some() => {
            Err("More than one of the values is there, and only one may be.".to_owned())
        }
        (Some(value), _) => Ok(Picked::Value(value.clone())),
        // Inside a subworkflow whose condition was false nothing is there, and that is right.
        (None, _) if force_skip => Ok(Picked::Skip),
        (None, Mode::FirstOrSkip) => Ok(Picked::Skip),
        (None, _) => Err("None of the values is there.".to_owned()),
    }
}

/// What the step's actions make of its output: name, tags, and whether people see it.
fn changed(
    progress: &Progress,
    step: &StepDescription,
    name: String,
    tags: Vec<String>,
) -> post_job_actions::Changed {
    post_job_actions::apply(
        step.post_job_actions.iter(),
        "output",
        name,
        tags,
        &|_| None,
        &effective_replacements(progress),
    )
}

fn title(step: &StepDescription) -> String {
    step.label
        .clone()
        .unwrap_or_else(|| "Pick Value".to_owned())
}

fn single(
    progress: &mut Progress,
    step: &StepDescription,
    picked: Picked,
    ids: &dyn NewIds,
    writes: &mut Writes,
) -> StepValue {
    match picked {
        Picked::Skip => {
            let change = changed(progress, step, title(step), Vec::new());
            let id = skipped(change.name, change.tags, &mut progress.known, ids, writes);
            StepValue::Hda(id)
        }
        Picked::Value(StepValue::Hda(of)) if !step.post_job_actions.is_empty() => {
            // It gets a name of its own: the step that made it keeps its own.
            let Some(hda) = progress.known.hdas.get(&of).cloned() else {
                return StepValue::Hda(of);
            };
            let change = changed(progress, step, hda.name, hda.tags);
            let new = New {
                of,
                name: Some(change.name),
                tags: Some(change.tags),
                extension: None,
                visible: !change.hidden,
            };
            let made = new_hda(new, &mut progress.known, ids, writes);
            StepValue::Hda(made.unwrap_or(of))
        }
        Picked::Value(value) => value,
        Picked::All(values) => {
            let plain = |value: &StepValue| match value {
                StepValue::Json(value) => Some(value.clone()),
                _ => None,
            };
            let jsons: Vec<Value> = values.iter().filter_map(plain).collect();
            if !values.is_empty() && jsons.len() == values.len() {
                return StepValue::Json(Value::Array(jsons));
            }
            let collection = list(&values, ids, writes);
            hdca(progress, step, collection, ids, writes)
        }
    }
}

/// A list of datasets, called "0", "1" and so on.
fn list(values: &[StepValue], ids: &dyn NewIds, writes: &mut Writes) -> Collection {
    let datasets: Vec<i64> = values
        .iter()
        .filter_map(|value| match value {
            StepValue::Hda(id) => Some(*id),
            _ => None,
        })
        .collect();
    let mut collection = empty("list".to_owned(), datasets.len(), ids, writes);
    for (index, id) in datasets.into_iter().enumerate() {
        let object = ElementObject::Hda(id);
        let identifier = index.to_string();
        push_element(&mut collection, index, &identifier, object, ids, writes);
    }
    collection
}

fn empty(
    collection_type: String,
    count: usize,
    ids: &dyn NewIds,
    writes: &mut Writes,
) -> Collection {
    let id = ids.collection();
    writes.collections.push(NewCollection {
        id,
        collection_type: collection_type.clone(),
        populated: true,
        element_count: Some(count as i64),
    });
    Collection {
        id,
        collection_type,
        populated: Populated::Ok,
        elements: Vec::with_capacity(count),
    }
}

fn hdca(
    progress: &mut Progress,
    step: &StepDescription,
    collection: Collection,
    ids: &dyn NewIds,
    writes: &mut Writes,
) -> StepValue {
    let change = changed(progress, step, title(step), Vec::new());
    let (id, hid): (i64, Hid) = (ids.hdca(), writes.next_hid());
    writes.hdcas.push(NewHdca {
        id,
        collection_id: collection.id,
        hid,
        name: change.name.clone(),
        visible: !change.hidden,
        tags: change.tags,
        implicit_output_name: None,
        job_id: None,
        implicit_collection_jobs_id: None,
    });
    let hdca = Hdca {
        id,
        hid,
        name: change.name,
        deleted: false,
        collection,
        unfinished_job: None,
    };
    progress.known.hdcas.insert(id, hdca);
    StepValue::Hdca(id)
}

/// A dataset that says "skipped".
fn skipped(
    name: String,
    tags: Vec<String>,
    known: &mut Known,
    ids: &dyn NewIds,
    writes: &mut Writes,
) -> i64 {
    let hda = NewHda {
        id: ids.hda(),
        dataset_id: ids.dataset(),
        hid: writes.next_hid(),
        name,
        extension: "expression.json".to_owned(),
        state: DatasetState::Ok,
        visible: false,
        tags,
        dbkey: "?".to_owned(),
        blurb: Some("skipped".to_owned()),
        info: None,
        content: Some("null".to_owned()),
        copied_from: None,
        own_extension: true,
    };
    known.note(&hda);
    let id = hda.id;
    writes.hdas.push(hda);
    id
}

fn mapped(
    progress: &mut Progress,
    step: &StepDescription,
    step_id: i64,
    mode: Mode,
    values: &[StepValue],
    ids: &dyn NewIds,
    writes: &mut Writes,
) -> Result<StepValue, Stop> {
    let known = &progress.known;
    let mut inputs = Vec::new();
    for (n, value) in values.iter().enumerate() {
        if let StepValue::Hdca(id) = value
            && let Some(hdca) = known.hdcas.get(id)
        {
            inputs.push(MappedInput {
                name: format!("{n:06}"),
                collection: &hdca.collection,
                sub_rank: 0,
            });
        }
    }
    let matched = mapping::match_inputs(inputs).map_err(|text| Stop::unexpected(step_id, text))?;
    let Some(matched) = matched else {
        return Err(Stop::unexpected(
            step_id,
            "A collection does not exist any more.",
        ));
    };
    let mut picked = Vec::with_capacity(matched.len());
    for slice in 0..matched.len() {
        let mut parts = matched.slice(slice).map(|(_, part)| part);
        let place: Vec<StepValue> = values
            .iter()
            .map(|value| match value {
                StepValue::Hdca(_) => match parts.next() {
                    Some(Slice::Hda { id, .. }) => StepValue::Hda(*id),
                    _ => StepValue::NoReplacement,
                },
                other => other.clone(),
            })
            .collect();
        let one = pick(mode, &place, known, progress.force_skip);
        match one.map_err(|text| failed(step_id, text))? {
            Picked::Value(StepValue::Json(_)) => {
                return Err(Stop::invalid_parameter(
                    step_id,
                    "a plain value cannot be an element of a collection",
                ));
            }
            one => picked.push(one),
        }
    }
    let structure = matched.structure();
    let mut picked = picked.into_iter();
    let inner = match mode {
        Mode::AllNonNull => ":list",
        _ => "",
    };
    let mut building = Building {
        known: &mut progress.known,
        ids,
        writes,
    };
    let collection_type = format!("{}{inner}", structure.collection_type);
    let collection = building.collection(collection_type, &structure.children, &mut picked);
    Ok(hdca(progress, step, collection, ids, writes))
}

struct Building<'a> {
    known: &'a mut Known,
    ids: &'a dyn NewIds,
    writes: &'a mut Writes,
}

impl Building<'_> {
    fn collection(
        &mut self,
        collection_type: String,
        branches: &[Branch],
        picked: &mut impl Iterator<Item = Picked>,
    ) -> Collection {
        let inner = collection_type.split_once(':').map_or("list", |(_, t)| t);
        let inner = inner.to_owned();
        let mut collection = empty(collection_type, branches.len(), self.ids, self.writes);
        for (index, branch) in branches.iter().enumerate() {
            let object = match &branch.inner {
                Some(children) => {
                    ElementObject::Collection(self.collection(inner.clone(), children, picked))
                }
                None => match picked.next() {
                    Some(Picked::Value(StepValue::Hda(id))) => ElementObject::Hda(id),
                    Some(Picked::All(values)) => {
                        ElementObject::Collection(list(&values, self.ids, self.writes))
                    }
                    _ => {
                        let name = branch.identifier.clone();
                        let id = skipped(name, vec![], self.known, self.ids, self.writes);
                        ElementObject::Hda(id)
                    }
                },
            };
            let (ids, writes) = (self.ids, &mut *self.writes);
            push_element(
                &mut collection,
                index,
                &branch.identifier,
                object,
                ids,
                writes,
            );
        }
        collection
    }
}
