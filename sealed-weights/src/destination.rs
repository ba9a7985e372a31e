//! Where a model is opened: files in a target folder, or anonymous memory.
//!
//! In: pieces of ciphertext, by whoever fills them. Out: the same places, handed out again to be opened in, and at
//! last named. One [`Part`] is one file of the model: its plaintext's length of bytes, and behind them for as long as
//! it is sealed its *tail* (padding and tag table), as in the object. It knows no keys.
//!
//! Files are worked on in one of two [`Way`]s. *Mapped*: the bytes lie where they will stay. *Buffered*: they go
//! through two calls of the kernel and 2 MiB that stay in the cache, which is faster on fresh pages of 4 KiB.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::error::{ObjectError, OpenError};
use crate::header::{CIPHERTEXT_AT, Layout};
use crate::huge_pages::HugePages;
use crate::mapped::{Advice, Region, Window};
use crate::path::ModelPath;
use crate::pieces::{PIECE_LEN, Piece, PieceBuffer};
use crate::staging_folder::StagingFolder;
use crate::storage::StorageError;
use crate::target::TargetError;

/// How bytes get into files of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Placement {
    /// Mapped where the target has huge pages, else what was measured to be faster.
    #[default]
    Fastest,
    /// Always through a mapping of the file; buffered where the kernel cannot map safely (before 5.14).
    Mapped,
    /// Always through a buffer.
    Buffered,
}

/// What one kind of access does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Mapped,
    Buffered,
}

/// What was wrong: the sealed object, or the place for it.
#[derive(Debug)]
pub(crate) enum Fault {
    Object(ObjectError),
    Target(TargetError),
}

impl From<ObjectError> for Fault {
    fn from(error: ObjectError) -> Self {
        Self::Object(error)
    }
}

impl From<StorageError> for Fault {
    fn from(error: StorageError) -> Self {
        Self::Object(error.into())
    }
}

impl From<TargetError> for Fault {
    fn from(error: TargetError) -> Self {
        Self::Target(error)
    }
}

/// The place of a whole model.
#[derive(Debug)]
pub(crate) enum Destination {
    Folder {
        folder: StagingFolder,
        /// For bytes that come from storage.
        fresh: Way,
        /// For bytes that lie there already.
        staged: Way,
        advice: Advice,
        file_mode: u32,
    },
    Memory {
        parts: Vec<OnceLock<Arc<MemoryPart>>>,
    },
}

/// The place of one file.
pub(crate) enum Part<'d> {
    File {
        file: File,
        folder: &'d StagingFolder,
        fresh: Way,
        staged: Way,
        advice: Advice,
        len: u64,
    },
    Memory(Arc<MemoryPart>),
}

/// One file in anonymous memory: in pieces while it is worked on, whole when it is open.
#[derive(Debug)]
pub(crate) struct MemoryPart {
    len: usize,
    pieces: Vec<Mutex<Option<Region>>>,
    tail: Mutex<Vec<u8>>,
    whole: OnceLock<Region>,
}

impl Destination {
    pub(crate) fn in_folder(
        folder: StagingFolder,
        placement: Placement,
        huge_pages: &HugePages,
        file_mode: u32,
    ) -> Self {
        let (fresh, staged) = match (placement, huge_pages.are_given()) {
            (Placement::Mapped, _) | (Placement::Fastest, true) => (Way::Mapped, Way::Mapped),
            (Placement::Buffered, _) => (Way::Buffered, Way::Buffered),
            (Placement::Fastest, false) => (Way::Buffered, Way::Mapped),
        };
        let advice = if huge_pages.need_advice() { Advice::HugePages } else { Advice::Nothing };
        Self::Folder { folder, fresh, staged, advice, file_mode }
    }

    pub(crate) fn in_memory(files: usize) -> Self {
        Self::Memory { parts: (0..files).map(|_| OnceLock::new()).collect() }
    }

