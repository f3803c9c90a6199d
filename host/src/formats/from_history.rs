//! A workflow out of what was done in a history (Galaxy: workflow extraction).

use std::collections::HashMap;

use serde_json::{Value, json};
use uuid::Uuid;

use super::error::ImportError;
use super::{order, validate};
use crate::model::workflow::{Connection, StepDescription, StepInput, WorkflowDescription};

/// Something in a history: `hda`, `hdca`, or `dce`, with its id.
pub type Item = (String, i64);

/// What becomes an input of the workflow.
#[derive(Debug, Clone, PartialEq)]
pub struct NewInput {
    pub name: Option<String>,
    /// Of a collection.
    pub collection_type: Option<String>,
    /// Whatever stands for it where a job reads it: itself, the same data elsewhere, elements.
    pub items: Vec<Item>,
}

/// What becomes a tool step.
#[derive(Debug, Clone, PartialEq)]
pub struct NewTool {
    pub tool_id: String,
    pub tool_version: Option<String>,
    pub tool_uuid: Option<Uuid>,
    /// The job's parameters; what it read stands there as `{"src", "id"}`.
    pub state: Value,
    /// Each output and whatever stands for it.
    pub outputs: Vec<(String, Vec<Item>)>,
}

/// The workflow: inputs first, then the tools, which must come in the order in which they ran. What a tool read and no
/// earlier step stands for is left to be given when the workflow runs.
pub fn extract(
    name: &str,
    inputs: &[NewInput],
    tools: &[NewTool],
) -> Result<WorkflowDescription, ImportError> {
    let mut workflow = WorkflowDescription {
        name: name.to_owned(),
        ..Default::default()
    };
    let mut made: HashMap<&Item, (usize, &str)> = HashMap::new();
    let mut labels: HashMap<String, usize> = HashMap::new();
    for input in inputs {
        let index = workflow.steps.len();
        let (step_type, stock, state) = match &input.collection_type {
            None => ("data_input", "Input Dataset", json!({"optional": false})),
            Some(kind) => (
                "data_collection_input",
                "Input Dataset Collection",
                json!({"optional": false, "collection_type": kind}),
            ),
        };
        let wanted = input.name.as_deref().unwrap_or(stock);
        // Labels tell steps apart, so a second of the same name gets a number.
        let count = labels.entry(wanted.to_owned()).or_default();
        *count += 1;
        let label = match *count {
            1 => wanted.to_owned(),
            n => format!("{wanted} {n}"),
        };
        workflow.steps.push(StepDescription {
            order_index: index,
            step_type: step_type.to_owned(),
            label: Some(label.chars().take(200).collect()),
            tool_inputs: state,
            position: Some(json!({"left": 0, "top": 120 * index})),
            ..Default::default()
        });
        for item in &input.items {
            made.insert(item, (index, "output"));
        }
    }
    let mut depths = vec![0; workflow.steps.len()];
    for tool in tools {
        let index = workflow.steps.len();
        let mut found = Vec::new();
        let mut state = tool.state.clone();
        disconnect(&mut state, String::new(), &mut found);
        let mut step_inputs: Vec<StepInput> = Vec::new();
        let mut depth = 0;
        for (path, item) in found {
            let Some((producer, output)) = made.get(&item) else {
                continue;
            };
            depth = depth.max(depths[*producer] + 1);
            let connection = Connection {
                output_step: *producer,
                output_name: (*output).to_owned(),
                input_subworkflow_step: None,
            };
            match step_inputs.iter_mut().find(|input| input.name == path) {
                Some(input) if input.connections.contains(&connection) => {}
                Some(input) => input.connections.push(connection),
                None => step_inputs.push(StepInput {
                    name: path,
                    connections: vec![connection],
                    ..Default::default()
                }),
            }
        }
        depths.push(depth);
        workflow.steps.push(StepDescription {
            order_index: index,
            step_type: "tool".to_owned(),
            tool_id: Some(tool.tool_id.clone()),
            tool_version: tool.tool_version.clone(),
            tool_uuid: tool.tool_uuid,
            tool_inputs: state,
            inputs: step_inputs,
            position: Some(json!({"left": 250 * depth, "top": 120 * index})),
            ..Default::default()
        });
        for (name, items) in &tool.outputs {
            for item in items {
                made.insert(item, (index, name));
            }
        }
    }
    validate::description(&workflow)?;
    order::reorder(&mut workflow);
    Ok(workflow)
}

