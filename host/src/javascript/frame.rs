//! What goes over the socket: a length of four bytes, little-endian, and so many bytes of JSON.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longer than any script with its inputs, and than what fits into a script's memory.
const MOST: usize = 256 << 20;

pub(super) fn pack(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message)?;
    let length = bytes.len() - 4;
    let length = u32::try_from(length).ok().filter(|_| length <= MOST);
    let length = length.ok_or_else(|| io::Error::other("the message is too long"))?;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    Ok(bytes)
}

pub(super) fn send(socket: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    socket.write_all(&pack(message)?)
}

pub(super) fn receive<T: DeserializeOwned>(socket: &mut impl Read) -> io::Result<T> {
    let mut length = [0; 4];
    socket.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > MOST {
        return Err(io::Error::other("the message is too long"));
    }
    let mut bytes = Vec::new();
    socket.take(length as u64).read_to_end(&mut bytes)?;
    if bytes.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_slice(&bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_back_as_it_went() {
        let bytes = pack(&("a", [1, 2])).unwrap();
        assert_eq!(bytes, *b"\x0b\0\0\0[\"a\",[1,2]]");
        let back: (String, [i32; 2]) = receive(&mut bytes.as_slice()).unwrap();
        assert_eq!(back, ("a".to_owned(), [1, 2]));
    }

    #[test]
    fn what_is_cut_off_or_too_long_is_an_error_and_takes_no_memory() {
        for bytes in [
            &b""[..],
            b"\x02\0\0",
            b"\x09\0\0\0[1]",
            b"\xff\xff\xff\xff",
            b"\x01\0\0\0[",
        ] {
            assert!(receive::<Vec<i32>>(&mut &*bytes).is_err(), "{bytes:?}");
        }
    }
}
