//! Jobs: how they end, what they leave, how they are stopped, how many run at once.

use std::fs;

use barycenter_tests::client::{step, text};
use barycenter_tests::{Client, Setup, TestServer, eventually, processes, workflows};
use serde_json::json;

/// Runs one script on a dataset; returns its invocation.
fn run(ada: &Client, script: &str) -> String {
    run_steps(ada, &[("work", script, "data")])
}

fn run_steps(ada: &Client, steps: &[(&str, &str, &str)]) -> String {
    ada.invoke_on(&workflows::steps(steps), "hello\n")
}

/// The state of a step's output dataset.
fn output_state(ada: &Client, invocation: &str, label: &str) -> String {
    let step = step(&ada.invocation(invocation), label).expect("the step was reached");
    let id = text(&step["outputs"]["out"], "id");
    text(&ada.get(&format!("/api/datasets/{id}")).ok(), "state")
}

#[test]
fn a_failed_job_pauses_those_that_need_it_and_the_invocation_completes() {
    let server = TestServer::start();
    let ada = server.client();
    let invocation = run_steps(
        &ada,
        &[
            ("bad", "echo oh >&2; echo so far; exit 3", "data"),
            ("next", "cat $INPUT > out.txt", "bad/out"),
            ("after", "cat $INPUT > out.txt", "next/out"),
            ("other", "cat $INPUT > out.txt", "data"),
        ],
    );
    let done = ada.wait_for_state(&invocation, &["completed"]);
    let job = ada.wait_for_job(&invocation, "bad", &["error"]);
    assert_eq!(job["exit_code"], 3);
    assert_eq!(
        (text(&job, "stdout"), text(&job, "stderr")),
        ("so far\n".into(), "oh\n".into())
    );
    ada.wait_for_job(&invocation, "next", &["paused"]);
    ada.wait_for_job(&invocation, "after", &["paused"]);
    assert_eq!(ada.output(&done, "other_out"), "hello\n");
    let states = ["bad", "next", "after"].map(|label| output_state(&ada, &invocation, label));
    assert_eq!(states, ["error", "paused", "paused"]);
    let summary = ada
        .get(&format!("/api/invocations/{invocation}/jobs_summary"))
        .ok();
    assert_eq!(
        summary["states"],
        json!({"error": 1, "paused": 2, "ok": 1}),
        "{summary:#}"
    );
}

#[test]
fn resumed_jobs_run_once_their_input_is_ok_again() {
    let server = TestServer::start();
    let ada = server.client();
    let invocation = ada.invoke_on(workflows::REVIEWED, "hello\n");
    let review = ada.wait_for_step(&invocation, "review", "scheduled");
    ada.wait_for_job(&invocation, "first", &["ok"]);
    let first = step(&ada.invocation(&invocation), "first").expect("it was reached");
    let copied = format!("/api/datasets/{}", text(&first["outputs"]["out"], "id"));
    ada.delete(&copied).ok();
    ada.act(&invocation, &text(&review, "id"), &json!(true))
        .ok();
    let paused = ada.wait_for_job(&invocation, "second", &["paused"]);
    let resume = format!("/api/jobs/{}/resume", text(&paused, "id"));
    // Its input is still gone: it is paused again.
    ada.put(&resume, &json!({})).ok();
    ada.wait_for_job(&invocation, "second", &["paused"]);
    ada.put(&copied, &json!({"deleted": false})).ok();
    ada.put(&resume, &json!({})).ok();
    ada.wait_for_job(&invocation, "second", &["ok"]);
    let done = ada.wait_for_state(&invocation, &["completed"]);
    assert_eq!(ada.output(&done, "after"), "hello\ncopied\ncopied\n");
}

