//! Jobs between the processes that share a database: what nobody holds is taken, and a process with free runners takes
//! ready jobs from one that has more than its own runners take.

use std::time::{Duration, Instant};

use super::Dispatcher;
use super::hand_over::CHOICE;
use crate::store::{StoreError, handlers};

/// How often others are told of a backlog.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// What the loop remembers about the others.
#[derive(Debug, Default)]
pub(super) struct Sharing {
    /// Jobs may be there that no process holds.
    unclaimed: bool,
    /// Another process had more ready jobs than it could start when this was last seen.
    backlog: bool,
    told: Option<Instant>,
}

impl Sharing {
    /// A slow look is due.
    pub fn expect_unclaimed(&mut self) {
        self.unclaimed = true;
    }

    fn may_tell(&mut self) -> bool {
        let due = self.told.is_none_or(|told| told.elapsed() >= TELL_EVERY);
        if due {
            self.told = Some(Instant::now());
        }
        due
    }
}

impl Dispatcher {
    /// Takes what nobody holds: jobs that runners of dead processes had, and ready ones.
    pub(super) async fn take_over(&mut self) -> Result<(), StoreError> {
        let services = self.services.clone();
        let (store, membership) = (&services.store, &services.membership);
        self.sharing.unclaimed |= services.signals.take_unclaimed_jobs();
        if !std::mem::take(&mut self.sharing.unclaimed) {
            return Ok(());
        }
        // Until this is through.
        self.sharing.unclaimed = true;
        let (me, view) = (membership.name(), membership.view());
        let dead = [view.dead_here, view.dead_elsewhere].concat();
        handlers::grab_active_jobs(store, me, &dead).await?;
        // Those that were taken just now, and those on machines that have not told how they ended.
        self.recover().await?;
        let room = (self.runners.accepts() + CHOICE).saturating_sub(self.ready.len());
        let jobs = handlers::grab_ready_jobs(store, me, &view.nobodys, room).await?;
        self.sharing.unclaimed = room == 0 || jobs.len() >= room;
        self.take_in(jobs);
        Ok(())
    }

    /// After everything was handed over that the runners take: evens out with the others.
    pub(super) async fn share(&mut self) -> Result<(), StoreError> {
        let services = self.services.clone();
        let (store, membership) = (&services.store, &services.membership);
        if !store.is_shared() {
            return Ok(());
        }
        self.sharing.backlog |= services.signals.take_backlog();
        let accepts = self.runners.accepts();
        if accepts == 0 {
            let others = !membership.view().other_runners.is_empty();
            if others && !self.ready.is_empty() && self.sharing.may_tell() {
                store.tell_backlog(membership.name()).await?;
            }
            return Ok(());
        }
        // The next round takes more of what nobody holds.
        if self.sharing.unclaimed {
            self.take_over().await?;
            return self.hand_over().await;
        }
        if !self.ready.is_empty() || !std::mem::take(&mut self.sharing.backlog) {
            return Ok(());
        }
        let others = membership.view().other_runners;
        let jobs = handlers::grab_ready_jobs(store, membership.name(), &others, accepts).await?;
        self.sharing.backlog = jobs.len() >= accepts;
        self.take_in(jobs);
        self.hand_over().await
    }
}
