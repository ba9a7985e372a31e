//! Skeleton.
use std::path::Path;

use zeroize::Zeroizing;

use crate::error::SealError;
use crate::formats::RiskyFormat;
use crate::key::{ContentKey, ModelId};
use crate::progress::Progress;
use crate::recipient::Recipient;

/// What the owner decides about a sealed model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealOptions {
    /// 1 to 128 letters, digits, `.`, `_`, `-`, `/`.
    pub name: String,
    /// From 1; a reader that has seen a higher one refuses it.
    pub version: u64,
    /// Formats that run code when loaded and may be in the model all the same.
    pub allow_formats: Vec<RiskyFormat>,
    /// Worker threads; 0 means one for each CPU.
    pub threads: usize,
}

/// What was sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealReport {
    /// The id of this sealed version.
    pub model_id: ModelId,
    /// Number of files.
    pub files: usize,
    /// Bytes of plaintext.
    pub plaintext_bytes: u64,
    /// Bytes of all objects, without the manifest.
    pub sealed_bytes: u64,
    /// SHA-256 of `model.json`.
    pub manifest_digest: [u8; 32],
}

/// A source folder that was looked through and may be sealed, with a fresh content key.
#[derive(Debug)]
pub struct SealJob {
    model_id: ModelId,
    content_key: ContentKey,
}

impl SealJob {
    /// Looks through `source`: names, kinds, formats. Writes nothing.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn new(_source: &Path, _out: &Path, _options: SealOptions) -> Result<Self, SealError> {
        Ok(Self {
            model_id: ModelId::generate()?,
            content_key: ContentKey::generate()?,
        })
    }

    /// The id that the sealed model will have; recipients are bound to it.
    pub fn model_id(&self) -> ModelId {
        self.model_id
    }

    /// The content key, to make recipients of it with [`Recipient::wrap`].
    pub fn content_key(&self) -> &ContentKey {
        &self.content_key
    }

    /// A copy of the content key, to be wrapped to a broker that makes the recipient.
    pub fn content_key_for_wrapping(&self) -> Zeroizing<[u8; 32]> {
        self.content_key.content_key_for_wrapping()
    }

    /// Plaintext bytes of the source.
    pub fn total_bytes(&self) -> u64 {
        0
    }

    /// Seals every file and writes the manifest; the output appears as a whole or not at all.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn run(
        self,
        _recipients: Vec<Recipient>,
        _progress: &dyn Progress,
    ) -> Result<SealReport, SealError> {
        Err(SealError::NoRecipients)
    }
}
