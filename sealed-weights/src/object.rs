//! One sealed object in storage, verified up to its chunks.
//!
//! In: the folder of the sealed model, an entry of an authentic manifest, the content key. Out: a
//! [`SealedObject`] of which pieces can be opened; its length, header, commitment and tag table
//! were checked, in that order, before the first. It writes nothing.
//!
//! Against: objects that are missing, cut, extended, exchanged, linked elsewhere, or that were sealed
//! for another path, model or version. Bytes are read into private memory once and opened there: what
//! storage does to them later has no effect.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use ring::digest;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::chunked::{CHUNK_LEN, MessageCipher, TAG_LEN};
use crate::error::ObjectError;
use crate::header::{CIPHERTEXT_AT, Header, HeaderError, Layout};
use crate::key::{ContentKey, ModelId};
use crate::limits::MAX_FILE_BYTES;
use crate::manifest::{FileEntry, file_context};
use crate::pieces::Piece;

/// An object whose header and tag table belong to the manifest's entry.
pub(crate) struct SealedObject {
    file: File,
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
        folder: &OwnedFd,
        entry: &FileEntry,
        model_id: &ModelId,
        content_key: &ContentKey,
    ) -> Result<Self, ObjectError> {
        let file = find(folder, &entry.path.object_name())?; // 1
        let bound = HeaderError::PlaintextLen { expected: MAX_FILE_BYTES, got: entry.size };
        let layout = Layout::of(entry.size).ok_or(bound)?;
        let metadata = file.metadata().map_err(ObjectError::Read)?;
        if !metadata.is_file() {
            return Err(ObjectError::NotAFile);
        }
        if metadata.len() != layout.object_len {
            return Err(ObjectError::Length { expected: layout.object_len, got: metadata.len() }); // 2
        }
        let mut bytes = [0; CIPHERTEXT_AT as usize];
        file.read_exact_at(&mut bytes, 0).map_err(ObjectError::Read)?;
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
        verify_padding(&file, &layout)?; // 6
        if tag_table_digest(&file, &layout).map_err(ObjectError::Read)? != entry.tag_table_sha256 {
            return Err(ObjectError::NotListed { field: "tag table" }); // 7
        }
        Ok(Self { file, cipher, layout })
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
        self.file.read_exact_at(bytes, CIPHERTEXT_AT + piece.offset).map_err(ObjectError::Read)?;
        let tags_at = self.layout.tag_table_at + piece.first_chunk * TAG_LEN as u64;
        self.file.read_exact_at(tags, tags_at).map_err(ObjectError::Read)?;
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

/// Opens an object below `folder` without following a link in any component.
fn find(folder: &OwnedFd, name: &str) -> Result<File, ObjectError> {
    let open = |folder: &OwnedFd, name: &str, flags: OFlags| {
        // Non-blocking: a pipe in the place of an object must not stop the reader.
        let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        rustix::fs::openat(folder, name, flags, Mode::empty()).map_err(|error| match error {
            Errno::NOENT => ObjectError::Missing,
            Errno::LOOP | Errno::NOTDIR | Errno::NXIO => ObjectError::NotAFile,
            other => ObjectError::Read(other.into()),
        })
    };
    let mut parent: Option<OwnedFd> = None;
    let mut components = name.split('/').peekable();
    while let Some(component) = components.next() {
        let at = parent.as_ref().unwrap_or(folder);
        if components.peek().is_none() {
            return open(at, component, OFlags::empty()).map(File::from);
        }
        parent = Some(open(at, component, OFlags::DIRECTORY)?);
    }
    Err(ObjectError::Missing)
}

fn verify_padding(file: &File, layout: &Layout) -> Result<(), ObjectError> {
    let mut padding = [0; CIPHERTEXT_AT as usize];
    // Less than a page: from the end of the ciphertext to the next boundary.
    let (padding, _) = padding.split_at_mut(layout.padding_len() as usize);
    file.read_exact_at(padding, CIPHERTEXT_AT + layout.plaintext_len).map_err(ObjectError::Read)?;
    if padding.iter().any(|byte| *byte != 0) {
        return Err(ObjectError::Padding);
    }
    Ok(())
}

/// SHA-256 of an object's tag table, read in parts of 64 KiB.
pub(crate) fn tag_table_digest(file: &File, layout: &Layout) -> io::Result<[u8; 32]> {
    let mut context = digest::Context::new(&digest::SHA256);
    let mut buffer = [0; 64 * 1024];
    let mut at = layout.tag_table_at;
    while at < layout.object_len {
        let len = usize::try_from(layout.object_len - at).unwrap_or(usize::MAX).min(buffer.len());
        let (part, _) = buffer.split_at_mut(len);
        file.read_exact_at(part, at)?;
        context.update(part);
        at += len as u64;
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    Ok(digest)
}