    /// A place for the body of an object.
    pub(crate) fn create(&self, index: usize, layout: &Layout) -> Result<Part<'_>, TargetError> {
        let len = layout.plaintext_len;
        match self {
            Self::Folder { folder, fresh, staged, advice, .. } => {
                let file = folder.create_part(index, layout.object_len - CIPHERTEXT_AT)?;
                let (fresh, staged, advice) = (*fresh, *staged, *advice);
                Ok(Part::File { file, folder, fresh, staged, advice, len })
            }
            Self::Memory { parts } => {
                let part = Arc::new(MemoryPart::new(layout).map_err(memory_failure)?);
                let slot = parts.get(index).ok_or_else(no_part)?;
                slot.set(Arc::clone(&part)).map_err(|_| no_part())?;
                Ok(Part::Memory(part))
            }
        }
    }

    /// The place that [`create`](Self::create) made.
    pub(crate) fn reopen(&self, index: usize, layout: &Layout) -> Result<Part<'_>, TargetError> {
        let len = layout.plaintext_len;
        match self {
            Self::Folder { folder, fresh, staged, advice, .. } => {
                let file = folder.reopen_part(index)?;
                let (fresh, staged, advice) = (*fresh, *staged, *advice);
                Ok(Part::File { file, folder, fresh, staged, advice, len })
            }
            Self::Memory { parts } => {
                let part = parts.get(index).and_then(OnceLock::get).ok_or_else(no_part)?;
                Ok(Part::Memory(Arc::clone(part)))
            }
        }
    }

    /// Names a part whose every byte is authentic and whose format was verified.
    pub(crate) fn name(
        &self,
        index: usize,
        part: &Part<'_>,
        path: &ModelPath,
    ) -> Result<(), TargetError> {
        match (self, part) {
            (Self::Folder { folder, file_mode, .. }, Part::File { file, .. }) => {
                folder.name_part(index, file, path, *file_mode)
            }
            // Memory has no names; `OpenedMemory` goes by the manifest.
            (Self::Folder { .. } | Self::Memory { .. }, _) => Ok(()),
        }
    }

    /// A small file that was opened elsewhere: authentic, of a verified format.
    pub(crate) fn store_small(
        &self,
        index: usize,
        path: &ModelPath,
        layout: &Layout,
        plaintext: &[u8],
    ) -> Result<(), TargetError> {
        match self {
            Self::Folder { folder, file_mode, .. } => {
                folder.write_named(path, plaintext, *file_mode)
            }
            Self::Memory { .. } => {
                let part = self.create(index, layout)?;
                part.write_body(plaintext)?;
                part.seal_off()
            }
        }
    }

    /// Wipes everything that was written so far, and says when that fails.
    pub(crate) fn wipe(self) -> Result<(), TargetError> {
        match &self {
            Self::Folder { folder, .. } => folder.wipe(),
            // Each region is wiped when it is dropped, at the end of this function.
            Self::Memory { .. } => Ok(()),
        }
    }

    /// Wipes after a refusal, which is the one to tell of unless plaintext is left.
    pub(crate) fn wipe_after(self, first: OpenError) -> OpenError {
        match self.wipe() {
            Ok(()) => first,
            Err(source) => OpenError::NotWiped { first: Box::new(first), source },
        }
    }

    /// The opened files of a destination in memory, in the manifest's order.
    pub(crate) fn into_regions(self) -> Option<Vec<Region>> {
        match self {
            Self::Folder { .. } => None,
            Self::Memory { parts } => parts
                .into_iter()
                .map(|part| Arc::into_inner(part.into_inner()?)?.whole.into_inner())
                .collect(),
        }
    }
}

