//! Import of Galaxy's native format, `.ga` JSON (behaviour notes 7.1), old forms included.

use super::error::{ImportError, shown};
use super::fields::{Object, given, number, object, text, text_if_any, texts, uuid, uuid_v4};
use super::order::Insides;
use super::validate::{self, Allowance};
use super::{Level, comments, state};
use crate::model::workflow::{
    Connection, DeclaredInput, DeclaredOutput, NO_INPUT_OUTPUT_NAME, PostJobAction,
    StepDescription, StepInput, WorkflowDescription, WorkflowOutput,
};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};

/// Names that old editors gave to inputs nobody had named.
const STOCK_INPUT_NAMES: [&str; 2] = ["input dataset", "input dataset collection"];

/// A converted workflow whose steps are numbered in file order, and how the file numbers them.
pub(super) struct Converted {
    pub(super) workflow: WorkflowDescription,
    /// The file's step id to the index in `steps`.
    pub(super) index_of: HashMap<u64, usize>,
    /// Format2 only: unlabelled outputs by the id the file made up for them.
    pub(super) anonymous_outputs: HashMap<String, (usize, String)>,
}

/// Converts without ordering or checking the whole; `formats::import` does both.
pub(super) fn convert(
    value: &Value,
    level: Level<'_>,
    allowance: &mut Allowance,
) -> Result<Converted, ImportError> {
    let file = object(value, "The workflow")?;
    let shared = given(file, "subworkflows").and_then(Value::as_object);
    let level = Level {
        shared: shared.or(level.shared),
        ..level
    };
    let Some(name) = text(file, "name")? else {
        return Err(ImportError::parameter("The workflow has no name."));
    };
    let mut workflow = WorkflowDescription {
        name,
        annotation: text_if_any(file, "annotation")?,
        tags: texts(file, "tags")?,
        uuid: uuid(file, "uuid")?,
        license: text_if_any(file, "license")?,
        creator: given(file, "creator").cloned(),
        report: given(file, "report").cloned(),
        source_metadata: given(file, "source_metadata").cloned(),
        readme: text_if_any(file, "readme")?,
        help: text_if_any(file, "help")?,
        logo_url: text_if_any(file, "logo_url")?,
        doi: texts(file, "doi")?,
        release: text_if_any(file, "release")?,
        ..Default::default()
    };

    let written = steps_in_file_order(file)?;
    allowance.take_steps(written.len())?;
    let mut index_of = HashMap::with_capacity(written.len());
    for (index, (key, step)) in written.iter().enumerate() {
        let place = format!("step {}", shown(key));
        let id = step_id(step).map_err(|error| error.within(place))?;
        if index_of.insert(id, index).is_some() {
            let message = format!("Two steps have the id {id}.");
            return Err(ImportError::duplicate(message));
        }
    }

    let mut insides = Insides::default();
    for (index, (key, written)) in written.iter().enumerate() {
        let converted = step(written, index, &index_of, level, allowance);
        let (step, inside) = converted.map_err(|error| error.within(place(key, written)))?;
        if let (Some(inner), Some(moved)) = (&step.subworkflow, inside) {
            insides.add(index, inner, moved);
        }
        workflow.steps.push(step);
    }
    // Connections into a subworkflow were resolved above; only names remain to be translated.
    insides.follow_names(&mut workflow);
    label_by_state(&mut workflow);
    workflow.comments = comments::from_native(given(file, "comments"), &index_of)?;
    Ok(Converted {
        workflow,
        index_of,
        anonymous_outputs: HashMap::new(),
    })
}

fn place(key: &str, step: &Object) -> String {
    match step.get("label").and_then(Value::as_str) {
        Some(label) => format!("step {key} ({})", shown(label)),
        None => format!("step {}", shown(key).trim_matches('"')),
    }
}

/// The steps with their keys, by key as a number; a list is taken in its order.
fn steps_in_file_order(file: &Object) -> Result<Vec<(String, &Object)>, ImportError> {
    let keyed: Vec<(String, &Value)> = match given(file, "steps") {
        Some(Value::Object(steps)) => {
            let mut keyed: Vec<_> = steps
                .iter()
                .map(|(key, step)| (key.clone(), step))
                .collect();
            // Keys that are no numbers come last, in the order of the file.
            keyed.sort_by_cached_key(|(key, _)| key.parse::<u64>().unwrap_or(u64::MAX));
            keyed
        }
        Some(Value::Array(steps)) => {
            let counted = steps.iter().enumerate();
            counted
                .map(|(index, step)| (index.to_string(), step))
                .collect()
        }
        Some(_) => return Err(ImportError::malformed("steps should be an object.")),
        None => return Err(ImportError::missing("The workflow has no steps field.")),
    };
    let objects = keyed.into_iter().map(|(key, step)| {
        let step = object(step, &format!("step {}", shown(&key)))?;
        Ok((key, step))
    });
    objects.collect()
}

