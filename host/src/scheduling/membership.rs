//! This process among those that share its database: its name and lease, who else lives, and whose work may be taken.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::signals::Signals;
use crate::model::handler::{self, AssignMethod, Peer};
use crate::store::handlers::{self, Newcomer, Worker};
use crate::store::{Fence, Store, StoreError};

/// What this process believes about the others, as of its last look.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct View {
    /// The live ones, this one among them, by name.
    pub live: Vec<Peer>,
    /// What stands under these names nobody holds: the tags this process serves, and processes that left or were lost.
    pub nobodys: Vec<String>,
    /// Those of `nobodys` that were processes of this machine, so that what they started can be found here.
    pub dead_here: Vec<String>,
    /// Those that were processes of other machines.
    pub dead_elsewhere: Vec<String>,
    /// Other live processes that run jobs.
    pub other_runners: Vec<String>,
    /// The machines of those, in the same order.
    pub runner_hosts: Vec<String>,
}

impl View {
    /// Another live process on that machine, which can see what runs there.
    pub fn runner_on(&self, host: &str) -> Option<String> {
        let index = self.runner_hosts.iter().position(|name| name == host)?;
        self.other_runners.get(index).cloned()
    }
}

/// Why a process cannot take part.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    #[error(
        "a server named {name} is running already (process {pid} on {hostname}); give this one another name with --name"
    )]
    Taken {
        name: String,
        hostname: String,
        pid: i64,
    },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How an operator wants work to be shared.
#[derive(Debug, Clone)]
pub struct Sharing {
    pub me: Peer,
    /// The name was not chosen: where it is taken, the next free one of `NAME-2`, `NAME-3` … is.
    pub any_name: bool,
    pub methods: Vec<AssignMethod>,
    /// Where invocations wait that no method gave to a process.
    pub tag: String,
    /// Invocations taken at once.
    pub max_grab: usize,
    pub lease: Duration,
}

/// Taking part. Shared by the loops and the doors.
pub struct Membership {
    sharing: Sharing,
    machine: String,
    /// As it is, without a fence.
    store: Store,
    fence: Arc<Fence>,
    view: watch::Sender<View>,
}

/// How much longer the first lease is: it is renewed only once the loops run, and on a busy machine it takes a while until
/// plugins are loaded.
const STARTING_MS: i64 = 10_000;
/// Names tried where none was chosen.
const NAMES_TRIED: usize = 1000;

impl Membership {
    /// Enters the process under its name; from here on what the store writes for the loops is fenced by it.
    pub async fn enter(store: Store, sharing: Sharing) -> Result<Membership, EnterError> {
        let mut membership = Membership {
            machine: machine(),
            fence: Arc::new(Fence::new(&sharing.me.name, 0)),
            sharing,
            store,
            view: watch::Sender::new(View::default()),
        };
        let first = membership.sharing.me.name.clone();
        for n in 2..NAMES_TRIED {
            match membership.take_name().await {
                Err(EnterError::Taken { .. }) if membership.sharing.any_name => {
                    membership.sharing.me.name = format!("{first}-{n}");
                }
                Err(error) => return Err(error),
                Ok(incarnation) => {
                    membership.fence = Arc::new(Fence::new(membership.name(), incarnation));
                    break;
                }
            }
        }
        let alone = !membership.store.is_shared();
        handlers::declare_lost(&membership.store, membership.name(), alone).await?;
        membership.look().await?;
        Ok(membership)
    }

    /// The store for whatever must not be written any more once another process has taken this one's work over.
    pub fn fenced_store(&self) -> Store {
        self.store.fenced(self.fence.clone())
    }

