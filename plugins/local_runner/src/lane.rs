//! The thread that starts jobs and sees them end.

use crate::config::Config;
use crate::job::{self, Files};
use crate::recover::{self, Adopted, Found, Processes};
use crate::shared::Shared;
use crate::sys::{self, Epoll, Reaped};
use barycenter_plugin_api::{Host, JobReport, JobSpec, JobStatus, RecoverStatus};
use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// The key of the waker among the epoll keys; jobs count from 1.
const WAKER: u64 = 0;

/// A job that ends sooner is not reported as running: its end says it all.
const REPORT_RUNNING_AFTER: Duration = Duration::from_millis(20);

/// How long no job is started after the machine lacked something.
const LACK_PAUSE: Duration = Duration::from_secs(1);

pub struct Lane {
    shared: Arc<Shared>,
    host: Host,
    epoll: Epoll,
    kill_grace: Duration,
    log_check: Duration,
    running: HashMap<u64, Running>,
    next_key: u64,
    reports: Vec<JobReport>,
    /// The machine lacked something (file descriptors, memory, room) when a job was to start: none is before this.
    resume_at: Option<Instant>,
}

/// A job with a live process.
struct Running {
    spec: JobSpec,
    files: Files,
    pid: i32,
    /// Closing it also takes it out of the epoll set.
    _pidfd: OwnedFd,
    /// Our own start, not an adopted one.
    ours: bool,
    started_ms: i64,
    report_running_at: Option<Instant>,
    time_limit_at: Option<Instant>,
    kill_at: Option<Instant>,
    check_logs_at: Option<Instant>,
    timed_out: bool,
    cancelled: bool,
    log_truncated: bool,
}

impl Lane {
    pub fn new(shared: Arc<Shared>, host: Host, config: &Config) -> io::Result<Self> {
        let epoll = Epoll::new()?;
        epoll.add(shared.waker.fd(), WAKER)?;
        Ok(Self {
            shared,
            host,
            epoll,
            kill_grace: config.kill_grace(),
            log_check: config.log_check(),
            running: HashMap::new(),
            next_key: WAKER + 1,
            reports: Vec::new(),
            resume_at: None,
        })
    }

    /// Runs until [`Shared::stop`].
    pub fn run(mut self) {
        let mut keys = Vec::new();
        loop {
            self.epoll.wait(&mut keys, self.until_next_timer());
            for key in &keys {
                if *key == WAKER {
                    self.shared.waker.clear();
                    self.adopt();
                    self.cancel();
                } else if let Some(job) = self.running.remove(key) {
                    self.end(job);
                }
            }
            self.timers();
            // Start before reporting: the processors should not wait for the host.
            while self.resume_at.is_none()
                && let Some(spec) = self.shared.next_job()
            {
                self.start(spec);
            }
            if !self.reports.is_empty() {
                self.host.report_jobs(std::mem::take(&mut self.reports));
            }
            if self.shared.is_stopped() {
                return;
            }
        }
    }

    fn start(&mut self, spec: JobSpec) {
        let files = Files::of(&spec);
        let started = SystemTime::now();
        let pid = match job::start(&spec, &files) {
            Ok(pid) => pid,
            Err(error) if sys::is_lack(&error) => {
                self.host.warn(format_args!(
                    "jobs wait, as none can be started for now: {error}"
                ));
                self.resume_at = Some(Instant::now() + LACK_PAUSE);
                return self.shared.not_now(spec);
            }
            Err(error) => {
                let message = format!(
                    "Could not start {} in {}: {error}",
                    spec.shell, spec.working_directory
                );
                return self.did_not_start(&spec, message);
            }
        };
        match sys::pidfd_open(pid) {
            Ok(pidfd) => self.watch(spec, files, pid, pidfd, job::to_ms(started), true),
            Err(error) => {
                // Without a descriptor its end would go unseen.
                sys::signal_group(pid, libc::SIGKILL);
                let message = format!("Process {pid} was killed, it cannot be watched: {error}");
                self.lost(&spec, pid, message);
            }
        }
    }

    fn adopt(&mut self) {
        for job in self.shared.take_adopted() {
            let Adopted {
                spec,
                files,
                pid,
                pidfd,
                started_ms,
            } = job;
            self.watch(spec, files, pid, pidfd, started_ms, false);
        }
    }

