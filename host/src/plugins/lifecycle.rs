//! Plugins while the server runs: taken in anew, disabled, enabled.
//!
//! A reload makes a new instance beside the old one, hands it the old one's state, has it rehearse, and puts it into the
//! old one's place. Calls that are under way end where they began; the old one goes when nobody has it any more. One that
//! breaks down in its first calls is put out again for the one before.

use super::bridge::SchedulerInstance;
use super::config::{Entry, PluginsConfig};
use super::declared::{Failure, inspected};
use super::fault::Fault;
use super::instance::Instance;
use super::load;
use super::locate::search_path;
use super::making;
use super::registry::{PluginStatus, Plugins, Slot, Source};
use super::rehearsal::Shadow;
use super::status::{Report, now_ms};
use super::succession::{give_state, hand_over, state_of, take_over_alone};
use super::switch::Switch;
use super::trust::Trust;
use barycenter_plugin_api::{Host, PluginKind};
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Read = dyn Fn() -> Result<PluginsConfig, Vec<Fault>> + Send + Sync;
type HostFor = dyn Fn(&str) -> Host + Send + Sync;
pub(super) type Key = (PluginKind, String);

/// Changes the plugins of a running server. Cheap to clone.
#[derive(Clone)]
pub struct Lifecycle(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) plugins: Arc<Plugins>,
    read: Box<Read>,
    host_for: Box<HostFor>,
    data_dir: Option<PathBuf>,
    /// Which files could be opened when the server started: never more from then on.
    trust: Trust,
    /// The instances whose files were pinned when the server started.
    pinned: HashSet<Key>,
    /// One change at a time.
    pub(super) busy: Mutex<()>,
    notes: Mutex<HashMap<Key, Notes>>,
}

/// What happened to a plugin besides its calls.
#[derive(Debug, Clone, Default)]
pub(super) struct Notes {
    pub reloads: u64,
    pub refused: u64,
    pub rollbacks: u64,
    pub draining: u64,
    pub shadow: Option<Shadow>,
    /// The last thing that went wrong with a change, until one goes well.
    pub trouble: Option<Report>,
    pub since_ms: i64,
}

/// What a reload did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reloaded {
    /// The version and digest before; `None` when it was not loaded.
    pub before: Option<(String, String)>,
    /// How a scheduler rehearsed.
    pub shadow: Option<Shadow>,
    /// The new one has the old one's state.
    pub has_state: bool,
}

/// Why nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody declares such a plugin.
    #[error("{0}")]
    Unknown(String),
    /// At most five lines.
    #[error("{0}")]
    Refused(String),
}

/// From so many on, images that cannot be unloaded are worth a word.
const RETIRED_WARN: usize = 8;
/// Lines of a refusal.
const LINES_MAX: usize = 5;

impl Lifecycle {
    /// `read` reads plugins.toml, `config` is what it said at the start; the rest as for [`Plugins::load`].
    pub fn new(
        plugins: Arc<Plugins>,
        config: &PluginsConfig,
        read: impl Fn() -> Result<PluginsConfig, Vec<Fault>> + Send + Sync + 'static,
        host_for: impl Fn(&str) -> Host + Send + Sync + 'static,
        data_dir: Option<PathBuf>,
    ) -> Self {
        let pinned = config.entries.iter().filter(|entry| entry.sha256.is_some());
        Self(Arc::new(Inner {
            plugins,
            read: Box::new(read),
            host_for: Box::new(host_for),
            data_dir,
            pinned: pinned.map(|entry| (entry.kind, entry.id.clone())).collect(),
            trust: config.trust,
            busy: Mutex::new(()),
            notes: Mutex::default(),
        }))
    }

    /// The plugins it changes.
    pub fn plugins(&self) -> &Arc<Plugins> {
        &self.0.plugins
    }

    pub(super) fn notes(&self, kind: PluginKind, id: &str) -> Notes {
        let notes = lock(&self.0.notes);
        notes
            .get(&(kind, id.to_owned()))
            .cloned()
            .unwrap_or_default()
    }

