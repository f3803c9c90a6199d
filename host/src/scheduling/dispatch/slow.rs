//! The slow lane of jobs. What a job's command is, and what an expression tool comes to, can be JavaScript that a user wrote. In
//! the loop all of a user's together have little time in a round; whoever needs more goes on in a thread beside the loop, one
//! job of each user after the other, and the loop goes on with everybody else's. What was worked out there is kept until the
//! job is chosen again.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::prepare::{Prepared, Worked, work_out};
use crate::scheduling::lanes::{Lane, Slow, takes_long};
use crate::store::scheduling::jobs::ReadyJob;
use crate::tools::expression::with_patience;

/// What comes out of the lane, and how long it took.
type Done = (ReadyJob, Worked, Duration);

/// See the module.
pub(super) struct SlowLane {
    turns: Turns,
    /// By job: since when it was ready, and what it came to then.
    worked: HashMap<i64, (i64, Worked)>,
    thread: Option<Sender<(ReadyJob, Prepared)>>,
    done: mpsc::UnboundedReceiver<Done>,
    /// Jobs that were worked out and are to be offered again.
    back: Vec<ReadyJob>,
    out: mpsc::UnboundedSender<Done>,
}

impl SlowLane {
    pub fn new() -> SlowLane {
        let (out, done) = mpsc::unbounded_channel();
        SlowLane {
            turns: Turns::default(),
            worked: HashMap::new(),
            thread: None,
            done,
            back: Vec::new(),
            out,
        }
    }

    /// A round begins, in which everybody has their time anew.
    pub fn begin_round(&mut self) {
        self.turns.begin_round(Instant::now());
    }

    /// Whether a job is in the lane.
    pub fn has(&self, job_id: i64) -> bool {
        self.turns.has(job_id)
    }

    /// Whether a job of this user is in the lane.
    pub fn is_busy(&self, user: i64) -> bool {
        self.turns.busy.contains_key(&user)
    }

    /// What was worked out for other jobs is not kept.
    pub fn keep_only(&mut self, is_there: impl Fn(i64) -> bool) {
        self.worked.retain(|id, _| is_there(*id));
    }

    /// What was worked out for a job, or what it comes to within the time that its user has left. None: that takes longer.
    pub fn work_out(&mut self, ready: &ReadyJob, job: &Prepared) -> Option<Worked> {
        let user = ready.user_id;
        if let Some(worked) = self.take_known(ready) {
            return Some(worked);
        }
        let mut all = Duration::MAX;
        let (worked, is_over) = self.timed(user, &mut all, || work_out(job));
        // It may have come to its end all the same.
        (!is_over || !worked.is_fault()).then_some(worked)
    }

    /// What was worked out for a job. Where it waited for something since, it may read something else now.
    fn take_known(&mut self, ready: &ReadyJob) -> Option<Worked> {
        let (ready_time, worked) = self.worked.remove(&ready.id)?;
        (ready_time == ready.ready_time).then_some(worked)
    }

