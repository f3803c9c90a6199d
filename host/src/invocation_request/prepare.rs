//! Checks in Galaxy's order that need nothing but the request, the workflow and what is installed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::batch::{self, Expanded};
use super::ignored;
use super::inputs::{Matched, match_keys, parse_by, reference, words};
use super::overrides::{self, Overrides};
use super::{Environment, Payload, Reference, RequestError};
use crate::model::parameter_input;
use crate::model::revision::Revision;
use crate::model::workflow::{StepDescription, WorkflowDescription};

/// A request that fits its workflow.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    pub scheduler: String,
    pub runs: Vec<Run>,
    /// What of it means nothing in this workflow: sentences for whoever asked.
    pub warnings: Vec<String>,
    pub(super) overrides: Overrides,
}

/// One of the runs asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// What is given to each input step, by order_index.
    pub inputs: BTreeMap<usize, Given>,
    /// The items that make this run differ from the others of its batch.
    pub varied: Vec<Reference>,
}

/// What is given to an input step.
#[derive(Debug, Clone, PartialEq)]
pub enum Given {
    Item(Reference),
    Parameter(Value),
}

impl Run {
    /// The datasets and collections that are given to input steps.
    pub fn references(&self) -> impl Iterator<Item = &Reference> {
        self.inputs.values().filter_map(|given| match given {
            Given::Item(reference) => Some(reference),
            Given::Parameter(_) => None,
        })
    }
}

impl Prepared {
    /// Every dataset and collection that the request names, each once.
    pub fn references(&self) -> BTreeSet<Reference> {
        let mut found = BTreeSet::new();
        for run in &self.runs {
            found.extend(run.references().cloned());
        }
        collect_references(&self.overrides, &mut found);
        found
    }
}

fn collect_references(overrides: &Overrides, found: &mut BTreeSet<Reference>) {
    for value in overrides.steps.values().flat_map(|step| step.values()) {
        for item in items_of(value) {
            if let Some(Ok(reference)) = reference(item) {
                found.insert(reference);
            }
        }
    }
    for inner in overrides.inside.values() {
        collect_references(inner, found);
    }
}

/// A value, or those of a list of references.
pub(super) fn items_of(value: &Value) -> impl Iterator<Item = &Value> {
    let list = value.get("values").and_then(Value::as_array);
    let single = list.is_none().then_some(value);
    list.into_iter().flatten().chain(single)
}

/// Checks the request against the workflow and finds what each run gives to each step.
pub fn prepare(
    payload: &Payload,
    revision: &Revision,
    environment: Environment<'_>,
) -> Result<Prepared, RequestError> {
    let description = &revision.description;
    let scheduler = match &payload.scheduler {
        None => environment.schedulers.default_id(),
        Some(id) if environment.schedulers.is_known(id) => id.clone(),
        Some(id) => {
            return Err(RequestError::invalid(format!(
                "There is no scheduler {id:?} on this server."
            )));
        }
    };
    if description.steps.is_empty() {
        return Err(RequestError::message(
            "Workflow cannot be run because it does not have any steps.",
        ));
    }
    if has_cycles(description) {
        return Err(RequestError::message(
            "Workflow cannot be run because it contains cycles.",
        ));
    }
    known_step_types(description, environment)?;
    if payload.preferred_object_store_id.is_some()
        && (payload.preferred_outputs_object_store_id.is_some()
            || payload.preferred_intermediate_object_store_id.is_some())
    {
        return Err(RequestError::invalid(
            "preferred_object_store_id excludes preferred_outputs_object_store_id and preferred_intermediate_object_store_id.",
        ));
    }
    resource_values(payload, environment)?;
    let normalized = payload.parameters_normalized;
    let overrides = overrides::read(description, &payload.parameters, normalized)?;
    let by = parse_by(payload.inputs_by.as_deref(), payload.is_ds_map)?;
    let Matched {
        mut values,
        unknown,
    } = match_keys(revision, &payload.inputs, &by, environment.decode);
    let unknown = ignored::inputs(description, &unknown, &words(&by));
    if normalized {
        for (index, step) in description.steps.iter().enumerate() {
            let given = overrides.steps.get(&index).and_then(|o| o.get("input"));
            if let (Some(value), Some(_)) = (given, step.parameter_type()) {
                values.entry(index).or_insert_with(|| value.clone());
            }
        }
    }
    let unchecked = normalized && payload.inputs.is_empty();
    let mut runs = Vec::new();
    for expanded in batch::expand(values)? {
        let run = run(description, expanded, unchecked).map_err(|mut refusal| {
            // A mistyped name is the likely reason why another is missing.
            if let Some(unknown) = &unknown {
                refusal.message = format!("{} {unknown}", refusal.message);
            }
            refusal
        });
        runs.push(run?);
    }
    if runs.len() != 1 && !payload.batch {
        return Err(RequestError::message(format!(
            "The inputs ask for {} runs; set batch to true if that is meant.",
            runs.len()
        )));
    }
    for value in overrides.steps.values().flat_map(|step| step.values()) {
        for item in items_of(value) {
            reference(item).transpose()?;
        }
    }
    missing_tools(payload, revision, environment)?;
    let parameters = ignored::parameters(description, &payload.parameters, normalized);
    Ok(Prepared {
        scheduler,
        runs,
        overrides,
        warnings: unknown.into_iter().chain(parameters).collect(),
    })
}

