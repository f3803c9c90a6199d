//! Import of format2 (behaviour notes 7.2): inputs become input steps numbered first, then the
//! steps; sources become connections.

mod inputs;
mod wires;

use self::inputs::input_step;
use self::wires::{Wires, feed_inside, step_state};
use super::error::{ImportError, shown};
use super::fields::{Object, given, object, text, text_if_any, texts, truth, uuid, uuid_v4};
use super::native::{Converted, details, input_labels, post_job_actions};
use super::references::Names;
use super::validate::{self, Allowance};
use super::{Level, actions, comments, state};
use crate::model::workflow::{
    Connection, NO_INPUT_OUTPUT_NAME, StepDescription, StepInput, WorkflowDescription,
    WorkflowOutput,
};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::HashMap;

pub(super) const UNLABELED_INPUT: &str = "_unlabeled_input_";
pub(super) const UNLABELED_STEP: &str = "_unlabeled_step_";
pub(super) const ANONYMOUS_OUTPUT: &str = "_anonymous_output_";
/// The input that only says "after this step".
pub(super) const AFTER_INPUT: &str = "$step";
/// Pixels between steps that were given no position; keeps them in the order of the file.
const DEFAULT_SPACING: usize = 10;

/// Fields of an input that do not belong to the state of its step.
const INPUT_FIELDS: [&str; 11] = [
    "id", "label", "type", "doc", "position", "uuid", "default", "format", "min", "max", "optional",
];

/// Converts without ordering or checking the whole; `formats::import` does both.
pub(super) fn convert(
    value: &Value,
    level: Level<'_>,
    allowance: &mut Allowance,
) -> Result<Converted, ImportError> {
    let Some(graph) = value.get("$graph") else {
        return workflow(object(value, "The workflow")?, level, allowance);
    };
    let refusal = || ImportError::malformed("$graph should be a list of workflows with ids.");
    let mut members = HashMap::new();
    for member in graph.as_array().ok_or_else(refusal)? {
        let id = member
            .get("id")
            .and_then(Value::as_str)
            .ok_or_else(refusal)?;
        members.insert(id.trim_start_matches('#'), member);
    }
    let Some(main) = members.get("main") else {
        return Err(ImportError::parameter(
            "$graph has no workflow with the id main.",
        ));
    };
    let level = Level {
        graph: Some(&members),
        ..level
    };
    workflow(object(main, "The main workflow")?, level, allowance)
}

