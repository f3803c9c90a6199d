//! From a tool step to its jobs.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_step_whose_tool_is_gone_fails_the_invocation_with_its_name() {
    let world = World::new().await;
    let id = world
        .invoke(steps(vec![step(0, "tool", Some("vanished"), &[])]), &[])
        .await;
    world.wait_for(id, "failed").await;
    let said = said(&world, id).await;
    assert_eq!(said.about(), ("unexpected_failure", Some("s0")));
    assert!(said.details.expect("a sentence").contains("vanished"));
    // Its row stays as it was when it was reached.
    assert_eq!(reached(&world, id).await, ["s0 new"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_the_tool_refuses_fails_the_invocation() {
    let world = World::new().await;
    let id = world
        .invoke(
            steps(vec![
                parameter(0, "integer", json!(101)),
                tool(1, "number", "1", json!({}), &[("n", 0, "output")]),
            ]),
            &[],
        )
        .await;
    world.wait_for(id, "failed").await;
    let said = said(&world, id).await;
    assert_eq!(said.about(), ("workflow_parameter_invalid", Some("s1")));
    assert!(
        said.details
            .expect("names and errors")
            .starts_with("n: 101 is more than 100")
    );
    assert!(world.jobs(id).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_dataset_among_the_parameters_fails_the_invocation() {
    let world = World::new().await;
    let gone = world.dataset("x\n").await;
    world
        .change(
            "UPDATE history_dataset_association SET deleted = TRUE WHERE id = $1",
            args![gone],
        )
        .await;
    let workflow = steps(vec![tool(0, "copy", "1", json!({}), &[])]);
    let id = world
        .invoke_changed(workflow, &[], |new, _| {
            new.step_states[0].1 = json!({"input": {"src": "hda", "id": gone}});
        })
        .await;
    world.wait_for(id, "failed").await;
    let said = said(&world, id).await;
    assert_eq!(
        (said.reason.as_str(), said.hda_id),
        ("step_input_deleted", Some(gone))
    );
    assert!(said.details.expect("a sentence").starts_with("input: "));
    assert_eq!(said.step.as_deref(), Some("s0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_without_its_stored_state_fails_the_invocation() {
    let world = World::new().await;
    let workflow = steps(vec![step(0, "tool", Some("write"), &[])]);
    let id = world
        .invoke_changed(workflow, &[], |new, _| new.step_states.clear())
        .await;
    world.wait_for(id, "failed").await;
    assert_eq!(
        said(&world, id).await.details.as_deref(),
        Some("no step state for step 1")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mapped_step_is_expanded_in_parts_under_the_job_cap_without_duplicates() {
    let mut world = World::new().await;
    world.stop().await;
    world.job_cap = 2;
    world.start().await;
    let input = world.list(&["a\n", "b\n", "c\n", "d\n", "e\n"]).await;
    let id = completed_on(
        &world,
        list(0),
        input,
        vec![
            with_output(copy(1, 0, "output"), "out", "result"),
            copy(2, 1, "out"),
        ],
    )
    .await;
    assert_eq!(world.jobs(id).await, ["ok"; 10]);
    let last = texts_of(&world, id, 2, "out").await;
    assert_eq!(last[4], "e\ncopied\ncopied\n");
    let slices =
        "SELECT COUNT(DISTINCT a.order_index) FROM implicit_collection_jobs_job_association a
         JOIN job j ON j.id = a.job_id WHERE j.workflow_invocation_id = $1";
    assert_eq!(number(&world, slices, id).await, 5);
    for links in [
        "SELECT COUNT(*) FROM workflow_invocation_step_output_dataset_collection_association o
         JOIN workflow_invocation_step s ON s.id = o.workflow_invocation_step_id WHERE s.workflow_invocation_id = $1 AND s.order_index > 0",
        "SELECT COUNT(*) + 1 FROM workflow_invocation_output_dataset_collection_association WHERE workflow_invocation_id = $1",
    ] {
        assert_eq!(number(&world, links, id).await, 2, "each output is recorded once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_collection_makes_no_jobs_and_an_empty_collection() {
    let world = World::new().await;
    let empty = world.list(&[]).await;
    let id = completed_on(
        &world,
        list(0),
        empty,
        vec![copy(1, 0, "output"), copy(2, 1, "out")],
    )
    .await;
    assert!(world.jobs(id).await.is_empty());
    let (_, made) = collection_of(&world, id, 2, "out").await;
    let populated = world
        .rows(
            "SELECT c.populated_state, c.element_count FROM history_dataset_collection_association a
             JOIN dataset_collection c ON c.id = a.collection_id WHERE a.id = $1",
            made,
        )
        .await;
    assert_eq!(populated, [("ok".to_owned(), 0)]);
    let group = "SELECT g.populated_state, g.id FROM workflow_invocation_step s JOIN implicit_collection_jobs g
         ON g.id = s.implicit_collection_jobs_id WHERE s.workflow_invocation_id = $1 AND s.order_index = 2";
    assert_eq!(world.text(group, id).await, "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_carry_what_only_the_server_says_about_them() {
    let world = World::new().await;
    let input = world.dataset("x\n").await;
    let checked = with_actions(
        when(copy(1, 0, "output"), "$(true)"),
        json!([{"action_type": "ValidateOutputsAction", "output_name": "out", "action_arguments": {}}]),
    );
    let parameter = |kind, name: &str, value: &str| RequestParameter {
        kind,
        name: name.to_owned(),
        value: value.to_owned(),
        step_id: None,
    };
    let request = vec![
        parameter(RequestParameterKind::Resource, "cores", "4"),
        parameter(RequestParameterKind::Meta, meta::USE_CACHED_JOB, "true"),
    ];
    let id = world
        .invoke_with(steps(vec![data(0), checked]), &[(0, "hda", input)], request)
        .await;
    world.wait_for(id, "completed").await;
    let stored = world
        .rows(
            r"SELECT p.name || ' ' || p.value, p.job_id FROM job_parameter p JOIN job j ON j.id = p.job_id
             WHERE j.workflow_invocation_id = $1 AND p.name LIKE '\_\_%' ESCAPE '\' ORDER BY p.name",
            id,
        )
        .await;
    let stored: Vec<&str> = stored.iter().map(|(text, _)| text.as_str()).collect();
    let uuid = world
        .rows("SELECT uuid, id FROM workflow_invocation WHERE id = $1", id)
        .await;
    let wanted = [
        "__use_cached_job__ true",
        "__validate_outputs__ true",
        "__when_value__ true",
        &format!(
            "__workflow_invocation_uuid__ \"{}\"",
            uuid[0].0.replace('-', "")
        ),
        "__workflow_resource_params__ {\"cores\":\"4\"}",
    ];
    assert_eq!(stored, wanted);
}

crate::databases::on_postgres_too!(
    crate::databases::on_postgres =>
    a_step_whose_tool_is_gone_fails_the_invocation_with_its_name,
    a_value_that_the_tool_refuses_fails_the_invocation,
    a_deleted_dataset_among_the_parameters_fails_the_invocation,
    a_step_without_its_stored_state_fails_the_invocation,
    a_mapped_step_is_expanded_in_parts_under_the_job_cap_without_duplicates,
    an_empty_collection_makes_no_jobs_and_an_empty_collection,
    jobs_carry_what_only_the_server_says_about_them,
);
