use std::time::Instant;

use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::args;
use crate::model::invocation::*;
use crate::model::revision::Revision;
use crate::model::state::InvocationState;
use crate::model::workflow::{StepDescription, WorkflowDescription, WorkflowOutput};
use crate::store::db::{Durability, Query, Val};
use crate::store::histories;
use crate::store::testing::{TestStore, add_user, given, plan};
use crate::store::workflows::{create_stored_workflow, load_revision};
use crate::store::{Store, Tx};

struct Fixture {
    store: Store,
    user: i64,
    history: i64,
    _dir: crate::store::testing::databases::TestDatabase,
}

async fn fixture() -> Fixture {
    let (store, dir) = TestStore::open().await;
    let user = add_user(&store, "ada").await;
    let mut tx = store.begin().await.unwrap();
    let history = store.ids.history(&mut tx).await.unwrap();
    tx.run(
        "INSERT INTO history (id, user_id, name, create_time, update_time) VALUES ($1, $2, 'h', 1, 1)",
        args![history, user],
    )
    .await
    .unwrap();
    tx.commit(Durability::Progress, "test").await.unwrap();
    Fixture {
        store,
        user,
        history,
        _dir: dir,
    }
}

fn steps(count: usize) -> Vec<StepDescription> {
    let types = ["data_input", "parameter_input", "tool"];
    (0..count)
        .map(|order_index| StepDescription {
            order_index,
            step_type: types[order_index.min(2)].into(),
            tool_inputs: json!({"name": format!("old name {order_index}")}),
            ..Default::default()
        })
        .collect()
}

async fn workflow(fixture: &Fixture, mut description: WorkflowDescription) -> Revision {
    description.name = "w".into();
    let store = &fixture.store;
    let mut tx = store.begin().await.unwrap();
    let (_, id) = create_stored_workflow(&mut tx, &store.ids, fixture.user, &description, None, 1)
        .await
        .unwrap();
    tx.commit(Durability::Progress, "test").await.unwrap();
    load_revision(&mut store.reader(), id)
        .await
        .unwrap()
        .unwrap()
}

/// A request of the whole, with a parameter on every level.
fn request(fixture: &Fixture, revision: &Revision) -> NewInvocation {
    let mut new = given::request(revision, fixture.history, fixture.user);
    (new.scheduler, new.handler) = (Some("default".into()), Some("main".into()));
    do_not_cache(&mut new);
    new
}

fn do_not_cache(new: &mut NewInvocation) {
    new.parameters.push(RequestParameter {
        kind: RequestParameterKind::Meta,
        name: meta::USE_CACHED_JOB.into(),
        value: "false".into(),
        step_id: None,
    });
    let children = new.children.iter_mut();
    children.for_each(|(_, child)| do_not_cache(child));
}

async fn created(fixture: &Fixture, new: &NewInvocation) -> i64 {
    let mut tx = fixture.store.begin().await.unwrap();
    let id = create(&mut tx, &fixture.store.ids, new, 7).await.unwrap();
    tx.commit(Durability::Progress, "test").await.unwrap();
    id
}

async fn add_step(
    tx: &mut Tx,
    fixture: &Fixture,
    invocation: i64,
    revision: &Revision,
    at: usize,
) -> i64 {
    let id = fixture.store.ids.invocation_step();
    tx.run(
        "INSERT INTO workflow_invocation_step (id, workflow_invocation_id, workflow_step_id, order_index, state, create_time, update_time)
         VALUES ($1, $2, $3, $4, 'scheduled', 1, 1)",
        args![id, invocation, revision.step_ids[at], at],
    )
    .await
    .unwrap();
    id
}

async fn add_job(tx: &mut Tx, fixture: &Fixture, invocation: i64, state: &str) -> i64 {
    let id = fixture.store.ids.job();
    tx.run(
        "INSERT INTO job (id, uuid, user_id, history_id, workflow_invocation_id, tool_id, state, create_time, update_time)
         VALUES ($1, $2, $3, $4, $5, 'cat1', $6, 1, 1)",
        args![id, Uuid::new_v4(), fixture.user, fixture.history, invocation, state],
    )
    .await
    .unwrap();
    id
}

