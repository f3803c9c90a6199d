//! Galaxy's semantics of workflows, from a stored workflow to what its jobs wrote. Each test is named after what holds.

use super::*;

use crate::given::Node;

#[path = "semantics/actions.rs"]
mod actions;
#[path = "semantics/conditions.rs"]
mod conditions;
#[path = "semantics/inputs.rs"]
mod inputs;
#[path = "semantics/jobs.rs"]
mod jobs;
#[path = "semantics/mapping.rs"]
mod mapping;
#[path = "semantics/operations.rs"]
mod operations;
#[path = "semantics/order.rs"]
mod order;
#[path = "semantics/step_types.rs"]
mod step_types;
#[path = "semantics/subworkflows.rs"]
mod subworkflows;
#[path = "semantics/tool_steps.rs"]
mod tool_steps;

/// Tools besides those of [`World::new`].
pub const TOOLS: [&str; 9] = [
    r#"
class: GalaxyTool
id: maybe
version: "1"
name: Say whether something was given
shell_command: "echo $(inputs.input ? 'given' : 'nothing') > out.txt"
inputs:
  - {name: input, type: data, optional: true}
outputs:
  - {name: out, type: data, format: txt, from_work_dir: out.txt}
"#,
    r#"
class: GalaxyTool
id: concat
version: "1"
name: Put datasets together
shell_command: cat $(inputs.inputs.map(function(f) { return f.path; }).join(' ')) > out.txt
inputs:
  - {name: inputs, type: data, multiple: true}
outputs:
  - {name: out, type: data, format: txt, from_work_dir: out.txt}
"#,
    r#"
class: GalaxyTool
id: pair
version: "1"
name: Put a pair together
shell_command: cat '$(inputs.pair.elements.forward.path)' '$(inputs.pair.elements.reverse.path)' > out.txt
inputs:
  - {name: pair, type: data_collection, collection_type: paired}
outputs:
  - {name: out, type: data, format: txt, from_work_dir: out.txt}
"#,
    r#"
class: GalaxyTool
id: either
version: "1"
name: Tell what a pair or an unpaired one has
shell_command: echo $(inputs.reads.name) $(Object.keys(inputs.reads.elements).join(' ')) > out.txt
inputs:
  - {name: reads, type: data_collection, collection_type: paired_or_unpaired}
outputs:
  - {name: out, type: data, format: txt, from_work_dir: out.txt}
"#,
    r#"
class: GalaxyTool
id: split
version: "1"
name: One dataset for each line
shell_command: if grep -q bad '$(inputs.input.path)'; then exit 1; fi; mkdir parts; while read -r line; do echo "$line" > "parts/$line.txt"; done < '$(inputs.input.path)'
inputs:
  - {name: input, type: data}
outputs:
  - name: parts
    type: collection
    collection_type: list
    discover_datasets:
      - {pattern: __name_and_ext__, directory: parts, format: txt}
"#,
    r#"
class: GalaxyTool
id: number
version: "1"
name: Write a number
shell_command: echo $(inputs.n) > out.txt
inputs:
  - {name: n, type: integer, value: 7, max: 100}
outputs:
  - {name: out, type: data, format: txt, from_work_dir: out.txt}
"#,
    r#"
class: GalaxyTool
id: two
version: "1"
name: Put two datasets together
shell_command: cat '$(inputs.a.path)' '$(inputs.b.path)' > out.txt; cp out.txt also.txt
inputs:
  - {name: a, type: data}
  - {name: b, type: data}
outputs:
  - {name: out, type: data, format: txt, from_work_dir: out.txt}
  - {name: also, type: data, format: txt, from_work_dir: also.txt, default_identifier_source: b}
"#,
    r#"
class: GalaxyTool
id: verdict
version: "1"
name: Whether the text says yes
expression: "{ return {answer: $job.text == 'yes'}; }"
inputs:
  - {name: text, type: text}
outputs:
  - {name: answer, type: boolean, from: answer}
"#,
    r#"
class: GalaxyTool
id: table
version: "1"
name: A table
shell_command: printf 'chr1\\t1\\t2\\n' > out.txt
outputs:
  - {name: out, type: data, format: interval, from_work_dir: out.txt}
"#,
];

