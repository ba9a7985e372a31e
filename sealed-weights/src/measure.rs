//! SHA-256 of every plaintext file, taken while its pieces are opened in any order by many threads.
//!
//! In: pieces, each as soon as it is open. Out: a [`MeasuredFile`] for each file, for a caller who knows what they
//! should be (a signature), before the model gets its name. It knows no signatures.
//!
//! ```text
//! thread 1  opens 0, hashes 0 ─────────► hashes 1 ─► hashes 2 ─► …        has the file's hasher
//! thread 2       opens 1, opens 2, opens 3, …                             leaves them for thread 1
//! ```
//! SHA-256 goes from front to back, so one thread at a time has a file's hasher: whoever has just opened the next
//! piece takes it, hashes the piece while it is in the cache, and then what others have opened meanwhile. Nobody
//! waits, and nothing is read from storage twice. Of one file that is a second of one core for about 2 GB; of
//! several, each core has its own.
//!
//! Against: plaintext that is authentic, because whoever seals had the key, and not what somebody else signed.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

use std::io::{self, Read};
use std::num::NonZeroU64;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use ring::digest::{Context, SHA256};

use crate::manifest::FileEntry;
use crate::path::ModelPath;
use crate::pieces::Piece;

/// What gets a digest of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hashing {
    /// Every file.
    Files,
    /// Every run of this many bytes of a file, the last one shorter. A file of no bytes has none.
    Shards(NonZeroU64),
}

/// What was measured of one file that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeasuredFile {
    /// Which file.
    pub path: ModelPath,
    /// In bytes.
    pub size: u64,
    /// One SHA-256 for [`Hashing::Files`]; for [`Hashing::Shards`] one for each, in order.
    pub sha256: Vec<[u8; 32]>,
}

/// The digests of a file of plaintext, as opening takes them: for whoever signs it, or compares.
///
/// # Errors
/// The reader's.
pub fn digests_of(mut plaintext: impl Read, hashing: Hashing) -> io::Result<Vec<[u8; 32]>> {
    let mut hasher = Hasher::new(hashing);
    let mut buffer = vec![0; 1024 * 1024];
    loop {
        match plaintext.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(read) => hasher.update(buffer.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// What [`Measurement::accept`] says against a model.
pub type NotAccepted = Box<dyn std::error::Error + Send + Sync>;

/// A measurement that is asked for, and who judges it.
#[derive(Clone, Copy)]
pub struct Measurement<'a> {
    /// What gets a digest of its own.
    pub hashing: Hashing,
    /// Called once, when every chunk of every file is authentic and before the model has its name. What it
    /// refuses is wiped.
    pub accept: &'a (dyn Fn(&[MeasuredFile]) -> Result<(), NotAccepted> + Sync),
}

impl std::fmt::Debug for Measurement<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Measurement").field("hashing", &self.hashing).finish_non_exhaustive()
    }
}

/// The digests of a model, as far as they are taken.
pub(crate) struct Measures {
    hashing: Hashing,
    files: Vec<OnceLock<Vec<[u8; 32]>>>,
}

impl Measures {
    pub(crate) fn new(hashing: Hashing, files: usize) -> Self {
        Self { hashing, files: (0..files).map(|_| OnceLock::new()).collect() }
    }

    /// For a file of several pieces.
    pub(crate) fn follow(&self, size: u64) -> Follower {
        Follower::new(self.hashing, size)
    }

    /// All pieces of a file were followed.
    pub(crate) fn finish(&self, index: usize, follower: &Follower) {
        if let (Some(slot), Some(digests)) = (self.files.get(index), follower.finish()) {
            let _ = slot.set(digests);
        }
    }

    /// A file that is open as a whole.
    pub(crate) fn whole(&self, index: usize, plaintext: &[u8]) {
        if let Some(slot) = self.files.get(index) {
            let mut hasher = Hasher::new(self.hashing);
            hasher.update(plaintext);
            let _ = slot.set(hasher.finish());
        }
    }

    /// Everything, in the manifest's order; nothing when a file was not measured to its end.
    pub(crate) fn into_measured(self, entries: &[FileEntry]) -> Option<Vec<MeasuredFile>> {
        let files = entries.iter().zip(self.files).map(|(entry, slot)| {
            let sha256 = slot.into_inner()?;
            Some(MeasuredFile { path: entry.path.clone(), size: entry.size, sha256 })
        });
        let files = files.collect::<Option<Vec<_>>>()?;
        (files.len() == entries.len()).then_some(files)
    }
}

