//! Real scripts in real processes.

use barycenter_plugin_api::testing::FakeHost;
use barycenter_plugin_api::{
    Attr, JobRef, JobReport, JobRunner, JobSpec, JobStatus, Plugin, RecoverRequest, RecoverResult,
    RecoverStatus,
};
use local_runner::LocalRunner;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(30);

struct Scene {
    folder: tempfile::TempDir,
    fake: FakeHost,
    runner: Option<LocalRunner>,
}

impl Scene {
    fn new(workers: u32) -> Self {
        let fake = FakeHost::new();
        Self {
            folder: tempfile::tempdir().unwrap(),
            runner: Some(runner(workers, &fake)),
            fake,
        }
    }

    fn spec(&self, job_id: u64, script: &str) -> JobSpec {
        let folder = self.folder.path().join(job_id.to_string());
        std::fs::create_dir_all(&folder).unwrap();
        let path = |name: &str| folder.join(name).display().to_string().into();
        std::fs::write(folder.join("script.sh"), script).unwrap();
        JobSpec {
            job_id,
            token: format!(
                "{}-{job_id}",
                self.folder.path().file_name().unwrap().display()
            )
            .trim_start_matches('.')
            .into(),
            working_directory: folder.display().to_string().into(),
            job_directory: folder.display().to_string().into(),
            script_path: path("script.sh"),
            shell: "/bin/sh".into(),
            environment: vec![
                Attr {
                    name: "PATH".into(),
                    value: "/usr/bin:/bin".into(),
                },
                Attr {
                    name: "COLOUR".into(),
                    value: "dark \"red\"".into(),
                },
            ]
            .into(),
            stdout_path: path("stdout"),
            stderr_path: path("stderr"),
            exit_code_path: path("exit_code"),
            cores: 1,
            ..JobSpec::default()
        }
    }

    fn runner(&self) -> &LocalRunner {
        self.runner.as_ref().unwrap()
    }

    fn submit(&self, spec: &JobSpec) {
        let answers = self.runner().submit(std::slice::from_ref(spec)).unwrap();
        assert!(answers[0].accepted, "{}", answers[0].message);
    }

    /// The final report of a job.
    fn end_of(&self, spec: &JobSpec) -> JobReport {
        let is_end =
            |report: &&JobReport| report.token == spec.token && report.status != JobStatus::RUNNING;
        let reports = self
            .fake
            .wait_for_reports(LONG, |all| all.iter().any(|one| is_end(&one)));
        reports
            .expect("an end in time")
            .iter()
            .find(is_end)
            .unwrap()
            .clone()
    }

    fn run(&self, spec: &JobSpec) -> JobReport {
        self.submit(spec);
        self.end_of(spec)
    }

    /// As if the server had been killed and started again.
    fn restart(&mut self) {
        self.runner = None;
        self.fake = FakeHost::new();
        self.runner = Some(runner(4, &self.fake));
    }

    fn recover(&self, spec: &JobSpec) -> RecoverResult {
        let request = RecoverRequest {
            spec: spec.clone(),
            ..RecoverRequest::default()
        };
        self.runner().recover(&[request]).unwrap()[0].clone()
    }
}

