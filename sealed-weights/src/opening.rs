//! Opens pieces where they lie: the work of the threads that have the content key.
//!
//! In: an authentic manifest, the content key, and ciphertext, from storage ([`Direct`]) or as it was staged
//! ([`FromStaged`]). Out: files of the destination, each named when its last chunk is authentic and its format verified.
//! Both ways make the same checks in the same order; *direct* reads a piece and opens it while it is in the
//! cache, *staged* finds it where it will stay.
//!
//! Against: everything that whoever stores the model can do to it.

use crate::chunked::TAG_LEN;
use crate::destination::{Destination, Fault, Part};
use crate::error::{ObjectError, OpenError};
use crate::formats::{self, FormatError};
use crate::header::CIPHERTEXT_AT;
use crate::key::ContentKey;
use crate::manifest::{FileEntry, Manifest};
use crate::measure::{Follower, Measures};
use crate::object::{VerifiedObject, find, layout_of, read_header};
use crate::pieces::{CHUNKS_PER_PIECE, Piece, PieceBuffer, Work};
use crate::progress::Progress;
use crate::stage::{Claimed, Shared, StagingEnded, copy_tail, read_piece, read_whole};
use crate::storage::{Storage, StoredObject};

/// What every opener has.
#[derive(Clone, Copy)]
pub(crate) struct Opener<'a> {
    pub(crate) manifest: &'a Manifest,
    pub(crate) content_key: &'a ContentKey,
    pub(crate) destination: &'a Destination,
    pub(crate) progress: &'a dyn Progress,
    /// Where digests go, when somebody asked for them.
    pub(crate) measures: Option<&'a Measures>,
}

/// Why an opener stopped: a refusal, or the staging ended under it.
#[derive(Debug)]
pub(crate) enum Stopped {
    Refused(OpenError),
    StagingEnded,
}

impl From<OpenError> for Stopped {
    fn from(error: OpenError) -> Self {
        Self::Refused(error)
    }
}

impl From<StagingEnded> for Stopped {
    fn from(StagingEnded: StagingEnded) -> Self {
        Self::StagingEnded
    }
}

impl<'a> Opener<'a> {
    fn entry(&self, index: usize) -> Result<&'a FileEntry, OpenError> {
        let missing = || OpenError::NoSuchFile { path: format!("number {index}") };
        self.manifest.files().get(index).ok_or_else(missing)
    }

    /// Checks 3 to 7 of an object whose tail lies in its part.
    fn verify_part(
        &self,
        claimed: Claimed,
        entry: &FileEntry,
        part: &Part<'_>,
    ) -> Result<VerifiedObject, Fault> {
        let read_body = |at: u64, bytes: &mut [u8]| Ok(part.read_tail(at, bytes)?);
        let (id, key) = (&self.manifest.model_id(), self.content_key);
        VerifiedObject::verify(claimed, entry, id, key, read_body)
    }

    /// Checks 3 to 8 of an object of one piece, and its format; gives back its plaintext.
    fn open_small<'b>(
        &self,
        claimed: Claimed,
        index: usize,
        entry: &FileEntry,
        body: &'b mut [u8],
    ) -> Result<&'b [u8], OpenError> {
        let opened = self.open_body(claimed, entry, body).map_err(|fault| fault.of(entry));
        if opened.is_err() {
            body.fill(0);
        }
        let plaintext = body.split_at(opened?).0;
        verify_format(entry, plaintext, self.manifest.allowed_formats())?;
        if let Some(measures) = self.measures {
            measures.whole(index, plaintext);
        }
        Ok(plaintext)
    }

    fn open_body(
        &self,
        claimed: Claimed,
        entry: &FileEntry,
        body: &mut [u8],
    ) -> Result<usize, Fault> {
        let cut = || Fault::Object(ObjectError::Length { expected: entry.size, got: 0 });
        let read_body = |at: u64, bytes: &mut [u8]| {
            let from = usize::try_from(at).ok().and_then(|at| body.get(at..)?.get(..bytes.len()));
            bytes.copy_from_slice(from.ok_or_else(cut)?);
            Ok(())
        };
        let (id, key) = (&self.manifest.model_id(), self.content_key);
        let object = VerifiedObject::verify::<Fault>(claimed, entry, id, key, read_body)?;
        let piece = Piece::of(entry.size, 0);
        let (tags_at, tags_len) = object.tags_of(&piece);
        let tags_at = usize::try_from(tags_at).unwrap_or(usize::MAX);
        let (bytes, tags) = body.split_at_mut_checked(tags_at).ok_or_else(cut)?;
        let bytes = bytes.get_mut(..piece.len).ok_or_else(cut)?;
        object.open_piece(&piece, bytes, tags.get(..tags_len).ok_or_else(cut)?)?;
        Ok(piece.len)
    }

    fn follower(&self, entry: &FileEntry) -> Option<Follower> {
        self.measures.map(|measures| measures.follow(entry.size))
    }

    /// Check 8 of one piece whose bytes are in `bytes` and whose tags are in its part.
    fn open_piece(
        &self,
        object: &VerifiedObject,
        part: &Part<'_>,
        piece: &Piece,
        bytes: &mut [u8],
    ) -> Result<(), Fault> {
        let mut tags = [0; CHUNKS_PER_PIECE * TAG_LEN];
        let (at, len) = object.tags_of(piece);
        let (tags, _) = tags.split_at_mut(len.min(CHUNKS_PER_PIECE * TAG_LEN));
        part.read_tail(at, tags)?;
        Ok(object.open_piece(piece, bytes, tags)?)
    }

    /// All chunks are authentic: cuts the tail off, verifies the format, gives the file its name.
    fn finish<S>(&self, file: &OpeningFile<'_, S>, part: &Part<'_>) -> Result<(), OpenError> {
        let (index, entry) = (file.index, file.entry);
        if let (Some(measures), Some(follower)) = (self.measures, &file.follower) {
            measures.finish(index, follower);
        }
        part.seal_off()?;
        let allowed = self.manifest.allowed_formats();
        part.with_plaintext(|contents| verify_format(entry, contents, allowed))??;
        Ok(self.destination.name(index, part, &entry.path)?)
    }
}

