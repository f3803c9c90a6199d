//! After a reload: the new one proves itself, the old one goes, or takes its place again.

use super::instance::Instance;
use super::lifecycle::{Inner, Lifecycle, lock, shortened};
use super::registry::{Slot, Source};
use super::status::Report;
use barycenter_plugin_api::PluginKind;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// A new one that nobody calls is taken for good after this time.
const TRIAL: Duration = Duration::from_secs(60);
/// An old one whose calls do not end is left after this time.
const DRAIN: Duration = Duration::from_secs(600);
/// How often is looked whether it is over.
const LOOK: Duration = Duration::from_millis(20);

impl Lifecycle {
    /// From now on it is found under its name; the one before goes when nobody needs it any more.
    pub(super) fn put_in_place(&self, new: Slot) {
        let (kind, id) = (new.listed.kind, new.listed.id.clone());
        let before = self.0.plugins.slot(kind, &id);
        if let (Some(instance), Some(before)) = (&new.instance, &before) {
            self.begin_trial(instance, before);
        }
        self.0.plugins.put(new);
        if let Some(old) = before.and_then(|slot| slot.instance) {
            self.retire_after_trial(kind, &id, old);
        }
        self.wake(&id);
    }

    fn begin_trial(&self, new: &Instance, before: &Slot) {
        let (inner, slot) = (Arc::downgrade(&self.0), before.clone());
        match (new, &before.instance) {
            (Instance::Scheduler(new), Some(Instance::Scheduler(old))) if new.is_active() => {
                let give_back = move |why: &str| put_back(&inner, slot, why);
                new.probation().begin(Some(old.clone()), give_back);
            }
            (Instance::Module(new), Some(Instance::Module(old))) => {
                let give_back = move |why: &str| put_back(&inner, slot, why);
                new.probation().begin(Some(old.clone()), give_back);
            }
            // The jobs of a runner are asked for by the next one, so the old one is gone by then: it is made again.
            (Instance::Runner(new), Some(Instance::Runner(_))) => {
                let Some(source) = before.source.clone() else {
                    return;
                };
                new.probation().begin(None, move |why| {
                    let why = why.to_owned();
                    std::thread::spawn(move || make_again(&inner, source, &why));
                });
            }
            _ => {}
        }
    }

    /// Waits, in a thread of its own, until the new one has proved itself; then lets the old one go.
    fn retire_after_trial(&self, kind: PluginKind, id: &str, old: Instance) {
        let (lifecycle, id) = (self.clone(), id.to_owned());
        let name = format!("retire-{id}");
        let waits = move || {
            if !matches!(old, Instance::Runner(_)) {
                let until = Instant::now() + TRIAL;
                while let Some(new) = lifecycle.current(kind, &id)
                    && !new.is(&old)
                    && new.is_on_trial()
                {
                    if Instant::now() >= until {
                        new.end_trial();
                    }
                    std::thread::sleep(LOOK);
                }
                if lifecycle.current(kind, &id).is_some_and(|now| now.is(&old)) {
                    return; // it was put back
                }
            }
            lifecycle.retire(kind, &id, old);
        };
        if let Err(error) = std::thread::Builder::new().name(name).spawn(waits) {
            tracing::error!("an old plugin is left as it is: {error}");
        }
    }

    pub(super) fn current(&self, kind: PluginKind, id: &str) -> Option<Instance> {
        self.0.plugins.slot(kind, id)?.instance
    }

    /// Waits until nobody has it, then shuts it down. Blocks.
    fn retire(&self, kind: PluginKind, id: &str, old: Instance) {
        self.note(kind, id, |notes| notes.draining += 1);
        let until = Instant::now() + DRAIN;
        while !old.is_left() && Instant::now() < until {
            std::thread::sleep(LOOK);
        }
        if let Err(error) = old.shut_down() {
            tracing::warn!(target: "plugin", plugin = id, "the old one did not stop: {error}");
        }
        drop(old);
        self.note(kind, id, |notes| notes.draining -= 1);
        tracing::debug!(target: "plugin", plugin = id, "the old one is gone");
    }
}

/// The one before takes its place again: the new one broke down in its first calls.
fn put_back(inner: &Weak<Inner>, slot: Slot, why: &str) {
    let Some(lifecycle) = inner.upgrade().map(Lifecycle) else {
        return;
    };
    let (kind, id) = (slot.listed.kind, slot.listed.id.clone());
    let broken = lifecycle.current(kind, &id);
    lifecycle.0.plugins.put(slot);
    rolled_back(&lifecycle, kind, &id, why);
    if let Some(broken) = broken {
        let retiring = lifecycle.clone();
        std::thread::spawn(move || retiring.retire(kind, &id, broken));
    }
}

/// As [`put_back`], for a runner.
fn make_again(inner: &Weak<Inner>, source: Source, why: &str) {
    let Some(lifecycle) = inner.upgrade().map(Lifecycle) else {
        return;
    };
    let _busy = lock(&lifecycle.0.busy);
    let (kind, id) = (source.entry.kind, source.entry.id.clone());
    let broken = lifecycle.current(kind, &id);
    match lifecycle.make(source, broken.as_ref()) {
        Ok(slot) => {
            lifecycle.0.plugins.put(slot);
            rolled_back(&lifecycle, kind, &id, why);
            if let Some(broken) = broken {
                let retiring = lifecycle.clone();
                std::thread::spawn(move || retiring.retire(kind, &id, broken));
            }
        }
        Err(error) => {
            tracing::error!(target: "plugin", plugin = id, "the one before could not be made again: {error}");
        }
    }
}

fn rolled_back(lifecycle: &Lifecycle, kind: PluginKind, id: &str, why: &str) {
    tracing::error!(target: "plugin", plugin = id, "the one before the reload was put back: {why}");
    lifecycle.note(kind, id, |notes| {
        notes.rollbacks += 1;
        notes.trouble = Some(Report::new(
            "rolled_back",
            shortened(&format!(
                "The one before the last reload was put back, as the new one broke down in its first calls: {why}"
            )),
            Some(format!("barycenter plugin reload {}:{id}", kind.name())),
        ));
    });
    lifecycle.wake(id);
}