fn has_cycles(description: &WorkflowDescription) -> bool {
    let mut inner = description
        .steps
        .iter()
        .filter_map(|s| s.subworkflow.as_deref());
    description.has_cycles || inner.any(has_cycles)
}

fn known_step_types(
    description: &WorkflowDescription,
    environment: Environment<'_>,
) -> Result<(), RequestError> {
    for step in &description.steps {
        if !environment.step_types.is_known(&step.step_type) {
            return Err(RequestError::message(format!(
                "Workflow cannot be run because no plugin of this server supplies the step type {:?} of step {}.",
                step.step_type,
                step.order_index + 1
            )));
        }
        if let Some(problem) = environment.step_types.problems(step).into_iter().next() {
            return Err(RequestError::message(format!(
                "Workflow cannot be run because step {} ({}) is not usable: {problem}",
                step.order_index + 1,
                step.step_type
            )));
        }
        if let Some(inner) = &step.subworkflow {
            known_step_types(inner, environment)?;
        }
    }
    Ok(())
}

fn resource_values(payload: &Payload, environment: Environment<'_>) -> Result<(), RequestError> {
    for (name, allowed) in environment.resource_values {
        let Some(value) = payload.resource_params.get(name) else {
            continue;
        };
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        if !allowed.contains(&text) {
            return Err(RequestError::invalid(format!(
                "The resource parameter {name} takes {}, not {text:?}.",
                allowed.join(", ")
            )));
        }
    }
    Ok(())
}

fn run(
    description: &WorkflowDescription,
    expanded: Expanded,
    unchecked: bool,
) -> Result<Run, RequestError> {
    let mut inputs = BTreeMap::new();
    for (index, step) in description.steps.iter().enumerate() {
        if !step.is_input_step() {
            continue;
        }
        match expanded.values.get(&index).filter(|value| !value.is_null()) {
            Some(value) => drop(inputs.insert(index, given(step, value)?)),
            None if unchecked || step.input_optional() || step.input_default().is_some() => {}
            None => {
                return Err(RequestError::message(format!(
                    "Workflow cannot be run because input step {} ({}) is not optional and no input provided.",
                    index + 1,
                    step.effective_label().unwrap_or("no label")
                )));
            }
        }
    }
    let varied = expanded.varied.iter().filter_map(reference);
    Ok(Run {
        inputs,
        varied: varied.collect::<Result<_, _>>()?,
    })
}

fn given(step: &StepDescription, value: &Value) -> Result<Given, RequestError> {
    let label = step.effective_label().unwrap_or("no label");
    let number = step.order_index + 1;
    if step.parameter_type().is_some() {
        if value.is_object() {
            return Err(RequestError::invalid(format!(
                "The parameter input {label} (step {number}) takes a plain value, not an object."
            )));
        }
        return match parameter_input::check(&step.tool_inputs, value) {
            Ok(()) => Ok(Given::Parameter(value.clone())),
            Err(why) => Err(RequestError::message(format!(
                "The value for input {label} (step {number}) was refused: {why}"
            ))),
        };
    }
    let Some(reference) = reference(value) else {
        return Err(RequestError::invalid(format!(
            "The input {label} (step {number}) takes an object with src and id."
        )));
    };
    let reference = reference?;
    if reference.src == super::Src::Dce {
        return Err(RequestError::invalid(format!(
            "The input {label} (step {number}) takes a dataset or a collection, not an element of one."
        )));
    }
    if step.step_type == "data_collection_input" && reference.src == super::Src::Hda {
        return Err(RequestError::invalid(format!(
            "The input {label} (step {number}) takes a collection, not a dataset."
        )));
    }
    Ok(Given::Item(reference))
}

fn missing_tools(
    payload: &Payload,
    revision: &Revision,
    environment: Environment<'_>,
) -> Result<(), RequestError> {
    let mut missing = BTreeSet::new();
    find_missing(payload, revision, environment, &mut missing);
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = missing.into_iter().collect();
    Err(RequestError::message(format!(
        "Workflow was not invoked; the following required tools are not installed: {}",
        names.join(", ")
    )))
}

fn find_missing(
    payload: &Payload,
    revision: &Revision,
    environment: Environment<'_>,
    missing: &mut BTreeSet<String>,
) {
    for (index, step) in revision.description.steps.iter().enumerate() {
        if step.step_type == "tool" {
            let dynamic = revision.dynamic_tool_ids.get(index).copied().flatten();
            let found = environment.tools.find(step, dynamic);
            if found.is_none_or(|found| !found.exact && payload.require_exact_tool_versions) {
                missing.insert(step.tool_name());
            }
        }
        if let Some(inner) = revision.subrevisions.get(&index) {
            find_missing(payload, inner, environment, missing);
        }
    }
}