impl Part<'_> {
    /// Hands out the place of a piece that nobody has filled yet.
    pub(crate) fn fill_piece(
        &self,
        piece: &Piece,
        buffer: &mut PieceBuffer,
        fill: impl FnOnce(&mut [u8]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        match self {
            Self::File { fresh, .. } => {
                self.file_piece(piece, buffer, *fresh, Found::Nothing, fill)
            }
            Self::Memory(part) => part.piece(piece, fill),
        }
    }

    /// Hands out a piece that was filled before, to be opened in place.
    pub(crate) fn rework_piece(
        &self,
        piece: &Piece,
        buffer: &mut PieceBuffer,
        open: impl FnOnce(&mut [u8]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        match self {
            Self::File { staged, .. } => {
                self.file_piece(piece, buffer, *staged, Found::Sealed, open)
            }
            Self::Memory(part) => part.piece(piece, open),
        }
    }

    /// Shows a piece that was opened before.
    pub(crate) fn look_at_piece(
        &self,
        piece: &Piece,
        buffer: &mut PieceBuffer,
        look: impl FnOnce(&[u8]),
    ) -> Result<(), Fault> {
        let look = |bytes: &mut [u8]| {
            look(bytes);
            Ok(())
        };
        match self {
            Self::File { staged, .. } => self.file_piece(piece, buffer, *staged, Found::Open, look),
            Self::Memory(part) => part.piece(piece, look),
        }
    }

    fn file_piece(
        &self,
        piece: &Piece,
        buffer: &mut PieceBuffer,
        way: Way,
        found: Found,
        work: impl FnOnce(&mut [u8]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let Self::File { file, folder, advice, .. } = self else { return Err(no_part().into()) };
        if piece.len == 0 {
            return work(&mut []);
        }
        let failed = |action| move |error| folder.part_failure(action, error);
        let (bytes, window) = buffer.bytes_and_window(piece.len);
        if way == Way::Mapped {
            match map(window, file, piece, *advice) {
                Ok(bytes) => return work(bytes),
                // A kernel that cannot populate a mapping: the other way is always there.
                Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
                Err(error) => return Err(failed("take memory in")(error).into()),
            }
        }
        if found != Found::Nothing {
            file.read_exact_at(bytes, piece.offset).map_err(failed("read back from"))?;
        }
        work(bytes)?;
        if found == Found::Open {
            return Ok(());
        }
        Ok(file.write_all_at(bytes, piece.offset).map_err(failed("write to a file in"))?)
    }

    /// Writes the first bytes of the body, as many as are given; for objects of one piece.
    pub(crate) fn write_body(&self, bytes: &[u8]) -> Result<(), TargetError> {
        match self {
            Self::File { file, folder, .. } => file
                .write_all_at(bytes, 0)
                .map_err(|error| folder.part_failure("write to a file in", error)),
            Self::Memory(part) => part.write_body(bytes),
        }
    }

    /// Reads the whole body; for objects of one piece.
    pub(crate) fn read_body(&self, bytes: &mut [u8]) -> Result<(), TargetError> {
        match self {
            Self::File { file, folder, .. } => file
                .read_exact_at(bytes, 0)
                .map_err(|error| folder.part_failure("read back from", error)),
            Self::Memory(part) => part.read_body(bytes),
        }
    }

    /// Writes a part of the tail; `at` counts from the beginning of the body.
    pub(crate) fn write_tail(&self, at: u64, bytes: &[u8]) -> Result<(), TargetError> {
        match self {
            Self::File { file, folder, .. } => file
                .write_all_at(bytes, at)
                .map_err(|error| folder.part_failure("write to a file in", error)),
            Self::Memory(part) => part.tail(at, bytes.len(), |tail| tail.copy_from_slice(bytes)),
        }
    }

    /// Reads a part of the tail; `at` counts from the beginning of the body.
    pub(crate) fn read_tail(&self, at: u64, bytes: &mut [u8]) -> Result<(), TargetError> {
        match self {
            Self::File { file, folder, .. } => file
                .read_exact_at(bytes, at)
                .map_err(|error| folder.part_failure("read back from", error)),
            Self::Memory(part) => part.tail(at, bytes.len(), |tail| bytes.copy_from_slice(tail)),
        }
    }

    /// All pieces are open: gives the tail's memory back, and makes one of the pieces.
    pub(crate) fn seal_off(&self) -> Result<(), TargetError> {
        match self {
            Self::File { file, folder, len, .. } => {
                file.set_len(*len).map_err(|error| folder.part_failure("cut a file in", error))
            }
            Self::Memory(part) => part.seal_off(),
        }
    }

    /// The file's plaintext, after [`seal_off`](Self::seal_off).
    pub(crate) fn with_plaintext<T>(
        &self,
        look: impl FnOnce(&dyn crate::formats::ReadAt) -> T,
    ) -> Result<T, TargetError> {
        match self {
            Self::File { file, len, .. } => Ok(look(&crate::formats::OpenFile { file, len: *len })),
            Self::Memory(part) => {
                let whole = part.whole.get().ok_or_else(no_part)?;
                Ok(look(&Plaintext(whole.bytes().get(..part.len).ok_or_else(no_part)?)))
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Nothing,
    /// Bytes that are about to be opened.
    Sealed,
    /// Bytes that stay as they are.
    Open,
}

fn map<'w>(
    window: &'w mut Option<Window>,
    file: &File,
    piece: &Piece,
    advice: Advice,
) -> io::Result<&'w mut [u8]> {
    let window = match window {
        Some(window) => window,
        None => window.insert(Window::new()?),
    };
    window.map(file, piece.offset, piece.len, advice)
}

/// A slice as something to read from.
struct Plaintext<'a>(&'a [u8]);

impl crate::formats::ReadAt for Plaintext<'_> {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(offset, buffer)
    }
}

