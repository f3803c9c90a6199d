//! The scheduler `fair-share` with real jobs: shares of runner time by weight, its limits, and what people read of it.

use std::collections::BTreeMap;

use barycenter_tests::wait::{eventually, until};
use barycenter_tests::{Client, Setup, TestServer, client::text, workflows};
use serde_json::{Value, json};

fn server(workers: u32, options: &str) -> TestServer {
    server_with(workers, "", options)
}

/// The same, with these lines in the scheduler's table.
fn server_with(workers: u32, lines: &str, options: &str) -> TestServer {
    let text = format!(
        "[plugins]\ndefault_scheduler = \"fair-share\"\n[[scheduler]]\ntype = \"fair-share\"\n{lines}\
         [scheduler.config]\n{options}\n[[workflow_module]]\ntype = \"pause\"\n\
         [[job_runner]]\ntype = \"local\"\n[job_runner.config]\nworkers = {workers}\n"
    );
    Setup::default().plugins(&text).start()
}

/// A workflow of one step that takes a while, mapped over a list of so many elements.
fn prepare(client: &Client, elements: usize) -> (String, String, Value) {
    let history = client.create_history("share");
    let workflow = client.import_yaml(
        "class: GalaxyWorkflow\ninputs:\n  data: {type: collection, collection_type: list}\n\
         outputs:\n  out: {outputSource: work/out}\nsteps:\n  work:\n    tool_id: script\n\
         \x20   in: {input: data}\n    state: {script: sleep 0.2; echo done > out.txt}\n",
    );
    let names: Vec<String> = (0..elements).map(|n| format!("e{n}")).collect();
    let of: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "x\n")).collect();
    let list = client.upload_list(&history, "list", &of);
    let inputs = json!({"data": {"src": "hdca", "id": list}});
    (workflow, history, inputs)
}

/// Every job of a user: when it was ready, when it began and ended, in milliseconds.
fn runs(server: &TestServer) -> Vec<(i64, i64, i64, i64)> {
    let rows = barycenter_tests::rows::read(
        server.database(),
        "SELECT CAST(user_id AS TEXT), CAST(COALESCE(ready_time, create_time) AS TEXT), CAST(start_time AS TEXT),
                CAST(end_time AS TEXT)
         FROM job WHERE state = 'ok' AND workflow_invocation_id IS NOT NULL
         ORDER BY start_time",
    );
    let number = |value: &String| value.parse().expect("a number");
    rows.iter()
        .map(|row| {
            (
                number(&row[0]),
                number(&row[1]),
                number(&row[2]),
                number(&row[3]),
            )
        })
        .collect()
}

#[test]
fn three_users_with_one_ten_and_a_hundred_invocations_share_by_weight() {
    let server = server(
        4,
        "default_weight = 1\nweights = { carol = 2 }\npatience_seconds = 30",
    );
    // (user, invocations, jobs of each): the first two have as much work as each other, carol has more.
    let asked = [("alice", 1, 60), ("bob", 10, 6), ("carol", 100, 1)];
    let clients: Vec<(Client, _)> = asked
        .iter()
        .map(|(name, _, jobs)| {
            let client = Client::new(&server.url, Some(&server.create_user(name, false)));
            let prepared = prepare(&client, *jobs);
            (client, prepared)
        })
        .collect();
    let invocations: Vec<(usize, String)> = std::thread::scope(|scope| {
        let threads: Vec<_> = clients
            .iter()
            .zip(asked)
            .enumerate()
            .map(
                |(at, ((client, (workflow, history, inputs)), (_, count, _)))| {
                    scope.spawn(move || {
                        let invoke = |_| (at, client.invoke(workflow, history, inputs));
                        (0..count).map(invoke).collect::<Vec<_>>()
                    })
                },
            )
            .collect();
        let threads = threads.into_iter();
        threads
            .flat_map(|one| one.join().expect("invoked"))
            .collect()
    });
    for (at, invocation) in &invocations {
        clients[*at].0.wait_for_state(invocation, &["completed"]);
    }
    let runs = runs(&server);
    assert_eq!(runs.len(), 60 + 60 + 100);
    // The busy period: from when all have something waiting until the first has nothing more to start.
    let first_ready = |user: i64| {
        let ready = runs.iter().filter(|run| run.0 == user).map(|run| run.1);
        ready.min().expect("jobs")
    };
    let last_start = |user: i64| {
        let starts = runs.iter().filter(|run| run.0 == user).map(|run| run.2);
        starts.max().expect("jobs")
    };
    let users: Vec<i64> = runs
        .iter()
        .map(|run| run.0)
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .collect();
    assert_eq!(users.len(), 3);
    let begin = users
        .iter()
        .map(|user| first_ready(*user))
        .max()
        .expect("users");
    let end = users
        .iter()
        .map(|user| last_start(*user))
        .min()
        .expect("users");
    assert!(end - begin > 3_000, "the busy period is {} ms", end - begin);
    let mut used: BTreeMap<i64, i64> = BTreeMap::new();
    for (user, _, from, to) in &runs {
        let part = (*to).min(end) - (*from).max(begin);
        *used.entry(*user).or_default() += part.max(0);
    }
    let all: i64 = used.values().sum();
    let shares: Vec<f64> = used.values().map(|one| *one as f64 / all as f64).collect();
    println!("shares {shares:?} over {} ms", end - begin);
    for (share, expected) in shares.iter().zip([0.25, 0.25, 0.5]) {
        // 10 % is the aim; jobs of 0.2 s on a busy machine get some more room here. The simulation is exact.
        assert!((share - expected).abs() <= 0.15 * expected, "{shares:?}");
    }
    // Nobody's first job waited longer than the bound: patience and one round of the longest job.
    let longest = runs.iter().map(|run| run.3 - run.2).max().expect("jobs");
    for user in users {
        let first = runs.iter().find(|run| run.0 == user).expect("jobs");
        let ready = first_ready(user);
        assert!(
            first.2 - ready <= 30_000 + longest,
            "user {user}: {first:?}"
        );
    }
}

