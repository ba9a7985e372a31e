//! The one cryptographic primitive: Cobblestone-256, c2sp.org/chunked-encryption with AES-256-GCM
//! and SHA-512.
//!
//! In: an input key, a salt, a context. Out: a cipher for one message that seals or opens chunks of
//! 16 KiB in place, and the commitment. It knows no files and no layout. The only place of the
//! crate that calls an AEAD; whoever wants another library for it changes this file.
//!
//! Against: chunks that are edited, reordered, duplicated or moved between messages (nonce and
//! key), truncation (the last chunk is short), a ciphertext made to open under two keys (the
//! commitment).

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, Tag, UnboundKey};
use ring::hkdf::{HKDF_SHA512, KeyType, Prk};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::limits::MAX_CHUNKS;
use crate::locked_memory::{Wiped, scrub_stack};

/// Plaintext bytes of every chunk but the last, which has fewer.
pub const CHUNK_LEN: usize = 16 * 1024;
/// Bytes of an authentication tag.
pub const TAG_LEN: usize = 16;
/// Bytes of a salt.
pub const SALT_LEN: usize = 24;
/// Bytes of a commitment.
pub const COMMITMENT_LEN: usize = 32;

const KEY_LEN: usize = 32;
const NONCE_LEN: usize = 12;
const INFO_PREFIX: &[u8] = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0";

/// A salt: random, once per message.
pub type Salt = [u8; SALT_LEN];
/// A commitment to key, salt and context.
pub type Commitment = [u8; COMMITMENT_LEN];

/// A chunk that is not what was sealed at its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// The tag does not fit the bytes, the key or the place.
    #[error("chunk {index} is not authentic")]
    NotAuthentic {
        /// Number of the chunk, from 0.
        index: u64,
    },
    /// The message would have 2^38 chunks or more.
    #[error("chunk {index} lies past the end that the construction allows")]
    TooMany {
        /// Number of the chunk, from 0.
        index: u64,
    },
}

/// The chunks of a message of `len` plaintext bytes: full ones, then one short one, maybe empty.
pub fn chunk_count(len: u64) -> u64 {
    len / CHUNK_LEN as u64 + 1
}

/// The expected commitment does not equal the one that was sent along: another key, another salt,
/// another context, or an edited commitment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the commitment does not fit the key and the place of this message")]
pub struct CommitmentMismatch;

/// Seals and opens the chunks of one message.
pub(crate) struct MessageCipher {
    key: Wiped<LessSafeKey>,
    base_nonce: Zeroizing<[u8; NONCE_LEN]>,
}

impl MessageCipher {
    /// For sealing: derives the message's keys, and the commitment that goes with it.
    //= sealed-weights/SPEC.md#3.1
    //# key ‖ base nonce ‖ commitment = HKDF-Expand-SHA512(PRK = input key, info = prefix ‖ salt ‖ context, L = 76)
    pub(crate) fn derive(input_key: &[u8], salt: &Salt, context: &[u8]) -> (Self, Commitment) {
        struct Length;
        impl KeyType for Length {
            fn len(&self) -> usize {
                KEY_LEN + NONCE_LEN + COMMITMENT_LEN
            }
        }
        let mut derived = Zeroizing::new([0; KEY_LEN + NONCE_LEN + COMMITMENT_LEN]);
        let prk = Prk::new_less_safe(HKDF_SHA512, input_key);
        prk.expand(&[INFO_PREFIX, salt, context], Length)
            .and_then(|okm| okm.fill(derived.as_mut()))
            .expect("76 bytes are within HKDF-SHA512's 16,320 and the buffer has that length");
        drop(Wiped::new(prk));
        let (key, rest) = derived.split_at(KEY_LEN);
        let (base_nonce, committed) = rest.split_at(NONCE_LEN);
        let mut nonce = Zeroizing::new([0; NONCE_LEN]);
        nonce.copy_from_slice(base_nonce);
        let mut commitment = [0; COMMITMENT_LEN];
        commitment.copy_from_slice(committed);
        let key = UnboundKey::new(&AES_256_GCM, key).expect("AES-256 takes these 32 bytes");
        (Self { key: Wiped::new(LessSafeKey::new(key)), base_nonce: nonce }, commitment)
    }

