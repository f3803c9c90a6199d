//! Several servers on one database, none of which knows what the others do: each has its own idea of who lives, falls asleep
//! in the middle of something, is given up, wakes and goes on, or dies and comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use barycenter::invoker::iteration::Outcome;
use barycenter::model::handler::{Peer, Roles};
use barycenter::model::state::InvocationState;
use barycenter::store::handlers::{self, Newcomer};
use barycenter::store::scheduling::commit::{acknowledge, commit_iteration};
use barycenter::store::scheduling::progress::Head;
use barycenter::store::scheduling::{invocations as loops, jobs, progress, settle};
use barycenter::store::workflows::RevisionCache;
use barycenter::store::{Fence, Store, StoreError};
use serde_json::Value;

use super::world::{Chance, FIRST, World};

/// Longer than any simulation.
const LEASE_MS: i64 = 3_600_000;
const NAMES: [&str; 3] = [FIRST, "second", "third"];

/// One server: what it has in memory, which may be wrong.
struct Server {
    name: &'static str,
    fence: Arc<Fence>,
    store: Store,
    revisions: RevisionCache,
    /// Names that it takes for dead, as of its last look.
    nobodys: Vec<String>,
    /// What it has thought about and not stored yet.
    thought: Option<Thought>,
    /// Jobs whose hand-over it stored and that it has not started yet.
    to_start: BTreeSet<i64>,
    /// Jobs whose end it waits for.
    watched: BTreeSet<i64>,
    is_asleep: bool,
}

enum Thought {
    Complete(Head),
    Nothing(Head),
    Iteration(Head, Box<Outcome>),
}

/// What the machine has of a job, whoever started it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Process {
    Runs,
    /// Its exit code is in its record.
    Ended,
}

#[derive(Debug, Clone, Copy)]
enum Event {
    Think(usize, i64),
    Store(usize),
    HandOver(usize, i64),
    Start(usize, i64),
    Report(usize, i64),
    TakeInvocations(usize),
    TakeJobs(usize),
    End(i64),
    Approve(i64),
}

pub struct Many {
    world: World,
    servers: Vec<Server>,
    processes: BTreeMap<i64, Process>,
    /// How often something of a server that had been given up was refused.
    pub refused: usize,
    pub taken: usize,
}

impl Many {
    pub async fn new(seed: u64) -> Many {
        let mut world = World::new(seed, Chance::random(seed)).await;
        world.store = world.store.for_several();
        let mut servers = Vec::new();
        for name in NAMES {
            let fence = Arc::new(Fence::new(name, 0));
            servers.push(Server {
                name,
                store: world.store.fenced(fence.clone()),
                fence,
                revisions: RevisionCache::new(100_000),
                nobodys: Vec::new(),
                thought: None,
                to_start: BTreeSet::new(),
                watched: BTreeSet::new(),
                is_asleep: false,
            });
        }
        let mut many = Many {
            world,
            servers,
            processes: BTreeMap::new(),
            refused: 0,
            taken: 0,
        };
        for n in 0..NAMES.len() {
            many.enter(n, None).await;
        }
        many
    }

    /// Runs it to its end, and describes the end.
    pub async fn run(&mut self, workflow: &Value) -> String {
        let invocation = self.world.invoke(workflow).await;
        for _ in 0..20_000 {
            self.world.now += 1;
            self.misfortune().await;
            let events = self.possible().await;
            if events.is_empty() {
                let Some(asleep) = self.servers.iter().position(|server| server.is_asleep) else {
                    self.world.check_end(invocation).await;
                    return self.world.describe(invocation).await;
                };
                self.servers[asleep].is_asleep = false;
                self.look_around(asleep).await;
                continue;
            }
            let event = events[self.world.chance.below(events.len())];
            if std::env::var_os("BARYCENTER_SIMULATION_SEED").is_some() {
                eprintln!("{} {event:?} of {events:?}", self.world.now);
            }
            self.happen(event).await;
            self.world.check_finality().await;
        }
        panic!("it never ends");
    }

    /// Enters a server, or lets it enter again: it has nothing in memory, and asks what became of what it had.
    async fn enter(&mut self, n: usize, dead: Option<i64>) {
        let server = &mut self.servers[n];
        server.thought = None;
        server.to_start.clear();
        server.watched.clear();
        server.revisions = RevisionCache::new(100_000);
        let peer = Peer {
            name: server.name.to_owned(),
            roles: Roles::ALL,
            tags: Vec::new(),
        };
        let newcomer = Newcomer {
            peer: &peer,
            hostname: "simulated",
            pid: n as u32,
            machine: "one",
            version: "0",
            lease_ms: LEASE_MS,
        };
        let entered = handlers::enter(&self.world.store, &newcomer, dead).await;
        let incarnation = entered.expect("stored").expect("the name is free");
        self.servers[n].fence.renew(incarnation);
        self.look_around(n).await;
        self.recover(n).await;
    }

