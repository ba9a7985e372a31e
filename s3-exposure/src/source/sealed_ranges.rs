//! Ranges opened on the fly from a sealed model: constant memory, every chunk authenticated when it is read.
//!
//! In: an [`UnlockedModel`], which holds the content key. Out: authentic bytes on sockets. A file's header and
//! tag table are verified, and its format, before its first byte goes out.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use adyton_sealed_weights::{RangeReader, UnlockedModel};

use super::block_cache::{BLOCK_BYTES, Block, BlockCache, PoolError, Usage};
use super::{ObjectSource, SendError, Sending, SourceError};
use crate::limits::{LINGER, MAX_READS};
use crate::socket::Socket;

/// Files that are kept open at once.
const MAX_OPEN_FILES: usize = 256;

/// A model that stays sealed.
pub struct SealedRanges {
    model: UnlockedModel,
    /// Paths, in the order of the manifest.
    paths: Vec<String>,
    open: Mutex<HashMap<usize, Arc<Slot>>>,
    clock: AtomicU64,
    blocks: BlockCache,
}

/// A file that somebody wants: opened by the first, while the others wait.
#[derive(Default)]
struct Slot {
    reader: Mutex<Option<Arc<RangeReader>>>,
    used: AtomicU64,
}

impl SealedRanges {
    /// A pool of `pool_bytes`, rounded down to blocks, and up to one block for each of [`MAX_READS`].
    ///
    /// # Errors
    /// [`PoolError::Memory`]
    pub fn new(model: UnlockedModel, pool_bytes: usize) -> Result<Self, PoolError> {
        let paths = model.manifest().files().iter().map(|file| file.path().as_str().to_owned());
        Ok(Self {
            paths: paths.collect(),
            model,
            open: Mutex::default(),
            clock: AtomicU64::new(0),
            blocks: BlockCache::new((pool_bytes / BLOCK_BYTES).max(MAX_READS))?,
        })
    }

    fn reader(&self, object: usize) -> Result<Arc<RangeReader>, SourceError> {
        let path = self.paths.get(object).ok_or(SourceError::Number(object))?;
        let slot = self.slot(object);
        slot.used.store(self.clock.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        let mut reader = lock(&slot.reader);
        if let Some(reader) = reader.as_ref() {
            return Ok(Arc::clone(reader));
        }
        let opened = Arc::new(self.model.reader(path).map_err(SourceError::Sealed)?);
        Ok(Arc::clone(reader.insert(opened)))
    }

    fn slot(&self, object: usize) -> Arc<Slot> {
        let mut open = lock(&self.open);
        if let Some(slot) = open.get(&object) {
            return Arc::clone(slot);
        }
        if open.len() >= MAX_OPEN_FILES {
            // Who still reads it keeps it open; it is only not found any more.
            let used = |slot: &Arc<Slot>| slot.used.load(Ordering::Relaxed);
            let oldest = open.iter().min_by_key(|(_, slot)| used(slot)).map(|(object, _)| *object);
            oldest.map(|object| open.remove(&object));
        }
        Arc::clone(open.entry(object).or_default())
    }

    fn block(
        &self,
        object: usize,
        reader: &RangeReader,
        number: u64,
    ) -> Result<Arc<Block>, SourceError> {
        self.blocks.get((object, number), |memory| {
            let offset = number * BLOCK_BYTES as u64;
            let left = reader.size().saturating_sub(offset);
            let len = usize::try_from(left).unwrap_or(usize::MAX).min(memory.len());
            let (memory, _) = memory.split_at_mut(len);
            reader.read_at(offset, memory).map_err(SourceError::Sealed)?;
            Ok(len)
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ObjectSource for SealedRanges {
    fn open(&self, object: usize, range: Range<u64>) -> Result<Box<dyn Sending + '_>, SourceError> {
        let reader = self.reader(object)?;
        let mut ready = Ready { source: self, object, reader, range, block: None };
        // The first block is authenticated before the head goes out.
        if !ready.range.is_empty() {
            ready.block = Some(ready.next_block()?);
        }
        Ok(Box::new(ready))
    }

    fn rest(&self) {
        self.blocks.wipe_idle(LINGER);
    }

    fn usage(&self) -> Usage {
        self.blocks.usage()
    }
}

struct Ready<'a> {
    source: &'a SealedRanges,
    object: usize,
    reader: Arc<RangeReader>,
    /// What is still to be sent.
    range: Range<u64>,
    block: Option<Arc<Block>>,
}

impl Ready<'_> {
    fn next_block(&self) -> Result<Arc<Block>, SourceError> {
        let number = self.range.start / BLOCK_BYTES as u64;
        self.source.block(self.object, &self.reader, number)
    }
}

impl Sending for Ready<'_> {
    fn send(&mut self, socket: &Socket) -> Result<(), SendError> {
        while !self.range.is_empty() {
            // Let go of the last block before the next one is asked for.
            let block = match self.block.take() {
                Some(block) => block,
                None => self.next_block()?,
            };
            let from = (self.range.start % BLOCK_BYTES as u64) as usize;
            let left = usize::try_from(self.range.end - self.range.start).unwrap_or(usize::MAX);
            let bytes = block.bytes().get(from..).unwrap_or_default();
            let (bytes, _) = bytes.split_at(bytes.len().min(left));
            if bytes.is_empty() {
                return Err(SourceError::Number(self.object).into());
            }
            socket.send_all(bytes).map_err(SendError::Socket)?;
            self.range.start += bytes.len() as u64;
        }
        Ok(())
    }
}
