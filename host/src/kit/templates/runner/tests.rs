//! Real processes in a folder of their own.

use super::*;
use barycenter_plugin_api::serde_json::json;
use barycenter_plugin_api::testing::FakeHost;
use std::path::{Path, PathBuf};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("{{name}}-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn job(&self, job_id: u64, script: &str) -> JobSpec {
        let file = |name: &str| -> PathBuf { self.0.join(format!("{job_id}.{name}")) };
        let text = |path: &Path| path.to_str().unwrap().into();
        std::fs::write(file("sh"), script).unwrap();
        JobSpec {
            job_id,
            token: format!("token-{job_id}").into(),
            working_directory: text(&self.0),
            job_directory: text(&self.0),
            script_path: text(&file("sh")),
            shell: "/bin/sh".into(),
            stdout_path: text(&file("out")),
            stderr_path: text(&file("err")),
            exit_code_path: text(&file("exit")),
            cores: 1,
            ..JobSpec::default()
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn runner(host: &FakeHost) -> {{Type}} {
    {{Type}}::create(json!({ "workers": 2 }), host.host()).unwrap()
}

fn ends(host: &FakeHost) -> Vec<JobReport> {
    let reports = host.reports().into_iter();
    reports
        .filter(|report| report.status != JobStatus::RUNNING)
        .collect()
}

#[test]
fn a_job_runs_and_its_exit_code_is_reported() {
    let (folder, host) = (Folder::new("runs"), FakeHost::new());
    let job = folder.job(1, "echo hello; exit 3");
    let runner = runner(&host);
    assert!(runner.submit(std::slice::from_ref(&job)).unwrap()[0].accepted);
    host.wait_for_finished(LIMIT, 1).expect("it ends");
    assert_eq!(ends(&host)[0].exit_code, 3);
    let told = std::fs::read_to_string(job.stdout_path.as_str()).unwrap();
    assert_eq!(told, "hello\n");
    // The next server finds how it ended.
    let request = RecoverRequest {
        spec: job,
        ..RecoverRequest::default()
    };
    let recovered = runner.recover(&[request]).unwrap();
    assert_eq!(recovered[0].status, RecoverStatus::FINISHED);
    assert_eq!(recovered[0].report.exit_code, 3);
}

#[test]
fn a_command_never_runs_twice() {
    let (folder, host) = (Folder::new("twice"), FakeHost::new());
    let job = folder.job(1, "echo ran >> count");
    let runner = runner(&host);
    for ended in [1, 2] {
        runner.submit(std::slice::from_ref(&job)).unwrap();
        host.wait_for_finished(LIMIT, ended).expect("it ends");
    }
    let count = std::fs::read_to_string(folder.0.join("count")).unwrap();
    assert_eq!(count, "ran\n");
}

#[test]
fn a_cancelled_job_ends() {
    let (folder, host) = (Folder::new("cancel"), FakeHost::new());
    let job = folder.job(1, "sleep 60");
    let runner = runner(&host);
    runner.submit(std::slice::from_ref(&job)).unwrap();
    let name = JobRef {
        job_id: 1,
        token: job.token.clone(),
        ..JobRef::default()
    };
    assert!(runner.cancel(&[name]).unwrap()[0].known);
    host.wait_for_finished(LIMIT, 1).expect("it ends");
    assert!(ends(&host)[0].has_flag("cancelled"));
}
