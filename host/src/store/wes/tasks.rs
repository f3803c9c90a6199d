//! Steps and jobs as one list of tasks, paged in the database.
//!
//! A task is a step with one job or none, or one job of a mapped step; the order is (step order_index, job's
//! order_index). A page is a walk from its first key: each row of the recursive query finds the next key with two
//! or three index look-ups, so a page costs what it shows, wherever in the list it is and whatever the steps look
//! like. (A plain UNION ALL of the three kinds, ordered and limited, makes the database look for the first step of a
//! kind through all the others, and PostgreSQL sort every job of a mapped step.)

use std::collections::HashMap;

use crate::args;
use crate::model::state::{JobState, StepState};
use crate::store::db::{Query, Row, StoreError, Val, placeholders};

/// The place of a task in its run. A task without an index of its own has 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub order_index: i64,
    pub job_index: i64,
}

impl Key {
    /// Before every task.
    pub const START: Key = Key {
        order_index: -1,
        job_index: -1,
    };
}

/// Where the run ended when a walk over its tasks began: what was made later is not part of the walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The last invocation step, and the last job of a mapped step, that there was.
    pub step_id: i64,
    pub member_id: i64,
    /// The last order_index that the run had reached.
    pub order_index: i64,
}

/// The run, as far as its tasks need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    pub user_id: i64,
    pub is_shared: bool,
    /// Of this moment.
    pub bounds: Bounds,
}

/// A step of an invocation.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub id: i64,
    pub order_index: i64,
    pub state: StepState,
    pub label: Option<String>,
    pub tool_id: Option<String>,
    pub create_time: i64,
    pub update_time: i64,
    /// The invocation of a subworkflow step.
    pub subworkflow_invocation_id: Option<i64>,
}

/// One task.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    pub step: Step,
    /// For a job of a mapped step.
    pub job_index: Option<i64>,
    pub job: Option<Job>,
}

impl Task {
    /// Its place.
    pub fn key(&self) -> Key {
        Key {
            order_index: self.step.order_index,
            job_index: self.job_index.unwrap_or(0),
        }
    }
}

/// What a task shows of its job; not what it wrote, which may be long.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    pub id: i64,
    pub state: JobState,
    pub tool_id: String,
    pub command_line: Option<String>,
    pub exit_code: Option<i64>,
    pub info: Option<String>,
    pub runner: Option<String>,
    pub external_id: Option<String>,
    pub create_time: i64,
    pub start_time: Option<i64>,
    pub end_time: Option<i64>,
    pub update_time: i64,
}

/// What has to be known before a page can be read: whose the run is, and where it ends now.
const HEAD: &str =
    "SELECT i.user_id, CASE WHEN h.published OR h.importable THEN 1 ELSE 0 END AS is_shared,
        (SELECT s.order_index FROM workflow_invocation_step s WHERE s.workflow_invocation_id = i.id
         ORDER BY s.order_index DESC LIMIT 1) AS last_order,
        (SELECT MAX(s.id) FROM workflow_invocation_step s) AS last_step,
        (SELECT MAX(a.id) FROM implicit_collection_jobs_job_association a) AS last_member
     FROM workflow_invocation i JOIN history h ON h.id = i.history_id WHERE i.id = $1";

/// The run whose tasks are asked for: the first of the three statements of a page.
pub async fn page_head(q: &mut impl Query, invocation_id: i64) -> Result<Option<Page>, StoreError> {
    let row = q.maybe(HEAD, args![invocation_id]).await?;
    row.map(|row| {
        let or_none = |name: &str| Ok(row.get::<Option<i64>>(name)?.unwrap_or(-1));
        Ok(Page {
            user_id: row.get("user_id")?,
            is_shared: row.get::<i64>("is_shared")? != 0,
            bounds: Bounds {
                step_id: or_none("last_step")?,
                member_id: or_none("last_member")?,
                order_index: or_none("last_order")?,
            },
        })
    })
    .transpose()
}

