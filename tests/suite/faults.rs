//! Faults of the surroundings: a full disk, no file descriptors, a clock that jumps, jobs without measure, a machine that
//! went down. The server says what is wrong, refuses what it cannot keep, and goes on by itself.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use barycenter_tests::client::text;
use barycenter_tests::database::is_postgres;
use barycenter_tests::workflows::{self, REVIEWED};
use barycenter_tests::{Client, Setup, TestServer, eventually, room, until};
use serde_json::{Value, json};

/// A job that waits until the gate is there, and then says so.
fn gated(gate: &Path) -> String {
    let script = format!("{}; echo survived > out.txt", workflows::wait_for(gate));
    workflows::steps(&[
        ("slow", &script, "data"),
        ("next", "cat $INPUT > out.txt", "slow/out"),
    ])
}

fn inputs(data: &str) -> Value {
    json!({"data": {"src": "hda", "id": data}})
}

fn upload(client: &Client, history: &str) -> (u16, String) {
    let content = "x".repeat(200_000);
    let element = json!({"src": "pasted", "paste_content": content, "name": "more", "ext": "txt"});
    let targets = json!([{"destination": {"type": "hdas"}, "elements": [element]}]);
    let answer = client.post(
        "/api/tools/fetch",
        &json!({"history_id": history, "targets": targets}),
    );
    (answer.status, answer.text())
}

fn in_order(server: &TestServer) {
    let checked = server.db(&["check"]);
    assert!(checked.status.success(), "{checked:?}");
}

/// Takes all the room there is.
fn fill(file: &Path) {
    let mut filler = fs::File::create(file).expect("a new file");
    for block in [1 << 20, 1 << 12] {
        let bytes = vec![0; block];
        while filler.write_all(&bytes).is_ok() {}
    }
}

#[test]
fn a_full_disk_is_told_nothing_is_lost_and_work_goes_on_when_there_is_room() {
    room::in_own_mounts("a full disk", || {
        let server = Setup::default().room(48).start();
        let ada = server.client();
        let door = server.anonymous();
        let gate = server.folder().join("gate");
        let history = ada.create_history("full");
        let data = ada.upload(&history, "data", "hello\n");
        let workflow = ada.import_yaml(&gated(&gate));
        let running = ada.invoke(&workflow, &history, &inputs(&data));
        ada.wait_for_job(&running, "slow", &["running"]);
        assert_eq!(door.get("/readyz").status, 200);
        let filler = server.data_dir().join("filler");
        fill(&filler);
        let told = door.get("/readyz");
        assert_eq!(told.status, 503, "{}", told.text());
        let reason = text(&told.json()["data_directory"], "reason");
        assert!(reason.contains("full"), "{reason}");
        let (status, body) = upload(&ada, &history);
        assert!(status == 507 || status == 503, "{status}: {body}");
        // What is taken is kept, what is not is refused.
        let path = format!("/api/workflows/{workflow}/invocations");
        let request = json!({"history_id": history, "inputs_by": "name", "inputs": inputs(&data)});
        let asked = ada.post(&path, &request);
        assert!([200, 503, 507].contains(&asked.status), "{asked}");
        std::thread::sleep(Duration::from_millis(1_500));
        fs::remove_file(&filler).expect("the filler goes");
        eventually("it is ready again", || door.get("/readyz").status == 200);
        fs::write(&gate, "").expect("the gate opens");
        let mut all = vec![running, ada.invoke(&workflow, &history, &inputs(&data))];
        if asked.status == 200 {
            all.push(text(&asked.json(), "id"));
        }
        for invocation in all {
            let done = ada.wait_for_state(&invocation, &["completed"]);
            assert_eq!(ada.output(&done, "next_out"), "survived\n");
        }
        assert_eq!(upload(&ada, &history).0, 200);
        in_order(&server);
    });
}

