//! How jobs end: what runners report is noted, results are collected, and ends are stored before anybody acts on them.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use barycenter_plugin_api::{JobReport, JobStatus};

use super::outcome::failed;
use super::runners::{Held, Told};
use super::unbroken::{BROKEN, unbroken};
use super::{Dispatcher, collect, elsewhere, leftovers};
use crate::meter;
use crate::model::state::JobState;
use crate::scheduling::trouble::Trouble;
use crate::store::StoreError;
use crate::store::crash::{self, Side};
use crate::store::scheduling::ends::JobEnd;
use crate::store::scheduling::jobs::{self, Started};
use crate::store::scheduling::settle;

impl Dispatcher {
    /// Notes which jobs run, and settles those that are over.
    pub(super) async fn take_reports(&mut self, news: Vec<JobReport>) -> Result<(), StoreError> {
        if news.is_empty() {
            return Ok(());
        }
        let over: HashSet<u64> = news
            .iter()
            .filter(|r| r.status != JobStatus::RUNNING)
            .map(|r| r.job_id)
            .collect();
        let mut started = Vec::new();
        let mut ended = Vec::new();
        for report in news {
            let id = report.job_id as i64;
            let known = self
                .runners
                .get(id)
                .is_some_and(|held| held.token.to_string() == report.token.as_str());
            if !known {
                tracing::debug!(job.id = id, "a report about a job that is over was ignored");
                continue;
            }
            if report.status == JobStatus::RUNNING {
                if !over.contains(&report.job_id)
                    && let Some(held) = self.runners.get_mut(id)
                {
                    held.seen_running = true;
                    held.external_id = Some(report.external_id.to_string());
                    held.since_ms = held.since_ms.max(report.started_ms);
                    started.push(Started {
                        job_id: id,
                        external_id: report.external_id.to_string(),
                        started_ms: report.started_ms,
                        dataset_ids: held.prepared.dataset_ids(),
                    });
                }
            } else if let Some(held) =
                self.runners
                    .finish(id, &report, self.services.clock.now_ms())
            {
                self.stopping.remove(&id);
                ended.push((held, report));
            }
        }
        let now = self.services.clock.now_ms();
        if !started.is_empty() {
            // Not worth losing the ends for: a job that is not known to run is found out again.
            if let Err(error) = jobs::started(&self.services.store, &started, now).await {
                tracing::error!(
                    "the start of {} jobs could not be stored: {}",
                    started.len(),
                    crate::errors::chain(&error)
                );
            }
        }
        if !ended.is_empty() {
            self.settle(ended).await?;
        }
        Ok(())
    }

    /// Collects results and stores them, however long the database makes us wait: an end must not be lost.
    async fn settle(&mut self, mut ended: Vec<(Held, JobReport)>) -> Result<(), StoreError> {
        let services = self.services.clone();
        if services.store.is_shared() {
            // A server that was asleep may hear of jobs that another one has taken, and whose results are not its to touch.
            let ids: Vec<i64> = ended.iter().map(|(held, _)| held.id).collect();
            let still = self.still_held(&ids).await;
            ended.retain(|(held, _)| still.contains(&held.id));
            if ended.is_empty() {
                return Ok(());
            }
        }
        until_files_open().await;
        let now = services.clock.now_ms();
        let mut trouble = Trouble::new("the results of jobs find no room");
        let mut ends = Vec::with_capacity(ended.len());
        for (held, report) in &ended {
            let end = loop {
                let end = unbroken("collecting the results of a job", || {
                    collect::collect(&services, held, report)
                });
                match end.unwrap_or_else(|| Ok(failed(&held.prepared.dispatch, BROKEN, now))) {
                    Ok(end) => break end,
                    Err(why) => tokio::time::sleep(trouble.note_text(why)).await,
                }
            };
            ends.push(end);
        }
        trouble.is_over();
        crash::point("job.results", Side::After);
        self.store_ends(ends).await?;
        let directories = ended.into_iter().map(|(held, _)| held.prepared.directory);
        crash::point("job.tidy", Side::Before);
        self.leftovers.add(directories, Instant::now());
        leftovers::remove_later(self.leftovers.take_due(Instant::now()));
        Ok(())
    }