/// `$1` invocation, `$2` and `$3` the key to go on after, `$4` to `$6` the bounds, `$7` how many.
///
/// In each row: `a` is the next job of the mapped step the walk is in; without one, `s` is the next step that has a
/// task, and `f` its first job if it is mapped. Jobs of a mapped step are added in the order of their index, so one
/// beyond the bound says that the step has no more. A mapped step none of whose jobs was there when the walk began
/// counts as what it was then: one task without a job.
///
/// The parameters stand in subselects, where no plan can depend on their values: PostgreSQL then keeps the plan of the
/// prepared statement, and making a new one for each page would take a third of the page's time.
pub(super) const WALK: &str = "WITH RECURSIVE walk (n, order_index, job_index, mapped, step_id, collection_id, job_id) AS (
    SELECT CAST(0 AS BIGINT), (SELECT CAST($2 AS BIGINT)), (SELECT CAST($3 AS BIGINT)), CAST(0 AS BIGINT),
           (SELECT b.id FROM workflow_invocation_step b
            WHERE b.workflow_invocation_id = (SELECT CAST($1 AS BIGINT)) AND b.order_index = (SELECT CAST($2 AS BIGINT))),
           (SELECT b.implicit_collection_jobs_id FROM workflow_invocation_step b
            WHERE b.workflow_invocation_id = (SELECT CAST($1 AS BIGINT)) AND b.order_index = (SELECT CAST($2 AS BIGINT))),
           CAST(NULL AS BIGINT)
    UNION ALL
    SELECT w.n + 1,
           CASE WHEN a.id IS NOT NULL THEN w.order_index ELSE s.order_index END,
           COALESCE(a.order_index, f.order_index, 0),
           CASE WHEN COALESCE(a.id, f.id) IS NULL THEN 0 ELSE 1 END,
           CASE WHEN a.id IS NOT NULL THEN w.step_id ELSE s.id END,
           CASE WHEN a.id IS NOT NULL THEN w.collection_id ELSE s.implicit_collection_jobs_id END,
           COALESCE(a.job_id, f.job_id, s.job_id)
    FROM walk w
    LEFT JOIN implicit_collection_jobs_job_association a ON a.id <= (SELECT CAST($4 AS BIGINT)) AND a.id = (
        SELECT x.id FROM implicit_collection_jobs_job_association x
        WHERE x.implicit_collection_jobs_id = w.collection_id AND x.order_index > w.job_index
        ORDER BY x.order_index LIMIT 1)
    LEFT JOIN workflow_invocation_step s ON s.id = CASE WHEN a.id IS NULL THEN (
        SELECT y.id FROM workflow_invocation_step y
        WHERE y.workflow_invocation_id = (SELECT CAST($1 AS BIGINT)) AND y.order_index > w.order_index AND y.order_index <= (SELECT CAST($6 AS BIGINT)) AND y.id <= (SELECT CAST($5 AS BIGINT))
          AND (y.implicit_collection_jobs_id IS NULL OR EXISTS (
              SELECT 1 FROM implicit_collection_jobs_job_association e
              WHERE e.implicit_collection_jobs_id = y.implicit_collection_jobs_id))
        ORDER BY y.order_index LIMIT 1) END
    LEFT JOIN implicit_collection_jobs_job_association f ON f.id <= (SELECT CAST($4 AS BIGINT)) AND f.id = (
        SELECT z.id FROM implicit_collection_jobs_job_association z
        WHERE z.implicit_collection_jobs_id = s.implicit_collection_jobs_id
        ORDER BY z.order_index LIMIT 1)
    WHERE w.n < (SELECT CAST($7 AS BIGINT)) AND (a.id IS NOT NULL OR s.id IS NOT NULL)
)
SELECT k.n, k.order_index, k.job_index, k.mapped, k.job_id, s.id, s.state, s.create_time, s.update_time,
       t.label, t.tool_id, c.subworkflow_invocation_id
FROM walk k
JOIN workflow_invocation_step s ON s.id = k.step_id
JOIN workflow_step t ON t.id = s.workflow_step_id
LEFT JOIN workflow_invocation_to_subworkflow_invocation_association c
    ON c.workflow_invocation_id = (SELECT CAST($1 AS BIGINT)) AND c.workflow_step_id = s.workflow_step_id
WHERE k.n > 0";

/// At most `limit` tasks after a key: two statements.
pub async fn page(
    q: &mut impl Query,
    invocation_id: i64,
    after: Key,
    bounds: Bounds,
    limit: usize,
) -> Result<Vec<Task>, StoreError> {
    let args = args![
        invocation_id,
        after.order_index,
        after.job_index,
        bounds.member_id,
        bounds.step_id,
        bounds.order_index,
        limit
    ];
    let mut rows = Vec::new();
    for row in q.all(WALK, args).await? {
        let mapped = row.get::<i64>("mapped")? != 0;
        let index: i64 = row.get("job_index")?;
        let job_id: Option<i64> = row.get("job_id")?;
        let number: i64 = row.get("n")?;
        rows.push((number, step(&row)?, mapped.then_some(index), job_id));
    }
    rows.sort_by_key(|(number, ..)| *number);
    let ids: Vec<i64> = rows.iter().filter_map(|(.., job_id)| *job_id).collect();
    let mut jobs = jobs(q, &ids).await?;
    let task = |(_, step, job_index, job_id): (i64, Step, Option<i64>, Option<i64>)| Task {
        step,
        job_index,
        job: job_id.and_then(|id| jobs.remove(&id)),
    };
    Ok(rows.into_iter().map(task).collect())
}