fn limit_files(pid: i32, soft: u64) -> u64 {
    let mut old = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    #[expect(unsafe_code, reason = "there is no safe way to ask for it")]
    // SAFETY: the values are ours and live long enough.
    let done = unsafe {
        let got = libc::prlimit(pid, libc::RLIMIT_NOFILE, std::ptr::null(), &raw mut old);
        let new = libc::rlimit {
            rlim_cur: soft.min(old.rlim_max),
            ..old
        };
        (
            got,
            libc::prlimit(
                pid,
                libc::RLIMIT_NOFILE,
                &raw const new,
                std::ptr::null_mut(),
            ),
        )
    };
    assert_eq!(done, (0, 0), "{}", std::io::Error::last_os_error());
    old.rlim_cur
}

#[test]
fn without_file_descriptors_no_job_fails_and_all_goes_on_when_there_are_some() {
    let server = TestServer::start();
    let ada = server.client();
    let gate = server.folder().join("gate");
    let history = ada.create_history("descriptors");
    let data = ada.upload(&history, "data", "hello\n");
    let workflow = ada.import_yaml(&gated(&gate));
    let invocations: Vec<String> = (0..3)
        .map(|_| ada.invoke(&workflow, &history, &inputs(&data)))
        .collect();
    for invocation in &invocations {
        ada.wait_for_job(invocation, "slow", &["running"]);
    }
    let open = fs::read_dir(format!("/proc/{}/fd", server.pid()))
        .expect("its descriptors")
        .count();
    let usual = limit_files(server.pid(), open as u64 + 2);
    let address = server.url.trim_start_matches("http://").to_owned();
    let connections: Vec<TcpStream> = (0..20)
        .filter_map(|_| TcpStream::connect(&address).ok())
        .collect();
    fs::write(&gate, "").expect("the gate opens");
    std::thread::sleep(Duration::from_secs(3));
    drop(connections);
    limit_files(server.pid(), usual);
    let door = server.anonymous();
    eventually("it is ready again", || {
        let answer = door.try_send("GET", "/readyz", &[], b"");
        answer.is_ok_and(|answer| answer.status == 200)
    });
    for invocation in &invocations {
        let done = ada.wait_for_state(invocation, &["completed"]);
        assert_eq!(ada.output(&done, "next_out"), "survived\n");
    }
    in_order(&server);
}

fn memory_mib(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap_or_default();
    let kib = line
        .split_whitespace()
        .nth(1)
        .and_then(|n| n.parse::<u64>().ok());
    kib.expect("its memory") >> 10
}

#[test]
fn gigabytes_on_stdout_and_in_a_dataset_cost_the_server_no_memory() {
    let server = Setup::default()
        .env("BARYCENTER_JOB_LOG_LIMIT_BYTES", "1000000")
        .start();
    let ada = server.client();
    let history = ada.create_history("much");
    let data = ada.upload(&history, "data", "hello\n");
    let script = "head -c 300000000 /dev/zero | tr '\\0' x; truncate -s 2G out.txt";
    let workflow = ada.import_yaml(&workflows::script(script));
    let before = memory_mib(server.pid());
    let invocation = ada.invoke(&workflow, &history, &inputs(&data));
    let done = ada.wait_for_state(&invocation, &["completed"]);
    let job = ada.wait_for_job(&invocation, "work", &["ok", "error"]);
    assert_eq!(job["state"], "ok", "{job:#}");
    assert!(text(&job, "stdout").len() < 100_000);
    let output = text(&done["outputs"]["work_out"], "id");
    let output = ada.get(&format!("/api/datasets/{output}")).ok();
    assert_eq!(output["file_size"], 2_u64 << 30);
    let after = memory_mib(server.pid());
    assert!(
        after < before + 100,
        "{before} MiB before, {after} MiB after"
    );
}

