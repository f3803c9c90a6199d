//! Loading what one scheduling iteration starts from. The number of statements does not depend on the number of
//! steps; what is read is what the remaining steps need.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;
use uuid::Uuid;

use super::known;
use crate::args;
use crate::invoker::known::{Known, StepValue};
use crate::invoker::modules::is_host_type;
use crate::invoker::progress::{AwaitedJobs, Progress, StepRecord, awaited};
use crate::invoker::resolve::{OutputTable, Outputs};
use crate::invoker::tool_run::Resume;
use crate::model::state::{InvocationState, JobState, StepState};
use crate::store::db::{Query, Row, StoreError, placeholders};
use crate::store::workflows::RevisionCache;

/// An invocation's own row, as the loops see it.
#[derive(Debug, Clone)]
pub struct Head {
    pub id: i64,
    pub uuid: Uuid,
    pub workflow_id: i64,
    pub history_id: i64,
    pub history_deleted: bool,
    pub user_id: i64,
    pub state: InvocationState,
    pub scheduler: Option<String>,
    pub handler: Option<String>,
    pub parent_invocation_id: Option<i64>,
    pub create_time: i64,
    /// The signals that this look answers.
    pub signal_count: i64,
    /// Something of it is stored as held by its scheduler.
    pub has_holds: bool,
}

/// The row of an invocation; None when there is none.
pub async fn head(q: &mut impl Query, id: i64) -> Result<Option<Head>, StoreError> {
    let row = q
        .maybe(
            "SELECT i.id, i.uuid, i.workflow_id, i.history_id, h.deleted, i.user_id, i.state, i.scheduler, i.handler,
                    i.parent_invocation_id, i.create_time, i.signal_count,
                    (SELECT COUNT(*) FROM workflow_invocation_hold x WHERE x.workflow_invocation_id = i.id AND x.order_index <> -2)
             FROM workflow_invocation i JOIN history h ON h.id = i.history_id WHERE i.id = $1",
            args![id],
        )
        .await?;
    row.map(|row| {
        let state: String = row.get(6)?;
        Ok(Head {
            id: row.get(0)?,
            uuid: Uuid::parse_str(&row.get::<String>(1)?).unwrap_or_default(),
            workflow_id: row.get(2)?,
            history_id: row.get(3)?,
            history_deleted: row.get(4)?,
            user_id: row.get(5)?,
            state: state.parse().map_err(|_| StoreError::Unknown {
                what: "invocation state",
                value: state,
            })?,
            scheduler: row.get(7)?,
            handler: row.get(8)?,
            parent_invocation_id: row.get(9)?,
            create_time: row.get(10)?,
            signal_count: row.get(11)?,
            has_holds: row.get::<i64>(12)? > 0,
        })
    })
    .transpose()
}

/// Everything else about it, and about the invocations inside its subworkflow steps that are not scheduled yet.
pub async fn load(
    q: &mut impl Query,
    cache: &RevisionCache,
    head: &Head,
) -> Result<Option<Progress>, StoreError> {
    let mut known = Known::default();
    let progress = load_one(q, cache, head, &mut known).await?;
    Ok(progress.map(|progress| Progress { known, ..progress }))
}

async fn load_one(
    q: &mut impl Query,
    cache: &RevisionCache,
    head: &Head,
    known: &mut Known,
) -> Result<Option<Progress>, StoreError> {
    let Some(revision) = cache.get(q, head.workflow_id).await? else {
        return Ok(None);
    };
    let steps = steps(q, head.id).await?;
    let remaining: Vec<usize> = (0..revision.description.steps.len())
        .filter(|n| {
            steps
                .get(n)
                .is_none_or(|record| record.state != StepState::Scheduled)
        })
        .collect();
    let children = match revision.subrevisions.is_empty() {
        true => HashMap::new(),
        false => Box::pin(children(q, cache, head, &revision, known)).await?,
    };
    let mut producers = producers(&revision.description, &steps, &remaining, &children);
    if head.parent_invocation_id.is_some() {
        // The enclosing workflow takes these, however long ago they were made.
        let outputs = revision.description.outputs();
        producers.extend(outputs.filter_map(|(step, _)| Some(steps.get(&step.order_index)?.id)));
    }
    let (table, partial) = outputs(q, head.id, &steps, &producers).await?;
    let RequestParameters {
        replacements,
        resource_params,
        use_cached_job,
    } = request_parameters(q, head.id).await?;
    let progress = Progress {
        invocation_id: head.id,
        uuid: head.uuid,
        history_id: head.history_id,
        history_deleted: head.history_deleted,
        inputs: inputs(q, head.id, &revision).await?,
        step_states: step_states(q, head.id, &revision, &remaining).await?,
        replacements,
        use_cached_job,
        resumes: resumes(q, &steps, partial).await?,
        awaited_jobs: awaited_jobs(q, &revision.description, &steps, &remaining).await?,
        known: Known::default(),
        recovered: Vec::new(),
        children,
        force_skip: false,
        enclosing: None,
        resource_params,
        supplied_by_request: head.parent_invocation_id.is_none(),
        revision,
        steps,
        table,
    };
    let (hdas, hdcas, elements) = referenced(&progress);
    known::load(q, known, hdas, hdcas).await?;
    if !elements.is_empty() {
        let elements = known::load_elements(q, known, &elements).await?;
        known.elements.extend(elements);
    }
    Ok(Some(progress))
}

