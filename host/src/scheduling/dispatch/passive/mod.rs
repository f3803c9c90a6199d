//! The jobs of passive schedulers: handed out under a lease instead of being given to a runner, ended by a report. The
//! database is all there is to it; a restarted server goes on with the leases that were given.

mod report;
mod work;

use std::sync::Arc;

use barycenter_plugin_api::PluginError;
use barycenter_plugin_api::passive::{
    ClaimRequest, Claimed, InvocationFacts, Renewed, Reported, StepFacts, WorkReport,
};

use self::work::ScriptTime;
use super::Queue;
use crate::scheduling::engine::Services;
use crate::store::StoreError;
use crate::store::scheduling::ends::JobEnd;
use crate::store::scheduling::leases::{self, Holder, Lease, Wish};
use crate::store::scheduling::{invocations, progress, settle};

/// The shortest and the longest lease.
const LEASE_MS: (i64, i64) = (1_000, 3_600_000);
/// A report keeps the lease for at least so long, so that storing it cannot be overtaken.
const REPORT_KEEPS_MS: i64 = 30_000;
/// Invocations handed out with one claim.
const CLAIM_MAX: u32 = 64;

/// What a passive scheduler's requests work with.
pub struct Passive<'a> {
    pub services: &'a Arc<Services>,
    pub queue: &'a Queue,
    /// The scheduler that asks.
    pub scheduler: &'a str,
    /// When its present life began: before its process was started, if it has one.
    pub born_ms: i64,
}