/// Takes what was read out of a state: a mark stays, and the path with what stood there is noted.
fn disconnect(value: &mut Value, path: String, found: &mut Vec<(String, Item)>) {
    if let Some(item) = item_of(value) {
        found.push((path, item));
        *value = json!({"__class__": "ConnectedValue"});
        return;
    }
    match value {
        // `{"values": [{"src", "id"}]}`, as Galaxy's forms write several.
        Value::Object(object) => {
            if let Some(Value::Array(items)) = object.get("values")
                && !items.is_empty()
                && items.iter().all(|item| item_of(item).is_some())
            {
                found.extend(
                    items
                        .iter()
                        .filter_map(item_of)
                        .map(|item| (path.clone(), item)),
                );
                *value = json!({"__class__": "ConnectedValue"});
                return;
            }
            for (key, inner) in object.iter_mut() {
                let name = match path.is_empty() {
                    true => key.clone(),
                    false => format!("{path}|{key}"),
                };
                disconnect(inner, name, found);
            }
        }
        Value::Array(items) => {
            if !items.is_empty() && items.iter().all(|item| item_of(item).is_some()) {
                found.extend(
                    items
                        .iter()
                        .filter_map(item_of)
                        .map(|item| (path.clone(), item)),
                );
                *value = json!({"__class__": "ConnectedValue"});
                return;
            }
            for (index, item) in items.iter_mut().enumerate() {
                disconnect(item, format!("{path}_{index}"), found);
            }
        }
        _ => {}
    }
}

fn item_of(value: &Value) -> Option<Item> {
    let src = value.get("src")?.as_str()?;
    let id = value.get("id")?.as_i64()?;
    matches!(src, "hda" | "hdca" | "dce").then(|| (src.to_owned(), id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hda(id: i64) -> Item {
        ("hda".to_owned(), id)
    }

    fn tool(id: &str, state: Value, makes: i64) -> NewTool {
        NewTool {
            tool_id: id.to_owned(),
            tool_version: None,
            tool_uuid: None,
            state,
            outputs: vec![("out".to_owned(), vec![hda(makes)])],
        }
    }

    fn data(name: Option<&str>, id: i64) -> NewInput {
        NewInput {
            name: name.map(str::to_owned),
            collection_type: None,
            items: vec![hda(id)],
        }
    }

    #[test]
    fn jobs_become_steps_that_read_what_the_ones_before_made() {
        let tools = [
            tool("one", json!({"input": {"src": "hda", "id": 1}, "n": 3}), 2),
            tool(
                "two",
                json!({"queries": [{"input2": {"src": "hda", "id": 2}}], "many": [{"src": "hda", "id": 1}, {"src": "hda", "id": 2}]}),
                3,
            ),
        ];
        let workflow = extract("w", &[data(None, 1)], &tools).expect("a workflow");
        assert_eq!(workflow.steps.len(), 3);
        let [input, one, two] = [0, 1, 2].map(|n| &workflow.steps[n]);
        assert_eq!(input.label.as_deref(), Some("Input Dataset"));
        assert_eq!(one.tool_inputs["n"], 3);
        let feeds = |step: &StepDescription, name: &str| -> Vec<usize> {
            let input = step.input(name).expect("connected");
            input.connections.iter().map(|c| c.output_step).collect()
        };
        assert_eq!(feeds(one, "input"), [0]);
        assert_eq!(feeds(two, "queries_0|input2"), [1]);
        assert_eq!(feeds(two, "many"), [0, 1]);
    }

    #[test]
    fn what_no_step_makes_is_left_open() {
        let tools = [tool("one", json!({"input": {"src": "hda", "id": 9}}), 2)];
        let workflow = extract("w", &[], &tools).expect("a workflow");
        assert_eq!(workflow.steps[0].inputs, []);
    }

    #[test]
    fn inputs_of_one_name_are_told_apart() {
        let inputs = [data(Some("reads"), 1), data(Some("reads"), 2)];
        let workflow = extract("w", &inputs, &[]).expect("a workflow");
        let labels: Vec<_> = workflow.steps.iter().map(|s| s.label.as_deref()).collect();
        assert_eq!(labels, [Some("reads"), Some("reads 2")]);
    }
}
