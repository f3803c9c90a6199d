//! The persisted request, read back: for the scheduling loops and for clients who want to run it again.

use std::collections::HashMap;

use serde_json::Value;

use crate::args;
use crate::model::invocation::{RequestInput, RequestParameter, RequestParameterKind};
use crate::store::db::{Query, StoreError};

/// What an invocation was asked for with.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StoredRequest {
    pub parameters: Vec<RequestParameter>,
    /// Encoded runtime state, by step id.
    pub step_states: HashMap<i64, Value>,
    pub input_datasets: Vec<RequestInput>,
    pub input_collections: Vec<RequestInput>,
    pub input_parameters: Vec<(i64, Value)>,
    /// The invocation inside each subworkflow step, by step id.
    pub children: HashMap<i64, i64>,
}

impl StoredRequest {
    /// The value of a `meta` parameter.
    pub fn meta(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|p| p.kind == RequestParameterKind::Meta && p.name == name)
            .map(|p| p.value.as_str())
    }

    /// Names and values of one kind.
    pub fn of_kind(&self, kind: RequestParameterKind) -> impl Iterator<Item = (&str, &str)> {
        self.parameters
            .iter()
            .filter(move |p| p.kind == kind)
            .map(|p| (p.name.as_str(), p.value.as_str()))
    }

    /// Overrides of a step's parameters.
    pub fn step_parameters(&self, step_id: i64) -> Option<Value> {
        let found = self
            .parameters
            .iter()
            .find(|p| p.kind == RequestParameterKind::Step && p.step_id == Some(step_id))?;
        serde_json::from_str(&found.value).ok()
    }
}

/// Reads the persisted request of one invocation: six queries, whatever its size.
pub async fn load_request(
    q: &mut impl Query,
    invocation_id: i64,
) -> Result<StoredRequest, StoreError> {
    let mut request = StoredRequest::default();
    let sql = "SELECT * FROM workflow_request_input_parameters WHERE workflow_invocation_id = $1 ORDER BY id";
    for row in q.all(sql, args![invocation_id]).await? {
        let code: &str = row.get("type")?;
        let Some(kind) = RequestParameterKind::from_code(code) else {
            return Err(StoreError::Unknown {
                what: "request parameter type",
                value: code.to_owned(),
            });
        };
        request.parameters.push(RequestParameter {
            kind,
            name: row.get("name")?,
            value: row.get::<Option<String>>("value")?.unwrap_or_default(),
            step_id: row.get("workflow_step_id")?,
        });
    }
    let sql = "SELECT workflow_step_id, value FROM workflow_request_step_states WHERE workflow_invocation_id = $1";
    for row in q.all(sql, args![invocation_id]).await? {
        let step_id: i64 = row.get("workflow_step_id")?;
        request.step_states.insert(step_id, row.json("value")?);
    }
    let datasets = "SELECT workflow_step_id, name, dataset_id AS item_id, request FROM workflow_request_to_input_dataset
         WHERE workflow_invocation_id = $1 ORDER BY workflow_step_id";
    let collections = "SELECT workflow_step_id, name, dataset_collection_id AS item_id, request
         FROM workflow_request_to_input_collection_dataset WHERE workflow_invocation_id = $1 ORDER BY workflow_step_id";
    for (sql, inputs) in [
        (datasets, &mut request.input_datasets),
        (collections, &mut request.input_collections),
    ] {
        for row in q.all(sql, args![invocation_id]).await? {
            let source = row.json("request")?;
            inputs.push(RequestInput {
                step_id: row.get("workflow_step_id")?,
                name: row.get("name")?,
                item_id: row.get("item_id")?,
                request: (!source.is_null()).then_some(source),
            });
        }
    }
    let sql = "SELECT workflow_step_id, parameter_value FROM workflow_request_input_step_parameter
         WHERE workflow_invocation_id = $1 ORDER BY workflow_step_id";
    for row in q.all(sql, args![invocation_id]).await? {
        let value = (row.get("workflow_step_id")?, row.json("parameter_value")?);
        request.input_parameters.push(value);
    }
    let sql = "SELECT workflow_step_id, subworkflow_invocation_id FROM workflow_invocation_to_subworkflow_invocation_association
         WHERE workflow_invocation_id = $1";
    for row in q.all(sql, args![invocation_id]).await? {
        let step_id: i64 = row.get("workflow_step_id")?;
        request
            .children
            .insert(step_id, row.get("subworkflow_invocation_id")?);
    }
    Ok(request)
}
