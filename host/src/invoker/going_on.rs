//! From one iteration to the next without loading everything again: an invocation whose budget ended goes on from what
//! is in memory. It is as though the iteration had been longer, with a commit in between: whatever may change while an
//! iteration lasts may change here as well, and is looked at again when it is stored.

use super::progress::{Progress, StepRecord};
use super::resolve::Outputs;
use super::tool_run::Resume;
use super::writes::Writes;
use crate::model::state::StepState;

/// What is known of invocations that have more datasets than this in it is not kept.
const DATASETS_MAX: usize = 200_000;

impl Progress {
    /// Whether [`Progress::go_on`] can take in what an iteration of this invocation stores. Inner invocations, the ends of
    /// jobs that are waited for, and results taken from other jobs are loaded anew.
    pub fn can_go_on(&self) -> bool {
        let steps = &self.revision.description.steps;
        self.revision.subrevisions.is_empty()
            && self.children.is_empty()
            && self.awaited_jobs.is_empty()
            && !steps.iter().any(|step| {
                let mut connections = step.inputs.iter().flat_map(|input| {
                    let all = input.connections.iter();
                    all.map(move |connection| (input, connection))
                });
                connections.any(|(input, connection)| input.is_non_data(connection))
            })
            && !self.use_cached_job
            && self.known.hdas.len() <= DATASETS_MAX
    }

    /// Takes in what an iteration decided, once it is stored; `first_hid` is the number that its first new item got.
    pub fn go_on(&mut self, writes: &Writes, first_hid: i64) {
        for row in &writes.steps {
            let record = StepRecord {
                id: row.id,
                state: row.state,
                job_id: row.job_id,
                implicit_collection_jobs_id: row.implicit_collection_jobs_id,
                action: None,
            };
            let known = self.steps.entry(row.order_index).or_insert(record.clone());
            let action = known.action.take();
            *known = StepRecord { action, ..record };
            self.resume(row.order_index, writes);
        }
        for state in &writes.runtime_states {
            let ids = &self.revision.step_ids;
            if let Some(step) = ids.iter().position(|id| *id == state.workflow_step_id) {
                self.step_states.insert(step, state.value.clone());
            }
        }
        let steps = &self.steps;
        self.table.retain(|step, outputs| {
            // What a module has yet to put out is not stored; it is asked again.
            if matches!(outputs, Outputs::Delayed(_)) {
                *outputs = Outputs::Known(Default::default());
            }
            let record = steps.get(step);
            record.is_some_and(|record| record.state == StepState::Scheduled)
        });
        let name = |name: &str| writes.names.resolve(name, first_hid);
        for new in &writes.hdas {
            if let Some(hda) = self.known.hdas.get_mut(&new.id) {
                hda.hid = hda.hid.given(first_hid);
                hda.name = name(&new.name);
            }
        }
        for new in &writes.hdcas {
            if let Some(hdca) = self.known.hdcas.get_mut(&new.id) {
                hdca.hid = hdca.hid.given(first_hid);
                hdca.name = name(&new.name);
            }
        }
    }

    /// Where a mapped step goes on whose slices do not all have their jobs.
    fn resume(&mut self, order_index: usize, writes: &Writes) {
        let record = &self.steps[&order_index];
        let (StepState::Ready, Some(group)) = (record.state, record.implicit_collection_jobs_id)
        else {
            self.resumes.remove(&order_index);
            return;
        };
        let resume = self.resumes.entry(order_index).or_insert_with(|| Resume {
            implicit_collection_jobs_id: group,
            done: 0,
            outputs: Default::default(),
        });
        let jobs = writes.implicit_jobs.iter().filter(|(of, ..)| *of == group);
        resume.done += jobs.count();
        let outputs = writes.step_outputs.iter();
        for output in outputs.filter(|output| output.invocation_step_id == record.id) {
            if let super::known::StepValue::Hdca(id) = output.value {
                resume.outputs.insert(output.output_name.clone(), id);
            }
        }
    }
}
