//! Reading revisions: a constant number of queries for each level of nesting, whatever the number of steps.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use uuid::Uuid;

use crate::model::revision::Revision;
use crate::model::workflow::{
    Comment, Connection, DeclaredInput, DeclaredOutput, PostJobAction, StepDescription, StepInput,
    WorkflowDescription, WorkflowOutput,
};
use crate::store::db::{Query, Row, StoreError, Val, blocks, placeholders};

/// Loads a revision and all subworkflows inside it. None when there is no such revision.
pub async fn load_revision(
    q: &mut impl Query,
    workflow_id: i64,
) -> Result<Option<Revision>, StoreError> {
    let mut loading = Loading::default();
    let mut wanted = vec![workflow_id];
    while !wanted.is_empty() {
        wanted = loading.level(q, &wanted).await?;
    }
    if !loading.parts.contains_key(&workflow_id) {
        return Ok(None);
    }
    let ids: Vec<i64> = loading.order.clone();
    for block in blocks(&ids) {
        loading.contents(q, block).await?;
    }
    Ok(loading.assemble(workflow_id))
}

#[derive(Default)]
struct Loading {
    parts: HashMap<i64, Parts>,
    /// Revisions in the order they were met: parents before what they contain.
    order: Vec<i64>,
    /// Step id → (revision, order_index).
    steps: HashMap<i64, (i64, usize)>,
}

struct Parts {
    revision: Revision,
    /// (order_index, revision inside).
    inside: Vec<(usize, i64)>,
}

impl Loading {
    /// Reads the revisions of one level with their steps; answers the revisions of the next.
    async fn level(&mut self, q: &mut impl Query, ids: &[i64]) -> Result<Vec<i64>, StoreError> {
        let mut next = Vec::new();
        for block in blocks(ids) {
            let inside = placeholders(1, block.len());
            let sql = format!("SELECT * FROM workflow WHERE id IN ({inside})");
            for row in q.all(sql, values(block)).await? {
                let revision = revision_of(&row)?;
                self.order.push(revision.id);
                let parts = Parts {
                    revision,
                    inside: Vec::new(),
                };
                self.parts.insert(parts.revision.id, parts);
            }
            let sql = format!(
                "SELECT * FROM workflow_step WHERE workflow_id IN ({inside}) ORDER BY workflow_id, order_index"
            );
            for row in q.all(sql, values(block)).await? {
                let workflow_id: i64 = row.get("workflow_id")?;
                let Some(parts) = self.parts.get_mut(&workflow_id) else {
                    continue;
                };
                let id: i64 = row.get("id")?;
                let index = parts.revision.step_ids.len();
                if let Some(inner) = row.get::<Option<i64>>("subworkflow_id")? {
                    parts.inside.push((index, inner));
                    next.push(inner);
                }
                parts.revision.description.steps.push(step_of(&row, index)?);
                parts.revision.step_ids.push(id);
                parts
                    .revision
                    .dynamic_tool_ids
                    .push(row.get("dynamic_tool_id")?);
                parts.revision.post_job_action_ids.push(Vec::new());
                self.steps.insert(id, (workflow_id, index));
            }
        }
        next.sort_unstable();
        next.dedup();
        next.retain(|id| !self.parts.contains_key(id));
        Ok(next)
    }

