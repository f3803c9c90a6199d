//! The runners and what each has of ours.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use barycenter_plugin_api::{Attr, JobRef, JobReport, List, RunnerOffer, UserLoad};
use uuid::Uuid;

use super::prepare::Prepared;
use super::queue::ReadyQueue;
use super::users::Users;
use crate::plugins::{Plugins, RunnerInstance};
use crate::scheduling::engine::EngineSettings;
use crate::store::scheduling::jobs::{Dispatch, ReadyJob};
use crate::store::users::Names;

/// A job that a runner has.
pub(super) struct Held {
    pub id: i64,
    pub token: Uuid,
    pub user_id: i64,
    pub cores: u64,
    /// Since when it counts as its user's, milliseconds since 1970.
    pub since_ms: i64,
    pub external_id: Option<String>,
    /// Its runner said that it runs.
    pub seen_running: bool,
    pub prepared: Prepared,
}

/// A runner that could not say what became of its jobs is asked again after this time.
const ASK_AGAIN: Duration = Duration::from_secs(1);

pub(super) struct Runner {
    pub instance: RunnerInstance,
    /// `None` while it has not said how much it can run.
    capacity: Option<(u64, u64)>,
    /// The start of the plugin that knows of its jobs. Another one has to be asked what became of them.
    generation: u64,
    /// Nobody knows whether some of its jobs were started: it has to be asked.
    uncertain: bool,
    ask_at: Instant,
    /// Slots asked for by the jobs it has.
    used: u64,
    jobs: HashMap<i64, Held>,
}

impl Runner {
    pub fn refs(&self) -> Vec<JobRef> {
        self.jobs.values().map(reference).collect()
    }

    fn slots(&self) -> u64 {
        self.capacity.map_or(0, |(slots, _)| slots)
    }

    /// How many more it takes now: none while it is not there, or has to say first what it has.
    fn accepts(&self) -> u64 {
        let takes_work = self.instance.is_enabled() && self.instance.supervision().may_be_called();
        if self.is_in_doubt() || !takes_work {
            return 0;
        }
        let (slots, queue_depth) = self.capacity.unwrap_or_default();
        slots
            .saturating_add(queue_depth)
            .min(ACCEPTS_MAX)
            .saturating_sub(self.used)
    }

    fn is_in_doubt(&self) -> bool {
        self.uncertain
            || self.capacity.is_none()
            || self.generation != self.instance.supervision().generation()
    }

    /// Asks how much it can run.
    fn ask_capacity(&mut self) {
        match self.instance.capacity() {
            Ok(capacity) => self.capacity = Some((capacity.slots_total, capacity.queue_depth)),
            Err(error) => tracing::error!(
                plugin = self.instance.id(),
                "a runner is not used yet: {error}"
            ),
        }
    }
}

fn reference(held: &Held) -> JobRef {
    JobRef {
        job_id: held.id as u64,
        token: held.token.to_string().into(),
        external_id: held.external_id.clone().unwrap_or_default().into(),
        ..Default::default()
    }
}

/// No runner gets more jobs than this, whatever it says.
const ACCEPTS_MAX: u64 = 1_000_000;

/// Slots times milliseconds.
fn slot_ms(slots: u64, begun: i64, ended: i64) -> u64 {
    slots * u64::try_from(ended - begun).unwrap_or(0)
}

/// What 1.1 tells about a user besides the numbers of jobs.
fn attrs(names: Option<&Names>, slots: u64, used_slot_ms: u64, since_ms: i64) -> List<Attr> {
    let mut attrs = vec![
        Attr::json("running_slots", &slots.into()),
        Attr::json("used_slot_ms", &used_slot_ms.into()),
        Attr::json("counted_since_ms", &since_ms.into()),
    ];
    if let Some(names) = names {
        attrs.push(Attr::json("username", &names.username.as_str().into()));
        attrs.push(Attr::json("email", &names.email.as_str().into()));
    }
    attrs.into()
}

/// What became of asking for a job to be stopped.
pub(super) enum Told {
    /// Its runner stops it, and will report its end.
    Stopping,
    /// No runner has it.
    Nobody,
    /// The runner could not be asked just now.
    Later,
}

#[derive(Default)]
pub(super) struct Runners {
    runners: BTreeMap<String, Runner>,
    /// Which runner has a job.
    of_job: HashMap<i64, String>,
    /// Since when uses are counted: when this server started, milliseconds since 1970.
    counted_since_ms: i64,
    /// What the jobs that ended have used since then, by user: slots times milliseconds.
    used_slot_ms: BTreeMap<i64, u64>,
}

impl Runners {
    pub fn new(plugins: &Plugins, now: i64) -> Runners {
        let mut runners = Runners {
            counted_since_ms: now,
            ..Runners::default()
        };
        for instance in plugins.runners() {
            runners.take_up(instance);
        }
        runners
    }

    fn take_up(&mut self, instance: RunnerInstance) {
        let id = instance.id().to_owned();
        let mut runner = Runner {
            generation: instance.supervision().generation(),
            instance,
            capacity: None,
            uncertain: false,
            ask_at: Instant::now() + ASK_AGAIN,
            used: 0,
            jobs: HashMap::new(),
        };
        runner.ask_capacity();
        self.runners.insert(id, runner);
    }