#[test]
fn a_job_that_forks_and_ignores_term_is_gone_when_it_is_cancelled() {
    let server = TestServer::start();
    let ada = server.client();
    let history = ada.create_history("stubborn");
    let data = ada.upload(&history, "data", "hello\n");
    let script = "trap '' TERM INT HUP; for n in 1 2 3; do (trap '' TERM; while :; do sleep 1; done) & done; wait";
    let workflow = ada.import_yaml(&workflows::script(script));
    let invocation = ada.invoke(&workflow, &history, &inputs(&data));
    ada.wait_for_job(&invocation, "work", &["running"]);
    eventually("its children are there", || {
        server.job_processes().len() > 3
    });
    ada.delete(&format!("/api/invocations/{invocation}")).ok();
    ada.wait_for_state(&invocation, &["cancelled"]);
    ada.wait_for_job(&invocation, "work", &["deleted"]);
    eventually("all its processes are gone", || {
        server.job_processes().is_empty()
    });
}

const HOUR_MS: i64 = 3_600_000;

#[test]
fn a_clock_that_jumps_stops_nothing_and_ends_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let shift = folder.path().join("shift");
    let plugins = "[[scheduler]]\ntype = \"default\"\n[[workflow_module]]\ntype = \"pause\"\n\
                   [[workflow_module]]\ntype = \"wait_until\"\n[[job_runner]]\ntype = \"local\"\n";
    let server = Setup::default()
        .plugins(plugins)
        .env("BARYCENTER_CLOCK_SHIFT_FILE", &shift.display().to_string())
        .start();
    let ada = server.client();
    let gate = server.folder().join("gate");
    let history = ada.create_history("clock");
    let data = ada.upload(&history, "data", "hello\n");
    let reviewed = ada.import_yaml(REVIEWED);
    let paused = ada.invoke(&reviewed, &history, &inputs(&data));
    let step = text(&ada.wait_for_step(&paused, "review", "scheduled"), "id");
    let running = ada.invoke(&ada.import_yaml(&gated(&gate)), &history, &inputs(&data));
    ada.wait_for_job(&running, "slow", &["running"]);
    let waits = "class: GalaxyWorkflow\ninputs: {data: data}\noutputs: {after: {outputSource: second/out}}\nsteps:\n\
                 \x20 wait:\n    type: wait_until\n    in: {input: data}\n    state: {after: 20h}\n\
                 \x20 second:\n    tool_id: copy\n    in: {input: wait/output}\n";
    let waiting = ada.invoke(&ada.import_yaml(waits), &history, &inputs(&data));
    eventually("it waits", || {
        let holds = ada.invocation(&waiting)["holds"].clone();
        holds.as_array().is_some_and(|holds| !holds.is_empty())
    });
    let quick = ada.import_yaml(&workflows::script("cat $INPUT > out.txt"));
    for shifted in [-HOUR_MS, 24 * HOUR_MS] {
        fs::write(&shift, shifted.to_string()).expect("written");
        let invocation = ada.invoke(&quick, &history, &inputs(&data));
        let done = ada.wait_for_state(&invocation, &["completed"]);
        assert_eq!(ada.output(&done, "work_out"), "hello\n", "{shifted}");
        assert_eq!(server.anonymous().get("/readyz").status, 200, "{shifted}");
        assert_eq!(ada.invocation(&paused)["state"], "ready", "{shifted}");
        ada.wait_for_job(&running, "slow", &["running"]);
    }
    // Its instant is past.
    ada.wait_for_state(&waiting, &["completed"]);
    fs::write(&shift, "0").expect("written");
    ada.act(&paused, &step, &json!(true)).ok();
    ada.wait_for_state(&paused, &["completed"]);
    fs::write(&gate, "").expect("the gate opens");
    let done = ada.wait_for_state(&running, &["completed"]);
    assert_eq!(ada.output(&done, "next_out"), "survived\n");
    in_order(&server);
}

/// The directories of jobs.
fn job_folders(server: &TestServer) -> Vec<PathBuf> {
    let inside = |folder: PathBuf| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let blocks = inside(server.data_dir().join("jobs"));
    blocks.into_iter().flat_map(inside).collect()
}

