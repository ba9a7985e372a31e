//! Hands a model's bytes to worker threads in pieces of 2 MiB.
//!
//! In: a list of files ([`Work`]) and a number of threads. Out: every file begun once, each of its
//! pieces done once, finished once when its last piece is; or the first error, after which no new
//! piece is begun. Each thread works at a file of its own as long as there is one, so that no more
//! files are open than there are threads; what is left of large ones is shared in the end.
//!
//! 2 MiB is one huge page: smaller pieces let two threads fault and zero the same one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use zeroize::Zeroizing;

use crate::chunked::{CHUNK_LEN, TAG_LEN};
use crate::limits::MAX_THREADS;
use crate::mapped::Window;

/// Chunks of one piece.
pub(crate) const CHUNKS_PER_PIECE: usize = 128;
/// Plaintext bytes of one piece.
pub(crate) const PIECE_LEN: usize = CHUNKS_PER_PIECE * CHUNK_LEN;

/// A page: kernel copies into buffers that are not aligned run at a third of the speed.
const ALIGNMENT: usize = 4096;

/// A worker's buffers for one piece and its tags; zeroed when the worker ends.
pub(crate) struct PieceBuffer {
    raw: Zeroizing<Vec<u8>>,
    start: usize,
    tags: Vec<u8>,
    window: Option<Window>,
}

/// A whole object of one piece: header, ciphertext, padding and tags.
pub(crate) const WHOLE_LEN: usize = ALIGNMENT + PIECE_LEN + ALIGNMENT + CHUNKS_PER_PIECE * TAG_LEN;

impl PieceBuffer {
    pub(crate) fn new() -> Self {
        let raw = Zeroizing::new(vec![0; WHOLE_LEN + ALIGNMENT]);
        let start = raw.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Self { raw, start, tags: vec![0; CHUNKS_PER_PIECE * TAG_LEN], window: None }
    }

    /// The first `len` bytes of the piece and as many tags as it has chunks.
    pub(crate) fn of(&mut self, piece: &Piece) -> (&mut [u8], &mut [u8]) {
        (
            &mut self.raw[self.start..self.start + piece.len],
            &mut self.tags[..piece.chunks * TAG_LEN],
        )
    }

    /// The first `len` bytes of the piece, and the worker's window on files.
    pub(crate) fn bytes_and_window(&mut self, len: usize) -> (&mut [u8], &mut Option<Window>) {
        (&mut self.raw[self.start..self.start + len], &mut self.window)
    }

    /// Room for a whole object of one piece; nothing for more than [`WHOLE_LEN`] bytes.
    pub(crate) fn whole(&mut self, len: usize) -> Option<&mut [u8]> {
        self.raw[self.start..self.start + WHOLE_LEN].get_mut(..len)
    }
}

/// A run of up to 128 chunks of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) first_chunk: u64,
    pub(crate) chunks: usize,
    /// Offset in the plaintext.
    pub(crate) offset: u64,
    /// Bytes of plaintext.
    pub(crate) len: usize,
}

impl Piece {
    /// How many pieces a file has; at least one, since it has at least one chunk.
    pub(crate) fn count(plaintext_len: u64) -> u64 {
        crate::chunked::chunk_count(plaintext_len).div_ceil(CHUNKS_PER_PIECE as u64)
    }

    /// The piece with number `index`, which is below [`count`](Self::count).
    pub(crate) fn of(plaintext_len: u64, index: u64) -> Self {
        let first_chunk = index * CHUNKS_PER_PIECE as u64;
        let left = crate::chunked::chunk_count(plaintext_len).saturating_sub(first_chunk);
        let chunks = left.min(CHUNKS_PER_PIECE as u64) as usize;
        let offset = first_chunk * CHUNK_LEN as u64;
        let len = plaintext_len.saturating_sub(offset).min(PIECE_LEN as u64) as usize;
        Self { first_chunk, chunks, offset, len }
    }
}

/// Sealing or opening, file by file.
pub(crate) trait Work: Sync {
    /// What a file needs while its pieces are done.
    type File: Send + Sync;
    /// Why it failed.
    type Error: Send;

