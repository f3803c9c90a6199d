//! B for job runners: real jobs in a folder of their own.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use barycenter_plugin_api::testing::FakeHost;
use barycenter_plugin_api::{
    Attr, JobRef, JobReport, JobSpec, JobStatus, RecoverRequest, RecoverStatus,
};

use super::{
    Context, Outcome, RUNNER, Test, Verdict, faults_or_passed, noted, passed, passed_with,
};
use crate::kit::subject::Opened;

pub(super) const TESTS: [Test; 9] = [
    Test {
        id: "B.capacity",
        text: "it has slots",
        kinds: RUNNER,
        run: capacity,
    },
    Test {
        id: "B.empty",
        text: "nothing to submit, cancel, poll and recover is answered with nothing",
        kinds: RUNNER,
        run: empty,
    },
    Test {
        id: "B.job",
        text: "a job runs in its folder with its environment; output, exit code and one final report are there",
        kinds: RUNNER,
        run: job,
    },
    Test {
        id: "B.exit",
        text: "exit codes and signals are reported",
        kinds: RUNNER,
        run: exit,
    },
    Test {
        id: "B.batch",
        text: "twenty jobs at once are answered in order, and each ends once",
        kinds: RUNNER,
        run: batch,
    },
    Test {
        id: "B.once",
        text: "the command of a token that is submitted again does not run again",
        kinds: RUNNER,
        run: once,
    },
    Test {
        id: "B.cancel",
        text: "a job that is cancelled ends, and one that it does not know is none of its business",
        kinds: RUNNER,
        run: cancel,
    },
    Test {
        id: "B.recover",
        text: "another instance finds a job that ended, one that runs, and one that was never started",
        kinds: RUNNER,
        run: recover,
    },
    Test {
        id: "B.missing",
        text: "a job that cannot start is told, not lost",
        kinds: RUNNER,
        run: missing,
    },
];

/// How long a job of nothing may take to be seen ended.
const LIMIT: Duration = Duration::from_secs(15);

/// A folder for jobs.
pub(super) struct Desk(tempfile::TempDir);