    async fn take_name(&self) -> Result<i64, EnterError> {
        let store = &self.store;
        let me = &self.sharing.me;
        let workers = handlers::list(&mut store.reader()).await?;
        let holder = workers.into_iter().find(|w| w.peer.name == me.name);
        // The lock on its directory says it for a database that is a file.
        let dead = holder
            .as_ref()
            .filter(|w| !store.is_shared() || self.is_dead(w));
        let dead = dead.map(|w| w.incarnation);
        let newcomer = Newcomer {
            peer: me,
            hostname: &hostname(),
            pid: std::process::id(),
            machine: &self.machine,
            version: env!("CARGO_PKG_VERSION"),
            lease_ms: self.lease_ms() + STARTING_MS,
        };
        match handlers::enter(store, &newcomer, dead).await? {
            Some(incarnation) => Ok(incarnation),
            None => Err(EnterError::Taken {
                name: me.name.clone(),
                hostname: holder
                    .as_ref()
                    .map_or(String::new(), |w| w.hostname.clone()),
                pid: holder.map_or(0, |w| w.pid),
            }),
        }
    }

    /// A process of this machine whose number nobody has any more.
    fn is_dead(&self, worker: &Worker) -> bool {
        let here = worker.machine == self.machine;
        here && worker.pid != i64::from(std::process::id())
            && !std::path::Path::new(&format!("/proc/{}", worker.pid)).exists()
    }

    fn lease_ms(&self) -> i64 {
        self.sharing.lease.as_millis() as i64
    }

    /// This process's name: what it holds carries it.
    pub fn name(&self) -> &str {
        &self.sharing.me.name
    }

    /// This process.
    pub fn me(&self) -> &Peer {
        &self.sharing.me
    }

    /// The most invocations to take at once.
    pub fn max_grab(&self) -> usize {
        self.sharing.max_grab
    }

    /// What is known of the others.
    pub fn view(&self) -> View {
        self.view.borrow().clone()
    }

    /// Who gets an invocation into a history: a process's name, or a tag.
    pub fn assign(&self, history_id: i64) -> String {
        let Sharing {
            me, methods, tag, ..
        } = &self.sharing;
        handler::assign(methods, me, &self.view.borrow().live, tag, history_id)
    }

    /// Under which name jobs are stored that this process makes: its own, or the tag where it runs none.
    pub fn job_handler(&self) -> &str {
        match self.sharing.me.roles.runner {
            true => self.name(),
            false => &self.sharing.tag,
        }
    }

    /// The names whose instants this process waits for.
    pub fn wakes_for(&self) -> Vec<String> {
        let mut names = vec![self.name().to_owned()];
        names.extend(self.view.borrow().nobodys.iter().cloned());
        names
    }

    /// Whether something under `name` concerns this process.
    pub fn concerns(&self, name: &str) -> bool {
        let view = self.view.borrow();
        name == self.name() || !view.live.iter().any(|peer| peer.name == name)
    }

    /// Reads who lives. True where something changed.
    pub async fn look(&self) -> Result<bool, StoreError> {
        let workers = handlers::list(&mut self.store.reader()).await?;
        let view = self.seen(&workers);
        Ok(self.view.send_if_modified(|known| {
            let changed = *known != view;
            *known = view;
            changed
        }))
    }

    fn seen(&self, workers: &[Worker]) -> View {
        let me = self.name();
        let mut view = View {
            nobodys: self.sharing.me.tags.clone(),
            ..View::default()
        };
        for worker in workers {
            let name = worker.peer.name.clone();
            if worker.is_live() || name == me {
                if name != me && worker.peer.roles.runner {
                    view.other_runners.push(name);
                    view.runner_hosts.push(worker.hostname.clone());
                }
                view.live.push(worker.peer.clone());
                continue;
            }
            match worker.machine == self.machine {
                true => view.dead_here.push(name.clone()),
                false => view.dead_elsewhere.push(name.clone()),
            }
            view.nobodys.push(name);
        }
        view
    }

