//! A job runner that goes wrong as its configuration says, by default with a panic in every method, and otherwise runs
//! each job with a shell and finds it again. For tests of the host.

use barycenter_plugin_api::{
    CancelResult, Host, JobRef, JobReport, JobRunner, JobSpec, JobStatus, List, Plugin,
    PluginError, RecoverRequest, RecoverResult, RecoverStatus, RunnerCapacity, SubmitResult,
};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

include!("../../faults.rs");

/// Goes wrong.
pub struct Faulty {
    faults: Faults,
    host: Host,
}

impl Plugin for Faulty {
    fn create(config: serde_json::Value, host: Host) -> Result<Self, PluginError> {
        let faults: Faults = serde_json::from_value(config)?;
        if faults.at == "create" {
            faults.strike("create");
        }
        Ok(Self { faults, host })
    }
}

fn started(spec: &JobSpec) -> PathBuf {
    Path::new(spec.job_directory.as_str()).join(format!("started-{}", spec.token))
}

fn report(spec: &JobSpec, exit_code: i32) -> JobReport {
    JobReport {
        job_id: spec.job_id,
        token: spec.token.clone(),
        status: JobStatus::FINISHED,
        exit_code,
        ..JobReport::default()
    }
}

fn exit_code(spec: &JobSpec) -> Option<i32> {
    std::fs::read_to_string(spec.exit_code_path.as_str())
        .ok()?
        .trim()
        .parse()
        .ok()
}

/// Tells the host when the job's exit code is there.
fn watch(spec: JobSpec, host: Host) {
    std::thread::spawn(move || {
        loop {
            if let Some(code) = exit_code(&spec) {
                return host.report_jobs(vec![report(&spec, code)]);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    });
}

fn run(spec: &JobSpec) -> std::io::Result<()> {
    std::fs::File::options()
        .write(true)
        .create_new(true)
        .open(started(spec))?;
    let open = |path: &str| {
        std::fs::File::options()
            .append(true)
            .create(true)
            .open(path)
    };
    let mut child = Command::new(spec.shell.as_str())
        .args([
            "-c",
            "( . \"$0\" ); echo $? >\"$1.tmp\"; mv \"$1.tmp\" \"$1\"",
        ])
        .arg(spec.script_path.as_str())
        .arg(spec.exit_code_path.as_str())
        .env_clear()
        .envs(
            spec.environment
                .iter()
                .map(|pair| (pair.name.as_str(), pair.value.as_str())),
        )
        .current_dir(spec.working_directory.as_str())
        .stdin(Stdio::null())
        .stdout(open(&spec.stdout_path)?)
        .stderr(open(&spec.stderr_path)?)
        .process_group(0)
        .spawn()?;
    std::thread::spawn(move || child.wait());
    Ok(())
}

impl JobRunner for Faulty {
    fn capacity(&self) -> RunnerCapacity {
        let slots_total = match self.faults.strike("capacity") {
            Some("huge") => u64::MAX,
            _ => 4,
        };
        RunnerCapacity {
            slots_total,
            queue_depth: slots_total,
            ..RunnerCapacity::default()
        }
    }

    fn submit(&self, jobs: &[JobSpec]) -> Result<List<SubmitResult>, PluginError> {
        let entry_too_many = vec![SubmitResult::accepted(1, "")];
        if jobs.is_empty() {
            return Ok(entry_too_many.into());
        }
        // Whether it goes wrong before the jobs are started, or after: `at` says.
        match self.faults.strike("submit") {
            Some("lie") => return Ok(entry_too_many.into()),
            Some("nothing") => return Ok(List::new()),
            Some("error") => return Err(PluginError::failed("It could not")),
            Some("garbage") => {
                let refuse = |job: &JobSpec| SubmitResult::refused(job.job_id, "\0\u{1b}[2J", true);
                return Ok(jobs.iter().map(refuse).collect());
            }
            _ => {}
        }
        let mut answers = List::new();
        for job in jobs {
            run(job)?;
            watch(job.clone(), self.host.clone());
            answers.push(SubmitResult::accepted(job.job_id, ""));
        }
        match self.faults.strike("submitted") {
            Some("forge") => {
                // News of jobs that it does not have, and of those that it has, wrongly.
                self.host.report_jobs(vec![
                    JobReport {
                        job_id: u64::MAX,
                        status: JobStatus(99),
                        ended_ms: i64::MIN,
                        ..JobReport::default()
                    },
                    JobReport {
                        job_id: jobs[0].job_id,
                        token: "another".into(),
                        status: JobStatus::LOST,
                        ..JobReport::default()
                    },
                ]);
            }
            Some("twice") => {
                let first = answers[0].clone();
                answers.push(first);
            }
            Some("error") => {
                return Err(PluginError::failed("It could, and says that it could not"));
            }
            _ => {}
        }
        Ok(answers)
    }

    fn cancel(&self, jobs: &[JobRef]) -> Result<List<CancelResult>, PluginError> {
        self.faults.strike("cancel");
        Ok(jobs
            .iter()
            .map(|job| CancelResult {
                job_id: job.job_id,
                ..CancelResult::default()
            })
            .collect())
    }

    fn recover(&self, jobs: &[RecoverRequest]) -> Result<List<RecoverResult>, PluginError> {
        self.faults.strike("recover");
        let recover = |job: &RecoverRequest| {
            let spec = &job.spec;
            let (status, report) = match (started(spec).exists(), exit_code(spec)) {
                (false, _) => (RecoverStatus::NOT_STARTED, JobReport::default()),
                (true, Some(code)) => (RecoverStatus::FINISHED, report(spec, code)),
                (true, None) => {
                    watch(spec.clone(), self.host.clone());
                    (
                        RecoverStatus::RUNNING,
                        JobReport {
                            status: JobStatus::RUNNING,
                            ..report(spec, 0)
                        },
                    )
                }
            };
            RecoverResult {
                job_id: spec.job_id,
                status,
                report,
                ..RecoverResult::default()
            }
        };
        Ok(jobs.iter().map(recover).collect())
    }

    fn poll(&self, _: &[JobRef]) -> Result<List<JobReport>, PluginError> {
        self.faults.strike("poll");
        Ok(List::new())
    }

    fn shutdown(&self) {
        self.faults.strike("shutdown");
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        self.faults.strike("drop");
    }
}

barycenter_plugin_api::export_job_runner! { type: "faulty-runner", schema: FAULTS_SCHEMA, Faulty }
