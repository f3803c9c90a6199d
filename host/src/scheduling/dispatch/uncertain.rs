//! What became of the jobs of a runner whose process was lost while this server went on, or that could not say so.

use barycenter_plugin_api::{RecoverRequest, RecoverStatus};

use super::Dispatcher;
use super::recover::status_word;
use crate::store::StoreError;

impl Dispatcher {
    /// Asks the runners whose process was lost, or whose last answer said nothing, what became of their jobs.
    pub(super) async fn ask_the_uncertain(&mut self) -> Result<(), StoreError> {
        let mut reports = Vec::new();
        for (instance, generation) in self.runners.take_doubtful() {
            let runner = instance.id();
            let settings = &self.services.settings;
            let requests: Vec<RecoverRequest> = self
                .runners
                .of(runner)
                .map(|held| RecoverRequest {
                    spec: held.prepared.spec(held.id, held.token, settings),
                    external_id: held.external_id.clone().unwrap_or_default().into(),
                    ..Default::default()
                })
                .collect();
            if requests.is_empty() {
                self.runners.settled(runner, generation);
                continue;
            }
            let found = match instance.recover(&requests) {
                Ok(found) => found,
                Err(error) => {
                    tracing::error!(
                        plugin = runner,
                        "a runner could not say what became of its {} jobs and is asked again: {error}",
                        requests.len()
                    );
                    continue;
                }
            };
            self.runners.settled(runner, generation);
            for result in found {
                let id = result.job_id as i64;
                let Some(held) = self.runners.get(id) else {
                    continue;
                };
                tracing::info!(
                    job.id = id,
                    plugin = runner,
                    "a job of a runner that was lost: {}",
                    status_word(result.status)
                );
                let is_elsewhere = result.status == RecoverStatus::LOST
                    && self.elsewhere_of(&held.prepared.directory).is_some();
                match answer(result.status, held.seen_running, is_elsewhere) {
                    Answer::PutBack => {
                        // Its directory stays: the old process may have been about to start it.
                        self.runners.remove(id);
                        self.unplaced.push(id);
                        continue;
                    }
                    Answer::Judge => {
                        self.runners.remove(id);
                        self.stopping.remove(&id);
                        self.sharing.expect_unclaimed();
                        continue;
                    }
                    Answer::Report => {}
                }
                let mut report = result.report;
                report.job_id = result.job_id;
                report.token = held.token.to_string().into();
                reports.push(report);
            }
        }
        self.take_reports(reports).await
    }
}

/// What is done with a job after its runner was asked once more.
#[derive(Debug, PartialEq)]
enum Answer {
    /// It is ready again.
    PutBack,
    /// Another machine may be running it, which this runner cannot see: it is judged as any job of a server that is gone.
    Judge,
    /// What the runner says of it is taken.
    Report,
}

fn answer(status: RecoverStatus, seen_running: bool, is_elsewhere: bool) -> Answer {
    match status {
        RecoverStatus::NOT_STARTED if !seen_running => Answer::PutBack,
        RecoverStatus::LOST if is_elsewhere => Answer::Judge,
        _ => Answer::Report,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_of_another_machine_is_not_lost_because_its_runner_answered_late() {
        assert_eq!(answer(RecoverStatus::LOST, true, true), Answer::Judge);
        assert_eq!(answer(RecoverStatus::LOST, true, false), Answer::Report);
        let ended = answer(RecoverStatus::FINISHED, true, true);
        assert_eq!(ended, Answer::Report);
        let fresh = answer(RecoverStatus::NOT_STARTED, false, false);
        assert_eq!(fresh, Answer::PutBack);
        let ran = answer(RecoverStatus::NOT_STARTED, true, false);
        assert_eq!(ran, Answer::Report);
    }
}
