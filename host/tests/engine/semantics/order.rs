//! Steps that follow others without taking data from them.

use super::*;

/// A step, and one that only follows it.
fn followed(first: Value) -> Value {
    let at = first["id"].as_u64().expect("a number") as usize;
    let mut all = vec![data(0)];
    if at == 2 {
        all.push(parameter(1, "boolean", json!(false)));
    }
    all.push(first);
    let next = all.len();
    all.push(tool(next, "write", "1", json!({}), &[(AFTER, at, AFTER)]));
    let last = all.last_mut().expect("there");
    last["tool_state"] = json!({}).to_string().into();
    steps(all)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_only_follows_waits_for_the_end_of_the_jobs_before_it() {
    let world = World::new().await;
    let input = world.dataset("x\n").await;
    let nap = run_on(1, "nap", 0, "output");
    let id = world.invoke(followed(nap), &[(0, "hda", input)]).await;
    world.until_jobs(id, &["running"]).await;
    world.wait_for(id, "ready").await;
    // It has no row either: it was not reached.
    assert_eq!(reached(&world, id).await, ["s0 scheduled", "s1 scheduled"]);
    world.wake();
    world.wait_for(id, "completed").await;
    assert_eq!(world.jobs(id).await, ["ok", "ok"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_only_follows_a_failed_job_fails_the_invocation() {
    let world = World::new().await;
    let input = world.dataset("x\n").await;
    let fail = run_on(1, "fail", 0, "output");
    let id = world.invoke(followed(fail), &[(0, "hda", input)]).await;
    world.wait_for(id, "failed").await;
    let said = said(&world, id).await;
    let job = "SELECT id FROM job WHERE workflow_invocation_id = $1";
    assert_eq!(said.reason, "job_failed");
    assert_eq!(said.job_id, Some(number(&world, job, id).await));
    assert_eq!(said.steps(), (Some("s2"), Some("s1")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_skipped_job_counts_as_done_for_a_step_that_only_follows() {
    let world = World::new().await;
    let input = world.dataset("x\n").await;
    let skipped = step(
        2,
        "tool",
        Some("copy"),
        &[("input", 0, "output"), ("when", 1, "output")],
    );
    let id = world
        .invoke(
            followed(when(skipped, "$(inputs.when)")),
            &[(0, "hda", input)],
        )
        .await;
    world.wait_for(id, "completed").await;
    assert_eq!(world.jobs(id).await, ["skipped", "ok"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_only_follows_a_pause_does_not_wait_for_the_review() {
    let world = World::new().await;
    let input = world.dataset("x\n").await;
    let pause = pause(1, 0, "output");
    let id = world.invoke(followed(pause), &[(0, "hda", input)]).await;
    world.wait_for(id, "completed").await;
    assert_eq!(world.jobs(id).await, ["ok"]);
}

crate::databases::on_postgres_too!(
    crate::databases::on_postgres =>
    a_step_that_only_follows_waits_for_the_end_of_the_jobs_before_it,
    a_step_that_only_follows_a_failed_job_fails_the_invocation,
    a_skipped_job_counts_as_done_for_a_step_that_only_follows,
    a_step_that_only_follows_a_pause_does_not_wait_for_the_review,
);
