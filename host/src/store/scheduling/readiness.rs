//! Where a new job starts: at once, when its inputs are there, or paused because one of them failed
//! (Galaxy's JobHandlerQueue.__check_job_state, decided when the job is stored instead of by polling).

use std::collections::HashMap;

use crate::invoker::writes::NewJob;
use crate::model::state::{DatasetState, JobState};

/// How a new job starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    Ready,
    /// For these datasets.
    Waits(Vec<i64>),
    Paused(&'static str),
    Failed(&'static str),
    /// It never runs: its condition was false.
    Skipped,
    /// It was over when it was made.
    Done,
}

/// A dataset as a job's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InputState {
    pub state: DatasetState,
    pub deleted: bool,
    pub purged: bool,
}

const FIX_INPUTS: &str = "Execution of this dataset's job is paused because its input datasets are in an error state. To resume this job fix the input dataset(s).";
const DELETED_INPUT: &str = "Execution of this dataset's job is paused because an input dataset was deleted before the job started.";
const PURGED_INPUT: &str = "An input dataset was purged before the job started.";

/// Decides for jobs in the order in which they were made. `datasets` holds every dataset they read, the ones
/// made with them included; outputs of paused and failed jobs are changed in it. `outputs` are each job's datasets.
pub fn decide(
    jobs: &[NewJob],
    outputs: &[Vec<i64>],
    datasets: &mut HashMap<i64, InputState>,
) -> Vec<Start> {
    jobs.iter()
        .zip(outputs)
        .map(|(job, outputs)| {
            let start = decide_one(job, datasets);
            let becomes = match start {
                Start::Paused(_) => Some(DatasetState::Paused),
                Start::Failed(_) => Some(DatasetState::Error),
                _ => None,
            };
            if let Some(state) = becomes {
                for output in outputs {
                    datasets.insert(
                        *output,
                        InputState {
                            state,
                            deleted: false,
                            purged: false,
                        },
                    );
                }
            }
            start
        })
        .collect()
}

fn decide_one(job: &NewJob, datasets: &HashMap<i64, InputState>) -> Start {
    match job.state {
        JobState::Skipped => return Start::Skipped,
        JobState::Ok => return Start::Done,
        _ => {}
    }
    let mut waits = Vec::new();
    for input in &job.inputs {
        match datasets.get(&input.dataset_id) {
            Some(i) if i.purged => return Start::Failed(PURGED_INPUT),
            Some(i) if i.deleted => return Start::Paused(DELETED_INPUT),
            Some(i) if i.state.is_usable() => {}
            Some(i) if i.state.is_pending() => waits.push(input.dataset_id),
            _ => return Start::Paused(FIX_INPUTS),
        }
    }
    waits.sort_unstable();
    waits.dedup();
    match waits.is_empty() {
        true => Start::Ready,
        false => Start::Waits(waits),
    }
}

/// What happens to a job that is about to start although inputs of it were deleted since it was stored.
pub fn at_dispatch(inputs: impl IntoIterator<Item = (bool, bool)>) -> Option<Start> {
    let mut stops = None;
    for (deleted, purged) in inputs {
        match (purged, deleted) {
            (true, _) => return Some(Start::Failed(PURGED_INPUT)),
            (false, true) => stops = Some(Start::Paused(DELETED_INPUT)),
            (false, false) => {}
        }
    }
    stops
}

/// What a dependant's outputs say when the job before it failed.
pub fn paused_info() -> &'static str {
    FIX_INPUTS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invoker::writes::JobInput;

    fn job(inputs: &[i64]) -> NewJob {
        NewJob {
            id: 1,
            uuid: uuid::Uuid::nil(),
            invocation_id: None,
            tool_id: "t".into(),
            tool_version: "1".into(),
            dynamic_tool_id: None,
            state: JobState::New,
            params: serde_json::Value::Null,
            inputs: inputs
                .iter()
                .map(|id| JobInput {
                    name: "i".into(),
                    hda_id: *id,
                    dataset_id: *id,
                    element_identifier: None,
                })
                .collect(),
            input_collections: vec![],
            outputs: vec![],
            output_collections: vec![],
            post_job_action_ids: vec![],
            cores: 1,
            memory_mb: 0,
            use_cached: false,
            copied_from: None,
            structure: None,
        }
    }

    fn datasets(states: &[(i64, DatasetState)]) -> HashMap<i64, InputState> {
        states
            .iter()
            .map(|(id, state)| {
                (
                    *id,
                    InputState {
                        state: *state,
                        deleted: false,
                        purged: false,
                    },
                )
            })
            .collect()
    }

    #[test]
    fn a_job_waits_for_each_pending_input_once() {
        let mut known = datasets(&[
            (1, DatasetState::New),
            (2, DatasetState::Ok),
            (3, DatasetState::Running),
        ]);
        let starts = decide(&[job(&[3, 1, 2, 1])], &[vec![]], &mut known);
        assert_eq!(starts, [Start::Waits(vec![1, 3])]);
        assert_eq!(decide(&[job(&[2])], &[vec![]], &mut known), [Start::Ready]);
        assert_eq!(decide(&[job(&[])], &[vec![]], &mut known), [Start::Ready]);
    }

    #[test]
    fn a_failed_input_pauses_the_job_and_all_that_follow() {
        let mut known = datasets(&[
            (1, DatasetState::Error),
            (10, DatasetState::New),
            (11, DatasetState::New),
        ]);
        let starts = decide(&[job(&[1]), job(&[10])], &[vec![10], vec![11]], &mut known);
        assert_eq!(
            starts,
            [Start::Paused(FIX_INPUTS), Start::Paused(FIX_INPUTS)]
        );
        assert_eq!(known[&11].state, DatasetState::Paused);
    }

    #[test]
    fn at_the_last_moment_a_purged_input_counts_more_than_a_deleted_one() {
        assert_eq!(at_dispatch([(false, false)]), None);
        assert_eq!(
            at_dispatch([(true, false), (false, false)]),
            Some(Start::Paused(DELETED_INPUT))
        );
        assert_eq!(
            at_dispatch([(true, false), (true, true)]),
            Some(Start::Failed(PURGED_INPUT))
        );
    }

    #[test]
    fn a_purged_input_fails_the_job_and_a_deleted_one_pauses_it() {
        let mut known = datasets(&[(1, DatasetState::Ok)]);
        known.get_mut(&1).expect("there").deleted = true;
        assert!(matches!(
            decide(&[job(&[1])], &[vec![]], &mut known)[0],
            Start::Paused(_)
        ));
        known.get_mut(&1).expect("there").purged = true;
        assert!(matches!(
            decide(&[job(&[1])], &[vec![]], &mut known)[0],
            Start::Failed(_)
        ));
    }
}
