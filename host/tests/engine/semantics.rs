//! Galaxy's semantics of workflows, from a stored workflow to what its jobs wrote. Each test is named after what holds.

use super::*;

/// A dataset's content by hda, with its state and name.
async fn content(world: &World, hda: i64) -> (String, String, String) {
    let row = world
        .store
        .reader()
        .maybe(
            "SELECT a.dataset_id, d.state, a.name FROM history_dataset_association a JOIN dataset d ON d.id = a.dataset_id WHERE a.id = $1",
            args![hda],
        )
        .await
        .expect("reads")
        .expect("there");
    let dataset: i64 = row.get(0).expect("id");
    let text = std::fs::read_to_string(world.services().data.dataset(dataset));
    (
        text.unwrap_or_default(),
        row.get(1).expect("state"),
        row.get(2).expect("name"),
    )
}

/// An output of the step with this number in the file (its label tells, as an import numbers anew): the hda, or the elements of the hdca as (identifier, hda).
async fn outputs_of(world: &World, invocation: i64, step: i64, output: &str) -> Vec<(String, i64)> {
    let mut reader = world.store.reader();
    let rows = reader
        .all(
            "SELECT '', o.dataset_id FROM workflow_invocation_step s
             JOIN workflow_step w ON w.id = s.workflow_step_id
             JOIN workflow_invocation_step_output_dataset_association o ON o.workflow_invocation_step_id = s.id
             WHERE s.workflow_invocation_id = $1 AND w.label = $2 AND o.output_name = $3",
            args![invocation, format!("s{step}"), output],
        )
        .await
        .expect("reads");
    let rows = match rows.is_empty() {
        false => rows,
        true => reader
            .all(
                "SELECT e.element_identifier, e.hda_id FROM workflow_invocation_step s
                 JOIN workflow_step w ON w.id = s.workflow_step_id
                 JOIN workflow_invocation_step_output_dataset_collection_association o ON o.workflow_invocation_step_id = s.id
                 JOIN history_dataset_collection_association c ON c.id = o.dataset_collection_id
                 JOIN dataset_collection_element e ON e.dataset_collection_id = c.collection_id
                 WHERE s.workflow_invocation_id = $1 AND w.label = $2 AND o.output_name = $3 ORDER BY e.element_index",
                args![invocation, format!("s{step}"), output],
            )
            .await
            .expect("reads"),
    };
    rows.iter()
        .map(|row| {
            let hda: Option<i64> = row.get(1).expect("id");
            (row.get(0).expect("text"), hda.unwrap_or_default())
        })
        .collect()
}

async fn number(world: &World, sql: &'static str, id: i64) -> i64 {
    let row = world.store.reader().maybe(sql, args![id]).await;
    row.expect("reads")
        .expect("a row")
        .get(0)
        .expect("a number")
}