    /// Reads what belongs to the steps of these revisions.
    async fn contents(&mut self, q: &mut impl Query, ids: &[i64]) -> Result<(), StoreError> {
        let inside = placeholders(1, ids.len());
        // Input id → (revision, order_index, place in the step's list).
        let mut inputs: HashMap<i64, (i64, usize, usize)> = HashMap::new();
        let sql = of_steps("workflow_step_input", &inside);
        for row in q.all(sql, values(ids)).await? {
            let Some((workflow_id, index)) = self.place(&row)? else {
                continue;
            };
            let step = self.step(workflow_id, index);
            inputs.insert(row.get("id")?, (workflow_id, index, step.inputs.len()));
            step.inputs.push(StepInput {
                name: row.get("name")?,
                merge_type: row.get("merge_type")?,
                scatter_type: row.get("scatter_type")?,
                value_from: optional_json(&row, "value_from")?,
                value_from_type: row.get("value_from_type")?,
                default_value: optional_json(&row, "default_value")?,
                default_value_set: row.get("default_value_set")?,
                runtime_value: row.get("runtime_value")?,
                connections: Vec::new(),
            });
        }
        let sql = format!(
            "SELECT c.* FROM workflow_step s JOIN workflow_step_input i ON i.workflow_step_id = s.id \
             JOIN workflow_step_connection c ON c.input_step_input_id = i.id \
             WHERE s.workflow_id IN ({inside}) ORDER BY c.id"
        );
        for row in q.all(sql, values(ids)).await? {
            let at = inputs.get(&row.get("input_step_input_id")?).copied();
            let from = self.steps.get(&row.get("output_step_id")?).copied();
            let fed: Option<i64> = row.get("input_subworkflow_step_id")?;
            let fed = fed.and_then(|id| self.steps.get(&id)).map(|at| at.1);
            if let (Some((workflow_id, index, input)), Some((_, output_step))) = (at, from) {
                let connection = Connection {
                    output_step,
                    output_name: row.get("output_name")?,
                    input_subworkflow_step: fed,
                };
                let step = self.step(workflow_id, index);
                step.inputs[input].connections.push(connection);
            }
        }
        let sql = of_steps("workflow_output", &inside);
        for row in q.all(sql, values(ids)).await? {
            let Some((workflow_id, index)) = self.place(&row)? else {
                continue;
            };
            let output_name: String = row.get("output_name")?;
            let step = self.step(workflow_id, index);
            step.workflow_outputs.push(WorkflowOutput {
                output_name: output_name.clone(),
                label: row.get("label")?,
                uuid: uuid_of(&row)?,
            });
            let revision = &mut self.parts.get_mut(&workflow_id).expect("placed").revision;
            let key = (index, output_name);
            revision.workflow_output_ids.insert(key, row.get("id")?);
        }
        let sql = of_steps("post_job_action", &inside);
        for row in q.all(sql, values(ids)).await? {
            let Some((workflow_id, index)) = self.place(&row)? else {
                continue;
            };
            let output_name: String = row.get("output_name")?;
            let action = PostJobAction {
                action_type: row.get("action_type")?,
                output_name: (!output_name.is_empty()).then_some(output_name),
                action_arguments: row.json("action_arguments")?,
            };
            let revision = &mut self.parts.get_mut(&workflow_id).expect("placed").revision;
            revision.post_job_action_ids[index].push(row.get("id")?);
            revision.description.steps[index]
                .post_job_actions
                .push(action);
        }
        let sql = format!(
            "SELECT * FROM workflow_comment WHERE workflow_id IN ({inside}) ORDER BY workflow_id, order_index"
        );
        for row in q.all(sql, values(ids)).await? {
            if let Some(parts) = self.parts.get_mut(&row.get("workflow_id")?) {
                parts.revision.description.comments.push(comment_of(&row)?);
            }
        }
        Ok(())
    }

    /// The step a row belongs to.
    fn place(&self, row: &Row) -> Result<Option<(i64, usize)>, StoreError> {
        Ok(self.steps.get(&row.get("workflow_step_id")?).copied())
    }

    fn step(&mut self, workflow_id: i64, index: usize) -> &mut StepDescription {
        let parts = self.parts.get_mut(&workflow_id).expect("placed");
        &mut parts.revision.description.steps[index]
    }

    /// Puts the levels into each other, innermost first.
    fn assemble(mut self, root: i64) -> Option<Revision> {
        let mut done: HashMap<i64, Arc<Revision>> = HashMap::new();
        for id in std::mem::take(&mut self.order).into_iter().rev() {
            let parts = self.parts.remove(&id)?;
            let mut revision = parts.revision;
            for (index, inner) in parts.inside {
                if let Some(inner) = done.get(&inner) {
                    revision.description.steps[index].subworkflow =
                        Some(Box::new(inner.description.clone()));
                    revision.subrevisions.insert(index, inner.clone());
                }
            }
            if id == root {
                return Some(revision);
            }
            done.insert(id, Arc::new(revision));
        }
        None
    }
}

fn of_steps(table: &str, inside: &str) -> String {
    format!(
        "SELECT x.* FROM workflow_step s JOIN {table} x ON x.workflow_step_id = s.id \
         WHERE s.workflow_id IN ({inside}) ORDER BY x.id"
    )
}