#[tokio::test]
async fn the_request_is_read_back_as_it_was_written_children_included() {
    let fixture = fixture().await;
    let inner = WorkflowDescription {
        steps: steps(2),
        ..Default::default()
    };
    let mut outer = WorkflowDescription {
        steps: steps(3),
        ..Default::default()
    };
    outer.steps[2].step_type = "subworkflow".into();
    outer.steps[2].subworkflow = Some(Box::new(inner));
    let revision = workflow(&fixture, outer).await;
    let mut new = request(&fixture, &revision);
    new.parameters.push(RequestParameter {
        kind: RequestParameterKind::Step,
        name: revision.step_ids[1].to_string(),
        value: r#"{"a|b":1}"#.into(),
        step_id: Some(revision.step_ids[1]),
    });
    new.input_parameters = vec![(revision.step_ids[1], json!("x"))];
    let id = created(&fixture, &new).await;

    let mut reader = fixture.store.reader();
    let stored = load_request(&mut reader, id).await.unwrap();
    assert_eq!(stored.parameters, new.parameters);
    assert_eq!(stored.meta(meta::USE_CACHED_JOB), Some("false"));
    assert_eq!(
        stored.step_parameters(revision.step_ids[1]),
        Some(json!({"a|b": 1}))
    );
    assert_eq!(stored.step_states.len(), 3);
    assert_eq!(stored.input_parameters, new.input_parameters);
    let child = by_id(&mut reader, stored.children[&revision.step_ids[2]])
        .await
        .unwrap()
        .unwrap();
    assert_eq!(child.parent_invocation_id, Some(id));
    assert_eq!((child.handler, child.scheduler), (None, None));
    let root = by_id(&mut reader, id).await.unwrap().unwrap();
    assert_eq!(root.handler.as_deref(), Some("main"));

    let signalled = reader
        .all(
            "SELECT id FROM workflow_invocation WHERE signal_count > signal_seen",
            args![],
        )
        .await
        .unwrap();
    assert_eq!(signalled.len(), 1, "only the root is to be looked at");
    let details = details(&mut reader, &[id])
        .await
        .unwrap()
        .remove(&id)
        .unwrap();
    assert_eq!(
        details.input_parameters[0].label.as_deref(),
        Some("old name 1")
    );
}

#[tokio::test]
async fn a_request_of_twenty_thousand_steps_is_a_few_hundred_statements() {
    let fixture = fixture().await;
    let description = WorkflowDescription {
        steps: steps(20_000),
        ..Default::default()
    };
    let revision = workflow(&fixture, description).await;
    let new = request(&fixture, &revision);
    let before = fixture.store.db.statements();
    let started = Instant::now();
    created(&fixture, &new).await;
    eprintln!("requested 20,000 steps in {:?}", started.elapsed());
    assert!(fixture.store.db.statements() - before < 400);
}