    /// Which of these jobs are still this server's to end, however long the database makes us wait for the answer.
    async fn still_held(&self, ids: &[i64]) -> HashSet<i64> {
        let me = self.services.membership.name();
        let mut trouble = Trouble::new("the ends of jobs cannot be stored yet");
        loop {
            let mut reader = self.services.store.reader();
            match jobs::still_held(&mut reader, me, ids).await {
                Ok(held) => {
                    trouble.is_over();
                    return held;
                }
                Err(error) => tokio::time::sleep(trouble.note(&error)).await,
            }
        }
    }

    /// Stores ends, however long the database makes us wait, and takes in what became ready by them.
    pub(super) async fn store_ends(&mut self, ends: Vec<JobEnd>) -> Result<(), StoreError> {
        // A database that is full or locked for a while must not lose an end: try until it is stored.
        let now = self.services.clock.now_ms();
        let mut trouble = Trouble::new("the ends of jobs cannot be stored yet");
        let settled = loop {
            match settle::settle(&self.services.store, ends.clone(), now).await {
                Ok(settled) => break settled,
                // Whoever has the jobs now stores how they ended.
                Err(error) if error.is_fenced() => return Err(error),
                Err(error) => tokio::time::sleep(trouble.note(&error)).await,
            }
        };
        trouble.is_over();
        let ok = ends.iter().filter(|end| end.state == JobState::Ok).count();
        meter::JOBS_OK.add(ok as u64);
        meter::JOBS_NOT_OK.add((ends.len() - ok) as u64);
        self.take_in(settled.ready);
        if settled.mail {
            self.services.signals.mail_written();
        }
        if settled.invocations {
            self.services.signals.invocations_changed();
        }
        Ok(())
    }

    /// Has runners stop the jobs that somebody wants stopped.
    pub(super) async fn stop_jobs(&mut self) -> Result<(), StoreError> {
        let mut reader = self.services.store.reader();
        let wanted = jobs::active(
            &mut reader,
            self.services.membership.name(),
            "'deleting', 'stop'",
        )
        .await?;
        let mut gone = Vec::new();
        for job in wanted {
            if self.stopping.contains(&job.id) {
                continue;
            }
            match self.runners.cancel(job.id) {
                Told::Stopping => drop(self.stopping.insert(job.id)),
                Told::Nobody => gone.push(job.id),
                // Asked again with the next look.
                Told::Later => {}
            }
        }
        if gone.is_empty() {
            return Ok(());
        }
        let mut ends = Vec::new();
        for job in jobs::load(&mut reader, &gone).await? {
            self.runners.remove(job.id);
            let why = match self.elsewhere.host_of(job.id) {
                Some(host) => elsewhere::stopped(host),
                None => "The job was stopped before it started.".to_owned(),
            };
            self.elsewhere.forget(job.id);
            ends.push(failed(&job, &why, self.services.clock.now_ms()));
        }
        self.store_ends(ends).await
    }
}

/// Without file descriptors no result can be looked at, which is not its job's fault: waits until there are some.
async fn until_files_open() {
    const NEEDED: usize = 3;
    let open = || -> std::io::Result<Vec<std::fs::File>> {
        (0..NEEDED)
            .map(|_| std::fs::File::open("/dev/null"))
            .collect()
    };
    let mut waited = false;
    while let Err(error) = open()
        && matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
    {
        if !std::mem::replace(&mut waited, true) {
            tracing::error!("results of jobs wait: {error}; raise the limit of open files");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    if waited {
        tracing::info!("there are file descriptors again");
    }
}
