//! From an entry of plugins.toml and its library to something that can be called.

use super::bridge::{ModuleInstance, RunnerInstance, SchedulerInstance};
use super::config::Entry;
use super::declared::Failure;
use super::failure::tamed_error;
use super::fault::Fault;
use super::inproc::InProcess;
use super::instance::Instance;
use super::isolation::{self, Facts, Isolation};
use super::load::{Loaded, Stored, open_here};
use super::locate::is_shipped;
use super::methods::{Capabilities, Object};
use super::options_check::check_options;
use super::process::{Process, Spec, StartError};
use super::quarantine::Quarantine;
use super::registry::{ListedPlugin, PluginStatus, Slot, Source};
use super::supervision::{Supervision, SupervisionState};
use super::switch::Switch;
use super::tame::{WORD_MAX, tame};
use super::transport::{Caller, Transport};
use barycenter_plugin_api::abi::{HostBox, PluginInfo};
use barycenter_plugin_api::{Host, PluginKind};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;

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
