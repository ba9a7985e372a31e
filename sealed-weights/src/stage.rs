//! Reads a sealed model to where its plaintext will lie, while nobody has the key yet.
//!
//! In: a parsed manifest, which is an allegation, its storage, a destination with room for what it claims. Out: a
//! [`Staged`] model: ciphertext, padding and tag table of every object, each byte read once, on threads of its own.
//! It decides nothing about them: the checks of SPEC.md §7.1 are made by [`opening`](crate::opening), on what was
//! staged, when the manifest is authentic. Nothing staged has a name, and dropping it leaves nothing.
//!
//! Against: storage that shows one object to the checks and another to the reader; memory taken for what a forged
//! manifest claims, beyond the room of the destination.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::destination::{Destination, Fault, Part};
use crate::error::{ObjectError, OpenError};
use crate::header::{CIPHERTEXT_AT, Header, HeaderError, Layout};
use crate::limits::MAX_THREADS;
use crate::manifest::{FileEntry, Manifest};
use crate::object::{find, layout_of, read_header};
use crate::pieces::{self, Piece, PieceBuffer, Work};
use crate::progress::Progress;
use crate::storage::{Storage, StorageError, StoredObject};

/// Largest part of a tag table that is on the heap while it is copied.
const TAIL_COPY: u64 = 1024 * 1024;

/// What the first page of an object parsed to.
pub(crate) type Claimed = Result<Header, HeaderError>;

/// A model that is being read, or has been. See [`StagedModel`](crate::StagedModel).
#[derive(Debug)]
pub(crate) struct Staged {
    pub(crate) manifest_digest: [u8; 32],
    /// Nothing only after [`end`](Self::end).
    shared: Option<Arc<Shared>>,
    reader: Option<JoinHandle<()>>,
}

/// What readers and openers share.
pub(crate) struct Shared {
    storage: Arc<dyn Storage>,
    manifest: Manifest,
    pub(crate) destination: Destination,
    progress: Arc<dyn Progress + Send + Sync>,
    stop: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    files: Vec<FileState>,
    /// Openers that wait for something to be staged.
    waiting: usize,
    /// No more will be staged.
    ended: bool,
    failed: Option<OpenError>,
}

#[derive(Default)]
struct FileState {
    claimed: Option<Claimed>,
    /// One bit for each piece that is there.
    pieces: Vec<u64>,
}

/// Why an opener does not get what it waits for: [`Staged::end`] knows the reason.
#[derive(Debug)]
pub(crate) struct StagingEnded;

impl Staged {
    /// Begins to read, on `threads` threads or as many as serve the storage best.
    pub(crate) fn begin(
        storage: Arc<dyn Storage>,
        manifest: Manifest,
        manifest_digest: [u8; 32],
        destination: Destination,
        threads: usize,
        progress: Arc<dyn Progress + Send + Sync>,
    ) -> Result<Self, OpenError> {
        let threads = pieces::thread_count(threads).max(storage.concurrency()).min(MAX_THREADS);
        let files = manifest.files().iter().map(FileState::of).collect();
        let state = State { files, waiting: 0, ended: false, failed: None };
        let shared = Arc::new(Shared {
            storage,
            manifest,
            destination,
            progress,
            stop: AtomicBool::new(false),
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let mut staged = Self { manifest_digest, shared: Some(Arc::clone(&shared)), reader: None };
        let spawned = std::thread::Builder::new().name("stage".to_owned()).spawn(move || {
            let ended = EndOnDrop(&shared);
            ended.0.progress.total(ended.0.manifest.total_bytes());
            if let Err(Some(error)) = pieces::run(&Reading(ended.0), threads) {
                ended.0.lock().failed = Some(error);
            }
        });
        match spawned {
            Ok(reader) => staged.reader = Some(reader),
            Err(source) => return Err(OpenError::StagingEnded { source }),
        }
        Ok(staged)
    }

    pub(crate) fn shared(&self) -> Option<&Shared> {
        self.shared.as_deref()
    }

    /// Waits until everything is staged, or nothing more will be.
    pub(crate) fn wait(&self) {
        if let Some(shared) = &self.shared {
            let mut state = shared.lock();
            state.waiting += 1;
            while !state.ended {
                state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state.waiting -= 1;
        }
    }

    /// Ends the reading; returns the destination, and why it ended early if it failed.
    pub(crate) fn end(mut self) -> (Option<Destination>, Option<OpenError>) {
        let panicked = self.join();
        let Some(shared) = self.shared.take().and_then(Arc::into_inner) else {
            return (None, None);
        };
        let state = shared.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        let source = || io::Error::other("a reading thread panicked");
        let failed =
            state.failed.or(panicked.then(|| OpenError::StagingEnded { source: source() }));
        (Some(shared.destination), failed)
    }

    fn join(&mut self) -> bool {
        if let Some(shared) = &self.shared {
            shared.stop.store(true, Ordering::Release);
        }
        self.reader.take().is_some_and(|reader| reader.join().is_err())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // The destination is wiped where the last reference to it falls: here.
        self.join();
    }
}

/// However the reader ends, those who wait for it are told.
struct EndOnDrop<'a>(&'a Shared);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.changed.notify_all();
    }
}

