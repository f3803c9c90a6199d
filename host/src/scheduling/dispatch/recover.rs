//! What became of the jobs that runners had for a server that is gone. Each is found running and taken over again, found
//! finished and settled, found never started and handed over once more, or found lost and failed.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::{Duration, Instant};

use barycenter_plugin_api::{JobReport, RecoverRequest, RecoverStatus};

use super::Dispatcher;
use super::directory::Before;
use super::elsewhere::{self, Verdict};
use super::outcome::failed;
use super::prepare::{self, Prepared, Unmade, Unwritten};
use super::runners::Held;
use super::stamp;
use crate::model::state::JobState;
use crate::plugins::PluginCallError;
use crate::store::StoreError;
use crate::store::scheduling::ends::JobEnd;
use crate::store::scheduling::jobs::{self, Active, ReadyJob};
use crate::store::scheduling::leases::is_passive_runner;
use crate::tools::expression::AWAY_AGAIN_MS;

/// All users' scripts together have so much time while the jobs of a server that is gone are looked at, which is much less
/// than a lease: what does not fit goes the way of all ready jobs.
const SCRIPTS: Duration = Duration::from_secs(2);

impl Dispatcher {
    /// Asks the runners about the jobs they had for a server that is gone: this one's last life, or another whose work
    /// was taken over.
    pub async fn recover(&mut self) -> Result<(), StoreError> {
        let services = self.services.clone();
        let mut reader = services.store.reader();
        let mut active = jobs::active(
            &mut reader,
            services.membership.name(),
            "'queued', 'running', 'deleting', 'stop'",
        )
        .await?;
        // What passive schedulers have they keep, under their leases.
        active.retain(|job| !self.runners.has(job.id) && !is_passive_runner(job.runner.as_deref()));
        self.elsewhere
            .keep_only(&active.iter().map(|job| job.id).collect());
        let at = Instant::now();
        active.retain(|job| !self.elsewhere.rests(job.id, at));
        if active.is_empty() {
            return Ok(());
        }
        let is_known = |job: &Active| self.elsewhere.host_of(job.id).is_some();
        let new = active.iter().filter(|job| !is_known(job)).count();
        if new > 0 {
            tracing::info!(
                job.count = new,
                "asking the runners about {new} jobs of the last server"
            );
        }
        let ids: Vec<i64> = active.iter().map(|job| job.id).collect();
        let mut loaded = prepare::load(&mut reader, &services, &ids).await?;
        let mut by_runner: BTreeMap<String, Vec<(Active, Prepared)>> = BTreeMap::new();
        let mut ends = Vec::new();
        let now = services.clock.now_ms();
        for job in active {
            let Some(dispatch) = loaded.jobs.remove(&job.id) else {
                continue;
            };
            let ready = as_ready(&job, &dispatch.tool_id);
            match prepare::prepare(&services, &loaded, dispatch, &ready) {
                Ok(prepared) => {
                    let runner = job.runner.clone().unwrap_or_default();
                    by_runner.entry(runner).or_default().push((job, prepared));
                }
                Err((dispatch, text)) => ends.push(failed(&dispatch, &text, now)),
            }
        }
        let mut reports = Vec::new();
        let mut time = SCRIPTS;
        for (runner, jobs) in by_runner {
            ends.extend(self.recover_from(&runner, jobs, &mut reports, &mut time));
        }
        if !ends.is_empty() {
            self.store_ends(ends).await?;
        }
        self.take_reports(reports).await?;
        // Last: what it is about is looked at again where it fails, and what the runners said is said once.
        self.give_away().await
    }

    /// The other machine that wrote this directory, where there can be several.
    pub(super) fn elsewhere_of(&self, directory: &Path) -> Option<String> {
        match self.services.store.is_shared() {
            true => stamp::elsewhere(directory),
            false => None,
        }
    }

