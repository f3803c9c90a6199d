//! What becomes of jobs: those whose inputs fail, reruns, results that are there already.

use barycenter::scheduling::requests::{Made, ToolRequest, ToolRunError, run_tool};

use super::*;

/// Runs a tool outside any workflow, maybe in the place of a failed job.
async fn run_alone(
    world: &World,
    tool: &str,
    state: &Value,
    in_place_of: Option<i64>,
) -> Result<Made, ToolRunError> {
    let services = world.services();
    let tool = services.toolbox.get(tool, None).expect("there").tool;
    let request = ToolRequest {
        user_id: world.user,
        history_id: world.history,
        tool: &tool,
        dynamic_tool_id: None,
        state,
        mapped: &[],
        use_cached_job: false,
        in_place_of,
    };
    run_tool(&services, request).await
}

/// How many jobs of an invocation took another one's results.
async fn taken(world: &World, invocation: i64) -> i64 {
    let sql = "SELECT COUNT(*) FROM job WHERE copied_from_job_id IS NOT NULL AND workflow_invocation_id = $1";
    number(world, sql, invocation).await
}

/// The job of an invocation that failed.
async fn failed_of(world: &World, invocation: i64) -> i64 {
    let sql = "SELECT id FROM job WHERE state = 'error' AND workflow_invocation_id = $1";
    number(world, sql, invocation).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rerun_takes_the_failed_jobs_place_and_those_behind_it_go_on() {
    let world = World::new().await;
    let (bad, good) = (world.dataset("bad\n").await, world.dataset("good\n").await);
    let id = completed_on(
        &world,
        data(0),
        bad,
        vec![
            run_on(1, "flaky", 0, "output"),
            copy(2, 1, "out"),
            copy(3, 2, "out"),
        ],
    )
    .await;
    assert_eq!(world.jobs(id).await, ["error", "paused", "paused"]);
    let failed = failed_of(&world, id).await;
    let hids = "SELECT CAST(hid AS TEXT) || ' ' || CAST(dataset_id AS TEXT), id FROM history_dataset_association WHERE history_id = $1 ORDER BY id";
    let before = world.rows(hids, world.history).await;
    let state = json!({"input": {"src": "hda", "id": good}});
    let made = run_alone(&world, "flaky", &state, Some(failed)).await;
    let made = made.expect("runs");
    wait_until(&world, JOBS_OK, id, 3).await;
    assert_eq!(
        world.rows(hids, world.history).await,
        before,
        "ids, numbers and datasets stay"
    );
    assert_eq!(
        text_of(&world, id, 3, "out").await,
        "good\nflaky\ncopied\ncopied\n"
    );
    let of_step = number(&world, "SELECT job_id FROM workflow_invocation_step WHERE order_index = 1 AND workflow_invocation_id = $1", id).await;
    assert_eq!([of_step], made.jobs.as_slice());
    let again = run_alone(&world, "flaky", &state, Some(of_step)).await;
    assert!(again.is_err(), "a job that did not fail keeps its place");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rerun_mends_one_element_of_a_collection() {
    let world = World::new().await;
    let input = world.list(&["a\n", "bad\n"]).await;
    let good = world.dataset("mended\n").await;
    let id = completed_on(
        &world,
        list(0),
        input,
        vec![run_on(1, "flaky", 0, "output"), copy(2, 1, "out")],
    )
    .await;
    let failed = failed_of(&world, id).await;
    let before = outputs_of(&world, id, 2, "out").await;
    let state = json!({"input": {"src": "hda", "id": good}});
    let made = run_alone(&world, "flaky", &state, Some(failed)).await;
    made.expect("runs");
    wait_until(&world, JOBS_OK, id, 4).await;
    assert_eq!(outputs_of(&world, id, 2, "out").await, before);
    assert_eq!(
        content(&world, before[1].1).await.0,
        "mended\nflaky\ncopied\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_a_history_stops_the_jobs_of_a_scheduled_invocation() {
    let world = World::new().await;
    let input = world.dataset("x\n").await;
    let id = on_input(
        &world,
        data(0),
        input,
        vec![run_on(1, "sleep", 0, "output"), copy(2, 1, "out")],
    )
    .await;
    world.wait_for(id, "scheduled").await;
    let mut history = histories::by_id(&mut world.store.reader(), world.history)
        .await
        .expect("reads")
        .expect("there");
    history.deleted = true;
    let mut tx = world.store.begin().await.expect("begins");
    histories::save(&mut tx, &history, 9).await.expect("saved");
    tx.commit(Durability::Acknowledged, "test")
        .await
        .expect("commits");
    world.services().signals.invocations_changed();
    world.wait_for(id, "cancelled").await;
    wait_until(
        &world,
        "SELECT COUNT(*) FROM job WHERE workflow_invocation_id = $1 AND state = 'deleted'",
        id,
        2,
    )
    .await;
    let messages = world.rows("SELECT reason, history_id FROM workflow_invocation_message WHERE workflow_invocation_id = $1", id).await;
    assert_eq!(messages, [("history_deleted".to_owned(), world.history)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_takes_the_results_of_the_first_and_runs_nothing() {
    let world = World::new().await;
    let (input, items) = (
        world.dataset("x\n").await,
        world.list(&["a\n", "b\n"]).await,
    );
    let workflow = || {
        steps(vec![
            data(0),
            list(1),
            copy(2, 0, "output"),
            copy(3, 1, "output"),
            copy(4, 2, "out"),
        ])
    };
    let first = world
        .invoke(workflow(), &[(0, "hda", input), (1, "hdca", items)])
        .await;
    world.wait_for(first, "completed").await;
    let second = world
        .invoke_cached(workflow(), &[(0, "hda", input), (1, "hdca", items)])
        .await;
    world.wait_for(second, "completed").await;
    assert_eq!(world.jobs(second).await, ["ok"; 4]);
    assert_eq!(taken(&world, second).await, 4);
    let ran =
        "SELECT COUNT(*) FROM job WHERE command_line IS NOT NULL AND workflow_invocation_id = $1";
    assert_eq!(number(&world, ran, second).await, 0);
    let dataset = "SELECT dataset_id FROM history_dataset_association WHERE id = $1";
    for step in [2, 3, 4] {
        let (old, new) = (
            outputs_of(&world, first, step, "out").await,
            outputs_of(&world, second, step, "out").await,
        );
        for (old, new) in old.iter().zip(&new) {
            assert_ne!(old.1, new.1);
            assert_eq!(
                number(&world, dataset, old.1).await,
                number(&world, dataset, new.1).await
            );
        }
    }
    let deleted = output_of(&world, first, 2, "out").await;
    let delete = "UPDATE history_dataset_association SET deleted = TRUE WHERE dataset_id = (SELECT s.dataset_id FROM history_dataset_association s WHERE s.id = $1)";
    world.change(delete, args![deleted]).await;
    let third = world
        .invoke_cached(workflow(), &[(0, "hda", input), (1, "hdca", items)])
        .await;
    world.wait_for(third, "completed").await;
    assert_eq!(
        taken(&world, third).await,
        2,
        "what was deleted, and what was made of it, is made anew"
    );
    assert_eq!(number(&world, ran, third).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resumed_job_runs_when_its_input_was_mended_and_those_behind_it_follow() {
    let world = World::new().await;
    let input = world.dataset("x\n").await;
    let state = "UPDATE dataset SET state = $2 WHERE id = (SELECT dataset_id FROM history_dataset_association WHERE id = $1)";
    world.change(state, args![input, "error"]).await;
    let id = completed_on(
        &world,
        data(0),
        input,
        vec![copy(1, 0, "output"), copy(2, 1, "out")],
    )
    .await;
    assert_eq!(world.jobs(id).await, ["paused", "paused"]);
    let info = world
        .rows(
            "SELECT info, id FROM job WHERE workflow_invocation_id = $1 ORDER BY id",
            id,
        )
        .await;
    assert!(
        info[0]
            .0
            .ends_with("To resume this job fix the input dataset(s)."),
        "{info:?}"
    );
    world.change(state, args![input, "ok"]).await;
    barycenter::scheduling::requests::resume_job(&world.services(), info[0].1)
        .await
        .expect("resumed");
    world.until_jobs(id, &["ok", "ok"]).await;
    assert_eq!(text_of(&world, id, 2, "out").await, "x\ncopied\ncopied\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_paused_by_a_deleted_input_and_failed_by_a_purged_one() {
    let world = World::new().await;
    let (deleted, purged) = (world.dataset("x\n").await, world.dataset("y\n").await);
    world
        .change(
            "UPDATE history_dataset_association SET deleted = TRUE WHERE id = $1",
            args![deleted],
        )
        .await;
    world
        .change(
            "UPDATE history_dataset_association SET deleted = TRUE, purged = TRUE WHERE id = $1",
            args![purged],
        )
        .await;
    let copies = steps(vec![
        data(0),
        data(1),
        copy(2, 0, "output"),
        copy(3, 1, "output"),
    ]);
    let id = world
        .invoke(copies, &[(0, "hda", deleted), (1, "hda", purged)])
        .await;
    world.wait_for(id, "completed").await;
    assert_eq!(world.jobs(id).await, ["paused", "error"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn results_of_others_and_of_jobs_that_failed_are_not_taken() {
    let world = World::new().await;
    let input = world.dataset("x\n").await;
    let workflow = || steps(vec![data(0), copy(1, 0, "output")]);
    let first = world.invoke(workflow(), &[(0, "hda", input)]).await;
    world.wait_for(first, "completed").await;
    let same = world.invoke_cached(workflow(), &[(0, "hda", input)]).await;
    world.wait_for(same, "completed").await;
    assert_eq!(taken(&world, same).await, 1);
    // Another step of the same workflow that asks for something else is run.
    let other = world.dataset("x\n").await;
    let different = world.invoke_cached(workflow(), &[(0, "hda", other)]).await;
    world.wait_for(different, "completed").await;
    assert_eq!(taken(&world, different).await, 0);
    world
        .change("UPDATE job SET state = 'error' WHERE id > $1", args![0])
        .await;
    let failed = world.invoke_cached(workflow(), &[(0, "hda", input)]).await;
    world.wait_for(failed, "completed").await;
    assert_eq!(taken(&world, failed).await, 0);
    let mut tx = world.store.begin().await.expect("begins");
    let eve = users::create(&mut tx, "eve", "eve@example.org", None, false, 1)
        .await
        .expect("a user");
    tx.commit(Durability::Acknowledged, "test")
        .await
        .expect("commits");
    world
        .change("UPDATE job SET user_id = $1", args![eve])
        .await;
    let stranger = world.invoke_cached(workflow(), &[(0, "hda", input)]).await;
    world.wait_for(stranger, "completed").await;
    assert_eq!(taken(&world, stranger).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_jobs_of_subworkflows_take_results_that_are_there_too() {
    let world = World::new().await;
    let input = world.dataset("x\n").await;
    let mut given = data(0);
    given["label"] = "given".into();
    let inside = steps(vec![given, copy(1, 0, "output")]);
    let workflow = steps(vec![
        data(0),
        sub(1, inside, &[("given", 0, "output", Some(0))]),
    ]);
    let first = world.invoke(workflow.clone(), &[(0, "hda", input)]).await;
    world.wait_for(first, "completed").await;
    let second = world.invoke_cached(workflow, &[(0, "hda", input)]).await;
    world.wait_for(second, "completed").await;
    assert_eq!(taken(&world, world.child(second).await).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_read_an_element_of_a_collection_can_be_run_again() {
    let world = World::new().await;
    let input = world
        .pairs(&[("s1", "a\n", "b\n"), ("s2", "c\n", "d\n")])
        .await;
    let id = completed_on(
        &world,
        collection(0, "list:paired"),
        input,
        vec![step(1, "tool", Some("pair"), &[("pair", 0, "output")])],
    )
    .await;
    let read = world
        .rows(
            "SELECT p.value, p.job_id FROM job_parameter p JOIN job j ON j.id = p.job_id
             WHERE p.name = 'pair' AND j.workflow_invocation_id = $1 ORDER BY p.job_id",
            id,
        )
        .await;
    let element: Value = serde_json::from_str(&read[1].0).expect("JSON");
    assert_eq!(element["src"], "dce");
    let state = json!({"pair": element});
    let made = run_alone(&world, "pair", &state, None).await.expect("runs");
    let over = "SELECT COUNT(*) FROM job WHERE id = $1 AND state = 'ok'";
    wait_until(&world, over, made.jobs[0], 1).await;
    let Some(barycenter::invoker::known::StepValue::Hda(out)) = made.outputs.get("out") else {
        panic!("{made:?}")
    };
    assert_eq!(content(&world, *out).await.0, "c\nd\n");
    let inputs = "SELECT COUNT(*) FROM job_to_input_dataset WHERE job_id = $1";
    assert_eq!(number(&world, inputs, made.jobs[0]).await, 2);
}

crate::databases::on_postgres_too!(
    crate::databases::on_postgres =>
    a_rerun_takes_the_failed_jobs_place_and_those_behind_it_go_on,
    a_rerun_mends_one_element_of_a_collection,
    deleting_a_history_stops_the_jobs_of_a_scheduled_invocation,
    a_second_run_takes_the_results_of_the_first_and_runs_nothing,
    a_resumed_job_runs_when_its_input_was_mended_and_those_behind_it_follow,
    a_job_is_paused_by_a_deleted_input_and_failed_by_a_purged_one,
    results_of_others_and_of_jobs_that_failed_are_not_taken,
    the_jobs_of_subworkflows_take_results_that_are_there_too,
    a_job_that_read_an_element_of_a_collection_can_be_run_again,
);