    /// Number of files.
    fn files(&self) -> usize;
    /// Prepares a file; says how many pieces it has, at least one.
    fn begin(&self, index: usize) -> Result<(Self::File, u64), Self::Error>;
    /// Does one piece.
    fn piece(
        &self,
        file: &Self::File,
        piece: u64,
        buffer: &mut PieceBuffer,
    ) -> Result<(), Self::Error>;
    /// All pieces of the file are done.
    fn finish(&self, file: &Self::File) -> Result<(), Self::Error>;
}

/// The number of threads to use: 0 means one for each CPU.
pub(crate) fn thread_count(wanted: usize) -> usize {
    let wanted = match wanted {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        given => given,
    };
    wanted.min(MAX_THREADS)
}

/// Does all the work, on the calling thread and `threads - 1` others.
pub(crate) fn run<W: Work>(work: &W, threads: usize) -> Result<(), W::Error> {
    let shared = Shared { work, state: Mutex::new(State::new()), changed: Condvar::new() };
    std::thread::scope(|scope| {
        for _ in 1..thread_count(threads) {
            // Fewer threads than asked for are slower, not wrong.
            let _ = std::thread::Builder::new().spawn_scoped(scope, || shared.worker());
        }
        shared.worker();
    });
    let state = shared.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    match state.error {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

struct Begun<F> {
    file: F,
    pieces: u64,
    left: AtomicU64,
}

struct State<W: Work> {
    next_file: usize,
    /// Files that some thread is preparing: others wait for their pieces instead of leaving.
    beginning: usize,
    /// Files with pieces that nobody has taken, and the next such piece.
    open: Vec<(Arc<Begun<W::File>>, u64)>,
    stopped: bool,
    error: Option<W::Error>,
}

impl<W: Work> State<W> {
    fn new() -> Self {
        Self { next_file: 0, beginning: 0, open: Vec::new(), stopped: false, error: None }
    }
}

struct Shared<'a, W: Work> {
    work: &'a W,
    state: Mutex<State<W>>,
    changed: Condvar,
}

enum Task<F> {
    Begin(usize),
    Piece(Arc<Begun<F>>, u64),
}

impl<W: Work> Shared<'_, W> {
    fn worker(&self) {
        let _guard = StopOnPanic(self);
        let mut buffer = PieceBuffer::new();
        let mut mine = None;
        while let Some(task) = self.next(mine.as_ref()) {
            let done = match task {
                Task::Begin(index) => self.begin(index).map(|begun| mine = Some(begun)),
                Task::Piece(file, piece) => {
                    let done = self.piece(&file, piece, &mut buffer);
                    mine = Some(file);
                    done
                }
            };
            if let Err(error) = done {
                self.stop(Some(error));
            }
        }
    }

    /// 1. The file this thread is at. 2. A file nobody has begun: the kernel lets one thread at a
    ///    time write to a file. 3. A file of another thread, when there are no more of their own.
    fn next(&self, mine: Option<&Arc<Begun<W::File>>>) -> Option<Task<W::File>> {
        let mut state = self.lock();
        loop {
            if state.stopped {
                return None;
            }
            let at =
                mine.and_then(|mine| state.open.iter().position(|(f, _)| Arc::ptr_eq(f, mine)));
            if at.is_none() && state.next_file < self.work.files() {
                let index = state.next_file;
                state.next_file += 1;
                state.beginning += 1;
                return Some(Task::Begin(index));
            }
            if let Some((file, next)) = state.open.get_mut(at.unwrap_or(0)) {
                let (file, piece) = (Arc::clone(file), *next);
                *next += 1;
                if *next >= file.pieces {
                    state.open.retain(|(other, _)| !Arc::ptr_eq(other, &file));
                }
                return Some(Task::Piece(file, piece));
            }
            if state.beginning == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn begin(&self, index: usize) -> Result<Arc<Begun<W::File>>, W::Error> {
        let begun = self
            .work
            .begin(index)
            .map(|(file, pieces)| Arc::new(Begun { file, pieces, left: AtomicU64::new(pieces) }));
        let mut state = self.lock();
        state.beginning -= 1;
        if let Ok(begun) = &begun {
            state.open.push((Arc::clone(begun), 0));
        }
        drop(state);
        self.changed.notify_all();
        begun
    }

    fn piece(
        &self,
        begun: &Begun<W::File>,
        piece: u64,
        buffer: &mut PieceBuffer,
    ) -> Result<(), W::Error> {
        self.work.piece(&begun.file, piece, buffer)?;
        // Acquire and release: whoever finishes the file sees what all its pieces have written.
        if begun.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.work.finish(&begun.file)?;
        }
        Ok(())
    }

    fn stop(&self, error: Option<W::Error>) {
        let mut state = self.lock();
        state.stopped = true;
        if state.error.is_none() {
            state.error = error;
        }
        drop(state);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State<W>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A panicking worker must not leave the others waiting; the scope passes its panic on.
struct StopOnPanic<'a, 'b, W: Work>(&'a Shared<'b, W>);

impl<W: Work> Drop for StopOnPanic<'_, '_, W> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counted {
        sizes: Vec<u64>,
        pieces: Mutex<Vec<(usize, u64)>>,
        finished: Mutex<Vec<usize>>,
        fail_at: Option<(usize, u64)>,
    }

    impl Work for Counted {
        type File = usize;
        type Error = (usize, u64);

        fn files(&self) -> usize {
            self.sizes.len()
        }
        fn begin(&self, index: usize) -> Result<(usize, u64), (usize, u64)> {
            Ok((index, self.sizes[index]))
        }
        fn piece(&self, file: &usize, piece: u64, _: &mut PieceBuffer) -> Result<(), (usize, u64)> {
            if self.fail_at == Some((*file, piece)) {
                return Err((*file, piece));
            }
            self.pieces.lock().unwrap().push((*file, piece));
            Ok(())
        }
        fn finish(&self, file: &usize) -> Result<(), (usize, u64)> {
            self.finished.lock().unwrap().push(*file);
            Ok(())
        }
    }

    fn counted(sizes: &[u64], fail_at: Option<(usize, u64)>) -> Counted {
        Counted {
            sizes: sizes.to_vec(),
            pieces: Mutex::default(),
            finished: Mutex::default(),
            fail_at,
        }
    }

    #[test]
    fn every_piece_is_done_once_and_every_file_finished_once() {
        for threads in [1, 2, 5] {
            let work = counted(&[1, 100, 1, 1, 37], None);
            run(&work, threads).unwrap();
            let mut pieces = work.pieces.into_inner().unwrap();
            pieces.sort_unstable();
            let expected: Vec<_> = [1, 100, 1, 1, 37]
                .iter()
                .enumerate()
                .flat_map(|(file, count)| (0..*count).map(move |piece| (file, piece)))
                .collect();
            assert_eq!(pieces, expected);
            let mut finished = work.finished.into_inner().unwrap();
            finished.sort_unstable();
            assert_eq!(finished, [0, 1, 2, 3, 4]);
        }
    }

    #[test]
    fn the_first_error_stops_the_work_and_its_file_is_not_finished() {
        let work = counted(&[3, 100, 3], Some((1, 5)));
        assert_eq!(run(&work, 2), Err((1, 5)));
        assert!(!work.finished.into_inner().unwrap().contains(&1));
    }

    #[test]
    fn pieces_cover_a_file_exactly() {
        let full = PIECE_LEN as u64;
        for len in [0, 1, 16383, 16384, 16385, full - 1, full, full + 1, 3 * full + 5] {
            let mut offset = 0;
            let mut chunk = 0;
            for index in 0..Piece::count(len) {
                let piece = Piece::of(len, index);
                assert_eq!((piece.offset, piece.first_chunk), (offset, chunk), "{len}");
                offset += piece.len as u64;
                chunk += piece.chunks as u64;
            }
            assert_eq!((offset, chunk), (len, crate::chunked::chunk_count(len)), "{len}");
        }
    }

    #[test]
    fn buffers_are_page_aligned() {
        let mut buffer = PieceBuffer::new();
        let (bytes, _) = buffer.of(&Piece::of(1 << 30, 0));
        assert_eq!((bytes.as_ptr() as usize % ALIGNMENT, bytes.len()), (0, PIECE_LEN));
    }
}