/// The inner invocations that their root still has to drive, by order_index of their step.
async fn children(
    q: &mut impl Query,
    cache: &RevisionCache,
    head: &Head,
    revision: &crate::model::revision::Revision,
    known: &mut Known,
) -> Result<HashMap<usize, Progress>, StoreError> {
    let rows = q
        .all(
            "SELECT a.workflow_step_id, i.id FROM workflow_invocation_to_subworkflow_invocation_association a
             JOIN workflow_invocation i ON i.id = a.subworkflow_invocation_id
             WHERE a.workflow_invocation_id = $1 AND i.state IN ('new', 'ready')",
            args![head.id],
        )
        .await?;
    let mut found = HashMap::new();
    for row in rows {
        let Some(order_index) = revision.order_index_of(row.get(0)?) else {
            continue;
        };
        let Some(inner) = self::head(q, row.get(1)?).await? else {
            continue;
        };
        if let Some(progress) = load_one(q, cache, &inner, known).await? {
            found.insert(order_index, progress);
        }
    }
    Ok(found)
}

async fn steps(q: &mut impl Query, id: i64) -> Result<HashMap<usize, StepRecord>, StoreError> {
    let rows = q
        .all(
            "SELECT order_index, id, state, job_id, implicit_collection_jobs_id, action
             FROM workflow_invocation_step WHERE workflow_invocation_id = $1",
            args![id],
        )
        .await?;
    rows.iter()
        .map(|row| {
            let state: String = row.get(2)?;
            let action: Option<String> = row.get(5)?;
            let record = StepRecord {
                id: row.get(1)?,
                state: state.parse().map_err(|_| StoreError::Unknown {
                    what: "step state",
                    value: state,
                })?,
                job_id: row.get(3)?,
                implicit_collection_jobs_id: row.get(4)?,
                action: action.and_then(|text| serde_json::from_str(&text).ok()),
            };
            Ok((row.get::<i64>(0)? as usize, record))
        })
        .collect()
}

/// The reached steps whose outputs somebody still needs: those that feed remaining steps, or a plugin's module that
/// is asked again in every iteration; and those of such a module itself, so that they are stored once.
fn producers(
    workflow: &crate::model::workflow::WorkflowDescription,
    steps: &HashMap<usize, StepRecord>,
    remaining: &[usize],
    children: &HashMap<usize, Progress>,
) -> HashSet<i64> {
    let mut wanted = HashSet::new();
    let asked_again = workflow
        .steps
        .iter()
        .filter(|step| !is_host_type(&step.step_type))
        .map(|s| s.order_index);
    wanted.extend(
        asked_again
            .clone()
            .filter_map(|n| steps.get(&n))
            .map(|record| record.id),
    );
    let driven = children.keys().copied();
    for order_index in remaining.iter().copied().chain(asked_again).chain(driven) {
        let inputs = &workflow.steps[order_index].inputs;
        let from = inputs
            .iter()
            .flat_map(|i| &i.connections)
            .map(|c| c.output_step);
        wanted.extend(
            from.filter_map(|step| steps.get(&step))
                .map(|record| record.id),
        );
    }
    wanted.extend(
        remaining
            .iter()
            .filter_map(|n| steps.get(n))
            .map(|record| record.id),
    );
    wanted
}

type Partial = HashMap<usize, HashMap<String, i64>>;