#[test]
fn cancelling_an_invocation_ends_the_whole_process_group_of_its_jobs() {
    let server = TestServer::start();
    let ada = server.client();
    let folder = server.folder().display().to_string();
    let script =
        format!("sleep 601 & sleep 602 & echo $! > {folder}/child; sh -c 'sleep 603' & wait");
    let invocation = run_steps(
        &ada,
        &[
            ("work", &script, "data"),
            ("next", "cat $INPUT > out.txt", "work/out"),
        ],
    );
    eventually("the children start", || server.job_processes().len() >= 4);
    ada.delete(&format!("/api/invocations/{invocation}")).ok();
    ada.wait_for_state(&invocation, &["cancelled"]);
    eventually("all processes are gone", || {
        server.job_processes().is_empty()
    });
    let job = ada.wait_for_job(&invocation, "work", &["deleted"]);
    assert_ne!(job["exit_code"], 0);
    ada.wait_for_job(&invocation, "next", &["deleted"]);
    let messages = &ada.invocation(&invocation)["messages"];
    assert_eq!(messages[0]["reason"], "user_request");
}

#[test]
fn a_job_that_ignores_sigterm_is_killed() {
    let server = TestServer::start();
    let ada = server.client();
    let started = server.folder().join("started");
    let script = format!(
        "trap '' TERM INT HUP; touch {}; while true; do sleep 0.1; done",
        started.display()
    );
    let invocation = run(&ada, &script);
    eventually("the job ignores signals", || started.exists());
    ada.delete(&format!("/api/invocations/{invocation}")).ok();
    ada.wait_for_state(&invocation, &["cancelled"]);
    eventually("the process is gone", || server.job_processes().is_empty());
    ada.wait_for_job(&invocation, "work", &["deleted"]);
}

#[test]
fn a_deleted_job_is_stopped_and_what_waits_for_it_is_paused() {
    let server = TestServer::start();
    let ada = server.client();
    let invocation = run_steps(
        &ada,
        &[
            ("work", "sleep 600", "data"),
            ("next", "cat $INPUT > out.txt", "work/out"),
        ],
    );
    let job = ada.wait_for_job(&invocation, "work", &["running"]);
    let path = format!("/api/jobs/{}", text(&job, "id"));
    assert_eq!(ada.delete(&path).ok(), json!(true));
    ada.wait_for_job(&invocation, "work", &["deleted"]);
    eventually("the process is gone", || server.job_processes().is_empty());
    assert_eq!(ada.delete(&path).ok(), json!(false));
    ada.wait_for_state(&invocation, &["completed"]);
    ada.wait_for_job(&invocation, "next", &["paused"]);
}

#[test]
fn a_job_over_its_time_limit_is_stopped_and_says_so() {
    let server = TestServer::start();
    let ada = server.client();
    let history = ada.create_history("limit");
    let workflow = ada.import_yaml("class: GalaxyWorkflow\ninputs: {}\noutputs: {}\nsteps:\n  slow: {tool_id: limited, in: {}}\n");
    let invocation = ada.invoke(&workflow, &history, &json!({}));
    let job = ada.wait_for_job(&invocation, "slow", &["error"]);
    assert!(text(&job, "info").contains("time limit"), "{job:#}");
    eventually("the process is gone", || server.job_processes().is_empty());
    ada.wait_for_state(&invocation, &["completed"]);
}

#[test]
fn a_hundred_megabytes_of_output_are_cut_and_harm_nobody() {
    let server = Setup::default()
        .env("BARYCENTER_JOB_LOG_LIMIT_BYTES", "1000000")
        .start();
    let ada = server.client();
    let invocation = run(
        &ada,
        "head -c 100000000 /dev/zero | tr '\\0' x; echo hi > out.txt; echo end >&2",
    );
    let done = ada.wait_for_state(&invocation, &["completed"]);
    assert_eq!(ada.output(&done, "work_out"), "hi\n");
    let job = ada.wait_for_job(&invocation, "work", &["ok"]);
    assert_eq!(job["stderr"], "end\n");
    assert!(text(&job, "stdout").len() < 1_100_000);
    let answer = ada.get(&format!("/api/jobs/{}/stdout", text(&job, "id")));
    assert_eq!(answer.status, 200);
    assert!(
        (1..=1_100_000).contains(&answer.bytes.len()),
        "{}",
        answer.bytes.len()
    );
    let mut logs = Vec::new();
    find_large(&server.data_dir(), 2_000_000, &mut logs);
    assert!(logs.is_empty(), "larger than their limit: {logs:?}");
}

