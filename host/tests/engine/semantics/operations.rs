//! Tools that only arrange data that there are.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_waits_for_the_states_of_a_mapped_step_and_shares_what_is_ok() {
    let world = World::new().await;
    let input = world.list(&["good\n", "bad\n", "fine\n"]).await;
    let id = completed_on(
        &world,
        list(0),
        input,
        vec![
            run_on(1, "flaky", 0, "output"),
            tool(
                2,
                "__FILTER_FAILED_DATASETS__",
                "1.0.0",
                json!({}),
                &[("input", 1, "out")],
            ),
            copy(3, 2, "output"),
        ],
    )
    .await;
    let before = outputs_of(&world, id, 1, "out").await;
    let kept = outputs_of(&world, id, 2, "output").await;
    let names: Vec<&str> = kept.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["e0", "e2"]);
    let dataset = "SELECT dataset_id FROM history_dataset_association WHERE id = $1";
    assert_eq!(
        number(&world, dataset, kept[0].1).await,
        number(&world, dataset, before[0].1).await
    );
    assert_ne!(kept[0].1, before[0].1);
    let copied = outputs_of(&world, id, 3, "out").await;
    assert_eq!(
        content(&world, copied[1].1).await.0,
        "fine\nflaky\ncopied\n"
    );
    let operation = "SELECT COUNT(*) FROM job WHERE tool_id = '__FILTER_FAILED_DATASETS__' AND state = 'ok' AND workflow_invocation_id = $1";
    assert_eq!(number(&world, operation, id).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_that_only_arranges_does_not_wait_and_its_names_learn_what_the_job_found() {
    let world = World::new().await;
    let (one, two) = (world.dataset("a\n").await, world.dataset("b\n").await);
    let id = world
        .invoke(
            steps(vec![
                data(0),
                data(1),
                copy(2, 0, "output"),
                copy(3, 1, "output"),
                tool(
                    4,
                    "__ZIP_COLLECTION__",
                    "1.0.0",
                    json!({}),
                    &[("input_forward", 2, "out"), ("input_reverse", 3, "out")],
                ),
                tool(
                    5,
                    "__UNZIP_COLLECTION__",
                    "1.0.0",
                    json!({}),
                    &[("input", 4, "output")],
                ),
                copy(6, 5, "reverse"),
            ]),
            &[(0, "hda", one), (1, "hda", two)],
        )
        .await;
    world.wait_for(id, "completed").await;
    assert_eq!(text_of(&world, id, 6, "out").await, "b\ncopied\ncopied\n");
    let shared = outputs_of(&world, id, 5, "reverse").await;
    let peek = "SELECT CASE WHEN peek IS NULL THEN 0 ELSE 1 END FROM history_dataset_association WHERE id = $1";
    assert_eq!(number(&world, peek, shared[0].1).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_is_mapped_like_any_tool() {
    let world = World::new().await;
    let (left, right) = (
        world.list(&["a\n", "b\n"]).await,
        world.list(&["c\n", "d\n"]).await,
    );
    let id = world
        .invoke(
            steps(vec![
                list(0),
                list(1),
                tool(
                    2,
                    "__ZIP_COLLECTION__",
                    "1.0.0",
                    json!({}),
                    &[
                        ("input_forward", 0, "output"),
                        ("input_reverse", 1, "output"),
                    ],
                ),
                tool(
                    3,
                    "__EXTRACT_DATASET__",
                    "1.0.2",
                    json!({"which": {"which_dataset": "by_identifier", "identifier": "reverse"}}),
                    &[("input", 2, "output")],
                ),
                tool(
                    4,
                    "__FLATTEN__",
                    "1.0.0",
                    json!({"join_identifier": "_"}),
                    &[("input", 2, "output")],
                ),
            ]),
            &[(0, "hdca", left), (1, "hdca", right)],
        )
        .await;
    world.wait_for(id, "completed").await;
    let extracted = outputs_of(&world, id, 3, "output").await;
    assert_eq!(extracted.len(), 2);
    assert_eq!(content(&world, extracted[1].1).await.0, "d\n");
    let flat = outputs_of(&world, id, 4, "output").await;
    let names: Vec<&str> = flat.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        ["e0_forward", "e0_reverse", "e1_forward", "e1_reverse"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_that_cannot_be_done_fails_the_invocation_with_a_sentence() {
    let world = World::new().await;
    let input = world.list(&["a\n"]).await;
    let id = on_input(
        &world,
        list(0),
        input,
        vec![tool(
            1,
            "__EXTRACT_DATASET__",
            "1.0.2",
            json!({"which": {"which_dataset": "by_index", "index": 7}}),
            &[("input", 0, "output")],
        )],
    )
    .await;
    world.wait_for(id, "failed").await;
    let messages = world.rows("SELECT reason || ': ' || details, id FROM workflow_invocation_message WHERE workflow_invocation_id = $1", id).await;
    assert!(
        messages[0]
            .0
            .starts_with("unexpected_failure: Extract dataset: the collection has 1 elements"),
        "{messages:?}"
    );
}

crate::databases::on_postgres_too!(
    crate::databases::on_postgres =>
    a_filter_waits_for_the_states_of_a_mapped_step_and_shares_what_is_ok,
    an_operation_that_only_arranges_does_not_wait_and_its_names_learn_what_the_job_found,
    an_operation_is_mapped_like_any_tool,
    an_operation_that_cannot_be_done_fails_the_invocation_with_a_sentence,
);
