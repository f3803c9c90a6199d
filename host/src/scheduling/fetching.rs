//! Getting what was given by URL. What is to be got is in the database; here is only what is being got now. A few at
//! once, users in turn; one that breaks off is tried again, and after a crash it begins anew: the file gets its place
//! when it is complete, and only then the dataset is said to be there.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::engine::Services;
use crate::fetch::{Failure, Fetcher, Hash};
use crate::ingest::{How, Raw, TempPath, Work};
use crate::store::StoreError;
use crate::store::crash;
use crate::store::scheduling::ends::FileFacts;
use crate::store::scheduling::fetches::{self, Fetch, Outcome};

/// How long what a server has taken stays its own without a word from it, and how often it says so.
const LEASE: Duration = Duration::from_secs(60);
const RENEWAL: Duration = Duration::from_secs(15);
/// How often a passing failure is tried again, and after how long at first.
const TRIES_MAX: i64 = 4;
const FIRST_PAUSE_MS: i64 = 5_000;
/// Looks at the database that nobody asked for, while something is being got and while nothing is.
const BUSY_LOOK: Duration = Duration::from_secs(2);
const IDLE_LOOK: Duration = Duration::from_secs(60);

/// The running loop.
pub struct Fetching {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Fetching {
    /// Begins with what an earlier server had not finished.
    pub async fn start(services: Arc<Services>, fetcher: Fetcher) -> Result<Fetching, StoreError> {
        let handler = services.membership.name().to_owned();
        let left = fetches::forget_claims(&services.store, &handler).await?;
        if left > 0 {
            tracing::info!("fetching {left} datasets again that the last server had not finished");
        }
        let (stop, stopped) = watch::channel(false);
        let (done, ended) = mpsc::unbounded_channel();
        let state = Loop {
            services,
            fetcher,
            handler,
            flights: HashMap::new(),
            renewed: Instant::now(),
            gave_up: None,
            done,
        };
        let task = tokio::spawn(state.run(stopped, ended));
        Ok(Fetching { stop, task })
    }

    /// Lets go of everything that is being got; the next server begins it anew.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        let _ = self.task.await;
    }
}

/// A dataset that is being got.
struct Flight {
    user_id: i64,
    stop: Arc<AtomicBool>,
}

struct Loop {
    services: Arc<Services>,
    fetcher: Fetcher,
    handler: String,
    flights: HashMap<i64, Flight>,
    renewed: Instant,
    /// When it was last looked for what nobody wants any more.
    gave_up: Option<Instant>,
    done: mpsc::UnboundedSender<i64>,
}

impl Loop {
    async fn run(
        mut self,
        mut stopped: watch::Receiver<bool>,
        mut ended: mpsc::UnboundedReceiver<i64>,
    ) {
        let signals = self.services.signals.clone();
        loop {
            let pause = match self.look().await {
                Ok(pause) => pause,
                Err(error) => {
                    tracing::error!("what is to be fetched could not be looked at: {error}");
                    BUSY_LOOK
                }
            };
            tokio::select! {
                _ = stopped.changed() => break,
                () = signals.next_fetch_change() => self.gave_up = None,
                Some(dataset) = ended.recv() => drop(self.flights.remove(&dataset)),
                () = tokio::time::sleep(pause) => {}
            }
        }
        for flight in self.flights.values() {
            flight.stop.store(true, Ordering::Relaxed);
        }
    }

    /// Begins what there is room for, and gives up what nobody wants. Answers how long to wait for the next look.
    async fn look(&mut self) -> Result<Duration, StoreError> {
        let services = self.services.clone();
        if self.gave_up.is_none_or(|at| at.elapsed() >= BUSY_LOOK) {
            self.give_up().await?;
            self.gave_up = Some(Instant::now());
        }
        if self.renewed.elapsed() >= RENEWAL && !self.flights.is_empty() {
            let datasets: Vec<i64> = self.flights.keys().copied().collect();
            let until = services.clock.now_ms() + LEASE.as_millis() as i64;
            fetches::renew(&services.store, &datasets, &self.handler, until).await?;
            self.renewed = Instant::now();
        }
        while self.flights.len() < self.fetcher.rules().at_once {
            let now = services.clock.now_ms();
            let oldest = fetches::oldest(&mut services.store.reader(), now).await?;
            // Whoever has the least under way comes next, and then who has waited longest.
            let next = oldest
                .into_iter()
                .filter(|(_, dataset)| !self.flights.contains_key(dataset))
                .min_by_key(|(user, dataset)| {
                    let own = self.flights.values().filter(|f| f.user_id == *user);
                    (own.count(), *dataset)
                });
            let Some((_, dataset)) = next else { break };
            let until = now + LEASE.as_millis() as i64;
            let claimed =
                fetches::claim(&services.store, dataset, &self.handler, now, until).await?;
            if let Some(fetch) = claimed {
                self.begin(fetch);
            }
        }
        if !self.flights.is_empty() {
            return Ok(BUSY_LOOK);
        }
        let next = fetches::next_time(&mut services.store.reader()).await?;
        Ok(match next {
            None => IDLE_LOOK,
            Some(at) => {
                let ms = (at - services.clock.now_ms()).max(100) as u64;
                Duration::from_millis(ms).min(IDLE_LOOK)
            }
        })
    }

