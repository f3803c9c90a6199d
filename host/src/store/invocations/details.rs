//! What the element view of an invocation adds, for a whole page of invocations with a constant number of queries.

use std::collections::HashMap;

use serde_json::Value;

use super::step::{Step, steps};
use crate::store::db::{Query, Row, StoreError, Val, blocks, placeholders};
use crate::store::scheduling::holds::{self, StoredHold};

/// Everything below one invocation that its element view shows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Details {
    pub steps: Vec<Step>,
    pub inputs: Vec<InputRow>,
    pub input_parameters: Vec<InputParameterRow>,
    pub outputs: Vec<OutputRow>,
    pub output_collections: Vec<OutputRow>,
    pub output_values: Vec<OutputValueRow>,
    pub messages: Vec<MessageRow>,
    pub holds: Vec<StoredHold>,
    /// What of the request was ignored.
    pub warnings: Vec<String>,
}

/// A dataset (`hda`) or collection (`hdca`) given to an input step.
#[derive(Debug, Clone, PartialEq)]
pub struct InputRow {
    pub src: &'static str,
    pub id: i64,
    pub workflow_step_id: i64,
    pub order_index: i64,
    /// The step's label, or the name old files kept in the state.
    pub label: Option<String>,
}

/// The value given to a `parameter_input` step.
#[derive(Debug, Clone, PartialEq)]
pub struct InputParameterRow {
    pub value: Value,
    pub workflow_step_id: i64,
    pub order_index: i64,
    pub label: Option<String>,
}

/// A dataset or collection that is an output of the whole workflow.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputRow {
    pub id: i64,
    pub workflow_step_id: i64,
    pub order_index: i64,
    pub output_name: String,
    pub label: Option<String>,
}

/// A plain value that is an output of the whole workflow.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputValueRow {
    pub value: Value,
    pub label: Option<String>,
}

/// A message; steps are named by order_index, as clients see them.
#[derive(Debug, Clone, PartialEq)]
pub struct MessageRow {
    pub reason: String,
    pub details: Option<String>,
    pub output_name: Option<String>,
    pub order_index: Option<i64>,
    pub dependent_order_index: Option<i64>,
    pub job_id: Option<i64>,
    pub hda_id: Option<i64>,
    pub hdca_id: Option<i64>,
    pub history_id: Option<i64>,
    pub step_index_path: Option<Value>,
}

/// The details of each of these invocations.
pub async fn details(
    q: &mut impl Query,
    invocation_ids: &[i64],
) -> Result<HashMap<i64, Details>, StoreError> {
    let mut found: HashMap<i64, Details> = invocation_ids
        .iter()
        .map(|id| (*id, Details::default()))
        .collect();
    for block in blocks(invocation_ids) {
        for step in steps(q, block).await? {
            if let Some(details) = found.get_mut(&step.workflow_invocation_id) {
                details.steps.push(step);
            }
        }
        for (id, holds) in holds::of(q, block).await? {
            if let Some(details) = found.get_mut(&id) {
                details.holds = holds;
            }
        }
        for (sql, add) in PARTS {
            let sql = sql.replace("{ids}", &placeholders(1, block.len()));
            let ids = block.iter().map(|id| Val::from(*id)).collect();
            for row in q.all(sql, ids).await? {
                if let Some(details) = found.get_mut(&row.get("workflow_invocation_id")?) {
                    add(details, &row)?;
                }
            }
        }
    }
    Ok(found)
}

/// What of the request of each of these invocations was ignored; none where nothing was.
pub async fn warnings(
    q: &mut impl Query,
    invocation_ids: &[i64],
) -> Result<HashMap<i64, Vec<String>>, StoreError> {
    let (sql, add) = WARNINGS;
    let mut found = HashMap::new();
    for block in blocks(invocation_ids) {
        let sql = sql.replace("{ids}", &placeholders(1, block.len()));
        let ids = block.iter().map(|id| Val::from(*id)).collect();
        for row in q.all(sql, ids).await? {
            let mut details = Details::default();
            add(&mut details, &row)?;
            found.insert(row.get("workflow_invocation_id")?, details.warnings);
        }
    }
    Ok(found)
}

type Part = (
    &'static str,
    fn(&mut Details, &Row) -> Result<(), StoreError>,
);

const WARNINGS: Part = (
    "SELECT workflow_invocation_id, value FROM workflow_request_input_parameters
     WHERE workflow_invocation_id IN ({ids}) AND type = 'meta' AND name = 'warnings'",
    |details, row| {
        let told = row.json("value")?;
        let told = told.as_array().into_iter().flatten();
        details
            .warnings
            .extend(told.filter_map(Value::as_str).map(str::to_owned));
        Ok(())
    },
);

