//! Hands a connection to a process beside the bytes of another one.

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// Writes bytes and hands this over with the first of them.
pub(super) fn write_with(stream: &mut UnixStream, bytes: &[u8], passed: OwnedFd) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    let fds = [passed.as_fd()];
    if !beside.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::Error::other("there is no room for a descriptor"));
    }
    let sent = sendmsg(
        &*stream,
        &[IoSlice::new(bytes)],
        &mut beside,
        SendFlags::NOSIGNAL,
    )?;
    stream.write_all(bytes.get(sent..).unwrap_or_default())
}

/// A connection over which others are handed in.
pub(super) struct Taking {
    stream: UnixStream,
    taken: VecDeque<OwnedFd>,
}

impl Taking {
    pub fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            taken: VecDeque::new(),
        }
    }

    /// What was handed in first.
    pub fn received(&mut self) -> Option<UnixStream> {
        self.taken.pop_front().map(UnixStream::from)
    }
}

impl Read for Taking {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(to)];
        let read = recvmsg(
            &self.stream,
            &mut slices,
            &mut beside,
            RecvFlags::CMSG_CLOEXEC,
        )?;
        for message in beside.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                self.taken.extend(fds);
            }
        }
        Ok(read.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_was_handed_over_works() {
        let (mut here, there) = UnixStream::pair().unwrap();
        let (mut lane, end) = UnixStream::pair().unwrap();
        write_with(&mut here, b"take it", end.into()).unwrap();
        here.write_all(b", please").unwrap();
        let (mut taking, mut text) = (Taking::new(there), [0; 15]);
        taking.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"take it, please");
        let mut taken = taking.received().expect("a connection");
        assert!(taking.received().is_none());
        lane.write_all(b"x").unwrap();
        let mut byte = [0; 1];
        taken.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
        drop((taken, taking));
        assert_eq!(lane.read(&mut byte).unwrap(), 0, "a descriptor was kept");
    }
}
