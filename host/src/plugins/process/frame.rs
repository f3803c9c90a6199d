//! What goes over the connection between the server and a plugin's process.
//!
//! A frame is its length (four bytes, little-endian), a [`Head`] in postcard and a body.
//!
//! One connection, of which the process is born with its end, carries what is asked now and then: the first words, signs
//! of life, and the services of the host. Calls have connections of their own, *lanes*, one for each that is under way at
//! the same time: whoever calls writes and reads there itself, as does the thread that answers, and nobody in between has
//! to be woken.

use crate::plugins::methods::Capabilities;
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};

/// The oldest and the newest protocol that this program speaks.
pub(super) const PROTOCOL: (u16, u16) = (2, 2);

/// The largest frame.
pub(super) const FRAME_MAX: usize = 256 << 20;

/// A buffer that grew beyond this is not kept.
pub(super) const KEPT_MAX: usize = 4 << 20;

/// What a frame is. Numbers, so that an unknown one can be told from damage.
pub(super) struct Sort;

impl Sort {
    /// Server: who I am, and which library to load.
    pub const HELLO: u8 = 1;
    /// Plugin: it is loaded, and this is what it says about itself.
    pub const LOADED: u8 = 2;
    /// Server: make the object.
    pub const CREATE: u8 = 3;
    /// Plugin: it is made.
    pub const CREATED: u8 = 4;
    /// Plugin: it could not be loaded or made.
    pub const REFUSED: u8 = 5;
    /// Server: call a method. On a lane.
    pub const CALL: u8 = 6;
    /// The answer to a call of that number, on its lane; or to a question of that number.
    pub const ANSWER: u8 = 7;
    /// The error of a call or question of that number.
    pub const ERROR: u8 = 8;
    /// Plugin: call a service of the host. Number 0 wants no answer. What is asked during a call goes over its lane, so
    /// that it comes before the answer.
    pub const SERVICE: u8 = 9;
    /// Server: are you there?
    pub const PING: u8 = 10;
    /// Plugin: yes.
    pub const PONG: u8 = 11;
    /// Server: drop the object and end.
    pub const STOP: u8 = 12;
    /// Server: a lane. Its end comes beside the bytes.
    pub const LANE: u8 = 13;
}

/// The head of a frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head<'a> {
    pub sort: u8,
    pub number: u64,
    /// The method or service; empty otherwise.
    pub name: &'a str,
}

/// The server's first word.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Hello {
    pub protocol: (u16, u16),
    pub api: (u16, u16, u16),
    pub kind: String,
    pub id: String,
    pub type_id: String,
    pub library: std::path::PathBuf,
    pub sha256: String,
    pub limits: super::limits::ChildLimits,
    /// The most detailed level of log lines that anybody records.
    pub log_level: u32,
}

/// The plugin's first word.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct LoadedWord {
    pub protocol: u16,
    pub api: (u16, u16, u16),
    pub info: barycenter_plugin_api::abi::PluginInfo,
    pub capabilities: Capabilities,
}

/// How the object is to be made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Create {
    pub config: String,
    /// Start it up as well: it takes the place of one that was started up.
    pub startup: bool,
    /// Then give it the last state that is known of the one before.
    pub state: Option<String>,
}

/// Why there is no plugin.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Refusal {
    /// The plugin's own word, from `create` or `startup`; else the loader's.
    pub by_plugin: bool,
    pub message: String,
}

/// A frame as bytes, its body in postcard.
pub(super) fn encode<T: Serialize + ?Sized>(
    sort: u8,
    number: u64,
    name: &str,
    body: &T,
) -> Result<Vec<u8>, String> {
    let frame = begin(Vec::new(), sort, number, name)?;
    let mut frame = postcard::to_extend(body, frame).map_err(|error| error.to_string())?;
    finish(&mut frame)?;
    Ok(frame)
}

/// The beginning of a frame, to which a body is appended; in the memory of an earlier one.
pub(super) fn begin(
    mut earlier: Vec<u8>,
    sort: u8,
    number: u64,
    name: &str,
) -> Result<Vec<u8>, String> {
    earlier.clear();
    if earlier.capacity() > KEPT_MAX {
        earlier = Vec::new();
    }
    earlier.extend([0; 4]);
    let head = Head { sort, number, name };
    postcard::to_extend(&head, earlier).map_err(|error| error.to_string())
}

/// Puts the length where it belongs.
pub(super) fn finish(frame: &mut [u8]) -> Result<(), String> {
    let length = frame.len() - 4;
    if length > FRAME_MAX {
        return Err(format!("{length} bytes are more than a frame may have"));
    }
    let length = u32::try_from(length).map_err(|error| error.to_string())?;
    frame[..4].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

/// A frame that was read.
pub(super) struct Frame<'a>(&'a [u8]);

