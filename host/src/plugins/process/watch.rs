//! Waiting awake for what comes at once anyway.
//!
//! Putting a thread to sleep and waking it again takes longer than a short call, above all where its processor falls
//! asleep with it. So whoever got the last answer within a moment looks out for the next one for as long, and sleeps
//! only then. Between two looks everybody else may run.

use rustix::net::{RecvFlags, recv};
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// What takes longer is waited for asleep, and nobody waits awake for longer.
const MOMENT: Duration = Duration::from_micros(200);

/// How long it took lately until something came.
pub(super) struct Watch {
    last: Duration,
}

impl Watch {
    pub fn new() -> Self {
        Self { last: MOMENT }
    }

    /// What is there to read, or comes within a moment; `None` when it is time to sleep.
    fn look_out(
        &self,
        stream: &UnixStream,
        to: &mut [u8],
        since: Instant,
    ) -> Option<io::Result<usize>> {
        loop {
            match recv(stream, &mut *to, RecvFlags::DONTWAIT) {
                Ok((_, count)) => return Some(Ok(count)),
                Err(rustix::io::Errno::AGAIN) => {}
                Err(error) => return Some(Err(error.into())),
            }
            if self.last >= MOMENT || since.elapsed() >= MOMENT {
                return None;
            }
            std::thread::yield_now();
        }
    }

    /// Reads what comes; after a moment `asleep` waits for it.
    pub fn read(
        &mut self,
        stream: &UnixStream,
        to: &mut [u8],
        asleep: impl FnOnce(&UnixStream, &mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let since = Instant::now();
        let read = match self.look_out(stream, to, since) {
            Some(read) => read,
            None => asleep(stream, to),
        };
        self.last = since.elapsed();
        read
    }
}

/// A connection that is read without an end.
pub(super) struct Watched {
    stream: UnixStream,
    watch: Watch,
}

impl Watched {
    pub fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            watch: Watch::new(),
        }
    }
}

impl Read for Watched {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let Self { stream, watch } = self;
        watch.read(stream, to, |mut stream, to| stream.read(to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn what_is_there_is_read_at_once_and_else_there_is_a_time_to_sleep() {
        let (here, mut there) = UnixStream::pair().unwrap();
        let mut watch = Watch::new();
        let mut bytes = [0; 8];
        let mut slept = 0;
        let mut read = |watch: &mut Watch| {
            let read = watch.read(&here, &mut bytes, |_, _| {
                slept += 1;
                Ok(0)
            });
            (read.unwrap(), slept)
        };
        // At first nobody knows that anything comes soon, and then nothing does.
        assert_eq!(read(&mut watch), (0, 1));
        there.write_all(b"abc").unwrap();
        assert_eq!(read(&mut watch), (3, 1));
        watch.last = Duration::ZERO; // however long that took here
        assert_eq!(read(&mut watch), (0, 2));
        assert!(watch.last >= MOMENT, "it looked out for a moment");
        // What comes is found even by who did not mean to look out.
        there.write_all(b"d").unwrap();
        assert_eq!(read(&mut watch), (1, 2));
        drop(there);
        assert_eq!(read(&mut watch), (0, 2), "the end is not waited for");
    }
}
