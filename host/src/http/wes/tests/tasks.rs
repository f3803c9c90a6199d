//! Tasks: one of each kind, ids, pages, and what they cost.

use super::*;

#[tokio::test]
async fn a_step_with_a_single_job_is_one_task() {
    let (server, _tools) = server().await;
    let (id, run) = seeded(&server, Shape::Single, 3).await;
    let tasks = walk(&server, &run, 10).await;
    assert_eq!(tasks.len(), 3);
    let step = step_id(&server, id, 0).await;
    let first = &tasks[0];
    assert_eq!(
        (&first["id"], &first["name"]),
        (&json!(step.to_string()), &json!("seeded"))
    );
    assert_eq!(
        (&first["exit_code"], &first["cmd"]),
        (&json!(0), &json!(["echo seeded"]))
    );
    assert_eq!(first["start_time"], json!("2023-11-14T22:13:20Z"));
    assert_eq!(first["end_time"], json!("2023-11-14T22:13:21Z"));
    let stdout = text(&first["stdout"])
        .strip_prefix("http://localhost")
        .expect("an absolute URL");
    assert_eq!(server.get(stdout).await.body, b"seeded");
    let one = server
        .get(&format!("{ROOT}/runs/{run}/tasks/{step}"))
        .await
        .ok();
    assert_eq!(one, *first);
    refused(
        &server
            .get(&format!("{ROOT}/runs/{run}/tasks/{step}.0"))
            .await,
        404,
    );
}

#[tokio::test]
async fn each_job_of_a_mapped_step_is_a_task() {
    let (server, _tools) = server().await;
    let (id, run) = seeded(&server, Shape::Collection, 5).await;
    let step = step_id(&server, id, 0).await;
    let tasks = walk(&server, &run, 2).await;
    let ids: Vec<&str> = tasks.iter().map(|t| text(&t["id"])).collect();
    let expected: Vec<String> = (0..5).map(|n| format!("{step}.{n}")).collect();
    assert_eq!(ids, expected);
    let one = server
        .get(&format!("{ROOT}/runs/{run}/tasks/{step}.4"))
        .await
        .ok();
    assert_eq!(one, tasks[4]);
    for wrong in [
        step.to_string(),
        format!("{step}.5"),
        format!("{step}.-1"),
        format!("{step}.0.0"),
    ] {
        refused(
            &server
                .get(&format!("{ROOT}/runs/{run}/tasks/{wrong}"))
                .await,
            404,
        );
    }
}

#[tokio::test]
async fn a_step_without_a_job_is_a_task_and_a_subworkflow_names_its_run() {
    let (server, _tools) = server().await;
    let (id, run) = seeded(&server, Shape::Mixed, 10).await;
    let (child, child_run) = seeded(&server, Shape::Collection, 120).await;
    let mut tx = server.app.store.begin().await.unwrap();
    tx.run(
        "UPDATE workflow_invocation SET parent_invocation_id = $1 WHERE id = $2",
        args![id, child],
    )
    .await
    .unwrap();
    tx.run(
        "INSERT INTO workflow_invocation_to_subworkflow_invocation_association (workflow_invocation_id, workflow_step_id, subworkflow_invocation_id)
         SELECT $1, workflow_step_id, $2 FROM workflow_invocation_step WHERE workflow_invocation_id = $1 AND order_index = 0",
        args![id, child],
    ).await.unwrap();
    tx.run("UPDATE workflow_step SET label = 'inner' WHERE id IN (SELECT workflow_step_id FROM workflow_invocation_step WHERE workflow_invocation_id = $1 AND order_index = 0)", args![id]).await.unwrap();
    tx.commit(Durability::Progress, "test").await.unwrap();
    let step = step_id(&server, id, 0).await;
    let task = server
        .get(&format!("{ROOT}/runs/{run}/tasks/{step}"))
        .await
        .ok();
    assert_eq!(task["name"], json!("inner"));
    assert!(task.get("stdout").is_none() && task.get("exit_code").is_none());
    let logs: Vec<&str> = task["system_logs"]
        .as_array()
        .unwrap()
        .iter()
        .map(text)
        .collect();
    assert!(
        logs.contains(&format!("run_id: {child_run}").as_str()),
        "{logs:?}"
    );
    let url = logs
        .iter()
        .find_map(|l| l.strip_prefix("task_logs_url: http://localhost"))
        .expect("a URL");
    assert_eq!(
        server.get(url).await.ok()["task_logs"]
            .as_array()
            .unwrap()
            .len(),
        100
    );
    assert_eq!(walk(&server, &child_run, 50).await.len(), 120);
    let listed = server.get(&format!("{ROOT}/runs")).await.ok();
    assert_eq!(
        listed["runs"].as_array().unwrap().len(),
        1,
        "only the outer run is listed"
    );
    refused(
        &server
            .get(&format!("{ROOT}/runs/{run}/tasks/{step}.0"))
            .await,
        404,
    );
    // A name without label and tool is made of the place.
    let mut tx = server.app.store.begin().await.unwrap();
    tx.run("UPDATE workflow_step SET label = NULL, tool_id = NULL WHERE id IN (SELECT workflow_step_id FROM workflow_invocation_step WHERE id = $1)", args![step]).await.unwrap();
    tx.commit(Durability::Progress, "test").await.unwrap();
    let task = server
        .get(&format!("{ROOT}/runs/{run}/tasks/{step}"))
        .await
        .ok();
    assert_eq!(task["name"], json!("step_0"));
}