impl<'a> Frame<'a> {
    /// Head and body. The error says what is wrong with it.
    pub fn open(&self) -> Result<(Head<'a>, &'a [u8]), String> {
        postcard::take_from_bytes(self.0).map_err(|error| format!("the head of a frame: {error}"))
    }
}

/// Why there is no next frame.
#[derive(Debug)]
pub(super) enum ReadError {
    /// Nothing came within the time that the stream allows. What came before is kept.
    Quiet,
    /// The other side is gone.
    Closed,
    /// It cannot be a frame.
    Damaged(String),
}

/// Reads frames; what was read of one that is not whole yet is kept.
pub(super) struct FrameReader<R> {
    stream: R,
    buffer: Vec<u8>,
    filled: usize,
    /// So much of it is the frame that was handed out last.
    taken: usize,
}

/// How large a buffer is at first, and again after a frame that was too large to keep its memory.
const BUFFER: usize = 64 << 10;

impl<R: Read> FrameReader<R> {
    pub fn new(stream: R) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
            filled: 0,
            taken: 0,
        }
    }

    pub fn stream(&mut self) -> &mut R {
        &mut self.stream
    }

    pub fn next(&mut self) -> Result<Frame<'_>, ReadError> {
        self.forget();
        let length = loop {
            let whole = self.whole()?;
            if let Some(length) = whole.filter(|length| self.filled >= *length) {
                break length;
            }
            let wanted = whole.unwrap_or(4).max(BUFFER);
            if self.buffer.len() < wanted {
                // Grown as it arrives, not as it claims to be long.
                let step = (self.buffer.len() * 4).min(wanted);
                self.buffer.resize(step.max(BUFFER), 0);
            }
            match self.stream.read(&mut self.buffer[self.filled..]) {
                Ok(0) => return Err(ReadError::Closed),
                Ok(count) => self.filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                    ) =>
                {
                    return Err(ReadError::Quiet);
                }
                Err(_) => return Err(ReadError::Closed),
            }
        };
        self.taken = length;
        Ok(Frame(&self.buffer[4..length]))
    }

    /// Lets go of the frame that was handed out last.
    fn forget(&mut self) {
        let taken = std::mem::take(&mut self.taken);
        self.buffer.copy_within(taken..self.filled, 0);
        self.filled -= taken;
        if self.filled == 0 && self.buffer.len() > KEPT_MAX {
            self.buffer = Vec::new();
        }
    }

    /// The length of the frame that has begun, with its four bytes.
    fn whole(&self) -> Result<Option<usize>, ReadError> {
        let Some(length) = self.buffer[..self.filled].first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*length) as usize;
        if length > FRAME_MAX {
            return Err(ReadError::Damaged(format!(
                "a frame of {length} bytes was announced"
            )));
        }
        Ok(Some(length + 4))
    }
}

/// Writes a whole frame.
pub(super) fn write(stream: &mut impl Write, frame: &[u8]) -> io::Result<()> {
    stream.write_all(frame)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Hands out bytes in pieces.
    struct Pieces(Vec<Vec<u8>>);

    impl Read for Pieces {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            let Some(piece) = self.0.first_mut() else {
                return Ok(0);
            };
            if piece.is_empty() {
                self.0.remove(0);
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let count = piece.len().min(to.len());
            to[..count].copy_from_slice(&piece[..count]);
            piece.drain(..count);
            Ok(count)
        }
    }

    #[test]
    fn frames_come_out_whole_however_they_arrive() {
        let first = encode(Sort::CALL, 7, "plan", &vec![1_u32; 50_000]).unwrap();
        let second = encode(Sort::PONG, 8, "", &()).unwrap();
        let all = [first, second].concat();
        let pieces = all.chunks(777).map(<[u8]>::to_vec).collect();
        let mut reader = FrameReader::new(Pieces(pieces));
        let mut seen = Vec::new();
        loop {
            match reader.next() {
                Ok(frame) => {
                    let (head, body) = frame.open().unwrap();
                    seen.push((head.sort, head.number, head.name.to_owned(), body.len()));
                }
                Err(ReadError::Quiet) => {}
                Err(_) => break,
            }
        }
        assert_eq!(seen[0], (Sort::CALL, 7, "plan".to_owned(), 50_003));
        assert_eq!(seen[1], (Sort::PONG, 8, String::new(), 0));
    }

    #[test]
    fn a_frame_that_claims_too_much_is_refused_before_it_is_read() {
        let mut reader = FrameReader::new(&[0xff, 0xff, 0xff, 0xff, 1][..]);
        assert!(matches!(reader.next(), Err(ReadError::Damaged(_))));
    }

    proptest! {
        #[test]
        fn no_bytes_bring_the_reader_down(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
            let mut reader = FrameReader::new(&bytes[..]);
            while let Ok(frame) = reader.next() {
                let _ = frame.open();
            }
        }
    }
}
