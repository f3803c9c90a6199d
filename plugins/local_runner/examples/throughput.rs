//! Jobs per second and processor time per job, beside `xargs -P4 sh` in the same run.
//!
//! `cargo run --release -p barycenter-plugin-local-runner --example throughput [JOBS]`

use barycenter_plugin_api::testing::FakeHost;
use barycenter_plugin_api::{Attr, JobRunner, JobSpec, JobStatus, Plugin};
use local_runner::LocalRunner;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const WORKERS: usize = 4;

fn main() {
    let jobs: usize = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(1000);
    let folder = std::env::temp_dir().join(format!("barycenter-throughput-{}", std::process::id()));
    for round in 1..=3 {
        let base = folder.join(round.to_string());
        measure("xargs -P4 sh", jobs, || {
            with_xargs(&base.join("xargs"), jobs)
        });
        measure("local runner", jobs, || {
            with_runner(&base.join("runner"), jobs)
        });
    }
    std::fs::remove_dir_all(&folder).expect("remove the scratch folder");
}

fn measure(name: &str, jobs: usize, body: impl FnOnce() -> Duration) {
    let before = cpu_seconds();
    let wall = body().as_secs_f64();
    let cpu = cpu_seconds() - before;
    println!(
        "{name:14} {:6.0} jobs/s  {:.3} ms CPU per job",
        jobs as f64 / wall,
        cpu * 1000.0 / jobs as f64
    );
}

fn with_xargs(folder: &Path, jobs: usize) -> Duration {
    std::fs::create_dir_all(folder).expect("create");
    let mut list = String::new();
    for job in 0..jobs {
        let script = folder.join(format!("{job}.sh"));
        std::fs::write(&script, "true\n").expect("write");
        list.push_str(&format!("{}\n", script.display()));
    }
    let listing = folder.join("list");
    std::fs::write(&listing, list).expect("write");
    let begin = Instant::now();
    let status = Command::new("xargs")
        .args(["-P4", "-n1", "sh"])
        .stdin(std::fs::File::open(&listing).expect("open"))
        .stdout(Stdio::null())
        .status()
        .expect("run xargs");
    assert!(status.success());
    begin.elapsed()
}

fn with_runner(folder: &Path, jobs: usize) -> Duration {
    let specs: Vec<JobSpec> = (0..jobs).map(|job| spec(folder, job)).collect();
    let fake = FakeHost::new();
    let config = serde_json::json!({ "workers": WORKERS });
    let runner = LocalRunner::create(config, fake.host()).expect("create");
    let begin = Instant::now();
    let mut ended = 0;
    let mut next = 0;
    while ended < jobs {
        let room = (next - ended..5 * WORKERS).len().min(jobs - next);
        if room > 0 {
            let answers = runner.submit(&specs[next..next + room]).expect("submit");
            assert!(answers.iter().all(|answer| answer.accepted));
            next += room;
        }
        let reports = fake.wait_for_finished(Duration::from_secs(60), ended + 1);
        ended = reports.expect("in time");
    }
    let wall = begin.elapsed();
    let reports = fake.reports();
    assert!(
        reports
            .iter()
            .all(|report| report.status == JobStatus::RUNNING || report.exit_code == 0)
    );
    wall
}

fn spec(folder: &Path, job: usize) -> JobSpec {
    let directory = folder.join(job.to_string());
    std::fs::create_dir_all(&directory).expect("create");
    let path = |name: &str| directory.join(name).display().to_string().into();
    std::fs::write(directory.join("script.sh"), "true\n").expect("write");
    JobSpec {
        job_id: job as u64,
        token: format!("token-{job}").into(),
        working_directory: directory.display().to_string().into(),
        job_directory: directory.display().to_string().into(),
        script_path: path("script.sh"),
        shell: "/bin/sh".into(),
        environment: vec![Attr {
            name: "PATH".into(),
            value: "/usr/bin:/bin".into(),
        }]
        .into(),
        stdout_path: path("stdout"),
        stderr_path: path("stderr"),
        exit_code_path: path("exit_code"),
        cores: 1,
        log_limit_bytes: 1 << 20,
        ..JobSpec::default()
    }
}

/// Processor time of this process and its ended descendants.
fn cpu_seconds() -> f64 {
    let fields = std::fs::read_to_string("/proc/self/stat").expect("read");
    let after_name = fields.rsplit(')').next().expect("fields");
    let ticks: f64 = after_name
        .split_whitespace()
        .skip(11)
        .take(4)
        .filter_map(|field| field.parse::<f64>().ok())
        .sum();
    ticks / 100.0
}