async fn outputs(
    q: &mut impl Query,
    id: i64,
    steps: &HashMap<usize, StepRecord>,
    wanted: &HashSet<i64>,
) -> Result<(OutputTable, Partial), StoreError> {
    let mut table = OutputTable::new();
    let mut partial = Partial::new();
    for (order_index, record) in steps {
        if record.state == StepState::Scheduled && wanted.contains(&record.id) {
            table.insert(*order_index, Outputs::Known(HashMap::new()));
        }
    }
    if wanted.is_empty() {
        return Ok((table, partial));
    }
    let mut add = |row: &Row, value: StepValue| -> Result<(), StoreError> {
        let order_index = row.get::<i64>(0)? as usize;
        let name: String = row.get(1)?;
        match table.get_mut(&order_index) {
            Some(Outputs::Known(outputs)) => drop(outputs.insert(name, value)),
            _ => {
                if let StepValue::Hdca(hdca) = value {
                    partial.entry(order_index).or_default().insert(name, hdca);
                }
            }
        }
        Ok(())
    };
    for (source, column) in [
        (
            "workflow_invocation_step_output_dataset_association",
            "dataset_id",
        ),
        (
            "workflow_invocation_step_output_dataset_collection_association",
            "dataset_collection_id",
        ),
        ("workflow_invocation_step_output_value", "value"),
    ] {
        // Few wanted steps among many are looked up one by one; otherwise the invocation's are read in one go.
        let few = wanted.len() <= 256;
        let sql = format!(
            "SELECT s.order_index, o.output_name, o.{column} FROM workflow_invocation_step s
             JOIN {source} o ON o.workflow_invocation_step_id = s.id WHERE {}",
            match few {
                true => format!("s.id IN ({})", placeholders(1, wanted.len())),
                false => "s.workflow_invocation_id = $1".to_owned(),
            }
        );
        let ids: Vec<i64> = if few {
            wanted.iter().copied().collect()
        } else {
            vec![id]
        };
        for row in q.all(sql, known::ids(&ids)).await? {
            let value = match column {
                "dataset_id" => StepValue::Hda(row.get(2)?),
                "dataset_collection_id" => StepValue::Hdca(row.get(2)?),
                _ => StepValue::from_stored(row.json(2)?),
            };
            add(&row, value)?;
        }
    }
    Ok((table, partial))
}

async fn inputs(
    q: &mut impl Query,
    id: i64,
    revision: &crate::model::revision::Revision,
) -> Result<HashMap<usize, StepValue>, StoreError> {
    let mut inputs = HashMap::new();
    for (source, column) in [
        ("workflow_request_to_input_dataset", "dataset_id"),
        (
            "workflow_request_to_input_collection_dataset",
            "dataset_collection_id",
        ),
        ("workflow_request_input_step_parameter", "parameter_value"),
    ] {
        let sql = format!(
            "SELECT workflow_step_id, {column} FROM {source} WHERE workflow_invocation_id = $1"
        );
        for row in q.all(sql, args![id]).await? {
            let Some(order_index) = revision.order_index_of(row.get(0)?) else {
                continue;
            };
            let value = match column {
                "dataset_id" => StepValue::Hda(row.get(1)?),
                "dataset_collection_id" => StepValue::Hdca(row.get(1)?),
                _ => StepValue::Json(row.json(1)?),
            };
            inputs.insert(order_index, value);
        }
    }
    Ok(inputs)
}

async fn step_states(
    q: &mut impl Query,
    id: i64,
    revision: &crate::model::revision::Revision,
    remaining: &[usize],
) -> Result<HashMap<usize, Value>, StoreError> {
    if remaining.is_empty() {
        return Ok(HashMap::new());
    }
    let mut sql = "SELECT workflow_step_id, value FROM workflow_request_step_states WHERE workflow_invocation_id = $1".to_owned();
    let mut arguments = args![id];
    if remaining.len() <= 256 {
        sql += &format!(
            " AND workflow_step_id IN ({})",
            placeholders(2, remaining.len())
        );
        arguments.extend(remaining.iter().map(|n| revision.step_ids[*n].into()));
    }
    let mut states = HashMap::new();
    for row in q.all(sql, arguments).await? {
        if let Some(order_index) = revision.order_index_of(row.get(0)?) {
            states.insert(order_index, row.json(1)?);
        }
    }
    Ok(states)
}

/// What of a request is about all steps.
#[derive(Default)]
struct RequestParameters {
    replacements: HashMap<String, String>,
    resource_params: BTreeMap<String, String>,
    /// Results that are there already will do.
    use_cached_job: bool,
}