    fn begin(&mut self, fetch: Fetch) {
        let stop = Arc::new(AtomicBool::new(false));
        let flight = Flight {
            user_id: fetch.user_id,
            stop: stop.clone(),
        };
        self.flights.insert(fetch.dataset_id, flight);
        let get = Get {
            services: self.services.clone(),
            fetcher: self.fetcher.clone(),
            handler: self.handler.clone(),
            stop,
        };
        let done = self.done.clone();
        tokio::spawn(async move {
            let dataset = fetch.dataset_id;
            if let Err(error) = get.run(fetch).await {
                // It stays taken until the lease is over, and is then tried again.
                tracing::error!(
                    "what came of fetching dataset {dataset} could not be stored: {error}"
                );
            }
            let _ = done.send(dataset);
        });
    }

    async fn give_up(&mut self) -> Result<(), StoreError> {
        let services = self.services.clone();
        for dataset in fetches::unwanted(&mut services.store.reader()).await? {
            match self.flights.get(&dataset) {
                // Its own task ends it.
                Some(flight) => flight.stop.store(true, Ordering::Relaxed),
                None => settle(&services, dataset, &self.handler, Outcome::Unwanted)
                    .await
                    .map(drop)?,
            }
        }
        Ok(())
    }
}

/// Gets one dataset.
struct Get {
    services: Arc<Services>,
    fetcher: Fetcher,
    handler: String,
    stop: Arc<AtomicBool>,
}

impl Get {
    async fn run(self, fetch: Fetch) -> Result<(), StoreError> {
        let (dataset, attempts) = (fetch.dataset_id, fetch.attempts + 1);
        let fetched = self.fetch(fetch).await;
        let services = &self.services;
        let outcome = match fetched {
            // Left as it is, for the next server; what is unwanted is settled by the loop's next look.
            Err(_) if self.stop.load(Ordering::Relaxed) => {
                let now = services.clock.now_ms();
                return fetches::put_off(&services.store, dataset, &self.handler, 0, 0, now).await;
            }
            Err(failure) if failure.may_pass && attempts < TRIES_MAX => {
                let now = services.clock.now_ms();
                let pause = FIRST_PAUSE_MS << (attempts - 1).clamp(0, 10);
                tracing::info!("dataset {dataset}, try {attempts} of {TRIES_MAX}: {failure}");
                let later = now + pause;
                return fetches::put_off(&services.store, dataset, &self.handler, 1, later, now)
                    .await;
            }
            Err(failure) => Outcome::Failed(failure.sentence),
            Ok(facts) => Outcome::Fetched(facts),
        };
        let is_fetched = matches!(outcome, Outcome::Fetched(_));
        crash::point("fetch.placed", crash::Side::Before);
        crash::point("fetch.placed", crash::Side::After);
        let kept = settle(services, dataset, &self.handler, outcome).await?;
        if is_fetched && kept == Some(false) {
            let data = services.data.clone();
            let removed = tokio::task::spawn_blocking(move || data.remove(dataset)).await;
            if let Ok(Err(error)) = removed {
                tracing::warn!(
                    "the file of dataset {dataset}, which nobody wants, could not be removed: {error}"
                );
            }
        }
        Ok(())
    }

    /// On a thread of its own: a server that stops waits for none of them.
    async fn fetch(&self, fetch: Fetch) -> Result<FileFacts, Failure> {
        let (fetcher, data, stop) = (
            self.fetcher.clone(),
            self.services.data.clone(),
            self.stop.clone(),
        );
        let (answer, answered) = oneshot::channel();
        let work = move || {
            let file = TempPath::within(&data);
            fetcher.fetch(&fetch.url, file.as_path(), fetcher.limits(), &stop)?;
            let disk = |error| Failure {
                sentence: format!("It could not be stored: {error}."),
                may_pass: true,
            };
            for hash in Hash::from_json(&fetch.hashes).unwrap_or_default() {
                if let Some(sentence) = hash.check(file.as_path()).map_err(disk)? {
                    return Err(Failure {
                        sentence,
                        may_pass: false,
                    });
                }
            }
            let how = How {
                extension: fetch.extension,
                dbkey: fetch.dbkey,
                to_posix_lines: fetch.to_posix_lines,
                space_to_tab: fetch.space_to_tab,
            };
            let done = Work::new(&data, fetch.dataset_id, Raw::File(file), how)
                .run()
                .map_err(disk)?;
            Ok(FileFacts {
                size: done.bytes as i64,
                extension: done.extension,
                peek: done.peek,
                blurb: done.blurb,
                metadata: done.metadata,
                validity: None,
            })
        };
        let started = std::thread::Builder::new()
            .name("fetch".to_owned())
            .spawn(move || drop(answer.send(work())));
        let lost = |sentence: String| Failure {
            sentence,
            may_pass: true,
        };
        started.map_err(|error| lost(format!("It could not be begun: {error}.")))?;
        let broke = |_| lost("Fetching broke; the server's log says why.".to_owned());
        answered.await.map_err(broke)?
    }
}

/// Stores an outcome and tells whoever waits for it. Answers whether the file counts; None if it was settled before.
async fn settle(
    services: &Services,
    dataset: i64,
    handler: &str,
    outcome: Outcome,
) -> Result<Option<bool>, StoreError> {
    let now = services.clock.now_ms();
    let ended = fetches::settle(&services.store, dataset, handler, outcome, now).await?;
    Ok(ended.map(|ended| {
        if !ended.settled.ready.is_empty() {
            services.signals.jobs_changed();
        }
        if ended.settled.invocations {
            services.signals.invocations_changed();
        }
        ended.keeps_file
    }))
}
