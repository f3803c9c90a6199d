//! The plugins that this server has.

use super::bridge::{ModuleInstance, RunnerInstance, SchedulerInstance};
use super::config::{Entry, Handlers, PluginsConfig};
use super::fault::{Fault, did_you_mean};
use super::inproc::InProcess;
use super::isolation::{self, Facts, Isolation};
use super::load::Loaded;
use super::load::{Stored, open_here, store};
use super::locate::{find, is_shipped, search_path};
use super::methods::{Capabilities, Object};
use super::process::{Process, Spec, StartError};
use super::quarantine::Quarantine;
use super::record::Recorder;
use super::stats::MethodStats;
use super::supervision::{Supervision, SupervisionState};
use super::transport::{Caller, Transport};
use barycenter_plugin_api::abi::{HostBox, PluginInfo};
use barycenter_plugin_api::{Host, PluginKind};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Every plugin, loaded and configured.
pub struct Plugins {
    schedulers: Vec<SchedulerInstance>,
    modules: Vec<ModuleInstance>,
    runners: Vec<RunnerInstance>,
    listed: Vec<ListedPlugin>,
    default_scheduler: String,
    handlers: Handlers,
}

/// One declared plugin, for `plugin list` and the status page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedPlugin {
    /// What it is.
    pub kind: PluginKind,
    /// The instance's name.
    pub id: String,
    /// The plugin type.
    pub type_id: String,
    /// Its own version; empty when it is not loaded.
    pub version: String,
    /// The version of plugin-api it was built with; zeros when it is not loaded.
    pub api: (u16, u16, u16),
    /// The library; empty when none was found.
    pub path: PathBuf,
    /// The library's digest; empty when it is not loaded.
    pub sha256: String,
    /// Whether it was loaded at the start. How it is doing since is in [`Plugins::supervision`].
    pub status: PluginStatus,
    /// Where it runs, and why there; `None` when it is not loaded.
    pub isolation: Option<(Isolation, &'static str)>,
}

/// Whether a plugin works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PluginStatus {
    /// It is loaded.
    Ready,
    /// It is not, and was not required.
    Degraded(String),
}

impl Plugins {
    /// Loads everything that is declared. All faults are told at once; a plugin with
    /// `required = false` whose library is missing or fails is listed as degraded instead.
    ///
    /// `host_for` makes the host services of the plugin with that id. Copies of libraries are kept
    /// below `data_dir`.
    pub fn load(
        config: &PluginsConfig,
        host_for: &dyn Fn(&str) -> Host,
        data_dir: Option<&Path>,
    ) -> Result<Self, Vec<Fault>> {
        let folders = search_path(&config.search);
        let mut plugins = Self {
            schedulers: Vec::new(),
            modules: Vec::new(),
            runners: Vec::new(),
            listed: Vec::new(),
            default_scheduler: config.default_scheduler.clone(),
            handlers: config.handlers.clone(),
        };
        let mut faults = Vec::new();
        for entry in &config.entries {
            match plugins.load_one(entry, &folders, host_for, data_dir) {
                Ok(listed) => plugins.listed.push(listed),
                Err(Failure::Options(found)) => faults.extend(found),
                Err(Failure::Plugin(fault)) if entry.required => faults.push(fault),
                Err(Failure::Plugin(fault)) => {
                    tracing::warn!(plugin = %entry.id, "starting without a plugin: {fault}");
                    plugins.listed.push(degraded(entry, &fault));
                }
            }
        }
        if faults.is_empty() && plugins.scheduler(&config.default_scheduler).is_none() {
            faults.push(Fault::new(
                &config.name,
                format!(
                    "the default scheduler `{}` is not loaded",
                    config.default_scheduler
                ),
                "Make it `required = true` to see why, or choose another default_scheduler.",
            ));
        }
        if faults.is_empty() {
            Ok(plugins)
        } else {
            Err(faults)
        }
    }