impl FileState {
    fn of(entry: &FileEntry) -> Self {
        let words = Piece::count(entry.size).div_ceil(u64::from(u64::BITS));
        // Bounded by the destination's room, which was compared with the sum of all sizes.
        Self { claimed: None, pieces: vec![0; usize::try_from(words).unwrap_or(0)] }
    }
}

/// The word and the bit of a piece.
fn bit(piece: u64) -> (usize, u64) {
    let word = usize::try_from(piece / u64::from(u64::BITS)).unwrap_or(usize::MAX);
    (word, 1 << (piece % u64::from(u64::BITS)))
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, index: usize, change: impl FnOnce(&mut FileState)) {
        let mut state = self.lock();
        if let Some(file) = state.files.get_mut(index) {
            change(file);
        }
        if state.waiting > 0 {
            self.changed.notify_all();
        }
    }

    /// Waits until `look` finds what it wants of a file.
    fn wait_for<T>(
        &self,
        index: usize,
        look: impl Fn(&FileState) -> Option<T>,
    ) -> Result<T, StagingEnded> {
        let mut state = self.lock();
        loop {
            if let Some(found) = state.files.get(index).and_then(&look) {
                return Ok(found);
            }
            if state.ended {
                return Err(StagingEnded);
            }
            state.waiting += 1;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
    }

    /// Waits for header and tail of a file.
    pub(crate) fn claimed(&self, index: usize) -> Result<Claimed, StagingEnded> {
        self.wait_for(index, |file| file.claimed)
    }

    /// Waits for a piece of a file.
    pub(crate) fn staged(&self, index: usize, piece: u64) -> Result<(), StagingEnded> {
        let (word, bit) = bit(piece);
        self.wait_for(index, |file| (file.pieces.get(word)? & bit != 0).then_some(()))
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("storage", &self.storage)
            .field("destination", &self.destination)
            .finish_non_exhaustive()
    }
}

/// The reading of one model, as pieces for worker threads.
struct Reading<'a>(&'a Shared);

struct ReadingFile<'a> {
    index: usize,
    entry: &'a FileEntry,
    layout: Layout,
    /// Nothing for an object of one piece, which is read as a whole.
    begun: Option<(Box<dyn StoredObject>, Part<'a>)>,
}

impl<'a> Work for Reading<'a> {
    type File = ReadingFile<'a>;
    /// Nothing when it was told to stop.
    type Error = Option<OpenError>;

    fn files(&self) -> usize {
        self.0.manifest.files().len()
    }

    fn begin(&self, index: usize) -> Result<(ReadingFile<'a>, u64), Option<OpenError>> {
        let entry = self.0.manifest.files().get(index).ok_or(None)?;
        let pieces = Piece::count(entry.size);
        let begin = || {
            let layout = layout_of(entry)?;
            let begun = match pieces {
                1 => None,
                _ => Some(self.begin_large(index, entry, &layout)?),
            };
            Ok((ReadingFile { index, entry, layout, begun }, pieces))
        };
        self.unless_stopped(entry, begin)
    }