    fn recover_from(
        &mut self,
        runner: &str,
        jobs: Vec<(Active, Prepared)>,
        reports: &mut Vec<JobReport>,
        time: &mut Duration,
    ) -> Vec<JobEnd> {
        let Some(instance) = self.runners.instance(runner).cloned() else {
            let count = jobs.len();
            tracing::error!(
                "{count} jobs belong to the job runner {runner}, which is not loaded; they wait until it is"
            );
            return Vec::new();
        };
        let settings = &self.services.settings;
        let requests: Vec<RecoverRequest> = jobs
            .iter()
            .map(|(job, prepared)| RecoverRequest {
                spec: prepared.spec(job.id, job.token, settings),
                external_id: job.external_id.clone().unwrap_or_default().into(),
                started_ms: job.started_ms.unwrap_or(0),
                ..Default::default()
            })
            .collect();
        let mut found: HashMap<u64, _> = match instance.recover(&requests) {
            Ok(found) => found
                .into_iter()
                .map(|result| (result.job_id, result))
                .collect(),
            Err(error) => {
                tracing::error!(
                    plugin = runner,
                    "a runner could not say what became of its jobs: {error}"
                );
                if !matches!(error, PluginCallError::Refused { .. }) {
                    // That is not an answer: it is asked again.
                    self.runners.doubt(runner);
                    for (job, prepared) in jobs {
                        self.runners
                            .add(runner, held(&job, prepared, self.started_ms));
                    }
                    return Vec::new();
                }
                HashMap::new()
            }
        };
        let (mut again, mut ends) = (Vec::new(), Vec::new());
        let now = self.services.clock.now_ms();
        for (job, mut prepared) in jobs {
            let ready = as_ready(&job, &prepared.dispatch.tool_id);
            let result = found.remove(&(job.id as u64));
            let status = result.as_ref().map_or(RecoverStatus::LOST, |r| r.status);
            let directory = &prepared.directory;
            if status == RecoverStatus::LOST
                && let Some(host) = self.elsewhere_of(directory)
            {
                let there = self.services.membership.view().runner_on(&host);
                let now_here = Instant::now();
                let verdict = self
                    .elsewhere
                    .judge(job.id, &host, there.as_deref(), now_here);
                match verdict {
                    Verdict::Wait(true) => tracing::warn!(
                        job.id = job.id,
                        "a job was started on {host}, whose server is gone; its end is waited for"
                    ),
                    Verdict::Wait(false) | Verdict::Given => {}
                    Verdict::GiveUp => {
                        let why = elsewhere::given_up(&host);
                        ends.push(failed(&prepared.dispatch, &why, now));
                    }
                }
                continue;
            }
            self.elsewhere.forget(job.id);
            tracing::info!(
                job.id = job.id,
                "a job of the last server: {}",
                status_word(status)
            );
            let has_folder = directory.join("script.sh").is_file();
            let went_down = stamp::went_down_since(directory);
            match next(status, job.state, has_folder, went_down) {
                Next::Submit => {
                    // The last server may have ended between the hand-over and the directory, or the machine before it
                    // was safe on the disk.
                    let placed = match stamp::is_whole_here(directory, job.token) {
                        true => Placed::There,
                        false => self.place_again(&job, &mut prepared, time),
                    };
                    match placed {
                        Placed::There => again.push((ready, prepared)),
                        Placed::Failed(text) => ends.push(failed(&prepared.dispatch, &text, now)),
                        Placed::Later => self.unplaced.push(job.id),
                        Placed::Again => self.wake(now + AWAY_AGAIN_MS),
                    }
                    continue;
                }
                Next::Fail(why) => {
                    ends.push(failed(&prepared.dispatch, why, now));
                    continue;
                }
                Next::Report => {}
            }
            self.runners
                .add(runner, held(&job, prepared, self.started_ms));
            // That it was started may not have been stored yet.
            if status != RecoverStatus::RUNNING || job.state == JobState::Queued {
                let mut report = result.map(|r| r.report).unwrap_or_default();
                report.job_id = job.id as u64;
                report.token = job.token.to_string().into();
                reports.push(report);
            }
        }
        let (refused, later) =
            self.runners
                .submit(runner, again, &self.services.settings.clone(), now);
        // More than the runner holds at once: they are looked at again from the start.
        self.unplaced.extend(later);
        ends.extend(refused.iter().map(|(job, text)| failed(job, text, now)));
        ends
    }

    /// Writes the directory of a job once more, with what its user's scripts say within their time.
    fn place_again(
        &mut self,
        job: &Active,
        prepared: &mut Prepared,
        time: &mut Duration,
    ) -> Placed {
        let made = self
            .slow
            .in_time(job.user_id, time, || prepare::render_again(prepared));
        match made {
            Some(Ok(())) => {}
            Some(Err(Unmade::Fault(text))) => return Placed::Failed(text),
            Some(Err(Unmade::NoEngine)) => return put_off(job.state),
            Some(Err(Unmade::NoRoom(why))) => {
                self.lacks_room(why);
                return put_off(job.state);
            }
            None => return out_of_time(job.state),
        }
        match prepare::write(&self.services, prepared, job.token, Before::SameToken) {
            Ok(()) => Placed::There,
            Err(Unwritten::Fault(text)) => Placed::Failed(text),
            Err(Unwritten::NoRoom(why)) => {
                self.lacks_room(why);
                Placed::Later
            }
        }
    }
}

