//! Actions that make inputs of the workflow out of what its steps hold.

use serde_json::{Value, json};

use super::super::error::{ImportError, shown};
use super::edit::{add_input, attach};
use super::{InputReference, NewInput, Position, Tools};
use crate::model::workflow::{
    Connection, WorkflowDescription, is_connected_value, is_runtime_value,
};

fn new_input(input_type: &str, label: &str, position: Option<Position>) -> NewInput {
    NewInput {
        input_type: input_type.to_owned(),
        label: Some(label.to_owned()),
        position,
        collection_type: None,
        restrictions: None,
        restrict_on_connections: None,
        suggestions: None,
        optional: false,
        default: None,
    }
}

/// Makes an input of the workflow out of an unconnected input of a tool step, with its value as default.
pub(super) fn input(
    workflow: &mut WorkflowDescription,
    input: &InputReference,
    label: Option<&str>,
    position: Option<Position>,
    tools: &dyn Tools,
) -> Result<(), ImportError> {
    let consumer = input.step.find(workflow)?;
    let step = &workflow.steps[consumer];
    let name = &input.input_name;
    if step.input(name).is_some_and(|i| !i.connections.is_empty()) {
        return Err(ImportError::parameter(format!(
            "{} is connected already.",
            shown(name)
        )));
    }
    let id = step.tool_id.as_deref().unwrap_or_default();
    let version = step.tool_version.as_deref();
    let known = tools.input(id, version, &step.tool_inputs, name);
    let known = known.ok_or_else(|| {
        ImportError::parameter(format!("no tool here has the input {}.", shown(name)))
    })?;
    let default_label = name.rsplit('|').next().unwrap_or(name);
    let kind = match known.type_name.as_str() {
        "select" => "text",
        kind => kind,
    };
    let mut new = new_input(kind, label.unwrap_or(default_label), position);
    new.optional = known.optional;
    let value = at(&step.tool_inputs, name).cloned();
    let is_data = matches!(kind, "data" | "data_collection");
    let plain = value.filter(|v| !v.is_null() && !is_runtime_value(v) && !is_connected_value(v));
    if let Some(value) = plain
        && !is_data
    {
        new.default = Some(value);
        new.optional = true;
    }
    let producer = add_input(workflow, &new)?;
    feed(workflow, consumer, name, producer);
    Ok(())
}

fn feed(workflow: &mut WorkflowDescription, consumer: usize, name: &str, producer: usize) {
    let step = &mut workflow.steps[consumer];
    if let Some(place) = at_mut(&mut step.tool_inputs, name) {
        *place = json!({"__class__": "ConnectedValue"});
    }
    let connection = Connection {
        output_step: producer,
        output_name: "output".to_owned(),
        input_subworkflow_step: None,
    };
    attach(step, name, connection);
}

/// Makes a text input of the workflow out of `${name}`, as it stands in steps' states and in actions on outputs.
pub(super) fn untyped(
    workflow: &mut WorkflowDescription,
    name: &str,
    label: Option<&str>,
    position: Option<Position>,
) -> Result<(), ImportError> {
    let mark = format!("${{{name}}}");
    let label = label.unwrap_or(name);
    let mut uses = Vec::new();
    let mut is_used = false;
    for step in &workflow.steps {
        let mut paths = Vec::new();
        walk(&step.tool_inputs, String::new(), &mut |path, text| {
            if text == mark {
                paths.push(path.to_owned());
                Ok(())
            } else if text.contains(&mark) {
                Err(ImportError::parameter(format!(
                    "{} of step {} holds more than {}; it cannot become a connection.",
                    shown(path),
                    step.order_index,
                    shown(&mark)
                )))
            } else {
                Ok(())
            }
        })?;
        let in_actions = step
            .post_job_actions
            .iter()
            .any(|action| action.action_arguments.to_string().contains(&mark));
        is_used |= !paths.is_empty() || in_actions;
        uses.extend(paths.into_iter().map(|path| (step.order_index, path)));
    }
    if !is_used {
        let message = format!("nothing here uses {}.", shown(&mark));
        return Err(ImportError::parameter(message));
    }
    let producer = add_input(workflow, &new_input("text", label, position))?;
    for (consumer, path) in uses {
        feed(workflow, consumer, &path, producer);
    }
    if label != name {
        let new_mark = format!("${{{label}}}");
        let actions = workflow
            .steps
            .iter_mut()
            .flat_map(|s| &mut s.post_job_actions);
        for action in actions {
            replace(&mut action.action_arguments, &mark, &new_mark);
        }
    }
    Ok(())
}

/// Every text below a value with its pipe path.
fn walk(
    value: &Value,
    path: String,
    look: &mut dyn FnMut(&str, &str) -> Result<(), ImportError>,
) -> Result<(), ImportError> {
    let joined = |key: &str| match path.is_empty() {
        true => key.to_owned(),
        false => format!("{path}|{key}"),
    };
    match value {
        Value::String(text) => look(&path, text),
        Value::Object(object) => {
            for (key, inner) in object {
                match inner {
                    Value::Array(items) => {
                        for (index, item) in items.iter().enumerate() {
                            walk(item, joined(&format!("{key}_{index}")), look)?;
                        }
                    }
                    _ => walk(inner, joined(key), look)?,
                }
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn replace(value: &mut Value, from: &str, to: &str) {
    match value {
        Value::String(text) => *text = text.replace(from, to),
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, from, to)),
        Value::Object(object) => object.values_mut().for_each(|v| replace(v, from, to)),
        _ => {}
    }
}

/// The value at a pipe path; `name_0` is the first of the list `name`.
fn at<'a>(state: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('|').try_fold(state, |value, part| {
        value.get(part).or_else(|| {
            let (name, index) = part.rsplit_once('_')?;
            value.get(name)?.get(index.parse::<usize>().ok()?)
        })
    })
}

fn at_mut<'a>(state: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    path.split('|').try_fold(state, |value, part| {
        if value.get(part).is_some() {
            return value.get_mut(part);
        }
        let (name, index) = part.rsplit_once('_')?;
        value.get_mut(name)?.get_mut(index.parse::<usize>().ok()?)
    })
}
