//! Jobs that were started on another machine by a server that is gone. Their processes cannot be seen from here, but the
//! record that each writes at its end can, as the data directory is shared. So such a job is left to a server of that
//! machine, if there is one; else its record is waited for, for a while.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use super::Dispatcher;
use crate::store::{StoreError, handlers};

/// How often a job's record is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// The jobs that are waited for.
#[derive(Debug)]
pub(super) struct Elsewhere {
    /// How long a job is waited for that shows no end.
    patience: Duration,
    waiting: HashMap<i64, Waiting>,
    /// Jobs that a server of their machine is to have, by its name.
    given: BTreeMap<String, Vec<i64>>,
}

#[derive(Debug)]
struct Waiting {
    host: String,
    since: Instant,
    next_look: Instant,
}

/// What is to be done with a job that another machine may be running.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// Its record is looked at again. True the first time.
    Wait(bool),
    /// A server of that machine gets it.
    Given,
    /// Nobody knows of its end, for too long.
    GiveUp,
}

impl Elsewhere {
    pub fn new(patience: Duration) -> Elsewhere {
        Elsewhere {
            patience,
            waiting: HashMap::new(),
            given: BTreeMap::new(),
        }
    }

    /// Judges a job without an end that was started on `host`; `there`: a live server of that machine.
    pub fn judge(&mut self, job_id: i64, host: &str, there: Option<&str>, now: Instant) -> Verdict {
        if let Some(server) = there {
            self.waiting.remove(&job_id);
            let given = self.given.entry(server.to_owned()).or_default();
            given.push(job_id);
            return Verdict::Given;
        }
        let is_new = !self.waiting.contains_key(&job_id);
        let waiting = self.waiting.entry(job_id).or_insert_with(|| Waiting {
            host: host.to_owned(),
            since: now,
            next_look: now,
        });
        if now.duration_since(waiting.since) >= self.patience {
            self.waiting.remove(&job_id);
            return Verdict::GiveUp;
        }
        waiting.next_look = now + LOOK;
        Verdict::Wait(is_new)
    }

    /// Whether this job's record need not be looked at now. If it is to be, the next look is put off.
    pub fn rests(&mut self, job_id: i64, now: Instant) -> bool {
        match self.waiting.get_mut(&job_id) {
            Some(waiting) if now < waiting.next_look => true,
            Some(waiting) => {
                waiting.next_look = now + LOOK;
                false
            }
            None => false,
        }
    }

    /// All others have ended, or are somebody else's.
    pub fn keep_only(&mut self, jobs: &HashSet<i64>) {
        self.waiting.retain(|id, _| jobs.contains(id));
    }

    /// It has ended.
    pub fn forget(&mut self, job_id: i64) {
        self.waiting.remove(&job_id);
    }

    /// Where a job runs that is waited for.
    pub fn host_of(&self, job_id: i64) -> Option<&str> {
        let waiting = self.waiting.get(&job_id)?;
        Some(&waiting.host)
    }

    /// How long until the next look is due.
    pub fn pause(&self, now: Instant) -> Option<Duration> {
        let next = self.waiting.values().map(|one| one.next_look).min()?;
        Some(next.saturating_duration_since(now))
    }
}

impl Dispatcher {
    /// Hands over what servers of other machines are to have, since only they can see it run.
    pub(super) async fn give_away(&mut self) -> Result<(), StoreError> {
        let services = self.services.clone();
        for (name, jobs) in std::mem::take(&mut self.elsewhere.given) {
            let me = services.membership.name();
            let given = handlers::give_active_jobs(&services.store, me, &name, &jobs).await?;
            tracing::info!(
                "{given} jobs that were started on the machine of {name} are left to it"
            );
        }
        Ok(())
    }
}

/// What an owner reads of a job that was given up.
pub(super) fn given_up(host: &str) -> String {
    format!(
        "The job was started on {host}, whose server is gone, and no end of it was seen. Run it again."
    )
}

/// What an owner reads of a job that was stopped while it was waited for.
pub(super) fn stopped(host: &str) -> String {
    format!(
        "The job was stopped. It was started on {host}, whose server is gone, and may go on there to no effect."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn a_job_elsewhere_is_looked_at_for_a_while() {
        let (mut elsewhere, begin) = (Elsewhere::new(PATIENCE), Instant::now());
        assert_eq!(elsewhere.pause(begin), None);
        assert!(!elsewhere.rests(7, begin));
        assert_eq!(elsewhere.judge(7, "one", None, begin), Verdict::Wait(true));
        assert_eq!(elsewhere.pause(begin), Some(LOOK));
        assert!(elsewhere.rests(7, begin));
        assert_eq!(elsewhere.host_of(7), Some("one"));
        let later = begin + LOOK;
        assert_eq!(elsewhere.pause(later), Some(Duration::ZERO));
        assert!(!elsewhere.rests(7, later));
        // Whatever comes of that look, the next one is not at once.
        assert_eq!(elsewhere.pause(later), Some(LOOK));
        assert_eq!(elsewhere.judge(7, "one", None, later), Verdict::Wait(false));
        let end = begin + PATIENCE;
        assert_eq!(elsewhere.judge(7, "one", None, end), Verdict::GiveUp);
        assert_eq!(elsewhere.pause(end), None);
    }

    #[test]
    fn a_server_of_its_machine_gets_it() {
        let (mut elsewhere, now) = (Elsewhere::new(PATIENCE), Instant::now());
        elsewhere.judge(7, "one", None, now);
        let verdict = elsewhere.judge(7, "one", Some("node-1"), now);
        assert_eq!(verdict, Verdict::Given);
        assert_eq!(elsewhere.given["node-1"], [7]);
        assert_eq!(elsewhere.pause(now), None);
    }

    #[test]
    fn what_ended_is_not_looked_at() {
        let (mut elsewhere, now) = (Elsewhere::new(PATIENCE), Instant::now());
        for job in [7, 8] {
            elsewhere.judge(job, "one", None, now);
        }
        elsewhere.keep_only(&HashSet::from([8]));
        assert_eq!(
            (elsewhere.host_of(7), elsewhere.host_of(8)),
            (None, Some("one"))
        );
        elsewhere.forget(8);
        assert_eq!(elsewhere.pause(now), None);
    }
}