/// Straight from storage, with the key at hand.
pub(crate) struct Direct<'a> {
    pub(crate) opener: Opener<'a>,
    pub(crate) storage: &'a dyn Storage,
}

/// One file on its way, from storage (`S` is the object) or from what was staged (`S` is nothing).
pub(crate) struct OpeningFile<'a, S> {
    index: usize,
    entry: &'a FileEntry,
    /// Nothing for an object of one piece, which is opened as a whole.
    begun: Option<(S, Part<'a>, VerifiedObject)>,
    /// Hashes the pieces, when that is asked for.
    follower: Option<Follower>,
}

impl<S> OpeningFile<'_, S> {
    /// A piece was opened and is at hand.
    fn opened(&self, piece: u64, bytes: &[u8]) {
        if let Some(follower) = &self.follower {
            follower.opened(piece, bytes);
        }
    }

    /// A piece lies open in its place. Hashes what waits, this piece or others', unless another thread does.
    fn stored(&self, piece: u64, part: &Part<'_>, buffer: &mut PieceBuffer) -> Result<(), Fault> {
        let Some(follower) = &self.follower else { return Ok(()) };
        follower.stored(piece);
        follower.catch_up(|piece, hash| {
            part.look_at_piece(&Piece::of(self.entry.size, piece), buffer, |bytes| hash(bytes))
        })
    }
}

impl<'a> Work for Direct<'a> {
    type File = OpeningFile<'a, Box<dyn StoredObject>>;
    type Error = Stopped;

    fn files(&self) -> usize {
        self.opener.manifest.files().len()
    }

    fn begin(&self, index: usize) -> Result<(Self::File, u64), Stopped> {
        let entry = self.opener.entry(index)?;
        let pieces = Piece::count(entry.size);
        let begin = || {
            let stored = find(self.storage, entry)?;
            let claimed = read_header(stored.as_ref())?;
            let layout = layout_of(entry)?;
            let part = self.opener.destination.create(index, &layout)?;
            copy_tail(stored.as_ref(), &part, &layout)?;
            let object = self.opener.verify_part(claimed, entry, &part)?;
            Ok((stored, part, object))
        };
        let begun = match pieces {
            1 => None,
            _ => Some(begin().map_err(|fault: Fault| fault.of(entry))?),
        };
        let follower = begun.as_ref().and_then(|_| self.opener.follower(entry));
        Ok((OpeningFile { index, entry, begun, follower }, pieces))
    }

    fn piece(
        &self,
        file: &Self::File,
        piece: u64,
        buffer: &mut PieceBuffer,
    ) -> Result<(), Stopped> {
        let entry = file.entry;
        let at = Piece::of(entry.size, piece);
        match &file.begun {
            None => {
                let (claimed, body) = read_whole(self.storage, entry, buffer)
                    .map_err(|source| Fault::Object(source).of(entry))?;
                let plaintext = self.opener.open_small(claimed, file.index, entry, body)?;
                let layout = layout_of(entry).map_err(|source| Fault::Object(source).of(entry))?;
                self.opener
                    .destination
                    .store_small(file.index, &entry.path, &layout, plaintext)
                    .map_err(OpenError::from)?;
            }
            Some((stored, part, object)) => part
                .fill_piece(&at, buffer, |bytes| {
                    read_piece(stored.as_ref(), &at, bytes)?;
                    self.opener.open_piece(object, part, &at, bytes)?;
                    file.opened(piece, bytes);
                    Ok(())
                })
                .and_then(|()| file.stored(piece, part, buffer))
                .map_err(|fault| fault.of(entry))?,
        }
        self.opener.progress.advance(at.len as u64);
        Ok(())
    }