fn workflow(
    file: &Object,
    level: Level<'_>,
    allowance: &mut Allowance,
) -> Result<Converted, ImportError> {
    if let Some(class) = text(file, "class")?
        && class != "GalaxyWorkflow"
    {
        let message = format!("class {} is not a Galaxy workflow.", shown(&class));
        return Err(ImportError::parameter(message));
    }
    if given(file, "steps").is_none() && given(file, "inputs").is_none() {
        return Err(ImportError::missing(match given(file, "path") {
            None => "The workflow has neither steps nor inputs.",
            Some(_) => {
                "The workflow has no steps, only the path of a file, which is not read here; send the workflow itself."
            }
        }));
    }
    let name = match text_if_any(file, "label")? {
        None => text_if_any(file, "name")?,
        label => label,
    };
    let report = match given(file, "report") {
        Some(Value::String(markdown)) => Some(json!({ "markdown": markdown })),
        report => report.cloned(),
    };
    let mut workflow = WorkflowDescription {
        name: name.unwrap_or_else(|| "Workflow".into()),
        annotation: doc(file)?,
        tags: texts(file, "tags")?,
        uuid: uuid(file, "uuid")?,
        license: text_if_any(file, "license")?,
        creator: given(file, "creator").cloned(),
        report,
        source_metadata: given(file, "source_metadata").cloned(),
        readme: text_if_any(file, "readme")?,
        help: text_if_any(file, "help")?,
        logo_url: text_if_any(file, "logo_url")?,
        doi: texts(file, "doi")?,
        release: text_if_any(file, "release")?,
        ..Default::default()
    };

    let inputs = entries(file, "inputs", "type")?;
    let steps = entries(file, "steps", "run")?;
    let count = inputs.len() + steps.len();
    allowance.take_steps(count)?;
    let mut names = Names::new(count);
    for (index, (id, fields)) in inputs.iter().chain(&steps).enumerate() {
        if let Some(id) = id {
            names.add(id.as_str(), index);
        }
        if let Some(label) = text_if_any(fields, "label")? {
            names.add(label, index);
        }
    }

    for (index, (id, fields)) in inputs.iter().enumerate() {
        let step = input_step(index, id.as_deref(), fields);
        let place = || format!("input {}", place(index, id.as_deref()));
        workflow
            .steps
            .push(step.map_err(|error| error.within(place()))?);
    }
    // By step: what its subworkflow's unlabelled outputs were called in the file.
    let mut anonymous_outputs = HashMap::new();
    for (index, (id, fields)) in steps.iter().enumerate() {
        let index = inputs.len() + index;
        let converted = step(index, id.as_deref(), fields, &names, level, allowance);
        let place = || format!("step {}", place(index, id.as_deref()));
        let (step, anonymous) = converted.map_err(|error| error.within(place()))?;
        if !anonymous.is_empty() {
            anonymous_outputs.insert(index, anonymous);
        }
        workflow.steps.push(step);
    }
    let own_anonymous = workflow_outputs(file, &names, &mut workflow.steps)?;
    name_anonymous_outputs(&mut workflow, &anonymous_outputs);
    workflow.comments = comments::from_format2(given(file, "comments"), |step| match step {
        Value::String(name) => names.step(name),
        number => usize::try_from(number.as_u64()?)
            .ok()
            .filter(|index| *index < count),
    })?;
    Ok(Converted {
        workflow,
        index_of: (0..count).map(|index| (index as u64, index)).collect(),
        anonymous_outputs: own_anonymous,
    })
}

fn place(index: usize, id: Option<&str>) -> String {
    id.map_or_else(|| index.to_string(), shown)
}

/// `doc`: text, or lines.
fn doc(fields: &Object) -> Result<Option<String>, ImportError> {
    let lines = texts(fields, "doc")?.join("\n");
    Ok(Some(lines).filter(|doc| !doc.is_empty()))
}

/// An entry of `inputs`, `steps` …, with its id.
type Entry<'f> = (Option<String>, Cow<'f, Object>);

/// A map from id to entry, or a list of entries that may carry an id. An entry that is no
/// object is the value of its `short` field.
fn entries<'f>(file: &'f Object, field: &str, short: &str) -> Result<Vec<Entry<'f>>, ImportError> {
    let entry = |value: &'f Value| match value {
        Value::Object(fields) => Cow::Borrowed(fields),
        Value::Null => Cow::Owned(Object::new()),
        value => Cow::Owned([(short.to_owned(), value.clone())].into_iter().collect()),
    };
    match given(file, field) {
        None => Ok(Vec::new()),
        Some(Value::Object(map)) => {
            let entries = map
                .iter()
                .map(|(id, value)| (Some(id.clone()), entry(value)));
            Ok(entries.collect())
        }
        Some(Value::Array(list)) => list
            .iter()
            .map(|value| {
                let fields = object(value, &format!("each of {field}"))?;
                let id = match text_if_any(fields, "id")? {
                    None => text_if_any(fields, "label")?,
                    id => id,
                };
                Ok((id, Cow::Borrowed(fields)))
            })
            .collect(),
        Some(_) => Err(ImportError::malformed(format!(
            "{field} should be a map or a list."
        ))),
    }
}

fn label_of(id: Option<&str>) -> Option<String> {
    let synthetic = |id: &str| id.starts_with(UNLABELED_INPUT) || id.starts_with(UNLABELED_STEP);
    id.filter(|id| !id.is_empty() && !synthetic(id))
        .map(str::to_owned)
}

fn position(index: usize, fields: &Object) -> Option<Value> {
    let place = index * DEFAULT_SPACING;
    let default = || json!({"left": place, "top": place});
    Some(given(fields, "position").cloned().unwrap_or_else(default))
}

