//! Reads exact ranges of one sealed file: constant memory, nothing kept.
//!
//! In: an object that was verified up to its chunks. Out: authentic plaintext in the caller's
//! buffer, and nowhere else: what is read beyond the range goes into a buffer that is wiped.
//!
//! A range authenticates its own chunks. That the file has not been cut follows from the manifest,
//! which fixes its size and the digest of its tag table.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

use std::cell::RefCell;
use std::io;

use zeroize::Zeroizing;

use crate::chunked::{CHUNK_LEN, TAG_LEN};
use crate::error::{ObjectError, OpenError};
use crate::formats::{ReadAt, RiskyFormat};
use crate::manifest::FileEntry;
use crate::object::SealedObject;
use crate::opening::verify_format;
use crate::path::ModelPath;
use crate::pieces::{CHUNKS_PER_PIECE, Piece};

/// Reads authentic plaintext of one file at any offset. Shared by threads without a lock.
#[derive(Debug)]
pub struct RangeReader {
    path: ModelPath,
    object: SealedObject,
}

impl RangeReader {
    /// Verifies what the file is before any of it can be read.
    pub(crate) fn open(
        object: SealedObject,
        entry: &FileEntry,
        allowed: &[RiskyFormat],
    ) -> Result<Self, OpenError> {
        let reader = Self { path: entry.path.clone(), object };
        let contents = Inspected { reader: &reader, refused: RefCell::new(None) };
        let verified = verify_format(entry, &contents, allowed);
        // A chunk that is not authentic is that, and no fault of the format that met it.
        if let Some(error) = contents.refused.into_inner() {
            return Err(error);
        }
        verified?;
        Ok(reader)
    }

    /// Bytes of the file.
    pub fn size(&self) -> u64 {
        self.object.size()
    }

    /// The file's path in the model.
    pub fn path(&self) -> &ModelPath {
        &self.path
    }

    /// Fills `buffer` with the plaintext at `offset`.
    ///
    /// # Errors
    /// [`OpenError::Range`] when the range does not lie within the file; [`OpenError::Object`]
    /// when a chunk is not authentic. `buffer` is zero after an error.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), OpenError> {
        let len = buffer.len() as u64;
        if offset.checked_add(len).is_none_or(|end| end > self.size()) {
            buffer.fill(0);
            let path = self.path.clone();
            return Err(OpenError::Range { path, offset, len, size: self.size() });
        }
        self.fill(offset, buffer).map_err(|source| {
            buffer.fill(0);
            OpenError::Object { path: self.path.clone(), source }
        })
    }

    /// The range is within the file.
    fn fill(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ObjectError> {
        let mut tags = [0; CHUNKS_PER_PIECE * TAG_LEN];
        let mut scratch = Zeroizing::new(Vec::new());
        let (mut at, mut rest) = (offset, buffer);
        while !rest.is_empty() {
            let first_chunk = at / CHUNK_LEN as u64;
            let inside = (at % CHUNK_LEN as u64) as usize;
            let whole = if inside == 0 { rest.len() / CHUNK_LEN } else { 0 };
            let done = if whole > 0 {
                // Whole chunks are opened where they belong.
                let piece = self.run(first_chunk, whole.min(CHUNKS_PER_PIECE));
                let (tags, _) = tags.split_at_mut(piece.chunks * TAG_LEN);
                let (bytes, _) = rest.split_at_mut(piece.len);
                self.object.open_piece(&piece, bytes, tags)?;
                piece.len
            } else {
                // A part of a chunk goes through a buffer of one chunk.
                let piece = self.run(first_chunk, 1);
                scratch.resize(CHUNK_LEN, 0);
                let (tags, _) = tags.split_at_mut(TAG_LEN);
                let (bytes, _) = scratch.split_at_mut(piece.len);
                self.object.open_piece(&piece, bytes, tags)?;
                let wanted = bytes.get(inside..).unwrap_or_default();
                let len = wanted.len().min(rest.len());
                let ((to, _), (from, _)) = (rest.split_at_mut(len), wanted.split_at(len));
                to.copy_from_slice(from);
                len
            };
            at += done as u64;
            rest = rest.split_at_mut(done).1;
        }
        Ok(())
    }

    /// `chunks` chunks from `first_chunk`, as far as the file goes.
    fn run(&self, first_chunk: u64, chunks: usize) -> Piece {
        let offset = first_chunk * CHUNK_LEN as u64;
        let left = self.size().saturating_sub(offset);
        let len = left.min((chunks * CHUNK_LEN) as u64) as usize;
        Piece { first_chunk, chunks, offset, len }
    }
}

/// A reader whose plaintext nobody has seen yet, and its first refusal.
struct Inspected<'a> {
    reader: &'a RangeReader,
    refused: RefCell<Option<OpenError>>,
}

impl ReadAt for Inspected<'_> {
    fn len(&self) -> u64 {
        self.reader.size()
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        match self.reader.read_at(offset, buffer) {
            Ok(()) => Ok(()),
            Err(OpenError::Range { .. }) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) => {
                self.refused.borrow_mut().get_or_insert(error);
                Err(io::ErrorKind::InvalidData.into())
            }
        }
    }
}
