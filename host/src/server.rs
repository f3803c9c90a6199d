//! The server: a [`Machine`] with doors.

mod hooks;
pub mod lock;
pub mod machine;
pub mod pairing;
mod room;
mod seams;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::config::Config;
use crate::errors::chain;
use crate::http::{self, health};
use crate::plugins::{PluginStatus, Plugins};
use crate::scheduling::Membership;
use crate::store::Store;
use crate::store::files::DataDir;

pub use machine::{Machine, StartError};

/// A server that is ready.
pub struct Server {
    machine: Machine,
    listener: TcpListener,
    address: SocketAddr,
}

/// How long clients have, once the server is to stop, to receive answers that are on their way.
const DOORS_STOP: Duration = Duration::from_secs(3);

impl Server {
    /// Puts everything together. When this returns, requests are taken (and answered once [`Server::serve`] runs).
    pub async fn start(config: &Config) -> Result<Server, StartError> {
        // First, because it is what most often goes wrong and leaves nothing behind.
        let listener = listen(&config.listen).await?;
        let address = listener.local_addr().map_err(|source| StartError::Listen {
            listen: config.listen.clone(),
            source,
        })?;
        let machine = Machine::start(config).await?;
        Ok(Server {
            machine,
            listener,
            address,
        })
    }

    /// Where it listens, with the port that was picked.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers requests until `stop` is done, then finishes what was begun. Jobs that run go on and are found again
    /// by the next server. Takes no longer than ten seconds after `stop`.
    pub async fn serve(self, stop: impl Future<Output = ()> + Send + 'static) {
        let machine = self.machine;
        let probe = Arc::new(Probe {
            store: machine.app.store.clone(),
            data: machine.services.data.clone(),
            plugins: machine.services.plugins.clone(),
            is_running: machine.engine.running_flag(),
            membership: machine.services.membership.clone(),
        });
        let router = http::router(machine.app.clone()).merge(health::routes(probe));
        health::serve(self.listener, router, stop, DOORS_STOP, connections_max()).await;
        machine.stop().await;
    }
}

/// Half of the descriptors are for the work itself. The soft limit, often 1024, is raised as far as this process may.
fn connections_max() -> usize {
    const WANTED: u64 = 65_536;
    const LEAST: u64 = 16;
    let files = rlimit::increase_nofile_limit(WANTED).unwrap_or(1024);
    usize::try_from((files / 2).max(LEAST)).unwrap_or(usize::MAX)
}

async fn listen(address: &str) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| {
        let listen = address.to_owned();
        match source.kind() {
            std::io::ErrorKind::AddrInUse => StartError::PortInUse { listen },
            _ => StartError::Listen { listen, source },
        }
    })
}

/// What `/readyz` looks at.
struct Probe {
    store: Store,
    data: DataDir,
    plugins: Arc<Plugins>,
    is_running: Arc<AtomicBool>,
    membership: Arc<Membership>,
}

/// A database that takes longer to answer is not well.
const DATABASE_PATIENCE: Duration = Duration::from_secs(3);

impl Probe {
    /// What is wrong with the database, if something is.
    async fn database_trouble(&self) -> Option<String> {
        match tokio::time::timeout(DATABASE_PATIENCE, self.store.ping()).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(chain(&error)),
            Err(_) => {
                let seconds = DATABASE_PATIENCE.as_secs();
                Some(format!("the database did not answer within {seconds} s"))
            }
        }
    }
}

impl health::Readiness for Probe {
    fn look(&self) -> BoxFuture<'_, (bool, Value)> {
        Box::pin(async move {
            let database = self.database_trouble().await;
            let running = self.is_running.load(Ordering::Relaxed);
            let handlers: Vec<&str> = running
                .then_some(self.membership.name())
                .into_iter()
                .collect();
            let (mut loaded, mut degraded) = (0, Vec::new());
            for plugin in self.plugins.list() {
                let name = format!("{} {}", plugin.kind, plugin.id);
                if let PluginStatus::Degraded(_) = plugin.status {
                    degraded.push(name);
                    continue;
                }
                if plugin.status == PluginStatus::Disabled {
                    continue;
                }
                loaded += 1;
                let supervision = self.plugins.supervision(plugin.kind, &plugin.id);
                if let Some(supervision) = supervision
                    && let Some(why) = supervision.absence()
                {
                    let state = supervision.status().state.word();
                    degraded.push(format!("{name}: {state}: {why}"));
                }
            }
            let (has_room, room) = room::look(self.data.root());
            let ready = database.is_none() && running && has_room;
            let mut database_report = json!({ "ok": database.is_none() });
            if let Some(reason) = database {
                database_report["reason"] = json!(reason);
            }
            let report = json!({
                "ready": ready,
                "database": database_report,
                "data_directory": room,
                // All that are required are loaded, or the server would not have started.
                "plugins": { "ok": true, "loaded": loaded, "degraded": degraded },
                "handlers": { "ok": running, "running": handlers },
            });
            (ready, report)
        })
    }
}
