//! Writing the whole persisted request of an invocation and of its children, in bulk.

use serde_json::Value;

use crate::args;
use crate::model::invocation::{NewInvocation, RequestInput};
use crate::model::runtime_actions;
use crate::store::db::{Query, StoreError, Tx, Val};
use crate::store::ids::Ids;

/// Writes an invocation and, recursively, those of its subworkflow steps; answers its id.
///
/// The root is signalled; children are driven by their root and never are.
pub async fn create(
    tx: &mut Tx,
    ids: &Ids,
    new: &NewInvocation,
    now_ms: i64,
) -> Result<i64, StoreError> {
    let mut rows = Rows::default();
    let mut given = ids.invocations(tx, family_size(new)).await?.into_iter();
    let mut next_id = || given.next().unwrap_or_default();
    let root = next_id();
    rows.add(root, None, new, now_ms);
    rows.add_states(tx, root, new).await?;
    let mut waiting = vec![(root, new)];
    while let Some((parent, of)) = waiting.pop() {
        for (step_id, child) in &of.children {
            let id = next_id();
            rows.add(id, Some(parent), child, now_ms);
            rows.add_states(tx, id, child).await?;
            rows.associations.push(args![parent, *step_id, id]);
            waiting.push((id, child));
        }
    }
    rows.write(tx).await?;
    Ok(root)
}

/// The invocation and all inside it.
fn family_size(new: &NewInvocation) -> usize {
    1 + new
        .children
        .iter()
        .map(|(_, child)| family_size(child))
        .sum::<usize>()
}

#[derive(Default)]
struct Rows {
    invocations: Vec<Vec<Val>>,
    parameters: Vec<Vec<Val>>,
    states: Vec<Vec<Val>>,
    datasets: Vec<Vec<Val>>,
    collections: Vec<Vec<Val>>,
    input_parameters: Vec<Vec<Val>>,
    associations: Vec<Vec<Val>>,
}

impl Rows {
    fn add(&mut self, id: i64, parent: Option<i64>, new: &NewInvocation, now_ms: i64) {
        self.invocations.push(args![
            id,
            new.uuid,
            new.workflow_id,
            new.history_id,
            new.user_id,
            new.state.code(),
            &new.scheduler,
            &new.handler,
            new.on_complete.as_ref().map(|hooks| hooks.to_string()),
            parent,
            i64::from(parent.is_none()),
            now_ms,
            now_ms,
        ]);
        for parameter in &new.parameters {
            self.parameters.push(args![
                id,
                parameter.step_id,
                &parameter.name,
                &parameter.value,
                parameter.kind.code(),
            ]);
        }
        let input = |input: &RequestInput| {
            let request = input.request.as_ref().map(|request| request.to_string());
            args![id, input.step_id, &input.name, input.item_id, request]
        };
        self.datasets.extend(new.input_datasets.iter().map(input));
        self.collections
            .extend(new.input_collections.iter().map(input));
        for (step_id, value) in &new.input_parameters {
            self.input_parameters.push(args![id, *step_id, value]);
        }
    }

    /// The states of the steps. Post-job actions that came with the request get rows of their own, for jobs to refer to.
    async fn add_states(
        &mut self,
        tx: &mut Tx,
        id: i64,
        new: &NewInvocation,
    ) -> Result<(), StoreError> {
        for (step_id, state) in &new.step_states {
            if !runtime_actions::any(state) {
                self.states.push(args![id, *step_id, state]);
                continue;
            }
            let mut state = state.clone();
            for action in runtime_actions::kept_mut(&mut state) {
                let text = |key: &str| action.get(key).and_then(Value::as_str).unwrap_or_default();
                let arguments = action.get("action_arguments").map(Value::to_string);
                let row = tx
                    .maybe(
                        "INSERT INTO post_job_action (action_type, output_name, action_arguments) VALUES ($1, $2, $3) RETURNING id",
                        args![text("action_type"), text("output_name"), arguments],
                    )
                    .await?;
                if let Some(row) = row {
                    let action_id: i64 = row.get(0)?;
                    action.insert("id".to_owned(), action_id.into());
                }
            }
            self.states.push(args![id, *step_id, &state]);
        }
        Ok(())
    }

    async fn write(self, tx: &mut Tx) -> Result<(), StoreError> {
        crate::meter::INVOCATIONS_CREATED.add(self.invocations.len() as u64);
        let tables = [
            (
                "INSERT INTO workflow_invocation (id, uuid, workflow_id, history_id, user_id, state, scheduler, handler, \
                 on_complete, parent_invocation_id, signal_count, create_time, update_time) VALUES",
                13,
                self.invocations,
            ),
            (
                "INSERT INTO workflow_request_input_parameters (workflow_invocation_id, workflow_step_id, name, value, type) VALUES",
                5,
                self.parameters,
            ),
            (
                "INSERT INTO workflow_request_step_states (workflow_invocation_id, workflow_step_id, value) VALUES",
                3,
                self.states,
            ),
            (
                "INSERT INTO workflow_request_to_input_dataset (workflow_invocation_id, workflow_step_id, name, dataset_id, request) VALUES",
                5,
                self.datasets,
            ),
            (
                "INSERT INTO workflow_request_to_input_collection_dataset (workflow_invocation_id, workflow_step_id, name, \
                 dataset_collection_id, request) VALUES",
                5,
                self.collections,
            ),
            (
                "INSERT INTO workflow_request_input_step_parameter (workflow_invocation_id, workflow_step_id, parameter_value) VALUES",
                3,
                self.input_parameters,
            ),
            (
                "INSERT INTO workflow_invocation_to_subworkflow_invocation_association (workflow_invocation_id, \
                 workflow_step_id, subworkflow_invocation_id) VALUES",
                3,
                self.associations,
            ),
        ];
        for (head, columns, rows) in tables {
            tx.insert_many(head, columns, "", rows).await?;
        }
        Ok(())
    }
}
