//! How the plugins are, for people and machines.

use super::instance::Instance;
use super::isolation::Isolation;
use super::lifecycle::{Lifecycle, Notes};
use super::registry::{PluginStatus, Slot};
use super::rehearsal::Shadow;
use super::stats::MethodStats;
use super::supervision::{SupervisionState, SupervisionStatus};
use barycenter_plugin_api::PluginKind;
use std::path::PathBuf;

/// All plugins.
pub type View = Vec<PluginView>;

/// How one plugin is.
#[derive(Debug, Clone)]
pub struct PluginView {
    pub kind: PluginKind,
    pub id: String,
    pub type_id: String,
    /// One of [`STATES`].
    pub state: &'static str,
    /// Milliseconds since 1970; `None` when that is since the start.
    pub since_ms: Option<i64>,
    /// What is to be said about it; `None` when all is well.
    pub report: Option<Report>,
    /// Its own version; empty when it is not loaded.
    pub version: String,
    pub api: (u16, u16, u16),
    /// Where it runs and why there.
    pub isolation: Option<(Isolation, &'static str)>,
    pub sha256: String,
    /// For administrators.
    pub path: PathBuf,
    pub capabilities: Vec<String>,
    /// What it offers and this server does not use, with the reason.
    pub dropped_capabilities: Vec<(String, String)>,
    /// Schedulers: the host asks it, or it takes its work by itself.
    pub active: Option<bool>,
    /// Schedulers: who stands in for it.
    pub fallback: Option<String>,
    pub methods: Vec<MethodStats>,
    pub supervision: Option<SupervisionStatus>,
    pub reloads: u64,
    pub reloads_refused: u64,
    pub rollbacks: u64,
    /// Old instances that still bring calls to their end.
    pub draining: u64,
    /// The rehearsal of the last reload.
    pub shadow: Option<Shadow>,
}

/// Every word that [`PluginView::state`] can be.
pub const STATES: [&str; 6] = [
    "declared",
    "ready",
    "starting",
    "degraded",
    "quarantined",
    "disabled",
];

/// What is to be said about a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// For programs.
    pub code: &'static str,
    /// For people; it may name files.
    pub text: String,
    /// What helps.
    pub command: Option<String>,
}

impl Report {
    pub(super) fn new(code: &'static str, text: String, command: Option<String>) -> Self {
        Self {
            code,
            text,
            command,
        }
    }
}

impl Lifecycle {
    /// Every plugin: those of the registry, then those that plugins.toml declares meanwhile.
    pub fn view(&self) -> View {
        let slots = self.plugins().slots();
        let known = slots.iter().map(|slot| self.view_of(slot));
        let declared = self.declared().into_iter().map(|entry| {
            let mut view = self.view_of(&Slot::empty(&entry, PluginStatus::Disabled));
            view.state = "declared";
            view.report = Some(Report::new(
                "not_loaded_yet",
                "It was added to plugins.toml after the server started.".to_owned(),
                Some(command("reload", entry.kind, &entry.id)),
            ));
            view
        });
        known.chain(declared).collect()
    }

    /// Those that are loaded or were to be, without a look at plugins.toml.
    pub fn view_known(&self) -> View {
        let slots = self.plugins().slots();
        slots.iter().map(|slot| self.view_of(slot)).collect()
    }

    fn view_of(&self, slot: &Slot) -> PluginView {
        let listed = &slot.listed;
        let (kind, id) = (listed.kind, listed.id.as_str());
        let notes = self.notes(kind, id);
        let off_since = self.plugins().switch(kind, id).off_since();
        let supervision = slot.instance.as_ref().map(|one| one.supervision().status());
        let (state, since_ms, report) = state(slot, off_since, supervision.as_ref(), &notes);
        let scheduler = match &slot.instance {
            Some(Instance::Scheduler(one)) => Some(one),
            _ => None,
        };
        let capabilities = scheduler.map(|one| one.capabilities());
        PluginView {
            kind,
            id: id.to_owned(),
            type_id: listed.type_id.clone(),
            state,
            since_ms,
            report,
            version: listed.version.clone(),
            api: listed.api,
            isolation: listed.isolation,
            sha256: listed.sha256.clone(),
            path: listed.path.clone(),
            capabilities: capabilities.map_or_else(Vec::new, |them| them.ids().to_vec()),
            dropped_capabilities: capabilities
                .map_or_else(Vec::new, |them| them.dropped().to_vec()),
            active: scheduler.map(|one| one.is_active()),
            fallback: scheduler.and_then(|one| one.fallback().map(str::to_owned)),
            methods: slot
                .instance
                .as_ref()
                .map_or_else(Vec::new, Instance::stats),
            supervision,
            reloads: notes.reloads,
            reloads_refused: notes.refused,
            rollbacks: notes.rollbacks,
            draining: notes.draining,
            shadow: notes.shadow,
        }
    }
}

/// The word, since when, and what is to be said.
fn state(
    slot: &Slot,
    off_since: Option<i64>,
    supervision: Option<&SupervisionStatus>,
    notes: &Notes,
) -> (&'static str, Option<i64>, Option<Report>) {
    let (kind, id) = (slot.listed.kind, slot.listed.id.as_str());
    if let Some(since) = off_since {
        let text = "An administrator disabled it: it gets no new work.".to_owned();
        let report = Report::new("disabled", text, Some(command("enable", kind, id)));
        return ("disabled", Some(since), Some(report));
    }
    let Some(supervision) = supervision else {
        let (word, report) = match &slot.listed.status {
            PluginStatus::Degraded(reason) => {
                let text = format!("It was not loaded: {reason}");
                let report = Report::new("not_loaded", text, Some(command("reload", kind, id)));
                ("degraded", report)
            }
            _ => {
                let text = "plugins.toml says `enabled = false`.".to_owned();
                let report =
                    Report::new("disabled_in_file", text, Some(command("reload", kind, id)));
                ("disabled", report)
            }
        };
        // What was tried since says more.
        return (word, None, Some(notes.trouble.clone().unwrap_or(report)));
    };
    let (word, code) = match supervision.state {
        SupervisionState::Ready => {
            let since = supervision.since_ms.max(notes.since_ms);
            return ("ready", Some(since), notes.trouble.clone());
        }
        SupervisionState::Starting => ("starting", "starting"),
        SupervisionState::Waiting => ("degraded", "restarting"),
        SupervisionState::Hung => ("degraded", "hung"),
        SupervisionState::Quarantined => ("quarantined", "quarantined"),
        SupervisionState::Stopped => ("degraded", "stopped"),
    };
    let last = supervision.last_error.clone();
    let text = last.unwrap_or_else(|| "It is not there now.".to_owned());
    let helps = supervision.state == SupervisionState::Quarantined;
    let report = Report::new(code, text, helps.then(|| command("enable", kind, id)));
    (word, Some(supervision.since_ms), Some(report))
}

fn command(what: &str, kind: PluginKind, id: &str) -> String {
    format!("barycenter plugin {what} {}:{id}", kind.name())
}

pub(super) fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}
