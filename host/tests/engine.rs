//! The engine with its real plugins, without HTTP: a workflow is stored, an invocation of it requested, and the loops
//! are left to it.

use std::time::{Duration, Instant};

use barycenter::args;
use barycenter::model::invocation::{RequestParameter, RequestParameterKind, meta};
use barycenter::store::scheduling::jobs::ReadyJob;
use barycenter::store::{Durability, Query, histories, invocations, users};
use serde_json::{Value, json};

#[path = "engine/semantics.rs"]
mod semantics;
#[path = "engine/world.rs"]
mod world;

#[path = "../src/store/testing/databases.rs"]
mod databases;
#[path = "../src/store/testing/given.rs"]
mod given;
use world::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_runs_to_its_end() {
    let world = World::new().await;
    let input = world.dataset("hello\n").await;
    let chain = steps(vec![data(0), copy(1, 0, "output"), copy(2, 1, "out")]);
    let id = world.invoke(chain, &[(0, "hda", input)]).await;
    world.wait_for(id, "completed").await;
    assert_eq!(
        world.outputs(id).await,
        [
            "Copy a dataset on data 1: hello\ncopied\n",
            "Copy a dataset on data 2: hello\ncopied\ncopied\n"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_waits_hands_on_and_survives_a_restart() {
    let mut world = World::new().await;
    let input = world.dataset("x\n").await;
    let id = world.invoke(reviewed(), &[(0, "hda", input)]).await;
    world.wait_for_review(id).await;
    assert_eq!(world.jobs(id).await.len(), 1);
    world.stop().await;
    world.start().await;
    world.wait_for_review(id).await;
    world.act(id, json!(true)).await;
    world.wait_for(id, "completed").await;
    assert!(world.outputs(id).await[1].ends_with("x\ncopied\ncopied\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_review_cancels_the_invocation() {
    let world = World::new().await;
    let input = world.dataset("x\n").await;
    let id = world.invoke(reviewed(), &[(0, "hda", input)]).await;
    world.wait_for_review(id).await;
    world.act(id, json!(false)).await;
    world.wait_for(id, "cancelled").await;
    let reason =
        "SELECT reason, id FROM workflow_invocation_message WHERE workflow_invocation_id = $1";
    assert_eq!(world.text(reason, id).await, "cancelled_on_review");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_job_pauses_its_dependants_and_the_invocation_completes() {
    let world = World::new().await;
    let input = world.dataset("x\n").await;
    let chain = steps(vec![
        data(0),
        run_on(1, "fail", 0, "output"),
        copy(2, 1, "out"),
        copy(3, 2, "out"),
        copy(4, 0, "output"),
    ]);
    let id = world.invoke(chain, &[(0, "hda", input)]).await;
    world.wait_for(id, "completed").await;
    assert_eq!(world.jobs(id).await, ["error", "ok", "paused", "paused"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_is_mapped_over_a_list() {
    let world = World::new().await;
    let list = world.list(&["a\n", "b\n", "c\n"]).await;
    let mapped = steps(vec![
        step(0, "data_collection_input", None, &[]),
        copy(1, 0, "output"),
        copy(2, 1, "out"),
    ]);
    let id = world.invoke(mapped, &[(0, "hdca", list)]).await;
    world.wait_for(id, "completed").await;
    assert_eq!(world.jobs(id).await, ["ok"; 6]);
    let outputs = world.outputs(id).await;
    assert!(outputs[5].ends_with("c\ncopied\ncopied\n"), "{outputs:?}");
}

/// The loop reads ready jobs from the database, and is told of them by whoever stored them: the word may come when the job
/// runs already.
#[tokio::test(flavor = "multi_thread")]
async fn word_of_a_job_that_runs_already_leaves_it_alone() {
    let world = World::new().await;
    let input = world.dataset("x\n").await;
    let nap = steps(vec![data(0), run_on(1, "nap", 0, "output")]);
    let id = world.invoke(nap, &[(0, "hda", input)]).await;
    world.until_jobs(id, &["running"]).await;
    let sql = format!(
        "SELECT {} FROM job WHERE workflow_invocation_id = $1",
        ReadyJob::COLUMNS
    );
    let row = world.store.reader().maybe(sql, args![id]).await;
    let job = ReadyJob::read(&row.expect("reads").expect("a job")).expect("a job");
    let (engine, _) = world.running.as_ref().expect("running");
    for _ in 0..3 {
        engine.queue().ready(vec![job.clone()]);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world.wake();
    world.wait_for(id, "completed").await;
    engine.queue().ready(vec![job]);
    assert_eq!(world.jobs(id).await, ["ok"]);
    assert!(world.outputs(id).await[0].ends_with("x\nslept\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_independent_jobs_all_run() {
    let world = World::new().await;
    let wide = steps(
        (0..200)
            .map(|n| step(n, "tool", Some("write"), &[]))
            .collect(),
    );
    let begin = Instant::now();
    let id = world.invoke(wide, &[]).await;
    world.wait_for(id, "completed").await;
    eprintln!("200 jobs in {:?}", begin.elapsed());
    assert_eq!(world.jobs(id).await, ["ok"; 200]);
}

/// A workflow in which the given steps are the inside of step 1, fed by input 0 and followed by a copy.
fn around(inside: Value) -> Value {
    let mut sub = step(1, "subworkflow", None, &[]);
    sub["subworkflow"] = json!({
        "a_galaxy_workflow": "true", "format-version": "0.1", "name": "inside", "annotation": "", "steps": inside
    });
    sub["input_connections"] =
        json!({"given": {"id": 0, "output_name": "output", "input_subworkflow_step_id": 0}});
    steps(vec![data(0), sub, copy(2, 1, "made")])
}

fn inside(last: Value) -> Value {
    let mut last = last;
    last["workflow_outputs"] = json!([{"output_name": if last["type"] == "pause" { "output" } else { "out" }, "label": "made"}]);
    let mut input = data(0);
    input["label"] = "given".into();
    steps(vec![input, copy(1, 0, "output"), last])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subworkflow_is_driven_through_its_root() {
    let world = World::new().await;
    let input = world.dataset("x\n").await;
    let whole = around(inside(copy(2, 1, "out")));
    let id = world.invoke(whole, &[(0, "hda", input)]).await;
    world.wait_for(id, "completed").await;
    assert!(world.outputs(id).await[0].ends_with("x\ncopied\ncopied\ncopied\n"));
    let child = world.child(id).await;
    assert_eq!(world.state(child).await, "completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_inside_a_subworkflow_holds_what_follows_it() {
    let world = World::new().await;
    let input = world.dataset("x\n").await;
    let whole = around(inside(pause(2, 1, "out")));
    let id = world.invoke(whole, &[(0, "hda", input)]).await;
    world.wait_for_review(id).await;
    assert!(world.jobs(id).await.is_empty());
    world.act(world.child(id).await, json!(true)).await;
    world.wait_for(id, "completed").await;
    assert!(world.outputs(id).await[0].ends_with("x\ncopied\ncopied\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_invocation_stops_its_jobs_and_those_inside_it() {
    let world = World::new().await;
    let input = world.dataset("x\n").await;
    let whole = around(inside(run_on(2, "sleep", 1, "out")));
    let id = world.invoke(whole, &[(0, "hda", input)]).await;
    let child = world.child(id).await;
    let any_runs = |jobs: &[String]| jobs.iter().any(|state| state == "running");
    world.wait_for_jobs(child, any_runs).await;
    let mut tx = world.store.begin().await.expect("begins");
    invocations::request_cancel(&mut tx, id, 5)
        .await
        .expect("stored");
    tx.commit(Durability::Acknowledged, "test")
        .await
        .expect("commits");
    world.services().signals.invocations_changed();
    world.wait_for(id, "cancelled").await;
    world.wait_for(child, "cancelled").await;
    let last_stopped = |jobs: &[String]| jobs.last().is_some_and(|state| state == "deleted");
    world.wait_for_jobs(child, last_stopped).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn serial_histories_let_one_invocation_through_at_a_time() {
    let mut world = World::new().await;
    world.stop().await;
    world.settings.history_local_serial_workflow_scheduling = true;
    world.start().await;
    let input = world.dataset("x\n").await;
    let first = world.invoke(reviewed(), &[(0, "hda", input)]).await;
    world.wait_for_review(first).await;
    let second = world.invoke(reviewed(), &[(0, "hda", input)]).await;
    let third = world.invoke(reviewed(), &[(0, "hda", input)]).await;
    world.act(first, json!(true)).await;
    world.wait_for_review(second).await;
    assert_eq!(world.state(third).await, "new");
    world.act(second, json!(false)).await;
    world.wait_for(second, "cancelled").await;
    world.wait_for_review(third).await;
}

databases::on_postgres_too!(
    crate::databases::on_postgres =>
    a_chain_runs_to_its_end,
    a_pause_waits_hands_on_and_survives_a_restart,
    a_refused_review_cancels_the_invocation,
    a_failed_job_pauses_its_dependants_and_the_invocation_completes,
    a_tool_is_mapped_over_a_list,
    word_of_a_job_that_runs_already_leaves_it_alone,
    two_hundred_independent_jobs_all_run,
    a_subworkflow_is_driven_through_its_root,
    a_pause_inside_a_subworkflow_holds_what_follows_it,
    a_cancelled_invocation_stops_its_jobs_and_those_inside_it,
    serial_histories_let_one_invocation_through_at_a_time,
);
