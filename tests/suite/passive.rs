//! Schedulers that take their invocations by themselves: claims under a lease, reports, and everything that goes wrong
//! between the two.

use std::path::{Path, PathBuf};

use barycenter_tests::wait::{eventually, until};
use barycenter_tests::{
    Client, Setup, TestServer, build, client::text, processes, rows, workflows,
};
use serde_json::{Value, json};

/// A server whose scheduler `farm` is passive and part of its process, with these options; and its journal.
fn server(options: &str) -> (TestServer, PathBuf) {
    server_with("isolation = \"inproc\"", options)
}

/// The same, with these lines in the scheduler's table.
fn server_with(lines: &str, options: &str) -> (TestServer, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder").keep();
    let text = declared(&folder, lines, options);
    let server = Setup::default().plugins(&text).start();
    (server, folder.join("journal"))
}

/// The plugins.toml of such a server.
fn declared(folder: &Path, lines: &str, options: &str) -> String {
    let journal = folder.join("journal");
    format!(
        "[[scheduler]]\ntype = \"default\"\n\
         [[scheduler]]\ntype = \"passive\"\nid = \"farm\"\npath = {:?}\n{lines}\n\
         [scheduler.config]\njournal = {journal:?}\n{}\n\
         [[workflow_module]]\ntype = \"pause\"\n[[job_runner]]\ntype = \"local\"\n",
        build::library("passive_scheduler"),
        options.replace("FOLDER", &folder.display().to_string()),
    )
}

