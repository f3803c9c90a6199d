//! What schedulers want to find again after a restart: given back at start, saved every few seconds when it changed and
//! once at the end. A crash loses what happened since the last time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use barycenter_plugin_api::capability;
use tokio::sync::watch;

use super::engine::Services;
use crate::plugins::{PluginCallError, SchedulerInstance};
use crate::store::StoreError;
use crate::store::scheduling::scheduler_state::{self, SchedulerState};

/// How often schedulers are asked.
const EVERY: Duration = Duration::from_secs(5);

fn keepers(services: &Services) -> impl Iterator<Item = SchedulerInstance> {
    let all = services.plugins.schedulers().into_iter();
    all.filter(|one| one.capabilities().has(capability::STATE))
}

/// Gives every scheduler back what it had.
pub async fn restore(services: &Services) -> Result<(), StoreError> {
    let handler = services.membership.name();
    let mut reader = services.store.reader();
    for scheduler in keepers(services) {
        let id = scheduler.id();
        let stored = scheduler_state::load(&mut reader, handler, id, scheduler.type_id()).await?;
        let Some(state) = stored else { continue };
        let instance = scheduler.clone();
        let restored = tokio::task::spawn_blocking(move || instance.restore_state(&state)).await;
        match restored {
            Ok(Ok(())) => tracing::debug!(plugin = id, "a scheduler has its state again"),
            Ok(Err(error)) => {
                tracing::warn!(plugin = id, "a scheduler begins anew: {error}");
            }
            Err(error) => tracing::error!(plugin = id, "a scheduler begins anew: {error}"),
        }
    }
    Ok(())
}

/// Saves what changed, until `stop` turns true and once more then.
pub async fn keep(services: Arc<Services>, mut stop: watch::Receiver<bool>) {
    let mut stored: HashMap<String, String> = HashMap::new();
    loop {
        tokio::select! {
            _ = stop.changed() => {}
            () = tokio::time::sleep(EVERY) => {}
        }
        save_changed(&services, &mut stored).await;
        if *stop.borrow() {
            return;
        }
    }
}

async fn save_changed(services: &Arc<Services>, stored: &mut HashMap<String, String>) {
    let asked = {
        let services = services.clone();
        tokio::task::spawn_blocking(move || {
            keepers(&services)
                // One that is not there has its last state kept for it.
                .filter(|one| one.supervision().may_be_called())
                .map(|one| {
                    let state = one.snapshot_state();
                    (one, state)
                })
                .collect::<Vec<(SchedulerInstance, Result<String, PluginCallError>)>>()
        })
        .await
    };
    let mut changed = Vec::new();
    for (scheduler, state) in asked.unwrap_or_default() {
        let id = scheduler.id();
        match state {
            Ok(state) if stored.get(id) != Some(&state) => {
                stored.insert(id.to_owned(), state.clone());
                changed.push(SchedulerState {
                    scheduler: id.to_owned(),
                    plugin_type: scheduler.type_id().to_owned(),
                    plugin_version: scheduler.version().to_owned(),
                    state,
                });
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(plugin = id, "its state was not saved: {error}"),
        }
    }
    if changed.is_empty() {
        return;
    }
    let handler = services.membership.name();
    let now = services.clock.now_ms();
    if let Err(error) = scheduler_state::save(&services.store, handler, changed, now).await {
        stored.clear();
        tracing::error!(
            "the states of schedulers could not be stored: {}",
            crate::errors::chain(&error)
        );
    }
}
