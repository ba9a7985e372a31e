//! One sealed object in storage, verified up to its chunks.
//!
//! In: the storage of the sealed model, an entry of an authentic manifest, the content key. Out: a
//! [`SealedObject`] of which pieces can be opened; its length, header, commitment and tag table
//! were checked, in that order, before the first. It writes nothing.
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

/// An object whose header and tag table belong to the manifest's entry.
pub(crate) struct SealedObject {
    stored: Box<dyn StoredObject>,
    cipher: MessageCipher,
    layout: Layout,
}

impl SealedObject {
    /// 1. Finds the object. 2. Compares its length. 3. Parses its header. 4. Verifies the commitment.
    /// 5. Compares salt and commitment with the manifest. 6. Looks at the padding. 7. Compares the
    ///    digest of the tag table with the manifest.
    //= sealed-weights/SPEC.md#7.1
    //# A reader MUST make these checks before it opens the first chunk of an object.
    pub(crate) fn open(
        storage: &dyn Storage,
        entry: &FileEntry,
        model_id: &ModelId,
        content_key: &ContentKey,
    ) -> Result<Self, ObjectError> {
        let stored = storage.open(&entry.path.object_name())?; // 1
        let bound = HeaderError::PlaintextLen { expected: MAX_FILE_BYTES, got: entry.size };
        let layout = Layout::of(entry.size).ok_or(bound)?;
        if stored.len() != layout.object_len {
            let (expected, got) = (layout.object_len, stored.len());
            return Err(ObjectError::Length { expected, got }); // 2
        }
        let mut bytes = [0; CIPHERTEXT_AT as usize];
        stored.read_exact_at(0, &mut bytes)?;
        let header = Header::parse(&bytes)?; // 3
        if header.plaintext_len != entry.size {
            let (expected, got) = (entry.size, header.plaintext_len);
            return Err(HeaderError::PlaintextLen { expected, got }.into());
        }
        let cipher = MessageCipher::derive_committed(
            content_key.expose(),
            &header.salt,
            &file_context(model_id, &entry.path),
            &header.commitment,
        )?; // 4
        for (field, listed) in [
            ("salt", header.salt == entry.salt),
            ("commitment", header.commitment == entry.commitment),
        ] {
            if !listed {
                return Err(ObjectError::NotListed { field }); // 5
            }
        }
        verify_padding(stored.as_ref(), &layout)?; // 6
        let digest = tag_table_digest(&layout, |at, part| stored.read_exact_at(at, part))?;
        if digest != entry.tag_table_sha256 {
            return Err(ObjectError::NotListed { field: "tag table" }); // 7
        }
        Ok(Self { stored, cipher, layout })
    }

    /// Bytes of plaintext.
    pub(crate) fn size(&self) -> u64 {
        self.layout.plaintext_len
    }

    /// Reads a piece and opens it in place. On failure `bytes` hold no plaintext.
    pub(crate) fn open_piece(
        &self,
        piece: &Piece,
        bytes: &mut [u8],
        tags: &mut [u8],
    ) -> Result<(), ObjectError> {
        let opened = self.read_piece(piece, bytes, tags);
        if opened.is_err() {
            bytes.fill(0);
        }
        opened
    }

    fn read_piece(
        &self,
        piece: &Piece,
        bytes: &mut [u8],
        tags: &mut [u8],
    ) -> Result<(), ObjectError> {
        self.stored.read_exact_at(CIPHERTEXT_AT + piece.offset, bytes)?;
        let tags_at = self.layout.tag_table_at + piece.first_chunk * TAG_LEN as u64;
        self.stored.read_exact_at(tags_at, tags)?;
        let mut chunks = bytes.chunks_mut(CHUNK_LEN);
        for (index, tag) in (piece.first_chunk..).zip(tags.as_chunks::<TAG_LEN>().0) {
            // A file of a multiple of 16 KiB ends in a chunk of no bytes that has a tag all the same.
            self.cipher.open(index, chunks.next().unwrap_or_default(), tag)?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for SealedObject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealedObject").field("layout", &self.layout).finish_non_exhaustive()
    }
}

fn verify_padding(stored: &dyn StoredObject, layout: &Layout) -> Result<(), ObjectError> {
    let mut padding = [0; CIPHERTEXT_AT as usize];
    // Less than a page: from the end of the ciphertext to the next boundary.
    let (padding, _) = padding.split_at_mut(layout.padding_len() as usize);
    stored.read_exact_at(CIPHERTEXT_AT + layout.plaintext_len, padding)?;
    if padding.iter().any(|byte| *byte != 0) {
        return Err(ObjectError::Padding);
    }
    Ok(())
}

/// SHA-256 of an object's tag table, read in parts of 64 KiB.
pub(crate) fn tag_table_digest<E>(
    layout: &Layout,
    read_exact_at: impl Fn(u64, &mut [u8]) -> Result<(), E>,
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
