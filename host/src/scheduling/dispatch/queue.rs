//! Ready jobs in memory: per scheduler and user, oldest first. A bounded window on the database.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use barycenter_plugin_api::{List, RunnerOffer, UserLoad};
use tokio::sync::mpsc;

use super::shelf::Shelf;
use crate::store::scheduling::jobs::ReadyJob;

/// Where whoever stores a ready job tells the loop. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Queue {
    sender: mpsc::UnboundedSender<Vec<ReadyJob>>,
    capacity: Arc<Mutex<Capacity>>,
}

/// What the runners had and what each user had when the loop for jobs last looked.
#[derive(Clone, Debug, Default)]
pub struct Capacity {
    pub runners: List<RunnerOffer>,
    pub load: List<UserLoad>,
}

impl Queue {
    pub(super) fn new() -> (Queue, mpsc::UnboundedReceiver<Vec<ReadyJob>>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let capacity = Arc::default();
        (Queue { sender, capacity }, receiver)
    }

    /// The runners and the users' load, a moment old.
    pub fn capacity(&self) -> Capacity {
        self.capacity
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// A ready job as a scheduler sees it.
    pub fn offer(job: &ReadyJob) -> barycenter_plugin_api::ReadyJob {
        offer(job)
    }

    pub(super) fn set_capacity(&self, now: Capacity) {
        *self.capacity.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// For a process that runs no jobs: others find them in the database.
    pub fn nowhere() -> Queue {
        Queue::new().0
    }

    /// These jobs are stored as ready.
    pub fn ready(&self, jobs: Vec<ReadyJob>) {
        if !jobs.is_empty() {
            // With the loop gone the next start finds them in the database.
            let _ = self.sender.send(jobs);
        }
    }
}

/// The queue, for those who are there before it.
#[derive(Clone, Debug)]
pub struct CurrentQueue(Arc<Mutex<Queue>>);

impl Default for CurrentQueue {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Queue::nowhere())))
    }
}