/// Files below `folder` that are larger than this.
fn find_large(folder: &std::path::Path, limit: u64, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).expect("readable").flatten() {
        let metadata = entry.metadata().expect("readable");
        if metadata.is_dir() {
            find_large(&entry.path(), limit, found);
        } else if metadata.len() > limit
            && !entry.path().to_string_lossy().contains("sqlite")
            && !entry.path().to_string_lossy().ends_with(".so")
        {
            found.push(entry.path());
        }
    }
}

#[test]
fn logs_that_are_no_text_are_shown_all_the_same() {
    let server = TestServer::start();
    let ada = server.client();
    let invocation = run(
        &ada,
        "printf 'a\\000b\\377c'; printf '\\033[31m\\001' >&2; echo hi > out.txt",
    );
    ada.wait_for_state(&invocation, &["completed"]);
    let job = ada.wait_for_job(&invocation, "work", &["ok"]);
    let shown = text(&job, "stdout");
    assert!(
        shown.starts_with('a') && shown.ends_with('c') && !shown.contains('\0'),
        "{shown:?}"
    );
    for part in ["stdout", "stderr"] {
        let answer = ada.get(&format!("/api/jobs/{}/{part}", text(&job, "id")));
        assert_eq!(answer.status, 200, "{answer}");
    }
}

#[test]
fn an_output_that_was_not_written_fails_the_job_with_its_name() {
    let server = TestServer::start();
    let ada = server.client();
    let invocation = run(&ada, "true");
    ada.wait_for_state(&invocation, &["completed"]);
    let job = ada.wait_for_job(&invocation, "work", &["error"]);
    assert!(text(&job, "info").contains("out.txt"), "{job:#}");
}

#[test]
fn links_out_of_the_working_directory_are_no_results() {
    let server = TestServer::start();
    let ada = server.client();
    for script in [
        "ln -s /etc/passwd out.txt",
        "ln -s ../../../../../../../../etc/passwd out.txt",
        "mkfifo out.txt",
        "mkdir out.txt",
        "ln -s out.txt out.txt",
    ] {
        let invocation = run(&ada, script);
        ada.wait_for_state(&invocation, &["completed"]);
        let job = ada.wait_for_job(&invocation, "work", &["error", "ok"]);
        assert_eq!(job["state"], "error", "{script}: {job:#}");
        let step = step(&ada.invocation(&invocation), "work").expect("a step");
        let id = text(&step["outputs"]["out"], "id");
        let answer = ada.get(&format!("/api/datasets/{id}/display"));
        assert!(!answer.text().contains("root:"), "{script}: {answer}");
    }
}

#[test]
fn a_link_to_an_input_is_no_result_either() {
    let server = TestServer::start();
    let ada = server.client();
    let invocation = run(&ada, "ln -s $INPUT out.txt");
    ada.wait_for_state(&invocation, &["completed"]);
    let job = ada.wait_for_job(&invocation, "work", &["error"]);
    assert!(text(&job, "info").contains("out.txt"), "{job:#}");
    // Nothing is a link into somebody's dataset.
    let files = server.data_dir().join("files");
    let mut pending = vec![files];
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(folder).expect("readable").flatten() {
            let kind = entry.file_type().expect("a type");
            assert!(!kind.is_symlink(), "{:?} is a link", entry.path());
            if kind.is_dir() {
                pending.push(entry.path());
            }
        }
    }
}