    /// Takes up runners that are new, and goes on with those that took another's place: the old one stops, and then the
    /// new one is asked what became of the jobs.
    pub fn follow(&mut self, plugins: &Plugins) {
        for instance in plugins.runners() {
            let Some(runner) = self.runners.get_mut(instance.id()) else {
                self.take_up(instance);
                continue;
            };
            if runner.instance.is(&instance) {
                continue;
            }
            // It must not start what waits with it while the new one is asked.
            if let Err(error) = runner.instance.shutdown() {
                tracing::warn!(
                    plugin = instance.id(),
                    "the old runner did not stop: {error}"
                );
            }
            runner.instance = instance;
            runner.capacity = None;
            runner.uncertain = true;
            runner.ask_at = Instant::now();
        }
    }

    pub fn instance(&self, id: &str) -> Option<&RunnerInstance> {
        self.runners.get(id).map(|runner| &runner.instance)
    }

    pub fn has(&self, job_id: i64) -> bool {
        self.of_job.contains_key(&job_id)
    }

    pub fn get(&self, job_id: i64) -> Option<&Held> {
        self.runners
            .get(self.of_job.get(&job_id)?)?
            .jobs
            .get(&job_id)
    }

    pub fn get_mut(&mut self, job_id: i64) -> Option<&mut Held> {
        self.runners
            .get_mut(self.of_job.get(&job_id)?)?
            .jobs
            .get_mut(&job_id)
    }

    /// The runner has this job.
    pub fn add(&mut self, runner: &str, held: Held) {
        if let Some(found) = self.runners.get_mut(runner) {
            found.used += held.cores;
            self.of_job.insert(held.id, runner.to_owned());
            found.jobs.insert(held.id, held);
        }
    }

    pub fn remove(&mut self, job_id: i64) -> Option<Held> {
        let runner = self.runners.get_mut(&self.of_job.remove(&job_id)?)?;
        let held = runner.jobs.remove(&job_id)?;
        runner.used = runner.used.saturating_sub(held.cores);
        Some(held)
    }

    /// The job has ended; what it used is counted for its user.
    pub fn finish(&mut self, job_id: i64, report: &JobReport, now: i64) -> Option<Held> {
        let held = self.remove(job_id)?;
        let ended = if report.ended_ms > 0 {
            report.ended_ms
        } else {
            now
        };
        let begun = report.started_ms.max(held.since_ms);
        *self.used_slot_ms.entry(held.user_id).or_default() += slot_ms(held.cores, begun, ended);
        Some(held)
    }

