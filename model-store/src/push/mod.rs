//! Takes a sealed model to where it shall lie. Not a part of what runs inside the TEE.
//!
//! ```text
//! folder ─► Inventory (names, lengths, SHA-256) ─► objects, several at once ─► model.json ─► address to paste
//!                                                    └─ what is there already is left out
//! ```
//! `model.json` goes last, so a model that was pushed half is not there at all; whoever pushes again goes on
//! where it ended. Nothing is sealed, opened or decided here: an object that a store damages is refused when
//! it is opened.
//!
//! Against: a push over another model by a slip of the pen; an object that changes between being digested and
//! being sent.

mod bucket;
mod folder;
mod inventory;
mod registry;
mod web;

use std::path::Path;

use adyton_sealed_weights::limits::MAX_MANIFEST_BYTES;
use adyton_sealed_weights::{OpenError, Progress, StorageError};
use futures_util::{StreamExt, TryStreamExt};
use tokio::runtime::Builder;

use self::inventory::{Inventory, LocalObject};
use crate::address::Source;
use crate::bucket::{BucketStore, Retrying};
use crate::fault::Fault;
use crate::settings::{StoreSettings, Tags};
use crate::storage::StoreError;
use crate::transport::Transport;

/// What to do where another model lies already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Refuse.
    Keep,
    /// Put this one in its place. Whoever opens it meanwhile is refused, because objects do not match.
    Replace,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushReport {
    /// Where it lies; in a registry, with the digest of its manifest.
    pub source: Source,
    /// Objects that were sent.
    pub sent: usize,
    /// Objects that were there.
    pub skipped: usize,
    /// Bytes of the objects that were sent.
    pub sent_bytes: u64,
    /// SHA-256 of `model.json`, which attestation reports carry.
    pub manifest_digest: [u8; 32],
}

/// Why a model is not where it should be.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The folder is not a sealed model.
    #[error("the folder is not a sealed model")]
    Model(#[source] OpenError),
    /// A file of it cannot be read, or is not what the manifest says.
    #[error("{name} cannot be sent")]
    Local {
        /// The object.
        name: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The place cannot be asked at all.
    #[error("the place cannot be used")]
    Store(#[source] StoreError),
    /// Another model lies there.
    #[error("another model lies at {place}")]
    Occupied {
        /// The place.
        place: String,
    },
    /// The place refused, or failed for too long.
    #[error("{name} was not taken")]
    Fault {
        /// The object.
        name: String,
        /// Why.
        #[source]
        source: Fault,
    },
    /// What lies there cannot be looked at.
    #[error("what lies at {place} cannot be read")]
    Look {
        /// The place.
        place: String,
        /// Why.
        #[source]
        source: StorageError,
    },
    /// More objects than a registry's manifest has room for.
    #[error("the artifact's manifest has {got} bytes; registries take {limit}")]
    TooManyObjects {
        /// Its length.
        got: usize,
        /// The bound.
        limit: u64,
    },
}

impl PushError {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Model(error) => error.remedy(),
            Self::Local { .. } => "seal the model again, and push it when nobody writes to it",
            Self::Store(error) => error.remedy(),
            Self::Occupied { .. } => {
                "push to another place, or replace what lies there with --replace"
            }
            Self::Fault { source, .. } if source.may_be_retried() => {
                "see the cause, and push again: what arrived is not sent twice"
            }
            Self::Fault { source: Fault::Local(_), .. } => {
                "make the file readable, or the folder writable with room for the model"
            }
            Self::Fault { .. } => "correct the address, or the credentials and their rights",
            Self::Look { source, .. } => source.remedy(),
            Self::TooManyObjects { .. } => "push it to a bucket",
        }
    }
}

/// What happened to one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Sent,
    Skipped,
}

