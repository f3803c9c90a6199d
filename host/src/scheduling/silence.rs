//! Passive schedulers that have stopped asking. Nobody calls them, so nobody else would notice that one hangs or is gone: its
//! leases run out, and its invocations wait. One that hangs in a process of its own is ended, and another takes its place; for
//! one that is gone, the invocations that wait for it say so.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use barycenter_plugin_api::PluginKind;
use tokio::sync::watch;

use super::absence::Absence;
use super::engine::Services;
use crate::invoker::writes::Held;
use crate::plugins::{PluginCallError, SchedulerInstance};
use crate::store::StoreError;
use crate::store::scheduling::holds;
use crate::store::scheduling::leases::{self, Holder};

/// How often is looked.
const EVERY: Duration = Duration::from_millis(500);

/// Invocations that are told at once that their scheduler is away; the others a little later.
const TOLD_AT_ONCE: usize = 200;

/// Once somebody was told, others are looked for with every tenth look.
const SELDOM: u64 = 10;

/// Looks until `stop` turns true.
pub async fn watch(services: Arc<Services>, mut stop: watch::Receiver<bool>) {
    let mut told: HashMap<String, Vec<i64>> = HashMap::new();
    let mut round = 0_u64;
    loop {
        tokio::select! {
            _ = stop.changed() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        for scheduler in services.plugins.schedulers() {
            if scheduler.is_active() {
                continue;
            }
            let told = told.entry(scheduler.id().to_owned()).or_default();
            let has_time = told.is_empty() || round.is_multiple_of(SELDOM);
            if let Err(error) = look(&services, &scheduler, told, has_time).await {
                // The other loops tell what is wrong with the database.
                tracing::debug!("{}", crate::errors::chain(&error));
            }
        }
        round += 1;
    }
}

async fn look(
    services: &Services,
    scheduler: &SchedulerInstance,
    told: &mut Vec<i64>,
    has_time: bool,
) -> Result<(), StoreError> {
    let now = services.clock.now_ms();
    let holder = Holder {
        handler: services.membership.name(),
        scheduler: scheduler.id(),
        default_scheduler: services.plugins.default_scheduler_id(),
    };
    let mut reader = services.store.reader();
    let Some(absence) = absence(services, scheduler) else {
        if !told.is_empty() {
            let over = told.iter().map(|id| (*id, None)).collect();
            holds::jobs(&services.store, over, now).await?;
            told.clear();
        }
        let (silent, limit) = scheduler.silence();
        if silent >= limit && leases::is_claimable(&mut reader, holder, now).await? {
            give_up(scheduler, limit);
        }
        return Ok(());
    };
    if !has_time {
        return Ok(());
    }
    let waiting = leases::waiting_for(&mut reader, holder, now, told, TOLD_AT_ONCE).await?;
    if waiting.is_empty() {
        return Ok(());
    }
    let hold = absence.hold(Held::Jobs);
    let news = waiting.iter().map(|id| (*id, Some(hold.clone())));
    holds::jobs(&services.store, news.collect(), now).await?;
    told.extend(waiting);
    Ok(())
}
/// Why it takes no work now.
fn absence(services: &Services, scheduler: &SchedulerInstance) -> Option<Absence> {
    const WHAT: &str = "scheduler";
    let id = scheduler.id();
    if let Some(why) = services.plugins.disabled(PluginKind::Scheduler, id) {
        return Some(Absence::disabled(WHAT, id, why));
    }
    let why = scheduler.supervision().absence()?;
    let state = scheduler.supervision().status().state;
    let error = PluginCallError::Unavailable {
        plugin: id.to_owned(),
        method: "startup",
        why,
    };
    Some(Absence::of(WHAT, id, state, &error))
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
