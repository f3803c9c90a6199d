//! What schedulers want to find again after a restart.

use crate::args;
use crate::store::Store;
use crate::store::db::{Durability, Query, StoreError};

/// The state of a scheduler, if one was stored by a plugin of this type.
pub async fn load(
    q: &mut impl Query,
    handler: &str,
    scheduler: &str,
    plugin_type: &str,
) -> Result<Option<String>, StoreError> {
    let row = q
        .maybe(
            "SELECT state FROM scheduler_state WHERE handler = $1 AND scheduler = $2 AND plugin_type = $3",
            args![handler, scheduler, plugin_type],
        )
        .await?;
    row.map(|row| row.get(0)).transpose()
}

/// A state to store.
#[derive(Debug, Clone)]
pub struct SchedulerState {
    pub scheduler: String,
    pub plugin_type: String,
    pub plugin_version: String,
    pub state: String,
}

/// Stores states.
pub async fn save(
    store: &Store,
    handler: &str,
    states: Vec<SchedulerState>,
    now: i64,
) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    for one in states {
        tx.run(
            "INSERT INTO scheduler_state (handler, scheduler, plugin_type, plugin_version, state, update_time)
             VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (handler, scheduler) DO UPDATE SET plugin_type = excluded.plugin_type,
                plugin_version = excluded.plugin_version, state = excluded.state, update_time = excluded.update_time",
            args![handler, one.scheduler, one.plugin_type, one.plugin_version, one.state, now],
        )
        .await?;
    }
    tx.commit(Durability::Progress, "scheduler.state").await
}