    /// What plugins.toml declares and the server has not heard of yet.
    pub(super) fn declared(&self) -> Vec<Entry> {
        let entries = (self.0.read)().map(|config| config.entries);
        let mut new = entries.unwrap_or_default();
        new.retain(|entry| self.0.plugins.slot(entry.kind, &entry.id).is_none());
        new
    }

    /// The kinds that have a plugin of this id.
    pub fn kinds_of(&self, id: &str) -> Vec<PluginKind> {
        let is_there = |kind: &PluginKind| self.0.plugins.slot(*kind, id).is_some();
        PluginKind::ALL.into_iter().filter(is_there).collect()
    }

    /// The kinds of plugins of this id that plugins.toml declares and the server has not heard of yet. Reads the file.
    pub fn declared_kinds_of(&self, id: &str) -> Vec<PluginKind> {
        let declared = self.declared();
        let of_this_id = declared.iter().filter(|entry| entry.id == id);
        of_this_id.map(|entry| entry.kind).collect()
    }

    /// Images of old libraries: code that runs inside the server is never unloaded.
    pub fn retired_images(&self) -> usize {
        let slots = self.0.plugins.slots();
        let live = slots.iter().filter(|slot| {
            let inside = |instance: &Instance| instance.caller().is_inside();
            slot.instance.as_ref().is_some_and(inside)
        });
        let live: HashSet<&str> = live.map(|slot| slot.listed.sha256.as_str()).collect();
        load::opened()
            .into_iter()
            .filter(|sha256| !live.contains(sha256.as_str()))
            .count()
    }

    /// Takes a plugin in anew, as plugins.toml and its file are now. When that fails nothing is changed. Blocks.
    pub fn reload(&self, kind: PluginKind, id: &str) -> Result<Reloaded, Refusal> {
        let _busy = lock(&self.0.busy);
        let outcome = self.reload_now(kind, id);
        self.note(kind, id, |notes| match &outcome {
            Ok(reloaded) => {
                notes.reloads += 1;
                notes.shadow = reloaded.shadow;
                notes.trouble = None;
            }
            Err(Refusal::Unknown(_)) => {}
            Err(Refusal::Refused(text)) => {
                notes.refused += 1;
                notes.trouble = Some(Report::new(
                    "reload_refused",
                    format!("The last reload was refused: {text}"),
                    Some(format!("barycenter plugin reload {}:{id}", kind.name())),
                ));
            }
        });
        match &outcome {
            Ok(_) => tracing::info!(target: "plugin", plugin = id, "the {kind} was reloaded"),
            Err(error) => {
                tracing::warn!(target: "plugin", plugin = id, "the {kind} was not reloaded: {error}");
            }
        }
        outcome
    }

    /// From now on it gets no new work; what it has it brings to its end. False when that was so before.
    pub fn disable(&self, kind: PluginKind, id: &str) -> Result<bool, Refusal> {
        let _busy = lock(&self.0.busy);
        let slot = self.known(kind, id)?;
        if slot.listed.status == PluginStatus::Disabled {
            return Ok(false);
        }
        let changed = self.0.plugins.switch(kind, id).turn_off(now_ms());
        if changed {
            tracing::warn!(target: "plugin", plugin = id, "the {kind} was disabled by an administrator");
            self.wake(id);
        }
        Ok(changed)
    }

    /// It gets work again, and is let out of quarantine. One that is not loaded is loaded. False when nothing changed.
    pub fn enable(&self, kind: PluginKind, id: &str) -> Result<bool, Refusal> {
        let slot = self.known(kind, id)?;
        let Some(instance) = slot.instance else {
            self.0.plugins.switch(kind, id).turn_on();
            return self.reload(kind, id).map(|_| true);
        };
        let _busy = lock(&self.0.busy);
        let changed = self.0.plugins.switch(kind, id).turn_on();
        let was_away = !instance.supervision().may_be_called();
        instance.supervision().release();
        if changed || was_away {
            tracing::info!(target: "plugin", plugin = id, "the {kind} was enabled by an administrator");
            self.wake(id);
        }
        Ok(changed || was_away)
    }

    fn known(&self, kind: PluginKind, id: &str) -> Result<Slot, Refusal> {
        self.0
            .plugins
            .slot(kind, id)
            .ok_or_else(|| Refusal::Unknown(format!("There is no {kind} with the id {id}.")))
    }

