//! What plugins ask of the server: about invocations, jobs and users, and what passive schedulers take and report. A question
//! comes from a plugin's thread and is answered by a task of its own, so nothing that a plugin is called from waits for
//! itself.

use std::collections::HashMap;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use barycenter_plugin_api::passive::{ClaimRequest, WorkReport, kind};
use barycenter_plugin_api::{PluginError, ReadyJob};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{Semaphore, mpsc};

use super::dispatch::Queue;
use super::dispatch::passive::{Passive, told};
use super::engine::Services;
use crate::store::scheduling::leases;

/// Questions that wait to be answered; more are refused.
const WAITING_MAX: usize = 256;
/// Questions answered at the same time.
const AT_ONCE: usize = 8;
/// How long a plugin waits for an answer.
const ANSWER: Duration = Duration::from_secs(20);
/// A plugin may ask so many at once, and so many in a second from then on.
const BURST: f64 = 200.0;
const PER_SECOND: f64 = 50.0;
/// Jobs told at once.
const JOBS_MAX: usize = 1_000;

type Answer = Result<String, PluginError>;

/// A question on its way.
pub struct Question {
    plugin: String,
    kind: String,
    json: String,
    answer: SyncSender<Answer>,
}

/// What asks, for the plugins' host services, and what is asked, for [`serve`].
pub fn channel() -> (
    impl Fn(&str, &str, &str) -> Answer + Send + Sync + 'static,
    mpsc::Receiver<Question>,
) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let rates: Mutex<HashMap<String, Rate>> = Mutex::default();
    let ask = move |plugin: &str, kind: &str, json: &str| {
        let pause = {
            let mut rates = rates.lock().unwrap_or_else(PoisonError::into_inner);
            let rate = rates.entry(plugin.to_owned()).or_default();
            rate.take(Instant::now())
        };
        if let Some(pause) = pause {
            return Err(PluginError::failed(format!(
                "Too many questions; ask again in {} ms",
                pause.as_millis().max(1)
            )));
        }
        let (answer, answers) = sync_channel(1);
        let question = Question {
            plugin: plugin.to_owned(),
            kind: kind.to_owned(),
            json: json.to_owned(),
            answer,
        };
        if sender.try_send(question).is_err() {
            return Err(PluginError::failed("The server takes no questions now"));
        }
        match answers.recv_timeout(ANSWER) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => Err(PluginError::failed("No answer in time")),
            Err(RecvTimeoutError::Disconnected) => Err(PluginError::failed("The server stops")),
        }
    };
    (ask, receiver)
}

/// A bucket of questions that fills again with time.
struct Rate {
    left: f64,
    at: Option<Instant>,
}

impl Default for Rate {
    fn default() -> Self {
        Self {
            left: BURST,
            at: None,
        }
    }
}

impl Rate {
    /// Takes one; when there is none, how long until there is.
    fn take(&mut self, now: Instant) -> Option<Duration> {
        let passed = self
            .at
            .map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.at = Some(now);
        self.left = (self.left + passed.as_secs_f64() * PER_SECOND).min(BURST);
        if self.left < 1.0 {
            return Some(Duration::from_secs_f64((1.0 - self.left) / PER_SECOND));
        }
        self.left -= 1.0;
        None
    }
}

/// Answers until nobody can ask any more.
pub async fn serve(services: Arc<Services>, queue: Queue, mut questions: mpsc::Receiver<Question>) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    while let Some(question) = questions.recv().await {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        let (services, queue) = (services.clone(), queue.clone());
        tokio::spawn(async move {
            let answer = answer(&services, &queue, &question).await;
            // Whoever asked may have given up.
            let _ = question.answer.send(answer);
            drop(place);
        });
    }
}

#[derive(Deserialize)]
struct OfInvocation {
    invocation_id: u64,
}

#[derive(Deserialize)]
struct OfLease {
    token: String,
    #[serde(default)]
    lease_ms: i64,
    #[serde(default)]
    reports: Vec<WorkReport>,
}

#[derive(Deserialize)]
struct Limit {
    limit: usize,
}

async fn answer(services: &Arc<Services>, queue: &Queue, question: &Question) -> Answer {
    let scheduler = services.plugins.scheduler(&question.plugin);
    let Some(scheduler) = scheduler else {
        return Err(PluginError::refused("Only schedulers may ask"));
    };
    let passive = Passive {
        services,
        queue,
        scheduler: &question.plugin,
        born_ms: scheduler.supervision().born_ms(),
    };
    scheduler.heard();
    let kind = question.kind.as_str();
    if scheduler.is_active()
        && matches!(
            kind,
            kind::CLAIM | kind::RENEW | kind::RELEASE | kind::REPORT
        )
    {
        return Err(PluginError::refused(
            "Only passive schedulers take invocations by themselves",
        ));
    }
    if kind == kind::CLAIM && !scheduler.is_enabled() {
        return Err(PluginError::refused(
            "An administrator disabled this scheduler: it gets no new work",
        ));
    }
    let json = question.json.as_str();
    match kind {
        kind::INVOCATION => {
            let asked: OfInvocation = read(json)?;
            write(&passive.invocation(row_id(asked.invocation_id)).await?)
        }
        kind::STEPS => {
            let asked: OfInvocation = read(json)?;
            write(&passive.steps(row_id(asked.invocation_id)).await?)
        }
        kind::READY_JOBS => {
            let asked: Limit = read(json)?;
            let limit = asked.limit.min(JOBS_MAX);
            let mut reader = services.store.reader();
            let found = leases::ready_for(&mut reader, passive.holder(), limit).await;
            let jobs: Vec<ReadyJob> = found.map_err(told)?.iter().map(Queue::offer).collect();
            write(&jobs)
        }
        kind::USER_LOAD => write(&queue.capacity().load),
        kind::CLAIM => write(&passive.claim(read::<ClaimRequest>(json)?).await?),
        kind::RENEW => {
            let asked: OfLease = read(json)?;
            write(&passive.renew(&asked.token, asked.lease_ms).await?)
        }
        kind::RELEASE => {
            let asked: OfLease = read(json)?;
            passive.release(&asked.token).await?;
            write(&Value::Null)
        }
        kind::REPORT => {
            let asked: OfLease = read(json)?;
            write(&passive.report(&asked.token, asked.reports).await?)
        }
        unknown => Err(PluginError::refused(format!(
            "The host knows no query `{unknown}`"
        ))),
    }
}

/// A number that no row has stands for one that is too large.
fn row_id(id: u64) -> i64 {
    i64::try_from(id).unwrap_or(-1)
}

fn read<T: serde::de::DeserializeOwned>(json: &str) -> Result<T, PluginError> {
    serde_json::from_str(json).map_err(|error| PluginError::invalid(error.to_string()))
}

fn write<T: Serialize>(answer: &T) -> Answer {
    Ok(serde_json::to_string(answer)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_may_ask_a_burst_and_then_so_many_in_a_second() {
        let mut rate = Rate::default();
        let begin = Instant::now();
        let taken = (0..1000).take_while(|_| rate.take(begin).is_none()).count();
        assert_eq!(taken, 200);
        let pause = rate.take(begin).expect("nothing left");
        assert!(pause <= Duration::from_millis(20), "{pause:?}");
        let later = begin + Duration::from_secs(1);
        let taken = (0..1000).take_while(|_| rate.take(later).is_none()).count();
        assert_eq!(taken, 50);
    }
}
