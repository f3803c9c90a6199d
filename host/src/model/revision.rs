//! A revision of a workflow as it is stored: the description, and the ids of its parts.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use super::workflow::WorkflowDescription;

/// One revision as stored: the description, and the database ids of what it consists of.
#[derive(Debug, Clone)]
pub struct Revision {
    pub id: i64,
    /// None for the inside of a subworkflow step.
    pub stored_workflow_id: Option<i64>,
    pub uuid: Uuid,
    pub create_time: i64,
    pub description: WorkflowDescription,
    /// By order_index.
    pub step_ids: Vec<i64>,
    /// The user-defined tool of each step, by order_index.
    pub dynamic_tool_ids: Vec<Option<i64>>,
    /// By order_index of the step and name of the output.
    pub workflow_output_ids: HashMap<(usize, String), i64>,
    /// By order_index, each list in the order of the description's `post_job_actions`.
    pub post_job_action_ids: Vec<Vec<i64>>,
    /// The revision inside each subworkflow step, by order_index.
    pub subrevisions: HashMap<usize, Arc<Revision>>,
}

impl Revision {
    /// order_index of a step of this revision, by database id.
    pub fn order_index_of(&self, step_id: i64) -> Option<usize> {
        // Ids are handed out in order, so the list is sorted; rows from elsewhere need not be.
        match self.step_ids.binary_search(&step_id) {
            Ok(index) => Some(index),
            Err(_) => self.step_ids.iter().position(|id| *id == step_id),
        }
    }

    /// Steps of this revision and of all inside it.
    pub fn total_steps(&self) -> usize {
        let inner = self.subrevisions.values().map(|r| r.total_steps());
        self.step_ids.len() + inner.sum::<usize>()
    }
}
