//! The plugins that this server has.

use super::bridge::{ModuleInstance, RunnerInstance, SchedulerInstance};
use super::config::{Entry, Handlers, PluginsConfig};
use super::fault::{Fault, did_you_mean};
use super::load::{Loaded, load};
use super::locate::{find, search_path};
use super::stats::MethodStats;
use barycenter_plugin_api::abi::HostBox;
use barycenter_plugin_api::capability::SchedulerCapabilities;
use barycenter_plugin_api::{Host, PluginKind};
use serde_json::Value;
use std::path::{Path, PathBuf};

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
    /// Whether it works.
    pub status: PluginStatus,
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
        let path = locate(entry, folders)?;
        let at_path = |message: String| {
            let place = format!("{} ({})", entry.place, path.display());
            Failure::Plugin(Fault::new(place, message, ""))
        };
        let loaded = load(&path, entry.sha256.as_deref(), data_dir)
            .map_err(|error| at_path(error.to_string()))?;
        let preamble = &loaded.preamble;
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
        check_options(entry, &loaded.info.config_schema)?;
        self.create(entry, &loaded, host_for(&entry.id))
            .map_err(|message| {
                let place = format!("{} ({})", entry.place, path.display());
                let remedy = "Correct its config table in plugins.toml.";
                Failure::Plugin(Fault::new(
                    place,
                    format!("the plugin refused to start: {message}"),
                    remedy,
                ))
            })?;
        Ok(ListedPlugin {
            kind: entry.kind,
            id: entry.id.clone(),
            type_id: entry.type_id.clone(),
            version: preamble.version.clone(),
            api: preamble.api,
            sha256: loaded.sha256,
            path,
            status: PluginStatus::Ready,
        })
    }

    fn create(&mut self, entry: &Entry, loaded: &Loaded, host: Host) -> Result<(), String> {
        let config = entry.config.to_string();
        let config = config.as_str().into();
        let host: HostBox = host.into_object();
        let root = loaded.root;
        let names = (
            entry.id.as_str(),
            entry.type_id.as_str(),
            loaded.info.version.as_str(),
        );
        match entry.kind {
            PluginKind::Scheduler => {
                let object = root.scheduler()(config, host)
                    .into_result()
                    .map_err(as_text)?;
                let (active, fallback) = (loaded.info.active, entry.fallback.clone());
                let capabilities = SchedulerCapabilities::of(root);
                for dropped in capabilities.dropped() {
                    tracing::warn!(
                        plugin = %entry.id,
                        "its capability {} is not used: {}",
                        dropped.id,
                        dropped.reason
                    );
                }
                let instance = SchedulerInstance::new(
                    names,
                    active,
                    fallback,
                    entry.call_timeout,
                    capabilities,
                    object,
                );
                self.schedulers.push(instance.map_err(as_text)?);
            }
            PluginKind::WorkflowModule => {
                let object = root.workflow_module()(config, host)
                    .into_result()
                    .map_err(as_text)?;
                self.modules
                    .push(ModuleInstance::new(names, object).map_err(as_text)?);
            }
            PluginKind::JobRunner => {
                let object = root.job_runner()(config, host)
                    .into_result()
                    .map_err(as_text)?;
                self.runners.push(RunnerInstance::new(names, object));
            }
        }
        Ok(())
    }
}

/// Why a plugin is not there.
enum Failure {
    /// Its options are wrong: the operator must correct them in any case.
    Options(Vec<Fault>),
    /// Everything else; bearable when it is not required.
    Plugin(Fault),
}

fn as_text(error: impl std::fmt::Display) -> String {
    error.to_string()
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
