//! Plaintext blocks of 64 KiB in a fixed pool of locked memory, each opened once while it is wanted.
//!
//! ```text
//!        ┌────────── evicted, wiped when idle ◄─────────┐
//!  free ─┴─► filling (one thread; others wait) ─► ready ┴─► pinned by readers
//! ```
//! In: keys of blocks, and a way to fill one. Out: blocks that stay what they are while somebody holds them. The
//! pool is taken at the start and never grows: 64 readers, or 64,000, have these blocks and no more.
//! Against: memory that grows with readers; the same chunk opened for each of many small, unaligned ranges;
//! plaintext that stays behind when nobody reads.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use adyton_sealed_weights::LockedMemory;
use adyton_sealed_weights::locked_memory::LockedMemoryError;
use zeroize::Zeroize;

/// Bytes of one block: four chunks.
pub const BLOCK_BYTES: usize = 64 * 1024;

/// Which block: the object's number, and the block's number in it.
pub type BlockKey = (usize, u64);

/// Why there is no block.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// The kernel locks no more memory.
    #[error(
        "{blocks} blocks of {BLOCK_BYTES} bytes cannot be locked in memory; raise RLIMIT_MEMLOCK, or lower the pool's size"
    )]
    Memory {
        /// How many were wanted.
        blocks: usize,
        /// What the kernel said.
        #[source]
        source: LockedMemoryError,
    },
    /// Everything is pinned.
    #[error("all {blocks} blocks are being read; the pool must have one for each reader at least")]
    Pinned {
        /// How many there are.
        blocks: usize,
    },
}

/// A block of plaintext; wiped on its way back to the pool, or when it is dropped.
#[derive(Debug)]
pub struct Block {
    memory: LockedMemory,
    len: usize,
}

impl Block {
    /// The plaintext.
    pub fn bytes(&self) -> &[u8] {
        self.memory.expose().get(..self.len).unwrap_or_default()
    }
}

/// What a pool holds and has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of the pool, from the start to the end.
    pub pool_bytes: u64,
    /// Blocks that hold plaintext now.
    pub blocks_held: u64,
    /// Blocks that were opened.
    pub blocks_opened: u64,
    /// Blocks that were wanted and were there.
    pub blocks_reused: u64,
}

#[derive(Debug)]
enum Slot {
    Filling,
    Ready { block: Arc<Block>, used: u64, at: Instant },
}

#[derive(Debug, Default)]
struct State {
    slots: HashMap<BlockKey, Slot>,
    /// Ready blocks in the order of their last use.
    order: BTreeMap<u64, BlockKey>,
    free: Vec<LockedMemory>,
    clock: u64,
    waiting: usize,
}

/// The pool and what is in it.
#[derive(Debug)]
pub struct BlockCache {
    state: Mutex<State>,
    changed: Condvar,
    blocks: usize,
    opened: AtomicU64,
    reused: AtomicU64,
}

