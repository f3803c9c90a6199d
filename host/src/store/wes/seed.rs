//! Finished invocations in bulk, written straight into the database: for benchmarks and tests.
//!
//! The rows are computed by the database from a counter, a few statements for each kind of row, so that a million
//! tasks take seconds. Indexes stay.

use serde_json::json;

use crate::args;
use crate::model::workflow::WorkflowDescription;
use crate::store::Store;
use crate::store::db::{Dialect, Durability, StoreError, Tx, Val};
use crate::store::workflows;

/// What the invocations look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Every step has one job.
    Single,
    /// One step, mapped over a collection.
    Collection,
    /// Of ten tasks one is a step without a job, four are steps with one job, and five a mapped step.
    Mixed,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seeded {
    pub workflow_id: i64,
    pub history_id: i64,
    pub invocation_ids: Vec<i64>,
}

/// How many of each a run has: `blocks` times (`jobless` steps, `singles` steps with one job, one mapped step of
/// `width` jobs), then `tail` more steps with one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layout {
    blocks: i64,
    jobless: i64,
    singles: i64,
    width: i64,
    tail: i64,
}

impl Layout {
    fn of(shape: Shape, tasks: i64) -> Layout {
        let (blocks, jobless, singles, width, tail) = match shape {
            Shape::Single => (0, 0, 0, 0, tasks),
            Shape::Collection => (i64::from(tasks > 0), 0, 0, tasks, 0),
            Shape::Mixed => (tasks / 10, 1, 4, 5, tasks % 10),
        };
        Layout {
            blocks,
            jobless,
            singles,
            width,
            tail,
        }
    }

    fn mapped(self) -> i64 {
        i64::from(self.width > 0)
    }

    fn steps_in_block(self) -> i64 {
        self.jobless + self.singles + self.mapped()
    }

    fn jobs_in_block(self) -> i64 {
        self.singles + self.width
    }

    fn steps(self) -> i64 {
        self.blocks * self.steps_in_block() + self.tail
    }

    fn jobs(self) -> i64 {
        self.blocks * self.jobs_in_block() + self.tail
    }
}

/// Rows of one statement: a statement of this size takes a fraction of a second.
const CHUNK: i64 = 100_000;
const DURATION_MS: i64 = 1_000;

/// Writes `runs` finished invocations of one new workflow, of `tasks` tasks each, into one new history of a user's.
/// Nobody else may be using the database.
pub async fn seed(
    store: &Store,
    user_id: i64,
    shape: Shape,
    tasks: i64,
    runs: i64,
    now_ms: i64,
) -> Result<Seeded, StoreError> {
    let layout = Layout::of(shape, tasks);
    // Its steps are written in bulk below.
    let description = WorkflowDescription {
        name: format!("{tasks} seeded tasks"),
        ..WorkflowDescription::default()
    };
    let mut tx = store.begin().await?;
    let history_id = store.ids.history(&mut tx).await?;
    tx.run(
        "INSERT INTO history (id, user_id, name, create_time, update_time) VALUES ($1, $2, $3, $4, $4)",
        args![history_id, user_id, &description.name, now_ms],
    )
    .await?;
    let (_, workflow_id) =
        workflows::create_stored_workflow(&mut tx, &store.ids, user_id, &description, None, now_ms)
            .await?;
    tx.commit(Durability::Progress, "seed").await?;
    let bulk = Bulk {
        store,
        user_id,
        history_id,
        workflow_id,
        layout,
        now_ms,
    };
    let first_step = store.ids.range("workflow_step", layout.steps()).await?;
    bulk.workflow_steps(first_step).await?;
    let mut invocation_ids = Vec::new();
    for n in 0..runs {
        invocation_ids.push(bulk.invocation(first_step, n).await?);
    }
    if store.db.dialect() == Dialect::Postgres {
        // So many rows at once: without this its first plans would go by tables that were empty.
        let mut tx = store.begin().await?;
        tx.run("ANALYZE", args![]).await?;
        tx.commit(Durability::Progress, "seed").await?;
    }
    Ok(Seeded {
        workflow_id,
        history_id,
        invocation_ids,
    })
}

struct Bulk<'a> {
    store: &'a Store,
    user_id: i64,
    history_id: i64,
    workflow_id: i64,
    layout: Layout,
    now_ms: i64,
}

/// `i` counts from `$1` to below `$2`.
const COUNTER: &str = "WITH RECURSIVE n (i) AS (SELECT CAST($1 AS BIGINT) UNION ALL SELECT i + 1 FROM n WHERE i + 1 < CAST($2 AS BIGINT))";