    /// One instance by itself, for those who look at a single plugin.
    pub fn of_entry(entry: &Entry, host: Host) -> Result<Self, Vec<Fault>> {
        let mut plugins = Self {
            schedulers: Vec::new(),
            modules: Vec::new(),
            runners: Vec::new(),
            listed: Vec::new(),
            default_scheduler: String::new(),
            handlers: Handlers::default(),
        };
        match plugins.load_one(entry, &[], &|_| host.clone(), None) {
            Ok(listed) => plugins.listed.push(listed),
            Err(Failure::Options(faults)) => return Err(faults),
            Err(Failure::Plugin(fault)) => return Err(vec![fault]),
        }
        Ok(plugins)
    }

    /// From now on the calls of every scheduler are recorded. `config` is what they were made from.
    pub fn record(&self, recorder: &Recorder, config: &PluginsConfig) {
        for scheduler in &self.schedulers {
            let id = scheduler.id();
            let is_it =
                |kind: PluginKind, other: &str| kind == PluginKind::Scheduler && other == id;
            let entry = config
                .entries
                .iter()
                .find(|entry| is_it(entry.kind, &entry.id));
            let listed = self
                .listed
                .iter()
                .find(|listed| is_it(listed.kind, &listed.id));
            recorder.start(
                PluginKind::Scheduler,
                (id, scheduler.type_id(), scheduler.version()),
                listed.map_or("", |listed| &listed.sha256),
                &entry.map_or_else(Value::default, |entry| entry.config.clone()),
            );
            scheduler.record(recorder.clone());
        }
    }

    /// The scheduler with this id.
    pub fn scheduler(&self, id: &str) -> Option<&SchedulerInstance> {
        self.schedulers
            .iter()
            .find(|scheduler| scheduler.id() == id)
    }

    /// The schedulers, in the order of plugins.toml.
    pub fn schedulers(&self) -> &[SchedulerInstance] {
        &self.schedulers
    }

    /// Whether the scheduler with this id (None or empty: the default one) takes its invocations by itself.
    pub fn is_passive(&self, id: Option<&str>) -> bool {
        let id = id
            .filter(|id| !id.is_empty())
            .unwrap_or(&self.default_scheduler);
        self.scheduler(id)
            .is_some_and(|scheduler| !scheduler.is_active())
    }

    /// The schedulers that take their invocations by themselves.
    pub fn passive_ids(&self) -> Vec<String> {
        let passive = self.schedulers.iter().filter(|one| !one.is_active());
        passive.map(|one| one.id().to_owned()).collect()
    }

    /// The scheduler of requests that name none.
    pub fn default_scheduler_id(&self) -> &str {
        &self.default_scheduler
    }

    /// The module of a step type. The error is a sentence that names what is missing.
    pub fn module(&self, step_type: &str) -> Result<&ModuleInstance, String> {
        let found = self
            .modules
            .iter()
            .find(|module| module.type_id() == step_type);
        found.ok_or_else(|| self.missing_module(step_type))
    }

    /// The modules, in the order of plugins.toml.
    pub fn modules(&self) -> &[ModuleInstance] {
        &self.modules
    }

    /// The runner with this id.
    pub fn runner(&self, id: &str) -> Option<&RunnerInstance> {
        self.runners.iter().find(|runner| runner.id() == id)
    }

    /// The runners, in the order of plugins.toml.
    pub fn runners(&self) -> &[RunnerInstance] {
        &self.runners
    }

    /// Every declared plugin, in the order of plugins.toml.
    pub fn list(&self) -> &[ListedPlugin] {
        &self.listed
    }

    /// How a plugin is doing; `None` for one that is not loaded.
    pub fn supervision(&self, kind: PluginKind, id: &str) -> Option<&Arc<Supervision>> {
        match kind {
            PluginKind::Scheduler => self.scheduler(id).map(SchedulerInstance::supervision),
            PluginKind::WorkflowModule => {
                let mut modules = self.modules.iter();
                modules
                    .find(|module| module.id() == id)
                    .map(ModuleInstance::supervision)
            }
            PluginKind::JobRunner => self.runner(id).map(RunnerInstance::supervision),
        }
    }