    fn watch(
        &mut self,
        spec: JobSpec,
        files: Files,
        pid: i32,
        pidfd: OwnedFd,
        started_ms: i64,
        ours: bool,
    ) {
        let key = self.next_key;
        self.next_key += 1;
        if let Err(error) = self.epoll.add(&pidfd, key) {
            sys::signal_group(pid, libc::SIGKILL);
            let message = format!("Process {pid} was killed, it cannot be watched: {error}");
            return self.lost(&spec, pid, message);
        }
        let now = Instant::now();
        let ran_for = u64::try_from(job::to_ms(SystemTime::now()) - started_ms).unwrap_or(0);
        let limit = Duration::from_millis(spec.time_limit_ms.saturating_sub(ran_for));
        self.running.insert(
            key,
            Running {
                files,
                pid,
                _pidfd: pidfd,
                ours,
                started_ms,
                report_running_at: ours.then(|| now + REPORT_RUNNING_AFTER),
                time_limit_at: (spec.time_limit_ms > 0)
                    .then(|| now.checked_add(limit))
                    .flatten(),
                kill_at: None,
                check_logs_at: (spec.log_limit_bytes > 0).then(|| now + self.log_check),
                timed_out: false,
                cancelled: false,
                log_truncated: false,
                spec,
            },
        );
    }

    fn cancel(&mut self) {
        let tokens = self.shared.take_cancelling();
        if tokens.is_empty() {
            return;
        }
        let kill_at = Instant::now() + self.kill_grace;
        for job in self.running.values_mut() {
            if tokens.contains(job.spec.token.as_str()) && !job.cancelled {
                job.cancelled = true;
                job.ask_to_end(kill_at);
            }
        }
    }