#[test]
fn a_users_limit_is_told_in_the_invocation_and_in_the_run_and_goes_away() {
    let server = server(4, "running_jobs_max = { \"ada@example.org\" = 1 }");
    let client = server.client();
    let history = client.create_history("limit");
    let data = client.upload(&history, "data", "x\n");
    let gate = server.folder().join("gate");
    let script = format!("{}; echo done > out.txt", workflows::wait_for(&gate));
    let workflow = client.import_yaml(&workflows::script(&script));
    let inputs = json!({"data": {"src": "hda", "id": data}});
    let first = client.invoke(&workflow, &history, &inputs);
    client.wait_for_job(&first, "work", &["queued", "running"]);
    let second = client.invoke(&workflow, &history, &inputs);
    let hold = until("the second is held", || {
        let shown = client.invocation(&second);
        shown["holds"].as_array()?.first().cloned()
    });
    assert_eq!(hold["what"], "jobs", "{hold}");
    assert_eq!(hold["code"], "running_jobs_max");
    assert!(
        text(&hold, "text").contains("1 jobs running at once"),
        "{hold}"
    );
    let run = client.get(&format!("/ga4gh/wes/v1/runs/{second}")).ok();
    let logs = run["run_log"]["system_logs"].to_string();
    assert!(logs.contains("The jobs wait since"), "{logs}");
    let explained = client
        .get(&format!("/api/invocations/{second}/explanation"))
        .ok();
    assert_eq!(explained["scheduler"], "fair-share", "{explained}");
    assert_eq!(
        explained["explanation"]["code"], "fair_share",
        "{explained}"
    );
    std::fs::write(&gate, "").expect("the gate opens");
    client.wait_for_state(&second, &["completed"]);
    eventually("nothing is held any more", || {
        client.invocation(&second)["holds"] == json!([])
    });
}

#[test]
fn what_was_used_is_known_again_after_a_crash_of_the_server() {
    is_known_again(server(2, ""), |server| {
        server.kill9();
        server.restart();
    });
}

#[test]
fn what_was_used_is_known_again_after_a_crash_of_its_process_and_of_the_server_then() {
    let server = server_with(2, "isolation = \"process\"\n", "");
    is_known_again(server, |server| {
        let supervision = |server: &TestServer| {
            let shown = server.admin().get("/api/plugins/fair-share").ok();
            shown["supervision"].clone()
        };
        let pid = supervision(server)["pid"].as_i64().expect("a process");
        let pid = i32::try_from(pid).expect("a process's number");
        barycenter_tests::processes::signal(pid, libc::SIGKILL);
        until("another takes its place", || {
            let now = supervision(server);
            (now["restarts"] == 1 && now["state"] == "ready").then_some(())
        });
    });
}

/// Users' accounts are stored; then something breaks down, and they are neither lost nor begun anew.
fn is_known_again(mut server: TestServer, break_down: impl FnOnce(&mut TestServer)) {
    let client = server.client();
    let history = client.create_history("state");
    let data = client.upload(&history, "data", "x\n");
    let workflow = client.import_yaml(&workflows::script("sleep 0.5; echo done > out.txt"));
    let inputs = json!({"data": {"src": "hda", "id": data}});
    for _ in 0..2 {
        let invocation = client.invoke(&workflow, &history, &inputs);
        client.wait_for_state(&invocation, &["completed"]);
    }
    let state = |server: &TestServer| {
        let rows =
            barycenter_tests::rows::read(server.database(), "SELECT state FROM scheduler_state");
        serde_json::from_str::<Value>(&rows.first()?[0]).ok()
    };
    until("the state is stored", || {
        state(&server).filter(|state| state["starts"].as_f64() > Some(1.0))
    });
    break_down(&mut server);
    let client = server.client();
    let invocation = client.invoke(&workflow, &history, &inputs);
    client.wait_for_state(&invocation, &["completed"]);
    // Two starts before the crash, hardly forgotten, and one after it.
    until("the new start is added to the old ones", || {
        state(&server).filter(|state| state["starts"].as_f64() > Some(2.9))
    });
    server.kill9();
    server.restart();
    let client = server.client();
    let invocation = client.invoke(&workflow, &history, &inputs);
    client.wait_for_state(&invocation, &["completed"]);
    until("and so it is after another crash of the server", || {
        state(&server).filter(|state| state["starts"].as_f64() > Some(3.9))
    });
}