    /// How handlers take invocations.
    pub fn handlers(&self) -> &Handlers {
        &self.handlers
    }

    /// The counters of every instance: kind, id, methods.
    pub fn stats(&self) -> Vec<(PluginKind, String, Vec<MethodStats>)> {
        let schedulers = self
            .schedulers
            .iter()
            .map(|one| (PluginKind::Scheduler, one.id(), one.stats()));
        let modules = self
            .modules
            .iter()
            .map(|one| (PluginKind::WorkflowModule, one.id(), one.stats()));
        let runners = self
            .runners
            .iter()
            .map(|one| (PluginKind::JobRunner, one.id(), one.stats()));
        schedulers
            .chain(modules)
            .chain(runners)
            .map(|(kind, id, stats)| (kind, id.to_owned(), stats))
            .collect()
    }

    fn missing_module(&self, step_type: &str) -> String {
        let declared = self
            .listed
            .iter()
            .find(|one| one.kind == PluginKind::WorkflowModule && one.type_id == step_type);
        match declared.map(|one| &one.status) {
            Some(PluginStatus::Degraded(reason)) => format!(
                "Steps of type `{step_type}` need the workflow module `{step_type}`, which did not \
                 load: {reason}"
            ),
            _ => {
                let known = self.modules.iter().map(ModuleInstance::type_id);
                format!(
                    "Steps of type `{step_type}` need a workflow module plugin `{step_type}`, which \
                     plugins.toml does not declare{}",
                    did_you_mean(step_type, known)
                )
            }
        }
    }

    fn load_one(
        &mut self,
        entry: &Entry,
        folders: &[PathBuf],
        host_for: &dyn Fn(&str) -> Host,
        data_dir: Option<&Path>,
    ) -> Result<ListedPlugin, Failure> {
        let (path, stored) = inspected(entry, folders, data_dir)?;
        let at_path = |message: String| {
            let place = format!("{} ({})", entry.place, path.display());
            Failure::Plugin(Fault::new(place, message, ""))
        };
        let preamble = stored.preamble.clone();
        let notes = Quarantine::below(data_dir);
        let (isolation, why) = isolation::choose(
            entry.isolation,
            Facts {
                shipped: is_shipped(&entry.type_id, &path),
                pinned: entry.sha256.is_some(),
                unwinds: preamble.unwind,
                debug: preamble.debug,
                quarantined: notes.has(&stored.sha256),
                has_memory_limit: entry.limits.memory.is_some(),
            },
        );
        let sha256 = stored.sha256.clone();
        let made = Making {
            entry,
            path: &path,
            stored,
            is_shipped: is_shipped(&entry.type_id, &path),
            data_dir,
            notes,
        };
        match isolation {
            Isolation::Process => made.in_a_process(host_for(&entry.id)),
            _ => made.in_this_process(host_for(&entry.id)),
        }
        .and_then(|made| self.add(entry, made).map_err(at_path))?;
        Ok(ListedPlugin {
            kind: entry.kind,
            id: entry.id.clone(),
            type_id: entry.type_id.clone(),
            version: preamble.version,
            api: preamble.api,
            sha256,
            path,
            status: PluginStatus::Ready,
            isolation: Some((isolation, why)),
        })
    }

    fn add(&mut self, entry: &Entry, made: Made) -> Result<(), String> {
        let Made {
            caller,
            info,
            capabilities,
        } = made;
        for (id, reason) in capabilities.dropped() {
            tracing::warn!(plugin = %entry.id, "its capability {id} is not used: {reason}");
        }
        match entry.kind {
            PluginKind::Scheduler => {
                let fallback = entry.fallback.clone();
                self.schedulers.push(SchedulerInstance::new(
                    caller,
                    info.active,
                    fallback,
                    capabilities,
                ));
            }
            PluginKind::WorkflowModule => {
                let instance = ModuleInstance::new(caller);
                self.modules
                    .push(instance.map_err(|error| error.to_string())?);
            }
            PluginKind::JobRunner => self.runners.push(RunnerInstance::new(caller)),
        }
        Ok(())
    }
}

