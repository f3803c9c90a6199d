//! A server without loops, plugins and processes: this file says what happens next.

mod ends;
mod jobs;

use std::collections::HashMap;
use std::sync::Arc;

use crate::going_on::GoingOn;
use barycenter::invoker::iteration::{Allowed, Iteration, Outcome, Tools, stopped};
use barycenter::invoker::known::Known;
use barycenter::invoker::modules::{ModuleCall, ModuleInput, ModuleOutcome, Modules};
use barycenter::invoker::operations::NoFiles;
use barycenter::invoker::progress::Progress;
use barycenter::invoker::stop::Wait;
use barycenter::invoker::writes::Writes;
use barycenter::model::invocation::RequestInput;
use barycenter::model::state::{DatasetState, InvocationState};
use barycenter::model::workflow::StepDescription;
use barycenter::store::files::DataDir;
use barycenter::store::scheduling::commit::{Stored, acknowledge, commit_iteration};
use barycenter::store::scheduling::progress::Head;
use barycenter::store::scheduling::{invocations as loops, jobs as stored_jobs, progress};
use barycenter::store::workflows::{RevisionCache, create_stored_workflow};
use barycenter::store::{Durability, Query, Store, invocations};
use barycenter::tools::{Tool, Toolbox};
use serde_json::{Value, json};

use super::generate::Rng;
use super::given::{self, Contents};

const TOOLS: &[&str] = &[
    "{id: copy, inputs: [{name: input, type: data}], outputs: [{name: out, type: data, format: txt, from_work_dir: o}]}",
    "{id: flaky, inputs: [{name: input, type: data}], outputs: [{name: out, type: data, format: txt, from_work_dir: o}]}",
    "{id: join, inputs: [{name: left, type: data}, {name: right, type: data}], outputs: [{name: out, type: data, format: txt, from_work_dir: o}]}",
    "{id: reduce, inputs: [{name: input, type: data, multiple: true}], outputs: [{name: out, type: data, format: txt, from_work_dir: o}]}",
    "{id: split, inputs: [{name: input, type: data}], outputs: [{name: out, type: collection, collection_type: list, discover_datasets: [{pattern: __name__}]}]}",
    "{id: decide, inputs: [{name: input, type: data}], outputs: [{name: out, type: boolean, from_work_dir: o}]}",
];

/// The server that invocations are given to.
pub const FIRST: &str = "main";

/// What decides what happens next.
pub struct Chance {
    rng: Option<Rng>,
}

impl Chance {
    /// Always the first thing that can happen, with nothing held back.
    pub fn in_order() -> Chance {
        Chance { rng: None }
    }

    pub fn random(seed: u64) -> Chance {
        Chance {
            rng: Some(Rng::new(seed)),
        }
    }

    pub fn below(&mut self, n: usize) -> usize {
        self.rng.as_mut().map_or(0, |rng| rng.below(n))
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.rng.as_mut().is_some_and(|rng| rng.one_in(n))
    }
}

/// Something that can happen.
#[derive(Debug, Clone, Copy)]
enum Event {
    Look(i64),
    Start(i64),
    End(i64),
    Approve(i64),
}

pub struct World {
    pub store: Store,
    directory: tempfile::TempDir,
    data: DataDir,
    toolbox: Toolbox,
    revisions: RevisionCache,
    seed: u64,
    pub chance: Chance,
    pub now: i64,
    user: i64,
    history: i64,
    running: Vec<i64>,
    going_on: GoingOn,
    /// Final states seen: they stay.
    final_jobs: HashMap<i64, String>,
    final_invocations: HashMap<i64, String>,
}

struct Pause;

impl Modules for Pause {
    fn execute(&self, _: &ModuleCall<'_>) -> Result<ModuleOutcome, String> {
        Ok(ModuleOutcome::OutputsDelayed { wait: Wait::Review })
    }

    fn recover_mapping(&self, call: &ModuleCall<'_>) -> Result<ModuleOutcome, String> {
        if call.action != Some(json!(true)) {
            return Ok(ModuleOutcome::OutputsDelayed { wait: Wait::Review });
        }
        Ok(match call.inputs.first() {
            Some((_, ModuleInput::Value(value))) => {
                let outputs = HashMap::from([("output".to_owned(), value.clone())]);
                ModuleOutcome::Scheduled(outputs)
            }
            _ => ModuleOutcome::OutputsDelayed { wait: Wait::Step },
        })
    }
}

struct Installed<'a>(&'a Toolbox);

impl Tools for Installed<'_> {
    fn tool(&self, step: &StepDescription, _: Option<i64>) -> Result<Arc<Tool>, String> {
        let id = step.tool_id.as_deref().unwrap_or_default();
        let found = self.0.get(id, step.tool_version.as_deref());
        found.map(|found| found.tool).ok_or_else(|| id.to_owned())
    }
}

