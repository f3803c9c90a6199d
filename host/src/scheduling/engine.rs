//! Starting and stopping the loops.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use barycenter_plugin_api::JobReport;
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinHandle;

use super::dispatch::{Dispatcher, Inbox, Queue};
use super::lanes::{Lane, SlowUsers};
use super::membership::Membership;
use super::monitor::Monitor;
use super::questions::{self, Question};
use super::signals::Signals;
use super::silence;
use super::states;
use crate::clock::Clock;
use crate::plugins::{PluginCallError, Plugins};
use crate::store::files::DataDir;
use crate::store::scheduling::holds;
use crate::store::workflows::RevisionCache;
use crate::store::{Store, StoreError};
use crate::tools::Toolbox;

/// What the loops work with.
pub struct Services {
    pub store: Store,
    pub revisions: Arc<RevisionCache>,
    pub data: DataDir,
    pub toolbox: Arc<Toolbox>,
    pub plugins: Arc<Plugins>,
    pub clock: Clock,
    pub signals: Signals,
    /// This process among those that share the database.
    pub membership: Arc<Membership>,
    pub settings: EngineSettings,
}

/// What an operator decides about scheduling.
#[derive(Clone, Debug)]
pub struct EngineSettings {
    /// Seconds after which an invocation that is still being scheduled fails; 0 or less: never.
    pub maximum_workflow_invocation_duration: i64,
    /// Only the oldest active invocation of a history proceeds.
    pub history_local_serial_workflow_scheduling: bool,
    /// For tools that name no time limit of their own.
    pub job_time_limit_seconds: Option<u64>,
    /// What is kept of a job's stdout and stderr, each, in bytes.
    pub job_log_limit_bytes: u64,
    pub shell: String,
    /// The command that sends mail, as `sendmail -t`; without one, mail is only logged.
    pub sendmail: Option<String>,
    /// Seconds between looks at the database that no signal asked for.
    pub poll_seconds: u64,
    /// How long a job is waited for that was started on a machine whose server is gone.
    pub lost_machine: Duration,
}

impl Default for EngineSettings {
    fn default() -> Self {
        EngineSettings {
            maximum_workflow_invocation_duration: 31 * 24 * 3600,
            history_local_serial_workflow_scheduling: false,
            job_time_limit_seconds: None,
            job_log_limit_bytes: 64 << 20,
            shell: "/bin/sh".into(),
            sendmail: None,
            poll_seconds: 10,
            lost_machine: Duration::from_secs(600),
        }
    }
}

/// What the loop for jobs reads, whichever incarnation of it.
struct Mail {
    queue: Queue,
    inbox: Arc<Mutex<Inbox>>,
}

/// The running loops.
pub struct Engine {
    services: Arc<Services>,
    stop: watch::Sender<bool>,
    running: Arc<AtomicBool>,
    supervisor: JoinHandle<()>,
    queue: Queue,
    answering: JoinHandle<()>,
}

/// After a fault at a new start of the loops.
const RETRY: Duration = Duration::from_secs(1);

impl Engine {
    /// Finds again what an earlier server left, then starts the loops.
    pub async fn start(
        services: Arc<Services>,
        reports: mpsc::UnboundedReceiver<(String, Vec<JobReport>)>,
        questions: mpsc::Receiver<Question>,
    ) -> Result<Engine, StoreError> {
        let (queue, inbox) = Inbox::new(reports);
        let mail = Mail {
            // What nobody reads would only pile up.
            queue: match services.membership.me().roles.runner {
                true => queue,
                false => Queue::nowhere(),
            },
            inbox: Arc::new(Mutex::new(inbox)),
        };
        let queue = mail.queue.clone();
        // Before the schedulers start, as they may ask at once; until the last of them is gone.
        let answering = questions::serve(services.clone(), queue.clone(), questions);
        let answering = tokio::spawn(answering);
        for scheduler in services.plugins.schedulers().to_vec() {
            let instance = scheduler.clone();
            if let Err(error) = blocking(move || instance.startup()).await {
                tracing::error!(
                    plugin = scheduler.id(),
                    "a scheduler did not start: {error}"
                );
            }
        }
        states::restore(&services).await?;
        let running = Arc::new(AtomicBool::new(true));
        let loops = Loops::start(&services, &mail, &running).await?;
        let (stop, stopped) = watch::channel(false);
        let supervisor = supervise(services.clone(), loops, mail, running.clone(), stopped);
        Ok(Engine {
            services,
            stop,
            running,
            supervisor: tokio::spawn(supervisor),
            queue,
            answering,
        })
    }

    /// What is known of runners and users.
    pub fn queue(&self) -> Queue {
        self.queue.clone()
    }

    /// Whether the loops are alive.
    pub fn is_running(&self) -> bool {
        self.running.load(Ordering::Relaxed)
    }

    /// Shared with whoever reports on this server's health.
    pub fn running_flag(&self) -> Arc<AtomicBool> {
        self.running.clone()
    }

