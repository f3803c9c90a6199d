//! What feeds a step's inputs (Galaxy's WorkflowProgress.replacement_for_connection and replacement_for_input).

use std::collections::HashMap;

use serde_json::Value;

use super::known::{Known, Populated, StepValue};
use super::stop::{Stop, Wait};
use crate::model::message::{InvocationMessage, reason};
use crate::model::workflow::Connection;

/// The outputs of one step, as far as they are known in this iteration.
#[derive(Debug, Clone, PartialEq)]
pub enum Outputs {
    Known(HashMap<String, StepValue>),
    /// The step has to wait; so has everybody who needs it.
    Delayed(Vec<Wait>),
}

/// The outputs of the steps that were reached, by order_index.
pub type OutputTable = HashMap<usize, Outputs>;

/// What an input is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// A job reads it when it runs: it need not exist yet.
    Data,
    /// Its value is needed now.
    Parameter,
}

/// The value at the producing end of a connection. `step_ids` are the database ids of the workflow's steps.
pub fn connection(
    table: &OutputTable,
    known: &Known,
    step_ids: &[i64],
    consumer: usize,
    from: &Connection,
    what_for: Use,
) -> Result<StepValue, Stop> {
    let missing = || {
        Stop::fail(InvocationMessage {
            reason: reason::OUTPUT_NOT_FOUND,
            workflow_step_id: step_ids.get(consumer).copied(),
            dependent_workflow_step_id: step_ids.get(from.output_step).copied(),
            output_name: Some(from.output_name.clone()),
            ..Default::default()
        })
    };
    let value = match table.get(&from.output_step).ok_or_else(missing)? {
        Outputs::Delayed(waits) => {
            return Err(Stop::Delayed {
                why: format!("step {} is not there yet", from.output_step + 1),
                waits: waits.clone(),
            });
        }
        Outputs::Known(outputs) => outputs.get(&from.output_name).ok_or_else(missing)?,
    };
    let about = |reason, hda_id, hdca_id| {
        Stop::fail(InvocationMessage {
            reason,
            workflow_step_id: step_ids.get(consumer).copied(),
            dependent_workflow_step_id: step_ids.get(from.output_step).copied(),
            hda_id,
            hdca_id,
            ..Default::default()
        })
    };
    match value {
        StepValue::Json(_) | StepValue::NoReplacement => {}
        StepValue::Hda(id) => {
            if what_for == Use::Parameter {
                dataset_ready(known, *id, || {
                    about(reason::DATASET_FAILED, Some(*id), None)
                })?;
            }
        }
        StepValue::Hdca(id) => {
            let hdca = known.hdcas.get(id).ok_or_else(missing)?;
            match (hdca.collection.populated(), hdca.unfinished_job) {
                (Populated::Ok, _) => {}
                (Populated::New, Some(job)) => {
                    return Err(Stop::delayed(
                        "the collection's elements are not known yet",
                        Wait::Job(job),
                    ));
                }
                // Partly expanded by this very invocation: its own next look goes on.
                (Populated::New, None) => {
                    return Err(Stop::delayed(
                        "the collection is still being filled",
                        Wait::Step,
                    ));
                }
                (Populated::Failed, _) => {
                    return Err(about(reason::COLLECTION_FAILED, None, Some(*id)));
                }
            }
            if what_for == Use::Parameter {
                // One that failed is told of at once, whatever the others still do.
                let mut awaited = None;
                for leaf in hdca.collection.leaves() {
                    let ready = dataset_ready(known, leaf, || {
                        about(reason::DATASET_FAILED, Some(leaf), None)
                    });
                    match ready {
                        Err(stop @ Stop::Fail(_)) => return Err(stop),
                        Err(stop) => awaited = awaited.or(Some(stop)),
                        Ok(()) => {}
                    }
                }
                if let Some(stop) = awaited {
                    return Err(stop);
                }
            }
        }
    }
    Ok(value.clone())
}

/// A dataset whose bytes are needed now: there, still to come, or never.
fn dataset_ready(known: &Known, hda_id: i64, failed: impl Fn() -> Stop) -> Result<(), Stop> {
    match known.hdas.get(&hda_id) {
        Some(hda) if hda.state.is_pending() => Err(Stop::delayed(
            "a dataset that feeds a parameter is not there yet",
            Wait::Dataset(hda.dataset_id),
        )),
        Some(hda) if hda.state == crate::model::state::DatasetState::Ok => Ok(()),
        _ => Err(failed()),
    }
}

