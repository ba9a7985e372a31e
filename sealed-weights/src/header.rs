//! The layout of a sealed object: header, ciphertext, padding, tag table. SPEC.md §6.
//!
//! In: the first 4096 bytes of an object, or a plaintext length. Out: a [`Header`], or the offsets
//! of everything. It opens nothing. The ciphertext begins at a page boundary and is exactly as
//! long as the plaintext, so that it can be read straight into its destination and opened there.
//!
//! Against: other versions read as this one, lengths made up by the store, bytes hidden where
//! nobody looks.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

use crate::chunked::{CHUNK_LEN, COMMITMENT_LEN, Commitment, SALT_LEN, Salt, TAG_LEN, chunk_count};
use crate::limits::MAX_FILE_BYTES;

/// Bytes of the header, and the alignment of ciphertext and tag table.
pub const PAGE: u64 = 4096;
/// The first bytes of every sealed object. As in PNG, the line ends show a transfer in text mode.
pub const MAGIC: [u8; 8] = *b"\x89ADY\r\n\x1a\n";
/// The version that this crate reads and writes.
pub const VERSION: u32 = 1;

const HEADER_LEN: usize = 4096;
const VERSION_AT: usize = 8;
const CHUNK_LEN_AT: usize = 12;
const PLAINTEXT_LEN_AT: usize = 16;
const SALT_AT: usize = 24;
const COMMITMENT_AT: usize = SALT_AT + SALT_LEN;
const ZERO_AT: usize = COMMITMENT_AT + COMMITMENT_LEN;

/// Why a header was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Not a sealed object.
    #[error("the object does not begin with the magic of a sealed object")]
    Magic,
    /// A version that this reader does not know.
    #[error("the object is of version {got}; expected {VERSION}")]
    Version {
        /// What the header says.
        got: u32,
    },
    /// Another chunk size than the construction has.
    #[error("the object has chunks of {got} bytes; expected {CHUNK_LEN}")]
    ChunkLen {
        /// What the header says.
        got: u32,
    },
    /// A length over the bound, or another than the manifest's.
    #[error("the header says {got} bytes of plaintext; expected {expected}")]
    PlaintextLen {
        /// What the manifest says, or the bound.
        expected: u64,
        /// What the header says.
        got: u64,
    },
    /// The rest of the header is not zero.
    #[error("byte {at} of the header is not zero")]
    NotZero {
        /// Offset of the first such byte.
        at: usize,
    },
}

/// The header of one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Bytes of plaintext, and of ciphertext.
    pub plaintext_len: u64,
    /// Makes the message's keys unique.
    pub salt: Salt,
    /// Commits to input key, salt and context.
    pub commitment: Commitment,
}

/// Where the parts of an object lie, from its plaintext length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Bytes of plaintext, and of ciphertext.
    pub plaintext_len: u64,
    /// Number of chunks and of tags.
    pub chunks: u64,
    /// Offset of the first tag.
    pub tag_table_at: u64,
    /// Bytes of the whole object.
    pub object_len: u64,
}

/// Offset of the ciphertext.
pub const CIPHERTEXT_AT: u64 = PAGE;

impl Layout {
    /// The layout of an object with so many bytes of plaintext; `None` over the bound.
    pub fn of(plaintext_len: u64) -> Option<Self> {
        if plaintext_len > MAX_FILE_BYTES {
            return None;
        }
        let chunks = chunk_count(plaintext_len);
        let tag_table_at = (CIPHERTEXT_AT + plaintext_len).next_multiple_of(PAGE);
        let object_len = tag_table_at + chunks * TAG_LEN as u64;
        Some(Self { plaintext_len, chunks, tag_table_at, object_len })
    }

    /// Bytes of zero between ciphertext and tag table.
    pub fn padding_len(&self) -> u64 {
        self.tag_table_at - CIPHERTEXT_AT - self.plaintext_len
    }
}

