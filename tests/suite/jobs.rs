//! Jobs: how they end, what they leave, how they are stopped, how many run at once.

use std::fs;

use barycenter_tests::client::{step, text};
use barycenter_tests::{Client, Setup, TestServer, eventually, processes, workflows};
use serde_json::{Value, json};

/// Runs one script on a dataset; returns its invocation.
fn run(ada: &Client, script: &str) -> String {
    run_steps(ada, &[("work", script, "data")])
}

fn run_steps(ada: &Client, steps: &[(&str, &str, &str)]) -> String {
    let history = ada.create_history("jobs");
    let data = ada.upload(&history, "data", "hello\n");
    let workflow = ada.import_yaml(&workflows::steps(steps));
    ada.invoke(
        &workflow,
        &history,
        &json!({"data": {"src": "hda", "id": data}}),
    )
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
    let gate = server.folder().join("gate");
    let invocation = run_steps(
        &ada,
        &[
            (
                "bad",
                &format!("test -e {}; echo mended > out.txt", gate.display()),
                "data",
            ),
            ("next", "cat $INPUT > out.txt", "bad/out"),
        ],
    );
    ada.wait_for_job(&invocation, "bad", &["error"]);
    let paused = ada.wait_for_job(&invocation, "next", &["paused"]);
    // Its input is still broken: it is paused again, or refused.
    let answer = ada.put(
        &format!("/api/jobs/{}/resume", text(&paused, "id")),
        &json!({}),
    );
    assert!([200, 400].contains(&answer.status), "{answer}");
    ada.wait_for_job(&invocation, "next", &["paused"]);
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
fn a_deleted_job_is_stopped_and_what_waits_for_it_is_paused_or_deleted() {
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
    ada.wait_for_job(&invocation, "next", &["paused", "deleted", "error"]);
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
fn a_link_to_an_input_is_a_result() {
    let server = TestServer::start();
    let ada = server.client();
    let invocation = run(&ada, "ln -s $INPUT out.txt");
    ada.wait_for_state(&invocation, &["completed"]);
    // Refused or copied: never a link into somebody's dataset.
    let job = ada.wait_for_job(&invocation, "work", &["error", "ok"]);
    if job["state"] == "ok" {
        assert_eq!(
            ada.output(&ada.invocation(&invocation), "work_out"),
            "hello\n"
        );
    }
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
fn elements_are_discovered_in_order_whatever_their_names() {
    let server = TestServer::start();
    let ada = server.client();
    let names = [
        "plain",
        "with blank",
        "quote'\"",
        "dollar$(id)",
        "ünï",
        "-rf",
        "..hidden",
        "semi;colon",
        "a&b<c>",
    ];
    let history = ada.create_history("split");
    let data = ada.upload(&history, "data", &(names.join("\n") + "\n"));
    let workflow = ada.import_yaml(
        "class: GalaxyWorkflow\ninputs: {data: data}\noutputs: {parts: {outputSource: split/parts}, copies: {outputSource: each/out}}\nsteps:\n  \
         split: {tool_id: split, in: {input: data}}\n  each: {tool_id: copy, in: {input: split/parts}}\n",
    );
    let invocation = ada.invoke(
        &workflow,
        &history,
        &json!({"data": {"src": "hda", "id": data}}),
    );
    let done = ada.wait_for_state(&invocation, &["completed"]);
    let parts = ada.elements(&text(&done["output_collections"]["parts"], "id"));
    let copies = ada.elements(&text(&done["output_collections"]["copies"], "id"));
    assert_eq!(parts.len(), names.len(), "{parts:?}");
    for (identifier, content) in &parts {
        assert_eq!(*content, format!("{identifier}\n"));
        let copy = copies
            .iter()
            .find(|(name, _)| name == identifier)
            .expect("mapped over");
        assert_eq!(copy.1, format!("{identifier}\ncopied\n"));
    }
}

#[test]
fn a_hostile_line_among_element_names_cannot_leave_the_working_directory() {
    let server = TestServer::start();
    let ada = server.client();
    let history = ada.create_history("split");
    let data = ada.upload(&history, "data", "good\n../escaped\n");
    let workflow = ada.import_yaml(
        "class: GalaxyWorkflow\ninputs: {data: data}\noutputs: {parts: {outputSource: split/parts}}\nsteps:\n  split: {tool_id: split, in: {input: data}}\n",
    );
    let invocation = ada.invoke(
        &workflow,
        &history,
        &json!({"data": {"src": "hda", "id": data}}),
    );
    let done = ada.wait_for_state(&invocation, &["completed"]);
    let parts = ada.elements(&text(&done["output_collections"]["parts"], "id"));
    assert_eq!(parts, [("good".to_owned(), "good\n".to_owned())]);
}

#[test]
fn a_tool_is_mapped_over_a_list_and_over_a_list_of_pairs() {
    let server = TestServer::start();
    let ada = server.client();
    let history = ada.create_history("map");
    let list = ada.upload_list(
        &history,
        "list",
        &[("b", "1\n"), ("a", "2\n"), ("c", "3\n")],
    );
    let workflow = ada.import_yaml(
        "class: GalaxyWorkflow\ninputs: {list: {type: collection, collection_type: list}}\noutputs: {copies: {outputSource: each/out}}\nsteps:\n  each: {tool_id: copy, in: {input: list}}\n",
    );
    let invocation = ada.invoke(
        &workflow,
        &history,
        &json!({"list": {"src": "hdca", "id": list}}),
    );
    let done = ada.wait_for_state(&invocation, &["completed"]);
    let copies = ada.elements(&text(&done["output_collections"]["copies"], "id"));
    let expected = [
        ("b", "1\ncopied\n"),
        ("a", "2\ncopied\n"),
        ("c", "3\ncopied\n"),
    ];
    assert_eq!(copies, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    let each = step(&done, "each").expect("a step");
    assert_eq!(each["jobs"].as_array().expect("jobs").len(), 3);
    assert!(each["implicit_collection_jobs_id"].is_string() && each["job_id"].is_null());

    let pair = |name: &str| {
        let of = |end: &str| {
            let id = ada.upload(&history, end, &format!("{name} {end}\n"));
            json!({"name": end, "src": "hda", "id": id})
        };
        json!({"name": name, "src": "new_collection", "collection_type": "paired",
               "element_identifiers": [of("forward"), of("reverse")]})
    };
    let pairs = ada.create_collection(
        &history,
        "pairs",
        "list:paired",
        &json!([pair("x"), pair("y")]),
    );
    let workflow = ada.import_yaml(
        "class: GalaxyWorkflow\ninputs: {pairs: {type: collection, collection_type: \"list:paired\"}}\noutputs: {joined: {outputSource: join/out}, each: {outputSource: each/out}}\nsteps:\n  \
         join: {tool_id: pair, in: {pair: pairs}}\n  each: {tool_id: copy, in: {input: pairs}}\n",
    );
    let invocation = ada.invoke(
        &workflow,
        &history,
        &json!({"pairs": {"src": "hdca", "id": pairs}}),
    );
    let done = ada.wait_for_state(&invocation, &["completed"]);
    let joined = ada.elements(&text(&done["output_collections"]["joined"], "id"));
    let expected = [
        ("x", "x forward\nx reverse\n"),
        ("y", "y forward\ny reverse\n"),
    ];
    assert_eq!(joined, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    let each = ada.collection(&text(&done["output_collections"]["each"], "id"));
    assert_eq!(each["collection_type"], "list:paired");
    assert_eq!(
        each["elements"][1]["object"]["elements"][1]["element_identifier"],
        "reverse"
    );
}

#[test]
fn mapping_over_an_empty_collection_makes_no_job_and_an_empty_collection() {
    let server = TestServer::start();
    let ada = server.client();
    let history = ada.create_history("empty");
    let list = ada.create_collection(&history, "none", "list", &json!([]));
    let workflow = ada.import_yaml(
        "class: GalaxyWorkflow\ninputs: {list: {type: collection, collection_type: list}}\noutputs: {copies: {outputSource: second/out}}\nsteps:\n  \
         first: {tool_id: copy, in: {input: list}}\n  second: {tool_id: copy, in: {input: first/out}}\n",
    );
    let invocation = ada.invoke(
        &workflow,
        &history,
        &json!({"list": {"src": "hdca", "id": list}}),
    );
    let done = ada.wait_for_state(&invocation, &["completed"]);
    let copies = ada.collection(&text(&done["output_collections"]["copies"], "id"));
    assert_eq!(
        (&copies["element_count"], &copies["populated"]),
        (&json!(0), &json!(true)),
        "{copies:#}"
    );
    assert_eq!(step(&done, "second").expect("a step")["jobs"], json!([]));
}

#[test]
fn one_failed_element_of_a_mapped_step_spares_the_others() {
    let server = TestServer::start();
    let ada = server.client();
    let history = ada.create_history("one bad");
    let list = ada.upload_list(&history, "list", &[("good", "1\n"), ("bad", "2\n")]);
    let script = json!("grep 1 $INPUT > out.txt");
    let workflow = ada.import_yaml(&format!(
        "class: GalaxyWorkflow\ninputs: {{list: {{type: collection, collection_type: list}}}}\noutputs: {{copies: {{outputSource: second/out}}}}\nsteps:\n  \
         first:\n    tool_id: script\n    in: {{input: list}}\n    state: {{script: {script}}}\n  second: {{tool_id: copy, in: {{input: first/out}}}}\n",
    ));
    let invocation = ada.invoke(
        &workflow,
        &history,
        &json!({"list": {"src": "hdca", "id": list}}),
    );
    let done = ada.wait_for_state(&invocation, &["completed"]);
    let states = |label: &str| -> Vec<Value> {
        let jobs = step(&done, label).expect("a step")["jobs"]
            .as_array()
            .expect("jobs")
            .clone();
        jobs.iter().map(|job| job["state"].clone()).collect()
    };
    assert_eq!(states("first"), ["ok", "error"]);
    assert_eq!(states("second"), ["ok", "paused"]);
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