impl Passive<'_> {
    fn now(&self) -> i64 {
        self.services.clock.now_ms()
    }

    pub fn holder(&self) -> Holder<'_> {
        Holder {
            handler: self.services.membership.name(),
            scheduler: self.scheduler,
            default_scheduler: self.services.plugins.default_scheduler_id(),
        }
    }

    /// Takes invocations.
    pub async fn claim(&self, request: ClaimRequest) -> Result<Vec<Claimed>, PluginError> {
        let now = self.now();
        let until = now + request.lease_ms.clamp(LEASE_MS.0, LEASE_MS.1);
        let wish = Wish {
            most: request.most.min(CLAIM_MAX) as usize,
            until,
            // Never what it took in this life.
            own_before: if request.own { self.born_ms } else { 0 },
        };
        let taken = leases::claim(&self.services.store, self.holder(), wish, now).await;
        let (mut claimed, mut time) = (Vec::new(), ScriptTime::new());
        for (id, token) in taken.map_err(told)? {
            claimed.push(Claimed {
                token,
                lease_until_ms: until,
                work: self.hand_out(id, &mut time).await.map_err(told)?,
                invocation: self.invocation(id).await?,
                steps: self.steps(id).await?,
            });
        }
        Ok(claimed)
    }

    /// Keeps an invocation and tells the news of it.
    pub async fn renew(&self, token: &str, lease_ms: i64) -> Result<Renewed, PluginError> {
        let lease_ms = lease_ms.clamp(LEASE_MS.0, LEASE_MS.1);
        let lease = self.lease(token, lease_ms).await?;
        let facts = self.invocation(lease.invocation_id).await?;
        let ended = !matches!(facts.state.as_str(), "new" | "ready" | "scheduled");
        let mut reader = self.services.store.reader();
        let held = leases::held_jobs(
            &mut reader,
            lease.invocation_id,
            self.scheduler,
            lease.claim_time,
        );
        let (_, stopped) = held.await.map_err(told)?;
        let work = match ended {
            true => {
                let store = &self.services.store;
                let now = self.now();
                leases::release(store, self.scheduler, token, now)
                    .await
                    .map_err(told)?;
                Vec::new()
            }
            false => {
                let mut time = ScriptTime::new();
                let work = self.hand_out(lease.invocation_id, &mut time).await;
                work.map_err(told)?
            }
        };
        Ok(Renewed {
            lease_until_ms: lease.expire_time,
            state: facts.state,
            ended,
            stopped: stopped.into_iter().map(|id| id as u64).collect(),
            work,
        })
    }

    /// Gives an invocation back.
    pub async fn release(&self, token: &str) -> Result<(), PluginError> {
        let now = self.now();
        let released = leases::release(&self.services.store, self.scheduler, token, now).await;
        match released.map_err(told)? {
            true => Ok(()),
            false => Err(over()),
        }
    }

    /// Takes reports about work.
    pub async fn report(
        &self,
        token: &str,
        reports: Vec<WorkReport>,
    ) -> Result<Reported, PluginError> {
        let lease = self.lease(token, REPORT_KEEPS_MS).await?;
        let refused = self.take_reports(lease.invocation_id, reports).await?;
        Ok(Reported {
            lease_until_ms: lease.expire_time,
            refused,
        })
    }

    async fn lease(&self, token: &str, for_ms: i64) -> Result<Lease, PluginError> {
        let now = self.now();
        let store = &self.services.store;
        let lease = leases::extend(store, self.scheduler, token, now, now + for_ms).await;
        lease.map_err(told)?.ok_or_else(over)
    }

    /// An invocation of this scheduler.
    pub async fn invocation(&self, id: i64) -> Result<InvocationFacts, PluginError> {
        let services = self.services;
        let mut reader = services.store.reader();
        let head = self.head(id).await?;
        let revision = services.revisions.get(&mut reader, head.workflow_id).await;
        let names = crate::store::users::names(&mut reader, &[head.user_id]).await;
        let active = invocations::active_jobs(&mut reader, &[id]).await;
        Ok(InvocationFacts {
            id: id as u64,
            uuid: head.uuid.to_string(),
            user_id: head.user_id as u64,
            user_name: names
                .map_err(told)?
                .remove(&head.user_id)
                .unwrap_or_default()
                .username,
            history_id: head.history_id as u64,
            workflow_name: revision
                .map_err(told)?
                .map_or_else(String::new, |revision| revision.description.name.clone()),
            state: head.state.code().to_owned(),
            create_time_ms: head.create_time,
            active_jobs: active.map_err(told)?.remove(&id).unwrap_or(0),
        })
    }

    async fn head(&self, id: i64) -> Result<progress::Head, PluginError> {
        let mut reader = self.services.store.reader();
        let head = progress::head(&mut reader, id).await.map_err(told)?;
        let own = |head: &progress::Head| {
            let named = head.scheduler.as_deref().filter(|id| !id.is_empty());
            named.unwrap_or(self.services.plugins.default_scheduler_id()) == self.scheduler
        };
        head.filter(own)
            .ok_or_else(|| PluginError::refused(format!("There is no invocation {id} of yours")))
    }

    /// The steps of an invocation of this scheduler.
    pub async fn steps(&self, id: i64) -> Result<Vec<StepFacts>, PluginError> {
        let head = self.head(id).await?;
        let mut reader = self.services.store.reader();
        let revision = self.services.revisions.get(&mut reader, head.workflow_id);
        let Some(revision) = revision.await.map_err(told)? else {
            return Ok(Vec::new());
        };
        let states = leases::step_states(&mut reader, id).await.map_err(told)?;
        Ok(work::steps(&revision, &states))
    }

    /// Stores ends of jobs, and tells whoever waits for them.
    async fn settle(&self, ends: Vec<JobEnd>) -> Result<(), StoreError> {
        if ends.is_empty() {
            return Ok(());
        }
        let settled = settle::settle(&self.services.store, ends, self.now()).await?;
        self.queue.ready(settled.ready);
        if settled.invocations {
            self.services.signals.invocations_changed();
        }
        Ok(())
    }
}

fn over() -> PluginError {
    PluginError::refused("The lease is over; whoever holds the invocation now does its work")
}

/// A plugin reads that it failed; the operator reads why.
pub fn told(error: StoreError) -> PluginError {
    tracing::error!(
        "a scheduler's question could not be answered: {}",
        crate::errors::chain(&error)
    );
    PluginError::failed("The server could not read or store it just now")
}
