//! The storage of a sealed model that lies elsewhere: what all kinds of stores have in common.
//!
//! ```text
//! opener's thread ─ read_exact_at(offset, buffer) ─► permit ─► range request ─► buffer
//!                          ▲                                        │ cut after n bytes
//!                          └── resume at offset + n ◄─ pause ◄──────┘
//! ```
//! The network runs on two threads of its own; bytes are copied once, by the thread that asked for them.
//! An object is pinned when it is opened: ETag, version, date and length of every later answer are compared.
//!
//! Against: an object that is replaced between two reads; memory taken for what a store announces; more
//! requests at once than were allowed.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

use std::fmt;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

use adyton_sealed_weights::{Storage, StorageError, StoredObject};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;

use crate::bucket::BucketStore;
use crate::fault::Fault;
use crate::oci::Registry;
use crate::retry::Retry;
use crate::settings::{RetryPolicy, StoreSettings};
use crate::transport::PacedBody;
use crate::web::Web;

/// Threads that talk to the network; the copying is done by those who read.
const NETWORK_THREADS: usize = 2;
/// What is less than this is no progress: a store must not keep us for ever by dripping.
const PROGRESS_BYTES: u64 = 64 * 1024;

/// Bytes of one response.
pub(crate) type Chunks = Pin<Box<dyn Stream<Item = Result<Bytes, Fault>> + Send>>;

/// What an object is, by what its store says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Pinned {
    pub(crate) len: u64,
    pub(crate) etag: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) last_modified: Option<String>,
}

impl Pinned {
    /// Is `now` the same object? What one of the two does not say is not compared.
    pub(crate) fn same(&self, now: &Self) -> Result<(), Fault> {
        let differ = |a: &Option<String>, b: &Option<String>| match (a, b) {
            (Some(a), Some(b)) => a != b,
            (None, _) | (_, None) => false,
        };
        let changed = [
            ("its length", self.len != now.len),
            ("its ETag", differ(&self.etag, &now.etag)),
            ("its version", differ(&self.version, &now.version)),
            ("its date", differ(&self.last_modified, &now.last_modified)),
        ];
        match changed.into_iter().find(|(_, changed)| *changed) {
            Some((what, _)) => Err(Fault::Changed { what }),
            None => Ok(()),
        }
    }

    /// The ETag, if a request can be made to depend on it (RFC 9110, section 13.1.1: a weak one never
    /// matches).
    pub(crate) fn strong_etag(&self) -> Option<&str> {
        self.etag.as_deref().filter(|etag| !etag.starts_with("W/"))
    }
}

/// One kind of store: three requests, each made once.
pub(crate) enum Backend {
    Web(Box<Web>),
    Bucket(BucketStore),
    Oci(Box<Registry>),
}

impl Backend {
    /// What is there under this name?
    async fn look(&self, name: &str) -> Result<Pinned, Fault> {
        match self {
            Self::Web(web) => web.look(name).await,
            Self::Bucket(bucket) => bucket.look(name).await,
            Self::Oci(registry) => registry.look(name).await,
        }
    }

    /// A range of the object that was pinned.
    async fn part(&self, name: &str, pinned: &Pinned, range: Range<u64>) -> Result<Chunks, Fault> {
        match self {
            Self::Web(web) => web.part(name, pinned, range).await,
            Self::Bucket(bucket) => bucket.part(name, pinned, range).await,
            Self::Oci(registry) => registry.part(name, range).await,
        }
    }

    /// All of a small object, and its length if the store says it beforehand.
    async fn whole(&self, name: &str) -> Result<(Option<u64>, Chunks), Fault> {
        match self {
            Self::Web(web) => web.whole(name).await,
            Self::Bucket(bucket) => bucket.whole(name).await,
            Self::Oci(registry) => registry.whole(name).await,
        }
    }

    /// What a small object must be, beyond its name.
    fn verify(&self, name: &str, bytes: &[u8]) -> Result<(), Fault> {
        match self {
            Self::Web(_) | Self::Bucket(_) => Ok(()),
            Self::Oci(registry) => registry.verify(name, bytes),
        }
    }
}

/// The bytes of a response.
pub(crate) fn chunks(body: PacedBody) -> Chunks {
    futures_util::stream::try_unfold(body, |mut body| async move {
        Ok(body.chunk().await?.map(|bytes| (bytes, body)))
    })
    .boxed()
}

/// A sealed model that lies elsewhere.
pub(crate) struct RemoteStorage(Arc<Shared>);

struct Shared {
    location: String,
    backend: Backend,
    in_flight: usize,
    permits: Semaphore,
    retry: RetryPolicy,
    /// Nothing only while it is dropped.
    runtime: Option<Runtime>,
}

impl RemoteStorage {
    pub(crate) fn new(
        location: String,
        backend: Backend,
        settings: &StoreSettings,
    ) -> io::Result<Self> {
        let in_flight = settings.in_flight.get().min(Semaphore::MAX_PERMITS);
        let runtime = Builder::new_multi_thread()
            .worker_threads(NETWORK_THREADS)
            .thread_name("model-store")
            .enable_all()
            .build()?;
        Ok(Self(Arc::new(Shared {
            location,
            backend,
            in_flight,
            permits: Semaphore::new(in_flight),
            retry: settings.retry,
            runtime: Some(runtime),
        })))
    }
}

impl Storage for RemoteStorage {
    fn location(&self) -> String {
        self.0.location.clone()
    }

    fn concurrency(&self) -> usize {
        self.0.in_flight
    }

    fn read_small(&self, name: &str, limit: u64) -> Result<Vec<u8>, StorageError> {
        self.0.wait(self.0.small(name, limit)).map_err(|failure| match failure {
            Small::TooLarge { got } => StorageError::TooLarge { limit, got },
            Small::Fault(fault) => self.0.told(name, fault),
        })
    }

