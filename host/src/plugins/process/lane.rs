//! The server's ends of the connections for calls: one for each call that is under way at the same time.

use super::frame::{FrameReader, KEPT_MAX, Sort, begin, finish, write};
use super::watch::Watch;
use crate::plugins::codec::Codec;
use crate::plugins::methods::Method;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A connection for one call at a time.
pub(super) struct Lane {
    stream: UnixStream,
    pub reader: FrameReader<Timed>,
    /// The last request; its memory serves the next one.
    request: Arc<Vec<u8>>,
    /// How long the kernel was told to wait for room to write.
    write_limit: Duration,
}

impl Lane {
    pub fn new(stream: UnixStream) -> io::Result<Self> {
        let reading = Timed {
            stream: stream.try_clone()?,
            until: Instant::now(),
            set: Duration::ZERO,
            watch: Watch::new(),
        };
        Ok(Self {
            stream,
            reader: FrameReader::new(reading),
            request: Arc::default(),
            write_limit: Duration::ZERO,
        })
    }

    /// The frame of a call.
    pub fn write_call<M: Method>(
        &mut self,
        number: u64,
        request: &M::Request,
    ) -> Result<Arc<Vec<u8>>, String> {
        let earlier = Arc::get_mut(&mut self.request).map(std::mem::take);
        let mut frame = begin(earlier.unwrap_or_default(), Sort::CALL, number, M::NAME)?;
        M::Codec::write_request(request, &mut frame)?;
        finish(&mut frame)?;
        let frame = Arc::new(frame);
        if frame.capacity() <= KEPT_MAX {
            self.request = Arc::clone(&frame);
        }
        Ok(frame)
    }

    /// Waits no longer than `limit` for the process to take more of it.
    pub fn send(&mut self, frame: &[u8], limit: Duration) -> io::Result<()> {
        // As for reading: the kernel is told only what makes a difference. It takes zero for no limit.
        if self.write_limit.abs_diff(limit) > limit / 64 {
            let limit = limit.max(Duration::from_millis(1));
            self.stream.set_write_timeout(Some(limit))?;
            self.write_limit = limit;
        }
        write(&mut self.stream, frame)
    }

    /// From now on nothing is read after this time.
    pub fn until(&mut self, until: Instant) {
        self.reader.stream().until = until;
    }
}

/// A connection that is read until a certain time and no longer, however little comes at once.
pub(super) struct Timed {
    stream: UnixStream,
    until: Instant,
    /// What the kernel was told.
    set: Duration,
    watch: Watch,
}

impl Read for Timed {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let Self {
            stream,
            until,
            set,
            watch,
        } = self;
        watch.read(stream, to, |mut stream, to| {
            loop {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                // Telling the kernel again and again costs more than being a sixty-fourth late.
                if set.abs_diff(left) > left / 64 {
                    stream.set_read_timeout(Some(left))?;
                    *set = left;
                }
                match stream.read(to) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    read => return read,
                }
            }
        })
    }
}

/// The lanes of a process.
pub(super) struct Lanes {
    most: usize,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Default)]
struct State {
    idle: Vec<Lane>,
    open: usize,
}

/// Why there is no lane for a call.
pub(super) enum NoLane {
    /// All have calls, until the end.
    Busy,
    /// Another cannot be opened.
    Failed(io::Error),
}

impl Lanes {
    pub fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            state: Mutex::default(),
            freed: Condvar::new(),
        }
    }

    /// One that has no call, opened if there is none; waits for one when there are as many as there may be.
    pub fn take(
        &self,
        until: Instant,
        open: impl FnOnce() -> io::Result<Lane>,
    ) -> Result<Lane, NoLane> {
        let mut state = self.lock();
        loop {
            if let Some(lane) = state.idle.pop() {
                return Ok(lane);
            }
            if state.open < self.most {
                break;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(NoLane::Busy);
            }
            let waited = self.freed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.open += 1;
        drop(state);
        open().map_err(|error| {
            self.close();
            NoLane::Failed(error)
        })
    }

    /// Its call is over.
    pub fn give_back(&self, lane: Lane) {
        self.lock().idle.push(lane);
        self.freed.notify_one();
    }

    /// One is gone: its call was given up.
    pub fn close(&self) {
        self.lock().open -= 1;
        self.freed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::{ReadError, encode};
    use super::*;
    use std::io::Write as _;

    fn lane() -> (Lane, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Lane::new(ours).unwrap(), theirs)
    }

    #[test]
    fn bytes_that_trickle_in_do_not_put_the_deadline_off() {
        let (mut lane, mut theirs) = lane();
        let frame = encode(Sort::ANSWER, 1, "", &"x".repeat(10_000)).unwrap();
        let trickle = std::thread::spawn(move || {
            for byte in frame {
                if theirs.write_all(&[byte]).is_err() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        let begin = Instant::now();
        lane.until(begin + Duration::from_millis(100));
        assert!(matches!(lane.reader.next(), Err(ReadError::Quiet)));
        let took = begin.elapsed();
        assert!((100..15_000).contains(&took.as_millis()), "{took:?}");
        drop(lane);
        trickle.join().unwrap();
    }

    #[test]
    fn there_are_no_more_lanes_than_calls_allowed_at_once() {
        let lanes = Lanes::new(2);
        let soon = || Instant::now() + Duration::from_millis(50);
        let mut kept = Vec::new();
        for _ in 0..2 {
            let taken = lanes.take(soon(), || {
                let (lane, end) = lane();
                kept.push(end);
                Ok(lane)
            });
            assert!(taken.is_ok());
            let one = taken.ok();
            if kept.len() == 1 {
                lanes.give_back(one.unwrap());
                let again = lanes.take(soon(), || panic!("there is an idle one"));
                assert!(again.is_ok());
            }
        }
        let third = lanes.take(soon(), || panic!("it is one too many"));
        assert!(matches!(third, Err(NoLane::Busy)));
        lanes.close();
        let failed = lanes.take(soon(), || Err(io::ErrorKind::BrokenPipe.into()));
        assert!(matches!(failed, Err(NoLane::Failed(_))));
        let (lane, _end) = lane();
        assert!(
            lanes.take(soon(), || Ok(lane)).is_ok(),
            "the place of one that failed"
        );
    }
}
