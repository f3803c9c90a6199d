//! Doing what `on_complete` of invocations asks for. What is to be done is in the database; here is only what is being
//! done now. Everything is done at least once: what a crash cut off is done again.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

use crate::fetch::Failure;
use crate::http::exports::{self, on_complete};
use crate::http::{App, invocations::completion_document};
use crate::model::hook::{self, Export, Hook};
use crate::scheduling::Services;
use crate::store::StoreError;
use crate::store::invocations;
use crate::store::scheduling::hooks::{self, Due, Outcome};

/// How long what a server has taken stays its own without a word from it, and how often it says so.
const LEASE: Duration = Duration::from_secs(60);
const RENEWAL: Duration = Duration::from_secs(15);
/// How many are worked on at once.
const AT_ONCE: usize = 8;
/// A look at the database that nobody asked for.
const IDLE_LOOK: Duration = Duration::from_secs(60);
const FAULT_PAUSE: Duration = Duration::from_secs(2);

/// The running loop.
pub struct Hooks {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Hooks {
    /// Begins with what an earlier server had not finished.
    pub async fn start(app: App, services: Arc<Services>) -> Result<Hooks, StoreError> {
        hooks::forget_claims(&services.store, services.membership.name()).await?;
        exports::begin(&app, services.membership.name(), &services.store).await?;
        let (stop, stopped) = watch::channel(false);
        let worker = Worker { app, services };
        let task = tokio::spawn(worker.run(stopped));
        Ok(Hooks { stop, task })
    }

    /// Lets go of everything; the next server begins it anew.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        let _ = self.task.await;
    }
}

#[derive(Clone)]
struct Worker {
    app: App,
    services: Arc<Services>,
}