/// Hashes the pieces of one file in their order, whatever the order in which they are opened.
pub(crate) struct Follower(Mutex<Following>);

struct Following {
    /// One bit for each piece that lies open in its place and waits to be hashed.
    waiting: Vec<u64>,
    /// The piece to be hashed next.
    next: u64,
    pieces: u64,
    /// Nothing while a thread has it.
    hasher: Option<Hasher>,
}

impl Follower {
    fn new(hashing: Hashing, size: u64) -> Self {
        let pieces = Piece::count(size);
        let words = pieces.div_ceil(u64::from(u64::BITS));
        // As many bits as the destination, whose room was looked at, has 2 MiB.
        let waiting = vec![0; usize::try_from(words).unwrap_or(0)];
        let hasher = Some(Hasher::new(hashing));
        Self(Mutex::new(Following { waiting, next: 0, pieces, hasher }))
    }

    /// A piece has just been opened. If its turn has come it is hashed now, while it is in the cache.
    pub(crate) fn opened(&self, piece: u64, bytes: &[u8]) {
        let mut following = self.lock();
        let hasher = if following.next == piece { following.hasher.take() } else { None };
        drop(following);
        if let Some(mut hasher) = hasher {
            hasher.update(bytes);
            self.hand_back(hasher);
        }
    }

    /// A piece that was opened lies in its place now, where every thread can read it; not before: a piece that
    /// goes through a buffer is ciphertext there until then.
    pub(crate) fn stored(&self, piece: u64) {
        let mut following = self.lock();
        if piece < following.next {
            return;
        }
        if let Some(word) = following.waiting.get_mut(word(piece)) {
            *word |= bit(piece);
        }
    }

    /// Hashes what waits, unless another thread does. `look` shows a piece that was opened before. Whoever calls
    /// this after each piece leaves nothing unhashed: the last thread to come finds the hasher free.
    pub(crate) fn catch_up<E>(
        &self,
        mut look: impl FnMut(u64, &mut dyn FnMut(&[u8])) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some((piece, mut hasher)) = self.take_waiting() {
            look(piece, &mut |bytes| hasher.update(bytes))?;
            self.hand_back(hasher);
        }
        Ok(())
    }

    fn take_waiting(&self) -> Option<(u64, Hasher)> {
        let mut following = self.lock();
        let next = following.next;
        if following.waiting.get(word(next))? & bit(next) == 0 {
            return None;
        }
        following.hasher.take().map(|hasher| (next, hasher))
    }

    fn hand_back(&self, hasher: Hasher) {
        let mut following = self.lock();
        following.next += 1;
        following.hasher = Some(hasher);
    }

    /// The digests, when every piece was hashed.
    fn finish(&self) -> Option<Vec<[u8; 32]>> {
        let mut following = self.lock();
        if following.next != following.pieces {
            return None;
        }
        following.hasher.take().map(Hasher::finish)
    }

    fn lock(&self) -> MutexGuard<'_, Following> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn word(piece: u64) -> usize {
    usize::try_from(piece / u64::from(u64::BITS)).unwrap_or(usize::MAX)
}

fn bit(piece: u64) -> u64 {
    1 << (piece % u64::from(u64::BITS))
}

/// SHA-256 of a file, or of its shards, from front to back.
pub(crate) struct Hasher {
    shard: Option<u64>,
    context: Context,
    /// Bytes in `context`.
    hashed: u64,
    digests: Vec<[u8; 32]>,
}

