//! How an action says which step, input or output it means.

use serde::Deserialize;

use super::super::error::{ImportError, shown};
use crate::model::workflow::WorkflowDescription;

/// A step by its place or its label; the label counts if both are given.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct StepReference {
    pub order_index: Option<usize>,
    pub label: Option<String>,
}

/// An input of a step.
#[derive(Debug, Clone, Deserialize)]
pub struct InputReference {
    #[serde(flatten)]
    pub step: StepReference,
    pub input_name: String,
}

/// An output of a step.
#[derive(Debug, Clone, Deserialize)]
pub struct OutputReference {
    #[serde(flatten)]
    pub step: StepReference,
    pub output_name: Option<String>,
}

impl StepReference {
    /// The order_index of the step meant.
    pub fn find(&self, workflow: &WorkflowDescription) -> Result<usize, ImportError> {
        if let Some(label) = &self.label {
            let found = workflow
                .steps
                .iter()
                .position(|step| step.effective_label() == Some(label));
            return found.ok_or_else(|| {
                ImportError::parameter(format!("no step has the label {}.", shown(label)))
            });
        }
        let Some(index) = self.order_index else {
            return Err(ImportError::parameter(
                "a step is named by order_index or label.",
            ));
        };
        match index < workflow.steps.len() {
            true => Ok(index),
            false => Err(ImportError::parameter(format!("there is no step {index}."))),
        }
    }
}

impl OutputReference {
    /// `output` where nothing is said.
    pub fn name(&self) -> &str {
        self.output_name.as_deref().unwrap_or("output")
    }
}
