//! The plugins that this server has.

use super::bridge::{ModuleInstance, RunnerInstance, SchedulerInstance};
use super::config::{Entry, Handlers, PluginsConfig};
use super::failure::{PluginCallError, tamed_error};
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
use super::switch::{DISABLED, Switch};
use super::tame::{WORD_MAX, tame};
use super::transport::{Caller, Transport};
use barycenter_plugin_api::abi::{HostBox, PluginInfo};
use barycenter_plugin_api::{Host, PluginKind};
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

/// Every plugin, loaded and configured.
pub struct Plugins {
    /// Replaced as a whole, so that who looks up a plugin sees the old one or the new one.
    slots: RwLock<Arc<Vec<Slot>>>,
    default_scheduler: String,
    handlers: Handlers,
    switches: Mutex<HashMap<(PluginKind, String), Arc<Switch>>>,
    recorder: OnceLock<Recorder>,
}

/// The place of one declared plugin.
#[derive(Clone)]
pub(super) struct Slot {
    pub listed: ListedPlugin,
    /// `None` when it is not loaded.
    pub instance: Option<Instance>,
    /// What the instance was made from.
    pub source: Option<Source>,
}

/// What an instance is made from, again if need be.
#[derive(Clone)]
pub(super) struct Source {
    pub entry: Entry,
    pub path: PathBuf,
    pub stored: Stored,
}

/// A plugin of any kind that can be called.
#[derive(Clone)]
pub(super) enum Instance {
    Scheduler(SchedulerInstance),
    Module(ModuleInstance),
    Runner(RunnerInstance),
}

/// What each kind does in its own way.
macro_rules! each {
    ($instance:expr, $one:ident => $body:expr) => {
        match $instance {
            Instance::Scheduler($one) => $body,
            Instance::Module($one) => $body,
            Instance::Runner($one) => $body,
        }
    };
}

impl Instance {
    pub fn caller(&self) -> &Caller {
        each!(self, one => one.caller())
    }

    pub fn supervision(&self) -> &Arc<Supervision> {
        each!(self, one => one.supervision())
    }

    pub fn stats(&self) -> Vec<MethodStats> {
        each!(self, one => one.stats())
    }

    pub fn is_left(&self) -> bool {
        each!(self, one => one.is_left())
    }

    pub fn is_on_trial(&self) -> bool {
        each!(self, one => !one.probation().is_over())
    }

    pub fn end_trial(&self) {
        each!(self, one => one.probation().end());
    }

