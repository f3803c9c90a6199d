//! What must be true once an invocation has come to rest, and what it looks like then.

use std::collections::{HashMap, HashSet};

use barycenter::args;
use barycenter::invoker::known::Known;
use barycenter::model::state::DatasetState;
use barycenter::store::Query;
use barycenter::store::scheduling::known;

use super::World;

impl World {
    pub async fn check_finality(&mut self) {
        let over = self
            .pairs("SELECT id, state FROM job WHERE state IN ('ok', 'error', 'deleted', 'skipped')")
            .await;
        let now: HashMap<i64, String> = over.into_iter().collect();
        for (id, state) in &self.final_jobs {
            assert_eq!(
                now.get(id),
                Some(state),
                "seed {}: job {id} was over",
                self.seed
            );
        }
        self.final_jobs = now;
        let over = self
            .pairs("SELECT id, state FROM workflow_invocation WHERE state IN ('completed', 'failed', 'cancelled')")
            .await;
        let now: HashMap<i64, String> = over.into_iter().collect();
        for (id, state) in &self.final_invocations {
            assert_eq!(
                now.get(id),
                Some(state),
                "seed {}: invocation {id} was over",
                self.seed
            );
        }
        self.final_invocations = now;
    }

    pub async fn check_end(&mut self, invocation: i64) {
        let seed = self.seed;
        let left = self
            .pairs(
                "SELECT id, state FROM job WHERE state IN ('new', 'queued', 'running', 'waiting')",
            )
            .await;
        assert_eq!(left, [], "seed {seed}: jobs are left over");
        let states: HashMap<i64, String> = self
            .pairs("SELECT id, state FROM workflow_invocation")
            .await
            .into_iter()
            .collect();
        let root = states[&invocation].as_str();
        // A job that is paused may go on one day, so whoever waits for what it makes waits on, as in Galaxy.
        let asleep = self
            .pairs(
                "SELECT w.workflow_invocation_id, w.kind FROM workflow_invocation_wait w
                 LEFT JOIN job j ON w.kind = 'job' AND j.id = w.item_id
                 LEFT JOIN dataset d ON w.kind = 'dataset' AND d.id = w.item_id
                 WHERE j.state = 'paused' OR d.state = 'paused'",
            )
            .await;
        let sleeps = root == "ready" && asleep.iter().any(|(id, _)| *id == invocation);
        if !sleeps && !matches!(root, "completed" | "failed") {
            let waits = self
                .pairs("SELECT item_id, kind FROM workflow_invocation_wait")
                .await;
            let steps = self
                .pairs("SELECT order_index, type || ' ' || COALESCE(tool_id, '') FROM workflow_step ORDER BY id")
                .await;
            let found = self.describe(invocation).await;
            panic!(
                "seed {seed}: it is stuck as {root}, waiting for {waits:?}:\n{found}\n{steps:?}"
            );
        }
        // Slices are numbered without a gap or a repetition, one job each.
        let groups = self
            .pairs("SELECT implicit_collection_jobs_id, CAST(order_index AS TEXT) FROM implicit_collection_jobs_job_association ORDER BY 1, order_index")
            .await;
        let mut next: HashMap<i64, usize> = HashMap::new();
        for (group, slice) in groups {
            let expected = next.entry(group).or_default();
            assert_eq!(
                slice,
                expected.to_string(),
                "seed {seed}: a slice of group {group}"
            );
            *expected += 1;
        }
        let twice = self
            .pairs("SELECT job_id, 'more than one slice' FROM implicit_collection_jobs_job_association GROUP BY job_id HAVING COUNT(*) > 1")
            .await;
        assert_eq!(twice, [], "seed {seed}");
    }

    /// Everything about an invocation that must not depend on the order, as text.
    pub async fn describe(&self, id: i64) -> String {
        let states = self
            .pairs("SELECT id, state FROM workflow_invocation")
            .await;
        let state = states.into_iter().find(|(i, _)| *i == id).expect("there").1;
        let mut lines = vec![state];
        let mut reader = self.store.reader();
        let steps = reader
            .all(
                "SELECT id, order_index, state, job_id, implicit_collection_jobs_id FROM workflow_invocation_step
                 WHERE workflow_invocation_id = $1 ORDER BY order_index",
                args![id],
            )
            .await
            .expect("reads");
        for step in steps {
            let (row, order): (i64, i64) = (step.get(0).expect("id"), step.get(1).expect("n"));
            let state: String = step.get(2).expect("text");
            let jobs = reader
                .all(
                    "SELECT j.state FROM workflow_invocation_step s
                     LEFT JOIN implicit_collection_jobs_job_association a ON a.implicit_collection_jobs_id = s.implicit_collection_jobs_id
                     JOIN job j ON j.id = COALESCE(s.job_id, a.job_id) WHERE s.id = $1 ORDER BY a.order_index",
                    args![row],
                )
                .await
                .expect("reads");
            let jobs: Vec<String> = jobs.iter().map(|row| row.get(0).expect("text")).collect();
            lines.push(format!("{order} {state} [{}]", jobs.join(" ")));
            let outputs = reader
                .all(
                    "SELECT output_name, dataset_id, 0 FROM workflow_invocation_step_output_dataset_association WHERE workflow_invocation_step_id = $1
                     UNION ALL
                     SELECT output_name, dataset_collection_id, 1 FROM workflow_invocation_step_output_dataset_collection_association WHERE workflow_invocation_step_id = $1
                     ORDER BY 1",
                    args![row],
                )
                .await
                .expect("reads");
            for output in outputs {
                let (name, item): (String, i64) =
                    (output.get(0).expect("text"), output.get(1).expect("id"));
                let shown = match output.get::<i64>(2).expect("kind") {
                    0 => self.hda(item).await,
                    _ => self.hdca(item).await,
                };
                lines.push(format!("  {name}: {shown}"));
            }
        }
        let children = reader
            .all(
                "SELECT a.subworkflow_invocation_id FROM workflow_invocation_to_subworkflow_invocation_association a
                 JOIN workflow_step w ON w.id = a.workflow_step_id WHERE a.workflow_invocation_id = $1 ORDER BY w.order_index",
                args![id],
            )
            .await
            .expect("reads");
        for child in children {
            let inner = Box::pin(self.describe(child.get(0).expect("id"))).await;
            lines.push(inner.replace('\n', "\n    "));
        }
        lines.join("\n")
    }

    async fn hda(&self, id: i64) -> String {
        let mut read = Known::default();
        known::load(&mut self.store.reader(), &mut read, [id], [])
            .await
            .expect("reads");
        self.shown(&read, id)
    }

    fn shown(&self, read: &Known, id: i64) -> String {
        let hda = &read.hdas[&id];
        let content = match hda.state {
            DatasetState::Ok => {
                std::fs::read_to_string(self.data.dataset(hda.dataset_id)).expect("a file")
            }
            _ => String::new(),
        };
        format!("{} {} {content}", hda.state, hda.extension)
    }

    async fn hdca(&self, id: i64) -> String {
        let mut read = Known::default();
        known::load(&mut self.store.reader(), &mut read, [], [id])
            .await
            .expect("reads");
        let collection = &read.hdcas[&id].collection;
        let distinct: HashSet<i64> = collection.elements.iter().map(|e| e.id).collect();
        assert_eq!(distinct.len(), collection.elements.len());
        let leaves: Vec<String> = collection
            .leaves()
            .iter()
            .map(|leaf| self.shown(&read, *leaf))
            .collect();
        format!(
            "{} {:?} [{}]",
            collection.shape(),
            collection.populated(),
            leaves.join(", ")
        )
    }
}
