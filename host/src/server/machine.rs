//! Everything behind the doors, put together: `serve` adds the doors, `run` does without them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::hooks::Hooks;
use super::lock::{DirLock, DirSharing, LockError};
use super::pairing::{PairingError, pair};
use super::seams::seams;
use crate::clock::Clock;
use crate::config::{Config, ConfigFaults};
use crate::http::{App, DataDir};
use crate::model::handler::{AssignMethod, DEFAULT_TAG, Peer};
use crate::plugins::record::Recorder;
use crate::plugins::{Handlers, Lifecycle, Plugins, Wiring};
use crate::scheduling::dispatch::CurrentQueue;
use crate::scheduling::fetching::Fetching;
use crate::scheduling::{Engine, EnterError, Membership, Services, Sharing, Signals, questions};
use crate::store::workflows::RevisionCache;
use crate::store::{Store, StoreError};
use crate::tools::{Toolbox, unreadable};

/// A store, tools, plugins and the loops that move invocations and jobs.
pub struct Machine {
    /// What requests are answered with, whether or not there are doors.
    pub app: App,
    pub services: Arc<Services>,
    pub engine: Engine,
    fetching: Fetching,
    hooks: Hooks,
    // Last, so that the directory is free only when nothing uses it any more.
    _lock: DirLock,
}