    fn until_next_timer(&self) -> Option<Duration> {
        let next = self
            .running
            .values()
            .filter_map(Running::next_timer)
            .chain(self.resume_at)
            .min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    fn timers(&mut self) {
        let now = Instant::now();
        let is_due = |timer: Option<Instant>| timer.is_some_and(|at| at <= now);
        if is_due(self.resume_at) {
            self.resume_at = None;
        }
        for job in self.running.values_mut() {
            if is_due(job.report_running_at) {
                job.report_running_at = None;
                self.reports.push(job.report(JobStatus::RUNNING));
            }
            if is_due(job.time_limit_at) {
                job.time_limit_at = None;
                job.timed_out = true;
                job.ask_to_end(now + self.kill_grace);
            }
            if is_due(job.kill_at) {
                job.kill_at = None;
                sys::signal_group(job.pid, libc::SIGKILL);
            }
            if is_due(job.check_logs_at) {
                job.check_logs_at = Some(now + self.log_check);
                job.log_truncated |= job::limit_logs(&job.spec);
            }
        }
    }

    /// The job's process has ended.
    fn end(&mut self, mut job: Running) {
        // While the leader is not reaped its number still means this group and no other.
        sys::signal_group(job.pid, libc::SIGKILL);
        // An adopted job is usually somebody else's child: then only its files tell.
        let reaped = sys::reap(job.pid);
        job.log_truncated |= job::limit_logs(&job.spec);
        let report = match reaped {
            Some(reaped) if job.ours && job.was_refused(&reaped) => return self.follow_first(job),
            Some(reaped) if job.ours => job.ended(reaped),
            _ => job.found_ended(),
        };
        self.shared.finished(&job.spec);
        self.reports.push(report);
    }

    /// The wrapper ran nothing, because another start of the same token came first (by the runner in whose place this one
    /// stands, say): what becomes of that one is what became of the job.
    fn follow_first(&mut self, job: Running) {
        let Running {
            spec, cancelled, ..
        } = job;
        let result = match recover::look(&spec, &Processes::now()) {
            Found::Alive(first) => {
                let first = *first;
                let (pid, started) = (first.pid, first.started_ms);
                self.watch(first.spec, first.files, pid, first.pidfd, started, false);
                let kill_at = Instant::now() + self.kill_grace;
                if let Some(first) = self.running.values_mut().find(|job| job.pid == pid) {
                    first.report_running_at = Some(Instant::now());
                    if cancelled {
                        first.cancelled = true;
                        first.ask_to_end(kill_at);
                    }
                }
                return;
            }
            Found::Ended(result) => *result,
        };
        if result.status == RecoverStatus::NOT_STARTED {
            let record = Files::of(&spec).record;
            let message = format!("Could not write {}", record.display());
            return self.did_not_start(&spec, message);
        }
        self.shared.finished(&spec);
        self.reports.push(result.report);
    }

    fn did_not_start(&mut self, spec: &JobSpec, message: String) {
        self.shared.finished(spec);
        self.reports.push(JobReport {
            job_id: spec.job_id,
            token: spec.token.clone(),
            status: JobStatus::FAILED_TO_START,
            message: message.into(),
            ..JobReport::default()
        });
    }

    fn lost(&mut self, spec: &JobSpec, pid: i32, message: String) {
        sys::reap(pid);
        self.shared.finished(spec);
        self.reports.push(JobReport {
            job_id: spec.job_id,
            token: spec.token.clone(),
            status: JobStatus::LOST,
            external_id: pid.to_string().into(),
            message: message.into(),
            ..JobReport::default()
        });
    }
}

impl Running {
    fn next_timer(&self) -> Option<Instant> {
        [
            self.report_running_at,
            self.time_limit_at,
            self.kill_at,
            self.check_logs_at,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn ask_to_end(&mut self, kill_at: Instant) {
        sys::signal_group(self.pid, libc::SIGTERM);
        // The first request sets the time; asking again does not put it off.
        self.kill_at.get_or_insert(kill_at);
    }

    fn report(&self, status: JobStatus) -> JobReport {
        JobReport {
            job_id: self.spec.job_id,
            token: self.spec.token.clone(),
            status,
            external_id: self.pid.to_string().into(),
            started_ms: self.started_ms,
            flags: self.flags().into(),
            ..JobReport::default()
        }
    }

    fn flags(&self) -> String {
        let mut words = Vec::new();
        for (is_set, word) in [
            (self.timed_out, "timeout"),
            (self.cancelled, "cancelled"),
            (self.log_truncated, "log_truncated"),
        ] {
            if is_set {
                words.push(word);
            }
        }
        words.join(" ")
    }

    /// The end of a process that this runner started.
    fn ended(&self, reaped: Reaped) -> JobReport {
        let signal = reaped.status.signal().unwrap_or(0);
        let code = reaped.status.code().unwrap_or(128 + signal);
        let mut report = JobReport {
            exit_code: code,
            signal: if signal == 0 {
                self.signal_behind(code)
            } else {
                signal
            },
            ended_ms: job::to_ms(SystemTime::now()),
            cpu_ms: reaped.cpu_ms,
            max_rss_kb: reaped.max_rss_kb,
            ..self.report(JobStatus::FINISHED)
        };
        if let Err(error) = self.settle(code, signal != 0) {
            report.message = format!("Its exit code could not be written: {error}").into();
        }
        report
    }

    /// Sees to it that the exit code is where it is wanted.
    fn settle(&self, code: i32, wrapper_was_killed: bool) -> io::Result<()> {
        if wrapper_was_killed && !matches!(self.files.recorded_exit_code(), Ok(Some(_))) {
            self.files.record_exit_code(code)?;
        }
        self.files.publish_exit_code()
    }

    /// The wrapper turns the signal that ended the script into an exit code. Believe that when it was
    /// this runner that sent one.
    fn signal_behind(&self, code: i32) -> i32 {
        let ended_by_us = self.timed_out || self.cancelled;
        match code - 128 {
            signal @ (libc::SIGTERM | libc::SIGKILL) if ended_by_us => signal,
            _ => 0,
        }
    }

    /// Whether the wrapper ran nothing: only then it ends so and records nothing.
    fn was_refused(&self, reaped: &Reaped) -> bool {
        reaped.status.code() == Some(125)
            && !matches!(self.files.recorded_exit_code(), Ok(Some(125)))
    }

    /// The end of a process of which only the files tell.
    fn found_ended(&self) -> JobReport {
        let mut report = match recover::look(&self.spec, &Processes::default()) {
            Found::Ended(result) => JobReport {
                external_id: self.pid.to_string().into(),
                started_ms: self.started_ms,
                ..result.report
            },
            Found::Alive(_) => self.report(JobStatus::LOST), // nobody is alive in an empty list
        };
        report.signal = self.signal_behind(report.exit_code);
        if report.status == JobStatus::LOST && (self.timed_out || self.cancelled) {
            // Killed by this runner before the wrapper could write: that is no riddle.
            report.status = JobStatus::FINISHED;
            report.signal = libc::SIGKILL;
            report.exit_code = 128 + libc::SIGKILL;
            report.message = Default::default();
            if let Err(error) = self.settle(report.exit_code, true) {
                report.message = format!("Its exit code could not be written: {error}").into();
            }
        }
        report.flags = self.flags().into();
        if report.ended_ms == 0 {
            report.ended_ms = job::to_ms(SystemTime::now());
        }
        report
    }
}