    fn reload_now(&self, kind: PluginKind, id: &str) -> Result<Reloaded, Refusal> {
        let config = (self.0.read)().map_err(|faults| refused(&faults))?;
        let place = self.0.plugins.slot(kind, id);
        let declared = config.entries.iter();
        let declared = { declared }.find(|entry| entry.kind == kind && entry.id == id);
        let Some(entry) = declared else {
            return Err(match place {
                Some(_) => Refusal::Refused(format!(
                    "{} does not declare the {kind} {id} any more; it stays as it is",
                    config.name
                )),
                None => Refusal::Unknown(format!("There is no {kind} with the id {id}.")),
            });
        };
        let old = place.as_ref().and_then(|slot| slot.instance.clone());
        self.check(entry, place.as_ref())?;
        let folders = search_path(&config.search);
        let data_dir = self.0.data_dir.as_deref();
        let (path, stored) = inspected(entry, &folders, data_dir).map_err(told)?;
        let source = Source {
            entry: entry.clone(),
            path,
            stored,
        };
        let shadow = self.rehearse(&source, old.as_ref())?;
        let new = self.make(source, old.as_ref())?;
        self.0.plugins.record_slot(&new);
        let has_state = match (&old, &new.instance) {
            (Some(Instance::Scheduler(old)), Some(Instance::Scheduler(one)))
                if !one.is_active() =>
            {
                self.succeed(old, one, place.as_ref())?
            }
            _ => hand_over(old.as_ref(), new.instance.as_ref())
                .map_err(|what| failed(kind, id, &what))?,
        };
        let before = place.and_then(|slot| {
            slot.instance.as_ref()?;
            Some((slot.listed.version, slot.listed.sha256))
        });
        self.put_in_place(new);
        let retired = self.retired_images();
        if retired >= RETIRED_WARN {
            tracing::warn!(
                "{retired} images of old plugin libraries are in memory, as code inside the server is never unloaded; \
                 start the server anew at a quiet time, or set isolation = \"process\""
            );
        }
        Ok(Reloaded {
            before,
            shadow,
            has_state,
        })
    }

    /// What may not change while the server runs.
    fn check(&self, entry: &Entry, place: Option<&Slot>) -> Result<(), Refusal> {
        let refuse = |what: &str| Err(Refusal::Refused(format!("{}: {what}", entry.place)));
        if !entry.enabled {
            return refuse("it says `enabled = false`; take the line out first");
        }
        if place.is_some_and(|slot| slot.listed.type_id != entry.type_id) {
            return refuse("its type has changed; give the other type an id of its own");
        }
        let may_be = self.0.trust.may_become(entry.trust);
        may_be.map_err(|fault| refused(&[fault]))?;
        let key = (entry.kind, entry.id.clone());
        if self.0.pinned.contains(&key) && entry.sha256.is_none() {
            return refuse(
                "its sha256 is gone, and what was pinned when the server started stays pinned\n\
                 Name the digest of the new file.",
            );
        }
        Ok(())
    }

    pub(super) fn make(&self, source: Source, old: Option<&Instance>) -> Result<Slot, Refusal> {
        let switch = self.0.plugins.switch(source.entry.kind, &source.entry.id);
        self.make_with(switch, source, old)
    }

    fn make_with(
        &self,
        switch: Arc<Switch>,
        source: Source,
        old: Option<&Instance>,
    ) -> Result<Slot, Refusal> {
        let data_dir = self.0.data_dir.as_deref();
        let made = making::make(source, switch, old, &self.0.host_for, data_dir);
        made.map_err(told)
    }