    /// Lets the loops finish what they are storing, and leaves what this process holds to others. Jobs that run go on;
    /// the next server finds them again.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        let _ = self.supervisor.await;
        // All at once, since each may take its time; a plugin that hangs is not waited for.
        let mut stops = Vec::new();
        for runner in self.services.plugins.runners() {
            let runner = runner.clone();
            stops.push(tokio::task::spawn_blocking(move || {
                if let Err(error) = runner.shutdown() {
                    tracing::warn!(plugin = runner.id(), "a runner did not stop: {error}");
                }
            }));
        }
        for scheduler in self.services.plugins.schedulers() {
            let scheduler = scheduler.clone();
            stops.push(tokio::task::spawn_blocking(move || {
                if let Err(error) = scheduler.shutdown() {
                    tracing::warn!(plugin = scheduler.id(), "a scheduler did not stop: {error}");
                }
            }));
        }
        for stop in stops {
            let _ = stop.await;
        }
        self.answering.abort();
    }
}

/// Calls a plugin where it may block, and ask the server something meanwhile.
async fn blocking(
    call: impl FnOnce() -> Result<(), PluginCallError> + Send + 'static,
) -> Result<(), String> {
    match tokio::task::spawn_blocking(call).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// Keeps the lease while the loops run. When another process has taken this one's work, everything in memory is
/// worth nothing any more: the loops end, the process enters anew, and the loops begin as after a start.
async fn supervise(
    services: Arc<Services>,
    mut loops: Loops,
    mail: Mail,
    running: Arc<AtomicBool>,
    mut stopped: watch::Receiver<bool>,
) {
    let membership = services.membership.clone();
    loop {
        tokio::select! {
            _ = stopped.changed() => break,
            () = membership.keep(&services.signals) => {}
            () = membership.hear(&services.signals) => {}
        }
        tracing::error!(
            "the lease of {} was lost, another server has taken its work over; starting anew",
            membership.name()
        );
        running.store(false, Ordering::Relaxed);
        loops.halt().await;
        loop {
            let again = async {
                membership
                    .enter_again()
                    .await
                    .map_err(|error| crate::errors::chain(&error))?;
                Loops::start(&services, &mail, &running)
                    .await
                    .map_err(|error| crate::errors::chain(&error))
            };
            match again.await {
                Ok(started) => {
                    loops = started;
                    break;
                }
                Err(error) => tracing::error!("the loops could not be started anew: {error}"),
            }
            tokio::select! {
                _ = stopped.changed() => return,
                () = tokio::time::sleep(RETRY) => {}
            }
        }
        running.store(true, Ordering::Relaxed);
    }
    loops.halt().await;
    if let Err(error) = membership.leave().await {
        tracing::warn!(
            "this server could not leave in good order; others take its work over when its lease is over: {}",
            crate::errors::chain(&error)
        );
    }
}

/// The loops of one incarnation.
struct Loops {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Loops {
    async fn start(
        services: &Arc<Services>,
        mail: &Mail,
        running: &Arc<AtomicBool>,
    ) -> Result<Loops, StoreError> {
        let (stop, stopped) = watch::channel(false);
        let roles = services.membership.me().roles;
        holds::forget_jobs(&services.store, services.membership.name()).await?;
        let mut tasks = Vec::new();
        if roles.runner {
            let inbox = mail.inbox.clone().lock_owned().await;
            let mut dispatcher = Dispatcher::new(services.clone(), mail.queue.clone(), inbox);
            dispatcher.recover().await?;
            let body = dispatcher.run(stopped.clone());
            tasks.push(watched("jobs", running.clone(), body));
        }
        if roles.handler {
            let slow = Arc::new(SlowUsers::default());
            for lane in [Lane::Fast, Lane::Slow] {
                let (services, queue) = (services.clone(), mail.queue.clone());
                let monitor = Monitor::new(services, queue, lane, slow.clone());
                let body = monitor.run(stopped.clone());
                tasks.push(watched("invocations", running.clone(), body));
            }
        }
        if roles.handler {
            let body = super::mail::run(services.clone(), stopped.clone());
            tasks.push(watched("mail", running.clone(), body));
        }
        let body = silence::watch(services.clone(), stopped.clone());
        tasks.push(watched("passive schedulers", running.clone(), body));
        tasks.push(tokio::spawn(states::keep(services.clone(), stopped)));
        services.signals.unclaimed();
        Ok(Loops { stop, tasks })
    }

    /// Lets them finish what they are storing.
    async fn halt(self) {
        let _ = self.stop.send(true);
        for task in self.tasks {
            let _ = task.await;
        }
    }
}

/// Runs a loop and notices when it ends other than by being asked to.
fn watched(
    name: &'static str,
    running: Arc<AtomicBool>,
    body: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<()> {
    let task = tokio::spawn(body);
    tokio::spawn(async move {
        if let Err(error) = task.await {
            tracing::error!("the loop for {name} broke: {error}");
            running.store(false, Ordering::Relaxed);
        }
    })
}