/// Why the server could not start. One sentence each, but for plugins, whose faults are told all at once.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the data directory {path} cannot be used; choose another with --data-dir")]
    DataDir {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "the data directory {path} is in use by another server{}; stop that one or choose another with --data-dir",
        .holder.map_or_else(String::new, |pid| format!(" (process {pid})"))
    )]
    InUse { path: PathBuf, holder: Option<u32> },
    #[error("{listen} is in use by another program; choose another address with --listen")]
    PortInUse { listen: String },
    #[error("the server cannot listen on {listen}; choose another address with --listen")]
    Listen {
        listen: String,
        #[source]
        source: io::Error,
    },
    #[error("{0}")]
    Plugins(ConfigFaults),
    #[error(transparent)]
    Enter(#[from] EnterError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("calls cannot be recorded into {path}; name another directory with --record")]
    Record {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "the directory of tools {path} cannot be read; make it, or give another with --tool-dir"
    )]
    ToolDir {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Pairing(#[from] PairingError),
}

/// Revisions kept in memory, counted in steps.
const CACHED_STEPS_MAX: usize = 200_000;
/// How long the loops may take to finish what they are storing.
const ENGINE_STOP: Duration = Duration::from_secs(4);
/// How long the database may take to close.
const STORE_STOP: Duration = Duration::from_secs(2);

impl Machine {
    /// Opens the data directory, loads the plugins, finds again what an earlier server left, and starts the loops.
    pub async fn start(config: &Config) -> Result<Machine, StartError> {
        if let Some((path, source)) = unreadable(&config.tool_dirs) {
            return Err(StartError::ToolDir {
                path: path.to_owned(),
                source,
            });
        }
        let plugins_config = config
            .plugins
            .read()
            .map_err(|faults| StartError::Plugins(ConfigFaults(faults)))?;
        let (data, lock) = open_data_dir(&config.data_dir, DirSharing::of(&config.database))?;
        let store = Store::open(&config.database).await?;
        pair(&store, data.root()).await?;
        let sharing = sharing(config, &plugins_config.handlers, store.is_shared());
        let membership = Arc::new(Membership::enter(store.clone(), sharing).await?);
        let (clock, signals) = (Clock::system(), Signals::default());
        let (sender, reports) = mpsc::unbounded_channel();
        let wake = {
            let signals = signals.clone();
            move |_: &str| signals.plugin_wakes()
        };
        let (ask, questions) = questions::channel();
        let wiring = Wiring::new(sender, wake).with_query(ask);
        let host_for = |id: &str| wiring.host_for(id);
        let plugins = Plugins::load(&plugins_config, &host_for, Some(data.root()))
            .map_err(|faults| StartError::Plugins(ConfigFaults(faults)))?;
        if let Some(folder) = &config.record {
            let recorder = Recorder::new(folder).map_err(|source| StartError::Record {
                path: folder.clone(),
                source,
            })?;
            plugins.record(&recorder);
        }
        let toolbox = Arc::new(Toolbox::new(config.tool_dirs.clone()));
        for fault in toolbox.faults() {
            tracing::warn!("a tool file cannot be used: {}", fault.message);
        }
        let app = App::new(
            store.clone(),
            clock.clone(),
            signals.clone(),
            data.clone(),
            config.doors.clone(),
        )
        .await?;
        let plugins = Arc::new(plugins);
        let lifecycle = Lifecycle::new(
            plugins.clone(),
            &plugins_config,
            {
                let file = config.plugins.clone();
                move || file.read()
            },
            move |id: &str| wiring.host_for(id),
            Some(data.root().to_owned()),
        );
        let services = Arc::new(Services {
            store: membership.fenced_store(),
            revisions: Arc::new(RevisionCache::new(CACHED_STEPS_MAX)),
            data,
            toolbox,
            plugins,
            clock,
            signals,
            membership,
            settings: config.engine.clone(),
        });
        let queue = CurrentQueue::default();
        app.wire(seams(&services, &queue, lifecycle, &config.workflows));
        let engine = Engine::start(services.clone(), reports, questions).await?;
        queue.set(engine.queue());
        let fetching = Fetching::start(services.clone(), app.fetcher.clone()).await?;
        let hooks = Hooks::start(app.clone(), services.clone()).await?;
        Ok(Machine {
            app,
            services,
            engine,
            fetching,
            hooks,
            _lock: lock,
        })
    }

    /// Finishes what is being stored and closes everything. Jobs that run are left alone.
    pub async fn stop(self) {
        self.fetching.stop().await;
        self.hooks.stop().await;
        if tokio::time::timeout(ENGINE_STOP, self.engine.stop())
            .await
            .is_err()
        {
            tracing::warn!("the scheduling loops took too long to stop and were left");
        }
        let closed = tokio::time::timeout(STORE_STOP, self.app.store.db.close()).await;
        if closed.is_err() {
            tracing::warn!("the database took too long to close and was left");
        }
    }
}

/// How this process shares work: what the operator decided, and what holds for the database otherwise. With one that
/// several processes share, an invocation is taken by whoever is free (Galaxy's default as well).
fn sharing(config: &Config, handlers: &Handlers, is_shared: bool) -> Sharing {
    let usual = Sharing::default();
    let server = &config.process;
    let tag = handlers.default.clone().unwrap_or(usual.tag);
    let tags = match server.tags.is_empty() {
        true => vec![DEFAULT_TAG.to_owned()],
        false => server.tags.clone(),
    };
    let methods: Vec<AssignMethod> = handlers
        .assign_with
        .iter()
        .filter_map(|method| AssignMethod::parse(method))
        .collect();
    Sharing {
        me: Peer {
            name: server.name.clone().unwrap_or(usual.me.name),
            roles: server.roles,
            tags,
        },
        any_name: server.name.is_none(),
        methods: match (methods.is_empty(), is_shared) {
            (false, _) => methods,
            (true, true) => vec![AssignMethod::DbSkipLocked],
            (true, false) => usual.methods,
        },
        tag,
        max_grab: handlers.max_grab.map_or(usual.max_grab, |n| n as usize),
        lease: server.lease,
    }
}

/// Makes the directory where it is missing, and locks it.
fn open_data_dir(path: &Path, sharing: DirSharing) -> Result<(DataDir, DirLock), StartError> {
    let unusable = |source| StartError::DataDir {
        path: path.to_owned(),
        source,
    };
    make_private(path).map_err(unusable)?;
    let lock = DirLock::take(path, sharing).map_err(|error| match error {
        LockError::Held(holder) => StartError::InUse {
            path: path.to_owned(),
            holder,
        },
        LockError::Io(source) => unusable(source),
    })?;
    let data = DataDir::open(path).map_err(unusable)?;
    Ok((data, lock))
}

/// A new directory is its owner's alone: it will hold people's data. One that is there stays as it is.
pub fn make_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::DirBuilder::new().mode(0o700).create(path)
}
