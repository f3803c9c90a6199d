//! What feeds the inputs of a step, and what the invocation waits for or fails of.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_is_fed_by_an_expression_tool() {
    let world = World::new().await;
    let input = world.dataset("from a file\n").await;
    let id = completed_on(
        &world,
        data(0),
        input,
        vec![
            value_of(1, "text", 0),
            tool(2, "write", "1", json!({}), &[("text", 1, "text_param")]),
        ],
    )
    .await;
    assert_eq!(text_of(&world, id, 2, "out").await, "from a file\n");
    // Only the output of the type that was asked for is there.
    assert!(outputs_of(&world, id, 1, "integer_param").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expression_that_refuses_fails_its_job_and_the_parameter_behind_it() {
    let world = World::new().await;
    let input = world.dataset("no number\n").await;
    let id = on_input(
        &world,
        data(0),
        input,
        vec![
            value_of(1, "integer", 0),
            tool(2, "write", "1", json!({}), &[("text", 1, "integer_param")]),
        ],
    )
    .await;
    world.wait_for(id, "failed").await;
    assert_eq!(world.jobs(id).await, ["error"]);
    let messages = world.rows("SELECT reason, hda_id FROM workflow_invocation_message WHERE workflow_invocation_id = $1", id).await;
    assert_eq!(messages[0].0, "dataset_failed");
    assert_eq!(
        messages[0].1,
        output_of(&world, id, 1, "integer_param").await
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_made_before_what_they_read_is_there() {
    let world = World::new().await;
    let input = world.dataset("x\n").await;
    let id = on_input(
        &world,
        data(0),
        input,
        vec![run_on(1, "nap", 0, "output"), copy(2, 1, "out")],
    )
    .await;
    world.until_jobs(id, &["running", "new"]).await;
    assert_eq!(world.state(id).await, "scheduled");
    world.wake();
    world.wait_for(id, "completed").await;
    assert_eq!(text_of(&world, id, 2, "out").await, "x\nslept\ncopied\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_optional_input_that_is_left_out_is_nothing() {
    let world = World::new().await;
    let input = world.dataset("x\n").await;
    let mut optional = data(0);
    optional["tool_state"] = json!({"optional": true}).to_string().into();
    let workflow = || steps(vec![optional.clone(), run_on(1, "maybe", 0, "output")]);
    for (given, wanted) in [(vec![], "nothing\n"), (vec![(0, "hda", input)], "given\n")] {
        let id = world.invoke(workflow(), &given).await;
        world.wait_for(id, "completed").await;
        assert_eq!(text_of(&world, id, 1, "out").await, wanted);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_multiple_input_takes_each_of_its_connections() {
    let world = World::new().await;
    let (one, two) = (world.dataset("a\n").await, world.dataset("b\n").await);
    let mut together = step(2, "tool", Some("concat"), &[("inputs", 0, "output")]);
    together["input_connections"]["inputs"] = json!([
        {"id": 1, "output_name": "output"}, {"id": 0, "output_name": "output"}
    ]);
    let workflow = steps(vec![data(0), data(1), together]);
    let id = world
        .invoke(workflow, &[(0, "hda", one), (1, "hda", two)])
        .await;
    world.wait_for(id, "completed").await;
    assert_eq!(text_of(&world, id, 2, "out").await, "b\na\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unconnected_input_takes_its_state_else_the_steps_default() {
    let world = World::new().await;
    let with = |state: Value| {
        let mut made = tool(0, "number", "1", state, &[]);
        made["in"] = json!({"n": {"default": 41}});
        made
    };
    let own = with(json!({"n": 3}));
    let mut default = with(json!({"n": {"__class__": "RuntimeValue"}}));
    (default["id"], default["label"]) = (1.into(), "s1".into());
    default["position"] = json!({"left": 10, "top": 10});
    let id = world.invoke(steps(vec![own, default]), &[]).await;
    world.wait_for(id, "completed").await;
    assert_eq!(text_of(&world, id, 0, "out").await, "3\n");
    assert_eq!(text_of(&world, id, 1, "out").await, "41\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn content_that_is_no_value_fails_the_invocation_at_once() {
    let world = World::new().await;
    let input = world.dataset("not json").await;
    let as_value =
        "UPDATE history_dataset_association SET extension = 'expression.json' WHERE id = $1";
    world.change(as_value, args![input]).await;
    let id = on_input(
        &world,
        data(0),
        input,
        vec![tool(1, "write", "1", json!({}), &[("text", 0, "output")])],
    )
    .await;
    world.wait_for(id, "failed").await;
    let said = said(&world, id).await;
    assert_eq!(said.about(), ("unexpected_failure", Some("s1")));
    assert!(
        said.details
            .expect("a sentence")
            .contains("does not hold a value")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_of_unknown_size_is_waited_for_and_then_mapped() {
    let world = World::new().await;
    let input = world.dataset("a\nb\nc\n").await;
    let id = on_input(
        &world,
        data(0),
        input,
        vec![
            run_on(1, "nap", 0, "output"),
            run_on(2, "split", 1, "out"),
            copy(3, 2, "parts"),
        ],
    )
    .await;
    world.until_jobs(id, &["running", "new"]).await;
    world.wait_for(id, "ready").await;
    // A step that waits has its row already.
    assert_eq!(reached(&world, id).await.last().expect("a step"), "s3 new");
    world.wake();
    world.wait_for(id, "completed").await;
    let copied = written(&world, id, 3, "out").await;
    let found: Vec<_> = copied
        .iter()
        .map(|(n, t)| (n.as_str(), t.as_str()))
        .collect();
    assert_eq!(
        found,
        [
            ("a", "a\ncopied\n"),
            ("b", "b\ncopied\n"),
            ("c", "c\ncopied\n"),
            ("slept", "slept\ncopied\n")
        ]
    );
    assert!(
        reached(&world, id)
            .await
            .iter()
            .all(|step| step.ends_with("scheduled"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_whose_job_failed_fails_the_invocation() {
    let world = World::new().await;
    let input = world.dataset("bad\n").await;
    let id = on_input(
        &world,
        data(0),
        input,
        vec![run_on(1, "split", 0, "output"), copy(2, 1, "parts")],
    )
    .await;
    world.wait_for(id, "failed").await;
    let made = collection_of(&world, id, 1, "parts").await.1;
    let said = said(&world, id).await;
    assert_eq!(
        (said.reason.as_str(), said.hdca_id),
        ("collection_failed", Some(made))
    );
    assert_eq!(said.steps(), (Some("s2"), Some("s1")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_is_mapped_over_the_values_of_a_collection_and_fails_with_any_of_them() {
    let world = World::new().await;
    let workflow = || {
        steps(vec![
            list(0),
            value_of(1, "integer", 0),
            tool(2, "number", "1", json!({}), &[("n", 1, "integer_param")]),
        ])
    };
    let numbers = world.list(&["4\n", "5\n"]).await;
    let id = world.invoke(workflow(), &[(0, "hdca", numbers)]).await;
    world.wait_for(id, "completed").await;
    let found = written(&world, id, 2, "out").await;
    assert_eq!(
        found,
        [
            ("e0".to_owned(), "4\n".to_owned()),
            ("e1".to_owned(), "5\n".to_owned())
        ]
    );
    let one_bad = world.list(&["4\n", "none\n"]).await;
    let id = world.invoke(workflow(), &[(0, "hdca", one_bad)]).await;
    world.wait_for(id, "failed").await;
    let said = said(&world, id).await;
    // Of the collection the element is named that failed, as in Galaxy.
    assert_eq!(said.reason, "dataset_failed");
    assert!(said.hda_id.is_some() && said.hdca_id.is_none(), "{said:?}");
    assert_eq!(said.steps(), (Some("s2"), Some("s1")));
}

crate::databases::on_postgres_too!(
    crate::databases::on_postgres =>
    a_parameter_is_fed_by_an_expression_tool,
    an_expression_that_refuses_fails_its_job_and_the_parameter_behind_it,
    jobs_are_made_before_what_they_read_is_there,
    an_optional_input_that_is_left_out_is_nothing,
    a_multiple_input_takes_each_of_its_connections,
    an_unconnected_input_takes_its_state_else_the_steps_default,
    content_that_is_no_value_fails_the_invocation_at_once,
    a_collection_of_unknown_size_is_waited_for_and_then_mapped,
    a_collection_whose_job_failed_fails_the_invocation,
    a_parameter_is_mapped_over_the_values_of_a_collection_and_fails_with_any_of_them,
);