#[tokio::test]
async fn a_summary_counts_single_and_mapped_jobs() {
    let fixture = fixture().await;
    let mut description = WorkflowDescription {
        steps: steps(4),
        ..Default::default()
    };
    description.steps[2]
        .workflow_outputs
        .push(WorkflowOutput::default());
    let revision = workflow(&fixture, description).await;
    let id = created(&fixture, &request(&fixture, &revision)).await;
    let store = &fixture.store;
    let mut tx = store.begin().await.unwrap();
    let single = add_step(&mut tx, &fixture, id, &revision, 2).await;
    let mapped = add_step(&mut tx, &fixture, id, &revision, 3).await;
    let job = add_job(&mut tx, &fixture, id, "ok").await;
    let icj = store.ids.implicit_collection_jobs();
    tx.run(
        "UPDATE workflow_invocation_step SET job_id = $2 WHERE id = $1",
        args![single, job],
    )
    .await
    .unwrap();
    tx.run(
        "INSERT INTO implicit_collection_jobs (id, populated_state) VALUES ($1, 'new')",
        args![icj],
    )
    .await
    .unwrap();
    tx.run(
        "UPDATE workflow_invocation_step SET implicit_collection_jobs_id = $2 WHERE id = $1",
        args![mapped, icj],
    )
    .await
    .unwrap();
    let mut slices = Vec::new();
    for (slice, state) in ["ok", "paused", "ok"].into_iter().enumerate() {
        let job = add_job(&mut tx, &fixture, id, state).await;
        slices.push(job);
        tx.run(
            "INSERT INTO implicit_collection_jobs_job_association (implicit_collection_jobs_id, job_id, order_index) VALUES ($1, $2, $3)",
            args![icj, job, slice],
        )
        .await
        .unwrap();
    }
    tx.commit(Durability::Progress, "test").await.unwrap();

    let mut reader = store.reader();
    let summaries = step_jobs_summary(&mut reader, id).await.unwrap();
    assert_eq!(summaries.len(), 2);
    assert_eq!(summaries[0].source, JobSource::Job(job));
    assert_eq!(summaries[1].source, JobSource::ImplicitCollectionJobs(icj));
    assert_eq!(summaries[1].states["ok"], 2);
    assert_eq!(summaries[1].populated_state, "new");
    let invocation = by_id(&mut reader, id).await.unwrap().unwrap();
    let all = jobs_summary(&mut reader, &invocation).await.unwrap();
    assert_eq!((all.states["ok"], all.states["paused"]), (3, 1));
    assert_eq!(all.populated_state, "new");

    let details = step_details(&mut reader, &[single, mapped]).await.unwrap();
    let of: Vec<i64> = details[&mapped].jobs.iter().map(|job| job.id).collect();
    assert_eq!(of, slices);
    for job in [job, slices[1]] {
        let query = ListQuery {
            job_id: Some(job),
            limit: 10,
            ..Default::default()
        };
        let (found, total) = list(&mut reader, &query).await.unwrap();
        assert_eq!((found[0].id, total), (id, 1));
    }
}

#[tokio::test]
async fn a_cancellation_is_stored_once_and_signals_the_root() {
    let fixture = fixture().await;
    let mut outer = WorkflowDescription {
        steps: steps(1),
        ..Default::default()
    };
    outer.steps[0].step_type = "subworkflow".into();
    outer.steps[0].subworkflow = Some(Box::new(WorkflowDescription {
        steps: steps(1),
        ..Default::default()
    }));
    let revision = workflow(&fixture, outer).await;
    let id = created(&fixture, &request(&fixture, &revision)).await;
    let child = load_request(&mut fixture.store.reader(), id)
        .await
        .unwrap()
        .children[&revision.step_ids[0]];

    let mut tx = fixture.store.begin().await.unwrap();
    let inner_step = add_step(&mut tx, &fixture, child, &revision.subrevisions[&0], 0).await;
    let put = put_action(&mut tx, inner_step, &json!(true), 8)
        .await
        .unwrap();
    assert_eq!(put, ActionOutcome::Stored);
    assert_eq!(
        signals(&mut tx, id).await,
        2,
        "the root drives its children"
    );
    assert_eq!(
        put_action(&mut tx, 999, &json!(true), 8).await.unwrap(),
        ActionOutcome::NoSuchStep
    );

    assert!(request_cancel(&mut tx, child, 9).await.unwrap());
    assert!(!request_cancel(&mut tx, child, 9).await.unwrap());
    assert!(!request_cancel(&mut tx, 999, 9).await.unwrap());
    assert_eq!(signals(&mut tx, id).await, 3);
    let put = put_action(&mut tx, inner_step, &json!(false), 9)
        .await
        .unwrap();
    assert_eq!(put, ActionOutcome::NotActive(InvocationState::Cancelling));
    let messages = details(&mut tx, &[child])
        .await
        .unwrap()
        .remove(&child)
        .unwrap()
        .messages;
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].reason, "user_request");
    let step = step_by_id(&mut tx, inner_step).await.unwrap().unwrap();
    assert_eq!(step.action, json!(true));
}

