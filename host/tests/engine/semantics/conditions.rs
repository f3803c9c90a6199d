//! Conditional steps.

use super::*;

/// A copy with a condition over input `when`, fed by step 1.
fn conditional(id: usize, expression: &str) -> Value {
    let from = [("input", 0, "output"), ("when", 1, "output")];
    when(step(id, "tool", Some("copy"), &from), expression)
}

/// State, extension, blurb and visibility of a dataset.
async fn shown(world: &World, hda: i64) -> String {
    let sql = "SELECT d.state || ' ' || a.extension || ' ' || COALESCE(a.blurb, '') || CASE WHEN a.visible THEN ' seen' ELSE ' hidden' END, a.id
         FROM history_dataset_association a JOIN dataset d ON d.id = a.dataset_id WHERE a.id = $1";
    world.rows(sql, hda).await[0].0.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_whose_condition_is_false_is_skipped_and_those_behind_it_still_run() {
    let world = World::new().await;
    let input = world.dataset("x\n").await;
    let id = completed_on(
        &world,
        data(0),
        input,
        vec![
            parameter(1, "boolean", json!(false)),
            conditional(2, "${inputs.when}"),
            copy(3, 2, "out"),
        ],
    )
    .await;
    assert_eq!(world.jobs(id).await, ["skipped", "ok"]);
    let skipped = output_of(&world, id, 2, "out").await;
    assert_eq!(
        shown(&world, skipped).await,
        "ok expression.json skipped hidden"
    );
    assert_eq!(content(&world, skipped).await.0, "null");
    assert_eq!(text_of(&world, id, 3, "out").await, "nullcopied\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_is_decided_for_each_slice_and_its_collection_takes_part_in_the_mapping() {
    let world = World::new().await;
    let input = world.list(&["a\n", "b\n", "c\n"]).await;
    let answers = world.list(&["yes", "no", "yes"]).await;
    let id = world
        .invoke(
            steps(vec![
                list(0),
                list(1),
                value_of(2, "text", 1),
                tool(3, "verdict", "1", json!({}), &[("text", 2, "text_param")]),
                when(
                    step(
                        4,
                        "tool",
                        Some("copy"),
                        &[("input", 0, "output"), ("when", 3, "answer")],
                    ),
                    "$(inputs.when)",
                ),
                // Nothing but its condition is fed by a collection.
                when(
                    tool(5, "write", "1", json!({}), &[("wanted", 3, "answer")]),
                    "$(inputs.wanted)",
                ),
            ]),
            &[(0, "hdca", input), (1, "hdca", answers)],
        )
        .await;
    world.wait_for(id, "completed").await;
    let texts = texts_of(&world, id, 4, "out").await;
    assert_eq!(texts, ["a\ncopied\n", "null", "c\ncopied\n"]);
    let texts = texts_of(&world, id, 5, "out").await;
    assert_eq!(texts, ["x\n", "null", "x\n"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_sees_files_lists_and_the_state_of_the_tool() {
    let world = World::new().await;
    let input = world.dataset("x\n").await;
    let items = world.list(&["a\n", "b\n"]).await;
    let expression = "$(inputs.input.class == 'File' && inputs.input.basename == 'in.txt' && inputs.input.nameroot == 'in' \
         && inputs.input.nameext == '.txt' && inputs.input.format == 'txt' && inputs.left_out == null)";
    let whole =
        "$(inputs.inputs.length == 2 && inputs.inputs[1].format == 'txt' && inputs.number == 3)";
    let mut over_list = when(
        step(3, "tool", Some("concat"), &[("inputs", 1, "output")]),
        whole,
    );
    over_list["in"] = json!({"number": {"default": 3}});
    let id = world
        .invoke(
            steps(vec![
                data(0),
                list(1),
                when(copy(2, 0, "output"), expression),
                over_list,
            ]),
            &[(0, "hda", input), (1, "hdca", items)],
        )
        .await;
    world.wait_for(id, "completed").await;
    assert_eq!(world.jobs(id).await, ["ok", "ok"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_waits_for_the_dataset_it_looks_at_and_fails_with_it() {
    let world = World::new().await;
    let input = world.dataset("x\n").await;
    let after = |tool| {
        steps(vec![
            data(0),
            step(1, "tool", Some(tool), &[("input", 0, "output")]),
            when(
                step(
                    2,
                    "tool",
                    Some("copy"),
                    &[("input", 0, "output"), ("when", 1, "out")],
                ),
                "$(inputs.when.class == 'File')",
            ),
        ])
    };
    let id = world.invoke(after("nap"), &[(0, "hda", input)]).await;
    world.until_jobs(id, &["running"]).await;
    world.wake();
    world.wait_for(id, "completed").await;
    assert_eq!(world.jobs(id).await, ["ok", "ok"]);
    let id = world.invoke(after("fail"), &[(0, "hda", input)]).await;
    world.wait_for(id, "failed").await;
    let failed = output_of(&world, id, 1, "out").await;
    let said = said(&world, id).await;
    assert_eq!(
        (said.reason.as_str(), said.hda_id),
        ("dataset_failed", Some(failed))
    );
    assert_eq!(said.step.as_deref(), Some("s2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_that_is_no_boolean_or_cannot_be_evaluated_fails_the_invocation() {
    let world = World::new().await;
    let input = world.dataset("x\n").await;
    for (expression, reason, details) in [
        (
            "$(inputs.when ? 'yes' : 'no')",
            "when_not_boolean",
            Some("Type is: string"),
        ),
        (
            "$(inputs.input.nothing.at.all)",
            "expression_evaluation_failed",
            Some(
                "the expression $(inputs.input.nothing.at.all) failed: TypeError: cannot read property 'at' of undefined",
            ),
        ),
    ] {
        let workflow = steps(vec![
            data(0),
            parameter(1, "boolean", json!(true)),
            conditional(2, expression),
        ]);
        let id = world.invoke(workflow, &[(0, "hda", input)]).await;
        world.wait_for(id, "failed").await;
        let said = said(&world, id).await;
        assert_eq!(
            (said.reason.as_str(), said.details.as_deref()),
            (reason, details)
        );
        assert_eq!(said.step.as_deref(), Some("s2"));
    }
}

/// A subworkflow with a condition fed by step 1: a copy inside, and one with a condition of its own that is no boolean.
fn conditional_sub(given: Value, wanted: Value, inner: Vec<Value>) -> Value {
    let mut input = given.clone();
    (input["id"], input["label"]) = (0.into(), "given".into());
    let mut inside = vec![input];
    inside.extend(inner);
    let from = [("given", 0, "output", Some(0)), ("when", 1, "output", None)];
    steps(vec![
        given,
        wanted,
        when(sub(2, steps(inside), &from), "$(inputs.when)"),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subworkflow_whose_condition_is_false_skips_all_inside_without_asking() {
    let world = World::new().await;
    let input = world.list(&["a\n"]).await;
    let inner = vec![
        copy(1, 0, "output"),
        when(tool(2, "write", "1", json!({}), &[]), "$('no boolean')"),
    ];
    let mut wanted = parameter(1, "boolean", json!(false));
    wanted["label"] = "s1".into();
    let given = collection(0, "list");
    let id = world
        .invoke(conditional_sub(given, wanted, inner), &[(0, "hdca", input)])
        .await;
    world.wait_for(id, "completed").await;
    let child = world.child(id).await;
    assert_eq!(world.jobs(child).await, ["skipped", "skipped"]);
    // The collections of a mapped step inside are hidden like the datasets in them.
    let seen = "SELECT COUNT(*) FROM history_dataset_collection_association WHERE implicit_output_name = 'out' AND visible AND history_id = $1";
    assert_eq!(number(&world, seen, world.history).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subworkflow_that_is_mapped_over_decides_its_condition_for_each_slice() {
    let world = World::new().await;
    let input = world.list(&["a\n", "b\n", "c\n"]).await;
    let answers = world.list(&["yes", "no", "yes"]).await;
    let inner = vec![
        copy(1, 0, "output"),
        when(copy(2, 1, "out"), "$(inputs.input.class != 'File' || true)"),
        tool(3, "write", "1", json!({}), &[]),
    ];
    let mut all = conditional_sub(list(0), list(1), inner);
    let from = [("given", 0, "output", Some(0)), ("when", 4, "answer", None)];
    let mut inside = all["2"].clone();
    inside["input_connections"] = sub(2, json!({}), &from)["input_connections"].clone();
    (inside["id"], inside["label"]) = (5.into(), "s5".into());
    inside["position"] = json!({"left": 50, "top": 50});
    let read = value_of(3, "text", 1);
    all = json!({
        "0": all["0"], "1": all["1"], "3": read,
        "4": tool(4, "verdict", "1", json!({}), &[("text", 3, "text_param")]), "5": inside
    });
    let id = world
        .invoke(all, &[(0, "hdca", input), (1, "hdca", answers)])
        .await;
    world.wait_for(id, "completed").await;
    let child = world.child(id).await;
    let texts = |found: Vec<(String, String)>| -> Vec<String> {
        found.into_iter().map(|(_, t)| t).collect()
    };
    assert_eq!(
        texts(written(&world, child, 1, "out").await),
        ["a\ncopied\n", "null", "c\ncopied\n"]
    );
    assert_eq!(
        texts(written(&world, child, 2, "out").await),
        ["a\ncopied\ncopied\n", "null", "c\ncopied\ncopied\n"]
    );
    // A step inside that is fed by nothing mapped follows the mapping of the subworkflow.
    assert_eq!(
        texts(written(&world, child, 3, "out").await),
        ["x\n", "null", "x\n"]
    );
}

crate::databases::on_postgres_too!(
    crate::databases::on_postgres =>
    a_step_whose_condition_is_false_is_skipped_and_those_behind_it_still_run,
    a_condition_is_decided_for_each_slice_and_its_collection_takes_part_in_the_mapping,
    a_condition_sees_files_lists_and_the_state_of_the_tool,
    a_condition_waits_for_the_dataset_it_looks_at_and_fails_with_it,
    a_condition_that_is_no_boolean_or_cannot_be_evaluated_fails_the_invocation,
    a_subworkflow_whose_condition_is_false_skips_all_inside_without_asking,
    a_subworkflow_that_is_mapped_over_decides_its_condition_for_each_slice,
);