/// What a power loss makes of the folder of a job that had been handed over.
fn after_a_power_loss(crash_at: &str, spoil: impl Fn(&Path)) -> (TestServer, String, PathBuf) {
    let mut server = TestServer::start();
    let ada = server.client();
    let started = server.folder().join("started");
    let history = ada.create_history("power");
    let data = ada.upload(&history, "data", "hello\n");
    let script = format!("echo x >> {}; cat $INPUT > out.txt", started.display());
    let workflow = ada.import_yaml(&workflows::script(&script));
    server.restart_with(&[("BARYCENTER_CRASH_AT".to_owned(), crash_at.to_owned())]);
    let ada = server.client();
    let path = format!("/api/workflows/{workflow}/invocations");
    let body = json!({"history_id": history, "inputs_by": "name", "inputs": inputs(&data)});
    let kind = [("content-type", "application/json")];
    let _ = ada.try_send("POST", &path, &kind, body.to_string().as_bytes());
    server.wait_for_death();
    eventually("its processes are gone", || {
        server.job_processes().is_empty()
    });
    let folders: Vec<PathBuf> = job_folders(&server)
        .into_iter()
        .filter(|folder| folder.join("script.sh").is_file())
        .collect();
    assert_eq!(folders.len(), 1, "{folders:?}");
    spoil(&folders[0]);
    server.restart_with(&[]);
    let listed = server
        .client()
        .get(&format!("/api/invocations?history_id={history}"))
        .ok();
    let invocation = text(&listed[0], "id");
    (server, invocation, started)
}

/// The script says that it was written before the machine was started.
fn of_another_boot(folder: &Path) {
    let script = fs::read_to_string(folder.join("script.sh")).expect("a script");
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("a boot");
    assert!(script.contains(boot.trim()), "{script}");
    let other = script.replace(boot.trim(), "00000000-0000-0000-0000-000000000000");
    fs::write(folder.join("script.sh"), other).expect("written");
}

#[test]
fn a_job_that_never_started_and_whose_folder_is_gone_is_built_anew() {
    let (server, invocation, started) = after_a_power_loss("before:job.submit:1", |folder| {
        fs::remove_dir_all(folder).expect("gone")
    });
    let done = server.client().wait_for_state(&invocation, &["completed"]);
    assert_eq!(server.client().output(&done, "work_out"), "hello\n");
    assert_eq!(fs::read_to_string(started).expect("marks"), "x\n");
}

#[test]
fn an_end_that_was_not_stored_before_the_machine_went_down_is_no_success() {
    let (server, invocation, started) = after_a_power_loss("after:job.results:1", |folder| {
        // The record says 0; the result did not get to the disk.
        fs::write(folder.join("working/out.txt"), "").expect("emptied");
        of_another_boot(folder);
    });
    let ada = server.client();
    ada.wait_for_state(&invocation, &["completed"]);
    let job = ada.wait_for_job(&invocation, "work", &["error", "ok"]);
    assert_eq!(job["state"], "error", "{job:#}");
    assert!(
        text(&job, "info").contains("The machine went down"),
        "{job:#}"
    );
    assert_eq!(fs::read_to_string(started).expect("marks"), "x\n");
}

/// A job runs, its server dies, and everything looks as if it were another machine on which the command goes on. Ends once
/// a new server has begun; answers the job's folder as well.
fn elsewhere(setup: Setup) -> (TestServer, String, PathBuf) {
    let mut server = setup.start();
    let ada = server.client();
    let history = ada.create_history("elsewhere");
    let data = ada.upload(&history, "data", "x\n");
    let workflow = ada.import_yaml(&workflows::script("sleep 600; echo never > out.txt"));
    let invocation = ada.invoke(&workflow, &history, &inputs(&data));
    ada.wait_for_job(&invocation, "work", &["running"]);
    let has_script = |folder: &PathBuf| folder.join("script.sh").is_file();
    let folder = until("its folder", || {
        job_folders(&server).into_iter().find(has_script)
    });
    server.kill9();
    barycenter_tests::processes::kill_below(&server.data_dir());
    let script = fs::read_to_string(folder.join("script.sh")).expect("a script");
    let host = fs::read_to_string("/proc/sys/kernel/hostname").expect("a name");
    let (command, stamp) = script.rsplit_once("# barycenter: ").expect("a stamp");
    let stamp = stamp.replacen(host.trim(), "no-such-machine.example", 1);
    let script = format!("{command}# barycenter: {stamp}");
    fs::write(folder.join("script.sh"), script).expect("written");
    server.restart();
    (server, invocation, folder)
}