    fn piece(
        &self,
        file: &ReadingFile<'a>,
        piece: u64,
        buffer: &mut PieceBuffer,
    ) -> Result<(), Option<OpenError>> {
        self.unless_stopped(file.entry, || match &file.begun {
            None => self.read_small(file, buffer),
            Some((stored, part)) => {
                let at = Piece::of(file.entry.size, piece);
                part.fill_piece(&at, buffer, |bytes| Ok(read_piece(stored.as_ref(), &at, bytes)?))
            }
        })?;
        let (word, bit) = bit(piece);
        self.0.note(file.index, |state| {
            if let Some(word) = state.pieces.get_mut(word) {
                *word |= bit;
            }
        });
        self.0.progress.advance(Piece::of(file.entry.size, piece).len as u64);
        Ok(())
    }

    fn finish(&self, _file: &ReadingFile<'a>) -> Result<(), Option<OpenError>> {
        Ok(())
    }
}

impl<'a> Reading<'a> {
    fn unless_stopped<T>(
        &self,
        entry: &FileEntry,
        work: impl FnOnce() -> Result<T, Fault>,
    ) -> Result<T, Option<OpenError>> {
        if self.0.stop.load(Ordering::Acquire) {
            return Err(None);
        }
        work().map_err(|fault| Some(fault.of(entry)))
    }

    /// The tail comes first: with it, pieces can be opened while later ones are still read.
    fn begin_large(
        &self,
        index: usize,
        entry: &FileEntry,
        layout: &Layout,
    ) -> Result<(Box<dyn StoredObject>, Part<'a>), Fault> {
        let stored = find(self.0.storage.as_ref(), entry)?;
        let claimed = read_header(stored.as_ref())?;
        let part = self.0.destination.create(index, layout)?;
        copy_tail(stored.as_ref(), &part, layout)?;
        self.0.note(index, |state| state.claimed = Some(claimed));
        Ok((stored, part))
    }

    fn read_small(&self, file: &ReadingFile<'a>, buffer: &mut PieceBuffer) -> Result<(), Fault> {
        let (claimed, body) = read_whole(self.0.storage.as_ref(), file.entry, buffer)?;
        self.0.destination.create(file.index, &file.layout)?.write_body(body)?;
        self.0.note(file.index, |state| state.claimed = Some(claimed));
        Ok(())
    }
}

/// Reads an object of one piece in one go: what its header parsed to, and its body.
pub(crate) fn read_whole<'b>(
    storage: &dyn Storage,
    entry: &FileEntry,
    buffer: &'b mut PieceBuffer,
) -> Result<(Claimed, &'b mut [u8]), ObjectError> {
    let stored = find(storage, entry)?;
    let len = usize::try_from(layout_of(entry)?.object_len).unwrap_or(usize::MAX);
    let whole = buffer.whole(len).ok_or(ObjectError::NotAFile)?;
    stored.read_exact_at(0, whole)?;
    let (header, body) =
        whole.split_first_chunk_mut::<{ CIPHERTEXT_AT as usize }>().ok_or(ObjectError::NotAFile)?;
    Ok((Header::parse(header), body))
}

/// Reads a piece's ciphertext. The last one of a file of a multiple of 2 MiB has none.
pub(crate) fn read_piece(
    stored: &dyn StoredObject,
    piece: &Piece,
    bytes: &mut [u8],
) -> Result<(), StorageError> {
    if bytes.is_empty() {
        return Ok(());
    }
    stored.read_exact_at(CIPHERTEXT_AT + piece.offset, bytes)
}

/// Copies padding and tag table behind the place of the ciphertext.
pub(crate) fn copy_tail(
    stored: &dyn StoredObject,
    part: &Part<'_>,
    layout: &Layout,
) -> Result<(), Fault> {
    let end = layout.object_len - CIPHERTEXT_AT;
    let mut at = layout.plaintext_len;
    let mut buffer = vec![0; (end - at).min(TAIL_COPY) as usize];
    while at < end {
        let len = (end - at).min(buffer.len() as u64);
        let (bytes, _) = buffer.split_at_mut(len as usize);
        stored.read_exact_at(CIPHERTEXT_AT + at, bytes)?;
        part.write_tail(at, bytes)?;
        at += len;
    }
    Ok(())
}

impl Fault {
    /// With the file it happened to.
    pub(crate) fn of(self, entry: &FileEntry) -> OpenError {
        match self {
            Self::Object(source) => OpenError::Object { path: entry.path.clone(), source },
            Self::Target(source) => source.into(),
        }
    }
}