    fn finish(&self, file: &Self::File) -> Result<(), Stopped> {
        match &file.begun {
            None => Ok(()),
            Some((_, part, _)) => Ok(self.opener.finish(file, part)?),
        }
    }
}

/// From what was staged, as far as it is there; waits for the rest.
//= sealed-weights/SPEC.md#7.4
//# A reader that stages MUST make the checks of §7.1 on the bytes that it staged, and MUST NOT read a byte from storage twice.
pub(crate) struct FromStaged<'a> {
    pub(crate) opener: Opener<'a>,
    pub(crate) staged: &'a Shared,
}

impl<'a> Work for FromStaged<'a> {
    type File = OpeningFile<'a, ()>;
    type Error = Stopped;

    fn files(&self) -> usize {
        self.opener.manifest.files().len()
    }

    fn begin(&self, index: usize) -> Result<(Self::File, u64), Stopped> {
        let entry = self.opener.entry(index)?;
        let pieces = Piece::count(entry.size);
        let claimed = self.staged.claimed(index)?;
        let begin = || {
            let part = self.opener.destination.reopen(index, &layout_of(entry)?)?;
            let object = self.opener.verify_part(claimed, entry, &part)?;
            Ok(((), part, object))
        };
        let begun = match pieces {
            1 => None,
            _ => Some(begin().map_err(|fault: Fault| fault.of(entry))?),
        };
        let follower = begun.as_ref().and_then(|_| self.opener.follower(entry));
        Ok((OpeningFile { index, entry, begun, follower }, pieces))
    }

    fn piece(
        &self,
        file: &Self::File,
        piece: u64,
        buffer: &mut PieceBuffer,
    ) -> Result<(), Stopped> {
        let entry = file.entry;
        let at = Piece::of(entry.size, piece);
        self.staged.staged(file.index, piece)?;
        match &file.begun {
            None => self.open_whole(file.index, entry, buffer)?,
            Some(((), part, object)) => part
                .rework_piece(&at, buffer, |bytes| {
                    self.opener.open_piece(object, part, &at, bytes)?;
                    file.opened(piece, bytes);
                    Ok(())
                })
                .and_then(|()| file.stored(piece, part, buffer))
                .map_err(|fault| fault.of(entry))?,
        }
        self.opener.progress.advance(at.len as u64);
        Ok(())
    }

    fn finish(&self, file: &Self::File) -> Result<(), Stopped> {
        match &file.begun {
            None => Ok(()),
            Some(((), part, _)) => Ok(self.opener.finish(file, part)?),
        }
    }
}

impl FromStaged<'_> {
    fn open_whole(
        &self,
        index: usize,
        entry: &FileEntry,
        buffer: &mut PieceBuffer,
    ) -> Result<(), Stopped> {
        let claimed = self.staged.claimed(index)?;
        let fault = |source: ObjectError| Fault::Object(source).of(entry);
        let layout = layout_of(entry).map_err(fault)?;
        let part = self.opener.destination.reopen(index, &layout).map_err(OpenError::from)?;
        let len = usize::try_from(layout.object_len - CIPHERTEXT_AT).unwrap_or(usize::MAX);
        let too_long = || fault(ObjectError::Length { expected: layout.object_len, got: 0 });
        let body = buffer.whole(len).ok_or_else(too_long)?;
        part.read_body(body).map_err(OpenError::from)?;
        let plaintext = self.opener.open_small(claimed, index, entry, body)?;
        part.write_body(plaintext).and_then(|()| part.seal_off()).map_err(OpenError::from)?;
        Ok(self.opener.destination.name(index, &part, &entry.path).map_err(OpenError::from)?)
    }
}

/// Refuses contents that are not what the manifest lists, or that it does not allow.
//= sealed-weights/SPEC.md#7.3
//# A reader MUST determine the format of a file from its path and plaintext before it exposes a byte of it, and refuse it if that is not the listed one.
pub(crate) fn verify_format<R: formats::ReadAt + ?Sized>(
    entry: &FileEntry,
    contents: &R,
    allowed: &[formats::RiskyFormat],
) -> Result<(), OpenError> {
    let refused = |source| OpenError::Format { path: entry.path.clone(), source };
    let got = formats::inspect(&entry.path, contents, allowed).map_err(refused)?;
    if got != entry.format {
        return Err(refused(FormatError::Mismatch { expected: entry.format, got }));
    }
    Ok(())
}
