//! The digests that a caller may say a file has (Galaxy's names).

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use md5::Md5;
use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashFunction {
    Md5,
    Sha1,
    Sha256,
    Sha512,
}

impl HashFunction {
    pub const ALL: [HashFunction; 4] = [Self::Md5, Self::Sha1, Self::Sha256, Self::Sha512];

    /// Galaxy's name.
    pub fn code(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha1 => "SHA-1",
            Self::Sha256 => "SHA-256",
            Self::Sha512 => "SHA-512",
        }
    }

    pub fn parse(text: &str) -> Option<HashFunction> {
        let plain = |text: &str| text.replace('-', "").to_ascii_uppercase();
        Self::ALL
            .into_iter()
            .find(|f| plain(f.code()) == plain(text))
    }

    fn of(self, path: &Path) -> io::Result<String> {
        match self {
            Self::Md5 => digest::<Md5>(path),
            Self::Sha1 => digest::<Sha1>(path),
            Self::Sha256 => digest::<Sha256>(path),
            Self::Sha512 => digest::<Sha512>(path),
        }
    }
}

fn digest<D: Digest>(path: &Path) -> io::Result<String> {
    let (mut file, mut whole) = (File::open(path)?, D::new());
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(whole.finalize())),
            n => whole.update(&buffer[..n]),
        }
    }
}

/// What a file's digest is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hash {
    pub function: HashFunction,
    /// In lower case.
    pub value: String,
}

impl Hash {
    /// None if the value cannot be a digest.
    pub fn new(function: HashFunction, value: &str) -> Option<Hash> {
        let value = value.trim().to_ascii_lowercase();
        let is_hex =
            !value.is_empty() && value.len() <= 128 && value.bytes().all(|b| b.is_ascii_hexdigit());
        is_hex.then_some(Hash { function, value })
    }

    /// One sentence if the file has another. Blocks.
    pub fn check(&self, path: &Path) -> io::Result<Option<String>> {
        let found = self.function.of(path)?;
        Ok((found != self.value).then(|| {
            format!(
                "Its {} is {found}, not {} as was said.",
                self.function.code(),
                self.value
            )
        }))
    }

    /// As it is stored.
    pub fn to_json(hashes: &[Hash]) -> Value {
        hashes
            .iter()
            .map(|h| json!({"hash_function": h.function.code(), "hash_value": h.value}))
            .collect()
    }

    /// What [`Hash::to_json`] wrote, or a request of that form; None where an entry is not one.
    pub fn from_json(value: &Value) -> Option<Vec<Hash>> {
        let read = |one: &Value| {
            let function = HashFunction::parse(one.get("hash_function")?.as_str()?)?;
            Hash::new(function, one.get("hash_value")?.as_str()?)
        };
        value.as_array()?.iter().map(read).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_the_standard_programs() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "abc").unwrap();
        for (function, value) in [
            (HashFunction::Md5, "900150983CD24FB0D6963F7D28E17F72"),
            (
                HashFunction::Sha1,
                "a9993e364706816aba3e25717850c26c9cd0d89d",
            ),
            (
                HashFunction::Sha256,
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            ),
        ] {
            let hash = Hash::new(function, value).unwrap();
            assert_eq!(hash.check(file.path()).unwrap(), None);
            let stored = Hash::to_json(std::slice::from_ref(&hash));
            assert_eq!(Hash::from_json(&stored), Some(vec![hash]));
        }
        let wrong = Hash::new(HashFunction::Sha512, "00").unwrap();
        assert!(
            wrong
                .check(file.path())
                .unwrap()
                .unwrap()
                .contains("SHA-512")
        );
        assert_eq!(HashFunction::parse("sha1"), Some(HashFunction::Sha1));
        assert_eq!(HashFunction::parse("crc"), None);
        assert_eq!(Hash::new(HashFunction::Md5, "xyz"), None);
    }
}