impl World {
    pub async fn new(seed: u64, chance: Chance) -> World {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let tools = directory.path().join("tools");
        std::fs::create_dir(&tools).expect("a new folder");
        for (n, tool) in TOOLS.iter().enumerate() {
            let text = tool.replacen(
                '{',
                "{class: GalaxyTool, version: '1', shell_command: 'true', ",
                1,
            );
            std::fs::write(tools.join(format!("{n}.yml")), text).expect("a tool file");
        }
        let toolbox = Toolbox::new(vec![tools]);
        assert_eq!(toolbox.faults(), []);
        let store = Store::open_sqlite(&directory.path().join("db.sqlite"))
            .await
            .expect("a fresh database");
        let (user, history) = given::owner(&store).await;
        World {
            data: DataDir::open(&directory.path().join("data")).expect("a data directory"),
            store,
            directory,
            toolbox,
            revisions: RevisionCache::new(100_000),
            seed,
            chance,
            now: 1000,
            user,
            history,
            running: Vec::new(),
            going_on: GoingOn::default(),
            final_jobs: HashMap::new(),
            final_invocations: HashMap::new(),
        }
    }

    /// Stores the workflow and a request for it, with a dataset and a list of up to four.
    pub async fn invoke(&mut self, workflow: &Value) -> i64 {
        let description = barycenter::formats::import(workflow).expect("a good workflow");
        let contents = Contents {
            store: &self.store,
            data: &self.data,
            history: self.history,
        };
        let dataset = contents.dataset("given").await;
        let elements: Vec<String> = (0..self.seed % 5).map(|n| format!("element {n}")).collect();
        let elements: Vec<&str> = elements.iter().map(String::as_str).collect();
        let hdca = contents.list(&elements).await;
        let mut tx = self.store.begin().await.expect("begins");
        let (_, revision) =
            create_stored_workflow(&mut tx, &self.store.ids, self.user, &description, None, 1)
                .await
                .expect("stored");
        let revision = self
            .revisions
            .get(&mut tx, revision)
            .await
            .expect("read")
            .expect("there");
        let mut new = given::request(&revision, self.history, self.user);
        (new.scheduler, new.handler) = (Some("default".into()), Some(FIRST.into()));
        let given = |step: usize, item_id: i64| RequestInput {
            name: None,
            step_id: revision.step_ids[step],
            item_id,
            request: None,
        };
        let at = |kind: &str| {
            let mut steps = revision.description.steps.iter();
            steps
                .position(|step| step.step_type == kind)
                .expect("an input")
        };
        new.input_datasets = vec![given(at("data_input"), dataset)];
        new.input_collections = vec![given(at("data_collection_input"), hdca)];
        let id = invocations::create(&mut tx, &self.store.ids, &new, self.now)
            .await
            .expect("created");
        tx.commit(Durability::Acknowledged, "test")
            .await
            .expect("commits");
        id
    }

    /// One event after the other, until nothing can happen any more.
    pub async fn run_to_the_end(&mut self, invocation: i64) {
        for _ in 0..20_000 {
            self.now += 1;
            if self.chance.one_in(12) {
                self.crash().await;
            }
            let events = self.possible().await;
            if events.is_empty() {
                return self.check_end(invocation).await;
            }
            let event = events[self.chance.below(events.len())];
            if std::env::var_os("BARYCENTER_SIMULATION_SEED").is_some() {
                eprintln!("{} {event:?} of {events:?}", self.now);
            }
            match event {
                Event::Look(id) => self.look(id).await,
                Event::Start(id) => self.start(id).await,
                Event::End(id) => self.end(id).await,
                Event::Approve(step) => self.approve(step).await,
            }
            self.check_finality().await;
        }
        panic!("seed {}: it never ends", self.seed);
    }

    /// The server dies between two commits, and another one starts. Of the jobs that a runner had, some never started.
    async fn crash(&mut self) {
        let lost: Vec<i64> = (0..self.running.len())
            .filter(|_| self.chance.one_in(2))
            .map(|n| self.running[n])
            .collect();
        self.running.retain(|id| !lost.contains(id));
        self.going_on.forget();
        self.store.db.close().await;
        self.store = Store::open_sqlite(&self.directory.path().join("db.sqlite"))
            .await
            .expect("the same database");
        self.revisions = RevisionCache::new(100_000);
        stored_jobs::put_back(&self.store, "main", &lost, self.now)
            .await
            .expect("put back");
    }

    async fn possible(&mut self) -> Vec<Event> {
        let mut reader = self.store.reader();
        let mut events: Vec<Event> = self.running.iter().copied().map(Event::End).collect();
        let looks = loops::signalled(&mut reader, "main", &loops::Whose::everybodys(), 0, 1000)
            .await
            .expect("reads");
        events.splice(0..0, looks.into_iter().map(Event::Look));
        let ready = stored_jobs::ready(&mut reader, "main", "default", &[], 1000)
            .await
            .expect("reads");
        events.extend(ready.into_iter().map(|job| Event::Start(job.id)));
        events.extend(self.reviews().await.into_iter().map(Event::Approve));
        events
    }

