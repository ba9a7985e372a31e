//! From an address to a [`Storage`]: everything that can be wrong before the first request.

use std::io;
use std::sync::Arc;

use adyton_sealed_weights::{FolderStorage, Storage, StorageError};

use crate::address::Source;
use crate::bucket::{BucketStore, Retrying};
use crate::oci::Registry;
use crate::remote::{Backend, RemoteStorage};
use crate::settings::{StoreSettings, Tags};
use crate::transport::{RootsError, Transport};
use crate::web::Web;

/// Why a place cannot be asked at all.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder cannot be opened.
    #[error("the folder cannot be opened")]
    Folder(#[source] StorageError),
    /// Nobody's certificates are trusted.
    #[error("there are no certificates to trust")]
    Roots(#[source] RootsError),
    /// Credentials of another kind than the place understands.
    #[error("the credentials are not for {scheme}://")]
    Credentials {
        /// What stands before `://`.
        scheme: &'static str,
        /// What is needed.
        expected: &'static str,
    },
    /// A setting that is missing or makes no sense for the place.
    #[error("the setting `{name}` is not right for {scheme}://")]
    Setting {
        /// Its name.
        name: &'static str,
        /// What stands before `://`.
        scheme: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A tag without a digest: whoever can write to the registry would choose the model.
    #[error("`{reference}` has a tag and no digest")]
    Tag {
        /// The reference.
        reference: String,
    },
    /// No threads for the network.
    #[error("the network's threads could not be started")]
    Runtime(#[source] io::Error),
}

impl StoreError {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Folder(error) => error.remedy(),
            Self::Roots(_) => "name the roots of the store's certificate with `ca_file`",
            Self::Credentials { expected, .. } => expected,
            Self::Setting { .. } => "correct it; see the cause",
            Self::Tag { .. } => {
                "write the digest that `adyton push` printed: oci://registry/name@sha256:…; or allow tags \
                 with `insecure_allow_tag`"
            }
            Self::Runtime(_) => "raise the limit of threads",
        }
    }
}

impl Source {
    /// The storage of what lies there. Nothing beyond this machine is asked yet.
    ///
    /// What it returns blocks, and may not be used on the threads of an async runtime.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn storage(&self, settings: &StoreSettings) -> Result<Arc<dyn Storage>, StoreError> {
        if let Self::Folder(path) = self {
            return Ok(Arc::new(FolderStorage::new(path).map_err(StoreError::Folder)?));
        }
        let transport = Transport::new(settings).map_err(StoreError::Roots)?;
        let backend = self.backend(transport, settings)?;
        let storage = RemoteStorage::new(self.to_string(), backend, settings);
        Ok(Arc::new(storage.map_err(StoreError::Runtime)?))
    }

    /// Whether [`storage`](Self::storage) would refuse; no thread is started, and nobody is asked.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn check(&self, settings: &StoreSettings) -> Result<(), StoreError> {
        match self {
            Self::Folder(path) => FolderStorage::new(path).map(drop).map_err(StoreError::Folder),
            Self::Web(_) | Self::Bucket(_) | Self::Oci(_) => {
                let transport = Transport::new(settings).map_err(StoreError::Roots)?;
                self.backend(transport, settings).map(drop)
            }
        }
    }

    fn backend(
        &self,
        transport: Transport,
        settings: &StoreSettings,
    ) -> Result<Backend, StoreError> {
        Ok(match self {
            // `storage` has served it.
            Self::Folder(_) => return Err(StoreError::Folder(StorageError::NotAFile)),
            Self::Web(url) => Backend::Web(Box::new(Web::new(url.clone(), transport, settings)?)),
            Self::Bucket(bucket) => {
                let retrying = Retrying::Caller;
                Backend::Bucket(BucketStore::new(bucket.clone(), transport, settings, retrying)?)
            }
            Self::Oci(reference) => {
                if reference.digest().is_none() && settings.tags == Tags::Refuse {
                    return Err(StoreError::Tag { reference: reference.to_string() });
                }
                Backend::Oci(Box::new(Registry::new(reference.clone(), transport, settings)?))
            }
        })
    }
}