    /// Renews the lease and looks for others whose lease is over, until another process has taken this one's work (it
    /// was asleep for too long): then this returns, and nothing can be written as this incarnation any more.
    pub async fn keep(&self, signals: &Signals) {
        if !self.store.is_shared() {
            return std::future::pending().await;
        }
        let every = Duration::from_millis(handler::renew_every_ms(self.lease_ms()) as u64);
        let mut told = String::new();
        loop {
            match self.beat(signals).await {
                Ok(true) => {
                    if !std::mem::take(&mut told).is_empty() {
                        tracing::info!("the lease of {} is renewed again", self.name());
                    }
                }
                Ok(false) => return,
                Err(error) => {
                    let text = crate::errors::chain(&error);
                    if text != told {
                        tracing::error!(
                            "the lease of {} could not be renewed: {text}",
                            self.name()
                        );
                        told = text;
                    }
                }
            }
            tokio::time::sleep(every).await;
        }
    }

    async fn beat(&self, signals: &Signals) -> Result<bool, StoreError> {
        let (store, name) = (&self.store, self.name());
        if !handlers::renew(store, name, self.fence.incarnation(), self.lease_ms()).await? {
            return Ok(false);
        }
        let now = self.store.shared_now_ms().await?;
        crate::meter::LEASE_RENEWED_MS.set(u64::try_from(now).unwrap_or(0));
        for lost in handlers::declare_lost(store, name, false).await? {
            tracing::warn!("the server {lost} gave no sign of life; its work is taken over");
        }
        if self.look().await? {
            signals.unclaimed();
        }
        Ok(true)
    }

    /// Enters again after the lease was lost, under the same name.
    pub async fn enter_again(&self) -> Result<(), EnterError> {
        self.fence.renew(self.take_name().await?);
        self.look().await?;
        Ok(())
    }

    /// Leaves in good order: others may take what this process holds.
    pub async fn leave(&self) -> Result<(), StoreError> {
        match self.store.is_shared() {
            true => handlers::leave(&self.store, self.name(), self.fence.incarnation()).await,
            false => Ok(()),
        }
    }

    /// Listens to the other processes, for ever.
    pub async fn hear(&self, signals: &Signals) {
        let Some(mut words) = self.store.db.listen() else {
            return std::future::pending().await;
        };
        while let Some(word) = words.recv().await {
            if let Err(error) = self.understand(word.as_deref(), signals).await {
                tracing::warn!(
                    "the other servers could not be looked at: {}",
                    crate::errors::chain(&error)
                );
            }
        }
        std::future::pending().await
    }

    async fn understand(&self, word: Option<&str>, signals: &Signals) -> Result<(), StoreError> {
        let (what, name) = word
            .and_then(|word| word.split_once(' '))
            .unwrap_or_default();
        match what {
            "invocation" if name == self.name() => signals.invocations_changed(),
            "job" if name == self.name() => signals.jobs_changed(),
            "invocation" | "job" => {
                if self.concerns(name) {
                    signals.unclaimed();
                }
            }
            "backlog" if name == self.name() => {}
            "backlog" => signals.backlog(),
            // A process came or went, or words were missed.
            _ => {
                self.look().await?;
                signals.unclaimed();
            }
        }
        Ok(())
    }
}

/// Where this process can find processes again: this machine, since it was started.
fn machine() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    // Containers of one machine share its boot, but not its processes.
    let namespace = std::fs::read_link("/proc/self/ns/pid")
        .map(|path| path.display().to_string())
        .unwrap_or_default();
    format!("{} {namespace}", boot.trim())
}

fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// For whoever shares nothing.
impl Default for Sharing {
    fn default() -> Self {
        Sharing {
            me: Peer {
                name: "main".into(),
                roles: handler::Roles::ALL,
                tags: vec![handler::DEFAULT_TAG.into()],
            },
            any_name: true,
            methods: vec![AssignMethod::DbSelf],
            tag: handler::DEFAULT_TAG.into(),
            max_grab: 16,
            lease: Duration::from_secs(15),
        }
    }
}
