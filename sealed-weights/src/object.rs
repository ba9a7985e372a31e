//! One sealed object in storage, verified up to its chunks.
//!
//! In: an entry of an authentic manifest, the content key, and the object: in storage, or as it was staged. Out: a
//! [`VerifiedObject`], by which pieces can be opened; length, header, commitment, padding and tag table were
//! checked, in that order, before the first. It writes nothing.
//!
//! Against: objects that are missing, cut, extended, exchanged, linked elsewhere, or that were sealed
//! for another path, model or version. Bytes are read into private memory once and opened there: what
//! storage does to them later has no effect.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

use ring::digest;

use crate::chunked::{CHUNK_LEN, MessageCipher, TAG_LEN};
use crate::error::ObjectError;
use crate::header::{CIPHERTEXT_AT, Header, HeaderError, Layout};
use crate::key::{ContentKey, ModelId};
use crate::limits::MAX_FILE_BYTES;
use crate::manifest::{FileEntry, file_context};
use crate::pieces::Piece;
use crate::storage::{Storage, StoredObject};

/// The layout that a manifest entry's size makes.
pub(crate) fn layout_of(entry: &FileEntry) -> Result<Layout, ObjectError> {
    let bound = HeaderError::PlaintextLen { expected: MAX_FILE_BYTES, got: entry.size };
    Ok(Layout::of(entry.size).ok_or(bound)?)
}

/// Checks 1 and 2 of SPEC.md §7.1: it is there, and as long as the entry's size makes it.
pub(crate) fn find(
    storage: &dyn Storage,
    entry: &FileEntry,
) -> Result<Box<dyn StoredObject>, ObjectError> {
    let stored = storage.open(&entry.path.object_name())?; // 1
    let (expected, got) = (layout_of(entry)?.object_len, stored.len());
    if expected != got {
        return Err(ObjectError::Length { expected, got }); // 2
    }
    Ok(stored)
}

/// An object whose header, padding and tag table belong to the manifest's entry.
pub(crate) struct VerifiedObject {
    cipher: MessageCipher,
    layout: Layout,
}

impl VerifiedObject {
    /// Checks 3 to 7 of SPEC.md §7.1, on what [`find`] found. `header` is what the first page parsed to;
    /// `read_body` reads what follows it: ciphertext, padding, tag table.
    ///
    /// 3. The header. 4. The commitment. 5. Salt and commitment against the manifest. 6. The padding.
    /// 7. The digest of the tag table against the manifest.
    //= sealed-weights/SPEC.md#7.1
    //# A reader MUST make these checks before it opens the first chunk of an object.
    pub(crate) fn verify<E: From<ObjectError>>(
        header: Result<Header, HeaderError>,
        entry: &FileEntry,
        model_id: &ModelId,
        content_key: &ContentKey,
        mut read_body: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let layout = layout_of(entry)?;
        let header = header.map_err(ObjectError::Header)?; // 3
        if header.plaintext_len != entry.size {
            let (expected, got) = (entry.size, header.plaintext_len);
            return Err(ObjectError::Header(HeaderError::PlaintextLen { expected, got }).into());
        }
        let cipher = MessageCipher::derive_committed(
            content_key.expose(),
            &header.salt,
            &file_context(model_id, &entry.path),
            &header.commitment,
        )
        .map_err(ObjectError::Commitment)?; // 4
        for (field, listed) in [
            ("salt", header.salt == entry.salt),
            ("commitment", header.commitment == entry.commitment),
        ] {
            if !listed {
                return Err(ObjectError::NotListed { field }.into()); // 5
            }
        }
        verify_padding(&layout, &mut read_body)?; // 6
        let digest = tag_table_digest(&layout, |at, part| read_body(at - CIPHERTEXT_AT, part))?;
        if digest != entry.tag_table_sha256 {
            return Err(ObjectError::NotListed { field: "tag table" }.into()); // 7
        }
        Ok(Self { cipher, layout })
    }

    /// Where in the body the tags of a piece lie, and how many bytes of them there are.
    pub(crate) fn tags_of(&self, piece: &Piece) -> (u64, usize) {
        let table = self.layout.tag_table_at - CIPHERTEXT_AT;
        (table + piece.first_chunk * TAG_LEN as u64, piece.chunks * TAG_LEN)
    }

