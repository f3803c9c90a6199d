//! Which steps a scheduler may be asked about: those whose inputs are known, or will be once the steps before
//! them in the same offer are expanded.

use std::collections::HashSet;

use super::known::StepValue;
use super::progress::Progress;
use super::resolve::Outputs;
use crate::model::state::StepState;

/// A step that can be scheduled now.
#[derive(Debug, Clone, PartialEq)]
pub struct Offer {
    pub step_id: i64,
    pub order_index: usize,
    /// -1 where the number is not known before it is tried.
    pub expected_jobs: i64,
}

/// The remaining steps that nothing holds up, in order.
pub fn offers(progress: &Progress) -> Vec<Offer> {
    let mut possible: HashSet<usize> = HashSet::new();
    let mut found = Vec::new();
    for step in progress.remaining() {
        let mut mapped = false;
        let inputs = step.inputs.iter();
        let mut connections = inputs.flat_map(|i| i.connections.iter().map(move |c| (i, c)));
        let blocked = connections.any(|(input, from)| {
            let before = progress.steps.get(&from.output_step);
            if input.is_non_data(from) && before.is_some_and(|b| b.state == StepState::Scheduled) {
                return false;
            }
            match progress.table.get(&from.output_step) {
                Some(Outputs::Known(outputs)) => {
                    mapped |= matches!(outputs.get(&from.output_name), Some(StepValue::Hdca(_)));
                    false
                }
                Some(Outputs::Delayed(_)) => true,
                None => !possible.contains(&from.output_step),
            }
        });
        if blocked {
            continue;
        }
        possible.insert(step.order_index);
        found.push(Offer {
            step_id: progress.revision.step_ids[step.order_index],
            order_index: step.order_index,
            expected_jobs: match step.step_type.as_str() {
                "tool" if mapped => -1,
                "tool" => 1,
                _ => 0,
            },
        });
    }
    found
}