/// Waits until a question about the database is answered with `wanted`.
async fn wait_until(world: &World, sql: &'static str, id: i64, wanted: i64) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let found = number(world, sql, id).await;
        if found == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "{sql}: {found}, not {wanted}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A tool step with its state, and actions when its jobs end.
fn tool(id: usize, tool: &str, version: &str, state: Value, from: &[(&str, usize, &str)]) -> Value {
    let mut made = step(id, "tool", Some(tool), from);
    made["tool_version"] = version.into();
    let mut state = state;
    for (name, ..) in from {
        let marker = json!({"__class__": "ConnectedValue"});
        set(&mut state, name, marker);
    }
    made["tool_state"] = state.to_string().into();
    made
}

/// Puts a value at a pipe path; repeats are lists already.
fn set(state: &mut Value, path: &str, value: Value) {
    match path.split_once('|') {
        None => state[path] = value,
        Some((first, rest)) => match first.rsplit_once('_').map(|(n, i)| (n, i.parse::<usize>())) {
            Some((name, Ok(index))) if state[name].is_array() => {
                set(&mut state[name][index], rest, value);
            }
            _ => set(&mut state[first], rest, value),
        },
    }
}

fn with_actions(mut step: Value, actions: Value) -> Value {
    let mut keyed = serde_json::Map::new();
    for action in actions.as_array().expect("a list") {
        let key = format!("{}{}", action["action_type"], action["output_name"]);
        keyed.insert(key, action.clone());
    }
    step["post_job_actions"] = Value::Object(keyed);
    step
}

fn data(id: usize) -> Value {
    step(id, "data_input", None, &[])
}

fn list(id: usize) -> Value {
    let mut made = step(id, "data_collection_input", None, &[]);
    made["tool_state"] = json!({"collection_type": "list"}).to_string().into();
    made
}

fn parameter(id: usize, kind: &str, value: Value) -> Value {
    let mut made = step(id, "parameter_input", None, &[]);
    made["tool_state"] = json!({"parameter_type": kind, "optional": true, "default": value})
        .to_string()
        .into();
    made
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_waits_for_the_states_of_a_mapped_step_and_shares_what_is_ok() {
    let world = World::new().await;
    let input = world.list(&["good\n", "bad\n", "fine\n"]).await;
    let id = world
        .invoke(
            steps(vec![
                list(0),
                step(1, "tool", Some("flaky"), &[("input", 0, "output")]),
                tool(
                    2,
                    "__FILTER_FAILED_DATASETS__",
                    "1.0.0",
                    json!({}),
                    &[("input", 1, "out")],
                ),
                step(3, "tool", Some("copy"), &[("input", 2, "output")]),
            ]),
            &[(0, "hdca", input)],
        )
        .await;
    world.wait_for(id, "completed").await;
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
                step(2, "tool", Some("copy"), &[("input", 0, "output")]),
                step(3, "tool", Some("copy"), &[("input", 1, "output")]),
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
                step(6, "tool", Some("copy"), &[("input", 5, "reverse")]),
            ]),
            &[(0, "hda", one), (1, "hda", two)],
        )
        .await;
    world.wait_for(id, "completed").await;
    let last = outputs_of(&world, id, 6, "out").await;
    assert_eq!(content(&world, last[0].1).await.0, "b\ncopied\ncopied\n");
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
    let id = world
        .invoke(
            steps(vec![
                list(0),
                tool(
                    1,
                    "__EXTRACT_DATASET__",
                    "1.0.2",
                    json!({"which": {"which_dataset": "by_index", "index": 7}}),
                    &[("input", 0, "output")],
                ),
            ]),
            &[(0, "hdca", input)],
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

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_is_fed_by_an_expression_tool() {
    let world = World::new().await;
    let input = world.dataset("from a file\n").await;
    let id = world
        .invoke(
            steps(vec![
                data(0),
                tool(
                    1,
                    "param_value_from_file",
                    "0.1.0",
                    json!({"param_type": "text", "remove_newlines": true}),
                    &[("input1", 0, "output")],
                ),
                tool(2, "write", "1", json!({}), &[("text", 1, "text_param")]),
            ]),
            &[(0, "hda", input)],
        )
        .await;
    world.wait_for(id, "completed").await;
    let written = outputs_of(&world, id, 2, "out").await;
    assert_eq!(content(&world, written[0].1).await.0, "from a file\n");
    // Only the output of the type that was asked for is there.
    assert!(outputs_of(&world, id, 1, "integer_param").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expression_that_refuses_fails_its_job_and_the_parameter_behind_it() {
    let world = World::new().await;
    let input = world.dataset("no number\n").await;
    let id = world
        .invoke(
            steps(vec![
                data(0),
                tool(
                    1,
                    "param_value_from_file",
                    "0.1.0",
                    json!({"param_type": "integer", "remove_newlines": true}),
                    &[("input1", 0, "output")],
                ),
                tool(2, "write", "1", json!({}), &[("text", 1, "integer_param")]),
            ]),
            &[(0, "hda", input)],
        )
        .await;
    world.wait_for(id, "failed").await;
    assert_eq!(world.jobs(id).await, ["error"]);
    let messages = world.rows("SELECT reason, hda_id FROM workflow_invocation_message WHERE workflow_invocation_id = $1", id).await;
    assert_eq!(messages[0].0, "dataset_failed");
    assert_eq!(
        messages[0].1,
        outputs_of(&world, id, 1, "integer_param").await[0].1
    );
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
        step(3, "tool", Some("copy"), &[("input", 0, "output")]),
        pick,
        step(5, "tool", Some("copy"), &[("input", 4, "output")]),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn pick_value_hands_on_the_first_branch_that_was_not_skipped() {
    let world = World::new().await;
    let input = world.dataset("x\n").await;
    for wanted in [true, false] {
        let mut pick = step(
            4,
            "pick_value",
            None,
            &[("input_0", 2, "out"), ("input_1", 3, "out")],
        );
        pick["tool_state"] = json!({"mode": "first_non_null", "num_inputs": 2})
            .to_string()
            .into();
        let id = world
            .invoke(branches(pick, wanted), &[(0, "hda", input)])
            .await;
        world.wait_for(id, "completed").await;
        let picked = outputs_of(&world, id, 4, "output").await;
        let from = if wanted { 2 } else { 3 };
        assert_eq!(picked, outputs_of(&world, id, from, "out").await);
        let last = outputs_of(&world, id, 5, "out").await;
        assert_eq!(content(&world, last[0].1).await.0, "x\ncopied\ncopied\n");
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
    let picked = outputs_of(&world, id, 4, "data_param").await[0].1;
    let source = outputs_of(&world, id, 3, "out").await[0].1;
    assert_eq!(
        number(&world, dataset, picked).await,
        number(&world, dataset, source).await
    );
    let last = outputs_of(&world, id, 5, "out").await;
    assert_eq!(content(&world, last[0].1).await.0, "x\ncopied\ncopied\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rerun_takes_the_failed_jobs_place_and_those_behind_it_go_on() {
    let world = World::new().await;
    let (bad, good) = (world.dataset("bad\n").await, world.dataset("good\n").await);
    let id = world
        .invoke(
            steps(vec![
                data(0),
                step(1, "tool", Some("flaky"), &[("input", 0, "output")]),
                step(2, "tool", Some("copy"), &[("input", 1, "out")]),
                step(3, "tool", Some("copy"), &[("input", 2, "out")]),
            ]),
            &[(0, "hda", bad)],
        )
        .await;
    world.wait_for(id, "completed").await;
    assert_eq!(world.jobs(id).await, ["error", "paused", "paused"]);
    let failed = number(
        &world,
        "SELECT id FROM job WHERE state = 'error' AND workflow_invocation_id = $1",
        id,
    )
    .await;
    let hids = "SELECT CAST(hid AS TEXT) || ' ' || CAST(dataset_id AS TEXT), id FROM history_dataset_association WHERE history_id = $1 ORDER BY id";
    let before = world.rows(hids, world.history).await;
    let services = world.services();
    let flaky = services.toolbox.get("flaky", None).expect("there").tool;
    let state = json!({"input": {"src": "hda", "id": good}});
    let request = || barycenter::scheduling::requests::ToolRequest {
        user_id: world.user,
        history_id: world.history,
        tool: &flaky,
        dynamic_tool_id: None,
        state: &state,
        mapped: &[],
        use_cached_job: false,
        in_place_of: Some(failed),
    };
    let made = barycenter::scheduling::requests::run_tool(&services, request())
        .await
        .expect("runs");
    wait_until(
        &world,
        "SELECT COUNT(*) FROM job WHERE workflow_invocation_id = $1 AND state = 'ok'",
        id,
        3,
    )
    .await;
    assert_eq!(
        world.rows(hids, world.history).await,
        before,
        "ids, numbers and datasets stay"
    );
    let last = outputs_of(&world, id, 3, "out").await;
    assert_eq!(
        content(&world, last[0].1).await.0,
        "good\nflaky\ncopied\ncopied\n"
    );
    let of_step = number(&world, "SELECT job_id FROM workflow_invocation_step WHERE order_index = 1 AND workflow_invocation_id = $1", id).await;
    assert_eq!([of_step], made.jobs.as_slice());
    let again = barycenter::scheduling::requests::run_tool(
        &services,
        barycenter::scheduling::requests::ToolRequest {
            in_place_of: Some(of_step),
            ..request()
        },
    )
    .await;
    assert!(again.is_err(), "a job that did not fail keeps its place");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rerun_mends_one_element_of_a_collection() {
    let world = World::new().await;
    let input = world.list(&["a\n", "bad\n"]).await;
    let good = world.dataset("mended\n").await;
    let id = world
        .invoke(
            steps(vec![
                list(0),
                step(1, "tool", Some("flaky"), &[("input", 0, "output")]),
                step(2, "tool", Some("copy"), &[("input", 1, "out")]),
            ]),
            &[(0, "hdca", input)],
        )
        .await;
    world.wait_for(id, "completed").await;
    let failed = number(
        &world,
        "SELECT id FROM job WHERE state = 'error' AND workflow_invocation_id = $1",
        id,
    )
    .await;
    let before = outputs_of(&world, id, 2, "out").await;
    let services = world.services();
    let flaky = services.toolbox.get("flaky", None).expect("there").tool;
    let state = json!({"input": {"src": "hda", "id": good}});
    let request = barycenter::scheduling::requests::ToolRequest {
        user_id: world.user,
        history_id: world.history,
        tool: &flaky,
        dynamic_tool_id: None,
        state: &state,
        mapped: &[],
        use_cached_job: false,
        in_place_of: Some(failed),
    };
    barycenter::scheduling::requests::run_tool(&services, request)
        .await
        .expect("runs");
    wait_until(
        &world,
        "SELECT COUNT(*) FROM job WHERE workflow_invocation_id = $1 AND state = 'ok'",
        id,
        4,
    )
    .await;
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
    let id = world
        .invoke(
            steps(vec![
                data(0),
                step(1, "tool", Some("sleep"), &[("input", 0, "output")]),
                step(2, "tool", Some("copy"), &[("input", 1, "out")]),
            ]),
            &[(0, "hda", input)],
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
async fn intermediates_are_deleted_and_mail_is_written_when_jobs_end() {
    let world = World::new().await;
    let input = world.dataset("x\n").await;
    let delete = json!([{"action_type": "DeleteIntermediatesAction", "output_name": "out", "action_arguments": {}},
                        {"action_type": "EmailAction", "output_name": "out", "action_arguments": {"host": "http://here"}}]);
    let mut last = with_actions(
        step(3, "tool", Some("copy"), &[("input", 2, "out")]),
        delete,
    );
    last["workflow_outputs"] = json!([{"output_name": "out", "label": "result", "uuid": null}]);
    let id = world
        .invoke(
            steps(vec![
                data(0),
                step(1, "tool", Some("copy"), &[("input", 0, "output")]),
                step(2, "tool", Some("copy"), &[("input", 1, "out")]),
                last,
            ]),
            &[(0, "hda", input)],
        )
        .await;
    world.wait_for(id, "completed").await;
    let deleted =
        "SELECT CASE WHEN deleted THEN 1 ELSE 0 END FROM history_dataset_association WHERE id = $1";
    assert_eq!(
        number(&world, deleted, outputs_of(&world, id, 1, "out").await[0].1).await,
        1
    );
    assert_eq!(
        number(&world, deleted, outputs_of(&world, id, 3, "out").await[0].1).await,
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
    let id = world
        .invoke(
            steps(vec![
                list(0),
                with_actions(
                    step(1, "tool", Some("copy"), &[("input", 0, "output")]),
                    actions,
                ),
            ]),
            &[(0, "hdca", input)],
        )
        .await;
    world.wait_for(id, "completed").await;
    let made = world.rows(
        "SELECT c.name || ' ' || c.tags || CASE WHEN c.visible THEN ' seen' ELSE ' hidden' END, c.id FROM history_dataset_collection_association c
         WHERE c.implicit_output_name = 'out' AND c.history_id = $1",
        world.history,
    ).await;
    assert_eq!(made[0].0, "list done [\"name:x\",\"y\"] hidden");
    let element = outputs_of(&world, id, 1, "out").await[0].1;
    let shown = world.rows("SELECT name || ' ' || extension || ' ' || tags, id FROM history_dataset_association WHERE id = $1", element).await;
    assert_eq!(shown[0].0, "in.txt done bed [\"name:x\",\"y\"]");
}

#[tokio::test(flavor = "multi_thread")]
async fn name_tags_of_inputs_go_to_the_outputs() {
    let world = World::new().await;
    let input = world.dataset("x\n").await;
    let mut tx = world.store.begin().await.expect("begins");
    tx.run(
        "UPDATE history_dataset_association SET tags = '[\"name:s1\",\"other\"]' WHERE id = $1",
        args![input],
    )
    .await
    .expect("set");
    tx.commit(Durability::Acknowledged, "test")
        .await
        .expect("commits");
    let id = world
        .invoke(
            steps(vec![
                data(0),
                step(1, "tool", Some("copy"), &[("input", 0, "output")]),
            ]),
            &[(0, "hda", input)],
        )
        .await;
    world.wait_for(id, "completed").await;
    let made = outputs_of(&world, id, 1, "out").await[0].1;
    let tags = world
        .rows(
            "SELECT tags, id FROM history_dataset_association WHERE id = $1",
            made,
        )
        .await;
    assert_eq!(tags[0].0, "[\"name:s1\"]");
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
            step(2, "tool", Some("copy"), &[("input", 0, "output")]),
            step(3, "tool", Some("copy"), &[("input", 1, "output")]),
            step(4, "tool", Some("copy"), &[("input", 2, "out")]),
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
    let copied = "SELECT COUNT(*) FROM job WHERE copied_from_job_id IS NOT NULL AND command_line IS NULL AND workflow_invocation_id = $1";
    assert_eq!(number(&world, copied, second).await, 4);
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
    let deleted = outputs_of(&world, first, 2, "out").await[0].1;
    let mut tx = world.store.begin().await.expect("begins");
    tx.run("UPDATE history_dataset_association SET deleted = TRUE WHERE dataset_id = (SELECT s.dataset_id FROM history_dataset_association s WHERE s.id = $1)", args![deleted]).await.expect("set");
    tx.commit(Durability::Acknowledged, "test")
        .await
        .expect("commits");
    let third = world
        .invoke_cached(workflow(), &[(0, "hda", input), (1, "hdca", items)])
        .await;
    world.wait_for(third, "completed").await;
    assert_eq!(
        number(&world, copied, third).await,
        2,
        "what was deleted, and what was made of it, is made anew"
    );
}

crate::databases::on_postgres_too!(
    crate::databases::on_postgres =>
    a_filter_waits_for_the_states_of_a_mapped_step_and_shares_what_is_ok,
    an_operation_that_only_arranges_does_not_wait_and_its_names_learn_what_the_job_found,
    an_operation_is_mapped_like_any_tool,
    an_operation_that_cannot_be_done_fails_the_invocation_with_a_sentence,
    a_parameter_is_fed_by_an_expression_tool,
    an_expression_that_refuses_fails_its_job_and_the_parameter_behind_it,
    pick_value_hands_on_the_first_branch_that_was_not_skipped,
    the_pick_value_tool_hands_its_dataset_on_without_a_copy,
    a_rerun_takes_the_failed_jobs_place_and_those_behind_it_go_on,
    a_rerun_mends_one_element_of_a_collection,
    deleting_a_history_stops_the_jobs_of_a_scheduled_invocation,
    intermediates_are_deleted_and_mail_is_written_when_jobs_end,
    actions_on_a_mapped_step_change_the_collection_and_its_elements,
    name_tags_of_inputs_go_to_the_outputs,
    a_second_run_takes_the_results_of_the_first_and_runs_nothing,
);