fn step_id(step: &Object) -> Result<u64, ImportError> {
    let Some(id) = given(step, "id") else {
        return Err(ImportError::missing("id is missing."));
    };
    number(id).ok_or_else(|| ImportError::invalid("id should be a number."))
}

/// A step, and for subworkflow steps whose inside the file numbers unlike we do, where each
/// number of the file is found.
fn step(
    written: &Object,
    index: usize,
    index_of: &HashMap<u64, usize>,
    level: Level<'_>,
    allowance: &mut Allowance,
) -> Result<(StepDescription, Option<Vec<usize>>), ImportError> {
    let Some(step_type) = text_if_any(written, "type")? else {
        return Err(ImportError::missing("type is missing."));
    };
    let is_subworkflow = step_type == "subworkflow";
    let tool_id = match text_if_any(written, "tool_id")? {
        _ if is_subworkflow => None,
        None if step_type == "tool" => text_if_any(written, "content_id")?,
        tool_id => tool_id,
    };
    let mut step = StepDescription {
        order_index: index,
        step_type,
        tool_id,
        tool_version: text_if_any(written, "tool_version")?,
        tool_uuid: uuid(written, "tool_uuid")?,
        name: text_if_any(written, "name")?,
        tool_inputs: Value::Object(state::decode(written.get("tool_state"))?),
        tool_errors: given(written, "errors").cloned(),
        // Galaxy writes {} where there is none.
        position: given(written, "position")
            .filter(|place| **place != json!({}))
            .cloned(),
        config: given(written, "config").cloned(),
        label: text_if_any(written, "label")?,
        uuid: uuid_v4(written, "uuid")?,
        annotation: text_if_any(written, "annotation")?,
        when_expression: text_if_any(written, "when")?,
        tool_shed_repository: given(written, "tool_shed_repository").cloned(),
        tool_representation: given(written, "tool_representation").cloned(),
        subworkflow: None,
        inputs: Vec::new(),
        workflow_outputs: workflow_outputs(written)?,
        post_job_actions: post_job_actions(written)?,
        declared_inputs: declared_inputs(written),
        declared_outputs: declared_outputs(written),
    };
    let inner = match is_subworkflow {
        true => Some(subworkflow(written, level, allowance)?),
        false => None,
    };
    step.inputs = inputs(written, &step, index_of, inner.as_ref())?;
    let Some(inner) = inner else {
        return Ok((step, None));
    };
    let inside = file_numbers(&inner.index_of);
    step.subworkflow = Some(Box::new(inner.workflow));
    Ok((step, inside))
}

/// `result[file id] = index`, if ids are few enough to be meant as indexes at all. Ids that
/// are used nowhere stand for themselves.
fn file_numbers(index_of: &HashMap<u64, usize>) -> Option<Vec<usize>> {
    let largest = usize::try_from(*index_of.keys().max()?).ok()?;
    if largest > 4 * index_of.len() + 1000 {
        return None;
    }
    let mut moved: Vec<usize> = (0..=largest).collect();
    for (id, index) in index_of {
        if let Some(slot) = usize::try_from(*id).ok().and_then(|id| moved.get_mut(id)) {
            *slot = *index;
        }
    }
    Some(moved)
}

fn subworkflow(
    written: &Object,
    level: Level<'_>,
    allowance: &mut Allowance,
) -> Result<Converted, ImportError> {
    let embedded = given(written, "subworkflow");
    let content_id = text_if_any(written, "content_id")?;
    match (embedded, content_id) {
        (Some(_), Some(_)) => Err(ImportError::parameter(
            "The subworkflow is given both by subworkflow and by content_id.",
        )),
        (None, None) => Err(ImportError::parameter(
            "A subworkflow step needs subworkflow or content_id.",
        )),
        (Some(embedded), None) => super::convert(embedded, level.inside()?, allowance),
        (None, Some(reference)) => {
            let shared = reference
                .strip_prefix('#')
                .and_then(|id| level.shared?.get(id));
            let Some(shared) = shared else {
                return Err(ImportError::parameter(format!(
                    "content_id {} is not among the subworkflows of this file, and workflows \
                     elsewhere are not fetched; embed it as subworkflow.",
                    shown(&reference)
                )));
            };
            allowance.take_shared(shared)?;
            super::convert(shared, level.inside()?, allowance)
        }
    }
}