impl MemoryPart {
    fn new(layout: &Layout) -> io::Result<Self> {
        let too_long = |_| io::Error::from(io::ErrorKind::OutOfMemory);
        let len = usize::try_from(layout.plaintext_len).map_err(too_long)?;
        let tail = layout.object_len - CIPHERTEXT_AT - layout.plaintext_len;
        let tail = vec![0; usize::try_from(tail).map_err(too_long)?];
        let pieces = Region::new(len)?.split(PIECE_LEN);
        let pieces = pieces.into_iter().map(|piece| Mutex::new(Some(piece))).collect();
        Ok(Self { len, pieces, tail: Mutex::new(tail), whole: OnceLock::new() })
    }

    fn piece(
        &self,
        piece: &Piece,
        work: impl FnOnce(&mut [u8]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        if piece.len == 0 {
            return work(&mut []);
        }
        let index = usize::try_from(piece.offset).unwrap_or(usize::MAX) / PIECE_LEN;
        let slot = self.pieces.get(index).ok_or_else(no_part)?;
        let mut region = slot.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = region.as_mut().map(Region::bytes_mut);
        work(bytes.and_then(|bytes| bytes.get_mut(..piece.len)).ok_or_else(no_part)?)
    }

    /// The first piece and what of the tail follows in `bytes`.
    fn write_body(&self, bytes: &[u8]) -> Result<(), TargetError> {
        let (ciphertext, tail) = bytes.split_at_checked(self.len).ok_or_else(no_part)?;
        self.first(|piece| piece.copy_from_slice(ciphertext))?;
        self.tail(self.len as u64, tail.len(), |to| to.copy_from_slice(tail))
    }

    fn read_body(&self, bytes: &mut [u8]) -> Result<(), TargetError> {
        let (ciphertext, tail) = bytes.split_at_mut_checked(self.len).ok_or_else(no_part)?;
        self.first(|piece| ciphertext.copy_from_slice(piece))?;
        self.tail(self.len as u64, tail.len(), |from| tail.copy_from_slice(from))
    }

    fn first(&self, work: impl FnOnce(&mut [u8])) -> Result<(), TargetError> {
        let slot = self.pieces.first().ok_or_else(no_part)?;
        let mut region = slot.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = region.as_mut().and_then(|region| region.bytes_mut().get_mut(..self.len));
        work(bytes.ok_or_else(no_part)?);
        Ok(())
    }

    fn tail(&self, at: u64, len: usize, work: impl FnOnce(&mut [u8])) -> Result<(), TargetError> {
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let from = usize::try_from(at).ok().and_then(|at| at.checked_sub(self.len));
        let range = from.and_then(|from| tail.get_mut(from..from.checked_add(len)?));
        work(range.ok_or_else(no_part)?);
        Ok(())
    }

    fn seal_off(&self) -> Result<(), TargetError> {
        *self.tail.lock().unwrap_or_else(PoisonError::into_inner) = Vec::new();
        let taken = self
            .pieces
            .iter()
            .map(|slot| slot.lock().unwrap_or_else(PoisonError::into_inner).take());
        let regions: Option<Vec<_>> = taken.collect();
        let whole = Region::join(regions.ok_or_else(no_part)?).map_err(memory_failure)?;
        self.whole.set(whole).map_err(|_| no_part())
    }
}

fn memory_failure(source: io::Error) -> TargetError {
    TargetError::Io { action: "take memory in", path: "(anonymous memory)".into(), source }
}

/// Pieces are handed out by `pieces`, each once: this is a fault of ours, and a refusal all the same.
fn no_part() -> TargetError {
    memory_failure(io::Error::other("there is no such part, or no longer"))
}
