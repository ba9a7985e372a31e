//! Rearranges a sealed object to the byte order of c2sp.org/chunked-encryption, and back.
//!
//! In: an object, or a message of the standard. Out: the same salt, commitment, ciphertext and tags
//! in the other order. No key is needed and nothing is authenticated: whoever opens the result does
//! that. The context (model id and path) is in neither form.
//!
//! ```text
//!  object:   header(salt, commitment) ‖ ciphertext of all chunks ‖ padding ‖ all tags
//!  standard: salt ‖ commitment ‖ ciphertext and tag of chunk 0 ‖ ciphertext and tag of chunk 1 ‖ …
//! ```
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

use std::io::{self, Write};

use crate::chunked::{CHUNK_LEN, COMMITMENT_LEN, SALT_LEN, TAG_LEN};
use crate::formats::ReadAt;
use crate::header::{CIPHERTEXT_AT, Header, HeaderError, Layout};

const PREFIX_LEN: u64 = (SALT_LEN + COMMITMENT_LEN) as u64;
const SEALED_CHUNK_LEN: u64 = (CHUNK_LEN + TAG_LEN) as u64;

/// Why bytes could not be rearranged.
#[derive(Debug, thiserror::Error)]
pub enum RearrangeError {
    /// The object's header is not sound.
    #[error("the header was refused")]
    Header(#[from] HeaderError),
    /// The object's length does not fit its header.
    #[error("the object has {got} bytes; expected {expected}")]
    Length {
        /// What the header makes.
        expected: u64,
        /// What there is.
        got: u64,
    },
    /// A message of the standard cannot have this length: cut, or no such message.
    #[error(
        "a message of {got} bytes is cut or was never one: its last chunk must be short and have a tag"
    )]
    Truncated {
        /// Bytes of the message.
        got: u64,
    },
    /// The bytes could not be read or written.
    #[error("the bytes could not be read or written")]
    Io(#[from] io::Error),
}

/// Writes the standard's form of an object; returns its length.
///
/// # Errors
/// [`RearrangeError::Io`], [`Header`](RearrangeError::Header), [`Length`](RearrangeError::Length).
pub fn to_c2sp<R: ReadAt + ?Sized>(object: &R, out: &mut dyn Write) -> Result<u64, RearrangeError> {
    let mut header = [0; CIPHERTEXT_AT as usize];
    object.read_exact_at(0, &mut header)?;
    let header = Header::parse(&header)?;
    let bound = HeaderError::PlaintextLen { expected: 0, got: header.plaintext_len };
    let layout = Layout::of(header.plaintext_len).ok_or(bound)?;
    if object.len() != layout.object_len {
        return Err(RearrangeError::Length { expected: layout.object_len, got: object.len() });
    }
    out.write_all(&header.salt)?;
    out.write_all(&header.commitment)?;
    let mut chunk = [0; CHUNK_LEN];
    let mut tag = [0; TAG_LEN];
    for index in 0..layout.chunks {
        let (chunk, _) = chunk.split_at_mut(chunk_len(&layout, index));
        object.read_exact_at(CIPHERTEXT_AT + index * CHUNK_LEN as u64, chunk)?;
        object.read_exact_at(layout.tag_table_at + index * TAG_LEN as u64, &mut tag)?;
        out.write_all(chunk)?;
        out.write_all(&tag)?;
    }
    Ok(PREFIX_LEN + layout.plaintext_len + layout.chunks * TAG_LEN as u64)
}

/// Writes the object of a message of the standard, front to back; returns its length.
///
/// # Errors
/// [`RearrangeError::Truncated`], [`RearrangeError::Io`].
pub fn from_c2sp<R: ReadAt + ?Sized>(
    message: &R,
    out: &mut dyn Write,
) -> Result<u64, RearrangeError> {
    let truncated = || RearrangeError::Truncated { got: message.len() };
    let body = message.len().checked_sub(PREFIX_LEN).ok_or_else(truncated)?;
    // The last chunk has a tag and fewer than 16 KiB; no remainder means that it was cut off.
    let last = (body % SEALED_CHUNK_LEN).checked_sub(TAG_LEN as u64).ok_or_else(truncated)?;
    let plaintext_len = body / SEALED_CHUNK_LEN * CHUNK_LEN as u64 + last;
    let layout = Layout::of(plaintext_len).ok_or_else(truncated)?;
    let (mut salt, mut commitment) = ([0; SALT_LEN], [0; COMMITMENT_LEN]);
    message.read_exact_at(0, &mut salt)?;
    message.read_exact_at(SALT_LEN as u64, &mut commitment)?;
    out.write_all(&Header { plaintext_len, salt, commitment }.to_bytes())?;
    let mut chunk = [0; CHUNK_LEN];
    for index in 0..layout.chunks {
        let (chunk, _) = chunk.split_at_mut(chunk_len(&layout, index));
        message.read_exact_at(PREFIX_LEN + index * SEALED_CHUNK_LEN, chunk)?;
        out.write_all(chunk)?;
    }
    let padding = vec![0; layout.padding_len() as usize]; // Less than a page.
    out.write_all(&padding)?;
    let mut tag = [0; TAG_LEN];
    for index in 0..layout.chunks {
        let len = chunk_len(&layout, index) as u64;
        message.read_exact_at(PREFIX_LEN + index * SEALED_CHUNK_LEN + len, &mut tag)?;
        out.write_all(&tag)?;
    }
    Ok(layout.object_len)
}

/// Bytes of plaintext in one chunk.
fn chunk_len(layout: &Layout, index: u64) -> usize {
    let left = layout.plaintext_len.saturating_sub(index * CHUNK_LEN as u64);
    left.min(CHUNK_LEN as u64) as usize
}