fn revision_of(row: &Row) -> Result<Revision, StoreError> {
    let uuid = uuid_of(row)?.unwrap_or_default();
    Ok(Revision {
        id: row.get("id")?,
        stored_workflow_id: row.get("stored_workflow_id")?,
        uuid,
        create_time: row.get("create_time")?,
        description: WorkflowDescription {
            name: row.get("name")?,
            annotation: row.get("annotation")?,
            tags: texts(row.json("tags")?),
            uuid: Some(uuid),
            license: row.get("license")?,
            creator: optional_json(row, "creator_metadata")?,
            report: optional_json(row, "reports_config")?,
            source_metadata: optional_json(row, "source_metadata")?,
            readme: row.get("readme")?,
            help: row.get("help")?,
            logo_url: row.get("logo_url")?,
            doi: texts(row.json("doi")?),
            release: row.get("release")?,
            comments: Vec::new(),
            steps: Vec::new(),
            has_cycles: row.get("has_cycles")?,
            has_errors: row.get("has_errors")?,
        },
        step_ids: Vec::new(),
        dynamic_tool_ids: Vec::new(),
        workflow_output_ids: HashMap::new(),
        post_job_action_ids: Vec::new(),
        subrevisions: HashMap::new(),
    })
}

fn step_of(row: &Row, order_index: usize) -> Result<StepDescription, StoreError> {
    let mut extra = row.json("extra")?;
    let mut take = |key: &str| extra.get_mut(key).map(Value::take);
    let pairs = |value: Option<Value>| -> Vec<(String, String)> {
        let Some(Value::Array(items)) = value else {
            return Vec::new();
        };
        let text = |item: &Value, at: usize| item[at].as_str().unwrap_or_default().to_owned();
        items
            .iter()
            .map(|item| (text(item, 0), text(item, 1)))
            .collect()
    };
    Ok(StepDescription {
        order_index,
        step_type: row.get("type")?,
        tool_id: row.get("tool_id")?,
        tool_version: row.get("tool_version")?,
        tool_uuid: take("tool_uuid").and_then(|u| Uuid::parse_str(u.as_str()?).ok()),
        name: take("name").and_then(|name| name.as_str().map(str::to_owned)),
        tool_inputs: row.json("tool_inputs")?,
        tool_errors: optional_json(row, "tool_errors")?,
        position: optional_json(row, "position")?,
        config: optional_json(row, "config")?,
        label: row.get("label")?,
        uuid: uuid_of(row)?,
        annotation: row.get("annotation")?,
        when_expression: row.get("when_expression")?,
        tool_shed_repository: take("tool_shed_repository"),
        tool_representation: take("tool_representation"),
        subworkflow: None,
        inputs: Vec::new(),
        workflow_outputs: Vec::new(),
        post_job_actions: Vec::new(),
        declared_inputs: pairs(take("inputs"))
            .into_iter()
            .map(|(name, description)| DeclaredInput { name, description })
            .collect(),
        declared_outputs: pairs(take("outputs"))
            .into_iter()
            .map(|(name, output_type)| DeclaredOutput { name, output_type })
            .collect(),
    })
}

fn comment_of(row: &Row) -> Result<Comment, StoreError> {
    let value = row.json("value")?;
    let some = |key: &str| value.get(key).filter(|v| !v.is_null()).cloned();
    let numbers = |key: &str| -> Vec<usize> {
        let list = value[key].as_array().map(Vec::as_slice).unwrap_or_default();
        list.iter()
            .filter_map(|n| n.as_u64().map(|n| n as usize))
            .collect()
    };
    Ok(Comment {
        id: row.get::<i64>("order_index")? as usize,
        comment_type: value["type"].as_str().unwrap_or_default().to_owned(),
        position: some("position"),
        size: some("size"),
        color: value["color"].as_str().map(str::to_owned),
        data: value["data"].clone(),
        child_steps: numbers("child_steps"),
        child_comments: numbers("child_comments"),
    })
}

fn uuid_of(row: &Row) -> Result<Option<Uuid>, StoreError> {
    let text: Option<&str> = row.get("uuid")?;
    Ok(text.and_then(|text| Uuid::parse_str(text).ok()))
}

/// None where the column is null; a stored JSON null stays a value.
fn optional_json(row: &Row, column: &'static str) -> Result<Option<Value>, StoreError> {
    match row.get::<Option<&str>>(column)? {
        None => Ok(None),
        Some(_) => row.json(column).map(Some),
    }
}

fn texts(value: Value) -> Vec<String> {
    let Value::Array(items) = value else {
        return Vec::new();
    };
    items
        .into_iter()
        .filter_map(|item| item.as_str().map(str::to_owned))
        .collect()
}

fn values(ids: &[i64]) -> Vec<Val> {
    ids.iter().map(|id| Val::from(*id)).collect()
}