/// Takes the sealed model in `folder` to `to`. Blocking; may not be called on a thread of an async runtime.
///
/// # Errors
/// [`PushError`]
pub fn push(
    folder: &Path,
    to: &Source,
    settings: &StoreSettings,
    existing: Existing,
    progress: &dyn Progress,
) -> Result<PushReport, PushError> {
    let inventory = Inventory::take(folder)?;
    progress.total(inventory.bytes());
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| PushError::Store(StoreError::Runtime(error)))?;
    // A tag stands for what will be pushed, so there is nothing that it could mean wrongly.
    let settings = StoreSettings { tags: Tags::InsecureAllow, ..settings.clone() };
    if !matches!(to, Source::Oci(_)) {
        unoccupied(&inventory, to, &settings, existing)?;
    }
    let transport =
        || Transport::new(&settings).map_err(StoreError::Roots).map_err(PushError::Store);
    let work = async {
        match to {
            Source::Folder(path) => {
                let target = folder::Target::new(path.clone());
                send_all(&inventory, &settings, progress, async |object| target.put(object)).await
            }
            Source::Web(url) => {
                let target = web::Target::new(url.clone(), transport()?, &settings)?;
                send_all(&inventory, &settings, progress, async |object| {
                    target.put(object, &settings).await
                })
                .await
            }
            Source::Bucket(bucket) => {
                let (bucket, retrying) = (bucket.clone(), Retrying::Library);
                let store = BucketStore::new(bucket, transport()?, &settings, retrying)
                    .map_err(PushError::Store)?;
                send_all(&inventory, &settings, progress, async |object| {
                    bucket::put(&store, object, &settings).await
                })
                .await
            }
            Source::Oci(reference) => {
                let target = registry::Target::new(reference.clone(), transport()?, &settings)?;
                let counted = send_all(&inventory, &settings, progress, async |object| {
                    target.put(object, &settings).await
                })
                .await?;
                let pinned = target.tag(&inventory, &settings).await?;
                return Ok((counted, Source::Oci(pinned)));
            }
        }
        .map(|counted| (counted, to.clone()))
    };
    let (counted, source) = runtime.block_on(work)?;
    Ok(PushReport {
        source,
        sent: counted.sent,
        skipped: counted.skipped,
        sent_bytes: counted.sent_bytes,
        manifest_digest: inventory.manifest_digest,
    })
}

/// Refuses a place where another `model.json` lies.
fn unoccupied(
    inventory: &Inventory,
    to: &Source,
    settings: &StoreSettings,
    existing: Existing,
) -> Result<(), PushError> {
    if existing == Existing::Replace || to.folder().is_some_and(|path| !path.exists()) {
        return Ok(());
    }
    let storage = to.storage(settings).map_err(PushError::Store)?;
    match storage.read_small(MANIFEST, MAX_MANIFEST_BYTES) {
        Err(StorageError::Missing) => Ok(()),
        Ok(bytes) if bytes == inventory.manifest => Ok(()),
        Ok(_) | Err(StorageError::TooLarge { .. }) => {
            Err(PushError::Occupied { place: to.to_string() })
        }
        Err(source) => Err(PushError::Look { place: to.to_string(), source }),
    }
}

const MANIFEST: &str = "model.json";

#[derive(Debug, Default)]
struct Counted {
    sent: usize,
    skipped: usize,
    sent_bytes: u64,
}

impl Counted {
    fn add(&mut self, object: &LocalObject, outcome: Outcome, progress: &dyn Progress) {
        progress.advance(object.len);
        match outcome {
            Outcome::Skipped => self.skipped += 1,
            Outcome::Sent => {
                self.sent += 1;
                self.sent_bytes += object.len;
            }
        }
    }
}

/// All objects, several at once; then `model.json`, which makes them a model.
async fn send_all(
    inventory: &Inventory,
    settings: &StoreSettings,
    progress: &dyn Progress,
    put: impl AsyncFn(&LocalObject) -> Result<Outcome, Fault>,
) -> Result<Counted, PushError> {
    let put = async |object: &LocalObject| {
        let put = put(object).await;
        put.map_err(|source| PushError::Fault { name: object.name.clone(), source })
    };
    let put = &put;
    let mut counted = Counted::default();
    let (manifest, objects) = inventory.manifest_last();
    let mut running = futures_util::stream::iter(objects)
        .map(|object| async move { put(object).await.map(|outcome| (object, outcome)) })
        .buffer_unordered(settings.in_flight.get().min(8));
    while let Some((object, outcome)) = running.try_next().await? {
        counted.add(object, outcome, progress);
    }
    drop(running);
    counted.add(manifest, put(manifest).await?, progress);
    Ok(counted)
}
