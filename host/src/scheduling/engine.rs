//! Starting and stopping the loops.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use barycenter_plugin_api::JobReport;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::dispatch::Dispatcher;
use super::monitor::Monitor;
use super::signals::Signals;
use crate::clock::Clock;
use crate::plugins::Plugins;
use crate::store::files::DataDir;
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
    pub settings: EngineSettings,
}

/// What an operator decides about scheduling.
#[derive(Clone, Debug)]
pub struct EngineSettings {
    /// This server's name: the invocations and jobs that carry it are its own.
    pub handler: String,
    /// Seconds after which an invocation that is still being scheduled fails; 0 or less: never.
    pub maximum_workflow_invocation_duration: i64,
    /// Only the oldest active invocation of a history proceeds.
    pub history_local_serial_workflow_scheduling: bool,
    /// For tools that name no time limit of their own.
    pub job_time_limit_seconds: Option<u64>,
    /// What is kept of a job's stdout and stderr, each, in bytes.
    pub job_log_limit_bytes: u64,
    pub shell: String,
    /// Seconds between looks at the database that no signal asked for.
    pub poll_seconds: u64,
}

impl Default for EngineSettings {
    fn default() -> Self {
        EngineSettings {
            handler: "main".into(),
            maximum_workflow_invocation_duration: 31 * 24 * 3600,
            history_local_serial_workflow_scheduling: false,
            job_time_limit_seconds: None,
            job_log_limit_bytes: 64 << 20,
            shell: "/bin/sh".into(),
            poll_seconds: 10,
        }
    }
}

/// The running loops.
pub struct Engine {
    services: Arc<Services>,
    stop: watch::Sender<bool>,
    running: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Engine {
    /// Finds again what an earlier server left, then starts the loops.
    pub async fn start(
        services: Arc<Services>,
        reports: mpsc::UnboundedReceiver<(String, Vec<JobReport>)>,
    ) -> Result<Engine, StoreError> {
        for scheduler in services.plugins.schedulers() {
            if let Err(error) = scheduler.startup() {
                tracing::error!(
                    plugin = scheduler.id(),
                    "a scheduler did not start: {error}"
                );
            }
        }
        let (stop, stopped) = watch::channel(false);
        let mut dispatcher = Dispatcher::new(services.clone(), reports);
        dispatcher.recover().await?;
        let queue = dispatcher.queue();
        let monitor = Monitor::new(services.clone(), queue);
        let running = Arc::new(AtomicBool::new(true));
        let tasks = vec![
            watched("jobs", running.clone(), dispatcher.run(stopped.clone())),
            watched("invocations", running.clone(), monitor.run(stopped)),
        ];
        Ok(Engine {
            services,
            stop,
            running,
            tasks,
        })
    }

    /// Whether both loops are alive.
    pub fn is_running(&self) -> bool {
        self.running.load(Ordering::Relaxed)
    }

    /// Shared with whoever reports on this server's health.
    pub fn running_flag(&self) -> Arc<AtomicBool> {
        self.running.clone()
    }

    /// Lets the loops finish what they are storing. Jobs that run go on; the next server finds them again.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        for task in self.tasks {
            let _ = task.await;
        }
        // All at once, since each may take its time; a plugin that hangs is not waited for.
        let mut stops = Vec::new();
        for runner in self.services.plugins.runners().iter().cloned() {
            stops.push(tokio::task::spawn_blocking(move || {
                if let Err(error) = runner.shutdown() {
                    tracing::warn!(plugin = runner.id(), "a runner did not stop: {error}");
                }
            }));
        }
        for scheduler in self.services.plugins.schedulers().iter().cloned() {
            stops.push(tokio::task::spawn_blocking(move || {
                if let Err(error) = scheduler.shutdown() {
                    tracing::warn!(plugin = scheduler.id(), "a scheduler did not stop: {error}");
                }
            }));
        }
        for stop in stops {
            let _ = stop.await;
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
        }
        running.store(false, Ordering::Relaxed);
    })
}