fn runner(workers: u32, fake: &FakeHost) -> LocalRunner {
    let config = serde_json::json!({
        "workers": workers, "kill_grace_seconds": 0.3, "log_check_seconds": 0.1
    });
    LocalRunner::create(config, fake.host()).unwrap()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + LONG;
    while !done() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs and is no zombie.
fn is_alive(pid: &str) -> bool {
    let stat = read(&format!("/proc/{}/stat", pid.trim()));
    stat.rsplit(") ")
        .next()
        .is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

fn job_ref(spec: &JobSpec) -> JobRef {
    JobRef {
        job_id: spec.job_id,
        token: spec.token.clone(),
        ..JobRef::default()
    }
}

#[test]
fn a_script_gets_its_environment_folder_and_logs() {
    let scene = Scene::new(2);
    let spec = scene.spec(
        1,
        "echo \"$COLOUR $HOME $#\"; pwd; echo oops >&2; cat; exit 3\n",
    );
    let report = scene.run(&spec);
    assert_eq!(
        (report.status, report.exit_code, report.signal),
        (JobStatus::FINISHED, 3, 0)
    );
    assert!(report.started_ms > 0 && report.ended_ms >= report.started_ms);
    assert!(report.max_rss_kb > 0);
    let folder = Path::new(spec.working_directory.as_str())
        .canonicalize()
        .unwrap();
    assert_eq!(
        read(&spec.stdout_path),
        format!("dark \"red\"  0\n{}\n", folder.display())
    );
    assert_eq!(read(&spec.stderr_path), "oops\n");
    assert_eq!(read(&spec.exit_code_path), "3\n");
}

#[test]
fn the_exit_code_is_kept_whatever_the_script_does() {
    let scene = Scene::new(4);
    let scripts = [
        ("exec sh -c 'exit 7'\n", 7),
        ("trap 'exit 9' EXIT\nexit 1\n", 9),
        ("trap '' TERM HUP INT\nexit 4\n", 4),
        ("set -e\nfalse\nexit 0\n", 1),
        ("set -eu\necho $undefined\n", 2),
        ("exit 125\n", 125),
        ("kill -TERM $$\nexit 5\n", 5),
        ("set -C; cd /; true\n", 0),
        ("syntax ( error\n", 2),
    ];
    for (at, (script, code)) in scripts.iter().enumerate() {
        let spec = scene.spec(at as u64, script);
        let report = scene.run(&spec);
        assert_eq!(report.status, JobStatus::FINISHED, "{script}");
        assert_eq!(
            report.exit_code,
            *code,
            "{script} {}",
            read(&spec.stderr_path)
        );
        assert_eq!(read(&spec.exit_code_path), format!("{code}\n"), "{script}");
    }
}

#[test]
fn bash_keeps_the_exit_code_as_well() {
    if !Path::new("/bin/bash").exists() {
        eprintln!("NOTE: there is no /bin/bash here; nothing is tested");
        return;
    }
    let scene = Scene::new(1);
    let scripts = [
        ("exec false\n", 1),
        ("trap 'exit 9' EXIT\n", 9),
        ("set -euo pipefail\nfalse | true\n", 1),
    ];
    for (at, (script, code)) in scripts.iter().enumerate() {
        let mut spec = scene.spec(at as u64, script);
        spec.shell = "/bin/bash".into();
        assert_eq!(scene.run(&spec).exit_code, *code, "{script}");
        assert_eq!(read(&spec.exit_code_path), format!("{code}\n"), "{script}");
    }
}

#[test]
fn two_hundred_jobs_all_end_and_stay_within_their_slots() {
    let scene = Scene::new(4);
    let specs: Vec<_> = (0..200)
        .map(|id| scene.spec(id, "exit $((0 + 1 - 1))\n"))
        .collect();
    let mut next = 0;
    let mut ended = 0;
    while ended < specs.len() {
        let answers = scene
            .runner()
            .submit(&specs[next..(next + 20).min(specs.len())])
            .unwrap();
        let accepted = answers.iter().filter(|answer| answer.accepted).count();
        assert!(
            answers
                .iter()
                .skip(accepted)
                .all(|answer| !answer.accepted && answer.retryable)
        );
        next += accepted;
        ended = scene
            .fake
            .wait_for_finished(LONG, ended + 1)
            .expect("in time");
        // A place is free when the job has noted its end, a moment before that is told.
        let over = specs[..next].iter();
        let over = over.filter(|spec| Path::new(&spec.exit_code_path).exists());
        assert!(next - over.count() <= 20);
    }
    let reports = scene.fake.reports();
    assert!(reports.iter().all(|report| report.exit_code == 0));
    assert!(specs.iter().all(|spec| read(&spec.exit_code_path) == "0\n"));
}

#[test]
fn a_large_job_waits_for_its_slots() {
    let scene = Scene::new(2);
    let small = scene.spec(1, "sleep 0.3\ndate +%s%N\n");
    let mut large = scene.spec(2, "date +%s%N\n");
    large.cores = 9; // as many as there are
    scene.submit(&small);
    scene.submit(&large);
    scene.end_of(&large);
    let at = |spec: &JobSpec| read(&spec.stdout_path).trim().parse::<u128>().unwrap();
    assert!(at(&large) > at(&small));
}

#[test]
fn a_time_limit_ends_children_that_ignore_the_polite_request() {
    let scene = Scene::new(2);
    let script = "sh -c 'trap \"\" TERM; echo $$ >child; sleep 60' &\n\
                  trap '' TERM\nsleep 60\nsleep 60\n";
    let mut spec = scene.spec(1, script);
    spec.time_limit_ms = 300;
    let report = scene.run(&spec);
    assert_eq!(report.status, JobStatus::FINISHED);
    assert!(report.has_flag("timeout"), "{report:?}");
    assert_eq!((report.exit_code, report.signal), (137, 9));
    assert_eq!(read(&spec.exit_code_path), "137\n");
    let child = read(&format!("{}/child", spec.working_directory));
    assert!(!child.is_empty());
    wait_until("the child is dead", || !is_alive(&child));
}

#[test]
fn a_cancelled_job_may_tidy_up() {
    let scene = Scene::new(2);
    let spec = scene.spec(
        1,
        "trap 'echo tidy; exit 6' TERM\necho up\nwhile :; do sleep 0.05; done\n",
    );
    scene.submit(&spec);
    wait_until("it is up", || read(&spec.stdout_path) == "up\n");
    assert!(scene.runner().cancel(&[job_ref(&spec)]).unwrap()[0].known);
    let report = scene.end_of(&spec);
    assert!(report.has_flag("cancelled"));
    assert_eq!(report.exit_code, 6);
    assert_eq!(read(&spec.stdout_path), "up\ntidy\n");
    assert!(!scene.runner().cancel(&[job_ref(&spec)]).unwrap()[0].known);
}

#[test]
fn a_queued_job_is_cancelled_without_a_start() {
    let scene = Scene::new(1);
    let first = scene.spec(1, "sleep 0.3\n");
    let second = scene.spec(2, "echo ran\n");
    scene.submit(&first);
    scene.submit(&second);
    scene.runner().cancel(&[job_ref(&second)]).unwrap();
    let report = scene.end_of(&second);
    assert_eq!(report.status, JobStatus::FAILED_TO_START);
    assert!(report.has_flag("cancelled"));
    scene.end_of(&first);
    assert_eq!(scene.recover(&second).status, RecoverStatus::NOT_STARTED);
}

#[test]
fn what_a_script_leaves_running_is_killed_at_its_end() {
    let scene = Scene::new(2);
    let spec = scene.spec(1, "sleep 60 &\necho $! >child\n");
    assert_eq!(scene.run(&spec).exit_code, 0);
    let child = read(&format!("{}/child", spec.working_directory));
    wait_until("the child is dead", || !is_alive(&child));
}

#[test]
fn logs_are_cut_to_their_limit_while_the_job_runs() {
    let scene = Scene::new(2);
    let mut spec = scene.spec(
        1,
        "head -c 300000 /dev/zero\nsleep 0.4\nhead -c 5000 /dev/zero >&2\n",
    );
    spec.log_limit_bytes = 1000;
    scene.submit(&spec);
    let size = |path: &str| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    wait_until("it is cut", || {
        let waiting = !Path::new(spec.exit_code_path.as_str()).exists();
        assert!(waiting, "only cut at the end");
        size(&spec.stdout_path) == 1000
    });
    let report = scene.end_of(&spec);
    assert!(report.has_flag("log_truncated"));
    assert_eq!(
        (size(&spec.stdout_path), size(&spec.stderr_path)),
        (1000, 1000)
    );
}

#[test]
fn a_job_that_cannot_start_says_why() {
    let scene = Scene::new(2);
    let mut spec = scene.spec(1, "true\n");
    spec.shell = "/no/such/shell".into();
    let report = scene.run(&spec);
    assert_eq!(report.status, JobStatus::FAILED_TO_START);
    assert!(
        report.message.contains("/no/such/shell"),
        "{}",
        report.message
    );

    let mut spec = scene.spec(2, "true\n");
    spec.job_directory = "/no/such/folder".into();
    let report = scene.run(&spec);
    assert_eq!(report.status, JobStatus::FAILED_TO_START);
    assert!(
        report.message.contains("/no/such/folder/started-"),
        "{}",
        report.message
    );
}

#[test]
fn one_token_is_never_started_twice() {
    let mut scene = Scene::new(2);
    let spec = scene.spec(1, "echo ran\nexit 3\n");
    scene.run(&spec);
    scene.restart();
    let report = scene.run(&spec);
    assert_eq!((report.status, report.exit_code), (JobStatus::FINISHED, 3));
    assert_eq!(read(&spec.stdout_path), "ran\n");
}

/// As when a server dies, or a runner is exchanged, between the decision to start a job and its start.
#[test]
fn whoever_starts_a_token_second_follows_the_first() {
    let scene = Scene::new(2);
    let script = "echo ran\nwhile [ ! -e go ]; do sleep 0.02; done\nexit 4\n";
    let (ends, stopped) = (scene.spec(1, script), scene.spec(2, script));
    let first = FakeHost::new();
    let old = runner(2, &first);
    let both = [ends.clone(), stopped.clone()];
    assert!(old.submit(&both).unwrap().iter().all(|one| one.accepted));
    for spec in &both {
        wait_until("it is up", || read(&spec.stdout_path) == "ran\n");
        scene.submit(spec);
    }
    let is_running = |all: &[JobReport]| {
        let running = all.iter().filter(|one| one.status == JobStatus::RUNNING);
        running.count() == 2
    };
    assert!(scene.fake.wait_for_reports(LONG, is_running).is_some());
    drop(old);
    scene.runner().cancel(&[job_ref(&stopped)]).unwrap();
    assert!(scene.end_of(&stopped).has_flag("cancelled"));
    std::fs::write(format!("{}/go", ends.working_directory), "").unwrap();
    let report = scene.end_of(&ends);
    assert_eq!((report.status, report.exit_code), (JobStatus::FINISHED, 4));
    for spec in &both {
        assert_eq!(read(&spec.stdout_path), "ran\n");
    }
}

#[test]
fn a_running_job_is_adopted_after_a_restart() {
    let mut scene = Scene::new(2);
    let spec = scene.spec(
        1,
        "echo up\nwhile [ ! -e go ]; do sleep 0.02; done\nexit 5\n",
    );
    scene.submit(&spec);
    wait_until("it is up", || read(&spec.stdout_path) == "up\n");
    scene.restart();
    let found = scene.recover(&spec);
    assert_eq!(found.status, RecoverStatus::RUNNING);
    assert!(
        found
            .report
            .external_id
            .parse::<i32>()
            .is_ok_and(is_process)
    );
    // Asking again changes nothing.
    assert_eq!(scene.recover(&spec).status, RecoverStatus::RUNNING);
    std::fs::write(format!("{}/go", spec.working_directory), "").unwrap();
    let report = scene.end_of(&spec);
    assert_eq!((report.status, report.exit_code), (JobStatus::FINISHED, 5));
    assert_eq!(read(&spec.exit_code_path), "5\n");
}

fn is_process(pid: i32) -> bool {
    is_alive(&pid.to_string())
}

#[test]
fn an_adopted_job_still_obeys_cancel_and_its_time_limit() {
    let mut scene = Scene::new(2);
    let cancelled = scene.spec(1, "echo up\nsleep 60\n");
    let mut limited = scene.spec(2, "echo up\ntrap '' TERM\nsleep 60\nsleep 60\n");
    limited.time_limit_ms = 1500;
    for spec in [&cancelled, &limited] {
        scene.submit(spec);
        wait_until("it is up", || read(&spec.stdout_path) == "up\n");
    }
    scene.restart();
    for spec in [&cancelled, &limited] {
        assert_eq!(scene.recover(spec).status, RecoverStatus::RUNNING);
    }
    scene.runner().cancel(&[job_ref(&cancelled)]).unwrap();
    let report = scene.end_of(&cancelled);
    assert!(report.has_flag("cancelled"));
    assert_eq!((report.exit_code, report.signal), (143, 15));
    let report = scene.end_of(&limited);
    assert!(report.has_flag("timeout"), "{report:?}");
    assert_eq!(
        (report.status, report.exit_code),
        (JobStatus::FINISHED, 137)
    );
}

#[test]
fn jobs_that_ended_or_never_began_while_nobody_looked_are_told_apart() {
    let mut scene = Scene::new(2);
    let ended = scene.spec(1, "echo up\nsleep 0.2\nexit 8\n");
    let killed = scene.spec(2, "echo up\nsleep 60\n");
    let never = scene.spec(3, "echo ran\n");
    for spec in [&ended, &killed] {
        scene.submit(spec);
        wait_until("it is up", || read(&spec.stdout_path) == "up\n");
    }
    scene.runner = None;
    let record = format!("{}/started-{}", ended.job_directory, ended.token);
    wait_until("it has ended", || read(&record) == "8\n");
    // Kill the whole group of the other one, as a falling machine would.
    let pattern = killed.token.to_string();
    let found = Command::new("pgrep")
        .args(["-f", &pattern])
        .output()
        .unwrap();
    let pids: Vec<i32> = String::from_utf8_lossy(&found.stdout)
        .lines()
        .filter_map(|line| line.parse().ok())
        .collect();
    assert!(!pids.is_empty());
    let kill = Command::new("kill")
        .arg("-9")
        .args(pids.iter().map(ToString::to_string))
        .status()
        .unwrap();
    assert!(kill.success());
    wait_until("it is dead", || pids.iter().all(|pid| !is_process(*pid)));
    scene.restart();
    let found = scene.recover(&ended);
    assert_eq!(
        (found.status, found.report.exit_code),
        (RecoverStatus::FINISHED, 8)
    );
    assert!(found.report.ended_ms > 0);
    assert_eq!(read(&ended.exit_code_path), "8\n");
    let found = scene.recover(&killed);
    assert_eq!(found.status, RecoverStatus::LOST);
    assert!(
        found.report.message.contains("left no exit code"),
        "{}",
        found.report.message
    );
    assert_eq!(scene.recover(&never).status, RecoverStatus::NOT_STARTED);
    assert_eq!(scene.run(&never).exit_code, 0);
}

#[test]
fn shutting_down_leaves_running_jobs_alone_and_takes_no_more() {
    let scene = Scene::new(1);
    let running = scene.spec(1, "sleep 0.3\nexit 2\n");
    let queued = scene.spec(2, "echo ran\n");
    scene.submit(&running);
    scene.submit(&queued);
    wait_until("it is up", || {
        Path::new(running.stdout_path.as_str()).exists()
    });
    scene.runner().shutdown();
    let late = scene.spec(3, "true\n");
    assert!(!scene.runner().submit(std::slice::from_ref(&late)).unwrap()[0].accepted);
    assert_eq!(scene.end_of(&running).exit_code, 2);
    assert_eq!(read(&queued.stdout_path), "");
}

#[test]
fn a_long_job_is_reported_running_before_its_end() {
    let scene = Scene::new(1);
    let spec = scene.spec(1, "sleep 0.3\n");
    scene.run(&spec);
    let statuses: Vec<_> = scene
        .fake
        .reports()
        .iter()
        .map(|report| report.status)
        .collect();
    assert_eq!(statuses, [JobStatus::RUNNING, JobStatus::FINISHED]);
}