/// What the command's wrapper does at its end.
fn end_with_success(folder: &Path) {
    fs::write(folder.join("working/out.txt"), "there\n").expect("written");
    let record = fs::read_dir(folder).expect("a folder").flatten();
    let record = record
        .map(|entry| entry.path())
        .find(|path| path.display().to_string().contains("started-"));
    fs::write(record.expect("a record"), "0\n").expect("written");
}

#[test]
fn a_job_of_another_machine_is_waited_for_and_ends_by_its_record() {
    let (server, invocation, folder) = elsewhere(Setup::default());
    let ada = server.client();
    if !is_postgres() {
        // One server has the data directory to itself: whoever was there before is gone.
        let job = ada.wait_for_job(&invocation, "work", &["error"]);
        assert!(text(&job, "info").contains("process is gone"), "{job:#}");
        return;
    }
    eventually("it is waited for", || {
        server.log().contains("no-such-machine.example")
    });
    let job = ada.wait_for_job(&invocation, "work", &["running", "error", "ok"]);
    assert_eq!(job["state"], "running", "{job:#}");
    end_with_success(&folder);
    let done = ada.wait_for_state(&invocation, &["completed"]);
    assert_eq!(ada.output(&done, "work_out"), "there\n");
    let told = server.log().matches("its end is waited for").count();
    assert_eq!(told, 1, "{}", server.log());
}

#[test]
fn a_job_of_another_machine_is_given_up_after_a_while_and_can_be_stopped_before() {
    if !is_postgres() {
        return;
    }
    let setup = Setup::default().env("BARYCENTER_LOST_MACHINE_SECONDS", "1");
    let (server, invocation, _) = elsewhere(setup);
    let job = server
        .client()
        .wait_for_job(&invocation, "work", &["error"]);
    let info = text(&job, "info");
    assert!(info.contains("no-such-machine.example"), "{info}");

    let (server, invocation, _) = elsewhere(Setup::default());
    eventually("it is waited for", || {
        server.log().contains("its end is waited for")
    });
    let ada = server.client();
    ada.delete(&format!("/api/invocations/{invocation}")).ok();
    ada.wait_for_state(&invocation, &["cancelled"]);
    ada.wait_for_job(&invocation, "work", &["deleted"]);
}

#[test]
fn a_job_that_ran_and_whose_folder_is_gone_says_so() {
    let mut server = TestServer::start();
    let ada = server.client();
    let history = ada.create_history("gone");
    let data = ada.upload(&history, "data", "x\n");
    let workflow = ada.import_yaml(&workflows::script("sleep 600"));
    let invocation = ada.invoke(&workflow, &history, &inputs(&data));
    ada.wait_for_job(&invocation, "work", &["running"]);
    let folder = until("its folder", || {
        job_folders(&server)
            .into_iter()
            .find(|f| f.join("script.sh").is_file())
    });
    server.kill9();
    barycenter_tests::processes::kill_below(&server.data_dir());
    fs::remove_dir_all(folder).expect("gone");
    server.restart();
    let ada = server.client();
    ada.wait_for_state(&invocation, &["completed"]);
    let job = ada.wait_for_job(&invocation, "work", &["error"]);
    assert!(
        text(&job, "info").contains("its directory is gone"),
        "{job:#}"
    );
}