    /// For opening: as [`derive`](Self::derive), and refuses before any chunk can be opened.
    //= sealed-weights/SPEC.md#3.2
    //# A reader MUST compare the commitment in constant time before it opens any chunk.
    pub(crate) fn derive_committed(
        input_key: &[u8],
        salt: &Salt,
        context: &[u8],
        commitment: &Commitment,
    ) -> Result<Self, CommitmentMismatch> {
        let (cipher, expected) = Self::derive(input_key, salt, context);
        if bool::from(expected.ct_eq(commitment)) { Ok(cipher) } else { Err(CommitmentMismatch) }
    }

    /// Seals one chunk in place; the tag goes into the table.
    pub(crate) fn seal(&self, index: u64, chunk: &mut [u8]) -> Result<[u8; TAG_LEN], ChunkError> {
        let nonce = self.nonce(index)?;
        let tag = self
            .key
            .get()
            .seal_in_place_separate_tag(nonce, Aad::empty(), chunk)
            .map_err(|_| ChunkError::TooMany { index })?;
        let mut bytes = [0; TAG_LEN];
        bytes.copy_from_slice(tag.as_ref());
        Ok(bytes)
    }

    /// Opens one chunk in place. On failure the bytes are zeroed and must not be used.
    pub(crate) fn open(
        &self,
        index: u64,
        chunk: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), ChunkError> {
        let nonce = self.nonce(index)?;
        let opened = self.key.get().open_in_place_separate_tag(
            nonce,
            Aad::empty(),
            Tag::from(*tag),
            chunk,
            0..,
        );
        if opened.is_err() {
            chunk.fill(0);
            return Err(ChunkError::NotAuthentic { index });
        }
        Ok(())
    }

    //= sealed-weights/SPEC.md#3.3
    //# The nonce of chunk i is the base nonce XOR i as a 96-bit big-endian integer.
    fn nonce(&self, index: u64) -> Result<Nonce, ChunkError> {
        if index >= MAX_CHUNKS {
            return Err(ChunkError::TooMany { index });
        }
        let mut nonce = *self.base_nonce;
        for (byte, counter) in nonce.iter_mut().skip(NONCE_LEN - 8).zip(index.to_be_bytes()) {
            *byte ^= counter;
        }
        Ok(Nonce::assume_unique_for_key(nonce))
    }
}

impl Drop for MessageCipher {
    fn drop(&mut self) {
        // The key schedule is wiped by its own drop; this clears what ring's calls left on the stack.
        scrub_stack();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    mod wycheproof;

    fn cipher() -> MessageCipher {
        MessageCipher::derive(&[1; 32], &[2; 24], b"context").0
    }

    #[test]
    fn the_last_chunk_is_always_short() {
        for (len, chunks) in [(0, 1), (1, 1), (16383, 1), (16384, 2), (16385, 2), (32768, 3)] {
            assert_eq!(chunk_count(len), chunks, "{len}");
        }
    }

    #[test]
    fn a_chunk_opens_at_its_own_number_only() {
        let mut chunk = *b"some bytes";
        let tag = cipher().seal(3, &mut chunk).unwrap();
        let mut moved = chunk;
        assert_eq!(cipher().open(4, &mut moved, &tag), Err(ChunkError::NotAuthentic { index: 4 }));
        assert_eq!(moved, [0; 10]);
        cipher().open(3, &mut chunk, &tag).unwrap();
        assert_eq!(&chunk, b"some bytes");
    }

    #[test]
    fn the_counter_stops_where_the_construction_stops() {
        assert!(cipher().seal(MAX_CHUNKS - 1, &mut []).is_ok());
        assert_eq!(
            cipher().seal(MAX_CHUNKS, &mut []),
            Err(ChunkError::TooMany { index: MAX_CHUNKS })
        );
        assert_eq!(
            cipher().open(u64::MAX, &mut [], &[0; 16]),
            Err(ChunkError::TooMany { index: u64::MAX })
        );
    }

    #[test]
    fn another_key_salt_context_or_commitment_is_refused_before_a_chunk() {
        let (_, good) = MessageCipher::derive(&[1; 32], &[2; 24], b"context");
        let mut edited = good;
        edited[31] ^= 1;
        for (key, salt, context, commitment) in [
            ([9; 32], [2; 24], &b"context"[..], good),
            ([1; 32], [9; 24], b"context", good),
            ([1; 32], [2; 24], b"contexT", good),
            ([1; 32], [2; 24], b"context", edited),
        ] {
            assert_eq!(
                MessageCipher::derive_committed(&key, &salt, context, &commitment).err(),
                Some(CommitmentMismatch)
            );
        }
        assert!(MessageCipher::derive_committed(&[1; 32], &[2; 24], b"context", &good).is_ok());
    }
}
