//! The steps of invocations, with their outputs and jobs.

use std::collections::HashMap;

use serde_json::Value;
use uuid::Uuid;

use crate::args;
use crate::model::state::StepState;
use crate::store::db::{Query, Row, StoreError, Val, blocks, placeholders};
use crate::store::jobs::Job;

/// A step of an invocation that was reached.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub id: i64,
    pub workflow_invocation_id: i64,
    pub workflow_step_id: i64,
    pub order_index: i64,
    pub state: StepState,
    pub job_id: Option<i64>,
    pub implicit_collection_jobs_id: Option<i64>,
    pub subworkflow_invocation_id: Option<i64>,
    /// What a person decided; null before.
    pub action: Value,
    pub label: Option<String>,
    pub uuid: Option<String>,
    pub step_type: String,
    pub update_time: i64,
}

const SELECT: &str = "SELECT x.*, s.label, s.uuid, s.type, a.subworkflow_invocation_id
     FROM workflow_invocation_step x JOIN workflow_step s ON s.id = x.workflow_step_id
     LEFT JOIN workflow_invocation_to_subworkflow_invocation_association a
         ON a.workflow_invocation_id = x.workflow_invocation_id AND a.workflow_step_id = x.workflow_step_id";

/// The steps of these invocations (at most one block of ids), by invocation and order_index.
pub async fn steps(q: &mut impl Query, invocation_ids: &[i64]) -> Result<Vec<Step>, StoreError> {
    let sql = format!(
        "{SELECT} WHERE x.workflow_invocation_id IN ({}) ORDER BY x.workflow_invocation_id, x.order_index",
        placeholders(1, invocation_ids.len())
    );
    let ids = invocation_ids.iter().map(|id| Val::from(*id)).collect();
    q.all(sql, ids).await?.iter().map(step).collect()
}

/// A step by its own id, whatever invocation it belongs to.
pub async fn step_by_id(q: &mut impl Query, id: i64) -> Result<Option<Step>, StoreError> {
    let sql = format!("{SELECT} WHERE x.id = $1");
    let row = q.maybe(sql, args![id]).await?;
    row.map(|row| step(&row)).transpose()
}

fn step(row: &Row) -> Result<Step, StoreError> {
    let state: &str = row.get("state")?;
    Ok(Step {
        id: row.get("id")?,
        workflow_invocation_id: row.get("workflow_invocation_id")?,
        workflow_step_id: row.get("workflow_step_id")?,
        order_index: row.get("order_index")?,
        state: state.parse().map_err(|_| StoreError::Unknown {
            what: "invocation step state",
            value: state.to_owned(),
        })?,
        job_id: row.get("job_id")?,
        implicit_collection_jobs_id: row.get("implicit_collection_jobs_id")?,
        subworkflow_invocation_id: row.get("subworkflow_invocation_id")?,
        action: row.json("action")?,
        label: row.get("label")?,
        uuid: row.get("uuid")?,
        step_type: row.get("type")?,
        update_time: row.get("update_time")?,
    })
}

/// What `step_details` adds to a step.
#[derive(Debug, Clone, Default)]
pub struct StepDetails {
    pub outputs: Vec<StepOutput>,
    pub output_collections: Vec<StepOutput>,
    /// Outputs that are plain values. (ours)
    pub output_values: Vec<(String, Value)>,
    /// The single job, or those of the mapping in slice order.
    pub jobs: Vec<Job>,
}

/// A dataset or collection that a step made.
#[derive(Debug, Clone, PartialEq)]
pub struct StepOutput {
    pub name: String,
    pub id: i64,
    /// Of the dataset; None for a collection.
    pub uuid: Option<Uuid>,
}

pub(super) const OUTPUTS: &str =
    "SELECT x.workflow_invocation_step_id AS step, x.output_name, x.dataset_id AS id, d.uuid
     FROM workflow_invocation_step_output_dataset_association x
     JOIN history_dataset_association h ON h.id = x.dataset_id JOIN dataset d ON d.id = h.dataset_id
     WHERE x.workflow_invocation_step_id IN ({ids})";
const OUTPUT_COLLECTIONS: &str = "SELECT workflow_invocation_step_id AS step, output_name, dataset_collection_id AS id, NULL AS uuid
     FROM workflow_invocation_step_output_dataset_collection_association
     WHERE workflow_invocation_step_id IN ({ids})";
const OUTPUT_VALUES: &str = "SELECT workflow_invocation_step_id AS step, output_name, value
     FROM workflow_invocation_step_output_value WHERE workflow_invocation_step_id IN ({ids})";
pub(super) const JOBS: &str = "SELECT s.id AS step, 0 AS place, j.* FROM workflow_invocation_step s JOIN job j ON j.id = s.job_id
     WHERE s.id IN ({ids})
     UNION ALL
     SELECT s.id AS step, a.order_index AS place, j.* FROM workflow_invocation_step s
     JOIN implicit_collection_jobs_job_association a ON a.implicit_collection_jobs_id = s.implicit_collection_jobs_id
     JOIN job j ON j.id = a.job_id WHERE s.id IN ({ids})
     ORDER BY 1, 2";

/// The details of these steps: four queries for each 512 steps.
pub async fn step_details(
    q: &mut impl Query,
    step_ids: &[i64],
) -> Result<HashMap<i64, StepDetails>, StoreError> {
    let mut found: HashMap<i64, StepDetails> = step_ids
        .iter()
        .map(|id| (*id, StepDetails::default()))
        .collect();
    for block in blocks(step_ids) {
        let inside = placeholders(1, block.len());
        let ids: Vec<Val> = block.iter().map(|id| Val::from(*id)).collect();
        for (sql, collections) in [(OUTPUTS, false), (OUTPUT_COLLECTIONS, true)] {
            for row in q.all(sql.replace("{ids}", &inside), ids.clone()).await? {
                let Some(details) = found.get_mut(&row.get("step")?) else {
                    continue;
                };
                let uuid: Option<&str> = row.get("uuid")?;
                let output = StepOutput {
                    name: row.get("output_name")?,
                    id: row.get("id")?,
                    uuid: uuid.and_then(|text| Uuid::parse_str(text).ok()),
                };
                match collections {
                    false => details.outputs.push(output),
                    true => details.output_collections.push(output),
                }
            }
        }
        let sql = OUTPUT_VALUES.replace("{ids}", &inside);
        for row in q.all(sql, ids.clone()).await? {
            if let Some(details) = found.get_mut(&row.get("step")?) {
                let value = (row.get("output_name")?, row.json("value")?);
                details.output_values.push(value);
            }
        }
        for row in q.all(JOBS.replace("{ids}", &inside), ids).await? {
            if let Some(details) = found.get_mut(&row.get("step")?) {
                details.jobs.push(Job::of(&row)?);
            }
        }
    }
    Ok(found)
}