/// A plugin on its way from a file to something that can be called.
struct Making<'a> {
    entry: &'a Entry,
    path: &'a Path,
    stored: Stored,
    is_shipped: bool,
    data_dir: Option<&'a Path>,
    notes: Quarantine,
}

/// What can be called, and what it said about itself.
struct Made {
    caller: Caller,
    info: PluginInfo,
    capabilities: Capabilities,
}

impl Making<'_> {
    fn in_this_process(self, host: Host) -> Result<Made, Failure> {
        let entry = self.entry;
        let loaded = open_here(&self.stored).map_err(|error| self.at_path(error.to_string()))?;
        check_options(entry, &loaded.info.config_schema)?;
        let config = entry.config.to_string();
        let object = Object::create(loaded.root, entry.kind, &config, host)
            .map_err(|error| self.refused(&error.to_string()))?;
        let supervision = Arc::new(Supervision::new(
            entry.limits.restarts(),
            SupervisionState::Ready,
        ));
        // What came with the server is as good as part of it: called without a thread of its own, unless somebody
        // wants it to have a deadline.
        let direct = self.is_shipped && entry.limits.call_timeout.is_none();
        let lanes = (!direct).then_some(entry.limits.in_flight(entry.kind) as usize);
        let inproc = InProcess::new(&entry.id, object, lanes, Arc::clone(&supervision));
        let caller = self.caller(&loaded.info, Transport::InProcess(inproc), supervision);
        Ok(Made {
            caller,
            capabilities: Capabilities::of(loaded.root, entry.kind),
            info: loaded.info,
        })
    }

    fn in_a_process(self, host: Host) -> Result<Made, Failure> {
        let entry = self.entry;
        let supervision = Arc::new(Supervision::new(
            entry.limits.restarts(),
            SupervisionState::Starting,
        ));
        let spec = Spec {
            kind: entry.kind,
            id: entry.id.clone(),
            type_id: entry.type_id.clone(),
            stored: self.stored.clone(),
            config: entry.config.to_string(),
            limits: entry.limits,
            host,
            crashes: self
                .data_dir
                .map(|folder| folder.join("plugins").join("crashes")),
            on_quarantine: self.on_quarantine(),
        };
        let check = |info: &PluginInfo| check_options(entry, &info.config_schema);
        let (process, info, capabilities) = Process::start(spec, Arc::clone(&supervision), check)
            .map_err(|error| match error {
            StartError::Unwanted(failure) => failure,
            StartError::ByPlugin(message) => self.refused(&message),
            StartError::Failed(message) => self.at_path(message),
        })?;
        let caller = self.caller(&info, Transport::Process(process), supervision);
        Ok(Made {
            caller,
            info,
            capabilities,
        })
    }

    fn caller(
        &self,
        info: &PluginInfo,
        transport: Transport,
        supervision: Arc<Supervision>,
    ) -> Caller {
        let entry = self.entry;
        let names = (
            entry.id.as_str(),
            entry.type_id.as_str(),
            info.version.as_str(),
        );
        let on_quarantine = self.on_quarantine();
        Caller::new(
            entry.kind,
            names,
            entry.limits,
            transport,
            supervision,
            on_quarantine,
        )
    }

    fn on_quarantine(&self) -> Box<dyn Fn(&str) + Send + Sync> {
        let (notes, sha256) = (self.notes.clone(), self.stored.sha256.clone());
        let plugin = format!("{} {}", self.entry.kind, self.entry.id);
        Box::new(move |why| notes.add(&sha256, &plugin, why))
    }

    fn at_path(&self, message: String) -> Failure {
        let place = format!("{} ({})", self.entry.place, self.path.display());
        Failure::Plugin(Fault::new(place, message, ""))
    }

    fn refused(&self, message: &str) -> Failure {
        let place = format!("{} ({})", self.entry.place, self.path.display());
        let message = format!("the plugin refused to start: {message}");
        Failure::Plugin(Fault::new(
            place,
            message,
            "Correct its config table in plugins.toml.",
        ))
    }
}