/// What is done with a job that the last server left.
#[derive(Debug, PartialEq)]
enum Next {
    /// Its directory is written once more, and it is handed to its runner under the same token.
    Submit,
    Fail(&'static str),
    /// What the runner says of it is taken.
    Report,
}

/// What became of the directory of a job that is to be handed over once more.
#[derive(Debug, PartialEq)]
enum Placed {
    There,
    Failed(String),
    /// The job is put back among the ready ones.
    Later,
    /// Nothing is done for now: its runner is asked about it once more.
    Again,
}

/// What is done with a job whose command takes longer to be made than there is time. One that was handed over and never
/// seen to run is ready once more, and the slow lane takes it; one that had started is not.
fn out_of_time(state: JobState) -> Placed {
    match state {
        JobState::Queued => Placed::Later,
        _ => Placed::Failed(NO_TIME.to_owned()),
    }
}

/// What is done with a job whose command cannot be made for want of something that the machine may have again.
fn put_off(state: JobState) -> Placed {
    match state {
        JobState::Queued => Placed::Later,
        _ => Placed::Again,
    }
}

/// Owners read these.
const FOLDER_GONE: &str =
    "The job had started, and its directory is gone, so how it ended is not known. Run it again.";
const NO_TIME: &str = "The job had started, its directory was not safe on the disk, and its command takes too long to be made once more. Run it again.";
const NOT_WHOLE: &str = "The machine went down before the results of this job were safe on its disk, so they may not be whole. Run it again.";

/// `has_folder`: the job's directory is there, with its script. `went_down`: the machine was started anew since the
/// directory was written, so files in it may be empty or short though the job had written them.
fn next(status: RecoverStatus, state: JobState, has_folder: bool, went_down: bool) -> Next {
    match (status, state) {
        (RecoverStatus::NOT_STARTED, JobState::Queued) => Next::Submit,
        (RecoverStatus::NOT_STARTED, _) if !has_folder => Next::Fail(FOLDER_GONE),
        (RecoverStatus::NOT_STARTED, _) => Next::Submit,
        (RecoverStatus::FINISHED, _) if went_down => Next::Fail(NOT_WHOLE),
        _ => Next::Report,
    }
}

fn held(job: &Active, prepared: Prepared, server_started_ms: i64) -> Held {
    Held {
        id: job.id,
        token: job.token,
        user_id: job.user_id,
        cores: job.cores.max(1) as u64,
        since_ms: job.started_ms.unwrap_or(0).max(server_started_ms),
        external_id: job.external_id.clone(),
        seen_running: job.state == JobState::Running,
        prepared,
    }
}

pub(super) fn status_word(status: RecoverStatus) -> &'static str {
    match status {
        RecoverStatus::RUNNING => "still running",
        RecoverStatus::FINISHED => "finished meanwhile",
        RecoverStatus::NOT_STARTED => "was never started",
        _ => "lost",
    }
}

fn as_ready(job: &Active, tool_id: &str) -> ReadyJob {
    ReadyJob {
        id: job.id,
        token: job.token,
        user_id: job.user_id,
        history_id: 0,
        invocation_id: None,
        scheduler: None,
        tool_id: tool_id.into(),
        cores: job.cores,
        memory_mb: job.memory_mb,
        ready_time: 0,
        create_time: 0,
        attempt: 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_never_started_is_handed_over_again_unless_it_was_known_to_run() {
        let found = |state, has_folder| next(RecoverStatus::NOT_STARTED, state, has_folder, false);
        assert_eq!(found(JobState::Queued, true), Next::Submit);
        assert_eq!(found(JobState::Queued, false), Next::Submit);
        assert_eq!(found(JobState::Running, true), Next::Submit);
        assert_eq!(found(JobState::Running, false), Next::Fail(FOLDER_GONE));
        assert_eq!(found(JobState::Deleting, false), Next::Fail(FOLDER_GONE));
    }

    #[test]
    fn a_job_whose_scripts_find_no_time_is_ready_again_unless_it_had_started() {
        assert_eq!(out_of_time(JobState::Queued), Placed::Later);
        let over = Placed::Failed(NO_TIME.to_owned());
        assert_eq!(out_of_time(JobState::Running), over);
    }

    #[test]
    fn a_job_whose_command_cannot_be_made_for_now_waits_whether_or_not_it_had_started() {
        assert_eq!(put_off(JobState::Queued), Placed::Later);
        assert_eq!(put_off(JobState::Running), Placed::Again);
        assert_eq!(put_off(JobState::Deleting), Placed::Again);
    }

    #[test]
    fn the_results_of_a_job_are_not_believed_after_the_machine_went_down() {
        let found = |went_down| next(RecoverStatus::FINISHED, JobState::Running, true, went_down);
        assert_eq!(found(false), Next::Report);
        assert_eq!(found(true), Next::Fail(NOT_WHOLE));
        let alive = next(RecoverStatus::RUNNING, JobState::Running, true, false);
        assert_eq!(alive, Next::Report);
    }
}