    /// What `membership` sees when it looks.
    async fn look_around(&mut self, n: usize) {
        let mut reader = self.world.store.reader();
        let workers = handlers::list(&mut reader).await.expect("reads");
        let server = &mut self.servers[n];
        let dead = workers
            .iter()
            .filter(|worker| !worker.is_live() && worker.peer.name != server.name);
        server.nobodys = dead.map(|worker| worker.peer.name.clone()).collect();
    }

    /// What became of the jobs under its name: those with a process are watched, the others are started once more.
    async fn recover(&mut self, n: usize) {
        let mut reader = self.world.store.reader();
        let states = "'queued', 'running', 'deleting', 'stop'";
        let active = jobs::active(&mut reader, self.servers[n].name, states).await;
        for job in active.expect("reads") {
            let server = &mut self.servers[n];
            match self.processes.contains_key(&job.id) {
                true => drop(server.watched.insert(job.id)),
                false => drop(server.to_start.insert(job.id)),
            }
        }
    }

    /// Now and then a server falls asleep or wakes, is given up, looks who lives, or dies and starts again.
    async fn misfortune(&mut self) {
        let n = self.world.chance.below(NAMES.len());
        let store = self.world.store.clone();
        if self.world.chance.one_in(25) {
            let server = &mut self.servers[n];
            server.is_asleep = !server.is_asleep;
            if server.is_asleep {
                // Its lease is over by the time that anybody looks.
                let incarnation = server.fence.incarnation();
                let over = handlers::renew(&store, server.name, incarnation, -1).await;
                over.expect("stored");
            }
        }
        if self.servers[n].is_asleep {
            return;
        }
        if self.world.chance.one_in(8) {
            self.look_around(n).await;
        }
        if self.world.chance.one_in(10) {
            let lost = handlers::declare_lost(&store, self.servers[n].name, false).await;
            if !lost.expect("stored").is_empty() {
                self.look_around(n).await;
            }
        }
        if self.world.chance.one_in(40) {
            let before = self.servers[n].fence.incarnation();
            self.enter(n, Some(before)).await;
        }
    }

    async fn possible(&mut self) -> Vec<Event> {
        let mut events: Vec<Event> = Vec::new();
        let mut reader = self.world.store.reader();
        for (n, server) in self.servers.iter().enumerate() {
            if server.is_asleep {
                continue;
            }
            if server.thought.is_some() {
                events.push(Event::Store(n));
            } else {
                let looks = loops::signalled(
                    &mut reader,
                    server.name,
                    &loops::Whose::everybodys(),
                    0,
                    1000,
                )
                .await;
                let looks = looks.expect("reads").into_iter();
                events.extend(looks.map(|id| Event::Think(n, id)));
            }
            let ready = jobs::ready(&mut reader, server.name, "default", &[], 1000).await;
            let ready = ready.expect("reads").into_iter();
            events.extend(ready.map(|job| Event::HandOver(n, job.id)));
            events.extend(server.to_start.iter().map(|id| Event::Start(n, *id)));
            let ended = server
                .watched
                .iter()
                .filter(|id| self.processes.get(id) == Some(&Process::Ended));
            events.extend(ended.map(|id| Event::Report(n, *id)));
        }
        let running = self.processes.iter();
        let running = running.filter(|(_, process)| **process == Process::Runs);
        events.extend(running.map(|(id, _)| Event::End(*id)));
        let reviews = self.world.reviews().await;
        events.extend(reviews.into_iter().map(Event::Approve));
        let held: BTreeSet<String> = self.held_by_whom().await;
        for n in 0..NAMES.len() {
            let knows = |name: &String| self.servers[n].nobodys.contains(name);
            if !self.servers[n].is_asleep && held.iter().any(knows) {
                events.extend([Event::TakeInvocations(n), Event::TakeJobs(n)]);
            }
        }
        // Nobody awake knows yet that it can go on with something: they look again sometimes, as real ones do.
        if events.is_empty() && !held.is_empty() {
            for n in 0..NAMES.len() {
                if !self.servers[n].is_asleep {
                    let (store, name) = (&self.world.store, self.servers[n].name);
                    let lost = handlers::declare_lost(store, name, false).await;
                    lost.expect("stored");
                    self.look_around(n).await;
                }
            }
            let awake = (0..NAMES.len()).filter(|n| !self.servers[*n].is_asleep);
            let useful = awake.filter(|n| {
                let nobodys = &self.servers[*n].nobodys;
                held.iter().any(|name| nobodys.contains(name))
            });
            let both = |n| [Event::TakeInvocations(n), Event::TakeJobs(n)];
            events.extend(useful.flat_map(both));
        }
        events
    }