/// Data inputs without a label take it from the state, as Galaxy does, unless the name is the
/// stock text or another step has it already.
fn label_by_state(workflow: &mut WorkflowDescription) {
    let labels = workflow.steps.iter().filter_map(|step| step.label.clone());
    let mut used: HashSet<String> = labels.collect();
    for step in &mut workflow.steps {
        let is_data = matches!(
            step.step_type.as_str(),
            "data_input" | "data_collection_input"
        );
        if !is_data || step.label.is_some() {
            continue;
        }
        let Some(name) = step.tool_inputs.get("name").and_then(Value::as_str) else {
            continue;
        };
        let stock = STOCK_INPUT_NAMES.contains(&name.to_lowercase().as_str());
        let fits = name.len() <= validate::LABEL_CHARS_MAX;
        if !stock && !name.is_empty() && fits && used.insert(name.to_owned()) {
            step.label = Some(name.to_owned());
        }
    }
}

fn inputs(
    written: &Object,
    step: &StepDescription,
    index_of: &HashMap<u64, usize>,
    inner: Option<&Converted>,
) -> Result<Vec<StepInput>, ImportError> {
    let mut inputs: Vec<StepInput> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut input_called = |name: &str, inputs: &mut Vec<StepInput>| {
        *places.entry(name.to_owned()).or_insert_with(|| {
            inputs.push(StepInput {
                name: name.to_owned(),
                ..Default::default()
            });
            inputs.len() - 1
        })
    };

    let inner_inputs = inner.map(|inner| input_labels(&inner.workflow));
    if let Some(connections) = given(written, "input_connections") {
        for (name, written) in object(connections, "input_connections")? {
            let list = match written {
                Value::Null => continue,
                Value::Array(list) => list.as_slice(),
                single => std::slice::from_ref(single),
            };
            let told = |error: ImportError| {
                error.within(format_args!("input_connections {}", shown(name)))
            };
            for written in list {
                let mut connection = connection(written, index_of).map_err(told)?;
                if let (Some(inner), Some(labels)) = (inner, &inner_inputs) {
                    let id = written.get("input_subworkflow_step_id");
                    connection.input_subworkflow_step = inner_step(name, id, step, inner, labels)?;
                }
                let place = input_called(name, &mut inputs);
                inputs[place].connections.push(connection);
            }
        }
    }
    if let Some(written) = given(written, "in") {
        for (name, written) in object(written, "in")? {
            // Format2 converters call the default of an input step after the field.
            let name = match name.as_str() {
                "default" if step.is_input_step() => "input",
                name => name,
            };
            let place = input_called(name, &mut inputs);
            if let Some(written) = written.as_object() {
                details(&mut inputs[place], written)?;
            }
        }
    }
    Ok(inputs)
}

/// The fields of an input other than its connections, which both formats write alike.
pub(super) fn details(input: &mut StepInput, written: &Object) -> Result<(), ImportError> {
    if let Some(default) = written.get("default") {
        input.default_value = Some(default.clone());
        input.default_value_set = true;
    }
    input.merge_type = text_if_any(written, "merge_type")?;
    input.scatter_type = text_if_any(written, "scatter_type")?;
    input.value_from = given(written, "value_from").cloned();
    input.value_from_type = text_if_any(written, "value_from_type")?;
    input.runtime_value = written.get("runtime_value") == Some(&Value::Bool(true));
    Ok(())
}

fn connection(written: &Value, index_of: &HashMap<u64, usize>) -> Result<Connection, ImportError> {
    let id = written.get("id").and_then(number);
    let output_name = written.get("output_name").and_then(Value::as_str);
    let (Some(id), Some(output_name)) = (id, output_name) else {
        let message = "a connection needs id and output_name.";
        return Err(ImportError::malformed(message));
    };
    let Some(output_step) = index_of.get(&id) else {
        let message = format!("it is connected to step {id}, which does not exist.");
        return Err(ImportError::malformed(message));
    };
    Ok(Connection {
        output_step: *output_step,
        output_name: output_name.to_owned(),
        input_subworkflow_step: None,
    })
}

pub(super) fn input_labels(workflow: &WorkflowDescription) -> HashMap<&str, usize> {
    let labelled = workflow.input_steps().filter_map(|step| {
        let label = step.effective_label()?;
        Some((label, step.order_index))
    });
    labelled.collect()
}