    /// Opens a piece in place (check 8). On failure `bytes` hold no plaintext.
    pub(crate) fn open_piece(
        &self,
        piece: &Piece,
        bytes: &mut [u8],
        tags: &[u8],
    ) -> Result<(), ObjectError> {
        let mut chunks = bytes.chunks_mut(CHUNK_LEN);
        let numbered = (piece.first_chunk..).zip(tags.as_chunks::<TAG_LEN>().0);
        let opened = numbered.map(|(index, tag)| {
            // A file of a multiple of 16 KiB ends in a chunk of no bytes that has a tag all the same.
            self.cipher.open(index, chunks.next().unwrap_or_default(), tag)
        });
        let opened = opened.collect::<Result<(), _>>();
        if opened.is_err() {
            bytes.fill(0);
        }
        Ok(opened?)
    }
}

impl std::fmt::Debug for VerifiedObject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VerifiedObject").field("layout", &self.layout).finish_non_exhaustive()
    }
}

/// An object that stays in storage, of which pieces are read when they are wanted.
#[derive(Debug)]
pub(crate) struct SealedObject {
    stored: Box<dyn StoredObject>,
    verified: VerifiedObject,
}

impl SealedObject {
    /// Checks 1 to 7.
    pub(crate) fn open(
        storage: &dyn Storage,
        entry: &FileEntry,
        model_id: &ModelId,
        content_key: &ContentKey,
    ) -> Result<Self, ObjectError> {
        let stored = find(storage, entry)?;
        let header = read_header(stored.as_ref())?;
        let read_body = |at: u64, part: &mut [u8]| -> Result<(), ObjectError> {
            Ok(stored.read_exact_at(CIPHERTEXT_AT + at, part)?)
        };
        let verified = VerifiedObject::verify(header, entry, model_id, content_key, read_body)?;
        Ok(Self { stored, verified })
    }

    /// Bytes of plaintext.
    pub(crate) fn size(&self) -> u64 {
        self.verified.layout.plaintext_len
    }

    /// Reads a piece and opens it in place. On failure `bytes` hold no plaintext.
    pub(crate) fn open_piece(
        &self,
        piece: &Piece,
        bytes: &mut [u8],
        tags: &mut [u8],
    ) -> Result<(), ObjectError> {
        let (tags_at, _) = self.verified.tags_of(piece);
        let read = self
            .stored
            .read_exact_at(CIPHERTEXT_AT + piece.offset, bytes)
            .and_then(|()| self.stored.read_exact_at(CIPHERTEXT_AT + tags_at, tags));
        if let Err(error) = read {
            bytes.fill(0);
            return Err(error.into());
        }
        self.verified.open_piece(piece, bytes, tags)
    }
}

/// The first page. What it parses to is judged by [`VerifiedObject::verify`], in its turn.
pub(crate) fn read_header(
    stored: &dyn StoredObject,
) -> Result<Result<Header, HeaderError>, ObjectError> {
    let mut bytes = [0; CIPHERTEXT_AT as usize];
    stored.read_exact_at(0, &mut bytes)?;
    Ok(Header::parse(&bytes))
}

fn verify_padding<E: From<ObjectError>>(
    layout: &Layout,
    mut read_body: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut padding = [0; CIPHERTEXT_AT as usize];
    // Less than a page: from the end of the ciphertext to the next boundary.
    let (padding, _) = padding.split_at_mut(layout.padding_len() as usize);
    read_body(layout.plaintext_len, padding)?;
    if padding.iter().any(|byte| *byte != 0) {
        return Err(ObjectError::Padding.into());
    }
    Ok(())
}

/// SHA-256 of an object's tag table, read in parts of 64 KiB.
pub(crate) fn tag_table_digest<E>(
    layout: &Layout,
    mut read_exact_at: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
) -> Result<[u8; 32], E> {
    let mut context = digest::Context::new(&digest::SHA256);
    let mut buffer = [0; 64 * 1024];
    let mut at = layout.tag_table_at;
    while at < layout.object_len {
        let len = usize::try_from(layout.object_len - at).unwrap_or(usize::MAX).min(buffer.len());
        let (part, _) = buffer.split_at_mut(len);
        read_exact_at(at, part)?;
        context.update(part);
        at += len as u64;
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    Ok(digest)
}