impl BlockCache {
    /// Takes all the memory that it will ever have.
    ///
    /// # Errors
    /// [`PoolError::Memory`]
    pub fn new(blocks: usize) -> Result<Self, PoolError> {
        let free = (0..blocks).map(|_| LockedMemory::zeroed(BLOCK_BYTES));
        let free = free.collect::<Result<Vec<_>, _>>();
        let free = free.map_err(|source| PoolError::Memory { blocks, source })?;
        let state = State { free, ..State::default() };
        let (opened, reused) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Self { state: Mutex::new(state), changed: Condvar::new(), blocks, opened, reused })
    }

    /// The block, from the pool or by `fill`, which says how many bytes it has written from the start.
    /// While one thread fills a block, others that want it wait.
    ///
    /// Who holds a block must let it go before they ask for another.
    ///
    /// # Errors
    /// Those of `fill`; [`PoolError::Pinned`] when there are more readers than blocks.
    pub fn get<E: From<PoolError>>(
        &self,
        key: BlockKey,
        fill: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<Arc<Block>, E> {
        let mut state = self.lock();
        loop {
            if let Some(block) = state.reuse(key) {
                self.reused.fetch_add(1, Ordering::Relaxed);
                return Ok(block);
            }
            if !matches!(state.slots.get(&key), Some(Slot::Filling)) {
                break;
            }
            state.waiting += 1;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
        let Some(memory) = state.take_memory() else {
            return Err(PoolError::Pinned { blocks: self.blocks }.into());
        };
        state.slots.insert(key, Slot::Filling);
        drop(state);

        let mut filling = Filling { cache: self, key, memory: Some(memory) };
        let len = fill(filling.bytes())?;
        self.opened.fetch_add(1, Ordering::Relaxed);
        let filled = filling.finish(len);
        filled.ok_or_else(|| PoolError::Pinned { blocks: self.blocks }.into())
    }

    /// Wipes the blocks that nobody holds and nobody asked for during `linger`.
    pub fn wipe_idle(&self, linger: Duration) {
        let mut state = self.lock();
        let idle: Vec<_> = state
            .slots
            .iter()
            .filter(|(_, slot)| match slot {
                Slot::Ready { block, at, .. } => {
                    Arc::strong_count(block) == 1 && at.elapsed() >= linger
                }
                Slot::Filling => false,
            })
            .map(|(key, _)| *key)
            .collect();
        for key in idle {
            if let Some(mut memory) = state.evict(key) {
                memory.expose_mut().zeroize();
                state.free.push(memory);
            }
        }
    }

    /// What it holds and has done.
    pub fn usage(&self) -> Usage {
        Usage {
            pool_bytes: (self.blocks * BLOCK_BYTES) as u64,
            blocks_held: self.lock().slots.len() as u64,
            blocks_opened: self.opened.load(Ordering::Relaxed),
            blocks_reused: self.reused.load(Ordering::Relaxed),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Notes that a block is used now.
    fn tick(&mut self, key: BlockKey) -> u64 {
        self.clock += 1;
        self.order.insert(self.clock, key);
        self.clock
    }

    /// The block, if it is ready; it is the last to be evicted then.
    fn reuse(&mut self, key: BlockKey) -> Option<Arc<Block>> {
        let Some(Slot::Ready { block, used, at }) = self.slots.get_mut(&key) else { return None };
        self.clock += 1;
        self.order.remove(used);
        self.order.insert(self.clock, key);
        (*used, *at) = (self.clock, Instant::now());
        Some(Arc::clone(block))
    }

    /// Free memory, or that of the block which was not asked for for the longest time.
    fn take_memory(&mut self) -> Option<LockedMemory> {
        if let Some(memory) = self.free.pop() {
            return Some(memory);
        }
        // Nobody can take a second hold of a block while we hold the lock.
        let unpinned = |key: &&BlockKey| match self.slots.get(key) {
            Some(Slot::Ready { block, .. }) => Arc::strong_count(block) == 1,
            _ => false,
        };
        let oldest = *self.order.values().find(unpinned)?;
        self.evict(oldest)
    }

    fn evict(&mut self, key: BlockKey) -> Option<LockedMemory> {
        match self.slots.remove(&key)? {
            Slot::Ready { block, used, .. } => {
                self.order.remove(&used);
                Some(Arc::into_inner(block)?.memory)
            }
            Slot::Filling => None,
        }
    }
}

/// A block that is being filled. Dropped before it is finished, its memory goes back, wiped.
struct Filling<'a> {
    cache: &'a BlockCache,
    key: BlockKey,
    memory: Option<LockedMemory>,
}

impl Filling<'_> {
    fn bytes(&mut self) -> &mut [u8] {
        self.memory.as_mut().map(LockedMemory::expose_mut).unwrap_or_default()
    }

    /// Nothing only if it were called twice.
    fn finish(mut self, len: usize) -> Option<Arc<Block>> {
        // What an earlier, longer block left behind.
        self.bytes().get_mut(len..).unwrap_or_default().zeroize();
        let mut state = self.cache.lock();
        // `Drop` finds nothing then.
        let block = Arc::new(Block { memory: self.memory.take()?, len });
        let used = state.tick(self.key);
        let ready = Slot::Ready { block: Arc::clone(&block), used, at: Instant::now() };
        state.slots.insert(self.key, ready);
        self.cache.wake(&state);
        drop(state);
        Some(block)
    }
}

impl BlockCache {
    fn wake(&self, state: &State) {
        if state.waiting > 0 {
            self.changed.notify_all();
        }
    }
}

impl Drop for Filling<'_> {
    fn drop(&mut self) {
        if let Some(mut memory) = self.memory.take() {
            memory.expose_mut().zeroize();
            let mut state = self.cache.lock();
            state.slots.remove(&self.key);
            state.free.push(memory);
            self.cache.wake(&state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(byte: u8) -> impl FnOnce(&mut [u8]) -> Result<usize, PoolError> {
        move |bytes| {
            bytes.fill(byte);
            Ok(bytes.len())
        }
    }

    #[test]
    fn a_block_is_opened_once_for_all_who_want_it_at_once() {
        let cache = BlockCache::new(2).unwrap();
        let barrier = std::sync::Barrier::new(16);
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    barrier.wait();
                    assert_eq!(cache.get((0, 0), fill(7)).unwrap().bytes(), [7; BLOCK_BYTES]);
                });
            }
        });
        let usage = cache.usage();
        assert_eq!((usage.blocks_opened, usage.blocks_reused), (1, 15));
    }

    #[test]
    fn the_block_that_was_wanted_longest_ago_makes_room() {
        let cache = BlockCache::new(2).unwrap();
        for number in [0, 1, 0, 2] {
            cache.get((0, number), fill(1)).unwrap();
        }
        cache.get((0, 0), fill(1)).unwrap();
        assert_eq!(cache.usage().blocks_opened, 3);
        cache.get((0, 1), fill(1)).unwrap();
        assert_eq!(cache.usage().blocks_opened, 4);
    }

    #[test]
    fn a_block_in_use_stays_and_a_reader_too_many_is_refused() {
        let cache = BlockCache::new(1).unwrap();
        let held = cache.get((0, 0), fill(1)).unwrap();
        let refused = cache.get((0, 1), fill(2));
        assert!(matches!(refused, Err(PoolError::Pinned { blocks: 1 })));
        assert_eq!(held.bytes()[0], 1);
        drop(held);
        assert_eq!(cache.get((0, 1), fill(2)).unwrap().bytes()[0], 2);
    }

    #[test]
    fn a_block_that_cannot_be_filled_is_nobodys_and_its_memory_is_used_again() {
        let cache = BlockCache::new(1).unwrap();
        let failed = cache.get((0, 0), |bytes| {
            bytes.fill(9);
            Err::<usize, _>(PoolError::Pinned { blocks: 0 })
        });
        assert!(matches!(failed, Err(PoolError::Pinned { blocks: 0 })));
        assert_eq!(cache.usage().blocks_held, 0);
        let next = cache.get((0, 0), |bytes| {
            assert_eq!(bytes, [0; BLOCK_BYTES]);
            Ok::<_, PoolError>(3)
        });
        assert_eq!(next.unwrap().bytes(), [0; 3]);
    }

    #[test]
    fn a_thread_that_panics_while_it_fills_blocks_nobody() {
        let cache = BlockCache::new(1).unwrap();
        std::thread::scope(|scope| {
            let panicking = scope.spawn(|| {
                let _ = cache.get::<PoolError>((0, 0), |_| panic!("while filling"));
            });
            panicking.join().unwrap_err();
        });
        assert_eq!(cache.get((0, 0), fill(1)).unwrap().bytes()[0], 1);
    }

    #[test]
    fn nothing_of_a_longer_block_shows_in_a_shorter_one() {
        let cache = BlockCache::new(1).unwrap();
        drop(cache.get((0, 0), fill(0xAA)).unwrap());
        let short = cache.get((0, 1), |bytes| {
            bytes[..2].fill(1);
            Ok::<_, PoolError>(2)
        });
        let short = short.unwrap();
        assert_eq!(short.bytes(), [1, 1]);
        assert!(short.memory.expose()[2..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn what_nobody_wants_any_more_is_wiped() {
        let cache = BlockCache::new(2).unwrap();
        let held = cache.get((0, 0), fill(1)).unwrap();
        drop(cache.get((0, 1), fill(1)).unwrap());
        cache.wipe_idle(Duration::from_secs(3600));
        assert_eq!(cache.usage().blocks_held, 2);
        cache.wipe_idle(Duration::ZERO);
        assert_eq!(cache.usage().blocks_held, 1);
        assert!(cache.lock().free[0].expose().iter().all(|byte| *byte == 0));
        drop(held);
        cache.wipe_idle(Duration::ZERO);
        assert_eq!(cache.usage().blocks_held, 0);
    }
}
