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
use world::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_runs_to_its_end() {
    let world = World::new().await;
    let input = world.dataset("hello\n").await;
    let chain = steps(vec![
        step(0, "data_input", None, &[]),
        step(1, "tool", Some("copy"), &[("input", 0, "output")]),
        step(2, "tool", Some("copy"), &[("input", 1, "out")]),
    ]);
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
    let messages = world
        .rows(
            "SELECT reason, id FROM workflow_invocation_message WHERE workflow_invocation_id = $1",
            id,
        )
        .await;
    assert_eq!(messages[0].0, "cancelled_on_review");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_job_pauses_its_dependants_and_the_invocation_completes() {
    let world = World::new().await;
    let input = world.dataset("x\n").await;
    let chain = steps(vec![
        step(0, "data_input", None, &[]),
        step(1, "tool", Some("fail"), &[("input", 0, "output")]),
        step(2, "tool", Some("copy"), &[("input", 1, "out")]),
        step(3, "tool", Some("copy"), &[("input", 2, "out")]),
        step(4, "tool", Some("copy"), &[("input", 0, "output")]),
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
        step(1, "tool", Some("copy"), &[("input", 0, "output")]),
        step(2, "tool", Some("copy"), &[("input", 1, "out")]),
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
    let nap = steps(vec![
        step(0, "data_input", None, &[]),
        step(1, "tool", Some("nap"), &[("input", 0, "output")]),
    ]);
    let id = world.invoke(nap, &[(0, "hda", input)]).await;
    let deadline = Instant::now() + Duration::from_secs(30);
    while world.jobs(id).await != ["running"] {
        assert!(Instant::now() < deadline, "nothing runs");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
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
    steps(vec![
        step(0, "data_input", None, &[]),
        sub,
        step(2, "tool", Some("copy"), &[("input", 1, "made")]),
    ])
}

fn inside(last: Value) -> Value {
    let mut last = last;
    last["workflow_outputs"] = json!([{"output_name": if last["type"] == "pause" { "output" } else { "out" }, "label": "made"}]);
    let mut input = step(0, "data_input", None, &[]);
    input["label"] = "given".into();
    steps(vec![
        input,
        step(1, "tool", Some("copy"), &[("input", 0, "output")]),
        last,
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subworkflow_is_driven_through_its_root() {
    let world = World::new().await;
    let input = world.dataset("x\n").await;
    let whole = around(inside(step(
        2,
        "tool",
        Some("copy"),
        &[("input", 1, "out")],
    )));
    let id = world.invoke(whole, &[(0, "hda", input)]).await;
    world.wait_for(id, "completed").await;
    assert!(world.outputs(id).await[0].ends_with("x\ncopied\ncopied\ncopied\n"));
    let children = world
        .rows(
            "SELECT state, id FROM workflow_invocation WHERE parent_invocation_id = $1",
            id,
        )
        .await;
    assert_eq!(children[0].0, "completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_inside_a_subworkflow_holds_what_follows_it() {
    let world = World::new().await;
    let input = world.dataset("x\n").await;
    let whole = around(inside(step(2, "pause", None, &[("input", 1, "out")])));
    let id = world.invoke(whole, &[(0, "hda", input)]).await;
    world.wait_for_review(id).await;
    assert!(world.jobs(id).await.is_empty());
    let child = world
        .rows(
            "SELECT state, id FROM workflow_invocation WHERE parent_invocation_id = $1",
            id,
        )
        .await;
    world.act(child[0].1, json!(true)).await;
    world.wait_for(id, "completed").await;
    assert!(world.outputs(id).await[0].ends_with("x\ncopied\ncopied\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_invocation_stops_its_jobs_and_those_inside_it() {
    let world = World::new().await;
    let input = world.dataset("x\n").await;
    let whole = around(inside(step(
        2,
        "tool",
        Some("sleep"),
        &[("input", 1, "out")],
    )));
    let id = world.invoke(whole, &[(0, "hda", input)]).await;
    let child = world
        .rows(
            "SELECT state, id FROM workflow_invocation WHERE parent_invocation_id = $1",
            id,
        )
        .await[0]
        .1;
    let deadline = Instant::now() + Duration::from_secs(30);
    while !world.jobs(child).await.iter().any(|s| s == "running") {
        assert!(
            Instant::now() < deadline,
            "nothing runs: {:?}",
            world.jobs(child).await
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
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
    while world.jobs(child).await.last().map(String::as_str) != Some("deleted") {
        assert!(
            Instant::now() < deadline,
            "not stopped: {:?}",
            world.jobs(child).await
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
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
