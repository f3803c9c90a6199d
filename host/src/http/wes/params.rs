//! `workflow_params`: values by the labels of the workflow's inputs, with data by id, by attachment, by URL or pasted.

use serde_json::{Map, Value};

use super::attachments::Attachments;
use crate::http::App;
use crate::http::error::ApiError;
use crate::http::upload::given::Reader;
use crate::http::upload::local::Local;
use crate::model::workflow::WorkflowDescription;

/// What is given to one input.
#[derive(Debug)]
pub enum Given {
    /// As Galaxy's API takes it.
    Plain(Value),
    /// To be added to the history first.
    Data(Local),
}

/// Reads every parameter. Names that the workflow does not have are passed on, as Galaxy does.
pub fn read(
    app: &App,
    params: &Map<String, Value>,
    workflow: &WorkflowDescription,
    attachments: &Attachments,
) -> Result<Vec<(String, Given)>, ApiError> {
    let attached = |name: &str| {
        let found = attachments.get(name)?;
        Some((found.path().to_owned(), found.name.clone()))
    };
    // GA4GH's document declares 400 for a request that cannot be met.
    let check = |url: &str| {
        app.fetcher
            .check(url)
            .map_err(|refusal| ApiError::invalid(refusal.0))
    };
    let reader = Reader {
        attached: &attached,
        check: &check,
        is_lenient: true,
    };
    let mut read = Vec::with_capacity(params.len());
    for (name, value) in params {
        // A parameter that looks like a file stays a text.
        let step = workflow.steps.iter().find(|step| {
            step.is_input_step()
                && step.effective_label() == Some(name)
                && step.parameter_type().is_none()
        });
        let data = match step {
            Some(step) => {
                let is_collection = step.step_type == "data_collection_input";
                reader.read(value, is_collection, name)?
            }
            None => None,
        };
        let given = data.map_or_else(|| Given::Plain(value.clone()), Given::Data);
        read.push((name.clone(), given));
    }
    Ok(read)
}