/// What is wrong with the libraries and options of a file that has other faults as well. Makes no plugin, and runs only
/// libraries that would run inside the server anyway.
pub(super) fn library_faults(config: &PluginsConfig) -> Vec<Fault> {
    let folders = search_path(&config.search);
    let mut faults = Vec::new();
    for entry in &config.entries {
        let checked = inspected(entry, &folders, None).and_then(|(path, stored)| {
            if entry.isolation == Isolation::Process || !is_shipped(&entry.type_id, &path) {
                return Ok(());
            }
            let loaded = open_here(&stored).map_err(|error| {
                let place = format!("{} ({})", entry.place, path.display());
                Failure::Plugin(Fault::new(place, error.to_string(), ""))
            })?;
            check_options(entry, &loaded.info.config_schema)
        });
        match checked {
            Err(Failure::Options(found)) => faults.extend(found),
            Err(Failure::Plugin(fault)) if entry.required => faults.push(fault),
            _ => {}
        }
    }
    faults
}

/// Finds the library of an entry and reads it without running it.
fn inspected(
    entry: &Entry,
    folders: &[PathBuf],
    data_dir: Option<&Path>,
) -> Result<(PathBuf, Stored), Failure> {
    let path = locate(entry, folders)?;
    let admitted = entry
        .trust
        .admits(&entry.place, &path, entry.sha256.as_deref());
    admitted.map_err(Failure::Plugin)?;
    let at_path = |message: String| {
        let place = format!("{} ({})", entry.place, path.display());
        Failure::Plugin(Fault::new(place, message, ""))
    };
    let stored = store(&path, entry.sha256.as_deref(), data_dir)
        .map_err(|error| at_path(error.to_string()))?;
    let preamble = &stored.preamble;
    if !preamble.has(entry.kind) || preamble.type_id != entry.type_id {
        let kinds: Vec<_> = preamble.kinds().map(PluginKind::name).collect();
        return Err(at_path(format!(
            "the library is the {} `{}`, not the {} `{}`",
            kinds.join(" and "),
            preamble.type_id,
            entry.kind,
            entry.type_id
        )));
    }
    Ok((path, stored))
}

/// Makes an object and drops it, with options that nobody has checked: does the plugin bear them?
pub fn create_unchecked(
    loaded: &Loaded,
    kind: PluginKind,
    config: &Value,
    host: Host,
) -> Result<(), barycenter_plugin_api::PluginError> {
    let config = config.to_string();
    let (config, host): (_, HostBox) = (config.as_str().into(), host.into_object());
    match kind {
        PluginKind::Scheduler => loaded.root.scheduler()(config, host)
            .into_result()
            .map(drop),
        PluginKind::WorkflowModule => loaded.root.workflow_module()(config, host)
            .into_result()
            .map(drop),
        PluginKind::JobRunner => loaded.root.job_runner()(config, host)
            .into_result()
            .map(drop),
    }
}

/// Why a plugin is not there.
enum Failure {
    /// Its options are wrong: the operator must correct them in any case.
    Options(Vec<Fault>),
    /// Everything else; bearable when it is not required.
    Plugin(Fault),
}

fn degraded(entry: &Entry, fault: &Fault) -> ListedPlugin {
    ListedPlugin {
        kind: entry.kind,
        id: entry.id.clone(),
        type_id: entry.type_id.clone(),
        version: String::new(),
        api: (0, 0, 0),
        path: entry.path.clone().unwrap_or_default(),
        sha256: String::new(),
        status: PluginStatus::Degraded(fault.message.clone()),
        isolation: None,
    }
}

