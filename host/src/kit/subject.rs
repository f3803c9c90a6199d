//! A plugin by itself: one library, one instance, no plugins.toml.

use std::path::{Path, PathBuf};

use barycenter_plugin_api::preamble::Preamble;
use barycenter_plugin_api::{Host, PluginKind};
use serde_json::Value;

use crate::plugins::{
    InspectError, ModuleInstance, Plugins, PluginsConfig, RunnerInstance, SchedulerInstance,
    inspect_file,
};

/// A library that could be read, and what the instances made of it are given.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The file.
    pub path: PathBuf,
    /// What it says about itself.
    pub preamble: Preamble,
    /// The kind that is looked at.
    pub kind: PluginKind,
    /// The options of every instance.
    pub config: Value,
}

impl Subject {
    /// Reads the library without running it.
    pub fn read(path: &Path, config: Value) -> Result<Self, InspectError> {
        let preamble = inspect_file(path)?;
        let kind = preamble.kinds().next().ok_or(InspectError::NotAPlugin)?;
        Ok(Self {
            // What plugins.toml names is relative to its folder, and here there is none.
            path: path.canonicalize().unwrap_or_else(|_| path.to_owned()),
            preamble,
            kind,
            config,
        })
    }

    /// Makes an instance that runs in this process (`inproc`) or in one of its own (`process`).
    pub fn open(&self, isolation: &str, host: Host) -> Result<Opened, String> {
        self.open_with(&self.config, isolation, host)
    }

    /// The same with other options.
    pub fn open_with(&self, config: &Value, isolation: &str, host: Host) -> Result<Opened, String> {
        let quoted = |text: &str| toml_edit::Value::from(text).to_string();
        let text = format!(
            "[[scheduler]]\ntype = \"default\"\nid = \"nobody's\"\n[plugins]\ndefault_scheduler = \"nobody's\"\n\
             [[{}]]\ntype = {}\nid = {}\npath = {}\nisolation = {}\n",
            self.kind,
            quoted(&self.preamble.type_id),
            quoted(INSTANCE),
            quoted(&self.path.to_string_lossy()),
            quoted(isolation),
        );
        let config_of = PluginsConfig::parse(&text, "plugins.toml", Path::new("/"))
            .map_err(|faults| joined(&faults))?;
        let mut entry = config_of
            .entries
            .into_iter()
            .rfind(|entry| entry.id == INSTANCE)
            .ok_or("the entry was not read")?;
        config.clone_into(&mut entry.config);
        Plugins::of_entry(&entry, host)
            .map(|plugins| Opened {
                scheduler: plugins.schedulers().pop(),
                module: plugins.modules().pop(),
                runner: plugins.runners().pop(),
            })
            .map_err(|faults| joined(&faults))
    }
}

/// The id of every instance that the kit makes.
pub const INSTANCE: &str = "subject";

fn joined(faults: &[crate::plugins::Fault]) -> String {
    let texts: Vec<String> = faults.iter().map(|fault| fault.message.clone()).collect();
    texts.join("; ")
}

/// One instance.
pub struct Opened {
    scheduler: Option<SchedulerInstance>,
    module: Option<ModuleInstance>,
    runner: Option<RunnerInstance>,
}

impl Opened {
    /// It as a scheduler.
    pub fn scheduler(&self) -> Result<&SchedulerInstance, String> {
        self.scheduler
            .as_ref()
            .ok_or_else(|| "it is no scheduler".to_owned())
    }

    /// It as a workflow module.
    pub fn module(&self) -> Result<&ModuleInstance, String> {
        self.module
            .as_ref()
            .ok_or_else(|| "it is no workflow module".to_owned())
    }

    /// It as a job runner.
    pub fn runner(&self) -> Result<&RunnerInstance, String> {
        self.runner
            .as_ref()
            .ok_or_else(|| "it is no job runner".to_owned())
    }
}