    pub fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Scheduler(one), Self::Scheduler(other)) => one.is(other),
            (Self::Module(one), Self::Module(other)) => one.is(other),
            (Self::Runner(one), Self::Runner(other)) => one.is(other),
            _ => false,
        }
    }

    /// It is not needed any more.
    pub fn shut_down(&self) -> Result<(), PluginCallError> {
        match self {
            Self::Scheduler(one) => one.shutdown(),
            Self::Module(_) => Ok(()),
            Self::Runner(one) => one.shutdown(),
        }
    }
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
    /// plugins.toml says `enabled = false`.
    Disabled,
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
        let plugins = Self::empty(config.default_scheduler.clone(), config.handlers.clone());
        let mut faults = Vec::new();
        for entry in &config.entries {
            if !entry.enabled {
                plugins.put(Slot::empty(entry, PluginStatus::Disabled));
                continue;
            }
            match plugins.load_one(entry, &folders, host_for, data_dir) {
                Ok(slot) => plugins.put(slot),
                Err(Failure::Options(found)) => faults.extend(found),
                Err(Failure::Plugin(fault)) if entry.required => faults.push(fault),
                Err(Failure::Plugin(fault)) => {
                    tracing::warn!(plugin = %entry.id, "starting without a plugin: {fault}");
                    plugins.put(Slot::empty(entry, PluginStatus::Degraded(fault.message)));
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
        let plugins = Self::empty(String::new(), Handlers::default());
        match plugins.load_one(entry, &[], &|_| host.clone(), None) {
            Ok(slot) => plugins.put(slot),
            Err(Failure::Options(faults)) => return Err(faults),
            Err(Failure::Plugin(fault)) => return Err(vec![fault]),
        }
        Ok(plugins)
    }

    fn empty(default_scheduler: String, handlers: Handlers) -> Self {
        Self {
            slots: RwLock::default(),
            default_scheduler,
            handlers,
            switches: Mutex::default(),
            recorder: OnceLock::new(),
        }
    }

    /// From now on the calls of every scheduler are recorded.
    pub fn record(&self, recorder: &Recorder) {
        let _ = self.recorder.set(recorder.clone());
        for slot in self.slots().iter() {
            self.record_slot(slot);
        }
    }

    /// So are the calls of one that is to take a place.
    pub(super) fn record_slot(&self, slot: &Slot) {
        let (Some(recorder), Some(Instance::Scheduler(scheduler))) =
            (self.recorder.get(), &slot.instance)
        else {
            return;
        };
        let source = slot.source.as_ref();
        recorder.start(
            PluginKind::Scheduler,
            (scheduler.id(), scheduler.type_id(), scheduler.version()),
            &slot.listed.sha256,
            &source.map_or_else(Value::default, |source| source.entry.config.clone()),
        );
        scheduler.record(recorder.clone());
    }

    /// The scheduler with this id.
    pub fn scheduler(&self, id: &str) -> Option<SchedulerInstance> {
        match self.instance(PluginKind::Scheduler, id)? {
            Instance::Scheduler(one) => Some(one),
            _ => None,
        }
    }

    /// The schedulers, in the order of plugins.toml.
    pub fn schedulers(&self) -> Vec<SchedulerInstance> {
        self.every(|instance| match instance {
            Instance::Scheduler(one) => Some(one.clone()),
            _ => None,
        })
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
        let all = self.schedulers();
        let passive = all.iter().filter(|one| !one.is_active());
        passive.map(|one| one.id().to_owned()).collect()
    }

    /// The scheduler of requests that name none.
    pub fn default_scheduler_id(&self) -> &str {
        &self.default_scheduler
    }

    /// The module of a step type. The error is a sentence that names what is missing.
    pub fn module(&self, step_type: &str) -> Result<ModuleInstance, String> {
        let slots = self.slots();
        let mut modules = slots.iter().filter_map(|slot| match &slot.instance {
            Some(Instance::Module(one)) => Some(one),
            _ => None,
        });
        let found = modules.find(|module| module.type_id() == step_type);
        found
            .cloned()
            .ok_or_else(|| missing_module(&slots, step_type))
    }

    /// The modules, in the order of plugins.toml.
    pub fn modules(&self) -> Vec<ModuleInstance> {
        self.every(|instance| match instance {
            Instance::Module(one) => Some(one.clone()),
            _ => None,
        })
    }

    /// The runner with this id.
    pub fn runner(&self, id: &str) -> Option<RunnerInstance> {
        match self.instance(PluginKind::JobRunner, id)? {
            Instance::Runner(one) => Some(one),
            _ => None,
        }
    }

    /// The runners, in the order of plugins.toml.
    pub fn runners(&self) -> Vec<RunnerInstance> {
        self.every(|instance| match instance {
            Instance::Runner(one) => Some(one.clone()),
            _ => None,
        })
    }

    /// Every declared plugin, in the order of plugins.toml.
    pub fn list(&self) -> Vec<ListedPlugin> {
        let slots = self.slots();
        slots.iter().map(|slot| slot.listed.clone()).collect()
    }

    /// How a plugin is doing; `None` for one that is not loaded.
    pub fn supervision(&self, kind: PluginKind, id: &str) -> Option<Arc<Supervision>> {
        self.instance(kind, id)
            .map(|instance| Arc::clone(instance.supervision()))
    }

    /// plugins.toml or an administrator has disabled a plugin: why, for people.
    pub fn disabled(&self, kind: PluginKind, id: &str) -> Option<&'static str> {
        let slot = self.slot(kind, id)?;
        match slot.listed.status {
            PluginStatus::Disabled => Some("it is disabled in plugins.toml"),
            _ => self.switch(kind, id).is_off().then_some(DISABLED),
        }
    }

    /// As [`Self::disabled`], for the module of a step type.
    pub fn disabled_module(&self, step_type: &str) -> Option<&'static str> {
        let slots = self.slots();
        let mut listed = slots.iter().map(|slot| &slot.listed);
        let module = listed
            .find(|one| one.kind == PluginKind::WorkflowModule && one.type_id == step_type)?;
        self.disabled(module.kind, &module.id)
    }

    pub(super) fn slots(&self) -> Arc<Vec<Slot>> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&slots)
    }

    pub(super) fn slot(&self, kind: PluginKind, id: &str) -> Option<Slot> {
        let slots = self.slots();
        let mut slots = slots.iter();
        slots.find(|slot| slot.is(kind, id)).cloned()
    }

    /// Puts a plugin into its place, which may be new. Whoever looks it up from now on finds this one.
    pub(super) fn put(&self, slot: Slot) {
        let mut held = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let mut slots = Vec::clone(&held);
        let (kind, id) = (slot.listed.kind, slot.listed.id.as_str());
        match slots.iter_mut().find(|known| known.is(kind, id)) {
            Some(known) => *known = slot,
            None => slots.push(slot),
        }
        *held = Arc::new(slots);
    }

    /// Decides whether who bears this name gets new work.
    pub(super) fn switch(&self, kind: PluginKind, id: &str) -> Arc<Switch> {
        let mut switches = self.switches.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(switches.entry((kind, id.to_owned())).or_default())
    }

    fn instance(&self, kind: PluginKind, id: &str) -> Option<Instance> {
        let slots = self.slots();
        let mut slots = slots.iter();
        slots.find(|slot| slot.is(kind, id))?.instance.clone()
    }

    fn every<T>(&self, wanted: impl Fn(&Instance) -> Option<T>) -> Vec<T> {
        let slots = self.slots();
        let instances = slots.iter().filter_map(|slot| slot.instance.as_ref());
        instances.filter_map(wanted).collect()
    }

    /// How handlers take invocations.
    pub fn handlers(&self) -> &Handlers {
        &self.handlers
    }

    /// The counters of every instance: kind, id, methods.
    pub fn stats(&self) -> Vec<(PluginKind, String, Vec<MethodStats>)> {
        let slots = self.slots();
        let all = slots.iter().filter_map(|slot| {
            let stats = slot.instance.as_ref()?.stats();
            Some((slot.listed.kind, slot.listed.id.clone(), stats))
        });
        all.collect()
    }

    fn load_one(
        &self,
        entry: &Entry,
        folders: &[PathBuf],
        host_for: &dyn Fn(&str) -> Host,
        data_dir: Option<&Path>,
    ) -> Result<Slot, Failure> {
        let (path, stored) = inspected(entry, folders, data_dir)?;
        let source = Source {
            entry: entry.clone(),
            path,
            stored,
        };
        let switch = self.switch(entry.kind, &entry.id);
        Self::make(source, switch, None, host_for, data_dir)
    }

    /// Makes an instance. It is nobody's until it is put into its place. It goes on counting where `old` is.
    pub(super) fn make(
        source: Source,
        switch: Arc<Switch>,
        old: Option<&Instance>,
        host_for: &dyn Fn(&str) -> Host,
        data_dir: Option<&Path>,
    ) -> Result<Slot, Failure> {
        let Source {
            entry,
            path,
            stored,
        } = &source;
        let preamble = stored.preamble.clone();
        let notes = Quarantine::below(data_dir);
        let (isolation, why) = isolation::choose(
            entry.isolation,
            Facts {
                shipped: is_shipped(&entry.type_id, path),
                pinned: entry.sha256.is_some(),
                unwinds: preamble.unwind,
                debug: preamble.debug,
                quarantined: notes.has(&stored.sha256),
                has_memory_limit: entry.limits.memory.is_some(),
            },
        );
        let making = Making {
            entry,
            path,
            stored: stored.clone(),
            is_shipped: is_shipped(&entry.type_id, path),
            data_dir,
            notes,
        };
        let mut made = match isolation {
            Isolation::Process => making.in_a_process(host_for(&entry.id)),
            _ => making.in_this_process(host_for(&entry.id)),
        }?;
        if let Some(old) = old {
            made.caller.count_on(old.caller());
        }
        let instance = as_instance(entry, made, switch).map_err(|message| {
            let place = format!("{} ({})", entry.place, path.display());
            Failure::Plugin(Fault::new(place, message, ""))
        })?;
        let listed = ListedPlugin {
            kind: entry.kind,
            id: entry.id.clone(),
            type_id: entry.type_id.clone(),
            version: preamble.version,
            api: preamble.api,
            sha256: stored.sha256.clone(),
            path: path.clone(),
            status: PluginStatus::Ready,
            isolation: Some((isolation, why)),
        };
        Ok(Slot {
            listed,
            instance: Some(instance),
            source: Some(source),
        })
    }
}

