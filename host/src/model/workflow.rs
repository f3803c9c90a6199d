//! A workflow as a plain value: what a file describes, what the store keeps and what an
//! invocation follows. Steps, comments and connections refer to each other by `order_index`,
//! never by a database id, so a description means the same before and after it is stored.

use serde_json::Value;
use uuid::Uuid;

/// The reserved name that, used at both ends of a connection, says "run after, but carry no data".
pub const NO_INPUT_OUTPUT_NAME: &str = "__NO_INPUT_OUTPUT_NAME__";

/// Step types that stand for something the invoker supplies.
pub const INPUT_STEP_TYPES: [&str; 3] = ["data_input", "data_collection_input", "parameter_input"];

/// One revision of a workflow, or the inside of a subworkflow step.
///
/// `steps[i].order_index == i` holds for everything `formats::import` returns.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WorkflowDescription {
    pub name: String,
    pub annotation: Option<String>,
    pub tags: Vec<String>,
    pub uuid: Option<Uuid>,
    /// SPDX identifier.
    pub license: Option<String>,
    /// List of `{"class": "Person" | "Organization", …}`.
    pub creator: Option<Value>,
    /// `{"markdown", "title"?}`; Galaxy's column `reports_config`.
    pub report: Option<Value>,
    /// Where it came from: `{"url"}` or TRS fields.
    pub source_metadata: Option<Value>,
    pub readme: Option<String>,
    pub help: Option<String>,
    pub logo_url: Option<String>,
    pub doi: Vec<String>,
    pub release: Option<String>,
    pub comments: Vec<Comment>,
    pub steps: Vec<StepDescription>,
    /// The steps cannot be ordered; such a workflow imports but never runs.
    pub has_cycles: bool,
    /// Some step carries `tool_errors`.
    pub has_errors: bool,
}

/// One step of a workflow.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StepDescription {
    pub order_index: usize,
    /// `tool`, `subworkflow`, `pause`, one of [`INPUT_STEP_TYPES`], or a type some plugin supplies.
    pub step_type: String,
    /// For `tool` steps; Galaxy's `content_id` says the same.
    pub tool_id: Option<String>,
    pub tool_version: Option<String>,
    pub tool_uuid: Option<Uuid>,
    /// Display name of the tool or module, not the label.
    pub name: Option<String>,
    /// The decoded state, always an object; no JSON text inside.
    pub tool_inputs: Value,
    pub tool_errors: Option<Value>,
    /// `{"left", "top"}` and whatever else an editor stored.
    pub position: Option<Value>,
    pub config: Option<Value>,
    /// Unique inside one workflow when set.
    pub label: Option<String>,
    pub uuid: Option<Uuid>,
    pub annotation: Option<String>,
    /// The `when` expression; the step is skipped where it evaluates to false.
    pub when_expression: Option<String>,
    /// `{"name", "owner", "changeset_revision", "tool_shed"}`.
    pub tool_shed_repository: Option<Value>,
    /// An embedded tool definition.
    pub tool_representation: Option<Value>,
    pub subworkflow: Option<Box<WorkflowDescription>>,
    /// Every input that has a connection, a default or an expression; names are pipe paths
    /// (`cond|rep_0|input1`) and unique within the step.
    pub inputs: Vec<StepInput>,
    pub workflow_outputs: Vec<WorkflowOutput>,
    pub post_job_actions: Vec<PostJobAction>,
    /// What the file says the user is still to supply; informative only.
    pub declared_inputs: Vec<DeclaredInput>,
    /// What the file says the step makes; the only knowledge of it while the tool is missing.
    pub declared_outputs: Vec<DeclaredOutput>,
}

/// An input of a step that is fed by something (Galaxy's WorkflowStepInput).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StepInput {
    pub name: String,
    pub merge_type: Option<String>,
    pub scatter_type: Option<String>,
    /// A JSON expression, with its language in `value_from_type`.
    pub value_from: Option<Value>,
    pub value_from_type: Option<String>,
    /// Meaningful only while `default_value_set`; a default of null is a default.
    pub default_value: Option<Value>,
    pub default_value_set: bool,
    pub runtime_value: bool,
    /// In the order of the file, which is the order of a multiple input's values.
    pub connections: Vec<Connection>,
}

/// The producing end of a connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Connection {
    /// order_index of the producing step.
    pub output_step: usize,
    pub output_name: String,
    /// When the consumer is a subworkflow step: order_index, inside that subworkflow, of the
    /// input step this feeds.
    pub input_subworkflow_step: Option<usize>,
}

/// Marks a step's output as an output of the whole workflow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkflowOutput {
    pub output_name: String,
    pub label: Option<String>,
    pub uuid: Option<Uuid>,
}

