//! Post-job actions.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn intermediates_are_deleted_and_mail_is_written_when_jobs_end() {
    let world = World::new().await;
    let input = world.dataset("x\n").await;
    let delete = json!([{"action_type": "DeleteIntermediatesAction", "output_name": "out", "action_arguments": {}},
                        {"action_type": "EmailAction", "output_name": "out", "action_arguments": {"host": "http://here"}}]);
    let mut last = with_actions(copy(3, 2, "out"), delete);
    last["workflow_outputs"] = json!([{"output_name": "out", "label": "result", "uuid": null}]);
    let id = completed_on(
        &world,
        data(0),
        input,
        vec![copy(1, 0, "output"), copy(2, 1, "out"), last],
    )
    .await;
    let deleted =
        "SELECT CASE WHEN deleted THEN 1 ELSE 0 END FROM history_dataset_association WHERE id = $1";
    assert_eq!(
        number(&world, deleted, output_of(&world, id, 1, "out").await).await,
        1
    );
    assert_eq!(
        number(&world, deleted, output_of(&world, id, 3, "out").await).await,
        0
    );
    assert_eq!(
        number(&world, deleted, input).await,
        0,
        "what was given stays"
    );
    let mails = world
        .rows(
            "SELECT recipient || ' ' || body, id FROM mail WHERE id > $1",
            0,
        )
        .await;
    assert_eq!(mails.len(), 1);
    assert!(
        mails[0]
            .0
            .starts_with("ada@example.org Your job of tool copy"),
        "{mails:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn actions_on_a_mapped_step_change_the_collection_and_its_elements() {
    let world = World::new().await;
    let input = world.list(&["a\n"]).await;
    let actions = json!([
        {"action_type": "RenameDatasetAction", "output_name": "out", "action_arguments": {"newname": "#{input} done"}},
        {"action_type": "TagDatasetAction", "output_name": "out", "action_arguments": {"tags": "#x,y"}},
        {"action_type": "ChangeDatatypeAction", "output_name": "out", "action_arguments": {"newtype": "bed"}},
        {"action_type": "HideDatasetAction", "output_name": "out", "action_arguments": {}}]);
    let id = completed_on(
        &world,
        list(0),
        input,
        vec![with_actions(copy(1, 0, "output"), actions)],
    )
    .await;
    let made = world.rows(
        "SELECT c.name || ' ' || c.tags || CASE WHEN c.visible THEN ' seen' ELSE ' hidden' END, c.id FROM history_dataset_collection_association c
         WHERE c.implicit_output_name = 'out' AND c.history_id = $1",
        world.history,
    ).await;
    assert_eq!(made[0].0, "list done [\"name:x\",\"y\"] hidden");
    let element = output_of(&world, id, 1, "out").await;
    let shown = world.rows("SELECT name || ' ' || extension || ' ' || tags, id FROM history_dataset_association WHERE id = $1", element).await;
    assert_eq!(shown[0].0, "in.txt done bed [\"name:x\",\"y\"]");
}

#[tokio::test(flavor = "multi_thread")]
async fn name_tags_of_inputs_go_to_the_outputs() {
    let world = World::new().await;
    let input = world.dataset("x\n").await;
    let tagged =
        "UPDATE history_dataset_association SET tags = '[\"name:s1\",\"other\"]' WHERE id = $1";
    world.change(tagged, args![input]).await;
    let id = completed_on(&world, data(0), input, vec![copy(1, 0, "output")]).await;
    let made = output_of(&world, id, 1, "out").await;
    let tags = "SELECT tags, id FROM history_dataset_association WHERE id = $1";
    assert_eq!(world.text(tags, made).await, "[\"name:s1\"]");
}