fn lines(journal: &PathBuf) -> Vec<String> {
    let text = std::fs::read_to_string(journal).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn said(journal: &PathBuf, beginning: &str) -> bool {
    lines(journal)
        .iter()
        .any(|line| line.starts_with(beginning))
}

/// A chain of two steps on "hello", for this scheduler.
fn invoke(client: &Client, scheduler: &str) -> String {
    let history = client.create_history("passive");
    let data = client.upload(&history, "data", "hello\n");
    let workflow = client.import_yaml(&workflows::steps(&[
        ("a", "cat $INPUT > out.txt", "data"),
        ("b", "cat $INPUT > out.txt; echo more >> out.txt", "a/out"),
    ]));
    let request = json!({"history_id": history, "inputs_by": "name", "scheduler": scheduler,
        "inputs": {"data": {"src": "hda", "id": data}}});
    let made = client.post(&format!("/api/workflows/{workflow}/invocations"), &request);
    text(&made.ok(), "id")
}

fn jobs(client: &Client, invocation: &str) -> Vec<Value> {
    let path = format!("/api/jobs?invocation_id={invocation}");
    client.get(&path).ok().as_array().expect("jobs").clone()
}

#[test]
fn a_passive_scheduler_takes_its_own_invocations_and_reports_their_outputs() {
    let (server, journal) = server("");
    let client = server.client();
    let (farmed, usual) = (invoke(&client, "farm"), invoke(&client, "default"));
    let done = client.wait_for_state(&farmed, &["completed"]);
    assert_eq!(client.output(&done, "a_out"), "HELLO\n");
    // The second piece of work came with a renewal, and read what the first one made.
    assert_eq!(client.output(&done, "b_out"), "HELLO\n");
    let done = client.wait_for_state(&usual, &["completed"]);
    assert_eq!(client.output(&done, "b_out"), "hello\nmore\n");
    eventually("the lease ends with the invocation", || {
        said(&journal, "ended completed")
    });
    assert_eq!(
        lines(&journal)
            .iter()
            .filter(|line| line.starts_with("claimed"))
            .count(),
        1,
        "{:?}",
        lines(&journal)
    );
    let claims: Vec<String> = lines(&journal)
        .into_iter()
        .filter(|line| line.starts_with("claimed"))
        .collect();
    assert!(claims[0].ends_with(" ada steps 3 work 1"), "{claims:?}");
    for job in jobs(&client, &farmed) {
        assert_eq!(job["state"], "ok", "{job}");
    }
}

#[test]
fn a_crash_between_claim_and_report_loses_nothing() {
    let (mut server, journal) = server("abort_once = \"FOLDER/aborted\"\nlease_ms = 2000");
    let invocation = invoke(&server.client(), "farm");
    server.wait_for_death();
    assert!(said(&journal, "aborting true"), "{:?}", lines(&journal));
    server.restart();
    let client = server.client();
    let done = client.wait_for_state(&invocation, &["completed"]);
    assert_eq!(client.output(&done, "b_out"), "HELLO\n");
    let claims: Vec<String> = lines(&journal)
        .into_iter()
        .filter(|line| line.starts_with("claimed"))
        .collect();
    assert!(
        claims.len() >= 2 && claims[1].ends_with("again"),
        "{claims:?}"
    );
}

#[test]
fn a_late_report_is_refused_and_the_work_is_done_again() {
    let (server, journal) = server("late = true\nlease_ms = 1000");
    let invocation = invoke(&server.client(), "farm");
    let done = server.client().wait_for_state(&invocation, &["completed"]);
    assert_eq!(server.client().output(&done, "b_out"), "HELLO\n");
    assert!(
        said(&journal, "late: The lease is over"),
        "{:?}",
        lines(&journal)
    );
}

#[test]
fn reports_about_foreign_jobs_outputs_and_files_are_refused_one_by_one() {
    let (server, journal) = server("hostile = true");
    let invocation = invoke(&server.client(), "farm");
    let done = server.client().wait_for_state(&invocation, &["completed"]);
    assert_eq!(server.client().output(&done, "b_out"), "HELLO\n");
    let refused: Vec<String> = lines(&journal)
        .into_iter()
        .filter_map(|line| Some(line.strip_prefix("refused: ")?.to_owned()))
        .take(9)
        .collect();
    let expected = [
        "leads out of the job's directory",
        "leads out of the job's directory",
        "leads out of the job's directory",
        "is not a regular file",
        "did not write nothing",
        "has no output `no-such-output`",
        "is missing",
        "is not yours",
        "is no state of work",
    ];
    assert_eq!(refused.len(), expected.len(), "{refused:?}");
    for (found, expected) in refused.iter().zip(expected) {
        assert!(found.contains(expected), "{found} / {expected}");
    }
}

#[test]
fn a_failure_is_the_jobs_failure() {
    let (server, _) = server("fails = true");
    let client = server.client();
    let invocation = invoke(&client, "farm");
    let job = client.wait_for_job(&invocation, "a", &["error"]);
    let job = client
        .get(&format!("/api/jobs/{}?full=true", text(&job, "id")))
        .ok();
    assert!(job.to_string().contains("The farm burnt down"), "{job}");
}

#[test]
fn the_holder_of_a_cancelled_invocation_learns_it_with_its_next_renewal() {
    let (server, journal) = server("idle = true");
    let client = server.client();
    let invocation = invoke(&client, "farm");
    until("it is claimed", || said(&journal, "claimed").then_some(()));
    client
        .delete(&format!("/api/invocations/{invocation}"))
        .ok();
    client.wait_for_state(&invocation, &["cancelled"]);
    eventually("the holder is told", || said(&journal, "ended cancel"));
    eventually("its jobs are over", || {
        let jobs = jobs(&client, &invocation);
        jobs.iter().all(|job| job["state"] == "deleted")
    });
}

/// How often the journal has a line that begins so.
fn count(journal: &PathBuf, beginning: &str) -> usize {
    let lines = lines(journal);
    lines
        .iter()
        .filter(|line| line.starts_with(beginning))
        .count()
}

#[test]
fn one_whose_process_crashes_is_started_again_and_takes_its_invocations_again_at_once() {
    // Nobody could wait for a lease of ten minutes.
    let (mut server, journal) = server_with(
        "isolation = \"process\"",
        "abort_once = \"FOLDER/aborted\"\nlease_ms = 600000",
    );
    let client = server.client();
    let invocation = invoke(&client, "farm");
    let done = client.wait_for_state(&invocation, &["completed"]);
    assert_eq!(client.output(&done, "b_out"), "HELLO\n");
    assert!(server.is_running());
    assert_eq!(count(&journal, "begins"), 2, "{:?}", lines(&journal));
    let claims: Vec<String> = lines(&journal)
        .into_iter()
        .filter(|line| line.starts_with("claimed"))
        .collect();
    assert_eq!(claims.len(), 2, "{claims:?}");
    assert!(claims[1].ends_with("again"), "{claims:?}");
    // And it goes on taking what comes.
    let next = invoke(&client, "farm");
    client.wait_for_state(&next, &["completed"]);
}

#[test]
fn one_that_asks_for_nothing_while_work_waits_is_taken_for_hung_and_started_again() {
    let (server, journal) = server_with(
        "isolation = \"process\"\nlimits = { silence = \"5s\" }",
        "hang_once = \"FOLDER/hung\"\nlease_ms = 1000",
    );
    let client = server.client();
    let invocation = invoke(&client, "farm");
    let done = client.wait_for_state(&invocation, &["completed"]);
    assert_eq!(client.output(&done, "b_out"), "HELLO\n");
    assert_eq!(count(&journal, "begins"), 2, "{:?}", lines(&journal));
    let shown = server.admin().get("/api/plugins/farm").ok();
    assert_eq!(shown["supervision"]["timeouts"], 1, "{shown:#}");
    let error = shown["supervision"]["last_error"].to_string();
    assert!(error.contains("asked for nothing for 5s"), "{error}");
    assert_eq!(shown["state"], "ready", "{shown:#}");
}

#[test]
fn one_that_is_killed_again_and_again_loses_nothing_and_ends_no_job_twice() {
    let (server, journal) = server_with(
        "isolation = \"process\"\nlimits = { restarts = \"20/1m\" }",
        "work_ms = 120\nlease_ms = 600000",
    );
    let client = server.client();
    let invocations: Vec<String> = (0..6).map(|_| invoke(&client, "farm")).collect();
    for round in 1..=4 {
        until("it works", || {
            (count(&journal, "begins") == round && count(&journal, "worked on") >= 2 * round)
                .then_some(())
        });
        let pid = server.admin().get("/api/plugins/farm").ok()["supervision"]["pid"]
            .as_i64()
            .expect("its process");
        processes::signal(
            i32::try_from(pid).expect("a process's number"),
            libc::SIGKILL,
        );
    }
    let mut ended = Vec::new();
    for invocation in &invocations {
        let done = client.wait_for_state(invocation, &["completed"]);
        assert_eq!(client.output(&done, "b_out"), "HELLO\n");
        for job in jobs(&client, invocation) {
            assert_eq!(job["state"], "ok", "{job}");
            ended.push(text(&job, "id"));
        }
    }
    assert_eq!(ended.len(), 12);
    let ends = rows::read(
        server.database(),
        "SELECT CAST(COUNT(*) AS TEXT) FROM job_state_history h JOIN job j ON j.id = h.job_id
         WHERE h.state = 'ok' AND j.job_runner_name = 'passive:farm' GROUP BY j.id",
    );
    assert_eq!(ends, vec![vec!["1".to_owned()]; 12]);
}

/// Reloads the scheduler several times while it holds leases and works.
fn a_reload_loses_nothing_and_does_nothing_twice(isolation: &str) {
    let (server, journal) = server_with(
        &format!("isolation = \"{isolation}\""),
        "work_ms = 120\nlease_ms = 600000",
    );
    let (client, admin) = (server.client(), server.admin());
    let invocations: Vec<String> = (0..6).map(|_| invoke(&client, "farm")).collect();
    for round in 1..=3 {
        until("it works", || {
            (count(&journal, "begins") == round && count(&journal, "worked on") >= 2 * round)
                .then_some(())
        });
        admin.post("/api/plugins/farm/reload", &json!({})).ok();
    }
    let mut jobs_done = Vec::new();
    for invocation in &invocations {
        let done = client.wait_for_state(invocation, &["completed"]);
        assert_eq!(client.output(&done, "b_out"), "HELLO\n");
        jobs_done.extend(jobs(&client, invocation));
    }
    assert_eq!(jobs_done.len(), 12);
    assert!(jobs_done.iter().all(|job| job["state"] == "ok"));
    let lines = lines(&journal);
    assert_eq!(count(&journal, "begins"), 4, "{lines:#?}");
    // Each piece of work was done by one of them, once, and what was reported was taken.
    let mut worked: Vec<&String> = { lines.iter() }
        .filter(|line| line.starts_with("worked on"))
        .collect();
    worked.sort();
    let all = worked.len();
    worked.dedup();
    assert_eq!((all, worked.len()), (12, 12), "{lines:#?}");
    for trouble in ["report:", "renew:", "release:", "refused:"] {
        assert!(!said(&journal, trouble), "{trouble} {lines:#?}");
    }
}

#[test]
fn a_reload_loses_nothing_and_does_nothing_twice_in_a_process() {
    a_reload_loses_nothing_and_does_nothing_twice("process");
}

#[test]
fn a_reload_loses_nothing_and_does_nothing_twice_inside_the_server() {
    a_reload_loses_nothing_and_does_nothing_twice("inproc");
}

#[test]
fn one_that_does_not_stop_for_a_reload_is_ended_and_its_work_is_done_by_the_next() {
    // Shutting down waits for the work, which takes longer than a call may.
    let (server, journal) = server_with(
        "isolation = \"process\"\nlimits = { call_timeout = \"1s\" }",
        "work_ms = 4000\nlease_ms = 600000",
    );
    let client = server.client();
    let invocation = invoke(&client, "farm");
    until("it works", || said(&journal, "claimed").then_some(()));
    server
        .admin()
        .post("/api/plugins/farm/reload", &json!({}))
        .ok();
    let done = client.wait_for_state(&invocation, &["completed"]);
    assert_eq!(client.output(&done, "b_out"), "HELLO\n");
    let lines = lines(&journal);
    // The first was killed in its work; the next did all of it.
    assert_eq!(count(&journal, "begins"), 2, "{lines:#?}");
    assert_eq!(count(&journal, "worked on"), 2, "{lines:#?}");
    assert!(
        lines.iter().any(|line| line.ends_with("again")),
        "{lines:#?}"
    );
}

/// A reload whose new instance fails with this option and says these words. The old one had to stop before the new one
/// could begin: it is there again, with its state and what it held, and nothing is done twice.
fn the_one_before_goes_on(isolation: &str, option: &str, words: &str) {
    let lines = format!("isolation = \"{isolation}\"");
    let options = "work_ms = 120\nlease_ms = 600000";
    let (mut server, journal) = server_with(&lines, options);
    let (client, admin) = (server.client(), server.admin());
    let invocations: Vec<String> = (0..3).map(|_| invoke(&client, "farm")).collect();
    until("it works", || {
        (count(&journal, "worked on") >= 2).then_some(())
    });
    let folder = journal.parent().expect("a folder");
    let text = declared(folder, &lines, &format!("{options}\n{option} = true"));
    server.set_plugins(&text);
    let reload = admin.post("/api/plugins/farm/reload", &json!({}));
    let told = reload.refused(409, 409_001);
    assert!(told.contains(words), "{told}");
    for invocation in &invocations {
        let done = client.wait_for_state(invocation, &["completed"]);
        assert_eq!(client.output(&done, "b_out"), "HELLO\n");
    }
    let said = self::lines(&journal);
    let mut worked: Vec<&String> = { said.iter() }
        .filter(|line| line.starts_with("worked on"))
        .collect();
    worked.sort();
    let all = worked.len();
    worked.dedup();
    assert_eq!((all, worked.len()), (6, 6), "{said:#?}");
    // What it had done before it stopped is its state again.
    let restored = said
        .iter()
        .position(|line| line.starts_with("goes on after"))
        .unwrap_or_else(|| panic!("it has its state: {said:#?}"));
    let before = said[..restored]
        .iter()
        .filter(|line| line.starts_with("worked on"))
        .count();
    let told: usize = said[restored]
        .rsplit(' ')
        .next()
        .and_then(|number| number.parse().ok())
        .expect("a number");
    assert!((2..=before).contains(&told), "{said:#?}");
    let shown = admin.get("/api/plugins/farm").ok();
    assert_eq!(shown["state"], "ready", "{shown:#}");
}

#[test]
fn when_its_successor_does_not_start_the_one_before_goes_on_in_a_process() {
    the_one_before_goes_on("process", "startup_fails", "the farm is closed");
}

#[test]
fn when_its_successor_does_not_start_the_one_before_goes_on_inside_the_server() {
    the_one_before_goes_on("inproc", "startup_fails", "the farm is closed");
}

#[test]
fn when_its_successor_refuses_its_state_the_one_before_goes_on() {
    the_one_before_goes_on("process", "restore_fails", "the farm forgets");
}
