//! The plugins that this server has.

use super::bridge::{ModuleInstance, RunnerInstance, SchedulerInstance};
use super::config::{Entry, Handlers, PluginsConfig};
use super::declared::{Failure, inspected};
use super::fault::{Fault, did_you_mean};
use super::instance::Instance;
use super::isolation::Isolation;
use super::load::Stored;
use super::locate::search_path;
use super::making::make;
use super::record::Recorder;
use super::stats::MethodStats;
use super::supervision::Supervision;
use super::switch::{DISABLED, Switch};
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
        make(source, switch, None, host_for, data_dir)
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