fn step(row: &Row) -> Result<Step, StoreError> {
    let state: &str = row.get("state")?;
    Ok(Step {
        id: row.get("id")?,
        order_index: row.get("order_index")?,
        state: state.parse().map_err(|_| StoreError::Unknown {
            what: "invocation step state",
            value: state.to_owned(),
        })?,
        label: row.get("label")?,
        tool_id: row.get("tool_id")?,
        create_time: row.get("create_time")?,
        update_time: row.get("update_time")?,
        subworkflow_invocation_id: row.get("subworkflow_invocation_id")?,
    })
}

const JOB: &str =
    "SELECT j.id, j.state, j.tool_id, j.command_line, j.exit_code, j.info, j.job_runner_name,
        j.job_runner_external_id, j.create_time, j.start_time, j.end_time, j.update_time FROM job j";

async fn jobs(q: &mut impl Query, ids: &[i64]) -> Result<HashMap<i64, Job>, StoreError> {
    let mut found = HashMap::with_capacity(ids.len());
    if ids.is_empty() {
        return Ok(found);
    }
    let sql = format!("{JOB} WHERE j.id IN ({})", placeholders(1, ids.len()));
    let args = ids.iter().map(|id| Val::from(*id)).collect();
    for row in q.all(sql, args).await? {
        let job = job(&row)?;
        found.insert(job.id, job);
    }
    Ok(found)
}

fn job(row: &Row) -> Result<Job, StoreError> {
    let state: &str = row.get("state")?;
    Ok(Job {
        id: row.get("id")?,
        state: state.parse().map_err(|_| StoreError::Unknown {
            what: "job state",
            value: state.to_owned(),
        })?,
        tool_id: row.get("tool_id")?,
        command_line: row.get("command_line")?,
        exit_code: row.get("exit_code")?,
        info: row.get("info")?,
        runner: row.get("job_runner_name")?,
        external_id: row.get("job_runner_external_id")?,
        create_time: row.get("create_time")?,
        start_time: row.get("start_time")?,
        end_time: row.get("end_time")?,
        update_time: row.get("update_time")?,
    })
}

/// A run with one of its steps.
#[derive(Debug, Clone, PartialEq)]
pub struct OfStep {
    pub user_id: i64,
    pub is_shared: bool,
    /// None: the run has no step of this id.
    pub step: Option<(Step, Jobs)>,
}

/// Where a step's jobs are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jobs {
    None,
    One(i64),
    Mapped(i64),
}

const STEP: &str = "SELECT i.user_id, CASE WHEN h.published OR h.importable THEN 1 ELSE 0 END AS is_shared,
        s.id, s.order_index, s.state, s.create_time, s.update_time, s.job_id, s.implicit_collection_jobs_id,
        t.label, t.tool_id, c.subworkflow_invocation_id
     FROM workflow_invocation i JOIN history h ON h.id = i.history_id
     LEFT JOIN workflow_invocation_step s ON s.id = $2 AND s.workflow_invocation_id = i.id
     LEFT JOIN workflow_step t ON t.id = s.workflow_step_id
     LEFT JOIN workflow_invocation_to_subworkflow_invocation_association c
         ON c.workflow_invocation_id = i.id AND c.workflow_step_id = s.workflow_step_id
     WHERE i.id = $1";

/// A run, and the step of it with this id: one statement.
pub async fn of_step(
    q: &mut impl Query,
    invocation_id: i64,
    step_id: i64,
) -> Result<Option<OfStep>, StoreError> {
    let Some(row) = q.maybe(STEP, args![invocation_id, step_id]).await? else {
        return Ok(None);
    };
    let is_there = row.get::<Option<i64>>("id")?.is_some();
    let jobs = match (
        row.get::<Option<i64>>("implicit_collection_jobs_id")?,
        row.get::<Option<i64>>("job_id")?,
    ) {
        (Some(id), _) => Jobs::Mapped(id),
        (None, Some(id)) => Jobs::One(id),
        (None, None) => Jobs::None,
    };
    Ok(Some(OfStep {
        user_id: row.get("user_id")?,
        is_shared: row.get::<i64>("is_shared")? != 0,
        step: match is_there {
            true => Some((step(&row)?, jobs)),
            false => None,
        },
    }))
}

/// One job: by its own id, or by its place in a mapping. One statement.
pub async fn one_job(
    q: &mut impl Query,
    jobs: Jobs,
    job_index: i64,
) -> Result<Option<Job>, StoreError> {
    let row = match jobs {
        Jobs::None => None,
        Jobs::One(id) => q.maybe(format!("{JOB} WHERE j.id = $1"), args![id]).await?,
        Jobs::Mapped(id) => {
            let sql = format!(
                "{JOB} JOIN implicit_collection_jobs_job_association a ON a.job_id = j.id
                 WHERE a.implicit_collection_jobs_id = $1 AND a.order_index = $2"
            );
            q.maybe(sql, args![id, job_index]).await?
        }
    };
    row.map(|row| job(&row)).transpose()
}
