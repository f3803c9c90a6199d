//! The step types that are no tools: parameters, the pause, pick_value.

use super::*;

/// The pick_value module behind the steps 2 and 3.
fn pick_value(mode: &str) -> Value {
    let from = [("input_0", 2, "out"), ("input_1", 3, "out")];
    let mut pick = step(4, "pick_value", None, &from);
    pick["tool_state"] = json!({"mode": mode, "num_inputs": 2}).to_string().into();
    pick
}

/// Two branches of which one is skipped, and a tool or module that takes what there is.
fn branches(pick: Value, wanted: bool) -> Value {
    let mut first = step(
        2,
        "tool",
        Some("copy"),
        &[("input", 0, "output"), ("when", 1, "output")],
    );
    first["when"] = "$(inputs.when)".into();
    steps(vec![
        data(0),
        parameter(1, "boolean", json!(wanted)),
        first,
        copy(3, 0, "output"),
        pick,
        copy(5, 4, "output"),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn pick_value_hands_on_the_first_branch_that_was_not_skipped() {
    let world = World::new().await;
    let input = world.dataset("x\n").await;
    for wanted in [true, false] {
        let workflow = branches(pick_value("first_non_null"), wanted);
        let id = world.invoke(workflow, &[(0, "hda", input)]).await;
        world.wait_for(id, "completed").await;
        let picked = outputs_of(&world, id, 4, "output").await;
        let from = if wanted { 2 } else { 3 };
        assert_eq!(picked, outputs_of(&world, id, from, "out").await);
        assert_eq!(text_of(&world, id, 5, "out").await, "x\ncopied\ncopied\n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pick_value_tool_hands_its_dataset_on_without_a_copy() {
    let world = World::new().await;
    let input = world.dataset("x\n").await;
    let state = json!({"style_cond": {"pick_style": "first", "type_cond": {"param_type": "data", "pick_from": [{"value": null}, {"value": null}]}}});
    let mut all = branches(
        tool(
            4,
            "pick_value",
            "0.2.0",
            state,
            &[
                ("style_cond|type_cond|pick_from_0|value", 2, "out"),
                ("style_cond|type_cond|pick_from_1|value", 3, "out"),
            ],
        ),
        false,
    );
    all["5"]["input_connections"]["input"]["output_name"] = "data_param".into();
    let id = world.invoke(all, &[(0, "hda", input)]).await;
    world.wait_for(id, "completed").await;
    let dataset = "SELECT dataset_id FROM history_dataset_association WHERE id = $1";
    let picked = output_of(&world, id, 4, "data_param").await;
    let source = output_of(&world, id, 3, "out").await;
    assert_eq!(
        number(&world, dataset, picked).await,
        number(&world, dataset, source).await
    );
    assert_eq!(text_of(&world, id, 5, "out").await, "x\ncopied\ncopied\n");
}

/// A pause behind the dataset, and a copy behind the pause.
fn paused() -> Value {
    steps(vec![data(0), pause(1, 0, "output"), copy(2, 1, "output")])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_is_scheduled_at_once_and_only_its_consumers_wait() {
    let world = World::new().await;
    let input = world.dataset("x\n").await;
    let id = world.invoke(paused(), &[(0, "hda", input)]).await;
    world.wait_for_review(id).await;
    assert_eq!(world.state(id).await, "ready");
    assert_eq!(
        reached(&world, id).await,
        ["s0 scheduled", "s1 scheduled", "s2 new"]
    );
    world.act(id, json!(true)).await;
    world.wait_for(id, "completed").await;
    // The very same dataset, and its association once.
    assert_eq!(
        outputs_of(&world, id, 1, "output").await,
        [(String::new(), input)]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_is_reached_before_its_input_is_known_and_approved_it_waits_for_it() {
    let world = World::new().await;
    let input = world.dataset("x\n").await;
    let id = on_input(
        &world,
        data(0),
        input,
        vec![
            pause(1, 0, "output"),
            pause(2, 1, "output"),
            copy(3, 2, "output"),
        ],
    )
    .await;
    world.wait_for_review(id).await;
    assert_eq!(reached(&world, id).await[2], "s2 scheduled");
    let rows = "SELECT w.label, s.id FROM workflow_invocation_step s JOIN workflow_step w ON w.id = s.workflow_step_id
         WHERE s.workflow_invocation_id = $1 AND w.type = 'pause' ORDER BY s.order_index";
    let pauses = world.rows(rows, id).await;
    for (n, (_, step)) in pauses.iter().enumerate().rev() {
        world.answer(*step, json!(true)).await;
        world.services().signals.invocations_changed();
        if n == 1 {
            world.wait_for_review(id).await;
            assert!(
                world.jobs(id).await.is_empty(),
                "the first one was not approved"
            );
        }
    }
    world.wait_for(id, "completed").await;
    assert_eq!(text_of(&world, id, 3, "out").await, "x\ncopied\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_refusal_counts_also_after_an_approval_was_consumed() {
    let world = World::new().await;
    let input = world.dataset("x\n").await;
    // A second pause keeps the invocation at work.
    let id = on_input(
        &world,
        data(0),
        input,
        vec![
            pause(1, 0, "output"),
            copy(2, 1, "output"),
            pause(3, 0, "output"),
            copy(4, 3, "output"),
        ],
    )
    .await;
    world.wait_for_review(id).await;
    world.act(id, json!(true)).await;
    world.until_jobs(id, &["ok"]).await;
    world.act(id, json!(false)).await;
    world.wait_for(id, "cancelled").await;
    let said = said(&world, id).await;
    assert_eq!(said.about(), ("cancelled_on_review", Some("s1")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_of_several_answers_counts_and_one_that_says_nothing_leaves_it_waiting() {
    let mut world = World::new().await;
    let input = world.dataset("x\n").await;
    let id = world.invoke(paused(), &[(0, "hda", input)]).await;
    world.wait_for_review(id).await;
    let services = world.services();
    let signals = "SELECT signal_count - signal_seen FROM workflow_invocation WHERE id = $1";
    for nothing in [json!(null), json!(0), json!("")] {
        world.act(id, nothing).await;
        wait_until(&world, signals, id, 0).await;
        assert_eq!(world.state(id).await, "ready");
    }
    drop(services);
    world.stop().await;
    let step = "SELECT s.id FROM workflow_invocation_step s WHERE s.order_index = 1 AND s.workflow_invocation_id = $1";
    let step = number(&world, step, id).await;
    for answer in [json!(true), json!(false)] {
        world.answer(step, answer).await;
    }
    world.start().await;
    world.wait_for(id, "cancelled").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_that_nobody_follows_holds_nothing_up() {
    let world = World::new().await;
    let input = world.dataset("x\n").await;
    let workflow = steps(vec![data(0), pause(1, 0, "output")]);
    let id = world.invoke(workflow, &[(0, "hda", input)]).await;
    world.wait_for(id, "completed").await;
    assert_eq!(reached(&world, id).await, ["s0 scheduled", "s1 scheduled"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_a_parameter_step_refuses_fails_the_invocation() {
    let world = World::new().await;
    let mut checked = parameter(0, "text", json!("blue"));
    checked["tool_state"] = json!({
        "parameter_type": "text",
        "default": "blue",
        "optional": false,
        "validators": [{"type": "regex", "expression": "^r", "message": "only red ones"}]
    })
    .to_string()
    .into();
    let id = world.invoke(steps(vec![checked]), &[]).await;
    world.wait_for(id, "failed").await;
    let said = said(&world, id).await;
    assert_eq!(
        (
            said.reason.as_str(),
            said.details.as_deref(),
            said.step.as_deref()
        ),
        (
            "workflow_parameter_invalid",
            Some("only red ones"),
            Some("s0")
        )
    );
}

/// Step 4 picks among a skipped branch and one that ran, or among two skipped ones.
fn picking(mode: &str, both: bool) -> Value {
    let pick = with_actions(
        pick_value(mode),
        json!([{"action_type": "RenameDatasetAction", "output_name": "output", "action_arguments": {"newname": "picked"}},
               {"action_type": "TagDatasetAction", "output_name": "output", "action_arguments": {"tags": "#chosen"}}]),
    );
    let mut all = branches(pick, both);
    if !both && mode == "first_or_skip" {
        all["3"]["when"] = "$(false)".into();
    }
    all.as_object_mut().expect("steps").remove("5");
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn pick_value_takes_the_only_one_all_or_skips_as_its_mode_says() {
    let world = World::new().await;
    let input = world.dataset("x\n").await;
    let run = |mode: &'static str, both: bool, end: &'static str| {
        let world = &world;
        async move {
            let id = world
                .invoke(picking(mode, both), &[(0, "hda", input)])
                .await;
            world.wait_for(id, end).await;
            id
        }
    };
    let two = run("the_only_non_null", true, "failed").await;
    let refused = said(&world, two).await;
    assert_eq!(refused.reason, "expression_evaluation_failed");
    assert_eq!(refused.step.as_deref(), Some("s4"));
    let one = run("the_only_non_null", false, "completed").await;
    let picked = output_of(&world, one, 4, "output").await;
    assert_eq!(
        content(&world, picked).await,
        ("x\ncopied\n".into(), "ok".into(), "picked".into())
    );
    let tags = "SELECT tags, id FROM history_dataset_association WHERE id = $1";
    assert_eq!(world.text(tags, picked).await, "[\"name:chosen\"]");
    let none = run("first_or_skip", false, "completed").await;
    assert_eq!(
        content(&world, output_of(&world, none, 4, "output").await)
            .await
            .0,
        "null"
    );
    let all = run("all_non_null", true, "completed").await;
    assert_eq!(collection_of(&world, all, 4, "output").await.0, "list");
    let names: Vec<String> = written(&world, all, 4, "output")
        .await
        .into_iter()
        .map(|(n, _)| n)
        .collect();
    assert_eq!(names, ["0", "1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn pick_value_fails_where_the_first_is_wanted_and_none_is_there() {
    let world = World::new().await;
    let input = world.dataset("x\n").await;
    let mut all = picking("first_non_null", false);
    all["3"]["when"] = "$(false)".into();
    let id = world.invoke(all, &[(0, "hda", input)]).await;
    world.wait_for(id, "failed").await;
    assert_eq!(
        said(&world, id).await.reason,
        "expression_evaluation_failed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pick_value_picks_for_each_place_of_mapped_branches() {
    let world = World::new().await;
    let input = world.list(&["a\n", "b\n"]).await;
    for (mode, kind) in [("first_non_null", "list"), ("all_non_null", "list:list")] {
        let mut all = picking(mode, false);
        all["0"] = list(0);
        let id = world.invoke(all, &[(0, "hdca", input)]).await;
        world.wait_for(id, "completed").await;
        assert_eq!(collection_of(&world, id, 4, "output").await.0, kind);
        assert!(!world.jobs(id).await.is_empty());
    }
}

crate::databases::on_postgres_too!(
    crate::databases::on_postgres =>
    pick_value_hands_on_the_first_branch_that_was_not_skipped,
    the_pick_value_tool_hands_its_dataset_on_without_a_copy,
    a_pause_is_scheduled_at_once_and_only_its_consumers_wait,
    a_pause_is_reached_before_its_input_is_known_and_approved_it_waits_for_it,
    a_later_refusal_counts_also_after_an_approval_was_consumed,
    the_last_of_several_answers_counts_and_one_that_says_nothing_leaves_it_waiting,
    a_pause_that_nobody_follows_holds_nothing_up,
    a_value_that_a_parameter_step_refuses_fails_the_invocation,
    pick_value_takes_the_only_one_all_or_skips_as_its_mode_says,
    pick_value_fails_where_the_first_is_wanted_and_none_is_there,
    pick_value_picks_for_each_place_of_mapped_branches,
);