#[test]
fn no_more_jobs_run_at_once_than_there_are_workers_and_cores() {
    for (workers, most) in [(1, 1), (4, 2)] {
        // Each job takes two of the slots.
        let server = Setup::default().workers(workers).start();
        let ada = server.client();
        let folder = server.folder().join("running");
        fs::create_dir(&folder).expect("a new folder");
        let history = ada.create_history("cores");
        let mut text = String::from("class: GalaxyWorkflow\ninputs: {}\noutputs:\n");
        for n in 0..8 {
            text += &format!("  o{n}: {{outputSource: w{n}/out}}\n");
        }
        text += "steps:\n";
        for n in 0..8 {
            text += &format!(
                "  w{n}:\n    tool_id: wide\n    in: {{}}\n    state: {{mark: m{n}, folder: {:?}}}\n",
                folder.display().to_string()
            );
        }
        let workflow = ada.import_yaml(&text);
        let invocation = ada.invoke(&workflow, &history, &json!({}));
        let done = ada.wait_for_state(&invocation, &["completed"]);
        let seen: Vec<usize> = (0..8)
            .map(|n| {
                ada.output(&done, &format!("o{n}"))
                    .lines()
                    .next()
                    .expect("a number")
                    .trim()
                    .parse()
                    .expect("a number")
            })
            .collect();
        assert!(
            seen.iter().all(|n| *n <= most),
            "{workers} workers: {seen:?}"
        );
        if workers > 2 {
            assert!(
                seen.contains(&most),
                "{workers} workers, never two at once: {seen:?}"
            );
        }
        for n in 0..8 {
            assert_eq!(
                ada.output(&done, &format!("o{n}")).lines().nth(1),
                Some("2"),
                "GALAXY_SLOTS"
            );
        }
    }
}

#[test]
fn a_background_process_that_a_job_leaves_does_not_hold_it_up() {
    let server = TestServer::start();
    let ada = server.client();
    let invocation = run(&ada, "sleep 600 & echo $! > out.txt");
    let done = ada.wait_for_state(&invocation, &["completed"]);
    let pid: i32 = ada
        .output(&done, "work_out")
        .trim()
        .parse()
        .expect("a process id");
    eventually("what the job left behind is ended", || {
        !processes::is_alive(pid)
    });
}

#[test]
fn a_job_sees_no_secret_of_the_server() {
    let server = TestServer::start();
    let ada = server.client();
    let invocation = run(&ada, "env > out.txt; pwd >> out.txt; ls -la .. >> out.txt");
    let done = ada.wait_for_state(&invocation, &["completed"]);
    let seen = ada.output(&done, "work_out");
    assert!(
        !seen.contains(barycenter_tests::server::BOOTSTRAP_KEY),
        "{seen}"
    );
}

#[test]
fn validated_outputs_say_whether_they_are_what_they_say() {
    let server = TestServer::start();
    let ada = server.client();
    let history = ada.create_history("validated");
    let mut results = Vec::new();
    for (label, ext, content, validates) in [
        ("good", "json", "[1, 2]", true),
        ("bad", "json", "[1, 2", true),
        ("unsure", "obscure", "x", true),
        ("unasked", "json", "[1, 2", false),
    ] {
        let mut actions = json!({"ChangeDatatypeActionout": {"action_type": "ChangeDatatypeAction", "output_name": "out",
            "action_arguments": {"newtype": ext}}});
        if validates {
            actions["ValidateOutputsActionout"] = json!({"action_type": "ValidateOutputsAction", "output_name": "out", "action_arguments": {}});
        }
        let workflow = json!({"a_galaxy_workflow": "true", "format-version": "0.1", "name": label, "steps": {"0": {
            "id": 0, "type": "tool", "label": "work", "tool_id": "script", "tool_version": "1", "input_connections": {},
            "tool_state": json!({"script": format!("printf '{content}' > out.txt")}).to_string(),
            "post_job_actions": actions,
            "workflow_outputs": [{"output_name": "out", "label": "work_out"}]}}});
        let workflow = ada.import(&workflow);
        let invocation = ada.invoke(&workflow, &history, &json!({}));
        let done = ada.wait_for_state(&invocation, &["completed"]);
        let id = text(&done["outputs"]["work_out"], "id");
        let shown = ada.get(&format!("/api/datasets/{id}")).ok();
        assert_eq!(
            (&shown["state"], &shown["extension"]),
            (&json!("ok"), &json!(ext))
        );
        results.push((
            label,
            text(&shown, "validated_state"),
            shown["validated_state_message"].clone(),
        ));
    }
    let states: Vec<_> = results.iter().map(|(_, state, _)| state.as_str()).collect();
    assert_eq!(
        states,
        ["ok", "invalid", "unknown", "unknown"],
        "{results:?}"
    );
    let message = results[1].2.as_str().unwrap_or_default();
    assert!(message.contains("not JSON"), "{message}");
}