/// Something to do to an output once (or before) its job is done.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PostJobAction {
    pub action_type: String,
    pub output_name: Option<String>,
    pub action_arguments: Value,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeclaredInput {
    pub name: String,
    pub description: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeclaredOutput {
    pub name: String,
    /// A datatype extension, or `input`, `data`, `collection` …
    pub output_type: String,
}

/// A text, markdown, frame or freehand remark on the canvas.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Comment {
    /// Galaxy's comment `order_index`, written as `id`.
    pub id: usize,
    pub comment_type: String,
    pub position: Option<Value>,
    pub size: Option<Value>,
    pub color: Option<String>,
    pub data: Value,
    /// order_index of each step a frame surrounds.
    pub child_steps: Vec<usize>,
    /// `id` of each comment a frame surrounds.
    pub child_comments: Vec<usize>,
}

/// Which steps feed which, by order_index; each list is ascending and without repeats.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StepGraph {
    pub producers: Vec<Vec<usize>>,
    pub consumers: Vec<Vec<usize>>,
}

impl WorkflowDescription {
    pub fn step(&self, order_index: usize) -> Option<&StepDescription> {
        self.steps.get(order_index)
    }

    pub fn step_by_label(&self, label: &str) -> Option<&StepDescription> {
        self.steps
            .iter()
            .find(|step| step.effective_label() == Some(label))
    }

    /// The steps an invoker supplies values for, in order.
    pub fn input_steps(&self) -> impl Iterator<Item = &StepDescription> {
        self.steps.iter().filter(|step| step.is_input_step())
    }

    /// Every marked output with the step that makes it, in step order.
    pub fn outputs(&self) -> impl Iterator<Item = (&StepDescription, &WorkflowOutput)> {
        self.steps
            .iter()
            .flat_map(|step| step.workflow_outputs.iter().map(move |out| (step, out)))
    }

    /// Dependencies between steps, non-data ones included. Connections from steps that do not
    /// exist are left out; `formats::validate` refuses them beforehand.
    pub fn graph(&self) -> StepGraph {
        let count = self.steps.len();
        let mut graph = StepGraph {
            producers: vec![Vec::new(); count],
            consumers: vec![Vec::new(); count],
        };
        for (consumer, step) in self.steps.iter().enumerate() {
            let mut producers: Vec<usize> = step
                .inputs
                .iter()
                .flat_map(|input| input.connections.iter())
                .map(|connection| connection.output_step)
                .filter(|producer| *producer < count)
                .collect();
            producers.sort_unstable();
            producers.dedup();
            // Consumers are visited in ascending order, so those lists come out sorted.
            for producer in &producers {
                graph.consumers[*producer].push(consumer);
            }
            graph.producers[consumer] = producers;
        }
        graph
    }

    /// Steps of this workflow and of every subworkflow inside it.
    pub fn total_steps(&self) -> usize {
        let inner = self.steps.iter().filter_map(|s| s.subworkflow.as_deref());
        self.steps.len() + inner.map(Self::total_steps).sum::<usize>()
    }
}

impl StepDescription {
    pub fn is_input_step(&self) -> bool {
        INPUT_STEP_TYPES.contains(&self.step_type.as_str())
    }

    /// What people know its tool by: the id, or the uuid where it has none.
    pub fn tool_name(&self) -> String {
        let id = self.tool_id.as_deref().filter(|id| !id.is_empty());
        let name = match (id, self.tool_uuid) {
            (Some(id), _) => id.to_owned(),
            (None, Some(uuid)) => format!("the tool with the uuid {uuid}"),
            (None, None) => format!("the tool of step {}", self.order_index + 1),
        };
        match &self.tool_version {
            Some(version) => format!("{name} (version {version})"),
            None => name,
        }
    }

    /// The label, else for input steps the name old files kept in the state.
    pub fn effective_label(&self) -> Option<&str> {
        match &self.label {
            Some(label) => Some(label),
            None if self.is_input_step() => self.tool_inputs.get("name")?.as_str(),
            None => None,
        }
    }

    /// Whether an input step may be left without a value. Old files hold the text "true".
    pub fn input_optional(&self) -> bool {
        match self.tool_inputs.get("optional") {
            Some(Value::Bool(optional)) => *optional,
            Some(Value::String(text)) => text.eq_ignore_ascii_case("true"),
            _ => false,
        }
    }

    /// `text`, `integer` …, for parameter inputs; `text` when the state does not say.
    pub fn parameter_type(&self) -> Option<&str> {
        if self.step_type != "parameter_input" {
            return None;
        }
        let named = self.tool_inputs.get("parameter_type");
        Some(named.and_then(Value::as_str).unwrap_or("text"))
    }