    /// Has a scheduler plan what the old one planned lately. It is made for that alone, and dropped.
    fn rehearse(&self, source: &Source, old: Option<&Instance>) -> Result<Option<Shadow>, Refusal> {
        let Some(Instance::Scheduler(old)) = old else {
            return Ok(None);
        };
        // One that is disabled may rehearse.
        let slot = self.make_with(Arc::default(), source.clone(), None)?;
        let Some(Instance::Scheduler(actor)) = &slot.instance else {
            return Ok(None);
        };
        if actor.is_active() != old.is_active() {
            return Err(Refusal::Refused(format!(
                "{}: the new one takes its invocations {}, unlike the old one; that needs a new start of the server",
                source.entry.place,
                if old.is_active() {
                    "by itself"
                } else {
                    "from the server"
                }
            )));
        }
        if !actor.is_active() {
            return Ok(None);
        }
        let failed = |what: &str| {
            let text = format!("{} ({}): {what}", source.entry.place, source.path.display());
            Refusal::Refused(shortened(&text))
        };
        actor
            .startup()
            .map_err(|error| failed(&error.to_string()))?;
        give_state(old, actor).map_err(|what| failed(&what))?;
        let shadow = old.rehearsal().run(actor);
        let shadow = shadow.map_err(|error| failed(&format!("in the rehearsal: {error}")))?;
        if let Err(error) = actor.shutdown() {
            tracing::warn!(target: "plugin", plugin = actor.id(), "after the rehearsal: {error}");
        }
        Ok(Some(shadow))
    }

    /// One that takes its invocations by itself gives them back before the next one takes any: else both would do the same
    /// work. If the next one does not start, the old one is made again. Whether the new one got the old one's state.
    fn succeed(
        &self,
        old: &SchedulerInstance,
        new: &SchedulerInstance,
        place: Option<&Slot>,
    ) -> Result<bool, Refusal> {
        let state = state_of(old);
        if let Err(error) = old.give_back() {
            tracing::warn!(target: "plugin", plugin = old.id(), "the old one did not stop, what it held is done again: {error}");
        }
        let begun = take_over_alone(old, new, state.as_deref());
        begun.map_err(|what| {
            // It may have taken invocations since; the old one is made again and is not to share them with it.
            if let Err(error) = new.give_back() {
                tracing::warn!(target: "plugin", plugin = new.id(), "what was to replace it did not stop: {error}");
            }
            self.bring_back(old, place, state.as_deref());
            failed(PluginKind::Scheduler, new.id(), &what)
        })
    }

    /// A passive scheduler whose successor did not start had to stop before that: it is made again, with its state.
    fn bring_back(&self, old: &SchedulerInstance, place: Option<&Slot>, state: Option<&str>) {
        let Some(source) = place.and_then(|slot| slot.source.clone()) else {
            return;
        };
        let before = Instance::Scheduler(old.clone());
        let again = self.make(source, Some(&before)).and_then(|slot| {
            self.0.plugins.record_slot(&slot);
            if let Some(Instance::Scheduler(one)) = &slot.instance {
                let begun = take_over_alone(old, one, state);
                begun.map_err(|what| failed(PluginKind::Scheduler, one.id(), &what))?;
            }
            Ok(slot)
        });
        match again {
            Ok(slot) => self.put_in_place(slot),
            Err(error) => {
                tracing::error!(target: "plugin", plugin = old.id(), "the one before could not be started again: {error}");
            }
        }
    }

    pub(super) fn note(&self, kind: PluginKind, id: &str, change: impl FnOnce(&mut Notes)) {
        let mut notes = lock(&self.0.notes);
        let known = notes.entry((kind, id.to_owned())).or_default();
        change(known);
        known.since_ms = now_ms();
    }

    /// Whatever waits for the plugin is looked at again.
    pub(super) fn wake(&self, id: &str) {
        (self.0.host_for)(id).wake();
    }
}

/// It was not put into its place.
fn failed(kind: PluginKind, id: &str, what: &str) -> Refusal {
    Refusal::Refused(shortened(&format!("{kind} {id}: {what}")))
}

fn told(failure: Failure) -> Refusal {
    match failure {
        Failure::Options(faults) => refused(&faults),
        Failure::Plugin(fault) => refused(&[fault]),
    }
}

fn refused(faults: &[Fault]) -> Refusal {
    let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
    Refusal::Refused(shortened(&texts.join("\n")))
}

/// The first lines, the rest counted.
pub(super) fn shortened(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    if lines.len() <= LINES_MAX {
        return text.to_owned();
    }
    let told = lines[..LINES_MAX - 1].join("\n");
    format!("{told}\nand {} more lines", lines.len() + 1 - LINES_MAX)
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