/// Galaxy's display name of a step type that has no tool.
fn module_name(step_type: &str) -> Option<&'static str> {
    match step_type {
        "data_input" => Some("Input dataset"),
        "data_collection_input" => Some("Input dataset collection"),
        "parameter_input" => Some("Input parameter"),
        "pause" => Some("Pause for dataset review"),
        "pick_value" => Some("Pick Value"),
        _ => None,
    }
}

/// By the name the file used: the step inside and its output.
type AnonymousOutputs = HashMap<String, (usize, String)>;

fn step(
    index: usize,
    id: Option<&str>,
    fields: &Object,
    names: &Names,
    level: Level<'_>,
    allowance: &mut Allowance,
) -> Result<(StepDescription, AnonymousOutputs), ImportError> {
    let is_number = |id: &&str| id.bytes().all(|byte| byte.is_ascii_digit());
    let label = match text_if_any(fields, "label")? {
        Some(label) => label_of(Some(&label)),
        None => label_of(id.filter(|id| !is_number(id))),
    };
    let mut step = StepDescription {
        order_index: index,
        step_type: step_type(fields)?,
        tool_id: text_if_any(fields, "tool_id")?,
        tool_version: text_if_any(fields, "tool_version")?,
        tool_uuid: uuid(fields, "tool_uuid")?,
        tool_errors: given(fields, "errors").cloned(),
        position: position(index, fields),
        label,
        uuid: uuid_v4(fields, "uuid")?,
        annotation: doc(fields)?,
        when_expression: text_if_any(fields, "when")?,
        tool_shed_repository: given(fields, "tool_shed_repository").cloned(),
        tool_representation: given(fields, "run")
            .filter(|run| is_user_tool(run))
            .or_else(|| given(fields, "tool_representation"))
            .cloned(),
        ..Default::default()
    };
    let mut inner = None;
    if step.step_type == "subworkflow" {
        inner = Some(subworkflow(fields, level, allowance)?);
    }

    let mut wires = Wires::default();
    wires.read_in(fields)?;
    let mut tool_state = step_state(fields, &mut wires)?;
    step.inputs = wires.connect(names)?;
    if let Some(inner) = &inner {
        feed_inside(&mut step, &inner.workflow)?;
    }
    match step.step_type.as_str() {
        "pause" if tool_state.is_empty() => {
            let name = step.label.as_deref().unwrap_or("Pause for dataset review");
            tool_state.insert("name".into(), json!(name));
        }
        "pick_value" => {
            let connected = step
                .inputs
                .iter()
                .filter(|input| !input.connections.is_empty());
            let inputs = connected.count().max(2);
            tool_state
                .entry("num_inputs")
                .or_insert_with(|| json!(inputs));
        }
        _ => {}
    }
    step.tool_inputs = Value::Object(tool_state);
    step.post_job_actions = actions::merge(
        actions::from_out(given(fields, "out"))?,
        post_job_actions(fields)?,
    );
    step.name = display_name(&step, inner.as_ref());
    let anonymous = match inner {
        None => AnonymousOutputs::new(),
        Some(inner) => {
            step.subworkflow = Some(Box::new(inner.workflow));
            inner.anonymous_outputs
        }
    };
    Ok((step, anonymous))
}

fn display_name(step: &StepDescription, inner: Option<&Converted>) -> Option<String> {
    let user_tool = || step.tool_representation.as_ref()?.get("name")?.as_str();
    let module = || module_name(&step.step_type);
    let inner = || Some(inner?.workflow.name.as_str());
    let name = step
        .tool_id
        .as_deref()
        .or_else(user_tool)
        .or_else(module)
        .or_else(inner);
    name.map(str::to_owned)
}

/// Whether `run` holds a tool rather than a workflow.
pub(super) fn is_user_tool(run: &Value) -> bool {
    let class = run.get("class").and_then(Value::as_str);
    matches!(class, Some("GalaxyUserTool" | "GalaxyTool"))
}

fn step_type(fields: &Object) -> Result<String, ImportError> {
    if let Some(run) = given(fields, "run") {
        let is_tool = is_user_tool(run);
        return Ok(if is_tool { "tool" } else { "subworkflow" }.to_owned());
    }
    let written = text_if_any(fields, "type")?;
    Ok(match written.as_deref() {
        None => "tool",
        Some("input") => "data_input",
        Some("input_collection") => "data_collection_input",
        Some("parameter") => "parameter_input",
        Some(other) => other,
    }
    .to_owned())
}