/// A dataset's content as a parameter's value. Only `expression.json` datasets hold values.
pub fn content(known: &Known, hda_id: i64, workflow_step_id: i64) -> Result<Value, Stop> {
    dataset_ready(known, hda_id, || {
        Stop::fail(InvocationMessage {
            reason: reason::DATASET_FAILED,
            workflow_step_id: Some(workflow_step_id),
            hda_id: Some(hda_id),
            ..Default::default()
        })
    })?;
    let fault = match known.contents.get(&hda_id) {
        Some(Ok(value)) => return Ok(value.clone()),
        Some(Err(fault)) => fault.as_str(),
        None => "it is not of type expression.json",
    };
    Err(Stop::unexpected(
        workflow_step_id,
        format!("The dataset that feeds a parameter does not hold a value: {fault}."),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invoker::known::{Collection, Element, ElementObject, Hda, Hdca, Hid};
    use crate::model::state::DatasetState;

    fn hda(id: i64, state: DatasetState) -> Hda {
        Hda {
            id,
            dataset_id: id * 10,
            hid: Hid::Given(id),
            name: format!("d{id}"),
            extension: "txt".into(),
            state,
            deleted: false,
            purged: false,
            dbkey: None,
            size: None,
            skipped: false,
            tags: vec![],
        }
    }

    fn from(step: usize) -> Connection {
        Connection {
            output_step: step,
            output_name: "out".into(),
            input_subworkflow_step: None,
        }
    }

    fn table(value: StepValue) -> OutputTable {
        HashMap::from([(0, Outputs::Known(HashMap::from([("out".into(), value)])))])
    }

    #[test]
    fn a_data_input_does_not_wait_for_its_dataset() {
        let mut known = Known::default();
        known.hdas.insert(1, hda(1, DatasetState::New));
        let table = table(StepValue::Hda(1));
        let value = connection(&table, &known, &[7, 8], 1, &from(0), Use::Data);
        assert_eq!(value, Ok(StepValue::Hda(1)));
    }

    #[test]
    fn a_parameter_waits_for_its_dataset_and_fails_with_it() {
        let mut known = Known::default();
        known.hdas.insert(1, hda(1, DatasetState::Running));
        let table = table(StepValue::Hda(1));
        let waiting = connection(&table, &known, &[7, 8], 1, &from(0), Use::Parameter);
        assert!(
            matches!(waiting, Err(Stop::Delayed { waits, .. }) if waits == [Wait::Dataset(10)])
        );
        known.hdas.insert(1, hda(1, DatasetState::Error));
        let failed = connection(&table, &known, &[7, 8], 1, &from(0), Use::Parameter);
        let Err(Stop::Fail(message)) = failed else {
            panic!("{failed:?}")
        };
        assert_eq!(
            (message.reason, message.hda_id),
            (reason::DATASET_FAILED, Some(1))
        );
        assert_eq!(
            (message.workflow_step_id, message.dependent_workflow_step_id),
            (Some(8), Some(7))
        );
    }

    #[test]
    fn a_parameter_fails_with_any_element_of_its_collection_before_the_others_are_there() {
        let mut known = Known::default();
        known.hdas.insert(1, hda(1, DatasetState::Running));
        known.hdas.insert(3, hda(3, DatasetState::Error));
        let element = |id| Element {
            id,
            identifier: format!("e{id}"),
            object: ElementObject::Hda(id),
        };
        let hdca = |elements| Hdca {
            id: 2,
            hid: Hid::Given(1),
            name: "c".into(),
            deleted: false,
            collection: Collection {
                id: 4,
                collection_type: "list".into(),
                populated: Populated::Ok,
                elements,
            },
            unfinished_job: None,
        };
        known.hdcas.insert(2, hdca(vec![element(1), element(3)]));
        let table = table(StepValue::Hdca(2));
        let failed = connection(&table, &known, &[7, 8], 1, &from(0), Use::Parameter);
        let Err(Stop::Fail(message)) = failed else {
            panic!("{failed:?}")
        };
        assert_eq!(
            (message.reason, message.hda_id, message.hdca_id),
            (reason::DATASET_FAILED, Some(3), None)
        );
        known.hdcas.insert(2, hdca(vec![element(1)]));
        let waiting = connection(&table, &known, &[7, 8], 1, &from(0), Use::Parameter);
        assert!(
            matches!(waiting, Err(Stop::Delayed { waits, .. }) if waits == [Wait::Dataset(10)])
        );
    }

    #[test]
    fn an_output_that_no_step_has_fails_the_invocation() {
        let result = connection(
            &OutputTable::new(),
            &Known::default(),
            &[7, 8],
            1,
            &from(0),
            Use::Data,
        );
        let Err(Stop::Fail(message)) = result else {
            panic!("{result:?}")
        };
        assert_eq!(message.reason, reason::OUTPUT_NOT_FOUND);
        assert_eq!(
            (message.workflow_step_id, message.dependent_workflow_step_id),
            (Some(8), Some(7))
        );
    }

    #[test]
    fn a_collection_of_unknown_size_delays_until_its_job_ends() {
        let mut known = Known::default();
        let collection = Collection {
            id: 4,
            collection_type: "list".into(),
            populated: Populated::New,
            elements: vec![],
        };
        let hdca = |unfinished_job, populated| Hdca {
            id: 2,
            hid: Hid::Given(1),
            name: "c".into(),
            deleted: false,
            collection: Collection {
                populated,
                ..collection.clone()
            },
            unfinished_job,
        };
        known.hdcas.insert(2, hdca(Some(9), Populated::New));
        let table = table(StepValue::Hdca(2));
        let waiting = connection(&table, &known, &[7, 8], 1, &from(0), Use::Data);
        assert!(matches!(waiting, Err(Stop::Delayed { waits, .. }) if waits == [Wait::Job(9)]));
        known.hdcas.insert(2, hdca(None, Populated::Failed));
        let failed = connection(&table, &known, &[7, 8], 1, &from(0), Use::Data);
        let Err(Stop::Fail(message)) = failed else {
            panic!("{failed:?}")
        };
        assert_eq!(
            (message.reason, message.hdca_id),
            (reason::COLLECTION_FAILED, Some(2))
        );
        assert_eq!(
            (message.workflow_step_id, message.dependent_workflow_step_id),
            (Some(8), Some(7))
        );
    }
}