impl Slot {
    /// One without an instance.
    pub fn empty(entry: &Entry, status: PluginStatus) -> Self {
        Self {
            listed: unloaded(entry, status),
            instance: None,
            source: None,
        }
    }

    fn is(&self, kind: PluginKind, id: &str) -> bool {
        self.listed.kind == kind && self.listed.id == id
    }
}

fn missing_module(slots: &[Slot], step_type: &str) -> String {
    let mut listed = slots.iter().map(|slot| &slot.listed);
    let declared =
        listed.find(|one| one.kind == PluginKind::WorkflowModule && one.type_id == step_type);
    match declared.map(|one| &one.status) {
        Some(PluginStatus::Degraded(reason)) => format!(
            "Steps of type `{step_type}` need the workflow module `{step_type}`, which did not \
             load: {reason}"
        ),
        Some(PluginStatus::Disabled) => format!(
            "Steps of type `{step_type}` need the workflow module `{step_type}`, which is disabled \
             in plugins.toml"
        ),
        _ => {
            let known = slots.iter().filter_map(|slot| match &slot.instance {
                Some(Instance::Module(one)) => Some(one.type_id()),
                _ => None,
            });
            format!(
                "Steps of type `{step_type}` need a workflow module plugin `{step_type}`, which \
                 plugins.toml does not declare{}",
                did_you_mean(step_type, known)
            )
        }
    }
}