/// Which step inside is meant: the one named by id, else the input so labelled, else the one
/// whose number begins the name (`0:Input dataset`).
fn inner_step(
    name: &str,
    id: Option<&Value>,
    step: &StepDescription,
    inner: &Converted,
    labels: &HashMap<&str, usize>,
) -> Result<Option<usize>, ImportError> {
    let is_input = |index: &usize| {
        let step = inner.workflow.step(*index);
        step.is_some_and(StepDescription::is_input_step)
    };
    if name == NO_INPUT_OUTPUT_NAME {
        return Ok(None);
    }
    let by_id = id.and_then(number).and_then(|id| inner.index_of.get(&id));
    let by_label = || labels.get(name);
    let by_prefix = || {
        let number: u64 = name.split(':').next()?.parse().ok()?;
        inner.index_of.get(&number)
    };
    let found = by_id.filter(|index| is_input(index)).or_else(by_label);
    match found.or_else(by_prefix).copied().filter(is_input) {
        Some(index) => Ok(Some(index)),
        None if validate::in_when(step, name) => Ok(None),
        None => Err(validate::unknown_subworkflow_input(name)),
    }
}

fn workflow_outputs(written: &Object) -> Result<Vec<WorkflowOutput>, ImportError> {
    let of_fields = |name: Option<String>, fields: &Object| {
        Ok(WorkflowOutput {
            output_name: match name {
                Some(name) => name,
                None => text(fields, "output_name")?.unwrap_or_default(),
            },
            label: text_if_any(fields, "label")?,
            uuid: uuid(fields, "uuid")?,
        })
    };
    let of_name = |name: &str| WorkflowOutput {
        output_name: name.to_owned(),
        ..Default::default()
    };
    let told = |error: ImportError| error.within("workflow_outputs");
    match given(written, "workflow_outputs") {
        None => Ok(Vec::new()),
        Some(Value::Array(list)) => list
            .iter()
            .map(|item| match item {
                Value::String(name) => Ok(of_name(name)),
                item => of_fields(None, object(item, "an output").map_err(told)?).map_err(told),
            })
            .collect(),
        Some(Value::Object(map)) => map
            .iter()
            .map(|(name, item)| match item.as_object() {
                Some(fields) => of_fields(Some(name.clone()), fields).map_err(told),
                None => Ok(of_name(name)),
            })
            .collect(),
        Some(_) => Err(ImportError::invalid("workflow_outputs should be a list.")),
    }
}

/// Both formats write explicit actions alike: an object whose keys do not matter, or a list.
pub(super) fn post_job_actions(written: &Object) -> Result<Vec<PostJobAction>, ImportError> {
    let actions: Vec<&Value> = match given(written, "post_job_actions") {
        None => return Ok(Vec::new()),
        Some(Value::Object(map)) => map.values().collect(),
        Some(Value::Array(list)) => list.iter().collect(),
        Some(_) => {
            return Err(ImportError::invalid(
                "post_job_actions should be an object.",
            ));
        }
    };
    let told = |error: ImportError| error.within("post_job_actions");
    let read = |action: &Value| {
        let action = object(action, "an action")?;
        let Some(action_type) = text_if_any(action, "action_type")? else {
            return Err(ImportError::missing("action_type is missing."));
        };
        let arguments = given(action, "action_arguments").cloned();
        Ok(PostJobAction {
            action_type,
            output_name: text_if_any(action, "output_name")?,
            action_arguments: arguments.unwrap_or_else(|| Value::Object(Object::new())),
        })
    };
    actions
        .into_iter()
        .map(|action| read(action).map_err(told))
        .collect()
}

fn declared_inputs(written: &Object) -> Vec<DeclaredInput> {
    let list = written.get("inputs").and_then(Value::as_array);
    let read = |item: &Value| {
        Some(DeclaredInput {
            name: item.get("name")?.as_str()?.to_owned(),
            description: item
                .get("description")
                .and_then(Value::as_str)
                .unwrap_or("")
                .to_owned(),
        })
    };
    list.map_or_else(Vec::new, |list| list.iter().filter_map(read).collect())
}

fn declared_outputs(written: &Object) -> Vec<DeclaredOutput> {
    let list = written.get("outputs").and_then(Value::as_array);
    let read = |item: &Value| {
        Some(DeclaredOutput {
            name: item.get("name")?.as_str()?.to_owned(),
            output_type: item
                .get("type")
                .and_then(Value::as_str)
                .unwrap_or("input")
                .to_owned(),
        })
    };
    list.map_or_else(Vec::new, |list| list.iter().filter_map(read).collect())
}
