//! Passive schedulers that have stopped asking. Nobody calls them, so nobody else would notice that one hangs: its leases run
//! out, and its invocations wait. Where it has a process of its own the process is ended, and another takes its place.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::engine::Services;
use crate::plugins::SchedulerInstance;
use crate::store::StoreError;
use crate::store::scheduling::leases::{self, Holder};

/// How often is looked.
const EVERY: Duration = Duration::from_millis(500);

/// Looks until `stop` turns true.
pub async fn watch(services: Arc<Services>, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            _ = stop.changed() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        for scheduler in services.plugins.schedulers() {
            if scheduler.is_active() || !scheduler.is_enabled() {
                continue;
            }
            let (silent, limit) = scheduler.silence();
            if silent < limit {
                continue;
            }
            match has_work(&services, &scheduler).await {
                Ok(true) => give_up(&scheduler, limit),
                Ok(false) => {}
                // The other loops tell what is wrong with the database.
                Err(error) => tracing::debug!("{}", crate::errors::chain(&error)),
            }
        }
    }
}

async fn has_work(services: &Services, scheduler: &SchedulerInstance) -> Result<bool, StoreError> {
    let holder = Holder {
        handler: services.membership.name(),
        scheduler: scheduler.id(),
        default_scheduler: services.plugins.default_scheduler_id(),
    };
    let mut reader = services.store.reader();
    leases::is_claimable(&mut reader, holder, services.clock.now_ms()).await
}

fn give_up(scheduler: &SchedulerInstance, limit: Duration) {
    if !scheduler.give_up() {
        tracing::error!(
            target: "plugin", plugin = scheduler.id(),
            "work has waited for it, and it has asked for nothing for {limit:?}; \
             it runs inside the server, so nothing can be done but to start the server again"
        );
    }
}
