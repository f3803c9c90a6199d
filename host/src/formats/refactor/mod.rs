//! Changes of a workflow by a list of actions (Galaxy: workflow refactoring), one after the other.
//!
//! What tools have to say comes through [`Tools`]; nothing here reads a store.

mod edit;
mod extract;
mod reference;
mod upgrade;

pub use reference::{InputReference, OutputReference, StepReference};

use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::HashMap;

use super::error::{ImportError, shown};
use super::{order, validate};
use crate::model::workflow::WorkflowDescription;

/// Actions in one request.
pub const ACTIONS_MAX: usize = 1_000;

/// What there is to know about tools.
pub trait Tools {
    /// The newest version installed.
    fn newest(&self, id: &str) -> Option<String>;
    /// Galaxy's word for the type of an input, and whether it is optional.
    fn input(
        &self,
        id: &str,
        version: Option<&str>,
        state: &Value,
        path: &str,
    ) -> Option<ToolInput>;
    /// The state with the tool's defaults in the place of what is missing.
    fn with_defaults(&self, id: &str, version: Option<&str>, state: &Value) -> Option<Value>;
}

/// An input of a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolInput {
    /// `data`, `data_collection`, `text`, `integer` …
    pub type_name: String,
    pub optional: bool,
}

/// One change.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "action_type", rename_all = "snake_case")]
pub enum Action {
    UpdateName {
        name: String,
    },
    UpdateAnnotation {
        annotation: String,
    },
    UpdateLicense {
        license: String,
    },
    UpdateCreator {
        creator: Value,
    },
    UpdateReport {
        report: Report,
    },
    UpdateStepLabel {
        step: StepReference,
        label: String,
    },
    UpdateStepPosition {
        step: StepReference,
        position_absolute: Option<Position>,
        position_shift: Option<Position>,
    },
    UpdateOutputLabel {
        output: OutputReference,
        output_label: String,
    },
    AddStep(NewStep),
    AddInput(NewInput),
    Connect {
        input: InputReference,
        output: OutputReference,
    },
    Disconnect {
        input: InputReference,
        output: OutputReference,
    },
    ExtractInput {
        input: InputReference,
        label: Option<String>,
        position: Option<Position>,
    },
    ExtractUntypedParameter {
        name: String,
        label: Option<String>,
        position: Option<Position>,
    },
    RemoveUnlabeledWorkflowOutputs {},
    FillDefaults {},
    FillStepDefaults {
        step: StepReference,
    },
    UpgradeTool {
        step: StepReference,
        tool_version: Option<String>,
    },
    UpgradeSubworkflow {
        step: StepReference,
        content_id: Option<String>,
    },
    UpgradeAllSteps {},
}