const PARTS: [Part; 8] = [
    (
        "SELECT x.workflow_invocation_id, x.dataset_id AS id, x.workflow_step_id, s.order_index, s.label, s.tool_inputs
         FROM workflow_request_to_input_dataset x JOIN workflow_step s ON s.id = x.workflow_step_id
         WHERE x.workflow_invocation_id IN ({ids}) ORDER BY s.order_index",
        |details, row| {
            details.inputs.push(input(row, "hda")?);
            Ok(())
        },
    ),
    (
        "SELECT x.workflow_invocation_id, x.dataset_collection_id AS id, x.workflow_step_id, s.order_index, s.label, s.tool_inputs
         FROM workflow_request_to_input_collection_dataset x JOIN workflow_step s ON s.id = x.workflow_step_id
         WHERE x.workflow_invocation_id IN ({ids}) ORDER BY s.order_index",
        |details, row| {
            details.inputs.push(input(row, "hdca")?);
            Ok(())
        },
    ),
    (
        "SELECT x.workflow_invocation_id, x.parameter_value, x.workflow_step_id, s.order_index, s.label, s.tool_inputs
         FROM workflow_request_input_step_parameter x JOIN workflow_step s ON s.id = x.workflow_step_id
         WHERE x.workflow_invocation_id IN ({ids}) ORDER BY s.order_index",
        |details, row| {
            details.input_parameters.push(InputParameterRow {
                value: row.json("parameter_value")?,
                workflow_step_id: row.get("workflow_step_id")?,
                order_index: row.get("order_index")?,
                label: effective_label(row)?,
            });
            Ok(())
        },
    ),
    (
        "SELECT x.workflow_invocation_id, x.dataset_id AS id, x.workflow_step_id, s.order_index, o.output_name, o.label
         FROM workflow_invocation_output_dataset_association x JOIN workflow_step s ON s.id = x.workflow_step_id
         JOIN workflow_output o ON o.id = x.workflow_output_id
         WHERE x.workflow_invocation_id IN ({ids}) ORDER BY s.order_index, o.id",
        |details, row| {
            details.outputs.push(output(row)?);
            Ok(())
        },
    ),
    (
        "SELECT x.workflow_invocation_id, x.dataset_collection_id AS id, x.workflow_step_id, s.order_index, o.output_name, o.label
         FROM workflow_invocation_output_dataset_collection_association x JOIN workflow_step s ON s.id = x.workflow_step_id
         JOIN workflow_output o ON o.id = x.workflow_output_id
         WHERE x.workflow_invocation_id IN ({ids}) ORDER BY s.order_index, o.id",
        |details, row| {
            details.output_collections.push(output(row)?);
            Ok(())
        },
    ),
    (
        "SELECT x.workflow_invocation_id, x.value, o.label
         FROM workflow_invocation_output_value x JOIN workflow_output o ON o.id = x.workflow_output_id
         WHERE x.workflow_invocation_id IN ({ids}) ORDER BY o.id",
        |details, row| {
            details.output_values.push(OutputValueRow {
                value: row.json("value")?,
                label: row.get("label")?,
            });
            Ok(())
        },
    ),
    (
        "SELECT m.*, s.order_index AS order_index, d.order_index AS dependent_order_index
         FROM workflow_invocation_message m LEFT JOIN workflow_step s ON s.id = m.workflow_step_id
         LEFT JOIN workflow_step d ON d.id = m.dependent_workflow_step_id
         WHERE m.workflow_invocation_id IN ({ids}) ORDER BY m.id",
        |details, row| {
            let path = row.json("workflow_step_index_path")?;
            details.messages.push(MessageRow {
                reason: row.get("reason")?,
                details: row.get("details")?,
                output_name: row.get("output_name")?,
                order_index: row.get("order_index")?,
                dependent_order_index: row.get("dependent_order_index")?,
                job_id: row.get("job_id")?,
                hda_id: row.get("hda_id")?,
                hdca_id: row.get("hdca_id")?,
                history_id: row.get("history_id")?,
                step_index_path: path.as_array().is_some_and(|p| !p.is_empty()).then_some(path),
            });
            Ok(())
        },
    ),
    WARNINGS,
];

#[cfg(test)]
pub(super) fn statements() -> impl Iterator<Item = &'static str> {
    PARTS.into_iter().map(|(sql, _)| sql)
}

fn input(row: &Row, src: &'static str) -> Result<InputRow, StoreError> {
    Ok(InputRow {
        src,
        id: row.get("id")?,
        workflow_step_id: row.get("workflow_step_id")?,
        order_index: row.get("order_index")?,
        label: effective_label(row)?,
    })
}

fn output(row: &Row) -> Result<OutputRow, StoreError> {
    Ok(OutputRow {
        id: row.get("id")?,
        workflow_step_id: row.get("workflow_step_id")?,
        order_index: row.get("order_index")?,
        output_name: row.get("output_name")?,
        label: row.get("label")?,
    })
}

/// See `StepDescription::effective_label`; every row here is of an input step.
pub(super) fn effective_label(row: &Row) -> Result<Option<String>, StoreError> {
    if let Some(label) = row.get::<Option<String>>("label")? {
        return Ok(Some(label));
    }
    let state = row.json("tool_inputs")?;
    Ok(state["name"].as_str().map(str::to_owned))
}
