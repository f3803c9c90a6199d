//! Ready jobs whose scripts take long, behind the one of the same user that the slow lane has. They stay in the window of ready
//! jobs, but are not offered; when the lane is done with one of their user, the oldest is offered again. Of each user only some are
//! kept here: the others, and whatever else of that user is ready, wait in the database, so that they take nobody's place.

use std::collections::{BTreeSet, HashMap};

use crate::store::scheduling::jobs::ReadyJob;

/// Jobs kept of each user.
const KEPT: usize = 100;
/// With so few left more are read.
const LOW: usize = KEPT / 4;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    users: HashMap<i64, Waiting>,
    count: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    /// By time and id.
    jobs: BTreeSet<(i64, i64)>,
    /// It was full, and is not low yet.
    is_closed: bool,
    /// The job that is offered again.
    turn: Option<i64>,
}

impl Shelf {
    /// A job is to wait. False where too many of its user do.
    pub fn put(&mut self, job: &ReadyJob) -> bool {
        let waiting = self.users.entry(job.user_id).or_default();
        if waiting.jobs.len() >= KEPT {
            waiting.is_closed = true;
            return false;
        }
        self.count += usize::from(waiting.jobs.insert((job.ready_time, job.id)));
        true
    }

    pub fn has(&self, job: &ReadyJob) -> bool {
        let waiting = self.users.get(&job.user_id);
        waiting.is_some_and(|waiting| waiting.jobs.contains(&(job.ready_time, job.id)))
    }

    /// How many wait, of all users.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether no more of a user's jobs are to be read.
    pub fn is_closed(&self, user: i64) -> bool {
        self.users
            .get(&user)
            .is_some_and(|waiting| waiting.is_closed)
    }

    /// The users of whom no more jobs are to be read.
    pub fn closed(&self) -> Vec<i64> {
        let closed = self.users.iter().filter(|(_, waiting)| waiting.is_closed);
        let mut users: Vec<i64> = closed.map(|(user, _)| *user).collect();
        users.sort_unstable();
        users
    }

    /// A job that was offered again went on, or is held by its scheduler: it is the next one's turn.
    pub fn turn_is_over(&mut self, job: &ReadyJob) {
        if let Some(waiting) = self.users.get_mut(&job.user_id)
            && waiting.turn == Some(job.id)
        {
            waiting.turn = None;
        }
    }

    /// Whether it is somebody's turn.
    pub fn has_next(&self, is_busy: impl Fn(i64) -> bool) -> bool {
        let mut users = self.users.iter();
        users.any(|(user, waiting)| waiting.is_next() && !is_busy(*user))
    }

    /// Of each user of whom the lane has none, the oldest is offered again. True where more of somebody's are to be read.
    pub fn next(&mut self, is_busy: impl Fn(i64) -> bool) -> bool {
        let mut is_low = false;
        for (user, waiting) in &mut self.users {
            if waiting.is_next()
                && !is_busy(*user)
                && let Some((_, id)) = waiting.jobs.pop_first()
            {
                waiting.turn = Some(id);
                self.count -= 1;
            }
            if waiting.is_closed && waiting.jobs.len() <= LOW {
                waiting.is_closed = false;
                is_low = true;
            }
        }
        self.users
            .retain(|_, waiting| !waiting.jobs.is_empty() || waiting.turn.is_some());
        is_low
    }
}

impl Waiting {
    fn is_next(&self) -> bool {
        self.turn.is_none() && !self.jobs.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::queue::tests::job;
    use super::*;

    #[test]
    fn the_oldest_of_a_user_is_offered_again_when_the_lane_is_free_for_it() {
        let mut shelf = Shelf::default();
        for (id, user) in [(3, 1), (2, 1), (9, 2)] {
            assert!(shelf.put(&job(id, user, id)));
        }
        assert!(!shelf.has_next(|_| true) && !shelf.next(|_| true));
        assert!(shelf.has_next(|user| user == 2));
        shelf.next(|user| user == 2);
        assert!(!shelf.has(&job(2, 1, 2)) && shelf.has(&job(3, 1, 3)));
        // Not another one until that one went on.
        shelf.next(|user| user == 2);
        assert!(shelf.has(&job(3, 1, 3)) && shelf.len() == 2);
        shelf.turn_is_over(&job(2, 1, 2));
        shelf.next(|user| user == 2);
        assert!(!shelf.has(&job(3, 1, 3)) && shelf.has(&job(9, 2, 9)));
        shelf.turn_is_over(&job(3, 1, 3));
        shelf.next(|user| user == 2);
        assert_eq!((shelf.len(), shelf.users.len()), (1, 1));
    }

    #[test]
    fn of_each_user_only_some_wait_here() {
        let mut shelf = Shelf::default();
        let kept = KEPT as i64;
        for id in 0..kept {
            assert!(shelf.put(&job(id, 1, id)));
        }
        assert!(!shelf.is_closed(1));
        assert!(!shelf.put(&job(kept, 1, kept)));
        assert_eq!((shelf.is_closed(1), shelf.closed()), (true, vec![1]));
        assert!(shelf.put(&job(kept, 2, kept)) && !shelf.is_closed(2));
        for id in 0..kept - LOW as i64 {
            assert!(shelf.is_closed(1), "{id} went on");
            let is_low = shelf.next(|user| user == 2);
            assert_eq!(is_low, id + 1 == kept - LOW as i64);
            shelf.turn_is_over(&job(id, 1, id));
        }
        assert!(!shelf.is_closed(1));
    }
}