impl Desk {
    pub(super) fn new() -> Result<Self, String> {
        let folder =
            tempfile::tempdir().map_err(|error| format!("no temporary folder: {error}"))?;
        Ok(Self(folder))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(super) fn job(&self, job_id: u64, script: &str) -> Result<JobSpec, String> {
        let folder = self.file(&format!("job-{job_id}"));
        let work = folder.join("working");
        let text = |path: &Path| path.to_string_lossy().into_owned().into();
        let written = std::fs::create_dir_all(&work)
            .and_then(|()| std::fs::write(folder.join("script.sh"), script));
        written.map_err(|error| format!("the script cannot be written: {error}"))?;
        // As the server does: a shell may be told to run a script that is executable or not.
        let runnable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        let _ = std::fs::set_permissions(folder.join("script.sh"), runnable);
        let environment = [
            ("PATH", "/usr/local/bin:/usr/bin:/bin"),
            ("GREETING", "hello"),
        ];
        Ok(JobSpec {
            job_id,
            token: format!(
                "{}-{job_id}",
                self.0
                    .path()
                    .file_name()
                    .map_or_else(String::new, |name| name.to_string_lossy().into_owned())
            )
            .into(),
            working_directory: text(&work),
            job_directory: text(&folder),
            script_path: text(&folder.join("script.sh")),
            shell: "/bin/sh".into(),
            environment: environment
                .map(|(name, value)| Attr {
                    name: name.into(),
                    value: value.into(),
                })
                .to_vec()
                .into(),
            stdout_path: text(&folder.join("stdout")),
            stderr_path: text(&folder.join("stderr")),
            exit_code_path: text(&folder.join("exit_code")),
            cores: 1,
            ..JobSpec::default()
        })
    }
}

fn told(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Submits and waits for the final reports, pushed or polled; in the order of their coming.
pub(super) fn run_to_end(
    opened: &Opened,
    host: &FakeHost,
    jobs: &[JobSpec],
) -> Result<Vec<JobReport>, String> {
    let answers = opened.runner()?.submit(jobs).map_err(told)?;
    if let Some(refused) = answers.iter().find(|answer| !answer.accepted) {
        return Err(format!(
            "job {} is refused: {}",
            refused.job_id, refused.message
        ));
    }
    wait_for(opened, host, jobs)
}

fn wait_for(opened: &Opened, host: &FakeHost, jobs: &[JobSpec]) -> Result<Vec<JobReport>, String> {
    let names: Vec<JobRef> = jobs.iter().map(name).collect();
    let end = Instant::now() + LIMIT;
    let mut polled: Vec<JobReport> = Vec::new();
    loop {
        let pushed = host.reports();
        let finals = pushed
            .iter()
            .chain(&polled)
            .filter(|report| report.status != JobStatus::RUNNING);
        let found: Vec<JobReport> = finals
            .filter(|report| jobs.iter().any(|job| job.token == report.token))
            .cloned()
            .collect();
        let is_done = jobs
            .iter()
            .all(|job| found.iter().any(|report| report.token == job.token));
        if is_done {
            return Ok(found);
        }
        if Instant::now() > end {
            return Err(format!(
                "after {LIMIT:?} only {} of {} jobs have a final report",
                found.len(),
                jobs.len()
            ));
        }
        polled.extend(opened.runner()?.poll(&names).map_err(told)?);
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn name(job: &JobSpec) -> JobRef {
    JobRef {
        job_id: job.job_id,
        token: job.token.clone(),
        ..JobRef::default()
    }
}

fn recover_request(job: &JobSpec) -> RecoverRequest {
    RecoverRequest {
        spec: job.clone(),
        ..RecoverRequest::default()
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn capacity(context: &Context) -> Verdict {
    let (opened, _) = context.open()?;
    let capacity = opened.runner()?.capacity().map_err(told)?;
    if capacity.slots_total == 0 {
        return Err("it has no slots, so no job ever runs".to_owned());
    }
    if capacity
        .slots_total
        .checked_add(capacity.queue_depth)
        .is_none()
    {
        return Err("slots and queue together are more than a number can hold".to_owned());
    }
    passed_with(format!(
        "{} slots and {} in the queue",
        capacity.slots_total, capacity.queue_depth
    ))
}

fn empty(context: &Context) -> Verdict {
    let (opened, host) = context.open()?;
    let runner = opened.runner()?;
    runner.submit(&[]).map_err(told)?;
    runner.cancel(&[]).map_err(told)?;
    runner.recover(&[]).map_err(told)?;
    let news = runner.poll(&[]).map_err(told)?;
    if !news.is_empty() || !host.reports().is_empty() {
        return Err("it reports jobs that nobody gave it".to_owned());
    }
    passed()
}

fn job(context: &Context) -> Verdict {
    let (desk, (opened, host)) = (Desk::new()?, context.open()?);
    let job = desk.job(
        1,
        "pwd\necho \"$GREETING\" > greeting\necho oops >&2\nenv | grep -c '^HOME='\ntrue\n",
    )?;
    let reports = run_to_end(&opened, &host, std::slice::from_ref(&job))?;
    let mut faults = Vec::new();
    if reports[0].status != JobStatus::FINISHED || reports[0].exit_code != 0 {
        faults.push(format!(
            "a job that succeeds is reported as {} with exit code {}: {}",
            reports[0].status, reports[0].exit_code, reports[0].message
        ));
    }
    let stdout = read(&job.stdout_path);
    let mut lines = stdout.lines();
    let here = std::fs::canonicalize(job.working_directory.as_str()).unwrap_or_default();
    if lines.next().map(Path::new) != Some(&here) {
        faults.push(format!("it ran elsewhere than in its working directory, or stdout is not where it belongs: {stdout:?}"));
    }
    if lines.next() != Some("0") {
        faults.push("it has more in its environment than the job says (HOME)".to_owned());
    }
    if read(&format!("{}/greeting", job.working_directory)) != "hello\n" {
        faults.push("it does not have the job's environment".to_owned());
    }
    if !read(&job.stderr_path).contains("oops") {
        faults.push("stderr is not where it belongs".to_owned());
    }
    if read(&job.exit_code_path).trim() != "0" {
        faults.push("the exit code is not in its file".to_owned());
    }
    // Another final report would come soon after the first.
    std::thread::sleep(Duration::from_millis(300));
    let finals = host
        .reports()
        .iter()
        .filter(|report| report.status != JobStatus::RUNNING)
        .count();
    if finals > 1 {
        faults.push(format!("it has {finals} final reports"));
    }
    faults_or_passed(faults)
}

fn exit(context: &Context) -> Verdict {
    let (desk, (opened, host)) = (Desk::new()?, context.open()?);
    let mut faults = Vec::new();
    for (id, script, wanted) in [
        (1, "exit 3", 3),
        (2, "exit 255", 255),
        (3, "/no/such/program", 127),
    ] {
        let reports = run_to_end(&opened, &host, &[desk.job(id, script)?])?;
        if reports[0].exit_code != wanted {
            faults.push(format!(
                "`{script}` is reported with exit code {}, not {wanted}",
                reports[0].exit_code
            ));
        }
    }
    faults_or_passed(faults)
}

fn batch(context: &Context) -> Verdict {
    let (desk, (opened, host)) = (Desk::new()?, context.open()?);
    let capacity = opened.runner()?.capacity().map_err(told)?;
    let room = capacity
        .slots_total
        .saturating_add(capacity.queue_depth)
        .clamp(1, 20);
    let jobs: Result<Vec<JobSpec>, String> = (1..=room).map(|id| desk.job(id, "echo $$")).collect();
    let jobs = jobs?;
    run_to_end(&opened, &host, &jobs)?;
    std::thread::sleep(Duration::from_millis(300));
    let mut faults = Vec::new();
    for job in &jobs {
        let finals = host.reports();
        let count = finals
            .iter()
            .filter(|report| report.token == job.token && report.status != JobStatus::RUNNING)
            .count();
        if count > 1 {
            faults.push(format!("job {} has {count} final reports", job.job_id));
        }
    }
    match faults_or_passed(faults)? {
        Outcome::Passed { .. } => passed_with(format!("{room} jobs")),
        failed => Ok(failed),
    }
}

fn once(context: &Context) -> Verdict {
    let (desk, (opened, host)) = (Desk::new()?, context.open()?);
    let count = desk.file("count");
    let job = desk.job(1, &format!("echo ran >> '{}'", count.display()))?;
    run_to_end(&opened, &host, std::slice::from_ref(&job))?;
    // By the same instance, and by the one of the next server. Both may refuse or take it.
    let _ = opened.runner()?.submit(std::slice::from_ref(&job));
    std::thread::sleep(Duration::from_millis(300));
    let (again, _) = context.open()?;
    let _ = again.runner()?.submit(std::slice::from_ref(&job));
    std::thread::sleep(Duration::from_millis(300));
    match read(&count.to_string_lossy()).lines().count() {
        1 => passed(),
        times => Err(format!("the command of one token ran {times} times")),
    }
}

fn cancel(context: &Context) -> Verdict {
    let (desk, (opened, host)) = (Desk::new()?, context.open()?);
    let runner = opened.runner()?;
    let stranger = JobRef {
        job_id: 99,
        token: "nobody's".into(),
        ..JobRef::default()
    };
    let answers = runner
        .cancel(std::slice::from_ref(&stranger))
        .map_err(told)?;
    let mut faults = Vec::new();
    if answers[0].known {
        faults.push("it says that it knows a job that nobody gave it".to_owned());
    }
    let started = desk.file("started");
    let job = desk.job(1, &format!("touch '{}'\nsleep 120\n", started.display()))?;
    let taken = runner.submit(std::slice::from_ref(&job)).map_err(told)?;
    if !taken[0].accepted {
        return Err(format!("the job is refused: {}", taken[0].message));
    }
    let end = Instant::now() + LIMIT;
    while !started.exists() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(10));
    }
    let answers = runner.cancel(&[name(&job)]).map_err(told)?;
    if !answers[0].known {
        faults.push("it does not know the job that it runs".to_owned());
    }
    let reports = wait_for(&opened, &host, std::slice::from_ref(&job))?;
    let is_success = reports[0].status == JobStatus::FINISHED
        && reports[0].exit_code == 0
        && reports[0].signal == 0
        && !reports[0].has_flag("cancelled");
    if is_success {
        faults.push("a job that was cancelled is reported as a success".to_owned());
    }
    if !reports[0].has_flag("cancelled") && faults.is_empty() {
        return noted("the report of a cancelled job lacks the flag `cancelled`");
    }
    faults_or_passed(faults)
}

fn recover(context: &Context) -> Verdict {
    let (desk, (opened, host)) = (Desk::new()?, context.open()?);
    let ended = desk.job(1, "exit 4")?;
    run_to_end(&opened, &host, std::slice::from_ref(&ended))?;
    let runs = desk.job(2, "sleep 1; exit 5")?;
    opened
        .runner()?
        .submit(std::slice::from_ref(&runs))
        .map_err(told)?;
    std::thread::sleep(Duration::from_millis(300));
    opened.runner()?.shutdown().map_err(told)?;
    let never = desk.job(3, "exit 0")?;
    let (next, next_host) = context.open()?;
    let asked = [
        recover_request(&ended),
        recover_request(&runs),
        recover_request(&never),
    ];
    let answers = next.runner()?.recover(&asked).map_err(told)?;
    let mut faults = Vec::new();
    let (first, second, third) = (&answers[0], &answers[1], &answers[2]);
    if first.status != RecoverStatus::FINISHED || first.report.exit_code != 4 {
        faults.push(format!(
            "a job that ended with 4 is recovered as {} with exit code {}",
            first.status, first.report.exit_code
        ));
    }
    match second.status {
        RecoverStatus::RUNNING => {
            let reports = wait_for(&next, &next_host, std::slice::from_ref(&runs))?;
            if reports[0].exit_code != 5 {
                faults.push(format!(
                    "a job that ran on and ended with 5 is reported with {}",
                    reports[0].exit_code
                ));
            }
        }
        RecoverStatus::NOT_STARTED => {
            faults.push(
                "a job that runs is recovered as never started, so it would run twice".to_owned(),
            );
        }
        RecoverStatus::FINISHED => faults.push("a job that runs is recovered as ended".to_owned()),
        _ => {}
    }
    if third.status == RecoverStatus::FINISHED || third.status == RecoverStatus::RUNNING {
        faults.push(format!(
            "a job that was never started is recovered as {}",
            third.status
        ));
    }
    if faults.is_empty()
        && (second.status == RecoverStatus::LOST || third.status == RecoverStatus::LOST)
    {
        return noted(
            "a job that runs, or was never started, is given up as lost after a restart of the server",
        );
    }
    faults_or_passed(faults)
}

fn missing(context: &Context) -> Verdict {
    let (desk, (opened, host)) = (Desk::new()?, context.open()?);
    let mut job = desk.job(1, "exit 0")?;
    job.working_directory = desk
        .file("no-such-folder")
        .to_string_lossy()
        .into_owned()
        .into();
    let answers = opened
        .runner()?
        .submit(std::slice::from_ref(&job))
        .map_err(told)?;
    if !answers[0].accepted {
        return passed_with("it is refused");
    }
    let reports = wait_for(&opened, &host, std::slice::from_ref(&job))?;
    if reports[0].status == JobStatus::FINISHED && reports[0].exit_code == 0 {
        return Err("a job whose folder is missing is reported as a success".to_owned());
    }
    passed_with(reports[0].status.to_string())
}