#[tokio::test]
async fn ids_that_name_no_task_of_the_run_are_404() {
    let (server, _tools) = server().await;
    let (_, run) = seeded(&server, Shape::Single, 2).await;
    let (other, _) = seeded(&server, Shape::Single, 2).await;
    let others = step_id(&server, other, 0).await;
    for wrong in [
        "x",
        "1.x",
        "1e3",
        "-1",
        "999999",
        "99999999999999999999",
        "%00",
        "%FF",
        "1%2F2",
        &others.to_string(),
    ] {
        let path = format!("{ROOT}/runs/{run}/tasks/{wrong}");
        refused(&server.get(&path).await, 404);
    }
    for wrong in ["x", "%FF", "0000000000000000", "..", "1"] {
        for rest in ["", "/status", "/tasks", "/tasks/1", "/tasks?page_size=x"] {
            refused(
                &server.get(&format!("{ROOT}/runs/{wrong}{rest}")).await,
                404,
            );
        }
        refused(
            &server
                .post(&format!("{ROOT}/runs/{wrong}/cancel"), json!({}))
                .await,
            404,
        );
    }
}

#[tokio::test]
async fn a_large_run_costs_what_its_pages_show() {
    let (server, _tools) = server().await;
    let (mut counts, mut logs) = (Vec::new(), Vec::new());
    for tasks in [3, 130, 2_000] {
        for shape in [Shape::Single, Shape::Collection, Shape::Mixed] {
            let (_, run) = seeded(&server, shape, tasks).await;
            let (first, answer) =
                statements(&server, &format!("{ROOT}/runs/{run}/tasks?page_size=100")).await;
            let page = answer.ok();
            counts.push(first);
            if let token @ 1.. = text(&page["next_page_token"]).len() {
                assert!(token < 400);
                let path = format!(
                    "{ROOT}/runs/{run}/tasks?page_token={}",
                    text(&page["next_page_token"])
                );
                counts.push(statements(&server, &path).await.0);
            }
            let last = page["task_logs"].as_array().unwrap().last().unwrap();
            let path = format!("{ROOT}/runs/{run}/tasks/{}", text(&last["id"]));
            let (one, answer) = statements(&server, &path).await;
            answer.ok();
            assert!(one <= 2, "{one} statements for a task");
            let (log, answer) = statements(&server, &format!("{ROOT}/runs/{run}")).await;
            assert_eq!(answer.ok()["task_logs"], Value::Null);
            logs.push(log);
            assert_eq!(
                statements(&server, &format!("{ROOT}/runs/{run}/status"))
                    .await
                    .0,
                1
            );
            if tasks == 2_000 {
                let walked = walk(&server, &run, 1_000).await;
                let mut ids: Vec<&str> = walked.iter().map(|t| text(&t["id"])).collect();
                ids.sort_unstable();
                ids.dedup();
                assert_eq!(ids.len(), 2_000);
            }
        }
    }
    assert_eq!(counts, vec![3; counts.len()]);
    // The run, its messages, what is held, what was ignored, its outputs and its inputs.
    assert_eq!(logs, vec![6; logs.len()], "statements for a run's log");
}

#[tokio::test]
async fn page_tokens_of_tasks_are_for_one_run_and_cannot_be_made_up() {
    let (server, _tools) = server().await;
    let (_, run) = seeded(&server, Shape::Single, 5).await;
    let (_, other) = seeded(&server, Shape::Single, 5).await;
    let page = server
        .get(&format!("{ROOT}/runs/{run}/tasks?page_size=2"))
        .await
        .ok();
    let token = text(&page["next_page_token"]);
    refused(
        &server
            .get(&format!("{ROOT}/runs/{other}/tasks?page_token={token}"))
            .await,
        400,
    );
    refused(
        &server.get(&format!("{ROOT}/runs?page_token={token}")).await,
        400,
    );
    let mut bytes = URL_SAFE_NO_PAD.decode(token).unwrap();
    let at = bytes.iter().rposition(u8::is_ascii_digit).unwrap();
    bytes[at] ^= 1;
    let forged = URL_SAFE_NO_PAD.encode(bytes);
    refused(
        &server
            .get(&format!("{ROOT}/runs/{run}/tasks?page_token={forged}"))
            .await,
        400,
    );
    // Another process of the same installation reads it.
    let again = crate::http::App::new(
        server.app.store.clone(),
        crate::clock::Clock::system(),
        crate::scheduling::signals::Signals::default(),
        server.app.data.clone(),
        server.app.settings.clone(),
    )
    .await
    .unwrap();
    let restarted = Server {
        router: crate::http::router(again),
        ..server
    };
    let rest = restarted
        .get(&format!(
            "{ROOT}/runs/{run}/tasks?page_size=3&page_token={token}"
        ))
        .await
        .ok();
    assert_eq!(rest["task_logs"].as_array().unwrap().len(), 3);
    assert_eq!(rest["next_page_token"], json!(""));
}

crate::store::testing::on_postgres_too!(
    a_step_with_a_single_job_is_one_task,
    each_job_of_a_mapped_step_is_a_task,
    a_step_without_a_job_is_a_task_and_a_subworkflow_names_its_run,
    ids_that_name_no_task_of_the_run_are_404,
    a_large_run_costs_what_its_pages_show,
    page_tokens_of_tasks_are_for_one_run_and_cannot_be_made_up,
);