/// The connection of a step that only follows another one.
pub const AFTER: &str = "__NO_INPUT_OUTPUT_NAME__";

/// A message of an invocation, with the labels of the steps that it is about.
#[derive(Debug, PartialEq)]
struct Said {
    reason: String,
    step: Option<String>,
    dependent: Option<String>,
    output: Option<String>,
    details: Option<String>,
    path: Option<String>,
    job_id: Option<i64>,
    hda_id: Option<i64>,
    hdca_id: Option<i64>,
}

impl Said {
    /// Its reason, and the step it is about.
    fn about(&self) -> (&str, Option<&str>) {
        (&self.reason, self.step.as_deref())
    }

    /// The step it is about, and the one that this one depends on.
    fn steps(&self) -> (Option<&str>, Option<&str>) {
        (self.step.as_deref(), self.dependent.as_deref())
    }
}

/// What an invocation says; one message.
async fn said(world: &World, invocation: i64) -> Said {
    let mut all = world
        .store
        .reader()
        .all(
            "SELECT m.reason, w.label, d.label, m.output_name, m.details, m.workflow_step_index_path, m.job_id, m.hda_id, m.hdca_id
             FROM workflow_invocation_message m LEFT JOIN workflow_step w ON w.id = m.workflow_step_id
             LEFT JOIN workflow_step d ON d.id = m.dependent_workflow_step_id WHERE m.workflow_invocation_id = $1",
            args![invocation],
        )
        .await
        .expect("reads");
    assert_eq!(all.len(), 1, "one message");
    let row = all.remove(0);
    Said {
        reason: row.get(0).expect("a reason"),
        step: row.get(1).expect("a label"),
        dependent: row.get(2).expect("a label"),
        output: row.get(3).expect("a name"),
        details: row.get(4).expect("a text"),
        path: row.get(5).expect("a path"),
        job_id: row.get(6).expect("an id"),
        hda_id: row.get(7).expect("an id"),
        hdca_id: row.get(8).expect("an id"),
    }
}

/// The steps that are there already, in order: label and state.
async fn reached(world: &World, invocation: i64) -> Vec<String> {
    let rows = world
        .rows(
            "SELECT w.label || ' ' || s.state, s.id FROM workflow_invocation_step s JOIN workflow_step w ON w.id = s.workflow_step_id
             WHERE s.workflow_invocation_id = $1 ORDER BY s.order_index",
            invocation,
        )
        .await;
    rows.into_iter().map(|(text, _)| text).collect()
}

/// The content of a step's only output dataset, or of each element: with its identifier.
async fn written(world: &World, invocation: i64, step: i64, output: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (identifier, hda) in outputs_of(world, invocation, step, output).await {
        found.push((identifier, content(world, hda).await.0));
    }
    found
}

async fn text_of(world: &World, invocation: i64, step: i64, output: &str) -> String {
    let made = output_of(world, invocation, step, output).await;
    content(world, made).await.0
}

/// What each element of a step's output collection says.
async fn texts_of(world: &World, invocation: i64, step: i64, output: &str) -> Vec<String> {
    let found = written(world, invocation, step, output).await;
    found.into_iter().map(|(_, text)| text).collect()
}

/// The one dataset that is a step's output, or the only element of it.
async fn output_of(world: &World, invocation: i64, step: i64, output: &str) -> i64 {
    let found = outputs_of(world, invocation, step, output).await;
    assert_eq!(found.len(), 1, "one output {output} of step {step}");
    found[0].1
}

/// The id of a step's output collection, with its type.
async fn collection_of(world: &World, invocation: i64, step: i64, output: &str) -> (String, i64) {
    let sql = "SELECT c.collection_type, a.id FROM workflow_invocation_step s
         JOIN workflow_step w ON w.id = s.workflow_step_id
         JOIN workflow_invocation_step_output_dataset_collection_association o ON o.workflow_invocation_step_id = s.id
         JOIN history_dataset_collection_association a ON a.id = o.dataset_collection_id
         JOIN dataset_collection c ON c.id = a.collection_id
         WHERE s.workflow_invocation_id = $1 AND w.label = $2 AND o.output_name = $3";
    let arguments = args![invocation, format!("s{step}"), output];
    let row = world.store.reader().maybe(sql, arguments).await;
    let row = row.expect("reads").expect("a collection");
    (row.get(0).expect("a type"), row.get(1).expect("an id"))
}

