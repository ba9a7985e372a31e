//! How far sealing or opening has come, told to whoever shows it.
//!
//! In: counts of plaintext bytes. Out: calls. It must not fail or block: it is called from every
//! worker thread between two pieces of 2 MiB.

/// Receives the progress of one sealing or opening. Called from several threads.
pub trait Progress: Sync {
    /// The plaintext bytes of the whole job; called once, before the first [`advance`](Self::advance).
    fn total(&self, bytes: u64);
    /// So many more plaintext bytes are done (sealed, or authenticated and written).
    fn advance(&self, bytes: u64);
}

/// Nobody looks.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn total(&self, _bytes: u64) {}
    fn advance(&self, _bytes: u64) {}
}
