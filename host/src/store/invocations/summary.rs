//! Counts of jobs by state, whose cost is one query however many steps there are.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Invocation;
use crate::args;
use crate::model::state::InvocationState;
use crate::store::db::{Query, StoreError};

/// Jobs by state.
#[derive(Debug, Clone, PartialEq)]
pub struct JobsSummary {
    pub source: JobSource,
    /// order_index of the step; None for a whole invocation.
    pub order_index: Option<i64>,
    pub states: BTreeMap<String, i64>,
    /// `new`, `ok` or `failed`.
    pub populated_state: String,
}

/// Whose jobs were counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobSource {
    Job(i64),
    ImplicitCollectionJobs(i64),
    Invocation(i64),
}

pub(super) const STEP_STATES: &str = "SELECT s.order_index, s.job_id, s.implicit_collection_jobs_id AS icj, NULL AS populated_state, j.state, 1 AS n
         FROM workflow_invocation_step s JOIN job j ON j.id = s.job_id
         WHERE s.workflow_invocation_id = $1
     UNION ALL
     SELECT s.order_index, NULL AS job_id, s.implicit_collection_jobs_id AS icj, i.populated_state, j.state, COUNT(j.id) AS n
         FROM workflow_invocation_step s
         JOIN implicit_collection_jobs i ON i.id = s.implicit_collection_jobs_id
         LEFT JOIN implicit_collection_jobs_job_association a ON a.implicit_collection_jobs_id = i.id
         LEFT JOIN job j ON j.id = a.job_id
         WHERE s.workflow_invocation_id = $1 GROUP BY s.id, i.id, j.state
     ORDER BY 1";

/// One summary for each step that has a job or is mapped, in order; subworkflows are invocations of their own.
pub async fn step_jobs_summary(
    q: &mut impl Query,
    invocation_id: i64,
) -> Result<Vec<JobsSummary>, StoreError> {
    let mut summaries: Vec<JobsSummary> = Vec::new();
    for row in q.all(STEP_STATES, args![invocation_id]).await? {
        let icj: Option<i64> = row.get("icj")?;
        let job: Option<i64> = row.get("job_id")?;
        let source = match (job, icj) {
            (_, Some(icj)) => JobSource::ImplicitCollectionJobs(icj),
            (Some(job), None) => JobSource::Job(job),
            (None, None) => continue,
        };
        if summaries.last().is_none_or(|last| last.source != source) {
            let populated: Option<String> = row.get("populated_state")?;
            summaries.push(JobsSummary {
                source,
                order_index: row.get("order_index")?,
                states: BTreeMap::new(),
                populated_state: populated.unwrap_or_else(|| "ok".to_owned()),
            });
        }
        if let (Some(state), Some(last)) =
            (row.get::<Option<String>>("state")?, summaries.last_mut())
        {
            *last.states.entry(state).or_default() += row.get::<i64>("n")?;
        }
    }
    Ok(summaries)
}

/// The jobs of all steps of an invocation together.
pub async fn jobs_summary(
    q: &mut impl Query,
    invocation: &Invocation,
) -> Result<JobsSummary, StoreError> {
    let mut states = BTreeMap::new();
    for step in step_jobs_summary(q, invocation.id).await? {
        for (state, count) in step.states {
            *states.entry(state).or_default() += count;
        }
    }
    let partly = "SELECT 1 AS one FROM workflow_invocation_step WHERE workflow_invocation_id = $1 AND state <> 'scheduled'
         AND (job_id IS NOT NULL OR implicit_collection_jobs_id IS NOT NULL) LIMIT 1";
    use InvocationState as S;
    let populated_state = match invocation.state {
        S::Cancelling | S::Cancelled | S::Failed => "failed",
        S::Scheduled | S::Completed if q.maybe(partly, args![invocation.id]).await?.is_none() => {
            "ok"
        }
        _ => "new",
    };
    Ok(JobsSummary {
        source: JobSource::Invocation(invocation.id),
        order_index: None,
        states,
        populated_state: populated_state.to_owned(),
    })
}

/// What was stored when the invocation was completed.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    pub completion_time: i64,
    pub job_state_summary: Value,
    pub hooks_executed: Value,
}

/// The completion of an invocation; None before.
pub async fn completion(
    q: &mut impl Query,
    invocation_id: i64,
) -> Result<Option<Completion>, StoreError> {
    let sql = "SELECT * FROM workflow_invocation_completion WHERE workflow_invocation_id = $1";
    let Some(row) = q.maybe(sql, args![invocation_id]).await? else {
        return Ok(None);
    };
    Ok(Some(Completion {
        completion_time: row.get("completion_time")?,
        job_state_summary: row.json("job_state_summary")?,
        hooks_executed: row.json("hooks_executed")?,
    }))
}
