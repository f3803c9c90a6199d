//! A store, the engine with its real plugins, and a few tools, with what tests ask of them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use barycenter::args;
use barycenter::clock::Clock;
use barycenter::model::invocation::{
    NewInvocation, RequestInput, RequestParameter, RequestParameterKind, meta,
};
use barycenter::model::revision::Revision;
use barycenter::plugins::{Plugins, PluginsConfig, Wiring};
use barycenter::scheduling::{Engine, EngineSettings, Membership, Services, Sharing, Signals};
use barycenter::store::db::Val;
use barycenter::store::files::DataDir;
use barycenter::store::workflows::{RevisionCache, create_stored_workflow};
use barycenter::store::{Durability, Query, Store, invocations};
use barycenter::tools::Toolbox;
use serde_json::{Value, json};
use tokio::sync::mpsc::unbounded_channel;

use crate::databases::TestDatabase;
use crate::given::{self, Contents};

/// The folder with the plugin libraries, built by this test where they are not.
pub static BUILT: LazyLock<PathBuf> = LazyLock::new(|| {
    let exe = std::env::current_exe().expect("this test has a path");
    let target = exe
        .ancestors()
        .nth(3)
        .expect("target/debug/deps/test")
        .to_owned();
    let profile = exe
        .ancestors()
        .nth(2)
        .and_then(Path::file_name)
        .expect("a profile")
        .to_owned();
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .arg("build")
        .arg("--target-dir")
        .arg(&target)
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    if profile == "release" {
        cargo.arg("--release");
    }
    for package in ["default-scheduler", "pause-module", "local-runner"] {
        cargo.arg("-p").arg(format!("barycenter-plugin-{package}"));
    }
    assert!(
        cargo.status().expect("cargo runs").success(),
        "the plugins do not build"
    );
    target.join(profile)
});

/// How long something may take that has to come.
pub const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(5);

pub struct World {
    pub store: Store,
    pub directory: TestDatabase,
    pub user: i64,
    pub history: i64,
    pub settings: EngineSettings,
    /// The default scheduler's job cap.
    pub job_cap: i64,
    pub running: Option<(Engine, Arc<Services>)>,
}

const WRITE: &str = r#"
class: GalaxyTool
id: write
name: Write a text
version: "1"
shell_command: echo '$(inputs.text)' > out.txt
inputs:
  - {name: text, type: text, value: x}
outputs:
  - {name: out, type: data, format: txt, from_work_dir: out.txt}
"#;

const COPY: &str = r#"
class: GalaxyTool
id: copy
name: Copy a dataset
version: "1"
shell_command: cat '$(inputs.input.path)' > out.txt; echo copied >> out.txt
inputs:
  - {name: input, type: data, format: txt}
outputs:
  - {name: out, type: data, format: txt, from_work_dir: out.txt}
"#;

const SLEEP: &str = r#"
class: GalaxyTool
id: sleep
name: Sleep long
version: "1"
shell_command: sleep 600 > out.txt
inputs:
  - {name: input, type: data, format: txt}
outputs:
  - {name: out, type: data, format: txt, from_work_dir: out.txt}
"#;

/// Ends when [`World::wake`] makes a file in the world's folder HERE, or when that is gone.
const NAP: &str = r#"
class: GalaxyTool
id: nap
name: Sleep until woken
version: "1"
shell_command: cat '$(inputs.input.path)' > out.txt; while test -d 'HERE' && ! test -e 'HERE/alarm'; do sleep 0.02; done; echo slept >> out.txt
inputs:
  - {name: input, type: data, format: txt}
outputs:
  - {name: out, type: data, format: txt, from_work_dir: out.txt}
"#;

const FAIL: &str = r#"
class: GalaxyTool
id: fail
name: Fail always
version: "1"
shell_command: echo no good >&2; exit 3
inputs:
  - {name: input, type: data, format: txt}
outputs:
  - {name: out, type: data, format: txt, from_work_dir: out.txt}
"#;

const FLAKY: &str = r#"
class: GalaxyTool
id: flaky
name: Fail on what is bad
version: "1"
shell_command: if grep -q bad '$(inputs.input.path)'; then echo no good >&2; exit 1; fi; cat '$(inputs.input.path)' > out.txt; echo flaky >> out.txt
inputs:
  - {name: input, type: data, format: txt}
outputs:
  - {name: out, type: data, format: txt, from_work_dir: out.txt}
"#;

