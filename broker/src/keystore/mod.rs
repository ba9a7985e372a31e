//! Where model keys live, behind one trait.
//!
//! A key is made inside and leaves in two ways only: encrypted to an attested TEE key, for a
//! [`RecordedPermit`]; or used to wrap a content key for a sealed model. No method returns one.

use adyton_attestation::UnixTime;
use adyton_attestation::rcar::{JweError, JweResponse, ResourcePath};
use adyton_sealed_weights::{
    ContentKey, KeyError, KeyId, Manifest, ModelId, OpenError, Recipient, RecipientError,
    RewrapError,
};

use crate::journal::{JournalError, RecordedPermit};
use crate::store::StoreError;

pub mod embedded;

pub use embedded::EmbeddedKeyStore;

/// What may be told about a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// Its name with its epoch.
    pub id: KeyId,
    /// When it was made, RFC 3339.
    pub created_at: String,
    /// When this epoch was ended, RFC 3339; nothing while it is in force.
    pub retired_at: Option<String>,
}

/// What changes in the recipients of a manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecipientChange {
    /// Keys of this store that are to open the model.
    pub add: Vec<KeyId>,
    /// Keys, of this store or another, that are no longer to be listed.
    pub remove: Vec<KeyId>,
}

/// Which edition of a key is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhichEpoch {
    /// The newest.
    Newest,
    /// This one: sealed models of before a rotation name it.
    Exactly(u32),
}

/// Why a key store refused.
#[derive(Debug, thiserror::Error)]
pub enum KeyStoreError {
    /// There is a key of this name.
    #[error("the key `{uri}` exists")]
    Exists {
        /// The key's URI.
        uri: String,
    },
    /// There is no key of this name and epoch.
    #[error("there is no key `{kid}`")]
    Unknown {
        /// What was asked for.
        kid: String,
    },
    /// This epoch of the key was ended.
    #[error("the key `{kid}` was retired")]
    Retired {
        /// The key with its epoch.
        kid: String,
    },
    /// The newest epoch cannot be ended: what is sealed next is sealed to it.
    #[error("`{kid}` is the newest epoch of its key")]
    Newest {
        /// The key with its epoch.
        kid: String,
    },
    /// A key has as many epochs as there may be.
    #[error("the key `{uri}` has no epoch left")]
    NoEpochLeft {
        /// The key's URI.
        uri: String,
    },
    /// None of a manifest's recipients is a key of this store.
    #[error("the model is sealed for no key of this broker")]
    NoKeyFor {
        /// For which it is sealed.
        listed: Vec<KeyId>,
    },
    /// A manifest is not authentic, or its recipient is not this key's.
    #[error("the manifest was refused")]
    Manifest(#[from] OpenError),
    /// The recipients can't be those.
    #[error("the recipients were not changed")]
    Rewrap(#[from] RewrapError),
    /// The permission has ended.
    #[error("the permission to release ended at {until}")]
    PermitEnded {
        /// When.
        until: UnixTime,
    },
    /// A key or its name can't be made.
    #[error("the key can't be made")]
    Key(#[from] KeyError),
    /// The content key can't be wrapped.
    #[error("the content key can't be wrapped")]
    Recipient(#[from] RecipientError),
    /// The key can't be encrypted to the TEE key.
    #[error("the key can't be encrypted to the TEE key")]
    Encrypt(#[from] JweError),
    /// The change could not be recorded.
    #[error("the change was not recorded")]
    Journal(#[from] JournalError),
    /// The store refused.
    #[error("the store refused")]
    Store(#[from] StoreError),
}

/// Keeps model keys.
pub trait KeyStore: Send + Sync {
    /// Makes a key under a new name. Its bytes are random and stay inside.
    ///
    /// # Errors
    /// [`KeyStoreError::Exists`], [`Key`](KeyStoreError::Key), or the store's own.
    fn create(&self, resource: &ResourcePath, actor: &str) -> Result<KeyRecord, KeyStoreError>;

    /// All keys, by name and epoch.
    ///
    /// # Errors
    /// The store's own.
    fn list(&self) -> Result<Vec<KeyRecord>, KeyStoreError>;

    /// The key of this name and epoch, `None` when there is no such key.
    ///
    /// # Errors
    /// The store's own.
    fn find(
        &self,
        resource: &ResourcePath,
        epoch: WhichEpoch,
    ) -> Result<Option<KeyRecord>, KeyStoreError>;

    /// Makes the next epoch of a key. Its bytes are new, random, and stay inside; older epochs stay in force.
    ///
    /// # Errors
    /// [`KeyStoreError::Unknown`], [`NoEpochLeft`](KeyStoreError::NoEpochLeft), or the store's own.
    fn rotate(&self, resource: &ResourcePath, actor: &str) -> Result<KeyRecord, KeyStoreError>;

    /// Ends an epoch of a key for good: it is released to nobody and seals nothing. It still re-wraps
    /// manifests ([`rewrap`](Self::rewrap)), so that no model is lost. Ending it again changes nothing.
    ///
    /// # Errors
    /// [`KeyStoreError::Unknown`], [`Newest`](KeyStoreError::Newest), or the store's own.
    fn retire(&self, key: &KeyId, actor: &str) -> Result<KeyRecord, KeyStoreError>;

    /// Encrypts the permitted key to the attested TEE key. A permit is used once.
    ///
    /// # Errors
    /// [`KeyStoreError::PermitEnded`], [`Retired`](KeyStoreError::Retired), [`Unknown`](KeyStoreError::Unknown),
    /// [`Encrypt`](KeyStoreError::Encrypt), or the store's own.
    fn release(&self, permit: RecordedPermit, now: UnixTime) -> Result<JweResponse, KeyStoreError>;

    /// Wraps a content key under a model key, for the manifest of one sealed model.
    ///
    /// # Errors
    /// [`KeyStoreError::Retired`], [`Unknown`](KeyStoreError::Unknown),
    /// [`Recipient`](KeyStoreError::Recipient), or the store's own.
    fn wrap_content_key(
        &self,
        key: &KeyId,
        model: &ModelId,
        content_key: &ContentKey,
        actor: &str,
    ) -> Result<Recipient, KeyStoreError>;

    /// Gives a manifest other recipients, with whichever of its keys is here. The content key stays inside.
    ///
    /// # Errors
    /// [`KeyStoreError::NoKeyFor`], [`Manifest`](KeyStoreError::Manifest),
    /// [`Retired`](KeyStoreError::Retired), [`Unknown`](KeyStoreError::Unknown),
    /// [`Rewrap`](KeyStoreError::Rewrap), or the store's own.
    fn rewrap(
        &self,
        manifest: Manifest,
        change: &RecipientChange,
        actor: &str,
    ) -> Result<Manifest, KeyStoreError>;
}