#[tokio::test(flavor = "multi_thread")]
async fn actions_that_come_with_the_request_are_carried_out_like_those_of_the_workflow() {
    let world = World::new().await;
    let input = world.dataset("x\n").await;
    let workflow = steps(vec![data(0), copy(1, 0, "output")]);
    let id = world
        .invoke_changed(workflow, &[(0, "hda", input)], |new, _| {
            let given = json!({
                "a": {"action_type": "RenameDatasetAction", "output_name": "out", "action_arguments": {"newname": "of #{input}"}},
                "b": {"action_type": "HideDatasetAction", "output_name": "out"}
            });
            let actions = barycenter::model::runtime_actions::read(&given).expect("actions");
            barycenter::model::runtime_actions::put(&mut new.step_states[1].1, &actions);
        })
        .await;
    world.wait_for(id, "completed").await;
    let made = output_of(&world, id, 1, "out").await;
    let shown = "SELECT name || CASE WHEN visible THEN ' seen' ELSE ' hidden' END, id FROM history_dataset_association WHERE id = $1";
    assert_eq!(world.text(shown, made).await, "of in.txt hidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_is_hidden_only_when_its_job_succeeds_and_mail_is_written_also_when_it_fails() {
    let world = World::new().await;
    let input = world.dataset("x\n").await;
    let actions = json!([
        {"action_type": "HideDatasetAction", "output_name": "out", "action_arguments": {}},
        {"action_type": "EmailAction", "output_name": "out", "action_arguments": {"host": "http://here"}}]);
    let id = completed_on(
        &world,
        data(0),
        input,
        vec![
            with_actions(copy(1, 0, "output"), actions.clone()),
            with_actions(run_on(2, "fail", 0, "output"), actions),
        ],
    )
    .await;
    let visible =
        "SELECT CASE WHEN visible THEN 1 ELSE 0 END FROM history_dataset_association WHERE id = $1";
    for (step, seen) in [(1, 0), (2, 1)] {
        let made = output_of(&world, id, step, "out").await;
        assert_eq!(number(&world, visible, made).await, seen);
    }
    let mails = world
        .rows("SELECT body, id FROM mail WHERE id > $1", 0)
        .await;
    assert_eq!(mails.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_are_set_and_results_are_validated_when_the_job_ends() {
    let world = World::new().await;
    let columns = json!([
        {"action_type": "ColumnSetAction", "output_name": "out", "action_arguments": {"chromCol": "c3", "startCol": "2"}}]);
    let validated = json!([
        {"action_type": "ChangeDatatypeAction", "output_name": "out", "action_arguments": {"newtype": "json"}},
        {"action_type": "ValidateOutputsAction", "output_name": "", "action_arguments": {}}]);
    let workflow = steps(vec![
        with_actions(tool(0, "table", "1", json!({}), &[]), columns),
        with_actions(tool(1, "write", "1", json!({"text": "12"}), &[]), validated),
    ]);
    let id = world.invoke(workflow, &[]).await;
    world.wait_for(id, "completed").await;
    let made = output_of(&world, id, 0, "out").await;
    let stored = "SELECT metadata, id FROM history_dataset_association WHERE id = $1";
    let stored = world.text(stored, made).await;
    let metadata: Value = serde_json::from_str(&stored).expect("JSON");
    assert_eq!(
        (&metadata["chromCol"], &metadata["startCol"]),
        (&json!(3), &json!(2))
    );
    let validated = "SELECT validated_state, id FROM history_dataset_association WHERE id = $1";
    let looked_at = output_of(&world, id, 1, "out").await;
    assert_eq!(world.text(validated, looked_at).await, "ok");
    assert_eq!(world.text(validated, made).await, "unknown");
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_are_taken_away_and_intermediates_stay_where_no_output_is_declared() {
    let world = World::new().await;
    let input = world.dataset("x\n").await;
    world
        .change(
            "UPDATE history_dataset_association SET tags = '[\"name:a\",\"name:b\"]' WHERE id = $1",
            args![input],
        )
        .await;
    let remove = json!([{"action_type": "RemoveTagDatasetAction", "output_name": "", "action_arguments": {"tags": "#a"}}]);
    let delete = json!([{"action_type": "DeleteIntermediatesAction", "output_name": "out", "action_arguments": {}}]);
    let id = completed_on(
        &world,
        data(0),
        input,
        vec![
            with_actions(copy(1, 0, "output"), remove),
            with_actions(copy(2, 1, "out"), delete),
        ],
    )
    .await;
    let first = output_of(&world, id, 1, "out").await;
    let shown = "SELECT tags || CASE WHEN deleted THEN ' deleted' ELSE '' END, id FROM history_dataset_association WHERE id = $1";
    assert_eq!(world.text(shown, first).await, "[\"name:b\"]");
}

crate::databases::on_postgres_too!(
    crate::databases::on_postgres =>
    intermediates_are_deleted_and_mail_is_written_when_jobs_end,
    actions_on_a_mapped_step_change_the_collection_and_its_elements,
    name_tags_of_inputs_go_to_the_outputs,
    actions_that_come_with_the_request_are_carried_out_like_those_of_the_workflow,
    an_output_is_hidden_only_when_its_job_succeeds_and_mail_is_written_also_when_it_fails,
    columns_are_set_and_results_are_validated_when_the_job_ends,
    tags_are_taken_away_and_intermediates_stay_where_no_output_is_declared,
);