    /// The default of an input step: the state's `default` for a parameter, the default of the
    /// step input `input` for data. A null that was written down is a default.
    pub fn input_default(&self) -> Option<&Value> {
        if self.step_type == "parameter_input" {
            return self.tool_inputs.get("default");
        }
        let input = self.input("input")?;
        if self.is_input_step() && input.default_value_set {
            return Some(input.default_value.as_ref().unwrap_or(&Value::Null));
        }
        None
    }

    pub fn input(&self, name: &str) -> Option<&StepInput> {
        self.inputs.iter().find(|input| input.name == name)
    }

    pub fn workflow_output(&self, output_name: &str) -> Option<&WorkflowOutput> {
        self.workflow_outputs
            .iter()
            .find(|output| output.output_name == output_name)
    }
}

impl StepInput {
    /// Whether `connection`, one of this input's, only orders the two steps.
    pub fn is_non_data(&self, connection: &Connection) -> bool {
        self.name == NO_INPUT_OUTPUT_NAME && connection.output_name == NO_INPUT_OUTPUT_NAME
    }
}

/// `{"__class__": "RuntimeValue"}`: the user is to supply this when invoking.
pub fn is_runtime_value(value: &Value) -> bool {
    has_class(value, "RuntimeValue")
}

/// `{"__class__": "ConnectedValue"}`: another step supplies this.
pub fn is_connected_value(value: &Value) -> bool {
    has_class(value, "ConnectedValue")
}

fn has_class(value: &Value, class: &str) -> bool {
    value.get("__class__").and_then(Value::as_str) == Some(class)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn step(step_type: &str, state: Value) -> StepDescription {
        StepDescription {
            step_type: step_type.into(),
            tool_inputs: state,
            ..Default::default()
        }
    }

    #[test]
    fn an_unlabelled_input_is_called_by_the_name_in_its_state() {
        let old = step("data_input", json!({"name": "Reads"}));
        assert_eq!(old.effective_label(), Some("Reads"));
        let labelled = StepDescription {
            label: Some("New".into()),
            ..old
        };
        assert_eq!(labelled.effective_label(), Some("New"));
        let pause = step("pause", json!({"name": "Pause for Dataset Review"}));
        assert_eq!(pause.effective_label(), None);
    }

    #[test]
    fn optional_is_read_as_boolean_or_as_old_text() {
        assert!(step("data_input", json!({"optional": true})).input_optional());
        assert!(step("data_input", json!({"optional": "True"})).input_optional());
        assert!(!step("data_input", json!({"optional": "false"})).input_optional());
        assert!(!step("data_input", json!({})).input_optional());
    }

    #[test]
    fn defaults_come_from_the_state_or_from_the_step_input() {
        let parameter = step("parameter_input", json!({"default": null}));
        assert_eq!(parameter.input_default(), Some(&Value::Null));
        assert_eq!(step("parameter_input", json!({})).input_default(), None);

        let mut data = step("data_input", json!({"default": 1}));
        assert_eq!(data.input_default(), None);
        data.inputs.push(StepInput {
            name: "input".into(),
            default_value: Some(json!({"class": "File"})),
            default_value_set: true,
            ..Default::default()
        });
        assert_eq!(data.input_default(), Some(&json!({"class": "File"})));
        data.inputs[0].default_value_set = false;
        assert_eq!(data.input_default(), None);
    }

    #[test]
    fn the_graph_lists_each_neighbour_once() {
        let feed = |from: &[usize]| StepInput {
            name: "input".into(),
            connections: from
                .iter()
                .map(|&output_step| Connection {
                    output_step,
                    output_name: "output".into(),
                    input_subworkflow_step: None,
                })
                .collect(),
            ..Default::default()
        };
        let mut steps = vec![step("data_input", json!({})); 2];
        steps.push(StepDescription {
            inputs: vec![feed(&[1, 0, 1]), feed(&[9])],
            ..step("tool", json!({}))
        });
        let workflow = WorkflowDescription {
            steps,
            ..Default::default()
        };
        let graph = workflow.graph();
        assert_eq!(graph.producers, vec![vec![], vec![], vec![0, 1]]);
        assert_eq!(graph.consumers, vec![vec![2], vec![2], vec![]]);
    }

    #[test]
    fn only_a_connection_with_both_reserved_names_carries_no_data() {
        let connection = Connection {
            output_name: NO_INPUT_OUTPUT_NAME.into(),
            ..Default::default()
        };
        let mut input = StepInput {
            name: NO_INPUT_OUTPUT_NAME.into(),
            ..Default::default()
        };
        assert!(input.is_non_data(&connection));
        input.name = "input".into();
        assert!(!input.is_non_data(&connection));
    }
}