impl Bulk<'_> {
    /// Runs `INSERT INTO … SELECT … FROM n` for `count` values of `i`, in chunks of a transaction each. The
    /// statement's own arguments begin at `$3`.
    async fn insert(&self, count: i64, insert: &str, own: Vec<Val>) -> Result<(), StoreError> {
        let (into, select) = insert.split_once("SELECT").unwrap_or((insert, ""));
        let mut from = 0;
        while from < count {
            let to = (from + CHUNK).min(count);
            let mut args = args![from, to];
            args.extend(own.iter().cloned());
            let mut tx: Tx = self.store.begin().await?;
            tx.run(format!("{into} {COUNTER} SELECT{select}"), args)
                .await?;
            tx.commit(Durability::Progress, "seed").await?;
            from = to;
        }
        Ok(())
    }

    async fn workflow_steps(&self, first: i64) -> Result<(), StoreError> {
        let layout = self.layout;
        let in_blocks = layout.blocks * layout.steps_in_block();
        let sql = "INSERT INTO workflow_step (id, workflow_id, type, tool_id, order_index)
             SELECT $3 + i, $4, CASE WHEN i < $5 AND i % $6 < $7 THEN 'data_input' ELSE 'tool' END,
                    CASE WHEN i < $5 AND i % $6 < $7 THEN NULL ELSE 'seeded' END, i FROM n";
        let args = args![
            first,
            self.workflow_id,
            in_blocks,
            layout.steps_in_block().max(1),
            layout.jobless
        ];
        self.insert(layout.steps(), sql, args).await
    }

    async fn invocation(&self, first_workflow_step: i64, number: i64) -> Result<i64, StoreError> {
        let layout = self.layout;
        let (ids, now) = (&self.store.ids, self.now_ms + number);
        let first_job = ids.range("job", layout.jobs()).await?;
        let first_step = ids
            .range("workflow_invocation_step", layout.steps())
            .await?;
        let mapped = layout.blocks * layout.mapped();
        let first_mapping = ids.range("implicit_collection_jobs", mapped).await?;
        let mut tx = self.store.begin().await?;
        let id = ids.invocations(&mut tx, 1).await?[0];
        tx.run(
            "INSERT INTO workflow_invocation (id, uuid, workflow_id, history_id, user_id, state, scheduler, signal_count,
                 signal_seen, create_time, update_time) VALUES ($1, $2, $3, $4, $5, 'completed', 'default', 1, 1, $6, $7)",
            args![id, uuid::Uuid::new_v4(), self.workflow_id, self.history_id, self.user_id, now, now + DURATION_MS],
        )
        .await?;
        tx.run(
            "INSERT INTO workflow_invocation_completion (workflow_invocation_id, completion_time, job_state_summary)
             VALUES ($1, $2, $3)",
            args![
                id,
                now + DURATION_MS,
                &json!({ "ok": layout.jobs() })
            ],
        )
        .await?;
        tx.commit(Durability::Progress, "seed").await?;
        let jobs = "INSERT INTO job (id, uuid, user_id, history_id, workflow_invocation_id, scheduler, tool_id, tool_version,
                 state, command_line, exit_code, tool_stdout, tool_stderr, ready_time, start_time, end_time, create_time, update_time)
             SELECT $3 + i, '00000000-0000-4000-8000-' || CAST(100000000000 + $3 + i AS TEXT), $4, $5, $6, 'default', 'seeded',
                 '1.0', 'ok', 'echo seeded', 0, 'seeded', '', $7, $7, $8, $7, $8 FROM n";
        let args = args![
            first_job,
            self.user_id,
            self.history_id,
            id,
            now,
            now + DURATION_MS
        ];
        self.insert(layout.jobs(), jobs, args).await?;
        let mappings =
            "INSERT INTO implicit_collection_jobs (id, populated_state) SELECT $3 + i, 'ok' FROM n";
        self.insert(mapped, mappings, args![first_mapping]).await?;
        let width = layout.width.max(1);
        let members = "INSERT INTO implicit_collection_jobs_job_association (implicit_collection_jobs_id, job_id, order_index)
             SELECT $3 + i / $4, $5 + (i / $4) * $6 + $7 + i % $4, i % $4 FROM n";
        let args = args![
            first_mapping,
            width,
            first_job,
            layout.jobs_in_block(),
            layout.singles
        ];
        self.insert(layout.blocks * layout.width, members, args)
            .await?;
        // Position in its block decides what a step is: without a job, with one, mapped.
        let steps = "INSERT INTO workflow_invocation_step (id, workflow_invocation_id, workflow_step_id, order_index, state,
                 job_id, implicit_collection_jobs_id, create_time, update_time)
             SELECT $3 + i, $4, $5 + i, i, 'scheduled',
                 CASE WHEN i >= $6 THEN $7 + $8 + i - $6
                      WHEN i % $9 < $10 OR i % $9 >= $10 + $11 THEN NULL
                      ELSE $7 + (i / $9) * $12 + i % $9 - $10 END,
                 CASE WHEN i < $6 AND i % $9 >= $10 + $11 THEN $13 + i / $9 END,
                 $14, $15 FROM n";
        let args = args![
            first_step,
            id,
            first_workflow_step,
            layout.blocks * layout.steps_in_block(),
            first_job,
            layout.blocks * layout.jobs_in_block(),
            layout.steps_in_block().max(1),
            layout.jobless,
            layout.singles,
            layout.jobs_in_block(),
            first_mapping,
            now,
            now + DURATION_MS
        ];
        self.insert(layout.steps(), steps, args).await?;
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_has_as_many_tasks_as_were_asked_for() {
        for shape in [Shape::Single, Shape::Collection, Shape::Mixed] {
            for tasks in [0, 1, 9, 10, 11, 1_234] {
                let layout = Layout::of(shape, tasks);
                assert_eq!(
                    layout.jobs() + layout.blocks * layout.jobless,
                    tasks,
                    "{shape:?} {tasks}"
                );
            }
        }
    }
}