impl Worker {
    async fn run(self, mut stopped: watch::Receiver<bool>) {
        let mut begun = JoinSet::new();
        // Archives whose server is silent: this one goes on with them.
        let mut archives = tokio::time::interval(IDLE_LOOK);
        archives.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let pause = match self.look(&mut begun).await {
                Ok(pause) => pause,
                Err(error) => {
                    tracing::error!("hooks: {}", crate::errors::chain(&error));
                    FAULT_PAUSE
                }
            };
            tokio::select! {
                _ = stopped.changed() => break,
                () = self.services.signals.next_hook_change() => {}
                Some(_) = begun.join_next() => {}
                _ = archives.tick() => {
                    if let Err(error) = exports::resume(&self.app).await {
                        tracing::error!("archives: {}", crate::errors::chain(&error));
                    }
                }
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Begins what there is room for. Answers how long to wait for the next look.
    async fn look(&self, begun: &mut JoinSet<()>) -> Result<Duration, StoreError> {
        let store = &self.services.store;
        let handler = self.services.membership.name();
        let room = AT_ONCE.saturating_sub(begun.len());
        if room == 0 {
            return Ok(IDLE_LOOK);
        }
        let now = self.services.clock.now_ms();
        let until = now + LEASE.as_millis() as i64;
        for key in hooks::due(&mut store.reader(), now, room).await? {
            if let Some(due) = hooks::claim(store, key, handler, now, until).await? {
                let worker = self.clone();
                begun.spawn(async move { worker.see_through(due).await });
            }
        }
        let next = hooks::next_time(&mut store.reader()).await?;
        let wait = next.map_or(IDLE_LOOK, |next| {
            Duration::from_millis(u64::try_from(next - now).unwrap_or(0))
        });
        Ok(wait.clamp(Duration::from_millis(20), IDLE_LOOK))
    }

    async fn see_through(&self, due: Due) {
        if let Err(error) = self.attempt(&due).await {
            tracing::error!(
                hook.name = due.name,
                "a hook could not be settled and is done again: {}",
                crate::errors::chain(&error)
            );
        }
    }

    /// One try, and what came of it.
    async fn attempt(&self, due: &Due) -> Result<(), StoreError> {
        let (store, clock) = (&self.services.store, &self.services.clock);
        let handler = self.services.membership.name();
        let work = self.perform(due);
        tokio::pin!(work);
        let tried = loop {
            tokio::select! {
                tried = &mut work => break tried,
                () = tokio::time::sleep(RENEWAL) => {
                    let until = clock.now_ms() + LEASE.as_millis() as i64;
                    if !hooks::renew(store, due, handler, until).await? {
                        return Ok(());
                    }
                }
            }
        };
        let now = clock.now_ms();
        let outcome = match tried {
            Ok(outcome) => outcome,
            Err(failure) => match hook::pause_after(due.attempts + 1) {
                Some(pause) if failure.may_pass => {
                    tracing::warn!(
                        hook.name = due.name,
                        "a hook is tried again later: {}",
                        failure.sentence
                    );
                    let message = &failure.sentence;
                    return hooks::put_off(store, due, handler, message, now + pause, now).await;
                }
                _ => Outcome::Failed(failure.sentence),
            },
        };
        if hooks::settle(store, due, handler, &outcome, now).await? {
            self.services.signals.mail_written();
        }
        Ok(())
    }

    async fn perform(&self, due: &Due) -> Result<Outcome, Failure> {
        let known = hook::parse(&due.name, &due.arguments).map_err(lasting)?;
        match known {
            Hook::SendNotification => self.notification(due).await,
            Hook::Webhook { url } => self.call(due, url).await,
            Hook::ExportToFileSource(export) => self.export(due, &export).await,
            Hook::Unknown(name) => Err(lasting(format!(
                "This server knows no action {name:?}; it knows send_notification, export_to_file_source and webhook."
            ))),
        }
    }

    async fn document(&self, due: &Due) -> Result<Value, Failure> {
        let mut q = self.services.store.reader();
        let document = completion_document(&self.app, &mut q, due.invocation_id).await;
        document.map_err(|error| passing(error.message_text().to_owned()))
    }

    async fn notification(&self, due: &Due) -> Result<Outcome, Failure> {
        let document = self.document(due).await?;
        let id = document["invocation_id"].as_str().unwrap_or_default();
        let mut body = format!("Your workflow invocation {id} is complete.\n\nIts jobs:\n");
        for (state, count) in document["job_state_summary"]
            .as_object()
            .into_iter()
            .flatten()
        {
            body.push_str(&format!("- {state}: {count}\n"));
        }
        Ok(Outcome::Notified {
            subject: format!("Workflow invocation {id} is complete"),
            body,
        })
    }

    async fn call(&self, due: &Due, url: String) -> Result<Outcome, Failure> {
        let document = self.document(due).await?;
        let uuid = document["uuid"].as_str().unwrap_or_default();
        let key = format!("{uuid}-{}", due.position);
        let sender = self.app.sender.clone();
        let body = document.to_string();
        let sent =
            tokio::task::spawn_blocking(move || sender.post_json(&url, body.as_bytes(), &key));
        match sent.await {
            Ok(sent) => sent.map(|status| Outcome::Done(json!({ "status": status }))),
            Err(_) => Err(passing(
                "Calling broke; the server's log says why.".to_owned(),
            )),
        }
    }

    async fn export(&self, due: &Due, export: &Export) -> Result<Outcome, Failure> {
        let store = &self.services.store;
        let gone = || lasting("The invocation is gone.".to_owned());
        let stored = |error: StoreError| passing(crate::errors::chain(&error));
        let found = invocations::by_id(&mut store.reader(), due.invocation_id).await;
        let invocation = found.map_err(stored)?.ok_or_else(gone)?;
        // What cannot be put anywhere need not be made.
        on_complete::destination(&self.app, export, "archive").map_err(lasting)?;
        let before = due.result["storage_request_id"].as_str();
        let before = before.and_then(|text| Uuid::parse_str(text).ok());
        let handler = self.services.membership.name();
        let uuid = match before {
            Some(uuid) if matches!(on_complete::made(&self.app, uuid).await, Ok(Some(_))) => uuid,
            _ => {
                let uuid = on_complete::order(&self.app, &invocation, export).await?;
                let note = json!({ "storage_request_id": uuid });
                hooks::note(store, due, handler, &note)
                    .await
                    .map_err(stored)?;
                let made = on_complete::made(&self.app, uuid).await?;
                made.map(|made| made.uuid)
                    .ok_or_else(|| passing("The file was removed.".to_owned()))?
            }
        };
        let place = on_complete::put(&self.app, &invocation, export, uuid).await?;
        let mut result = json!({ "storage_request_id": uuid });
        if let Some(place) = place {
            result["target"] = json!(place.display().to_string());
        }
        Ok(Outcome::Done(result))
    }
}

fn passing(sentence: String) -> Failure {
    Failure {
        sentence,
        may_pass: true,
    }
}

fn lasting(sentence: String) -> Failure {
    Failure {
        sentence,
        may_pass: false,
    }
}