async fn request_parameters(q: &mut impl Query, id: i64) -> Result<RequestParameters, StoreError> {
    let rows = q
        .all(
            "SELECT name, value, type FROM workflow_request_input_parameters
             WHERE workflow_invocation_id = $1
               AND (type IN ('replacements', 'resource') OR (type = 'meta' AND name = 'use_cached_job'))",
            args![id],
        )
        .await?;
    let mut found = RequestParameters::default();
    for row in rows {
        let value = row.get::<Option<String>>(1)?.unwrap_or_default();
        match row.get::<String>(2)?.as_str() {
            "meta" => found.use_cached_job = value == "true",
            "resource" => drop(found.resource_params.insert(row.get(0)?, value)),
            _ => drop(found.replacements.insert(row.get(0)?, value)),
        }
    }
    Ok(found)
}

async fn resumes(
    q: &mut impl Query,
    steps: &HashMap<usize, StepRecord>,
    mut partial: Partial,
) -> Result<HashMap<usize, Resume>, StoreError> {
    let mut resumes = HashMap::new();
    for (order_index, record) in steps {
        let (StepState::Ready, Some(group)) = (record.state, record.implicit_collection_jobs_id)
        else {
            continue;
        };
        let row = q
            .maybe(
                "SELECT COALESCE(MAX(order_index) + 1, 0) FROM implicit_collection_jobs_job_association
                 WHERE implicit_collection_jobs_id = $1",
                args![group],
            )
            .await?;
        let done: i64 = row.map(|r| r.get(0)).transpose()?.unwrap_or(0);
        resumes.insert(
            *order_index,
            Resume {
                implicit_collection_jobs_id: group,
                done: done as usize,
                outputs: partial.remove(order_index).unwrap_or_default(),
            },
        );
    }
    Ok(resumes)
}

/// Jobs of the steps that remaining steps follow without taking data from them.
async fn awaited_jobs(
    q: &mut impl Query,
    workflow: &crate::model::workflow::WorkflowDescription,
    steps: &HashMap<usize, StepRecord>,
    remaining: &[usize],
) -> Result<HashMap<usize, AwaitedJobs>, StoreError> {
    let mut found = HashMap::new();
    let followed: HashSet<usize> = remaining
        .iter()
        .flat_map(|n| &workflow.steps[*n].inputs)
        .flat_map(|input| input.connections.iter().filter(|c| input.is_non_data(c)))
        .map(|c| c.output_step)
        .collect();
    for order_index in followed {
        let Some(record) = steps.get(&order_index) else {
            continue;
        };
        let rows = match (record.job_id, record.implicit_collection_jobs_id) {
            (Some(job), _) => q.all("SELECT id, state FROM job WHERE id = $1", args![job]).await?,
            (None, Some(group)) => {
                q.all(
                    "SELECT j.id, j.state FROM implicit_collection_jobs_job_association a JOIN job j ON j.id = a.job_id
                     WHERE a.implicit_collection_jobs_id = $1 ORDER BY a.order_index",
                    args![group],
                )
                .await?
            }
            (None, None) => continue,
        };
        let mut jobs = Vec::with_capacity(rows.len());
        for row in rows {
            jobs.push((row.get(0)?, job_state(row.get(1)?)?));
        }
        found.insert(order_index, awaited(jobs.into_iter()));
    }
    Ok(found)
}

/// A job's state by its stored code.
pub fn job_state(code: String) -> Result<JobState, StoreError> {
    code.parse().map_err(|_| StoreError::Unknown {
        what: "job state",
        value: code,
    })
}

/// Datasets, collections, and elements of collections.
fn referenced(progress: &Progress) -> (Vec<i64>, Vec<i64>, Vec<i64>) {
    let (mut hdas, mut hdcas, mut elements) = (Vec::new(), Vec::new(), Vec::new());
    let mut note = |value: &StepValue| match value {
        StepValue::Hda(id) => hdas.push(*id),
        StepValue::Hdca(id) => hdcas.push(*id),
        StepValue::Json(_) | StepValue::NoReplacement => {}
    };
    progress.inputs.values().for_each(&mut note);
    for outputs in progress.table.values() {
        if let Outputs::Known(outputs) = outputs {
            outputs.values().for_each(&mut note);
        }
    }
    for state in progress.step_states.values() {
        for reference in crate::tools::inputs_json::data_refs(state) {
            match reference.src {
                crate::tools::inputs_json::DataSource::Hda => note(&StepValue::Hda(reference.id)),
                crate::tools::inputs_json::DataSource::Hdca => note(&StepValue::Hdca(reference.id)),
                crate::tools::inputs_json::DataSource::Dce => elements.push(reference.id),
                crate::tools::inputs_json::DataSource::Ldda => {}
            }
        }
    }
    for resume in progress.resumes.values() {
        resume
            .outputs
            .values()
            .for_each(|id| note(&StepValue::Hdca(*id)));
    }
    (hdas, hdcas, elements)
}