impl Hasher {
    pub(crate) fn new(hashing: Hashing) -> Self {
        let shard = match hashing {
            Hashing::Files => None,
            Hashing::Shards(size) => Some(size.get()),
        };
        Self { shard, context: Context::new(&SHA256), hashed: 0, digests: Vec::new() }
    }

    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        let Some(shard) = self.shard else { return self.context.update(bytes) };
        while !bytes.is_empty() {
            let room = usize::try_from(shard - self.hashed).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.context.update(now);
            self.hashed += now.len() as u64;
            if self.hashed == shard {
                self.end_digest();
            }
            bytes = later;
        }
    }

    pub(crate) fn finish(mut self) -> Vec<[u8; 32]> {
        if self.shard.is_none() || self.hashed > 0 {
            self.end_digest();
        }
        self.digests
    }

    fn end_digest(&mut self) {
        let context = std::mem::replace(&mut self.context, Context::new(&SHA256));
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());
        self.digests.push(digest);
        self.hashed = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::open::sha256;
    use crate::pieces::PIECE_LEN;
    use std::convert::Infallible;

    fn contents(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at / 7) as u8).collect()
    }

    fn piece_of(contents: &[u8], piece: u64) -> &[u8] {
        let at = Piece::of(contents.len() as u64, piece);
        &contents[usize::try_from(at.offset).unwrap()..][..at.len]
    }

    /// What a thread does after it has opened a piece.
    fn done(follower: &Follower, contents: &[u8], piece: u64) {
        follower.opened(piece, piece_of(contents, piece));
        follower.stored(piece);
        let look = |piece, hash: &mut dyn FnMut(&[u8])| {
            hash(piece_of(contents, piece));
            Ok::<_, Infallible>(())
        };
        follower.catch_up(look).unwrap();
    }

    #[test]
    fn every_order_of_the_pieces_gives_the_digest_of_the_file() {
        for len in [0, 1, PIECE_LEN, PIECE_LEN + 1, 3 * PIECE_LEN + 5] {
            let contents = contents(len);
            let pieces: Vec<u64> = (0..Piece::count(len as u64)).collect();
            let backwards: Vec<u64> = pieces.iter().rev().copied().collect();
            let mut mixed = pieces.clone();
            mixed.rotate_left(pieces.len() / 2);
            for order in [pieces, backwards, mixed] {
                let follower = Follower::new(Hashing::Files, len as u64);
                for piece in order {
                    done(&follower, &contents, piece);
                }
                assert_eq!(follower.finish(), Some(vec![sha256(&contents)]), "{len}");
            }
        }
    }

    #[test]
    fn a_piece_is_looked_at_by_others_only_when_it_is_stored() {
        let contents = contents(2 * PIECE_LEN);
        let follower = Follower::new(Hashing::Files, contents.len() as u64);
        follower.opened(1, piece_of(&contents, 1));
        done(&follower, &contents, 0);
        let too_early = |piece, _: &mut dyn FnMut(&[u8])| Err(piece);
        assert_eq!(follower.catch_up(too_early), Ok(()));
        done(&follower, &contents, 1);
    }

    #[test]
    fn shards_are_cut_where_they_end_and_not_where_pieces_do() {
        let contents = contents(2 * PIECE_LEN + 100);
        for shard in [65_536, 1_000_000, 3_000_000, 1 << 40] {
            let hashing = Hashing::Shards(NonZeroU64::new(shard).unwrap());
            let follower = Follower::new(hashing, contents.len() as u64);
            for piece in [2, 0, 1] {
                done(&follower, &contents, piece);
            }
            let shard = usize::try_from(shard).unwrap();
            let expected: Vec<_> = contents.chunks(shard).map(sha256).collect();
            assert_eq!(follower.finish(), Some(expected), "{shard}");
        }
    }

    #[test]
    fn a_reader_gives_the_same_digests_as_pieces() {
        let contents = contents(PIECE_LEN + 7);
        let shards = Hashing::Shards(NonZeroU64::new(1_000_000).unwrap());
        let expected: Vec<_> = contents.chunks(1_000_000).map(sha256).collect();
        assert_eq!(digests_of(&contents[..], shards).unwrap(), expected);
        assert_eq!(digests_of(&contents[..], Hashing::Files).unwrap(), [sha256(&contents)]);
    }

    #[test]
    fn a_file_with_a_piece_that_was_not_opened_has_no_digest() {
        let contents = contents(3 * PIECE_LEN);
        let follower = Follower::new(Hashing::Files, contents.len() as u64);
        for piece in [0, 2, 3] {
            done(&follower, &contents, piece);
        }
        assert_eq!(follower.finish(), None);
    }

    #[test]
    fn many_threads_at_once_leave_nothing_unhashed() {
        let contents = contents(40 * PIECE_LEN / 8);
        for _ in 0..20 {
            let follower = Follower::new(Hashing::Files, contents.len() as u64);
            let next = std::sync::atomic::AtomicU64::new(0);
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        loop {
                            let piece = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                            if piece >= Piece::count(contents.len() as u64) {
                                break;
                            }
                            done(&follower, &contents, piece);
                        }
                    });
                }
            });
            assert_eq!(follower.finish(), Some(vec![sha256(&contents)]));
        }
    }
}