fn subworkflow(
    fields: &Object,
    level: Level<'_>,
    allowance: &mut Allowance,
) -> Result<Converted, ImportError> {
    let elsewhere = |reference: &str| {
        ImportError::parameter(format!(
            "run {} is not in this file, and workflows elsewhere are not fetched; put it here.",
            shown(reference)
        ))
    };
    match given(fields, "run") {
        None => Err(ImportError::parameter("A subworkflow step needs run.")),
        Some(Value::String(reference)) => {
            let id = reference
                .strip_prefix('#')
                .ok_or_else(|| elsewhere(reference))?;
            let member = level.graph.and_then(|graph| graph.get(id));
            let member = member.ok_or_else(|| elsewhere(reference))?;
            allowance.take_shared(member)?;
            super::convert(member, level.inside()?, allowance)
        }
        Some(Value::Object(run)) => {
            if let Some(file) = text(run, "@import")? {
                return Err(elsewhere(&file));
            }
            let says_what = ["class", "yaml_content", "a_galaxy_workflow", "$graph"];
            let run_value = &fields["run"];
            match says_what.iter().any(|key| run.contains_key(*key)) {
                true => super::convert(run_value, level.inside()?, allowance),
                false => convert(run_value, level.inside()?, allowance),
            }
        }
        Some(_) => Err(ImportError::parameter(
            "run should be a workflow or its #id.",
        )),
    }
}

/// Marks outputs on their steps; answers which had no label, by the file's name for them.
fn workflow_outputs(
    file: &Object,
    names: &Names,
    steps: &mut [StepDescription],
) -> Result<AnonymousOutputs, ImportError> {
    let mut anonymous = AnonymousOutputs::new();
    for (id, fields) in entries(file, "outputs", "outputSource")? {
        let place = || match &id {
            Some(id) => format!("output {}", shown(id)),
            None => "outputs".to_owned(),
        };
        let told = |error: ImportError| error.within(place());
        let sources = texts(&fields, "outputSource").map_err(told)?;
        let [source] = sources.as_slice() else {
            return Err(told(ImportError::missing(
                "outputSource should name one output.",
            )));
        };
        let (step, output_name) = names.resolve(source).map_err(told)?;
        let name = match text_if_any(&fields, "label").map_err(told)? {
            None => id.clone(),
            label => label,
        };
        let label = name.filter(|name| !name.is_empty() && !name.starts_with(ANONYMOUS_OUTPUT));
        if let (None, Some(id)) = (&label, &id) {
            anonymous.insert(id.clone(), (step, output_name.clone()));
        }
        steps[step].workflow_outputs.push(WorkflowOutput {
            output_name,
            label,
            uuid: uuid(&fields, "uuid").map_err(told)?,
        });
    }
    Ok(anonymous)
}

/// gxformat2 calls an unlabelled output of a subworkflow by its made-up id; Galaxy calls it
/// after the step inside.
fn name_anonymous_outputs(
    workflow: &mut WorkflowDescription,
    anonymous_outputs: &HashMap<usize, AnonymousOutputs>,
) {
    if anonymous_outputs.is_empty() {
        return;
    }
    let rename = |step: usize, name: &mut String| {
        let found = anonymous_outputs
            .get(&step)
            .and_then(|outputs| outputs.get(name));
        if let Some((inner_step, output)) = found {
            *name = format!("{inner_step}:{output}");
        }
    };
    for (index, step) in workflow.steps.iter_mut().enumerate() {
        let inputs = step.inputs.iter_mut();
        for connection in inputs.flat_map(|input| &mut input.connections) {
            rename(connection.output_step, &mut connection.output_name);
        }
        for output in &mut step.workflow_outputs {
            rename(index, &mut output.output_name);
        }
        let actions = step.post_job_actions.iter_mut();
        for name in actions.filter_map(|action| action.output_name.as_mut()) {
            rename(index, name);
        }
    }
}
