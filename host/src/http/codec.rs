//! Ids as clients see them: Galaxy's encoding (Galaxy: `IdEncodingHelper`). The decimal text of the id, padded on
//! the left with `!` to the next multiple of eight, encrypted with Blowfish (ECB), in lower-case hex.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use blowfish::Blowfish;
use blowfish::cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use sha2::{Digest, Sha256};

use super::error::ApiError;
use crate::args;
use crate::store::{Durability, Query, Store, StoreError};

/// Blowfish takes keys of at most this many bytes.
const KEY_MAX: usize = 56;
const BLOCK: usize = 8;
/// An i64 has at most 19 digits, so an id is never longer than three blocks.
const HEX_MAX: usize = 3 * BLOCK * 2;

/// Encodes and decodes ids with this installation's secret. Cheap to clone.
#[derive(Clone)]
pub struct IdCodec {
    // Setting up the key costs over five hundred encryptions, so it is done once.
    cipher: Arc<Blowfish>,
    secret: Arc<str>,
    kinds: Arc<Mutex<HashMap<String, IdCodec>>>,
}

impl IdCodec {
    /// A codec for a secret of 4 to 56 bytes; a longer one counts with its last 56 bytes.
    pub fn new(secret: &str) -> IdCodec {
        IdCodec {
            cipher: Arc::new(expand(secret.as_bytes())),
            secret: secret.into(),
            kinds: Arc::default(),
        }
    }

    /// The codec of this installation. Its secret is made at the first start and kept in table `installation`,
    /// because ids that clients have written down must stay valid.
    pub async fn of_installation(store: &Store) -> Result<IdCodec, StoreError> {
        const READ: &str = "SELECT value FROM installation WHERE name = 'id_secret'";
        let stored = store.reader().maybe(READ, args![]).await?;
        if let Some(row) = stored {
            return Ok(IdCodec::new(&row.get::<String>(0)?));
        }
        let secret = super::auth::random_hex(16);
        let mut tx = store.begin().await?;
        tx.run(
            "INSERT INTO installation (name, value) VALUES ('id_secret', $1) ON CONFLICT (name) DO NOTHING",
            args![secret],
        )
        .await?;
        // Another process may have been first: what is stored counts.
        let row = tx.maybe(READ, args![]).await?;
        let secret: String = row.map(|r| r.get(0)).transpose()?.unwrap_or_default();
        tx.commit(Durability::Acknowledged, "installation.secret")
            .await?;
        Ok(IdCodec::new(&secret))
    }

    /// The codec for ids of one kind (WES objects, for instance), which no id of another kind can be mistaken for. Kinds are
    /// named in the code, so there are few, and each codec is kept.
    pub fn kind(&self, kind: &str) -> IdCodec {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kinds
            .entry(kind.to_owned())
            .or_insert_with(|| IdCodec::new(&format!("{}__{kind}", self.secret)));
        known.clone()
    }

    /// A key for something else that only this installation may make, such as page tokens.
    pub fn derived_key(&self, purpose: &str) -> [u8; 32] {
        Sha256::digest(format!("{}__{purpose}", self.secret).as_bytes()).into()
    }

    /// The id as clients see it.
    pub fn encode(&self, id: i64) -> String {
        // An answer may name tens of thousands.
        let mut bytes = [b'!'; 3 * BLOCK];
        let mut begin = bytes.len();
        let mut rest = id.unsigned_abs();
        while rest > 0 || begin == bytes.len() {
            begin -= 1;
            bytes[begin] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        if id < 0 {
            begin -= 1;
            bytes[begin] = b'-';
        }
        // At least one `!` stands before it.
        let blocks = &mut bytes[(begin - 1) / BLOCK * BLOCK..];
        for block in blocks.chunks_exact_mut(BLOCK) {
            let mut cipher_block = Array::default();
            cipher_block.copy_from_slice(block);
            self.cipher.encrypt_block(&mut cipher_block);
            block.copy_from_slice(&cipher_block);
        }
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let digits = blocks
            .iter()
            .flat_map(|byte| [byte >> 4, byte & 15].map(|half| char::from(HEX[usize::from(half)])));
        let mut text = String::with_capacity(2 * blocks.len());
        text.extend(digits);
        text
    }

    /// The encoded id, or null.
    pub fn encode_maybe(&self, id: Option<i64>) -> Option<String> {
        id.map(|id| self.encode(id))
    }

    /// The id behind what a client sent. 400 400009 if it is none of ours.
    pub fn decode(&self, text: &str) -> Result<i64, ApiError> {
        self.try_decode(text)
            .ok_or_else(|| ApiError::malformed_id(text))
    }

    fn try_decode(&self, text: &str) -> Option<i64> {
        if text.is_empty() || text.len() > HEX_MAX || !text.len().is_multiple_of(2 * BLOCK) {
            return None;
        }
        let mut bytes = hex::decode(text).ok()?;
        for block in bytes.chunks_exact_mut(BLOCK) {
            let mut cipher_block = Array::default();
            cipher_block.copy_from_slice(block);
            self.cipher.decrypt_block(&mut cipher_block);
            block.copy_from_slice(&cipher_block);
        }
        let plain = String::from_utf8(bytes).ok()?;
        let digits = plain.trim_start_matches('!');
        let padding = plain.len() - digits.len();
        let canonical = (1..=BLOCK).contains(&padding)
            && !digits.starts_with('0')
            && digits.bytes().all(|b| b.is_ascii_digit());
        canonical.then(|| digits.parse().ok()).flatten()
    }
}

fn expand(secret: &[u8]) -> Blowfish {
    let key = &secret[secret.len().saturating_sub(KEY_MAX)..];
    Blowfish::new_from_slice(key).unwrap_or_else(|_| {
        // Too short for the cipher: repeated, which Blowfish does with every key anyway.
        let mut longer = key.to_vec();
        longer.resize(4, b'!');
        Blowfish::new_from_slice(&longer).expect("four bytes are a key")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn codec() -> IdCodec {
        IdCodec::new("USING THE DEFAULT IS NOT SECURE!")
    }

    #[test]
    fn ids_look_as_galaxy_makes_them() {
        for (id, encoded) in [
            (1, "f2db41e1fa331b3e"),
            (2, "f597429621d6eb2b"),
            (3, "1cd8e2f6b131e891"),
            (12_345_678, "c6ca0ddb55be603a76ca7b1c3af82659"),
        ] {
            assert_eq!(codec().encode(id), encoded);
            assert_eq!(codec().decode(encoded).expect("valid"), id);
        }
    }

    #[test]
    fn what_is_no_id_is_refused_with_400009() {
        for wrong in [
            "",
            "1",
            "f2db41e1fa331b3",
            "f2db41e1fa331b3f",
            "zzzzzzzzzzzzzzzz",
            "f2db41e1fa331b3ef2db41e1fa331b3e",
        ] {
            let error = codec().decode(wrong).expect_err(wrong);
            assert_eq!((error.status().as_u16(), error.code()), (400, 400_009));
        }
    }

    #[test]
    fn an_id_of_one_kind_is_none_of_another() {
        let drs = codec().kind("drs");
        assert!(codec().decode(&drs.encode(1)).is_err());
        assert_eq!(drs.decode(&drs.encode(1)).expect("its own"), 1);
    }

    proptest! {
        #[test]
        fn every_id_comes_back(id in 1i64..) {
            prop_assert_eq!(codec().decode(&codec().encode(id)).ok(), Some(id));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,60}") {
            let _ = codec().decode(&text);
        }
    }
}
