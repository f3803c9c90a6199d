//! Subworkflow steps.

use super::*;

fn given() -> Value {
    let mut input = data(0);
    input["label"] = "given".into();
    input
}

#[tokio::test(flavor = "multi_thread")]
async fn outputs_of_a_subworkflow_are_called_by_label_or_by_step_and_output() {
    let world = World::new().await;
    let input = world.dataset("x\n").await;
    let mut unlabelled = copy(2, 1, "out");
    unlabelled["workflow_outputs"] = json!([{"output_name": "out", "label": null}]);
    let inside = steps(vec![
        given(),
        with_output(copy(1, 0, "output"), "out", "first"),
        unlabelled,
    ]);
    let from = [("given", 0, "output", Some(0))];
    let id = completed_on(
        &world,
        data(0),
        input,
        vec![
            sub(1, inside, &from),
            copy(2, 1, "first"),
            copy(3, 1, "2:out"),
        ],
    )
    .await;
    assert_eq!(text_of(&world, id, 2, "out").await, "x\ncopied\ncopied\n");
    assert_eq!(
        text_of(&world, id, 3, "out").await,
        "x\ncopied\ncopied\ncopied\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subworkflow_is_scheduled_when_its_outputs_are_known_though_a_branch_of_it_waits() {
    let world = World::new().await;
    let input = world.dataset("x\n").await;
    let inside = steps(vec![
        given(),
        with_output(copy(1, 0, "output"), "out", "made"),
        pause(2, 0, "output"),
        copy(3, 2, "output"),
    ]);
    let from = [("given", 0, "output", Some(0))];
    let id = world
        .invoke(
            steps(vec![data(0), sub(1, inside, &from), copy(2, 1, "made")]),
            &[(0, "hda", input)],
        )
        .await;
    world.wait_for_review(id).await;
    world.until_jobs(id, &["ok"]).await;
    assert_eq!(
        reached(&world, id).await,
        ["s0 scheduled", "s1 scheduled", "s2 scheduled"]
    );
    let child = world.child(id).await;
    assert_eq!(
        reached(&world, child).await.last().expect("a step"),
        "s3 new"
    );
    world.act(child, json!(true)).await;
    world.wait_for(id, "completed").await;
    assert_eq!(text_of(&world, child, 3, "out").await, "x\ncopied\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_required_input_inside_that_nothing_feeds_fails_the_invocation() {
    let world = World::new().await;
    let input = world.dataset("x\n").await;
    let mut second = data(1);
    second["label"] = "other".into();
    let alone = steps(vec![given(), copy(1, 0, "output")]);
    let id = world.invoke(steps(vec![sub(0, alone, &[])]), &[]).await;
    world.wait_for(id, "failed").await;
    let unfed = said(&world, id).await;
    assert_eq!(
        unfed.details.as_deref(),
        Some("Subworkflow has disconnected required input.")
    );
    assert_eq!(unfed.about(), ("unexpected_failure", Some("s0")));
    let two = steps(vec![given(), second.clone(), copy(2, 1, "output")]);
    let from = [("given", 0, "output", Some(0))];
    let id = world
        .invoke(
            steps(vec![data(0), sub(1, two, &from)]),
            &[(0, "hda", input)],
        )
        .await;
    world.wait_for(id, "failed").await;
    let unfed = said(&world, id).await;
    assert_eq!(unfed.reason, "output_not_found");
    assert_eq!(unfed.output.as_deref(), Some("output"));
    assert_eq!(unfed.steps(), (Some("s1"), Some("s0")));
    // An optional one may be left out.
    second["tool_state"] = json!({"optional": true}).to_string().into();
    let optional = steps(vec![given(), second, run_on(2, "maybe", 1, "output")]);
    let id = world
        .invoke(
            steps(vec![data(0), sub(1, optional, &from)]),
            &[(0, "hda", input)],
        )
        .await;
    world.wait_for(id, "completed").await;
    assert_eq!(
        text_of(&world, world.child(id).await, 2, "out").await,
        "nothing\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_inside_tells_the_way_to_it() {
    let world = World::new().await;
    let inner = steps(vec![tool(0, "vanished", "1", json!({}), &[])]);
    let middle = steps(vec![
        tool(0, "write", "1", json!({}), &[]),
        sub(1, inner, &[]),
    ]);
    let outer = steps(vec![
        tool(0, "write", "1", json!({}), &[]),
        tool(1, "write", "1", json!({}), &[]),
        sub(2, middle, &[]),
    ]);
    let id = world.invoke(outer, &[]).await;
    world.wait_for(id, "failed").await;
    let said = said(&world, id).await;
    assert_eq!(said.path.as_deref(), Some("[1,2]"), "innermost first");
    assert_eq!(said.reason, "unexpected_failure");
    // What was made before goes on.
    wait_until(&world, JOBS_OK, id, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_the_inner_workflow_does_not_put_out_fails_the_invocation() {
    let world = World::new().await;
    let input = world.dataset("4\n").await;
    let read = value_of(1, "text", 0);
    // Asked for a text, the tool has no output of that name.
    let inside = steps(vec![
        given(),
        with_output(read.clone(), "integer_param", "value"),
    ]);
    let from = [("given", 0, "output", Some(0))];
    let id = world
        .invoke(
            steps(vec![data(0), sub(1, inside, &from)]),
            &[(0, "hda", input)],
        )
        .await;
    world.wait_for(id, "failed").await;
    let inner = said(&world, id).await;
    assert_eq!(
        (inner.reason.as_str(), inner.output.as_deref()),
        ("output_not_found", Some("value"))
    );
    // At the top it is only worth a warning.
    let top = steps(vec![data(0), with_output(read, "integer_param", "value")]);
    let id = world.invoke(top, &[(0, "hda", input)]).await;
    world.wait_for(id, "completed").await;
    let warned = said(&world, id).await;
    assert_eq!(
        (
            warned.reason.as_str(),
            warned.step.as_deref(),
            warned.output.as_deref()
        ),
        (
            "workflow_output_not_found",
            Some("s1"),
            Some("integer_param")
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn three_levels_of_subworkflows_are_mapped_over_together() {
    let world = World::new().await;
    let input = world.list(&["a\n", "b\n"]).await;
    let from = [("given", 0, "output", Some(0))];
    let mut inside = steps(vec![
        given(),
        with_output(copy(1, 0, "output"), "out", "made"),
        tool(2, "write", "1", json!({}), &[]),
    ]);
    for _ in 0..2 {
        let mut around = sub(1, inside, &from);
        around["workflow_outputs"] = json!([{"output_name": "made", "label": "made"}]);
        inside = steps(vec![given(), around]);
    }
    let id = world
        .invoke(
            steps(vec![list(0), sub(1, inside, &from), copy(2, 1, "made")]),
            &[(0, "hdca", input)],
        )
        .await;
    world.wait_for(id, "completed").await;
    let last = written(&world, id, 2, "out").await;
    assert_eq!(last[1], ("e1".to_owned(), "b\ncopied\ncopied\n".to_owned()));
    let mut innermost = id;
    for _ in 0..3 {
        innermost = world.child(innermost).await;
    }
    assert_eq!(
        written(&world, innermost, 2, "out").await.len(),
        2,
        "mapped though nothing mapped feeds it"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn defaults_and_values_are_kept_as_inputs_and_labelled_parameters_replace_in_names() {
    let world = World::new().await;
    let mut label = parameter(0, "text", json!("blue"));
    label["label"] = "colour".into();
    let rename = json!([{"action_type": "RenameDatasetAction", "output_name": "out", "action_arguments": {"newname": "${colour} ${size}"}}]);
    let writes = with_actions(
        tool(1, "write", "1", json!({}), &[("text", 0, "output")]),
        rename,
    );
    let replacement = |name: &str, value: &str| RequestParameter {
        kind: RequestParameterKind::Replacement,
        name: name.to_owned(),
        value: value.to_owned(),
        step_id: None,
    };
    let named = |id: i64| {
        let world = &world;
        async move { content(world, output_of(world, id, 1, "out").await).await.2 }
    };
    let workflow = steps(vec![label, writes]);
    let id = world
        .invoke_with(workflow.clone(), &[], vec![replacement("size", "big")])
        .await;
    world.wait_for(id, "completed").await;
    assert_eq!(named(id).await, "blue big");
    let kept = world
        .rows(
            "SELECT parameter_value, workflow_step_id FROM workflow_request_input_step_parameter WHERE workflow_invocation_id = $1",
            id,
        )
        .await;
    assert_eq!(kept[0].0, "\"blue\"");
    // What the request replaces explicitly counts more.
    let over = vec![replacement("size", "big"), replacement("colour", "red")];
    let id = world.invoke_with(workflow, &[], over).await;
    world.wait_for(id, "completed").await;
    assert_eq!(named(id).await, "red big");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_without_a_value_is_kept_as_nothing_among_the_outputs() {
    let world = World::new().await;
    let mut optional = data(0);
    optional["tool_state"] = json!({"optional": true}).to_string().into();
    optional["workflow_outputs"] = json!([{"output_name": "output", "label": "passed on"}]);
    let id = world.invoke(steps(vec![optional]), &[]).await;
    world.wait_for(id, "completed").await;
    let kept = world
        .rows(
            "SELECT value, workflow_output_id FROM workflow_invocation_output_value WHERE workflow_invocation_id = $1",
            id,
        )
        .await;
    assert_eq!(kept[0].0, "{\"__class__\":\"NoReplacement\"}");
}

crate::databases::on_postgres_too!(
    crate::databases::on_postgres =>
    outputs_of_a_subworkflow_are_called_by_label_or_by_step_and_output,
    a_subworkflow_is_scheduled_when_its_outputs_are_known_though_a_branch_of_it_waits,
    a_required_input_inside_that_nothing_feeds_fails_the_invocation,
    a_failure_inside_tells_the_way_to_it,
    an_output_that_the_inner_workflow_does_not_put_out_fails_the_invocation,
    three_levels_of_subworkflows_are_mapped_over_together,
    defaults_and_values_are_kept_as_inputs_and_labelled_parameters_replace_in_names,
    an_input_without_a_value_is_kept_as_nothing_among_the_outputs,
);
