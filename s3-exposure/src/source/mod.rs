//! Where the bytes of an answer come from: two ways behind one face.
//!
//! | | memory | for |
//! |---|---|---|
//! | [`SealedRanges`] | a fixed pool of blocks | models larger than the guest's memory |
//! | [`OpenedFiles`] | none: the kernel sends the opened files' pages | models that are opened anyway |
//!
//! In: an object's place in the manifest and a range within it. Out: authentic bytes on a socket. A first
//! refusal comes before the head of the answer; a later one ends the connection, so that no client takes
//! a part for the whole.

mod block_cache;
mod opened_files;
mod sealed_ranges;

use std::io;
use std::ops::Range;

use adyton_sealed_weights::OpenError;

pub use block_cache::{BLOCK_BYTES, BlockCache, BlockKey, PoolError, Usage};
pub use opened_files::OpenedFiles;
pub use sealed_ranges::SealedRanges;

use crate::socket::Socket;

/// A model whose ranges can be sent.
pub trait ObjectSource: Send + Sync {
    /// Makes a range ready; `range` lies within the object. What can be refused is refused here.
    ///
    /// # Errors
    /// [`SourceError`]
    fn open(&self, object: usize, range: Range<u64>) -> Result<Box<dyn Sending + '_>, SourceError>;

    /// Called every now and then: wipes what nobody asked for lately.
    fn rest(&self);

    /// What it holds and has done so far.
    fn usage(&self) -> Usage;
}

/// A range that is ready.
pub trait Sending {
    /// Sends all of it.
    ///
    /// # Errors
    /// [`SendError`]: the connection is of no use any more.
    fn send(&mut self, socket: &Socket) -> Result<(), SendError>;
}

/// Why an object cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The model has no such object. A fault of ours.
    #[error("there is no object with the number {0}")]
    Number(usize),
    /// A chunk is not authentic, or storage failed.
    #[error("the sealed object cannot be opened")]
    Sealed(#[source] OpenError),
    /// An opened file cannot be read.
    #[error("the opened file {path} cannot be read")]
    File {
        /// Its path in the model.
        path: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// An opened file is not what was opened.
    #[error(
        "the opened file {path} has {got} bytes; expected {expected}: who else writes to the target?"
    )]
    Changed {
        /// Its path in the model.
        path: String,
        /// Bytes that the manifest says.
        expected: u64,
        /// Bytes that it has.
        got: u64,
    },
    /// More readers than the pool was made for. A fault of ours.
    #[error(transparent)]
    Pool(#[from] PoolError),
}

/// Why an answer ended early.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The client is gone or takes nothing.
    #[error("the client does not take the answer")]
    Socket(#[source] io::Error),
    /// The rest cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
}