    /// Steps that wait for somebody's word.
    pub async fn reviews(&self) -> Vec<i64> {
        let reviews = self.store.reader().all(
                "SELECT s.id FROM workflow_invocation_step s JOIN workflow_step w ON w.id = s.workflow_step_id
                 JOIN workflow_invocation i ON i.id = s.workflow_invocation_id
                 WHERE w.type = 'pause' AND s.action IS NULL AND i.state IN ('new', 'ready') ORDER BY s.id",
                vec![],
            )
            .await
            .expect("reads");
        let ids = reviews.iter().map(|row| row.get(0).expect("id"));
        ids.collect()
    }

    /// What the loop for invocations does with one of them.
    async fn look(&mut self, id: i64) {
        let mut reader = self.store.reader();
        let head = progress::head(&mut reader, id)
            .await
            .expect("reads")
            .expect("there");
        match head.state {
            InvocationState::New | InvocationState::Ready
                if head.parent_invocation_id.is_none() => {}
            InvocationState::Scheduled => {
                loops::complete(&self.store, &head, self.now)
                    .await
                    .expect("stored");
                return;
            }
            _ => {
                acknowledge(&self.store, &head).await.expect("stored");
                return;
            }
        }
        let loaded = progress::load(&mut reader, &self.revisions, &head).await;
        let mut progress = loaded.expect("reads").expect("a workflow");
        if let Some(kept) = self.going_on.take(head.signal_count, &progress)
            && self.chance.one_in(2)
        {
            progress = kept;
        }
        let outcome = self.iterate(&head, &mut progress);
        // A server that dies here has written files that nobody knows of, and nothing else.
        if self.chance.one_in(15) {
            return self.crash().await;
        }
        if std::env::var_os("BARYCENTER_SIMULATION_SEED").is_some() {
            let (waits, children) = (&outcome.writes.waits, &outcome.writes.children);
            eprintln!("    {:?} {waits:?} {children:?}", outcome.event);
        }
        let stored = commit_iteration(&self.store, &head, "main", "main", &outcome, self.now)
            .await
            .expect("stored");
        if let Stored::Yes {
            again: true,
            state: InvocationState::Ready,
            first_hid,
            signal_count,
            ..
        } = stored
            && progress.can_go_on()
        {
            progress.go_on(&outcome.writes, first_hid);
            self.going_on.keep(signal_count, progress);
        }
    }

    /// One iteration from what was loaded, with the files that it writes.
    pub fn iterate(&mut self, head: &Head, progress: &mut Progress) -> Outcome {
        self.read_contents(&mut progress.known);
        let budget = match self.chance.one_in(2) {
            true => Some(1 + self.chance.below(3)),
            false => None,
        };
        let outcome = match progress.recover(&Pause, &mut Vec::new()) {
            Err(stop) => stopped(head.id, Writes::default(), stop),
            Ok(()) => {
                let iteration = Iteration {
                    tools: &Installed(&self.toolbox),
                    modules: &Pause,
                    ids: self.store.ids.as_ref(),
                    files: &NoFiles,
                };
                let allowed = Allowed {
                    job_budget: budget,
                    ..Default::default()
                };
                iteration.run(progress, &allowed)
            }
        };
        for hda in &outcome.writes.hdas {
            if let Some(content) = &hda.content {
                self.data
                    .write_dataset(hda.dataset_id, content.as_bytes())
                    .expect("written");
            }
        }
        outcome
    }

    fn read_contents(&self, known: &mut Known) {
        let values = known.hdas.values();
        let values =
            values.filter(|h| h.extension == "expression.json" && h.state == DatasetState::Ok);
        let values: Vec<(i64, i64)> = values.map(|h| (h.id, h.dataset_id)).collect();
        for (id, dataset) in values {
            let bytes = std::fs::read(self.data.dataset(dataset)).expect("a file");
            let value = serde_json::from_slice(&bytes).map_err(|e| e.to_string());
            known.contents.insert(id, value);
        }
    }

    pub async fn approve(&mut self, step: i64) {
        let mut tx = self.store.begin().await.expect("begins");
        invocations::put_action(&mut tx, step, &json!(true), self.now)
            .await
            .expect("stored");
        tx.commit(Durability::Acknowledged, "test")
            .await
            .expect("commits");
    }

    pub async fn pairs(&self, sql: &'static str) -> Vec<(i64, String)> {
        let rows = self.store.reader().all(sql, vec![]).await.expect("reads");
        rows.iter()
            .map(|row| (row.get(0).expect("id"), row.get(1).expect("text")))
            .collect()
    }
}
