//! Writing revisions: ids are handed out first, then each table is written with few statements.

use std::collections::HashMap;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::args;
use crate::model::workflow::{Comment, StepDescription, WorkflowDescription};
use crate::store::db::{Query, StoreError, Tx, Val, placeholders};
use crate::store::ids::Ids;

/// Creates a stored workflow with its first revision; answers (stored workflow, revision).
pub async fn create_stored_workflow(
    tx: &mut Tx,
    ids: &Ids,
    user_id: i64,
    description: &WorkflowDescription,
    from_path: Option<&str>,
    now_ms: i64,
) -> Result<(i64, i64), StoreError> {
    let stored = ids.stored_workflow(tx).await?;
    tx.run(
        "INSERT INTO stored_workflow (id, user_id, name, from_path, annotation, tags, create_time, update_time)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $7)",
        args![
            stored,
            user_id,
            &description.name,
            from_path,
            &description.annotation,
            tags_json(&description.tags),
            now_ms
        ],
    )
    .await?;
    let revision = add_revision(tx, ids, stored, description, now_ms).await?;
    Ok((stored, revision))
}

/// Adds a revision to a stored workflow and makes it the latest one.
pub async fn add_revision(
    tx: &mut Tx,
    ids: &Ids,
    stored_workflow_id: i64,
    description: &WorkflowDescription,
    now_ms: i64,
) -> Result<i64, StoreError> {
    let revision = save_revision(tx, ids, Some(stored_workflow_id), description, now_ms).await?;
    tx.run(
        "UPDATE stored_workflow SET latest_workflow_id = $2, update_time = $3 WHERE id = $1",
        args![stored_workflow_id, revision, now_ms],
    )
    .await?;
    Ok(revision)
}

/// Writes one revision with all the subworkflows inside it; answers its id.
///
/// Steps without a uuid are given one. The uuid of a user-defined tool is resolved to the tool where it is known.
pub async fn save_revision(
    tx: &mut Tx,
    ids: &Ids,
    stored_workflow_id: Option<i64>,
    description: &WorkflowDescription,
    now_ms: i64,
) -> Result<i64, StoreError> {
    let revisions = save_revisions(tx, ids, stored_workflow_id, &[description], now_ms).await?;
    Ok(revisions[0])
}

/// As [`save_revision`], for several revisions at once, oldest first.
pub async fn save_revisions(
    tx: &mut Tx,
    ids: &Ids,
    stored_workflow_id: Option<i64>,
    descriptions: &[&WorkflowDescription],
    now_ms: i64,
) -> Result<Vec<i64>, StoreError> {
    let count = descriptions.iter().map(|d| levels_of(d)).sum();
    let revision_ids = ids.workflows(tx, count).await?;
    let planned = Planned::of(ids, revision_ids, descriptions);
    let tools = dynamic_tools(tx, &planned).await?;
    let rows = planned.rows(ids, stored_workflow_id, &tools, now_ms);
    rows.write(tx).await?;
    Ok(planned.levels[..descriptions.len()]
        .iter()
        .map(|level| level.id)
        .collect())
}

/// A (sub)workflow with the ids it was given.
struct Level<'a> {
    id: i64,
    parent: Option<i64>,
    description: &'a WorkflowDescription,
    step_ids: Vec<i64>,
    /// Position in `Planned::levels` of the subworkflow of each step that has one.
    inside: HashMap<usize, usize>,
}

struct Planned<'a> {
    levels: Vec<Level<'a>>,
}

impl<'a> Planned<'a> {
    /// Gives out ids breadth first, so that parents come before what they contain.
    fn of(
        ids: &Ids,
        revision_ids: Vec<i64>,
        descriptions: &[&'a WorkflowDescription],
    ) -> Planned<'a> {
        let mut revision_ids = revision_ids.into_iter();
        let mut level = |parent, description| {
            level(
                ids,
                revision_ids.next().unwrap_or_default(),
                parent,
                description,
            )
        };
        let mut levels: Vec<Level<'a>> = descriptions
            .iter()
            .map(|description| level(None, description))
            .collect();
        let mut next = 0;
        while next < levels.len() {
            let (id, description) = (levels[next].id, levels[next].description);
            for (index, step) in description.steps.iter().enumerate() {
                if let Some(inner) = step.subworkflow.as_deref() {
                    let position = levels.len();
                    levels[next].inside.insert(index, position);
                    levels.push(level(Some(id), inner));
                }
            }
            next += 1;
        }
        Planned { levels }
    }