impl World {
    pub async fn new() -> World {
        let directory = TestDatabase::fresh();
        let tools = directory.path().join("tools");
        std::fs::create_dir(&tools).expect("a new folder");
        let nap = NAP.replace("HERE", &directory.path().display().to_string());
        for (name, text) in [
            ("write.yml", WRITE),
            ("copy.yml", COPY),
            ("fail.yml", FAIL),
            ("sleep.yml", SLEEP),
            ("nap.yml", &nap),
            ("flaky.yml", FLAKY),
        ] {
            std::fs::write(tools.join(name), text).expect("a tool file");
        }
        std::fs::create_dir(tools.join("more")).expect("a new folder");
        for (n, text) in crate::semantics::TOOLS.iter().enumerate() {
            let file = tools.join("more").join(format!("{n}.yml"));
            std::fs::write(file, text).expect("a tool file");
        }
        let url = directory.url().parse().expect("a URL");
        let store = Store::open(&url).await.expect("a fresh database");
        let (user, history) = given::owner(&store).await;
        let mut world = World {
            store,
            directory,
            user,
            history,
            settings: EngineSettings::default(),
            job_cap: 1000,
            running: None,
        };
        // Inputs are put in by hand as items 1 (and 2).
        let counter = "UPDATE history SET hid_counter = 2 WHERE id = $1";
        world.change(counter, args![history]).await;
        world.start().await;
        world
    }

    pub async fn start(&mut self) {
        let (reports, receiver) = unbounded_channel();
        let signals = Signals::default();
        let wake = signals.clone();
        let (ask, questions) = barycenter::scheduling::questions::channel();
        let wiring = Wiring::new(reports, move |_| wake.invocations_changed()).with_query(ask);
        let text = format!(
            "[plugins]\nsearch = [{:?}]\n[[scheduler]]\ntype = \"default\"\nconfig.maximum_workflow_jobs_per_scheduling_iteration = {}\n[[workflow_module]]\ntype = \"pause\"\n[[job_runner]]\ntype = \"local\"\n",
            BUILT.display().to_string(),
            self.job_cap
        );
        let config =
            PluginsConfig::parse(&text, "plugins.toml", Path::new("/")).expect("a good file");
        let root = self.directory.path();
        let plugins = Plugins::load(&config, &|id| wiring.host_for(id), None);
        let plugins = plugins.expect("the plugins load");
        let services = Arc::new(Services {
            store: self.store.clone(),
            revisions: Arc::new(RevisionCache::new(100_000)),
            data: DataDir::open(&root.join("data")).expect("a data directory"),
            toolbox: Arc::new(Toolbox::new(vec![root.join("tools")])),
            plugins: Arc::new(plugins),
            clock: Clock::system(),
            signals,
            membership: Arc::new(
                Membership::enter(self.store.clone(), Sharing::default())
                    .await
                    .expect("the database is ours"),
            ),
            settings: self.settings.clone(),
        });
        let engine = Engine::start(services.clone(), receiver, questions)
            .await
            .expect("starts");
        self.running = Some((engine, services));
    }

    pub async fn stop(&mut self) {
        if let Some((engine, _)) = self.running.take() {
            engine.stop().await;
        }
    }

    /// Ends all naps, those to come as well.
    pub fn wake(&self) {
        std::fs::write(self.directory.path().join("alarm"), "").expect("written");
    }

    pub fn services(&self) -> Arc<Services> {
        self.running.as_ref().expect("running").1.clone()
    }

    /// A dataset with this content.
    pub async fn dataset(&self, content: &str) -> i64 {
        self.contents(&self.services()).dataset(content).await
    }

    /// A flat list of datasets, as an hdca.
    pub async fn list(&self, contents: &[&str]) -> i64 {
        self.contents(&self.services()).list(contents).await
    }

    pub fn contents<'a>(&'a self, services: &'a Services) -> Contents<'a> {
        Contents {
            store: &self.store,
            data: &services.data,
            history: self.history,
        }
    }

    /// One statement, stored.
    pub async fn change(&self, sql: &'static str, arguments: Vec<Val>) {
        let mut tx = self.store.begin().await.expect("begins");
        tx.run(sql, arguments).await.expect("runs");
        tx.commit(Durability::Acknowledged, "test")
            .await
            .expect("commits");
    }

    /// Stores a workflow and asks for an invocation of it; `inputs` by order_index: ("hda" | "hdca", id).
    pub async fn invoke(&self, steps: Value, inputs: &[(usize, &str, i64)]) -> i64 {
        self.invoke_with(steps, inputs, Vec::new()).await
    }