#[derive(Debug, Clone, Deserialize)]
pub struct Report {
    pub markdown: String,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Position {
    pub left: f64,
    pub top: f64,
}

#[derive(Debug, Clone, Deserialize)]
pub struct NewStep {
    #[serde(rename = "type")]
    pub step_type: String,
    pub tool_id: Option<String>,
    pub content_id: Option<String>,
    pub tool_version: Option<String>,
    /// An object, or its text.
    pub tool_state: Option<Value>,
    pub label: Option<String>,
    pub position: Option<Position>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct NewInput {
    #[serde(rename = "type")]
    pub input_type: String,
    pub label: Option<String>,
    pub position: Option<Position>,
    pub collection_type: Option<String>,
    pub restrictions: Option<Vec<String>>,
    pub restrict_on_connections: Option<bool>,
    pub suggestions: Option<Vec<String>>,
    #[serde(default)]
    pub optional: bool,
    pub default: Option<Value>,
}

/// What an action had to tell, in Galaxy's words.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// `tool_version_change`, `tool_state_adjustment`, `connection_drop_forced` …
    pub kind: &'static str,
    pub text: String,
    pub step: Option<usize>,
    pub step_label: Option<String>,
    pub input_name: Option<String>,
}

impl Message {
    pub fn to_json(&self) -> Value {
        json!({
            "message": self.text,
            "message_type": self.kind,
            "step_label": self.step_label,
            "order_index": self.step,
            "input_name": self.input_name,
            "output_name": null,
            "from_step_label": null,
            "from_order_index": null,
            "output_label": null,
        })
    }
}

/// The actions that a request holds. 400 with the place of the one that cannot be read.
pub fn parse(actions: &Value) -> Result<Vec<Action>, ImportError> {
    let Some(list) = actions.as_array() else {
        return Err(ImportError::parameter("actions must be a list."));
    };
    if list.len() > ACTIONS_MAX {
        return Err(ImportError::parameter(format!(
            "More than {ACTIONS_MAX} actions."
        )));
    }
    let read = |(place, action): (usize, &Value)| {
        serde_json::from_value(action.clone()).map_err(|error| {
            let said = shown(&error.to_string());
            ImportError::parameter(format!("Action {place} cannot be read: {said}"))
        })
    };
    list.iter().enumerate().map(read).collect()
}

/// Applies the actions; answers what each had to tell. `subworkflows` are those that an `upgrade_subworkflow` may name by
/// its content_id. The result keeps the rules of [`validate::description`], and its steps are in order.
pub fn apply(
    workflow: &mut WorkflowDescription,
    actions: &[Action],
    tools: &dyn Tools,
    subworkflows: &HashMap<String, WorkflowDescription>,
) -> Result<Vec<Vec<Message>>, ImportError> {
    let mut told = Vec::with_capacity(actions.len());
    for (place, action) in actions.iter().enumerate() {
        let messages = one(workflow, action, tools, subworkflows)
            .map_err(|error| error.within(format!("action {place}")))?;
        told.push(messages);
    }
    validate::description(workflow)?;
    order::reorder(workflow);
    Ok(told)
}

fn one(
    workflow: &mut WorkflowDescription,
    action: &Action,
    tools: &dyn Tools,
    subworkflows: &HashMap<String, WorkflowDescription>,
) -> Result<Vec<Message>, ImportError> {
    match action {
        Action::UpdateName { name } if name.trim().is_empty() => {
            return Err(ImportError::invalid("name must not be empty."));
        }
        Action::UpdateName { name } => workflow.name = name.clone(),
        Action::UpdateAnnotation { annotation } => workflow.annotation = Some(annotation.clone()),
        Action::UpdateLicense { license } => workflow.license = Some(license.clone()),
        Action::UpdateCreator { creator } => workflow.creator = Some(creator.clone()),
        Action::UpdateReport { report } => {
            workflow.report = Some(json!({"markdown": report.markdown}));
        }
        Action::UpdateStepLabel { step, label } => edit::label(workflow, step, label)?,
        Action::UpdateStepPosition {
            step,
            position_absolute,
            position_shift,
        } => edit::position(workflow, step, *position_absolute, *position_shift)?,
        Action::UpdateOutputLabel {
            output,
            output_label,
        } => edit::output_label(workflow, output, output_label)?,
        Action::AddStep(new) => edit::add_step(workflow, new, subworkflows)?,
        Action::AddInput(new) => drop(edit::add_input(workflow, new)?),
        Action::Connect { input, output } => edit::connect(workflow, input, output)?,
        Action::Disconnect { input, output } => edit::disconnect(workflow, input, output)?,
        Action::ExtractInput {
            input,
            label,
            position,
        } => extract::input(workflow, input, label.as_deref(), *position, tools)?,
        Action::ExtractUntypedParameter {
            name,
            label,
            position,
        } => extract::untyped(workflow, name, label.as_deref(), *position)?,
        Action::RemoveUnlabeledWorkflowOutputs {} => {
            for step in &mut workflow.steps {
                step.workflow_outputs
                    .retain(|output| output.label.is_some());
            }
        }
        Action::FillDefaults {} => {
            let all = 0..workflow.steps.len();
            return Ok(all
                .filter_map(|index| upgrade::fill(workflow, index, tools))
                .collect());
        }
        Action::FillStepDefaults { step } => {
            let index = step.find(workflow)?;
            return Ok(upgrade::fill(workflow, index, tools).into_iter().collect());
        }
        Action::UpgradeTool { step, tool_version } => {
            let index = step.find(workflow)?;
            return upgrade::tool(workflow, index, tool_version.as_deref(), tools);
        }
        Action::UpgradeSubworkflow { step, content_id } => {
            let index = step.find(workflow)?;
            return upgrade::subworkflow(workflow, index, content_id.as_deref(), subworkflows);
        }
        Action::UpgradeAllSteps {} => {
            let mut messages = Vec::new();
            for index in 0..workflow.steps.len() {
                let step = &workflow.steps[index];
                let is_known = step
                    .tool_id
                    .as_deref()
                    .is_some_and(|id| tools.newest(id).is_some());
                if step.step_type == "tool" && is_known {
                    messages.extend(upgrade::tool(workflow, index, None, tools)?);
                }
            }
            return Ok(messages);
        }
    }
    Ok(Vec::new())
}

#[cfg(test)]
mod tests;