    fn rows(
        &self,
        ids: &Ids,
        stored_workflow_id: Option<i64>,
        tools: &HashMap<Uuid, i64>,
        now_ms: i64,
    ) -> Rows {
        let mut rows = Rows::default();
        for level in &self.levels {
            let stored = stored_workflow_id.filter(|_| level.parent.is_none());
            rows.workflows.push(workflow_row(level, stored, now_ms));
            for (index, step) in level.description.steps.iter().enumerate() {
                let inside = level.inside.get(&index).map(|at| &self.levels[*at]);
                rows.add_step(ids, level, index, step, inside, tools);
            }
            for comment in &level.description.comments {
                rows.comments
                    .push(args![level.id, comment.id, &comment_json(comment)]);
            }
        }
        rows
    }
}

/// The workflow and all inside it.
fn levels_of(description: &WorkflowDescription) -> usize {
    let inner = description
        .steps
        .iter()
        .filter_map(|s| s.subworkflow.as_deref());
    1 + inner.map(levels_of).sum::<usize>()
}

fn level<'a>(
    ids: &Ids,
    id: i64,
    parent: Option<i64>,
    description: &'a WorkflowDescription,
) -> Level<'a> {
    Level {
        id,
        parent,
        description,
        step_ids: description
            .steps
            .iter()
            .map(|_| ids.workflow_step())
            .collect(),
        inside: HashMap::new(),
    }
}

fn workflow_row(level: &Level<'_>, stored: Option<i64>, now_ms: i64) -> Vec<Val> {
    let d = level.description;
    args![
        level.id,
        stored,
        level.parent,
        d.uuid.unwrap_or_else(Uuid::new_v4),
        &d.name,
        &d.annotation,
        tags_json(&d.tags),
        d.has_cycles,
        d.has_errors,
        json_text(&d.report),
        json_text(&d.creator),
        &d.license,
        json_text(&d.source_metadata),
        &d.readme,
        &d.logo_url,
        &d.help,
        (!d.doi.is_empty()).then(|| tags_json(&d.doi)),
        &d.release,
        now_ms,
        now_ms,
    ]
}

#[derive(Default)]
struct Rows {
    workflows: Vec<Vec<Val>>,
    steps: Vec<Vec<Val>>,
    inputs: Vec<Vec<Val>>,
    connections: Vec<Vec<Val>>,
    outputs: Vec<Vec<Val>>,
    actions: Vec<Vec<Val>>,
    comments: Vec<Vec<Val>>,
}

impl Rows {
    fn add_step(
        &mut self,
        ids: &Ids,
        level: &Level<'_>,
        index: usize,
        step: &StepDescription,
        inside: Option<&Level<'_>>,
        tools: &HashMap<Uuid, i64>,
    ) {
        let step_id = level.step_ids[index];
        self.steps.push(args![
            step_id,
            level.id,
            inside.map(|level| level.id),
            step.tool_uuid.and_then(|uuid| tools.get(&uuid).copied()),
            &step.step_type,
            &step.tool_id,
            &step.tool_version,
            &step.tool_inputs,
            json_text(&step.tool_errors),
            json_text(&step.position),
            json_text(&step.config),
            index,
            &step.when_expression,
            step.uuid.unwrap_or_else(Uuid::new_v4),
            &step.label,
            &step.annotation,
            extra_json(step),
        ]);
        for input in &step.inputs {
            let input_id = ids.workflow_step_input();
            self.inputs.push(args![
                input_id,
                step_id,
                &input.name,
                &input.merge_type,
                &input.scatter_type,
                json_text(&input.value_from),
                &input.value_from_type,
                json_text(&input.default_value),
                input.default_value_set,
                input.runtime_value,
            ]);
            for connection in &input.connections {
                let Some(from) = level.step_ids.get(connection.output_step) else {
                    continue; // refused by `formats::validate` long before
                };
                let fed = connection
                    .input_subworkflow_step
                    .and_then(|inner| inside?.step_ids.get(inner).copied());
                self.connections
                    .push(args![*from, input_id, &connection.output_name, fed]);
            }
        }
        for output in &step.workflow_outputs {
            self.outputs.push(args![
                ids.workflow_output(),
                step_id,
                &output.output_name,
                &output.label,
                output.uuid.map(|uuid| uuid.to_string()),
            ]);
        }
        for action in &step.post_job_actions {
            self.actions.push(args![
                step_id,
                &action.action_type,
                action.output_name.as_deref().unwrap_or(""),
                &action.action_arguments,
            ]);
        }
    }