fn as_instance(entry: &Entry, made: Made, switch: Arc<Switch>) -> Result<Instance, String> {
    let Made {
        caller,
        info,
        capabilities,
    } = made;
    let caller = caller.with_switch(switch);
    for (id, reason) in capabilities.dropped() {
        tracing::warn!(plugin = %entry.id, "its capability {id} is not used: {reason}");
    }
    Ok(match entry.kind {
        PluginKind::Scheduler => Instance::Scheduler(SchedulerInstance::new(
            caller,
            info.active,
            entry.fallback.clone(),
            capabilities,
        )),
        PluginKind::WorkflowModule => {
            let instance = ModuleInstance::new(caller);
            Instance::Module(instance.map_err(|error| error.to_string())?)
        }
        PluginKind::JobRunner => Instance::Runner(RunnerInstance::new(caller)),
    })
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
            .map_err(|error| self.refused(&tamed_error(error).to_string()))?;
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
            StartError::ByPlugin(message) => self.refused(&tame(&message, WORD_MAX)),
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
        let version = tame(&info.version, 64);
        let names = (entry.id.as_str(), entry.type_id.as_str(), version.as_str());
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
    for entry in config.entries.iter().filter(|entry| entry.enabled) {
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
pub(super) fn inspected(
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
pub(super) enum Failure {
    /// Its options are wrong: the operator must correct them in any case.
    Options(Vec<Fault>),
    /// Everything else; bearable when it is not required.
    Plugin(Fault),
}

fn unloaded(entry: &Entry, status: PluginStatus) -> ListedPlugin {
    ListedPlugin {
        kind: entry.kind,
        id: entry.id.clone(),
        type_id: entry.type_id.clone(),
        version: String::new(),
        api: (0, 0, 0),
        path: entry.path.clone().unwrap_or_default(),
        sha256: String::new(),
        status,
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