impl World {
    /// A collection of any type in the history.
    async fn collection(&self, collection_type: &str, of: Vec<(&str, Node<'_>)>) -> i64 {
        let of = of.into_iter().map(|(name, node)| (name.to_owned(), node));
        let services = self.services();
        let contents = self.contents(&services);
        contents
            .collection("nested", collection_type, of.collect())
            .await
    }

    /// A list of pairs: identifier, forward, reverse.
    async fn pairs(&self, of: &[(&'static str, &'static str, &'static str)]) -> i64 {
        let pair = |(name, forward, reverse): &(&'static str, &'static str, &'static str)| {
            let ends = vec![
                ("forward", Node::Dataset(forward)),
                ("reverse", Node::Dataset(reverse)),
            ];
            (*name, Node::Inner("paired", ends))
        };
        self.collection("list:paired", of.iter().map(pair).collect())
            .await
    }
}

/// A dataset's content by hda, with its state and name.
async fn content(world: &World, hda: i64) -> (String, String, String) {
    let row = world
        .store
        .reader()
        .maybe(
            "SELECT a.dataset_id, d.state, a.name FROM history_dataset_association a JOIN dataset d ON d.id = a.dataset_id WHERE a.id = $1",
            args![hda],
        )
        .await
        .expect("reads")
        .expect("there");
    let dataset: i64 = row.get(0).expect("id");
    let text = std::fs::read_to_string(world.services().data.dataset(dataset));
    (
        text.unwrap_or_default(),
        row.get(1).expect("state"),
        row.get(2).expect("name"),
    )
}

/// An output of the step with this number in the file (its label tells, as an import numbers anew): the hda, or the elements of the hdca as (identifier, hda).
async fn outputs_of(world: &World, invocation: i64, step: i64, output: &str) -> Vec<(String, i64)> {
    let mut reader = world.store.reader();
    let rows = reader
        .all(
            "SELECT '', o.dataset_id FROM workflow_invocation_step s
             JOIN workflow_step w ON w.id = s.workflow_step_id
             JOIN workflow_invocation_step_output_dataset_association o ON o.workflow_invocation_step_id = s.id
             WHERE s.workflow_invocation_id = $1 AND w.label = $2 AND o.output_name = $3",
            args![invocation, format!("s{step}"), output],
        )
        .await
        .expect("reads");
    let rows = match rows.is_empty() {
        false => rows,
        true => reader
            .all(
                "SELECT e.element_identifier, e.hda_id FROM workflow_invocation_step s
                 JOIN workflow_step w ON w.id = s.workflow_step_id
                 JOIN workflow_invocation_step_output_dataset_collection_association o ON o.workflow_invocation_step_id = s.id
                 JOIN history_dataset_collection_association c ON c.id = o.dataset_collection_id
                 JOIN dataset_collection_element e ON e.dataset_collection_id = c.collection_id
                 WHERE s.workflow_invocation_id = $1 AND w.label = $2 AND o.output_name = $3 ORDER BY e.element_index",
                args![invocation, format!("s{step}"), output],
            )
            .await
            .expect("reads"),
    };
    rows.iter()
        .map(|row| {
            let hda: Option<i64> = row.get(1).expect("id");
            (row.get(0).expect("text"), hda.unwrap_or_default())
        })
        .collect()
}

async fn number(world: &World, sql: &'static str, id: i64) -> i64 {
    let row = world.store.reader().maybe(sql, args![id]).await;
    row.expect("reads")
        .expect("a row")
        .get(0)
        .expect("a number")
}

/// The jobs of an invocation that are over and went well.
const JOBS_OK: &str = "SELECT COUNT(*) FROM job WHERE workflow_invocation_id = $1 AND state = 'ok'";

/// Waits until a question about the database is answered with `wanted`.
async fn wait_until(world: &World, sql: &'static str, id: i64, wanted: i64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = number(world, sql, id).await;
        if found == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "{sql}: {found}, not {wanted}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A tool step with its state, and actions when its jobs end.
fn tool(id: usize, tool: &str, version: &str, state: Value, from: &[(&str, usize, &str)]) -> Value {
    let mut made = step(id, "tool", Some(tool), from);
    made["tool_version"] = version.into();
    let mut state = state;
    for (name, ..) in from {
        let marker = json!({"__class__": "ConnectedValue"});
        set(&mut state, name, marker);
    }
    made["tool_state"] = state.to_string().into();
    made
}

/// Puts a value at a pipe path; repeats are lists already.
fn set(state: &mut Value, path: &str, value: Value) {
    match path.split_once('|') {
        None => state[path] = value,
        Some((first, rest)) => match first.rsplit_once('_').map(|(n, i)| (n, i.parse::<usize>())) {
            Some((name, Ok(index))) if state[name].is_array() => {
                set(&mut state[name][index], rest, value);
            }
            _ => set(&mut state[first], rest, value),
        },
    }
}

fn with_actions(mut step: Value, actions: Value) -> Value {
    let mut keyed = serde_json::Map::new();
    for action in actions.as_array().expect("a list") {
        let key = format!("{}{}", action["action_type"], action["output_name"]);
        keyed.insert(key, action.clone());
    }
    step["post_job_actions"] = Value::Object(keyed);
    step
}

/// Invokes a workflow whose first step is `input`, fed with `item`, and whose others are `rest`.
async fn on_input(world: &World, input: Value, item: i64, rest: Vec<Value>) -> i64 {
    let src = match input["type"] == "data_input" {
        true => "hda",
        false => "hdca",
    };
    let mut all = vec![input];
    all.extend(rest);
    world.invoke(steps(all), &[(0, src, item)]).await
}

/// The same, run until it is completed.
async fn completed_on(world: &World, input: Value, item: i64, rest: Vec<Value>) -> i64 {
    let id = on_input(world, input, item, rest).await;
    world.wait_for(id, "completed").await;
    id
}

/// A step that reads the dataset of another one as a value of a type.
fn value_of(id: usize, param_type: &str, from: usize) -> Value {
    let state = json!({"param_type": param_type, "remove_newlines": true});
    let input = [("input1", from, "output")];
    tool(id, "param_value_from_file", "0.1.0", state, &input)
}

fn list(id: usize) -> Value {
    collection(id, "list")
}

fn collection(id: usize, collection_type: &str) -> Value {
    let mut made = step(id, "data_collection_input", None, &[]);
    made["tool_state"] = json!({"collection_type": collection_type})
        .to_string()
        .into();
    made
}

/// The step with a condition.
fn when(mut step: Value, expression: &str) -> Value {
    step["when"] = expression.into();
    step
}

/// The step with an output of the workflow.
fn with_output(mut step: Value, output: &str, label: &str) -> Value {
    step["workflow_outputs"] = json!([{"output_name": output, "label": label}]);
    step
}

/// A step that is a workflow; `from` feeds its inputs: name, step and output, number of the step inside.
fn sub(id: usize, inside: Value, from: &[(&str, usize, &str, Option<usize>)]) -> Value {
    let mut made = step(id, "subworkflow", None, &[]);
    made["subworkflow"] = json!({
        "a_galaxy_workflow": "true", "format-version": "0.1", "name": "inside", "annotation": "", "steps": inside
    });
    let mut connections = serde_json::Map::new();
    for (name, step, output, inner) in from {
        let mut connection = json!({"id": step, "output_name": output});
        if let Some(inner) = inner {
            connection["input_subworkflow_step_id"] = (*inner).into();
        }
        connections.insert((*name).to_owned(), connection);
    }
    made["input_connections"] = Value::Object(connections);
    made
}

fn parameter(id: usize, kind: &str, value: Value) -> Value {
    let mut made = step(id, "parameter_input", None, &[]);
    made["tool_state"] = json!({"parameter_type": kind, "optional": true, "default": value})
        .to_string()
        .into();
    made
}