    async fn write(self, tx: &mut Tx) -> Result<(), StoreError> {
        let tables = [
            (
                "INSERT INTO workflow (id, stored_workflow_id, parent_workflow_id, uuid, name, annotation, tags, has_cycles, \
                 has_errors, reports_config, creator_metadata, license, source_metadata, readme, logo_url, help, doi, release, \
                 create_time, update_time) VALUES",
                20,
                self.workflows,
            ),
            (
                "INSERT INTO workflow_step (id, workflow_id, subworkflow_id, dynamic_tool_id, type, tool_id, tool_version, \
                 tool_inputs, tool_errors, position, config, order_index, when_expression, uuid, label, annotation, extra) VALUES",
                17,
                self.steps,
            ),
            (
                "INSERT INTO workflow_step_input (id, workflow_step_id, name, merge_type, scatter_type, value_from, \
                 value_from_type, default_value, default_value_set, runtime_value) VALUES",
                10,
                self.inputs,
            ),
            (
                "INSERT INTO workflow_step_connection (output_step_id, input_step_input_id, output_name, \
                 input_subworkflow_step_id) VALUES",
                4,
                self.connections,
            ),
            (
                "INSERT INTO workflow_output (id, workflow_step_id, output_name, label, uuid) VALUES",
                5,
                self.outputs,
            ),
            (
                "INSERT INTO post_job_action (workflow_step_id, action_type, output_name, action_arguments) VALUES",
                4,
                self.actions,
            ),
            (
                "INSERT INTO workflow_comment (workflow_id, order_index, value) VALUES",
                3,
                self.comments,
            ),
        ];
        for (head, columns, rows) in tables {
            tx.insert_many(head, columns, "", rows).await?;
        }
        Ok(())
    }
}

/// The database ids of the user-defined tools that the steps name by uuid.
async fn dynamic_tools(
    tx: &mut Tx,
    planned: &Planned<'_>,
) -> Result<HashMap<Uuid, i64>, StoreError> {
    let mut uuids: Vec<Uuid> = planned
        .levels
        .iter()
        .flat_map(|level| level.description.steps.iter())
        .filter_map(|step| step.tool_uuid)
        .collect();
    uuids.sort_unstable();
    uuids.dedup();
    let mut found = HashMap::new();
    for block in uuids.chunks(512) {
        let sql = format!(
            "SELECT id, uuid FROM dynamic_tool WHERE uuid IN ({})",
            placeholders(1, block.len())
        );
        let named = block.iter().map(|uuid| Val::from(*uuid)).collect();
        for row in tx.all(sql, named).await? {
            if let Ok(uuid) = Uuid::parse_str(row.get::<&str>("uuid")?) {
                found.insert(uuid, row.get("id")?);
            }
        }
    }
    Ok(found)
}

/// What has no column of its own; null when there is nothing to say.
fn extra_json(step: &StepDescription) -> Option<String> {
    let mut extra = Map::new();
    let mut add = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            extra.insert(key.to_owned(), value);
        }
    };
    add("name", step.name.clone().map(Value::from));
    add("tool_uuid", step.tool_uuid.map(|u| u.to_string().into()));
    add("tool_shed_repository", step.tool_shed_repository.clone());
    add("tool_representation", step.tool_representation.clone());
    let inputs: Vec<Value> = step
        .declared_inputs
        .iter()
        .map(|input| json!([input.name, input.description]))
        .collect();
    add("inputs", (!inputs.is_empty()).then_some(inputs.into()));
    let outputs: Vec<Value> = step
        .declared_outputs
        .iter()
        .map(|output| json!([output.name, output.output_type]))
        .collect();
    add("outputs", (!outputs.is_empty()).then_some(outputs.into()));
    (!extra.is_empty()).then(|| Value::Object(extra).to_string())
}

fn comment_json(comment: &Comment) -> Value {
    json!({
        "type": comment.comment_type,
        "position": comment.position,
        "size": comment.size,
        "color": comment.color,
        "data": comment.data,
        "child_steps": comment.child_steps,
        "child_comments": comment.child_comments,
    })
}

fn json_text(value: &Option<Value>) -> Option<String> {
    value.as_ref().map(Value::to_string)
}

fn tags_json(tags: &[String]) -> String {
    Value::from(tags).to_string()
}