    fn open(&self, name: &str) -> Result<Box<dyn StoredObject>, StorageError> {
        let pinned = self.0.wait(self.0.pin(name)).map_err(|fault| self.0.told(name, fault))?;
        Ok(Box::new(RemoteObject { shared: Arc::clone(&self.0), name: name.to_owned(), pinned }))
    }
}

/// One object, pinned.
struct RemoteObject {
    shared: Arc<Shared>,
    name: String,
    pinned: Pinned,
}

impl StoredObject for RemoteObject {
    fn len(&self) -> u64 {
        self.pinned.len
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), StorageError> {
        let end = offset.checked_add(buffer.len() as u64).filter(|end| *end <= self.pinned.len);
        if end.is_none() {
            return Err(StorageError::Changed);
        }
        let read = self.shared.fill(&self.name, &self.pinned, offset, buffer);
        self.shared.wait(read).map_err(|fault| self.shared.told(&self.name, fault))
    }
}

enum Small {
    TooLarge { got: u64 },
    Fault(Fault),
}

impl From<Fault> for Small {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Shared {
    /// Runs on the caller's thread, so that what is read can be copied to where the caller wants it.
    fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        match &self.runtime {
            Some(runtime) => runtime.block_on(work),
            // Dropping is the end of the last reference, and nobody reads without one.
            None => unreachable!("read while dropped"),
        }
    }

    fn told(&self, name: &str, fault: Fault) -> StorageError {
        tracing::warn!(
            store = self.location,
            object = name,
            fault = fault.code(),
            reason = %fault,
            cause = std::error::Error::source(&fault).map(ToString::to_string),
            "the store did not give an object"
        );
        fault.into_storage_error()
    }

    async fn pin(&self, name: &str) -> Result<Pinned, Fault> {
        let mut retry = Retry::new(&self.retry);
        loop {
            let fault = {
                let _permit = self.permits.acquire().await;
                match self.backend.look(name).await {
                    Ok(pinned) => return Ok(pinned),
                    Err(fault) => fault,
                }
            };
            retry.after(fault).await?;
        }
    }

    async fn small(&self, name: &str, limit: u64) -> Result<Vec<u8>, Small> {
        let mut retry = Retry::new(&self.retry);
        loop {
            let fault = {
                let _permit = self.permits.acquire().await;
                match self.small_once(name, limit).await {
                    Ok(bytes) => return Ok(bytes),
                    Err(Small::Fault(fault)) => fault,
                    Err(too_large) => return Err(too_large),
                }
            };
            retry.after(fault).await?;
        }
    }

    async fn small_once(&self, name: &str, limit: u64) -> Result<Vec<u8>, Small> {
        let (len, mut chunks) = self.backend.whole(name).await?;
        if let Some(got) = len.filter(|len| *len > limit) {
            return Err(Small::TooLarge { got });
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk?;
            let got = (bytes.len() + chunk.len()) as u64;
            if got > limit {
                return Err(Small::TooLarge { got });
            }
            bytes.extend_from_slice(&chunk);
        }
        match len {
            Some(wanted) if wanted != bytes.len() as u64 => {
                Err(Fault::Cut { got: bytes.len() as u64, wanted }.into())
            }
            _ => {
                self.backend.verify(name, &bytes)?;
                Ok(bytes)
            }
        }
    }

    /// Fills `buffer`; after a failure, only what is missing is asked for again.
    async fn fill(
        &self,
        name: &str,
        pinned: &Pinned,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), Fault> {
        let mut retry = Retry::new(&self.retry);
        let mut done = 0;
        loop {
            let Some((_, missing)) =
                buffer.split_at_mut_checked(done).filter(|(_, m)| !m.is_empty())
            else {
                return Ok(());
            };
            let before = done;
            let fault = {
                let _permit = self.permits.acquire().await;
                let begin = offset + done as u64;
                match self.fill_once(name, pinned, begin, missing, &mut done).await {
                    Ok(()) => return Ok(()),
                    Err(Fault::NotSatisfiable) => {
                        // Either the object became shorter, or the server is confused.
                        match self.backend.look(name).await {
                            Ok(now) => pinned.same(&now).err().unwrap_or(Fault::NotSatisfiable),
                            Err(fault) => fault,
                        }
                    }
                    Err(fault) => fault,
                }
            };
            if (done - before) as u64 >= PROGRESS_BYTES {
                retry.progressed();
            }
            retry.after(fault).await?;
        }
    }

    /// One request; `done` grows with what has come, however it ends.
    async fn fill_once(
        &self,
        name: &str,
        pinned: &Pinned,
        begin: u64,
        mut missing: &mut [u8],
        done: &mut usize,
    ) -> Result<(), Fault> {
        let wanted = missing.len() as u64;
        let mut chunks = self.backend.part(name, pinned, begin..begin + wanted).await?;
        let mut got = 0;
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk?;
            let (filled, rest) =
                missing.split_at_mut_checked(chunk.len()).ok_or(Fault::TooLong { wanted })?;
            filled.copy_from_slice(&chunk);
            missing = rest;
            got += chunk.len() as u64;
            *done += chunk.len();
        }
        if missing.is_empty() { Ok(()) } else { Err(Fault::Cut { got, wanted }) }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // A runtime that waits for its threads must not be dropped by a thread of another runtime.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for RemoteStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteStorage").field("location", &self.0.location).finish_non_exhaustive()
    }
}

impl fmt::Debug for RemoteObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteObject")
            .field("name", &self.name)
            .field("pinned", &self.pinned)
            .finish_non_exhaustive()
    }
}