impl PluginsConfig {
    /// The library of an entry, searched for as at the start of a server.
    pub fn library_of(&self, entry: &Entry) -> Result<PathBuf, Fault> {
        locate(entry, &search_path(&self.search)).map_err(|failure| match failure {
            Failure::Plugin(fault) => fault,
            Failure::Options(faults) => faults
                .into_iter()
                .next()
                .unwrap_or_else(|| Fault::new(&entry.place, "its library was not found", "")),
        })
    }
}

fn locate(entry: &Entry, folders: &[PathBuf]) -> Result<PathBuf, Failure> {
    if let Some(path) = &entry.path {
        if path.is_file() {
            return Ok(path.clone());
        }
        return Err(Failure::Plugin(Fault::new(
            &entry.place,
            format!("there is no file {}", path.display()),
            "Correct `path`, or leave it out to search for the type.",
        )));
    }
    find(entry.kind, &entry.type_id, folders).map_err(|not_found| {
        let what = format!("{} `{}`", entry.kind, entry.type_id);
        if let Some((path, reason)) = not_found.broken.first() {
            let place = format!("{} ({})", entry.place, path.display());
            return Failure::Plugin(Fault::new(place, reason.clone(), ""));
        }
        let known = not_found.other_types.iter().map(String::as_str);
        let hint = did_you_mean(&entry.type_id, known);
        let searched: Vec<_> = folders
            .iter()
            .map(|folder| folder.display().to_string())
            .collect();
        Failure::Plugin(Fault::new(
            &entry.place,
            format!(
                "no library exports the {what}{hint}\nsearched: {}",
                searched.join(", ")
            ),
            "Install the library, or name it with `path`, or add its folder to `search`.",
        ))
    })
}

/// Checks an entry's options against the plugin's own schema.
fn check_options(entry: &Entry, schema: &str) -> Result<(), Failure> {
    let line_of = |pointer: &str| {
        let line = entry.config_lines.iter().find(|(at, _)| at == pointer);
        line.map_or(String::new(), |(_, line)| format!(" (line {line})"))
    };
    if schema.is_empty() {
        let is_empty = entry
            .config
            .as_object()
            .is_none_or(serde_json::Map::is_empty);
        if is_empty {
            return Ok(());
        }
        return Err(Failure::Options(vec![Fault::new(
            &entry.place,
            format!("the plugin takes no options{}", line_of("")),
            "Take the config table out.",
        )]));
    }
    let broken = |message: String| {
        let message = format!("the plugin's own schema of its options is broken: {message}");
        Failure::Plugin(Fault::new(
            &entry.place,
            message,
            "Report this to the plugin's author.",
        ))
    };
    let schema: Value = serde_json::from_str(schema).map_err(|error| broken(error.to_string()))?;
    let validator =
        jsonschema::validator_for(&schema).map_err(|error| broken(error.to_string()))?;
    let known: Vec<&str> = schema
        .get("properties")
        .and_then(Value::as_object)
        .map(|properties| properties.keys().map(String::as_str).collect())
        .unwrap_or_default();
    let mut faults = Vec::new();
    for error in validator.iter_errors(&entry.config) {
        let pointer = error.instance_path().as_str().to_owned();
        if let jsonschema::error::ValidationErrorKind::AdditionalProperties { unexpected } =
            error.kind()
        {
            for key in unexpected {
                let line = line_of(&format!("{pointer}/{key}"));
                let hint = did_you_mean(key, known.iter().copied());
                faults.push(Fault::new(
                    &entry.place,
                    format!("the plugin has no option `{key}`{line}{hint}"),
                    format!("Options: {}.", known.join(", ")),
                ));
            }
            continue;
        }
        let option = pointer.trim_start_matches('/').replace('/', ".");
        faults.push(Fault::new(
            &entry.place,
            format!(
                "the option `{option}`{} is wrong: {error}",
                line_of(&pointer)
            ),
            "Correct the value.",
        ));
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(Failure::Options(faults))
    }
}