    /// The same, taking results that are there already.
    pub async fn invoke_cached(&self, steps: Value, inputs: &[(usize, &str, i64)]) -> i64 {
        let cached = RequestParameter {
            kind: RequestParameterKind::Meta,
            name: meta::USE_CACHED_JOB.to_owned(),
            value: "true".to_owned(),
            step_id: None,
        };
        self.invoke_with(steps, inputs, vec![cached]).await
    }

    pub async fn invoke_with(
        &self,
        steps: Value,
        inputs: &[(usize, &str, i64)],
        parameters: Vec<RequestParameter>,
    ) -> i64 {
        let change = |new: &mut NewInvocation, _: &Revision| new.parameters = parameters.clone();
        self.invoke_changed(steps, inputs, change).await
    }

    /// The same, with a request that `change` completes.
    pub async fn invoke_changed(
        &self,
        steps: Value,
        inputs: &[(usize, &str, i64)],
        change: impl Fn(&mut NewInvocation, &Revision),
    ) -> i64 {
        let services = self.services();
        let description = barycenter::formats::import(&json!({
            "a_galaxy_workflow": "true", "format-version": "0.1", "name": "test", "annotation": "", "steps": steps
        }))
        .expect("a good workflow");
        let mut tx = self.store.begin().await.expect("begins");
        let (_, revision) =
            create_stored_workflow(&mut tx, &self.store.ids, self.user, &description, None, 1)
                .await
                .expect("stored");
        let loaded = services
            .revisions
            .get(&mut tx, revision)
            .await
            .expect("read")
            .expect("there");
        let given = |kind: &str| {
            let of_kind = inputs.iter().filter(move |(_, k, _)| *k == kind);
            of_kind
                .map(|(step, _, id)| RequestInput {
                    name: None,
                    step_id: loaded.step_ids[*step],
                    item_id: *id,
                    request: None,
                })
                .collect::<Vec<_>>()
        };
        let mut new = given::request(&loaded, self.history, self.user);
        (new.scheduler, new.handler) = (Some("default".into()), Some("main".into()));
        (new.input_datasets, new.input_collections) = (given("hda"), given("hdca"));
        change(&mut new, &loaded);
        let now = Clock::system().now_ms();
        let id = invocations::create(&mut tx, &self.store.ids, &new, now)
            .await
            .expect("created");
        tx.commit(Durability::Acknowledged, "test")
            .await
            .expect("commits");
        services.signals.invocations_changed();
        id
    }

    pub async fn rows(&self, sql: &'static str, id: i64) -> Vec<(String, i64)> {
        let rows = self
            .store
            .reader()
            .all(sql, args![id])
            .await
            .expect("reads");
        rows.iter()
            .map(|r| (r.get(0).expect("text"), r.get(1).expect("number")))
            .collect()
    }

    /// The text in the first row.
    pub async fn text(&self, sql: &'static str, id: i64) -> String {
        self.rows(sql, id).await.remove(0).0
    }

    pub async fn state(&self, id: i64) -> String {
        let state = "SELECT state, id FROM workflow_invocation WHERE id = $1";
        self.text(state, id).await
    }

    /// The invocation inside an invocation's subworkflow step.
    pub async fn child(&self, id: i64) -> i64 {
        let child = "SELECT state, id FROM workflow_invocation WHERE parent_invocation_id = $1";
        self.rows(child, id).await[0].1
    }

    pub async fn jobs(&self, id: i64) -> Vec<String> {
        let rows = self
            .rows(
                "SELECT state, id FROM job WHERE workflow_invocation_id = $1 ORDER BY id",
                id,
            )
            .await;
        rows.into_iter().map(|r| r.0).collect()
    }