impl Header {
    /// Parses the first 4096 bytes of an object.
    ///
    /// # Errors
    /// [`HeaderError`], in the order of its variants.
    //= sealed-weights/SPEC.md#6.1
    //# A reader MUST refuse another magic, version or chunk size, a plaintext length above the bound, and any byte after the commitment that is not zero.
    pub fn parse(bytes: &[u8; HEADER_LEN]) -> Result<Self, HeaderError> {
        if !bytes.starts_with(&MAGIC) {
            return Err(HeaderError::Magic);
        }
        let version = u32::from_le_bytes(field(bytes, VERSION_AT));
        if version != VERSION {
            return Err(HeaderError::Version { got: version });
        }
        let chunk_len = u32::from_le_bytes(field(bytes, CHUNK_LEN_AT));
        if usize::try_from(chunk_len) != Ok(CHUNK_LEN) {
            return Err(HeaderError::ChunkLen { got: chunk_len });
        }
        let plaintext_len = u64::from_le_bytes(field(bytes, PLAINTEXT_LEN_AT));
        if plaintext_len > MAX_FILE_BYTES {
            return Err(HeaderError::PlaintextLen { expected: MAX_FILE_BYTES, got: plaintext_len });
        }
        let reserved = bytes.iter().enumerate().skip(ZERO_AT);
        if let Some((at, _)) = reserved.into_iter().find(|(_, byte)| **byte != 0) {
            return Err(HeaderError::NotZero { at });
        }
        let (salt, commitment) = (field(bytes, SALT_AT), field(bytes, COMMITMENT_AT));
        Ok(Self { plaintext_len, salt, commitment })
    }

    /// The 4096 bytes.
    pub fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        let mut put = |at: usize, field: &[u8]| {
            bytes.iter_mut().skip(at).zip(field).for_each(|(to, from)| *to = *from);
        };
        put(0, &MAGIC);
        put(VERSION_AT, &VERSION.to_le_bytes());
        put(CHUNK_LEN_AT, &(CHUNK_LEN as u32).to_le_bytes());
        put(PLAINTEXT_LEN_AT, &self.plaintext_len.to_le_bytes());
        put(SALT_AT, &self.salt);
        put(COMMITMENT_AT, &self.commitment);
        bytes
    }
}

/// Offsets are constants within a fixed-size header; a wrong one would not get past the tests.
fn field<const N: usize>(bytes: &[u8; HEADER_LEN], at: usize) -> [u8; N] {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk());
    found.copied().unwrap_or([0xFF; N])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header { plaintext_len: 0x0102_0304_0506, salt: [7; 24], commitment: [9; 32] }
    }

    #[test]
    fn a_header_keeps_its_fields_at_the_offsets_of_the_specification() {
        let bytes = header().to_bytes();
        assert_eq!(bytes[..8], [0x89, b'A', b'D', b'Y', 13, 10, 26, 10]);
        assert_eq!(bytes[8..16], [1, 0, 0, 0, 0, 0x40, 0, 0]);
        assert_eq!(bytes[16..24], [6, 5, 4, 3, 2, 1, 0, 0]);
        assert_eq!((&bytes[24..48], &bytes[48..80]), (&[7; 24][..], &[9; 32][..]));
        assert_eq!(Header::parse(&bytes), Ok(header()));
    }

    #[test]
    fn each_field_is_refused_when_it_is_wrong() {
        let edited = |at: usize, value: u8| {
            let mut bytes = header().to_bytes();
            bytes[at] = value;
            Header::parse(&bytes).map(|_| ())
        };
        assert_eq!(edited(0, 0), Err(HeaderError::Magic));
        assert_eq!(edited(7, 0), Err(HeaderError::Magic));
        assert_eq!(edited(8, 2), Err(HeaderError::Version { got: 2 }));
        assert_eq!(edited(13, 0x80), Err(HeaderError::ChunkLen { got: 0x8000 }));
        assert!(matches!(edited(23, 0xFF), Err(HeaderError::PlaintextLen { .. })));
        for at in [80, 81, 4095] {
            assert_eq!(edited(at, 1), Err(HeaderError::NotZero { at }));
        }
    }

    #[test]
    fn the_layout_follows_from_the_length_alone() {
        for (len, chunks, tag_table_at, object_len) in [
            (0, 1, 4096, 4112),
            (1, 1, 8192, 8208),
            (4096, 1, 8192, 8208),
            (16384, 2, 20480, 20512),
            (16385, 2, 24576, 24608),
        ] {
            let layout = Layout { plaintext_len: len, chunks, tag_table_at, object_len };
            assert_eq!(Layout::of(len), Some(layout));
        }
        assert_eq!(Layout::of(MAX_FILE_BYTES).map(|l| l.chunks), Some(1 << 38));
        assert_eq!(Layout::of(MAX_FILE_BYTES + 1), None);
        assert_eq!(Layout::of(u64::MAX), None);
    }
}