impl CurrentQueue {
    pub fn set(&self, queue: Queue) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = queue;
    }

    pub fn get(&self) -> Queue {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

type Key = (i64, i64);

/// The window.
#[derive(Debug)]
pub(super) struct ReadyQueue {
    /// By scheduler (empty: the default), user, time and id.
    lanes: BTreeMap<String, BTreeMap<i64, BTreeMap<Key, ReadyJob>>>,
    ids: HashSet<i64>,
    /// Jobs a scheduler holds, until this instant (0: until something changes).
    held: BTreeMap<i64, i64>,
    /// Jobs that wait for the slow lane. They come on top of those that are kept.
    shelf: Shelf,
    kept: usize,
    /// The database has more than fits.
    overflow: bool,
}

impl ReadyQueue {
    pub fn new(kept: usize) -> ReadyQueue {
        ReadyQueue {
            lanes: BTreeMap::new(),
            ids: HashSet::new(),
            held: BTreeMap::new(),
            shelf: Shelf::default(),
            kept,
            overflow: false,
        }
    }

    /// How many can be offered, apart from those that a scheduler holds.
    pub fn len(&self) -> usize {
        self.ids.len() - self.shelf.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn has(&self, job_id: i64) -> bool {
        self.ids.contains(&job_id)
    }

    /// Takes jobs in as far as there is room.
    pub fn push(&mut self, jobs: Vec<ReadyJob>) {
        for job in jobs {
            // They are read when that user's turn comes.
            if self.shelf.is_closed(job.user_id) {
                continue;
            }
            if self.len() >= self.kept {
                self.overflow = true;
                return;
            }
            self.insert(job);
        }
    }

    /// Takes a job in that was here before, whether or not there is room.
    pub fn push_again(&mut self, job: ReadyJob) {
        self.insert(job);
    }

    /// A job that was offered waits for the slow lane.
    pub fn shelve(&mut self, job: ReadyJob) {
        if self.shelf.put(&job) {
            self.insert(job);
        }
    }

    /// Offers jobs again that waited for the slow lane; `is_busy`: whether it has one of this user.
    pub fn next_turns(&mut self, is_busy: impl Fn(i64) -> bool) {
        self.overflow |= self.shelf.next(is_busy);
    }

    /// Whether there are such jobs.
    pub fn has_next_turn(&self, is_busy: impl Fn(i64) -> bool) -> bool {
        self.shelf.has_next(is_busy)
    }

    /// How many of the oldest jobs fill the window, whatever waits for the slow lane.
    pub fn window(&self) -> usize {
        self.kept + self.shelf.len()
    }

    /// The users whose jobs are not to be read.
    pub fn closed(&self) -> Vec<i64> {
        self.shelf.closed()
    }

    fn insert(&mut self, job: ReadyJob) {
        if self.ids.insert(job.id) {
            let scheduler = job.scheduler.as_deref().unwrap_or_default().to_owned();
            let lane = self
                .lanes
                .entry(scheduler)
                .or_default()
                .entry(job.user_id)
                .or_default();
            lane.insert((job.ready_time, job.id), job);
        }
    }

    /// Whether the window ran low while the database has more.
    pub fn wants_more(&self) -> bool {
        self.overflow && self.len() < self.kept / 4
    }

    /// Takes in a fresh reading of the database's oldest; `handed_over` tells those a runner has by now.
    pub fn refill(&mut self, found: Vec<ReadyJob>, handed_over: impl Fn(i64) -> bool) {
        self.overflow = found.len() >= self.kept;
        self.push(
            found
                .into_iter()
                .filter(|job| !handed_over(job.id))
                .collect(),
        );
    }

    pub fn remove(&mut self, job: &ReadyJob) {
        self.ids.remove(&job.id);
        self.held.remove(&job.id);
        self.shelf.turn_is_over(job);
        let scheduler = job.scheduler.as_deref().unwrap_or_default();
        if let Some(users) = self.lanes.get_mut(scheduler) {
            if let Some(lane) = users.get_mut(&job.user_id) {
                lane.remove(&(job.ready_time, job.id));
                if lane.is_empty() {
                    users.remove(&job.user_id);
                }
            }
            if users.is_empty() {
                self.lanes.remove(scheduler);
            }
        }
    }

    /// A scheduler does not want this one now, or it cannot be made.
    pub fn hold(&mut self, job: &ReadyJob, until_ms: i64) {
        self.held.insert(job.id, until_ms);
        self.shelf.turn_is_over(job);
    }

    /// When the next of those is offered again that are held until some instant.
    pub fn next_due(&self, now: i64) -> Option<i64> {
        let later = self.held.values().copied().filter(|until| *until > now);
        later.min()
    }

    /// For each scheduler the oldest of every user, oldest first: at most `count` of each user.
    pub fn offer(&mut self, default: &str, count: usize, now: i64) -> Vec<(String, Vec<ReadyJob>)> {
        // A job held without an instant is offered again whenever something changed, which is now.
        self.held.retain(|_, until| *until > now);
        let (held, shelf) = (&self.held, &self.shelf);
        let mut merged: BTreeMap<&str, Vec<ReadyJob>> = BTreeMap::new();
        for (scheduler, users) in &self.lanes {
            let name = if scheduler.is_empty() {
                default
            } else {
                scheduler
            };
            let jobs = merged.entry(name).or_default();
            for lane in users.values() {
                jobs.extend(
                    lane.values()
                        .filter(|job| !held.contains_key(&job.id) && !shelf.has(job))
                        .take(count)
                        .cloned(),
                );
            }
        }
        merged
            .into_iter()
            .filter(|(_, jobs)| !jobs.is_empty())
            .map(|(scheduler, mut jobs)| {
                jobs.sort_by_key(|job| (job.ready_time, job.id));
                (scheduler.to_owned(), jobs)
            })
            .collect()
    }

    /// The users who have jobs here.
    pub fn users(&self) -> impl Iterator<Item = i64> + '_ {
        self.lanes.values().flat_map(|users| users.keys().copied())
    }

    /// How many are waiting, by user.
    pub fn waiting(&self) -> BTreeMap<i64, usize> {
        let mut counts = BTreeMap::new();
        for users in self.lanes.values() {
            for (user, lane) in users {
                *counts.entry(*user).or_default() += lane.len();
            }
        }
        counts
    }
}

/// A ready job as a scheduler sees it.
pub(super) fn offer(job: &ReadyJob) -> barycenter_plugin_api::ReadyJob {
    barycenter_plugin_api::ReadyJob {
        id: job.id as u64,
        invocation_id: job.invocation_id.unwrap_or(0) as u64,
        user_id: job.user_id as u64,
        history_id: job.history_id as u64,
        tool_id: job.tool_id.as_ref().into(),
        cores: job.cores.clamp(0, u32::MAX.into()) as u32,
        memory_mb: job.memory_mb.max(0) as u64,
        ready_since_ms: job.ready_time,
        create_time_ms: job.create_time,
        attempts: job.attempt.clamp(0, u32::MAX.into()) as u32,
        ..Default::default()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn job(id: i64, user: i64, time: i64) -> ReadyJob {
        ReadyJob {
            id,
            token: uuid::Uuid::nil(),
            user_id: user,
            history_id: 1,
            invocation_id: None,
            scheduler: None,
            tool_id: "t".into(),
            cores: 1,
            memory_mb: 0,
            ready_time: time,
            create_time: time,
            attempt: 0,
        }
    }

    fn ids(offer: &[(String, Vec<ReadyJob>)]) -> Vec<i64> {
        offer
            .iter()
            .flat_map(|(_, jobs)| jobs.iter().map(|j| j.id))
            .collect()
    }

    #[test]
    fn every_user_is_offered_and_the_oldest_come_first() {
        let mut queue = ReadyQueue::new(100);
        queue.push((1..=5).map(|id| job(id, 1, id)).collect());
        queue.push(vec![job(10, 2, 3)]);
        assert_eq!(ids(&queue.offer("default", 2, 0)), [1, 2, 10]);
        queue.remove(&job(1, 1, 1));
        assert_eq!(ids(&queue.offer("default", 2, 0)), [2, 3, 10]);
    }

    #[test]
    fn a_held_job_is_offered_again_when_its_time_has_come() {
        let mut queue = ReadyQueue::new(100);
        queue.push(vec![job(1, 1, 1)]);
        assert_eq!(queue.next_due(0), None);
        queue.hold(&job(1, 1, 1), 500);
        assert!(queue.offer("default", 9, 499).is_empty());
        assert_eq!(
            (queue.next_due(499), queue.next_due(500)),
            (Some(500), None)
        );
        assert_eq!(ids(&queue.offer("default", 9, 500)), [1]);
    }

    #[test]
    fn what_does_not_fit_is_read_again_when_there_is_room() {
        let mut queue = ReadyQueue::new(4);
        queue.push((1..=9).map(|id| job(id, 1, id)).collect());
        assert!(!queue.wants_more());
        for id in 1..=4 {
            queue.remove(&job(id, 1, id));
        }
        assert!(queue.wants_more());
        queue.refill((5..=7).map(|id| job(id, 1, id)).collect(), |id| id == 5);
        assert_eq!(ids(&queue.offer("default", 9, 0)), [6, 7]);
        assert!(!queue.wants_more());
    }

    #[test]
    fn what_waits_for_the_slow_lane_takes_nobodys_place() {
        let mut queue = ReadyQueue::new(4);
        for id in 1..=200 {
            queue.push(vec![job(id, 1, id)]);
            for one in queue.offer("default", 9, 0).remove(0).1 {
                queue.remove(&one);
                queue.shelve(one);
            }
            if queue.closed() == [1] {
                break;
            }
        }
        assert!(queue.is_empty() && queue.closed() == [1]);
        assert!(queue.window() > 4 && queue.ids.len() < 200);
        // Of others there is room for as many as ever.
        queue.push(vec![job(300, 1, 300)]);
        queue.push((301..=305).map(|id| job(id, 2, id)).collect());
        assert_eq!(ids(&queue.offer("default", 9, 0)), [301, 302, 303, 304]);
        queue.next_turns(|user| user == 1);
        assert_eq!(queue.len(), 4);
        queue.next_turns(|_| false);
        assert_eq!(ids(&queue.offer("default", 9, 0))[0], 1);
        queue.hold(&job(1, 1, 1), 9);
        assert!(
            queue.has_next_turn(|_| false),
            "its scheduler wants another"
        );
        // What the lane is done with is taken in whatever else there is.
        queue.push_again(job(400, 1, 0));
        assert_eq!(ids(&queue.offer("default", 9, 0))[0], 400);
    }
}