    /// Waits until the invocation is in this state.
    pub async fn wait_for(&self, id: i64, state: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.state(id).await;
            if found == state {
                // Shown where the test fails.
                eprintln!("{state}; jobs: {:#?}", self.ends().await);
                return;
            }
            if Instant::now() > deadline {
                let messages = self.rows("SELECT reason || ' ' || COALESCE(details, ''), id FROM workflow_invocation_message WHERE workflow_invocation_id = $1", id).await;
                panic!(
                    "the invocation is {found}, not {state}; jobs {:?}; messages {messages:?}",
                    self.jobs(id).await
                );
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Waits until the invocation's jobs are in states that are `wanted`.
    pub async fn wait_for_jobs(&self, id: i64, wanted: impl Fn(&[String]) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.jobs(id).await;
            if wanted(&found) {
                return;
            }
            assert!(Instant::now() < deadline, "the jobs are {found:?}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Waits until the invocation's jobs are in these states.
    pub async fn until_jobs(&self, id: i64, wanted: &[&str]) {
        self.wait_for_jobs(id, |found| found == wanted).await;
    }

    /// How each job ended, in words.
    pub async fn ends(&self) -> Vec<String> {
        let sql = "SELECT tool_id || ' ' || state || ', exit code ' || COALESCE(CAST(exit_code AS TEXT), 'none') || ', '
                || COALESCE(info, '') || ', ' || COALESCE(tool_stderr, ''), id FROM job WHERE id > $1 ORDER BY id";
        self.rows(sql, 0).await.into_iter().map(|r| r.0).collect()
    }

    /// Name, content of each output dataset of the invocation's jobs, in order.
    pub async fn outputs(&self, id: i64) -> Vec<String> {
        let rows = self.rows(
            "SELECT a.name, a.dataset_id FROM job j JOIN job_to_output_dataset o ON o.job_id = j.id JOIN history_dataset_association a ON a.id = o.hda_id
             WHERE j.workflow_invocation_id = $1 ORDER BY a.id",
            id,
        )
        .await;
        let data = self.services().data.clone();
        rows.iter()
            .map(|(name, dataset)| {
                format!(
                    "{name}: {}",
                    std::fs::read_to_string(data.dataset(*dataset)).unwrap_or_default()
                )
            })
            .collect()
    }

    pub async fn act(&self, id: i64, action: Value) {
        let step = self.rows(
            "SELECT s.state, s.id FROM workflow_invocation_step s JOIN workflow_step w ON w.id = s.workflow_step_id WHERE s.workflow_invocation_id = $1 AND w.type = 'pause'",
            id,
        )
        .await[0]
            .1;
        self.answer(step, action).await;
        self.services().signals.invocations_changed();
    }

    /// Stores an answer of a pause's step, and tells no loop of it.
    pub async fn answer(&self, step: i64, action: Value) {
        let mut tx = self.store.begin().await.expect("begins");
        invocations::put_action(&mut tx, step, &action, 5)
            .await
            .expect("stored");
        tx.commit(Durability::Acknowledged, "test")
            .await
            .expect("commits");
    }

    /// Waits until a pause is all that holds the invocation up.
    pub async fn wait_for_review(&self, id: i64) {
        let blocked = "SELECT COALESCE(blocked_on, ''), id FROM workflow_invocation WHERE id = $1";
        let deadline = Instant::now() + PATIENCE;
        while self.text(blocked, id).await != "review" {
            assert!(Instant::now() < deadline, "no review is waited for");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

pub fn step(id: usize, kind: &str, tool: Option<&str>, from: &[(&str, usize, &str)]) -> Value {
    let connections: serde_json::Map<String, Value> = from
        .iter()
        .map(|(name, step, output)| (name.to_string(), json!({"id": step, "output_name": output})))
        .collect();
    let connected: serde_json::Map<String, Value> = from
        .iter()
        .map(|(name, _, _)| (name.to_string(), json!({"__class__": "ConnectedValue"})))
        .collect();
    json!({
        "id": id, "type": kind, "tool_id": tool, "content_id": tool, "tool_version": tool.map(|_| "1"), "name": kind,
        "tool_state": Value::Object(connected).to_string(), "input_connections": connections, "label": format!("s{id}"),
        "position": {"left": id * 10, "top": id * 10}, "workflow_outputs": [], "annotation": ""
    })
}

/// A step that runs a tool on an output of another step.
pub fn run_on(id: usize, tool: &str, from: usize, output: &str) -> Value {
    step(id, "tool", Some(tool), &[("input", from, output)])
}

pub fn copy(id: usize, from: usize, output: &str) -> Value {
    run_on(id, "copy", from, output)
}

pub fn pause(id: usize, from: usize, output: &str) -> Value {
    step(id, "pause", None, &[("input", from, output)])
}

/// An input dataset.
pub fn data(id: usize) -> Value {
    step(id, "data_input", None, &[])
}

pub fn steps(list: Vec<Value>) -> Value {
    Value::Object(
        list.into_iter()
            .enumerate()
            .map(|(n, step)| (n.to_string(), step))
            .collect(),
    )
}

pub fn reviewed() -> Value {
    steps(vec![
        data(0),
        copy(1, 0, "output"),
        pause(2, 1, "out"),
        copy(3, 2, "output"),
    ])
}
