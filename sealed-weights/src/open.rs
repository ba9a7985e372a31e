//! Skeleton.
use std::path::{Path, PathBuf};

use crate::error::OpenError;
use crate::key::{ModelId, ModelKey};
use crate::manifest::Manifest;
use crate::progress::Progress;
use crate::range::RangeReader;
use crate::recipient::Recipient;
pub use crate::target::{SwapPolicy, TargetCheck, TargetError, TargetPolicy, wipe_target};

/// What the caller requires of the model, beyond that it is authentic.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Requirements {
    /// The name, if it is fixed.
    pub name: Option<String>,
    /// The lowest version: the highest of the configured and the broker's. 0 accepts every one.
    pub minimum_version: u64,
    /// The id, if it is fixed.
    pub model_id: Option<ModelId>,
}

/// How to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenOptions {
    /// Worker threads; 0 means one for each CPU.
    pub threads: usize,
    /// Which file systems may receive plaintext.
    pub filesystems: TargetPolicy,
    /// What active swap means.
    pub swap: SwapPolicy,
    /// Permission bits of the opened files; 0o600 by default.
    pub file_mode: u32,
    /// Permission bits of the opened folders; 0o700 by default.
    pub folder_mode: u32,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            threads: 0,
            filesystems: TargetPolicy::MemoryBackedOnly,
            swap: SwapPolicy::Refuse,
            file_mode: 0o600,
            folder_mode: 0o700,
        }
    }
}

/// A sealed model as it lies in its folder: parsed within bounds, not authenticated.
#[derive(Debug)]
pub struct SealedModel {
    manifest: Manifest,
}

impl SealedModel {
    /// Reads and parses `model.json`.
    ///
    /// # Errors
    /// [`OpenError::Storage`], [`OpenError::Manifest`].
    pub fn load(folder: &Path) -> Result<Self, OpenError> {
        Err(OpenError::NoSuchFile {
            path: folder.display().to_string(),
        })
    }

    /// The name that the manifest claims.
    pub fn name(&self) -> &str {
        self.manifest.name()
    }

    /// The version that the manifest claims.
    pub fn version(&self) -> u64 {
        self.manifest.version()
    }

    /// The id that the manifest claims.
    pub fn model_id(&self) -> ModelId {
        self.manifest.model_id()
    }

    /// Those who can open it, as the manifest claims.
    pub fn recipients(&self) -> &[Recipient] {
        self.manifest.recipients()
    }

    /// Everything the manifest claims; for people to look at, not to decide by.
    pub fn unverified_manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// SHA-256 of the bytes of `model.json`.
    pub fn manifest_digest(&self) -> [u8; 32] {
        [0; 32]
    }

    /// Authenticates the manifest with the content key that `model_key` unwraps.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn unlock(
        &self,
        model_key: &ModelKey,
        _requirements: &Requirements,
    ) -> Result<UnlockedModel, OpenError> {
        Err(OpenError::NoRecipient {
            wanted: model_key.id().clone(),
            listed: Vec::new(),
        })
    }
}

/// A sealed model whose manifest is authentic and as required.
#[derive(Debug)]
pub struct UnlockedModel {
    manifest: Manifest,
}

impl UnlockedModel {
    /// The authentic manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// SHA-256 of the bytes of `model.json`; goes into the attestation report.
    pub fn manifest_digest(&self) -> [u8; 32] {
        [0; 32]
    }

    /// Bytes of room that opening needs in the target.
    pub fn required_bytes(&self) -> u64 {
        0
    }

    /// Opens every file into `<target>/model`, which appears when the last chunk is authentic.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_into(
        &self,
        target: &Path,
        threads: usize,
        progress: &dyn Progress,
    ) -> Result<OpenedModel, OpenError> {
        self.open_with(
            target,
            &OpenOptions {
                threads,
                ..OpenOptions::default()
            },
            progress,
        )
    }

    /// As [`open_into`](Self::open_into), with modes of files, or policies for tests.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_with(
        &self,
        target: &Path,
        _options: &OpenOptions,
        _progress: &dyn Progress,
    ) -> Result<OpenedModel, OpenError> {
        Err(OpenError::NoSuchFile {
            path: target.display().to_string(),
        })
    }

    /// Reads ranges of one file without opening the rest.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn reader(&self, path: &str) -> Result<RangeReader, OpenError> {
        Err(OpenError::NoSuchFile {
            path: path.to_owned(),
        })
    }
}

/// Plaintext in the target, every chunk authenticated.
#[derive(Debug)]
pub struct OpenedModel {
    path: PathBuf,
}

impl OpenedModel {
    /// `<target>/model`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of files.
    pub fn files(&self) -> usize {
        0
    }

    /// Bytes of plaintext.
    pub fn bytes(&self) -> u64 {
        0
    }

    /// Overwrites and removes the plaintext.
    ///
    /// # Errors
    /// [`TargetError::Io`].
    pub fn wipe(self) -> Result<(), TargetError> {
        Ok(())
    }
}