#[tokio::test]
async fn deleting_a_history_signals_the_invocations_that_are_scheduled_into_it() {
    let fixture = fixture().await;
    let description = WorkflowDescription {
        steps: steps(1),
        ..Default::default()
    };
    let revision = workflow(&fixture, description).await;
    let waiting = created(&fixture, &request(&fixture, &revision)).await;
    let mut others = Vec::new();
    // One that is scheduled has jobs to stop; one that ends or has ended has not.
    for (state, expected) in [
        (InvocationState::Scheduled, 2),
        (InvocationState::Cancelling, 1),
        (InvocationState::Cancelled, 1),
        (InvocationState::Completed, 1),
        (InvocationState::Failed, 1),
    ] {
        let id = created(&fixture, &request(&fixture, &revision)).await;
        others.push((id, state, expected));
    }

    let mut tx = fixture.store.begin().await.unwrap();
    for (id, state, _) in &others {
        tx.run(
            "UPDATE workflow_invocation SET state = $1 WHERE id = $2",
            args![state.code(), *id],
        )
        .await
        .unwrap();
    }
    let mut history = histories::by_id(&mut tx, fixture.history)
        .await
        .unwrap()
        .unwrap();
    histories::save(&mut tx, &history, 8).await.unwrap();
    assert_eq!(signals(&mut tx, waiting).await, 1, "a rename is no signal");
    history.deleted = true;
    histories::save(&mut tx, &history, 9).await.unwrap();
    assert_eq!(signals(&mut tx, waiting).await, 2);
    for (id, state, expected) in others {
        assert_eq!(signals(&mut tx, id).await, expected, "{state:?}");
    }
}

async fn signals(tx: &mut Tx, id: i64) -> i64 {
    let sql = "SELECT signal_count FROM workflow_invocation WHERE id = $1";
    tx.maybe(sql, args![id])
        .await
        .unwrap()
        .unwrap()
        .get(0)
        .unwrap()
}

#[tokio::test]
async fn no_query_scans_a_table() {
    let fixture = fixture().await;
    let mut statements: Vec<(String, Vec<Val>)> = details::statements()
        .chain([step::OUTPUTS, step::JOBS])
        .map(|sql| (sql.replace("{ids}", "$1, $2"), args![1i64, 2i64]))
        .collect();
    statements.push((summary::STEP_STATES.to_owned(), args![1i64]));
    let queries = [
        ListQuery {
            user_id: Some(1),
            ..Default::default()
        },
        ListQuery {
            user_id: Some(1),
            workflow: Some(Scope::StoredWorkflow(1)),
            ..Default::default()
        },
        ListQuery {
            user_id: Some(1),
            job_id: Some(1),
            ..Default::default()
        },
    ];
    for query in &queries {
        let (condition, args) = list::condition(query);
        let sql = format!(
            "SELECT i.* FROM workflow_invocation i WHERE {condition} ORDER BY i.id DESC LIMIT 20"
        );
        statements.push((sql, args));
    }
    for (sql, args) in statements {
        for line in plan(&fixture.store, &sql, args).await {
            let scans = line.starts_with("SCAN")
                && !line.contains("CONSTANT")
                && !line.contains("SUBQUERY");
            assert!(!scans && !line.contains("Seq Scan on"), "{line} in {sql}");
        }
    }
}

crate::store::testing::on_postgres_too!(
    the_request_is_read_back_as_it_was_written_children_included,
    a_request_of_twenty_thousand_steps_is_a_few_hundred_statements,
    a_summary_counts_single_and_mapped_jobs,
    a_cancellation_is_stored_once_and_signals_the_root,
    deleting_a_history_signals_the_invocations_that_are_scheduled_into_it,
    no_query_scans_a_table,
);