    /// What `make` comes to within the time that the user has left, and within `most`, which is everybody's and becomes less.
    /// None: that takes longer.
    pub fn in_time<T, E>(
        &mut self,
        user: i64,
        most: &mut Duration,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Option<Result<T, E>> {
        let (made, is_over) = self.timed(user, most, make);
        (!is_over || made.is_ok()).then_some(made)
    }

    /// Does `work` in the time that there is; also returns whether all of that was taken.
    fn timed<T>(&mut self, user: i64, most: &mut Duration, work: impl FnOnce() -> T) -> (T, bool) {
        let own = self.turns.left(user);
        let left = own.min(*most);
        let (done, took) = with_patience(left, work);
        *most = most.saturating_sub(took);
        self.turns.spend(user, took, Instant::now());
        (done, took >= left)
    }

    /// Jobs were started, or went another way: what was worked out for them is not needed any more.
    pub fn forget(&mut self, job_ids: &[i64]) {
        for id in job_ids {
            self.worked.remove(id);
        }
    }

    /// Takes a job that takes longer, or returns it where one of the same user is being worked out.
    pub fn take(&mut self, ready: ReadyJob, job: Prepared) -> Option<ReadyJob> {
        if !self.turns.take(&ready) {
            return Some(ready);
        }
        let out = self.out.clone();
        let thread = self.thread.get_or_insert_with(|| begin(out));
        if let Err(unsent) = thread.send((ready, job)) {
            // Without a thread it waits for the next look at the database.
            self.thread = None;
            self.turns.came(&unsent.0.0);
        }
        None
    }

    /// The jobs that were worked out by now: they are to be offered again.
    pub fn take_done(&mut self) -> Vec<ReadyJob> {
        while let Ok(done) = self.done.try_recv() {
            self.came(done);
        }
        std::mem::take(&mut self.back)
    }

    /// Waits for the next job to be worked out.
    pub async fn next(&mut self) {
        match self.done.recv().await {
            Some(done) => self.came(done),
            // Not while we hold the other end.
            None => std::future::pending().await,
        }
    }

    fn came(&mut self, (ready, worked, took): Done) {
        self.turns.came(&ready);
        if takes_long(took) {
            self.turns.slow.note(ready.user_id, Instant::now());
        }
        self.worked.insert(ready.id, (ready.ready_time, worked));
        self.back.push(ready);
    }
}

/// The thread of the lane; it ends when nobody sends any more.
fn begin(out: mpsc::UnboundedSender<Done>) -> Sender<(ReadyJob, Prepared)> {
    let (sender, jobs): (_, Receiver<(ReadyJob, Prepared)>) = channel();
    let work = move || {
        for (ready, job) in jobs {
            let patience = Lane::Slow.patience();
            let (worked, took) = with_patience(patience, || work_out(&job));
            if out.send((ready, worked, took)).is_err() {
                return;
            }
        }
    };
    let thread = std::thread::Builder::new().name("slow jobs".into());
    if let Err(error) = thread.spawn(work) {
        tracing::error!("jobs whose scripts take long wait, as they have no thread: {error}");
    }
    sender
}

/// Who has how much time, and whose turn it is.
#[derive(Debug, Default)]
struct Turns {
    /// Users whose jobs took long.
    slow: Slow,
    /// What users' jobs took in this round.
    spent: HashMap<i64, Duration>,
    /// By user: the job that is being worked out.
    busy: HashMap<i64, i64>,
}

impl Turns {
    fn begin_round(&mut self, now: Instant) {
        self.spent.clear();
        self.slow.forget(now);
    }

    fn has(&self, job_id: i64) -> bool {
        self.busy.values().any(|busy| *busy == job_id)
    }

    /// What the scripts of a user may take. Without any time left none is begun, and what needs none is made all the same.
    fn left(&self, user: i64) -> Duration {
        match self.slow.has(user) {
            true => Duration::ZERO,
            false => {
                let spent = self.spent.get(&user).copied().unwrap_or_default();
                Lane::Fast.patience().saturating_sub(spent)
            }
        }
    }

    /// Notes what one of a user's jobs took; true where the user was found to be slow by that.
    fn spend(&mut self, user: i64, took: Duration, now: Instant) -> bool {
        let spent = self.spent.entry(user).or_default();
        *spent += took;
        let is_found = !self.slow.has(user) && takes_long(*spent);
        if is_found {
            self.slow.note(user, now);
            tracing::warn!(
                user.id = user,
                "scripts in tools take long; this user's jobs with scripts are made one by one"
            );
        }
        is_found
    }

    /// Whether the job is to be worked out now: else another one of the same user is.
    fn take(&mut self, ready: &ReadyJob) -> bool {
        let is_free = !self.busy.contains_key(&ready.user_id);
        if is_free {
            self.busy.insert(ready.user_id, ready.id);
        }
        is_free
    }