    /// Under which names something stands that somebody could go on with.
    async fn held_by_whom(&self) -> BTreeSet<String> {
        const SQL: &str = "SELECT id, handler FROM workflow_invocation WHERE signal_count > signal_seen AND handler IS NOT NULL
            UNION ALL SELECT id, handler FROM job WHERE handler IS NOT NULL
                AND (state IN ('queued', 'running') OR (state = 'new' AND ready_time IS NOT NULL))";
        let rows = self.world.pairs(SQL).await;
        rows.into_iter().map(|(_, name)| name).collect()
    }

    async fn happen(&mut self, event: Event) {
        let done = match event {
            Event::Think(n, id) => return self.think(n, id).await,
            Event::End(id) => {
                self.processes.insert(id, Process::Ended);
                return;
            }
            Event::Approve(step) => return self.world.approve(step).await,
            Event::Start(n, id) => {
                self.servers[n].to_start.remove(&id);
                self.servers[n].watched.insert(id);
                // The start marker: whoever comes second follows the first.
                self.processes.entry(id).or_insert(Process::Runs);
                return;
            }
            Event::Store(n) => (n, self.store(n).await),
            Event::HandOver(n, id) => (n, self.hand_over(n, id).await),
            Event::Report(n, id) => (n, self.report(n, id).await),
            Event::TakeInvocations(n) => {
                let Server {
                    store,
                    name,
                    nobodys,
                    ..
                } = &self.servers[n];
                let taken = handlers::grab_invocations(store, name, nobodys, 2).await;
                self.taken += *taken.as_ref().unwrap_or(&0);
                (n, taken.map(drop))
            }
            Event::TakeJobs(n) => (n, self.take_jobs(n).await),
        };
        match done {
            (_, Ok(())) => {}
            (n, Err(error)) if error.is_fenced() => {
                self.refused += 1;
                // It forgets what it knows and begins anew, as after a start.
                self.enter(n, None).await;
            }
            (_, Err(error)) => panic!("{event:?}: {error}"),
        }
    }

    async fn think(&mut self, n: usize, id: i64) {
        let mut reader = self.world.store.reader();
        let head = progress::head(&mut reader, id).await.expect("reads");
        let head = head.expect("there");
        let is_root = head.parent_invocation_id.is_none();
        let thought = match head.state {
            InvocationState::New | InvocationState::Ready if is_root => {
                let revisions = &self.servers[n].revisions;
                let loaded = progress::load(&mut reader, revisions, &head).await;
                let mut progress = loaded.expect("reads").expect("a workflow");
                let outcome = self.world.iterate(&head, &mut progress);
                Thought::Iteration(head, Box::new(outcome))
            }
            InvocationState::Scheduled => Thought::Complete(head),
            _ => Thought::Nothing(head),
        };
        self.servers[n].thought = Some(thought);
    }

    async fn store(&mut self, n: usize) -> Result<(), StoreError> {
        let thought = self.servers[n].thought.take().expect("something");
        let (now, server) = (self.world.now, &self.servers[n]);
        let (store, me) = (&server.store, server.name);
        match thought {
            Thought::Complete(head) => loops::complete(store, &head, now).await.map(drop),
            Thought::Nothing(head) => acknowledge(store, &head).await,
            Thought::Iteration(head, outcome) => {
                let stored = commit_iteration(store, &head, me, me, &outcome, now).await;
                stored.map(drop)
            }
        }
    }

    async fn hand_over(&mut self, n: usize, id: i64) -> Result<(), StoreError> {
        let hand_over = self.world.hand_over(id).await;
        let server = &self.servers[n];
        let now = self.world.now;
        let taken = jobs::hand_over(&server.store, server.name, &[hand_over], now).await?;
        for id in taken {
            let started = self.processes.contains_key(&id);
            assert!(!started, "job {id} is handed over after it was started");
            self.servers[n].to_start.insert(id);
        }
        Ok(())
    }

    async fn report(&mut self, n: usize, id: i64) -> Result<(), StoreError> {
        self.servers[n].watched.remove(&id);
        let mut reader = self.world.store.reader();
        let held = jobs::still_held(&mut reader, self.servers[n].name, &[id]).await?;
        if !held.contains(&id) {
            return Ok(());
        }
        let end = self.world.job_end(id).await;
        let store = &self.servers[n].store;
        let settled = settle::settle(store, vec![end], self.world.now).await;
        settled.map(drop)
    }

    async fn take_jobs(&mut self, n: usize) -> Result<(), StoreError> {
        let server = &self.servers[n];
        let (store, me, nobodys) = (&server.store, server.name, &server.nobodys);
        handlers::grab_active_jobs(store, me, nobodys).await?;
        handlers::grab_ready_jobs(store, me, nobodys, 3).await?;
        self.recover(n).await;
        Ok(())
    }
}
