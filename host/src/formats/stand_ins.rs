//! Tools that stand in for those that a workflow names and a server has not got: with the inputs that its steps connect
//! and the outputs that they name, and no more sense than that. For dry runs.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::model::workflow::{StepDescription, WorkflowDescription};

/// Id and version of a tool.
pub type ToolName = (String, String);

/// What the steps that use a tool say of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StandIn {
    inputs: BTreeMap<String, Node>,
    outputs: BTreeMap<String, Output>,
}

#[derive(Debug, Clone, PartialEq)]
enum Node {
    /// A dataset, or several: whatever comes.
    Data,
    /// A value; its type does not matter.
    Value,
    Section(BTreeMap<String, Node>),
    Repeat(BTreeMap<String, Node>),
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Output {
    format: Option<String>,
    /// It is read as a collection of this type.
    collection_type: Option<String>,
    /// JSON that is read as a value.
    value: Option<Value>,
}

/// What `printf` writes to a dataset: a table of numbers, for what follows may cut a column or read a number.
const CONTENT: &str = r"1\t1\t1\t1\t1\t1\t1\t1\n";

/// Server tools that take a collection where others take a dataset, and those of their inputs.
const TAKES_COLLECTION: &[(&str, &str, &str)] = &[
    ("__FLATTEN__", "input", "list:list"),
    ("__UNZIP_COLLECTION__", "input", "paired"),
    ("__EXTRACT_DATASET__", "input", "list"),
    ("__SORTLIST__", "input", "list"),
    ("__RELABEL_FROM_FILE__", "input", "list"),
    ("__FILTER_FROM_FILE__", "input", "list"),
    ("__FILTER_FAILED_DATASETS__", "input", "list"),
    ("__FILTER_EMPTY_DATASETS__", "input", "list"),
    ("__FILTER_NULL__", "input", "list"),
    ("__KEEP_SUCCESS_DATASETS__", "input", "list"),
    ("__TAG_FROM_FILE__", "input", "list"),
    ("__APPLY_RULES__", "input", "list"),
    ("__HARMONIZELISTS__", "input1", "list"),
    ("__HARMONIZELISTS__", "input2", "list"),
    ("__MERGE_COLLECTION__", "inputs_0|input", "list"),
    ("__MERGE_COLLECTION__", "inputs_1|input", "list"),
];

/// The tools that a workflow needs, subworkflows included, without those that `is_there`.
pub fn of(
    workflow: &WorkflowDescription,
    is_there: &dyn Fn(&str, &str) -> bool,
) -> BTreeMap<ToolName, StandIn> {
    let mut found = BTreeMap::new();
    add(workflow, is_there, &mut found);
    found
}

/// Adds what another workflow needs to what is known.
pub fn add(
    workflow: &WorkflowDescription,
    is_there: &dyn Fn(&str, &str) -> bool,
    found: &mut BTreeMap<ToolName, StandIn>,
) {
    let mut names: Vec<Option<ToolName>> = vec![None; workflow.steps.len()];
    for (index, step) in workflow.steps.iter().enumerate() {
        if let Some(inner) = &step.subworkflow {
            add(inner, is_there, found);
        }
        let Some(id) = step.tool_id.as_deref().filter(|_| step.step_type == "tool") else {
            continue;
        };
        let version = step.tool_version.clone().unwrap_or_default();
        if step.tool_representation.is_some() || is_there(id, &version) {
            continue;
        }
        let name = (short_id(id).to_owned(), version);
        let stand_in = found.entry(name.clone()).or_default();
        for declared in &step.declared_outputs {
            let output = stand_in.outputs.entry(declared.name.clone()).or_default();
            let known = !matches!(
                declared.output_type.as_str(),
                "" | "input" | "data" | "auto" | "_sniff_"
            );
            if known && output.format.is_none() {
                output.format = Some(declared.output_type.clone());
            }
        }
        for output in &step.workflow_outputs {
            stand_in
                .outputs
                .entry(output.output_name.clone())
                .or_default();
        }
        names[index] = Some(name);
    }
    for (index, step) in workflow.steps.iter().enumerate() {
        for input in &step.inputs {
            if input.connections.is_empty()
                || input.name == crate::model::workflow::NO_INPUT_OUTPUT_NAME
            {
                continue;
            }
            let kind = kind_of(workflow, &input.connections);
            let is_when_only = step
                .when_expression
                .as_deref()
                .is_some_and(|when| when.contains(&format!("inputs.{}", input.name)));
            if let Some(name) = &names[index]
                && let Some(stand_in) = found.get_mut(name)
                && !(is_when_only && !input.name.contains('|') && kind == Node::Value)
            {
                put(&mut stand_in.inputs, &input.name, &step.tool_inputs, kind);
            }
            for connection in &input.connections {
                let Some(Some(producer)) = names.get(connection.output_step) else {
                    continue;
                };
                let Some(stand_in) = found.get_mut(producer) else {
                    continue;
                };
                let output = stand_in
                    .outputs
                    .entry(connection.output_name.clone())
                    .or_default();
                if let Some(kind) =
                    wanted_collection(step, &input.name, connection.input_subworkflow_step)
                {
                    output.collection_type = Some(kind);
                }
                if is_when_only || output.format.as_deref() == Some("expression.json") {
                    output.format = Some("expression.json".to_owned());
                    let value = match is_when_only {
                        true => json!(true),
                        false => value_by_name(&connection.output_name),
                    };
                    if output.value.is_none() || is_when_only {
                        output.value = Some(value);
                    }
                }
            }
        }
    }
}

/// The id without the Tool Shed's parts.
fn short_id(id: &str) -> &str {
    let parts = id.split_once("/repos/").map(|(_, rest)| rest);
    parts.and_then(|rest| rest.split('/').nth(2)).unwrap_or(id)
}

fn kind_of(
    workflow: &WorkflowDescription,
    connections: &[crate::model::workflow::Connection],
) -> Node {
    let is_value = connections.iter().all(|connection| {
        workflow
            .step(connection.output_step)
            .is_some_and(|producer| {
                let declared = producer
                    .declared_outputs
                    .iter()
                    .find(|output| output.name == connection.output_name);
                producer.step_type == "parameter_input"
                    || declared.is_some_and(|output| output.output_type == "expression.json")
            })
    });
    match is_value {
        true => Node::Value,
        false => Node::Data,
    }
}

/// The collection type that a consumer insists on.
fn wanted_collection(
    step: &StepDescription,
    input: &str,
    inner_step: Option<usize>,
) -> Option<String> {
    if let Some(inner) = &step.subworkflow {
        let inner = inner.step(inner_step?)?;
        let is_collection = inner.step_type == "data_collection_input";
        let kind = inner
            .tool_inputs
            .get("collection_type")
            .and_then(Value::as_str);
        return is_collection.then(|| kind.unwrap_or("list").to_owned());
    }
    let id = step.tool_id.as_deref()?;
    let found = TAKES_COLLECTION
        .iter()
        .find(|(tool, name, _)| *tool == id && *name == input);
    found.map(|(_, _, kind)| (*kind).to_owned())
}

fn value_by_name(output: &str) -> Value {
    if output.contains("bool") {
        json!(true)
    } else if output.contains("int") {
        json!(1)
    } else if output.contains("float") {
        json!(1.0)
    } else {
        json!("text")
    }
}

/// Puts an input at its pipe path. `name_0` is the first of a repeat unless the state has a section of that name.
fn put(level: &mut BTreeMap<String, Node>, path: &str, state: &Value, kind: Node) {
    if path.split('|').any(|part| part.starts_with("__")) {
        // No tool file here has such names; what is connected to them is left unconnected.
        return;
    }
    let (first, rest) = match path.split_once('|') {
        None => {
            match level.get_mut(path) {
                // What takes a value in one place takes values everywhere: datasets that hold one are read.
                Some(node @ Node::Data) if kind == Node::Value => *node = kind,
                Some(_) => {}
                None => drop(level.insert(path.to_owned(), kind)),
            }
            return;
        }
        Some(parts) => parts,
    };
    if let Some((name, number)) = first.rsplit_once('_')
        && state.get(first).is_none()
        && let Ok(number) = number.parse::<usize>()
    {
        let inside = state.get(name).and_then(|items| items.get(number));
        let node = level
            .entry(name.to_owned())
            .or_insert_with(|| Node::Repeat(BTreeMap::new()));
        if let Node::Repeat(inner) | Node::Section(inner) = node {
            put(inner, rest, inside.unwrap_or(&Value::Null), kind);
        }
        return;
    }
    let node = level
        .entry(first.to_owned())
        .or_insert_with(|| Node::Section(BTreeMap::new()));
    if let Node::Repeat(inner) | Node::Section(inner) = node {
        put(inner, rest, state.get(first).unwrap_or(&Value::Null), kind);
    }
}

/// A file name for a tool.
pub fn file_name((id, version): &ToolName) -> String {
    let plain = |text: &str| -> String {
        let plain = |c: char| match c.is_ascii_alphanumeric() || matches!(c, '.' | '-') {
            true => c,
            false => '_',
        };
        text.chars().map(plain).take(100).collect()
    };
    format!(
        "{}-{}.yml",
        plain(id).trim_start_matches('.'),
        plain(version)
    )
}

/// The tool as a file: JSON, which is YAML. `is_datatype` says which formats the server knows.
pub fn write(
    (id, version): &ToolName,
    stand_in: &StandIn,
    is_datatype: &dyn Fn(&str) -> bool,
) -> Value {
    let mut script = Vec::new();
    let mut outputs = Vec::new();
    for (place, (name, output)) in stand_in.outputs.iter().enumerate() {
        let format = output
            .format
            .as_deref()
            .filter(|format| is_datatype(format))
            .unwrap_or("txt");
        if let Some(kind) = &output.collection_type {
            let directory = format!("out{place}");
            script.push(format!("mkdir -p {directory}"));
            let is_paired = kind.ends_with("paired");
            let names: BTreeSet<&str> = match is_paired {
                true => ["forward", "reverse"].into(),
                false => ["one", "two"].into(),
            };
            let depth = kind.split(':').count();
            let (pattern, flat): (&str, Vec<String>) = match (depth, is_paired) {
                (1, _) => (
                    "__name_and_ext__",
                    names.iter().map(|n| (*n).to_owned()).collect(),
                ),
                _ => (
                    "(?P<identifier_0>[^_]+)_(?P<identifier_1>[^_]+)\\.txt",
                    ["one", "two"]
                        .iter()
                        .flat_map(|outer| names.iter().map(move |inner| format!("{outer}_{inner}")))
                        .collect(),
                ),
            };
            for name in flat {
                script.push(format!("printf '{CONTENT}' > {directory}/{name}.txt"));
            }
            let kind = match depth {
                1 | 2 => kind.as_str(),
                _ => "list:list",
            };
            outputs.push(json!({"name": name, "type": "collection", "collection_type": kind,
                "discover_datasets": [{"pattern": pattern, "directory": directory, "format": "txt"}]}));
            continue;
        }
        let file = format!("out{place}.dat");
        script.push(match &output.value {
            Some(value) => format!("echo '{}' > {file}", value.to_string().replace('\'', "")),
            None => format!("printf '{CONTENT}' > {file}"),
        });
        outputs
            .push(json!({"name": name, "type": "data", "format": format, "from_work_dir": file}));
    }
    if script.is_empty() {
        script.push("true".to_owned());
    }
    json!({
        "class": "GalaxyTool",
        "id": id,
        "name": id,
        "version": version,
        "description": "(stand-in)",
        "shell_command": script.join("\n"),
        "inputs": inputs(&stand_in.inputs),
        "outputs": outputs,
    })
}

fn inputs(level: &BTreeMap<String, Node>) -> Vec<Value> {
    let one = |(name, node): (&String, &Node)| {
        let mut shape = Map::new();
        shape.insert("name".to_owned(), json!(name));
        let (kind, inner) = match node {
            Node::Data => ("data", None),
            Node::Value => ("text", None),
            Node::Section(inner) => ("section", Some(inner)),
            Node::Repeat(inner) => ("repeat", Some(inner)),
        };
        shape.insert("type".to_owned(), json!(kind));
        match inner {
            Some(inner) => drop(shape.insert("parameters".to_owned(), json!(inputs(inner)))),
            None => drop(shape.insert("optional".to_owned(), json!(true))),
        }
        if *node == Node::Data {
            shape.insert("multiple".to_owned(), json!(true));
        }
        Value::Object(shape)
    };
    level.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workflow() -> WorkflowDescription {
        let text = r#"
class: GalaxyWorkflow
inputs:
  reads: {type: collection, collection_type: list}
  n: integer
outputs: {}
steps:
  map:
    tool_id: shed.org/repos/o/r/mapper/1.2+galaxy0
    tool_version: 1.2+galaxy0
    in: {"library|input": reads, "options|n": n}
    state: {library: {}, options: {}}
    out: [bam]
  join:
    tool_id: joiner
    tool_version: "3"
    in: {"queries_0|file": map/bam, "queries_1|file": map/bam}
    state: {queries: [{}, {}]}
  sort:
    tool_id: __SORTLIST__
    in: {input: join/list}
"#;
        super::super::import_bytes(text.as_bytes()).expect("a workflow")
    }

    #[test]
    fn a_stand_in_has_what_the_steps_connect_and_name() {
        let found = of(&workflow(), &|id, _| id.starts_with("__"));
        let names: Vec<&str> = found.keys().map(|(id, _)| id.as_str()).collect();
        assert_eq!(names, ["joiner", "mapper"]);
        let mapper = write(
            &("mapper".into(), "1.2+galaxy0".into()),
            &found[&("mapper".to_owned(), "1.2+galaxy0".to_owned())],
            &|_| true,
        );
        assert_eq!(mapper["inputs"][0]["name"], "library");
        assert_eq!(mapper["inputs"][0]["parameters"][0]["type"], "data");
        assert_eq!(mapper["inputs"][1]["parameters"][0]["type"], "text");
        assert_eq!(mapper["outputs"][0]["name"], "bam");
        let joiner = write(
            &("joiner".into(), "3".into()),
            &found[&("joiner".to_owned(), "3".to_owned())],
            &|_| true,
        );
        assert_eq!(joiner["inputs"][0]["type"], "repeat");
        assert_eq!(joiner["outputs"][0]["collection_type"], "list");
    }

    #[test]
    fn every_stand_in_is_a_tool_that_loads() {
        for (name, stand_in) in of(&workflow(), &|_, _| false) {
            let text = write(&name, &stand_in, &|_| false).to_string();
            crate::tools::yaml::parse(&text, "stand-in").expect("a sound tool");
        }
    }

    #[test]
    fn file_names_are_plain() {
        assert_eq!(file_name(&("../a b".into(), "1+2".into())), "_a_b-1_2.yml");
    }
}