    fn came(&mut self, ready: &ReadyJob) {
        self.busy.remove(&ready.user_id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduling::dispatch::prepare::Unmade;

    fn job(id: i64, user: i64) -> ReadyJob {
        super::super::queue::tests::job(id, user, 0)
    }

    #[test]
    fn the_jobs_of_a_round_share_their_users_time() {
        let (mut turns, now) = (Turns::default(), Instant::now());
        let all = Lane::Fast.patience();
        let part = Duration::from_millis(200);
        assert!(!turns.spend(1, part, now));
        assert_eq!((turns.left(1), turns.left(2)), (all - part, all));
        turns.begin_round(now);
        assert_eq!(turns.left(1), all);
        assert!(turns.spend(1, all, now));
        assert!(!turns.spend(1, all, now), "that is known");
        turns.begin_round(now);
        assert_eq!((turns.left(1), turns.left(2)), (Duration::ZERO, all));
        turns.begin_round(now + Duration::from_secs(60));
        assert_eq!(turns.left(1), all);
    }

    #[test]
    fn two_jobs_of_a_user_keep_what_each_came_to() {
        let mut lane = SlowLane::new();
        for id in [1, 2] {
            let worked = Worked::Command(Err(Unmade::Fault(format!("no {id}"))));
            lane.came((job(id, 5), worked, Duration::ZERO));
        }
        let mut known = |id, ready_time| {
            let ready = ReadyJob {
                ready_time,
                ..job(id, 5)
            };
            match lane.take_known(&ready) {
                Some(Worked::Command(Err(Unmade::Fault(why)))) => Some(why),
                _ => None,
            }
        };
        assert_eq!(known(1, 0).as_deref(), Some("no 1"));
        assert_eq!(known(1, 0), None);
        assert_eq!(known(2, 9), None, "it was paused in between");
        assert_eq!(known(2, 0), None);
    }

    #[test]
    fn what_was_worked_out_is_taken_without_waiting() {
        let mut lane = SlowLane::new();
        for id in [1, 2] {
            assert!(lane.turns.take(&job(id, id)));
            let worked = Worked::Command(Err(Unmade::NoEngine));
            let sent = lane.out.send((job(id, id), worked, Duration::ZERO));
            assert!(sent.is_ok());
        }
        let back: Vec<i64> = lane.take_done().iter().map(|job| job.id).collect();
        assert_eq!(back, [1, 2]);
        assert!(!lane.has(1) && !lane.has(2) && lane.take_done().is_empty());
        lane.forget(&[2, 3]);
        let known: Vec<i64> = lane.worked.keys().copied().collect();
        assert_eq!(known, [1]);
    }

    #[test]
    fn what_all_have_together_bounds_what_one_may_take() {
        let scripts = |count: usize| {
            move || {
                let spin = r#"(function () { const end = Date.now() + 60; while (Date.now() < end) {} return 1; })()"#;
                (0..count).try_for_each(|_| {
                    let when = format!("$({spin})");
                    let value =
                        crate::tools::expression::evaluate_when(&when, &serde_json::Value::Null);
                    value.map(drop).map_err(|error| error.to_string())
                })
            }
        };
        let (mut lane, mut most) = (SlowLane::new(), Duration::from_millis(200));
        assert_eq!(lane.in_time(1, &mut most, scripts(1)), Some(Ok(())));
        assert!(most < Duration::from_millis(150));
        assert_eq!(lane.in_time(2, &mut most, scripts(9)), None);
        assert_eq!(most, Duration::ZERO);
        assert_eq!(lane.in_time(3, &mut most, scripts(1)), None);
        // What needs none is made all the same, and nobody was found to be slow by that.
        assert_eq!(lane.in_time(3, &mut most, scripts(0)), Some(Ok(())));
        assert!(lane.turns.slow.users().is_empty());
    }

    #[test]
    fn of_each_user_one_job_is_worked_out() {
        let mut turns = Turns::default();
        let taken = [job(1, 1), job(2, 1), job(9, 2)].map(|job| turns.take(&job));
        assert_eq!(taken, [true, false, true]);
        assert_eq!([1, 2, 9].map(|id| turns.has(id)), [true, false, true]);
        turns.came(&job(1, 1));
        assert!(!turns.has(1) && turns.take(&job(2, 1)) && turns.has(2));
    }
}