    /// The users whose jobs the runners have.
    pub fn users(&self) -> impl Iterator<Item = i64> + '_ {
        self.runners
            .values()
            .flat_map(|r| r.jobs.values().map(|held| held.user_id))
    }

    /// Jobs that all runners together take now.
    pub fn accepts(&self) -> usize {
        self.runners.values().map(|r| r.accepts() as usize).sum()
    }

    pub fn offers(&self) -> List<RunnerOffer> {
        let offers = self.runners.values().map(|runner| RunnerOffer {
            id: runner.instance.id().into(),
            slots_total: runner.slots(),
            slots_free: match runner.accepts() {
                0 => 0,
                _ => runner.slots().saturating_sub(runner.used),
            },
            accepts: runner.accepts(),
            ..Default::default()
        });
        offers.collect()
    }

    /// What each user has at the runners and waiting.
    pub fn load(&self, ready: &ReadyQueue, users: &Users, now: i64) -> List<UserLoad> {
        let mut running: BTreeMap<i64, u64> = BTreeMap::new();
        let mut slots: BTreeMap<i64, u64> = BTreeMap::new();
        let mut used = self.used_slot_ms.clone();
        for held in self.runners.values().flat_map(|r| r.jobs.values()) {
            *running.entry(held.user_id).or_default() += 1;
            *slots.entry(held.user_id).or_default() += held.cores;
            *used.entry(held.user_id).or_default() += slot_ms(held.cores, held.since_ms, now);
        }
        let mut waiting = ready.waiting();
        for user in running.keys() {
            waiting.entry(*user).or_default();
        }
        let loads = waiting.into_iter().map(|(user, queued)| UserLoad {
            user_id: user as u64,
            running: running.get(&user).copied().unwrap_or(0),
            queued: queued as u64,
            attrs: attrs(
                users.get(user),
                slots.get(&user).copied().unwrap_or(0),
                used.get(&user).copied().unwrap_or(0),
                self.counted_since_ms,
            ),
        });
        loads.collect()
    }

    /// Hands jobs over. Returns those refused for good, with the reason, and the ids of those refused for now.
    pub fn submit(
        &mut self,
        runner: &str,
        jobs: Vec<(ReadyJob, Prepared)>,
        settings: &EngineSettings,
        now: i64,
    ) -> (Vec<(Dispatch, String)>, Vec<i64>) {
        let Some(instance) = self.instance(runner).cloned() else {
            let gone = format!("There is no job runner {runner}.");
            return (
                jobs.into_iter()
                    .map(|(_, job)| (job.dispatch, gone.clone()))
                    .collect(),
                Vec::new(),
            );
        };
        let specs: Vec<_> = jobs
            .iter()
            .map(|(ready, job)| job.spec(ready.id, ready.token, settings))
            .collect();
        let mut answers: HashMap<u64, _> = match instance.submit(&specs) {
            Ok(answers) => answers
                .into_iter()
                .map(|answer| (answer.job_id, answer))
                .collect(),
            Err(error) if error.was_not_asked() => {
                tracing::warn!(plugin = runner, "jobs are not handed over yet: {error}");
                HashMap::new()
            }
            Err(error) => {
                tracing::error!(
                    plugin = runner,
                    "whether {} jobs were started is not known: {error}",
                    jobs.len()
                );
                self.doubt(runner);
                for (ready, prepared) in jobs {
                    self.add(runner, held(&ready, None, now, prepared));
                }
                return (Vec::new(), Vec::new());
            }
        };
        let (mut refused, mut later) = (Vec::new(), Vec::new());
        for (ready, prepared) in jobs {
            match answers.remove(&(ready.id as u64)) {
                Some(answer) if answer.accepted => {
                    let external_id =
                        (!answer.external_id.is_empty()).then(|| answer.external_id.to_string());
                    self.add(runner, held(&ready, external_id, now, prepared));
                }
                Some(answer) if !answer.retryable => {
                    refused.push((prepared.dispatch, answer.message.to_string()))
                }
                _ => later.push(ready.id),
            }
        }
        (refused, later)
    }

    /// Asks the runner that has the job to stop it.
    pub fn cancel(&self, job_id: i64) -> Told {
        let runner = self.of_job.get(&job_id).and_then(|id| self.runners.get(id));
        let Some((runner, held)) = runner.and_then(|r| Some((r, r.jobs.get(&job_id)?))) else {
            return Told::Nobody;
        };
        match runner.instance.cancel(&[reference(held)]) {
            Ok(answers) if answers.first().is_some_and(|answer| answer.known) => Told::Stopping,
            Ok(_) => Told::Nobody,
            Err(error) => {
                tracing::error!(
                    plugin = runner.instance.id(),
                    job.id = job_id,
                    "a job could not be stopped yet: {error}"
                );
                Told::Later
            }
        }
    }

    /// Asks every runner about its jobs, for those that cannot tell by themselves.
    pub fn poll(&self) -> Vec<JobReport> {
        let mut news = Vec::new();
        let there = |runner: &&Runner| {
            !runner.jobs.is_empty() && runner.instance.supervision().may_be_called()
        };
        for runner in self.runners.values().filter(there) {
            match runner.instance.poll(&runner.refs()) {
                Ok(reports) => news.extend(reports),
                Err(error) => tracing::warn!(
                    plugin = runner.instance.id(),
                    "a runner could not be polled: {error}"
                ),
            }
        }
        news
    }

    /// What this runner has is not known for sure: it is asked when it is there.
    pub fn doubt(&mut self, runner: &str) {
        if let Some(found) = self.runners.get_mut(runner) {
            found.uncertain = true;
        }
    }

    /// How long until a runner has to be asked what it has; `None` when none has to be.
    pub fn doubt_ends_in(&self) -> Option<Duration> {
        let now = Instant::now();
        let in_doubt = self.runners.values().filter(|runner| runner.is_in_doubt());
        in_doubt
            .map(|runner| runner.ask_at.saturating_duration_since(now))
            .min()
    }

    /// The runners that have to be asked now, and can be.
    pub fn take_doubtful(&mut self) -> Vec<(RunnerInstance, u64)> {
        let now = Instant::now();
        let mut found = Vec::new();
        for runner in self.runners.values_mut() {
            let may = runner.instance.supervision().may_be_called();
            if !may || !runner.is_in_doubt() || runner.ask_at > now {
                continue;
            }
            // Not again at once, whatever comes of it.
            runner.ask_at = now + ASK_AGAIN;
            let generation = runner.instance.supervision().generation();
            if runner.capacity.is_none() {
                runner.ask_capacity();
            }
            found.push((runner.instance.clone(), generation));
        }
        found
    }

    /// The jobs of a runner.
    pub fn of(&self, runner: &str) -> impl Iterator<Item = &Held> {
        self.runners
            .get(runner)
            .into_iter()
            .flat_map(|runner| runner.jobs.values())
    }

    /// The runner said what it has, when this was its start.
    pub fn settled(&mut self, runner: &str, generation: u64) {
        if let Some(found) = self.runners.get_mut(runner) {
            found.generation = generation;
            found.uncertain = false;
        }
    }
}

fn held(ready: &ReadyJob, external_id: Option<String>, now: i64, prepared: Prepared) -> Held {
    Held {
        id: ready.id,
        token: ready.token,
        user_id: ready.user_id,
        cores: ready.cores.max(1) as u64,
        since_ms: now,
        external_id,
        seen_running: false,
        prepared,
    }
}
